/* Names of compilers' clones, parts and numbered statics. Owns nothing. */
#include "image/names.h"

#include <string.h>

static size_t length(const char *text)
{
    return strnlen(text, NAME_MOST - 1);
}

static int is_number(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] < '0' || text[i] > '9')
            return 0;
    return n > 0;
}

static int is_word(const char *text, size_t n, const char *const *words)
{
    for (; *words; words++)
        if (strlen(*words) == n && !memcmp(text, *words, n))
            return 1;
    return 0;
}

/* Those that name a part or a clone, and those that say nothing of the code. */
static const char *const PARTS[] = {"isra",        "constprop", "part",  "cold",
                                    "specialized", "warm",      "actor", "destroy",
                                    "resume",      "cleanup",   NULL};
static const char *const IDLE[] = {"lto_priv", "localalias", "llvm", "lto", NULL};

static size_t component(const char *text)
{
    return strcspn(text, ".");
}

size_t name_of_function(const char *symbol, char *ret_part)
{
    size_t all = length(symbol), base = all, out = 0;
    size_t at = all ? 1 + component(symbol + 1) : 0;
    if (at > all)
        at = all;
    memcpy(ret_part, symbol, at);
    out = base = at;
    int known = 0, idle = 0;
    while (at < all) {
        const char *word = symbol + at + 1;
        size_t n = component(word);
        if (at + 1 + n > all)
            n = all - at - 1;
        int part = is_word(word, n, PARTS);
        if (is_word(word, n, IDLE)) {
            known = idle = 1;
        } else if (part || !(is_number(word, n) || idle)) {
            known |= part;
            memcpy(ret_part + out, symbol + at, n + 1);
            out += n + 1;
            idle = 0;
            if (!known) /* a dot of the author's: C++ has none, assembler may */
                base = out;
        }
        at += n + 1;
    }
    ret_part[out] = 0;
    return base;
}

size_t name_of_object(const char *symbol, int *ret_numbered)
{
    size_t n = length(symbol);
    *ret_numbered = 0;
    for (;;) {
        size_t dot = n;
        while (dot > 1 && symbol[dot - 1] != '.')
            dot--;
        if (dot <= 1)
            return n;
        const char *word = symbol + dot;
        if (is_number(word, n - dot))
            *ret_numbered = 1;
        else if (!is_word(word, n - dot, IDLE))
            return n;
        n = dot - 1;
    }
}

int name_is_label(const char *symbol)
{
    return !*symbol || (symbol[0] == '.' && symbol[1] == 'L');
}
