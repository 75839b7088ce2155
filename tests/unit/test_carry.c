/* What a slot is outside its arena, as bytes and back: the same handles come next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "swap/carry.h"
#include "swap/keepsake.h"

static State *open_state(void)
{
    State *state = NULL;
    Error err = {0};
    const StateOptions options = {.tier = STATE_TIER_OFF};
    assert_int_equal(state_open(&options, &state, &err), KEEL_OK);
    return state;
}

/* A slot with a past: handles that came and went. */
static void live(Slot *slot)
{
    Effects *effects = &slot->effects;
    int rc;
    effects->now_ns = 1000;
    keel_handle first = effects_timer_start(effects, 50, 0, 1);
    effects_timer_start(effects, 70, 7, 2);
    effects_commit(effects);
    assert_int_equal(effects_timer_stop(effects, first), KEEL_OK);
    effects_commit(effects);
    keel_handle last = effects_timer_start(effects, 5, 0, 3);
    effects_commit(effects);
    effects_timer_stop(effects, last);
    effects_commit(effects);
    effects_fire(effects, 1001, &slot->inputs);
    effects->held = 1;
    effects_task_start(effects, NULL, 3, 33, 0, NULL, 0);
    effects_task_start(effects, NULL, 4, 44, 0, NULL, 0);
    effects_commit(effects);
    effects_settle(effects, UINT64_C(1) << 32 | 1);
    keel_handle image = pictures_new(&effects->pictures, 3, 2, NULL, 0, &rc);
    pictures_new(&effects->pictures, 5, 5, NULL, 0, &rc);
    effects_commit(effects);
    pictures_free(&effects->pictures, image);
    effects_commit(effects); /* still shown by this frame: it goes with the next */
    for (int i = 0; i < 9; i++)
        slot_random(slot);
    slot->frames = 77;
    slot->last_time_ns = 990;
    slot->inputs.next_seq = 12;
}

/* All that comes next is the same in both. */
static void same_from_here(Slot *a, Slot *b)
{
    int rc;
    assert_int_equal(a->frames, b->frames);
    assert_int_equal(a->last_time_ns, b->last_time_ns);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(slot_random(a), slot_random(b));
        assert_int_equal(effects_timer_start(&a->effects, 10, 0, 5),
                         effects_timer_start(&b->effects, 10, 0, 5));
        assert_int_equal(effects_task_start(&a->effects, NULL, 1, 5, 0, NULL, 0),
                         effects_task_start(&b->effects, NULL, 1, 5, 0, NULL, 0));
        keel_handle image = pictures_new(&a->effects.pictures, 1, 1, NULL, 0, &rc);
        assert_int_not_equal(image, 0);
        assert_int_equal(image, pictures_new(&b->effects.pictures, 1, 1, NULL, 0, &rc));
        effects_commit(&a->effects);
        effects_commit(&b->effects);
        effects_fire(&a->effects, 5000 + round, &a->inputs);
        effects_fire(&b->effects, 5000 + round, &b->inputs);
        assert_int_equal(a->inputs.waiting, b->inputs.waiting);
        assert_int_equal(a->inputs.next_seq, b->inputs.next_seq);
    }
    /* What waited for its end still does. */
    assert_int_equal(effects_settle(&a->effects, UINT64_C(1) << 32 | 2), 1);
    assert_int_equal(effects_settle(&b->effects, UINT64_C(1) << 32 | 2), 1);
}

static void test_there_and_back(void **state)
{
    (void)state;
    static Slot a, b;
    State *of_a = open_state(), *of_b = open_state();
    Buf bytes = {0};
    slot_init(&a, of_a, NULL, 0, 1);
    slot_init(&b, of_b, NULL, 0, 2);
    live(&a);
    draw_resize(&a.draw, (const float[3]){321, 123, 2});
    b.effects.held = 1;
    assert_int_equal(carry_save(&a, &bytes), KEEL_OK);
    assert_int_equal(carry_load(&b, bytes.data, bytes.bytes), KEEL_OK);
    assert_true(b.draw.screen.width == 321 && b.draw.screen.height == 123 &&
                b.draw.screen.scale == 2);
    same_from_here(&a, &b);
    a.effects.held = b.effects.held = 0;
    slot_done(&a);
    slot_done(&b);
    state_close(of_a);
    state_close(of_b);
    buf_done(&bytes);
}

