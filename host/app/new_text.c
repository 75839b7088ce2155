/* The files of a new module's folder. Owns nothing; pure. In a text, @NAME@ stands for the module's
 * name, @SOURCE@ for its source file, @KEEL@ for the program's path inside JSON quotes. */
#include "app/new_text.h"

#include <keel/base.h>
#include <string.h>

static const char source_c[] =
    "/* @NAME@: a Keel module. Start it with `keel dev @NAME@`, change something here and save: "
    "the\n"
    " * new code runs a moment later, and the fish is still where it was. */\n"
    "#include <keel/keel.h>\n"
    "#include <stdio.h>\n"
    "#include <string.h>\n"
    "\n"
    "/* Change these while it runs. */\n"
    "#define WATER '~'\n"
    "#define FISH_RIGHT \"><>\"\n"
    "#define FISH_LEFT \"<><\"\n"
    "#define SPEED 4.0 /* columns a second */\n"
    "#define EVERY 1.0 /* seconds between two lines */\n"
    "\n"
    "enum { WIDTH = 40, FISH = sizeof FISH_RIGHT - 1 };\n"
    "\n"
    "/* What must outlive a swap. The host keeps it, at the same address, while the code around "
    "it\n"
    " * changes. (New fields? Give the struct a new name, or write save and restore hooks.) */\n"
    "struct aquarium {\n"
    "    double x;         /* the fish's left end */\n"
    "    double direction; /* 1: to the right, -1: to the left */\n"
    "    double waited;    /* seconds since the last line */\n"
    "    uint64_t turns;\n"
    "};\n"
    "\n"
    "/* Called once, the very first time; not at a swap. */\n"
    "static int start(keel *k)\n"
    "{\n"
    "    struct aquarium *a = keel_state(k, struct aquarium);\n"
    "    a->direction = 1;\n"
    "    return 0;\n"
    "}\n"
    "\n"
    "static void swim(struct aquarium *a, double seconds)\n"
    "{\n"
    "    a->x += a->direction * SPEED * seconds;\n"
    "    if ((a->x <= 0 && a->direction < 0) || (a->x >= WIDTH - FISH && a->direction > 0)) {\n"
    "        a->direction = -a->direction;\n"
    "        a->turns++;\n"
    "    }\n"
    "}\n"
    "\n"
    "static void show(keel *k, const struct aquarium *a)\n"
    "{\n"
    "    char line[WIDTH + 1];\n"
    "    int at = a->x < 0 ? 0 : a->x > WIDTH - FISH ? WIDTH - FISH : (int)a->x;\n"
    "    memset(line, WATER, WIDTH);\n"
    "    memcpy(line + at, a->direction > 0 ? FISH_RIGHT : FISH_LEFT, FISH);\n"
    "    line[WIDTH] = 0;\n"
    "    keel_info(k, \"%s  %d turns\", line, (int)a->turns);\n"
    "}\n"
    "\n"
    "/* Called 60 times a second. A crash in here is undone and the code before runs on: try it. "
    "*/\n"
    "static void frame(keel *k, const struct keel_frame *f)\n"
    "{\n"
    "    struct aquarium *a = keel_state(k, struct aquarium);\n"
    "    swim(a, f->dt);\n"
    "    a->waited += f->dt;\n"
    "    if (a->waited >= EVERY) {\n"
    "        a->waited = 0;\n"
    "        show(k, a);\n"
    "    }\n"
    "}\n"
    "\n"
    "KEEL_MODULE(\"@NAME@\", \"1.0\", KEEL_ON(start, start) KEEL_ON(frame, frame))\n";

