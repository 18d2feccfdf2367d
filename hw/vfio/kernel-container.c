/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the machine's VFIO devices of the host share, as an object below /machine, and what both kinds of
 * container (type1, iommufd) have in common.
 */
#include <errno.h>

#include "core/error.h"
#include "kernel.h"

static const ObjectModel kernel_model = {.model = {.name = "vfio-kernel",
                                                   .doc = "The host devices of a machine",
                                                   .kind = MODEL_OBJECT,
                                                   .size = sizeof(VfioKernel),
                                                   .state = &state_none,
                                                   .internal = true}};

VfioKernel *vfio_kernel_of(Machine *machine)
{
    VfioKernel *kernel = (VfioKernel *)object_child(&machine->obj, "vfio-kernel");

    if (!kernel) {
        kernel = (VfioKernel *)object_new(&kernel_model.model, machine, &machine->obj, "vfio-kernel", NULL);
        kernel->sys = &vfio_sys_host;
    }
    return kernel;
}

void vfio_kernel_tell(VfioKernel *kernel, int fd, bool used)
{
    Machine *m = kernel->obj.machine;

    if (m->vfio_file) {
        m->vfio_file(m->accel, fd, used);
    }
}

void vfio_kernel_set_sys(Machine *machine, const VfioSys *sys)
{
    vfio_kernel_of(machine)->sys = sys;
}

VfioKernelContainer *vfio_kernel_container_new(VfioKernel *kernel, int fd)
{
    VfioKernelContainer *c = g_new0(VfioKernelContainer, 1);

    c->kernel = kernel;
    c->fd = fd;
    c->base.pgsizes = (uint64_t)sysconf(_SC_PAGESIZE);
    c->base.max_maps = UINT32_MAX;
    c->ranges = g_array_new(FALSE, FALSE, sizeof(VfioIovaRange));
    c->hwpts = g_array_new(FALSE, FALSE, sizeof(VfioHwpt));
    c->next = kernel->containers;
    kernel->containers = c;
    return c;
}

bool vfio_kernel_container_follow(VfioKernelContainer *c, const VfioContainerOps *ops, AddressSpace *as,
                                  GError **error)
{
    GError *cause = NULL;

    if (vfio_container_start(&c->base, ops, as, &cause)) {
        return true;
    }
    if (c->problem) {
        error_set(error, "vfio-pci: %s", c->problem);
        g_error_free(cause);
    } else {
        g_propagate_prefixed_error(error, cause, "vfio-pci: ");
    }
    return false;
}

void vfio_kernel_container_free(VfioKernelContainer *c)
{
    VfioKernelContainer **at = &c->kernel->containers;

    vfio_container_stop(&c->base);
    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    g_array_free(c->ranges, TRUE);
    g_array_free(c->hwpts, TRUE);
    g_free(c->problem);
    g_free(c);
}

bool vfio_kernel_align(const VfioKernelContainer *c, uint64_t *iova, uint64_t *size, uint64_t *skipped)
{
    uint64_t page = c->base.pgsizes & -c->base.pgsizes, head = -*iova & (page - 1);

    *skipped = head;
    if (head >= *size) {
        return false;
    }
    *iova += head;
    *size = (*size - head) & ~(page - 1);
    return *size;
}

bool vfio_kernel_in_ranges(const VfioKernelContainer *c, uint64_t iova, uint64_t size)
{
    for (guint i = 0; i < c->ranges->len; i++) {
        const VfioIovaRange *r = &g_array_index(c->ranges, VfioIovaRange, i);

        if (iova >= r->first && iova + (size - 1) <= r->last) {
            return true;
        }
    }
    return !c->ranges->len;
}

int vfio_kernel_map_failed(VfioKernelContainer *c, const VfioDmaMap *map, int err)
{
    Machine *machine = c->kernel->obj.machine;
    uint64_t offset;
    const MemRegion *region = mem_region_from_host(machine->topo, map->host, &offset);
    const char *hint = err == -ENOMEM   ? "; guest RAM has to be locked in memory: raise `ulimit -l`"
                       : err == -ERANGE ? ", an address the host's IOMMU does not have"
                                        : "";

    if (region && mem_region_is_device_memory(region)) {
        return 0; /* registers of another device: DMA between devices is not always possible */
    }
    if (!c->problem) {
        c->problem = g_strdup_printf("the host's IOMMU does not map 0x%" G_GINT64_MODIFIER
                                     "x..0x%" G_GINT64_MODIFIER "x of guest memory: %s%s",
                                     map->iova, map->iova + (map->size - 1), g_strerror(-err), hint);
    }
    return err;
}
