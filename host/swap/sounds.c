/* Sounds, voices and the stream of a slot. Owns the samples together with who plays them, and the
 * stream's room. Frame thread. */
#include "swap/sounds.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

SoundData *sound_ref(SoundData *data)
{
    atomic_fetch_add(&data->refs, 1);
    return data;
}

void sound_unref(SoundData *data)
{
    if (data && atomic_fetch_sub(&data->refs, 1) == 1)
        free(data);
}

static keel_handle handle_of(uint32_t generation, uint32_t index)
{
    return (uint64_t)generation << 32 | (index + 1);
}

static int ready(Sounds *sounds)
{
    if (!sounds->sounds)
        sounds->sounds = calloc(SOUNDS_MOST, sizeof *sounds->sounds);
    if (!sounds->voices)
        sounds->voices = calloc(SOUNDS_VOICES, sizeof *sounds->voices);
    if (!sounds->pending)
        sounds->pending = calloc(SOUNDS_PENDING, sizeof *sounds->pending);
    return sounds->sounds && sounds->voices && sounds->pending &&
           sounds->pending_count < SOUNDS_PENDING;
}

static void push(Sounds *sounds, SoundPendingKind kind, uint32_t index, const VoicePlace *before)
{
    SoundPending *pending = &sounds->pending[sounds->pending_count++];
    *pending = (SoundPending){.kind = kind, .index = index};
    if (before)
        pending->before = *before;
}

/* ---- sounds ---- */

static SoundPlace *find_sound(Sounds *sounds, keel_handle sound)
{
    uint32_t index = (uint32_t)sound - 1;
    if (!sounds->sounds || index >= SOUNDS_MOST)
        return NULL;
    SoundPlace *place = &sounds->sounds[index];
    return place->data && place->generation == (uint32_t)(sound >> 32) && !place->freeing ? place
                                                                                          : NULL;
}

keel_handle sounds_new(Sounds *sounds, const float *samples, uint64_t frames, uint32_t channels,
                       uint32_t rate)
{
    if (!frames || (channels != 1 && channels != 2) || rate < 1000 || rate > 384000 ||
        frames > SOUNDS_BYTES_MOST / (channels * sizeof(float)) || !ready(sounds))
        return 0;
    uint64_t bytes = frames * channels * sizeof(float);
    if (bytes > SOUNDS_BYTES_MOST - sounds->bytes)
        return 0;
    uint32_t index = 0;
    while (index < SOUNDS_MOST && sounds->sounds[index].data)
        index++;
    SoundData *data = index < SOUNDS_MOST ? malloc(sizeof *data + (size_t)bytes) : NULL;
    if (!data)
        return 0;
    atomic_init(&data->refs, 1);
    data->channels = channels;
    data->rate = rate;
    data->frames = frames;
    for (uint64_t i = 0; i < frames * channels; i++)
        data->samples[i] = isfinite(samples[i]) ? samples[i] : 0;
    SoundPlace *place = &sounds->sounds[index];
    *place = (SoundPlace){.data = data, .generation = place->generation + 1};
    sounds->bytes += bytes;
    push(sounds, PENDING_SOUND, index, NULL);
    return handle_of(place->generation, index);
}

int sounds_free(Sounds *sounds, keel_handle sound)
{
    SoundPlace *place = find_sound(sounds, sound);
    if (!place)
        return KEEL_ESTALE;
    if (!ready(sounds))
        return KEEL_ELIMIT;
    place->freeing = 1;
    push(sounds, PENDING_FREE, (uint32_t)sound - 1, NULL);
    return KEEL_OK;
}

static void drop_sound(Sounds *sounds, uint32_t index)
{
    SoundPlace *place = &sounds->sounds[index];
    sounds->bytes -= place->data->frames * place->data->channels * sizeof(float);
    sound_unref(place->data);
    *place = (SoundPlace){.generation = place->generation};
}

/* ---- voices ---- */

/* As it may be played; 0 for numbers that are none. */
static int good(const struct keel_voice *how, struct keel_voice *ret)
{
    if (how->size < sizeof *how || !isfinite(how->volume) || !isfinite(how->pan) ||
        !isfinite(how->pitch))
        return 0;
    *ret = *how;
    ret->size = sizeof *ret;
    ret->volume = fminf(fmaxf(how->volume, 0), 4);
    ret->pan = fminf(fmaxf(how->pan, -1), 1);
    ret->pitch = fminf(fmaxf(how->pitch, 1.0f / 16), 16);
    return 1;
}

