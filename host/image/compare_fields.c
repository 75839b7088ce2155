/* Two types of one name, field by field. Owns nothing. */
#include "image/compare.h"

#include <stdio.h>
#include <string.h>

static const char *text(const Anatomy *a, uint32_t at)
{
    const char *t = anatomy_string(a, at);
    return *t ? t : "(unnamed)";
}

/* The nth field of that name; -1: it has none. */
static int64_t find(const Anatomy *a, const AnatomyType *type, const char *name, unsigned nth)
{
    for (uint32_t i = 0; i < type->field_count; i++)
        if (!strcmp(anatomy_string(a, a->fields[type->first_field + i].name), name) && !nth--)
            return type->first_field + i;
    return -1;
}

static unsigned rank_of(const Anatomy *a, const AnatomyType *type, uint32_t index)
{
    unsigned rank = 0;
    for (uint32_t i = type->first_field; i < index; i++)
        rank +=
            a->fields[i].name == a->fields[index].name ||
            !strcmp(anatomy_string(a, a->fields[i].name), anatomy_string(a, a->fields[index].name));
    return rank;
}

static void place(const AnatomyField *f, char *to, size_t room)
{
    if (f->bits)
        snprintf(to, room, "%llu bit %u, %u bits", (unsigned long long)f->offset, f->bit, f->bits);
    else
        snprintf(to, room, "%llu", (unsigned long long)f->offset);
}

static void tell_one(const Anatomy *a, const AnatomyField *f, int is_enum, const char *sign,
                     FieldTeller tell, void *user)
{
    char line[600], where[64];
    place(f, where, sizeof where);
    if (is_enum)
        snprintf(line, sizeof line, "%.250s = %lld", text(a, f->name), (long long)f->offset);
    else
        snprintf(line, sizeof line, "%.250s %.250s at %s", text(a, f->type), text(a, f->name),
                 where);
    tell(user, sign, line);
}

static void tell_both(const Anatomy *before, const AnatomyField *x, const Anatomy *after,
                      const AnatomyField *y, int is_enum, FieldTeller tell, void *user)
{
    char line[800], from[64], to[64];
    const char *name = text(after, y->name), *old = text(before, x->type),
               *new_ = text(after, y->type);
    place(x, from, sizeof from);
    place(y, to, sizeof to);
    if (is_enum) {
        if (x->offset != y->offset) {
            snprintf(line, sizeof line, "%.250s %lld → %lld", name, (long long)x->offset,
                     (long long)y->offset);
            tell(user, "~", line);
        }
        return;
    }
    int type = !hash_equal(x->hash, y->hash), moved = strcmp(from, to) != 0;
    if (type && strcmp(old, new_))
        snprintf(line, sizeof line, "%.250s %.200s → %.200s", name, old, new_);
    else if (type)
        snprintf(line, sizeof line, "%.250s (%.200s itself changed)", name, new_);
    else
        snprintf(line, sizeof line, "%.250s", name);
    size_t n = strlen(line);
    if (moved)
        snprintf(line + n, sizeof line - n, "%s at %s → %s", type ? "," : "", from, to);
    if (type || moved)
        tell(user, "~", line);
}

void compare_fields(const Anatomy *before, const AnatomyType *old, const Anatomy *after,
                    const AnatomyType *new_, FieldTeller tell, void *user)
{
    int is_enum = new_->kind == TYPE_ENUM;
    for (uint32_t i = 0; i < old->field_count; i++) {
        uint32_t index = old->first_field + i;
        const char *name = anatomy_string(before, before->fields[index].name);
        if (find(after, new_, name, rank_of(before, old, index)) < 0)
            tell_one(before, &before->fields[index], is_enum, "-", tell, user);
    }
    for (uint32_t j = 0; j < new_->field_count; j++) {
        uint32_t index = new_->first_field + j;
        const char *name = anatomy_string(after, after->fields[index].name);
        int64_t i = find(before, old, name, rank_of(after, new_, index));
        if (i < 0)
            tell_one(after, &after->fields[index], is_enum, "+", tell, user);
        else
            tell_both(before, &before->fields[i], after, &after->fields[index], is_enum, tell,
                      user);
    }
    if (old->bytes != new_->bytes) {
        char line[96];
        snprintf(line, sizeof line, "%llu bytes → %llu bytes", (unsigned long long)old->bytes,
                 (unsigned long long)new_->bytes);
        tell(user, "~", line);
    }
}
