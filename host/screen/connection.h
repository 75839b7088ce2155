/* The descriptor of a window's display. A file of its own, because X11's headers take names that
 * others use. Frame thread. */
#ifndef SCREEN_CONNECTION_H
#define SCREEN_CONNECTION_H

#include <SDL.h>

/* Readable when the display has sent something; -1 where none is known. It stays SDL's. */
int connection_of(SDL_Window *window);

#endif
