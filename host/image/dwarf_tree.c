/* Walks .debug_info once, unit by unit, and keeps what anybody here asks for. One thread. */
#include "image/dwarf_tree.h"

#include <dwarf.h>
#include <stdlib.h>

#include "base/err.h"
#include "image/dwarf_abbrev.h"
#include "image/dwarf_forms.h"

enum { DEPTH_MOST = 64, DIES_MOST = 1 << 24, UNITS_MOST = 1 << 20 };

typedef struct Signature {
    uint64_t signature;
    uint32_t offset; /* of the type's DIE */
} Signature;

/* A reference by signature, to be put in once all of them are known. */
typedef struct Pending {
    uint64_t signature;
    uint32_t die;
    int is_type;
} Pending;

typedef struct Tree {
    Dies *dies;
    DieUnit unit;
    uint64_t base, unit_base; /* offset of the section's and of the unit's first byte */
    uint64_t unit_end;
    Abbreviations table;
    Buf signatures, pending;
    int failed; /* KEEL_E… */
} Tree;

static void fail(Tree *t, int code)
{
    t->failed = t->failed ? t->failed : code;
}

static void add(Tree *t, Buf *list, const void *item, size_t bytes)
{
    if (buf_add(list, item, bytes))
        fail(t, KEEL_ENOMEM);
}

/* ---- one DIE ---- */

/* What is put together once all attributes of a DIE have been seen. */
typedef struct Raw {
    FormValue high, ranges;
    uint64_t sibling; /* 0: none */
    uint64_t type_signature, refers_signature;
} Raw;

static uint32_t reference(const Tree *t, const FormValue *v, uint64_t *ret_signature)
{
    uint64_t offset = 0;
    if (v->kind == FORM_REFERENCE && v->number < t->unit_end - t->unit_base)
        offset = t->unit_base + v->number;
    else if (v->kind == FORM_REFERENCE_FAR)
        offset = v->number;
    else if (v->kind == FORM_SIGNATURE)
        *ret_signature = v->number;
    return offset <= UINT32_MAX ? (uint32_t)offset : 0;
}

static void take_place(Die *d, const FormValue *v)
{
    d->have |= DIE_PLACE;
    d->value = v->kind == FORM_NUMBER ? v->number : 0;
    if (v->kind != FORM_BLOCK)
        return;
    Cursor c = {v->block, v->block + v->number, 0};
    if (cursor_number(&c, 1) == DW_OP_plus_uconst)
        d->value = cursor_uleb(&c);
    else if (v->number)
        d->have |= DIE_PLACE_COMPUTED;
}

static uint32_t small(const FormValue *v)
{
    return v->kind == FORM_NUMBER && v->number <= UINT32_MAX ? (uint32_t)v->number : 0;
}

static void take_flag(Die *d, const FormValue *v, uint16_t flag)
{
    if (v->kind == FORM_NUMBER && v->number)
        d->have |= flag;
}

