/* Sentences about a migration: what was done, and what would be. Changes nothing. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "state/migrate_run.h"

typedef struct Line {
    char *text;
    size_t at, room;
} Line;

static void add(Line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(Line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (line->at < line->room) {
        int n = vsnprintf(line->text + line->at, line->room - line->at, format, args);
        line->at += n > 0 ? (size_t)n : 0;
    }
    va_end(args);
}

/* 12,480 */
static const char *thousands(uint64_t n, char *room)
{
    char plain[32];
    int bytes = snprintf(plain, sizeof plain, "%llu", (unsigned long long)n), at = 0;
    for (int i = 0; i < bytes; i++) {
        if (i && (bytes - i) % 3 == 0)
            room[at++] = ',';
        room[at++] = plain[i];
    }
    room[at] = 0;
    return room;
}

/* What is new in it: zero, as text like a person's. */
static void say_added(const Walk *w, const Pair *pair, Line *line)
{
    for (uint32_t i = 0; i < pair->added && i < 4; i++)
        add(line, "%s%s", i ? ", " : " ",
            plan_text(w->m, single_at(w->m, pair->first_added + i)->name));
    if (pair->added > 4)
        add(line, " and %u more", pair->added - 4);
    if (pair->added)
        add(line, " = 0 for all");
}

static void say_dropped(const Walk *w, const Pair *pair, Line *line)
{
    char number[40];
    for (uint32_t i = 0; i < pair->dropped && i < 4; i++) {
        const Single *single = single_at(w->m, pair->first_dropped + i);
        uint64_t set = w->not_empty[pair->first_dropped + i];
        add(line, "%s%s (%s",
            i             ? ", "
            : pair->added ? "; dropped: "
                          : " dropped: ",
            plan_text(w->m, single->name), plan_text(w->m, single->spelled));
        if (set)
            add(line, ", %s not empty", thousands(set, number));
        if (set && w->run->ret_attic && !single->bits)
            add(line, "; kept until probation ends");
        add(line, ")");
    }
    if (pair->dropped > 4)
        add(line, " and %u more", pair->dropped - 4);
}

static int is_said(const Walk *w, uint32_t i)
{
    return w->rewritten && w->rewritten[i];
}

static void say_objects(const Walk *w)
{
    Line line = {w->result->text, 0, sizeof w->result->text};
    uint32_t count = (uint32_t)(w->m->pairs.bytes / sizeof(Pair)), said = 0;
    char number[40];
    for (uint32_t i = 1; i < count; i++)
        if (is_said(w, i) && said++ < 6)
            add(&line, "%s%s × %s", line.at ? ", " : "", thousands(w->rewritten[i], number),
                plan_text(w->m, pair_at(w->m, i)->name));
    if (said > 6)
        add(&line, " and %u more types", said - 6);
}

void say_result(Walk *w)
{
    Line line = {w->result->more, 0, sizeof w->result->more};
    uint32_t count = (uint32_t)(w->m->pairs.bytes / sizeof(Pair)), said = 0, types = 0;
    char number[40];
    say_objects(w);
    for (uint32_t i = 1; i < count; i++)
        types += is_said(w, i) != 0;
    for (uint32_t i = 1; i < count; i++) {
        const Pair *pair = pair_at(w->m, i);
        if (!is_said(w, i) || (!pair->added && !pair->dropped) || said++ > 5)
            continue;
        if (line.at)
            add(&line, ";");
        if (types > 1)
            add(&line, " %s:", plan_text(w->m, pair->name));
        say_added(w, pair, &line);
        say_dropped(w, pair, &line);
    }
    if (w->result->converted)
        add(&line, "%s %s by KEEL_CONVERT", line.at ? ";" : "",
            thousands(w->result->converted, number));
    if (w->result->statics_anew) {
        add(&line, "%s new initialiser: ", line.at ? ";" : "");
        const StaticPlan *plans = (const StaticPlan *)(const void *)w->m->statics.data;
        const char *comma = "";
        for (size_t i = 0, n = 0; i < w->m->statics.bytes / sizeof *plans && n < 4; i++) {
            if (plans[i].fate != STATIC_ANEW)
                continue;
            add(&line, "%s%s", comma,
                schema_text(w->m->from, w->m->from->statics[plans[i].from].name));
            comma = ", ";
            n++;
        }
        if (w->result->statics_anew > 4)
            add(&line, " and %llu more", (unsigned long long)w->result->statics_anew - 4);
    }
    if (w->odd_count) {
        add(&line, "%s %s", line.at ? ";" : "", w->odd);
        if (w->odd_count > 1)
            add(&line, " and %llu more like it", (unsigned long long)w->odd_count - 1);
    }
    if (w->outside_count)
        add(&line, "%s %s%s%s%s outside of the state (libc's heap, a library) and stay%s as %s",
            line.at ? ";" : "", w->outside, w->outside_count > 1 ? " and " : "",
            w->outside_count > 1 ? thousands(w->outside_count - 1, number) : "",
            w->outside_count > 1 ? " more point" : " points", w->outside_count > 1 ? "" : "s",
            w->outside_count > 1 ? "they are" : "it is");
    if (w->odd_words)
        add(&line, "%s %llu words of untyped memory look like pointers to objects that moved",
            line.at ? ";" : "", (unsigned long long)w->odd_words);
}
