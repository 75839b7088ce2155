/* One client of the control socket: reads its lines, hands requests to commands, writes answers.
 *
 * Owns the client's descriptor and buffers, and every open request. A session's memory lives until
 * its poll handle is closed; a request's until it is answered, whoever is left by then. It never
 * blocks and never waits for a command. All on the loop thread. */
#include "control/session.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "control/message.h"

#pragma GCC poison exit abort

enum {
    REQUESTS_MAX = 64,           /* open at once, a client */
    READ_BYTES = 16384,          /* a turn, a client: none starves the others */
    OUT_PAUSE_BYTES = 256 << 10, /* answers waiting: read no more requests until they are fetched */
    OUT_MAX_BYTES = 2 * MESSAGE_REPLY_BYTES, /* answers waiting: drop the client */
    DRAIN_BYTES = 8 << 20 /* read and forgotten after a refusal, so that it can be read */
};
static const int64_t DRAIN_NS = 1000000000, STUCK_NS = 30000000000;

struct Session {
    Sessions *all;
    Session *next, **prior;
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
    Session *session; /* NULL: gone */
    Request *next, **prior;
    json_t *args;
};

static void process(Session *session);

/* ---- lifetimes ---- */

static void on_session_closed(uv_handle_t *handle)
{
    Session *session = handle->data;
    Sessions *all = session->all;
    close(session->fd);
    buf_done(&session->in);
    buf_done(&session->out);
    free(session);
    all->closed(all);
}

static void session_drop(Session *session)
{
    if (session->dead)
        return;
    session->dead = 1;
    for (Request *r = session->requests; r; r = r->next)
        r->session = NULL;
    session->requests = NULL;
    *session->prior = session->next;
    if (session->next)
        session->next->prior = session->prior;
    session->all->count--;
    /* The other side learns it now, not when the loop gets round to closing. */
    shutdown(session->fd, SHUT_RDWR);
    uv_close((uv_handle_t *)&session->poll, on_session_closed);
}

static Request *request_new(Session *session, json_t *args)
{
    Request *request = calloc(1, sizeof *request);
    if (!request)
        return NULL;
    *request = (Request){.session = session, .args = args, .next = session->requests};
    request->prior = &session->requests;
    if (request->next)
        request->next->prior = &request->next;
    session->requests = request;
    session->open_requests++;
    return request;
}

static void request_end(Request *request)
{
    if (request->session) {
        request->session->open_requests--;
        *request->prior = request->next;
        if (request->next)
            request->next->prior = request->prior;
    }
    json_decref(request->args);
    free(request);
}

/* ---- one client's turn ---- */

static void on_ready(uv_poll_t *poll, int status, int events);
/* Waits for what can go on now, and ends the client when nothing can. */
static void session_settle(Session *session)
{
    if (session->dead)
        return;
    int busy = session->open_requests >= REQUESTS_MAX || session->out.bytes >= OUT_PAUSE_BYTES;
    int events = 0;
    if (!session->eof && (session->refused || !busy))
        events |= UV_READABLE;
    if (session->out.bytes)
        events |= UV_WRITABLE;
    if (session->eof && !session->out.bytes && (session->refused || !session->open_requests)) {
        session_drop(session);
        return;
    }
    if (session->out.bytes || session->refused)
        session->all->slow(session->all);
    if (events == session->events)
        return;
    session->events = events;
    if (events)
        uv_poll_start(&session->poll, events, on_ready);
    else
        uv_poll_stop(&session->poll);
}

static void session_write(Session *session)
{
    size_t sent = 0;
    while (!session->dead && sent < session->out.bytes) {
        ssize_t n = send(session->fd, session->out.data + sent, session->out.bytes - sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            session_drop(session);
            return;
        }
        sent += (size_t)n;
    }
    if (sent) {
        buf_drop(&session->out, sent);
        session->moved_ns = clock_now_ns();
    }
    if (session->out.bytes > OUT_MAX_BYTES)
        session_drop(session);
    else if (session->refused && !session->out.bytes)
        shutdown(session->fd, SHUT_WR);
}

static void answer(Session *session, const json_t *id, const json_t *result, int code,
                   const char *text)
{
    if (!session->out.bytes)
        session->moved_ns = clock_now_ns();
    int failed = result ? message_add_result(&session->out, id, result)
                        : message_add_error(&session->out, id, code, text);
    if (failed == KEEL_ELIMIT)
        failed = message_add_error(&session->out, id, KEEL_ELIMIT,
                                   "the answer is too large: ask for less at once");
    if (failed)
        session_drop(session);
    else
        session_write(session);
}

/* The last thing that this client hears. What it still sends is read for a while: closing over
 * unread bytes would take the answer away from it. */
static void refuse(Session *session, int code, const char *text)
{
    for (Request *r = session->requests; r; r = r->next)
        r->session = NULL;
    session->requests = NULL;
    session->open_requests = 0;
    session->refused = 1;
    session->drained = session->in.bytes;
    session->in.bytes = 0;
    answer(session, NULL, NULL, code, text);
    session->moved_ns = clock_now_ns();
}

static const Command *find_command(const Sessions *all, const char *name)
{
    for (const Command *c = all->commands; c && c->name; c++)
        if (!strcmp(c->name, name))
            return c;
    return NULL;
}