static void take(Tree *t, Die *d, Raw *raw, unsigned name, const FormValue *v)
{
    uint64_t number = v->kind == FORM_NUMBER ? v->number : 0;
    switch (name) {
    case DW_AT_sibling:
        raw->sibling = v->kind == FORM_REFERENCE ? v->number : 0;
        break;
    case DW_AT_name:
        d->name = form_text(t->dies, &t->unit, v);
        break;
    case DW_AT_linkage_name:
    case DW_AT_MIPS_linkage_name:
        d->linkage = form_text(t->dies, &t->unit, v);
        break;
    case DW_AT_type:
        d->type = reference(t, v, &raw->type_signature);
        d->have |= DIE_TYPE;
        break;
    case DW_AT_specification:
    case DW_AT_abstract_origin:
        d->have |= name == DW_AT_specification ? DIE_SPECIFICATION : DIE_ORIGIN;
        if (name == DW_AT_abstract_origin || !(d->have & DIE_ORIGIN))
            d->refers = reference(t, v, &raw->refers_signature);
        break;
    case DW_AT_signature:
        d->have |= DIE_SIGNATURE;
        d->refers = reference(t, v, &raw->refers_signature);
        break;
    case DW_AT_low_pc:
        if (!form_address(t->dies, &t->unit, v, &d->address))
            d->have |= DIE_ADDRESS;
        break;
    case DW_AT_high_pc:
        raw->high = *v;
        break;
    case DW_AT_ranges:
        raw->ranges = *v;
        break;
    case DW_AT_location:
        if (!form_location(t->dies, &t->unit, v, &d->address) && d->address)
            d->have |= DIE_ADDRESS;
        break;
    case DW_AT_data_member_location:
        take_place(d, v);
        break;
    case DW_AT_count:
        d->value = number;
        d->have |= DIE_COUNT;
        break;
    case DW_AT_upper_bound: /* UINT64_MAX: of `[0]` as some compilers write it */
        if (!(d->have & DIE_COUNT) && v->kind == FORM_NUMBER)
            d->value = number + 1;
        break;
    case DW_AT_const_value:
        if (v->kind == FORM_NUMBER && !(d->have & DIE_PLACE)) {
            d->value = number;
            d->have |= DIE_VALUE;
        }
        break;
    case DW_AT_decl_file:
        d->file = small(v);
        d->have |= DIE_FILE;
        break;
    case DW_AT_decl_line:
        d->line = small(v);
        break;
    case DW_AT_byte_size:
        d->bytes = number;
        d->have |= v->kind == FORM_NUMBER ? DIE_BYTES : 0;
        break;
    case DW_AT_bit_size:
        d->bits = small(v);
        break;
    case DW_AT_bit_offset:
        d->extent = number;
        d->have |= DIE_BIT_OFFSET;
        break;
    case DW_AT_data_bit_offset:
        d->extent = number;
        d->have |= DIE_DATA_BIT_OFFSET;
        break;
    case DW_AT_encoding:
        d->encoding = (uint8_t)(number < 256 ? number : 0);
        break;
    case DW_AT_declaration:
        take_flag(d, v, DIE_DECLARATION);
        break;
    case DW_AT_external:
        take_flag(d, v, DIE_EXTERNAL);
        break;
    case DW_AT_artificial:
        take_flag(d, v, DIE_ARTIFICIAL);
        break;
    default:
        break;
    }
}

static void take_of_unit(Tree *t, unsigned name, const FormValue *v)
{
    DieUnit *u = &t->unit;
    uint64_t number = v->kind == FORM_NUMBER ? v->number : 0;
    switch (name) {
    case DW_AT_comp_dir:
        u->folder = form_text(t->dies, u, v);
        break;
    case DW_AT_producer:
        u->producer = form_text(t->dies, u, v);
        break;
    case DW_AT_language:
        u->language = small(v);
        break;
    case DW_AT_stmt_list:
        u->lines = number;
        u->has_lines = v->kind == FORM_NUMBER;
        break;
    case DW_AT_low_pc:
        form_address(t->dies, u, v, &u->low);
        break;
    case DW_AT_str_offsets_base:
        u->strings_base = number;
        break;
    case DW_AT_addr_base:
    case DW_AT_GNU_addr_base:
        u->addresses_base = number;
        break;
    case DW_AT_rnglists_base:
        u->ranges_base = number;
        break;
    case DW_AT_dwo_name:
    case DW_AT_GNU_dwo_name:
        u->is_split = 1;
        break;
    default:
        break;
    }
}

static void read_attributes(Tree *t, Cursor *c, const Abbreviation *a, Die *d, Raw *raw)
{
    const Attribute *list = abbreviation_attributes(&t->table, a);
    for (uint32_t i = 0; i < a->count && !c->is_bad; i++) {
        if (!list[i].name && !list[i].form) {
            cursor_skip(c, list[i].skip);
            continue;
        }
        FormValue v = form_read(t->dies, &t->unit, c, list[i].form, list[i].implicit);
        if (list[i].name)
            take(t, d, raw, list[i].name, &v);
    }
}

/* Its bases may stand behind what they are needed for, so they are read before. */
static void read_unit_attributes(Tree *t, Cursor c, const Abbreviation *a)
{
    const Attribute *list = abbreviation_attributes(&t->table, a);
    for (int pass = 0; pass < 2; pass++) {
        Cursor at = c;
        for (uint32_t i = 0; i < a->count && !at.is_bad; i++) {
            if (!list[i].name && !list[i].form) {
                cursor_skip(&at, list[i].skip);
                continue;
            }
            FormValue v = form_read(t->dies, &t->unit, &at, list[i].form, list[i].implicit);
            take_of_unit(t, list[i].name, &v);
        }
    }
}

static void put_together(const Tree *t, Die *d, const Raw *raw)
{
    uint64_t begin, end;
    if (d->tag != DW_TAG_subprogram)
        return;
    d->extent = 1;
    if (d->have & DIE_ADDRESS) {
        if (!form_address(t->dies, &t->unit, &raw->high, &end))
            end -= d->address;
        else
            end = raw->high.kind == FORM_NUMBER ? raw->high.number : 0;
        d->extent = end && end <= INT64_MAX ? end : 1;
    } else if (raw->ranges.kind &&
               !form_first_range(t->dies, &t->unit, &raw->ranges, &begin, &end)) {
        d->address = begin;
        d->extent = end > begin ? end - begin : 1;
        d->have |= DIE_ADDRESS;
    }
}

