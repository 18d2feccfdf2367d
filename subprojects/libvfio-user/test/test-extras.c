/* SPDX-License-Identifier: BSD-3-Clause */
/* What this library adds: pipes, handed over fds, polling, batches, counters, interrupt masks, ioregionfds. */
#include "client.h"

#include <pthread.h>
#include <sys/wait.h>

#include "wire/bytes.h"

static uint8_t bar[4096];
static unsigned masked, unmasked;

static ssize_t bar_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    memcpy(is_write ? (void *)(bar + offset) : buf, is_write ? buf : (void *)(bar + offset), count);
    return (ssize_t)count;
}

static void set_up(vfu_ctx_t *ctx)
{
    assert_non_null(ctx);
    assert_int_equal(vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_int_equal(vfu_setup_region(ctx, 0, sizeof(bar), bar_access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL,
                                      0, -1, 0), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, 4), 0);
    assert_int_equal(vfu_setup_device_dma(ctx, 16, NULL, NULL), 0);
}

static void open_device(Client *c, int flags)
{
    client_open(c, flags);
    set_up(c->ctx);
}

/* Serves a blocking context until the client leaves. */
static void *serve(void *opaque)
{
    vfu_ctx_t *ctx = opaque;

    if (vfu_attach_ctx(ctx) == 0) {
        while (vfu_run_ctx(ctx) >= 0) {
        }
    }
    return NULL;
}

/* Sends a command to a context that somebody else runs; the reply's error. */
static int ask(WireStream *s, unsigned command, const void *body, size_t len, WireMessage *reply)
{
    WireHeader h = { .id = 3, .command = (uint16_t)command };
    struct iovec iov = { (void *)body, len };
    int err = wire_stream_send(s, &h, &iov, 1, NULL, 0, WIRE_STREAM_WAIT);

    if (err == 0) {
        err = wire_stream_receive(s, reply, WIRE_STREAM_WAIT);
    }
    return err ? err : wire_header_error(&reply->header);
}

static void say_hello(WireStream *s)
{
    WireVersion v = { .minor = 1 };
    uint8_t body[WIRE_VERSION_SIZE];
    WireMessage m;

    assert_int_equal(ask(s, WIRE_VERSION, body, wire_version_encode(body, sizeof(body), &v), &m), 0);
    wire_message_clear(&m);
}

static void bump(WireStream *s, uint8_t value)
{
    WireRegionAccess a = { .offset = 16, .count = 1 }, got;
    uint8_t body[WIRE_REGION_ACCESS_SIZE + 1];
    WireMessage m;

    wire_region_access_encode(body, &a);
    body[WIRE_REGION_ACCESS_SIZE] = value;
    assert_int_equal(ask(s, WIRE_REGION_WRITE, body, sizeof(body), &m), 0);
    wire_message_clear(&m);
    assert_int_equal(ask(s, WIRE_REGION_READ, body, WIRE_REGION_ACCESS_SIZE, &m), 0);
    assert_int_equal(wire_region_read_decode_reply(&got, m.body, m.len, &a), 0);
    assert_int_equal(got.data[0], value);
    wire_message_clear(&m);
}

/* ---- pipes ---- */

/* A device on standard input and output, in a process of its own. */
static int pipe_device(int flags)
{
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_PIPE, NULL, flags, NULL, VFU_DEV_TYPE_PCI);
    int err = 0;

    if (ctx == NULL || vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0) < 0 ||
        vfu_setup_region(ctx, 0, sizeof(bar), bar_access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) < 0 ||
        vfu_realize_ctx(ctx) < 0) {
        return 2;
    }
    for (;;) {
        struct pollfd p = { .fd = vfu_get_poll_fd(ctx), .events = POLLIN };

        if ((flags & LIBVFIO_USER_FLAG_ATTACH_NB) && poll(&p, 1, 60000) != 1) {
            return 3;
        }
        if (vfu_attach_ctx(ctx) == 0) {
            break;
        }
        if (errno != EAGAIN) {
            return 4;
        }
    }
    while (err == 0) {
        struct pollfd p = { .fd = vfu_get_poll_fd(ctx), .events = POLLIN };

        if ((flags & LIBVFIO_USER_FLAG_ATTACH_NB) && poll(&p, 1, 60000) != 1) {
            return 5;
        }
        err = vfu_run_ctx(ctx) < 0 ? errno : 0;
    }
    /* One connection is all there is. */
    if (err != ENOTCONN || vfu_attach_ctx(ctx) == 0 || errno != ENOTCONN) {
        return 6;
    }
    vfu_destroy_ctx(ctx);
    return 0;
}

