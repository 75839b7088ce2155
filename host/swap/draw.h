/* What a frame drew: a list of plain records, kept by the host, and the slot's picture of the last
 * frame that counted.
 *
 * A list is bytes without pointers, so that anything may play it: the screen, a test, nobody. Every
 * number in it has been checked when it was recorded; who plays it needs no checks of its own. The
 * draw_… functions may be called by a service inside a module's call (they read the caller's memory
 * before they enter the host, so that a bad pointer is the module's fault) and by the host for
 * lists of its own. Owned by one slot or one caller; frame thread. */
#ifndef SWAP_DRAW_H
#define SWAP_DRAW_H

#include <keel/draw.h>

#include "base/err.h"

typedef enum DrawOp {
    DRAW_PUSH,
    DRAW_POP,
    DRAW_TRANSFORM, /* DrawTransform */
    DRAW_CLIP,      /* DrawShape: x y w h radius */
    DRAW_BLEND,     /* DrawShape: `detail` is KEEL_BLEND_… */
    DRAW_CLEAR,     /* DrawShape */
    DRAW_RECT,      /* DrawShape: x y w h radius stroke */
    DRAW_ELLIPSE,   /* DrawShape: x y rx ry stroke */
    DRAW_ARC,       /* DrawShape: x y radius from sweep stroke; `detail` is the cap */
    DRAW_LINE,      /* DrawShape: x0 y0 x1 y1 width; `detail` is the cap */
    DRAW_TRIANGLE,  /* DrawShape: x0 y0 x1 y1 x2 y2 */
    DRAW_PATH,      /* DrawPath and its points */
    DRAW_TEXT,      /* DrawText, the family's name, the text */
    DRAW_IMAGE,     /* DrawImage */
    DRAW_OPS
} DrawOp;

enum {
    DRAW_LIST_BYTES = 64 * 1024 * 1024,
    DRAW_GRADIENTS = 4096,
    DRAW_DEPTH = 64,
    DRAW_PATH_POINTS = 65536,
    DRAW_FILL_POINTS = 1024,
    DRAW_TEXT_BYTES = 65536,
    DRAW_FAMILY_BYTES = 63
};

/* Every record begins with one and is a whole number of 8 bytes long. */
typedef struct DrawHead {
    uint16_t op; /* DrawOp */
    uint16_t detail;
    uint32_t bytes; /* of the record, this included */
} DrawHead;

typedef struct DrawTransform {
    DrawHead head;
    float m[6];
} DrawTransform;

typedef struct DrawShape {
    DrawHead head;
    keel_paint paint; /* a colour, or above it 1 + the index of a gradient */
    float at[6];
} DrawShape;

typedef struct DrawPath {
    DrawHead head;
    keel_paint paint;
    float width;
    uint16_t cap, join;
    uint32_t flags; /* KEEL_PATH_… */
    uint32_t count;
    struct keel_point points[];
} DrawPath;

typedef struct DrawText {
    DrawHead head;
    keel_paint paint;
    float x, y, px;
    uint32_t flags; /* KEEL_FONT_… */
    uint16_t weight, align;
    uint32_t family_bytes; /* the text follows at once; neither ends by a 0 */
    uint32_t text_bytes;
    uint32_t reserved;
    char bytes[];
} DrawText;

typedef struct DrawImage {
    DrawHead head; /* `detail` is KEEL_IMAGE_… */
    keel_handle image;
    float to[4], from[4]; /* from[2] 0: all of it */
    uint32_t tint, reserved;
} DrawImage;

typedef struct DrawGradient {
    uint32_t kind, count;
    float where[4];
    struct keel_stop stops[KEEL_GRADIENT_STOPS];
} DrawGradient;

typedef struct DrawList {
    uint8_t *data; /* 8-aligned */
    size_t used, room;
    DrawGradient *gradients;
    uint32_t gradient_count, gradient_room;
    uint32_t depth;   /* of push */
    uint32_t shapes;  /* records that show something */
    uint32_t refused; /* records that had no room */
} DrawList;

/* What there is to draw on. `measure` NULL: sizes of texts are estimated. */
typedef struct DrawScreen {
    float width, height, scale;
    uint32_t flags; /* KEEL_VIEW_… */
    /* Fills lines, width, height and ascent. [frame] */
    void (*measure)(void *user, const DrawText *text, struct keel_text_size *ret);
    void *user;
} DrawScreen;

/* Of a host that shows nothing: 1280 x 720. */
extern const DrawScreen draw_no_screen;

/* A slot's. */
typedef struct Draw {
    DrawList lists[2];
    DrawList *recording, *good;    /* good: of the last frame that counted */
    float good_width, good_height; /* … of what there was to draw on then */
    uint64_t serial;               /* another number whenever `good` shows something else */
    uint32_t refused_said;         /* the host has told of the limit */
    DrawScreen screen;
} Draw;

/* Width, height and scale of what there is to draw on; nothing when a number makes no sense. */
void draw_resize(Draw *draw, const float size[3]);

void draw_init(Draw *draw);
void draw_done(Draw *draw);
/* A frame begins: nothing is drawn yet. */
void draw_begin(Draw *draw);
/* The frame counts: what it drew is the picture. */
void draw_commit(Draw *draw);

void draw_list_done(DrawList *list);
void draw_list_clear(DrawList *list);

/* The first record, and the one after `head`; NULL at the end. */
const DrawHead *draw_first(const DrawList *list);
const DrawHead *draw_next(const DrawList *list, const DrawHead *head);

/* ---- recording: as the functions of keel.draw/1 ---- */
int draw_push(DrawList *list);
int draw_pop(DrawList *list);
int draw_transform(DrawList *list, const float m[6]);
int draw_clip(DrawList *list, float x, float y, float w, float h, float radius);
int draw_blend(DrawList *list, uint32_t mode);
keel_paint draw_gradient(DrawList *list, uint32_t kind, const float where[4],
                         const struct keel_stop *stops, uint32_t count);
int draw_clear(DrawList *list, keel_paint paint);
int draw_rect(DrawList *list, float x, float y, float w, float h, float radius, float stroke,
              keel_paint paint);
int draw_ellipse(DrawList *list, float x, float y, float rx, float ry, float stroke,
                 keel_paint paint);
int draw_arc(DrawList *list, float x, float y, float radius, float from, float sweep, float stroke,
             uint32_t cap, keel_paint paint);
int draw_line(DrawList *list, float x0, float y0, float x1, float y1, float width, uint32_t cap,
              keel_paint paint);
int draw_triangle(DrawList *list, const struct keel_point points[3], keel_paint paint);
int draw_path(DrawList *list, const struct keel_point *points, uint32_t count,
              const struct keel_path *style, keel_paint paint);
int draw_text(DrawList *list, float x, float y, const char *text, uint64_t bytes,
              const struct keel_font *font, keel_paint paint);
int draw_image(DrawList *list, keel_handle image, const float to[4], const float from[4],
               uint32_t flags, uint32_t tint);
/* By screen->measure, or an estimate. Leaves nothing in the list. */
int draw_text_size(DrawList *list, const DrawScreen *screen, const char *text, uint64_t bytes,
                   const struct keel_font *font, struct keel_text_size *ret);

#endif
