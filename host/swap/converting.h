/* What a migration is told of the generations that it goes between: where they are, and how to run
 * the KEEL_CONVERTs of the one that comes. Frame thread. */
#ifndef SWAP_CONVERTING_H
#define SWAP_CONVERTING_H

#include "state/migrate.h"
#include "swap/slot.h"

/* Must stay while the migration runs. */
typedef struct Converting {
    Slot *slot;
    Generation *generation; /* that comes; loaded */
    /* Where a KEEL_CONVERT faulted, before anything is allocated or freed: a host that goes on may
     * have to find out whether it can (swap_recover). NULL: the process ends with the failure. */
    void (*recover)(const Slot *slot, const Fault *fault);
} Converting;

/* Has `run` call them in the slot, guarded. A refusal or a fault becomes KEEL_EREFUSED. */
void converting_use(Converting *converting, MigrateRun *run);

static inline MigratePlace converting_place(const Generation *generation)
{
    return (MigratePlace){generation->load_first, generation->load_last, generation->load_bias};
}

#endif