/* How far the voice is at `now_ns`, frames of its sound. */
static double place_at(const Sounds *sounds, const VoicePlace *voice, int64_t now_ns)
{
    const SoundData *data = sounds->sounds[voice->sound].data;
    double rate = data ? (double)data->rate * (double)voice->how.pitch : 0;
    return voice->at + (double)(now_ns - voice->since_ns) * 1e-9 * rate;
}

static int ended(const Sounds *sounds, const VoicePlace *voice, int64_t now_ns)
{
    const SoundData *data = sounds->sounds[voice->sound].data;
    if (!voice->playing || !data)
        return 1;
    return !(voice->how.flags & KEEL_VOICE_LOOP) &&
           place_at(sounds, voice, now_ns) >= (double)data->frames;
}

keel_handle sounds_play(Sounds *sounds, keel_handle sound, const struct keel_voice *how,
                        int64_t now_ns)
{
    struct keel_voice checked;
    if (!find_sound(sounds, sound) || !good(how, &checked) || !ready(sounds))
        return 0;
    for (uint32_t i = 0; i < SOUNDS_VOICES; i++) {
        VoicePlace *voice = &sounds->voices[i];
        if (!ended(sounds, voice, now_ns))
            continue;
        push(sounds, PENDING_PLAY, i, voice);
        *voice = (VoicePlace){.generation = voice->generation + 1,
                              .playing = 1,
                              .fresh = 1,
                              .sound = (uint32_t)sound - 1,
                              .how = checked,
                              .since_ns = now_ns};
        return handle_of(voice->generation, i);
    }
    return 0;
}

static VoicePlace *find_voice(Sounds *sounds, keel_handle handle, int64_t now_ns)
{
    uint32_t index = (uint32_t)handle - 1;
    if (!sounds->voices || index >= SOUNDS_VOICES)
        return NULL;
    VoicePlace *voice = &sounds->voices[index];
    return voice->generation == (uint32_t)(handle >> 32) && !ended(sounds, voice, now_ns) ? voice
                                                                                          : NULL;
}

int sounds_set(Sounds *sounds, keel_handle handle, const struct keel_voice *how, int64_t now_ns)
{
    struct keel_voice checked;
    if (!good(how, &checked))
        return KEEL_EINVAL;
    VoicePlace *voice = find_voice(sounds, handle, now_ns);
    if (!voice)
        return KEEL_ESTALE;
    if (!ready(sounds))
        return KEEL_ELIMIT;
    push(sounds, PENDING_SET, (uint32_t)handle - 1, voice);
    voice->at = place_at(sounds, voice, now_ns);
    voice->since_ns = now_ns;
    voice->how = checked;
    return KEEL_OK;
}

int sounds_stop(Sounds *sounds, keel_handle handle, int64_t now_ns)
{
    VoicePlace *voice = find_voice(sounds, handle, now_ns);
    if (!voice)
        return KEEL_ESTALE;
    if (!ready(sounds))
        return KEEL_ELIMIT;
    push(sounds, PENDING_STOP, (uint32_t)handle - 1, voice);
    voice->playing = 0;
    return KEEL_OK;
}

/* ---- the stream ---- */

static int make_room(Sounds *sounds)
{
    if (sounds->room)
        return 1;
    size_t bytes = (size_t)SOUNDS_STREAM_MOST * 2 * sizeof(float), page = 4096;
    size_t whole = (bytes + page - 1) / page * page;
    char *room =
        mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        return 0;
    mprotect(room + whole, page, PROT_NONE);
    sounds->room_bytes = whole + page;
    sounds->room = (float *)(room + whole - bytes); /* ends at the page */
    return 1;
}

