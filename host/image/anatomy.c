/* Packs an anatomy for its way between processes and checks it on arrival. Owns nothing. */
#include "image/anatomy.h"

#include <stdlib.h>
#include <string.h>

enum { MAGIC = 0x414e4154, TEXT_MOST = 1024, PARTS = 6 };

typedef struct Head {
    uint32_t magic, flags;
    uint32_t count[PARTS]; /* functions, objects, sections, types, fields, bytes of strings */
} Head;

static const size_t SIZES[PARTS] = {sizeof(AnatomyFunction), sizeof(AnatomyObject),
                                    sizeof(AnatomySection),  sizeof(AnatomyType),
                                    sizeof(AnatomyField),    1};

uint32_t anatomy_text(AnatomyMaker *m, const char *text, size_t bytes)
{
    if (!m->strings.bytes && buf_add(&m->strings, "", 1))
        m->failed = KEEL_ENOMEM;
    if (!bytes || m->failed || m->strings.bytes > UINT32_MAX / 2)
        return 0;
    char copy[TEXT_MOST + 1];
    size_t n = bytes < TEXT_MOST ? bytes : TEXT_MOST;
    for (size_t i = 0; i < n; i++)
        copy[i] = (uint8_t)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
    copy[n] = 0;
    uint32_t at = (uint32_t)m->strings.bytes;
    if (buf_add(&m->strings, copy, n + 1)) {
        m->failed = KEEL_ENOMEM;
        return 0;
    }
    return at;
}

void anatomy_maker_done(AnatomyMaker *m)
{
    if (!m)
        return;
    buf_done(&m->functions);
    buf_done(&m->objects);
    buf_done(&m->sections);
    buf_done(&m->types);
    buf_done(&m->fields);
    buf_done(&m->strings);
    *m = (AnatomyMaker){0};
}

/* Functions, objects and types begin with their id. */
static int by_id(const void *a, const void *b)
{
    Hash x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    if (x.high != y.high)
        return x.high < y.high ? -1 : 1;
    return (x.low > y.low) - (x.low < y.low);
}

static int by_id_and_hash(const void *a, const void *b)
{
    int order = by_id(a, b);
    return order ? order : by_id((const Hash *)a + 1, (const Hash *)b + 1);
}

static void sort(const Buf *list, size_t size)
{
    if (list->bytes)
        qsort(list->data, list->bytes / size, size, by_id_and_hash);
}

int anatomy_pack(AnatomyMaker *m, void *to, size_t room, size_t *ret_bytes, Error *err)
{
    const Buf *parts[PARTS] = {&m->functions, &m->objects, &m->sections,
                               &m->types,     &m->fields,  &m->strings};
    anatomy_text(m, "", 0); /* there always is the empty one */
    if (m->failed)
        return err_set(err, m->failed, "no memory for what the image is made of");
    sort(parts[0], SIZES[0]);
    sort(parts[1], SIZES[1]);
    sort(parts[3], SIZES[3]);
    Head head = {.magic = MAGIC, .flags = m->flags};
    size_t need = sizeof head;
    for (int i = 0; i < PARTS; i++) {
        head.count[i] = (uint32_t)(parts[i]->bytes / SIZES[i]);
        need += parts[i]->bytes;
    }
    if (need > room)
        return err_set(err, KEEL_ELIMIT, "it is made of too many parts");
    char *out = to;
    memcpy(out, &head, sizeof head);
    out += sizeof head;
    for (int i = 0; i < PARTS; i++) {
        if (parts[i]->bytes)
            memcpy(out, parts[i]->data, parts[i]->bytes);
        out += parts[i]->bytes;
    }
    *ret_bytes = need;
    return KEEL_OK;
}

static int subverted(Error *err)
{
    return err_set(err, KEEL_EFAULT,
                   "what was read of it contradicts itself: it is damaged or malicious");
}

static int in_order(const void *list, size_t count, size_t size)
{
    for (size_t i = 1; i < count; i++)
        if (by_id((const char *)list + (i - 1) * size, (const char *)list + i * size) > 0)
            return 0;
    return 1;
}

static int check_lists(const Anatomy *a)
{
    uint32_t s = a->string_bytes;
    int good = in_order(a->functions, a->function_count, sizeof *a->functions) &&
               in_order(a->objects, a->object_count, sizeof *a->objects) &&
               in_order(a->types, a->type_count, sizeof *a->types);
    for (uint32_t i = 0; good && i < a->function_count; i++) {
        const AnatomyFunction *f = &a->functions[i];
        good = f->name < s && f->pretty < s && f->unit < s && f->file < s;
    }
    for (uint32_t i = 0; good && i < a->object_count; i++) {
        const AnatomyObject *o = &a->objects[i];
        good = o->name < s && o->unit < s && o->owner < s && o->file < s &&
               o->kind < OBJECT_KINDS && o->value_kind < VALUE_KINDS;
    }
    for (uint32_t i = 0; good && i < a->section_count; i++)
        good = a->sections[i].name < s;
    for (uint32_t i = 0; good && i < a->type_count; i++) {
        const AnatomyType *t = &a->types[i];
        good = t->name < s && t->target < s && t->kind < TYPE_KINDS &&
               t->first_field <= a->field_count &&
               t->field_count <= a->field_count - t->first_field;
    }
    for (uint32_t i = 0; good && i < a->field_count; i++)
        good = a->fields[i].name < s && a->fields[i].type < s;
    return good;
}

int anatomy_check(const void *data, size_t bytes, Anatomy *ret, Error *err)
{
    Head head;
    const char *part[PARTS], *at = (const char *)data + sizeof head;
    if (bytes < sizeof head)
        return subverted(err);
    memcpy(&head, data, sizeof head);
    size_t left = bytes - sizeof head;
    if (head.magic != MAGIC)
        return subverted(err);
    for (int i = 0; i < PARTS; i++) {
        size_t need = head.count[i] * SIZES[i];
        if (need > left)
            return subverted(err);
        part[i] = at;
        at += need;
        left -= need;
    }
    Anatomy a = {.flags = head.flags,
                 .function_count = head.count[0],
                 .object_count = head.count[1],
                 .section_count = head.count[2],
                 .type_count = head.count[3],
                 .field_count = head.count[4],
                 .string_bytes = head.count[5],
                 .functions = (const AnatomyFunction *)part[0],
                 .objects = (const AnatomyObject *)part[1],
                 .sections = (const AnatomySection *)part[2],
                 .types = (const AnatomyType *)part[3],
                 .fields = (const AnatomyField *)part[4],
                 .strings = part[5]};
    if (left || !a.string_bytes || a.strings[0] || a.strings[a.string_bytes - 1] ||
        !check_lists(&a))
        return subverted(err);
    *ret = a;
    return KEEL_OK;
}
