/* The notes of an image: its build id and what Keel's macros wrote. Owns nothing; bytes of unknown
 * origin; any thread. */
#include <elf.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <keel/module.h>

#include "image/parts.h"

enum { NOTES_MAX = 1024, BUILD_ID_MAX = 32, MODULE_HEAD_BYTES = 8 };

/* A name that may be shown and be part of a path. */
static int is_name(const char *text)
{
    if (!*text)
        return 0;
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 127 || *text == '/')
            return 0;
    return 1;
}

/* Copies the string at `*at` and steps over its NUL. 0: unterminated or longer than `room`. */
static int take_text(const uint8_t **at, const uint8_t *end, char *ret, size_t room)
{
    size_t left = (size_t)(end - *at);
    size_t length = strnlen((const char *)*at, left < room ? left : room);
    if (length == left || length == room)
        return 0;
    memcpy(ret, *at, length + 1);
    *at += length + 1;
    return 1;
}

static int read_module(Image *image, const uint8_t *at, uint32_t bytes, NotesFound *found,
                       Error *err)
{
    const uint8_t *end = at + bytes;
    char name[IMAGE_NAME_BYTES], version[IMAGE_NAME_BYTES];
    uint32_t abi, table_bytes;
    if (bytes < MODULE_HEAD_BYTES)
        return err_set(err, KEEL_EIMAGE, "its Keel note is damaged: build it again");
    memcpy(&abi, at, sizeof abi);
    memcpy(&table_bytes, at + sizeof abi, sizeof table_bytes);
    at += MODULE_HEAD_BYTES;
    if (!take_text(&at, end, name, sizeof name) || !take_text(&at, end, version, sizeof version))
        return err_set(err, KEEL_EIMAGE,
                       "its Keel note is damaged (a name or version of more than 63 bytes, or cut "
                       "off): build it again");
    if (!is_name(name) || (*version && !is_name(version)))
        return err_set(err, KEEL_EIMAGE,
                       "its Keel note holds a name or version that is empty or not plain text: "
                       "correct the KEEL_MODULE line");
    if (found->modules++)
        return err_set(
            err, KEEL_EIMAGE,
            "it has several Keel notes (\"%s\" and \"%s\"): KEEL_MODULE must stand in one "
            "source file only",
            image->name, name);
    image->abi = abi;
    image->table_bytes = table_bytes;
    memcpy(image->name, name, sizeof name);
    memcpy(image->version, version, sizeof version);
    return KEEL_OK;
}

static int read_need(Image *image, const uint8_t *at, uint32_t bytes, Error *err)
{
    const uint8_t *end = at + bytes;
    char id[IMAGE_NAME_BYTES];
    if (!take_text(&at, end, id, sizeof id) || !*id)
        return err_set(err, KEEL_EIMAGE, "a KEEL_NEEDS note is damaged: build it again");
    for (const char *c = id; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == 127)
            return err_set(err, KEEL_EIMAGE,
                           "a KEEL_NEEDS line names a service that is not plain text: correct it");
    for (int i = 0; i < image->needs_count; i++)
        if (!strcmp(image->needs[i], id))
            return KEEL_OK;
    if (image->needs_count == IMAGE_NEEDS_MAX)
        return err_set(err, KEEL_EIMAGE, "it needs more than %d services: remove KEEL_NEEDS lines",
                       IMAGE_NEEDS_MAX);
    memcpy(image->needs[image->needs_count++], id, sizeof id);
    return KEEL_OK;
}

static void read_build_id(Image *image, const uint8_t *at, uint32_t bytes)
{
    if (*image->build_id || bytes > BUILD_ID_MAX)
        return;
    for (uint32_t i = 0; i < bytes; i++)
        snprintf(image->build_id + 2 * i, 3, "%02x", at[i]);
}

static int read_one(Image *image, const Elf64_Nhdr *head, const uint8_t *owner,
                    const uint8_t *contents, NotesFound *found, Error *err)
{
    if (head->n_namesz == sizeof "GNU" && !memcmp(owner, "GNU", sizeof "GNU") &&
        head->n_type == NT_GNU_BUILD_ID)
        read_build_id(image, contents, head->n_descsz);
    if (head->n_namesz != sizeof KEEL_NOTE_OWNER ||
        memcmp(owner, KEEL_NOTE_OWNER, sizeof KEEL_NOTE_OWNER))
        return KEEL_OK;
    if (head->n_type == KEEL_NOTE_MODULE)
        return read_module(image, contents, head->n_descsz, found, err);
    if (head->n_type == KEEL_NOTE_NEEDS)
        return read_need(image, contents, head->n_descsz, err);
    return KEEL_OK; /* of a later minor: what matters to us comes through abi and table size */
}

int notes_read(Image *image, uint64_t offset, uint64_t bytes, unsigned align, NotesFound *found,
               Error *err)
{
    uint64_t at = 0;
    while (bytes - at >= sizeof(Elf64_Nhdr)) {
        const uint8_t *note = image->data + offset + at;
        Elf64_Nhdr head;
        memcpy(&head, note, sizeof head);
        if (!head.n_namesz) { /* padding between objects, in words: a note of ours has an owner */
            at += 4;
            continue;
        }
        uint64_t contents = (sizeof head + head.n_namesz + (align - 1ull)) & ~(align - 1ull);
        uint64_t next = (contents + head.n_descsz + (align - 1ull)) & ~(align - 1ull);
        uint64_t left = bytes - at;
        if (contents > left || head.n_descsz > left - contents)
            return err_set(err, KEEL_EIMAGE,
                           "its notes are damaged (one reaches past its segment): build it again");
        if (++found->notes > NOTES_MAX)
            return err_set(err, KEEL_EIMAGE, "it has more than %d notes", NOTES_MAX);
        int rc = read_one(image, &head, note + sizeof head, note + contents, found, err);
        if (rc)
            return rc;
        if (next >= left)
            break;
        at += next;
    }
    return KEEL_OK;
}
