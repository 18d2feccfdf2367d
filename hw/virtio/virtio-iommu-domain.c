/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domains of virtio-iommu (VIRTIO 1.2, 5.13.6): who is attached, what is mapped, and translation. */
#include "virtio-iommu.h"

#define ENDPOINT(s, i) ((ViommuEndpoint *)(s)->endpoints->pdata[i])

/* --- maps of a domain --- */

static gint map_compare(gconstpointer a, gconstpointer b, gpointer opaque)
{
    uint64_t x = ((const ViommuMap *)a)->first, y = ((const ViommuMap *)b)->first;

    return x < y ? -1 : x > y;
}

/* The first map that ends at or behind addr, or NULL. */
static ViommuMap *map_from(const ViommuDomain *d, uint64_t addr)
{
    const ViommuMap key = {.first = addr};
    GTreeNode *above = g_tree_upper_bound(d->maps, &key);
    GTreeNode *at = above ? g_tree_node_previous(above) : g_tree_node_last(d->maps);
    ViommuMap *map = at ? g_tree_node_key(at) : NULL;

    return map && map->last >= addr ? map : above ? g_tree_node_key(above) : NULL;
}

static MemTranslation translation(const Viommu *s, const ViommuMap *map)
{
    return (MemTranslation){.as = s->vp.pci.dev.obj.machine->memory,
                            .iova = map->first,
                            .addr = map->phys,
                            .size = map->last - map->first + 1,
                            .perm = map->perm};
}

static ViommuDomain *domain_find(const Viommu *s, uint32_t id)
{
    return g_hash_table_lookup(s->domains, GUINT_TO_POINTER(id));
}

static ViommuDomain *domain_new(Viommu *s, uint32_t id, bool bypass)
{
    ViommuDomain *d = g_new0(ViommuDomain, 1);

    d->id = id;
    d->bypass = bypass;
    d->maps = g_tree_new_full(map_compare, NULL, g_free, NULL);
    g_hash_table_insert(s->domains, GUINT_TO_POINTER(id), d);
    return d;
}

static void domain_free(gpointer opaque)
{
    ViommuDomain *d = opaque;

    g_tree_destroy(d->maps);
    g_free(d);
}

void viommu_domains_start(Viommu *s)
{
    s->domains = g_hash_table_new_full(NULL, NULL, NULL, domain_free);
}

void viommu_domains_stop(Viommu *s)
{
    g_hash_table_unref(s->domains);
}

/* --- followers --- */

static void batch_begin(ViommuEndpoint *e)
{
    if (!e->in_batch && mem_iommu_has_notifiers(e->translated)) {
        e->in_batch = true;
        mem_iommu_begin(e->translated);
    }
}

void viommu_commit(Viommu *s)
{
    for (guint i = 0; i < s->endpoints->len; i++) {
        if (ENDPOINT(s, i)->in_batch) {
            ENDPOINT(s, i)->in_batch = false;
            mem_iommu_commit(ENDPOINT(s, i)->translated);
        }
    }
}

/* Tells the followers of everybody in a domain; map NULL: nothing in [first, last] any more. */
static void tell(Viommu *s, const ViommuDomain *d, const ViommuMap *map, uint64_t first, uint64_t last)
{
    for (guint i = 0; i < s->endpoints->len; i++) {
        ViommuEndpoint *e = ENDPOINT(s, i);

        if (e->domain != d) {
            continue;
        }
        batch_begin(e);
        if (e->in_batch && map) {
            MemTranslation t = translation(s, map);

            mem_iommu_map(e->translated, &t);
        } else if (e->in_batch) {
            mem_iommu_unmap(e->translated, first, last);
        }
    }
}

static void viommu_replay(void *opaque, MemIommuNotifier *n)
{
    const ViommuEndpoint *e = opaque;

    for (GTreeNode *at = e->domain ? g_tree_node_first(e->domain->maps) : NULL; at; at = g_tree_node_next(at)) {
        MemTranslation t = translation(e->iommu, g_tree_node_key(at));

        n->map(n, &t);
    }
}

/* Of one endpoint, all there is now: it changed its domain. */
static void tell_again(ViommuEndpoint *e)
{
    batch_begin(e);
    if (!e->in_batch) {
        return;
    }
    mem_iommu_unmap(e->translated, 0, UINT64_MAX);
    for (GTreeNode *at = e->domain ? g_tree_node_first(e->domain->maps) : NULL; at; at = g_tree_node_next(at)) {
        MemTranslation t = translation(e->iommu, g_tree_node_key(at));

        mem_iommu_map(e->translated, &t);
    }
}

