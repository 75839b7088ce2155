/* Keel ABI 1.0: what a module's source says of its types and their changes, for the rules that
 * carry the state over and for whoever shows it. All of it stands at file scope, takes no
 * semicolon, may stay as long as one likes, and costs nothing at run time: it is data in the file's
 * notes.
 *
 *     KEEL_RENAMED(struct order, price, limit_price)
 *
 * says that the field `limit_price` is what was `price` in the build before.
 *
 *     KEEL_UNION(struct shape, as, kind, KEEL_WHEN(CIRCLE, circle) KEEL_WHEN(BOX, box))
 *
 * says which member of the union `as` in a struct shape counts: `circle` where the struct's field
 * `kind` is CIRCLE. The tag is an integer, an enum, a bool or a bit field; several values may mean
 * one member. A union without a name is written as nothing: KEEL_UNION(struct shape, , kind, …).
 * One whose members all begin with the tag is named itself: KEEL_UNION(union event, , type, …). */
#ifndef KEEL_CHANGE_H
#define KEEL_CHANGE_H

#include "module.h"

#define KEEL_NOTE_RENAMED 3u /* desc: type\0, old name\0, new name\0 */

#define KEEL_RENAMED_(variable, type_, from_, to_)                             \
    static const struct {                                                      \
        KEEL_NOTE_HEAD_;                                                       \
        char of[sizeof(type_)], from[sizeof(from_)], to[sizeof(to_)];          \
    } variable KEEL_NOTE_PLACE = {sizeof(KEEL_NOTE_OWNER),                     \
                                  sizeof(type_) + sizeof(from_) + sizeof(to_), \
                                  KEEL_NOTE_RENAMED,                           \
                                  KEEL_NOTE_OWNER,                             \
                                  type_,                                       \
                                  from_,                                       \
                                  to_};
#define KEEL_RENAMED(type, old_field, new_field) \
    KEEL_RENAMED_(KEEL_PASTE_(keel_renamed_, __COUNTER__), #type, #old_field, #new_field)

/* desc: uint32 number of cases, the cases, then type\0, union\0, tag\0 */
#define KEEL_NOTE_UNION 4u

/* One value of the tag, and the member that counts then. */
struct keel_when {
    uint32_t value_low, value_high; /* of an int64: notes are aligned to 4 */
    char member[56];
};

#define KEEL_WHEN(value, member) \
    {(uint32_t)(int64_t)(value), (uint32_t)((uint64_t)(int64_t)(value) >> 32), #member},
#define KEEL_UNION_(list, note, type_, union_, tag_, ...)                                       \
    static const struct keel_when list[] __attribute__((unused)) = {__VA_ARGS__};               \
    static const struct {                                                                       \
        KEEL_NOTE_HEAD_;                                                                        \
        uint32_t count;                                                                         \
        struct keel_when cases[sizeof(list) / sizeof(struct keel_when)];                        \
        char of[sizeof(type_)], in[sizeof(union_)], tag[sizeof(tag_)];                          \
    } note KEEL_NOTE_PLACE = {sizeof(KEEL_NOTE_OWNER),                                          \
                              4 + sizeof(list) + sizeof(type_) + sizeof(union_) + sizeof(tag_), \
                              KEEL_NOTE_UNION,                                                  \
                              KEEL_NOTE_OWNER,                                                  \
                              sizeof(list) / sizeof(struct keel_when),                          \
                              {__VA_ARGS__},                                                    \
                              type_,                                                            \
                              union_,                                                           \
                              tag_};
#define KEEL_UNION(type, union_field, tag_field, ...)                                         \
    KEEL_UNION_(KEEL_PASTE_(keel_cases_, __COUNTER__), KEEL_PASTE_(keel_union_, __COUNTER__), \
                #type, #union_field, #tag_field, __VA_ARGS__)

#endif
