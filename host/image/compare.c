/* Two anatomies side by side, in one pass over lists sorted by id. Owns the lists of changes. */
#include "image/compare.h"

#include <stdlib.h>
#include <string.h>

static int compare_hash(Hash a, Hash b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    return (a.low > b.low) - (a.low < b.low);
}

static int add(ChangeList *to, uint32_t what, int64_t before, int64_t after)
{
    if (to->count == to->room) {
        uint32_t room = to->room ? to->room * 2 : 32;
        Change *list = realloc(to->list, room * sizeof *list);
        if (!list)
            return KEEL_ENOMEM;
        to->list = list;
        to->room = room;
    }
    to->list[to->count++] = (Change){(int32_t)before, (int32_t)after, what};
    return KEEL_OK;
}

static int compare_functions(const Anatomy *before, const Anatomy *after, Difference *d)
{
    uint32_t i = 0, j = 0;
    int rc = KEEL_OK;
    while (!rc && (i < before->function_count || j < after->function_count)) {
        const AnatomyFunction *x = &before->functions[i], *y = &after->functions[j];
        int order = i == before->function_count  ? 1
                    : j == after->function_count ? -1
                                                 : compare_hash(x->id, y->id);
        if (order < 0) {
            rc = add(&d->functions, CHANGE_REMOVED, i++, -1);
        } else if (order > 0) {
            rc = add(&d->functions, CHANGE_ADDED, -1, j++);
        } else {
            if (!d->code_known || hash_equal(x->hash, y->hash))
                d->functions_same++;
            else if (hash_equal(x->hash_but_lines, y->hash_but_lines))
                rc = add(&d->functions, CHANGE_LINES, i, j);
            else
                rc = add(&d->functions, CHANGE_CHANGED, i, j);
            i++;
            j++;
        }
    }
    return rc;
}

enum { RENAMED_LEAST_BYTES = 24, RENAMED_MOST = 256 };

/* The same code under another name, once on either side. */
static void find_renamed(const Anatomy *before, const Anatomy *after, Difference *d)
{
    if (!d->code_known || d->functions.count > RENAMED_MOST)
        return;
    for (uint32_t i = 0; i < d->functions.count; i++) {
        Change *gone = &d->functions.list[i];
        Change *match = NULL;
        int matches = 0;
        if (gone->what != CHANGE_REMOVED)
            continue;
        const AnatomyFunction *x = &before->functions[gone->before];
        for (uint32_t j = 0; j < d->functions.count && x->bytes >= RENAMED_LEAST_BYTES; j++) {
            Change *come = &d->functions.list[j];
            if (come->what == CHANGE_ADDED &&
                hash_equal(x->hash, after->functions[come->after].hash)) {
                match = come;
                matches++;
            }
        }
        if (matches == 1) {
            match->what = CHANGE_RENAMED;
            match->before = gone->before;
            *gone = d->functions.list[--d->functions.count];
            i--;
        }
    }
}

static int object_differs(const Difference *d, const AnatomyObject *x, const AnatomyObject *y)
{
    return x->bytes != y->bytes || (x->kind != y->kind) ||
           (d->data_known && !hash_equal(x->hash, y->hash));
}

static int compare_objects(const Anatomy *before, const Anatomy *after, Difference *d)
{
    uint32_t i = 0, j = 0;
    int rc = KEEL_OK;
    while (!rc && (i < before->object_count || j < after->object_count)) {
        const AnatomyObject *x = &before->objects[i], *y = &after->objects[j];
        int order = i == before->object_count  ? 1
                    : j == after->object_count ? -1
                                               : compare_hash(x->id, y->id);
        if (order < 0) {
            rc = add(&d->objects, CHANGE_REMOVED, i++, -1);
        } else if (order > 0) {
            rc = add(&d->objects, CHANGE_ADDED, -1, j++);
        } else {
            if (object_differs(d, x, y))
                rc = add(&d->objects, CHANGE_CHANGED, i, j);
            i++;
            j++;
        }
    }
    return rc;
}

static int section_named(const Anatomy *a, const char *name)
{
    for (uint32_t i = 0; i < a->section_count; i++)
        if (!strcmp(anatomy_string(a, a->sections[i].name), name))
            return (int)i;
    return -1;
}

static int compare_sections(const Anatomy *before, const Anatomy *after, Difference *d)
{
    int rc = KEEL_OK;
    for (uint32_t i = 0; !rc && i < before->section_count; i++) {
        const AnatomySection *x = &before->sections[i];
        int j = section_named(after, anatomy_string(before, x->name));
        if (j < 0)
            rc = add(&d->sections, CHANGE_REMOVED, i, -1);
        else if (x->bytes != after->sections[j].bytes ||
                 !hash_equal(x->hash, after->sections[j].hash))
            rc = add(&d->sections, CHANGE_CHANGED, i, j);
    }
    for (uint32_t j = 0; !rc && j < after->section_count; j++)
        if (section_named(before, anatomy_string(after, after->sections[j].name)) < 0)
            rc = add(&d->sections, CHANGE_ADDED, -1, j);
    return rc;
}

