/* Fixups in both of dyld's forms: programs of rebase and bind opcodes, and chains through the data
 * themselves. Owns the list; bytes of unknown origin; one thread. */
#include "image/macho_fixups.h"

#include <stdlib.h>
#include <string.h>

enum { FIXUPS_MAX = 4 << 20 };

typedef struct Maker {
    const Macho *m;
    MachoFixups *to;
    Error *err;
} Maker;

static int damaged(const Maker *k, const char *what)
{
    return err_set(k->err, KEEL_EIMAGE, "%s: it is damaged: build it again", what);
}

static uint32_t u32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t u64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* The 8 bytes at an address, or NULL. */
static const uint8_t *place(const Macho *m, uint64_t address)
{
    const MachoSection *s = macho_section(m, address);
    uint64_t into = s ? address - s->address : 0;
    return s && s->data && s->bytes - into >= 8 ? s->data + into : NULL;
}

static int add(Maker *k, uint64_t address, const char *symbol, uint64_t target)
{
    MachoFixup f = {address, symbol, target};
    if (k->to->own.bytes / sizeof f >= FIXUPS_MAX)
        return damaged(k, "it has too many fixups");
    return buf_add(&k->to->own, &f, sizeof f) ? err_set(k->err, KEEL_ENOMEM, "no memory for fixups")
                                              : KEEL_OK;
}

/* ---- opcodes ---- */

typedef struct Program {
    const uint8_t *at, *end;
    uint64_t address;
    const char *symbol;
    int64_t addend;
    int in_segment;
} Program;

static int segment_at(Maker *k, Program *p, unsigned index)
{
    uint64_t offset;
    if (macho_uleb(&p->at, p->end, &offset) || (int)index >= k->m->segment_count)
        return damaged(k, "its fixups name a segment that isn't there");
    p->address = k->m->segments[index].address + offset;
    p->in_segment = 1;
    return KEEL_OK;
}

static int rebase_one(Maker *k, Program *p)
{
    const uint8_t *at = p->in_segment ? place(k->m, p->address) : NULL;
    int rc = at ? add(k, p->address, NULL, u64(at)) : damaged(k, "a fixup lies outside its data");
    p->address += 8;
    return rc;
}

static int rebase(Maker *k, MachoRange range)
{
    Program p = {.at = k->m->data + range.at, .end = k->m->data + range.at + range.bytes};
    int rc = KEEL_OK;
    while (p.at < p.end && !rc) {
        uint8_t op = *p.at & 0xf0, low = *p.at++ & 0x0f;
        uint64_t count = 0, skip = 0;
        int bad = 0;
        switch (op) {
        case 0x00: /* done */
            return KEEL_OK;
        case 0x10: /* type: all are 8 bytes here */
            continue;
        case 0x20:
            rc = segment_at(k, &p, low);
            continue;
        case 0x30:
            bad = macho_uleb(&p.at, p.end, &skip);
            p.address += skip;
            break;
        case 0x40:
            p.address += (uint64_t)low * 8;
            break;
        case 0x50:
            count = low;
            skip = 0;
            break;
        case 0x60:
            bad = macho_uleb(&p.at, p.end, &count);
            break;
        case 0x70:
            bad = macho_uleb(&p.at, p.end, &skip);
            rc = rebase_one(k, &p);
            p.address += skip;
            break;
        case 0x80:
            bad = macho_uleb(&p.at, p.end, &count) || macho_uleb(&p.at, p.end, &skip);
            break;
        default:
            bad = 1;
        }
        if (bad)
            return damaged(k, "its fixups can't be read");
        if (op >= 0x50 && op != 0x70)
            for (uint64_t i = 0; i < count && !rc; i++) {
                rc = rebase_one(k, &p);
                p.address += op == 0x80 ? skip : 0;
            }
    }
    return rc;
}

static int bind_one(Maker *k, Program *p)
{
    int rc = p->in_segment && p->symbol && place(k->m, p->address)
                 ? add(k, p->address, p->symbol, (uint64_t)p->addend)
                 : damaged(k, "a fixup lies outside its data");
    p->address += 8;
    return rc;
}

