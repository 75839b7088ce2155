/* From the slots' lists to the window. Owns the window, the batch, the glyphs and the player. Frame
 * thread. */
#include "screen/screen.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/trace.h"
#include "screen/batch.h"
#include "screen/audio_sdl.h"
#include "screen/input_sdl.h"
#include "screen/last_sign.h"
#include "screen/player.h"
#include "screen/shots.h"
#include "swap/last_picture.h"

enum { BACKGROUND = 0x101418ff };

struct Screen {
    Host *host;
    Window window;
    InputSdl input;
    AudioSdl audio;
    WindowHeard *heard;
    void *heard_user;
    Glyphs *glyphs;
    Batch batch;
    Player player;
    Shots shots;
    const DrawList *overlay;
    uint64_t overlay_serial;
    uint64_t drawn; /* what the picture was made of */
    uint32_t still; /* frames since it changed */
    int deaf;       /* what people do is dropped */
    LastSign sign;
    int refused_said, text_said;
};

static void tell_slots(Screen *screen)
{
    Host *host = screen->host;
    const Window *window = &screen->window;
    host->screen = (DrawScreen){.width = window->width,
                                .height = window->height,
                                .scale = window->scale,
                                .flags = KEEL_VIEW_SHOWN,
                                .measure = glyphs_measure,
                                .user = screen->glyphs};
    for (int i = 0, slots = atomic_load(&host->slot_count); i < slots; i++)
        host->slots[i]->draw.screen = host->screen;
}

static int hear(const SDL_Event *event, void *user)
{
    Screen *screen = user;
    const Window *window = &screen->window;
    if (screen->deaf)
        return 0;
    if (screen->heard && screen->heard(event, screen->heard_user))
        return 1;
    input_sdl_begin(&screen->input, screen->host, window->width, window->height,
                    window->scale); /* the event may have changed them */
    input_sdl_event(&screen->input, event);
    return 0;
}

static void listen_now(void *user)
{
    Screen *screen = user;
    window_pump(&screen->window);
}

static int shoot(void *screen, const char *path, HostShotDone *done, void *user, Error *err)
{
    return screen_shot(screen, path, done, user, err);
}

static void take_font(const char *family, const void *data, size_t bytes, void *user)
{
    Screen *screen = user;
    Error err = {0};
    if (glyphs_file(screen->glyphs, family, data, bytes, &err))
        log_warn("asset", "%s",
                 err.text); /* the module can't know: it may be there without a screen */
    screen->window.stale = 1;
    screen->drawn = 0;
}

int screen_open(Host *host, const WindowOptions *options, Screen **ret_screen, Error *err)
{
    Screen *screen = calloc(1, sizeof *screen);
    if (!screen)
        return err_set(err, KEEL_ENOMEM, "no memory for a screen");
    screen->host = host;
    int rc = window_open(&screen->window, options, err);
    if (rc) {
        free(screen);
        return rc;
    }
    input_sdl_open(&screen->input, screen->window.window);
    screen->window.heard = hear;
    screen->window.heard_user = screen;
    shots_init(&screen->shots);
    rc = glyphs_new(&screen->glyphs, err);
    if (!rc)
        rc = player_init(&screen->player, err);
    if (rc) {
        screen_close(screen);
        return rc;
    }
    batch_init(&screen->batch, screen->glyphs);
    screen->batch.split = screen->player.on_processor;
    trace_mark("the screen is ready");
    tell_slots(screen);
    /* Those that are there were made for another size: what is written down of their inputs has to
     * tell of it. */
    struct keel_input size = {.size = sizeof size,
                              .what = KEEL_INPUT_RESIZE,
                              .x = host->screen.width,
                              .y = host->screen.height,
                              .dx = host->screen.scale};
    if (atomic_load(&host->slot_count) > 0)
        keel_host_input(host, &size, NULL, 0);
    host->shoot = shoot;
    host->font = take_font;
    host->font_user = screen;
    host->listen = listen_now;
    boundary_wait_also(&host->boundary, screen->window.fd);
    host->shoot_user = screen;
    *ret_screen = screen;
    return KEEL_OK;
}

