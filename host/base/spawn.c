/* posix_spawn with this tree's usual attributes. */
#include "base/spawn.h"

#include <fcntl.h>
#include <signal.h>

void spawn_begin(Spawn *spawn)
{
    sigset_t none, usual;
    sigemptyset(&none);
    sigfillset(&usual);
    sigdelset(&usual, SIGKILL);
    sigdelset(&usual, SIGSTOP);
    posix_spawn_file_actions_init(&spawn->actions);
    posix_spawnattr_init(&spawn->attr);
    posix_spawnattr_setsigmask(&spawn->attr, &none);
    posix_spawnattr_setsigdefault(&spawn->attr, &usual);
    posix_spawnattr_setpgroup(&spawn->attr, 0);
    spawn->failed = posix_spawnattr_setflags(
        &spawn->attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

void spawn_give(Spawn *spawn, int fd, int as)
{
    if (!spawn->failed)
        spawn->failed = posix_spawn_file_actions_adddup2(&spawn->actions, fd, as);
}

void spawn_null(Spawn *spawn, int as)
{
    if (!spawn->failed)
        spawn->failed = posix_spawn_file_actions_addopen(&spawn->actions, as, "/dev/null",
                                                         as ? O_WRONLY : O_RDONLY, 0);
}

void spawn_close_from(Spawn *spawn, int first)
{
    if (!spawn->failed)
        spawn->failed = posix_spawn_file_actions_addclosefrom_np(&spawn->actions, first);
}

void spawn_folder(Spawn *spawn, const char *folder)
{
    if (!spawn->failed)
        spawn->failed = posix_spawn_file_actions_addchdir_np(&spawn->actions, folder);
}

int spawn_end(Spawn *spawn, const char *program, char *const *words, char *const *environment,
              pid_t *ret_pid)
{
    pid_t pid;
    int failed = spawn->failed;
    if (!failed)
        failed = posix_spawnp(&pid, program, &spawn->actions, &spawn->attr, words, environment);
    posix_spawnattr_destroy(&spawn->attr);
    posix_spawn_file_actions_destroy(&spawn->actions);
    if (!failed)
        *ret_pid = pid;
    return failed;
}
