/* Inside image/: what of an earlier reading holds for this image too. Two keys decide. Of the debug
 * information alone: then types, lines and owners are those of before. Of the whole file but its
 * code and build id: then the schema is, too. Fingerprints have keys of their own (keep.h). For a
 * process under limits; one thread. */
#ifndef IMAGE_DWARF_REUSE_H
#define IMAGE_DWARF_REUSE_H

#include "image/dwarf_dies.h"
#include "image/reading.h"

typedef struct Reuse {
    Hash debug, rest;           /* of this image; 0: there is no such key */
    const Reading *debug_from;  /* NULL: nothing of it can be reused */
    const Reading *schema_from; /* the same */
    Kept kept;                  /* of the reading before, if `fingerprints.before` says so */
    FingerprintReuse fingerprints;
    Buf sources;    /* for the next one: READING_SOURCES */
    int reads_code; /* its schema tells of code as well: only its own code will do */
} Reuse;

/* `before`: a checked reading of another image, or NULL. Never fails: what can't be told apart has
 * no key. */
void reuse_open(const void *data, size_t bytes, const Reading *before, Reuse *ret);
void reuse_done(Reuse *reuse);

/* Keeps what the debug information said, for the reading after this one. KEEL_ENOMEM. */
int reuse_keep(Reuse *reuse, const AnatomyMaker *maker, const Owners *owners, const Lines *lines);

/* Behind that what the fingerprints left. KEEL_ENOMEM. */
int reuse_keep_fingerprints(Reuse *reuse);

/* Gives the maker what the debug information would have said. KEEL_ENOMEM. */
int reuse_take(Reuse *reuse, AnatomyMaker *maker, Owners *ret_owners, Lines *ret_lines);

#endif
