/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Follows an address space: each RAM section is a DMA map of the back end, each transaction one batch. */
#include <errno.h>

#include "core/error.h"
#include "hw/vfio/vfio-internal.h"

static VfioContainer *container_of(MemListener *l)
{
    return (VfioContainer *)((char *)l - offsetof(VfioContainer, listener));
}

static void container_error(VfioContainer *c, int err)
{
    if (err && !c->error) {
        c->error = err;
    }
}

static void container_begin(MemListener *l)
{
    VfioContainer *c = container_of(l);

    c->error = 0;
    c->ops->begin(c);
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

static void container_add(MemListener *l, const MemSection *s)
{
    VfioContainer *c = container_of(l);
    VfioDmaMap map = {.iova = s->addr, .size = s->size, .fd = -1};

    if (!section_is_memory(s)) {
        return;
    }
    if (c->map_count >= c->max_maps) {
        container_error(c, -ENOSPC);
        return;
    }
    map.host = (char *)mem_region_host(s->region) + s->region_offset;
    map.readonly = s->readonly || mem_region_kind(s->region) == MEM_ROM;
    map.fd = mem_region_fd(s->region, &map.fd_offset);
    map.fd_offset += s->region_offset;
    c->map_count++;
    TRACE(&vfio_trace[VFIO_TRACE_MAP], "0x%" G_GINT64_MODIFIER "x+0x%" G_GINT64_MODIFIER "x %s fd %d",
          map.iova, map.size, map.readonly ? "ro" : "rw", map.fd);
    container_error(c, c->ops->dma_map(c, &map));
}

static void container_del(MemListener *l, const MemSection *s)
{
    VfioContainer *c = container_of(l);

    if (!section_is_memory(s) || !c->map_count) {
        return;
    }
    c->map_count--;
    if (c->stopping) {
        return; /* all go together */
    }
    TRACE(&vfio_trace[VFIO_TRACE_UNMAP], "0x%" G_GINT64_MODIFIER "x+0x%" G_GINT64_MODIFIER "x", s->addr,
          s->size);
    container_error(c, c->ops->dma_unmap(c, s->addr, s->size));
}

static bool container_commit(MemListener *l, GError **error)
{
    VfioContainer *c = container_of(l);

    container_error(c, c->ops->commit(c));
    if (c->error == -ENOTCONN && c->started) {
        return true; /* a device that is gone has no memory to lose */
    }
    if (c->error) {
        error_set_errno(error, -c->error, "DMA map for the device");
    }
    return !c->error;
}

bool vfio_container_start(VfioContainer *c, const VfioContainerOps *ops, AddressSpace *as, GError **error)
{
    c->ops = ops;
    c->as = as;
    c->started = c->stopping = false;
    c->listener = (MemListener){.name = "vfio",
                                .priority = 10,
                                .begin = container_begin,
                                .add = container_add,
                                .del = container_del,
                                .commit = container_commit};
    c->started = mem_listener_register(&c->listener, as, error);
    return c->started;
}

void vfio_container_stop(VfioContainer *c)
{
    if (c->started) {
        c->stopping = c->ops->unmap_all != NULL;
        mem_listener_unregister(&c->listener);
        c->started = false;
    }
}
