/* What a slot tells about itself. Filled on the frame thread; other threads ask at its boundary. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/keyfile.h"
#include "host/host.h"

enum { PATIENCE_NS = 500 * 1000 * 1000 };

void host_fill_status(Slot *slot, struct keel_slot_status *ret)
{
    StateStatus state;
    state_status(slot->state, &state);
    *ret = (struct keel_slot_status){.size = sizeof *ret,
                                     .frames = slot->frames,
                                     .faults = slot->faults,
                                     .undone = slot->undone,
                                     .inputs_set_aside = slot->inputs.set_aside,
                                     .swaps = slot->swaps,
                                     .refused = atomic_load(&slot->refused),
                                     .rolled_back = slot->rolled_back,
                                     .alarms = atomic_load(&slot->alarms),
                                     .state_bytes = state.used_bytes,
                                     .state_objects = state.live_objects,
                                     .state_dirty_pages = state.dirty_pages_last,
                                     .state_tier = (uint32_t)state.tier,
                                     .pause_ns = slot->pause_ns};
    snprintf(ret->name, sizeof ret->name, "%s", slot->name);
    snprintf(ret->path, sizeof ret->path, "%.255s", slot->path ? slot->path : "");
    snprintf(ret->tier_reason, sizeof ret->tier_reason, "%s", state.tier_reason);
    slot_said(slot, ret->last);
    if (!slot->running) {
        ret->phase = KEEL_SLOT_WAITING;
        return;
    }
    const Generation *running = slot->running;
    ret->phase = slot->breaker.open      ? KEEL_SLOT_STOPPED
                 : slot->probation.group ? KEEL_SLOT_PROBATION
                                         : KEEL_SLOT_RUNNING;
    ret->generation = running->number;
    ret->load_address = running->load_first;
    ret->probation_left = slot->probation.left;
    snprintf(ret->build_id, sizeof ret->build_id, "%s", running->image->build_id);
    snprintf(ret->version, sizeof ret->version, "%s", running->image->version);
    const ImageTrust *trust = image_trust(running->image);
    if (trust->trusted) {
        char signer[PUBLIC_KEY_TEXT_BYTES];
        ret->counter = trust->counter;
        snprintf(ret->signer, sizeof ret->signer, "%s", public_key_text(&trust->signer, signer));
    }
    char hash[HASH_TEXT_BYTES];
    snprintf(ret->hash, sizeof ret->hash, "%s", hash_text(running->image->hash, hash));
    if (slot->equal_to == running->number)
        snprintf(ret->equal, sizeof ret->equal, "%s", hash_text(slot->equal, hash));
    snprintf(ret->changes, sizeof ret->changes, "%s", running->changes);
}

/* Shared by the asking thread and the mail; the last to let go frees it. */
typedef struct Question {
    BoundaryMail mail;
    Slot *slot;
    struct keel_slot_status status;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    int done, refs;
} Question;

static void let_go(Question *question)
{
    int refs = --question->refs;
    pthread_mutex_unlock(&question->lock);
    if (refs)
        return;
    pthread_cond_destroy(&question->answered);
    pthread_mutex_destroy(&question->lock);
    free(question);
}

static void answer(void *user)
{
    Question *question = user;
    pthread_mutex_lock(&question->lock);
    host_fill_status(question->slot, &question->status);
    question->done = 1;
    pthread_cond_signal(&question->answered);
    let_go(question);
}

int keel_slot_query(keel_slot *slot, struct keel_slot_status *ret_status)
{
    Host *host = slot->host;
    struct keel_slot_status status;
    if (atomic_load(&host->frame_thread) == gettid()) {
        host_fill_status(slot, &status);
    } else {
        Question *question = calloc(1, sizeof *question);
        if (!question)
            return host_failed(&(Error){KEEL_ENOMEM, "no memory to ask for the status"});
        question->slot = slot;
        question->refs = 2;
        pthread_condattr_t attr;
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_mutex_init(&question->lock, NULL);
        pthread_cond_init(&question->answered, &attr);
        pthread_condattr_destroy(&attr);
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        int64_t sum = until.tv_nsec + PATIENCE_NS;
        until.tv_sec += sum / 1000000000;
        until.tv_nsec = sum % 1000000000;
        int closed = boundary_send(&host->boundary, &question->mail, answer, question);
        question->refs -= closed != 0;
        pthread_mutex_lock(&question->lock);
        while (!closed && !question->done &&
               pthread_cond_timedwait(&question->answered, &question->lock, &until) == 0)
            ;
        int done = question->done;
        status = question->status;
        let_go(question);
        if (!done)
            return host_failed(&(Error){KEEL_ETIMEOUT, "no frame ran for half a second"});
    }
    uint32_t size = ret_status->size;
    if (size < sizeof size || size > sizeof status)
        size = sizeof status;
    memcpy(ret_status, &status, size);
    ret_status->size = size;
    return KEEL_OK;
}
