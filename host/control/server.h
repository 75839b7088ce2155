/* The control socket: a Unix stream socket on the engine loop that answers one JSON object a line.
 *
 *     → {"id": 7, "cmd": "status"}
 *     ← {"id": 7, "ok": true, "result": {…}}
 *     ← {"id": 7, "ok": false, "error": {"code": "EBUSY", "text": "…"}}
 *
 * `id` comes back as it was given, whatever it is. Requests of one client may be answered out of
 * order. The socket is 0600 and serves only processes of the same user. Everything that comes in is
 * hostile: lines are at most 64 KiB, clients at most 64, open requests 64 a client; a client that
 * doesn't read its answers is dropped.
 *
 * Owns the socket's file and its lock. Never calls into slots or frames: commands do. Thread:
 * server_new and server_free anywhere but in a frame call; the rest, and all commands, on the loop
 * thread. */
#ifndef CONTROL_SERVER_H
#define CONTROL_SERVER_H

#include <jansson.h>

#include "base/err.h"
#include "loop/loop.h"

typedef struct Server Server;
typedef struct Request Request;

/* `run` answers by request_reply or request_fail, once, at once or later. */
typedef struct Command {
    const char *name;
    const char *help; /* one line */
    void (*run)(Request *request, void *user);
} Command;

/* `name_or_path`: a path when it has a '/', else the name of the host; NULL is "default".
 * `commands` ends with a NULL name and outlives the server. "help" is answered by the server
 * itself. KEEL_EBUSY when a live host has the socket: the sentence names its pid. A dead host's
 * socket is replaced. */
int server_new(Loop *loop, const char *name_or_path, const Command *commands, void *user,
               Server **ret, Error *err);

/* Closes every client and removes the socket if it is still this server's own. Requests that are
 * not answered yet stay valid: answering them later does nothing. NULL is fine. */
void server_free(Server *server);
const char *server_path(const Server *server);

/* The whole request object; valid until it is answered. */
const json_t *request_args(const Request *request);

/* Both end the request; a client that has gone meanwhile is fine. `result` is stolen; NULL is {}.
 */
void request_reply(Request *request, json_t *result);
void request_fail(Request *request, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Nonzero once the client has gone or the server is closing: for commands that answer much later.
 */
int request_gone(const Request *request);

#endif
