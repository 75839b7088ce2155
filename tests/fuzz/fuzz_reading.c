/* Fuzzes what the host does with a helper's answer: the container, the anatomy in it, and a
 * comparison of two of them. An input that is an ELF file is read first, debug information and all:
 * so a build serves as a seed, and the reader itself is fuzzed. What the reader makes of it must be
 * believed as it is; then it is damaged where the file's hash says. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/anatomy_read.h"
#include "image/compare.h"
#include "image/reading.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static volatile uint64_t used;

static void add_field(void *user, const char *sign, const char *text)
{
    *(uint64_t *)user += strlen(sign) + strlen(text);
}

/* Touches all that the host would. */
static void use(const Anatomy *a)
{
    Difference d;
    Error err = {0};
    char said[300];
    uint64_t sum = 0;
    for (uint32_t i = 0; i < a->function_count; i++)
        sum += strlen(anatomy_string(a, a->functions[i].name)) +
               strlen(anatomy_string(a, a->functions[i].file));
    for (uint32_t i = 0; i < a->object_count; i++)
        sum += strlen(anatomy_string(a, a->objects[i].owner));
    for (uint32_t i = 0; i < a->type_count; i++)
        compare_fields(a, &a->types[i], a, &a->types[a->type_count - 1 - i], add_field, &sum);
    Anatomy empty = *a;
    empty.function_count = empty.object_count = empty.type_count = empty.section_count = 0;
    if (!compare_anatomies(a, a, &d, &err))
        difference_done(&d);
    if (!compare_anatomies(a, &empty, &d, &err)) {
        difference_say(&d, a, &empty, said, sizeof said);
        sum += strlen(said);
        difference_done(&d);
    }
    used = sum;
}

static void check(const void *data, size_t bytes)
{
    Reading reading;
    Error err = {0};
    if (reading_check(data, bytes, &reading, &err)) {
        if (err.code != KEEL_EFAULT || !*err.text)
            abort();
    } else if (reading_anatomy(&reading, NULL)) {
        use(&reading.anatomy);
    }
}

static void read_and_damage(const uint8_t *data, size_t bytes)
{
    static _Alignas(16) uint8_t room[8 << 20];
    Error err = {0};
    size_t made = 0;
    Anatomy a;
    if (!anatomy_read(data, bytes, room, sizeof room, &made, &err)) {
        if (anatomy_check(room, made, &a, &err)) /* what the reader wrote itself */
            abort();
        use(&a);
    } else if (!*err.text) {
        abort();
    }
    if (reading_make(data, bytes, room, sizeof room, &made, &err))
        return;
    check(room, made);
    static _Alignas(16) uint8_t again[8 << 20];
    size_t made_again = 0;
    Hash hash = hash_bytes(data, bytes);
    for (int i = 0; i < 8; i++) {
        if (i % 4 == 3 &&
            !reading_make_after(data, bytes, room, made, again, sizeof again, &made_again, &err))
            check(again, made_again); /* whatever it was begun from */
        uint64_t at = (hash.low >> i * 8) * 0x9e3779b97f4a7c15u % (i % 2 ? 200 : made);
        room[at] ^= (uint8_t)(1u << (hash.high >> i * 3 & 7));
        check(room, made);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes > 4 && !memcmp(data, "\177ELF", 4)) {
        read_and_damage(data, bytes);
        return 0;
    }
    void *copy = aligned_alloc(16, (bytes + 31) & ~(size_t)15);
    if (!copy)
        return 0;
    memcpy(copy, data, bytes);
    check(copy, bytes);
    free(copy);
    return 0;
}
