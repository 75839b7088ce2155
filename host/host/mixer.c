/* The mixer. Owns voices and streams' rings; samples are shared. See mixer.h for threads. */
#include "host/mixer.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    ORDERS = 2048,         /* a power of two, as the others */
    STREAM_FRAMES = 16384, /* of a slot's ring: 0.34 s */
    STREAM_BEGIN = 1200,   /* waiting frames with which a stream begins: 25 ms */
    STREAM_LEVEL = 1800,   /* what should wait on average */
    RAMP_FRAMES = 240      /* a change of volume glides for 5 ms */
};

typedef struct Order {
    SoundOrder order;
    uint32_t slot;
} Order;

/* One that writes, one that reads. */
typedef struct Ring {
    _Atomic uint32_t head, tail; /* read, written */
} Ring;

typedef struct Voice {
    SoundData *data; /* NULL: silent */
    double at, step;
    float left, right;       /* gain now */
    float to_left, to_right; /* gain that it glides to */
    int loop, ending;        /* ending: free it once it is silent */
} Voice;

typedef struct Stream {
    Ring ring;
    float pairs[STREAM_FRAMES * 2];
    double part; /* of the way to the next frame [device] */
    int begun;   /* [device] */
} Stream;

struct Mixer {
    Ring orders_ring, back_ring;
    Order orders[ORDERS];
    SoundData *back[ORDERS]; /* to be given back, on the frame thread */
    _Atomic(Stream *) streams[MIXER_SLOTS];
    Voice voices[MIXER_SLOTS][SOUNDS_VOICES]; /* [device] */
    _Atomic uint64_t underruns, pulled;
    uint64_t dropped; /* [frame] */
    int attached, wanted;
};

Mixer *mixer_new(void)
{
    return calloc(1, sizeof(Mixer));
}

/* ---- the device's thread, or the frame thread while there is none ---- */

/* The ring has a place for every sound that may be in use: it is never full. */
static void give_back(Mixer *mixer, SoundData *data)
{
    uint32_t tail = atomic_load_explicit(&mixer->back_ring.tail, memory_order_relaxed);
    if (!data)
        return;
    mixer->back[tail % ORDERS] = data;
    atomic_store_explicit(&mixer->back_ring.tail, tail + 1, memory_order_release);
}

static int room_to_give_back(Mixer *mixer)
{
    uint32_t used = atomic_load_explicit(&mixer->back_ring.tail, memory_order_relaxed) -
                    atomic_load_explicit(&mixer->back_ring.head, memory_order_acquire);
    return used < ORDERS - 2;
}

static void set_voice(Voice *voice, const struct keel_voice *how)
{
    float left = how->pan > 0 ? 1 - how->pan : 1, right = how->pan < 0 ? 1 + how->pan : 1;
    voice->to_left = how->volume * left;
    voice->to_right = how->volume * right;
    voice->loop = (how->flags & KEEL_VOICE_LOOP) != 0;
    voice->step = (double)voice->data->rate / KEEL_AUDIO_RATE * (double)how->pitch;
}

static void obey(Mixer *mixer, const Order *order)
{
    Voice *voice = &mixer->voices[order->slot % MIXER_SLOTS][order->order.voice % SOUNDS_VOICES];
    switch (order->order.kind) {
    case SOUND_PLAY:
        give_back(mixer, voice->data);
        *voice = (Voice){.data = order->order.data};
        set_voice(voice, &order->order.how);
        voice->left = voice->to_left; /* a sound begins as loud as it is */
        voice->right = voice->to_right;
        break;
    case SOUND_SET:
        if (voice->data)
            set_voice(voice, &order->order.how);
        break;
    case SOUND_STOP:
        voice->to_left = voice->to_right = 0;
        voice->ending = 1;
        break;
    }
}

static void take_orders(Mixer *mixer)
{
    uint32_t head = atomic_load_explicit(&mixer->orders_ring.head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&mixer->orders_ring.tail, memory_order_acquire);
    for (; head != tail && room_to_give_back(mixer); head++) {
        obey(mixer, &mixer->orders[head % ORDERS]);
        atomic_store_explicit(&mixer->orders_ring.head, head + 1, memory_order_release);
    }
}

