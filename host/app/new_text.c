/* The files of a new module's folder. Owns nothing; pure. In a text, @NAME@ stands for the module's
 * name, @SOURCE@ for its source file, @KEEL@ for the program's path inside JSON quotes. */
#include "app/new_text.h"

#include <keel/base.h>
#include <string.h>

/* clang-format off */
static const char source_c[] =
    "/* @NAME@: a Keel module. Start it with `keel dev @NAME@`, change something here and save: the new\n"
    " * code runs a moment later, and the fish is still where it was. */\n"
    "#include <keel/keel.h>\n"
    "\n"
    "/* Change these while it runs. Colors are 0xRRGGBBAA. */\n"
    "#define SPEED 140\n"
    "#define WATER 0x1f7a99ff\n"
    "#define FISH 0xff9f45ff\n"
    "\n"
    "/* What must outlive a swap. The host keeps it while the code around it changes. */\n"
    "struct aquarium {\n"
    "    float x, direction; /* 1: to the right, -1: to the left */\n"
    "    float told;         /* seconds since the last line in the terminal */\n"
    "    uint64_t turns;\n"
    "};\n"
    "\n"
    "/* Called once, the very first time; not at a swap. */\n"
    "static int start(keel *k)\n"
    "{\n"
    "    struct aquarium *a = keel_state(k, struct aquarium);\n"
    "    a->x = 200;\n"
    "    a->direction = 1;\n"
    "    return 0;\n"
    "}\n"
    "\n"
    "static void swim(struct aquarium *a, float seconds, float width)\n"
    "{\n"
    "    a->x += a->direction * SPEED * seconds;\n"
    "    if ((a->x < 90 && a->direction < 0) || (a->x > width - 90 && a->direction > 0)) {\n"
    "        a->direction = -a->direction;\n"
    "        a->turns++;\n"
    "    }\n"
    "}\n"
    "\n"
    "static void draw(keel *k, const struct aquarium *a)\n"
    "{\n"
    "    float x = a->x, y = keel_height(k) / 2, to = a->direction;\n"
    "    float size = KEEL_TWEAK(k, size, 1.f, 0.3, 3); /* F1 shows a slider for it */\n"
    "    keel_clear(k, keel_linear(k, 0, 0, WATER, 0, keel_height(k), 0x081c2eff));\n"
    "    keel_triangle(k, x - 44 * to * size, y, x - 88 * to * size, y - 34 * size, x - 88 * to * size,\n"
    "                  y + 34 * size, FISH);\n"
    "    keel_ellipse(k, x, y, 64 * size, 36 * size, FISH);\n"
    "    keel_circle(k, x + 34 * to * size, y - 10 * size, 8 * size, 0xffffffff);\n"
    "    keel_circle(k, x + 37 * to * size, y - 10 * size, 4 * size, 0x10202cff);\n"
    "    keel_textf(k, 24, 24, 18, 0xffffffc0, \"turns: %d\", (int)a->turns);\n"
    "}\n"
    "\n"
    "/* Called 60 times a second. A crash in here is undone and the code before runs on: try it. */\n"
    "static void frame(keel *k, const struct keel_frame *f)\n"
    "{\n"
    "    struct aquarium *a = keel_state(k, struct aquarium);\n"
    "    swim(a, (float)f->dt, keel_width(k));\n"
    "    draw(k, a);\n"
    "    a->told += (float)f->dt;\n"
    "    if (a->told > 1) {\n"
    "        a->told = 0;\n"
    "        keel_info(k, \"the fish is at %.0f, turns: %d\", (double)a->x, (int)a->turns);\n"
    "    }\n"
    "}\n"
    "\n"
    "KEEL_MODULE(\"@NAME@\", \"1.0\", KEEL_ON(start, start) KEEL_ON(frame, frame))\n";