void screen_warm(Screen *screen)
{
    static const char letter[] = "a";
    Error err = {0}; /* the first picture tells what is wrong */
    uint32_t font;
    TextLine line;
    if (!text_font(screen->glyphs->text, "sans-serif", 400, 0, &font, &err))
        text_shape(screen->glyphs->text, font, letter, 1, &line, &err);
    player_warm(&screen->player);
    trace_mark("font and shader are ready");
}

void screen_close(Screen *screen)
{
    if (!screen)
        return;
    Host *host = screen->host;
    host->screen = draw_no_screen;
    host->shoot = NULL;
    host->font = NULL;
    host->listen = NULL;
    boundary_wait_also(&host->boundary, -1);
    for (int i = 0, slots = atomic_load(&host->slot_count); i < slots; i++)
        host->slots[i]->draw.screen = host->screen;
    shots_done(&screen->shots);
    player_done(&screen->player);
    last_sign_done(&screen->sign);
    batch_done(&screen->batch);
    glyphs_free(screen->glyphs);
    audio_sdl_close(&screen->audio);
    input_sdl_close(&screen->input);
    window_close(&screen->window);
    free(screen);
}

int screen_pump(Screen *screen)
{
    const Window *window = &screen->window;
    input_sdl_begin(&screen->input, screen->host, window->width, window->height, window->scale);
    input_sdl_tick(&screen->input);
    audio_sdl_tick(&screen->audio, screen->host);
    window_pump(&screen->window);
    tell_slots(screen);
    return screen->window.closing;
}

/* What slot `i` showed in the process before, as long as nothing else is to be seen; `i` beyond the
 * slots: the one that is being made. NULL: none. */
static const LastPicture *last_picture(const Screen *screen, int i)
{
    const Host *host = screen->host;
    int slots = atomic_load(&host->slot_count);
    for (int n = 0; n < slots; n++)
        if (host->slots[n]->draw.serial)
            return NULL; /* one of the slots is live: what was isn't shown beside what is */
    return i < slots ? host->slots[i]->last_picture : host->arriving;
}

static void look_at_last(Screen *screen)
{
    const LastPicture *last = NULL;
    for (int i = 0, slots = atomic_load(&screen->host->slot_count); i <= slots && !last; i++)
        last = last_picture(screen, i);
    last_sign_look(&screen->sign, last ? last->wall_ns : 0, &screen->host->screen, clock_now_ns());
}

/* Another number when anything of the picture changed. */
static uint64_t made_of(const Screen *screen)
{
    const Host *host = screen->host;
    uint64_t sum = screen->overlay_serial * 2 + (screen->overlay != NULL);
    for (int i = 0, slots = atomic_load(&host->slot_count); i < slots; i++) {
        sum = (sum ^ host->slots[i]->draw.serial) * UINT64_C(0x9e3779b97f4a7c15);
        sum = (sum ^ host->slots[i]->effects.pictures.shown) * UINT64_C(0xd6e8feb86659fd93);
    }
    for (int i = 0, slots = atomic_load(&host->slot_count); i <= slots; i++)
        sum = (sum ^ (uintptr_t)last_picture(screen, i)) * UINT64_C(0x9e3779b97f4a7c15);
    return (sum ^ screen->sign.shown) << 1 | 1;
}

/* As large as it fits, where the window was another one then. */
static void add_last(Screen *screen, const LastPicture *last)
{
    const Window *window = &screen->window;
    float scale = screen->batch.scale, x = window->width / last->width,
          y = window->height / last->height;
    screen->batch.scale = scale * (x < y ? x : y);
    batch_add(&screen->batch, &last->list, &last->pictures);
    screen->batch.scale = scale;
}

