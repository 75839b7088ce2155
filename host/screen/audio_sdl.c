/* The audio device. Owns SDL's audio part while it is open. */
#include "screen/audio_sdl.h"

#include "base/log.h"

enum { DEVICE_FRAMES = 512 };

/* The device's thread. */
static void pull(void *user, Uint8 *out, int bytes)
{
    mixer_pull(user, (float *)(void *)out, (uint32_t)bytes / (2 * sizeof(float)));
}

int audio_sdl_open(AudioSdl *audio, Mixer *mixer, Error *err)
{
    audio->tried = 1;
    if (SDL_InitSubSystem(SDL_INIT_AUDIO))
        return err_set(err, KEEL_EUNSUPPORTED, "there is no sound here (%.200s)", SDL_GetError());
    const SDL_AudioSpec want = {.freq = KEEL_AUDIO_RATE,
                                .format = AUDIO_F32SYS,
                                .channels = 2,
                                .samples = DEVICE_FRAMES,
                                .callback = pull,
                                .userdata = mixer};
    audio->device = SDL_OpenAudioDevice(NULL, 0, &want, NULL, 0);
    if (!audio->device) {
        int rc = err_set(err, KEEL_EUNSUPPORTED, "the audio device can't be opened (%.200s)",
                         SDL_GetError());
        SDL_QuitSubSystem(SDL_INIT_AUDIO);
        return rc;
    }
    audio->mixer = mixer;
    mixer_attach(mixer, 1);
    SDL_PauseAudioDevice(audio->device, 0);
    return KEEL_OK;
}

static void close_by_host(void *user)
{
    audio_sdl_close(user);
}

void audio_sdl_tick(AudioSdl *audio, Host *host)
{
    if (audio->tried || !host->mixer || !mixer_wanted(host->mixer))
        return;
    Error err = {0};
    if (audio_sdl_open(audio, host->mixer, &err)) {
        log_warn("audio", "%s: nothing is heard", err.text);
        return;
    }
    audio->host = host;
    host->audio = audio;
    host->audio_close = close_by_host;
}

void audio_sdl_close(AudioSdl *audio)
{
    if (audio->mixer) {
        SDL_CloseAudioDevice(audio->device); /* its thread has ended when this returns */
        mixer_attach(audio->mixer, 0);
        SDL_QuitSubSystem(SDL_INIT_AUDIO);
    }
    if (audio->host)
        audio->host->audio_close = NULL;
    *audio = (AudioSdl){.tried = 1};
}
