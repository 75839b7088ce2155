/* Paths into triangles with soft edges. All in pixels. */
#ifndef SCREEN_STROKE_H
#define SCREEN_STROKE_H

#include "screen/batch.h"

/* How a path is painted: as Instance. */
typedef struct StrokeStyle {
    float width;
    uint32_t cap, join; /* KEEL_CAP_…, KEEL_JOIN_… */
    int closed;
    uint32_t kind, paint; /* kind: 0 or INSTANCE_GRADIENT */
} StrokeStyle;

/* Room for `count` points in batch->work.points, or 0. */
int stroke_room(Batch *batch, uint32_t count);

/* The line along the first `count` of batch->work.points, which it changes. */
void stroke_line(Batch *batch, uint32_t count, const StrokeStyle *style);

/* The inside of the simple polygon of these points. */
void stroke_fill(Batch *batch, uint32_t count, const StrokeStyle *style);

#endif
