/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests of hw/nvme/: registers, commands, data, errors and interrupts. */
#include "nvme-rig.h"

#include <string.h>

static void test_registers(void **state)
{
    Fixture *f = *state;

    assert_int_equal(pci_config_read(f->dev, 0, 4), 0x00101b36);
    assert_int_equal(pci_config_read(f->dev, 8, 4) >> 8, 0x010802);
    assert_int_equal(reg_get(f, NVME_REG_CAP, 8) & 0xffff, 2047);
    assert_int_equal(reg_get(f, NVME_REG_CAP + 4, 4), reg_get(f, NVME_REG_CAP, 8) >> 32);
    assert_int_equal(reg_get(f, NVME_REG_VS, 4), 0x10400);
    reg_set(f, NVME_REG_INTMS, 4, 0x5);
    reg_set(f, NVME_REG_INTMC, 4, 0x1);
    assert_int_equal(reg_get(f, NVME_REG_INTMS, 4), 0x4);
    assert_int_equal(reg_get(f, NVME_REG_INTMC, 4), 0x4);
    reg_set(f, NVME_REG_CSTS, 4, 0xffffffff);
    assert_int_equal(reg_get(f, NVME_REG_CSTS, 4), 0);
    reg_set(f, NVME_REG_DOORBELLS, 4, 1); /* not ready: ignored */
    assert_int_equal(f->dev->dev.guest_errors, 1);
}

static void test_enable_refused(void **state)
{
    Fixture *f = *state;

    reg_set(f, NVME_REG_CC, 4, NVME_CC_EN); /* AQA is 0 */
    assert_int_equal(reg_get(f, NVME_REG_CSTS, 4), NVME_CSTS_CFS);
    reg_set(f, NVME_REG_CC, 4, 0);
    assert_int_equal(reg_get(f, NVME_REG_CSTS, 4), 0);
    enable(f);
}

static void test_identify(void **state)
{
    Fixture *f = *state;
    NvmeCmd id = {.opcode = NVME_ADM_IDENTIFY, .prp1 = BUF, .cdw10 = NVME_CNS_CONTROLLER};

    enable(f);
    assert_int_equal(admin(f, id), 0);
    assert_memory_equal(f->ram + BUF + 4, "unit-test           ", 20);
    assert_int_equal(f->ram[BUF + 77], 7);
    assert_int_equal(f->ram[BUF + 111], 1);
    assert_int_equal(pci_get32(f->ram + BUF + 80), 0x10400);
    id = (NvmeCmd){.opcode = NVME_ADM_IDENTIFY, .nsid = 1, .prp1 = BUF + 0x800, .prp2 = BUF + 0x3000};
    assert_int_equal(admin(f, id), 0); /* across two pages */
    assert_int_equal(pci_get64(f->ram + BUF + 0x800), DISK_SIZE / 512);
    assert_int_equal(f->ram[BUF + 0x800 + 130], 9);
    id = (NvmeCmd){.opcode = NVME_ADM_IDENTIFY, .prp1 = BUF, .cdw10 = NVME_CNS_ACTIVE_LIST};
    assert_int_equal(admin(f, id), 0);
    assert_int_equal(pci_get32(f->ram + BUF), 1);
    assert_int_equal(pci_get32(f->ram + BUF + 4), 0);
    id.nsid = 1;
    assert_int_equal(admin(f, id), 0);
    assert_int_equal(pci_get32(f->ram + BUF), 0);
    id = (NvmeCmd){.opcode = NVME_ADM_IDENTIFY, .nsid = 1, .prp1 = BUF, .cdw10 = NVME_CNS_DESCRIPTORS};
    assert_int_equal(admin(f, id), 0);
    assert_int_equal(pci_get16(f->ram + BUF), 16 << 8 | 3);
    id.nsid = 2; /* inactive */
    assert_int_equal(admin(f, id), DNR(NVME_SC_INVALID_FIELD));
    id.nsid = NVME_MAX_NS + 1;
    assert_int_equal(admin(f, id), DNR(NVME_SC_INVALID_NSID));
    id.cdw10 = 0x77;
    assert_int_equal(admin(f, id), DNR(NVME_SC_INVALID_FIELD));
}

