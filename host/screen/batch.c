/* Draw lists into instances and commands. Owns the batch's arrays; reads lists, images and glyphs.
 * One thread. */
#include "screen/batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "screen/batch_parts.h"
#include "screen/stroke.h"

enum { PATIENCE = 20 * 1000 * 1000, GRADIENTS_MOST = 65536, COMMANDS_MOST = 262144 };
#define STRAIGHT 1e-3f /* how far axes may be from straight, as part of their length */

void batch_init(Batch *batch, Glyphs *glyphs)
{
    memset(batch, 0, sizeof *batch);
    batch->glyphs = glyphs;
}

void batch_done(Batch *batch)
{
    free(batch->instances);
    free(batch->commands);
    free(batch->gradients);
    free(batch->work.points);
    free(batch->work.normals);
    free(batch->work.links);
    memset(batch, 0, sizeof *batch);
}

void batch_begin(Batch *batch, uint32_t width, uint32_t height, float scale, uint32_t background)
{
    batch->background = background;
    batch->count = 0;
    batch->command_count = 0;
    batch->gradient_count = 0;
    batch->refused = 0;
    batch->width = width;
    batch->height = height;
    batch->scale = scale;
    batch->work.patience = PATIENCE;
}

/* Doubles an array of `*room` things up to `most`. 0: it stays as it is. */
static int more(void **array, uint32_t *room, uint32_t most, size_t bytes)
{
    uint32_t wanted = *room ? *room * 2 : 256;
    void *bigger = wanted > most ? NULL : realloc(*array, wanted * bytes);
    if (!bigger)
        return 0;
    *array = bigger;
    *room = wanted;
    return 1;
}

/* A command like the last one, which stays as it is. */
static BatchCommand *divide(Batch *batch)
{
    void *commands = batch->commands;
    if (batch->command_count == batch->command_room) {
        if (!more(&commands, &batch->command_room, COMMANDS_MOST, sizeof *batch->commands)) {
            batch->refused++;
            return NULL;
        }
        batch->commands = commands;
    }
    BatchCommand *command = &batch->commands[batch->command_count++];
    *command = command[-1];
    command->first = batch->count;
    command->count = command->kinds = 0;
    return command;
}

Instance *batch_instance(Batch *batch, uint32_t kind, uint32_t paint)
{
    void *instances = batch->instances;
    if (batch->count == batch->room) {
        if (!more(&instances, &batch->room, BATCH_INSTANCES_MOST, sizeof *batch->instances)) {
            batch->refused++;
            return NULL;
        }
        batch->instances = instances;
    }
    uint32_t kinds = 1u << (kind & 0xff) | (kind & INSTANCE_GRADIENT);
    BatchCommand *command = &batch->commands[batch->command_count - 1];
    if (batch->split && command->count && command->kinds != kinds && !(command = divide(batch)))
        return NULL;
    Instance *instance = &batch->instances[batch->count++];
    memset(instance, 0, sizeof *instance);
    instance->kind = kind;
    instance->paint = paint;
    command->kinds |= kinds;
    command->count++;
    return instance;
}

/* ---- what a list has set ---- */

static float length(float x, float y)
{
    return sqrtf(x * x + y * y);
}

static void multiply(float m[6], const float by[6])
{
    const float a[6] = {m[0], m[1], m[2], m[3], m[4], m[5]};
    m[0] = a[0] * by[0] + a[2] * by[1];
    m[1] = a[1] * by[0] + a[3] * by[1];
    m[2] = a[0] * by[2] + a[2] * by[3];
    m[3] = a[1] * by[2] + a[3] * by[3];
    m[4] = a[0] * by[4] + a[2] * by[5] + a[4];
    m[5] = a[1] * by[4] + a[3] * by[5] + a[5];
}

BatchPoint batch_point(const float m[6], float x, float y)
{
    return (BatchPoint){m[0] * x + m[2] * y + m[4], m[1] * x + m[3] * y + m[5]};
}

