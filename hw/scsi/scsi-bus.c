/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bus: which unit is where (SAM-3, 4), requests and their sense data (SPC-3, 4.5), what a target answers for
 * units that are not there (SPC-3, 6.4.1, 6.21).
 */
#include <string.h>

#include "core/error.h"
#include "scsi-spec.h"

struct ScsiBus {
    DeviceBus *named;
    Device *host;
    const ScsiHostOps *ops;
    unsigned ids, own_id;
    ScsiUnit *units[SCSI_ID_COUNT][SCSI_LUN_COUNT];
};

/* --- numbers --- */

uint16_t scsi_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t scsi_get24(const uint8_t *p)
{
    return (uint32_t)p[0] << 16 | scsi_get16(p + 1);
}

uint32_t scsi_get32(const uint8_t *p)
{
    return (uint32_t)scsi_get16(p) << 16 | scsi_get16(p + 2);
}

uint64_t scsi_get64(const uint8_t *p)
{
    return (uint64_t)scsi_get32(p) << 32 | scsi_get32(p + 4);
}

void scsi_put16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

void scsi_put24(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 16);
    scsi_put16(p + 1, v);
}

void scsi_put32(uint8_t *p, uint32_t v)
{
    scsi_put16(p, v >> 16);
    scsi_put16(p + 2, v);
}

void scsi_put64(uint8_t *p, uint64_t v)
{
    scsi_put32(p, (uint32_t)(v >> 32));
    scsi_put32(p + 4, (uint32_t)v);
}

unsigned scsi_cdb_len(uint8_t opcode)
{
    static const uint8_t by_group[8] = {6, 10, 10, 6, 16, 12, 6, 6};

    return by_group[opcode >> 5];
}

/* --- the bus --- */

ScsiBus *scsi_bus_new(Device *host, const ScsiHostOps *ops, unsigned ids, unsigned own_id)
{
    ScsiBus *bus = g_new0(ScsiBus, 1);

    g_assert(ids <= SCSI_ID_COUNT);
    bus->host = host;
    bus->ops = ops;
    bus->ids = ids;
    bus->own_id = own_id;
    bus->named = device_bus_new(host, "SCSI", 0, bus);
    return bus;
}

void scsi_bus_free(ScsiBus *bus)
{
    for (unsigned id = 0; bus && id < SCSI_ID_COUNT; id++) {
        g_assert(!scsi_bus_has_target(bus, id));
    }
    if (bus) {
        device_bus_free(bus->named);
        g_free(bus);
    }
}

ScsiBus *scsi_bus_new_private(Device *host, const ScsiHostOps *ops, ScsiUnit *unit)
{
    ScsiBus *bus = g_new0(ScsiBus, 1);

    bus->host = host;
    bus->ops = ops;
    bus->ids = 1;
    bus->units[0][0] = unit;
    unit->bus = bus;
    unit->id = 0;
    return bus;
}

Device *scsi_bus_host(const ScsiBus *bus)
{
    return bus->host;
}

bool scsi_bus_has_target(const ScsiBus *bus, unsigned id)
{
    for (unsigned lun = 0; id < bus->ids && lun < SCSI_LUN_COUNT; lun++) {
        if (bus->units[id][lun]) {
            return true;
        }
    }
    return false;
}

static void bus_each_unit(ScsiBus *bus, int only_id, void (*fn)(ScsiUnit *unit))
{
    for (unsigned id = 0; id < bus->ids; id++) {
        for (unsigned lun = 0; lun < SCSI_LUN_COUNT; lun++) {
            if (bus->units[id][lun] && (only_id < 0 || (unsigned)only_id == id)) {
                fn(bus->units[id][lun]);
            }
        }
    }
}

static void unit_drain(ScsiUnit *unit)
{
    unit->ops->drain(unit);
}

