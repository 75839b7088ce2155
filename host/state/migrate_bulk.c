/* Elements of flat arrays by the block: one operation for many elements, then the next one. The
 * same results as apply_ops, for pairs without pointers. Owns nothing. [any thread] */
#include <string.h>

#include "state/migrate_run.h"

enum { BLOCK_BYTES = 16384 };

typedef struct Span {
    const uint8_t *from;
    uint8_t *to;
    uint64_t from_step, to_step, count;
} Span;

static int can_ops(const Migration *m, const Pair *pair)
{
    for (uint32_t i = 0; i < pair->ops; i++) {
        const Op *op = op_at(m, pair->first_op + i);
        switch (op->kind) {
        case OP_COPY:
        case OP_NUMBER:
        case OP_BITS:
        case OP_ENUM:
        case OP_ARRAY:
            break;
        case OP_EMPTY:
        case OP_TEXT:
            if (op->bytes > BULK_MARGIN)
                return 0;
            break;
        default:
            return 0;
        }
    }
    return 1;
}

int bulk_can(const Migration *m, const Pair *pair)
{
    return !pair->pointers && !pair->from_tail && !pair->to_tail && pair->from_bytes &&
           pair->to_bytes && can_ops(m, pair);
}

#define COPY_EACH(bytes)                    \
    for (uint64_t n = 0; n < s->count; n++) \
    memcpy(s->to + n * s->to_step, s->from + n * s->from_step, bytes)

static void copy(const Span *s, uint64_t bytes)
{
    switch (bytes) {
    case 1:
        COPY_EACH(1);
        break;
    case 2:
        COPY_EACH(2);
        break;
    case 4:
        COPY_EACH(4);
        break;
    case 8:
        COPY_EACH(8);
        break;
    case 12:
        COPY_EACH(12);
        break;
    case 16:
        COPY_EACH(16);
        break;
    case 24:
        COPY_EACH(24);
        break;
    default:
        COPY_EACH(bytes);
    }
}

#define WIDEN_EACH(from_type, to_type)                            \
    for (uint64_t n = 0; n < s->count; n++) {                     \
        from_type value;                                          \
        memcpy(&value, s->from + n * s->from_step, sizeof value); \
        to_type wide = (to_type)value;                            \
        memcpy(s->to + n * s->to_step, &wide, sizeof wide);       \
    }                                                             \
    return 1

/* Numbers that always fit: the widenings that people make. 0: another one. */
static int widen(const Span *s, const SchemaType *a, const SchemaType *b)
{
    int is_signed = (a->flags & SCHEMA_SIGNED) != 0;
    if (a->kind == SCHEMA_FLOAT && b->kind == SCHEMA_FLOAT && a->bytes == 4 && b->bytes == 8) {
        WIDEN_EACH(float, double);
    }
    if (a->kind != SCHEMA_INT || (is_signed && !(b->flags & SCHEMA_SIGNED)))
        return 0;
    if (b->kind == SCHEMA_INT && a->bytes == 4 && b->bytes == 8 && is_signed) {
        WIDEN_EACH(int32_t, int64_t);
    }
    if (b->kind == SCHEMA_INT && a->bytes == 4 && b->bytes == 8) {
        WIDEN_EACH(uint32_t, uint64_t);
    }
    if (b->kind == SCHEMA_INT && a->bytes == 2 && b->bytes == 4 && is_signed) {
        WIDEN_EACH(int16_t, int32_t);
    }
    if (b->kind == SCHEMA_INT && a->bytes == 2 && b->bytes == 4) {
        WIDEN_EACH(uint16_t, uint32_t);
    }
    return 0;
}

static int numbers(const Migration *m, const Pair *pair, const Op *op, const Span *s)
{
    const SchemaType *a = &m->from->types[op->from_type];
    const SchemaType *b = &pair_schema(m, pair)->types[op->to_type];
    char why[240];
    int rc = 0;
    if (op->kind == OP_NUMBER && widen(s, a, b))
        return 0;
    for (uint64_t n = 0; n < s->count && !rc; n++)
        rc = value_convert(m, pair, op, s->from + n * s->from_step, s->to + n * s->to_step, why,
                           sizeof why);
    return rc;
}

static int is_lossless(const Op *op, const Span *s)
{
    for (uint64_t n = 0; n < s->count; n++) {
        const uint8_t *from = s->from + n * s->from_step;
        if (op->kind == OP_EMPTY ? !apply_is_zero(from, op->bytes) : !apply_fits_text(op, from))
            return 0;
    }
    return 1;
}

