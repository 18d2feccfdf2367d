/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * NVMe controller: the PCI function, registers (NVMe 1.4, 3.1), enable, disable and shutdown (7.6), saved
 * state.
 *
 * Disabling does not wait: commands in flight lose their queues, and CSTS.RDY stays set until the last of
 * them no longer touches guest memory.
 */
#include <string.h>

#include "hw/nvme/nvme.h"

#define CC_MPS_MAX 4 /* 64 KiB pages */

/* --- enable, disable, shutdown --- */

void nvme_fatal(Nvme *n, const char *why)
{
    guest_error(&n->pci.dev, "controller fatal status: %s", why);
    n->csts |= NVME_CSTS_CFS;
}

static const char *enable_problem(const Nvme *n)
{
    if (NVME_CC_CSS(n->cc)) {
        return "CC.CSS asks for a command set that is not there";
    }
    if (NVME_CC_AMS(n->cc)) {
        return "CC.AMS asks for an arbitration that is not there";
    }
    if (NVME_CC_MPS(n->cc) > CC_MPS_MAX) {
        return "CC.MPS is beyond CAP.MPSMAX";
    }
    if (!(n->aqa & 0xfff) || !(n->aqa >> 16 & 0xfff)) {
        return "AQA gives an admin queue of one entry";
    }
    return NULL;
}

static void ctrl_enable(Nvme *n)
{
    const char *problem = enable_problem(n);

    if (problem) {
        nvme_fatal(n, problem);
        return;
    }
    n->page_size = 4096u << NVME_CC_MPS(n->cc);
    if ((n->asq | n->acq) & (n->page_size - 1)) {
        nvme_fatal(n, "ASQ or ACQ is not aligned to the page size");
        return;
    }
    nvme_queues_clear(n);
    nvme_features_reset(n);
    nvme_cq_init(n, 0, n->acq, (n->aqa >> 16 & 0xfff) + 1, 0, true);
    nvme_sq_init(n, 0, n->asq, (n->aqa & 0xfff) + 1, 0);
    n->csts = NVME_CSTS_RDY;
    TRACE(&nvme_trace[NVME_TRACE_ENABLE], "%s: page size %u", n->pci.dev.obj.id, n->page_size);
}

/* What is in flight will not complete any more. */
static void ctrl_forget_commands(Nvme *n)
{
    n->generation++;
    n->shutting_down = false;
    nvme_queues_clear(n);
    nvme_update_pin(n);
}

static void ctrl_disable(Nvme *n)
{
    ctrl_forget_commands(n);
    TRACE(&nvme_trace[NVME_TRACE_DISABLE], "%s: %u commands in flight", n->pci.dev.obj.id, n->in_flight);
    if (n->in_flight) {
        n->stopping = true;
    } else {
        n->csts = 0;
    }
}

static void shutdown_finish(Nvme *n)
{
    n->shutting_down = false;
    n->csts = (n->csts & ~NVME_CSTS_SHST_MASK) | NVME_CSTS_SHST_COMPLETE;
}

static void shutdown_flushed(void *opaque, int result)
{
    Nvme *n = opaque;

    n->flushes--;
    if (result < 0) {
        guest_error(&n->pci.dev, "flush at shutdown failed: %s", g_strerror(-result));
    }
    if (n->shutting_down && !n->flushes) {
        shutdown_finish(n);
    }
}

static void ctrl_shutdown(Nvme *n)
{
    if (n->csts & NVME_CSTS_SHST_MASK) {
        return;
    }
    n->csts |= NVME_CSTS_SHST_OCCURRING;
    n->shutting_down = true;
    for (uint32_t i = 0; i < n->ns_count; i++) {
        if (n->ns[i]) {
            n->flushes++;
            block_flush(n->ns[i]->drive, shutdown_flushed, n);
        }
    }
    if (!n->flushes) {
        shutdown_finish(n);
    }
}

