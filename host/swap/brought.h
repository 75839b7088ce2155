/* A slot that goes on where a process before it ended: its state is in the arena already, this is
 * the rest. Made from a kept state or a snapshot; used when the first generation comes in. Frame
 * thread. */
#ifndef SWAP_BROUGHT_H
#define SWAP_BROUGHT_H

#include "state/snapshot.h"
#include "swap/keepsake.h"

typedef struct Brought {
    Keepsake keepsake;
    Buf note;         /* the same as bytes */
    uint8_t *statics; /* of the image that ran, span after span, each filled up to whole pages */
    uint64_t statics_bytes;
    char from[4200]; /* the file, or "memory": for sentences */
    Image *image;    /* the build that ran, where it came with the state; or NULL */
    Generation
        ghost;     /* the generation of then, as far as memory goes; image NULL: not to be had, */
    char why[400]; /* for this reason */
    int installed; /* a build was given it, which did not stay if another is */
} Brought;

/* `statics` may be NULL; both are copied. KEEL_EDATA: the note is no keepsake. */
int brought_new(const void *note, uint64_t note_bytes, const void *statics, uint64_t statics_bytes,
                const char *from, Brought **ret, Error *err);
void brought_free(Brought *brought);

/* What goes on from here is newer than all that is kept up to `branch`. */
void brought_branch(Brought *brought, uint32_t branch);

/* Are the statics of the image that ran among what was kept? */
int brought_has_statics(const Brought *brought);

/* Takes over the image that ran, as it was kept: maps it where it was, with its statics and without
 * running any of it, and has the state's checkpoint hold these. Where something else is there by
 * now it is mapped elsewhere, and what points into it follows. From there the rules of migration
 * carry all to another build. On failure only the same build fits. */
int brought_use_image(Brought *brought, Image *image, Slot *slot, Error *err);
/* Nothing runs in the slot and its state is as it was brought: its checkpoint holds the statics of
 * then again. */
int brought_hold(const Brought *brought, Slot *slot, Error *err);
/* NULL where it is not to be had. */
const Generation *brought_ghost(const Brought *brought);

/* Do the bytes of this image carry on where they were? Then pointers into it are moved with it and
 * its statics keep their values. */
int brought_same_image(const Brought *brought, const Image *image);

/* The slot's generation is there and has not run: gives the slot what it was besides its memory, at
 * `now_ns` of its clock. Counts with the first frame; where that failed the next generation is
 * given the same, once. */
void brought_install(Brought *brought, Slot *slot, int64_t now_ns);

/* Of a snapshot whose pages are in the slot's state. */
int brought_of_snapshot(const Snapshot *snapshot, const char *from, Brought **ret, Error *err);

#endif
