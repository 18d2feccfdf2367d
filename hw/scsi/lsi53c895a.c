/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * lsi53c895a: the Symbios/LSI 53C895A PCI to Ultra2 SCSI controller (its technical manual, chapters 2 to 5): registers in
 * BAR 0 (I/O) and BAR 1 (memory), 8 KiB of SCRIPTS RAM in BAR 2.
 *
 * Not there: arbitration and transfers by hand (SCNTL0 START, SODL), target mode, FIFO tests.  A target that does not
 * exist fails a selection at once, whatever STIME0 says.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"
#include "lsi.h"

#define BAR_IO       0
#define BAR_REGS     1
#define BAR_RAM      2
#define REGS_SIZE    0x400
#define GPREG_INPUTS 0x1fu /* pulled up: no EEPROM answers */
#define GENERAL_NS   125000 /* STIME1 GEN 1; each further step doubles it */
#define SAVED_REQS_MAX ((LSI_MAX_REQS + 1u) * (SCSI_CHUNK + 256))

static Lsi *lsi_of(PciDevice *dev)
{
    return (Lsi *)dev;
}

/* --- interrupts --- */

static bool sip(const Lsi *s)
{
    return (s->sist0 & (s->sien0 | LSI_SIST0_FATAL)) || (s->sist1 & (s->sien1 | LSI_SIST1_FATAL));
}

void lsi_update_irq(Lsi *s)
{
    bool level = s->dstat & s->dien || s->sist0 & s->sien0 || s->sist1 & s->sien1 || s->istat0 & LSI_ISTAT0_INTF;

    pci_set_irq(&s->pci, level && !(s->dcntl & LSI_DCNTL_IRQD) && !(s->istat1 & LSI_ISTAT1_SI));
}

static void scripts_stop(Lsi *s)
{
    s->state = LSI_STOPPED;
    s->move.active = false;
    s->unanswered = false;
}

void lsi_dma_interrupt(Lsi *s, uint8_t dstat)
{
    s->dstat |= dstat;
    scripts_stop(s);
    lsi_update_irq(s);
}

void lsi_scsi_interrupt(Lsi *s, uint8_t sist0, uint8_t sist1)
{
    s->sist0 |= sist0;
    s->sist1 |= sist1;
    if (sist0 & LSI_SIST0_FATAL || sist1 & LSI_SIST1_FATAL) {
        scripts_stop(s);
    }
    lsi_update_irq(s);
}

/* --- memory --- */

/* Whether the range is inside BAR n where it is mapped; *offset in it. */
static bool in_bar(const Lsi *s, unsigned n, uint64_t addr, uint32_t len, uint64_t *offset)
{
    const PciBar *bar = &s->pci.bars[n];

    *offset = addr - bar->address;
    return bar->address != PCI_BAR_UNMAPPED && addr >= bar->address && *offset < bar->size &&
           len <= bar->size - *offset;
}

static void own_regs_read(Lsi *s, uint64_t offset, uint8_t *buf, uint32_t len)
{
    while (len) {
        unsigned n = offset & 3 || len < 4 ? 1 : 4;
        uint64_t val = 0;

        reg_read(lsi_regs, s, offset, n, &val);
        memcpy(buf, &val, n);
        offset += n;
        buf += n;
        len -= n;
    }
}

static void own_regs_write(Lsi *s, uint64_t offset, const uint8_t *buf, uint32_t len)
{
    while (len) {
        unsigned n = offset & 3 || len < 4 ? 1 : 4;
        uint64_t val = 0;

        memcpy(&val, buf, n);
        reg_write(lsi_regs, s, offset, n, val);
        offset += n;
        buf += n;
        len -= n;
    }
}

bool lsi_mem_read(Lsi *s, uint64_t addr, void *buf, uint32_t len)
{
    uint64_t offset;

    if (in_bar(s, BAR_RAM, addr, len, &offset)) {
        memcpy(buf, s->ram + offset, len);
        return true;
    }
    if (in_bar(s, BAR_REGS, addr, len, &offset)) {
        own_regs_read(s, offset, buf, len);
        return true;
    }
    return pci_dma_read(&s->pci, addr, buf, len) == MEM_OK;
}

