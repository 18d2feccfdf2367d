/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No memory, no descriptors: a whole session in which the n-th allocation or system call of the library fails, for every n until none is
 * left.  Whatever fails, the library answers with an error, leaks nothing, and serves the next client.  The linker puts
 * the functions here in place of those the library calls.
 */
#include "client.h"

#include <stdarg.h>
#include <sys/epoll.h>

#include "wire/bytes.h"

static int countdown = -1;      /* calls until one fails, -1: none does */

static bool fault(int err)
{
    if (countdown < 0 || countdown-- > 0) {
        return false;
    }
    errno = err;
    return true;
}

#define WRAP(type, name, err, none, parameters, arguments)                                                             \
    type __real_##name parameters;                                                                                     \
    type __wrap_##name parameters;                                                                                     \
    type __wrap_##name parameters                                                                                      \
    {                                                                                                                  \
        return fault(err) ? none : __real_##name arguments;                                                            \
    }

WRAP(void *, malloc, ENOMEM, NULL, (size_t size), (size))
WRAP(void *, calloc, ENOMEM, NULL, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, ENOMEM, NULL, (void *p, size_t size), (p, size))
WRAP(char *, strdup, ENOMEM, NULL, (const char *s), (s))
WRAP(int, socketpair, EMFILE, -1, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds))
WRAP(int, socket, EMFILE, -1, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(int, listen, EADDRINUSE, -1, (int fd, int backlog), (fd, backlog))
WRAP(int, accept4, EMFILE, -1, (int fd, struct sockaddr *addr, socklen_t *len, int flags), (fd, addr, len, flags))
WRAP(int, epoll_create1, EMFILE, -1, (int flags), (flags))
WRAP(int, epoll_ctl, ENOSPC, -1, (int epfd, int op, int fd, struct epoll_event *event), (epfd, op, fd, event))
WRAP(void *, mmap, ENOMEM, MAP_FAILED, (void *p, size_t n, int prot, int flags, int fd, off_t offset),
     (p, n, prot, flags, fd, offset))
WRAP(ssize_t, pread, EIO, -1, (int fd, void *buf, size_t n, off_t offset), (fd, buf, n, offset))

static ssize_t bar_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    memset(buf, 0, is_write ? 0 : count);
    return (ssize_t)count;
}

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    return 0;
}

static ssize_t on_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    return (ssize_t)count;
}

/* Everything that is set up; NULL when something failed. */
static vfu_ctx_t *create(const char *path)
{
    const vfu_migration_callbacks_t callbacks = { VFU_MIGR_CALLBACKS_VERS, on_transition, on_data, on_data };
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, path, LIBVFIO_USER_FLAG_ATTACH_NB, NULL, VFU_DEV_TYPE_PCI);
    struct iovec area = { NULL, 0x1000 };

    if (ctx == NULL) {
        return NULL;
    }
    if (vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0) < 0 ||
        vfu_setup_region(ctx, 0, 0x1000, bar_access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, &area, 1, 0, 0) < 0 ||
        vfu_create_ioeventfd(ctx, 0, 0, 0, 4, 0, 0, -1, 0) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) < 0 ||
        vfu_setup_irq_flags(ctx, VFU_DEV_INTX_IRQ, VFU_IRQ_FLAG_AUTOMASKED) < 0 ||
        vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, 4) < 0 || vfu_setup_device_dma(ctx, 16, NULL, NULL) < 0 ||
        vfu_setup_device_migration_callbacks(ctx, &callbacks) < 0 ||
        vfu_setup_device_migration_region(ctx, 4096) < 0 || vfu_realize_ctx(ctx) < 0) {
        vfu_destroy_ctx(ctx);
        return NULL;
    }
    return ctx;
}

static void ignore_done(vfu_ctx_t *ctx, void *opaque, int err)
{
}

/* One request; the client's own allocations do not fail. */
static void request(vfu_ctx_t *ctx, WireStream *s, unsigned command, const void *body, size_t len, int fd)
{
    WireHeader h = { .command = (uint16_t)command };
    struct iovec iov = { (void *)body, len };
    int saved = countdown;
    WireMessage m;

    countdown = -1;
    wire_stream_send(s, &h, &iov, 1, &fd, fd >= 0, 0);
    countdown = saved;
    vfu_run_ctx(ctx);
    saved = countdown;
    countdown = -1;
    wire_stream_receive(s, &m, 0);
    wire_message_clear(&m);
    countdown = saved;
}

