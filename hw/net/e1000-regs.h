/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers, descriptors and EEPROM of the 82540EM, named as in the "PCI/PCI-X Family of Gigabit Ethernet Controllers
 * Software Developer's Manual" (chapters 3, 5, 8 and 13).
 */
#ifndef HW_NET_E1000_REGS_H
#define HW_NET_E1000_REGS_H

/* --- registers (13.4): byte offsets --- */
enum {
    E1000_CTRL = 0x0000,
    E1000_STATUS = 0x0008,
    E1000_EECD = 0x0010,
    E1000_EERD = 0x0014,
    E1000_CTRL_EXT = 0x0018,
    E1000_FLA = 0x001c,
    E1000_MDIC = 0x0020,
    E1000_FCAL = 0x0028,
    E1000_FCAH = 0x002c,
    E1000_FCT = 0x0030,
    E1000_VET = 0x0038,
    E1000_ICR = 0x00c0,
    E1000_ITR = 0x00c4,
    E1000_ICS = 0x00c8,
    E1000_IMS = 0x00d0,
    E1000_IMC = 0x00d8,
    E1000_RCTL = 0x0100,
    E1000_FCTTV = 0x0170,
    E1000_TXCW = 0x0178,
    E1000_RXCW = 0x0180,
    E1000_TCTL = 0x0400,
    E1000_TIPG = 0x0410,
    E1000_AIT = 0x0458,
    E1000_LEDCTL = 0x0e00,
    E1000_PBA = 0x1000,
    E1000_FCRTL = 0x2160,
    E1000_FCRTH = 0x2168,
    E1000_RDFH = 0x2410,
    E1000_RDFT = 0x2418,
    E1000_RDFHS = 0x2420,
    E1000_RDFTS = 0x2428,
    E1000_RDFPC = 0x2430,
    E1000_RDBAL = 0x2800,
    E1000_RDBAH = 0x2804,
    E1000_RDLEN = 0x2808,
    E1000_RDH = 0x2810,
    E1000_RDT = 0x2818,
    E1000_RDTR = 0x2820,
    E1000_RXDCTL = 0x2828,
    E1000_RADV = 0x282c,
    E1000_RSRPD = 0x2c00,
    E1000_TXDMAC = 0x3000,
    E1000_TDFH = 0x3410,
    E1000_TDFT = 0x3418,
    E1000_TDFHS = 0x3420,
    E1000_TDFTS = 0x3428,
    E1000_TDFPC = 0x3430,
    E1000_TDBAL = 0x3800,
    E1000_TDBAH = 0x3804,
    E1000_TDLEN = 0x3808,
    E1000_TDH = 0x3810,
    E1000_TDT = 0x3818,
    E1000_TIDV = 0x3820,
    E1000_TXDCTL = 0x3828,
    E1000_TADV = 0x382c,
    E1000_TSPMT = 0x3830,
    E1000_CRCERRS = 0x4000, /* the statistics registers go from here to TSCTFC */
    E1000_MPC = 0x4010,
    E1000_PRC64 = 0x405c,
    E1000_GPRC = 0x4074,
    E1000_BPRC = 0x4078,
    E1000_MPRC = 0x407c,
    E1000_GPTC = 0x4080,
    E1000_GORCL = 0x4088,
    E1000_GOTCL = 0x4090,
    E1000_RNBC = 0x40a0,
    E1000_RUC = 0x40a4,
    E1000_ROC = 0x40ac,
    E1000_TORL = 0x40c0,
    E1000_TOTL = 0x40c8,
    E1000_TPR = 0x40d0,
    E1000_TPT = 0x40d4,
    E1000_PTC64 = 0x40d8,
    E1000_MPTC = 0x40f0,
    E1000_BPTC = 0x40f4,
    E1000_TSCTC = 0x40f8,
    E1000_TSCTFC = 0x40fc,
    E1000_RXCSUM = 0x5000,
    E1000_MTA = 0x5200,  /* 128 words */
    E1000_RAL0 = 0x5400, /* 16 pairs */
    E1000_VFTA = 0x5600, /* 128 words */
    E1000_WUC = 0x5800,
    E1000_WUFC = 0x5808,
    E1000_WUS = 0x5810,
    E1000_MANC = 0x5820,
    E1000_IPAV = 0x5838,
    E1000_IP4AT = 0x5840,
    E1000_IP6AT = 0x5880,
    E1000_WUPL = 0x5900,
    E1000_WUPM = 0x5a00,
    E1000_FFLT = 0x5f00,
    E1000_FFMT = 0x9000,
    E1000_FFVT = 0x9800,
    E1000_REGS_END = 0xa000,
};

#define E1000_MTA_WORDS  128
#define E1000_VFTA_WORDS 128
#define E1000_RAR_COUNT  16

