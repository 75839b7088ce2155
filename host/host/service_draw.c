/* keel.draw/1: into the slot's list of this frame; images as effects. [frame] */
#include <keel/draw.h>

#include <math.h>
#include <string.h>

#include "host/services.h"

/* Where a module may draw: inside its own calls. */
static inline DrawList *list_of(keel *k)
{
    Slot *slot = service_slot(k);
    return slot ? slot->draw.recording : NULL;
}

#define RECORD(k, call)          \
    DrawList *list = list_of(k); \
    return list ? (call) : KEEL_ETHREAD

static int32_t view(keel *k, struct keel_view *ret_view)
{
    const Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    const DrawScreen *screen = &slot->draw.screen;
    struct keel_view own = {.size = ret_view->size,
                            .flags = screen->flags,
                            .width = screen->width,
                            .height = screen->height,
                            .scale = screen->scale};
    memcpy(ret_view, &own, own.size < sizeof own ? own.size : sizeof own);
    return KEEL_OK;
}

static int32_t push(keel *k)
{
    RECORD(k, draw_push(list));
}

static int32_t pop(keel *k)
{
    RECORD(k, draw_pop(list));
}

static int32_t transform(keel *k, const float m[6])
{
    RECORD(k, draw_transform(list, m));
}

static int32_t rotate(keel *k, float radians)
{
    const float c = cosf(radians), s = sinf(radians);
    RECORD(k, draw_transform(list, (const float[6]){c, s, -s, c, 0, 0}));
}

static int32_t clip(keel *k, float x, float y, float w, float h, float radius)
{
    RECORD(k, draw_clip(list, x, y, w, h, radius));
}

static int32_t blend(keel *k, uint32_t mode)
{
    RECORD(k, draw_blend(list, mode));
}

static keel_paint gradient(keel *k, uint32_t kind, const float where[4],
                           const struct keel_stop *stops, uint32_t count)
{
    DrawList *list = list_of(k);
    return list ? draw_gradient(list, kind, where, stops, count) : 0;
}

static int32_t clear(keel *k, keel_paint paint)
{
    RECORD(k, draw_clear(list, paint));
}

static int32_t rect(keel *k, float x, float y, float w, float h, float radius, float stroke,
                    keel_paint paint)
{
    RECORD(k, draw_rect(list, x, y, w, h, radius, stroke, paint));
}

static int32_t ellipse(keel *k, float x, float y, float rx, float ry, float stroke,
                       keel_paint paint)
{
    RECORD(k, draw_ellipse(list, x, y, rx, ry, stroke, paint));
}

static int32_t arc(keel *k, float x, float y, float radius, float from, float sweep, float stroke,
                   uint32_t cap, keel_paint paint)
{
    RECORD(k, draw_arc(list, x, y, radius, from, sweep, stroke, cap, paint));
}

static int32_t line(keel *k, float x0, float y0, float x1, float y1, float width, uint32_t cap,
                    keel_paint paint)
{
    RECORD(k, draw_line(list, x0, y0, x1, y1, width, cap, paint));
}

static int32_t triangle(keel *k, const struct keel_point points[3], keel_paint paint)
{
    RECORD(k, draw_triangle(list, points, paint));
}

static int32_t path(keel *k, const struct keel_point *points, uint32_t count,
                    const struct keel_path *style, keel_paint paint)
{
    RECORD(k, draw_path(list, points, count, style, paint));
}

static int32_t text(keel *k, float x, float y, const char *bytes, uint64_t count,
                    const struct keel_font *font, keel_paint paint)
{
    RECORD(k, draw_text(list, x, y, bytes, count, font, paint));
}

static int32_t text_size(keel *k, const char *bytes, uint64_t count, const struct keel_font *font,
                         struct keel_text_size *ret)
{
    Slot *slot = service_slot(k);
    return slot ? draw_text_size(slot->draw.recording, &slot->draw.screen, bytes, count, font, ret)
                : KEEL_ETHREAD;
}

static keel_handle image_new(keel *k, uint32_t width, uint32_t height, const void *pixels,
                             uint64_t stride_bytes)
{
    Slot *slot = service_slot(k);
    int rc;
    return slot ? pictures_new(&slot->effects.pictures, width, height, pixels, stride_bytes, &rc)
                : 0;
}

/* Outside the live host the images of earlier frames aren't there: what is said of them holds. */
static int32_t judge(const keel *k, int rc)
{
    return rc == KEEL_ESTALE && k->mode != KEEL_MODE_LIVE ? KEEL_OK : rc;
}

static int32_t image_write(keel *k, keel_handle image, uint32_t x, uint32_t y, uint32_t width,
                           uint32_t height, const void *pixels, uint64_t stride_bytes)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    return judge(k, pictures_write(&slot->effects.pictures, image, x, y, width, height, pixels,
                                   stride_bytes));
}

static int32_t image_free(keel *k, keel_handle image)
{
    Slot *slot = service_slot(k);
    return slot ? judge(k, pictures_free(&slot->effects.pictures, image)) : KEEL_ETHREAD;
}

static int32_t image(keel *k, keel_handle handle, const float to[4], const float from[4],
                     uint32_t flags, keel_paint tint)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    if (!pictures_has(&slot->effects.pictures, handle))
        return judge(k, KEEL_ESTALE);
    if (tint >> 32)
        return KEEL_EINVAL;
    return draw_image(slot->draw.recording, handle, to, from, flags, (uint32_t)tint);
}

const struct keel_draw_1 service_draw_1 = {.size = sizeof service_draw_1,
                                           .view = view,
                                           .push = push,
                                           .pop = pop,
                                           .transform = transform,
                                           .rotate = rotate,
                                           .clip = clip,
                                           .blend = blend,
                                           .gradient = gradient,
                                           .clear = clear,
                                           .rect = rect,
                                           .ellipse = ellipse,
                                           .arc = arc,
                                           .line = line,
                                           .triangle = triangle,
                                           .path = path,
                                           .text = text,
                                           .text_size = text_size,
                                           .image_new = image_new,
                                           .image_write = image_write,
                                           .image_free = image_free,
                                           .image = image};
