/* What the files of batching share: the state of the list that is being added. Only batch*.c
 * include it. */
#ifndef SCREEN_BATCH_PARTS_H
#define SCREEN_BATCH_PARTS_H

#include "screen/batch.h"

/* What push keeps. */
typedef struct BatchState {
    float m[6];                    /* to pixels */
    float scale_x, scale_y, scale; /* pixels a unit: across each axis, and of areas their root */
    int flat;                      /* nothing has an area */
    int similar;                   /* circles stay circles */
    int upright;                   /* neither turned nor askew */
    uint32_t blend;
    int32_t left, top, right, bottom;
    uint32_t clip_count;
    BatchClip clips[BATCH_CLIPS];
} BatchState;

typedef struct BatchList {
    Batch *batch;
    const DrawList *list;
    const Pictures *pictures;
    BatchState state, kept[DRAW_DEPTH];
    uint32_t depth;
    uint32_t transforms;                             /* counts changes of the transform */
    uint32_t last_gradient, last_gradient_transform; /* what the newest gradient was made of */
    int broken;                                      /* no room for more commands */
} BatchList;

float batch_length(float x, float y);
BatchPoint batch_point(const float m[6], float x, float y);

/* From now on instances go to a command with this state. An empty one is used anew. 0: no room. */
int batch_command(Batch *batch, const BatchState *state, const Picture *image, uint32_t nearest);

/* The instance's kind and paint for a list's paint. 0: it can't be painted. */
int batch_paint(BatchList *list, keel_paint paint, uint32_t *ret_kind, uint32_t *ret_paint);

/* An instance whose axes are the list's, in the middle of (x, y, w, h). */
Instance *batch_box(BatchList *list, uint32_t kind, uint32_t paint, const float box[4]);

void batch_rect(BatchList *list, const DrawShape *shape);
void batch_ellipse(BatchList *list, const DrawShape *shape, float stroke);
void batch_arc(BatchList *list, const DrawShape *shape);
void batch_line(BatchList *list, const DrawShape *shape);
void batch_image(BatchList *list, const DrawImage *image);

/* A path; NULL: the points are a filled triangle. */
void batch_points(BatchList *list, const struct keel_point *points, uint32_t count,
                  keel_paint paint, const DrawPath *path);

/* The glyphs of a text. */
void batch_text(BatchList *list, const DrawText *text, uint32_t kind, uint32_t paint);

#endif