static const char source_cxx[] =
    "// @NAME@: a Keel module. Start it with `keel dev @NAME@`, change something here and save: "
    "the\n"
    "// new code runs a moment later, and the fish is still where it was.\n"
    "#include <keel/keel.h>\n"
    "#include <algorithm>\n"
    "#include <string>\n"
    "\n"
    "namespace {\n"
    "\n"
    "// Change these while it runs.\n"
    "constexpr char water = '~';\n"
    "constexpr const char *fish_right = \"><>\", *fish_left = \"<><\";\n"
    "constexpr double speed = 4.0; // columns a second\n"
    "constexpr double every = 1.0; // seconds between two lines\n"
    "constexpr double width = 40;\n"
    "\n"
    "// What must outlive a swap. The host keeps it, at the same address, while the code around "
    "it\n"
    "// changes. (New fields? Give the struct a new name, or write save and restore hooks.)\n"
    "struct aquarium {\n"
    "    double x;         // the fish's left end\n"
    "    double direction; // 1: to the right, -1: to the left\n"
    "    double waited;    // seconds since the last line\n"
    "    uint64_t turns;\n"
    "};\n"
    "\n"
    "// Called once, the very first time; not at a swap.\n"
    "int start(keel *k)\n"
    "{\n"
    "    keel_state(k, aquarium)->direction = 1;\n"
    "    return 0;\n"
    "}\n"
    "\n"
    "void swim(aquarium &a, double seconds)\n"
    "{\n"
    "    a.x += a.direction * speed * seconds;\n"
    "    if ((a.x <= 0 && a.direction < 0) || (a.x >= width - 3 && a.direction > 0)) {\n"
    "        a.direction = -a.direction;\n"
    "        a.turns++;\n"
    "    }\n"
    "}\n"
    "\n"
    "void show(keel *k, const aquarium &a)\n"
    "{\n"
    "    std::string line(static_cast<size_t>(width), water);\n"
    "    const auto at = static_cast<size_t>(std::clamp(a.x, 0.0, width - 3));\n"
    "    line.replace(at, 3, a.direction > 0 ? fish_right : fish_left);\n"
    "    keel_info(k, \"%s  %d turns\", line.c_str(), static_cast<int>(a.turns));\n"
    "}\n"
    "\n"
    "// Called 60 times a second. A crash in here is undone and the code before runs on: try it.\n"
    "void frame(keel *k, const keel_frame *f)\n"
    "{\n"
    "    aquarium &a = *keel_state(k, aquarium);\n"
    "    swim(a, f->dt);\n"
    "    a.waited += f->dt;\n"
    "    if (a.waited >= every) {\n"
    "        a.waited = 0;\n"
    "        show(k, a);\n"
    "    }\n"
    "}\n"
    "\n"
    "} // namespace\n"
    "\n"
    "KEEL_MODULE(\"@NAME@\", \"1.0\", KEEL_ON(start, start) KEEL_ON(frame, frame))\n";

static const char cmake_c[] = "cmake_minimum_required(VERSION 3.22)\n"
                              "project(@NAME@ LANGUAGES C)\n"
                              "\n"
                              "find_package(Keel REQUIRED)\n"
                              "keel_add_module(@NAME@ @SOURCE@)\n";

static const char cmake_cxx[] = "cmake_minimum_required(VERSION 3.22)\n"
                                "project(@NAME@ LANGUAGES CXX)\n"
                                "set(CMAKE_CXX_STANDARD 17)\n"
                                "\n"
                                "find_package(Keel REQUIRED)\n"
                                "keel_add_module(@NAME@ @SOURCE@)\n";

static const char readme[] =
    "# @NAME@\n"
    "\n"
    "A Keel module: code that is exchanged while it runs, state that stays.\n"
    "\n"
    "    keel dev @NAME@\n"
    "\n"
    "Open [@SOURCE@](@SOURCE@), change `SPEED` or the fish, save. The new code runs a moment "
    "later\n"
    "and the fish swims on from where it was. A mistake? The compiler's message appears and the "
    "code\n"
    "before runs on. Ctrl-C ends.\n"
    "\n"
    "- `keel ctl status` in another terminal tells what runs.\n"
    "- `cmake -B build && cmake --build build` makes @NAME@.so for `keel run build/@NAME@.so`; "
    "where\n"
    "  CMake does not find Keel, add `-DKeel_DIR=` with the folder that has KeelConfig.cmake.\n"
    "- As long as CMakeLists.txt is untouched and there is one source file, `keel dev` compiles "
    "it\n"
    "  by itself, which is quicker; after that it uses CMake.\n";

