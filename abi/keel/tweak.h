/* keel.tweak/1: numbers that are set while the program runs, by a slider on screen or by
 * `keel ctl tweak gravity=3`.
 *
 *     p->vy += KEEL_TWEAK(k, gravity, 9.8, 0, 20) * dt;
 *
 * is 9.8 until somebody sets it between 0 and 20. The value lives in the slot's state: it survives
 * every swap and is undone with the frame that faults. A default that changes in the source wins
 * over what was set. All [frame]. */
#ifndef KEEL_TWEAK_H
#define KEEL_TWEAK_H

#include "context.h"

KEEL_BEGIN

#define KEEL_TWEAK_1 "keel.tweak/1"

enum {
    KEEL_TWEAK_REAL = 0,
    KEEL_TWEAK_INT = 1,
    KEEL_TWEAK_SWITCH = 2, /* 0 or 1 */
    KEEL_TWEAK_COLOR = 3   /* 0xRRGGBBAA */
};

/* Names are C identifiers of at most 47 bytes, 128 a slot; what is beyond stays at its default. */
struct keel_tweak_1 {
    uint32_t size;
    uint32_t reserved;
    /* The value of the slot's tweak `name`, always in [least, most]; `initial` until it is set. Two
     * calls with one name share a value and should have the same default. [frame] */
    double (*value)(keel *k, const char *name, const char *file, uint32_t kind, double initial,
                    double least, double most);
};

static inline double keel_tweak_value_(keel *k, const char *name, const char *file, uint32_t kind,
                                       double initial, double least, double most)
{
    static const struct keel_tweak_1 *table KEEL_CACHE = NULL;
    if (!table)
        table = (const struct keel_tweak_1 *)k->service(k, KEEL_TWEAK_1, sizeof *table);
    return table ? table->value(k, name, file, kind, initial, least, most) : initial;
}

KEEL_END

#ifdef __cplusplus
#define KEEL_TWEAK_TYPE_(a, b, c) decltype((a) + (b) + (c))
#define KEEL_TWEAK_AS_(T, x) static_cast<T>(x)
#else
#define KEEL_TWEAK_TYPE_(a, b, c) __typeof__((a) + (b) + (c))
#define KEEL_TWEAK_AS_(T, x) ((T)(x))
#endif
#define KEEL_TWEAK_REAL_(x) KEEL_TWEAK_AS_(double, x)

/* The tweak `name` between `least` and `most`, first `initial`. Its type is that of the three
 * together: KEEL_TWEAK(k, gravity, 9.8, 0, 20) is a double, KEEL_TWEAK(k, fish, 12, 1, 99) an int,
 * KEEL_TWEAK(k, size, 2.f, 1, 8) a float. */
#define KEEL_TWEAK(k, name, initial, least, most)                                              \
    KEEL_TWEAK_AS_(                                                                            \
        KEEL_TWEAK_TYPE_(initial, least, most),                                                \
        keel_tweak_value_(                                                                     \
            (k), #name, __FILE__,                                                              \
            KEEL_TWEAK_AS_(KEEL_TWEAK_TYPE_(initial, least, most), 0.5) != 0 ? KEEL_TWEAK_REAL \
                                                                             : KEEL_TWEAK_INT, \
            KEEL_TWEAK_REAL_(initial), KEEL_TWEAK_REAL_(least), KEEL_TWEAK_REAL_(most)))

/* On or off: an int, 1 or 0. */
#define KEEL_TWEAK_SWITCH(k, name, initial) \
    KEEL_TWEAK_AS_(                         \
        int, keel_tweak_value_((k), #name, __FILE__, KEEL_TWEAK_SWITCH, (initial) ? 1 : 0, 0, 1))

/* A colour as keel_clear takes it: a uint32_t, 0xRRGGBBAA. */
#define KEEL_TWEAK_COLOR(k, name, initial)                                             \
    KEEL_TWEAK_AS_(uint32_t, keel_tweak_value_((k), #name, __FILE__, KEEL_TWEAK_COLOR, \
                                               KEEL_TWEAK_REAL_(initial), 0, 4294967295.0))

#endif
