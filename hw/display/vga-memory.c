/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VGA's window at 0xa0000: four planes of bytes behind latches (IBM PS/2 Hardware Interface TR, video subsystem).
 * Byte n of plane p is byte 4n+p of the frame buffer, so chained modes are linear in it.
 */
#include "hw/display/vga.h"

/* Of GR6: where the window is. */
static const struct {
    uint32_t offset, size;
} windows[4] = {{0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};

void vga_vram_written(Vga *v, uint32_t offset, uint32_t len)
{
    mem_region_dirty_set(v->vram_region, offset, len);
}

/* An address of the window as one of the VGA's memory.  False: not decoded. */
static bool window_address(const Vga *v, HwAddr addr, uint32_t *out)
{
    unsigned map = v->gr[GR_MISC] >> 2 & 3;

    if (!(v->misc & VGA_MISC_RAM) || addr < windows[map].offset || addr - windows[map].offset >= windows[map].size) {
        return false;
    }
    *out = (uint32_t)addr - windows[map].offset;
    if (v->dispi[DISPI_ENABLE] & DISPI_ENABLED && map <= 1) {
        *out = (*out & 0xffff) + ((uint32_t)v->dispi[DISPI_BANK] << 16);
    }
    return true;
}

static uint8_t rotate(uint8_t val, unsigned by)
{
    return (uint8_t)(val >> by | val << (8 - by));
}

/* 0xff for each bit of mask, plane by plane. */
static uint8_t plane_fill(uint8_t mask, unsigned plane)
{
    return mask >> plane & 1 ? 0xff : 0;
}

static uint8_t planes_read(Vga *v, uint32_t offset)
{
    uint8_t differs = 0;

    for (unsigned p = 0; p < VGA_PLANES; p++) {
        v->latch[p] = v->vram[offset + p];
        if (v->gr[GR_DONT_CARE] >> p & 1) {
            differs |= v->latch[p] ^ plane_fill(v->gr[GR_COLOUR_COMPARE], p);
        }
    }
    return v->gr[GR_MODE] & GR5_READ_COMPARE ? (uint8_t)~differs : v->latch[v->gr[GR_READ_MAP]];
}

/* What write modes 0, 2 and 3 give to a plane before the bit mask; *mask is the latter. */
static uint8_t plane_value(const Vga *v, unsigned plane, uint8_t val, uint8_t *mask)
{
    uint8_t rotated = rotate(val, v->gr[GR_ROTATE] & 7), set = plane_fill(v->gr[GR_SET_RESET], plane);
    unsigned mode = v->gr[GR_MODE] & GR5_WRITE_MODE;
    uint8_t bits = mode == 2 ? plane_fill(val, plane) : mode == 3 || v->gr[GR_ENABLE_SET_RESET] >> plane & 1 ? set : rotated;

    *mask = mode == 3 ? v->gr[GR_BIT_MASK] & rotated : v->gr[GR_BIT_MASK];
    switch (v->gr[GR_ROTATE] >> 3 & 3) {
    case 1: return bits & v->latch[plane];
    case 2: return bits | v->latch[plane];
    case 3: return bits ^ v->latch[plane];
    default: return bits;
    }
}

static void planes_write(Vga *v, uint32_t offset, uint8_t val)
{
    for (unsigned p = 0; p < VGA_PLANES; p++) {
        uint8_t mask, bits;

        if (!(v->sr[SR_MAP_MASK] >> p & 1)) {
            continue;
        }
        if ((v->gr[GR_MODE] & GR5_WRITE_MODE) == 1) {
            v->vram[offset + p] = v->latch[p];
            continue;
        }
        bits = plane_value(v, p, val, &mask);
        v->vram[offset + p] = (uint8_t)((bits & mask) | (v->latch[p] & ~mask));
    }
    vga_vram_written(v, offset, VGA_PLANES);
}

static MemResult window_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Vga *v = opaque;
    uint32_t at;

    if (!window_address(v, addr, &at)) {
        *val = 0xff;
    } else if (v->sr[SR_MEMORY_MODE] & SR4_CHAIN_4) {
        *val = at < v->vram_size ? v->vram[at] : 0xff;
    } else if (v->gr[GR_MODE] & GR5_ODD_EVEN) {
        uint64_t offset = (uint64_t)(at >> 1) * VGA_PLANES + (v->gr[GR_READ_MAP] & 2u) + (at & 1);

        *val = offset < v->vram_size ? v->vram[offset] : 0xff;
    } else {
        *val = (uint64_t)at * VGA_PLANES < v->vram_size ? planes_read(v, at * VGA_PLANES) : 0xff;
    }
    return MEM_OK;
}

static MemResult window_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Vga *v = opaque;
    uint64_t offset;
    unsigned plane;
    uint32_t at;

    if (!window_address(v, addr, &at)) {
        return MEM_OK;
    }
    if (v->sr[SR_MEMORY_MODE] & SR4_CHAIN_4) {
        plane = at & 3;
        offset = at;
    } else if (!(v->sr[SR_MEMORY_MODE] & SR4_SEQUENTIAL)) {
        plane = at & 1;
        offset = (uint64_t)(at >> 1) * VGA_PLANES + plane;
    } else {
        if ((uint64_t)at * VGA_PLANES < v->vram_size) {
            planes_write(v, at * VGA_PLANES, (uint8_t)val);
        }
        return MEM_OK;
    }
    if (offset < v->vram_size && v->sr[SR_MAP_MASK] >> plane & 1) {
        v->vram[offset] = (uint8_t)val;
        vga_vram_written(v, (uint32_t)offset, 1);
    }
    return MEM_OK;
}

const MemOps vga_window_ops = {.read = window_read, .write = window_write, .min_size = 1, .max_size = 1, .unaligned = true};
