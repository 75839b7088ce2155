/* Is the file complete? Reads a file once, whole, into a sealed memfd, or says why not yet.
 *
 * Complete means: no writer had the file from before the first byte was read until after the last
 * (a read lease, where the file system grants leases), and the tables that its ELF or Mach-O header
 * names lie inside it. Where leases are not to be had (other file systems, other people's files),
 * the file must stay untouched for three times `SETTLE_QUIET_NS` and then read the same again. Any
 * thread; blocks on the disk, so not the frame thread. */
#ifndef WATCH_SETTLE_H
#define WATCH_SETTLE_H

#include <sys/stat.h>

#include "base/err.h"
#include "base/hash.h"

enum { SETTLE_QUIET_NS = 50 * 1000 * 1000 };

/* How sure: a lease held throughout, or a quiet time and two equal readings. */
typedef enum SettleProof { SETTLE_BY_LEASE, SETTLE_BY_CONTENT } SettleProof;

typedef struct Settled {
    int memfd; /* owned by the caller; sealed against every change; CLOEXEC */
    size_t bytes;
    Hash hash;        /* of the bytes in memfd */
    struct stat stat; /* of the file that was read */
    SettleProof proof;
} Settled;

typedef struct SettleOptions {
    int leases;       /* 0: as if the file system had none (for tests and odd mounts) */
    size_t max_bytes; /* larger files are refused with KEEL_ELIMIT; 0 means 1 GiB */
} SettleOptions;

/* `options` NULL: leases, no other limit. 0 and *ret filled; KEEL_EBUSY: a writer has it, look
 * again later; KEEL_EPARTIAL: it is not whole ("cut short: …", empty, changed meanwhile), look
 * again after the next event or after SETTLE_QUIET_NS; KEEL_ENOTFOUND: not there (now);
 * KEEL_EIMAGE: will never be an image (directory, device …); KEEL_EDENIED, KEEL_ENOSPACE, KEEL_EIO:
 * the system's reason is in `err`. Never blocks on a FIFO or a device. */
int settle_read(const char *path, const SettleOptions *options, Settled *ret, Error *err);

void settled_done(Settled *settled);

#endif
