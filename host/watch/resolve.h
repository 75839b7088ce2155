/* The way from / to a watched file: every folder and every symlink that could make its name mean
 * something else. Looks each folder up only after the caller has begun to watch it, so nothing
 * slips between. One thread. */
#ifndef WATCH_RESOLVE_H
#define WATCH_RESOLVE_H

#include <stdint.h>
#include <sys/stat.h>

#include "base/err.h"

enum { RESOLVE_LINKS_MAX = 40 }; /* as the kernel */

/* In the folder that `watch` watches, the entry `name` matters. */
typedef struct Hop {
    int watch; /* what ResolveWatch gave for the folder; negative: it can't be watched */
    int last;  /* the file's own name, or the last that exists of the way */
    char *name;
} Hop;

typedef struct Route {
    int count, room;
    Hop *hops;
    int exists;       /* the way leads to something */
    struct stat stat; /* of it */
    char *end;        /* its name without any symlink; NULL unless it exists */
} Route;

/* Begins to watch `folder` (or goes on). Returns its number, or a negative error that ends the
 * resolving, or RESOLVE_UNWATCHED to go on without. */
typedef int ResolveWatch(const char *folder, int last, void *user, Error *err);
enum { RESOLVE_UNWATCHED = -1000 };

/* `path` is absolute. A way that leads nowhere (missing, loop of links, too long) is a result, not
 * an error: `exists` is 0. `*ret` is filled also when an error is returned. */
int resolve_route(const char *path, ResolveWatch *watch, void *user, Route *ret, Error *err);
void route_done(Route *route);

#endif
