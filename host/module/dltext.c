/* Translates dlerror. The loader's own words stay at the end, with the staged name replaced by the
 * file's own. Owns nothing. Any thread. */
#include "module/dltext.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Every `from` in `text` becomes `to`. */
static void replace(char *out, size_t room, const char *text, const char *from, const char *to)
{
    size_t used = 0, from_bytes = strlen(from), to_bytes = strlen(to);
    while (*text && used + 1 < room) {
        if (from_bytes && strncmp(text, from, from_bytes) == 0 && used + to_bytes + 1 < room) {
            memcpy(out + used, to, to_bytes);
            used += to_bytes;
            text += from_bytes;
            continue;
        }
        out[used++] = *text++;
    }
    out[used] = 0;
}

/* The word after `mark`, up to one of `ends`. 0 when `mark` isn't there. */
static int word_after(const char *text, const char *mark, const char *ends, char *out, size_t room)
{
    const char *at = strstr(text, mark);
    if (!at)
        return 0;
    at += strlen(mark);
    size_t n = strcspn(at, ends);
    if (n >= room)
        n = room - 1;
    memcpy(out, at, n);
    out[n] = 0;
    return n > 0;
}

static int sanitizer_symbol(const char *symbol)
{
    static const char *const starts[] = {"__asan_",   "__tsan_", "__ubsan_",    "__msan_",
                                         "__hwasan_", "__lsan_", "__sanitizer_"};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncmp(symbol, starts[i], strlen(starts[i])) == 0)
            return 1;
    return 0;
}

int dltext_explain(const char *path, const char *staged, const char *said, Error *err)
{
    char words[400], name[160];
    replace(words, sizeof words, said ? said : "it gave no reason", staged, path);
    const char *file = base_name(path);
    if (word_after(words, "undefined symbol: ", " \t\n(,", name, sizeof name)) {
        if (sanitizer_symbol(name))
            return err_set(err, KEEL_ELOAD,
                           "%s was built with a sanitizer whose runtime this host doesn't have: "
                           "build it without -fsanitize, or the host with the same (%s)",
                           file, words);
        return err_set(err, KEEL_ELOAD,
                       "%s needs the function or variable %s, which no library it names provides: "
                       "link that library or define it (%s)",
                       file, name, words);
    }
    if (strstr(words, "cannot open shared object file")) {
        size_t n = strcspn(words, ":");
        if (n >= sizeof name)
            n = sizeof name - 1;
        memcpy(name, words, n);
        name[n] = 0;
        if (strcmp(name, path) == 0)
            return err_set(err, KEEL_ELOAD, "%s cannot be opened under its staged name%s (%s)",
                           file, access("/proc/self/fd", X_OK) ? ": is /proc mounted?" : "", words);
        return err_set(err, KEEL_ELOAD,
                       "%s needs the library %s, which is not on this machine: install it, or put "
                       "it beside the module and link with -Wl,-rpath,'$ORIGIN' (%s)",
                       file, name, words);
    }
    if (strstr(words, "static TLS block"))
        return err_set(err, KEEL_ELOAD,
                       "%s wants thread-local memory that must be there at process start: build it "
                       "without -ftls-model=initial-exec (%s)",
                       file, words);
    if (word_after(words, "version `", "'", name, sizeof name))
        return err_set(err, KEEL_ELOAD,
                       "%s was linked on a system with a newer library: it needs version %s, which "
                       "is not here: rebuild it on this system (%s)",
                       file, name, words);
    if (strstr(words, "wrong ELF class"))
        return err_set(err, KEEL_ELOAD,
                       "%s, or a library that it needs, is for another word size: "
                       "rebuild it for this machine (%s)",
                       file, words);
    if (strstr(words, "executable stack"))
        return err_set(err, KEEL_ELOAD,
                       "%s asks for an executable stack: link it with -Wl,-z,noexecstack (%s)",
                       file, words);
    if (strstr(words, "annot allocate") || strstr(words, "annot map") ||
        strstr(words, "failed to map"))
        return err_set(err, KEEL_ELOAD, "there is no memory to load %s: free some (%s)", file,
                       words);
    return err_set(err, KEEL_ELOAD, "the loader refused %s: rebuild it (%s)", file, words);
}
