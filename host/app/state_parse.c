/* A value from text, checked against its type. Owns nothing. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/state_value.h"

static int wrong(const StateLook *look, const StatePlace *place, const char *text, const char *why,
                 Error *err)
{
    const SchemaType *t = &look->types->schema.types[place->type];
    return err_set(err, KEEL_EINVAL, "\"%.60s\" is no value of `%s`: %s", text,
                   schema_text(&look->types->schema, t->name), why);
}

/* Into the place's bits; what stands beside them stays. */
static void store(const StatePlace *place, uint64_t value, uint64_t bytes, uint8_t *to)
{
    if (!place->bits) {
        memcpy(to, &value, bytes);
        return;
    }
    for (unsigned i = 0; i < place->bits; i++) {
        unsigned bit = place->bit + i;
        uint8_t one = (uint8_t)(1u << bit % 8);
        to[bit / 8] = (uint8_t)((to[bit / 8] & ~one) | (value >> i & 1 ? one : 0));
    }
}

static int parse_integer(const StateLook *look, const StatePlace *place, const SchemaType *t,
                         const char *text, uint8_t *to, Error *err)
{
    char *end, why[120];
    unsigned width = place->bits ? place->bits : (unsigned)t->bytes * 8;
    uint64_t most = width >= 64 ? UINT64_MAX : (UINT64_C(1) << width) - 1;
    errno = 0;
    if (width > 64 || !width)
        return wrong(look, place, text, "such wide numbers can't be set", err);
    if (t->flags & SCHEMA_SIGNED) {
        int64_t high = (int64_t)(most >> 1), low = -high - 1;
        long long value = strtoll(text, &end, 0);
        if (end == text || *end)
            return wrong(look, place, text, "a whole number is needed", err);
        if (errno || value < low || value > high) {
            snprintf(why, sizeof why, "it reaches from %lld to %lld", (long long)low,
                     (long long)high);
            return wrong(look, place, text, why, err);
        }
        store(place, (uint64_t)value, t->bytes, to);
        return KEEL_OK;
    }
    unsigned long long value = strtoull(text, &end, 0);
    if (end == text || *end)
        return wrong(look, place, text, "a whole number is needed", err);
    if (errno || value > most || strchr(text, '-')) {
        snprintf(why, sizeof why, "it reaches from 0 to %llu", (unsigned long long)most);
        return wrong(look, place, text, why, err);
    }
    store(place, value, t->bytes, to);
    return KEEL_OK;
}

static int parse_float(const StateLook *look, const StatePlace *place, const SchemaType *t,
                       const char *text, uint8_t *to, Error *err)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end)
        return wrong(look, place, text, "a number is needed", err);
    if (t->bytes == 4) {
        float small = (float)value;
        if (isfinite(value) && !isfinite(small))
            return wrong(look, place, text, "it is too large for four bytes", err);
        memcpy(to, &small, 4);
    } else if (t->bytes == 8) {
        memcpy(to, &value, 8);
    } else {
        long double large = strtold(text, NULL);
        memcpy(to, &large, 10); /* the rest is padding */
    }
    return KEEL_OK;
}

static int parse_enum(const StateLook *look, const StatePlace *place, const SchemaType *t,
                      const char *text, uint8_t *to, Error *err)
{
    const Schema *schema = &look->types->schema;
    for (uint32_t i = 0; i < t->fields; i++)
        if (!strcmp(schema_text(schema, schema->values[t->first + i].name), text)) {
            store(place, (uint64_t)schema->values[t->first + i].value, t->bytes, to);
            return KEEL_OK;
        }
    char *end;
    long long value = strtoll(text, &end, 0);
    for (uint32_t i = 0; end != text && !*end && i < t->fields; i++)
        if (schema->values[t->first + i].value == value) {
            store(place, (uint64_t)value, t->bytes, to);
            return KEEL_OK;
        }
    return wrong(look, place, text, "it is none of its names", err);
}

static int parse_text(const StateLook *look, const StatePlace *place, const char *text, uint8_t *to,
                      Error *err)
{
    size_t bytes = strlen(text);
    if (bytes >= place->bytes)
        return wrong(look, place, text, "it is too long, with the NUL at its end", err);
    memset(to, 0, place->bytes);
    memcpy(to, text, bytes);
    return KEEL_OK;
}

int state_value_parse(const StateLook *look, const StatePlace *place, const char *text,
                      uint8_t *ret, Error *err)
{
    const Schema *schema = &look->types->schema;
    const SchemaType *t = &schema->types[place->type];
    memcpy(ret, place->data, place->bytes);
    switch ((SchemaKind)t->kind) {
    case SCHEMA_BOOL:
        if (strcmp(text, "true") && strcmp(text, "false") && strcmp(text, "0") && strcmp(text, "1"))
            return wrong(look, place, text, "it is true or false", err);
        store(place, text[0] == 't' || text[0] == '1', t->bytes, ret);
        return KEEL_OK;
    case SCHEMA_INT:
        return parse_integer(look, place, t, text, ret, err);
    case SCHEMA_ENUM:
        return parse_enum(look, place, t, text, ret, err);
    case SCHEMA_FLOAT:
        return parse_float(look, place, t, text, ret, err);
    case SCHEMA_POINTER:
        if (strcmp(text, "null"))
            return wrong(look, place, text, "a pointer can only be set to null", err);
        memset(ret, 0, t->bytes);
        return KEEL_OK;
    case SCHEMA_ARRAY:
        if (schema->types[t->target].kind == SCHEMA_INT &&
            (schema->types[t->target].flags & SCHEMA_TEXT) && schema->types[t->target].bytes == 1)
            return parse_text(look, place, text, ret, err);
        break;
    default:
        break;
    }
    return wrong(look, place, text, "it has parts: set one of them", err);
}
