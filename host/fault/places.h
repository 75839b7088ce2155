/* Inside fault/: what lies at an address, in words. All async-signal-safe. */
#ifndef FAULT_PLACES_H
#define FAULT_PLACES_H

#include <stddef.h>
#include <stdint.h>

/* The file that is mapped at `address` and the distance from that file's first mapping, from
 * /proc/self/maps. 1 when there is one. */
int places_of_mapping(uintptr_t address, char *ret_name, size_t room, uintptr_t *ret_offset);

/* The function that holds `address` (the file's own) by the symbol table of an ELF file's bytes,
 * which may be any bytes. 1 when one was found. */
int places_of_symbol(const void *file, size_t bytes, uint64_t address, char *ret_name, size_t room,
                     uint64_t *ret_offset);

#endif
