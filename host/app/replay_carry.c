/* See the header. Owns the plan for the call. */
#include "app/replay_carry.h"

#include "swap/converting.h"

int replay_carry(Slot *slot, const StateTypes *from_types, const Generation *from,
                 const StateTypes *to_types, Generation *fresh, Error *err)
{
    Migration *migration = NULL;
    MigrateResult result;
    Converting converting = {.slot = slot, .generation = fresh};
    MigrateRun run = {.from = converting_place(from), .to = converting_place(fresh)};
    if (from == fresh || !from_types->there || !to_types->there)
        return KEEL_OK;
    converting_use(&converting, &run);
    int rc = migration_new(&from_types->schema, &to_types->schema, &migration, err);
    if (rc)
        return rc == KEEL_ETYPE ? rc : KEEL_OK;
    rc = migration_run(migration, slot->state, &run, &result, err);
    migration_free(migration);
    return rc;
}
