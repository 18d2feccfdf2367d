/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A kernel that prints what its loader has told it: Multiboot 1 (specification 0.6.96, 3.3) or PVH (hvm_start_info),
 * by ENTRY; then whether its zeroed memory is zero, and again after it has dirtied it and reset the machine.
 */
#include "../tcg/kernels/kernel.h"

void kernel_main(uint32_t eax, const uint32_t *info);

enum { PVH = 3, SCRATCH = 0x300000, AGAIN = 0x600d600d };

static uint32_t dirtied[2048]; /* .bss */

static void put_line(const char *key, const char *text)
{
    put_text(key);
    put_text(text);
    put_text("\n");
}

static void print_module(unsigned long start, unsigned long end, const char *text)
{
    unsigned long sum = 0;

    for (const uint8_t *p = (const uint8_t *)start; p < (const uint8_t *)end; p++) {
        sum = sum * 31 + *p;
    }
    put_text("module:");
    put_value("aligned", start % 4096 == 0);
    put_value("size", end - start);
    put_value("sum", sum);
    put_line(" text=", text);
}

/* The map's entries: RAM from 1 MiB on, and whether any two overlap or are unsorted. */
static void print_map(const uint8_t *at, unsigned count, unsigned skip)
{
    uint64_t ram = 0, end = 0;
    unsigned sorted = 1;

    for (unsigned i = 0; i < count; i++, at += 24) {
        uint64_t base = *(const uint64_t *)(at + skip), size = *(const uint64_t *)(at + skip + 8);
        uint32_t type = *(const uint32_t *)(at + skip + 16);

        sorted &= base >= end;
        end = base + size;
        ram += type == 1 && base >= 0x100000 ? size : 0;
    }
    put_text("map:");
    put_value("entries", count > 3);
    put_value("sorted", sorted);
    put_value("megabytes", (unsigned long)((ram + 0xfffff) >> 20));
    put_text("\n");
}

static void print_multiboot(const uint32_t *info)
{
    const uint32_t *module = (const uint32_t *)info[6];

    put_text("info:");
    put_value("flags", info[0] & 0x20f);
    put_value("lower", info[1]);
    put_value("upper", (info[2] + 1023) / 1024);
    put_line(" cmdline=", (const char *)info[4]);
    if (info[0] & 0x40) {
        print_map((const uint8_t *)info[12], info[11] / 24, 4);
    }
    for (unsigned i = 0; info[0] & 8 && i < info[5]; i++, module += 4) {
        print_module(module[0], module[1], (const char *)module[2]);
    }
}

static void print_pvh(const uint32_t *info)
{
    const uint64_t *module = (const uint64_t *)info[4];

    put_text("info:");
    put_value("magic", info[0]);
    put_value("version", info[1]);
    put_value("rsdp", *(const uint64_t *)(unsigned long)info[8] == 0x2052545020445352ull);
    put_line(" cmdline=", (const char *)info[6]);
    print_map((const uint8_t *)info[10], info[12], 0);
    for (unsigned i = 0; i < info[3]; i++, module += 4) {
        print_module((unsigned long)module[0], (unsigned long)(module[0] + module[1]), module[2] ? (const char *)(unsigned long)module[2] : "");
    }
}

void kernel_main(uint32_t eax, const uint32_t *info)
{
    volatile uint32_t *scratch = (volatile uint32_t *)SCRATCH;
    unsigned long cr0;
    uint32_t any = 0;

    __asm__("mov %%cr0, %0" : "=r"(cr0));
    for (unsigned i = 0; i < 2048; i++) {
        any |= dirtied[i];
        dirtied[i] = ~0u;
    }
    put_text("entry:");
    put_value("eax", ENTRY == PVH ? 0 : eax);
    put_value("cr0", cr0 & 0x80000001);
    put_value("dirty", any);
    put_text("\n");
    if (ENTRY == PVH) {
        print_pvh(info);
    } else {
        print_multiboot(info);
    }
    if (*scratch == AGAIN) {
        put_text("END\n");
        return;
    }
    *scratch = AGAIN;
    outb(0xcf9, 6);
}
