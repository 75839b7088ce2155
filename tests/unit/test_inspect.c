/* inspect: what the deep look sees, what it refuses, and that no bytes harm it. */
#include "image_files.h"

#include "image/image.h"
#include "image/inspect.h"

#define BALL KEEL_TEST_MODULES "/ball.so"

static Blob ball;
static Inspection seen;

static uint8_t *at_address(Blob b, uint64_t address)
{
    for (int i = 0;; i++) {
        Elf64_Phdr *p = elf_segment(b, PT_LOAD, i);
        if (address >= p->p_vaddr && address < p->p_vaddr + p->p_filesz)
            return b.data + p->p_offset + (address - p->p_vaddr);
    }
}

static Elf64_Sym *symbol(Blob b, const char *name)
{
    Elf64_Sym *s = (Elf64_Sym *)at_address(b, elf_dynamic(b, DT_SYMTAB)->d_un.d_ptr);
    const char *text = (const char *)at_address(b, elf_dynamic(b, DT_STRTAB)->d_un.d_ptr);
    while (strcmp(text + s->st_name, name))
        s++;
    return s;
}

static int has(const InspectList *list, const char *name)
{
    for (uint32_t i = 0; i < list->count && i < INSPECT_LIST; i++)
        if (!strcmp(list->item[i], name))
            return 1;
    return 0;
}

static void inspected(Blob b)
{
    Error err = {0};
    if (inspect_bytes(b.data, b.bytes, &seen, &err))
        fail_msg("%s", err.text);
}

static void refused(const char *part)
{
    Error err = {0};
    if (inspect_refuse(&seen, &err) != KEEL_EIMAGE || !strstr(err.text, part))
        fail_msg("wanted \"%s\", got: %s", part, err.text);
}

static void contradicts(Blob b, const char *part)
{
    Error err = {0};
    if (inspect_bytes(b.data, b.bytes, &seen, &err) != KEEL_EIMAGE || !strstr(err.text, part))
        fail_msg("wanted \"%s\", got: %s", part, err.text);
}

static void a_module_is_seen_through(void **unused)
{
    (void)unused;
    inspected(ball);
    assert_true(has(&seen.exported, "keel_module"));
    assert_int_equal(seen.exports_module, 1);
    assert_int_equal(seen.unique.count, 0);
    assert_int_equal(seen.has_symtab, 1);
    assert_int_equal(seen.has_debug, 1);
    assert_int_equal(seen.has_relocs, 1);
    assert_int_equal(seen.bind_now, 1);
    assert_int_equal(seen.text_relocations, 0);
    assert_int_equal(seen.executable_stack, 0);
    assert_int_equal(seen.writable_code, 0);
    assert_int_equal(seen.nodelete, 0);
    assert_true(seen.constructors > 0);
#if defined(__clang__)
    assert_non_null(strstr(seen.compiler, "clang")); /* not its linker, nor who made crt1.o */
#else
    assert_non_null(strstr(seen.compiler, "GCC"));
#endif
    Error err = {0};
    assert_int_equal(inspect_refuse(&seen, &err), 0);
}

