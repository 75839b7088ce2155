/* The swap's side of migration: plans on the engine thread, execution at the boundary. Owns the
 * plans and the attic of an attempt. */
#include "swap/migrating.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "image/reading.h"
#include "swap/brought.h"
#include "swap/converting.h"
#include "swap/precopying.h"

#define TRIAL_MIB_NS \
    (INT64_C(20) * 1000 * 1000) /* for each MiB that a trial migrates, as for save */

void migrating_look(Attempt *attempt)
{
    const Generation *running = attempt->slot->running;
    if (!running)
        running = brought_ghost(attempt->slot->brought); /* what ran in the process before */
    Migrating *how = &attempt->migrating;
    how->from_place = converting_place(running);
    memcpy(how->from_statics, running->statics, sizeof how->from_statics);
    how->from_static_count = running->static_count;
    how->saves = running->table && TABLE_ENTRY(running->table, save);
    StateStatus status;
    state_status(attempt->slot->state, &status);
    how->used_bytes = status.used_bytes;
    how->types.bytes = 0;
    migration_list_types(attempt->slot->state, &attempt->migrating.types);
}

static int plan(Attempt *attempt, const Schema *from, const Schema *to, Migration **ret, Error *err)
{
    const Buf *types = &attempt->migrating.types;
    int rc = migration_new(from, to, ret, err);
    for (size_t at = 0; !rc && at < types->bytes;) {
        const char *spelled = types->data + at, *file = spelled + strlen(spelled) + 1;
        if (migration_learn(*ret, spelled, file))
            rc = err_set(err, KEEL_ENOMEM, "no memory for a plan of what it keeps");
        at += (size_t)(file + strlen(file) + 1 - spelled);
    }
    return rc;
}

int migrating_plan(Attempt *attempt, Error *err)
{
    Error why = {0};
    const char *unread = "it was not read";
    const Reading *before = attempt->from ? image_reading(attempt->from) : NULL;
    const Reading *now = image_reading(attempt->image);
    const Schema *from = reading_schema(before, &unread);
    const Schema *to = from ? reading_schema(now, &unread) : NULL;
    if (*attempt->unread && !(from ? now : before))
        unread = attempt->unread;
    migrating_done(attempt);
    attempt->migrating.no_rules[0] = 0;
    if (attempt->how != TRIAL_KEEP)
        return KEEL_OK;
    int rc = to ? plan(attempt, from, to, &attempt->migrating.there, &why)
                : err_set(&why, KEEL_EUNSUPPORTED, "%s: %s",
                          from ? "the new image" : "the running image", unread);
    if (rc == KEEL_ETYPE)
        return err_set(err, rc, "%s: %s", attempt->slot->name, why.text);
    Error ignored = {0};
    if (!rc && plan(attempt, to, from, &attempt->migrating.back, &ignored))
        attempt->migrating.back = NULL; /* then a rollback goes to the state at the swap */
    if (rc) {
        snprintf(attempt->migrating.no_rules, sizeof attempt->migrating.no_rules, "%s", why.text);
        log_debug("swap", "%s: the state is kept without rules: %s", attempt->slot->name, why.text);
    }
    return KEEL_OK;
}

void migrating_ask(const Attempt *attempt, TrialRequest *request)
{
    const Migrating *how = &attempt->migrating;
    if (!how->there || request->how != TRIAL_KEEP)
        return;
    if (migration_changes(how->there)) { /* it may rewrite all of the state */
        request->time_limit_ns =
            TRIAL_TIME_LIMIT_NS + (int64_t)(how->used_bytes >> 20) * TRIAL_MIB_NS;
        request->memory_limit_bytes = TRIAL_MEMORY_LIMIT_BYTES + 3 * how->used_bytes;
    }
    request->from = attempt->from;
    request->from_place = how->from_place;
    memcpy(request->from_statics, how->from_statics, sizeof request->from_statics);
    request->from_static_count = how->from_static_count;
    request->from_saves = how->saves;
    request->from_schema = reading_part(image_reading(attempt->from), READING_SCHEMA, NULL);
    request->to_schema = reading_part(image_reading(attempt->image), READING_SCHEMA, NULL);
}

