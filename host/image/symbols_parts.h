/* Inside image/: the identities of symbols (symbols_id.c), for symbols.c alone. */
#ifndef IMAGE_SYMBOLS_PARTS_H
#define IMAGE_SYMBOLS_PARTS_H

#include "image/symbols.h"

/* Fills base, group, rank, id, part and by_content of all; 0 or KEEL_ENOMEM. */
int symbols_identify(Symbols *s, const Owners *owners);

#endif
