/* The control socket's server: accepts, reads lines, hands requests to commands, writes answers.
 *
 * Owns the endpoint, every client's descriptor and buffers. A client's memory lives until its poll
 * handle is closed; a request's until it is answered, whoever is left by then. It never blocks and
 * never waits for a command. All on the loop thread but server_new and server_free. */
#include "control/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "control/endpoint.h"
#include "control/message.h"

#pragma GCC poison exit abort

enum {
    CLIENTS_MAX = 64,
    REQUESTS_MAX = 64,           /* open at once, a client */
    READ_BYTES = 16384,          /* a turn, a client: none starves the others */
    OUT_PAUSE_BYTES = 256 << 10, /* answers waiting: read no more requests until they are fetched */
    OUT_MAX_BYTES = 2 * MESSAGE_REPLY_BYTES, /* answers waiting: drop the client */
    DRAIN_BYTES = 8 << 20, /* read and forgotten after a refusal, so that it can be read */
    SWEEP_MS = 250
};
static const int64_t DRAIN_NS = 1000000000, STUCK_NS = 30000000000;

typedef struct Client Client;
struct Client {
    Server *server;
    Client *next, **prior;
    uv_poll_t poll;
    int fd;
    Buf in, out;
    size_t scanned; /* so many bytes of `in` hold no newline */
    Request *requests;
    int open_requests;
    int events;     /* what `poll` waits for */
    int eof;        /* it sends no more */
    int refused;    /* the last answer is on its way; what comes in is forgotten */
    int dead;       /* closing */
    int processing; /* in process(): not again from within an answer */
    size_t drained;
    int64_t moved_ns; /* when the last byte of an answer went, or the refusal began */
};

struct Request {
    Client *client; /* NULL: gone */
    Request *next, **prior;
    json_t *args;
};

struct Server {
    Loop *loop;
    Endpoint endpoint;
    const Command *commands;
    void *user;
    uv_poll_t listener;
    uv_timer_t sweep; /* runs only while somebody is slow */
    int handles;      /* not closed yet */
    int closing;
    int deaf;     /* the listener rests: nothing could be done about a waiting client */
    int spare_fd; /* given up to refuse a client when there are no descriptors */
    Client *clients;
    int client_count;
};

static void process(Client *client);

/* ---- lifetimes ---- */

static void handle_gone(Server *server)
{
    if (--server->handles == 0 && server->closing)
        free(server);
}

static void on_server_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

static void on_client_closed(uv_handle_t *handle)
{
    Client *client = handle->data;
    Server *server = client->server;
    close(client->fd);
    buf_done(&client->in);
    buf_done(&client->out);
    free(client);
    handle_gone(server);
}

static void client_drop(Client *client)
{
    if (client->dead)
        return;
    client->dead = 1;
    for (Request *r = client->requests; r; r = r->next)
        r->client = NULL;
    client->requests = NULL;
    *client->prior = client->next;
    if (client->next)
        client->next->prior = client->prior;
    client->server->client_count--;
    /* The other side learns it now, not when the loop gets round to closing. */
    shutdown(client->fd, SHUT_RDWR);
    uv_close((uv_handle_t *)&client->poll, on_client_closed);
}

static Request *request_new(Client *client, json_t *args)
{
    Request *request = calloc(1, sizeof *request);
    if (!request)
        return NULL;
    *request = (Request){.client = client, .args = args, .next = client->requests};
    request->prior = &client->requests;
    if (request->next)
        request->next->prior = &request->next;
    client->requests = request;
    client->open_requests++;
    return request;
}

static void request_end(Request *request)
{
    if (request->client) {
        request->client->open_requests--;
        *request->prior = request->next;
        if (request->next)
            request->next->prior = request->prior;
    }
    json_decref(request->args);
    free(request);
}

/* ---- one client's turn ---- */

static void on_ready(uv_poll_t *poll, int status, int events);
static void on_sweep(uv_timer_t *timer);

