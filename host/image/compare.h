/* What a rebuild changed: two anatomies side by side. Pure; any thread. */
#ifndef IMAGE_COMPARE_H
#define IMAGE_COMPARE_H

#include "image/anatomy.h"
#include "image/inspect.h"

/* Worse is larger. */
typedef enum Verdict {
    VERDICT_SAME,    /* does the same, however it was built */
    VERDICT_LINES,   /* only the line numbers that asserts tell */
    VERDICT_CODE,    /* functions; every static keeps its value */
    VERDICT_DATA,    /* initializers as well: those statics take the new value */
    VERDICT_TYPES,   /* the layout of types */
    VERDICT_UNKNOWN, /* something, and there is too little in the images to tell what */
} Verdict;

enum { CHANGE_ADDED, CHANGE_REMOVED, CHANGE_CHANGED, CHANGE_LINES, CHANGE_RENAMED, CHANGES };

/* Indices into the lists of the old and the new anatomy; -1: not there. */
typedef struct Change {
    int32_t before, after;
    uint32_t what;
} Change;

typedef struct ChangeList {
    Change *list;
    uint32_t count, room;
} ChangeList;

typedef struct Difference {
    Verdict verdict;
    int code_known, data_known, types_known; /* both images tell */
    int same_sections;                       /* what is loaded is equal to the byte */
    ChangeList functions, objects, types, sections;
    uint32_t functions_same;
} Difference;

/* KEEL_ENOMEM. */
int compare_anatomies(const Anatomy *before, const Anatomy *after, Difference *ret, Error *err);
void difference_done(Difference *d);

/* What changed, as half a sentence of at most `room` bytes: "changed: frame, step; added: glow;
 * data: gravity". Long lists end with "and 12 more"; "" when nothing did. */
void difference_say(const Difference *d, const Anatomy *before, const Anatomy *after, char *to,
                    size_t room);

/* "9.8 → 1.62" for statics that are one number; 0 when they aren't or it is the same. */
int compare_values(const AnatomyObject *before, const AnatomyObject *after, char *to, size_t room);

/* Differences outside of the code, each as a sign ('+', '-', '~'), a topic ("service", "library")
 * and a text; `tell` may be NULL. They return how many of them change what the module does. */
enum { FACT_BYTES = 256 };
typedef void FactTeller(void *user, char sign, const char *topic, const char *text);
int compare_notes(const Image *before, const Image *after, FactTeller *tell, void *user);
int compare_inspections(const Inspection *before, const Inspection *after, FactTeller *tell,
                        void *user);

/* One line for each field that differs between two types of one name, such as `+ uint32_t venue at
 * 24` or `price int32_t → int64_t`; calls `tell` with each. */
typedef void (*FieldTeller)(void *user, const char *sign, const char *text);
void compare_fields(const Anatomy *before, const AnatomyType *old, const Anatomy *after,
                    const AnatomyType *new_, FieldTeller tell, void *user);

#endif
