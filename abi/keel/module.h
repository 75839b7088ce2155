/* Keel ABI 1.0: how a module presents itself: one table, one note.
 *
 *     KEEL_MODULE("ball", "1.0", KEEL_ON(start, my_start) KEEL_ON(frame, my_frame))
 *
 * KEEL_MODULE stands once, at file scope, in one source file of the module. It defines the table
 * `keel_module`, the only exported symbol, and a note that the host reads from the file before any
 * of the module's code runs. Neither macro takes a semicolon. KEEL_NEEDS("keel.task/1") names a
 * service without which the module can't live; a host that lacks it refuses the image. */
#ifndef KEEL_MODULE_H
#define KEEL_MODULE_H

#include "context.h"

KEEL_BEGIN

/* Byte streams for state that no rule can carry over. Lent for the call. */
struct keel_writer {
    uint32_t size;
    uint32_t version; /* set by save; handed to restore */
    void *host;
    int32_t (*write)(struct keel_writer *w, const void *data, uint64_t bytes);
};

struct keel_reader {
    uint32_t size;
    uint32_t version; /* what save set */
    void *host;
    uint64_t left; /* bytes not read yet */
    /* All of `bytes` or nothing: KEEL_EDATA when fewer are left. */
    int32_t (*read)(struct keel_reader *r, void *data, uint64_t bytes);
};

/* One piece of work on a host's worker thread. Lent for the call. */
struct keel_work {
    uint32_t size;
    uint32_t op; /* what to do, as the module numbered it in keel_task_start */
    uint64_t tag;
    const void *input; /* the host's copy of what keel_task_start was given */
    uint64_t input_bytes;
    void *host;
    /* Sets the result's bytes (copied). The last call counts. */
    int32_t (*give)(struct keel_work *w, const void *data, uint64_t bytes);
    /* Nonzero once nobody waits for the result any more: stop soon. */
    int32_t (*cancelled)(const struct keel_work *w);
};

/* The module's table. Absent entries are NULL; one of frame and event must be there. */
struct keel_module {
    uint32_t size;
    uint32_t abi;
    const char *name;
    const char *version;

    /* Once, when the slot is new and has no state. Nonzero refuses. [frame] */
    int32_t (*start)(keel *k);
    /* Once a frame, after the frame's events. [frame] */
    void (*frame)(keel *k, const struct keel_frame *f);
    /* Once an event. [frame] */
    void (*event)(keel *k, const struct keel_event *e);
    /* Before the slot is closed for good (not at a swap). [frame] */
    void (*stop)(keel *k);
    /* Writes what the next generation needs where types changed. Nonzero refuses the swap. [frame]
     */
    int32_t (*save)(keel *k, struct keel_writer *w);
    /* Builds the state anew, in an empty arena, from what save wrote. Nonzero refuses. [frame] */
    int32_t (*restore)(keel *k, struct keel_reader *r);
    /* Work that keel_task_start asked for. It has no access to state. The result is the event's
     * `result`. [worker] */
    int32_t (*work)(struct keel_work *w);
    /* Since 1.1. In a handover (KEEL_MODE_SHADOW), after each frame: 0 when the state is as it should be. With
     * it the states of the two generations needn't be equal. [frame] */
    int32_t (*check)(keel *k);
};

#define KEEL_NOTE_OWNER "Keel"
#define KEEL_NOTE_MODULE 1u /* desc: uint32 abi, uint32 table size, name\0, version\0 */
#define KEEL_NOTE_NEEDS 2u  /* desc: a service's id\0 */
#define KEEL_SYMBOL "keel_module"

KEEL_END

#if defined(__APPLE__)
#define KEEL_NOTE_SECTION "__TEXT,__keel_note"
#else
#define KEEL_NOTE_SECTION ".note.keel"
#endif
#define KEEL_NOTE_PLACE __attribute__((used, aligned(4), section(KEEL_NOTE_SECTION)))

/* Note words are 4 bytes, name and contents padded to 4: the gABI's form. */
#define KEEL_NOTE_HEAD_            \
    uint32_t namesz, descsz, type; \
    char owner[8]

#define KEEL_NOTE_(module_name, module_version)                                       \
    static const struct {                                                             \
        KEEL_NOTE_HEAD_;                                                              \
        uint32_t abi, table_size;                                                     \
        char name[sizeof(module_name)];                                               \
        char version[sizeof(module_version)];                                         \
    } keel_note_ KEEL_NOTE_PLACE = {sizeof(KEEL_NOTE_OWNER),                          \
                                    8 + sizeof(module_name) + sizeof(module_version), \
                                    KEEL_NOTE_MODULE,                                 \
                                    KEEL_NOTE_OWNER,                                  \
                                    KEEL_ABI,                                         \
                                    sizeof(struct keel_module),                       \
                                    module_name,                                      \
                                    module_version};

#ifdef __cplusplus
#define KEEL_ON(entry, function) m.entry = function;
#define KEEL_TABLE_(module_name, module_version, ...)                     \
    static constexpr struct keel_module keel_make_module_()               \
    {                                                                     \
        struct keel_module m = {sizeof(struct keel_module),               \
                                KEEL_ABI,                                 \
                                module_name,                              \
                                module_version,                           \
                                nullptr,                                  \
                                nullptr,                                  \
                                nullptr,                                  \
                                nullptr,                                  \
                                nullptr,                                  \
                                nullptr,                                  \
                                nullptr,                                  \
                                nullptr};                                 \
        __VA_ARGS__ return m;                                             \
    }                                                                     \
    extern "C" {                                                          \
    extern const struct keel_module keel_module KEEL_EXPORT;              \
    const struct keel_module keel_module KEEL_KEPT = keel_make_module_(); \
    }
#else
#define KEEL_ON(entry, function) .entry = function,
#define KEEL_TABLE_(module_name, module_version, ...)                                     \
    extern const struct keel_module keel_module KEEL_EXPORT;                              \
    const struct keel_module keel_module KEEL_KEPT = {.size = sizeof(struct keel_module), \
                                                      .abi = KEEL_ABI,                    \
                                                      .name = module_name,                \
                                                      .version = module_version,          \
                                                      __VA_ARGS__};
#endif

#define KEEL_MODULE(module_name, module_version, ...)                 \
    KEEL_NOTE_(module_name, module_version)                           \
    KEEL_TABLE_(module_name, module_version, __VA_ARGS__)             \
    KEEL_ASSERT(sizeof(module_name) > 1 && sizeof(module_name) <= 64, \
                "a module's name has 1 to 63 bytes");

#define KEEL_PASTE2_(a, b) a##b
#define KEEL_PASTE_(a, b) KEEL_PASTE2_(a, b)
#define KEEL_NEEDS_(variable, service)                                                       \
    static const struct {                                                                    \
        KEEL_NOTE_HEAD_;                                                                     \
        char id[sizeof(service)];                                                            \
    } variable KEEL_NOTE_PLACE = {sizeof(KEEL_NOTE_OWNER), sizeof(service), KEEL_NOTE_NEEDS, \
                                  KEEL_NOTE_OWNER, service};
#define KEEL_NEEDS(service) KEEL_NEEDS_(KEEL_PASTE_(keel_needs_, __COUNTER__), service)

#endif
