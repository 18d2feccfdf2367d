/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * intel-iommu: the DMA and interrupt remapping hardware of a q35 machine (Intel Virtualization Technology for Directed
 * I/O, revision 3.3, legacy mode): registers, and an address space for every PCI function.  Scalable mode, first-level
 * tables, device TLBs, posted interrupts and protected memory are not there, and the capability registers say so.
 */
#include "intel-iommu.h"

/* --- global commands (11.4.4) --- */

static void set_status(IntelIommu *s, uint32_t bit, bool on)
{
    __atomic_store_n(&s->gsts, on ? s->gsts | bit : s->gsts & ~bit, __ATOMIC_RELEASE);
}

static void latch_root(IntelIommu *s)
{
    if (s->rtaddr & RTADDR_TTM) {
        guest_error(&s->dev, "RTADDR_REG: only legacy tables (0x%" G_GINT64_MODIFIER "x)", s->rtaddr);
    }
    __atomic_store_n(&s->root_table, s->rtaddr & TABLE_ADDRESS, __ATOMIC_RELEASE);
    set_status(s, GCMD_SRTP, true);
    vtd_refresh(s);
}

static void enable_queue(IntelIommu *s, bool on)
{
    s->iqh = 0;
    set_status(s, GCMD_QIE, on);
    if (on) {
        vtd_queue_run(s);
    }
}

static void gcmd_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    IntelIommu *s = opaque;
    uint32_t val = (uint32_t)new_val, changed = val ^ s->gsts;

    if (val & GCMD_SRTP) {
        latch_root(s);
    }
    if (changed & GCMD_QIE) {
        enable_queue(s, val & GCMD_QIE);
    }
    if (changed & GCMD_TE) {
        set_status(s, GCMD_TE, val & GCMD_TE);
        vtd_refresh(s);
    }
    if (!s->remap_on) {
        return;
    }
    if (val & GCMD_SIRTP) {
        __atomic_store_n(&s->irq_table, s->irta, __ATOMIC_RELEASE);
        set_status(s, GCMD_SIRTP, true);
    }
    set_status(s, GCMD_CFI, val & GCMD_CFI);
    set_status(s, GCMD_IRE, val & GCMD_IRE);
}

/* --- the other registers --- */

static void iqt_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    vtd_queue_run(opaque);
}

static void ccmd_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    vtd_ccmd_written(opaque);
}

static void iotlb_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    vtd_iotlb_written(opaque);
}

static void fectl_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    vtd_fectl_written(opaque);
}

static void iectl_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    vtd_iectl_written(opaque);
}

static void frcd_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    vtd_frcd_written(opaque);
}

static void fsts_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    vtd_fsts_written(opaque, 0);
}

#define AT(f) .field = offsetof(IntelIommu, f)
#define FRCD(n)                                                                                              \
    {.name = "FRCD_REG", .offset = DMAR_FRCD_REG + 16 * (n), .size = 8, AT(frcd[2 * (n)])},                   \
        {.name = "FRCD_REG high", .offset = DMAR_FRCD_REG + 16 * (n) + 8, .size = 8, .w1c = FRCD_F,           \
         .written = frcd_written, AT(frcd[2 * (n) + 1])}

