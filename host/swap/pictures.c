/* A slot's images as a transaction. Owns their pixels and the table. Frame thread. */
#include "swap/pictures.h"

#include <keel/base.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "fault/guard.h"

enum { PICTURE_FREE = 0, PICTURE_NEW, PICTURE_KEPT, PICTURE_DOOMED };
enum { PIXEL = 4 };

struct PictureWrite {
    PictureWrite *next;
    uint32_t index, x, y, width, height;
    uint8_t pixels[];
};

static uint64_t next_version(void)
{
    static _Atomic uint64_t versions;
    return atomic_fetch_add(&versions, 1) + 1;
}

void pictures_init(Pictures *pictures)
{
    memset(pictures, 0, sizeof *pictures);
    pictures->last = &pictures->first;
}

static size_t bytes_of(uint32_t width, uint32_t height)
{
    return (size_t)width * height * PIXEL;
}

/* ---- pixels, which may be held by others ---- */

typedef struct PixelsHead {
    _Alignas(16) _Atomic uint32_t holders;
} PixelsHead;

static PixelsHead *head_of(uint8_t *pixels)
{
    return (PixelsHead *)(void *)(pixels - sizeof(PixelsHead));
}

/* Zeroed: transparent. */
static uint8_t *new_pixels(size_t bytes)
{
    PixelsHead *head = calloc(1, sizeof *head + bytes);
    if (!head)
        return NULL;
    atomic_init(&head->holders, 1);
    return (uint8_t *)(head + 1);
}

uint8_t *pictures_hold(const Picture *picture)
{
    atomic_fetch_add(&head_of(picture->pixels)->holders, 1);
    return picture->pixels;
}

void pictures_let_go(uint8_t *pixels)
{
    if (pixels && atomic_fetch_sub(&head_of(pixels)->holders, 1) == 1)
        free(head_of(pixels));
}

/* Before they are written: who holds them keeps what was there. Without memory for that, it
 * doesn't. */
static void own_pixels(Picture *picture)
{
    if (atomic_load(&head_of(picture->pixels)->holders) == 1)
        return;
    size_t bytes = bytes_of(picture->width, picture->height);
    uint8_t *own = new_pixels(bytes);
    if (!own)
        return;
    memcpy(own, picture->pixels, bytes);
    pictures_let_go(picture->pixels);
    picture->pixels = own;
}

static void drop_writes(Pictures *pictures)
{
    for (PictureWrite *write = pictures->first, *next; write; write = next) {
        next = write->next;
        pictures->bytes -= bytes_of(write->width, write->height);
        free(write);
    }
    pictures->first = NULL;
    pictures->last = &pictures->first;
}

void pictures_done(Pictures *pictures)
{
    drop_writes(pictures);
    for (uint32_t i = 0; i < pictures->top; i++)
        pictures_let_go(pictures->places[i].pixels);
    free(pictures->places);
    memset(pictures, 0, sizeof *pictures);
}

static Picture *find(const Pictures *pictures, keel_handle image)
{
    uint32_t index = (uint32_t)image - 1; /* 0 becomes UINT32_MAX, beyond every table */
    if (index >= pictures->top)
        return NULL;
    Picture *picture = &pictures->places[index];
    return picture->state != PICTURE_FREE && picture->generation == image >> 32 ? picture : NULL;
}

int pictures_has(const Pictures *pictures, keel_handle image)
{
    const Picture *picture = find(pictures, image);
    return picture && picture->state != PICTURE_DOOMED;
}

const Picture *pictures_find(const Pictures *pictures, keel_handle image)
{
    return find(pictures, image);
}

/* In host depth. */
static Picture *reserve(Pictures *pictures, size_t bytes, int *ret_rc)
{
    *ret_rc = KEEL_ENOMEM;
    if (!pictures->places)
        pictures->places = calloc(PICTURES_MOST, sizeof *pictures->places);
    if (!pictures->places)
        return NULL;
    uint32_t i = 0;
    while (i < pictures->top && pictures->places[i].state != PICTURE_FREE)
        i++;
    *ret_rc = KEEL_ELIMIT;
    if (i == PICTURES_MOST || bytes > PICTURES_BYTES - pictures->bytes)
        return NULL;
    *ret_rc = KEEL_ENOMEM;
    uint8_t *pixels = new_pixels(bytes);
    if (!pixels)
        return NULL;
    Picture *picture = &pictures->places[i];
    if (i == pictures->top)
        pictures->top++;
    *picture = (Picture){.pixels = pixels,
                         .generation = picture->generation ? picture->generation : 1,
                         .state = PICTURE_NEW,
                         .version = next_version()};
    pictures->bytes += bytes;
    pictures->count++;
    pictures->pending = 1;
    *ret_rc = KEEL_OK;
    return picture;
}

