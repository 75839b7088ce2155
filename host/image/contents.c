/* Bytes with every place replaced by what it refers to. A constant without a name (a literal, a
 * table of jumps) is known by its contents: from the place that code names to the next that
 * anything names. Owns the table of such constants; one thread. */
#include "image/relocs.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 8, NEIGHBOURS = 512, ARRAY_LEAST = 8 };
enum { UNKNOWN, BUSY, KNOWN };

int contents_add(Contents *c, const void *data, size_t bytes)
{
    if (!c->failed && bytes > *c->budget)
        c->failed = KEEL_EIMAGE;
    if (c->failed)
        return c->failed;
    *c->budget -= bytes;
    if (buf_add(&c->scratch, data, bytes))
        c->failed = KEEL_ENOMEM;
    return c->failed;
}

static void add_entity(Contents *c, char tag, Hash id, uint64_t offset)
{
    uint8_t bytes[25];
    bytes[0] = (uint8_t)tag;
    memcpy(bytes + 1, &id, sizeof id);
    memcpy(bytes + 17, &offset, sizeof offset);
    contents_add(c, bytes, sizeof bytes);
}

static Block *block_at(const Contents *c, uint64_t address)
{
    size_t low = 0, high = c->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (c->blocks[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &c->blocks[low - 1] : NULL;
}

/* So deep it goes, whether that was looked at just now or before. */
static void reach(Contents *c, int depth)
{
    c->deepest = depth > c->deepest ? depth : c->deepest;
    c->in_order |= depth > DEPTH_MOST;
}

Hash contents_hash(Contents *c, const Section *in, uint64_t address, uint64_t bytes)
{
    size_t start = c->scratch.bytes;
    const Elf64_Rela *r = in->relocs + symbols_relocs_from(in, address),
                     *last = in->relocs + in->reloc_count;
    uint64_t at = address, end = address + bytes;
    if (!in->data)
        return (Hash){bytes, 0};
    c->sections |= keep_bit(c->symbols, in);
    reach(c, c->depth + 1);
    if (c->depth == DEPTH_MOST)
        return (Hash){bytes, 0};
    c->depth++;
    for (; r < last && r->r_offset < end && !c->failed; r++) {
        Ref ref;
        if (r->r_offset < at || !ref_of_data(c->symbols, in, r, address, &ref) ||
            ref.width > end - r->r_offset)
            continue;
        contents_add(c, in->data + (at - in->address), r->r_offset - at);
        contents_add_ref(c, &ref, NULL, 0);
        at = r->r_offset + ref.width;
    }
    contents_add(c, in->data + (at - in->address), end - at);
    Hash hash = hash_bytes(c->scratch.data + start, c->scratch.bytes - start);
    c->scratch.bytes = start;
    c->depth--;
    return hash;
}

/* Bytes of the character of UTF-8 text that begins here, 0: none does. Tables of distances have
 * bytes that no text has. */
static size_t character(const uint8_t *at, uint64_t room)
{
    uint8_t c = *at;
    size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    if (n == 1 && !((c >= ' ' && c != 0x7f) || (c >= '\a' && c <= '\r') || c == 0x1b))
        return 0;
    for (size_t i = 1; i < n; i++)
        if (i >= room || (at[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

/* Where the constant that begins here ends. Padding does not count; of a string whose tail has a
 * name of its own (the link lets "bar" live in "foobar") all counts. */
static uint64_t end_of(const Symbols *s, const Section *in, uint64_t address, uint64_t bound)
{
    const uint8_t *base = in->data - in->address;
    uint64_t end = bound, limit = in->address + in->bytes, at = address;
    for (size_t n; at < bound && (n = character(base + at, limit - at));)
        at += n;
    if (at >= bound && bound > address) {
        for (size_t n; at < limit && (n = character(base + at, limit - at));)
            at += n;
        if (at < limit && !base[at])
            return at;
    }
    while (end > address && !base[end - 1])
        end--;
    /* Places whose bytes are zero in the file. */
    const Elf64_Rela *r = in->relocs + symbols_relocs_from(in, bound);
    Ref ref;
    if (r > in->relocs && r[-1].r_offset >= address && ref_of_data(s, in, r - 1, address, &ref) &&
        r[-1].r_offset + ref.width > end)
        end = r[-1].r_offset + ref.width;
    return end;
}

static Hash hash_block(Contents *c, const Section *in, Block *b)
{
    if (b->state == BUSY) { /* a circle: the way into it tells it apart */
        c->in_order = 1;
        return (Hash){0};
    }
    if (b->state == UNKNOWN) {
        uint64_t sections = c->sections, end = end_of(c->symbols, in, b->address, b->end);
        int deepest = c->deepest;
        b->state = BUSY;
        c->sections = 0;
        c->deepest = c->depth;
        b->hash = contents_hash(c, in, b->address, end - b->address);
        b->sections = c->sections;
        b->height = (uint8_t)(c->deepest - c->depth);
        c->sections = sections;
        c->deepest = deepest;
        b->state = KNOWN;
    }
    c->sections |= b->sections;
    reach(c, c->depth + b->height);
    return b->hash;
}

static void add_constant(Contents *c, const Section *in, const Ref *ref)
{
    Block *b = block_at(c, ref->target);
    c->sections |= keep_bit(c->symbols, in); /* also for where it begins and ends */
    if (!b || b->address != ref->target) {
        add_entity(c, '?', hash_bytes(in->name, strlen(in->name)), 0);
        return;
    }
    const Elf64_Rela *r = in->relocs + symbols_relocs_from(in, b->address),
                     *last = in->relocs + in->reloc_count;
    uint64_t bytes = b->end - b->address;
    if (ref->load_bytes && ref->load_bytes < bytes)
        bytes = ref->load_bytes;
    if (ref->load_bytes && !(r < last && r->r_offset < b->address + bytes)) {
        uint8_t padded[64] = {0}; /* what is read beyond the constant is nobody's */
        memcpy(padded, in->data + (b->address - in->address), bytes);
        contents_add(c, padded, ref->load_bytes);
    } else {
        add_entity(c, 'B', hash_block(c, in, b), 0);
    }
}

/* Loops over an array of this file compare with its end, which is where another begins. */
static const Symbol *array_before(const Contents *c, const Ref *ref, const Symbol *object,
                                  const Ref *all, size_t count)
{
    if (!ref->is_address || (object && object->address != ref->target))
        return NULL;
    const Symbol *before = symbols_object(c->symbols, ref->target - 1);
    if (!before || before->bytes <= ARRAY_LEAST || before->address + before->bytes != ref->target)
        return NULL;
    int is_used = 0;
    for (size_t i = 0; i < count && i < NEIGHBOURS; i++) {
        const Ref *r = &all[i];
        if (r->kind != REF_PLACE || r == ref)
            continue;
        is_used |= r->target - before->address < before->bytes;
        if (object && r->target - object->address < object->bytes &&
            (r->target != ref->target || !r->is_address))
            return NULL;
    }
    return is_used ? before : NULL;
}

static void add_object(Contents *c, const Symbol *object, uint64_t offset)
{
    if (object->by_content)
        add_entity(c, 'C',
                   contents_hash(c, &c->symbols->sections[object->section], object->address,
                                 object->bytes),
                   offset);
    else
        add_entity(c, 'O', object->id, offset);
}

/* The end of a section, or a place in an empty one: what another section has there says nothing. */
static int is_beyond(const Symbols *s, const Symbol *named, uint64_t target)
{
    const Section *in = &s->sections[named->section];
    return named->is_section && named->section && target - in->address >= in->bytes;
}

static void add_place(Contents *c, const Ref *ref, const Ref *all, size_t count)
{
    const Symbols *s = c->symbols;
    const Section *in = symbols_section(s, ref->target);
    if (in && in->flags & SHF_EXECINSTR) {
        const Symbol *f = symbols_function(s, ref->target);
        if (f)
            add_entity(c, 'F', f->id, ref->target - f->address);
        else
            add_entity(c, 'X', hash_bytes(in->name, strlen(in->name)), 0);
        return;
    }
    const Symbol *object = symbols_object(s, ref->target), *named = &s->symbols[ref->symbol];
    const Symbol *before = all ? array_before(c, ref, object, all, count) : NULL;
    if (before)
        add_object(c, before, before->bytes);
    else if (is_beyond(s, named, ref->target))
        add_entity(
            c, 'E',
            hash_bytes(s->sections[named->section].name, strlen(s->sections[named->section].name)),
            ref->target - s->sections[named->section].address);
    else if (object)
        add_object(c, object, ref->target - object->address);
    else if (in && in->data)
        add_constant(c, in, ref);
    else
        add_entity(c, 'Z', in ? hash_bytes(in->name, strlen(in->name)) : (Hash){0}, 0);
}

static void add_symbol(Contents *c, const Ref *ref)
{
    const Symbol *symbol = &c->symbols->symbols[ref->symbol];
    if (symbol->kind == SYMBOL_OBJECT && ref->target <= symbol->bytes)
        add_object(c, symbol, ref->target);
    else
        add_entity(c, symbol->kind == SYMBOL_FUNCTION ? 'F' : 'S', symbol->id, ref->target);
}

void contents_add_ref(Contents *c, const Ref *ref, const Ref *all, size_t count)
{
    const Symbol *thread;
    switch (ref->kind) {
    case REF_SYMBOL:
        add_symbol(c, ref);
        break;
    case REF_PLACE:
        add_place(c, ref, all, count);
        break;
    case REF_THREAD:
        thread = symbols_thread(c->symbols, ref->target);
        add_entity(c, 'T', thread ? thread->id : (Hash){0},
                   thread ? ref->target - thread->address : 0);
        break;
    default:
        add_entity(c, ref->kind == REF_LINE ? 'N' : 'M', (Hash){0}, 0);
    }
}

static int by_address(const void *a, const void *b)
{
    const Block *x = a, *y = b;
    return (x->address > y->address) - (x->address < y->address);
}

static void sort_unique(Contents *c)
{
    size_t n = 0;
    if (c->count)
        qsort(c->blocks, c->count, sizeof *c->blocks, by_address);
    for (size_t i = 0; i < c->count; i++)
        if (!n || c->blocks[n - 1].address != c->blocks[i].address)
            c->blocks[n++] = c->blocks[i];
    c->count = n;
}

static void add_block_at(Contents *c, Buf *blocks, uint64_t target)
{
    const Section *in = symbols_section(c->symbols, target);
    if (!in || !in->data || in->flags & SHF_EXECINSTR || symbols_object(c->symbols, target))
        return;
    Block b = {.address = target};
    if (buf_add(blocks, &b, sizeof b))
        c->failed = KEEL_ENOMEM;
    c->blocks = (Block *)blocks->data;
    c->count = blocks->bytes / sizeof b;
}

static void add_block(Contents *c, Buf *blocks, const Ref *ref)
{
    if (ref->kind == REF_PLACE &&
        !is_beyond(c->symbols, &c->symbols->symbols[ref->symbol], ref->target))
        add_block_at(c, blocks, ref->target);
}

static void add_code_blocks(Contents *c, Buf *blocks, const Refs *refs, Keep *keep)
{
    size_t functions = refs->first ? c->symbols->function_count : 0;
    for (size_t nth = 0; nth < functions && !c->failed; nth++) {
        size_t before = c->count;
        uint32_t count = 0;
        const uint64_t *targets = keep_has(keep, nth) ? keep_targets(keep, nth, &count) : NULL;
        for (uint32_t i = 0; i < count && !c->failed; i++)
            add_block_at(c, blocks, targets[i]);
        for (size_t i = refs->first[nth]; i < refs->first[nth + 1] && !c->failed; i++)
            add_block(c, blocks, &refs->list[i]);
        if (!keep || !keep->list)
            continue;
        keep->list[nth].target_count = (uint32_t)(c->count - before);
        for (size_t i = before; i < c->count && !c->failed; i++)
            if (buf_add(&keep->targets, &c->blocks[i].address, sizeof(uint64_t)))
                c->failed = KEEL_ENOMEM;
    }
}

static void add_data_blocks(Contents *c, Buf *blocks, const Section *in)
{
    size_t code_blocks = c->count;
    int is_handlers = !strncmp(in->name, ".gcc_except_table", 17); /* distances from each place */
    for (size_t i = 0; i < in->reloc_count && !c->failed; i++) {
        Ref ref;
        uint64_t place = in->relocs[i].r_offset, base = place;
        const Symbol *object = symbols_object(c->symbols, place);
        if (ELF64_R_TYPE(in->relocs[i].r_info) != R_X86_64_64 && !is_handlers) {
            size_t all = c->count;
            c->count = code_blocks; /* those that are sorted */
            const Block *table = object ? NULL : block_at(c, place);
            c->count = all;
            base = object ? object->address : table ? table->address : place;
        }
        if (ref_of_data(c->symbols, in, &in->relocs[i], base, &ref))
            add_block(c, blocks, &ref);
    }
    sort_unique(c);
    blocks->bytes = c->count * sizeof *c->blocks;
}

static void set_ends(Contents *c)
{
    const Symbols *s = c->symbols;
    size_t next_object = 0;
    for (size_t i = 0; i < c->count; i++) {
        Block *b = &c->blocks[i];
        const Section *in = symbols_section(s, b->address);
        b->end = in->address + in->bytes;
        while (next_object < s->object_count &&
               s->symbols[s->objects[next_object]].address <= b->address)
            next_object++;
        if (next_object < s->object_count) {
            uint64_t object = s->symbols[s->objects[next_object]].address;
            b->end = object < b->end ? object : b->end;
        }
        if (i + 1 < c->count && c->blocks[i + 1].address < b->end)
            b->end = c->blocks[i + 1].address;
    }
}

static Hash key_of_blocks(Contents *c)
{
    Hash key = {c->count, 0};
    for (size_t i = 0; i < c->count; i++) {
        const uint64_t all[] = {key.low, key.high, c->blocks[i].address, c->blocks[i].end};
        key = hash_bytes(all, sizeof all);
    }
    return key;
}

int contents_open(const Symbols *s, const Refs *refs, Keep *keep, uint64_t *budget, Contents *ret)
{
    Contents c = {.symbols = s, .budget = budget};
    Buf blocks = {0};
    add_code_blocks(&c, &blocks, refs, keep);
    sort_unique(&c);
    blocks.bytes = c.count * sizeof *c.blocks;
    for (size_t i = 0; i < s->alloc_count && !c.failed; i++) {
        const Section *in = &s->sections[s->alloc[i]];
        if (in->reloc_count && !(in->flags & SHF_EXECINSTR) && strcmp(in->name, ".eh_frame"))
            add_data_blocks(&c, &blocks, in);
    }
    if (!c.failed)
        set_ends(&c);
    if (!c.failed && keep && keep->list)
        keep->kept.head.constants = key_of_blocks(&c);
    int rc = c.failed;
    if (rc)
        contents_done(&c);
    else
        *ret = c;
    return rc;
}

void contents_done(Contents *c)
{
    if (!c)
        return;
    free(c->blocks);
    buf_done(&c->scratch);
    *c = (Contents){0};
}
