/* One migration from end to end: index, types of opaque blocks, objects, statics. Owns what it
 * needs for the time of the call. [frame] */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "state/migrate_run.h"

int walk_refuse(Walk *w, const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!w->code)
        w->code = err_set(w->err, KEEL_ETYPE, "%s", text);
    return w->code;
}

void walk_report(Walk *w, const char *format, ...)
{
    va_list args;
    if (w->odd_count++)
        return;
    va_start(args, format);
    vsnprintf(w->odd, sizeof w->odd, format, args);
    va_end(args);
}

typedef struct Learning {
    Migration *m;
    State *state;
} Learning;

int migration_learn_state(Migration *m, State *state)
{
    uint32_t count = type_count(state);
    for (uint32_t i = 1; i <= count; i++) {
        const TypeRecord *record = type_record(state, i);
        const char *spelled, *file;
        if (record && type_texts(state, record, &spelled, &file))
            plan_learn(m, spelled, file);
    }
    plan_close(m);
    return m->failed;
}

int migration_list_types(const State *state, Buf *ret)
{
    uint32_t count = type_count(state);
    int rc = 0;
    for (uint32_t i = 1; i <= count && !rc; i++) {
        const TypeRecord *record = type_record(state, i);
        const char *spelled, *file;
        if (!record || !type_texts(state, record, &spelled, &file))
            continue;
        rc = buf_add(ret, spelled, strlen(spelled) + 1);
        rc = rc ? rc : buf_add(ret, file, strlen(file) + 1);
    }
    return rc;
}

/* Is there anything in the state that the plan touches? Types that nobody uses don't count, but
 * they are few, and asking all objects would cost more. */
static int touches_objects(const Migration *m)
{
    uint32_t count = (uint32_t)(m->pairs.bytes / sizeof(Pair));
    for (uint32_t i = 1; i < count; i++)
        if (pair_at(m, i)->walks && pair_at(m, i)->reached)
            return 1;
    return 0;
}

