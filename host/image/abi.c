/* Which ABI versions and table sizes this host takes. Pure; any thread. */
#include <stddef.h>

#include <keel/module.h>

#include "image/parts.h"

/* A table ends behind an entry; the shortest has `frame` and `event`, one of which must be there.
 */
enum {
    TABLE_MIN = offsetof(struct keel_module, event) + sizeof(void *),
    TABLE_1_0 = offsetof(struct keel_module, work) + sizeof(void *),
    TABLE_1_1 = offsetof(struct keel_module, check) + sizeof(void *)
};

static unsigned major_of(uint32_t abi)
{
    return abi >> 16;
}

static unsigned minor_of(uint32_t abi)
{
    return abi & 0xffff;
}

/* The whole table of each minor of the current major, by minor. A new minor adds a line. */
static const uint32_t TABLE_BYTES[] = {TABLE_1_0, TABLE_1_1};

static int size_check(uint32_t abi, uint32_t bytes, Error *err)
{
    unsigned minor = minor_of(abi);
    size_t known = sizeof TABLE_BYTES / sizeof *TABLE_BYTES;
    uint32_t most = TABLE_BYTES[minor < known ? minor : known - 1];
    if (bytes < TABLE_MIN)
        return err_set(
            err, KEEL_EABI,
            "its table has %u bytes, the shortest of ABI %u.%u has %u: build it with this "
            "host's headers",
            bytes, major_of(abi), minor, (unsigned)TABLE_MIN);
    if (bytes > most)
        return err_set(
            err, KEEL_EABI,
            "its table has %u bytes, that of ABI %u.%u has %u: its headers were changed, "
            "or are of a later version than they say: build it with this host's headers",
            bytes, major_of(abi), minor, most);
    if (bytes % sizeof(void *))
        return err_set(err, KEEL_EABI,
                       "its table has %u bytes, which is between two entries: build it with this "
                       "host's headers",
                       bytes);
    return KEEL_OK;
}

int abi_check(uint32_t abi, uint32_t table_bytes, uint32_t host_abi, Error *err)
{
    unsigned major = major_of(abi), minor = minor_of(abi);
    unsigned ours = major_of(host_abi), our_minor = minor_of(host_abi);
    unsigned oldest = ours > 1 ? ours - 1 : ours; /* there was no ABI 0 */
    if (major > ours)
        return err_set(err, KEEL_EABI,
                       "built for ABI %u.%u, this host speaks %u.%u: update the host, or build it "
                       "with this host's headers",
                       major, minor, ours, our_minor);
    if (major < oldest)
        return err_set(err, KEEL_EABI,
                       "built for ABI %u.%u, this host speaks %u.0 to %u.%u: build it again with "
                       "this host's headers",
                       major, minor, oldest, ours, our_minor);
    if (major < ours)
        return KEEL_OK; /* its tables have sizes of their own, checked where they are served */
    if (minor > our_minor)
        return err_set(err, KEEL_EABI, "needs ABI %u.%u, this host speaks %u.%u: update the host",
                       major, minor, ours, our_minor);
    return size_check(abi, table_bytes, err);
}
