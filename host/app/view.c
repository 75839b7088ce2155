/* The window of a session. Owns the screen; without KEEL_SCREEN there is none. Main thread. */
#include "app/view.h"

#include <getopt.h>
#include <keel/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"

#ifndef KEEL_HAVE_SCREEN
#define KEEL_HAVE_SCREEN 0
#endif
#if KEEL_HAVE_SCREEN
#include "app/dev_errors.h"
#include "base/clock.h"
#include "screen/overlay.h"
#include "screen/screen.h"
#endif

enum { SIDE_LEAST = 16, SIDE_MOST = 16384, WIDTH = 1280, HEIGHT = 720 };

static int size_option(View *view, const char *command, const char *value)
{
    char rest;
    int width, height;
    if (sscanf(value, "%5dx%5d%c", &width, &height, &rest) != 2 || width < SIDE_LEAST ||
        height < SIDE_LEAST || width > SIDE_MOST || height > SIDE_MOST) {
        fprintf(stderr,
                "keel %s: --size takes a width and a height from %d to %d, as in 1280x720; "
                "not \"%s\"\n",
                command, SIDE_LEAST, SIDE_MOST, value);
        return 0;
    }
    view->width = width;
    view->height = height;
    return 1;
}

static int scale_option(View *view, const char *command, const char *value)
{
    char *end;
    double scale = strtod(value, &end);
    if (end == value || *end || !(scale >= 0.25 && scale <= 8)) {
        fprintf(stderr, "keel %s: --scale takes a number from 0.25 to 8; not \"%s\"\n", command,
                value);
        return 0;
    }
    view->scale = scale;
    return 1;
}

/* It takes two words: the frame is getopt's, the file stands behind it. */
static int shot_option(View *view, const char *command, char **argv)
{
    enum { MOST = sizeof view->shots / sizeof *view->shots };
    char *end;
    long long frame = strtoll(optarg, &end, 10);
    const char *path = argv[optind];
    if (end == optarg || *end || frame < 0 || !path || path[0] == '-') {
        fprintf(stderr,
                "keel %s: --screenshot-at takes a frame's number (0: before the first) and a file, "
                "as in "
                "60 ball.png\n",
                command);
        return 0;
    }
    if (view->shot_count == MOST) {
        fprintf(stderr, "keel %s: at most %d pictures by --screenshot-at\n", command, MOST);
        return 0;
    }
    optind++;
    view->shots[view->shot_count++] = (struct ViewShot){frame, path};
    return 1;
}

int view_option(View *view, const char *command, int option, char **argv)
{
    switch (option) {
    case 'H':
        view->headless = 1;
        return 1;
    case VIEW_SIZE:
        return size_option(view, command, optarg);
    case VIEW_SCALE:
        return scale_option(view, command, optarg);
    case VIEW_TRACE:
        view->trace = 1;
        return 1;
    case VIEW_SHOT:
        return shot_option(view, command, argv);
    default:
        return -1;
    }
}

/* After the first frame. */
static void view_traced(View *view)
{
    if (!view->trace)
        return;
    view->trace = 0;
    trace_mark(view->screen ? "the first frame is seen" : "the first frame has run");
    trace_print(stderr);
}

#if KEEL_HAVE_SCREEN

void view_open(View *view, keel_host *host, const char *title, const Say *say)
{
    view->say = say;
    view->host = host;
    if (view->headless && !view->shot_count)
        return;
    WindowOptions options = {.title = title,
                             .width = view->width ? view->width : WIDTH,
                             .height = view->height ? view->height : HEIGHT,
                             .scale = (float)view->scale,
                             .offscreen = view->headless     ? WINDOW_OFFSCREEN
                                          : view->shot_count ? WINDOW_OFFSCREEN_AT_NEED
                                                             : 0};
    Error err = {0};
    if (screen_open(host, &options, &view->screen, &err)) {
        view->shot_failed = view->shot_count > 0;
        char text[1100];
        snprintf(text, sizeof text, "no window: %s; running without one, as --headless does",
                 err.text);
        say_line(say, KEEL_LOG_WARN, "screen", text);
        return;
    }
    const OverlayOptions above = {.notes = !view->quiet,
                                  .hint = view->hint,
                                  .store = view->store,
                                  .user = view->store_user,
                                  .store_always = view->store_always};
    Overlay *overlay;
    if (overlay_new(&above, &overlay, &err)) {
        say_line(say, KEEL_LOG_WARN, "screen", err.text);
        return;
    }
    __atomic_store_n(&view->overlay, overlay, __ATOMIC_RELEASE);
    host->over = overlay_input;
    host->over_user = overlay;
}

void view_warm(View *view)
{
    if (view->screen)
        screen_warm(view->screen);
}

