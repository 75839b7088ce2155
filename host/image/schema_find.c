/* Looking things up in a schema: types by the words of the source, entities by address, units of
 * one build in another. Changes nothing; any thread. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/schema.h"

enum { SPELLED_MOST = 1024 };

/* ---- spelling ---- */

typedef struct Words {
    int is_unsigned, is_signed, longs, is_short, is_char, is_int, is_double, others;
} Words;

static int is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (c & 0x80);
}

static int count_word(Words *w, const char *text, size_t bytes)
{
    static const struct {
        const char *word;
        size_t at;
    } KNOWN[] = {{"unsigned", offsetof(Words, is_unsigned)}, {"signed", offsetof(Words, is_signed)},
                 {"long", offsetof(Words, longs)},           {"short", offsetof(Words, is_short)},
                 {"char", offsetof(Words, is_char)},         {"int", offsetof(Words, is_int)},
                 {"double", offsetof(Words, is_double)}};
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (strlen(KNOWN[i].word) == bytes && !memcmp(KNOWN[i].word, text, bytes)) {
            ++*(int *)((char *)w + KNOWN[i].at);
            return 1;
        }
    w->others++;
    return 0;
}

static int is_silent(const char *text, size_t bytes)
{
    static const char *const SILENT[] = {"const", "volatile", "restrict", "_Atomic", "__restrict"};
    for (size_t i = 0; i < sizeof SILENT / sizeof *SILENT; i++)
        if (strlen(SILENT[i]) == bytes && !memcmp(SILENT[i], text, bytes))
            return 1;
    return 0;
}

/* `unsigned long`, `long unsigned int`: one way. */
static void write_number(const Words *w, char *ret, size_t room)
{
    if (w->is_char)
        snprintf(ret, room, "%schar", w->is_unsigned ? "unsigned " : w->is_signed ? "signed " : "");
    else if (w->is_double)
        snprintf(ret, room, "%sdouble", w->longs ? "long " : "");
    else
        snprintf(ret, room, "%s%s", w->is_unsigned ? "unsigned " : "",
                 w->longs > 1  ? "long long"
                 : w->longs    ? "long"
                 : w->is_short ? "short"
                               : "int");
}

int schema_canonical(const char *spelled, char *ret, size_t room, int *ret_stars)
{
    Words words = {0};
    int stars = 0, known = 0;
    size_t n = 0;
    for (const char *p = spelled; *p;) {
        if (isspace((unsigned char)*p)) {
            p++;
            continue;
        }
        size_t bytes = 1;
        if (is_word(*p))
            while (is_word(p[bytes]))
                bytes++;
        if (*p == '*') {
            stars++;
            p++;
            continue;
        }
        if (is_silent(p, bytes)) {
            p += bytes;
            continue;
        }
        if (stars || *p == '(' || *p == '[')
            return KEEL_EINVAL; /* a pointer to a function or an array */
        known += is_word(*p) && count_word(&words, p, bytes);
        words.others += !is_word(*p);
        if (n + bytes + 2 > room)
            return KEEL_EINVAL;
        if (n && is_word(ret[n - 1]) && is_word(*p))
            ret[n++] = ' ';
        memcpy(ret + n, p, bytes);
        n += bytes;
        p += bytes;
    }
    if (!n || n >= room)
        return KEEL_EINVAL;
    ret[n] = 0;
    if (known && !words.others)
        write_number(&words, ret, room);
    *ret_stars = stars;
    return KEEL_OK;
}

/* ---- types ---- */

