/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Linux program for gdb to look into: calls marked() for ever, each time with the next value of `counter` in RDI and
 * in XMM3, and adds it to `total` there.
 */
    .text
    .globl _start, marked, counter, total
_start:
1:  incq counter
    movq counter, %rdi
    movq %rdi, %xmm3
    punpcklqdq %xmm3, %xmm3
    call marked
    jmp 1b
marked:
    addq %rdi, total
    nop
    ret
    .data
    .balign 4096
counter: .quad 0
total: .quad 0
    .section .note.GNU-stack, "", %progbits
