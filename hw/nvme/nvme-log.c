/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Get Log Page (NVMe 1.4, 5.14), asynchronous events (5.2) and the error log. */
#include <string.h>

#include "hw/nvme/nvme.h"

#define LOG_RAE                   (1u << 15) /* cdw10: retain asynchronous event */
#define ERROR_ENTRY_LEN           64
#define EFFECTS_CSUPP             0x1u
#define EFFECTS_LBCC              0x2u
#define EFFECTS_NCC               0x4u
#define EFFECTS_CSE_NS            (1u << 16) /* not with other commands to the namespace */
#define SMART_WARNING_TEMPERATURE 0x2
#define DATA_UNIT                 (512 * 1000)

/* --- events --- */

void nvme_events_deliver(Nvme *n)
{
    for (unsigned i = 0; i < n->event_count && n->aer_count && nvme_cq_room(&n->cq[0]);) {
        NvmeEvent event = n->events[i];

        if (n->event_masked >> event.type & 1) {
            i++;
            continue;
        }
        n->event_count--;
        memmove(&n->events[i], &n->events[i + 1], (n->event_count - i) * sizeof(event));
        n->event_masked |= (uint8_t)(1u << event.type);
        n->aer_count--;
        nvme_post_admin(n, n->aer_cids[n->aer_count],
                        event.type | (uint32_t)event.info << 8 | (uint32_t)event.log << 16, NVME_SC_SUCCESS);
    }
}

void nvme_event_add(Nvme *n, uint8_t type, uint8_t info, uint8_t log)
{
    /* Asynchronous Event Configuration (5.21.1.11): health in bits 7:0, notices from bit 8. */
    unsigned bit = type == NVME_EVENT_NOTICE ? 8u + info : info;
    bool optional = type == NVME_EVENT_SMART || type == NVME_EVENT_NOTICE;
    bool wanted = !optional || n->features[NVME_FEAT_ASYNC_EVENT] >> bit & 1;

    for (unsigned i = 0; i < n->event_count; i++) {
        if (n->events[i].type == type && n->events[i].info == info) {
            return; /* the same is waiting already */
        }
    }
    if (!wanted || n->event_count == NVME_MAX_EVENTS) {
        return;
    }
    n->events[n->event_count++] = (NvmeEvent){type, info, log};
    loop_bh_schedule(n->bh);
}

void nvme_error_log_add(Nvme *n, const NvmeReq *req, uint16_t status)
{
    memmove(&n->errors[1], &n->errors[0], sizeof(n->errors) - sizeof(n->errors[0]));
    n->errors[0] = (NvmeErrorEntry){
        .count = ++n->error_count,
        .lba = req->sqid ? req->cmd.cdw10 | (uint64_t)req->cmd.cdw11 << 32 : 0,
        .nsid = req->cmd.nsid,
        .sqid = req->sqid,
        .cid = req->cmd.cid,
        .status = status,
    };
}

/* --- pages --- */

static void log_error(const Nvme *n, uint8_t *page)
{
    for (unsigned i = 0; i < NVME_ERROR_LOG_ENTRIES; i++) {
        const NvmeErrorEntry *e = &n->errors[i];
        uint8_t *p = page + i * ERROR_ENTRY_LEN;

        if (!e->count) {
            break;
        }
        pci_set64(p, e->count);
        pci_set16(p + 8, e->sqid);
        pci_set16(p + 10, e->cid);
        pci_set16(p + 12, (uint16_t)(e->status << 1));
        pci_set16(p + 14, 0xffff); /* not a byte of the command in particular */
        pci_set64(p + 16, e->lba);
        pci_set32(p + 24, e->nsid);
    }
}

static uint64_t data_units(uint64_t bytes)
{
    return (bytes + DATA_UNIT - 1) / DATA_UNIT;
}

void nvme_log_count(const Nvme *n, uint64_t counters[NVME_COUNTERS])
{
    memcpy(counters, n->counted_before, sizeof(n->counted_before));
    for (uint32_t i = 0; i < n->ns_count; i++) {
        if (n->ns[i]) {
            const BlockStats *stats = block_stats(n->ns[i]->drive);

            counters[0] += stats->read_bytes;
            counters[1] += stats->write_bytes;
            counters[2] += stats->read_ops;
            counters[3] += stats->write_ops;
            counters[4] += stats->failed_ops;
        }
    }
}

static void log_smart(const Nvme *n, uint8_t *page)
{
    uint64_t counters[NVME_COUNTERS];

    if (n->features[NVME_FEAT_TEMPERATURE] <= NVME_TEMPERATURE) {
        page[0] = SMART_WARNING_TEMPERATURE;
    }
    pci_set16(page + 1, NVME_TEMPERATURE);
    page[3] = 100; /* available spare, percent */
    page[4] = 10;  /* its threshold */
    nvme_log_count(n, counters);
    pci_set64(page + 32, data_units(counters[0]));
    pci_set64(page + 48, data_units(counters[1]));
    pci_set64(page + 64, counters[2]);
    pci_set64(page + 80, counters[3]);
    pci_set64(page + 160, counters[4]); /* media and data integrity errors */
    pci_set64(page + 176, n->error_count);
}

