/* Which slots go first, and what became of it. Owns the timer that looks while slots wait. */
#include "host/canary.h"

#include <string.h>

#include "base/log.h"

enum { LOOK_MS = 50 };

static int same_file(const Watched *a, const Watched *b)
{
    return a->path && b->path && !strcmp(a->path, b->path);
}

/* The first slots, in the order in which they were added: the same ones each time. */
static int is_first(const Host *host, const Watched *watched)
{
    uint64_t slots = 0, before = 0;
    for (int i = 0; i < host->watched_count; i++)
        if (same_file(&host->watched[i], watched)) {
            before += &host->watched[i] < watched;
            slots++;
        }
    uint64_t first = (slots * host->options.canary_permille + 999) / 1000;
    return before < first || slots < 2;
}

int canary_waits(Host *host, Watched *watched)
{
    if (!host->options.canary_permille)
        return 0;
    Slot *slot = watched->slot;
    if (is_first(host, watched)) {
        watched->unwell = atomic_load(&slot->taken_back) + atomic_load(&slot->refused);
        return 0;
    }
    if (!watched->held)
        log_write(LOG_DEBUG, "swap", "%s: waits until others have proven the new build",
                  slot->name);
    watched->held = 1;
    if (!uv_is_active((const uv_handle_t *)&host->canary_look))
        uv_timer_again(&host->canary_look);
    return 1;
}

typedef enum Fate { PENDING, PROVEN, UNWELL } Fate;

/* What became of the build in the slots that went first. One that runs the same code as before is
 * proven. */
static Fate fate(const Host *host, const Watched *held, const Watched **ret_slot)
{
    Fate all = PROVEN;
    for (int i = 0; i < host->watched_count; i++) {
        const Watched *watched = &host->watched[i];
        if (!same_file(watched, held) || watched->held || !is_first(host, watched))
            continue;
        *ret_slot = watched;
        Slot *slot = watched->slot;
        if (atomic_load(&slot->taken_back) + atomic_load(&slot->refused) != watched->unwell)
            return UNWELL;
        if (watched->active || watched->again || atomic_load(&slot->trying))
            all = PENDING;
    }
    return all;
}

static void look(uv_timer_t *timer)
{
    Host *host = timer->data;
    int left = 0;
    for (int i = 0; i < host->watched_count; i++) {
        Watched *watched = &host->watched[i];
        const Watched *first = watched;
        Fate now = watched->held ? fate(host, watched, &first) : PENDING;
        if (now == UNWELL)
            log_warn("swap", "%s: stays as it is: %s, which went first, didn't keep the new build",
                     watched->slot->name, first->slot->name);
        if (now == PROVEN)
            host_begin_by_file(host, watched);
        if (now != PENDING)
            watched->held = 0;
        left += watched->held;
    }
    if (!left || host->closing)
        uv_timer_stop(timer);
}

void canary_begin(Host *host)
{
    uv_timer_init(loop_uv(host->loop), &host->canary_look);
    host->canary_look.data = host;
    uv_timer_start(&host->canary_look, look, LOOK_MS, LOOK_MS);
    uv_timer_stop(&host->canary_look);
}

void canary_end(Host *host)
{
    uv_close((uv_handle_t *)&host->canary_look, NULL);
}
