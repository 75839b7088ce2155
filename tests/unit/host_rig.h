/* What tests of a whole host share: a host with slots of the module of host_part.h, frames on the
 * test's own thread, swaps asked for on another. Time is the rig's own: 1 ms a frame. */
#ifndef HOST_RIG_H
#define HOST_RIG_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <keel/host.h>

#include "../fixtures/host_part.h"

enum { RIG_SLOTS = 4, RIG_PATIENCE = 60000 }; /* frames until a wait counts as a hang */

typedef struct Rig {
    keel_host *host;
    keel_slot *slots[RIG_SLOTS];
    struct part parts[RIG_SLOTS];
    int64_t now_ns;
} Rig;

static inline const char *rig_file(const char *fixture)
{
    static _Thread_local char paths[8][512];
    static _Thread_local int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s.so", KEEL_TEST_FIXTURES, fixture);
    return path;
}

static inline struct keel_host_options rig_options(void)
{
    return (struct keel_host_options){.size = sizeof(struct keel_host_options),
                                      .trial = KEEL_TRIAL_OFF,
                                      .probation_frames = 20,
                                      .workers = 2,
                                      .trial_program = KEEL_TEST_TRIAL};
}

static inline void rig_open(Rig *rig, const struct keel_host_options *options)
{
    struct keel_host_options usual = rig_options();
    memset(rig, 0, sizeof *rig);
    rig->now_ns = 1000000000;
    if (keel_host_open(options ? options : &usual, &rig->host))
        fail_msg("%s", keel_host_error());
}

/* No frame has run when this returns. */
static inline int rig_add(Rig *rig, int i, const char *path)
{
    struct keel_slot_options options = {
        .size = sizeof options, .no_watch = 1, .user = &rig->parts[i]};
    return keel_host_add(rig->host, path, &options, &rig->slots[i]);
}

static inline int rig_frame(Rig *rig)
{
    rig->now_ns += 1000000;
    return keel_host_frame_at(rig->host, rig->now_ns);
}

static inline void rig_frames(Rig *rig, int count)
{
    while (count-- > 0)
        rig_frame(rig);
}

static inline struct keel_slot_status rig_status(const Rig *rig, int i)
{
    struct keel_slot_status status = {.size = sizeof status};
    assert_int_equal(keel_slot_query(rig->slots[i], &status), KEEL_OK);
    return status;
}

/* A host with one slot of each of `count` fixtures, past their first frame. */
static inline void rig_start(Rig *rig, const struct keel_host_options *options, int count)
{
    rig_open(rig, options);
    for (int i = 0; i < count; i++)
        if (rig_add(rig, i, rig_file("fx_part1")))
            fail_msg("%s", keel_host_error());
    rig_frame(rig);
}

static inline void rig_close(Rig *rig)
{
    keel_host_close(rig->host);
    rig->host = NULL;
}

/* ---- what is asked for on another thread while frames go on here ---- */

typedef struct RigAsk {
    Rig *rig;
    keel_slot *slots[RIG_SLOTS];
    const char *paths[RIG_SLOTS];
    uint32_t count, flags;
    int rollback, before; /* a rollback of slots[0] */
    int rc;
    char error[1024];
    _Atomic int done;
    pthread_t thread;
} RigAsk;

static inline void *rig_ask_main(void *user)
{
    RigAsk *ask = user;
    ask->rc = ask->rollback
                  ? keel_host_rollback(ask->rig->host, ask->slots[0], (uint32_t)ask->before)
                  : keel_host_swap(ask->rig->host, ask->slots, ask->paths, ask->count, ask->flags);
    snprintf(ask->error, sizeof ask->error, "%s", ask->rc ? keel_host_error() : "");
    atomic_store(&ask->done, 1);
    return NULL;
}

static inline void rig_ask(RigAsk *ask)
{
    assert_int_equal(pthread_create(&ask->thread, NULL, rig_ask_main, ask), 0);
}

static inline int rig_answer(RigAsk *ask)
{
    for (int i = 0; !atomic_load(&ask->done); i++) {
        if (i > RIG_PATIENCE)
            fail_msg("no answer after %d frames", i);
        rig_frame(ask->rig);
        if (i > 50) /* the engine's turn */
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    pthread_join(ask->thread, NULL);
    return ask->rc;
}

static inline void rig_ask_slot(RigAsk *ask, int slot, const char *fixture)
{
    ask->slots[ask->count] = ask->rig->slots[slot];
    ask->paths[ask->count++] = fixture ? rig_file(fixture) : NULL;
}

/* Slot 0 to this fixture. */
static inline int rig_swap(Rig *rig, const char *fixture, uint32_t flags, char ret_error[1024])
{
    RigAsk ask = {.rig = rig, .flags = flags};
    rig_ask_slot(&ask, 0, fixture);
    rig_ask(&ask);
    int rc = rig_answer(&ask);
    if (ret_error)
        memcpy(ret_error, ask.error, sizeof ask.error);
    return rc;
}

/* Slots 0 and 1 in one boundary. */
static inline int rig_swap_two(Rig *rig, const char *first, const char *second, uint32_t flags,
                               char ret_error[1024])
{
    RigAsk ask = {.rig = rig, .flags = flags};
    rig_ask_slot(&ask, 0, first);
    rig_ask_slot(&ask, 1, second);
    rig_ask(&ask);
    int rc = rig_answer(&ask);
    if (ret_error)
        memcpy(ret_error, ask.error, sizeof ask.error);
    return rc;
}

static inline int rig_rollback(Rig *rig, int before, char ret_error[1024])
{
    RigAsk ask = {.rig = rig, .rollback = 1, .before = before, .slots = {rig->slots[0]}};
    rig_ask(&ask);
    int rc = rig_answer(&ask);
    if (ret_error)
        memcpy(ret_error, ask.error, sizeof ask.error);
    return rc;
}

#endif
