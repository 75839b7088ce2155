/* Recording of draw lists: checks every number, then writes records. Owns the lists' memory. Frame
 * thread; a fault or a deadline may leave any function here by a jump, but for what stands between
 * guard_host_enter and guard_host_leave: a list is always whole up to `used`. */
#include "swap/draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fault/guard.h"

/* Logical pixels; beyond it floats can't tell neighbouring pixels apart. */
#define FARTHEST 1e7f

enum { FIRST_ROOM = 4096, DEFAULT_WEIGHT = 400 };

const DrawScreen draw_no_screen = {.width = 1280, .height = 720, .scale = 1};

void draw_init(Draw *draw)
{
    memset(draw, 0, sizeof *draw);
    draw->recording = &draw->lists[0];
    draw->good = &draw->lists[1];
    draw->screen = draw_no_screen;
}

void draw_resize(Draw *draw, const float size[3])
{
    enum { SIDE_MOST = 1000000, SCALE_MOST = 64 };
    if (!(size[0] > 0 && size[0] <= SIDE_MOST && size[1] > 0 && size[1] <= SIDE_MOST &&
          size[2] > 0 && size[2] <= SCALE_MOST))
        return;
    draw->screen.width = size[0];
    draw->screen.height = size[1];
    draw->screen.scale = size[2];
}

void draw_done(Draw *draw)
{
    draw_list_done(&draw->lists[0]);
    draw_list_done(&draw->lists[1]);
}

void draw_list_done(DrawList *list)
{
    free(list->data);
    free(list->gradients);
    memset(list, 0, sizeof *list);
}

void draw_list_clear(DrawList *list)
{
    list->used = 0;
    list->gradient_count = 0;
    list->depth = 0;
    list->shapes = 0;
    list->refused = 0;
}

void draw_begin(Draw *draw)
{
    draw_list_clear(draw->recording);
}

static int same(const DrawList *a, const DrawList *b)
{
    return a->used == b->used && a->gradient_count == b->gradient_count &&
           (!a->used || !memcmp(a->data, b->data, a->used)) &&
           (!a->gradient_count ||
            !memcmp(a->gradients, b->gradients, a->gradient_count * sizeof *a->gradients));
}

void draw_commit(Draw *draw)
{
    draw->good_width = draw->screen.width;
    draw->good_height = draw->screen.height;
    if (same(draw->recording, draw->good))
        return;
    DrawList *before = draw->good;
    draw->good = draw->recording;
    draw->recording = before;
    draw->serial++;
}

const DrawHead *draw_first(const DrawList *list)
{
    return list->used ? (const DrawHead *)(const void *)list->data : NULL;
}

const DrawHead *draw_next(const DrawList *list, const DrawHead *head)
{
    const uint8_t *next = (const uint8_t *)head + head->bytes;
    return next < list->data + list->used ? (const DrawHead *)(const void *)next : NULL;
}

/* ---- room ---- */

static int grow(DrawList *list, size_t bytes)
{
    size_t room = list->room ? list->room : FIRST_ROOM;
    while (room < list->used + bytes)
        room *= 2;
    guard_host_enter();
    uint8_t *data = room > DRAW_LIST_BYTES ? NULL : realloc(list->data, room);
    if (data) {
        list->data = data;
        list->room = room;
    } else {
        list->refused++;
    }
    guard_host_leave();
    return data ? KEEL_OK : KEEL_ELIMIT;
}

/* Room for a record at the end of the list, its head filled, its padding zero; NULL: no more. It
 * counts when `used` is moved behind it. */
static inline void *take(DrawList *list, DrawOp op, uint32_t detail, size_t bytes)
{
    bytes = (bytes + 7) & ~(size_t)7;
    if (list->used + bytes > list->room && grow(list, bytes))
        return NULL;
    uint8_t *at = list->data + list->used;
    memset(at + bytes - 8, 0, 8);
    *(DrawHead *)(void *)at = (DrawHead){(uint16_t)op, (uint16_t)detail, (uint32_t)bytes};
    return at;
}

static inline int give(DrawList *list, const void *record)
{
    list->used += ((const DrawHead *)record)->bytes;
    return KEEL_OK;
}

static inline int show(DrawList *list, const void *record)
{
    list->shapes++;
    return give(list, record);
}

