/* Calls into a generation for a migration. Owns nothing. */
#include "swap/converting.h"

static int call(void *user, int32_t (*body)(void *user, keel *k), void *body_user, Error *err)
{
    const Converting *converting = user;
    Fault fault = {0};
    if (slot_convert(converting->slot, converting->generation, body, body_user, &fault) ==
        FAULT_NONE)
        return KEEL_OK;
    if (converting->recover)
        converting->recover(converting->slot, &fault);
    return err_set(err, KEEL_EREFUSED, "%s", fault.text);
}

void converting_use(Converting *converting, MigrateRun *run)
{
    run->converters.count = generation_converters(converting->generation, &run->converters.list);
    run->call = call;
    run->call_user = converting;
}
