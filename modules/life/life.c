/* Conway's Game of Life on a torus of 1024 x 512 cells: a module that uses all that a host offers.
 *
 *   state     the world is typed memory of the slot: it stays where it is when this file is rebuilt
 *   timers    a spark falls into the world now and then; a line of figures is logged
 *   tasks     a census of the world is taken on another thread
 *   messages  "glider", "soup", "clear", as `keel ctl send life glider` sends them
 *   hooks     save and restore carry the world over when struct life itself is edited
 *
 * Try it: keel run life.so, change STEPS_A_FRAME, rebuild. */
#include <keel/keel.h>

#include <string.h>

#include "world.h"

enum { STEPS_A_FRAME = 1, SPARK_MS = 250, FIGURES_MS = 500 };

enum { TAG_SPARK = 1, TAG_FIGURES, TAG_CENSUS }; /* how this module knows its own events */
enum { WORK_CENSUS = 1 };

enum { REGIONS_ACROSS = 4, REGIONS_DOWN = 2, REGIONS = REGIONS_ACROSS * REGIONS_DOWN };

/* How full the parts of the world were when they were counted. */
struct census {
    uint64_t step;
    uint64_t alive;
    uint32_t region[REGIONS];
};

struct life {
    uint64_t *now, *next; /* WORLD_WORDS each */
    uint64_t step;        /* of the world, since it began */
    uint64_t alive, births, deaths, sparks;
    keel_handle spark, figures; /* timers: they belong to the slot and go on through every swap */
    keel_handle counting;       /* the census that is under way, or 0 */
    struct census census;
};

/* ---- what is put into the world ---- */

static void put(struct life *life, int x, int y, int alive)
{
    int was = world_get(life->now, x, y);
    world_set(life->now, x, y, alive);
    life->alive += (uint64_t)alive - (uint64_t)was;
}

static void put_pattern(keel *k, struct life *life, const char *rows)
{
    uint64_t place = keel_random(k); /* the host's numbers, so that a recording can be replayed */
    int left = (int)(place % WORLD_WIDTH), x = left, y = (int)(place >> 32) & (WORLD_HEIGHT - 1);
    for (; *rows; rows++) {
        if (*rows == '/') {
            y++;
            x = left;
        } else {
            put(life, x++, y, *rows == 'O');
        }
    }
}

static void put_soup(keel *k, struct life *life)
{
    for (int i = 0; i < WORLD_WORDS; i++)
        life->now[i] = keel_random(k) & keel_random(k); /* a quarter of the cells */
    life->alive = world_population(life->now);
}

/* ---- the entries ---- */

/* New memory of the slot, zeroed. */
static int allocate(keel *k, struct life *life)
{
    life->now = keel_new_array(k, uint64_t, WORLD_WORDS);
    life->next = keel_new_array(k, uint64_t, WORLD_WORDS);
    return life->now && life->next ? KEEL_OK : keel_fail(k, KEEL_ENOMEM, "no memory for the world");
}

/* Once, when the slot is new. A swap doesn't come here. */
static int start(keel *k)
{
    struct life *life = keel_state(k, struct life);
    int rc = allocate(k, life);
    if (rc)
        return rc;
    put_soup(k, life);
    life->spark =
        keel_timer_start(k, SPARK_MS * INT64_C(1000000), SPARK_MS * INT64_C(1000000), TAG_SPARK);
    life->figures = keel_timer_start(k, FIGURES_MS * INT64_C(1000000),
                                     FIGURES_MS * INT64_C(1000000), TAG_FIGURES);
    keel_info(k, "a world of %d x %d cells, %llu alive", WORLD_WIDTH, WORLD_HEIGHT,
              (unsigned long long)life->alive);
    return KEEL_OK;
}

static void frame(keel *k, const struct keel_frame *f)
{
    (void)f;
    struct life *life = keel_state(k, struct life);
    for (int i = 0; i < STEPS_A_FRAME; i++) {
        struct world_change change = world_step(life->now, life->next);
        uint64_t *old = life->now;
        life->now = life->next;
        life->next = old;
        life->births += change.births;
        life->deaths += change.deaths;
        life->alive += change.births - change.deaths;
        life->step++;
    }
}

static void on_message(keel *k, struct life *life, const struct keel_event *e)
{
    const char *text = (const char *)e->data;
    if (e->data_bytes == 6 && !memcmp(text, "glider", 6)) {
        put_pattern(k, life, ".O./..O/OOO");
    } else if (e->data_bytes == 4 && !memcmp(text, "soup", 4)) {
        put_soup(k, life);
    } else if (e->data_bytes == 5 && !memcmp(text, "clear", 5)) {
        memset(life->now, 0, WORLD_WORDS * sizeof *life->now);
        life->alive = 0;
    } else {
        keel_warn(k, "I know the messages glider, soup and clear");
    }
}

/* The counted cells must be the cells that births and deaths left: a swap that lost or doubled a
 * cell would show here. */
