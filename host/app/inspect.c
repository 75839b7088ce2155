/* `keel inspect FILE`: all that is known of an image without running it, and whether it would be
 * accepted. Owns the sealed copy that it reads; runs nothing of the file. */
#include <elf.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <fcntl.h>
#include <unistd.h>

#include <keel/base.h>

#include "app/apart.h"
#include "app/arch.h"
#include "app/commands.h"
#include "app/text.h"
#include "image/image.h"
#include "image/macho.h"
#include "watch/settle.h"

enum { ACCEPTED = 0, REFUSED = 1, IMPOSSIBLE = 2 };

/* What is known; parts are missing when they could not be learnt. */
typedef struct Report {
    const char *path, *arch;
    int settled, inspected;
    size_t bytes;
    Hash hash;
    Image *image;
    Inspection inspection;
    int code; /* why it is refused, 0: accepted */
    Error err;
} Report;

static const char HELP[] =
    "usage: keel inspect FILE [--json] [--arch x86-64|arm64]\n"
    "\n"
    "Says what is known of a built module without running any of it: name, version, ABI, services\n"
    "it needs, build id, hash, libraries, symbols, hazards; then `accepted`, or why it would be\n"
    "refused.\n"
    "\n"
    "  --json   one JSON object instead of text\n"
    "  --arch   which part of a universal file for macOS (this machine's); such files can be\n"
    "           looked at here, not run\n"
    "\n"
    "Exit status: 0 accepted, 1 refused, 2 the file could not be read or the command is wrong.\n"
    "\n"
    "example: keel inspect build/ball.so\n";

static void refuse(Report *r, int code)
{
    if (!r->code)
        r->code = code;
}

static void look(Report *r, Settled *settled)
{
    Error err;
    void *data = mmap(NULL, settled->bytes, PROT_READ, MAP_SHARED, settled->memfd, 0);
    int copy = fcntl(settled->memfd, F_DUPFD_CLOEXEC, 3);
    r->settled = 1;
    r->bytes = settled->bytes;
    r->hash = settled->hash;
    refuse(r, image_look(copy, settled->bytes, settled->hash, r->path, &r->image, &r->err));
    if (r->image && *r->image->foreign)
        refuse(r, err_set(&r->err, KEEL_EUNSUPPORTED, "%s: %s", r->path, r->image->foreign));
    if (data == MAP_FAILED)
        return;
    int known = (settled->bytes >= SELFMAG && !memcmp(data, ELFMAG, SELFMAG)) ||
                macho_is(data, settled->bytes);
    int rc = known ? inspect_apart(data, settled->bytes, &r->inspection, &err)
                   : err_set(&err, KEEL_EIMAGE, "it is no image");
    munmap(data, settled->bytes);
    r->inspected = !rc;
    if (!rc && !r->code)
        rc = inspect_refuse(&r->inspection, &err);
    if (rc && !r->code) {
        r->err = err;
        err_wrap(&r->err, "%s", r->path);
        r->code = rc;
    }
}

/* 0 or IMPOSSIBLE. A file that is there but no module is an answer, not a failure. */
static int learn(Report *r)
{
    Settled settled;
    int rc = settle_read(r->path, NULL, &settled, &r->err);
    if (!rc && (rc = arch_pick(&settled, r->arch, &r->err))) {
        settled_done(&settled);
        err_wrap(&r->err, "%s", r->path);
        refuse(r, rc);
        return IMPOSSIBLE;
    }
    if (!rc) {
        look(r, &settled);
        settled_done(&settled);
        return r->code == KEEL_EUNSUPPORTED && !r->inspected && r->image ? IMPOSSIBLE : 0;
    }
    refuse(r, rc);
    return rc == KEEL_EIMAGE || rc == KEEL_EPARTIAL || rc == KEEL_ELIMIT ? 0 : IMPOSSIBLE;
}

static void line(const char *what, const char *text)
{
    if (*text)
        printf("  %-13s %s\n", what, text);
}

