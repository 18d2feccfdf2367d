/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The identification data of a monitor (VESA E-EDID standard, release A: one base block, EDID 1.4). */
#ifndef HW_DISPLAY_EDID_H
#define HW_DISPLAY_EDID_H

#include <stdint.h>

#define EDID_SIZE 128

/* Fills edid for a digital monitor that prefers width x height (1..4095 each) at 60 Hz. */
void edid_fill(uint8_t edid[EDID_SIZE], unsigned width, unsigned height);

#endif