/* --- attachments --- */

static bool passes(const ViommuEndpoint *e)
{
    return e->domain ? e->domain->bypass : e->iommu->vp.config[VIRTIO_IOMMU_CONFIG_BYPASS];
}

void viommu_refresh(Viommu *s)
{
    MemTopology *topo = s->vp.pci.dev.obj.machine->topo;
    g_autoptr(GError) error = NULL;

    viommu_commit(s); /* a batch is part of no transaction */
    mem_begin(topo);
    for (guint i = 0; i < s->endpoints->len; i++) {
        ViommuEndpoint *e = ENDPOINT(s, i);

        mem_region_set_enabled(e->memory, passes(e));
        mem_region_set_enabled(e->translated, !passes(e));
    }
    if (!mem_commit(topo, &error)) {
        guest_error(&s->vp.pci.dev, "a device cannot follow: %s", error->message);
    }
}

/* The last one takes the domain with it. */
void viommu_leave(ViommuEndpoint *e)
{
    Viommu *s = e->iommu;
    ViommuDomain *d = e->domain;

    g_mutex_lock(&s->lock);
    e->domain = NULL;
    if (d && !--d->endpoints) {
        s->map_count -= (unsigned)g_tree_nnodes(d->maps);
        g_hash_table_remove(s->domains, GUINT_TO_POINTER(d->id));
    }
    g_mutex_unlock(&s->lock);
}

void viommu_detach_all(Viommu *s)
{
    for (guint i = 0; i < s->endpoints->len; i++) {
        viommu_leave(ENDPOINT(s, i));
        tell_again(ENDPOINT(s, i));
    }
    viommu_refresh(s);
}

static bool is_endpoint(const ViommuEndpoint *e, uint32_t id)
{
    return pci_requester_id(e->pci) == id;
}

bool viommu_has_endpoint(const Viommu *s, uint32_t id)
{
    for (guint i = 0; i < s->endpoints->len; i++) {
        if (is_endpoint(ENDPOINT(s, i), id)) {
            return true;
        }
    }
    return false;
}

bool viommu_join(ViommuEndpoint *e, uint32_t domain, bool bypass)
{
    Viommu *s = e->iommu;
    ViommuDomain *d = domain_find(s, domain);

    if (d && d->bypass != bypass) {
        return false;
    }
    viommu_leave(e);
    g_mutex_lock(&s->lock);
    d = domain_find(s, domain);
    d = d ? d : domain_new(s, domain, bypass);
    d->endpoints++;
    e->domain = d;
    g_mutex_unlock(&s->lock);
    tell_again(e);
    return true;
}

uint8_t viommu_attach(Viommu *s, uint32_t domain, uint32_t endpoint, bool bypass)
{
    const ViommuDomain *d = domain_find(s, domain);

    if (!viommu_has_endpoint(s, endpoint)) {
        return VIRTIO_IOMMU_S_NOENT;
    }
    if (d && d->bypass != bypass) {
        return VIRTIO_IOMMU_S_INVAL;
    }
    for (guint i = 0; i < s->endpoints->len; i++) {
        ViommuEndpoint *e = ENDPOINT(s, i);

        if (is_endpoint(e, endpoint) && (!e->domain || e->domain->id != domain)) {
            viommu_join(e, domain, bypass);
        }
    }
    viommu_refresh(s);
    return VIRTIO_IOMMU_S_OK;
}

uint8_t viommu_detach(Viommu *s, uint32_t domain, uint32_t endpoint)
{
    bool found = false;

    if (!viommu_has_endpoint(s, endpoint)) {
        return VIRTIO_IOMMU_S_NOENT;
    }
    for (guint i = 0; i < s->endpoints->len; i++) {
        ViommuEndpoint *e = ENDPOINT(s, i);

        if (is_endpoint(e, endpoint) && e->domain && e->domain->id == domain) {
            found = true;
            viommu_leave(e);
            tell_again(e);
        }
    }
    viommu_refresh(s);
    return found ? VIRTIO_IOMMU_S_OK : VIRTIO_IOMMU_S_INVAL;
}

/* --- mappings --- */