static void print_list(const char *what, const InspectList *list)
{
    if (!list->count)
        return;
    uint32_t shown = list->count < INSPECT_LIST ? list->count : INSPECT_LIST;
    printf("  %-13s %u:", what, list->count);
    int column = 17;
    for (uint32_t i = 0; i < shown; i++) {
        const char *name = list->item[i];
        int width = (int)strlen(name) + 1;
        if (column + width > 98) {
            printf("\n%16s", "");
            column = 16;
        }
        printf(" %s", name);
        column += width;
    }
    puts(shown < list->count ? " ..." : "");
}

static void add(char text[256], const char *word)
{
    if (*text)
        strncat(text, ", ", 255 - strlen(text));
    strncat(text, word, 255 - strlen(text));
}

static void hazards(const Inspection *i, char text[256])
{
    *text = 0;
    if (i->text_relocations)
        add(text, "text relocations (compile with -fPIC)");
    if (i->executable_stack)
        add(text, "executable stack (link with -z noexecstack)");
    if (i->writable_code)
        add(text, "writable code");
    if (i->static_tls)
        add(text, "static thread-local storage (loading may run out of it)");
    if (!i->bind_now)
        add(text, "symbols bound late (link with -z now)");
}

static void carries(const Inspection *i, char have[256], char lack[256])
{
    *have = *lack = 0;
    add(i->has_symtab ? have : lack, "symbols");
    add(i->has_debug ? have : lack, "debug information (-g)");
    add(i->has_relocs ? have : lack, "link relocations (--emit-relocs)");
    add(i->has_shim ? have : lack, "malloc shim");
}

static void print_image(const Image *image)
{
    char text[256] = "";
    printf("  %-13s %s %s\n", "module", image->name, image->version);
    printf("  %-13s %u.%u, table of %u bytes\n", "ABI", image->abi >> 16, image->abi & 0xffff,
           image->table_bytes);
    for (int i = 0; i < image->needs_count; i++)
        add(text, image->needs[i]);
    line("needs", text);
    line("build id", image->build_id);
    printf("  %-13s %d segments, %llu KiB of memory\n", "loads", image->load_count,
           (unsigned long long)(image->span_last - image->span_first) / 1024);
}

static void print_inspection(const Inspection *i)
{
    char have[256], lack[256];
    line("compiler", i->compiler);
    print_list("libraries", &i->needed);
    line("search path", i->runpath);
    print_list("exports", &i->exported);
    print_list("imports", &i->undefined);
    print_list("unique", &i->unique);
    printf("  %-13s %u constructors, %u destructors\n", "at load", i->constructors, i->destructors);
    if (i->tls_bytes)
        printf("  %-13s %u bytes a thread\n", "thread-local", i->tls_bytes);
    carries(i, have, lack);
    line("carries", have);
    line("lacks", lack);
    hazards(i, have);
    line("hazards", have);
}

/* A file's name may hold anything: nothing of it steers the terminal. */
static void print_tame(const char *before, const char *text, FILE *to)
{
    fputs(before, to);
    text_print(to, text);
    fputc('\n', to);
}

static void print_text(const Report *r)
{
    char hash[HASH_TEXT_BYTES];
    print_tame(r->code ? "refused: " : "accepted: ", r->code ? r->err.text : r->path, stdout);
    if (r->image)
        print_image(r->image);
    if (r->settled) {
        printf("  %-13s %zu bytes\n", "size", r->bytes);
        line("hash", hash_text(r->hash, hash));
    }
    if (r->inspected)
        print_inspection(&r->inspection);
}

/* Paths need not be UTF-8; JSON must. */
static json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    char *copy = value ? NULL : strdup(text);
    for (char *c = copy; c && *c; c++)
        *c = *c & (char)0x80 ? '?' : *c;
    if (copy)
        value = json_string(copy);
    free(copy);
    return value ? value : json_null();
}

static json_t *json_list(const InspectList *list)
{
    json_t *array = json_array();
    for (uint32_t i = 0; i < list->count && i < INSPECT_LIST; i++)
        json_array_append_new(array, json_text(list->item[i]));
    return json_pack("{s:I, s:o}", "count", (json_int_t)list->count, "names", array);
}

