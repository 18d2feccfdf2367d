/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Follows an address space: each RAM section, and each page an IOMMU in it maps, is a DMA map of the back end; each
 * transaction, and each batch of an IOMMU's invalidations, is one batch.
 */
#include <errno.h>

#include "core/error.h"
#include "hw/vfio/vfio-internal.h"

static VfioContainer *container_of(MemListener *l)
{
    return (VfioContainer *)((char *)l - offsetof(VfioContainer, listener));
}

void vfio_container_error(VfioContainer *c, int err)
{
    c->refused += err != 0;
    if (err && !c->error) {
        c->error = err;
    }
}

void vfio_container_begin(VfioContainer *c)
{
    if (!c->depth++) {
        c->error = 0;
        c->refused = 0;
        c->ops->begin(c);
    }
}

int vfio_container_commit(VfioContainer *c)
{
    if (!--c->depth) {
        vfio_container_error(c, c->ops->commit(c));
    }
    return c->error;
}

int vfio_container_map(VfioContainer *c, const VfioDmaMap *map)
{
    int err;

    if (c->map_count >= c->max_maps) {
        return -ENOSPC;
    }
    TRACE(&vfio_trace[VFIO_TRACE_MAP], "0x%" G_GINT64_MODIFIER "x+0x%" G_GINT64_MODIFIER "x %s fd %d",
          map->iova, map->size, map->readonly ? "ro" : map->writeonly ? "wo" : "rw", map->fd);
    err = c->ops->dma_map(c, map);
    c->map_count += !err;
    return err;
}

void vfio_container_mark(VfioContainer *c, const VfioDmaMap *map)
{
    uint64_t offset;
    MemRegion *ram = map->readonly ? NULL : mem_region_from_host(as_topology(c->as), map->host, &offset);

    if (ram) {
        mem_region_dirty_set(ram, offset, map->size);
    }
}

void vfio_container_unmap(VfioContainer *c, const VfioDmaMap *map)
{
    c->map_count--;
    if (c->stopping) {
        return; /* all go together */
    }
    TRACE(&vfio_trace[VFIO_TRACE_UNMAP], "0x%" G_GINT64_MODIFIER "x+0x%" G_GINT64_MODIFIER "x", map->iova, map->size);
    vfio_container_error(c, c->ops->dma_unmap(c, map->iova, map->size));
    if (c->logging) {
        vfio_container_mark(c, map);
    }
}

static void container_begin(MemListener *l)
{
    VfioContainer *c = container_of(l);

    vfio_container_begin(c);
    if (c->stopping) {
        c->stopping = c->ops->unmap_all(c) == 0;
    }
}

/* RAM and ROM; registers of other devices are reached by messages where that is possible, or not at all. */
static bool section_is_memory(const MemSection *s)
{
    MemKind kind = mem_region_kind(s->region);

    return (kind == MEM_RAM || kind == MEM_ROM) && mem_region_host(s->region);
}

static VfioDmaMap section_map(const MemSection *s)
{
    VfioDmaMap map = {.iova = s->addr, .size = s->size};

    map.host = (char *)mem_region_host(s->region) + s->region_offset;
    map.readonly = s->readonly || mem_region_kind(s->region) == MEM_ROM;
    map.fd = mem_region_fd(s->region, &map.fd_offset);
    map.fd_offset += s->region_offset;
    return map;
}

static void container_add(MemListener *l, const MemSection *s)
{
    VfioContainer *c = container_of(l);
    VfioDmaMap map;

    if (mem_region_kind(s->region) == MEM_IOMMU) {
        vfio_iommu_add(c, s);
    }
    if (!section_is_memory(s)) {
        return;
    }
    map = section_map(s);
    vfio_container_error(c, vfio_container_map(c, &map));
}

static void container_del(MemListener *l, const MemSection *s)
{
    VfioContainer *c = container_of(l);

    if (mem_region_kind(s->region) == MEM_IOMMU) {
        vfio_iommu_del(c, s);
    }
    if (section_is_memory(s) && c->map_count) {
        VfioDmaMap map = section_map(s);

        vfio_container_unmap(c, &map);
    }
}

void vfio_container_refused(const VfioContainer *c, int err, GError **error)
{
    if (c->refused > 1) {
        error_set_errno(error, err, "DMA maps for the device: %u were refused, the first", c->refused);
    } else {
        error_set_errno(error, err, "DMA map for the device");
    }
}

static bool container_commit(MemListener *l, GError **error)
{
    VfioContainer *c = container_of(l);

    vfio_container_commit(c);
    if (c->error == -ENOTCONN && c->started) {
        return true; /* a device that is gone has no memory to lose */
    }
    if (c->error) {
        vfio_container_refused(c, -c->error, error);
    }
    return !c->error;
}

bool vfio_container_start(VfioContainer *c, const VfioContainerOps *ops, AddressSpace *as, GError **error)
{
    c->ops = ops;
    c->as = as;
    c->started = c->stopping = false;
    c->depth = 0;
    c->iommus = g_ptr_array_new();
    c->listener = (MemListener){.name = "vfio",
                                .priority = 10,
                                .begin = container_begin,
                                .add = container_add,
                                .del = container_del,
                                .commit = container_commit};
    c->started = mem_listener_register(&c->listener, as, error);
    if (!c->started) {
        g_clear_pointer(&c->iommus, g_ptr_array_unref);
    }
    return c->started;
}

void vfio_container_stop(VfioContainer *c)
{
    if (c->started) {
        c->stopping = c->ops->unmap_all != NULL;
        mem_listener_unregister(&c->listener);
        g_clear_pointer(&c->iommus, g_ptr_array_unref);
        c->started = false;
    }
}
