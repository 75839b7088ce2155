/* What only a deep look tells. The dynamic section by hand (dynamic.c), the sections by libelf
 * here, and the reasons to refuse. Owns the libelf handle for the call; meant for a process under
 * limits; one thread. */
#include "image/inspect.h"

#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>

#include "image/dynamic.h"
#include "image/macho.h"

enum { SECTIONS_MAX = 65536 };

/* Present when this very program runs with that sanitizer, which then serves modules as well. */
extern void __asan_init(void) __attribute__((weak));
extern void __tsan_init(void) __attribute__((weak));
extern void __msan_init(void) __attribute__((weak));
extern void __ubsan_get_current_report_data(void) __attribute__((weak));

static int damaged(Error *err, const char *what)
{
    return err_set(err, KEEL_EIMAGE, "%s: it is damaged: build it again", what);
}

/* Strings of everything that had a part in it, in an order that each linker makes up: the linker
 * itself, gcc for the start files, and clang where it compiled the rest. */
static void take_comment(Elf_Scn *section, Inspection *ret)
{
    static const char *const linkers[] = {"mold ", "Linker: "};
    Elf_Data *data = *ret->compiler ? NULL : elf_rawdata(section, NULL);
    if (!data || !data->d_buf)
        return;
    const char *at = data->d_buf, *end = at + data->d_size;
    for (size_t length; at < end; at += length + 1) {
        length = strnlen(at, (size_t)(end - at));
        int linker = 0;
        for (size_t i = 0; i < sizeof linkers / sizeof *linkers; i++)
            linker |= length > strlen(linkers[i]) && !memcmp(at, linkers[i], strlen(linkers[i]));
        if (!length || linker || (*ret->compiler && !memmem(at, length, "clang", 5)))
            continue;
        inspect_copy(ret->compiler, sizeof ret->compiler, (const uint8_t *)at, length);
    }
}

/* --emit-relocs keeps the link's relocations of code; those of the loader are SHF_ALLOC. */
static int keeps_code_relocs(Elf *elf, const GElf_Shdr *s)
{
    GElf_Shdr target;
    if (s->sh_type != SHT_RELA || s->sh_flags & SHF_ALLOC || !s->sh_info)
        return 0;
    Elf_Scn *code = elf_getscn(elf, s->sh_info);
    return code && gelf_getshdr(code, &target) && target.sh_flags & SHF_EXECINSTR;
}

static int take_section(Elf *elf, Elf_Scn *section, size_t names, uint64_t symbols, Inspection *ret,
                        Error *err)
{
    GElf_Shdr s;
    if (!gelf_getshdr(section, &s))
        return damaged(err, "a section header can't be read");
    const char *name = elf_strptr(elf, names, s.sh_name);
    if (!name)
        return damaged(err, "a section's name lies outside the table of names");
    if (s.sh_type == SHT_DYNSYM && s.sh_addr != symbols)
        return damaged(err, "its section headers and its dynamic section name different symbols");
    if (!strcmp(name, ".comment") && s.sh_type == SHT_PROGBITS)
        take_comment(section, ret);
    if (!strcmp(name, ".debug_info") || !strcmp(name, ".zdebug_info"))
        ret->has_debug = 1;
    if (s.sh_type == SHT_SYMTAB)
        ret->has_symtab = 1;
    if (keeps_code_relocs(elf, &s))
        ret->has_relocs = 1;
    return KEEL_OK;
}

static int read_sections(Elf *elf, uint64_t symbols, Inspection *ret, Error *err)
{
    size_t names, count;
    GElf_Ehdr head;
    if (!gelf_getehdr(elf, &head))
        return damaged(err, "its ELF header can't be read");
    if (!head.e_shoff) /* stripped to the bone */
        return KEEL_OK;
    if (elf_getshdrnum(elf, &count) || elf_getshdrstrndx(elf, &names))
        return damaged(err, "its section headers can't be read");
    if (count > SECTIONS_MAX)
        return damaged(err, "it has too many sections");
    Elf_Scn *section = NULL;
    int rc = KEEL_OK;
    while (!rc && (section = elf_nextscn(elf, section)))
        rc = take_section(elf, section, names, symbols, ret, err);
    return rc;
}

