/* What a candidate changes: has its image read beside the trial, in a helper of its own so that
 * neither waits for the other, and compares it with the image that runs. Engine thread. Owns the
 * questions that are under way. Never refuses: what can't be read is only not known. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "image/compare.h"
#include "swap/group.h"

/* Outlives the attempt, which a group may leave out meanwhile. */
typedef struct Question {
    Group *group;
    Image *image;
} Question;

static void answered(Reading *reading, const Error *err, void *user)
{
    Question *question = user;
    Group *group = question->group;
    if (reading)
        image_set_reading(question->image, reading);
    else
        log_debug("swap", "%s could not be read: %s", question->image->path, err->text);
    AttemptThen *then = NULL;
    Attempt *waits = NULL;
    for (uint32_t i = 0; i < group->count; i++) {
        Attempt *attempt = &group->attempts[i];
        if (!attempt->asked ||
            (attempt->image != question->image && attempt->from != question->image) ||
            --attempt->asked)
            continue;
        then = attempt->then;
        attempt->then = NULL;
        waits = attempt;
    }
    image_unref(question->image);
    free(question);
    if (then)
        then(waits);
    group_unref(group);
}

static void ask(Attempt *attempt, Image *image)
{
    Trial *reader = attempt->group->swapper->reader;
    Error err = {0};
    Question *question = reader && !image_reading(image) ? malloc(sizeof *question) : NULL;
    if (!question)
        return;
    *question = (Question){attempt->group, image_ref(image)};
    if (trial_read(reader, image, answered, question, &err)) {
        log_debug("swap", "%s could not be read: %s", image->path, err.text);
        image_unref(question->image);
        free(question);
        return;
    }
    group_ref(attempt->group);
    attempt->asked++;
}

void changes_ask(Attempt *attempt)
{
    if (!attempt->asked)
        ask(attempt, attempt->image);
}

void changes_ask_from(Attempt *attempt)
{
    ask(attempt, attempt->from);
}

void changes_await(Attempt *attempt, AttemptThen *then)
{
    if (attempt->asked)
        attempt->then = then;
    else
        then(attempt);
}

/* Differences outside of the code that change what the module does. */
static int outside_differs(const Attempt *attempt)
{
    const Inspection *old = reading_inspection(image_reading(attempt->from), NULL);
    const Inspection *new_ = reading_inspection(image_reading(attempt->image), NULL);
    return !old || !new_ || compare_inspections(old, new_, NULL, NULL) ||
           compare_notes(attempt->from, attempt->image, NULL, NULL);
}

Verdict changes_find(Attempt *attempt)
{
    const char *why = "";
    const Anatomy *old = reading_anatomy(image_reading(attempt->from), &why);
    const Anatomy *new_ = old ? reading_anatomy(image_reading(attempt->image), &why) : NULL;
    Difference d;
    Error err = {0};
    attempt->changes[0] = 0;
    if (!new_ || compare_anatomies(old, new_, &d, &err)) {
        log_debug("swap", "%s: what changed is not known: %s", attempt->slot->name,
                  new_ ? err.text : why);
        return VERDICT_UNKNOWN;
    }
    Verdict verdict = d.verdict;
    difference_say(&d, old, new_, attempt->changes, sizeof attempt->changes);
    if (verdict <= VERDICT_LINES && outside_differs(attempt))
        verdict = VERDICT_CODE;
    difference_done(&d);
    return verdict;
}
