/* SPDX-License-Identifier: BSD-3-Clause */
/* The server library seen from its socket: life cycle, regions, interrupts, PCI, quiesce, hostile and slow clients. */
#include "client.h"

#include <poll.h>

static uint8_t bar_memory[4096];
static int resets[3], quiesces, quiesce_errno;

static ssize_t bar_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    if (is_write) {
        memcpy(bar_memory + offset, buf, count);
    } else {
        memcpy(buf, bar_memory + offset, count);
    }
    return (ssize_t)count;
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    resets[type]++;
    return 0;
}

static int on_quiesce(vfu_ctx_t *ctx)
{
    quiesces++;
    errno = quiesce_errno;
    return quiesce_errno ? -1 : 0;
}

static uint32_t mask_start, mask_count;
static int mask_calls;

static void on_irq_state(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    mask_start = start;
    mask_count = count;
    mask_calls++;
}

static void open_device(Client *c, int flags)
{
    struct msicap msi = { .hdr.id = PCI_CAP_ID_MSI, .mc = { .c64 = 1, .mmc = 2, .pvm = 1 } };
    struct msixcap msix = { .hdr.id = PCI_CAP_ID_MSIX, .mxc.ts = 7 };
    struct pxcap px = { .hdr.id = PCI_CAP_ID_EXP, .pxcaps.ver = 2, .pxdcap.flrc = 1 };

    memset(resets, 0, sizeof(resets));
    quiesces = quiesce_errno = mask_calls = 0;
    client_open(c, flags);
    assert_int_equal(vfu_pci_init(c->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 3), 0);
    vfu_pci_set_id(c->ctx, 0x1234, 0x5678, 0, 0);
    assert_int_equal(vfu_pci_add_capability(c->ctx, 0, 0, &msi), 0x40);
    assert_int_equal(vfu_pci_add_capability(c->ctx, 0, 0, &msix), 0x58);
    assert_int_equal(vfu_pci_add_capability(c->ctx, 0, 0, &px), 0x64);
    assert_int_equal(vfu_setup_region(c->ctx, 0, 4096, bar_access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0,
                                      -1, 0), 0);
    assert_int_equal(vfu_setup_device_reset_cb(c->ctx, on_reset), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(c->ctx, VFU_DEV_INTX_IRQ, 1), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(c->ctx, VFU_DEV_MSIX_IRQ, 8), 0);
    assert_int_equal(vfu_setup_irq_state_callback(c->ctx, VFU_DEV_MSIX_IRQ, on_irq_state), 0);
}

