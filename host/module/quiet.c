/* Looks for a range's addresses on the stacks of threads that Keel doesn't know. Owns nothing.
 * Reads other stacks by process_vm_readv, so that one that goes away meanwhile is an error and not
 * a fault. The loader's thread. */
#include "module/quiet.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/known_threads.h"
#include "module/maps.h"

enum { PART_WORDS = 2048, RED_ZONE_BYTES = 128 };

static int my_tid(void)
{
    return (int)syscall(SYS_gettid);
}

typedef struct Blocked {
    uintptr_t sp, pc;
} Blocked;

/* 1 and where it is blocked; 0: it runs; -1: it has ended; -2: not to be had here. */
static int read_blocked(int tid, Blocked *ret)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ESRCH ? -1 : -2;
    ssize_t n = read(fd, text, sizeof text - 1);
    int number = errno;
    close(fd);
    if (n <= 0)
        return n == 0 || number == ESRCH ? -1 : -2;
    text[n] = 0;
    if (strncmp(text, "running", 7) == 0)
        return 0;
    /* The last two words are the stack pointer and the program counter. */
    char *end = text + strcspn(text, "\n");
    *end = 0;
    char *pc = strrchr(text, ' ');
    if (!pc)
        return -2;
    *pc++ = 0;
    char *sp = strrchr(text, ' ');
    if (!sp)
        return -2;
    ret->sp = (uintptr_t)strtoull(sp + 1, NULL, 16);
    ret->pc = (uintptr_t)strtoull(pc, NULL, 16);
    return 1;
}

typedef struct FindStack {
    uintptr_t sp, last;
} FindStack;

static int find_stack(const MapEntry *entry, void *user)
{
    FindStack *find = user;
    if (find->sp < entry->first || find->sp >= entry->last)
        return 0;
    find->last = entry->last;
    return 1;
}

/* 1: a word of [sp, last) lies in the range; 0: none; -1: can't be read. */
static int scan(uintptr_t sp, uintptr_t last, uintptr_t first_address, uintptr_t last_address)
{
    uintptr_t words[PART_WORDS];
    sp &= ~(sizeof(uintptr_t) - 1);
    while (sp < last) {
        size_t bytes = last - sp < sizeof words ? last - sp : sizeof words;
        struct iovec to = {.iov_base = words, .iov_len = bytes};
        struct iovec from = {.iov_base = (void *)sp, .iov_len = bytes};
        ssize_t n = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
        if (n <= 0)
            return -1;
        for (size_t i = 0; i < (size_t)n / sizeof *words; i++)
            if (words[i] >= first_address && words[i] < last_address)
                return 1;
        sp += (size_t)n;
    }
    return 0;
}

static void thread_name(int tid, char *out, size_t room)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/comm", tid);
    out[0] = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, room - 1);
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = 0;
    out[strcspn(out, "\n")] = 0;
}

static int check_thread(int tid, uintptr_t first, uintptr_t last, Error *err)
{
    Blocked before, after;
    char name[32];
    int is = read_blocked(tid, &before);
    if (is == -1)
        return KEEL_OK;
    thread_name(tid, name, sizeof name);
    if (is == 0)
        return err_set(err, KEEL_EBUSY,
                       "thread %d (%s) runs and can't be looked at: it may be in it", tid, name);
    if (is < 0)
        return err_set(err, KEEL_EBUSY,
                       "/proc/self/task/%d/syscall can't be read, so thread %s may be in it", tid,
                       name);
    if (before.pc >= first && before.pc < last)
        return err_set(err, KEEL_EBUSY, "thread %d (%s) is in it", tid, name);
    uintptr_t sp = before.sp - RED_ZONE_BYTES;
    FindStack find = {.sp = before.sp};
    int rc = maps_each(find_stack, &find, err);
    if (rc < 0)
        return rc;
    int found = rc == 1 ? scan(sp, find.last, first, last) : -1;
    if (found == 1)
        return err_set(err, KEEL_EBUSY, "thread %d (%s) will come back to it", tid, name);
    is = read_blocked(tid, &after);
    if (is == -1)
        return KEEL_OK;
    if (found || is != 1 || before.sp != after.sp || before.pc != after.pc)
        return err_set(err, KEEL_EBUSY,
                       "thread %d (%s) moves too fast to be looked at: it may be in it", tid, name);
    return KEEL_OK;
}

int quiet_check(uintptr_t first, uintptr_t last, Error *err)
{
    DIR *dir = opendir("/proc/self/task");
    if (!dir)
        return err_errno(err, KEEL_EBUSY, errno, "the process's threads can't be listed");
    int rc = KEEL_OK;
    struct dirent *entry;
    while (!rc && (entry = readdir(dir))) {
        int tid = atoi(entry->d_name);
        if (tid > 0 && tid != my_tid() && !known_thread_is(tid))
            rc = check_thread(tid, first, last, err);
    }
    closedir(dir);
    return rc;
}
