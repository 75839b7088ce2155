/* Inside image/: what the code and the data of an image refer to, and bytes with every such place
 * replaced by what it refers to. Bytes of unknown origin; one thread. */
#ifndef IMAGE_RELOCS_H
#define IMAGE_RELOCS_H

#include "base/buf.h"
#include "image/keep.h"
#include "image/symbols.h"

/* One place in a function that names something else. */
typedef struct Ref {
    uint64_t target; /* an address; of REF_SYMBOL the offset from it */
    uint32_t at;     /* offset in the function */
    uint32_t symbol; /* of the relocation; 0: the assembler had resolved it */
    uint8_t kind, width, load_bytes, is_address;
} Ref;

enum {
    REF_SYMBOL, /* something with a name */
    REF_PLACE,  /* an address in this image */
    REF_THREAD, /* an offset in the thread's block */
    REF_MODULE, /* the thread's block itself */
    REF_LINE,   /* a number that is only a line of the source */
};

/* A run of Refs per function symbol. */
typedef struct Refs {
    Ref *list;
    size_t count, room;
    uint32_t *first; /* by position in Symbols.functions, one more at the end */
    uint32_t *bytes; /* of the function, without the padding behind */
} Refs;

/* Functions that `keep` has taken over have none. */
int refs_collect(const Symbols *s, const Keep *keep, uint64_t *budget, Refs *ret, Error *err);
void refs_done(Refs *refs);

/* What one relocation of a data section refers to; 0 when it has no place there. */
int ref_of_data(const Symbols *s, const Section *in, const Elf64_Rela *r, uint64_t base, Ref *ret);

/* Contents of nameless constants, each hashed once. */
typedef struct Block {
    uint64_t address, end;
    Hash hash;
    uint64_t sections; /* as of Contents, once it is hashed */
    uint8_t state;
    uint8_t height; /* constants below it, and itself */
} Block;

typedef struct Contents {
    const Symbols *symbols;
    Block *blocks; /* by address */
    size_t count;
    Buf scratch;
    uint64_t *budget;  /* bytes that may still be looked at; more is an attack */
    int depth;         /* of constants that refer to constants */
    int deepest;       /* that it was */
    int failed;        /* KEEL_E…, then all results are void */
    uint64_t sections; /* whose bytes were looked at: keep_bit */
    int in_order;      /* a circle, or too deep: what comes out depends on what was asked before */
} Contents;

/* `keep`: has the places that functions taken over name, gets those of all; NULL: neither. */
int contents_open(const Symbols *s, const Refs *refs, Keep *keep, uint64_t *budget, Contents *ret);
void contents_done(Contents *c);
int contents_add(Contents *c, const void *data, size_t bytes);

/* Appends to `scratch` what the ref means, in a form that outlives a rebuild. */
void contents_add_ref(Contents *c, const Ref *ref, const Ref *all, size_t all_count);

/* Bytes [address, address + bytes) of a section, its relocations replaced. */
Hash contents_hash(Contents *c, const Section *in, uint64_t address, uint64_t bytes);

#endif