static void pipe_session(int flags)
{
    WireRegionAccess a = { .count = 4096 };
    uint8_t body[WIRE_REGION_ACCESS_SIZE];
    int to[2], from[2], status;
    unsigned done = 0;
    WireStream *s;
    WireMessage m;
    pid_t pid;

    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        close(to[1]);
        close(from[0]);
        _exit(pipe_device(flags));
    }
    close(to[0]);
    close(from[1]);
    s = wire_stream_new_pair(from[0], to[1], WIRE_MAX_MESSAGE, 1u << 20);
    say_hello(s);
    bump(s, 0x66);
    /* More than the pipe takes, while nobody reads. */
    wire_region_access_encode(body, &a);
    for (unsigned i = 0; i < 64; i++) {
        WireHeader h = { .id = (uint16_t)i, .command = WIRE_REGION_READ };
        struct iovec iov = { body, sizeof(body) };

        assert_int_equal(wire_stream_send(s, &h, &iov, 1, NULL, 0, WIRE_STREAM_WAIT), 0);
    }
    for (; done < 64; done++) {
        assert_int_equal(wire_stream_receive(s, &m, WIRE_STREAM_WAIT), 0);
        assert_int_equal(m.len, WIRE_REGION_ACCESS_SIZE + 4096);
        wire_message_clear(&m);
    }
    wire_stream_free(s);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void test_pipe(void **state)
{
    pipe_session(0);
    pipe_session(LIBVFIO_USER_FLAG_ATTACH_NB);
}

