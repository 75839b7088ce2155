/* Lengths of x86-64 instructions, from the opcode maps of the Intel manual (volume 2, appendix A).
 * Owns nothing. */
#include "image/x86.h"

#include <string.h>

typedef struct Cursor {
    const uint8_t *code;
    size_t bytes, at;
    uint8_t size16, repeat, wide; /* prefixes 66; F2 or F3; REX.W */
    uint8_t map, opcode, vector;  /* map 0: one-byte opcodes; vector: 0, or bytes of a register */
    uint8_t mod, reg;
    uint8_t rip; /* offset of the distance of a RIP-relative operand */
} Cursor;

static int next(Cursor *c, uint8_t *ret)
{
    if (c->at >= c->bytes || c->at >= 15)
        return -1;
    *ret = c->code[c->at++];
    return 0;
}

static int take_prefixes(Cursor *c)
{
    for (uint8_t b;;) {
        if (next(c, &b))
            return -1;
        if (b == 0x66)
            c->size16 = 1;
        else if (b == 0xf2 || b == 0xf3)
            c->repeat = b;
        else if (b != 0x26 && b != 0x2e && b != 0x36 && b != 0x3e && b != 0x64 && b != 0x65 &&
                 b != 0x67 && b != 0xf0) {
            if ((b & 0xf0) == 0x40) {
                c->wide = b >> 3 & 1;
                return next(c, &c->opcode);
            }
            c->opcode = b;
            return 0;
        }
    }
}

static void take_simd_prefix(Cursor *c, uint8_t pp)
{
    c->size16 = pp == 1;
    c->repeat = pp == 2 ? 0xf3 : pp == 3 ? 0xf2 : 0;
}

static int take_vex(Cursor *c)
{
    uint8_t first, second, third;
    int lead = c->opcode;
    if (next(c, &first))
        return -1;
    c->map = 1;
    c->vector = first & 4 ? 32 : 16;
    uint8_t pp = first & 3;
    if (lead == 0xc4) {
        if (next(c, &second))
            return -1;
        c->map = first & 0x1f;
        c->wide = second >> 7;
        c->vector = second & 4 ? 32 : 16;
        pp = second & 3;
    } else if (lead == 0x62) {
        if (next(c, &second) || next(c, &third))
            return -1;
        c->map = first & 7;
        c->wide = second >> 7;
        c->vector = 64;
        pp = second & 3;
    }
    take_simd_prefix(c, pp);
    return c->map ? next(c, &c->opcode) : -1;
}

static int take_opcode(Cursor *c)
{
    if (take_prefixes(c))
        return -1;
    if (c->opcode == 0xc4 || c->opcode == 0xc5 || c->opcode == 0x62)
        return take_vex(c);
    if (c->opcode != 0x0f)
        return 0;
    c->map = 1;
    if (next(c, &c->opcode))
        return -1;
    if (c->opcode != 0x38 && c->opcode != 0x3a)
        return 0;
    c->map = c->opcode == 0x38 ? 2 : 3;
    return next(c, &c->opcode);
}

static int has_operand(const Cursor *c)
{
    uint8_t o = c->opcode;
    if (c->map >= 2)
        return 1;
    if (c->map == 1 && c->vector)
        return o != 0x77;
    if (c->map == 1)
        return !((o >= 0x05 && o <= 0x0c) || o == 0x0e || (o >= 0x30 && o <= 0x37) || o == 0x77 ||
                 (o >= 0x80 && o <= 0x8f) || o == 0xa0 || o == 0xa1 || o == 0xa2 || o == 0xa8 ||
                 o == 0xa9 || o == 0xaa || (o >= 0xc8 && o <= 0xcf));
    if (o < 0x40)
        return (o & 7) < 4;
    return o == 0x63 || o == 0x69 || o == 0x6b || (o >= 0x80 && o <= 0x8f) || o == 0xc0 ||
           o == 0xc1 || o == 0xc6 || o == 0xc7 || (o >= 0xd0 && o <= 0xd3) ||
           (o >= 0xd8 && o <= 0xdf) || o == 0xf6 || o == 0xf7 || o == 0xfe || o == 0xff;
}

static int take_operand(Cursor *c)
{
    uint8_t modrm, sib = 0;
    if (next(c, &modrm))
        return -1;
    c->mod = modrm >> 6;
    c->reg = modrm >> 3 & 7;
    int rm = modrm & 7;
    if (c->mod == 3)
        return 0;
    if (rm == 4 && next(c, &sib))
        return -1;
    if (c->mod == 0 && rm == 5)
        c->rip = (uint8_t)c->at;
    if (c->mod == 1)
        c->at += 1;
    else if (c->mod == 2 || rm == 5 || (rm == 4 && (sib & 7) == 5))
        c->at += 4;
    return 0;
}

