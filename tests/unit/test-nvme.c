/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of hw/nvme/: the controller on a bare PCI bus, driven through its registers and queues as a
 * driver does (NVMe 1.4, 7.6.1), with RAM at 0 and, at REMOTE, memory that can only be reached by calls.
 * Longer than a file should be because the driver in it is what every test needs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/trace.h"
#include "hw/nvme/nvme.h"

#define RAM_SIZE      (16u << 20)
#define REMOTE        0x40000000u
#define REMOTE_SIZE   (1u << 20)
#define BAR           0xe0000000u
#define DISK_SIZE     (8u << 20)
#define ASQ           0x10000u
#define ACQ           0x11000u
#define IOSQ          0x12000u
#define IOCQ          0x14000u
#define BUF           0x100000u
#define ADMIN_ENTRIES 8
#define IO_ENTRIES    16

extern const PciModel nvme_model;
static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, &nvme_model.dev, &nvme_ns_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct Queue {
    uint16_t qid, entries, tail, head;
    uint64_t sq, cq;
    bool phase;
} Queue;

typedef struct Fixture {
    Machine *m;
    uint8_t *ram, *remote;
    MemRegion *ram_region, *remote_region, *io;
    PciBus *bus;
    PciDevice *dev;
    char *path;
    Queue admin, io1;
    uint16_t cid;
    unsigned messages[8]; /* MSI-X by vector */
    int pin;
} Fixture;

typedef struct Completion {
    uint32_t result;
    uint16_t sqhd, sqid, cid, status;
} Completion;

/* --- the bus and the remote memory --- */

static void bus_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
    ((Fixture *)bus->opaque)->pin = level;
}

static void bus_send_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
    Fixture *f = bus->opaque;

    assert_int_equal(msg.data, 0x100 + vector);
    f->messages[vector]++;
}

static const PciBusOps bus_ops = {.set_intx = bus_set_intx, .send_msi = bus_send_msi};

static MemResult remote_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = 0;
    memcpy(val, ((Fixture *)opaque)->remote + addr, size);
    return MEM_OK;
}

static MemResult remote_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    memcpy(((Fixture *)opaque)->remote + addr, &val, size);
    return MEM_OK;
}

static const MemOps remote_ops = {remote_read, remote_write, .unaligned = true};

/* --- set-up --- */

static void make_disk(Fixture *f)
{
    int fd = g_file_open_tmp("test-nvme-XXXXXX", &f->path, NULL);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, DISK_SIZE), 0);
    close(fd);
}

static void open_disk(Fixture *f, const char *more)
{
    g_autofree char *text = g_strdup_printf("id=d0,file=%s,format=raw%s", f->path, more);
    struct json_object *opts = opts_parse("-drive", text, NULL, NULL);

    assert_non_null(block_open(f->m, opts, NULL));
    json_object_put(opts);
}

static void config_write(Fixture *f, uint16_t offset, uint32_t val, unsigned size)
{
    pci_config_write(f->dev, offset, val, size);
}

static void add_controller(Fixture *f)
{
    g_autoptr(GError) error = NULL;

    f->dev = pci_create(f->bus, PCI_DEVFN(3, 0), &nvme_model, "nvme0", &error, "serial", "unit-test", "drive",
                        "d0", "max_ioqpairs", "4", "msix_qsize", "5", NULL);
    if (!f->dev) {
        fail_msg("%s", error->message);
    }
    config_write(f, PCI_BASE_ADDRESS_0, BAR, 4);
    config_write(f, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
}

static int setup_with(void **state, const char *drive_opts)
{
    Fixture *f = g_new0(Fixture, 1);

    f->m = machine_new(&bare_model, NULL);
    loop_lock(f->m->main_loop);
    f->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    f->remote = g_malloc0(REMOTE_SIZE);
    f->ram_region = mem_region_new_ram(f->m->topo, "ram", RAM_SIZE, f->ram, -1, 0, false);
    f->remote_region = mem_region_new_io(f->m->topo, "remote", REMOTE_SIZE, &remote_ops, f, NULL);
    f->io = mem_region_new_container(f->m->topo, "io", 0x10000);
    mem_region_add(f->m->system_memory, 0, f->ram_region);
    mem_region_add(f->m->system_memory, REMOTE, f->remote_region);
    machine_set_kind_ops(f->m, MODEL_PCI, &pci_kind_ops);
    f->bus = pci_bus_new(f->m, "pcie.0", &bus_ops, f, true, f->m->system_memory, f->io, f->m->memory);
    make_disk(f);
    open_disk(f, drive_opts);
    add_controller(f);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, "");
}

