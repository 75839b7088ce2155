/* image/: what is a module, and one sentence for everything that isn't. */
#include "image_files.h"

#include <keel/module.h>

#include "image/image.h"
#include "image/parts.h"

#define BALL KEEL_TEST_MODULES "/ball.so"

static Blob ball;

static int open_blob(Blob b, Error *err)
{
    Image *image = NULL;
    int rc = image_open(sealed_memfd(b.data, b.bytes), b.bytes, hash_bytes(b.data, b.bytes), "x.so",
                        &image, err);
    if (rc)
        assert_null(image);
    else
        image_unref(image);
    return rc;
}

/* Refused with that code, by a sentence that holds `part`, names the file and is one sentence. */
static void refused(Blob b, int code, const char *part)
{
    Error err = {0};
    int rc = open_blob(b, &err);
    if (rc != code || !strstr(err.text, part) || strncmp(err.text, "x.so: ", 6) ||
        strchr(err.text, '\n'))
        fail_msg("wanted %s and \"%s\", got %s: %s", err_name(code), part, err_name(rc), err.text);
    assert_int_equal(err.code, code);
}

static void text_refused(const char *text, size_t bytes, int code, const char *part)
{
    Blob b = {(uint8_t *)text, bytes};
    refused(b, code, part);
}

static void a_module_is_described(void **unused)
{
    (void)unused;
    Image *image = NULL;
    Error err = {0};
    assert_int_equal(image_load_file(BALL, 0, &image, &err), 0);
    assert_string_equal(image->name, "ball");
    assert_string_equal(image->version, "1.0");
    assert_int_equal(image->abi, KEEL_ABI);
    assert_int_equal(image->table_bytes, sizeof(struct keel_module));
    assert_int_equal(strlen(image->build_id), 40);
    assert_true(hash_equal(image->hash, hash_bytes(ball.data, ball.bytes)));
    assert_int_equal(image->bytes, ball.bytes);
    assert_memory_equal(image->data, ball.data, ball.bytes);
    assert_in_range(image->load_count, 2, 8);
    assert_true(image->span_last > image->span_first);
    assert_true(image->relro_last > image->relro_first);
    assert_string_equal(image->path, BALL);
    assert_ptr_equal(image_ref(image), image);
    image_unref(image);
    assert_string_equal(image->name, "ball");
    image_unref(image);
    image_unref(NULL);
}

static void what_is_not_elf_is_named(void **unused)
{
    (void)unused;
    Error err = {0};
    Image *image;
    assert_int_equal(image_open(sealed_memfd("", 0), 0, (Hash){0}, "x.so", &image, &err),
                     KEEL_EIMAGE);
    assert_string_equal(err.text, "x.so: it is empty: its build has not written anything yet");
    text_refused("#include <keel/keel.h>\nint x;\n", 30, KEEL_EIMAGE,
                 "it starts with \"#include <keel/keel.h>\": this is source text");
    text_refused("#!/bin/sh\n", 10, KEEL_EIMAGE, "this is a script");
    text_refused("!<arch>\nabc", 11, KEEL_EIMAGE, "static library");
    text_refused("MZ\0\0\0\0", 6, KEEL_EIMAGE, "Windows");
    text_refused("BC\xC0\xDE....", 8, KEEL_EIMAGE, "bitcode");
    text_refused("\0asm\1\0\0\0", 8, KEEL_EIMAGE, "WebAssembly");
    text_refused("\0\0\0\0\0\0\0\0", 8, KEEL_EIMAGE, "starts with zeros");
    text_refused("\0\0@@@@@@", 8, KEEL_EIMAGE, "the bytes 00 00 40 40");
    text_refused("\x01\x99\x80\x02\x03", 5, KEEL_EIMAGE, "the bytes 01 99 80 02");
    text_refused("\x01", 1, KEEL_EIMAGE, "too few");
    text_refused("\xcf\xfa\xed\xfe\x0c\x00\x00\x01", 8, KEEL_EUNSUPPORTED, "macOS on arm64");
    text_refused("\xca\xfe\xba\xbe\x00\x00\x00\x02", 8, KEEL_EUNSUPPORTED, "universal Mach-O");
    text_refused("\xca\xfe\xba\xbe\x00\x00\x00\x34", 8, KEEL_EIMAGE, "Java");
    text_refused("\x7f"
                 "ELF",
                 4, KEEL_EIMAGE, "too short");
    text_refused("\x7f"
                 "EL",
                 3, KEEL_EIMAGE, "too short");
}

