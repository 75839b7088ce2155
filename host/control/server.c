/* The control socket's server: accepts clients or says why not, looks after the slow ones.
 *
 * Owns the endpoint and the list of sessions; its memory lives until the last handle is closed.
 * All on the loop thread but server_new and server_free. */
#include "control/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "control/endpoint.h"
#include "control/message.h"
#include "control/session.h"

#pragma GCC poison exit abort

enum { CLIENTS_MAX = 64, SWEEP_MS = 250 };

struct Server {
    Loop *loop;
    Endpoint endpoint;
    Sessions sessions;
    uv_poll_t listener;
    uv_timer_t sweep; /* runs only while somebody is slow */
    int handles;      /* not closed yet */
    int closing;
    int deaf;     /* the listener rests: nothing could be done about a waiting client */
    int spare_fd; /* given up to refuse a client when there are no descriptors */
};

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

/* ---- the slow ---- */

static Server *server_of(Sessions *sessions)
{
    return (Server *)((char *)sessions - offsetof(Server, sessions));
}

static void on_session_closed(Sessions *sessions)
{
    handle_gone(server_of(sessions));
}

static void on_connection(uv_poll_t *listener, int status, int events);
static void on_sweep(uv_timer_t *timer);

static void sweep_later(Server *server)
{
    if (!server->closing && !uv_is_active((uv_handle_t *)&server->sweep))
        uv_timer_start(&server->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

static void on_session_slow(Sessions *sessions)
{
    sweep_later(server_of(sessions));
}

static void on_sweep(uv_timer_t *timer)
{
    Server *server = timer->data;
    if (server->deaf) {
        server->deaf = 0;
        uv_poll_start(&server->listener, UV_READABLE, on_connection);
    }
    if (!sessions_sweep(&server->sessions))
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

static void accept_one(Server *server, int fd)
{
    pid_t pid;
    uid_t uid;
    if (endpoint_peer(fd, &pid, &uid) || (uid != geteuid() && uid != 0)) {
        say_and_close(fd, KEEL_EDENIED, "this host serves only the user that it runs as");
        return;
    }
    if (server->sessions.count >= CLIENTS_MAX) {
        say_and_close(fd, KEEL_ELIMIT,
                      "64 clients are connected already: close one, then try again");
        return;
    }
    if (session_new(&server->sessions, loop_uv(server->loop), fd)) {
        say_and_close(fd, KEEL_ENOMEM, "no memory for another client");
        return;
    }
    server->handles++;
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
            accept_one(server, fd);
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
    server->sessions = (Sessions){
        .commands = commands, .user = user, .slow = on_session_slow, .closed = on_session_closed};
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
    sessions_close(&server->sessions);
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
