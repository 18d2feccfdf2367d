/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A device behind virtio-iommu-pci, in process and behind a socket: edu moves data at addresses that only requests of the
 * test lead to memory (VIRTIO 1.2, 5.13).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "../../hw/virtio/virtio-iommu-spec.h"
#include "libqtest/libqvirtio.h"

#define QUEUES  0x1000000u
#define EVENTS  0x1080000u
#define REQUEST 0x1020000u
#define DATA    0x1100000u
#define IOVA    UINT64_C(0x3f12345000)
#define DOMAIN  7u

/* Registers of edu. */
enum { DMA_SRC = 0x80, DMA_DST = 0x88, DMA_CNT = 0x90, DMA_CMD = 0x98 };
#define EDU_BUF   0x40000u
#define TO_MEMORY 2u
#define DMA_NS    INT64_C(101000000)

typedef struct Fixture {
    QtestState *qts;
    QpciDevice *dev;
    Qvirtio v;
    QvirtioQueue requests, events;
} Fixture;

static uint8_t request_len(Fixture *f, const void *r, uint32_t len, uint32_t out)
{
    const QvirtioBuf bufs[] = {{REQUEST, len, false}, {REQUEST + 0x1000, out, true}};

    qtest_memwrite(f->qts, REQUEST, r, len);
    qtest_writeb(f->qts, REQUEST + 0x1000 + out - 4, 0xff);
    qvirtio_run(&f->requests, bufs, 2, false);
    return qtest_readb(f->qts, REQUEST + 0x1000 + out - 4);
}

static uint8_t attach(Fixture *f, uint32_t domain, uint32_t endpoint, uint32_t flags)
{
    const uint32_t r[] = {VIRTIO_IOMMU_T_ATTACH, domain, endpoint, flags, 0};

    return request_len(f, r, sizeof(r), 4);
}

static uint8_t detach(Fixture *f, uint32_t domain, uint32_t endpoint)
{
    const uint32_t r[] = {VIRTIO_IOMMU_T_DETACH, domain, endpoint, 0, 0};

    return request_len(f, r, sizeof(r), 4);
}

static uint8_t map(Fixture *f, uint64_t first, uint64_t last, uint64_t phys, uint32_t flags)
{
    uint32_t r[9] = {VIRTIO_IOMMU_T_MAP, DOMAIN, (uint32_t)first, (uint32_t)(first >> 32), (uint32_t)last,
                     (uint32_t)(last >> 32), (uint32_t)phys, (uint32_t)(phys >> 32), flags};

    return request_len(f, r, sizeof(r), 4);
}

static uint8_t unmap(Fixture *f, uint64_t first, uint64_t last)
{
    const uint32_t r[] = {VIRTIO_IOMMU_T_UNMAP, DOMAIN, (uint32_t)first, (uint32_t)(first >> 32),
                          (uint32_t)last, (uint32_t)(last >> 32), 0};

    return request_len(f, r, sizeof(r), 4);
}

static int setup(void **state)
{
    Fixture *f = g_new0(Fixture, 1);

    f->qts = qtest_start_device("", "edu,dma_mask=0xffffffffffffffff", "-device virtio-iommu-pci,boot-bypass=off");
    f->dev = qpci_find(f->qts, 0x1234, 0x11e8);
    assert_non_null(f->dev);
    qvirtio_find(&f->v, f->qts, 0x1040 + VIRTIO_IOMMU_DEVICE_ID);
    assert_int_equal(qvirtio_offered(&f->v) & 0x7f, 0x57);
    assert_true(qvirtio_negotiate(&f->v, QVIRTIO_F_VERSION_1 | 0x57));
    qvirtio_queue_start(&f->v, &f->requests, 0, QUEUES);
    qvirtio_queue_start(&f->v, &f->events, 1, EVENTS);
    qvirtio_driver_ok(&f->v);
    /* After the IOMMU: BARs are given addresses one device after the other. */
    qpci_enable(f->dev);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;

    qvirtio_free(&f->v);
    g_free(f->dev);
    qtest_end(f->qts);
    g_free(f);
    return 0;
}

static void dma(Fixture *f, uint64_t src, uint64_t dst, uint32_t count, uint32_t cmd)
{
    qpci_writeq(f->dev, 0, DMA_SRC, src);
    qpci_writeq(f->dev, 0, DMA_DST, dst);
    qpci_writeq(f->dev, 0, DMA_CNT, count);
    qpci_writeq(f->dev, 0, DMA_CMD, cmd | 1);
    qpci_readl(f->dev, 0, 0); /* writes are posted */
    qtest_clock_step(f->qts, DMA_NS);
    assert_true(QTEST_WAIT(!(qpci_readl(f->dev, 0, DMA_CMD) & 1)));
}

