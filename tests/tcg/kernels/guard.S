/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guarded calls and the exception stubs behind them.  Every vector leads to
 * `caught`, which fills `fault` and returns from the guarded call, whatever
 * level and stack the exception came from.
 */
#if KERNEL_BITS == 64
#define R(n) %r##n
#define WORD 8
    .text
    .globl guarded, guarded_user, stubs
/* unsigned long guarded(void (*fn)(void)): the vector, or NO_EXCEPTION. */
guarded:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, saved_sp(%rip)
    call *%rdi
    movl $256, %eax
    movq %rax, fault(%rip)
    jmp leave
/* The same in ring 3, with a stack; INT 0x80 ends it. */
guarded_user:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, saved_sp(%rip)
    pushq $0x33
    pushq %rsi
    pushq %rdx
    pushq $0x3b
    pushq %rdi
    iretq
caught:
    movq %rax, fault_rax(%rip)
    popq %rax
    movq %rax, fault(%rip)
    popq %rax
    movq %rax, fault+8(%rip)
    popq %rax
    movq %rax, fault+16(%rip)
    popq %rax
    movq %rax, fault+24(%rip)
    popq %rax
    movq %rax, fault+32(%rip)
    popq %rax
    movq %rax, fault+40(%rip)
    popq %rax
    movq %rax, fault+48(%rip)
    movq %cr2, %rax
    movq %rax, fault+56(%rip)
leave:
    movw $0x18, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movq saved_sp(%rip), %rsp
    pushq $2
    popfq
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    movq fault(%rip), %rax
    ret
#else
#define WORD 4
    .text
    .code32
    .globl guarded, guarded_user, stubs
guarded:
    movl 4(%esp), %eax
    pushl %ebx
    pushl %ebp
    pushl %esi
    pushl %edi
    movl %esp, saved_sp
    call *%eax
    movl $256, fault
    jmp leave
guarded_user:
    movl 4(%esp), %eax
    movl 8(%esp), %ecx
    movl 12(%esp), %edx
    pushl %ebx
    pushl %ebp
    pushl %esi
    pushl %edi
    movl %esp, saved_sp
    pushl $0x33
    pushl %ecx
    pushl %edx
    pushl $0x2b
    pushl %eax
    movw $0x33, %ax
    movw %ax, %ds
    movw %ax, %es
    iretl
caught:
    pushl %eax
    movw $0x18, %ax
    movw %ax, %ds
    movw %ax, %es
    popl %ss:fault_rax
    popl fault
    popl fault+4
    popl fault+8
    popl fault+12
    popl fault+16
    movl (%esp), %eax       /* only there when the level changed */
    movl %eax, fault+20
    movl 4(%esp), %eax
    movl %eax, fault+24
    movl %cr2, %eax
    movl %eax, fault+28
leave:
    movw $0x18, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movl saved_sp, %esp
    pushl $2
    popfl
    popl %edi
    popl %esi
    popl %ebp
    popl %ebx
    movl fault, %eax
    ret
#endif

/* 16 bytes a vector: those without an error code push 0. */
    .balign 16
stubs:
    vector = 0
    .rept 256
    .balign 16
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17)
    .else
    push $0
    .endif
    push $vector
    jmp caught
    vector = vector + 1
    .endr

    .bss
    .balign 8
    .globl fault, fault_rax, saved_sp
fault: .skip 8 * WORD
fault_rax: .skip WORD
saved_sp: .skip WORD
    .section .note.GNU-stack, "", %progbits