/* Acts on the difference between CC and what it was when last acted on. */
static void cc_apply(Nvme *n)
{
    uint32_t before = n->cc_acted;

    if (n->stopping) {
        return; /* once more when the last command is gone */
    }
    n->cc_acted = n->cc;
    if (before & ~n->cc & NVME_CC_EN) {
        ctrl_disable(n);
    } else if (n->cc & ~before & NVME_CC_EN) {
        ctrl_enable(n);
    }
    if (NVME_CC_SHN(n->cc) && !NVME_CC_SHN(before)) {
        ctrl_shutdown(n);
    } else if (!NVME_CC_SHN(n->cc) && NVME_CC_SHN(before) && !n->stopping) {
        n->csts &= ~NVME_CSTS_SHST_MASK;
    }
}

void nvme_req_gone(Nvme *n)
{
    if (n->stopping && !n->in_flight) {
        n->stopping = false;
        n->csts = 0;
        cc_apply(n);
    }
}

static void nvme_bh(void *opaque)
{
    Nvme *n = opaque;

    cc_apply(n);
    nvme_doorbells_poll(n);
    nvme_process_all(n);
}

/* At rest what is in the doorbell buffer stays there, and when that ends the loop looks again. */
static bool nvme_look(void *opaque)
{
    Nvme *n = opaque;

    return !device_rests(&n->pci.dev) && nvme_doorbells_poll(n);
}

static void nvme_arm(void *opaque)
{
    Nvme *n = opaque;

    if (!device_rests(&n->pci.dev)) {
        nvme_dbbuf_arm(n);
    }
}

static const LoopPollerOps nvme_poller = {.poll = nvme_look, .arm = nvme_arm};

static void nvme_irq_bh(void *opaque)
{
    nvme_notify_flush(opaque);
}

/* --- registers --- */

static void cc_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Nvme *n = opaque;

    if (n->in_dma) {
        loop_bh_schedule(n->bh); /* the write came from inside one of our own transfers */
    } else {
        cc_apply(n);
    }
}

static void intms_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Nvme *n = opaque;

    n->intms |= (uint32_t)new_val;
    nvme_update_pin(n);
}

static void intmc_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Nvme *n = opaque;

    n->intms &= ~(uint32_t)new_val;
    nvme_update_pin(n);
}

static uint64_t intms_read(void *opaque)
{
    return ((Nvme *)opaque)->intms;
}

static uint64_t cap_read(void *opaque)
{
    const Nvme *n = opaque;

    return n->cap | (n->cmb && !n->legacy_cmb ? NVME_CAP_CMBS : 0);
}

#define REG_CAP                                                                                              \
    (NVME_CAP_MQES(NVME_QUEUE_ENTRIES) | NVME_CAP_CQR | NVME_CAP_TO(15) | NVME_CAP_CSS_NVM |                 \
     NVME_CAP_MPSMAX(CC_MPS_MAX))

static const RegDef nvme_regs[] = {
    {.name = "CAP", .offset = NVME_REG_CAP, .size = 8, .reset = REG_CAP, .read = cap_read, .field = offsetof(Nvme, cap)},
    {.name = "VS", .offset = NVME_REG_VS, .size = 4, .reset = NVME_VERSION_1_4, .field = offsetof(Nvme, vs)},
    {.name = "INTMS",
     .offset = NVME_REG_INTMS,
     .size = 4,
     .writable = UINT32_MAX,
     .written = intms_written,
     .read = intms_read,
     .field = SIZE_MAX},
    {.name = "INTMC",
     .offset = NVME_REG_INTMC,
     .size = 4,
     .writable = UINT32_MAX,
     .written = intmc_written,
     .read = intms_read,
     .field = SIZE_MAX},
    {.name = "CC",
     .offset = NVME_REG_CC,
     .size = 4,
     .writable = NVME_CC_WRITABLE,
     .written = cc_written,
     .field = offsetof(Nvme, cc)},
    {.name = "CSTS", .offset = NVME_REG_CSTS, .size = 4, .field = offsetof(Nvme, csts)},
    {.name = "NSSR", .offset = NVME_REG_NSSR, .size = 4, .field = SIZE_MAX},
    {.name = "AQA", .offset = NVME_REG_AQA, .size = 4, .writable = 0x0fff0fff, .field = offsetof(Nvme, aqa)},
    {.name = "ASQ",
     .offset = NVME_REG_ASQ,
     .size = 8,
     .writable = ~UINT64_C(0xfff),
     .field = offsetof(Nvme, asq)},
    {.name = "ACQ",
     .offset = NVME_REG_ACQ,
     .size = 8,
     .writable = ~UINT64_C(0xfff),
     .field = offsetof(Nvme, acq)},
    {.name = "CMBLOC", .offset = NVME_REG_CMBLOC, .size = 4, .read = nvme_cmbloc_read, .field = SIZE_MAX},
    {.name = "CMBSZ", .offset = NVME_REG_CMBSZ, .size = 4, .read = nvme_cmbsz_read, .field = SIZE_MAX},
    {.name = "BPINFO", .offset = NVME_REG_BPINFO, .size = 4, .field = SIZE_MAX},
    {.name = "CMBMSC",
     .offset = NVME_REG_CMBMSC,
     .size = 8,
     .writable = ~UINT64_C(0xffc),
     .written = nvme_cmbmsc_written,
     .field = offsetof(Nvme, cmbmsc)},
    {.name = "CMBSTS", .offset = NVME_REG_CMBSTS, .size = 4, .field = offsetof(Nvme, cmbsts)},
    {.name = NULL},
};

