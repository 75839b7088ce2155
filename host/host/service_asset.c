/* keel.asset/1: files as effects of the frame. [frame] */
#include <string.h>

#include <keel/asset.h>

#include "host/services.h"
#include "watch/beneath.h"

static keel_handle open_asset(keel *k, const char *path, uint32_t kind, uint64_t tag)
{
    Slot *slot = service_slot(k);
    char copy[BENEATH_PATH_BYTES + 2];
    if (!slot || kind > KEEL_ASSET_FONT)
        return 0;
    size_t bytes = strnlen(path, sizeof copy - 1); /* may fault: the module's fault */
    memcpy(copy, path, bytes);
    copy[bytes] = 0;
    if (beneath_check(copy, NULL))
        return 0;
    guard_host_enter();
    keel_handle asset = assets_open(&slot->effects.assets, copy, kind, tag);
    guard_host_leave();
    return asset;
}

static int32_t close_asset(keel *k, keel_handle asset)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    guard_host_enter();
    int rc = assets_close(&slot->effects.assets, asset);
    guard_host_leave();
    return rc;
}

static int32_t again(keel *k, keel_handle asset)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    guard_host_enter();
    int rc = assets_again(&slot->effects.assets, asset);
    guard_host_leave();
    return rc;
}

const struct keel_asset_1 service_asset_1 = {
    .size = sizeof service_asset_1, .open = open_asset, .close = close_asset, .again = again};
