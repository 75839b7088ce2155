/* Keys as files and as one line. A private key is a PEM file that only its owner can read; a public
 * one is a PEM file beside it, or the text ed25519:<64 hexadecimal digits>, which is also its name
 * everywhere. Blocks on the disk; any thread. */
#ifndef BASE_KEYFILE_H
#define BASE_KEYFILE_H

#include "base/crypto.h"

enum { PUBLIC_KEY_TEXT_BYTES = 73, PUBLIC_KEY_BRIEF_BYTES = 21 };

/* Makes a new pair: `path`, 0600, and `path`.pub. Neither may exist, not even as a link. */
int keyfile_make(const char *path, PublicKey *ret, Error *err);

/* The private key in a file. `*ret_loose` is 1 when others than its owner may read it. */
int keyfile_read_private(const char *path, SigningKey **ret, int *ret_loose, Error *err);

/* `given` is the one-line form, or a file that holds it or a public PEM. A private key is refused
 * here, since it has no business where keys are trusted. */
int keyfile_read_public(const char *given, PublicKey *ret, Error *err);

/* As keyfile_read_public, but takes the public half of a private key as well. */
int keyfile_read_any(const char *path, PublicKey *ret, int *ret_private, Error *err);

const char *public_key_text(const PublicKey *key, char text[PUBLIC_KEY_TEXT_BYTES]);
/* Its beginning, enough to tell keys apart in a sentence. */
const char *public_key_brief(const PublicKey *key, char text[PUBLIC_KEY_BRIEF_BYTES]);

#endif