static int setup_readonly(void **state)
{
    return setup_with(state, ",readonly=on");
}

static int setup_threads(void **state)
{
    return setup_with(state, ",aio=threads");
}

static int teardown(void **state)
{
    Fixture *f = *state;

    device_destroy(&f->dev->dev);
    block_close_all(f->m);
    pci_bus_free(f->bus);
    mem_region_del(f->m->system_memory, f->ram_region);
    mem_region_del(f->m->system_memory, f->remote_region);
    mem_region_unref(f->ram_region);
    mem_region_unref(f->remote_region);
    mem_region_unref(f->io);
    loop_unlock(f->m->main_loop);
    machine_free(f->m);
    munmap(f->ram, RAM_SIZE);
    g_free(f->remote);
    unlink(f->path);
    g_free(f->path);
    g_free(f);
    return 0;
}

/* --- a driver --- */

static uint64_t reg_get(Fixture *f, unsigned offset, unsigned size)
{
    uint64_t val;

    assert_int_equal(as_load(f->m->memory, BAR + offset, size, &val, MEM_ATTRS_CPU), MEM_OK);
    return val;
}

static void reg_set(Fixture *f, unsigned offset, unsigned size, uint64_t val)
{
    assert_int_equal(as_store(f->m->memory, BAR + offset, size, val, MEM_ATTRS_CPU), MEM_OK);
}

