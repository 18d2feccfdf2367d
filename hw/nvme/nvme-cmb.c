/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Controller Memory Buffer (NVMe 1.4, 4.7; registers 3.1.11, 3.1.12, 3.1.16, 3.1.17): memory in BAR 2 for submission queues,
 * PRP lists, SGLs and data.  It has an fd, so that the client of a served controller maps it.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"
#include "hw/nvme/nvme.h"

#define CMB_BAR    2
#define CMBSZ_SQS  0x01u /* submission queues */
#define CMBSZ_LISTS 0x04u
#define CMBSZ_RDS  0x08u
#define CMBSZ_WDS  0x10u
#define CMBSZ_MIB  (2u << 8) /* granularity: 1 MiB */
#define CMBMSC_CRE  0x1u
#define CMBMSC_CMSE 0x2u
#define CMBSTS_CBAI 0x1u

static uint64_t cmb_size(const Nvme *n)
{
    return (uint64_t)n->cmb_size_mb << 20;
}

/* Where the controller sees it: the host says so, or, as before 1.4, at the BAR. */
static bool cmb_base(const Nvme *n, uint64_t *base)
{
    const PciBar *bar = &n->pci.bars[CMB_BAR];

    if (!n->cmb) {
        return false;
    }
    *base = n->legacy_cmb ? bar->address : n->cmbmsc & ~UINT64_C(0xfff);
    return n->legacy_cmb ? bar->address != PCI_BAR_UNMAPPED
                         : n->cmbmsc & CMBMSC_CMSE && !(n->cmbsts & CMBSTS_CBAI);
}

uint8_t *nvme_cmb_host(const Nvme *n, uint64_t addr, uint64_t len)
{
    uint64_t base;

    if (!cmb_base(n, &base) || addr < base || addr - base >= cmb_size(n) || len > cmb_size(n) - (addr - base)) {
        return NULL;
    }
    return n->cmb + (addr - base);
}

bool nvme_cmb_touches(const Nvme *n, uint64_t addr, uint64_t len)
{
    uint64_t base;

    return cmb_base(n, &base) && addr < base + cmb_size(n) && base < addr + len;
}

/* --- registers --- */

static bool cmb_shown(const Nvme *n)
{
    return n->cmb && (n->legacy_cmb || n->cmbmsc & CMBMSC_CRE);
}

uint64_t nvme_cmbloc_read(void *opaque)
{
    return cmb_shown(opaque) ? CMB_BAR : 0; /* offset 0; data and lists may be mixed with other memory */
}

uint64_t nvme_cmbsz_read(void *opaque)
{
    const Nvme *n = opaque;

    if (!cmb_shown(n)) {
        return 0;
    }
    return n->cmb_size_mb << 12 | CMBSZ_MIB | CMBSZ_SQS | CMBSZ_LISTS | CMBSZ_RDS | CMBSZ_WDS;
}

void nvme_cmbmsc_written(void *opaque, uint64_t old_val, uint64_t new_val)
{
    Nvme *n = opaque;
    uint64_t base = n->cmbmsc & ~UINT64_C(0xfff);

    if (!n->cmb || n->legacy_cmb) {
        n->cmbmsc = 0;
        return;
    }
    n->cmbsts = 0;
    if (n->cmbmsc & CMBMSC_CMSE && base + cmb_size(n) < base) {
        guest_error(&n->pci.dev, "CMBMSC: the buffer leaves the address space");
        n->cmbsts = CMBSTS_CBAI;
    }
}

/* --- life --- */

bool nvme_cmb_init(Nvme *n, GError **error)
{
    MemTopology *topo = n->pci.dev.obj.machine->topo;
    MemRegion *bar;

    n->cmb_fd = -1;
    if (!n->cmb_size_mb) {
        return true;
    }
    if (n->cmb_size_mb & (n->cmb_size_mb - 1)) {
        error_set(error, "nvme.cmb_size_mb: not a power of two (%u, allowed 0, 1, 2, 4, ... %u)", n->cmb_size_mb,
                  NVME_CMB_MAX_MB);
        return false;
    }
    n->cmb_fd = memfd_create("NVMe CMB", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (n->cmb_fd < 0 || ftruncate(n->cmb_fd, (off_t)cmb_size(n)) < 0) {
        error_set_errno(error, errno, "nvme.cmb_size_mb: cannot allocate %u MiB", n->cmb_size_mb);
        nvme_cmb_cleanup(n);
        return false;
    }
    n->cmb = mmap(NULL, cmb_size(n), PROT_READ | PROT_WRITE, MAP_SHARED, n->cmb_fd, 0);
    if (n->cmb == MAP_FAILED) {
        n->cmb = NULL;
        error_set_errno(error, errno, "nvme.cmb_size_mb: cannot map %u MiB", n->cmb_size_mb);
        nvme_cmb_cleanup(n);
        return false;
    }
    bar = mem_region_new_container(topo, "NVMe CMB BAR", cmb_size(n));
    pci_register_bar(&n->pci, CMB_BAR, PCI_BAR_MEM64_PREFETCH, bar);
    mem_region_unref(bar);
    n->cmb_region = mem_region_new_ram(topo, "NVMe CMB", cmb_size(n), n->cmb, n->cmb_fd, 0, false);
    mem_region_set_device_memory(n->cmb_region);
    mem_region_add(pci_bar_region(&n->pci, CMB_BAR), 0, n->cmb_region);
    return true;
}

void nvme_cmb_cleanup(Nvme *n)
{
    if (n->cmb_region) {
        mem_region_del(pci_bar_region(&n->pci, CMB_BAR), n->cmb_region);
        mem_region_retire(n->cmb_region);
        g_clear_pointer(&n->cmb_region, mem_region_unref);
    }
    if (n->cmb) {
        munmap(n->cmb, cmb_size(n));
        n->cmb = NULL;
    }
    if (n->cmb_fd >= 0) {
        close(n->cmb_fd);
    }
    n->cmb_fd = -1;
    g_clear_pointer(&n->saved_cmb, g_free);
}

void nvme_cmb_reset(Nvme *n)
{
    n->cmbmsc = 0;
    n->cmbsts = 0;
}

void nvme_cmb_save(Nvme *n)
{
    g_clear_pointer(&n->saved_cmb, g_free);
    n->saved_cmb_len = 0;
    if (n->cmb) {
        n->saved_cmb = g_memdup2(n->cmb, cmb_size(n));
        n->saved_cmb_len = (uint32_t)cmb_size(n);
    }
}

bool nvme_cmb_load(Nvme *n)
{
    if (n->saved_cmb_len != (n->cmb ? cmb_size(n) : 0)) {
        return false;
    }
    if (n->cmb) {
        memcpy(n->cmb, n->saved_cmb, cmb_size(n));
    }
    g_clear_pointer(&n->saved_cmb, g_free);
    n->saved_cmb_len = 0;
    return true;
}
