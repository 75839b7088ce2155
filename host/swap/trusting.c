/* What the host's keys say of a candidate: asked before anything of it runs, in the trial or here.
 * Owns nothing beyond the attempt's part. Engine thread, but where group.h says otherwise. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "image/compare.h"
#include "swap/group.h"
#include "watch/settle.h"

enum { NAMED = 4 };
#define ALARM_AGAIN_NS (INT64_C(60) * 1000 * 1000 * 1000)

/* A file that is much larger than what was signed need not be read to be refused. */
static size_t most_bytes(const Manifest *manifest)
{
    const uint64_t most = (uint64_t)1 << 30, slack = (uint64_t)16 << 20;
    uint64_t signed_bytes = manifest->facts.bytes;
    return (size_t)(signed_bytes < (most - slack) / 2 ? 2 * signed_bytes + slack : most);
}

static int read_image(Attempt *attempt, size_t most, Error *err)
{
    const SettleOptions options = {.leases = 1, .max_bytes = most};
    Settled settled;
    int rc = settle_read(attempt->path, &options, &settled, err);
    return rc ? rc
              : image_open(settled.memfd, settled.bytes, settled.hash, attempt->path,
                           &attempt->image, err);
}

/* What no other manifest will cure is judged at the pin: it may be what runs already. */
static int may_come(const AttemptTrust *t, Error *err)
{
    if (!trust_may_come(t->fault))
        return KEEL_OK;
    *err = t->why;
    return err->code = KEEL_EPARTIAL;
}

int trusting_read(Attempt *attempt, Error *err)
{
    Trust *trust = attempt->group->swapper->trust;
    AttemptTrust *t = &attempt->trust;
    if (!trust)
        return read_image(attempt, 0, err);
    manifest_done(&t->manifest);
    if (trust_learn(trust, attempt->path, &t->manifest, &t->fault, &t->why))
        return may_come(t, err);
    int rc = read_image(attempt, most_bytes(&t->manifest), err);
    if (rc == KEEL_ELIMIT) {
        t->fault = TRUST_OTHER_BYTES;
        err_set(&t->why, KEEL_EUNTRUSTED,
                "these are not the bytes that were signed: they were %llu, and it has far more",
                (unsigned long long)t->manifest.facts.bytes);
        return may_come(t, err);
    }
    if (rc)
        return rc;
    ImageTrust *known = image_trust(attempt->image);
    rc = digest_bytes(attempt->image->data, attempt->image->bytes, &known->digest, err);
    if (rc)
        return rc;
    known->digested = 1;
    if (trust_fit(trust, &t->manifest, attempt->image, &known->digest, &t->proof, &t->fault,
                  &t->why))
        return may_come(t, err);
    known->trusted = 1;
    known->signer = t->proof.signer;
    known->counter = t->proof.counter;
    manifest_done(&t->manifest);
    return KEEL_OK;
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
    ImageTrust *fresh = attempt->image ? image_trust(attempt->image) : NULL;
    const ImageTrust *here = running ? image_trust(running->image) : NULL;
    if (fresh && here && here->trusted && digest_equal(&here->digest, &fresh->digest)) {
        *fresh = *here;
        return KEEL_OK;
    }
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

/* Where functions tell nothing: a changed place that only the link fills in, or no symbols. */
static void name_sections(const Difference *d, const Anatomy *before, const Anatomy *after,
                          char *to, size_t room)
{
    snprintf(to, room, "%s",
             d->sections.count ? "; sections that differ:" : "; nothing of what is loaded differs");
    for (uint32_t i = 0; i < d->sections.count && i < NAMED; i++) {
        const Change *c = &d->sections.list[i];
        size_t at = strlen(to);
        snprintf(to + at, room - at, " %.40s",
                 c->after >= 0 ? anatomy_string(after, after->sections[c->after].name)
                               : anatomy_string(before, before->sections[c->before].name));
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
        char said[300];
        difference_say(&d, &before, after, said, sizeof said);
        if (d.functions.count + d.objects.count && *said)
            snprintf(to, room, "; %s", said);
        else
            name_sections(&d, &before, after, to, room);
    }
    difference_done(&d);
    buf_done(&packed);
}

static void alarm_and_refuse(Attempt *attempt)
{
    Group *group = attempt->group;
    char differs[400] = "";
    if (attempt->trust.fault == TRUST_OTHER_BYTES && attempt->image)
        name_difference(attempt, differs, sizeof differs);
    size_t at = strlen(group->err.text);
    snprintf(group->err.text + at, sizeof group->err.text - at, "%s", differs);
    /* Who can write the file can touch it a thousand times, and the log remembers a thousand lines.
     */
    Slot *slot = attempt->slot;
    Hash said = hash_bytes(group->err.text, strlen(group->err.text));
    int64_t now = clock_now_ns();
    int again = hash_equal(said, slot->alarm) && now - slot->alarm_ns < ALARM_AGAIN_NS;
    log_write(again ? LOG_DEBUG : LOG_ERROR, "trust", "ALARM: %s", group->err.text);
    if (!again) {
        slot->alarm = said;
        slot->alarm_ns = now;
    }
    group_refuse(group);
}

void trusting_refuse(Attempt *attempt)
{
    Group *group = attempt->group;
    if (trusting_gave_up(attempt)) /* it wasn't read at all */
        trusting_judge(attempt, NULL, &group->err);
    if (group->err.code != KEEL_EUNTRUSTED) {
        group_refuse(group);
    } else if (attempt->trust.fault == TRUST_OTHER_BYTES && attempt->image) {
        changes_ask(attempt);
        changes_await(attempt, alarm_and_refuse);
    } else {
        alarm_and_refuse(attempt);
    }
}
