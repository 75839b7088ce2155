/* The types of a module, for looking at its state: read from its debug information in a child of
 * its own. Main thread. */
#ifndef APP_STATE_TYPES_H
#define APP_STATE_TYPES_H

#include "app/apart.h"
#include "image/image.h"
#include "image/schema.h"
#include "state/frozen.h"

typedef struct StateTypes {
    int there; /* 0: nothing is known */
    Schema schema;
    Apart apart;
} StateTypes;

/* KEEL_ENOTFOUND: the image has no debug information. */
int state_types_read(const Image *image, StateTypes *ret, Error *err);
/* Of the image that ran when the snapshot was written: `module` if not NULL (also another build,
 * then `*ret_other` is 1), else as the snapshot has them, else the file of then if it still is
 * that. The snapshot must stay. */
int state_types_of(const Snapshot *snapshot, const char *module, StateTypes *ret, int *ret_other,
                   Error *err);
void state_types_done(StateTypes *types);

/* The type of one of the object's elements: 1; 0 when it isn't known, or its size is another. */
int state_types_find(const StateTypes *types, const FrozenObject *object, uint32_t *ret_type);

#endif
