/* A part of a reading: what a later reading can begin from, when its debug information is the same.
 * Plain data without pointers; checked on arrival. */
#ifndef IMAGE_SOURCES_H
#define IMAGE_SOURCES_H

#include "base/hash.h"
#include "image/fingerprint.h"

enum { SOURCES_DEBUG = 1, SOURCES_SCHEMA = 2 };

typedef struct Sources {
    Hash debug, rest;      /* keys, see dwarf_reuse.h; 0: none */
    uint32_t flags;        /* ANATOMY_…, as the debug information set them */
    uint32_t string_bytes; /* of the anatomy's strings, those that come from there */
    uint32_t owner_count, line_count;
    uint32_t reused;       /* SOURCES_…: what this reading itself had from the one before */
    uint32_t taken, parts; /* fingerprints of functions and parts: so many of so many, too */
    uint32_t kept_bytes;   /* 0: they are no beginning for the next */
    /* Owners, then Lines, follow, both by rising address; then what kept.h says */
} Sources;

static inline const Owner *sources_owners(const Sources *s)
{
    return (const Owner *)(const void *)(s + 1);
}

static inline const Line *sources_lines(const Sources *s)
{
    return (const Line *)(const void *)(sources_owners(s) + s->owner_count);
}

/* What fingerprints left; 0, or -1 when there is nothing. */
int sources_kept(const Sources *s, Kept *ret);

/* KEEL_EFAULT when anything is wrong; `a` is the anatomy of the same reading, checked. */
int sources_check(const void *data, size_t bytes, const Anatomy *a, Error *err);

#endif
