/* abi/shim and state/shimheap: ordinary modules' memory lies in the arena, is undone with the
 * frame, and what they do wrong is their fault. */
#include <dlfcn.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <keel/module.h>

#include "fault/guard.h"
#include "state/state.h"

#include "../fixtures/heap_report.h"

typedef struct Loaded {
    void *handle;
    const struct keel_module *table;
    State *state;
    StateSpan spans[16];
    int span_count;
} Loaded;

#define ok(call)                                    \
    do {                                            \
        Error ok_err = {0};                         \
        if ((call) != 0)                            \
            fail_msg("%s: %s", #call, ok_err.text); \
    } while (0)

/* The writable segments of the module, without what is read-only after relocation. */
static int find_spans(struct dl_phdr_info *info, size_t size, void *user)
{
    Loaded *m = user;
    uintptr_t table = (uintptr_t)m->table, relro_first = 0, relro_last = 0;
    int mine = 0;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t first = info->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_LOAD && table >= first && table < first + p->p_memsz)
            mine = 1;
        if (p->p_type == PT_GNU_RELRO) {
            relro_first = first;
            relro_last = (first + p->p_memsz) & ~(uintptr_t)4095;
        }
    }
    for (int i = 0; mine && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t first = info->dlpi_addr + p->p_vaddr, last = first + p->p_memsz;
        if (p->p_type != PT_LOAD || !(p->p_flags & PF_W))
            continue;
        if (first >= relro_first && first < relro_last)
            first = relro_last;
        if (first < last)
            m->spans[m->span_count++] = (StateSpan){(void *)first, last - first};
    }
    return mine;
}

static Loaded load(const char *path, StateTier tier)
{
    Loaded m = {0};
    StateOptions options = {.tier = tier};
    ok(guard_install(&ok_err));
    ok(state_open(&options, &m.state, &ok_err));
    state_bind_for_load(m.state);
    m.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    state_bind_for_load(NULL);
    if (!m.handle)
        fail_msg("%s", dlerror());
    m.table = dlsym(m.handle, KEEL_SYMBOL);
    assert_non_null(m.table);
    dl_iterate_phdr(find_spans, &m);
    assert_true(m.span_count > 0);
    ok(state_set_statics(m.state, m.spans, m.span_count, &ok_err));
    return m;
}

static void unload(Loaded *m)
{
    ok(state_set_statics(m->state, NULL, 0, &ok_err));
    dlclose(m->handle);
    state_close(m->state);
    guard_uninstall();
}

typedef struct Call {
    Loaded *m;
    struct keel_event event;
} Call;

static void call_event(void *user)
{
    Call *call = user;
    call->m->table->event(NULL, &call->event);
}

static FaultKind run(Loaded *m, uint64_t tag, struct heap_report *report, Fault *ret_fault)
{
    memset(report, 0, sizeof *report);
    Call call = {m, {.size = sizeof call.event, .tag = tag, .data = report}};
    state_enter(m->state);
    FaultKind kind = guard_run(1, 0, call_event, &call, ret_fault);
    state_leave(m->state);
    return kind;
}

static struct heap_report must(Loaded *m, uint64_t tag)
{
    struct heap_report report;
    Fault fault;
    if (run(m, tag, &report, &fault) != FAULT_NONE)
        fail_msg("%s", fault.text);
    for (int i = 0; i < report.address_count; i++)
        if (tag != HEAP_THREAD && !state_contains(m->state, report.addresses[i]))
            fail_msg("address %d of tag %d, %p, is not in the arena", i, (int)tag,
                     report.addresses[i]);
    return report;
}

static void expect_count(Loaded *m, uint64_t count)
{
    struct heap_report report = must(m, HEAP_CHECK);
    assert_true(report.sound);
    assert_int_equal(report.count, count);
    ok(state_check(m->state, &ok_err));
}