bool lsi_mem_write(Lsi *s, uint64_t addr, const void *buf, uint32_t len)
{
    uint64_t offset;

    if (in_bar(s, BAR_RAM, addr, len, &offset)) {
        memcpy(s->ram + offset, buf, len);
        return true;
    }
    if (in_bar(s, BAR_REGS, addr, len, &offset)) {
        own_regs_write(s, offset, buf, len);
        return true;
    }
    return pci_dma_write(&s->pci, addr, buf, len) == MEM_OK;
}

bool lsi_io_read(Lsi *s, uint64_t addr, void *buf, uint32_t len)
{
    uint64_t offset;

    if (!in_bar(s, BAR_IO, addr, len, &offset)) {
        guest_error(&s->pci.dev, "memory move from I/O 0x%" G_GINT64_MODIFIER "x, which is not the chip's own", addr);
        return false;
    }
    own_regs_read(s, offset, buf, len);
    return true;
}

bool lsi_io_write(Lsi *s, uint64_t addr, const void *buf, uint32_t len)
{
    uint64_t offset;

    if (!in_bar(s, BAR_IO, addr, len, &offset)) {
        guest_error(&s->pci.dev, "memory move to I/O 0x%" G_GINT64_MODIFIER "x, which is not the chip's own", addr);
        return false;
    }
    own_regs_write(s, offset, buf, len);
    return true;
}

/* --- what registers do --- */

static void chip_reset(Lsi *s)
{
    uint8_t istat0 = s->istat0 & LSI_ISTAT0_SRST;

    lsi_bus_reset(s);
    timer_cancel(s->general);
    s->general_deadline = 0;
    reg_reset(lsi_regs, s);
    scripts_stop(s);
    s->carry = false;
    s->istat0 = istat0;
    s->sstat2 = LSI_SSTAT2_LDSC;
    lsi_update_irq(s);
}

static void bus_reset(Lsi *s)
{
    lsi_bus_reset(s);
    s->sstat0 |= LSI_SSTAT0_RST;
    lsi_scsi_interrupt(s, LSI_SIST0_RST, 0);
}

void lsi_take_pending(Lsi *s)
{
    uint8_t pending = s->pending;

    s->pending = 0;
    if (pending & LSI_PENDING_ABORT) {
        lsi_dma_interrupt(s, LSI_DSTAT_ABRT);
    }
    if (pending & LSI_PENDING_BUS_RESET) {
        bus_reset(s);
    }
    if (pending & LSI_PENDING_CHIP_RESET) {
        chip_reset(s);
    }
}

static void ask(Lsi *s, uint8_t what)
{
    s->pending |= what;
    if (!s->in_run) {
        lsi_take_pending(s);
    }
}

static void scntl0_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Lsi *s = opaque;

    if (new_val & (LSI_SCNTL0_START | LSI_SCNTL0_TRG)) {
        guest_error(&s->pci.dev, "SCNTL0 0x%02x asks for arbitration by hand or target mode", s->scntl0);
        s->scntl0 &= (uint8_t)~LSI_SCNTL0_START;
    }
}

static void scntl1_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Lsi *s = opaque;

    if (new_val & ~old_val & LSI_SCNTL1_RST) {
        ask(s, LSI_PENDING_BUS_RESET);
    } else if (old_val & ~new_val & LSI_SCNTL1_RST) {
        s->sstat0 &= (uint8_t)~LSI_SSTAT0_RST;
    }
}

static uint64_t scntl1_read(void *opaque)
{
    const Lsi *s = opaque;

    return (s->scntl1 & ~LSI_SCNTL1_CON) | (s->connected ? LSI_SCNTL1_CON : 0);
}

static uint64_t gpreg_read(void *opaque)
{
    const Lsi *s = opaque;

    return (s->gpreg & ~s->gpcntl) | (GPREG_INPUTS & s->gpcntl);
}

static uint64_t sbcl_read(void *opaque)
{
    const Lsi *s = opaque;

    if (!s->connected) {
        return 0;
    }
    return LSI_SBCL_BSY | (s->socl & (LSI_SBCL_ACK | LSI_SBCL_ATN)) |
           (s->phase == LSI_PHASE_NONE ? 0 : LSI_SBCL_REQ | s->phase);
}