void scsi_unit_reset(ScsiUnit *unit)
{
    unit->ops->drain(unit);
    memset(unit->sense, 0, sizeof(unit->sense));
    unit->attention = SCSI_SENSE_POWER_ON;
    unit->ops->reset(unit);
}

void scsi_bus_reset(ScsiBus *bus, int id)
{
    bus_each_unit(bus, id, scsi_unit_reset);
}

void scsi_bus_drain(ScsiBus *bus)
{
    bus_each_unit(bus, -1, unit_drain);
}

/* --- units --- */

bool scsi_unit_place(Device *dev, const char *bus_name, GError **error)
{
    DeviceBus *bus = device_bus_find(dev->obj.machine, "SCSI", bus_name, error);

    if (!bus) {
        g_prefix_error(error, "-device %s: ", dev->obj.model->name);
        return false;
    }
    dev->upstream = bus->owner;
    return true;
}

static bool unit_choose_id(ScsiUnit *unit, ScsiBus *bus, GError **error)
{
    const char *model = unit->dev->obj.model->name;

    for (unsigned id = 0; unit->id < 0 && id < bus->ids; id++) {
        if (id != bus->own_id && !bus->units[id][unit->lun]) {
            unit->id = (int32_t)id;
        }
    }
    if (unit->id < 0) {
        error_set(error, "-device %s: no free scsi-id on bus %s", model, bus->named->name);
        return false;
    }
    if ((unsigned)unit->id >= bus->ids || (unsigned)unit->id == bus->own_id) {
        error_set(error, "-device %s: scsi-id: not possible (%d, allowed 0..%u but for the controller's own, %u)",
                  model, unit->id, bus->ids - 1, bus->own_id);
        return false;
    }
    if (bus->units[unit->id][unit->lun]) {
        error_set(error, "-device %s: scsi-id %d, lun %u on bus %s is taken by '%s'", model, unit->id, unit->lun,
                  bus->named->name, bus->units[unit->id][unit->lun]->dev->obj.id);
        return false;
    }
    return true;
}

bool scsi_unit_attach(ScsiUnit *unit, GError **error)
{
    DeviceBus *named = device_bus_of(unit->dev->upstream, "SCSI");
    ScsiBus *bus = named ? named->impl : NULL;

    if (!bus) {
        error_set(error, "-device %s: its controller is not there", unit->dev->obj.model->name);
        return false;
    }
    if (!unit_choose_id(unit, bus, error)) {
        return false;
    }
    unit->bus = bus;
    bus->units[unit->id][unit->lun] = unit;
    return true;
}

void scsi_unit_detach(ScsiUnit *unit)
{
    ScsiBus *bus = unit->bus;

    unit->ops->drain(unit);
    bus->ops->unit_gone(bus, unit);
    bus->units[unit->id][unit->lun] = NULL;
    unit->bus = NULL;
}

/* --- requests --- */

ScsiReq *scsi_req_new(ScsiBus *bus, unsigned id, unsigned lun, uint32_t tag, const uint8_t *cdb, void *host)
{
    ScsiReq *req = g_new0(ScsiReq, 1);

    req->bus = bus;
    req->unit = lun < SCSI_LUN_COUNT ? bus->units[id][lun] : NULL;
    req->host = host;
    req->tag = tag;
    req->id = (uint8_t)id;
    req->lun = (uint8_t)lun;
    memcpy(req->cdb, cdb, SCSI_CDB_LEN);
    return req;
}

void scsi_req_free(ScsiReq *req)
{
    if (req) {
        g_free(req->buf);
        g_free(req);
    }
}

void scsi_req_cancel(ScsiReq *req)
{
    if (req->in_io) {
        req->cancelled = true;
    } else {
        scsi_req_free(req);
    }
}

bool scsi_req_reserve(ScsiReq *req, uint32_t len)
{
    if (len > req->room) {
        uint8_t *buf = g_try_realloc(req->buf, len);

        if (!buf) {
            scsi_req_fail(req, SCSI_SENSE_TARGET_FAILURE, UINT64_MAX);
            return false;
        }
        req->buf = buf;
        req->room = len;
    }
    memset(req->buf, 0, len);
    return true;
}

