/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The picture: what the registers say about the frame buffer's contents, line by line.  A line is drawn again when
 * the registers or the pages it comes from changed.  Blinking characters and the cursor are shown in their on phase.
 */
#include <pixman.h>
#include <string.h>

#include "hw/display/vga.h"

#define PAGE_SIZE 4096u

enum { MODE_OFF, MODE_TEXT, MODE_PLANAR, MODE_CGA, MODE_256, MODE_8, MODE_15, MODE_16, MODE_24, MODE_32 };

/* --- what is to be drawn --- */

/* One bit of the overflow registers, as bit `to`. */
static unsigned overflow(const Vga *v, unsigned reg, unsigned bit, unsigned to)
{
    return (unsigned)(v->cr[reg] >> bit & 1) << to;
}

static void picture_text(const Vga *v, VgaPicture *p)
{
    /* The third bit of a character map's number is apart from the others. */
    static const uint8_t shifts[2][2] = {{0, 4}, {2, 5}};
    unsigned map = v->sr[SR_CHARACTER_MAP], start = v->cr[CR_CURSOR_START], end = v->cr[CR_CURSOR_END] & 0x1f;

    p->mode = MODE_TEXT;
    p->row_height = (v->cr[CR_MAX_SCAN] & 0x1fu) + 1;
    p->repeat = v->cr[CR_MAX_SCAN] & 0x80 ? 2 : 1;
    p->character_width = v->sr[SR_CLOCKING] & SR1_DOTS_8 ? 8 : 9;
    p->width = p->columns * p->character_width * p->dot;
    for (unsigned i = 0; i < 2; i++) {
        unsigned n = (map >> shifts[i][0] & 3) * 2 + (map >> shifts[i][1] & 1);

        p->fonts[i] = n * 0x2000 * VGA_PLANES + 2;
    }
    p->cursor = ((unsigned)v->cr[CR_CURSOR_HIGH] << 8 | v->cr[CR_CURSOR_LOW]) * VGA_PLANES;
    p->cursor_first = start & 0x20 ? 32 : start & 0x1f;
    p->cursor_last = end;
    p->blink = v->ar[AR_MODE] & AR10_BLINK;
    p->line_graphics = v->ar[AR_MODE] & AR10_LINE_GRAPHICS;
}

static void picture_graphics(const Vga *v, VgaPicture *p)
{
    unsigned shift = v->gr[GR_MODE];

    p->mode = shift & GR5_SHIFT_256 ? MODE_256 : shift & GR5_SHIFT_CGA ? MODE_CGA : MODE_PLANAR;
    p->repeat = ((v->cr[CR_MAX_SCAN] & 0x1fu) + 1) << (v->cr[CR_MAX_SCAN] >> 7);
    p->doubled = 1u << (v->cr[CR_MAX_SCAN] >> 7);
    /* CGA's odd lines: address bit 13, which counts bytes of one plane or (word mode) of two. */
    p->bank = v->cr[CR_MODE] & 1 ? 0 : (v->cr[CR_MODE] & 0x40 ? 0x2000 : 0x1000) * VGA_PLANES;
    p->width = p->columns * 8 * p->dot;
}

static void picture_vga(const Vga *v, VgaPicture *p)
{
    const uint8_t *cr = v->cr;

    p->columns = cr[CR_H_DISPLAY_END] + 1u;
    p->doubled = 1;
    p->dot = v->sr[SR_CLOCKING] & SR1_HALF_CLOCK ? 2 : 1;
    p->height = (cr[CR_V_DISPLAY_END] | overflow(v, CR_OVERFLOW, 1, 8) | overflow(v, CR_OVERFLOW, 6, 9)) + 1;
    p->line_compare = cr[CR_LINE_COMPARE] | overflow(v, CR_OVERFLOW, 4, 8) | overflow(v, CR_MAX_SCAN, 6, 9);
    p->start = ((unsigned)cr[CR_START_HIGH] << 8 | cr[CR_START_LOW]) * VGA_PLANES;
    p->pitch = cr[CR_OFFSET] * 2u * VGA_PLANES;
    if (v->gr[GR_MISC] & GR6_GRAPHICS) {
        picture_graphics(v, p);
    } else {
        picture_text(v, p);
    }
}

