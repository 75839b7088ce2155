/* The tweaks of a slot: named numbers that a module asks for and people set.
 *
 * Values are in the slot's state (a block of the host's own), so that swaps, undos and snapshots
 * treat them as all else. What the running generation asked for (default, range, file) is beside
 * it, in the host. A value is set as an input of the slot: it takes effect at the begin of a frame
 * and is recorded and played again with the module's own events. Frame thread. */
#ifndef SWAP_TWEAKS_H
#define SWAP_TWEAKS_H

#include <stdint.h>

#include "base/err.h"
#include "state/state.h"
#include "swap/inputs.h"

enum { TWEAK_NAME_BYTES = 48, TWEAK_FILE_BYTES = 256, TWEAKS_MOST = 128 };

/* An input's kind that the module never sees. */
#define TWEAK_EVENT UINT32_C(0x80000002)

/* What people see of one. */
typedef struct Tweak {
    char name[TWEAK_NAME_BYTES];
    char file[TWEAK_FILE_BYTES]; /* as the compiler was told; cut at the front where it is longer */
    uint32_t kind;               /* KEEL_TWEAK_… */
    double value, initial, least, most;
} Tweak;

typedef struct TweakAsked {
    uint64_t hash;
    Tweak tweak; /* value: what was wanted last, while `wanted` */
    int wanted;  /* set, and no frame has taken it yet */
    int warned;
} TweakAsked;

typedef struct Tweaks {
    uint64_t generation; /* whose */
    uint32_t count;
    int warned;
    TweakAsked *asked; /* in the order they were asked for */
} Tweaks;

void tweaks_done(Tweaks *tweaks);

/* What the module's call answers. `*ret_warning`, if not NULL afterwards, is one sentence for the
 * log. Allocates in the state. */
double tweaks_value(Tweaks *tweaks, State *state, uint64_t generation, const Tweak *asked,
                    const char **ret_warning);

/* Those that `generation` has asked for, in order, with their values. Returns how many. */
uint32_t tweaks_list(const Tweaks *tweaks, const State *state, uint64_t generation,
                     Tweak ret[TWEAKS_MOST]);

/* Puts the input that sets one. KEEL_ENOTFOUND (the sentence names the nearest ones), KEEL_EINVAL
 * out of its range, KEEL_ELIMIT. */
int tweaks_set(Tweaks *tweaks, uint64_t generation, const char *name, double value, Inputs *inputs,
               int64_t time_ns, Error *err);

/* Carries out such an input. */
void tweaks_apply(Tweaks *tweaks, State *state, const struct keel_event *event);

#endif
