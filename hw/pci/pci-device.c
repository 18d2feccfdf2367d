/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The life of a function: config space and BARs from its model's table, reset, INTx, DMA, saved state. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "core/data-file.h"
#include "hw/pci/pci-internal.h"

/* --- INTx --- */

void pci_update_intx(PciDevice *dev)
{
    bool disabled = pci_get16(dev->config + PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE;
    bool out = dev->intx_level && !disabled && !msi_enabled(dev) && !msix_enabled(dev);

    dev->config[PCI_STATUS] =
        (uint8_t)((dev->config[PCI_STATUS] & ~PCI_STATUS_INTERRUPT) | (dev->intx_level ? PCI_STATUS_INTERRUPT : 0));
    if (out != dev->intx_out) {
        dev->intx_out = out;
        dev->bus->ops->set_intx(dev->bus, dev, dev->config[PCI_INTERRUPT_PIN] - 1u, out);
    }
}

void pci_set_irq(PciDevice *dev, int level)
{
    if (dev->config[PCI_INTERRUPT_PIN] && dev->intx_level != !!level) {
        dev->intx_level = level;
        pci_update_intx(dev);
    }
}

int pci_intx_route(PciDevice *dev)
{
    const PciBusOps *ops = dev->bus->ops;
    uint8_t pin = dev->config[PCI_INTERRUPT_PIN];

    return pin && ops->intx_route ? ops->intx_route(dev->bus, dev, pin - 1u) : -1;
}

void pci_bus_intx_routes_changed(PciBus *bus)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(bus->devices); i++) {
        PciDevice *dev = bus->devices[i];

        if (dev && dev->intx_route_changed) {
            dev->intx_route_changed(dev);
        }
    }
    for (guint i = 0; i < bus->children->len; i++) {
        pci_bus_intx_routes_changed(g_ptr_array_index(bus->children, i));
    }
}

/* --- DMA --- */

uint16_t pci_requester_id(const PciDevice *dev)
{
    const PciDevice *from = dev;

    for (const PciDevice *up = dev->bus->parent; up; up = up->bus->parent) {
        from = up->is_express ? from : up;
    }
    return (uint16_t)(from->bus->number << 8 | from->devfn);
}

static MemAttrs dma_attrs(const PciDevice *dev)
{
    return (MemAttrs){.requester_id = pci_requester_id(dev)};
}

MemResult pci_dma_read(PciDevice *dev, uint64_t addr, void *buf, uint64_t len)
{
    return as_read(dev->dma, addr, buf, len, dma_attrs(dev));
}

MemResult pci_dma_write(PciDevice *dev, uint64_t addr, const void *buf, uint64_t len)
{
    return as_write(dev->dma, addr, buf, len, dma_attrs(dev));
}

void *pci_dma_map(PciDevice *dev, uint64_t addr, uint64_t *len, bool is_write, MemRegion **region)
{
    return as_map(dev->dma, addr, len, is_write, region);
}

void pci_dma_unmap(PciDevice *dev, MemRegion *region, void *host, uint64_t len, bool is_write)
{
    as_unmap(dev->dma, region, host, len, is_write);
}

static PciBus *root_of(const PciDevice *dev)
{
    PciBus *bus = dev->bus;

    while (bus->parent) {
        bus = bus->parent->bus;
    }
    return bus;
}

static void dma_untarget(PciDevice *dev)
{
    mem_region_del(dev->dma_root, dev->dma_alias);
    mem_region_unref(dev->dma_alias);
    dev->dma_alias = NULL;
}

static void dma_alias(PciDevice *dev, MemRegion *target)
{
    dev->dma_alias =
        mem_region_new_alias(dev->dev.obj.machine->topo, "bus master", target, 0, mem_region_size(target));
    mem_region_set_enabled(dev->dma_alias, pci_bus_master(dev));
    mem_region_add(dev->dma_root, 0, dev->dma_alias);
}