static const char tasks[] = "{\n"
                            "    \"version\": \"2.0.0\",\n"
                            "    \"tasks\": [\n"
                            "        {\n"
                            "            \"label\": \"keel dev\",\n"
                            "            \"type\": \"process\",\n"
                            "            \"command\": \"@KEEL@\",\n"
                            "            \"args\": [\"dev\", \"${workspaceFolder}\"],\n"
                            "            \"group\": { \"kind\": \"build\", \"isDefault\": true },\n"
                            "            \"isBackground\": true,\n"
                            "            \"problemMatcher\": {\n"
                            "                \"base\": \"$gcc\",\n"
                            "                \"fileLocation\": [\"autoDetect\", "
                            "\"${workspaceFolder}\"],\n"
                            "                \"background\": {\n"
                            "                    \"activeOnStart\": true,\n"
                            "                    \"beginsPattern\": \"building\",\n"
                            "                    \"endsPattern\": \"(built in|build failed)\"\n"
                            "                }\n"
                            "            }\n"
                            "        }\n"
                            "    ]\n"
                            "}\n";

static const char launch[] = "{\n"
                             "    \"version\": \"0.2.0\",\n"
                             "    \"configurations\": [\n"
                             "        {\n"
                             "            \"name\": \"keel dev in gdb\",\n"
                             "            \"type\": \"cppdbg\",\n"
                             "            \"request\": \"launch\",\n"
                             "            \"program\": \"@KEEL@\",\n"
                             "            \"args\": [\"dev\", \"${workspaceFolder}\"],\n"
                             "            \"cwd\": \"${workspaceFolder}\",\n"
                             "            \"MIMode\": \"gdb\"\n"
                             "        },\n"
                             "        {\n"
                             "            \"name\": \"attach gdb to a running keel\",\n"
                             "            \"type\": \"cppdbg\",\n"
                             "            \"request\": \"attach\",\n"
                             "            \"program\": \"@KEEL@\",\n"
                             "            \"processId\": \"${command:pickProcess}\",\n"
                             "            \"MIMode\": \"gdb\"\n"
                             "        }\n"
                             "    ]\n"
                             "}\n";

static const char ignore[] = "/build/\n"
                             "/.keel/\n";

static int add_quoted(Buf *buf, const char *text)
{
    int rc = KEEL_OK;
    for (; *text && !rc; text++) {
        if ((unsigned char)*text < 0x20)
            rc = buf_printf(buf, "\\u%04x", (unsigned)*text);
        else
            rc = buf_printf(buf, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    }
    return rc;
}

static int fill(const char *text, NewLanguage language, const char *name, const char *program,
                Buf *ret)
{
    int rc = KEEL_OK;
    while (*text && !rc) {
        size_t plain = strcspn(text, "@");
        rc = buf_add(ret, text, plain);
        text += plain;
        if (rc || !*text)
            break;
        if (!strncmp(text, "@NAME@", 6)) {
            rc = buf_printf(ret, "%s", name);
            text += 6;
        } else if (!strncmp(text, "@SOURCE@", 8)) {
            rc = buf_printf(ret, "%s%s", name, language == NEW_C ? ".c" : ".cpp");
            text += 8;
        } else if (!strncmp(text, "@KEEL@", 6)) {
            rc = add_quoted(ret, program);
            text += 6;
        } else {
            rc = buf_add(ret, text++, 1);
        }
    }
    return rc;
}

int new_text(NewLanguage language, int index, const char *name, const char *program, Buf *ret_path,
             Buf *ret_text)
{
    static const struct {
        const char *path, *text[2];
    } files[NEW_FILES] = {
        {"@SOURCE@", {source_c, source_cxx}},   {"CMakeLists.txt", {cmake_c, cmake_cxx}},
        {"README.md", {readme, readme}},        {".gitignore", {ignore, ignore}},
        {".vscode/tasks.json", {tasks, tasks}}, {".vscode/launch.json", {launch, launch}},
    };
    int rc = fill(files[index].path, language, name, program, ret_path);
    return rc ? rc : fill(files[index].text[language], language, name, program, ret_text);
}

int new_text_cmake(NewLanguage language, const char *name, Buf *ret_text)
{
    return fill(language == NEW_C ? cmake_c : cmake_cxx, language, name, "", ret_text);
}
