/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mistakes that servers of this protocol are known to have made, one test each: what a client can do to corrupt, crash or hang
 * the server, and where answers were wrong.
 */
#include "client.h"

#include <signal.h>
#include <sys/wait.h>

#include "wire/bytes.h"

static int registered, unregistered, lost;
static uint8_t bar[1u << 20];

static void on_register(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    registered++;
}

static void on_unregister(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    unregistered++;
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    lost += type == VFU_RESET_LOST_CONN;
    return 0;
}

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    return 0;
}

static ssize_t on_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    return (ssize_t)count;
}

static ssize_t bar_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    memcpy(is_write ? (void *)(bar + offset) : buf, is_write ? buf : (void *)(bar + offset), count);
    return (ssize_t)count;
}

static const vfu_migration_callbacks_t callbacks = { VFU_MIGR_CALLBACKS_VERS, on_transition, on_data, on_data };

enum { WITH_DMA = 1, WITH_MIGRATION = 2 };

static void open_device(Client *c, int with)
{
    struct msicap msi = { .hdr.id = PCI_CAP_ID_MSI, .mc = { .c64 = 1, .mmc = 2, .pvm = 1 } };
    struct msixcap msix = { .hdr.id = PCI_CAP_ID_MSIX, .mxc.ts = 7 };

    registered = unregistered = lost = 0;
    client_open(c, LIBVFIO_USER_FLAG_ATTACH_NB);
    assert_int_equal(vfu_pci_init(c->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 5), 0);
    assert_int_equal(vfu_pci_add_capability(c->ctx, 0, 0, &msi), 0x40);
    assert_int_equal(vfu_pci_add_capability(c->ctx, 0, 0, &msix), 0x58);
    assert_int_equal(vfu_setup_region(c->ctx, 0, sizeof(bar), bar_access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM,
                                      NULL, 0, -1, 0), 0);
    assert_int_equal(vfu_setup_device_reset_cb(c->ctx, on_reset), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(vfu_setup_device_nr_irqs(c->ctx, i, 4), 0);
    }
    if (with & WITH_DMA) {
        assert_int_equal(vfu_setup_device_dma(c->ctx, 64, on_register, on_unregister), 0);
    }
    if (with & WITH_MIGRATION) {
        assert_int_equal(vfu_setup_device_migration_callbacks(c->ctx, &callbacks), 0);
    }
}

static vfu_dma_addr_t at(uint64_t iova)
{
    return (vfu_dma_addr_t)(uintptr_t)iova;
}

/* The connection still works. */
static void alive(Client *c)
{
    assert_int_equal(client_do(c, WIRE_RESET, NULL, 0), 0);
}

/* 1: a write that begins in a capability and runs out of it. */
static void test_capability_write_past_its_end(void **state)
{
    vfu_pci_config_space_t *space;
    uint8_t bytes[64];
    Client c;

    memset(bytes, 0xff, sizeof(bytes));
    open_device(&c, 0);
    client_attach(&c, NULL);
    space = vfu_pci_get_config_space(c.ctx);
    for (uint32_t offset = 0x42; offset < 0x64; offset++) {
        for (uint32_t count = 1; count <= sizeof(bytes); count++) {
            client_write(&c, VFU_PCI_DEV_CFG_REGION_IDX, offset, bytes, count);
        }
    }
    /* Behind the last capability nothing was written; nor was what identifies the second. */
    assert_int_equal(((uint8_t *)space)[0x64], 0);
    assert_int_equal(((uint8_t *)space)[0x58], PCI_CAP_ID_MSIX);
    client_close(&c);
}

static int log_start(Client *c, uint64_t page_size)
{
    uint8_t data[WIRE_LOG_START_SIZE];
    WireMessage reply;
    int err;

    wire_log_start_encode(data, page_size, 0);
    err = client_feature(c, WIRE_FEATURE_SET | WIRE_FEATURE_LOG_START, WIRE_FEATURE_SIZE + sizeof(data), data,
                         sizeof(data), &reply);
    wire_message_clear(&reply);
    return err;
}

static int log_stop(Client *c)
{
    WireMessage reply;
    int err = client_feature(c, WIRE_FEATURE_SET | WIRE_FEATURE_LOG_STOP, WIRE_FEATURE_SIZE, NULL, 0, &reply);

    wire_message_clear(&reply);
    return err;
}

