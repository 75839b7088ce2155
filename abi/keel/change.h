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
 * One whose members all begin with the tag is named itself: KEEL_UNION(union event, , type, …).
 *
 *     static int32_t order_2(keel *k, struct order *now, const struct keel_old *old)
 *     {
 *         now->cents = (int64_t)(keel_old_f64(old, "price") * 100);
 *         return 0;
 *     }
 *     KEEL_CONVERT(struct order, 2, order_2)
 *
 * says that a struct order means something else from version 2 on, and how an older one becomes
 * one. A build without such a line has version 0. Where the versions of two builds differ, every
 * struct order is first converted by the rules, wherever it lies, and then by the function of the
 * build that comes; what the rules can't convert in it is left zero. Nothing but the function runs.
 */
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

KEEL_BEGIN

/* How a field of the old object is wanted. */
enum {
    KEEL_OLD_F64 = 1,
    KEEL_OLD_I64 = 2,
    KEEL_OLD_U64 = 3,
    KEEL_OLD_TEXT = 4,
    KEEL_OLD_BYTES = 5
};

/* An object as it was before a swap, by the old build's types. Lent for the call. */
struct keel_old {
    uint32_t size;
    uint32_t version; /* of its type in the old build; 0: that said nothing */
    const void *host;
    /* The field `path` ("price", "levels[2].count") into `to`. The bytes that it has, or a negative
     * error: KEEL_ENOTFOUND, KEEL_ETYPE. [frame] */
    int64_t (*read)(const struct keel_old *old, const char *path, uint32_t as, void *to,
                    uint64_t bytes);
};

/* Numbers of any type; a field that isn't there, or is none, is 0 and refuses the swap by name. */
static inline double keel_old_f64(const struct keel_old *old, const char *path)
{
    double value = 0;
    (void)old->read(old, path, KEEL_OLD_F64, &value, sizeof value);
    return value;
}

static inline int64_t keel_old_i64(const struct keel_old *old, const char *path)
{
    int64_t value = 0;
    (void)old->read(old, path, KEEL_OLD_I64, &value, sizeof value);
    return value;
}

static inline uint64_t keel_old_u64(const struct keel_old *old, const char *path)
{
    uint64_t value = 0;
    (void)old->read(old, path, KEEL_OLD_U64, &value, sizeof value);
    return value;
}

/* A char array as text: at most bytes - 1 of it, and a 0. */
static inline void keel_old_text(const struct keel_old *old, const char *path, char *to,
                                 uint64_t bytes)
{
    (void)old->read(old, path, KEEL_OLD_TEXT, to, bytes);
}

/* The bytes as they were, at most `bytes`; how many the field has, negative when it isn't there.
 * With NULL and 0 it asks whether there is one. Pointers in them are the old ones. */
static inline int64_t keel_old_bytes(const struct keel_old *old, const char *path, void *to,
                                     uint64_t bytes)
{
    return old->read(old, path, KEEL_OLD_BYTES, to, bytes);
}

/* What KEEL_CONVERT leaves in the section keel_convert. */
struct keel_convert {
    const char *type;
    int32_t (*convert)(keel *k, void *now, const struct keel_old *old);
    uint32_t size;
    uint32_t version;
};

KEEL_END

#define KEEL_NOTE_CONVERT 5u /* desc: uint32 version, type\0 */

#if defined(__APPLE__)
#define KEEL_CONVERT_SECTION "__DATA,keel_convert"
#else
#define KEEL_CONVERT_SECTION "keel_convert"
#endif
#if defined(__has_attribute)
#if __has_attribute(retain) /* also where the linker throws away what nobody calls */
#define KEEL_CONVERT_KEPT __attribute__((used, retain, aligned(8), section(KEEL_CONVERT_SECTION)))
#endif
#endif
#ifndef KEEL_CONVERT_KEPT
#define KEEL_CONVERT_KEPT __attribute__((used, aligned(8), section(KEEL_CONVERT_SECTION)))
#endif

#define KEEL_CONVERT_(note, call, record, type, type_, version_, function)                   \
    static int32_t call(keel *k, void *now, const struct keel_old *old)                      \
    {                                                                                        \
        return function(k, (type *)now, old);                                                \
    }                                                                                        \
    static struct keel_convert record KEEL_CONVERT_KEPT = {                                  \
        type_, call, sizeof(struct keel_convert), (version_)};                               \
    static const struct {                                                                    \
        KEEL_NOTE_HEAD_;                                                                     \
        uint32_t version;                                                                    \
        char of[sizeof(type_)];                                                              \
    } note KEEL_NOTE_PLACE = {sizeof(KEEL_NOTE_OWNER), 4 + sizeof(type_), KEEL_NOTE_CONVERT, \
                              KEEL_NOTE_OWNER,         (version_),        type_};            \
    KEEL_ASSERT((version_) > 0, "a type's version is 1 or more: 0 is that of builds without one");
#define KEEL_CONVERT(type, version, function)                                                     \
    KEEL_CONVERT_(KEEL_PASTE_(keel_converts_, __COUNTER__), KEEL_PASTE_(keel_call_, __COUNTER__), \
                  KEEL_PASTE_(keel_record_, __COUNTER__), type, #type, version, function)

#endif
