/* Rewrites objects: makes room for those that outgrow theirs, then converts each by its pair's
 * operations, in place where it fits. [frame] */
#include <stdlib.h>
#include <string.h>

#include "state/migrate_run.h"

/* ---- operations ---- */

int apply_is_zero(const uint8_t *at, uint64_t bytes)
{
    for (; bytes >= 8; at += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        if (word)
            return 0;
    }
    for (uint64_t i = 0; i < bytes; i++)
        if (at[i])
            return 0;
    return 1;
}

static int refuse_rest(Walk *w, const Op *op, const Pair *pair)
{
    const SchemaType *a = &w->m->from->types[op->from_type];
    const SchemaType *b = &pair_schema(w->m, pair)->types[op->to_type];
    const char *from = schema_text(w->m->from, a->name);
    const char *to = schema_text(pair_schema(w->m, pair), b->name);
    if (a->kind == SCHEMA_UNION && b->kind == SCHEMA_UNION)
        return walk_refuse(w,
                           "%s: the union changes, which of its members counts isn't known, and it "
                           "isn't zero: say so by KEEL_UNION",
                           plan_text(w->m, op->path));
    if (b->kind == SCHEMA_UNION && a->kind != SCHEMA_UNION)
        return walk_refuse(w, "%s: the union has it no longer, and it isn't zero",
                           plan_text(w->m, op->path));
    if (a->kind == SCHEMA_ARRAY && b->kind == SCHEMA_ARRAY)
        return walk_refuse(w, "%s: %s becomes %s, and what has no place there isn't empty",
                           plan_text(w->m, op->path), from, to);
    return walk_refuse(w, "%s: there is no rule from %s to %s, and it isn't zero",
                       plan_text(w->m, op->path), from, to);
}

int apply_fits_text(const Op *op, const uint8_t *from)
{
    return memchr(from, 0, op->from_step) ||
           apply_is_zero(from + op->from_step, op->bytes - op->from_step);
}

/* The tag's value means no member: as without a tag. */
static int apply_untold(Walk *w, const Op *op, const uint8_t *from, const uint8_t *f)
{
    if (op->to_step)
        return point_words(w, op, f);
    if (op->lenient || apply_is_zero(f, op->bytes))
        return 0;
    long long tag = (long long)schema_tag(&w->m->from->types[op->from_type], from + op->from_step,
                                          op->from_bit, op->from_bits);
    return walk_refuse(w,
                       "%s: the union changes, its tag is %lld, for which KEEL_UNION names no "
                       "member, and it isn't zero",
                       plan_text(w->m, op->path), tag);
}