/* 2 */
static void test_logging_without_dma(void **state)
{
    Client c;

    open_device(&c, WITH_MIGRATION);
    client_attach(&c, NULL);
    assert_int_equal(log_start(&c, 4096), EINVAL);
    assert_int_equal(log_stop(&c), EINVAL);
    alive(&c);
    client_close(&c);
}

/* 3: the whole range is inside the mapping although its file offset is not page aligned. */
static void test_unaligned_file_offset(void **state)
{
    dma_sg_t *sg = calloc(1, dma_sg_size());
    int fd = memory_file(0x3000);
    struct iovec iov;
    Client c;

    open_device(&c, WITH_DMA);
    client_attach(&c, NULL);
    assert_int_equal(client_map(&c, 0x1000, 0x2000, 3, fd, 0x234), 0);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0x1000), 0x2000, sg, 1, PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_get(c.ctx, sg, &iov, 1, 0), 0);
    assert_int_equal(iov.iov_len, 0x2000);
    memset(iov.iov_base, 0x77, iov.iov_len);
    close(fd);
    free(sg);
    client_close(&c);
}

/* Bits of a report; bitmap is as long as the range asks for. */
static int report(Client *c, uint64_t iova, uint64_t length, uint64_t page_size, uint8_t *bitmap)
{
    WireLogReport r = { iova, length, page_size };
    uint8_t data[WIRE_LOG_REPORT_SIZE];
    size_t size = wire_bitmap_size(length, page_size);
    WireMessage reply;
    int err;

    wire_log_report_encode(data, &r);
    err = client_feature(c, WIRE_FEATURE_GET | WIRE_FEATURE_LOG_REPORT, 1u << 20, data, sizeof(data), &reply);
    if (err == 0) {
        assert_int_equal(reply.len, 32 + size);
        memcpy(bitmap, reply.body + 32, size);
    }
    wire_message_clear(&reply);
    return err;
}

static bool bit(const uint8_t *bitmap, size_t n)
{
    return bitmap[n / 8] & (1u << (n % 8));
}

static void dirty_page(Client *c, uint64_t page)
{
    dma_sg_t *sg = calloc(1, dma_sg_size());

    assert_int_equal(vfu_addr_to_sgl(c->ctx, at(page * 4096), 1, sg, 1, PROT_WRITE), 1);
    vfu_sgl_mark_dirty(c->ctx, sg, 1);
    free(sg);
}

/* 4: finer and coarser pages than logged, more than 255 of them. */
static void test_report_with_other_page_sizes(void **state)
{
    static uint8_t bitmap[8192];
    int fd = memory_file(4096 * 4096);
    Client c;

    open_device(&c, WITH_DMA | WITH_MIGRATION);
    client_attach(&c, NULL);
    assert_int_equal(client_map(&c, 0, 4096 * 4096, 3, fd, 0), 0);
    assert_int_equal(log_start(&c, 4096), 0);
    dirty_page(&c, 3000);
    assert_int_equal(report(&c, 0, 4096 * 4096, 2048, bitmap), 0);
    for (size_t i = 0; i < 8192; i++) {
        assert_int_equal(bit(bitmap, i), i == 6000 || i == 6001);
    }
    dirty_page(&c, 3000);
    assert_int_equal(report(&c, 0, 4096 * 4096, 8192, bitmap), 0);
    for (size_t i = 0; i < 2048; i++) {
        assert_int_equal(bit(bitmap, i), i == 1500);
    }
    close(fd);
    client_close(&c);
}

