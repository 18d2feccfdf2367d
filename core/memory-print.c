/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `info mtree`: the trees, or with -f the flat views, of all address spaces. */
#include <inttypes.h>

#include "core/memory-internal.h"

static const char *region_kind_name(const MemRegion *r)
{
    static const char *const names[] = {
        [MEM_CONTAINER] = "container", [MEM_RAM] = "ram", [MEM_ROM] = "romd", [MEM_IO] = "i/o",
        [MEM_ALIAS] = "alias", [MEM_IOMMU] = "iommu",
    };

    return r->kind == MEM_RAM && r->readonly ? "rom" : names[r->kind];
}

static void print_region(GString *out, const MemRegion *r, unsigned depth, HwAddr base)
{
    HwAddr last = base + (r->size == UINT64_MAX ? UINT64_MAX : r->size - 1);

    g_string_append_printf(out, "%*s%016" PRIx64 "-%016" PRIx64 " (prio %d, %s): ", (int)depth * 2, "", base,
                           last, r->priority, region_kind_name(r));
    if (r->target) {
        g_string_append_printf(out, "%s @%s %016" PRIx64 "-%016" PRIx64, r->name, r->target->name,
                               r->target_offset, r->target_offset + r->size - 1);
    } else {
        g_string_append(out, r->name);
    }
    g_string_append(out, r->enabled ? "\n" : " [disabled]\n");
    for (guint i = 0; r->children && i < r->children->len; i++) {
        const MemRegion *child = r->children->pdata[i];

        print_region(out, child, depth + 1, base + child->addr);
    }
}

static void print_view(GString *out, const AddressSpace *as)
{
    g_string_append_printf(out, "FlatView of \"%s\", root: %s\n", as->name, as->root->name);
    for (guint i = 0; i < as->view->n; i++) {
        const FlatRange *range = &as->view->ranges[i];

        g_string_append_printf(out, "  %016" PRIx64 "-%016" PRIx64 " (%s%s): %s", range->first, range->last,
                               region_kind_name(range->region),
                               range->readonly && !range->region->readonly ? ", read-only" : "",
                               range->region->name);
        if (range->offset) {
            g_string_append_printf(out, " @%016" PRIx64, range->offset);
        }
        g_string_append_c(out, '\n');
    }
    if (!as->view->n) {
        g_string_append(out, "  No rendered FlatView\n");
    }
}

char *mem_topology_print(MemTopology *topo, bool flat)
{
    GString *out = g_string_new(NULL);

    loop_lock(topo->loop);
    for (guint i = 0; i < topo->spaces->len; i++) {
        const AddressSpace *as = topo->spaces->pdata[i];

        if (flat) {
            print_view(out, as);
        } else {
            g_string_append_printf(out, "address-space: %s\n", as->name);
            print_region(out, as->root, 1, 0);
        }
        g_string_append_c(out, '\n');
    }
    loop_unlock(topo->loop);
    return g_string_free(out, FALSE);
}
