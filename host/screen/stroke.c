/* Paths into triangles whose outermost pixel fades out. Owns nothing beyond the batch's work
 * memory.
 *
 * A line is a strip of cross-sections of four points: on both sides one where it is solid and one
 * where it has faded out. A join shares the point on the inside of the turn and puts as many
 * sections as its form needs on the outside, so that nothing is painted twice there. One thread. */
#include "screen/stroke.h"

#include <math.h>
#include <stdlib.h>

#define SAME_PLACE 1e-4f /* px²: nearer points are one */
#define MITER_MOST 4.f
#define ARC_ERROR 0.125f /* px between a round join and its polygon */

enum { ARC_STEPS_MOST = 64 };

typedef BatchPoint Point;

typedef struct Section {
    Point left_far, left, right, right_far;
    float coverage;
} Section;

typedef struct Strip {
    Batch *batch;
    uint32_t kind, paint;
    float core, far; /* half widths: solid, faded out */
    float coverage;  /* of the solid part; less than 1 for lines thinner than a pixel */
    int begun;
    Section last;
} Strip;

int stroke_room(Batch *batch, uint32_t count)
{
    BatchWork *work = &batch->work;
    if (count <= work->room)
        return 1;
    uint32_t room = work->room ? work->room : 256;
    while (room < count)
        room *= 2;
    Point *points = realloc(work->points, room * sizeof *points);
    if (points)
        work->points = points;
    Point *normals = realloc(work->normals, room * sizeof *normals);
    if (normals)
        work->normals = normals;
    uint32_t *links = realloc(work->links, room * sizeof *links);
    if (links)
        work->links = links;
    if (!points || !normals || !links)
        return 0;
    work->room = room;
    return 1;
}

static Point add(Point a, Point b, float times)
{
    return (Point){a.x + b.x * times, a.y + b.y * times};
}

static float dot(Point a, Point b)
{
    return a.x * b.x + a.y * b.y;
}

static float cross(Point a, Point b)
{
    return a.x * b.y - a.y * b.x;
}

static Point direction(Point from, Point to)
{
    Point d = {to.x - from.x, to.y - from.y};
    float length = sqrtf(dot(d, d));
    return length > 0 ? (Point){d.x / length, d.y / length} : (Point){1, 0};
}

static float distance(Point a, Point b)
{
    Point d = {b.x - a.x, b.y - a.y};
    return sqrtf(dot(d, d));
}

/* To the left when looking along `d` with y downwards. */
static Point left_of(Point d)
{
    return (Point){d.y, -d.x};
}

static void triangle(const Strip *strip, Point a, float ca, Point b, float cb, Point c, float cc)
{
    if (ca + cb + cc <= 0)
        return;
    Instance *i = batch_instance(strip->batch, INSTANCE_TRIANGLE | strip->kind, strip->paint);
    if (!i)
        return;
    i->at[0] = a.x;
    i->at[1] = a.y;
    i->right[0] = b.x;
    i->right[1] = b.y;
    i->down[0] = c.x;
    i->down[1] = c.y;
    i->half[0] = ca;
    i->half[1] = cb;
    i->radius[0] = cc;
}

static void quad(const Strip *strip, Point a, float ca, Point b, float cb, Point c, float cc,
                 Point d, float cd)
{
    triangle(strip, a, ca, b, cb, c, cc);
    triangle(strip, a, ca, c, cc, d, cd);
}

/* ---- lines ---- */

/* A cross-section at `at`: `left` and `right` lead to its sides, 1 is half the width. */
static void section(Strip *strip, Point at, Point left, Point right, float coverage)
{
    Section now = {.left_far = add(at, left, strip->far),
                   .left = add(at, left, strip->core),
                   .right = add(at, right, strip->core),
                   .right_far = add(at, right, strip->far),
                   .coverage = coverage};
    const Section *last = &strip->last;
    if (strip->begun) {
        float a = last->coverage, b = now.coverage;
        quad(strip, last->left_far, 0, now.left_far, 0, now.left, b, last->left, a);
        if (strip->core > 0)
            quad(strip, last->left, a, now.left, b, now.right, b, last->right, a);
        quad(strip, last->right, a, now.right, b, now.right_far, 0, last->right_far, 0);
    }
    strip->begun = 1;
    strip->last = now;
}

static int arc_steps(float radius, float angle)
{
    float step = radius > ARC_ERROR ? 2 * acosf(1 - ARC_ERROR / radius) : 1.5f;
    float steps = ceilf(fabsf(angle) / step);
    return steps < 1 ? 1 : steps > ARC_STEPS_MOST ? ARC_STEPS_MOST : (int)steps;
}

static Point turned(Point a, Point b, float cosine, float sine)
{
    return (Point){a.x * cosine + b.x * sine, a.y * cosine + b.y * sine};
}

