/* Wants of a frame: kept, committed, forgotten. Owns the clipboard's text. Frame thread. */
#include "swap/wants.h"

#include <stdlib.h>
#include <string.h>

#include <keel/input.h>

int wants_copy(Wants *wants, const char *text, uint64_t bytes)
{
    if (bytes > KEEL_CLIPBOARD_BYTES_MOST)
        return KEEL_ELIMIT;
    char *copy = malloc((size_t)bytes + 1);
    if (!copy)
        return KEEL_ENOMEM;
    if (bytes)
        memcpy(copy, text, (size_t)bytes);
    copy[bytes] = 0;
    free(wants->copied);
    wants->copied = copy;
    wants->copied_bytes = (size_t)bytes;
    return KEEL_OK;
}

int wants_paste(Wants *wants, uint64_t tag)
{
    if (wants->paste_count == WANTS_PASTES)
        return KEEL_ELIMIT;
    wants->pastes[wants->paste_count++] = tag;
    return KEEL_OK;
}

void wants_commit(Wants *frame, Wants *now)
{
    memcpy(now->area, frame->area, sizeof now->area);
    now->text = frame->text;
    now->cursor = frame->cursor;
    if (frame->copied) {
        free(now->copied);
        now->copied = frame->copied;
        now->copied_bytes = frame->copied_bytes;
    }
    for (uint32_t i = 0; i < frame->paste_count && now->paste_count < WANTS_PASTES; i++)
        now->pastes[now->paste_count++] = frame->pastes[i];
    *frame = (Wants){0};
}

void wants_done(Wants *wants)
{
    free(wants->copied);
    *wants = (Wants){0};
}
