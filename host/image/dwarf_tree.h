/* Inside image/: makes the list of DIEs. See dwarf_dies.h. */
#ifndef IMAGE_DWARF_TREE_H
#define IMAGE_DWARF_TREE_H

#include "image/dwarf_dies.h"

enum { DIES_NEAR = 64 }; /* bytes of debug information that one entry of `near` stands for */

/* Reads all units of the sections. KEEL_ENOMEM, KEEL_ELIMIT. */
int dies_read(Dies *dies);

#endif
