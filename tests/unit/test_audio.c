/* Sound: what is asked for counts with the frame, the mixer mixes what was asked for, its two
 * threads share nothing but rings, the stream's samples arrive in order and once. */
#include "host_rig.h"

#include <math.h>

#include "../fixtures/audio_part.h"

#include "host/host.h"
#include "host/mixer.h"

enum { RATE = KEEL_AUDIO_RATE };

static struct keel_voice loud(float volume, float pan, uint32_t flags)
{
    return (struct keel_voice){.size = sizeof(struct keel_voice),
                               .flags = flags,
                               .volume = volume,
                               .pan = pan,
                               .pitch = 1};
}

/* ---- the slot's table ---- */

static int orders[3];
static SoundOrder last;
static uint64_t streamed;

static void take(const SoundOrder *order, void *user)
{
    (void)user;
    orders[order->kind]++;
    last = *order;
    sound_unref(order->data);
}

static void take_stream(const float *pairs, uint32_t frames, void *user)
{
    (void)user;
    for (uint32_t i = 0; i < frames; i++)
        assert_true(pairs[2 * i] == (float)(streamed + i));
    streamed += frames;
}

static void the_table_is_a_transaction(void **unused)
{
    (void)unused;
    Sounds sounds = {.order = take};
    const float samples[48] = {0.5f, NAN};
    struct keel_voice how = loud(9, -7, 0);
    memset(orders, 0, sizeof orders);
    keel_handle sound = sounds_new(&sounds, samples, 48, 1, RATE);
    assert_int_not_equal(sound, 0);
    keel_handle voice = sounds_play(&sounds, sound, &how, 1000);
    assert_int_not_equal(voice, 0);
    sounds_undo(&sounds);
    assert_int_equal(sounds.bytes, 0);
    assert_int_equal(sounds_play(&sounds, sound, &how, 1000), 0);
    assert_int_equal(sounds_new(&sounds, samples, 48, 1, RATE), sound); /* the same again */
    assert_int_equal(sounds_play(&sounds, sound, &how, 1000), voice);
    assert_int_equal(orders[SOUND_PLAY], 0);
    sounds_commit(&sounds);
    assert_int_equal(orders[SOUND_PLAY], 1);
    assert_true(last.how.volume == 4 && last.how.pan == -1); /* in bounds */
    /* It lasts a millisecond of the frames' clock. */
    assert_int_equal(sounds_set(&sounds, voice, &how, 500 * 1000), KEEL_OK);
    sounds_undo(&sounds);
    assert_int_equal(sounds_stop(&sounds, voice, 900 * 1000), KEEL_OK);
    assert_int_equal(sounds_stop(&sounds, voice, 900 * 1000), KEEL_ESTALE);
    sounds_undo(&sounds);
    assert_int_equal(sounds_stop(&sounds, voice, 1002 * 1000), KEEL_ESTALE);
    how.volume = NAN;
    assert_int_equal(sounds_play(&sounds, sound, &how, 0), 0);
    how = loud(1, 0, KEEL_VOICE_LOOP);
    for (int i = 0; i < SOUNDS_VOICES; i++)
        assert_int_not_equal(sounds_play(&sounds, sound, &how, INT64_C(2000000000)), 0);
    assert_int_equal(sounds_play(&sounds, sound, &how, INT64_C(2000000000)), 0);
    sounds_commit(&sounds);
    assert_int_equal(sounds_free(&sounds, sound), KEEL_OK);
    assert_int_equal(sounds_free(&sounds, sound), KEEL_ESTALE);
    sounds_commit(&sounds);
    assert_int_equal(orders[SOUND_STOP], SOUNDS_VOICES); /* all fell silent */
    assert_int_equal(sounds_free(&sounds, sound), KEEL_ESTALE);
    assert_int_equal(sounds_new(&sounds, samples, 0, 1, RATE), 0);
    assert_int_equal(sounds_new(&sounds, samples, 4, 3, RATE), 0);
    assert_int_equal(sounds_new(&sounds, samples, 4, 1, 5), 0);
    assert_int_equal(sounds_new(&sounds, samples, UINT64_MAX, 2, RATE), 0);
    sounds_done(&sounds);
}

