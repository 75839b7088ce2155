/* Walks the units of the debug information: functions, statics with the function around them, and
 * the places of types. Owns nothing but the reader's lists; one thread. */
#include "image/dwarf_read.h"

#include <dwarf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MOST = 48, PREFIX_MOST = 512 };

/* Where a walk is. */
typedef struct Scope {
    char prefix[PREFIX_MOST];
    uint32_t prefix_text; /* the same in the maker's strings; 0: none */
    uint64_t function;    /* stands for the enclosing function; 0: none */
    uint32_t function_name;
} Scope;

static int take_attribute(Dwarf_Attribute *a, void *to)
{
    Die *d = to;
    Dwarf_Word word;
    bool flag = false;
    switch (dwarf_whatattr(a)) {
    case DW_AT_name:
        d->name = *a, d->have |= HAVE_NAME;
        break;
    case DW_AT_linkage_name:
    case DW_AT_MIPS_linkage_name:
        d->linkage = *a, d->have |= HAVE_LINKAGE;
        break;
    case DW_AT_type:
        d->type = *a, d->have |= HAVE_TYPE;
        break;
    case DW_AT_specification:
        d->specification = *a, d->have |= HAVE_SPECIFICATION;
        break;
    case DW_AT_abstract_origin:
        d->origin = *a, d->have |= HAVE_ORIGIN;
        break;
    case DW_AT_low_pc:
        d->low_pc = *a, d->have |= HAVE_LOW_PC;
        break;
    case DW_AT_location:
        d->location = *a, d->have |= HAVE_LOCATION;
        break;
    case DW_AT_data_member_location:
        d->member = *a, d->have |= HAVE_MEMBER;
        break;
    case DW_AT_count:
        d->count = *a, d->have |= HAVE_COUNT;
        break;
    case DW_AT_upper_bound:
        d->upper = *a, d->have |= HAVE_UPPER;
        break;
    case DW_AT_const_value:
        d->value = *a, d->have |= HAVE_VALUE;
        break;
    case DW_AT_decl_file:
        d->file = *a, d->have |= HAVE_FILE;
        break;
    case DW_AT_decl_line:
        d->line = dwarf_formudata(a, &word) || word > UINT32_MAX ? 0 : (uint32_t)word;
        break;
    case DW_AT_byte_size:
        d->has_bytes = !dwarf_formudata(a, &word);
        d->bytes = d->has_bytes ? word : 0;
        break;
    case DW_AT_bit_size:
        d->bits = dwarf_formudata(a, &word) ? 0 : word;
        break;
    case DW_AT_bit_offset:
        d->bit_offset = dwarf_formudata(a, &word) ? 0 : word, d->have |= HAVE_BIT_OFFSET;
        break;
    case DW_AT_data_bit_offset:
        d->bit_offset = dwarf_formudata(a, &word) ? 0 : word, d->have |= HAVE_DATA_BIT_OFFSET;
        break;
    case DW_AT_encoding:
        d->encoding = dwarf_formudata(a, &word) ? 0 : word;
        break;
    case DW_AT_declaration:
        if (!dwarf_formflag(a, &flag) && flag)
            d->have |= HAVE_DECLARATION;
        break;
    case DW_AT_external:
        if (!dwarf_formflag(a, &flag) && flag)
            d->have |= HAVE_EXTERNAL;
        break;
    default:
        break;
    }
    return DWARF_CB_OK;
}

void die_read(Dwarf_Die *die, Die *ret)
{
    ret->die = *die;
    ret->have = ret->line = 0;
    ret->bytes = ret->bits = ret->bit_offset = ret->encoding = 0;
    ret->has_bytes = 0;
    dwarf_getattrs(die, take_attribute, ret, 0);
}

const char *die_name(Die *die)
{
    return die->have & HAVE_NAME ? dwarf_formstring(&die->name) : NULL;
}

static void fail(Reader *r, int code)
{
    r->failed = r->failed ? r->failed : code;
}

static uint32_t text(Reader *r, const char *from)
{
    return from ? anatomy_text(r->maker, from, strlen(from)) : 0;
}