void scsi_req_transfer(ScsiReq *req, ScsiDir dir, uint32_t len)
{
    req->dir = dir;
    req->len = len;
    if (len) {
        req->bus->ops->transfer(req);
    } else {
        scsi_req_continue(req);
    }
}

static void req_end(ScsiReq *req, uint8_t status)
{
    req->status = status;
    req->len = 0;
    req->bus->ops->complete(req);
}

void scsi_req_good(ScsiReq *req)
{
    req_end(req, SCSI_GOOD);
}

void scsi_sense_fill(uint8_t buf[SCSI_SENSE_LEN], ScsiSense sense, uint64_t info)
{
    memset(buf, 0, SCSI_SENSE_LEN);
    buf[0] = 0x70 | (info <= UINT32_MAX ? 0x80 : 0);
    buf[2] = (uint8_t)(sense >> 16);
    scsi_put32(buf + 3, info <= UINT32_MAX ? (uint32_t)info : 0);
    buf[7] = SCSI_SENSE_LEN - 8;
    buf[12] = (uint8_t)(sense >> 8);
    buf[13] = (uint8_t)sense;
}

void scsi_req_fail(ScsiReq *req, ScsiSense sense, uint64_t info)
{
    if (req->unit) {
        scsi_sense_fill(req->unit->sense, sense, info);
    }
    req_end(req, SCSI_CHECK_CONDITION);
}

/* --- what the target answers itself --- */

static void target_report_luns(ScsiReq *req)
{
    uint32_t alloc = scsi_get32(req->cdb + 6), len = 8;

    if (req->cdb[2] > 2 || alloc < 16) {
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
        return;
    }
    if (!scsi_req_reserve(req, 8 + 8 * SCSI_LUN_COUNT)) {
        return;
    }
    for (unsigned lun = 0; req->cdb[2] != 1 && lun < SCSI_LUN_COUNT; lun++) {
        if (req->bus->units[req->id][lun]) {
            req->buf[len + 1] = (uint8_t)lun;
            len += 8;
        }
    }
    scsi_put32(req->buf, len - 8);
    scsi_req_transfer(req, SCSI_DIR_FROM_UNIT, MIN(len, alloc));
}

/* A unit that is not there. */
static void target_execute(ScsiReq *req)
{
    uint8_t opcode = req->cdb[0];
    uint32_t len;

    if (opcode != SCSI_INQUIRY && opcode != SCSI_REQUEST_SENSE) {
        req_end(req, SCSI_CHECK_CONDITION);
        return;
    }
    len = opcode == SCSI_INQUIRY ? 36 : SCSI_SENSE_LEN;
    if (!scsi_req_reserve(req, len)) {
        return;
    }
    if (opcode == SCSI_REQUEST_SENSE) {
        scsi_sense_fill(req->buf, SCSI_SENSE_NO_LUN, UINT64_MAX);
    } else {
        req->buf[0] = 0x7f; /* no unit there, of no type */
        req->buf[2] = 5;
        req->buf[3] = 2;
        req->buf[4] = 31;
    }
    scsi_req_transfer(req, SCSI_DIR_FROM_UNIT, MIN(len, (uint32_t)req->cdb[4]));
}

static void unit_request_sense(ScsiReq *req)
{
    ScsiUnit *unit = req->unit;

    if (req->cdb[1] & 1) { /* descriptor format */
        scsi_req_fail(req, SCSI_SENSE_INVALID_FIELD, UINT64_MAX);
        return;
    }
    if (!scsi_req_reserve(req, SCSI_SENSE_LEN)) {
        return;
    }
    if (unit->sense[0]) {
        memcpy(req->buf, unit->sense, SCSI_SENSE_LEN);
    } else {
        scsi_sense_fill(req->buf, unit->attention, UINT64_MAX);
        unit->attention = 0;
    }
    memset(unit->sense, 0, sizeof(unit->sense));
    scsi_req_transfer(req, SCSI_DIR_FROM_UNIT, MIN(SCSI_SENSE_LEN, (uint32_t)req->cdb[4]));
}