/* clang-format off */
static const RegDef vtd_regs[] = {
    {.name = "VER_REG", .offset = DMAR_VER_REG, .size = 4, .reset = 0x10, AT(ver)},
    {.name = "CAP_REG", .offset = DMAR_CAP_REG, .size = 8, AT(cap)},
    {.name = "ECAP_REG", .offset = DMAR_ECAP_REG, .size = 8, AT(ecap)},
    {.name = "GCMD_REG", .offset = DMAR_GCMD_REG, .size = 4, .writable = UINT32_MAX, .written = gcmd_written,
     .field = SIZE_MAX},
    {.name = "GSTS_REG", .offset = DMAR_GSTS_REG, .size = 4, AT(gsts)},
    {.name = "RTADDR_REG", .offset = DMAR_RTADDR_REG, .size = 8, .writable = ~0x3ffull, AT(rtaddr)},
    {.name = "CCMD_REG", .offset = DMAR_CCMD_REG, .size = 8, .writable = 0xe0000003ffffffffull,
     .written = ccmd_written, AT(ccmd)},
    {.name = "FSTS_REG", .offset = DMAR_FSTS_REG, .size = 4, .w1c = FSTS_PFO | FSTS_IQE, .written = fsts_written,
     AT(fsts)},
    {.name = "FECTL_REG", .offset = DMAR_FECTL_REG, .size = 4, .reset = EVENT_IM, .writable = EVENT_IM,
     .written = fectl_written, AT(fectl)},
    {.name = "FEDATA_REG", .offset = DMAR_FEDATA_REG, .size = 4, .writable = UINT32_MAX, AT(fedata)},
    {.name = "FEADDR_REG", .offset = DMAR_FEADDR_REG, .size = 4, .writable = ~3u, AT(feaddr)},
    {.name = "FEUADDR_REG", .offset = DMAR_FEUADDR_REG, .size = 4, .writable = UINT32_MAX, AT(feuaddr)},
    {.name = "IQH_REG", .offset = DMAR_IQH_REG, .size = 8, AT(iqh)},
    {.name = "IQT_REG", .offset = DMAR_IQT_REG, .size = 8, .writable = IQ_INDEX_MASK, .written = iqt_written,
     AT(iqt)},
    {.name = "IQA_REG", .offset = DMAR_IQA_REG, .size = 8, .writable = ~0x7f8ull, AT(iqa)},
    {.name = "ICS_REG", .offset = DMAR_ICS_REG, .size = 4, .w1c = ICS_IWC, .written = iectl_written, AT(ics)},
    {.name = "IECTL_REG", .offset = DMAR_IECTL_REG, .size = 4, .reset = EVENT_IM, .writable = EVENT_IM,
     .written = iectl_written, AT(iectl)},
    {.name = "IEDATA_REG", .offset = DMAR_IEDATA_REG, .size = 4, .writable = UINT32_MAX, AT(iedata)},
    {.name = "IEADDR_REG", .offset = DMAR_IEADDR_REG, .size = 4, .writable = ~3u, AT(ieaddr)},
    {.name = "IEUADDR_REG", .offset = DMAR_IEUADDR_REG, .size = 4, .writable = UINT32_MAX, AT(ieuaddr)},
    {.name = "IRTA_REG", .offset = DMAR_IRTA_REG, .size = 8, .writable = ~0x7f0ull, AT(irta)},
    {.name = "IVA_REG", .offset = DMAR_IVA_REG, .size = 8, .writable = ~0xf80ull, AT(iva)},
    {.name = "IOTLB_REG", .offset = DMAR_IOTLB_REG, .size = 8, .writable = 0xf003ffff00000000ull & ~IOTLB_IAIG(3),
     .written = iotlb_written, AT(iotlb_reg)},
    FRCD(0), FRCD(1), FRCD(2), FRCD(3), FRCD(4), FRCD(5), FRCD(6), FRCD(7),
    {.name = NULL},
};
/* clang-format on */

/* Registers that faults of other threads change. */
static bool reg_is_shared(HwAddr addr)
{
    return (addr >= DMAR_FSTS_REG - 4 && addr <= DMAR_FEUADDR_REG) || addr >= DMAR_FRCD_REG ||
           (addr >= DMAR_ICS_REG - 4 && addr <= DMAR_IEUADDR_REG);
}

static MemResult regs_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    IntelIommu *s = opaque;

    g_mutex_lock(&s->lock);
    if (reg_read(vtd_regs, s, addr, size, val) != MEM_OK) {
        *val = 0; /* reserved */
    }
    g_mutex_unlock(&s->lock);
    return MEM_OK;
}

static MemResult regs_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    IntelIommu *s = opaque;
    bool shared = reg_is_shared(addr);
    MemResult result;

    if (shared) {
        g_mutex_lock(&s->lock);
    }
    result = reg_write(vtd_regs, s, addr, size, val);
    if (shared) {
        g_mutex_unlock(&s->lock);
        vtd_queue_run(s); /* an error of it may have been acknowledged */
    }
    if (result != MEM_OK) {
        guest_error(&s->dev, "write to reserved offset 0x%" G_GINT64_MODIFIER "x", addr);
    }
    return MEM_OK;
}

