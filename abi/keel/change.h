/* Keel ABI 1.0: what a module's source says of its changes, for the rules that carry the state
 * over.
 *
 *     KEEL_RENAMED(struct order, price, limit_price)
 *
 * says that the field `limit_price` is what was `price` in the build before. It stands at file
 * scope, takes no semicolon, may stay as long as one likes, and costs nothing at run time. */
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

#endif
