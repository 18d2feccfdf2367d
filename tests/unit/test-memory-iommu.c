/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IOMMU regions (core/memory-iommu.c and the translating part of core/memory-dispatch.c), over a table of pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/memory-iommu.h"
#include "core/model.h"
#include "core/trace.h"

const Model *const model_table[] = {NULL};
TraceEvent *const trace_tables[] = {NULL};

#define PAGE       0x1000u
#define RAM_SIZE   (16 * PAGE)
#define TABLE_SIZE 16
#define IO_ADDR    0x100000u /* registers, beyond RAM */

typedef struct Fault {
    HwAddr addr;
    MemPerm want;
} Fault;

typedef struct World {
    ClockSource *clocks;
    EventLoop *loop;
    MemTopology *topo;
    MemRegion *system, *ram, *io, *root, *iommu;
    AddressSpace *memory, *dma;
    uint8_t *host;
    uint64_t io_val;
    MemTranslation table[TABLE_SIZE]; /* perm NONE: unused */
    Fault faults[64];
    unsigned fault_count;
    /* what the notifier heard */
    MemIommuNotifier notifier;
    unsigned batches, commits, maps, unmaps, room;
    MemTranslation last_map;
    HwAddr unmap_first, unmap_last;
} World;

static bool table_translate(void *opaque, HwAddr addr, MemPerm want, bool probe, MemTranslation *out)
{
    World *w = opaque;

    for (unsigned i = 0; i < TABLE_SIZE; i++) {
        const MemTranslation *t = &w->table[i];

        if (t->perm && addr >= t->iova && addr - t->iova <= t->size - 1) {
            *out = *t;
            if ((t->perm & want) == want) {
                return true;
            }
            break;
        }
    }
    if (!out->size) {
        *out = (MemTranslation){.iova = addr & ~(HwAddr)(PAGE - 1), .size = PAGE};
    }
    if (!probe) {
        w->faults[w->fault_count++ % G_N_ELEMENTS(w->faults)] = (Fault){addr, want};
    }
    return false;
}

static void table_replay(void *opaque, MemIommuNotifier *n)
{
    World *w = opaque;

    for (unsigned i = 0; i < TABLE_SIZE; i++) {
        if (w->table[i].perm && !n->map(n, &w->table[i])) {
            return;
        }
    }
}

static const MemIommuOps table_ops = {table_translate, table_replay};

static MemResult io_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = ((World *)opaque)->io_val;
    return MEM_OK;
}

static MemResult io_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    ((World *)opaque)->io_val = val;
    return MEM_OK;
}

static const MemOps io_ops = {.read = io_read, .write = io_write, .min_size = 4, .max_size = 4};

static World *world_of(MemIommuNotifier *n)
{
    return (World *)((char *)n - offsetof(World, notifier));
}

static void heard_begin(MemIommuNotifier *n)
{
    world_of(n)->batches++;
}

static bool heard_map(MemIommuNotifier *n, const MemTranslation *t)
{
    World *w = world_of(n);

    w->maps++;
    w->last_map = *t;
    return w->maps < w->room;
}

static void heard_unmap(MemIommuNotifier *n, HwAddr first, HwAddr last)
{
    World *w = world_of(n);

    w->unmaps++;
    w->unmap_first = first;
    w->unmap_last = last;
}

static void heard_commit(MemIommuNotifier *n)
{
    world_of(n)->commits++;
}

static int world_setup(void **state)
{
    World *w = g_new0(World, 1);

    w->clocks = clock_source_new();
    w->loop = loop_new("main", true, w->clocks);
    w->topo = mem_topology_new(w->loop);
    w->host = aligned_alloc(PAGE, RAM_SIZE);
    memset(w->host, 0, RAM_SIZE);
    w->system = mem_region_new_container(w->topo, "system", UINT64_MAX);
    w->ram = mem_region_new_ram(w->topo, "ram", RAM_SIZE, w->host, -1, 0, false);
    w->io = mem_region_new_io(w->topo, "registers", PAGE, &io_ops, w, NULL);
    mem_region_add(w->system, 0, w->ram);
    mem_region_add(w->system, IO_ADDR, w->io);
    w->memory = as_new(w->topo, "memory", w->system);
    w->root = mem_region_new_container(w->topo, "device", UINT64_MAX);
    w->iommu = mem_region_new_iommu(w->topo, "iommu", UINT64_MAX, &table_ops, w);
    mem_region_add(w->root, 0, w->iommu);
    w->dma = as_new(w->topo, "device", w->root);
    w->notifier =
        (MemIommuNotifier){.begin = heard_begin, .map = heard_map, .unmap = heard_unmap, .commit = heard_commit};
    w->room = UINT32_MAX;
    *state = w;
    return 0;
}