/* 5 */
static void test_max_data_xfer_size_of_0(void **state)
{
    const char *json = "{\"capabilities\":{\"max_data_xfer_size\":0}}";
    WireVersion v = { .json = json };
    uint8_t body[128];
    WireMessage m;
    Client c;

    open_device(&c, WITH_DMA);
    assert_int_equal(vfu_realize_ctx(c.ctx), 0);
    c.stream = wire_stream_new(client_connect(&c), WIRE_MAX_MESSAGE, 0);
    client_send(&c, WIRE_VERSION, body, wire_version_encode(body, sizeof(body), &v));
    assert_int_equal(vfu_attach_ctx(c.ctx), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(wire_stream_receive(c.stream, &m, WIRE_STREAM_WAIT), 0);
    assert_int_equal(wire_header_error(&m.header), EINVAL);
    wire_message_clear(&m);
    client_close(&c);
}

/* Raw bytes with descriptors. */
static void send_with_fds(int socket, const void *bytes, size_t size, const int *fds, unsigned count)
{
    char control[CMSG_SPACE(64 * sizeof(int))] = { 0 };
    struct iovec iov = { (void *)bytes, size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
    struct cmsghdr *c;

    msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
    c = CMSG_FIRSTHDR(&msg);
    *c = (struct cmsghdr){ .cmsg_len = CMSG_LEN(count * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS };
    memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    assert_int_equal(sendmsg(socket, &msg, 0), (ssize_t)size);
}

/* 6: half a header with descriptors, then gone. */
static void test_descriptors_of_a_short_header(void **state)
{
    int fds[50], spare = eventfd(0, 0);
    unsigned before;
    Client c;

    for (int i = 0; i < 50; i++) {
        fds[i] = spare;
    }
    open_device(&c, 0);
    client_attach(&c, NULL);
    client_hang_up(&c);
    vfu_run_ctx(c.ctx);
    before = open_fds();
    for (int i = 0; i < 20; i++) {
        client_attach(&c, NULL);
        send_with_fds(wire_stream_fd(c.stream), "half", 4, fds, 50);
        assert_int_equal(vfu_run_ctx(c.ctx), 0);
        client_hang_up(&c);
        assert_int_equal(vfu_run_ctx(c.ctx), -1);
        assert_int_equal(errno, ENOTCONN);
    }
    assert_int_equal(open_fds(), before);
    close(spare);
    client_close(&c);
}

/* 7: what is missing of a request is not read from beyond the buffer (the sanitizer tells). */
static void test_requests_shorter_than_they_say(void **state)
{
    static const struct {
        uint16_t command;
        size_t size;
        uint32_t flags;
    } shorts[] = {
        { WIRE_DEVICE_FEATURE, 8, WIRE_FEATURE_SET | WIRE_FEATURE_MIG_STATE },
        { WIRE_DEVICE_FEATURE, 12, WIRE_FEATURE_SET | WIRE_FEATURE_MIG_STATE },
        { WIRE_DEVICE_FEATURE, 8, WIRE_FEATURE_SET | WIRE_FEATURE_LOG_START },
        { WIRE_DEVICE_FEATURE, 8, WIRE_FEATURE_GET | WIRE_FEATURE_LOG_REPORT },
        { WIRE_DMA_UNMAP, 23, 0 },
        { WIRE_DMA_UNMAP, 24, WIRE_UNMAP_DIRTY_BITMAP },
        { WIRE_DMA_MAP, 31, 0 },
        { WIRE_DIRTY_PAGES, 8, WIRE_DIRTY_GET_BITMAP },
    };
    uint8_t one = 0xff;
    Client c;

    open_device(&c, WITH_DMA | WITH_MIGRATION);
    client_attach(&c, NULL);
    for (size_t i = 0; i < sizeof(shorts) / sizeof(shorts[0]); i++) {
        uint8_t *body = calloc(1, shorts[i].size);

        wire_put_u32(body, 0, 4096);
        wire_put_u32(body, 4, shorts[i].flags);
        assert_int_equal(client_do(&c, shorts[i].command, body, shorts[i].size), EINVAL);
        free(body);
    }
    /* One byte of registers that are wider. */
    for (uint32_t offset = 0; offset < 0x40; offset++) {
        assert_int_equal(client_write(&c, VFU_PCI_DEV_CFG_REGION_IDX, offset, &one, 1), 0);
    }
    client_close(&c);
}

/* 8: nothing blocks: VERSION in pieces, half a body, replies nobody reads. */
static void test_non_blocking_means_it(void **state)
{
    WireRegionAccess a = { .region = 0, .count = 1u << 20 };
    uint8_t bytes[64] = { 0 }, body[WIRE_REGION_ACCESS_SIZE];
    WireHeader h = { .command = WIRE_REGION_WRITE, .size = 4096 };
    Client c;

    open_device(&c, 0);
    assert_int_equal(vfu_realize_ctx(c.ctx), 0);
    c.stream = wire_stream_new(client_connect(&c), WIRE_MAX_MESSAGE, 1u << 20);
    assert_int_equal(vfu_attach_ctx(c.ctx), -1);
    assert_int_equal(errno, EAGAIN);
    client_hang_up(&c);
    assert_int_equal(vfu_attach_ctx(c.ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    client_attach(&c, NULL);
    wire_header_encode(bytes, &h);
    assert_int_equal(write(wire_stream_fd(c.stream), bytes, 40), 40);
    assert_int_equal(vfu_run_ctx(c.ctx), 0);
    client_hang_up(&c);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    client_attach(&c, NULL);
    wire_region_access_encode(body, &a);
    for (int i = 0; i < 8; i++) {
        client_send(&c, WIRE_REGION_READ, body, sizeof(body));
    }
    for (int i = 0; i < 20; i++) {
        assert_true(vfu_run_ctx(c.ctx) >= 0);
    }
    client_close(&c);
}

/* 9 */
static void test_migration_numbers_out_of_range(void **state)
{
    uint8_t body[WIRE_MIG_DATA_SIZE] = { 0 };
    int fd = memory_file(0x10000);
    Client c;

    open_device(&c, WITH_DMA | WITH_MIGRATION);
    client_attach(&c, "{\"capabilities\":{\"max_data_xfer_size\":9223372036854775807}}");
    for (uint32_t s = 7; s < 12; s++) {
        assert_int_equal(client_set_state(&c, s), EINVAL);
    }
    assert_int_equal(client_set_state(&c, UINT32_MAX), EINVAL);
    assert_int_equal(client_map(&c, 0, 0x10000, 3, fd, 0), 0);
    for (uint64_t size = 0; size < 4096; size = size ? size * 2 : 1) {
        assert_int_equal(log_start(&c, size), EINVAL);
    }
    assert_int_equal(log_start(&c, 12288), EINVAL);
    assert_int_equal(client_set_state(&c, WIRE_STATE_PRE_COPY), 0);
    wire_put_u32(body, 0, UINT32_MAX);
    wire_put_u32(body, 4, UINT32_MAX - 8);
    assert_int_equal(client_do(&c, WIRE_MIG_DATA_READ, body, sizeof(body)), EINVAL);
    close(fd);
    client_close(&c);
}

/* 10: the client loses its connection, the server sees zeroes. */
static void test_truncated_mapping(void **state)
{
    dma_sg_t *sg = calloc(1, dma_sg_size());
    int fd = memory_file(0x4000);
    struct iovec iov;
    Client c;

    open_device(&c, WITH_DMA);
    client_attach(&c, NULL);
    assert_int_equal(pwrite(fd, "gone", 4, 0x2000), 4);
    assert_int_equal(client_map(&c, 0, 0x4000, 3, fd, 0), 0);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0x2000), 0x2000, sg, 1, PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_get(c.ctx, sg, &iov, 1, 0), 0);
    assert_memory_equal(iov.iov_base, "gone", 4);
    assert_int_equal(ftruncate(fd, 0x1000), 0);
    assert_memory_equal(iov.iov_base, "\0\0\0\0", 4);
    memset(iov.iov_base, 1, iov.iov_len);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(unregistered, 1);
    client_hang_up(&c);
    client_attach(&c, NULL);
    alive(&c);
    close(fd);
    free(sg);
    client_close(&c);
}

/* A fault that is not the library's still ends the program. */
static void test_other_sigbus_is_not_swallowed(void **state)
{
    int status, fd = memory_file(0x1000);
    pid_t pid;
    Client c;

    open_device(&c, WITH_DMA);
    client_attach(&c, NULL);
    pid = fork();
    if (pid == 0) {
        char *own = mmap(NULL, 0x1000, PROT_READ, MAP_SHARED, fd, 0);

        /* Not the test framework's, which would go on with the next test. */
        signal(SIGBUS, SIG_DFL);
        client_map(&c, 0, 0x1000, 3, fd, 0);
        alarm(60);
        _exit(ftruncate(fd, 0) == 0 && *(volatile char *)own);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_false(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
    close(fd);
    client_close(&c);
}

/* 11: a body that comes in pieces is waited for; 1 MiB passes. */
static void test_large_write_in_pieces(void **state)
{
    WireRegionAccess a = { .region = 0, .count = 1u << 20 };
    size_t size = WIRE_HEADER_SIZE + WIRE_REGION_ACCESS_SIZE + a.count, done = 0;
    WireHeader h = { .command = WIRE_REGION_WRITE, .size = (uint32_t)size };
    uint8_t *message = malloc(size);
    WireMessage m;
    int err;
    Client c;

    memset(message, 0x42, size);
    wire_header_encode(message, &h);
    wire_region_access_encode(message + WIRE_HEADER_SIZE, &a);
    open_device(&c, 0);
    client_attach(&c, NULL);
    while ((err = wire_stream_receive(c.stream, &m, 0)) == EAGAIN) {
        ssize_t n = send(wire_stream_fd(c.stream), message + done, size - done < 10007 ? size - done : 10007,
                         MSG_DONTWAIT);

        done += n > 0 ? (size_t)n : 0;
        assert_true(vfu_run_ctx(c.ctx) >= 0);
    }
    assert_int_equal(err, 0);
    assert_int_equal(wire_header_error(&m.header), 0);
    assert_int_equal(bar[sizeof(bar) - 1], 0x42);
    wire_message_clear(&m);
    alive(&c);
    free(message);
    client_close(&c);
}

/* 12: removing a range begins at its start; types do not share eventfds. */
static void test_eventfds_of_ranges_and_types(void **state)
{
    const uint32_t assign = WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD;
    int fds[4];
    Client c;

    open_device(&c, 0);
    client_attach(&c, NULL);
    for (int i = 0; i < 4; i++) {
        fds[i] = eventfd(0, 0);
    }
    for (uint32_t type = 0; type < 3; type++) {
        assert_int_equal(client_set_irqs(&c, assign, type, 0, 4, fds, 4), 0);
    }
    assert_int_equal(client_set_irqs(&c, assign, VFU_DEV_MSIX_IRQ, 2, 1, NULL, 0), 0);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(vfu_irq_trigger_type(c.ctx, VFU_DEV_MSIX_IRQ, i), i == 2 ? -1 : 0);
        assert_int_equal(vfu_irq_trigger_type(c.ctx, VFU_DEV_MSI_IRQ, i), 0);
    }
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_NONE, VFU_DEV_MSIX_IRQ, 0, 0, NULL, 0), 0);
    assert_int_equal(vfu_irq_trigger_type(c.ctx, VFU_DEV_INTX_IRQ, 0), 0);
    for (int i = 0; i < 4; i++) {
        close(fds[i]);
    }
    client_close(&c);
}

static int busy(vfu_ctx_t *ctx)
{
    errno = EBUSY;
    return -1;
}

/* 13: a quiesce that fails is answered. */
static void test_failed_quiesce_is_answered(void **state)
{
    WireMessage m;
    Client c;

    open_device(&c, 0);
    vfu_setup_device_quiesce_cb(c.ctx, busy);
    client_attach(&c, NULL);
    client_send(&c, WIRE_RESET, NULL, 0);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    assert_int_equal(errno, EBUSY);
    assert_int_equal(vfu_device_quiesced(c.ctx, EIO), 0);
    assert_int_equal(wire_stream_receive(c.stream, &m, WIRE_STREAM_WAIT), 0);
    assert_int_equal(wire_header_error(&m.header), EIO);
    wire_message_clear(&m);
    client_close(&c);
}

/* 14 */
static void test_state_of_the_next_client(void **state)
{
    Client c;

    open_device(&c, WITH_DMA | WITH_MIGRATION);
    client_attach(&c, NULL);
    assert_int_equal(client_set_state(&c, WIRE_STATE_STOP), 0);
    assert_int_equal(client_do(&c, WIRE_RESET, NULL, 0), EINVAL);
    client_hang_up(&c);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    assert_int_equal(lost, 1);
    client_attach(&c, NULL);
    alive(&c);
    client_close(&c);
}

/* 15 */
static void test_mapping_twice(void **state)
{
    int fd = memory_file(0x2000);
    Client c;

    open_device(&c, WITH_DMA);
    client_attach(&c, NULL);
    assert_int_equal(client_map(&c, 0x1000, 0x1000, 3, fd, 0), 0);
    assert_int_equal(client_map(&c, 0x1000, 0x1000, 3, fd, 0), EEXIST);
    assert_int_equal(client_map(&c, 0x800, 0x1000, 3, fd, 0), EEXIST);
    assert_int_equal(client_map(&c, 0x4000, 0, 3, fd, 0), EINVAL);
    assert_int_equal(registered, 1);
    close(fd);
    client_close(&c);
}

/* 16: over two regions the answer has a bitmap; over a hole it is an error. */
static void test_report_over_two_regions(void **state)
{
    uint8_t bitmap[8] = { 0 };
    int fd = memory_file(0x4000);
    Client c;

    open_device(&c, WITH_DMA | WITH_MIGRATION);
    client_attach(&c, NULL);
    assert_int_equal(client_map(&c, 0, 0x2000, 3, fd, 0), 0);
    assert_int_equal(client_map(&c, 0x2000, 0x2000, 3, fd, 0x2000), 0);
    assert_int_equal(log_start(&c, 4096), 0);
    dirty_page(&c, 1);
    dirty_page(&c, 2);
    assert_int_equal(report(&c, 0, 0x4000, 4096, bitmap), 0);
    assert_int_equal(bitmap[0], 6);
    assert_int_equal(report(&c, 0, 0x5000, 4096, bitmap), ENOENT);
    close(fd);
    client_close(&c);
}

/* 17 */
static void test_errors_are_bare_headers(void **state)
{
    uint8_t body[64] = { 0 };
    WireMessage reply;
    Client c;

    open_device(&c, WITH_DMA | WITH_MIGRATION);
    client_attach(&c, NULL);
    for (unsigned command = 0; command < 32; command++) {
        memset(body, 0xff, sizeof(body));
        if (command != WIRE_RESET && client_call(&c, command, body, sizeof(body), NULL, 0, &reply)) {
            assert_int_equal(reply.len, 0);
            assert_int_equal(reply.header.size, WIRE_HEADER_SIZE);
        }
        wire_message_clear(&reply);
    }
    client_close(&c);
}

/* 18: the mmap flag, the capability and the descriptor come together or not at all. */
static void test_region_info_with_little_room(void **state)
{
    uint8_t body[WIRE_REGION_INFO_SIZE];
    WireRegionInfo info = { .index = 1 }, got;
    int fd = memory_file(4096);
    WireMessage reply;
    Client c;

    open_device(&c, 0);
    assert_int_equal(vfu_setup_region(c.ctx, 1, 4096, NULL, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, fd, 0), 0);
    client_attach(&c, NULL);
    for (uint32_t argsz = 32; argsz <= 96; argsz += 8) {
        bool all = argsz >= 64;

        info.argsz = argsz;
        wire_region_info_encode(body, &info);
        assert_int_equal(client_call(&c, WIRE_GET_REGION_INFO, body, sizeof(body), NULL, 0, &reply), 0);
        assert_int_equal(wire_region_info_decode(&got, reply.body, reply.len), 0);
        assert_int_equal(got.argsz, 64);
        assert_int_equal(!!(got.flags & WIRE_REGION_MMAP), all);
        assert_int_equal(!!(got.flags & WIRE_REGION_CAPS), all);
        assert_int_equal(reply.fd_count, all);
        wire_message_clear(&reply);
    }
    close(fd);
    client_close(&c);
}

/* 19: several ERR and REQ vectors. */
static void test_many_err_vectors(void **state)
{
    int fd = eventfd(0, 0);
    Client c;

    open_device(&c, 0);
    assert_int_equal(vfu_setup_device_nr_irqs(c.ctx, VFU_DEV_ERR_IRQ, 16), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(c.ctx, VFU_DEV_REQ_IRQ, 16), 0);
    client_attach(&c, NULL);
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, VFU_DEV_ERR_IRQ, 15, 1, &fd, 1), 0);
    assert_int_equal(vfu_irq_trigger_type(c.ctx, VFU_DEV_ERR_IRQ, 15), 0);
    client_hang_up(&c);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    close(fd);
    client_close(&c);
}

