/* Fuzzes all that reads Mach-O: load commands, symbols, both kinds of fixups, code, the note. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/anatomy.h"
#include "image/inspect.h"
#include "image/macho_fingerprint.h"
#include "image/parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { ROOM = 8 << 20 };

static void check_list(const InspectList *list)
{
    for (uint32_t i = 0; i < list->count && i < INSPECT_LIST; i++)
        if (!memchr(list->item[i], 0, INSPECT_TEXT))
            abort();
}

static void look(const uint8_t *data, size_t bytes)
{
    static Inspection seen;
    Error err = {0};
    if (!inspect_bytes(data, bytes, &seen, &err)) {
        check_list(&seen.needed);
        check_list(&seen.exported);
        check_list(&seen.undefined);
        if (!memchr(seen.runpath, 0, sizeof seen.runpath))
            abort();
    } else if (!*err.text || err.code >= 0) {
        abort();
    }
    Image image = {.data = data, .bytes = bytes};
    err = (Error){0};
    if (image_read_macho(&image, &err) && !*err.text)
        abort();
}

static void take_apart(const uint8_t *data, size_t bytes)
{
    AnatomyMaker maker = {0};
    Error err = {0};
    int rc = macho_fingerprint(data, bytes, &maker, &err);
    if (rc && (!*err.text || rc >= 0))
        abort();
    static char packed[ROOM];
    size_t used = 0;
    Anatomy anatomy;
    if (!rc && !anatomy_pack(&maker, packed, ROOM, &used, &err) &&
        anatomy_check(packed, used, &anatomy, &err))
        abort();
    anatomy_maker_done(&maker);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    Error err = {0};
    if (!macho_is(data, bytes)) {
        if (macho_refuse(data, bytes, &err) && !*err.text)
            abort();
        return 0;
    }
    if (!macho_refuse(data, bytes, &err) && bytes >= 8)
        abort();
    look(data, bytes);
    take_apart(data, bytes);
    return 0;
}