/* CTRL (13.4.1) */
#define CTRL_FD       0x00000001u
#define CTRL_ASDE     0x00000020u
#define CTRL_SLU      0x00000040u
#define CTRL_SPD_1000 0x00000200u
#define CTRL_RST      0x04000000u
#define CTRL_VME      0x40000000u
#define CTRL_PHY_RST  0x80000000u
/* STATUS (13.4.2) */
#define STATUS_FD        0x001u
#define STATUS_LU        0x002u
#define STATUS_SPD_1000  0x080u
#define STATUS_ASDV_1000 0x200u
/* EECD, EERD (13.4.3, 13.4.4) */
#define EECD_SK      0x001u
#define EECD_CS      0x002u
#define EECD_DI      0x004u
#define EECD_DO      0x008u
#define EECD_REQ     0x040u
#define EECD_GNT     0x080u
#define EECD_PRES    0x100u
#define EERD_START   0x01u
#define EERD_DONE    0x10u
/* MDIC (13.4.8) */
#define MDIC_OP_WRITE 1u
#define MDIC_OP_READ  2u
#define MDIC_R        0x10000000u
#define MDIC_I        0x20000000u
#define MDIC_E        0x40000000u
#define MDIC_PHY      1u
/* Interrupt causes (13.4.17) */
#define ICR_TXDW   0x0001u
#define ICR_TXQE   0x0002u
#define ICR_LSC    0x0004u
#define ICR_RXDMT0 0x0010u
#define ICR_RXO    0x0040u
#define ICR_RXT0   0x0080u
#define ICR_MDAC   0x0200u
#define ICR_BITS   0x1f6dfu
/* RCTL (13.4.22) */
#define RCTL_EN    0x00000002u
#define RCTL_SBP   0x00000004u
#define RCTL_UPE   0x00000008u
#define RCTL_MPE   0x00000010u
#define RCTL_LPE   0x00000020u
#define RCTL_BAM   0x00008000u
#define RCTL_VFE   0x00040000u
#define RCTL_CFIEN 0x00080000u
#define RCTL_CFI   0x00100000u
#define RCTL_BSEX  0x02000000u
#define RCTL_SECRC 0x04000000u
#define RCTL_RDMTS(r) ((r) >> 8 & 3)
#define RCTL_MO(r)    ((r) >> 12 & 3)
#define RCTL_BSIZE(r) ((r) >> 16 & 3)
/* TCTL (13.4.33) */
#define TCTL_EN  0x2u
#define TCTL_PSP 0x8u
/* RXCSUM (13.4.49), RAH (13.4.52) */
#define RXCSUM_PCSS(r) ((r)&0xff)
#define RXCSUM_IPOFLD  0x100u
#define RXCSUM_TUOFLD  0x200u
#define RAH_AV         0x80000000u
#define RAH_AS(r)      ((r) >> 16 & 3)

/* --- PHY registers (8.2 and the 88E1011's pages) --- */
enum { PHY_CTRL, PHY_STATUS, PHY_ID1, PHY_ID2, PHY_ANA, PHY_LPA, PHY_ANE, PHY_NPT, PHY_LPN, PHY_GCON, PHY_GSTATUS };
enum { PHY_ESTATUS = 15, PHY_PSCON = 16, PHY_PSSTAT = 17, PHY_PIE = 18, PHY_PIS = 19, PHY_EPSCON = 20 };
#define PHY_REGS             32
#define PHY_CTRL_RESTART_ANE 0x0200u
#define PHY_CTRL_POWER_DOWN  0x0800u
#define PHY_CTRL_LOOPBACK    0x4000u
#define PHY_CTRL_RESET       0x8000u
#define PHY_STATUS_LINK      0x0004u
#define PHY_STATUS_ANE_DONE  0x0020u
#define PHY_PSSTAT_LINK      0x0400u
#define PHY_PSSTAT_RESOLVED  0x0800u
#define PHY_PSSTAT_DUPLEX    0x2000u
#define PHY_PSSTAT_1000      0x8000u

/* --- descriptors --- */
#define E1000_DESC_LEN 16
/* Receive (3.2.3): status, errors */
#define RXD_DD    0x01u
#define RXD_EOP   0x02u
#define RXD_IXSM  0x04u
#define RXD_VP    0x08u
#define RXD_TCPCS 0x20u
#define RXD_IPCS  0x40u
#define RXD_PIF   0x80u
#define RXD_TCPE  0x20u
#define RXD_IPE   0x40u
/* Transmit (3.3.3, 3.3.6, 3.3.7): command byte, options, status */
#define TXD_EOP      0x01u
#define TXD_IC       0x04u /* legacy */
#define TXD_TSE      0x04u /* extended */
#define TXD_RS       0x08u
#define TXD_RPS      0x10u
#define TXD_DEXT     0x20u
#define TXD_VLE      0x40u
#define TXD_IDE      0x80u
#define TXD_IXSM     0x01u
#define TXD_TXSM     0x02u
#define TXD_DD       0x01u
#define TXD_DTYP_CONTEXT 0u
#define TXD_DTYP_DATA    1u
#define TUCMD_TCP 0x01u
#define TUCMD_IP  0x02u

/* --- EEPROM (5.6) --- */
#define E1000_EEPROM_WORDS 64
#define E1000_EEPROM_SUM   0xbabau

#endif
