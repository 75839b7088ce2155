/* Recognises Mach-O, so that a module built on a Mac is refused by its name. Owns nothing; any
 * thread. */
#include <string.h>

#include "image/parts.h"

enum { CPU_X86_64 = 0x01000007, CPU_ARM64 = 0x0100000c };

int macho_refuse(const uint8_t *data, size_t bytes, Error *err)
{
    uint32_t word[2] = {0};
    if (bytes < sizeof word)
        return KEEL_OK;
    memcpy(word, data, sizeof word);
    switch (word[0]) {
    case 0xfeedfacfu: /* 64-bit, this byte order */
        return err_set(err, KEEL_EUNSUPPORTED,
                       "it is a Mach-O file for macOS on %s: this host runs Linux: build it here",
                       word[1] == CPU_X86_64  ? "x86-64"
                       : word[1] == CPU_ARM64 ? "arm64"
                                              : "another processor");
    case 0xfeedfaceu:
    case 0xcefaedfeu:
    case 0xcffaedfeu:
        return err_set(err, KEEL_EUNSUPPORTED,
                       "it is a Mach-O file, 32-bit or of another byte order: build it here");
    case 0xbebafecau: /* universal: big-endian on disk; Java classes share it */
        if (data[4] == 0 && data[5] == 0 && data[6] == 0 && data[7] < 20)
            return err_set(
                err, KEEL_EUNSUPPORTED,
                "it is a universal Mach-O file for macOS: this host runs Linux: build it "
                "here");
        return err_set(err, KEEL_EIMAGE, "it is a Java class, not a built module");
    default:
        return KEEL_OK;
    }
}
