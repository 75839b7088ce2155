/* Takes an image's page faults before the frame thread would. [any] */
#ifndef MODULE_PREFAULT_H
#define MODULE_PREFAULT_H

#include "module/generation.h"

/* Reads what is read-only, writes what is writable (private copies are made); the contents stay. */
void prefault_generation(const Generation *generation);

#endif
