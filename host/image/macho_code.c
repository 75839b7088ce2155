/* Code of x86-64 and arm64 in Mach-O images. Distances from an instruction to another place move
 * with every link; here they become that place. Owns nothing; bytes of unknown origin; one thread.
 */
#include "image/macho_code.h"

#include <string.h>

#include "image/arm64.h"
#include "image/x86.h"

enum { PAGE_USERS_MOST = 512, SAVED_REGISTERS_FIRST = 19, LINE_LOOK = 16 };

static const uint8_t *code_of(const MachoName *f)
{
    return f->in->data ? f->in->data + (f->address - f->in->address) : NULL;
}

/* Where data lie among the code (tables of jumps), or the end: the first such range not before
 * `address`. */
static int data_range(const Macho *m, uint64_t address, uint64_t end, uint64_t *ret_first,
                      uint64_t *ret_last)
{
    int found = 0;
    for (uint32_t i = 0; i + 8 <= m->data_in_code.bytes; i += 8) {
        uint32_t at;
        uint16_t bytes;
        memcpy(&at, m->data + m->data_in_code.at + i, 4);
        memcpy(&bytes, m->data + m->data_in_code.at + i + 4, 2);
        uint64_t first = m->base + at;
        if (bytes && first + bytes > address && first < end && (!found || first < *ret_first)) {
            *ret_first = first < address ? address : first;
            *ret_last = first + bytes < end ? first + bytes : end;
            found = 1;
        }
    }
    return found;
}

/* ---- x86-64 ---- */

static int is_padding(const uint8_t *code, const X86Insn *insn)
{
    size_t at = 0;
    while (at + 1 < insn->bytes && (code[at] == 0x66 || code[at] == 0x2e))
        at++;
    return code[at] == 0x90 || code[at] == 0xcc ||
           (at + 1 < insn->bytes && code[at] == 0x0f && code[at + 1] == 0x1f);
}

static uint64_t target_of(const MachoName *f, const uint8_t *code, uint64_t at, const X86Insn *insn)
{
    int32_t distance = 0;
    if (insn->relative_at)
        memcpy(&distance, code + at + insn->relative_at, sizeof distance);
    return f->address + at + insn->bytes + (uint64_t)(int64_t)distance;
}

/* The instruction at `at` puts a number where assert() expects the line: is the next call one? */
static int is_line_x86(const MachoName *f, const uint8_t *code, uint64_t at, uint64_t end,
                       const MachoWalk *walk)
{
    X86Insn insn;
    for (int i = 0; i < LINE_LOOK && at < end; i++) {
        if (x86_decode(code + at, (size_t)(end - at), &insn))
            return 0;
        if (insn.is_call)
            return insn.relative_at && insn.is_branch &&
                   walk->is_assert(walk->user, target_of(f, code, at, &insn));
        if (insn.leaves || (i && insn.line_at))
            return 0;
        at += insn.bytes;
    }
    return 0;
}

/* `lea place(%rip), %base` and soon `movslq (%base,…,4)`: clang's tables of distances. */
static MachoUse use_x86(const uint8_t *code, uint64_t at, uint64_t end, const X86Insn *first)
{
    const uint8_t *c = code + at;
    if (!first->is_address || first->bytes != 7 || (c[0] & 0xf8) != 0x48 || c[1] != 0x8d)
        return first->is_address || first->is_branch ? MACHO_ADDRESS : MACHO_READ;
    int base = (c[2] >> 3 & 7) | (c[0] & 4) << 1;
    X86Insn insn = *first;
    for (int i = 0; i < LINE_LOOK; i++) {
        at += insn.bytes;
        if (at >= end || x86_decode(code + at, (size_t)(end - at), &insn) || insn.is_call)
            break;
        c = code + at;
        if (insn.bytes >= 4 && (c[0] & 0xf8) == 0x48 && c[1] == 0x63 && (c[2] & 0xc7) == 0x04 &&
            c[3] >> 6 == 2 && ((c[3] & 7) | (c[0] & 1) << 3) == base)
            return MACHO_TABLE;
        if (insn.leaves && (c[0] & 0xf0) != 0x70 && c[0] != 0x0f)
            break; /* a conditional jump goes on here as well */
    }
    return MACHO_ADDRESS;
}

/* One run of instructions; `walk` NULL only looks for the last solid one. */
static uint64_t run_x86(const MachoName *f, const uint8_t *code, uint64_t at, uint64_t end,
                        const MachoWalk *walk)
{
    uint64_t solid = at, said = at;
    while (at < end) {
        X86Insn insn;
        if (x86_decode(code + at, (size_t)(end - at), &insn)) { /* no code: it stays as it is */
            at = solid = end;
            break;
        }
        uint64_t target = target_of(f, code, at, &insn);
        if (walk && insn.line_at && is_line_x86(f, code, at, end, walk)) {
            walk->bytes(walk->user, code + said, (size_t)(at + insn.line_at - said));
            walk->line(walk->user, code + at + insn.line_at, 4);
            said = at + insn.line_at + 4;
        }
        if (walk && insn.relative_at && target - f->address >= f->bytes) {
            walk->bytes(walk->user, code + said, (size_t)(at + insn.relative_at - said));
            walk->place(walk->user, target, use_x86(code, at, end, &insn));
            said = at + insn.relative_at + 4;
        }
        if (!is_padding(code + at, &insn))
            solid = at + insn.bytes;
        at += insn.bytes;
    }
    if (walk && said < end)
        walk->bytes(walk->user, code + said, (size_t)(end - said));
    return solid;
}

