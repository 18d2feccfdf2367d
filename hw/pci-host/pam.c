/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PAM0..PAM6 of the 440FX and the Q35 hub (440FX data sheet 3.2.13; 3 series chip set data sheet 5.1.22): thirteen
 * segments with a read and a write enable each.  A segment whose reads go to PCI is PCI's altogether: writes to the
 * RAM behind it are not modelled.
 */
#include "hw/pci-host/pam.h"

#define PAM_SEGMENTS 13
#define PAM_BASE     0xc0000ull
#define PAM_SIZE     0x4000ull
#define PAM_LAST     0xf0000ull /* the BIOS area is one segment of 64 KiB */
#define PAM_LAST_LEN 0x10000ull
#define PAM_RE       0x1
#define PAM_WE       0x2
#define PAM_PRIORITY 1 /* over RAM */

struct Pam {
    MemTopology *topo;
    MemRegion *memory;
    MemRegion *pci[PAM_SEGMENTS], *rom[PAM_SEGMENTS]; /* PCI, and RAM that is read-only */
};

static MemRegion *pam_alias(Pam *pam, const char *name, MemRegion *target, uint64_t base, uint64_t size)
{
    MemRegion *alias = mem_region_new_alias(pam->topo, name, target, base, size);
    mem_region_set_enabled(alias, false);
    mem_region_add_overlap(pam->memory, base, alias, PAM_PRIORITY);
    return alias;
}

Pam *pam_new(MemTopology *topo, MemRegion *memory, MemRegion *pci_memory, MemRegion *ram)
{
    Pam *pam = g_new0(Pam, 1);
    pam->topo = topo;
    pam->memory = memory;
    mem_begin(topo);
    for (unsigned i = 0; i < PAM_SEGMENTS; i++) {
        bool last = i == PAM_SEGMENTS - 1;
        uint64_t base = last ? PAM_LAST : PAM_BASE + i * PAM_SIZE, size = last ? PAM_LAST_LEN : PAM_SIZE;
        pam->pci[i] = pam_alias(pam, "pam-pci", pci_memory, base, size);
        pam->rom[i] = pam_alias(pam, "pam-rom", ram, base, size);
        mem_region_set_readonly(pam->rom[i], true);
    }
    mem_commit(topo, NULL);
    return pam;
}

void pam_free(Pam *pam)
{
    if (!pam) {
        return;
    }
    for (unsigned i = 0; i < PAM_SEGMENTS; i++) {
        mem_region_del(pam->memory, pam->pci[i]);
        mem_region_del(pam->memory, pam->rom[i]);
        mem_region_unref(pam->pci[i]);
        mem_region_unref(pam->rom[i]);
    }
    g_free(pam);
}

/* PAM0 has the last segment in its high half, PAM1..PAM6 have two each from C0000h on. */
static unsigned pam_attribute(const uint8_t regs[PAM_REG_COUNT], unsigned segment)
{
    return segment == PAM_SEGMENTS - 1 ? regs[0] >> 4 : regs[1 + segment / 2] >> 4 * (segment % 2);
}

void pam_set(Pam *pam, const uint8_t regs[PAM_REG_COUNT])
{
    mem_begin(pam->topo);
    for (unsigned i = 0; i < PAM_SEGMENTS; i++) {
        unsigned attr = pam_attribute(regs, i);
        mem_region_set_enabled(pam->pci[i], !(attr & PAM_RE));
        mem_region_set_enabled(pam->rom[i], (attr & PAM_RE) && !(attr & PAM_WE));
    }
    mem_commit(pam->topo, NULL);
}
