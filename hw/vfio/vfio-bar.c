/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BARs and the option ROM: a trapping region with no home (its callbacks may wait for the far side and hold
 * no lock), areas mapped over it, and the MSI-X tables of hw/pci above both (PCI 3.0, 6.2.5).
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hw/vfio/vfio-internal.h"

#define VFIO_BAR_MAX_SIZE (UINT64_C(1) << 44)
#define VFIO_ROM_MAX_SIZE (UINT64_C(16) << 20)

struct VfioMapping {
    MemRegion *region;
    void *host;
    uint64_t size;
};

static MemResult bar_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    VfioBar *bar = opaque;
    uint64_t little = 0;

    if (addr + size > bar->size || !vfio_region_read(&bar->dev->vdev, bar->index, addr, size, &little)) {
        little = UINT64_MAX;
    }
    *val = GUINT64_FROM_LE(little);
    __atomic_store_n(&bar->dev->fresh, false, __ATOMIC_RELAXED);
    vfio_irq_intx_eoi(bar->dev);
    return MEM_OK;
}

static MemResult bar_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    VfioBar *bar = opaque;
    uint64_t little = GUINT64_TO_LE(val);

    __atomic_store_n(&bar->dev->fresh, false, __ATOMIC_RELAXED);
    if (addr + size <= bar->size) {
        vfio_region_write(&bar->dev->vdev, bar->index, addr, size, &little, bar->kind != PCI_BAR_IO);
    }
    vfio_irq_intx_eoi(bar->dev);
    return MEM_OK;
}

static const MemOps bar_ops = {bar_read, bar_write, .min_size = 1, .max_size = 8, .unaligned = true};

static PciBarKind bar_kind(uint32_t reg)
{
    bool is64 = (reg & 6) == PCI_BASE_ADDRESS_MEM64, prefetch = reg & PCI_BASE_ADDRESS_PREFETCH;

    if (reg & PCI_BASE_ADDRESS_IO) {
        return PCI_BAR_IO;
    }
    return is64 ? (prefetch ? PCI_BAR_MEM64_PREFETCH : PCI_BAR_MEM64)
                : (prefetch ? PCI_BAR_MEM32_PREFETCH : PCI_BAR_MEM32);
}

static bool kind_is_64bit(PciBarKind kind)
{
    return kind == PCI_BAR_MEM64 || kind == PCI_BAR_MEM64_PREFETCH;
}

/* --- mapped areas --- */

static bool area_ok(const VfioRegionInfo *info, const VfioMmapArea *area)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE) - 1;

    return area->size && area->size <= info->size && area->offset <= info->size - area->size &&
           !((area->offset | area->size | (info->fd_offset + area->offset)) & page);
}

static bool bar_map_area(VfioBar *bar, MemRegion *container, const VfioRegionInfo *info,
                         const VfioMmapArea *area, GError **error)
{
    VfioPciDevice *dev = bar->dev;
    int prot = (info->flags & VFIO_REGION_INFO_FLAG_READ ? PROT_READ : 0) |
               (info->flags & VFIO_REGION_INFO_FLAG_WRITE ? PROT_WRITE : 0);
    struct VfioMapping *map = &bar->maps[bar->map_count];
    void *host;

    if (!area_ok(info, area)) {
        return true; /* not on page borders: accesses trap */
    }
    host = mmap(NULL, area->size, prot, MAP_SHARED, info->fd, (off_t)(info->fd_offset + area->offset));
    if (host == MAP_FAILED) {
        error_set_errno(error, errno, "%s: cannot map %" G_GINT64_MODIFIER "u bytes of BAR %u",
                        dev->vdev.name, area->size, bar->index);
        return false;
    }
    *map = (struct VfioMapping){.host = host, .size = area->size};
    map->region = mem_region_new_ram(dev->pci.dev.obj.machine->topo, "vfio mapped BAR", area->size, host, -1,
                                     0, !(prot & PROT_WRITE));
    mem_region_set_device_memory(map->region);
    mem_region_add(container, area->offset, map->region);
    bar->map_count++;
    return true;
}

static bool bar_map(VfioBar *bar, MemRegion *container, const VfioRegionInfo *info, GError **error)
{
    const VfioMmapArea whole = {0, info->size & ~((uint64_t)sysconf(_SC_PAGESIZE) - 1)};
    const VfioMmapArea *areas = info->areas ? info->areas : &whole;
    unsigned count = info->areas ? info->area_count : 1;

    if (bar->dev->no_mmap || info->fd < 0 || !(info->flags & VFIO_REGION_INFO_FLAG_MMAP) ||
        bar->kind == PCI_BAR_IO || !(info->flags & VFIO_REGION_INFO_FLAG_READ)) {
        return true;
    }
    bar->maps = g_new0(struct VfioMapping, count);
    for (unsigned i = 0; i < count; i++) {
        if (!bar_map_area(bar, container, info, &areas[i], error)) {
            return false;
        }
    }
    return true;
}

void vfio_bars_enable_maps(VfioPciDevice *dev, bool on)
{
    MemTopology *topo = dev->pci.dev.obj.machine->topo;

    if (dev->maps_enabled == on) {
        return;
    }
    dev->maps_enabled = on;
    mem_begin(topo);
    for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
        for (unsigned i = 0; i < dev->bars[n].map_count; i++) {
            mem_region_set_enabled(dev->bars[n].maps[i].region, on);
        }
    }
    mem_commit(topo, NULL);
}

/* --- start and stop --- */

