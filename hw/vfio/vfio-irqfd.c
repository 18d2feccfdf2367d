/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts that the accelerator takes from the far side's eventfds itself (core/irqfd.h), so that this program has no
 * part in them: messages, and INTx with an eventfd by which the end of an interrupt goes back.  A vector that is masked,
 * or whose message goes another way than to a local APIC, is watched here as without an accelerator.
 */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/irqfd.h"
#include "hw/vfio/vfio-internal.h"

static const IrqfdOps *irqfd_ops(const VfioPciDevice *dev)
{
    return dev->pci.dev.obj.machine->irqfd;
}

static Accel *irqfd_accel(const VfioPciDevice *dev)
{
    return dev->pci.dev.obj.machine->accel;
}

/* --- messages --- */

/* The message to deliver directly; false: not now. */
static bool vector_message(VfioPciDevice *dev, unsigned v, MsiMessage *msg)
{
    const PciBusOps *bus = dev->pci.bus->ops;
    bool msix = dev->interrupt_mode == VFIO_PCI_MSIX_IRQ_INDEX;

    if (!irqfd_ops(dev) || (msix ? dev->no_kvm_msix : dev->no_kvm_msi) || !bus->msi_is_direct || dev->vectors[v].fd < 0 ||
        (msix ? !msix_enabled(&dev->pci) || msix_masked(&dev->pci, v) : msi_masked(&dev->pci, v))) {
        return false;
    }
    *msg = msix ? msix_get_message(&dev->pci, v) : msi_get_message(&dev->pci, v);
    return bus->msi_is_direct(dev->pci.bus, &dev->pci, *msg);
}

/* True: routes have to be committed. */
static bool vector_route(VfioPciDevice *dev, VfioIrqVector *vector, MsiMessage msg)
{
    if (vector->route < 0) {
        vector->route = irqfd_ops(dev)->message_new(irqfd_accel(dev), msg.address, msg.data);
    } else if (vector->msg.address != msg.address || vector->msg.data != msg.data) {
        irqfd_ops(dev)->message_set(irqfd_accel(dev), vector->route, msg.address, msg.data);
    } else {
        return false;
    }
    vector->msg = msg;
    return vector->route >= 0;
}

static void vector_watch(VfioIrqVector *vector, bool on)
{
    if (on && !vector->watch) {
        vector->watch = loop_add_urgent_fd(vector->dev->pci.dev.home, vector->fd, vfio_irq_signalled, vector);
    } else if (!on && vector->watch) {
        loop_remove_fd(g_steal_pointer(&vector->watch));
    }
}

static void vector_attach(VfioPciDevice *dev, VfioIrqVector *vector, bool on)
{
    if (on == vector->attached) {
        return;
    }
    if (on) {
        vector_watch(vector, false);
        vector->attached = !irqfd_ops(dev)->attach(irqfd_accel(dev), vector->route, vector->fd, -1);
        TRACE(&vfio_trace[VFIO_TRACE_VECTOR], "%s: MSI vector %u %s", dev->vdev.name, vector->index,
              vector->attached ? "interrupts directly" : "is refused by the accelerator");
    } else {
        irqfd_ops(dev)->detach(irqfd_accel(dev), vector->route, vector->fd);
        vector->attached = false;
    }
}

static void messages_listen(VfioPciDevice *dev, unsigned start, unsigned count)
{
    bool changed = false, failed = false;

    for (unsigned v = start; v < start + count; v++) {
        MsiMessage msg;

        dev->vectors[v].direct = vector_message(dev, v, &msg);
        changed |= dev->vectors[v].direct && vector_route(dev, &dev->vectors[v], msg);
    }
    if (changed) {
        failed = irqfd_ops(dev)->commit(irqfd_accel(dev)) < 0;
    }
    for (unsigned v = start; v < start + count; v++) {
        VfioIrqVector *vector = &dev->vectors[v];

        if (vector->fd >= 0) {
            vector_attach(dev, vector, vector->direct && vector->route >= 0 && !failed);
            vector_watch(vector, !vector->attached);
        }
    }
}

/* --- INTx --- */

static void intx_unmask(VfioPciDevice *dev)
{
    vfio_irq_set(dev, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, NULL);
}

