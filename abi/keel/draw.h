/* keel.draw/1: what a frame shows. The host keeps a list of what was drawn and plays it when the
 * frame has counted: no module touches a graphics library, an undone frame leaves the picture of
 * the last good one, and a host without a window takes everything and shows nothing.
 *
 *     keel_clear(k, 0x101820ff);
 *     keel_circle(k, 320, 180, 40, 0xff8800ff);
 *     keel_text(k, 20, 20, 16, 0xffffffff, "hello");
 *
 * Coordinates are logical pixels, origin top left, y downward; angles are radians, clockwise from
 * the right. Colours are sRGB, 0xRRGGBBAA, alpha not multiplied in. Each frame draws everything it
 * wants to be seen; later things lie above earlier ones. All [frame].
 *
 * Functions answer 0 or a negative KEEL_E…, which may be left unread: EINVAL for numbers that are
 * not finite or sizes that make no sense (nothing is drawn), ELIMIT past 64 MiB a frame,
 * ENOSERVICE where the host knows no drawing. */
#ifndef KEEL_DRAW_H
#define KEEL_DRAW_H

#include "context.h"

#include <stdarg.h>

KEEL_BEGIN

#define KEEL_DRAW_1 "keel.draw/1"

/* 0xRRGGBBAA, or what keel_linear, keel_radial or keel_gradient gave in this frame. */
typedef uint64_t keel_paint;

struct keel_point {
    float x, y;
};

/* What there is to draw on. */
struct keel_view {
    uint32_t size;
    uint32_t flags;      /* KEEL_VIEW_… */
    float width, height; /* logical pixels */
    float scale;         /* the screen's pixels a logical pixel, 2 on many small screens */
    float reserved;
};

/* There is a window (or a picture file) that shows it. */
#define KEEL_VIEW_SHOWN 1u

/* A place of a gradient: `at` 0 to 1, growing from stop to stop. */
struct keel_stop {
    float at;
    uint32_t color;
};

enum { KEEL_GRADIENT_LINEAR = 0, KEEL_GRADIENT_RADIAL = 1 };
enum { KEEL_GRADIENT_STOPS = 8 };

/* How what is drawn meets what is there. */
enum { KEEL_BLEND_OVER = 0, KEEL_BLEND_ADD = 1, KEEL_BLEND_MULTIPLY = 2, KEEL_BLEND_COPY = 3 };

enum { KEEL_CAP_BUTT = 0, KEEL_CAP_ROUND = 1, KEEL_CAP_SQUARE = 2 };
enum { KEEL_JOIN_MITER = 0, KEEL_JOIN_ROUND = 1, KEEL_JOIN_BEVEL = 2 };

#define KEEL_PATH_CLOSED 1u /* the last point is joined with the first */
#define KEEL_PATH_FILLED 2u /* the inside of a simple polygon; width, cap and join don't matter */

struct keel_path {
    uint32_t size;
    uint32_t flags; /* KEEL_PATH_… */
    uint32_t cap;   /* KEEL_CAP_… */
    uint32_t join;  /* KEEL_JOIN_…; a miter longer than 4 widths is cut */
    float width;
    float reserved;
};

#define KEEL_FONT_ITALIC 1u
#define KEEL_FONT_MONO 2u     /* the default family is one of even widths */
#define KEEL_FONT_BASELINE 4u /* y is the first line's baseline, not the top of its box */

enum { KEEL_ALIGN_LEFT = 0, KEEL_ALIGN_CENTER = 1, KEEL_ALIGN_RIGHT = 2 };

struct keel_font {
    uint32_t size;
    uint32_t flags;  /* KEEL_FONT_… */
    float px;        /* size of the letters, logical pixels */
    uint32_t weight; /* 100 to 900; 0: 400, regular; 700 is bold */
    uint32_t align;  /* KEEL_ALIGN_…: of each line, against x */
    uint32_t reserved;
    const char *family; /* as fontconfig knows it, or the path of a KEEL_ASSET_FONT; at most 63
                           bytes; NULL: the default */
};

