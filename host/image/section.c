/* One look into the table of sections of a 64-bit ELF file, every number checked. Pure. */
#include "image/section.h"

#include <elf.h>
#include <string.h>

static int header(const Image *image, uint64_t offset, uint64_t index, Elf64_Shdr *ret)
{
    uint64_t at;
    if (__builtin_mul_overflow(index, sizeof *ret, &at) ||
        __builtin_add_overflow(at, offset, &at) || at > image->bytes ||
        image->bytes - at < sizeof *ret)
        return 0;
    memcpy(ret, image->data + at, sizeof *ret);
    return 1;
}

int image_section(const Image *image, const char *name, uint64_t *ret_address, uint64_t *ret_bytes)
{
    Elf64_Ehdr file;
    Elf64_Shdr names, section;
    size_t length = strlen(name) + 1;
    if (image->bytes < sizeof file)
        return 0;
    memcpy(&file, image->data, sizeof file);
    if (memcmp(file.e_ident, ELFMAG, SELFMAG) != 0 || file.e_ident[EI_CLASS] != ELFCLASS64 ||
        file.e_shentsize != sizeof section || !header(image, file.e_shoff, file.e_shstrndx, &names))
        return 0;
    for (uint64_t i = 0; i < file.e_shnum && header(image, file.e_shoff, i, &section); i++) {
        uint64_t at;
        if (section.sh_name >= names.sh_size || names.sh_size - section.sh_name < length ||
            __builtin_add_overflow(names.sh_offset, section.sh_name, &at) || at > image->bytes ||
            image->bytes - at < length || memcmp(image->data + at, name, length) != 0)
            continue;
        *ret_address = section.sh_addr;
        *ret_bytes = section.sh_size;
        return 1;
    }
    return 0;
}
