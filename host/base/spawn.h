/* Starting a program from a process with threads and handlers of its own: the child is a process
 * group of its own (a terminal's interrupt is this process's business), nothing is blocked in it,
 * and every signal does what is usual. Owns nothing once it has ended. Any thread. */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include <spawn.h>

typedef struct Spawn {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int failed; /* the first errno */
} Spawn;

/* Each of these is done in the child, in the order of the calls. */
void spawn_begin(Spawn *spawn);
void spawn_give(Spawn *spawn, int fd, int as); /* equal ones only lose their close-on-exec */
void spawn_null(Spawn *spawn, int as);         /* /dev/null; 0 for reading, others for writing */
void spawn_close_from(Spawn *spawn, int first);
void spawn_folder(Spawn *spawn, const char *folder);

/* Starts it, and gives back what `spawn` holds. A name without a slash is looked for in PATH. 0 or
 * errno. */
int spawn_end(Spawn *spawn, const char *program, char *const *words, char *const *environment,
              pid_t *ret_pid);

#endif
