/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The bus as the chip sees it, and the targets' side of it: selection and reselection, information transfer phases,
 * messages, disconnection (SPI-3, 10 to 16).  A target that has to wait for its disk leaves the bus when its initiator
 * lets it, and comes back by reselection; without that right it keeps the bus and asks for no phase.
 */
#include <string.h>

#include "lsi.h"

static LsiReq *req_of(ScsiReq *req)
{
    return req->host;
}

/* --- connections --- */

static void bus_free(Lsi *s)
{
    s->connected = false;
    s->phase = LSI_PHASE_NONE;
    s->leaving = LSI_STAYS;
    s->current = NULL;
    s->msg_in_len = s->msg_in_pos = s->msg_out_len = 0;
    s->socl &= (uint8_t) ~(LSI_SOCL_ACK | LSI_SOCL_ATN);
    s->sstat2 |= LSI_SSTAT2_LDSC;
}

static void bus_connect(Lsi *s, unsigned id)
{
    s->connected = true;
    s->leaving = LSI_STAYS;
    s->nexus_id = (uint8_t)id;
    s->nexus_lun = s->nexus_tag = 0;
    s->nexus_tagged = s->nexus_disconnect = false;
    s->msg_in_len = s->msg_in_pos = s->msg_out_len = 0;
    s->current = NULL;
    s->sstat2 &= (uint8_t)~LSI_SSTAT2_LDSC;
}

static void say(Lsi *s, const uint8_t *bytes, unsigned len)
{
    if (s->msg_in_pos == s->msg_in_len) {
        s->msg_in_pos = s->msg_in_len = 0;
    }
    len = MIN(len, (unsigned)LSI_MSG_LEN - s->msg_in_len);
    memcpy(s->msg_in + s->msg_in_len, bytes, len);
    s->msg_in_len = (uint8_t)(s->msg_in_len + len);
}

/* The phase of a target that has a command and nothing to say. */
static uint8_t command_phase(Lsi *s)
{
    static const uint8_t disconnect[] = {LSI_MSG_SAVE_POINTERS, LSI_MSG_DISCONNECT};
    const LsiReq *r = s->current;

    if (r->state == LSI_REQ_DONE) {
        return LSI_PHASE_STATUS;
    }
    if (r->state == LSI_REQ_DATA) {
        return r->req->dir == SCSI_DIR_FROM_UNIT ? LSI_PHASE_DATA_IN : LSI_PHASE_DATA_OUT;
    }
    if (!r->may_disconnect || s->move.active) {
        return LSI_PHASE_NONE;
    }
    say(s, disconnect, sizeof(disconnect));
    s->leaving = LSI_DISCONNECTS;
    return LSI_PHASE_MSG_IN;
}

/* The target chooses its next phase. */
static void bus_next(Lsi *s)
{
    if (!s->connected) {
        return;
    }
    if (s->socl & LSI_SOCL_ATN) {
        s->phase = LSI_PHASE_MSG_OUT;
    } else if (s->msg_in_pos < s->msg_in_len) {
        s->phase = LSI_PHASE_MSG_IN;
    } else if (s->leaving != LSI_STAYS) {
        bus_free(s);
    } else {
        s->phase = s->current ? command_phase(s) : LSI_PHASE_COMMAND;
    }
}

bool lsi_select(Lsi *s, unsigned id, bool atn)
{
    if (!scsi_bus_has_target(s->bus, id)) {
        return false;
    }
    bus_connect(s, id);
    s->sdid = (uint8_t)id;
    s->sstat0 |= LSI_SSTAT0_WOA;
    s->socl = (uint8_t)((s->socl & ~LSI_SOCL_ATN) | (atn ? LSI_SOCL_ATN : 0));
    bus_next(s);
    return true;
}

void lsi_offer_message(Lsi *s)
{
    if (s->phase == LSI_PHASE_COMMAND && !s->current) {
        s->phase = LSI_PHASE_MSG_OUT;
    }
}

bool lsi_reselect(Lsi *s)
{
    for (guint i = 0; i < s->reqs->len; i++) {
        LsiReq *r = s->reqs->pdata[i];
        uint8_t msg[] = {(uint8_t)(LSI_MSG_IDENTIFY | r->lun), LSI_MSG_SIMPLE_TAG, r->tag};

        if (r->state == LSI_REQ_BUSY) {
            continue;
        }
        bus_connect(s, r->id);
        s->current = r;
        s->nexus_lun = r->lun;
        s->nexus_tag = r->tag;
        s->nexus_tagged = r->tagged;
        s->nexus_disconnect = r->may_disconnect;
        s->ssid = (uint8_t)(r->id | LSI_SSID_VAL);
        say(s, msg, r->tagged ? 3 : 1);
        bus_next(s);
        return true;
    }
    return false;
}