static int bind(Maker *k, MachoRange range, int lazy)
{
    Program p = {.at = k->m->data + range.at, .end = k->m->data + range.at + range.bytes};
    int rc = KEEL_OK;
    while (p.at < p.end && !rc) {
        uint8_t op = *p.at & 0xf0, low = *p.at++ & 0x0f;
        uint64_t skip = 0, count = 0;
        const uint8_t *text_end;
        int bad = 0;
        switch (op) {
        case 0x00: /* done; in the lazy program each symbol ends with one */
            if (!lazy)
                return KEEL_OK;
            continue;
        case 0x10: /* which library: the name is enough */
        case 0x30:
        case 0x50:
            continue;
        case 0x20:
            bad = macho_uleb(&p.at, p.end, &skip);
            break;
        case 0x40:
            text_end = memchr(p.at, 0, (size_t)(p.end - p.at));
            bad = !text_end;
            p.symbol = (const char *)p.at;
            p.at = text_end ? text_end + 1 : p.end;
            break;
        case 0x60:
            bad = macho_sleb(&p.at, p.end, &p.addend);
            break;
        case 0x70:
            rc = segment_at(k, &p, low);
            break;
        case 0x80:
            bad = macho_uleb(&p.at, p.end, &skip);
            p.address += skip;
            break;
        case 0x90:
            rc = bind_one(k, &p);
            break;
        case 0xa0:
            bad = macho_uleb(&p.at, p.end, &skip);
            rc = bad ? rc : bind_one(k, &p);
            p.address += skip;
            break;
        case 0xb0:
            rc = bind_one(k, &p);
            p.address += (uint64_t)low * 8;
            break;
        case 0xc0:
            bad = macho_uleb(&p.at, p.end, &count) || macho_uleb(&p.at, p.end, &skip);
            for (uint64_t i = 0; i < count && !rc && !bad; i++) {
                rc = bind_one(k, &p);
                p.address += skip;
            }
            break;
        default: /* 0xd0: threaded, of an early arm64e */
            bad = 1;
        }
        if (bad)
            return damaged(k, "its fixups can't be read");
    }
    return rc;
}

/* ---- chains ---- */

enum { PTR_ARM64E = 1, PTR_64 = 2, PTR_64_OFFSET = 6, PTR_ARM64E_USER = 9, PTR_ARM64E_USER24 = 12 };

typedef struct Chains {
    const uint8_t *head, *imports, *names;
    size_t bytes;
    uint32_t import_count, import_format, name_bytes;
} Chains;

static int import(Maker *k, const Chains *c, uint32_t ordinal, const char **ret_name,
                  int64_t *ret_addend)
{
    static const uint8_t SIZES[] = {0, 4, 8, 16};
    if (ordinal >= c->import_count)
        return damaged(k, "a fixup names an import that isn't there");
    const uint8_t *row = c->imports + (size_t)ordinal * SIZES[c->import_format];
    uint64_t name = c->import_format == 3 ? u64(row) >> 32 : u32(row) >> 9;
    *ret_addend = c->import_format == 2   ? (int32_t)u32(row + 4)
                  : c->import_format == 3 ? (int64_t)u64(row + 8)
                                          : 0;
    if (name >= c->name_bytes)
        return damaged(k, "an import's name lies outside the file");
    *ret_name = (const char *)c->names + name;
    return KEEL_OK;
}

/* One pointer of a chain; `*ret_next` is the distance to the next in bytes, 0 at the end. */
static int chained_one(Maker *k, const Chains *c, unsigned format, uint64_t address,
                       const uint8_t *at, uint32_t *ret_next)
{
    uint64_t raw = u64(at), target;
    int arm64e = format == PTR_ARM64E || format == PTR_ARM64E_USER || format == PTR_ARM64E_USER24;
    int binds = arm64e ? (int)(raw >> 62 & 1) : (int)(raw >> 63);
    int signed_ = arm64e && raw >> 63;
    const char *name = NULL;
    int64_t addend = 0;
    *ret_next = arm64e ? (uint32_t)(raw >> 51 & 0x7ff) * 8 : (uint32_t)(raw >> 51 & 0xfff) * 4;
    if (binds) {
        uint32_t ordinal =
            (uint32_t)raw &
            (format == PTR_ARM64E || format == PTR_ARM64E_USER ? 0xffffu : 0xffffffu);
        int rc = import(k, c, ordinal, &name, &addend);
        if (!arm64e)
            addend += (int64_t)(raw >> 24 & 0xff);
        else if (!signed_)
            addend += (int64_t)((raw >> 32 & 0x7ffff) ^ 0x40000) - 0x40000;
        return rc ? rc : add(k, address, name, (uint64_t)addend);
    }
    if (signed_)
        target = (raw & 0xffffffff) + k->m->base;
    else if (arm64e)
        target = (raw & 0x7ffffffffff) + (format == PTR_ARM64E ? 0 : k->m->base);
    else
        target = (raw & 0xfffffffff) + (format == PTR_64_OFFSET ? k->m->base : 0);
    return add(k, address, NULL, target);
}

static int walk_chain(Maker *k, const Chains *c, unsigned format, uint64_t address, uint64_t end)
{
    for (uint32_t next = 1; next;) {
        const uint8_t *at = place(k->m, address);
        if (!at || address >= end)
            return damaged(k, "a chain of fixups leaves its page");
        int rc = chained_one(k, c, format, address, at, &next);
        if (rc)
            return rc;
        address += next;
    }
    return KEEL_OK;
}

