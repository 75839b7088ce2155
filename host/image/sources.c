/* Checks on arrival what one reading leaves for the next. Owns nothing; any thread. */
#include "image/sources.h"

enum {
    DECIDED_BY_DEBUG =
        ANATOMY_DEBUG | ANATOMY_LTO | ANATOMY_SPLIT | ANATOMY_TYPES_CUT | ANATOMY_DEBUG_BROKEN
};

/* Types are taken over with the strings of the debug information alone. */
static int are_good_types(const Sources *s, const Anatomy *a)
{
    uint32_t most = s->string_bytes;
    for (uint32_t i = 0; i < a->type_count; i++)
        if ((a->types[i].name && a->types[i].name >= most) ||
            (a->types[i].target && a->types[i].target >= most))
            return 0;
    for (uint32_t i = 0; i < a->field_count; i++)
        if ((a->fields[i].name && a->fields[i].name >= most) ||
            (a->fields[i].type && a->fields[i].type >= most))
            return 0;
    return 1;
}

static int are_good(const Sources *s)
{
    const Owner *owners = sources_owners(s);
    const Line *lines = sources_lines(s);
    uint32_t most = s->string_bytes;
    for (uint32_t i = 0; i < s->owner_count; i++) {
        const Owner *o = &owners[i];
        if ((o->name && o->name >= most) || (o->file && o->file >= most) ||
            (o->pretty && o->pretty >= most) || o->value >= VALUE_KINDS ||
            (i && o->address < owners[i - 1].address))
            return 0;
    }
    for (uint32_t i = 0; i < s->line_count; i++) {
        const Line *l = &lines[i];
        if ((l->pretty && l->pretty >= most) || (l->file && l->file >= most) ||
            (i && l->address < lines[i - 1].address))
            return 0;
    }
    return 1;
}

int sources_kept(const Sources *s, Kept *ret)
{
    return s->kept_bytes ? kept_check(sources_lines(s) + s->line_count, s->kept_bytes, ret) : -1;
}

int sources_check(const void *data, size_t bytes, const Anatomy *a, Error *err)
{
    const Sources *s = data;
    Kept kept;
    if (bytes < sizeof *s || s->string_bytes > a->string_bytes ||
        bytes != sizeof *s + (size_t)s->owner_count * sizeof(Owner) +
                     (size_t)s->line_count * sizeof(Line) + s->kept_bytes ||
        (s->kept_bytes && sources_kept(s, &kept)) ||
        (s->string_bytes && a->strings[s->string_bytes - 1]) ||
        (s->flags & ~(uint32_t)DECIDED_BY_DEBUG) || !are_good_types(s, a) || !are_good(s))
        return err_set(err, KEEL_EFAULT,
                       "what was read of it contradicts itself: it is damaged or malicious");
    return KEEL_OK;
}