/* `d` leads along the line; `end`: it ends here, else it begins. */
static void cap(Strip *strip, Point at, Point d, uint32_t form, int end)
{
    Point side = left_of(d), other = {-side.x, -side.y};
    float out = end ? 1 : -1;
    if (form == KEEL_CAP_ROUND) {
        int steps = arc_steps(strip->far, 1.5707964f);
        for (int i = 0; i <= steps; i++) {
            float angle = 1.5707964f * (float)(end ? i : steps - i) / (float)steps;
            Point outwards = {d.x * out, d.y * out};
            section(strip, at, turned(side, outwards, cosf(angle), sinf(angle)),
                    turned(other, outwards, cosf(angle), sinf(angle)), strip->coverage);
        }
        return;
    }
    float half = (strip->core + strip->far) / 2, length = form == KEEL_CAP_SQUARE ? half : 0;
    for (int i = 0; i < 2; i++) {
        int faded = end ? i : !i;
        section(strip, add(at, d, out * (length + (faded ? 0.5f : -0.5f))), side, other,
                faded ? 0 : strip->coverage);
    }
}

/* The turn at `at` from d0 to d1; `reach`: how far the inside may lie from here. */
static void join(Strip *strip, Point at, Point d0, Point d1, uint32_t form, float reach)
{
    Point n0 = left_of(d0), n1 = left_of(d1);
    float turn = cross(d0, d1), along = dot(d0, d1);
    float stretch = sqrtf(2 / fmaxf(1 + along, 1e-6f)); /* of the miter against half the width */
    Point miter = {(n0.x + n1.x) / fmaxf(1 + along, 1e-6f),
                   (n0.y + n1.y) / fmaxf(1 + along, 1e-6f)};
    int shared = stretch * strip->far <= reach; /* one point inside does for both */
    if (along > 0.999f || (form == KEEL_JOIN_MITER && stretch <= MITER_MOST && shared)) {
        section(strip, at, miter, (Point){-miter.x, -miter.y}, strip->coverage);
        return;
    }
    float side = turn > 0 ? 1 : -1; /* the outside is left or right */
    Point outer0 = {n0.x * side, n0.y * side}, outer1 = {n1.x * side, n1.y * side};
    Point inner0 =
        shared ? (Point){-miter.x * side, -miter.y * side} : (Point){-outer0.x, -outer0.y};
    Point inner1 = shared ? inner0 : (Point){-outer1.x, -outer1.y};
    float angle = atan2f(fabsf(turn), along);
    int steps = form == KEEL_JOIN_ROUND ? arc_steps(strip->far, angle) : 1;
    int point = form == KEEL_JOIN_MITER && stretch <= MITER_MOST;
    for (int i = 0; i <= steps; i++) {
        float a = angle * (float)i / (float)steps * side;
        Point outer = i == steps ? outer1
                                 : (Point){outer0.x * cosf(a) - outer0.y * sinf(a),
                                           outer0.x * sinf(a) + outer0.y * cosf(a)};
        Point inner = i * 2 <= steps ? inner0 : inner1;
        if (point && i == steps)
            section(strip, at, side > 0 ? (Point){miter.x, miter.y} : inner0,
                    side > 0 ? inner0 : (Point){-miter.x, -miter.y}, strip->coverage);
        section(strip, at, side > 0 ? outer : inner, side > 0 ? inner : outer, strip->coverage);
    }
}

/* Points that lie in one place become one. */
static uint32_t thin_out(Point *points, uint32_t count, int closed)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++) {
        Point d = kept ? (Point){points[i].x - points[kept - 1].x, points[i].y - points[kept - 1].y}
                       : (Point){1, 1};
        if (dot(d, d) > SAME_PLACE)
            points[kept++] = points[i];
    }
    while (closed && kept > 1 && distance(points[0], points[kept - 1]) < sqrtf(SAME_PLACE))
        kept--;
    return kept;
}

static void spot(Batch *batch, Point at, const StrokeStyle *style)
{
    if (style->cap == KEEL_CAP_BUTT)
        return;
    Instance *i = batch_instance(batch, INSTANCE_SHAPE | style->kind, style->paint);
    if (!i)
        return;
    float half = style->width / 2;
    i->at[0] = at.x;
    i->at[1] = at.y;
    i->right[0] = i->down[1] = 1;
    i->half[0] = i->half[1] = half;
    if (style->cap == KEEL_CAP_ROUND)
        i->radius[0] = i->radius[1] = half;
}

