/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine, the controller and its driver that the unit tests of hw/nvme/ share. */
#include "nvme-rig.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, &nvme_model.dev, &nvme_ns_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

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

void config_write(Fixture *f, uint16_t offset, uint32_t val, unsigned size)
{
    pci_config_write(f->dev, offset, val, size);
}

void add_controller(Fixture *f)
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

int setup(void **state)
{
    return setup_with(state, "");
}

int setup_readonly(void **state)
{
    return setup_with(state, ",readonly=on");
}

int setup_threads(void **state)
{
    return setup_with(state, ",aio=threads");
}

int teardown(void **state)
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

uint64_t reg_get(Fixture *f, unsigned offset, unsigned size)
{
    uint64_t val;

    assert_int_equal(as_load(f->m->memory, BAR + offset, size, &val, MEM_ATTRS_CPU), MEM_OK);
    return val;
}

void reg_set(Fixture *f, unsigned offset, unsigned size, uint64_t val)
{
    assert_int_equal(as_store(f->m->memory, BAR + offset, size, val, MEM_ATTRS_CPU), MEM_OK);
}

void enable(Fixture *f)
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
uint16_t push(Fixture *f, Queue *q, NvmeCmd cmd)
{
    cmd.cid = ++f->cid;
    memcpy(f->ram + q->sq + q->tail * NVME_SQE_SIZE, &cmd, sizeof(cmd));
    q->tail = (uint16_t)((q->tail + 1) % q->entries);
    return cmd.cid;
}

void ring(Fixture *f, Queue *q)
{
    reg_set(f, NVME_REG_DOORBELLS + q->qid * 8, 4, q->tail);
}

bool poll_cqe(Fixture *f, Queue *q, Completion *c)
{
    const uint8_t *p = f->ram + q->cq + q->head * NVME_CQE_SIZE;
    uint16_t status = pci_get16(p + 14);

    if ((status & 1) != q->phase) {
        return false;
    }
    *c = (Completion){pci_get32(p), pci_get16(p + 8), pci_get16(p + 10), pci_get16(p + 12), status >> 1};
    return true;
}

Completion wait_cqe(Fixture *f, Queue *q)
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

void ack(Fixture *f, Queue *q)
{
    reg_set(f, NVME_REG_DOORBELLS + q->qid * 8 + 4, 4, q->head);
}

Completion run(Fixture *f, Queue *q, NvmeCmd cmd)
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

uint16_t admin(Fixture *f, NvmeCmd cmd)
{
    return run(f, &f->admin, cmd).status;
}

uint16_t create_cq(Fixture *f, uint32_t qid, uint32_t entries, uint64_t base, uint32_t vector,
                          uint32_t flags)
{
    return admin(f, (NvmeCmd){.opcode = NVME_ADM_CREATE_CQ,
                              .prp1 = base,
                              .cdw10 = qid | (entries - 1) << 16,
                              .cdw11 = vector << 16 | flags});
}

uint16_t create_sq(Fixture *f, uint32_t qid, uint32_t entries, uint64_t base, uint32_t cqid)
{
    return admin(f, (NvmeCmd){.opcode = NVME_ADM_CREATE_SQ,
                              .prp1 = base,
                              .cdw10 = qid | (entries - 1) << 16,
                              .cdw11 = cqid << 16 | 1});
}

void create_io(Fixture *f, uint32_t vector)
{
    assert_int_equal(create_cq(f, 1, IO_ENTRIES, IOCQ, vector, 3), 0);
    assert_int_equal(create_sq(f, 1, IO_ENTRIES, IOSQ, 1), 0);
    memset(f->ram + IOCQ, 0, 4096);
    f->io1 = (Queue){1, IO_ENTRIES, 0, 0, IOSQ, IOCQ, true};
}

void enable_msix(Fixture *f)
{
    for (unsigned v = 0; v < 5; v++) {
        reg_set(f, NVME_MSIX_TABLE + v * 16, 4, 0xfee00000);
        reg_set(f, NVME_MSIX_TABLE + v * 16 + 4, 4, 0);
        reg_set(f, NVME_MSIX_TABLE + v * 16 + 8, 4, 0x100 + v);
        reg_set(f, NVME_MSIX_TABLE + v * 16 + 12, 4, 0);
    }
    config_write(f, f->dev->msix_cap + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
}

NvmeCmd rw(uint8_t opcode, uint64_t slba, uint32_t blocks, uint64_t prp1, uint64_t prp2)
{
    return (NvmeCmd){.opcode = opcode,
                     .nsid = 1,
                     .prp1 = prp1,
                     .prp2 = prp2,
                     .cdw10 = (uint32_t)slba,
                     .cdw11 = (uint32_t)(slba >> 32),
                     .cdw12 = blocks - 1};
}

uint16_t io(Fixture *f, NvmeCmd cmd)
{
    return run(f, &f->io1, cmd).status;
}

void fill(uint8_t *buf, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        buf[i] = (uint8_t)(seed >> 16);
    }
}

void check_rw(Fixture *f, uint64_t buf, uint8_t *host)
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