static void other_machines_are_named(void **unused)
{
    (void)unused;
    Blob b = blob_copy(ball);
    elf_head(b)->e_machine = elf_head(ball)->e_machine == EM_AARCH64 ? EM_X86_64 : EM_AARCH64;
    refused(b, KEEL_EUNSUPPORTED, "build it for this machine");
    elf_head(b)->e_machine = 4711;
    refused(b, KEEL_EUNSUPPORTED, "processor number 4711");
    elf_head(b)->e_machine = EM_386;
    b.data[EI_CLASS] = ELFCLASS32;
    refused(b, KEEL_EUNSUPPORTED, "32-bit file (32-bit x86)");
    b.data[EI_CLASS] = 9;
    refused(b, KEEL_EIMAGE, "neither 32-bit nor 64-bit");
    b.data[EI_CLASS] = ELFCLASS64;
    b.data[EI_DATA] = ELFDATA2MSB;
    b.data[18] = 0;
    b.data[19] = EM_S390;
    refused(b, KEEL_EUNSUPPORTED, "big-endian processor (IBM Z)");
    memcpy(b.data, ball.data, 64);
    b.data[EI_OSABI] = ELFOSABI_FREEBSD;
    refused(b, KEEL_EUNSUPPORTED, "another operating system");
    free(b.data);
}

static void other_kinds_are_named(void **unused)
{
    (void)unused;
    Blob b = blob_copy(ball);
    elf_head(b)->e_type = ET_EXEC;
    refused(b, KEEL_EIMAGE, "it is a program");
    elf_head(b)->e_type = ET_REL;
    refused(b, KEEL_EIMAGE, "object file (.o)");
    elf_head(b)->e_type = ET_CORE;
    refused(b, KEEL_EIMAGE, "core dump");
    elf_head(b)->e_type = 99;
    refused(b, KEEL_EIMAGE, "type is unknown");
    elf_head(b)->e_type = ET_DYN;
    elf_segment(b, PT_GNU_EH_FRAME, 0)->p_type = PT_INTERP;
    refused(b, KEEL_EIMAGE, "it is a program");
    free(b.data);

    Error err = {0};
    Image *image = NULL;
    assert_int_equal(image_load_file("/proc/self/exe", 0, &image, &err), KEEL_EIMAGE);
    assert_non_null(strstr(err.text, "it is a program"));
    assert_int_equal(image_load_file("/tmp", 0, &image, &err), KEEL_EIMAGE);
    assert_string_equal(err.text, "/tmp: it is a folder, not a built module");
    assert_int_equal(image_load_file("/nonexistent/x.so", 0, &image, &err), KEEL_ENOTFOUND);
}

static void linker_flags_that_bind_for_ever_are_refused(void **unused)
{
    (void)unused;
    Blob b = blob_copy(ball);
    elf_dynamic(b, DT_FLAGS_1)->d_un.d_val |= DF_1_NODELETE;
    refused(b, KEEL_EIMAGE, "-z nodelete");
    elf_dynamic(b, DT_FLAGS_1)->d_un.d_val = DF_1_NOOPEN;
    refused(b, KEEL_EIMAGE, "-z nodlopen");
    elf_dynamic(b, DT_FLAGS_1)->d_un.d_val = 0x08000000; /* DF_1_PIE */
    refused(b, KEEL_EIMAGE, "it is a program");
    free(b.data);
}

