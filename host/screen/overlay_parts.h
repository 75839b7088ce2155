/* What the files of the overlay share: its state, its colours, its way to set text. Nobody else
 * includes it. */
#ifndef SCREEN_OVERLAY_PARTS_H
#define SCREEN_OVERLAY_PARTS_H

#include <pthread.h>

#include "screen/overlay.h"

#define OVERLAY_BACK 0x12151bf4u
#define OVERLAY_EDGE 0xffffff1au
#define OVERLAY_TEXT 0xe9ecf1ffu
#define OVERLAY_DIM 0x98a2b3ffu
#define OVERLAY_TRACK 0xffffff24u
#define OVERLAY_BLUE 0x62c4ffff
#define OVERLAY_GREEN 0x6fdc8cffu
#define OVERLAY_AMBER 0xffb84dffu
#define OVERLAY_RED 0xff6f6fffu

enum {
    OVERLAY_NOTES = 4,
    OVERLAY_PROBLEMS = 4,
    OVERLAY_ROWS = 256,
    OVERLAY_MARGIN = 16,
    OVERLAY_PANEL = 308
};

typedef struct OverlayNote {
    char text[280];
    OverlayTone tone;
    int64_t begun_ns;
} OverlayNote;

/* One row of the panel: a tweak of a slot, or a slot's name. */
typedef struct OverlayRow {
    int slot;
    int title;
    Tweak tweak;
    float y, height; /* in the panel, unscrolled */
} OverlayRow;

typedef struct OverlayPanel {
    int shown;
    OverlayRow *rows; /* OVERLAY_ROWS */
    int count;
    float x, y, height, content, scroll;
    int hover, drag, part; /* rows, -1: none; part: of a color, 0 to 2 */
    int moved;             /* the drag has set something */
} OverlayPanel;

struct Overlay {
    OverlayOptions options;
    char hint[200];
    int hinted;

    pthread_mutex_t lock; /* of the next three */
    OverlayNote posted[OVERLAY_NOTES];
    int posted_count;
    struct {
        OverlayProblem list[OVERLAY_PROBLEMS];
        int count, all;
        char after[80];
        int changed;
    } problems;

    int notes_shown;
    OverlayNote notes[OVERLAY_NOTES]; /* newest last */
    int note_count;
    OverlayProblem shown[OVERLAY_PROBLEMS];
    int shown_count, shown_all;
    char shown_after[80];

    OverlayPanel panel;
    float mouse_x, mouse_y;
    int pressed, below; /* a button went down here, or on a module's picture */

    int holding; /* the key for going back is held */
    int was_paused;
    int64_t hold_ns, hold_from_ns, hold_reach_ns, hold_at_ns;

    DrawList list;
    const DrawScreen *screen;
    float width, height;
    Hash made_of;
    uint64_t serial;
};

/* ---- overlay_text.c ---- */

typedef struct OverlayFont {
    float px;
    uint32_t weight, flags, align;
} OverlayFont;

void overlay_text(Overlay *overlay, float x, float y, const OverlayFont *font, uint32_t color,
                  const char *text);
float overlay_width(Overlay *overlay, const OverlayFont *font, const char *text);
/* Cut so that it fits, with an ellipsis. */
void overlay_fitted(Overlay *overlay, float x, float y, float width, const OverlayFont *font,
                    uint32_t color, const char *text);
void overlay_box(Overlay *overlay, float x, float y, float w, float h);
uint32_t overlay_faded(uint32_t color, float part);

/* ---- overlay_panel.c ---- */

int panel_init(OverlayPanel *panel);
void panel_done(OverlayPanel *panel);
/* What there is to set now, and where its rows are. */
void panel_look(Overlay *overlay, const Host *host);
void panel_draw(Overlay *overlay);
int panel_input(Overlay *overlay, Host *host, const struct keel_input *input);

#endif
