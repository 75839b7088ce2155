/* What two images differ in outside of their code, and the one sentence that sums all up. Owns
 * nothing; main thread. */
#include "app/diff.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 4, 5))) static void fact(Diff *d, char sign, const char *topic,
                                                       const char *format, ...)
{
    if (d->fact_count == DIFF_FACTS) {
        d->facts_lost = 1;
        return;
    }
    DiffFact *f = &d->facts[d->fact_count++];
    f->sign = sign;
    f->topic = topic;
    va_list args;
    va_start(args, format);
    vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
}

static uint32_t shown(const InspectList *list)
{
    return list->count < INSPECT_LIST ? list->count : INSPECT_LIST;
}

/* Lists cross a process boundary: an item may lack its end. */
static int has(const InspectList *list, const char *item)
{
    for (uint32_t i = 0; i < shown(list); i++)
        if (!strncmp(list->item[i], item, INSPECT_TEXT - 1))
            return 1;
    return 0;
}

static void compare_lists(Diff *d, const char *topic, const InspectList *old,
                          const InspectList *new_)
{
    for (uint32_t i = 0; i < shown(old); i++)
        if (new_->count <= INSPECT_LIST && !has(new_, old->item[i]))
            fact(d, '-', topic, "%.*s", INSPECT_TEXT - 1, old->item[i]);
    for (uint32_t i = 0; i < shown(new_); i++)
        if (old->count <= INSPECT_LIST && !has(old, new_->item[i]))
            fact(d, '+', topic, "%.*s", INSPECT_TEXT - 1, new_->item[i]);
    if (old->count != new_->count && (old->count > INSPECT_LIST || new_->count > INSPECT_LIST))
        fact(d, '~', topic, "%u → %u", old->count, new_->count);
}

static int needs(const Image *image, const char *service)
{
    for (int i = 0; i < image->needs_count; i++)
        if (!strcmp(image->needs[i], service))
            return 1;
    return 0;
}

static void compare_notes(Diff *d, const Image *old, const Image *new_)
{
    if (!old || !new_)
        return;
    if (strcmp(old->name, new_->name))
        fact(d, '~', "module", "%s → %s", old->name, new_->name);
    if (strcmp(old->version, new_->version))
        fact(d, '~', "version", "%s → %s", old->version, new_->version);
    if (old->abi != new_->abi || old->table_bytes != new_->table_bytes)
        fact(d, '~', "ABI", "%u.%u, table of %u bytes → %u.%u, table of %u bytes", old->abi >> 16,
             old->abi & 0xffff, old->table_bytes, new_->abi >> 16, new_->abi & 0xffff,
             new_->table_bytes);
    for (int i = 0; i < old->needs_count; i++)
        if (!needs(new_, old->needs[i]))
            fact(d, '-', "service", "%s", old->needs[i]);
    for (int i = 0; i < new_->needs_count; i++)
        if (!needs(old, new_->needs[i]))
            fact(d, '+', "service", "%s", new_->needs[i]);
}

static void compare_inspections(Diff *d, const Inspection *old, const Inspection *new_)
{
    compare_lists(d, "library", &old->needed, &new_->needed);
    compare_lists(d, "export", &old->exported, &new_->exported);
    compare_lists(d, "import", &old->undefined, &new_->undefined);
    if (strncmp(old->compiler, new_->compiler, sizeof old->compiler - 1))
        fact(d, '~', "compiler", "%.*s → %.*s", 100, old->compiler, 100, new_->compiler);
    if (strncmp(old->runpath, new_->runpath, sizeof old->runpath - 1))
        fact(d, '~', "search path", "\"%.100s\" → \"%.100s\"", old->runpath, new_->runpath);
    if (old->tls_bytes != new_->tls_bytes)
        fact(d, '~', "thread-local", "%u → %u bytes a thread", old->tls_bytes, new_->tls_bytes);
}

/* Facts that change what the module does; another compiler with the same code does not. */
static int facts_matter(const Diff *d)
{
    for (int i = 0; i < d->fact_count; i++)
        if (strcmp(d->facts[i].topic, "compiler"))
            return 1;
    return 0;
}

static const struct {
    const char *name, *text;
} VERDICTS[] = {
    [VERDICT_SAME] = {"same", "nothing changed: a swap would change nothing"},
    [VERDICT_LINES] = {"lines",
                       "lines only: asserts tell other line numbers, nothing else changed"},
    [VERDICT_CODE] = {"code", "code only: a swap keeps every value"},
    [VERDICT_DATA] = {"data",
                      "initializers changed: in a swap those statics take their new values"},
    [VERDICT_TYPES] = {"types", "types changed: a swap must convert the state"},
    [VERDICT_UNKNOWN] = {"unknown", "they differ, and carry too little to tell in what"},
};

void diff_judge(Diff *d)
{
    compare_notes(d, d->before.image, d->after.image);
    compare_inspections(d, &d->before.inspection, &d->after.inspection);
    Verdict v = d->difference.verdict;
    if (v < VERDICT_CODE && facts_matter(d))
        v = VERDICT_CODE;
    d->verdict_name = VERDICTS[v].name;
    d->verdict = VERDICTS[v].text;
    d->same = v == VERDICT_SAME;
    /* Two libraries that are no modules are compared as what they are. */
    if (d->after.refused && (!d->before.refused || d->after.image)) {
        d->verdict_name = "refused";
        snprintf(d->verdict_text, sizeof d->verdict_text, "refused: %s", d->after.reason.text);
        d->verdict = d->verdict_text;
    }
}
