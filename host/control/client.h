/* The other end of the control socket: blocking, with time limits. For `keel ctl` and tests.
 *
 * One thread at a time. Owns its descriptor. */
#ifndef CONTROL_CLIENT_H
#define CONTROL_CLIENT_H

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

typedef struct Client Client;

/* `name_or_path` as for server_new. KEEL_ENOTFOUND: no host listens there; KEEL_EDENIED: another
 * user's. */
int client_open(const char *name_or_path, int64_t timeout_ns, Client **ret, Error *err);
void client_close(Client *client); /* NULL is fine */

/* Sends {"cmd": cmd, …args} and waits for its answer. `args` is borrowed, an object or NULL. 0 with
 * `*ret_result` (the caller's reference); the host's own error with its code and text;
 * KEEL_ETIMEOUT, KEEL_EIO, KEEL_EPROTOCOL when there was no answer: client_answered tells them
 * apart. */
int client_call(Client *client, const char *cmd, const json_t *args, int64_t timeout_ns,
                json_t **ret_result, Error *err);

/* Nonzero when the last client_call ended with an answer of the host, good or bad. */
int client_answered(const Client *client);

#endif
