/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * edu: the device QEMU offers for teaching driver writing (its interface is public: docs/specs/edu of that
 * project).  It inverts a number, computes factorials, moves data between guest memory and a buffer of 4 KiB,
 * and interrupts by MSI or on INTA.
 *
 *   0x00 ID        0x010000ed: version 1.0 and "edu".
 *   0x04 LIVENESS  reads as the inverse of what was written.
 *   0x08 FACTORIAL a number written is replaced by its factorial, modulo 2^32, while STATUS bit 0 is set.
 *   0x20 STATUS    bit 0 computing (read-only), bit 7: interrupt with 1 when done.
 *   0x24 IRQ_STATUS, 0x60 IRQ_RAISE, 0x64 IRQ_ACK: causes, or-ed and cleared by writing.
 *   0x80 DMA_SRC, 0x88 DMA_DST, 0x90 DMA_CNT, 0x98 DMA_CMD: bit 0 start and running, bit 1 from the device to
 *        memory, bit 2 interrupt with 0x100.  The buffer is at 0x40000 of the device's side.  Takes 100 ms.
 */
#include <string.h>

#include "hw/pci/pci.h"

#define EDU_BAR_SIZE         0x100000
#define EDU_ID               0x010000edu
#define EDU_STATUS_COMPUTING 0x01u
#define EDU_STATUS_IRQ       0x80u
#define EDU_IRQ_FACTORIAL    0x001u
#define EDU_IRQ_DMA          0x100u
#define EDU_DMA_START        0x1u
#define EDU_DMA_TO_MEMORY    0x2u
#define EDU_DMA_IRQ          0x4u
#define EDU_BUF_ADDR         0x40000u
#define EDU_BUF_SIZE         4096u
#define EDU_DMA_NS           INT64_C(100000000)
/* 34! and everything above is divisible by 2^32. */
#define EDU_FACTORIAL_ZERO 34u

typedef struct Edu {
    PciDevice pci;
    uint64_t dma_mask; /* property */
    uint32_t id, liveness, number, status, irq_status;
    uint64_t src, dst, count, cmd; /* as given; what a running transfer uses */
    uint64_t deadline;             /* of a running transfer, guest nanoseconds */
    uint8_t buf[EDU_BUF_SIZE];
    Timer *timer;
    LoopBh *compute;
} Edu;

/* --- interrupts --- */

static void edu_raise(Edu *e, uint32_t cause)
{
    e->irq_status |= cause;
    if (e->irq_status && msi_enabled(&e->pci)) {
        msi_notify(&e->pci, 0);
    }
    pci_set_irq(&e->pci, e->irq_status && !msi_enabled(&e->pci));
}

static void edu_raise_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    edu_raise(opaque, (uint32_t)new_val);
}

static void edu_ack_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Edu *e = opaque;

    e->irq_status &= ~(uint32_t)new_val;
    pci_set_irq(&e->pci, e->irq_status && !msi_enabled(&e->pci));
}

static void edu_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    Edu *e = (Edu *)dev;

    pci_set_irq(dev, e->irq_status && !msi_enabled(dev)); /* MSI may have been switched */
}

/* --- the number registers --- */

static void edu_liveness_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    ((Edu *)opaque)->liveness = ~(uint32_t)new_val;
}

static void edu_compute(void *opaque)
{
    Edu *e = opaque;
    uint32_t result = 1;

    if (!(e->status & EDU_STATUS_COMPUTING)) {
        return; /* reset in between */
    }
    for (uint32_t n = MIN(e->number, EDU_FACTORIAL_ZERO); n > 1; n--) {
        result *= n;
    }
    e->number = result;
    e->status &= ~EDU_STATUS_COMPUTING;
    if (e->status & EDU_STATUS_IRQ) {
        edu_raise(e, EDU_IRQ_FACTORIAL);
    }
}

static uint64_t edu_number_read(void *opaque)
{
    return ((Edu *)opaque)->number;
}

static void edu_number_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Edu *e = opaque;

    if (e->status & EDU_STATUS_COMPUTING) {
        guest_error(&e->pci.dev, "FACTORIAL written while computing");
        return;
    }
    e->number = (uint32_t)new_val;
    e->status |= EDU_STATUS_COMPUTING;
    loop_bh_schedule(e->compute);
}

/* --- DMA --- */

