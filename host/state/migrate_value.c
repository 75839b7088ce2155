/* Numbers from one type to another: integers of any size and sign, floats, bool, bit fields,
 * enumerators. What doesn't fit is refused with the value. Changes nothing but its target. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "state/migrate_plan.h"

typedef struct Number {
    int is_float, is_negative; /* is_negative: of the integer */
    unsigned __int128 magnitude;
    long double real;
} Number;

uint64_t value_bits(const uint8_t *at, unsigned bit, unsigned bits)
{
    unsigned __int128 word = 0;
    memcpy(&word, at, (bit + bits + 7) / 8);
    word >>= bit;
    return (uint64_t)(bits < 64 ? word & (((unsigned __int128)1 << bits) - 1) : word);
}

static void put_bits(uint8_t *at, unsigned bit, unsigned bits, uint64_t value)
{
    unsigned __int128 word = 0, mask = (((unsigned __int128)1 << bits) - 1) << bit;
    memcpy(&word, at, (bit + bits + 7) / 8);
    word = (word & ~mask) | ((unsigned __int128)value << bit & mask);
    memcpy(at, &word, (bit + bits + 7) / 8);
}

static Number of_integer(unsigned __int128 raw, unsigned bits, int is_signed)
{
    Number n = {.magnitude = raw};
    if (is_signed && bits && raw >> (bits - 1) & 1) {
        n.is_negative = 1;
        n.magnitude = ~raw + 1;
        if (bits < 128)
            n.magnitude &= ((unsigned __int128)1 << bits) - 1;
    }
    return n;
}

static Number of_signed(int64_t value, int is_signed)
{
    int negative = is_signed && value < 0;
    return (Number){.is_negative = negative,
                    .magnitude = negative ? -(uint64_t)value : (uint64_t)value};
}

static Number read_number(const SchemaType *t, const uint8_t *at, unsigned bit, unsigned bits)
{
    Number n = {0};
    if (t->kind == SCHEMA_FLOAT) {
        n.is_float = 1;
        if (t->bytes == 4) {
            float f;
            memcpy(&f, at, sizeof f);
            n.real = f;
        } else if (t->bytes == 8) {
            double d;
            memcpy(&d, at, sizeof d);
            n.real = d;
        } else {
            memcpy(&n.real, at, sizeof n.real);
        }
        return n;
    }
    int is_signed = (t->flags & SCHEMA_SIGNED) != 0;
    if (bits)
        return of_integer(value_bits(at, bit, bits), bits, is_signed);
    unsigned __int128 raw = 0;
    memcpy(&raw, at, t->bytes);
    return of_integer(raw, (unsigned)t->bytes * 8, is_signed);
}

static void say_number(const Number *n, char *ret, size_t room)
{
    if (n->is_float)
        snprintf(ret, room, "%.6Lg", n->real);
    else if (n->magnitude > UINT64_MAX)
        snprintf(ret, room, "a number of more than 64 bits");
    else
        snprintf(ret, room, "%s%llu", n->is_negative ? "-" : "", (unsigned long long)n->magnitude);
}

/* 0 when it can't be an integer. */
static int to_integer(const Number *n, Number *ret)
{
    if (!n->is_float) {
        *ret = *n;
        return 1;
    }
    long double whole = truncl(n->real);
    if (!(fabsl(whole) < 0x1p127L))
        return 0; /* too large, infinite, or no number */
    *ret = (Number){.is_negative = whole < 0, .magnitude = (unsigned __int128)fabsl(whole)};
    return 1;
}

static int fits(const Number *n, unsigned bits, int is_signed)
{
    if (n->is_negative)
        return is_signed && n->magnitude <= (unsigned __int128)1 << (bits - 1);
    unsigned room = is_signed ? bits - 1 : bits;
    return room >= 128 || !(n->magnitude >> room);
}