static void enable(Fixture *f)
{
    memset(f->ram + ASQ, 0, 0x10000);
    reg_set(f, NVME_REG_AQA, 4, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
    reg_set(f, NVME_REG_ASQ, 8, ASQ);
    reg_set(f, NVME_REG_ACQ, 4, ACQ); /* in halves, as some drivers do */
    reg_set(f, NVME_REG_ACQ + 4, 4, 0);
    reg_set(f, NVME_REG_CC, 4, NVME_CC_EN | 6 << 16 | 4 << 20);
    assert_int_equal(reg_get(f, NVME_REG_CSTS, 4), NVME_CSTS_RDY);
    f->admin = (Queue){0, ADMIN_ENTRIES, 0, 0, ASQ, ACQ, true};
}

/* Places a command without ringing. */
static uint16_t push(Fixture *f, Queue *q, NvmeCmd cmd)
{
    cmd.cid = ++f->cid;
    memcpy(f->ram + q->sq + q->tail * NVME_SQE_SIZE, &cmd, sizeof(cmd));
    q->tail = (uint16_t)((q->tail + 1) % q->entries);
    return cmd.cid;
}

static void ring(Fixture *f, Queue *q)
{
    reg_set(f, NVME_REG_DOORBELLS + q->qid * 8, 4, q->tail);
}

static bool poll_cqe(Fixture *f, Queue *q, Completion *c)
{
    const uint8_t *p = f->ram + q->cq + q->head * NVME_CQE_SIZE;
    uint16_t status = pci_get16(p + 14);

    if ((status & 1) != q->phase) {
        return false;
    }
    *c = (Completion){pci_get32(p), pci_get16(p + 8), pci_get16(p + 10), pci_get16(p + 12), status >> 1};
    return true;
}

static Completion wait_cqe(Fixture *f, Queue *q)
{
    Completion c;

    while (!poll_cqe(f, q, &c)) {
        loop_iterate(f->m->main_loop, true);
    }
    if (++q->head == q->entries) {
        q->head = 0;
        q->phase = !q->phase;
    }
    return c;
}

static void ack(Fixture *f, Queue *q)
{
    reg_set(f, NVME_REG_DOORBELLS + q->qid * 8 + 4, 4, q->head);
}

static Completion run(Fixture *f, Queue *q, NvmeCmd cmd)
{
    uint16_t cid = push(f, q, cmd);
    Completion c;

    ring(f, q);
    c = wait_cqe(f, q);
    ack(f, q);
    assert_int_equal(c.cid, cid);
    assert_int_equal(c.sqid, q->qid);
    assert_int_equal(c.sqhd, q->tail);
    return c;
}

static uint16_t admin(Fixture *f, NvmeCmd cmd)
{
    return run(f, &f->admin, cmd).status;
}

static uint16_t create_cq(Fixture *f, uint32_t qid, uint32_t entries, uint64_t base, uint32_t vector,
                          uint32_t flags)
{
    return admin(f, (NvmeCmd){.opcode = NVME_ADM_CREATE_CQ,
                              .prp1 = base,
                              .cdw10 = qid | (entries - 1) << 16,
                              .cdw11 = vector << 16 | flags});
}

static uint16_t create_sq(Fixture *f, uint32_t qid, uint32_t entries, uint64_t base, uint32_t cqid)
{
    return admin(f, (NvmeCmd){.opcode = NVME_ADM_CREATE_SQ,
                              .prp1 = base,
                              .cdw10 = qid | (entries - 1) << 16,
                              .cdw11 = cqid << 16 | 1});
}

static void create_io(Fixture *f, uint32_t vector)
{
    assert_int_equal(create_cq(f, 1, IO_ENTRIES, IOCQ, vector, 3), 0);
    assert_int_equal(create_sq(f, 1, IO_ENTRIES, IOSQ, 1), 0);
    memset(f->ram + IOCQ, 0, 4096);
    f->io1 = (Queue){1, IO_ENTRIES, 0, 0, IOSQ, IOCQ, true};
}

static void enable_msix(Fixture *f)
{
    for (unsigned v = 0; v < 5; v++) {
        reg_set(f, NVME_MSIX_TABLE + v * 16, 4, 0xfee00000);
        reg_set(f, NVME_MSIX_TABLE + v * 16 + 4, 4, 0);
        reg_set(f, NVME_MSIX_TABLE + v * 16 + 8, 4, 0x100 + v);
        reg_set(f, NVME_MSIX_TABLE + v * 16 + 12, 4, 0);
    }
    config_write(f, f->dev->msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
}

static NvmeCmd rw(uint8_t opcode, uint64_t slba, uint32_t blocks, uint64_t prp1, uint64_t prp2)
{
    return (NvmeCmd){.opcode = opcode,
                     .nsid = 1,
                     .prp1 = prp1,
                     .prp2 = prp2,
                     .cdw10 = (uint32_t)slba,
                     .cdw11 = (uint32_t)(slba >> 32),
                     .cdw12 = blocks - 1};
}

static uint16_t io(Fixture *f, NvmeCmd cmd)
{
    return run(f, &f->io1, cmd).status;
}

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        buf[i] = (uint8_t)(seed >> 16);
    }
}

#define DNR(status) ((status) | NVME_DNR)

/* --- tests --- */

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

