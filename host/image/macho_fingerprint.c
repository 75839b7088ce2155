/* Fingerprints of a Mach-O image's functions and statics: their bytes with every place replaced by
 * what lies there. Owns its tables for the call; bytes of unknown origin, meant for a process under
 * limits; one thread. */
#include "image/macho_fingerprint.h"

#include <stdlib.h>
#include <string.h>

#include "image/macho_code.h"
#include "image/macho_fixups.h"

enum { DEPTH_MAX = 8 };

typedef struct Job {
    Macho m;
    MachoNames names;
    MachoFixups fixups;
    AnatomyMaker *maker;
    Buf taken; /* uint64_t: nameless places whose address is taken; each begins something */
    Buf text;  /* what is being hashed */
    uint64_t budget;
    int but_lines, has_lines;
    int depth, failed; /* KEEL_E…: then all results are void */
} Job;

static void put(Job *j, const void *data, size_t bytes)
{
    if (bytes > j->budget) {
        j->failed = KEEL_EIMAGE;
        return;
    }
    j->budget -= bytes;
    if (!j->failed && buf_add(&j->text, data, bytes))
        j->failed = KEEL_ENOMEM;
}

static void put_tagged(Job *j, char tag, const void *data, size_t bytes)
{
    uint32_t head[2] = {(uint32_t)tag, (uint32_t)bytes};
    put(j, head, sizeof head);
    put(j, data, bytes);
}

static int is_taken(const Job *j, uint64_t address, uint64_t *ret_next)
{
    const uint64_t *list = (const uint64_t *)j->taken.data;
    size_t low = 0, high = j->taken.bytes / sizeof *list, count = high;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (list[middle] <= address)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_next = low < count ? list[low] : UINT64_MAX;
    return low && list[low - 1] == address;
}