static void test_create_errors(void **state)
{
    char name[200];
    Client c;

    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_null(vfu_create_ctx(VFU_TRANS_SOCK, name, 0, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, ENAMETOOLONG);
    assert_null(vfu_create_ctx(VFU_TRANS_SOCK, NULL, 0, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, EINVAL);
    assert_null(vfu_create_ctx(VFU_TRANS_SOCK, "/tmp/x", 2, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, EINVAL);
    assert_null(vfu_create_ctx(VFU_TRANS_MAX, "/tmp/x", 0, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, ENOTSUP);
    client_open(&c, 0);
    assert_null(vfu_create_ctx(VFU_TRANS_SOCK, c.path, 0, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(access(c.path, F_OK), 0);
    vfu_destroy_ctx(NULL);
    client_close(&c);
}

static void test_attach_never_blocks(void **state)
{
    uint8_t bytes[WIRE_HEADER_SIZE + WIRE_VERSION_SIZE] = { 0 };
    WireHeader h = { .command = WIRE_VERSION, .size = sizeof(bytes) };
    struct pollfd p;
    Client c;
    int fd;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    assert_int_equal(vfu_realize_ctx(c.ctx), 0);
    assert_int_equal(vfu_attach_ctx(c.ctx), -1);
    assert_int_equal(errno, EAGAIN);
    fd = client_connect(&c);
    p = (struct pollfd){ .fd = vfu_get_poll_fd(c.ctx), .events = POLLIN };
    assert_int_equal(poll(&p, 1, 0), 1);
    wire_header_encode(bytes, &h);
    /* One byte at a time, with nothing to poll for in between. */
    for (size_t i = 0; i < sizeof(bytes); i++) {
        assert_int_equal(vfu_attach_ctx(c.ctx), -1);
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(poll(&p, 1, 0), 0);
        assert_int_equal(write(fd, bytes + i, 1), 1);
        assert_int_equal(poll(&p, 1, 0), 1);
    }
    assert_int_equal(vfu_attach_ctx(c.ctx), 0);
    assert_int_equal(vfu_attach_ctx(c.ctx), -1);
    assert_int_equal(errno, EINVAL);
    close(fd);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(resets[VFU_RESET_LOST_CONN], 1);
    client_close(&c);
    assert_int_equal(resets[VFU_RESET_LOST_CONN], 1);
}

static void refused(const char *json, uint16_t major, int err)
{
    WireVersion v = { .major = major, .json = json };
    uint8_t body[512];
    struct iovec iov = { body, wire_version_encode(body, sizeof(body), &v) };
    WireHeader h = { .command = WIRE_VERSION };
    WireMessage m;
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    assert_int_equal(vfu_realize_ctx(c.ctx), 0);
    c.stream = wire_stream_new(client_connect(&c), WIRE_MAX_MESSAGE, 0);
    assert_int_equal(wire_stream_send(c.stream, &h, &iov, 1, NULL, 0, 0), 0);
    assert_int_equal(vfu_attach_ctx(c.ctx), -1);
    assert_int_equal(errno, err);
    assert_int_equal(wire_stream_receive(c.stream, &m, WIRE_STREAM_WAIT), 0);
    assert_int_equal(wire_header_error(&m.header), err);
    wire_message_clear(&m);
    assert_int_equal(wire_stream_receive(c.stream, &m, WIRE_STREAM_WAIT), ENOTCONN);
    client_hang_up(&c);
    client_attach(&c, NULL);
    client_close(&c);
}

static void test_version(void **state)
{
    Client c;

    refused("{", 0, EINVAL);
    refused("{\"capabilities\":[]}", 0, EINVAL);
    refused("{\"capabilities\":{\"max_msg_fds\":1025}}", 0, EINVAL);
    refused("{\"capabilities\":{\"max_msg_fds\":-1}}", 0, EINVAL);
    refused("{\"capabilities\":{\"max_msg_fds\":\"8\"}}", 0, EINVAL);
    refused("{\"capabilities\":{\"max_data_xfer_size\":0}}", 0, EINVAL);
    refused("{}", 1, EINVAL);
    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    client_attach(&c, "{\"capabilities\":{\"max_msg_fds\":1024,\"unknown\":{}}}");
    client_close(&c);
}

static void test_region(void **state)
{
    uint8_t *big = malloc(4096), one[4] = { 1, 2, 3, 4 }, got[4];
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    client_attach(&c, NULL);
    assert_int_equal(client_write(&c, 0, 8, one, 4), 0);
    assert_int_equal(client_read(&c, 0, 8, got, 4), 0);
    assert_memory_equal(got, one, 4);
    assert_int_equal(client_read(&c, 0, 4093, got, 4), EINVAL);
    assert_int_equal(client_read(&c, 0, UINT64_MAX, got, 4), EINVAL);
    assert_int_equal(client_read(&c, 1, 0, got, 4), EINVAL);
    assert_int_equal(client_read(&c, 9, 0, got, 4), EINVAL);
    assert_int_equal(client_read(&c, 0, 0, big, 4096), 0);
    assert_int_equal(client_do(&c, WIRE_REGION_READ, one, 4), EINVAL);
    assert_int_equal(client_do(&c, WIRE_REGION_READ, NULL, 0), EINVAL);
    assert_int_equal(client_do(&c, WIRE_VERSION, one, 4), EINVAL);
    assert_int_equal(client_do(&c, 19, one, 4), EINVAL);
    assert_int_equal(client_do(&c, WIRE_RESET, NULL, 0), 0);
    assert_int_equal(resets[VFU_RESET_DEVICE], 1);
    free(big);
    client_close(&c);
}

static void test_big_write(void **state)
{
    /* More than a socket buffer: arrives in pieces, each run takes what is there. */
    WireRegionAccess a = { .region = 0, .count = 1u << 20 };
    size_t size = WIRE_REGION_ACCESS_SIZE + a.count;
    uint8_t *body = calloc(1, size);
    struct iovec iov = { body, size };
    WireHeader h = { .command = WIRE_REGION_WRITE };
    WireMessage m;
    int err;
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    client_attach(&c, NULL);
    wire_region_access_encode(body, &a);
    assert_int_equal(wire_stream_send(c.stream, &h, &iov, 1, NULL, 0, 0), 0);
    do {
        assert_true(vfu_run_ctx(c.ctx) >= 0);
        wire_stream_flush(c.stream, 0);
        err = wire_stream_receive(c.stream, &m, 0);
    } while (err == EAGAIN);
    assert_int_equal(err, 0);
    assert_int_equal(wire_header_error(&m.header), EINVAL); /* beyond the BAR */
    wire_message_clear(&m);
    assert_int_equal(client_do(&c, WIRE_RESET, NULL, 0), 0);
    free(body);
    client_close(&c);
}

static void test_bad_sizes(void **state)
{
    uint8_t bytes[64] = { 0 };
    WireHeader h = { .id = 7, .command = WIRE_REGION_WRITE, .size = 15 };
    WireMessage m;
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    client_attach(&c, NULL);
    wire_header_encode(bytes, &h);
    /* The header alone: answered, and the stream goes on. */
    assert_int_equal(write(wire_stream_fd(c.stream), bytes, 16), 16);
    assert_int_equal(vfu_run_ctx(c.ctx), 0);
    assert_int_equal(wire_stream_receive(c.stream, &m, WIRE_STREAM_WAIT), 0);
    assert_int_equal(wire_header_error(&m.header), EINVAL);
    wire_message_clear(&m);
    assert_int_equal(client_do(&c, WIRE_RESET, NULL, 0), 0);
    /* With more behind it nobody knows where the next message begins. */
    h.size = WIRE_MAX_MESSAGE + 1;
    wire_header_encode(bytes, &h);
    assert_int_equal(write(wire_stream_fd(c.stream), bytes, 64), 64);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    client_hang_up(&c);
    client_attach(&c, NULL);
    assert_int_equal(client_do(&c, WIRE_RESET, NULL, 0), 0);
    client_close(&c);
}

static void test_client_that_does_not_read(void **state)
{
    WireRegionAccess a = { .region = 0, .count = 4096 };
    uint8_t body[WIRE_REGION_ACCESS_SIZE];
    struct iovec iov = { body, sizeof(body) };
    struct pollfd p;
    unsigned sent = 0, answered = 0, served = 0;
    WireMessage m;
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    client_attach(&c, NULL);
    wire_region_access_encode(body, &a);
    for (; sent < 200; sent++) {
        WireHeader h = { .id = (uint16_t)sent, .command = WIRE_REGION_READ };

        assert_int_equal(wire_stream_send(c.stream, &h, &iov, 1, NULL, 0, 0), 0);
    }
    for (int i = 0; i < 1000; i++) {
        int n = vfu_run_ctx(c.ctx);

        assert_true(n >= 0);
        served += (unsigned)n;
    }
    assert_true(served < sent);
    p = (struct pollfd){ .fd = vfu_get_poll_fd(c.ctx), .events = POLLIN };
    assert_int_equal(poll(&p, 1, 0), 0);
    while (answered < sent) {
        int err = wire_stream_receive(c.stream, &m, 0);

        if (err == EAGAIN) {
            assert_int_equal(poll(&p, 1, 0), 1);
            assert_true(vfu_run_ctx(c.ctx) >= 0);
            continue;
        }
        assert_int_equal(err, 0);
        assert_int_equal(m.header.id, answered++);
        wire_message_clear(&m);
    }
    client_close(&c);
}

static void test_irqs(void **state)
{
    int fds[3] = { eventfd(0, 0), eventfd(0, 0), eventfd(0, 0) };
    int pipes[2];
    uint64_t n;
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    client_attach(&c, NULL);
    assert_int_equal(vfu_irq_trigger(c.ctx, 0), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(vfu_irq_trigger(c.ctx, 8), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, 0, 0, 1, fds, 1), 0);
    assert_int_equal(vfu_irq_trigger(c.ctx, 0), 0);
    assert_int_equal(read(fds[0], &n, 8), 8);
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, 2, 5, 3, fds, 3), 0);
    assert_int_equal(vfu_irq_trigger(c.ctx, 6), 0);
    assert_int_equal(read(fds[1], &n, 8), 8);
    /* Removing a range takes exactly that range, and leaves INTx alone. */
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, 2, 6, 1, NULL, 0), 0);
    assert_int_equal(vfu_irq_trigger(c.ctx, 6), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(vfu_irq_trigger(c.ctx, 7), 0);
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_NONE, 2, 0, 0, NULL, 0), 0);
    assert_int_equal(vfu_irq_trigger(c.ctx, 0), 0);
    assert_int_equal(read(fds[0], &n, 8), 8);
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_MASK | WIRE_IRQ_DATA_NONE, 2, 2, 4, NULL, 0), 0);
    assert_int_equal(mask_calls, 1);
    assert_int_equal(mask_start, 2);
    assert_int_equal(mask_count, 4);
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_MASK | WIRE_IRQ_DATA_NONE, 2, 5, 4, NULL, 0), EINVAL);
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_MASK | WIRE_IRQ_DATA_NONE, 2, 5, UINT32_MAX, NULL, 0), EINVAL);
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, 2, 0, 2, fds, 3), EINVAL);
    /* A pipe without a reader would raise SIGPIPE. */
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, 2, 0, 1, &pipes[1], 1), EINVAL);
    for (int i = 0; i < 3; i++) {
        close(fds[i]);
    }
    close(pipes[0]);
    close(pipes[1]);
    client_close(&c);
}

