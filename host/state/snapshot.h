/* A snapshot: a slot's state at one boundary, in a file of its own (CBOR; docs/formats.md).
 *
 * The arena is written page by page as it is, allocator and all, so that reading it back is a copy
 * and every pointer inside it holds; it must come back at the same addresses. With it go what the
 * host keeps for the slot (`note`), the types of the objects (`schema`), the image that ran and its
 * statics: a snapshot can be read by names, and taken over by another build, with nothing else at
 * hand. All of it is checked; a file that doesn't fit its checks is refused whole. */
#ifndef STATE_SNAPSHOT_H
#define STATE_SNAPSHOT_H

#include "state/state.h"

enum { SNAPSHOT_VERSION = 2, SNAPSHOT_PART_MOST = 64 << 20 };

typedef struct SnapshotInfo {
    uint64_t base, bytes; /* of the arena; filled by the writer */
    uint64_t used_bytes;  /* filled by the writer */
    uint64_t lsn;         /* of the journal's last record that it contains; 0: there is none */
    uint64_t frames;
    int64_t wall_ns;
    uint64_t edited; /* nonzero: changed since a host wrote it, at wall_ns */
    uint64_t image_low, image_high, load_first, load_last; /* of the generation that ran */
    char slot[64], module[64], version[64], build_id[72], host[32], path[256];
} SnapshotInfo;

typedef struct SnapshotParts {
    const void *note, *schema, *image; /* at most SNAPSHOT_PART_MOST each; the image may be none */
    size_t note_bytes, schema_bytes, image_bytes;
    const struct SnapshotSpan *spans; /* in the place of the pin's statics; NULL: those */
    int span_count;
} SnapshotParts;

/* Writes the pinned moment to `fd` from where it stands. Allocates; may block. [any while pinned,
 * also beside frames] */
int snapshot_write(const Pin *pin, const SnapshotInfo *info, const SnapshotParts *parts, int fd,
                   Error *err);

/* The same into a file: written beside it, synced, put in its place at once, its folder synced. On
 * failure what was there before is still there. */
int snapshot_write_file(const Pin *pin, const SnapshotInfo *info, const SnapshotParts *parts,
                        const char *path, Error *err);

/* ---- reading ---- */

typedef struct SnapshotSpan {
    uint64_t address; /* where it was */
    uint64_t bytes;
    uint8_t *data;
} SnapshotSpan;

typedef struct Snapshot {
    SnapshotInfo info;
    uint8_t *note, *schema; /* the schema isn't checked beyond its bytes: schema_check */
    uint8_t *image;         /* the file that ran, untrusted as any; image_bytes 0: it isn't in it */
    size_t note_bytes, schema_bytes, image_bytes;
    int span_count;
    SnapshotSpan spans[16]; /* the image's statics */
} Snapshot;

/* Reads head, note, schema and statics; `fd` is then where the pages begin. KEEL_EDATA with a
 * sentence for what is no snapshot, damaged, or of another version. */
typedef struct SnapshotReader SnapshotReader;
int snapshot_open(const char *path, SnapshotReader **ret, Error *err);
int snapshot_open_fd(int fd, SnapshotReader **ret, Error *err); /* `fd` stays the caller's */
const Snapshot *snapshot_parts(const SnapshotReader *reader);
void snapshot_close(SnapshotReader *reader);

/* Reads the pages to where `memory` (info.bytes of zeros) is, and checks the whole file. On failure
 * `memory` holds anything. Once. */
int snapshot_pages(SnapshotReader *reader, uint8_t *memory, Error *err);

/* Puts the pages into a State that was opened at info.base with info.bytes, in place of all it
 * holds; the checkpoint is as yet that of before (state_commit). On failure the state is reset.
 * [frame] */
int snapshot_load(SnapshotReader *reader, State *state, Error *err);

#endif
