/* One image in this process, without a host. Owns the folder of names until alone_end. */
#include "app/alone.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault/guard.h"
#include "image/inspect.h"
#include "module/load.h"

int alone_begin(Alone *alone, Error *err)
{
    *alone = (Alone){0};
    int rc = guard_install(err);
    if (rc == KEEL_OK)
        rc = guard_thread_begin(err);
    return rc ? rc : stage_new(&alone->stage, err);
}

int alone_load(Alone *alone, Image *image, State *state, Generation **ret, Error *err)
{
    Generation *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(err, KEEL_ENOMEM, "no memory for a generation");
    g->number = ++alone->count;
    g->image = image_ref(image);
    LoadTry load = {.generation = g, .state = state, .stage = alone->stage};
    int rc = load_run(&load, err);
    if (rc == KEEL_OK)
        rc = guard_range_add(g->load_first, g->load_last, g->number, image->name, err);
    if (rc == KEEL_OK)
        *ret = g;
    return rc; /* a generation that failed stays as it is: the process ends */
}

int alone_image(const void *data, size_t bytes, const char *path, Image **ret, Error *err)
{
    int fd = memfd_create("keel-image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_errno(err, KEEL_ENOMEM, errno, "no memory for an image");
    for (size_t at = 0; at < bytes;) {
        ssize_t n = write(fd, (const char *)data + at, bytes - at);
        if (n <= 0) {
            close(fd);
            return err_errno(err, KEEL_ENOMEM, errno, "no memory for an image");
        }
        at += (size_t)n;
    }
    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    return image_open(fd, bytes, hash_bytes(data, bytes), path, ret, err);
}

void alone_end(Alone *alone)
{
    stage_free(alone->stage);
    alone->stage = NULL;
}
