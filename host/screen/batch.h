/* From draw lists to what a graphics card takes: one array of instances and few commands.
 *
 * Everything that is seen becomes instances of one form, 64 bytes each, in pixels of the target:
 * rectangles and what is like them (circles, lines, arcs) keep their shape and get their edges from
 * the shader, paths become triangles with soft edges, text becomes glyphs of the atlas. Commands
 * divide the instances where clip, blending or image change. Knows no OpenGL. Everything is kept
 * from one batch to the next, so that a picture of the usual size allocates nothing. One thread. */
#ifndef SCREEN_BATCH_H
#define SCREEN_BATCH_H

#include "screen/glyphs.h"
#include "swap/draw.h"
#include "swap/pictures.h"

enum {
    BATCH_INSTANCES_MOST = 2 * 1024 * 1024, /* what is beyond isn't shown and counted */
    BATCH_CLIPS = 4                         /* turned or rounded ones at once */
};

/* What `kind` says. The shader has the same numbers. */
enum {
    INSTANCE_SHAPE = 0,    /* half, radius, stroke */
    INSTANCE_ARC = 1,      /* radius: its radius, half its angle; stroke: half its width, the cap */
    INSTANCE_PIE = 2,      /* radius: its radius, half its angle */
    INSTANCE_TRIANGLE = 3, /* at, right, down: its corners; half, radius[0]: their coverage */
    INSTANCE_GLYPH = 4,    /* half; place: in the atlas */
    INSTANCE_IMAGE = 5,    /* half; radius, stroke: the part of the image, 0 to 1 */
    INSTANCE_PLAIN = 6     /* right, down: left, top, right and bottom edge, whole pixels */
};
enum {
    INSTANCE_GRADIENT = 0x100, /* `paint` is a gradient's index */
    INSTANCE_UPRIGHT = 0x200   /* a shape that isn't turned; only the part of it is drawn that right
                                  and down tell: left, top, right, bottom */
};

typedef struct Instance {
    float at[2];    /* the centre */
    float right[2]; /* one pixel along its own axes */
    float down[2];
    float half[2];     /* size, in its own pixels */
    float radius[2];   /* of corners */
    float stroke[2];   /* 0: filled */
    uint32_t paint;    /* 0xRRGGBBAA */
    uint32_t kind;     /* INSTANCE_…; the atlas' page in the upper half */
    uint16_t place[4]; /* x, y, w, h in the atlas */
} Instance;

/* A gradient under one transform, as the shader reads it. */
typedef struct BatchGradient {
    float x[3]; /* linear: t = x · (px, py, 1); radial: t = |(x · …, y · …)| */
    uint32_t kind;
    float y[3];
    uint32_t count;
    float at[KEEL_GRADIENT_STOPS];
    uint32_t colors[KEEL_GRADIENT_STOPS];
} BatchGradient;

/* A rectangle in its own pixels; (x, y) = to · (px, py, 1). */
typedef struct BatchClip {
    float x[3], y[3];
    float half[2], radius[2];
} BatchClip;

typedef struct BatchCommand {
    uint32_t first, count; /* instances */
    uint32_t blend;        /* KEEL_BLEND_… */
    uint32_t nearest;
    uint32_t kinds;                   /* bits 1 << INSTANCE_…, and INSTANCE_GRADIENT */
    const Picture *image;             /* NULL: none */
    int32_t left, top, right, bottom; /* nothing is seen outside */
    uint32_t clip_count;
    BatchClip clips[BATCH_CLIPS];
} BatchCommand;

typedef struct BatchPoint {
    float x, y;
} BatchPoint;

/* Work memory of paths, see stroke.h. */
typedef struct BatchWork {
    BatchPoint *points, *normals;
    uint32_t *links;
    uint32_t room;
    uint32_t patience; /* looks at corners that filling may still take in this picture */
} BatchWork;

typedef struct Batch {
    Instance *instances;
    uint32_t count, room;
    BatchCommand *commands;
    uint32_t command_count, command_room;
    BatchGradient *gradients;
    uint32_t gradient_count, gradient_room;
    uint32_t refused;    /* instances that had no room */
    uint32_t background; /* 0xRRGGBBAA; of the last list that painted over everything */
    int split; /* a command has instances of one kind only: for renderers where each kind costs */
    uint32_t width, height;
    float scale;
    Glyphs *glyphs; /* NULL: texts aren't shown */
    BatchWork work;
} Batch;

void batch_init(Batch *batch, Glyphs *glyphs);
void batch_done(Batch *batch);

/* A new picture of that many pixels, `scale` of them a logical pixel, on this background. */
void batch_begin(Batch *batch, uint32_t width, uint32_t height, float scale, uint32_t background);

/* Adds a list above those before. `pictures` may be NULL: the list then shows no images. */
void batch_add(Batch *batch, const DrawList *list, const Pictures *pictures);

/* One more instance, zeroed but for its kind and paint; NULL when there is no room. For the files
 * of this room. */
Instance *batch_instance(Batch *batch, uint32_t kind, uint32_t paint);

#endif
