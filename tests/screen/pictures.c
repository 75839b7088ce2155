/* Draws every scene by the real renderer, at one and two pixels a logical pixel, and compares it
 * with the picture that somebody looked at (tests/pictures). With --write FOLDER it writes them.
 *
 * exit status: 0 all alike, 1 not, 77 no OpenGL can be had here (the reason is said) */
#include <dlfcn.h>
#include <epoxy/gl.h>
#include <link.h>
#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scenes.h"
#include "screen/player.h"
#include "screen/png.h"
#include "screen/window.h"

/* Drivers and rasterisers of fonts differ in the last bits of an edge. */
enum { NEAR = 12, FAR = 70, FAR_MOST = 40 };
#define NOT_NEAR_MOST 0.004 /* of all pixels */

typedef struct Studio {
    Window window;
    Glyphs *glyphs;
    Batch batch;
    Player player;
} Studio;

static int open_studio(Studio *studio, Error *err)
{
    setenv("SDL_VIDEODRIVER", "offscreen", 0);
    const WindowOptions options = {.title = "pictures", .width = 64, .height = 64};
    int rc = window_open(&studio->window, &options, err);
    if (!rc)
        rc = glyphs_new(&studio->glyphs, err);
    if (!rc)
        rc = player_init(&studio->player, err);
    batch_init(&studio->batch, studio->glyphs);
    studio->batch.split = studio->player.on_processor;
    return rc;
}

/* Libraries stay mapped, so that a report of leaks names what leaked. */
static int keep(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size, (void)user;
    if (info->dlpi_name && info->dlpi_name[0])
        dlopen(info->dlpi_name, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
    return 0;
}

static void close_studio(Studio *studio)
{
    dl_iterate_phdr(keep, NULL);
    player_done(&studio->player);
    batch_done(&studio->batch);
    glyphs_free(studio->glyphs);
    window_close(&studio->window);
}

static uint8_t *render(Studio *studio, const Scene *scene, int scale, Error *err)
{
    DrawList list = {0};
    Pictures pictures;
    pictures_init(&pictures);
    scene->draw(&list, &pictures);
    uint32_t width = (uint32_t)(SCENE_WIDTH * scale), height = (uint32_t)(SCENE_HEIGHT * scale);
    uint8_t *pixels = malloc((size_t)width * height * 4);
    batch_begin(&studio->batch, width, height, (float)scale, 0x000000ff);
    batch_add(&studio->batch, &list, &pictures);
    int rc = player_play(&studio->player, &studio->batch, studio->glyphs, err);
    if (!rc)
        rc = player_read(&studio->player, pixels, err);
    draw_list_done(&list);
    pictures_done(&pictures);
    if (!rc)
        return pixels;
    free(pixels);
    return NULL;
}

static uint8_t *load(const char *path, int scale)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_file(&image, path) ||
        image.width != (png_uint_32)(SCENE_WIDTH * scale) ||
        image.height != (png_uint_32)(SCENE_HEIGHT * scale)) {
        png_image_free(&image);
        return NULL;
    }
    image.format = PNG_FORMAT_RGBA;
    uint8_t *pixels = malloc(PNG_IMAGE_SIZE(image));
    if (!png_image_finish_read(&image, NULL, pixels, 0, NULL)) {
        free(pixels);
        return NULL;
    }
    return pixels;
}

/* 1 when they look the same; says so, unless `name` is NULL. */
static int compare(const char *name, const uint8_t *is, const uint8_t *was, size_t pixels)
{
    size_t not_near = 0, far = 0;
    int most = 0;
    for (size_t i = 0; i < pixels; i++) {
        int worst = 0;
        for (int c = 0; c < 3; c++) {
            int d = abs(is[i * 4 + (size_t)c] - was[i * 4 + (size_t)c]);
            worst = d > worst ? d : worst;
        }
        not_near += worst > NEAR;
        far += worst > FAR;
        most = worst > most ? worst : most;
    }
    int alike = (double)not_near <= NOT_NEAR_MOST * (double)pixels && far <= FAR_MOST;
    if (name)
        printf("%s %-14s %zu of %zu pixels differ by more than %d, %zu by more than %d, most %d\n",
               alike ? "ok  " : "FAIL", name, not_near, pixels, NEAR, far, FAR, most);
    return alike;
}

static int check(Studio *studio, const Scene *scene, int scale, const char *folder, int write)
{
    char name[64], path[1000];
    Error err = {0};
    snprintf(name, sizeof name, "%s@%d", scene->name, scale);
    snprintf(path, sizeof path, "%s/%s.png", folder, name);
    uint8_t *is = render(studio, scene, scale, &err);
    uint32_t width = (uint32_t)(SCENE_WIDTH * scale), height = (uint32_t)(SCENE_HEIGHT * scale);
    int good = is != NULL;
    if (is && write) {
        good = png_write_file(path, is, width, height, &err) == KEEL_OK;
    } else if (is) {
        uint8_t *was = load(path, scale);
        if (!was)
            err_set(&err, KEEL_ENOTFOUND, "%s can't be read", path);
        good = was && compare(name, is, was, (size_t)width * height);
        if (!good) {
            snprintf(path, sizeof path, "%s-is.png", name);
            png_write_file(path, is, width, height, NULL);
            printf("     what was drawn: %s\n", path);
        }
        free(was);
    }
    if (err.code)
        printf("FAIL %s: %s\n", name, err.text);
    free(is);
    return good;
}

/* A comparison that takes everything would prove nothing. */
static int check_refusal(Studio *studio)
{
    Error err = {0};
    uint8_t *one = render(studio, &scenes[0], 1, &err), *two = render(studio, &scenes[1], 1, &err);
    int refused = one && two && !compare(NULL, one, two, SCENE_WIDTH * SCENE_HEIGHT);
    printf("%s pictures that differ are told apart\n", refused ? "ok  " : "FAIL");
    free(one);
    free(two);
    return refused;
}

int main(int argc, char **argv)
{
    int write = argc == 3 && !strcmp(argv[1], "--write");
    if (argc != 2 && !write) {
        fprintf(stderr, "usage: %s [--write] FOLDER\n", argv[0]);
        return 2;
    }
    static Studio studio;
    Error err = {0};
    if (open_studio(&studio, &err)) {
        printf("SKIPPED, NOTHING WAS TESTED: %s\n", err.text);
        close_studio(&studio);
        return 77;
    }
    printf("by %s\n", (const char *)glGetString(GL_RENDERER));
    int good = 1;
    for (int i = 0; i < scene_count; i++)
        for (int scale = 1; scale <= 2; scale++)
            good &= check(&studio, &scenes[i], scale, argv[argc - 1], write);
    if (!write)
        good &= check_refusal(&studio);
    close_studio(&studio);
    return !good;
}
