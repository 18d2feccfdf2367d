/* SPDX-License-Identifier: BSD-3-Clause */
/* What the set-up functions accept and refuse, and the errors of requests that concern what they set up. */
#include "client.h"

#include "wire/bytes.h"

static char log_text[1024];
static int log_calls, reset_errno, read_errno, transition_errno;
static int64_t short_by;

static void on_log(vfu_ctx_t *ctx, int level, const char *msg)
{
    log_calls++;
    snprintf(log_text, sizeof(log_text), "%d %s", level, msg);
    errno = ENOMSG;
}

static ssize_t access_cb(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    if (read_errno) {
        errno = read_errno;
        return -1;
    }
    if (!is_write) {
        memset(buf, 0x11, count);
    }
    return (ssize_t)count - (ssize_t)short_by;
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    errno = reset_errno;
    return reset_errno >= 0 && type != VFU_RESET_LOST_CONN ? -1 : 0;
}

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    errno = transition_errno;
    return transition_errno ? -1 : 0;
}

static ssize_t on_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    if (read_errno) {
        errno = read_errno;
        return -1;
    }
    return (ssize_t)count - (ssize_t)short_by;
}

static const vfu_migration_callbacks_t callbacks = { VFU_MIGR_CALLBACKS_VERS, on_transition, on_data, on_data };

static void open_ctx(Client *c)
{
    log_calls = read_errno = transition_errno = 0;
    reset_errno = -1;
    short_by = 0;
    client_open(c, LIBVFIO_USER_FLAG_ATTACH_NB);
}

static void fails(int result, int err)
{
    int got = errno;

    assert_int_equal(result, -1);
    assert_int_equal(got, err);
}

/* ---- life cycle ---- */

static void test_life_cycle(void **state)
{
    struct pollfd p;
    Client c;

    open_ctx(&c);
    assert_ptr_equal(vfu_get_private(c.ctx), &c);
    fails(vfu_run_ctx(c.ctx), EINVAL);
    fails(vfu_attach_ctx(c.ctx), EINVAL);
    assert_int_equal(vfu_realize_ctx(c.ctx), 0);
    assert_int_equal(vfu_realize_ctx(c.ctx), 0);
    fails(vfu_run_ctx(c.ctx), ENOTCONN);
    fails(vfu_attach_ctx(c.ctx), EAGAIN);
    fails(vfu_device_quiesced(c.ctx, 0), EINVAL);
    assert_int_equal(vfu_poll_events(c.ctx), POLLIN);
    client_attach(&c, NULL);
    assert_int_equal(vfu_run_ctx(c.ctx), 0);
    p = (struct pollfd){ .fd = vfu_get_poll_fd(c.ctx), .events = POLLIN };
    assert_int_equal(poll(&p, 1, 0), 0);
    client_close(&c);
    /* The fd to poll of a blocking context is the listener, then the connection. */
    client_open(&c, 0);
    assert_int_equal(vfu_realize_ctx(c.ctx), 0);
    p.fd = vfu_get_poll_fd(c.ctx);
    client_attach(&c, NULL);
    assert_int_not_equal(vfu_get_poll_fd(c.ctx), p.fd);
    assert_int_equal(vfu_poll_events(c.ctx), POLLIN);
    client_close(&c);
}

static void test_log(void **state)
{
    Client c;

    open_ctx(&c);
    fails(vfu_setup_log(c.ctx, on_log, -1), EINVAL);
    fails(vfu_setup_log(c.ctx, on_log, 8), EINVAL);
    vfu_log(c.ctx, LOG_ERR, "nobody listens");
    assert_int_equal(vfu_setup_log(c.ctx, on_log, LOG_INFO), 0);
    errno = EXDEV;
    vfu_log(c.ctx, LOG_INFO, "%d and %s", 7, "more");
    assert_int_equal(errno, EXDEV);
    assert_string_equal(log_text, "6 7 and more");
    vfu_log(c.ctx, LOG_DEBUG, "too much");
    vfu_log(NULL, LOG_ERR, "no context");
    assert_int_equal(log_calls, 1);
    client_close(&c);
}

/* ---- regions ---- */

static int setup(Client *c, int idx, size_t size, int flags)
{
    return vfu_setup_region(c->ctx, idx, size, access_cb, flags, NULL, 0, -1, 0);
}