/* What a transform does to lengths. Where it flattens everything, nothing is to be seen. */
static int look_at(BatchState *state)
{
    const float *m = state->m;
    float det = m[0] * m[3] - m[1] * m[2];
    float x = length(m[0], m[1]), y = length(m[2], m[3]);
    state->flat = !(fabsf(det) > 1e-9f) || !isfinite(det) || !isfinite(m[4]) || !isfinite(m[5]);
    if (state->flat)
        return 0;
    state->scale_x = fabsf(det) / y;
    state->scale_y = fabsf(det) / x;
    state->scale = sqrtf(fabsf(det));
    float askew = fabsf(m[0] * m[2] + m[1] * m[3]) / (x * y);
    state->similar = askew < STRAIGHT && fabsf(x - y) < STRAIGHT * x;
    state->upright = m[1] == 0 && m[2] == 0;
    return 1;
}

/* From now on instances go to a command with this state. An empty one is used anew. */
static int begin_command(Batch *batch, const BatchState *state, const Picture *image,
                         uint32_t nearest)
{
    void *commands = batch->commands;
    if (batch->command_count && !batch->commands[batch->command_count - 1].count)
        batch->command_count--;
    if (batch->command_count == batch->command_room) {
        if (!more(&commands, &batch->command_room, COMMANDS_MOST, sizeof *batch->commands))
            return 0;
        batch->commands = commands;
    }
    BatchCommand *command = &batch->commands[batch->command_count++];
    *command = (BatchCommand){.first = batch->count,
                              .blend = state->blend,
                              .nearest = nearest,
                              .image = image,
                              .left = state->left,
                              .top = state->top,
                              .right = state->right,
                              .bottom = state->bottom,
                              .clip_count = state->clip_count};
    memcpy(command->clips, state->clips, state->clip_count * sizeof *state->clips);
    return 1;
}

/* The last command serves for instances without an image, whatever its image. */
static void state_changed(BatchList *list)
{
    list->broken = !begin_command(list->batch, &list->state, NULL, 0);
}

static uint32_t gradient_of(BatchList *list, keel_paint paint)
{
    Batch *batch = list->batch;
    const BatchState *state = &list->state;
    uint32_t index = (uint32_t)(paint >> 32) - 1;
    if (list->last_gradient == index + 1 && list->last_gradient_transform == list->transforms)
        return batch->gradient_count - 1;
    void *gradients = batch->gradients;
    if (batch->gradient_count == batch->gradient_room) {
        if (!more(&gradients, &batch->gradient_room, GRADIENTS_MOST, sizeof *batch->gradients))
            return UINT32_MAX;
        batch->gradients = gradients;
    }
    const DrawGradient *from = &list->list->gradients[index];
    BatchGradient *to = &batch->gradients[batch->gradient_count];
    memset(to, 0, sizeof *to);
    to->kind = from->kind;
    to->count = from->count;
    for (uint32_t i = 0; i < from->count; i++) {
        to->at[i] = from->stops[i].at;
        to->colors[i] = from->stops[i].color;
    }
    /* Pixels to the list's own coordinates. */
    const float *m = state->m, det = m[0] * m[3] - m[1] * m[2];
    const float inverse[6] = {m[3] / det, -m[1] / det, -m[2] / det, m[0] / det};
    const float x[3] = {inverse[0], inverse[2], -(inverse[0] * m[4] + inverse[2] * m[5])};
    const float y[3] = {inverse[1], inverse[3], -(inverse[1] * m[4] + inverse[3] * m[5])};
    const float *w = from->where;
    float dx = w[2] - w[0], dy = w[3] - w[1], along = dx * dx + dy * dy;
    float radius = fmaxf(w[2], 1e-6f);
    for (int i = 0; i < 3; i++) {
        float px = x[i] - (i == 2 ? w[0] : 0), py = y[i] - (i == 2 ? w[1] : 0);
        to->x[i] = from->kind ? px / radius : along > 0 ? (px * dx + py * dy) / along : 0;
        to->y[i] = from->kind ? py / radius : 0;
    }
    list->last_gradient = index + 1;
    list->last_gradient_transform = list->transforms;
    return batch->gradient_count++;
}

