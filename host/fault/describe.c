/* Turns a signal and its context into a Fault: kind, places and one sentence. Async-signal-safe;
 * owns nothing. */
#include <string.h>

#include "base/clock.h"
#include "fault/parts.h"
#include "fault/ranges.h"

#pragma GCC poison exit abort malloc free printf snprintf

enum {
    PAGE = 4096,
    NEAR_STACK_BYTES = 64 * 1024, /* how far below the stack pointer a push or a probe may touch */
    BELOW_STACK_BYTES = 1 << 20   /* the kernel's gap below a growing stack: 256 pages */
};

static int is_memory(int number)
{
    return number == SIGSEGV || number == SIGBUS;
}

/* Sane code never has unmapped memory at its stack pointer, so a fault close to it is the stack's
 * end. */
static int is_stack_overflow(const GuardThread *thread, const Machine *machine, uintptr_t address)
{
    if (machine->executed)
        return 0;
    if (address >= machine->sp - NEAR_STACK_BYTES && address < machine->sp + PAGE &&
        (address < machine->sp || !walk_readable(machine->sp)))
        return 1;
    if (!thread || !thread->stack_first)
        return 0;
    uintptr_t below = thread->stack_guard_bytes + BELOW_STACK_BYTES;
    return address < thread->stack_first + PAGE && address >= thread->stack_first - below &&
           machine->sp < thread->stack_first + NEAR_STACK_BYTES;
}

static FaultKind kind_of(const Fault *fault, const GuardThread *thread, const Machine *machine)
{
    switch (fault->signal) {
    case SIGSEGV:
    case SIGBUS:
        return fault->code > 0 && is_stack_overflow(thread, machine, fault->address) ? FAULT_STACK
                                                                                     : FAULT_MEMORY;
    case SIGFPE:
        return FAULT_ARITHMETIC;
    case SIGILL:
        return FAULT_ILLEGAL;
    case SIGABRT:
        return FAULT_ABORT;
    case SIGSYS:
        return FAULT_SYSCALL;
    default:
        return FAULT_TRAP;
    }
}

static void put_address(Text *text, const Fault *fault)
{
    text_hex(text, fault->address);
    if (fault->address < PAGE) {
        text_put(text, fault->address ? " (a member of a null pointer)" : " (null pointer)");
    } else if (guard_range_find(fault->address, NULL, NULL)) {
        text_put(text, " (");
        ranges_put_place(text, fault->address);
        text_put(text, ")");
    } else if (fault->signal == SIGSEGV) {
        text_put(text, fault->code == SEGV_ACCERR ? " (protected)" : " (no memory there)");
    }
}

static void put_memory(Text *text, const Fault *fault, const Machine *machine)
{
    if (fault->signal == SIGBUS && fault->code == BUS_ADRALN) {
        text_put(text, "misaligned access to ");
        text_hex(text, fault->address);
    } else if (fault->signal == SIGBUS) {
        text_put(text, machine->wrote == 1 ? "wrote to " : "read from ");
        text_hex(text, fault->address);
        text_put(text, ", past the end of a mapped file");
    } else if (fault->code == SI_KERNEL) {
        text_put(text, "used an address that can't be one (a wild pointer)");
    } else {
        text_put(text, machine->executed     ? "called "
                       : machine->wrote == 1 ? "wrote to "
                       : machine->wrote == 0 ? "read from "
                                             : "touched ");
        put_address(text, fault);
    }
}

static void put_arithmetic(Text *text, int code)
{
    switch (code) {
    case FPE_INTDIV:
        text_put(text, "division by zero (or a quotient too large)");
        break;
    case FPE_INTOVF:
        text_put(text, "integer overflow");
        break;
    case FPE_FLTDIV:
        text_put(text, "floating-point division by zero");
        break;
    case FPE_FLTOVF:
        text_put(text, "floating-point overflow");
        break;
    case FPE_FLTINV:
        text_put(text, "invalid floating-point operation");
        break;
    default:
        text_put(text, "arithmetic fault");
    }
}