int apply_ops(Walk *w, const Pair *pair, uint32_t first, uint32_t count, const uint8_t *from,
              uint8_t *to, int mode)
{
    char why[240];
    uint64_t value, now;
    for (uint32_t i = 0; i < count; i++) {
        const Op *op = op_at(w->m, first + i);
        const uint8_t *f = from + op->from;
        uint8_t *t = to + op->to;
        int rc = 0;
        switch (op->kind) {
        case OP_COPY:
            if (mode == APPLY_WRITE && f != t)
                memcpy(t, f, op->bytes);
            break;
        case OP_NUMBER:
            if (op->wider) { /* most numbers that change */
                uint64_t wide = 0;
                unsigned above = 64 - 8 * (unsigned)op->bytes;
                memcpy(&wide, f, op->bytes);
                if (op->is_signed)
                    wide = (uint64_t)((int64_t)(wide << above) >> above);
                if (mode == APPLY_WRITE)
                    memcpy(t, &wide, op->wider);
                break;
            }
            /* fall through */
        case OP_BITS:
        case OP_ENUM: {
            uint8_t trash[32] = {0};
            if (value_convert(w->m, pair, op, f, mode == APPLY_WRITE ? t : trash, why,
                              sizeof why) &&
                !op->lenient)
                rc = walk_refuse(w, "%s: %s", plan_text(w->m, op->path), why);
            break;
        }
        case OP_POINTER:
        case OP_TABLE:
            memcpy(&value, f, sizeof value);
            now = value;
            if (value)
                rc = op->kind == OP_POINTER ? point_translate(w, op, value, &now)
                                            : point_table(w, op, value, &now);
            if (!rc && mode == APPLY_WRITE && (f != t || now != value))
                memcpy(t, &now, sizeof now);
            break;
        case OP_WORDS:
            rc = point_words(w, op, f);
            if (!rc && mode == APPLY_WRITE && f != t)
                memcpy(t, f, op->bytes);
            break;
        case OP_EMPTY:
            if (!op->lenient && !apply_is_zero(f, op->bytes))
                rc = refuse_rest(w, op, pair);
            break;
        case OP_TEXT:
            if (!op->lenient && !apply_fits_text(op, f))
                rc = refuse_rest(w, op, pair);
            break;
        case OP_ARRAY: {
            uint64_t elements = op->bytes, from_step = op->from_step, to_step = op->to_step;
            uint32_t body = op->body;
            for (uint64_t n = 0; n < elements && !rc; n++)
                rc = apply_ops(w, pair, first + i + 1, body, f + n * from_step, t + n * to_step,
                               mode);
            i += body;
            break;
        }
        case OP_UNION: {
            uint32_t at = plan_case(w->m, first + i, from);
            rc = at == UINT32_MAX
                     ? apply_untold(w, op, from, f)
                     : apply_ops(w, pair, at + 1, op_at(w->m, at)->body, from, to, mode);
            i += op_at(w->m, first + i)->body;
            break;
        }
        case OP_HOOK:
            rc = mode == APPLY_WRITE ? hooks_object(w, op, f, t) : 0;
            break;
        default:
            break;
        }
        if (rc)
            return rc;
    }
    return 0;
}

/* ---- what has no place any more ---- */

int apply_single_is_set(const Migration *m, const Single *single, const uint8_t *from)
{
    if (single->bits)
        return value_bits(from + single->at, single->bit, single->bits) != 0;
    return !apply_is_zero(from + single->at, m->from->types[single->type].bytes);
}

static int keep_dropped(Walk *w, const Object *object, const Pair *pair, uint64_t index,
                        const uint8_t *from)
{
    for (uint32_t i = 0; i < pair->dropped; i++) {
        const Single *single = single_at(w->m, pair->first_dropped + i);
        if (!apply_single_is_set(w->m, single, from))
            continue;
        w->not_empty[pair->first_dropped + i]++;
        if (!w->run->ret_attic || single->bits)
            continue;
        MigrateAttic *attic = *w->run->ret_attic;
        uint64_t bytes = w->m->from->types[single->type].bytes;
        AtticEntry entry = {.object = (uintptr_t)object->to,
                            .index = index,
                            .at = attic->bytes.bytes,
                            .type = single->type,
                            .bytes = (uint32_t)bytes,
                            .offset = (uint32_t)single->at};
        if (buf_add(&attic->bytes, from + single->at, bytes) ||
            buf_add(&attic->entries, &entry, sizeof entry))
            return KEEL_ENOMEM;
    }
    return 0;
}

/* ---- one object ---- */

static void work_on(Walk *w, const Object *object, const uint8_t *from, const uint8_t *real,
                    const uint8_t *to)
{
    w->here.from = from;
    w->here.from_real = (uintptr_t)real;
    w->here.to = to;
    w->here.to_real = (uintptr_t)to;
    w->here.object = (uintptr_t)object->to;
    w->here.is_marked = (object->flags & OBJECT_MARKED) != 0;
}

