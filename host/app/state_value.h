/* Values of a state by type: as text, found by a path of names, and changed. Works on plain bytes
 * with a schema that was checked; every address is looked up. Main thread. */
#ifndef APP_STATE_VALUE_H
#define APP_STATE_VALUE_H

#include "app/state_types.h"
#include "base/buf.h"

/* A value in a frozen state. */
typedef struct StatePlace {
    uint64_t address; /* of its first byte, in the slot */
    const uint8_t *data;
    uint64_t bytes; /* of the type; of what is left of the allocation for arrays without length */
    uint32_t type;
    uint8_t bit, bits;  /* bits 0: no bit field */
    uint32_t holder;    /* of an anonymous part: the record whose fields its own are; 0: itself */
    uint64_t holder_at; /* where the part lies in it */
    uint32_t counts;    /* of a union whose tag is known: the field that counts + 1; 0: not known */
} StatePlace;

typedef struct StateLook {
    const Frozen *frozen;
    const StateTypes *types;
} StateLook;

/* A record's field. */
void state_value_field(const StateLook *look, const StatePlace *record, const SchemaField *f,
                       StatePlace *ret);
/* What isn't part of a record (an object, an element): finds what counts in it. */
void state_value_whole(const StateLook *look, StatePlace *place);

/* One value without parts as JSON has it: 12, -1.5, "RED", null, "0x5500…", "world+0x1234". */
void state_value_text(const StateLook *look, const StatePlace *place, Buf *out);

/* 1: record, union of which it is known what counts, array that isn't text: it has parts. */
int state_value_has_parts(const StateLook *look, const StatePlace *place);

/* "things[3].next.x": from the root, through pointers. KEEL_ENOTFOUND, KEEL_EINVAL with a sentence
 * that names what there is. An empty path is the root. */
int state_value_find(const StateLook *look, const char *path, StatePlace *ret, Error *err);

/* The value without parts that byte `offset` of the object belongs to; its name goes into `path`.
 */
int state_value_at(const StateLook *look, const FrozenObject *object, uint64_t offset,
                   StatePlace *ret, char *path, size_t room);
/* The same of a place; the path is "" where that has no parts. */
int state_value_inside(const StateLook *look, const StatePlace *whole, uint64_t offset,
                       StatePlace *ret, char *path, size_t room);

/* The bytes of the place with `text` as its value; `ret` has place->bytes. KEEL_ERANGE… as
 * KEEL_EINVAL: it doesn't fit, or isn't of this type; the sentence says what does. */
int state_value_parse(const StateLook *look, const StatePlace *place, const char *text,
                      uint8_t *ret, Error *err);

/* All of it, parts and all, as JSON or as CBOR. */
typedef struct StateWriter {
    int cbor;
    Buf *out;
} StateWriter;
int state_value_write(const StateWriter *writer, const StateLook *look, const StatePlace *place);

void state_json_string(Buf *out, const char *text, size_t bytes);

#endif
