/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A q35 machine with an IOMMU and a function that does DMA, and what a driver of the IOMMU does; for cmocka. */
#ifndef TESTS_UNIT_INTEL_IOMMU_RIG_H
#define TESTS_UNIT_INTEL_IOMMU_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../hw/i386/intel-iommu-regs.h"
#include "core/memory-iommu.h"
#include "hw/i386/pc.h"
#include "hw/pci/pci.h"

#define REGS 0xfed90000ull
#define SID  0x18 /* 00:03.0 */
#define DID  0x123

/* Guest memory of the tests. */
#define ROOT    0x100000ull
#define CONTEXT 0x101000ull
#define L4      0x110000ull
#define L3      0x111000ull
#define L2      0x112000ull
#define L1      0x113000ull
#define QUEUE   0x120000ull
#define IRTA    0x130000ull
#define EVENT   0x140000ull /* where event messages go */
#define STATUS  0x141000ull
#define PAGES   0x200000ull /* targets */
#define IOVA    0x12345000ull

extern const DeviceModel intel_iommu_model;

Machine *pc_new(void);
Device *add(Machine *m, const char *text, GError **error);
PciDevice *function(Machine *m);
/* -device `iommu`, and the function at 00:03.0, a bus master. */
Machine *world_new(const char *iommu);
int setup(void **state);
int setup_48(void **state);
int teardown(void **state);
void poke(Machine *m, uint64_t addr, uint64_t val);
uint64_t peek(Machine *m, uint64_t addr);
uint32_t reg(Machine *m, unsigned offset);
void reg_set(Machine *m, unsigned offset, uint32_t val);
uint64_t reg64(Machine *m, unsigned offset);
void reg64_set(Machine *m, unsigned offset, uint64_t val);
/* One bit of GCMD_REG. */
void command(Machine *m, uint32_t bit, bool on);
void write_context(Machine *m, uint64_t low, uint64_t high);
uint64_t index_of(uint64_t iova, unsigned level);
/* Tables that lead IOVA to L1, and translation on.  aw 1: three levels, 2: four. */
void enable(Machine *m, unsigned aw);
void set_page(Machine *m, uint64_t iova, uint64_t entry);
void invalidate(Machine *m, unsigned granularity, uint16_t did, uint64_t iva);
void invalidate_contexts(Machine *m);
MemResult dma_write(Machine *m, uint64_t iova, uint64_t val);
MemResult dma_read(Machine *m, uint64_t iova, uint64_t *val);
/* The oldest record, which is as expected; acknowledged. */
void expect_fault(Machine *m, VtdFault reason, uint64_t info, bool read);
void expect_no_fault(Machine *m);
/* Reads and writes of IOVA are refused for that reason, and nothing is written. */
void expect_refused(Machine *m, VtdFault reason);
/* Writes to iova reach addr. */
void expect_at(Machine *m, uint64_t iova, uint64_t addr);
/* One entry of the queue; queue_go() moves the tail. */
void queue_put(Machine *m, unsigned n, uint64_t low, uint64_t high);
void queue_go(Machine *m, unsigned tail);
void queue_enable(Machine *m);
uint64_t wait_low(uint32_t data, bool interrupt);
/* The main loop does what it was asked to. */
void settle(Machine *m);

#endif
