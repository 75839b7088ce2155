/* SDL's audio device, opened when there is first something to be heard. Its thread only pulls from
 * the host's mixer. Frame thread, but for that. */
#ifndef SCREEN_AUDIO_SDL_H
#define SCREEN_AUDIO_SDL_H

#include <SDL.h>

#include "host/host.h"

typedef struct AudioSdl {
    Host *host;   /* whose mixer it pulls from */
    Mixer *mixer; /* NULL: no device */
    SDL_AudioDeviceID device;
    int tried;
} AudioSdl;

/* Once a frame. Without a device there is a line in the log and silence. */
void audio_sdl_tick(AudioSdl *audio, Host *host);
/* Also called by the host before its mixer goes. */
void audio_sdl_close(AudioSdl *audio);

/* For tests: opens it for this mixer. KEEL_EUNSUPPORTED with SDL's words. */
int audio_sdl_open(AudioSdl *audio, Mixer *mixer, Error *err);

#endif
