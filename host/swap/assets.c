/* The table of open assets. Owns paths. Frame thread. */
#include "swap/assets.h"

#include <stdlib.h>
#include <string.h>

static keel_handle handle_of(const Assets *assets, uint32_t index)
{
    return (uint64_t)assets->places[index].generation << 32 | (index + 1);
}

/* UINT32_MAX: none. */
static uint32_t find(const Assets *assets, keel_handle asset)
{
    uint32_t index = (uint32_t)asset - 1;
    if (index >= assets->top || !assets->places[index].path ||
        assets->places[index].generation != (uint32_t)(asset >> 32))
        return UINT32_MAX;
    return index;
}

static int reserve(Assets *assets)
{
    if (!assets->places)
        assets->places = calloc(ASSETS_OPEN, sizeof *assets->places);
    if (!assets->pending)
        assets->pending = calloc(ASSETS_PENDING, sizeof *assets->pending);
    return assets->places && assets->pending && assets->pending_count < ASSETS_PENDING;
}

static void push(Assets *assets, AssetOrderKind kind, uint32_t index)
{
    assets->pending[assets->pending_count++] = (AssetPending){kind, index};
}

keel_handle assets_open(Assets *assets, const char *path, uint32_t as, uint64_t tag)
{
    if (!reserve(assets) || assets->count == ASSETS_OPEN)
        return 0;
    uint32_t index = 0;
    while (index < assets->top && assets->places[index].path)
        index++;
    AssetPlace *place = &assets->places[index];
    char *copy = strdup(path);
    if (!copy)
        return 0;
    *place = (AssetPlace){.path = copy, .tag = tag, .as = as, .generation = place->generation + 1};
    if (index == assets->top)
        assets->top++;
    assets->count++;
    push(assets, ASSET_OPEN, index);
    return handle_of(assets, index);
}

static int ask(Assets *assets, keel_handle asset, AssetOrderKind kind)
{
    uint32_t index = find(assets, asset);
    if (index == UINT32_MAX || assets->places[index].closing)
        return KEEL_ESTALE;
    if (!reserve(assets))
        return KEEL_ELIMIT;
    assets->places[index].closing = kind == ASSET_CLOSE;
    push(assets, kind, index);
    return KEEL_OK;
}

int assets_close(Assets *assets, keel_handle asset)
{
    return ask(assets, asset, ASSET_CLOSE);
}

int assets_again(Assets *assets, keel_handle asset)
{
    return ask(assets, asset, ASSET_AGAIN);
}

int assets_is_open(const Assets *assets, keel_handle asset)
{
    uint32_t index = find(assets, asset);
    return index != UINT32_MAX && assets->places[index].open;
}

const char *assets_path(const Assets *assets, keel_handle asset)
{
    return assets_is_open(assets, asset) ? assets->places[find(assets, asset)].path : NULL;
}

static void release(Assets *assets, uint32_t index)
{
    AssetPlace *place = &assets->places[index];
    free(place->path);
    *place = (AssetPlace){.generation = place->generation};
    assets->count--;
}

void assets_commit(Assets *assets)
{
    for (uint32_t i = 0; i < assets->pending_count; i++) {
        const AssetPending *pending = &assets->pending[i];
        AssetPlace *place = &assets->places[pending->index];
        const AssetOrder order = {.kind = pending->kind,
                                  .as = place->as,
                                  .asset = handle_of(assets, pending->index),
                                  .tag = place->tag,
                                  .path = place->path};
        if (pending->kind == ASSET_OPEN)
            place->open = 1;
        if (assets->order)
            assets->order(&order, assets->user);
        if (pending->kind == ASSET_CLOSE)
            release(assets, pending->index);
    }
    assets->pending_count = 0;
}

void assets_undo(Assets *assets)
{
    while (assets->pending_count) {
        const AssetPending *pending = &assets->pending[--assets->pending_count];
        AssetPlace *place = &assets->places[pending->index];
        if (pending->kind == ASSET_CLOSE)
            place->closing = 0;
        if (pending->kind != ASSET_OPEN)
            continue;
        release(assets, pending->index);
        place->generation--; /* the same handle again, as if never asked for */
    }
}

void assets_done(Assets *assets)
{
    for (uint32_t i = 0; i < assets->top; i++)
        free(assets->places[i].path);
    free(assets->places);
    free(assets->pending);
    *assets = (Assets){0};
}
