/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VGA's I/O ports: sequencer, graphics, attribute and CRT controllers, and the DAC (IBM PS/2 Hardware Interface TR). */
#include <string.h>

#include "hw/display/vga.h"

/* A picture takes 449 lines at 70 Hz, 400 of them visible. */
#define FRAME_NS      (INT64_C(1000000000) / 70)
#define FRAME_LINES   449
#define VISIBLE_LINES 400
#define LINE_DOTS     100 /* per cent */
#define VISIBLE_DOTS  80

enum { STATUS_BLANK = 1 << 0, STATUS_RETRACE = 1 << 3 };
enum { CR11_PROTECT = 1 << 7, CR7_LINE_COMPARE = 1 << 4 };

/* Bits that exist. */
static const uint8_t sr_bits[VGA_SR_COUNT] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const uint8_t gr_bits[VGA_GR_COUNT] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
static const uint8_t ar_bits[VGA_AR_COUNT] = {
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f,
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0xef, 0xff, 0x3f, 0x0f, 0x0f,
};

/*
 * Where the beam is.  Retrace is said to last as long as the vertical blanking, not just the two lines of the pulse:
 * a guest that polls for it through a slow exit would miss those.
 */
static uint8_t input_status_1(Vga *v)
{
    int64_t now = clock_now(v->pci.dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL);
    int64_t in_frame = now % FRAME_NS * FRAME_LINES;
    int64_t line = in_frame / FRAME_NS, dot = in_frame % FRAME_NS * LINE_DOTS / FRAME_NS;

    v->ar_data = false;
    if (line >= VISIBLE_LINES) {
        return STATUS_BLANK | STATUS_RETRACE;
    }
    return dot >= VISIBLE_DOTS ? STATUS_BLANK : 0;
}

static void attribute_write(Vga *v, uint8_t val)
{
    if (!v->ar_data) {
        v->ar_index = val & 0x3f;
    } else if ((v->ar_index & 0x1f) < VGA_AR_COUNT) {
        v->ar[v->ar_index & 0x1f] = val & ar_bits[v->ar_index & 0x1f];
    }
    v->ar_data = !v->ar_data;
}

static uint8_t attribute_read(const Vga *v)
{
    unsigned index = v->ar_index & 0x1f;

    return index < VGA_AR_COUNT ? v->ar[index] : 0;
}

static void crtc_write(Vga *v, uint8_t val)
{
    unsigned index = v->cr_index;

    if (index >= VGA_CR_COUNT) {
        return;
    }
    if (v->cr[CR_V_SYNC_END] & CR11_PROTECT && index <= CR_OVERFLOW) {
        if (index == CR_OVERFLOW) {
            v->cr[index] = (uint8_t)((v->cr[index] & ~CR7_LINE_COMPARE) | (val & CR7_LINE_COMPARE));
        }
        return;
    }
    v->cr[index] = val;
}

/* Three writes make a colour; it counts when it is complete. */
static void dac_write(Vga *v, uint8_t val)
{
    v->dac_new[v->dac_component++] = val;
    if (v->dac_component == 3) {
        memcpy(v->palette + 3 * v->dac_index, v->dac_new, 3);
        v->dac_component = 0;
        v->dac_index++;
    }
}

static uint8_t dac_read(Vga *v)
{
    uint8_t val = v->palette[3 * v->dac_index + v->dac_component];

    if (++v->dac_component == 3) {
        v->dac_component = 0;
        v->dac_index++;
    }
    return val;
}

static void dac_select(Vga *v, uint8_t index, uint8_t state)
{
    v->dac_index = index;
    v->dac_component = 0;
    v->dac_state = state;
}

/* The CRT controller and input status 1 are at 0x3bx or at 0x3dx. */
static bool port_decoded(const Vga *v, unsigned port)
{
    bool colour = v->misc & VGA_MISC_COLOUR_PORTS;

    return port < 0x3c0 ? !colour : port < 0x3d0 || colour;
}

uint8_t vga_port_read(Vga *v, unsigned port)
{
    port += VGA_PORTS_BASE;
    if (!port_decoded(v, port)) {
        return 0xff;
    }
    switch (port) {
    case 0x3c0: return v->ar_data ? 0 : v->ar_index;
    case 0x3c1: return attribute_read(v);
    case 0x3c2: return 0; /* no interrupt, no switch */
    case 0x3c3: return 1; /* always enabled: PCI's command register decides */
    case 0x3c4: return v->sr_index;
    case 0x3c5: return v->sr_index < VGA_SR_COUNT ? v->sr[v->sr_index] : 0;
    case 0x3c6: return v->pel_mask;
    case 0x3c7: return v->dac_state;
    case 0x3c8: return v->dac_index;
    case 0x3c9: return dac_read(v);
    case 0x3ca: return v->feature;
    case 0x3cc: return v->misc;
    case 0x3ce: return v->gr_index;
    case 0x3cf: return v->gr_index < VGA_GR_COUNT ? v->gr[v->gr_index] : 0;
    case 0x3b4: case 0x3d4: return v->cr_index;
    case 0x3b5: case 0x3d5: return v->cr_index < VGA_CR_COUNT ? v->cr[v->cr_index] : 0;
    case 0x3ba: case 0x3da: return input_status_1(v);
    default: return 0xff;
    }
}

void vga_port_write(Vga *v, unsigned port, uint8_t val)
{
    port += VGA_PORTS_BASE;
    if (!port_decoded(v, port)) {
        return;
    }
    switch (port) {
    case 0x3c0: attribute_write(v, val); break;
    case 0x3c2: v->misc = val & 0xef; break;
    case 0x3c4: v->sr_index = val & 7; break;
    case 0x3c5:
        if (v->sr_index < VGA_SR_COUNT) {
            v->sr[v->sr_index] = val & sr_bits[v->sr_index];
        }
        break;
    case 0x3c6: v->pel_mask = val; break;
    case 0x3c7: dac_select(v, val, 3); break;
    case 0x3c8: dac_select(v, val, 0); break;
    case 0x3c9: dac_write(v, val); break;
    case 0x3ce: v->gr_index = val & 0x0f; break;
    case 0x3cf:
        if (v->gr_index < VGA_GR_COUNT) {
            v->gr[v->gr_index] = val & gr_bits[v->gr_index];
        }
        break;
    case 0x3b4: case 0x3d4: v->cr_index = val; break;
    case 0x3b5: case 0x3d5: crtc_write(v, val); break;
    case 0x3ba: case 0x3da: v->feature = val & 0x10; break;
    default: break;
    }
}

static MemResult ports_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = vga_port_read(opaque, (unsigned)addr);
    return MEM_OK;
}

static MemResult ports_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    vga_port_write(opaque, (unsigned)addr, (uint8_t)val);
    return MEM_OK;
}

const MemOps vga_port_ops = {.read = ports_read, .write = ports_write, .min_size = 1, .max_size = 1, .unaligned = true};

void vga_ports_reset(Vga *v)
{
    v->misc = v->feature = v->sr_index = v->gr_index = v->ar_index = v->cr_index = 0;
    v->ar_data = false;
    memset(v->sr, 0, sizeof(v->sr));
    memset(v->gr, 0, sizeof(v->gr));
    memset(v->ar, 0, sizeof(v->ar));
    memset(v->cr, 0, sizeof(v->cr));
    memset(v->latch, 0, sizeof(v->latch));
    memset(v->palette, 0, sizeof(v->palette));
    v->pel_mask = 0xff;
    dac_select(v, 0, 0);
}