struct keel_text_size {
    uint32_t size;
    uint32_t lines;
    float width, height; /* of all lines' boxes */
    float ascent;        /* from the top of the first box to its baseline */
    float reserved;
};

#define KEEL_IMAGE_NEAREST 1u /* no smoothing when it is scaled */

struct keel_draw_1 {
    uint32_t size;
    uint32_t reserved;

    /* What there is to draw on; the same for the whole frame. `ret_view->size` is set before. */
    int32_t (*view)(keel *k, struct keel_view *ret_view);

    /* push keeps transform, clip and blending, pop brings them back; a frame begins with none and
     * needn't pop them all. At most 64 deep. */
    int32_t (*push)(keel *k);
    int32_t (*pop)(keel *k);
    /* From now on (x, y) means (m0 x + m2 y + m4, m1 x + m3 y + m5) of what it meant before. */
    int32_t (*transform)(keel *k, const float m[6]);
    int32_t (*rotate)(keel *k, float radians); /* clockwise around the origin */
    /* From now on nothing outside this rectangle is seen, nor outside the clips before it. */
    int32_t (*clip)(keel *k, float x, float y, float w, float h, float radius);
    int32_t (*blend)(keel *k, uint32_t mode); /* KEEL_BLEND_… */

    /* A paint for this frame, 0 when refused. Linear: from where[0], where[1] to where[2],
     * where[3]. Radial: around where[0], where[1] with radius where[2]. At most 4,096 a frame. */
    keel_paint (*gradient)(keel *k, uint32_t kind, const float where[4],
                           const struct keel_stop *stops, uint32_t count);

    int32_t (*clear)(keel *k, keel_paint paint); /* the whole view, whatever transform and clip */
    /* `stroke` 0 fills, else it is the width of the outline, which lies inside the shape. */
    int32_t (*rect)(keel *k, float x, float y, float w, float h, float radius, float stroke,
                    keel_paint paint);
    int32_t (*ellipse)(keel *k, float x, float y, float rx, float ry, float stroke,
                       keel_paint paint);
    /* From angle `from` over `sweep`. `stroke` 0: the slice of a pie, else a line of this width in
     * the middle of the radius. */
    int32_t (*arc)(keel *k, float x, float y, float radius, float from, float sweep, float stroke,
                   uint32_t cap, keel_paint paint);
    int32_t (*line)(keel *k, float x0, float y0, float x1, float y1, float width, uint32_t cap,
                    keel_paint paint);
    int32_t (*triangle)(keel *k, const struct keel_point points[3], keel_paint paint);
    /* At most 65,536 points; filled ones 1,024. */
    int32_t (*path)(keel *k, const struct keel_point *points, uint32_t count,
                    const struct keel_path *style, keel_paint paint);

    /* UTF-8 of at most 65,536 bytes; what is no UTF-8 is shown as U+FFFD; \n begins a line. */
    int32_t (*text)(keel *k, float x, float y, const char *text, uint64_t bytes,
                    const struct keel_font *font, keel_paint paint);
    /* `ret->size` is set before. Where nothing is shown it is an estimate. */
    int32_t (*text_size)(keel *k, const char *text, uint64_t bytes, const struct keel_font *font,
                         struct keel_text_size *ret);

    /* Pixels are four bytes, R G B A, alpha not multiplied in, rows of `stride_bytes`. They are
     * copied; at most 1,024 images and 256 MiB a slot, 8,192 pixels a side. The image is there at
     * once and kept when the frame counts; it outlives swaps, so the handle belongs in the state.
     * NULL pixels: transparent. 0 when refused. */
    keel_handle (*image_new)(keel *k, uint32_t width, uint32_t height, const void *pixels,
                             uint64_t stride_bytes);
    /* Replaces a part of it; seen by all that this frame draws with it, also earlier. */
    int32_t (*image_write)(keel *k, keel_handle image, uint32_t x, uint32_t y, uint32_t width,
                           uint32_t height, const void *pixels, uint64_t stride_bytes);
    int32_t (*image_free)(keel *k, keel_handle image); /* at the end of the frame */
    /* `to` and `from` are x, y, w, h; `from` in the image's pixels, NULL: all of it. The pixels are
     * multiplied by `tint`, a colour. */
    int32_t (*image)(keel *k, keel_handle image, const float to[4], const float from[4],
                     uint32_t flags, keel_paint tint);
};

