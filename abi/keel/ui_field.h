/* The text field of ui.h: one line of UTF-8 with caret, selection, clipboard and input methods.
 * Included by ui.h. */
#ifndef KEEL_UI_FIELD_H
#define KEEL_UI_FIELD_H

#include "ui_core.h"

KEEL_BEGIN

#define KEEL_UI_CHANGED 1 /* what the field holds was changed */
#define KEEL_UI_DONE 2    /* Enter was pressed */

/* Nonzero for bytes that begin no character of their own: what follows in a character, and accents
 * (U+0300 to U+036F) and joiners that belong to the one before. */
static inline int keel_ui_joins_(const char *text, uint32_t at, uint32_t bytes)
{
    unsigned char c = (unsigned char)text[at];
    unsigned char d = at + 1 < bytes ? (unsigned char)text[at + 1] : 0;
    unsigned char e = at + 2 < bytes ? (unsigned char)text[at + 2] : 0;
    return (c & 0xc0) == 0x80 || c == 0xcc || (c == 0xcd && d < 0xb0) ||
           (c == 0xe2 && d == 0x80 && e == 0x8d) ||
           (c == 0xef && d == 0xb8 && e >= 0x80 && e <= 0x8f);
}

static inline uint32_t keel_ui_next_(const char *text, uint32_t at, uint32_t bytes)
{
    if (at < bytes)
        at++;
    while (at < bytes && keel_ui_joins_(text, at, bytes))
        at++;
    return at;
}

static inline uint32_t keel_ui_before_(const char *text, uint32_t at, uint32_t bytes)
{
    if (at > 0)
        at--;
    while (at > 0 && keel_ui_joins_(text, at, bytes))
        at--;
    return at;
}

static inline int keel_ui_blank_(const char *text, uint32_t at)
{
    return text[at] == ' ' || text[at] == '\t';
}

static inline uint32_t keel_ui_word_(const char *text, uint32_t at, uint32_t bytes, int back)
{
    if (back) {
        while (at > 0 && keel_ui_blank_(text, at - 1))
            at--;
        while (at > 0 && !keel_ui_blank_(text, at - 1))
            at--;
    } else {
        while (at < bytes && !keel_ui_blank_(text, at))
            at++;
        while (at < bytes && keel_ui_blank_(text, at))
            at++;
    }
    return at;
}

/* Puts `bytes` bytes in place of the selection; what finds no room is left out, whole characters.
 * Control characters become blanks. */
static inline void keel_ui_replace_(struct keel_ui *ui, char *text, uint32_t room, const char *with,
                                    uint64_t bytes)
{
    uint32_t have = (uint32_t)__builtin_strlen(text);
    uint32_t from = ui->caret < ui->anchor ? ui->caret : ui->anchor;
    uint32_t to = ui->caret < ui->anchor ? ui->anchor : ui->caret;
    uint64_t space = (uint64_t)room - 1 - (have - (to - from));
    if (bytes > space) {
        bytes = space;
        while (bytes > 0 && ((unsigned char)with[bytes] & 0xc0) == 0x80)
            bytes--;
    }
    __builtin_memmove(text + from + bytes, text + to, have - to + 1);
    for (uint64_t i = 0; i < bytes; i++)
        text[from + i] = (unsigned char)with[i] < 0x20 || with[i] == 0x7f ? ' ' : with[i];
    ui->caret = ui->anchor = from + (uint32_t)bytes;
}

/* The character's border that is nearest to `x` from the text's beginning. */
static inline uint32_t keel_ui_nearest_(struct keel_ui *ui, const char *text, float x)
{
    uint32_t bytes = (uint32_t)__builtin_strlen(text), best = 0;
    float least = x < 0 ? -x : x;
    for (uint32_t at = 0; at < bytes;) {
        at = keel_ui_next_(text, at, bytes);
        float away = keel_ui_width_(ui, text, at) - x;
        away = away < 0 ? -away : away;
        if (away < least) {
            least = away;
            best = at;
        }
    }
    return best;
}

