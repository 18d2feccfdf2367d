/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pci-testdev: counts writes that reach it directly or by an event descriptor, for tests of register access
 * (its interface is public: docs/specs/pci-testdev of QEMU).  BAR 0 is memory, BAR 1 is I/O; each begins with
 * a header:
 *
 *   0x00 test   write: starts that test.  0x01 width: bytes of the test's writes, 0 when there is no such
 * test. 0x04 offset where the test writes.    0x08 data: what it writes.  0x0c count: writes seen.  0x10
 * name, NUL ended.
 *
 * Test 0 traps; test 1 signals a descriptor for every value; test 2 for one value only, the rest traps.  BAR
 * 2, with membar=, is memory space of that size with nothing behind it.
 */
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/error.h"
#include "hw/pci/pci.h"

#define TESTDEV_MEM_SIZE   4096
#define TESTDEV_IO_SIZE    256
#define TESTDEV_DATA       0xfau
#define TESTDEV_COUNT_AT   0x0c
#define TESTDEV_NAME_AT    0x10
#define TESTDEV_HEADER_LEN 64
#define TESTDEV_NO_TEST    0xffu
#define TESTDEV_BARS       2

typedef struct TestdevCase {
    const char *name;
    bool eventfd, match;
} TestdevCase;

static const TestdevCase testdev_cases[] = {
    {"no-eventfd", false, false},
    {"wildcard-eventfd", true, false},
    {"datamatch-eventfd", true, true},
};

struct Testdev;

typedef struct TestdevBar {
    struct Testdev *dev;
    unsigned n;
    MemRegion *region;
    uint8_t test; /* TESTDEV_NO_TEST: none was started */
    uint32_t count;
    int fd; /* of the running test, or -1 */
} TestdevBar;

typedef struct Testdev {
    PciDevice pci;
    uint64_t membar; /* property */
    TestdevBar bar[TESTDEV_BARS];
    MemRegion *empty; /* BAR 2 */
} Testdev;

static const TestdevCase *testdev_case(const TestdevBar *bar)
{
    return bar->test < G_N_ELEMENTS(testdev_cases) ? &testdev_cases[bar->test] : NULL;
}

/* Each test writes at a place of its own in the second half. */
static uint32_t testdev_offset(const TestdevBar *bar)
{
    return (uint32_t)mem_region_size(bar->region) / 2 + bar->test;
}

static void testdev_collect(TestdevBar *bar)
{
    uint64_t seen;

    if (bar->fd >= 0 && read(bar->fd, &seen, sizeof(seen)) == sizeof(seen)) {
        bar->count += (uint32_t)seen;
    }
}

static void testdev_end(TestdevBar *bar)
{
    if (bar->fd >= 0) {
        mem_region_del_ioeventfd(bar->region, testdev_offset(bar), 1, testdev_case(bar)->match, TESTDEV_DATA,
                                 bar->fd);
        close(bar->fd);
        bar->fd = -1;
    }
    bar->test = TESTDEV_NO_TEST;
    bar->count = 0;
}

static void testdev_begin(TestdevBar *bar, uint8_t test)
{
    const TestdevCase *c;

    testdev_end(bar);
    bar->test = test;
    c = testdev_case(bar);
    if (!c || !c->eventfd) {
        return;
    }
    bar->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bar->fd < 0) {
        bar->test = TESTDEV_NO_TEST; /* to the guest: not supported */
        return;
    }
    mem_region_add_ioeventfd(bar->region, testdev_offset(bar), 1, c->match, TESTDEV_DATA, bar->fd);
}

/* --- registers --- */

static void testdev_header(TestdevBar *bar, uint8_t header[TESTDEV_HEADER_LEN])
{
    const TestdevCase *c = testdev_case(bar);

    memset(header, 0, TESTDEV_HEADER_LEN);
    header[0] = bar->test;
    if (c) {
        testdev_collect(bar);
        header[1] = 1;
        pci_set32(header + 4, testdev_offset(bar));
        pci_set32(header + 8, TESTDEV_DATA);
        pci_set32(header + TESTDEV_COUNT_AT, bar->count);
        g_snprintf((char *)header + TESTDEV_NAME_AT, TESTDEV_HEADER_LEN - TESTDEV_NAME_AT, "%s-%s",
                   bar->n ? "portio" : "mmio", c->name);
    }
}

static MemResult testdev_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    uint8_t header[TESTDEV_HEADER_LEN];

    *val = 0;
    if (addr + size <= sizeof(header)) {
        testdev_header(opaque, header);
        for (unsigned i = 0; i < size; i++) {
            *val |= (uint64_t)header[addr + i] << (8 * i);
        }
    }
    return MEM_OK;
}