static void test_config_space(void **state)
{
    uint8_t ones[64], got[16];
    uint16_t flr = PCI_EXP_DEVCTL_BCR_FLR;
    Client c;

    memset(ones, 0xff, sizeof(ones));
    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    client_attach(&c, NULL);
    assert_int_equal(client_read(&c, 7, 0, got, 16), 0);
    assert_memory_equal(got, "\x34\x12\x78\x56", 4);
    assert_int_equal(got[8], 3);
    assert_int_equal(client_write(&c, 7, PCI_BASE_ADDRESS_0, ones, 4), 0);
    assert_int_equal(client_read(&c, 7, PCI_BASE_ADDRESS_0, got, 4), 0);
    assert_memory_equal(got, "\x00\xf0\xff\xff", 4);
    assert_int_equal(client_write(&c, 7, PCI_ROM_ADDRESS, ones, 4), 0);
    assert_int_equal(client_write(&c, 7, PCI_COMMAND, "\x46", 1), 0);
    assert_int_equal(client_read(&c, 7, PCI_COMMAND, got, 1), 0);
    assert_int_equal(got[0], 0x46);
    /* MSI: a write that runs out of the capability into MSI-X stops at neither's bounds. */
    assert_int_equal(client_write(&c, 7, 0x54, ones, 8), EPERM);
    assert_int_equal(client_write(&c, 7, 0x42, "\x31\x00", 2), EINVAL);
    assert_int_equal(client_write(&c, 7, 0x42, "\x21\x00", 2), 0);
    assert_int_equal(client_read(&c, 7, 0x42, got, 2), 0);
    assert_memory_equal(got, "\xa5\x01", 2);
    assert_int_equal(client_write(&c, 7, 0x5b, "\x80\xff", 2), 0);
    assert_int_equal(client_read(&c, 7, 0x58, got, 12), 0);
    assert_memory_equal(got + 2, "\x07\x80\x00\x00", 4);
    assert_int_equal(client_write(&c, 7, 0x64 + PCI_EXP_DEVCTL, &flr, 2), 0);
    assert_int_equal(resets[VFU_RESET_PCI_FLR], 1);
    assert_int_equal(client_write(&c, 7, 0x64 + PCI_EXP_DEVCTL, &flr, 1), EINVAL);
    assert_int_equal(client_write(&c, 7, 0x40, ones, 1), EPERM);
    assert_int_equal(vfu_pci_find_capability(c.ctx, false, PCI_CAP_ID_MSIX), 0x58);
    assert_int_equal(vfu_pci_find_next_capability(c.ctx, false, 0x58, PCI_CAP_ID_MSIX), 0);
    client_close(&c);
}

