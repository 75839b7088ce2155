/* The way from / to a watched file. Owns nothing; never opens what it passes; one thread. */
#include "watch/resolve.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What is left to walk is `rest`; `here` is an absolute folder without symlinks, "" for the root.
 */
typedef struct Walk {
    char here[PATH_MAX], rest[2 * PATH_MAX];
    int links;
    ResolveWatch *watch;
    void *user;
    Route *route;
    Error *err;
} Walk;

static int add_hop(Route *route, int watch, int last, const char *name)
{
    if (route->count == route->room) {
        int room = route->room ? 2 * route->room : 16;
        Hop *hops = realloc(route->hops, (size_t)room * sizeof *hops);
        if (!hops)
            return KEEL_ENOMEM;
        route->hops = hops;
        route->room = room;
    }
    char *copy = strdup(name);
    if (!copy)
        return KEEL_ENOMEM;
    route->hops[route->count++] = (Hop){.watch = watch, .last = last, .name = copy};
    return KEEL_OK;
}

/* Takes the next component off `rest`; 0 when there is none. */
static int next_name(Walk *w, char name[NAME_MAX + 1])
{
    const char *at = w->rest + strspn(w->rest, "/");
    size_t length = strcspn(at, "/");
    if (!length || length > NAME_MAX)
        return 0;
    memcpy(name, at, length);
    name[length] = 0;
    memmove(w->rest, at + length, strlen(at + length) + 1);
    return 1;
}

static int is_last(const Walk *w)
{
    return w->rest[strspn(w->rest, "/")] == 0;
}

static void go_up(Walk *w)
{
    char *slash = strrchr(w->here, '/');
    if (slash)
        *slash = 0;
}

/* Puts what the link says before what is left. 0 when the way ends here. */
static int follow(Walk *w, const char *link)
{
    char target[PATH_MAX];
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n <= 0 || ++w->links > RESOLVE_LINKS_MAX)
        return 0;
    size_t rest = strlen(w->rest);
    if ((size_t)n + 1 + rest + 1 > sizeof w->rest)
        return 0;
    memmove(w->rest + n + 1, w->rest, rest + 1);
    memcpy(w->rest, target, (size_t)n);
    w->rest[n] = '/';
    /* A link's last name is followed by nothing, not by an empty folder name. */
    if (!rest)
        w->rest[n] = 0;
    if (*target == '/')
        w->here[0] = 0;
    return 1;
}

/* One component. 1: go on; 0: the way ended (at something if route->exists); negative: an error. */
static int step(Walk *w)
{
    char name[NAME_MAX + 1], path[PATH_MAX];
    if (!next_name(w, name))
        return 0;
    if (!strcmp(name, "."))
        return 1;
    if (!strcmp(name, "..")) {
        go_up(w);
        return 1;
    }
    int last = is_last(w);
    int watch = w->watch(*w->here ? w->here : "/", last, w->user, w->err);
    if (watch < 0 && watch != RESOLVE_UNWATCHED)
        return watch;
    if (add_hop(w->route, watch, last, name))
        return err_set(w->err, KEEL_ENOMEM, "no memory to watch");
    size_t here = strlen(w->here);
    if (here + 1 + strlen(name) + 1 > sizeof path)
        return 0;
    memcpy(path, w->here, here);
    path[here] = '/';
    strcpy(path + here + 1, name);
    struct stat st;
    if (lstat(path, &st))
        return 0;
    if (S_ISLNK(st.st_mode))
        return follow(w, path);
    if (!last && !S_ISDIR(st.st_mode))
        return 0;
    strcpy(w->here, path);
    if (!last)
        return 1;
    w->route->exists = 1;
    w->route->stat = st;
    w->route->end = strdup(path);
    return w->route->end ? 0 : err_set(w->err, KEEL_ENOMEM, "no memory to watch");
}

int resolve_route(const char *path, ResolveWatch *watch, void *user, Route *ret, Error *err)
{
    *ret = (Route){0};
    if (strlen(path) >= PATH_MAX)
        return err_set(err, KEEL_EINVAL, "the path is too long to watch");
    Walk *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(err, KEEL_ENOMEM, "no memory to watch");
    strcpy(w->rest, path);
    w->watch = watch;
    w->user = user;
    w->route = ret;
    w->err = err;
    int rc;
    while ((rc = step(w)) > 0)
        ;
    free(w);
    return rc;
}

void route_done(Route *route)
{
    for (int i = 0; i < route->count; i++)
        free(route->hops[i].name);
    free(route->hops);
    free(route->end);
    *route = (Route){0};
}
