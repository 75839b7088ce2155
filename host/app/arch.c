/* Cuts one processor's part out of a universal file. Owns nothing after a call; main thread. */
#include "app/arch.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/macho.h"

static uint32_t cpu_of(const char *arch)
{
    return !strcmp(arch, "arm64") || !strcmp(arch, "aarch64") ? MACHO_ARM64
           : !strcmp(arch, "x86-64") || !strcmp(arch, "x86_64") || !strcmp(arch, "amd64")
               ? MACHO_X86_64
               : 0;
}

int arch_known(const char *arch)
{
    return cpu_of(arch) != 0;
}

static int copy_out(Settled *settled, const uint8_t *part, size_t bytes, Error *err)
{
    int fd = memfd_create("keel:slice", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int rc = fd < 0 ? err_errno(err, KEEL_ELIMIT, errno, "cannot copy a part of it") : KEEL_OK;
    for (size_t at = 0; !rc && at < bytes;) {
        ssize_t n = pwrite(fd, part + at, bytes - at, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            rc = err_errno(err, KEEL_ENOSPACE, errno, "cannot copy a part of it");
        else
            at += (size_t)n;
    }
    if (!rc && fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
        rc = err_errno(err, KEEL_EIO, errno, "cannot seal a copy");
    if (rc) {
        if (fd >= 0)
            close(fd);
        return rc;
    }
    settled->hash = hash_bytes(part, bytes);
    close(settled->memfd);
    settled->memfd = fd;
    settled->bytes = bytes;
    return KEEL_OK;
}

int arch_pick(Settled *settled, const char *arch, Error *err)
{
    const uint8_t *part;
    size_t bytes;
    if (!arch)
        return KEEL_OK;
    if (!arch_known(arch))
        return err_set(err, KEEL_EINVAL, "there is no processor \"%.40s\" here", arch);
    void *data = mmap(NULL, settled->bytes, PROT_READ, MAP_SHARED, settled->memfd, 0);
    if (data == MAP_FAILED)
        return err_errno(err, KEEL_ENOMEM, errno, "cannot map it");
    int rc = macho_slice(data, settled->bytes, cpu_of(arch), &part, &bytes, err);
    size_t whole = settled->bytes;
    if (!rc && part != data)
        rc = copy_out(settled, part, bytes, err);
    munmap(data, whole);
    return rc;
}
