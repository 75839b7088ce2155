/* Where logs of hosts lie, and which. Owns this process's file. Main thread. */
#include "app/log_files.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "fault/report.h"

enum { LEFT_KEPT = 8 };

static char own[PATH_MAX];

/* The process of "log-123.ring", or 0. */
static long process_of(const char *name)
{
    long pid = 0;
    int end = 0;
    return sscanf(name, "log-%ld.ring%n", &pid, &end) == 1 && end && !name[end] && pid > 0 ? pid
                                                                                           : 0;
}

static int is_left(const struct dirent *entry)
{
    long pid = process_of(entry->d_name);
    return pid && kill((pid_t)pid, 0) && errno == ESRCH;
}

static int is_log(const struct dirent *entry)
{
    return process_of(entry->d_name) != 0;
}

static void path_of(const char *name, char *ret_path, size_t room)
{
    snprintf(ret_path, room, "%s/%s", report_folder(), name);
}

/* The newest and the oldest of those that `pick` takes; returns how many there are. */
static int look(int (*pick)(const struct dirent *), char *ret_newest, char *ret_oldest, size_t room)
{
    struct dirent **entries;
    int count = scandir(report_folder(), &entries, pick, NULL);
    struct timespec first = {0}, last = {0};
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        struct stat st;
        path_of(entries[i]->d_name, path, sizeof path);
        free(entries[i]);
        if (lstat(path, &st) || !S_ISREG(st.st_mode))
            continue;
        const struct timespec t = st.st_mtim;
        if (!*ret_newest || t.tv_sec > last.tv_sec ||
            (t.tv_sec == last.tv_sec && t.tv_nsec > last.tv_nsec)) {
            last = t;
            snprintf(ret_newest, room, "%s", path);
        }
        if (!*ret_oldest || t.tv_sec < first.tv_sec ||
            (t.tv_sec == first.tv_sec && t.tv_nsec < first.tv_nsec)) {
            first = t;
            snprintf(ret_oldest, room, "%s", path);
        }
    }
    if (count >= 0)
        free(entries);
    return count;
}

void log_files_begin(void)
{
    Error err = {0};
    if (!*report_folder())
        return;
    for (int count = INT_MAX; count > LEFT_KEPT;) {
        char young[PATH_MAX] = "", old[PATH_MAX] = "";
        count = look(is_left, young, old, PATH_MAX);
        if (count > LEFT_KEPT && unlink(old))
            break;
    }
    char name[64];
    snprintf(name, sizeof name, "log-%ld.ring", (long)getpid());
    path_of(name, own, sizeof own);
    if (log_map(own, &err)) {
        *own = 0;
        log_warn("run", "%s: after a kill it can't be read", err.text);
    }
}

void log_files_end(void)
{
    if (*own)
        unlink(own);
    *own = 0;
}

const char *log_files_find(long pid, char *ret_path, size_t room)
{
    Error err = {0};
    char name[64], old[PATH_MAX] = "";
    if (report_begin(&err))
        return NULL;
    *ret_path = 0;
    if (!pid) {
        look(is_log, ret_path, old, room);
        return *ret_path ? ret_path : NULL;
    }
    snprintf(name, sizeof name, "log-%ld.ring", pid);
    path_of(name, ret_path, room);
    return access(ret_path, R_OK) ? NULL : ret_path;
}
