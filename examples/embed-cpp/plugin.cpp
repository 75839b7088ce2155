// Keeps the book: classes, templates and exceptions inside, containers in the slot's state.
#include <keel/keel.h>

#include <cstdio>
#include <map>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>

#include "answer.hpp"

namespace
{

// What a sum is called in the answer: edit it and rebuild.
constexpr const char *WORD = "holds";

template <class Key> class Sums
{
  public:
    void add(const Key &key, long amount)
    {
        sums_[key] += amount;
        count_++;
    }
    long operator[](const Key &key) const
    {
        auto found = sums_.find(key);
        if (found == sums_.end())
            throw std::out_of_range("nothing of this kind in the book");
        return found->second;
    }
    unsigned long count() const
    {
        return count_;
    }

  private:
    std::map<Key, long> sums_;
    unsigned long count_ = 0;
};

struct Book {
    Sums<std::string> sums;
    unsigned long refused = 0;
};

int start(keel *k)
{
    new (keel_state(k, Book)) Book;
    return 0;
}

void order(Book &book, const std::string &text)
{
    std::istringstream words(text);
    std::string verb, what;
    long amount = 0;
    if (!(words >> verb >> what >> amount) || (verb != "buy" && verb != "sell"))
        throw std::invalid_argument("I read \"buy tin 3\" or \"sell tin 3\", not: " + text);
    book.sums.add(what, verb == "buy" ? amount : -amount);
}

void event(keel *k, const struct keel_event *e)
{
    auto *book = keel_state(k, Book);
    if (e->kind != KEEL_EVENT_MESSAGE)
        return;
    try {
        order(*book, std::string(static_cast<const char *>(e->data), e->data_bytes));
    } catch (const std::invalid_argument &error) {
        book->refused++;
        keel_warn(k, "%s", error.what());
    }
}

// The answer goes into memory of the program, which only a live run has.
void frame(keel *k, const struct keel_frame *)
{
    auto *book = keel_state(k, Book);
    auto *answer = static_cast<Answer *>(keel_user(k));
    if (keel_run_mode(k) != KEEL_MODE_LIVE)
        return;
    try {
        std::snprintf(answer->text, sizeof answer->text, "%lu orders; the book %s %ld tin",
                      book->sums.count(), WORD, book->sums["tin"]);
    } catch (const std::out_of_range &error) {
        std::snprintf(answer->text, sizeof answer->text, "%s", error.what());
    }
}

void stop(keel *k)
{
    keel_state(k, Book)->~Book();
}

} // namespace

KEEL_MODULE("plugin", "1.0",
            KEEL_ON(start, start) KEEL_ON(frame, frame) KEEL_ON(event, event) KEEL_ON(stop, stop))
