/* `keel diff` for people: signs, columns, at most a screen a list. Owns nothing; main thread. */
#include "app/diff.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "app/text.h"

enum { ROWS = 200, NAME_WIDTH = 44, WHERE_WIDTH = 34 };

typedef struct Pen {
    int coloured;
} Pen;

static const char SIGNS[CHANGES] = {
    [CHANGE_ADDED] = '+', [CHANGE_REMOVED] = '-', [CHANGE_CHANGED] = '~',
    [CHANGE_LINES] = '#', [CHANGE_RENAMED] = '=',
};

static const char *colour_of(char sign)
{
    return sign == '+' ? "32" : sign == '-' ? "31" : sign == '~' ? "33" : "36";
}

static void paint(const Pen *pen, const char *colour)
{
    if (pen->coloured)
        printf("\033[%sm", colour);
}

static void sign(const Pen *pen, int indent, char c)
{
    printf("%*s", indent, "");
    paint(pen, colour_of(c));
    putchar(c);
    paint(pen, "0");
    putchar(' ');
}

static size_t columns(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += (*text & (char)0xc0) != (char)0x80;
    return n;
}

/* A cell of at least `width` columns; what is longer pushes the rest. */
static void cell(const char *text, size_t width)
{
    text_print(stdout, text);
    for (size_t n = columns(text); n < width; n++)
        putchar(' ');
    putchar(' ');
}

static void heading(const Pen *pen, const char *title)
{
    putchar('\n');
    paint(pen, "1");
    fputs(title, stdout);
    paint(pen, "0");
}

__attribute__((format(printf, 3, 4))) static void where(char *to, size_t room, const char *format,
                                                        ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(to, room, format, args);
    va_end(args);
}

const char *diff_function_name(const Anatomy *a, const AnatomyFunction *f)
{
    return anatomy_string(a, f->pretty ? f->pretty : f->name);
}

/* Where a function is, as far as that is known: file:line, the source file, or nothing. */
static void place(const Anatomy *a, uint32_t file, uint32_t line, uint32_t unit, char *to,
                  size_t room)
{
    if (line)
        where(to, room, "%.200s:%u", anatomy_string(a, file), line);
    else
        where(to, room, "%.200s", anatomy_string(a, unit));
}

typedef struct Row {
    char sign;
    char name[300], where[260], note[200];
} Row;

static int by_row(const void *a, const void *b)
{
    static const char ORDER[] = "~=+-#";
    const Row *x = a, *y = b;
    long left = strchr(ORDER, x->sign) - ORDER, right = strchr(ORDER, y->sign) - ORDER;
    if (left != right)
        return left < right ? -1 : 1;
    int order = strcmp(x->where, y->where);
    return order ? order : strcmp(x->name, y->name);
}

static void print_rows(const Pen *pen, Row *rows, size_t count)
{
    size_t name = 0, place_width = 0, shown = count < ROWS ? count : ROWS;
    qsort(rows, count, sizeof *rows, by_row);
    for (size_t i = 0; i < shown; i++) {
        size_t n = columns(rows[i].name), w = columns(rows[i].where);
        name = n > name && n <= NAME_WIDTH ? n : name;
        place_width = w > place_width && w <= WHERE_WIDTH ? w : place_width;
    }
    for (size_t i = 0; i < shown; i++) {
        sign(pen, 2, rows[i].sign);
        cell(rows[i].name, name);
        paint(pen, "2");
        cell(rows[i].where, place_width);
        paint(pen, "0");
        puts(rows[i].note);
    }
    if (shown < count)
        printf("  ... and %zu more (--json lists all)\n", count - shown);
}

static void function_row(const Diff *d, const Change *c, Row *row)
{
    const Anatomy *a = c->after >= 0 ? &d->after.anatomy : &d->before.anatomy;
    const AnatomyFunction *old = c->before >= 0 ? &d->before.anatomy.functions[c->before] : NULL;
    const AnatomyFunction *new_ = c->after >= 0 ? &d->after.anatomy.functions[c->after] : NULL;
    const AnatomyFunction *f = new_ ? new_ : old;
    row->sign = SIGNS[c->what];
    where(row->name, sizeof row->name, "%.290s", diff_function_name(a, f));
    place(a, f->file, f->line, f->unit, row->where, sizeof row->where);
    *row->note = 0;
    if (c->what == CHANGE_LINES)
        where(row->note, sizeof row->note, "only the lines that its asserts tell");
    else if (c->what == CHANGE_RENAMED)
        where(row->note, sizeof row->note, "was %.180s",
              diff_function_name(&d->before.anatomy, old));
    else if (old && new_ && old->bytes != new_->bytes)
        where(row->note, sizeof row->note, "%llu → %llu bytes", (unsigned long long)old->bytes,
              (unsigned long long)new_->bytes);
    else
        where(row->note, sizeof row->note, "%llu bytes", (unsigned long long)f->bytes);
}