/* Several files may define different types of one name: those that are equal on both sides go. */
static int compare_run(const Anatomy *before, uint32_t i, uint32_t i_end, const Anatomy *after,
                       uint32_t j, uint32_t j_end, Difference *d)
{
    int rc = KEEL_OK;
    while (!rc && (i < i_end || j < j_end)) {
        int order = i == i_end   ? 1
                    : j == j_end ? -1
                                 : compare_hash(before->types[i].hash, after->types[j].hash);
        uint32_t left = i_end - i, right = j_end - j;
        if (!order) {
            i++;
            j++;
        } else if (left && right && (left == right || (left == 1 || right == 1))) {
            rc = add(&d->types, CHANGE_CHANGED, i++, j++);
        } else if (order < 0) {
            rc = add(&d->types, CHANGE_REMOVED, i++, -1);
        } else {
            rc = add(&d->types, CHANGE_ADDED, -1, j++);
        }
    }
    return rc;
}

static uint32_t run_end(const Anatomy *a, uint32_t i)
{
    uint32_t end = i + 1;
    while (end < a->type_count && hash_equal(a->types[end].id, a->types[i].id))
        end++;
    return end;
}

static int compare_types(const Anatomy *before, const Anatomy *after, Difference *d)
{
    uint32_t i = 0, j = 0;
    int rc = KEEL_OK;
    while (!rc && (i < before->type_count || j < after->type_count)) {
        int order = i == before->type_count ? 1
                    : j == after->type_count
                        ? -1
                        : compare_hash(before->types[i].id, after->types[j].id);
        uint32_t i_end = order <= 0 ? run_end(before, i) : i;
        uint32_t j_end = order >= 0 ? run_end(after, j) : j;
        rc = compare_run(before, i, i_end, after, j, j_end, d);
        i = i_end;
        j = j_end;
    }
    return rc;
}

static Verdict judge(const Difference *d, const Anatomy *before, const Anatomy *after)
{
    Verdict verdict = VERDICT_SAME;
    for (uint32_t i = 0; i < d->types.count; i++)
        if (d->types.list[i].what == CHANGE_CHANGED)
            return VERDICT_TYPES;
    if (d->same_sections)
        return VERDICT_SAME;
    if (!d->code_known || !d->data_known)
        return VERDICT_UNKNOWN;
    for (uint32_t i = 0; i < d->functions.count; i++) {
        Verdict v = d->functions.list[i].what == CHANGE_LINES ? VERDICT_LINES : VERDICT_CODE;
        verdict = v > verdict ? v : verdict;
    }
    for (uint32_t i = 0; i < d->objects.count; i++) {
        const Change *c = &d->objects.list[i];
        Verdict v = VERDICT_CODE;
        if (c->what == CHANGE_CHANGED && (before->objects[c->before].kind != OBJECT_CONSTANT ||
                                          after->objects[c->after].kind != OBJECT_CONSTANT))
            v = VERDICT_DATA;
        verdict = v > verdict ? v : verdict;
    }
    return verdict;
}

int compare_anatomies(const Anatomy *before, const Anatomy *after, Difference *ret, Error *err)
{
    Difference d = {0};
    uint32_t both = before->flags & after->flags, any = before->flags | after->flags;
    int same_names = !((before->flags ^ after->flags) & ANATOMY_UNITS);
    d.code_known = d.data_known = both & ANATOMY_RELOCS && same_names;
    d.types_known =
        both & ANATOMY_DEBUG && !(any & (ANATOMY_LTO | ANATOMY_SPLIT | ANATOMY_DEBUG_BROKEN));
    int rc = compare_sections(before, after, &d);
    d.same_sections = !rc && !d.sections.count;
    if (d.same_sections) { /* whatever else was stripped or renamed, it runs the same */
        d.functions_same = after->function_count;
    } else if (both & ANATOMY_SYMBOLS && same_names) {
        rc = rc ? rc : compare_functions(before, after, &d);
        rc = rc ? rc : compare_objects(before, after, &d);
    }
    if (d.types_known)
        rc = rc ? rc : compare_types(before, after, &d);
    if (rc) {
        difference_done(&d);
        return err_set(err, rc, "no memory to compare");
    }
    find_renamed(before, after, &d);
    d.verdict = judge(&d, before, after);
    *ret = d;
    return KEEL_OK;
}

void difference_done(Difference *d)
{
    if (!d)
        return;
    free(d->functions.list);
    free(d->objects.list);
    free(d->types.list);
    free(d->sections.list);
    *d = (Difference){0};
}