static void test_region_checks(void **state)
{
    const int mem = VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, big = mem | VFU_REGION_FLAG_64_BITS;
    struct iovec outside = { (void *)0x800, 0x1000 }, inside = { (void *)0x800, 0x800 };
    int fd = memory_file(0x1000);
    Client c;

    open_ctx(&c);
    fails(setup(&c, -1, 0x1000, mem), EINVAL);
    fails(setup(&c, VFU_PCI_DEV_NUM_REGIONS, 0x1000, mem), EINVAL);
    fails(setup(&c, 0, 0x1000, VFU_REGION_FLAG_MEM), EINVAL);
    fails(setup(&c, 0, 0x1000, mem | 64), EINVAL);
    fails(setup(&c, 0, 0x1001, mem), EINVAL);
    fails(setup(&c, 0, 8, mem), EINVAL);
    fails(setup(&c, 0, 2, VFU_REGION_FLAG_RW), EINVAL);
    fails(setup(&c, 0, 16, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_PREFETCH), EINVAL);
    fails(setup(&c, 0, 16, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_64_BITS), EINVAL);
    fails(setup(&c, 0, 1ull << 32, mem), EINVAL);
    fails(setup(&c, 1, 0x1000, big), EINVAL);
    fails(setup(&c, 0, 0x1000, mem | VFU_REGION_FLAG_ALWAYS_CB), EINVAL);
    fails(setup(&c, VFU_PCI_DEV_CFG_REGION_IDX, 256, VFU_REGION_FLAG_READ), EINVAL);
    fails(setup(&c, VFU_PCI_DEV_CFG_REGION_IDX, 256, mem), EINVAL);
    fails(vfu_setup_region(c.ctx, VFU_PCI_DEV_CFG_REGION_IDX, 256, NULL, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_ALWAYS_CB,
                           NULL, 0, -1, 0), EINVAL);
    fails(vfu_setup_region(c.ctx, 0, 0x1000, NULL, mem, &inside, 0, fd, 0), EINVAL);
    fails(vfu_setup_region(c.ctx, 0, 0x1000, NULL, mem, NULL, 1, fd, 0), EINVAL);
    fails(vfu_setup_region(c.ctx, 0, 0x1000, NULL, mem, &inside, 1, -1, 0), EINVAL);
    fails(vfu_setup_region(c.ctx, 0, 0x1000, NULL, mem, &outside, 1, fd, 0), EINVAL);
    /* A 64-bit BAR takes its odd neighbour. */
    assert_int_equal(setup(&c, 1, 16, VFU_REGION_FLAG_RW), 0);
    fails(setup(&c, 0, 0x1000, big), EINVAL);
    assert_int_equal(setup(&c, 1, 0, 0), 0);
    assert_int_equal(setup(&c, 0, 16ull << 30, big | VFU_REGION_FLAG_PREFETCH), 0);
    fails(setup(&c, 1, 16, VFU_REGION_FLAG_RW), EINVAL);
    /* Again, with areas, replaces. */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(vfu_setup_region(c.ctx, 2, 0x1000, NULL, mem, &inside, 1, fd, 0), 0);
    }
    close(fd);
    client_close(&c);
}

static void test_region_results(void **state)
{
    uint8_t data[8];
    Client c;

    open_ctx(&c);
    assert_int_equal(setup(&c, 0, 0x1000, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM), 0);
    assert_int_equal(vfu_setup_region(c.ctx, 4, 0x1000, NULL, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0), 0);
    client_attach(&c, NULL);
    assert_int_equal(client_read(&c, 0, 0, data, 8), 0);
    assert_int_equal(client_read(&c, 4, 0, data, 8), EINVAL);
    read_errno = EAGAIN;
    assert_int_equal(client_read(&c, 0, 0, data, 8), EAGAIN);
    assert_int_equal(errno, EAGAIN);
    read_errno = 0;
    short_by = 1;
    assert_int_equal(client_read(&c, 0, 0, data, 8), EINVAL);
    assert_int_equal(client_write(&c, 0, 0, data, 8), EINVAL);
    client_close(&c);
}

static void test_write_multi(void **state)
{
    WireWrite w = { .offset = 4, .region = 0, .count = 8 };
    uint8_t body[WIRE_WRITE_MULTI_SIZE + 2 * WIRE_WRITE_ENTRY_SIZE];
    WireMessage m;
    uint64_t done;
    Client c;

    open_ctx(&c);
    assert_int_equal(setup(&c, 0, 0x1000, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM), 0);
    client_attach(&c, "{\"capabilities\":{\"write_multiple\":true}}");
    wire_write_multi_encode(body, 2);
    for (int bad = 0; bad < 3; bad++) {
        w.region = bad == 2 ? 3 : 0;
        wire_write_multi_entry_encode(body + WIRE_WRITE_MULTI_SIZE, &w);
        w.region = bad ? 3 : 0;
        wire_write_multi_entry_encode(body + WIRE_WRITE_MULTI_SIZE + WIRE_WRITE_ENTRY_SIZE, &w);
        assert_int_equal(client_call(&c, WIRE_WRITE_MULTI, body, sizeof(body), NULL, 0, &m), bad == 2 ? EINVAL : 0);
        if (bad < 2) {
            assert_int_equal(wire_write_multi_decode_reply(&done, m.body, m.len, 2), 0);
            assert_int_equal(done, 2 - bad);
        }
        wire_message_clear(&m);
    }
    assert_int_equal(client_do(&c, WIRE_WRITE_MULTI, body, sizeof(body) - 1), EINVAL);
    client_close(&c);
}

/* ---- PCI ---- */

static void test_pci_init(void **state)
{
    static const size_t sizes[] = { 256, 256, 4096, 4096 };
    Client c;

    open_ctx(&c);
    assert_null(vfu_pci_get_config_space(c.ctx));
    vfu_pci_set_id(c.ctx, 1, 2, 3, 4);
    vfu_pci_set_class(c.ctx, 1, 2, 3);
    fails(vfu_pci_init(c.ctx, 4, 0, 0), EINVAL);
    fails(vfu_pci_init(c.ctx, VFU_PCI_TYPE_EXPRESS, 1, 0), EINVAL);
    fails(vfu_pci_init(c.ctx, VFU_PCI_TYPE_EXPRESS, 0, 256), EINVAL);
    fails(vfu_pci_init(c.ctx, VFU_PCI_TYPE_EXPRESS, 0, -1), EINVAL);
    client_close(&c);
    for (int type = 0; type < 4; type++) {
        uint8_t last;

        open_ctx(&c);
        assert_int_equal(vfu_pci_init(c.ctx, type, 0, 7), 0);
        fails(vfu_pci_init(c.ctx, type, 0, 7), EEXIST);
        vfu_pci_set_id(c.ctx, 1, 2, 3, 4);
        vfu_pci_set_class(c.ctx, 5, 6, 7);
        assert_int_equal(vfu_setup_device_nr_irqs(c.ctx, VFU_DEV_INTX_IRQ, 1), 0);
        client_attach(&c, NULL);
        assert_int_equal(vfu_pci_get_config_space(c.ctx)->hdr.cc.bcc, 5);
        assert_int_equal(vfu_pci_get_config_space(c.ctx)->hdr.ss.sid, 4);
        assert_int_equal(vfu_pci_get_config_space(c.ctx)->hdr.intr.ipin, 1);
        assert_int_equal(client_read(&c, VFU_PCI_DEV_CFG_REGION_IDX, sizes[type] - 1, &last, 1), 0);
        assert_int_equal(client_read(&c, VFU_PCI_DEV_CFG_REGION_IDX, sizes[type], &last, 1), EINVAL);
        client_close(&c);
    }
    /* Without any of it there is still a config space. */
    open_ctx(&c);
    client_attach(&c, NULL);
    assert_int_equal(client_do(&c, WIRE_RESET, NULL, 0), 0);
    assert_non_null(vfu_pci_get_config_space(c.ctx));
    client_close(&c);
    open_ctx(&c);
    assert_int_equal(setup(&c, VFU_PCI_DEV_CFG_REGION_IDX, 4096, VFU_REGION_FLAG_RW), 0);
    client_attach(&c, NULL);
    client_close(&c);
}

