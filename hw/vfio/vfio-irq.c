/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * INTx, MSI and MSI-X over eventfds (VFIO_DEVICE_SET_IRQS).  Masks and pending bits of messages are those of
 * hw/pci: the far side signals a vector from the time it was given an eventfd, which is when the guest first
 * unmasks it. An INTx is masked by its delivery; the guest's next access to a BAR ends it and unmasks the
 * line, and a device that still asserts it signals again.
 */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hw/vfio/vfio-internal.h"

int vfio_irq_set(VfioPciDevice *dev, uint32_t flags, unsigned index, unsigned start, unsigned count,
                 const int32_t *fds)
{
    size_t data = fds ? count * sizeof(int32_t) : 0;
    g_autofree struct vfio_irq_set *set = g_malloc0(sizeof(*set) + data);

    if (vfio_broken(&dev->vdev)) {
        return -ENOTCONN;
    }
    *set = (struct vfio_irq_set){.argsz = (uint32_t)(sizeof(*set) + data),
                                 .flags = flags,
                                 .index = index,
                                 .start = start,
                                 .count = count};
    if (data) {
        memcpy(set->data, fds, data);
    }
    return dev->vdev.ops->set_irqs(&dev->vdev, set);
}

static int set_eventfds(VfioPciDevice *dev, unsigned start, unsigned count)
{
    g_autofree int32_t *fds = g_new(int32_t, count);
    int err;

    for (unsigned i = 0; i < count; i++) {
        fds[i] = dev->vectors[start + i].fd;
    }
    err = vfio_irq_set(dev, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                   (unsigned)dev->interrupt_mode, start, count, fds);
    TRACE(&vfio_trace[VFIO_TRACE_VECTOR], "%s: vectors %u..%u of mode %d: %s", dev->vdev.name, start,
          start + count - 1, dev->interrupt_mode, err ? g_strerror(-err) : "set");
    return err;
}

/* --- what the far side signals --- */

void vfio_irq_signalled(void *opaque)
{
    VfioIrqVector *vector = opaque;
    VfioPciDevice *dev = vector->dev;
    uint64_t count;

    if (read(vector->fd, &count, sizeof(count)) != sizeof(count)) {
        return;
    }
    switch (dev->interrupt_mode) {
    case VFIO_PCI_MSIX_IRQ_INDEX:
        msix_notify(&dev->pci, vector->index);
        break;
    case VFIO_PCI_MSI_IRQ_INDEX:
        msi_notify(&dev->pci, vector->index);
        break;
    default:
        /* Accesses to mapped BARs would not be noticed. */
        vfio_bars_enable_maps(dev, false);
        __atomic_store_n(&dev->intx_pending, true, __ATOMIC_SEQ_CST);
        pci_set_irq(&dev->pci, 1);
        break;
    }
}

void vfio_irq_intx_eoi(VfioPciDevice *dev)
{
    EventLoop *home = dev->pci.dev.home;
    bool ended;

    if (!__atomic_load_n(&dev->intx_pending, __ATOMIC_RELAXED)) {
        return;
    }
    loop_lock(home);
    ended = __atomic_exchange_n(&dev->intx_pending, false, __ATOMIC_SEQ_CST);
    if (ended) {
        pci_set_irq(&dev->pci, 0);
    }
    loop_unlock(home);
    if (ended) {
        vfio_irq_set(dev, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, VFIO_PCI_INTX_IRQ_INDEX, 0, 1,
                 NULL);
    }
}

/* --- vectors --- */

static bool vector_open(VfioIrqVector *vector)
{
    vector->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (vector->fd < 0) {
        guest_error(&vector->dev->pci.dev, "interrupt vector %u: cannot create an eventfd: %s", vector->index,
                    g_strerror(errno));
        return false;
    }
    vector->fresh = true;
    return true;
}

static bool vector_wanted(const VfioPciDevice *dev, unsigned vector)
{
    return dev->interrupt_mode != VFIO_PCI_MSIX_IRQ_INDEX || !msix_masked(&dev->pci, vector);
}

/* Sets up the vectors that are wanted and have no eventfd yet, in runs. */
static void vectors_use(VfioPciDevice *dev, unsigned start, unsigned count)
{
    unsigned run = 0;

    for (unsigned v = start; v < start + count; v++) {
        if (dev->vectors[v].fd < 0 && vector_wanted(dev, v)) {
            vector_open(&dev->vectors[v]);
        }
    }
    vfio_irqfd_listen(dev, start, count);
    for (unsigned v = start; v <= start + count; v++) {
        bool fresh = v < start + count && dev->vectors[v].fresh;

        if (fresh) {
            dev->vectors[v].fresh = false;
            run++;
        } else if (run) {
            set_eventfds(dev, v - run, run);
            run = 0;
        }
    }
}

static void vector_changed(PciDevice *pci, unsigned vector, bool masked)
{
    VfioPciDevice *dev = (VfioPciDevice *)pci;

    if (dev->interrupt_mode == VFIO_PCI_MSIX_IRQ_INDEX && !dev->in_config_write &&
        vector < dev->vector_count) {
        vectors_use(dev, vector, 1);
    }
}

