/* Backtraces inside signal handlers, by frame pointers, with every read tested first; where code
 * without frame pointers (libc) hides the caller, a search of the stack's top for return addresses
 * into modules. Async-signal-safe; owns nothing. */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault/parts.h"

#pragma GCC poison exit abort malloc free printf

enum {
    FRAME_STEP_MAX = 8 << 20, /* farther up is no caller's frame */
    SITE_WORDS = 512          /* of the stack, searched for a return address into a module */
};

/* The kernel copies the new mask from `address` before it refuses the nonsensical `how`: EFAULT
 * tells unreadable memory, with no descriptor, and it is a call that every sandbox allows. */
int walk_readable(uintptr_t address)
{
    int number = errno;
    long result = syscall(SYS_rt_sigprocmask, -1, address & ~(uintptr_t)7, NULL, sizeof(uint64_t));
    int readable = result == -1 && errno != EFAULT;
    errno = number;
    return readable;
}

/* A sanitizer knows nothing of what else lies on that stack. */
__attribute__((no_sanitize("address", "thread"))) static int read_word(uintptr_t address,
                                                                       uintptr_t *ret)
{
    if (address & (sizeof(uintptr_t) - 1) || address < 4096 || !walk_readable(address))
        return 0;
    *ret = *(const volatile uintptr_t *)address;
    return 1;
}

__attribute__((no_sanitize("address", "thread"))) int
walk_frames(const GuardThread *thread, uintptr_t fp, uintptr_t *ret_frames, int max)
{
    int count = 0;
    (void)thread;
    while (count < max) {
        uintptr_t next, caller;
        if (!read_word(fp, &next) || !read_word(fp + sizeof next, &caller) || !caller)
            break;
        ret_frames[count++] = caller;
        if (next <= fp || next - fp > FRAME_STEP_MAX)
            break;
        fp = next;
    }
    return count;
}

/* Whether the bytes before `address` can be a call instruction. */
__attribute__((no_sanitize("address", "thread"))) static int after_call(uintptr_t address)
{
#if defined(__x86_64__)
    for (uintptr_t at = address - 8; at < address; at += 7)
        if (!walk_readable(at))
            return 0;
    const unsigned char *code = (const unsigned char *)address;
    if (code[-5] == 0xe8)
        return 1;
    static const int lengths[] = {2, 3, 4, 6, 7, 8}; /* of call through register or memory */
    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const unsigned char *at = code - lengths[i];
        if (*at == 0x41 || *at == 0x49) /* REX prefix */
            at++;
        if (at < code - 1 && at[0] == 0xff && (at[1] & 0x38) == 0x10)
            return 1;
    }
    return 0;
#else
    if (!walk_readable(address - 4))
        return 0;
    uint32_t code = *(const uint32_t *)(address - 4);
    return (code & 0xfc000000) == 0x94000000 || (code & 0xfffffc1f) == 0xd63f0000; /* bl, blr */
#endif
}

uintptr_t walk_module_site(const GuardThread *thread, const Machine *machine, const Fault *fault)
{
    (void)thread;
    if (guard_range_find(machine->pc, NULL, NULL))
        return machine->pc;
    uintptr_t at = machine->sp & ~(uintptr_t)7, word;
    for (int i = 0; i < SITE_WORDS && read_word(at, &word); i++, at += sizeof word) {
        /* Past the frame that the frame pointer names, frames are known for sure. */
        if (fault->frame_count && machine->fp > machine->sp && at > machine->fp + sizeof word)
            break;
        if (guard_range_find(word, NULL, NULL) && after_call(word))
            return word;
    }
    for (int i = 0; i < fault->frame_count; i++)
        if (guard_range_find(fault->frames[i], NULL, NULL))
            return fault->frames[i];
    return 0;
}