static int convert_elements(Walk *w, const Object *object, const Pair *pair, uint64_t count)
{
    uint64_t from_step = pair->from_bytes, to_step = pair->to_bytes;
    int moved = object->to != object->at, rc = 0;
    if (!from_step) { /* nothing was there, however often */
        if (!moved)
            memset(object->to, 0, count * to_step);
        return 0;
    }
    uint8_t small[512], *scratch = small;
    if (!moved && from_step > sizeof small) {
        scratch = malloc(from_step);
        if (!scratch)
            return walk_refuse(w, "no memory to convert a %s", plan_text(w->m, pair->name));
    }
    /* In place: from the side on which nothing is overwritten that is still needed. */
    for (uint64_t n = 0; n < count && !rc; n++) {
        uint64_t i = !moved && to_step > from_step ? count - 1 - n : n;
        const uint8_t *from = object->at + i * from_step;
        uint8_t *to = object->to + i * to_step;
        if (!moved) {
            memcpy(scratch, from, from_step);
            memset(to, 0, to_step);
            from = scratch;
        }
        work_on(w, object, from, object->at + i * from_step, to);
        rc = apply_ops(w, pair, pair->first_op, pair->ops, from, to, APPLY_WRITE);
        if (!rc && pair->dropped)
            rc = keep_dropped(w, object, pair, i, from);
    }
    if (!rc && !moved && to_step < from_step)
        memset(object->at + count * to_step, 0, count * (from_step - to_step));
    if (scratch != small)
        free(scratch);
    return rc;
}

static uint64_t tail_count(const Pair *pair, const Schema *s, uint64_t bytes)
{
    uint64_t step = s->types[pair->from_tail].bytes;
    return bytes > pair->from_tail_at ? (bytes - pair->from_tail_at) / step : 0;
}

/* One record with more elements behind it. */
static int convert_with_tail(Walk *w, const Object *object, const Pair *pair)
{
    uint64_t count = tail_count(pair, w->m->from, object->bytes);
    const Pair element = *pair_at(w->m, plan_pair_of(w->m, pair->from_tail));
    uint8_t *copy = malloc(object->bytes + 16);
    if (!copy)
        return walk_refuse(w, "no memory to convert a %s", plan_text(w->m, pair->name));
    memcpy(copy, object->at, object->bytes);
    memset(copy + object->bytes, 0, 16);
    if (object->to == object->at)
        memset(object->at, 0, object->bytes);
    work_on(w, object, copy, object->at, object->to);
    int rc = apply_ops(w, pair, pair->first_op, pair->ops, copy, object->to, APPLY_WRITE);
    for (uint64_t i = 0; i < count && !rc && pair->to_tail; i++)
        rc = apply_ops(w, &element, element.first_op, element.ops,
                       copy + pair->from_tail_at + i * element.from_bytes,
                       object->to + pair->to_tail_at + i * element.to_bytes, APPLY_WRITE);
    if (!rc && pair->dropped)
        rc = keep_dropped(w, object, pair, 0, copy);
    free(copy);
    return rc;
}

static int has_tail(const Pair *pair, const Object *object)
{
    return pair->from_tail && object->type == TYPE_OPAQUE;
}

/* What pointers call a block may be shorter than it; a typed one's count is its own, also of a
 * struct without fields. */
static uint64_t elements(const Object *object, const Pair *pair)
{
    if (object->type != TYPE_OPAQUE)
        return object->count;
    return pair->from_bytes ? object->bytes / pair->from_bytes : 0;
}

/* Unchanged ones: only the pointers that lead elsewhere now. */
static int follow_pointers(Walk *w, const Object *object, const Pair *pair, int mode)
{
    int rc = 0;
    if (!pair->from_bytes)
        return 0;
    for (uint64_t i = 0, at = 0; !rc && i < elements(object, pair); i++, at += pair->from_bytes) {
        rc = apply_ops(w, pair, pair->first_op, pair->ops, object->at + at, object->at + at, mode);
        if (has_tail(pair, object))
            break;
    }
    if (!rc && has_tail(pair, object)) {
        const Pair element = *pair_at(w->m, plan_pair_of(w->m, pair->from_tail));
        for (uint64_t at = pair->from_tail_at; !rc && at + element.from_bytes <= object->bytes;
             at += element.from_bytes)
            rc = apply_ops(w, &element, element.first_op, element.ops, object->at + at,
                           object->at + at, mode);
    }
    return rc;
}

/* ---- all objects ---- */

