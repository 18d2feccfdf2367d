/* SPDX-License-Identifier: BSD-3-Clause */
/* MSI-X capability (PCI Local Bus 3.0 section 6.8.2). */
#ifndef LIB_VFIO_USER_PCI_CAPS_MSIX_H
#define LIB_VFIO_USER_PCI_CAPS_MSIX_H

#include "common.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mxc { /* message control */
    unsigned int ts : 11; /* table size - 1 */
    unsigned int res1 : 3;
    unsigned int fm : 1;
    unsigned int mxe : 1;
} __attribute__((packed));

struct mtab {
    unsigned int tbir : 3;
    unsigned int to : 29; /* in units of 8 bytes */
} __attribute__((packed));

struct mpba {
    unsigned int pbir : 3;
    unsigned int pbao : 29; /* in units of 8 bytes */
} __attribute__((packed));

struct msixcap {
    struct cap_hdr hdr;
    struct mxc mxc;
    struct mtab mtab;
    struct mpba mpba;
} __attribute__((packed));

#ifdef __cplusplus
}
#endif

#endif
