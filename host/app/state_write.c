/* A value with all its parts as JSON or CBOR. Owns nothing. */
#include <stdlib.h>
#include <string.h>

#include "app/state_value.h"
#include "base/cbor.h"

enum { DEEPEST = 64 };

static void cbor_head(Buf *out, CborKind kind, uint64_t argument)
{
    uint8_t head[CBOR_HEAD_MOST];
    buf_add(out, head, cbor_put(head, kind, argument));
}

/* A value's JSON text as a CBOR item. */
static void cbor_value(Buf *out, const char *text, size_t bytes)
{
    char *end;
    uint8_t head[CBOR_HEAD_MOST];
    if (text[0] == '"') {
        Buf plain = {0};
        for (size_t i = 1; i + 1 < bytes; i++) {
            char c = text[i];
            if (c == '\\' && text[i + 1] == 'u') {
                char digits[5] = {0};
                memcpy(digits, text + i + 2, 4);
                unsigned long code = strtoul(digits, NULL, 16);
                char two[2] = {(char)(0xC0 | code >> 6), (char)(0x80 | (code & 63))};
                if (code < 128)
                    two[0] = (char)code;
                buf_add(&plain, two, code < 128 ? 1 : 2);
                i += 5;
            } else {
                i += c == '\\';
                buf_add(&plain, &text[i], 1);
            }
        }
        cbor_head(out, CBOR_TEXT, plain.bytes);
        buf_add(out, plain.data, plain.bytes);
        buf_done(&plain);
    } else if (!strcmp(text, "null") || !strcmp(text, "true") || !strcmp(text, "false")) {
        cbor_head(out, CBOR_SIMPLE, text[0] == 'n' ? 22 : text[0] == 't' ? 21 : 20);
    } else if (strpbrk(text, ".en")) {
        buf_add(out, head, cbor_put_double(head, strtod(text, NULL)));
    } else if (text[0] == '-') {
        cbor_head(out, CBOR_NEGATIVE, (uint64_t)(-1 - strtoll(text, &end, 10)));
    } else {
        cbor_head(out, CBOR_UINT, strtoull(text, &end, 10));
    }
}

static void leaf(const StateWriter *w, const StateLook *look, const StatePlace *place)
{
    Buf text = {0};
    state_value_text(look, place, w->cbor ? &text : w->out);
    if (w->cbor)
        cbor_value(w->out, buf_text(&text), text.bytes);
    buf_done(&text);
}

static void begin(const StateWriter *w, CborKind kind)
{
    uint8_t head[CBOR_HEAD_MOST];
    if (w->cbor)
        buf_add(w->out, head, cbor_put_unended(head, kind));
    else
        buf_add(w->out, kind == CBOR_MAP ? "{" : "[", 1);
}

static void end(const StateWriter *w, CborKind kind)
{
    const uint8_t stop = CBOR_BREAK;
    if (w->cbor)
        buf_add(w->out, &stop, 1);
    else
        buf_add(w->out, kind == CBOR_MAP ? "}" : "]", 1);
}

static void comma(const StateWriter *w, int *any)
{
    if (*any && !w->cbor)
        buf_add(w->out, ", ", 2);
    *any = 1;
}

static void key(const StateWriter *w, const char *name, int *any)
{
    comma(w, any);
    if (w->cbor) {
        cbor_head(w->out, CBOR_TEXT, strlen(name));
        buf_add(w->out, name, strlen(name));
    } else {
        state_json_string(w->out, name, strlen(name));
        buf_add(w->out, ": ", 2);
    }
}

static void write_any(const StateWriter *w, const StateLook *look, const StatePlace *place,
                      int depth);

/* Fields of anonymous parts and base classes count as the record's own. */
static void write_fields(const StateWriter *w, const StateLook *look, const StatePlace *record,
                         int depth, int *any)
{
    const Schema *schema = &look->types->schema;
    const SchemaType *t = &schema->types[record->type];
    for (uint32_t i = 0; i < t->fields && depth < DEEPEST; i++) {
        const SchemaField *f = &schema->fields[t->first + i];
        const SchemaType *ft = &schema->types[f->type];
        StatePlace place;
        const char *name = schema_text(schema, f->name);
        if (f->flags & SCHEMA_TABLE || (record->counts && record->counts != i + 1))
            continue;
        state_value_field(look, record, f, &place);
        if ((!*name || (f->flags & SCHEMA_BASE)) && (ft->kind == SCHEMA_RECORD || place.counts)) {
            write_fields(w, look, &place, depth + 1, any);
            continue;
        }
        key(w, *name ? name : "(union)", any);
        write_any(w, look, &place, depth + 1);
    }
}

static void write_any(const StateWriter *w, const StateLook *look, const StatePlace *place,
                      int depth)
{
    const SchemaType *t = &look->types->schema.types[place->type];
    int any = 0;
    if (depth >= DEEPEST || !state_value_has_parts(look, place)) {
        leaf(w, look, place);
    } else if (t->kind != SCHEMA_ARRAY) {
        begin(w, CBOR_MAP);
        write_fields(w, look, place, depth, &any);
        end(w, CBOR_MAP);
    } else {
        uint64_t each = look->types->schema.types[t->target].bytes;
        begin(w, CBOR_ARRAY);
        for (uint64_t at = 0; each && at + each <= place->bytes; at += each) {
            StatePlace part = {.address = place->address + at,
                               .data = place->data + at,
                               .bytes = each,
                               .type = t->target};
            state_value_whole(look, &part);
            comma(w, &any);
            write_any(w, look, &part, depth + 1);
        }
        end(w, CBOR_ARRAY);
    }
}

int state_value_write(const StateWriter *writer, const StateLook *look, const StatePlace *place)
{
    write_any(writer, look, place, 0);
    return KEEL_OK;
}
