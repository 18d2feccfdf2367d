/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI capability headers and vendor-specific capabilities (PCI Local Bus 3.0 section 6.7, PCI Express Base 7.6.3, 7.9.6). */
#ifndef LIB_VFIO_USER_PCI_CAPS_COMMON_H
#define LIB_VFIO_USER_PCI_CAPS_COMMON_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cap_hdr {
    uint8_t id;
    uint8_t next;
} __attribute__((packed));

/* Vendor-specific capability; size counts all its bytes. */
struct vsc {
    struct cap_hdr hdr;
    uint8_t size;
    uint8_t data[];
} __attribute__((packed));

struct pcie_ext_cap_hdr {
    unsigned int id : 16;
    unsigned int version : 4;
    unsigned int next : 12;
} __attribute__((packed));

/* Vendor-specific extended capability; len counts all its bytes. */
struct pcie_ext_cap_vsc_hdr {
    struct pcie_ext_cap_hdr hdr;
    unsigned int id : 16;
    unsigned int rev : 4;
    unsigned int len : 12;
    uint8_t data[];
} __attribute__((packed));

#ifdef __cplusplus
}
#endif

#endif
