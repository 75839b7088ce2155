/* Assets: the table is a transaction; nothing outside of the folder is reached; contents come whole
 * and again when the file changes, errors come as sentences; an undone frame gets them again. With
 * real files and keel-decode. */
#include "host_rig.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <keel/log.h>

#include "../fixtures/asset_part.h"

#include "host/host.h"
#include "watch/beneath.h"

static char folder[] = "/tmp/keel-test-assets-XXXXXX";

static const char *at(const char *name)
{
    static char paths[8][512];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const void *data, size_t bytes)
{
    char fresh[512];
    snprintf(fresh, sizeof fresh, "%s.new", at(name));
    FILE *file = fopen(fresh, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    fclose(file);
    assert_int_equal(rename(fresh, at(name)), 0);
}

/* A gray picture of 2 x 1: libpng's own output, kept as bytes. */
static const uint8_t picture[] = {
    0x89, 'P',  'N',  'G',  0x0d, 0x0a, 0x1a, 0x0a, 0,    0,    0,   13,  'I', 'H',
    'D',  'R',  0,    0,    0,    2,    0,    0,    0,    1,    8,   0,   0,   0,
    0,    0xd1, 0x55, 0x48, 0x5a, 0,    0,    0,    11,   'I',  'D', 'A', 'T', 0x78,
    0x9c, 0x63, 0x60, 0xf8, 0x0f, 0,    0x01, 0x02, 0x01, 0x00, 0,   0,   0,   0,
};

/* ---- below the folder ---- */

static void only_plain_paths_are_taken(void **unused)
{
    (void)unused;
    static const char *const good[] = {"a", "a.png", "a/b/c.txt", "..a", "a..", "\xe5\x9b\xbe/x"};
    static const char *const bad[] = {"",    "/a",   "../a", "a/../b", "a/..", "..",       ".",
                                      "./a", "a//b", "a/",   "a/./b",  "\xff", "b\xc0\xaf"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(beneath_check(good[i], NULL), KEEL_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (beneath_check(bad[i], NULL) != KEEL_EINVAL)
            fail_msg("\"%s\" was taken", bad[i]);
    char longest[300];
    memset(longest, 'a', sizeof longest);
    longest[256] = 0;
    assert_int_equal(beneath_check(longest, NULL), KEEL_EINVAL);
    longest[255] = 0;
    assert_int_equal(beneath_check(longest, NULL), KEEL_OK);
}

static void nothing_outside_is_reached(void **unused)
{
    (void)unused;
    int fd;
    uint64_t bytes;
    Error err = {0};
    write_file("inside.txt", "abc", 3);
    mkdir(at("sub"), 0700);
    assert_int_equal(symlink("/etc/passwd", at("absolute")), 0);
    assert_int_equal(symlink("../../../../../../etc/passwd", at("sub/up")), 0);
    assert_int_equal(symlink("/etc", at("etc")), 0);
    assert_int_equal(symlink("/proc/self/root", at("magic")), 0);
    assert_int_equal(symlink("../inside.txt", at("sub/in")), 0);
    static const char *const out[] = {"absolute", "sub/up", "etc/passwd", "magic/etc/passwd"};
    for (size_t i = 0; i < sizeof out / sizeof *out; i++) {
        int rc = beneath_open(folder, out[i], &fd, &bytes, &err);
        if (rc != KEEL_EDENIED)
            fail_msg("%s: %d %s", out[i], rc, err.text);
    }
    assert_int_equal(beneath_open(folder, "inside.txt", &fd, &bytes, &err), KEEL_OK);
    assert_int_equal(bytes, 3);
    close(fd);
    assert_int_equal(beneath_open(folder, "nowhere", &fd, &bytes, &err), KEEL_ENOTFOUND);
    assert_int_equal(beneath_open(folder, "sub", &fd, &bytes, &err), KEEL_EDATA);
    assert_int_equal(beneath_open("/nowhere/at/all", "x", &fd, &bytes, &err), KEEL_ENOTFOUND);
    mkfifo(at("pipe"), 0600); /* must not be waited for */
    assert_int_equal(beneath_open(folder, "pipe", &fd, &bytes, &err), KEEL_EDATA);
}

/* ---- the table ---- */

static int orders[3];
static char ordered[64];

static void count(const AssetOrder *order, void *user)
{
    (void)user;
    orders[order->kind]++;
    snprintf(ordered, sizeof ordered, "%s", order->path);
}

static void the_table_is_a_transaction(void **unused)
{
    (void)unused;
    Assets assets = {.order = count};
    memset(orders, 0, sizeof orders);
    keel_handle first = assets_open(&assets, "a", KEEL_ASSET_TEXT, 1);
    assert_int_not_equal(first, 0);
    assert_false(assets_is_open(&assets, first));
    assets_undo(&assets);
    assert_int_equal(orders[ASSET_OPEN], 0);
    assert_int_equal(assets_open(&assets, "a", KEEL_ASSET_TEXT, 1), first); /* the same again */
    assets_commit(&assets);
    assert_int_equal(orders[ASSET_OPEN], 1);
    assert_string_equal(ordered, "a");
    assert_true(assets_is_open(&assets, first));
    assert_int_equal(assets_close(&assets, first), KEEL_OK);
    assert_int_equal(assets_close(&assets, first), KEEL_ESTALE);
    assert_int_equal(assets_again(&assets, first), KEEL_ESTALE);
    assets_undo(&assets);
    assert_int_equal(assets_again(&assets, first), KEEL_OK);
    assert_int_equal(assets_close(&assets, first), KEEL_OK);
    assets_commit(&assets);
    assert_int_equal(orders[ASSET_AGAIN], 1);
    assert_int_equal(orders[ASSET_CLOSE], 1);
    assert_int_equal(assets_close(&assets, first), KEEL_ESTALE);
    assert_int_equal(assets_close(&assets, 0), KEEL_ESTALE);
    assert_int_equal(assets_close(&assets, UINT64_MAX), KEEL_ESTALE);
    for (int i = 0; i < ASSETS_OPEN; i++)
        assert_int_not_equal(assets_open(&assets, "b", KEEL_ASSET_TEXT, 1), 0);
    assert_int_equal(assets_open(&assets, "one too many", KEEL_ASSET_TEXT, 1), 0);
    assets_undo(&assets);
    assert_int_equal(assets.count, 0);
    assets_done(&assets);
}

/* ---- with a host ---- */

typedef struct Desk {
    Rig rig;
    struct asset_part part;
} Desk;

static _Atomic int warned; /* lines about assets that people see */

static void hear(uint32_t level, const char *room, const char *text, void *user)
{
    (void)user;
    if (level == KEEL_LOG_WARN && !strcmp(room, "asset") && strstr(text, "later.txt: "))
        warned++;
}

static void desk_open(Desk *desk)
{
    memset(desk, 0, sizeof *desk);
    struct keel_host_options host_options = rig_options();
    host_options.log = hear;
    rig_open(&desk->rig, &host_options);
    struct keel_slot_options options = {
        .size = sizeof options, .no_watch = 1, .user = &desk->part, .assets = folder};
    if (keel_host_add(desk->rig.host, rig_file("fx_asset"), &options, &desk->rig.slots[0]))
        fail_msg("%s", keel_host_error());
    rig_frames(&desk->rig, 25); /* probation is over */
}

static uint64_t open_asset(Desk *desk, const char *path, uint32_t kind, uint64_t tag)
{
    snprintf(desk->part.open, sizeof desk->part.open, "%s", path);
    desk->part.kind = kind;
    desk->part.tag = tag;
    rig_frame(&desk->rig);
    return desk->part.opened;
}

/* Frames until `count` events with this tag were seen. */
static void await(Desk *desk, uint64_t tag, uint64_t wanted)
{
    for (int i = 0; desk->part.events[tag] < wanted; i++) {
        if (i > RIG_PATIENCE)
            fail_msg("no event %llu of tag %llu", (unsigned long long)wanted,
                     (unsigned long long)tag);
        rig_frame(&desk->rig);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

static void contents_come_and_come_again(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    write_file("hello.txt", "hello", 5);
    uint64_t hello = open_asset(&desk, "hello.txt", KEEL_ASSET_TEXT, 1);
    assert_int_not_equal(hello, 0);
    await(&desk, 1, 1);
    assert_int_equal(desk.part.result[1], 0);
    assert_string_equal(desk.part.text[1], "hello");
    assert_int_equal(desk.part.bytes, 5);
    write_file("hello.txt", "hello again", 11);
    await(&desk, 1, 2);
    assert_string_equal(desk.part.text[1], "hello again");
    /* In place and slowly: only the whole is seen. */
    FILE *file = fopen(at("hello.txt"), "wb");
    for (int i = 0; i < 20; i++) {
        fputs("0123456789", file);
        fflush(file);
        rig_frame(&desk.rig);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    assert_int_equal(desk.part.events[1], 2);
    fclose(file);
    await(&desk, 1, 3);
    assert_int_equal(desk.part.bytes, 200);
    /* The same bytes are no news, unless they are asked for. */
    char same[201];
    memcpy(same, desk.part.text[1], 200);
    write_file("hello.txt", same, 200);
    for (int i = 0; i < 100; i++) {
        rig_frame(&desk.rig);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(desk.part.events[1], 3);
    desk.part.again = hello;
    rig_frame(&desk.rig);
    assert_int_equal(desk.part.asked_again, KEEL_OK);
    await(&desk, 1, 4);
    desk.part.close = hello;
    rig_frame(&desk.rig);
    assert_int_equal(desk.part.closed, KEEL_OK);
    write_file("hello.txt", "nobody hears", 12);
    for (int i = 0; i < 50; i++) {
        rig_frame(&desk.rig);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(desk.part.events[1], 4);
    rig_close(&desk.rig);
}

static void pictures_and_sounds_are_decoded(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    static const uint8_t sound[] =
        "RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\0\0\0\0\2\0\x10\0"
        "data\4\0\0\0\0\x40\0\xc0";
    write_file("tone.wav", sound, 48);
    open_asset(&desk, "tone.wav", KEEL_ASSET_SOUND, 2);
    await(&desk, 2, 1);
    if (desk.part.result[2])
        fail_msg("%s", desk.part.text[2]);
    assert_int_equal(desk.part.rate, 8000);
    assert_int_equal(desk.part.channels, 1);
    assert_int_equal(desk.part.frames, 2);
    assert_true(desk.part.sample == 0.5f);
    /* Cut short: an error, and what comes later whole is taken. */
    write_file("dot.png", picture, sizeof picture);
    open_asset(&desk, "dot.png", KEEL_ASSET_IMAGE, 3);
    await(&desk, 3, 1);
    assert_int_equal(desk.part.result[3], KEEL_EDATA);
    assert_non_null(strstr(desk.part.text[3], "dot.png: it is"));
    assert_int_equal(desk.part.image, 0);
    FILE *good = popen("python3 - <<'E'\n"
                       "import zlib,struct,sys\n"
                       "def c(t,d): return struct.pack('>I',len(d))+t+d+"
                       "struct.pack('>I',zlib.crc32(t+d))\n"
                       "sys.stdout.buffer.write(b'\\x89PNG\\r\\n\\x1a\\n'+"
                       "c(b'IHDR',struct.pack('>IIBBBBB',3,2,8,2,0,0,0))+"
                       "c(b'IDAT',zlib.compress((b'\\0'+bytes(9))*2))+c(b'IEND',b''))\n"
                       "E",
                       "r");
    char png[512];
    size_t bytes = fread(png, 1, sizeof png, good);
    assert_int_equal(pclose(good), 0);
    write_file("dot.png", png, bytes);
    await(&desk, 3, 2);
    if (desk.part.result[3])
        fail_msg("%s", desk.part.text[3]);
    assert_int_equal(desk.part.width, 3);
    assert_int_equal(desk.part.height, 2);
    assert_int_equal(desk.part.bytes, 24);
    assert_int_not_equal(desk.part.image, 0);
    rig_close(&desk.rig);
}

static void what_cannot_be_read_is_said(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    assert_int_equal(open_asset(&desk, "../outside.txt", KEEL_ASSET_TEXT, 4), 0);
    assert_int_equal(open_asset(&desk, "/etc/passwd", KEEL_ASSET_TEXT, 4), 0);
    assert_int_equal(open_asset(&desk, "a.txt", 77, 4), 0);
    unlink(at("later.txt"));
    open_asset(&desk, "later.txt", KEEL_ASSET_TEXT, 5);
    await(&desk, 5, 1);
    assert_int_equal(desk.part.result[5], KEEL_ENOTFOUND);
    assert_non_null(strstr(desk.part.text[5], "later.txt: No such file"));
    write_file("later.txt", "\xff\xfe no text", 10);
    await(&desk, 5, 2);
    assert_int_equal(desk.part.result[5], KEEL_EDATA);
    assert_non_null(strstr(desk.part.text[5], "no UTF-8 text (byte 0)"));
    for (int i = 0; i < RIG_PATIENCE && warned < 2; i++) /* told to people as well */
        rig_frame(&desk.rig);
    assert_int_equal(warned, 2);
    write_file("later.txt", "\xef\xbf\xbd here now", 12); /* U+FFFD itself is text */
    await(&desk, 5, 3);
    assert_int_equal(desk.part.result[5], 0);
    write_file("later.txt", "", 0);
    await(&desk, 5, 4);
    assert_int_equal(desk.part.result[5], 0);
    assert_int_equal(desk.part.bytes, 0);
    unlink(at("out"));
    assert_int_equal(symlink("/etc/passwd", at("out")), 0);
    open_asset(&desk, "out", KEEL_ASSET_TEXT, 6);
    await(&desk, 6, 1);
    assert_int_equal(desk.part.result[6], KEEL_EDENIED);
    int fd = open(at("huge"), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    assert_int_equal(ftruncate(fd, (64 << 20) + 1), 0);
    close(fd);
    open_asset(&desk, "huge", KEEL_ASSET_BYTES, 7);
    await(&desk, 7, 1);
    assert_int_equal(desk.part.result[7], KEEL_ELIMIT);
    unlink(at("huge"));
    write_file("face.ttf", "\0\1\0\0 cut off", 12);
    open_asset(&desk, "face.ttf", KEEL_ASSET_FONT, 3);
    await(&desk, 3, 1);
    assert_int_equal(desk.part.result[3], KEEL_EDATA);
    assert_non_null(strstr(desk.part.text[3], "face.ttf: it is cut short"));
    rig_close(&desk.rig);
}

static void undone_frames_get_it_again(void **unused)
{
    (void)unused;
    Desk desk;
    desk_open(&desk);
    write_file("once.txt", "once", 4);
    desk.part.crash = 1;
    uint64_t first = open_asset(&desk, "once.txt", KEEL_ASSET_TEXT, 1); /* never was */
    assert_int_not_equal(first, 0);
    for (int i = 0; i < 50; i++) {
        rig_frame(&desk.rig);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(desk.part.events[1], 0);
    assert_int_equal(open_asset(&desk, "once.txt", KEEL_ASSET_TEXT, 1), first);
    desk.part.crash_on_asset = 1;
    await(&desk, 1, 2);
    assert_int_equal(desk.part.redelivered, 1);
    assert_int_equal(rig_status(&desk.rig, 0).undone, 2);
    rig_close(&desk.rig);
}

static void closing_waits_for_no_reading(void **unused)
{
    (void)unused;
    for (int round = 0; round < 10; round++) {
        Desk desk;
        desk_open(&desk);
        write_file("tone.wav", "RIFF", 4);
        for (int i = 0; i < round; i++)
            open_asset(&desk, "tone.wav", KEEL_ASSET_SOUND, 2);
        rig_close(&desk.rig);
    }
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_plain_paths_are_taken),
        cmocka_unit_test(nothing_outside_is_reached),
        cmocka_unit_test(the_table_is_a_transaction),
        cmocka_unit_test(contents_come_and_come_again),
        cmocka_unit_test(pictures_and_sounds_are_decoded),
        cmocka_unit_test(what_cannot_be_read_is_said),
        cmocka_unit_test(undone_frames_get_it_again),
        cmocka_unit_test(closing_waits_for_no_reading),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) ? 1 : failed;
}
