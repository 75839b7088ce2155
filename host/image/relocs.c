/* Collects what functions refer to: relocations that the link kept, and distances to other
 * functions that the assembler had resolved already. Owns nothing but the result; one thread. */
#include "image/relocs.h"

#include <stdlib.h>
#include <string.h>

#include "image/names.h"
#include "image/x86.h"

typedef struct Kind {
    uint8_t width, relative, thread, known;
} Kind;

/* The x86-64 psABI's table of relocations. */
static Kind kind_of(uint32_t type)
{
    switch (type) {
    case R_X86_64_64:
    case R_X86_64_SIZE64:
    case R_X86_64_GOTOFF64:
    case R_X86_64_GOT64:
    case R_X86_64_PLTOFF64:
        return (Kind){8, 0, 0, 1};
    case R_X86_64_PC64:
    case R_X86_64_GOTPC64:
    case R_X86_64_GOTPCREL64:
        return (Kind){8, 1, 0, 1};
    case R_X86_64_32:
    case R_X86_64_32S:
    case R_X86_64_GOT32:
    case R_X86_64_SIZE32:
        return (Kind){4, 0, 0, 1};
    case R_X86_64_PC32:
    case R_X86_64_PLT32:
    case R_X86_64_GOTPCREL:
    case R_X86_64_GOTPCRELX:
    case R_X86_64_REX_GOTPCRELX:
    case R_X86_64_GOTPC32:
        return (Kind){4, 1, 0, 1};
    case R_X86_64_16:
        return (Kind){2, 0, 0, 1};
    case R_X86_64_PC16:
        return (Kind){2, 1, 0, 1};
    case R_X86_64_8:
        return (Kind){1, 0, 0, 1};
    case R_X86_64_PC8:
        return (Kind){1, 1, 0, 1};
    case R_X86_64_TLSGD:
    case R_X86_64_TLSLD:
    case R_X86_64_GOTTPOFF:
    case R_X86_64_GOTPC32_TLSDESC:
        return (Kind){4, 1, 1, 1};
    case R_X86_64_DTPOFF32:
    case R_X86_64_TPOFF32:
        return (Kind){4, 0, 1, 1};
    case R_X86_64_DTPOFF64:
    case R_X86_64_TPOFF64:
    case R_X86_64_DTPMOD64:
        return (Kind){8, 0, 1, 1};
    default:
        return (Kind){0};
    }
}

static uint64_t read_distance(const uint8_t *at, unsigned width)
{
    int64_t value = 0;
    memcpy(&value, at, width);
    unsigned shift = 64 - 8 * width;
    return (uint64_t)((int64_t)((uint64_t)value << shift) >> shift);
}

static int is_named(const Symbol *symbol)
{
    return !symbol->is_section && !name_is_label(symbol->name);
}

/* `end`: where the machine counts distances from. `field`: its bytes in the file. */
static int resolve(const Symbols *s, const Elf64_Rela *r, uint64_t end, const uint8_t *field,
                   Ref *ret)
{
    uint32_t index = ELF64_R_SYM(r->r_info), type = ELF64_R_TYPE(r->r_info);
    Kind kind = kind_of(type);
    if (!kind.known || index >= s->count)
        return 0;
    const Symbol *symbol = &s->symbols[index];
    uint64_t shift = kind.relative ? end - r->r_offset : 0, addend = (uint64_t)r->r_addend + shift;
    ret->width = kind.width;
    ret->symbol = index;
    ret->target = addend;
    ret->kind = REF_SYMBOL;
    if (type == R_X86_64_TLSLD) {
        ret->kind = REF_MODULE;
    } else if (kind.thread && !is_named(symbol)) {
        ret->kind = REF_THREAD;
        ret->target = addend + (symbol->is_section && symbol->section
                                    ? s->sections[symbol->section].address - s->thread_block
                                    : symbol->address);
    } else if (!is_named(symbol)) {
        ret->kind = REF_PLACE;
        /* The bytes are what runs; linkers differ in what they say of merged sections. */
        ret->target = kind.relative && field && kind.width == 4 ? read_distance(field, 4) + end
                                                                : symbol->address + addend;
    }
    return 1;
}

static int add(Refs *refs, const Ref *ref)
{
    if (refs->count == refs->room) {
        size_t room = refs->room ? refs->room * 2 : 4096;
        Ref *list = realloc(refs->list, room * sizeof *list);
        if (!list)
            return KEEL_ENOMEM;
        refs->list = list;
        refs->room = room;
    }
    refs->list[refs->count++] = *ref;
    return KEEL_OK;
}

typedef struct Walk {
    const Symbols *s;
    Refs *refs;
    const Symbol *function;
    const uint8_t *code;
    const Elf64_Rela *next, *last;
    size_t first;     /* of this function's refs */
    uint32_t line_at; /* of the last `mov $n, %edx` of this block, 0: none */
    uint32_t solid;   /* end of the last instruction that is no padding */
} Walk;

/* assert() passes the line in edx; nothing else of it is a number. */
static int note_line(Walk *w, const Ref *ref)
{
    const char *name = w->s->symbols[ref->symbol].name;
    size_t n = strlen("__assert_fail");
    if (!w->line_at || ref->kind != REF_SYMBOL || strncmp(name, "__assert_fail", n) ||
        (name[n] && name[n] != '@'))
        return KEEL_OK;
    Ref line = {.at = w->line_at, .width = 4, .kind = REF_LINE};
    /* In order: behind what lies before it. */
    int rc = add(w->refs, &line);
    for (size_t i = w->refs->count - 1; !rc && i > w->first; i--) {
        Ref *before = &w->refs->list[i - 1];
        if (before->at <= line.at)
            break;
        before[1] = *before;
        *before = line;
    }
    w->line_at = 0;
    return rc;
}

