/* Large flat arrays converted ahead of the boundary: from a pin, into free pages of the arena and
 * to the same pages of the checkpoint, so that neither the boundary nor its commit has more to do
 * than what frames changed last. Owns the pin, and the State's Ahead from precopy_begin to
 * precopy_end. What it does to memory has no meaning until precopy_claim. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "state/migrate_precopy.h"

enum { ARRAYS_MOST = 1024, FOLD_PAGES = 256 };

/* ---- which ---- */

/* The pair of an arena's type, if its arrays can be copied ahead; else 0. */
static uint32_t pair_for(const MigratePrecopy *p, uint32_t type)
{
    const TypeRecord *record = type_record(p->state, type);
    const char *spelled = record ? (const char *)(uintptr_t)record->text : "";
    uint32_t index = record ? plan_learn(p->m, spelled, spelled + record->spelling_bytes + 1) : 0;
    if (!index)
        return 0;
    plan_close(p->m);
    const Pair *pair = pair_at(p->m, index);
    if (pair->same || pair->kept || pair->from_bytes != record->bytes ||
        pair->to_align > PAGE_BYTES || p->m->from->types[pair->from].kind != SCHEMA_RECORD ||
        !bulk_can(p->m, pair))
        return 0;
    for (uint32_t i = 0; i < pair->dropped && pair->from_bytes > LARGE_ELEMENT; i++) {
        const Single *single = single_at(p->m, pair->first_dropped + i);
        if (p->m->from->types[single->type].bytes > BULK_MARGIN)
            return 0; /* looked at in the boundary */
    }
    return index;
}

static uint64_t object_offset(const Pair *pair)
{
    return pair->to_align > HEAD_BYTES ? pair->to_align : HEAD_BYTES;
}

static int add(MigratePrecopy *p, const ObjectHead *head, uint32_t pair_index)
{
    const Pair *pair = pair_at(p->m, pair_index);
    uint64_t bytes, offset = object_offset(pair);
    if (__builtin_mul_overflow(pair->to_bytes, head->count, &bytes) ||
        bytes > p->state->max_bytes || p->count == ARRAYS_MOST)
        return KEEL_ELIMIT;
    if (p->count == p->room) {
        uint32_t room = p->room ? p->room * 2 : 16;
        Array *more = realloc(p->arrays, room * sizeof *more);
        if (!more)
            return KEEL_ENOMEM;
        p->arrays = more;
        p->room = room;
    }
    uint32_t pages = (uint32_t)((offset + bytes + PAGE_BYTES - 1) / PAGE_BYTES);
    uint32_t first = ahead_place(p->state, pages);
    if (!first)
        return ahead_may_come(p->state, pages) ? KEEL_EBUSY : KEEL_ENOSPACE;
    p->arrays[p->count++] = (Array){.from = (uint8_t *)(uintptr_t)(head + 1),
                                    .to = page_address(p->state, first) + offset,
                                    .count = head->count,
                                    .bytes = pair->from_bytes * head->count,
                                    .type = head->type,
                                    .pair = pair_index,
                                    .first = first,
                                    .pages = pages};
    return KEEL_OK;
}

typedef struct Looking {
    MigratePrecopy *p;
    const uint32_t *pairs; /* by type of the arena */
    uint32_t types;
    uint64_t least;
} Looking;

static int look_at(const Looking *l, const ObjectHead *head)
{
    if (head->mark != MARK_LIVE || !head->type || head->type > l->types || !l->pairs[head->type] ||
        !head->count || heap_object_bytes(l->p->state, head) < l->least)
        return KEEL_OK;
    return add(l->p, head, l->pairs[head->type]);
}