static void picture_dispi(const Vga *v, VgaPicture *p)
{
    static const uint8_t modes[] = {[4] = MODE_PLANAR, [8] = MODE_8, [15] = MODE_15, [16] = MODE_16, [24] = MODE_24, [32] = MODE_32};
    const uint16_t *r = v->dispi;

    p->mode = modes[r[DISPI_BPP]];
    p->width = r[DISPI_XRES];
    p->height = r[DISPI_YRES];
    p->line_compare = UINT32_MAX;
    p->columns = p->width / 8;
    p->repeat = p->dot = p->doubled = 1;
    p->pitch = vga_dispi_bytes(v, r[DISPI_VIRT_WIDTH]);
    p->start = vga_dispi_bytes(v, r[DISPI_X_OFFSET]) + r[DISPI_Y_OFFSET] * p->pitch;
    p->big_endian = v->big_endian;
}

static uint32_t dac_colour(const Vga *v, uint8_t index)
{
    const uint8_t *c = v->palette + 3 * (index & v->pel_mask);
    uint32_t rgb = 0;

    for (unsigned i = 0; i < 3; i++) {
        uint8_t part = v->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC ? c[i] : (uint8_t)((c[i] & 0x3f) << 2 | (c[i] & 0x3f) >> 4);

        rgb = rgb << 8 | part;
    }
    return rgb;
}

/* What the attribute controller makes of four bits. */
static uint8_t attribute_colour(const Vga *v, unsigned i)
{
    uint8_t low = v->ar[i & v->ar[AR_PLANE_ENABLE] & 15], select = v->ar[AR_COLOUR_SELECT];

    return v->ar[AR_MODE] & AR10_COLOUR_45 ? (uint8_t)((select & 15) << 4 | (low & 15))
                                           : (uint8_t)((select & 12) << 4 | (low & 0x3f));
}

static void picture_colours(const Vga *v, VgaPicture *p)
{
    bool sixteen = p->mode == MODE_TEXT || p->mode == MODE_PLANAR || p->mode == MODE_CGA;
    unsigned count = sixteen ? 16 : p->mode == MODE_256 || p->mode == MODE_8 ? 256 : 0;

    for (unsigned i = 0; i < count; i++) {
        p->colours[i] = dac_colour(v, sixteen ? attribute_colour(v, i) : (uint8_t)i);
    }
}

static void picture_now(const Vga *v, VgaPicture *p)
{
    memset(p, 0, sizeof(*p)); /* padding too: pictures are compared */
    if (v->dispi[DISPI_ENABLE] & DISPI_ENABLED) {
        picture_dispi(v, p);
    } else {
        picture_vga(v, p);
    }
    /* Until software turns it on, and while it is off, the screen is black. */
    if (!(v->ar_index & 0x20) || v->sr[SR_CLOCKING] & SR1_SCREEN_OFF) {
        p->mode = MODE_OFF;
    }
    if (p->width < 2 * 8) { /* no mode was ever set */
        p->width = 640;
        p->height = 480;
    }
    picture_colours(v, p);
}

/* --- lines --- */

typedef struct Line {
    const Vga *v;
    const VgaPicture *p;
    unsigned y;  /* from the top, or from the split */
    uint32_t at; /* of the frame buffer */
    uint32_t *out;
} Line;

static uint8_t vram_byte(const Line *l, uint64_t at)
{
    return at < l->v->vram_size ? __atomic_load_n(l->v->vram + at, __ATOMIC_RELAXED) : 0;
}

static uint32_t *put_dots(uint32_t *out, uint32_t colour, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        *out++ = colour;
    }
    return out;
}

static void draw_off(const Line *l)
{
    memset(l->out, 0, l->p->width * sizeof(uint32_t));
}

static void draw_text(const Line *l)
{
    const VgaPicture *p = l->p;
    unsigned scan = l->y / p->repeat % p->row_height;
    uint32_t *out = l->out;

    for (unsigned column = 0; column < p->columns; column++) {
        uint32_t at = l->at + column * VGA_PLANES;
        uint8_t ch = vram_byte(l, at), attr = vram_byte(l, at + 1);
        unsigned glyph = vram_byte(l, p->fonts[attr >> 3 & 1] + (ch * 32u + scan) * VGA_PLANES) << 1;
        unsigned ink = attr & 15, paper = attr >> 4 & (p->blink ? 7 : 15);

        if (p->line_graphics && ch >= 0xc0 && ch <= 0xdf) {
            glyph |= glyph >> 1 & 1;
        }
        if (at == p->cursor && scan >= p->cursor_first && scan <= p->cursor_last) {
            glyph = 0x1ff;
        }
        for (unsigned bit = 0; bit < p->character_width; bit++) {
            out = put_dots(out, p->colours[glyph >> (8 - bit) & 1 ? ink : paper], p->dot);
        }
    }
}