void lsi_set_atn(Lsi *s, bool on)
{
    s->socl = (uint8_t)((s->socl & ~LSI_SOCL_ATN) | (on ? LSI_SOCL_ATN : 0));
    /* Seen between bytes: one that is not acknowledged comes first. */
    if (!(s->socl & LSI_SOCL_ACK)) {
        bus_next(s);
    }
}

void lsi_acknowledge(Lsi *s)
{
    s->socl &= (uint8_t)~LSI_SOCL_ACK;
    bus_next(s);
}

/* --- commands --- */

static void req_drop(LsiReq *r)
{
    Lsi *s = r->s;

    if (s->current == r) {
        s->current = NULL;
    }
    g_ptr_array_remove(s->reqs, r);
    g_free(r);
}

static void req_cancel(LsiReq *r)
{
    if (r->req) {
        scsi_req_cancel(r->req);
    }
    req_drop(r);
}

/* Those of a target (id < 0: all), of one unit of it (lun >= 0), with one tag (tag >= 0). */
static void cancel_matching(Lsi *s, int id, int lun, int tag)
{
    for (guint i = s->reqs->len; i-- > 0;) {
        LsiReq *r = s->reqs->pdata[i];

        if ((id < 0 || r->id == id) && (lun < 0 || r->lun == lun) && (tag < 0 || (r->tagged && r->tag == tag))) {
            req_cancel(r);
        }
    }
}

/* Something has come of a command. */
static void req_ready(LsiReq *r)
{
    Lsi *s = r->s;

    if (s->starting && r == s->current) {
        return; /* who started it looks at the bus next */
    }
    if (r == s->current && s->phase == LSI_PHASE_NONE) {
        bus_next(s);
    }
    lsi_run(s);
}

static void host_transfer(ScsiReq *req)
{
    LsiReq *r = req_of(req);

    r->state = LSI_REQ_DATA;
    r->pos = 0;
    req_ready(r);
}

static void host_complete(ScsiReq *req)
{
    LsiReq *r = req_of(req);

    r->state = LSI_REQ_DONE;
    r->status = req->status;
    req_ready(r);
}

static void host_unit_gone(ScsiBus *bus, ScsiUnit *unit)
{
    Lsi *s = (Lsi *)scsi_bus_host(bus);
    bool here = s->connected && s->nexus_id == unit->id && s->nexus_lun == unit->lun;

    cancel_matching(s, unit->id, (int)unit->lun, -1);
    if (here) {
        bus_free(s);
        lsi_scsi_interrupt(s, LSI_SIST0_UDC, 0);
    }
}

const ScsiHostOps lsi_host_ops = {
    .transfer = host_transfer,
    .complete = host_complete,
    .unit_gone = host_unit_gone,
};

static void command_begin(Lsi *s, const uint8_t *cdb)
{
    LsiReq *r = g_new0(LsiReq, 1);

    *r = (LsiReq){.s = s,
                  .id = s->nexus_id,
                  .lun = s->nexus_lun,
                  .tag = s->nexus_tag,
                  .tagged = s->nexus_tagged,
                  .may_disconnect = s->nexus_disconnect};
    g_ptr_array_add(s->reqs, r);
    s->current = r;
    if (s->reqs->len > LSI_MAX_REQS) {
        r->state = LSI_REQ_DONE;
        r->status = SCSI_TASK_SET_FULL;
        return;
    }
    r->req = scsi_req_new(s->bus, r->id, r->lun, r->tag, cdb, r);
    s->starting = true;
    scsi_req_start(r->req);
    s->starting = false;
}

/* --- messages out --- */

static void message_free_bus(Lsi *s)
{
    /* What was cancelled is gone; a command that is connected and was not goes with its connection. */
    if (s->current) {
        req_cancel(s->current);
    }
    bus_free(s);
}

static void message_negotiate(Lsi *s)
{
    uint8_t answer[5];

    if (s->msg_out[2] == LSI_EXT_SYNC && s->msg_out[1] == 3) {
        memcpy(answer, s->msg_out, 5);
        answer[3] = MAX(answer[3], 10); /* 25 ns: Fast-40 */
        answer[4] = MIN(answer[4], 31);
        say(s, answer, 5);
    } else if (s->msg_out[2] == LSI_EXT_WIDE && s->msg_out[1] == 2) {
        memcpy(answer, s->msg_out, 4);
        answer[3] = MIN(answer[3], 1); /* 16 bits */
        say(s, answer, 4);
    } else {
        say(s, (const uint8_t[]){LSI_MSG_REJECT}, 1);
    }
}