static int convert(const Migration *m, const Pair *pair, uint32_t first, uint32_t count,
                   const Span *all)
{
    int rc = 0;
    for (uint32_t i = 0; i < count && !rc; i++) {
        const Op *op = op_at(m, first + i);
        Span s = *all;
        s.from += op->from;
        s.to += op->to;
        switch (op->kind) {
        case OP_COPY:
            copy(&s, op->bytes);
            break;
        case OP_NUMBER:
        case OP_BITS:
        case OP_ENUM:
            rc = numbers(m, pair, op, &s);
            break;
        case OP_EMPTY:
        case OP_TEXT:
            rc = is_lossless(op, &s) ? 0 : KEEL_ETYPE;
            break;
        case OP_ARRAY:
            for (uint64_t n = 0; n < s.count && !rc; n++) {
                Span inner = {s.from + n * s.from_step, s.to + n * s.to_step, op->from_step,
                              op->to_step, op->bytes};
                rc = convert(m, pair, first + i + 1, op->body, &inner);
            }
            i += op->body;
            break;
        default:
            rc = KEEL_ETYPE;
        }
    }
    return rc;
}

int bulk_convert(const Migration *m, const Pair *pair, const uint8_t *from, uint8_t *to,
                 uint64_t count)
{
    uint64_t step = pair->from_bytes > pair->to_bytes ? pair->from_bytes : pair->to_bytes;
    uint64_t block = step < BLOCK_BYTES ? BLOCK_BYTES / step : 1;
    int rc = 0;
    for (uint64_t n = 0; n < count && !rc; n += block) {
        Span s = {from + n * pair->from_bytes, to + n * pair->to_bytes, pair->from_bytes,
                  pair->to_bytes, count - n < block ? count - n : block};
        rc = convert(m, pair, pair->first_op, pair->ops, &s);
    }
    return rc;
}

/* ---- parts of one that is large ---- */

typedef struct Part {
    const Migration *m;
    const Pair *pair;
    const uint8_t *from;
    uint8_t *to;
    uint64_t first, last; /* of the object */
} Part;

static int convert_part(const Part *p, uint32_t first, uint32_t count, uint64_t from, uint64_t to);

static int array_part(const Part *p, uint32_t body, const Op *op, uint64_t from, uint64_t to)
{
    uint64_t step = op->from_step, low, high;
    if (!step || p->last <= from)
        return 0;
    low = p->first > from ? (p->first - from) / step : 0;
    high = (p->last - from + step - 1) / step;
    high = high < op->bytes ? high : op->bytes;
    if (low >= high)
        return 0;
    if (step <= BULK_MARGIN) {
        Span s = {p->from + from + low * step, p->to + to + low * op->to_step, step, op->to_step,
                  high - low};
        return convert(p->m, p->pair, body, op->body, &s);
    }
    int rc = 0;
    for (uint64_t n = low; n < high && !rc; n++)
        rc = convert_part(p, body, op->body, from + n * step, to + n * op->to_step);
    return rc;
}

/* `from`, `to`: where in the object these operations begin. */
static int convert_part(const Part *p, uint32_t first, uint32_t count, uint64_t from, uint64_t to)
{
    enum { BITS_REACH = 16 }; /* a bit field's bytes behind its first */
    int rc = 0;
    for (uint32_t i = 0; i < count && !rc; i++) {
        const Op *op = op_at(p->m, first + i);
        uint64_t low = from + op->from, high = low + op->bytes;
        if (op->kind == OP_ARRAY) {
            rc = array_part(p, first + i + 1, op, low, to + op->to);
            i += op->body;
        } else if (op->kind == OP_COPY) {
            uint64_t at = low > p->first ? low : p->first, end = high < p->last ? high : p->last;
            if (at < end)
                memcpy(p->to + to + op->to + (at - low), p->from + at, end - at);
        } else if (low < p->last && p->first < high + BITS_REACH) {
            Span s = {p->from + from, p->to + to, 0, 0, 1};
            rc = convert(p->m, p->pair, first + i, 1, &s);
        }
    }
    return rc;
}

int bulk_part(const Migration *m, const Pair *pair, const uint8_t *from, uint8_t *to,
              uint64_t first, uint64_t last)
{
    const Part part = {m, pair, from, to, first, last};
    return convert_part(&part, pair->first_op, pair->ops, 0, 0);
}