/* Commands that every target has an answer to. */
static bool is_generic(const ScsiReq *req)
{
    return !req->unit || req->cdb[0] == SCSI_REPORT_LUNS || req->cdb[0] == SCSI_REQUEST_SENSE;
}

void scsi_req_start(ScsiReq *req)
{
    ScsiUnit *unit = req->unit;

    if (req->cdb[0] == SCSI_REPORT_LUNS) {
        target_report_luns(req);
    } else if (!unit) {
        target_execute(req);
    } else if (req->cdb[0] == SCSI_REQUEST_SENSE) {
        unit_request_sense(req);
    } else if (unit->attention && req->cdb[0] != SCSI_INQUIRY && req->cdb[0] != SCSI_GET_EVENT_STATUS) {
        ScsiSense sense = unit->attention;

        unit->attention = 0;
        scsi_req_fail(req, sense, UINT64_MAX);
    } else {
        memset(unit->sense, 0, sizeof(unit->sense));
        unit->ops->execute(req);
    }
}

void scsi_req_continue(ScsiReq *req)
{
    if (is_generic(req)) {
        scsi_req_good(req);
    } else {
        req->unit->ops->more(req);
    }
}

/* --- saved requests --- */

#define SAVED_LEN 56

void scsi_req_save(const ScsiReq *req, GByteArray *out)
{
    uint8_t head[SAVED_LEN] = {req->id, req->lun, (uint8_t)req->dir, req->status};

    g_assert(!req->in_io);
    scsi_put32(head + 4, req->tag);
    memcpy(head + 8, req->cdb, SCSI_CDB_LEN);
    scsi_put64(head + 24, req->lba);
    scsi_put64(head + 32, req->blocks);
    scsi_put32(head + 40, req->chunk);
    scsi_put32(head + 44, req->len);
    g_byte_array_append(out, head, sizeof(head));
    g_byte_array_append(out, req->buf, req->len);
}

static bool req_plausible(ScsiReq *req)
{
    return is_generic(req) ? req->len <= 8 + 8 * SCSI_LUN_COUNT : req->unit->ops->loaded(req);
}

ScsiReq *scsi_req_load(ScsiBus *bus, const uint8_t **data, size_t *len, void *host)
{
    const uint8_t *head = *data;
    uint32_t bytes;
    ScsiReq *req;

    if (*len < SAVED_LEN || head[0] >= bus->ids || head[2] > SCSI_DIR_TO_UNIT || !scsi_bus_has_target(bus, head[0])) {
        return NULL;
    }
    bytes = scsi_get32(head + 44);
    if (bytes > SCSI_CHUNK || bytes > *len - SAVED_LEN) {
        return NULL;
    }
    req = scsi_req_new(bus, head[0], head[1], scsi_get32(head + 4), head + 8, host);
    req->dir = head[2];
    req->status = head[3];
    req->lba = scsi_get64(head + 24);
    req->blocks = scsi_get64(head + 32);
    req->chunk = scsi_get32(head + 40);
    req->len = req->room = bytes;
    req->buf = bytes ? g_memdup2(head + SAVED_LEN, bytes) : NULL;
    *data += SAVED_LEN + bytes;
    *len -= SAVED_LEN + bytes;
    if (!req_plausible(req)) {
        scsi_req_free(req);
        return NULL;
    }
    return req;
}

static const StateField unit_fields[] = {
    STATE_FIELD_BYTES(ScsiUnit, sense),
    STATE_FIELD_UINT(ScsiUnit, attention),
    STATE_END,
};
const StateTable scsi_unit_state = {.name = "scsi-unit", .version = 1, .fields = unit_fields};