static void object_row(const Diff *d, const Change *c, Row *row)
{
    static const char *const KINDS[OBJECT_KINDS] = {"data", "zeroed", "constant", "thread-local"};
    const Anatomy *a = c->after >= 0 ? &d->after.anatomy : &d->before.anatomy;
    const AnatomyObject *old = c->before >= 0 ? &d->before.anatomy.objects[c->before] : NULL;
    const AnatomyObject *new_ = c->after >= 0 ? &d->after.anatomy.objects[c->after] : NULL;
    const AnatomyObject *o = new_ ? new_ : old;
    row->sign = SIGNS[c->what];
    if (o->owner)
        where(row->name, sizeof row->name, "%.140s in %.140s", anatomy_string(a, o->name),
              anatomy_string(a, o->owner));
    else
        where(row->name, sizeof row->name, "%.290s", anatomy_string(a, o->name));
    place(a, o->file, o->line, o->unit, row->where, sizeof row->where);
    char values[48];
    if (old && new_ && compare_values(old, new_, values, sizeof values))
        where(row->note, sizeof row->note, "%s, %s", KINDS[o->kind], values);
    else if (old && new_ && old->bytes != new_->bytes)
        where(row->note, sizeof row->note, "%s, %llu → %llu bytes", KINDS[o->kind],
              (unsigned long long)old->bytes, (unsigned long long)new_->bytes);
    else if (old && new_)
        where(row->note, sizeof row->note, "%s, %s",
              old->kind == new_->kind ? KINDS[o->kind] : "another kind",
              o->kind == OBJECT_CONSTANT ? "another value" : "another initializer");
    else
        where(row->note, sizeof row->note, "%s, %llu bytes", KINDS[o->kind],
              (unsigned long long)o->bytes);
}

static void print_counts(const ChangeList *list, const char *const *words, uint32_t same)
{
    uint32_t counts[CHANGES] = {0};
    const char *comma = "";
    for (uint32_t i = 0; i < list->count; i++)
        counts[list->list[i].what]++;
    for (int i = 0; i < CHANGES; i++) {
        static const int ORDER[CHANGES] = {CHANGE_CHANGED, CHANGE_LINES, CHANGE_RENAMED,
                                           CHANGE_ADDED, CHANGE_REMOVED};
        if (counts[ORDER[i]]) {
            printf("%s%u %s", comma, counts[ORDER[i]], words[ORDER[i]]);
            comma = ", ";
        }
    }
    if (same)
        printf("%s%u the same", comma, same);
    putchar('\n');
}

static const char *const WORDS[CHANGES] = {
    [CHANGE_ADDED] = "added",      [CHANGE_REMOVED] = "removed", [CHANGE_CHANGED] = "changed",
    [CHANGE_LINES] = "lines only", [CHANGE_RENAMED] = "renamed",
};

static void print_list(const Diff *d, const Pen *pen, const char *title, const ChangeList *list,
                       uint32_t same, void (*fill)(const Diff *, const Change *, Row *))
{
    if (!list->count)
        return;
    Row *rows = calloc(list->count, sizeof *rows);
    if (!rows)
        return;
    for (uint32_t i = 0; i < list->count; i++)
        fill(d, &list->list[i], &rows[i]);
    heading(pen, title);
    printf("  ");
    print_counts(list, WORDS, same);
    print_rows(pen, rows, list->count);
    free(rows);
}

static void tell_field(void *user, const char *mark, const char *text)
{
    sign(user, 4, *mark);
    text_print(stdout, text);
    putchar('\n');
}

static void print_type(const Diff *d, const Pen *pen, const Change *c)
{
    static const char *const KINDS[TYPE_KINDS] = {"struct", "union", "class", "enum", "typedef"};
    const Anatomy *a = c->after >= 0 ? &d->after.anatomy : &d->before.anatomy;
    const AnatomyType *t = c->after >= 0 ? &a->types[c->after] : &a->types[c->before];
    sign(pen, 2, SIGNS[c->what]);
    printf("%s ", KINDS[t->kind]);
    text_print(stdout, anatomy_string(a, t->name));
    putchar('\n');
    if (c->what == CHANGE_CHANGED)
        compare_fields(&d->before.anatomy, &d->before.anatomy.types[c->before], &d->after.anatomy,
                       &d->after.anatomy.types[c->after], tell_field, (void *)pen);
}

static void print_types(const Diff *d, const Pen *pen)
{
    const ChangeList *list = &d->difference.types;
    if (!list->count)
        return;
    heading(pen, "types");
    printf("  ");
    print_counts(list, WORDS, 0);
    for (uint32_t i = 0; i < list->count && i < ROWS; i++)
        print_type(d, pen, &list->list[i]);
    if (list->count > ROWS)
        printf("  ... and %u more (--json lists all)\n", list->count - ROWS);
}