static void what_is_due_follows_the_clock(void **unused)
{
    (void)unused;
    Sounds sounds = {.stream = take_stream};
    uint32_t frames;
    int64_t now = INT64_C(5000000000);
    streamed = 0;
    assert_non_null(sounds_stream(&sounds, now, &frames));
    assert_int_equal(frames, SOUNDS_STREAM_AHEAD);
    sounds_undo(&sounds);           /* never was */
    for (int i = 0; i < 600; i++) { /* ten seconds of 60 Hz */
        float *out = sounds_stream(&sounds, now, &frames);
        for (uint32_t n = 0; n < frames; n++)
            out[2 * n] = (float)(streamed + n);
        if (i % 7 == 3) {
            sounds_undo(&sounds);
            uint32_t again;
            out = sounds_stream(&sounds, now, &again);
            assert_int_equal(again, frames);
            for (uint32_t n = 0; n < frames; n++)
                out[2 * n] = (float)(streamed + n);
        }
        sounds_commit(&sounds);
        now += 16666667;
    }
    assert_true(llabs((long long)streamed - (10 * RATE + SOUNDS_STREAM_AHEAD - RATE / 60)) < 4);
    now += INT64_C(3000000000); /* a long pause is not made up for */
    assert_non_null(sounds_stream(&sounds, now, &frames));
    assert_int_equal(frames, SOUNDS_STREAM_MOST);
    assert_true(sounds.skipped > 2 * RATE);
    sounds_done(&sounds);
}

/* ---- the mixer ---- */

static SoundData *data_of(const float *samples, uint64_t frames, uint32_t channels, uint32_t rate)
{
    SoundData *data = malloc(sizeof *data + frames * channels * sizeof(float));
    data->refs = 1;
    data->frames = frames;
    data->channels = channels;
    data->rate = rate;
    memcpy(data->samples, samples, frames * channels * sizeof(float));
    return data;
}

static void play(Mixer *mixer, SoundData *data, uint32_t voice, struct keel_voice how)
{
    const SoundOrder order = {
        .kind = SOUND_PLAY, .voice = voice, .data = sound_ref(data), .how = how};
    mixer_order(mixer, 0, &order);
}

