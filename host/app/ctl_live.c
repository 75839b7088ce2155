/* `keel ctl`'s commands for a live session: single frames, tweaks and storing them in the sources.
 * The sources are changed by this process, as whoever runs it; the host never writes them. Main
 * thread. */
#include <keel/tweak.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/ctl.h"
#include "app/source_number.h"
#include "app/text.h"

int ctl_frame_step(Ctl *ctl, int count, char **args)
{
    char *end = NULL;
    long frames = count ? strtol(args[0], &end, 10) : 1;
    if (count > 1 || (count && (*end || end == args[0] || frames < 1)))
        return ctl_wrong("frame-step takes a number of frames, not \"%s\"", args[count - 1]);
    json_t *result;
    int status =
        ctl_ask(ctl, "frame-step", json_pack("{s:I}", "frames", (json_int_t)frames), &result);
    if (status)
        return status;
    if (ctl->json)
        ctl_print_json(result);
    else
        printf("stands still after frame %lld\n",
               (long long)json_integer_value(json_object_get(result, "frames")));
    json_decref(result);
    return DONE;
}

int ctl_rewind(Ctl *ctl, int count, char **args)
{
    char *end = NULL;
    double back = count ? strtod(args[0], &end) : 0;
    if (count != 1 || *end || end == args[0] || !(back > 0 && back <= 1e6) ||
        (ctl->frames && back != (double)(long)back))
        return ctl_wrong("rewind takes seconds, or --frames and a number, not \"%s\"",
                         count ? args[count - 1] : "");
    json_t *request = ctl->frames ? json_pack("{s:I}", "frames", (json_int_t)back)
                                  : json_pack("{s:f}", "seconds", back);
    json_object_set_new(request, "replay", json_boolean(ctl->replay));
    json_t *result;
    int status = ctl_ask(ctl, "rewind", request, &result);
    if (status)
        return status;
    if (ctl->json)
        ctl_print_json(result);
    else
        printf("%.2f s back%s\n", json_number_value(json_object_get(result, "seconds")),
               json_is_true(json_object_get(result, "replay"))   ? ", and the same input again"
               : json_is_true(json_object_get(result, "paused")) ? ", standing still"
                                                                 : "");
    json_decref(result);
    return DONE;
}

/* The host may stand in another folder: it is given the whole path. */
int ctl_screenshot(Ctl *ctl, int count, char **args)
{
    char path[PATH_MAX * 2] = "";
    if (count != 1 || !args[0][0])
        return ctl_wrong("screenshot takes the picture's file, as in screenshot now.png%s", "");
    if (args[0][0] != '/' && !getcwd(path, PATH_MAX))
        return ctl_wrong("screenshot needs the whole path of the picture: where this is can't be "
                         "told%s",
                         "");
    size_t used = strlen(path);
    snprintf(path + used, sizeof path - used, "%s%s", used ? "/" : "", args[0]);
    json_t *result;
    int status = ctl_ask(ctl, "screenshot", json_pack("{s:s}", "file", path), &result);
    if (status)
        return status;
    if (ctl->json)
        ctl_print_json(result);
    json_decref(result);
    return DONE;
}

/* ---- tweaks ---- */

static const char *word(const json_t *tweak, const char *member)
{
    const char *text = json_string_value(json_object_get(tweak, member));
    return text ? text : "";
}

static double real(const json_t *tweak, const char *member)
{
    return json_number_value(json_object_get(tweak, member));
}

static uint32_t kind_of(const json_t *tweak)
{
    static const char *const kinds[] = {"real", "int", "switch", "color"};
    for (uint32_t i = 0; i < 4; i++)
        if (!strcmp(word(tweak, "kind"), kinds[i]))
            return i;
    return KEEL_TWEAK_REAL;
}

static void format_value(uint32_t kind, double value, char room[32])
{
    if (kind == KEEL_TWEAK_COLOR)
        snprintf(room, 32, (unsigned)value % 256 == 255 ? "#%06x" : "#%06x%02x",
                 (unsigned)value >> 8, (unsigned)value & 255);
    else if (kind == KEEL_TWEAK_SWITCH)
        snprintf(room, 32, "%s", value != 0 ? "on" : "off");
    else
        snprintf(room, 32, "%.7g", value);
}

