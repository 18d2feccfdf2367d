/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SCSI: logical units, the bus they share, and requests between a host adapter and a unit (SAM-3).  A host adapter
 * makes a bus in its start; units are devices of their own on it.  A request's data goes through a buffer of its own,
 * chunk by chunk, and what is saved of it while no block request is in flight is enough to go on elsewhere.
 *
 * Context: the home lock of the host adapter, which is that of its units too.
 */
#ifndef HW_SCSI_SCSI_H
#define HW_SCSI_SCSI_H

#include "core/device.h"

typedef struct ScsiBus ScsiBus;
typedef struct ScsiUnit ScsiUnit;
typedef struct ScsiReq ScsiReq;

#define SCSI_CDB_LEN   16
#define SCSI_SENSE_LEN 18
#define SCSI_CHUNK     (256u << 10) /* bytes of a request that are buffered at most */
#define SCSI_ID_COUNT  16
#define SCSI_LUN_COUNT 8

enum { /* SAM-3, 5.3.1 */
       SCSI_GOOD = 0x00,
       SCSI_CHECK_CONDITION = 0x02,
       SCSI_BUSY = 0x08,
       SCSI_TASK_SET_FULL = 0x28,
};

/* Sense key, additional sense code and qualifier in one number: 0xKKCCQQ. */
typedef uint32_t ScsiSense;
#define SCSI_SENSE(key, asc, ascq) ((ScsiSense)(key) << 16 | (asc) << 8 | (ascq))

typedef enum ScsiDir { SCSI_DIR_NONE, SCSI_DIR_FROM_UNIT, SCSI_DIR_TO_UNIT } ScsiDir;

/* Of a host adapter.  Called from scsi_req_start(), scsi_req_continue(), or later. */
typedef struct ScsiHostOps {
    /* req->len bytes of req->buf are there for the host, or are to be filled by it; then scsi_req_continue(). */
    void (*transfer)(ScsiReq *req);
    /* It has ended with req->status.  scsi_req_free() follows, now or later. */
    void (*complete)(ScsiReq *req);
    /* The unit leaves; every request to it has been answered as far as it will be: they are to be cancelled. */
    void (*unit_gone)(ScsiBus *bus, ScsiUnit *unit);
} ScsiHostOps;

struct ScsiReq {
    ScsiBus *bus;
    ScsiUnit *unit; /* NULL: no such unit, the target answers */
    void *host;     /* the host adapter's own */
    uint32_t tag;
    uint8_t id, lun;
    uint8_t cdb[SCSI_CDB_LEN];
    uint8_t status;
    ScsiDir dir;
    uint8_t *buf;
    uint32_t len, room; /* bytes of the present chunk; that buf has */
    /* the unit's */
    uint64_t lba;
    uint64_t blocks;    /* that are not yet transferred */
    uint32_t chunk;     /* blocks under way */
    bool in_io;         /* a block request is in flight */
    bool cancelled;     /* freed when that has ended */
};

typedef struct ScsiUnitOps {
    void (*execute)(ScsiReq *req);
    /* The chunk was transferred. */
    void (*more)(ScsiReq *req);
    /* After a bus or target reset; nothing is in flight. */
    void (*reset)(ScsiUnit *unit);
    /* A request was loaded: false when the unit cannot have had it. */
    bool (*loaded)(ScsiReq *req);
    /* Ends what is in flight. */
    void (*drain)(ScsiUnit *unit);
} ScsiUnitOps;

struct ScsiUnit {
    Device *dev;
    ScsiBus *bus; /* NULL: not attached */
    const ScsiUnitOps *ops;
    uint32_t channel, lun;
    int32_t id;             /* -1: not yet chosen */
    uint8_t sense[SCSI_SENSE_LEN]; /* of the last CHECK CONDITION; byte 0 is 0: none */
    uint32_t attention;     /* ScsiSense of a Unit Attention to be reported; 0: none */
};

/* --- the bus --- */
/* Bus number 0 of `host`.  ids: how many SCSI ids there are; own_id is the host adapter's. */
ScsiBus *scsi_bus_new(Device *host, const ScsiHostOps *ops, unsigned ids, unsigned own_id);
/* One that -device does not find: of a drive that takes SCSI commands in packets.  Its unit is id 0. */
ScsiBus *scsi_bus_new_private(Device *host, const ScsiHostOps *ops, ScsiUnit *unit);
/* Its units are gone. */
void scsi_bus_free(ScsiBus *bus);
Device *scsi_bus_host(const ScsiBus *bus);
/* True when a target answers to the id. */
bool scsi_bus_has_target(const ScsiBus *bus, unsigned id);
/* Every unit, or those of one target (id >= 0), as after power-on.  The host adapter has cancelled their requests. */
void scsi_bus_reset(ScsiBus *bus, int id);
/* No block request is in flight when it returns. */
void scsi_bus_drain(ScsiBus *bus);

/* For a unit's DeviceModel: bus= names a bus, whose owner becomes dev->upstream. */
bool scsi_unit_place(Device *dev, const char *bus_name, GError **error);
/* Takes the unit's place on the bus of dev->upstream; chooses a free id when it has none. */
bool scsi_unit_attach(ScsiUnit *unit, GError **error);
void scsi_unit_detach(ScsiUnit *unit);
/* As after power-on. */
void scsi_unit_reset(ScsiUnit *unit);

/* --- requests --- */
/* The length of a CDB by its first byte (SPC-3, 4.3.4.1). */
unsigned scsi_cdb_len(uint8_t opcode);
/* cdb has SCSI_CDB_LEN bytes.  The target must exist. */
ScsiReq *scsi_req_new(ScsiBus *bus, unsigned id, unsigned lun, uint32_t tag, const uint8_t *cdb, void *host);
void scsi_req_start(ScsiReq *req);
void scsi_req_continue(ScsiReq *req);
/* Nothing is heard of it any more; frees it, now or when its block request has ended. */
void scsi_req_cancel(ScsiReq *req);
void scsi_req_free(ScsiReq *req);
/* What is saved of one, appended to `out`; no block request is in flight. */
void scsi_req_save(const ScsiReq *req, GByteArray *out);
/* The same back from *data, which advances; NULL when it cannot be.  Not started again. */
ScsiReq *scsi_req_load(ScsiBus *bus, const uint8_t **data, size_t *len, void *host);

/* --- for units --- */
/* A buffer of at least len bytes, zeroed in its first len; false: it has ended with an error. */
bool scsi_req_reserve(ScsiReq *req, uint32_t len);
/* len bytes of req->buf to or from the host; len 0 goes on at once. */
void scsi_req_transfer(ScsiReq *req, ScsiDir dir, uint32_t len);
void scsi_req_good(ScsiReq *req);
/* CHECK CONDITION.  info: for the INFORMATION field, or UINT64_MAX. */
void scsi_req_fail(ScsiReq *req, ScsiSense sense, uint64_t info);
/* Fills fixed-format sense data. */
void scsi_sense_fill(uint8_t buf[SCSI_SENSE_LEN], ScsiSense sense, uint64_t info);
extern const StateTable scsi_unit_state;

uint16_t scsi_get16(const uint8_t *p); /* big endian, as everything in a CDB */
uint32_t scsi_get24(const uint8_t *p);
uint32_t scsi_get32(const uint8_t *p);
uint64_t scsi_get64(const uint8_t *p);
void scsi_put16(uint8_t *p, uint32_t v);
void scsi_put24(uint8_t *p, uint32_t v);
void scsi_put32(uint8_t *p, uint32_t v);
void scsi_put64(uint8_t *p, uint64_t v);

#endif