/* The instance's kind and paint for a list's paint. 0: it can't be painted. */
static int paint_of(BatchList *list, keel_paint paint, uint32_t *ret_kind, uint32_t *ret_paint)
{
    *ret_kind = paint >> 32 ? INSTANCE_GRADIENT : 0;
    *ret_paint = paint >> 32 ? gradient_of(list, paint) : (uint32_t)paint;
    return !(paint >> 32) || *ret_paint != UINT32_MAX;
}

/* ---- shapes ---- */

/* An instance whose axes are the list's, in the middle of (x, y, w, h). */
Instance *batch_box(BatchList *list, uint32_t kind, uint32_t paint, const float box[4])
{
    const BatchState *state = &list->state;
    const float *m = state->m;
    Instance *i = batch_instance(list->batch, kind, paint);
    if (!i)
        return NULL;
    BatchPoint at = batch_point(m, box[0] + box[2] / 2, box[1] + box[3] / 2);
    i->at[0] = at.x;
    i->at[1] = at.y;
    i->right[0] = m[0] / state->scale_x;
    i->right[1] = m[1] / state->scale_x;
    i->down[0] = m[2] / state->scale_y;
    i->down[1] = m[3] / state->scale_y;
    i->half[0] = fabsf(box[2]) / 2 * state->scale_x;
    i->half[1] = fabsf(box[3]) / 2 * state->scale_y;
    return i;
}

static void bound(Instance *i, float left, float top, float right, float bottom)
{
    i->right[0] = left;
    i->right[1] = top;
    i->down[0] = right;
    i->down[1] = bottom;
}

/* One more part of the shape. */
static void part(Batch *batch, const Instance *shape, float left, float top, float right,
                 float bottom)
{
    if (left >= right || top >= bottom)
        return;
    Instance *i = batch_instance(batch, shape->kind, shape->paint);
    if (!i)
        return;
    *i = *shape;
    bound(i, left, top, right, bottom);
}

static float between(float value, float least, float most)
{
    return value < least ? least : value > most ? most : value;
}

/* The last instance, a shape: where it isn't turned only the pixels that it touches are drawn, and
 * of a large one the middle, where nothing fades, by itself: filled at once or left out. All parts
 * meet at whole pixels. */
static void trim(BatchList *list, Instance *i)
{
    enum { LARGE = 48 * 48 };
    Batch *batch = list->batch;
    const BatchState *state = &list->state;
    if (!state->upright)
        return;
    float left = fmaxf(floorf(i->at[0] - i->half[0]), (float)state->left);
    float top = fmaxf(floorf(i->at[1] - i->half[1]), (float)state->top);
    float right = fminf(ceilf(i->at[0] + i->half[0]), (float)state->right);
    float bottom = fminf(ceilf(i->at[1] + i->half[1]), (float)state->bottom);
    i->kind |= INSTANCE_UPRIGHT;
    bound(i, left, top, fmaxf(right, left), fmaxf(bottom, top));
    int outline = i->stroke[0] > 0;
    float middle[2];
    for (int n = 0; n < 2; n++) {
        float corner = fmaxf(fminf(i->radius[n], i->half[n]) - i->stroke[n], 0);
        middle[n] = i->half[n] - i->stroke[n] - corner * 0.293f; /* 1 - the root of 1/2 */
    }
    /* A corner's farthest pixels fade over the edge of the middle: two more. */
    float slack = outline || i->radius[0] > 0 ? 2 : 0;
    float l = between(ceilf(i->at[0] - middle[0] + slack), left, right);
    float t = between(ceilf(i->at[1] - middle[1] + slack), top, bottom);
    float r = between(floorf(i->at[0] + middle[0] - slack), left, right);
    float b = between(floorf(i->at[1] + middle[1] - slack), top, bottom);
    if (middle[0] <= 0 || middle[1] <= 0 || r <= l || b <= t ||
        ((r - l) * (b - t) < LARGE && !(l == left && t == top && r == right && b == bottom)))
        return;
    const Instance shape = *i;
    BatchCommand *command = &batch->commands[batch->command_count - 1];
    batch->count--; /* its parts take its place */
    if (!--command->count)
        command->kinds = 0;
    part(batch, &shape, left, top, right, t);
    part(batch, &shape, left, t, l, b);
    part(batch, &shape, r, t, right, b);
    part(batch, &shape, left, b, right, bottom);
    if (outline)
        return;
    Instance *plain =
        batch_instance(batch, INSTANCE_PLAIN | (shape.kind & INSTANCE_GRADIENT), shape.paint);
    if (plain)
        bound(plain, l, t, r, b);
}