static void frames(Loaded *m)
{
    for (int i = 0; i < 50; i++) {
        must(m, HEAP_ADD);
        ok(state_commit(m->state, &ok_err));
        Hash before = state_hash(m->state);
        must(m, HEAP_ADD);
        must(m, HEAP_ADD);
        expect_count(m, (uint64_t)i + 3);
        ok(state_undo(m->state, &ok_err));
        assert_true(hash_equal(before, state_hash(m->state)));
        expect_count(m, (uint64_t)i + 1);
        ok(state_undo(m->state, &ok_err));
        must(m, HEAP_DROP);
        expect_count(m, 0);
        ok(state_undo(m->state, &ok_err));
        expect_count(m, (uint64_t)i + 1);
        ok(state_commit(m->state, &ok_err));
    }
    must(m, HEAP_DROP);
    ok(state_commit(m->state, &ok_err));
    expect_count(m, 0);
    assert_true(must(m, HEAP_GROW).sound);
    ok(state_commit(m->state, &ok_err));
    StateStatus status;
    state_status(m->state, &status);
    assert_int_equal(status.live_objects, 0);
    assert_int_equal(status.live_bytes, 0);
}

static void c_module(void **unused)
{
    (void)unused;
    StateTier tiers[] = {STATE_TIER_AUTO, STATE_TIER_COPY};
    for (int i = 0; i < 2; i++) {
        Loaded m = load(KEEL_TEST_FIXTURES "/fx_heap.so", tiers[i]);
        frames(&m);
        unload(&m);
    }
}

static void cxx_module(void **unused)
{
    (void)unused;
    Loaded m = load(KEEL_TEST_FIXTURES "/fx_heap_cxx.so", STATE_TIER_AUTO);
    frames(&m);
    unload(&m);
}

static void foreign_frees_wait_for_the_boundary(void **unused)
{
    (void)unused;
    Loaded m = load(KEEL_TEST_FIXTURES "/fx_heap.so", STATE_TIER_AUTO);
    struct heap_report report = must(&m, HEAP_FOREIGN);
    assert_true(report.sound);
    assert_false(state_contains(m.state, report.addresses[0]));
    assert_true(state_contains(m.state, report.addresses[1]));
    ok(state_undo(m.state, &ok_err));
    /* Undone: it is still there and can be freed once more. */
    free(report.addresses[2]); /* what getcwd made in the undone frame, nobody will */
    report = must(&m, HEAP_FOREIGN);
    assert_true(report.sound);
    ok(state_commit(m.state, &ok_err));
    unload(&m);
}

static void other_threads_free_at_the_boundary(void **unused)
{
    (void)unused;
    Loaded m = load(KEEL_TEST_FIXTURES "/fx_heap.so", STATE_TIER_AUTO);
    StateStatus status;
    struct heap_report report = must(&m, HEAP_THREAD);
    assert_true(report.sound);
    assert_true(state_contains(m.state, report.addresses[0]));
    assert_false(state_contains(m.state, report.addresses[1]));
    state_status(m.state, &status);
    assert_int_equal(status.live_objects, 1);
    ok(state_commit(m.state, &ok_err));
    state_status(m.state, &status);
    assert_int_equal(status.live_objects, 0);
    /* In an undone frame the block was never made. */
    report = must(&m, HEAP_THREAD);
    ok(state_undo(m.state, &ok_err));
    free(report.addresses[1]); /* libc's, and its free was undone */
    ok(state_commit(m.state, &ok_err));
    ok(state_check(m.state, &ok_err));
    unload(&m);
}

static int left_kind, left_code;

static int32_t on_leave(int32_t kind, int32_t code)
{
    left_kind = kind;
    left_code = code;
    return guard_raise(FAULT_EXIT, code, "left by %d with %d", kind, code);
}