static MemResult testdev_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    TestdevBar *bar = opaque;

    if (addr == 0 && size == 1) {
        testdev_begin(bar, (uint8_t)val);
    } else if (testdev_case(bar) && addr == testdev_offset(bar) && size == 1) {
        bar->count++;
    } else {
        guest_error(&bar->dev->pci.dev,
                    "write of %u bytes at 0x%" G_GINT64_MODIFIER "x of BAR %u: no test writes there", size,
                    addr, bar->n);
    }
    return MEM_OK;
}

static const MemOps testdev_ops = {
    .read = testdev_read, .write = testdev_write, .min_size = 1, .max_size = 4};

/* --- life, properties, state --- */

static bool testdev_start(PciDevice *dev, GError **error)
{
    Testdev *t = (Testdev *)dev;
    MemTopology *topo = dev->dev.obj.machine->topo;

    if (t->membar && (t->membar < 4096 || t->membar & (t->membar - 1))) {
        error_set(error,
                  "pci-testdev: membar must be a power of two (%" G_GUINT64_FORMAT ", allowed 4096..2^62)",
                  t->membar);
        return false;
    }
    for (unsigned n = 0; n < TESTDEV_BARS; n++) {
        g_autofree char *name = g_strdup_printf("%s test BAR %u", dev->dev.obj.id, n);
        TestdevBar *bar = &t->bar[n];
        uint64_t size = n ? TESTDEV_IO_SIZE : TESTDEV_MEM_SIZE;

        *bar = (TestdevBar){.dev = t, .n = n, .test = TESTDEV_NO_TEST, .fd = -1};
        bar->region = mem_region_new_io(topo, name, size, &testdev_ops, bar, dev->dev.home);
        mem_region_add(pci_bar_region(dev, n), 0, bar->region);
    }
    if (t->membar) {
        t->empty = mem_region_new_container(topo, "pci-testdev membar", t->membar);
        pci_register_bar(dev, 2, PCI_BAR_MEM64_PREFETCH, t->empty);
    }
    return true;
}

static void testdev_reset(PciDevice *dev)
{
    for (unsigned n = 0; n < TESTDEV_BARS; n++) {
        testdev_end(&((Testdev *)dev)->bar[n]);
    }
}

static void testdev_stop(PciDevice *dev)
{
    Testdev *t = (Testdev *)dev;

    testdev_reset(dev);
    for (unsigned n = 0; n < TESTDEV_BARS; n++) {
        mem_region_del(pci_bar_region(dev, n), t->bar[n].region);
        mem_region_retire(t->bar[n].region);
        mem_region_unref(t->bar[n].region);
    }
    if (t->empty) {
        mem_region_unref(t->empty);
    }
}

static const Prop testdev_props[] = {
    PROP_SIZE("membar", Testdev, membar, 0, 0, UINT64_C(1) << 62, "size of the empty memory BAR 2; 0: none"),
    PROP_END,
};

static void testdev_bar_pre_save(void *instance)
{
    testdev_collect(instance);
}

static bool testdev_bar_post_load(void *instance, uint32_t version, GError **error)
{
    TestdevBar *bar = instance;
    uint32_t count = bar->count;

    /* The descriptor of whatever ran here belongs to an unknown test by now: `fd` says which, by being open.
     */
    testdev_begin(bar, bar->test);
    bar->count = count;
    return true;
}

static const StateField testdev_bar_fields[] = {
    STATE_FIELD_UINT(TestdevBar, test),
    STATE_FIELD_UINT(TestdevBar, count),
    STATE_END,
};

static const StateTable testdev_bar_state = {.name = "pci-testdev-bar",
                                             .version = 1,
                                             .fields = testdev_bar_fields,
                                             .pre_save = testdev_bar_pre_save,
                                             .post_load = testdev_bar_post_load};

static const StateField testdev_fields[] = {
    STATE_FIELD_STRUCT(Testdev, pci, &pci_device_state),
    STATE_FIELD_STRUCTS(Testdev, bar, &testdev_bar_state),
    STATE_END,
};

static const StateTable testdev_state = {.name = "pci-testdev", .version = 1, .fields = testdev_fields};

const PciModel pci_testdev_model = {
    .dev = {.name = "pci-testdev",
            .doc = "Counts register writes that trap or signal a descriptor, for tests.",
            .kind = MODEL_PCI,
            .size = sizeof(Testdev),
            .props = testdev_props,
            .state = &testdev_state},
    .ids = {.vendor = 0x1b36,
            .device = 0x0005,
            .class_code = 0x00ff00,
            .subsystem_vendor = 0x1af4,
            .subsystem = 0x1100},
    .bars = {[0] = {.size = TESTDEV_MEM_SIZE, .kind = PCI_BAR_MEM32},
             [1] = {.size = TESTDEV_IO_SIZE, .kind = PCI_BAR_IO}},
    .start = testdev_start,
    .reset = testdev_reset,
    .stop = testdev_stop,
};