/* Memory is what the IOMMU shows, or the bus.  In a transaction. */
static void dma_target(PciDevice *dev)
{
    PciBus *root = root_of(dev);
    AddressSpace *as = root->iommu ? root->iommu->attach(root->iommu_opaque, dev) : NULL;

    dev->dma_target = as ? as : dev->bus->dma_space;
    dma_alias(dev, as_root(dev->dma_bypass ? dev->bus->dma_space : dev->dma_target));
}

static void dma_space_init(PciDevice *dev)
{
    MemTopology *topo = dev->dev.obj.machine->topo;

    mem_begin(topo);
    dev->dma_root = mem_region_new_container(topo, "bus master container", UINT64_MAX);
    dma_target(dev);
    dev->dma = as_new(topo, dev->dev.obj.id, dev->dma_root);
    mem_commit(topo, NULL);
}

void pci_dma_bypass_iommu(PciDevice *dev)
{
    MemTopology *topo = dev->dev.obj.machine->topo;
    MemRegion *target = as_root(dev->bus->dma_space);

    mem_begin(topo);
    dev->dma_bypass = true;
    dma_untarget(dev);
    dma_alias(dev, target);
    mem_commit(topo, NULL);
}

void pci_send_message(PciDevice *dev, MsiMessage msg)
{
    if (pci_bus_master(dev)) {
        as_store(dev->dma_target, msg.address, 4, msg.data, dma_attrs(dev));
    }
}

AddressSpace *pci_dma_follow(PciDevice *dev, GError **error)
{
    PciBus *root = root_of(dev);

    if (root->iommu && !root->iommu->can_follow(root->iommu_opaque, dev, error)) {
        return NULL;
    }
    dev->dma_followed = true;
    return dev->dma_target;
}

/* Calls fn for every function below a bus until one gives false. */
static bool each_function(PciBus *bus, bool (*fn)(PciDevice *dev, GError **error), GError **error)
{
    bool ok = true;

    for (unsigned i = 0; ok && i < G_N_ELEMENTS(bus->devices); i++) {
        ok = !bus->devices[i] || fn(bus->devices[i], error);
    }
    for (guint i = 0; ok && i < bus->children->len; i++) {
        ok = each_function(bus->children->pdata[i], fn, error);
    }
    return ok;
}

static bool not_followed(PciDevice *dev, GError **error)
{
    if (dev->dma_followed) {
        error_set(error, "an IOMMU comes before the devices whose DMA is mapped elsewhere: give it before %s '%s'",
                  dev->dev.obj.model->name, dev->dev.obj.id);
    }
    return !dev->dma_followed;
}

static bool target_again(PciDevice *dev, GError **error)
{
    if (dev->dma) {
        dma_untarget(dev);
        dma_target(dev);
    }
    return true;
}

typedef struct Detach {
    const PciIommuOps *ops;
    void *opaque;
} Detach;

/* From an IOMMU that is not the root's any more.  Outside transactions. */
static void detach_below(PciBus *bus, const Detach *from)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(bus->devices); i++) {
        if (bus->devices[i] && bus->devices[i]->dma) {
            from->ops->detach(from->opaque, bus->devices[i]);
        }
    }
    for (guint i = 0; i < bus->children->len; i++) {
        detach_below(bus->children->pdata[i], from);
    }
}

bool pci_bus_set_iommu(PciBus *root, const PciIommuOps *ops, void *opaque, GError **error)
{
    Detach before;

    if (ops && root->iommu) {
        error_set(error, "there is an IOMMU on bus %s already, and a bus has no more than one", root->name);
        return false;
    }
    if (ops && !each_function(root, not_followed, error)) {
        return false;
    }
    before = (Detach){root->iommu, root->iommu_opaque};
    mem_begin(root->machine->topo);
    root->iommu = ops;
    root->iommu_opaque = opaque;
    each_function(root, target_again, NULL);
    mem_commit(root->machine->topo, NULL);
    if (before.ops) {
        detach_below(root, &before);
    }
    return true;
}