/* What was freed before the arena was emptied is none of what lies there now. */
static void no_free_outlives_its_arena(void **unused)
{
    (void)unused;
    State *state;
    ok(guard_install(&ok_err));
    ok(state_open(NULL, &state, &ok_err));
    const struct keel_heap *heap = state_heap(state);
    void *before = state_alloc_block(state, 1000, 16);
    ok(state_commit(state, &ok_err));
    heap->free(heap, before); /* as another thread would */
    state_reset(state);
    void *now = state_alloc_block(state, 1000, 16);
    assert_ptr_equal(now, before);
    ok(state_commit(state, &ok_err));
    assert_true(state_usable(state, now) >= 1000);
    /* But where the emptying is undone it is freed after all. */
    heap->free(heap, now);
    state_reset(state);
    ok(state_undo(state, &ok_err));
    ok(state_commit(state, &ok_err));
    assert_int_equal(state_usable(state, now), 0);
    state_close(state);
    guard_uninstall();
}

static void wrongs_are_the_modules_faults(void **unused)
{
    (void)unused;
    Loaded m = load(KEEL_TEST_FIXTURES "/fx_heap.so", STATE_TIER_AUTO);
    struct heap_report report;
    Fault fault;
    state_on_leave(on_leave);
    must(&m, HEAP_ADD);
    ok(state_commit(m.state, &ok_err));
    uint64_t tags[] = {HEAP_TWICE, HEAP_INSIDE, HEAP_EXIT, HEAP_ABORT};
    FaultKind kinds[] = {FAULT_MEMORY, FAULT_MEMORY, FAULT_EXIT, FAULT_EXIT};
    int lefts[] = {0, 0, KEEL_LEAVE_EXIT, KEEL_LEAVE_ABORT}, codes[] = {0, 0, 3, 0};
    for (int i = 0; i < 4; i++) {
        left_kind = left_code = 0;
        assert_int_equal(run(&m, tags[i], &report, &fault), kinds[i]);
        assert_int_equal(left_kind, lefts[i]);
        assert_int_equal(left_code, codes[i]);
        ok(state_undo(m.state, &ok_err));
        expect_count(&m, 1);
    }
    state_on_leave(NULL);
    unload(&m);
    m = load(KEEL_TEST_FIXTURES "/fx_heap_cxx.so", STATE_TIER_AUTO);
    state_on_leave(on_leave);
    assert_int_equal(run(&m, HEAP_ABORT, &report, &fault), FAULT_EXIT);
    assert_int_equal(left_kind, KEEL_LEAVE_ABORT);
    ok(state_undo(m.state, &ok_err));
    state_on_leave(NULL);
    unload(&m);
}

/* Loaded by a program that knows nothing of Keel (nobody binds a heap): libc's memory. */
static void without_a_heap_memory_is_libcs(void **unused)
{
    (void)unused;
    State *state = NULL;
    struct heap_report report = {0};
    ok(state_open(NULL, &state, &ok_err));
    void *handle = dlopen(KEEL_TEST_FIXTURES "/fx_heap.so", RTLD_NOW | RTLD_LOCAL);
    assert_non_null(handle);
    const struct keel_module *table = dlsym(handle, KEEL_SYMBOL);
    struct keel_event event = {.size = sizeof event, .tag = HEAP_ADD, .data = &report};
    state_enter(state);
    table->event(NULL, &event);
    assert_int_equal(report.address_count, 4);
    for (int i = 0; i < 4; i++)
        assert_false(state_contains(state, report.addresses[i]));
    uint64_t tags[] = {HEAP_CHECK, HEAP_GROW, HEAP_FOREIGN, HEAP_THREAD, HEAP_DROP};
    for (int i = 0; i < 5; i++) {
        event.tag = tags[i];
        table->event(NULL, &event);
    }
    assert_true(report.sound);
    state_leave(state);
    dlclose(handle);
    state_close(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c_module),
        cmocka_unit_test(cxx_module),
        cmocka_unit_test(foreign_frees_wait_for_the_boundary),
        cmocka_unit_test(other_threads_free_at_the_boundary),
        cmocka_unit_test(no_free_outlives_its_arena),
        cmocka_unit_test(wrongs_are_the_modules_faults),
        cmocka_unit_test(without_a_heap_memory_is_libcs),
    };
    return cmocka_run_group_tests_name("shim", tests, NULL, NULL);
}
