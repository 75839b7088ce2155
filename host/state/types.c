/* The type table: (spelling, file, size, alignment) → id. It lies in the arena, so that an undo
 * takes back types that only an undone frame used, and a snapshot carries them. [frame] */
#include <string.h>

#include "state/internal.h"

enum { TYPES_FIRST = 64, TYPES_MAX = 1 << 20, TEXT_MOST = 4096 };

static uint64_t mix(uint64_t hash, const void *data, size_t bytes)
{
    const uint8_t *b = data; /* FNV-1a */
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ b[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static int in_arena(const State *state, uint64_t address, uint64_t bytes)
{
    uint64_t base = (uintptr_t)state->base;
    return address >= base && bytes <= state->max_bytes &&
           address - base <= state->max_bytes - bytes;
}

static int table_sound(const State *state)
{
    const ArenaHead *head = arena_head(state);
    return head->type_room <= TYPES_MAX && (head->type_room & (head->type_room - 1)) == 0 &&
           head->type_count <= head->type_room && head->types % 16 == 0 &&
           head->type_index % 16 == 0 &&
           in_arena(state, head->types, (uint64_t)head->type_room * sizeof(TypeRecord)) &&
           in_arena(state, head->type_index, (uint64_t)head->type_room * 8);
}

uint32_t type_count(const State *state)
{
    uint32_t count = arena_head(state)->type_count;
    return count && table_sound(state) ? count : 0;
}

const TypeRecord *type_record(const State *state, uint32_t id)
{
    const ArenaHead *head = arena_head(state);
    if (id == TYPE_OPAQUE || id > head->type_count || !table_sound(state))
        return NULL;
    const TypeRecord *record = (TypeRecord *)(uintptr_t)head->types + (id - 1);
    return record->spelling_bytes <= TEXT_MOST &&
                   in_arena(state, record->text, record->spelling_bytes + 1)
               ? record
               : NULL;
}

int type_texts(const State *state, const TypeRecord *record, const char **ret_spelling,
               const char **ret_file)
{
    const char *spelling = (const char *)(uintptr_t)record->text;
    const char *file = spelling + record->spelling_bytes + 1;
    uint64_t left = (uintptr_t)state->base + state->max_bytes - (uintptr_t)file;
    if (file[-1] || !memchr(file, 0, left <= TEXT_MOST ? left : TEXT_MOST + 1))
        return 0;
    *ret_spelling = spelling;
    *ret_file = file;
    return 1;
}

/* 0: no place is free, which half of them are where nobody wrote into the table. */
static int index_put(uint32_t *table, uint32_t places, uint64_t hash, uint32_t id)
{
    uint32_t at = (uint32_t)hash & (places - 1);
    for (uint32_t n = 0; n < places; n++, at = (at + 1) & (places - 1))
        if (!table[at]) {
            table[at] = id;
            return 1;
        }
    return 0;
}

static int table_grow(State *state)
{
    ArenaHead *head = arena_head(state);
    uint32_t room = head->type_room ? head->type_room * 2 : TYPES_FIRST;
    if (room > TYPES_MAX)
        return KEEL_ELIMIT;
    TypeRecord *records =
        heap_take(state, room * sizeof *records, 16, TYPE_INTERNAL, room * sizeof *records, 1);
    uint32_t *index =
        heap_take(state, (uint64_t)room * 8, 16, TYPE_INTERNAL, (uint64_t)room * 8, 1);
    if (!records || !index)
        return KEEL_ENOMEM; /* what one of them took stays taken: the arena is full anyhow */
    if (head->type_count)
        memcpy(records, (void *)(uintptr_t)head->types, head->type_count * sizeof *records);
    for (uint32_t i = 0; i < head->type_count; i++)
        index_put(index, room * 2, records[i].hash, i + 1);
    /* The old tables stay: types are few, and doubling wastes no more than the last one. */
    head->types = (uintptr_t)records;
    head->type_index = (uintptr_t)index;
    head->type_room = room;
    return 0;
}

int type_find(State *state, const char *spelling, const char *file, uint64_t bytes, uint64_t align,
              uint32_t *ret_id)
{
    ArenaHead *head = arena_head(state);
    if (!spelling || align == 0 || (align & (align - 1)) != 0 || align > UINT32_MAX)
        return KEEL_EINVAL;
    if (!file)
        file = "";
    size_t spelling_bytes = strlen(spelling), file_bytes = strlen(file);
    if (spelling_bytes > TEXT_MOST || file_bytes > TEXT_MOST)
        return KEEL_EINVAL;
    uint64_t key[2] = {bytes, align};
    uint64_t hash = mix(UINT64_C(0xcbf29ce484222325), spelling, spelling_bytes + 1);
    hash = mix(mix(hash, file, file_bytes + 1), key, sizeof key);
    hash ^= hash >> 32;
    if ((head->type_room || head->type_count) && !table_sound(state)) {
        heap_damaged(head, "the type table");
        return KEEL_EDATA;
    }
    if (head->type_room) {
        const uint32_t *index = (uint32_t *)(uintptr_t)head->type_index;
        uint32_t places = head->type_room * 2;
        for (uint32_t n = 0, at = (uint32_t)hash & (places - 1); n < places && index[at];
             n++, at = (at + 1) & (places - 1)) {
            const TypeRecord *record = type_record(state, index[at]);
            if (record && record->hash == hash && record->bytes == bytes &&
                record->align == align && record->spelling_bytes == spelling_bytes &&
                in_arena(state, record->text, spelling_bytes + file_bytes + 2) &&
                memcmp((void *)(uintptr_t)record->text, spelling, spelling_bytes + 1) == 0 &&
                memcmp((char *)(uintptr_t)record->text + spelling_bytes + 1, file,
                       file_bytes + 1) == 0) {
                *ret_id = index[at];
                return 0;
            }
        }
    }
    if (head->type_count == head->type_room) {
        int code = table_grow(state);
        if (code != 0)
            return code;
    }
    uint64_t text_bytes = spelling_bytes + file_bytes + 2;
    char *text = heap_take(state, text_bytes, 16, TYPE_INTERNAL, text_bytes, 0);
    if (!text)
        return KEEL_ENOMEM;
    memcpy(text, spelling, spelling_bytes + 1);
    memcpy(text + spelling_bytes + 1, file, file_bytes + 1);
    TypeRecord *record = (TypeRecord *)(uintptr_t)head->types + head->type_count;
    *record = (TypeRecord){.hash = hash,
                           .bytes = bytes,
                           .text = (uintptr_t)text,
                           .align = (uint32_t)align,
                           .spelling_bytes = (uint32_t)spelling_bytes};
    uint32_t id = head->type_count + 1;
    if (!index_put((uint32_t *)(uintptr_t)head->type_index, head->type_room * 2, hash, id)) {
        heap_damaged(head, "the type table");
        return KEEL_EDATA;
    }
    head->type_count = id;
    *ret_id = id;
    return 0;
}

int state_root(State *state, const char *type, const char *file, uint64_t bytes, uint64_t align,
               void **ret_root, Error *err)
{
    ArenaHead *head = arena_head(state);
    if (head->root) {
        void *root = (void *)(uintptr_t)head->root;
        uint64_t room;
        const ObjectHead *object = heap_find(state, root, &room);
        const TypeRecord *is = object ? type_record(state, object->type) : NULL;
        if (!is)
            return err_set(err, KEEL_EDATA, "the root of the state is damaged");
        const char *spelling, *in_file;
        if (!type_texts(state, is, &spelling, &in_file))
            return err_set(err, KEEL_EDATA, "the types of the state are damaged");
        if (is->bytes != bytes || is->align != align || strcmp(spelling, type) != 0)
            return err_set(err, KEEL_ETYPE,
                           "the state's root is a `%s` of %llu bytes (alignment %u), the code asks "
                           "for a `%s` of %llu bytes (alignment %llu): give the module save and "
                           "restore, or start with fresh state",
                           spelling, (unsigned long long)is->bytes, is->align, type,
                           (unsigned long long)bytes, (unsigned long long)align);
        *ret_root = root;
        return 0;
    }
    void *root = state_alloc(state, type, file, bytes, align, 1);
    if (!root)
        return err_set(err, KEEL_ENOMEM, "no room in the state for a root `%s` of %llu bytes", type,
                       (unsigned long long)bytes);
    head->root = (uintptr_t)root;
    *ret_root = root;
    return 0;
}
