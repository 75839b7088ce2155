/* Inside image/: which place an arm64 instruction names, and which of its bits say so. Pure; bytes
 * of unknown origin; any thread. */
#ifndef IMAGE_ARM64_H
#define IMAGE_ARM64_H

#include <stddef.h>
#include <stdint.h>

typedef struct Arm64Insn {
    uint32_t kept;      /* the bits that don't depend on where things lie */
    uint64_t target;    /* what it names, when has_target */
    uint8_t has_target; /* it names a place by its distance from itself */
    uint8_t is_page;    /* adrp: only the page of a place; `target` is that page */
    uint8_t to;         /* the register that it sets; 32: none or unknown */
    uint8_t clobbers;   /* a call: registers that calls don't keep are lost */
    uint8_t from;       /* a base register to which `offset` is added, 32: none */
    uint8_t is_address; /* the place's address is taken, nothing is read there */
    uint32_t offset;    /* of `from` */
    uint32_t line;      /* `mov w2, #n`: n + 1, else 0 */
} Arm64Insn;

/* `at` is the instruction's own address. */
void arm64_decode(uint32_t word, uint64_t at, Arm64Insn *ret);

/* nop, udf, brk #1: what linkers fill gaps with. */
int arm64_is_padding(uint32_t word);

#endif
