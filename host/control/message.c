/* The control protocol's lines. Owns nothing. */
#include "control/message.h"

#include <stdlib.h>
#include <string.h>

/* jansson recurses up to 2,048 deep on whatever stack it has: counted before it starts. */
static int too_deep(const char *line, size_t bytes)
{
    int depth = 0, in_string = 0;
    for (size_t i = 0; i < bytes; i++) {
        char c = line[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = 0;
        } else if (c == '"') {
            in_string = 1;
        } else if (c == '[' || c == '{') {
            if (++depth > MESSAGE_DEPTH)
                return 1;
        } else if (c == ']' || c == '}') {
            depth--;
        }
    }
    return 0;
}

int message_parse(const char *line, size_t bytes, json_t **ret, Error *err)
{
    if (too_deep(line, bytes))
        return err_set(err, KEEL_EPROTOCOL, "the request nests deeper than %d", MESSAGE_DEPTH);
    json_error_t error;
    json_t *root = json_loadb(line, bytes, JSON_REJECT_DUPLICATES, &error);
    if (!root)
        return err_set(err, KEEL_EPROTOCOL, "the line is not one JSON object: %s", error.text);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(err, KEEL_EPROTOCOL,
                       "a request is a JSON object like {\"id\": 1, \"cmd\": \"status\"}");
    }
    *ret = root;
    return 0;
}

typedef struct Sink {
    Buf *out;
    size_t before;
    int code;
} Sink;

static int add_piece(const char *data, size_t bytes, void *user)
{
    Sink *sink = user;
    if (sink->out->bytes - sink->before + bytes >= MESSAGE_REPLY_BYTES)
        sink->code = KEEL_ELIMIT;
    else
        sink->code = buf_add(sink->out, data, bytes);
    return sink->code ? -1 : 0;
}

static int add_line(Buf *out, const json_t *answer)
{
    Sink sink = {.out = out, .before = out->bytes};
    int failed = !answer || json_dump_callback(answer, add_piece, &sink, JSON_COMPACT);
    if (!failed)
        failed = buf_add(out, "\n", 1);
    if (!failed)
        return 0;
    out->bytes = sink.before;
    return sink.code ? sink.code : KEEL_ENOMEM;
}

/* jansson has no borrowing pack for const values: the reference that "O" takes is given back with
 * the answer. */
static json_t *counted(const json_t *value)
{
    return (json_t *)(uintptr_t)value;
}

int message_add_result(Buf *out, const json_t *id, const json_t *result)
{
    json_t *answer =
        json_pack("{s:O?, s:b, s:O}", "id", counted(id), "ok", 1, "result", counted(result));
    int code = add_line(out, answer);
    json_decref(answer);
    return code;
}

int message_add_error(Buf *out, const json_t *id, int code, const char *text)
{
    json_t *answer = json_pack("{s:O?, s:b, s:{s:s, s:o}}", "id", counted(id), "ok", 0, "error",
                               "code", err_name(code), "text", message_text(text));
    int failed = add_line(out, answer);
    json_decref(answer);
    return failed;
}

json_t *message_text(const char *text)
{
    json_t *string = json_string(text);
    if (string)
        return string;
    char *plain = strdup(text);
    if (!plain)
        return NULL;
    /* Not UTF-8, perhaps only cut in a character: whole characters stay, the rest is replaced. */
    for (char *c = plain; *c;) {
        unsigned char first = (unsigned char)*c;
        size_t length = first < 0x80   ? 1
                        : first < 0xc0 ? 0
                        : first < 0xe0 ? 2
                        : first < 0xf0 ? 3
                                       : 4;
        size_t there = strnlen(c, length);
        json_t *one = length && there == length ? json_stringn(c, length) : NULL;
        if (!one)
            length = 1, *c = '?';
        json_decref(one);
        c += length;
    }
    string = json_string(plain);
    free(plain);
    return string;
}

int message_code(const char *name)
{
#define CODE(symbol, number, text) \
    if (!strcmp(name, #symbol))    \
        return -(number);
    KEEL_ERRORS(CODE)
#undef CODE
    return KEEL_EPROTOCOL;
}