static void what_it_may_not_be_is_refused(void **unused)
{
    (void)unused;
    Blob b = blob_copy(ball);
    elf_dynamic(b, DT_FLAGS_1)->d_un.d_val |= DF_1_NODELETE;
    inspected(b);
    refused("-z nodelete");
    memcpy(b.data, ball.data, b.bytes);

    symbol(b, "keel_module")->st_info = ELF64_ST_INFO(STB_GNU_UNIQUE, STT_OBJECT);
    inspected(b);
    refused(
        "its symbol keel_module is unique in the process (STB_GNU_UNIQUE), so it could never be "
        "taken out again: compile it with -fno-gnu-unique");
    memcpy(b.data, ball.data, b.bytes);

    symbol(b, "keel_module")->st_other = STV_HIDDEN;
    inspected(b);
    refused("does not export the symbol keel_module");
    memcpy(b.data, ball.data, b.bytes);

    /* Every libc-linked module has this weak import; MemorySanitizer serves no other build here. */
    const char *text = (const char *)at_address(b, elf_dynamic(b, DT_STRTAB)->d_un.d_ptr);
    memcpy((char *)text + symbol(b, "__cxa_finalize")->st_name, "__msan_init\0\0\0", 14);
    inspected(ball);
    uint32_t own = seen.sanitizer; /* a sanitizer build's modules are its like */
    inspected(b);
    assert_int_equal(seen.sanitizer, own && own != 3 ? own : 4);
    free(b.data);
    seen.sanitizer = 4;
    refused("it needs the runtime of MemorySanitizer");
    seen.sanitizer = 0xffff; /* from a helper that went mad */
    refused("it needs the runtime of a sanitizer");
}

static void the_shim_is_known_by_what_it_asks_for(void **unused)
{
    (void)unused;
    Blob b = blob_copy(ball);
    const char *text = (const char *)at_address(b, elf_dynamic(b, DT_STRTAB)->d_un.d_ptr);
    char *name = (char *)text + symbol(b, "__gmon_start__")->st_name;
    memcpy(name, "keel_heap_bund", 14);
    inspected(ball);
    uint32_t own = seen.has_shim;
    inspected(b);
    assert_int_equal(seen.has_shim, own);
    memcpy(name, "keel_heap_bind", 14);
    elf_head(b)->e_shoff = 0; /* stripped to the bone */
    inspected(b);
    assert_int_equal(seen.has_shim, 1);
    free(b.data);
}

static void hazards_are_seen(void **unused)
{
    (void)unused;
    Blob b = blob_copy(ball);
    elf_segment(b, PT_GNU_STACK, 0)->p_flags |= PF_X;
    int code = 0;
    while (!(elf_segment(b, PT_LOAD, code)->p_flags & PF_X))
        code++;
    elf_segment(b, PT_LOAD, code)->p_flags |= PF_W;
    elf_dynamic(b, DT_FLAGS)->d_un.d_val |= DF_TEXTREL | DF_STATIC_TLS;
    inspected(b);
    assert_int_equal(seen.executable_stack, 1);
    assert_int_equal(seen.writable_code, 1);
    assert_int_equal(seen.text_relocations, 1);
    assert_int_equal(seen.static_tls, 1);
    elf_segment(b, PT_GNU_STACK, 0)->p_type = PT_NULL;
    elf_head(b)->e_shoff = 0; /* no sections at all */
    elf_head(b)->e_shnum = 0;
    inspected(b);
    assert_int_equal(seen.executable_stack, 1);
    assert_int_equal(seen.has_symtab, 0);
    assert_int_equal(seen.has_debug, 0);
    assert_int_equal(seen.exports_module, 1);
    free(b.data);
}

static void imports_are_seen_without_exports(void **unused)
{
    (void)unused;
    Blob b = blob_read(KEEL_TEST_FIXTURES "/bare_imports.so");
    inspected(b);
    if (!has(&seen.exported, "_end")) /* gold exports where its segments end */
        assert_int_equal(seen.exported.count, 0);
    assert_true(has(&seen.undefined, "puts"));
    assert_true(seen.constructors > 0);
    free(b.data);
}

