/* SPDX-License-Identifier: BSD-3-Clause */
/* PCI configuration space, header type 0 (PCI Local Bus 3.0 section 6.1), as devices edit it in place. */
#ifndef LIB_VFIO_USER_PCI_DEFS_H
#define LIB_VFIO_USER_PCI_DEFS_H

#include <linux/pci_regs.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef union {
    uint32_t raw;
    struct {
        uint16_t vid;
        uint16_t did;
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_id_t;

typedef union {
    uint16_t raw;
    struct {
        uint8_t iose : 1;
        uint8_t mse : 1;
        uint8_t bme : 1;
        uint8_t sce : 1;
        uint8_t mwie : 1;
        uint8_t vga : 1;
        uint8_t pee : 1;
        uint8_t zero : 1;
        uint8_t see : 1;
        uint8_t fbe : 1;
        uint8_t id : 1;
        uint8_t res1 : 5;
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_cmd_t;

typedef union {
    uint16_t raw;
    struct {
        uint8_t res1 : 3;
        uint8_t is : 1;
        uint8_t cl : 1;
        uint8_t c66 : 1;
        uint8_t res2 : 1;
        uint8_t fbc : 1;
        uint8_t dpd : 1;
        uint8_t devt : 2;
        uint8_t sta : 1;
        uint8_t rta : 1;
        uint8_t rma : 1;
        uint8_t sse : 1;
        uint8_t dpe : 1;
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_sts_t;

typedef struct {
    uint8_t pi;
    uint8_t scc;
    uint8_t bcc;
} __attribute__((packed)) vfu_pci_hdr_cc_t;

typedef union {
    uint8_t raw;
    struct {
        uint8_t hl : 7;
        uint8_t mfd : 1;
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_htype_t;

typedef union {
    uint8_t raw;
    struct {
        uint8_t cc : 4;
        uint8_t res1 : 2;
        uint8_t sb : 1;
        uint8_t bc : 1;
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_bist_t;

typedef union {
    uint32_t raw;
    struct {
        unsigned int region_type : 1; /* 0: memory */
        unsigned int locatable : 2;   /* 2: 64 bits */
        unsigned int prefetchable : 1;
        unsigned int base_address : 28;
    } __attribute__((packed)) mem;
    struct {
        unsigned int region_type : 1; /* 1: I/O */
        unsigned int reserved : 1;
        unsigned int base_address : 30;
    } __attribute__((packed)) io;
} __attribute__((packed)) vfu_bar_t;

typedef union {
    uint32_t raw;
    struct {
        uint16_t vid;
        uint16_t sid;
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_ss_t;

typedef union {
    uint16_t raw;
    struct {
        uint8_t iline;
        uint8_t ipin;
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_intr_t;

typedef union {
    uint8_t raw[PCI_STD_HEADER_SIZEOF];
    struct {
        vfu_pci_hdr_id_t id;
        vfu_pci_hdr_cmd_t cmd;
        vfu_pci_hdr_sts_t sts;
        uint8_t rid;
        vfu_pci_hdr_cc_t cc;
        uint8_t cls;
        uint8_t mlt;
        vfu_pci_hdr_htype_t htype;
        vfu_pci_hdr_bist_t bist;
#define PCI_BARS_NR 6
        vfu_bar_t bars[PCI_BARS_NR];
        uint32_t ccptr;
        vfu_pci_hdr_ss_t ss;
        uint32_t erom;
        uint8_t cap;
        uint8_t res1[7];
        vfu_pci_hdr_intr_t intr;
        uint8_t mgnt;
        uint8_t mlat;
    } __attribute__((packed));
} __attribute__((packed)) vfu_pci_hdr_t;

typedef struct {
    uint8_t raw[PCI_CFG_SPACE_SIZE - PCI_STD_HEADER_SIZEOF];
} __attribute__((packed)) vfu_pci_non_std_t;

/* The first 256 bytes; on PCI-X 2 and PCI Express the extended space follows. */
typedef struct {
    union {
        uint8_t raw[PCI_CFG_SPACE_SIZE];
        struct {
            vfu_pci_hdr_t hdr;
            vfu_pci_non_std_t non_std;
        } __attribute__((packed));
    } __attribute__((packed));
    uint8_t extended[];
} __attribute__((packed)) vfu_pci_config_space_t;

#ifdef __cplusplus
}
#endif

#endif