/* Rows of the module's memory; outside host depth, so that a bad pointer is the module's fault. */
static void copy_rows(uint8_t *to, const void *from, uint64_t stride_bytes, uint32_t width,
                      uint32_t height)
{
    for (uint32_t y = 0; y < height; y++)
        memcpy(to + (size_t)y * width * PIXEL, (const uint8_t *)from + y * stride_bytes,
               (size_t)width * PIXEL);
}

static int size_makes_sense(uint32_t width, uint32_t height, const void *pixels,
                            uint64_t stride_bytes)
{
    return width && height && width <= PICTURE_SIDE && height <= PICTURE_SIDE &&
           (!pixels || (stride_bytes >= (uint64_t)width * PIXEL && stride_bytes < UINT32_MAX));
}

keel_handle pictures_new(Pictures *pictures, uint32_t width, uint32_t height, const void *pixels,
                         uint64_t stride_bytes, int *ret_rc)
{
    *ret_rc = KEEL_EINVAL;
    if (!size_makes_sense(width, height, pixels, stride_bytes))
        return 0;
    guard_host_enter();
    Picture *picture = reserve(pictures, bytes_of(width, height), ret_rc);
    if (picture) {
        picture->width = width;
        picture->height = height;
    }
    guard_host_leave();
    if (!picture)
        return 0;
    if (pixels)
        copy_rows(picture->pixels, pixels, stride_bytes, width, height);
    return (uint64_t)picture->generation << 32 | ((uint64_t)(picture - pictures->places) + 1);
}

int pictures_write(Pictures *pictures, keel_handle image, uint32_t x, uint32_t y, uint32_t width,
                   uint32_t height, const void *pixels, uint64_t stride_bytes)
{
    const Picture *picture = find(pictures, image);
    if (!picture || picture->state == PICTURE_DOOMED)
        return KEEL_ESTALE;
    if (!pixels || !size_makes_sense(width, height, pixels, stride_bytes) ||
        x > picture->width - 1 || width > picture->width - x || y > picture->height - 1 ||
        height > picture->height - y)
        return KEEL_EINVAL;
    size_t bytes = bytes_of(width, height);
    PictureWrite *write = NULL;
    int rc = KEEL_ELIMIT;
    guard_host_enter();
    if (bytes <= PICTURES_BYTES - pictures->bytes) {
        write = malloc(sizeof *write + bytes);
        rc = write ? KEEL_OK : KEEL_ENOMEM;
    }
    if (write) {
        /* In the list from the start, of no effect until its pixels are there: a fault while they
         * are copied undoes the frame and finds it. */
        *write = (PictureWrite){.index = (uint32_t)(picture - pictures->places),
                                .x = x,
                                .y = y,
                                .width = width,
                                .height = height};
        *pictures->last = write;
        pictures->last = &write->next;
        pictures->bytes += bytes;
        pictures->pending = 1;
    }
    guard_host_leave();
    if (write)
        copy_rows(write->pixels, pixels, stride_bytes, width, height);
    return rc;
}

int pictures_free(Pictures *pictures, keel_handle image)
{
    Picture *picture = find(pictures, image);
    if (!picture || picture->state == PICTURE_DOOMED)
        return KEEL_ESTALE;
    picture->freeing = 1;
    pictures->pending = 1;
    return KEEL_OK;
}

static void release(Pictures *pictures, Picture *picture, uint32_t generation)
{
    pictures->bytes -= bytes_of(picture->width, picture->height);
    pictures->count--;
    pictures_let_go(picture->pixels);
    *picture = (Picture){.generation = generation};
}

static void apply(Pictures *pictures, const PictureWrite *write)
{
    Picture *picture = &pictures->places[write->index];
    size_t row = (size_t)write->width * PIXEL;
    own_pixels(picture);
    for (uint32_t y = 0; y < write->height; y++)
        memcpy(picture->pixels + ((size_t)(write->y + y) * picture->width + write->x) * PIXEL,
               write->pixels + y * row, row);
    picture->version = next_version();
    pictures->shown = picture->version;
}