int migrating_by_hooks(const Attempt *attempt, const Generation *old, const Generation *fresh)
{
    return attempt->migrating.there && migration_changes(attempt->migrating.there) &&
           TABLE_ENTRY(old->table, save) && TABLE_ENTRY(fresh->table, restore);
}

static int has_checkpoint(const Attempt *attempt)
{
    StateStatus status;
    state_status(attempt->slot->state, &status);
    return status.tier != STATE_TIER_OFF;
}

int migrating_over(Attempt *attempt, const Generation *old, Error *err)
{
    Migrating *how = &attempt->migrating;
    if (!how->there)
        return KEEL_OK;
    MigrateRun run = {.from = converting_place(old),
                      .to = converting_place(attempt->fresh),
                      .check_first = !has_checkpoint(attempt),
                      .ret_attic = &how->attic,
                      .precopy = how->ahead.precopy,
                      .before = how->before};
    Converting converting = {attempt->slot, attempt->fresh, swap_recover};
    if (run.check_first && migration_calls(how->there))
        return err_set(
            err, KEEL_EREFUSED,
            "it has a KEEL_CONVERT, which may refuse, and its state has no checkpoint to "
            "go back to");
    converting_use(&converting, &run);
    migrate_attic_free(how->attic);
    how->attic = NULL;
    int64_t before = clock_now_ns();
    int rc = migration_run(how->there, attempt->slot->state, &run, &how->result, err);
    how->spent_ns = clock_now_ns() - before;
    how->done = !rc;
    return rc;
}

int migrating_back(Attempt *attempt, const Generation *fresh, const Generation *old, Error *err)
{
    Migrating *how = &attempt->migrating;
    if (!how->done)
        return KEEL_EUNSUPPORTED;
    if (!how->back)
        return err_set(err, KEEL_ETYPE, "the rules know no way back");
    MigrateResult result;
    MigrateRun run = {.from = converting_place(fresh),
                      .to = converting_place(old),
                      .check_first = !has_checkpoint(attempt),
                      .attic = how->attic,
                      .before = how->before};
    Converting converting = {attempt->slot, (Generation *)(uintptr_t)old, swap_recover};
    converting_use(&converting, &run);
    return migration_run(how->back, attempt->slot->state, &run, &result, err);
}

int migrating_changed(const Attempt *attempt)
{
    const MigrateResult *r = &attempt->migrating.result;
    return attempt->migrating.done && (r->objects || r->moved || r->pointers || r->literals);
}

void migrating_done(Attempt *attempt)
{
    Migrating *how = &attempt->migrating;
    migration_free(how->there);
    migration_free(how->back);
    migrate_attic_free(how->attic);
    how->there = how->back = NULL;
    how->attic = NULL;
    how->done = 0;
}

void migrating_say(const Attempt *attempt)
{
    const Migrating *how = &attempt->migrating;
    const MigrateResult *r = &how->result;
    if (!how->done)
        return;
    if (*r->text)
        log_info("swap", "%s: migrated %s in %.1f ms%s%s", attempt->slot->name, r->text,
                 (double)how->spent_ns / 1e6, *r->more ? ";" : "", r->more);
    else if (*r->more)
        log_info("swap", "%s:%s", attempt->slot->name, r->more);
    precopying_say(attempt);
    log_debug(
        "swap",
        "%s: %llu objects rewritten, %llu of them moved, %llu pointers into the code followed, "
        "%llu literals kept, %llu statics carried",
        attempt->slot->name, (unsigned long long)r->objects, (unsigned long long)r->moved,
        (unsigned long long)r->pointers, (unsigned long long)r->literals,
        (unsigned long long)r->statics);
}
