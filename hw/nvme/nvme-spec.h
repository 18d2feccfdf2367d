/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NVM Express Base 1.4: registers (3.1), commands (4.2), completions (4.6),
 * status codes (4.5), opcodes (5, 6), features (5.21.1), log pages (5.14.1), identify (5.15).
 */
#ifndef HW_NVME_SPEC_H
#define HW_NVME_SPEC_H

#include <stdint.h>

enum {
    NVME_REG_CAP = 0x00,
    NVME_REG_VS = 0x08,
    NVME_REG_INTMS = 0x0c,
    NVME_REG_INTMC = 0x10,
    NVME_REG_CC = 0x14,
    NVME_REG_CSTS = 0x1c,
    NVME_REG_NSSR = 0x20,
    NVME_REG_AQA = 0x24,
    NVME_REG_ASQ = 0x28,
    NVME_REG_ACQ = 0x30,
    NVME_REG_CMBLOC = 0x38,
    NVME_REG_CMBSZ = 0x3c,
    NVME_REG_BPINFO = 0x40,
    NVME_REG_CMBMSC = 0x50,
    NVME_REG_CMBSTS = 0x58,
    NVME_REG_DOORBELLS = 0x1000,
};

#define NVME_VERSION_1_4 0x00010400u

/* CAP */
#define NVME_CAP_MQES(entries) ((uint64_t)((entries)-1)) /* 0's based */
#define NVME_CAP_CQR           (UINT64_C(1) << 16)
#define NVME_CAP_TO(half_secs) ((uint64_t)(half_secs) << 24)
#define NVME_CAP_CSS_NVM       (UINT64_C(1) << 37)
#define NVME_CAP_CMBS          (UINT64_C(1) << 57)
#define NVME_CAP_MPSMAX(shift) ((uint64_t)(shift) << 52) /* 4 KiB << shift */

/* CC */
#define NVME_CC_EN         0x1u
#define NVME_CC_CSS(cc)    ((cc) >> 4 & 7)
#define NVME_CC_MPS(cc)    ((cc) >> 7 & 0xf)
#define NVME_CC_AMS(cc)    ((cc) >> 11 & 7)
#define NVME_CC_SHN(cc)    ((cc) >> 14 & 3)
#define NVME_CC_IOSQES(cc) ((cc) >> 16 & 0xf)
#define NVME_CC_IOCQES(cc) ((cc) >> 20 & 0xf)
#define NVME_CC_WRITABLE   0x00fffff1u

/* CSTS */
#define NVME_CSTS_RDY            0x1u
#define NVME_CSTS_CFS            0x2u
#define NVME_CSTS_SHST_MASK      0xcu
#define NVME_CSTS_SHST_OCCURRING 0x4u
#define NVME_CSTS_SHST_COMPLETE  0x8u

#define NVME_SQE_SIZE  64
#define NVME_CQE_SIZE  16
#define NVME_SQE_SHIFT 6
#define NVME_CQE_SHIFT 4

/* Submission queue entry, little endian on the wire. */
typedef struct NvmeCmd {
    uint8_t opcode;
    uint8_t flags; /* FUSE 1:0, PSDT 7:6 */
    uint16_t cid;
    uint32_t nsid;
    uint32_t cdw2, cdw3;
    uint64_t mptr;
    uint64_t prp1, prp2;
    uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
} NvmeCmd;

#define NVME_CMD_FUSE 0x03
#define NVME_CMD_PSDT 0xc0

enum { /* admin */
       NVME_ADM_DELETE_SQ = 0x00,
       NVME_ADM_CREATE_SQ = 0x01,
       NVME_ADM_GET_LOG_PAGE = 0x02,
       NVME_ADM_DELETE_CQ = 0x04,
       NVME_ADM_CREATE_CQ = 0x05,
       NVME_ADM_IDENTIFY = 0x06,
       NVME_ADM_ABORT = 0x08,
       NVME_ADM_SET_FEATURES = 0x09,
       NVME_ADM_GET_FEATURES = 0x0a,
       NVME_ADM_ASYNC_EVENT = 0x0c,
       NVME_ADM_DOORBELL_BUFFER = 0x7c,
       NVME_ADM_FORMAT_NVM = 0x80,
};

enum { /* NVM command set */
       NVME_IO_FLUSH = 0x00,
       NVME_IO_WRITE = 0x01,
       NVME_IO_READ = 0x02,
       NVME_IO_COMPARE = 0x05,
       NVME_IO_WRITE_ZEROES = 0x08,
       NVME_IO_DSM = 0x09,
};

