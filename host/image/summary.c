/* A difference as half a sentence: who changed, who came, who went; the first by name, the rest by
 * number. Pure; any thread. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/compare.h"

enum { NAMED = 6, NAME_BYTES = 64, LIST_MOST = 65536 };

typedef struct Said {
    char *to;
    size_t room, at;
    int lists;
} Said;

__attribute__((format(printf, 2, 3))) static void say(Said *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(s->to + s->at, s->room - s->at, format, args);
    va_end(args);
    if (n > 0)
        s->at = s->at + (size_t)n < s->room ? s->at + (size_t)n : s->room - 1;
}

/* What is said of one function, static or type; ordered as in the source. */
typedef struct Item {
    const char *name, *was, *file;
    uint32_t line;
    char values[48];
} Item;

static int by_place(const void *a, const void *b)
{
    const Item *x = a, *y = b;
    int order = strcmp(x->file, y->file);
    if (!order)
        order = (x->line > y->line) - (x->line < y->line);
    return order ? order : strcmp(x->name, y->name);
}

/* A C++ name is said without its parameters: they fill the line. */
static int short_length(const char *name)
{
    const char *end = strstr(name, "(anonymous") == name ? NULL : strchr(name + (*name != 0), '(');
    size_t bytes = end ? (size_t)(end - name) : strlen(name);
    bytes = bytes < NAME_BYTES ? bytes : NAME_BYTES;
    while (bytes && ((uint8_t)name[bytes] & 0xc0) == 0x80) /* no half character */
        bytes--;
    return (int)bytes;
}

static void say_list(Said *s, const char *title, Item *items, uint32_t count)
{
    if (!count)
        return;
    qsort(items, count, sizeof *items, by_place);
    say(s, "%s%s: ", s->lists++ ? "; " : "", title);
    uint32_t named = count <= NAMED + 1 ? count : NAMED; /* "and 1 more" is longer than most */
    for (uint32_t i = 0; i < named; i++) {
        say(s, "%s%.*s", i ? ", " : "", short_length(items[i].name), items[i].name);
        if (items[i].was)
            say(s, " (was %.*s)", short_length(items[i].was), items[i].was);
        if (*items[i].values)
            say(s, " %s", items[i].values);
    }
    if (named < count)
        say(s, " and %u more", count - named);
}

static Item of_function(const Anatomy *a, int32_t i)
{
    const AnatomyFunction *f = &a->functions[i];
    return (Item){.name = anatomy_string(a, f->pretty ? f->pretty : f->name),
                  .file = anatomy_string(a, f->line ? f->file : f->unit),
                  .line = f->line};
}

static Item of_object(const Anatomy *a, int32_t i)
{
    const AnatomyObject *o = &a->objects[i];
    return (Item){.name = anatomy_string(a, o->name),
                  .file = anatomy_string(a, o->line ? o->file : o->unit),
                  .line = o->line};
}

static Item of_type(const Anatomy *a, int32_t i)
{
    return (Item){.name = anatomy_string(a, a->types[i].name), .file = ""};
}

static void show_value(const AnatomyObject *o, char *to, size_t room)
{
    float single;
    double real;
    int64_t number = (int64_t)(o->value << (64 - 8 * o->bytes)) >> (64 - 8 * o->bytes);
    memcpy(&single, &o->value, sizeof single);
    memcpy(&real, &o->value, sizeof real);
    if (o->value_kind == VALUE_FLOAT && (o->bytes == 4 || o->bytes == 8))
        snprintf(to, room, "%.7g", o->bytes == 4 ? (double)single : real);
    else if (o->value_kind == VALUE_BOOL)
        snprintf(to, room, "%s", o->value ? "true" : "false");
    else if (o->value_kind == VALUE_SIGNED)
        snprintf(to, room, "%lld", (long long)number);
    else
        snprintf(to, room, "%llu", (unsigned long long)o->value);
}

static int has_value(const AnatomyObject *o)
{
    return o->value_kind != VALUE_NONE && o->bytes && o->bytes <= 8;
}

int compare_values(const AnatomyObject *before, const AnatomyObject *after, char *to, size_t room)
{
    char old[24], new_[24];
    *to = 0;
    if (!has_value(before) || !has_value(after))
        return 0;
    show_value(before, old, sizeof old);
    show_value(after, new_, sizeof new_);
    if (!strcmp(old, new_))
        return 0;
    snprintf(to, room, "%s → %s", old, new_);
    return 1;
}

typedef Item ItemOf(const Anatomy *a, int32_t i);

/* Those that changed in one of two ways, `also` being one more that counts as the same. */
static void say_changes(Said *s, const Difference *d, const Anatomy *before, const Anatomy *after,
                        const ChangeList *list, const char *title, uint32_t what, uint32_t also,
                        ItemOf *item_of)
{
    uint32_t count = 0, most = list->count < LIST_MOST ? list->count : LIST_MOST;
    Item *items = most ? malloc(most * sizeof *items) : NULL;
    for (uint32_t i = 0; items && i < most; i++) {
        const Change *c = &list->list[i];
        if (c->what != what && c->what != also)
            continue;
        items[count] = c->after >= 0 ? item_of(after, c->after) : item_of(before, c->before);
        if (c->what == CHANGE_RENAMED)
            items[count].was = item_of(before, c->before).name;
        if (c->what == CHANGE_CHANGED && list == &d->objects)
            compare_values(&before->objects[c->before], &after->objects[c->after],
                           items[count].values, sizeof items[count].values);
        count++;
    }
    say_list(s, title, items, count);
    free(items);
}

void difference_say(const Difference *d, const Anatomy *before, const Anatomy *after, char *to,
                    size_t room)
{
    Said s = {.to = to, .room = room};
    *to = 0;
    if (!d->code_known && !d->same_sections) {
        say(&s, "too little is in them to tell what changed");
        return;
    }
    const ChangeList *f = &d->functions, *o = &d->objects, *t = &d->types;
    say_changes(&s, d, before, after, f, "changed", CHANGE_CHANGED, CHANGE_LINES, of_function);
    say_changes(&s, d, before, after, f, "added", CHANGE_ADDED, CHANGE_RENAMED, of_function);
    say_changes(&s, d, before, after, f, "removed", CHANGE_REMOVED, CHANGE_REMOVED, of_function);
    say_changes(&s, d, before, after, t, "types", CHANGE_CHANGED, CHANGE_CHANGED, of_type);
    say_changes(&s, d, before, after, o, "data", CHANGE_CHANGED, CHANGE_CHANGED, of_object);
    say_changes(&s, d, before, after, o, "new data", CHANGE_ADDED, CHANGE_ADDED, of_object);
    say_changes(&s, d, before, after, o, "data removed", CHANGE_REMOVED, CHANGE_REMOVED, of_object);
}
