/* A tweak's default in a source. Reads and replaces one file; knows C's tokens as far as it takes
 * not to be fooled by comments and literals. Any thread. */
#include "app/source_number.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <keel/tweak.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MOST = 16 << 20, NUMBER_BYTES = 64 };

/* ---- tokens ---- */

static int is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* Behind a comment or a literal that begins at `c`; `c` itself if none does. */
static const char *skip_dead(const char *c)
{
    if (c[0] == '/' && c[1] == '/') {
        while (*c && *c != '\n')
            c += c[0] == '\\' && c[1] ? 2 : 1;
        return c;
    }
    if (c[0] == '/' && c[1] == '*') {
        const char *end = strstr(c + 2, "*/");
        return end ? end + 2 : c + strlen(c);
    }
    if (c[0] == 'R' && c[1] == '"') { /* C++: R"mark( … )mark" */
        const char *open = strchr(c, '(');
        size_t mark = open ? (size_t)(open - c) - 2 : 0;
        if (!open || mark > 16)
            return c;
        for (const char *at = open; (at = strchr(at, ')')) != NULL; at++)
            if (!strncmp(at + 1, c + 2, mark) && at[1 + mark] == '"')
                return at + 2 + mark;
        return c + strlen(c);
    }
    if (*c != '"' && *c != '\'')
        return c;
    char quote = *c++;
    while (*c && *c != quote && *c != '\n')
        c += c[0] == '\\' && c[1] ? 2 : 1;
    return *c == quote ? c + 1 : c;
}

/* Behind the word or number that begins at `c`, with the marks that part a number's digits (1'000),
 * which begin no literal; `c` itself if none does. */
static const char *skip_word(const char *c)
{
    int number = isdigit((unsigned char)*c);
    while (skip_dead(c) == c && is_word(*c)) {
        c++;
        while (number && *c == '\'' && is_word(c[1]))
            c += 2;
    }
    return c;
}

/* Behind a preprocessor line, continued ones included. */
static const char *skip_directive(const char *c)
{
    while (*c && *c != '\n') {
        const char *behind = skip_dead(c);
        if (behind == c)
            behind = skip_word(c);
        if (behind != c)
            c = behind;
        else
            c += c[0] == '\\' && c[1] ? 2 : 1;
    }
    return c;
}

static const char *skip_blank(const char *c)
{
    for (;;) {
        while (isspace((unsigned char)*c))
            c++;
        if (c[0] != '/' || (c[1] != '/' && c[1] != '*'))
            return c;
        c = skip_dead(c);
    }
}

/* The end of an argument that begins at `c`: its comma or closing bracket; NULL: none. */
static const char *argument_end(const char *c)
{
    for (int depth = 0; *c;) {
        const char *behind = skip_dead(c);
        if (behind == c)
            behind = skip_word(c);
        if (behind != c) {
            c = behind;
            continue;
        }
        if (!depth && (*c == ',' || *c == ')'))
            return c;
        depth += *c == '(' || *c == '[' || *c == '{';
        depth -= *c == ')' || *c == ']' || *c == '}';
        c++;
    }
    return NULL;
}

/* ---- finding ---- */

/* At a KEEL_TWEAK…: 1 and the place of its number when it is the one called `name`. */
static int match(const char *text, const char *at, const char *name, SourceNumber *ret)
{
    static const char *const macros[] = {"KEEL_TWEAK", "KEEL_TWEAK_SWITCH", "KEEL_TWEAK_COLOR"};
    size_t word = 0;
    while (is_word(at[word]))
        word++;
    size_t m = 0;
    while (m < 3 && (strlen(macros[m]) != word || strncmp(macros[m], at, word) != 0))
        m++;
    const char *c = skip_blank(at + word);
    if (m == 3 || *c != '(' || (c = argument_end(c + 1)) == NULL || *c != ',')
        return 0;
    c = skip_blank(c + 1);
    size_t bytes = strlen(name);
    if (strncmp(c, name, bytes) != 0 || is_word(c[bytes]))
        return 0;
    c = skip_blank(c + bytes);
    if (*c != ',')
        return 0;
    const char *first = skip_blank(c + 1), *last = argument_end(first);
    if (!last)
        return 0;
    const char *token = first; /* up to a comment that ends the argument */
    while (token < last && !isspace((unsigned char)*token) && *token != '/')
        token++;
    if (skip_blank(token) == last)
        last = token;
    *ret = (SourceNumber){.at = (size_t)(first - text), .bytes = (size_t)(last - first), .line = 1};
    for (const char *line = text; line < first; line++)
        ret->line += *line == '\n';
    return 1;
}