static void test_admin_errors(void **state)
{
    Fixture *f = *state;

    enable(f);
    assert_int_equal(admin(f, (NvmeCmd){.opcode = 0x18}), DNR(NVME_SC_INVALID_OPCODE)); /* keep alive */
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_IDENTIFY, .flags = 0x40}),
                     DNR(NVME_SC_INVALID_FIELD));
    assert_int_equal(create_cq(f, 0, 16, IOCQ, 0, 3), DNR(NVME_SC_QID_INVALID));
    assert_int_equal(create_cq(f, 5, 16, IOCQ, 0, 3), DNR(NVME_SC_QID_INVALID));
    assert_int_equal(create_cq(f, 1, 1, IOCQ, 0, 3), DNR(NVME_SC_QUEUE_SIZE));
    assert_int_equal(create_cq(f, 1, 2049, IOCQ, 0, 3), DNR(NVME_SC_QUEUE_SIZE));
    assert_int_equal(create_cq(f, 1, 16, IOCQ, 0, 2), DNR(NVME_SC_INVALID_FIELD)); /* not contiguous */
    assert_int_equal(create_cq(f, 1, 16, IOCQ + 8, 0, 3), DNR(NVME_SC_PRP_OFFSET));
    assert_int_equal(create_cq(f, 1, 16, IOCQ, 1, 3), DNR(NVME_SC_INTERRUPT_VECTOR)); /* MSI-X is off */
    assert_int_equal(create_sq(f, 1, 16, IOSQ, 1), DNR(NVME_SC_CQ_INVALID));
    create_io(f, 0);
    assert_int_equal(create_cq(f, 1, 16, IOCQ, 0, 3), DNR(NVME_SC_QID_INVALID));
    assert_int_equal(create_sq(f, 1, 16, IOSQ, 1), DNR(NVME_SC_QID_INVALID));
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_DELETE_CQ, .cdw10 = 1}),
                     DNR(NVME_SC_QUEUE_DELETION));
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_DELETE_SQ, .cdw10 = 2}), DNR(NVME_SC_QID_INVALID));
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_DELETE_SQ, .cdw10 = 1}), 0);
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_DELETE_CQ, .cdw10 = 1}), 0);
    create_io(f, 0);
}

static void test_features(void **state)
{
    Fixture *f = *state;
    NvmeCmd set = {.opcode = NVME_ADM_SET_FEATURES}, get = {.opcode = NVME_ADM_GET_FEATURES};
    Completion c;

    enable(f);
    set.cdw10 = NVME_FEAT_QUEUES;
    set.cdw11 = 0x000f000f;
    c = run(f, &f->admin, set);
    assert_int_equal(c.status, 0);
    assert_int_equal(c.result, 0x00030003);
    get.cdw10 = NVME_FEAT_WRITE_CACHE;
    assert_int_equal(run(f, &f->admin, get).result, 1);
    set = (NvmeCmd){.opcode = NVME_ADM_SET_FEATURES, .cdw10 = NVME_FEAT_WRITE_CACHE};
    assert_int_equal(admin(f, set), 0);
    assert_int_equal(run(f, &f->admin, get).result, 0);
    get.cdw10 |= 1 << 8; /* default */
    assert_int_equal(run(f, &f->admin, get).result, 1);
    set.cdw10 |= 1u << 31;
    assert_int_equal(admin(f, set), DNR(NVME_SC_NOT_SAVEABLE));
    get.cdw10 = 0x7f;
    assert_int_equal(admin(f, get), DNR(NVME_SC_INVALID_FIELD));
    create_io(f, 0);
    set = (NvmeCmd){.opcode = NVME_ADM_SET_FEATURES, .cdw10 = NVME_FEAT_QUEUES, .cdw11 = 1};
    assert_int_equal(admin(f, set), DNR(NVME_SC_COMMAND_SEQUENCE));
}