static json_t *help(const Sessions *all)
{
    json_t *list = json_array();
    for (const Command *c = all->commands; c && c->name; c++)
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "name", c->name, "help", c->help ? c->help : ""));
    return json_pack("{s:o}", "commands", list);
}

static void run_line(Session *session, const char *line, size_t bytes)
{
    Error err = {0};
    json_t *args;
    if (message_parse(line, bytes, &args, &err)) {
        answer(session, NULL, NULL, err.code, err.text);
        return;
    }
    Request *request = request_new(session, args);
    if (!request) {
        json_decref(args);
        session_drop(session);
        return;
    }
    const char *name = json_string_value(json_object_get(args, "cmd"));
    const Command *command = name ? find_command(session->all, name) : NULL;
    if (command)
        command->run(request, session->all->user);
    else if (!name)
        request_fail(request, KEEL_EPROTOCOL, "the request has no \"cmd\" with a command's name");
    else if (!strcmp(name, "help"))
        request_reply(request, help(session->all));
    else
        request_fail(request, KEEL_ENOTFOUND, "there is no command '%.60s': \"help\" lists them",
                     name);
}

static int is_blank(const char *line, size_t bytes)
{
    return strspn(line, " \t\r") >= bytes;
}

static void process(Session *session)
{
    if (session->processing || session->refused)
        return;
    session->processing = 1;
    size_t start = 0;
    while (!session->dead && !session->refused && session->open_requests < REQUESTS_MAX &&
           session->out.bytes < OUT_PAUSE_BYTES && start < session->in.bytes) {
        char *line = session->in.data + start;
        size_t left = session->in.bytes - start;
        size_t skip = session->scanned < left ? session->scanned : left;
        char *end = memchr(line + skip, '\n', left - skip);
        size_t bytes = end ? (size_t)(end - line) : left;
        session->scanned = 0;
        if (bytes > MESSAGE_LINE_BYTES) {
            start = 0;
            refuse(session, KEEL_ELIMIT, "a request has at most 65,536 bytes in one line");
            break;
        }
        if (!end && !session->eof) {
            session->scanned = left;
            break;
        }
        /* One byte behind the line is the buffer's: its newline, or the end's. */
        start += bytes + (end != NULL);
        if (!end)
            buf_text(&session->in), line = session->in.data + session->in.bytes - bytes;
        if (bytes && !is_blank(line, bytes))
            run_line(session, line, bytes);
    }
    if (!session->dead)
        buf_drop(&session->in, start);
    session->processing = 0;
}

static void session_read(Session *session)
{
    static _Thread_local char piece[READ_BYTES];
    ssize_t n = recv(session->fd, piece, sizeof piece, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        session_drop(session);
    } else if (n == 0) {
        session->eof = 1;
        struct pollfd fd = {.fd = session->fd};
        /* Only half closed: it still waits for its answers. */
        if (session->refused || (poll(&fd, 1, 0) > 0 && fd.revents & (POLLHUP | POLLERR)))
            session_drop(session);
    } else if (session->refused) {
        session->drained += (size_t)n;
        if (session->drained > DRAIN_BYTES)
            session_drop(session);
    } else if (buf_add(&session->in, piece, (size_t)n)) {
        session_drop(session);
    }
}

static void on_ready(uv_poll_t *poll_handle, int status, int events)
{
    Session *session = poll_handle->data;
    if (status < 0) {
        session_drop(session);
        return;
    }
    if (events & UV_WRITABLE)
        session_write(session);
    if (!session->dead && events & UV_READABLE)
        session_read(session);
    if (!session->dead)
        process(session);
    session_settle(session);
}

/* ---- all of them ---- */

int session_new(Sessions *all, uv_loop_t *uv, int fd)
{
    Session *session = calloc(1, sizeof *session);
    if (!session || uv_poll_init(uv, &session->poll, fd)) {
        free(session);
        return KEEL_ENOMEM;
    }
    session->all = all;
    session->fd = fd;
    session->poll.data = session;
    session->next = all->first;
    session->prior = &all->first;
    if (session->next)
        session->next->prior = &session->next;
    all->first = session;
    all->count++;
    session_settle(session);
    return 0;
}

int sessions_sweep(Sessions *all)
{
    int64_t now_ns = clock_now_ns();
    int slow = 0;
    for (Session *session = all->first, *next; session; session = next) {
        next = session->next;
        int64_t limit_ns = session->refused ? DRAIN_NS : STUCK_NS;
        if (!session->refused && !session->out.bytes)
            continue;
        if (now_ns - session->moved_ns > limit_ns)
            session_drop(session);
        else
            slow = 1;
    }
    return slow;
}

void sessions_close(Sessions *all)
{
    for (Session *session = all->first, *next; session; session = next) {
        next = session->next;
        session_write(session); /* what it can still take now: the answer to "quit" */
        session_drop(session);
    }
}

/* ---- answers ---- */

const json_t *request_args(const Request *request)
{
    return request->args;
}

int request_gone(const Request *request)
{
    return !request->session;
}

/* Later answers make room for what the client has sent meanwhile. */
static void finish(Request *request, const json_t *result, int code, const char *text)
{
    Session *session = request->session;
    json_t *id = json_incref(json_object_get(request->args, "id"));
    request_end(request);
    if (session) {
        answer(session, id, result, code, text);
        if (!session->dead && !session->processing) {
            process(session);
            session_settle(session);
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