void pci_bus_set_number(PciBus *bus, uint8_t number)
{
    const PciBus *root = root_of(bus->parent);

    if (number == bus->number) {
        return;
    }
    loop_lock(bus->machine->main_loop);
    bus->number = number;
    if (root->iommu && root->iommu->renumbered) {
        root->iommu->renumbered(root->iommu_opaque);
    }
    loop_unlock(bus->machine->main_loop);
}

static void dma_space_cleanup(PciDevice *dev)
{
    if (!dev->dma) {
        return;
    }
    as_free(g_steal_pointer(&dev->dma));
    dma_untarget(dev);
    if (root_of(dev)->iommu) {
        root_of(dev)->iommu->detach(root_of(dev)->iommu_opaque, dev);
    }
    mem_region_unref(dev->dma_root);
    dev->dma_root = NULL;
    dev->dma_target = NULL;
    dev->dma_followed = dev->dma_bypass = false;
}

/* --- from the model's table --- */

/* What functions without ids of their own have: SeaBIOS knows the machine by those of the host bridge. */
#define PCI_SUBSYSTEM_VENDOR_QEMU 0x1af4
#define PCI_SUBSYSTEM_QEMU        0x1100

static void config_init(PciDevice *dev)
{
    const PciModel *model = pci_model(dev);
    const PciIds *ids = &model->ids;
    bool bridge = model->header_type == PCI_HEADER_TYPE_BRIDGE;

    dev->is_express = model->express && dev->bus->express;
    dev->config_size = dev->is_express ? PCIE_CONFIG_SIZE : PCI_CONFIG_SIZE;
    dev->config_len = dev->config_size;
    dev->cap_end = 0x40;
    dev->config = g_malloc0(dev->config_size);
    dev->wmask = g_malloc0(dev->config_size);
    dev->w1cmask = g_malloc0(dev->config_size);

    pci_set16(dev->config + PCI_VENDOR_ID, ids->vendor);
    pci_set16(dev->config + PCI_DEVICE_ID, ids->device);
    dev->config[PCI_REVISION_ID] = ids->revision;
    dev->config[PCI_CLASS_PROG] = (uint8_t)ids->class_code;
    pci_set16(dev->config + PCI_CLASS_DEVICE, (uint16_t)(ids->class_code >> 8));
    dev->config[PCI_HEADER_TYPE] = model->header_type | (dev->multifunction ? PCI_HEADER_TYPE_MULTI : 0);
    dev->config[PCI_INTERRUPT_PIN] = model->interrupt_pin;
    if (!bridge) {
        bool own = ids->subsystem_vendor || ids->subsystem;
        pci_set16(dev->config + PCI_SUBSYSTEM_VENDOR_ID, own ? ids->subsystem_vendor : PCI_SUBSYSTEM_VENDOR_QEMU);
        pci_set16(dev->config + PCI_SUBSYSTEM_ID, own ? ids->subsystem : PCI_SUBSYSTEM_QEMU);
    }
    pci_set16(dev->wmask + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
                                            PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE);
    pci_set16(dev->w1cmask + PCI_STATUS, PCI_STATUS_W1C);
    dev->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
    dev->wmask[PCI_LATENCY_TIMER] = 0xff;
    dev->wmask[PCI_INTERRUPT_LINE] = 0xff;
}

static MemResult regs_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    PciBar *bar = opaque;

    if (reg_read(bar->regs, bar->dev, addr, size, val) != MEM_OK) {
        guest_error(&bar->dev->dev, "read of %u bytes at 0x%" G_GINT64_MODIFIER "x: no register there", size, addr);
        *val = 0;
    }
    return MEM_OK;
}

static MemResult regs_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    PciBar *bar = opaque;

    if (reg_write(bar->regs, bar->dev, addr, size, val) != MEM_OK) {
        guest_error(&bar->dev->dev, "write of %u bytes at 0x%" G_GINT64_MODIFIER "x: no register there", size, addr);
    }
    return MEM_OK;
}

static const MemOps regs_ops = {regs_read, regs_write, .min_size = 1, .max_size = 8};

