/* Inside image/: what dyld writes into a Mach-O image before it runs: addresses of its own and of
 * other libraries' symbols. Bytes of unknown origin, meant for a process under limits; one thread.
 */
#ifndef IMAGE_MACHO_FIXUPS_H
#define IMAGE_MACHO_FIXUPS_H

#include "base/buf.h"
#include "image/macho.h"

typedef struct MachoFixup {
    uint64_t address;   /* of the place, 8 bytes wide */
    const char *symbol; /* as the linker spells it; NULL: a place of this image */
    uint64_t target;    /* that place; of a symbol what is added to it */
} MachoFixup;

typedef struct MachoFixups {
    const MachoFixup *list; /* by rising address */
    size_t count;
    Buf own;
} MachoFixups;

/* KEEL_EIMAGE with a sentence; KEEL_ENOMEM. */
int macho_fixups(const Macho *m, MachoFixups *ret, Error *err);
void macho_fixups_done(MachoFixups *fixups);

/* The one at an address, or the first behind it; NULL: none. */
const MachoFixup *macho_fixup_from(const MachoFixups *fixups, uint64_t address);

#endif