#define NVME_RW_FUA         (1u << 30) /* cdw12 */
#define NVME_WZ_DEAC        (1u << 25) /* cdw12 */
#define NVME_DSM_AD         (1u << 2)  /* cdw11 */
#define NVME_DSM_RANGE_LEN  16
#define NVME_DSM_MAX_RANGES 256

#define NVME_NSID_ALL 0xffffffffu

/* Status Field without the phase tag: SC 7:0, SCT 10:8, More 13, DNR 14. */
#define NVME_DNR 0x4000
enum {
    NVME_SC_SUCCESS = 0x000,
    NVME_SC_INVALID_OPCODE = 0x001,
    NVME_SC_INVALID_FIELD = 0x002,
    NVME_SC_DATA_TRANSFER = 0x004,
    NVME_SC_INTERNAL = 0x006,
    NVME_SC_INVALID_NSID = 0x00b,
    NVME_SC_COMMAND_SEQUENCE = 0x00c,
    NVME_SC_SGL_SEGMENT = 0x00d,
    NVME_SC_SGL_COUNT = 0x00e,
    NVME_SC_SGL_LENGTH = 0x00f,
    NVME_SC_SGL_TYPE = 0x011,
    NVME_SC_INVALID_CMB_USE = 0x012,
    NVME_SC_PRP_OFFSET = 0x013,
    NVME_SC_WRITE_PROTECTED = 0x020,
    NVME_SC_LBA_RANGE = 0x080,
    NVME_SC_FORMAT_IN_PROGRESS = 0x084,
    NVME_SC_CQ_INVALID = 0x100,
    NVME_SC_QID_INVALID = 0x101,
    NVME_SC_QUEUE_SIZE = 0x102,
    NVME_SC_AER_LIMIT = 0x105,
    NVME_SC_INTERRUPT_VECTOR = 0x108,
    NVME_SC_LOG_PAGE = 0x109,
    NVME_SC_INVALID_FORMAT = 0x10a,
    NVME_SC_QUEUE_DELETION = 0x10c,
    NVME_SC_NOT_SAVEABLE = 0x10d,
    NVME_SC_NOT_CHANGEABLE = 0x10e,
    NVME_SC_WRITE_FAULT = 0x280,
    NVME_SC_READ_ERROR = 0x281,
    NVME_SC_COMPARE_FAILURE = 0x285,
};

enum { /* Feature Identifiers */
       NVME_FEAT_ARBITRATION = 0x01,
       NVME_FEAT_POWER = 0x02,
       NVME_FEAT_TEMPERATURE = 0x04,
       NVME_FEAT_ERROR_RECOVERY = 0x05,
       NVME_FEAT_WRITE_CACHE = 0x06,
       NVME_FEAT_QUEUES = 0x07,
       NVME_FEAT_COALESCING = 0x08,
       NVME_FEAT_VECTOR = 0x09,
       NVME_FEAT_WRITE_ATOMICITY = 0x0a,
       NVME_FEAT_ASYNC_EVENT = 0x0b,
       NVME_FEAT_COUNT = 0x0c,
};

#define NVME_VECTOR_CD (1u << 16) /* coalescing disable */

enum { /* Log Page Identifiers */
       NVME_LOG_ERROR = 0x01,
       NVME_LOG_SMART = 0x02,
       NVME_LOG_FIRMWARE = 0x03,
       NVME_LOG_CHANGED_NS = 0x04,
       NVME_LOG_EFFECTS = 0x05,
};

enum { /* asynchronous event types (5.2) */
       NVME_EVENT_ERROR = 0,
       NVME_EVENT_SMART = 1,
       NVME_EVENT_NOTICE = 2,
};
enum {
    NVME_EVENT_ERROR_INVALID_DOORBELL = 0,
    NVME_EVENT_ERROR_INVALID_VALUE = 1,
    NVME_EVENT_SMART_TEMPERATURE = 1,
    NVME_EVENT_NOTICE_NS_ATTRIBUTE = 0,
};

enum { /* CNS values of Identify */
       NVME_CNS_NAMESPACE = 0x00,
       NVME_CNS_CONTROLLER = 0x01,
       NVME_CNS_ACTIVE_LIST = 0x02,
       NVME_CNS_DESCRIPTORS = 0x03,
};

#define NVME_IDENTIFY_LEN 4096

#endif