static const char source_cxx[] =
    "// @NAME@: a Keel module. Start it with `keel dev @NAME@`, change something here and save: the new\n"
    "// code runs a moment later, and fish and bubbles are still where they were.\n"
    "#include <keel/keel.h>\n"
    "\n"
    "#include <algorithm>\n"
    "#include <new>\n"
    "#include <vector>\n"
    "\n"
    "namespace {\n"
    "\n"
    "// Change these while it runs. Colors are 0xRRGGBBAA.\n"
    "constexpr float speed = 140;\n"
    "constexpr uint32_t water = 0x1f7a99ff;\n"
    "constexpr uint32_t orange = 0xff9f45ff;\n"
    "\n"
    "struct Bubble {\n"
    "    float x, y, size;\n"
    "};\n"
    "\n"
    "// What must outlive a swap. The host keeps it, also the vector's memory, while the code around it\n"
    "// changes.\n"
    "struct Aquarium {\n"
    "    float x = 200, direction = 1; // 1: to the right, -1: to the left\n"
    "    float told = 0;               // seconds since the last line in the terminal\n"
    "    int turns = 0;\n"
    "    std::vector<Bubble> bubbles;\n"
    "};\n"
    "\n"
    "// Called once, the very first time; not at a swap.\n"
    "int start(keel *k)\n"
    "{\n"
    "    new (keel_state(k, Aquarium)) Aquarium;\n"
    "    return 0;\n"
    "}\n"
    "\n"
    "void swim(keel *k, Aquarium &a, float seconds)\n"
    "{\n"
    "    a.x += a.direction * speed * seconds;\n"
    "    if ((a.x < 90 && a.direction < 0) || (a.x > keel_width(k) - 90 && a.direction > 0)) {\n"
    "        a.direction = -a.direction;\n"
    "        a.turns++;\n"
    "    }\n"
    "    const float part = static_cast<float>(keel_random(k) % 1000) / 1000;\n"
    "    if (keel_random(k) % 20 == 0)\n"
    "        a.bubbles.push_back({a.x + 60 * a.direction, keel_height(k) / 2, 3 + 9 * part});\n"
    "    for (Bubble &b : a.bubbles)\n"
    "        b.y -= (30 + 8 * b.size) * seconds;\n"
    "    a.bubbles.erase(std::remove_if(a.bubbles.begin(), a.bubbles.end(),\n"
    "                                   [](const Bubble &b) { return b.y < -20; }),\n"
    "                    a.bubbles.end());\n"
    "}\n"
    "\n"
    "void draw(keel *k, const Aquarium &a)\n"
    "{\n"
    "    const float x = a.x, y = keel_height(k) / 2, to = a.direction;\n"
    "    const float size = KEEL_TWEAK(k, size, 1.f, 0.3, 3); // F1 shows a slider for it\n"
    "    keel_clear(k, keel_linear(k, 0, 0, water, 0, keel_height(k), 0x081c2eff));\n"
    "    for (const Bubble &b : a.bubbles)\n"
    "        keel_circle_line(k, b.x, b.y, b.size, 1.5f, 0xffffff90);\n"
    "    keel_triangle(k, x - 44 * to * size, y, x - 88 * to * size, y - 34 * size, x - 88 * to * size,\n"
    "                  y + 34 * size, orange);\n"
    "    keel_ellipse(k, x, y, 64 * size, 36 * size, orange);\n"
    "    keel_circle(k, x + 34 * to * size, y - 10 * size, 8 * size, 0xffffffff);\n"
    "    keel_circle(k, x + 37 * to * size, y - 10 * size, 4 * size, 0x10202cff);\n"
    "    keel_textf(k, 24, 24, 18, 0xffffffc0, \"turns: %d\", a.turns);\n"
    "}\n"
    "\n"
    "// Called 60 times a second. A crash in here is undone and the code before runs on: try it.\n"
    "void frame(keel *k, const keel_frame *f)\n"
    "{\n"
    "    Aquarium &a = *keel_state(k, Aquarium);\n"
    "    swim(k, a, static_cast<float>(f->dt));\n"
    "    draw(k, a);\n"
    "    a.told += static_cast<float>(f->dt);\n"
    "    if (a.told > 1) {\n"
    "        a.told = 0;\n"
    "        keel_info(k, \"the fish is at %.0f, turns: %d\", static_cast<double>(a.x), a.turns);\n"
    "    }\n"
    "}\n"
    "\n"
    "} // namespace\n"
    "\n"
    "KEEL_MODULE(\"@NAME@\", \"1.0\", KEEL_ON(start, start) KEEL_ON(frame, frame))\n";
/* clang-format on */

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
    "opens a window. Open [@SOURCE@](@SOURCE@), change the speed or a color, save: the new code\n"
    "runs a moment later and the fish swims on from where it was. A mistake? The compiler's message\n"
    "appears over the picture and the code before runs on. F1 has sliders, F3 (held) goes back in\n"
    "time. Ctrl-C ends.\n"
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
                            "                    \"endsPattern\": \"(built \\\\(|build failed|runs anew)\"\n"
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
