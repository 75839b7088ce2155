/* Fuzzes what reads a last picture: bytes as they come, and as the list of a file whose checks all
 * fit. What is let through is walked as a player would. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "swap/last_picture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void walk(const LastPicture *picture)
{
    size_t seen = 0;
    for (const DrawHead *at = draw_first(&picture->list); at; at = draw_next(&picture->list, at)) {
        if (at->op >= DRAW_OPS || at->bytes < sizeof *at || at->bytes % 8)
            abort();
        seen += at->bytes;
        if (at->op == DRAW_TEXT) {
            const DrawText *text = (const void *)at;
            if (sizeof *text + text->family_bytes + text->text_bytes > at->bytes)
                abort();
        }
        if (at->op == DRAW_IMAGE) {
            const Picture *image =
                pictures_find(&picture->pictures, ((const DrawImage *)(const void *)at)->image);
            if (image && (!image->pixels || !image->width || !image->height))
                abort();
        }
    }
    if (seen != picture->list.used)
        abort();
}

static void look(const void *data, size_t bytes)
{
    LastPicture *picture = NULL;
    Error err = {0};
    int rc = last_picture_decode(data, bytes, &picture, &err);
    if (rc ? picture || !*err.text : !picture)
        abort();
    if (!rc)
        walk(picture);
    last_picture_free(picture);
}

/* The bytes are list, gradients and images' heads, as many of each as the first two say. */
static void wrap(const uint8_t *data, size_t bytes)
{
    if (bytes < 2)
        return;
    LastPictureHead head = {.magic = LAST_PICTURE_MAGIC,
                            .version = LAST_PICTURE_VERSION,
                            .head_bytes = sizeof head,
                            .width = 640,
                            .height = 400};
    size_t left = bytes - 2;
    head.gradients = data[0] % 4;
    head.images = data[1] % 3;
    size_t rest = head.gradients * sizeof(DrawGradient) + head.images * sizeof(LastPictureImage);
    if (rest > left)
        return;
    head.list_bytes = (left - rest) & ~(size_t)7;
    size_t body = head.list_bytes + rest;
    head.file_bytes = sizeof head + left;
    head.body_check = hash_bytes(data + 2, body).low;
    head.head_check = hash_bytes(&head, offsetof(LastPictureHead, head_check)).low;
    uint8_t *file = malloc(sizeof head + left);
    if (!file)
        return;
    memcpy(file, &head, sizeof head);
    memcpy(file + sizeof head, data + 2, left);
    look(file, sizeof head + left);
    free(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *own = malloc(bytes + 1); /* aligned, and its end is seen by a sanitizer */
    if (!own)
        return 0;
    memcpy(own, data, bytes);
    look(own, bytes);
    free(own);
    wrap(data, bytes);
    return 0;
}
