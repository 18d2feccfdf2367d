/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry of a kernel in 32-bit protected mode without paging.  ENTRY says by whom: 1 Multiboot of an ELF file, 2 of a
 * file that says in its header where it goes, 3 PVH.
 */
#define MAGIC 0x1badb002
#if ENTRY == 2
#define FLAGS 0x10003
#else
#define FLAGS 0x3
#endif

    .section .head, "ax"
    .code32
#if ENTRY == 3
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18
    .asciz "Xen"
    .long start
    .section .head, "ax"
#else
    .balign 4
header:
    .long MAGIC, FLAGS, -(MAGIC + FLAGS)
#if ENTRY == 2
    .long header, image_start, image_end, bss_end, start
#endif
#endif
    .globl start
start:
    movl $stack_top, %esp
    pushl $0
    popfl
    pushl %ebx
    pushl %eax
    call kernel_main
1:  hlt
    jmp 1b

    .bss
    .balign 16
    .skip 4096
stack_top:
    .section .note.GNU-stack, "", %progbits