static inline const struct keel_draw_1 *keel_draw_service_(keel *k)
{
    static const struct keel_draw_1 *table KEEL_CACHE = NULL;
    if (!table)
        table = (const struct keel_draw_1 *)k->service(k, KEEL_DRAW_1, sizeof *table);
    return table;
}

/* Calls `call` of the table `d` when the host draws. */
#define KEEL_DRAW_(k, call)                              \
    const struct keel_draw_1 *d = keel_draw_service_(k); \
    return d ? (d->call) : (int32_t)KEEL_ENOSERVICE

/* ---- the view ---- */

/* Width and height 0 where the host knows no drawing. */
static inline struct keel_view keel_view_now(keel *k)
{
    struct keel_view view = {sizeof(struct keel_view), 0, 0, 0, 1, 0};
    const struct keel_draw_1 *d = keel_draw_service_(k);
    if (d)
        d->view(k, &view);
    return view;
}

static inline float keel_width(keel *k)
{
    return keel_view_now(k).width;
}

static inline float keel_height(keel *k)
{
    return keel_view_now(k).height;
}

/* ---- colours ---- */

/* Each 0 to 255. */
static inline uint32_t keel_rgba(uint32_t r, uint32_t g, uint32_t b, uint32_t a)
{
    return (r & 255u) << 24 | (g & 255u) << 16 | (b & 255u) << 8 | (a & 255u);
}

static inline uint32_t keel_byte_(float part)
{
    return part <= 0 ? 0 : part >= 1 ? 255u : (uint32_t)(part * 255 + 0.5f);
}

/* The same colour, alpha times `part` (0 to 1). */
static inline uint32_t keel_fade(uint32_t color, float part)
{
    return (color & ~255u) | keel_byte_((float)(color & 255u) / 255 * part);
}

/* Hue as part of the circle (0 red, 1/3 green, 2/3 blue, 1 red), saturation and value 0 to 1. */
static inline uint32_t keel_hsv(float hue, float saturation, float value)
{
    float part[3];
    float turn = hue < -1e6f || hue > 1e6f ? 0 : hue - (float)(int32_t)hue;
    if (turn < 0)
        turn += 1;
    for (int i = 0; i < 3; i++) {
        float at = turn * 6 + (i == 0 ? 0 : i == 1 ? 4.f : 2.f);
        at = at >= 6 ? at - 6 : at;
        float away = at < 3 ? 3 - at : at - 3; /* 3: the middle of this colour's third */
        float full = away - 1;
        full = full < 0 ? 0 : full > 1 ? 1 : full;
        part[i] = value * (1 - saturation + saturation * full);
    }
    return keel_rgba(keel_byte_(part[0]), keel_byte_(part[1]), keel_byte_(part[2]), 255);
}

/* ---- transform, clip, blending ---- */

static inline int32_t keel_push(keel *k)
{
    KEEL_DRAW_(k, push(k));
}

static inline int32_t keel_pop(keel *k)
{
    KEEL_DRAW_(k, pop(k));
}

static inline int32_t keel_transform(keel *k, const float m[6])
{
    KEEL_DRAW_(k, transform(k, m));
}

static inline int32_t keel_translate(keel *k, float x, float y)
{
    const float m[6] = {1, 0, 0, 1, x, y};
    KEEL_DRAW_(k, transform(k, m));
}

static inline int32_t keel_scale(keel *k, float x, float y)
{
    const float m[6] = {x, 0, 0, y, 0, 0};
    KEEL_DRAW_(k, transform(k, m));
}

