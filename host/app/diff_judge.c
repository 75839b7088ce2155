/* What two images differ in outside of their code, and the one sentence that sums all up. Owns
 * nothing; main thread. */
#include "app/diff.h"

#include <stdio.h>
#include <string.h>

static void add_fact(void *user, char sign, const char *topic, const char *text)
{
    Diff *d = user;
    if (d->fact_count == DIFF_FACTS) {
        d->facts_lost = 1;
        return;
    }
    DiffFact *f = &d->facts[d->fact_count++];
    f->sign = sign;
    f->topic = topic;
    snprintf(f->text, sizeof f->text, "%s", text);
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
    [VERDICT_TYPES] = {"types", "types changed: a swap converts the state, field by field"},
    [VERDICT_UNKNOWN] = {"unknown", "they differ, and carry too little to tell in what"},
};

void diff_judge(Diff *d)
{
    int matter = compare_inspections(&d->before.inspection, &d->after.inspection, add_fact, d);
    if (d->before.image && d->after.image)
        matter += compare_notes(d->before.image, d->after.image, add_fact, d);
    Verdict v = d->difference.verdict;
    if (v < VERDICT_CODE && matter)
        v = VERDICT_CODE;
    d->verdict_name = VERDICTS[v].name;
    d->verdict = VERDICTS[v].text;
    d->same = v == VERDICT_SAME;
    if (v == VERDICT_TYPES && d->is_stuck)
        d->verdict = "types changed, and no rule carries the state over: a swap takes save and "
                     "restore in both builds";
    /* Two libraries that are no modules are compared as what they are. */
    if (d->after.refused && (!d->before.refused || d->after.image)) {
        d->verdict_name = "refused";
        snprintf(d->verdict_text, sizeof d->verdict_text, "refused: %s", d->after.reason.text);
        d->verdict = d->verdict_text;
    }
}
