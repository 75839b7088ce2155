/* What keel-decode, the program that decodes pictures and sounds for a host, writes to its standard
 * output: this head, then the content. The host believes none of it unchecked. */
#ifndef HOST_ASSET_WIRE_H
#define HOST_ASSET_WIRE_H

#include <stdint.h>

enum {
    ASSET_WIRE_MAGIC = 0x4b445331,
    ASSET_FILE_MOST = 64 << 20,
    ASSET_CONTENT_MOST = 128 << 20,
    ASSET_SIDE_MOST = 8192, /* pixels */
    ASSET_RATE_LEAST = 1000,
    ASSET_RATE_MOST = 384000
};

typedef struct AssetWire {
    uint32_t magic;
    int32_t code; /* 0, or KEEL_E… with `error` */
    uint32_t width, height, channels, rate;
    uint64_t frames;
    uint64_t bytes; /* of content behind this head */
    char error[200];
} AssetWire;

#endif