/* Bytes of the immediate of a one-byte opcode; -1 for what 64-bit mode does not have. */
static int immediate_plain(const Cursor *c)
{
    uint8_t o = c->opcode;
    int full = c->size16 && !c->wide ? 2 : 4;
    if (o < 0x40)
        return (o & 7) == 4 ? 1 : (o & 7) == 5 ? full : (o & 7) < 4 ? 0 : -1;
    if ((o >= 0x70 && o <= 0x7f) || (o >= 0xb0 && o <= 0xb7) || (o >= 0xe0 && o <= 0xe7))
        return 1;
    if (o >= 0xb8 && o <= 0xbf)
        return c->wide ? 8 : full;
    if (o >= 0xa0 && o <= 0xa3)
        return 8;
    switch (o) {
    case 0x6a:
    case 0x6b:
    case 0x80:
    case 0x83:
    case 0xa8:
    case 0xc0:
    case 0xc1:
    case 0xc6:
    case 0xcd:
    case 0xeb:
        return 1;
    case 0x68:
    case 0x69:
    case 0x81:
    case 0xa9:
    case 0xc7:
        return full;
    case 0xe8:
    case 0xe9:
        return 4;
    case 0xc2:
    case 0xca:
        return 2;
    case 0xc8:
        return 3;
    case 0xf6:
        return c->reg < 2 ? 1 : 0;
    case 0xf7:
        return c->reg < 2 ? full : 0;
    case 0x60:
    case 0x61:
    case 0x82:
    case 0x9a:
    case 0xce:
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xea:
        return -1;
    default:
        return 0;
    }
}

static int immediate(const Cursor *c)
{
    uint8_t o = c->opcode;
    if (c->map == 0)
        return immediate_plain(c);
    if (c->map == 3)
        return 1;
    if (c->map != 1)
        return 0;
    if (!c->vector && o >= 0x80 && o <= 0x8f)
        return 4;
    return (o >= 0x70 && o <= 0x73) || o == 0xc2 || o == 0xc4 || o == 0xc5 || o == 0xc6 ||
                   (!c->vector && (o == 0xa4 || o == 0xac || o == 0xba || o == 0x0f))
               ? 1
               : 0;
}

/* Never less than what is read: too much costs a needless "changed", too little a wrong "same". */
static uint8_t load_bytes(const Cursor *c)
{
    uint8_t o = c->opcode;
    if (c->map == 0)
        return o >= 0xd8 && o <= 0xdf ? 0 : c->wide ? 8 : 4;
    uint8_t whole = c->vector ? c->vector : 16;
    if (c->map != 1)
        return whole;
    int scalar = o == 0x10 || o == 0x11 || (o >= 0x51 && o <= 0x5f && o != 0x5b) || o == 0xc2;
    if (scalar && c->repeat)
        return c->repeat == 0xf3 ? 4 : 8;
    if (o == 0x2a || o == 0x2c || o == 0x2d || o == 0x2e || o == 0x2f)
        return 8;
    if (o == 0x6e || o == 0xd6 || (o == 0x7e && c->repeat == 0xf3))
        return 8;
    if ((o == 0x12 || o == 0x13 || o == 0x16 || o == 0x17) && !c->repeat)
        return 8;
    if (o == 0xb6 || o == 0xb7 || o == 0xbe || o == 0xbf || o == 0xaf || (o & 0xf0) == 0x40)
        return c->vector ? whole : 8;
    return whole;
}

static void tell(const Cursor *c, int immediate_bytes, X86Insn *ret)
{
    uint8_t o = c->opcode;
    memset(ret, 0, sizeof *ret);
    ret->bytes = (uint8_t)c->at;
    ret->relative_at = c->rip;
    if ((c->map == 0 && (o == 0xe8 || o == 0xe9)) ||
        (c->map == 1 && !c->vector && o >= 0x80 && o <= 0x8f)) {
        ret->relative_at = (uint8_t)(c->at - 4);
        ret->is_branch = 1;
    }
    ret->is_call = c->map == 0 && (o == 0xe8 || (o == 0xff && (c->reg == 2 || c->reg == 3)));
    ret->is_address = c->map == 0 && o == 0x8d;
    ret->leaves = ret->is_branch || ret->is_call ||
                  (c->map == 0 && ((o >= 0x70 && o <= 0x7f) || o == 0xeb || o == 0xc3 ||
                                   (o == 0xff && c->reg >= 4 && c->reg <= 5)));
    ret->load_bytes = ret->is_branch || ret->is_address ? 0 : load_bytes(c);
    if (c->map == 0 && o == 0xba && immediate_bytes == 4 && c->at == 5)
        ret->line_at = (uint8_t)(c->at - 4);
}

int x86_decode(const uint8_t *code, size_t bytes, X86Insn *ret)
{
    Cursor c = {.code = code, .bytes = bytes};
    if (take_opcode(&c) || (has_operand(&c) && take_operand(&c)))
        return -1;
    int n = immediate(&c);
    if (n < 0)
        return -1;
    c.at += (size_t)n;
    if (c.at > bytes || c.at > 15)
        return -1;
    tell(&c, n, ret);
    return 0;
}
