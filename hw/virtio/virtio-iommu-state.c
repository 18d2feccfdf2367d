/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attachments and mappings of virtio-iommu (VIRTIO 1.2, 5.13.6) in a saved state: records that are carried out again as
 * requests of a driver are, and checked as those.  A function is known by the devices and functions on the way to it: bus
 * numbers may not be loaded yet.
 */
#include <string.h>

#include "core/error.h"
#include "virtio-iommu.h"

enum { RECORD_ATTACH = 1, RECORD_MAP };
enum { AT_KIND, AT_FLAGS, AT_DEPTH, AT_DOMAIN = 4, AT_PATH = 8, AT_FIRST = 8, AT_LAST = 16, AT_PHYS = 24 };
#define FLAG_BYPASS 1 /* of an attachment; those of a map are MemPerm */
#define PATH_MAX_DEPTH (VIOMMU_RECORD_LEN - AT_PATH)

/* From the root bus down; 0: deeper than any machine that can be built. */
static unsigned path_of(const PciDevice *pci, uint8_t path[PATH_MAX_DEPTH])
{
    unsigned depth = 0;

    for (const PciDevice *at = pci; at; at = at->bus->parent) {
        if (depth == PATH_MAX_DEPTH) {
            return 0;
        }
        memmove(path + 1, path, depth++);
        path[0] = at->devfn;
    }
    return depth;
}

static ViommuEndpoint *endpoint_at(const Viommu *s, const uint8_t *path, unsigned depth)
{
    for (guint i = 0; i < s->endpoints->len; i++) {
        ViommuEndpoint *e = s->endpoints->pdata[i];
        uint8_t here[PATH_MAX_DEPTH] = {0};

        if (depth && path_of(e->pci, here) == depth && !memcmp(here, path, depth)) {
            return e;
        }
    }
    return NULL;
}

/* --- saving --- */

static void save_attachment(const ViommuEndpoint *e, GByteArray *out)
{
    uint8_t r[VIOMMU_RECORD_LEN] = {[AT_KIND] = RECORD_ATTACH, [AT_FLAGS] = e->domain->bypass ? FLAG_BYPASS : 0};

    r[AT_DEPTH] = (uint8_t)path_of(e->pci, r + AT_PATH);
    pci_set32(r + AT_DOMAIN, e->domain->id);
    g_byte_array_append(out, r, sizeof(r));
}

static void save_maps(const ViommuDomain *d, GByteArray *out)
{
    for (GTreeNode *at = g_tree_node_first(d->maps); at; at = g_tree_node_next(at)) {
        const ViommuMap *map = g_tree_node_key(at);
        uint8_t r[VIOMMU_RECORD_LEN] = {[AT_KIND] = RECORD_MAP, [AT_FLAGS] = (uint8_t)map->perm};

        pci_set32(r + AT_DOMAIN, d->id);
        pci_set64(r + AT_FIRST, map->first);
        pci_set64(r + AT_LAST, map->last);
        pci_set64(r + AT_PHYS, map->phys);
        g_byte_array_append(out, r, sizeof(r));
    }
}

static gint domain_compare(gconstpointer a, gconstpointer b)
{
    uint32_t x = ((const ViommuDomain *)a)->id, y = ((const ViommuDomain *)b)->id;

    return x < y ? -1 : x > y;
}

void viommu_save(const Viommu *s, GByteArray *out)
{
    /* Equal states have equal bytes. */
    g_autoptr(GList) domains = g_list_sort(g_hash_table_get_values(s->domains), domain_compare);

    for (guint i = 0; i < s->endpoints->len; i++) {
        const ViommuEndpoint *e = s->endpoints->pdata[i];

        if (e->domain) {
            save_attachment(e, out);
        }
    }
    for (const GList *at = domains; at; at = at->next) {
        save_maps(at->data, out);
    }
}

/* --- loading --- */

static bool load_attachment(Viommu *s, const uint8_t *r, GError **error)
{
    unsigned depth = r[AT_DEPTH];
    ViommuEndpoint *e = depth <= PATH_MAX_DEPTH ? endpoint_at(s, r + AT_PATH, depth) : NULL;

    if (!e || e->domain || r[AT_FLAGS] & ~FLAG_BYPASS ||
        !viommu_join(e, pci_get32(r + AT_DOMAIN), r[AT_FLAGS] & FLAG_BYPASS)) {
        error_set(error, "%s: domain %u of the saved guest has a function that is not here, or is there in another way "
                  "(at %02x.%x, %u deep)", s->vp.pci.dev.obj.id, pci_get32(r + AT_DOMAIN), PCI_SLOT(r[AT_PATH]),
                  PCI_FUNC(r[AT_PATH]), depth);
        return false;
    }
    return true;
}

static bool load_map(Viommu *s, const uint8_t *r, GError **error)
{
    const ViommuMap map = {.first = pci_get64(r + AT_FIRST),
                           .last = pci_get64(r + AT_LAST),
                           .phys = pci_get64(r + AT_PHYS),
                           .perm = r[AT_FLAGS]};
    bool known = !(map.perm & ~(MEM_PERM_READ | MEM_PERM_WRITE));
    uint8_t status = known ? viommu_map(s, pci_get32(r + AT_DOMAIN), &map) : VIRTIO_IOMMU_S_INVAL;

    if (status != VIRTIO_IOMMU_S_OK) {
        error_set(error, "%s: the saved guest maps 0x%" G_GINT64_MODIFIER "x in domain %u, which cannot be (status %u)",
                  s->vp.pci.dev.obj.id, map.first, pci_get32(r + AT_DOMAIN), status);
        return false;
    }
    return true;
}

static bool load_records(Viommu *s, const uint8_t *data, size_t len, GError **error)
{
    size_t at = 0;

    for (; len - at >= VIOMMU_RECORD_LEN; at += VIOMMU_RECORD_LEN) {
        const uint8_t *r = data + at;
        bool known = r[AT_KIND] == RECORD_ATTACH || r[AT_KIND] == RECORD_MAP;

        if (!known) {
            break;
        }
        if (!(r[AT_KIND] == RECORD_MAP ? load_map(s, r, error) : load_attachment(s, r, error))) {
            return false;
        }
    }
    if (at != len) {
        error_set(error, "%s: unknown or cut record of domains at byte %zu of %zu", s->vp.pci.dev.obj.id, at, len);
    }
    return at == len;
}

bool viommu_load(Viommu *s, const uint8_t *data, size_t len, GError **error)
{
    bool ok;

    viommu_detach_all(s);
    ok = load_records(s, data, len, error);
    if (ok) {
        viommu_refresh(s);
    } else {
        viommu_detach_all(s);
    }
    return ok;
}
