/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fixed ports of the chip set: NMI_SC, PORT92, POST, RST_CNT.  Context: home loop's lock. */
#ifndef HW_ISA_CHIPSET_PORTS_H
#define HW_ISA_CHIPSET_PORTS_H

#include "hw/timer/i8254.h"

#define CHIPSET_PORT_COUNT 3

typedef struct ChipsetPorts {
    Device dev;
    MemRegion *io; /* wiring, set before start; borrowed */
    Pit *pit;      /* wiring; borrowed */
    MemRegion *regions[CHIPSET_PORT_COUNT];
    uint8_t nmi_sc, port92, post, rst_cnt;
} ChipsetPorts;

extern const DeviceModel chipset_ports_model;

/* RST_CNT (CF9h), a byte. */
uint8_t chipset_ports_read_rst_cnt(const ChipsetPorts *s);
void chipset_ports_write_rst_cnt(ChipsetPorts *s, uint8_t val);

#endif