static int chain_segment(Maker *k, const Chains *c, uint32_t at)
{
    if (at > c->bytes || c->bytes - at < 22)
        return damaged(k, "its fixups are cut off");
    const uint8_t *s = c->head + at;
    uint16_t page_bytes, format, count;
    memcpy(&page_bytes, s + 4, 2);
    memcpy(&format, s + 6, 2);
    memcpy(&count, s + 20, 2);
    uint64_t start = u64(s + 8) + k->m->base;
    if (format != PTR_ARM64E && format != PTR_64 && format != PTR_64_OFFSET &&
        format != PTR_ARM64E_USER && format != PTR_ARM64E_USER24)
        return err_set(k->err, KEEL_EUNSUPPORTED,
                       "its fixups are of a form (%u) that isn't read here", format);
    if (c->bytes - at - 22 < (size_t)count * 2)
        return damaged(k, "its fixups are cut off");
    for (uint16_t i = 0; i < count; i++) {
        uint16_t first;
        memcpy(&first, s + 22 + 2 * i, 2);
        if (first == 0xffff)
            continue;
        uint64_t page = start + (uint64_t)i * page_bytes;
        int rc = walk_chain(k, c, format, page + first, page + page_bytes);
        if (rc)
            return rc;
    }
    return KEEL_OK;
}

static int chains(Maker *k, MachoRange range)
{
    Chains c = {.head = k->m->data + range.at, .bytes = range.bytes};
    if (range.bytes < 28)
        return damaged(k, "its fixups are cut off");
    uint32_t starts = u32(c.head + 4), imports = u32(c.head + 8), names = u32(c.head + 12);
    c.import_count = u32(c.head + 16);
    c.import_format = u32(c.head + 20);
    if (u32(c.head + 24) || c.import_format < 1 || c.import_format > 3)
        return err_set(k->err, KEEL_EUNSUPPORTED, "its fixups are of a form that isn't read here");
    static const uint8_t SIZES[] = {0, 4, 8, 16};
    if (imports > range.bytes ||
        c.import_count > (range.bytes - imports) / SIZES[c.import_format] || names > range.bytes ||
        starts > range.bytes - 4)
        return damaged(k, "its fixups are cut off");
    c.imports = c.head + imports;
    c.names = c.head + names;
    const uint8_t *last = memrchr(c.names, 0, range.bytes - names);
    c.name_bytes = last ? (uint32_t)(last - c.names) + 1 : 0; /* each name in there has an end */
    uint32_t count = u32(c.head + starts);
    if (count > (range.bytes - starts - 4) / 4)
        return damaged(k, "its fixups are cut off");
    int rc = KEEL_OK;
    for (uint32_t i = 0; i < count && !rc; i++) {
        uint32_t at = u32(c.head + starts + 4 + 4 * i);
        if (at)
            rc = at > range.bytes - starts ? damaged(k, "its fixups are cut off")
                                           : chain_segment(k, &c, starts + at);
    }
    return rc;
}

/* ---- both ---- */

static int by_address(const void *a, const void *b)
{
    const MachoFixup *x = a, *y = b;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return (x->symbol == NULL) - (y->symbol == NULL); /* a lazy pointer is rebased and bound */
}

int macho_fixups(const Macho *m, MachoFixups *ret, Error *err)
{
    MachoFixups fixups = {0};
    Maker k = {m, &fixups, err};
    int rc = m->chained.bytes ? chains(&k, m->chained) : KEEL_OK;
    rc = rc ? rc : rebase(&k, m->rebase);
    rc = rc ? rc : bind(&k, m->bind, 0);
    rc = rc ? rc : bind(&k, m->weak_bind, 0);
    rc = rc ? rc : bind(&k, m->lazy_bind, 1);
    if (rc) {
        buf_done(&fixups.own);
        return rc;
    }
    fixups.list = (const MachoFixup *)fixups.own.data;
    fixups.count = fixups.own.bytes / sizeof *fixups.list;
    if (fixups.count)
        qsort(fixups.own.data, fixups.count, sizeof *fixups.list, by_address);
    *ret = fixups;
    return KEEL_OK;
}

void macho_fixups_done(MachoFixups *fixups)
{
    if (!fixups)
        return;
    buf_done(&fixups->own);
    *fixups = (MachoFixups){0};
}

const MachoFixup *macho_fixup_from(const MachoFixups *fixups, uint64_t address)
{
    size_t low = 0, high = fixups->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (fixups->list[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < fixups->count ? &fixups->list[low] : NULL;
}
