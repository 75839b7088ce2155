/* keel/keel.h compiled ahead, for builds of one file by gcc: it is most of what such a file reads.
 * Made beside the first build's module while nobody waits, used from the next build on. gcc itself
 * refuses one that doesn't fit its options, and then reads the header. Owns the process that makes
 * it. Builder's thread. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/dev.h"
#include "base/hash.h"
#include "base/spawn.h"

extern char **environ;

/* What the result depends on: the command, and each of Keel's headers as it is now. */
static int key_of(const DevPlan *plan, const DevArgs *words, Buf *ret)
{
    char path[4400];
    snprintf(path, sizeof path, "%s/keel", plan->tree.include);
    DIR *folder = opendir(path);
    if (!folder)
        return KEEL_ENOTFOUND;
    uint64_t sum = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        struct {
            int64_t bytes, seconds, nanoseconds;
            uint64_t name;
        } what = {.name = hash_bytes(entry->d_name, strlen(entry->d_name)).low};
        struct stat st;
        if (entry->d_name[0] == '.' || fstatat(dirfd(folder), entry->d_name, &st, 0))
            continue;
        what.bytes = st.st_size;
        what.seconds = st.st_mtim.tv_sec;
        what.nanoseconds = st.st_mtim.tv_nsec;
        sum += hash_bytes(&what, sizeof what).low; /* in whatever order */
    }
    closedir(folder);
    int rc = buf_add(ret, &sum, sizeof sum);
    for (int i = 0; i < words->count && !rc; i++)
        rc = buf_add(ret, words->word[i], strlen(words->word[i]) + 1);
    return rc;
}

/* Those of other compilers, options and headers. */
static void remove_others(const char *own, const char *keep)
{
    DIR *folder = opendir(own);
    if (!folder)
        return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[4700];
        if (strncmp(entry->d_name, "pch-", 4) != 0 || !strcmp(entry->d_name, keep))
            continue;
        snprintf(path, sizeof path, "%s/%s/keel/keel.h.gch", own, entry->d_name);
        unlink(path);
        snprintf(path, sizeof path, "%s/%s/keel/part", own, entry->d_name);
        unlink(path);
        snprintf(path, sizeof path, "%s/%s/keel", own, entry->d_name);
        rmdir(path);
        snprintf(path, sizeof path, "%s/%s", own, entry->d_name);
        rmdir(path);
    }
    closedir(folder);
}

void dev_precompile_find(DevPrecompiled *pre, const DevPlan *plan, const DevArgs *words)
{
    Buf key = {0};
    char hash[HASH_TEXT_BYTES], made[4600];
    if (!key_of(plan, words, &key)) {
        hash_text(hash_bytes(key.data, key.bytes), hash);
        snprintf(pre->folder, sizeof pre->folder, "%s/pch-%.16s", plan->own, hash);
        snprintf(made, sizeof made, "%s/keel/keel.h.gch", pre->folder);
        pre->there = access(made, R_OK) == 0;
    }
    buf_done(&key);
}

/* Below the builds, which somebody waits for. */
static pid_t run(const DevPlan *plan, char *const *words)
{
    pid_t pid = -1;
    Spawn child;
    spawn_begin(&child);
    for (int fd = 0; fd < 3; fd++)
        spawn_null(&child, fd);
    spawn_close_from(&child, 3);
    spawn_folder(&child, plan->folder);
    if (spawn_end(&child, words[0], words, environ, &pid))
        pid = -1;
    return pid;
}

void dev_precompile_begin(DevPrecompiled *pre, const DevPlan *plan, const DevArgs *words)
{
    char path[4600];
    if (!pre->folder[0] || pre->there || pre->pid > 0 || pre->tried)
        return;
    pre->tried = 1;
    remove_others(plan->own, strrchr(pre->folder, '/') + 1);
    mkdir(pre->folder, 0777);
    snprintf(path, sizeof path, "%s/keel", pre->folder);
    if (mkdir(path, 0777) && errno != EEXIST)
        return;
    DevArgs args = {0};
    int rc = 0;
    for (int i = 0; i < words->count && !rc; i++)
        rc = dev_args_add(&args, "%s", words->word[i]);
    rc = rc ? rc : dev_args_split(&args, plan->cxx ? "-x c++-header" : "-x c-header");
    rc = rc ? rc : dev_args_add(&args, "%s/keel/keel.h", plan->tree.include);
    rc = rc ? rc : dev_args_add(&args, "-o");
    rc = rc ? rc : dev_args_add(&args, "%s/keel/part", pre->folder);
    if (!rc)
        pre->pid = run(plan, args.word);
    dev_args_done(&args);
}

int dev_precompile_ready(DevPrecompiled *pre)
{
    int status;
    if (pre->pid <= 0 || waitpid(pre->pid, &status, WNOHANG) != pre->pid)
        return pre->there;
    pre->pid = -1;
    char part[4600], made[4600];
    snprintf(part, sizeof part, "%s/keel/part", pre->folder);
    snprintf(made, sizeof made, "%s/keel/keel.h.gch", pre->folder);
    pre->there = WIFEXITED(status) && !WEXITSTATUS(status) && !rename(part, made);
    return pre->there;
}

void dev_precompile_done(DevPrecompiled *pre)
{
    int status;
    if (pre->pid <= 0)
        return;
    kill(-pre->pid, SIGKILL); /* not waited for yet: the group's number is still ours */
    while (waitpid(pre->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    pre->pid = -1;
}
