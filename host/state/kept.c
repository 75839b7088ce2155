/* A state that outlives its process: arena, checkpoint and pool as files of a memory file system,
 * where they cost what memfds cost and are still there when the process is not. Owns the files'
 * names. The checkpoint's phase word says what is whole (recover.c). Frame thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "state/internal.h"

#define TMPFS_MAGIC_NUMBER 0x01021994

static const char *const names[] = {"lock", "arena", "checkpoint", "pins"};

static int open_one(const char *folder, const char *name, int *ret, Error *err)
{
    char path[4200];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(err, KEEL_EINVAL, "the name of the state's folder is too long");
    *ret = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    struct stat st;
    if (*ret < 0)
        return err_errno(err, KEEL_EIO, errno, "cannot open %s", path);
    if (fstat(*ret, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 077) != 0)
        return err_set(err, KEEL_EDENIED, "%s is not a private file of this user", path);
    return 0;
}

static int check_folder(const char *folder, Error *err)
{
    struct stat st;
    struct statfs fs;
    if (mkdir(folder, 0700) != 0 && errno != EEXIST)
        return err_errno(err, KEEL_EIO, errno, "cannot make %s", folder);
    if (lstat(folder, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
        (st.st_mode & 077) != 0)
        return err_set(err, KEEL_EDENIED, "%s is not a private folder of this user", folder);
    if (statfs(folder, &fs) != 0 || fs.f_type != TMPFS_MAGIC_NUMBER)
        return err_set(err, KEEL_EUNSUPPORTED, "%s is not on a memory file system", folder);
    return 0;
}

/* What the checkpoint says of itself; recover_store checks the rest. */
static int peek(KeptFiles *files)
{
    StoreHead head;
    struct stat arena;
    if (pread(files->store, &head, sizeof head, 0) != sizeof head || head.magic != STORE_MAGIC ||
        fstat(files->arena, &arena) != 0 || (uint64_t)arena.st_size != head.arena_bytes ||
        !head.note_bytes[head.note_which & 1])
        return 0;
    files->base = head.arena_base;
    files->bytes = head.arena_bytes;
    return 1;
}