static void sweep_later(Server *server)
{
    if (!server->closing && !uv_is_active((uv_handle_t *)&server->sweep))
        uv_timer_start(&server->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

/* Waits for what can go on now, and ends the client when nothing can. */
static void client_settle(Client *client)
{
    if (client->dead)
        return;
    int busy = client->open_requests >= REQUESTS_MAX || client->out.bytes >= OUT_PAUSE_BYTES;
    int events = 0;
    if (!client->eof && (client->refused || !busy))
        events |= UV_READABLE;
    if (client->out.bytes)
        events |= UV_WRITABLE;
    if (client->eof && !client->out.bytes && (client->refused || !client->open_requests)) {
        client_drop(client);
        return;
    }
    if (client->out.bytes || client->refused)
        sweep_later(client->server);
    if (events == client->events)
        return;
    client->events = events;
    if (events)
        uv_poll_start(&client->poll, events, on_ready);
    else
        uv_poll_stop(&client->poll);
}

static void client_write(Client *client)
{
    size_t sent = 0;
    while (!client->dead && sent < client->out.bytes) {
        ssize_t n = send(client->fd, client->out.data + sent, client->out.bytes - sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            client_drop(client);
            return;
        }
        sent += (size_t)n;
    }
    if (sent) {
        buf_drop(&client->out, sent);
        client->moved_ns = clock_now_ns();
    }
    if (client->out.bytes > OUT_MAX_BYTES)
        client_drop(client);
    else if (client->refused && !client->out.bytes)
        shutdown(client->fd, SHUT_WR);
}

static void answer(Client *client, const json_t *id, const json_t *result, int code,
                   const char *text)
{
    if (!client->out.bytes)
        client->moved_ns = clock_now_ns();
    int failed = result ? message_add_result(&client->out, id, result)
                        : message_add_error(&client->out, id, code, text);
    if (failed == KEEL_ELIMIT)
        failed = message_add_error(&client->out, id, KEEL_ELIMIT,
                                   "the answer is too large: ask for less at once");
    if (failed)
        client_drop(client);
    else
        client_write(client);
}

/* The last thing that this client hears. What it still sends is read for a while: closing over
 * unread bytes would take the answer away from it. */
static void refuse(Client *client, int code, const char *text)
{
    for (Request *r = client->requests; r; r = r->next)
        r->client = NULL;
    client->requests = NULL;
    client->open_requests = 0;
    client->refused = 1;
    client->drained = client->in.bytes;
    client->in.bytes = 0;
    answer(client, NULL, NULL, code, text);
    client->moved_ns = clock_now_ns();
}

static const Command *find_command(const Server *server, const char *name)
{
    for (const Command *c = server->commands; c && c->name; c++)
        if (!strcmp(c->name, name))
            return c;
    return NULL;
}

static json_t *help(const Server *server)
{
    json_t *list = json_array();
    for (const Command *c = server->commands; c && c->name; c++)
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "name", c->name, "help", c->help ? c->help : ""));
    return json_pack("{s:o}", "commands", list);
}

static void run_line(Client *client, const char *line, size_t bytes)
{
    Error err = {0};
    json_t *args;
    if (message_parse(line, bytes, &args, &err)) {
        answer(client, NULL, NULL, err.code, err.text);
        return;
    }
    Request *request = request_new(client, args);
    if (!request) {
        json_decref(args);
        client_drop(client);
        return;
    }
    const char *name = json_string_value(json_object_get(args, "cmd"));
    const Command *command = name ? find_command(client->server, name) : NULL;
    if (command)
        command->run(request, client->server->user);
    else if (!name)
        request_fail(request, KEEL_EPROTOCOL, "the request has no \"cmd\" with a command's name");
    else if (!strcmp(name, "help"))
        request_reply(request, help(client->server));
    else
        request_fail(request, KEEL_ENOTFOUND, "there is no command '%.60s': \"help\" lists them",
                     name);
}

static int is_blank(const char *line, size_t bytes)
{
    return strspn(line, " \t\r") >= bytes;
}

