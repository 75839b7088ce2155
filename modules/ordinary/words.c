/* Reads texts, counts words, reports. */
#include "words.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- text ---- */

static text *read_lines(FILE *from)
{
    text *t = calloc(1, sizeof *t);
    char *line = NULL;
    size_t room = 0, lines_room = 0;
    while (t && getline(&line, &room, from) >= 0) {
        if (t->lines == lines_room) {
            size_t more = lines_room ? lines_room * 2 : 64;
            char **longer = realloc(t->line, more * sizeof *longer);
            if (!longer)
                goto failed;
            t->line = longer;
            lines_room = more;
        }
        line[strcspn(line, "\r\n")] = 0;
        if (!(t->line[t->lines] = strdup(line)))
            goto failed;
        t->lines++;
    }
    free(line);
    return t;
failed:
    free(line);
    text_free(t);
    return NULL;
}

text *text_read(const char *path)
{
    FILE *file = fopen(path, "r");
    text *t = file ? read_lines(file) : NULL;
    if (file)
        fclose(file);
    return t;
}

text *text_of(const char *string)
{
    FILE *file = fmemopen((void *)(uintptr_t)string, strlen(string), "r");
    text *t = file ? read_lines(file) : NULL;
    if (file)
        fclose(file);
    return t;
}

void text_free(text *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->lines; i++)
        free(t->line[i]);
    free(t->line);
    free(t);
}

/* ---- words ---- */

words *words_new(void)
{
    words *w = calloc(1, sizeof *w);
    if (w && !(w->bucket = calloc(w->buckets = 64, sizeof(word *)))) {
        free(w);
        w = NULL;
    }
    return w;
}

void words_free(words *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->buckets; i++)
        for (word *one = w->bucket[i], *next; one; one = next) {
            next = one->next;
            free(one->spelling);
            free(one);
        }
    free(w->bucket);
    free(w);
}

/* FNV-1a */
static size_t hash(const char *s)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * UINT64_C(1099511628211);
    return (size_t)(h ^ h >> 32);
}

static int grow(words *w)
{
    size_t more = w->buckets * 2;
    word **bucket = calloc(more, sizeof *bucket);
    if (!bucket)
        return -1;
    for (size_t i = 0; i < w->buckets; i++)
        for (word *one = w->bucket[i], *next; one; one = next) {
            word **place = &bucket[hash(one->spelling) % more];
            next = one->next;
            one->next = *place;
            *place = one;
        }
    free(w->bucket);
    w->bucket = bucket;
    w->buckets = more;
    return 0;
}

int words_add(words *w, const char *spelling, unsigned long count)
{
    word *one = w->bucket[hash(spelling) % w->buckets];
    while (one && strcmp(one->spelling, spelling) != 0)
        one = one->next;
    if (!one) {
        if (w->different >= w->buckets && grow(w))
            return -1;
        word **place = &w->bucket[hash(spelling) % w->buckets];
        if (!(one = malloc(sizeof *one)))
            return -1;
        if (!(one->spelling = strdup(spelling))) {
            free(one);
            return -1;
        }
        one->count = 0;
        one->next = *place;
        *place = one;
        w->different++;
    }
    one->count += count;
    w->total += count;
    return 0;
}

int words_add_line(words *w, const char *line)
{
    char spelling[64];
    while (*line) {
        size_t n = 0;
        for (; isalpha((unsigned char)*line); line++)
            if (n < sizeof spelling - 1)
                spelling[n++] = (char)tolower((unsigned char)*line);
        spelling[n] = 0;
        if (n && words_add(w, spelling, 1))
            return -1;
        while (*line && !isalpha((unsigned char)*line))
            line++;
    }
    return 0;
}

int words_merge(words *into, const words *from)
{
    for (size_t i = 0; i < from->buckets; i++)
        for (const word *one = from->bucket[i]; one; one = one->next)
            if (words_add(into, one->spelling, one->count))
                return -1;
    return 0;
}

double words_entropy(const words *w)
{
    double bits = 0;
    for (size_t i = 0; i < w->buckets; i++)
        for (const word *one = w->bucket[i]; one; one = one->next) {
            double share = (double)one->count / (double)w->total;
            bits -= share * log2(share);
        }
    return bits;
}

static int by_count(const void *a, const void *b)
{
    const word *x = *(const word *const *)a, *y = *(const word *const *)b;
    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return strcmp(x->spelling, y->spelling);
}

char *words_report(const words *w, size_t most)
{
    const word **sorted = malloc((w->different + 1) * sizeof *sorted);
    char *report = NULL;
    size_t bytes, n = 0;
    FILE *out = sorted ? open_memstream(&report, &bytes) : NULL;
    if (!out) {
        free(sorted);
        return NULL;
    }
    for (size_t i = 0; i < w->buckets; i++)
        for (const word *one = w->bucket[i]; one; one = one->next)
            sorted[n++] = one;
    qsort(sorted, n, sizeof *sorted, by_count);
    fprintf(out, "%lu words, %zu different, %.2f bits a word;", w->total, w->different,
            words_entropy(w));
    for (size_t i = 0; i < n && i < most; i++)
        fprintf(out, " %s %lu", sorted[i]->spelling, sorted[i]->count);
    free(sorted);
    if (fclose(out)) {
        free(report);
        return NULL;
    }
    return report;
}
