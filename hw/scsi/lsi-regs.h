/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers and bits of the SYM53C895A / LSI53C895A (its technical manual, chapter 4), SCRIPTS instructions (chapter 5). */
#ifndef HW_SCSI_LSI_REGS_H
#define HW_SCSI_LSI_REGS_H

#define LSI_RAM_SIZE 8192u

#define LSI_SCNTL0_START 0x20u
#define LSI_SCNTL0_TRG   0x01u
#define LSI_SCNTL1_CON   0x10u
#define LSI_SCNTL1_RST   0x08u
#define LSI_SCNTL2_WSR   0x01u
#define LSI_SOCL_ACK     0x40u
#define LSI_SOCL_ATN     0x08u
#define LSI_SBCL_REQ     0x80u
#define LSI_SBCL_ACK     0x40u
#define LSI_SBCL_BSY     0x20u
#define LSI_SBCL_ATN     0x08u
#define LSI_SSID_VAL     0x80u

#define LSI_DSTAT_DFE  0x80u
#define LSI_DSTAT_MDPE 0x40u
#define LSI_DSTAT_BF   0x20u
#define LSI_DSTAT_ABRT 0x10u
#define LSI_DSTAT_SSI  0x08u
#define LSI_DSTAT_SIR  0x04u
#define LSI_DSTAT_IID  0x01u

#define LSI_SSTAT0_WOA  0x04u
#define LSI_SSTAT0_RST  0x02u
#define LSI_SSTAT2_LDSC 0x02u

#define LSI_ISTAT0_ABRT 0x80u
#define LSI_ISTAT0_SRST 0x40u
#define LSI_ISTAT0_SIGP 0x20u
#define LSI_ISTAT0_SEM  0x10u
#define LSI_ISTAT0_CON  0x08u
#define LSI_ISTAT0_INTF 0x04u
#define LSI_ISTAT0_SIP  0x02u
#define LSI_ISTAT0_DIP  0x01u
#define LSI_ISTAT1_SRUN 0x02u
#define LSI_ISTAT1_SI   0x01u

#define LSI_CTEST2_SIGP   0x40u
#define LSI_CTEST2_PCICIE 0x08u

#define LSI_DMODE_SIOM 0x20u
#define LSI_DMODE_DIOM 0x10u
#define LSI_DMODE_MAN  0x01u
#define LSI_DCNTL_SSM  0x10u
#define LSI_DCNTL_STD  0x04u
#define LSI_DCNTL_IRQD 0x02u
#define LSI_DCNTL_COM  0x01u

#define LSI_SIST0_MA  0x80u
#define LSI_SIST0_UDC 0x04u
#define LSI_SIST0_RST 0x02u
#define LSI_SIST1_STO 0x04u
#define LSI_SIST1_GEN 0x02u
/* Conditions that stop SCRIPTS, masked or not (2.2.16.3): M/A, SGE, UDC, RST, PAR; STO. */
#define LSI_SIST0_FATAL 0x8fu
#define LSI_SIST1_FATAL 0x04u

#define LSI_STEST4_LVD_LOCK 0xe0u

#define LSI_CCNTL0_ENPMJ    0x80u
#define LSI_CCNTL0_PMJCTL   0x40u
#define LSI_CCNTL0_ENNDJ    0x20u
#define LSI_CCNTL1_64TIMOD  0x04u
#define LSI_CCNTL1_EN64TIBMV 0x02u
#define LSI_CCNTL1_EN64DBMV 0x01u

/* Phases: MSG, C/D, I/O. */
enum {
    LSI_PHASE_DATA_OUT = 0,
    LSI_PHASE_DATA_IN = 1,
    LSI_PHASE_COMMAND = 2,
    LSI_PHASE_STATUS = 3,
    LSI_PHASE_MSG_OUT = 6,
    LSI_PHASE_MSG_IN = 7,
    LSI_PHASE_NONE = 8, /* no REQ: the target is busy, or there is none */
};

/* SCSI messages (SPI-3, 16). */
enum {
    LSI_MSG_COMMAND_COMPLETE = 0x00,
    LSI_MSG_EXTENDED = 0x01,
    LSI_MSG_SAVE_POINTERS = 0x02,
    LSI_MSG_DISCONNECT = 0x04,
    LSI_MSG_INITIATOR_ERROR = 0x05,
    LSI_MSG_ABORT = 0x06,
    LSI_MSG_REJECT = 0x07,
    LSI_MSG_NOP = 0x08,
    LSI_MSG_PARITY_ERROR = 0x09,
    LSI_MSG_DEVICE_RESET = 0x0c,
    LSI_MSG_ABORT_TAG = 0x0d,
    LSI_MSG_CLEAR_QUEUE = 0x0e,
    LSI_MSG_SIMPLE_TAG = 0x20,
    LSI_MSG_ORDERED_TAG = 0x22,
    LSI_MSG_IDENTIFY = 0x80,
    LSI_EXT_SYNC = 0x01,
    LSI_EXT_WIDE = 0x03,
};

#endif
