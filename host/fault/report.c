/* A report's text. Owns nothing; no allocation, no lock, no stdio: it is also written where
 * malloc's lock is lost for good. Every reading of /proc is bounded; none of it blocks.
 * Async-signal-safe. */
#include "fault/report.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fault/out.h"
#include "fault/places.h"
#include "fault/report_time.h"

#pragma GCC poison exit abort malloc free printf snprintf

enum { LOG_LINES = 100, THREADS_MOST = 256, NAME_BYTES = 128 };

static const struct {
    int number;
    const char *name;
} signal_names[] = {{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"},
                    {SIGILL, "SIGILL"},   {SIGABRT, "SIGABRT"}, {SIGTRAP, "SIGTRAP"},
                    {SIGSYS, "SIGSYS"}};

static void put_time(Out *out, int64_t wall_ns)
{
    char text[REPORT_TIME_BYTES];
    report_time(wall_ns, "-", " ", ":", text);
    out_put(out, text);
}

static void put_head(Out *out)
{
    struct utsname system;
    out_put(out, "keel fault report 1");
    out_line(out);
    out_put(out, "host: keel " KEEL_VERSION ", process ");
    out_integer(out, getpid());
    if (uname(&system) == 0) {
        out_put(out, ", ");
        out_put(out, system.sysname);
        out_put(out, " ");
        out_put(out, system.release);
        out_put(out, " ");
        out_put(out, system.machine);
    }
    out_line(out);
}

static void put_field(Out *out, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    out_put(out, name);
    out_put(out, ": ");
    out_put(out, value);
    out_line(out);
}

static void put_fault(Out *out, const Report *report)
{
    const Fault *fault = report->fault;
    out_put(out, "time: ");
    put_time(out, fault->wall_ns);
    out_put(out, " UTC");
    out_line(out);
    put_field(out, "slot", report->slot);
    if (report->generation) {
        out_put(out, "generation: ");
        out_number(out, report->generation, 1);
        out_line(out);
    }
    put_field(out, "fault", fault->text);
    out_put(out, "kind: ");
    out_put(out, fault_kind_name(fault->kind));
    for (unsigned i = 0; i < sizeof signal_names / sizeof *signal_names; i++)
        if (signal_names[i].number == fault->signal) {
            out_put(out, ", ");
            out_put(out, signal_names[i].name);
        }
    out_put(out, ", code ");
    out_integer(out, fault->code);
    if (fault->kind == FAULT_MEMORY || fault->kind == FAULT_STACK) {
        out_put(out, ", address ");
        out_hex(out, fault->address);
    }
    out_line(out);
    put_field(out, "outcome", report->outcome);
    if (report->held_back) {
        out_put(out, "not written before: ");
        out_number(out, report->held_back, 1);
        out_put(out, " reports of the same cause");
        out_line(out);
    }
}

static void put_modules(Out *out, const Report *report)
{
    for (int i = 0; i < report->module_count; i++) {
        const ReportModule *module = &report->modules[i];
        out_line(out);
        out_put(out, "module ");
        out_put(out, module->name ? module->name : "?");
        if (module->version && *module->version) {
            out_put(out, " ");
            out_put(out, module->version);
        }
        out_put(out, ", generation ");
        out_number(out, module->generation, 1);
        out_line(out);
        put_field(out, "  build id", module->build_id);
        put_field(out, "  file", module->path);
        put_field(out, "  against the one before", module->changes);
        out_put(out, "  mapped: ");
        out_hex(out, module->first);
        out_put(out, " to ");
        out_hex(out, module->last);
        out_put(out, ", the file's own addresses + ");
        out_hex(out, module->bias);
        out_line(out);
    }
}

/* ---- backtrace ---- */

static const ReportModule *module_at(const Report *report, uintptr_t code)
{
    for (int i = 0; i < report->module_count; i++)
        if (code >= report->modules[i].first && code < report->modules[i].last)
            return &report->modules[i];
    return NULL;
}

static void put_offset(Out *out, const char *name, uintptr_t offset)
{
    out_put(out, name);
    out_put(out, "+");
    out_hex(out, offset);
}

/* `code` is an address inside the instruction that counts: for a return address, one before it. The
 * report's own modules come first: the guard forgets retired ones. */
static void put_place(Out *out, const Report *report, uintptr_t address, uintptr_t code)
{
    char name[NAME_BYTES];
    const char *range;
    uintptr_t offset;
    uint64_t into;
    const ReportModule *module = module_at(report, code);
    if (module)
        put_offset(out, module->name ? module->name : "?", address - module->first);
    else if (guard_range_find(code, &range, &offset))
        put_offset(out, range, offset + (address - code));
    else if (places_of_mapping(code, name, sizeof name, &offset))
        put_offset(out, name, offset + (address - code));
    else
        out_put(out, "(nothing is mapped there)");
    if (module && places_of_symbol(module->data, module->bytes, code - module->bias, name,
                                   sizeof name, &into)) {
        out_put(out, " in ");
        put_offset(out, name, into + (address - code));
    }
}

static void put_frame(Out *out, const Report *report, int number, uintptr_t address, uintptr_t code)
{
    out_put(out, "  #");
    out_integer(out, number);
    out_put(out, " ");
    out_hex(out, address);
    out_put(out, " ");
    put_place(out, report, address, code);
    out_line(out);
}

static void put_backtrace(Out *out, const Report *report)
{
    const Fault *fault = report->fault;
    int number = 0;
    out_line(out);
    out_put(out, "backtrace of thread ");
    out_integer(out, fault->thread);
    out_put(out, " (by frame pointers; code built without them hides its callers):");
    out_line(out);
    if (fault->pc || !fault->frame_count)
        put_frame(out, report, number++, fault->pc, fault->pc);
    for (int i = 0; i < fault->frame_count && i < FAULT_FRAMES; i++)
        put_frame(out, report, number++, fault->frames[i], fault->frames[i] - 1);
}

/* ---- threads ---- */

/* The file's first line; 0 when it can't be read or is empty. */
static int read_of_task(const char *task, const char *file, char *ret, size_t room)
{
    char path[64];
    Text text = text_on(path, sizeof path);
    text_put(&text, "/proc/self/task/");
    text_put(&text, task);
    text_put(&text, "/");
    text_put(&text, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, ret, room - 1);
    if (fd >= 0)
        close(fd);
    ret[got > 0 ? got : 0] = 0;
    ret[strcspn(ret, "\n")] = 0;
    return *ret != 0;
}

/* "202 0x… … sp pc" of a thread that sleeps in the kernel: the call's number and its place. */
static void put_syscall(Out *out, const Report *report, const char *line)
{
    if (*line < '0' || *line > '9')
        return;
    out_put(out, ", system call ");
    for (; *line >= '0' && *line <= '9'; line++)
        text_put(out_room(out, 1), (char[]){*line, 0});
    const char *last = strrchr(line, ' ');
    if (!last || strncmp(last, " 0x", 3) != 0)
        return;
    uintptr_t pc = 0;
    for (last += 3; *last; last++)
        pc = pc * 16 + (uintptr_t)(*last <= '9' ? *last - '0' : *last - 'a' + 10);
    out_put(out, " at ");
    put_place(out, report, pc, pc);
}

static void put_thread(Out *out, const Report *report, const char *task)
{
    char line[512];
    out_put(out, "  ");
    out_put(out, task);
    if (read_of_task(task, "comm", line, sizeof line)) {
        out_put(out, " ");
        out_put(out, line);
    }
    /* "tid (name) S …": the name may hold anything, its end is the last parenthesis. */
    const char *end;
    if (read_of_task(task, "stat", line, sizeof line) && (end = strrchr(line, ')')) && end[1]) {
        out_put(out, ": ");
        out_put(out, end[2] == 'R'   ? "runs"
                     : end[2] == 'S' ? "sleeps"
                     : end[2] == 'D' ? "waits for a device"
                     : end[2] == 'T' ? "stopped"
                     : end[2] == 't' ? "traced"
                                     : "ends");
    }
    if (read_of_task(task, "wchan", line, sizeof line) && strcmp(line, "0") != 0) {
        out_put(out, " in ");
        out_put(out, line);
    }
    if (read_of_task(task, "syscall", line, sizeof line))
        put_syscall(out, report, line);
    out_line(out);
}

static void put_threads(Out *out, const Report *report)
{
    out_line(out);
    out_put(out, "threads:");
    out_line(out);
    int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        out_put(out, "  /proc can't be read");
        out_line(out);
        return;
    }
    char entries[2048] __attribute__((aligned(8)));
    int count = 0;
    long got;
    while ((got = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0) {
        for (long at = 0; at < got;) {
            const struct dirent64 *entry = (const struct dirent64 *)(entries + at);
            if (entry->d_name[0] != '.' && count++ < THREADS_MOST)
                put_thread(out, report, entry->d_name);
            at += entry->d_reclen;
        }
    }
    close(fd);
    if (count > THREADS_MOST) {
        out_put(out, "  and more: ");
        out_integer(out, count - THREADS_MOST);
        out_line(out);
    }
}

/* ---- log ---- */

static void put_log(Out *out)
{
    out_line(out);
    out_put(out, "the last log records:");
    out_line(out);
    uint64_t newest = log_newest(), seq = newest > LOG_LINES ? newest - LOG_LINES : 0;
    LogRecord record;
    while (seq < newest && log_read(seq, &record, 1) == 1) {
        seq = record.seq;
        out_put(out, "  ");
        put_time(out, record.wall_ns);
        out_put(out, " ");
        out_put(out, log_level_name(record.level));
        out_put(out, " ");
        out_put(out, record.room);
        out_put(out, ": ");
        out_put(out, record.text);
        out_line(out);
    }
}

void report_raw(int fd, const Report *report)
{
    Out out;
    out_begin(&out, fd);
    put_head(&out);
    put_fault(&out, report);
    put_modules(&out, report);
    put_backtrace(&out, report);
    out_flush(&out); /* what follows is less certain to be had */
    put_threads(&out, report);
    put_log(&out);
    out_put(&out, "end of report");
    out_line(&out);
    out_flush(&out);
}
