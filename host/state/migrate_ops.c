/* From a pair of types to the operations that rewrite an object: one a field, neighbours that are
 * only copied merged into runs. Works on schemas only. One thread at a time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/migrate_plan.h"

enum { OPS_MOST = 1 << 22, PATH_MOST = 300, DEPTH_MOST = SCHEMA_DEPTH + 4 };

typedef struct Making {
    Migration *m;
    const Schema *from, *to;
    int kept;
    uint32_t body; /* where the operations of the innermost array begin: runs don't reach over it */
    int pointers;
    int lenient; /* inside of records that a KEEL_CONVERT finishes */
} Making;

typedef struct Where {
    uint64_t from, to;
    char path[PATH_MOST];
    int depth;
    Tagged tagged;
} Where;

static void make(Making *k, uint32_t from, uint32_t to, const Where *at);

static uint32_t count_ops(const Migration *m)
{
    return (uint32_t)(m->ops.bytes / sizeof(Op));
}

static void emit(Making *k, const Op *op)
{
    Migration *m = k->m;
    if (count_ops(m) >= OPS_MOST || buf_add(&m->ops, op, sizeof *op))
        m->failed = KEEL_ENOMEM;
}

static void emit_copy(Making *k, uint64_t from, uint64_t to, uint64_t bytes)
{
    Migration *m = k->m;
    if (!bytes)
        return;
    if (count_ops(m) > k->body) {
        Op *last = (Op *)(void *)m->ops.data + count_ops(m) - 1;
        if (last->kind == OP_COPY && last->from + last->bytes == from &&
            last->to + last->bytes == to) {
            last->bytes += bytes;
            return;
        }
    }
    emit(k, &(Op){.kind = OP_COPY, .from = from, .to = to, .bytes = bytes});
}

static Op op_here(Making *k, OpKind kind, const Where *at, uint32_t from, uint32_t to)
{
    return (Op){.kind = (uint8_t)kind,
                .from = at->from,
                .to = at->to,
                .bytes = k->from->types[from].bytes,
                .from_type = from,
                .to_type = to,
                .lenient = k->lenient != 0,
                .path = plan_add_text(k->m, "%s", at->path)};
}

static void emit_here(Making *k, OpKind kind, const Where *at, uint32_t from, uint32_t to)
{
    Op op = op_here(k, kind, at, from, to);
    if (op.bytes)
        emit(k, &op);
}

static Where inside(const Where *at, uint64_t from, uint64_t to, const char *name)
{
    Where w = {.from = at->from + from, .to = at->to + to, .depth = at->depth + 1};
    snprintf(w.path, sizeof w.path, "%.190s%s%.100s", at->path, *name == '[' ? "" : ".", name);
    return w;
}

/* ---- leaves ---- */

static int is_number(const SchemaType *t)
{
    return t->kind == SCHEMA_BOOL || t->kind == SCHEMA_INT || t->kind == SCHEMA_FLOAT ||
           t->kind == SCHEMA_ENUM;
}

/* All enumerators of the old type mean the same in the new one. */
static int enum_agrees(const Making *k, const SchemaType *a, const SchemaType *b)
{
    if (a->bytes != b->bytes || (a->flags ^ b->flags) & SCHEMA_SIGNED)
        return 0;
    uint32_t at = 0; /* where the last one was found: edits rarely change their order */
    for (uint32_t i = 0; i < a->fields; i++) {
        const SchemaValue *v = &k->from->values[a->first + i];
        int found = 0;
        for (uint32_t n = 0; n < b->fields && !found; n++, k->m->work++) {
            const SchemaValue *u = &k->to->values[b->first + at];
            found = v->value == u->value &&
                    !strcmp(schema_text(k->from, v->name), schema_text(k->to, u->name));
            at = at + 1 < b->fields ? at + 1 : 0;
        }
        if (!found)
            return 0;
    }
    return 1;
}

