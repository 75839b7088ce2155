/* Names by address. The debug map (stabs) tells which file a local one is of. Owns the lists; bytes
 * of unknown origin; one thread. */
#include "image/macho_symbols.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "image/names.h"

enum { STAB_FUNCTION = 0x24, STAB_STATIC = 0x26 };

/* A place that the debug map gives to a source file. */
typedef struct Owned {
    uint64_t address;
    const char *unit;
} Owned;

static int by_address_owned(const void *a, const void *b)
{
    const Owned *x = a, *y = b;
    return (x->address > y->address) - (x->address < y->address);
}

static int by_address(const void *a, const void *b)
{
    const MachoName *x = a, *y = b;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    if (x->is_external != y->is_external)
        return x->is_external ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* "N_SO folder/", "N_SO file", what is in it …, "N_SO". */
static int read_map(const Macho *m, Buf *ret)
{
    const char *unit = "";
    for (uint32_t i = 0; i < m->symbol_count; i++) {
        MachoSymbol s = macho_symbol(m, i);
        if (s.type == MACHO_SO && (!*s.name || *last_part(s.name)))
            unit = last_part(s.name);
        if ((s.type == STAB_FUNCTION && *s.name) || s.type == STAB_STATIC) {
            Owned o = {s.value, unit};
            if (buf_add(ret, &o, sizeof o))
                return KEEL_ENOMEM;
        }
    }
    if (ret->bytes)
        qsort(ret->data, ret->bytes / sizeof(Owned), sizeof(Owned), by_address_owned);
    return KEEL_OK;
}

static const char *unit_of(const Buf *map, uint64_t address)
{
    const Owned key = {.address = address};
    const Owned *found =
        map->bytes ? bsearch(&key, map->data, map->bytes / sizeof key, sizeof key, by_address_owned)
                   : NULL;
    return found ? found->unit : "";
}

/* Linkers' own labels don't begin as C's names do. */
static int is_name(const Macho *m, const MachoSymbol *s)
{
    return !(s->type & MACHO_STAB) && (s->type & MACHO_IN) == MACHO_DEFINED && s->section &&
           s->section <= m->section_count && s->name[0] == '_' && s->name[1];
}

static int read_names(const Macho *m, const Buf *map, Buf *ret)
{
    char part[NAME_MOST];
    for (uint32_t i = 0; i < m->symbol_count; i++) {
        MachoSymbol s = macho_symbol(m, i);
        if (!is_name(m, &s))
            continue;
        const MachoSection *in = &m->sections[s.section - 1];
        MachoName n = {.address = s.value,
                       .name = s.name + 1,
                       .unit = "",
                       .in = in,
                       .is_code = macho_is_code(in) != 0,
                       .is_external = s.type & MACHO_EXTERNAL && !(s.type & MACHO_PRIVATE)};
        if (s.value - in->address >= in->bytes)
            continue;
        int numbered;
        n.name_bytes =
            n.is_code ? name_of_function(n.name, part) : name_of_object(n.name, &numbered);
        if (!(s.type & MACHO_EXTERNAL))
            n.unit = unit_of(map, s.value);
        if (buf_add(ret, &n, sizeof n))
            return KEEL_ENOMEM;
    }
    return KEEL_OK;
}

static int read_starts(const Macho *m, Buf *ret, Error *err)
{
    const uint8_t *at = m->data + m->starts.at, *end = at + m->starts.bytes;
    uint64_t address = m->base, step;
    while (at < end) {
        if (macho_uleb(&at, end, &step))
            return err_set(err, KEEL_EIMAGE,
                           "its list of functions is cut off: it is damaged: build it again");
        if (!step)
            break;
        address += step;
        if (buf_add(ret, &address, sizeof address))
            return err_set(err, KEEL_ENOMEM, "no memory to read its functions");
    }
    if (ret->bytes)
        qsort(ret->data, ret->bytes / sizeof address, sizeof address, by_number);
    return KEEL_OK;
}

/* Where a name ends: at the next one, at the next function, or with its section. */
static void measure(MachoNames *names)
{
    size_t start = 0;
    for (size_t i = 0; i < names->count; i++) {
        MachoName *n = &names->list[i];
        uint64_t end = n->in->address + n->in->bytes;
        if (i + 1 < names->count && names->list[i + 1].address < end)
            end = names->list[i + 1].address;
        while (start < names->start_count && names->starts[start] <= n->address)
            start++;
        if (n->is_code && start < names->start_count && names->starts[start] < end)
            end = names->starts[start];
        n->bytes = end - n->address;
    }
}

/* Name, file, and which of those that share both. */
static int by_kind(const void *a, const void *b)
{
    const MachoName *x = *(const MachoName *const *)a, *y = *(const MachoName *const *)b;
    int order = strcmp(x->unit, y->unit);
    if (!order && x->name_bytes != y->name_bytes)
        order = x->name_bytes < y->name_bytes ? -1 : 1;
    order = order ? order : memcmp(x->name, y->name, x->name_bytes);
    order = order ? order : x->is_code - y->is_code;
    return order ? order : (x->address > y->address) - (x->address < y->address);
}

static int identify(MachoNames *names)
{
    MachoName **list = calloc(names->count + 1, sizeof *list);
    if (!list)
        return KEEL_ENOMEM;
    for (size_t i = 0; i < names->count; i++)
        list[i] = &names->list[i];
    if (names->count)
        qsort(list, names->count, sizeof *list, by_kind);
    uint64_t rank = 0;
    for (size_t i = 0; i < names->count; i++) {
        MachoName *n = list[i], *before = i ? list[i - 1] : NULL;
        int same = before && n->is_code == before->is_code && n->name_bytes == before->name_bytes &&
                   !memcmp(n->name, before->name, n->name_bytes) && !strcmp(n->unit, before->unit);
        rank = same ? rank + 1 : 0;
        Hash name = hash_bytes(n->name, n->name_bytes), unit = hash_bytes(n->unit, strlen(n->unit));
        const uint64_t key[] = {name.low, name.high, unit.low, n->is_code, rank};
        n->id = hash_bytes(key, sizeof key);
    }
    free(list);
    return KEEL_OK;
}

static int all_named(const MachoNames *names)
{
    for (size_t i = 0; i < names->start_count; i++) {
        const MachoName *n = macho_name_at(names, names->starts[i]);
        if (!n || n->address != names->starts[i])
            return 0;
    }
    return names->count > 0;
}

int macho_names(const Macho *m, MachoNames *ret, Error *err)
{
    Buf map = {0}, list = {0}, starts = {0};
    int rc = read_map(m, &map);
    rc = rc ? rc : read_names(m, &map, &list);
    if (rc)
        err_set(err, rc, "no memory to read its symbols");
    rc = rc ? rc : read_starts(m, &starts, err);
    int has_map = map.bytes > 0;
    buf_done(&map);
    MachoNames names = {.has_map = has_map,
                        .list = (MachoName *)list.data,
                        .count = list.bytes / sizeof *names.list,
                        .starts = (uint64_t *)starts.data,
                        .start_count = starts.bytes / sizeof *names.starts};
    if (!rc && names.count) {
        qsort(names.list, names.count, sizeof *names.list, by_address);
        size_t kept = 1;
        for (size_t i = 1; i < names.count; i++) /* of several for one place the first */
            if (names.list[i].address != names.list[kept - 1].address)
                names.list[kept++] = names.list[i];
        names.count = kept;
        measure(&names);
        if ((rc = identify(&names)))
            err_set(err, rc, "no memory to read its symbols");
        names.complete = !rc && all_named(&names);
    }
    if (rc)
        macho_names_done(&names);
    else
        *ret = names;
    return rc;
}

void macho_names_done(MachoNames *names)
{
    if (!names)
        return;
    free(names->list);
    free(names->starts);
    *names = (MachoNames){0};
}

const MachoName *macho_name_at(const MachoNames *names, uint64_t address)
{
    size_t low = 0, high = names->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (names->list[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    const MachoName *n = low ? &names->list[low - 1] : NULL;
    return n && address - n->address < n->bytes ? n : NULL;
}
