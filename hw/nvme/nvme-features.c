/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Get Features and Set Features (NVMe 1.4, 5.13, 5.21). */
#include "hw/nvme/nvme.h"

#define SELECT_CURRENT        0
#define SELECT_SUPPORTED      3
#define CAPABILITY_NAMESPACE  0x2u
#define CAPABILITY_CHANGEABLE 0x4u
#define SET_SAVE              (1u << 31)
#define WRITE_CACHE_ENABLE    0x1u
#define TEMPERATURE_DEFAULT   343

typedef struct Feature {
    bool supported, changeable, per_namespace;
    uint32_t reset;
    uint32_t writable; /* bits of cdw11 that are kept */
} Feature;

static const Feature feature_table[NVME_FEAT_COUNT] = {
    [NVME_FEAT_ARBITRATION] = {true, true, false, 7, 0xffffff07}, /* no limit of the burst */
    [NVME_FEAT_POWER] = {true, true, false, 0, 0xff},
    [NVME_FEAT_TEMPERATURE] = {true, true, false, TEMPERATURE_DEFAULT, 0x003fffff},
    [NVME_FEAT_ERROR_RECOVERY] = {true, true, true, 0, 0x0000ffff},
    [NVME_FEAT_WRITE_CACHE] = {true, true, false, WRITE_CACHE_ENABLE, WRITE_CACHE_ENABLE},
    [NVME_FEAT_QUEUES] = {true, true, false, 0, 0},
    [NVME_FEAT_COALESCING] = {true, true, false, 0, 0xffff},
    [NVME_FEAT_VECTOR] = {true, true, false, 0, 0x1ffff},
    [NVME_FEAT_WRITE_ATOMICITY] = {true, true, false, 0, 1},
    [NVME_FEAT_ASYNC_EVENT] = {true, true, false, 0, 0x1ff},
};

void nvme_features_reset(Nvme *n)
{
    for (unsigned i = 0; i < NVME_FEAT_COUNT; i++) {
        n->features[i] = feature_table[i].reset;
    }
    for (unsigned i = 0; i < NVME_MAX_VECTORS; i++) {
        n->vector_config[i] = i ? 0 : NVME_VECTOR_CD; /* the admin queue's is never coalesced */
    }
}

bool nvme_write_cache_enabled(const Nvme *n)
{
    return n->features[NVME_FEAT_WRITE_CACHE] & WRITE_CACHE_ENABLE;
}

static const Feature *feature_of(const NvmeReq *req)
{
    uint32_t id = req->cmd.cdw10 & 0xff;

    return id < NVME_FEAT_COUNT && feature_table[id].supported ? &feature_table[id] : NULL;
}

static uint32_t queue_counts(const Nvme *n)
{
    return (n->max_ioqpairs - 1) << 16 | (n->max_ioqpairs - 1);
}

/* The over temperature threshold of the composite sensor is the only one that is stored; others are as by
 * default. */
static bool is_over_threshold(uint32_t cdw11)
{
    return !(cdw11 >> 16 & 0x3f);
}

static uint16_t check_nsid(const NvmeReq *req, const Feature *f)
{
    NvmeNs *ns;

    return !f->per_namespace || req->cmd.nsid == NVME_NSID_ALL ? NVME_SC_SUCCESS
                                                               : nvme_ns_find(req->n, req->cmd.nsid, &ns);
}

uint16_t nvme_get_features(NvmeReq *req)
{
    Nvme *n = req->n;
    const Feature *f = feature_of(req);
    uint32_t id = req->cmd.cdw10 & 0xff, select = req->cmd.cdw10 >> 8 & 7, vector = req->cmd.cdw11 & 0xffff;

    if (!f || select > SELECT_SUPPORTED) {
        return NVME_SC_INVALID_FIELD | NVME_DNR;
    }
    if (check_nsid(req, f)) {
        return check_nsid(req, f);
    }
    if (select == SELECT_SUPPORTED) {
        req->result =
            (f->changeable ? CAPABILITY_CHANGEABLE : 0) | (f->per_namespace ? CAPABILITY_NAMESPACE : 0);
        return NVME_SC_SUCCESS;
    }
    if (id == NVME_FEAT_QUEUES) {
        req->result = queue_counts(n);
    } else if (id == NVME_FEAT_VECTOR) {
        if (vector >= n->msix_qsize) {
            return NVME_SC_INVALID_FIELD | NVME_DNR;
        }
        req->result = vector | (select == SELECT_CURRENT ? n->vector_config[vector]
                                : vector                 ? 0
                                                         : NVME_VECTOR_CD);
    } else if (id == NVME_FEAT_TEMPERATURE && !is_over_threshold(req->cmd.cdw11)) {
        req->result = 0;
    } else {
        req->result = select == SELECT_CURRENT ? n->features[id] : f->reset;
    }
    return NVME_SC_SUCCESS;
}

static uint16_t set_queues(NvmeReq *req)
{
    Nvme *n = req->n;

    for (unsigned i = 1; i <= n->max_ioqpairs; i++) {
        if (n->sq[i].entries || n->cq[i].entries) {
            return NVME_SC_COMMAND_SEQUENCE | NVME_DNR;
        }
    }
    if ((req->cmd.cdw11 & 0xffff) == 0xffff || req->cmd.cdw11 >> 16 == 0xffff) {
        return NVME_SC_INVALID_FIELD | NVME_DNR;
    }
    req->result = queue_counts(n);
    return NVME_SC_SUCCESS;
}

static uint16_t set_vector(NvmeReq *req)
{
    uint32_t vector = req->cmd.cdw11 & 0xffff;

    if (vector >= req->n->msix_qsize) {
        return NVME_SC_INVALID_FIELD | NVME_DNR;
    }
    req->n->vector_config[vector] = req->cmd.cdw11 & NVME_VECTOR_CD;
    return NVME_SC_SUCCESS;
}

static uint16_t set_temperature(NvmeReq *req)
{
    Nvme *n = req->n;
    uint32_t threshold = req->cmd.cdw11 & 0xffff;

    if (!is_over_threshold(req->cmd.cdw11)) {
        return NVME_SC_SUCCESS;
    }
    n->features[NVME_FEAT_TEMPERATURE] = threshold;
    if (threshold <= NVME_TEMPERATURE) {
        nvme_event_add(n, NVME_EVENT_SMART, NVME_EVENT_SMART_TEMPERATURE, NVME_LOG_SMART);
    }
    return NVME_SC_SUCCESS;
}

uint16_t nvme_set_features(NvmeReq *req)
{
    Nvme *n = req->n;
    const Feature *f = feature_of(req);
    uint32_t id = req->cmd.cdw10 & 0xff;

    if (!f) {
        return NVME_SC_INVALID_FIELD | NVME_DNR;
    }
    if (req->cmd.cdw10 & SET_SAVE) {
        return NVME_SC_NOT_SAVEABLE | NVME_DNR;
    }
    if (check_nsid(req, f)) {
        return check_nsid(req, f);
    }
    switch (id) {
    case NVME_FEAT_QUEUES:
        return set_queues(req);
    case NVME_FEAT_VECTOR:
        return set_vector(req);
    case NVME_FEAT_TEMPERATURE:
        return set_temperature(req);
    case NVME_FEAT_POWER:
        if (req->cmd.cdw11 & 0x1f) {
            return NVME_SC_INVALID_FIELD | NVME_DNR; /* there is power state 0 only */
        }
        break;
    default:
        break;
    }
    n->features[id] = req->cmd.cdw11 & f->writable;
    return NVME_SC_SUCCESS;
}