static void add_rect(BatchList *list, const DrawShape *shape)
{
    const BatchState *state = &list->state;
    uint32_t kind, paint;
    const float *at = shape->at;
    if (at[2] == 0 || at[3] == 0 || !paint_of(list, shape->paint, &kind, &paint))
        return;
    Instance *i = batch_box(list, kind, paint, at);
    if (!i)
        return;
    float radius = fminf(at[4], fminf(at[2], at[3]) / 2);
    i->radius[0] = radius * state->scale_x;
    i->radius[1] = radius * state->scale_y;
    i->stroke[0] = at[5] * state->scale_x;
    i->stroke[1] = at[5] * state->scale_y;
    trim(list, i);
}

static void add_ellipse(BatchList *list, const DrawShape *shape, float stroke)
{
    const BatchState *state = &list->state;
    uint32_t kind, paint;
    const float *at = shape->at;
    const float box[4] = {at[0] - at[2], at[1] - at[3], 2 * at[2], 2 * at[3]};
    if (at[2] == 0 || at[3] == 0 || !paint_of(list, shape->paint, &kind, &paint))
        return;
    Instance *i = batch_box(list, kind, paint, box);
    if (!i)
        return;
    i->radius[0] = i->half[0];
    i->radius[1] = i->half[1];
    i->stroke[0] = stroke * state->scale_x;
    i->stroke[1] = stroke * state->scale_y;
    trim(list, i);
}

/* Where axes aren't equal an arc is a path. */
static void add_arc_path(BatchList *list, const DrawShape *shape, const StrokeStyle *style)
{
    enum { MOST = 256 };
    Batch *batch = list->batch;
    const float *at = shape->at;
    float steps =
        ceilf(fabsf(at[4]) / 6.2831853f * fmaxf(16, sqrtf(at[2] * list->state.scale) * 8));
    uint32_t count = steps < 2 ? 2 : steps > MOST ? MOST : (uint32_t)steps;
    int pie = at[5] == 0;
    if (!stroke_room(batch, count + 2))
        return;
    BatchPoint *points = batch->work.points;
    for (uint32_t i = 0; i <= count; i++) {
        float angle = at[3] + at[4] * (float)i / (float)count;
        points[i] =
            batch_point(list->state.m, at[0] + at[2] * cosf(angle), at[1] + at[2] * sinf(angle));
    }
    points[count + 1] = batch_point(list->state.m, at[0], at[1]);
    if (pie)
        stroke_fill(batch, count + 2, style);
    else
        stroke_line(batch, count + 1, style);
}