/* Its index; 0: no memory. */
static uint32_t keep(Tree *t, const Die *d, const Raw *raw)
{
    Dies *dies = t->dies;
    if (dies->count == dies->room) {
        uint32_t room = dies->room ? dies->room * 2 : 4096;
        Die *list = room <= DIES_MOST ? realloc(dies->list, room * sizeof *list) : NULL;
        if (!list) {
            fail(t, room <= DIES_MOST ? KEEL_ENOMEM : KEEL_ELIMIT);
            return 0;
        }
        dies->list = list;
        dies->room = room;
    }
    uint32_t index = dies->count++, *near = &dies->near[d->offset / DIES_NEAR];
    dies->list[index] = *d;
    dies->list[index].next = dies->count;
    *near = *near ? *near : index;
    for (int is_type = 0; is_type < 2; is_type++) {
        uint64_t signature = is_type ? raw->type_signature : raw->refers_signature;
        Pending p = {signature, index, is_type};
        if (signature)
            add(t, &t->pending, &p, sizeof p);
    }
    return index;
}

/* ---- one unit ---- */

typedef struct Levels {
    uint32_t open[DEPTH_MOST]; /* DIEs whose children are being read */
    int depth;
    uint64_t beside; /* levels inside of something that isn't kept */
} Levels;

static int is_kept(const Tree *t, const Levels *l, const Abbreviation *a)
{
    if (l->beside || l->depth == DEPTH_MOST || !a->is_wanted)
        return 0;
    return a->tag != DW_TAG_formal_parameter ||
           (l->depth && t->dies->list[l->open[l->depth - 1]].tag == DW_TAG_subroutine_type);
}

static void close_level(Tree *t, Levels *l)
{
    if (l->beside)
        l->beside--;
    else if (l->depth)
        t->dies->list[l->open[--l->depth]].next = t->dies->count;
}

/* One DIE; 0: the unit goes on. */
static int read_die(Tree *t, Cursor *c, const uint8_t *section, Levels *l)
{
    Die d = {.offset = (uint32_t)(t->base + (uint64_t)(c->at - section))};
    Raw raw = {0};
    uint64_t code = cursor_uleb(c);
    if (!code) {
        close_level(t, l);
        return !l->depth && !l->beside;
    }
    const Abbreviation *a = abbreviation_of(&t->table, code);
    if (!a || c->is_bad) {
        t->dies->is_broken = 1;
        return 1;
    }
    int is_first = t->dies->count == t->unit.first;
    if (is_first)
        read_unit_attributes(t, *c, a);
    d.tag = a->tag;
    read_attributes(t, c, a, &d, &raw);
    if (c->is_bad) {
        t->dies->is_broken = 1;
        return 1;
    }
    int kept = is_first || is_kept(t, l, a);
    if (kept) {
        put_together(t, &d, &raw);
        uint32_t index = keep(t, &d, &raw);
        if (t->failed)
            return 1;
        if (a->has_children)
            l->open[l->depth++] = index;
    } else if (a->has_children) {
        const uint8_t *unit = section + (t->unit_base - t->base);
        if (raw.sibling > (uint64_t)(c->at - unit) && raw.sibling < (uint64_t)(c->end - unit))
            c->at = unit + raw.sibling;
        else
            l->beside++;
    }
    return !l->depth && !l->beside;
}

static void read_unit(Tree *t, const DieSection *s, Cursor c, uint64_t abbreviations)
{
    Levels levels = {0};
    t->unit.first = t->dies->count;
    int rc =
        abbreviations_read(&t->table, &t->dies->sections[DIES_ABBREV], &t->unit, abbreviations);
    if (rc == KEEL_EIMAGE)
        t->dies->is_broken = 1;
    else if (rc)
        fail(t, rc);
    if (rc)
        return;
    while (c.at < c.end && !t->failed && !read_die(t, &c, s->data, &levels))
        ;
    levels.beside = 0;
    while (levels.depth)
        close_level(t, &levels);
    t->unit.end = t->dies->count;
    if (t->unit.end == t->unit.first || t->failed)
        return;
    if (dies_unit_count(t->dies) >= UNITS_MOST)
        fail(t, KEEL_ELIMIT);
    else
        add(t, &t->dies->units, &t->unit, sizeof t->unit);
}