static void make_number(Making *k, uint32_t from, uint32_t to, const Where *at)
{
    const SchemaType *a = &k->from->types[from], *b = &k->to->types[to];
    if (a->kind == SCHEMA_ENUM && b->kind == SCHEMA_ENUM) {
        if (enum_agrees(k, a, b))
            emit_copy(k, at->from, at->to, a->bytes);
        else
            emit_here(k, OP_ENUM, at, from, to);
        return;
    }
    int same = a->bytes == b->bytes && !((a->flags ^ b->flags) & SCHEMA_SIGNED) &&
               (a->kind == b->kind || (a->kind == SCHEMA_ENUM && b->kind == SCHEMA_INT));
    int is_signed = (a->flags & SCHEMA_SIGNED) != 0;
    if (same) {
        emit_copy(k, at->from, at->to, a->bytes);
    } else if (a->kind == SCHEMA_INT && b->kind == SCHEMA_INT && a->bytes < b->bytes &&
               b->bytes <= 8 && (!is_signed || b->flags & SCHEMA_SIGNED)) {
        Op op = op_here(k, OP_NUMBER, at, from, to);
        op.wider = (uint8_t)b->bytes;
        op.is_signed = (uint8_t)is_signed;
        emit(k, &op);
    } else {
        emit_here(k, OP_NUMBER, at, from, to);
    }
}

static int is_named_record(const SchemaType *t)
{
    return t->kind == SCHEMA_RECORD || t->kind == SCHEMA_UNION;
}

/* May a pointer to the one become a pointer to the other? */
static int targets_agree(const Making *k, uint32_t from, uint32_t to)
{
    const SchemaType *a = &k->from->types[from], *b = &k->to->types[to];
    if (!from || !to)
        return 1;
    if ((a->kind == SCHEMA_FUNCTION) != (b->kind == SCHEMA_FUNCTION))
        return 0;
    if (is_named_record(a) && is_named_record(b))
        return a->flags & SCHEMA_NAMELESS || b->flags & SCHEMA_NAMELESS ||
               !strcmp(schema_text(k->from, a->name), schema_text(k->to, b->name));
    return is_named_record(a) == is_named_record(b);
}

static void make_pointer(Making *k, uint32_t from, uint32_t to, const Where *at)
{
    uint32_t a = k->from->types[from].target, b = k->to->types[to].target;
    k->pointers = 1;
    if (!targets_agree(k, a, b)) {
        emit_here(k, OP_EMPTY, at, from, to);
        return;
    }
    Op op = op_here(k, OP_POINTER, at, from, to);
    op.from_type = a;
    op.to_type = b;
    emit(k, &op);
}

/* Of a type of the old schema; asked once each. */
static int holds_pointers(Migration *m, uint32_t type)
{
    const SchemaType *t = &m->from->types[type];
    int found = t->kind == SCHEMA_POINTER;
    if (m->holds[type])
        return m->holds[type] == 2;
    m->work++;
    if (t->kind == SCHEMA_ARRAY)
        found = holds_pointers(m, t->target);
    for (uint32_t i = 0; i < t->fields && t->kind != SCHEMA_ENUM && !found; i++, m->work++)
        found = holds_pointers(m, m->from->fields[t->first + i].type);
    m->holds[type] = (uint8_t)(found ? 2 : 1);
    return found;
}

static void make_opaque(Making *k, uint32_t from, uint32_t to, const Where *at)
{
    const SchemaType *a = &k->from->types[from], *b = &k->to->types[to];
    if (!hash_equal(a->hash, b->hash)) {
        emit_here(k, OP_EMPTY, at, from, to);
    } else if (a->kind == SCHEMA_UNION && holds_pointers(k->m, from)) {
        k->pointers = 1;
        emit_here(k, OP_WORDS, at, from, to);
    } else {
        emit_copy(k, at->from, at->to, a->bytes);
    }
}

/* ---- unions with a tag ---- */

/* The old tag: where the old build says, else what became the tag that the new build names. */
static Tagged tag_of(const Making *k, const Pair *pair, const Match *match, uint64_t base)
{
    Tagged t = {0};
    if (match->from_union) {
        t.from = &k->from->unions[match->from_union - 1];
        t.tag = base + match->from_tag;
        t.type = t.from->tag_type;
        t.bit = t.from->tag_bit;
        t.bits = t.from->tag_bits;
    }
    if (!match->to_union)
        return t;
    const SchemaUnion *to = &k->to->unions[match->to_union - 1];
    for (uint32_t i = 0; i < pair->matches && !match->from_union; i++) {
        const Match *other = match_at(k->m, pair->first_match + i);
        uint16_t kind = k->from->types[other->from_type].kind;
        if (other->to != match->to_tag || other->to_bit != to->tag_bit ||
            other->to_bits != to->tag_bits ||
            (kind != SCHEMA_INT && kind != SCHEMA_ENUM && kind != SCHEMA_BOOL))
            continue;
        t.tag = base + other->from;
        t.type = other->from_type;
        t.bit = other->from_bit;
        t.bits = other->from_bits;
    }
    t.to = t.type ? to : NULL;
    return t;
}

