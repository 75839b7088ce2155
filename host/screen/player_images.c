/* Images as textures: sent when their content is new, kept while pictures show them. Owns the
 * textures. Frame thread. */
#include "screen/player_images.h"

#include <epoxy/gl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_PLAYS = 240, LEVELS = 4096 };

static uint32_t place_of(const Picture *picture)
{
    return (uint32_t)((uintptr_t)picture / sizeof *picture * UINT64_C(0x9e3779b97f4a7c15) >> 32) %
           PLAYER_IMAGES;
}

static PlayerImage *find(Player *player, const Picture *picture)
{
    for (uint32_t n = 0, i = place_of(picture); n < PLAYER_IMAGES; n++, i = (i + 1) % PLAYER_IMAGES)
        if (player->images[i].picture == picture)
            return &player->images[i];
    return NULL;
}

uint32_t player_image(const Player *player, const Picture *picture)
{
    for (uint32_t n = 0, i = place_of(picture); n < PLAYER_IMAGES; n++, i = (i + 1) % PLAYER_IMAGES)
        if (player->images[i].picture == picture)
            return player->images[i].texture;
    return player->blank;
}

/* sRGB with alpha multiplied in, so that smoothing takes no colour of what can't be seen. The
 * multiplication is linear. */
static void multiply_alpha(uint8_t *to, const uint8_t *from, size_t pixels)
{
    static float linear[256];
    static uint8_t back[LEVELS + 1];
    if (!back[LEVELS]) {
        for (int i = 0; i < 256; i++) {
            float c = (float)i / 255;
            linear[i] = c < 0.04045f ? c / 12.92f : powf((c + 0.055f) / 1.055f, 2.4f);
        }
        for (int i = 0; i <= LEVELS; i++) {
            float c = (float)i / LEVELS;
            c = c < 0.0031308f ? c * 12.92f : 1.055f * powf(c, 1 / 2.4f) - 0.055f;
            back[i] = (uint8_t)(c * 255 + 0.5f);
        }
    }
    for (size_t i = 0; i < pixels; i++, to += 4, from += 4) {
        to[3] = from[3];
        for (int c = 0; c < 3; c++)
            to[c] = from[3] == 255 ? from[c]
                                   : back[(int)(linear[from[c]] * (float)from[3] / 255 * LEVELS)];
    }
}

static void send(Player *player, PlayerImage *image, const Picture *picture)
{
    size_t pixels = (size_t)picture->width * picture->height;
    if (pixels * 4 > player->pixels_bytes) {
        uint8_t *room = realloc(player->pixels, pixels * 4);
        if (!room)
            return;
        player->pixels = room;
        player->pixels_bytes = pixels * 4;
    }
    multiply_alpha(player->pixels, picture->pixels, pixels);
    if (!image->texture)
        glGenTextures(1, &image->texture);
    glBindTexture(GL_TEXTURE_2D, image->texture);
    glPixelStorei(GL_UNPACK_ALIGNMENT, 4);
    if (image->width != picture->width || image->height != picture->height)
        glTexImage2D(GL_TEXTURE_2D, 0, GL_SRGB8_ALPHA8, (GLsizei)picture->width,
                     (GLsizei)picture->height, 0, GL_RGBA, GL_UNSIGNED_BYTE, player->pixels);
    else
        glTexSubImage2D(GL_TEXTURE_2D, 0, 0, 0, (GLsizei)picture->width, (GLsizei)picture->height,
                        GL_RGBA, GL_UNSIGNED_BYTE, player->pixels);
    glGenerateMipmap(GL_TEXTURE_2D);
    image->width = picture->width;
    image->height = picture->height;
    image->version = picture->version;
}

/* Rebuilds the table without what no picture shows any more, so that its probing stays whole. */
static void forget_old(Player *player)
{
    static PlayerImage kept[PLAYER_IMAGES];
    uint32_t count = 0;
    for (uint32_t i = 0; i < PLAYER_IMAGES; i++) {
        PlayerImage *image = &player->images[i];
        if (image->picture && image->played + KEPT_PLAYS >= player->plays)
            kept[count++] = *image;
        else if (image->picture)
            glDeleteTextures(1, &image->texture);
    }
    memset(player->images, 0, sizeof player->images);
    while (count--) {
        uint32_t i = place_of(kept[count].picture);
        while (player->images[i].picture)
            i = (i + 1) % PLAYER_IMAGES;
        player->images[i] = kept[count];
    }
}

static PlayerImage *add(Player *player, const Picture *picture)
{
    for (uint32_t n = 0, i = place_of(picture); n < PLAYER_IMAGES; n++, i = (i + 1) % PLAYER_IMAGES)
        if (!player->images[i].picture) {
            player->images[i] = (PlayerImage){.picture = picture};
            return &player->images[i];
        }
    return NULL;
}

void player_images_prepare(Player *player, const Batch *batch)
{
    if (player->plays % KEPT_PLAYS == 0)
        forget_old(player);
    glActiveTexture(GL_TEXTURE0);
    for (uint32_t i = 0; i < batch->command_count; i++) {
        const Picture *picture = batch->commands[i].image;
        PlayerImage *image = picture ? find(player, picture) : NULL;
        if (picture && !image)
            image = add(player, picture);
        if (!image)
            continue;
        image->played = player->plays;
        if (image->version != picture->version)
            send(player, image, picture);
    }
}

void player_images_done(Player *player)
{
    for (uint32_t i = 0; i < PLAYER_IMAGES; i++)
        if (player->images[i].texture)
            glDeleteTextures(1, &player->images[i].texture);
    free(player->pixels);
    player->pixels = NULL;
    player->pixels_bytes = 0;
}