static inline int32_t keel_rotate(keel *k, float radians)
{
    KEEL_DRAW_(k, rotate(k, radians));
}

static inline int32_t keel_clip(keel *k, float x, float y, float w, float h)
{
    KEEL_DRAW_(k, clip(k, x, y, w, h, 0));
}

static inline int32_t keel_blend(keel *k, uint32_t mode)
{
    KEEL_DRAW_(k, blend(k, mode));
}

/* ---- gradients ---- */

static inline keel_paint keel_gradient(keel *k, uint32_t kind, const float where[4],
                                       const struct keel_stop *stops, uint32_t count)
{
    const struct keel_draw_1 *d = keel_draw_service_(k);
    return d ? d->gradient(k, kind, where, stops, count) : 0;
}

static inline keel_paint keel_linear(keel *k, float x0, float y0, uint32_t color0, float x1,
                                     float y1, uint32_t color1)
{
    const float where[4] = {x0, y0, x1, y1};
    const struct keel_stop stops[2] = {{0, color0}, {1, color1}};
    return keel_gradient(k, KEEL_GRADIENT_LINEAR, where, stops, 2);
}

static inline keel_paint keel_radial(keel *k, float x, float y, float radius, uint32_t inner,
                                     uint32_t outer)
{
    const float where[4] = {x, y, radius, 0};
    const struct keel_stop stops[2] = {{0, inner}, {1, outer}};
    return keel_gradient(k, KEEL_GRADIENT_RADIAL, where, stops, 2);
}

/* ---- shapes: filled, and with _line their outlines ---- */

static inline int32_t keel_clear(keel *k, keel_paint paint)
{
    KEEL_DRAW_(k, clear(k, paint));
}

static inline int32_t keel_rect(keel *k, float x, float y, float w, float h, keel_paint paint)
{
    KEEL_DRAW_(k, rect(k, x, y, w, h, 0, 0, paint));
}

static inline int32_t keel_rect_line(keel *k, float x, float y, float w, float h, float width,
                                     keel_paint paint)
{
    KEEL_DRAW_(k, rect(k, x, y, w, h, 0, width, paint));
}

static inline int32_t keel_round(keel *k, float x, float y, float w, float h, float radius,
                                 keel_paint paint)
{
    KEEL_DRAW_(k, rect(k, x, y, w, h, radius, 0, paint));
}

static inline int32_t keel_round_line(keel *k, float x, float y, float w, float h, float radius,
                                      float width, keel_paint paint)
{
    KEEL_DRAW_(k, rect(k, x, y, w, h, radius, width, paint));
}

static inline int32_t keel_circle(keel *k, float x, float y, float radius, keel_paint paint)
{
    KEEL_DRAW_(k, ellipse(k, x, y, radius, radius, 0, paint));
}

static inline int32_t keel_circle_line(keel *k, float x, float y, float radius, float width,
                                       keel_paint paint)
{
    KEEL_DRAW_(k, ellipse(k, x, y, radius, radius, width, paint));
}

static inline int32_t keel_ellipse(keel *k, float x, float y, float rx, float ry, keel_paint paint)
{
    KEEL_DRAW_(k, ellipse(k, x, y, rx, ry, 0, paint));
}

static inline int32_t keel_arc(keel *k, float x, float y, float radius, float from, float sweep,
                               float width, keel_paint paint)
{
    KEEL_DRAW_(k, arc(k, x, y, radius, from, sweep, width, KEEL_CAP_BUTT, paint));
}

static inline int32_t keel_pie(keel *k, float x, float y, float radius, float from, float sweep,
                               keel_paint paint)
{
    KEEL_DRAW_(k, arc(k, x, y, radius, from, sweep, 0, KEEL_CAP_BUTT, paint));
}

static inline int32_t keel_line(keel *k, float x0, float y0, float x1, float y1, float width,
                                keel_paint paint)
{
    KEEL_DRAW_(k, line(k, x0, y0, x1, y1, width, KEEL_CAP_ROUND, paint));
}