int inspect_bytes(const void *data, size_t bytes, Inspection *ret, Error *err)
{
    if (macho_is(data, bytes))
        return inspect_macho(data, bytes, ret, err);
    Inspection found;
    memset(&found, 0, sizeof found);
    const Bytes file = {data, bytes, err};
    uint64_t symbols = 0;
    int rc = dynamic_inspect(&file, &found, &symbols);
    if (rc)
        return rc;
    if (elf_version(EV_CURRENT) == EV_NONE)
        return err_set(err, KEEL_EUNSUPPORTED, "libelf is too old: %s", elf_errmsg(-1));
    /* Read only: libelf wants the pointer without const, but copies what it changes. */
    Elf *elf = elf_memory((char *)data, bytes);
    if (!elf)
        return damaged(err, "libelf can't read it");
    rc = read_sections(elf, symbols, &found, err);
    elf_end(elf);
    if (!rc)
        *ret = found;
    return rc;
}

/* Cross a process boundary: the count may say more than there is, and the text may lack its end. */
static void first_item(const InspectList *list, char text[INSPECT_TEXT])
{
    inspect_copy(text, INSPECT_TEXT, (const uint8_t *)list->item[0], INSPECT_TEXT);
}

static int refuse_sanitizer(const Inspection *inspection, Error *err)
{
    static const struct {
        const char *name, *flag;
    } KNOWN[] = {{"", ""},
                 {"AddressSanitizer", "address"},
                 {"ThreadSanitizer", "thread"},
                 {"UndefinedBehaviorSanitizer", "undefined"},
                 {"MemorySanitizer", "memory"},
                 {"a sanitizer", "..."}};
    uint32_t which = inspection->sanitizer <= 5 ? inspection->sanitizer : 5;
    if (!which || (which == 1 && __asan_init) || (which == 2 && __tsan_init) ||
        (which == 3 && __ubsan_get_current_report_data) || (which == 4 && __msan_init))
        return KEEL_OK;
    return err_set(err, KEEL_EIMAGE,
                   "it needs the runtime of %s, which must be in the host from its start: build it "
                   "without -fsanitize=%s, or run it in a host built with it",
                   KNOWN[which].name, KNOWN[which].flag);
}

int inspect_refuse(const Inspection *inspection, Error *err)
{
    char name[INSPECT_TEXT];
    if (inspection->nodelete)
        return err_set(err, KEEL_EIMAGE,
                       "it was linked with -z nodelete, so it could never be taken out again: link "
                       "it without");
    if (inspection->unique.count) {
        first_item(&inspection->unique, name);
        return err_set(err, KEEL_EIMAGE,
                       "its symbol %s is unique in the process (STB_GNU_UNIQUE), so it could never "
                       "be taken out again: compile it with -fno-gnu-unique",
                       name);
    }
    int rc = refuse_sanitizer(inspection, err);
    if (rc)
        return rc;
    if (!inspection->exports_module)
        return err_set(err, KEEL_EIMAGE,
                       "it does not export the symbol keel_module: a version script or a linker "
                       "option hides it: let that one symbol be seen");
    return KEEL_OK;
}

int inspection_check(const void *data, size_t bytes, Error *err)
{
    const Inspection *seen = data;
    int good = bytes == sizeof *seen;
    for (int i = 0; good && i < INSPECT_LIST; i++)
        good = memchr(seen->needed.item[i], 0, INSPECT_TEXT) &&
               memchr(seen->undefined.item[i], 0, INSPECT_TEXT) &&
               memchr(seen->exported.item[i], 0, INSPECT_TEXT) &&
               memchr(seen->unique.item[i], 0, INSPECT_TEXT);
    good = good && memchr(seen->runpath, 0, sizeof seen->runpath) &&
           memchr(seen->compiler, 0, sizeof seen->compiler);
    return good ? KEEL_OK
                : err_set(err, KEEL_EFAULT,
                          "what was read of it contradicts itself: it is damaged or malicious");
}

int inspect_image(const Image *image, Error *err)
{
    Inspection *seen = malloc(sizeof *seen);
    if (!seen)
        return err_set(err, KEEL_ENOMEM, "no memory to inspect %s", image->path);
    int rc = inspect_bytes(image->data, image->bytes, seen, err);
    if (!rc)
        rc = inspect_refuse(seen, err);
    free(seen);
    return rc ? err_wrap(err, "%s", image->path), rc : KEEL_OK;
}
