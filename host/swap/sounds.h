/* What a slot lets be heard, as a transaction: sounds, voices that play them, and the stream's
 * samples. Knows nothing of devices: what counts goes to `order` and `stream`. Handles, and when a
 * voice ends, follow from the frames' clock alone. Owned by one slot; frame thread. */
#ifndef SWAP_SOUNDS_H
#define SWAP_SOUNDS_H

#include <stddef.h>

#include <keel/audio.h>

enum {
    SOUNDS_MOST = 256,
    SOUNDS_VOICES = 32,
    SOUNDS_PENDING = 1024,
    SOUNDS_STREAM_MOST = 9600, /* frames that can be due at once: 0.2 s */
    SOUNDS_STREAM_AHEAD = 2400 /* frames that the stream is ahead of the clock: 50 ms */
};
#define SOUNDS_BYTES_MOST (UINT64_C(256) << 20)

/* Samples, shared by the slot and who plays them. Never changed. */
typedef struct SoundData {
    _Atomic int refs;
    uint32_t channels, rate;
    uint64_t frames;
    float samples[];
} SoundData;

SoundData *sound_ref(SoundData *data);
void sound_unref(SoundData *data);

typedef enum SoundOrderKind { SOUND_PLAY, SOUND_SET, SOUND_STOP } SoundOrderKind;

/* What a committed frame wants to be heard; `data` of SOUND_PLAY is the taker's to unref. */
typedef struct SoundOrder {
    SoundOrderKind kind;
    uint32_t voice; /* index */
    SoundData *data;
    struct keel_voice how;
} SoundOrder;

typedef struct SoundPlace {
    SoundData *data; /* NULL: free */
    uint32_t generation;
    uint8_t there, freeing; /* its frame counted; this frame frees it */
} SoundPlace;

typedef struct VoicePlace {
    uint32_t generation;
    uint8_t playing, fresh, stopping;
    uint32_t sound; /* index */
    struct keel_voice how;
    int64_t since_ns; /* how far it was at that time: */
    double at;        /* frames of the sound */
} VoicePlace;

typedef enum SoundPendingKind {
    PENDING_SOUND,
    PENDING_FREE,
    PENDING_PLAY,
    PENDING_SET,
    PENDING_STOP
} SoundPendingKind;

typedef struct SoundPending {
    SoundPendingKind kind;
    uint32_t index;
    VoicePlace before; /* of a voice, for an undo */
} SoundPending;

typedef struct Sounds {
    SoundPlace *sounds;    /* SOUNDS_MOST */
    VoicePlace *voices;    /* SOUNDS_VOICES */
    SoundPending *pending; /* SOUNDS_PENDING; all three allocated at the first use */
    uint32_t pending_count;
    uint64_t bytes; /* of all samples */
    /* The stream. */
    float *room; /* SOUNDS_STREAM_MOST pairs, an inaccessible page behind them */
    size_t room_bytes;
    int64_t begun_ns;
    int begun;
    uint64_t made;    /* frames of committed frames, counted from begun_ns */
    uint32_t due;     /* lent in this frame */
    int64_t fresh_ns; /* this frame began the stream at that time; 0: it didn't */
    uint64_t skipped; /* frames that were too late to be made */
    /* Who makes it heard; NULL: nobody. */
    void (*order)(const SoundOrder *order, void *user);
    void (*stream)(const float *pairs, uint32_t frames, void *user);
    void *user;
} Sounds;

void sounds_done(Sounds *sounds);

/* ---- from the service, inside a frame at `now_ns` ---- */

keel_handle sounds_new(Sounds *sounds, const float *samples, uint64_t frames, uint32_t channels,
                       uint32_t rate);
int sounds_free(Sounds *sounds, keel_handle sound);
keel_handle sounds_play(Sounds *sounds, keel_handle sound, const struct keel_voice *how,
                        int64_t now_ns);
int sounds_set(Sounds *sounds, keel_handle voice, const struct keel_voice *how, int64_t now_ns);
int sounds_stop(Sounds *sounds, keel_handle voice, int64_t now_ns);
float *sounds_stream(Sounds *sounds, int64_t now_ns, uint32_t *ret_frames);

/* ---- around frames ---- */

void sounds_commit(Sounds *sounds);
void sounds_undo(Sounds *sounds);

#endif
