/* `keel state`: looks at the state of a slot by the names of its types, compares two, sets a value;
 * in a snapshot's file or in a running host. Owns the file that a running host writes for it. Main
 * thread. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/commands.h"
#include "app/state_text.h"
#include "app/text.h"
#include "base/cbor.h"
#include "base/clock.h"
#include "base/hex.h"
#include "control/client.h"

static const char help[] =
    "usage: keel state dump FILE [PATH…]\n"
    "       keel state diff OLD NEW\n"
    "       keel state set FILE PATH=VALUE…\n"
    "\n"
    "Looks at a slot's state by the names of its types, compares two, sets values between two\n"
    "frames. FILE is a snapshot (keel ctl snapshot, keel run --state). PATH begins at the root:\n"
    "things[3].next.x; without one dump gives every object.\n"
    "\n"
    "  --name NAME        in place of FILE: a running host (default), or …\n"
    "  --socket PATH      … its socket\n"
    "  --slot SLOT        which of its slots, when there are several\n"
    "  --module FILE.so   names of this build's types in place of those that the state has with "
    "it\n"
    "  --cbor             dump as CBOR (RFC 8949), not as JSON\n"
    "  --json             diff as JSON\n"
    "\n"
    "example: keel state dump states/ball.state\n"
    "         keel state set --name desk ball.x=12.5\n"
    "\n"
    "exit status: 0 done, diff: no difference, 1 diff: they differ, 2 could not be done\n";

enum { TIMEOUT_NS = 1000000000, TIMEOUT_S = 60, SHOWN = 40, VALUE_MOST = 4096 };

typedef struct StateCommand {
    const char *host, *slot, *module;
    int live, cbor, json;
    char folder[PATH_MAX], file[PATH_MAX + 16]; /* of a running host's snapshot */
    const char *path;
    Frozen *frozen;
    StateTypes types;
    StateLook look;
} StateCommand;

static int failed(const Error *err)
{
    fputs("keel state: ", stderr);
    text_print(stderr, err->text);
    fputc('\n', stderr);
    return 2;
}

/* ---- a running host ---- */

static int ask(const StateCommand *c, const char *what, json_t *args, Error *err)
{
    Client *client = NULL;
    json_t *result = NULL;
    int rc = client_open(c->host, TIMEOUT_NS, &client, err);
    if (rc == KEEL_OK)
        rc = client_call(client, what, args, (int64_t)TIMEOUT_S * TIMEOUT_NS, &result, err);
    json_decref(result);
    json_decref(args);
    client_close(client);
    return rc;
}

static int fetch(StateCommand *c, Error *err)
{
    const char *top = getenv("XDG_RUNTIME_DIR");
    snprintf(c->folder, sizeof c->folder, "%.4000s/keel-state-XXXXXX",
             top && *top == '/' ? top : "/tmp");
    if (!mkdtemp(c->folder)) {
        c->folder[0] = 0;
        return err_errno(err, KEEL_EIO, errno, "cannot make a folder for the host's state");
    }
    snprintf(c->file, sizeof c->file, "%s/state", c->folder);
    c->path = c->file;
    return ask(c, "snapshot", json_pack("{s:s, s:s*}", "file", c->file, "slot", c->slot), err);
}

/* ---- opening ---- */

static int open_state(StateCommand *c, int need_types, Error *err)
{
    Error why = {0};
    int other = 0;
    int rc = c->live ? fetch(c, err) : KEEL_OK;
    if (rc == KEEL_OK)
        rc = frozen_open(c->path, &c->frozen, err);
    if (rc)
        return rc;
    rc = state_types_of(frozen_snapshot(c->frozen), c->module, &c->types, &other, &why);
    if (rc && (need_types || c->module)) {
        *err = why;
        return rc;
    }
    if (rc)
        text_line(stderr, "keel state: without names: %s", why.text);
    c->look = (StateLook){c->frozen, &c->types};
    return KEEL_OK;
}

static void close_state(StateCommand *c)
{
    frozen_free(c->frozen);
    state_types_done(&c->types);
    if (c->folder[0]) {
        unlink(c->file);
        rmdir(c->folder);
    }
}

/* ---- dump ---- */

typedef struct Dump {
    const StateCommand *command;
    StateWriter writer;
    int any;
} Dump;

