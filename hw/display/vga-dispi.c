/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bochs' display interface (VBE_DISPI of Bochs' documentation, ids 0xb0c0..0xb0c5): linear modes of 4 to 32 bits a
 * pixel.  Ports 0x1ce (index) and 0x1cf or 0x1d0 (data), and in memory at 0x500 of BAR 2.
 */
#include <string.h>

#include "hw/display/vga.h"

#define DISPI_ID_FIRST 0xb0c0
#define DISPI_ID_LAST  0xb0c5
#define DISPI_MAX_XRES 16000
#define DISPI_MAX_YRES 12000
#define DISPI_MAX_BPP  32

static bool enabled(const Vga *v)
{
    return v->dispi[DISPI_ENABLE] & DISPI_ENABLED;
}

uint32_t vga_dispi_bytes(const Vga *v, uint32_t pixels)
{
    unsigned bpp = v->dispi[DISPI_BPP];

    return bpp == 4 ? pixels / 2 : pixels * ((bpp + 7) / 8);
}

/* The nearest mode that fits the frame buffer. */
static void check_size(Vga *v)
{
    static const uint8_t depths[] = {4, 8, 15, 16, 24, 32};
    uint16_t *r = v->dispi;
    uint32_t lines;

    if (!r[DISPI_BPP] || !memchr(depths, r[DISPI_BPP], sizeof(depths))) {
        r[DISPI_BPP] = 8;
    }
    r[DISPI_XRES] = (uint16_t)CLAMP(r[DISPI_XRES] & ~7, 8, DISPI_MAX_XRES);
    r[DISPI_VIRT_WIDTH] = (uint16_t)CLAMP(r[DISPI_VIRT_WIDTH] & ~7, r[DISPI_XRES], DISPI_MAX_XRES);
    lines = v->vram_size / vga_dispi_bytes(v, r[DISPI_VIRT_WIDTH]);
    r[DISPI_YRES] = (uint16_t)CLAMP(r[DISPI_YRES], 1, MIN(lines, DISPI_MAX_YRES));
    r[DISPI_VIRT_HEIGHT] = (uint16_t)MIN(lines, UINT16_MAX);
}

/* The picture begins inside the virtual screen. */
static void check_offset(Vga *v)
{
    uint16_t *r = v->dispi;

    r[DISPI_X_OFFSET] = (uint16_t)MIN(r[DISPI_X_OFFSET], r[DISPI_VIRT_WIDTH] - r[DISPI_XRES]);
    r[DISPI_Y_OFFSET] = (uint16_t)MIN(r[DISPI_Y_OFFSET], r[DISPI_VIRT_HEIGHT] - r[DISPI_YRES]);
}

void vga_dispi_check(Vga *v)
{
    v->dispi[DISPI_BANK] = (uint16_t)MIN(v->dispi[DISPI_BANK], (v->vram_size >> 16) - 1);
    if (enabled(v)) {
        check_size(v);
        check_offset(v);
    }
}

static void enable_write(Vga *v, uint16_t val)
{
    uint16_t *r = v->dispi;
    bool was = enabled(v);

    if ((val ^ r[DISPI_ENABLE]) & DISPI_8BIT_DAC) {
        for (unsigned i = 0; i < VGA_PALETTE_SIZE; i++) {
            v->palette[i] = (uint8_t)(val & DISPI_8BIT_DAC ? v->palette[i] << 2 : v->palette[i] >> 2);
        }
    }
    r[DISPI_ENABLE] = val;
    if (!enabled(v) || was) {
        r[DISPI_BANK] = enabled(v) ? r[DISPI_BANK] : 0;
        return;
    }
    r[DISPI_VIRT_WIDTH] = r[DISPI_X_OFFSET] = r[DISPI_Y_OFFSET] = r[DISPI_BANK] = 0;
    check_size(v);
    if (!(val & DISPI_NOCLEARMEM)) {
        uint32_t bytes = r[DISPI_YRES] * vga_dispi_bytes(v, r[DISPI_VIRT_WIDTH]);

        memset(v->vram, 0, bytes);
        vga_vram_written(v, 0, bytes);
    }
}

uint16_t vga_dispi_read(Vga *v, unsigned index)
{
    static const uint16_t limits[] = {[DISPI_XRES] = DISPI_MAX_XRES, [DISPI_YRES] = DISPI_MAX_YRES, [DISPI_BPP] = DISPI_MAX_BPP};

    if (index >= DISPI_COUNT) {
        return 0;
    }
    if (index == DISPI_VIDEO_MEMORY_64K) {
        return (uint16_t)MIN(v->vram_size >> 16, UINT16_MAX);
    }
    if (v->dispi[DISPI_ENABLE] & DISPI_GETCAPS && index >= DISPI_XRES && index <= DISPI_BPP) {
        return limits[index];
    }
    return v->dispi[index];
}

void vga_dispi_write(Vga *v, unsigned index, uint16_t val)
{
    uint16_t *r = v->dispi;

    switch (index) {
    case DISPI_ID:
        if (val >= DISPI_ID_FIRST && val <= DISPI_ID_LAST) {
            r[index] = val;
        }
        break;
    case DISPI_XRES:
    case DISPI_YRES:
    case DISPI_BPP:
        if (!enabled(v)) { /* a mode is set while it is off */
            r[index] = val;
        }
        break;
    case DISPI_ENABLE:
        enable_write(v, val);
        break;
    case DISPI_BANK:
    case DISPI_VIRT_WIDTH:
    case DISPI_X_OFFSET:
    case DISPI_Y_OFFSET:
        r[index] = val;
        vga_dispi_check(v);
        break;
    default:
        break;
    }
}

/* --- ports --- */

static MemResult ports_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Vga *v = opaque;

    *val = addr == 0 ? v->dispi_index : vga_dispi_read(v, v->dispi_index);
    return MEM_OK;
}

static MemResult ports_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Vga *v = opaque;

    if (addr == 0) {
        v->dispi_index = (uint16_t)val;
    } else {
        vga_dispi_write(v, v->dispi_index, (uint16_t)val);
    }
    return MEM_OK;
}

const MemOps vga_dispi_port_ops = {.read = ports_read, .write = ports_write, .min_size = 1, .max_size = 2, .unaligned = true};

void vga_dispi_reset(Vga *v)
{
    memset(v->dispi, 0, sizeof(v->dispi));
    v->dispi[DISPI_ID] = DISPI_ID_LAST;
    v->dispi_index = 0;
    v->big_endian = false;
}