static void test_quiesce(void **state)
{
    WireHeader h = { .command = WIRE_RESET };
    WireMessage m;
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    vfu_setup_device_quiesce_cb(c.ctx, on_quiesce);
    client_attach(&c, NULL);
    assert_int_equal(client_do(&c, WIRE_RESET, NULL, 0), 0);
    assert_int_equal(quiesces, 1);
    assert_int_equal(vfu_device_quiesced(c.ctx, 0), -1);
    assert_int_equal(errno, EINVAL);

    quiesce_errno = EBUSY;
    for (int fail = 0; fail < 2; fail++) {
        assert_int_equal(wire_stream_send(c.stream, &h, NULL, 0, NULL, 0, 0), 0);
        assert_int_equal(vfu_run_ctx(c.ctx), -1);
        assert_int_equal(errno, EBUSY);
        assert_int_equal(vfu_run_ctx(c.ctx), -1);
        assert_int_equal(errno, EBUSY);
        assert_int_equal(wire_stream_receive(c.stream, &m, 0), EAGAIN);
        assert_int_equal(vfu_device_quiesced(c.ctx, fail ? ENOTTY : 0), 0);
        assert_int_equal(wire_stream_receive(c.stream, &m, WIRE_STREAM_WAIT), 0);
        assert_int_equal(wire_header_error(&m.header), fail ? ENOTTY : 0);
        wire_message_clear(&m);
    }
    assert_int_equal(quiesces, 3);
    client_hang_up(&c);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    assert_int_equal(errno, EBUSY);
    assert_int_equal(resets[VFU_RESET_LOST_CONN], 0);
    assert_int_equal(vfu_device_quiesced(c.ctx, 0), 0);
    assert_int_equal(resets[VFU_RESET_LOST_CONN], 1);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(quiesces, 4);
    client_close(&c);
    assert_int_equal(quiesces, 4);
}

