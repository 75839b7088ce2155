/* An image: the bytes of one module, mapped, checked and described. Owns its memfd and mapping;
 * runs nothing; any thread. */
#include "image/image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "image/macho.h"
#include "image/parts.h"
#include "image/reading.h"
#include "watch/settle.h"
#include "watch/whole.h"

#include <keel/module.h>

/* Set once, by whoever comes first. Images of the same bytes share it. */
typedef struct Known {
    atomic_int references;
    _Atomic(Reading *) reading;
    ImageTrust trust;
} Known;

/* The count lies beside the image, so that the struct that others see has no atomics in it. */
typedef struct Counted {
    Image image;
    atomic_int references;
    Known *known;
} Counted;

enum { RETRY_NS = 5 * 1000 * 1000 };

/* A file that could shrink under the mapping would kill its reader; one that could change would not
 * be what was proven. */
static int check_sealed(int memfd, size_t bytes, Error *err)
{
    const int need = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    int seals = fcntl(memfd, F_GET_SEALS);
    struct stat st;
    if (seals < 0 || (seals & need) != need)
        return err_set(err, KEEL_EINVAL, "its copy in memory is not sealed: an internal error");
    if (fstat(memfd, &st) || (uint64_t)st.st_size != bytes)
        return err_set(err, KEEL_EINVAL,
                       "its copy in memory has another size than was said: an internal error");
    return KEEL_OK;
}

static int map_bytes(Image *image, Error *err)
{
    if (!image->bytes)
        return err_set(err, KEEL_EIMAGE, "it is empty: its build has not written anything yet");
    void *data = mmap(NULL, image->bytes, PROT_READ, MAP_SHARED, image->memfd, 0);
    if (data == MAP_FAILED)
        return err_errno(err, KEEL_ENOMEM, errno, "cannot map its copy");
    image->data = data;
    return KEEL_OK;
}

/* An image of macOS can be looked at. */
static int describe_foreign(Image *image, Error *err)
{
    Error why;
    if (!macho_is(image->data, image->bytes))
        return foreign_refuse(image->data, image->bytes, err);
    int rc = image_read_macho(image, err);
    if (!rc && macho_refuse(image->data, image->bytes, &why))
        snprintf(image->foreign, sizeof image->foreign, "%s", why.text);
    return rc;
}

static int describe(Image *image, int look, Error *err)
{
    if (image->bytes < SELFMAG || memcmp(image->data, ELFMAG, SELFMAG)) {
        if (memcmp(image->data, ELFMAG, image->bytes < SELFMAG ? image->bytes : SELFMAG))
            return look ? describe_foreign(image, err)
                        : foreign_refuse(image->data, image->bytes, err);
    }
    int rc = image_read_elf(image, err);
    if (!rc)
        rc = abi_check(image->abi, image->table_bytes, KEEL_ABI, err);
    /* Last: where both speak, what the header says is the better sentence. */
    if (!rc && whole_check(image->data, image->bytes, err)) {
        rc = KEEL_EIMAGE;
        if (err)
            err->code = rc;
    }
    return rc;
}

static void known_unref(Known *known)
{
    if (!known || atomic_fetch_sub_explicit(&known->references, 1, memory_order_acq_rel) > 1)
        return;
    reading_free(atomic_load(&known->reading));
    free(known);
}

static void free_image(Counted *counted)
{
    Image *image = &counted->image;
    if (image->data)
        munmap((void *)image->data, image->bytes);
    if (image->memfd >= 0)
        close(image->memfd);
    known_unref(counted->known);
    free(image->path);
    free(counted);
}

static int make(int memfd, size_t bytes, Hash hash, const char *path, int look, Image **ret,
                Error *err)
{
    Counted *counted = calloc(1, sizeof *counted);
    Known *known = calloc(1, sizeof *known);
    if (!counted || !known) {
        free(counted);
        free(known);
        if (memfd >= 0)
            close(memfd);
        return err_set(err, KEEL_ENOMEM, "no memory for %s", path);
    }
    Image *image = &counted->image;
    atomic_init(&counted->references, 1);
    atomic_init(&known->references, 1);
    atomic_init(&known->reading, NULL);
    counted->known = known;
    image->memfd = memfd;
    image->bytes = bytes;
    image->hash = hash;
    image->path = strdup(path);
    int rc = image->path ? KEEL_OK : err_set(err, KEEL_ENOMEM, "no memory");
    rc = rc ? rc : check_sealed(memfd, bytes, err);
    rc = rc ? rc : map_bytes(image, err);
    rc = rc ? rc : describe(image, look, err);
    if (rc) {
        free_image(counted);
        err_wrap(err, "%s", path);
        return rc;
    }
    *ret = image;
    return KEEL_OK;
}

int image_open(int memfd, size_t bytes, Hash hash, const char *path, Image **ret, Error *err)
{
    return make(memfd, bytes, hash, path, 0, ret, err);
}

int image_look(int memfd, size_t bytes, Hash hash, const char *path, Image **ret, Error *err)
{
    return make(memfd, bytes, hash, path, 1, ret, err);
}

int image_load_file(const char *path, int64_t wait_ns, Image **ret, Error *err)
{
    int64_t until = clock_now_ns() + wait_ns;
    Settled settled;
    int rc;
    for (;;) {
        rc = settle_read(path, NULL, &settled, err);
        if ((rc != KEEL_EPARTIAL && rc != KEEL_EBUSY) || clock_now_ns() >= until)
            break;
        const struct timespec pause = {.tv_nsec = RETRY_NS};
        nanosleep(&pause, NULL);
    }
    return rc ? rc : image_open(settled.memfd, settled.bytes, settled.hash, path, ret, err);
}

Image *image_ref(Image *image)
{
    atomic_fetch_add_explicit(&((Counted *)image)->references, 1, memory_order_relaxed);
    return image;
}

void image_unref(Image *image)
{
    Counted *counted = (Counted *)image;
    if (counted && atomic_fetch_sub_explicit(&counted->references, 1, memory_order_acq_rel) == 1)
        free_image(counted);
}

const Reading *image_reading(const Image *image)
{
    return atomic_load_explicit(&((const Counted *)image)->known->reading, memory_order_acquire);
}

void image_set_reading(const Image *image, Reading *reading)
{
    Reading *none = NULL;
    if (!atomic_compare_exchange_strong(&((const Counted *)image)->known->reading, &none, reading))
        reading_free(reading);
}

ImageTrust *image_trust(const Image *image)
{
    return &((const Counted *)image)->known->trust;
}

void image_share_reading(Image *copy, const Image *of)
{
    Counted *counted = (Counted *)copy;
    Known *known = ((const Counted *)of)->known;
    atomic_fetch_add_explicit(&known->references, 1, memory_order_relaxed);
    known_unref(counted->known);
    counted->known = known;
}