/* The bytes of the first message in msg_out: 0 when it is not complete, and never more than there is room for. */
static unsigned message_len(const Lsi *s)
{
    unsigned len = 1;

    if (!s->msg_out_len) {
        return 0;
    }
    if (s->msg_out[0] == LSI_MSG_EXTENDED) {
        len = s->msg_out_len < 2 ? LSI_MSG_LEN : MIN((s->msg_out[1] ? s->msg_out[1] : 256u) + 2, (unsigned)LSI_MSG_LEN);
    } else if (s->msg_out[0] >= LSI_MSG_SIMPLE_TAG && s->msg_out[0] < 0x30) {
        len = 2;
    }
    return s->msg_out_len >= len ? len : 0;
}

static void message_handle(Lsi *s)
{
    uint8_t msg = s->msg_out[0];

    if (msg & LSI_MSG_IDENTIFY) {
        s->nexus_lun = msg & 7;
        s->nexus_disconnect = msg & 0x40;
        return;
    }
    if (msg >= LSI_MSG_SIMPLE_TAG && msg <= LSI_MSG_ORDERED_TAG) {
        s->nexus_tagged = true;
        s->nexus_tag = s->msg_out[1];
        return;
    }
    switch (msg) {
    case LSI_MSG_EXTENDED:
        message_negotiate(s);
        break;
    case LSI_MSG_ABORT:
    case LSI_MSG_CLEAR_QUEUE:
        cancel_matching(s, s->nexus_id, s->nexus_lun, -1);
        message_free_bus(s);
        break;
    case LSI_MSG_ABORT_TAG:
        cancel_matching(s, s->nexus_id, s->nexus_lun, s->nexus_tag);
        message_free_bus(s);
        break;
    case LSI_MSG_DEVICE_RESET:
        cancel_matching(s, s->nexus_id, -1, -1);
        message_free_bus(s);
        scsi_bus_reset(s->bus, s->nexus_id);
        break;
    case LSI_MSG_INITIATOR_ERROR:
    case LSI_MSG_REJECT:
    case LSI_MSG_NOP:
    case LSI_MSG_PARITY_ERROR:
        break;
    default:
        guest_error(&s->pci.dev, "message 0x%02x means nothing to a target", msg);
        say(s, (const uint8_t[]){LSI_MSG_REJECT}, 1);
        break;
    }
}

static void messages_handle(Lsi *s)
{
    unsigned len;

    while (s->connected && (len = message_len(s))) {
        message_handle(s);
        if (s->msg_out_len >= len) { /* else the connection, and what was said, is gone */
            s->msg_out_len = (uint8_t)(s->msg_out_len - len);
            memmove(s->msg_out, s->msg_out + len, s->msg_out_len);
        }
    }
}

/* --- transfers --- */

static int64_t transfer_msg_out(Lsi *s, uint64_t addr, uint32_t len)
{
    uint32_t n = MIN(len, (uint32_t)LSI_MSG_LEN - s->msg_out_len);

    if (!lsi_mem_read(s, addr, s->msg_out + s->msg_out_len, n)) {
        return -1;
    }
    s->msg_out_len = (uint8_t)(s->msg_out_len + n);
    if (n == len) {
        s->socl &= (uint8_t)~LSI_SOCL_ATN; /* the chip drops it before the last byte */
    }
    messages_handle(s);
    if (s->connected && s->msg_out_len == LSI_MSG_LEN) {
        s->msg_out_len = 0; /* a message that never ends */
    }
    s->move.active = n < len; /* a target does not leave within a move */
    bus_next(s);
    return n;
}

static int64_t transfer_msg_in(Lsi *s, uint64_t addr, uint32_t len)
{
    uint32_t n = MIN(len, (uint32_t)(s->msg_in_len - s->msg_in_pos));

    s->sfbr = s->msg_in[s->msg_in_pos];
    if (!lsi_mem_write(s, addr, s->msg_in + s->msg_in_pos, n)) {
        return -1;
    }
    s->msg_in_pos = (uint8_t)(s->msg_in_pos + n);
    s->sidl = s->msg_in[s->msg_in_pos - 1];
    if (s->msg_in_pos < s->msg_in_len || s->leaving == LSI_STAYS) {
        s->socl |= LSI_SOCL_ACK; /* until SCRIPTS clear it */
        s->phase = s->msg_in_pos < s->msg_in_len ? LSI_PHASE_MSG_IN : LSI_PHASE_NONE;
        return n;
    }
    if (s->leaving == LSI_COMPLETES && s->current) {
        LsiReq *r = s->current;

        scsi_req_free(r->req);
        req_drop(r);
    }
    bus_free(s);
    return n;
}