static void it_mixes_what_was_asked_for(void **unused)
{
    (void)unused;
    Mixer *mixer = mixer_new();
    mixer_attach(mixer, 1);
    const float ramp[8] = {0, 0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f, 0.7f};
    SoundData *mono = data_of(ramp, 8, 1, RATE), *stereo = data_of(ramp, 4, 2, RATE),
              *slow = data_of(ramp, 8, 1, RATE / 2);
    float out[64];
    mixer_pull(mixer, out, 32);
    for (int i = 0; i < 64; i++)
        assert_true(out[i] == 0);
    assert_false(mixer_wanted(mixer));
    play(mixer, mono, 0, loud(1, 0, 0));
    assert_true(mixer_wanted(mixer));
    mixer_pull(mixer, out, 16);
    for (int i = 0; i < 16; i++)
        for (int side = 0; side < 2; side++)
            assert_true(fabsf(out[2 * i + side] - (i < 8 ? ramp[i] : 0)) < 1e-6f);
    mixer_tick(mixer);
    assert_int_equal(mono->refs, 1);          /* played to its end and given back */
    play(mixer, stereo, 0, loud(0.5f, 1, 0)); /* only the right side, half as loud */
    mixer_pull(mixer, out, 4);
    for (int i = 0; i < 4; i++) {
        assert_true(out[2 * i] == 0);
        assert_true(fabsf(out[2 * i + 1] - ramp[2 * i + 1] / 2) < 1e-6f);
    }
    play(mixer, slow, 1, loud(1, 0, 0)); /* half the rate: between the samples, too */
    mixer_pull(mixer, out, 8);
    for (int i = 0; i < 8; i++)
        assert_true(fabsf(out[2 * i] - 0.05f * (float)i) < 1e-5f);
    play(mixer, mono, 2, loud(1, 0, KEEL_VOICE_LOOP));
    play(mixer, mono, 1, loud(0, 0, 0));
    mixer_pull(mixer, out, 20);
    for (int i = 0; i < 20; i++)
        assert_true(fabsf(out[2 * i] - ramp[i % 8]) < 1e-5f);
    play(mixer, mono, 3, loud(4, 0, KEEL_VOICE_LOOP)); /* too loud together: cut, not wrapped */
    mixer_pull(mixer, out, 32);
    for (int i = 0; i < 64; i++)
        assert_true(out[i] <= 1 && out[i] >= -1);
    const SoundOrder stop = {.kind = SOUND_STOP, .voice = 3};
    mixer_order(mixer, 0, &stop);
    for (int i = 0; i < 100; i++)
        mixer_pull(mixer, out, 32);
    mixer_tick(mixer);
    assert_int_equal(mono->refs, 2); /* the loop of voice 2 goes on */
    mixer_free(mixer);
    assert_int_equal(mono->refs, 1);
    assert_int_equal(stereo->refs, 1);
    sound_unref(mono);
    sound_unref(stereo);
    sound_unref(slow);
}

static void a_stream_comes_whole_and_in_order(void **unused)
{
    (void)unused;
    Mixer *mixer = mixer_new();
    mixer_attach(mixer, 1);
    static float pairs[2400 * 2], out[800 * 2];
    uint64_t made = 0, heard = 0;
    MixerCounts counts;
    for (int i = 0; i < 300; i++) {
        uint32_t frames = i ? 800 : 2400;
        for (uint32_t n = 0; n < frames; n++, made++)
            pairs[2 * n] = pairs[2 * n + 1] = (float)(made % 8192) / 8192;
        mixer_stream(mixer, 5, pairs, frames);
        mixer_pull(mixer, out, 800);
        for (uint32_t n = 0; n < 800; n++, heard++)
            assert_true(fabsf(out[2 * n] - (float)(heard % 8192) / 8192) < 1e-6f);
    }
    mixer_counts(mixer, &counts);
    assert_int_equal(counts.underruns, 0);
    for (int i = 0; i < 10; i++) /* nothing more comes: counted once, then silence */
        mixer_pull(mixer, out, 800);
    mixer_counts(mixer, &counts);
    assert_int_equal(counts.underruns, 1);
    assert_true(out[0] == 0);
    for (int i = 0; i < 20; i++) /* nobody takes it: counted, not kept */
        mixer_stream(mixer, 5, pairs, 2400);
    mixer_counts(mixer, &counts);
    assert_true(counts.dropped > 20000);
    pairs[0] = NAN;
    mixer_stream(mixer, 99, pairs, 1); /* no such slot */
    mixer_free(mixer);
}

typedef struct Device {
    Mixer *mixer;
    _Atomic int end;
    double sum;
} Device;

static void *device_main(void *user)
{
    Device *device = user;
    float out[256 * 2];
    while (!atomic_load(&device->end)) {
        mixer_pull(device->mixer, out, 256);
        for (int i = 0; i < 512; i++)
            device->sum += fabsf(out[i]);
    }
    return NULL;
}

