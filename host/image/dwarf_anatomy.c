/* An image's anatomy: debug information first, since it tells numbered statics apart, then
 * fingerprints. Owns what it reads for the call; one thread. */
#include "image/anatomy_read.h"

#include <stdlib.h>
#include <string.h>

#include "image/dwarf_parts.h"
#include "image/dwarf_read.h"
#include "image/macho_fingerprint.h"

static int by_address_owner(const void *a, const void *b)
{
    const Owner *x = a, *y = b;
    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return (x->function < y->function) - (x->function > y->function); /* owned ones first */
}

static int by_address_line(const void *a, const void *b)
{
    const Line *x = a, *y = b;
    return (x->address > y->address) - (x->address < y->address);
}

static size_t sort(Buf *list, size_t size, int (*order)(const void *, const void *))
{
    size_t count = list->bytes / size;
    if (count)
        qsort(list->data, count, size, order);
    return count;
}

/* From the debug information. */
static int read_sources(Reader *r, Reuse *reuse, Owners *ret_owners, Lines *ret_lines, Error *err)
{
    AnatomyMaker *maker = r->maker;
    if (reuse && reuse->debug_from)
        return reuse_take(reuse, maker, ret_owners, ret_lines);
    if (r->dies->has_debug) /* what can't be read of it is missing, not an error */
        maker->flags |= ANATOMY_DEBUG | (r->dies->is_broken ? ANATOMY_DEBUG_BROKEN : 0);
    if (r->dies->has_debug && dwarf_read_units(r))
        return err_set(err, r->failed, "no memory for its debug information");
    *ret_owners = (Owners){.count = sort(&r->owners, sizeof(Owner), by_address_owner)};
    *ret_lines = (Lines){.count = sort(&r->lines, sizeof(Line), by_address_line)};
    ret_owners->list = (const Owner *)r->owners.data;
    ret_lines->list = (const Line *)r->lines.data;
    return KEEL_OK;
}

int anatomy_read_with(const void *data, size_t bytes, Dies *dies, Reuse *reuse, void *ret,
                      size_t room, size_t *ret_bytes, Error *err)
{
    AnatomyMaker maker = {0};
    if (macho_is(data, bytes)) {
        int bad = macho_fingerprint(data, bytes, &maker, err);
        bad = bad ? bad : anatomy_pack(&maker, ret, room, ret_bytes, err);
        anatomy_maker_done(&maker);
        return bad;
    }
    Reader r = {.maker = &maker, .dies = dies};
    Owners owners = {0};
    Lines lines = {0};
    int rc = read_sources(&r, reuse, &owners, &lines, err);
    if (!rc && reuse && reuse_keep(reuse, &maker, &owners, &lines))
        rc = err_set(err, KEEL_ENOMEM, "no memory for its debug information");
    rc = rc ? rc
            : fingerprint_bytes(data, bytes, &owners, &lines, reuse ? &reuse->fingerprints : NULL,
                                &maker, err);
    if (!rc && reuse && reuse_keep_fingerprints(reuse))
        rc = err_set(err, KEEL_ENOMEM, "no memory for its fingerprints");
    rc = rc ? rc : anatomy_pack(&maker, ret, room, ret_bytes, err);
    if (rc && reuse) /* without an anatomy they are sources of nothing */
        reuse_done(reuse);
    types_done(&r.types);
    buf_done(&r.owners);
    buf_done(&r.lines);
    buf_done(&r.found);
    buf_done(&r.later);
    anatomy_maker_done(&maker);
    return rc;
}

int anatomy_read(const void *data, size_t bytes, void *ret, size_t room, size_t *ret_bytes,
                 Error *err)
{
    Dies dies;
    int rc = dies_open(data, bytes, &dies);
    if (rc)
        return err_set(err, rc, "its debug information is more than can be read");
    rc = anatomy_read_with(data, bytes, &dies, NULL, ret, room, ret_bytes, err);
    dies_done(&dies);
    return rc;
}
