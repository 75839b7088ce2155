/* The tweaks of a slot. Owns what the generation asked for; the values are the state's, where the
 * module can write, so every number that is read there is checked. Frame thread. */
#include "swap/tweaks.h"

#include <keel/tweak.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "fault/guard.h"

#define KEPT_MAGIC UINT64_C(0x316b777474656b6b)

enum { ROOM_FIRST = 8 };

typedef struct KeptTweak {
    uint64_t hash;
    char name[TWEAK_NAME_BYTES];
    double value, initial;
} KeptTweak;

typedef struct KeptTweaks {
    uint64_t magic;
    uint32_t count, room;
    KeptTweak tweak[];
} KeptTweaks;

static uint64_t kept_bytes(uint32_t room)
{
    return sizeof(KeptTweaks) + (uint64_t)room * sizeof(KeptTweak);
}

static KeptTweaks *kept_of(const State *state)
{
    KeptTweaks *kept = state_kept(state, sizeof *kept);
    return kept && kept->magic == KEPT_MAGIC && kept->room <= TWEAKS_MOST &&
                   kept->count <= kept->room && state_count(state, kept) >= kept_bytes(kept->room)
               ? kept
               : NULL;
}

static uint64_t hash_of(const char *name)
{
    return hash_bytes(name, strlen(name)).low;
}

static KeptTweak *find_kept(KeptTweaks *kept, uint64_t hash, const char *name)
{
    for (uint32_t i = 0; kept && i < kept->count; i++)
        if (kept->tweak[i].hash == hash &&
            !strncmp(kept->tweak[i].name, name, TWEAK_NAME_BYTES - 1))
            return &kept->tweak[i];
    return NULL;
}

/* A place for one more; NULL when the arena is full. */
static KeptTweak *add_kept(State *state, KeptTweaks *kept, uint64_t hash, const char *name)
{
    if (!kept || kept->count == kept->room) {
        uint32_t room = kept && kept->room ? kept->room * 2 : ROOM_FIRST;
        if (room > TWEAKS_MOST)
            return NULL;
        KeptTweaks *grown = state_alloc_block(state, kept_bytes(room), 16);
        if (!grown)
            return NULL;
        memset(grown, 0, kept_bytes(room));
        if (kept) {
            memcpy(grown, kept, kept_bytes(kept->count));
            state_free(state, kept);
        }
        grown->magic = KEPT_MAGIC;
        grown->room = room;
        state_keep(state, grown);
        kept = grown;
    }
    KeptTweak *tweak = &kept->tweak[kept->count++];
    tweak->hash = hash;
    snprintf(tweak->name, sizeof tweak->name, "%s", name);
    return tweak;
}

static double whole(double value)
{
    if (!(value > -0x1p52 && value < 0x1p52)) /* all of those are whole */
        return value;
    return (double)(int64_t)(value < 0 ? value - 0.5 : value + 0.5);
}

static double inside(const Tweak *tweak, double value)
{
    if (!(value >= tweak->least)) /* also what is no number */
        value = tweak->least;
    if (value > tweak->most)
        value = tweak->most;
    return tweak->kind == KEEL_TWEAK_REAL ? value : whole(value);
}

static TweakAsked *find_asked(const Tweaks *tweaks, uint64_t hash, const char *name)
{
    for (uint32_t i = 0; i < tweaks->count; i++)
        if (tweaks->asked[i].hash == hash && !strcmp(tweaks->asked[i].tweak.name, name))
            return &tweaks->asked[i];
    return NULL;
}

void tweaks_done(Tweaks *tweaks)
{
    free(tweaks->asked);
    *tweaks = (Tweaks){0};
}

/* Another generation asks anew; what was set and not taken yet is kept. */
static void begin_generation(Tweaks *tweaks, uint64_t generation)
{
    if (tweaks->generation == generation)
        return;
    tweaks->generation = generation;
    tweaks->count = 0;
    tweaks->warned = 0;
}

static TweakAsked *add_asked(Tweaks *tweaks, uint64_t hash, const Tweak *asked)
{
    if (tweaks->count == TWEAKS_MOST)
        return NULL;
    if (!tweaks->asked && (tweaks->asked = calloc(TWEAKS_MOST, sizeof *tweaks->asked)) == NULL)
        return NULL;
    TweakAsked *place = &tweaks->asked[tweaks->count++];
    *place = (TweakAsked){.hash = hash, .tweak = *asked};
    return place;
}

double tweaks_value(Tweaks *tweaks, State *state, uint64_t generation, const Tweak *asked,
                    const char **ret_warning)
{
    static const char *const two = "has two defaults in this build: the first one counts";
    static const char *const many = "is one too many: a slot has at most 128 tweaks";
    uint64_t hash = hash_of(asked->name);
    guard_host_enter(); /* a deadline waits: this isn't undone with the frame */
    begin_generation(tweaks, generation);
    TweakAsked *known = find_asked(tweaks, hash, asked->name);
    if (!known)
        known = add_asked(tweaks, hash, asked);
    if (!known && !tweaks->warned) {
        tweaks->warned = 1;
        *ret_warning = many;
    } else if (known && known->tweak.initial != asked->initial && !known->warned) {
        known->warned = 1;
        *ret_warning = two;
    }
    if (known) {
        known->tweak.least = asked->least;
        known->tweak.most = asked->most;
    }
    guard_host_leave();
    if (!known)
        return inside(asked, asked->initial);
    KeptTweaks *table = kept_of(state);
    KeptTweak *kept = find_kept(table, hash, asked->name);
    if (!kept) {
        kept = add_kept(state, table, hash, asked->name);
        if (!kept)
            return inside(asked, asked->initial);
        kept->value = kept->initial = known->tweak.initial;
    } else if (kept->initial != known->tweak.initial) { /* the source has another default now */
        kept->value = kept->initial = known->tweak.initial;
    }
    return inside(asked, kept->value);
}

