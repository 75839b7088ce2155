/* The programs that commands are drawn with. Only player*.c include it. */
#ifndef SCREEN_PLAYER_PROGRAMS_H
#define SCREEN_PLAYER_PROGRAMS_H

#include "screen/player.h"

/* Where the programs look for what they read. */
enum { UNIT_INSTANCES = 0, UNIT_GRADIENTS, UNIT_ATLAS, UNIT_IMAGE };

/* Puts the program that this command needs into use; it is made at its first use. NULL: err says
 * why not. */
const PlayerProgram *player_use_program(Player *player, const BatchCommand *command, Error *err);

void player_programs_done(Player *player);

#endif