/* A key's work on the text. */
static inline int keel_ui_key_(struct keel_ui *ui, char *text, uint32_t room,
                               const struct keel_input *in)
{
    uint32_t bytes = (uint32_t)__builtin_strlen(text), to = ui->caret;
    int word = (in->mods & KEEL_MOD_CTRL) != 0, select = (in->mods & KEEL_MOD_SHIFT) != 0;
    int command = (in->mods & (KEEL_MOD_CTRL | KEEL_MOD_GUI)) && !(in->mods & KEEL_MOD_ALT);
    uint32_t from = ui->caret < ui->anchor ? ui->caret : ui->anchor;
    uint32_t end = ui->caret < ui->anchor ? ui->anchor : ui->caret;
    if (command && in->symbol == 'a') {
        ui->anchor = 0;
        ui->caret = bytes;
        return 0;
    }
    if (command && (in->symbol == 'c' || in->symbol == 'x')) {
        if (from == end)
            return 0;
        keel_clipboard_put(ui->k, text + from, end - from);
        if (in->symbol == 'x')
            keel_ui_replace_(ui, text, room, "", 0);
        return in->symbol == 'x' ? KEEL_UI_CHANGED : 0;
    }
    if (command && in->symbol == 'v') {
        keel_clipboard_ask(ui->k, ui->focus);
        return 0;
    }
    switch (in->code) {
    case KEEL_KEY_LEFT:
        to = word ? keel_ui_word_(text, to, bytes, 1) : keel_ui_before_(text, to, bytes);
        to = from != end && !select && !word ? from : to;
        break;
    case KEEL_KEY_RIGHT:
        to = word ? keel_ui_word_(text, to, bytes, 0) : keel_ui_next_(text, to, bytes);
        to = from != end && !select && !word ? end : to;
        break;
    case KEEL_KEY_HOME:
        to = 0;
        break;
    case KEEL_KEY_END:
        to = bytes;
        break;
    case KEEL_KEY_BACKSPACE:
    case KEEL_KEY_DELETE:
        if (from == end) {
            int back = in->code == KEEL_KEY_BACKSPACE;
            ui->anchor = word   ? keel_ui_word_(text, to, bytes, back)
                         : back ? keel_ui_before_(text, to, bytes)
                                : keel_ui_next_(text, to, bytes);
        }
        if (ui->anchor == ui->caret)
            return 0;
        keel_ui_replace_(ui, text, room, "", 0);
        return KEEL_UI_CHANGED;
    case KEEL_KEY_ENTER:
    case KEEL_KEY_PAD_ENTER:
        return KEEL_UI_DONE;
    default:
        return 0;
    }
    ui->caret = to;
    ui->anchor = select ? ui->anchor : to;
    return 0;
}

/* All that was typed into the field in this frame. */
static inline int keel_ui_typed_(struct keel_ui *ui, char *text, uint32_t room)
{
    int did = 0;
    const struct keel_input *in = NULL;
    while ((in = keel_input_next(ui->k, in)) != NULL) {
        int mine = in->what == KEEL_INPUT_TEXT || in->what == KEEL_INPUT_PASTE;
        if (mine && in->text_bytes) {
            keel_ui_replace_(ui, text, room, keel_input_text(in), in->text_bytes);
            did |= KEEL_UI_CHANGED;
        }
        if (in->what == KEEL_INPUT_TEXT)
            ui->preedit_bytes = 0;
        if (in->what == KEEL_INPUT_COMPOSE) {
            uint32_t bytes = in->text_bytes < KEEL_UI_PREEDIT ? in->text_bytes : 0;
            __builtin_memcpy(ui->preedit, keel_input_text(in), bytes);
            ui->preedit_bytes = bytes;
            ui->preedit_caret = in->code < bytes ? in->code : bytes;
        }
        if (in->what == KEEL_INPUT_KEY_DOWN && !ui->preedit_bytes)
            did |= keel_ui_key_(ui, text, room, in);
        if (mine || in->what == KEEL_INPUT_KEY_DOWN || in->what == KEEL_INPUT_COMPOSE)
            ui->typed_ns = keel_now_ns(ui->k);
    }
    return did;
}

static inline void keel_ui_pointed_(struct keel_ui *ui, const char *text, float begin, uint32_t did)
{
    uint32_t bytes = (uint32_t)__builtin_strlen(text);
    if (did & KEEL_UI_HELD)
        ui->caret = keel_ui_nearest_(ui, text, ui->in->x - begin);
    if (!(did & KEEL_UI_PRESSED))
        return;
    ui->typed_ns = keel_now_ns(ui->k);
    if (!(ui->in->mods & KEEL_MOD_SHIFT))
        ui->anchor = ui->caret;
    if (ui->in->clicks == 2) {
        ui->anchor = keel_ui_word_(text, ui->caret, bytes, 1);
        ui->caret = keel_ui_word_(text, ui->caret, bytes, 0);
    }
}

