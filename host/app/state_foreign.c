/* See the header. Owns nothing but while it looks. */
#include "app/state_foreign.h"

#include "app/state_types.h"
#include "state/outward.h"

int state_foreign_check(const char *file, Error *err)
{
    Frozen *frozen = NULL;
    StateTypes types = {0};
    Outward outward = {0};
    int other;
    int rc = frozen_open(file, &frozen, err);
    if (rc == KEEL_OK && state_types_of(frozen_snapshot(frozen), NULL, &types, &other, NULL) == 0)
        outward_find(frozen, &types.schema, &outward);
    state_types_done(&types);
    frozen_free(frozen);
    if (!outward.pointers)
        return rc;
    char text[700];
    outward_text(&outward, text, sizeof text);
    return err_set(err, KEEL_EREFUSED,
                   "%s: what they point at is only in the running process; --foreign writes it all "
                   "the same",
                   text);
}
