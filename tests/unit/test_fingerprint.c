/* Names, lengths of instructions, the check of what crosses a process boundary, and damaged images:
 * what the pairs (tests/pairs) can't reach. */
#include "image_files.h"

#include "image/anatomy_read.h"
#include "image/compare.h"
#include "image/names.h"
#include "image/x86.h"

#define BALL KEEL_TEST_MODULES "/ball.so"

enum { ROOM = 16 << 20 };

static void a_clone_belongs_to_its_function(void **unused)
{
    (void)unused;
    static const struct {
        const char *symbol, *function, *part;
    } CASES[] = {
        {"step", "step", "step"},
        {"step.isra.0", "step", "step.isra"},
        {"step.constprop.12.cold", "step", "step.constprop.cold"},
        {"step.part.0.isra.1", "step", "step.part.isra"},
        {"step.lto_priv.3", "step", "step"},
        {"step.llvm.1234567", "step", "step"},
        {"inner.0", "inner", "inner"},
        {"inner.7.cold", "inner", "inner.cold"},
        {"_ZN1a1bEv.cold", "_ZN1a1bEv", "_ZN1a1bEv.cold"},
        {"odd.name", "odd.name", "odd.name"},
        {".hidden", ".hidden", ".hidden"},
        {"", "", ""},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char part[NAME_MOST];
        size_t n = name_of_function(CASES[i].symbol, part);
        assert_int_equal(n, strlen(CASES[i].function));
        assert_memory_equal(CASES[i].symbol, CASES[i].function, n);
        assert_string_equal(part, CASES[i].part);
    }
}

static void a_numbered_static_loses_its_number(void **unused)
{
    (void)unused;
    int numbered;
    assert_int_equal(name_of_object("n.0", &numbered), 1);
    assert_true(numbered);
    assert_int_equal(name_of_object("f.n", &numbered), 3);
    assert_false(numbered);
    assert_int_equal(name_of_object("f.n.12", &numbered), 3);
    assert_true(numbered);
    assert_int_equal(name_of_object("x.lto_priv.0", &numbered), 1);
    assert_int_equal(name_of_object(".1", &numbered), 2);
}

static void a_name_of_any_length_is_taken(void **unused)
{
    (void)unused;
    static char name[3 * NAME_MOST];
    char part[NAME_MOST];
    memset(name, 'a', sizeof name - 1);
    assert_int_equal(name_of_function(name, part), NAME_MOST - 1);
    for (size_t i = 1; i < sizeof name - 1; i += 2)
        name[i] = '.';
    name_of_function(name, part);
    assert_true(strlen(part) < NAME_MOST);
}

static void instructions_have_their_length(void **unused)
{
    (void)unused;
    static const struct {
        uint8_t code[15], bytes, relative_at;
    } CASES[] = {
        {{0xc3}, 1, 0},                                            /* ret */
        {{0x48, 0x8d, 0x3d, 1, 2, 3, 4}, 7, 3},                    /* lea x(%rip), %rdi */
        {{0xc7, 0x05, 1, 2, 3, 4, 9, 0, 0, 0}, 10, 2},             /* movl $9, x(%rip) */
        {{0x66, 0xc7, 0x05, 1, 2, 3, 4, 9, 0}, 9, 3},              /* movw $9, x(%rip) */
        {{0xe8, 1, 2, 3, 4}, 5, 1},                                /* call */
        {{0x0f, 0x84, 1, 2, 3, 4}, 6, 2},                          /* je */
        {{0xf6, 0x05, 1, 2, 3, 4, 1}, 7, 2},                       /* testb $1, x(%rip) */
        {{0xf7, 0x1d, 1, 2, 3, 4}, 6, 2},                          /* negl x(%rip) */
        {{0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8}, 10, 0},             /* movabs */
        {{0xc5, 0xf8, 0x28, 0x05, 1, 2, 3, 4}, 8, 4},              /* vmovaps x(%rip), %xmm0 */
        {{0xc4, 0xe3, 0x79, 0x0f, 0x05, 1, 2, 3, 4, 8}, 10, 5},    /* vpalignr $8, x(%rip) */
        {{0x62, 0xf1, 0x7c, 0x48, 0x28, 0x05, 1, 2, 3, 4}, 10, 6}, /* vmovaps x(%rip), %zmm0 */
        {{0xf3, 0x0f, 0x1e, 0xfa}, 4, 0},                          /* endbr64 */
        {{0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0}, 10, 0},    /* nopw */
        {{0x8b, 0x44, 0x24, 8}, 4, 0},                             /* mov 8(%rsp), %eax */
    };
    X86Insn insn;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_int_equal(x86_decode(CASES[i].code, sizeof CASES[i].code, &insn), 0);
        assert_int_equal(insn.bytes, CASES[i].bytes);
        assert_int_equal(insn.relative_at, CASES[i].relative_at);
        for (size_t n = 0; n < CASES[i].bytes; n++)
            assert_int_equal(x86_decode(CASES[i].code, n, &insn), -1);
    }
    const uint8_t endless[20] = {[0 ... 19] = 0x66};
    assert_int_equal(x86_decode(endless, sizeof endless, &insn), -1);
}

