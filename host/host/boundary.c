/* Mail from other threads to the frame thread. Owns the waiting list; calls what it is given,
 * nothing else. */
#include "host/boundary.h"

#include <stdlib.h>
#include <time.h>

struct BoundaryMail {
    BoundaryMail *next;
    LoopFunction *function;
    void *user;
};

void boundary_init(Boundary *boundary)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&boundary->lock, NULL);
    pthread_cond_init(&boundary->arrived, &attr);
    pthread_condattr_destroy(&attr);
    boundary->first = NULL;
    boundary->last = &boundary->first;
    boundary->closed = 0;
    atomic_store(&boundary->waiting, 0);
}

void boundary_close(Boundary *boundary)
{
    pthread_mutex_lock(&boundary->lock);
    boundary->closed = 1;
    pthread_mutex_unlock(&boundary->lock);
}

void boundary_done(Boundary *boundary)
{
    for (BoundaryMail *mail = boundary->first, *next; mail; mail = next) {
        next = mail->next;
        free(mail);
    }
    boundary->first = NULL;
    boundary->last = &boundary->first;
    pthread_cond_destroy(&boundary->arrived);
    pthread_mutex_destroy(&boundary->lock);
}

void boundary_post(Boundary *boundary, LoopFunction *function, void *user)
{
    BoundaryMail *mail = malloc(sizeof *mail);
    if (!mail)
        return;
    *mail = (BoundaryMail){NULL, function, user};
    int taken = 0;
    pthread_mutex_lock(&boundary->lock);
    if (!boundary->closed) {
        *boundary->last = mail;
        boundary->last = &mail->next;
        taken = 1;
        pthread_cond_signal(&boundary->arrived);
    }
    pthread_mutex_unlock(&boundary->lock);
    /* Only now: a frame thread that saw it earlier would sleep on the lock, in the middle of its
     * boundary. */
    if (taken)
        atomic_store_explicit(&boundary->waiting, 1, memory_order_release);
    else
        free(mail);
}

void boundary_run(Boundary *boundary)
{
    if (!atomic_load_explicit(&boundary->waiting, memory_order_acquire))
        return;
    pthread_mutex_lock(&boundary->lock);
    BoundaryMail *mail = boundary->first;
    boundary->first = NULL;
    boundary->last = &boundary->first;
    atomic_store(&boundary->waiting, 0);
    pthread_mutex_unlock(&boundary->lock);
    while (mail) {
        BoundaryMail *next = mail->next;
        mail->function(mail->user);
        free(mail);
        mail = next;
    }
}

void boundary_wait(Boundary *boundary, int64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t sum = until.tv_nsec + ns;
    until.tv_sec += sum / 1000000000;
    until.tv_nsec = sum % 1000000000;
    pthread_mutex_lock(&boundary->lock);
    if (!boundary->first)
        pthread_cond_timedwait(&boundary->arrived, &boundary->lock, &until);
    pthread_mutex_unlock(&boundary->lock);
}

void boundary_wake(Boundary *boundary)
{
    pthread_mutex_lock(&boundary->lock);
    pthread_cond_signal(&boundary->arrived);
    pthread_mutex_unlock(&boundary->lock);
}
