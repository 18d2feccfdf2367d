/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The power management ports B2h (APM_CNT) and B3h (APM_STS), by which software asks for a system management interrupt.
 * Context: home loop's lock.
 */
#ifndef HW_ISA_APM_H
#define HW_ISA_APM_H

#include "core/machine.h"

typedef struct ApmPorts {
    Device dev;
    /* wiring, set before start */
    MemRegion *io; /* borrowed */
    void (*command)(void *opaque, uint8_t command, unsigned vcpu); /* vCPU wrote to APM_CNT; on its thread */
    void *opaque;
    MemRegion *region;
    uint8_t cnt, sts;
} ApmPorts;

extern const DeviceModel apm_ports_model;

#endif