static MemResult doorbells_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = 0; /* 3.1.24: undefined */
    return MEM_OK;
}

static MemResult doorbells_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Nvme *n = opaque;

    if (size != 4) {
        guest_error(&n->pci.dev, "doorbell write of %u bytes (allowed 4)", size);
        return MEM_OK;
    }
    nvme_doorbell_write(n, (uint32_t)addr, (uint32_t)val);
    return MEM_OK;
}

static const MemOps doorbell_ops = {doorbells_read, doorbells_write, .min_size = 1, .max_size = 8};

static void nvme_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    nvme_update_pin(nvme_of(dev)); /* MSI-X may have been switched */
}

/* --- life --- */

static bool check_props(Nvme *n, GError **error)
{
    if (!*n->serial || strlen(n->serial) > 20) {
        error_set(error, "nvme.serial: has a bad length (%zu, allowed 1..20)", strlen(n->serial));
        return false;
    }
    return true;
}

static bool nvme_start(PciDevice *dev, GError **error)
{
    Nvme *n = nvme_of(dev);
    const uint32_t doorbell_len = (n->max_ioqpairs + 1) * 2 * (uint32_t)sizeof(uint32_t);

    n->own.nsid = 1;
    if (!check_props(n, error) || (n->own.drive && !nvme_ns_attach(n, &n->own, &dev->dev, error))) {
        return false;
    }
    if (!nvme_cmb_init(n, error)) {
        nvme_ns_detach(&n->own);
        return false;
    }
    if (!msix_init(dev, n->msix_qsize, 0, NVME_MSIX_TABLE, NVME_MSIX_PBA, 0, error)) {
        nvme_cmb_cleanup(n);
        nvme_ns_detach(&n->own);
        return false;
    }
    n->bh = device_bh_new(&dev->dev, nvme_bh, n);
    n->irq_bh = device_bh_new(&dev->dev, nvme_irq_bh, n);
    n->poller = loop_add_poller(dev->dev.home, &nvme_poller, n);
    n->doorbells = mem_region_new_io(dev->dev.obj.machine->topo, "nvme doorbells", doorbell_len,
                                     &doorbell_ops, n, dev->dev.home);
    mem_region_add_overlap(pci_bar_region(dev, 0), NVME_REG_DOORBELLS, n->doorbells, 1);
    dev->doorbells = (PciDoorbells){.offset = NVME_REG_DOORBELLS,
                                    .stride = sizeof(uint32_t),
                                    .count = doorbell_len / (unsigned)sizeof(uint32_t),
                                    .rung = nvme_doorbells_rung};
    return true;
}

static void drain_all(Nvme *n)
{
    for (uint32_t i = 0; i < n->ns_count; i++) {
        if (n->ns[i]) {
            block_drain(n->ns[i]->drive);
        }
    }
}

static void nvme_reset(PciDevice *dev)
{
    Nvme *n = nvme_of(dev);

    ctrl_forget_commands(n);
    n->stopping = false;
    drain_all(n);
    n->csts = n->cc = n->cc_acted = n->intms = 0;
    nvme_cmb_reset(n);
    memset(n->ns_changed, 0, sizeof(n->ns_changed));
    n->page_size = 4096;
    n->error_count = 0;
    memset(n->errors, 0, sizeof(n->errors));
    nvme_features_reset(n);
}

