/* See the header. Owns the plan for the call. */
#include "app/replay_carry.h"

#include "state/migrate.h"

typedef struct Calling {
    Slot *slot;
    Generation *generation;
} Calling;

static int call(void *user, int32_t (*body)(void *user, keel *k), void *body_user, Error *err)
{
    const Calling *calling = user;
    Fault fault = {0};
    if (slot_convert(calling->slot, calling->generation, body, body_user, &fault) == FAULT_NONE)
        return KEEL_OK;
    return err_set(err, KEEL_EREFUSED, "%s", fault.text);
}

static MigratePlace place_of(const Generation *g)
{
    return (MigratePlace){g->load_first, g->load_last, g->load_bias};
}

int replay_carry(Slot *slot, const StateTypes *from_types, const Generation *from,
                 const StateTypes *to_types, Generation *fresh, Error *err)
{
    Migration *migration = NULL;
    MigrateResult result;
    Calling calling = {slot, fresh};
    MigrateRun run = {
        .from = place_of(from), .to = place_of(fresh), .call = call, .call_user = &calling};
    if (from == fresh || !from_types->there || !to_types->there)
        return KEEL_OK;
    run.converters.count = generation_converters(fresh, &run.converters.list);
    int rc = migration_new(&from_types->schema, &to_types->schema, &migration, err);
    if (rc)
        return rc == KEEL_ETYPE ? rc : KEEL_OK;
    rc = migration_run(migration, slot->state, &run, &result, err);
    migration_free(migration);
    return rc;
}
