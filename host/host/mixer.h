/* Mixes what all slots let be heard. Two threads: the frame thread gives orders and samples, the
 * audio device's thread pulls; between them only rings, no lock. Without a device the frame thread
 * takes its own orders, so that sounds are given back. */
#ifndef HOST_MIXER_H
#define HOST_MIXER_H

#include "swap/sounds.h"

enum { MIXER_SLOTS = 64 };

typedef struct Mixer Mixer;

Mixer *mixer_new(void);        /* NULL: no memory */
void mixer_free(Mixer *mixer); /* after the device has been closed; NULL is fine */

/* ---- frame thread ---- */

/* Takes `order->data` over. What finds no room in the ring is counted and not heard. */
void mixer_order(Mixer *mixer, uint32_t slot, const SoundOrder *order);
void mixer_stream(Mixer *mixer, uint32_t slot, const float *pairs, uint32_t frames);
/* Once a frame: gives back sounds that nobody plays any more. */
void mixer_tick(Mixer *mixer);
/* From now on a device pulls (1) or not (0); not while it may be pulling. */
void mixer_attach(Mixer *mixer, int attached);
/* Nonzero once there was something to be heard: time to open a device. */
int mixer_wanted(const Mixer *mixer);

typedef struct MixerCounts {
    uint64_t underruns; /* a stream had begun and had nothing more */
    uint64_t dropped;   /* orders and frames of streams that found no room */
    uint64_t pulled;    /* frames */
} MixerCounts;
void mixer_counts(const Mixer *mixer, MixerCounts *ret);

/* ---- the device's thread ---- */

/* Writes `frames` pairs of left and right, -1 to 1. Never waits. */
void mixer_pull(Mixer *mixer, float *out, uint32_t frames);

#endif
