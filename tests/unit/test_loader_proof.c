/* module/verify and module/trial_job: each proof refuses what it is there to refuse. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "module/dltext.h"
#include "module/load.h"
#include "module/loader.h"
#include "module/trial_job.h"
#include "module/verify.h"

/* A generation that was opened by hand, through its own descriptor. */
static Generation *open_by_hand(void)
{
    char name[64];
    Error err = {0};
    Generation *g = calloc(1, sizeof *g);
    assert_non_null(g);
    if (image_load_file(KEEL_TEST_FIXTURES "/fx_plain.so", INT64_C(2000000000), &g->image, &err))
        fail_msg("%s", err.text);
    snprintf(name, sizeof name, "/proc/self/fd/%d", g->image->memfd);
    g->staged = strdup(name);
    g->handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(g->handle);
    if (verify_place(g, &err) || verify_mapped(g, &err) || verify_table(g, &err))
        fail_msg("%s", err.text);
    return g;
}

static void let_go(Generation *g)
{
    dlclose(g->handle);
    generation_free(g);
}

static uintptr_t code_page(const Generation *g)
{
    return (uintptr_t)g->table->frame & ~(uintptr_t)4095;
}

static void another_file_is_refused(void **unused)
{
    (void)unused;
    Generation *g = open_by_hand();
    Image *mine = g->image, *copy = NULL;
    Error err = {0};
    assert_int_equal(load_copy_image(mine, &copy, &err), 0);
    g->image = copy; /* the same bytes, another file: not what was mapped */
    assert_int_equal(verify_mapped(g, &err), KEEL_ELOAD);
    assert_non_null(strstr(err.text, "another file"));
    g->image = mine;
    image_unref(copy);
    let_go(g);
}

static void another_name_is_refused(void **unused)
{
    (void)unused;
    Generation *g = open_by_hand();
    Error err = {0};
    char *mine = g->staged;
    g->staged = (char *)(uintptr_t) "/proc/self/fd/99999";
    assert_int_equal(verify_place(g, &err), KEEL_ELOAD);
    assert_non_null(strstr(err.text, "instead of /proc/self/fd/99999"));
    g->staged = mine;
    let_go(g);
}

static void changed_code_is_refused(void **unused)
{
    (void)unused;
    Generation *g = open_by_hand();
    Error err = {0};
    void *page = (void *)code_page(g);
    volatile uint8_t *byte = (volatile uint8_t *)(uintptr_t)g->table->frame;
    assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC), 0);
    assert_int_equal(verify_mapped(g, &err), KEEL_ELOAD);
    assert_non_null(strstr(err.text, "both writable and executable"));
    *byte ^= 1;
    assert_int_equal(mprotect(page, 4096, PROT_READ | PROT_EXEC), 0);
    assert_int_equal(verify_mapped(g, &err), KEEL_ELOAD);
    assert_non_null(strstr(err.text, "its code in memory differs"));
    let_go(g);
}

