/* A C module that uses every macro and wrapper of the contract once: it must compile without a
 * warning. */
#include <keel/keel.h>

enum what { WHOLE, REAL };
struct root {
    uint64_t frames;
    keel_handle timer;
    double *numbers;
    enum what what;
    union {
        int32_t whole;
        float real;
    } as;
    union {
        uint8_t small;
        char text[4];
    };
};
#ifdef KEEL_UNION /* not in all frozen headers */
KEEL_RENAMED(struct root, count, frames)
KEEL_UNION(struct root, as, what, KEEL_WHEN(WHOLE, whole) KEEL_WHEN(REAL, real))
KEEL_UNION(struct root, , what, KEEL_WHEN(-1, small))
static int32_t root_2(keel *k, struct root *now, const struct keel_old *old)
{
    char text[8];
    (void)k;
    keel_old_text(old, "name", text, sizeof text);
    now->frames = keel_old_u64(old, "count") + (uint64_t)keel_old_i64(old, "more[2].a");
    now->as.real = (float)keel_old_f64(old, "real") + (float)text[0];
    return keel_old_bytes(old, "raw", NULL, 0) < 0 ? KEEL_ENOTFOUND : 0;
}
KEEL_CONVERT(struct root, 2, root_2)
#endif

static int32_t start(keel *k)
{
    struct root *r = keel_state(k, struct root);
    r->numbers = keel_new_array(k, double, 10);
    r->timer = keel_timer_start(k, 1000, 0, 7);
    if (!r->numbers)
        return keel_fail(k, KEEL_ENOMEM, "no room for %d numbers", 10);
    keel_info(k, "started");
    keel_warn(k, "%llu numbers", (unsigned long long)keel_count(k, r->numbers));
    return keel_timer_stop(k, r->timer);
}

static void frame(keel *k, const struct keel_frame *f)
{
    struct root *r = keel_state(k, struct root);
    r->frames += f->index + keel_random(k) % 2;
    if (keel_run_mode(k) == KEEL_MODE_LIVE && keel_user(k) && keel_now_ns(k) < keel_wall_ns(k))
        keel_task_start(k, 1, 2, KEEL_TASK_VISUAL, &r->frames, sizeof r->frames);
    if (KEEL_HAS(f, dt) && f->dt > 1)
        keel_free(k, r->numbers);
}

static void event(keel *k, const struct keel_event *e)
{
    if (e->kind == KEEL_EVENT_TASK && e->result)
        keel_error(k, "task %d", e->result);
    keel_debug(k, "event");
    keel_task_cancel(k, e->handle);
}

static void stop(keel *k)
{
    (void)k;
}

static int32_t save(keel *k, struct keel_writer *w)
{
    struct root *r = keel_state(k, struct root);
    w->version = 1;
    return w->write(w, &r->frames, sizeof r->frames);
}

static int32_t restore(keel *k, struct keel_reader *r)
{
    return r->read(r, &keel_state(k, struct root)->frames, 8);
}

static int32_t work(struct keel_work *w)
{
    return w->cancelled(w) ? KEEL_ECANCELED : w->give(w, w->input, w->input_bytes);
}

KEEL_NEEDS("keel.time/1")
KEEL_NEEDS("keel.task/1")
KEEL_MODULE("every", "1.2.3",
            KEEL_ON(start, start) KEEL_ON(frame, frame) KEEL_ON(event, event) KEEL_ON(stop, stop)
                KEEL_ON(save, save) KEEL_ON(restore, restore) KEEL_ON(work, work))
