/* See the header. Owns the schemas for the call. */
#include "app/replay_carry.h"

#include <string.h>
#include <sys/mman.h>

#include "state/migrate.h"

#define ROOM ((size_t)256 << 20) /* only taken as it is filled */

typedef struct Read {
    void *room;
    Schema schema;
} Read;

static int read_schema(const Generation *g, Read *ret, Error *err)
{
    size_t bytes;
    ret->room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (ret->room == MAP_FAILED) {
        ret->room = NULL;
        return err_set(err, KEEL_ENOMEM, "no memory for the types of %s", g->image->name);
    }
    int rc = schema_read(g->image->data, g->image->bytes, ret->room, ROOM, &bytes, err);
    return rc ? rc : schema_check(ret->room, bytes, &ret->schema, err);
}

static MigratePlace place_of(const Generation *g)
{
    return (MigratePlace){g->load_first, g->load_last, g->load_bias};
}

int replay_carry(State *state, const Generation *from, const Generation *to, Error *err)
{
    Read before = {0}, now = {0};
    Migration *migration = NULL;
    MigrateResult result;
    MigrateRun run = {.from = place_of(from), .to = place_of(to)};
    int rc = read_schema(from, &before, err);
    rc = rc ? rc : read_schema(to, &now, err);
    rc = rc ? rc : migration_new(&before.schema, &now.schema, &migration, err);
    if (!rc)
        rc = migration_run(migration, state, &run, &result, err);
    migration_free(migration);
    if (before.room)
        munmap(before.room, ROOM);
    if (now.room)
        munmap(now.room, ROOM);
    return rc == KEEL_ETYPE ? rc : KEEL_OK;
}
