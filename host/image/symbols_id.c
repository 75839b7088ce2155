/* Identities of symbols: the author's name, the source file of a local one, the enclosing function
 * of a numbered static, and the rank among those that are still alike. Owns nothing; one thread. */
#include "image/symbols_parts.h"

#include <stdlib.h>
#include <string.h>

#include "image/names.h"

typedef struct Key {
    Hash base; /* the author's name in its unit: what makes a group */
    Hash part; /* with the part's or the owner's name */
    uint32_t symbol;
} Key;

typedef struct Text {
    char name[NAME_MOST];
    uint64_t more[3];
} Text;

static Hash key_of(Text *text, size_t length, const Symbols *s, const Symbol *symbol,
                   uint64_t owner)
{
    const Unit *unit = &s->units[symbol->unit];
    Hash in = {0};
    if (symbol->unit)
        in = hash_bytes(unit->name, strlen(unit->name));
    const uint64_t more[] = {in.low, unit->same_before, owner ^ symbol->kind};
    memcpy(text->name + length, more, sizeof more);
    return hash_bytes(text->name, length + sizeof more);
}

static uint64_t owner_of(const Owners *owners, uint64_t address)
{
    size_t low = 0, high = owners ? owners->count : 0;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (owners->list[middle].address < address)
            low = middle + 1;
        else
            high = middle;
    }
    return owners && low < owners->count && owners->list[low].address == address
               ? owners->list[low].function
               : 0;
}

/* What no user declared by this name, or can't tell by name, and never changes: known by its bytes.
 */
static int known_by_content(const Symbols *s, const Symbol *symbol, int numbered)
{
    const Section *in = &s->sections[symbol->section];
    if (!symbol->is_local || symbol->kind != SYMBOL_OBJECT || !in->data)
        return 0;
    if (name_is_label(symbol->name))
        return 1;
    int constant = !(in->flags & SHF_WRITE) || !strncmp(in->name, ".data.rel.ro", 12);
    return constant &&
           (numbered || !strncmp(symbol->name, "__const.", 8) ||
            !strncmp(symbol->name, "switch.table.", 13) || !strncmp(symbol->name, "reltable.", 9));
}

static void name_symbol(Symbols *s, Symbol *symbol, const Owners *owners, Text *text, Key *key)
{
    size_t n;
    if (symbol->kind == SYMBOL_FUNCTION) {
        n = name_of_function(symbol->name, text->name);
        size_t whole = strlen(text->name);
        key->part = key_of(text, whole, s, symbol, 1);
        key->base = n == whole ? key->part : key_of(text, n, s, symbol, 1);
    } else {
        int numbered = 0;
        n = symbol->is_local ? name_of_object(symbol->name, &numbered)
                             : strnlen(symbol->name, NAME_MOST - 1);
        memcpy(text->name, symbol->name, n);
        symbol->by_content = (uint8_t)known_by_content(s, symbol, numbered);
        uint64_t owner = numbered ? owner_of(owners, symbol->address) : 0;
        key->base = key->part = key_of(text, n, s, symbol, owner);
    }
    symbol->base = (uint16_t)n;
    symbol->part = key->part;
}

static int compare_hash(Hash a, Hash b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    return a.low != b.low ? a.low < b.low ? -1 : 1 : 0;
}

typedef struct Sorted {
    Key key;
    const char *name;
    uint32_t length, main;
} Sorted;

/* Groups together, the function itself before its parts, `.9` before `.10`. */
static int by_key(const void *a, const void *b)
{
    const Sorted *x = a, *y = b;
    int order = compare_hash(x->key.base, y->key.base);
    order = order ? order : (int)y->main - (int)x->main;
    order = order ? order : compare_hash(x->key.part, y->key.part);
    if (!order && x->length != y->length)
        order = x->length < y->length ? -1 : 1;
    order = order ? order : strcmp(x->name, y->name);
    return order ? order : (x->key.symbol > y->key.symbol) - (x->key.symbol < y->key.symbol);
}

static void rank(Symbols *s, const Sorted *list, size_t count)
{
    uint32_t mains = 0, nth = 0, first_group = s->group_count;
    for (size_t i = 0; i < count; i++) {
        const Sorted *x = &list[i], *before = i ? x - 1 : NULL;
        Symbol *symbol = &s->symbols[x->key.symbol];
        if (!before || compare_hash(before->key.base, x->key.base)) {
            mains = 0;
            first_group = s->group_count;
        }
        int same = before && !compare_hash(before->key.part, x->key.part);
        nth = same ? nth + 1 : 0;
        mains += x->main;
        symbol->rank = nth;
        /* Parts of several functions of one name follow their function when each has as many. */
        symbol->group = first_group + (mains > 1 && nth < mains ? nth : 0);
        if (symbol->group >= s->group_count)
            s->group_count = symbol->group + 1;
        const uint64_t bits[] = {x->key.part.low, x->key.part.high, nth};
        symbol->id = hash_bytes(bits, sizeof bits);
    }
}

static int has_main(const Sorted *list, size_t count, Hash base)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_hash(list[middle].key.base, base) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && !compare_hash(list[low].key.base, base) && list[low].main;
}

/* Parts of a function that other files see are local to its file, it is not: they are its parts if
 * their file has no function of that name to itself. `list` is sorted and is sorted again. */
static int adopt_parts(const Symbols *s, Sorted *list, size_t count, Text *text)
{
    size_t adopted = 0;
    Hash *bases = malloc((count + 1) * sizeof *bases);
    if (!bases)
        return KEEL_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const Symbol *symbol = &s->symbols[list[i].key.symbol];
        bases[i] = list[i].key.base;
        if (list[i].main || !symbol->unit || symbol->kind != SYMBOL_FUNCTION ||
            has_main(list, count, list[i].key.base))
            continue;
        Symbol shared = *symbol;
        shared.unit = 0;
        memcpy(text->name, symbol->name, symbol->base);
        Hash base = key_of(text, symbol->base, s, &shared, 1);
        if (has_main(list, count, base)) {
            bases[i] = base;
            adopted++;
        }
    }
    for (size_t i = 0; i < count; i++)
        list[i].key.base = bases[i];
    free(bases);
    if (adopted)
        qsort(list, count, sizeof *list, by_key);
    return KEEL_OK;
}

int symbols_identify(Symbols *s, const Owners *owners)
{
    size_t most = s->function_count + s->object_count + s->thread_count, n = 0;
    Sorted *list = malloc((most + 1) * sizeof *list);
    Text *text = malloc(sizeof *text);
    int rc = list && text ? KEEL_OK : KEEL_ENOMEM;
    for (size_t i = 0; !rc && i < s->count; i++) {
        Symbol *symbol = &s->symbols[i];
        if (symbol->kind == SYMBOL_OTHER) {
            if (!symbol->is_section)
                symbol->id = hash_bytes(symbol->name, strlen(symbol->name));
            continue;
        }
        Sorted *to = &list[n++];
        to->key.symbol = (uint32_t)i;
        name_symbol(s, symbol, owners, text, &to->key);
        to->name = symbol->name;
        to->length = (uint32_t)strnlen(symbol->name, NAME_MOST);
        to->main = !compare_hash(to->key.base, to->key.part);
    }
    if (!rc && n) {
        qsort(list, n, sizeof *list, by_key);
        rc = adopt_parts(s, list, n, text);
        if (!rc)
            rank(s, list, n);
    }
    free(list);
    free(text);
    return rc;
}