static void process(Client *client)
{
    if (client->processing || client->refused)
        return;
    client->processing = 1;
    size_t start = 0;
    while (!client->dead && !client->refused && client->open_requests < REQUESTS_MAX &&
           client->out.bytes < OUT_PAUSE_BYTES && start < client->in.bytes) {
        char *line = client->in.data + start;
        size_t left = client->in.bytes - start;
        size_t skip = client->scanned < left ? client->scanned : left;
        char *end = memchr(line + skip, '\n', left - skip);
        size_t bytes = end ? (size_t)(end - line) : left;
        client->scanned = 0;
        if (bytes > MESSAGE_LINE_BYTES) {
            start = 0;
            refuse(client, KEEL_ELIMIT, "a request has at most 65,536 bytes in one line");
            break;
        }
        if (!end && !client->eof) {
            client->scanned = left;
            break;
        }
        /* One byte behind the line is the buffer's: its newline, or the end's. */
        start += bytes + (end != NULL);
        if (!end)
            buf_text(&client->in), line = client->in.data + client->in.bytes - bytes;
        if (bytes && !is_blank(line, bytes))
            run_line(client, line, bytes);
    }
    if (!client->dead)
        buf_drop(&client->in, start);
    client->processing = 0;
}

static void client_read(Client *client)
{
    static _Thread_local char piece[READ_BYTES];
    ssize_t n = recv(client->fd, piece, sizeof piece, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        client_drop(client);
    } else if (n == 0) {
        client->eof = 1;
        struct pollfd fd = {.fd = client->fd};
        /* Only half closed: it still waits for its answers. */
        if (client->refused || (poll(&fd, 1, 0) > 0 && fd.revents & (POLLHUP | POLLERR)))
            client_drop(client);
    } else if (client->refused) {
        client->drained += (size_t)n;
        if (client->drained > DRAIN_BYTES)
            client_drop(client);
    } else if (buf_add(&client->in, piece, (size_t)n)) {
        client_drop(client);
    }
}

static void on_ready(uv_poll_t *poll_handle, int status, int events)
{
    Client *client = poll_handle->data;
    if (status < 0) {
        client_drop(client);
        return;
    }
    if (events & UV_WRITABLE)
        client_write(client);
    if (!client->dead && events & UV_READABLE)
        client_read(client);
    if (!client->dead)
        process(client);
    client_settle(client);
}

static void on_connection(uv_poll_t *listener, int status, int events);

static void on_sweep(uv_timer_t *timer)
{
    Server *server = timer->data;
    int64_t now_ns = clock_now_ns();
    int slow = 0;
    if (server->deaf) {
        server->deaf = 0;
        uv_poll_start(&server->listener, UV_READABLE, on_connection);
    }
    for (Client *client = server->clients, *next; client; client = next) {
        next = client->next;
        int64_t limit_ns = client->refused ? DRAIN_NS : STUCK_NS;
        if (!client->refused && !client->out.bytes)
            continue;
        if (now_ns - client->moved_ns > limit_ns)
            client_drop(client);
        else
            slow = 1;
    }
    if (!slow)
        uv_timer_stop(timer);
}

/* ---- accepting ---- */