static int at_ud2(uintptr_t pc)
{
#if defined(__x86_64__)
    const unsigned char *code = (const unsigned char *)pc;
    return walk_readable(pc) && walk_readable(pc + 1) && code[0] == 0x0f && code[1] == 0x0b;
#else
    (void)pc;
    return 0;
#endif
}

static void put_what(Text *text, const Fault *fault, const Machine *machine, const siginfo_t *info)
{
    if (fault->code <= 0 && fault->kind != FAULT_ABORT) {
        text_put(text, "sent itself signal ");
        text_integer(text, fault->signal);
        return;
    }
    switch (fault->kind) {
    case FAULT_STACK:
        text_put(text, "stack overflow");
        break;
    case FAULT_ARITHMETIC:
        put_arithmetic(text, fault->code);
        break;
    case FAULT_ILLEGAL:
        text_put(text, at_ud2(machine->pc) ? "ran into a trap (a failed check or unreachable code)"
                                           : "illegal instruction");
        break;
    case FAULT_ABORT:
        text_put(text, "abort() was called");
        break;
    case FAULT_SYSCALL:
        text_put(text, "made system call ");
        text_integer(text, info->si_syscall);
        text_put(text, " that the sandbox forbids");
        break;
    case FAULT_TRAP:
        text_put(text, "breakpoint");
        break;
    default:
        put_memory(text, fault, machine);
    }
}

static void put_where(Text *text, const GuardThread *thread, Fault *fault, const Machine *machine)
{
    uintptr_t site = walk_module_site(thread, machine, fault);
    if (site == machine->pc) {
        text_put(text, " in ");
        ranges_put_place(text, site);
    } else if (site) {
        text_put(text, machine->executed ? " from " : ", called from ");
        ranges_put_place(text, site);
    } else {
        text_put(text, " at ");
        text_hex(text, machine->pc);
    }
}

static Machine fill_places(Fault *fault, const GuardThread *thread, const ucontext_t *context)
{
    Machine machine = machine_of(context);
    fault->pc = machine.pc;
    fault->wall_ns = clock_wall_ns();
    fault->thread = thread ? thread->tid : 0;
    uintptr_t *frames = fault->frames;
    int room = FAULT_FRAMES;
    /* A jump to nowhere: the caller is what it pushed. */
    if (machine.executed && walk_readable(machine.sp)) {
        *frames++ = *(const uintptr_t *)(machine.sp & ~(uintptr_t)7);
        room--;
    }
    fault->frame_count = FAULT_FRAMES - room + walk_frames(thread, machine.fp, frames, room);
    uintptr_t code = machine.executed && fault->frame_count ? fault->frames[0] : machine.pc;
    fault->foreign_pc = !guard_range_find(code, NULL, NULL);
    return machine;
}

void describe_signal(Fault *fault, const GuardThread *thread, int number, const siginfo_t *info,
                     const ucontext_t *context)
{
    memset(fault, 0, sizeof *fault);
    fault->signal = number;
    fault->code = info->si_code;
    fault->address = is_memory(number) && info->si_code > 0 ? (uintptr_t)info->si_addr : 0;
    Machine machine = fill_places(fault, thread, context);
    fault->kind = kind_of(fault, thread, &machine);
    Text text = text_on(fault->text, sizeof fault->text);
    put_what(&text, fault, &machine, info);
    put_where(&text, thread, fault, &machine);
}

void describe_deadline(Fault *fault, const GuardThread *thread, int64_t after_ns,
                       const ucontext_t *context)
{
    memset(fault, 0, sizeof *fault);
    fault->kind = FAULT_DEADLINE;
    fault->signal = GUARD_DEADLINE_SIGNAL;
    Machine machine = fill_places(fault, thread, context);
    Text text = text_on(fault->text, sizeof fault->text);
    text_put(&text, "took longer than ");
    text_integer(&text, after_ns / 1000000);
    text_put(&text, " ms; was");
    put_where(&text, thread, fault, &machine);
}
