/* Reports of faults: one text file each, for whoever has to find out in the morning.
 *
 * A report says what happened and where, in which generation of which image, what was done about
 * it, the backtrace, the state of all threads and the last log records. Files lie in $KEEL_REPORTS,
 * else $XDG_STATE_HOME/keel/reports or ~/.local/state/keel/reports, else /tmp/keel-<uid>/reports;
 * they appear whole (written aside, then renamed), are readable by their owner only, and the newest
 * REPORTS_KEPT stay.
 *
 * Building the text needs no allocation, no lock and nothing of stdio: report_raw and
 * report_raw_file are for the place where this process can't go on. Report and what it points to
 * are the caller's and only read. */
#ifndef FAULT_REPORT_H
#define FAULT_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "fault/guard.h"

enum { REPORT_PATH_BYTES = 1024, REPORTS_KEPT = 32 };
#define REPORT_HOLD_NS INT64_C(5000000000) /* between two reports of one cause */

/* What is known of a module that was loaded at the time. Strings may be NULL or "". */
typedef struct ReportModule {
    uint64_t generation;
    const char *name, *version, *build_id, *path;
    const char *changes;   /* against the generation before: "changed: frame" */
    uintptr_t first, last; /* [first, last) where it is mapped */
    uintptr_t bias;        /* added to the file's own addresses */
    const void *data;      /* the file's bytes, for names of functions; or NULL */
    size_t bytes;
} ReportModule;

typedef struct Report {
    const Fault *fault;
    const char *slot;    /* NULL: the host's own fault */
    const char *outcome; /* what was done: "the frame is undone …", or why nothing can be done */
    uint64_t generation; /* whose code it was; 0: not known */
    const ReportModule *modules;
    int module_count;
    uint32_t held_back; /* reports of the same cause that were not written; set by report_write */
} Report;

/* Finds the folder, makes it (0700) and removes what is too much in it; those after it use the
 * folder that it found. May be called again. KEEL_EIO. [any] */
int report_begin(Error *err);

/* That folder; "" before report_begin. [any] */
const char *report_folder(void);

/* Writes the report unless one of the same cause was written within REPORT_HOLD_NS: *ret_path is
 * then "". Calls report_begin where nobody has. KEEL_EIO. [any thread, not in a signal handler] */
int report_write(const Report *report, char ret_path[REPORT_PATH_BYTES], Error *err);

/* The same without looking at causes or at how many there are; after report_begin only. 0 or a
 * negative KEEL_E…, then no file is left. Async-signal-safe. */
int report_raw_file(const Report *report, char ret_path[REPORT_PATH_BYTES]);

/* The report's text into `fd`. Async-signal-safe. */
void report_raw(int fd, const Report *report);

#endif
