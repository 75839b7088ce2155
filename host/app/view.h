/* The window of `keel run` and `keel dev`: its options, and the screen if there is one. Main
 * thread. */
#ifndef APP_VIEW_H
#define APP_VIEW_H

#include <keel/host.h>

#include "app/say.h"
#include "base/err.h"

struct Tweak;

typedef struct View {
    int headless;
    int width, height; /* 0: the default */
    double scale;      /* 0: what the display says */
    int quiet;         /* no notes at the begin */
    const char *hint;  /* a line that is shown until the first swap */
    struct Screen *screen;
    struct ViewShot {
        long long frame;
        const char *path;
    } shots[16];                 /* as asked by --screenshot-at */
    int shot_count, first_shots; /* …: those of before the first frame are asked for */
    int trace;                   /* tell where the time of the start went */
    long long frames;
    const Say *say;
    int shot_failed; /* atomic; a picture couldn't be written; whole after view_close */
    struct Overlay *overlay;
    keel_host *host; /* the overlay's */
    /* "Store in the source": see overlay.h; set before view_open, or NULL */
    void (*store)(void *user, const char *slot, const struct Tweak *tweak);
    void *store_user;
    int store_always;
} View;

/* Beyond what the commands use for options of their own. */
enum { VIEW_SIZE = 1000, VIEW_SCALE, VIEW_SHOT, VIEW_TRACE };

#define VIEW_OPTIONS                                                                    \
    {"headless", no_argument, NULL, 'H'}, {"size", required_argument, NULL, VIEW_SIZE}, \
        {"scale", required_argument, NULL, VIEW_SCALE},                                 \
        {"trace-start", no_argument, NULL, VIEW_TRACE},                                 \
    {                                                                                   \
        "screenshot-at", required_argument, NULL, VIEW_SHOT                             \
    }
#define VIEW_HELP                                                                              \
    "  --headless         no window\n"                                                         \
    "  --size WxH         size of the window in logical pixels (1280x720)\n"                   \
    "  --screenshot-at N FILE  writes what frame N shows as PNG (0: what is seen before the\n" \
    "                     first); without a display, too\n"                                    \
    "  --trace-start      say where the time went from main() to the first picture\n"          \
    "  --scale N          the screen's pixels a logical pixel (as the display is)\n"

/* 1: taken; 0: taken, after a sentence on stderr about its value; -1: none of the view's. */
int view_option(View *view, const char *command, int option, char **argv);

/* Opens the window, unless headless. Where none can be had a line says why, and all goes on
 * without. */
void view_open(View *view, keel_host *host, const char *title, const Say *say);
void view_warm(View *view); /* while nothing else can be done: less is left for the first picture */
void view_close(View *view);
/* After the host was closed. */
void view_done(View *view);

/* Before the first frame, again and again: what there is to be seen by then. */
int view_wait(View *view, Error *err);

/* Before and after each frame of the host. before: 1 once the window was closed. */
int view_before(View *view);
int view_after(View *view, Error *err);

/* The picture hasn't changed for some time: nobody sees when exactly frames run. */
int view_is_still(const View *view);
int view_closed(const View *view);
/* A line above the picture, and what the compiler says; nothing without a window. `tone` as in
 * overlay.h. [any] */
struct DevError;
void view_note(View *view, int tone, const char *text);
void view_errors(View *view, const struct DevError *errors, int count, int all, const char *after);

#endif
