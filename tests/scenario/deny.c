/* deny WHAT… -- PROGRAM…: runs a program as a strict container would: what is named answers EPERM.
 *
 *   userfaultfd    the system call, and the ioctl of /dev/userfaultfd
 *   pagemap_scan   the ioctl of /proc/<pid>/pagemap
 *   leases         fcntl(F_SETLEASE)
 *   inotify        no more watches
 *   seccomp        the program can't put filters of its own in place */
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define USERFAULTFD_NEW 0xaa00u
#define PAGEMAP_SCAN_NUMBER 16u

static int deny(scmp_filter_ctx filter, const char *what)
{
    if (!strcmp(what, "userfaultfd"))
        return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(userfaultfd), 0) |
               seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                                SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, USERFAULTFD_NEW));
    if (!strcmp(what, "pagemap_scan")) /* _IOWR('f', 16, …), whatever its size */
        return seccomp_rule_add(
            filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
            SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffu, (unsigned)'f' << 8 | PAGEMAP_SCAN_NUMBER));
    if (!strcmp(what, "leases"))
        return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(fcntl), 1,
                                SCMP_A1(SCMP_CMP_EQ, F_SETLEASE));
    if (!strcmp(what, "inotify"))
        return seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSPC), SCMP_SYS(inotify_add_watch), 0);
    if (!strcmp(what, "seccomp"))
        return seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(seccomp), 0) |
               seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prctl), 1,
                                SCMP_A0(SCMP_CMP_EQ, PR_SET_SECCOMP));
    fprintf(stderr, "deny: what is %s?\n", what);
    return -1;
}

int main(int argc, char **argv)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int i = 1;
    for (; filter && i < argc && strcmp(argv[i], "--"); i++)
        if (deny(filter, argv[i]))
            return 2;
    if (!filter || i + 1 >= argc || seccomp_load(filter)) {
        fprintf(stderr, "usage: deny WHAT... -- PROGRAM...\n");
        return 2;
    }
    seccomp_release(filter);
    execv(argv[i + 1], argv + i + 1);
    perror(argv[i + 1]);
    return 2;
}
