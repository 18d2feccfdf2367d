/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Option ROM that boots a Linux kernel which firmware finds in fw_cfg: BIOS Boot Specification 1.01 (a bootstrap entry
 * vector in the PnP expansion header, PnP BIOS Specification 1.0a section 3.2), fw_cfg's DMA interface, and "The
 * Linux/x86 Boot Protocol" (running the kernel).  The host has checked the image and filled in the header of its setup
 * part; only where the initrd goes is decided here, because firmware alone knows where its own tables begin.
 */
#define KERNEL_ADDR  0x07
#define KERNEL_SIZE  0x08
#define KERNEL_DATA  0x11
#define INITRD_ADDR  0x0a
#define INITRD_SIZE  0x0b
#define INITRD_DATA  0x12
#define CMDLINE_ADDR 0x13
#define CMDLINE_SIZE 0x14
#define CMDLINE_DATA 0x15
#define SETUP_ADDR   0x16
#define SETUP_SIZE   0x17
#define SETUP_DATA   0x18

#define HDR_RAMDISK_IMAGE 0x218
#define HDR_HEAP_END_PTR  0x224

#define ROM_PRODUCT "Linux kernel of -kernel"
#include "rom-begin.inc"

    movw $SETUP_ADDR, %si
    call load
    pushl %edi
    movw $CMDLINE_ADDR, %si
    call load
    movw $KERNEL_ADDR, %si
    call load
    call load_initrd
    popl %edi
    shrl $4, %edi
    movw %di, %es
    testl %eax, %eax
    jz enter
    movl %eax, %es:HDR_RAMDISK_IMAGE
enter:
    cli
    movw %es, %ax
    movw %ax, %ds
    movw %ax, %fs
    movw %ax, %gs
    movw %ax, %ss
    movzwl HDR_HEAP_END_PTR, %esp
    addw $0x200, %sp
    addw $0x20, %ax
    pushw %ax
    pushw $0
    lretw

/* Loads a part whose address, size and data are items SI, SI+1 and (in the table) its data.  EDI: its address. */
load:
    movw %si, %ax
    call read_long
    movl %eax, %edi
    leaw 1(%si), %ax
    call read_long
    movl %eax, %ecx
    /* Data of setup and command line are the next item, of kernel and initrd not. */
    leaw 2(%si), %ax
    cmpw $CMDLINE_ADDR, %si
    jae read
    movw $KERNEL_DATA, %ax
    jmp read

/* EAX: the address of the initrd, 0 without one. */
load_initrd:
    movw $INITRD_SIZE, %ax
    call read_long
    testl %eax, %eax
    jz 2f
    movl %eax, %ecx
    movw $INITRD_ADDR, %ax
    call read_long
    movl %eax, %edi
    call ram_end
    subl %ecx, %eax
    andl $~0xfff, %eax
    cmpl %edi, %eax
    jae 1f
    movl %eax, %edi
1:  pushl %edi
    movw $INITRD_DATA, %ax
    call read
    popl %eax
2:  ret

/* EAX: the end of the RAM at 1 MiB that firmware leaves (int 15h, E820h). */
ram_end:
    pushl %ecx
    pushl %edi
    subw $E820_ENTRY, %sp
    movw %sp, %di
    xorl %ebx, %ebx
    movw %bx, %es
1:  movl $0xe820, %eax
    movl $SMAP, %edx
    movl $E820_ENTRY, %ecx
    int $0x15
    jc failed
    cmpl $SMAP, %eax
    jne failed
    cmpl $E820_RAM, %es:16(%di)
    jne 2f
    cmpl $0, %es:4(%di)
    jne 2f
    cmpl $LOW_RAM, %es:(%di)
    je 3f
2:  testl %ebx, %ebx
    jnz 1b
    jmp failed
3:  movl %es:8(%di), %eax
    addl $LOW_RAM, %eax
    addw $E820_ENTRY, %sp
    popl %edi
    popl %ecx
    ret

#include "rom-fw-cfg.inc"

    .byte 0                 /* room for the checksum */
    .balign 512, 0
rom_end:
    .section .note.GNU-stack, "", %progbits
