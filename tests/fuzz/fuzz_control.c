/* Fuzzes the lines of the control protocol: what a client sends to a host, and what a host's answer
 * makes of it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "control/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* One line, and JSON with what its reader was promised. Gives it back, parsed. */
static json_t *reread(const Buf *out)
{
    if (!out->bytes || out->data[out->bytes - 1] != '\n' ||
        memchr(out->data, '\n', out->bytes - 1) || memchr(out->data, 0, out->bytes))
        abort();
    json_t *answer = json_loadb(out->data, out->bytes, 0, NULL);
    if (!answer || !json_is_boolean(json_object_get(answer, "ok")))
        abort();
    return answer;
}

static void check_answer(const json_t *request)
{
    const json_t *id = json_object_get(request, "id");
    Buf out = {0};
    if (message_add_result(&out, id, request))
        abort();
    json_t *answer = reread(&out);
    if (!json_equal(json_object_get(answer, "result"), request) ||
        (id && !json_equal(json_object_get(answer, "id"), id)))
        abort();
    json_decref(answer);
    buf_done(&out);
}

/* Whatever text an error has, its answer is JSON; what was UTF-8 is as it was. */
static void check_error(const uint8_t *data, size_t bytes)
{
    Buf text = {0}, out = {0};
    if (buf_add(&text, (const char *)data, bytes))
        abort();
    const char *plain = buf_text(&text);
    if (message_add_error(&out, NULL, KEEL_EBUSY, plain))
        abort();
    json_t *answer = reread(&out);
    const char *said = json_string_value(json_object_get(json_object_get(answer, "error"), "text"));
    json_t *as_it_is = json_string(plain);
    if (!said || (as_it_is && strcmp(said, plain) != 0) || strlen(said) > strlen(plain))
        abort();
    json_decref(as_it_is);
    json_decref(answer);
    buf_done(&out);
    buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *rest = (const char *)data;
    if (bytes > MESSAGE_LINE_BYTES)
        return 0; /* the server parses no longer ones */
    check_error(data, bytes);
    for (const char *end = rest + bytes; rest < end;) {
        const char *newline = memchr(rest, '\n', (size_t)(end - rest));
        size_t length = (size_t)((newline ? newline : end) - rest);
        Error err = {0};
        json_t *request = NULL;
        if (message_parse(rest, length, &request, &err)) {
            if (request || err.code >= 0 || !*err.text)
                abort();
        } else {
            if (!json_is_object(request))
                abort();
            check_answer(request);
            json_decref(request);
        }
        rest += length + (newline != NULL);
    }
    return 0;
}