static void log_firmware(const Nvme *n, uint8_t *page)
{
    page[0] = 1; /* slot 1 is active */
    memcpy(page + 8, "1.0     ", 8);
}

static void log_effects(const Nvme *n, uint8_t *page)
{
    static const uint8_t admin[] = {
        NVME_ADM_DELETE_SQ,    NVME_ADM_CREATE_SQ,   NVME_ADM_GET_LOG_PAGE, NVME_ADM_DELETE_CQ,
        NVME_ADM_CREATE_CQ,    NVME_ADM_IDENTIFY,    NVME_ADM_ABORT,        NVME_ADM_SET_FEATURES,
        NVME_ADM_GET_FEATURES, NVME_ADM_ASYNC_EVENT, NVME_ADM_DOORBELL_BUFFER,
    };
    static const uint8_t read_only[] = {NVME_IO_FLUSH, NVME_IO_READ, NVME_IO_COMPARE};
    static const uint8_t writing[] = {NVME_IO_WRITE, NVME_IO_WRITE_ZEROES, NVME_IO_DSM};

    for (size_t i = 0; i < G_N_ELEMENTS(admin); i++) {
        pci_set32(page + 4 * admin[i], EFFECTS_CSUPP);
    }
    pci_set32(page + 4 * NVME_ADM_FORMAT_NVM, EFFECTS_CSUPP | EFFECTS_LBCC | EFFECTS_NCC | EFFECTS_CSE_NS);
    for (size_t i = 0; i < G_N_ELEMENTS(read_only); i++) {
        pci_set32(page + 1024 + 4 * read_only[i], EFFECTS_CSUPP);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(writing); i++) {
        pci_set32(page + 1024 + 4 * writing[i], EFFECTS_CSUPP | EFFECTS_LBCC);
    }
}

static void log_changed_ns(const Nvme *n, uint8_t *page)
{
    for (uint32_t i = 0; i < NVME_MAX_NS; i++) {
        if (n->ns_changed[i / 32] >> (i % 32) & 1) {
            pci_set32(page, i + 1);
            page += sizeof(uint32_t);
        }
    }
}

typedef struct LogPage {
    uint8_t id;
    uint16_t len; /* bytes */
    int8_t event; /* type of the events that reading it acknowledges, or -1 */
    void (*fill)(const Nvme *n, uint8_t *page);
} LogPage;

static const LogPage log_pages[] = {
    {NVME_LOG_ERROR, NVME_ERROR_LOG_ENTRIES *ERROR_ENTRY_LEN, NVME_EVENT_ERROR, log_error},
    {NVME_LOG_SMART, 512, NVME_EVENT_SMART, log_smart},
    {NVME_LOG_FIRMWARE, 512, -1, log_firmware},
    {NVME_LOG_CHANGED_NS, 4096, NVME_EVENT_NOTICE, log_changed_ns},
    {NVME_LOG_EFFECTS, 4096, -1, log_effects},
};

/* [offset, offset + len) of the page, zeroes beyond its end, in pieces of the host's choosing. */
static uint16_t log_transfer(NvmeReq *req, const LogPage *log, uint64_t offset, uint64_t len)
{
    uint8_t page[4096] = {0};
    g_autofree uint8_t *out = NULL;

    if (offset > log->len) {
        return NVME_SC_INVALID_FIELD | NVME_DNR;
    }
    if (req->n->mdts && len > UINT64_C(4096) << req->n->mdts) {
        return NVME_SC_INVALID_FIELD | NVME_DNR;
    }
    out = g_try_malloc0(len);
    if (!out) {
        return NVME_SC_INTERNAL;
    }
    log->fill(req->n, page);
    memcpy(out, page + offset, MIN(len, log->len - offset));
    return nvme_data_to_host(req, out, len);
}

uint16_t nvme_get_log_page(NvmeReq *req)
{
    Nvme *n = req->n;
    uint8_t id = (uint8_t)req->cmd.cdw10;
    uint64_t dwords = (req->cmd.cdw10 >> 16 | (uint64_t)(req->cmd.cdw11 & 0xffff) << 16) + 1;
    uint64_t offset = req->cmd.cdw12 | (uint64_t)req->cmd.cdw13 << 32;

    for (size_t i = 0; i < G_N_ELEMENTS(log_pages); i++) {
        const LogPage *log = &log_pages[i];
        uint16_t status;

        if (log->id != id) {
            continue;
        }
        status = offset & 3 ? NVME_SC_INVALID_FIELD | NVME_DNR : log_transfer(req, log, offset, dwords * 4);
        if (!status && log->event >= 0 && !(req->cmd.cdw10 & LOG_RAE)) {
            n->event_masked &= (uint8_t) ~(1u << log->event);
            if (id == NVME_LOG_CHANGED_NS) {
                memset(n->ns_changed, 0, sizeof(n->ns_changed));
            }
            loop_bh_schedule(n->bh);
        }
        return status;
    }
    return NVME_SC_LOG_PAGE | NVME_DNR;
}
