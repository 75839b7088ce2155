/* What follows a fault: is this process fit to go on, and a report. Frame thread, and the engine
 * thread for files. Owns nothing; a report that is under way holds references to the images. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "fault/report.h"
#include "swap/swap.h"

enum { PROBE_NS = 20 * 1000 * 1000, STATUS_UNRECOVERABLE = 70, MODULES = 2 };

/* Plain data: also made where nothing can be allocated. */
typedef struct Blame {
    Fault fault;
    Report report;
    ReportModule modules[MODULES];
    char changes[MODULES][GENERATION_CHANGES];
} Blame;

static int is_fault(const Fault *fault)
{
    return fault->kind != FAULT_NONE && fault->kind != FAULT_TYPES && fault->kind != FAULT_ERROR;
}

static void add_module(Blame *blame, const Generation *generation)
{
    if (!generation || !generation->image)
        return;
    const Image *image = generation->image;
    char *changes = blame->changes[blame->report.module_count];
    memcpy(changes, generation->changes, GENERATION_CHANGES);
    blame->modules[blame->report.module_count++] = (ReportModule){.generation = generation->number,
                                                                  .name = image->name,
                                                                  .version = image->version,
                                                                  .build_id = image->build_id,
                                                                  .path = image->path,
                                                                  .changes = changes,
                                                                  .first = generation->load_first,
                                                                  .last = generation->load_last,
                                                                  .bias = generation->load_bias,
                                                                  .data = image->data,
                                                                  .bytes = image->bytes};
}

/* The innermost frame in one of the slot's generations says whose fault it was; where none shows
 * (exit, a deadline in libc) it was the running one's. */
static uint64_t whose(const Blame *blame, const Slot *slot)
{
    const Fault *fault = &blame->fault;
    for (int i = -1; i < fault->frame_count; i++) {
        uintptr_t place = i < 0 ? fault->pc : fault->frames[i] - 1;
        for (int m = 0; m < blame->report.module_count; m++)
            if (place >= blame->modules[m].first && place < blame->modules[m].last)
                return blame->modules[m].generation;
    }
    return slot->running ? slot->running->number : 0;
}

static void fill(Blame *blame, const Slot *slot, const Fault *fault, const char *outcome)
{
    blame->fault = *fault;
    blame->report = (Report){
        .fault = &blame->fault, .slot = slot->name, .outcome = outcome, .modules = blame->modules};
    add_module(blame, slot->running);
    if (slot->probation.old != slot->running)
        add_module(blame, slot->probation.old);
    blame->report.generation = whose(blame, slot);
}

/* ---- the end ---- */

static void tell(const char *text, int bytes, int room)
{
    log_write_raw(LOG_ERROR, "fault", text);
    if (write(STDERR_FILENO, text, (size_t)(bytes < room ? bytes : room - 1)) < 0) {
        /* nobody to tell; the status says it */
    }
}

/* malloc's lock may be held for good: nothing here allocates or waits. */
static _Noreturn void end_process(const Slot *slot, const Fault *fault, const char *why)
{
    static Blame blame; /* one thread comes here, once */
    char text[LOG_TEXT_BYTES], path[REPORT_PATH_BYTES];
    int n = snprintf(text, sizeof text, "%s: %s; this process can't go on: %s\n", slot->name,
                     fault->text, why);
    tell(text, n, sizeof text);
    fill(&blame, slot, fault, text);
    if (report_raw_file(&blame.report, path) == 0) {
        n = snprintf(text, sizeof text, "%s: report: %s\n", slot->name, path);
        tell(text, n, sizeof text);
    }
    _exit(STATUS_UNRECOVERABLE);
}

void swap_recover(const Slot *slot, const Fault *fault)
{
    Error err = {0};
    if (is_fault(fault) && guard_recoverable(fault, PROBE_NS, &err))
        end_process(slot, fault, err.text);
}

/* ---- a report for the engine thread ---- */

typedef struct ReportJob {
    Blame blame;
    Image *images[MODULES];
    char slot[sizeof((Slot *)0)->name];
    char outcome[400];
} ReportJob;

static void job_free(ReportJob *job)
{
    for (int i = 0; i < MODULES; i++)
        image_unref(job->images[i]);
    free(job);
}

static void write_report(void *user)
{
    ReportJob *job = user;
    char path[REPORT_PATH_BYTES];
    Error err = {0};
    if (report_write(&job->blame.report, path, &err))
        log_warn("fault", "%s: no report: %s", job->slot, err.text);
    else if (*path)
        log_info("fault", "%s: report: %s", job->slot, path);
    job_free(job);
}

void swap_report(Loop *loop, const Slot *slot, const Fault *fault, const char *outcome)
{
    if (!is_fault(fault))
        return;
    ReportJob *job = calloc(1, sizeof *job);
    if (!job)
        return;
    fill(&job->blame, slot, fault, job->outcome);
    snprintf(job->slot, sizeof job->slot, "%s", slot->name);
    snprintf(job->outcome, sizeof job->outcome, "%s", outcome);
    job->blame.report.slot = job->slot;
    if (slot->running)
        job->images[0] = image_ref(slot->running->image);
    if (slot->probation.old)
        job->images[1] = image_ref(slot->probation.old->image);
    if (loop_post(loop, write_report, job))
        job_free(job);
}