static void replaced_pages_are_refused(void **unused)
{
    (void)unused;
    Generation *g = open_by_hand();
    Error err = {0};
    uint8_t kept[4096];
    void *page = (void *)code_page(g);
    memcpy(kept, page, sizeof kept);
    void *fresh = mmap(page, sizeof kept, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    assert_ptr_equal(fresh, page);
    memcpy(page, kept, sizeof kept); /* the same bytes, but nobody's seal is on them */
    assert_int_equal(verify_mapped(g, &err), KEEL_ELOAD);
    assert_non_null(strstr(err.text, "are not those of the image that was checked"));
    assert_int_equal(mprotect(page, sizeof kept, PROT_READ | PROT_EXEC), 0);
    let_go(g);
}

static void tables_that_contradict_their_note_are_refused(void **unused)
{
    (void)unused;
    Generation *g = open_by_hand();
    const Image *image = g->image;
    Error err = {0};
    struct keel_module table = *g->table;
    assert_int_equal(table_check(&table, image, &err), 0);
    table.size = 24;
    assert_int_equal(table_check(&table, image, &err), KEEL_EABI);
    table = *g->table;
    table.size += 8;
    assert_int_equal(table_check(&table, image, &err), KEEL_EABI);
    table = *g->table;
    table.abi++;
    assert_int_equal(table_check(&table, image, &err), KEEL_EABI);
    assert_non_null(strstr(err.text, "rebuild it whole"));
    table = *g->table;
    table.name = "other";
    assert_int_equal(table_check(&table, image, &err), KEEL_EIMAGE);
    table = *g->table;
    table.version = "9.9";
    assert_int_equal(table_check(&table, image, &err), KEEL_EIMAGE);
    let_go(g);
}

static void inside_means_wholly_inside(void **unused)
{
    (void)unused;
    Generation *g = open_by_hand();
    uintptr_t frame = (uintptr_t)g->table->frame;
    assert_true(verify_inside(g, frame, 1, PF_X));
    assert_false(verify_inside(g, frame, 1, PF_W));
    assert_false(verify_inside(g, g->load_last, 1, PF_R));
    assert_false(verify_inside(g, g->load_first, g->load_last - g->load_first + 4096, PF_R));
    assert_false(verify_inside(g, frame, UINT64_MAX, PF_X));
    assert_false(verify_inside(g, UINTPTR_MAX, 2, PF_R));
    assert_false(verify_inside(g, 0, 1, PF_R));
    let_go(g);
}

static void said(const char *words, const char *sentence)
{
    Error err = {0};
    assert_int_equal(dltext_explain("/m/ball.so", "/run/g7/ball.so", words, &err), KEEL_ELOAD);
    if (!strstr(err.text, sentence) || strstr(err.text, "/run/g7"))
        fail_msg("%s", err.text);
}

static void the_loaders_words_are_translated(void **unused)
{
    (void)unused;
    said("/run/g7/ball.so: undefined symbol: foo", "needs the function or variable foo, which");
    said("/run/g7/ball.so: undefined symbol: foo, version V1", "variable foo, which");
    said("/run/g7/ball.so: undefined symbol: __asan_init", "built with a sanitizer");
    said("libx.so.1: cannot open shared object file: No such file or directory",
         "needs the library libx.so.1, which is not on this machine");
    said("/run/g7/ball.so: cannot open shared object file: No such file", "under its staged name");
    said("/run/g7/ball.so: cannot allocate memory in static TLS block", "initial-exec");
    said("/lib/libc.so.6: version `GLIBC_2.99' not found (required by /run/g7/ball.so)",
         "it needs version GLIBC_2.99");
    said("/run/g7/ball.so: wrong ELF class: ELFCLASS32", "another word size");
    said("ball: cannot enable executable stack as shared object requires", "noexecstack");
    said("/run/g7/ball.so: failed to map segment: cannot map zero-fill pages", "no memory to load");
    said("something new", "the loader refused ball.so: rebuild it (something new)");
    Error err = {0};
    dltext_explain("/m/ball.so", "/run/g7/ball.so", NULL, &err);
    assert_non_null(strstr(err.text, "it gave no reason"));
}

static void answers_of_strangers_are_refused(void **unused)
{
    (void)unused;
    int pair[2], fd;
    Error err = {0};
    TrialWireResult *sent = calloc(1, sizeof *sent), *got = calloc(1, sizeof *got);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    assert_int_equal(trial_answer_read(pair[0], got, &fd, &err), KEEL_EPARTIAL);
    assert_int_equal(send(pair[1], "hello", 5, 0), 5);
    assert_int_equal(trial_answer_read(pair[0], got, &fd, &err), KEEL_EPROTOCOL);
    assert_int_equal(send(pair[1], sent, sizeof *sent, 0), sizeof *sent);
    assert_int_equal(trial_answer_read(pair[0], got, &fd, &err), KEEL_EPROTOCOL);
    sent->magic = TRIAL_WIRE_MAGIC;
    sent->version = TRIAL_WIRE_VERSION + 1;
    assert_int_equal(send(pair[1], sent, sizeof *sent, 0), sizeof *sent);
    assert_int_equal(trial_answer_read(pair[0], got, &fd, &err), KEEL_EPROTOCOL);
    assert_non_null(strstr(err.text, "of another build"));
    /* Of this build and full of lies: every text ends, every number is in its bounds. */
    memset(sent, 0xff, sizeof *sent);
    sent->magic = TRIAL_WIRE_MAGIC;
    sent->version = TRIAL_WIRE_VERSION;
    assert_int_equal(send(pair[1], sent, sizeof *sent, 0), sizeof *sent);
    assert_int_equal(trial_answer_read(pair[0], got, &fd, &err), KEEL_OK);
    assert_int_equal(got->result.verdict, TRIAL_FAIL);
    assert_true(strlen(got->result.text) < sizeof got->result.text);
    assert_true(strlen(got->result.phase) < sizeof got->result.phase);
    assert_true(strlen(got->result.fault.text) < sizeof got->result.fault.text);
    assert_int_equal(got->result.fault.frame_count, 0);
    assert_true(strlen(got->result.inspection.needed.item[INSPECT_LIST - 1]) < INSPECT_TEXT);
    close(pair[1]);
    assert_int_equal(trial_answer_read(pair[0], got, &fd, &err), KEEL_EIO);
    close(pair[0]);
    free(sent);
    free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_file_is_refused),
        cmocka_unit_test(another_name_is_refused),
        cmocka_unit_test(replaced_pages_are_refused),
        cmocka_unit_test(changed_code_is_refused),
        cmocka_unit_test(tables_that_contradict_their_note_are_refused),
        cmocka_unit_test(inside_means_wholly_inside),
        cmocka_unit_test(the_loaders_words_are_translated),
        cmocka_unit_test(answers_of_strangers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
