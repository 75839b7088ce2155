/* The decoders of assets on any bytes: pictures and sounds. What they give must fit what they say.
 */
#include <stdint.h>
#include <stdlib.h>

#include "app/decode_png.c"
#include "app/decode_wav.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void fits(int rc, const AssetWire *wire, void *content)
{
    if (rc ? content != NULL : !content || !wire->bytes || wire->bytes > ASSET_CONTENT_MOST)
        abort();
    volatile uint8_t last = rc ? 0 : ((uint8_t *)content)[wire->bytes - 1];
    (void)last;
    free(content);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    for (int i = 0; i < 2; i++) {
        AssetWire wire = {0};
        void *content = NULL;
        int rc = (i ? decode_wav : decode_png)(data, bytes, &wire, &content, NULL);
        fits(rc, &wire, content);
    }
    return 0;
}