/* Line tables are parsed only for units that define something here. */
static uint32_t file_name(Reader *r, const Die *d)
{
    Dwarf_Word index;
    Dwarf_Attribute a = d->file;
    if (!(d->have & HAVE_FILE) || dwarf_formudata(&a, &index))
        return 0;
    if (!r->files_read) {
        r->files_read = 1;
        if (dwarf_getsrcfiles(&r->unit, &r->files, &r->file_count))
            r->file_count = 0;
        r->file_names = calloc(r->file_count + 1, sizeof *r->file_names);
        if (!r->file_names)
            fail(r, KEEL_ENOMEM);
    }
    if (!r->file_names || index >= r->file_count)
        return 0;
    if (!r->file_names[index])
        r->file_names[index] = text(r, dwarf_filesrc(r->files, index, NULL, NULL));
    return r->file_names[index];
}

/* Name, scope and place of a function may stand at the declaration that it points to. */
static void follow(Reader *r, Die *d, const char **name, const char **linkage, uint32_t *file,
                   uint32_t *line, Dwarf_Off *declared)
{
    Die at = *d;
    for (int i = 0; i < 4; i++) {
        Dwarf_Die next;
        if (!*name)
            *name = die_name(&at);
        if (!*linkage && at.have & HAVE_LINKAGE)
            *linkage = dwarf_formstring(&at.linkage);
        if (!*line)
            *line = at.line;
        if (!*file) /* a definition may leave out the file that its declaration names */
            *file = file_name(r, &at);
        Dwarf_Attribute *to = at.have & HAVE_ORIGIN          ? &at.origin
                              : at.have & HAVE_SPECIFICATION ? &at.specification
                                                             : NULL;
        if (!to || !dwarf_formref_die(to, &next))
            return;
        *declared = dwarf_dieoffset(&next);
        die_read(&next, &at);
    }
}

static uint32_t prefix_of(const Reader *r, Dwarf_Off offset)
{
    const TypeTable *t = &r->types;
    if (!t->room)
        return 0;
    for (size_t i = offset * 0x9e3779b97f4a7c15u >> 20 & (t->room - 1);;
         i = (i + 1) & (t->room - 1))
        if (t->slots[i].offset == offset || !t->slots[i].offset)
            return t->slots[i].offset ? t->slots[i].prefix : 0;
}

/* A function in several pieces has ranges; the first is its beginning. */
static int first_address(Die *d, Dwarf_Addr *ret)
{
    Dwarf_Addr base, end;
    if (d->have & HAVE_LOW_PC)
        return dwarf_formaddr(&d->low_pc, ret);
    return dwarf_ranges(&d->die, 0, &base, ret, &end) > 0 ? 0 : -1;
}

static void take_function(Reader *r, Die *d, const Scope *scope, Scope *inner)
{
    const char *name = NULL, *linkage = NULL;
    uint32_t file = 0, line = 0;
    Dwarf_Off declared = 0;
    Dwarf_Addr low;
    follow(r, d, &name, &linkage, &file, &line, &declared);
    if (!name)
        return;
    uint32_t prefix = declared ? prefix_of(r, declared) : 0;
    const char *around = prefix ? r->maker->strings.data + prefix : scope->prefix;
    char whole[PREFIX_MOST + 300];
    snprintf(whole, sizeof whole, "%.500s%.290s", around, name);
    int says_more = linkage || *around; /* `around` moves when text is added */
    const char *key = linkage ? linkage : whole;
    inner->function = hash_bytes(key, strlen(key)).low | 1;
    inner->function_name = text(r, whole);
    snprintf(inner->prefix, sizeof inner->prefix, "%.500s::", whole);
    inner->prefix_text = text(r, inner->prefix);
    if (first_address(d, &low) || !low)
        return;
    Line at = {low, says_more ? inner->function_name : 0, file, line};
    if (buf_add(&r->lines, &at, sizeof at))
        fail(r, KEEL_ENOMEM);
}

/* The address in `DW_OP_addr x` or `DW_OP_addrx n`. */
static int static_address(Die *d, Dwarf_Addr *ret)
{
    Dwarf_Block block;
    Dwarf_Op *ops;
    size_t count;
    Dwarf_Attribute address;
    if (dwarf_formblock(&d->location, &block))
        return -1;
    if (block.length == 9 && block.data[0] == DW_OP_addr) {
        memcpy(ret, block.data + 1, 8);
        return 0;
    }
    if (!block.length || (block.data[0] != DW_OP_addrx && block.data[0] != DW_OP_GNU_addr_index))
        return -1;
    if (dwarf_getlocation(&d->location, &ops, &count) || count != 1 ||
        dwarf_getlocation_attr(&d->location, ops, &address))
        return -1;
    return dwarf_formaddr(&address, ret);
}