/* What begins at an address without a name ends where something else begins. */
static uint64_t nameless_end(const Job *j, const MachoSection *in, uint64_t address)
{
    uint64_t end = in->address + in->bytes, next;
    is_taken(j, address, &next);
    end = next < end ? next : end;
    size_t low = 0, high = j->names.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (j->names.list[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < j->names.count && j->names.list[low].address < end)
        end = j->names.list[low].address;
    return end;
}

static void put_place(Job *j, uint64_t address);

/* Bytes of data with what dyld writes there replaced. */
static void put_data(Job *j, const MachoSection *in, uint64_t address, uint64_t end)
{
    const MachoFixup *f = macho_fixup_from(&j->fixups, address),
                     *last = f ? j->fixups.list + j->fixups.count : NULL;
    uint64_t at = address;
    while (!j->failed && at < end) {
        while (f && f < last && f->address < at)
            f++;
        uint64_t stop = f && f < last && f->address < end ? f->address : end;
        if (in->data)
            put(j, in->data + (at - in->address), (size_t)(stop - at));
        else
            put_tagged(j, 'Z', &(uint64_t){stop - at}, sizeof(uint64_t));
        at = stop;
        if (at == end)
            break;
        if (f->symbol) {
            put_tagged(j, 'I', f->symbol, strlen(f->symbol));
            put(j, &f->target, sizeof f->target);
        } else {
            put_place(j, f->target);
        }
        at += 8;
    }
}

static void put_import(Job *j, int64_t symbol)
{
    const char *name = symbol < 0 ? "" : macho_symbol(&j->m, (uint32_t)symbol).name;
    put_tagged(j, 'I', name, strlen(name));
}

/* A place that something names, in words that outlive a rebuild. */
static void put_place(Job *j, uint64_t address)
{
    const MachoSection *in = macho_section(&j->m, address);
    uint64_t into = in ? address - in->address : 0;
    uint32_t type = in ? in->flags & MACHO_TYPE : 0;
    if (!in) { /* the header, or the end of something */
        uint64_t from_base = address - j->m.base;
        put_tagged(j, 'X', &from_base, from_base ? 0 : sizeof from_base);
        return;
    }
    if (type == MACHO_STUBS && in->reserved2) {
        put_import(j, macho_indirect(&j->m, in->reserved1 + into / in->reserved2));
        return;
    }
    if (type == MACHO_POINTERS || type == MACHO_LAZY_POINTERS) {
        const MachoFixup *f = macho_fixup_from(&j->fixups, address);
        if (f && f->address == address && f->symbol) {
            put_tagged(j, 'I', f->symbol, strlen(f->symbol));
        } else if (f && f->address == address && j->depth < DEPTH_MAX) {
            put_tagged(j, 'G', NULL, 0);
            j->depth++;
            put_place(j, f->target);
            j->depth--;
        } else {
            put_import(j, macho_indirect(&j->m, in->reserved1 + into / 8));
        }
        return;
    }
    size_t left = (size_t)(in->bytes - into);
    if (type == MACHO_CSTRINGS && in->data) {
        put_tagged(j, 'S', in->data + into, strnlen((const char *)in->data + into, left));
        return;
    }
    size_t literal = type == MACHO_LITERAL4    ? 4
                     : type == MACHO_LITERAL8  ? 8
                     : type == MACHO_LITERAL16 ? 16
                                               : 0;
    if (literal && in->data) {
        put_tagged(j, 'L', in->data + into, literal < left ? literal : left);
        return;
    }
    const MachoName *name = macho_name_at(&j->names, address);
    uint64_t next;
    if (name && (name->is_code || name->address == address || !is_taken(j, address, &next))) {
        uint64_t key[] = {name->id.low, name->id.high, address - name->address};
        put_tagged(j, name->is_code ? 'F' : 'O', key, sizeof key);
    } else if (j->depth < DEPTH_MAX) {
        uint64_t end = nameless_end(j, in, address);
        put_tagged(j, 'C', NULL, 0);
        j->depth++;
        put_data(j, in, address, end);
        j->depth--;
    } else {
        put_tagged(j, 'D', NULL, 0);
    }
}

/* Tables of distances from themselves, which clang makes of tables of pointers to constants. */
static void put_distances(Job *j, const MachoSection *in, uint64_t address, uint64_t end)
{
    const uint8_t *data = in->data + (address - in->address);
    for (uint64_t at = 0; at + 4 <= end - address && !j->failed; at += 4) {
        int32_t distance;
        memcpy(&distance, data + at, sizeof distance);
        put_place(j, address + (uint64_t)(int64_t)distance);
    }
}

/* ---- functions ---- */

static void hash_bytes_of(void *user, const void *data, size_t bytes)
{
    put(user, data, bytes);
}

static void hash_place_of(void *user, uint64_t target, MachoUse use)
{
    Job *j = user;
    const MachoSection *in = macho_section(&j->m, target);
    const MachoName *name = macho_name_at(&j->names, target);
    if (use == MACHO_TABLE && in && in->data && !macho_is_code(in) &&
        !(name && name->address == target)) {
        put_tagged(j, 'T', NULL, 0);
        put_distances(j, in, target, nameless_end(j, in, target));
    } else {
        put_place(j, target);
    }
}

static void hash_line_of(void *user, const void *data, size_t bytes)
{
    Job *j = user;
    j->has_lines = 1;
    if (!j->but_lines)
        put(j, data, bytes);
}

/* assert() of macOS: ___assert_rtn(function, file, line, text). */
static int is_assert(void *user, uint64_t target)
{
    const Job *j = user;
    const MachoSection *in = macho_section(&j->m, target);
    if (!in || (in->flags & MACHO_TYPE) != MACHO_STUBS || !in->reserved2)
        return 0;
    int64_t symbol = macho_indirect(&j->m, in->reserved1 + (target - in->address) / in->reserved2);
    return symbol >= 0 && !strcmp(macho_symbol(&j->m, (uint32_t)symbol).name, "___assert_rtn");
}

static void no_bytes(void *user, const void *data, size_t bytes)
{
    (void)user, (void)data, (void)bytes;
}

/* Collects the beginnings of what has no name, or lies behind something with a name. */
static void take_place(void *user, uint64_t target, MachoUse use)
{
    Job *j = user;
    const MachoSection *in = macho_section(&j->m, target);
    const MachoName *name = macho_name_at(&j->names, target);
    if (!in || (name && (name->is_code || name->address == target || use == MACHO_READ)))
        return;
    if (buf_add(&j->taken, &target, sizeof target))
        j->failed = KEEL_ENOMEM;
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void collect(Job *j)
{
    const MachoWalk walk = {j, no_bytes, take_place, no_bytes, is_assert};
    for (size_t i = 0; i < j->names.count && !j->failed; i++)
        if (j->names.list[i].is_code)
            macho_walk(&j->m, &j->names.list[i], &walk);
    for (size_t i = 0; i < j->fixups.count && !j->failed; i++)
        if (!j->fixups.list[i].symbol)
            take_place(j, j->fixups.list[i].target, MACHO_ADDRESS);
    if (j->taken.bytes)
        qsort(j->taken.data, j->taken.bytes / sizeof(uint64_t), sizeof(uint64_t), by_number);
}

static uint32_t text(Job *j, const char *from, size_t bytes)
{
    return anatomy_text(j->maker, from, bytes);
}

static void add_function(Job *j, const MachoName *n)
{
    const MachoWalk walk = {j, hash_bytes_of, hash_place_of, hash_line_of, is_assert};
    j->text.bytes = 0;
    j->has_lines = j->but_lines = 0;
    macho_walk(&j->m, n, &walk);
    AnatomyFunction f = {.id = n->id,
                         .hash = hash_bytes(j->text.data, j->text.bytes),
                         .bytes = macho_solid(&j->m, n),
                         .name = text(j, n->name, n->name_bytes),
                         .unit = text(j, n->unit, strlen(n->unit)),
                         .parts = 1};
    f.hash_but_lines = f.hash;
    if (j->has_lines) {
        j->text.bytes = 0;
        j->but_lines = 1;
        macho_walk(&j->m, n, &walk);
        f.hash_but_lines = hash_bytes(j->text.data, j->text.bytes);
    }
    if (buf_add(&j->maker->functions, &f, sizeof f))
        j->failed = KEEL_ENOMEM;
}

/* clang's name for such a table. */
static int is_distances(const MachoName *n)
{
    return n->in->data && n->bytes % 4 == 0 && n->name_bytes >= 9 &&
           !memcmp(n->name, "reltable.", 9);
}

static void add_object(Job *j, const MachoName *n)
{
    const MachoSection *in = n->in;
    uint32_t type = in->flags & MACHO_TYPE;
    uint64_t end = nameless_end(j, in, n->address);
    if (type == MACHO_CSTRINGS || !strcmp(in->name, "__keel_note"))
        return;
    AnatomyObject o = {.id = n->id,
                       .bytes = end - n->address,
                       .name = text(j, n->name, n->name_bytes),
                       .unit = text(j, n->unit, strlen(n->unit)),
                       .kind = type == MACHO_THREAD_DATA || type == MACHO_THREAD_ZEROFILL ||
                                       type == MACHO_THREAD_VARIABLES
                                   ? OBJECT_THREAD
                               : !in->data ? OBJECT_ZERO
                               : !in->writable || !strcmp(in->segment, "__DATA_CONST")
                                   ? OBJECT_CONSTANT
                                   : OBJECT_DATA};
    if (in->data) {
        j->text.bytes = 0;
        if (is_distances(n))
            put_distances(j, in, n->address, end);
        else
            put_data(j, in, n->address, end);
        o.hash = hash_bytes(j->text.data, j->text.bytes);
    }
    if (buf_add(&j->maker->objects, &o, sizeof o))
        j->failed = KEEL_ENOMEM;
}

/* Functions that run at load and unload: no symbol names these lists. */
static void add_list(Job *j, const MachoSection *in)
{
    static const char TITLE[] = "(functions run at load and unload)";
    j->text.bytes = 0;
    put_data(j, in, in->address, in->address + in->bytes);
    AnatomyObject o = {.id = hash_bytes(in->name, strlen(in->name)),
                       .hash = hash_bytes(j->text.data, j->text.bytes),
                       .bytes = in->bytes,
                       .kind = OBJECT_CONSTANT,
                       .name = text(j, TITLE, sizeof TITLE - 1)};
    if (buf_add(&j->maker->objects, &o, sizeof o))
        j->failed = KEEL_ENOMEM;
}

static void add_section(Job *j, const MachoSection *in)
{
    char name[40];
    size_t n = strlen(in->segment);
    memcpy(name, in->segment, n);
    name[n] = ',';
    strcpy(name + n + 1, in->name);
    AnatomySection s = {
        .bytes = in->bytes, .name = text(j, name, strlen(name)), .is_code = macho_is_code(in) != 0};
    if (in->data) {
        if (in->bytes > j->budget) {
            j->failed = KEEL_EIMAGE;
            return;
        }
        j->budget -= in->bytes;
        s.hash = hash_bytes(in->data, in->bytes);
    }
    if (buf_add(&j->maker->sections, &s, sizeof s))
        j->failed = KEEL_ENOMEM;
}

static void run(Job *j)
{
    /* Types and lines are in other files: the objects', or a .dSYM. */
    j->maker->flags |= ANATOMY_DEBUG | ANATOMY_SPLIT | (j->names.has_map ? ANATOMY_UNITS : 0);
    if (j->names.complete) {
        j->maker->flags |= ANATOMY_SYMBOLS | ANATOMY_RELOCS;
        collect(j);
        for (size_t i = 0; i < j->names.count && !j->failed; i++)
            if (j->names.list[i].is_code)
                add_function(j, &j->names.list[i]);
            else
                add_object(j, &j->names.list[i]);
    }
    for (int i = 0; i < j->m.section_count && !j->failed; i++) {
        const MachoSection *in = &j->m.sections[i];
        uint32_t type = in->flags & MACHO_TYPE;
        if (j->names.complete && in->data &&
            (type == MACHO_INIT_POINTERS || type == MACHO_TERM_POINTERS))
            add_list(j, in);
        add_section(j, in);
    }
}

int macho_fingerprint(const void *data, size_t bytes, AnatomyMaker *maker, Error *err)
{
    Job *j = calloc(1, sizeof *j);
    if (!j)
        return err_set(err, KEEL_ENOMEM, "no memory for its fingerprints");
    j->maker = maker;
    j->budget = ((uint64_t)64 << 20) + 16 * (uint64_t)bytes;
    int rc = macho_open(data, bytes, &j->m, err);
    rc = rc ? rc : macho_names(&j->m, &j->names, err);
    rc = rc ? rc : macho_fixups(&j->m, &j->fixups, err);
    if (!rc) {
        run(j);
        if ((rc = j->failed ? j->failed : maker->failed))
            err_set(err, rc, "%s",
                    rc == KEEL_ENOMEM ? "no memory for its fingerprints"
                                      : "its parts overlap: it is damaged: build it again");
    }
    macho_names_done(&j->names);
    macho_fixups_done(&j->fixups);
    buf_done(&j->taken);
    buf_done(&j->text);
    free(j);
    return rc;
}
