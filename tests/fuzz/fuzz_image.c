/* Fuzzes what the host itself reads of an untrusted file: whole_check, the headers, the notes. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/image.h"
#include "watch/whole.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* What others will rely on, whatever the bytes said. */
static void check_promises(const Image *image)
{
    if (image->load_count < 1 || image->load_count > IMAGE_LOADS_MAX ||
        image->span_first >= image->span_last || image->needs_count > IMAGE_NEEDS_MAX ||
        !memchr(image->name, 0, sizeof image->name) || !*image->name || image->nodelete)
        abort();
    for (int i = 0; i < image->load_count; i++) {
        const ImageLoad *l = &image->loads[i];
        if (l->file_offset > image->bytes || l->file_bytes > image->bytes - l->file_offset ||
            l->address < image->span_first || l->address + l->memory_bytes > image->span_last)
            abort();
    }
    if (image->relro_first > image->relro_last ||
        (image->relro_last &&
         (image->relro_first < image->span_first || image->relro_last > image->span_last)))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    Error err = {0};
    Image *image = NULL;
    int whole = whole_check(data, bytes, &err);
    if (whole && !*err.text)
        abort();
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || pwrite(fd, data, bytes, 0) != (ssize_t)bytes ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
        abort();
    err = (Error){0};
    if (image_open(fd, bytes, (Hash){0}, "fuzz", &image, &err)) {
        if (image || !*err.text || err.code >= 0)
            abort();
        return 0;
    }
    if (whole)
        abort();
    check_promises(image);
    image_unref(image);
    return 0;
}
