/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of hw/nvme/: what happens to a controller while it works: events, namespaces that come, resets, saved state,
 * transfers to itself, doorbells in memory.
 */
#include "nvme-rig.h"

#include <json-c/json.h>
#include <string.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reset_mid_io, setup_threads, teardown),
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