/* Input from a file, as fuzzers feed it: VERSION, then the end. */
static void test_pipe_from_file(void **state)
{
    uint8_t bytes[WIRE_HEADER_SIZE + WIRE_VERSION_SIZE] = { 0 };
    WireHeader h = { .command = WIRE_VERSION, .size = sizeof(bytes) };

    wire_header_encode(bytes, &h);
    for (int flags = 0; flags < 2; flags++) {
        int in = memory_file(0), out = memory_file(0), status;
        pid_t pid;

        assert_int_equal(pwrite(in, bytes, sizeof(bytes), 0), sizeof(bytes));
        pid = fork();
        if (pid == 0) {
            dup2(in, 0);
            dup2(out, 1);
            _exit(pipe_device(flags));
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_true(lseek(out, 0, SEEK_END) > (off_t)sizeof(bytes));
        close(in);
        close(out);
    }
}

/* Raw pipes: nothing blocks, nothing kills. */
static void test_pair_stream(void **state)
{
    static uint8_t big[300000];
    struct iovec iov = { big, sizeof(big) };
    WireHeader h = { .command = WIRE_REGION_WRITE };
    int to[2], from[2], fd = 0;
    WireStream *s;
    WireMessage m;

    assert_int_equal(pipe2(to, O_CLOEXEC), 0);
    assert_int_equal(pipe2(from, O_CLOEXEC), 0);
    s = wire_stream_new_pair(from[0], to[1], WIRE_MAX_MESSAGE, 1u << 20);
    assert_int_equal(wire_stream_fd(s), from[0]);
    assert_int_equal(wire_stream_out_fd(s), to[1]);
    assert_int_equal(wire_stream_receive(s, &m, 0), EAGAIN);
    assert_int_equal(wire_stream_send(s, &h, &iov, 1, &fd, 1, 0), EINVAL);
    assert_int_equal(wire_stream_send(s, &h, &iov, 1, NULL, 0, 0), 0);
    assert_true(wire_stream_queued(s) > 0);
    assert_int_equal(wire_stream_flush(s, 0), EAGAIN);
    assert_int_equal(wire_stream_poll(s, POLLIN, 0), ETIMEDOUT);
    assert_int_equal(wire_stream_poll(s, POLLIN | POLLOUT, 0), ETIMEDOUT);
    assert_true(read(to[0], big, 65536) > 0);
    assert_int_equal(wire_stream_poll(s, POLLOUT, 0), 0);
    assert_true(wire_stream_resync(s));
    assert_int_equal(write(from[1], "x", 1), 1);
    assert_false(wire_stream_resync(s));
    /* Nobody reads any more: an error, no signal. */
    close(to[0]);
    assert_int_equal(wire_stream_flush(s, 0), ENOTCONN);
    wire_stream_shutdown(s);
    assert_int_equal(wire_stream_receive(s, &m, 0), ENOTCONN);
    assert_int_equal(wire_stream_flush(s, 0), ENOTCONN);
    close(from[1]);
    wire_stream_free(s);
}

/* ---- fds that are handed over ---- */

static void test_connected_socketpair(void **state)
{
    int pair[2], bad[2];
    Client c = { 0 };

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    c.ctx = vfu_create_ctx_fd(pair[0], LIBVFIO_USER_FLAG_ATTACH_NB, &c, VFU_DEV_TYPE_PCI);
    set_up(c.ctx);
    assert_ptr_equal(vfu_get_private(c.ctx), &c);
    client_attach_fd(&c, pair[1], NULL);
    assert_int_equal(client_write(&c, 0, 0, "pair", 4), 0);
    client_hang_up(&c);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    assert_int_equal(vfu_attach_ctx(c.ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    vfu_destroy_ctx(c.ctx);
    /* Not given to anybody yet. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    c.ctx = vfu_create_ctx_fd(pair[0], 0, NULL, VFU_DEV_TYPE_PCI);
    assert_int_equal(vfu_get_poll_fd(c.ctx), pair[0]);
    vfu_destroy_ctx(c.ctx);
    close(pair[1]);

    assert_null(vfu_create_ctx_fd(-1, 0, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, EBADF);
    assert_null(vfu_create_ctx_fd(0, 2, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, EINVAL);
    assert_null(vfu_create_ctx_fd(0, 0, NULL, 1));
    assert_int_equal(errno, ENOTSUP);
    assert_int_equal(pipe(bad), 0);
    assert_null(vfu_create_ctx_fd(bad[0], 0, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, ENOTSOCK);
    close(bad[0]);
    close(bad[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
    assert_null(vfu_create_ctx_fd(pair[0], 0, NULL, VFU_DEV_TYPE_PCI));
    assert_int_equal(errno, EINVAL);
    close(pair[0]);
    close(pair[1]);
}

static void test_listening_fd(void **state)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    Client c = { 0 };

    snprintf(c.path, sizeof(c.path), "/tmp/vfu-listen-%d.sock", (int)getpid());
    unlink(c.path);
    memcpy(addr.sun_path, c.path, strlen(c.path) + 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 4), 0);
    c.ctx = vfu_create_ctx_fd(fd, LIBVFIO_USER_FLAG_ATTACH_NB, NULL, VFU_DEV_TYPE_PCI);
    set_up(c.ctx);
    for (int i = 0; i < 2; i++) {
        client_attach(&c, NULL);
        assert_int_equal(client_write(&c, 0, 0, "fd", 2), 0);
        client_hang_up(&c);
        assert_int_equal(vfu_run_ctx(c.ctx), -1);
    }
    vfu_destroy_ctx(c.ctx);
    /* The path is whose fd it was. */
    assert_int_equal(access(c.path, F_OK), 0);
    unlink(c.path);
}

/* ---- polling, batches, counters ---- */

static void test_polling(void **state)
{
    pthread_t thread;
    Client c;

    open_device(&c, 0);
    assert_int_equal(vfu_ctx_set_poll(c.ctx, VFU_POLL_MAX_US + 1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(vfu_ctx_set_poll(c.ctx, VFU_POLL_MAX_US), 0);
    assert_int_equal(vfu_realize_ctx(c.ctx), 0);
    c.stream = wire_stream_new(client_connect(&c), WIRE_MAX_MESSAGE, 1u << 20);
    assert_int_equal(pthread_create(&thread, NULL, serve, c.ctx), 0);
    say_hello(c.stream);
    for (int i = 0; i < 200; i++) {
        bump(c.stream, (uint8_t)i);
        if (i % 50 == 0) {
            usleep(2 * VFU_POLL_MAX_US);
        }
    }
    client_hang_up(&c);
    pthread_join(thread, NULL);
    client_close(&c);

    /* Without blocking: an empty socket ends the polling in the end. */
    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    assert_int_equal(vfu_ctx_set_poll(c.ctx, 1000), 0);
    client_attach(&c, NULL);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(client_write(&c, 0, 0, "a", 1), 0);
        assert_int_equal(vfu_run_ctx(c.ctx), 0);
        assert_int_equal(vfu_run_ctx(c.ctx), 0);
    }
    client_close(&c);
}

static void test_batch(void **state)
{
    uint8_t body[WIRE_REGION_ACCESS_SIZE];
    WireRegionAccess a = { .count = 4 };
    vfu_ctx_stats_t stats;
    WireMessage m;
    char bytes[4096];
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    assert_int_equal(vfu_ctx_set_batch(c.ctx, VFU_BATCH_MAX + 1), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(vfu_ctx_set_batch(c.ctx, 8), 0);
    client_attach(&c, NULL);
    wire_region_access_encode(body, &a);
    for (int i = 0; i < 20; i++) {
        client_send(&c, WIRE_REGION_READ, body, sizeof(body));
    }
    /* Eight requests, and all their replies are there at once. */
    assert_int_equal(vfu_run_ctx(c.ctx), 8);
    assert_int_equal(recv(wire_stream_fd(c.stream), bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT), 8 * 36);
    assert_int_equal(vfu_run_ctx(c.ctx), 8);
    assert_int_equal(vfu_run_ctx(c.ctx), 4);
    assert_int_equal(vfu_run_ctx(c.ctx), 0);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(wire_stream_receive(c.stream, &m, 0), 0);
        assert_int_equal(wire_header_error(&m.header), 0);
        wire_message_clear(&m);
    }
    assert_int_equal(vfu_ctx_stats(c.ctx, &stats, sizeof(stats)), 0);
    assert_int_equal(stats.commands[WIRE_REGION_READ].count, 20);
    client_close(&c);
}

static void test_batch_of_large_replies(void **state)
{
    uint8_t body[WIRE_REGION_ACCESS_SIZE];
    WireRegionAccess a = { .count = 4096 };
    unsigned sent = 200, answered = 0;
    WireMessage m;
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    assert_int_equal(vfu_ctx_set_batch(c.ctx, VFU_BATCH_MAX), 0);
    client_attach(&c, NULL);
    wire_region_access_encode(body, &a);
    for (unsigned i = 0; i < sent; i++) {
        client_send(&c, WIRE_REGION_READ, body, sizeof(body));
    }
    while (answered < sent) {
        assert_true(vfu_run_ctx(c.ctx) >= 0);
        while (wire_stream_receive(c.stream, &m, 0) == 0) {
            answered++;
            wire_message_clear(&m);
        }
    }
    /* The client leaves with a batch under way. */
    for (unsigned i = 0; i < sent; i++) {
        client_send(&c, WIRE_REGION_READ, body, sizeof(body));
    }
    client_hang_up(&c);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    assert_int_equal(errno, ENOTCONN);
    client_close(&c);
}

static void test_batch_of_a_blocking_context(void **state)
{
    pthread_t thread;
    Client c;

    open_device(&c, 0);
    assert_int_equal(vfu_ctx_set_batch(c.ctx, 16), 0);
    assert_int_equal(vfu_realize_ctx(c.ctx), 0);
    c.stream = wire_stream_new(client_connect(&c), WIRE_MAX_MESSAGE, 1u << 20);
    assert_int_equal(pthread_create(&thread, NULL, serve, c.ctx), 0);
    say_hello(c.stream);
    for (int i = 0; i < 100; i++) {
        bump(c.stream, (uint8_t)i);
    }
    client_hang_up(&c);
    pthread_join(thread, NULL);
    client_close(&c);
}

static void test_stats(void **state)
{
    vfu_ctx_stats_t s;
    struct {
        vfu_ctx_stats_t s;
        uint64_t later;
    } newer;
    uint64_t in_buckets = 0, first;
    char data[4];
    int event = eventfd(0, 0);
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    client_attach(&c, NULL);
    /* Nothing is timed before the first call, which tells how much there was. */
    assert_int_equal(client_read(&c, 0, 0, data, 4), 0);
    assert_int_equal(vfu_ctx_stats(c.ctx, &s, sizeof(s)), 0);
    assert_int_equal(s.commands[WIRE_REGION_READ].count, 1);
    assert_int_equal(s.commands[WIRE_REGION_READ].total_ns, 0);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(client_read(&c, 0, 0, data, 4), 0);
    }
    assert_int_equal(client_read(&c, 0, 4095, data, 4), EINVAL);
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, 0, 0, 1, &event, 1), 0);
    assert_int_equal(vfu_irq_trigger(c.ctx, 0), 0);
    assert_int_equal(vfu_ctx_stats(c.ctx, &s, sizeof(s)), 0);
    assert_int_equal(s.connections, 1);
    assert_int_equal(s.irqs, 1);
    assert_int_equal(s.messages_received, 13);
    assert_int_equal(s.messages_sent, 13);
    assert_int_equal(s.commands[WIRE_REGION_READ].count, 11);
    assert_int_equal(s.commands[WIRE_REGION_READ].errors, 1);
    assert_int_equal(s.commands[WIRE_REGION_READ].bytes, 10 * (32 + 36) + 32 + 16);
    assert_true(s.commands[WIRE_REGION_READ].max_ns > 0);
    assert_true(s.commands[WIRE_REGION_READ].max_ns <= s.commands[WIRE_REGION_READ].total_ns);
    for (int i = 0; i < VFU_STATS_BUCKETS; i++) {
        in_buckets += s.commands[WIRE_REGION_READ].histogram[i];
    }
    assert_int_equal(in_buckets, 10);
    /* Callers built for less, or for more, than this library knows. */
    assert_int_equal(vfu_ctx_stats(c.ctx, (vfu_ctx_stats_t *)&first, sizeof(first)), 0);
    assert_int_equal(first, 1);
    memset(&newer, 0xff, sizeof(newer));
    assert_int_equal(vfu_ctx_stats(c.ctx, &newer.s, sizeof(newer)), 0);
    assert_int_equal(newer.later, 0);
    assert_int_equal(vfu_ctx_stats(c.ctx, NULL, sizeof(s)), -1);
    assert_int_equal(vfu_ctx_stats(c.ctx, &s, 0), -1);
    assert_int_equal(vfu_ctx_stats(c.ctx, &s, 12), -1);
    assert_int_equal(errno, EINVAL);
    close(event);
    client_close(&c);
}

/* ---- interrupts ---- */

static uint64_t events_of(int fd)
{
    uint64_t n = 0;

    return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void on_state(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    masked += mask;
    unmasked += !mask;
}

static uint32_t irq_flags(Client *c, uint32_t index)
{
    WireIrqInfo info = { .index = index };
    uint8_t body[WIRE_IRQ_INFO_SIZE];
    WireMessage m;

    wire_irq_info_encode(body, &info);
    assert_int_equal(client_call(c, WIRE_GET_IRQ_INFO, body, sizeof(body), NULL, 0, &m), 0);
    assert_int_equal(wire_irq_info_decode(&info, m.body, m.len), 0);
    wire_message_clear(&m);
    return info.flags;
}

#define ASSIGN (WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD)

static void test_masked_vectors_stay_pending(void **state)
{
    int fds[2] = { eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK) };
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    masked = unmasked = 0;
    assert_int_equal(vfu_setup_irq_flags(c.ctx, VFU_DEV_MSIX_IRQ, VFU_IRQ_FLAG_MASKABLE), 0);
    assert_int_equal(vfu_setup_irq_state_callback(c.ctx, VFU_DEV_MSIX_IRQ, on_state), 0);
    assert_int_equal(vfu_setup_irq_flags(c.ctx, VFU_DEV_MSIX_IRQ, VFU_IRQ_FLAG_AUTOMASKED), -1);
    assert_int_equal(vfu_setup_irq_flags(c.ctx, VFU_DEV_ERR_IRQ, VFU_IRQ_FLAG_MASKABLE), -1);
    assert_int_equal(vfu_setup_irq_flags(c.ctx, VFU_DEV_INTX_IRQ, 4), -1);
    assert_int_equal(vfu_setup_irq_flags(c.ctx, VFU_DEV_NUM_IRQS, 0), -1);
    assert_int_equal(errno, EINVAL);
    client_attach(&c, NULL);
    assert_int_equal(irq_flags(&c, VFU_DEV_MSIX_IRQ), WIRE_IRQ_EVENTFD | WIRE_IRQ_MASKABLE);
    assert_int_equal(irq_flags(&c, VFU_DEV_INTX_IRQ), WIRE_IRQ_EVENTFD);
    assert_int_equal(client_set_irqs(&c, ASSIGN, VFU_DEV_MSIX_IRQ, 1, 2, fds, 2), 0);
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_MASK | WIRE_IRQ_DATA_NONE, VFU_DEV_MSIX_IRQ, 1, 1, NULL, 0), 0);
    assert_int_equal(vfu_irq_trigger(c.ctx, 1), 0);
    assert_int_equal(vfu_irq_trigger(c.ctx, 2), 0);
    assert_int_equal(events_of(fds[0]), 0);
    assert_int_equal(events_of(fds[1]), 1);
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_NONE, VFU_DEV_MSIX_IRQ, 0, 4, NULL, 0), 0);
    assert_int_equal(events_of(fds[0]), 1);
    assert_int_equal(events_of(fds[1]), 0);
    assert_int_equal(masked, 1);
    assert_int_equal(unmasked, 1);
    /* Replacing the eventfd keeps the mask; removing it forgets. */
    assert_int_equal(client_set_irqs(&c, WIRE_IRQ_MASK | WIRE_IRQ_DATA_NONE, VFU_DEV_MSIX_IRQ, 1, 1, NULL, 0), 0);
    assert_int_equal(client_set_irqs(&c, ASSIGN, VFU_DEV_MSIX_IRQ, 1, 1, fds, 1), 0);
    assert_int_equal(vfu_irq_trigger(c.ctx, 1), 0);
    assert_int_equal(events_of(fds[0]), 0);
    assert_int_equal(client_set_irqs(&c, ASSIGN, VFU_DEV_MSIX_IRQ, 1, 1, NULL, 0), 0);
    assert_int_equal(client_set_irqs(&c, ASSIGN, VFU_DEV_MSIX_IRQ, 1, 1, fds, 1), 0);
    assert_int_equal(vfu_irq_trigger(c.ctx, 1), 0);
    assert_int_equal(events_of(fds[0]), 1);
    close(fds[0]);
    close(fds[1]);
    client_close(&c);
}