static void bar_init(PciDevice *dev, unsigned n, const PciBarDef *def)
{
    MemTopology *topo = dev->dev.obj.machine->topo;
    g_autofree char *name = g_strdup_printf("%s BAR %u", dev->dev.obj.id, n);
    MemRegion *container = mem_region_new_container(topo, name, def->size);
    MemRegion *contents = NULL;

    pci_register_bar(dev, n, def->kind, container);
    mem_region_unref(container);
    if (def->regs) {
        dev->bars[n].regs = def->regs;
        dev->bars[n].dev = dev;
        contents = mem_region_new_io(topo, name, def->size, &regs_ops, &dev->bars[n], dev->dev.home);
    } else if (def->ops) {
        contents = mem_region_new_io(topo, name, def->size, def->ops, dev, dev->dev.home);
    }
    if (contents) {
        mem_region_add(container, 0, contents);
        dev->bars[n].contents = contents;
    }
}

static bool rom_size_ok(const char *path, off_t len, GError **error)
{
    if (len > 0 && len <= 16 << 20) {
        return true;
    }
    error_set(error, "romfile=%s: not an option ROM (%lld bytes, allowed 1..16777216)", path, (long long)len);
    return false;
}

/* The image's path, or NULL: the function has none.  A model's own that is not installed is done without. */
static char *rom_path(PciDevice *dev)
{
    const char *name = dev->romfile ? dev->romfile : pci_model(dev)->romfile;
    char *path;

    if (!name || !*name || !dev->rombar) {
        return NULL;
    }
    path = data_file_find_in(dev->dev.obj.machine->data_dirs, name);
    if (!path && !dev->romfile) {
        g_printerr("%s: no option ROM: '%s' is not installed (Debian: seabios, ipxe-qemu)\n", dev->dev.obj.model->name, name);
    }
    return path || !dev->romfile ? path : g_strdup(name);
}

static bool rom_load(PciDevice *dev, GError **error)
{
    g_autofree char *path = rom_path(dev), *image = NULL;
    gsize len, size = 2048;
    MemRegion *region;
    void *host;

    if (!path) {
        return true;
    }
    if (!g_file_get_contents(path, &image, &len, error)) {
        g_prefix_error(error, "romfile: ");
        return false;
    }
    if (!rom_size_ok(path, (off_t)len, error)) {
        return false;
    }
    while (size < len) {
        size *= 2;
    }
    host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (host == MAP_FAILED) {
        error_set_errno(error, errno, "romfile=%s: cannot allocate %zu bytes", path, size);
        return false;
    }
    memset(host, 0xff, size);
    memcpy(host, image, len);
    dev->rom_host = host;
    dev->rom_size = size;
    region = mem_region_new_rom(dev->dev.obj.machine->topo, "option rom", size, host, NULL, NULL);
    pci_register_bar(dev, PCI_ROM_SLOT, PCI_BAR_MEM32, region);
    mem_region_unref(region);
    return true;
}

static bool capabilities_init(PciDevice *dev, GError **error)
{
    const PciModel *model = pci_model(dev);

    return (!model->msi_vectors || msi_init(dev, 0, model->msi_vectors, true, error)) &&
           (!model->msix_vectors || msix_init(dev, model->msix_vectors, model->msix_bar, model->msix_table_offset,
                                              model->msix_pba_offset, 0, error)) &&
           (!dev->is_express || model->header_type != PCI_HEADER_TYPE_NORMAL ||
            pcie_cap_init(dev, 0, dev->bus->parent ? PCI_EXP_TYPE_ENDPOINT : PCI_EXP_TYPE_RC_END, 0, error));
}

/* Takes the BARs from the guest. */
static void bars_unmap(PciDevice *dev)
{
    MemTopology *topo = dev->dev.obj.machine->topo;

    mem_begin(topo);
    for (unsigned n = 0; n < PCI_REGION_COUNT; n++) {
        PciBar *bar = &dev->bars[n];

        if (bar->space) {
            mem_region_del(bar->space, bar->region);
            bar->space = NULL;
        }
    }
    mem_commit(topo, NULL);
}

