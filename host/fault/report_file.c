/* Where reports go: the folder, whole files, not too many of them and not too often. Owns the
 * folder's name and the list of recent causes. report_raw_file is async-signal-safe, the rest is
 * for ordinary threads. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "fault/report.h"
#include "fault/report_time.h"
#include "fault/text.h"

#pragma GCC poison exit abort

enum {
    CAUSES = 32,
    FOLDER_BYTES = REPORT_PATH_BYTES - 96, /* leaves room for a file's name */
    ABANDONED_S = 3600                     /* a half-written file this old belongs to nobody */
};

typedef struct Cause {
    uint64_t hash;
    int64_t written_ns;
    uint32_t held_back;
} Cause;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the causes and of finding a folder */
static Cause causes[CAUSES];
static char folders[2][FOLDER_BYTES]; /* the one that `folder` doesn't name is being written */
static const char *folder;            /* NULL before report_begin */
static uint32_t numbers;

/* ---- the folder ---- */

/* Makes every part of the path that isn't there, for this user only. */
static int make_folders(char *path)
{
    for (char *at = path + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = 0;
        int failed = mkdir(path, 0700) && errno != EEXIST;
        *at = '/';
        if (failed)
            return -1;
    }
    return mkdir(path, 0700) && errno != EEXIST ? -1 : 0;
}

/* A folder below /tmp may have been put there by anybody. */
static int is_private(const char *path)
{
    struct stat st;
    return !lstat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
           !(st.st_mode & 022);
}

static int usable(char *path, Error *err)
{
    if (make_folders(path) || access(path, W_OK | X_OK))
        return err_errno(err, KEEL_EIO, errno, "cannot write reports of faults into %s", path);
    return 0;
}

static int find_folder(char path[FOLDER_BYTES], Error *err)
{
    const char *given = secure_getenv("KEEL_REPORTS"), *state = secure_getenv("XDG_STATE_HOME"),
               *home = secure_getenv("HOME");
    size_t room = FOLDER_BYTES;
    if (given && *given) {
        if (*given != '/')
            return err_set(err, KEEL_EIO, "KEEL_REPORTS is %.200s: give an absolute path", given);
        if ((size_t)snprintf(path, room, "%s", given) >= room)
            return err_set(err, KEEL_EIO, "the path in KEEL_REPORTS is too long");
        return usable(path, err);
    }
    int n = 0;
    if (state && *state == '/')
        n = snprintf(path, room, "%s/keel/reports", state);
    else if (home && *home == '/')
        n = snprintf(path, room, "%s/.local/state/keel/reports", home);
    if (n > 0 && (size_t)n < room && !usable(path, NULL) && is_private(path))
        return 0;
    snprintf(path, room, "/tmp/keel-%u", (unsigned)geteuid());
    if ((mkdir(path, 0700) && errno != EEXIST) || !is_private(path))
        return err_set(err, KEEL_EIO,
                       "no place for reports of faults: %s is no private folder of this user's; "
                       "set KEEL_REPORTS",
                       path);
    strcat(path, "/reports");
    int code = usable(path, err);
    if (!code && !is_private(path))
        code = err_set(err, KEEL_EIO, "%s is no private folder of this user's: remove it", path);
    return code;
}

static int ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && !strcmp(name + n - m, end);
}

static int is_report(const struct dirent *entry)
{
    return !strncmp(entry->d_name, "keel-", 5) && ends_with(entry->d_name, ".txt");
}

static void remove_abandoned(const char *path, const char *name)
{
    char whole[REPORT_PATH_BYTES + 256];
    struct stat st;
    snprintf(whole, sizeof whole, "%s/%s", path, name);
    if (!lstat(whole, &st) && S_ISREG(st.st_mode) && time(NULL) - st.st_mtime > ABANDONED_S)
        unlink(whole);
}

/* The names begin with the time: the first in order are the oldest. */
static void keep_newest(const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, is_report, alphasort);
    for (int i = 0; i < count; i++) {
        char whole[REPORT_PATH_BYTES + 256];
        snprintf(whole, sizeof whole, "%s/%s", path, entries[i]->d_name);
        if (i < count - REPORTS_KEPT)
            unlink(whole);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    DIR *all = opendir(path);
    const struct dirent *entry;
    while (all && (entry = readdir(all)))
        if (!strncmp(entry->d_name, ".keel-", 6) && ends_with(entry->d_name, ".part"))
            remove_abandoned(path, entry->d_name);
    if (all)
        closedir(all);
}

static int begin(Error *err)
{
    const char *now = __atomic_load_n(&folder, __ATOMIC_RELAXED);
    char *next = folders[now == folders[0]];
    int code = find_folder(next, err);
    if (code)
        return code;
    __atomic_store_n(&folder, next, __ATOMIC_RELEASE);
    keep_newest(next);
    return 0;
}