static void say_and_close(int fd, int code, const char *text)
{
    Buf out = {0};
    if (!message_add_error(&out, NULL, code, text))
        send(fd, out.data, out.bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_done(&out);
    close(fd);
}

static void client_new(Server *server, int fd)
{
    pid_t pid;
    uid_t uid;
    if (endpoint_peer(fd, &pid, &uid) || (uid != geteuid() && uid != 0)) {
        say_and_close(fd, KEEL_EDENIED, "this host serves only the user that it runs as");
        return;
    }
    if (server->client_count >= CLIENTS_MAX) {
        say_and_close(fd, KEEL_ELIMIT,
                      "64 clients are connected already: close one, then try again");
        return;
    }
    Client *client = calloc(1, sizeof *client);
    if (!client || uv_poll_init(loop_uv(server->loop), &client->poll, fd)) {
        free(client);
        say_and_close(fd, KEEL_ENOMEM, "no memory for another client");
        return;
    }
    client->server = server;
    client->fd = fd;
    client->poll.data = client;
    client->next = server->clients;
    client->prior = &server->clients;
    if (client->next)
        client->next->prior = &client->next;
    server->clients = client;
    server->client_count++;
    server->handles++;
    client_settle(client);
}

/* Without a free descriptor a waiting client would keep the loop awake for ever: it is refused by
 * help of the one that was kept for this. */
static int make_room(Server *server)
{
    if (server->spare_fd < 0)
        return 0;
    close(server->spare_fd);
    int fd = accept4(server->endpoint.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        say_and_close(fd, KEEL_ELIMIT, "the host has no descriptor left for another client");
    server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

static void on_connection(uv_poll_t *listener, int status, int events)
{
    Server *server = listener->data;
    (void)status, (void)events;
    for (int i = 0; i < CLIENTS_MAX; i++) {
        int fd = accept4(server->endpoint.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            client_new(server, fd);
        else if (errno == EINTR || errno == ECONNABORTED)
            continue;
        else if (errno == EAGAIN)
            break;
        else if (!make_room(server)) {
            uv_poll_stop(listener); /* until the next sweep */
            server->deaf = 1;
            sweep_later(server);
            break;
        }
    }
}

/* ---- the server ---- */

typedef struct Start {
    Server *server;
    Error *err;
    int code;
} Start;

static void start(void *user)
{
    Start *s = user;
    Server *server = s->server;
    uv_loop_t *uv = loop_uv(server->loop);
    int failed = uv_poll_init(uv, &server->listener, server->endpoint.fd);
    if (failed) {
        s->code = err_errno(s->err, KEEL_EIO, -failed, "cannot watch the control socket");
        return;
    }
    uv_timer_init(uv, &server->sweep);
    server->listener.data = server->sweep.data = server;
    server->handles = 2;
    uv_poll_start(&server->listener, UV_READABLE, on_connection);
}

int server_new(Loop *loop, const char *name_or_path, const Command *commands, void *user,
               Server **ret, Error *err)
{
    Server *server = calloc(1, sizeof *server);
    if (!server)
        return err_set(err, KEEL_ENOMEM, "no memory for the control socket");
    server->loop = loop;
    server->commands = commands;
    server->user = user;
    server->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int code = endpoint_listen(name_or_path, &server->endpoint, err);
    if (code)
        goto no_endpoint;
    Start s = {.server = server, .err = err};
    code = loop_call(loop, start, &s);
    if (code)
        err_set(err, code, "cannot serve the control socket: the engine is stopping");
    else
        code = s.code;
    if (code)
        goto no_start;
    *ret = server;
    return 0;

no_start:
    endpoint_close(&server->endpoint);
no_endpoint:
    if (server->spare_fd >= 0)
        close(server->spare_fd);
    free(server);
    return code;
}

static void stop(void *user)
{
    Server *server = user;
    server->closing = 1;
    for (Client *client = server->clients, *next; client; client = next) {
        next = client->next;
        client_write(client); /* what it can still take now: the answer to "quit" */
        client_drop(client);
    }
    uv_poll_stop(&server->listener);
    endpoint_close(&server->endpoint);
    if (server->spare_fd >= 0)
        close(server->spare_fd);
    uv_close((uv_handle_t *)&server->listener, on_server_closed);
    uv_close((uv_handle_t *)&server->sweep, on_server_closed);
}

void server_free(Server *server)
{
    if (server)
        loop_call(server->loop, stop, server);
}

const char *server_path(const Server *server)
{
    return server->endpoint.path;
}

/* ---- answers ---- */

const json_t *request_args(const Request *request)
{
    return request->args;
}

int request_gone(const Request *request)
{
    return !request->client;
}

/* Later answers make room for what the client has sent meanwhile. */
static void finish(Request *request, const json_t *result, int code, const char *text)
{
    Client *client = request->client;
    json_t *id = json_incref(json_object_get(request->args, "id"));
    request_end(request);
    if (client) {
        answer(client, id, result, code, text);
        if (!client->dead && !client->processing) {
            process(client);
            client_settle(client);
        }
    }
    json_decref(id);
}

void request_reply(Request *request, json_t *result)
{
    if (!result)
        result = json_object();
    finish(request, result, KEEL_ENOMEM, "no memory for the answer");
    json_decref(result);
}

void request_fail(Request *request, int code, const char *format, ...)
{
    Error err;
    va_list args;
    va_start(args, format);
    vsnprintf(err.text, sizeof err.text, format, args);
    va_end(args);
    finish(request, NULL, code, err.text);
}
