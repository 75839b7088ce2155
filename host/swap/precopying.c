/* Rounds of pre-copying: the frame thread pins and counts, a thread of the pool converts, until
 * what frames change meanwhile is little or doesn't get less. Owns an attempt's MigratePrecopy. */
#include "swap/precopying.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/known_threads.h"
#include "base/log.h"
#include "swap/group.h"
#include "swap/migrating.h"

enum {
    FEW_PAGES = 100,
    ROUNDS_MOST = 12,
    STUCK_MOST = 3, /* rounds that left no less than three quarters of the one before */
    WAITED_MOST = 240
};
#define WAIT_NS INT64_C(4000000000)

/* Tests have small arrays copied ahead, too. */
static uint64_t least_bytes(void)
{
    const char *given = getenv("KEEL_PRECOPY_BYTES");
    char *end;
    unsigned long long bytes = given && *given ? strtoull(given, &end, 10) : PRECOPY_BYTES;
    return given && *given && *end ? PRECOPY_BYTES : bytes;
}

static int begin(Attempt *attempt)
{
    Migrating *how = &attempt->migrating;
    Slot *slot = attempt->slot;
    Precopying *ahead = &how->ahead;
    int64_t now_ns = clock_now_ns();
    ahead->asked = 1;
    if (attempt->how != TRIAL_KEEP || !how->there || !slot->running || !attempt->fresh ||
        slot->running->number != attempt->expected || !migration_changes(how->there) ||
        migrating_by_hooks(attempt, slot->running, attempt->fresh))
        return 0;
    if (!ahead->waited)
        ahead->since_ns = now_ns;
    int rc = precopy_begin(how->there, slot->state, least_bytes(), &ahead->precopy);
    if (rc == KEEL_EBUSY && ahead->waited++ < WAITED_MOST && now_ns - ahead->since_ns < WAIT_NS) {
        ahead->asked = 0; /* what pins hold may be given back: the next boundary asks again */
        return 1;
    }
    ahead->no_room = rc == KEEL_EBUSY || rc == KEEL_ENOSPACE;
    if (!ahead->precopy)
        return 0;
    ahead->since_ns = now_ns;
    ahead->before = UINT32_MAX;
    ahead->fill = 1;
    return 1;
}

/* Another round, or is it time? */
static int look(Attempt *attempt)
{
    Precopying *ahead = &attempt->migrating.ahead;
    if (!ahead->asked)
        return begin(attempt);
    if (!ahead->precopy || ahead->ready)
        return 0;
    uint32_t behind = precopy_behind(ahead->precopy);
    ahead->rounds++;
    ahead->stuck += behind / 3 >= ahead->before / 4;
    ahead->before = behind;
    if (!ahead->failed && behind > FEW_PAGES && ahead->rounds < ROUNDS_MOST &&
        ahead->stuck < STUCK_MOST && !precopy_next(ahead->precopy))
        return ahead->fill = 1;
    ahead->spent_ns = clock_now_ns() - ahead->since_ns;
    ahead->ready = 1;
    precopy_unpin(ahead->precopy);
    return 0;
}

int precopying_on_frame(Group *group, void (*then)(Group *group))
{
    int more = 0;
    group->converted = then;
    for (uint32_t i = 0; i < group->count; i++)
        more += look(&group->attempts[i]);
    if (!more)
        return 0;
    /* The others have pages behind that are getting more: they look once more, too. */
    for (uint32_t i = 0; i < group->count; i++)
        group->attempts[i].migrating.ahead.ready = 0;
    return more;
}

static void work(uv_work_t *request)
{
    Group *group = request->data;
    known_thread_begin();
    for (uint32_t i = 0; i < group->count; i++) {
        Precopying *ahead = &group->attempts[i].migrating.ahead;
        if (ahead->precopy && ahead->fill)
            ahead->failed |= precopy_fill(ahead->precopy) != 0;
        ahead->fill = 0;
    }
    known_thread_end();
}

static void worked(uv_work_t *request, int status)
{
    Group *group = request->data;
    for (uint32_t i = 0; i < group->count && status; i++)
        group->attempts[i].migrating.ahead.failed = 1;
    group->converted(group);
}

void precopying_work(void *user)
{
    Group *group = user;
    group->work.data = group;
    if (group->swapper->closing ||
        uv_queue_work(loop_uv(group->swapper->loop), &group->work, work, worked))
        worked(&group->work, UV_ECANCELED);
}

static void end_on_frame(void *user)
{
    precopy_end(user);
}

void precopying_end(Attempt *attempt)
{
    Swapper *swapper = attempt->group->swapper;
    Precopying *ahead = &attempt->migrating.ahead;
    if (ahead->precopy)
        swapper->at_boundary(swapper->host, end_on_frame, ahead->precopy);
    ahead->precopy = NULL;
}

void precopying_say(const Attempt *attempt)
{
    const Precopying *ahead = &attempt->migrating.ahead;
    uint64_t bytes = attempt->migrating.result.ahead;
    if (ahead->no_room)
        log_info("swap",
                 "%s: large arrays were converted in the boundary: the slot's range has no room "
                 "to convert them ahead",
                 attempt->slot->name);
    if (!ahead->ready)
        return;
    if (bytes)
        log_info("swap",
                 "%s: %.1f MiB of that converted ahead, in %.0f ms and %u round%s; %u pages "
                 "had changed since",
                 attempt->slot->name, (double)bytes / (1 << 20), (double)ahead->spent_ns / 1e6,
                 ahead->rounds, ahead->rounds == 1 ? "" : "s", ahead->before);
    else
        log_info(
            "swap",
            "%s: large arrays were converted in the boundary: what was converted ahead was lost",
            attempt->slot->name);
}
