/* What differs by processor: reading a signal's context, floating-point control words.
 * Async-signal-safe. */
#include "fault/parts.h"

#if defined(__x86_64__)

enum { PAGE_FAULT = 14, FAULT_WROTE = 2, FAULT_EXECUTED = 16 };

Machine machine_of(const ucontext_t *context)
{
    const greg_t *r = context->uc_mcontext.gregs;
    Machine m = {.pc = (uintptr_t)r[REG_RIP],
                 .sp = (uintptr_t)r[REG_RSP],
                 .fp = (uintptr_t)r[REG_RBP],
                 .wrote = -1};
    if (r[REG_TRAPNO] == PAGE_FAULT) {
        m.wrote = (r[REG_ERR] & FAULT_WROTE) != 0;
        m.executed = (r[REG_ERR] & FAULT_EXECUTED) != 0;
    }
    return m;
}

/* 0f 05 is the syscall instruction, two bytes long. */
int machine_after_syscall(const ucontext_t *context)
{
    uintptr_t pc = machine_of(context).pc;
    if (!walk_readable(pc - 2) || !walk_readable(pc - 1))
        return 0;
    const unsigned char *code = (const unsigned char *)(pc - 2);
    return code[0] == 0x0f && code[1] == 0x05;
}

/* The kernel starts handlers with both at their defaults, and a jump out of one keeps these. */
void machine_save_float(GuardThread *thread)
{
    __asm__ volatile("stmxcsr %0" : "=m"(thread->mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(thread->x87_control));
}

void machine_load_float(const GuardThread *thread)
{
    __asm__ volatile("fnclex");
    __asm__ volatile("fldcw %0" : : "m"(thread->x87_control));
    /* Without the sticky flags of the code that faulted. */
    uint32_t mxcsr = thread->mxcsr & ~0x3fu;
    __asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
}

#elif defined(__aarch64__)

Machine machine_of(const ucontext_t *context)
{
    const mcontext_t *r = &context->uc_mcontext;
    return (Machine){.pc = r->pc, .sp = r->sp, .fp = r->regs[29], .wrote = -1};
}

int machine_after_syscall(const ucontext_t *context)
{
    uintptr_t pc = machine_of(context).pc;
    return walk_readable(pc - 4) && *(const uint32_t *)(pc - 4) == 0xd4000001; /* svc #0 */
}

void machine_save_float(GuardThread *thread)
{
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    thread->mxcsr = (uint32_t)fpcr;
}

void machine_load_float(const GuardThread *thread)
{
    uint64_t fpcr = thread->mxcsr;
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr));
}

#else
#error "fault/machine.c knows x86-64 and AArch64"
#endif