static void add_arc(BatchList *list, const DrawShape *shape)
{
    const float *at = shape->at, full = 6.2831853f;
    const BatchState *state = &list->state;
    uint32_t kind, paint;
    int pie = at[5] == 0, round = fabsf(at[4]) >= full;
    if (at[2] == 0 || at[4] == 0)
        return;
    if (round) { /* all of it; outlines lie inside their shape */
        DrawShape whole = *shape;
        whole.at[2] = whole.at[3] = at[2] + at[5] / 2;
        add_ellipse(list, &whole, at[5]);
        return;
    }
    if (!paint_of(list, shape->paint, &kind, &paint))
        return;
    if (!state->similar) {
        const StrokeStyle style = {.width = at[5] * state->scale,
                                   .cap = shape->head.detail,
                                   .join = KEEL_JOIN_ROUND,
                                   .kind = kind,
                                   .paint = paint};
        add_arc_path(list, shape, &style);
        return;
    }
    float reach = at[2] + at[5];
    const float box[4] = {at[0] - reach, at[1] - reach, 2 * reach, 2 * reach};
    Instance *i = batch_box(list, kind | (pie ? INSTANCE_PIE : INSTANCE_ARC), paint, box);
    if (!i)
        return;
    float middle = at[3] + at[4] / 2, c = cosf(middle), s = sinf(middle);
    const float right[2] = {i->right[0], i->right[1]}, down[2] = {i->down[0], i->down[1]};
    for (int n = 0; n < 2; n++) {
        i->right[n] = right[n] * c + down[n] * s;
        i->down[n] = down[n] * c - right[n] * s;
    }
    i->radius[0] = at[2] * state->scale;
    i->radius[1] = fabsf(at[4]) / 2;
    i->stroke[0] = at[5] / 2 * state->scale;
    i->stroke[1] = (float)shape->head.detail;
}

static void add_line(BatchList *list, const DrawShape *shape)
{
    const float *at = shape->at;
    uint32_t kind, paint, cap = shape->head.detail;
    float width = at[4] * list->state.scale;
    BatchPoint from = batch_point(list->state.m, at[0], at[1]);
    BatchPoint to = batch_point(list->state.m, at[2], at[3]);
    float along = length(to.x - from.x, to.y - from.y);
    if (width <= 0 || (along <= 0 && cap == KEEL_CAP_BUTT) ||
        !paint_of(list, shape->paint, &kind, &paint))
        return;
    Instance *i = batch_instance(list->batch, kind, paint);
    if (!i)
        return;
    float x = along > 0 ? (to.x - from.x) / along : 1, y = along > 0 ? (to.y - from.y) / along : 0;
    i->at[0] = (from.x + to.x) / 2;
    i->at[1] = (from.y + to.y) / 2;
    i->right[0] = x;
    i->right[1] = y;
    i->down[0] = -y;
    i->down[1] = x;
    i->half[0] = along / 2 + (cap == KEEL_CAP_BUTT ? 0 : width / 2);
    i->half[1] = width / 2;
    if (cap == KEEL_CAP_ROUND)
        i->radius[0] = i->radius[1] = width / 2;
}

static void add_points(BatchList *list, const struct keel_point *points, uint32_t count,
                       keel_paint paint, const DrawPath *path)
{
    Batch *batch = list->batch;
    StrokeStyle style = {0};
    if (!stroke_room(batch, count) || !paint_of(list, paint, &style.kind, &style.paint))
        return;
    for (uint32_t i = 0; i < count; i++)
        batch->work.points[i] = batch_point(list->state.m, points[i].x, points[i].y);
    if (!path || path->flags & KEEL_PATH_FILLED) {
        stroke_fill(batch, count, &style);
        return;
    }
    style.width = path->width * list->state.scale;
    style.cap = path->cap;
    style.join = path->join;
    style.closed = (path->flags & KEEL_PATH_CLOSED) != 0;
    if (style.width > 0)
        stroke_line(batch, count, &style);
}

