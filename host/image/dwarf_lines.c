/* Names of source files, from the heads of line tables (DWARF 2 to 5). The tables themselves are
 * not read. Works on the list's sections; one thread. */
#include <dwarf.h>
#include <stdio.h>
#include <string.h>

#include "image/dwarf_cursor.h"
#include "image/dwarf_dies.h"

enum { FILES_MOST = 1 << 20, FORMATS_MOST = 16 };

/* What was found until it failed is still used. */
static int add_file(Buf *list, const char *folder, const char *name)
{
    DieFile file = {folder, name};
    return list->bytes / sizeof file >= FILES_MOST || buf_add(list, &file, sizeof file);
}

static const char *folder_at(const Buf *folders, uint64_t index)
{
    if (index >= folders->bytes / sizeof(DieFile))
        return NULL;
    return ((const DieFile *)(const void *)folders->data + index)->name;
}

static const char *section_text(const DieSection *s, uint64_t offset)
{
    if (offset >= s->bytes)
        return NULL;
    Cursor c = {s->data + offset, s->data + s->bytes, 0};
    return cursor_text(&c);
}

/* One value of a table of DWARF 5; `*ret_text` when it is a name. */
static uint64_t entry_value(const Dies *dies, Cursor *c, uint64_t form, unsigned offset_bytes,
                            const char **ret_text)
{
    uint64_t value = 0;
    switch (form) {
    case DW_FORM_string:
        *ret_text = cursor_text(c);
        return 0;
    case DW_FORM_strp:
        *ret_text = section_text(&dies->sections[DIES_STR], cursor_number(c, offset_bytes));
        return 0;
    case DW_FORM_line_strp:
        *ret_text = section_text(&dies->sections[DIES_LINE_STR], cursor_number(c, offset_bytes));
        return 0;
    case DW_FORM_udata:
        return cursor_uleb(c);
    case DW_FORM_data1:
        return cursor_number(c, 1);
    case DW_FORM_data2:
        return cursor_number(c, 2);
    case DW_FORM_data4:
        return cursor_number(c, 4);
    case DW_FORM_data8:
        return cursor_number(c, 8);
    case DW_FORM_data16:
        cursor_skip(c, 16);
        return 0;
    case DW_FORM_block:
        cursor_skip(c, cursor_uleb(c));
        return 0;
    default:
        c->is_bad = 1;
        return value;
    }
}

/* A table of folders (`folders` NULL) or of files that lie in them. */
static void read_table(const Dies *dies, Cursor *c, unsigned offset_bytes, const Buf *folders,
                       Buf *ret)
{
    uint64_t kinds[FORMATS_MOST], forms[FORMATS_MOST];
    unsigned formats = (unsigned)cursor_number(c, 1);
    if (!formats || formats > FORMATS_MOST) {
        c->is_bad = 1;
        return;
    }
    for (unsigned i = 0; i < formats; i++) {
        kinds[i] = cursor_uleb(c);
        forms[i] = cursor_uleb(c);
    }
    uint64_t count = cursor_uleb(c);
    for (uint64_t i = 0; i < count && !c->is_bad && cursor_left(c); i++) {
        const char *name = NULL;
        uint64_t folder = 0;
        for (unsigned k = 0; k < formats; k++) {
            const char *text = NULL;
            uint64_t value = entry_value(dies, c, forms[k], offset_bytes, &text);
            if (kinds[k] == DW_LNCT_path)
                name = text;
            else if (kinds[k] == DW_LNCT_directory_index)
                folder = value;
        }
        if (add_file(ret, folders ? folder_at(folders, folder) : NULL, name))
            return;
    }
}

/* Before DWARF 5 folder 0 is the compiler's own and file 0 is none. */
static void read_lists(Cursor *c, const char *own_folder, Buf *folders, Buf *ret)
{
    const char *text;
    if (add_file(folders, NULL, own_folder) || add_file(ret, NULL, NULL))
        return;
    while ((text = cursor_text(c)) && *text)
        if (add_file(folders, NULL, text))
            return;
    while ((text = cursor_text(c)) && *text) {
        uint64_t folder = cursor_uleb(c);
        cursor_uleb(c); /* when it was changed, and its size */
        cursor_uleb(c);
        if (add_file(ret, folder_at(folders, folder), text))
            return;
    }
}

static void read_files(Dies *dies, const DieUnit *unit)
{
    const DieSection *s = &dies->sections[DIES_LINE];
    Buf folders = {0};
    dies->files_of = unit;
    dies->files.bytes = 0;
    if (!unit->has_lines || unit->lines >= s->bytes)
        return;
    Cursor c = {s->data + unit->lines, s->data + s->bytes, 0};
    uint64_t bytes = cursor_number(&c, 4);
    unsigned offset_bytes = 4;
    if (bytes == 0xffffffff) {
        offset_bytes = 8;
        bytes = cursor_number(&c, 8);
    }
    if (bytes < cursor_left(&c))
        c.end = c.at + bytes;
    unsigned version = (unsigned)cursor_number(&c, 2);
    if (version < 2 || version > 5)
        return;
    if (version == 5)
        cursor_skip(&c, 2);
    cursor_number(&c, offset_bytes);
    cursor_skip(&c, version >= 4 ? 5 : 4); /* what the table's own machine needs */
    unsigned opcodes = (unsigned)cursor_number(&c, 1);
    cursor_skip(&c, opcodes ? opcodes - 1 : 0);
    if (version == 5) {
        read_table(dies, &c, offset_bytes, NULL, &folders);
        if (!c.is_bad)
            read_table(dies, &c, offset_bytes, &folders, &dies->files);
    } else {
        read_lists(&c, unit->folder, &folders, &dies->files);
    }
    buf_done(&folders);
}

int dies_file(Dies *dies, const DieUnit *unit, uint32_t index, char *ret, size_t room)
{
    if (dies->files_of != unit)
        read_files(dies, unit);
    if (index >= dies->files.bytes / sizeof(DieFile))
        return 0;
    const DieFile *file = (const DieFile *)(const void *)dies->files.data + index;
    if (!file->name)
        return 0;
    const char *folder = *file->name != '/' && file->folder ? file->folder : "";
    const char *own = *folder && *folder != '/' && unit->folder ? unit->folder : "";
    snprintf(ret, room, "%.300s%s%.300s%s%.300s", own, *own ? "/" : "", folder, *folder ? "/" : "",
             file->name);
    return 1;
}