uint32_t tweaks_list(const Tweaks *tweaks, const State *state, uint64_t generation,
                     Tweak ret[TWEAKS_MOST])
{
    uint32_t count = tweaks->generation == generation ? tweaks->count : 0;
    KeptTweaks *table = kept_of(state);
    for (uint32_t i = 0; i < count; i++) {
        const TweakAsked *asked = &tweaks->asked[i];
        const KeptTweak *kept = find_kept(table, asked->hash, asked->tweak.name);
        ret[i] = asked->tweak;
        if (!asked->wanted)
            ret[i].value =
                kept && kept->initial == asked->tweak.initial ? kept->value : asked->tweak.initial;
        ret[i].value = inside(&ret[i], ret[i].value);
    }
    return count;
}

/* ---- setting ---- */

/* Levenshtein's distance, of names that are short. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[TWEAK_NAME_BYTES + 1];
    size_t n = strnlen(b, TWEAK_NAME_BYTES);
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < n; j++) {
            unsigned above = row[j + 1];
            unsigned least = diagonal + (a[i] != b[j]);
            least = above + 1 < least ? above + 1 : least;
            row[j + 1] = row[j] + 1 < least ? row[j] + 1 : least;
            diagonal = above;
        }
    }
    return row[n];
}

static int unknown(const Tweaks *tweaks, uint32_t count, const char *name, Error *err)
{
    enum { NAMED = 3 };
    if (!count)
        return err_set(err, KEEL_ENOTFOUND,
                       "the module has no tweaks: write KEEL_TWEAK(k, %.40s, 1, 0, 2) in its frame",
                       name);
    char near[NAMED * (TWEAK_NAME_BYTES + 2)] = "";
    uint64_t told[(TWEAKS_MOST + 63) / 64] = {0};
    size_t used = 0;
    for (uint32_t n = 0; n < NAMED && n < count; n++) {
        uint32_t best = 0;
        unsigned best_distance = UINT32_MAX;
        for (uint32_t i = 0; i < count; i++) {
            unsigned d = distance(name, tweaks->asked[i].tweak.name);
            if (!(told[i / 64] >> i % 64 & 1) && d < best_distance) {
                best = i;
                best_distance = d;
            }
        }
        told[best / 64] |= UINT64_C(1) << best % 64;
        used += (size_t)snprintf(near + used, sizeof near - used, "%s%s", n ? ", " : "",
                                 tweaks->asked[best].tweak.name);
    }
    return err_set(err, KEEL_ENOTFOUND, "no tweak is called %.47s: there %s %s%s", name,
                   count == 1 ? "is" : "are", near, count > NAMED ? " and others" : "");
}

typedef struct TweakInput {
    char name[TWEAK_NAME_BYTES];
    double value;
} TweakInput;

int tweaks_set(Tweaks *tweaks, uint64_t generation, const char *name, double value, Inputs *inputs,
               int64_t time_ns, Error *err)
{
    uint32_t count = tweaks->generation == generation ? tweaks->count : 0;
    TweakAsked *asked = count ? find_asked(tweaks, hash_of(name), name) : NULL;
    if (!asked)
        return unknown(tweaks, count, name, err);
    const Tweak *tweak = &asked->tweak;
    if (!(value >= tweak->least && value <= tweak->most))
        return err_set(err, KEEL_EINVAL, "%s goes from %.9g to %.9g, not to %.9g", name,
                       tweak->least, tweak->most, value);
    if (tweak->kind != KEEL_TWEAK_REAL && value != whole(value))
        return err_set(err, KEEL_EINVAL, "%s is a whole number, not %.9g", name, value);
    TweakInput input = {.value = value};
    snprintf(input.name, sizeof input.name, "%s", name);
    const struct keel_event event = {
        .kind = TWEAK_EVENT, .time_ns = time_ns, .data = &input, .data_bytes = sizeof input};
    int rc = inputs_put(inputs, &event);
    if (rc)
        return err_set(err, rc, "the slot takes no more inputs: it stands still");
    asked->tweak.value = value;
    asked->wanted = 1;
    return KEEL_OK;
}

void tweaks_apply(Tweaks *tweaks, State *state, const struct keel_event *event)
{
    TweakInput input;
    if (event->data_bytes != sizeof input)
        return;
    memcpy(&input, event->data, sizeof input);
    input.name[sizeof input.name - 1] = 0;
    uint64_t hash = hash_of(input.name);
    TweakAsked *asked = find_asked(tweaks, hash, input.name);
    if (asked && asked->wanted && asked->tweak.value == input.value)
        asked->wanted = 0;
    KeptTweaks *table = kept_of(state);
    KeptTweak *kept = find_kept(table, hash, input.name);
    if (!kept && asked && (kept = add_kept(state, table, hash, input.name)) != NULL)
        kept->initial = asked->tweak.initial;
    if (kept)
        kept->value = input.value;
}