/* The text with selection, what is being composed, and caret; `r` is its inside. */
static inline void keel_ui_show_(struct keel_ui *ui, struct keel_ui_rect r, const char *text)
{
    const struct keel_ui_style *s = &ui->style;
    uint32_t bytes = (uint32_t)__builtin_strlen(text);
    uint32_t from = ui->caret < ui->anchor ? ui->caret : ui->anchor;
    uint32_t end = ui->caret < ui->anchor ? ui->anchor : ui->caret;
    float before = keel_ui_width_(ui, text, ui->caret);
    float composed = keel_ui_width_(ui, ui->preedit, ui->preedit_bytes);
    float caret = before + keel_ui_width_(ui, ui->preedit, ui->preedit_caret);
    if (!ui->preedit_bytes)
        caret = before;
    float whole = keel_ui_width_(ui, text, bytes) + composed;
    if (caret - ui->scroll > r.w - 2)
        ui->scroll = caret - r.w + 2;
    if (caret < ui->scroll)
        ui->scroll = caret;
    if (ui->scroll > 0 && whole - ui->scroll < r.w - 2)
        ui->scroll = whole > r.w - 2 ? whole - r.w + 2 : 0;
    float x = r.x - ui->scroll;
    struct keel_ui_rect line = {x, r.y, 1e6f, r.h};
    if (from != end && !ui->preedit_bytes) {
        float left = x + keel_ui_width_(ui, text, from), right = x + keel_ui_width_(ui, text, end);
        keel_round(ui->k, left, r.y + 4, right - left, r.h - 8, 2, keel_fade(s->accent, 0.55f));
    }
    keel_ui_write(ui, line, text, ui->preedit_bytes ? ui->caret : bytes, KEEL_ALIGN_LEFT, 0,
                  s->text);
    if (ui->preedit_bytes) {
        line.x = x + before;
        keel_ui_write(ui, line, ui->preedit, ui->preedit_bytes, KEEL_ALIGN_LEFT, 0, s->text);
        keel_rect(ui->k, line.x, r.y + r.h - 6, composed, 1, s->accent);
        line.x += composed;
        keel_ui_write(ui, line, text + ui->caret, bytes - ui->caret, KEEL_ALIGN_LEFT, 0, s->text);
    }
    if ((keel_now_ns(ui->k) - ui->typed_ns) / 530000000 % 2 == 0)
        keel_rect(ui->k, x + caret - 1, r.y + 5, 1.5f, r.h - 10, s->text); /* between the letters */
    keel_text_area(ui->k, x + caret, r.y, 1, r.h);
}

/* One line of UTF-8 in `text` of `room` bytes, ended by a 0. Returns KEEL_UI_CHANGED and
 * KEEL_UI_DONE as bits. */
static inline int keel_ui_field(struct keel_ui *ui, const char *name, char *text, uint32_t room)
{
    struct keel_ui_rect r = keel_ui_labelled(ui, keel_ui_place(ui, ui->style.row), name);
    uint64_t id = keel_ui_id(ui, name), had = ui->focus;
    uint32_t did = keel_ui_touch(ui, id, r);
    struct keel_ui_rect in = {r.x + 8, r.y, r.w - 16, r.h};
    int result = 0;
    keel_ui_body(ui, r, did & KEEL_UI_FOCUS);
    if (did & KEEL_UI_HOT)
        keel_cursor(ui->k, KEEL_CURSOR_TEXT);
    keel_push(ui->k);
    keel_clip(ui->k, r.x + 1, r.y, r.w - 2, r.h);
    if (did & KEEL_UI_FOCUS) {
        uint32_t bytes = (uint32_t)__builtin_strlen(text);
        if (had !=
            id) { /* it just got the keyboard: all of it is selected, unless it was clicked */
            ui->anchor = ui->preedit_bytes = 0;
            ui->scroll = 0;
            ui->caret = bytes;
            ui->typed_ns = keel_now_ns(ui->k);
        }
        ui->caret = ui->caret < bytes ? ui->caret : bytes; /* others may have changed the text */
        ui->anchor = ui->anchor < bytes ? ui->anchor : bytes;
        keel_ui_pointed_(ui, text, in.x - ui->scroll, did);
        if (had == id)
            result = keel_ui_typed_(ui, text, room);
        keel_ui_show_(ui, in, text);
    } else {
        struct keel_ui_rect line = {in.x, in.y, 1e6f, in.h};
        keel_ui_write(ui, line, text, __builtin_strlen(text), KEEL_ALIGN_LEFT, 0, ui->style.text);
    }
    keel_pop(ui->k);
    return result;
}

KEEL_END

#endif