/* One whose members all begin with the tag. */
static Tagged tag_inside(const Making *k, uint32_t from, uint32_t to, const Where *at)
{
    Tagged t = {.from = schema_union(k->from, from, 0), .to = schema_union(k->to, to, 0)};
    if (t.from) {
        t.tag = at->from + t.from->tag_offset;
        t.type = t.from->tag_type;
        t.bit = t.from->tag_bit;
        t.bits = t.from->tag_bits;
    } else if (t.to && plan_find_tag(k->from, from, schema_text(k->to, t.to->tag), &t)) {
        t.tag += at->from;
    }
    return t;
}

static void make_case(Making *k, const TagCase *one, uint32_t from, uint32_t to, const Where *at)
{
    const SchemaType *a = &k->from->types[from], *b = &k->to->types[to];
    const SchemaField *f = &k->from->fields[a->first + one->from_field];
    uint32_t head = count_ops(k->m), outer = k->body;
    emit(k, &(Op){.kind = OP_CASE, .bytes = (uint64_t)one->value});
    k->body = head + 1;
    if (one->to_field == UINT32_MAX) {
        Where member = inside(at, f->offset, 0, schema_text(k->from, f->name));
        emit_here(k, OP_EMPTY, &member, f->type, to);
    } else {
        const SchemaField *g = &k->to->fields[b->first + one->to_field];
        Where member = inside(at, f->offset, g->offset, schema_text(k->to, g->name));
        if (f->bits || g->bits) {
            Op op = op_here(k, OP_BITS, &member, f->type, g->type);
            op.from_bit = f->bit;
            op.from_bits = f->bits;
            op.to_bit = g->bit;
            op.to_bits = g->bits;
            emit(k, &op);
        } else {
            make(k, f->type, g->type, &member);
        }
    }
    k->body = outer;
    if (!k->m->failed)
        ((Op *)(void *)k->m->ops.data + head)->body = count_ops(k->m) - head - 1;
}

static void make_tagged(Making *k, const Tagged *t, uint32_t from, uint32_t to, const Where *at)
{
    const SchemaType *a = &k->from->types[from], *b = &k->to->types[to];
    int same = hash_equal(a->hash, b->hash);
    TagCase *cases = NULL;
    uint32_t count = 0;
    if (same)
        emit_copy(k, at->from, at->to, a->bytes); /* also what no member reaches */
    if (same && !holds_pointers(k->m, from))
        return;
    if (plan_cases(k->m, k->to, t, from, to, &cases, &count)) {
        k->m->failed = KEEL_ENOMEM;
        return;
    }
    k->pointers |= holds_pointers(k->m, from);
    uint32_t head = count_ops(k->m);
    Op op = op_here(k, OP_UNION, at, from, to);
    op.from_type = t->type;
    op.from_step = t->tag;
    op.to_step = (uint64_t)same;
    op.from_bit = t->bit;
    op.from_bits = t->bits;
    emit(k, &op);
    for (uint32_t i = 0; i < count && !k->m->failed; i++)
        make_case(k, &cases[i], from, to, at);
    free(cases);
    if (!k->m->failed)
        ((Op *)(void *)k->m->ops.data + head)->body = count_ops(k->m) - head - 1;
    k->body = count_ops(k->m); /* what follows belongs to no case */
}

/* ---- arrays ---- */

static void make_array(Making *k, uint32_t from, uint32_t to, const Where *at)
{
    const SchemaType *a = &k->from->types[from], *b = &k->to->types[to];
    const SchemaType *ea = &k->from->types[a->target], *eb = &k->to->types[b->target];
    uint64_t count = a->count < b->count ? a->count : b->count;
    if (a->count > b->count) {
        int is_text = ea->flags & eb->flags & SCHEMA_TEXT && ea->bytes == 1 && eb->bytes == 1;
        Op op = op_here(k, is_text ? OP_TEXT : OP_EMPTY, at, from, to);
        if (is_text) {
            op.from_step = b->count; /* characters that there is room for */
        } else {
            op.from += b->count * ea->bytes;
            op.bytes = (a->count - b->count) * ea->bytes;
        }
        if (op.bytes)
            emit(k, &op);
    }
    if (!count || !ea->bytes || !eb->bytes)
        return;
    uint32_t loop = count_ops(k->m), outer = k->body;
    Op op = op_here(k, OP_ARRAY, at, from, to);
    op.bytes = count;
    op.from_step = ea->bytes;
    op.to_step = eb->bytes;
    emit(k, &op);
    k->body = loop + 1;
    Where element = inside(at, 0, 0, "[]");
    element.from = element.to = 0;
    make(k, a->target, b->target, &element);
    k->body = outer;
    if (k->m->failed)
        return;
    uint32_t body = count_ops(k->m) - loop - 1;
    Op *made = (Op *)(void *)k->m->ops.data + loop;
    const Op *first = made + 1;
    int whole = body == 1 && first->kind == OP_COPY && !first->from && !first->to &&
                first->bytes == ea->bytes && ea->bytes == eb->bytes;
    if (whole || !body) { /* elements that are only copied: one run */
        k->m->ops.bytes = loop * sizeof(Op);
        if (whole)
            emit_copy(k, at->from, at->to, count * ea->bytes);
        return;
    }
    made->body = body;
}