static void key(Dump *d, const char *name)
{
    Buf *out = d->writer.out;
    uint8_t head[CBOR_HEAD_MOST];
    if (d->writer.cbor) {
        buf_add(out, head, cbor_put(head, CBOR_TEXT, strlen(name)));
        buf_add(out, name, strlen(name));
        return;
    }
    buf_printf(out, "%s\"%s\": ", d->any ? ", " : "", name);
    d->any = 1;
}

static void text(Dump *d, const char *value)
{
    Buf *out = d->writer.out;
    uint8_t head[CBOR_HEAD_MOST];
    if (!d->writer.cbor) {
        state_json_string(out, value, strlen(value));
        return;
    }
    buf_add(out, head, cbor_put(head, CBOR_TEXT, strlen(value)));
    buf_add(out, value, strlen(value));
}

static void whole(Dump *d, uint64_t value)
{
    uint8_t head[CBOR_HEAD_MOST];
    if (d->writer.cbor)
        buf_add(d->writer.out, head, cbor_put(head, CBOR_UINT, value));
    else
        buf_printf(d->writer.out, "%llu", (unsigned long long)value);
}

static void bracket(Dump *d, CborKind kind, int opening)
{
    uint8_t head[CBOR_HEAD_MOST];
    const uint8_t stop = CBOR_BREAK;
    if (d->writer.cbor && opening)
        buf_add(d->writer.out, head, cbor_put_unended(head, kind));
    else if (d->writer.cbor)
        buf_add(d->writer.out, &stop, 1);
    else
        buf_add(d->writer.out, kind == CBOR_MAP ? opening ? "{" : "}" : opening ? "[" : "]", 1);
    d->any = 0;
}

static void address(Dump *d, uint64_t value)
{
    char hex[24];
    snprintf(hex, sizeof hex, "0x%llx", (unsigned long long)value);
    text(d, hex);
}

/* What is known of it by type; else its bytes. */
static void object_value(Dump *d, const FrozenObject *object)
{
    const StateCommand *c = d->command;
    uint32_t type;
    if (!state_types_find(&c->types, object, &type)) {
        Buf hex = {0};
        buf_printf(&hex, "hex:");
        for (uint64_t i = 0; i < object->bytes; i++)
            buf_printf(&hex, "%02x", object->data[i]);
        text(d, buf_text(&hex));
        buf_done(&hex);
        return;
    }
    uint64_t each = object->bytes / object->count;
    uint64_t count = each || object->count == 1 ? object->count : 0; /* any number of nothing */
    if (object->count > 1)
        bracket(d, CBOR_ARRAY, 1);
    for (uint64_t i = 0; i < count; i++) {
        StatePlace place = {.address = object->address + i * each,
                            .data = object->data + i * each,
                            .bytes = each,
                            .type = type};
        state_value_whole(&c->look, &place);
        if (i && !d->writer.cbor)
            buf_add(d->writer.out, ", ", 2);
        state_value_write(&d->writer, &c->look, &place);
    }
    if (object->count > 1)
        bracket(d, CBOR_ARRAY, 0);
}

static int flush(Buf *out)
{
    fwrite(out->data, 1, out->bytes, stdout);
    out->bytes = 0;
    return ferror(stdout);
}

static int dump_object(const FrozenObject *object, void *user)
{
    Dump *d = user;
    if (!d->writer.cbor)
        buf_printf(d->writer.out, "%s\n  ", d->any ? "," : "");
    bracket(d, CBOR_MAP, 1);
    key(d, "address");
    address(d, object->address);
    key(d, "type");
    text(d, *object->type ? object->type : "malloc");
    key(d, "count");
    whole(d, object->count);
    key(d, "value");
    object_value(d, object);
    bracket(d, CBOR_MAP, 0);
    d->any = 1;
    return flush(d->writer.out);
}

static void dump_all(Dump *d)
{
    const StateCommand *c = d->command;
    const SnapshotInfo *info = &frozen_snapshot(c->frozen)->info;
    bracket(d, CBOR_MAP, 1);
    key(d, "slot");
    text(d, info->slot);
    key(d, "module");
    text(d, info->module);
    key(d, "version");
    text(d, info->version);
    key(d, "frames");
    whole(d, info->frames);
    key(d, "root");
    address(d, frozen_root(c->frozen));
    key(d, "objects");
    bracket(d, CBOR_ARRAY, 1);
    frozen_each(c->frozen, dump_object, d);
    if (!d->writer.cbor)
        buf_printf(d->writer.out, "\n");
    bracket(d, CBOR_ARRAY, 0);
    bracket(d, CBOR_MAP, 0);
}