static uint64_t bar_size(uint64_t size, PciBarKind kind)
{
    uint64_t rounded = kind == PCI_BAR_IO ? 4 : 16;

    while (rounded < size) {
        rounded *= 2;
    }
    return rounded;
}

static bool bar_start(VfioPciDevice *dev, unsigned n, const VfioRegionInfo *info, GError **error)
{
    MemTopology *topo = dev->pci.dev.obj.machine->topo;
    VfioBar *bar = &dev->bars[n];
    g_autofree char *name = g_strdup_printf("%s BAR %u", dev->pci.dev.obj.id, n);
    MemRegion *container;
    bool ok;

    *bar = (VfioBar){.dev = dev, .index = n, .size = info->size};
    bar->kind = bar_kind(pci_get32(dev->pci.config + PCI_BASE_ADDRESS_0 + 4 * n));
    if (info->size > VFIO_BAR_MAX_SIZE || (bar->kind == PCI_BAR_IO && info->size > 0x10000) ||
        (!kind_is_64bit(bar->kind) && info->size > UINT32_MAX / 2 + 1u) ||
        (kind_is_64bit(bar->kind) && n == 5)) {
        error_set(error, "%s: BAR %u has an impossible size or type (%" G_GINT64_MODIFIER "u bytes)",
                  dev->vdev.name, n, info->size);
        return false;
    }
    container = mem_region_new_container(topo, name, bar_size(info->size, bar->kind));
    bar->trap = mem_region_new_io(topo, name, mem_region_size(container), &bar_ops, bar, NULL);
    mem_region_add(container, 0, bar->trap);
    ok = bar_map(bar, container, info, error);
    pci_register_bar(&dev->pci, n, bar->kind, container);
    mem_region_unref(container);
    return ok;
}

/* The image is fetched once: it does not change, and the guest may run code from it. */
static bool rom_start(VfioPciDevice *dev, const VfioRegionInfo *info, GError **error)
{
    PciDevice *pci = &dev->pci;
    uint64_t size = 2048;
    MemRegion *region;
    void *host;

    if (!info->size || !pci->rombar || pci->bars[PCI_ROM_SLOT].region || (pci->romfile && !*pci->romfile)) {
        return true;
    }
    while (size < info->size && size <= VFIO_ROM_MAX_SIZE) {
        size *= 2;
    }
    if (size > VFIO_ROM_MAX_SIZE) {
        error_set(error,
                  "%s: option ROM is too large (%" G_GINT64_MODIFIER
                  "u bytes, allowed 0..16777216); rombar=off hides it",
                  dev->vdev.name, info->size);
        return false;
    }
    host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (host == MAP_FAILED) {
        error_set_errno(error, errno, "%s: cannot allocate the option ROM", dev->vdev.name);
        return false;
    }
    memset(host, 0xff, size);
    pci->rom_host = host;
    pci->rom_size = size;
    for (uint64_t done = 0; done < info->size;) {
        ssize_t got =
            dev->vdev.ops->region_read(&dev->vdev, VFIO_PCI_ROM_REGION_INDEX, done,
                                       (uint32_t)MIN(info->size - done, 65536), (char *)host + done);

        if (got <= 0) {
            error_set_errno(error, got ? (int)-got : EIO,
                            "%s: cannot read the option ROM; rombar=off hides it", dev->vdev.name);
            return false;
        }
        done += (uint64_t)got;
    }
    region = mem_region_new_rom(pci->dev.obj.machine->topo, "option rom", size, host, NULL, NULL);
    pci_register_bar(pci, PCI_ROM_SLOT, PCI_BAR_MEM32, region);
    mem_region_unref(region);
    return true;
}

bool vfio_bars_start(VfioPciDevice *dev, GError **error)
{
    bool ok = true;

    dev->maps_enabled = true;
    for (unsigned n = 0; ok && n <= VFIO_PCI_ROM_REGION_INDEX; n++) {
        VfioRegionInfo info = {.fd = -1};
        int err = dev->vdev.ops->get_region_info(&dev->vdev, n, &info);

        if (err) {
            error_set_errno(error, -err, "%s: cannot get the info of region %u", dev->vdev.name, n);
            return false;
        }
        if (n == VFIO_PCI_ROM_REGION_INDEX) {
            ok = rom_start(dev, &info, error);
        } else if (info.size) {
            ok = bar_start(dev, n, &info, error);
            n += ok && kind_is_64bit(dev->bars[n].kind);
        } else {
            pci_set32(dev->pci.config + PCI_BASE_ADDRESS_0 + 4 * n, 0);
        }
        g_free(info.areas);
    }
    return ok;
}

static void bar_stop(VfioPciDevice *dev, VfioBar *bar)
{
    PciBar *pci_bar = &dev->pci.bars[bar->index];

    if (!bar->trap) {
        return;
    }
    if (pci_bar->region) {
        mem_region_del(pci_bar->region, bar->trap);
    }
    mem_region_retire(bar->trap);
    mem_region_unref(bar->trap);
    for (unsigned i = 0; i < bar->map_count; i++) {
        struct VfioMapping *map = &bar->maps[i];

        mem_region_del(pci_bar->region, map->region);
        mem_region_retire(map->region);
        mem_region_unref(map->region);
        munmap(map->host, map->size);
    }
    g_free(bar->maps);
    *bar = (VfioBar){0};
}

void vfio_bars_stop(VfioPciDevice *dev)
{
    for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
        bar_stop(dev, &dev->bars[n]);
    }
}
