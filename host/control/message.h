/* Lines of the control protocol: bytes of unknown origin in, JSON out. Pure functions. Any thread.
 */
#ifndef CONTROL_MESSAGE_H
#define CONTROL_MESSAGE_H

#include <jansson.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { MESSAGE_LINE_BYTES = 65536, MESSAGE_DEPTH = 32, MESSAGE_REPLY_BYTES = 4 << 20 };

/* The request in one line, without its newline. KEEL_EPROTOCOL with a sentence when it is not valid
 * JSON, is no object, nests deeper than MESSAGE_DEPTH or names a member twice. */
int message_parse(const char *line, size_t bytes, json_t **ret, Error *err);

/* Add one answer and its newline. `id` is borrowed, NULL is null; `result` is borrowed.
 * KEEL_ENOMEM, or KEEL_ELIMIT when the answer is larger than MESSAGE_REPLY_BYTES; then nothing was
 * added. */
int message_add_result(Buf *out, const json_t *id, const json_t *result);
int message_add_error(Buf *out, const json_t *id, int code, const char *text);

/* `text` as a JSON string; what is not UTF-8 in it becomes '?'. NULL only without memory. */
json_t *message_text(const char *text);

/* KEEL_E… of a code's name ("EBUSY"); KEEL_EPROTOCOL for one that is not known. */
int message_code(const char *name);

#endif