static uint64_t dstat_read(void *opaque)
{
    Lsi *s = opaque;
    uint8_t dstat = s->dstat | LSI_DSTAT_DFE; /* the FIFO is always empty */

    s->dstat = 0;
    lsi_update_irq(s);
    return dstat;
}

static uint64_t sstat1_read(void *opaque)
{
    const Lsi *s = opaque;

    return s->phase == LSI_PHASE_NONE ? 0 : s->phase;
}

static uint64_t istat0_read(void *opaque)
{
    const Lsi *s = opaque;

    return s->istat0 | (s->connected ? LSI_ISTAT0_CON : 0) | (sip(s) ? LSI_ISTAT0_SIP : 0) |
           (s->dstat ? LSI_ISTAT0_DIP : 0);
}

static void istat0_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Lsi *s = opaque;

    if (new_val & ~old_val & LSI_ISTAT0_ABRT && s->state != LSI_STOPPED) {
        ask(s, LSI_PENDING_ABORT);
    }
    if (new_val & ~old_val & LSI_ISTAT0_SRST) {
        ask(s, LSI_PENDING_CHIP_RESET);
        return;
    }
    lsi_update_irq(s);
    if (new_val & LSI_ISTAT0_SIGP) {
        lsi_signalled(s);
    }
}

static uint64_t istat1_read(void *opaque)
{
    const Lsi *s = opaque;

    return (s->istat1 & LSI_ISTAT1_SI) | (s->state == LSI_STOPPED ? 0 : LSI_ISTAT1_SRUN);
}

static uint64_t ctest2_read(void *opaque)
{
    Lsi *s = opaque;
    bool sigp = s->istat0 & LSI_ISTAT0_SIGP;

    s->istat0 &= (uint8_t)~LSI_ISTAT0_SIGP;
    return (s->ctest2 & LSI_CTEST2_PCICIE) | 0x01 | (sigp ? LSI_CTEST2_SIGP : 0); /* DACK: never asked */
}

static void irq_mask_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    lsi_update_irq(opaque);
}

static void dsp_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Lsi *s = opaque;

    if (!(s->dmode & LSI_DMODE_MAN)) {
        lsi_start(s);
    }
}

static void dcntl_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Lsi *s = opaque;

    s->dcntl &= (uint8_t)~LSI_DCNTL_STD;
    lsi_update_irq(s);
    if (new_val & LSI_DCNTL_STD) {
        lsi_start(s);
    }
}

static uint64_t sist0_read(void *opaque)
{
    Lsi *s = opaque;
    uint8_t sist0 = s->sist0;

    s->sist0 = 0;
    lsi_update_irq(s);
    return sist0;
}

static uint64_t sist1_read(void *opaque)
{
    Lsi *s = opaque;
    uint8_t sist1 = s->sist1;

    s->sist1 = 0;
    lsi_update_irq(s);
    return sist1;
}

static void stime1_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Lsi *s = opaque;
    unsigned n = new_val & 0xf;

    timer_cancel(s->general);
    s->general_deadline = 0;
    if (n) {
        s->general_deadline = (uint64_t)clock_now(s->pci.dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL) +
                              ((uint64_t)GENERAL_NS << (n - 1));
        timer_set(s->general, (int64_t)s->general_deadline);
    }
}

static void general_expired(void *opaque)
{
    Lsi *s = opaque;

    s->general_deadline = 0;
    lsi_scsi_interrupt(s, 0, LSI_SIST1_GEN);
}

static uint64_t stest4_read(void *opaque)
{
    return LSI_STEST4_LVD_LOCK;
}

static uint64_t bar_or(Lsi *s, unsigned bar, uint32_t stored)
{
    return s->ctest2 & LSI_CTEST2_PCICIE ? (uint32_t)s->pci.bars[bar].address : stored;
}

static uint64_t scratcha_read(void *opaque)
{
    return bar_or(opaque, BAR_REGS, ((Lsi *)opaque)->scratcha);
}

