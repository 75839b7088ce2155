// A flock of birds in C++: a std::vector in the slot's state, which grows with every click and is
// still there, at the same address, when the code around it was changed.
//
// The rules are Craig Reynolds's (1987): keep apart, fly as the others do, stay together.
#include <keel/keel.h>

#include <cmath>
#include <new>
#include <vector>

namespace
{

struct Vector {
    float x = 0, y = 0;
    Vector operator+(Vector o) const
    {
        return {x + o.x, y + o.y};
    }
    Vector operator-(Vector o) const
    {
        return {x - o.x, y - o.y};
    }
    Vector operator*(float by) const
    {
        return {x * by, y * by};
    }
    float length() const
    {
        return std::sqrt(x * x + y * y);
    }
};

struct Bird {
    Vector at, speed;
    float hue;
};

struct Flock {
    std::vector<Bird> birds;
};

float chance(keel *k)
{
    return static_cast<float>(keel_random(k) % 65536) / 65536;
}

void hatch(keel *k, Flock &flock, Vector at, int count)
{
    for (int i = 0; i < count; i++)
        flock.birds.push_back({at + Vector{chance(k) - 0.5f, chance(k) - 0.5f} * 60,
                               Vector{chance(k) - 0.5f, chance(k) - 0.5f} * 200,
                               0.52f + 0.12f * chance(k)});
}

int start(keel *k)
{
    auto *flock = new (keel_state(k, Flock)) Flock;
    for (int i = 0; i < 12; i++)
        hatch(k, *flock, {1280 * chance(k), 720 * chance(k)}, 20);
    return KEEL_OK;
}

struct Rules {
    float sight, apart, along, together, fastest;
};

// What the birds around make one bird want.
Vector wish(const Rules &rules, const Flock &flock, const Bird &bird)
{
    Vector away, along, middle;
    float seen = 0;
    for (const Bird &other : flock.birds) {
        const Vector to = other.at - bird.at;
        const float far = to.length();
        if (&other == &bird || far > rules.sight)
            continue;
        away = away - to * (rules.apart / (far * far + 20));
        along = along + other.speed;
        middle = middle + other.at;
        seen++;
    }
    if (seen < 1)
        return away;
    return away + (along * (1 / seen) - bird.speed) * rules.along +
           (middle * (1 / seen) - bird.at) * rules.together;
}

void draw(keel *k, const Bird &bird)
{
    const Vector ahead = bird.speed * (1 / (bird.speed.length() + 0.01f));
    const Vector side{-ahead.y, ahead.x}, tail = bird.at - ahead * 7;
    const Vector tip = bird.at + ahead * 9, left = tail + side * 4, right = tail - side * 4;
    keel_triangle(k, tip.x, tip.y, left.x, left.y, right.x, right.y,
                  keel_hsv(bird.hue, 0.55f, 0.95f));
}

void frame(keel *k, const struct keel_frame *f)
{
    auto &flock = *keel_state(k, Flock);
    const keel_view view = keel_view_now(k);
    const float dt = static_cast<float>(f->dt < 0.05 ? f->dt : 0.05);
    const Rules rules{KEEL_TWEAK(k, sight, 70.f, 10, 200), KEEL_TWEAK(k, apart, 900.f, 0, 3000),
                      KEEL_TWEAK(k, along, 1.2f, 0, 5), KEEL_TWEAK(k, together, 1.f, 0, 5),
                      KEEL_TWEAK(k, fastest, 190.f, 20, 600)};
    if (keel_button_pressed(k, KEEL_BUTTON_LEFT))
        hatch(k, flock, {keel_mouse(k)->x, keel_mouse(k)->y}, 20);
    for (Bird &bird : flock.birds) {
        const Vector home = Vector{view.width / 2, view.height / 2} - bird.at;
        bird.speed = bird.speed + (wish(rules, flock, bird) + home * 0.25f) * dt;
        const float fast = bird.speed.length();
        if (fast > rules.fastest)
            bird.speed = bird.speed * (rules.fastest / fast);
    }
    keel_clear(k, keel_linear(k, 0, 0, 0xdfeaf2ff, 0, view.height, 0xf8efe2ff));
    for (Bird &bird : flock.birds) {
        bird.at = bird.at + bird.speed * dt;
        draw(k, bird);
    }
    keel_textf(k, 24, 24, 16, 0x3a4a58ff, "%d birds; a click brings more",
               static_cast<int>(flock.birds.size()));
}

void stop(keel *k)
{
    keel_state(k, Flock)->~Flock();
}

} // namespace

KEEL_MODULE("flock", "1.0", KEEL_ON(start, start) KEEL_ON(frame, frame) KEEL_ON(stop, stop))
