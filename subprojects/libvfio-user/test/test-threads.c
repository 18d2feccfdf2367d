/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Contexts in several threads, and what the header allows from any thread within one: triggering interrupts, scatter lists,
 * marking pages, counters.  Built a second time with the thread sanitizer, library and all.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "client.h"

#define CONTEXTS 4
#define ROUNDS   150

typedef struct Device {
    vfu_ctx_t *ctx;
    pthread_t server, client, worker;
    int client_fd, memory, event;
    atomic_bool mapped;         /* the worker may use the client's memory */
    atomic_bool done, stopped;
    atomic_uint errors, accesses;
    uint8_t bar[64];
} Device;

static ssize_t bar_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    Device *d = vfu_get_private(ctx);

    memcpy(is_write ? (void *)(d->bar + offset) : buf, is_write ? buf : (void *)(d->bar + offset), count);
    return (ssize_t)count;
}

/* The worker has to be out of the client's memory before that goes. */
static int quiesce(vfu_ctx_t *ctx)
{
    Device *d = vfu_get_private(ctx);

    while (atomic_load(&d->mapped) && !atomic_load(&d->stopped)) {
        usleep(100);
    }
    return 0;
}

/* Even numbered devices block, odd ones poll. */
static void *serve(void *opaque)
{
    Device *d = opaque;

    while (vfu_attach_ctx(d->ctx) < 0) {
        struct pollfd p = { .fd = vfu_get_poll_fd(d->ctx), .events = POLLIN };

        poll(&p, 1, 1000);
    }
    while (vfu_run_ctx(d->ctx) >= 0) {
        struct pollfd p = { .fd = vfu_get_poll_fd(d->ctx), .events = POLLIN };

        poll(&p, 1, 1000);
    }
    return NULL;
}

static void *work(void *opaque)
{
    Device *d = opaque;
    uint64_t sg[5], total = 0;
    struct iovec iov;
    vfu_ctx_stats_t stats;

    while (!atomic_load(&d->done)) {
        vfu_irq_trigger(d->ctx, 1);
        if (vfu_ctx_stats(d->ctx, &stats, sizeof(stats)) < 0 || stats.messages_received < total) {
            atomic_fetch_add(&d->errors, 1);
        }
        total = stats.messages_received;
        if (!atomic_load(&d->mapped)) {
            continue;
        }
        if (vfu_addr_to_sgl(d->ctx, (void *)0x1000, 16, (dma_sg_t *)sg, 1, PROT_WRITE) != 1 ||
            vfu_sgl_get(d->ctx, (dma_sg_t *)sg, &iov, 1, 0) < 0) {
            atomic_fetch_add(&d->errors, 1);
            continue;
        }
        memset(iov.iov_base, 1, iov.iov_len);
        vfu_sgl_mark_dirty(d->ctx, (dma_sg_t *)sg, 1);
        vfu_sgl_put(d->ctx, (dma_sg_t *)sg, &iov, 1);
        atomic_fetch_add(&d->accesses, 1);
    }
    atomic_store(&d->stopped, true);
    return NULL;
}

static void ask(Device *d, WireStream *s, unsigned command, const void *body, size_t len, int fd)
{
    WireHeader h = { .command = (uint16_t)command };
    struct iovec iov = { (void *)body, len };
    WireMessage m = { 0 };

    if (wire_stream_send(s, &h, &iov, 1, &fd, fd >= 0, WIRE_STREAM_WAIT) ||
        wire_stream_receive(s, &m, WIRE_STREAM_WAIT) || wire_header_error(&m.header)) {
        atomic_fetch_add(&d->errors, 1);
    }
    wire_message_clear(&m);
}

static void *use(void *opaque)
{
    Device *d = opaque;
    WireStream *s = wire_stream_new(d->client_fd, WIRE_MAX_MESSAGE, 1u << 20);
    WireDmaMap map = { .flags = 3, .address = 0x1000, .size = 0x1000 };
    WireSetIrqs irqs = { .flags = WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, .index = VFU_DEV_MSIX_IRQ, .start = 1, .count = 1 };
    WireRegionAccess a = { .count = 8 };
    WireVersion v = { .minor = 1 };
    uint8_t body[64] = { 0 };

    ask(d, s, WIRE_VERSION, body, wire_version_encode(body, sizeof(body), &v), -1);
    ask(d, s, WIRE_DMA_MAP, body, wire_dma_map_encode(body, &map), d->memory);
    atomic_store(&d->mapped, true);
    for (int i = 0; i < ROUNDS; i++) {
        ask(d, s, WIRE_REGION_WRITE, body, wire_region_access_encode(body, &a) + a.count, -1);
        ask(d, s, WIRE_SET_IRQS, body, wire_set_irqs_encode(body, &irqs), i % 2 ? d->event : -1);
    }
    while (atomic_load(&d->accesses) == 0 && atomic_load(&d->errors) == 0) {
        usleep(100);
    }
    atomic_store(&d->done, true);
    pthread_join(d->worker, NULL);
    wire_stream_free(s);
    return NULL;
}

static void open_device(Device *d, int flags)
{
    int pair[2];

    *d = (Device){ .memory = memory_file(0x1000), .event = eventfd(0, EFD_NONBLOCK) };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    d->client_fd = pair[1];
    d->ctx = vfu_create_ctx_fd(pair[0], flags, d, VFU_DEV_TYPE_PCI);
    assert_non_null(d->ctx);
    assert_int_equal(vfu_pci_init(d->ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0), 0);
    assert_int_equal(vfu_setup_region(d->ctx, 0, 64, bar_access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0), 0);
    assert_int_equal(vfu_setup_device_nr_irqs(d->ctx, VFU_DEV_MSIX_IRQ, 2), 0);
    assert_int_equal(vfu_setup_device_dma(d->ctx, 4, NULL, NULL), 0);
    vfu_setup_device_quiesce_cb(d->ctx, quiesce);
    assert_int_equal(vfu_realize_ctx(d->ctx), 0);
}

static void test_contexts_in_threads(void **state)
{
    static Device devices[CONTEXTS];

    for (int i = 0; i < CONTEXTS; i++) {
        open_device(&devices[i], i % 2 ? LIBVFIO_USER_FLAG_ATTACH_NB : 0);
        assert_int_equal(vfu_ctx_set_poll(devices[i].ctx, i < 2 ? 0 : 20), 0);
    }
    for (int i = 0; i < CONTEXTS; i++) {
        Device *d = &devices[i];

        assert_int_equal(pthread_create(&d->server, NULL, serve, d), 0);
        assert_int_equal(pthread_create(&d->worker, NULL, work, d), 0);
        assert_int_equal(pthread_create(&d->client, NULL, use, d), 0);
    }
    for (int i = 0; i < CONTEXTS; i++) {
        Device *d = &devices[i];

        pthread_join(d->client, NULL);
        pthread_join(d->server, NULL);
        assert_int_equal(d->errors, 0);
        assert_true(d->accesses > 0);
        vfu_destroy_ctx(d->ctx);
        close(d->memory);
        close(d->event);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contexts_in_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