static void check_rw(Fixture *f, uint64_t buf, uint8_t *host)
{
    uint8_t expected[4096];

    fill(expected, sizeof(expected), 5);
    memcpy(host, expected, 4096);
    assert_int_equal(io(f, rw(NVME_IO_WRITE, 8, 8, buf, 0)), 0);
    memset(host, 0, 4096);
    assert_int_equal(io(f, rw(NVME_IO_READ, 8, 8, buf, 0)), 0);
    assert_memory_equal(host, expected, 4096);
    assert_int_equal(io(f, rw(NVME_IO_COMPARE, 8, 8, buf, 0)), 0);
    host[17] ^= 1;
    assert_int_equal(io(f, rw(NVME_IO_COMPARE, 8, 8, buf, 0)), NVME_SC_COMPARE_FAILURE);
    assert_int_equal(io(f, (NvmeCmd){.opcode = NVME_IO_FLUSH, .nsid = 1}), 0);
    assert_int_equal(io(f, (NvmeCmd){.opcode = NVME_IO_FLUSH, .nsid = NVME_NSID_ALL}), 0);
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

static void test_async_events(void **state)
{
    Fixture *f = *state;
    Completion c;

    enable(f);
    for (int i = 0; i < 4; i++) {
        push(f, &f->admin, (NvmeCmd){.opcode = NVME_ADM_ASYNC_EVENT});
    }
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_ASYNC_EVENT}), DNR(NVME_SC_AER_LIMIT));
    reg_set(f, NVME_REG_DOORBELLS + 3 * 8, 4, 1); /* a queue that does not exist */
    c = wait_cqe(f, &f->admin);
    ack(f, &f->admin);
    assert_int_equal(c.result, NVME_LOG_ERROR << 16 | NVME_EVENT_ERROR_INVALID_DOORBELL << 8);
    reg_set(f, NVME_REG_DOORBELLS, 4, ADMIN_ENTRIES); /* masked until the log is read */
    for (int i = 0; i < 3; i++) {
        loop_iterate(f->m->main_loop, false);
    }
    assert_false(poll_cqe(f, &f->admin, &c));
    push(f, &f->admin,
         (NvmeCmd){.opcode = NVME_ADM_GET_LOG_PAGE, .prp1 = BUF, .cdw10 = NVME_LOG_ERROR | 15 << 16});
    ring(f, &f->admin);
    assert_int_equal(wait_cqe(f, &f->admin).status, 0);
    c = wait_cqe(f, &f->admin);
    assert_int_equal(c.result, NVME_LOG_ERROR << 16 | NVME_EVENT_ERROR_INVALID_VALUE << 8);
    ack(f, &f->admin);
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_GET_LOG_PAGE, .prp1 = BUF, .cdw10 = 0x42}),
                     DNR(NVME_SC_LOG_PAGE));
}

static void test_resize(void **state)
{
    Fixture *f = *state;
    BlockBackend *drive = block_find(f->m, "d0");
    uint64_t size = block_size(drive);
    NvmeCmd log = {.opcode = NVME_ADM_GET_LOG_PAGE, .prp1 = BUF, .cdw10 = NVME_LOG_CHANGED_NS | 15 << 16};
    Completion c;

    enable(f);
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_SET_FEATURES, .cdw10 = NVME_FEAT_ASYNC_EVENT, .cdw11 = 0x100}),
                     NVME_SC_SUCCESS);
    push(f, &f->admin, (NvmeCmd){.opcode = NVME_ADM_ASYNC_EVENT});
    ring(f, &f->admin);
    assert_true(block_resize(drive, size + 65536, NULL));
    c = wait_cqe(f, &f->admin);
    ack(f, &f->admin);
    assert_int_equal(c.result, NVME_LOG_CHANGED_NS << 16 | NVME_EVENT_NOTICE_NS_ATTRIBUTE << 8 | NVME_EVENT_NOTICE);
    assert_int_equal(admin(f, log), NVME_SC_SUCCESS);
    assert_int_equal(pci_get32(f->ram + BUF), 1);
    assert_int_equal(pci_get32(f->ram + BUF + 4), 0);
    assert_int_equal(admin(f, log), NVME_SC_SUCCESS);
    assert_int_equal(pci_get32(f->ram + BUF), 0); /* reading it cleared it */
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_IDENTIFY, .nsid = 1, .prp1 = BUF}), NVME_SC_SUCCESS);
    assert_int_equal(pci_get64(f->ram + BUF), (size + 65536) / 512);
    assert_true(block_resize(drive, size, NULL));
}