static void intx_session(Client *c)
{
    int fd = eventfd(0, EFD_NONBLOCK), unmask = eventfd(0, EFD_NONBLOCK), file = memory_file(64), pipes[2];
    struct pollfd p = { .fd = vfu_get_poll_fd(c->ctx), .events = POLLIN };

    assert_int_equal(irq_flags(c, VFU_DEV_INTX_IRQ), WIRE_IRQ_EVENTFD | WIRE_IRQ_MASKABLE | WIRE_IRQ_AUTOMASKED);
    assert_int_equal(client_set_irqs(c, ASSIGN, VFU_DEV_INTX_IRQ, 0, 1, &fd, 1), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(vfu_irq_trigger(c->ctx, 0), 0);
    }
    /* The first signal masks; the others are one pending. */
    assert_int_equal(events_of(fd), 1);
    assert_int_equal(client_set_irqs(c, WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_NONE, VFU_DEV_INTX_IRQ, 0, 1, NULL, 0), 0);
    assert_int_equal(events_of(fd), 1);
    assert_int_equal(client_set_irqs(c, WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_NONE, VFU_DEV_INTX_IRQ, 0, 1, NULL, 0), 0);
    assert_int_equal(events_of(fd), 0);
    /* Unmasking by an eventfd. */
    unmasked = 0;
    assert_int_equal(client_set_irqs(c, WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_EVENTFD, VFU_DEV_INTX_IRQ, 0, 1, &unmask, 1), 0);
    assert_int_equal(vfu_irq_trigger(c->ctx, 0), 0);
    assert_int_equal(vfu_irq_trigger(c->ctx, 0), 0);
    assert_int_equal(events_of(fd), 1);
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(eventfd_write(unmask, 1), 0);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(vfu_run_ctx(c->ctx), 0);
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(events_of(fd), 1);
    assert_int_equal(unmasked, 1);
    assert_int_equal(client_set_irqs(c, WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_EVENTFD, VFU_DEV_INTX_IRQ, 0, 1, NULL, 0), 0);
    assert_int_equal(eventfd_write(unmask, 1), 0);
    assert_int_equal(poll(&p, 1, 0), 0);
    /* What is no eventfd, what nobody would read. */
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(client_set_irqs(c, WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_EVENTFD, VFU_DEV_INTX_IRQ, 0, 1, pipes, 1), EINVAL);
    assert_int_equal(client_set_irqs(c, WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_EVENTFD, VFU_DEV_INTX_IRQ, 0, 1, &file, 1), EINVAL);
    assert_int_equal(client_set_irqs(c, WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_EVENTFD, VFU_DEV_MSIX_IRQ, 0, 1, &unmask, 1),
                     ENOTSUP);
    assert_int_equal(client_set_irqs(c, WIRE_IRQ_MASK | WIRE_IRQ_DATA_EVENTFD, VFU_DEV_INTX_IRQ, 0, 1, &unmask, 1), ENOTSUP);
    assert_int_equal(client_set_irqs(c, WIRE_IRQ_MASK | WIRE_IRQ_DATA_EVENTFD, VFU_DEV_INTX_IRQ, 0, 1, NULL, 0), 0);
    assert_int_equal(client_set_irqs(c, WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_EVENTFD, VFU_DEV_MSIX_IRQ, 0, 1, NULL, 0), 0);
    /* Leaves one behind that goes with the connection. */
    assert_int_equal(client_set_irqs(c, WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_EVENTFD, VFU_DEV_INTX_IRQ, 0, 1, &unmask, 1), 0);
    close(pipes[0]);
    close(pipes[1]);
    close(file);
    close(fd);
    close(unmask);
}

