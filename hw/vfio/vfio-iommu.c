/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest's IOMMU maps, as DMA maps of the back end: page by page, with the page's permissions.  What is mapped is
 * kept, because an IOMMU tells too much: the same page again, a range of which only a part was mapped.
 */
#include <errno.h>

#include "hw/vfio/vfio-internal.h"

/* A part of the container's address space that is a part of an IOMMU region. */
typedef struct VfioIommu {
    MemIommuNotifier notifier;
    VfioContainer *container;
    HwAddr first, last; /* in the region */
    HwAddr shift;       /* from there to the address space */
    GTree *maps;        /* of VfioDmaMap *, by iova (in the address space) */
} VfioIommu;

static VfioIommu *iommu_of(MemIommuNotifier *n)
{
    return (VfioIommu *)((char *)n - offsetof(VfioIommu, notifier));
}

static gint map_compare(gconstpointer a, gconstpointer b, gpointer opaque)
{
    uint64_t x = ((const VfioDmaMap *)a)->iova, y = ((const VfioDmaMap *)b)->iova;

    return x < y ? -1 : x > y;
}

/* --- what is kept --- */

/* The first map that ends at or behind addr, or NULL. */
static VfioDmaMap *map_from(const VfioIommu *v, uint64_t addr)
{
    const VfioDmaMap key = {.iova = addr};
    GTreeNode *above = g_tree_upper_bound(v->maps, &key); /* begins behind addr */
    GTreeNode *at = above ? g_tree_node_previous(above) : g_tree_node_last(v->maps);
    VfioDmaMap *map = at ? g_tree_node_key(at) : NULL;

    if (map && map->iova + (map->size - 1) >= addr) {
        return map;
    }
    return above ? g_tree_node_key(above) : NULL;
}

/* Everything that touches [first, last] goes, whole: an IOMMU does not invalidate parts of a page. */
static void drop(VfioIommu *v, uint64_t first, uint64_t last)
{
    VfioDmaMap *map;

    while ((map = map_from(v, first)) && map->iova <= last) {
        vfio_container_unmap(v->container, map);
        g_tree_remove(v->maps, map);
    }
}

static bool same(const VfioDmaMap *a, const VfioDmaMap *b)
{
    return a->iova == b->iova && a->size == b->size && a->host == b->host && a->readonly == b->readonly &&
           a->writeonly == b->writeonly;
}

/* Once for each container: the guest can repeat it as often as it likes. */
static void tell(VfioContainer *c, const VfioDmaMap *map, const char *why)
{
    TRACE(&vfio_trace[VFIO_TRACE_ERROR], "%s: mapping 0x%" G_GINT64_MODIFIER "x+0x%" G_GINT64_MODIFIER "x: %s",
          as_name(c->as), map->iova, map->size, why);
    if (!c->told) {
        c->told = true;
        g_printerr("%s: 0x%" G_GINT64_MODIFIER "x..0x%" G_GINT64_MODIFIER "x is not mapped for the device: %s (this is "
                   "said once)\n", as_name(c->as), map->iova, map->iova + (map->size - 1), why);
    }
}

/* False: there is no room. */
static bool keep(VfioIommu *v, const VfioDmaMap *map)
{
    const VfioDmaMap *old = map_from(v, map->iova);
    int err;

    if (old && same(old, map)) {
        return true;
    }
    drop(v, map->iova, map->iova + (map->size - 1));
    err = vfio_container_map(v->container, map);
    if (err) {
        tell(v->container, map, g_strerror(-err));
        return err != -ENOSPC;
    }
    g_tree_insert(v->maps, g_memdup2(map, sizeof(*map)), NULL);
    return true;
}

/* --- what the IOMMU tells --- */

static void iommu_begin(MemIommuNotifier *n)
{
    vfio_container_begin(iommu_of(n)->container);
}

