/* Which statics two builds share, and whether they hold the same. Owns the lists. */
#include "app/replay_statics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/migrate.h"

enum { DEEPEST = 64, CHUNK = 512 /* words that are hashed at a time */ };

/* A pointer to what isn't the arena's. */
#define ELSEWHERE (UINT64_C(0xC0DE) << 48)

typedef struct ReplayStatic {
    uint32_t was, now; /* in the schemas */
    uint64_t bytes;
    uint64_t first; /* of its words in `pointers` */
} ReplayStatic;

/* Where a build's writable data is, here and in its process. */
typedef struct View {
    SnapshotSpan spans[STATE_SPANS];
    int span_count;
    uint64_t bias, image_first, image_last, arena, arena_bytes;
} View;

/* ---- which ---- */

static int has_pointers(const Schema *s, uint32_t type, int depth)
{
    const SchemaType *t = &s->types[type];
    if (depth > DEEPEST)
        return 0;
    if (t->kind == SCHEMA_ARRAY)
        return t->bytes && has_pointers(s, t->target, depth + 1);
    if (t->kind != SCHEMA_RECORD)
        return t->kind == SCHEMA_POINTER;
    for (uint32_t i = 0; i < t->fields; i++)
        if (has_pointers(s, s->fields[t->first + i].type, depth + 1))
            return 1;
    return 0;
}

/* Tells of each word whether it is a pointer: `is` has a byte a word of the `bytes` of the whole.
 */
static void mark(const Schema *s, uint32_t type, uint64_t at, uint64_t bytes, int depth,
                 uint8_t *is)
{
    const SchemaType *t = &s->types[type];
    if (depth > DEEPEST || !has_pointers(s, type, depth))
        return;
    if (t->kind == SCHEMA_POINTER) {
        if (t->bytes == 8 && at % 8 == 0 && at <= bytes && bytes - at >= 8)
            is[at / 8] = 1;
    } else if (t->kind == SCHEMA_ARRAY) {
        uint64_t each = s->types[t->target].bytes;
        for (uint64_t i = 0; each && i < t->bytes / each && i * each < bytes; i++)
            mark(s, t->target, at + i * each, bytes, depth + 1, is);
    } else {
        for (uint32_t i = 0; i < t->fields; i++) {
            const SchemaField *f = &s->fields[t->first + i];
            mark(s, f->type, at + f->offset, bytes, depth + 1, is);
        }
    }
}

static uint64_t words_of(uint64_t bytes)
{
    return (bytes + 7) / 8;
}

/* `known` has a byte a static of the build that runs all along: it was compared so far. */
static int fill(ReplayStaticList *list, const Buf *kept, const uint8_t *known, int by_now)
{
    const MigrateKept *k = (const MigrateKept *)(const void *)kept->data;
    const Schema *was = &list->was->schema, *now = &list->now->schema;
    size_t count = kept->bytes / sizeof *k;
    uint64_t words = 0;
    list->list = calloc(count + 1, sizeof *list->list);
    if (!list->list)
        return KEEL_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const SchemaStatic *v = &was->statics[k[i].from], *w = &now->statics[k[i].to];
        if (v->bytes && v->bytes == w->bytes && known[by_now ? k[i].to : k[i].from]) {
            list->list[list->count++] = (ReplayStatic){k[i].from, k[i].to, v->bytes, words};
            words += words_of(v->bytes);
        }
    }
    list->pointers = calloc(words + 1, 1);
    for (int i = 0; list->pointers && i < list->count; i++) {
        const ReplayStatic *one = &list->list[i];
        mark(now, now->statics[one->now].type, 0, one->bytes, 0, list->pointers + one->first);
    }
    return list->pointers ? KEEL_OK : KEEL_ENOMEM;
}

static int plan(ReplayStaticList *list, const uint8_t *known, int by_now, Error *err)
{
    Migration *migration = NULL;
    Buf kept = {0};
    int rc = migration_new(&list->was->schema, &list->now->schema, &migration, err);
    if (rc == KEEL_OK &&
        (migration_kept_statics(migration, &kept) || fill(list, &kept, known, by_now)))
        rc = err_set(err, KEEL_ENOMEM, "no memory to compare statics");
    buf_done(&kept);
    migration_free(migration);
    return rc;
}