uint8_t viommu_map(Viommu *s, uint32_t domain, const ViommuMap *map)
{
    ViommuDomain *d = domain_find(s, domain);
    const ViommuMap *old;
    ViommuMap *kept;

    if (!d) {
        return VIRTIO_IOMMU_S_NOENT;
    }
    if (d->bypass || !map->perm || map->last < map->first) {
        return VIRTIO_IOMMU_S_INVAL;
    }
    if ((map->first | map->phys | (map->last + 1)) & (VIOMMU_PAGE - 1) || map->last > VIOMMU_INPUT_END ||
        map->phys + (map->last - map->first) < map->phys) {
        return VIRTIO_IOMMU_S_RANGE;
    }
    old = map_from(d, map->first);
    if (old && old->first <= map->last) {
        return VIRTIO_IOMMU_S_INVAL;
    }
    if (s->map_count == VIOMMU_MAX_MAPS) {
        return VIRTIO_IOMMU_S_NOMEM;
    }
    kept = g_memdup2(map, sizeof(*map));
    g_mutex_lock(&s->lock);
    s->map_count++;
    g_tree_insert(d->maps, kept, NULL);
    g_mutex_unlock(&s->lock);
    tell(s, d, map, 0, 0);
    return VIRTIO_IOMMU_S_OK;
}

uint8_t viommu_unmap(Viommu *s, uint32_t domain, uint64_t first, uint64_t last)
{
    ViommuDomain *d = domain_find(s, domain);
    const ViommuMap *map, *end;

    if (!d) {
        return VIRTIO_IOMMU_S_NOENT;
    }
    if (d->bypass || last < first) {
        return VIRTIO_IOMMU_S_INVAL;
    }
    map = map_from(d, first);
    end = map_from(d, last);
    if ((map && map->first < first) || (end && end->first <= last && end->last > last)) {
        return VIRTIO_IOMMU_S_RANGE; /* a mapping goes as a whole */
    }
    g_mutex_lock(&s->lock);
    while ((map = map_from(d, first)) && map->first <= last) {
        s->map_count--;
        g_tree_remove(d->maps, map);
    }
    g_mutex_unlock(&s->lock);
    tell(s, d, NULL, first, last);
    return VIRTIO_IOMMU_S_OK;
}

/* --- accesses --- */

void viommu_fault(Viommu *s, uint16_t endpoint, uint8_t reason, uint64_t addr, bool read)
{
    g_mutex_lock(&s->lock);
    if (s->fault_count < VIOMMU_MAX_FAULTS) {
        uint8_t *f = s->faults[(s->fault_first + s->fault_count++) % VIOMMU_MAX_FAULTS];

        memset(f, 0, VIRTIO_IOMMU_FAULT_LEN);
        f[0] = reason;
        pci_set32(f + 4, VIRTIO_IOMMU_FAULT_F_ADDRESS |
                             (read ? VIRTIO_IOMMU_FAULT_F_READ : VIRTIO_IOMMU_FAULT_F_WRITE));
        pci_set32(f + 8, endpoint);
        pci_set64(f + 16, addr);
        loop_bh_schedule(s->vp.queues[VIOMMU_QUEUE_EVENT].bh);
    }
    g_mutex_unlock(&s->lock);
    guest_error(&s->vp.pci.dev, "%s of 0x%" G_GINT64_MODIFIER "x by %02x:%02x.%x refused", read ? "read" : "write", addr,
                endpoint >> 8, PCI_SLOT(endpoint & 0xff), PCI_FUNC(endpoint & 0xff));
}

static bool viommu_translate(void *opaque, HwAddr addr, MemPerm want, bool probe, MemTranslation *out)
{
    const ViommuEndpoint *e = opaque;
    Viommu *s = e->iommu;
    const ViommuMap *map = NULL;
    bool attached;

    *out = (MemTranslation){.iova = addr & ~(uint64_t)(VIOMMU_PAGE - 1), .size = VIOMMU_PAGE};
    g_mutex_lock(&s->lock);
    attached = e->domain != NULL;
    map = attached ? map_from(e->domain, addr) : NULL;
    if (map && map->first <= addr) {
        *out = translation(s, map);
    } else {
        map = NULL;
    }
    g_mutex_unlock(&s->lock);
    if (map && (out->perm & want) == want) {
        return true;
    }
    if (!probe) {
        viommu_fault(s, pci_requester_id(e->pci), attached ? VIRTIO_IOMMU_FAULT_R_MAPPING : VIRTIO_IOMMU_FAULT_R_DOMAIN,
                     addr, !(want & MEM_PERM_WRITE));
    }
    return false;
}

const MemIommuOps viommu_ops = {viommu_translate, viommu_replay};
