/* Bytes as hexadecimal digits and back. Pure; any thread. */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include <stddef.h>
#include <stdint.h>

/* Lower case; `ret` has room for two digits a byte and a NUL. Returns `ret`. */
const char *hex_text(const uint8_t *data, size_t bytes, char *ret);

/* Reads exactly `bytes` bytes from lower-case digits; 0, or -1 when others are among them. */
int hex_parse(const char *text, size_t bytes, uint8_t *ret);

#endif
