/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vfio-user wire codec: bytes to checked structs and back, for every message in both
 * directions.  No I/O, no state; nothing is allocated (json-c does while it parses VERSION).
 * One codec serves the server library, clients, tests and fuzzers.
 *
 * Conventions
 * - A "payload" is what follows the 16-byte header.  All numbers are in host byte order.
 * - wire_X_decode() reads at most `len` bytes of `buf` (any alignment) and returns 0 or the
 *   positive errno the protocol gives for the mistake; the result struct is only valid on 0.
 *   Pointers in the result point into `buf`.
 * - wire_X_encode() writes WIRE_X_SIZE bytes (plus what its comment says) and returns their
 *   number; the caller provides the room.
 * - Any thread may call any function.
 */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of what every message runs through: such functions lie together, in few pages. */
#define WIRE_HOT __attribute__((hot))

#ifdef __cplusplus
extern "C" {
#endif

/* ---- limits ---- */

#define WIRE_HEADER_SIZE         16u
#define WIRE_MAX_DATA            1048576u                   /* default max_data_xfer_size */
#define WIRE_MAX_MESSAGE         (WIRE_MAX_DATA + 16u + 16u) /* header included */
#define WIRE_MAX_XFER_PEER       (64u << 20)                /* largest max_data_xfer_size a client accepts */
#define WIRE_MAX_JSON            4096u
#define WIRE_MAX_FDS             253u                       /* the kernel's limit for one SCM_RIGHTS */
#define WIRE_MAX_FDS_CAP         1024                       /* largest max_msg_fds a server accepts */
#define WIRE_MAX_FDS_CLIENT      16                         /* what clients can take */
#define WIRE_MAX_DMA_MAPS        65535u
#define WIRE_MAX_DMA_SIZE        (UINT64_C(8) << 40)        /* one DMA region */
#define WIRE_MAX_BITMAP          (UINT64_C(256) << 20)
#define WIRE_MAX_WRITE_MULTI     200u                       /* entries a client sends in one message */
#define WIRE_MAX_REGIONS         100u                       /* num_regions a client accepts */
#define WIRE_MAX_IRQS            50u                        /* num_irqs a client accepts */
#define WIRE_MAX_AREAS           1024u                      /* sparse mmap areas of a region */
#define WIRE_MAX_IO_FDS          1024u                      /* sub-regions of a region */
#define WIRE_PAGE_SIZE           4096u                      /* smallest page of the protocol */

/* ---- header ---- */

enum WireCommand {
    WIRE_VERSION = 1,
    WIRE_DMA_MAP = 2,
    WIRE_DMA_UNMAP = 3,
    WIRE_GET_INFO = 4,
    WIRE_GET_REGION_INFO = 5,
    WIRE_GET_REGION_IO_FDS = 6,
    WIRE_GET_IRQ_INFO = 7,
    WIRE_SET_IRQS = 8,
    WIRE_REGION_READ = 9,
    WIRE_REGION_WRITE = 10,
    WIRE_DMA_READ = 11,         /* server to client */
    WIRE_DMA_WRITE = 12,        /* server to client */
    WIRE_RESET = 13,
    WIRE_DIRTY_PAGES = 14,      /* removed from the protocol in 2023 */
    WIRE_WRITE_MULTI = 15,
    WIRE_DEVICE_FEATURE = 16,
    WIRE_MIG_DATA_READ = 17,
    WIRE_MIG_DATA_WRITE = 18,
    WIRE_COMMAND_COUNT
};

#define WIRE_TYPE_MASK           0xfu
#define WIRE_TYPE_COMMAND        0u
#define WIRE_TYPE_REPLY          1u
#define WIRE_NO_REPLY            0x10u
#define WIRE_ERROR               0x20u

typedef struct WireHeader {
    uint16_t id;
    uint16_t command;
    uint32_t size;              /* bytes of the message, header included */
    uint32_t flags;
    uint32_t error;             /* errno in a reply with WIRE_ERROR */
} WireHeader;

/* Name of a command for logs; "unknown" when it is none. */
const char *wire_command_name(unsigned command);

/* EINVAL: len < 16.  The size field is not judged: see wire_header_check(). */
int wire_header_decode(WireHeader *h, const void *buf, size_t len);
size_t wire_header_encode(void *buf, const WireHeader *h);
/* Is this a size with which the stream can go on?  EINVAL: below 16 or above max_message. */
int wire_header_check(const WireHeader *h, uint32_t max_message);
/* errno that an error reply carries: 0 without the error bit; EINVAL for 0 or above 4096. */
int wire_header_error(const WireHeader *h);

/* ---- VERSION ---- */

#define WIRE_VERSION_SIZE        4u

typedef struct WireVersion {
    uint16_t major, minor;
    const char *json;           /* NUL-terminated, or NULL */
    size_t json_len;            /* without the NUL */
} WireVersion;

/* EINVAL: shorter than 4, or JSON that is not NUL-terminated or longer than WIRE_MAX_JSON. */
int wire_version_decode(WireVersion *v, const void *buf, size_t len);
/* Writes the 4 bytes, then json and its NUL (if not NULL); 0: does not fit in size. */
size_t wire_version_encode(void *buf, size_t size, const WireVersion *v);

/* The capabilities of one side.  has_* tells what was in the JSON; the rest holds the protocol's default. */
typedef struct WireCaps {
    int64_t max_msg_fds;        /* default 1 */
    uint64_t max_data_xfer_size;/* default 1 MiB */
    uint64_t max_dma_maps;      /* default 65535 */
    uint64_t pgsizes;           /* bit mask, default 4096 */
    bool write_multiple;
    bool twin_socket;           /* "supported" */
    int64_t twin_fd_index;      /* -1: none given */
    /* Of a client, and not in the specification: a DMA_READ or DMA_WRITE of no bytes tells it of an access that was refused. */
    bool dma_faults;
    bool has_migration;
    uint64_t migration_pgsize;  /* default 4096 */
    uint64_t max_bitmap_size;   /* default 256 MiB */
    bool has_max_dma_maps, has_pgsizes, has_write_multiple, has_twin_socket, has_dma_faults, has_max_bitmap_size;
    bool has_max_msg_fds, has_max_data_xfer_size;
} WireCaps;

void wire_caps_init(WireCaps *caps);
/*
 * EINVAL: not JSON, a wrong type, or a number no peer may send (max_msg_fds outside 0..1024, negative or
 * zero max_data_xfer_size...); *key then names the offending member (static string).  json NULL is the defaults.
 * strict (a client on the server's reply): the top level must be an object with nothing behind it.
 */
int wire_caps_parse(WireCaps *caps, const char *json, bool strict, const char **key);
/* What a client demands of a server's reply; EINVAL with *key set. */
int wire_caps_check_server(const WireCaps *caps, const char **key);
/* Writes the JSON of the has_* members and its NUL; the length without NUL, or 0 if it does not fit. */
size_t wire_caps_encode(char *buf, size_t size, const WireCaps *caps);

/* ---- DMA_MAP, DMA_UNMAP ---- */

#define WIRE_DMA_MAP_SIZE        32u
#define WIRE_DMA_UNMAP_SIZE      24u
#define WIRE_BITMAP_HEAD_SIZE    16u

#define WIRE_DMA_READABLE        1u
#define WIRE_DMA_WRITEABLE       2u
#define WIRE_DMA_MMAP            4u     /* the server must map */
#define WIRE_DMA_FILE_IO         8u     /* the server must use pread/pwrite */

#define WIRE_UNMAP_DIRTY_BITMAP  1u
#define WIRE_UNMAP_ALL           2u

typedef struct WireDmaMap {
    uint32_t flags;
    uint64_t fd_offset, address, size;
} WireDmaMap;

/* EINVAL: short, argsz, flags, fd missing, size 0, wrapping address or offset; ENOSPC: larger than 8 TiB. */
int wire_dma_map_decode(WireDmaMap *m, const void *buf, size_t len, unsigned fd_count);
size_t wire_dma_map_encode(void *buf, const WireDmaMap *m);

typedef struct WireDmaUnmap {
    uint32_t argsz;             /* encode: 0 means computed */
    uint32_t flags;
    uint64_t address, size;
    uint64_t pgsize, bitmap_size; /* with WIRE_UNMAP_DIRTY_BITMAP */
} WireDmaUnmap;

/* EINVAL: short, argsz outside 24..1 MiB, flags, ALL with a range, bitmap head missing or not fitting argsz. */
int wire_dma_unmap_decode(WireDmaUnmap *u, const void *buf, size_t len);
/* 24 bytes, 40 with WIRE_UNMAP_DIRTY_BITMAP (a reply's bitmap follows there). */
size_t wire_dma_unmap_encode(void *buf, const WireDmaUnmap *u);

/* ---- DEVICE_GET_INFO ---- */

#define WIRE_INFO_SIZE           16u
#define WIRE_INFO_RESET          1u
#define WIRE_INFO_PCI            2u

typedef struct WireInfo {
    uint32_t argsz;             /* encode: 0 means 16 */
    uint32_t flags, num_regions, num_irqs;
} WireInfo;

int wire_info_decode(WireInfo *i, const void *buf, size_t len);
/* A server's answer: also EINVAL for more regions or irq types than a client accepts. */
int wire_info_decode_reply(WireInfo *i, const void *buf, size_t len);
size_t wire_info_encode(void *buf, const WireInfo *i);

/* ---- DEVICE_GET_REGION_INFO ---- */

#define WIRE_REGION_INFO_SIZE    32u
#define WIRE_REGION_READ_FLAG    1u
#define WIRE_REGION_WRITE_FLAG   2u
#define WIRE_REGION_MMAP         4u
#define WIRE_REGION_CAPS         8u
#define WIRE_CAP_SPARSE_MMAP     1u
#define WIRE_CAP_TYPE            2u
#define WIRE_REGION_TYPE_SIZE    16u
#define WIRE_REGION_TYPE_MIGRATION 3u    /* of the protocol's version before 2023 */
#define WIRE_REGION_SUBTYPE_MIGRATION 1u

typedef struct WireRegionInfo {
    uint32_t argsz;             /* encode: 0 means 32 */
    uint32_t flags, index, cap_offset;
    uint64_t size, offset;
} WireRegionInfo;

typedef struct WireArea {
    uint64_t offset, size;      /* relative to the region */
} WireArea;

int wire_region_info_decode(WireRegionInfo *r, const void *buf, size_t len);
size_t wire_region_info_encode(void *buf, const WireRegionInfo *r);
/* Bytes of a region info with a sparse mmap capability of n areas at offset 32. */
size_t wire_region_info_sparse_size(uint32_t n);
/* The capability (version 1) alone, to stand at offset 32: 16 + 16 * n bytes. */
size_t wire_region_sparse_encode(void *buf, const WireArea *areas, uint32_t n);
/* The type capability (version 1) alone: 16 bytes. */
size_t wire_region_type_encode(void *buf, uint32_t type, uint32_t subtype);
/*
 * Walks the capabilities of a reply that wire_region_info_decode() accepted.  *count: capacity in, areas found
 * out.  *found is false when there is no sparse capability (count 0).  EINVAL: a chain that runs backwards or out of the
 * message, areas outside the region; E2BIG: more areas than capacity.
 */
int wire_region_sparse_decode(const WireRegionInfo *r, const void *buf, size_t len, WireArea *areas,
                              uint32_t *count, bool *found);

/* ---- DEVICE_GET_REGION_IO_FDS ---- */

#define WIRE_IO_FDS_SIZE         16u
#define WIRE_IO_FD_SIZE          48u    /* entry as the known library sends it */
#define WIRE_IO_FD_SPEC_SIZE     40u    /* entry as the specification has it */
#define WIRE_IO_FD_NONE          0xffffffffu
#define WIRE_IO_FD_IOEVENTFD     0u
#define WIRE_IO_FD_IOREGIONFD    1u
#define WIRE_IO_FD_SHADOW        2u

typedef struct WireIoFds {
    uint32_t argsz, flags, index, count;
} WireIoFds;

typedef struct WireIoFd {
    uint64_t offset, size;
    uint32_t fd_index, type, flags, shadow_fd_index;
    uint64_t shadow_offset;
    uint64_t datamatch;         /* user_data of an ioregionfd */
} WireIoFd;

/* A request.  EINVAL: short, argsz outside 16..1 MiB, flags or count not 0. */
int wire_io_fds_decode(WireIoFds *f, const void *buf, size_t len);
/* A reply.  EINVAL: entries of neither size, fewer than count (unless none is there), more than WIRE_MAX_IO_FDS. */
int wire_io_fds_decode_reply(WireIoFds *f, const void *buf, size_t len, uint32_t *entries);
size_t wire_io_fds_encode(void *buf, const WireIoFds *f);
/* Entry i (< entries of the decoded reply); the entry size follows from argsz and count. */
int wire_io_fd_decode(WireIoFd *e, const WireIoFds *f, const void *buf, size_t len, uint32_t i);
/* 48 bytes. */
size_t wire_io_fd_encode(void *buf, const WireIoFd *e);

/* ---- DEVICE_GET_IRQ_INFO, DEVICE_SET_IRQS ---- */

#define WIRE_IRQ_INFO_SIZE       16u
#define WIRE_IRQ_EVENTFD         1u
#define WIRE_IRQ_MASKABLE        2u
#define WIRE_IRQ_AUTOMASKED      4u
#define WIRE_IRQ_NORESIZE        8u

typedef struct WireIrqInfo {
    uint32_t argsz;             /* encode: 0 means 16 */
    uint32_t flags, index, count;
} WireIrqInfo;

int wire_irq_info_decode(WireIrqInfo *i, const void *buf, size_t len);
size_t wire_irq_info_encode(void *buf, const WireIrqInfo *i);

#define WIRE_SET_IRQS_SIZE       20u
#define WIRE_IRQ_DATA_NONE       1u
#define WIRE_IRQ_DATA_BOOL       2u
#define WIRE_IRQ_DATA_EVENTFD    4u
#define WIRE_IRQ_DATA_MASK       7u
#define WIRE_IRQ_MASK            8u
#define WIRE_IRQ_UNMASK          0x10u
#define WIRE_IRQ_TRIGGER         0x20u
#define WIRE_IRQ_ACTION_MASK     0x38u

typedef struct WireSetIrqs {
    uint32_t flags, index, start, count;
    const uint8_t *bools;       /* count bytes with DATA_BOOL, else NULL */
} WireSetIrqs;

/*
 * EINVAL: short, argsz, not exactly one action and one data type, bools not exactly count, fds without DATA_EVENTFD or
 * not exactly count, start + count that wraps, count 0 with a start or with other than TRIGGER|NONE.
 * The device's own counts are the caller's to check.
 */
int wire_set_irqs_decode(WireSetIrqs *s, const void *buf, size_t len, unsigned fd_count);
/* 20 bytes, and count bytes of bools with DATA_BOOL. */
size_t wire_set_irqs_encode(void *buf, const WireSetIrqs *s);

/* ---- REGION_READ, REGION_WRITE, REGION_WRITE_MULTI ---- */

#define WIRE_REGION_ACCESS_SIZE  16u

typedef struct WireRegionAccess {
    uint64_t offset;
    uint32_t region, count;
    const uint8_t *data;        /* count bytes in a write request and a read reply */
} WireRegionAccess;

/* Requests.  EINVAL: short, count above max_count, offset + count wraps, write payload not exactly 16 + count. */
int wire_region_read_decode(WireRegionAccess *a, const void *buf, size_t len, uint32_t max_count);
int wire_region_write_decode(WireRegionAccess *a, const void *buf, size_t len, uint32_t max_count);
/* Replies to *asked: EINVAL unless they repeat it and a read carries exactly its count bytes (0: none, header only). */
int wire_region_read_decode_reply(WireRegionAccess *a, const void *buf, size_t len, const WireRegionAccess *asked);
int wire_region_write_decode_reply(WireRegionAccess *a, const void *buf, size_t len, const WireRegionAccess *asked);
/* 16 bytes; the data travels behind them (an iovec of its own). */
size_t wire_region_access_encode(void *buf, const WireRegionAccess *a);

#define WIRE_WRITE_MULTI_SIZE    8u
#define WIRE_WRITE_ENTRY_SIZE    24u

typedef struct WireWrite {
    uint64_t offset;
    uint32_t region, count;     /* count 1..8 */
    uint8_t data[8];
} WireWrite;

/* EINVAL: short, payload not exactly 8 + 24 * count, any entry with a count outside 1..8 or a wrapping offset. */
int wire_write_multi_decode(uint64_t *count, const void *buf, size_t len);
/* Entry i (< count) of a payload that wire_write_multi_decode() accepted. */
void wire_write_multi_entry(WireWrite *w, const void *buf, uint64_t i);
/* The head (8 bytes; also the reply, with the number done), and one entry (24 bytes). */
size_t wire_write_multi_encode(void *buf, uint64_t count);
size_t wire_write_multi_entry_encode(void *buf, const WireWrite *w);
int wire_write_multi_decode_reply(uint64_t *done, const void *buf, size_t len, uint64_t asked);

/* ---- DMA_READ, DMA_WRITE (server to client) ---- */

#define WIRE_DMA_ACCESS_SIZE     16u

typedef struct WireDmaAccess {
    uint64_t address, count;
    const uint8_t *data;        /* count bytes in a write request and a read reply */
} WireDmaAccess;

/* Requests, at the client.  E2BIG: count above max_count; EINVAL: the rest. */
int wire_dma_read_decode(WireDmaAccess *a, const void *buf, size_t len, uint64_t max_count);
int wire_dma_write_decode(WireDmaAccess *a, const void *buf, size_t len, uint64_t max_count);
/* Replies, at the server: EINVAL unless they repeat *asked.  A write's reply payload may be missing. */
int wire_dma_read_decode_reply(WireDmaAccess *a, const void *buf, size_t len, const WireDmaAccess *asked);
int wire_dma_write_decode_reply(const void *buf, size_t len, const WireDmaAccess *asked);
size_t wire_dma_access_encode(void *buf, const WireDmaAccess *a);

/* ---- DEVICE_FEATURE ---- */

#define WIRE_FEATURE_SIZE        8u
#define WIRE_FEATURE_GET         (1u << 16)
#define WIRE_FEATURE_SET         (1u << 17)
#define WIRE_FEATURE_PROBE       (1u << 18)
#define WIRE_FEATURE_INDEX_MASK  0xffffu

enum WireFeatureIndex {
    WIRE_FEATURE_MIGRATION = 1,
    WIRE_FEATURE_MIG_STATE = 2,
    WIRE_FEATURE_LOG_START = 6,
    WIRE_FEATURE_LOG_STOP = 7,
    WIRE_FEATURE_LOG_REPORT = 8,
};

#define WIRE_MIGRATION_STOP_COPY 1u
#define WIRE_MIGRATION_P2P       2u
#define WIRE_MIGRATION_PRE_COPY  4u

enum WireMigState {
    WIRE_STATE_ERROR = 0,
    WIRE_STATE_STOP = 1,
    WIRE_STATE_RUNNING = 2,
    WIRE_STATE_STOP_COPY = 3,
    WIRE_STATE_RESUMING = 4,
    WIRE_STATE_RUNNING_P2P = 5,
    WIRE_STATE_PRE_COPY = 6,
    WIRE_STATE_PRE_COPY_P2P = 7,
    WIRE_STATE_COUNT
};

typedef struct WireFeature {
    uint32_t argsz;
    uint32_t flags;             /* index and operation */
    const uint8_t *data;
    size_t data_len;
} WireFeature;

/* EINVAL: short, argsz < 8, unknown flags, no operation, GET and SET together without PROBE. */
int wire_feature_decode(WireFeature *f, const void *buf, size_t len);
/* 8 bytes, then data_len bytes of data if data is not NULL. */
size_t wire_feature_encode(void *buf, const WireFeature *f);

/* The data of each feature, without the 8 bytes in front. */
#define WIRE_FEATURE_MIGRATION_SIZE 8u
#define WIRE_MIG_STATE_SIZE      8u
#define WIRE_LOG_START_SIZE      16u
#define WIRE_LOG_RANGE_SIZE      16u
#define WIRE_LOG_REPORT_SIZE     24u

typedef struct WireMigDeviceState {
    uint32_t state, data_fd;
} WireMigDeviceState;

typedef struct WireLogStart {
    uint64_t page_size;
    uint32_t num_ranges;
    const uint8_t *ranges;      /* see wire_log_range_decode() */
} WireLogStart;

typedef struct WireLogRange {
    uint64_t iova, length;
} WireLogRange;

typedef struct WireLogReport {
    uint64_t iova, length, page_size;
} WireLogReport;

int wire_feature_migration_decode(uint64_t *flags, const void *data, size_t len);
size_t wire_feature_migration_encode(void *data, uint64_t flags);
int wire_mig_state_decode(WireMigDeviceState *s, const void *data, size_t len);
size_t wire_mig_state_encode(void *data, const WireMigDeviceState *s);
/* EINVAL: short, page_size not a power of two, ranges not all there. */
int wire_log_start_decode(WireLogStart *l, const void *data, size_t len);
void wire_log_range_decode(WireLogRange *r, const WireLogStart *l, uint32_t i);
/* 16 bytes; the ranges follow, each 16 bytes. */
size_t wire_log_start_encode(void *data, uint64_t page_size, uint32_t num_ranges);
size_t wire_log_range_encode(void *data, const WireLogRange *r);
/* EINVAL: short, length 0 or wrapping, page_size not a power of two. */
int wire_log_report_decode(WireLogReport *r, const void *data, size_t len);
size_t wire_log_report_encode(void *data, const WireLogReport *r);
/* Bytes of a dirty bitmap: one bit a page, rounded up to 8 bytes; 0 if page_size is 0. */
uint64_t wire_bitmap_size(uint64_t length, uint64_t page_size);

/* ---- MIG_DATA_READ, MIG_DATA_WRITE ---- */

#define WIRE_MIG_DATA_SIZE       8u

typedef struct WireMigData {
    uint32_t argsz;             /* encode: 0 means 8 + size */
    uint32_t size;
    const uint8_t *data;        /* size bytes in a write request and a read reply */
} WireMigData;

/* EINVAL: short, argsz < 8 + size, size above max_size, write data missing. */
int wire_mig_read_decode(WireMigData *m, const void *buf, size_t len, uint32_t max_size);
int wire_mig_write_decode(WireMigData *m, const void *buf, size_t len, uint32_t max_size);
/* EINVAL: more than asked or not all there. */
int wire_mig_read_decode_reply(WireMigData *m, const void *buf, size_t len, uint32_t asked);
size_t wire_mig_data_encode(void *buf, const WireMigData *m);

/* ---- DIRTY_PAGES (legacy) ---- */

#define WIRE_DIRTY_PAGES_SIZE    8u
#define WIRE_DIRTY_GET_SIZE      40u
#define WIRE_DIRTY_START         1u
#define WIRE_DIRTY_STOP          2u
#define WIRE_DIRTY_GET_BITMAP    4u

typedef struct WireDirtyPages {
    uint32_t argsz, flags;
    uint64_t iova, size, pgsize, bitmap_size; /* GET_BITMAP */
} WireDirtyPages;

int wire_dirty_pages_decode(WireDirtyPages *d, const void *buf, size_t len);
/* 8 bytes, 40 with GET_BITMAP. */
size_t wire_dirty_pages_encode(void *buf, const WireDirtyPages *d);

#ifdef __cplusplus
}
#endif

#endif
