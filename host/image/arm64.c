/* The arm64 instructions that name places, after the Arm Architecture Reference Manual, section C4.
 * Owns nothing. */
#include "image/arm64.h"

static int64_t sign(uint64_t value, unsigned bits)
{
    uint64_t top = UINT64_C(1) << (bits - 1);
    return (int64_t)((value ^ top) - top);
}

static void branch(Arm64Insn *i, uint32_t word, uint64_t at, unsigned low, unsigned bits)
{
    uint32_t mask = ((1u << bits) - 1) << low;
    i->has_target = 1;
    i->target = at + (uint64_t)(sign((word & mask) >> low, bits) * 4);
    i->kept = word & ~mask;
    i->to = 32;
}

int arm64_is_padding(uint32_t word)
{
    return word == 0xd503201f || !word || word == 0xd4200020;
}

void arm64_decode(uint32_t word, uint64_t at, Arm64Insn *ret)
{
    Arm64Insn i = {.kept = word, .to = (uint8_t)(word & 31), .from = 32};
    uint8_t base = (uint8_t)(word >> 5 & 31);
    if ((word & 0x9f000000) == 0x90000000) { /* adrp */
        uint64_t pages = (uint64_t)(word >> 5 & 0x7ffff) << 2 | (word >> 29 & 3);
        i.is_page = 1;
        i.target = (at & ~UINT64_C(0xfff)) + ((uint64_t)sign(pages, 21) << 12);
        i.kept = word & 0x9f00001f;
    } else if ((word & 0x9f000000) == 0x10000000) { /* adr */
        uint64_t bytes = (uint64_t)(word >> 5 & 0x7ffff) << 2 | (word >> 29 & 3);
        i.has_target = i.is_address = 1;
        i.target = at + (uint64_t)sign(bytes, 21);
        i.kept = word & 0x9f00001f;
    } else if ((word & 0x7c000000) == 0x14000000) { /* b, bl */
        branch(&i, word, at, 0, 26);
        i.clobbers = word >> 31;
    } else if ((word & 0xff000010) == 0x54000000) { /* b.cond */
        branch(&i, word, at, 5, 19);
    } else if ((word & 0x7e000000) == 0x34000000) { /* cbz, cbnz */
        branch(&i, word, at, 5, 19);
    } else if ((word & 0x7e000000) == 0x36000000) { /* tbz, tbnz */
        branch(&i, word, at, 5, 14);
    } else if ((word & 0x3b000000) == 0x18000000) { /* ldr, ldrsw, prfm from a place */
        uint8_t to = i.to;
        branch(&i, word, at, 5, 19);
        i.to = word & 0x04000000 ? 32 : to;
    } else if ((word & 0xfffffc1f) == 0xd63f0000) { /* blr */
        i.clobbers = 1;
        i.to = 32;
    } else if ((word & 0xfe000000) == 0xd6000000) { /* br, ret */
        i.to = 32;
    } else if ((word & 0xff800000) == 0x91000000) { /* add of 64 bits, immediate */
        i.from = base;
        i.offset = (word >> 10 & 0xfff) << (word & 0x00400000 ? 12 : 0);
        i.is_address = 1;
        i.kept = word & ~0x003ffc00u;
    } else if ((word & 0x3b000000) == 0x39000000) { /* loads and stores, unsigned offset */
        unsigned scale = word >> 30, opc = word >> 22 & 3, vector = word >> 26 & 1;
        if (vector && opc & 2)
            scale = 4;
        i.from = base;
        i.offset = (word >> 10 & 0xfff) << scale;
        i.kept = word & ~0x003ffc00u;
        if (vector || !opc) /* a store, or another kind of register */
            i.to = 32;
    } else if ((word & 0xffe0001f) == 0x52800002) { /* movz w2, #n */
        i.line = (word >> 5 & 0xffff) + 1;
    } else if ((word & 0x3a000000) == 0x28000000 && !(word & 0x00400000)) { /* stp */
        i.to = 32;
    }
    if (i.to == 31) /* the zero register, or the stack's */
        i.to = 32;
    *ret = i;
}