static int new_size(Walk *w, const Object *object, const Pair *pair, uint64_t *ret)
{
    if (has_tail(pair, object)) {
        const Schema *to = pair_schema(w->m, pair);
        uint64_t count = tail_count(pair, w->m->from, object->bytes);
        if (count && !pair->to_tail)
            return walk_refuse(w, "%s: its open array is no longer one",
                               plan_text(w->m, pair->name));
        uint64_t bytes = pair->to_bytes;
        if (pair->to_tail && pair->to_tail_at + count * to->types[pair->to_tail].bytes > bytes)
            bytes = pair->to_tail_at + count * to->types[pair->to_tail].bytes;
        *ret = bytes;
        return 0;
    }
    if (object->type != TYPE_OPAQUE)
        return __builtin_mul_overflow(object->count, pair->to_bytes, ret)
                   ? walk_refuse(w, "no room in the state for so many %s",
                                 plan_text(w->m, pair->name))
                   : 0;
    if (object->bytes == pair->from_bytes && pair->from_bytes && pair->to_bytes) {
        *ret = pair->to_bytes;
        return 0;
    }
    if (!pair->from_bytes || !pair->to_bytes || object->bytes % pair->from_bytes)
        return walk_refuse(w,
                           "a block of %llu bytes is called %s by a pointer, and isn't a whole "
                           "number of them",
                           (unsigned long long)object->bytes, plan_text(w->m, pair->name));
    *ret = elements(object, pair) * pair->to_bytes;
    return 0;
}

int apply_new_type(Walk *w, const Object *object, const Pair *pair, uint32_t *ret)
{
    *ret = TYPE_OPAQUE;
    if (object->type == TYPE_OPAQUE)
        return 0;
    if (w->retyped.type == object->type && w->retyped.pair == object->pair) {
        *ret = w->retyped.now;
        return 0;
    }
    const TypeRecord *record = type_record(w->state, object->type);
    if (!record)
        return walk_refuse(w, "the types of the state are damaged");
    const char *spelled, *file;
    if (!type_texts(w->state, record, &spelled, &file))
        return walk_refuse(w, "the types of the state are damaged");
    const Schema *to = pair_schema(w->m, pair);
    uint32_t align = record->align == pair->from_align ? pair->to_align : record->align;
    const SchemaType *t = &w->m->from->types[pair->from];
    if (t->kind != SCHEMA_RECORD && t->kind != SCHEMA_UNION)
        spelled = schema_text(to, to->types[pair->to].name);
    if (type_find(w->state, spelled, file, pair->to_bytes, align, ret))
        return walk_refuse(w, "no room in the state for its types");
    w->retyped.type = object->type;
    w->retyped.pair = object->pair;
    w->retyped.now = *ret;
    return 0;
}

/* Gives each object that doesn't fit its place another. */
static int find_places(Walk *w)
{
    for (uint32_t i = 0; i < w->count; i++) {
        Object *object = &w->objects[i];
        uint64_t bytes, room = 0;
        uint32_t type;
        if (!object->at || !object->pair || pair_at(w->m, object->pair)->same ||
            object->flags & OBJECT_AHEAD)
            continue;
        const Pair *pair = pair_at(w->m, object->pair);
        int rc = new_size(w, object, pair, &bytes);
        if (rc)
            return rc;
        uint64_t align = pair->to_align;
        if (index_room(w, object, &room) && bytes <= room && !((uintptr_t)object->at & (align - 1)))
            continue;
        rc = apply_new_type(w, object, pair, &type);
        if (rc)
            return rc;
        uint64_t count = object->type == TYPE_OPAQUE ? bytes : object->count;
        object->to = heap_take(w->state, bytes, align, type, count, 1);
        if (!object->to)
            return walk_refuse(w, "no room in the state for a %s that grows to %llu bytes",
                               plan_text(w->m, pair->name), (unsigned long long)bytes);
        object->flags |= OBJECT_MOVED;
        if (index_moved(w, object))
            return walk_refuse(w, "no memory to move a %s", plan_text(w->m, pair->name));
        w->result->moved++;
    }
    return 0;
}