static void add_image(BatchList *list, const DrawImage *image)
{
    Batch *batch = list->batch;
    const Picture *picture = list->pictures ? pictures_find(list->pictures, image->image) : NULL;
    const float *to = image->to, *from = image->from;
    if (!picture || to[2] == 0 || to[3] == 0)
        return;
    uint32_t nearest = image->head.detail & KEEL_IMAGE_NEAREST;
    const BatchCommand *command = &batch->commands[batch->command_count - 1];
    if ((command->image != picture || command->nearest != nearest) &&
        !begin_command(batch, &list->state, picture, nearest))
        return;
    Instance *i = batch_box(list, INSTANCE_IMAGE, image->tint, to);
    if (!i)
        return;
    float w = (float)picture->width, h = (float)picture->height;
    float part[4] = {0, 0, 1, 1};
    if (from[2] > 0) {
        part[0] = from[0] / w;
        part[1] = from[1] / h;
        part[2] = (from[0] + from[2]) / w;
        part[3] = (from[1] + from[3]) / h;
    }
    i->radius[0] = to[2] < 0 ? part[2] : part[0];
    i->radius[1] = to[3] < 0 ? part[3] : part[1];
    i->stroke[0] = to[2] < 0 ? part[0] : part[2];
    i->stroke[1] = to[3] < 0 ? part[1] : part[3];
}

static void add_clear(BatchList *list, keel_paint paint)
{
    Batch *batch = list->batch;
    BatchState kept = list->state;
    if (paint <= UINT32_MAX && (paint & 255) == 255 &&
        (kept.blend == KEEL_BLEND_OVER || kept.blend == KEEL_BLEND_COPY)) {
        /* Nothing of what was before is seen. */
        batch->count = batch->command_count = 0;
        batch->background = (uint32_t)paint;
        state_changed(list);
        return;
    }
    list->state = (BatchState){.m = {1, 0, 0, 1, 0, 0},
                               .blend = kept.blend,
                               .right = (int32_t)batch->width,
                               .bottom = (int32_t)batch->height};
    list->state.m[0] = list->state.m[3] = batch->scale;
    list->transforms++;
    look_at(&list->state);
    state_changed(list);
    const DrawShape all = {
        .paint = paint,
        .at = {0, 0, (float)batch->width / batch->scale, (float)batch->height / batch->scale}};
    if (!list->broken)
        add_rect(list, &all);
    list->state = kept;
    list->transforms++;
    state_changed(list);
}

/* ---- clips ---- */

static int32_t pixel(float value)
{
    float whole = floorf(value + 0.5f);
    return whole < -1e6f ? -1000000 : whole > 1e6f ? 1000000 : (int32_t)whole;
}

static void narrow(BatchState *state, float left, float top, float right, float bottom)
{
    const int32_t l = pixel(left), t = pixel(top), r = pixel(right), b = pixel(bottom);
    state->left = l > state->left ? l : state->left;
    state->top = t > state->top ? t : state->top;
    state->right = r < state->right ? r : state->right;
    state->bottom = b < state->bottom ? b : state->bottom;
    if (state->right < state->left)
        state->right = state->left;
    if (state->bottom < state->top)
        state->bottom = state->top;
}

/* Upright ones cut at whole pixels; others are the shader's, of which the last few count exactly
 * and older ones by their outer bounds. */
static void add_clip(BatchList *list, const DrawShape *shape)
{
    BatchState *state = &list->state;
    const float *at = shape->at, *m = state->m;
    BatchPoint corners[4] = {batch_point(m, at[0], at[1]), batch_point(m, at[0] + at[2], at[1]),
                             batch_point(m, at[0] + at[2], at[1] + at[3]),
                             batch_point(m, at[0], at[1] + at[3])};
    float left = corners[0].x, right = left, top = corners[0].y, bottom = top;
    for (int i = 1; i < 4; i++) {
        left = fminf(left, corners[i].x);
        right = fmaxf(right, corners[i].x);
        top = fminf(top, corners[i].y);
        bottom = fmaxf(bottom, corners[i].y);
    }
    float radius = fminf(at[4], fminf(at[2], at[3]) / 2);
    int plain = radius <= 0 && (state->upright || (m[0] == 0 && m[3] == 0));
    if (plain) {
        narrow(state, left, top, right, bottom);
    } else {
        narrow(state, left - 1, top - 1, right + 1, bottom + 1);
        if (state->clip_count == BATCH_CLIPS) {
            memmove(state->clips, state->clips + 1, (BATCH_CLIPS - 1) * sizeof *state->clips);
            state->clip_count--;
        }
        BatchClip *clip = &state->clips[state->clip_count++];
        float det = m[0] * m[3] - m[1] * m[2];
        BatchPoint middle = batch_point(m, at[0] + at[2] / 2, at[1] + at[3] / 2);
        const float x[2] = {m[3] / det * state->scale_x, -m[2] / det * state->scale_x};
        const float y[2] = {-m[1] / det * state->scale_y, m[0] / det * state->scale_y};
        *clip = (BatchClip){.x = {x[0], x[1], -(x[0] * middle.x + x[1] * middle.y)},
                            .y = {y[0], y[1], -(y[0] * middle.x + y[1] * middle.y)},
                            .half = {at[2] / 2 * state->scale_x, at[3] / 2 * state->scale_y},
                            .radius = {radius * state->scale_x, radius * state->scale_y}};
    }
    state_changed(list);
}

