/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers, tables, descriptors and fault reasons of the remapping hardware (Intel Virtualization Technology for
 * Directed I/O, revision 3.3: 9 tables, 6.5 invalidation, 7.2 fault reasons, 11.4 registers; legacy mode).
 */
#ifndef HW_I386_INTEL_IOMMU_REGS_H
#define HW_I386_INTEL_IOMMU_REGS_H

/* Registers (11.4). */
#define DMAR_VER_REG     0x00
#define DMAR_CAP_REG     0x08
#define DMAR_ECAP_REG    0x10
#define DMAR_GCMD_REG    0x18
#define DMAR_GSTS_REG    0x1c
#define DMAR_RTADDR_REG  0x20
#define DMAR_CCMD_REG    0x28
#define DMAR_FSTS_REG    0x34
#define DMAR_FECTL_REG   0x38
#define DMAR_FEDATA_REG  0x3c
#define DMAR_FEADDR_REG  0x40
#define DMAR_FEUADDR_REG 0x44
#define DMAR_IQH_REG     0x80
#define DMAR_IQT_REG     0x88
#define DMAR_IQA_REG     0x90
#define DMAR_ICS_REG     0x9c
#define DMAR_IECTL_REG   0xa0
#define DMAR_IEDATA_REG  0xa4
#define DMAR_IEADDR_REG  0xa8
#define DMAR_IEUADDR_REG 0xac
#define DMAR_IRTA_REG    0xb8
/* Where the capability registers say these are. */
#define DMAR_IVA_REG     0xf0
#define DMAR_IOTLB_REG   0xf8
#define DMAR_FRCD_REG    0x220
#define DMAR_FRCD_COUNT  8

/* CAP_REG (11.4.2) */
#define CAP_ND_16BIT  0x6ull /* domain ids of 16 bits */
#define CAP_CM        (1ull << 7)
#define CAP_SAGAW_39  (1ull << 9)
#define CAP_SAGAW_48  (1ull << 10)
#define CAP_MGAW(v)   ((uint64_t)(v) << 16)
#define CAP_ZLR       (1ull << 22)
#define CAP_FRO       ((uint64_t)DMAR_FRCD_REG / 16 << 24)
#define CAP_SLLPS     (3ull << 34) /* pages of 2 MiB and 1 GiB */
#define CAP_PSI       (1ull << 39)
#define CAP_NFR       ((uint64_t)(DMAR_FRCD_COUNT - 1) << 40)
#define CAP_MAMV      (18ull << 48) /* page-selective invalidations of up to 2^18 pages */
#define CAP_MAMV_MAX  18
#define CAP_DWD       (1ull << 54)
#define CAP_DRD       (1ull << 55)

/* ECAP_REG (11.4.3) */
#define ECAP_C    (1ull << 0)
#define ECAP_QI   (1ull << 1)
#define ECAP_IR   (1ull << 3)
#define ECAP_EIM  (1ull << 4)
#define ECAP_PT   (1ull << 6)
#define ECAP_IRO  ((uint64_t)DMAR_IVA_REG / 16 << 8)
#define ECAP_MHMV (15ull << 20)

/* GCMD_REG, GSTS_REG (11.4.4) */
#define GCMD_TE    (1u << 31)
#define GCMD_SRTP  (1u << 30)
#define GCMD_QIE   (1u << 26)
#define GCMD_IRE   (1u << 25)
#define GCMD_SIRTP (1u << 24)
#define GCMD_CFI   (1u << 23)

/* RTADDR_REG, IRTA_REG, IQA_REG */
#define RTADDR_TTM      0xc00ull /* table type: 0 is legacy mode */
#define IRTA_EIME       (1ull << 11)
#define IRTA_ENTRIES(v) (2u << ((v)&0xf))
#define IQA_DW          (1ull << 11)
#define IQA_ENTRIES(v)  (256u << ((v)&7))
#define IQ_INDEX_MASK   0x7fff0ull /* of IQH_REG and IQT_REG: bytes */

/* CCMD_REG (11.4.6.1), IOTLB_REG (11.4.6.2.1), IVA_REG */
#define CCMD_ICC        (1ull << 63)
#define CCMD_CIRG(v)    ((unsigned)((v) >> 61) & 3)
#define CCMD_CAIG(g)    ((uint64_t)(g) << 59)
#define CCMD_FM(v)      ((unsigned)((v) >> 32) & 3)
#define CCMD_SID(v)     ((uint16_t)((v) >> 16))
#define CCMD_DID(v)     ((uint16_t)(v))
#define IOTLB_IVT       (1ull << 63)
#define IOTLB_IIRG(v)   ((unsigned)((v) >> 60) & 3)
#define IOTLB_IAIG(g)   ((uint64_t)(g) << 57)
#define IOTLB_DID(v)    ((uint16_t)((v) >> 32))
#define IVA_AM(v)       ((unsigned)(v)&0x3f)

/* Granularities of both. */
enum { INV_RESERVED, INV_GLOBAL, INV_DOMAIN, INV_SELECTIVE };

