/* keel.asset/1: files beside the module (pictures, sounds, texts, shaders, data), read and watched
 * by the host. A frame never waits for a disk: the content comes as KEEL_EVENT_ASSET, whole, when
 * it has been read, and again each time the file holds something new.
 *
 *     static int start(keel *k)
 *     {
 *         keel_asset_open(k, "logo.png", KEEL_ASSET_IMAGE, LOGO);
 *         …
 *     static void event(keel *k, const struct keel_event *e)
 *     {
 *         if (e->kind == KEEL_EVENT_ASSET && e->tag == LOGO)
 *             s->logo = keel_asset_image(k, e, s->logo);
 *
 * What has come is an input: it is recorded, and an undone frame gets it once more. What the module
 * needs later it keeps in its state; the file stays open over swaps. */
#ifndef KEEL_ASSET_H
#define KEEL_ASSET_H

#include "context.h"
#include "draw.h"

KEEL_BEGIN

#define KEEL_ASSET_1 "keel.asset/1"

enum {
    KEEL_ASSET_BYTES = 0, /* as the file has them */
    KEEL_ASSET_TEXT = 1,  /* UTF-8 (anything else is an error), a 0 behind it: texts and shaders */
    KEEL_ASSET_IMAGE = 2, /* PNG; content: R G B A, a byte each, alpha not multiplied in */
    KEEL_ASSET_SOUND = 3, /* WAV; content: float samples, -1 to 1, channels side by side */
    KEEL_ASSET_FONT = 4   /* TTF, OTF; as the file has it. Texts can be drawn with it: the family of
                             a struct keel_font is its path, of at most 63 bytes */
};

/* The data of a KEEL_EVENT_ASSET whose `result` is 0; `bytes` of content lie behind its `size`
 * bytes. When `result` is an error the data are a sentence that says why, and what came before
 * still holds; the file stays watched. Nothing comes when it is removed. */
struct keel_asset {
    uint32_t size;
    uint32_t kind;           /* KEEL_ASSET_… */
    uint32_t width, height;  /* of an image, pixels; its rows follow each other without a gap */
    uint32_t channels, rate; /* of a sound: 1 or 2; frames a second */
    uint64_t frames;         /* of a sound: samples a channel */
    uint64_t bytes;          /* of content */
    uint64_t hash[2];        /* of the file's bytes */
};

struct keel_asset_1 {
    uint32_t size;
    uint32_t reserved;

    /* Reads and watches a file from the end of this frame on; events carry `tag`. `path` is
     * relative to the module's folder of assets, with '/' and without "..", at most 255 bytes;
     * nothing outside of the folder is reached, also not by links. 0 when it can't be: a path that
     * isn't such, 256 open already. Files have at most 64 MiB, contents 128 MiB. [frame] */
    keel_handle (*open)(keel *k, const char *path, uint32_t kind, uint64_t tag);
    /* No event of it comes after this frame. KEEL_ESTALE when it was closed before. [frame] */
    int32_t (*close)(keel *k, keel_handle asset);
    /* Its content comes once more, changed or not. [frame] */
    int32_t (*again)(keel *k, keel_handle asset);
};

static inline const struct keel_asset_1 *keel_asset_service_(keel *k)
{
    static const struct keel_asset_1 *table KEEL_CACHE = NULL;
    if (!table)
        table = (const struct keel_asset_1 *)k->service(k, KEEL_ASSET_1, sizeof *table);
    return table;
}

static inline keel_handle keel_asset_open(keel *k, const char *path, uint32_t kind, uint64_t tag)
{
    const struct keel_asset_1 *table = keel_asset_service_(k);
    return table ? table->open(k, path, kind, tag) : 0;
}

static inline int32_t keel_asset_close(keel *k, keel_handle asset)
{
    const struct keel_asset_1 *table = keel_asset_service_(k);
    return table ? table->close(k, asset) : (int32_t)KEEL_ENOSERVICE;
}

static inline int32_t keel_asset_again(keel *k, keel_handle asset)
{
    const struct keel_asset_1 *table = keel_asset_service_(k);
    return table ? table->again(k, asset) : (int32_t)KEEL_ENOSERVICE;
}

/* The new content that an event brings, or NULL for errors and other events. */
static inline const struct keel_asset *keel_event_asset(const struct keel_event *e)
{
    return e->kind == KEEL_EVENT_ASSET && e->result == 0 &&
                   e->data_bytes >= sizeof(struct keel_asset)
               ? (const struct keel_asset *)e->data
               : NULL;
}

static inline const void *keel_asset_data(const struct keel_asset *asset)
{
    return (const char *)asset + asset->size;
}

/* Why an asset could not be read, or NULL for contents and other events. */
static inline const char *keel_asset_error(const struct keel_event *e)
{
    return e->kind == KEEL_EVENT_ASSET && e->result < 0 ? (const char *)e->data : NULL;
}

/* A picture of keel.draw/1 with the content of an image; `old`, the one before or 0, is freed. On
 * an error `old` stays. */
static inline keel_handle keel_asset_image(keel *k, const struct keel_event *e, keel_handle old)
{
    const struct keel_asset *asset = keel_event_asset(e);
    if (!asset || asset->kind != KEEL_ASSET_IMAGE)
        return old;
    keel_handle image = keel_image_new(k, asset->width, asset->height, keel_asset_data(asset));
    if (!image)
        return old;
    if (old)
        keel_image_free(k, old);
    return image;
}

KEEL_END

#endif
