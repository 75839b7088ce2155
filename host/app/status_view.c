/* Status for a tired operator: one line about the host, one a slot, then only what deserves a look.
 */
#include "app/status_view.h"

#include <string.h>

#include "app/text.h"

/* Absent or of another kind: "", 0. */
static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static int64_t count_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static double number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void print_host(FILE *file, const json_t *host)
{
    char up[TEXT_CELL_BYTES], frames[TEXT_CELL_BYTES], missed[TEXT_CELL_BYTES];
    fputs("keel ", file);
    text_print(file, text_of(host, "version"));
    fprintf(file, ", pid %lld, up %s, %s frames, %.1f a second", (long long)count_of(host, "pid"),
            text_duration(up, number_of(host, "uptime_s")),
            text_count(frames, count_of(host, "frames")), number_of(host, "fps"));
    if (json_object_get(host, "missed"))
        fprintf(file, ", %s missed", text_count(missed, count_of(host, "missed")));
    fputs(json_is_true(json_object_get(host, "paused")) ? ", PAUSED\n" : "\n", file);
    const json_t *rewind = json_object_get(host, "rewind");
    if (number_of(rewind, "seconds") > 0) {
        char bytes[TEXT_CELL_BYTES];
        fprintf(file, "can go back %.1f s (%s)\n", number_of(rewind, "seconds"),
                text_bytes(bytes, count_of(rewind, "bytes")));
    }
}

static const char *phase_text(char *out, const json_t *slot)
{
    const char *phase = text_of(slot, "phase");
    char left[TEXT_CELL_BYTES];
    if (!strcmp(phase, "probation"))
        snprintf(out, TEXT_CELL_BYTES, "probation, %.30s to go",
                 text_count(left, count_of(slot, "probation_left")));
    else
        snprintf(out, TEXT_CELL_BYTES, "%.90s", phase);
    return out;
}

/* Tracking and copying both undo; only "off" is news. */
static const char *undo_text(const json_t *state)
{
    const char *tier = text_of(state, "tier");
    return !strcmp(tier, "track") ? "tracked" : !strcmp(tier, "copy") ? "copied" : tier;
}

static void add_slot(Table *table, const json_t *slot)
{
    char cell[TEXT_CELL_BYTES];
    const json_t *state = json_object_get(slot, "state");
    const char *id = text_of(slot, "build_id");
    table_add(table, text_of(slot, "name"));
    snprintf(cell, sizeof cell, "%.90s", text_of(slot, "version"));
    table_add(table, cell);
    table_add(table, text_count(cell, count_of(slot, "generation")));
    snprintf(cell, sizeof cell, "%.8s", *id ? id : text_of(slot, "hash"));
    table_add(table, cell);
    table_add(table, text_of(slot, "load_address"));
    table_add(table, phase_text(cell, slot));
    table_add(table, text_count(cell, count_of(slot, "frames")));
    table_add(table, text_count(cell, count_of(slot, "faults")));
    table_add(table, text_bytes(cell, count_of(state, "used_bytes")));
    table_add(table, text_count(cell, count_of(state, "live_objects")));
    table_add(table, undo_text(state));
}

static void print_remark(FILE *file, const char *about, const char *text)
{
    if (!*text)
        return;
    fputs("  ", file);
    text_print(file, about);
    fputs(": ", file);
    text_print(file, text);
    fputc('\n', file);
}

/* The file is newer than what runs, and that is as it should be. */
static void print_equal(FILE *file, const json_t *slot)
{
    char text[TEXT_CELL_BYTES];
    const char *hash = text_of(slot, "equal");
    if (!*hash || strstr(text_of(slot, "last"), "same code"))
        return;
    snprintf(text, sizeof text, "the newest build (%.12s) is the same code as what runs", hash);
    print_remark(file, text_of(slot, "name"), text);
}

static void print_alarms(FILE *file, const json_t *slot)
{
    int64_t alarms = count_of(slot, "alarms");
    char count[TEXT_CELL_BYTES], text[TEXT_CELL_BYTES + 80];
    if (!alarms)
        return;
    snprintf(text, sizeof text, "%s ALARM%s: builds that no trusted key vouches for (keel ctl log)",
             text_count(count, alarms), alarms == 1 ? "" : "S");
    print_remark(file, text_of(slot, "name"), text);
}

void status_view_print(FILE *file, const json_t *status)
{
    print_host(file, json_object_get(status, "host"));
    const json_t *slots = json_object_get(status, "slots");
    if (json_array_size(slots) == 0) {
        fputs("no slots\n", file);
    } else {
        static Table table;
        static const char *const heads[] = {"SLOT",   "VERSION", "GEN",   "BUILD",   "AT",  "PHASE",
                                            "FRAMES", "FAULTS",  "STATE", "OBJECTS", "UNDO"};
        table = (Table){.columns = sizeof heads / sizeof *heads,
                        .right = 1u << 2 | 1u << 6 | 1u << 7 | 1u << 8 | 1u << 9};
        for (int i = 0; i < table.columns; i++)
            table_add(&table, heads[i]);
        for (size_t i = 0; i < json_array_size(slots); i++)
            add_slot(&table, json_array_get(slots, i));
        fputc('\n', file);
        table_print(file, &table);
        fputc('\n', file);
        for (size_t i = 0; i < json_array_size(slots); i++) {
            const json_t *slot = json_array_get(slots, i);
            print_remark(file, text_of(slot, "name"), text_of(slot, "last"));
            print_equal(file, slot);
            print_remark(file, text_of(slot, "name"),
                         text_of(json_object_get(slot, "state"), "tier_reason"));
            print_alarms(file, slot);
        }
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)json_object_get(status, "limits"), key,
                        value) if (strcmp(key, "kernel") && json_is_string(value) &&
                                   strcmp(json_string_value(value), "yes"))
    {
        fputs("  not available here, ", file);
        text_print(file, key);
        fputs(": ", file);
        text_print(file, json_string_value(value));
        fputc('\n', file);
    }
}
