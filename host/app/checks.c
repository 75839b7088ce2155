/* Checks and their reports: text, TAP, JSON, JUnit. Owns the list. */
#include "app/checks.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "app/text.h"
#include "base/clock.h"
#include "control/message.h"

void checks_add(Checks *checks, int good, const char *format, ...)
{
    if (checks->count == checks->room) {
        int room = checks->room ? checks->room * 2 : 16;
        Check *grown = realloc(checks->list, (size_t)room * sizeof *grown);
        if (!grown)
            return;
        checks->list = grown;
        checks->room = room;
    }
    Check *check = &checks->list[checks->count++];
    char text[sizeof check->text];
    int64_t now = clock_now_ns();
    check->good = good;
    check->seconds = checks->last_ns ? (double)(now - checks->last_ns) / 1e9 : 0;
    checks->last_ns = now;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    text_clean(check->text, sizeof check->text, text);
}

int checks_failed(const Checks *checks)
{
    int failed = 0;
    for (int i = 0; i < checks->count; i++)
        failed += !checks->list[i].good;
    return failed;
}

void checks_text(const Checks *checks, FILE *to)
{
    for (int i = 0; i < checks->count; i++)
        fprintf(to, "%s  %s\n", checks->list[i].good ? "ok  " : "FAIL", checks->list[i].text);
    int failed = checks_failed(checks);
    if (failed)
        fprintf(to, "NEW may not replace OLD: %d of %d checks failed\n", failed, checks->count);
    else
        fprintf(to, "NEW may replace OLD: %d checks passed\n", checks->count);
}

void checks_tap(const Checks *checks, FILE *to)
{
    fprintf(to, "TAP version 13\n1..%d\n", checks->count);
    for (int i = 0; i < checks->count; i++) {
        fprintf(to, "%sok %d - ", checks->list[i].good ? "" : "not ", i + 1);
        for (const char *c = checks->list[i].text; *c; c++) /* '#' would begin a directive */
            putc(*c == '#' ? '_' : *c, to);
        putc('\n', to);
    }
}

void checks_json(const Checks *checks, FILE *to, const char *old_path, const char *new_path)
{
    json_t *list = json_array();
    for (int i = 0; i < checks->count; i++)
        json_array_append_new(list, json_pack("{s:b, s:s}", "ok", checks->list[i].good, "text",
                                              checks->list[i].text));
    json_t *all = json_pack("{s:b, s:o, s:o, s:i, s:o}", "ok", checks_failed(checks) == 0, "old",
                            message_text(old_path), "new", message_text(new_path), "failed",
                            checks_failed(checks), "checks", list);
    if (all)
        json_dumpf(all, to, JSON_COMPACT);
    putc('\n', to);
    json_decref(all);
}

static void xml_text(FILE *to, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", to);
            break;
        case '<':
            fputs("&lt;", to);
            break;
        case '>':
            fputs("&gt;", to);
            break;
        case '"':
            fputs("&quot;", to);
            break;
        default:
            putc(*text, to);
        }
    }
}

int checks_junit(const Checks *checks, const char *path)
{
    FILE *to = fopen(path, "we");
    if (!to)
        return -1;
    fprintf(to,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<testsuite name=\"keel smoke\" tests=\"%d\" failures=\"%d\">\n",
            checks->count, checks_failed(checks));
    for (int i = 0; i < checks->count; i++) {
        const Check *check = &checks->list[i];
        fputs("  <testcase classname=\"keel.smoke\" name=\"", to);
        xml_text(to, check->text);
        fprintf(to, "\" time=\"%.3f\"", check->seconds);
        if (check->good) {
            fputs("/>\n", to);
        } else {
            fputs("><failure message=\"", to);
            xml_text(to, check->text);
            fputs("\"/></testcase>\n", to);
        }
    }
    fputs("</testsuite>\n", to);
    int bad = ferror(to);
    return fclose(to) || bad ? -1 : 0;
}

void checks_done(Checks *checks)
{
    free(checks->list);
    *checks = (Checks){0};
}
