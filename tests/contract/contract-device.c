/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device behind every back end of the contract test. */
#include "contract-device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGED_BAR 3
#define REGION_SHIFT 40 /* as in the kernel's device files */

static void put(uint8_t *at, uint32_t value, unsigned size)
{
    memcpy(at, &value, size);
}

/* How many vectors there are is not for the client to write. */
static void set_constant_bits(ContractDevice *d)
{
    d->config[0x42] = CONTRACT_VECTORS - 1;
    d->config[0x43] &= 0xc0;
    d->config[0x62] = (d->config[0x62] & (PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE)) | PCI_MSI_FLAGS_64BIT | 2 << 1;
    d->config[0x63] = 0;
}

void contract_device_init(ContractDevice *d)
{
    memset(d, 0, sizeof(*d));
    g_mutex_init(&d->lock);
    put(d->config + PCI_VENDOR_ID, 0x1234, 2);
    put(d->config + PCI_DEVICE_ID, 0x5678, 2);
    put(d->config + PCI_STATUS, PCI_STATUS_CAP_LIST, 2);
    put(d->config + PCI_CLASS_DEVICE, 0xff00, 2);
    put(d->config + PCI_BASE_ADDRESS_2, PCI_BASE_ADDRESS_SPACE_IO, 4);
    d->config[PCI_CAPABILITY_LIST] = 0x40;
    d->config[PCI_INTERRUPT_PIN] = 1;
    d->config[0x40] = PCI_CAP_ID_MSIX;
    d->config[0x41] = 0x60;
    d->config[0x60] = PCI_CAP_ID_MSI;
    set_constant_bits(d);
    put(d->config + 0x44, 4, 4);
    put(d->config + 0x48, 0x800 | 4, 4);
    memset(d->msix_fds, 0xff, sizeof(d->msix_fds));
    d->intx_fd = d->doorbell = d->paged_fd = -1;
    d->refused_map = UINT64_MAX;
}

void contract_add_paged_bar(ContractDevice *d)
{
    const off_t start = (off_t)PAGED_BAR << REGION_SHIFT;

    d->paged_fd = memfd_create("paged", MFD_CLOEXEC);
    g_assert(d->paged_fd >= 0 && !ftruncate(d->paged_fd, start + CONTRACT_PAGED_SIZE));
    d->paged = mmap(NULL, CONTRACT_PAGED_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, d->paged_fd, start);
    g_assert(d->paged != MAP_FAILED);
}

void contract_map_whole_bar(ContractDevice *d)
{
    contract_add_paged_bar(d);
    d->paged_whole = true;
    put(d->config + 0x44, PAGED_BAR, 4);
    put(d->config + 0x48, 0x800 | PAGED_BAR, 4);
}

static void drop_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
    *fd = -1;
}

void contract_device_cleanup(ContractDevice *d)
{
    for (unsigned i = 0; i < CONTRACT_VECTORS; i++) {
        drop_fd(&d->msix_fds[i]);
    }
    drop_fd(&d->intx_fd);
    drop_fd(&d->paged_fd);
    if (d->paged) {
        munmap(d->paged, CONTRACT_PAGED_SIZE);
    }
    g_mutex_clear(&d->lock);
}

static uint64_t region_size(const ContractDevice *d, unsigned index)
{
    const uint64_t sizes[] = {[0] = CONTRACT_BAR_SIZE,
                              [1] = d->fixed_bar ? CONTRACT_BAR_SIZE : 0,
                              [2] = CONTRACT_IO_SIZE,
                              [3] = d->paged ? CONTRACT_PAGED_SIZE : 0,
                              [4] = CONTRACT_BAR_SIZE,
                              [6] = d->rom ? CONTRACT_ROM_SIZE : 0,
                              [7] = 256};

    return index < G_N_ELEMENTS(sizes) ? sizes[index] : 0;
}

uint64_t contract_region_size(ContractDevice *d, unsigned index)
{
    ContractRegion region;

    contract_region(d, index, &region);
    return region.size;
}

void contract_region(ContractDevice *d, unsigned index, ContractRegion *r)
{
    bool fixed = index == 1 || index == VFIO_PCI_ROM_REGION_INDEX;

    *r = (ContractRegion){.flags = VFIO_REGION_INFO_FLAG_READ | (fixed ? 0 : VFIO_REGION_INFO_FLAG_WRITE),
                          .size = region_size(d, index),
                          .fd = -1,
                          .fd_offset = (uint64_t)index << REGION_SHIFT};
    if (index == PAGED_BAR && d->paged) {
        r->flags |= VFIO_REGION_INFO_FLAG_MMAP;
        r->fd = d->paged_fd;
        r->area_count = d->paged_whole ? 0 : 2;
        r->areas[0][1] = r->areas[1][1] = 4096;
        r->areas[1][0] = d->lie == CONTRACT_AREA_OUTSIDE ? CONTRACT_PAGED_SIZE : 8192;
    }
    if (d->lie == CONTRACT_SHORT_CONFIG && index == CONTRACT_CONFIG) {
        r->size = 16;
    } else if (d->lie == CONTRACT_HUGE_BAR && index == 0) {
        r->size = UINT64_C(1) << 62;
    } else if (d->lie == CONTRACT_HUGE_ROM && index == VFIO_PCI_ROM_REGION_INDEX) {
        r->size = UINT64_C(1) << 40;
    }
}

