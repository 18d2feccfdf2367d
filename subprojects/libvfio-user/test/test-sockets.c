/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sockets that carry no descriptors: the same tests over TCP and over vsock.  Not every kernel has vsock, and to itself it
 * speaks only with vsock_loopback: which of the two is tested says the argument.
 *
 *     test-vfio-user-sockets tcp|vsock
 */
#include "client.h"

#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <pthread.h>

#include "wire/bytes.h"

#define BASE   0x10000u
#define MEMORY 0x100000u
#define BAR    (1u << 20)

static uint8_t bar[BAR], memory[MEMORY];

/* One of the two families. */
typedef struct Family {
    vfu_trans_t trans;
    int (*open)(uint32_t port);   /* a connected socket, or -1 */
    uint32_t (*free_port)(void);
    const char *here;             /* its own address */
} Family;

/* ---- TCP ---- */

static struct sockaddr_in tcp_address(uint32_t port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int open_as(const void *addr, socklen_t len)
{
    int fd = socket(((const struct sockaddr *)addr)->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    if (connect(fd, addr, len) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int tcp_open(uint32_t port)
{
    struct sockaddr_in addr = tcp_address(port);

    return open_as(&addr, sizeof(addr));
}

/* A free port, which nobody else takes in the next moment. */
static uint32_t tcp_free_port(void)
{
    struct sockaddr_in addr = tcp_address(0);
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    close(fd);
    return ntohs(addr.sin_port);
}

static const Family tcp = { VFU_TRANS_TCP, tcp_open, tcp_free_port, "127.0.0.1" };

/* ---- vsock ---- */

static struct sockaddr_vm vsock_address(uint32_t port)
{
    return (struct sockaddr_vm){ .svm_family = AF_VSOCK, .svm_port = port, .svm_cid = VMADDR_CID_LOCAL };
}

static int vsock_open(uint32_t port)
{
    struct sockaddr_vm addr = vsock_address(port);

    return open_as(&addr, sizeof(addr));
}

static uint32_t vsock_free_port(void)
{
    struct sockaddr_vm addr = vsock_address(VMADDR_PORT_ANY);
    socklen_t len = sizeof(addr);
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    close(fd);
    return addr.svm_port;
}

static const Family vsock = { VFU_TRANS_VSOCK, vsock_open, vsock_free_port, "1" };

/* ---- the device ---- */

static ssize_t bar_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    memcpy(is_write ? (void *)(bar + offset) : buf, is_write ? buf : (void *)(bar + offset), count);
    return (ssize_t)count;
}

/* A device on a port of its own: BAR0 by callback, BAR1 a file with a doorbell. */
typedef struct Device {
    Client c;
    const Family *family;
    uint32_t port;
    char address[64];
    int file, doorbell;
    dma_sg_t *sg;
} Device;

static void device_open(Device *d, const Family *family, int flags)
{
    vfu_ctx_t *ctx;

    *d = (Device){ .family = family, .port = family->free_port(), .file = memory_file(4096), .doorbell = eventfd(0, 0),
                   .sg = calloc(1, dma_sg_size()) };
    snprintf(d->address, sizeof(d->address), "%s:%u", family->here, d->port);
    d->c.ctx = ctx = vfu_create_ctx(family->trans, d->address, flags, NULL, VFU_DEV_TYPE_PCI);
    assert_non_null(ctx);
    assert_int_equal(vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_int_equal(vfu_setup_region(ctx, 0, BAR, bar_access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0), 0);
    assert_int_equal(vfu_setup_region(ctx, 1, 4096, NULL, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, d->file, 0), 0);
    assert_int_equal(vfu_create_ioeventfd(ctx, 1, d->doorbell, 0, 4, 0, 0, -1, 0), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, 4), 0);
    assert_int_equal(vfu_setup_irq_flags(ctx, VFU_DEV_MSIX_IRQ, VFU_IRQ_FLAG_MASKABLE), 0);
    assert_int_equal(vfu_setup_device_dma(ctx, 16, NULL, NULL), 0);
}

static void device_close(Device *d)
{
    vfu_destroy_ctx(d->c.ctx);
    client_hang_up(&d->c);
    close(d->file);
    close(d->doorbell);
    free(d->sg);
}

static int device_connect(const Device *d)
{
    int fd = d->family->open(d->port);

    assert_true(fd >= 0);
    return fd;
}

static void device_attach(Device *d)
{
    client_attach_fd(&d->c, device_connect(d), "{\"capabilities\":{\"max_msg_fds\":8,\"twin_socket\":{\"supported\":true}}}");
    assert_null(d->c.twin);
}

static int set_up(void **state)
{
    const Family *family = *state;

    *state = malloc(sizeof(Device));
    device_open(*state, family, LIBVFIO_USER_FLAG_ATTACH_NB);
    return 0;
}

static int tear_down(void **state)
{
    device_close(*state);
    free(*state);
    return 0;
}

static bool readable(Device *d, int timeout_ms)
{
    struct pollfd p = { .fd = vfu_get_poll_fd(d->c.ctx), .events = POLLIN };

    return poll(&p, 1, timeout_ms) == 1;
}

static void wait_readable(Device *d)
{
    assert_true(readable(d, 60000));
}

/* Runs the context until it fails; the errno. */
static int run_to_error(Device *d)
{
    while (vfu_run_ctx(d->c.ctx) >= 0) {
        wait_readable(d);
    }
    return errno;
}

/* ---- tests ---- */

/* A device that can be attached again and again, all sizes of access; nothing can be mapped or offered. */
static void test_regions(void **state)
{
    uint8_t *out = malloc(BAR), *in = malloc(BAR), body[WIRE_REGION_INFO_SIZE] = { 0 };
    WireRegionInfo info = { .argsz = 4096, .index = 1 }, got;
    WireIoFds io = { .argsz = 4096, .index = 1 };
    Device *d = *state;
    WireMessage m;

    assert_null(vfu_create_ctx(d->family->trans, d->address, 0, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, EADDRINUSE);
    for (unsigned i = 0; i < BAR; i++) {
        out[i] = (uint8_t)(i * 31 >> 3);
    }
    for (int i = 0; i < 2; i++) {
        device_attach(d);
        assert_int_equal(client_write(&d->c, 0, 4, out + i, 4), 0);
        assert_int_equal(client_read(&d->c, 0, 4, in, 4), 0);
        assert_memory_equal(in, out + i, 4);
        wire_region_info_encode(body, &info);
        assert_int_equal(client_call(&d->c, WIRE_GET_REGION_INFO, body, sizeof(body), NULL, 0, &m), 0);
        assert_int_equal(wire_region_info_decode(&got, m.body, m.len), 0);
        assert_int_equal(got.size, 4096);
        assert_int_equal(got.flags, WIRE_REGION_READ_FLAG | WIRE_REGION_WRITE_FLAG);
        wire_message_clear(&m);
        wire_io_fds_encode(body, &io);
        assert_int_equal(client_call(&d->c, WIRE_GET_REGION_IO_FDS, body, WIRE_IO_FDS_SIZE, NULL, 0, &m), 0);
        assert_int_equal(wire_get_u32(m.body, 12), 0);
        wire_message_clear(&m);
        assert_int_equal(client_do(&d->c, WIRE_RESET, NULL, 0), 0);
        client_hang_up(&d->c);
        assert_int_equal(run_to_error(d), ENOTCONN);
    }
    free(out);
    free(in);
}

/* Vectors have no eventfds, but masks, which the client sets by messages. */
static void test_interrupts(void **state)
{
    Device *d = *state;

    device_attach(d);
    assert_int_equal(vfu_irq_trigger(d->c.ctx, 0), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(client_set_irqs(&d->c, WIRE_IRQ_MASK | WIRE_IRQ_DATA_NONE, VFU_DEV_MSIX_IRQ, 1, 2, NULL, 0), 0);
    assert_int_equal(client_set_irqs(&d->c, WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_NONE, VFU_DEV_MSIX_IRQ, 1, 2, NULL, 0), 0);
    assert_int_equal(client_set_irqs(&d->c, WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, VFU_DEV_MSIX_IRQ, 0, 4, NULL, 0), 0);
    assert_int_equal(client_set_irqs(&d->c, WIRE_IRQ_MASK | WIRE_IRQ_DATA_NONE, VFU_DEV_MSIX_IRQ, 3, 2, NULL, 0), EINVAL);
    assert_int_equal(vfu_irq_trigger_type(d->c.ctx, VFU_DEV_MSIX_IRQ, 1), -1);
    assert_int_equal(errno, ENOENT);
}

/* Serves the device's requests with `memory` until one is for its last byte. */
static void *serve_memory(void *opaque)
{
    WireStream *s = opaque;
    bool last = false;

    while (!last) {
        uint8_t head[WIRE_DMA_ACCESS_SIZE];
        WireDmaAccess a;
        WireMessage m;

        assert_int_equal(wire_stream_receive(s, &m, WIRE_STREAM_WAIT), 0);
        WireHeader h = { .id = m.header.id, .command = m.header.command, .flags = WIRE_TYPE_REPLY };
        bool is_write = h.command == WIRE_DMA_WRITE;

        a.address = wire_get_u64(m.body, 0);
        a.count = wire_get_u64(m.body, 8);
        assert_true(a.address >= BASE && a.count <= MEMORY && a.address + a.count <= BASE + MEMORY);
        last = a.address + a.count == BASE + MEMORY;
        if (is_write) {
            memcpy(memory + a.address - BASE, m.body + WIRE_DMA_ACCESS_SIZE, a.count);
        }
        struct iovec iov[2] = { { head, wire_dma_access_encode(head, &a) }, { memory + a.address - BASE, a.count } };

        assert_int_equal(wire_stream_send(s, &h, iov, is_write ? 1 : 2, NULL, 0, WIRE_STREAM_WAIT), 0);
        wire_message_clear(&m);
    }
    return NULL;
}

static void range(Device *d, uint32_t offset, uint32_t length)
{
    assert_int_equal(vfu_addr_to_sgl(d->c.ctx, (vfu_dma_addr_t)(uintptr_t)(BASE + offset), length, d->sg, 1, PROT_READ | PROT_WRITE),
                     1);
    assert_false(vfu_sg_is_mappable(d->c.ctx, d->sg));
}

/* All of the client's memory there and back, by messages larger than what a socket holds. */
static void test_dma(void **state)
{
    uint8_t *data = malloc(MEMORY);
    Device *d = *state;
    pthread_t thread;

    device_attach(d);
    assert_int_equal(client_map(&d->c, BASE, MEMORY, 3, -1, 0), 0);
    for (unsigned round = 0; round < 2; round++) {
        bool is_write = round == 0;

        for (unsigned i = 0; i < MEMORY; i++) {
            data[i] = is_write ? (uint8_t)(i * 31 >> 4) : 0;
        }
        assert_int_equal(pthread_create(&thread, NULL, serve_memory, d->c.stream), 0);
        range(d, 0, 100);
        assert_int_equal(is_write ? vfu_sgl_write(d->c.ctx, d->sg, 1, data, 0) : vfu_sgl_read(d->c.ctx, d->sg, 1, data, 0), 0);
        range(d, 100, MEMORY - 100);
        assert_int_equal(is_write ? vfu_sgl_write(d->c.ctx, d->sg, 1, data + 100, 0) :
                                    vfu_sgl_read(d->c.ctx, d->sg, 1, data + 100, 0), 0);
        pthread_join(thread, NULL);
        assert_memory_equal(data, memory, MEMORY);
    }
    assert_int_equal(client_unmap(&d->c, BASE, MEMORY, 0), 0);
    free(data);
}

static void on_done(vfu_ctx_t *ctx, void *opaque, int err)
{
    assert_int_equal(err, 0);
    *(bool *)opaque = true;
}

static void test_dma_without_waiting(void **state)
{
    Device *d = *state;
    bool done = false;
    pthread_t thread;
    uint8_t data[64];

    device_attach(d);
    assert_int_equal(client_map(&d->c, BASE, MEMORY, 3, -1, 0), 0);
    memset(memory + MEMORY - sizeof(data), 0x5a, sizeof(data));
    range(d, MEMORY - sizeof(data), sizeof(data));
    assert_int_equal(pthread_create(&thread, NULL, serve_memory, d->c.stream), 0);
    assert_int_equal(vfu_sgl_read_async(d->c.ctx, d->sg, data, on_done, &done), 0);
    while (!done) {
        wait_readable(d);
        assert_int_equal(vfu_run_ctx(d->c.ctx), 0);
    }
    pthread_join(thread, NULL);
    assert_memory_equal(data, memory + MEMORY - sizeof(data), sizeof(data));
}

/* Half a header, half a body, silence: no call waits. */
static void test_halves(void **state)
{
    uint8_t bytes[WIRE_HEADER_SIZE + WIRE_REGION_ACCESS_SIZE];
    WireHeader h = { .id = 9, .command = WIRE_REGION_READ, .size = sizeof(bytes) };
    WireRegionAccess a = { .count = 4 };
    Device *d = *state;
    WireMessage m;
    int fd;

    /* Silent, and gone before VERSION. */
    assert_int_equal(vfu_realize_ctx(d->c.ctx), 0);
    fd = device_connect(d);
    wait_readable(d);
    assert_int_equal(vfu_attach_ctx(d->c.ctx), -1);
    assert_int_equal(errno, EAGAIN);
    close(fd);
    wait_readable(d);
    assert_int_equal(vfu_attach_ctx(d->c.ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    device_attach(d);
    wire_header_encode(bytes, &h);
    wire_region_access_encode(bytes + WIRE_HEADER_SIZE, &a);
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        assert_int_equal(vfu_run_ctx(d->c.ctx), 0);
        assert_int_equal(send(wire_stream_fd(d->c.stream), bytes + i, 1, MSG_NOSIGNAL), 1);
    }
    while (wire_stream_receive(d->c.stream, &m, 0) == EAGAIN) {
        assert_true(vfu_run_ctx(d->c.ctx) >= 0);
    }
    assert_int_equal(m.header.id, 9);
    wire_message_clear(&m);
}

/* Requests until a reply is left that the socket does not take: that is not something to do. */
static void fill_up(Device *d)
{
    WireRegionAccess a = { .count = BAR };
    uint8_t body[WIRE_REGION_ACCESS_SIZE];

    wire_region_access_encode(body, &a);
    for (unsigned i = 0; i < 16; i++) {
        client_send(&d->c, WIRE_REGION_READ, body, sizeof(body));
    }
    for (unsigned i = 0; readable(d, 200); i++) {
        assert_true(vfu_run_ctx(d->c.ctx) >= 0 && i < 1000);
    }
}

/* A client that reads nothing: what waits for it is bounded, and its end is noticed. */
static void test_deaf_client(void **state)
{
    Device *d = *state;

    device_attach(d);
    fill_up(d);
    client_hang_up(&d->c);
    wait_readable(d);
    assert_int_equal(run_to_error(d), ENOTCONN);
    device_attach(d);
    fill_up(d);
    assert_int_equal(shutdown(wire_stream_fd(d->c.stream), SHUT_WR), 0);
    if (d->family == &vsock) {
        /* Half an end can't be told from a whole one without being woken for nothing. */
        wait_readable(d);
        assert_int_equal(run_to_error(d), ENOTCONN);
        client_hang_up(&d->c);
    } else {
        assert_false(readable(d, 200));
        client_hang_up(&d->c);
        assert_int_equal(run_to_error(d), ENOTCONN);
    }
    device_attach(d);
    assert_int_equal(client_do(&d->c, WIRE_RESET, NULL, 0), 0);
}

static void *serve(void *opaque)
{
    vfu_ctx_t *ctx = opaque;

    if (vfu_attach_ctx(ctx) == 0) {
        while (vfu_run_ctx(ctx) >= 0) {
        }
    }
    return (void *)(intptr_t)errno;
}

/* A context that waits itself; the client is gone in the middle of a message. */
static void test_blocking(void **state)
{
    const Family *family = ((Device *)*state)->family;
    WireHeader h = { .command = WIRE_RESET };
    WireVersion v = { .minor = 1 };
    uint8_t body[WIRE_VERSION_SIZE];
    struct iovec iov = { body, wire_version_encode(body, sizeof(body), &v) };
    pthread_t thread;
    WireMessage m;
    void *err;
    Device d;

    device_open(&d, family, 0);
    assert_int_equal(vfu_realize_ctx(d.c.ctx), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, d.c.ctx), 0);
    d.c.stream = wire_stream_new(device_connect(&d), WIRE_MAX_MESSAGE, 1u << 20);
    for (unsigned command = WIRE_VERSION; command; command = command == WIRE_VERSION ? WIRE_RESET : 0) {
        h.command = (uint16_t)command;
        assert_int_equal(wire_stream_send(d.c.stream, &h, &iov, command == WIRE_VERSION, NULL, 0, WIRE_STREAM_WAIT), 0);
        assert_int_equal(wire_stream_receive(d.c.stream, &m, WIRE_STREAM_WAIT), 0);
        assert_int_equal(m.header.command, command);
        assert_int_equal(wire_header_error(&m.header), 0);
        wire_message_clear(&m);
    }
    assert_int_equal(send(wire_stream_fd(d.c.stream), body, 3, MSG_NOSIGNAL), 3);
    client_hang_up(&d.c);
    pthread_join(thread, &err);
    assert_int_equal((intptr_t)err, ENOTCONN);
    device_close(&d);
}

static void test_bad_addresses(void **state)
{
    static const struct {
        vfu_trans_t trans;
        const char *address;
    } bad[] = {
        { VFU_TRANS_TCP, "" }, { VFU_TRANS_TCP, "localhost" }, { VFU_TRANS_TCP, "localhost:" },
        { VFU_TRANS_VSOCK, "" }, { VFU_TRANS_VSOCK, "1" }, { VFU_TRANS_VSOCK, "1:" }, { VFU_TRANS_VSOCK, "1:x" },
        { VFU_TRANS_VSOCK, "1:4294967296" }, { VFU_TRANS_VSOCK, "-1:5" }, { VFU_TRANS_VSOCK, "x:5" },
        { VFU_TRANS_VSOCK, "11111111111111111111:5" },
    };
    char longer[400];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_null(vfu_create_ctx(bad[i].trans, bad[i].address, 0, NULL, VFU_DEV_TYPE_PCI));
        assert_int_equal(errno, EINVAL);
    }
    memset(longer, 'h', sizeof(longer));
    snprintf(longer + 300, 100, ":1");
    assert_null(vfu_create_ctx(VFU_TRANS_TCP, longer, 0, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, EINVAL);
    assert_null(vfu_create_ctx(VFU_TRANS_TCP, "256.256.256.256:1", 0, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, EADDRNOTAVAIL);
    assert_null(vfu_create_ctx(VFU_TRANS_SOCK, "/nowhere/at/all", 0, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, ENOENT);
}

/* An address without a host is any. */
static void test_any_address(void **state)
{
    const Family *family = ((Device *)*state)->family;
    uint32_t port = family->free_port();
    char address[64];
    vfu_ctx_t *ctx;

    snprintf(address, sizeof(address), ":%u", port);
    ctx = vfu_create_ctx(family->trans, address, 0, NULL, VFU_DEV_TYPE_PCI);
    assert_non_null(ctx);
    assert_int_equal(close(family->open(port)), 0);
    vfu_destroy_ctx(ctx);
    assert_int_equal(family->open(port), -1);
}

static void test_tcp_address_of_ipv6(void **state)
{
    char address[64];
    vfu_ctx_t *ctx;

    snprintf(address, sizeof(address), "[::1]:%u", tcp_free_port());
    ctx = vfu_create_ctx(VFU_TRANS_TCP, address, 0, NULL, VFU_DEV_TYPE_PCI);
    /* A machine may have no IPv6. */
    assert_true(ctx != NULL || errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL);
    vfu_destroy_ctx(ctx);
}

int main(int argc, char **argv)
{
    const Family *family = argc == 2 && strcmp(argv[1], "tcp") == 0 ? &tcp : argc == 2 && strcmp(argv[1], "vsock") == 0 ? &vsock : NULL;
#define TEST(test) { #test, test, set_up, tear_down, (void *)(uintptr_t)family }
    const struct CMUnitTest tests[] = {
        TEST(test_regions), TEST(test_interrupts), TEST(test_dma), TEST(test_dma_without_waiting), TEST(test_halves),
        TEST(test_deaf_client), TEST(test_blocking), TEST(test_any_address),
        cmocka_unit_test(test_bad_addresses), cmocka_unit_test(test_tcp_address_of_ipv6),
    };

    if (family == NULL) {
        fprintf(stderr, "usage: %s tcp|vsock\n", argv[0]);
        return 2;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