/* What kind of number a variable is, through names for types and qualifiers. */
static uint32_t value_of(const Die *variable)
{
    Die at = *variable;
    for (int i = 0; i < 8; i++) {
        Dwarf_Die type;
        Dwarf_Attribute *to = at.have & HAVE_TYPE            ? &at.type
                              : at.have & HAVE_SPECIFICATION ? &at.specification
                                                             : NULL;
        if (!to || !dwarf_formref_die(to, &type))
            break;
        die_read(&type, &at);
        int tag = dwarf_tag(&type);
        if (tag == DW_TAG_variable || tag == DW_TAG_member)
            continue;
        if (tag == DW_TAG_enumeration_type)
            return VALUE_SIGNED;
        if (tag == DW_TAG_base_type)
            return at.encoding == DW_ATE_float     ? VALUE_FLOAT
                   : at.encoding == DW_ATE_boolean ? VALUE_BOOL
                   : at.encoding == DW_ATE_signed || at.encoding == DW_ATE_signed_char
                       ? VALUE_SIGNED
                   : at.encoding == DW_ATE_unsigned || at.encoding == DW_ATE_unsigned_char
                       ? VALUE_UNSIGNED
                       : VALUE_NONE;
        if (tag != DW_TAG_typedef && tag != DW_TAG_const_type && tag != DW_TAG_volatile_type)
            break;
    }
    return VALUE_NONE;
}

static void take_variable(Reader *r, Die *d, const Scope *scope)
{
    const char *name = NULL, *linkage = NULL;
    uint32_t file = 0, line = 0;
    Dwarf_Off declared = 0;
    Dwarf_Addr address;
    if (!(d->have & HAVE_LOCATION) || static_address(d, &address))
        return;
    follow(r, d, &name, &linkage, &file, &line, &declared);
    Owner o = {.address = address,
               .function = scope->function,
               .name = scope->function_name,
               .file = file,
               .line = line,
               .value = value_of(d)};
    if (name && (linkage || scope->prefix_text || !r->is_c)) {
        uint32_t prefix = declared ? prefix_of(r, declared) : 0;
        char whole[PREFIX_MOST + 300];
        snprintf(whole, sizeof whole, "%.500s%.290s",
                 scope->function ? ""
                 : prefix        ? r->maker->strings.data + prefix
                                 : scope->prefix,
                 name);
        o.pretty = text(r, whole);
    }
    if (buf_add(&r->owners, &o, sizeof o))
        fail(r, KEEL_ENOMEM);
}

static void walk(Reader *r, Dwarf_Die *first, const Scope *scope, int depth);

static void walk_inside(Reader *r, Dwarf_Die *die, const Scope *scope, int depth)
{
    Dwarf_Die child;
    if (depth < DEPTH_MOST && !dwarf_child(die, &child))
        walk(r, &child, scope, depth + 1);
}

static void found_type(Reader *r, Die *d, const Scope *scope)
{
    Dwarf_Off offset = dwarf_dieoffset(&d->die);
    if (scope->prefix_text)
        types_scope(r, offset, scope->prefix_text);
    if (buf_add(&r->found, &offset, sizeof offset))
        fail(r, KEEL_ENOMEM);
}

static void walk_named(Reader *r, Die *d, const Scope *scope, const char *separator, int depth)
{
    const char *name = die_name(d);
    Scope inner = *scope;
    if (name) {
        snprintf(inner.prefix, sizeof inner.prefix, "%.300s%.200s%s", scope->prefix, name,
                 separator);
        inner.prefix_text = text(r, inner.prefix);
    }
    walk_inside(r, &d->die, &inner, depth);
}