static Device *add_namespace(Fixture *f, const char *nsid, GError **error)
{
    struct json_object *opts = opts_parse("-drive", "id=d1,file=null-co://,file.size=8M,file.read-zeroes=on", NULL, NULL);

    if (!block_find(f->m, "d1")) {
        assert_non_null(block_open(f->m, opts, NULL));
    }
    json_object_put(opts);
    return device_create(f->m, &nvme_ns_model.model, "ns", error, "drive", "d1", "bus", "nvme0", "nsid", nsid,
                         "logical_block_size", "4096", "physical_block_size", "4096", NULL);
}

static void test_namespaces(void **state)
{
    Fixture *f = *state;
    NvmeCmd list = {.opcode = NVME_ADM_IDENTIFY, .prp1 = BUF, .cdw10 = NVME_CNS_ACTIVE_LIST};
    NvmeCmd log = {.opcode = NVME_ADM_GET_LOG_PAGE, .prp1 = BUF, .cdw10 = NVME_LOG_CHANGED_NS | 15 << 16};
    NvmeCmd read = rw(NVME_IO_READ, 2047, 1, BUF, 0);
    GError *error = NULL;
    Device *ns;
    Completion c;

    enable(f);
    create_io(f, 0);
    admin(f, (NvmeCmd){.opcode = NVME_ADM_SET_FEATURES, .cdw10 = NVME_FEAT_ASYNC_EVENT, .cdw11 = 0x100});
    push(f, &f->admin, (NvmeCmd){.opcode = NVME_ADM_ASYNC_EVENT});
    ring(f, &f->admin);
    assert_null(add_namespace(f, "1", &error));
    assert_string_equal(error->message, "nvme-ns.nsid: is taken (1, allowed 1..256)");
    g_clear_error(&error);
    ns = add_namespace(f, "40", &error);
    assert_non_null(ns);
    c = wait_cqe(f, &f->admin);
    ack(f, &f->admin);
    assert_int_equal(c.result & 0xffff, NVME_EVENT_NOTICE_NS_ATTRIBUTE << 8 | NVME_EVENT_NOTICE);
    assert_int_equal(admin(f, log), 0);
    assert_int_equal(pci_get32(f->ram + BUF), 40);
    assert_int_equal(admin(f, list), 0);
    assert_int_equal(pci_get32(f->ram + BUF), 1);
    assert_int_equal(pci_get32(f->ram + BUF + 4), 40);
    assert_int_equal(pci_get32(f->ram + BUF + 8), 0);
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_IDENTIFY, .nsid = 40, .prp1 = BUF}), 0);
    assert_int_equal(pci_get64(f->ram + BUF), 2048);
    assert_int_equal(f->ram[BUF + 130], 12);
    /* Its own size and block size; the other one's data is not reached. */
    memset(f->ram + BUF, 0xee, 8192);
    read.nsid = 40;
    assert_int_equal(io(f, read), 0);
    assert_int_equal(f->ram[BUF + 4095], 0);
    assert_int_equal(f->ram[BUF + 4096], 0xee);
    read.cdw10 = 2048;
    assert_int_equal(io(f, read), DNR(NVME_SC_LBA_RANGE));
    assert_int_equal(io(f, (NvmeCmd){.opcode = NVME_IO_FLUSH, .nsid = NVME_NSID_ALL}), 0);
    /* Unplugged with commands in its queue: they end, it is gone, the other one works. */
    read.cdw10 = 0;
    push(f, &f->io1, read);
    ring(f, &f->io1);
    device_destroy(ns);
    assert_int_equal(wait_cqe(f, &f->io1).status, 0);
    ack(f, &f->io1);
    assert_int_equal(io(f, read), DNR(NVME_SC_INVALID_FIELD));
    read.nsid = 1;
    assert_int_equal(io(f, read), 0);
    /* The controller takes it along. */
    ns = add_namespace(f, "0", &error);
    assert_non_null(ns);
    device_destroy(&f->dev->dev);
    f->dev = NULL;
    assert_null(object_resolve(f->m, "ns"));
    assert_null(add_namespace(f, "0", &error));
    assert_non_null(strstr(error->message, "no such controller ('nvme0')"));
    g_clear_error(&error);
    add_controller(f);
}

