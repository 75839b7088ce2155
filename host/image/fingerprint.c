/* One hash a function: its parts and clones together, each with its places replaced by what they
 * name. One hash a static: its initializer likewise. Owns its tables for the call; one thread. */
#include "image/fingerprint.h"

#include <stdlib.h>
#include <string.h>

#include "image/handlers.h"
#include "image/relocs.h"

typedef struct Part {
    Hash part, hash, but_lines;
    uint32_t group, rank, symbol, nth;
} Part;

typedef struct Job {
    Symbols symbols;
    Refs refs;
    Contents contents;
    Handlers handlers;
    Keep keep;
    const Owners *owners;
    const Lines *lines;
    AnatomyMaker *maker;
    uint32_t *unit_names;
    Part *parts;
    uint64_t budget;
    int is_void; /* with what was taken over it might come out otherwise: without, then */
} Job;

/* The bytes with all that moves replaced; `but_lines` leaves out line numbers as well. */
static Hash hash_code(Job *j, size_t nth, int but_lines, int *ret_has_lines)
{
    const Symbol *f = &j->symbols.symbols[j->symbols.functions[nth]];
    const Section *in = &j->symbols.sections[f->section];
    static const uint8_t nothing[1]; /* of a section without bytes */
    const uint8_t *code = in->data ? in->data + (f->address - in->address) : nothing;
    size_t count = j->refs.first[nth + 1] - j->refs.first[nth], start = j->contents.scratch.bytes;
    const Ref *refs = count ? j->refs.list + j->refs.first[nth] : NULL;
    uint32_t at = 0, end = j->refs.bytes[nth];
    for (size_t i = 0; i < count; i++) {
        const Ref *r = &refs[i];
        *ret_has_lines |= r->kind == REF_LINE;
        if (r->at < at || r->at + r->width > end || (r->kind == REF_LINE && !but_lines))
            continue;
        contents_add(&j->contents, code + at, r->at - at);
        contents_add_ref(&j->contents, r, refs, count);
        at = r->at + r->width;
    }
    contents_add(&j->contents, code + at, end - at);
    handlers_add(&j->handlers, &j->contents, f->address);
    const Buf *scratch = &j->contents.scratch;
    Hash hash = hash_bytes(scratch->data ? scratch->data + start : "", scratch->bytes - start);
    j->contents.scratch.bytes = start;
    return hash;
}

