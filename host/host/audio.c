/* From the slots' sounds to the mixer. Owns the mixer, which is made with the first sound. Frame
 * thread. */
#include "base/log.h"
#include "host/host.h"

static Mixer *mixer_of(Host *host)
{
    if (!host->mixer && !(host->mixer = mixer_new()))
        log_warn("audio", "no memory for a mixer: nothing is heard");
    return host->mixer;
}

static void order(const SoundOrder *wanted, void *user)
{
    Slot *slot = user;
    Mixer *mixer = mixer_of(slot->host);
    if (mixer)
        mixer_order(mixer, slot->number, wanted);
    else
        sound_unref(wanted->data);
}

static void stream(const float *pairs, uint32_t frames, void *user)
{
    Slot *slot = user;
    Mixer *mixer = mixer_of(slot->host);
    if (mixer)
        mixer_stream(mixer, slot->number, pairs, frames);
}

void host_audio_join(Slot *slot)
{
    slot->effects.sounds.order = order;
    slot->effects.sounds.stream = stream;
    slot->effects.sounds.user = slot;
}

void host_audio_tick(Host *host)
{
    if (host->mixer)
        mixer_tick(host->mixer);
}

void host_audio_done(Host *host)
{
    if (host->audio_close)
        host->audio_close(host->audio);
    host->audio_close = NULL;
    mixer_free(host->mixer);
    host->mixer = NULL;
}