/* The guest has completed the interrupt, and the far side does not listen to the eventfd itself. */
static void intx_resampled(void *opaque)
{
    VfioPciDevice *dev = opaque;
    uint64_t count;

    if (read(dev->intx_resample, &count, sizeof(count)) == sizeof(count)) {
        intx_unmask(dev);
    }
}

static bool intx_attach(VfioPciDevice *dev, VfioIrqVector *vector, int route)
{
    dev->intx_resample = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (dev->intx_resample < 0) {
        return false;
    }
    vector_watch(vector, false);
    if (irqfd_ops(dev)->attach(irqfd_accel(dev), route, vector->fd, dev->intx_resample)) {
        close(dev->intx_resample);
        dev->intx_resample = -1;
        return false;
    }
    TRACE(&vfio_trace[VFIO_TRACE_VECTOR], "%s: INTx vector 0 interrupts directly by route %d", dev->vdev.name, route);
    vector->route = route;
    vector->attached = true;
    if (vfio_irq_set(dev, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, VFIO_PCI_INTX_IRQ_INDEX, 0, 1,
                     &dev->intx_resample)) {
        dev->intx_resample_watch = loop_add_urgent_fd(dev->pci.dev.home, dev->intx_resample, intx_resampled, dev);
    }
    return true;
}

static void intx_detach(VfioPciDevice *dev, VfioIrqVector *vector)
{
    const int32_t none = -1;

    if (dev->intx_resample_watch) {
        loop_remove_fd(g_steal_pointer(&dev->intx_resample_watch));
    } else {
        vfio_irq_set(dev, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, &none);
    }
    irqfd_ops(dev)->detach(irqfd_accel(dev), vector->route, vector->fd);
    close(dev->intx_resample);
    dev->intx_resample = -1;
    vector->attached = false;
    vector->route = -1;
}

static void intx_listen(VfioPciDevice *dev)
{
    VfioIrqVector *vector = &dev->vectors[0];
    int route = irqfd_ops(dev) && !dev->no_kvm_intx ? pci_intx_route(&dev->pci) : -1;
    bool was_attached = vector->attached;

    if (vector->fd < 0 || (vector->attached && vector->route == route)) {
        return;
    }
    if (vector->attached) {
        intx_detach(dev, vector);
    }
    if (route >= 0 && intx_attach(dev, vector, route)) {
        /* One that was delivered the other way; and accesses need not be noticed any more. */
        vfio_irq_intx_eoi(dev);
        vfio_bars_enable_maps(dev, true);
    } else {
        vector_watch(vector, true);
    }
    if (was_attached) {
        intx_unmask(dev); /* one the guest had not completed */
    }
}

/* --- both --- */

void vfio_irqfd_listen(VfioPciDevice *dev, unsigned start, unsigned count)
{
    if (dev->interrupt_mode != VFIO_PCI_INTX_IRQ_INDEX) {
        messages_listen(dev, start, count);
    } else if (count) {
        intx_listen(dev);
    }
}

void vfio_irqfd_release(VfioPciDevice *dev)
{
    bool changed = false;

    for (unsigned v = 0; v < dev->vector_count; v++) {
        VfioIrqVector *vector = &dev->vectors[v];

        if (vector->attached && dev->interrupt_mode == VFIO_PCI_INTX_IRQ_INDEX) {
            intx_detach(dev, vector);
        } else if (vector->fd >= 0) {
            vector_attach(dev, vector, false);
        }
        vector_watch(vector, false);
        if (vector->route >= 0) {
            irqfd_ops(dev)->message_free(irqfd_accel(dev), vector->route);
            changed = true;
        }
    }
    if (changed) {
        irqfd_ops(dev)->commit(irqfd_accel(dev));
    }
}

void vfio_irqfd_routes_changed(PciDevice *pci)
{
    VfioPciDevice *dev = (VfioPciDevice *)pci;

    loop_lock(pci->dev.home);
    if (dev->interrupt_mode == VFIO_PCI_INTX_IRQ_INDEX && dev->vector_count) {
        intx_listen(dev);
    }
    loop_unlock(pci->dev.home);
}
