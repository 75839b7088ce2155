/* Keys of all that a fingerprint is made from, and which of them are those of before. Owns what
 * Keep says; one thread. */
#include "image/keep.h"

#include <stdlib.h>
#include <string.h>

#include "image/handlers.h"

static int add_hash(Buf *to, const void *data, size_t bytes)
{
    const Hash hash = hash_bytes(bytes ? data : "", bytes);
    return buf_add(to, &hash, sizeof hash);
}

uint64_t keep_bit(const Symbols *s, const Section *in)
{
    size_t at = (size_t)(in - s->sections);
    return UINT64_C(1) << (at < KEPT_SECTIONS ? at : KEPT_SECTIONS - 1);
}

/* All but the bytes of sections. */
static int layout_key(const Symbols *s, const Owners *owners, Hash *ret)
{
    Buf all = {0}, list = {0};
    const uint64_t head[] = {s->machine,        s->section_count, s->count,
                             s->function_count, s->table.low,     s->table.high};
    int rc = buf_add(&all, head, sizeof head);
    for (size_t i = 1; i < s->section_count && !rc; i++) {
        const Section *in = &s->sections[i];
        if (!(in->flags & SHF_ALLOC))
            continue;
        const uint64_t more[] = {i, in->address, in->bytes, in->flags, in->type, in->data != NULL};
        rc = buf_add(&all, more, sizeof more);
        rc = rc ? rc : add_hash(&all, in->name, strlen(in->name));
        rc = rc ? rc : add_hash(&all, in->relocs, in->reloc_count * sizeof *in->relocs);
    }
    for (size_t i = 0; owners && i < owners->count && !rc; i++) {
        const uint64_t one[] = {owners->list[i].address, owners->list[i].function};
        rc = buf_add(&list, one, sizeof one);
    }
    rc = rc ? rc : add_hash(&all, list.data, list.bytes);
    if (!rc)
        *ret = hash_bytes(all.data, all.bytes);
    buf_done(&all);
    buf_done(&list);
    return rc;
}

/* Sections that share a bit have one key. 0 when there is too much of them. */
static int section_keys(const Symbols *s, uint64_t *budget, Hash *keys)
{
    for (size_t i = 1; i < s->section_count; i++) {
        const Section *in = &s->sections[i];
        if (!in->data)
            continue;
        if (in->bytes > *budget)
            return 0;
        *budget -= in->bytes;
        Hash *key = &keys[i < KEPT_SECTIONS ? i : KEPT_SECTIONS - 1];
        const Hash both[] = {*key, hash_bytes(in->data, in->bytes)};
        *key = hash_bytes(both, sizeof both);
    }
    return 1;
}

/* 0 when the functions overlap so much that reading them will be refused. */
static int function_keys(const Symbols *s, const Handlers *handlers, uint64_t *budget,
                         KeptFunction *list)
{
    for (size_t i = 0; i < s->function_count; i++) {
        const Symbol *f = &s->symbols[s->functions[i]];
        const Section *in = &s->sections[f->section];
        if (f->bytes > *budget)
            return 0;
        *budget -= f->bytes;
        const Hash code = hash_bytes(in->data + (f->address - in->address), f->bytes);
        const uint64_t table = handlers_table(handlers, f->address);
        const uint64_t both[] = {code.low, code.high, table};
        list[i].code = hash_bytes(both, sizeof both); /* in one form: bytes may say anything */
    }
    return 1;
}

/* More constants than its code could name? Each takes a relocation or a distance of four bytes. */
static int has_too_many(const Symbols *s, const KeptFunction *was, const Symbol *f)
{
    const Section *in = &s->sections[f->section];
    size_t relocs =
        symbols_relocs_from(in, f->address + f->bytes) - symbols_relocs_from(in, f->address);
    return was->target_count > relocs + f->bytes / 4;
}

static int take(const Symbols *s, const Kept *before, Keep *k)
{
    size_t count = s->function_count, target = 0;
    if (!before || before->head.function_count != count ||
        !hash_equal(before->head.layout, k->kept.head.layout))
        return KEEL_OK;
    k->taken = calloc(count + 1, 1);
    k->before_target = calloc(count + 1, sizeof *k->before_target);
    if (!k->taken || !k->before_target)
        return KEEL_ENOMEM;
    for (size_t i = 0; i < KEPT_SECTIONS; i++)
        if (!hash_equal(before->head.sections[i], k->kept.head.sections[i]))
            k->changed |= UINT64_C(1) << i;
    k->before = before;
    for (size_t i = 0; i < count; i++) {
        const KeptFunction *was = &before->functions[i];
        const Symbol *f = &s->symbols[s->functions[i]];
        k->before_target[i] = target;
        target += was->target_count;
        if (was->sections & k->changed || !hash_equal(was->code, k->list[i].code) ||
            was->bytes > f->bytes || has_too_many(s, was, f))
            continue;
        k->list[i] = *was;
        k->taken[i] = 1;
        k->count++;
    }
    return KEEL_OK;
}

int keep_open(const Symbols *s, const Handlers *handlers, const Owners *owners, const Kept *before,
              uint64_t budget, Keep *ret)
{
    Keep k = {0};
    k.list = calloc(s->function_count + 1, sizeof *k.list);
    int rc = k.list ? layout_key(s, owners, &k.kept.head.layout) : KEEL_ENOMEM;
    if (!rc && section_keys(s, &budget, k.kept.head.sections) &&
        function_keys(s, handlers, &budget, k.list)) {
        k.kept.head.function_count = (uint32_t)s->function_count;
        rc = take(s, before, &k);
    } else if (!rc) {
        keep_done(&k);
    }
    if (rc)
        keep_done(&k);
    *ret = k;
    return rc;
}

void keep_done(Keep *k)
{
    free(k->list);
    free(k->taken);
    free(k->before_target);
    buf_done(&k->targets);
    *k = (Keep){0};
}

const uint64_t *keep_targets(const Keep *k, size_t nth, uint32_t *ret_count)
{
    *ret_count = k->before->functions[nth].target_count;
    return k->before->targets + k->before_target[nth];
}

int keep_pack(const Keep *k, Buf *to)
{
    KeptHead head = k->kept.head;
    head.target_count = (uint32_t)(k->targets.bytes / sizeof(uint64_t));
    int rc = buf_add(to, &head, sizeof head);
    if (!rc && head.function_count)
        rc = buf_add(to, k->list, head.function_count * sizeof *k->list);
    return !rc && k->targets.bytes ? buf_add(to, k->targets.data, k->targets.bytes) : rc;
}

int kept_check(const void *data, size_t bytes, Kept *ret)
{
    Kept kept;
    uint64_t targets = 0;
    if (bytes < sizeof kept.head)
        return -1;
    memcpy(&kept.head, data, sizeof kept.head);
    if (bytes != kept_bytes(&kept.head))
        return -1;
    kept.functions = (const KeptFunction *)(const void *)((const char *)data + sizeof kept.head);
    kept.targets = (const uint64_t *)(const void *)(kept.functions + kept.head.function_count);
    for (uint32_t i = 0; i < kept.head.function_count; i++)
        targets += kept.functions[i].target_count;
    if (targets != kept.head.target_count)
        return -1;
    *ret = kept;
    return 0;
}
