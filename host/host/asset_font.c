/* Reads a font file's directory of tables (OpenType specification, "Font file"), nothing else: a
 * file that is damaged or cut short must not take the place of the one before. */
#include "host/asset_font.h"

#include <stdint.h>
#include <string.h>

enum { HEAD = 12, RECORD = 16 };

static uint32_t number(const uint8_t *at, int bytes)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

static int is(const uint8_t *at, const char *tag)
{
    return !memcmp(at, tag, 4);
}

static int is_font(const uint8_t *at)
{
    return number(at, 4) == 0x00010000 || is(at, "OTTO") || is(at, "true");
}

/* The first font of a collection begins elsewhere. 0: there is none. */
static const uint8_t *first_font(const uint8_t *data, size_t bytes)
{
    size_t at = 0;
    if (bytes < HEAD)
        return NULL;
    if (is(data, "ttcf"))
        at = bytes >= HEAD + 4 ? number(data + HEAD, 4) : bytes;
    return at <= bytes - HEAD && is_font(data + at) ? data + at : NULL;
}

int asset_font_check(const void *file, size_t bytes, const char *path, Error *err)
{
    static const char needed[][5] = {"head", "maxp", "cmap", "hhea", "hmtx"};
    static const char outlines[][5] = {"glyf", "CFF ", "CFF2"};
    const uint8_t *data = file, *font = first_font(data, bytes);
    if (!bytes)
        return err_set(err, KEEL_EDATA, "%s: it is empty", path);
    if (!font)
        return err_set(err, KEEL_EDATA, "%s: it is no TTF or OTF font", path);
    size_t count = number(font + 4, 2), left = bytes - (size_t)(font - data) - HEAD;
    unsigned found = 0, drawn = 0;
    if (count > left / RECORD)
        return err_set(err, KEEL_EDATA, "%s: it is cut short in its directory", path);
    for (const uint8_t *record = font + HEAD; count--; record += RECORD) {
        unsigned wanted = 0, shape = 0;
        for (unsigned i = 0; i < sizeof needed / sizeof *needed; i++)
            wanted |= is(record, needed[i]) ? 1u << i : 0;
        for (unsigned i = 0; i < sizeof outlines / sizeof *outlines; i++)
            shape |= is(record, outlines[i]);
        uint64_t end = (uint64_t)number(record + 8, 4) + number(record + 12, 4);
        if (end > bytes)
            return err_set(err, KEEL_EDATA, "%s: it is cut short: a table ends at byte %llu of %zu",
                           path, (unsigned long long)end, bytes);
        found |= wanted;
        drawn |= shape;
    }
    for (unsigned i = 0; i < sizeof needed / sizeof *needed; i++)
        if (!(found & 1u << i))
            return err_set(err, KEEL_EDATA, "%s: it has no table %s, which a font needs", path,
                           needed[i]);
    if (!drawn)
        return err_set(err, KEEL_EDATA, "%s: it has no outlines; a font of fixed sizes isn't shown",
                       path);
    return KEEL_OK;
}