static void set_note(Blob b, uint32_t abi, uint32_t table_bytes)
{
    uint8_t *note = keel_note(b, KEEL_NOTE_MODULE);
    assert_non_null(note);
    memcpy(note + 20, &abi, 4);
    memcpy(note + 24, &table_bytes, 4);
}

static void abi_and_table_are_judged(void **unused)
{
    (void)unused;
    const uint32_t full = sizeof(struct keel_module);
    Blob b = blob_copy(ball);
    set_note(b, 2 << 16, full);
    refused(b, KEEL_EABI, "built for ABI 2.0, this host speaks 1.1: update the host");
    set_note(b, KEEL_ABI + 3, full);
    refused(b, KEEL_EABI, "needs ABI 1.4, this host speaks 1.1: update the host");
    set_note(b, 7, full);
    refused(b, KEEL_EABI, "built for ABI 0.7");
    set_note(b, KEEL_ABI, 40);
    refused(b, KEEL_EABI, "its table has 40 bytes, the shortest of ABI 1.1 has 48");
    set_note(b, KEEL_ABI, full + 8);
    refused(b, KEEL_EABI, "its headers were changed");
    set_note(b, KEEL_ABI, 52);
    refused(b, KEEL_EABI, "between two entries");
    set_note(b, KEEL_ABI, UINT32_MAX);
    refused(b, KEEL_EABI, "its table has 4294967295 bytes");
    set_note(b, 1 << 16, full);
    refused(b, KEEL_EABI, "its table has 88 bytes, that of ABI 1.0 has 80");
    Error err = {0};
    set_note(b, KEEL_ABI, 48);
    assert_int_equal(open_blob(b, &err), 0);
    free(b.data);

    assert_int_equal(abi_check(1 << 16, full, 2 << 16, NULL), 0);
    assert_int_equal(abi_check(1 << 16, full, 3 << 16, &err), KEEL_EABI);
    assert_non_null(strstr(err.text, "this host speaks 2.0 to 3.0"));
}

static void notes_are_read_with_care(void **unused)
{
    (void)unused;
    Blob b = blob_copy(ball);
    uint8_t *note = keel_note(b, KEEL_NOTE_MODULE);
    note[12] = 'k';
    refused(b, KEEL_EIMAGE, "its KEEL_MODULE line is missing");
    note[12] = 'K';
    note[28] = '/';
    refused(b, KEEL_EIMAGE, "not plain text");
    note[28] = '\033';
    refused(b, KEEL_EIMAGE, "not plain text");
    note[28] = 0;
    refused(b, KEEL_EIMAGE, "empty or not plain text");
    memcpy(note + 28, "ballxxxxx", 9); /* no NUL left */
    refused(b, KEEL_EIMAGE, "its Keel note is damaged");
    free(b.data);

    b = blob_copy(ball);
    note = keel_note(b, KEEL_NOTE_MODULE);
    uint32_t size = 4;
    memcpy(note + 4, &size, 4);
    refused(b, KEEL_EIMAGE, "its Keel note is damaged");
    size = 0xfffffff0;
    memcpy(note + 4, &size, 4);
    refused(b, KEEL_EIMAGE, "its notes are damaged");
    memcpy(note, &size, 4);
    refused(b, KEEL_EIMAGE, "its notes are damaged");
    free(b.data);

    /* The build id becomes a second module note. */
    b = blob_copy(ball);
    uint8_t *id = b.data + elf_segment(b, PT_NOTE, 0)->p_offset;
    while (memcmp(id + 12, "GNU", 4) || id[8] != NT_GNU_BUILD_ID)
        id += 4;
    static const uint8_t second[] = {0, 0, 1, 0, 48, 0, 0, 0, 'c', 'u', 'e', 0, '2', 0, 0, 0};
    uint32_t head[] = {4, 0, 1};
    /* "GNU\0" has room for four bytes only; the owner "Keel\0" takes eight: shift the contents. */
    head[0] = 5;
    head[1] = 16;
    memcpy(id, head, 12);
    memcpy(id + 12, "Keel\0\0\0\0", 8);
    memcpy(id + 20, second, 16);
    refused(b, KEEL_EIMAGE, "several Keel notes (\"");

    /* The same behind one word of padding, as instrumented or merged notes have any number of. */
    static const uint8_t padded[] = {0, 0, 0, 0, 5,   0,   0,   0,   12,  0, 0,   0,
                                     1, 0, 0, 0, 'K', 'e', 'e', 'l', 0,   0, 0,   0,
                                     0, 0, 1, 0, 48,  0,   0,   0,   'c', 0, '2', 0};
    memcpy(id, padded, sizeof padded);
    refused(b, KEEL_EIMAGE, "several Keel notes (\"");
    free(b.data);
}