/* Under ThreadSanitizer this says whether anything but the rings is shared. */
static void two_threads_share_only_rings(void **unused)
{
    (void)unused;
    Device device = {.mixer = mixer_new()};
    mixer_attach(device.mixer, 1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, device_main, &device), 0);
    static float samples[4800];
    for (int i = 0; i < 4800; i++)
        samples[i] = 0.01f;
    for (int round = 0; round < 3000; round++) {
        SoundData *data = data_of(samples, 4800, 1, RATE);
        play(device.mixer, data, (uint32_t)round % SOUNDS_VOICES, loud(0.5f, 0, round & 1));
        sound_unref(data); /* the slot frees it at once */
        mixer_stream(device.mixer, 1, samples, 200);
        const SoundOrder stop = {.kind = SOUND_STOP, .voice = (uint32_t)(round * 7) % 32};
        mixer_order(device.mixer, 0, &stop);
        mixer_tick(device.mixer);
        if (round % 64 == 0)
            sched_yield();
    }
    atomic_store(&device.end, 1);
    pthread_join(thread, NULL);
    mixer_attach(device.mixer, 0);
    mixer_free(device.mixer); /* a leak here is an error of the address sanitizer */
}

/* ---- a module ---- */

typedef struct Desk {
    Rig rig;
    struct audio_part part;
} Desk;

static void desk_open(Desk *desk)
{
    memset(desk, 0, sizeof *desk);
    rig_open(&desk->rig, NULL);
    struct keel_slot_options options = {.size = sizeof options, .no_watch = 1, .user = &desk->part};
    if (keel_host_add(desk->rig.host, rig_file("fx_audio"), &options, &desk->rig.slots[0]))
        fail_msg("%s", keel_host_error());
    rig_frames(&desk->rig, 25); /* probation is over */
}

static void a_crashed_frame_is_not_heard(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    Host *host = desk.rig.host;
    assert_int_not_equal(desk.part.sound, 0);
    desk.part.play = desk.part.crash = 1;
    rig_frame(&desk.rig);
    assert_true(!host->mixer || !mixer_wanted(host->mixer));
    desk.part.play = 1;
    rig_frame(&desk.rig);
    assert_int_equal((uint32_t)desk.part.voice, 1);
    assert_true(mixer_wanted(host->mixer));
    mixer_attach(host->mixer, 1);
    float out[64];
    mixer_pull(host->mixer, out, 8);
    assert_true(out[0] == 0.25f && out[2] == 0.5f && out[4] == -0.25f && out[8] == 0);
    /* The stream: crashes in between change nothing of what arrives. */
    desk.part.stream = 1;
    uint64_t heard = 0;
    static float much[1000 * 2];
    int begun = 0;
    for (int i = 0; i < 400; i++) {
        desk.part.crash = i % 10 == 5;
        rig_frame(&desk.rig); /* 1 ms: 48 frames */
        mixer_pull(host->mixer, much, 48);
        for (int n = 0; n < 48; n++) {
            begun |= much[2 * n + 2] != 0 || begun;
            if (begun && n < 47)
                assert_true(fabsf(much[2 * n + 2] - much[2 * n] - 1.0f / 65536) < 1e-6f ||
                            much[2 * n + 2] == 0);
        }
        heard += 48;
    }
    MixerCounts counts;
    mixer_counts(host->mixer, &counts);
    assert_int_equal(counts.underruns, 0);
    assert_true(desk.part.written > heard); /* also what was undone */
    mixer_attach(host->mixer, 0);
    /* Writing behind the lent room is the module's fault. */
    uint64_t undone = rig_status(&desk.rig, 0).undone;
    desk.part.beyond = 1;
    rig_frame(&desk.rig);
    assert_int_equal(rig_status(&desk.rig, 0).undone, undone + 1);
    rig_close(&desk.rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_a_transaction),
        cmocka_unit_test(what_is_due_follows_the_clock),
        cmocka_unit_test(it_mixes_what_was_asked_for),
        cmocka_unit_test(a_stream_comes_whole_and_in_order),
        cmocka_unit_test(two_threads_share_only_rings),
        cmocka_unit_test(a_crashed_frame_is_not_heard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