static void test_intx_automask(void **state)
{
    Client c;

    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    assert_int_equal(vfu_setup_irq_flags(c.ctx, VFU_DEV_INTX_IRQ, VFU_IRQ_FLAG_AUTOMASKED), 0);
    assert_int_equal(vfu_setup_irq_state_callback(c.ctx, VFU_DEV_INTX_IRQ, on_state), 0);
    for (int i = 0; i < 2; i++) {
        client_attach(&c, NULL);
        intx_session(&c);
        client_hang_up(&c);
        assert_int_equal(vfu_run_ctx(c.ctx), -1);
        assert_int_equal(errno, ENOTCONN);
    }
    client_close(&c);
}

/* A blocking context sleeps for both the socket and the eventfd. */
static void test_unmask_of_a_blocking_context(void **state)
{
    uint8_t body[WIRE_SET_IRQS_SIZE];
    WireSetIrqs s = { .flags = ASSIGN, .index = VFU_DEV_INTX_IRQ, .count = 1 };
    int fd = eventfd(0, 0), unmask = eventfd(0, EFD_NONBLOCK);
    WireHeader h = { .command = WIRE_SET_IRQS };
    struct iovec iov = { body, sizeof(body) };
    struct pollfd p = { .fd = fd, .events = POLLIN };
    pthread_t thread;
    WireMessage m;
    Client c;

    open_device(&c, 0);
    assert_int_equal(vfu_setup_irq_flags(c.ctx, VFU_DEV_INTX_IRQ, VFU_IRQ_FLAG_AUTOMASKED), 0);
    assert_int_equal(vfu_ctx_set_poll(c.ctx, 50), 0);
    assert_int_equal(vfu_realize_ctx(c.ctx), 0);
    c.stream = wire_stream_new(client_connect(&c), WIRE_MAX_MESSAGE, 1u << 20);
    assert_int_equal(pthread_create(&thread, NULL, serve, c.ctx), 0);
    say_hello(c.stream);
    for (int i = 0; i < 2; i++) {
        wire_set_irqs_encode(body, &s);
        assert_int_equal(wire_stream_send(c.stream, &h, &iov, 1, i ? &unmask : &fd, 1, WIRE_STREAM_WAIT), 0);
        assert_int_equal(wire_stream_receive(c.stream, &m, WIRE_STREAM_WAIT), 0);
        assert_int_equal(wire_header_error(&m.header), 0);
        wire_message_clear(&m);
        s.flags = WIRE_IRQ_UNMASK | WIRE_IRQ_DATA_EVENTFD;
    }
    assert_int_equal(vfu_irq_trigger(c.ctx, 0), 0);
    assert_int_equal(vfu_irq_trigger(c.ctx, 0), 0);
    assert_int_equal(events_of(fd), 1);
    assert_int_equal(eventfd_write(unmask, 1), 0);
    assert_int_equal(poll(&p, 1, 30000), 1);
    bump(c.stream, 9);
    client_hang_up(&c);
    pthread_join(thread, NULL);
    close(fd);
    close(unmask);
    client_close(&c);
}

