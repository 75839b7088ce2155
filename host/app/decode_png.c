/* PNG by libpng's simplified interface, which keeps its own errors. Pure. */
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "app/decode.h"

int decode_png(const void *data, size_t bytes, AssetWire *wire, void **ret_content, Error *err)
{
    static const unsigned char signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    if (bytes < sizeof signature || memcmp(data, signature, sizeof signature))
        return err_set(err, KEEL_EDATA, "it is no PNG picture");
    png_image image = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_memory(&image, data, bytes))
        return err_set(err, KEEL_EDATA, "it is no whole PNG picture (%.63s)", image.message);
    int rc = KEEL_OK;
    void *content = NULL;
    uint64_t size = (uint64_t)image.width * image.height * 4;
    if (image.width > ASSET_SIDE_MOST || image.height > ASSET_SIDE_MOST ||
        size > ASSET_CONTENT_MOST) {
        rc = err_set(err, KEEL_ELIMIT,
                     "it has %u x %u pixels; %d a side and %d million in all can be shown",
                     image.width, image.height, ASSET_SIDE_MOST, (ASSET_CONTENT_MOST >> 20) / 4);
        goto out;
    }
    image.format = PNG_FORMAT_RGBA;
    content = malloc((size_t)size);
    if (!content)
        rc = err_set(err, KEEL_ENOMEM, "no memory for its %u x %u pixels", image.width,
                     image.height);
    else if (!png_image_finish_read(&image, NULL, content, 0, NULL))
        rc = err_set(err, KEEL_EDATA, "it is damaged or cut short (%.63s)", image.message);
    if (!rc) {
        wire->width = image.width;
        wire->height = image.height;
        wire->bytes = size;
        *ret_content = content;
        content = NULL;
    }
out:
    free(content);
    png_image_free(&image);
    return rc;
}