static int look_at_slab(const Looking *l, uint32_t page)
{
    const PageInfo *info = page_info(l->p->state, page);
    uint32_t bytes = heap_slot_bytes(info->class_index);
    int rc = KEEL_OK;
    for (uint32_t slot = 0; slot < info->fresh && !rc; slot++) {
        const uint8_t *at = page_address(l->p->state, page) + (uint64_t)slot * bytes;
        const ObjectHead *head = (const ObjectHead *)(const void *)at;
        if (head->mark == MARK_SKIP && head->count >= HEAD_BYTES && head->count < bytes)
            head = (const ObjectHead *)(const void *)(at + head->count - HEAD_BYTES);
        rc = look_at(l, head);
    }
    return rc;
}

static int look(const Looking *l)
{
    State *state = l->p->state;
    uint32_t top = arena_head(state)->top;
    int rc = KEEL_OK;
    for (uint32_t page = 1; page < top && page < state->data_pages && !rc;) {
        const PageInfo *info = page_info(state, page);
        if (info->kind == PAGE_LARGE && info->object_offset >= HEAD_BYTES) {
            const uint8_t *at = page_address(state, page) + info->object_offset - HEAD_BYTES;
            rc = look_at(l, (const ObjectHead *)(const void *)at);
        } else if (info->kind == PAGE_SLAB && info->class_index < HEAP_CLASSES &&
                   l->least < SMALL_MAX) {
            rc = look_at_slab(l, page);
        }
        page += info->pages ? info->pages : 1;
    }
    return rc;
}

static int make_bits(MigratePrecopy *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        Array *array = &p->arrays[i];
        const Pair *pair = pair_at(p->m, array->pair);
        if (!pair->dropped || pair->from_bytes > LARGE_ELEMENT)
            continue;
        array->is_set = calloc(pair->dropped, sizeof *array->is_set);
        array->set = calloc(pair->dropped, sizeof *array->set);
        array->fields = pair->dropped;
        if (!array->is_set || !array->set)
            return KEEL_ENOMEM;
        for (uint32_t n = 0; n < pair->dropped; n++)
            if (!(array->is_set[n] = calloc(array->count / 64 + 1, sizeof(uint64_t))))
                return KEEL_ENOMEM;
    }
    return KEEL_OK;
}

/* The pairs of all types that can be copied ahead; NULL: of none. */
static uint32_t *pairs_for(const MigratePrecopy *p)
{
    uint32_t count = arena_head(p->state)->type_count, some = 0;
    uint32_t *pairs = calloc((size_t)count + 1, sizeof *pairs);
    for (uint32_t i = 1; i <= count && pairs; i++)
        some |= pairs[i] = pair_for(p, i);
    if (some && !p->m->failed)
        return pairs;
    free(pairs);
    return NULL;
}

int precopy_begin(Migration *m, State *state, uint64_t least_bytes, MigratePrecopy **ret)
{
    *ret = NULL;
    if (state->tier != STATE_TIER_TRACK || state->leaves || state->fill || state->ahead ||
        m->why.code || (uint64_t)arena_head(state)->top * PAGE_BYTES < least_bytes)
        return KEEL_OK;
    MigratePrecopy *p = calloc(1, sizeof *p);
    if (!p)
        return KEEL_ENOMEM;
    p->m = m;
    p->state = state;
    p->dirty_bytes = (state->max_bytes / PAGE_BYTES / 64 + 1) * sizeof(uint64_t);
    uint32_t *pairs = pairs_for(p);
    int rc = pairs ? ahead_open(state) : KEEL_ENOTFOUND;
    if (!rc) {
        int room = look(&(Looking){p, pairs, arena_head(state)->type_count, least_bytes});
        p->dirty = mmap(NULL, p->dirty_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        p->scratch = malloc(CHUNK_BYTES + LARGE_ELEMENT + 2 * MARGIN);
        rc = room == KEEL_EBUSY || (room && !p->count) ? room
             : !p->count                               ? KEEL_ENOTFOUND
             : p->dirty == MAP_FAILED || !p->scratch   ? KEEL_ENOMEM
             : make_bits(p)                            ? KEEL_ENOMEM
                                                       : state_pin(state, &p->pin, NULL);
        if (rc)
            precopy_end(p);
        if (rc == KEEL_EBUSY)
            store_fold(state, FOLD_PAGES);
    } else {
        free(p);
    }
    free(pairs);
    *ret = rc ? NULL : p;
    return rc == KEEL_ENOTFOUND ? KEEL_OK : rc;
}

uint64_t precopy_bytes(const MigratePrecopy *p)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < p->count; i++)
        bytes += p->arrays[i].bytes;
    return bytes;
}

