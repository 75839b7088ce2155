/* What a module's table must be, whoever loaded it. Owns nothing. Any thread. */
#include <string.h>

#include "module/loader.h"

int table_check(const struct keel_module *table, const Image *image, Error *err)
{
    const char *path = image->path;
    if (table->size < offsetof(struct keel_module, frame) + sizeof table->frame)
        return err_set(err, KEEL_EABI,
                       "%s: its table has %u bytes, too few to hold frame: rebuild it with "
                       "KEEL_MODULE of this host's headers",
                       path, table->size);
    if (table->size != image->table_bytes || table->abi != image->abi)
        return err_set(err, KEEL_EABI,
                       "%s: its table (%u bytes, ABI %u.%u) and its note (%u bytes, ABI %u.%u) "
                       "differ: it was put together from builds of different headers: rebuild it "
                       "whole",
                       path, table->size, table->abi >> 16, table->abi & 0xffff, image->table_bytes,
                       image->abi >> 16, image->abi & 0xffff);
    if (strncmp(table->name, image->name, IMAGE_NAME_BYTES) != 0 ||
        strncmp(table->version, image->version, IMAGE_NAME_BYTES) != 0)
        return err_set(err, KEEL_EIMAGE,
                       "%s: its table says %.63s %.63s and its note says %s %s: rebuild it whole",
                       path, table->name, table->version, image->name, image->version);
    int has_event = KEEL_HAS(table, event) && table->event;
    if (!table->frame && !has_event)
        return err_set(err, KEEL_EIMAGE,
                       "%s has neither frame nor event, so it would never run: give KEEL_MODULE "
                       "one of them with KEEL_ON",
                       path);
    return KEEL_OK;
}
