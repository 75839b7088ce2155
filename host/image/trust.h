/* Whose code may run: the keys that a host trusts, and the highest counter of each module that it
 * has run.
 *
 * An image is trusted when its manifest, beside it as <path>.manifest, is signed by one of the
 * keys, names these very bytes (SHA-256 of the sealed copy that will run), has not expired and has
 * no lower counter than a build of this module that ran before. Any thread; it blocks on the disk,
 * so not the frame thread. */
#ifndef IMAGE_TRUST_H
#define IMAGE_TRUST_H

#include "image/manifest.h"

typedef struct Trust Trust;

/* Why an image isn't trusted. */
typedef enum TrustFault {
    TRUST_FITS,
    TRUST_MISSING,     /* no manifest */
    TRUST_DAMAGED,     /* something else in its place, or cut short */
    TRUST_UNSIGNED,    /* or not by a key that is trusted, or forged */
    TRUST_OTHER_BYTES, /* of the same module, but not this build */
    TRUST_OTHER_MODULE,
    TRUST_OLDER, /* a replay */
    TRUST_EXPIRED,
    TRUST_IMPOSSIBLE, /* the counters can't be read: nobody can tell */
} TrustFault;

typedef struct TrustProof {
    char module[IMAGE_NAME_BYTES];
    Digest digest;
    uint64_t counter;
    int64_t expires_s; /* 0: never */
    PublicKey signer;
} TrustProof;

/* `keys`: each a file or the one-line form (base/keyfile.h). `state`: the file of the counters;
 * NULL: $XDG_STATE_HOME/keel/trust or ~/.local/state/keel/trust; "": in memory only;
 * "-": older builds are as good as newer ones. */
int trust_open(const char *const *keys, uint32_t count, const char *state, Trust **ret, Error *err);
void trust_close(Trust *trust);

/* Before the image at `path` is read: its manifest, read once, when a trusted key signed it. 0, or
 * KEEL_EUNTRUSTED with `*ret_fault`; then `ret` is empty. */
int trust_learn(const Trust *trust, const char *path, Manifest *ret, TrustFault *ret_fault,
                Error *err);

/* Does it cover this image, now? `digest` is the image's. 0, or KEEL_EUNTRUSTED as above. */
int trust_fit(Trust *trust, const Manifest *manifest, const Image *image, const Digest *digest,
              TrustProof *ret, TrustFault *ret_fault, Error *err);

/* Could a manifest that is still being copied cure this? */
static inline int trust_may_come(TrustFault fault)
{
    return fault >= TRUST_MISSING && fault <= TRUST_OTHER_MODULE;
}

/* The image ran: its module's counter never goes below this one's any more. In memory it holds at
 * once; an error says that it is not on the disk. */
int trust_keep(Trust *trust, const TrustProof *proof, Error *err);

/* The part of trust_fit that needs no state. */
TrustFault trust_judge(const ManifestFacts *facts, const Image *image, const Digest *digest,
                       int64_t now_s, Error *err);

/* Where the manifest of the module at `path` lies: beside what it is, when it is a link. */
int trust_manifest_path(const char *path, char *ret, size_t room);

/* The keys in one line, and where counters are kept ("" in memory); valid while `trust` lives. */
const char *trust_keys_text(const Trust *trust);
const char *trust_state_path(const Trust *trust);

/* "missing", "unsigned" …, for scripts. */
const char *trust_fault_name(TrustFault fault);

#endif
