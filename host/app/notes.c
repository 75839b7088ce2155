/* Notes from log lines. A swap's line has all its times; a note has what changed, and the pause.
 * What `keel dev` says of a build that wasn't swapped, the swap's own line has said. */
#include "app/notes.h"

#include <keel/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALM, GOOD, WARN, BAD };

/* "fish: generation 3 → 4 in 14 ms (…), pause 21.0 µs; …" */
static int swapped(const char *text, char *ret_note, size_t bytes)
{
    static const char word[] = ": generation ", arrow[] = " \xe2\x86\x92 ", us[] = " \xc2\xb5s";
    const char *at = strstr(text, word);
    const char *to = at ? strstr(at, arrow) : NULL;
    const char *in = to ? strstr(to, " in ") : NULL;
    const char *pause = in ? strstr(in, "pause ") : NULL;
    if (!pause || strstr(text, "rolled back"))
        return 0;
    at += sizeof word - 1;
    pause += strlen("pause ");
    const char *unit = strstr(pause, us);
    if (!unit)
        return 0;
    const char *changes = unit + strlen(us);
    changes += strspn(changes, ";,: ");
    double pause_us = strtod(pause, NULL);
    char time[32];
    snprintf(time, sizeof time, pause_us < 1000 ? "%.0f%s" : "%.1f%s",
             pause_us < 1000 ? pause_us : pause_us / 1000, pause_us < 1000 ? us : " ms");
    snprintf(ret_note, bytes, "%.*s  %.*s  \xc2\xb7  pause %s%s%s",
             (int)(at - (sizeof word - 1) - text), text, (int)(in - at), at, time,
             *changes ? "  \xc2\xb7  " : "", changes);
    return 1;
}

/* "fish: refused: fish: failed in the trial (frame): its frame 1 crashed: …": the name once. */
static int refused(const char *text, char *ret_note, size_t bytes)
{
    static const char word[] = ": refused: ";
    const char *at = strstr(text, word);
    if (!at)
        return 0;
    int name = (int)(at - text);
    const char *why = at + sizeof word - 1;
    if (!strncmp(why, text, (size_t)name) && why[name] == ':')
        why += name + 1 + strspn(why + name + 1, " ");
    snprintf(ret_note, bytes, "%.*s  refused  \xc2\xb7  %s", name, text, why);
    return 1;
}

/* "fish: generation 4 rolled back to 3: WHY; WHAT", told after the fault itself was. */
static int rolled_back(const char *text, char *ret_note, size_t bytes)
{
    static const char word[] = ": generation ", back[] = " rolled back to ";
    const char *at = strstr(text, word);
    const char *to = at ? strstr(at, back) : NULL;
    const char *what = to ? strrchr(to, ';') : NULL;
    if (!what)
        return 0;
    to += sizeof back - 1;
    if (strstr(what, "what happened since went back")) /* how it did is told in the terminal */
        what = "; what happened since is kept";
    snprintf(ret_note, bytes, "%.*s  back to %.*s  \xc2\xb7 %s", (int)(at - text), text,
             (int)strspn(to, "0123456789"), to, what + 1);
    return 1;
}

/* "fish: wrote to 0x0 …": the name and the kind apart from what happened, as in the other notes. */
static int apart(const char *text, const char *kind, char *ret_note, size_t bytes)
{
    const char *colon = strstr(text, ": ");
    if (!colon || memchr(text, ' ', (size_t)(colon - text)))
        return 0;
    snprintf(ret_note, bytes, "%.*s  %s  \xc2\xb7  %s", (int)(colon - text), text, kind, colon + 2);
    return 1;
}

int note_of(uint32_t level, const char *room, const char *text, char *ret_note, size_t bytes,
            int *ret_tone)
{
    *ret_tone = level >= KEEL_LOG_ERROR ? BAD : level == KEEL_LOG_WARN ? WARN : GOOD;
    if (!strcmp(room, "swap") && level == KEEL_LOG_INFO)
        return swapped(text, ret_note, bytes);
    if (!strcmp(room, "swap") &&
        (rolled_back(text, ret_note, bytes) || refused(text, ret_note, bytes)))
        return 1;
    if (strstr(text, ": report: ")) /* the terminal has its path */
        return 0;
    int told = (!strcmp(room, "swap") && level >= KEEL_LOG_WARN) || !strcmp(room, "fault") ||
               (!strcmp(room, "tweak") && level >= KEEL_LOG_WARN) ||
               (!strcmp(room, "asset") && level >= KEEL_LOG_WARN) ||
               (!strcmp(room, "dev") && !strncmp(text, "fixed", 5));
    if (!strcmp(room, "fault"))
        *ret_tone = BAD;
    if (!strcmp(room, "fault") && level >= KEEL_LOG_ERROR && apart(text, "fault", ret_note, bytes))
        return 1;
    if (!strcmp(room, "asset") && level >= KEEL_LOG_WARN && apart(text, "asset", ret_note, bytes))
        return 1;
    if (told)
        snprintf(ret_note, bytes, "%s", text);
    return told;
}
