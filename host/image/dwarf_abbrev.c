/* Compiles tables of abbreviations. Owns nothing but them. */
#include "image/dwarf_abbrev.h"

#include <dwarf.h>

#include "base/err.h"
#include "image/dwarf_forms.h"

enum { ATTRIBUTES_MOST = 1 << 20 };

static int is_wanted_tag(unsigned tag)
{
    switch (tag) {
    case DW_TAG_inlined_subroutine:
    case DW_TAG_call_site:
    case DW_TAG_call_site_parameter:
    case DW_TAG_GNU_call_site:
    case DW_TAG_GNU_call_site_parameter:
    case DW_TAG_label:
    case DW_TAG_unspecified_parameters:
    case DW_TAG_template_type_parameter:
    case DW_TAG_template_value_parameter:
    case DW_TAG_GNU_template_template_param:
    case DW_TAG_GNU_template_parameter_pack:
    case DW_TAG_GNU_formal_parameter_pack:
    case DW_TAG_imported_declaration:
    case DW_TAG_imported_module:
    case DW_TAG_imported_unit:
        return 0;
    default:
        return 1;
    }
}

static int is_wanted(unsigned name)
{
    switch (name) {
    case DW_AT_sibling:
    case DW_AT_name:
    case DW_AT_linkage_name:
    case DW_AT_MIPS_linkage_name:
    case DW_AT_type:
    case DW_AT_specification:
    case DW_AT_abstract_origin:
    case DW_AT_signature:
    case DW_AT_low_pc:
    case DW_AT_high_pc:
    case DW_AT_ranges:
    case DW_AT_location:
    case DW_AT_data_member_location:
    case DW_AT_count:
    case DW_AT_upper_bound:
    case DW_AT_const_value:
    case DW_AT_decl_file:
    case DW_AT_decl_line:
    case DW_AT_byte_size:
    case DW_AT_bit_size:
    case DW_AT_bit_offset:
    case DW_AT_data_bit_offset:
    case DW_AT_encoding:
    case DW_AT_declaration:
    case DW_AT_external:
    case DW_AT_artificial:
        return 1;
    default:
        return 0;
    }
}

static int is_wanted_of_unit(unsigned name)
{
    switch (name) {
    case DW_AT_comp_dir:
    case DW_AT_producer:
    case DW_AT_language:
    case DW_AT_stmt_list:
    case DW_AT_str_offsets_base:
    case DW_AT_addr_base:
    case DW_AT_GNU_addr_base:
    case DW_AT_rnglists_base:
    case DW_AT_dwo_name:
    case DW_AT_GNU_dwo_name:
        return 1;
    default:
        return is_wanted(name);
    }
}

static int is_unit_tag(unsigned tag)
{
    return tag == DW_TAG_compile_unit || tag == DW_TAG_partial_unit || tag == DW_TAG_type_unit ||
           tag == DW_TAG_skeleton_unit;
}

static int compile_attribute(Abbreviations *t, Abbreviation *a, const DieUnit *unit, uint64_t name,
                             uint64_t form, int64_t implicit)
{
    int wanted = !a->is_wanted         ? name == DW_AT_sibling
                 : is_unit_tag(a->tag) ? is_wanted_of_unit((unsigned)name)
                                       : is_wanted((unsigned)name);
    int bytes = form_bytes((unsigned)form, unit);
    Attribute *last =
        a->count ? (Attribute *)(void *)t->attributes.data + a->first + a->count - 1 : NULL;
    if (!wanted && bytes >= 0) {
        if (last && !last->name && !last->form) {
            last->skip += (uint32_t)bytes;
            return KEEL_OK;
        }
        if (!bytes)
            return KEEL_OK;
        name = form = 0;
    }
    Attribute one = {.name = wanted && name <= UINT16_MAX ? (uint16_t)name : 0,
                     .form = form <= UINT16_MAX ? (uint16_t)form : UINT16_MAX,
                     .skip = bytes > 0 ? (uint32_t)bytes : 0,
                     .implicit = implicit};
    a->count++;
    return t->attributes.bytes / sizeof one >= ATTRIBUTES_MOST
               ? KEEL_ELIMIT
               : buf_add(&t->attributes, &one, sizeof one);
}

static int compile(Abbreviations *t, const DieUnit *unit, Cursor *c)
{
    int rc = KEEL_OK;
    uint64_t code;
    while (!rc && (code = cursor_uleb(c)) && !c->is_bad) {
        Abbreviation a = {.code = code,
                          .first = (uint32_t)(t->attributes.bytes / sizeof(Attribute))};
        uint64_t tag = cursor_uleb(c);
        a.tag = tag <= UINT16_MAX ? (uint16_t)tag : 0;
        a.has_children = cursor_number(c, 1) != 0;
        a.is_wanted = (uint8_t)is_wanted_tag(a.tag);
        while (!rc) {
            uint64_t name = cursor_uleb(c), form = cursor_uleb(c);
            int64_t implicit = form == DW_FORM_implicit_const ? cursor_sleb(c) : 0;
            if (c->is_bad || (!name && !form))
                break;
            rc = compile_attribute(t, &a, unit, name, form, implicit);
        }
        rc = rc ? rc : buf_add(&t->list, &a, sizeof a);
    }
    return rc ? rc : c->is_bad ? KEEL_EIMAGE : KEEL_OK;
}

/* That of the unit before is often the same. */
int abbreviations_read(Abbreviations *t, const DieSection *section, const DieUnit *unit,
                       uint64_t at)
{
    if (t->at == at + 1 && t->of.version == unit->version &&
        t->of.offset_bytes == unit->offset_bytes && t->of.address_bytes == unit->address_bytes)
        return KEEL_OK;
    t->list.bytes = t->attributes.bytes = 0;
    t->at = 0;
    if (at >= section->bytes)
        return KEEL_EIMAGE;
    Cursor c = {section->data + at, section->data + section->bytes, 0};
    int rc = compile(t, unit, &c);
    if (rc)
        return rc;
    t->at = at + 1;
    t->of = *unit;
    return KEEL_OK;
}

void abbreviations_done(Abbreviations *t)
{
    buf_done(&t->list);
    buf_done(&t->attributes);
}

const Abbreviation *abbreviation_of(const Abbreviations *t, uint64_t code)
{
    const Abbreviation *list = (const Abbreviation *)(const void *)t->list.data;
    size_t count = t->list.bytes / sizeof *list;
    if (code - 1 < count && list[code - 1].code == code) /* as all compilers number them */
        return &list[code - 1];
    for (size_t i = 0; i < count; i++)
        if (list[i].code == code)
            return &list[i];
    return NULL;
}
