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

BatchPoint batch_point(const float m[6], float x, float y);
Instance *batch_box(BatchList *list, uint32_t kind, uint32_t paint, const float box[4]);

/* The glyphs of a text. */
void batch_text(BatchList *list, const DrawText *text, uint32_t kind, uint32_t paint);

#endif