/* 20 */
static void test_revision_and_config_writes_of_guests(void **state)
{
    uint16_t all = 0xffff, command;
    uint32_t probe = 0xfffff800, value;
    uint8_t revision;
    Client c;

    open_device(&c, 0);
    client_attach(&c, NULL);
    assert_int_equal(client_read(&c, VFU_PCI_DEV_CFG_REGION_IDX, PCI_REVISION_ID, &revision, 1), 0);
    assert_int_equal(revision, 5);
    assert_int_equal(client_write(&c, VFU_PCI_DEV_CFG_REGION_IDX, PCI_COMMAND, &all, 2), 0);
    assert_int_equal(client_read(&c, VFU_PCI_DEV_CFG_REGION_IDX, PCI_COMMAND, &command, 2), 0);
    assert_int_equal(command & (PCI_COMMAND_PARITY | PCI_COMMAND_MASTER), PCI_COMMAND_PARITY | PCI_COMMAND_MASTER);
    assert_int_equal(command & (PCI_COMMAND_FAST_BACK | PCI_COMMAND_WAIT), 0);
    value = 0xfebf0001;
    assert_int_equal(client_write(&c, VFU_PCI_DEV_CFG_REGION_IDX, PCI_ROM_ADDRESS, &value, 4), 0);
    assert_int_equal(client_write(&c, VFU_PCI_DEV_CFG_REGION_IDX, PCI_ROM_ADDRESS, &probe, 4), 0);
    assert_int_equal(client_write(&c, VFU_PCI_DEV_CFG_REGION_IDX, PCI_VENDOR_ID, &probe, 4), 0);
    client_close(&c);
}