void precopy_unpin(MigratePrecopy *p)
{
    state_unpin(p->pin);
    p->pin = NULL;
}

void precopy_end(MigratePrecopy *p)
{
    if (!p)
        return;
    precopy_unpin(p);
    ahead_close(p->state);
    for (uint32_t i = 0; i < p->count; i++) {
        Array *array = &p->arrays[i];
        for (uint32_t n = 0; array->is_set && n < array->fields; n++)
            free(array->is_set[n]);
        free(array->is_set);
        free(array->set);
    }
    if (p->dirty && p->dirty != MAP_FAILED)
        munmap(p->dirty, p->dirty_bytes);
    free(p->scratch);
    free(p->arrays);
    free(p);
}

/* ---- rounds ---- */

static uint64_t first_word(const MigratePrecopy *p, const Array *array)
{
    return precopy_offset(p, array->from) / PAGE_BYTES / 64;
}

static uint64_t last_word(const MigratePrecopy *p, const Array *array)
{
    return (precopy_offset(p, array->from) + array->bytes - 1) / PAGE_BYTES / 64;
}

uint32_t precopy_behind(const MigratePrecopy *p)
{
    const uint64_t *dirty = p->state->ahead->dirty;
    uint32_t pages = 0;
    for (uint32_t i = 0; i < p->count; i++) {
        const Array *array = &p->arrays[i];
        uint64_t start = precopy_offset(p, array->from) / PAGE_BYTES;
        uint64_t end = (precopy_offset(p, array->from) + array->bytes - 1) / PAGE_BYTES;
        for (uint64_t w = first_word(p, array); w <= last_word(p, array); w++) {
            uint64_t word = dirty[w];
            if (w == start / 64)
                word &= ~UINT64_C(0) << start % 64;
            if (w == end / 64)
                word &= ~UINT64_C(0) >> (63 - end % 64);
            pages += (uint32_t)__builtin_popcountll(word);
        }
    }
    return pages;
}

int precopy_next(MigratePrecopy *p)
{
    uint64_t *dirty = p->state->ahead->dirty;
    precopy_unpin(p);
    int rc = state_pin(p->state, &p->pin, NULL);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < p->count; i++) {
        uint64_t at = first_word(p, &p->arrays[i]), words = last_word(p, &p->arrays[i]) - at + 1;
        memcpy(p->dirty + at, dirty + at, words * sizeof *dirty);
    }
    for (uint32_t i = 0; i < p->count; i++) {
        uint64_t at = first_word(p, &p->arrays[i]), words = last_word(p, &p->arrays[i]) - at + 1;
        memset(dirty + at, 0, words * sizeof *dirty);
    }
    return KEEL_OK;
}

/* ---- the boundary ---- */

/* Is what was filled still what the plan and the state want? */
static int is_good(const Walk *w, const MigratePrecopy *p)
{
    const Ahead *ahead = w->state->ahead;
    if (p->m != w->m || p->state != w->state || !ahead || !p->filled || p->failed || ahead->lost ||
        w->state->leaves || w->state->fill || !w->run->before)
        return 0;
    for (uint32_t i = 0; i < ahead->range_count; i++) {
        uint64_t first = (uint64_t)w->state->data_first + ahead->ranges[i].first;
        if (ahead_written(w->state, first, first + ahead->ranges[i].count))
            return 0; /* a stale pointer's doing: it hit free memory */
    }
    return 1;
}

