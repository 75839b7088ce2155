/* From the slots' lists to the window. Owns the window and what plays the lists. Frame thread. */
#include "screen/screen.h"

#include <epoxy/gl.h>
#include <stdlib.h>

#include "screen/input_sdl.h"

struct Screen {
    Window window;
    InputSdl input;
    WindowHeard *heard;
    void *heard_user;
    const DrawList *overlay;
    uint64_t overlay_serial;
    uint64_t drawn; /* what the picture in the window was made of */
};

static int hear(const SDL_Event *event, void *user)
{
    Screen *screen = user;
    const Window *window = &screen->window;
    if (screen->heard && screen->heard(event, screen->heard_user))
        return 1;
    input_sdl_begin(&screen->input, screen->input.host, window->width, window->height,
                    window->scale); /* the event may have changed them */
    input_sdl_event(&screen->input, event);
    return 0;
}

int screen_open(const WindowOptions *options, Screen **ret_screen, Error *err)
{
    Screen *screen = calloc(1, sizeof *screen);
    if (!screen)
        return err_set(err, KEEL_ENOMEM, "no memory for a screen");
    int rc = window_open(&screen->window, options, err);
    if (rc) {
        free(screen);
        return rc;
    }
    input_sdl_open(&screen->input, screen->window.window);
    screen->window.heard = hear;
    screen->window.heard_user = screen;
    *ret_screen = screen;
    return KEEL_OK;
}

void screen_close(Screen *screen)
{
    if (!screen)
        return;
    input_sdl_close(&screen->input);
    window_close(&screen->window);
    free(screen);
}

int screen_pump(Screen *screen, Host *host)
{
    const Window *window = &screen->window;
    input_sdl_begin(&screen->input, host, window->width, window->height, window->scale);
    input_sdl_tick(&screen->input);
    window_pump(&screen->window);
    int slots = atomic_load(&host->slot_count);
    host->screen = (DrawScreen){.width = window->width,
                                .height = window->height,
                                .scale = window->scale,
                                .flags = KEEL_VIEW_SHOWN};
    for (int i = 0; i < slots; i++)
        host->slots[i]->draw.screen = host->screen;
    return window->closing;
}

int screen_draw(Screen *screen, Host *host, Error *err)
{
    (void)err;
    uint64_t now = screen->overlay_serial + 1;
    int slots = atomic_load(&host->slot_count);
    for (int i = 0; i < slots; i++)
        now = now * 31 + host->slots[i]->draw.serial;
    if (now == screen->drawn && !screen->window.stale)
        return KEEL_OK;
    screen->drawn = now;
    glClearColor(0.02f, 0.02f, 0.03f, 1);
    glClear(GL_COLOR_BUFFER_BIT);
    window_show(&screen->window);
    return KEEL_OK;
}

void screen_on_event(Screen *screen, WindowHeard *heard, void *user)
{
    screen->heard = heard;
    screen->heard_user = user;
}

void screen_overlay(Screen *screen, const DrawList *list, uint64_t serial)
{
    screen->overlay = list;
    screen->overlay_serial = serial;
}

int screen_fd(const Screen *screen)
{
    return screen->window.fd;
}

const Window *screen_window(const Screen *screen)
{
    return &screen->window;
}
