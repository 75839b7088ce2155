/* keel.tweak/1 over the slot's tweaks. [frame] */
#include <keel/tweak.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "host/services.h"

static double value(keel *k, const char *name, const char *file, uint32_t kind, double initial,
                    double least, double most)
{
    Slot *slot = service_slot(k);
    if (!slot || !slot->running)
        return initial;
    Tweak asked = {
        .kind = kind & 3u, .initial = initial, .least = least, .most = most < least ? least : most};
    snprintf(asked.name, sizeof asked.name, "%s", name);
    size_t bytes = strlen(file);
    snprintf(asked.file, sizeof asked.file, "%s",
             bytes < sizeof asked.file ? file : file + (bytes - sizeof asked.file + 1));
    const char *warning = NULL;
    double now = tweaks_value(&slot->tweaks, slot->state, slot->running->number, &asked, &warning);
    if (warning && k->mode == KEEL_MODE_LIVE) {
        guard_host_enter();
        log_write(LOG_WARN, "tweak", "%s: %s %s", slot->name, asked.name, warning);
        guard_host_leave();
    }
    return now;
}

const struct keel_tweak_1 service_tweak_1 = {.size = sizeof service_tweak_1, .value = value};