static struct vsc *vendor_cap(uint8_t size)
{
    static uint8_t bytes[256];

    memset(bytes, 0xee, sizeof(bytes));
    bytes[0] = PCI_CAP_ID_VNDR;
    bytes[2] = size;
    return (struct vsc *)bytes;
}

static void test_capability_places(void **state)
{
    struct pmcap pm = { .hdr.id = PCI_CAP_ID_PM };
    struct cap_hdr unknown = { .id = PCI_CAP_ID_VPD };
    struct dsncap dsn = { 0 };
    union {
        struct pcie_ext_cap_vsc_hdr h;
        uint8_t bytes[16];
    } vendor = { .h = { .hdr.id = PCI_EXT_CAP_ID_VNDR, .len = 16 } };
    Client c;

    open_ctx(&c);
    fails((int)vfu_pci_add_capability(c.ctx, 0, 0, &pm), EINVAL);
    assert_int_equal(vfu_pci_init(c.ctx, VFU_PCI_TYPE_EXPRESS, 0, 0), 0);
    fails((int)vfu_pci_add_capability(c.ctx, 0, 8, &pm), EINVAL);
    fails((int)vfu_pci_add_capability(c.ctx, 0, 0, NULL), EINVAL);
    fails((int)vfu_pci_add_capability(c.ctx, 0, 0, &unknown), ENOTSUP);
    fails((int)vfu_pci_add_capability(c.ctx, 0, 0, vendor_cap(2)), EINVAL);
    fails((int)vfu_pci_add_capability(c.ctx, 0, VFU_CAP_FLAG_CALLBACK, &pm), EINVAL);
    fails((int)vfu_pci_add_capability(c.ctx, 0x30, 0, &pm), EINVAL);
    fails((int)vfu_pci_add_capability(c.ctx, 0x42, 0, &pm), EINVAL);
    fails((int)vfu_pci_add_capability(c.ctx, 0xfc, 0, &pm), EINVAL);
    fails((int)vfu_pci_add_capability(c.ctx, 0x1000, 0, &pm), EINVAL);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0x50, 0, &pm), 0x50);
    fails((int)vfu_pci_add_capability(c.ctx, 0x50, 0, &pm), EINVAL);
    fails((int)vfu_pci_add_capability(c.ctx, 0x54, 0, &pm), EINVAL);
    fails((int)vfu_pci_add_capability(c.ctx, 0x4c, 0, vendor_cap(5)), EINVAL);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0x4c, 0, vendor_cap(4)), 0x4c);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0, 0, vendor_cap(5)), 0x58);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0, 0, vendor_cap(0x90)), 0x60);
    fails((int)vfu_pci_add_capability(c.ctx, 0, 0, vendor_cap(0x20)), ENOSPC);
    assert_int_equal(vfu_pci_find_capability(c.ctx, false, PCI_CAP_ID_VNDR), 0x4c);
    assert_int_equal(vfu_pci_find_next_capability(c.ctx, false, 0x4c, PCI_CAP_ID_VNDR), 0x58);
    assert_int_equal(vfu_pci_find_next_capability(c.ctx, false, 0x60, PCI_CAP_ID_VNDR), 0);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(vfu_pci_find_next_capability(c.ctx, false, 0x61, PCI_CAP_ID_VNDR), 0);
    assert_int_equal(errno, EINVAL);
    /* Extended ones begin at 0x100. */
    dsn.hdr.id = PCI_EXT_CAP_ID_ERR;
    fails((int)vfu_pci_add_capability(c.ctx, 0, VFU_CAP_FLAG_EXTENDED, &dsn), ENOTSUP);
    dsn.hdr.id = PCI_EXT_CAP_ID_DSN;
    fails((int)vfu_pci_add_capability(c.ctx, 0x200, VFU_CAP_FLAG_EXTENDED, &dsn), EINVAL);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0, VFU_CAP_FLAG_EXTENDED, &dsn), 0x100);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0, VFU_CAP_FLAG_EXTENDED, &vendor), 0x10c);
    vendor.h.len = 4;
    fails((int)vfu_pci_add_capability(c.ctx, 0, VFU_CAP_FLAG_EXTENDED, &vendor), EINVAL);
    assert_int_equal(vfu_pci_find_capability(c.ctx, true, PCI_EXT_CAP_ID_VNDR), 0x10c);
    client_close(&c);

    open_ctx(&c);
    assert_int_equal(vfu_pci_init(c.ctx, VFU_PCI_TYPE_CONVENTIONAL, 0, 0), 0);
    fails((int)vfu_pci_add_capability(c.ctx, 0, VFU_CAP_FLAG_EXTENDED, &dsn), EINVAL);
    client_close(&c);
    /* As many as there may be, then one more. */
    open_ctx(&c);
    assert_int_equal(vfu_pci_init(c.ctx, VFU_PCI_TYPE_EXPRESS, 0, 0), 0);
    for (int i = 0; i < 128; i++) {
        assert_true(vfu_pci_add_capability(c.ctx, 0, VFU_CAP_FLAG_EXTENDED, &dsn) > 0);
    }
    fails((int)vfu_pci_add_capability(c.ctx, 0, VFU_CAP_FLAG_EXTENDED, &dsn), ENOSPC);
    client_close(&c);
}

