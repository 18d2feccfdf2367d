/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of hw/vfio share. */
#ifndef HW_VFIO_VFIO_INTERNAL_H
#define HW_VFIO_VFIO_INTERNAL_H

#include "core/memory-iommu.h"
#include "core/trace.h"
#include "hw/vfio/vfio-pci-device.h"

extern TraceEvent vfio_trace[];
enum {
    VFIO_TRACE_MAP,
    VFIO_TRACE_UNMAP,
    VFIO_TRACE_IRQ_MODE,
    VFIO_TRACE_VECTOR,
    VFIO_TRACE_RESET,
    VFIO_TRACE_ERROR
};

static inline bool vfio_broken(const VfioDevice *vdev)
{
    return __atomic_load_n(&vdev->broken, __ATOMIC_RELAXED);
}

/* All `size` bytes, or false. */
bool vfio_region_read(VfioDevice *vdev, unsigned index, uint64_t offset, uint32_t size, void *data);
bool vfio_region_write(VfioDevice *vdev, unsigned index, uint64_t offset, uint32_t size, const void *data,
                       bool posted);

/* hw/vfio/vfio-config.c */
bool vfio_config_start(VfioPciDevice *dev, GError **error);
void vfio_config_stop(VfioPciDevice *dev);
/* The guest sees our bytes there, not the device's. */
void vfio_config_emulate(VfioPciDevice *dev, unsigned offset, unsigned len);

/* hw/vfio/vfio-caps.c */
/* Capabilities, once the BARs are there. */
bool vfio_config_capabilities(VfioPciDevice *dev, GError **error);
/* Vectors the device's own MSI-X capability has; 0: none. */
unsigned vfio_config_msix_vectors(const VfioPciDevice *dev);
/* Whether this write asks for a function level reset by the capability of conventional PCI; *flr is its bit
 * in val. */
bool vfio_config_is_flr(const VfioPciDevice *dev, uint16_t offset, uint32_t val, unsigned size,
                        uint32_t *flr);

/* hw/vfio/vfio-bar.c; main loop */
bool vfio_bars_start(VfioPciDevice *dev, GError **error);
void vfio_bars_stop(VfioPciDevice *dev);
/* Mapped areas of BARs are used, or everything traps. */
void vfio_bars_enable_maps(VfioPciDevice *dev, bool on);

/* hw/vfio/vfio-container.c; main loop's lock.  Maps and unmaps between begin and commit; the batch's first error. */
void vfio_container_begin(VfioContainer *c);
int vfio_container_commit(VfioContainer *c);
void vfio_container_error(VfioContainer *c, int err);
int vfio_container_map(VfioContainer *c, const VfioDmaMap *map);
/* Of what was mapped. */
void vfio_container_unmap(VfioContainer *c, const VfioDmaMap *map);
/* The pages of the map count as written, unless the device can't. */
void vfio_container_mark(VfioContainer *c, const VfioDmaMap *map);
/* hw/vfio/vfio-iommu.c: that, for everything the guest's IOMMUs map at present. */
void vfio_iommu_mark_all(VfioContainer *c);

/* hw/vfio/vfio-iommu.c; inside a batch */
/* A translated part of the address space came, or goes with all its maps. */
void vfio_iommu_add(VfioContainer *c, const MemSection *section);
void vfio_iommu_del(VfioContainer *c, const MemSection *section);

/* hw/vfio/vfio-quirks.c; main loop */
/* Those of the tables that fit the device; BARs, interrupts and capabilities are there.  On false vfio_quirks_stop() follows. */
bool vfio_quirks_start(VfioPciDevice *dev, GError **error);
void vfio_quirks_stop(VfioPciDevice *dev);

/* hw/vfio/vfio-sigbus.c; any thread */
/* An access to [host, host + size) that the file behind it does not cover reads zeros and sets *lost.  False: no room. */
bool vfio_guard_add(void *host, uint64_t size, bool *lost);
void vfio_guard_remove(void *host);

/* hw/vfio/vfio-irq.c; home loop, except as noted */
bool vfio_irq_start(VfioPciDevice *dev, GError **error);
void vfio_irq_stop(VfioPciDevice *dev);
/* The interrupts a function has before its driver chose: INTx. */
bool vfio_irq_first(VfioPciDevice *dev, GError **error);
/* Follows the guest's MSI and MSI-X enable bits. */
void vfio_irq_update(VfioPciDevice *dev);
void vfio_irq_reset_begin(VfioPciDevice *dev);
void vfio_irq_reset_end(VfioPciDevice *dev);
/* VFIO_DEVICE_SET_IRQS; fds may be NULL.  0 or -errno. */
int vfio_irq_set(VfioPciDevice *dev, uint32_t flags, unsigned index, unsigned start, unsigned count, const int32_t *fds);
/* The far side signalled a vector (opaque) that is watched. */
void vfio_irq_signalled(void *opaque);

/* hw/vfio/vfio-irqfd.c; home loop */
/* Who hears of the eventfds of these vectors: the accelerator, or a watch.  Again when a mask or message changes. */
void vfio_irqfd_listen(VfioPciDevice *dev, unsigned start, unsigned count);
/* Nobody any more. */
void vfio_irqfd_release(VfioPciDevice *dev);
void vfio_irqfd_routes_changed(PciDevice *pci);

/* What the far side has signalled by now is delivered. */
void vfio_irq_drain(VfioPciDevice *dev);

/* A device that arrived while its guest stood, and stands too, begins to work. */
void vfio_migration_go_on(VfioPciDevice *dev);
/* Before the device is saved: vectors that the guest has masked meanwhile may become pending there as here. */
void vfio_irq_note_used(VfioPciDevice *dev);
/* The state of another process's device was loaded: the far side is told of the vectors in use. */
bool vfio_irq_restore(VfioPciDevice *dev, GError **error);
/* A register of the device was accessed, which is how an INTx ends.  Any thread, no lock held. */
void vfio_irq_intx_eoi(VfioPciDevice *dev);

#endif
