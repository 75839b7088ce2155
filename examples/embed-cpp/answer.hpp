// The program's own memory, into which the module writes. Plain: a std::string that the module
// filled would hold memory of the module's heap, and the program would free it in its own.
#pragma once

struct Answer {
    char text[200];
};