static int config_write(Client *c, uint64_t offset, uint64_t value, uint32_t count)
{
    return client_write(c, VFU_PCI_DEV_CFG_REGION_IDX, offset, &value, count);
}

static uint32_t config_read(Client *c, uint64_t offset, uint32_t count)
{
    uint32_t value = 0;

    assert_int_equal(client_read(c, VFU_PCI_DEV_CFG_REGION_IDX, offset, &value, count), 0);
    return value;
}

static void test_capability_writes(void **state)
{
    struct pmcap pm = { .hdr.id = PCI_CAP_ID_PM, .pmcs.raw = 0x8008 };
    struct msicap msi64 = { .hdr.id = PCI_CAP_ID_MSI, .mc = { .c64 = 1, .mmc = 1 } };
    struct msicap msi32 = { .hdr.id = PCI_CAP_ID_MSI, .mc = { .pvm = 1, .mmc = 5 } };
    struct pxcap px = { .hdr.id = PCI_CAP_ID_EXP, .pxcaps.ver = 2 };
    struct dsncap dsn = { .hdr.id = PCI_EXT_CAP_ID_DSN };
    Client c;

    open_ctx(&c);
    assert_int_equal(vfu_pci_init(c.ctx, VFU_PCI_TYPE_EXPRESS, 0, 0), 0);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0x40, 0, &pm), 0x40);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0x50, 0, &msi64), 0x50);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0x70, 0, &msi32), 0x70);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0x90, 0, &px), 0x90);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0xd0, 0, vendor_cap(8)), 0xd0);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0xe0, VFU_CAP_FLAG_READONLY, vendor_cap(8)), 0xe0);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0, VFU_CAP_FLAG_EXTENDED, &dsn), 0x100);
    client_attach(&c, NULL);
    /* PMCSR: the state and enables are stored, the event is cleared by a 1, reserved bits and the rest stay. */
    assert_int_equal(config_write(&c, 0x44, 0x0103, 2), 0);
    assert_int_equal(config_read(&c, 0x44, 2), 0x810b);
    assert_int_equal(config_write(&c, 0x44, 0x80f4, 2), 0);
    assert_int_equal(config_read(&c, 0x44, 2), 0x0008);
    assert_int_equal(config_write(&c, 0x44, 0, 1), EINVAL);
    assert_int_equal(config_write(&c, 0x42, 0, 2), ENOTSUP);
    assert_int_equal(config_write(&c, 0x40, 0, 2), EPERM);
    /* MSI with 64-bit address and no masks: there is no mask register. */
    assert_int_equal(config_write(&c, 0x60, 0xffffffff, 4), 0);
    assert_int_equal(config_read(&c, 0x60, 4), 0);
    assert_int_equal(config_write(&c, 0x5c, 0xffffffffffffffff, 8), 0);
    assert_int_equal(config_read(&c, 0x5c, 4), 0xffff);
    assert_int_equal(config_read(&c, 0x60, 4), 0);
    assert_int_equal(config_write(&c, 0x54, 0xffffffffffffffff, 8), 0);
    assert_int_equal(config_read(&c, 0x54, 4), 0xfffffffc);
    assert_int_equal(config_write(&c, 0x52, 0x20, 2), EINVAL);
    /* With 32-bit address and masks the mask is at 0xc. */
    assert_int_equal(config_write(&c, 0x7c, 0x0000ffff, 4), 0);
    assert_int_equal(config_read(&c, 0x7c, 4), 0xffff);
    assert_int_equal(config_write(&c, 0x72, 0x51, 2), 0);
    assert_int_equal(config_write(&c, 0x72, 0x61, 2), EINVAL);
    /* PCI Express: no FLR advertised. */
    assert_int_equal(config_write(&c, 0x98, 0x8000, 2), EINVAL);
    assert_int_equal(config_write(&c, 0x98, 0x281f, 2), 0);
    assert_int_equal(config_read(&c, 0x98, 2), 0x281f);
    assert_int_equal(config_write(&c, 0x98, 0, 4), EINVAL);
    assert_int_equal(config_write(&c, 0x9a, 0xf, 2), 0);
    assert_int_equal(config_write(&c, 0xa0, 3, 2), 0);
    assert_int_equal(config_write(&c, 0xb8, 0x1f, 2), 0);
    assert_int_equal(config_read(&c, 0xb8, 2), 0x1f);
    assert_int_equal(config_write(&c, 0x94, 0, 2), EINVAL);
    /* Vendor specific: as told. */
    assert_int_equal(config_write(&c, 0xd4, 0x12345678, 4), 0);
    assert_int_equal(config_read(&c, 0xd4, 4), 0x12345678);
    assert_int_equal(config_write(&c, 0xe4, 0, 4), EPERM);
    assert_int_equal(config_write(&c, 0x104, 0, 4), EPERM);
    /* What is no capability and has no callback cannot be written. */
    assert_int_equal(config_write(&c, 0xf0, 0, 4), EINVAL);
    client_close(&c);
}