static int take_relocs(Walk *w, uint32_t at, uint32_t bytes, const X86Insn *insn, int *ret_covered)
{
    uint64_t start = w->function->address + at;
    int rc = KEEL_OK;
    for (; !rc && w->next < w->last && w->next->r_offset - start < bytes; w->next++) {
        Ref ref = {.at = (uint32_t)(w->next->r_offset - w->function->address)};
        uint32_t room = (uint32_t)w->function->bytes - ref.at;
        uint64_t end = insn ? start + bytes : w->next->r_offset + 4;
        if (!resolve(w->s, w->next, end, room >= 4 ? w->code + ref.at : NULL, &ref) ||
            ref.width > room)
            continue;
        if (insn && ref.at == at + insn->relative_at) {
            *ret_covered = insn->relative_at != 0;
            ref.load_bytes = insn->load_bytes;
            ref.is_address = insn->is_address;
        }
        if (insn && insn->is_call)
            rc = note_line(w, &ref);
        rc = rc ? rc : add(w->refs, &ref);
    }
    return rc;
}

/* A distance that no relocation covers is the assembler's: inside of the function it stays as it
 * is. */
static int take_distance(Walk *w, uint32_t at, const X86Insn *insn)
{
    Ref ref = {.at = at + insn->relative_at,
               .width = 4,
               .kind = REF_PLACE,
               .load_bytes = insn->load_bytes,
               .is_address = insn->is_address};
    ref.target = w->function->address + at + insn->bytes + read_distance(w->code + ref.at, 4);
    return ref.target - w->function->address < w->function->bytes ? KEEL_OK : add(w->refs, &ref);
}

static int is_padding(const uint8_t *code, const X86Insn *insn)
{
    size_t at = 0;
    while (at + 1 < insn->bytes && (code[at] == 0x66 || code[at] == 0x2e))
        at++;
    return code[at] == 0x90 || code[at] == 0xcc ||
           (at + 1 < insn->bytes && code[at] == 0x0f && code[at + 1] == 0x1f);
}

static int walk_code(Walk *w)
{
    uint32_t bytes = (uint32_t)w->function->bytes, at = 0;
    int rc = KEEL_OK;
    while (!rc && at < bytes) {
        X86Insn insn;
        int covered = 0;
        if (x86_decode(w->code + at, bytes - at, &insn)) /* data among code: only relocations */
            return take_relocs(w, at, bytes - at, NULL, &covered);
        rc = take_relocs(w, at, insn.bytes, &insn, &covered);
        if (!rc && insn.relative_at && !covered)
            rc = take_distance(w, at, &insn);
        if (insn.leaves)
            w->line_at = 0;
        if (insn.line_at)
            w->line_at = at + insn.line_at;
        if (w->function->is_implied && !is_padding(w->code + at, &insn))
            w->solid = at + insn.bytes;
        at += insn.bytes;
    }
    return rc;
}

static int collect_one(const Symbols *s, const Keep *keep, size_t nth, uint64_t *budget, Refs *ret)
{
    const Symbol *f = &s->symbols[s->functions[nth]];
    const Section *in = &s->sections[f->section];
    ret->first[nth] = (uint32_t)ret->count;
    if (f->bytes > *budget || f->bytes > UINT32_MAX)
        return KEEL_ELIMIT;
    *budget -= f->bytes;
    if (keep_has(keep, nth)) {
        ret->bytes[nth] = keep->list[nth].bytes;
        return KEEL_OK;
    }
    Walk w = {.s = s,
              .refs = ret,
              .first = ret->count,
              .function = f,
              .code = in->data + (f->address - in->address),
              .next = in->relocs + symbols_relocs_from(in, f->address),
              .last = in->relocs + in->reloc_count};
    int rc = walk_code(&w);
    ret->bytes[nth] = f->is_implied && w.solid ? w.solid : (uint32_t)f->bytes;
    return rc;
}

int refs_collect(const Symbols *s, const Keep *keep, uint64_t *budget, Refs *ret, Error *err)
{
    Refs refs = {0};
    refs.first = calloc(s->function_count + 1, sizeof *refs.first);
    refs.bytes = calloc(s->function_count + 1, sizeof *refs.bytes);
    int rc = refs.first && refs.bytes ? KEEL_OK : KEEL_ENOMEM;
    for (size_t i = 0; !rc && i < s->function_count; i++)
        rc = collect_one(s, keep, i, budget, &refs);
    if (rc) {
        refs_done(&refs);
        return rc == KEEL_ELIMIT ? err_set(err, KEEL_EIMAGE,
                                           "its functions overlap: it is damaged: build it again")
                                 : err_set(err, rc, "no memory to read its code");
    }
    refs.first[s->function_count] = (uint32_t)refs.count;
    *ret = refs;
    return KEEL_OK;
}

void refs_done(Refs *refs)
{
    if (!refs)
        return;
    free(refs->list);
    free(refs->first);
    free(refs->bytes);
    *refs = (Refs){0};
}

int ref_of_data(const Symbols *s, const Section *in, const Elf64_Rela *r, uint64_t base, Ref *ret)
{
    uint64_t into = r->r_offset - in->address;
    if (into >= in->bytes || !in->data)
        return 0;
    *ret = (Ref){0};
    /* Tables of distances count from their own beginning. */
    const uint8_t *field = in->bytes - into >= 4 ? in->data + into : NULL;
    if (!resolve(s, r, base, field, ret) || ret->width > in->bytes - into)
        return 0;
    return 1;
}