static int64_t transfer_command(Lsi *s, uint64_t addr, uint32_t len)
{
    uint8_t cdb[SCSI_CDB_LEN] = {0};
    uint32_t n = MIN(len, (uint32_t)SCSI_CDB_LEN);

    if (!lsi_mem_read(s, addr, cdb, n)) {
        return -1;
    }
    s->move.active = n < len;
    command_begin(s, cdb);
    bus_next(s);
    return n;
}

static int64_t transfer_status(Lsi *s, uint64_t addr)
{
    s->sfbr = s->current->status;
    s->sidl = s->sfbr;
    if (!lsi_mem_write(s, addr, &s->current->status, 1)) {
        return -1;
    }
    say(s, (const uint8_t[]){LSI_MSG_COMMAND_COMPLETE}, 1);
    s->leaving = LSI_COMPLETES;
    bus_next(s);
    return 1;
}

static int64_t transfer_data(Lsi *s, uint64_t addr, uint32_t len)
{
    LsiReq *r = s->current;
    uint32_t n = MIN(len, r->req->len - r->pos);
    bool in = r->req->dir == SCSI_DIR_FROM_UNIT;
    uint8_t *buf = r->req->buf + r->pos;

    if (in ? !lsi_mem_write(s, addr, buf, n) : !lsi_mem_read(s, addr, buf, n)) {
        return -1;
    }
    s->sfbr = in ? buf[0] : s->sfbr;
    r->pos += n;
    if (r->pos == r->req->len) {
        r->state = LSI_REQ_BUSY;
        s->move.active = n < len;
        s->starting = true;
        scsi_req_continue(r->req);
        s->starting = false;
        bus_next(s);
    }
    return n;
}

int64_t lsi_bus_transfer(Lsi *s, uint64_t addr, uint32_t len)
{
    switch (s->phase) {
    case LSI_PHASE_MSG_OUT:
        return transfer_msg_out(s, addr, len);
    case LSI_PHASE_MSG_IN:
        return transfer_msg_in(s, addr, len);
    case LSI_PHASE_COMMAND:
        return transfer_command(s, addr, len);
    case LSI_PHASE_STATUS:
        return transfer_status(s, addr);
    default:
        return transfer_data(s, addr, len);
    }
}

/* --- reset, state --- */

void lsi_bus_reset(Lsi *s)
{
    cancel_matching(s, -1, -1, -1);
    bus_free(s);
    s->move.active = false;
    scsi_bus_reset(s->bus, -1);
}

#define SAVED_REQ_LEN 16

void lsi_reqs_save(Lsi *s, GByteArray *out)
{
    for (guint i = 0; i < s->reqs->len; i++) {
        const LsiReq *r = s->reqs->pdata[i];
        uint8_t head[SAVED_REQ_LEN] = {
            r->id,    r->lun,            r->tag,          r->status,        r->tagged, r->may_disconnect,
            r->state, r == s->current, r->req != NULL};

        scsi_put32(head + 12, r->pos);
        g_byte_array_append(out, head, sizeof(head));
        if (r->req) {
            scsi_req_save(r->req, out);
        }
    }
}

static bool req_load(Lsi *s, const uint8_t **data, size_t *len)
{
    const uint8_t *head = *data;
    LsiReq *r;

    if (*len < SAVED_REQ_LEN || s->reqs->len > LSI_MAX_REQS || head[0] >= SCSI_ID_COUNT || head[1] > 7 ||
        (head[6] != LSI_REQ_DATA && head[6] != LSI_REQ_DONE) || (head[7] && s->current)) {
        return false;
    }
    r = g_new0(LsiReq, 1);
    *r = (LsiReq){.s = s, .id = head[0], .lun = head[1], .tag = head[2], .status = head[3], .tagged = head[4],
                  .may_disconnect = head[5], .state = head[6], .pos = scsi_get32(head + 12)};
    g_ptr_array_add(s->reqs, r);
    s->current = head[7] ? r : s->current;
    *data += SAVED_REQ_LEN;
    *len -= SAVED_REQ_LEN;
    if (!head[8]) {
        return r->state == LSI_REQ_DONE;
    }
    r->req = scsi_req_load(s->bus, data, len, r);
    return r->req && r->req->id == r->id && r->req->lun == r->lun &&
           (r->state == LSI_REQ_DONE || (r->pos < r->req->len && r->req->dir != SCSI_DIR_NONE));
}

bool lsi_reqs_load(Lsi *s, const uint8_t *data, size_t len)
{
    cancel_matching(s, -1, -1, -1);
    while (len) {
        if (!req_load(s, &data, &len)) {
            cancel_matching(s, -1, -1, -1);
            return false;
        }
    }
    return true;
}