/* ---- checks ---- */

static inline int in_range(float value)
{
    return fabsf(value) <= FARTHEST; /* not for NaN */
}

static inline int all_in_range(const float *values, int count)
{
    int good = 1;
    for (int i = 0; i < count; i++)
        good &= in_range(values[i]);
    return good;
}

static inline int paint_known(const DrawList *list, keel_paint paint)
{
    return paint >> 32 <= list->gradient_count;
}

/* The points of the module are read here and nowhere else: where they are bad, it is its fault. */
static int copy_points(struct keel_point *to, const struct keel_point *from, uint32_t count)
{
    float most = 0;
    int numbers = 1;
    memcpy(to, from, count * sizeof *to);
    for (uint32_t i = 0; i < count; i++) {
        numbers &= to[i].x == to[i].x && to[i].y == to[i].y;
        most = fmaxf(most, fmaxf(fabsf(to[i].x), fabsf(to[i].y)));
    }
    return numbers && most <= FARTHEST;
}

/* ---- transform, clip, blending ---- */

static int plain(DrawList *list, DrawOp op, uint32_t detail)
{
    void *record = take(list, op, detail, sizeof(DrawHead));
    if (!record)
        return KEEL_ELIMIT;
    *(DrawHead *)record = (DrawHead){(uint16_t)op, (uint16_t)detail, sizeof(DrawHead)};
    return give(list, record);
}

int draw_push(DrawList *list)
{
    if (list->depth >= DRAW_DEPTH)
        return KEEL_ELIMIT;
    int rc = plain(list, DRAW_PUSH, 0);
    if (!rc)
        list->depth++;
    return rc;
}

int draw_pop(DrawList *list)
{
    if (!list->depth)
        return KEEL_EINVAL;
    list->depth--;
    return plain(list, DRAW_POP, 0);
}

int draw_transform(DrawList *list, const float m[6])
{
    float own[6];
    memcpy(own, m, sizeof own);
    if (!all_in_range(own, 6))
        return KEEL_EINVAL;
    DrawTransform *record = take(list, DRAW_TRANSFORM, 0, sizeof *record);
    if (!record)
        return KEEL_ELIMIT;
    memcpy(record->m, own, sizeof own);
    return give(list, record);
}

int draw_blend(DrawList *list, uint32_t mode)
{
    return mode > KEEL_BLEND_COPY ? KEEL_EINVAL : plain(list, DRAW_BLEND, mode);
}

keel_paint draw_gradient(DrawList *list, uint32_t kind, const float where[4],
                         const struct keel_stop *stops, uint32_t count)
{
    if (kind > KEEL_GRADIENT_RADIAL || !count || count > KEEL_GRADIENT_STOPS)
        return 0;
    if (list->gradient_count == list->gradient_room) {
        uint32_t room = list->gradient_room ? list->gradient_room * 2 : 16;
        guard_host_enter();
        DrawGradient *more =
            room > DRAW_GRADIENTS ? NULL : realloc(list->gradients, room * sizeof *list->gradients);
        if (more) {
            list->gradients = more;
            list->gradient_room = room;
        } else {
            list->refused++;
        }
        guard_host_leave();
        if (!more)
            return 0;
    }
    DrawGradient *gradient = &list->gradients[list->gradient_count];
    memset(gradient, 0, sizeof *gradient);
    gradient->kind = kind;
    gradient->count = count;
    memcpy(gradient->where, where, sizeof gradient->where);
    memcpy(gradient->stops, stops, count * sizeof *stops);
    if (!all_in_range(gradient->where, 4) || (kind && gradient->where[2] < 0))
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        float least = i ? gradient->stops[i - 1].at : 0;
        if (!(gradient->stops[i].at >= least && gradient->stops[i].at <= 1))
            return 0;
    }
    return (uint64_t)++list->gradient_count << 32;
}

/* ---- shapes ---- */

static inline int shape(DrawList *list, DrawOp op, uint32_t detail, keel_paint paint,
                        const float at[6])
{
    if (!all_in_range(at, 6) || !paint_known(list, paint))
        return KEEL_EINVAL;
    DrawShape *record = take(list, op, detail, sizeof *record);
    if (!record)
        return KEEL_ELIMIT;
    record->paint = paint;
    memcpy(record->at, at, sizeof record->at);
    return show(list, record);
}