/* The buffer's byte at `addr` of the device's side; NULL with a guest error when the transfer leaves the
 * buffer. */
static uint8_t *edu_buffer(Edu *e, uint64_t addr)
{
    if (addr < EDU_BUF_ADDR || e->count > EDU_BUF_SIZE || addr - EDU_BUF_ADDR > EDU_BUF_SIZE - e->count) {
        guest_error(&e->pci.dev,
                    "DMA of %" G_GUINT64_FORMAT " bytes at 0x%" G_GINT64_MODIFIER
                    "x leaves the buffer (0x%x..0x%x)",
                    e->count, addr, EDU_BUF_ADDR, EDU_BUF_ADDR + EDU_BUF_SIZE);
        return NULL;
    }
    return e->buf + (addr - EDU_BUF_ADDR);
}

static uint64_t edu_memory_address(Edu *e, uint64_t addr)
{
    if (addr & ~e->dma_mask) {
        guest_error(&e->pci.dev,
                    "DMA address 0x%" G_GINT64_MODIFIER "x is wider than the device's 0x%" G_GINT64_MODIFIER
                    "x",
                    addr, e->dma_mask);
    }
    return addr & e->dma_mask;
}

static void edu_dma_expired(void *opaque)
{
    Edu *e = opaque;
    bool to_memory = e->cmd & EDU_DMA_TO_MEMORY;
    uint8_t *buf = edu_buffer(e, to_memory ? e->src : e->dst);
    uint64_t addr = edu_memory_address(e, to_memory ? e->dst : e->src);
    uint64_t cmd = e->cmd;
    MemResult result = MEM_OK;

    /* Before the transfer, which may write our own registers. */
    e->cmd &= ~(uint64_t)EDU_DMA_START;
    if (buf) {
        result = to_memory ? pci_dma_write(&e->pci, addr, buf, e->count)
                           : pci_dma_read(&e->pci, addr, buf, e->count);
    }
    if (result != MEM_OK) {
        guest_error(&e->pci.dev, "DMA address 0x%" G_GINT64_MODIFIER "x is not memory", addr);
    }
    if (cmd & EDU_DMA_IRQ) {
        edu_raise(e, EDU_IRQ_DMA);
    }
}

/* A register of the DMA unit keeps its value while a transfer runs. */
static void edu_dma_keep(Edu *e, uint64_t *reg, uint64_t old_val)
{
    if (e->cmd & EDU_DMA_START) {
        guest_error(&e->pci.dev, "DMA register written while a transfer runs");
        *reg = old_val;
    }
}

static void edu_src_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    edu_dma_keep(opaque, &((Edu *)opaque)->src, old_val);
}

static void edu_dst_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    edu_dma_keep(opaque, &((Edu *)opaque)->dst, old_val);
}

static void edu_count_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    edu_dma_keep(opaque, &((Edu *)opaque)->count, old_val);
}

static void edu_cmd_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Edu *e = opaque;

    if (old_val & EDU_DMA_START) {
        guest_error(&e->pci.dev, "DMA_CMD written while a transfer runs");
        e->cmd = old_val;
    } else if (new_val & EDU_DMA_START) {
        e->deadline = (uint64_t)(clock_now(e->pci.dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL) + EDU_DMA_NS);
        timer_set(e->timer, (int64_t)e->deadline);
    }
}

/* --- registers --- */

