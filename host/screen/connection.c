/* Finds the display's connection, so that a sleeping loop hears it. X11's and Wayland's libraries
 * are SDL's to load; what is asked of them here is found by name. Owns nothing. */
#include "screen/connection.h"

#include <SDL_syswm.h>
#include <dlfcn.h>
#include <string.h>

int connection_of(SDL_Window *window)
{
    SDL_SysWMinfo info;
    SDL_VERSION(&info.version);
    if (!SDL_GetWindowWMInfo(window, &info))
        return -1;
    int (*number)(void *) = NULL;
    void *display = NULL, *symbol = NULL;
#ifdef SDL_VIDEO_DRIVER_X11
    if (info.subsystem == SDL_SYSWM_X11) {
        display = info.info.x11.display;
        symbol = dlsym(RTLD_DEFAULT, "XConnectionNumber");
        if (!symbol) {
            void *library = dlopen("libX11.so.6", RTLD_NOW | RTLD_NOLOAD);
            symbol = library ? dlsym(library, "XConnectionNumber") : NULL;
        }
    }
#endif
#ifdef SDL_VIDEO_DRIVER_WAYLAND
    if (info.subsystem == SDL_SYSWM_WAYLAND) {
        display = info.info.wl.display;
        void *library = dlopen("libwayland-client.so.0", RTLD_NOW | RTLD_NOLOAD);
        symbol = library ? dlsym(library, "wl_display_get_fd") : NULL;
    }
#endif
    memcpy(&number, &symbol, sizeof number);
    return display && number ? number(display) : -1;
}