static void free_requests(Nvme *n)
{
    while (n->free_reqs) {
        NvmeReq *req = n->free_reqs;

        n->free_reqs = req->next;
        g_free(req->segs);
        g_free(req->maps);
        g_free(req->iov);
        g_free(req);
    }
}

static void nvme_stop(PciDevice *dev)
{
    Nvme *n = nvme_of(dev);

    ctrl_forget_commands(n);
    for (uint32_t i = n->ns_count; i-- > 0;) {
        if (n->ns[i]) {
            nvme_ns_detach(n->ns[i]);
        }
    }
    mem_region_del(pci_bar_region(dev, 0), n->doorbells);
    mem_region_retire(n->doorbells);
    mem_region_unref(n->doorbells);
    loop_remove_poller(n->poller);
    loop_bh_free(n->bh);
    loop_bh_free(n->irq_bh);
    nvme_cmb_cleanup(n);
    free_requests(n);
}

/* --- properties and state --- */

static const Prop nvme_props[] = {
    {.name = "serial",
     .type = &prop_string,
     .offset = offsetof(Nvme, serial),
     .flags = PROP_REQUIRED,
     .doc = "serial number, 1 to 20 characters"},
    {.name = "drive",
     .type = &prop_drive,
     .offset = offsetof(Nvme, own.drive),
     .doc = "id of the -drive that is namespace 1"},
    PROP_U32("max_ioqpairs", Nvme, max_ioqpairs, 64, 1, NVME_MAX_IOQPAIRS,
             "pairs of I/O queues a guest may create"),
    PROP_U16("msix_qsize", Nvme, msix_qsize, 65, 1, NVME_MAX_VECTORS, "MSI-X vectors"),
    PROP_U8("mdts", Nvme, mdts, 7, 0, 20, "largest transfer of a command, 4 KiB << mdts; 0: no limit"),
    PROP_U8("aerl", Nvme, aerl, 3, 0, NVME_MAX_AERL, "asynchronous event requests that are held, less one"),
    PROP_U32("logical_block_size", Nvme, own.block_size, 512, 512, 4096, "bytes of a block"),
    PROP_U32("physical_block_size", Nvme, own.physical_block_size, 512, 512, 4096,
             "bytes the guest should write at once"),
    PROP_STR("uuid", Nvme, own.uuid, NULL, "UUID of namespace 1; default: made from the serial number"),
    PROP_U64("eui64", Nvme, own.eui64, 0, 0, UINT64_MAX, "EUI-64 of namespace 1; 0: none"),
    PROP_U32("cmb_size_mb", Nvme, cmb_size_mb, 0, 0, NVME_CMB_MAX_MB,
             "MiB of controller memory buffer in BAR 2, a power of two; 0: none"),
    PROP_BOOL("legacy-cmb", Nvme, legacy_cmb, false, "the buffer is where BAR 2 is, as before NVMe 1.4"),
    PROP_END,
};

static const StateField sq_fields[] = {
    STATE_FIELD_UINT(NvmeSq, base), STATE_FIELD_UINT(NvmeSq, entries), STATE_FIELD_UINT(NvmeSq, head),
    STATE_FIELD_UINT(NvmeSq, tail), STATE_FIELD_UINT(NvmeSq, cqid),    STATE_END,
};
static const StateTable sq_state = {.name = "nvme-sq", .version = 1, .fields = sq_fields};

static const StateField cq_fields[] = {
    STATE_FIELD_UINT(NvmeCq, base),        STATE_FIELD_UINT(NvmeCq, entries),
    STATE_FIELD_UINT(NvmeCq, head),        STATE_FIELD_UINT(NvmeCq, tail),
    STATE_FIELD_UINT(NvmeCq, vector),      STATE_FIELD_BOOL(NvmeCq, phase),
    STATE_FIELD_BOOL(NvmeCq, irq_enabled), STATE_END,
};
static const StateTable cq_state = {.name = "nvme-cq", .version = 1, .fields = cq_fields};

