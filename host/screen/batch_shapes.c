/* Shapes of a list into instances: rectangles, circles, arcs, lines, paths and images under the
 * list's transform. Owns nothing. One thread. */
#include <math.h>

#include "screen/batch_parts.h"
#include "screen/stroke.h"

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

void batch_rect(BatchList *list, const DrawShape *shape)
{
    const BatchState *state = &list->state;
    uint32_t kind, paint;
    const float *at = shape->at;
    if (at[2] == 0 || at[3] == 0 || !batch_paint(list, shape->paint, &kind, &paint))
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

void batch_ellipse(BatchList *list, const DrawShape *shape, float stroke)
{
    const BatchState *state = &list->state;
    uint32_t kind, paint;
    const float *at = shape->at;
    const float box[4] = {at[0] - at[2], at[1] - at[3], 2 * at[2], 2 * at[3]};
    if (at[2] == 0 || at[3] == 0 || !batch_paint(list, shape->paint, &kind, &paint))
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

void batch_arc(BatchList *list, const DrawShape *shape)
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
        batch_ellipse(list, &whole, at[5]);
        return;
    }
    if (!batch_paint(list, shape->paint, &kind, &paint))
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

void batch_line(BatchList *list, const DrawShape *shape)
{
    const float *at = shape->at;
    uint32_t kind, paint, cap = shape->head.detail;
    float width = at[4] * list->state.scale;
    BatchPoint from = batch_point(list->state.m, at[0], at[1]);
    BatchPoint to = batch_point(list->state.m, at[2], at[3]);
    float along = batch_length(to.x - from.x, to.y - from.y);
    if (width <= 0 || (along <= 0 && cap == KEEL_CAP_BUTT) ||
        !batch_paint(list, shape->paint, &kind, &paint))
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

void batch_points(BatchList *list, const struct keel_point *points, uint32_t count,
                  keel_paint paint, const DrawPath *path)
{
    Batch *batch = list->batch;
    StrokeStyle style = {0};
    if (!stroke_room(batch, count) || !batch_paint(list, paint, &style.kind, &style.paint))
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

void batch_image(BatchList *list, const DrawImage *image)
{
    Batch *batch = list->batch;
    const Picture *picture = list->pictures ? pictures_find(list->pictures, image->image) : NULL;
    const float *to = image->to, *from = image->from;
    if (!picture || to[2] == 0 || to[3] == 0)
        return;
    uint32_t nearest = image->head.detail & KEEL_IMAGE_NEAREST;
    const BatchCommand *command = &batch->commands[batch->command_count - 1];
    if ((command->image != picture || command->nearest != nearest) &&
        !batch_command(batch, &list->state, picture, nearest))
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
