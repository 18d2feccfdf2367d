/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System management RAM as aliases of the machine's RAM: laid over ordinary memory in the address space of system
 * management mode, and opened or hidden in the other (Intel 3 series express chip set data sheet, 9.10).
 */
#include "hw/i386/smram.h"

#define SMRAM_LOW_BASE  0xa0000ull
#define SMRAM_LOW_SIZE  0x20000ull
#define SMRAM_HIGH_BASE 0xfeda0000ull
#define SMRAM_MIN_TSEG  0x1000ull
#define SMRAM_PRIORITY  2 /* over the PCI hole, RAM and ROM */

struct Smram {
    Machine *m;
    MemRegion *memory;                      /* all of system memory, seen in SMM */
    MemRegion *low, *high, *tseg;           /* over it */
    MemRegion *low_open, *high_open, *hole; /* over system memory */
};

static MemResult smram_hole_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = UINT64_MAX;
    return MEM_OK;
}

static MemResult smram_hole_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    return MEM_OK;
}

static const MemOps smram_hole_ops = {
    .read = smram_hole_read, .write = smram_hole_write, .min_size = 1, .max_size = 8, .unaligned = true};

static void smram_add(MemRegion *parent, HwAddr addr, MemRegion *region)
{
    mem_region_set_enabled(region, false);
    mem_region_add_overlap(parent, addr, region, SMRAM_PRIORITY);
}

static MemRegion *smram_alias(Smram *s, const char *name, MemRegion *parent, HwAddr addr, uint64_t offset, uint64_t size)
{
    MemRegion *alias = mem_region_new_alias(s->m->topo, name, s->m->ram, offset, size);

    smram_add(parent, addr, alias);
    return alias;
}

Smram *smram_new(Machine *m)
{
    Smram *s = g_new0(Smram, 1);

    s->m = m;
    machine_smm_setup(m);
    s->memory = mem_region_new_alias(m->topo, "memory-outside-smm", m->system_memory, 0, UINT64_MAX);
    mem_region_add(m->smm_root, 0, s->memory);
    s->low = smram_alias(s, "smram-low", m->smm_root, SMRAM_LOW_BASE, SMRAM_LOW_BASE, SMRAM_LOW_SIZE);
    s->high = smram_alias(s, "smram-high", m->smm_root, SMRAM_HIGH_BASE, SMRAM_LOW_BASE, SMRAM_LOW_SIZE);
    s->tseg = smram_alias(s, "tseg", m->smm_root, 0, 0, SMRAM_MIN_TSEG);
    s->low_open = smram_alias(s, "smram-low-open", m->system_memory, SMRAM_LOW_BASE, SMRAM_LOW_BASE, SMRAM_LOW_SIZE);
    s->high_open = smram_alias(s, "smram-high-open", m->system_memory, SMRAM_HIGH_BASE, SMRAM_LOW_BASE, SMRAM_LOW_SIZE);
    s->hole = mem_region_new_io(m->topo, "tseg-hidden", SMRAM_MIN_TSEG, &smram_hole_ops, s, NULL);
    smram_add(m->system_memory, 0, s->hole);
    return s;
}

void smram_set(Smram *s, const SmramMap *map)
{
    MemTopology *topo = s->m->topo;
    GError *error = NULL;

    mem_begin(topo);
    mem_region_set_enabled(s->low, map->low);
    mem_region_set_enabled(s->low_open, map->low && map->open);
    mem_region_set_enabled(s->high, map->high);
    mem_region_set_enabled(s->high_open, map->high && map->open);
    mem_region_set_enabled(s->tseg, map->tseg_size);
    mem_region_set_enabled(s->hole, map->tseg_size);
    if (map->tseg_size) {
        mem_region_set_size(s->tseg, map->tseg_size);
        mem_region_set_alias_offset(s->tseg, map->tseg_base);
        mem_region_set_address(s->tseg, map->tseg_base);
        mem_region_set_size(s->hole, map->tseg_size);
        mem_region_set_address(s->hole, map->tseg_base);
    }
    if (!mem_commit(topo, &error)) {
        g_printerr("SMRAM: %s\n", error->message);
        g_clear_error(&error);
    }
}

static void smram_drop(MemRegion *parent, MemRegion *region)
{
    mem_region_del(parent, region);
    mem_region_unref(region);
}

void smram_free(Smram *s)
{
    Machine *m;

    if (!s) {
        return;
    }
    m = s->m;
    smram_drop(m->system_memory, s->low_open);
    smram_drop(m->system_memory, s->high_open);
    mem_region_del(m->system_memory, s->hole);
    mem_region_retire(s->hole);
    mem_region_unref(s->hole);
    smram_drop(m->smm_root, s->low);
    smram_drop(m->smm_root, s->high);
    smram_drop(m->smm_root, s->tseg);
    smram_drop(m->smm_root, s->memory);
    g_free(s);
}