int draw_clip(DrawList *list, float x, float y, float w, float h, float radius)
{
    if (w < 0 || h < 0 || radius < 0)
        return KEEL_EINVAL;
    return shape(list, DRAW_CLIP, 0, 0, (const float[6]){x, y, w, h, radius});
}

int draw_clear(DrawList *list, keel_paint paint)
{
    return shape(list, DRAW_CLEAR, 0, paint, (const float[6]){0});
}

int draw_rect(DrawList *list, float x, float y, float w, float h, float radius, float stroke,
              keel_paint paint)
{
    if (radius < 0 || stroke < 0)
        return KEEL_EINVAL;
    if (w < 0) { /* drawn to the left, as with a mouse */
        x += w;
        w = -w;
    }
    if (h < 0) {
        y += h;
        h = -h;
    }
    return shape(list, DRAW_RECT, 0, paint, (const float[6]){x, y, w, h, radius, stroke});
}

int draw_ellipse(DrawList *list, float x, float y, float rx, float ry, float stroke,
                 keel_paint paint)
{
    if (rx < 0 || ry < 0 || stroke < 0)
        return KEEL_EINVAL;
    return shape(list, DRAW_ELLIPSE, 0, paint, (const float[6]){x, y, rx, ry, stroke});
}

int draw_arc(DrawList *list, float x, float y, float radius, float from, float sweep, float stroke,
             uint32_t cap, keel_paint paint)
{
    if (radius < 0 || stroke < 0 || cap > KEEL_CAP_SQUARE)
        return KEEL_EINVAL;
    return shape(list, DRAW_ARC, cap, paint, (const float[6]){x, y, radius, from, sweep, stroke});
}

int draw_line(DrawList *list, float x0, float y0, float x1, float y1, float width, uint32_t cap,
              keel_paint paint)
{
    if (width < 0 || cap > KEEL_CAP_SQUARE)
        return KEEL_EINVAL;
    return shape(list, DRAW_LINE, cap, paint, (const float[6]){x0, y0, x1, y1, width});
}

int draw_triangle(DrawList *list, const struct keel_point points[3], keel_paint paint)
{
    return shape(list, DRAW_TRIANGLE, 0, paint,
                 (const float[6]){points[0].x, points[0].y, points[1].x, points[1].y, points[2].x,
                                  points[2].y});
}

/* The caller's struct as far as both sides know it. */
static void take_known(void *own, size_t own_bytes, const void *theirs, uint32_t their_bytes)
{
    memcpy(own, theirs, their_bytes < own_bytes ? their_bytes : own_bytes);
}

int draw_path(DrawList *list, const struct keel_point *points, uint32_t count,
              const struct keel_path *style, keel_paint paint)
{
    struct keel_path own = {0};
    take_known(&own, sizeof own, style, style->size);
    int filled = (own.flags & KEEL_PATH_FILLED) != 0;
    if (count > (filled ? DRAW_FILL_POINTS : DRAW_PATH_POINTS))
        return KEEL_ELIMIT;
    if (own.flags & ~(KEEL_PATH_CLOSED | KEEL_PATH_FILLED) || own.cap > KEEL_CAP_SQUARE ||
        own.join > KEEL_JOIN_BEVEL || !in_range(own.width) || own.width < 0 ||
        !paint_known(list, paint))
        return KEEL_EINVAL;
    if (count < (filled ? 3u : 1u))
        return KEEL_OK;
    DrawPath *record = take(list, DRAW_PATH, 0, sizeof *record + count * sizeof *points);
    if (!record)
        return KEEL_ELIMIT;
    record->paint = paint;
    record->width = own.width;
    record->cap = (uint16_t)own.cap;
    record->join = (uint16_t)own.join;
    record->flags = own.flags;
    record->count = count;
    if (!copy_points(record->points, points, count))
        return KEEL_EINVAL;
    return show(list, record);
}

