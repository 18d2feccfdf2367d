/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the VGA share.  Registers are named as in IBM's VGA documentation: sequencer SR, graphics
 * controller GR, attribute controller AR, CRT controller CR.
 */
#ifndef HW_DISPLAY_VGA_H
#define HW_DISPLAY_VGA_H

#include "hw/display/edid.h"
#include "hw/pci/pci.h"
#include "ui/display.h"

#define VGA_PLANES       4u
#define VGA_PLANES_BYTES (256u << 10) /* what the VGA proper sees of the frame buffer */
#define VGA_PORTS_BASE   0x3b0
#define VGA_PORTS_SIZE   0x30
#define VGA_SR_COUNT     5
#define VGA_GR_COUNT     9
#define VGA_AR_COUNT     21
#define VGA_CR_COUNT     25
#define VGA_PALETTE_SIZE 768

enum { VGA_MISC_COLOUR_PORTS = 1 << 0, VGA_MISC_RAM = 1 << 1 };
enum { SR_CLOCKING = 1, SR_MAP_MASK = 2, SR_CHARACTER_MAP = 3, SR_MEMORY_MODE = 4 };
enum { SR1_DOTS_8 = 1 << 0, SR1_HALF_CLOCK = 1 << 3, SR1_SCREEN_OFF = 1 << 5 };
enum { SR4_SEQUENTIAL = 1 << 2, SR4_CHAIN_4 = 1 << 3 };
enum { GR_SET_RESET, GR_ENABLE_SET_RESET, GR_COLOUR_COMPARE, GR_ROTATE, GR_READ_MAP, GR_MODE, GR_MISC, GR_DONT_CARE,
       GR_BIT_MASK };
enum { GR5_WRITE_MODE = 3, GR5_READ_COMPARE = 1 << 3, GR5_ODD_EVEN = 1 << 4, GR5_SHIFT_CGA = 1 << 5, GR5_SHIFT_256 = 1 << 6 };
enum { GR6_GRAPHICS = 1 << 0 };
enum { AR_MODE = 0x10, AR_OVERSCAN = 0x11, AR_PLANE_ENABLE = 0x12, AR_PANNING = 0x13, AR_COLOUR_SELECT = 0x14 };
enum { AR10_LINE_GRAPHICS = 1 << 2, AR10_BLINK = 1 << 3, AR10_COLOUR_45 = 1 << 7 };
enum { CR_H_DISPLAY_END = 0x01, CR_OVERFLOW = 0x07, CR_MAX_SCAN = 0x09, CR_CURSOR_START = 0x0a, CR_CURSOR_END = 0x0b,
       CR_START_HIGH = 0x0c, CR_START_LOW = 0x0d, CR_CURSOR_HIGH = 0x0e, CR_CURSOR_LOW = 0x0f, CR_V_SYNC_END = 0x11,
       CR_V_DISPLAY_END = 0x12, CR_OFFSET = 0x13, CR_MODE = 0x17, CR_LINE_COMPARE = 0x18 };

/* Bochs' display interface: 16-bit registers behind an index. */
enum { DISPI_ID, DISPI_XRES, DISPI_YRES, DISPI_BPP, DISPI_ENABLE, DISPI_BANK, DISPI_VIRT_WIDTH, DISPI_VIRT_HEIGHT,
       DISPI_X_OFFSET, DISPI_Y_OFFSET, DISPI_VIDEO_MEMORY_64K, DISPI_COUNT };
enum { DISPI_ENABLED = 1 << 0, DISPI_GETCAPS = 1 << 1, DISPI_8BIT_DAC = 1 << 5, DISPI_LFB_ENABLED = 1 << 6,
       DISPI_NOCLEARMEM = 1 << 7 };

/* What was drawn last: the same again needs the dirty lines only. */
typedef struct VgaPicture {
    unsigned mode, width, height;
    unsigned start, pitch;      /* bytes of the frame buffer */
    unsigned line_compare;      /* the first line behind it shows the frame buffer's beginning */
    unsigned repeat;            /* lines a row of pixels (or of a character) takes */
    unsigned row_height;        /* lines of a character */
    unsigned dot, columns;      /* of characters: width of a pixel, number */
    unsigned character_width;   /* 8 or 9 */
    unsigned cursor, cursor_first, cursor_last; /* first > last: no cursor */
    unsigned fonts[2];          /* bytes of the frame buffer */
    unsigned doubled, bank;     /* of a line inside a row: lines each takes, distance of odd ones */
    bool blink, line_graphics;
    bool big_endian;
    uint32_t colours[256];
} VgaPicture;

typedef struct Vga {
    PciDevice pci;
    /* properties */
    uint32_t vgamem_mb, xres, yres;
    bool edid_on;

    uint8_t *vram;
    uint32_t vram_size;
    int vram_fd;
    MemRegion *vram_region, *mmio, *window, *ports, *dispi_ports;
    bool io_on, window_on; /* what of them the guest reaches */
    Display *display;
    bool tracked; /* somebody looks: writes set dirty bits */
    VgaPicture picture;
    uint8_t edid[EDID_SIZE];

    uint8_t misc, feature;
    uint8_t sr_index, sr[VGA_SR_COUNT];
    uint8_t gr_index, gr[VGA_GR_COUNT];
    uint8_t ar_index, ar[VGA_AR_COUNT]; /* index with bit 5: the screen is on */
    bool ar_data;                       /* the next write to 0x3c0 is data */
    uint8_t cr_index, cr[VGA_CR_COUNT];
    uint8_t latch[VGA_PLANES];
    uint8_t pel_mask, dac_state;        /* state: 0 write, 3 read */
    uint8_t dac_index, dac_component, dac_new[3], palette[VGA_PALETTE_SIZE];
    uint16_t dispi_index, dispi[DISPI_COUNT];
    bool big_endian;

    uint8_t *saved;     /* copy of the frame buffer in a saved state */
    uint32_t saved_len;
} Vga;

/* hw/display/vga-ports.c: ports 0x3b0..0x3df; port is relative to 0x3b0. */
extern const MemOps vga_port_ops;
uint8_t vga_port_read(Vga *v, unsigned port);
void vga_port_write(Vga *v, unsigned port, uint8_t val);
void vga_ports_reset(Vga *v);

/* hw/display/vga-memory.c: 0xa0000..0xbffff, address relative to 0xa0000. */
extern const MemOps vga_window_ops;
/* Byte `offset` of the frame buffer was written. */
void vga_vram_written(Vga *v, uint32_t offset, uint32_t len);

/* hw/display/vga-dispi.c */
extern const MemOps vga_dispi_port_ops;
uint16_t vga_dispi_read(Vga *v, unsigned index);
void vga_dispi_write(Vga *v, unsigned index, uint16_t val);
void vga_dispi_reset(Vga *v);
/* Makes loaded registers consistent. */
void vga_dispi_check(Vga *v);
/* Bytes of n pixels of the present mode, 4 bits a pixel included. */
uint32_t vga_dispi_bytes(const Vga *v, uint32_t pixels);

/* hw/display/vga-draw.c */
DisplayLines vga_draw(Device *dev, DisplaySurface *surface);
bool vga_text(Device *dev, DisplayText *text);

#endif