static json_t *json_image(const Image *image)
{
    char abi[16];
    snprintf(abi, sizeof abi, "%u.%u", image->abi >> 16, image->abi & 0xffff);
    json_t *needs = json_array();
    for (int i = 0; i < image->needs_count; i++)
        json_array_append_new(needs, json_text(image->needs[i]));
    return json_pack("{s:o, s:o, s:s, s:I, s:o, s:s, s:i, s:I}", "name", json_text(image->name),
                     "version", json_text(image->version), "abi", abi, "table_bytes",
                     (json_int_t)image->table_bytes, "needs", needs, "build_id", image->build_id,
                     "segments", image->load_count, "memory_bytes",
                     (json_int_t)(image->span_last - image->span_first));
}

static json_t *json_inspection(const Inspection *i)
{
    json_t *o =
        json_pack("{s:o, s:o, s:o, s:o, s:s, s:s, s:I, s:I, s:I}", "libraries",
                  json_list(&i->needed), "exports", json_list(&i->exported), "imports",
                  json_list(&i->undefined), "unique", json_list(&i->unique), "search_path",
                  i->runpath, "compiler", i->compiler, "constructors", (json_int_t)i->constructors,
                  "destructors", (json_int_t)i->destructors, "tls_bytes", (json_int_t)i->tls_bytes);
    const struct {
        const char *name;
        uint32_t value;
    } flags[] = {
        {"has_symbols", i->has_symtab},
        {"has_debug", i->has_debug},
        {"has_relocations", i->has_relocs},
        {"has_shim", i->has_shim},
        {"nodelete", i->nodelete},
        {"text_relocations", i->text_relocations},
        {"executable_stack", i->executable_stack},
        {"writable_code", i->writable_code},
        {"static_tls", i->static_tls},
        {"bind_now", i->bind_now},
    };
    for (size_t f = 0; o && f < sizeof flags / sizeof *flags; f++)
        json_object_set_new(o, flags[f].name, json_boolean(flags[f].value != 0));
    return o;
}

static void print_json(const Report *r)
{
    char hash[HASH_TEXT_BYTES];
    json_t *o = json_pack("{s:o, s:b}", "file", json_text(r->path), "accepted", !r->code);
    if (r->code) {
        json_object_set_new(o, "code", json_string(err_name(r->code)));
        json_object_set_new(o, "reason", json_text(r->err.text));
    }
    if (r->settled) {
        json_object_set_new(o, "bytes", json_integer((json_int_t)r->bytes));
        json_object_set_new(o, "hash", json_string(hash_text(r->hash, hash)));
    }
    if (r->image)
        json_object_set_new(o, "module", json_image(r->image));
    if (r->inspected)
        json_object_set_new(o, "inspection", json_inspection(&r->inspection));
    json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
}

static int usage_error(const char *what, const char *which)
{
    fprintf(stderr, "keel inspect: %s%s: see keel inspect --help\n", what, which);
    return IMPOSSIBLE;
}

int app_inspect(int argc, char **argv)
{
    Report r = {0};
    int json = 0, options = 1;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (options && (!strcmp(arg, "--help") || !strcmp(arg, "-h"))) {
            fputs(HELP, stdout);
            return ACCEPTED;
        }
        if (options && !strcmp(arg, "--json"))
            json = 1;
        else if (options && !strcmp(arg, "--arch") && i + 1 < argc && arch_known(argv[i + 1]))
            r.arch = argv[++i];
        else if (options && !strcmp(arg, "--arch"))
            return usage_error("--arch takes x86-64 or arm64", "");
        else if (options && !strcmp(arg, "--"))
            options = 0;
        else if (options && *arg == '-' && arg[1])
            return usage_error("there is no option ", arg);
        else if (r.path)
            return usage_error("it takes one file, not also ", arg);
        else
            r.path = arg;
    }
    if (!r.path || !*r.path)
        return usage_error("it needs a file", "");
    int rc = learn(&r);
    if (rc && !json)
        print_tame("keel inspect: ", r.err.text, stderr);
    else if (json)
        print_json(&r);
    else
        print_text(&r);
    image_unref(r.image);
    return rc ? rc : r.code ? REFUSED : ACCEPTED;
}