int state_kept_place(const char *folder, uint64_t *ret_base, uint64_t *ret_bytes)
{
    int dir = open(folder, O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    KeptFiles files = {.lock = dir, .arena = -1, .store = -1, .pool = -1};
    const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    int rc = KEEL_ENOTFOUND;
    if (dir >= 0) {
        files.arena = openat(dir, names[1], flags);
        files.store = openat(dir, names[2], flags);
    }
    if (files.store >= 0 && files.arena >= 0 && peek(&files)) {
        *ret_base = files.base;
        *ret_bytes = files.bytes;
        rc = KEEL_OK;
    }
    kept_close(&files);
    return rc;
}

/* The folder's lock, held. A host that ended meanwhile may have removed the file that was opened
 * here: then another one can hold the lock of the same name, too. */
static int open_locked(const char *folder, int *ret, Error *err)
{
    enum { TRIES = 100 };
    char path[4200];
    struct stat mine, there;
    snprintf(path, sizeof path, "%s/%s", folder, names[0]);
    for (int i = 0; i < TRIES; i++) {
        int code = check_folder(folder, err);
        if (code == 0)
            code = open_one(folder, names[0], ret, err);
        if (code == 0 && flock(*ret, LOCK_EX | LOCK_NB) != 0)
            code = err_set(err, KEEL_EBUSY, "another host runs on the state in %s", folder);
        if (code || (fstat(*ret, &mine) == 0 && stat(path, &there) == 0 &&
                     mine.st_ino == there.st_ino && mine.st_dev == there.st_dev))
            return code;
        close(*ret);
        *ret = -1;
    }
    return err_set(err, KEEL_EBUSY, "the state in %s comes and goes", folder);
}

static int open_files(const char *folder, KeptFiles *files, Error *err)
{
    int *const fds[] = {&files->lock, &files->arena, &files->store, &files->pool};
    int code = open_locked(folder, &files->lock, err);
    for (int i = 1; i < 4 && code == 0; i++)
        code = open_one(folder, names[i], fds[i], err);
    return code;
}

/* Only what is damaged for good is KEEL_EDATA: it may be the only copy. */
static int look(KeptFiles *files, uint64_t bytes, Error *err)
{
    struct stat pool;
    if (!peek(files))
        return 0;
    if (files->bytes != bytes)
        return err_set(err, KEEL_EDATA, "it was made for %llu MiB",
                       (unsigned long long)(files->bytes >> 20));
    int used = fstat(files->pool, &pool) == 0 && pool.st_size > 0;
    int code = recover_store(files->arena, files->store, used ? files->pool : -1, err);
    files->there = code == 0;
    return code;
}

/* There is one of a folder at most. The lock goes with it. */
static int put_aside(const char *folder, KeptFiles *files, const Error *why, Error *err)
{
    char aside[4200];
    const char *name = strrchr(folder, '/');
    name = name ? name + 1 : folder;
    snprintf(aside, sizeof aside, "%.*sdamaged-%s", (int)(name - folder), folder, name);
    kept_remove(aside);
    if (rename(folder, aside) != 0)
        return err_errno(err, KEEL_EIO, errno, "%.150s; it cannot be put aside as %.200s",
                         why->text, aside);
    snprintf(files->why, sizeof files->why, "%.150s; it is in %.200s now", why->text, aside);
    return 0;
}

int kept_open(const char *folder, uint64_t bytes, KeptFiles *ret, Error *err)
{
    KeptFiles files = {.lock = -1, .arena = -1, .store = -1, .pool = -1};
    Error why = {0};
    int code = open_files(folder, &files, err);
    int looked = code ? 0 : look(&files, bytes, &why);
    if (looked == KEEL_EDATA) {
        code = put_aside(folder, &files, &why, err);
        kept_close(&files);
        if (code == 0)
            code = open_files(folder, &files, err);
    } else if (looked) {
        *err = why;
        code = looked;
    }
    if (code) {
        kept_close(&files);
        return code;
    }
    *ret = files;
    return 0;
}

int kept_size(int fd, uint64_t bytes, int there, Error *err)
{
    if (!there && ftruncate(fd, 0) != 0)
        return err_errno(err, KEEL_EIO, errno, "cannot empty a file of the state");
    if (ftruncate(fd, (off_t)bytes) != 0)
        return err_errno(err, KEEL_ENOSPACE, errno, "cannot size a file of the state");
    return 0;
}

void kept_close(KeptFiles *files)
{
    const int fds[] = {files->lock, files->arena, files->store, files->pool};
    for (int i = 0; i < 4; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    files->lock = files->arena = files->store = files->pool = -1;
}

void kept_remove(const char *folder)
{
    char path[4200];
    for (int i = 3; i >= 0; i--) { /* the lock last: until then nobody else begins */
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

/* ---- for the slot that is brought back ---- */

int state_resumed(const State *state)
{
    return state->resumed;
}

const char *state_kept_why(const State *state)
{
    return state->kept_why;
}

int state_note(State *state, const void *data, uint64_t bytes)
{
    if (bytes > NOTE_ROOM)
        return KEEL_ELIMIT;
    if (state->tier == STATE_TIER_OFF)
        return KEEL_EUNSUPPORTED;
    StoreHead *head = state->store.head;
    uint32_t to = !head->note_which;
    memcpy(state->store.map + head->note_offset + (uint64_t)to * NOTE_ROOM, data, bytes);
    head->note_bytes[to] = bytes;
    head->note_check[to] = hash_bytes(data, bytes).low;
    state->note_fresh = 1;
    return 0;
}

const void *state_noted(const State *state, uint64_t *ret_bytes)
{
    const StoreHead *head = state->store.head;
    uint32_t which = head->note_which & 1;
    uint64_t bytes = head->note_bytes[which];
    if (!bytes || bytes > NOTE_ROOM)
        return NULL;
    const uint8_t *note = state->store.map + head->note_offset + (uint64_t)which * NOTE_ROOM;
    if (hash_bytes(note, bytes).low != head->note_check[which])
        return NULL;
    *ret_bytes = bytes;
    return note;
}

const void *state_kept_statics(const State *state, uint64_t *ret_bytes)
{
    const StoreHead *head = state->store.head;
    uint32_t pages = head->statics_noted ? head->static_pages : head->statics_before;
    if (!state->resumed || !pages || pages > STATIC_PAGES_MAX)
        return NULL;
    *ret_bytes = (uint64_t)pages * PAGE_BYTES;
    return head->statics_noted ? state->store.base + (uint64_t)state->store.arena_pages * PAGE_BYTES
                               : state->store.before;
}

static uint64_t rebase(uint64_t *words, uint64_t count, uint64_t first, uint64_t last, uint64_t to)
{
    uint64_t done = 0;
    for (uint64_t i = 0; i < count; i++)
        if (words[i] - first < last - first) {
            words[i] += to - first;
            done++;
        }
    return done;
}

uint64_t state_rebase(State *state, uint64_t first, uint64_t last, uint64_t to)
{
    const ArenaHead *head = arena_head(state);
    if (first == to || first >= last || !head->top || head->top > state->data_pages)
        return 0;
    return rebase((uint64_t *)(void *)page_address(state, 1),
                  (uint64_t)(head->top - 1) * (PAGE_BYTES / 8), first, last, to);
}

int state_exchange(State *state, uint64_t address, const void *was, const void *is, uint64_t bytes,
                   Error *err)
{
    const ArenaHead *head = arena_head(state);
    uint64_t first = (uintptr_t)page_address(state, 1);
    uint64_t last = (uintptr_t)page_address(state, head->top <= state->data_pages ? head->top : 1);
    if (address < first || address > last || bytes > last - address)
        return err_set(err, KEEL_EINVAL, "no object of the state is at 0x%llx",
                       (unsigned long long)address);
    if (memcmp((const void *)(uintptr_t)address, was, bytes) != 0)
        return err_set(err, KEEL_ECHANGED, "the value at 0x%llx is another by now: look again",
                       (unsigned long long)address);
    memcpy((void *)(uintptr_t)address, is, bytes);
    return state_commit(state, err);
}

void state_forget(State *state)
{
    if (state->kept)
        kept_remove(state->kept);
}