static void take(Reader *r, Dwarf_Die *die, const Scope *scope, int depth)
{
    Die d;
    Scope inner = *scope;
    int tag = dwarf_tag(die);
    switch (tag) {
    case DW_TAG_subprogram:
        die_read(die, &d);
        if (scope->prefix_text)
            types_scope(r, dwarf_dieoffset(die), scope->prefix_text);
        if (d.have & HAVE_DECLARATION)
            return;
        take_function(r, &d, scope, &inner);
        walk_inside(r, die, &inner, depth);
        return;
    case DW_TAG_member: /* a static one; its definition points here */
    case DW_TAG_variable:
        die_read(die, &d);
        if (d.have & HAVE_DECLARATION && scope->prefix_text)
            types_scope(r, dwarf_dieoffset(die), scope->prefix_text);
        if (d.have & HAVE_SPECIFICATION && !scope->function) {
            Dwarf_Off offset = dwarf_dieoffset(die);
            if (buf_add(&r->later, &offset, sizeof offset))
                fail(r, KEEL_ENOMEM);
            return;
        }
        take_variable(r, &d, scope);
        return;
    case DW_TAG_lexical_block:
        walk_inside(r, die, scope, depth);
        return;
    case DW_TAG_namespace:
        die_read(die, &d);
        walk_named(r, &d, scope, "::", depth);
        return;
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_union_type:
        die_read(die, &d);
        found_type(r, &d, scope);
        if (dwarf_haschildren(die) && !(d.have & HAVE_DECLARATION))
            walk_named(r, &d, scope, "::", depth);
        return;
    case DW_TAG_enumeration_type:
    case DW_TAG_typedef:
        die_read(die, &d);
        found_type(r, &d, scope);
        return;
    default:
        return;
    }
}

static void walk(Reader *r, Dwarf_Die *first, const Scope *scope, int depth)
{
    Dwarf_Die die = *first;
    do {
        take(r, &die, scope, depth);
        if (r->failed)
            return;
        int rc = dwarf_siblingof(&die, &die);
        if (rc < 0)
            fail(r, KEEL_EIMAGE);
        if (rc)
            return;
    } while (1);
}

static void take_later(Reader *r)
{
    const Scope none = {0};
    for (size_t i = 0; i < r->later.bytes / sizeof(Dwarf_Off) && !r->failed; i++) {
        Dwarf_Off offset;
        Dwarf_Die die;
        Die d;
        memcpy(&offset, r->later.data + i * sizeof offset, sizeof offset);
        if (!dwarf_offdie(r->dwarf, offset, &die))
            continue;
        die_read(&die, &d);
        take_variable(r, &d, &none);
    }
    r->later.bytes = 0;
}

/* "GNU GIMPLE" is what gcc calls the unit that the link made. */
static void check_producer(Reader *r, Dwarf_Die *unit)
{
    Dwarf_Attribute a;
    const char *producer = dwarf_formstring(dwarf_attr(unit, DW_AT_producer, &a));
    if (producer && (!strncmp(producer, "GNU GIMPLE", 10) || strstr(producer, " -flto")))
        r->maker->flags |= ANATOMY_LTO;
    if (dwarf_hasattr(unit, DW_AT_dwo_name) || dwarf_hasattr(unit, DW_AT_GNU_dwo_name))
        r->maker->flags |= ANATOMY_SPLIT;
}

static void add_types(Reader *r)
{
    const Dwarf_Off *offsets = (const Dwarf_Off *)r->found.data;
    size_t count = r->found.bytes / sizeof *offsets;
    for (size_t i = 0; i < count && !r->failed; i++) {
        Dwarf_Die die;
        if (dwarf_offdie(r->dwarf, offsets[i], &die))
            types_add(r, &die, NULL);
    }
}

int dwarf_read_units(Reader *r)
{
    Dwarf_CU *cu = NULL;
    Dwarf_Half version;
    uint8_t kind;
    int rc = 0;
    while (!r->failed &&
           !(rc = dwarf_get_units(r->dwarf, cu, &cu, &version, &kind, &r->unit, NULL))) {
        Scope scope = {0};
        int tag = dwarf_tag(&r->unit);
        if (kind == DW_UT_split_type || (kind == DW_UT_type && version < 5))
            continue; /* in a section of their own; reached by those who use them */
        check_producer(r, &r->unit);
        int language = dwarf_srclang(&r->unit);
        r->is_c = language == DW_LANG_C89 || language == DW_LANG_C99 || language == DW_LANG_C11 ||
                  language == DW_LANG_C;
        if (r->maker->flags & ANATOMY_SPLIT) /* looking further would open other files */
            break;
        if (tag == DW_TAG_compile_unit || tag == DW_TAG_partial_unit || tag == DW_TAG_type_unit)
            walk_inside(r, &r->unit, &scope, 0);
        take_later(r);
        free(r->file_names);
        r->file_names = NULL;
        r->files_read = 0;
    }
    free(r->file_names);
    r->file_names = NULL;
    if (rc < 0)
        fail(r, KEEL_EIMAGE);
    if (!(r->maker->flags & (ANATOMY_LTO | ANATOMY_SPLIT)))
        add_types(r);
    return r->failed;
}