static int claim(Walk *w, const MigratePrecopy *p, const Array *array, uint32_t index)
{
    Object *object = index_find(w, (uintptr_t)array->from);
    if (!object || object->at != array->from || object->type != array->type ||
        object->count != array->count || object->pair != array->pair)
        return 0; /* freed since: its room is free, too */
    const Pair *pair = pair_at(w->m, object->pair);
    uint32_t type;
    int rc = apply_new_type(w, object, pair, &type);
    if (rc || pages_claim(w->state, array->first, array->pages))
        return rc;
    uint64_t offset = (uint64_t)(array->to - page_address(w->state, array->first));
    uint32_t inner = array->first + (uint32_t)(offset / PAGE_BYTES);
    *page_info(w->state, array->first) = (PageInfo){
        .kind = PAGE_LARGE, .pages = array->pages, .first = array->first, .object_offset = offset};
    if (inner != array->first)
        *page_info(w->state, inner) = (PageInfo){.kind = PAGE_LARGE_INNER, .first = array->first};
    const ObjectHead now = {.type = type, .mark = MARK_LIVE, .count = array->count};
    if (precopy_put(p, array->to - sizeof now, &now, sizeof now))
        return walk_refuse(w, "no memory for what was converted ahead");
    arena_head(w->state)->live_objects++;
    arena_head(w->state)->live_bytes += array->count * pair->to_bytes;
    object->to = array->to;
    object->flags |= OBJECT_MOVED | OBJECT_AHEAD;
    object->inner = index;
    index_moved(w, object);
    w->result->moved++;
    return 0;
}

int precopy_claim(Walk *w)
{
    const MigratePrecopy *p = w->run->precopy;
    int rc = 0;
    if (!p || !is_good(w, p))
        return 0;
    w->state->ahead->claimed = 1;
    for (uint32_t i = 0; i < p->count && !rc; i++)
        rc = claim(w, p, &p->arrays[i], i);
    return rc;
}

/* Parts of what has no place any more stay readable in the pinned pages. */
static int keep_dropped(Walk *w, const Array *array, const Pair *pair)
{
    for (uint32_t i = 0; i < pair->dropped; i++) {
        const Single *single = single_at(w->m, pair->first_dropped + i);
        uint64_t set = array->set ? array->set[i] : 0;
        for (uint64_t n = 0; n < array->count && !array->set; n++)
            set += (uint64_t)apply_single_is_set(w->m, single, array->from + n * pair->from_bytes);
        w->not_empty[pair->first_dropped + i] += set;
        AtticArray entry = {.object = (uintptr_t)array->to,
                            .from = (uintptr_t)array->from,
                            .count = array->count,
                            .step = pair->from_bytes,
                            .offset = single->at,
                            .bytes = w->m->from->types[single->type].bytes};
        if (set && w->run->ret_attic && !single->bits &&
            buf_add(&(*w->run->ret_attic)->arrays, &entry, sizeof entry))
            return walk_refuse(w, "no memory for what a migration drops");
    }
    return 0;
}

/* Which value it is that has no rule. */
static int refuse(Walk *w, const Array *array, const Pair *pair)
{
    uint8_t none[1];
    for (uint64_t n = 0; n < array->count && !w->code; n++)
        apply_ops(w, pair, pair->first_op, pair->ops, array->from + n * pair->from_bytes, none,
                  APPLY_CHECK);
    return walk_refuse(w, "%s: a value has no place in it any more", plan_text(w->m, pair->name));
}

int precopy_finish(Walk *w, const Object *object, const Pair *pair)
{
    MigratePrecopy *p = w->run->precopy;
    Array *array = &p->arrays[object->inner];
    int rc = precopy_convert_dirty(p, array, NULL, w->state->ahead->dirty);
    if (rc == KEEL_ENOMEM)
        return walk_refuse(w, "no memory for what was converted ahead");
    if (rc)
        return refuse(w, array, pair);
    w->result->ahead += array->bytes;
    return keep_dropped(w, array, pair);
}