static void a_note_without_its_segment_is_found_by_section(void **unused)
{
    (void)unused;
    Blob b = blob_copy(ball);
    Elf64_Phdr *p = (Elf64_Phdr *)(b.data + elf_head(b)->e_phoff);
    for (int i = 0; i < elf_head(b)->e_phnum; i++)
        if (p[i].p_type == PT_NOTE)
            p[i].p_type = PT_NULL;
    Error err = {0};
    assert_int_equal(open_blob(b, &err), 0);
    elf_head(b)->e_shoff = 0;
    refused(b, KEEL_EIMAGE, "its KEEL_MODULE line is missing");
    free(b.data);
}

static void absurd_segments_are_refused(void **unused)
{
    (void)unused;
    Blob b = blob_copy(ball);
    Elf64_Phdr *second = elf_segment(b, PT_LOAD, 1), was = *second;
    second->p_vaddr += 16;
    refused(b, KEEL_EIMAGE, "a segment is not aligned");
    second->p_vaddr = second->p_offset & 4095;
    refused(b, KEEL_EIMAGE, "overlap or are out of order");
    *second = was;
    second->p_memsz = second->p_filesz - 1;
    refused(b, KEEL_EIMAGE, "smaller in memory");
    second->p_memsz = UINT64_MAX - 4096;
    refused(b, KEEL_EIMAGE, "absurd");
    *second = was;
    second->p_vaddr = UINT64_MAX & ~4095ull;
    refused(b, KEEL_EIMAGE, "absurd");
    *second = was;
    second->p_align = 3;
    refused(b, KEEL_EIMAGE, "not aligned");
    *second = was;
    second->p_offset = UINT64_MAX - 4095;
    refused(b, KEEL_EIMAGE, "outside the file");
    *second = was;
    Blob all = blob_copy(b);
    Elf64_Phdr *p = (Elf64_Phdr *)(all.data + elf_head(all)->e_phoff);
    for (int i = 0; i < elf_head(all)->e_phnum; i++)
        p[i].p_flags &= ~(uint32_t)PF_X;
    refused(all, KEEL_EIMAGE, "it has no code");
    free(all.data);

    Elf64_Phdr *relro = elf_segment(b, PT_GNU_RELRO, 0), relro_was = *relro;
    relro->p_memsz = 1ull << 33;
    refused(b, KEEL_EIMAGE, "read-only-after-relocation");
    *relro = relro_was;
    Elf64_Phdr *dynamic = elf_segment(b, PT_DYNAMIC, 0), dynamic_was = *dynamic;
    dynamic->p_vaddr += 16;
    refused(b, KEEL_EIMAGE, "contradict each other");
    *dynamic = dynamic_was;
    dynamic->p_type = PT_NULL;
    refused(b, KEEL_EIMAGE, "not dynamically linked");
    *dynamic = dynamic_was;
    elf_dynamic(b, DT_SYMTAB)->d_tag = DT_DEBUG;
    refused(b, KEEL_EIMAGE, "its symbol tables are missing");
    elf_head(b)->e_phnum = 0;
    refused(b, KEEL_EIMAGE, "no program headers");
    elf_head(b)->e_phnum = 65535;
    refused(b, KEEL_EIMAGE, "program headers are damaged");
    elf_head(b)->e_phnum = 9;
    elf_head(b)->e_phoff = UINT64_MAX - 7;
    refused(b, KEEL_EIMAGE, "program headers");
    free(b.data);
}

