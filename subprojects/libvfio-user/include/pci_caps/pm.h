/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI power management capability (PCI Bus Power Management 1.2, section 3.2). */
#ifndef LIB_VFIO_USER_PCI_CAPS_PM_H
#define LIB_VFIO_USER_PCI_CAPS_PM_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

struct pc { /* PMC */
    unsigned int vs : 3;
    unsigned int pmec : 1;
    unsigned int res : 1;
    unsigned int dsi : 1;
    unsigned int auxc : 3;
    unsigned int d1s : 1;
    unsigned int d2s : 1;
    unsigned int psup : 5;
} __attribute__((packed));

struct pmcs { /* PMCSR */
    union {
        uint16_t raw;
        struct {
            unsigned int ps : 2;
            unsigned int res1 : 1;
            unsigned int nsfrst : 1;
            unsigned int res2 : 4;
            unsigned int pmee : 1;
            unsigned int dse : 4;
            unsigned int dsc : 2;
            unsigned int pmes : 1;
        } __attribute__((packed));
    };
} __attribute__((packed));

struct pmcap {
    struct cap_hdr hdr;
    struct pc pc;
    struct pmcs pmcs;
    uint8_t pmcsr_se; /* bridge extensions */
    uint8_t data;
} __attribute__((packed, aligned(8)));

#ifdef __cplusplus
}
#endif

#endif
