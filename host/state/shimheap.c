/* The malloc shim's side of the host: the heap table, which thread is in which slot's call, and
 * frees that wait for the boundary. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault/guard.h"
#include "state/internal.h"

static _Thread_local State *entered;
static _Thread_local const struct keel_heap *bound;
static _Atomic(StateLeave *) on_leave;
enum { LOCKS = 256 };                     /* more than a host has slots */
static _Atomic int locks[LOCKS];          /* of folders; a descriptor and 1, 0: none */
static _Thread_local uint64_t freeing_in; /* a life, 0: that of now */

static State *host_of(const struct keel_heap *h)
{
    return h->host;
}

static int32_t heap_in_frame(const struct keel_heap *h)
{
    return entered && entered == h->host;
}

static void *heap_alloc(const struct keel_heap *h, uint64_t bytes, uint64_t align)
{
    return state_alloc_block(host_of(h), bytes, align);
}

static int32_t heap_resize(const struct keel_heap *h, void *block, uint64_t bytes)
{
    return state_resize_block(host_of(h), block, bytes);
}

static void heap_free(const struct keel_heap *h, void *block)
{
    State *state = host_of(h);
    if (heap_in_frame(h)) {
        state_free(state, block);
        return;
    }
    guard_host_enter();
    RemoteFree *node = malloc(sizeof *node);
    if (node) { /* else the block stays: a leak is better than a race */
        node->block = block;
        node->life = freeing_in ? freeing_in : atomic_load(&state->life);
        node->next = atomic_load_explicit(&state->remote, memory_order_relaxed);
        while (!atomic_compare_exchange_weak_explicit(&state->remote, &node->next, node,
                                                      memory_order_release, memory_order_relaxed))
            ;
    }
    guard_host_leave();
}

static uint64_t heap_usable(const struct keel_heap *h, const void *block)
{
    return state_usable(host_of(h), block);
}

static void heap_free_foreign(const struct keel_heap *h, void *block)
{
    State *state = host_of(h);
    if (!block)
        return;
    if (!heap_in_frame(h)) {
        free(block);
        return;
    }
    int twice = 0;
    guard_host_enter(); /* a deadline must not leave realloc's lock held */
    for (uint32_t i = state->foreign_count; i > 0 && !twice && state->foreign_count - i < 64; i--)
        twice = state->foreign[i - 1] == block;
    if (!twice && state->foreign_count == state->foreign_room) {
        uint32_t room = state->foreign_room ? state->foreign_room * 2 : 64;
        void **grown = realloc(state->foreign, room * sizeof *grown);
        if (grown) {
            state->foreign = grown;
            state->foreign_room = room;
        }
    }
    if (!twice && state->foreign_count < state->foreign_room)
        state->foreign[state->foreign_count++] = block;
    guard_host_leave();
    if (twice)
        guard_raise(FAULT_MEMORY, KEEL_EFAULT, "free of %p, which was freed in this frame before",
                    block);
}

int32_t state_module_leaves(int32_t kind, int32_t code)
{
    StateLeave *leave = atomic_load(&on_leave);
    return leave ? leave(kind, code) : 0;
}

static int32_t heap_leave(const struct keel_heap *h, int32_t kind, int32_t code)
{
    (void)h;
    return state_module_leaves(kind, code);
}

/* The arena is shared memory, and a child that a module forks has it as it has all other: as a copy
 * that is its own. */
static void in_child(void)
{
    for (int i = 0; i < LOCKS; i++) { /* else a host after this one waits for the child */
        int held = atomic_exchange(&locks[i], 0);
        if (held)
            close(held - 1);
    }
    for (const State *state = entered; state; state = state->outer)
        if (mmap(state->base, state->max_bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, state->arena_fd, 0) == MAP_FAILED)
            munmap(state->base, state->max_bytes);
}

