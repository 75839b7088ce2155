/* A module's types, from its file. Owns what the child found. */
#include "app/state_types.h"

#include <string.h>

enum { ROOM = 256 << 20, IMAGE_WAIT_NS = 1000000000 };

int state_types_read(const Image *image, StateTypes *ret, Error *err)
{
    StateTypes types = {0};
    int rc = apart_run(schema_read, image->data, image->bytes, ROOM, &APART_AT_LEISURE,
                       &types.apart, err);
    if (rc == KEEL_OK) {
        rc = schema_check(types.apart.data, types.apart.bytes, &types.schema, err);
        if (rc == KEEL_OK && !(types.schema.flags & SCHEMA_HAS_DEBUG))
            rc = err_set(err, KEEL_ENOTFOUND,
                         "%s has no debug information: build it with -g, so that its state can be "
                         "told by names",
                         image->path);
        if (rc)
            apart_done(&types.apart);
    }
    if (rc)
        return rc;
    types.there = 1;
    *ret = types;
    return KEEL_OK;
}

/* What the snapshot itself says: types read when it was written, or the build that ran. */
static int of_itself(const Snapshot *s, StateTypes *ret)
{
    StateTypes types = {0};
    Error err = {0};
    if (s->schema_bytes &&
        schema_check(s->schema, s->schema_bytes, &types.schema, &err) == KEEL_OK &&
        types.schema.flags & SCHEMA_HAS_DEBUG) {
        types.there = 1;
        *ret = types;
        return 1;
    }
    Image *image = NULL;
    if (!s->image_bytes || image_of_bytes(s->image, s->image_bytes, s->info.path, &image, &err))
        return 0;
    int good = image->hash.low == s->info.image_low && image->hash.high == s->info.image_high &&
               state_types_read(image, ret, &err) == KEEL_OK;
    image_unref(image);
    return good;
}

int state_types_of(const Snapshot *snapshot, const char *module, StateTypes *ret, int *ret_other,
                   Error *err)
{
    const SnapshotInfo *info = &snapshot->info;
    const char *path = module ? module : info->path;
    Image *image;
    if (!module && of_itself(snapshot, ret))
        return KEEL_OK;
    int rc = image_load_file(path, IMAGE_WAIT_NS, &image, err);
    if (rc)
        return module ? rc : err_wrap(err, "the module that ran is not to be had");
    *ret_other = image->hash.low != info->image_low || image->hash.high != info->image_high;
    if (*ret_other && !module)
        rc = err_set(err, KEEL_ECHANGED,
                     "%s was rebuilt since the state was written: give the build that ran then, or "
                     "one of the same types, by --module",
                     path);
    else
        rc = state_types_read(image, ret, err);
    image_unref(image);
    return rc;
}

void state_types_done(StateTypes *types)
{
    if (types->there)
        apart_done(&types->apart);
    *types = (StateTypes){0};
}

int state_types_find(const StateTypes *types, const FrozenObject *object, uint32_t *ret_type)
{
    if (!types->there || !*object->type || !object->count)
        return 0;
    if (schema_find(&types->schema, object->type, object->file, ret_type) != KEEL_OK)
        return 0;
    return types->schema.types[*ret_type].bytes == object->bytes / object->count;
}