void pictures_commit(Pictures *pictures)
{
    if (!pictures->pending)
        return;
    pictures->pending = 0;
    for (const PictureWrite *write = pictures->first; write; write = write->next)
        apply(pictures, write);
    drop_writes(pictures);
    for (uint32_t i = 0; i < pictures->top; i++) {
        Picture *picture = &pictures->places[i];
        if (picture->state == PICTURE_DOOMED) {
            release(pictures, picture, picture->generation + 1);
        } else if (picture->freeing) {
            picture->state = PICTURE_DOOMED;
            pictures->pending = 1;
        } else if (picture->state == PICTURE_NEW) {
            picture->state = PICTURE_KEPT;
        }
    }
}

void pictures_undo(Pictures *pictures)
{
    if (!pictures->pending)
        return;
    int doomed = 0;
    drop_writes(pictures);
    for (uint32_t i = 0; i < pictures->top; i++) {
        Picture *picture = &pictures->places[i];
        if (picture->state == PICTURE_NEW)
            release(pictures, picture, picture->generation);
        doomed |= picture->state == PICTURE_DOOMED;
        picture->freeing = 0;
    }
    while (pictures->top && pictures->places[pictures->top - 1].state == PICTURE_FREE &&
           pictures->places[pictures->top - 1].generation <= 1)
        pictures->top--;
    pictures->pending = doomed;
}

/* A place as it is carried. */
typedef struct PictureCarried {
    uint32_t generation, width, height, state;
} PictureCarried;

int pictures_save(const Pictures *pictures, Buf *out)
{
    uint64_t top = pictures->top;
    int rc = buf_add(out, &top, sizeof top);
    for (uint32_t i = 0; !rc && i < top; i++) {
        const Picture *picture = &pictures->places[i];
        PictureCarried carried = {picture->generation, picture->width, picture->height,
                                  picture->state};
        rc = buf_add(out, &carried, sizeof carried);
    }
    return rc;
}

int pictures_load(Pictures *pictures, Carried *in)
{
    uint64_t top;
    if (carried_take(in, &top, sizeof top) || top > PICTURES_MOST)
        return KEEL_EDATA;
    if (top)
        pictures->places = calloc(PICTURES_MOST, sizeof *pictures->places);
    if (top && !pictures->places)
        return KEEL_ENOMEM;
    for (uint32_t i = 0; i < top; i++) {
        PictureCarried carried;
        if (carried_take(in, &carried, sizeof carried))
            return KEEL_EDATA;
        Picture *picture = &pictures->places[i];
        pictures->top = i + 1;
        picture->generation = carried.generation;
        if (carried.state == PICTURE_FREE)
            continue;
        size_t bytes = bytes_of(carried.width, carried.height);
        if ((carried.state != PICTURE_KEPT && carried.state != PICTURE_DOOMED) || !carried.width ||
            !carried.height || carried.width > PICTURE_SIDE || carried.height > PICTURE_SIDE ||
            bytes > PICTURES_BYTES - pictures->bytes)
            return KEEL_EDATA;
        picture->pixels = new_pixels(bytes);
        if (!picture->pixels)
            return KEEL_ENOMEM;
        picture->width = carried.width;
        picture->height = carried.height;
        picture->state = (uint8_t)carried.state;
        pictures->pending |= carried.state == PICTURE_DOOMED;
        picture->version = next_version();
        pictures->bytes += bytes;
        pictures->count++;
    }
    return KEEL_OK;
}

int pictures_put(Pictures *pictures, keel_handle image, uint32_t width, uint32_t height,
                 const void *pixels)
{
    uint32_t index = (uint32_t)image - 1;
    size_t bytes = bytes_of(width, height);
    if (index >= PICTURES_MOST || !(image >> 32) || !width || !height || width > PICTURE_SIDE ||
        height > PICTURE_SIDE || bytes > PICTURES_BYTES - pictures->bytes)
        return KEEL_EDATA;
    if (!pictures->places)
        pictures->places = calloc(PICTURES_MOST, sizeof *pictures->places);
    if (!pictures->places)
        return KEEL_ENOMEM;
    Picture *picture = &pictures->places[index];
    if (picture->state != PICTURE_FREE)
        return KEEL_EDATA;
    uint8_t *own = new_pixels(bytes);
    if (!own)
        return KEEL_ENOMEM;
    memcpy(own, pixels, bytes);
    *picture = (Picture){.pixels = own,
                         .width = width,
                         .height = height,
                         .generation = (uint32_t)(image >> 32),
                         .state = PICTURE_KEPT,
                         .version = next_version()};
    if (index >= pictures->top)
        pictures->top = index + 1;
    pictures->bytes += bytes;
    pictures->count++;
    return KEEL_OK;
}