int draw_image(DrawList *list, keel_handle image, const float to[4], const float from[4],
               uint32_t flags, uint32_t tint)
{
    float numbers[8] = {0};
    memcpy(numbers, to, 4 * sizeof *to);
    if (from)
        memcpy(numbers + 4, from, 4 * sizeof *from);
    if (!all_in_range(numbers, 8) || flags & ~KEEL_IMAGE_NEAREST || numbers[6] < 0 ||
        numbers[7] < 0)
        return KEEL_EINVAL;
    if (from && (numbers[6] == 0 || numbers[7] == 0))
        return KEEL_OK;
    DrawImage *record = take(list, DRAW_IMAGE, flags, sizeof *record);
    if (!record)
        return KEEL_ELIMIT;
    record->image = image;
    memcpy(record->to, numbers, sizeof record->to);
    memcpy(record->from, numbers + 4, sizeof record->from);
    record->tint = tint;
    record->reserved = 0;
    return show(list, record);
}

/* ---- text ---- */

/* Everything of a text but where it goes; it doesn't count yet. */
static int prepare_text(DrawList *list, const char *text, uint64_t bytes,
                        const struct keel_font *font, DrawText **ret)
{
    struct keel_font own = {0};
    take_known(&own, sizeof own, font, font->size);
    size_t family_bytes = own.family ? strnlen(own.family, DRAW_FAMILY_BYTES + 1) : 0;
    if (bytes > DRAW_TEXT_BYTES)
        return KEEL_ELIMIT;
    if (!(own.px > 0 && own.px <= 4096) || own.align > KEEL_ALIGN_RIGHT ||
        own.flags & ~(KEEL_FONT_ITALIC | KEEL_FONT_MONO | KEEL_FONT_BASELINE) ||
        own.weight > 1000 || family_bytes > DRAW_FAMILY_BYTES)
        return KEEL_EINVAL;
    DrawText *record = take(list, DRAW_TEXT, 0, sizeof *record + family_bytes + (size_t)bytes);
    if (!record)
        return KEEL_ELIMIT;
    record->paint = 0;
    record->x = record->y = 0;
    record->px = own.px;
    record->flags = own.flags;
    record->weight = (uint16_t)(own.weight ? own.weight : DEFAULT_WEIGHT);
    record->align = (uint16_t)own.align;
    record->family_bytes = (uint32_t)family_bytes;
    record->text_bytes = (uint32_t)bytes;
    record->reserved = 0;
    if (family_bytes)
        memcpy(record->bytes, own.family, family_bytes);
    if (bytes)
        memcpy(record->bytes + family_bytes, text, (size_t)bytes);
    *ret = record;
    return KEEL_OK;
}

int draw_text(DrawList *list, float x, float y, const char *text, uint64_t bytes,
              const struct keel_font *font, keel_paint paint)
{
    if (!in_range(x) || !in_range(y) || !paint_known(list, paint))
        return KEEL_EINVAL;
    DrawText *record;
    int rc = prepare_text(list, text, bytes, font, &record);
    if (rc || !bytes)
        return rc;
    record->paint = paint;
    record->x = x;
    record->y = y;
    return show(list, record);
}

/* Six tenths of the letters' size a character, twice that from U+1100 on. */
static void estimate(const DrawText *text, struct keel_text_size *ret)
{
    const uint8_t *bytes = (const uint8_t *)text->bytes + text->family_bytes;
    float width = 0, widest = 0;
    uint32_t lines = 1;
    for (uint32_t i = 0; i < text->text_bytes; i++) {
        if (bytes[i] == '\n') {
            lines++;
            width = 0;
        } else if ((bytes[i] & 0xc0) != 0x80) {
            width += text->px * (bytes[i] > 0xe1 ? 1.2f : 0.6f);
        }
        widest = fmaxf(widest, width);
    }
    ret->lines = lines;
    ret->width = widest;
    ret->height = text->px * 1.2f * (float)lines;
    ret->ascent = text->px * 0.95f;
}

int draw_text_size(DrawList *list, const DrawScreen *screen, const char *text, uint64_t bytes,
                   const struct keel_font *font, struct keel_text_size *ret)
{
    struct keel_text_size size = {.size = ret->size};
    DrawText *record;
    int rc = prepare_text(list, text, bytes, font, &record);
    if (rc)
        return rc;
    if (screen->measure) {
        guard_host_enter();
        screen->measure(screen->user, record, &size);
        guard_host_leave();
    } else {
        estimate(record, &size);
    }
    memcpy(ret, &size, ret->size < sizeof size ? ret->size : sizeof size);
    return KEEL_OK;
}
