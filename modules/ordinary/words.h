/* The words of a text and how often each occurs: lines read by stdio, a hash table with chains. */
#ifndef ORDINARY_WORDS_H
#define ORDINARY_WORDS_H

#include <stddef.h>

typedef struct text {
    char **line;
    size_t lines;
} text;

/* NULL with errno set when the file can't be read. */
text *text_read(const char *path);
text *text_of(const char *string);
void text_free(text *t);

typedef struct word {
    struct word *next; /* in its bucket */
    char *spelling;
    unsigned long count;
} word;

typedef struct words {
    word **bucket;
    size_t buckets, different;
    unsigned long total;
} words;

words *words_new(void);
void words_free(words *w);

/* 0, or -1 with errno set. */
int words_add(words *w, const char *spelling, unsigned long count);
int words_add_line(words *w, const char *line);
int words_merge(words *into, const words *from);

/* Bits a word: how surprising the next word of this text is. */
double words_entropy(const words *w);

/* The most frequent words and the entropy as one malloc'ed line, or NULL. */
char *words_report(const words *w, size_t most);

#endif
