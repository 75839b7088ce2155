/* keel.audio/1: sounds, and a stream of samples that the module makes itself.
 *
 *     s->boom = keel_asset_sound(k, e, s->boom);               in event, of a KEEL_ASSET_SOUND
 *     keel_play(k, s->boom, 0.8f);                             in frame
 *
 *     uint32_t frames;                                         a stream, in every frame
 *     float *out = keel_audio_stream(k, &frames);
 *     for (uint32_t i = 0; i < frames; i++)
 *         out[2 * i] = out[2 * i + 1] = 0.2f * sinf(s->phase += 0.0576f);
 *
 * All of it counts when the frame does: a crashed frame is not heard. No code of the module runs on
 * the thread of the audio device. A host without sound takes everything and is silent; so do trial
 * and replay. All [frame]. */
#ifndef KEEL_AUDIO_H
#define KEEL_AUDIO_H

#include "asset.h"
#include "context.h"

KEEL_BEGIN

#define KEEL_AUDIO_1 "keel.audio/1"

enum { KEEL_AUDIO_RATE = 48000 }; /* frames of the stream a second */

#define KEEL_VOICE_LOOP 1u

/* How a sound is played. */
struct keel_voice {
    uint32_t size;
    uint32_t flags; /* KEEL_VOICE_… */
    float volume;   /* 1: as it is; 0 to 4 */
    float pan;      /* -1 left, 0 both, 1 right */
    float pitch;    /* 1: as it is; 1/16 to 16 */
    float reserved;
};

struct keel_audio_1 {
    uint32_t size;
    uint32_t reserved;

    /* A sound of `frames` frames of 1 or 2 floats, -1 to 1, `rate` a second; copied now. The handle
     * outlives swaps and belongs in the state. 0 when refused: at most 256 sounds and 256 MiB a
     * slot. */
    keel_handle (*sound_new)(keel *k, const float *samples, uint64_t frames, uint32_t channels,
                             uint32_t rate);
    /* At the end of the frame; who plays it falls silent. */
    int32_t (*sound_free)(keel *k, keel_handle sound);

    /* Plays from the end of the frame on; 0 when refused: 32 voices play, or the sound is none. */
    keel_handle (*play)(keel *k, keel_handle sound, const struct keel_voice *how);
    /* Changes a playing voice, gliding. KEEL_ESTALE once it has ended, by the frames' clock. */
    int32_t (*voice_set)(keel *k, keel_handle voice, const struct keel_voice *how);
    int32_t (*voice_stop)(keel *k, keel_handle voice);

    /* Room for the samples that are due in this frame, pairs of left and right, all zero, to be
     * filled before the frame ends; lent until then. How many they are follows from the frames'
     * clock alone. The first call begins the stream, a frame without a call is a gap in it. NULL
     * and 0 when there is nothing to fill. */
    float *(*stream)(keel *k, uint32_t *ret_frames);
};

static inline const struct keel_audio_1 *keel_audio_service_(keel *k)
{
    static const struct keel_audio_1 *table KEEL_CACHE = NULL;
    if (!table)
        table = (const struct keel_audio_1 *)k->service(k, KEEL_AUDIO_1, sizeof *table);
    return table;
}

static inline keel_handle keel_sound_new(keel *k, const float *samples, uint64_t frames,
                                         uint32_t channels, uint32_t rate)
{
    const struct keel_audio_1 *a = keel_audio_service_(k);
    return a ? a->sound_new(k, samples, frames, channels, rate) : 0;
}

static inline int32_t keel_sound_free(keel *k, keel_handle sound)
{
    const struct keel_audio_1 *a = keel_audio_service_(k);
    return a ? a->sound_free(k, sound) : (int32_t)KEEL_ENOSERVICE;
}

/* A sound with the content of an asset; `old`, the one before or 0, is freed. On an error `old`
 * stays. */
static inline keel_handle keel_asset_sound(keel *k, const struct keel_event *e, keel_handle old)
{
    const struct keel_asset *asset = keel_event_asset(e);
    if (!asset || asset->kind != KEEL_ASSET_SOUND)
        return old;
    keel_handle sound = keel_sound_new(k, (const float *)keel_asset_data(asset), asset->frames,
                                       asset->channels, asset->rate);
    if (!sound)
        return old;
    if (old)
        keel_sound_free(k, old);
    return sound;
}

static inline keel_handle keel_play_with(keel *k, keel_handle sound, const struct keel_voice *how)
{
    const struct keel_audio_1 *a = keel_audio_service_(k);
    return a ? a->play(k, sound, how) : 0;
}

static inline struct keel_voice keel_voice_of(float volume)
{
    struct keel_voice how = {sizeof(struct keel_voice), 0, volume, 0, 1, 0};
    return how;
}

static inline keel_handle keel_play(keel *k, keel_handle sound, float volume)
{
    const struct keel_voice how = keel_voice_of(volume);
    return keel_play_with(k, sound, &how);
}

static inline int32_t keel_voice_set(keel *k, keel_handle voice, const struct keel_voice *how)
{
    const struct keel_audio_1 *a = keel_audio_service_(k);
    return a ? a->voice_set(k, voice, how) : (int32_t)KEEL_ENOSERVICE;
}

static inline int32_t keel_voice_stop(keel *k, keel_handle voice)
{
    const struct keel_audio_1 *a = keel_audio_service_(k);
    return a ? a->voice_stop(k, voice) : (int32_t)KEEL_ENOSERVICE;
}

static inline float *keel_audio_stream(keel *k, uint32_t *ret_frames)
{
    const struct keel_audio_1 *a = keel_audio_service_(k);
    *ret_frames = 0;
    return a ? a->stream(k, ret_frames) : NULL;
}

KEEL_END

#endif
