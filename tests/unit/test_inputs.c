/* swap/inputs: events keep order and numbers, are given again once, then set aside; the record
 * travels as bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "swap/inputs.h"

static void put(Inputs *inputs, uint64_t tag, const char *text)
{
    struct keel_event event = {.kind = KEEL_EVENT_MESSAGE,
                               .tag = tag,
                               .data = text,
                               .data_bytes = text ? strlen(text) : 0};
    assert_int_equal(inputs_put(inputs, &event), KEEL_OK);
}

static void commit(Inputs *inputs, uint64_t index)
{
    struct keel_frame frame = {
        .size = sizeof frame, .index = index, .time_ns = (int64_t)index * 100};
    inputs_commit(inputs, &frame);
}

static void events_come_in_order_and_are_copied(void **unused)
{
    (void)unused;
    Inputs inputs;
    inputs_init(&inputs);
    char text[] = "abc";
    put(&inputs, 1, text);
    put(&inputs, 2, NULL);
    text[0] = 'x';
    const Input *first = inputs_take(&inputs);
    assert_int_equal(first->event.seq, 1);
    assert_memory_equal(first->event.data, "abc", 3);
    assert_int_equal(first->next->event.seq, 2);
    assert_null(first->next->event.data);
    assert_null(first->next->next);
    commit(&inputs, 0);
    assert_null(inputs_take(&inputs));
    inputs_done(&inputs);
}

static void an_undone_frame_gives_its_events_once_more(void **unused)
{
    (void)unused;
    Inputs inputs;
    inputs_init(&inputs);
    put(&inputs, 1, "one");
    put(&inputs, 2, "two");
    inputs_take(&inputs);
    put(&inputs, 3, "came meanwhile");
    assert_int_equal(inputs_undo(&inputs), 0);

    const Input *again = inputs_take(&inputs);
    for (uint64_t seq = 1; seq <= 3; seq++, again = again->next) {
        assert_int_equal(again->event.seq, seq);
        assert_int_equal(again->event.flags, seq < 3 ? KEEL_EVENT_REDELIVERED : 0);
    }
    /* The second frame faults too: what was given twice goes, what was given once stays. */
    assert_int_equal(inputs_undo(&inputs), 2);
    assert_int_equal(inputs.set_aside, 2);
    const Input *left = inputs_take(&inputs);
    assert_int_equal(left->event.seq, 3);
    assert_null(left->next);
    commit(&inputs, 0);
    put(&inputs, 4, "next"); /* the list is whole */
    assert_int_equal(inputs_take(&inputs)->event.seq, 4);
    inputs_done(&inputs);
}

static void too_many_are_refused_and_counted(void **unused)
{
    (void)unused;
    Inputs inputs;
    inputs_init(&inputs);
    struct keel_event event = {.kind = KEEL_EVENT_MESSAGE};
    for (int i = 0; i < INPUTS_WAITING; i++)
        assert_int_equal(inputs_put(&inputs, &event), KEEL_OK);
    assert_int_equal(inputs_put(&inputs, &event), KEEL_ELIMIT);
    assert_int_equal(inputs.refused, 1);
    inputs_done(&inputs);
}

typedef struct Seen {
    int frames, events;
    uint64_t last_index;
    char text[32];
} Seen;

static int on_frame(const struct keel_frame *frame, void *user)
{
    Seen *seen = user;
    seen->frames++;
    seen->last_index = frame->index;
    return 0;
}

static int on_event(const struct keel_event *event, void *user)
{
    Seen *seen = user;
    seen->events++;
    memcpy(seen->text, event->data, (size_t)event->data_bytes);
    seen->text[event->data_bytes] = 0;
    return 0;
}

static void the_record_travels_as_bytes(void **unused)
{
    (void)unused;
    Inputs inputs;
    inputs_init(&inputs);
    for (uint64_t i = 0; i < INPUTS_FRAMES + 5; i++) {
        if (i % 2)
            put(&inputs, i, "payload");
        inputs_take(&inputs);
        commit(&inputs, i);
    }
    Buf bytes = {0};
    assert_int_equal(inputs_encode(&inputs, &bytes), KEEL_OK);
    Seen seen = {0};
    const InputsReader reader = {on_frame, on_event, &seen};
    assert_int_equal(inputs_decode(bytes.data, bytes.bytes, &reader), 0);
    assert_int_equal(seen.frames, INPUTS_FRAMES);
    assert_int_equal(seen.events, INPUTS_FRAMES / 2);
    assert_int_equal(seen.last_index, INPUTS_FRAMES + 4);
    assert_string_equal(seen.text, "payload");

    /* Cut anywhere, or with lengths that lie: refused or a shorter record, never read past the end.
     */
    for (size_t n = 0; n < bytes.bytes; n++) {
        char *cut = malloc(n ? n : 1); /* exact, so that a sanitizer sees a step too far */
        memcpy(cut, bytes.data, n);
        Seen some = {0};
        const InputsReader r = {on_frame, on_event, &some};
        int rc = inputs_decode(cut, n, &r);
        assert_true(rc == 0 || rc == KEEL_EDATA);
        assert_true(some.frames <= INPUTS_FRAMES);
        free(cut);
    }
    uint64_t lie = UINT64_MAX;
    memcpy(bytes.data + sizeof(struct keel_frame), &lie, sizeof lie);
    assert_int_equal(inputs_decode(bytes.data, bytes.bytes, &reader), KEEL_EDATA);
    buf_done(&bytes);
    inputs_done(&inputs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_come_in_order_and_are_copied),
        cmocka_unit_test(an_undone_frame_gives_its_events_once_more),
        cmocka_unit_test(too_many_are_refused_and_counted),
        cmocka_unit_test(the_record_travels_as_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