static const MemOps vtd_ops = {.read = regs_read, .write = regs_write, .min_size = 4, .max_size = 8};

/* --- functions --- */

static AddressSpace *function_attach(void *opaque, PciDevice *dev)
{
    IntelIommu *s = opaque;
    MemTopology *topo = s->dev.obj.machine->topo;
    VtdFunction *f = g_new0(VtdFunction, 1);
    g_autofree char *name = g_strdup_printf("iommu of %s", dev->dev.obj.id);

    *f = (VtdFunction){.iommu = s, .pci = dev, .table_did = UINT32_MAX};
    f->root = mem_region_new_container(topo, name, UINT64_MAX);
    f->memory = mem_region_new_alias(topo, "not translated", s->dev.obj.machine->system_memory, 0, UINT64_MAX);
    f->translated = mem_region_new_iommu(topo, "translated", UINT64_MAX, &vtd_iommu_ops, f);
    f->messages = mem_region_new_io(topo, "interrupt requests", APIC_REGION_SIZE, &vtd_message_ops, f, NULL);
    mem_region_set_enabled(f->memory, !vtd_translates(s));
    mem_region_set_enabled(f->translated, vtd_translates(s));
    mem_region_add(f->root, 0, f->memory);
    mem_region_add(f->root, 0, f->translated);
    mem_region_add_overlap(f->root, APIC_DEFAULT_BASE, f->messages, 1);
    f->as = as_new(topo, name, f->root);
    g_ptr_array_add(s->functions, f);
    return f->as;
}

static void function_free(gpointer opaque)
{
    VtdFunction *f = opaque;
    MemRegion *const regions[] = {f->memory, f->translated, f->messages};

    as_free(f->as);
    for (unsigned i = 0; i < G_N_ELEMENTS(regions); i++) {
        mem_region_del(f->root, regions[i]);
        mem_region_retire(regions[i]);
        mem_region_unref(regions[i]);
    }
    mem_region_unref(f->root);
    g_free(f);
}

static void function_detach(void *opaque, PciDevice *dev)
{
    IntelIommu *s = opaque;

    for (guint i = 0; i < s->functions->len; i++) {
        if (((VtdFunction *)s->functions->pdata[i])->pci == dev) {
            g_ptr_array_remove_index(s->functions, i);
            return;
        }
    }
}

static bool function_can_follow(void *opaque, PciDevice *dev, GError **error)
{
    const IntelIommu *s = opaque;

    if (!s->caching_mode) {
        error_set(error, "the guest's IOMMU does not tell of new mappings, which a device outside this process has to "
                         "know: add caching-mode=on to -device intel-iommu");
    }
    return s->caching_mode;
}

/* Also when a state is loaded: that of a bridge may come after ours. */
static void functions_renumbered(void *opaque)
{
    vtd_refresh(opaque);
}

static const PciIommuOps function_ops = {.attach = function_attach,
                                         .detach = function_detach,
                                         .can_follow = function_can_follow,
                                         .renumbered = functions_renumbered};

/* --- life --- */