static uint32_t first_name(const Schema *s, const char *text)
{
    uint32_t low = 0, high = s->name_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(schema_text(s, s->names[middle].text), text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* How much of two paths' ends is the same, in whole parts; the whole of one is more than a part. */
static int common_parts(const char *a, const char *b)
{
    size_t i = strlen(a), j = strlen(b);
    int parts = 0;
    if (!strcmp(a, b))
        return 1 << 20;
    while (i && j && a[i - 1] == b[j - 1]) {
        i--;
        j--;
        parts += a[i] == '/' || !i || !j;
    }
    if ((!i || a[i - 1] == '/') && (!j || b[j - 1] == '/') && i + j && a[i] != '/')
        parts += i && j;
    return strcmp(base_name(a), base_name(b)) ? 0 : parts + 1;
}

static int by_name(const Schema *s, const char *text, const char *file, uint32_t *ret)
{
    uint32_t at = first_name(s, text), found = 0;
    int best = -1, count = 0;
    for (; at < s->name_count && !strcmp(schema_text(s, s->names[at].text), text); at++) {
        const SchemaName *n = &s->names[at];
        int fits = n->unit == SCHEMA_ANY_UNIT
                       ? 0
                       : common_parts(schema_text(s, s->units[n->unit]), file ? file : "");
        if (fits > best) {
            best = fits;
            found = n->type;
            count = 1;
        } else if (fits == best && n->type != found) {
            count++;
        }
    }
    if (!count)
        return KEEL_ENOTFOUND;
    if (count > 1)
        return KEEL_ECHANGED;
    *ret = found;
    return KEEL_OK;
}

/* ---- an index: the names by their ends, pointers by what they point to ---- */

struct SchemaEnding {
    const char *text;
    size_t bytes;
    uint32_t type;
};

/* Read from their ends; `ret_whole`: all of `b` is the end of `a`. */
static int order_ends(const char *a, size_t a_bytes, const char *b, size_t b_bytes, int *ret_whole)
{
    while (a_bytes && b_bytes) {
        unsigned char x = (unsigned char)a[--a_bytes], y = (unsigned char)b[--b_bytes];
        if (x != y) {
            *ret_whole = 0;
            return x < y ? -1 : 1;
        }
    }
    *ret_whole = !b_bytes;
    return (a_bytes > 0) - (b_bytes > 0);
}

static int order_endings(const void *a, const void *b)
{
    const struct SchemaEnding *x = a, *y = b;
    int whole, c = order_ends(x->text, x->bytes, y->text, y->bytes, &whole);
    return c ? c : (x->type > y->type) - (x->type < y->type);
}

int schema_index_init(SchemaIndex *index, const Schema *s)
{
    *index = (SchemaIndex){.schema = s};
    index->endings = malloc((s->name_count + 1) * sizeof *index->endings);
    index->pointers = calloc(s->type_count + 1, sizeof *index->pointers);
    if (!index->endings || !index->pointers) {
        schema_index_done(index);
        return KEEL_ENOMEM;
    }
    for (uint32_t i = s->type_count; i-- > 0;)
        if (s->types[i].kind == SCHEMA_POINTER && !(s->types[i].flags & SCHEMA_REFERENCE))
            index->pointers[s->types[i].target] = i;
    for (uint32_t i = 0; i < s->name_count; i++) {
        const char *text = schema_text(s, s->names[i].text);
        const struct SchemaEnding ending = {text, strlen(text), s->names[i].type};
        if (strstr(text, "::"))
            index->endings[index->ending_count++] = ending;
    }
    if (index->ending_count)
        qsort(index->endings, index->ending_count, sizeof *index->endings, order_endings);
    uint32_t kept = 0; /* many units may have the same */
    for (uint32_t i = 0; i < index->ending_count; i++)
        if (!kept || order_endings(&index->endings[kept - 1], &index->endings[i]))
            index->endings[kept++] = index->endings[i];
    index->ending_count = kept;
    return KEEL_OK;
}

void schema_index_done(SchemaIndex *index)
{
    free(index->endings);
    free(index->pointers);
    *index = (SchemaIndex){0};
}

/* `order` where the code stands inside of a namespace. */
static int by_ending_indexed(const SchemaIndex *index, const char *text, uint32_t *ret)
{
    char wanted[SPELLED_MOST + 2];
    size_t bytes = (size_t)snprintf(wanted, sizeof wanted, "::%s", text);
    uint32_t low = 0, high = index->ending_count, found = 0;
    int whole, count = 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct SchemaEnding *e = &index->endings[middle];
        if (order_ends(e->text, e->bytes, wanted, bytes, &whole) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < index->ending_count && count < 2; low++) {
        const struct SchemaEnding *e = &index->endings[low];
        order_ends(e->text, e->bytes, wanted, bytes, &whole);
        if (!whole)
            break;
        if (count && e->type == found)
            continue;
        found = e->type;
        count++;
    }
    *ret = count == 1 ? found : *ret;
    return count == 1 ? KEEL_OK : count ? KEEL_ECHANGED : KEEL_ENOTFOUND;
}

static int by_ending(const Schema *s, const char *text, uint32_t *ret)
{
    size_t bytes = strlen(text);
    uint32_t found = 0;
    int count = 0;
    for (uint32_t i = 0; i < s->name_count; i++) {
        const char *name = schema_text(s, s->names[i].text);
        size_t all = strlen(name);
        if (all < bytes + 2 || strcmp(name + all - bytes, text) ||
            memcmp(name + all - bytes - 2, "::", 2) || (count && s->names[i].type == found))
            continue;
        found = s->names[i].type;
        count++;
    }
    *ret = count == 1 ? found : *ret;
    return count == 1 ? KEEL_OK : count ? KEEL_ECHANGED : KEEL_ENOTFOUND;
}

static int pointer_to(const Schema *s, const SchemaIndex *index, uint32_t *type)
{
    if (index && index->pointers[*type]) {
        *type = index->pointers[*type];
        return KEEL_OK;
    }
    for (uint32_t i = 0; i < s->type_count && !index; i++)
        if (s->types[i].kind == SCHEMA_POINTER && s->types[i].target == *type &&
            !(s->types[i].flags & SCHEMA_REFERENCE)) {
            *type = i;
            return KEEL_OK;
        }
    return KEEL_ENOTFOUND;
}

static int find(const Schema *schema, const SchemaIndex *index, const char *spelled,
                const char *file, uint32_t *ret_type)
{
    static const char *const TAGS[] = {"struct ", "class ", "union ", "enum "};
    char text[SPELLED_MOST];
    int stars = 0;
    uint32_t type = 0;
    if (schema_canonical(spelled, text, sizeof text, &stars))
        return KEEL_ENOTFOUND;
    int rc = strcmp(text, "void") ? by_name(schema, text, file, &type) : KEEL_OK;
    const char *plain = text;
    for (size_t i = 0; i < sizeof TAGS / sizeof *TAGS && rc == KEEL_ENOTFOUND; i++)
        if (!strncmp(text, TAGS[i], strlen(TAGS[i]))) {
            plain = text + strlen(TAGS[i]);
            rc = by_name(schema, plain, file, &type);
        }
    if (rc == KEEL_ENOTFOUND)
        rc = index ? by_ending_indexed(index, plain, &type) : by_ending(schema, plain, &type);
    for (; !rc && stars > 0; stars--)
        rc = pointer_to(schema, index, &type);
    if (!rc)
        *ret_type = type;
    return rc;
}

int schema_find(const Schema *schema, const char *spelled, const char *file, uint32_t *ret_type)
{
    return find(schema, NULL, spelled, file, ret_type);
}

int schema_index_find(const SchemaIndex *index, const char *spelled, const char *file,
                      uint32_t *ret_type)
{
    return find(index->schema, index, spelled, file, ret_type);
}

uint32_t schema_align(const Schema *schema, uint32_t type)
{
    const SchemaType *t = &schema->types[type];
    uint32_t align = 1;
    switch (t->kind) {
    case SCHEMA_ARRAY:
        return schema_align(schema, t->target);
    case SCHEMA_RECORD:
    case SCHEMA_UNION:
        for (uint32_t i = 0; i < t->fields; i++) {
            const SchemaField *f = &schema->fields[t->first + i];
            uint32_t a = schema_align(schema, f->type);
            if (f->offset % a == 0 && t->bytes % a == 0 && a > align) /* else it is packed */
                align = a;
        }
        return align;
    default:
        while (align < 16 && t->bytes % (align * 2) == 0 && t->bytes)
            align *= 2;
        return align;
    }
}

/* ---- tags of unions ---- */

const SchemaUnion *schema_union(const Schema *s, uint32_t record, uint64_t offset)
{
    for (uint32_t i = 0; i < s->union_count && record; i++)
        if (s->unions[i].record == record && s->unions[i].offset == offset)
            return &s->unions[i];
    return NULL;
}

int64_t schema_tag(const SchemaType *t, const uint8_t *at, unsigned bit, unsigned bits)
{
    unsigned __int128 wide = 0;
    unsigned width = bits ? bits : (unsigned)t->bytes * 8;
    memcpy(&wide, at, bits ? (bit + bits + 7) / 8 : t->bytes);
    uint64_t value = (uint64_t)(wide >> (bits ? bit : 0));
    if (width && width < 64) {
        value &= (UINT64_C(1) << width) - 1;
        if (t->flags & SCHEMA_SIGNED && value >> (width - 1))
            value |= ~UINT64_C(0) << width;
    }
    return (int64_t)value;
}

int64_t schema_union_field(const Schema *s, const SchemaUnion *u, const uint8_t *data)
{
    int64_t tag = schema_tag(&s->types[u->tag_type], data + u->tag_offset, u->tag_bit, u->tag_bits);
    for (uint32_t i = 0; i < u->cases; i++)
        if (s->cases[u->first + i].value == tag)
            return s->cases[u->first + i].field;
    return -1;
}

const SchemaHook *schema_hook(const Schema *s, uint32_t record)
{
    for (uint32_t i = 0; i < s->hook_count; i++)
        if (s->hooks[i].record == record)
            return &s->hooks[i];
    return NULL;
}

/* ---- addresses ---- */

/* The first index whose address is at least `wanted`. */
#define FIRST_AT(list, count, wanted, ret)                \
    do {                                                  \
        uint32_t low_ = 0, high_ = (count);               \
        while (low_ < high_) {                            \
            uint32_t middle_ = low_ + (high_ - low_) / 2; \
            if ((list)[middle_].address < (wanted))       \
                low_ = middle_ + 1;                       \
            else                                          \
                high_ = middle_;                          \
        }                                                 \
        (ret) = (int64_t)low_;                            \
    } while (0)

/* Of several at the last address that is at most `wanted` the first. */
#define LAST_AT(list, count, wanted, ret)                                 \
    do {                                                                  \
        FIRST_AT(list, count, wanted, ret);                               \
        if ((ret) == (int64_t)(count) || (list)[ret].address != (wanted)) \
            (ret)--;                                                      \
        if ((ret) >= 0)                                                   \
            FIRST_AT(list, count, (list)[ret].address, ret);              \
    } while (0)

int64_t schema_static_at(const Schema *schema, uint64_t address)
{
    int64_t at;
    LAST_AT(schema->statics, schema->static_count, address, at);
    return at;
}

int64_t schema_function_at(const Schema *schema, uint64_t address)
{
    int64_t at;
    LAST_AT(schema->functions, schema->function_count, address, at);
    return at;
}

int64_t schema_symbol_at(const Schema *schema, uint64_t address)
{
    int64_t at;
    LAST_AT(schema->symbols, schema->symbol_count, address, at);
    return at;
}

const SchemaRange *schema_range_at(const Schema *schema, uint64_t address)
{
    int64_t at;
    LAST_AT(schema->ranges, schema->range_count, address, at);
    const SchemaRange *r = at < 0 ? NULL : &schema->ranges[at];
    return r && address - r->address < r->bytes ? r : NULL;
}

/* ---- units ---- */

int schema_units_fit(const char *a, const char *b)
{
    return common_parts(a, b);
}

const char *schema_unit_base(const char *path)
{
    return base_name(path);
}