static int world_teardown(void **state)
{
    World *w = *state;

    as_free(w->dma);
    mem_region_del(w->root, w->iommu);
    mem_region_retire(w->iommu);
    mem_region_unref(w->iommu);
    mem_region_unref(w->root);
    as_free(w->memory);
    mem_region_del(w->system, w->io);
    mem_region_del(w->system, w->ram);
    mem_region_retire(w->io);
    mem_region_retire(w->ram);
    mem_region_unref(w->io);
    mem_region_unref(w->ram);
    mem_region_unref(w->system);
    mem_topology_free(w->topo);
    loop_free(w->loop);
    clock_source_free(w->clocks);
    free(w->host);
    g_free(w);
    return 0;
}

static void map(World *w, unsigned i, HwAddr iova, HwAddr addr, uint64_t size, MemPerm perm)
{
    w->table[i] = (MemTranslation){w->memory, iova, addr, size, perm};
}

static const MemAttrs attrs = {.requester_id = 0x10};

static void test_pages_anywhere(void **state)
{
    World *w = *state;
    uint8_t in[3 * PAGE], out[3 * PAGE];

    /* Neighbours there are strangers here; one of them at the end of the space. */
    map(w, 0, 0x7000000000, 2 * PAGE, PAGE, MEM_PERM_RW);
    map(w, 1, 0x7000001000, 9 * PAGE, PAGE, MEM_PERM_RW);
    map(w, 2, 0x7000002000, 1 * PAGE, PAGE, MEM_PERM_RW);
    map(w, 3, -(HwAddr)PAGE, 5 * PAGE, PAGE, MEM_PERM_RW);
    for (unsigned i = 0; i < sizeof(in); i++) {
        in[i] = (uint8_t)(i * 7 + i / PAGE);
    }
    assert_int_equal(as_write(w->dma, 0x7000000000, in, sizeof(in), attrs), MEM_OK);
    assert_memory_equal(w->host + 2 * PAGE, in, PAGE);
    assert_memory_equal(w->host + 9 * PAGE, in + PAGE, PAGE);
    assert_memory_equal(w->host + PAGE, in + 2 * PAGE, PAGE);
    assert_int_equal(as_read(w->dma, 0x7000000000, out, sizeof(out), attrs), MEM_OK);
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(as_write(w->dma, -(HwAddr)PAGE, in, PAGE, attrs), MEM_OK);
    assert_memory_equal(w->host + 5 * PAGE, in, PAGE);
    assert_int_equal(w->fault_count, 0);
    /* Unaligned, over a border, as one register access. */
    uint64_t val;
    assert_int_equal(as_store(w->dma, 0x7000000ffc, 8, 0x1122334455667788, attrs), MEM_OK);
    assert_int_equal(as_load(w->dma, 0x7000000ffc, 8, &val, attrs), MEM_OK);
    assert_int_equal(val, 0x1122334455667788);
    assert_int_equal(w->host[9 * PAGE], 0x44);
}

