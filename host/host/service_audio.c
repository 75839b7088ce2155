/* keel.audio/1: sounds, voices and the stream as effects of the frame. [frame] */
#include <keel/audio.h>

#include "host/services.h"

static keel_handle sound_new(keel *k, const float *samples, uint64_t frames, uint32_t channels,
                             uint32_t rate)
{
    Slot *slot = service_slot(k);
    if (!slot || (channels != 1 && channels != 2) || frames > SOUNDS_BYTES_MOST)
        return 0;
    service_probe(samples, frames * channels * sizeof *samples);
    guard_host_enter();
    keel_handle sound = sounds_new(&slot->effects.sounds, samples, frames, channels, rate);
    guard_host_leave();
    return sound;
}

static int32_t sound_free(keel *k, keel_handle sound)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    guard_host_enter();
    int rc = sounds_free(&slot->effects.sounds, sound);
    guard_host_leave();
    return rc;
}

static keel_handle play(keel *k, keel_handle sound, const struct keel_voice *how)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return 0;
    struct keel_voice copy = *how; /* may fault: the module's fault */
    guard_host_enter();
    keel_handle voice = sounds_play(&slot->effects.sounds, sound, &copy, slot->effects.now_ns);
    guard_host_leave();
    return voice;
}

static int32_t voice_set(keel *k, keel_handle voice, const struct keel_voice *how)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    struct keel_voice copy = *how;
    guard_host_enter();
    int rc = sounds_set(&slot->effects.sounds, voice, &copy, slot->effects.now_ns);
    guard_host_leave();
    return rc;
}

static int32_t voice_stop(keel *k, keel_handle voice)
{
    Slot *slot = service_slot(k);
    if (!slot)
        return KEEL_ETHREAD;
    guard_host_enter();
    int rc = sounds_stop(&slot->effects.sounds, voice, slot->effects.now_ns);
    guard_host_leave();
    return rc;
}

static float *stream(keel *k, uint32_t *ret_frames)
{
    Slot *slot = service_slot(k);
    *ret_frames = 0;
    if (!slot)
        return NULL;
    uint32_t frames;
    guard_host_enter();
    float *out = sounds_stream(&slot->effects.sounds, slot->effects.now_ns, &frames);
    guard_host_leave();
    *ret_frames = frames;
    return out;
}

const struct keel_audio_1 service_audio_1 = {.size = sizeof service_audio_1,
                                             .sound_new = sound_new,
                                             .sound_free = sound_free,
                                             .play = play,
                                             .voice_set = voice_set,
                                             .voice_stop = voice_stop,
                                             .stream = stream};