unsigned contract_irq_count(unsigned index)
{
    static const unsigned counts[] = {[VFIO_PCI_INTX_IRQ_INDEX] = 1,
                                      [VFIO_PCI_MSI_IRQ_INDEX] = CONTRACT_MSI_VECTORS,
                                      [VFIO_PCI_MSIX_IRQ_INDEX] = CONTRACT_VECTORS};

    return index < G_N_ELEMENTS(counts) ? counts[index] : 0;
}

static uint8_t *region(ContractDevice *d, unsigned index)
{
    uint8_t *regions[] = {d->bar0, d->fixed, d->bar2, d->paged, d->bar4, NULL, d->rom_image, d->config};

    return index < G_N_ELEMENTS(regions) ? regions[index] : NULL;
}

static bool inside(const ContractDevice *d, unsigned index, uint64_t offset, uint32_t size)
{
    return offset <= region_size(d, index) && size <= region_size(d, index) - offset;
}

ssize_t contract_read(ContractDevice *d, unsigned index, uint64_t offset, uint32_t size, void *data)
{
    if (!inside(d, index, offset, size)) {
        return -EINVAL;
    }
    size = index == VFIO_PCI_ROM_REGION_INDEX ? MIN(size, CONTRACT_ROM_PIECE) : size;
    g_mutex_lock(&d->lock);
    d->reads[index]++;
    memcpy(data, region(d, index) + offset, size);
    g_mutex_unlock(&d->lock);
    return size;
}

ssize_t contract_write(ContractDevice *d, unsigned index, uint64_t offset, uint32_t size, const void *data)
{
    ContractRegion r;

    if (!inside(d, index, offset, size)) {
        return -EINVAL;
    }
    contract_region(d, index, &r);
    g_mutex_lock(&d->lock);
    d->writes[index]++;
    if (!(r.flags & VFIO_REGION_INFO_FLAG_WRITE)) {
        g_mutex_unlock(&d->lock);
        return -EINVAL;
    }
    memcpy(region(d, index) + offset, data, size);
    if (index == CONTRACT_CONFIG) {
        set_constant_bits(d);
    }
    if (index == 0 && offset == 0x20 && d->order_count < sizeof(d->order)) {
        d->order[d->order_count++] = *(const uint8_t *)data;
    }
    g_mutex_unlock(&d->lock);
    return size;
}

static void signal_fd(int fd)
{
    uint64_t one = 1;

    if (fd >= 0) {
        g_assert(write(fd, &one, sizeof(one)) == sizeof(one));
    }
}

/* A level that is not masked signals, and is masked by that. */
static void deliver_intx(ContractDevice *d)
{
    if (d->intx_level && !d->intx_masked && d->intx_fd >= 0) {
        d->intx_masked = true;
        signal_fd(d->intx_fd);
    }
}

int contract_set_irqs(ContractDevice *d, uint32_t flags, unsigned index, unsigned start, unsigned count,
                      const int *fds)
{
    unsigned all = contract_irq_count(index);

    if (start > all || count > all - start || !all) {
        return -EINVAL;
    }
    g_mutex_lock(&d->lock);
    if (!count) {
        count = all;
    }
    d->most_fds = MAX(d->most_fds, fds ? count : 0);
    for (unsigned i = 1; fds && i < count; i++) {
        d->mixed_fds |= (fds[i] < 0) != (fds[0] < 0);
    }
    for (unsigned i = 0; (flags & VFIO_IRQ_SET_ACTION_TRIGGER) && i < count; i++) {
        int *slot = index == VFIO_PCI_INTX_IRQ_INDEX ? &d->intx_fd : &d->msix_fds[start + i];

        drop_fd(slot);
        *slot = fds && fds[i] >= 0 ? fcntl(fds[i], F_DUPFD_CLOEXEC, 0) : -1;
    }
    if (index == VFIO_PCI_INTX_IRQ_INDEX &&
        (flags & (VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_ACTION_TRIGGER))) {
        d->unmasks += !!(flags & VFIO_IRQ_SET_ACTION_UNMASK);
        d->intx_masked = false;
        deliver_intx(d);
    }
    g_mutex_unlock(&d->lock);
    return 0;
}

