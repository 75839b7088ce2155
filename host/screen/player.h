/* Plays a batch with OpenGL 3.3 into a picture of its own, and brings that to the window.
 *
 * Owns all objects of OpenGL: program, buffers, the atlas' pages, the images' textures, the target.
 * They are made once and kept. An error that OpenGL tells of is returned, never passed over. On the
 * thread that has the context. */
#ifndef SCREEN_PLAYER_H
#define SCREEN_PLAYER_H

#include <stddef.h>

#include "screen/batch.h"

enum { PLAYER_IMAGES = 1024, PLAYER_PROGRAMS = 64 };

typedef struct PlayerImage {
    const Picture *picture; /* NULL: the place is free */
    uint64_t version;       /* of what the texture shows */
    uint64_t played;        /* the last picture that it was in */
    uint32_t texture, width, height;
} PlayerImage;

/* The program with what some commands need. */
typedef struct PlayerProgram {
    uint32_t abilities; /* of player_programs.c; 0: the place is free */
    uint32_t program;
    uint64_t targeted; /* the picture whose size it was told last */
    int32_t at_target, at_clips, at_clip_x, at_clip_y, at_clip_size;
} PlayerProgram;

typedef struct Player {
    int begun;
    int on_processor; /* no graphics card: batches should be split */
    PlayerProgram programs[PLAYER_PROGRAMS];
    const PlayerProgram *program; /* in use */
    uint32_t array, indices, index_count;
    uint32_t instances, instances_texture, gradients, gradients_texture;
    uint32_t atlas, atlas_pages;
    uint32_t blank;           /* a texture for commands without an image */
    uint32_t smooth, nearest; /* samplers */
    uint32_t target, target_texture, width, height;
    uint32_t texels_most; /* of a texture buffer */
    PlayerImage images[PLAYER_IMAGES];
    uint64_t plays;
    uint8_t *pixels; /* work memory for images */
    size_t pixels_bytes;
} Player;

int player_init(Player *player, Error *err);
void player_done(Player *player);

/* Makes ahead what nearly every picture needs. */
void player_warm(Player *player);

/* Draws the batch. */
int player_play(Player *player, const Batch *batch, Glyphs *glyphs, Error *err);

/* Copies the picture to the window, which has that many pixels. */
int player_present(Player *player, uint32_t width, uint32_t height, Error *err);

/* The picture's pixels, R G B A, from the top; `ret_pixels` has room for width * height * 4. */
int player_read(Player *player, uint8_t *ret_pixels, Error *err);

#endif