static void test_config_callback(void **state)
{
    Client c;

    open_ctx(&c);
    assert_int_equal(vfu_pci_init(c.ctx, VFU_PCI_TYPE_EXPRESS, 0, 0), 0);
    assert_int_equal(setup(&c, VFU_PCI_DEV_CFG_REGION_IDX, 4096, VFU_REGION_FLAG_RW), 0);
    assert_int_equal(vfu_pci_add_capability(c.ctx, 0x40, VFU_CAP_FLAG_CALLBACK, vendor_cap(8)), 0x40);
    client_attach(&c, NULL);
    assert_int_equal(config_read(&c, 0x44, 4), 0x11111111);
    assert_int_equal(config_read(&c, 0x80, 4), 0x11111111);
    assert_int_equal(config_read(&c, 0x3c, 4), 0);
    /* A read over header, capability and rest is one answer. */
    assert_int_equal(config_read(&c, 0x3e, 4), 0x11110000);
    read_errno = EPERM;
    assert_int_equal(config_write(&c, 0x44, 0, 4), EPERM);
    read_errno = 0;
    short_by = 1;
    assert_int_equal(config_write(&c, 0x44, 0, 4), EINVAL);
    client_close(&c);
}

/* ---- interrupts ---- */

static void test_irq_setup(void **state)
{
    Client c;

    open_ctx(&c);
    fails(vfu_setup_device_nr_irqs(c.ctx, VFU_DEV_NUM_IRQS, 1), EINVAL);
    fails(vfu_setup_irq_state_callback(c.ctx, VFU_DEV_NUM_IRQS, NULL), EINVAL);
    assert_int_equal(vfu_setup_irq_state_callback(c.ctx, VFU_DEV_REQ_IRQ, NULL), 0);
    fails(vfu_irq_trigger_type(c.ctx, VFU_DEV_NUM_IRQS, 0), EINVAL);
    fails(vfu_irq_trigger_type(c.ctx, VFU_DEV_MSI_IRQ, 0), EINVAL);
    fails(vfu_irq_trigger_type(c.ctx, VFU_DEV_ERR_IRQ, 0), ENOENT);
    fails(vfu_irq_trigger(c.ctx, 0), EINVAL);
    client_close(&c);
}

/* ---- DMA ---- */