void shim_lock_held(int fd)
{
    int none = 0;
    for (int i = 0; i < LOCKS; i++, none = 0)
        if (atomic_compare_exchange_strong(&locks[i], &none, fd + 1))
            return;
}

int shim_lock_free(int fd)
{
    int held = fd + 1;
    for (int i = 0; i < LOCKS; i++, held = fd + 1)
        if (atomic_compare_exchange_strong(&locks[i], &held, 0))
            return 1;
    return 0;
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

void shim_init(State *state)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    state->heap = (struct keel_heap){.size = sizeof(struct keel_heap),
                                     .arena_first = (uintptr_t)state->base,
                                     .arena_last = (uintptr_t)state->base + state->max_bytes,
                                     .host = state,
                                     .in_frame = heap_in_frame,
                                     .alloc = heap_alloc,
                                     .resize = heap_resize,
                                     .free = heap_free,
                                     .usable = heap_usable,
                                     .free_foreign = heap_free_foreign,
                                     .leave = heap_leave};
    shim_begin_life(state);
    state->life_kept = state->life_newest;
}

void shim_begin_life(State *state)
{
    atomic_store(&state->life, ++state->life_newest);
}

uint64_t state_life(const State *state)
{
    return atomic_load(&state->life);
}

void state_free_in(uint64_t life)
{
    freeing_in = life;
}

void shim_done(State *state)
{
    shim_commit_foreign(state);
    free(state->foreign);
    state->foreign = NULL;
    RemoteFree *node = atomic_exchange(&state->remote, NULL);
    while (node) {
        RemoteFree *next = node->next;
        free(node);
        node = next;
    }
    if (bound == &state->heap)
        bound = NULL;
}

/* Blocks that other threads freed. One that isn't there any more was of an undone frame, or of an
 * earlier life. */
void shim_commit_remote(State *state)
{
    if (!atomic_load_explicit(&state->remote, memory_order_relaxed))
        return;
    RemoteFree *node = atomic_exchange_explicit(&state->remote, NULL, memory_order_acquire);
    while (node) {
        RemoteFree *next = node->next;
        uint64_t room;
        const ObjectHead *head = heap_find(state, node->block, &room);
        if (head && head->type != TYPE_INTERNAL && node->life == atomic_load(&state->life))
            state_free(state, node->block);
        free(node);
        node = next;
    }
}

void shim_commit_foreign(State *state)
{
    for (uint32_t i = 0; i < state->foreign_count; i++)
        free(state->foreign[i]);
    state->foreign_count = 0;
    state->life_kept = atomic_load(&state->life);
}

/* The undone frame's frees never happened; what another thread freed stays freed if it is still
 * there. */
void shim_undo(State *state)
{
    state->foreign_count = 0;
    atomic_store(&state->life, state->life_kept);
    RemoteFree *node = atomic_exchange_explicit(&state->remote, NULL, memory_order_acquire);
    while (node) {
        RemoteFree *next = node->next;
        uint64_t room;
        if (node->life == state->life_kept && heap_find(state, node->block, &room)) {
            node->next = atomic_load_explicit(&state->remote, memory_order_relaxed);
            while (!atomic_compare_exchange_weak_explicit(
                &state->remote, &node->next, node, memory_order_release, memory_order_relaxed))
                ;
        } else {
            free(node);
        }
        node = next;
    }
}

const struct keel_heap *state_heap(State *state)
{
    return &state->heap;
}

void state_enter(State *state)
{
    if (state->depth++ == 0) {
        state->outer = entered;
        entered = state;
    }
}

void state_leave(State *state)
{
    if (state->depth > 0 && --state->depth == 0)
        entered = state->outer;
}

void state_bind_for_load(State *state)
{
    bound = state ? &state->heap : NULL;
}

void state_on_leave(StateLeave *leave)
{
    atomic_store(&on_leave, leave);
}

KEEL_EXPORT KEEL_KEPT const struct keel_heap *keel_heap_bind(void)
{
    return bound;
}