static void test_permissions(void **state)
{
    static const struct {
        MemPerm perm;
        bool read, write;
    } cases[] = {{MEM_PERM_NONE, false, false},
                 {MEM_PERM_READ, true, false},
                 {MEM_PERM_WRITE, false, true},
                 {MEM_PERM_RW, true, true}};
    World *w = *state;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint64_t val = 0, len = 8;
        uint8_t buf[16];
        MemRegion *region;
        void *host;

        w->fault_count = 0;
        memset(w->host, 0x5a, RAM_SIZE);
        map(w, 0, 0x10000, 3 * PAGE, PAGE, cases[i].perm);
        assert_int_equal(as_load(w->dma, 0x10008, 4, &val, attrs), cases[i].read ? MEM_OK : MEM_ACCESS_ERROR);
        assert_int_equal(val, cases[i].read ? 0x5a5a5a5a : UINT32_MAX);
        assert_int_equal(w->fault_count, !cases[i].read);
        assert_int_equal(as_read(w->dma, 0x10000, buf, 16, attrs), cases[i].read ? MEM_OK : MEM_ACCESS_ERROR);
        assert_int_equal(buf[15], cases[i].read ? 0x5a : 0xff);
        assert_int_equal(w->fault_count, 2 * !cases[i].read);
        assert_int_equal(as_store(w->dma, 0x10008, 4, 1, attrs), cases[i].write ? MEM_OK : MEM_ACCESS_ERROR);
        assert_int_equal(w->host[3 * PAGE + 8], cases[i].write ? 1 : 0x5a);
        memset(buf, 0x77, sizeof(buf));
        assert_int_equal(as_write(w->dma, 0x10000, buf, 16, attrs), cases[i].write ? MEM_OK : MEM_ACCESS_ERROR);
        assert_int_equal(w->host[3 * PAGE], cases[i].write ? 0x77 : 0x5a);
        assert_int_equal(w->fault_count, 2 * !cases[i].read + 2 * !cases[i].write);
        if (!cases[i].write) {
            assert_int_equal(w->faults[w->fault_count - 1].want, MEM_PERM_WRITE);
            assert_int_equal(w->faults[w->fault_count - 1].addr, 0x10000);
        }
        /* Who maps will ask again when it gets nothing: no fault yet. */
        w->fault_count = 0;
        host = as_map(w->dma, 0x10ffc, &len, true, &region);
        assert_int_equal(host != NULL, cases[i].write);
        if (host) {
            assert_int_equal(len, 4);
            assert_ptr_equal(host, w->host + 4 * PAGE - 4);
            as_unmap(w->dma, region, host, 0, true);
        }
        len = 8;
        host = as_map(w->dma, 0x10000, &len, false, &region);
        assert_int_equal(host != NULL, cases[i].read);
        if (host) {
            as_unmap(w->dma, region, host, len, false);
        }
        assert_int_equal(w->fault_count, 0);
    }
}

/* What is allowed of a transfer happens, what is not is a fault for each page. */
static void test_partly_mapped(void **state)
{
    World *w = *state;
    uint8_t buf[4 * PAGE];

    map(w, 0, 0x10000, 1 * PAGE, PAGE, MEM_PERM_RW);
    map(w, 1, 0x13000, 2 * PAGE, PAGE, MEM_PERM_RW);
    memset(buf, 0x33, sizeof(buf));
    assert_int_equal(as_write(w->dma, 0x10000, buf, sizeof(buf), attrs), MEM_ACCESS_ERROR);
    assert_int_equal(w->host[PAGE], 0x33);
    assert_int_equal(w->host[3 * PAGE - 1], 0x33);
    assert_int_equal(w->host[0] | w->host[3 * PAGE], 0);
    assert_int_equal(w->fault_count, 2);
    assert_int_equal(w->faults[0].addr, 0x11000);
    assert_int_equal(w->faults[1].addr, 0x12000);
}