static void mode_leave(VfioPciDevice *dev)
{
    VfioIrqVector *vectors = dev->vectors;

    if (dev->interrupt_mode < 0) {
        return;
    }
    vfio_irq_set(dev, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, (unsigned)dev->interrupt_mode, 0, 0,
             NULL);
    vfio_irqfd_release(dev);
    dev->vectors = NULL;
    for (unsigned v = 0; v < dev->vector_count; v++) {
        if (vectors[v].fd >= 0) {
            close(vectors[v].fd);
        }
    }
    g_free(vectors);
    dev->vector_count = 0;
    if (dev->interrupt_mode == VFIO_PCI_INTX_IRQ_INDEX) {
        __atomic_store_n(&dev->intx_pending, false, __ATOMIC_SEQ_CST);
        pci_set_irq(&dev->pci, 0);
        vfio_bars_enable_maps(dev, true);
    }
    dev->interrupt_mode = -1;
}

static unsigned mode_vectors(const VfioPciDevice *dev, int mode)
{
    unsigned limit = dev->irq_counts[mode];

    switch (mode) {
    case VFIO_PCI_MSIX_IRQ_INDEX:
        return MIN(limit, dev->pci.msix_vectors);
    case VFIO_PCI_MSI_IRQ_INDEX:
        return MIN(limit, msi_vectors_allocated(&dev->pci));
    default:
        return MIN(limit, 1);
    }
}

static void mode_enter(VfioPciDevice *dev, int mode)
{
    dev->interrupt_mode = mode;
    dev->vector_count = mode_vectors(dev, mode);
    dev->vectors = g_new0(VfioIrqVector, dev->vector_count);
    for (unsigned v = 0; v < dev->vector_count; v++) {
        dev->vectors[v] = (VfioIrqVector){.dev = dev, .index = v, .fd = -1, .route = -1};
    }
    TRACE(&vfio_trace[VFIO_TRACE_IRQ_MODE], "%s: mode %d, %u vectors", dev->vdev.name, mode,
          dev->vector_count);
}

void vfio_irq_update(VfioPciDevice *dev)
{
    int mode = msix_enabled(&dev->pci)  ? VFIO_PCI_MSIX_IRQ_INDEX
               : msi_enabled(&dev->pci) ? VFIO_PCI_MSI_IRQ_INDEX
                                        : VFIO_PCI_INTX_IRQ_INDEX;

    if (mode == VFIO_PCI_MSI_IRQ_INDEX && dev->interrupt_mode == mode &&
        dev->vector_count != mode_vectors(dev, mode)) {
        mode_leave(dev);
    }
    if (mode != dev->interrupt_mode) {
        mode_leave(dev);
        mode_enter(dev, mode);
    }
    if (mode == VFIO_PCI_MSIX_IRQ_INDEX || dev->vector_count) {
        vectors_use(dev, 0, dev->vector_count);
    }
}

/* --- what the far side has to say of the device itself --- */

static void tell(VfioPciDevice *dev, const char *event)
{
    Object *obj = &dev->pci.dev.obj;
    g_autofree char *path = object_path(obj);
    struct json_object *data = json_object_new_object();

    json_object_object_add(data, "device", json_object_new_string(obj->id));
    json_object_object_add(data, "path", json_object_new_string(path));
    machine_emit_event(obj->machine, event, data);
}

static bool irq_was_signalled(const VfioIrqVector *irq)
{
    uint64_t count;

    return read(irq->fd, &count, sizeof(count)) == sizeof(count);
}

/* The guest learns of errors from the device's own registers. */
static void error_signalled(void *opaque)
{
    VfioIrqVector *irq = opaque;

    if (irq_was_signalled(irq)) {
        tell(irq->dev, "VFIO_DEVICE_ERROR");
    }
}

static void request_signalled(void *opaque)
{
    VfioIrqVector *irq = opaque;
    Object *obj = &irq->dev->pci.dev.obj;
    g_autofree char *path = NULL;
    g_autoptr(GError) error = NULL;

    if (!irq_was_signalled(irq)) {
        return;
    }
    tell(irq->dev, "VFIO_DEVICE_REQUEST");
    path = object_path(obj);
    if (!machine_device_del(obj->machine, path, &error)) {
        guest_error(&irq->dev->pci.dev, "the far side wants its device back: %s", error->message);
    }
}

static bool notice_start(VfioPciDevice *dev, VfioIrqVector *irq, unsigned index, LoopFdFn *handler,
                         GError **error)
{
    struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};
    int err = index < dev->vdev.num_irqs ? dev->vdev.ops->get_irq_info(&dev->vdev, &info) : 0;

    if (err || !(info.flags & VFIO_IRQ_INFO_EVENTFD) || !info.count) {
        return true; /* it has none */
    }
    irq->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (irq->fd < 0) {
        error_set_errno(error, errno, "%s: cannot create an eventfd", dev->vdev.name);
        return false;
    }
    irq->watch = loop_add_fd(dev->pci.dev.obj.machine->main_loop, irq->fd, handler, NULL, irq);
    err = vfio_irq_set(dev, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, 1, &irq->fd);
    if (err) {
        error_set_errno(error, -err, "%s: cannot set up interrupt type %u", dev->vdev.name, index);
    }
    return !err;
}