static void contradictions_are_named(void **unused)
{
    (void)unused;
    Blob b = blob_copy(ball);
    symbol(b, "keel_module")->st_name = 1 << 30;
    contradicts(b, "a symbol's name lies outside");
    memcpy(b.data, ball.data, b.bytes);
    elf_dynamic(b, DT_INIT_ARRAYSZ)->d_un.d_val = 1ull << 40;
    contradicts(b, "list of constructors");
    memcpy(b.data, ball.data, b.bytes);
    elf_dynamic(b, DT_RELASZ)->d_un.d_val = UINT64_MAX;
    contradicts(b, "its relocations lie outside");
    memcpy(b.data, ball.data, b.bytes);
    elf_dynamic(b, DT_STRSZ)->d_un.d_val = UINT64_MAX;
    contradicts(b, "its table of names");
    memcpy(b.data, ball.data, b.bytes);
    uint32_t *hash = (uint32_t *)at_address(b, elf_dynamic(b, DT_GNU_HASH)->d_un.d_ptr);
    uint32_t was = hash[0];
    hash[0] = UINT32_MAX;
    contradicts(b, "its hash table of symbols lies outside");
    hash[0] = was;
    hash[2] = UINT32_MAX;
    contradicts(b, "its hash table of symbols lies outside");
    memcpy(b.data, ball.data, b.bytes);
    elf_dynamic(b, DT_GNU_HASH)->d_tag = DT_DEBUG;
    Elf64_Dyn *d = (Elf64_Dyn *)(b.data + elf_segment(b, PT_DYNAMIC, 0)->p_offset);
    for (; d->d_tag != DT_NULL; d++)
        if (d->d_tag == DT_HASH) /* some compilers ask for both */
            d->d_tag = DT_DEBUG;
    contradicts(b, "no hash table");
    memcpy(b.data, ball.data, b.bytes);
    elf_dynamic(b, DT_SYMTAB)->d_un.d_ptr += 24;
    Error err = {0};
    assert_int_equal(inspect_bytes(b.data, b.bytes, &seen, &err), KEEL_EIMAGE);
    free(b.data);
    assert_int_equal(inspect_bytes("\x7f"
                                   "ELF",
                                   4, &seen, &err),
                     KEEL_EIMAGE);
    assert_int_equal(inspect_bytes("", 0, &seen, &err), KEEL_EIMAGE);
}

static void text_is_printable(Inspection *i)
{
    const InspectList *lists[] = {&i->needed, &i->undefined, &i->exported, &i->unique};
    for (int l = 0; l < 4; l++)
        for (uint32_t n = 0; n < lists[l]->count && n < INSPECT_LIST; n++)
            for (const char *c = lists[l]->item[n]; *c; c++)
                assert_in_range(*c, ' ', '~');
}

static void cut_zeroed_and_flipped(void **unused)
{
    (void)unused;
    Error err;
    for (size_t n = 0; n < ball.bytes; n += 64) {
        Blob b = {malloc(n + 1),
                  n}; /* exactly as long, so that a sanitizer sees every step too far */
        memcpy(b.data, ball.data, n);
        inspect_bytes(b.data, n, &seen, &err);
        free(b.data);
    }
    uint64_t seed = 0x2545f4914f6cdd1d;
    Blob b = blob_copy(ball);
    int whole = 0;
    for (int round = 0; round < 6000; round++) {
        memcpy(b.data, ball.data, ball.bytes);
        for (int i = 0; i < 1 + round % 6; i++) {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            size_t from = round % 3 == 0 ? 0 : round % 3 == 1 ? elf_head(ball)->e_shoff : 0;
            size_t room = round % 3 == 0 ? 1200 : b.bytes - from;
            b.data[from + seed % room] ^= (uint8_t)(1u << (seed >> 40 & 7));
        }
        if (inspect_bytes(b.data, b.bytes, &seen, &err))
            continue;
        whole++;
        text_is_printable(&seen);
        inspect_refuse(&seen, &err);
    }
    assert_true(whole > 0);
    free(b.data);
}

int main(void)
{
    ball = blob_read(BALL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_module_is_seen_through),
        cmocka_unit_test(what_it_may_not_be_is_refused),
        cmocka_unit_test(the_shim_is_known_by_what_it_asks_for),
        cmocka_unit_test(hazards_are_seen),
        cmocka_unit_test(imports_are_seen_without_exports),
        cmocka_unit_test(contradictions_are_named),
        cmocka_unit_test(cut_zeroed_and_flipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
