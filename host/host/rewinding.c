/* All slots of a host back in time together. Frame thread, between two frames. */
#include <stdio.h>
#include <string.h>

#include "host/host.h"
#include "swap/past.h"

void host_past_status(const Host *host, HostPast *ret)
{
    *ret = (HostPast){.reach_ns = INT64_MAX};
    int slots = atomic_load(&host->slot_count), with = 0;
    for (int i = 0; i < slots; i++) {
        if (!host->slots[i]->past)
            continue;
        PastStatus status;
        past_status(host->slots[i]->past, &status);
        int64_t reach_ns = host->slots[i]->last_time_ns - status.oldest_ns;
        if (!status.moments || reach_ns < 0)
            reach_ns = 0;
        if (reach_ns < ret->reach_ns)
            ret->reach_ns = reach_ns;
        if (status.why[0])
            memcpy(ret->why, status.why, sizeof ret->why);
        ret->bytes += status.bytes;
        with++;
    }
    if (with)
        return;
    ret->reach_ns = 0;
    snprintf(ret->why, sizeof ret->why, "%s",
             host->past_span_ns ? "nothing runs" : "it is off: keel run --rewind SECONDS");
}

/* Also where all are at the oldest moment already: from there they can be given their inputs. */
static int can_go(const Host *host, Error *err)
{
    HostPast past;
    PastStatus status;
    int slots = atomic_load(&host->slot_count), with = 0, without = 0;
    for (int i = 0; i < slots; i++)
        if (host->slots[i]->past) {
            past_status(host->slots[i]->past, &status);
            with += status.moments != 0;
            without += status.moments == 0;
        }
    if (with && !without)
        return KEEL_OK;
    host_past_status(host, &past);
    return err_set(err, KEEL_EREFUSED, "there is nothing to go back to: %s",
                   past.why[0] ? past.why : "it has just begun");
}

int host_go_back(Host *host, int64_t time_ns, int play, Error *err)
{
    int slots = atomic_load(&host->slot_count), gone = 0;
    int rc = can_go(host, err);
    if (rc)
        return rc;
    for (int i = 0; i < slots; i++)
        if (host->slots[i]->probation.first)
            return err_set(err, KEEL_EBUSY, "a swap is under way");
    Error first = {0};
    int64_t at_ns = 0;
    for (int i = 0; i < slots; i++) {
        Slot *slot = host->slots[i];
        if (!slot->past || !slot->running)
            continue;
        Error why = {0};
        if (past_go(slot->past, past_frame_at(slot->past, time_ns), &why) && !first.code)
            first = why;
        if (why.code == KEEL_OK || why.code == KEEL_EFAULT)
            gone++;
        if (slot->last_time_ns > at_ns)
            at_ns = slot->last_time_ns;
    }
    if (gone) {
        host->module_ns = at_ns;
        host->stood = 1;
    }
    for (int i = 0; i < slots && play && !first.code; i++)
        if (host->slots[i]->past)
            past_play(host->slots[i]->past);
    if (!first.code)
        return KEEL_OK;
    *err = first;
    return first.code;
}

int64_t host_past_time(Host *host, int64_t time_ns)
{
    int slots = atomic_load(&host->slot_count);
    int64_t recorded_ns = 0;
    for (int i = 0; i < slots; i++) {
        Slot *slot = host->slots[i];
        if (!slot->past)
            continue;
        if (!past_playing(slot->past) || slot_stands_still(slot))
            past_go_on(slot->past);
        else if (!recorded_ns || past_next_ns(slot->past) < recorded_ns)
            recorded_ns = past_next_ns(slot->past);
    }
    host->replaying = recorded_ns != 0;
    return host->replaying ? recorded_ns : time_ns;
}