static void test_dma_setup(void **state)
{
    dma_sg_t *sg = calloc(2, dma_sg_size());
    int fd = memory_file(0x2000), event = eventfd(0, 0);
    struct iovec iov[2];
    char data[32];
    Client c;

    open_ctx(&c);
    fails(vfu_addr_to_sgl(c.ctx, NULL, 1, sg, 1, 0), ENOENT);
    fails(vfu_setup_device_dma(c.ctx, 0, NULL, NULL), EINVAL);
    fails(vfu_setup_device_dma(c.ctx, LIBVFIO_USER_MAX_DMA_REGIONS + 1, NULL, NULL), EINVAL);
    assert_int_equal(vfu_setup_device_dma(c.ctx, 2, NULL, NULL), 0);
    fails(vfu_setup_device_dma(c.ctx, 2, NULL, NULL), EEXIST);
    fails(vfu_setup_device_dma_compat(c.ctx, NULL, NULL), EEXIST);
    client_attach(&c, NULL);
    /* FILE_IO: reached by pread and pwrite, not by address. */
    assert_int_equal(client_map(&c, 0, 0x1000, WIRE_DMA_READABLE | WIRE_DMA_WRITEABLE | WIRE_DMA_FILE_IO, fd, 0), 0);
    assert_int_equal(client_map(&c, 0x1000, 0x1000, WIRE_DMA_READABLE, fd, 0x1000), 0);
    assert_int_equal(client_map(&c, 0x2000, 0x1000, WIRE_DMA_READABLE, -1, 0), EINVAL);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, (void *)0xff0, 32, sg, 1, PROT_READ), -3);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, (void *)0xff0, 32, sg, 2, PROT_READ), 2);
    fails(vfu_addr_to_sgl(c.ctx, (void *)0xff0, 32, sg, 2, PROT_WRITE), EACCES);
    fails(vfu_addr_to_sgl(c.ctx, (void *)0x1ff0, 32, sg, 2, PROT_READ), ENOENT);
    fails(vfu_addr_to_sgl(c.ctx, (void *)0x1000, 0, sg, 2, PROT_READ), EINVAL);
    fails(vfu_addr_to_sgl(c.ctx, (void *)UINT64_MAX, 2, sg, 2, PROT_READ), ENOENT);
    fails(vfu_sgl_get(c.ctx, sg, iov, 1, 1), EINVAL);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, (void *)0x100, 32, sg, 1, PROT_WRITE), 1);
    fails(vfu_sgl_get(c.ctx, sg, iov, 1, 0), EFAULT);
    memset(data, 'd', sizeof(data));
    assert_int_equal(vfu_sgl_write(c.ctx, sg, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    assert_int_equal(pread(fd, data, 1, 0x11f), 1);
    assert_int_equal(vfu_sgl_read(c.ctx, sg, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    fails(vfu_sgl_read(c.ctx, sg, 2, data, 0), ENOTSUP);
    fails(vfu_sgl_read(c.ctx, sg, 1, data, 2), EINVAL);
    fails(vfu_sgl_read_compat(c.ctx, sg, 0, data), ENOTSUP);
    fails(vfu_sgl_write_compat(c.ctx, sg, 0, data), ENOTSUP);
    memset(sg, 0, dma_sg_size());
    fails(vfu_sgl_get(c.ctx, sg, iov, 1, 0), EINVAL);
    fails(vfu_sgl_read(c.ctx, sg, 1, data, 0), EINVAL);
    assert_false(vfu_sg_is_mappable(c.ctx, sg));
    vfu_sgl_put(c.ctx, sg, iov, 1);
    /* Not a file to map. */
    assert_int_equal(client_unmap(&c, 0x1000, 0x1000, 0), 0);
    assert_int_not_equal(client_map(&c, 0x1000, 0x1000, 3, event, 0), 0);
    assert_int_equal(client_unmap(&c, 0, 0x800, 0), ENOENT);
    assert_int_equal(client_unmap(&c, 0, 0, WIRE_UNMAP_ALL), 0);
    close(fd);
    close(event);
    free(sg);
    client_close(&c);
    /* A device without DMA: maps go nowhere. */
    open_ctx(&c);
    client_attach(&c, NULL);
    assert_int_equal(client_map(&c, 0, 0x1000, 3, -1, 0), 0);
    assert_int_equal(client_unmap(&c, 0, 0x1000, 0), 0);
    client_close(&c);
}

/* ---- reset, migration ---- */

static void test_reset_results(void **state)
{
    Client c;

    open_ctx(&c);
    client_attach(&c, NULL);
    assert_int_equal(client_do(&c, WIRE_RESET, NULL, 0), 0);
    assert_int_equal(vfu_setup_device_reset_cb(c.ctx, on_reset), 0);
    assert_int_equal(client_do(&c, WIRE_RESET, NULL, 0), 0);
    reset_errno = ETIME;
    assert_int_equal(client_do(&c, WIRE_RESET, NULL, 0), ETIME);
    reset_errno = 0;
    assert_int_equal(client_do(&c, WIRE_RESET, NULL, 0), EINVAL);
    client_close(&c);
}

static int feature(Client *c, uint32_t flags, uint32_t argsz, const void *data, size_t len)
{
    WireMessage reply;
    int err = client_feature(c, flags, argsz, data, len, &reply);

    wire_message_clear(&reply);
    return err;
}

static void test_migration_setup(void **state)
{
    vfu_migration_callbacks_t bad = callbacks;
    uint8_t data[32] = { 0 };
    Client c;

    open_ctx(&c);
    fails(vfu_setup_device_migration_callbacks(c.ctx, NULL), EINVAL);
    bad.version = 1;
    fails(vfu_setup_device_migration_callbacks(c.ctx, &bad), EINVAL);
    bad = callbacks;
    bad.read_data = NULL;
    fails(vfu_setup_device_migration_callbacks(c.ctx, &bad), EINVAL);
    client_attach(&c, NULL);
    assert_int_equal(feature(&c, WIRE_FEATURE_GET | WIRE_FEATURE_MIGRATION, 16, NULL, 0), EINVAL);
    assert_int_equal(vfu_setup_device_migration_callbacks(c.ctx, &callbacks), 0);
    assert_int_equal(vfu_setup_device_migration_callbacks(c.ctx, &callbacks), 0);
    assert_int_equal(feature(&c, WIRE_FEATURE_GET | WIRE_FEATURE_MIGRATION, 16, NULL, 0), 0);
    assert_int_equal(feature(&c, WIRE_FEATURE_GET | WIRE_FEATURE_MIGRATION, 15, NULL, 0), EINVAL);
    assert_int_equal(feature(&c, WIRE_FEATURE_SET | WIRE_FEATURE_MIGRATION, 16, data, 8), EINVAL);
    assert_int_equal(feature(&c, WIRE_FEATURE_GET | WIRE_FEATURE_MIG_STATE, 16, NULL, 0), 0);
    assert_int_equal(feature(&c, WIRE_FEATURE_PROBE | WIRE_FEATURE_GET | WIRE_FEATURE_MIG_STATE, 8, NULL, 0), 0);
    assert_int_equal(feature(&c, WIRE_FEATURE_PROBE | WIRE_FEATURE_SET | WIRE_FEATURE_LOG_REPORT, 8, NULL, 0), EINVAL);
    assert_int_equal(feature(&c, WIRE_FEATURE_GET | 3, 16, NULL, 0), EINVAL);
    assert_int_equal(feature(&c, WIRE_FEATURE_GET | 99, 16, NULL, 0), EINVAL);
    assert_int_equal(feature(&c, WIRE_FEATURE_SET | WIRE_FEATURE_MIG_STATE, 8, data, 8), EINVAL);
    client_close(&c);
}

static int move(Client *c, unsigned command, uint32_t argsz, uint32_t size, size_t sent)
{
    uint8_t body[256] = { 0 };

    wire_put_u32(body, 0, argsz);
    wire_put_u32(body, 4, size);
    return client_do(c, command, body, sent);
}

static void test_migration_data(void **state)
{
    Client c;

    open_ctx(&c);
    assert_int_equal(vfu_setup_device_migration_callbacks(c.ctx, &callbacks), 0);
    client_attach(&c, "{\"capabilities\":{\"max_data_xfer_size\":100}}");
    assert_int_equal(move(&c, WIRE_MIG_DATA_READ, 18, 10, 8), EINVAL);
    assert_int_equal(move(&c, WIRE_MIG_DATA_WRITE, 18, 10, 18), EINVAL);
    assert_int_equal(client_set_state(&c, WIRE_STATE_STOP_COPY), 0);
    assert_int_equal(move(&c, WIRE_MIG_DATA_READ, 18, 10, 8), 0);
    assert_int_equal(move(&c, WIRE_MIG_DATA_READ, 200, 101, 8), EINVAL);
    assert_int_equal(move(&c, WIRE_MIG_DATA_READ, 17, 10, 8), EINVAL);
    short_by = -1;
    assert_int_equal(move(&c, WIRE_MIG_DATA_READ, 18, 10, 8), EINVAL);
    read_errno = EIO;
    assert_int_equal(move(&c, WIRE_MIG_DATA_READ, 18, 10, 8), EIO);
    assert_int_equal(client_set_state(&c, WIRE_STATE_PRE_COPY), EINVAL);
    assert_int_equal(client_set_state(&c, WIRE_STATE_RESUMING), 0);
    assert_int_equal(move(&c, WIRE_MIG_DATA_WRITE, 18, 10, 18), EIO);
    read_errno = 0;
    short_by = 1;
    assert_int_equal(move(&c, WIRE_MIG_DATA_WRITE, 18, 10, 18), EINVAL);
    assert_int_equal(move(&c, WIRE_MIG_DATA_WRITE, 18, 10, 17), EINVAL);
    short_by = 0;
    assert_int_equal(move(&c, WIRE_MIG_DATA_WRITE, 18, 10, 18), 0);
    transition_errno = EIO;
    assert_int_equal(client_set_state(&c, WIRE_STATE_RUNNING), EIO);
    client_close(&c);
}

/* DIRTY_PAGES, as clients sent it before 2023. */
static int dirty_pages(Client *c, uint32_t flags, uint32_t argsz, uint64_t size, uint64_t bitmap_size, uint64_t *bits)
{
    WireDirtyPages d = { argsz, flags, 0, size, 4096, bitmap_size };
    uint8_t body[WIRE_DIRTY_GET_SIZE];
    WireMessage m;
    int err = client_call(c, WIRE_DIRTY_PAGES, body, wire_dirty_pages_encode(body, &d), NULL, 0, &m);

    if (err == 0 && bits) {
        assert_int_equal(m.len, WIRE_DIRTY_GET_SIZE + bitmap_size);
        memcpy(bits, m.body + WIRE_DIRTY_GET_SIZE, sizeof(*bits));
    }
    wire_message_clear(&m);
    return err;
}

static void test_older_dirty_pages(void **state)
{
    dma_sg_t *sg = calloc(1, dma_sg_size());
    int fd = memory_file(0x10000);
    uint64_t bits;
    Client c;

    open_ctx(&c);
    client_attach(&c, NULL);
    assert_int_equal(dirty_pages(&c, WIRE_DIRTY_START, 8, 0, 0, NULL), EINVAL);
    client_close(&c);
    open_ctx(&c);
    assert_int_equal(vfu_setup_device_dma(c.ctx, 4, NULL, NULL), 0);
    assert_int_equal(vfu_setup_device_migration_callbacks(c.ctx, &callbacks), 0);
    client_attach(&c, NULL);
    assert_int_equal(client_map(&c, 0, 0x10000, 3, fd, 0), 0);
    assert_int_equal(dirty_pages(&c, WIRE_DIRTY_GET_BITMAP, 48, 0x10000, 8, &bits), EINVAL);
    assert_int_equal(dirty_pages(&c, WIRE_DIRTY_START, 8, 0, 0, NULL), 0);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, (void *)0x3000, 0x2000, sg, 1, PROT_WRITE), 1);
    vfu_sgl_mark_dirty(c.ctx, sg, 1);
    assert_int_equal(dirty_pages(&c, WIRE_DIRTY_GET_BITMAP, 48, 0x10000, 8, &bits), 0);
    assert_int_equal(bits, 0x18);
    assert_int_equal(dirty_pages(&c, WIRE_DIRTY_GET_BITMAP, 48, 0x10000, 8, &bits), 0);
    assert_int_equal(bits, 0);
    assert_int_equal(dirty_pages(&c, WIRE_DIRTY_GET_BITMAP, 48, 0x10000, 0, NULL), EINVAL);
    assert_int_equal(dirty_pages(&c, WIRE_DIRTY_GET_BITMAP, UINT32_MAX, 0x10000, 2u << 20, NULL), EINVAL);
    assert_int_equal(dirty_pages(&c, 3, 8, 0, 0, NULL), EINVAL);
    assert_int_equal(client_set_state(&c, WIRE_STATE_STOP_COPY), 0);
    assert_int_equal(dirty_pages(&c, WIRE_DIRTY_GET_BITMAP, 48, 0x10000, 8, &bits), 0);
    assert_int_equal(dirty_pages(&c, WIRE_DIRTY_STOP, 8, 0, 0, NULL), 0);
    free(sg);
    close(fd);
    client_close(&c);
}

/* All bitmaps of a client together are bounded. */
static void test_bitmaps_are_bounded(void **state)
{
    uint8_t data[WIRE_LOG_START_SIZE];
    int fd = memory_file(4096);
    Client c;

    open_ctx(&c);
    assert_int_equal(vfu_setup_device_dma(c.ctx, 16, NULL, NULL), 0);
    assert_int_equal(vfu_setup_device_migration_callbacks(c.ctx, &callbacks), 0);
    client_attach(&c, NULL);
    /* 6 TiB and 192 MiB of bitmap each, by file because no machine maps that much. */
    assert_int_equal(client_map(&c, 0, 6ull << 40, 3 | WIRE_DMA_FILE_IO, fd, 0), 0);
    wire_log_start_encode(data, 4096, 0);
    assert_int_equal(feature(&c, WIRE_FEATURE_SET | WIRE_FEATURE_LOG_START, 24, data, sizeof(data)), 0);
    assert_int_equal(client_map(&c, 6ull << 40, 6ull << 40, 3 | WIRE_DMA_FILE_IO, fd, 0), ENOSPC);
    assert_int_equal(client_map(&c, 12ull << 40, 1ull << 40, 3 | WIRE_DMA_FILE_IO, fd, 0), 0);
    assert_int_equal(client_unmap(&c, 0, 6ull << 40, 0), 0);
    assert_int_equal(client_map(&c, 0, 6ull << 40, 3 | WIRE_DMA_FILE_IO, fd, 0), 0);
    assert_int_equal(client_map(&c, 1ull << 50, 0x100, 3, fd, 0), EINVAL);
    close(fd);
    client_close(&c);
}

/* ---- quiesce ---- */

static int quiesce_errno;

static int on_quiesce(vfu_ctx_t *ctx)
{
    errno = quiesce_errno;
    return quiesce_errno ? -1 : 0;
}

static void test_quiesce_results(void **state)
{
    struct pollfd p;
    Client c;

    open_ctx(&c);
    vfu_setup_device_quiesce_cb(c.ctx, on_quiesce);
    client_attach(&c, NULL);
    quiesce_errno = EIO;
    assert_int_equal(client_do(&c, WIRE_RESET, NULL, 0), EIO);
    /* A lost connection: an errno means that the device is asked again. */
    quiesce_errno = EBUSY;
    client_hang_up(&c);
    fails(vfu_run_ctx(c.ctx), EBUSY);
    fails(vfu_run_ctx(c.ctx), EBUSY);
    p = (struct pollfd){ .fd = vfu_get_poll_fd(c.ctx), .events = POLLIN };
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(vfu_device_quiesced(c.ctx, EIO), 0);
    fails(vfu_run_ctx(c.ctx), EBUSY);
    assert_int_equal(vfu_device_quiesced(c.ctx, 0), 0);
    fails(vfu_run_ctx(c.ctx), ENOTCONN);
    /* The client leaves while its request waits: noticed when the reply cannot be sent. */
    client_attach(&c, NULL);
    client_send(&c, WIRE_RESET, NULL, 0);
    fails(vfu_run_ctx(c.ctx), EBUSY);
    client_hang_up(&c);
    quiesce_errno = 0;
    assert_int_equal(vfu_device_quiesced(c.ctx, 0), 0);
    fails(vfu_run_ctx(c.ctx), ENOTCONN);
    client_attach(&c, NULL);
    /* Destroyed while a request waits. */
    quiesce_errno = EBUSY;
    client_send(&c, WIRE_RESET, NULL, 0);
    fails(vfu_run_ctx(c.ctx), EBUSY);
    client_close(&c);
}

/* ---- the beginning of a conversation ---- */

static int begin_with(unsigned command, const char *json, const int *fds, unsigned fd_count)
{
    WireVersion v = { .json = json };
    uint8_t body[256];
    struct iovec iov = { body, wire_version_encode(body, sizeof(body), &v) };
    WireHeader h = { .command = (uint16_t)command };
    int err;
    Client c;

    open_ctx(&c);
    assert_int_equal(vfu_setup_device_migration_callbacks(c.ctx, &callbacks), 0);
    assert_int_equal(vfu_setup_log(c.ctx, on_log, LOG_DEBUG), 0);
    assert_int_equal(vfu_realize_ctx(c.ctx), 0);
    c.stream = wire_stream_new(client_connect(&c), WIRE_MAX_MESSAGE, 1u << 20);
    assert_int_equal(wire_stream_send(c.stream, &h, &iov, 1, fds, fd_count, 0), 0);
    assert_int_equal(vfu_attach_ctx(c.ctx), -1);
    err = errno;
    client_hang_up(&c);
    client_close(&c);
    return err;
}

static void test_bad_beginnings(void **state)
{
    int fd = eventfd(0, 0);

    assert_int_equal(begin_with(WIRE_GET_INFO, NULL, NULL, 0), EINVAL);
    assert_int_equal(begin_with(WIRE_VERSION, NULL, &fd, 1), EFAULT);
    assert_int_equal(begin_with(WIRE_VERSION, "{\"capabilities\":{\"migration\":{\"pgsize\":8192}}}", NULL, 0), EINVAL);
    assert_string_equal(log_text, "3 VERSION capabilities: bad pgsize");
    assert_int_equal(begin_with(WIRE_VERSION, "{\"capabilities\":{\"twin_socket\":1}}", NULL, 0), EINVAL);
    close(fd);
}

static void test_bad_size_of_version(void **state)
{
    WireHeader h = { .command = WIRE_VERSION, .size = 15 };
    uint8_t bytes[WIRE_HEADER_SIZE];
    WireMessage m;
    Client c;

    for (int i = 0; i < 2; i++) {
        h.size = i ? WIRE_MAX_MESSAGE + 1 : 15;
        wire_header_encode(bytes, &h);
        open_ctx(&c);
        assert_int_equal(vfu_realize_ctx(c.ctx), 0);
        c.stream = wire_stream_new(client_connect(&c), WIRE_MAX_MESSAGE, 1u << 20);
        assert_int_equal(write(wire_stream_fd(c.stream), bytes, sizeof(bytes)), sizeof(bytes));
        fails(vfu_attach_ctx(c.ctx), EINVAL);
        assert_int_equal(wire_stream_receive(c.stream, &m, WIRE_STREAM_WAIT), 0);
        assert_int_equal(wire_header_error(&m.header), EINVAL);
        client_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_cycle),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_region_checks),
        cmocka_unit_test(test_region_results),
        cmocka_unit_test(test_write_multi),
        cmocka_unit_test(test_pci_init),
        cmocka_unit_test(test_capability_places),
        cmocka_unit_test(test_capability_writes),
        cmocka_unit_test(test_config_callback),
        cmocka_unit_test(test_irq_setup),
        cmocka_unit_test(test_dma_setup),
        cmocka_unit_test(test_reset_results),
        cmocka_unit_test(test_migration_setup),
        cmocka_unit_test(test_migration_data),
        cmocka_unit_test(test_older_dirty_pages),
        cmocka_unit_test(test_bitmaps_are_bounded),
        cmocka_unit_test(test_quiesce_results),
        cmocka_unit_test(test_bad_beginnings),
        cmocka_unit_test(test_bad_size_of_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