static void on_figures(keel *k, struct life *life)
{
    uint64_t counted = world_population(life->now);
    if (counted != life->alive)
        keel_error(k, "%llu cells are alive, %llu should be", (unsigned long long)counted,
                   (unsigned long long)life->alive);
    keel_info(k, "step %llu: %llu alive, %llu born, %llu died, %llu sparks",
              (unsigned long long)life->step, (unsigned long long)life->alive,
              (unsigned long long)life->births, (unsigned long long)life->deaths,
              (unsigned long long)life->sparks);
    if (!life->counting)
        life->counting = keel_task_start(k, WORK_CENSUS, TAG_CENSUS, KEEL_TASK_BACKGROUND,
                                         life->now, WORLD_WORDS * sizeof *life->now);
}

static void on_census(keel *k, struct life *life, const struct keel_event *e)
{
    int fullest = 0;
    life->counting = 0;
    if (e->result || e->data_bytes != sizeof life->census)
        return; /* cancelled, or done by code that counted otherwise */
    memcpy(&life->census, e->data, sizeof life->census);
    for (int i = 1; i < REGIONS; i++)
        if (life->census.region[i] > life->census.region[fullest])
            fullest = i;
    keel_debug(k, "census: %llu alive, most in region %d: %u",
               (unsigned long long)life->census.alive, fullest, life->census.region[fullest]);
}

static void event(keel *k, const struct keel_event *e)
{
    struct life *life = keel_state(k, struct life);
    if (e->kind == KEEL_EVENT_MESSAGE) {
        on_message(k, life, e);
    } else if (e->tag == TAG_SPARK) {
        put_pattern(k, life, ".OO/OO./.O."); /* an R-pentomino: small, and trouble for long */
        life->sparks++;
    } else if (e->tag == TAG_FIGURES) {
        on_figures(k, life);
    } else if (e->tag == TAG_CENSUS) {
        on_census(k, life, e);
    }
}

/* On another thread, on a copy of the world: no state here. */
static int work(struct keel_work *w)
{
    const uint64_t *world = (const uint64_t *)w->input;
    struct census census = {0};
    if (w->op != WORK_CENSUS || w->input_bytes != WORLD_WORDS * sizeof *world)
        return KEEL_EINVAL;
    for (int i = 0; i < WORLD_WORDS && !w->cancelled(w); i++) {
        int across = i % WORLD_ROW * REGIONS_ACROSS / WORLD_ROW;
        int down = i / WORLD_ROW * REGIONS_DOWN / WORLD_HEIGHT;
        uint32_t alive = (uint32_t)__builtin_popcountll(world[i]);
        census.region[down * REGIONS_ACROSS + across] += alive;
        census.alive += alive;
    }
    return w->give(w, &census, sizeof census);
}

/* ---- carrying the world over when struct life is edited ---- */

/* What save writes and restore reads. It is not edited but replaced: a new form gets a new version,
 * and restore goes on reading the old ones. */
enum { SAVED_1 = 1 };
struct saved_1 {
    uint64_t step, alive, births, deaths, sparks;
    keel_handle spark, figures, counting;
};

static int save(keel *k, struct keel_writer *w)
{
    const struct life *life = keel_state(k, struct life);
    struct saved_1 s = {.step = life->step,
                        .alive = life->alive,
                        .births = life->births,
                        .deaths = life->deaths,
                        .sparks = life->sparks,
                        .spark = life->spark,
                        .figures = life->figures,
                        .counting = life->counting};
    w->version = SAVED_1;
    int rc = w->write(w, &s, sizeof s);
    return rc ? rc : w->write(w, life->now, WORLD_WORDS * sizeof *life->now);
}

static int restore(keel *k, struct keel_reader *r)
{
    struct saved_1 s;
    if (r->version != SAVED_1)
        return keel_fail(k, KEEL_EDATA, "a world of form %u was saved, I read form %d", r->version,
                         SAVED_1);
    struct life *life = keel_state(k, struct life);
    int rc = allocate(k, life);
    if (rc)
        return rc;
    rc = r->read(r, &s, sizeof s);
    if (!rc)
        rc = r->read(r, life->now, WORLD_WORDS * sizeof *life->now);
    if (rc)
        return keel_fail(k, rc, "the saved world is cut short");
    if (world_population(life->now) != s.alive)
        return keel_fail(k, KEEL_EDATA, "the saved world is not the one that was counted");
    life->step = s.step;
    life->alive = s.alive;
    life->births = s.births;
    life->deaths = s.deaths;
    life->sparks = s.sparks;
    life->spark = s.spark;
    life->figures = s.figures;
    life->counting = s.counting;
    return KEEL_OK;
}

static void stop(keel *k)
{
    const struct life *life = keel_state(k, struct life);
    keel_info(k, "the world ends at step %llu", (unsigned long long)life->step);
}

KEEL_NEEDS("keel.state/1")
KEEL_NEEDS("keel.time/1")
KEEL_NEEDS("keel.task/1")
KEEL_MODULE("life", "1.0",
            KEEL_ON(start, start) KEEL_ON(frame, frame) KEEL_ON(event, event) KEEL_ON(work, work)
                KEEL_ON(save, save) KEEL_ON(restore, restore) KEEL_ON(stop, stop))
