/* Mail from other threads to the frame thread. Owns the waiting list; calls what it is given,
 * nothing else. */
#include "host/boundary.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* Under the lock. */
static BoundaryMail *take_ready(Boundary *boundary)
{
    for (int i = 0; i < BOUNDARY_READY; i++)
        if (!atomic_load_explicit(&boundary->ready[i].in_use, memory_order_acquire)) {
            atomic_store(&boundary->ready[i].in_use, 1);
            return &boundary->ready[i];
        }
    return NULL;
}

static void give_back(Boundary *boundary, BoundaryMail *mail)
{
    if (mail->sent)
        return;
    if (mail >= boundary->ready && mail < boundary->ready + BOUNDARY_READY)
        atomic_store_explicit(&mail->in_use, 0, memory_order_release);
    else
        free(mail);
}

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
    memset(boundary->ready, 0, sizeof boundary->ready);
    boundary->wake_fd = boundary->other_fd = -1;
    atomic_store(&boundary->waiting, 0);
    atomic_store(&boundary->due_ns, 0);
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
        give_back(boundary, mail);
    }
    boundary->first = NULL;
    boundary->last = &boundary->first;
    boundary_wait_also(boundary, -1);
    pthread_cond_destroy(&boundary->arrived);
    pthread_mutex_destroy(&boundary->lock);
}

void boundary_wait_also(Boundary *boundary, int fd)
{
    pthread_mutex_lock(&boundary->lock);
    if (boundary->wake_fd >= 0)
        close(boundary->wake_fd);
    boundary->wake_fd = fd >= 0 ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    boundary->other_fd = boundary->wake_fd >= 0 ? fd : -1;
    pthread_mutex_unlock(&boundary->lock);
}

/* Under the lock. */
static void tell(Boundary *boundary)
{
    const uint64_t one = 1;
    pthread_cond_signal(&boundary->arrived);
    if (boundary->wake_fd >= 0 && write(boundary->wake_fd, &one, sizeof one) < 0)
        return; /* it is full: the frame thread has been told often enough */
}

/* The lock is held; it is given back. */
static int post(Boundary *boundary, BoundaryMail *mail)
{
    int taken = !boundary->closed;
    if (taken) {
        if (!boundary->first)
            atomic_store(&boundary->due_ns, mail->due_ns);
        *boundary->last = mail;
        boundary->last = &mail->next;
        tell(boundary);
    }
    pthread_mutex_unlock(&boundary->lock);
    /* Only now: a frame thread that saw it earlier would sleep on the lock, in the middle of its
     * boundary. */
    if (taken)
        atomic_store_explicit(&boundary->waiting, 1, memory_order_release);
    else
        give_back(boundary, mail);
    return taken ? KEEL_OK : KEEL_ECANCELED;
}

int boundary_send(Boundary *boundary, BoundaryMail *mail, LoopFunction *function, void *user)
{
    *mail = (BoundaryMail){.function = function, .user = user, .sent = 1};
    pthread_mutex_lock(&boundary->lock);
    return post(boundary, mail);
}

void boundary_post(Boundary *boundary, LoopFunction *function, void *user)
{
    BoundaryMail *mail = calloc(1, sizeof *mail);
    if (!mail)
        return;
    mail->function = function;
    mail->user = user;
    pthread_mutex_lock(&boundary->lock);
    post(boundary, mail);
}

void boundary_post_calm(Boundary *boundary, LoopFunction *function, void *user)
{
    pthread_mutex_lock(&boundary->lock);
    BoundaryMail *mail = take_ready(boundary);
    if (!mail) {
        pthread_mutex_unlock(&boundary->lock);
        return;
    }
    mail->next = NULL;
    mail->function = function;
    mail->user = user;
    mail->due_ns = clock_now_ns() + BOUNDARY_CALM_NS;
    post(boundary, mail);
}

/* What is due, in order; what is not keeps what came after it. */
static BoundaryMail *take(Boundary *boundary, int64_t now_ns)
{
    pthread_mutex_lock(&boundary->lock);
    BoundaryMail *first = boundary->first, **at = &boundary->first;
    while (*at && (*at)->due_ns <= now_ns)
        at = &(*at)->next;
    BoundaryMail *left = *at;
    *at = NULL;
    if (left == first)
        first = NULL;
    boundary->first = left;
    if (!left)
        boundary->last = &boundary->first;
    atomic_store(&boundary->due_ns, left ? left->due_ns : 0);
    atomic_store(&boundary->waiting, left != NULL);
    pthread_mutex_unlock(&boundary->lock);
    return first;
}

static void run(Boundary *boundary, BoundaryMail *mail)
{
    while (mail) {
        BoundaryMail *next = mail->next;
        int sent = mail->sent; /* then its function may free it */
        mail->function(mail->user);
        if (!sent)
            give_back(boundary, mail);
        mail = next;
    }
}

void boundary_run(Boundary *boundary)
{
    if (!atomic_load_explicit(&boundary->waiting, memory_order_acquire))
        return;
    int64_t now = clock_now_ns();
    if (atomic_load(&boundary->due_ns) <= now)
        run(boundary, take(boundary, now));
}

void boundary_run_all(Boundary *boundary)
{
    run(boundary, take(boundary, INT64_MAX));
}

static struct timespec span(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

/* Ends when there is mail, also what isn't due yet. */
static void wait_for_mail(Boundary *boundary, int64_t until_ns)
{
    const struct timespec until = span(until_ns);
    pthread_mutex_lock(&boundary->lock);
    if (!boundary->first)
        pthread_cond_timedwait(&boundary->arrived, &boundary->lock, &until);
    pthread_mutex_unlock(&boundary->lock);
}

static void wait_for_both(Boundary *boundary, int64_t ns)
{
    const struct timespec most = span(ns);
    struct pollfd fds[2] = {{.fd = boundary->wake_fd, .events = POLLIN},
                            {.fd = boundary->other_fd, .events = POLLIN}};
    uint64_t told;
    pthread_mutex_lock(&boundary->lock);
    int there = boundary->first != NULL; /* told of before, and not taken yet */
    pthread_mutex_unlock(&boundary->lock);
    if (there)
        return;
    if (ppoll(fds, 2, &most, NULL) > 0 && fds[0].revents &&
        read(boundary->wake_fd, &told, sizeof told) < 0)
        return;
}

void boundary_wait(Boundary *boundary, int64_t ns)
{
    int64_t until = clock_now_ns() + ns;
    if (boundary->other_fd >= 0)
        wait_for_both(boundary, ns);
    else
        wait_for_mail(boundary, until);
    int64_t due = atomic_load(&boundary->due_ns);
    if (due > clock_now_ns()) {
        const struct timespec t = span(due < until ? due : until);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    }
}

void boundary_wake(Boundary *boundary)
{
    pthread_mutex_lock(&boundary->lock);
    tell(boundary);
    pthread_mutex_unlock(&boundary->lock);
}
