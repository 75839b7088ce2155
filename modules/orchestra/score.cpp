// Reads a score and plays it. Knows no module and no host.
#include "score.hpp"

#include <array>
#include <charconv>

namespace
{

constexpr std::array<std::string_view, 12> names = {"C",  "C#", "D",  "D#", "E",  "F",
                                                    "F#", "G",  "G#", "A",  "A#", "B"};

std::string name_of(const Note &note)
{
    if (note.pitch == Note::REST)
        return "-";
    return std::string(names[static_cast<std::size_t>(note.pitch % 12)]) +
           std::to_string(note.pitch / 12);
}

int read_pitch(int line, std::string_view text)
{
    if (text == "-")
        return Note::REST;
    for (int i = 11; i >= 0; i--) { // "C#" before "C"
        std::string_view name = names[static_cast<std::size_t>(i)];
        if (text.size() == name.size() + 1 && text.substr(0, name.size()) == name &&
            text.back() >= '0' && text.back() <= '9')
            return (text.back() - '0') * 12 + i;
    }
    throw ScoreError(line, "there is no note " + std::string(text));
}

// "E5/2": an E of half a beat.
Note read_note(int line, std::string_view text)
{
    std::size_t slash = text.find('/');
    int part = 1;
    if (slash != text.npos) {
        std::string_view digits = text.substr(slash + 1);
        auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), part);
        if (error != std::errc() || end != digits.data() + digits.size() || part < 1)
            throw ScoreError(line, "no length: " + std::string(text));
    }
    return {read_pitch(line, text.substr(0, slash)), 1.0 / part};
}

// Takes the first word off `text`.
std::string_view next_word(std::string_view &text)
{
    std::size_t first = text.find_first_not_of(' ');
    if (first == text.npos)
        return text = {};
    std::size_t last = text.find(' ', first);
    std::string_view word = text.substr(first, last - first);
    text = last == text.npos ? std::string_view{} : text.substr(last);
    return word;
}

} // namespace

ScoreError::ScoreError(int line, const std::string &why)
    : std::runtime_error("line " + std::to_string(line) + ": " + why)
{
}

int Instrument::play(double beats)
{
    constexpr std::size_t most = 40;
    int began = 0;
    part_.advance(beats, [&](const Note &note) {
        sounding_ += (sounding_.empty() ? "" : " ") + name_of(note);
        if (sounding_.size() > most)
            sounding_.erase(0, sounding_.find(' ', sounding_.size() - most) + 1);
        began++;
    });
    return began;
}

void Score::read_line(int number, std::string_view line)
{
    std::size_t colon = line.find(':');
    if (colon == line.npos || !colon)
        throw ScoreError(number, "whose part? I read \"flute: C5 E5/2\"");
    Instrument instrument;
    std::string_view rest = line.substr(colon + 1);
    for (std::string_view word; !(word = next_word(rest)).empty();)
        instrument.add(read_note(number, word));
    instruments_[std::string(line.substr(0, colon))] = std::move(instrument);
}

void Score::read(std::string_view text)
{
    for (int number = 1; !text.empty(); number++) {
        std::size_t end = text.find('\n');
        read_line(number, text.substr(0, end));
        text = end == text.npos ? std::string_view{} : text.substr(end + 1);
    }
}

int Score::play(double beats)
{
    int began = 0;
    for (auto &[name, instrument] : instruments_)
        began += instrument.play(beats);
    return began;
}

std::string Score::describe() const
{
    std::string text;
    for (const auto &[name, instrument] : instruments_)
        text += (text.empty() ? "" : "; ") + name + ": " + instrument.sounding();
    return text;
}