static int dump(StateCommand *c, char **paths, int count, Error *err)
{
    Buf out = {0};
    Dump d = {.command = c, .writer = {c->cbor, &out}};
    int rc = open_state(c, count > 0, err);
    if (rc)
        return rc;
    if (!count)
        dump_all(&d);
    for (int i = 0; i < count && rc == KEEL_OK; i++) {
        StatePlace place;
        rc = state_value_find(&c->look, paths[i], &place, err);
        if (rc == KEEL_OK)
            state_value_write(&d.writer, &c->look, &place);
        if (rc == KEEL_OK && !c->cbor && i + 1 < count)
            buf_printf(&out, "\n");
    }
    if (rc == KEEL_OK && !c->cbor)
        buf_printf(&out, "\n");
    if (rc == KEEL_OK && (flush(&out) || fflush(stdout)))
        rc = err_errno(err, KEEL_EIO, errno, "cannot write the dump");
    buf_done(&out);
    return rc;
}

/* ---- diff ---- */

static int diff(StateCommand *c, char **files, int *ret_differ, Error *err)
{
    StateCommand other = {.path = files[1], .module = c->module};
    StateDifferences differences = {0};
    c->path = files[0];
    int rc = open_state(c, 0, err);
    if (rc == KEEL_OK)
        rc = open_state(&other, 0, err);
    if (rc == KEEL_OK) {
        state_differences(&c->look, &other.look, &differences);
        *ret_differ = differences.objects != 0;
        if (c->json) {
            json_t *object = state_differences_json(&differences);
            json_dumpf(object, stdout, JSON_INDENT(2));
            putchar('\n');
            json_decref(object);
        } else if (!*ret_differ) {
            puts("no difference");
        }
        if (!c->json)
            state_differences_print(stdout, &differences, SHOWN);
    }
    state_differences_done(&differences);
    close_state(&other);
    return rc;
}

/* ---- set ---- */

static int exchange_live(const StateCommand *c, const StatePlace *place, const uint8_t *is,
                         Error *err)
{
    static char was_text[2 * VALUE_MOST + 1], is_text[2 * VALUE_MOST + 1];
    char at[24];
    hex_text(place->data, place->bytes, was_text);
    hex_text(is, place->bytes, is_text);
    snprintf(at, sizeof at, "%llx", (unsigned long long)place->address);
    return ask(c, "state-set",
               json_pack("{s:s, s:s, s:s, s:s*}", "address", at, "was", was_text, "is", is_text,
                         "slot", c->slot),
               err);
}

/* The file again, with the changed bytes: by a State of its own, as a host would write it. */
static int rewrite(const StateCommand *c, const StatePlace *place, const uint8_t *is, Error *err)
{
    SnapshotReader *reader;
    State *state = NULL;
    Pin *pin = NULL;
    int rc = snapshot_open(c->path, &reader, err);
    if (rc)
        return rc;
    const Snapshot *s = snapshot_parts(reader);
    const StateOptions options = {.max_bytes = s->info.bytes,
                                  .base = s->info.base,
                                  .tier = STATE_TIER_COPY,
                                  .copy_limit_bytes = UINT64_MAX};
    rc = state_open(&options, &state, err);
    if (rc == KEEL_OK)
        rc = snapshot_load(reader, state, err);
    if (rc == KEEL_OK)
        rc = state_commit(state, err);
    if (rc == KEEL_OK)
        rc = state_exchange(state, place->address, place->data, is, place->bytes, err);
    if (rc == KEEL_OK)
        rc = state_pin(state, &pin, err);
    if (rc == KEEL_OK) {
        SnapshotInfo info = s->info;
        int64_t now_ns = clock_wall_ns(); /* newer than what a host may have left in memory */
        info.wall_ns = now_ns > info.wall_ns ? now_ns : info.wall_ns + 1;
        info.edited = 1;
        const SnapshotParts parts = {.note = s->note,
                                     .note_bytes = s->note_bytes,
                                     .schema = s->schema,
                                     .schema_bytes = s->schema_bytes,
                                     .image = s->image,
                                     .image_bytes = s->image_bytes,
                                     .spans = s->spans,
                                     .span_count = s->span_count};
        rc = snapshot_write_file(pin, &info, &parts, c->path, err);
    }
    state_unpin(pin);
    state_close(state);
    snapshot_close(reader);
    return rc;
}

