/* Names for addresses: the mapping's file, the function's symbol. Owns nothing; allocates nothing;
 * believes no byte of a file. Async-signal-safe. */
#include "fault/places.h"

#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fault/text.h"

#pragma GCC poison exit abort malloc free printf snprintf

/* ---- mappings ---- */

enum { LINE_BYTES = 512 };

typedef struct Lines {
    int fd;
    size_t used, at;
    char buffer[1024];
} Lines;

/* One line without its end; what is longer than `room` is cut. 0 at the end of the file. */
static int next_line(Lines *lines, char *ret, size_t room)
{
    size_t n = 0;
    for (;;) {
        if (lines->at == lines->used) {
            ssize_t got = read(lines->fd, lines->buffer, sizeof lines->buffer);
            if (got <= 0)
                break;
            lines->used = (size_t)got;
            lines->at = 0;
        }
        char c = lines->buffer[lines->at++];
        if (c == '\n') {
            ret[n] = 0;
            return 1;
        }
        if (n + 1 < room)
            ret[n++] = c;
    }
    ret[n] = 0;
    return n > 0;
}

static uintptr_t read_hex(const char **at)
{
    uintptr_t value = 0;
    for (;; ++*at) {
        char c = **at;
        if (c >= '0' && c <= '9')
            value = value * 16 + (uintptr_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value * 16 + (uintptr_t)(c - 'a' + 10);
        else
            return value;
    }
}

/* "first-last perms offset dev inode   /path": the sixth field, or "". */
static const char *path_of(const char *line)
{
    for (int field = 0; field < 5; field++) {
        while (*line && *line != ' ')
            line++;
        while (*line == ' ')
            line++;
    }
    return line;
}

int places_of_mapping(uintptr_t address, char *ret_name, size_t room, uintptr_t *ret_offset)
{
    Lines lines = {.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
    if (lines.fd < 0)
        return 0;
    char line[LINE_BYTES], file[LINE_BYTES] = "";
    uintptr_t file_first = 0;
    int found = 0;
    while (!found && next_line(&lines, line, sizeof line)) {
        const char *at = line;
        uintptr_t first = read_hex(&at);
        if (*at++ != '-')
            continue;
        uintptr_t last = read_hex(&at);
        const char *path = path_of(line);
        if (strcmp(path, file) != 0) {
            strcpy(file, path);
            file_first = first;
        }
        if (address < first || address >= last || !*path)
            continue;
        const char *base = strrchr(path, '/');
        Text text = text_on(ret_name, room);
        text_put(&text, base ? base + 1 : path);
        *ret_offset = address - file_first;
        found = 1;
    }
    close(lines.fd);
    return found;
}

/* ---- symbols ---- */

typedef struct File {
    const uint8_t *data;
    size_t bytes;
} File;

/* NULL unless [offset, offset + bytes) lies inside the file. */
static const uint8_t *inside(const File *file, uint64_t offset, uint64_t bytes)
{
    return offset <= file->bytes && bytes <= file->bytes - offset ? file->data + offset : NULL;
}

static int section_of(const File *file, const Elf64_Ehdr *head, uint32_t index, Elf64_Shdr *ret)
{
    if (index >= head->e_shnum || head->e_shentsize != sizeof *ret || head->e_shoff > file->bytes)
        return 0;
    const uint8_t *at = inside(file, head->e_shoff + (uint64_t)index * sizeof *ret, sizeof *ret);
    if (at)
        memcpy(ret, at, sizeof *ret);
    return at != NULL;
}

typedef struct Best {
    uint64_t value;
    const uint8_t *name;
    uint64_t name_room;
} Best;

static void look_in(const File *file, const Elf64_Ehdr *head, const Elf64_Shdr *table,
                    uint64_t address, Best *best)
{
    Elf64_Shdr names;
    const uint8_t *symbols = inside(file, table->sh_offset, table->sh_size);
    if (!symbols || table->sh_entsize != sizeof(Elf64_Sym) ||
        !section_of(file, head, table->sh_link, &names))
        return;
    const uint8_t *strings = inside(file, names.sh_offset, names.sh_size);
    if (!strings)
        return;
    for (uint64_t i = 0; i < table->sh_size / sizeof(Elf64_Sym); i++) {
        Elf64_Sym symbol;
        memcpy(&symbol, symbols + i * sizeof symbol, sizeof symbol);
        if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF ||
            address < symbol.st_value || address - symbol.st_value >= symbol.st_size ||
            symbol.st_name >= names.sh_size || (best->name && symbol.st_value < best->value))
            continue;
        *best = (Best){symbol.st_value, strings + symbol.st_name, names.sh_size - symbol.st_name};
    }
}

int places_of_symbol(const void *data, size_t bytes, uint64_t address, char *ret_name, size_t room,
                     uint64_t *ret_offset)
{
    File file = {data, bytes};
    Elf64_Ehdr head;
    if (!data || bytes < sizeof head)
        return 0;
    memcpy(&head, data, sizeof head);
    if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
        head.e_ident[EI_DATA] !=
            (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB))
        return 0;
    Best best = {0};
    for (uint32_t i = 0; i < head.e_shnum; i++) {
        Elf64_Shdr section;
        if (!section_of(&file, &head, i, &section))
            break;
        if (section.sh_type == SHT_SYMTAB || section.sh_type == SHT_DYNSYM)
            look_in(&file, &head, &section, address, &best);
    }
    if (!best.name || !room)
        return 0;
    size_t n = 0;
    for (; n < best.name_room && n + 1 < room && best.name[n]; n++)
        ret_name[n] = (char)best.name[n];
    ret_name[n] = 0;
    *ret_offset = address - best.value;
    return n > 0;
}