static void notice_stop(VfioIrqVector *irq)
{
    if (irq->fd >= 0) {
        loop_remove_fd(irq->watch);
        close(irq->fd);
        irq->fd = -1;
    }
}

/* --- moving --- */

void vfio_irq_drain(VfioPciDevice *dev)
{
    for (unsigned v = 0; v < dev->vector_count; v++) {
        if (dev->vectors[v].fd >= 0) {
            vfio_irq_signalled(&dev->vectors[v]);
        }
    }
}

void vfio_irq_note_used(VfioPciDevice *dev)
{
    memset(dev->vectors_used, 0, sizeof(dev->vectors_used));
    for (unsigned v = 0; v < MIN(dev->vector_count, 8 * sizeof(dev->vectors_used)); v++) {
        dev->vectors_used[v / 8] |= (uint8_t)((dev->vectors[v].fd >= 0) << (v % 8));
    }
}

bool vfio_irq_restore(VfioPciDevice *dev, GError **error)
{
    bool pending = dev->intx_pending;

    mode_leave(dev);
    vfio_irq_update(dev);
    for (unsigned v = 0; v < dev->vector_count; v++) {
        if (dev->vectors_used[v / 8] >> (v % 8) & 1 && dev->vectors[v].fd < 0) {
            vector_open(&dev->vectors[v]);
        }
    }
    vectors_use(dev, 0, dev->vector_count);
    for (unsigned v = 0; v < dev->vector_count; v++) {
        if (vector_wanted(dev, v) && dev->vectors[v].fd < 0) {
            error_set(error, "%s: no eventfd for interrupt vector %u", dev->vdev.name, v);
            return false;
        }
    }
    if (pending && dev->interrupt_mode == VFIO_PCI_INTX_IRQ_INDEX) {
        vfio_bars_enable_maps(dev, false);
        __atomic_store_n(&dev->intx_pending, true, __ATOMIC_SEQ_CST);
        pci_set_irq(&dev->pci, 1);
    }
    return true;
}

/* --- start, stop, reset --- */

bool vfio_irq_start(VfioPciDevice *dev, GError **error)
{
    for (unsigned i = VFIO_PCI_INTX_IRQ_INDEX; i <= VFIO_PCI_MSIX_IRQ_INDEX; i++) {
        struct vfio_irq_info info = {.argsz = sizeof(info), .index = i};
        int err = dev->vdev.ops->get_irq_info(&dev->vdev, &info);

        if (err) {
            error_set_errno(error, -err, "%s: cannot get the info of interrupt type %u", dev->vdev.name, i);
            return false;
        }
        dev->irq_counts[i] = info.flags & VFIO_IRQ_INFO_EVENTFD ? info.count : 0;
    }
    if (!dev->irq_counts[VFIO_PCI_INTX_IRQ_INDEX] || dev->pci.config[PCI_INTERRUPT_PIN] > 4) {
        dev->pci.config[PCI_INTERRUPT_PIN] = 0;
    }
    dev->pci.vector_changed = vector_changed;
    dev->pci.intx_route_changed = vfio_irqfd_routes_changed;
    return notice_start(dev, &dev->error_irq, VFIO_PCI_ERR_IRQ_INDEX, error_signalled, error) &&
           (!dev->req ||
            notice_start(dev, &dev->request_irq, VFIO_PCI_REQ_IRQ_INDEX, request_signalled, error));
}

void vfio_irq_stop(VfioPciDevice *dev)
{
    dev->pci.vector_changed = NULL;
    dev->pci.intx_route_changed = NULL;
    notice_stop(&dev->error_irq);
    notice_stop(&dev->request_irq);
    mode_leave(dev);
}

void vfio_irq_reset_begin(VfioPciDevice *dev)
{
    mode_leave(dev);
}

void vfio_irq_reset_end(VfioPciDevice *dev)
{
    /* hw/pci clears the enable bits right after: INTx is what a reset function uses. */
    mode_enter(dev, VFIO_PCI_INTX_IRQ_INDEX);
    vectors_use(dev, 0, dev->vector_count);
}

bool vfio_irq_first(VfioPciDevice *dev, GError **error)
{
    int err;

    mode_enter(dev, VFIO_PCI_INTX_IRQ_INDEX);
    if (!dev->vector_count || !vector_open(&dev->vectors[0])) {
        return true;
    }
    dev->vectors[0].fresh = false;
    vfio_irqfd_listen(dev, 0, 1);
    err = set_eventfds(dev, 0, 1);
    if (err) {
        error_set_errno(error, -err, "%s: cannot set up INTx", dev->vdev.name);
    }
    return !err;
}
