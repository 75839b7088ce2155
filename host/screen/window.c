/* SDL's window and its OpenGL context. Owns both and SDL's video part; draws nothing. Frame thread.
 */
#include "screen/window.h"

#include <epoxy/gl.h>
#include <stdlib.h>

#include "base/trace.h"
#include "screen/connection.h"

enum { SIDE_MOST = 16384 };

static const char *set(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static int no_display(Error *err)
{
    const char *display = set("WAYLAND_DISPLAY") ? set("WAYLAND_DISPLAY") : set("DISPLAY");
    if (set("SDL_VIDEODRIVER"))
        return err_set(
            err, KEEL_EUNSUPPORTED,
            "SDL can't use the video driver \"%.40s\" that SDL_VIDEODRIVER names (%.200s)",
            set("SDL_VIDEODRIVER"), SDL_GetError());
    return err_set(err, KEEL_EUNSUPPORTED, "no window can be opened on display \"%.80s\" (%.200s)",
                   display, SDL_GetError());
}

static void measure(Window *window)
{
    int width, height;
    SDL_GetWindowSize(window->window, &width, &height);
    SDL_GL_GetDrawableSize(window->window, &window->width_px, &window->height_px);
    if (window->width_px < 1)
        window->width_px = 1;
    if (window->height_px < 1)
        window->height_px = 1;
    window->scale = window->asked_scale;
    if (window->scale <= 0)
        window->scale = width > 0 ? (float)window->width_px / (float)width : 1;
    window->width = (float)window->width_px / window->scale;
    window->height = (float)window->height_px / window->scale;
}

static int make_context(Window *window, Error *err)
{
    window->context = SDL_GL_CreateContext(window->window);
    if (!window->context)
        return err_set(err, KEEL_EUNSUPPORTED, "this display has no OpenGL 3.3 (%.200s)",
                       SDL_GetError());
    if (epoxy_gl_version() < 33)
        return err_set(err, KEEL_EUNSUPPORTED,
                       "this display has OpenGL %d.%d and 3.3 is needed: a newer driver, or "
                       "LIBGL_ALWAYS_SOFTWARE=1",
                       epoxy_gl_version() / 10, epoxy_gl_version() % 10);
    return KEEL_OK;
}

int window_open(Window *window, const WindowOptions *options, Error *err)
{
    *window = (Window){.asked_scale = options->scale, .shown = 1, .stale = 1, .fd = -1};
    /* Left alone, SDL would take its driver for tests and show nothing to nobody. What
     * SDL_VIDEODRIVER says goes before the hint. */
    int display = set("DISPLAY") || set("WAYLAND_DISPLAY") || set("SDL_VIDEODRIVER");
    int offscreen = options->offscreen == WINDOW_OFFSCREEN || (options->offscreen && !display);
    if (!display && !offscreen)
        return err_set(err, KEEL_EUNSUPPORTED,
                       "there is no display here (neither DISPLAY nor WAYLAND_DISPLAY is set)");
    if (offscreen)
        SDL_SetHintWithPriority(SDL_HINT_VIDEODRIVER, "offscreen", SDL_HINT_OVERRIDE);
    else
        SDL_SetHint(SDL_HINT_VIDEODRIVER, set("DISPLAY") ? "x11,wayland" : "wayland");
    SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1"); /* signals are the program's */
    SDL_SetHint(SDL_HINT_VIDEO_X11_NET_WM_BYPASS_COMPOSITOR, "0");
    SDL_SetHint(SDL_HINT_VIDEO_ALLOW_SCREENSAVER, "1");
    if (SDL_InitSubSystem(SDL_INIT_VIDEO))
        return no_display(err);
    trace_mark("SDL has a display");
    SDL_GL_SetAttribute(SDL_GL_CONTEXT_MAJOR_VERSION, 3);
    SDL_GL_SetAttribute(SDL_GL_CONTEXT_MINOR_VERSION, 3);
    SDL_GL_SetAttribute(SDL_GL_CONTEXT_PROFILE_MASK, SDL_GL_CONTEXT_PROFILE_CORE);
    SDL_GL_SetAttribute(SDL_GL_DOUBLEBUFFER, 1);
    SDL_GL_SetAttribute(SDL_GL_DEPTH_SIZE, 0);
    SDL_GL_SetAttribute(SDL_GL_STENCIL_SIZE, 0);
    float scale = options->scale > 0 ? options->scale : 1;
    int width = (int)((float)options->width * scale),
        height = (int)((float)options->height * scale);
    window->window = SDL_CreateWindow(
        options->title, SDL_WINDOWPOS_UNDEFINED, SDL_WINDOWPOS_UNDEFINED,
        width > SIDE_MOST ? SIDE_MOST : width, height > SIDE_MOST ? SIDE_MOST : height,
        SDL_WINDOW_OPENGL | SDL_WINDOW_RESIZABLE | SDL_WINDOW_ALLOW_HIGHDPI);
    trace_mark("the window is made");
    int rc = window->window ? make_context(window, err) : no_display(err);
    if (rc) {
        window_close(window);
        return rc;
    }
    trace_mark("OpenGL has a context");
    SDL_GL_SetSwapInterval(0); /* waiting here would keep swaps from their boundary */
    window->fd = connection_of(window->window);
    measure(window);
    return KEEL_OK;
}

void window_close(Window *window)
{
    if (window->context)
        SDL_GL_DeleteContext(window->context);
    if (window->window)
        SDL_DestroyWindow(window->window);
    window->context = NULL;
    window->window = NULL;
    SDL_QuitSubSystem(SDL_INIT_VIDEO);
}

static void window_event(Window *window, const SDL_WindowEvent *event)
{
    switch (event->event) {
    case SDL_WINDOWEVENT_CLOSE:
        window->closing = 1;
        break;
    case SDL_WINDOWEVENT_SIZE_CHANGED:
    case SDL_WINDOWEVENT_DISPLAY_CHANGED:
        measure(window);
        window->stale = 1;
        break;
    case SDL_WINDOWEVENT_EXPOSED:
        window->stale = 1;
        break;
    case SDL_WINDOWEVENT_SHOWN:
    case SDL_WINDOWEVENT_RESTORED:
    case SDL_WINDOWEVENT_MAXIMIZED:
        window->shown = 1;
        window->stale = 1;
        break;
    case SDL_WINDOWEVENT_HIDDEN:
    case SDL_WINDOWEVENT_MINIMIZED:
        window->shown = 0;
        break;
    default:
        break;
    }
}

void window_pump(Window *window)
{
    SDL_Event event;
    while (SDL_PollEvent(&event)) {
        if (event.type == SDL_WINDOWEVENT)
            window_event(window, &event.window);
        else if (event.type == SDL_QUIT)
            window->closing = 1;
        if (window->heard)
            window->heard(&event, window->heard_user);
    }
}

void window_show(Window *window)
{
    SDL_GL_SwapWindow(window->window);
    window->stale = 0;
}