int replay_statics_init(ReplayStatics *statics, int generations, const StateTypes *const *was,
                        const StateTypes *const *now, Error *err)
{
    int by_now = 1;
    for (int i = 1; i < generations; i++)
        by_now &= now[i] == now[0];
    const StateTypes *all = by_now ? now[0] : was[0];
    uint32_t count = all && all->there ? all->schema.static_count : 0;
    uint8_t *known = malloc(count + 1);
    int rc = known ? KEEL_OK : err_set(err, KEEL_ENOMEM, "no memory to compare statics");
    if (known)
        memset(known, 1, count + 1);
    for (int i = 0; i < generations && rc == KEEL_OK; i++) {
        ReplayStaticList *list = &statics->at[i];
        Error why = {0};
        *list = (ReplayStaticList){.was = was[i], .now = now[i]};
        if (!was[i] || !now[i] || !was[i]->there || !now[i]->there)
            err_set(&why, KEEL_EUNSUPPORTED, "debug information is missing in %s: build with -g",
                    was[i] && was[i]->there ? "the new build" : "the old build");
        else if (plan(list, known, by_now, &why) == KEEL_ENOMEM)
            rc = err_set(err, KEEL_ENOMEM, "%s", why.text);
        if (why.code && !*statics->why)
            snprintf(statics->why, sizeof statics->why, "%s", why.text);
        memset(known, 0, count);
        for (int n = 0; n < list->count; n++)
            known[by_now ? list->list[n].now : list->list[n].was] = 1;
        statics->most = list->count > statics->most ? list->count : statics->most;
    }
    free(known);
    return rc;
}

void replay_statics_done(ReplayStatics *statics)
{
    for (int i = 0; i < REPLAY_GENERATIONS; i++) {
        free(statics->at[i].list);
        free(statics->at[i].pointers);
    }
    *statics = (ReplayStatics){0};
}

/* ---- what they hold ---- */

static const SchemaStatic *of(const ReplayStaticList *list, ReplaySide side,
                              const ReplayStatic *one)
{
    return side == REPLAY_NOW ? &list->now->schema.statics[one->now]
                              : &list->was->schema.statics[one->was];
}

static const uint8_t *bytes_of(const View *view, const SchemaStatic *v)
{
    uint64_t address = v->address + view->bias;
    for (int i = 0; i < view->span_count; i++) {
        const SnapshotSpan *span = &view->spans[i];
        if (address >= span->address && v->bytes <= span->bytes &&
            address - span->address <= span->bytes - v->bytes)
            return span->data + (address - span->address);
    }
    return NULL;
}

/* Word `n` as it is compared. */
static uint64_t word(const View *view, const uint8_t *data, uint64_t bytes, const uint8_t *pointers,
                     uint64_t n)
{
    uint64_t is = 0, left = bytes - n * 8;
    memcpy(&is, data + n * 8, left < 8 ? left : 8);
    if (is >= view->image_first && is < view->image_last)
        return ELSEWHERE;
    if (pointers[n] && is && is - view->arena >= view->arena_bytes)
        return ELSEWHERE;
    return is;
}

uint64_t replay_statics_hash(const ReplayStaticList *list, ReplaySide side, const Generation *g,
                             const State *state)
{
    StateStatus status;
    View view = {.span_count = g->static_count,
                 .bias = g->load_bias,
                 .image_first = g->load_first,
                 .image_last = g->load_last};
    uint64_t chunk[CHUNK], sum = 0;
    state_status(state, &status);
    view.arena = status.base;
    view.arena_bytes = status.max_bytes;
    for (int i = 0; i < g->static_count; i++)
        view.spans[i] = (SnapshotSpan){(uintptr_t)g->statics[i].address, g->statics[i].bytes,
                                       g->statics[i].address};
    for (int i = 0; i < list->count; i++) {
        const ReplayStatic *one = &list->list[i];
        const uint8_t *data = bytes_of(&view, of(list, side, one));
        uint64_t words = words_of(one->bytes);
        for (uint64_t n = 0; data && n < words;) {
            uint64_t have = 1;
            chunk[0] = sum; /* so that what comes before counts with its order */
            while (have < CHUNK && n < words) {
                chunk[have++] = word(&view, data, one->bytes, list->pointers + one->first, n);
                n++;
            }
            sum = hash_bytes(chunk, have * sizeof *chunk).low;
        }
    }
    return sum | 1;
}