static const StateField event_fields[] = {
    STATE_FIELD_UINT(NvmeEvent, type),
    STATE_FIELD_UINT(NvmeEvent, info),
    STATE_FIELD_UINT(NvmeEvent, log),
    STATE_END,
};
static const StateTable event_state = {.name = "nvme-event", .version = 1, .fields = event_fields};

static const StateField error_fields[] = {
    STATE_FIELD_UINT(NvmeErrorEntry, count),
    STATE_FIELD_UINT(NvmeErrorEntry, lba),
    STATE_FIELD_UINT(NvmeErrorEntry, nsid),
    STATE_FIELD_UINT(NvmeErrorEntry, sqid),
    STATE_FIELD_UINT(NvmeErrorEntry, cid),
    STATE_FIELD_UINT(NvmeErrorEntry, status),
    STATE_END,
};
static const StateTable error_state = {.name = "nvme-error", .version = 1, .fields = error_fields};

/* Nothing is in flight in a saved controller. */
static void nvme_pre_save(void *instance)
{
    Nvme *n = instance;

    drain_all(n);
    cc_apply(n);
    nvme_notify_flush(n);
    nvme_cmb_save(n);
    nvme_log_count(n, n->saved_counters);
    for (uint32_t i = 0; i < NVME_MAX_NS; i++) {
        n->saved_formats[i] = n->ns[i] ? n->ns[i]->lba_shift : 0;
    }
}

/* The block sizes that the namespaces were formatted with. */
static bool formats_load(Nvme *n)
{
    for (uint32_t i = 0; i < NVME_MAX_NS; i++) {
        uint8_t shifts[NVME_LBA_FORMATS], wanted = n->saved_formats[i];
        unsigned count = n->ns[i] ? nvme_ns_formats(n->ns[i], shifts) : 0;

        if (!n->ns[i] || !wanted) {
            continue;
        }
        if (!memchr(shifts, wanted, count)) {
            return false;
        }
        nvme_ns_set_format(n->ns[i], wanted);
    }
    return true;
}

static bool queues_plausible(const Nvme *n)
{
    for (unsigned i = 0; i < NVME_MAX_QUEUES; i++) {
        const NvmeSq *sq = &n->sq[i];
        const NvmeCq *cq = &n->cq[i];

        if ((sq->entries || cq->entries) && i > n->max_ioqpairs) {
            return false;
        }
        if (sq->entries &&
            (sq->entries < 2 || sq->entries > 4096 || sq->head >= sq->entries || sq->tail >= sq->entries ||
             sq->cqid >= NVME_MAX_QUEUES || !n->cq[sq->cqid].entries)) {
            return false;
        }
        if (cq->entries && (cq->entries < 2 || cq->entries > 4096 || cq->head >= cq->entries ||
                            cq->tail >= cq->entries || cq->vector >= n->msix_qsize)) {
            return false;
        }
    }
    return n->aer_count <= NVME_MAX_AERL + 1 && n->event_count <= NVME_MAX_EVENTS;
}

static bool nvme_post_load(void *instance, uint32_t version, GError **error)
{
    Nvme *n = instance;

    if (NVME_CC_MPS(n->cc) > CC_MPS_MAX || !queues_plausible(n)) {
        error_set(error, "%s: saved controller has queues that cannot be (%u queue pairs, %u vectors here)",
                  n->pci.dev.obj.id, n->max_ioqpairs, n->msix_qsize);
        return false;
    }
    if (version >= 3 && (!nvme_cmb_load(n) || !formats_load(n))) {
        error_set(error, "%s: saved controller has another controller memory buffer, or blocks of a size that cannot be",
                  n->pci.dev.obj.id);
        return false;
    }
    if (version >= 4) {
        uint64_t now[NVME_COUNTERS];

        memset(n->counted_before, 0, sizeof(n->counted_before));
        nvme_log_count(n, now);
        for (unsigned i = 0; i < NVME_COUNTERS; i++) {
            n->counted_before[i] = n->saved_counters[i] - now[i];
        }
    }
    n->cc_acted = n->cc;
    n->top_qid = 0;
    n->page_size = 4096u << NVME_CC_MPS(n->cc);
    for (unsigned i = 0; i < NVME_MAX_QUEUES; i++) {
        n->cq[i].users = 0;
        n->cq[i].in_flight = 0;
        n->cq[i].notify = false;
        n->sq[i].in_flight = 0;
        n->sq[i].deleting = false;
        n->sq[i].refused = n->cq[i].refused = UINT32_MAX;
        if (n->sq[i].entries || n->cq[i].entries) {
            n->top_qid = i;
        }
    }
    for (unsigned i = 0; i < NVME_MAX_QUEUES; i++) {
        if (n->sq[i].entries) {
            n->cq[n->sq[i].cqid].users++;
        }
    }
    n->notify_count = 0;
    nvme_update_pin(n);
    loop_bh_schedule(n->bh); /* what was queued and not fetched */
    return true;
}

