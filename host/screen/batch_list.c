/* Walks a draw list: its transforms, clips and blending, and what is kept by push. Each shape goes
 * to batch_shapes.c, each text to batch_text.c. Owns nothing. One thread. */
#include <math.h>
#include <string.h>

#include "screen/batch_parts.h"

#define STRAIGHT 1e-3f /* how far axes may be from straight, as part of their length */

float batch_length(float x, float y)
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
    float x = batch_length(m[0], m[1]), y = batch_length(m[2], m[3]);
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

/* The last command serves for instances without an image, whatever its image. */
static void state_changed(BatchList *list)
{
    list->broken = !batch_command(list->batch, &list->state, NULL, 0);
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
        batch_rect(list, &all);
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
        batch_rect(list, shape);
        break;
    case DRAW_ELLIPSE:
        batch_ellipse(list, shape, shape->at[4]);
        break;
    case DRAW_ARC:
        batch_arc(list, shape);
        break;
    case DRAW_LINE:
        batch_line(list, shape);
        break;
    case DRAW_TRIANGLE: {
        const struct keel_point points[3] = {{shape->at[0], shape->at[1]},
                                             {shape->at[2], shape->at[3]},
                                             {shape->at[4], shape->at[5]}};
        batch_points(list, points, 3, shape->paint, NULL);
        break;
    }
    case DRAW_PATH: {
        const DrawPath *path = (const void *)head;
        batch_points(list, path->points, path->count, path->paint, path);
        break;
    }
    case DRAW_TEXT: {
        const DrawText *text = (const void *)head;
        uint32_t kind, paint;
        if (batch_paint(list, text->paint, &kind, &paint))
            batch_text(list, text, kind, paint);
        break;
    }
    case DRAW_IMAGE:
        batch_image(list, (const void *)head);
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
