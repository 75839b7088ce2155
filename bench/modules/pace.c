/* A module whose frames mark the time, with FILL bytes of code around it and VARIANT telling builds
 * apart. */
#include <keel/keel.h>
#include <time.h>

#include "pace.h"

enum { PAGE = 4096, BLOCK = 1 << 20 };

/* Code that nobody runs but that is hashed, mapped and prefaulted like any other. */
__asm__(".pushsection .text.fill,\"ax\",@progbits\n.globl pace_fill\n.hidden "
        "pace_fill\npace_fill:\n.fill " FILL ",1,0x90\nret\n.popsection\n");
extern void pace_fill(void);
extern void (*volatile pace_kept)(void);
void (*volatile pace_kept)(void) __attribute__((visibility("hidden"))) = pace_fill;

struct pace_block {
    uint8_t bytes[BLOCK];
};

struct pace_state {
    uint64_t blocks;
    uint64_t frames;
    struct pace_block *block[4096];
};

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int start(keel *k)
{
    const Pace *pace = keel_user(k);
    struct pace_state *s = keel_state(k, struct pace_state);
    for (; s->blocks < pace->state_bytes / BLOCK; s->blocks++) {
        struct pace_block *block = keel_new(k, struct pace_block);
        if (!block)
            return keel_fail(k, KEEL_ENOMEM, "block %u", (unsigned)s->blocks);
        for (int i = 0; i < BLOCK; i += PAGE)
            block->bytes[i] = 1;
        s->block[s->blocks] = block;
    }
    return 0;
}

/* The same function reached two ways. */
static void time_calls(keel *k, Pace *pace)
{
    int64_t (*volatile bare)(keel *) = keel_time_service_(k)->now_ns;
    int64_t n = pace->calls, sum = 0;
    int64_t a = now();
    for (int64_t i = 0; i < n; i++)
        sum += bare(k);
    int64_t b = now();
    for (int64_t i = 0; i < n; i++)
        sum += keel_now_ns(k);
    int64_t c = now();
    pace->calls = sum ? 0 : -1;
    pace->through_pointer_ns = b - a;
    pace->through_table_ns = c - b;
}

static void frame(keel *k, const struct keel_frame *f)
{
    (void)f;
    Pace *pace = keel_user(k);
    struct pace_state *s = keel_state(k, struct pace_state);
    pace->marks[pace->count % pace->room] = (PaceMark){now(), VARIANT, 0};
    pace->count = pace->count + 1;
    s->frames++;
    if (s->blocks) {
        uint64_t pages = s->blocks * (BLOCK / PAGE);
        for (uint64_t i = 0; i < pace->dirty_pages; i++) {
            uint64_t page = (s->frames * 31 + i * (pages / pace->dirty_pages)) % pages;
            s->block[page / (BLOCK / PAGE)]->bytes[page % (BLOCK / PAGE) * PAGE]++;
        }
    }
    if (pace->calls > 0)
        time_calls(k, pace);
    if (pace->fault) {
        pace->fault = 0;
        pace->fault_ns = now();
        *pace->nowhere = 1;
    }
}

KEEL_MODULE("pace", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame))