/* The RAM at the beginning of `t` (from `at` on); false: something else is there. */
static bool find_ram(const MemTranslation *t, HwAddr at, VfioDmaMap *map)
{
    HwAddr there = t->addr + (at - t->iova), inside;
    MemSection s;

    if (!as_lookup(t->as, there, &s) || !mem_region_host(s.region) || mem_region_is_device_memory(s.region)) {
        return false;
    }
    inside = there - s.addr;
    map->size = MIN(map->size, s.size - inside);
    map->host = (char *)mem_region_host(s.region) + s.region_offset + inside;
    map->fd = mem_region_fd(s.region, &map->fd_offset);
    map->fd_offset += s.region_offset + inside;
    map->readonly = !(t->perm & MEM_PERM_WRITE) || s.readonly || mem_region_kind(s.region) == MEM_ROM;
    map->writeonly = !(t->perm & MEM_PERM_READ);
    return true;
}

static bool iommu_map(MemIommuNotifier *n, const MemTranslation *t)
{
    VfioIommu *v = iommu_of(n);
    HwAddr at = MAX(t->iova, v->first), last = MIN(t->iova + (t->size - 1), v->last);

    while (at <= last) {
        VfioDmaMap map = {.iova = at + v->shift, .size = last - at + 1, .fd = -1};

        if (!find_ram(t, at, &map)) {
            drop(v, map.iova, map.iova + (map.size - 1));
            tell(v->container, &map, "the guest's IOMMU leads to something that is not RAM");
            return true;
        }
        if (!keep(v, &map)) {
            return false;
        }
        if (last - at < map.size) {
            break;
        }
        at += map.size;
    }
    return true;
}

static void iommu_unmap(MemIommuNotifier *n, HwAddr first, HwAddr last)
{
    VfioIommu *v = iommu_of(n);

    first = MAX(first, v->first);
    last = MIN(last, v->last);
    if (first <= last) {
        drop(v, first + v->shift, last + v->shift);
    }
}

static void iommu_commit(MemIommuNotifier *n)
{
    VfioContainer *c = iommu_of(n)->container;
    int err = vfio_container_commit(c);

    /* Inside a transaction its commit reports; a device that is gone has no memory to lose. */
    if (err && !c->depth && err != -ENOTCONN) {
        tell(c, &(VfioDmaMap){.size = 1}, g_strerror(-err));
    }
}

/* --- translated parts of the address space --- */

static gboolean mark_one(gpointer key, gpointer value, gpointer opaque)
{
    vfio_container_mark(opaque, key);
    return FALSE;
}

void vfio_iommu_mark_all(VfioContainer *c)
{
    for (guint i = 0; i < c->iommus->len; i++) {
        g_tree_foreach(((VfioIommu *)c->iommus->pdata[i])->maps, mark_one, c);
    }
}

void vfio_iommu_add(VfioContainer *c, const MemSection *s)
{
    VfioIommu *v = g_new0(VfioIommu, 1);

    *v = (VfioIommu){.notifier = {.begin = iommu_begin, .map = iommu_map, .unmap = iommu_unmap, .commit = iommu_commit},
                     .container = c,
                     .first = s->region_offset,
                     .last = s->region_offset + (s->size == UINT64_MAX ? s->size : s->size - 1),
                     .shift = s->addr - s->region_offset,
                     .maps = g_tree_new_full(map_compare, NULL, g_free, NULL)};
    g_ptr_array_add(c->iommus, v);
    mem_iommu_notifier_register(&v->notifier, s->region);
}

void vfio_iommu_del(VfioContainer *c, const MemSection *s)
{
    for (guint i = 0; i < c->iommus->len; i++) {
        VfioIommu *v = c->iommus->pdata[i];

        if (v->notifier.region == s->region && v->first == s->region_offset &&
            v->shift == s->addr - s->region_offset) {
            mem_iommu_notifier_unregister(&v->notifier);
            g_tree_destroy(v->maps);
            g_ptr_array_remove_index(c->iommus, i);
            g_free(v);
            return;
        }
    }
}