static size_t read_ball(const Blob *ball, void *to)
{
    Error err;
    size_t bytes = 0;
    assert_int_equal(anatomy_read(ball->data, ball->bytes, to, ROOM, &bytes, &err), 0);
    return bytes;
}

static void an_image_equals_itself(void **unused)
{
    (void)unused;
    Error err;
    Anatomy a;
    Difference d;
    Blob ball = blob_read(BALL);
    void *room = malloc(ROOM);
    size_t bytes = read_ball(&ball, room);
    assert_int_equal(anatomy_check(room, bytes, &a, &err), 0);
    assert_true(a.flags & ANATOMY_SYMBOLS);
    assert_true(a.flags & ANATOMY_RELOCS);
    assert_true(a.flags & ANATOMY_DEBUG);
    assert_true(a.function_count > 3);
    assert_true(a.type_count > 3);
    assert_int_equal(compare_anatomies(&a, &a, &d, &err), 0);
    assert_int_equal(d.verdict, VERDICT_SAME);
    difference_done(&d);
    assert_int_equal(anatomy_read(ball.data, ball.bytes, room, 100, &bytes, &err), KEEL_ELIMIT);
    free(room);
    free(ball.data);
}

/* Whoever took over the reader may write anything: no offset of it is followed unchecked. */
static void a_lying_reader_is_caught(void **unused)
{
    (void)unused;
    Error err;
    Anatomy a;
    Blob ball = blob_read(BALL);
    uint8_t *room = malloc(ROOM);
    size_t bytes = read_ball(&ball, room);
    assert_int_equal(anatomy_check(room, bytes - 1, &a, &err), KEEL_EFAULT);
    assert_int_equal(anatomy_check(room, bytes + 8, &a, &err), KEEL_EFAULT);
    assert_int_equal(anatomy_check(room, 3, &a, &err), KEEL_EFAULT);
    assert_int_equal(anatomy_check(room, bytes, &a, &err), 0);
    uint32_t *name = (uint32_t *)((uint8_t *)a.functions + offsetof(AnatomyFunction, name));
    uint32_t good = *name;
    *name = a.string_bytes;
    assert_int_equal(anatomy_check(room, bytes, &a, &err), KEEL_EFAULT);
    *name = good;
    uint32_t *fields = (uint32_t *)((uint8_t *)a.types + offsetof(AnatomyType, field_count));
    good = *fields;
    *fields = UINT32_MAX;
    assert_int_equal(anatomy_check(room, bytes, &a, &err), KEEL_EFAULT);
    *fields = good;
    uint64_t *high = (uint64_t *)((uint8_t *)a.functions + offsetof(Hash, high));
    uint64_t least = *high;
    *high = UINT64_MAX;
    assert_int_equal(anatomy_check(room, bytes, &a, &err), KEEL_EFAULT);
    *high = least;
    room[bytes - 1] = 'x';
    assert_int_equal(anatomy_check(room, bytes, &a, &err), KEEL_EFAULT);
    free(room);
    free(ball.data);
}

/* Any answer is good, as long as it is one and holds what the check demands. */
static void damaged_images_are_answered(void **unused)
{
    (void)unused;
    Error err;
    Anatomy a;
    Blob ball = blob_read(BALL);
    uint8_t *copy = malloc(ball.bytes), *room = malloc(ROOM);
    uint64_t seed = 42;
    int refused = 0;
    for (int round = 0; round < 300; round++) {
        size_t bytes = 0, cut = ball.bytes;
        memcpy(copy, ball.data, ball.bytes);
        for (int i = 0; i < 1 + round % 20; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            size_t at = (seed >> 20) % ball.bytes;
            if (round % 3 == 0) /* the section headers, which lie at the end */
                at = ball.bytes - 1 - at % 3000;
            copy[at] = (uint8_t)(seed >> 56);
        }
        if (round % 10 == 9)
            cut = (seed >> 24) % ball.bytes;
        int rc = anatomy_read(copy, cut, room, ROOM, &bytes, &err);
        refused += rc != 0;
        assert_true(rc == 0 || rc == KEEL_EIMAGE || rc == KEEL_EUNSUPPORTED || rc == KEEL_ELIMIT);
        if (!rc)
            assert_int_equal(anatomy_check(room, bytes, &a, &err), 0);
    }
    assert_true(refused > 20);
    free(copy);
    free(room);
    free(ball.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clone_belongs_to_its_function),
        cmocka_unit_test(a_numbered_static_loses_its_number),
        cmocka_unit_test(a_name_of_any_length_is_taken),
        cmocka_unit_test(instructions_have_their_length),
        cmocka_unit_test(an_image_equals_itself),
        cmocka_unit_test(a_lying_reader_is_caught),
        cmocka_unit_test(damaged_images_are_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
