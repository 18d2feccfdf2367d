/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device behind every back end of the contract test. */
#include "contract-device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <string.h>
#include <unistd.h>

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
    d->intx_fd = d->doorbell = -1;
    d->refused_map = UINT64_MAX;
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
    g_mutex_clear(&d->lock);
}

uint64_t contract_region_size(unsigned index)
{
    static const uint64_t sizes[] = {
        [0] = CONTRACT_BAR_SIZE, [2] = CONTRACT_IO_SIZE, [4] = CONTRACT_BAR_SIZE, [7] = 256};

    return index < G_N_ELEMENTS(sizes) ? sizes[index] : 0;
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
    uint8_t *regions[] = {d->bar0, NULL, d->bar2, NULL, d->bar4, NULL, NULL, d->config};

    return index < G_N_ELEMENTS(regions) ? regions[index] : NULL;
}

static bool inside(unsigned index, uint64_t offset, uint32_t size)
{
    return offset <= contract_region_size(index) && size <= contract_region_size(index) - offset;
}

ssize_t contract_read(ContractDevice *d, unsigned index, uint64_t offset, uint32_t size, void *data)
{
    if (!inside(index, offset, size)) {
        return -EINVAL;
    }
    g_mutex_lock(&d->lock);
    memcpy(data, region(d, index) + offset, size);
    g_mutex_unlock(&d->lock);
    return size;
}

ssize_t contract_write(ContractDevice *d, unsigned index, uint64_t offset, uint32_t size, const void *data)
{
    if (!inside(index, offset, size)) {
        return -EINVAL;
    }
    g_mutex_lock(&d->lock);
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

int contract_map(ContractDevice *d, uint64_t address, uint64_t size, int access)
{
    int err = 0;

    g_mutex_lock(&d->lock);
    if (d->map_count == CONTRACT_MAX_MAPS || (d->refused_map >= address && d->refused_map - address < size)) {
        err = -ENOSPC;
    } else {
        d->access[d->map_count] = access;
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