static void print_tweak(const json_t *tweak)
{
    char value[32], initial[32] = "";
    uint32_t kind = kind_of(tweak);
    format_value(kind, real(tweak, "value"), value);
    if (real(tweak, "value") != real(tweak, "initial"))
        format_value(kind, real(tweak, "initial"), initial);
    fputs("  ", stdout);
    int width = (int)strlen(word(tweak, "name"));
    text_print(stdout, word(tweak, "name"));
    printf("%*s%12s", width < 20 ? 20 - width : 1, "", value);
    if (kind == KEEL_TWEAK_REAL || kind == KEEL_TWEAK_INT)
        printf("   %.7g to %.7g", real(tweak, "least"), real(tweak, "most"));
    if (initial[0])
        printf("   (%s in the source)", initial);
    putchar('\n');
}

static int write_back(const json_t *tweak)
{
    Error err = {0};
    int line = 0;
    const char *file = word(tweak, "file");
    if (file[0] != '/' && access(file, R_OK)) {
        fputs("keel ctl: --write-back finds no ", stderr);
        text_print(stderr, file);
        fputs(" here: run it in the folder that the module was built in, or use keel dev\n",
              stderr);
        return REFUSED;
    }
    double value = real(tweak, "value"), least = real(tweak, "least"), most = real(tweak, "most");
    int rc = source_number_write(file, word(tweak, "name"), kind_of(tweak), real(tweak, "initial"),
                                 value, (most - least) * 1e-9, &line, &err);
    if (!rc) {
        char text[32];
        format_value(kind_of(tweak), value, text);
        text_print(stdout, word(tweak, "file"));
        printf(":%d: ", line);
        text_print(stdout, word(tweak, "name"));
        printf(" is %s now\n", text);
        return DONE;
    }
    if (rc == KEEL_ESAME)
        return DONE;
    fputs("keel ctl: ", stderr);
    text_print(stderr, err.text);
    fputc('\n', stderr);
    return REFUSED;
}

/* Those that the arguments name, or all; with --write-back those that differ from their source. */
static int named(const json_t *tweak, int count, char **args)
{
    for (int i = 0; i < count; i++) {
        size_t bytes = strcspn(args[i], "=");
        if (!strncmp(word(tweak, "name"), args[i], bytes) && !word(tweak, "name")[bytes])
            return 1;
    }
    return !count;
}

static int show(const Ctl *ctl, const json_t *result, int count, char **args)
{
    size_t s, t;
    json_t *slot, *tweak;
    int status = DONE, shown = 0;
    json_array_foreach(json_object_get(result, "slots"), s, slot)
    {
        const json_t *list = json_object_get(slot, "tweaks");
        if (!count && !ctl->json && !ctl->write_back && json_array_size(list)) {
            text_print(stdout, word(slot, "name"));
            putchar('\n');
        }
        json_array_foreach(list, t, tweak)
        {
            if (!named(tweak, count, args))
                continue;
            shown++;
            if (!ctl->json && !ctl->write_back)
                print_tweak(tweak);
            if (ctl->write_back && real(tweak, "value") != real(tweak, "initial"))
                status |= write_back(tweak);
        }
    }
    if (ctl->json && !ctl->write_back)
        ctl_print_json(result);
    else if (!shown)
        puts("no tweaks: write KEEL_TWEAK(k, name, 1, 0, 2) in a module's frame");
    return status;
}

/* No tweak's name begins like a value: somebody left out the `=`. */
static int is_value(const char *text)
{
    return strchr("0123456789+-.#", *text) && *text;
}

int ctl_tweak(Ctl *ctl, int count, char **args)
{
    json_t *result = NULL;
    for (int i = 1; i < count; i++)
        if (is_value(args[i]) && !strchr(args[i - 1], '=')) {
            char meant[128];
            snprintf(meant, sizeof meant, "%.60s=%.60s", args[i - 1], args[i]);
            return ctl_wrong("to set it, write %s", meant);
        }
    for (int i = 0; i < count || !result; i++) {
        char *equals = i < count ? strchr(args[i], '=') : NULL;
        json_t *request = json_pack("{s:s*}", "slot", ctl->slot);
        if (i < count) { /* without a value: to learn whether there is one by that name */
            json_t *name =
                json_stringn(args[i], equals ? (size_t)(equals - args[i]) : strlen(args[i]));
            if (!name || json_object_set_new(request, "set", name)) {
                json_decref(request);
                json_decref(result);
                return ctl_wrong("a tweak's name is UTF-8, not \"%s\"", "?");
            }
            json_object_set_new(request, "value", json_string(equals ? equals + 1 : ""));
        }
        json_decref(result);
        result = NULL;
        int status = ctl_ask(ctl, "tweak", request, &result);
        if (status)
            return status;
    }
    int status = show(ctl, result, count, args);
    json_decref(result);
    return status;
}
