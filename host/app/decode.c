/* The program keel-decode: reads its input, gives up all rights, decodes, writes the result. Owns
 * nothing that outlives it. */
#include "app/decode.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sanitizer.h"

#define MEMORY_MOST (UINT64_C(768) << 20)

static const char help[] = "usage: keel-decode image|sound <FILE >RESULT\n"
                           "\n"
                           "Decodes a PNG picture or a WAV sound for a host, which starts it. The "
                           "result is for programs.\n";

static void limit(int what, rlim_t most)
{
    struct rlimit both = {most, most};
    setrlimit(what, &both);
}

static void set_limits(void)
{
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_CPU, 10);
    limit(RLIMIT_FSIZE, ASSET_CONTENT_MOST + 4096);
#if !UNDER_ASAN && !UNDER_TSAN
    limit(RLIMIT_DATA, MEMORY_MOST);
#endif
}

/* From here on: memory, this output, the end. */
static int give_up_rights(void)
{
    static const int allowed[] = {SCMP_SYS(brk),        SCMP_SYS(mmap),    SCMP_SYS(munmap),
                                  SCMP_SYS(mremap),     SCMP_SYS(madvise), SCMP_SYS(mprotect),
                                  SCMP_SYS(exit_group), SCMP_SYS(futex),   SCMP_SYS(rt_sigreturn),
                                  SCMP_SYS(sigaltstack)};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return errno;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return ENOMEM;
    int rc = 0;
    for (size_t i = 0; !rc && i < sizeof allowed / sizeof *allowed; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    rc = rc ? rc
            : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(write), 1,
                               SCMP_A0(SCMP_CMP_EQ, STDOUT_FILENO, 0));
    rc = rc ? rc : seccomp_load(filter);
    seccomp_release(filter);
    return -rc;
}

/* The whole input in memory, before rights are given up. */
static int read_input(void **ret_data, size_t *ret_bytes, Error *err)
{
    struct stat st;
    if (fstat(STDIN_FILENO, &st) || !S_ISREG(st.st_mode))
        return err_set(err, KEEL_EINVAL, "its input is no file");
    if (!st.st_size || st.st_size > ASSET_FILE_MOST)
        return err_set(err, KEEL_ELIMIT, "it has %lld bytes, 1 to %d MiB can be read",
                       (long long)st.st_size, ASSET_FILE_MOST >> 20);
    char *data = malloc((size_t)st.st_size);
    if (!data)
        return err_set(err, KEEL_ENOMEM, "no memory to read it");
    for (off_t at = 0; at < st.st_size;) {
        ssize_t n = pread(STDIN_FILENO, data + at, (size_t)(st.st_size - at), at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            free(data);
            return err_set(err, KEEL_EIO, "it can't be read");
        }
        at += n;
    }
    *ret_data = data;
    *ret_bytes = (size_t)st.st_size;
    return KEEL_OK;
}

static int write_all(const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes) {
        ssize_t n = write(STDOUT_FILENO, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        at += n;
        bytes -= (size_t)n;
    }
    return 0;
}

int main(int argc, char **argv)
{
    int image = argc == 2 && !strcmp(argv[1], "image");
    if (argc != 2 || (!image && strcmp(argv[1], "sound"))) {
        int asked = argc == 2 && !strcmp(argv[1], "--help");
        fputs(help, asked ? stdout : stderr);
        return asked ? 0 : 2;
    }
    AssetWire wire = {.magic = ASSET_WIRE_MAGIC};
    Error err = {0};
    void *data = NULL, *content = NULL;
    size_t bytes = 0;
    set_limits();
    int rc = read_input(&data, &bytes, &err);
    if (!rc) {
        int number = give_up_rights();
        if (number)
            rc = err_set(&err, KEEL_EUNSUPPORTED,
                         "this system offers no sandbox to decode files in (error %d)", number);
    }
    if (!rc)
        rc = image ? decode_png(data, bytes, &wire, &content, &err)
                   : decode_wav(data, bytes, &wire, &content, &err);
    if (rc) {
        wire = (AssetWire){.magic = ASSET_WIRE_MAGIC, .code = rc};
        snprintf(wire.error, sizeof wire.error, "%.199s", err.text);
    }
    if (write_all(&wire, sizeof wire) || write_all(content, rc ? 0 : (size_t)wire.bytes))
        _exit(1);
    _exit(0); /* no exit handler may want a right that is gone */
}
