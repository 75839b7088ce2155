/* What a candidate changes: has its image read beside the trial, in a helper of its own so that
 * neither waits for the other, and compares it with the image that runs. Engine thread. Owns the
 * questions that are under way. Never refuses: what can't be read is only not known. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "image/compare.h"
#include "swap/group.h"

/* Outlives the attempt, which a group may leave out meanwhile. */
typedef struct Question {
    Group *group;
    Image *image;
    int is_vouched; /* by the host's keys, where it has some: its reading may be kept */
    int is_after;   /* its reading began from another */
} Question;

static Hash place_of(const Image *image)
{
    return hash_bytes(image->path, strlen(image->path));
}

static void remember(Swapper *swapper, Hash hash, Hash place, Reading *reading)
{
    SwapReading *oldest = &swapper->readings[swapper->readings_at];
    swapper->readings_at = (swapper->readings_at + 1) % SWAP_READINGS;
    reading_free(oldest->reading);
    *oldest = (SwapReading){hash, place, reading_ref(reading)};
}

/* The last that was read of what came from the same place and ran, or NULL. */
static Reading *last_of(const Swapper *swapper, Hash place)
{
    for (uint32_t i = 1; i <= SWAP_READINGS; i++) {
        const SwapReading *r =
            &swapper->readings[(swapper->readings_at + SWAP_READINGS - i) % SWAP_READINGS];
        if (r->reading && hash_equal(r->place, place))
            return r->reading;
    }
    return NULL;
}

/* Nothing begins any more from what was read of this place. */
static void begin_anew(Swapper *swapper, Hash place)
{
    for (int i = 0; i < SWAP_READINGS; i++)
        if (hash_equal(swapper->readings[i].place, place))
            swapper->readings[i].place = (Hash){0};
}

void changes_ran(Attempt *attempt)
{
    Swapper *swapper = attempt->group->swapper;
    attempt->ran = 1;
    for (int i = 0; i < SWAP_READINGS; i++)
        if (swapper->readings[i].reading &&
            hash_equal(swapper->readings[i].hash, attempt->image->hash))
            swapper->readings[i].place = place_of(attempt->image);
}

/* Nonzero: the image runs already, or ran. */
static int has_run(const Question *question)
{
    const Group *group = question->group;
    for (uint32_t i = 0; i < group->count; i++)
        if (group->attempts[i].image == question->image && group->attempts[i].ran)
            return 1;
    return 0;
}

/* Nonzero: these bytes were read before. */
static int recall(const Swapper *swapper, const Image *image)
{
    for (int i = 0; i < SWAP_READINGS; i++) {
        const SwapReading *r = &swapper->readings[i];
        if (r->reading && hash_equal(r->hash, image->hash)) {
            image_set_reading(image, reading_ref(r->reading));
            return 1;
        }
    }
    return 0;
}

void changes_forget(Swapper *swapper)
{
    for (int i = 0; i < SWAP_READINGS; i++) {
        reading_free(swapper->readings[i].reading);
        swapper->readings[i] = (SwapReading){0};
    }
}

static void tell(const Image *image, const Reading *reading)
{
    const Sources *s = reading_sources(reading);
    if (s && (s->reused || s->taken))
        log_debug(
            "swap",
            "%s was read; of what was read before it, %s and %u of %u fingerprints still held",
            image->path,
            s->reused & SOURCES_SCHEMA  ? "types, lines of the source, the schema"
            : s->reused & SOURCES_DEBUG ? "types, lines of the source"
                                        : "no types",
            s->taken, s->parts);
}

static void answered(Reading *reading, const Error *err, void *user)
{
    Question *question = user;
    Group *group = question->group;
    if (reading) {
        if (!group->swapper->closing && question->is_vouched)
            remember(group->swapper, question->image->hash,
                     has_run(question) ? place_of(question->image) : (Hash){0}, reading);
        tell(question->image, reading);
        image_set_reading(question->image, reading);
    } else {
        log_debug("swap", "%s could not be read: %s", question->image->path, err->text);
        if (question->is_after) /* perhaps that is why */
            begin_anew(group->swapper, place_of(question->image));
    }
    AttemptThen *then = NULL;
    Attempt *waits = NULL;
    for (uint32_t i = 0; i < group->count; i++) {
        Attempt *attempt = &group->attempts[i];
        if (!attempt->asked ||
            (attempt->image != question->image && attempt->from != question->image))
            continue;
        if (!reading)
            snprintf(attempt->unread, sizeof attempt->unread, "%s", err->text);
        if (--attempt->asked)
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

static void ask(Attempt *attempt, Image *image, int is_vouched)
{
    Trial *reader = attempt->group->swapper->reader;
    Error err = {0};
    if (!reader || image_reading(image))
        return;
    if (recall(attempt->group->swapper, image)) {
        log_debug("swap", "%s: these bytes were read before", attempt->slot->name);
        return;
    }
    Question *question = malloc(sizeof *question);
    if (!question)
        return;
    Reading *before = is_vouched ? last_of(attempt->group->swapper, place_of(image)) : NULL;
    *question = (Question){attempt->group, image_ref(image), is_vouched, before != NULL};
    if (trial_read(reader, image, before, answered, question, &err)) {
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
        ask(attempt, attempt->image, !attempt->trust.fault);
}

void changes_ask_from(Attempt *attempt)
{
    ask(attempt, attempt->from, !attempt->group->swapper->trust); /* no key signs a kept state */
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