static void test_io(void **state)
{
    Fixture *f = *state;

    enable(f);
    create_io(f, 0);
    check_rw(f, BUF, f->ram + BUF);
    check_rw(f, REMOTE + 0x1000, f->remote + 0x1000); /* by copies */
    assert_int_equal(f->dev->dev.guest_errors, 0);
}

/* 300 KiB through a list that begins in the last two slots of a page and goes on in another. */
static void test_prp_list(void **state)
{
    Fixture *f = *state;
    const uint64_t list1 = 0x80000 + 4096 - 16, list2 = 0x82000;
    uint8_t *expected = g_malloc(300 << 10);
    const uint32_t pages = 75;

    enable(f);
    create_io(f, 0);
    fill(expected, 300 << 10, 11);
    pci_set64(f->ram + list1, BUF + 3 * 4096);
    pci_set64(f->ram + list1 + 8, list2);
    for (uint32_t i = 0; i < pages - 1; i++) {
        pci_set64(f->ram + list2 + i * 8, BUF + (uint64_t)(2 * i + 7) * 4096); /* scattered */
    }
    memcpy(f->ram + BUF + 512, expected, 3584); /* the first page is entered at an offset */
    memcpy(f->ram + BUF + 3 * 4096, expected + 3584, 4096);
    for (uint32_t i = 0; i < pages - 2; i++) {
        memcpy(f->ram + BUF + (2 * i + 7) * 4096, expected + 3584 + (i + 1) * 4096, 4096);
    }
    memcpy(f->ram + BUF + (2 * (pages - 2) + 7) * 4096, expected + (300 << 10) - 512, 512);
    assert_int_equal(io(f, rw(NVME_IO_WRITE, 100, 600, BUF + 512, list1)), 0);
    memset(f->ram + BUF, 0, 1 << 20);
    assert_int_equal(io(f, rw(NVME_IO_READ, 100, 600, BUF + 512, list1)), 0);
    assert_memory_equal(f->ram + BUF + 512, expected, 3584);
    assert_memory_equal(f->ram + BUF + 3 * 4096, expected + 3584, 4096);
    assert_memory_equal(f->ram + BUF + (2 * (pages - 2) + 7) * 4096, expected + (300 << 10) - 512, 512);
    pci_set64(f->ram + list2 + 8, BUF + 8);
    assert_int_equal(io(f, rw(NVME_IO_READ, 100, 600, BUF + 512, list1)), DNR(NVME_SC_PRP_OFFSET));
    pci_set64(f->ram + list1 + 8, list1); /* a list that goes on in itself */
    assert_int_equal(io(f, rw(NVME_IO_READ, 100, 600, BUF + 512, list1)), DNR(NVME_SC_PRP_OFFSET));
    assert_int_equal(io(f, rw(NVME_IO_READ, 100, 600, BUF + 512, 0x20000000)), NVME_SC_DATA_TRANSFER);
    g_free(expected);
}

static void put_sgl(Fixture *f, uint64_t at, uint64_t addr, uint32_t len, unsigned type)
{
    pci_set64(f->ram + at, addr);
    pci_set64(f->ram + at + 8, len | (uint64_t)type << 60);
}

static uint16_t sgl_io(Fixture *f, uint8_t opcode, uint32_t blocks, uint64_t addr, uint32_t len, unsigned type)
{
    NvmeCmd cmd = rw(opcode, 16, blocks, addr, len | (uint64_t)type << 60);

    cmd.flags = 0x40;
    return io(f, cmd);
}

