/* The arena space: one reservation a process, handed out in grains. Owns the reservation, for the
 * life of the process. Any thread. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "state/internal.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif

enum { GRAINS = STATE_SPACE_BYTES / STATE_GRAIN_BYTES };

static pthread_mutex_t space_lock = PTHREAD_MUTEX_INITIALIZER;
static int space_reserved;
static uint8_t space_used[GRAINS];

/* What is mapped at the first taken place of the space, as /proc/self/maps says it. */
static void name_occupant(char *ret_line, size_t bytes)
{
    snprintf(ret_line, bytes, "something unknown");
    FILE *maps = fopen("/proc/self/maps", "re");
    if (!maps)
        return;
    char line[512];
    while (fgets(line, sizeof line, maps)) {
        unsigned long first, last;
        int name = 0;
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &first, &last, &name) >= 2 &&
            last > STATE_BASE && first < STATE_BASE + STATE_SPACE_BYTES) {
            line[sizeof line - 1] = 0;
            for (char *c = line; *c; c++)
                if (*c == '\n')
                    *c = 0;
            snprintf(ret_line, bytes, "%.*s%s%s", (int)(strchrnul(line, ' ') - line), line,
                     line[name] ? " " : "", line + name);
            break;
        }
    }
    fclose(maps);
}

static int reserve(Error *err)
{
    if (space_reserved)
        return 0;
    void *wanted = (void *)(uintptr_t)STATE_BASE;
    void *got = mmap(wanted, STATE_SPACE_BYTES, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (got == wanted) {
        space_reserved = 1;
        return 0;
    }
    int number = errno;
    if (got != MAP_FAILED) { /* a kernel before 4.17 takes the flag for a hint */
        munmap(got, STATE_SPACE_BYTES);
        number = EEXIST;
    }
    if (number == EEXIST) {
        char occupant[300];
        name_occupant(occupant, sizeof occupant);
        return err_set(err, KEEL_ENOSPACE,
                       "the address range of the state (0x%llx, 320 GiB) is taken by %s: call "
                       "state_space_init before whatever maps that",
                       (unsigned long long)STATE_BASE, occupant);
    }
    return err_errno(err, KEEL_ENOMEM, number,
                     "cannot reserve the address range of the state (0x%llx, 320 GiB; does `ulimit "
                     "-v` limit it?)",
                     (unsigned long long)STATE_BASE);
}

int state_space_init(Error *err)
{
    pthread_mutex_lock(&space_lock);
    int code = reserve(err);
    pthread_mutex_unlock(&space_lock);
    return code;
}

/* A free range of `bytes` (a multiple of a grain); at `wanted` unless that is 0. */
int space_take(uint64_t bytes, uint64_t wanted, uint64_t *ret_base, Error *err)
{
    uint64_t need = bytes / STATE_GRAIN_BYTES, first = 0, last = GRAINS - need;
    if (bytes == 0 || bytes > STATE_SPACE_BYTES)
        return err_set(err, KEEL_EINVAL, "a slot's state can't have %llu bytes: at most 320 GiB",
                       (unsigned long long)bytes);
    if (wanted)
        first = last = (wanted - STATE_BASE) / STATE_GRAIN_BYTES;
    pthread_mutex_lock(&space_lock);
    int code = reserve(err);
    if (code == 0)
        code = KEEL_ENOSPACE;
    else
        last = 0, need = GRAINS + 1;
    for (uint64_t at = first; code == KEEL_ENOSPACE && at <= last && at + need <= GRAINS; at++) {
        uint64_t n = 0;
        while (n < need && !space_used[at + n])
            n++;
        if (n < need)
            continue;
        for (n = 0; n < need; n++)
            space_used[at + n] = 1;
        *ret_base = STATE_BASE + at * STATE_GRAIN_BYTES;
        code = 0;
    }
    pthread_mutex_unlock(&space_lock);
    if (code == KEEL_ENOSPACE && need <= GRAINS)
        err_set(err, code,
                wanted ? "this place of the state's address range is in use by another slot"
                       : "the state's address range is full: close slots or give them less");
    return code;
}

int state_base_free(uint64_t base)
{
    pthread_mutex_lock(&space_lock);
    int free = !space_used[(base - STATE_BASE) / STATE_GRAIN_BYTES];
    pthread_mutex_unlock(&space_lock);
    return free;
}

/* Back to a reservation without access. */
void space_give(uint64_t base, uint64_t bytes)
{
    mmap((void *)(uintptr_t)base, bytes, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    pthread_mutex_lock(&space_lock);
    for (uint64_t n = 0; n < bytes / STATE_GRAIN_BYTES; n++)
        space_used[(base - STATE_BASE) / STATE_GRAIN_BYTES + n] = 0;
    pthread_mutex_unlock(&space_lock);
}

int space_map_arena(uint64_t base, uint64_t bytes, int fd, Error *err)
{
    void *got = mmap((void *)(uintptr_t)base, bytes, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0);
    if (got == MAP_FAILED)
        return err_errno(err, KEEL_ENOMEM, errno, "cannot map the state at 0x%llx",
                         (unsigned long long)base);
    return 0;
}

/* A sparse memfd whose size can't change any more, so that nobody who maps it gets a SIGBUS by
 * another's truncating it. */
int space_memfd(const char *name, uint64_t bytes, int *ret_fd, Error *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_errno(err, KEEL_ENOMEM, errno, "cannot make a memfd for the state");
    if (ftruncate(fd, (off_t)bytes) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
        int code = err_errno(err, KEEL_ENOMEM, errno, "cannot size a memfd of the state");
        close(fd);
        return code;
    }
    *ret_fd = fd;
    return 0;
}