/* The device reads from a page for reading only, and writes that to iova. */
static void write_to(Fixture *f, uint64_t iova, uint32_t val)
{
    qtest_writel(f->qts, DATA + 0x10000, val);
    dma(f, IOVA + 0x100000, EDU_BUF, 4, 0);
    dma(f, EDU_BUF, iova, 4, TO_MEMORY);
}

static void start_domain(Fixture *f)
{
    assert_int_equal(attach(f, DOMAIN, f->dev->devfn, 0), VIRTIO_IOMMU_S_OK);
    assert_int_equal(map(f, IOVA + 0x100000, IOVA + 0x100fff, DATA + 0x10000, 1), VIRTIO_IOMMU_S_OK);
}

/* The next fault.  In process the IOMMU sees the access; another process, which has no such mapping, tells of it. */
static void expect_fault(Fixture *f, uint8_t reason, uint64_t addr, uint32_t flags)
{
    const QvirtioBuf buf = {REQUEST + 0x2000, VIRTIO_IOMMU_FAULT_LEN, true};

    assert_int_equal(qvirtio_run(&f->events, &buf, 1, false), VIRTIO_IOMMU_FAULT_LEN);
    assert_int_equal(qtest_readb(f->qts, buf.addr), reason);
    assert_int_equal(qtest_readl(f->qts, buf.addr + 4), VIRTIO_IOMMU_FAULT_F_ADDRESS | flags);
    assert_int_equal(qtest_readl(f->qts, buf.addr + 8), f->dev->devfn);
    assert_int_equal(qtest_readq(f->qts, buf.addr + 16), addr);
}

static void test_map_unmap(void **state)
{
    Fixture *f = *state;

    write_to(f, DATA, 1); /* attached to nothing, and nothing passes by */
    assert_int_equal(qtest_readl(f->qts, DATA), 0);
    expect_fault(f, VIRTIO_IOMMU_FAULT_R_DOMAIN, IOVA + 0x100000, VIRTIO_IOMMU_FAULT_F_READ);
    expect_fault(f, VIRTIO_IOMMU_FAULT_R_DOMAIN, DATA, VIRTIO_IOMMU_FAULT_F_WRITE);
    start_domain(f);
    assert_int_equal(map(f, IOVA, IOVA + 0x2fff, DATA, 3), VIRTIO_IOMMU_S_OK);
    write_to(f, IOVA + 0x2ffc, 0x11223344);
    assert_int_equal(qtest_readl(f->qts, DATA + 0x2ffc), 0x11223344);
    /* A mapping goes as a whole. */
    assert_int_equal(unmap(f, IOVA, IOVA + 0xfff), VIRTIO_IOMMU_S_RANGE);
    assert_int_equal(unmap(f, IOVA - 0x1000, IOVA + 0xfffff), VIRTIO_IOMMU_S_OK);
    write_to(f, IOVA + 0x2ffc, 5);
    assert_int_equal(qtest_readl(f->qts, DATA + 0x2ffc), 0x11223344);
    expect_fault(f, VIRTIO_IOMMU_FAULT_R_MAPPING, IOVA + 0x2ffc, VIRTIO_IOMMU_FAULT_F_WRITE);
    /* Read only. */
    write_to(f, IOVA + 0x100000, 6);
    assert_int_equal(qtest_readl(f->qts, DATA + 0x10000), 6);
    expect_fault(f, VIRTIO_IOMMU_FAULT_R_MAPPING, IOVA + 0x100000, VIRTIO_IOMMU_FAULT_F_WRITE);
}