static void print_state(const Diff *d, const Pen *pen)
{
    const char *at = d->state.data, *end = at + d->state.bytes;
    if (!d->state.bytes)
        return;
    heading(pen, "state");
    puts("  carried over so:");
    for (int i = 0; at < end; i++) {
        char line[1200];
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        snprintf(line, sizeof line, "%.*s", (int)(stop - at), at);
        at = stop + 1;
        if (i == ROWS) {
            puts("  ... and more (--json lists all)");
            return;
        }
        fputs("  ", stdout);
        text_print(stdout, line);
        putchar('\n');
    }
}

static void print_facts(const Diff *d, const Pen *pen)
{
    if (d->fact_count) {
        heading(pen, "besides");
        putchar('\n');
    }
    for (int i = 0; i < d->fact_count; i++) {
        sign(pen, 2, d->facts[i].sign);
        printf("%-12s ", d->facts[i].topic);
        text_print(stdout, d->facts[i].text);
        putchar('\n');
    }
    if (d->facts_lost)
        puts("  ... and more");
}

static void print_sections(const Diff *d, const Pen *pen)
{
    const ChangeList *list = &d->difference.sections;
    if (d->difference.code_known || !list->count)
        return;
    heading(pen, "sections");
    putchar('\n');
    for (uint32_t i = 0; i < list->count && i < ROWS; i++) {
        const Change *c = &list->list[i];
        const Anatomy *a = c->after >= 0 ? &d->after.anatomy : &d->before.anatomy;
        const AnatomySection *s = &a->sections[c->after >= 0 ? c->after : c->before];
        sign(pen, 2, SIGNS[c->what]);
        cell(anatomy_string(a, s->name), 20);
        printf("%llu bytes\n", (unsigned long long)s->bytes);
    }
}

static void print_lack(const DiffSide *side, uint32_t flags)
{
    static const struct {
        uint32_t bit, wanted;
        const char *text;
    } LACKS[] = {
        {ANATOMY_MACHINE, 0, "its code is not for x86-64, which is not read: no fingerprints"},
        {ANATOMY_SYMBOLS, ANATOMY_SYMBOLS, "no symbols (.symtab): it was stripped"},
        {ANATOMY_RELOCS, ANATOMY_RELOCS,
         "no link relocations: functions are not compared (link with -Wl,--emit-relocs)"},
        {ANATOMY_DEBUG, ANATOMY_DEBUG,
         "no debug information: no lines, no types (compile with -g)"},
        {ANATOMY_UNITS, ANATOMY_UNITS,
         "its symbols tell no source files: functions are not compared (strip took them)"},
        {ANATOMY_LTO, 0, "optimized at link time: types are not compared (build without -flto)"},
        {ANATOMY_SPLIT, 0,
         "its debug information lies in other files (-gsplit-dwarf, or macOS): types are not "
         "compared"},
        {ANATOMY_DEBUG_BROKEN, 0, "its debug information can't be read: types are not compared"},
        {ANATOMY_TYPES_CUT, 0, "it has too many types: not all are compared"},
    };
    for (size_t i = 0; i < sizeof LACKS / sizeof *LACKS; i++) {
        if ((flags & LACKS[i].bit) == LACKS[i].wanted)
            continue;
        fputs("  ", stdout);
        text_print(stdout, side->path);
        printf(": %s\n", LACKS[i].text);
        if (LACKS[i].wanted && LACKS[i].bit == ANATOMY_SYMBOLS)
            return; /* the rest follows from it */
    }
}

static const char *verdict_colour(const Diff *d)
{
    return d->same ? "1;32" : !strcmp(d->verdict_name, "refused") ? "1;31" : "1;33";
}

void diff_print_text(const Diff *d, int coloured)
{
    const Pen pen = {coloured};
    text_print(stdout, d->before.path);
    fputs(" → ", stdout);
    text_print(stdout, d->after.path);
    putchar('\n');
    print_list(d, &pen, "functions", &d->difference.functions,
               d->difference.code_known ? d->difference.functions_same : 0, function_row);
    print_list(d, &pen, "data", &d->difference.objects, 0, object_row);
    print_types(d, &pen);
    print_state(d, &pen);
    print_sections(d, &pen);
    print_facts(d, &pen);
    uint32_t before = d->before.anatomy.flags, after = d->after.anatomy.flags;
    const uint32_t all = ANATOMY_SYMBOLS | ANATOMY_RELOCS | ANATOMY_DEBUG | ANATOMY_UNITS;
    if (before != all || after != all) {
        heading(&pen, "missing");
        putchar('\n');
        print_lack(&d->before, before);
        print_lack(&d->after, after);
    }
    putchar('\n');
    paint(&pen, verdict_colour(d));
    text_print(stdout, d->verdict);
    paint(&pen, "0");
    putchar('\n');
}
