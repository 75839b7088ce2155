/* What two images differ in outside of their code: the note, libraries, symbols. Pure; any
 * thread. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "image/compare.h"

typedef struct Teller {
    FactTeller *tell;
    void *user;
    int matter; /* facts that change what the module does */
} Teller;

__attribute__((format(printf, 4, 5))) static void fact(Teller *t, char sign, const char *topic,
                                                       const char *format, ...)
{
    char text[FACT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    t->matter += strcmp(topic, "compiler") != 0; /* another one with the same code is no other */
    if (t->tell)
        t->tell(t->user, sign, topic, text);
}

static uint32_t shown(const InspectList *list)
{
    return list->count < INSPECT_LIST ? list->count : INSPECT_LIST;
}

/* Lists cross a process boundary: an item may lack its end. */
static int has(const InspectList *list, const char *item)
{
    for (uint32_t i = 0; i < shown(list); i++)
        if (!strncmp(list->item[i], item, INSPECT_TEXT - 1))
            return 1;
    return 0;
}

static void compare_lists(Teller *t, const char *topic, const InspectList *old,
                          const InspectList *new_)
{
    for (uint32_t i = 0; i < shown(old); i++)
        if (new_->count <= INSPECT_LIST && !has(new_, old->item[i]))
            fact(t, '-', topic, "%.*s", INSPECT_TEXT - 1, old->item[i]);
    for (uint32_t i = 0; i < shown(new_); i++)
        if (old->count <= INSPECT_LIST && !has(old, new_->item[i]))
            fact(t, '+', topic, "%.*s", INSPECT_TEXT - 1, new_->item[i]);
    if (old->count != new_->count && (old->count > INSPECT_LIST || new_->count > INSPECT_LIST))
        fact(t, '~', topic, "%u → %u", old->count, new_->count);
}

static int needs(const Image *image, const char *service)
{
    for (int i = 0; i < image->needs_count; i++)
        if (!strcmp(image->needs[i], service))
            return 1;
    return 0;
}

int compare_notes(const Image *old, const Image *new_, FactTeller *tell, void *user)
{
    Teller t = {tell, user, 0};
    if (strcmp(old->name, new_->name))
        fact(&t, '~', "module", "%s → %s", old->name, new_->name);
    if (strcmp(old->version, new_->version))
        fact(&t, '~', "version", "%s → %s", old->version, new_->version);
    if (old->abi != new_->abi || old->table_bytes != new_->table_bytes)
        fact(&t, '~', "ABI", "%u.%u, table of %u bytes → %u.%u, table of %u bytes", old->abi >> 16,
             old->abi & 0xffff, old->table_bytes, new_->abi >> 16, new_->abi & 0xffff,
             new_->table_bytes);
    for (int i = 0; i < old->needs_count; i++)
        if (!needs(new_, old->needs[i]))
            fact(&t, '-', "service", "%s", old->needs[i]);
    for (int i = 0; i < new_->needs_count; i++)
        if (!needs(old, new_->needs[i]))
            fact(&t, '+', "service", "%s", new_->needs[i]);
    return t.matter;
}

int compare_inspections(const Inspection *old, const Inspection *new_, FactTeller *tell, void *user)
{
    Teller t = {tell, user, 0};
    compare_lists(&t, "library", &old->needed, &new_->needed);
    compare_lists(&t, "export", &old->exported, &new_->exported);
    compare_lists(&t, "import", &old->undefined, &new_->undefined);
    if (strncmp(old->compiler, new_->compiler, sizeof old->compiler - 1))
        fact(&t, '~', "compiler", "%.*s → %.*s", 100, old->compiler, 100, new_->compiler);
    if (strncmp(old->runpath, new_->runpath, sizeof old->runpath - 1))
        fact(&t, '~', "search path", "\"%.100s\" → \"%.100s\"", old->runpath, new_->runpath);
    if (old->tls_bytes != new_->tls_bytes)
        fact(&t, '~', "thread-local", "%u → %u bytes a thread", old->tls_bytes, new_->tls_bytes);
    return t.matter;
}