static void test_sgl(void **state)
{
    Fixture *f = *state;
    const uint64_t list = BUF + 0x8000, second = BUF + 0x9000;

    enable(f);
    create_io(f, 0);
    fill(f->ram + BUF, 4096, 5);
    /* One block at an odd address; then the same data in pieces through two segments. */
    assert_int_equal(sgl_io(f, NVME_IO_WRITE, 8, BUF + 1, 4096, 0), 0);
    put_sgl(f, list, BUF + 0x2001, 1000, 0);
    put_sgl(f, list + 16, 0, 0, 0);
    put_sgl(f, list + 32, second, 32, 3);
    put_sgl(f, second, BUF + 0x3000, 3000, 0);
    put_sgl(f, second + 16, BUF + 0x5003, 96, 0);
    memset(f->ram + BUF + 0x2000, 0, 0x4000);
    assert_int_equal(sgl_io(f, NVME_IO_READ, 8, list, 48, 2), 0);
    assert_memory_equal(f->ram + BUF + 0x2001, f->ram + BUF + 1, 1000);
    assert_memory_equal(f->ram + BUF + 0x3000, f->ram + BUF + 1001, 3000);
    assert_memory_equal(f->ram + BUF + 0x5003, f->ram + BUF + 4001, 95); /* the last byte was behind what fill() wrote */
    assert_int_equal(f->ram[BUF + 0x5003 + 96], 0);
    /* What is wrong with a list. */
    assert_int_equal(sgl_io(f, NVME_IO_READ, 8, BUF, 4095, 0), DNR(NVME_SC_SGL_LENGTH));
    assert_int_equal(sgl_io(f, NVME_IO_READ, 8, BUF, 4097, 0), DNR(NVME_SC_SGL_LENGTH));
    assert_int_equal(sgl_io(f, NVME_IO_READ, 8, BUF, 4096, 1), DNR(NVME_SC_SGL_TYPE));
    assert_int_equal(sgl_io(f, NVME_IO_READ, 8, list, 40, 2), DNR(NVME_SC_SGL_SEGMENT));
    assert_int_equal(sgl_io(f, NVME_IO_READ, 8, list, 0, 3), DNR(NVME_SC_SGL_SEGMENT));
    assert_int_equal(sgl_io(f, NVME_IO_READ, 8, list, 48, 3), DNR(NVME_SC_SGL_SEGMENT)); /* the last one goes on */
    assert_int_equal(sgl_io(f, NVME_IO_READ, 8, list, 16u << 20, 2), DNR(NVME_SC_SGL_COUNT));
    assert_int_equal(sgl_io(f, NVME_IO_READ, 8, 0x20000000, 48, 2), NVME_SC_DATA_TRANSFER);
    put_sgl(f, list, list, 16, 2); /* a segment that names itself */
    assert_int_equal(sgl_io(f, NVME_IO_READ, 8, list, 16, 2), DNR(NVME_SC_SGL_COUNT));
}

static void test_io_errors(void **state)
{
    Fixture *f = *state;
    const uint64_t blocks = DISK_SIZE / 512;
    NvmeCmd cmd = rw(NVME_IO_READ, 0, 8, BUF, 0);

    enable(f);
    create_io(f, 0);
    assert_int_equal(io(f, rw(NVME_IO_READ, blocks - 1, 1, BUF, 0)), 0);
    assert_int_equal(io(f, rw(NVME_IO_READ, blocks, 1, BUF, 0)), DNR(NVME_SC_LBA_RANGE));
    assert_int_equal(io(f, rw(NVME_IO_WRITE, blocks - 1, 2, BUF, 0)), DNR(NVME_SC_LBA_RANGE));
    assert_int_equal(io(f, rw(NVME_IO_READ, UINT64_MAX, 8, BUF, 0)), DNR(NVME_SC_LBA_RANGE));
    assert_int_equal(io(f, rw(NVME_IO_READ, 0, 1025, BUF, 0)),
                     DNR(NVME_SC_INVALID_FIELD)); /* MDTS: 512 KiB */
    assert_int_equal(io(f, rw(NVME_IO_READ, 0, 8, BUF + 2, 0)), DNR(NVME_SC_PRP_OFFSET));
    assert_int_equal(io(f, rw(NVME_IO_READ, 0, 8, 0x20000000, 0)), NVME_SC_DATA_TRANSFER);
    cmd.nsid = 2;
    assert_int_equal(io(f, cmd), DNR(NVME_SC_INVALID_FIELD));
    cmd.nsid = 1;
    cmd.flags = 0xc0; /* neither PRP nor SGL */
    assert_int_equal(io(f, cmd), DNR(NVME_SC_INVALID_FIELD));
    cmd.opcode = 0x7e;
    assert_int_equal(io(f, cmd), DNR(NVME_SC_INVALID_OPCODE));
    assert_int_equal(truncate(f->path, 4096), 0);
    assert_int_equal(io(f, rw(NVME_IO_READ, 100, 8, BUF, 0)), NVME_SC_READ_ERROR);
    /* The log holds the newest first. */
    assert_int_equal(
        admin(f, (NvmeCmd){.opcode = NVME_ADM_GET_LOG_PAGE, .prp1 = BUF, .cdw10 = NVME_LOG_ERROR | 63 << 16}),
        0);
    assert_int_equal(pci_get64(f->ram + BUF), 10);
    assert_int_equal(pci_get16(f->ram + BUF + 12) >> 1, NVME_SC_READ_ERROR);
    assert_int_equal(pci_get64(f->ram + BUF + 16), 100);
}

