/* Which module owns an address. Readers are lock-free and async-signal-safe: a handler asks while
 * any thread may be adding. Owns a fixed table; an entry is live when its `first` is below its
 * `last`.
 *
 * Writers hold the lock, empty an entry by storing last = 0 before anything else and publish it by
 * storing `last` at the end; the version tells a reader that an entry changed under it. */
#include <pthread.h>
#include <string.h>

#include "fault/guard.h"
#include "fault/ranges.h"

#pragma GCC poison exit abort malloc free printf

enum { RANGES = 1024, NAME_BYTES = 64 };

typedef struct Range {
    uint32_t version; /* odd while it is being written */
    uintptr_t first, last;
    uint64_t owner;
    char name[NAME_BYTES];
} Range;

static Range ranges[RANGES];
static int used; /* entries that were ever taken */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define LOAD(x) __atomic_load_n(&(x), __ATOMIC_ACQUIRE)
#define STORE(x, value) __atomic_store_n(&(x), (value), __ATOMIC_RELEASE)

static void name_entry(Range *range, const char *name)
{
    size_t at = 0;
    for (; name && name[at] && at < NAME_BYTES - 1; at++)
        STORE(range->name[at], name[at]);
    STORE(range->name[at], 0);
}

int guard_range_add(uintptr_t first, uintptr_t last, uint64_t owner, const char *name, Error *err)
{
    if (!owner || first >= last)
        return err_set(err, KEEL_EINVAL, "a module's range needs an owner and at least one byte");
    int code = 0, place = 0;
    pthread_mutex_lock(&lock);
    while (place < used && ranges[place].last)
        place++;
    if (place == RANGES) {
        code = err_set(err, KEEL_ELIMIT, "%d address ranges of modules are registered: retire some",
                       RANGES);
    } else {
        Range *range = &ranges[place];
        STORE(range->version, range->version + 1);
        name_entry(range, name);
        STORE(range->owner, owner);
        STORE(range->first, first);
        STORE(range->last, last);
        STORE(range->version, range->version + 1);
        if (place == used)
            STORE(used, used + 1);
    }
    pthread_mutex_unlock(&lock);
    return code;
}

void guard_range_remove(uint64_t owner)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < used; i++) {
        Range *range = &ranges[i];
        if (!range->last || range->owner != owner)
            continue;
        STORE(range->version, range->version + 1);
        STORE(range->last, 0);
        STORE(range->version, range->version + 1);
    }
    pthread_mutex_unlock(&lock);
}

/* An entry that changes while it is read is no answer: its code has just come or is just going. */
uint64_t guard_range_find(uintptr_t address, const char **ret_name, uintptr_t *ret_offset)
{
    int count = LOAD(used);
    for (int i = 0; i < count; i++) {
        const Range *range = &ranges[i];
        uint32_t version = LOAD(range->version);
        uintptr_t first = LOAD(range->first), last = LOAD(range->last);
        uint64_t owner = LOAD(range->owner);
        if (version & 1 || address < first || address >= last || LOAD(range->version) != version)
            continue;
        if (ret_name)
            *ret_name = range->name;
        if (ret_offset)
            *ret_offset = address - first;
        return owner;
    }
    return 0;
}

void ranges_put_place(Text *text, uintptr_t address)
{
    const char *name;
    uintptr_t offset;
    if (guard_range_find(address, &name, &offset)) {
        text_put(text, name);
        text_put(text, "+");
        text_hex(text, offset);
    } else {
        text_hex(text, address);
    }
}