/* A mapping to nowhere, to registers, and over the end of RAM. */
static void test_targets(void **state)
{
    World *w = *state;
    uint8_t buf[2 * PAGE];
    MemSection s;
    uint64_t val, len = PAGE;
    MemRegion *region;

    map(w, 0, 0x10000, 0x80000, PAGE, MEM_PERM_RW);
    assert_int_equal(as_read(w->dma, 0x10000, buf, 8, attrs), MEM_DECODE_ERROR);
    assert_int_equal(w->fault_count, 0);
    map(w, 1, 0x20000, IO_ADDR, PAGE, MEM_PERM_RW);
    assert_int_equal(as_store(w->dma, 0x20004, 4, 0xabcd, attrs), MEM_OK);
    assert_int_equal(w->io_val, 0xabcd);
    assert_int_equal(as_load(w->dma, 0x20004, 4, &val, attrs), MEM_OK);
    assert_int_equal(val, 0xabcd);
    assert_null(as_map(w->dma, 0x20000, &len, false, &region));
    map(w, 2, 0x40000, RAM_SIZE - PAGE, 2 * PAGE, MEM_PERM_RW);
    memset(buf, 0x11, sizeof(buf));
    assert_int_equal(as_write(w->dma, 0x40000, buf, sizeof(buf), attrs), MEM_DECODE_ERROR);
    assert_int_equal(w->host[RAM_SIZE - 1], 0x11);
    /* What is there, for who asks without wanting anything. */
    map(w, 3, 0x50000, PAGE, PAGE, MEM_PERM_READ);
    assert_true(as_lookup(w->dma, 0x50010, &s));
    assert_ptr_equal(s.region, w->ram);
    assert_true(s.readonly);
    assert_int_equal(s.addr, 0x50010);
    assert_int_equal(s.region_offset, PAGE + 0x10);
    assert_int_equal(s.size, PAGE - 0x10);
    assert_false(as_lookup(w->dma, 0x60000, &s));
    assert_int_equal(w->fault_count, 0);
}

/* An IOMMU region seen through an alias of a part of it. */
static void test_alias(void **state)
{
    World *w = *state;
    MemRegion *root = mem_region_new_container(w->topo, "window", UINT64_MAX);
    MemRegion *alias = mem_region_new_alias(w->topo, "alias", w->iommu, 0x10000, 0x2000);
    AddressSpace *as;
    uint8_t buf[2 * PAGE];

    mem_region_add(root, 0x500000, alias);
    as = as_new(w->topo, "window", root);
    map(w, 0, 0x10000, 4 * PAGE, 16 * PAGE, MEM_PERM_RW);
    memset(buf, 0x44, sizeof(buf));
    /* The page is larger than the window. */
    assert_int_equal(as_write(as, 0x501000, buf, sizeof(buf), attrs), MEM_DECODE_ERROR);
    assert_int_equal(w->host[5 * PAGE], 0x44);
    assert_int_equal(w->host[5 * PAGE - 1] | w->host[6 * PAGE], 0);
    as_free(as);
    mem_region_del(root, alias);
    mem_region_unref(alias);
    mem_region_unref(root);
}

static void test_notifier(void **state)
{
    World *w = *state;

    map(w, 0, 0x10000, PAGE, PAGE, MEM_PERM_RW);
    map(w, 1, 0x20000, 2 * PAGE, PAGE, MEM_PERM_READ);
    loop_lock(w->loop);
    assert_false(mem_iommu_has_notifiers(w->iommu));
    mem_iommu_notifier_register(&w->notifier, w->iommu);
    assert_true(mem_iommu_has_notifiers(w->iommu));
    assert_int_equal(w->maps, 2);
    assert_int_equal(w->batches, 1);
    assert_int_equal(w->commits, 1);
    assert_int_equal(w->last_map.iova, 0x20000);
    assert_int_equal(w->last_map.perm, MEM_PERM_READ);
    mem_iommu_begin(w->iommu);
    mem_iommu_unmap(w->iommu, 0x10000, 0x10fff);
    assert_true(mem_iommu_map(w->iommu, &w->table[0]));
    w->room = 0;
    assert_false(mem_iommu_map(w->iommu, &w->table[0]));
    mem_iommu_commit(w->iommu);
    assert_int_equal(w->batches, 2);
    assert_int_equal(w->commits, 2);
    assert_int_equal(w->maps, 4);
    assert_int_equal(w->unmap_first, 0x10000);
    assert_int_equal(w->unmap_last, 0x10fff);
    mem_iommu_notifier_unregister(&w->notifier);
    assert_int_equal(w->unmap_first, 0);
    assert_int_equal(w->unmap_last, UINT64_MAX);
    assert_int_equal(w->commits, 3);
    assert_false(mem_iommu_has_notifiers(w->iommu));
    mem_iommu_notifier_unregister(&w->notifier);
    assert_int_equal(w->commits, 3);
    loop_unlock(w->loop);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_pages_anywhere), TEST(test_permissions), TEST(test_partly_mapped),
        TEST(test_targets),        TEST(test_alias),       TEST(test_notifier),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