static void test_write_protected(void **state)
{
    Fixture *f = *state;

    enable(f);
    create_io(f, 0);
    assert_int_equal(io(f, rw(NVME_IO_WRITE, 0, 8, BUF, 0)), DNR(NVME_SC_WRITE_PROTECTED));
    assert_int_equal(io(f, rw(NVME_IO_WRITE_ZEROES, 0, 8, 0, 0)), DNR(NVME_SC_WRITE_PROTECTED));
    assert_int_equal(io(f, rw(NVME_IO_READ, 0, 8, BUF, 0)), 0);
    assert_int_equal(io(f, (NvmeCmd){.opcode = NVME_IO_FLUSH, .nsid = 1}), 0);
}

static void test_zeroes_and_dsm(void **state)
{
    Fixture *f = *state;
    static const uint8_t zero[8192];
    NvmeCmd dsm = {.opcode = NVME_IO_DSM, .nsid = 1, .prp1 = BUF + 0x10000, .cdw10 = 1, .cdw11 = NVME_DSM_AD};

    enable(f);
    create_io(f, 0);
    fill(f->ram + BUF, 8192, 3);
    assert_int_equal(io(f, rw(NVME_IO_WRITE, 0, 16, BUF, BUF + 4096)), 0);
    assert_int_equal(io(f, rw(NVME_IO_WRITE_ZEROES, 0, 8, 0, 0)), 0);
    assert_int_equal(io(f, rw(NVME_IO_READ, 0, 16, BUF, BUF + 4096)), 0);
    assert_memory_equal(f->ram + BUF, zero, 4096);
    assert_memory_not_equal(f->ram + BUF + 4096, zero, 4096);
    pci_set32(f->ram + BUF + 0x10004, 8);
    pci_set64(f->ram + BUF + 0x10008, 8);
    pci_set32(f->ram + BUF + 0x10014, 8);
    pci_set64(f->ram + BUF + 0x10018, 100);
    assert_int_equal(io(f, dsm), 0);
    pci_set64(f->ram + BUF + 0x10018, DISK_SIZE / 512 - 4);
    assert_int_equal(io(f, dsm), DNR(NVME_SC_LBA_RANGE));
}

/* Many rounds: both queues wrap, batches are larger than a fetch, the completion queue is the bottleneck. */
static void test_wrap_and_full(void **state)
{
    Fixture *f = *state;
    Completion c;
    unsigned posted;

    enable(f);
    create_io(f, 0);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < IO_ENTRIES - 1; i++) {
            push(f, &f->io1, rw(NVME_IO_READ, (uint64_t)i, 1, BUF + (uint64_t)i * 512, 0));
        }
        ring(f, &f->io1);
        for (int i = 0; i < IO_ENTRIES - 1; i++) {
            assert_int_equal(wait_cqe(f, &f->io1).status, 0);
        }
        if (round % 2) {
            ack(f, &f->io1); /* on even rounds the next batch finds the queue full */
            continue;
        }
        push(f, &f->io1, rw(NVME_IO_READ, 0, 1, BUF, 0));
        ring(f, &f->io1);
        block_drain(nvme_of(f->dev)->own.drive);
        loop_iterate(f->m->main_loop, false);
        posted = poll_cqe(f, &f->io1, &c);
        assert_int_equal(posted, 0);
        ack(f, &f->io1);
        assert_int_equal(wait_cqe(f, &f->io1).status, 0);
        ack(f, &f->io1);
    }
    assert_int_equal(f->dev->dev.guest_errors, 0);
}

