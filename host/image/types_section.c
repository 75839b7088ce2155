/* Finds the section, and adds it: behind all that is in the file come the schema, the names of
 * sections with one more, and their table with one more. Owns nothing; any thread. */
#include "image/types_section.h"

#include <elf.h>
#include <string.h>

enum { MAGIC = 0x5059544b, ALIGN = 16, SECTIONS_MOST = 4096 };
static const char NAME[] = ".keel.types";

typedef struct Head {
    uint32_t magic, layout; /* `layout` differs between builds whose schemas do */
    uint64_t bytes;
} Head;

static uint32_t layout(void)
{
    return (uint32_t)(sizeof(SchemaType) | sizeof(SchemaField) << 7 | sizeof(SchemaStatic) << 14 |
                      sizeof(Schema) << 22);
}

typedef struct Table {
    Elf64_Ehdr head;
    const uint8_t *data;
    size_t bytes;
    Elf64_Shdr names; /* the section that holds names */
} Table;

static int inside(const Table *t, uint64_t offset, uint64_t bytes)
{
    return offset <= t->bytes && bytes <= t->bytes - offset;
}

static Elf64_Shdr section(const Table *t, unsigned i)
{
    Elf64_Shdr s;
    memcpy(&s, t->data + t->head.e_shoff + i * sizeof s, sizeof s);
    return s;
}

static int open_table(const void *data, size_t bytes, Table *ret)
{
    Table t = {.data = data, .bytes = bytes};
    if (bytes < sizeof t.head)
        return 0;
    memcpy(&t.head, data, sizeof t.head);
    if (memcmp(t.head.e_ident, ELFMAG, SELFMAG) || t.head.e_ident[EI_CLASS] != ELFCLASS64 ||
        t.head.e_ident[EI_DATA] != ELFDATA2LSB || t.head.e_shentsize != sizeof(Elf64_Shdr) ||
        !t.head.e_shnum || t.head.e_shnum > SECTIONS_MOST || t.head.e_shstrndx >= t.head.e_shnum ||
        !inside(&t, t.head.e_shoff, (uint64_t)t.head.e_shnum * sizeof(Elf64_Shdr)))
        return 0;
    t.names = section(&t, t.head.e_shstrndx);
    if (!inside(&t, t.names.sh_offset, t.names.sh_size))
        return 0;
    *ret = t;
    return 1;
}

/* Its number, or 0. */
static unsigned find(const Table *t)
{
    for (unsigned i = 1; i < t->head.e_shnum; i++) {
        Elf64_Shdr s = section(t, i);
        if (s.sh_name < t->names.sh_size && t->names.sh_size - s.sh_name >= sizeof NAME &&
            !memcmp(t->data + t->names.sh_offset + s.sh_name, NAME, sizeof NAME))
            return i;
    }
    return 0;
}

const void *types_section_find(const void *data, size_t bytes, size_t *ret_bytes)
{
    Table t;
    Head head;
    unsigned at = open_table(data, bytes, &t) ? find(&t) : 0;
    if (!at)
        return NULL;
    Elf64_Shdr s = section(&t, at);
    if (s.sh_type == SHT_NOBITS || s.sh_size < sizeof head || !inside(&t, s.sh_offset, s.sh_size))
        return NULL;
    memcpy(&head, t.data + s.sh_offset, sizeof head);
    if (head.magic != MAGIC || head.layout != layout() || head.bytes > s.sh_size - sizeof head)
        return NULL;
    *ret_bytes = (size_t)head.bytes;
    return t.data + s.sh_offset + sizeof head;
}

/* Zeros up to a multiple of ALIGN; the offset there. */
static int pad(Buf *to, size_t start, uint64_t *ret_offset)
{
    static const char zeros[ALIGN];
    size_t behind = (to->bytes - start) % ALIGN;
    int rc = behind ? buf_add(to, zeros, ALIGN - behind) : KEEL_OK;
    *ret_offset = to->bytes - start;
    return rc;
}

int types_section_add(const void *data, size_t bytes, const void *schema, size_t schema_bytes,
                      Buf *ret, Error *err)
{
    Table t;
    size_t start = ret->bytes;
    if (!open_table(data, bytes, &t) || t.head.e_shnum == SECTIONS_MOST)
        return err_set(err, KEEL_EIMAGE, "it is no 64-bit ELF file with a table of sections");
    unsigned at = find(&t), count = t.head.e_shnum + (at ? 0u : 1u);
    const Head head = {MAGIC, layout(), schema_bytes};
    Elf64_Shdr mine = {.sh_type = SHT_PROGBITS,
                       .sh_size = sizeof head + schema_bytes,
                       .sh_addralign = ALIGN,
                       .sh_name = (Elf64_Word)t.names.sh_size};
    Elf64_Shdr names = t.names;
    if (at)
        mine.sh_name = section(&t, at).sh_name;
    else
        names.sh_size += sizeof NAME;
    uint64_t table_at = 0;
    int rc = buf_add(ret, data, bytes);
    rc = rc ? rc : pad(ret, start, &mine.sh_offset);
    rc = rc ? rc : buf_add(ret, &head, sizeof head);
    rc = rc ? rc : buf_add(ret, schema, schema_bytes);
    rc = rc ? rc : pad(ret, start, &names.sh_offset);
    rc = rc ? rc : buf_add(ret, t.data + t.names.sh_offset, t.names.sh_size);
    rc = rc ? rc : at ? KEEL_OK : buf_add(ret, NAME, sizeof NAME);
    rc = rc ? rc : pad(ret, start, &table_at);
    for (unsigned i = 0; i < count && !rc; i++) {
        Elf64_Shdr s = i == t.head.e_shstrndx                     ? names
                       : i == at || i == (unsigned)t.head.e_shnum ? mine
                                                                  : section(&t, i);
        if (!i)
            s = section(&t, 0);
        rc = buf_add(ret, &s, sizeof s);
    }
    if (rc) {
        ret->bytes = start;
        return err_set(err, rc, "no memory for the file with its types");
    }
    t.head.e_shoff = table_at;
    t.head.e_shnum = (Elf64_Half)count;
    memcpy(ret->data + start, &t.head, sizeof t.head);
    return KEEL_OK;
}