float *sounds_stream(Sounds *sounds, int64_t now_ns, uint32_t *ret_frames)
{
    *ret_frames = sounds->due;
    if (sounds->due)
        return sounds->room + (size_t)(SOUNDS_STREAM_MOST - sounds->due) * 2;
    if (!make_room(sounds))
        return NULL;
    int64_t since = sounds->begun ? now_ns - sounds->begun_ns : 0;
    if (!sounds->begun)
        sounds->fresh_ns = now_ns;
    uint64_t wanted =
        (uint64_t)(since > 0 ? since : 0) / 1000 * KEEL_AUDIO_RATE / 1000000 + SOUNDS_STREAM_AHEAD;
    uint64_t due = wanted > sounds->made ? wanted - sounds->made : 0;
    sounds->due = due > SOUNDS_STREAM_MOST ? SOUNDS_STREAM_MOST : (uint32_t)due;
    *ret_frames = sounds->due;
    if (!sounds->due)
        return NULL;
    /* At the end of the room: what is written behind it faults. */
    float *out = sounds->room + (size_t)(SOUNDS_STREAM_MOST - sounds->due) * 2;
    memset(out, 0, (size_t)sounds->due * 2 * sizeof *out);
    sounds->skipped += due - sounds->due;
    sounds->made += due - sounds->due; /* too late: nobody would hear it in time */
    return out;
}

static void commit_stream(Sounds *sounds)
{
    if (!sounds->due)
        return;
    if (!sounds->begun) {
        sounds->begun = 1;
        sounds->begun_ns = sounds->fresh_ns;
    }
    if (sounds->stream)
        sounds->stream(sounds->room + (size_t)(SOUNDS_STREAM_MOST - sounds->due) * 2, sounds->due,
                       sounds->user);
    sounds->made += sounds->due;
    sounds->due = 0;
}

/* ---- around frames ---- */

static void give(const Sounds *sounds, SoundOrderKind kind, uint32_t index)
{
    const VoicePlace *voice = &sounds->voices[index];
    if (!sounds->order)
        return;
    SoundOrder order = {.kind = kind, .voice = index, .how = voice->how};
    if (kind == SOUND_PLAY) {
        SoundData *data = sounds->sounds[voice->sound].data;
        if (!data)
            return;
        order.data = sound_ref(data);
    }
    sounds->order(&order, sounds->user);
}

/* Voices that play it fall silent. */
static void commit_free(Sounds *sounds, uint32_t index)
{
    for (uint32_t i = 0; i < SOUNDS_VOICES; i++)
        if (sounds->voices[i].playing && sounds->voices[i].sound == index) {
            give(sounds, SOUND_STOP, i);
            sounds->voices[i].playing = 0;
        }
    drop_sound(sounds, index);
}

void sounds_commit(Sounds *sounds)
{
    for (uint32_t i = 0; i < sounds->pending_count; i++) {
        const SoundPending *pending = &sounds->pending[i];
        switch (pending->kind) {
        case PENDING_SOUND:
            sounds->sounds[pending->index].there = 1;
            break;
        case PENDING_FREE:
            commit_free(sounds, pending->index);
            break;
        case PENDING_PLAY:
            give(sounds, SOUND_PLAY, pending->index);
            break;
        case PENDING_SET:
            give(sounds, SOUND_SET, pending->index);
            break;
        case PENDING_STOP:
            give(sounds, SOUND_STOP, pending->index);
            break;
        }
    }
    sounds->pending_count = 0;
    commit_stream(sounds);
}

void sounds_undo(Sounds *sounds)
{
    while (sounds->pending_count) {
        const SoundPending *pending = &sounds->pending[--sounds->pending_count];
        switch (pending->kind) {
        case PENDING_SOUND:
            drop_sound(sounds, pending->index);
            sounds->sounds[pending->index].generation--;
            break;
        case PENDING_FREE:
            sounds->sounds[pending->index].freeing = 0;
            break;
        default:
            sounds->voices[pending->index] = pending->before;
        }
    }
    sounds->due = 0;
}

void sounds_done(Sounds *sounds)
{
    sounds_undo(sounds);
    for (uint32_t i = 0; sounds->sounds && i < SOUNDS_MOST; i++)
        sound_unref(sounds->sounds[i].data);
    if (sounds->room)
        munmap((char *)(sounds->room + (size_t)SOUNDS_STREAM_MOST * 2) + 4096 - sounds->room_bytes,
               sounds->room_bytes);
    free(sounds->sounds);
    free(sounds->voices);
    free(sounds->pending);
    *sounds = (Sounds){0};
}
