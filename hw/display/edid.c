/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A monitor's EDID 1.4 base block (VESA E-EDID, section 3): one preferred timing, sRGB colours, 96 dots an inch. */
#include "hw/display/edid.h"

#include <string.h>

#define EDID_DPI 96
/* Blanking of the preferred timing: what VESA's CVT with reduced blanking needs. */
#define EDID_H_BLANK 160u
#define EDID_H_FRONT 48u
#define EDID_H_SYNC  32u
#define EDID_V_BLANK 35u
#define EDID_V_FRONT 3u
#define EDID_V_SYNC  6u
#define EDID_REFRESH 60u
#define EDID_CLOCK_MAX 65535u /* in 10 kHz */

static unsigned millimetres(unsigned pixels)
{
    return pixels * 254 / (10 * EDID_DPI);
}

/* Section 3.10.2: a detailed timing descriptor. */
static void fill_timing(uint8_t *d, unsigned width, unsigned height)
{
    unsigned clock = (width + EDID_H_BLANK) * (height + EDID_V_BLANK) / 10000 * EDID_REFRESH;
    unsigned mm_w = millimetres(width), mm_h = millimetres(height);

    clock = clock > EDID_CLOCK_MAX ? EDID_CLOCK_MAX : clock;
    d[0] = (uint8_t)clock;
    d[1] = (uint8_t)(clock >> 8);
    d[2] = (uint8_t)width;
    d[3] = EDID_H_BLANK;
    d[4] = (uint8_t)(width >> 8 << 4);
    d[5] = (uint8_t)height;
    d[6] = EDID_V_BLANK;
    d[7] = (uint8_t)(height >> 8 << 4);
    d[8] = EDID_H_FRONT;
    d[9] = EDID_H_SYNC;
    d[10] = EDID_V_FRONT << 4 | EDID_V_SYNC;
    d[12] = (uint8_t)mm_w;
    d[13] = (uint8_t)mm_h;
    d[14] = (uint8_t)(mm_w >> 8 << 4 | mm_h >> 8);
    d[17] = 0x18; /* digital, separate sync */
}

/* Section 3.10.3: a descriptor with a tag. */
static void fill_descriptor(uint8_t *d, uint8_t tag, const char *payload, unsigned len)
{
    d[3] = tag;
    memset(d + 5, ' ', 13);
    memcpy(d + 5, payload, len);
}

void edid_fill(uint8_t edid[EDID_SIZE], unsigned width, unsigned height)
{
    static const uint8_t header[8] = {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0};
    /* "MPQ" in five-bit letters, product 1, serial 0, model year 2026 */
    static const uint8_t product[10] = {0x36, 0x11, 0x01, 0, 0, 0, 0, 0, 0xff, 2026 - 1990};
    /* sRGB: red 0.640 0.330, green 0.300 0.600, blue 0.150 0.060, white 0.3127 0.3290 */
    static const uint8_t colours[10] = {0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54};
    /* 50..125 Hz, 30..160 kHz, 2550 MHz; no formula */
    static const char limits[] = {50, 125, 30, (char)160, (char)255, 1, '\n'};
    uint8_t sum = 0;

    memset(edid, 0, EDID_SIZE);
    memcpy(edid, header, sizeof(header));
    memcpy(edid + 8, product, sizeof(product));
    edid[18] = 1;
    edid[19] = 4;
    edid[20] = 0xa5; /* digital, 8 bits a colour, DisplayPort */
    edid[21] = (uint8_t)((millimetres(width) + 5) / 10);
    edid[22] = (uint8_t)((millimetres(height) + 5) / 10);
    edid[23] = 120;  /* gamma 2.2 */
    edid[24] = 0x06; /* sRGB; the first timing is the native one */
    memcpy(edid + 25, colours, sizeof(colours));
    edid[35] = 0x21; /* 640x480 and 800x600 at 60 Hz */
    edid[36] = 0x08; /* 1024x768 at 60 Hz */
    memset(edid + 38, 1, 16); /* no standard timings */
    fill_timing(edid + 54, width, height);
    fill_descriptor(edid + 72, 0xfc, "mpqemu\n", 7);
    fill_descriptor(edid + 90, 0xfd, limits, sizeof(limits));
    fill_descriptor(edid + 108, 0xff, "0\n", 2);
    for (unsigned i = 0; i < EDID_SIZE - 1; i++) {
        sum = (uint8_t)(sum + edid[i]);
    }
    edid[EDID_SIZE - 1] = (uint8_t)-sum;
}
