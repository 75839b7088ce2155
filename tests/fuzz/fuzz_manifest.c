/* Fuzzes what reads manifests: the frame, the signature's check, and both JSON objects as if the
 * signature had fitted. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* What was believed can be said again. */
static void check_again(const ManifestFacts *facts)
{
    Buf text = {0};
    Manifest again;
    if (manifest_make(facts, NULL, NULL, 0, &text, NULL))
        return;
    if (manifest_take(text.data, text.bytes, &again, NULL) || manifest_parse(&again, NULL) ||
        memcmp(&again.facts, facts, sizeof *facts) != 0)
        abort();
    manifest_done(&again);
    buf_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static const PublicKey KEY = {{1, 2, 3}};
    Manifest m;
    Error err = {0};
    if (manifest_take(data, bytes, &m, &err)) {
        if (!*err.text || err.code >= 0)
            abort();
        return 0;
    }
    if (m.signed_bytes > m.bytes || m.signature_count > MANIFEST_SIGNATURES)
        abort();
    if (!manifest_verify(&m, &KEY, 1, &err)) /* nobody has its private half */
        abort();
    if (!manifest_parse(&m, &err))
        check_again(&m.facts);
    Buf packed = {0};
    Anatomy anatomy;
    if (!manifest_anatomy(&m, &packed, &err) &&
        anatomy_check(packed.data, packed.bytes, &anatomy, &err))
        abort();
    buf_done(&packed);
    manifest_done(&m);
    return 0;
}