static void test_intx(void **state)
{
    Fixture *f = *state;
    uint16_t cid;

    enable(f);
    cid = push(f, &f->admin, (NvmeCmd){.opcode = NVME_ADM_ABORT, .cdw10 = 0});
    ring(f, &f->admin);
    assert_int_equal(f->pin, 1);
    reg_set(f, NVME_REG_INTMS, 4, 1);
    assert_int_equal(f->pin, 0);
    reg_set(f, NVME_REG_INTMC, 4, 1);
    assert_int_equal(f->pin, 1);
    assert_int_equal(wait_cqe(f, &f->admin).cid, cid);
    ack(f, &f->admin);
    assert_int_equal(f->pin, 0);
    create_io(f, 0);
    push(f, &f->io1, rw(NVME_IO_READ, 0, 8, BUF, 0));
    ring(f, &f->io1);
    wait_cqe(f, &f->io1);
    loop_iterate(f->m->main_loop, false);
    assert_int_equal(f->pin, 1);
    enable_msix(f);
    assert_int_equal(f->pin, 0);
}

static void test_msix(void **state)
{
    Fixture *f = *state;

    enable_msix(f);
    enable(f);
    create_io(f, 4);
    assert_int_equal(f->messages[0], 2);
    assert_int_equal(create_cq(f, 2, 16, 0x16000, 5, 3), DNR(NVME_SC_INTERRUPT_VECTOR));
    for (int i = 0; i < 10; i++) {
        push(f, &f->io1, rw(NVME_IO_READ, (uint64_t)i, 1, BUF, 0));
    }
    reg_set(f, NVME_MSIX_TABLE + 4 * 16 + 12, 4, 1); /* masked */
    ring(f, &f->io1);
    for (int i = 0; i < 10; i++) {
        wait_cqe(f, &f->io1);
    }
    loop_iterate(f->m->main_loop, false);
    assert_int_equal(f->messages[4], 0);
    assert_int_equal(reg_get(f, NVME_MSIX_PBA, 4), 0x10);
    reg_set(f, NVME_MSIX_TABLE + 4 * 16 + 12, 4, 0);
    assert_int_equal(f->messages[4], 1);
    assert_int_equal(f->pin, 0);
}

static void test_bad_properties(void **state)
{
    Fixture *f = *state;
    g_autoptr(GError) e1 = NULL, e2 = NULL, e3 = NULL;

    assert_null(pci_create(f->bus, PCI_DEVFN(4, 0), &nvme_model, "n1", &e1, NULL));
    assert_non_null(strstr(e1->message, "serial"));
    assert_null(
        pci_create(f->bus, PCI_DEVFN(4, 0), &nvme_model, "n1", &e2, "serial", "x", "drive", "d0", NULL));
    assert_non_null(strstr(e2->message, "nvme0"));
    assert_null(
        pci_create(f->bus, PCI_DEVFN(4, 0), &nvme_model, "n1", &e3, "serial", "x", "drive", "nope", NULL));
    assert_non_null(strstr(e3->message, "no such drive"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_registers),
        TEST(test_enable_refused),
        TEST(test_identify),
        TEST(test_admin_errors),
        TEST(test_features),
        TEST(test_io),
        TEST(test_prp_list),
        TEST(test_sgl),
        TEST(test_io_errors),
        cmocka_unit_test_setup_teardown(test_write_protected, setup_readonly, teardown),
        cmocka_unit_test_setup_teardown(test_wrap_and_full, setup_threads, teardown),
        TEST(test_zeroes_and_dsm),
        TEST(test_wrap_and_full),
        TEST(test_intx),
        TEST(test_msix),
        TEST(test_bad_properties),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
