/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Option ROM that boots a kernel which is entered in 32-bit protected mode (Multiboot Specification 0.6.96, section 3.2;
 * "x86/HVM direct boot ABI").  The host has made a plan: where the parts of the kernel and what it is told go, and which
 * words of that firmware alone knows: the map of memory, and where the RSDP is.  They are put in here.
 */
#define KERNEL_DATA 0x11
#define SETUP_DATA  0x18

/* The plan, 32-bit numbers; ELF_PLAN in hw/i386/elf-boot.c */
#define PLAN          0x80000
#define PLAN_SEG      0x8000
#define PLAN_SIZE     0x2000
#define PLAN_ENTRY    0
#define PLAN_EAX      4
#define PLAN_END      8
#define PLAN_MAP      12
#define PLAN_PREFIX   16  /* bytes of an entry of the map before its address: they hold E820_ENTRY */
#define PLAN_MAP_MAX  20
#define PLAN_COUNT    24  /* where the number of entries goes, in units of */
#define PLAN_UNIT     28
#define PLAN_UPPER    32  /* where the KiB of RAM at 1 MiB go; 0: nowhere */
#define PLAN_RSDP     36
#define PLAN_PARTS    40
#define PLAN_PART     44  /* addresses and sizes */

#define MAP_ENTRY   24
#define INFO        0x10000
#define GDT         0x8000
#define BOOT_CS     0x08
#define BOOT_DS     0x10
#define PORT_92     0x92

#define ROM_PRODUCT "Kernel of -kernel"
#include "rom-begin.inc"

    movl $PLAN, %edi
    movl $PLAN_SIZE, %ecx
    movw $SETUP_DATA, %ax
    call read
    movw $PLAN_SEG, %ax
    movw %ax, %ds
    call put_map            /* ends here when the kernel would lie over firmware's tables */
    call load_parts
    call put_map
    call put_rsdp
    cli
    inb $PORT_92, %al       /* A20 */
    orb $2, %al
    andb $~1, %al
    outb %al, $PORT_92
    pushl $GDT
    pushw $23
    movw %sp, %bp
    lgdtl (%bp)
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    xorl %eax, %eax
    movw %cs, %ax
    shll $4, %eax
    addl $protected, %eax
    pushl $BOOT_CS
    pushl %eax
    lretl

/* One after the other they are in one item; behind its end there are zeroes, which the last parts are made of. */
load_parts:
    movl $KERNEL_DATA << 16 | DMA_SELECT, %eax
    xorl %ecx, %ecx
    call transfer
    movw $PLAN_PART, %si
    movl PLAN_PARTS, %ebx
1:  movl (%si), %edi
    movl 4(%si), %ecx
    movl $DMA_READ, %eax
    call transfer
    addw $8, %si
    decl %ebx
    jnz 1b
    ret

/* ES:DI: the byte at the physical address EDI, below 1 MiB. */
point:
    pushl %edi
    shrl $4, %edi
    movw %di, %es
    popl %edi
    andw $15, %di
    ret

/* Firmware's map of memory (int 15h, E820h). */
put_map:
    movl PLAN_MAP, %esi
    xorl %ebp, %ebp         /* entries */
    xorl %ebx, %ebx
1:  cmpl PLAN_MAP_MAX, %ebp
    jae failed
    movl %esi, %edi
    call point
    movl $E820_ENTRY, %es:(%di)
    addw PLAN_PREFIX, %di
    movl $0xe820, %eax
    movl $SMAP, %edx
    movl $E820_ENTRY, %ecx
    int $0x15
    jc failed
    cmpl $SMAP, %eax
    jne failed
    call look_at_low_ram
    addl $MAP_ENTRY, %esi
    incl %ebp
    testl %ebx, %ebx
    jnz 1b
    movl %ebp, %eax
    mull PLAN_UNIT
    movl PLAN_COUNT, %edi
    call point
    movl %eax, %es:(%di)
    ret

/* Of the entry at ES:DI: is it the RAM that begins at 1 MiB, and large enough? */
look_at_low_ram:
    cmpl $E820_RAM, %es:16(%di)
    jne 1f
    cmpl $LOW_RAM, %es:(%di)
    jne 1f
    cmpl $0, %es:4(%di)
    jne 1f
    movl %es:8(%di), %eax
    leal LOW_RAM(%eax), %edx
    cmpl PLAN_END, %edx
    jb failed
    movl PLAN_UPPER, %edi
    testl %edi, %edi
    jz 1f
    shrl $10, %eax
    call point
    movl %eax, %es:(%di)
1:  ret

put_rsdp:
    movl PLAN_RSDP, %edi
    testl %edi, %edi
    jz 3f
    movw $0xe000, %ax
1:  movw %ax, %es
    cmpl $0x20445352, %es:0 /* "RSD PTR " */
    jne 2f
    cmpl $0x20525450, %es:4
    je 4f
2:  incw %ax
    jnz 1b
3:  ret
4:  movzwl %ax, %eax
    shll $4, %eax
    call point
    movl %eax, %es:(%di)
    ret

    .code32
protected:
    movw $BOOT_DS, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movl $GDT, %esp
    movl PLAN + PLAN_EAX, %eax
    movl $INFO, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    xorl %esi, %esi
    xorl %edi, %edi
    xorl %ebp, %ebp
    jmp *PLAN + PLAN_ENTRY
    .code16

#include "rom-fw-cfg.inc"

    .byte 0                 /* room for the checksum */
    .balign 512, 0
rom_end:
    .section .note.GNU-stack, "", %progbits