/* A number with nothing around it but a sign and a suffix. `*ret_digits`: without the suffix. */
static int plain_number(const char *text, size_t bytes, double *ret, size_t *ret_digits)
{
    char room[NUMBER_BYTES], *end;
    if (!bytes || bytes >= sizeof room)
        return 0;
    size_t n = 0, marks = 0; /* 1'000 is 1000 */
    for (size_t i = 0; i < bytes; i++)
        if (text[i] == '\'' && i && i + 1 < bytes && isxdigit((unsigned char)text[i - 1]) &&
            isxdigit((unsigned char)text[i + 1]))
            marks++;
        else
            room[n++] = text[i];
    room[n] = 0;
    const char *digit = room + (room[0] == '-' || room[0] == '+');
    if (!isdigit((unsigned char)digit[0]) && !(digit[0] == '.' && isdigit((unsigned char)digit[1])))
        return 0;
    *ret = strtod(room, &end);
    int hex = digit[0] == '0' && (digit[1] == 'x' || digit[1] == 'X');
    if (!hex && digit[0] == '0' && isdigit((unsigned char)digit[1]) && !strpbrk(digit, ".eE"))
        return 0;                               /* octal */
    *ret_digits = (size_t)(end - room) + marks; /* no mark is behind them */
    return strspn(end, hex ? "uUlL" : "fFuUlL") == strlen(end) && strlen(end) <= 3;
}

int source_number_find(const char *text, const char *name, const char *file, SourceNumber *ret,
                       Error *err)
{
    SourceNumber found = {0}, next;
    int fresh = 1; /* only blanks on this line so far */
    for (const char *c = text; *c;) {
        if (*c == '#' && fresh) {
            c = skip_directive(c);
            continue;
        }
        if (isspace((unsigned char)*c)) {
            fresh |= *c++ == '\n';
            continue;
        }
        const char *dead = skip_dead(c);
        if (dead != c) {
            c = dead;
            continue;
        }
        fresh = 0;
        if (!is_word(*c)) {
            c++;
            continue;
        }
        if (!strncmp(c, "KEEL_TWEAK", 10) && match(text, c, name, &next)) {
            if (found.line)
                return err_set(err, KEEL_EREFUSED,
                               "%s has two KEEL_TWEAKs called %s, in lines %d and %d: which one?",
                               file, name, found.line, next.line);
            found = next;
        }
        c = skip_word(c);
    }
    double value;
    size_t digits;
    if (!found.line)
        return err_set(err, KEEL_ENOTFOUND, "%s has no KEEL_TWEAK(k, %s, …) any more", file, name);
    if (!plain_number(text + found.at, found.bytes, &value, &digits))
        return err_set(err, KEEL_EREFUSED,
                       "%s:%d: the default of %s is \"%.*s\", not a plain number: change it there",
                       file, found.line, name, (int)(found.bytes < 40 ? found.bytes : 40),
                       text + found.at);
    *ret = found;
    return KEEL_OK;
}

/* ---- writing ---- */

/* The shortest decimal that is `value` within `precision`. */
static int shortest(double value, double precision, char room[NUMBER_BYTES])
{
    double off;
    int n = 0, digits = 1;
    do {
        n = snprintf(room, NUMBER_BYTES, "%.*g", digits, value);
        off = strtod(room, NULL) - value;
    } while (digits++ < 17 && (off < 0 ? -off : off) > precision);
    if (strchr(room, 'e') && value < 1e9 && value > -1e9) /* 1e+02 reads worse than 100 */
        n = snprintf(room, NUMBER_BYTES, "%.0f", strtod(room, NULL));
    return n;
}

size_t source_number_text(const char *was, size_t was_bytes, uint32_t kind, double value,
                          double precision, char *ret, size_t bytes)
{
    char room[NUMBER_BYTES];
    double old;
    size_t digits;
    if (!plain_number(was, was_bytes, &old, &digits))
        return 0;
    const char *suffix = was + digits;
    int suffix_bytes = (int)(was_bytes - digits);
    int hex = memchr(was, 'x', was_bytes) != NULL || memchr(was, 'X', was_bytes) != NULL;
    int n;
    if (kind == KEEL_TWEAK_COLOR || (hex && value >= 0 && kind != KEEL_TWEAK_REAL))
        n = snprintf(room, sizeof room, kind == KEEL_TWEAK_COLOR ? "0x%08llx" : "0x%llx",
                     (unsigned long long)value);
    else if (kind != KEEL_TWEAK_REAL)
        n = snprintf(room, sizeof room, "%.0f", value);
    else
        n = shortest(value, precision, room);
    if (kind == KEEL_TWEAK_REAL && !strpbrk(room, ".e")) /* a whole one would be an int */
        n += snprintf(room + n, sizeof room - (size_t)n, ".0");
    int all = snprintf(ret, bytes, "%s%.*s", room, suffix_bytes, suffix);
    return all > 0 && (size_t)all < bytes ? (size_t)all : 0;
}