/* 21 */
static void test_io_fds_within_the_clients_limit(void **state)
{
    uint8_t body[WIRE_IO_FDS_SIZE];
    WireIoFds f = { .argsz = 4096 };
    WireMessage reply;
    int fds[2] = { eventfd(0, 0), eventfd(0, 0) };
    Client c;

    open_device(&c, 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(vfu_create_ioeventfd(c.ctx, 0, fds[i], i * 8, 4, 0, 0, -1, 0), 0);
    }
    client_attach(&c, "{\"capabilities\":{\"max_msg_fds\":1}}");
    wire_io_fds_encode(body, &f);
    assert_int_equal(client_call(&c, WIRE_GET_REGION_IO_FDS, body, sizeof(body), NULL, 0, &reply), E2BIG);
    assert_int_equal(reply.fd_count, 0);
    wire_message_clear(&reply);
    close(fds[0]);
    close(fds[1]);
    client_close(&c);
}

/* 22: every descriptor of a context, its clients and their files. */
static void test_close_on_exec(void **state)
{
    unsigned before[2] = { 0 };
    int fd = memory_file(0x1000), event = eventfd(0, EFD_CLOEXEC);
    Client c;

    for (int pass = 0; pass < 2; pass++) {
        unsigned bad = 0;

        if (pass == 1) {
            open_device(&c, WITH_DMA);
            client_attach(&c, "{\"capabilities\":{\"max_msg_fds\":8,\"twin_socket\":{\"supported\":true}}}");
            assert_int_equal(client_map(&c, 0, 0x1000, 3, fd, 0), 0);
            assert_int_equal(client_set_irqs(&c, WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, 2, 0, 1, &event, 1), 0);
        }
        for (int i = 0; i < 1024; i++) {
            int flags = fcntl(i, F_GETFD);

            bad += flags >= 0 && !(flags & FD_CLOEXEC);
        }
        before[pass] = bad;
    }
    assert_int_equal(before[0], before[1]);
    close(fd);
    close(event);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capability_write_past_its_end),
        cmocka_unit_test(test_logging_without_dma),
        cmocka_unit_test(test_unaligned_file_offset),
        cmocka_unit_test(test_report_with_other_page_sizes),
        cmocka_unit_test(test_max_data_xfer_size_of_0),
        cmocka_unit_test(test_descriptors_of_a_short_header),
        cmocka_unit_test(test_requests_shorter_than_they_say),
        cmocka_unit_test(test_non_blocking_means_it),
        cmocka_unit_test(test_migration_numbers_out_of_range),
        cmocka_unit_test(test_truncated_mapping),
        cmocka_unit_test(test_other_sigbus_is_not_swallowed),
        cmocka_unit_test(test_large_write_in_pieces),
        cmocka_unit_test(test_eventfds_of_ranges_and_types),
        cmocka_unit_test(test_failed_quiesce_is_answered),
        cmocka_unit_test(test_state_of_the_next_client),
        cmocka_unit_test(test_mapping_twice),
        cmocka_unit_test(test_report_over_two_regions),
        cmocka_unit_test(test_errors_are_bare_headers),
        cmocka_unit_test(test_region_info_with_little_room),
        cmocka_unit_test(test_many_err_vectors),
        cmocka_unit_test(test_revision_and_config_writes_of_guests),
        cmocka_unit_test(test_io_fds_within_the_clients_limit),
        cmocka_unit_test(test_close_on_exec),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
