/* Which lines of the log are worth a note on screen, and in how few words. Pure. */
#ifndef APP_NOTES_H
#define APP_NOTES_H

#include <stddef.h>
#include <stdint.h>

/* 1 with the note and its tone (OverlayTone's numbers), 0: none. */
int note_of(uint32_t level, const char *room, const char *text, char *ret_note, size_t bytes,
            int *ret_tone);

#endif
