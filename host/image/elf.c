/* Header, program headers and the dynamic section's flags of an ELF image. Everything that the
 * loader would follow without asking is checked here first. Owns nothing; bytes of unknown origin;
 * any thread. */
#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "image/parts.h"

enum { SEGMENTS_MAX = 64, DYNAMIC_MAX = 4096, NOTE_BYTES_MAX = 1 << 20 };
#define SPAN_MAX (16ull << 30)
#define ALIGN_MAX (1ull << 30)

#ifndef DF_1_PIE
#define DF_1_PIE 0x08000000
#endif

#if defined(__x86_64__)
enum { HOST_MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { HOST_MACHINE = EM_AARCH64 };
#elif defined(__riscv) && __riscv_xlen == 64
enum { HOST_MACHINE = EM_RISCV };
#else
#error "this processor's ELF machine number is not known here"
#endif

static const char *machine_name(unsigned machine, char text[32])
{
    switch (machine) {
    case EM_X86_64:
        return "x86-64";
    case EM_AARCH64:
        return "arm64";
    case EM_RISCV:
        return "RISC-V";
    case EM_386:
        return "32-bit x86";
    case EM_ARM:
        return "32-bit Arm";
    case EM_PPC64:
        return "PowerPC 64";
    case EM_S390:
        return "IBM Z";
    case EM_MIPS:
        return "MIPS";
    case EM_LOONGARCH:
        return "LoongArch";
    default:
        snprintf(text, 32, "processor number %u", machine);
        return text;
    }
}

/* While an image is read. `head` and `segments` are copies: the bytes may lie at odd addresses. */
typedef struct Reader {
    Image *image;
    Elf64_Ehdr head;
    Elf64_Phdr segments[SEGMENTS_MAX];
    unsigned count;
    const Elf64_Phdr *dynamic, *interpreter, *relro;
    uint64_t flags_1;
    uint64_t page;
    Error *err;
} Reader;

static int refuse(Reader *r, const char *why)
{
    return err_set(r->err, KEEL_EIMAGE, "%s", why);
}

static int inside(const Reader *r, uint64_t offset, uint64_t bytes)
{
    return offset <= r->image->bytes && bytes <= r->image->bytes - offset;
}

static int check_ident(Reader *r)
{
    const uint8_t *ident = r->image->data;
    char text[32];
    if (r->image->bytes < EI_NIDENT + 4)
        return refuse(r, "it is too short for a module: its build was interrupted: build it again");
    /* The machine lies at the same place in every class. */
    int big = ident[EI_DATA] == ELFDATA2MSB;
    unsigned machine = ident[18 + big] | (unsigned)ident[19 - big] << 8;
    const char *name = machine_name(machine, text);
    char host_text[32];
    const char *host = machine_name(HOST_MACHINE, host_text);
    if (ident[EI_CLASS] == ELFCLASS32)
        return err_set(r->err, KEEL_EUNSUPPORTED,
                       "it is a 32-bit file (%s), this host is 64-bit %s: build it without -m32",
                       name, host);
    if (ident[EI_CLASS] != ELFCLASS64)
        return refuse(r, "its ELF header is damaged (neither 32-bit nor 64-bit): build it again");
    if (big)
        return err_set(r->err, KEEL_EUNSUPPORTED,
                       "it is built for a big-endian processor (%s), this host is %s: build it for "
                       "this machine",
                       name, host);
    if (ident[EI_DATA] != ELFDATA2LSB || ident[EI_VERSION] != EV_CURRENT)
        return refuse(r, "its ELF header is damaged (byte order or version): build it again");
    if (machine != HOST_MACHINE)
        return err_set(r->err, KEEL_EUNSUPPORTED,
                       "it is built for %s, this host is %s: build it for this machine", name,
                       host);
    if (ident[EI_OSABI] != ELFOSABI_SYSV && ident[EI_OSABI] != ELFOSABI_GNU)
        return err_set(r->err, KEEL_EUNSUPPORTED,
                       "it is built for another operating system (ELF OS number %u): build it on "
                       "Linux",
                       ident[EI_OSABI]);
    return KEEL_OK;
}

static int check_type(Reader *r)
{
    if (r->image->bytes < sizeof r->head)
        return refuse(r, "it is too short for a module: its build was interrupted: build it again");
    memcpy(&r->head, r->image->data, sizeof r->head);
    switch (r->head.e_type) {
    case ET_DYN:
        return KEEL_OK;
    case ET_EXEC:
        return refuse(r, "it is a program, not a shared library: link it with -shared");
    case ET_REL:
        return refuse(r, "it is an object file (.o): link it with -shared");
    case ET_CORE:
        return refuse(r, "it is a core dump, not a built module");
    default:
        return refuse(r, "its ELF type is unknown: link it with -shared");
    }
}

static int read_segments(Reader *r)
{
    if (!r->head.e_phnum || !inside(r, r->head.e_phoff, 0))
        return refuse(r, "it has no program headers: it is damaged, or not a shared library");
    if (r->head.e_phentsize != sizeof(Elf64_Phdr) || r->head.e_phnum > SEGMENTS_MAX)
        return refuse(r, "its program headers are damaged: build it again");
    r->count = r->head.e_phnum;
    if (!inside(r, r->head.e_phoff, r->count * sizeof(Elf64_Phdr)))
        return refuse(r, "its program headers lie outside the file: build it again");
    memcpy(r->segments, r->image->data + r->head.e_phoff, r->count * sizeof(Elf64_Phdr));
    for (unsigned i = 0; i < r->count; i++) {
        const Elf64_Phdr *p = &r->segments[i];
        const Elf64_Phdr **slot = p->p_type == PT_DYNAMIC     ? &r->dynamic
                                  : p->p_type == PT_INTERP    ? &r->interpreter
                                  : p->p_type == PT_GNU_RELRO ? &r->relro
                                                              : NULL;
        if (p->p_type != PT_NULL && p->p_filesz && !inside(r, p->p_offset, p->p_filesz))
            return refuse(r, "one of its segments lies outside the file: build it again");
        if (slot && *slot)
            return refuse(r, "it has one kind of segment twice that may be there once: it is "
                             "damaged: build it again");
        if (slot)
            *slot = p;
    }
    return KEEL_OK;
}

static uint64_t page_down(const Reader *r, uint64_t at)
{
    return at & ~(r->page - 1);
}

static uint64_t page_up(const Reader *r, uint64_t at)
{
    return page_down(r, at + r->page - 1);
}

static int check_load(Reader *r, const Elf64_Phdr *p, uint64_t above)
{
    if (p->p_memsz < p->p_filesz || !p->p_memsz)
        return refuse(r, "a segment is smaller in memory than in the file: it is damaged: build it "
                         "again");
    if (p->p_vaddr > SPAN_MAX || p->p_memsz > SPAN_MAX)
        return refuse(r,
                      "a segment lies at an absurd address or is absurdly large (over 16 GiB): it "
                      "is damaged: build it again");
    if (p->p_align < r->page || p->p_align & (p->p_align - 1) || p->p_align > ALIGN_MAX ||
        (p->p_vaddr - p->p_offset) & (p->p_align - 1))
        return refuse(r, "a segment is not aligned to pages: link it without -N, -n and odd linker "
                         "scripts");
    if (page_down(r, p->p_vaddr) < above)
        return refuse(r, "its segments overlap or are out of order: it is damaged: build it again");
    return KEEL_OK;
}

static int read_loads(Reader *r)
{
    Image *image = r->image;
    uint64_t above = 0;
    int code = 0;
    for (unsigned i = 0; i < r->count; i++) {
        const Elf64_Phdr *p = &r->segments[i];
        if (p->p_type != PT_LOAD)
            continue;
        if (image->load_count == IMAGE_LOADS_MAX)
            return refuse(r, "it has more than 16 loadable segments: link it with an ordinary "
                             "linker script");
        int rc = check_load(r, p, above);
        if (rc)
            return rc;
        above = page_up(r, p->p_vaddr + p->p_memsz);
        if (!image->load_count)
            image->span_first = page_down(r, p->p_vaddr);
        image->span_last = above;
        image->loads[image->load_count++] = (ImageLoad){
            .address = p->p_vaddr,
            .memory_bytes = p->p_memsz,
            .file_offset = p->p_offset,
            .file_bytes = p->p_filesz,
            .flags = p->p_flags,
        };
        code |= (p->p_flags & PF_X) != 0;
    }
    if (!image->load_count)
        return refuse(r, "it has nothing to load: it is a file of debug information only, or "
                         "damaged");
    if (!code)
        return refuse(r, "it has no code: it is damaged, or only data was linked");
    return KEEL_OK;
}

/* The load that holds [address, address + bytes) of the file's own contents. */
static const ImageLoad *load_of(const Image *image, uint64_t address, uint64_t bytes)
{
    for (int i = 0; i < image->load_count; i++) {
        const ImageLoad *l = &image->loads[i];
        if (address >= l->address && address - l->address <= l->file_bytes &&
            bytes <= l->file_bytes - (address - l->address))
            return l;
    }
    return NULL;
}

/* Segments that the loader finds by address must lie where the loads put them. */
static int check_places(Reader *r)
{
    Image *image = r->image;
    for (unsigned i = 0; i < r->count; i++) {
        const Elf64_Phdr *p = &r->segments[i];
        if (p->p_type != PT_DYNAMIC && p->p_type != PT_TLS && p->p_type != PT_GNU_EH_FRAME)
            continue;
        if (p->p_type == PT_TLS && (p->p_memsz < p->p_filesz || p->p_memsz > SPAN_MAX ||
                                    p->p_align > ALIGN_MAX || p->p_align & (p->p_align - 1)))
            return refuse(r, "its thread-local segment is damaged: build it again");
        const ImageLoad *l = p->p_filesz ? load_of(image, p->p_vaddr, p->p_filesz) : NULL;
        if (p->p_filesz && (!l || l->file_offset + (p->p_vaddr - l->address) != p->p_offset))
            return refuse(r, "its segments contradict each other: it is damaged: build it again");
    }
    if (r->relro && r->relro->p_memsz) {
        uint64_t first = page_down(r, r->relro->p_vaddr);
        if (r->relro->p_vaddr > image->span_last || r->relro->p_memsz > SPAN_MAX ||
            first < image->span_first || r->relro->p_vaddr + r->relro->p_memsz > image->span_last)
            return refuse(r, "its read-only-after-relocation range lies outside its segments: it "
                             "is damaged: build it again");
        image->relro_first = first;
        /* As the loader: a last page that is only partly covered stays writable. */
        image->relro_last = page_down(r, r->relro->p_vaddr + r->relro->p_memsz);
        if (image->relro_last <= image->relro_first)
            image->relro_first = image->relro_last = 0;
    }
    return KEEL_OK;
}

static int read_dynamic(Reader *r)
{
    if (!r->dynamic || r->dynamic->p_filesz < sizeof(Elf64_Dyn))
        return refuse(r, "it is not dynamically linked: link it with -shared (not -static)");
    uint64_t count = r->dynamic->p_filesz / sizeof(Elf64_Dyn);
    uint64_t strings = 0, symbols = 0, string_bytes = 0;
    for (uint64_t i = 0;; i++) {
        if (i == count || i == DYNAMIC_MAX)
            return refuse(r, "its dynamic section has no end: it is damaged: build it again");
        Elf64_Dyn d;
        memcpy(&d, r->image->data + r->dynamic->p_offset + i * sizeof d, sizeof d);
        if (d.d_tag == DT_NULL)
            break;
        if (d.d_tag == DT_FLAGS_1)
            r->flags_1 |= d.d_un.d_val;
        if (d.d_tag == DT_STRTAB)
            strings = d.d_un.d_ptr;
        if (d.d_tag == DT_STRSZ)
            string_bytes = d.d_un.d_val;
        if (d.d_tag == DT_SYMTAB)
            symbols = d.d_un.d_ptr;
    }
    if (!strings || !symbols || !load_of(r->image, strings, string_bytes) ||
        !load_of(r->image, symbols, sizeof(Elf64_Sym)))
        return refuse(r, "its symbol tables are missing or lie outside the file: part of it was "
                         "lost: build it again");
    return KEEL_OK;
}

static int check_flags(Reader *r)
{
    if (r->interpreter || r->flags_1 & DF_1_PIE)
        return refuse(r, "it is a program, not a shared library: link it with -shared");
    r->image->nodelete = (r->flags_1 & DF_1_NODELETE) != 0;
    if (r->image->nodelete)
        return refuse(r, "it was linked with -z nodelete, so it could never be taken out again: "
                         "link it without");
    if (r->flags_1 & DF_1_NOOPEN)
        return refuse(r, "it was linked with -z nodlopen, so it can't be loaded into a running "
                         "program: link it without");
    return KEEL_OK;
}

static int note_range(Reader *r, uint64_t offset, uint64_t bytes, uint64_t align, NotesFound *found)
{
    if (bytes > NOTE_BYTES_MAX)
        return refuse(r,
                      "its notes are absurdly large (over 1 MiB): it is damaged: build it again");
    return notes_read(r->image, offset, bytes, align == 8 ? 8 : 4, found, r->err);
}

/* Tools that rewrite program headers lose notes more easily than sections. */
static int notes_by_section(Reader *r, NotesFound *found)
{
    const Elf64_Ehdr *h = &r->head;
    uint64_t count = h->e_shnum;
    if (!h->e_shoff || h->e_shentsize != sizeof(Elf64_Shdr) || h->e_shstrndx >= count ||
        !inside(r, h->e_shoff, count * sizeof(Elf64_Shdr)))
        return KEEL_OK;
    const uint8_t *table = r->image->data + h->e_shoff;
    Elf64_Shdr names, s;
    memcpy(&names, table + h->e_shstrndx * sizeof names, sizeof names);
    if (names.sh_type != SHT_STRTAB || !inside(r, names.sh_offset, names.sh_size))
        return KEEL_OK;
    for (uint64_t i = 1; i < count; i++) {
        memcpy(&s, table + i * sizeof s, sizeof s);
        if (s.sh_name >= names.sh_size || names.sh_size - s.sh_name < sizeof ".note.keel" ||
            memcmp(r->image->data + names.sh_offset + s.sh_name, ".note.keel", sizeof ".note.keel"))
            continue;
        if (s.sh_type == SHT_NOBITS || !inside(r, s.sh_offset, s.sh_size))
            continue;
        int rc = note_range(r, s.sh_offset, s.sh_size, s.sh_addralign, found);
        if (rc)
            return rc;
    }
    return KEEL_OK;
}

static int read_notes(Reader *r)
{
    NotesFound found = {0};
    int rc = KEEL_OK;
    for (unsigned i = 0; !rc && i < r->count; i++) {
        const Elf64_Phdr *p = &r->segments[i];
        if (p->p_type == PT_NOTE)
            rc = note_range(r, p->p_offset, p->p_filesz, p->p_align, &found);
    }
    if (!rc && !found.modules)
        rc = notes_by_section(r, &found);
    if (!rc && !found.modules)
        rc = refuse(r, "it is a shared library but not a Keel module: its KEEL_MODULE line is "
                       "missing, or the note that it makes was stripped");
    return rc;
}

int image_read_elf(Image *image, Error *err)
{
    Reader r = {.image = image, .page = (uint64_t)sysconf(_SC_PAGESIZE), .err = err};
    int rc = check_ident(&r);
    rc = rc ? rc : check_type(&r);
    rc = rc ? rc : read_segments(&r);
    rc = rc ? rc : read_loads(&r);
    rc = rc ? rc : check_places(&r);
    rc = rc ? rc : read_dynamic(&r);
    rc = rc ? rc : check_flags(&r);
    return rc ? rc : read_notes(&r);
}