/* Outside transactions: it waits for accesses in progress. */
static void bars_cleanup(PciDevice *dev)
{
    for (unsigned n = 0; n < PCI_REGION_COUNT; n++) {
        PciBar *bar = &dev->bars[n];

        if (bar->contents) {
            mem_region_del(bar->region, bar->contents);
            mem_region_retire(bar->contents);
            mem_region_unref(bar->contents);
        }
        if (bar->region) {
            mem_region_unref(bar->region);
        }
        *bar = (PciBar){0};
    }
}

/* Undoes what pci_device_start did before the model's own start. */
static void common_cleanup(PciDevice *dev)
{
    bars_unmap(dev);
    bars_cleanup(dev);
    dma_space_cleanup(dev);
    msix_cleanup(dev);
    if (dev->rom_host) {
        munmap(dev->rom_host, dev->rom_size);
        dev->rom_host = NULL;
    }
    g_clear_pointer(&dev->config, g_free);
    g_clear_pointer(&dev->config_started, g_free);
    g_clear_pointer(&dev->wmask, g_free);
    g_clear_pointer(&dev->w1cmask, g_free);
}

bool pci_device_start(Device *d, GError **error)
{
    PciDevice *dev = (PciDevice *)d;
    const PciModel *model = pci_model(dev);
    bool ok;

    config_init(dev);
    dma_space_init(dev);
    for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
        if (model->bars[n].kind != PCI_BAR_NONE) {
            bar_init(dev, n, &model->bars[n]);
        }
    }
    ok = rom_load(dev, error) && capabilities_init(dev, error) && (!model->start || model->start(dev, error));
    if (!ok) {
        common_cleanup(dev);
        return false;
    }
    dev->config_started = g_memdup2(dev->config, dev->config_size);
    return true;
}

void pci_device_reset(Device *d)
{
    PciDevice *dev = (PciDevice *)d;
    const PciModel *model = pci_model(dev);

    for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
        if (dev->bars[n].regs) {
            reg_reset(dev->bars[n].regs, dev);
        }
    }
    if (model->reset) {
        model->reset(dev);
    }
    pci_set_irq(dev, 0);
    pci_set16(dev->config + PCI_COMMAND, 0);
    pci_set16(dev->config + PCI_STATUS, pci_get16(dev->config + PCI_STATUS) & (uint16_t)~PCI_STATUS_W1C);
    dev->config[PCI_CACHE_LINE_SIZE] = dev->config[PCI_LATENCY_TIMER] = dev->config[PCI_INTERRUPT_LINE] = 0;
    for (unsigned n = 0; n < PCI_REGION_COUNT; n++) {
        const PciBar *bar = &dev->bars[n];
        uint16_t reg = (uint16_t)(n == PCI_ROM_SLOT ? PCI_ROM_ADDRESS : PCI_BASE_ADDRESS_0 + 4 * n);
        bool is64 = bar->kind == PCI_BAR_MEM64 || bar->kind == PCI_BAR_MEM64_PREFETCH;

        for (unsigned i = 0; bar->region && i < (is64 ? 8u : 4u); i++) {
            dev->config[reg + i] &= (uint8_t)~dev->wmask[reg + i];
        }
    }
    msi_reset(dev);
    msix_reset(dev);
    pci_update_mappings(dev);
    pci_update_intx(dev);
    if (!dev->announced) {
        pci_bus_announce(dev);
    }
    dev->announced = true;
}

void pci_device_stop(Device *d)
{
    PciDevice *dev = (PciDevice *)d;

    bars_unmap(dev); /* first, so that no callback runs into a half-stopped model */
    pci_set_irq(dev, 0);
    if (pci_model(dev)->stop) {
        pci_model(dev)->stop(dev);
    }
    common_cleanup(dev);
}

/* --- saved state --- */

