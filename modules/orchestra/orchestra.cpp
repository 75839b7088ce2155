// A module in C++: classes, templates, exceptions, and vectors, maps and strings that live in the
// slot's state from frame to frame and through every swap.
//
// Objects with virtual functions don't belong into state: each holds a pointer into the generation
// that made it. Everything here is a value.
#include <keel/keel.h>

#include <new>

#include "score.hpp"

namespace
{

constexpr double beats_a_second = 4;

constexpr char first_score[] = "bass: C2 - G2 -\n"
                               "flute: C5 E5/2 G5/2 E5 -\n"
                               "viola: E4/2 G4/2 C5/2 G4/2\n";

struct Orchestra {
    Score score;
    std::uint64_t notes = 0;
    double beat = 0;
    int lines = 0; // read from messages
};

int start(keel *k)
{
    auto *orchestra = new (keel_state(k, Orchestra)) Orchestra; // once: a swap finds it there
    try {
        orchestra->score.read(first_score);
    } catch (const ScoreError &e) {
        return keel_fail(k, KEEL_EDATA, "the score: %s", e.what());
    }
    return KEEL_OK;
}

void frame(keel *k, const struct keel_frame *f)
{
    constexpr double bar = 8;
    auto *orchestra = keel_state(k, Orchestra);
    double beats = f->dt * beats_a_second;
    bool ended = static_cast<int>((orchestra->beat + beats) / bar) !=
                 static_cast<int>(orchestra->beat / bar);
    orchestra->beat += beats;
    orchestra->notes += static_cast<std::uint64_t>(orchestra->score.play(beats));
    if (ended)
        keel_info(k, "beat %.0f, %llu notes; %s", orchestra->beat,
                  static_cast<unsigned long long>(orchestra->notes),
                  orchestra->score.describe().c_str());
}

// A message is a line of the score. An exception ends here: none may leave the module.
void event(keel *k, const struct keel_event *e)
{
    auto *orchestra = keel_state(k, Orchestra);
    if (e->kind != KEEL_EVENT_MESSAGE)
        return;
    std::string_view line(static_cast<const char *>(e->data), e->data_bytes);
    try {
        orchestra->score.read_line(++orchestra->lines, line);
    } catch (const ScoreError &error) {
        keel_warn(k, "%s", error.what());
    }
}

void stop(keel *k)
{
    keel_state(k, Orchestra)->~Orchestra();
}

} // namespace

KEEL_MODULE("orchestra", "1.0",
            KEEL_ON(start, start) KEEL_ON(frame, frame) KEEL_ON(event, event) KEEL_ON(stop, stop))