static const RegDef edu_regs[] = {
    {.name = "ID", .offset = 0x00, .size = 4, .reset = EDU_ID, .field = offsetof(Edu, id)},
    {.name = "LIVENESS",
     .offset = 0x04,
     .size = 4,
     .writable = UINT32_MAX,
     .written = edu_liveness_written,
     .field = offsetof(Edu, liveness)},
    {.name = "FACTORIAL",
     .offset = 0x08,
     .size = 4,
     .writable = UINT32_MAX,
     .read = edu_number_read,
     .written = edu_number_written,
     .field = SIZE_MAX},
    {.name = "STATUS", .offset = 0x20, .size = 4, .writable = EDU_STATUS_IRQ, .field = offsetof(Edu, status)},
    {.name = "IRQ_STATUS", .offset = 0x24, .size = 4, .field = offsetof(Edu, irq_status)},
    {.name = "IRQ_RAISE",
     .offset = 0x60,
     .size = 4,
     .writable = UINT32_MAX,
     .written = edu_raise_written,
     .field = SIZE_MAX},
    {.name = "IRQ_ACK",
     .offset = 0x64,
     .size = 4,
     .writable = UINT32_MAX,
     .written = edu_ack_written,
     .field = SIZE_MAX},
    {.name = "DMA_SRC",
     .offset = 0x80,
     .size = 8,
     .writable = UINT64_MAX,
     .written = edu_src_written,
     .field = offsetof(Edu, src)},
    {.name = "DMA_DST",
     .offset = 0x88,
     .size = 8,
     .writable = UINT64_MAX,
     .written = edu_dst_written,
     .field = offsetof(Edu, dst)},
    {.name = "DMA_CNT",
     .offset = 0x90,
     .size = 8,
     .writable = UINT64_MAX,
     .written = edu_count_written,
     .field = offsetof(Edu, count)},
    {.name = "DMA_CMD",
     .offset = 0x98,
     .size = 8,
     .writable = EDU_DMA_START | EDU_DMA_TO_MEMORY | EDU_DMA_IRQ,
     .written = edu_cmd_written,
     .field = offsetof(Edu, cmd)},
    {.name = NULL},
};

/* --- life, properties, state --- */

static bool edu_start(PciDevice *dev, GError **error)
{
    Edu *e = (Edu *)dev;

    e->timer = device_timer_new(&dev->dev, edu_dma_expired, e);
    e->compute = device_bh_new(&dev->dev, edu_compute, e);
    return true;
}

static void edu_reset(PciDevice *dev)
{
    Edu *e = (Edu *)dev;

    timer_cancel(e->timer);
    e->number = 0;
    e->deadline = 0;
    memset(e->buf, 0, sizeof(e->buf));
}

static void edu_stop(PciDevice *dev)
{
    Edu *e = (Edu *)dev;

    timer_free(e->timer);
    loop_bh_free(e->compute);
}

static const Prop edu_props[] = {
    PROP_U64("dma_mask", Edu, dma_mask, 0x0fffffff, 0, UINT64_MAX,
             "bits of memory addresses the device can drive"),
    PROP_END,
};

static bool edu_post_load(void *instance, uint32_t version, GError **error)
{
    Edu *e = instance;

    if (e->deadline > INT64_MAX) {
        error_set(error, "%s: saved deadline is out of range (%" G_GUINT64_FORMAT ")", e->pci.dev.obj.id,
                  e->deadline);
        return false;
    }
    timer_cancel(e->timer);
    if (e->cmd & EDU_DMA_START) {
        timer_set(e->timer, (int64_t)e->deadline);
    }
    if (e->status & EDU_STATUS_COMPUTING) {
        loop_bh_schedule(e->compute);
    }
    pci_set_irq(&e->pci, e->irq_status && !msi_enabled(&e->pci));
    return true;
}

static const StateField edu_fields[] = {
    STATE_FIELD_STRUCT(Edu, pci, &pci_device_state),
    STATE_FIELD_UINT(Edu, liveness),
    STATE_FIELD_UINT(Edu, number),
    STATE_FIELD_UINT(Edu, status),
    STATE_FIELD_UINT(Edu, irq_status),
    STATE_FIELD_UINT(Edu, src),
    STATE_FIELD_UINT(Edu, dst),
    STATE_FIELD_UINT(Edu, count),
    STATE_FIELD_UINT(Edu, cmd),
    STATE_FIELD_DEADLINE(Edu, deadline),
    STATE_FIELD_BYTES(Edu, buf),
    STATE_END,
};

static const StateTable edu_state = {
    .name = "edu", .version = 1, .fields = edu_fields, .post_load = edu_post_load};

const PciModel edu_model = {
    .dev = {.name = "edu",
            .doc = "A device to learn driver writing with: factorials, DMA, interrupts.",
            .kind = MODEL_PCI,
            .size = sizeof(Edu),
            .props = edu_props,
            .state = &edu_state},
    .ids = {.vendor = 0x1234, .device = 0x11e8, .revision = 0x10, .class_code = 0x00ff00},
    .interrupt_pin = 1,
    .bars = {[0] = {.size = EDU_BAR_SIZE, .kind = PCI_BAR_MEM32, .regs = edu_regs}},
    .msi_vectors = 1,
    .start = edu_start,
    .reset = edu_reset,
    .stop = edu_stop,
    .config_written = edu_config_written,
};