/* ---- what differs ---- */

static View view_of(const ReplayStaticsLook *look)
{
    const Snapshot *s = frozen_snapshot(look->look.frozen);
    View view = {.span_count = s->span_count < STATE_SPANS ? s->span_count : STATE_SPANS,
                 .bias = look->bias,
                 .image_first = s->info.load_first,
                 .image_last = s->info.load_last,
                 .arena = s->info.base,
                 .arena_bytes = s->info.bytes};
    memcpy(view.spans, s->spans, (size_t)view.span_count * sizeof *s->spans);
    return view;
}

/* What stands at byte `at`, as text; its path, "" for one that is no record or array. */
static void value(const ReplayStaticsLook *look, const SchemaStatic *v, const uint8_t *data,
                  uint64_t at, Buf *out, char *path, size_t room)
{
    StatePlace whole = {
        .address = v->address + look->bias, .data = data, .bytes = v->bytes, .type = v->type};
    StatePlace part;
    state_value_whole(&look->look, &whole);
    if (state_value_inside(&look->look, &whole, at, &part, path, room)) {
        state_value_text(&look->look, &part, out);
        return;
    }
    snprintf(path, room, " at offset %llu", (unsigned long long)at);
    buf_printf(out, "%02x", data[at]);
}

static void tell(const ReplayStaticsLook *was, const ReplayStaticsLook *now, const SchemaStatic *v,
                 const SchemaStatic *w, const uint8_t *a, const uint8_t *b, uint64_t at, int more,
                 StateDifferences *list)
{
    const Schema *schema = &now->look.types->schema;
    const char *function = schema_text(schema, w->function);
    char path[120];
    Buf before = {0}, after = {0};
    char *to = state_differences_add(list);
    if (!to)
        return;
    value(was, v, a, at, &before, path, sizeof path);
    value(now, w, b, at, &after, path, sizeof path);
    snprintf(to, STATE_DIFFERENCE_BYTES, "%.60s: static %.60s%.60s%s%.40s: %.40s → %.40s%s",
             schema_unit_base(schema_text(schema, schema->units[w->unit])),
             schema_text(schema, w->name), path, *function ? " of " : "", function,
             buf_text(&before), buf_text(&after), more ? ", and more" : "");
    buf_done(&before);
    buf_done(&after);
}

void replay_statics_differences(const ReplayStaticList *list, const ReplayStaticsLook *was,
                                const ReplayStaticsLook *now, StateDifferences *ret)
{
    const View before = view_of(was), after = view_of(now);
    *ret = (StateDifferences){.noun = "statics"};
    for (int i = 0; i < list->count; i++) {
        const ReplayStatic *one = &list->list[i];
        const SchemaStatic *v = of(list, REPLAY_WAS, one), *w = of(list, REPLAY_NOW, one);
        const uint8_t *a = bytes_of(&before, v), *b = bytes_of(&after, w);
        const uint8_t *pointers = list->pointers + one->first;
        uint64_t first = UINT64_MAX, differ = 0;
        for (uint64_t n = 0; a && b && n < words_of(one->bytes); n++) {
            if (word(&before, a, one->bytes, pointers, n) ==
                word(&after, b, one->bytes, pointers, n))
                continue;
            if (!differ++)
                for (first = n * 8; first + 1 < one->bytes && a[first] == b[first];)
                    first++;
        }
        if (differ)
            tell(was, now, v, w, a, b, first, differ > 1, ret);
    }
}
