/* What the host's keys say of a candidate: asked before anything of it runs, in the trial or here.
 * Owns nothing beyond the attempt's part. Engine thread, but where group.h says otherwise. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "image/compare.h"
#include "swap/group.h"

enum { NAMED = 4 };

void trusting_look(Attempt *attempt)
{
    Group *group = attempt->group;
    AttemptTrust *t = &attempt->trust;
    if (!group->swapper->trust)
        return;
    ImageTrust *known = image_trust(attempt->image);
    manifest_done(&t->manifest);
    int rc = digest_bytes(attempt->image->data, attempt->image->bytes, &known->digest, &group->err);
    if (rc) {
        group->err.code = rc;
        return;
    }
    known->digested = 1;
    if (!trust_check(group->swapper->trust, attempt->image, &known->digest, &t->proof, &t->fault,
                     &t->manifest, &t->why)) {
        known->trusted = 1;
        known->signer = t->proof.signer;
        known->counter = t->proof.counter;
        return;
    }
    if (trust_may_come(t->fault)) {
        group->err = t->why;
        group->err.code = KEEL_EPARTIAL;
    }
}

int trusting_gave_up(const Attempt *attempt)
{
    return attempt->trust.fault && attempt->group->err.code == KEEL_EPARTIAL;
}

void trusting_waits(Attempt *attempt)
{
    if (!trusting_gave_up(attempt) || attempt->trust.waited)
        return;
    attempt->trust.waited = 1;
    attempt->group->partial_since_ns = 0; /* what the file itself took doesn't count */
    log_info("trust", "%s: waiting for its manifest; so far %s", attempt->slot->name,
             attempt->trust.why.text);
}

int trusting_judge(const Attempt *attempt, const Generation *running, Error *err)
{
    if (!attempt->trust.fault)
        return KEEL_OK;
    const ImageTrust *fresh = image_trust(attempt->image),
                     *here = running ? image_trust(running->image) : NULL;
    if (here && here->trusted && digest_equal(&here->digest, &fresh->digest))
        return KEEL_OK;
    *err = attempt->trust.why;
    return err_wrap(err, "%s: not trusted", attempt->slot->name);
}

void trusting_keep(const Attempt *attempt)
{
    const AttemptTrust *t = &attempt->trust;
    Trust *trust = attempt->group->swapper->trust;
    Error err;
    if (!trust || !attempt->path || t->fault)
        return;
    if (trust_keep(trust, &t->proof, &err))
        log_error("trust",
                  "%s: its counter (%llu) could not be kept, so after a restart an older build "
                  "would be taken: %s",
                  attempt->slot->name, (unsigned long long)t->proof.counter, err.text);
}

/* ---- refusing ---- */

typedef const char *NameOf(const Anatomy *a, uint32_t i);

static const char *function_name(const Anatomy *a, uint32_t i)
{
    return anatomy_string(a,
                          a->functions[i].pretty ? a->functions[i].pretty : a->functions[i].name);
}

static const char *object_name(const Anatomy *a, uint32_t i)
{
    return anatomy_string(a, a->objects[i].name);
}

static const char *section_name(const Anatomy *a, uint32_t i)
{
    return anatomy_string(a, a->sections[i].name);
}

static void name_some(char *to, size_t room, const char *what, const ChangeList *list,
                      const Anatomy *before, const Anatomy *after, NameOf *name)
{
    for (uint32_t i = 0; i < list->count && i <= NAMED; i++) {
        const Change *c = &list->list[i];
        size_t at = strlen(to);
        if (i == NAMED)
            snprintf(to + at, room - at, " and %u more", list->count - NAMED);
        else
            snprintf(to + at, room - at, "%s%.60s", i ? ", " : what,
                     c->after >= 0 ? name(after, (uint32_t)c->after)
                                   : name(before, (uint32_t)c->before));
    }
}

/* What was signed, beside what lies there. */
static void name_difference(const Attempt *attempt, char *to, size_t room)
{
    Buf packed = {0};
    Anatomy before;
    Difference d = {0};
    const Reading *reading = image_reading(attempt->image);
    const Anatomy *after = reading ? reading_anatomy(reading, NULL) : NULL;
    if (after && !manifest_anatomy(&attempt->trust.manifest, &packed, NULL) &&
        !anatomy_check(packed.data, packed.bytes, &before, NULL) &&
        !compare_anatomies(&before, after, &d, NULL)) {
        name_some(to, room, "; other functions: ", &d.functions, &before, after, function_name);
        name_some(to, room, "; other data: ", &d.objects, &before, after, object_name);
        name_some(to, room, "; other sections: ", &d.sections, &before, after, section_name);
        if (!d.functions.count && !d.objects.count && !d.sections.count)
            snprintf(to, room, "; nothing of what is loaded differs");
    }
    difference_done(&d);
    buf_done(&packed);
}

static void alarm_and_refuse(Attempt *attempt)
{
    Group *group = attempt->group;
    char differs[400] = "";
    if (attempt->trust.manifest.data)
        name_difference(attempt, differs, sizeof differs);
    size_t at = strlen(group->err.text);
    snprintf(group->err.text + at, sizeof group->err.text - at, "%s", differs);
    log_error("trust", "ALARM: %s", group->err.text);
    group_refuse(group);
}

void trusting_refuse(Attempt *attempt)
{
    if (!attempt->trust.manifest.data) {
        alarm_and_refuse(attempt);
        return;
    }
    changes_ask(attempt);
    changes_await(attempt, alarm_and_refuse);
}