static void test_domains(void **state)
{
    Fixture *f = *state;

    start_domain(f);
    assert_int_equal(map(f, IOVA, IOVA + 0xfff, DATA, 3), VIRTIO_IOMMU_S_OK);
    /* Another domain has nothing; the first one went with its last endpoint. */
    assert_int_equal(attach(f, DOMAIN + 1, f->dev->devfn, 0), VIRTIO_IOMMU_S_OK);
    assert_int_equal(map(f, IOVA, IOVA + 0xfff, DATA, 3), VIRTIO_IOMMU_S_NOENT);
    write_to(f, IOVA, 1);
    assert_int_equal(qtest_readl(f->qts, DATA), 0);
    start_domain(f);
    assert_int_equal(map(f, IOVA, IOVA + 0xfff, DATA, 3), VIRTIO_IOMMU_S_OK);
    write_to(f, IOVA, 2);
    assert_int_equal(qtest_readl(f->qts, DATA), 2);
    assert_int_equal(detach(f, DOMAIN, f->dev->devfn), VIRTIO_IOMMU_S_OK);
    assert_int_equal(detach(f, DOMAIN, f->dev->devfn), VIRTIO_IOMMU_S_INVAL);
    write_to(f, IOVA, 3);
    assert_int_equal(qtest_readl(f->qts, DATA), 2);
    /* A domain that passes all. */
    assert_int_equal(attach(f, DOMAIN + 2, f->dev->devfn, 1), VIRTIO_IOMMU_S_OK);
    qtest_writel(f->qts, DATA + 0x40, 0x42);
    dma(f, DATA + 0x40, EDU_BUF, 4, 0);
    dma(f, EDU_BUF, DATA + 0x50, 4, TO_MEMORY);
    assert_int_equal(qtest_readl(f->qts, DATA + 0x50), 0x42);
    /* And who is in none, when the driver wants so. */
    assert_int_equal(detach(f, DOMAIN + 2, f->dev->devfn), VIRTIO_IOMMU_S_OK);
    qtest_writeb(f->qts, f->v.config + VIRTIO_IOMMU_CONFIG_BYPASS, 1);
    dma(f, DATA + 0x40, EDU_BUF, 4, 0);
    dma(f, EDU_BUF, DATA + 0x54, 4, TO_MEMORY);
    assert_int_equal(qtest_readl(f->qts, DATA + 0x54), 0x42);
}

static void test_bad_requests(void **state)
{
    Fixture *f = *state;
    const uint32_t probe[18] = {VIRTIO_IOMMU_T_PROBE, f->dev->devfn};
    const uint32_t unknown[4] = {9};

    assert_int_equal(map(f, IOVA, IOVA + 0xfff, DATA, 3), VIRTIO_IOMMU_S_NOENT);
    assert_int_equal(attach(f, DOMAIN, 0x1234, 0), VIRTIO_IOMMU_S_NOENT);
    assert_int_equal(attach(f, DOMAIN, f->dev->devfn, 2), VIRTIO_IOMMU_S_INVAL);
    start_domain(f);
    assert_int_equal(map(f, IOVA, IOVA + 0x7ff, DATA, 3), VIRTIO_IOMMU_S_RANGE);
    assert_int_equal(map(f, IOVA, IOVA + 0xfff, DATA + 1, 3), VIRTIO_IOMMU_S_RANGE);
    assert_int_equal(map(f, UINT64_C(1) << 48, (UINT64_C(1) << 48) + 0xfff, DATA, 3), VIRTIO_IOMMU_S_RANGE);
    assert_int_equal(map(f, IOVA, IOVA + 0x1fff, UINT64_MAX - 0xfff, 3), VIRTIO_IOMMU_S_RANGE);
    assert_int_equal(map(f, IOVA, IOVA + 0xfff, DATA, 0), VIRTIO_IOMMU_S_INVAL);
    assert_int_equal(map(f, IOVA, IOVA + 0xfff, DATA, 8), VIRTIO_IOMMU_S_INVAL);
    assert_int_equal(map(f, IOVA, IOVA - 1, DATA, 3), VIRTIO_IOMMU_S_INVAL);
    assert_int_equal(map(f, IOVA + 0x100000, IOVA + 0x100fff, DATA, 3), VIRTIO_IOMMU_S_INVAL); /* mapped already */
    assert_int_equal(map(f, 0, (UINT64_C(1) << 48) - 1, 0, 3), VIRTIO_IOMMU_S_INVAL);
    assert_int_equal(request_len(f, unknown, sizeof(unknown), 4), VIRTIO_IOMMU_S_UNSUPP);
    assert_int_equal(request_len(f, probe, 4, 4), VIRTIO_IOMMU_S_INVAL);
    assert_int_equal(request_len(f, probe, sizeof(probe), 4), VIRTIO_IOMMU_S_INVAL);
    assert_int_equal(request_len(f, probe, sizeof(probe), 516), VIRTIO_IOMMU_S_OK);
    assert_int_equal(qtest_readw(f->qts, REQUEST + 0x1000), VIRTIO_IOMMU_PROBE_T_RESV_MEM);
    assert_int_equal(qtest_readq(f->qts, REQUEST + 0x1008), 0xfee00000);
    assert_int_equal(qtest_readq(f->qts, REQUEST + 0x1010), 0xfeefffff);
    /* A mapping of what is not memory reaches nothing. */
    assert_int_equal(map(f, IOVA, IOVA + 0xfff, 0x80000000, 3), VIRTIO_IOMMU_S_OK);
    write_to(f, IOVA, 1);
    assert_int_equal(qtest_readl(f->qts, DATA + 0x10000), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_map_unmap), TEST(test_domains), TEST(test_bad_requests)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