static void push_reads(Fixture *f)
{
    for (int i = 0; i < IO_ENTRIES - 1; i++) {
        push(f, &f->io1, rw(NVME_IO_READ, (uint64_t)i * 8, 8, BUF + (uint64_t)i * 4096, 0));
    }
    ring(f, &f->io1);
}

static void test_disable_mid_io(void **state)
{
    Fixture *f = *state;

    for (int round = 0; round < 10; round++) {
        enable(f);
        create_io(f, 0);
        push_reads(f);
        reg_set(f, NVME_REG_CC, 4, 0);
        while (reg_get(f, NVME_REG_CSTS, 4)) {
            loop_iterate(f->m->main_loop, true);
        }
        assert_int_equal(nvme_of(f->dev)->in_flight, 0);
        assert_int_equal(pci_get16(f->ram + IOCQ + 14), 0); /* nothing was posted */
    }
}

static void test_reset_mid_io(void **state)
{
    Fixture *f = *state;

    enable(f);
    create_io(f, 0);
    push_reads(f);
    device_reset(&f->dev->dev);
    assert_int_equal(pci_get16(f->ram + IOCQ + 14), 0);
    config_write(f, PCI_BASE_ADDRESS_0, BAR, 4);
    config_write(f, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
    assert_int_equal(reg_get(f, NVME_REG_CC, 4), 0);
    enable(f);
    create_io(f, 0);
    check_rw(f, BUF, f->ram + BUF);
}

static void test_delete_mid_io(void **state)
{
    Fixture *f = *state;
    Completion c;
    int done = 0;

    enable(f);
    create_io(f, 0);
    push_reads(f);
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_DELETE_SQ, .cdw10 = 1}), 0);
    while (poll_cqe(f, &f->io1, &c)) {
        wait_cqe(f, &f->io1);
        done++;
    }
    assert_int_equal(done, IO_ENTRIES - 1); /* all were there when the deletion completed */
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_DELETE_CQ, .cdw10 = 1}), 0);
}

static void test_shutdown(void **state)
{
    Fixture *f = *state;

    enable(f);
    reg_set(f, NVME_REG_CC, 4, reg_get(f, NVME_REG_CC, 4) | 1 << 14);
    while ((reg_get(f, NVME_REG_CSTS, 4) & NVME_CSTS_SHST_MASK) != NVME_CSTS_SHST_COMPLETE) {
        loop_iterate(f->m->main_loop, true);
    }
    reg_set(f, NVME_REG_CC, 4, 0);
    assert_int_equal(reg_get(f, NVME_REG_CSTS, 4), 0);
}

/* Data pointers that lead back to the controller's own registers: zeroes are written to CC among others. */
static void test_dma_to_registers(void **state)
{
    Fixture *f = *state;

    enable(f);
    create_io(f, 0);
    push(f, &f->io1, rw(NVME_IO_READ, 0, 8, BAR, 0));
    ring(f, &f->io1);
    while (reg_get(f, NVME_REG_CSTS, 4)) {
        loop_iterate(f->m->main_loop, true);
    }
    enable(f);
}

/* The same with the doorbells, which makes the controller run through old and empty entries. */
static void test_dma_to_doorbells(void **state)
{
    Fixture *f = *state;

    enable(f);
    create_io(f, 0);
    push(f, &f->io1, rw(NVME_IO_READ, 0, 8, BAR + NVME_REG_DOORBELLS, 0));
    ring(f, &f->io1);
    assert_int_equal(wait_cqe(f, &f->io1).status, 0);
    loop_iterate(f->m->main_loop, false);
    reg_set(f, NVME_REG_CC, 4, 0);
    while (reg_get(f, NVME_REG_CSTS, 4)) {
        loop_iterate(f->m->main_loop, true);
    }
    enable(f);
}