/* Its record in the allocator says what it is now. */
static int settle(Walk *w, const Object *object, const Pair *pair)
{
    uint64_t bytes, room;
    uint32_t type;
    ObjectHead *head = index_room(w, object, &room);
    int rc = head ? new_size(w, object, pair, &bytes)
                  : walk_refuse(w, "the records of the state are damaged");
    rc = rc ? rc : apply_new_type(w, object, pair, &type);
    if (rc)
        return rc;
    head->type = type;
    if (type == TYPE_OPAQUE)
        head->count = bytes;
    arena_head(w->state)->live_bytes += bytes - object->bytes;
    return 0;
}

/* Where those were that moved, which pointers were followed from until now. */
static void leave_places(Walk *w)
{
    ArenaHead *arena = arena_head(w->state);
    for (uint32_t i = 0; i < w->count && w->result->moved; i++) {
        const Object *object = &w->objects[i];
        if (!object->at || object->to == object->at)
            continue;
        int is_root = arena->root == (uintptr_t)object->at;
        state_free(w->state, object->at);
        if (is_root)
            arena->root = (uintptr_t)object->to;
    }
}

static int convert(Walk *w, const Object *object, const Pair *pair)
{
    if (object->flags & OBJECT_AHEAD)
        return precopy_finish(w, object, pair);
    if (has_tail(pair, object))
        return convert_with_tail(w, object, pair);
    return convert_elements(w, object, pair, elements(object, pair));
}

static int check_object(Walk *w, const Object *object, const Pair *pair)
{
    uint8_t none[1];
    int rc = 0;
    if (pair->same || has_tail(pair, object))
        return follow_pointers(w, object, pair, APPLY_CHECK);
    if (!pair->from_bytes)
        return 0;
    for (uint64_t i = 0, at = 0; !rc && i < elements(object, pair); i++, at += pair->from_bytes)
        rc = apply_ops(w, pair, pair->first_op, pair->ops, object->at + at, none, APPLY_CHECK);
    return rc;
}

/* Words of blocks that nobody calls by a type. */
static void look_at_unknown(Walk *w)
{
    for (uint32_t i = 0; i < w->count && w->result->moved; i++) {
        const Object *object = &w->objects[i];
        if (!object->at || object->pair || object->type != TYPE_OPAQUE)
            continue;
        for (uint64_t at = 0; at + 8 <= object->bytes; at += 8) {
            uint64_t value;
            memcpy(&value, object->at + at, sizeof value);
            if (value - (uintptr_t)w->state->base >= w->state->max_bytes)
                continue;
            const Object *target = index_find(w, value);
            w->odd_words += target && target->to != target->at;
        }
    }
}

int apply_objects(Walk *w)
{
    int rc = 0;
    for (uint32_t i = 0; i < w->count && !rc && w->run->check_first; i++) {
        const Object *object = &w->objects[i];
        const Pair pair = *pair_at(w->m, object->pair);
        if (object->at && object->pair && pair.walks)
            rc = check_object(w, object, &pair);
    }
    rc = rc ? rc : precopy_claim(w);
    rc = rc ? rc : find_places(w);
    if (!rc)
        look_at_unknown(w);
    for (uint32_t i = 0; i < w->count && !rc; i++) {
        const Object *object = &w->objects[i];
        if (!object->at || !object->pair || !pair_at(w->m, object->pair)->walks)
            continue;
        const Pair pair = *pair_at(w->m, object->pair);
        if (pair.same) {
            rc = pair.pointers ? follow_pointers(w, object, &pair, APPLY_WRITE) : 0;
            continue;
        }
        rc = convert(w, object, &pair);
        if (!rc && object->to == object->at)
            rc = settle(w, object, &pair);
        uint64_t count = has_tail(&pair, object) ? 1 : elements(object, &pair);
        w->rewritten[object->pair] += count;
        w->result->objects += count;
    }
    if (!rc)
        leave_places(w);
    return rc;
}
