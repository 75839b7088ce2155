/* What the host itself shows above the modules' pictures: notes about swaps, what the compiler
 * says, sliders for tweaks, the way back in time. It only makes a draw list and takes input; who
 * has a screen shows the one and brings the other.
 *
 *   F1  tweaks          F2  notes on or off     F3 (held)  back in time, played again on release
 *   F5  stand still     F6  one frame
 *
 * [frame] but where it says [any]. */
#ifndef SCREEN_OVERLAY_H
#define SCREEN_OVERLAY_H

#include "host/host.h"
#include "swap/draw.h"

typedef struct Overlay Overlay;

typedef struct OverlayOptions {
    int notes;        /* shown from the begin; errors of compilers always are */
    const char *hint; /* a line that stays until the first swap; NULL: none. Copied */
    /* "Store" was clicked (or the slider let go, with `store_always`): the tweak's value is to be
     * its default in the source. NULL: there is no such button. [frame], must not wait */
    void (*store)(void *user, const char *slot, const Tweak *tweak);
    void *user;
    int store_always;
} OverlayOptions;

int overlay_new(const OverlayOptions *options, Overlay **ret, Error *err);
void overlay_free(Overlay *overlay); /* NULL is fine */

typedef enum OverlayTone { OVERLAY_CALM, OVERLAY_GOOD, OVERLAY_WARN, OVERLAY_BAD } OverlayTone;

/* A line that goes away by itself. Copied. [any] */
void overlay_note(Overlay *overlay, OverlayTone tone, const char *text);

enum { OVERLAY_ERROR, OVERLAY_WARNING, OVERLAY_CRASH };
typedef struct OverlayProblem {
    int warning; /* OVERLAY_… */
    char file[256];
    int line, column;
    char text[400], source[240];
    int from, to; /* characters of source */
} OverlayProblem;

/* What the compiler says, until it says something else; count 0: nothing any more. `all`: how many
 * there are with those that aren't given. Copied. [any] */
void overlay_problems(Overlay *overlay, const OverlayProblem *problems, int count, int all,
                      const char *after);

/* 1: it was for the overlay, modules shall not see it. For Host.over. */
int overlay_input(void *overlay, Host *host, const struct keel_input *input);

/* Before each frame of the host: goes on back in time while the key is held. */
void overlay_before_frame(Overlay *overlay, Host *host, int64_t now_ns);

/* The list for this instant, NULL when there is nothing to show. Another *ret_serial: it changed.
 */
const DrawList *overlay_draw(Overlay *overlay, Host *host, const DrawScreen *screen, int64_t now_ns,
                             uint64_t *ret_serial);

/* The panel of tweaks, as F1. */
void overlay_show_tweaks(Overlay *overlay, int shown);

#endif
