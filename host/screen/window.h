/* The window: SDL's, with an OpenGL 3.3 core context, and its events. It is made once and lives as
 * long as the screen: no swap touches it. Frame thread, which must be the one that made it. */
#ifndef SCREEN_WINDOW_H
#define SCREEN_WINDOW_H

#include <SDL.h>

#include "base/err.h"

/* Drawn by OpenGL as always, shown nowhere. */
enum { WINDOW_OFFSCREEN = 1, WINDOW_OFFSCREEN_AT_NEED = 2 /* where there is no display */ };

typedef struct WindowOptions {
    const char *title;
    int width, height; /* logical pixels */
    float scale;       /* pixels a logical pixel; 0: what the display says */
    int offscreen;     /* WINDOW_… */
} WindowOptions;

/* Hears every event after the window itself has. Nonzero: it is used up, nobody else hears it. */
typedef int WindowHeard(const SDL_Event *event, void *user);

typedef struct Window {
    SDL_Window *window;
    SDL_GLContext context;
    float asked_scale;
    int width_px, height_px; /* what there is to draw on */
    float width, height, scale;
    int shown;   /* not minimised or hidden */
    int stale;   /* what is seen has to be shown again: uncovered, resized */
    int closing; /* the user closed it */
    int fd;      /* readable when events wait; -1: none is known */
    WindowHeard *heard;
    void *heard_user;
} Window;

/* KEEL_EUNSUPPORTED: there is no display, or none that has OpenGL 3.3; the sentence says which. */
int window_open(Window *window, const WindowOptions *options, Error *err);
void window_close(Window *window);

/* Takes all events that wait. */
void window_pump(Window *window);

/* Puts the drawn back buffer on the display. */
void window_show(Window *window);

#endif
