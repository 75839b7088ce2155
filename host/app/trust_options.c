/* Whom a host trusts, as given on the command line. Owns nothing; main thread. */
#include "app/trust_options.h"

#include <stdio.h>

#include "base/crypto.h"

void trust_option(TrustOptions *trust, int option, const char *value)
{
    if (option == 'S') {
        trust->state = value;
        return;
    }
    if (trust->count < TRUST_KEYS)
        trust->keys[trust->count] = value;
    trust->count++;
}

int trust_apply(const TrustOptions *trust, const char *command, struct keel_host_options *options)
{
    if (trust->count > TRUST_KEYS) {
        fprintf(stderr, "keel %s: at most %d keys are trusted\n", command, TRUST_KEYS);
        return 0;
    }
    if (trust->state && !trust->count) {
        fprintf(stderr, "keel %s: --trust-state says nothing without --trust PUB\n", command);
        return 0;
    }
    if (trust->count)
        crypto_ignore_config();
    options->trust_keys = trust->keys;
    options->trust_key_count = trust->count;
    options->trust_state = trust->state;
    return 1;
}