void stroke_line(Batch *batch, uint32_t count, const StrokeStyle *style)
{
    Point *points = batch->work.points;
    count = thin_out(points, count, style->closed);
    if (count < 2) {
        if (count)
            spot(batch, points[0], style);
        return;
    }
    int closed = style->closed && count > 2;
    float half = style->width / 2;
    Strip strip = {.batch = batch,
                   .kind = style->kind,
                   .paint = style->paint,
                   .core = fmaxf(half - 0.5f, 0),
                   .far = fmaxf(half + 0.5f, 1),
                   .coverage = fminf(style->width, 1)};
    uint32_t last = count - 1;
    Point before = direction(points[closed ? last : 0], points[closed ? 0 : 1]);
    float length_before = distance(points[closed ? last : 0], points[closed ? 0 : 1]);
    Point first = direction(points[0], points[1]);
    if (closed) {
        join(&strip, points[0], before, first, style->join,
             fminf(length_before, distance(points[0], points[1])));
        before = first;
    } else {
        cap(&strip, points[0], before, style->cap, 0);
    }
    length_before = distance(points[0], points[1]);
    for (uint32_t i = 1; i < count - !closed; i++) {
        Point next = points[i == last ? 0 : i + 1];
        Point after = direction(points[i], next);
        float length = distance(points[i], next);
        join(&strip, points[i], before, after, style->join, fminf(length_before, length));
        before = after;
        length_before = length;
    }
    if (closed)
        join(&strip, points[0], before, first, style->join,
             fminf(length_before, distance(points[0], points[1])));
    else
        cap(&strip, points[last], before, style->cap, 1);
}

/* ---- insides ---- */

static float area(const Point *points, uint32_t count)
{
    float sum = 0;
    for (uint32_t i = 0, before = count - 1; i < count; before = i++)
        sum += cross(points[before], points[i]);
    return sum;
}

static int inside(Point p, Point a, Point b, Point c)
{
    Point ab = {b.x - a.x, b.y - a.y}, bc = {c.x - b.x, c.y - b.y}, ca = {a.x - c.x, a.y - c.y};
    return cross(ab, (Point){p.x - a.x, p.y - a.y}) >= 0 &&
           cross(bc, (Point){p.x - b.x, p.y - b.y}) >= 0 &&
           cross(ca, (Point){p.x - c.x, p.y - c.y}) >= 0;
}

static float corner(Point a, Point b, Point c)
{
    return cross((Point){b.x - a.x, b.y - a.y}, (Point){c.x - b.x, c.y - b.y});
}

/* Nothing of the polygon lies in the triangle at `b`. */
static int is_ear(const Batch *batch, uint32_t a, uint32_t b, uint32_t c)
{
    const Point *points = batch->work.points;
    const uint32_t *next = batch->work.links;
    if (corner(points[a], points[b], points[c]) <= 0)
        return 0;
    for (uint32_t i = next[c]; i != a; i = next[i])
        if (inside(points[i], points[a], points[b], points[c]))
            return 0;
    return 1;
}

static void inner_triangle(const Strip *strip, uint32_t a, uint32_t b, uint32_t c)
{
    const Point *points = strip->batch->work.points, *normals = strip->batch->work.normals;
    triangle(strip, add(points[a], normals[a], -0.5f), 1, add(points[b], normals[b], -0.5f), 1,
             add(points[c], normals[c], -0.5f), 1);
}

/* Cuts ears off until nothing is left; where there is none (the outline crosses itself) or patience
 * is at an end, whatever comes next. */
static void cut_ears(const Strip *strip, uint32_t count)
{
    Batch *batch = strip->batch;
    uint32_t *next = batch->work.links;
    for (uint32_t i = 0; i < count; i++)
        next[i] = i + 1 == count ? 0 : i + 1;
    uint32_t at = 0, left = count, tries = 0;
    while (left > 3) {
        uint32_t ear = next[at], after = next[ear];
        uint32_t *patience = &batch->work.patience;
        *patience -= *patience < left ? *patience : left;
        if (tries > left || !*patience || is_ear(batch, at, ear, after)) {
            inner_triangle(strip, at, ear, after);
            next[at] = after;
            left--;
            tries = 0;
        } else {
            at = ear;
            tries++;
        }
    }
    inner_triangle(strip, at, next[at], next[next[at]]);
}

void stroke_fill(Batch *batch, uint32_t count, const StrokeStyle *style)
{
    Point *points = batch->work.points, *normals = batch->work.normals;
    count = thin_out(points, count, 1);
    if (count < 3)
        return;
    if (area(points, count) < 0)
        for (uint32_t i = 0; i < count / 2; i++) {
            Point kept = points[i];
            points[i] = points[count - 1 - i];
            points[count - 1 - i] = kept;
        }
    for (uint32_t i = 0; i < count; i++) { /* outwards: it is walked clockwise on the screen */
        Point d0 = direction(points[i ? i - 1 : count - 1], points[i]);
        Point d1 = direction(points[i], points[i + 1 == count ? 0 : i + 1]);
        float along = fmaxf(1 + dot(d0, d1), 1 / (MITER_MOST * MITER_MOST));
        Point n0 = left_of(d0), n1 = left_of(d1);
        normals[i] = (Point){(n0.x + n1.x) / along, (n0.y + n1.y) / along};
    }
    Strip strip = {.batch = batch, .kind = style->kind, .paint = style->paint};
    cut_ears(&strip, count);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t j = i + 1 == count ? 0 : i + 1;
        quad(&strip, add(points[i], normals[i], -0.5f), 1, add(points[j], normals[j], -0.5f), 1,
             add(points[j], normals[j], 0.5f), 0, add(points[i], normals[i], 0.5f), 0);
    }
}
