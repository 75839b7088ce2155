/* dlopen under the guard, and the proofs around it. Owns nothing after its return. The loader's
 * thread. */
#include "module/load.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fault/guard.h"
#include "module/dltext.h"
#include "module/prefault.h"
#include "module/redirect.h"
#include "module/verify.h"

int load_copy_image(const Image *image, Image **ret, Error *err)
{
    int fd = memfd_create("keel-image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_errno(err, KEEL_ENOMEM, errno, "no memory file for a second copy of %s",
                         image->path);
    for (size_t at = 0; at < image->bytes;) {
        ssize_t n = write(fd, image->data + at, image->bytes - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int rc = err_errno(err, KEEL_ENOMEM, errno, "no memory for a second copy of %s",
                               image->path);
            close(fd);
            return rc;
        }
        at += (size_t)n;
    }
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)) {
        int rc = err_errno(err, KEEL_EIO, errno, "the copy of %s can't be sealed", image->path);
        close(fd);
        return rc;
    }
    int rc = image_open(fd, image->bytes, image->hash, image->path, ret, err);
    if (!rc)
        image_share_reading(*ret, image);
    return rc;
}

typedef struct OpenCall {
    const char *staged;
    State *state;
    void *handle;
    char said[700];
} OpenCall;

static void open_image(void *user)
{
    OpenCall *call = user;
    call->handle = dlopen(call->staged, RTLD_NOW | RTLD_LOCAL);
    if (call->handle)
        return;
    const char *said = dlerror();
    strncpy(call->said, said ? said : "no reason was given", sizeof call->said - 1);
}

static void close_image(void *user)
{
    dlclose(user);
}

static int open_guarded(LoadTry *try, Error *err)
{
    Generation *g = try->generation;
    OpenCall call = {.staged = g->staged, .state = try->state};
    Fault fault;
    if (try->state)
        state_bind_for_load(try->state);
    FaultKind kind = guard_run(g->number, 0, open_image, &call, &fault);
    if (try->state)
        state_bind_for_load(NULL);
    if (kind != FAULT_NONE) {
        try->locked = 1;
        return err_set(err, KEEL_EFAULT,
                       "a constructor of %s crashed and left the loader locked (%s): constructors "
                       "must not fail; this host can load nothing more until it is restarted",
                       g->image->path, fault.text);
    }
    if (!call.handle)
        return dltext_explain(g->image->path, g->staged, call.said, err);
    g->handle = call.handle;
    return KEEL_OK;
}

void load_undo(LoadTry *try)
{
    Generation *g = try->generation;
    if (g->handle) {
        Fault fault;
        if (guard_run(g->number, INT64_C(2000000000), close_image, g->handle, &fault) != FAULT_NONE)
            try->locked = 1;
        g->handle = NULL;
    }
    stage_remove(try->stage, g->staged);
}

int load_run(LoadTry *try, Error *err)
{
    Generation *g = try->generation;
    int rc = stage_add(try->stage, (unsigned long)g->number, g->image->path, g->image->memfd,
                       &g->staged, err);
    if (rc)
        return rc;
    rc = open_guarded(try, err);
    if (!rc)
        rc = verify_place(g, err);
    if (!rc)
        rc = verify_mapped(g, err);
    if (!rc)
        rc = verify_table(g, err);
    if (!rc) {
        redirect_leaving(g);
        prefault_generation(g);
        return KEEL_OK;
    }
    load_undo(try);
    return rc;
}