void view_close(View *view)
{
    if (view->overlay)
        view->host->over = NULL;
    screen_close(view->screen);
    view->screen = NULL;
}

void view_done(View *view)
{
    overlay_free(view->overlay);
    view->overlay = NULL;
}

static Overlay *overlay_of(View *view)
{
    return __atomic_load_n(&view->overlay, __ATOMIC_ACQUIRE);
}

void view_note(View *view, int tone, const char *text)
{
    Overlay *overlay = overlay_of(view);
    if (overlay)
        overlay_note(overlay, (OverlayTone)tone, text);
}

void view_errors(View *view, const struct DevError *errors, int count, int all, const char *after)
{
    Overlay *overlay = overlay_of(view);
    OverlayProblem problems[DEV_ERRORS];
    for (int i = 0; i < count; i++) {
        problems[i] = (OverlayProblem){.warning = errors[i].warning,
                                       .line = errors[i].line,
                                       .column = errors[i].column,
                                       .from = errors[i].from,
                                       .to = errors[i].to};
        memcpy(problems[i].file, errors[i].file, sizeof problems[i].file);
        memcpy(problems[i].text, errors[i].text, sizeof problems[i].text);
        memcpy(problems[i].source, errors[i].source, sizeof problems[i].source);
    }
    if (overlay)
        overlay_problems(overlay, problems, count, all, after);
}

int view_before(View *view)
{
    int closed = view->screen ? screen_pump(view->screen) : 0;
    if (view->overlay)
        overlay_before_frame(view->overlay, view->host, clock_now_ns());
    return closed;
}

static void shot_done(const Error *err, void *user)
{
    View *view = user;
    if (!err->code)
        return;
    __atomic_store_n(&view->shot_failed, 1, __ATOMIC_RELAXED);
    say_line(view->say, KEEL_LOG_ERROR, "screen", err->text);
}

static void take_shots(View *view)
{
    if (!view->shot_count || !atomic_load(&view->host->slot_count))
        return; /* keel dev: the first build isn't over */
    view->frames++;
    for (int i = 0; i < view->shot_count; i++) {
        Error err = {0};
        if (view->shots[i].frame == view->frames &&
            screen_shot(view->screen, view->shots[i].path, shot_done, view, &err))
            shot_done(&err, view);
    }
}

/* Picture 0 is what is seen before the first frame. */
static void take_first_shots(View *view)
{
    for (int i = 0; i < view->shot_count; i++) {
        Error err = {0};
        if (!view->shots[i].frame && !view->first_shots &&
            screen_shot(view->screen, view->shots[i].path, shot_done, view, &err))
            shot_done(&err, view);
    }
    view->first_shots = 1;
}

int view_wait(View *view, Error *err)
{
    if (!view->screen)
        return KEEL_OK;
    take_first_shots(view);
    return screen_wait(view->screen, err);
}

static void draw_overlay(View *view)
{
    if (!view->overlay)
        return;
    uint64_t serial;
    const DrawList *list =
        overlay_draw(view->overlay, view->host, &view->host->screen, clock_now_ns(), &serial);
    screen_overlay(view->screen, list, serial);
}

int view_after(View *view, Error *err)
{
    int rc = KEEL_OK;
    if (view->screen) {
        draw_overlay(view);
        take_shots(view);
        rc = screen_draw(view->screen, err);
    }
    view_traced(view);
    return rc;
}

int view_is_still(const View *view)
{
    enum { STILL_FRAMES = 30 };
    return view->screen && screen_still(view->screen) > STILL_FRAMES;
}

int view_closed(const View *view)
{
    return view->screen && screen_closing(view->screen);
}

#else

void view_open(View *view, keel_host *host, const char *title, const Say *say)
{
    (void)host, (void)title;
    if (!view->headless)
        say_line(
            say, KEEL_LOG_INFO, "screen",
            "no window: this keel was built without one (KEEL_SCREEN=OFF, or no libraries for it)");
}

void view_warm(View *view)
{
    (void)view;
}

void view_close(View *view)
{
    (void)view;
}

void view_done(View *view)
{
    (void)view;
}

void view_note(View *view, int tone, const char *text)
{
    (void)view, (void)tone, (void)text;
}

void view_errors(View *view, const struct DevError *errors, int count, int all, const char *after)
{
    (void)view, (void)errors, (void)count, (void)all, (void)after;
}

int view_wait(View *view, Error *err)
{
    (void)view, (void)err;
    return KEEL_OK;
}

int view_before(View *view)
{
    (void)view;
    return 0;
}

int view_after(View *view, Error *err)
{
    (void)err;
    view_traced(view);
    return KEEL_OK;
}

int view_is_still(const View *view)
{
    (void)view;
    return 0;
}

int view_closed(const View *view)
{
    (void)view;
    return 0;
}

#endif
