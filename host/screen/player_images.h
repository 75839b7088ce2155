/* The images' textures. Only player*.c include it. */
#ifndef SCREEN_PLAYER_IMAGES_H
#define SCREEN_PLAYER_IMAGES_H

#include "screen/player.h"

/* Makes or refreshes the texture of each image in the batch; forgets some that weren't in the last
 * pictures. */
void player_images_prepare(Player *player, const Batch *batch);

/* Its texture, after prepare. */
uint32_t player_image(const Player *player, const Picture *picture);

void player_images_done(Player *player);

#endif
