/* A module can write any byte of its arena, by mistake too: whatever the allocator and the table of
 * types find there, they refuse it or go on, and never follow it out of the arena. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dice.h"
#include "fault/guard.h"
#include "state/internal.h"

enum { OBJECTS = 32, OWNER = 1, ROUNDS = 400 };

typedef struct Made {
    State *state;
    void *at[OBJECTS];
} Made;

static void make(Made *made)
{
    static const char *const types[] = {"struct a", "struct bb", "struct ccc", "struct dddd"};
    Error err = {0};
    void *root;
    assert_int_equal(state_root(made->state, "struct root", "m.c", 200, 8, &root, &err), 0);
    for (int i = 0; i < OBJECTS; i++) {
        uint64_t bytes = i % 6 == 5 ? 30000 : i % 3 == 2 ? 1000 : 40;
        made->at[i] = i & 1 ? state_alloc(made->state, types[i / 2 % 4], "m.c", bytes,
                                          i % 4 == 3 ? 64 : 8, 1 + (uint64_t)(i % 2))
                            : state_alloc_block(made->state, bytes, 16);
        assert_non_null(made->at[i]);
    }
    for (int i = 0; i < OBJECTS; i += 5) { /* free slots, and runs */
        state_free(made->state, made->at[i]);
        made->at[i] = NULL;
    }
}

/* A number of the allocator's: nothing, much, a little off, anything. */
static void spoil(void *at, size_t bytes)
{
    static const uint64_t much[] = {0,
                                    1,
                                    0x7f,
                                    0xffff,
                                    0x7fffffff,
                                    0x80000000,
                                    UINT32_MAX,
                                    UINT32_MAX - 1,
                                    UINT64_MAX,
                                    UINT64_C(1) << 40,
                                    UINT64_C(1) << 63};
    uint64_t value = 0;
    memcpy(&value, at, bytes);
    value = dice(3) == 0 ? value + dice(9) - 4 : dice(4) ? much[dice(11)] : dice(UINT32_MAX);
    memcpy(at, &value, bytes);
}

#define SPOIL(of, field) \
    spoil((uint8_t *)(of) + offsetof(__typeof__(*(of)), field), sizeof(of)->field)

static void spoil_head(ArenaHead *head)
{
    switch (dice(10)) {
    case 0:
        SPOIL(head, types);
        break;
    case 1:
        SPOIL(head, type_index);
        break;
    case 2:
        SPOIL(head, type_count);
        break;
    case 3:
        SPOIL(head, type_room);
        break;
    case 4:
        spoil(&head->partial[dice(HEAP_CLASSES)], 4);
        break;
    case 5:
        spoil(&head->bins[dice(HEAP_BINS)], 4);
        break;
    case 6:
        SPOIL(head, root);
        break;
    case 7:
        spoil((uint8_t *)head + dice(sizeof *head / 4) * 4, 4);
        break;
    default:
        SPOIL(head, top);
    }
}

static void spoil_page(PageInfo *info)
{
    switch (dice(8)) {
    case 0:
        SPOIL(info, kind);
        break;
    case 1:
        SPOIL(info, next);
        break;
    case 2:
        SPOIL(info, prev);
        break;
    case 3:
        SPOIL(info, free_slot);
        break;
    case 4:
        SPOIL(info, fresh);
        break;
    case 5:
        SPOIL(info, object_offset);
        break;
    case 6:
        SPOIL(info, first);
        break;
    default:
        SPOIL(info, pages);
    }
}

static void damage(State *state)
{
    ArenaHead *head = arena_head(state);
    uint32_t page = 1 + dice(40);
    switch (dice(5)) {
    case 0:
        spoil_head(head);
        break;
    case 1: /* the types, where the head is still believed */
        if (type_count(state))
            spoil((uint8_t *)(uintptr_t)head->types + dice(8 * sizeof(TypeRecord) / 4) * 4, 4);
        break;
    case 2: /* an object's head, or what is in it */
        spoil(page_address(state, page) + dice(PAGE_BYTES / 4) * 4, 4);
        break;
    default:
        spoil_page(page_info(state, page));
    }
}

static void use(void *user)
{
    Made *made = user;
    State *state = made->state;
    Error err = {0};
    void *root;
    for (int i = 0; i < OBJECTS; i++) {
        uint64_t bytes = 1 + dice(dice(4) ? 300 : 40000);
        switch (dice(6)) {
        case 0:
            state_free(state, made->at[i]);
            made->at[i] = NULL;
            break;
        case 1:
            state_resize_block(state, made->at[i], bytes);
            break;
        case 2:
            state_alloc_block(state, bytes, 16);
            break;
        case 3:
            state_alloc(state, i & 1 ? "struct a" : "struct new", "m.c", bytes, 8, 1 + dice(3));
            break;
        case 4:
            state_usable(state, made->at[i]);
            state_count(state, made->at[i]);
            state_kept(state, 1);
            break;
        default:
            state_root(state, "struct root", "m.c", 200, 8, &root, &err);
        }
    }
}

/* Between the frames. */
static int look(State *state)
{
    Error err = {0};
    const char *spelling, *file;
    int sound = state_check(state, &err) == 0;
    uint32_t count = type_count(state);
    for (uint32_t id = 1; id <= count; id++) {
        const TypeRecord *type = type_record(state, id);
        if (type && type_texts(state, type, &spelling, &file))
            assert_true(strlen(spelling) + strlen(file) <= 2 * 4096);
    }
    state_hash(state);
    return sound;
}

static void damage_is_never_followed(void **unused)
{
    (void)unused;
    int raised = 0, unsound = 0;
    Error err = {0};
    assert_int_equal(guard_install(&err), 0);
    assert_int_equal(guard_thread_begin(&err), 0);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        Made made = {0};
        Fault fault = {0};
        const StateOptions options = {.tier = STATE_TIER_COPY};
        random_state = round * UINT64_C(0x9e3779b97f4a7c15);
        assert_int_equal(state_open(&options, &made.state, &err), 0);
        make(&made);
        assert_int_equal(state_commit(made.state, &err), 0);
        assert_int_equal(state_check(made.state, &err), 0);
        for (uint32_t n = 1 + dice(12); n; n--)
            damage(made.state);
        unsound += !look(made.state);
        state_enter(made.state);
        FaultKind kind = guard_run(OWNER, 0, use, &made, &fault);
        state_leave(made.state);
        if (fault.signal)
            fail_msg("round %llu: signal %d: %s", (unsigned long long)round, fault.signal,
                     fault.text);
        raised += kind != FAULT_NONE;
        look(made.state);
        /* And the frame that did it never happened. */
        if (state_undo(made.state, &err) || state_check(made.state, &err))
            fail_msg("round %llu: %s", (unsigned long long)round, err.text);
        state_close(made.state);
    }
    guard_thread_end();
    guard_uninstall();
    assert_true(raised > ROUNDS / 50);
    assert_true(unsound > ROUNDS / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(damage_is_never_followed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
