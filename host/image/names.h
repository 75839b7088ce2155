/* Inside image/: what of a symbol's name is its author's and what a compiler appended. Pure. */
#ifndef IMAGE_NAMES_H
#define IMAGE_NAMES_H

#include <stddef.h>

enum { NAME_MOST = 4096 }; /* longer names are cut */

/* `step.constprop.0.cold` to "step" (the function it belongs to) and "step.constprop.cold" (which
 * of its parts). Numbers go, since they follow the order in the source. `ret_part` has NAME_MOST
 * bytes. Returns the length of the function's name. */
size_t name_of_function(const char *symbol, char *ret_part);

/* `n.0` to "n", `f.n.1` to "f.n", `x.lto_priv.0` to "x": a static inside of a function as gcc and
 * clang number them. `*ret_numbered` says whether a number went. */
size_t name_of_object(const char *symbol, int *ret_numbered);

/* A label that only the assembler knows: its number means nothing. */
int name_is_label(const char *symbol);

#endif
