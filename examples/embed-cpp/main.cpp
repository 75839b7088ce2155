// A C++ program with a module that may be rebuilt while it runs. It sends the module orders as
// messages; the module keeps the book. usage: embed plugin.so [FRAMES]
#include <keel/host.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include "answer.hpp"

struct Closes {
    void operator()(keel_host *host) const
    {
        keel_host_close(host);
    }
};
using Host = std::unique_ptr<keel_host, Closes>;

static void check(int rc)
{
    if (rc < 0)
        throw std::runtime_error(keel_host_error());
}

static int run(const char *path, long frames)
{
    keel_host *opened;
    keel_slot *slot;
    check(keel_host_open(nullptr, &opened));
    Host host(opened);
    struct keel_slot_options options = {};
    Answer answer = {};
    options.size = sizeof options;
    options.user = &answer;
    check(keel_host_add(host.get(), path, &options, &slot));
    for (long i = 0; i < frames; i++) {
        std::string order = std::string(i % 3 ? "buy" : "sell") + " tin " + std::to_string(i % 7);
        check(keel_slot_send(slot, 0, order.data(), order.size()));
        check(keel_host_frame(host.get()));
        if (i % 30 == 0)
            std::cout << "frame " << i << ": " << answer.text << std::endl;
        std::this_thread::sleep_for(std::chrono::milliseconds(16));
    }
    return 0;
}

int main(int argc, char **argv)
{
    try {
        if (argc < 2)
            throw std::runtime_error("which plugin?");
        return run(argv[1], argc > 2 ? std::atol(argv[2]) : 600);
    } catch (const std::exception &e) {
        std::cerr << "embed: " << e.what() << '\n';
        return 1;
    }
}