static void cut_at_every_64th_byte_is_refused(void **unused)
{
    (void)unused;
    for (size_t n = 0; n < ball.bytes; n += 64) {
        Blob b = {ball.data, n};
        Error err = {0};
        if (n) {
            assert_int_not_equal(open_blob(b, &err), 0);
            assert_true(strlen(err.text) > 20);
        }
    }
    Blob b = {ball.data, ball.bytes - 1};
    Error err = {0};
    assert_int_not_equal(open_blob(b, &err), 0);
}

static void a_zeroed_half_is_refused(void **unused)
{
    (void)unused;
    Blob b = blob_copy(ball);
    memset(b.data, 0, b.bytes / 2);
    refused(b, KEEL_EIMAGE, "starts with zeros");
    memcpy(b.data, ball.data, ball.bytes);
    memset(b.data + b.bytes / 2, 0, b.bytes - b.bytes / 2);
    Error err = {0};
    assert_int_equal(open_blob(b, &err), KEEL_EIMAGE);
    free(b.data);
}

/* Whatever the bytes say, it answers, and what it accepts keeps its promises. */
static void flipped_bits_never_harm(void **unused)
{
    (void)unused;
    uint64_t seed = 0x9e3779b97f4a7c15;
    Blob b = blob_copy(ball);
    int accepted = 0;
    for (int round = 0; round < 4000; round++) {
        memcpy(b.data, ball.data, ball.bytes);
        for (int i = 0; i < 1 + round % 8; i++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            /* Mostly where the tables are. */
            size_t room = round & 1 ? 1024 : b.bytes;
            b.data[seed % room] ^= (uint8_t)(1u << (seed >> 40 & 7));
        }
        Image *image = NULL;
        Error err = {0};
        if (image_open(sealed_memfd(b.data, b.bytes), b.bytes, (Hash){0}, "x.so", &image, &err)) {
            assert_true(strlen(err.text) > 20);
            continue;
        }
        accepted++;
        assert_true(image->load_count > 0 && image->load_count <= IMAGE_LOADS_MAX);
        assert_true(image->span_first < image->span_last);
        for (int i = 0; i < image->load_count; i++)
            assert_true(image->loads[i].file_offset + image->loads[i].file_bytes <= b.bytes);
        assert_non_null(memchr(image->name, 0, IMAGE_NAME_BYTES));
        image_unref(image);
    }
    assert_true(accepted > 0); /* flips in code and debug information don't matter here */
    free(b.data);
}

static void only_sealed_bytes_are_taken(void **unused)
{
    (void)unused;
    Image *image = NULL;
    Error err = {0};
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(write(fd, ball.data, ball.bytes), ball.bytes);
    assert_int_equal(image_open(fd, ball.bytes, (Hash){0}, "x.so", &image, &err), KEEL_EINVAL);
    assert_non_null(strstr(err.text, "not sealed"));
    assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken over all the same */
    fd = sealed_memfd(ball.data, ball.bytes);
    assert_int_equal(image_open(fd, ball.bytes + 1, (Hash){0}, "x.so", &image, &err), KEEL_EINVAL);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
    ball = blob_read(BALL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_is_described),
        cmocka_unit_test(what_is_not_elf_is_named),
        cmocka_unit_test(other_machines_are_named),
        cmocka_unit_test(other_kinds_are_named),
        cmocka_unit_test(linker_flags_that_bind_for_ever_are_refused),
        cmocka_unit_test(abi_and_table_are_judged),
        cmocka_unit_test(notes_are_read_with_care),
        cmocka_unit_test(a_note_without_its_segment_is_found_by_section),
        cmocka_unit_test(absurd_segments_are_refused),
        cmocka_unit_test(cut_at_every_64th_byte_is_refused),
        cmocka_unit_test(a_zeroed_half_is_refused),
        cmocka_unit_test(flipped_bits_never_harm),
        cmocka_unit_test(only_sealed_bytes_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
