/* What `keel diff` learnt of two images, for its two printers. Main thread. */
#ifndef APP_DIFF_H
#define APP_DIFF_H

#include "image/compare.h"
#include "image/image.h"
#include "image/inspect.h"
#include "image/reading.h"

typedef struct DiffSide {
    const char *path;
    Image *image; /* NULL: it has no note that fits; `reason` says why */
    Inspection inspection;
    Reading *reading; /* holds these two */
    Anatomy anatomy;
    Schema schema; /* all 0 when it can't be read */
    int refused;   /* KEEL_E… or 0: would a host take it? */
    Error reason;
} DiffSide;

/* Differences outside of code, as sentences. */
enum { DIFF_FACTS = 512 };
typedef struct DiffFact {
    char sign; /* '+', '-', '~' */
    const char *topic;
    char text[FACT_BYTES];
} DiffFact;

typedef struct Diff {
    DiffSide before, after;
    Difference difference;
    DiffFact facts[DIFF_FACTS];
    int fact_count, facts_lost;
    Buf state;                          /* what a swap would do with the state, a line each */
    const char *verdict, *verdict_name; /* a sentence; a word for scripts */
    char verdict_text[1200];
    int same, is_stuck; /* stuck: no rule carries the state from the one to the other */
} Diff;

/* Fills facts and verdict from the sides and their difference. */
void diff_judge(Diff *d);

void diff_print_text(const Diff *d, int coloured);
void diff_print_json(const Diff *d);

/* A function's or static's name as its author knows it. */
const char *diff_function_name(const Anatomy *a, const AnatomyFunction *f);

#endif