static void requests(vfu_ctx_t *ctx, WireStream *s, int file, int event)
{
    uint8_t body[128] = { 0 };
    WireDmaMap map = { .flags = 3, .size = 0x1000 };
    WireSetIrqs irqs = { .flags = WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, .index = VFU_DEV_MSIX_IRQ, .count = 1 };
    WireSetIrqs unmask = { .flags = WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_EVENTFD, .index = VFU_DEV_INTX_IRQ, .count = 1 };
    WireRegionInfo info = { .argsz = 4096 };
    WireIoFds io = { .argsz = 4096 };
    WireRegionAccess access = { .count = 512 };
    WireDirtyPages dirty = { 2048, WIRE_DIRTY_GET_BITMAP, 0, 0x1000, 4096, 1024 };
    WireDmaUnmap unmap = { .argsz = 2048, .flags = WIRE_UNMAP_DIRTY_BITMAP, .size = 0x1000, .pgsize = 4096, .bitmap_size = 512 };
    WireFeature probe = { .argsz = 128, .flags = WIRE_FEATURE_PROBE | WIRE_FEATURE_GET | WIRE_FEATURE_MIGRATION };
    uint64_t sg[5], data[8];

    request(ctx, s, WIRE_DMA_MAP, body, wire_dma_map_encode(body, &map), file);
    if (vfu_addr_to_sgl(ctx, NULL, sizeof(data), (dma_sg_t *)sg, 1, PROT_READ) == 1) {
        vfu_sgl_read(ctx, (dma_sg_t *)sg, 1, data, VFU_SGL_DIRECT_ACCESS);
        vfu_sgl_write_async(ctx, (dma_sg_t *)sg, data, ignore_done, NULL);
    }
    request(ctx, s, WIRE_SET_IRQS, body, wire_set_irqs_encode(body, &irqs), event);
    request(ctx, s, WIRE_SET_IRQS, body, wire_set_irqs_encode(body, &unmask), event);
    request(ctx, s, WIRE_GET_REGION_INFO, body, wire_region_info_encode(body, &info), -1);
    request(ctx, s, WIRE_GET_REGION_IO_FDS, body, wire_io_fds_encode(body, &io), -1);
    request(ctx, s, WIRE_REGION_READ, body, wire_region_access_encode(body, &access), -1);
    request(ctx, s, WIRE_DIRTY_PAGES, "\10\0\0\0\1\0\0\0", 8, -1);
    request(ctx, s, WIRE_DIRTY_PAGES, body, wire_dirty_pages_encode(body, &dirty), -1);
    request(ctx, s, WIRE_DMA_UNMAP, body, wire_dma_unmap_encode(body, &unmap), -1);
    memset(body, 0, sizeof(body));
    wire_feature_encode(body, &probe);
    request(ctx, s, WIRE_DEVICE_FEATURE, body, sizeof(body), -1);
    request(ctx, s, WIRE_RESET, NULL, 0, -1);
}

static bool session(const char *path, int file, int event)
{
    const char *json = "{\"capabilities\":{\"max_msg_fds\":8,\"twin_socket\":{\"supported\":true}}}";
    WireVersion v = { .json = json };
    WireHeader h = { .command = WIRE_VERSION };
    uint8_t body[256];
    struct iovec iov = { body, wire_version_encode(body, sizeof(body), &v) };
    vfu_ctx_t *ctx = create(path);
    Client c = { 0 };
    int saved;

    if (ctx == NULL) {
        return false;
    }
    snprintf(c.path, sizeof(c.path), "%s", path);
    saved = countdown;
    countdown = -1;
    c.stream = wire_stream_new(client_connect(&c), WIRE_MAX_MESSAGE, 1u << 20);
    wire_stream_send(c.stream, &h, &iov, 1, NULL, 0, 0);
    countdown = saved;
    for (int i = 0; i < 2; i++) {
        if (vfu_attach_ctx(ctx) == 0) {
            requests(ctx, c.stream, file, event);
            break;
        }
    }
    saved = countdown;
    countdown = -1;
    client_hang_up(&c);
    countdown = saved;
    while (vfu_run_ctx(ctx) >= 0) {
    }
    vfu_destroy_ctx(ctx);
    return true;
}

static void test_every_fault(void **state)
{
    int file = memory_file(0x1000), event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), n;
    unsigned before;
    char path[64];

    snprintf(path, sizeof(path), "/tmp/vfu-fault-%d.sock", (int)getpid());
    unlink(path);
    assert_true(session(path, file, event));
    before = open_fds();
    for (n = 0; n < 10000; n++) {
        bool created;

        countdown = n;
        created = session(path, file, event);
        if (countdown >= 0) {
            assert_true(created);
            break;
        }
        assert_int_equal(open_fds(), before);
        assert_int_equal(access(path, F_OK), -1);
    }
    countdown = -1;
    /* It took more than a handful: the wrappers are in place. */
    assert_in_range(n, 30, 9999);
    close(file);
    close(event);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