static int write_integer(const SchemaType *t, const Number *n, uint8_t *at, unsigned bit,
                         unsigned bits)
{
    unsigned width = bits ? bits : (unsigned)t->bytes * 8;
    Number whole;
    if (t->kind == SCHEMA_BOOL) {
        int is_set = n->is_float ? n->real != 0 : n->magnitude != 0;
        if (bits)
            put_bits(at, bit, bits, (uint64_t)is_set);
        else
            *at = (uint8_t)is_set;
        return 0;
    }
    if (!to_integer(n, &whole) || !fits(&whole, width, (t->flags & SCHEMA_SIGNED) != 0))
        return -1;
    unsigned __int128 raw = whole.is_negative ? ~whole.magnitude + 1 : whole.magnitude;
    if (bits)
        put_bits(at, bit, bits, (uint64_t)raw);
    else
        memcpy(at, &raw, t->bytes);
    return 0;
}

static int write_float(const SchemaType *t, const Number *n, uint8_t *at)
{
    long double real = n->is_float ? n->real : (long double)n->magnitude;
    if (!n->is_float && n->is_negative)
        real = -real;
    int was_finite = isfinite(real);
    if (t->bytes == 4) {
        float f = (float)real;
        if (was_finite && !isfinite(f))
            return -1;
        memcpy(at, &f, sizeof f);
    } else if (t->bytes == 8) {
        double d = (double)real;
        if (was_finite && !isfinite(d))
            return -1;
        memcpy(at, &d, sizeof d);
    } else {
        memcpy(at, &real, 10); /* the padding stays as it is: zero */
    }
    return 0;
}

static int convert_enum(const Migration *m, const Schema *to, const SchemaType *a,
                        const SchemaType *b, Number *n, char *ret_why, size_t room)
{
    int64_t value = (int64_t)n->magnitude;
    if (n->is_negative)
        value = -value;
    const char *name = NULL;
    for (uint32_t i = 0; i < a->fields; i++) {
        const SchemaValue *v = &m->from->values[a->first + i];
        if (v->value != value)
            continue;
        name = schema_text(m->from, v->name);
        for (uint32_t k = 0; k < b->fields; k++) {
            const SchemaValue *u = &to->values[b->first + k];
            if (strcmp(schema_text(to, u->name), name))
                continue;
            *n = of_signed(u->value, b->flags & SCHEMA_SIGNED);
            return 0;
        }
    }
    if (!value) /* what was never set */
        return 0;
    if (name)
        snprintf(ret_why, room, "%.80s (%lld) is no longer there", name, (long long)value);
    else
        snprintf(ret_why, room, "%lld is none of its enumerators, and these have changed",
                 (long long)value);
    return KEEL_ETYPE;
}

int value_convert(const Migration *m, const Pair *pair, const Op *op, const uint8_t *from,
                  uint8_t *to, char *ret_why, size_t room)
{
    const Schema *to_schema = pair_schema(m, pair);
    const SchemaType *a = &m->from->types[op->from_type], *b = &to_schema->types[op->to_type];
    int numbers = a->kind <= SCHEMA_ENUM && b->kind <= SCHEMA_ENUM && a->kind && b->kind;
    if (!numbers) {
        snprintf(ret_why, room, "there is no rule from %.60s to %.60s",
                 schema_text(m->from, a->name), schema_text(to_schema, b->name));
        return KEEL_ETYPE;
    }
    Number n = read_number(a, from, op->from_bit, op->from_bits);
    if (a->kind == SCHEMA_ENUM && b->kind == SCHEMA_ENUM && op->kind != OP_NUMBER &&
        !hash_equal(a->hash, b->hash)) {
        int rc = convert_enum(m, to_schema, a, b, &n, ret_why, room);
        if (rc)
            return rc;
    }
    int rc = b->kind == SCHEMA_FLOAT ? write_float(b, &n, to)
                                     : write_integer(b, &n, to, op->to_bit, op->to_bits);
    if (!rc)
        return KEEL_OK;
    char said[64];
    say_number(&n, said, sizeof said);
    if (op->to_bits)
        snprintf(ret_why, room, "%s doesn't fit %u bits", said, op->to_bits);
    else
        snprintf(ret_why, room, "%s doesn't fit %.60s", said, schema_text(to_schema, b->name));
    return KEEL_ETYPE;
}
