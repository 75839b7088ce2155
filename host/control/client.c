/* The blocking end of the control socket. Every wait has a deadline. One thread at a time. */
#include "control/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "control/endpoint.h"
#include "control/message.h"

struct Client {
    int fd;
    int answered;
    json_int_t id; /* of the newest request */
    Buf in;
};

int client_open(const char *name_or_path, int64_t timeout_ns, Client **ret, Error *err)
{
    Client *client = calloc(1, sizeof *client);
    if (!client)
        return err_set(err, KEEL_ENOMEM, "no memory for a connection");
    int code = endpoint_connect(name_or_path, timeout_ns, &client->fd, err);
    if (code) {
        free(client);
        return code;
    }
    *ret = client;
    return 0;
}

void client_close(Client *client)
{
    if (!client)
        return;
    close(client->fd);
    buf_done(&client->in);
    free(client);
}

int client_answered(const Client *client)
{
    return client->answered;
}

/* 0 when `events` (or an end) can be met, KEEL_ETIMEOUT, KEEL_EIO. */
static int wait_for(Client *client, short events, int64_t deadline_ns, Error *err)
{
    for (;;) {
        int64_t left_ns = deadline_ns - clock_now_ns();
        if (left_ns <= 0)
            return err_set(err, KEEL_ETIMEOUT, "the host did not answer in time: is it stopped?");
        struct pollfd fd = {.fd = client->fd, .events = events};
        struct timespec left = {left_ns / 1000000000, left_ns % 1000000000};
        int n = ppoll(&fd, 1, &left, NULL);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_errno(err, KEEL_EIO, errno, "cannot wait for the host's answer");
    }
}

/* A host that has closed may have said why before: what was not sent is no error here. */
static int send_all(Client *client, const char *data, size_t bytes, int64_t deadline_ns, Error *err)
{
    while (bytes) {
        ssize_t n = send(client->fd, data, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            data += n;
            bytes -= (size_t)n;
        } else if (errno == EAGAIN) {
            int code = wait_for(client, POLLOUT, deadline_ns, err);
            if (code)
                return code;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return 0;
        } else if (errno != EINTR) {
            return err_errno(err, KEEL_EIO, errno, "cannot send to the host");
        }
    }
    return 0;
}

/* The next line as JSON. */
static int receive(Client *client, int64_t deadline_ns, json_t **ret, Error *err)
{
    size_t scanned = 0;
    for (;;) {
        char *end = client->in.bytes > scanned
                        ? memchr(client->in.data + scanned, '\n', client->in.bytes - scanned)
                        : NULL;
        if (end) {
            size_t bytes = (size_t)(end - client->in.data);
            int code = message_parse(client->in.data, bytes, ret, err);
            buf_drop(&client->in, bytes + 1);
            return code ? err_wrap(err, "the host's answer is not understood") : 0;
        }
        scanned = client->in.bytes;
        if (scanned > MESSAGE_REPLY_BYTES)
            return err_set(err, KEEL_EPROTOCOL, "the host's answer has no end");
        int code = wait_for(client, POLLIN, deadline_ns, err);
        if (code)
            return code;
        char piece[16384];
        ssize_t n = recv(client->fd, piece, sizeof piece, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n < 0)
            return err_errno(err, KEEL_EIO, errno, "the connection to the host broke");
        if (n == 0)
            return err_set(err, KEEL_EIO, "the host closed the connection without an answer");
        if (buf_add(&client->in, piece, (size_t)n))
            return err_set(err, KEEL_ENOMEM, "no memory for the host's answer");
    }
}

/* Takes the answer apart. 0, or the host's error. */
static int take_answer(Client *client, const json_t *answer, json_t **ret_result, Error *err)
{
    const json_t *ok = json_object_get(answer, "ok");
    json_t *result = json_object_get(answer, "result");
    if (json_is_true(ok) && result) {
        client->answered = 1;
        *ret_result = json_incref(result);
        return 0;
    }
    const json_t *error = json_object_get(answer, "error");
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *text = json_string_value(json_object_get(error, "text"));
    if (!json_is_false(ok) || !code || !text)
        return err_set(err, KEEL_EPROTOCOL, "the host's answer is neither a result nor an error");
    client->answered = 1;
    return err_set(err, message_code(code), "%s", text);
}

int client_call(Client *client, const char *cmd, const json_t *args, int64_t timeout_ns,
                json_t **ret_result, Error *err)
{
    int64_t deadline_ns = clock_now_ns() + timeout_ns;
    client->answered = 0;
    client->id++;
    json_t *request = args ? json_copy((json_t *)(uintptr_t)args) : json_object();
    char *line = NULL;
    if (request && !json_object_set_new(request, "id", json_integer(client->id)) &&
        !json_object_set_new(request, "cmd", json_string(cmd)))
        line = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    if (!line)
        return err_set(err, KEEL_EINVAL, "the request can't be written as JSON");
    size_t bytes = strlen(line);
    line[bytes] = '\n'; /* its NUL isn't needed any more */
    int code = send_all(client, line, bytes + 1, deadline_ns, err);
    free(line);
    while (!code) {
        json_t *answer;
        code = receive(client, deadline_ns, &answer, err);
        if (code)
            break;
        const json_t *id = json_object_get(answer, "id");
        /* An older request's answer, whose time had run out, is not ours; null is a refusal of all.
         */
        int ours = json_is_null(id) || json_integer_value(id) == client->id;
        if (ours)
            code = take_answer(client, answer, ret_result, err);
        json_decref(answer);
        if (ours)
            break;
    }
    return code;
}
