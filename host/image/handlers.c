/* Call frame information to tables of handlers, and each such table in a form without addresses:
 * per range of calls where it lands and which types it catches. The layouts are those of the
 * Itanium C++ ABI's exception tables and of the Linux Standard Base's .eh_frame. Owns the list;
 * one thread. */
#include "image/handlers.h"

#include <stdlib.h>
#include <string.h>

enum { OMIT = 0xff, RELATIVE = 0x10, APPLICATION = 0x70, CHAIN_MOST = 64 };

/* A reader that stops at the end and says so. */
typedef struct Cursor {
    const uint8_t *at, *end;
    uint64_t address; /* of `at` */
    int broken;
} Cursor;

static uint64_t take(Cursor *c, size_t bytes)
{
    uint64_t value = 0;
    if (c->broken || (size_t)(c->end - c->at) < bytes) {
        c->broken = 1;
        return 0;
    }
    memcpy(&value, c->at, bytes);
    c->at += bytes;
    c->address += bytes;
    return value;
}

static void skip(Cursor *c, uint64_t bytes)
{
    if (c->broken || bytes > (uint64_t)(c->end - c->at)) {
        c->broken = 1;
        return;
    }
    c->at += bytes;
    c->address += bytes;
}

static uint64_t take_leb(Cursor *c, int is_signed)
{
    uint64_t value = 0, byte = 0;
    unsigned shift = 0;
    do {
        byte = take(c, 1);
        if (shift < 64)
            value |= (byte & 0x7f) << shift;
        shift += 7;
    } while (!c->broken && byte & 0x80 && shift < 77);
    if (is_signed && byte & 0x40 && shift < 64)
        value |= ~UINT64_C(0) << shift;
    return value;
}

/* A pointer as DW_EH_PE_… says; `*ret_given` 0: there is none. */
static uint64_t take_pointer(Cursor *c, uint8_t encoding, int *ret_given)
{
    uint64_t base = (encoding & APPLICATION) == RELATIVE ? c->address : 0, value;
    *ret_given = 0;
    if (encoding == OMIT)
        return 0;
    switch (encoding & 0x0f) {
    case 0x00:
    case 0x04:
    case 0x0c:
        value = take(c, 8);
        break;
    case 0x01:
        value = take_leb(c, 0);
        break;
    case 0x02:
        value = take(c, 2);
        break;
    case 0x03:
        value = take(c, 4);
        break;
    case 0x09:
        value = take_leb(c, 1);
        break;
    case 0x0a:
        value = (uint64_t)(int64_t)(int16_t)take(c, 2);
        break;
    case 0x0b:
        value = (uint64_t)(int64_t)(int32_t)take(c, 4);
        break;
    default:
        c->broken = 1;
        return 0;
    }
    *ret_given = value != 0 && !c->broken;
    return value + base;
}

static unsigned width_of(uint8_t encoding)
{
    static const uint8_t WIDTHS[16] = {
        [0x00] = 8, [0x02] = 2, [0x03] = 4, [0x04] = 8, [0x0a] = 2, [0x0b] = 4, [0x0c] = 8};
    return encoding == OMIT ? 0 : WIDTHS[encoding & 0x0f];
}

/* ---- .eh_frame ---- */

typedef struct Common {
    uint8_t code, handlers; /* encodings of a function's address, of its table's */
    int has_data;
} Common;

