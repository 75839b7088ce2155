/* screen/audio_sdl: what is asked for is what SDL's device gets, read back from the file that SDL's
 * disk driver writes; without a device there is a sentence. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "screen/audio_sdl.h"

static char file[] = "/tmp/keel-test-audio-XXXXXX";

static void the_device_gets_what_was_played(void **unused)
{
    (void)unused;
    close(mkstemp(file));
    setenv("SDL_AUDIODRIVER", "disk", 1);
    setenv("SDL_DISKAUDIOFILE", file, 1);
    setenv("SDL_DISKAUDIODELAY", "1", 1);
    enum { FRAMES = 4000 };
    Mixer *mixer = mixer_new();
    SoundData *tone = malloc(sizeof *tone + FRAMES * sizeof(float));
    *tone = (SoundData){.channels = 1, .rate = KEEL_AUDIO_RATE, .frames = FRAMES};
    tone->refs = 1;
    for (int i = 0; i < FRAMES; i++)
        tone->samples[i] = sinf((float)i * 0.05f) * 0.9f + 0.01f;
    AudioSdl audio = {0};
    Error err = {0};
    if (audio_sdl_open(&audio, mixer, &err))
        fail_msg("%s", err.text);
    const struct keel_voice how = {.size = sizeof how, .volume = 0.5f, .pitch = 1};
    const SoundOrder order = {.kind = SOUND_PLAY, .voice = 3, .data = sound_ref(tone), .how = how};
    mixer_order(mixer, 2, &order);
    MixerCounts counts = {0};
    for (int i = 0; i < 20000 && counts.pulled < 4 * FRAMES; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        mixer_counts(mixer, &counts);
    }
    assert_true(counts.pulled >= 4 * FRAMES);
    audio_sdl_close(&audio);
    audio_sdl_close(&audio); /* twice is fine */
    FILE *pcm = fopen(file, "rb");
    assert_non_null(pcm);
    float pair[2];
    int at = -1, found = 0;
    while (fread(pair, sizeof pair, 1, pcm) == 1 && found < FRAMES) {
        if (at < 0 && pair[0] == 0)
            continue; /* before it began */
        at++;
        assert_true(fabsf(pair[0] - tone->samples[at] * 0.5f) < 1e-6f);
        assert_true(pair[0] == pair[1]);
        found++;
    }
    fclose(pcm);
    unlink(file);
    assert_int_equal(found, FRAMES);
    mixer_free(mixer);
    assert_int_equal(tone->refs, 1);
    sound_unref(tone);
}

static void no_device_is_said(void **unused)
{
    (void)unused;
    setenv("SDL_AUDIODRIVER", "nonsense", 1);
    Mixer *mixer = mixer_new();
    AudioSdl audio = {0};
    Error err = {0};
    assert_int_equal(audio_sdl_open(&audio, mixer, &err), KEEL_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "there is no sound here ("));
    audio_sdl_close(&audio);
    mixer_free(mixer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_device_gets_what_was_played),
        cmocka_unit_test(no_device_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