/* Cut anywhere: refused. Any byte changed: refused or taken, and never more than that. */
static void test_damaged(void **state)
{
    (void)state;
    static Slot a, b;
    State *of_a = open_state(), *of_b = open_state();
    Buf bytes = {0};
    slot_init(&a, of_a, NULL, 0, 1);
    live(&a);
    assert_int_equal(carry_save(&a, &bytes), KEEL_OK);
    for (size_t cut = 0; cut < bytes.bytes; cut++) {
        char *part = malloc(cut ? cut : 1); /* of its own, for sanitizers to see */
        assert_non_null(part);
        memcpy(part, bytes.data, cut);
        slot_init(&b, of_b, NULL, 0, 2);
        assert_int_equal(carry_load(&b, part, cut), KEEL_EDATA);
        slot_done(&b);
        free(part);
    }
    for (size_t at = 0; at < bytes.bytes; at++)
        for (int value = 1; value < 256; value += 127) {
            bytes.data[at] ^= (char)value;
            slot_init(&b, of_b, NULL, 0, 2);
            int rc = carry_load(&b, bytes.data, bytes.bytes);
            assert_true(rc == KEEL_OK || rc == KEEL_EDATA);
            slot_done(&b);
            bytes.data[at] ^= (char)value;
        }
    a.effects.held = 0;
    slot_done(&a);
    state_close(of_a);
    state_close(of_b);
    buf_done(&bytes);
}

/* A build that was brought in and taken out again is no second stop of the clock. */
static void test_a_keepsake_twice(void **state)
{
    (void)state;
    static Slot a, b;
    State *of_a = open_state(), *of_b = open_state();
    Buf bytes = {0};
    Keepsake keepsake;
    slot_init(&a, of_a, NULL, 0, 1);
    slot_init(&b, of_b, NULL, 0, 2);
    a.effects.now_ns = a.last_time_ns = 1000;
    effects_timer_start(&a.effects, 50, 0, 1);
    effects_commit(&a.effects);
    assert_int_equal(keepsake_encode(&a, &bytes), KEEL_OK);
    assert_int_equal(keepsake_decode(bytes.data, bytes.bytes, &keepsake), KEEL_OK);
    for (int round = 0; round < 2; round++) {
        keepsake_apply(&keepsake, &b, 71000); /* 70 µs later */
        effects_fire(&b.effects, 71049, &b.inputs);
        assert_int_equal(b.inputs.waiting, 0);
        effects_fire(&b.effects, 71050, &b.inputs);
        assert_int_equal(b.inputs.waiting, 1);
        inputs_clear(&b.inputs, 0, NULL);
    }
    keepsake_done(&keepsake);
    slot_done(&a);
    slot_done(&b);
    state_close(of_a);
    state_close(of_b);
    buf_done(&bytes);
}

static void send(Slot *slot, int times)
{
    const struct keel_event event = {.kind = KEEL_EVENT_MESSAGE};
    for (int i = 0; i < times; i++)
        assert_int_equal(inputs_put(&slot->inputs, &event), KEEL_OK);
}

static void expect_numbers(Inputs *inputs, uint64_t first, int count)
{
    const Input *input = inputs_take(inputs);
    for (int i = 0; i < count; i++, input = input->next) {
        assert_non_null(input);
        assert_int_equal(input->event.seq, first + (uint64_t)i);
    }
    assert_null(input);
}

/* Messages may wait for the build that goes on: their numbers are those of no event before, and no
 * later one has them again. */
static void test_numbers_go_on(void **state)
{
    (void)state;
    for (int before = 0; before <= 20; before += 5) {
        static Slot a, b;
        State *of_a = open_state(), *of_b = open_state();
        Buf bytes = {0};
        Keepsake keepsake;
        const struct keel_frame frame = {0};
        slot_init(&a, of_a, NULL, 0, 1);
        slot_init(&b, of_b, NULL, 0, 2);
        send(&a, before);
        assert_int_equal(keepsake_encode(&a, &bytes), KEEL_OK);
        assert_int_equal(keepsake_decode(bytes.data, bytes.bytes, &keepsake), KEEL_OK);
        send(&b, 7);
        keepsake_apply(&keepsake, &b, 0);
        send(&b, 1);
        uint64_t first = (uint64_t)before + 1;
        expect_numbers(&b.inputs, first, 8);
        /* That build doesn't stay: what it was given is given again, under the same numbers. */
        inputs_undo(&b.inputs);
        keepsake_apply(&keepsake, &b, 0);
        expect_numbers(&b.inputs, first, 8);
        inputs_commit(&b.inputs, &frame);
        send(&b, 1);
        expect_numbers(&b.inputs, first + 8, 1);
        keepsake_done(&keepsake);
        slot_done(&a);
        slot_done(&b);
        state_close(of_a);
        state_close(of_b);
        buf_done(&bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_a_keepsake_twice),
        cmocka_unit_test(test_numbers_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