static const StateField nvme_fields[] = {
    STATE_FIELD_STRUCT(Nvme, pci, &pci_device_state),
    STATE_FIELD_UINT(Nvme, asq),
    STATE_FIELD_UINT(Nvme, acq),
    STATE_FIELD_UINT(Nvme, cc),
    STATE_FIELD_UINT(Nvme, csts),
    STATE_FIELD_UINT(Nvme, aqa),
    STATE_FIELD_UINT(Nvme, intms),
    STATE_FIELD_STRUCTS(Nvme, sq, &sq_state),
    STATE_FIELD_STRUCTS(Nvme, cq, &cq_state),
    STATE_FIELD_ARRAY(Nvme, features),
    STATE_FIELD_ARRAY(Nvme, vector_config),
    STATE_FIELD_ARRAY(Nvme, aer_cids),
    STATE_FIELD_UINT(Nvme, aer_count),
    STATE_FIELD_STRUCTS(Nvme, events, &event_state),
    STATE_FIELD_UINT(Nvme, event_count),
    STATE_FIELD_UINT(Nvme, event_masked),
    STATE_FIELD_ARRAY(Nvme, ns_changed),
    STATE_FIELD_STRUCTS(Nvme, errors, &error_state),
    STATE_FIELD_UINT(Nvme, error_count),
    {.name = "dbbuf_shadow", .kind = STATE_UINT, .offset = offsetof(Nvme, dbbuf_shadow), .size = 8, .since = 2},
    {.name = "dbbuf_event", .kind = STATE_UINT, .offset = offsetof(Nvme, dbbuf_event), .size = 8, .since = 2},
    {.name = "cmbmsc", .kind = STATE_UINT, .offset = offsetof(Nvme, cmbmsc), .size = 8, .since = 3},
    {.name = "cmbsts", .kind = STATE_UINT, .offset = offsetof(Nvme, cmbsts), .size = 4, .since = 3},
    {.name = "formats", .kind = STATE_BYTES, .offset = offsetof(Nvme, saved_formats), .size = NVME_MAX_NS, .since = 3},
    {.name = "cmb", .kind = STATE_BUFFER, .offset = offsetof(Nvme, saved_cmb), .count = NVME_CMB_MAX_MB << 20,
     .len_offset = offsetof(Nvme, saved_cmb_len), .since = 3},
    STATE_FIELD_ARRAY(Nvme, saved_counters, .since = 4),
    STATE_END,
};

static const StateTable nvme_state = {.name = "nvme",
                                      .version = 4,
                                      .fields = nvme_fields,
                                      .pre_save = nvme_pre_save,
                                      .post_load = nvme_post_load};

const PciModel nvme_model = {
    .dev = {.name = "nvme",
            .doc = "NVM Express 1.4 controller.",
            .kind = MODEL_PCI,
            .size = sizeof(Nvme),
            .props = nvme_props,
            .state = &nvme_state},
    .ids = {.vendor = 0x1b36,
            .device = 0x0010,
            .subsystem_vendor = 0x1af4,
            .subsystem = 0x1100,
            .revision = 2,
            .class_code = 0x010802},
    .interrupt_pin = 1,
    .express = true,
    .bars = {[0] = {.size = NVME_BAR_SIZE, .kind = PCI_BAR_MEM64, .regs = nvme_regs}},
    .start = nvme_start,
    .reset = nvme_reset,
    .stop = nvme_stop,
    .config_written = nvme_config_written,
};
