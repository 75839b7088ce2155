/* The screen: a window that shows what the host's slots drew, for programs that have one.
 *
 * It plays the draw list of the last frame that counted, of each slot in order, and a list of the
 * host's own above them. A picture that didn't change isn't drawn again. The window and everything
 * of OpenGL live as long as the screen. An error of the driver is an error of the host: functions
 * return it. All [frame], on the thread that opened it. */
#ifndef SCREEN_SCREEN_H
#define SCREEN_SCREEN_H

#include "host/host.h"
#include "screen/window.h"
#include "swap/draw.h"

typedef struct Screen Screen;

/* KEEL_EUNSUPPORTED: no display, or none with OpenGL 3.3. The screen is the host's until it is
 * closed, which must be before the host is. */
int screen_open(Host *host, const WindowOptions *options, Screen **ret_screen, Error *err);
void screen_close(Screen *screen); /* NULL is fine */

/* Does ahead what nearly every picture needs: finds the usual font, has the driver make a program.
 * For a time when nothing else can be done; without it the first picture does that. */
void screen_warm(Screen *screen);

/* Takes the window's events and gives the slots their input; call it before each frame of the host.
 * Tells the slots what there is to draw on. 1 once the user has closed the window. */
int screen_pump(Screen *screen);

/* While the first modules are read and tried: shows what the slots showed in the process before,
 * and after a while says so. What people do is dropped, for they see what was. */
int screen_wait(Screen *screen, Error *err);

/* After each frame of the host: draws what changed. Nothing changed: costs a comparison a slot. */
int screen_draw(Screen *screen, Error *err);

/* Who hears SDL's events before the slots do, e.g. a panel above them; what it uses up, they don't
 * hear. */
void screen_on_event(Screen *screen, WindowHeard *heard, void *user);

/* A list above all slots' pictures, or NULL. It stays the caller's and is read by screen_draw;
 * another `serial` says that it changed. */
void screen_overlay(Screen *screen, const DrawList *list, uint64_t serial);

/* Has what the window shows after the next screen_draw written to `path` as PNG, by a thread of its
 * own. `done` is called there, with KEEL_OK or why not; NULL is fine. */
int screen_shot(Screen *screen, const char *path, HostShotDone *done, void *user, Error *err);

/* How many frames ago the picture changed. */
uint32_t screen_still(const Screen *screen);
/* The user has closed the window. */
int screen_closing(const Screen *screen);

const Window *screen_window(const Screen *screen);

#endif