static void test_reconnect_leaks_nothing(void **state)
{
    unsigned before;
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    assert_int_equal(vfu_setup_device_dma(c.ctx, 64, NULL, NULL), 0);
    before = open_fds();
    for (int i = 0; i < 1000; i++) {
        int fd = memory_file(4096), event = eventfd(0, 0);
        uint8_t half[8] = { 0 };
        struct iovec iov = { half, 8 };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        union {
            struct cmsghdr c;
            char room[CMSG_SPACE(sizeof(int))];
        } control = { .c = { .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) } };

        client_attach(&c, NULL);
        assert_int_equal(client_map(&c, 0, 4096, 3, fd, 0), 0);
        assert_int_equal(client_set_irqs(&c, WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, 2, 1, 1, &event, 1), 0);
        /* Half a header with a descriptor, then gone. */
        memcpy(CMSG_DATA(&control.c), &fd, sizeof(fd));
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
        assert_int_equal(sendmsg(wire_stream_fd(c.stream), &msg, 0), 8);
        close(fd);
        close(event);
        client_hang_up(&c);
        assert_int_equal(vfu_run_ctx(c.ctx), -1);
        assert_int_equal(errno, ENOTCONN);
    }
    assert_int_equal(open_fds(), before);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_errors),
        cmocka_unit_test(test_attach_never_blocks),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_region),
        cmocka_unit_test(test_big_write),
        cmocka_unit_test(test_bad_sizes),
        cmocka_unit_test(test_client_that_does_not_read),
        cmocka_unit_test(test_irqs),
        cmocka_unit_test(test_config_space),
        cmocka_unit_test(test_quiesce),
        cmocka_unit_test(test_reconnect_leaks_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