static inline int32_t keel_triangle(keel *k, float x0, float y0, float x1, float y1, float x2,
                                    float y2, keel_paint paint)
{
    const struct keel_point points[3] = {{x0, y0}, {x1, y1}, {x2, y2}};
    KEEL_DRAW_(k, triangle(k, points, paint));
}

static inline int32_t keel_path_draw(keel *k, const struct keel_point *points, uint32_t count,
                                     const struct keel_path *style, keel_paint paint)
{
    KEEL_DRAW_(k, path(k, points, count, style, paint));
}

/* Open, with round ends and joins. */
static inline int32_t keel_polyline(keel *k, const struct keel_point *points, uint32_t count,
                                    float width, keel_paint paint)
{
    const struct keel_path style = {sizeof(struct keel_path), 0,     KEEL_CAP_ROUND,
                                    KEEL_JOIN_ROUND,          width, 0};
    KEEL_DRAW_(k, path(k, points, count, &style, paint));
}

static inline int32_t keel_polygon(keel *k, const struct keel_point *points, uint32_t count,
                                   keel_paint paint)
{
    const struct keel_path style = {sizeof(struct keel_path), KEEL_PATH_FILLED, 0, 0, 0, 0};
    KEEL_DRAW_(k, path(k, points, count, &style, paint));
}

/* ---- text ---- */

static inline struct keel_font keel_font_px(float px)
{
    struct keel_font font = {sizeof(struct keel_font), 0, px, 0, 0, 0, NULL};
    return font;
}

static inline int32_t keel_text_with(keel *k, float x, float y, const struct keel_font *font,
                                     keel_paint paint, const char *text)
{
    KEEL_DRAW_(k, text(k, x, y, text, __builtin_strlen(text), font, paint));
}

/* (x, y) is the top left corner of the first line's box. */
static inline int32_t keel_text(keel *k, float x, float y, float px, keel_paint paint,
                                const char *text)
{
    const struct keel_font font = keel_font_px(px);
    return keel_text_with(k, x, y, &font, paint, text);
}

/* As printf, at most 1,023 bytes. */
static inline int32_t keel_textf(keel *k, float x, float y, float px, keel_paint paint,
                                 const char *format, ...) __attribute__((format(printf, 6, 7)));

static inline int32_t keel_textf(keel *k, float x, float y, float px, keel_paint paint,
                                 const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    __builtin_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return keel_text(k, x, y, px, paint, text);
}

static inline struct keel_text_size keel_text_measure(keel *k, const struct keel_font *font,
                                                      const char *text)
{
    struct keel_text_size size = {sizeof(struct keel_text_size), 0, 0, 0, 0, 0};
    const struct keel_draw_1 *d = keel_draw_service_(k);
    if (d)
        d->text_size(k, text, __builtin_strlen(text), font, &size);
    return size;
}

static inline float keel_text_width(keel *k, float px, const char *text)
{
    const struct keel_font font = keel_font_px(px);
    return keel_text_measure(k, &font, text).width;
}

/* ---- images ---- */

static inline keel_handle keel_image_new(keel *k, uint32_t width, uint32_t height,
                                         const void *pixels)
{
    const struct keel_draw_1 *d = keel_draw_service_(k);
    return d ? d->image_new(k, width, height, pixels, (uint64_t)width * 4) : 0;
}

static inline int32_t keel_image_write(keel *k, keel_handle image, uint32_t x, uint32_t y,
                                       uint32_t width, uint32_t height, const void *pixels)
{
    KEEL_DRAW_(k, image_write(k, image, x, y, width, height, pixels, (uint64_t)width * 4));
}

static inline int32_t keel_image_free(keel *k, keel_handle image)
{
    KEEL_DRAW_(k, image_free(k, image));
}

static inline int32_t keel_image(keel *k, keel_handle image, float x, float y, float w, float h)
{
    const float to[4] = {x, y, w, h};
    KEEL_DRAW_(k, image(k, image, to, NULL, 0, 0xffffffffu));
}

KEEL_END

#endif