static float toward(float now, float to)
{
    float step = 4.0f / RAMP_FRAMES;
    return now < to - step ? now + step : now > to + step ? now - step : to;
}

/* Adds one voice; frees its place at the end. */
static void mix_voice(Mixer *mixer, Voice *voice, float *out, uint32_t frames)
{
    const SoundData *data = voice->data;
    const float *samples = data->samples;
    uint32_t channels = data->channels;
    uint64_t last = data->frames - 1;
    for (uint32_t i = 0; i < frames; i++) {
        if (voice->at >= (double)data->frames) {
            if (!voice->loop) {
                voice->ending = 1;
                voice->left = voice->right = 0;
                break;
            }
            voice->at = fmod(voice->at, (double)data->frames);
        }
        uint64_t first = (uint64_t)voice->at;
        uint64_t next = first < last ? first + 1 : voice->loop ? 0 : last;
        float part = (float)(voice->at - (double)first);
        for (uint32_t side = 0; side < 2; side++) {
            uint32_t channel = channels == 2 ? side : 0;
            float a = samples[first * channels + channel], b = samples[next * channels + channel];
            out[2 * i + side] += (a + (b - a) * part) * (side ? voice->right : voice->left);
        }
        voice->left = toward(voice->left, voice->to_left);
        voice->right = toward(voice->right, voice->to_right);
        voice->at += voice->step;
    }
    if (voice->ending && voice->left == 0 && voice->right == 0 && room_to_give_back(mixer)) {
        give_back(mixer, voice->data);
        *voice = (Voice){0};
    }
}

/* Reads a little faster or slower than it was made, as much waits: the module's clock and the
 * device's are never quite the same. */
static void mix_stream(Mixer *mixer, Stream *stream, float *out, uint32_t frames)
{
    uint32_t head = atomic_load_explicit(&stream->ring.head, memory_order_relaxed);
    uint32_t there = atomic_load_explicit(&stream->ring.tail, memory_order_acquire) - head;
    if (!stream->begun && there < STREAM_BEGIN)
        return;
    stream->begun = 1;
    double off = ((double)there - (double)frames / 2 - STREAM_LEVEL) / STREAM_LEVEL;
    double step = fabs(off) < 0.5 ? 1 : 1 + 0.005 * (off < -1 ? -1 : off > 1 ? 1 : off);
    uint32_t used = 0;
    for (uint32_t i = 0; i < frames; i++) {
        if (used + 1 >= there) {
            stream->begun = 0;
            atomic_fetch_add_explicit(&mixer->underruns, 1, memory_order_relaxed);
            break;
        }
        const float *a = &stream->pairs[(head + used) % STREAM_FRAMES * 2];
        const float *b = &stream->pairs[(head + used + 1) % STREAM_FRAMES * 2];
        float part = (float)stream->part;
        out[2 * i] += a[0] + (b[0] - a[0]) * part;
        out[2 * i + 1] += a[1] + (b[1] - a[1]) * part;
        stream->part += step;
        used += (uint32_t)stream->part;
        stream->part -= floor(stream->part);
    }
    if (used > there)
        used = there;
    atomic_store_explicit(&stream->ring.head, head + used, memory_order_release);
}

void mixer_pull(Mixer *mixer, float *out, uint32_t frames)
{
    memset(out, 0, (size_t)frames * 2 * sizeof *out);
    take_orders(mixer);
    for (uint32_t s = 0; s < MIXER_SLOTS; s++) {
        for (uint32_t v = 0; v < SOUNDS_VOICES; v++)
            if (mixer->voices[s][v].data)
                mix_voice(mixer, &mixer->voices[s][v], out, frames);
        Stream *stream = atomic_load_explicit(&mixer->streams[s], memory_order_acquire);
        if (stream)
            mix_stream(mixer, stream, out, frames);
    }
    for (uint32_t i = 0; i < frames * 2; i++)
        out[i] = out[i] > 1 ? 1 : out[i] < -1 ? -1 : out[i];
    atomic_fetch_add_explicit(&mixer->pulled, frames, memory_order_relaxed);
}