/* As after a reset, when what came is not this function's: others rely on its shape. */
static void state_forget(PciDevice *dev)
{
    dev->config_len = dev->config_size;
    dev->msix_table_len = dev->msix_vectors * PCI_MSIX_ENTRY_SIZE;
    dev->msix_pba_len = (dev->msix_vectors + 63u) / 64 * 8;
    g_free(dev->config);
    g_free(dev->msix_table);
    g_free(dev->msix_pba);
    dev->config = g_memdup2(dev->config_started, dev->config_size);
    dev->msix_table = dev->msix_vectors ? g_malloc0(dev->msix_table_len) : NULL;
    dev->msix_pba = dev->msix_vectors ? g_malloc0(dev->msix_pba_len) : NULL;
    dev->intx_level = dev->intx_out;
}

/* Of the header: not command and status, nor what a function changes by itself.  Where its capabilities begin is for guests only. */
static bool says_shape(const PciDevice *dev, unsigned at)
{
    bool bridge = (dev->config_started[PCI_HEADER_TYPE] & ~PCI_HEADER_TYPE_MULTI) == PCI_HEADER_TYPE_BRIDGE;
    bool changes = (at >= PCI_COMMAND && at < PCI_STATUS + 2) || at == PCI_BIST || at == PCI_CAPABILITY_LIST ||
                   (bridge && at >= PCI_SEC_STATUS && at < PCI_SEC_STATUS + 2);

    return !changes;
}

static bool state_shape_ok(PciDevice *dev, GError **error)
{
    if (!dev->config[PCI_INTERRUPT_PIN]) {
        dev->config[PCI_INTERRUPT_PIN] = dev->config_started[PCI_INTERRUPT_PIN]; /* a port may have got one since */
    }
    for (unsigned at = 0; at < PCI_STD_HEADER_SIZEOF; at++) {
        uint8_t fixed = (uint8_t)~(dev->wmask[at] | dev->w1cmask[at]);

        if (says_shape(dev, at) && (dev->config[at] ^ dev->config_started[at]) & fixed) {
            error_set(error, "%s: saved function has another shape (config byte 0x%02x is 0x%02x, here 0x%02x)", dev->dev.obj.id, at,
                      dev->config[at], dev->config_started[at]);
            return false;
        }
    }
    if (dev->intx_level && !dev->config[PCI_INTERRUPT_PIN]) {
        error_set(error, "%s: saved function has its interrupt raised, and has none", dev->dev.obj.id);
        return false;
    }
    return true;
}

static bool pci_state_post_load(void *instance, uint32_t version, GError **error)
{
    PciDevice *dev = instance;

    if (dev->config_len != dev->config_size || dev->msix_table_len != dev->msix_vectors * PCI_MSIX_ENTRY_SIZE ||
        dev->msix_pba_len != (dev->msix_vectors + 63u) / 64 * 8) {
        error_set(error, "%s: saved function has another shape (config %u, MSI-X table %u bytes, here %u and %u)",
                  dev->dev.obj.id, dev->config_len, dev->msix_table_len, dev->config_size,
                  dev->msix_vectors * PCI_MSIX_ENTRY_SIZE);
        state_forget(dev);
        return false;
    }
    if (!state_shape_ok(dev, error)) {
        state_forget(dev);
        return false;
    }
    pci_update_mappings(dev);
    pci_update_intx(dev);
    return true;
}

static const StateField pci_state_fields[] = {
    {.name = "config", .kind = STATE_BUFFER, .offset = offsetof(PciDevice, config), .count = PCIE_CONFIG_SIZE,
     .len_offset = offsetof(PciDevice, config_len)},
    {.name = "msix_table", .kind = STATE_BUFFER, .offset = offsetof(PciDevice, msix_table),
     .count = 2048 * PCI_MSIX_ENTRY_SIZE, .len_offset = offsetof(PciDevice, msix_table_len)},
    {.name = "msix_pba", .kind = STATE_BUFFER, .offset = offsetof(PciDevice, msix_pba), .count = 256,
     .len_offset = offsetof(PciDevice, msix_pba_len)},
    STATE_FIELD_BOOL(PciDevice, intx_level),
    STATE_END,
};

const StateTable pci_device_state = {
    .name = "pci", .version = 1, .fields = pci_state_fields, .post_load = pci_state_post_load};
