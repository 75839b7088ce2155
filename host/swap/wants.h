/* What a frame wants of its window: the clipboard, the shape of the pointer, text input. A
 * transaction as all effects: it counts when the frame does. Owned by one slot; frame thread. */
#ifndef SWAP_WANTS_H
#define SWAP_WANTS_H

#include <stddef.h>
#include <stdint.h>

enum { WANTS_PASTES = 8 }; /* asked for in one frame */

typedef struct Wants {
    float area[4];   /* x, y, width, height; of text input, when `text` is set */
    uint32_t text;   /* nonzero: text is wanted */
    uint32_t cursor; /* KEEL_CURSOR_… */
    char *copied;    /* goes to the clipboard; NULL: nothing */
    size_t copied_bytes;
    uint64_t pastes[WANTS_PASTES]; /* tags */
    uint32_t paste_count;
} Wants;

/* Both 0 or KEEL_E…, then unchanged. */
int wants_copy(Wants *wants, const char *text, uint64_t bytes);
int wants_paste(Wants *wants, uint64_t tag);

/* The frame counts: what it wanted takes the place of what the frame before wanted. A text for the
 * clipboard that nobody has taken from `now` stays until there is a newer one; so do pastes. */
void wants_commit(Wants *frame, Wants *now);

/* Forgets all of it. */
void wants_done(Wants *wants);

#endif