/* ---- ioregionfd ---- */

static void test_io_fds_of_each_kind(void **state)
{
    int event = eventfd(0, 0), shadow = memory_file(4096), pair[2];
    uint8_t body[WIRE_IO_FDS_SIZE];
    WireIoFds f = { .argsz = 4096 };
    uint32_t entries;
    WireIoFd e;
    WireMessage m;
    Client c;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    open_device(&c, LIBVFIO_USER_FLAG_ATTACH_NB);
    assert_int_equal(vfu_create_ioeventfd(c.ctx, 0, event, 0, 4, 1, 7, -1, 0), 0);
    assert_int_equal(vfu_create_ioeventfd(c.ctx, 0, event, 8, 4, 0, 0, shadow, 64), 0);
    assert_int_equal(vfu_create_ioeventfd(c.ctx, 0, pair[0], 16, 32, VFU_IOEVENTFD_FLAG_IOREGIONFD | 2, 0xabcd, -1, 0), 0);
    assert_int_equal(vfu_create_ioeventfd(c.ctx, 0, -1, 16, 32, VFU_IOEVENTFD_FLAG_IOREGIONFD, 0, -1, 0), -1);
    assert_int_equal(vfu_create_ioeventfd(c.ctx, 0, event, 16, 32, VFU_IOEVENTFD_FLAG_IOREGIONFD, 0, shadow, 0), -1);
    assert_int_equal(vfu_create_ioeventfd(c.ctx, 9, event, 0, 4, 0, 0, -1, 0), -1);
    assert_int_equal(vfu_create_ioeventfd(c.ctx, 0, event, SIZE_MAX - 1, 4, 0, 0, -1, 0), -1);
    assert_int_equal(vfu_create_ioeventfd(c.ctx, 0, event, 4094, 4, 0, 0, -1, 0), -1);
    assert_int_equal(errno, EINVAL);
    client_attach(&c, "{\"capabilities\":{\"max_msg_fds\":8}}");
    wire_io_fds_encode(body, &f);
    assert_int_equal(client_call(&c, WIRE_GET_REGION_IO_FDS, body, sizeof(body), NULL, 0, &m), 0);
    assert_int_equal(wire_io_fds_decode_reply(&f, m.body, m.len, &entries), 0);
    assert_int_equal(entries, 3);
    assert_int_equal(m.fd_count, 3);
    assert_int_equal(wire_io_fd_decode(&e, &f, m.body, m.len, 0), 0);
    assert_int_equal(e.type, WIRE_IO_FD_IOREGIONFD);
    assert_int_equal(e.flags, 2);
    assert_int_equal(e.datamatch, 0xabcd);
    assert_int_equal(wire_io_fd_decode(&e, &f, m.body, m.len, 1), 0);
    assert_int_equal(e.type, WIRE_IO_FD_SHADOW);
    assert_int_equal(e.shadow_offset, 64);
    assert_int_equal(wire_io_fd_decode(&e, &f, m.body, m.len, 2), 0);
    assert_int_equal(e.type, WIRE_IO_FD_IOEVENTFD);
    wire_message_clear(&m);
    close(event);
    close(shadow);
    close(pair[0]);
    close(pair[1]);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_pipe_from_file),
        cmocka_unit_test(test_pair_stream),
        cmocka_unit_test(test_connected_socketpair),
        cmocka_unit_test(test_listening_fd),
        cmocka_unit_test(test_polling),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_batch_of_large_replies),
        cmocka_unit_test(test_batch_of_a_blocking_context),
        cmocka_unit_test(test_stats),
        cmocka_unit_test(test_masked_vectors_stay_pending),
        cmocka_unit_test(test_intx_automask),
        cmocka_unit_test(test_unmask_of_a_blocking_context),
        cmocka_unit_test(test_io_fds_of_each_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