static uint64_t scratchb_read(void *opaque)
{
    return bar_or(opaque, BAR_RAM, ((Lsi *)opaque)->scratchb);
}

/* --- the table --- */

#define REG_RW(n, at, f) {.name = n, .offset = at, .size = sizeof(((Lsi *)0)->f), .writable = UINT32_MAX, .field = offsetof(Lsi, f)}
#define REG_RO(n, at, f) {.name = n, .offset = at, .size = sizeof(((Lsi *)0)->f), .field = offsetof(Lsi, f)}
#define REG_FN(n, at, f, bits, r, w) \
    {.name = n, .offset = at, .size = sizeof(((Lsi *)0)->f), .writable = bits, .read = r, .written = w, .field = offsetof(Lsi, f)}
#define REG_CONST(n, at, sz) {.name = n, .offset = at, .size = sz, .field = SIZE_MAX}
#define REG_SCRATCH(n, i) REG_RW(n, 0x60 + 4 * (i), scratch[i])

const RegDef lsi_regs[] = {
    {.name = "SCNTL0", .offset = 0x00, .size = 1, .reset = 0xc0, .writable = 0xfb, .written = scntl0_written,
     .field = offsetof(Lsi, scntl0)},
    REG_FN("SCNTL1", 0x01, scntl1, 0xef, scntl1_read, scntl1_written),
    REG_RW("SCNTL2", 0x02, scntl2),
    REG_RW("SCNTL3", 0x03, scntl3),
    {.name = "SCID", .offset = 0x04, .size = 1, .writable = 0x6f, .field = offsetof(Lsi, scid)},
    REG_RW("SXFER", 0x05, sxfer),
    {.name = "SDID", .offset = 0x06, .size = 1, .writable = 0x0f, .field = offsetof(Lsi, sdid)},
    REG_FN("GPREG", 0x07, gpreg, 0x1f, gpreg_read, NULL),
    REG_RW("SFBR", 0x08, sfbr),
    REG_RW("SOCL", 0x09, socl),
    REG_RO("SSID", 0x0a, ssid),
    {.name = "SBCL", .offset = 0x0b, .size = 1, .read = sbcl_read, .field = SIZE_MAX},
    REG_FN("DSTAT", 0x0c, dstat, 0, dstat_read, NULL),
    REG_RO("SSTAT0", 0x0d, sstat0),
    {.name = "SSTAT1", .offset = 0x0e, .size = 1, .read = sstat1_read, .field = SIZE_MAX},
    {.name = "SSTAT2", .offset = 0x0f, .size = 1, .reset = LSI_SSTAT2_LDSC, .field = offsetof(Lsi, sstat2)},
    REG_RW("DSA", 0x10, dsa),
    {.name = "ISTAT0", .offset = 0x14, .size = 1, .w1c = LSI_ISTAT0_INTF,
     .writable = LSI_ISTAT0_ABRT | LSI_ISTAT0_SRST | LSI_ISTAT0_SIGP | LSI_ISTAT0_SEM, .read = istat0_read,
     .written = istat0_written, .field = offsetof(Lsi, istat0)},
    REG_FN("ISTAT1", 0x15, istat1, LSI_ISTAT1_SI, istat1_read, irq_mask_written),
    REG_RW("MBOX0", 0x16, mbox0),
    REG_RW("MBOX1", 0x17, mbox1),
    REG_RW("CTEST0", 0x18, ctest0),
    {.name = "CTEST1", .offset = 0x19, .size = 1, .reset = 0xf0, .field = SIZE_MAX}, /* the FIFO is empty */
    REG_FN("CTEST2", 0x1a, ctest2, LSI_CTEST2_PCICIE, ctest2_read, NULL),
    {.name = "CTEST3", .offset = 0x1b, .size = 1, .writable = 0x03, .field = offsetof(Lsi, ctest3)},
    REG_RW("TEMP", 0x1c, temp),
    REG_RO("DFIFO", 0x20, dfifo),
    REG_RW("CTEST4", 0x21, ctest4),
    {.name = "CTEST5", .offset = 0x22, .size = 1, .writable = 0x3c, .field = offsetof(Lsi, ctest5)},
    REG_RW("CTEST6", 0x23, ctest6),
    REG_RW("DBC, DCMD", 0x24, dbc),
    REG_RW("DNAD", 0x28, dnad),
    /* In parts: a write of the last byte starts SCRIPTS. */
    {.name = "DSP 15:0", .offset = 0x2c, .size = 2, .writable = UINT16_MAX, .field = offsetof(Lsi, dsp)},
    {.name = "DSP 23:16", .offset = 0x2e, .size = 1, .writable = UINT8_MAX, .field = offsetof(Lsi, dsp) + 2},
    {.name = "DSP 31:24", .offset = 0x2f, .size = 1, .writable = UINT8_MAX, .written = dsp_written,
     .field = offsetof(Lsi, dsp) + 3},
    REG_RW("DSPS", 0x30, dsps),
    REG_FN("SCRATCHA", 0x34, scratcha, UINT32_MAX, scratcha_read, NULL),
    REG_RW("DMODE", 0x38, dmode),
    REG_FN("DIEN", 0x39, dien, 0x7d, NULL, irq_mask_written),
    REG_RW("SBR", 0x3a, sbr),
    REG_FN("DCNTL", 0x3b, dcntl, UINT8_MAX, NULL, dcntl_written),
    REG_RO("ADDER", 0x3c, adder),
    REG_FN("SIEN0", 0x40, sien0, UINT8_MAX, NULL, irq_mask_written),
    REG_FN("SIEN1", 0x41, sien1, 0x17, NULL, irq_mask_written),
    REG_FN("SIST0", 0x42, sist0, 0, sist0_read, NULL),
    REG_FN("SIST1", 0x43, sist1, 0, sist1_read, NULL),
    REG_RW("SLPAR", 0x44, slpar),
    REG_RO("SWIDE", 0x45, swide),
    {.name = "MACNTL", .offset = 0x46, .size = 1, .writable = 0x0f, .field = offsetof(Lsi, macntl)},
    {.name = "GPCNTL", .offset = 0x47, .size = 1, .reset = 0x0f, .writable = 0xff, .field = offsetof(Lsi, gpcntl)},
    REG_RW("STIME0", 0x48, stime0),
    REG_FN("STIME1", 0x49, stime1, 0x7f, NULL, stime1_written),
    REG_RW("RESPID0", 0x4a, respid0),
    REG_RW("RESPID1", 0x4b, respid1),
    REG_RO("STEST0", 0x4c, stest0),
    {.name = "STEST1", .offset = 0x4d, .size = 1, .writable = 0xcc, .field = offsetof(Lsi, stest1)},
    REG_RW("STEST2", 0x4e, stest2),
    REG_RW("STEST3", 0x4f, stest3),
    REG_RO("SIDL", 0x50, sidl),
    {.name = "STEST4", .offset = 0x52, .size = 1, .read = stest4_read, .field = SIZE_MAX},
    REG_RW("SODL", 0x54, sodl),
    REG_RW("CCNTL0", 0x56, ccntl0),
    REG_RW("CCNTL1", 0x57, ccntl1),
    REG_CONST("SBDL", 0x58, 2),
    REG_FN("SCRATCHB", 0x5c, scratchb, UINT32_MAX, scratchb_read, NULL),
    REG_SCRATCH("SCRATCHC", 0),
    REG_SCRATCH("SCRATCHD", 1),
    REG_SCRATCH("SCRATCHE", 2),
    REG_SCRATCH("SCRATCHF", 3),
    REG_SCRATCH("SCRATCHG", 4),
    REG_SCRATCH("SCRATCHH", 5),
    REG_SCRATCH("SCRATCHI", 6),
    REG_SCRATCH("SCRATCHJ", 7),
    REG_SCRATCH("SCRATCHK", 8),
    REG_SCRATCH("SCRATCHL", 9),
    REG_SCRATCH("SCRATCHM", 10),
    REG_SCRATCH("SCRATCHN", 11),
    REG_SCRATCH("SCRATCHO", 12),
    REG_SCRATCH("SCRATCHP", 13),
    REG_SCRATCH("SCRATCHQ", 14),
    REG_SCRATCH("SCRATCHR", 15),
    REG_RW("MMRS", 0xa0, mmrs),
    REG_RW("MMWS", 0xa4, mmws),
    REG_RW("SFS", 0xa8, sfs),
    REG_RW("DRS", 0xac, drs),
    REG_RW("SBMS", 0xb0, sbms),
    REG_RW("DBMS", 0xb4, dbms),
    REG_RW("DNAD64", 0xb8, dnad64),
    REG_RW("PMJAD1", 0xc0, pmjad1),
    REG_RW("PMJAD2", 0xc4, pmjad2),
    REG_RW("RBC", 0xc8, rbc),
    REG_RW("UA", 0xcc, ua),
    REG_RW("ESA", 0xd0, esa),
    REG_RW("IA", 0xd4, ia),
    REG_RO("SBC", 0xd8, sbc),
    REG_RW("CSBC", 0xdc, csbc),
    {.name = NULL},
};

