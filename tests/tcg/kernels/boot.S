/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry of the test kernels by the Linux/x86 boot protocol, so that one file
 * runs under any emulator's -kernel: from real-mode firmware through the setup
 * code, or at the 64-bit entry point (payload + 0x200).  Both ways end in
 * kernel_main() with KERNEL_BITS, flat segments, interrupts off, paging off
 * (32) or identity mapped 4 GiB (64).
 */
#define GDT_CODE32 0x10
#define GDT_DATA   0x18
#define GDT_CODE64 0x20

    .section .setup, "ax"
    .code16
    .org 0x1f1
    .byte 1                 /* setup sectors behind the first */
    .word 0
    .long 0x8000            /* of the payload, in units of 16 bytes */
    .word 0, 0, 0
    .word 0xaa55
    .byte 0xeb, setup_start - 1f /* jump over the header */
1:  .ascii "HdrS"
    .word 0x020c
    .long 0
    .word 0, 0
    .byte 0, 1              /* loadflags: payload at 1 MiB */
    .word 0
    .long 0x100000
    .long 0, 0, 0
    .word 0, 0
    .long 0
    .long 0x7fffffff
    .long 0x1000            /* alignment */
    .byte 0, 12
    .word 1                 /* xloadflags: has the 64-bit entry point */
    .long 255
    .long 0
    .quad 0
    .long 0, 0
    .quad 0
    .quad 0x100000
    .long 0x400000          /* init_size */
    .long 0
setup_start:
    cli
    cld
    movw $GDT_DATA, %bx
    xorl %eax, %eax
    movw %cs, %ax
    movw %ax, %ds
    lgdtl gdt_pointer_setup - 0x200
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $GDT_CODE32, $payload
gdt_pointer_setup:
    .word gdt_end - gdt - 1
    .long gdt
    .org 0x400

    .section .payload, "ax"
    .code32
payload:
    jmp start32
    .org 0x200
    .code64
    cli
    cld
    lgdt gdt_pointer(%rip)
    leaq stack_top(%rip), %rsp
#if KERNEL_BITS == 64
    pushq $GDT_CODE64
    leaq start64(%rip), %rax
    pushq %rax
    lretq
#else
    /* Down to protected mode without paging. */
    pushq $GDT_CODE32
    leaq leave_long(%rip), %rax
    pushq %rax
    lretq
    .code32
leave_long:
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    movl $0xc0000080, %ecx
    rdmsr
    andl $~0x100, %eax
    wrmsr
    xorl %eax, %eax
    movl %eax, %cr4
#endif
    .code32
start32:
    movw $GDT_DATA, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw %ax, %fs
    movw %ax, %gs
    movl $stack_top, %esp
    movl $0x11, %eax
    movl %eax, %cr0
#if KERNEL_BITS == 64
    movl $boot_pages, %edi  /* top level, next level, four of 512 large pages */
    leal 0x1003(%edi), %eax
    movl %eax, (%edi)
    leal 0x2003(%edi), %eax
    movl $4, %ecx
    leal 0x1000(%edi), %ebx
1:  movl %eax, (%ebx)
    addl $0x1000, %eax
    addl $8, %ebx
    loop 1b
    leal 0x2000(%edi), %ebx
    movl $0x83, %eax
    movl $2048, %ecx
1:  movl %eax, (%ebx)
    addl $0x200000, %eax
    addl $8, %ebx
    loop 1b
    movl $0x20, %eax
    movl %eax, %cr4
    movl %edi, %cr3
    movl $0xc0000080, %ecx
    movl $0x900, %eax
    xorl %edx, %edx
    wrmsr
    movl $0x80000011, %eax
    movl %eax, %cr0
    ljmp $GDT_CODE64, $start64
    .code64
start64:
    movw $GDT_DATA, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw %ax, %fs
    movw %ax, %gs
    leaq stack_top(%rip), %rsp
    leaq boot_pages(%rip), %rdi
    /* Entered in 64-bit mode: make the same pages. */
    leaq 0x1003(%rdi), %rax
    movq %rax, (%rdi)
    leaq 0x2003(%rdi), %rax
    movl $4, %ecx
    leaq 0x1000(%rdi), %rbx
1:  movq %rax, (%rbx)
    addq $0x1000, %rax
    addq $8, %rbx
    loop 1b
    leaq 0x2000(%rdi), %rbx
    movl $0x83, %eax
    movl $2048, %ecx
1:  movq %rax, (%rbx)
    addq $0x200000, %rax
    addq $8, %rbx
    loop 1b
    movq %rdi, %cr3
#endif
    call kernel_main
1:  hlt
    jmp 1b

    .balign 8
gdt:
    .quad 0, 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00af9b000000ffff
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
#if KERNEL_BITS == 64
    .quad gdt
#else
    .long gdt
    .long 0
#endif

    .bss
    .balign 4096
#if KERNEL_BITS == 64
boot_pages:
    .skip 6 * 4096
#endif
    .skip 16384
stack_top:
    .section .note.GNU-stack, "", %progbits
