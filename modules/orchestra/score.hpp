// What the orchestra plays: parts of notes, read from lines of text such as "flute: C5 E5/2 -/4".
// Plain C++17 that knows nothing of Keel.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

// A line that can't be played. Says where and why.
class ScoreError : public std::runtime_error
{
  public:
    ScoreError(int line, const std::string &why);
};

struct Note {
    int pitch; // in semitones above C0; REST is none
    double beats;
    static constexpr int REST = -1;
};

// Things in time, one after the other, over and over. `T` has a member `beats`.
template <class T> class Loop
{
  public:
    void add(const T &thing)
    {
        things_.push_back(thing);
        beats_ += thing.beats;
    }

    // Goes on by `beats` and calls begin(thing) for each that begins on the way.
    template <class Begin> void advance(double beats, Begin begin)
    {
        if (beats_ <= 0)
            return;
        for (left_ -= beats; left_ <= 0; at_ = (at_ + 1) % things_.size()) {
            left_ += things_[at_].beats;
            begin(things_[at_]);
        }
    }

    double beats() const
    {
        return beats_;
    }

  private:
    std::vector<T> things_;
    double beats_ = 0, left_ = 0;
    std::size_t at_ = 0;
};

class Instrument
{
  public:
    void add(const Note &note)
    {
        part_.add(note);
    }

    // Returns how many notes began.
    int play(double beats);
    const std::string &sounding() const
    {
        return sounding_;
    }

  private:
    Loop<Note> part_;
    std::string sounding_; // the names of the last notes, newest last
};

class Score
{
  public:
    // Throws ScoreError and then nothing has changed.
    void read_line(int number, std::string_view line);
    void read(std::string_view text);

    int play(double beats);
    std::string describe() const;

  private:
    std::map<std::string, Instrument> instruments_;
};
