/* Inside image/: the parts of a reading that come from the same debug information, which is read
 * once for both. For a process under limits; one thread. */
#ifndef IMAGE_DWARF_PARTS_H
#define IMAGE_DWARF_PARTS_H

#include "base/err.h"
#include "image/dwarf_dies.h"
#include "image/dwarf_reuse.h"

/* As anatomy_read and schema_read, of debug information that is open already. With `reuse`, which
 * may be NULL: what it has is taken from there, and what the next reading may want is kept there.
 */
int anatomy_read_with(const void *data, size_t bytes, Dies *dies, Reuse *reuse, void *ret,
                      size_t room, size_t *ret_bytes, Error *err);
int schema_read_with(const void *data, size_t bytes, Dies *dies, Reuse *reuse, void *ret,
                     size_t room, size_t *ret_bytes, Error *err);

#endif