static void read_section(Tree *t, const DieSection *s, uint64_t base, int is_types)
{
    if (!s->bytes)
        return; /* it isn't there: no place to count from */
    Cursor all = {s->data, s->data + s->bytes, 0};
    t->base = base;
    while (cursor_left(&all) && !t->failed && !t->dies->is_broken) {
        DieUnit u = {.offset_bytes = 4, .is_types = (uint8_t)is_types};
        t->unit_base = base + (uint64_t)(all.at - s->data);
        uint64_t bytes = cursor_number(&all, 4), abbreviations;
        if (bytes == 0xffffffff) {
            u.offset_bytes = 8;
            bytes = cursor_number(&all, 8);
        }
        if (all.is_bad || bytes > cursor_left(&all)) {
            t->dies->is_broken = 1;
            return;
        }
        Cursor c = {all.at, all.at + bytes, 0};
        all.at += bytes;
        t->unit_end = base + (uint64_t)(all.at - s->data);
        u.version = (uint16_t)cursor_number(&c, 2);
        uint64_t kind = is_types ? DW_UT_type : DW_UT_compile;
        if (u.version >= 5) {
            kind = cursor_number(&c, 1);
            u.address_bytes = (uint8_t)cursor_number(&c, 1);
            abbreviations = cursor_number(&c, u.offset_bytes);
        } else {
            abbreviations = cursor_number(&c, u.offset_bytes);
            u.address_bytes = (uint8_t)cursor_number(&c, 1);
        }
        if (c.is_bad || u.version < 2 || u.version > 5 ||
            (u.address_bytes != 4 && u.address_bytes != 8)) {
            t->dies->is_broken = 1;
            return;
        }
        if (kind == DW_UT_type || kind == DW_UT_split_type) {
            uint64_t signature = cursor_number(&c, 8), at = cursor_number(&c, u.offset_bytes);
            Signature one = {signature, 0};
            u.is_types = 1;
            if (at < t->unit_end - t->unit_base && t->unit_base + at <= UINT32_MAX)
                one.offset = (uint32_t)(t->unit_base + at);
            add(t, &t->signatures, &one, sizeof one);
        } else if (kind == DW_UT_skeleton || kind == DW_UT_split_compile) {
            cursor_skip(&c, 8);
            u.is_split = 1;
        }
        u.strings_base = u.addresses_base = u.version < 5 ? 0 : u.offset_bytes * 2;
        u.ranges_base = u.offset_bytes == 4 ? 12 : 20;
        t->unit = u;
        read_unit(t, s, c, abbreviations);
    }
}

/* ---- all of it ---- */

static int by_signature(const void *a, const void *b)
{
    const Signature *x = a, *y = b;
    return (x->signature > y->signature) - (x->signature < y->signature);
}

static void resolve_signatures(Tree *t)
{
    size_t count = t->signatures.bytes / sizeof(Signature),
           pending = t->pending.bytes / sizeof(Pending);
    if (!count || !pending)
        return;
    qsort(t->signatures.data, count, sizeof(Signature), by_signature);
    const Pending *list = (const Pending *)(const void *)t->pending.data;
    for (size_t i = 0; i < pending; i++) {
        Signature key = {.signature = list[i].signature};
        const Signature *found = bsearch(&key, t->signatures.data, count, sizeof key, by_signature);
        Die *d = &t->dies->list[list[i].die];
        if (found)
            *(list[i].is_type ? &d->type : &d->refers) = found->offset;
    }
}

int dies_read(Dies *dies)
{
    const DieSection *info = &dies->sections[DIES_INFO], *types = &dies->sections[DIES_TYPES];
    Tree t = {.dies = dies};
    const Die none = {0};
    const Raw nothing = {0};
    if (info->bytes > UINT32_MAX || types->bytes > UINT32_MAX - info->bytes) {
        dies->is_broken = 1;
        return KEEL_OK;
    }
    dies->near_count = (size_t)(info->bytes + types->bytes) / DIES_NEAR + 1;
    dies->near = calloc(dies->near_count, sizeof *dies->near);
    if (!dies->near)
        return KEEL_ENOMEM;
    keep(&t, &none, &nothing);
    dies->near[0] = 0;
    if (info->bytes)
        read_section(&t, info, 0, 0);
    if (types->bytes)
        read_section(&t, types, info->bytes, 1);
    resolve_signatures(&t);
    abbreviations_done(&t.table);
    buf_done(&t.signatures);
    buf_done(&t.pending);
    return t.failed;
}