static bool check_options(IntelIommu *s, GError **error)
{
    const struct {
        bool wrong;
        const char *text;
    } checks[] = {
        {s->aw_bits != 39 && s->aw_bits != 48, "aw-bits: no such address width (allowed 39, 48)"},
        {s->device_iotlb, "device-iotlb: no device here has a TLB of its own (allowed off)"},
        {s->scalable_mode, "x-scalable-mode: only legacy mode is there (allowed off)"},
        {s->intremap == ON_OFF_AUTO_ON && !s->board.can_remap,
         "intremap: the IO-APIC is in the kernel; add kernel-irqchip=split or off, or intremap=off"},
        {s->eim == ON_OFF_AUTO_ON && !s->remap_on, "eim=on needs interrupt remapping: add intremap=on"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(checks); i++) {
        if (checks[i].wrong) {
            error_set(error, "intel-iommu: %s", checks[i].text);
            return false;
        }
    }
    return true;
}

/* At rest the queue and what is to be said of it stay as they are, for the process that the guest goes on in. */
static void queue_bh(void *opaque)
{
    IntelIommu *s = opaque;

    if (!device_rests(&s->dev)) {
        vtd_queue_run(s);
    }
}

static void send_events(void *opaque)
{
    IntelIommu *s = opaque;

    if (!device_rests(&s->dev)) {
        vtd_send_events(s);
    }
}

static void vtd_wake(void *opaque)
{
    IntelIommu *s = opaque;

    loop_bh_schedule(s->events);
    loop_bh_schedule(s->queue_bh);
}

static bool vtd_start(Device *dev, GError **error)
{
    IntelIommu *s = (IntelIommu *)dev;
    Machine *m = dev->obj.machine;
    PcIommu board = {.remap = vtd_remap_ioapic, .opaque = s};

    if (!pc_iommu_find_board(m, &board, error)) {
        return false;
    }
    s->board = board;
    s->remap_on = s->intremap == ON_OFF_AUTO_AUTO ? board.can_remap : s->intremap == ON_OFF_AUTO_ON;
    s->eim_on = s->remap_on && s->eim != ON_OFF_AUTO_OFF;
    if (!check_options(s, error)) {
        return false;
    }
    g_mutex_init(&s->lock);
    s->functions = g_ptr_array_new_with_free_func(function_free);
    s->events = loop_bh_new(m->main_loop, send_events, s);
    s->queue_bh = loop_bh_new(m->main_loop, queue_bh, s);
    if (!pci_bus_set_iommu(m->pci_bus, &function_ops, s, error)) {
        g_prefix_error(error, "intel-iommu: ");
        loop_bh_free(s->queue_bh);
        loop_bh_free(s->events);
        g_ptr_array_unref(s->functions);
        g_mutex_clear(&s->lock);
        return false;
    }
    s->region = mem_region_new_io(m->topo, "intel-iommu", 0x1000, &vtd_ops, s, dev->home);
    mem_region_add(m->system_memory, INTEL_IOMMU_BASE, s->region);
    s->wake = (DeviceWake){.fn = vtd_wake, .opaque = s};
    device_add_wake(dev, &s->wake);
    pc_iommu_attach(m, &s->board,
                    &(AcpiDmar){.base = INTEL_IOMMU_BASE, .remap = s->remap_on, .width = HOST_ADDRESS_WIDTH});
    return true;
}

static void vtd_reset(Device *dev)
{
    IntelIommu *s = (IntelIommu *)dev;

    g_mutex_lock(&s->lock);
    reg_reset(vtd_regs, s);
    s->next_fault = 0;
    s->fault_event = s->wait_event = false;
    g_mutex_unlock(&s->lock);
    s->cap = CAP_ND_16BIT | CAP_SAGAW_39 | (s->aw_bits == 48 ? CAP_SAGAW_48 : 0) | CAP_MGAW(s->aw_bits - 1) |
             CAP_ZLR | CAP_FRO | CAP_SLLPS | CAP_PSI | CAP_NFR | CAP_MAMV | CAP_DWD | CAP_DRD |
             (s->caching_mode ? CAP_CM : 0);
    s->ecap = ECAP_C | ECAP_QI | ECAP_IRO | (s->pt ? ECAP_PT : 0) |
              (s->remap_on ? ECAP_IR | ECAP_MHMV : 0) | (s->eim_on ? ECAP_EIM : 0);
    s->root_table = s->irq_table = 0;
    vtd_refresh(s);
}

static void vtd_stop(Device *dev)
{
    IntelIommu *s = (IntelIommu *)dev;
    Machine *m = dev->obj.machine;

    device_remove_wake(dev, &s->wake);
    pc_iommu_attach(m, NULL, NULL);
    mem_region_del(m->system_memory, s->region);
    mem_region_retire(s->region);
    mem_region_unref(s->region);
    pci_bus_set_iommu(m->pci_bus, NULL, NULL, NULL);
    loop_bh_free(s->queue_bh);
    loop_bh_free(s->events);
    g_ptr_array_unref(s->functions);
    g_mutex_clear(&s->lock);
}

static bool vtd_post_load(void *instance, uint32_t version, GError **error)
{
    IntelIommu *s = instance;

    if (s->next_fault >= DMAR_FRCD_COUNT || s->iqh & ~IQ_INDEX_MASK || s->iqt & ~IQ_INDEX_MASK) {
        error_set(error, "intel-iommu: saved registers have values they cannot have (IQH 0x%" G_GINT64_MODIFIER "x)",
                  s->iqh);
        return false;
    }
    vtd_refresh(s);
    return true;
}

static const StateField vtd_fields[] = {
    STATE_FIELD_UINT(IntelIommu, gsts),    STATE_FIELD_UINT(IntelIommu, feaddr),
    STATE_FIELD_UINT(IntelIommu, feuaddr), STATE_FIELD_UINT(IntelIommu, fedata),
    STATE_FIELD_UINT(IntelIommu, fsts),    STATE_FIELD_UINT(IntelIommu, fectl),
    STATE_FIELD_UINT(IntelIommu, ics),     STATE_FIELD_UINT(IntelIommu, iectl),
    STATE_FIELD_UINT(IntelIommu, iedata),  STATE_FIELD_UINT(IntelIommu, ieaddr),
    STATE_FIELD_UINT(IntelIommu, ieuaddr), STATE_FIELD_UINT(IntelIommu, rtaddr),
    STATE_FIELD_UINT(IntelIommu, ccmd),    STATE_FIELD_UINT(IntelIommu, iqh),
    STATE_FIELD_UINT(IntelIommu, iqt),     STATE_FIELD_UINT(IntelIommu, iqa),
    STATE_FIELD_UINT(IntelIommu, irta),    STATE_FIELD_UINT(IntelIommu, iva),
    STATE_FIELD_UINT(IntelIommu, iotlb_reg), STATE_FIELD_UINT(IntelIommu, root_table),
    STATE_FIELD_UINT(IntelIommu, irq_table), STATE_FIELD_UINT(IntelIommu, next_fault),
    STATE_FIELD_ARRAY(IntelIommu, frcd),   STATE_FIELD_BOOL(IntelIommu, fault_event),
    STATE_FIELD_BOOL(IntelIommu, wait_event), STATE_END,
};
static const StateTable vtd_state = {
    .name = "intel-iommu", .version = 1, .fields = vtd_fields, .post_load = vtd_post_load};

#define ON_OFF_AUTO(n, f, text)                                                                              \
    {.name = n, .type = &prop_on_off_auto, .offset = offsetof(IntelIommu, f), .doc = text}

static const Prop vtd_props[] = {
    PROP_U8("aw-bits", IntelIommu, aw_bits, 39, 0, 255, "Width of DMA addresses: 39 or 48"),
    PROP_BOOL("caching-mode", IntelIommu, caching_mode, false,
              "The guest tells of new mappings too: needed by vfio-user-pci and vfio-pci"),
    PROP_BOOL("device-iotlb", IntelIommu, device_iotlb, false, "TLBs in devices; there are none"),
    ON_OFF_AUTO("eim", eim, "Interrupts to x2APIC ids; auto: with intremap"),
    ON_OFF_AUTO("intremap", intremap, "Interrupt remapping; auto: where the machine delivers interrupts itself"),
    PROP_BOOL("pt", IntelIommu, pt, true, "The guest may let functions pass untranslated"),
    PROP_BOOL("x-scalable-mode", IntelIommu, scalable_mode, false, "Tables of scalable mode; there are none"),
    PROP_END,
};

const DeviceModel intel_iommu_model = {
    .model = {.name = "intel-iommu",
              .doc = "Intel IOMMU (DMA and interrupt remapping) of a q35 machine.",
              .kind = MODEL_DEVICE,
              .size = sizeof(IntelIommu),
              .props = vtd_props,
              .state = &vtd_state},
    .start = vtd_start,
    .reset = vtd_reset,
    .stop = vtd_stop,
    .no_unplug = true,
};