static int set_one(StateCommand *c, const char *assignment, Error *err)
{
    const char *equals = strchr(assignment, '=');
    char path[512];
    static uint8_t is[VALUE_MOST];
    StatePlace place;
    if (!equals || equals == assignment || (size_t)(equals - assignment) >= sizeof path)
        return err_set(err, KEEL_EINVAL, "\"%s\" is not PATH=VALUE", assignment);
    snprintf(path, sizeof path, "%.*s", (int)(equals - assignment), assignment);
    int rc = open_state(c, 1, err);
    if (rc == KEEL_OK)
        rc = state_value_find(&c->look, path, &place, err);
    if (rc == KEEL_OK && place.bits)
        place.bytes = ((uint64_t)place.bit + place.bits + 7) / 8;
    if (rc == KEEL_OK && place.bytes > VALUE_MOST)
        rc = err_set(err, KEEL_EINVAL, "%s: it has parts: set one of them", path);
    if (rc == KEEL_OK && (rc = state_value_parse(&c->look, &place, equals + 1, is, err)) != KEEL_OK)
        err_wrap(err, "%s", path);
    if (rc == KEEL_OK)
        rc = c->live ? exchange_live(c, &place, is, err) : rewrite(c, &place, is, err);
    return rc;
}

static int set(StateCommand *c, char **assignments, int count, Error *err)
{
    int rc = KEEL_OK;
    for (int i = 0; i < count && rc == KEEL_OK; i++) {
        StateCommand one = *c;
        rc = set_one(&one, assignments[i], err);
        close_state(&one);
    }
    return rc;
}

/* ---- arguments ---- */

static int wrong(const char *text_)
{
    text_line(stderr, "keel state: %s; see keel state --help", text_);
    return 2;
}

static int parse(int argc, char **argv, StateCommand *c)
{
    static const struct option options[] = {
        {"name", required_argument, NULL, 'N'}, {"socket", required_argument, NULL, 'N'},
        {"slot", required_argument, NULL, 's'}, {"module", required_argument, NULL, 'm'},
        {"cbor", no_argument, NULL, 'c'},       {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},       {NULL, 0, NULL, 0}};
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, ":h", options, NULL)) != -1;) {
        switch (option) {
        case 'N':
            c->host = optarg;
            c->live = 1;
            break;
        case 's':
            c->slot = optarg;
            break;
        case 'm':
            c->module = optarg;
            break;
        case 'c':
            c->cbor = 1;
            break;
        case 'j':
            c->json = 1;
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            text_line(stderr, "keel state: %s%s; see keel state --help",
                      option == ':' ? "a value is missing for " : "there is no option ",
                      argv[optind - 1]);
            return 2;
        }
    }
    return -1;
}

int app_state(int argc, char **argv)
{
    StateCommand c = {0};
    Error err = {0};
    int status = parse(argc, argv, &c), differ = 0, rc;
    if (status >= 0)
        return status;
    if (optind == argc)
        return wrong("say what: dump, diff or set");
    if (c.slot && !c.live)
        return wrong("--slot is for a running host, which --name or --socket gives");
    const char *what = argv[optind++];
    char **rest = argv + optind;
    int count = argc - optind;
    if (!c.live && strcmp(what, "diff") != 0 && count) {
        c.path = *rest++;
        count--;
    }
    if (!strcmp(what, "dump") && (c.live || c.path))
        rc = dump(&c, rest, count, &err);
    else if (!strcmp(what, "diff") && count == 2 && !c.live)
        rc = diff(&c, rest, &differ, &err);
    else if (!strcmp(what, "set") && (c.live || c.path) && count)
        rc = set(&c, rest, count, &err);
    else
        return wrong(!strcmp(what, "diff")   ? "diff takes two files"
                     : !strcmp(what, "set")  ? "set takes a file or --name, and PATH=VALUE"
                     : !strcmp(what, "dump") ? "dump takes a file or --name"
                                             : "it can dump, diff or set");
    close_state(&c);
    return rc ? failed(&err) : differ;
}
