/* Do the tables that a file's header names lie inside the file? Owns nothing, never trusts a number
 * it read; any thread. */
#include "watch/whole.h"

#include <elf.h>
#include <stdint.h>
#include <string.h>

/* Mach-O's own names are not to be had on Linux. */
enum { MACHO_HEADER_BYTES = 32, MACHO_SEGMENT_64 = 0x19, MACHO_SEGMENT_BYTES = 72 };
#define MACHO_MAGIC_64 0xfeedfacfu

typedef struct View {
    const uint8_t *data;
    size_t bytes;
    Error *err;
} View;

static int inside(const View *v, uint64_t offset, uint64_t bytes)
{
    return offset <= v->bytes && bytes <= v->bytes - offset;
}

static int outside(const View *v, const char *what, uint64_t offset, uint64_t bytes)
{
    return err_set(v->err, KEEL_EPARTIAL,
                   "it is cut short: %s should reach to byte %llu but it ends at byte %zu: it is "
                   "still being written, or its build was interrupted: build it again",
                   what, (unsigned long long)(offset + bytes), v->bytes);
}

static int check_segments(const View *v, const Elf64_Ehdr *head)
{
    if (!head->e_phnum || head->e_phentsize != sizeof(Elf64_Phdr))
        return KEEL_OK; /* wrong for another reason, which the image says */
    uint64_t table = (uint64_t)head->e_phnum * sizeof(Elf64_Phdr);
    if (!inside(v, head->e_phoff, table))
        return outside(v, "its program headers", head->e_phoff, table);
    for (unsigned i = 0; i < head->e_phnum; i++) {
        Elf64_Phdr p;
        memcpy(&p, v->data + head->e_phoff + i * sizeof p, sizeof p);
        if (p.p_type != PT_NULL && p.p_filesz && !inside(v, p.p_offset, p.p_filesz))
            return outside(v, p.p_type == PT_LOAD ? "its code or data" : "one of its segments",
                           p.p_offset, p.p_filesz);
    }
    return KEEL_OK;
}

/* Linkers write through a mapping of a file that already has its size: what is not there yet is
 * zeros. */
static int check_sections(const View *v, const Elf64_Ehdr *head)
{
    if (!head->e_shoff || head->e_shentsize != sizeof(Elf64_Shdr))
        return KEEL_OK;
    Elf64_Shdr s;
    if (!inside(v, head->e_shoff, sizeof s))
        return outside(v, "its section headers", head->e_shoff, sizeof s);
    memcpy(&s, v->data + head->e_shoff, sizeof s);
    uint64_t count = head->e_shnum ? head->e_shnum : s.sh_size;
    uint64_t names = head->e_shstrndx == SHN_XINDEX ? s.sh_link : head->e_shstrndx;
    if (count > v->bytes / sizeof s || !inside(v, head->e_shoff, count * sizeof s))
        return outside(v, "its section headers", head->e_shoff,
                       count > UINT32_MAX ? 0 : count * sizeof s);
    for (uint64_t i = 1; i < count; i++) {
        memcpy(&s, v->data + head->e_shoff + i * sizeof s, sizeof s);
        if (s.sh_type != SHT_NOBITS && s.sh_type != SHT_NULL && !inside(v, s.sh_offset, s.sh_size))
            return outside(v, "one of its sections", s.sh_offset, s.sh_size);
        if (i == names && s.sh_type != SHT_STRTAB)
            return err_set(v->err, KEEL_EPARTIAL,
                           "its section headers are not filled in: it is still being written, or "
                           "its build was interrupted: build it again");
    }
    return KEEL_OK;
}

static int check_elf(const View *v)
{
    if (v->bytes < EI_NIDENT)
        return outside(v, "its ELF header", 0, sizeof(Elf64_Ehdr));
    if (v->data[EI_CLASS] != ELFCLASS64 || v->data[EI_DATA] != ELFDATA2LSB)
        return KEEL_OK;
    Elf64_Ehdr head;
    if (v->bytes < sizeof head)
        return outside(v, "its ELF header", 0, sizeof head);
    memcpy(&head, v->data, sizeof head);
    int rc = check_segments(v, &head);
    return rc ? rc : check_sections(v, &head);
}

static uint32_t word(const View *v, uint64_t offset)
{
    uint32_t x;
    memcpy(&x, v->data + offset, sizeof x);
    return x;
}

static uint64_t quad(const View *v, uint64_t offset)
{
    uint64_t x;
    memcpy(&x, v->data + offset, sizeof x);
    return x;
}

static int check_macho(const View *v)
{
    if (v->bytes < MACHO_HEADER_BYTES)
        return outside(v, "its Mach-O header", 0, MACHO_HEADER_BYTES);
    uint32_t count = word(v, 16), table = word(v, 20);
    if (!inside(v, MACHO_HEADER_BYTES, table))
        return outside(v, "its load commands", MACHO_HEADER_BYTES, table);
    uint64_t at = MACHO_HEADER_BYTES, end = at + table;
    for (uint32_t i = 0; i < count && end - at >= 8; i++) {
        uint32_t command = word(v, at), size = word(v, at + 4);
        if (size < 8 || size > end - at)
            return KEEL_OK; /* nonsense rather than cut */
        if (command == MACHO_SEGMENT_64 && size >= MACHO_SEGMENT_BYTES &&
            !inside(v, quad(v, at + 40), quad(v, at + 48)))
            return outside(v, "one of its segments", quad(v, at + 40), quad(v, at + 48));
        at += size;
    }
    return KEEL_OK;
}

int whole_check(const void *data, size_t bytes, Error *err)
{
    View v = {data, bytes, err};
    if (bytes >= SELFMAG && !memcmp(data, ELFMAG, SELFMAG))
        return check_elf(&v);
    if (bytes >= 4 && word(&v, 0) == MACHO_MAGIC_64)
        return check_macho(&v);
    if (bytes && bytes < SELFMAG && !memcmp(data, ELFMAG, bytes))
        return outside(&v, "its ELF header", 0, sizeof(Elf64_Ehdr));
    return KEEL_OK;
}