/* Glyphs may be moved when the atlas is full: then what was batched before is wrong. */
static void make_batch(Screen *screen)
{
    const Host *host = screen->host;
    const Window *window = &screen->window;
    uint32_t epoch;
    int tries = 0;
    do {
        epoch = screen->glyphs->epoch;
        batch_begin(&screen->batch, (uint32_t)window->width_px, (uint32_t)window->height_px,
                    window->scale, BACKGROUND);
        for (int i = 0, slots = atomic_load(&host->slot_count); i < slots; i++) {
            const Slot *slot = host->slots[i];
            batch_add(&screen->batch, slot->draw.good, &slot->effects.pictures);
        }
        for (int i = 0, slots = atomic_load(&host->slot_count); i <= slots; i++)
            if (last_picture(screen, i))
                add_last(screen, last_picture(screen, i));
        if (screen->sign.shown)
            batch_add(&screen->batch, &screen->sign.list, NULL);
        if (screen->overlay)
            batch_add(&screen->batch, screen->overlay, NULL);
    } while (epoch != screen->glyphs->epoch && ++tries < 2);
}

/* Once each: a picture that is too much is so in every frame. */
static void tell_troubles(Screen *screen)
{
    if (screen->batch.refused && !screen->refused_said) {
        screen->refused_said = 1;
        log_warn("screen", "the picture has more than %d parts: the rest isn't shown",
                 BATCH_INSTANCES_MOST);
    }
    if (screen->glyphs->failed.code && !screen->text_said) {
        screen->text_said = 1;
        log_warn("screen", "some text isn't shown: %s", screen->glyphs->failed.text);
    }
}

int screen_draw(Screen *screen, Error *err)
{
    Window *window = &screen->window;
    look_at_last(screen);
    uint64_t now = made_of(screen);
    int resized = screen->player.width != (uint32_t)window->width_px ||
                  screen->player.height != (uint32_t)window->height_px;
    int changed = now != screen->drawn || resized;
    int rc = KEEL_OK;
    screen->still = changed ? 0 : screen->still + 1;
    if (changed && (window->shown || screen->shots.first)) {
        make_batch(screen);
        tell_troubles(screen);
        trace_mark("a picture is batched");
        rc = player_play(&screen->player, &screen->batch, screen->glyphs, err);
        screen->drawn = now;
        window->stale = 1;
    }
    if (!rc && screen->shots.first)
        shots_take(&screen->shots, &screen->player);
    if (rc || !window->stale || !window->shown)
        return rc;
    trace_mark("it is drawn");
    rc = player_present(&screen->player, (uint32_t)window->width_px, (uint32_t)window->height_px,
                        err);
    if (!rc)
        window_show(window);
    return rc;
}

int screen_wait(Screen *screen, Error *err)
{
    int begun = screen->sign.since_ns != 0;
    screen->deaf = 1;
    window_pump(&screen->window);
    screen->deaf = 0;
    tell_slots(screen);
    look_at_last(screen);
    if (!screen->sign.since_ns && !screen->shots.first)
        return KEEL_OK;
    int rc = screen_draw(screen, err);
    if (!begun && screen->sign.since_ns)
        trace_mark("the last picture is seen");
    return rc;
}

int screen_shot(Screen *screen, const char *path, HostShotDone *done, void *user, Error *err)
{
    return shots_ask(&screen->shots, path, done, user, err);
}

void screen_on_event(Screen *screen, WindowHeard *heard, void *user)
{
    screen->heard = heard;
    screen->heard_user = user;
}

void screen_overlay(Screen *screen, const DrawList *list, uint64_t serial)
{
    screen->overlay = list;
    screen->overlay_serial = serial;
}

uint32_t screen_still(const Screen *screen)
{
    return screen->still;
}

int screen_closing(const Screen *screen)
{
    return screen->window.closing;
}

const Window *screen_window(const Screen *screen)
{
    return &screen->window;
}