static void draw_planar(const Line *l)
{
    uint32_t *out = l->out;

    for (unsigned column = 0; column < l->p->columns; column++) {
        uint64_t at = l->at + (uint64_t)column * VGA_PLANES;
        uint8_t plane[VGA_PLANES];

        for (unsigned i = 0; i < VGA_PLANES; i++) {
            plane[i] = vram_byte(l, at + i);
        }
        for (unsigned bit = 8; bit-- > 0;) {
            unsigned c = (plane[0] >> bit & 1u) | (plane[1] >> bit & 1u) << 1 | (plane[2] >> bit & 1u) << 2 | (plane[3] >> bit & 1u) << 3;

            out = put_dots(out, l->p->colours[c], l->p->dot);
        }
    }
}

/* Two bits a pixel: from planes 0 and 1 one after the other, the upper two bits from planes 2 and 3. */
static void draw_cga(const Line *l)
{
    uint32_t *out = l->out;

    for (unsigned column = 0; column < l->p->columns; column++) {
        uint64_t at = l->at + (uint64_t)column * VGA_PLANES;

        for (unsigned i = 0; i < 2; i++) {
            uint8_t low = vram_byte(l, at + i), high = vram_byte(l, at + 2 + i);

            for (unsigned shift = 8; shift > 0; shift -= 2) {
                out = put_dots(out, l->p->colours[(low >> (shift - 2) & 3) | (high >> (shift - 2) & 3) << 2], l->p->dot);
            }
        }
    }
}

static void draw_256(const Line *l)
{
    uint32_t *out = l->out;

    for (unsigned i = 0; i < l->p->columns * VGA_PLANES; i++) {
        out = put_dots(out, l->p->colours[vram_byte(l, l->at + (uint64_t)i)], 2 * l->p->dot);
    }
}

/* --- linear modes: the line lies inside the frame buffer --- */

static void draw_8(const Line *l)
{
    const uint8_t *in = l->v->vram + l->at;

    for (unsigned x = 0; x < l->p->width; x++) {
        l->out[x] = l->p->colours[in[x]];
    }
}

/* 15, 16, 24 and 32 bits. */
static void draw_direct(const Line *l)
{
    /* As the bytes lie: of 15 and 16 bits that are big-endian they are swapped before. */
    static const pixman_format_code_t formats[][2] = {[MODE_15] = {PIXMAN_x1r5g5b5, PIXMAN_x1r5g5b5},
                                                      [MODE_16] = {PIXMAN_r5g6b5, PIXMAN_r5g6b5},
                                                      [MODE_24] = {PIXMAN_r8g8b8, PIXMAN_b8g8r8},
                                                      [MODE_32] = {PIXMAN_x8r8g8b8, PIXMAN_b8g8r8x8}};
    bool swap = l->p->big_endian && l->p->mode <= MODE_16;
    int width = (int)l->p->width, stride = (int)(vga_dispi_bytes(l->v, l->p->width) + 3) & ~3; /* it counts words, of one line */
    g_autofree uint16_t *swapped = swap ? g_new(uint16_t, width) : NULL;
    const void *in = swap ? (const void *)swapped : l->v->vram + l->at;
    pixman_image_t *from, *to;

    for (int x = 0; swap && x < width; x++) {
        memcpy(&swapped[x], l->v->vram + l->at + 2 * x, sizeof(*swapped));
        swapped[x] = GUINT16_SWAP_LE_BE(swapped[x]);
    }
    from = pixman_image_create_bits(formats[l->p->mode][l->p->big_endian], width, 1, (uint32_t *)in, stride);
    to = pixman_image_create_bits(PIXMAN_x8r8g8b8, width, 1, l->out, width * 4);
    pixman_image_composite32(PIXMAN_OP_SRC, from, NULL, to, 0, 0, 0, 0, 0, 0, width, 1);
    pixman_image_unref(from);
    pixman_image_unref(to);
    for (int x = 0; x < width; x++) {
        l->out[x] &= 0xffffff;
    }
}

