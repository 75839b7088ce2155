/* Differences of two states as sentences. Owns the list of them. */
#include "app/state_text.h"

#include <stdlib.h>
#include <string.h>

#include "app/text.h"

static char *line(StateDifferences *d)
{
    if (d->count == STATE_DIFFERENCES)
        return NULL;
    if (d->count == d->room) {
        int room = d->room ? d->room * 2 : 16;
        void *grown = realloc(d->text, (size_t)room * sizeof *d->text);
        if (!grown)
            return NULL;
        d->text = grown;
        d->room = room;
    }
    return d->text[d->count++];
}

char *state_differences_add(StateDifferences *d)
{
    d->objects++;
    return line(d);
}

static const char *type_of(const FrozenObject *object)
{
    return *object->type ? object->type : "a block of malloc";
}

/* Eight bytes as what they may be. */
static void value(char *to, size_t bytes, const FrozenObject *object, uint64_t at)
{
    uint64_t left = object->bytes - at;
    int n = snprintf(to, bytes, "%s", "");
    for (uint64_t i = 0; i < 8 && i < left && n >= 0 && (size_t)n < bytes; i++)
        n += snprintf(to + n, bytes - (size_t)n, "%02x", object->data[at + i]);
}

/* By the name of the field; 0 when its type isn't known. */
static int by_name(const StateDifferences *list, const FrozenDifference *d, char *to)
{
    StatePlace a, b;
    char path[160];
    Buf was = {0}, is = {0};
    if (!state_value_at(list->before, d->before, d->first, &a, path, sizeof path) ||
        !state_value_at(list->after, d->after, d->first, &b, path, sizeof path))
        return 0;
    state_value_text(list->before, &a, &was);
    state_value_text(list->after, &b, &is);
    snprintf(to, STATE_DIFFERENCE_BYTES, "%.80s at 0x%llx%s%.100s: %.50s → %.50s%s",
             type_of(d->before), (unsigned long long)d->before->address,
             path[0] == '.' || path[0] == '[' ? "" : ".", path, buf_text(&was), buf_text(&is),
             d->words > 1 ? ", and more" : "");
    buf_done(&was);
    buf_done(&is);
    return 1;
}

static void tell(const FrozenDifference *d, void *user)
{
    StateDifferences *list = user;
    char *to = line(list);
    if (!to)
        return;
    const FrozenObject *object = d->before ? d->before : d->after;
    char was[24], is[24];
    switch (d->change) {
    case FROZEN_BYTES: {
        if (by_name(list, d, to))
            break;
        uint64_t at = d->first & ~UINT64_C(7);
        value(was, sizeof was, d->before, at);
        value(is, sizeof is, d->after, at);
        snprintf(to, STATE_DIFFERENCE_BYTES, "%.100s at 0x%llx: %s → %s at offset %llu%s",
                 type_of(object), (unsigned long long)object->address, was, is,
                 (unsigned long long)at, d->words > 1 ? ", and more" : "");
        break;
    }
    case FROZEN_ONLY_OLD:
    case FROZEN_ONLY_NEW:
        snprintf(to, STATE_DIFFERENCE_BYTES, "%.100s at 0x%llx: %s", type_of(object),
                 (unsigned long long)object->address,
                 d->change == FROZEN_ONLY_OLD ? "is not there any more" : "was not there");
        break;
    case FROZEN_TYPE:
        snprintf(to, STATE_DIFFERENCE_BYTES, "0x%llx: %.90s (%llu bytes) → %.90s (%llu bytes)",
                 (unsigned long long)object->address, type_of(d->before),
                 (unsigned long long)d->before->bytes, type_of(d->after),
                 (unsigned long long)d->after->bytes);
        break;
    }
}

void state_differences(const StateLook *before, const StateLook *after, StateDifferences *ret)
{
    *ret = (StateDifferences){.before = before, .after = after};
    ret->objects = frozen_compare(before->frozen, after->frozen, tell, ret, &ret->pointers);
    ret->before = ret->after = NULL;
}

void state_differences_print(FILE *to, const StateDifferences *d, int most)
{
    for (int i = 0; i < d->count && i < most; i++) {
        fputs("  ", to);
        text_print(to, d->text[i]);
        fputc('\n', to);
    }
    if (d->objects > (uint64_t)most)
        fprintf(to, "  and %llu %s more\n", (unsigned long long)d->objects - (uint64_t)most,
                d->noun ? d->noun : "objects");
    if (d->pointers)
        fprintf(to, "  %llu objects differ only in where in the code they point\n",
                (unsigned long long)d->pointers);
}

json_t *state_differences_json(const StateDifferences *d)
{
    json_t *list = json_array();
    for (int i = 0; i < d->count; i++) {
        json_t *text = json_string(d->text[i]);
        json_array_append_new(list, text ? text : json_string("?"));
    }
    return json_pack("{s:I, s:I, s:o}", "objects", (json_int_t)d->objects, "only_pointers",
                     (json_int_t)d->pointers, "list", list);
}

void state_differences_done(StateDifferences *d)
{
    free(d->text);
    *d = (StateDifferences){0};
}
