/* Fuzzes the deep look: the dynamic section by hand, the sections by libelf. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/inspect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_list(const InspectList *list)
{
    for (uint32_t i = 0; i < list->count && i < INSPECT_LIST; i++) {
        if (!memchr(list->item[i], 0, INSPECT_TEXT))
            abort();
        for (const char *c = list->item[i]; *c; c++)
            if (*c < ' ' || *c > '~')
                abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static Inspection seen;
    Error err = {0};
    if (inspect_bytes(data, bytes, &seen, &err)) {
        if (!*err.text || err.code >= 0)
            abort();
        return 0;
    }
    check_list(&seen.needed);
    check_list(&seen.undefined);
    check_list(&seen.exported);
    check_list(&seen.unique);
    err = (Error){0};
    if (inspect_refuse(&seen, &err) && !*err.text)
        abort();
    return 0;
}