const char *report_folder(void)
{
    const char *now = __atomic_load_n(&folder, __ATOMIC_ACQUIRE);
    return now ? now : "";
}

int report_begin(Error *err)
{
    pthread_mutex_lock(&lock);
    int code = begin(err);
    pthread_mutex_unlock(&lock);
    return code;
}

/* ---- one file ---- */

static void name_file(char *path, const char *where, const char *before, const char *time,
                      uint32_t number, const char *after)
{
    Text text = text_on(path, REPORT_PATH_BYTES);
    text_put(&text, where);
    text_put(&text, before);
    text_put(&text, time);
    text_put(&text, "-");
    text_integer(&text, getpid());
    text_put(&text, "-");
    text_number(&text, number, 10, 1);
    text_put(&text, after);
}

int report_raw_file(const Report *report, char ret_path[REPORT_PATH_BYTES])
{
    const char *where = __atomic_load_n(&folder, __ATOMIC_ACQUIRE);
    if (!where)
        return KEEL_EINVAL;
    char part[REPORT_PATH_BYTES], path[REPORT_PATH_BYTES], time[REPORT_TIME_BYTES];
    uint32_t number = __atomic_add_fetch(&numbers, 1, __ATOMIC_RELAXED);
    report_time(report->fault->wall_ns, "", "-", "", time);
    name_file(part, where, "/.keel-", time, number, ".part");
    name_file(path, where, "/keel-", time, number, ".txt");
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return KEEL_EIO;
    report_raw(fd, report);
    /* A full disk may leave a part: better than nothing. */
    int empty = lseek(fd, 0, SEEK_CUR) <= 0;
    if (close(fd) | empty || rename(part, path)) {
        unlink(part);
        return KEEL_EIO;
    }
    Text text = text_on(ret_path, REPORT_PATH_BYTES);
    text_put(&text, path);
    return 0;
}

/* ---- causes ---- */

static uint64_t mix(uint64_t hash, const void *data, size_t bytes)
{
    for (const unsigned char *at = data; bytes--; at++) /* FNV-1a */
        hash = (hash ^ *at) * UINT64_C(0x100000001b3);
    return hash;
}

static int is_of_module(const Report *report, uintptr_t code)
{
    for (int i = 0; i < report->module_count; i++)
        if (code >= report->modules[i].first && code < report->modules[i].last)
            return 1;
    return guard_range_find(code, NULL, NULL) != 0;
}

/* Kind, generation and the innermost place in a module: the address touched may be another each
 * time. */
static uint64_t cause_of(const Report *report)
{
    const Fault *fault = report->fault;
    uintptr_t place = fault->pc;
    for (int i = 0; i < fault->frame_count && !is_of_module(report, place); i++)
        place = fault->frames[i];
    if (!is_of_module(report, place))
        place = fault->pc;
    uint64_t hash = mix(UINT64_C(0xcbf29ce484222325), &fault->kind, sizeof fault->kind);
    hash = mix(hash, &report->generation, sizeof report->generation);
    hash = mix(hash, &place, sizeof place);
    return report->slot ? mix(hash, report->slot, strlen(report->slot)) : hash;
}

/* The place of this cause, else the one that was written to longest ago. */
static Cause *find_cause(uint64_t hash)
{
    Cause *oldest = &causes[0];
    for (int i = 0; i < CAUSES; i++) {
        if (causes[i].hash == hash && causes[i].written_ns)
            return &causes[i];
        if (causes[i].written_ns < oldest->written_ns)
            oldest = &causes[i];
    }
    *oldest = (Cause){.hash = hash};
    return oldest;
}

int report_write(const Report *report, char ret_path[REPORT_PATH_BYTES], Error *err)
{
    int code = 0;
    int64_t now = clock_now_ns();
    Report counted = *report;
    pthread_mutex_lock(&lock);
    Cause *cause = find_cause(cause_of(report));
    if (cause->written_ns && now - cause->written_ns < REPORT_HOLD_NS) {
        cause->held_back++;
        *ret_path = 0;
        goto out;
    }
    if (!folder && (code = begin(err)))
        goto out;
    counted.held_back = cause->held_back;
    code = report_raw_file(&counted, ret_path);
    if (code && !begin(NULL)) /* somebody removed the folder */
        code = report_raw_file(&counted, ret_path);
    if (code) {
        err_set(err, code, "cannot write a report into %s: is it full or gone?", folder);
        goto out;
    }
    cause->written_ns = now;
    cause->held_back = 0;
    keep_newest(folder);
out:
    pthread_mutex_unlock(&lock);
    return code;
}