static int read_common(Cursor c, Common *ret)
{
    char augmentation[16] = "";
    size_t n = 0;
    uint8_t version = (uint8_t)take(&c, 1);
    for (uint8_t byte; !c.broken && (byte = (uint8_t)take(&c, 1)); n++)
        if (n + 1 < sizeof augmentation)
            augmentation[n] = (char)byte;
    *ret = (Common){.code = 0, .handlers = OMIT};
    if (n + 1 >= sizeof augmentation || *augmentation != 'z')
        return !c.broken && !n; /* nothing is said of handlers */
    take_leb(&c, 0);
    take_leb(&c, 1);
    if (version == 1)
        take(&c, 1);
    else
        take_leb(&c, 0);
    take_leb(&c, 0);
    ret->has_data = 1;
    for (const char *a = augmentation + 1; *a && !c.broken; a++) {
        int given;
        if (*a == 'R')
            ret->code = (uint8_t)take(&c, 1);
        else if (*a == 'L')
            ret->handlers = (uint8_t)take(&c, 1);
        else if (*a == 'P')
            take_pointer(&c, (uint8_t)take(&c, 1), &given);
        else if (*a != 'S' && *a != 'B')
            return 0;
    }
    return !c.broken;
}

static int read_function(Handlers *h, Cursor c, const Common *common)
{
    int given;
    Handler found = {.function = take_pointer(&c, common->code, &given)};
    if (!given || !common->has_data || common->handlers == OMIT)
        return KEEL_OK;
    skip(&c, width_of(common->code)); /* how long it is */
    take_leb(&c, 0);
    found.table = take_pointer(&c, common->handlers, &given);
    return given && !c.broken ? buf_add(&h->list, &found, sizeof found) : KEEL_OK;
}

static int by_function(const void *a, const void *b)
{
    const Handler *x = a, *y = b;
    return (x->function > y->function) - (x->function < y->function);
}

static int read_frames(Handlers *h, const Section *in)
{
    Cursor all = {in->data, in->data + in->bytes, in->address, 0};
    Common common = {0};
    uint64_t common_at = UINT64_MAX; /* most functions of a file share one */
    int rc = KEEL_OK, good = 0;
    while (!rc && all.end - all.at >= 8) {
        uint64_t bytes = take(&all, 4);
        if (!bytes || bytes >= 0xfffffff0u || bytes > (uint64_t)(all.end - all.at))
            break;
        Cursor one = {all.at, all.at + bytes, all.address, 0};
        uint64_t here = (uint64_t)(all.at - in->data);
        uint64_t back = take(&one, 4);
        if (back && back <= here && !one.broken) {
            uint64_t at = here - back;
            if (at != common_at) {
                Cursor first = {in->data + at, in->data + in->bytes, in->address + at, 0};
                uint64_t size = take(&first, 4);
                skip(&first, 4);
                good = size > 4 && !first.broken && read_common(first, &common);
                common_at = at;
            }
            rc = good ? read_function(h, one, &common) : KEEL_OK;
        }
        skip(&all, bytes);
    }
    return rc;
}

int handlers_open(const Symbols *s, Handlers *ret)
{
    Handlers h = {.symbols = s};
    int rc = KEEL_OK;
    for (size_t i = 0; i < s->alloc_count && !rc; i++) {
        const Section *in = &s->sections[s->alloc[i]];
        if (in->data && !strcmp(in->name, ".eh_frame"))
            rc = read_frames(&h, in);
    }
    if (h.list.bytes)
        qsort(h.list.data, h.list.bytes / sizeof(Handler), sizeof(Handler), by_function);
    *ret = h;
    return rc;
}

void handlers_done(Handlers *h)
{
    if (h)
        buf_done(&h->list);
}

/* ---- one table ---- */

typedef struct Table {
    Contents *contents;
    const Section *in;
    uint64_t types; /* address where the table of types ends; 0: it has none */
    uint64_t actions;
    uint8_t type_encoding, call_encoding;
} Table;

static Cursor cursor_at(const Section *in, uint64_t address)
{
    uint64_t into = address - in->address;
    Cursor c = {.broken = 1};
    if (in->data && address >= in->address && into < in->bytes)
        c = (Cursor){in->data + into, in->data + in->bytes, address, 0};
    return c;
}

static void add_number(Contents *c, char tag, uint64_t value)
{
    uint8_t bytes[9] = {(uint8_t)tag};
    memcpy(bytes + 1, &value, sizeof value);
    contents_add(c, bytes, sizeof bytes);
}