/* FSTS_REG, FECTL_REG, ICS_REG, IECTL_REG */
#define FSTS_PFO    (1u << 0)
#define FSTS_PPF    (1u << 1)
#define FSTS_IQE    (1u << 4)
#define FSTS_FRI(n) ((uint32_t)(n) << 8)
#define EVENT_IM    (1u << 31)
#define EVENT_IP    (1u << 30)
#define ICS_IWC     (1u << 0)

/* FRCD_REG, upper half (11.4.14) */
#define FRCD_F      (1ull << 63)
#define FRCD_T_READ (1ull << 62)
#define FRCD_FR(v)  ((uint64_t)(v) << 32)

/* Root and context entries (9.1, 9.3). */
#define ROOT_P             1ull
#define ROOT_RESERVED      0xffeull
#define TABLE_ADDRESS      0xffffffffff000ull
#define CONTEXT_P          1ull
#define CONTEXT_FPD        2ull
#define CONTEXT_TT(v)      ((unsigned)((v) >> 2) & 3)
#define CONTEXT_TT_PASS    2
#define CONTEXT_AW(v)      ((unsigned)(v)&7)
#define CONTEXT_DID(v)     ((uint16_t)((v) >> 8))
#define CONTEXT_RESERVED   0xff0ull
#define CONTEXT_RESERVED_H 0xffffffffff000080ull

/* Second-level entries (9.8). */
#define SL_R           1ull
#define SL_W           2ull
#define SL_PS          0x80ull
#define SL_SNP         0x800ull
#define SL_TM          (1ull << 62)
#define SL_INDEX_BITS  9
#define SL_ENTRIES     512u

/* Guest-physical addresses the board has: bits above are reserved in tables. */
#define HOST_ADDRESS_WIDTH 40

/* Invalidation descriptors (6.5.2), lower half. */
#define DESC_TYPE(v)     ((unsigned)(v)&0xf)
#define DESC_G(v)        ((unsigned)((v) >> 4) & 3)
#define DESC_DID(v)      ((uint16_t)((v) >> 16))
#define DESC_SID(v)      ((uint16_t)((v) >> 32))
#define DESC_FM(v)       ((unsigned)((v) >> 48) & 3)
#define DESC_WAIT_IF     (1ull << 4)
#define DESC_WAIT_SW     (1ull << 5)
#define DESC_WAIT_FN     (1ull << 6)
#define DESC_WAIT_DATA(v) ((uint32_t)((v) >> 32))
#define DESC_CC_RESERVED    0xfffc00000000ffc0ull
#define DESC_IOTLB_RESERVED 0xffffffff0000ff00ull
#define DESC_IOTLB_RESERVED_H 0xf80ull
#define DESC_IEC_RESERVED   0xffff000007ffffe0ull
#define DESC_WAIT_RESERVED  0xffffff80ull
enum { DESC_CC = 1, DESC_IOTLB = 2, DESC_IEC = 4, DESC_WAIT = 5 };

/* Fault reasons (7.2.1, 7.2.2). */
typedef enum VtdFault {
    VTD_OK = 0,
    VTD_FAULT_ROOT_ABSENT = 0x1,
    VTD_FAULT_CONTEXT_ABSENT = 0x2,
    VTD_FAULT_CONTEXT_INVALID = 0x3,
    VTD_FAULT_BEYOND_MGAW = 0x4,
    VTD_FAULT_WRITE = 0x5,
    VTD_FAULT_READ = 0x6,
    VTD_FAULT_PAGE_TABLE_ACCESS = 0x7,
    VTD_FAULT_ROOT_ACCESS = 0x8,
    VTD_FAULT_CONTEXT_ACCESS = 0x9,
    VTD_FAULT_ROOT_RESERVED = 0xa,
    VTD_FAULT_CONTEXT_RESERVED = 0xb,
    VTD_FAULT_PAGE_RESERVED = 0xc,
    VTD_FAULT_IR_REQUEST_RESERVED = 0x20,
    VTD_FAULT_IR_INDEX = 0x21,
    VTD_FAULT_IR_ABSENT = 0x22,
    VTD_FAULT_IR_TABLE_ACCESS = 0x23,
    VTD_FAULT_IR_RESERVED = 0x24,
    VTD_FAULT_IR_COMPATIBILITY = 0x25,
    VTD_FAULT_IR_SOURCE = 0x26,
} VtdFault;

/* Interrupt remapping table entries (9.10). */
#define IRTE_P          1ull
#define IRTE_FPD        2ull
#define IRTE_DM         4ull
#define IRTE_TM         0x10ull
#define IRTE_DLM(v)     ((unsigned)((v) >> 5) & 7)
#define IRTE_IM         0x8000ull
#define IRTE_V(v)       ((uint8_t)((v) >> 16))
#define IRTE_DST(v)     ((uint32_t)((v) >> 32))
#define IRTE_RESERVED   0xff007000ull
#define IRTE_RESERVED_XAPIC 0xffff00ff00000000ull
#define IRTE_SID(h)     ((uint16_t)(h))
#define IRTE_SQ(h)      ((unsigned)((h) >> 16) & 3)
#define IRTE_SVT(h)     ((unsigned)((h) >> 18) & 3)
#define IRTE_RESERVED_H 0xfffffffffff00000ull

#endif