int contract_reset(ContractDevice *d)
{
    g_mutex_lock(&d->lock);
    d->resets++;
    memset(d->bar0, 0, sizeof(d->bar0));
    g_mutex_unlock(&d->lock);
    return 0;
}

int contract_map(ContractDevice *d, uint64_t address, uint64_t size, int access, void *host)
{
    int err = 0;

    g_mutex_lock(&d->lock);
    if (d->map_count == CONTRACT_MAX_MAPS || (d->refused_map >= address && d->refused_map - address < size) ||
        (d->refused_from && address >= d->refused_from)) {
        err = -ENOSPC;
    } else {
        d->access[d->map_count] = access;
        d->hosts[d->map_count] = host;
        d->maps[d->map_count][0] = address;
        d->maps[d->map_count++][1] = size;
    }
    g_mutex_unlock(&d->lock);
    return err;
}

int contract_map_access(ContractDevice *d, uint64_t address, uint64_t size)
{
    int access = -1;

    g_mutex_lock(&d->lock);
    for (unsigned i = 0; i < d->map_count; i++) {
        if (d->maps[i][0] == address && d->maps[i][1] == size) {
            access = d->access[i];
        }
    }
    g_mutex_unlock(&d->lock);
    return access;
}

int contract_unmap(ContractDevice *d, uint64_t address, uint64_t size)
{
    int err = -ENOENT;

    g_mutex_lock(&d->lock);
    for (unsigned i = 0; err && i < d->map_count; i++) {
        if (d->maps[i][0] == address && d->maps[i][1] == size) {
            memcpy(d->maps[i], d->maps[--d->map_count], sizeof(d->maps[i]));
            d->access[i] = d->access[d->map_count];
            d->hosts[i] = d->hosts[d->map_count];
            err = 0;
        }
    }
    g_mutex_unlock(&d->lock);
    return err;
}

int contract_log(ContractDevice *d, uint64_t page_size, uint64_t start, uint64_t end)
{
    int err = 0;

    g_mutex_lock(&d->lock);
    if (!page_size == !d->log_page) {
        err = -EINVAL; /* on twice, or off twice */
    } else {
        d->log_page = page_size;
        d->log_start = start;
        d->log_end = end;
        d->written_count = 0;
    }
    g_mutex_unlock(&d->lock);
    return err;
}

int contract_report(ContractDevice *d, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap)
{
    int err = 0;

    g_mutex_lock(&d->lock);
    err = d->log_page ? 0 : -EINVAL;
    for (unsigned i = 0; !err && i < d->written_count; i++) {
        if (d->written[i] >= iova && d->written[i] - iova < size) {
            uint64_t bit = (d->written[i] - iova) / page_size;

            bitmap[bit / 64] |= UINT64_C(1) << (bit % 64);
            d->written[i--] = d->written[--d->written_count];
        }
    }
    g_mutex_unlock(&d->lock);
    return err;
}

int contract_dma(ContractDevice *d, uint64_t iova, void *data, size_t size, bool write)
{
    int err = -EFAULT;

    g_mutex_lock(&d->lock);
    for (unsigned i = 0; err == -EFAULT && i < d->map_count; i++) {
        uint64_t at = iova - d->maps[i][0];

        if (iova < d->maps[i][0] || at >= d->maps[i][1] || size > d->maps[i][1] - at) {
            continue;
        }
        err = !(d->access[i] & (write ? PROT_WRITE : PROT_READ)) ? -EPERM : d->hosts[i] ? 0 : -ENODATA;
        if (!err) {
            memcpy(write ? (char *)d->hosts[i] + at : data, write ? data : (char *)d->hosts[i] + at, size);
        }
    }
    g_mutex_unlock(&d->lock);
    return err;
}

void contract_write_dma(ContractDevice *d, uint64_t iova)
{
    g_mutex_lock(&d->lock);
    if (d->log_page && iova >= d->log_start && iova < d->log_end &&
        d->written_count < G_N_ELEMENTS(d->written)) {
        d->written[d->written_count++] = iova;
    }
    g_mutex_unlock(&d->lock);
}

bool contract_raise(ContractDevice *d, unsigned vector)
{
    bool assigned;

    g_mutex_lock(&d->lock);
    assigned = d->msix_fds[vector] >= 0;
    signal_fd(d->msix_fds[vector]);
    g_mutex_unlock(&d->lock);
    return assigned;
}

void contract_set_intx(ContractDevice *d, bool level)
{
    g_mutex_lock(&d->lock);
    d->intx_level = level;
    deliver_intx(d);
    g_mutex_unlock(&d->lock);
}
