/* For tests of watch/ and image/: files, sealed copies, and modules with one thing changed in them.
 */
#ifndef TEST_IMAGE_FILES_H
#define TEST_IMAGE_FILES_H

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/hash.h"

typedef struct Blob {
    uint8_t *data;
    size_t bytes;
} Blob;

static inline Blob blob_read(const char *path)
{
    Blob b = {0};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    b.bytes = (size_t)st.st_size;
    b.data = malloc(b.bytes + 1);
    assert_non_null(b.data);
    assert_int_equal(read(fd, b.data, b.bytes), b.bytes);
    close(fd);
    return b;
}

static inline Blob blob_copy(Blob from)
{
    Blob b = {malloc(from.bytes + 1), from.bytes};
    assert_non_null(b.data);
    memcpy(b.data, from.data, from.bytes);
    return b;
}

static inline void write_file(const char *path, const void *data, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), bytes);
    assert_int_equal(close(fd), 0);
}

static inline int sealed_memfd(const void *data, size_t bytes)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, bytes, 0), bytes);
    assert_int_equal(
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
    return fd;
}

static inline Elf64_Ehdr *elf_head(Blob b)
{
    return (Elf64_Ehdr *)b.data;
}

static inline Elf64_Phdr *elf_segment(Blob b, uint32_t type, int nth)
{
    Elf64_Phdr *p = (Elf64_Phdr *)(b.data + elf_head(b)->e_phoff);
    for (int i = 0; i < elf_head(b)->e_phnum; i++)
        if (p[i].p_type == type && !nth--)
            return &p[i];
    fail_msg("no segment of type %u", type);
    return NULL;
}

/* The first entry of the dynamic section with that tag. */
static inline Elf64_Dyn *elf_dynamic(Blob b, int64_t tag)
{
    Elf64_Dyn *d = (Elf64_Dyn *)(b.data + elf_segment(b, PT_DYNAMIC, 0)->p_offset);
    for (; d->d_tag != tag; d++)
        if (d->d_tag == DT_NULL && tag != DT_NULL)
            fail_msg("no dynamic entry %lld", (long long)tag);
    return d;
}

/* The head of the Keel note of one type, or NULL. */
static inline uint8_t *keel_note(Blob b, uint32_t type)
{
    uint32_t head[] = {5, 0, type};
    for (size_t i = 0; i + 20 < b.bytes; i += 4)
        if (!memcmp(b.data + i, head, 4) && !memcmp(b.data + i + 8, head + 2, 4) &&
            !memcmp(b.data + i + 12, "Keel", 5))
            return b.data + i;
    return NULL;
}

#endif
