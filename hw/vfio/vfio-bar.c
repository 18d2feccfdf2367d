/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * BARs and the option ROM: a trapping region with no home (its callbacks may wait for the far side and hold
 * no lock), areas mapped over it, and the MSI-X tables of hw/pci above both (PCI 3.0, 6.2.5).
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

/* True: the value is where the far side looks for it, and it was told. */
static bool doorbell_shadow(const VfioBar *bar, HwAddr addr, unsigned size, uint64_t little)
{
    const uint64_t one = 1;

    for (unsigned i = 0; i < bar->doorbell_count; i++) {
        const VfioRegionIoFd *d = &bar->doorbells[i];

        if (d->type == VFIO_REGION_IO_SHADOW && d->offset == addr && (!d->size || d->size == size)) {
            /* By pwrite(): the file is the server's, which may have cut it short. */
            return pwrite(d->shadow_fd, &little, size, (off_t)d->shadow_offset) == (ssize_t)size &&
                   write(d->fd, &one, sizeof(one)) == sizeof(one);
        }
    }
    return false;
}

static MemResult bar_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    VfioBar *bar = opaque;
    uint64_t little = GUINT64_TO_LE(val);

    __atomic_store_n(&bar->dev->fresh, false, __ATOMIC_RELAXED);
    if (addr + size <= bar->size && !doorbell_shadow(bar, addr, size, little)) {
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

/* What lies behind the end of a file cannot be accessed, mapped or not. */
static bool area_in_file(const VfioRegionInfo *info, const VfioMmapArea *area)
{
    struct stat st;

    return fstat(info->fd, &st) == 0 &&
           (!S_ISREG(st.st_mode) || info->fd_offset + area->offset + area->size <= (uint64_t)st.st_size);
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
    if (!area_in_file(info, area)) {
        error_set(error,
                  "%s: mapping of BAR %u is larger than its file (%" G_GINT64_MODIFIER
                  "u bytes at %" G_GINT64_MODIFIER "u)",
                  dev->vdev.name, bar->index, area->size, info->fd_offset + area->offset);
        return false;
    }
    host = mmap(NULL, area->size, prot, MAP_SHARED, info->fd, (off_t)(info->fd_offset + area->offset));
    if (host == MAP_FAILED) {
        error_set_errno(error, errno, "%s: cannot map %" G_GINT64_MODIFIER "u bytes of BAR %u",
                        dev->vdev.name, area->size, bar->index);
        return false;
    }
    if (!vfio_guard_add(host, area->size, &dev->vdev.broken)) {
        munmap(host, area->size);
        return true; /* very many areas: the rest trap */
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

/* --- doorbells --- */

static void doorbells_enable(VfioBar *bar, bool on)
{
    for (unsigned i = 0; i < bar->doorbell_count; i++) {
        const VfioRegionIoFd *d = &bar->doorbells[i];

        if (d->type == VFIO_REGION_IO_EVENTFD) {
            (on ? mem_region_add_ioeventfd
                : mem_region_del_ioeventfd)(bar->trap, d->offset, (unsigned)d->size,
                                            d->flags & VFIO_REGION_IO_MATCH, d->datamatch, d->fd);
        }
    }
}

static bool doorbell_ok(const VfioBar *bar, const VfioRegionIoFd *d)
{
    bool size_ok = d->size <= 8 && !(d->size & (d->size - 1));

    return size_ok && d->fd >= 0 && d->offset < bar->size &&
           (d->size ? d->size : 1) <= bar->size - d->offset &&
           (d->type == VFIO_REGION_IO_EVENTFD ||
            (d->type == VFIO_REGION_IO_SHADOW && d->shadow_fd >= 0 && d->shadow_offset <= INT64_MAX - 8));
}

/* Spans whose writes are signals to the far side; what is not usable stays a message. */
static void doorbells_start(VfioBar *bar)
{
    VfioPciDevice *dev = bar->dev;
    VfioDevice *vdev = &dev->vdev;
    VfioRegionIoFd *found = NULL;
    unsigned count = 0;

    if (dev->no_ioeventfd || !vdev->ops->region_io_fds ||
        vdev->ops->region_io_fds(vdev, bar->index, &found, &count)) {
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        if (doorbell_ok(bar, &found[i])) {
            found[bar->doorbell_count++] = found[i];
        } else {
            TRACE(&vfio_trace[VFIO_TRACE_ERROR],
                  "%s: doorbell of BAR %u at 0x%" G_GINT64_MODIFIER "x is not usable", vdev->name, bar->index,
                  found[i].offset);
        }
    }
    bar->doorbells = found;
    doorbells_enable(bar, true);
}

void vfio_bars_enable_maps(VfioPciDevice *dev, bool on)
{
    MemTopology *topo = dev->pci.dev.obj.machine->topo;

    if (dev->maps_enabled == on) {
        return;
    }
    __atomic_store_n(&dev->maps_enabled, on, __ATOMIC_RELAXED);
    mem_begin(topo);
    for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
        doorbells_enable(&dev->bars[n], on);
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

/* --- x-msix-relocation --- */

const char *const vfio_msix_relocation_names[] = {"off",  "auto", "bar0", "bar1", "bar2",
                                                  "bar3", "bar4", "bar5", NULL};

/* The size of BAR n with the MSI-X table behind its `size` bytes, if it goes there. */
static uint64_t msix_room(VfioPciDevice *dev, unsigned n, uint64_t size)
{
    uint64_t need = (uint64_t)vfio_config_msix_vectors(dev) * 16, total = MAX(size, 4096);

    if (dev->msix_bar != (int)n) {
        return size;
    }
    need += (need / 16 + 63) / 64 * 8;
    while (total < size + need || total - need < size) {
        total *= 2;
    }
    /* The upper half is the table's: nothing of the device shares a page with it. */
    total = size ? MAX(total, 2 * MAX(size, 4096)) : total;
    dev->msix_offset = size ? (uint32_t)(total / 2) : 0;
    while (total - dev->msix_offset < need) {
        total *= 2;
    }
    return total;
}

/* Which BAR that is; sizes[] of the device's own. */
static bool msix_choose(VfioPciDevice *dev, const uint64_t *sizes, GError **error)
{
    const uint8_t *config = dev->pci.config;
    int chosen = dev->msix_relocation - VFIO_MSIX_BAR0;

    dev->msix_bar = -1;
    if (dev->msix_relocation == VFIO_MSIX_STAYS || !vfio_config_msix_vectors(dev)) {
        return true;
    }
    for (int n = 0, step; n < PCI_BAR_COUNT; n += step) {
        PciBarKind kind = bar_kind(pci_get32(config + PCI_BASE_ADDRESS_0 + 4 * n));
        bool usable = !sizes[n] || (kind != PCI_BAR_IO && sizes[n] <= UINT32_MAX / 4);

        step = sizes[n] && kind_is_64bit(kind) ? 2 : 1;
        if (usable && (chosen == n || (dev->msix_relocation == VFIO_MSIX_AUTO && !sizes[n]))) {
            dev->msix_bar = n;
            return true;
        }
    }
    error_set(error, "%s: x-msix-relocation=%s: no such BAR is free or may grow; name another or use off",
              dev->vdev.name, vfio_msix_relocation_names[dev->msix_relocation]);
    return false;
}

/* A BAR the device does not have. */
static void msix_bar_new(VfioPciDevice *dev, unsigned n)
{
    g_autofree char *name = g_strdup_printf("%s MSI-X", dev->pci.dev.obj.id);
    MemRegion *container =
        mem_region_new_container(dev->pci.dev.obj.machine->topo, name, msix_room(dev, n, 0));

    pci_register_bar(&dev->pci, n, PCI_BAR_MEM32, container);
    mem_region_unref(container);
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
    container = mem_region_new_container(topo, name, msix_room(dev, n, bar_size(info->size, bar->kind)));
    bar->trap = mem_region_new_io(topo, name, mem_region_size(container), &bar_ops, bar, NULL);
    mem_region_add(container, 0, bar->trap);
    ok = bar_map(bar, container, info, error);
    doorbells_start(bar);
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

static bool get_infos(VfioPciDevice *dev, VfioRegionInfo *infos, uint64_t *sizes, GError **error)
{
    for (unsigned n = 0; n <= VFIO_PCI_ROM_REGION_INDEX; n++) {
        int err;

        infos[n].fd = -1;
        err = dev->vdev.ops->get_region_info(&dev->vdev, n, &infos[n]);
        if (err) {
            error_set_errno(error, -err, "%s: cannot get the info of region %u", dev->vdev.name, n);
            return false;
        }
        sizes[n] = infos[n].size;
    }
    return true;
}

static bool bars_start(VfioPciDevice *dev, const VfioRegionInfo *infos, GError **error)
{
    bool ok = true;

    for (unsigned n = 0; ok && n < PCI_BAR_COUNT; n++) {
        if (infos[n].size) {
            ok = bar_start(dev, n, &infos[n], error);
            n += ok && kind_is_64bit(dev->bars[n].kind);
        } else if (dev->msix_bar == (int)n) {
            msix_bar_new(dev, n);
        } else {
            pci_set32(dev->pci.config + PCI_BASE_ADDRESS_0 + 4 * n, 0);
        }
    }
    return ok && rom_start(dev, &infos[VFIO_PCI_ROM_REGION_INDEX], error);
}

bool vfio_bars_start(VfioPciDevice *dev, GError **error)
{
    VfioRegionInfo infos[VFIO_PCI_ROM_REGION_INDEX + 1] = {0};
    uint64_t sizes[VFIO_PCI_ROM_REGION_INDEX + 1];
    bool ok;

    dev->maps_enabled = true;
    ok = get_infos(dev, infos, sizes, error) && msix_choose(dev, sizes, error) &&
         bars_start(dev, infos, error);
    for (unsigned n = 0; n < G_N_ELEMENTS(infos); n++) {
        g_free(infos[n].areas);
    }
    return ok;
}

static void bar_stop(VfioPciDevice *dev, VfioBar *bar)
{
    PciBar *pci_bar = &dev->pci.bars[bar->index];

    if (!bar->trap) {
        return;
    }
    if (dev->maps_enabled) {
        doorbells_enable(bar, false);
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
        vfio_guard_remove(map->host);
        munmap(map->host, map->size);
    }
    g_free(bar->maps);
    g_free(bar->doorbells);
    *bar = (VfioBar){0};
}

void vfio_bars_stop(VfioPciDevice *dev)
{
    for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
        bar_stop(dev, &dev->bars[n]);
    }
}
