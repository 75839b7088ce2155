/* Inside image/: who reads which part of the bytes. All pure, all on bytes of unknown origin. */
#ifndef IMAGE_PARTS_H
#define IMAGE_PARTS_H

#include "image/image.h"

/* What a file that isn't ELF seems to be; never 0. */
int foreign_refuse(const uint8_t *data, size_t bytes, Error *err);

/* Mach-O, thin or universal: KEEL_EUNSUPPORTED with a sentence; 0 when it is something else. */
int macho_refuse(const uint8_t *data, size_t bytes, Error *err);

/* The same for an image of macOS: segments into loads and span, the notes, LC_UUID. */
int image_read_macho(Image *image, Error *err);

/* Header, segments and the dynamic section, into loads, span, relro, nodelete; then the notes. */
int image_read_elf(Image *image, Error *err);

/* One range of notes; `align` is 4 or 8. Adds what it finds to `found` and the image. */
typedef struct NotesFound {
    int modules, notes;
} NotesFound;

int notes_read(Image *image, uint64_t offset, uint64_t bytes, unsigned align, NotesFound *found,
               Error *err);

/* May a module that speaks `abi`, with a table of `table_bytes`, run in a host that speaks
 * `host_abi`? */
int abi_check(uint32_t abi, uint32_t table_bytes, uint32_t host_abi, Error *err);

#endif