static int read_text(const char *file, char **ret_text, struct stat *ret_stat, Error *err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, ret_stat)) {
        int code = err_errno(err, KEEL_EIO, errno, "cannot read %s", file);
        if (fd >= 0)
            close(fd);
        return code;
    }
    size_t bytes = (size_t)ret_stat->st_size, n = 0;
    char *text = S_ISREG(ret_stat->st_mode) && bytes <= FILE_MOST ? malloc(bytes + 1) : NULL;
    ssize_t got = 1;
    while (text && n < bytes && (got = read(fd, text + n, bytes - n)) > 0)
        n += (size_t)got;
    close(fd);
    if (!text || got < 0) {
        free(text);
        return err_set(err, KEEL_EIO, "cannot read %s: is it a source?", file);
    }
    text[n] = 0;
    if (strlen(text) != n) {
        free(text);
        return err_set(err, KEEL_EDATA, "%s holds bytes that are no text", file);
    }
    *ret_text = text;
    return KEEL_OK;
}

static int put_all(int fd, const char *data, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return KEEL_EIO;
        data += n;
        bytes -= (size_t)n;
    }
    return KEEL_OK;
}

/* A new file takes the old one's name, so that nobody ever reads half of it. */
static int replace(const char *file, const struct stat *was, const char *text,
                   const SourceNumber *place, const char *number, Error *err)
{
    char whole[PATH_MAX], part[PATH_MAX + 16];
    if (!realpath(file, whole)) /* what a link leads to is replaced, not the link */
        return err_errno(err, KEEL_EIO, errno, "cannot find %s", file);
    snprintf(part, sizeof part, "%s.keel~", whole);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, KEEL_EIO, errno, "cannot write beside %s", file);
    size_t rest = place->at + place->bytes;
    int failed = put_all(fd, text, place->at) || put_all(fd, number, strlen(number)) ||
                 put_all(fd, text + rest, strlen(text + rest)) ||
                 fchmod(fd, was->st_mode & 07777) || fsync(fd);
    int why = errno;
    struct stat now;
    if (close(fd) && !failed) {
        failed = 1;
        why = errno;
    }
    if (!failed && (stat(whole, &now) || now.st_mtim.tv_sec != was->st_mtim.tv_sec ||
                    now.st_mtim.tv_nsec != was->st_mtim.tv_nsec || now.st_ino != was->st_ino)) {
        unlink(part);
        return err_set(err, KEEL_ECHANGED, "%s changed just now: nothing was written", file);
    }
    if (failed || rename(part, whole)) {
        why = failed ? why : errno;
        unlink(part);
        return err_errno(err, KEEL_EIO, why, "cannot write %s", file);
    }
    return KEEL_OK;
}

int source_number_write(const char *file, const char *name, uint32_t kind, double initial,
                        double value, double precision, int *ret_line, Error *err)
{
    char *text = NULL, number[NUMBER_BYTES + 8];
    struct stat was;
    SourceNumber place;
    double stands = 0;
    size_t digits;
    int rc = read_text(file, &text, &was, err);
    if (rc)
        return rc;
    rc = source_number_find(text, name, file, &place, err);
    if (!rc) {
        plain_number(text + place.at, place.bytes, &stands, &digits);
        *ret_line = place.line;
        int same = source_number_text(text + place.at, place.bytes, kind, value, precision, number,
                                      sizeof number) == place.bytes &&
                   !strncmp(number, text + place.at, place.bytes);
        if (stands == value || same)
            rc =
                err_set(err, KEEL_ESAME, "%s:%d: %s is %s already", file, place.line, name, number);
        else if (kind == KEEL_TWEAK_REAL ? (float)stands != (float)initial : stands != initial)
            rc = err_set(err, KEEL_ECHANGED,
                         "%s:%d: the default of %s is %.*s there, and %.9g in the code that runs: "
                         "build it first",
                         file, place.line, name, (int)place.bytes, text + place.at, initial);
        else if (!number[0])
            rc = err_set(err, KEEL_EINVAL, "%s: %.9g can't be written there", name, value);
        else
            rc = replace(file, &was, text, &place, number, err);
    }
    free(text);
    return rc;
}
