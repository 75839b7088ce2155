/* An ordinary C program as a module: words.c and pool.c know nothing of Keel and use malloc, stdio,
 * the mathematics library and threads as any program does. This file is all that was added.
 *
 * It reads a text ($ORDINARY_TEXT, or the one below), takes some lines a frame into its table, and
 * at the end counts the whole text once more with several threads: both must agree, also when the
 * module was swapped or a frame was undone on the way. */
#include <keel/keel.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"
#include "words.h"

enum { LINES_A_FRAME = 8, THREADS = 3, MOST = 5 };

static const char default_path[] = "/usr/share/common-licenses/GPL-3";
static const char default_text[] = "a ship's keel stays\nwhile every plank is replaced\nat sea\n";

/* The root of all that the program keeps. What hangs on it is malloc'ed, and yet part of the slot's
 * state: it survives swaps and is undone with a frame that faults. */
struct ordinary {
    text *text;
    words *words;
    size_t at; /* line */
    uint64_t passes, disagreed;
};

/* ---- counting with threads ---- */

struct part {
    const text *text;
    size_t first, last;
    words *words;
    int error; /* errno, or 0 */
};

static void count_part(void *argument)
{
    struct part *part = argument;
    part->words = words_new();
    part->error = part->words ? 0 : errno;
    for (size_t i = part->first; i < part->last && !part->error; i++)
        if (words_add_line(part->words, part->text->line[i]))
            part->error = errno;
}

/* The threads are joined before the frame ends. One that went on would go on in this generation's
 * code, and keep that loaded, after a swap. */
static words *count_all(const text *t)
{
    struct part part[THREADS] = {0};
    words *all = words_new();
    pool *threads = pool_start(THREADS);
    int error = all && threads ? 0 : errno;
    for (size_t i = 0; i < THREADS && !error; i++) {
        part[i] = (struct part){t, t->lines * i / THREADS, t->lines * (i + 1) / THREADS, NULL, 0};
        if (pool_submit(threads, count_part, &part[i]))
            error = errno;
    }
    if (threads)
        pool_stop(threads);
    for (size_t i = 0; i < THREADS; i++) {
        if (!error && !(error = part[i].error) && words_merge(all, part[i].words))
            error = errno;
        words_free(part[i].words);
    }
    if (!error)
        return all;
    words_free(all);
    errno = error;
    return NULL;
}

/* ---- the module ---- */

static int start(keel *k)
{
    struct ordinary *o = keel_state(k, struct ordinary);
    const char *path = getenv("ORDINARY_TEXT");
    o->text = text_read(path ? path : default_path);
    if (!o->text) {
        keel_warn(k, "%s: %s; I read my own text", path ? path : default_path, strerror(errno));
        o->text = text_of(default_text);
    }
    o->words = words_new();
    if (!o->text || !o->words)
        return keel_fail(k, KEEL_ENOMEM, "%s", strerror(errno));
    keel_info(k, "%zu lines", o->text->lines);
    return KEEL_OK;
}

static void end_of_text(keel *k, struct ordinary *o)
{
    words *all = count_all(o->text);
    char *report = words_report(o->words, MOST);
    o->passes++;
    if (!all) {
        keel_warn(k, "not counted twice: %s", strerror(errno));
    } else if (all->total != o->words->total || all->different != o->words->different) {
        o->disagreed++;
        keel_error(k, "%lu words, %zu different; %lu and %zu when counted again", o->words->total,
                   o->words->different, all->total, all->different);
    }
    keel_info(k, "pass %llu: %s", (unsigned long long)o->passes, report ? report : "no memory");
    free(report);
    words_free(all);
    words_free(o->words);
    o->words = words_new();
    o->at = 0;
}

static void frame(keel *k, const struct keel_frame *f)
{
    (void)f;
    struct ordinary *o = keel_state(k, struct ordinary);
    if (!o->words && !(o->words = words_new()))
        return; /* no memory now; the next frame tries again */
    for (int i = 0; i < LINES_A_FRAME && o->at < o->text->lines; i++)
        if (words_add_line(o->words, o->text->line[o->at++]))
            keel_warn(k, "line %zu: %s", o->at, strerror(errno));
    if (o->at == o->text->lines)
        end_of_text(k, o);
}

static void stop(keel *k)
{
    struct ordinary *o = keel_state(k, struct ordinary);
    keel_info(k, "%llu passes, %llu disagreed", (unsigned long long)o->passes,
              (unsigned long long)o->disagreed);
    words_free(o->words);
    text_free(o->text);
    *o = (struct ordinary){0};
}

KEEL_MODULE("ordinary", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame) KEEL_ON(stop, stop))