/* The type with this number; one without a relocation catches everything. */
static void add_type(const Table *t, uint64_t number)
{
    const Section *in = t->in;
    uint64_t width = width_of(t->type_encoding);
    if (!t->types || !width || number > in->bytes / width ||
        t->types - number * width < in->address) {
        add_number(t->contents, '?', number);
        return;
    }
    uint64_t place = t->types - number * width;
    size_t low = symbols_relocs_from(in, place);
    Ref ref;
    if (low < in->reloc_count && in->relocs[low].r_offset == place &&
        ref_of_data(t->contents->symbols, in, &in->relocs[low], place, &ref))
        contents_add_ref(t->contents, &ref, NULL, 0);
    else
        add_number(t->contents, 'A', 0);
}

/* Types that an exception specification lets through, behind the table of types. */
static void add_specification(const Table *t, uint64_t into)
{
    Cursor c = cursor_at(t->in, t->types + into - 1);
    for (int i = 0; i < CHAIN_MOST && !c.broken; i++) {
        uint64_t number = take_leb(&c, 0);
        if (!number || c.broken)
            return;
        add_type(t, number);
    }
}

static void add_actions(const Table *t, uint64_t first)
{
    uint64_t at = t->actions + first - 1;
    for (int i = 0; i < CHAIN_MOST; i++) {
        Cursor c = cursor_at(t->in, at);
        int64_t filter = (int64_t)take_leb(&c, 1);
        uint64_t from = c.address, next = take_leb(&c, 1);
        if (c.broken)
            return;
        add_number(t->contents, 'a', (uint64_t)(filter > 0) + 2 * (uint64_t)(filter < 0));
        if (filter > 0)
            add_type(t, (uint64_t)filter);
        else if (filter < 0)
            add_specification(t, 0 - (uint64_t)filter);
        if (!next)
            return;
        at = from + next;
    }
}

static void add_calls(const Table *t, Cursor c)
{
    int given;
    while (!c.broken && c.at < c.end && !t->contents->failed) {
        uint64_t start = take_pointer(&c, t->call_encoding, &given);
        uint64_t length = take_pointer(&c, t->call_encoding, &given);
        uint64_t pad = take_pointer(&c, t->call_encoding, &given);
        uint64_t action = take_leb(&c, 0);
        if (c.broken)
            return;
        add_number(t->contents, 's', start);
        add_number(t->contents, 'l', length);
        add_number(t->contents, 'p', pad);
        if (action)
            add_actions(t, action);
    }
}

static void add_table(Contents *contents, uint64_t address)
{
    const Section *in = symbols_section(contents->symbols, address);
    Table t = {.contents = contents, .in = in};
    int given;
    if (!in || !in->data)
        return;
    contents->sections |= keep_bit(contents->symbols, in);
    Cursor c = cursor_at(in, address);
    take_pointer(&c, (uint8_t)take(&c, 1), &given); /* where landing pads count from */
    add_number(contents, 'L', (uint64_t)given);
    t.type_encoding = (uint8_t)take(&c, 1);
    if (t.type_encoding != OMIT) {
        uint64_t distance = take_leb(&c, 0);
        t.types = c.address + distance;
    }
    t.call_encoding = (uint8_t)take(&c, 1) & 0x0f;
    uint64_t bytes = take_leb(&c, 0);
    if (c.broken || bytes > (uint64_t)(c.end - c.at))
        return;
    t.actions = c.address + bytes;
    c.end = c.at + bytes;
    add_calls(&t, c);
}

uint64_t handlers_table(const Handlers *h, uint64_t function)
{
    const Handler *list = (const Handler *)(const void *)h->list.data;
    size_t low = 0, count = h->list.bytes / sizeof *list, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (list[middle].function < function)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && list[low].function == function ? list[low].table : 0;
}

void handlers_add(const Handlers *h, Contents *contents, uint64_t function)
{
    uint64_t table = handlers_table(h, function);
    if (table)
        add_table(contents, table);
}