static int by_object(const void *a, const void *b)
{
    const AtticEntry *x = a, *y = b;
    if (x->object != y->object)
        return x->object < y->object ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* What this migration's forerunner dropped comes back, into objects that are still the same ones:
 * those that were made since have another mark. */
static void open_attic(Walk *w)
{
    const MigrateAttic *attic = w->run->attic;
    const AtticEntry *entries = (const AtticEntry *)(const void *)attic->entries.data;
    for (size_t i = 0; i < attic->entries.bytes / sizeof *entries; i++) {
        const AtticEntry *entry = &entries[i];
        const Object *object = index_find(w, entry->object);
        if (!object || (uintptr_t)object->at != entry->object || !object->pair)
            continue;
        const Pair *pair = pair_at(w->m, object->pair);
        const ObjectHead *head = (const ObjectHead *)(const void *)object->to - 1;
        uint64_t bytes = heap_object_bytes(w->state, head);
        uint64_t at = entry->index * pair->to_bytes + entry->offset;
        if (pair->same || pair->kept || entry->offset + entry->bytes > pair->to_bytes ||
            at + entry->bytes > bytes || !(object->flags & OBJECT_MARKED))
            continue;
        memcpy(object->to + at, attic->bytes.data + entry->at, entry->bytes);
    }
}

static void copy_pinned(const PinReader *reader, uint64_t offset, uint8_t *to, uint64_t bytes)
{
    while (bytes) {
        uint64_t inside = offset % PAGE_BYTES, part = PAGE_BYTES - inside;
        part = part < bytes ? part : bytes;
        memcpy(to, pin_read(reader, (uint32_t)(offset / PAGE_BYTES)) + inside, part);
        to += part;
        offset += part;
        bytes -= part;
    }
}

/* The same for arrays that were copied ahead. */
static int open_attic_arrays(Walk *w)
{
    const AtticArray *arrays = (const AtticArray *)(const void *)w->run->attic->arrays.data;
    size_t count = w->run->attic->arrays.bytes / sizeof *arrays;
    PinReader reader;
    if (!count)
        return 0;
    if (!w->run->before || pin_read_begin(w->run->before, &reader))
        return walk_refuse(w, "what the swap dropped is not at hand any more");
    for (size_t i = 0; i < count; i++) {
        const AtticArray *array = &arrays[i];
        const Object *object = index_find(w, array->object);
        if (!object || (uintptr_t)object->at != array->object || !object->pair ||
            !(object->flags & OBJECT_MARKED))
            continue;
        const Pair *pair = pair_at(w->m, object->pair);
        if (pair->same || pair->kept || array->step != pair->to_bytes)
            continue;
        uint64_t now = object->bytes / pair->from_bytes, from = array->from + array->offset;
        for (uint64_t n = 0; n < array->count && n < now; n++)
            copy_pinned(&reader, from + n * array->step - (uintptr_t)w->state->base,
                        object->to + n * array->step + array->offset, array->bytes);
    }
    pin_read_end(&reader);
    return 0;
}

/* Marks the objects that the attic has something of; new ones have no mark. */
static void mark_objects(Walk *w, MigrateAttic *attic)
{
    AtticEntry *entries = (AtticEntry *)(void *)attic->entries.data;
    size_t count = attic->entries.bytes / sizeof *entries;
    for (uint32_t i = 0; i < w->count; i++) {
        Object *object = &w->objects[i];
        if (!object->at || !object->pair || pair_at(w->m, object->pair)->same)
            continue;
        ObjectHead *head = (ObjectHead *)(void *)object->to - 1;
        if (head->reserved) /* most have none: their pages stay unwritten */
            head->reserved = 0;
    }
    for (size_t i = 0; i < count; i++)
        ((ObjectHead *)(uintptr_t)entries[i].object - 1)->reserved = 1;
    const AtticArray *arrays = (const AtticArray *)(const void *)attic->arrays.data;
    for (size_t i = 0; i < attic->arrays.bytes / sizeof *arrays; i++)
        ((ObjectHead *)(uintptr_t)arrays[i].object - 1)->reserved = 1;
    if (count)
        qsort(entries, count, sizeof *entries, by_object);
}

static int run_objects(Walk *w)
{
    int rc = index_build(w);
    if (!rc)
        plan_close(w->m);
    rc = rc ? rc : w->m->failed;
    if (rc && w->code)
        return rc;
    if (rc)
        return err_set(w->err, rc, "no memory to look at the state");
    if (!touches_objects(w->m))
        return 0;
    rc = typing_run(w);
    if (rc && !w->code)
        return err_set(w->err, rc, "no memory to look at the state");
    w->rewritten = calloc(w->m->pairs.bytes / sizeof(Pair) + 1, sizeof *w->rewritten);
    w->not_empty = calloc(w->m->singles.bytes / sizeof(Single) + 1, sizeof *w->not_empty);
    if (!rc && (!w->rewritten || !w->not_empty))
        return err_set(w->err, KEEL_ENOMEM, "no memory to look at the state");
    rc = rc ? rc : apply_objects(w);
    if (!rc && w->run->attic) {
        open_attic(w);
        rc = open_attic_arrays(w);
    }
    if (!rc && w->run->ret_attic)
        mark_objects(w, *w->run->ret_attic);
    return rc;
}

int migration_calls(const Migration *m)
{
    for (size_t i = 0; i < m->ops.bytes / sizeof(Op); i++)
        if (op_at(m, (uint32_t)i)->kind == OP_HOOK && op_at(m, (uint32_t)i)->hook == HOOK_CALL)
            return 1;
    return 0;
}

int migration_run(Migration *m, State *state, const MigrateRun *run, MigrateResult *ret, Error *err)
{
    Error none;
    Walk w = {.m = m, .state = state, .run = run, .result = ret, .err = err ? err : &none};
    memset(ret, 0, sizeof *ret);
    if (run->ret_attic && !(*run->ret_attic = calloc(1, sizeof **run->ret_attic)))
        return err_set(err, KEEL_ENOMEM, "no memory for what a migration drops");
    if (m->why.code)
        return err_set(err, m->why.code, "%s", m->why.text);
    int rc = migration_learn_state(m, state);
    if (rc)
        err_set(w.err, rc, "no memory for a plan");
    if (!rc && touches_objects(m))
        rc = run_objects(&w);
    rc = rc ? rc : carry_statics(&w);
    rc = rc ? rc : hooks_run(&w);
    if (!rc && run->ret_attic)
        hooks_keep(&w, *run->ret_attic);
    if (!rc)
        say_result(&w);
    index_done(&w);
    free(w.rewritten);
    free(w.not_empty);
    free(w.literal_at);
    buf_done(&w.hooked);
    buf_done(&w.old_bytes);
    if (rc && run->ret_attic) {
        migrate_attic_free(*run->ret_attic);
        *run->ret_attic = NULL;
    }
    return rc;
}

void migrate_attic_free(MigrateAttic *attic)
{
    if (!attic)
        return;
    buf_done(&attic->entries);
    buf_done(&attic->bytes);
    buf_done(&attic->hooked);
    buf_done(&attic->old_bytes);
    buf_done(&attic->arrays);
    free(attic);
}
