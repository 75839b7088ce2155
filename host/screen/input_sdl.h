/* SDL's events as inputs of the host's slots, and what the slots want of the window: text input,
 * the pointer's shape, the clipboard. Owns gamepads and cursors. Frame thread. */
#ifndef SCREEN_INPUT_SDL_H
#define SCREEN_INPUT_SDL_H

#include <SDL.h>

#include "host/host.h"

typedef struct InputSdl {
    Host *host;         /* who gets the inputs; NULL: nobody */
    SDL_Window *window; /* NULL: as if its size were that of the view */
    float width, height, scale;
    float x, y; /* the pointer, logical pixels */
    SDL_GameController *pads[KEEL_INPUT_PADS];
    SDL_JoystickID pad_ids[KEEL_INPUT_PADS];
    SDL_Cursor *cursors[KEEL_CURSOR_HIDDEN];
    uint32_t cursor; /* shown now */
    int texting;
    SDL_Rect area;
    int pads_open; /* SDL looks for gamepads; from some frames on, since it takes a while */
    uint32_t pumps;
} InputSdl;

/* After the window was made. */
void input_sdl_open(InputSdl *input, SDL_Window *window);
void input_sdl_close(InputSdl *input);

/* Whose inputs they are, and what the view measures. */
void input_sdl_begin(InputSdl *input, Host *host, float width, float height, float scale);

/* One event of SDL; those that are no input do nothing. */
void input_sdl_event(InputSdl *input, const SDL_Event *event);

/* Once a frame, before its events: does what the frame before wanted. */
void input_sdl_tick(InputSdl *input);

#endif