/* ---- records ---- */

static void make_record(Making *k, uint32_t from, uint32_t to, const Where *at)
{
    uint32_t index = plan_pair(k->m, from, to, k->kept);
    if (!index)
        return;
    const Pair pair = *pair_at(k->m, index);
    int hook = plan_hook(k->m, from, to, k->kept);
    k->lenient += hook != HOOK_NONE;
    for (uint32_t i = 0; i < pair.matches && !k->m->failed; i++) {
        const Match match = *match_at(k->m, pair.first_match + i);
        Where field = inside(at, match.from, match.to, plan_text(k->m, match.name));
        if (match.from_bits || match.to_bits) {
            Op op = op_here(k, OP_BITS, &field, match.from_type, match.to_type);
            op.from_bit = match.from_bit;
            op.from_bits = match.from_bits;
            op.to_bit = match.to_bit;
            op.to_bits = match.to_bits;
            emit(k, &op);
        } else if (match.is_table) {
            k->pointers = 1;
            emit_here(k, OP_TABLE, &field, match.from_type, match.to_type);
        } else {
            if (match.from_union || match.to_union)
                field.tagged = tag_of(k, &pair, &match, at->from);
            make(k, match.from_type, match.to_type, &field);
        }
    }
    k->lenient -= hook != HOOK_NONE;
    if (hook != HOOK_NONE && !k->m->failed) {
        Op op = op_here(k, OP_HOOK, at, from, to);
        op.hook = (uint8_t)hook;
        emit(k, &op);
    }
}

static void make_union(Making *k, uint32_t from, uint32_t to, const Where *at)
{
    Tagged t = at->tagged.type ? at->tagged : tag_inside(k, from, to, at);
    if (t.type)
        make_tagged(k, &t, from, to, at);
    else
        make_opaque(k, from, to, at);
}

static void make(Making *k, uint32_t from, uint32_t to, const Where *at)
{
    const SchemaType *a = &k->from->types[from], *b = &k->to->types[to];
    k->m->work++;
    if (k->m->failed || at->depth > DEPTH_MOST)
        return;
    int same = hash_equal(a->hash, b->hash) && (k->kept || !plan_hooked(k->m, from));
    if (same && a->kind != SCHEMA_UNION && !holds_pointers(k->m, from))
        emit_copy(k, at->from, at->to, a->bytes);
    else if (is_number(a) && is_number(b))
        make_number(k, from, to, at);
    else if (a->kind == SCHEMA_POINTER && b->kind == SCHEMA_POINTER)
        make_pointer(k, from, to, at);
    else if (a->kind == SCHEMA_ARRAY && b->kind == SCHEMA_ARRAY)
        make_array(k, from, to, at);
    else if (a->kind == SCHEMA_RECORD && b->kind == SCHEMA_RECORD)
        make_record(k, from, to, at);
    else if (a->kind == SCHEMA_UNION && b->kind == SCHEMA_UNION)
        make_union(k, from, to, at);
    else
        make_opaque(k, from, to, at);
}

void plan_ops(Migration *m, uint32_t index)
{
    const Pair pair = *pair_at(m, index);
    Making k = {.m = m, .from = m->from, .to = pair.kept ? m->from : m->to, .kept = pair.kept};
    /* Pairs that nested records need are made on the way: this one's list must be in one piece. */
    uint32_t first = k.body = count_ops(m);
    Where at = {0};
    snprintf(at.path, sizeof at.path, "%.200s", plan_text(m, pair.name));
    make(&k, pair.from, pair.to, &at);
    Pair *made = pair_at(m, index);
    made->first_op = first;
    made->ops = count_ops(m) - first;
    made->pointers = (uint8_t)k.pointers;
    made->planned = 1;
}