/* ---- frame thread ---- */

void mixer_order(Mixer *mixer, uint32_t slot, const SoundOrder *order)
{
    uint32_t tail = atomic_load_explicit(&mixer->orders_ring.tail, memory_order_relaxed);
    uint32_t head = atomic_load_explicit(&mixer->orders_ring.head, memory_order_acquire);
    mixer->wanted |= order->kind == SOUND_PLAY;
    if (tail - head >= ORDERS || slot >= MIXER_SLOTS) {
        mixer->dropped++;
        sound_unref(order->data);
        return;
    }
    mixer->orders[tail % ORDERS] = (Order){*order, slot};
    atomic_store_explicit(&mixer->orders_ring.tail, tail + 1, memory_order_release);
}

void mixer_stream(Mixer *mixer, uint32_t slot, const float *pairs, uint32_t frames)
{
    if (slot >= MIXER_SLOTS)
        return;
    Stream *stream = atomic_load_explicit(&mixer->streams[slot], memory_order_relaxed);
    mixer->wanted = 1;
    if (!mixer->attached)
        return; /* nobody would take it */
    if (!stream && (stream = calloc(1, sizeof *stream)))
        atomic_store_explicit(&mixer->streams[slot], stream, memory_order_release);
    if (!stream)
        return;
    uint32_t tail = atomic_load_explicit(&stream->ring.tail, memory_order_relaxed);
    uint32_t free_frames =
        STREAM_FRAMES - (tail - atomic_load_explicit(&stream->ring.head, memory_order_acquire));
    mixer->dropped += frames > free_frames ? frames - free_frames : 0;
    frames = frames > free_frames ? free_frames : frames;
    for (uint32_t i = 0; i < frames; i++)
        for (uint32_t side = 0; side < 2; side++) {
            float sample = pairs[2 * i + side];
            stream->pairs[(tail + i) % STREAM_FRAMES * 2 + side] = isfinite(sample) ? sample : 0;
        }
    atomic_store_explicit(&stream->ring.tail, tail + frames, memory_order_release);
}

void mixer_tick(Mixer *mixer)
{
    if (!mixer->attached) {
        /* Nothing sounds, so nothing ends by itself: only the last voices are kept, for a device
         * that may come. */
        take_orders(mixer);
        for (uint32_t s = 0; s < MIXER_SLOTS; s++)
            for (uint32_t v = 0; v < SOUNDS_VOICES; v++) {
                Voice *voice = &mixer->voices[s][v];
                if (voice->data && voice->ending && room_to_give_back(mixer)) {
                    give_back(mixer, voice->data);
                    *voice = (Voice){0};
                }
            }
    }
    uint32_t head = atomic_load_explicit(&mixer->back_ring.head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&mixer->back_ring.tail, memory_order_acquire);
    for (; head != tail; head++)
        sound_unref(mixer->back[head % ORDERS]);
    atomic_store_explicit(&mixer->back_ring.head, head, memory_order_release);
}

void mixer_attach(Mixer *mixer, int attached)
{
    mixer->attached = attached;
}

int mixer_wanted(const Mixer *mixer)
{
    return mixer->wanted;
}

void mixer_counts(const Mixer *mixer, MixerCounts *ret)
{
    *ret = (MixerCounts){.underruns = atomic_load_explicit(&mixer->underruns, memory_order_relaxed),
                         .dropped = mixer->dropped,
                         .pulled = atomic_load_explicit(&mixer->pulled, memory_order_relaxed)};
}

void mixer_free(Mixer *mixer)
{
    if (!mixer)
        return;
    mixer->attached = 0;
    for (int i = 0; i < 4; i++) /* what still waits, and what that gives back */
        mixer_tick(mixer);
    for (uint32_t s = 0; s < MIXER_SLOTS; s++) {
        for (uint32_t v = 0; v < SOUNDS_VOICES; v++)
            sound_unref(mixer->voices[s][v].data);
        free(atomic_load(&mixer->streams[s]));
    }
    free(mixer);
}