static void test_no_bus_master(void **state)
{
    Fixture *f = *state;

    enable(f);
    config_write(f, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
    push(f, &f->admin, (NvmeCmd){.opcode = NVME_ADM_ABORT});
    ring(f, &f->admin);
    assert_int_equal(reg_get(f, NVME_REG_CSTS, 4), NVME_CSTS_RDY | NVME_CSTS_CFS);
}

static void test_state(void **state)
{
    Fixture *f = *state;
    g_autoptr(GByteArray) saved = g_byte_array_new(), again = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    size_t offset = 0;

    enable_msix(f);
    enable(f);
    create_io(f, 2);
    push(f, &f->admin, (NvmeCmd){.opcode = NVME_ADM_ASYNC_EVENT});
    ring(f, &f->admin);
    check_rw(f, BUF, f->ram + BUF);
    push_reads(f);
    device_save(&f->dev->dev, saved);
    device_reset(&f->dev->dev);
    if (!device_load(&f->dev->dev, saved->data, saved->len, &offset, &error)) {
        fail_msg("%s", error->message);
    }
    device_save(&f->dev->dev, again);
    assert_int_equal(again->len, saved->len);
    assert_memory_equal(again->data, saved->data, saved->len);
    for (int i = 0; i < IO_ENTRIES - 1; i++) {
        assert_int_equal(wait_cqe(f, &f->io1).status, 0);
    }
    ack(f, &f->io1);
    check_rw(f, BUF, f->ram + BUF);
}

/* --- the doorbell buffer --- */

#define SHADOW 0x18000u
#define EVENTS 0x19000u

static uint16_t set_doorbell_buffer(Fixture *f, uint64_t shadow, uint64_t events)
{
    return admin(f, (NvmeCmd){.opcode = NVME_ADM_DOORBELL_BUFFER, .prp1 = shadow, .prp2 = events});
}

/* What the driver writes instead of a register. */
static void ring_in_memory(Fixture *f, const Queue *q, uint32_t val)
{
    pci_set32(f->ram + SHADOW + 8 * q->qid, val);
}

static void start_with_buffer(Fixture *f)
{
    enable(f);
    create_io(f, 0);
    assert_int_equal(set_doorbell_buffer(f, SHADOW, EVENTS), 0);
}

static void timer_nothing(void *opaque)
{
}

/* The loop really sleeps. */
static void sleep_a_turn(Fixture *f)
{
    Timer *timer = timer_new(f->m->main_loop, CLOCK_KIND_REALTIME, timer_nothing, f);

    timer_set(timer, clock_now(f->m->clocks, CLOCK_KIND_REALTIME) + 1000000);
    while (timer_pending(timer)) {
        loop_iterate(f->m->main_loop, true);
    }
    timer_free(timer);
}

static void test_doorbell_buffer(void **state)
{
    Fixture *f = *state;

    start_with_buffer(f);
    assert_int_equal(admin(f, (NvmeCmd){.opcode = NVME_ADM_IDENTIFY, .prp1 = BUF, .cdw10 = 1}), 0);
    assert_int_equal(pci_get16(f->ram + BUF + 256) >> 8 & 1, 1);
    for (int i = 0; i < 3 * IO_ENTRIES; i++) {
        push(f, &f->io1, rw(NVME_IO_READ, 0, 8, BUF, 0));
        ring_in_memory(f, &f->io1, f->io1.tail);
        assert_int_equal(wait_cqe(f, &f->io1).status, 0);
        pci_set32(f->ram + SHADOW + 12, f->io1.head);
    }
    sleep_a_turn(f);
    assert_int_equal(pci_get32(f->ram + EVENTS + 8), f->io1.tail); /* from here on the driver writes the register */
    push(f, &f->io1, rw(NVME_IO_READ, 0, 8, BUF, 0));
    ring_in_memory(f, &f->io1, f->io1.tail);
    reg_set(f, NVME_REG_DOORBELLS + 8, 4, 0); /* whose value does not matter */
    assert_int_equal(wait_cqe(f, &f->io1).status, 0);
    /* The register came from a CPU, and the loop may be asleep: the next value has to come there too. */
    assert_int_equal(pci_get32(f->ram + EVENTS + 8), f->io1.tail);
}

static void test_doorbell_buffer_errors(void **state)
{
    Fixture *f = *state;

    start_with_buffer(f);
    assert_int_equal(set_doorbell_buffer(f, SHADOW + 8, EVENTS), NVME_SC_INVALID_FIELD | NVME_DNR);
    assert_int_equal(set_doorbell_buffer(f, SHADOW, 0), NVME_SC_INVALID_FIELD | NVME_DNR);
    ring_in_memory(f, &f->io1, IO_ENTRIES + 5);
    for (int i = 0; i < 10; i++) {
        loop_iterate(f->m->main_loop, false);
    }
    assert_int_equal(reg_get(f, NVME_REG_CSTS, 4), NVME_CSTS_RDY);
    assert_int_equal(f->dev->dev.guest_errors, 1); /* seen once, not in each turn */
    push(f, &f->io1, rw(NVME_IO_READ, 0, 8, BUF, 0));
    ring_in_memory(f, &f->io1, f->io1.tail);
    assert_int_equal(wait_cqe(f, &f->io1).status, 0);
    ack(f, &f->io1);
    /* Memory that is not there, or is reached by messages only: the registers count again. */
    assert_int_equal(set_doorbell_buffer(f, REMOTE, EVENTS), NVME_SC_DATA_TRANSFER);
    assert_int_equal(set_doorbell_buffer(f, UINT64_C(1) << 40, EVENTS), NVME_SC_DATA_TRANSFER);
    assert_int_equal(io(f, rw(NVME_IO_READ, 0, 8, BUF, 0)), 0);
}

static void test_doorbell_buffer_ends_with_reset_and_is_saved(void **state)
{
    Fixture *f = *state;
    g_autoptr(GByteArray) saved = g_byte_array_new();
    size_t offset = 0;
    Completion c;

    start_with_buffer(f);
    device_save(&f->dev->dev, saved);
    device_reset(&f->dev->dev);
    assert_true(device_load(&f->dev->dev, saved->data, saved->len, &offset, NULL));
    push(f, &f->io1, rw(NVME_IO_READ, 0, 8, BUF, 0));
    ring_in_memory(f, &f->io1, f->io1.tail);
    assert_int_equal(wait_cqe(f, &f->io1).status, 0);
    reg_set(f, NVME_REG_CC, 4, 0);
    enable(f);
    create_io(f, 0);
    push(f, &f->io1, rw(NVME_IO_READ, 0, 8, BUF, 0));
    ring_in_memory(f, &f->io1, f->io1.tail);
    sleep_a_turn(f);
    assert_false(poll_cqe(f, &f->io1, &c));
    ring(f, &f->io1);
    assert_int_equal(wait_cqe(f, &f->io1).status, 0);
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

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
        cmocka_unit_test_setup_teardown(test_reset_mid_io, setup_threads, teardown),
        TEST(test_zeroes_and_dsm),
        TEST(test_wrap_and_full),
        TEST(test_intx),
        TEST(test_msix),
        TEST(test_async_events),
        TEST(test_resize),
        TEST(test_namespaces),
        TEST(test_disable_mid_io),
        TEST(test_reset_mid_io),
        TEST(test_delete_mid_io),
        TEST(test_shutdown),
        TEST(test_dma_to_registers),
        TEST(test_dma_to_doorbells),
        TEST(test_no_bus_master),
        TEST(test_state),
        TEST(test_doorbell_buffer),
        TEST(test_doorbell_buffer_errors),
        TEST(test_doorbell_buffer_ends_with_reset_and_is_saved),
        TEST(test_bad_properties),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