/* ---- arm64 ---- */

static uint32_t word_at(const uint8_t *code, uint64_t at)
{
    uint32_t word;
    memcpy(&word, code + at, sizeof word);
    return word;
}

/* Who adds the rest of the address to the page that the adrp at `at` sets? As the code stands: a
 * compiler seldom keeps a page across calls. Tells the n-th user; 0 when there is none. */
static int page_user(const MachoName *f, const uint8_t *code, uint64_t at, uint64_t end,
                     uint64_t user_at)
{
    Arm64Insn page, insn;
    arm64_decode(word_at(code, at), f->address + at, &page);
    for (uint64_t i = at + 4; i + 4 <= end && i <= at + 4 * PAGE_USERS_MOST; i += 4) {
        arm64_decode(word_at(code, i), f->address + i, &insn);
        if (insn.from == page.to && (!user_at || i == user_at))
            return 1;
        if (insn.to == page.to || (insn.clobbers && page.to < SAVED_REGISTERS_FIRST))
            return 0;
    }
    return 0;
}

/* The page in a register at `at`, when the nearest adrp of it before still holds. */
static int page_before(const MachoName *f, const uint8_t *code, uint64_t first, uint64_t at,
                       unsigned reg, uint64_t *ret)
{
    Arm64Insn insn;
    for (uint64_t i = at, n = 0; i > first && n < PAGE_USERS_MOST; n++) {
        i -= 4;
        arm64_decode(word_at(code, i), f->address + i, &insn);
        if (insn.is_page && insn.to == reg) {
            *ret = insn.target;
            return 1;
        }
        if (insn.to == reg || (insn.clobbers && reg < SAVED_REGISTERS_FIRST))
            return 0;
    }
    return 0;
}

static void tell(const MachoWalk *walk, const Arm64Insn *insn, uint64_t target)
{
    walk->bytes(walk->user, &insn->kept, sizeof insn->kept);
    walk->place(walk->user, target, insn->is_address ? MACHO_ADDRESS : MACHO_READ);
}

static int is_line_arm64(const MachoName *f, const uint8_t *code, uint64_t at, uint64_t end,
                         const MachoWalk *walk)
{
    Arm64Insn insn;
    for (int i = 1; i < LINE_LOOK && at + 4 * (uint64_t)i + 4 <= end; i++) {
        uint64_t here = at + 4 * (uint64_t)i;
        arm64_decode(word_at(code, here), f->address + here, &insn);
        if (insn.clobbers)
            return insn.has_target && walk->is_assert(walk->user, insn.target);
        if (insn.to == 2)
            return 0;
    }
    return 0;
}

static uint64_t run_arm64(const MachoName *f, const uint8_t *code, uint64_t first, uint64_t end,
                          const MachoWalk *walk)
{
    uint64_t solid = first, at = first;
    for (; at + 4 <= end; at += 4) {
        uint32_t word = word_at(code, at);
        uint64_t page;
        Arm64Insn insn;
        arm64_decode(word, f->address + at, &insn);
        if (!arm64_is_padding(word))
            solid = at + 4;
        if (!walk)
            continue;
        if (insn.line && is_line_arm64(f, code, at, end, walk))
            walk->line(walk->user, &word, sizeof word);
        else if (insn.has_target && insn.target - f->address >= f->bytes)
            tell(walk, &insn, insn.target);
        else if (insn.is_page && page_user(f, code, at, end, 0))
            walk->bytes(walk->user, &insn.kept, sizeof insn.kept);
        else if (insn.is_page)
            tell(walk, &insn, insn.target);
        else if (insn.from < 31 && page_before(f, code, first, at, insn.from, &page))
            tell(walk, &insn, page + insn.offset);
        else
            walk->bytes(walk->user, &word, sizeof word);
    }
    if (walk && at < end)
        walk->bytes(walk->user, code + at, (size_t)(end - at));
    return solid;
}

/* ---- both ---- */

static uint64_t run(const Macho *m, const MachoName *f, uint64_t end, const MachoWalk *walk)
{
    const uint8_t *code = code_of(f);
    uint64_t at = 0, solid = 0, first = 0, last = 0;
    while (code && at < end) {
        uint64_t stop = end;
        int table = data_range(m, f->address + at, f->address + end, &first, &last);
        if (table)
            stop = first - f->address;
        if (stop > at) {
            uint64_t till = m->cpu == (uint32_t)MACHO_ARM64 ? run_arm64(f, code, at, stop, walk)
                                                            : run_x86(f, code, at, stop, walk);
            solid = till > at ? till : solid;
        }
        at = stop;
        if (table) {
            if (walk)
                walk->bytes(walk->user, code + at, (size_t)(last - first));
            at = solid = last - f->address;
        }
    }
    return solid;
}

uint64_t macho_solid(const Macho *m, const MachoName *function)
{
    return run(m, function, function->bytes, NULL);
}

void macho_walk(const Macho *m, const MachoName *function, const MachoWalk *walk)
{
    run(m, function, macho_solid(m, function), walk);
}