/* --- life --- */

static void run_bh(void *opaque)
{
    lsi_run(opaque);
}

/* Memory with an fd, so that the client of a served function maps it. */
static bool ram_init(Lsi *s, GError **error)
{
    s->ram_fd = memfd_create("SCRIPTS RAM", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (s->ram_fd < 0 || ftruncate(s->ram_fd, LSI_RAM_SIZE) < 0) {
        error_set_errno(error, errno, "lsi53c895a: cannot allocate SCRIPTS RAM");
        return false;
    }
    s->ram = mmap(NULL, LSI_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, s->ram_fd, 0);
    if (s->ram == MAP_FAILED) {
        error_set_errno(error, errno, "lsi53c895a: cannot map SCRIPTS RAM");
        return false;
    }
    s->ram_region = mem_region_new_ram(s->pci.dev.obj.machine->topo, "SCRIPTS RAM", LSI_RAM_SIZE, s->ram, s->ram_fd, 0,
                                       false);
    mem_region_set_device_memory(s->ram_region);
    mem_region_add(pci_bar_region(&s->pci, BAR_RAM), 0, s->ram_region);
    return true;
}

static void ram_cleanup(Lsi *s)
{
    if (s->ram_region) {
        mem_region_del(pci_bar_region(&s->pci, BAR_RAM), s->ram_region);
        mem_region_retire(s->ram_region);
        g_clear_pointer(&s->ram_region, mem_region_unref);
    }
    if (s->ram && s->ram != MAP_FAILED) {
        munmap(s->ram, LSI_RAM_SIZE);
    }
    s->ram = NULL;
    if (s->ram_fd >= 0) {
        close(s->ram_fd);
    }
    s->ram_fd = -1;
}

static bool lsi_start_device(PciDevice *dev, GError **error)
{
    Lsi *s = lsi_of(dev);

    if (!ram_init(s, error)) {
        ram_cleanup(s);
        return false;
    }
    s->reqs = g_ptr_array_new();
    s->phase = LSI_PHASE_NONE;
    s->bus = scsi_bus_new(&dev->dev, &lsi_host_ops, SCSI_ID_COUNT, LSI_OWN_ID);
    s->bh = device_bh_new(&dev->dev, run_bh, s);
    s->general = device_timer_new(&dev->dev, general_expired, s);
    return true;
}

static void lsi_reset(PciDevice *dev)
{
    Lsi *s = lsi_of(dev);

    s->pending = 0;
    s->istat0 = 0;
    chip_reset(s);
}

static void lsi_stop_device(PciDevice *dev)
{
    Lsi *s = lsi_of(dev);

    scripts_stop(s);
    scsi_bus_free(s->bus);
    g_ptr_array_free(s->reqs, TRUE);
    loop_bh_free(s->bh);
    timer_free(s->general);
    ram_cleanup(s);
    g_clear_pointer(&s->saved_reqs, g_free);
    g_clear_pointer(&s->saved_ram, g_free);
}

/* --- state --- */

/* Disks are waited for; SCRIPTS do not see what they say before the machine goes on. */
static void lsi_pre_save(void *instance)
{
    Lsi *s = instance;
    GByteArray *reqs = g_byte_array_new();

    s->saving = true;
    scsi_bus_drain(s->bus);
    s->saving = false;
    lsi_reqs_save(s, reqs);
    g_free(s->saved_reqs);
    s->saved_reqs_len = reqs->len;
    s->saved_reqs = g_byte_array_free(reqs, FALSE);
    g_free(s->saved_ram);
    s->saved_ram = g_memdup2(s->ram, LSI_RAM_SIZE);
    s->saved_ram_len = LSI_RAM_SIZE;
}

/* A phase that the connection can be in. */
static bool phase_plausible(const Lsi *s)
{
    const LsiReq *r = s->current;
    bool data = s->phase == LSI_PHASE_DATA_IN || s->phase == LSI_PHASE_DATA_OUT;

    if (!s->connected) {
        return s->phase == LSI_PHASE_NONE && !r;
    }
    if (data) {
        return r && r->state == LSI_REQ_DATA &&
               (r->req->dir == SCSI_DIR_FROM_UNIT) == (s->phase == LSI_PHASE_DATA_IN);
    }
    if (s->phase == LSI_PHASE_STATUS) {
        return r && r->state == LSI_REQ_DONE;
    }
    return (s->phase == LSI_PHASE_COMMAND && !r) || (s->phase == LSI_PHASE_MSG_IN && s->msg_in_pos < s->msg_in_len) ||
           s->phase == LSI_PHASE_MSG_OUT || s->phase == LSI_PHASE_NONE;
}

static bool lsi_plausible(const Lsi *s)
{
    return s->state <= LSI_WAIT_DISCONNECT && s->leaving <= LSI_COMPLETES && s->nexus_id < SCSI_ID_COUNT &&
           s->nexus_lun < SCSI_LUN_COUNT && s->msg_in_len <= LSI_MSG_LEN && s->msg_in_pos <= s->msg_in_len &&
           s->msg_out_len < LSI_MSG_LEN && s->move.phase <= LSI_PHASE_MSG_IN && s->move.left <= 0xffffff &&
           (!s->move.active || s->move.left) && s->general_deadline <= INT64_MAX && phase_plausible(s);
}

static bool lsi_post_load(void *instance, uint32_t version, GError **error)
{
    Lsi *s = instance;

    s->pending = 0;
    if (s->saved_ram_len != LSI_RAM_SIZE || !lsi_reqs_load(s, s->saved_reqs, s->saved_reqs_len) || !lsi_plausible(s)) {
        error_set(error, "%s: saved controller has commands that cannot be; give it the same disks", s->pci.dev.obj.id);
        lsi_bus_reset(s);
        scripts_stop(s);
        return false;
    }
    memcpy(s->ram, s->saved_ram, LSI_RAM_SIZE);
    timer_cancel(s->general);
    if (s->general_deadline) {
        timer_set(s->general, (int64_t)s->general_deadline);
    }
    lsi_update_irq(s);
    loop_bh_schedule(s->bh);
    return true;
}

static const StateField move_fields[] = {
    STATE_FIELD_BOOL(LsiMove, active), STATE_FIELD_BOOL(LsiMove, table), STATE_FIELD_UINT(LsiMove, phase),
    STATE_FIELD_UINT(LsiMove, high),   STATE_FIELD_UINT(LsiMove, left),  STATE_FIELD_UINT(LsiMove, done),
    STATE_FIELD_UINT(LsiMove, insn),   STATE_FIELD_UINT(LsiMove, entry), STATE_FIELD_UINT(LsiMove, addr),
    STATE_END,
};
static const StateTable move_state = {.name = "lsi-move", .version = 1, .fields = move_fields};

#define FIELD(f) STATE_FIELD_UINT(Lsi, f)

static const StateField lsi_fields[] = {
    STATE_FIELD_STRUCT(Lsi, pci, &pci_device_state),
    FIELD(scntl0), FIELD(scntl1), FIELD(scntl2), FIELD(scntl3), FIELD(scid), FIELD(sxfer), FIELD(sdid), FIELD(gpreg),
    FIELD(sfbr), FIELD(socl), FIELD(ssid), FIELD(dstat), FIELD(sstat0), FIELD(sstat2), FIELD(istat0), FIELD(istat1),
    FIELD(mbox0), FIELD(mbox1), FIELD(ctest0), FIELD(ctest2), FIELD(ctest3), FIELD(ctest4), FIELD(ctest5), FIELD(ctest6),
    FIELD(dfifo), FIELD(dmode), FIELD(dien), FIELD(sbr), FIELD(dcntl), FIELD(sien0), FIELD(sien1), FIELD(sist0),
    FIELD(sist1), FIELD(slpar), FIELD(swide), FIELD(macntl), FIELD(gpcntl), FIELD(stime0), FIELD(stime1), FIELD(respid0),
    FIELD(respid1), FIELD(stest0), FIELD(stest1), FIELD(stest2), FIELD(stest3), FIELD(ccntl0), FIELD(ccntl1),
    FIELD(sidl), FIELD(sodl), FIELD(dsa), FIELD(temp), FIELD(dbc), FIELD(dnad), FIELD(dsp), FIELD(dsps), FIELD(scratcha),
    FIELD(scratchb), FIELD(adder), STATE_FIELD_ARRAY(Lsi, scratch), FIELD(mmrs), FIELD(mmws), FIELD(sfs), FIELD(drs),
    FIELD(sbms), FIELD(dbms), FIELD(dnad64), FIELD(pmjad1), FIELD(pmjad2), FIELD(rbc), FIELD(ua), FIELD(esa), FIELD(ia),
    FIELD(sbc), FIELD(csbc), FIELD(state), STATE_FIELD_BOOL(Lsi, carry), STATE_FIELD_BOOL(Lsi, unanswered), STATE_FIELD_STRUCT(Lsi, move, &move_state),
    STATE_FIELD_DEADLINE(Lsi, general_deadline), STATE_FIELD_BOOL(Lsi, connected), FIELD(phase), FIELD(leaving), FIELD(nexus_id),
    FIELD(nexus_lun), FIELD(nexus_tag), STATE_FIELD_BOOL(Lsi, nexus_tagged), STATE_FIELD_BOOL(Lsi, nexus_disconnect),
    STATE_FIELD_BYTES(Lsi, msg_in), FIELD(msg_in_len), FIELD(msg_in_pos), STATE_FIELD_BYTES(Lsi, msg_out),
    FIELD(msg_out_len),
    {.name = "reqs", .kind = STATE_BUFFER, .offset = offsetof(Lsi, saved_reqs), .count = SAVED_REQS_MAX,
     .len_offset = offsetof(Lsi, saved_reqs_len)},
    {.name = "ram", .kind = STATE_BUFFER, .offset = offsetof(Lsi, saved_ram), .count = LSI_RAM_SIZE,
     .len_offset = offsetof(Lsi, saved_ram_len)},
    STATE_END,
};

static const StateTable lsi_state = {.name = "lsi53c895a",
                                     .version = 1,
                                     .fields = lsi_fields,
                                     .pre_save = lsi_pre_save,
                                     .post_load = lsi_post_load};

static const Prop lsi_props[] = {PROP_END};

const PciModel lsi53c895a_model = {
    .dev = {.name = "lsi53c895a",
            .alias = "lsi",
            .doc = "LSI 53C895A SCSI controller, with a bus for scsi-hd and scsi-cd.",
            .kind = MODEL_PCI,
            .size = sizeof(Lsi),
            .props = lsi_props,
            .state = &lsi_state},
    .ids = {.vendor = 0x1000, .device = 0x0012, .subsystem_vendor = 0, .subsystem = 0x1000, .class_code = 0x010000},
    .interrupt_pin = 1,
    .bars = {[BAR_IO] = {.size = 0x100, .kind = PCI_BAR_IO, .regs = lsi_regs},
             [BAR_REGS] = {.size = REGS_SIZE, .kind = PCI_BAR_MEM32, .regs = lsi_regs},
             [BAR_RAM] = {.size = LSI_RAM_SIZE, .kind = PCI_BAR_MEM32}},
    .start = lsi_start_device,
    .reset = lsi_reset,
    .stop = lsi_stop_device,
};
