/* Inside image/: where an x86-64 instruction ends and which of its bytes name a place. Pure; bytes
 * of unknown origin; any thread. */
#ifndef IMAGE_X86_H
#define IMAGE_X86_H

#include <stddef.h>
#include <stdint.h>

typedef struct X86Insn {
    uint8_t bytes;
    uint8_t relative_at; /* offset of a 32-bit distance from the instruction's end, 0: none */
    uint8_t is_branch;   /* that distance belongs to a jump or a call */
    uint8_t is_call;     /* a call, direct or through a pointer */
    uint8_t is_address;  /* lea: the place's address is taken, nothing is read */
    uint8_t leaves;      /* jump, call or return: what registers held before is another block's */
    uint8_t load_bytes;  /* at most so many bytes are read there; 0: unknown */
    uint8_t line_at;     /* offset of the immediate of `mov $n, %edx`, 0: it isn't one */
} X86Insn;

/* 0, or -1 when the bytes are no instruction that compilers emit, or are cut. */
int x86_decode(const uint8_t *code, size_t bytes, X86Insn *ret);

#endif
