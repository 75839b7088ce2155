/* The assets that a slot has open, as a transaction: a handle is reserved when the module asks, the
 * file is read and watched once the frame counts. Knows nothing of files. Owned by one slot; frame
 * thread. */
#ifndef SWAP_ASSETS_H
#define SWAP_ASSETS_H

#include <stddef.h>

#include <keel/asset.h>

enum { ASSETS_OPEN = 256, ASSETS_PENDING = 1024 };

typedef enum AssetOrderKind { ASSET_OPEN, ASSET_CLOSE, ASSET_AGAIN } AssetOrderKind;

/* What a committed frame wants of the files. */
typedef struct AssetOrder {
    AssetOrderKind kind;
    uint32_t as; /* KEEL_ASSET_… */
    keel_handle asset;
    uint64_t tag;
    const char *path; /* of ASSET_OPEN; the table's, valid until it is closed */
} AssetOrder;

typedef struct AssetPlace {
    char *path; /* NULL: free */
    uint64_t tag;
    uint32_t as;
    uint32_t generation; /* of the handle */
    uint8_t open;        /* its frame counted */
    uint8_t closing;     /* this frame closes it */
} AssetPlace;

typedef struct AssetPending {
    AssetOrderKind kind;
    uint32_t index;
} AssetPending;

typedef struct Assets {
    AssetPlace *places; /* ASSETS_OPEN, allocated at the first use */
    uint32_t top, count;
    AssetPending *pending; /* ASSETS_PENDING */
    uint32_t pending_count;
    /* Takes the orders of frames that count; NULL: nobody reads files (trial, replay). */
    void (*order)(const AssetOrder *order, void *user);
    void *user;
} Assets;

void assets_done(Assets *assets);

/* ---- from the service, inside a frame ---- */

/* `path` was checked and is copied. 0: full. */
keel_handle assets_open(Assets *assets, const char *path, uint32_t as, uint64_t tag);
int assets_close(Assets *assets, keel_handle asset);
int assets_again(Assets *assets, keel_handle asset);

/* ---- around frames ---- */

void assets_commit(Assets *assets);
void assets_undo(Assets *assets);

/* Nonzero while the asset is open, its close not yet committed. */
int assets_is_open(const Assets *assets, keel_handle asset);
/* Its path, valid until it is closed; NULL when it isn't open. */
const char *assets_path(const Assets *assets, keel_handle asset);

#endif