static int by_group(const void *a, const void *b)
{
    const Part *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    if (x->part.high != y->part.high)
        return x->part.high < y->part.high ? -1 : 1;
    if (x->part.low != y->part.low)
        return x->part.low < y->part.low ? -1 : 1;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static void hash_part(Job *j, size_t nth, Part *p)
{
    KeptFunction *kept = j->keep.list ? &j->keep.list[nth] : NULL;
    int has_lines = 0;
    if (keep_has(&j->keep, nth)) {
        p->hash = kept->hash;
        p->but_lines = kept->but_lines;
        return;
    }
    j->contents.sections = 0;
    p->hash = p->but_lines = hash_code(j, nth, 0, &has_lines);
    if (has_lines)
        p->but_lines = hash_code(j, nth, 1, &has_lines);
    if (!kept)
        return;
    kept->hash = p->hash;
    kept->but_lines = p->but_lines;
    kept->sections = j->contents.sections;
    kept->bytes = j->refs.bytes[nth];
}

static int hash_parts(Job *j)
{
    const Symbols *s = &j->symbols;
    j->parts = calloc(s->function_count + 1, sizeof *j->parts);
    if (!j->parts)
        return KEEL_ENOMEM;
    for (size_t i = 0; i < s->function_count && !j->contents.failed; i++) {
        uint32_t index = s->functions[i];
        const Symbol *f = &s->symbols[index];
        Part *p = &j->parts[i];
        *p = (Part){.part = f->part,
                    .group = f->group,
                    .rank = f->rank,
                    .symbol = index,
                    .nth = (uint32_t)i};
        if (!(j->maker->flags & ANATOMY_RELOCS))
            continue;
        hash_part(j, i, p);
    }
    if (s->function_count)
        qsort(j->parts, s->function_count, sizeof *j->parts, by_group);
    return j->contents.failed;
}

static uint32_t unit_name(Job *j, const Symbol *symbol)
{
    const char *name = j->symbols.units[symbol->unit].name;
    if (symbol->unit && !j->unit_names[symbol->unit])
        j->unit_names[symbol->unit] = anatomy_text(j->maker, name, strlen(name));
    return symbol->unit ? j->unit_names[symbol->unit] : 0;
}

static const Line *line_of(const Lines *lines, uint64_t address)
{
    size_t low = 0, high = lines ? lines->count : 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (lines->list[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return lines && low < lines->count && lines->list[low].address == address ? &lines->list[low]
                                                                              : NULL;
}

static void add_function(Job *j, const Part *parts, size_t count)
{
    const Symbol *main = &j->symbols.symbols[parts[0].symbol];
    Buf own = {0}, but_lines = {0};
    AnatomyFunction f = {.hash = parts[0].hash, .hash_but_lines = parts[0].but_lines};
    const Line *line = NULL;
    for (size_t i = 0; i < count; i++) {
        const Symbol *part = &j->symbols.symbols[parts[i].symbol];
        if (strnlen(part->name, part->base + 1u) == part->base)
            main = part;
        f.bytes += j->refs.bytes ? j->refs.bytes[parts[i].nth] : part->bytes;
        const uint64_t bits[] = {parts[i].part.low, parts[i].part.high, parts[i].hash.low,
                                 parts[i].hash.high};
        const uint64_t more[] = {parts[i].part.low, parts[i].part.high, parts[i].but_lines.low,
                                 parts[i].but_lines.high};
        if (buf_add(&own, bits, sizeof bits) || buf_add(&but_lines, more, sizeof more))
            j->maker->failed = KEEL_ENOMEM;
        line = line ? line : line_of(j->lines, part->address);
    }
    const Line *better = line_of(j->lines, main->address);
    line = better ? better : line;
    if (count > 1 && j->maker->flags & ANATOMY_RELOCS) {
        f.hash = hash_bytes(own.data, own.bytes);
        f.hash_but_lines = hash_bytes(but_lines.data, but_lines.bytes);
    }
    f.name = anatomy_text(j->maker, main->name, main->base);
    f.unit = unit_name(j, main);
    const uint64_t key[] = {hash_bytes(main->name, main->base).low,
                            main->unit ? hash_bytes(j->symbols.units[main->unit].name,
                                                    strlen(j->symbols.units[main->unit].name))
                                             .low
                                       : 0,
                            j->symbols.units[main->unit].same_before, main->rank};
    f.id = hash_bytes(key, sizeof key);
    f.parts = (uint32_t)count;
    if (line) {
        f.pretty = line->pretty;
        f.file = line->file;
        f.line = line->line;
    }
    buf_done(&own);
    buf_done(&but_lines);
    if (buf_add(&j->maker->functions, &f, sizeof f))
        j->maker->failed = KEEL_ENOMEM;
}

static void add_functions(Job *j)
{
    size_t count = j->symbols.function_count;
    for (size_t i = 0, end; i < count && !j->maker->failed; i = end) {
        for (end = i + 1; end < count && j->parts[end].group == j->parts[i].group;)
            end++;
        add_function(j, &j->parts[i], end - i);
    }
}

static const Owner *owner_of(const Owners *owners, uint64_t address)
{
    for (size_t low = 0, high = owners ? owners->count : 0; low < high;) {
        size_t middle = (low + high) / 2;
        if (owners->list[middle].address == address)
            return &owners->list[middle];
        if (owners->list[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* What it begins with, if it is one number. */
static void take_value(AnatomyObject *o, const Owner *owner, const Section *in, uint64_t address)
{
    int is_known = o->bytes == 1 || o->bytes == 2 || o->bytes == 4 || o->bytes == 8;
    if (!is_known || owner->value == VALUE_NONE)
        return;
    if (in->data) {
        if (address < in->address || in->bytes < o->bytes ||
            address - in->address > in->bytes - o->bytes)
            return;
        memcpy(&o->value, in->data + (address - in->address), o->bytes);
    }
    o->value_kind = owner->value;
}

static void add_object(Job *j, const Symbol *symbol)
{
    const Section *in = &j->symbols.sections[symbol->section];
    int constant = !(in->flags & SHF_WRITE) || !strncmp(in->name, ".data.rel.ro", 12);
    AnatomyObject o = {.id = symbol->id, .bytes = symbol->bytes};
    if (symbol->by_content) /* it belongs to the functions that name it */
        return;
    if (!strcmp(in->name, ".keel.cache") || !strncmp(symbol->name, "DW.ref.", 7))
        return; /* tables of services and types of exceptions: the functions tell who uses them */
    o.kind = symbol->kind == SYMBOL_THREAD ? OBJECT_THREAD
             : !in->data                   ? OBJECT_ZERO
             : constant                    ? OBJECT_CONSTANT
                                           : OBJECT_DATA;
    uint64_t address = symbol->address + (o.kind == OBJECT_THREAD ? j->symbols.thread_block : 0);
    if (in->data && j->maker->flags & ANATOMY_RELOCS)
        o.hash = contents_hash(&j->contents, in, address, symbol->bytes);
    const Owner *owner = owner_of(j->owners, symbol->address);
    o.name = owner && owner->pretty && !strncmp(symbol->name, "_Z", 2)
                 ? owner->pretty
                 : anatomy_text(j->maker, symbol->name, symbol->base);
    o.unit = unit_name(j, symbol);
    if (owner) {
        take_value(&o, owner, in, address);
        o.owner = owner->name;
        o.file = owner->file;
        o.line = owner->line;
    }
    if (buf_add(&j->maker->objects, &o, sizeof o))
        j->maker->failed = KEEL_ENOMEM;
}

/* Functions that run at load and unload, in their order; no symbol names these lists. */
static void add_list(Job *j, const Section *in)
{
    static const char TITLE[] = "(functions run at load and unload)";
    AnatomyObject o = {.id = hash_bytes(in->name, strlen(in->name)),
                       .hash = contents_hash(&j->contents, in, in->address, in->bytes),
                       .bytes = in->bytes,
                       .kind = OBJECT_CONSTANT,
                       .name = anatomy_text(j->maker, TITLE, sizeof TITLE - 1)};
    if (buf_add(&j->maker->objects, &o, sizeof o))
        j->maker->failed = KEEL_ENOMEM;
}

static void add_objects(Job *j)
{
    const Symbols *s = &j->symbols;
    for (size_t i = 0; i < s->object_count && !j->maker->failed; i++)
        add_object(j, &s->symbols[s->objects[i]]);
    for (size_t i = 0; i < s->thread_count && !j->maker->failed; i++)
        add_object(j, &s->symbols[s->threads[i]]);
    for (size_t i = 0; i < s->alloc_count && !j->maker->failed; i++) {
        const Section *in = &s->sections[s->alloc[i]];
        if ((in->type == SHT_INIT_ARRAY || in->type == SHT_FINI_ARRAY) &&
            j->maker->flags & ANATOMY_RELOCS)
            add_list(j, in);
    }
}

static void add_sections(Job *j)
{
    for (size_t i = 0; i < j->symbols.alloc_count; i++) {
        const Section *in = &j->symbols.sections[j->symbols.alloc[i]];
        if (in->type == SHT_NOTE) /* the build id follows whatever else differs */
            continue;
        AnatomySection section = {.bytes = in->bytes,
                                  .name = anatomy_text(j->maker, in->name, strlen(in->name)),
                                  .is_code = (in->flags & SHF_EXECINSTR) != 0};
        if (in->data && in->bytes <= j->budget) {
            j->budget -= in->bytes;
            section.hash = hash_bytes(in->data, in->bytes);
        } else if (in->data) {
            j->contents.failed = KEEL_EIMAGE;
        }
        if (buf_add(&j->maker->sections, &section, sizeof section))
            j->maker->failed = KEEL_ENOMEM;
    }
}

/* What must be known before functions are hashed. */
static int prepare(Job *j, const FingerprintReuse *reuse, Error *err)
{
    const Symbols *s = &j->symbols;
    if (!(j->maker->flags & ANATOMY_RELOCS))
        return contents_open(s, &j->refs, NULL, &j->budget, &j->contents);
    int rc = handlers_open(s, &j->handlers);
    if (!rc && reuse)
        rc = keep_open(s, &j->handlers, j->owners, reuse->before, j->budget, &j->keep);
    rc = rc ? rc : refs_collect(s, &j->keep, &j->budget, &j->refs, err);
    rc = rc ? rc : contents_open(s, &j->refs, &j->keep, &j->budget, &j->contents);
    j->is_void = !rc && j->keep.count &&
                 !hash_equal(j->keep.kept.head.constants, j->keep.before->head.constants);
    return rc;
}

static int run(Job *j, const FingerprintReuse *reuse, Error *err)
{
    const Symbols *s = &j->symbols;
    int code = s->machine == EM_X86_64;
    j->maker->flags |= (s->has_table ? ANATOMY_SYMBOLS : 0) | (code ? 0 : ANATOMY_MACHINE) |
                       (s->unit_count > 1 ? ANATOMY_UNITS : 0) |
                       (s->has_table && s->has_relocs && code ? ANATOMY_RELOCS : 0);
    j->unit_names = calloc(s->unit_count + 1, sizeof *j->unit_names);
    if (!j->unit_names)
        return err_set(err, KEEL_ENOMEM, "no memory to read its symbols");
    int rc = prepare(j, reuse, err);
    if (j->is_void)
        return KEEL_OK;
    rc = rc ? rc : s->has_table ? hash_parts(j) : KEEL_OK;
    if (!rc && s->has_table) {
        add_functions(j);
        add_objects(j);
    }
    if (!rc)
        add_sections(j);
    rc = rc ? rc : j->contents.failed;
    rc = rc ? rc : j->maker->failed;
    j->is_void = !rc && j->keep.count && j->contents.in_order;
    if (rc == KEEL_ENOMEM)
        return err_set(err, rc, "no memory for its fingerprints");
    return rc ? err_set(err, rc, "its parts overlap: it is damaged: build it again") : KEEL_OK;
}

static int make(const void *data, size_t bytes, Job *j, FingerprintReuse *reuse, Error *err)
{
    j->budget = ((uint64_t)64 << 20) + 16 * (uint64_t)bytes;
    int rc = symbols_open(data, bytes, j->owners, &j->symbols, err);
    rc = rc ? rc : run(j, reuse, err);
    if (!rc && reuse && !j->is_void) {
        reuse->taken = j->keep.count;
        if (j->keep.list && !j->contents.in_order && keep_pack(&j->keep, &reuse->kept))
            rc = err_set(err, KEEL_ENOMEM, "no memory for its fingerprints");
    }
    handlers_done(&j->handlers);
    contents_done(&j->contents);
    refs_done(&j->refs);
    keep_done(&j->keep);
    free(j->parts);
    free(j->unit_names);
    symbols_done(&j->symbols);
    return rc;
}

int fingerprint_bytes(const void *data, size_t bytes, const Owners *owners, const Lines *lines,
                      FingerprintReuse *reuse, AnatomyMaker *maker, Error *err)
{
    const AnatomyMaker was = *maker;
    Job j = {.owners = owners, .lines = lines, .maker = maker};
    int rc = make(data, bytes, &j, reuse, err);
    int is_after = reuse && reuse->before;
    if (!is_after || (!rc && !j.is_void)) /* what fails after another may do alone */
        return rc;
    maker->flags = was.flags;
    maker->failed = was.failed;
    maker->functions.bytes = was.functions.bytes;
    maker->objects.bytes = was.objects.bytes;
    maker->sections.bytes = was.sections.bytes;
    maker->strings.bytes = was.strings.bytes;
    reuse->before = NULL;
    j = (Job){.owners = owners, .lines = lines, .maker = maker};
    return make(data, bytes, &j, reuse, err);
}
