/* Inside image/: the names of a Mach-O image's functions and data, by address, with identities that
 * outlive a rebuild. Bytes of unknown origin, meant for a process under limits; one thread. */
#ifndef IMAGE_MACHO_SYMBOLS_H
#define IMAGE_MACHO_SYMBOLS_H

#include "base/hash.h"
#include "image/macho.h"

typedef struct MachoName {
    uint64_t address, bytes; /* to the next name in its section */
    const char *name;        /* as in the source */
    size_t name_bytes;       /* the author's part of it */
    const char *unit;        /* its source file without folder; "" for what all files see */
    const MachoSection *in;
    Hash id;
    uint8_t is_code, is_external;
} MachoName;

typedef struct MachoNames {
    MachoName *list; /* by rising address, one each */
    size_t count;
    uint64_t *starts; /* LC_FUNCTION_STARTS */
    size_t start_count;
    int complete; /* every function has a name */
    int has_map;  /* the debug map tells files */
} MachoNames;

/* KEEL_EIMAGE with a sentence; KEEL_ENOMEM. */
int macho_names(const Macho *m, MachoNames *ret, Error *err);
void macho_names_done(MachoNames *names);

/* The one that holds an address; NULL: none. */
const MachoName *macho_name_at(const MachoNames *names, uint64_t address);

#endif
