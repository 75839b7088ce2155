/* A fountain of ten thousand sparks over still water: a canvas to play with while it runs.
 *
 * Open this file beside the window (scripts/run, or `keel dev modules/sketch`), change a line and
 * save: the sparks fly on in the new code, from where they are. F1 has sliders, F3 goes back in
 * time while it is held. The mouse pulls while its button is held; the right button pushes. It is
 * an ordinary C file. */
#include <keel/keel.h>
#include <math.h>

/* ---- change these, save, and watch ---- */

#define GRAVITY 520 /* 90 is the moon; below 0 they fall upwards */
#define BOUNCE 0.45f
#define HUE 0.12f /* of young sparks: 0.12 is gold, 0.33 grass, 0.55 ice */

enum { SPARKS = 10000, JETS = 3 };

struct spark {
    float x, y, vx, vy;
    float age, life; /* seconds */
};

/* All of it stays where it is when the code changes. */
struct sketch {
    struct spark spark[SPARKS];
    double time;
};

/* What is the same for all sparks in one frame. */
struct air {
    float dt, width, water; /* water: the height of its surface */
    float wind, spread, power;
    float pull, x, y; /* of the mouse */
};

static float chance(keel *k)
{
    return (float)(keel_random(k) >> 40) / (float)(1 << 24);
}

/* Anew from one of the jets, which sway. */
static void launch(keel *k, const struct sketch *s, const struct air *air, struct spark *p)
{
    float jet = (float)(keel_random(k) % JETS) - (JETS - 1) / 2.f;
    float sway = sinf((float)s->time * 0.7f + jet * 2.1f) * 130;
    p->x = air->width * (0.5f + 0.22f * jet);
    p->y = air->water - 2;
    p->vx = sway + (chance(k) + chance(k) - 1) * air->spread;
    p->vy = -air->power * (0.72f + 0.28f * chance(k));
    p->age = air->dt * chance(k); /* somewhere between two frames */
    p->x += p->vx * p->age;
    p->y += p->vy * p->age;
    p->life = 1.6f + 2.2f * chance(k);
}

static void fly(keel *k, const struct sketch *s, const struct air *air, struct spark *p)
{
    float dx = air->x - p->x, dy = air->y - p->y;
    float pull = air->pull / (dx * dx + dy * dy + 9000);
    p->vx += (dx * pull + air->wind) * air->dt;
    p->vy += (dy * pull + GRAVITY) * air->dt;
    p->x += p->vx * air->dt;
    p->y += p->vy * air->dt;
    if (p->y > air->water && p->vy > 0) { /* it splashes */
        p->y = 2 * air->water - p->y;
        p->vy *= -BOUNCE * chance(k);
        p->vx += (chance(k) - 0.5f) * 90;
    }
    p->age += air->dt;
    if (p->age > p->life || p->x < -80 || p->x > air->width + 80)
        launch(k, s, air, p);
}

/* A streak along its way, and its image in the water. */
static void show(keel *k, const struct air *air, const struct spark *p, float size, int mirror)
{
    float left = 1 - p->age / p->life, x = p->x - p->vx * 0.022f, y = p->y - p->vy * 0.022f;
    uint32_t color = keel_hsv(HUE - 0.42f * (1 - left), 0.35f + 0.55f * (1 - left), 1);
    float width = size * (0.5f + 0.5f * left), low = 2 * air->water;
    keel_line(k, x, y, p->x, p->y, width, keel_fade(color, 0.75f * left * left));
    if (mirror)
        keel_line(k, x, low - y, p->x, low - p->y, width * 2, keel_fade(color, 0.14f * left));
}

static int start(keel *k)
{
    struct sketch *s = keel_state(k, struct sketch);
    for (int i = 0; i < SPARKS; i++) /* each waits for its first launch */
        s->spark[i] = (struct spark){.y = -9999, .age = -3.8f * chance(k)};
    return 0;
}

static void frame(keel *k, const struct keel_frame *f)
{
    struct sketch *s = keel_state(k, struct sketch);
    struct keel_view view = keel_view_now(k);
    float speed = KEEL_TWEAK(k, speed, 1.f, 0, 2), size = KEEL_TWEAK(k, size, 1.6f, 0.5, 6);
    struct air air = {.dt = fminf((float)f->dt, 0.05f) * speed,
                      .width = view.width,
                      .water = view.height * 0.8f,
                      .wind = KEEL_TWEAK(k, wind, 0.f, -300, 300),
                      .spread = KEEL_TWEAK(k, spread, 70.f, 0, 300),
                      .power = KEEL_TWEAK(k, power, 560.f, 200, 1200) * sqrtf(view.height / 720),
                      .x = keel_mouse(k)->x,
                      .y = keel_mouse(k)->y};
    int mirror = KEEL_TWEAK_SWITCH(k, mirror, 1);
    uint32_t sky = KEEL_TWEAK_COLOR(k, sky, 0x111a44ff);
    air.pull = 3e5f * (float)(keel_button_held(k, KEEL_BUTTON_LEFT) -
                              keel_button_held(k, KEEL_BUTTON_RIGHT));
    s->time += (double)air.dt;

    keel_clear(k, keel_linear(k, 0, 0, 0x05060eff, 0, air.water, sky));
    keel_rect(k, 0, air.water, view.width, view.height - air.water,
              keel_linear(k, 0, air.water, 0x0c1434ff, 0, view.height, 0x04050bff));
    keel_blend(k, KEEL_BLEND_ADD);
    for (int i = 0; i < SPARKS; i++) {
        fly(k, s, &air, &s->spark[i]);
        show(k, &air, &s->spark[i], size, mirror);
    }
}

KEEL_MODULE("sketch", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame))
