/* SPDX-License-Identifier: BSD-3-Clause */
/* Message signalled interrupts capability, with 64-bit address and masking (PCI Local Bus 3.0 section 6.8.1). */
#ifndef LIB_VFIO_USER_PCI_CAPS_MSI_H
#define LIB_VFIO_USER_PCI_CAPS_MSI_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mc { /* message control */
    unsigned int msie : 1;
    unsigned int mmc : 3;
    unsigned int mme : 3;
    unsigned int c64 : 1;
    unsigned int pvm : 1;
    unsigned int res1 : 7;
} __attribute__((packed));

struct ma { /* message address */
    unsigned int res1 : 2;
    unsigned int addr : 30;
} __attribute__((packed));

struct msicap {
    struct cap_hdr hdr;
    struct mc mc;
    struct ma ma;
    uint32_t mua;
    uint16_t md;
    uint16_t padding;
    uint32_t mmask;
    uint32_t mpend;
} __attribute__((packed));

#ifdef __cplusplus
}
#endif

#endif
