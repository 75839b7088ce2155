/* `keel inspect` for people: the same facts as its JSON, in lines. Owns nothing; main thread. */
#include <string.h>

#include "app/inspect.h"
#include "app/text.h"

enum { INDENT = 16, WIDTH = 98 };

static const char *text_of(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static long long count_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static void title(FILE *file, const char *what)
{
    fprintf(file, "  %-13s ", what);
}

static void line(FILE *file, const char *what, const char *text)
{
    if (!*text)
        return;
    title(file, what);
    text_print(file, text);
    fputc('\n', file);
}

/* A word that may begin a new line. Returns the column behind it. */
static int word(FILE *file, int column, const char *text)
{
    int width = (int)strlen(text) + 1;
    if (column + width > WIDTH && column > INDENT) {
        fprintf(file, "\n%*s", INDENT - 1, "");
        column = INDENT - 1;
    }
    if (column >= INDENT - 1)
        fputc(' ', file);
    text_print(file, text);
    return column + width;
}

static void print_names(FILE *file, const char *what, const json_t *list)
{
    long long count = count_of(list, "count");
    const json_t *names = json_object_get(list, "names");
    if (!count)
        return;
    title(file, what);
    int column = INDENT + fprintf(file, "%lld:", count);
    for (size_t i = 0; i < json_array_size(names); i++)
        column = word(file, column, json_string_value(json_array_get(names, i)));
    fputs((size_t)count > json_array_size(names) ? " ...\n" : "\n", file);
}

static void print_module(FILE *file, const json_t *o)
{
    const json_t *m = json_object_get(o, "module");
    char text[TEXT_CELL_BYTES];
    if (!m)
        return;
    title(file, "module");
    text_print(file, text_of(m, "name"));
    fputc(' ', file);
    text_print(file, text_of(m, "version"));
    fprintf(file, "\n  %-13s %s, table of %lld bytes\n", "ABI", text_of(m, "abi"),
            count_of(m, "table_bytes"));
    const json_t *services = json_object_get(o, "services");
    for (size_t i = 0; i < json_array_size(services); i++) {
        const json_t *s = json_array_get(services, i);
        title(file, i ? "" : "services");
        text_print(file, text_of(s, "id"));
        fputs(json_is_true(json_object_get(s, "offered")) ? "\n" : ": not offered by this keel\n",
              file);
    }
    line(file, "build id", text_of(m, "build_id"));
    fprintf(file, "  %-13s %lld segments, %s of memory\n", "loads", count_of(m, "segments"),
            text_bytes(text, count_of(m, "memory_bytes")));
}

static void print_libraries(FILE *file, const json_t *libraries)
{
    for (size_t i = 0; i < json_array_size(libraries); i++) {
        const json_t *l = json_array_get(libraries, i);
        const char *path = text_of(l, "path");
        title(file, i ? "" : "libraries");
        text_print(file, text_of(l, "name"));
        if (!strcmp(text_of(l, "how"), "missing"))
            fputs(": not found: it can't be loaded here", file);
        fputs(*path ? " → " : "", file);
        text_print(file, path);
        if (*path)
            fprintf(file, " (%s)", text_of(l, "how"));
        fputc('\n', file);
    }
}

static void print_sections(FILE *file, const json_t *o)
{
    const json_t *sections = json_object_get(o, "sections");
    char cell[200], bytes[TEXT_CELL_BYTES];
    int column = INDENT - 1;
    if (!json_array_size(sections))
        return;
    fprintf(file, "  %-13s", "sections");
    for (size_t i = 0; i < json_array_size(sections); i++) {
        const json_t *s = json_array_get(sections, i);
        snprintf(cell, sizeof cell, "%.80s %s%s", text_of(s, "name"),
                 text_bytes(bytes, count_of(s, "bytes")),
                 i + 1 < json_array_size(sections) ? "," : "");
        column = word(file, column, cell);
    }
    fputc('\n', file);
    fprintf(file, "  %-13s %lld functions, %lld statics, %lld types\n", "of which",
            count_of(o, "functions"), count_of(o, "statics"), count_of(o, "types"));
}

static void print_types(FILE *file, const json_t *types)
{
    for (size_t i = 0; i < json_array_size(types); i++) {
        const json_t *t = json_array_get(types, i), *fields = json_object_get(t, "fields");
        char cell[300];
        title(file, i ? "" : "state");
        text_print(file, text_of(t, "name"));
        int column = INDENT + (int)strlen(text_of(t, "name")) +
                     fprintf(file, ", %lld bytes:", count_of(t, "bytes"));
        for (size_t n = 0; n < json_array_size(fields); n++) {
            const json_t *f = json_array_get(fields, n);
            snprintf(cell, sizeof cell, "%.120s %.120s%s", text_of(f, "type"), text_of(f, "name"),
                     n + 1 < json_array_size(fields) ? "," : "");
            column = word(file, column, cell);
        }
        fputc('\n', file);
    }
}

static void print_reasons(FILE *file, const char *what, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *r = json_array_get(list, i);
        title(file, i ? "" : what);
        fprintf(file, "%s: %s\n", text_of(r, "name"), text_of(r, "text"));
    }
}

static void print_inspection(FILE *file, const json_t *o)
{
    const json_t *i = json_object_get(o, "inspection");
    static const char *const CARRIES[][2] = {{"has_symbols", "symbols"},
                                             {"has_debug", "debug information"},
                                             {"has_relocations", "link relocations"},
                                             {"has_shim", "malloc shim"}};
    char have[200] = "";
    if (!i)
        return;
    line(file, "compiler", text_of(i, "compiler"));
    print_libraries(file, json_object_get(o, "libraries"));
    line(file, "search path", text_of(i, "search_path"));
    print_names(file, "exports", json_object_get(i, "exports"));
    print_names(file, "imports", json_object_get(i, "imports"));
    print_names(file, "unique", json_object_get(i, "unique"));
    fprintf(file, "  %-13s %lld constructors, %lld destructors\n", "at load",
            count_of(i, "constructors"), count_of(i, "destructors"));
    if (count_of(i, "tls_bytes"))
        fprintf(file, "  %-13s %lld bytes a thread\n", "thread-local", count_of(i, "tls_bytes"));
    print_types(file, json_object_get(o, "state_types"));
    print_sections(file, o);
    for (size_t c = 0; c < sizeof CARRIES / sizeof *CARRIES; c++)
        if (json_is_true(json_object_get(i, CARRIES[c][0])))
            snprintf(have + strlen(have), sizeof have - strlen(have), "%s%s", *have ? ", " : "",
                     CARRIES[c][1]);
    line(file, "carries", have);
    print_reasons(file, "lacks", json_object_get(o, "lacks"));
    print_reasons(file, "hazards", json_object_get(o, "hazards"));
}

void inspect_print(FILE *file, const json_t *o)
{
    print_module(file, o);
    if (json_object_get(o, "bytes"))
        fprintf(file, "  %-13s %lld bytes\n", "size", count_of(o, "bytes"));
    line(file, "hash", text_of(o, "hash"));
    print_inspection(file, o);
}