/* ---- a list ---- */

static int same_but_transform(const BatchState *a, const BatchState *b)
{
    return a->blend == b->blend && a->left == b->left && a->top == b->top && a->right == b->right &&
           a->bottom == b->bottom && a->clip_count == b->clip_count &&
           !memcmp(a->clips, b->clips, a->clip_count * sizeof *a->clips);
}

static void pop(BatchList *list)
{
    const BatchState *back = &list->kept[--list->depth];
    int same = same_but_transform(back, &list->state);
    list->state = *back;
    list->transforms++;
    if (!same)
        state_changed(list);
}

static void add_record(BatchList *list, const DrawHead *head)
{
    const DrawShape *shape = (const void *)head;
    BatchState *state = &list->state;
    switch (head->op) {
    case DRAW_PUSH:
        list->kept[list->depth++] = *state;
        return;
    case DRAW_POP:
        pop(list);
        return;
    case DRAW_TRANSFORM:
        multiply(state->m, ((const DrawTransform *)(const void *)head)->m);
        look_at(state);
        list->transforms++;
        return;
    case DRAW_BLEND:
        if (state->blend != head->detail) {
            state->blend = head->detail;
            state_changed(list);
        }
        return;
    case DRAW_CLEAR:
        add_clear(list, shape->paint);
        return;
    default:
        break;
    }
    if (state->flat)
        return;
    switch (head->op) {
    case DRAW_CLIP:
        add_clip(list, shape);
        break;
    case DRAW_RECT:
        add_rect(list, shape);
        break;
    case DRAW_ELLIPSE:
        add_ellipse(list, shape, shape->at[4]);
        break;
    case DRAW_ARC:
        add_arc(list, shape);
        break;
    case DRAW_LINE:
        add_line(list, shape);
        break;
    case DRAW_TRIANGLE: {
        const struct keel_point points[3] = {{shape->at[0], shape->at[1]},
                                             {shape->at[2], shape->at[3]},
                                             {shape->at[4], shape->at[5]}};
        add_points(list, points, 3, shape->paint, NULL);
        break;
    }
    case DRAW_PATH: {
        const DrawPath *path = (const void *)head;
        add_points(list, path->points, path->count, path->paint, path);
        break;
    }
    case DRAW_TEXT: {
        const DrawText *text = (const void *)head;
        uint32_t kind, paint;
        if (paint_of(list, text->paint, &kind, &paint))
            batch_text(list, text, kind, paint);
        break;
    }
    case DRAW_IMAGE:
        add_image(list, (const void *)head);
        break;
    default:
        break;
    }
}

void batch_add(Batch *batch, const DrawList *list, const Pictures *pictures)
{
    BatchList own = {.batch = batch, .list = list, .pictures = pictures};
    own.state = (BatchState){.m = {batch->scale, 0, 0, batch->scale, 0, 0},
                             .right = (int32_t)batch->width,
                             .bottom = (int32_t)batch->height};
    look_at(&own.state);
    state_changed(&own);
    for (const DrawHead *at = draw_first(list); at && !own.broken; at = draw_next(list, at))
        add_record(&own, at);
}