static void (*const draw_line[])(const Line *l) = {
    [MODE_OFF] = draw_off, [MODE_TEXT] = draw_text, [MODE_PLANAR] = draw_planar, [MODE_CGA] = draw_cga,
    [MODE_256] = draw_256, [MODE_8] = draw_8,       [MODE_15] = draw_direct,     [MODE_16] = draw_direct,
    [MODE_24] = draw_direct, [MODE_32] = draw_direct,
};

/* --- the picture --- */

static bool is_linear(unsigned mode)
{
    return mode >= MODE_8;
}

/* Where line y begins. */
static Line line_at(const Vga *v, const VgaPicture *p, unsigned y)
{
    bool split = y > p->line_compare;
    Line l = {.v = v, .p = p, .y = split ? y - p->line_compare - 1 : y};
    unsigned row = l.y / (p->repeat * (p->mode == MODE_TEXT ? p->row_height : 1));

    l.at = (split ? 0 : p->start) + row * p->pitch + (l.y % p->repeat / p->doubled & 1) * p->bank;
    return l;
}

static bool pages_dirty(const uint64_t *dirty, uint32_t first, uint32_t last)
{
    for (uint32_t page = first / PAGE_SIZE; page <= last / PAGE_SIZE; page++) {
        if (dirty[page / 64] >> (page % 64) & 1) {
            return true;
        }
    }
    return false;
}

static bool line_dirty(const Vga *v, const VgaPicture *p, const Line *l, const uint64_t *dirty)
{
    if (!is_linear(p->mode)) {
        return pages_dirty(dirty, 0, VGA_PLANES_BYTES - 1); /* fonts and text share pages */
    }
    return pages_dirty(dirty, l->at, l->at + vga_dispi_bytes(v, p->width) - 1);
}

DisplayLines vga_draw(Device *dev, DisplaySurface *surface)
{
    Vga *v = (Vga *)dev;
    g_autofree uint64_t *dirty = g_new(uint64_t, v->vram_size / PAGE_SIZE / 64 + 1);
    bool all = !v->tracked;
    DisplayLines lines = {0};
    VgaPicture p;

    if (!v->tracked) {
        mem_region_dirty_track(v->vram_region, MEM_DIRTY_DISPLAY, true);
        v->tracked = true;
    }
    picture_now(v, &p);
    all |= display_surface_resize(surface, p.width, p.height) || memcmp(&p, &v->picture, sizeof(p)) != 0;
    v->picture = p;
    if (!mem_region_dirty_take(v->vram_region, MEM_DIRTY_DISPLAY, 0, v->vram_size, dirty) && !all) {
        return lines;
    }
    for (unsigned y = 0; y < surface->height; y++) {
        Line l = line_at(v, &p, y);

        l.out = surface->pixels + (size_t)y * surface->width;
        if (all || line_dirty(v, &p, &l, dirty)) {
            draw_line[p.mode](&l);
            lines.first = lines.count ? lines.first : y;
            lines.count = y + 1 - lines.first;
        }
    }
    return lines;
}

bool vga_text(Device *dev, DisplayText *text)
{
    const Vga *v = (const Vga *)dev;
    VgaPicture p;
    Line l = {.v = v, .p = &p};

    picture_now(v, &p);
    if (p.mode != MODE_TEXT) {
        return false;
    }
    text->columns = MIN(p.columns, DISPLAY_TEXT_COLUMNS);
    text->rows = MIN(p.height / (p.row_height * p.repeat), DISPLAY_TEXT_CELLS / text->columns);
    text->cursor_x = text->cursor_y = -1;
    for (unsigned i = 0; i < text->columns * text->rows; i++) {
        uint32_t at = p.start + i / text->columns * p.pitch + i % text->columns * VGA_PLANES;

        text->cells[i] = (uint16_t)(vram_byte(&l, at) | vram_byte(&l, at + 1) << 8);
        if (at == p.cursor && p.cursor_first <= p.cursor_last) {
            text->cursor_x = (int)(i % text->columns);
            text->cursor_y = (int)(i / text->columns);
        }
    }
    return true;
}
