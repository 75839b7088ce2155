/* Where a slot's state is kept: names, and which addresses are spoken for. Owns nothing. Frame
 * thread. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "host/keeper.h"
#include "state/snapshot.h"
#include "swap/last_picture.h"

#define MEMORY_FOLDER "/dev/shm"
#define MEMORY_LEAST (UINT64_C(64) << 20)

enum { GRAINS = (int)(STATE_SPACE_BYTES / STATE_GRAIN_BYTES) };

static int has_room(void)
{
    struct statvfs fs;
    return statvfs(MEMORY_FOLDER, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize >= MEMORY_LEAST;
}

/* <memory folder>/keel-<user>/<hash of the folder's name>-<slot>. */
static int memory_folder(const char *dir, const char *name, char ret[KEEPER_PATH], Error *err)
{
    char user[64], hash[HASH_TEXT_BYTES];
    uint64_t base, bytes;
    snprintf(user, sizeof user, "%s/keel-%u", MEMORY_FOLDER, (unsigned)geteuid());
    hash_text(hash_bytes(dir, strlen(dir)), hash);
    snprintf(ret, KEEPER_PATH, "%s/%.16s-%s", user, hash, name);
    /* What a killed host left takes its room already. */
    if (state_kept_place(ret, &base, &bytes) && !has_room())
        return err_set(err, KEEL_EUNSUPPORTED, "%s has less than %llu MiB free", MEMORY_FOLDER,
                       (unsigned long long)(MEMORY_LEAST >> 20));
    if (mkdir(user, 0700) != 0 && errno != EEXIST)
        return err_errno(err, KEEL_EIO, errno, "cannot make %s", user);
    struct stat st;
    if (lstat(user, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 077) != 0)
        return err_set(err, KEEL_EDENIED, "%s is not a private folder of this user", user);
    return KEEL_OK;
}

static void mark(uint8_t taken[GRAINS], uint64_t base, uint64_t bytes)
{
    uint64_t first = (base - STATE_BASE) / STATE_GRAIN_BYTES;
    uint64_t count = (bytes + STATE_GRAIN_BYTES - 1) / STATE_GRAIN_BYTES;
    for (uint64_t n = 0; base >= STATE_BASE && first < GRAINS && n < count && n < GRAINS - first;
         n++)
        taken[first + n] = 1;
}

/* The addresses that the memory of the slots of this folder wants, which may have no snapshot yet.
 */
static void mark_memory(const char *dir, uint8_t taken[GRAINS])
{
    char user[64], hash[HASH_TEXT_BYTES], path[KEEPER_PATH];
    uint64_t base, bytes;
    snprintf(user, sizeof user, "%s/keel-%u", MEMORY_FOLDER, (unsigned)geteuid());
    hash_text(hash_bytes(dir, strlen(dir)), hash);
    DIR *list = opendir(user);
    for (struct dirent *entry; list && (entry = readdir(list));) {
        snprintf(path, sizeof path, "%s/%s", user, entry->d_name);
        if (!strncmp(entry->d_name, hash, 16) && entry->d_name[16] == '-' &&
            state_kept_place(path, &base, &bytes) == KEEL_OK)
            mark(taken, base, bytes);
    }
    if (list)
        closedir(list);
}

/* The addresses that the folder's snapshots want. */
static void mark_snapshots(const char *dir, uint8_t taken[GRAINS])
{
    DIR *list = opendir(dir);
    for (struct dirent *entry; list && (entry = readdir(list));) {
        size_t length = strlen(entry->d_name);
        char path[KEEPER_PATH + 300];
        SnapshotReader *reader;
        if (length <= strlen(KEEPER_ENDING) ||
            strcmp(entry->d_name + length - strlen(KEEPER_ENDING), KEEPER_ENDING))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (snapshot_open(path, &reader, NULL))
            continue;
        const SnapshotInfo *info = &snapshot_parts(reader)->info;
        mark(taken, info->base, info->bytes);
        snapshot_close(reader);
    }
    if (list)
        closedir(list);
}

/* A place that no kept slot wants, so that the order of the modules may change. */
static uint64_t free_base(const uint8_t taken[GRAINS], uint64_t bytes)
{
    uint64_t need = (bytes + STATE_GRAIN_BYTES - 1) / STATE_GRAIN_BYTES;
    for (uint64_t at = 0; at + need <= GRAINS; at++) {
        uint64_t n = 0;
        while (n < need && !taken[at + n] &&
               state_base_free(STATE_BASE + (at + n) * STATE_GRAIN_BYTES))
            n++;
        if (n == need)
            return STATE_BASE + at * STATE_GRAIN_BYTES;
        at += n;
    }
    return 0;
}

int keeper_look(const char *dir, const char *name, StateOptions *options, char folder[KEEPER_PATH],
                char ret_snapshot[KEEPER_PATH], Error *err)
{
    char whole[PATH_MAX];
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_errno(err, KEEL_EIO, errno, "cannot make the folder %s for states", dir);
    if (!realpath(dir, whole) || access(whole, W_OK | X_OK) != 0)
        return err_errno(err, KEEL_EIO, errno, "cannot keep states in %s", dir);
    struct stat st;
    if (stat(whole, &st) != 0 || (st.st_uid != geteuid() && st.st_uid != 0) ||
        (st.st_mode & 022) != 0)
        return err_set(err, KEEL_EDENIED,
                       "others than this user can put states into %s: chmod 700 it, or choose "
                       "another folder",
                       dir);
    if (snprintf(ret_snapshot, KEEPER_PATH, "%s/%s" KEEPER_ENDING, whole, name) >= KEEPER_PATH)
        return err_set(err, KEEL_EINVAL, "the name of the states' folder is too long");
    SnapshotReader *reader;
    if (snapshot_open(ret_snapshot, &reader, NULL) == KEEL_OK) {
        options->base = snapshot_parts(reader)->info.base;
        options->max_bytes = snapshot_parts(reader)->info.bytes;
        snapshot_close(reader);
    } else {
        uint8_t taken[GRAINS] = {0};
        mark_snapshots(whole, taken);
        mark_memory(whole, taken);
        options->base =
            free_base(taken, options->max_bytes ? options->max_bytes : STATE_GRAIN_BYTES);
    }
    Error why = {0};
    options->folder = NULL;
    if (memory_folder(whole, name, folder, &why) == KEEL_OK)
        options->folder = folder;
    else
        log_warn("state",
                 "%s: %s: if this host is killed, what came after the last snapshot is lost", name,
                 why.text);
    return KEEL_OK;
}

LastPicture *keeper_picture(const char *snapshot, const char *name)
{
    char path[KEEPER_PATH + sizeof KEEPER_PICTURE];
    LastPicture *picture = NULL;
    Error err = {0};
    snprintf(path, sizeof path, "%.*s" KEEPER_PICTURE,
             (int)(strlen(snapshot) - strlen(KEEPER_ENDING)), snapshot);
    int rc = last_picture_read(path, &picture, &err);
    if (rc && rc != KEEL_ENOTFOUND)
        log_warn("state", "%s: its last picture isn't shown: %s", name, err.text);
    return picture;
}
