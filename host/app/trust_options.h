/* The options --trust and --trust-state, for commands that open a host. Main thread. */
#ifndef APP_TRUST_OPTIONS_H
#define APP_TRUST_OPTIONS_H

#include <keel/host.h>

enum { TRUST_KEYS = 64 };

typedef struct TrustOptions {
    const char *keys[TRUST_KEYS];
    uint32_t count; /* given; those above TRUST_KEYS are not kept */
    const char *state;
} TrustOptions;

#define TRUST_OPTION                          \
    {                                         \
        "trust", required_argument, NULL, 'T' \
    }
#define TRUST_STATE_OPTION                          \
    {                                               \
        "trust-state", required_argument, NULL, 'S' \
    }
#define TRUST_HELP                                                                        \
    "  --trust PUB        run only builds that this public key signed (keel manifest);\n" \
    "                     several keys: give it several times\n"                          \
    "  --trust-state FILE where the highest counter of each module is kept\n"             \
    "                     (~/.local/state/keel/trust)\n"

/* Takes 'T' or 'S'. */
void trust_option(TrustOptions *trust, int option, const char *value);

/* Into the host's options; `trust` must outlive keel_host_open. 0 after a sentence on stderr. */
int trust_apply(const TrustOptions *trust, const char *command, struct keel_host_options *options);

#endif
