/* The tables that the host offers to modules. Constant; any thread. */
#ifndef HOST_SERVICES_H
#define HOST_SERVICES_H

#include "swap/slot.h"

/* The table, or NULL when there is none by this id or it is smaller than `min_size`. */
const void *services_find(const char *id, uint32_t min_size);

/* The ids, ended by NULL. */
const char *const *services_ids(void);

/* Fills the context's functions. */
void services_give(Slot *slot);

extern const struct keel_state_1 service_state_1;
extern const struct keel_log_1 service_log_1;
extern const struct keel_time_1 service_time_1;
extern const struct keel_task_1 service_task_1;
extern const struct keel_draw_1 service_draw_1;
extern const struct keel_tweak_1 service_tweak_1;
extern const struct keel_input_1 service_input_1;
extern const struct keel_asset_1 service_asset_1;
extern const struct keel_audio_1 service_audio_1;

/* The slot of a [frame] call, or NULL when this thread isn't inside one of it. */
static inline Slot *service_slot(keel *k)
{
    Slot *slot = (Slot *)k;
    return slot_current == slot ? slot : NULL;
}

/* Reads every page of the module's memory before the host is entered, so that a bad pointer is the
 * module's fault. */
static inline void service_probe(const void *data, uint64_t bytes)
{
    const volatile uint8_t *at = data;
    for (uint64_t i = 0; i < bytes; i += 4096)
        (void)at[i];
    if (bytes)
        (void)at[bytes - 1];
}

#endif
