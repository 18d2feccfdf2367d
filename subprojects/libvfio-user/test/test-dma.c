/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA and migration of the server library seen from its socket: maps, scatter lists, messages, dirty pages, states. */
#include "client.h"

#include <pthread.h>

static int registered, unregistered, transitions;
static vfu_dma_info_t last_info;

static void on_register(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    registered++;
    last_info = *info;
}

static void on_unregister(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    unregistered++;
}

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    transitions++;
    return 0;
}

static ssize_t on_read_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    memset(buf, 0x5a, count < 3 ? count : 3);
    return count < 3 ? (ssize_t)count : 3;
}

static ssize_t on_write_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    return (ssize_t)count;
}

static void open_device(Client *c, const char *json)
{
    const vfu_migration_callbacks_t callbacks = {
        .version = VFU_MIGR_CALLBACKS_VERS,
        .transition = on_transition,
        .read_data = on_read_data,
        .write_data = on_write_data,
    };

    registered = unregistered = transitions = 0;
    client_open(c, LIBVFIO_USER_FLAG_ATTACH_NB);
    assert_int_equal(vfu_setup_device_dma(c->ctx, 2000, on_register, on_unregister), 0);
    assert_int_equal(vfu_setup_device_migration_callbacks(c->ctx, &callbacks), 0);
    client_attach(c, json);
}

static vfu_dma_addr_t at(uint64_t iova)
{
    return (vfu_dma_addr_t)(uintptr_t)iova;
}

static void test_map(void **state)
{
    int fd = memory_file(0x4000);
    dma_sg_t *sg = calloc(4, dma_sg_size());
    struct iovec iov[4];
    Client c;

    assert_int_equal(dma_sg_size(), 40);
    assert_int_equal(pwrite(fd, "hello", 5, 0x1234), 5);
    open_device(&c, NULL);
    assert_int_equal(client_map(&c, 0x10000, 0x1000, 3, fd, 0x1234), 0);
    assert_int_equal(registered, 1);
    assert_memory_equal(last_info.vaddr, "hello", 5);
    assert_int_equal((uintptr_t)last_info.mapping.iov_base % 4096, 0);
    assert_int_equal(last_info.mapping.iov_len, 0x2000);
    ((char *)last_info.vaddr)[0xfff] = 1;
    assert_int_equal(client_map(&c, 0x10000, 0x1000, 3, fd, 0x1234), EEXIST);
    assert_int_equal(client_map(&c, 0xf000, 0x1001, 3, fd, 0), EEXIST);
    assert_int_equal(client_map(&c, 0x10fff, 0x10, 3, fd, 0), EEXIST);
    assert_int_equal(client_map(&c, 0x20000, 0, 3, fd, 0), EINVAL);
    assert_int_equal(client_map(&c, 0x20000, (8ull << 40) + 1, 3, fd, 0), ENOSPC);
    assert_int_equal(client_map(&c, UINT64_MAX - 10, 0x1000, 3, -1, 0), EINVAL);
    assert_int_equal(client_map(&c, 0x20000, 0x1000, 16, fd, 0), EINVAL);
    assert_int_equal(client_map(&c, 0x20000, 0x1000, WIRE_DMA_MMAP | 3, -1, 0), EINVAL);
    assert_int_equal(registered, 1);
    assert_int_equal(client_map(&c, 0x11000, 0x1000, 1, fd, 0), 0);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0x10f00), 0x200, sg, 4, PROT_READ), 2);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0x10f00), 0x200, sg, 1, PROT_READ), -3);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0x10f00), 0x200, sg, 4, PROT_WRITE), -1);
    assert_int_equal(errno, EACCES);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0x11f00), 0x200, sg, 4, PROT_READ), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0x10000), 5, sg, 4, PROT_READ), 1);
    assert_int_equal(vfu_sgl_get(c.ctx, sg, iov, 1, 0), 0);
    assert_memory_equal(iov[0].iov_base, "hello", 5);
    vfu_sgl_put(c.ctx, sg, iov, 1);
    memset(sg, 0, dma_sg_size());
    assert_int_equal(vfu_sgl_get(c.ctx, sg, iov, 1, 0), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(client_unmap(&c, 0x10000, 0x800, 0), ENOENT);
    assert_int_equal(client_unmap(&c, 0x10000, 0x1000, 0), 0);
    assert_int_equal(unregistered, 1);
    assert_int_equal(client_unmap(&c, 1, 0, WIRE_UNMAP_ALL), EINVAL);
    assert_int_equal(client_unmap(&c, 0, 0, WIRE_UNMAP_ALL), 0);
    assert_int_equal(unregistered, 2);
    free(sg);
    close(fd);
    client_close(&c);
}

static void test_many_regions(void **state)
{
    dma_sg_t *sg = calloc(2, dma_sg_size());
    uint32_t order[2000];
    Client c;

    open_device(&c, NULL);
    srand(1);
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t j = (uint32_t)rand() % (i + 1);

        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t i = 0; i < 2000; i++) {
        assert_int_equal(client_map(&c, order[i] * 0x2000ull, 0x1000, 3, -1, 0), 0);
    }
    assert_int_equal(client_map(&c, 0x1000, 0x1000, 3, -1, 0), EINVAL);
    for (uint32_t i = 0; i < 2000; i++) {
        assert_int_equal(vfu_addr_to_sgl(c.ctx, at(i * 0x2000ull + 0xfff), 1, sg, 1, PROT_WRITE), 1);
        assert_int_equal(vfu_addr_to_sgl(c.ctx, at(i * 0x2000ull + 0x1000), 1, sg, 1, PROT_WRITE), -1);
    }
    for (uint32_t i = 0; i < 2000; i += 2) {
        assert_int_equal(client_unmap(&c, order[i] * 0x2000ull, 0x1000, 0), 0);
    }
    for (uint32_t i = 0; i < 2000; i++) {
        assert_int_equal(vfu_addr_to_sgl(c.ctx, at(order[i] * 0x2000ull), 1, sg, 1, PROT_READ), i % 2 ? 1 : -1);
    }
    client_hang_up(&c);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    assert_int_equal(unregistered, 2000);
    free(sg);
    client_close(&c);
}

/* The client's side of messages: answers `replies` requests out of memory, after sending a command in between. */
typedef struct Responder {
    Client *c;
    unsigned replies;
    int error;
    uint8_t memory[0x4000];
    uint64_t largest;
} Responder;

static void *respond(void *opaque)
{
    Responder *r = opaque;
    WireStream *dma = r->c->twin ? r->c->twin : r->c->stream;
    WireHeader reset = { .id = 99, .command = WIRE_RESET };

    wire_stream_send(r->c->stream, &reset, NULL, 0, NULL, 0, WIRE_STREAM_WAIT);
    for (unsigned i = 0; i < r->replies; i++) {
        uint8_t head[WIRE_DMA_ACCESS_SIZE];
        struct iovec iov[2] = { { head, sizeof(head) } };
        WireDmaAccess a;
        WireMessage m;
        WireHeader h;

        wire_stream_receive(dma, &m, WIRE_STREAM_WAIT);
        h = (WireHeader){ .id = m.header.id, .command = m.header.command, .flags = WIRE_TYPE_REPLY };
        if (m.header.command == WIRE_DMA_READ) {
            wire_dma_read_decode(&a, m.body, m.len, sizeof(r->memory));
            iov[1] = (struct iovec){ r->memory + a.address, a.count };
        } else {
            wire_dma_write_decode(&a, m.body, m.len, sizeof(r->memory));
            memcpy(r->memory + a.address, a.data, a.count);
            iov[1] = (struct iovec){ NULL, 0 };
        }
        r->largest = a.count > r->largest ? a.count : r->largest;
        wire_dma_access_encode(head, &a);
        if (r->error) {
            h.flags |= WIRE_ERROR;
            h.error = (uint32_t)r->error;
        }
        wire_stream_send(dma, &h, iov, r->error ? 0 : 2, NULL, 0, WIRE_STREAM_WAIT);
        wire_message_clear(&m);
    }
    return NULL;
}

static void test_messages(void **state)
{
    Responder *r = calloc(1, sizeof(*r));
    dma_sg_t *sg = calloc(1, dma_sg_size());
    uint8_t data[0x1801];
    pthread_t thread;
    WireMessage m;
    Client c;

    open_device(&c, "{\"capabilities\":{\"max_data_xfer_size\":4096}}");
    assert_int_equal(client_map(&c, 0, 0x4000, 3, -1, 0), 0);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0x801), sizeof(data), sg, 1, PROT_WRITE), 1);
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)(i * 7);
    }
    r->c = &c;
    r->replies = 4;
    pthread_create(&thread, NULL, respond, r);
    assert_int_equal(vfu_sgl_write(c.ctx, sg, 1, data, 0), 0);
    assert_memory_equal(r->memory + 0x801, data, sizeof(data));
    memset(data, 0, sizeof(data));
    assert_int_equal(vfu_sgl_read(c.ctx, sg, 1, data, 0), 0);
    assert_memory_equal(r->memory + 0x801, data, sizeof(data));
    pthread_join(thread, NULL);
    assert_int_equal(r->largest, 4096);
    /* The command that came in between is served now, and no reply was taken for another. */
    assert_int_equal(vfu_run_ctx(c.ctx), 1);
    assert_int_equal(wire_stream_receive(c.stream, &m, WIRE_STREAM_WAIT), 0);
    assert_int_equal(m.header.id, 99);
    wire_message_clear(&m);
    r->error = EPERM;
    r->replies = 1;
    pthread_create(&thread, NULL, respond, r);
    assert_int_equal(vfu_sgl_read(c.ctx, sg, 1, data, 0), -1);
    assert_int_equal(errno, EPERM);
    pthread_join(thread, NULL);
    assert_int_equal(vfu_sgl_read(c.ctx, sg, 2, data, 0), -1);
    assert_int_equal(errno, ENOTSUP);
    assert_int_equal(vfu_sgl_read(c.ctx, sg, 1, data, 2), -1);
    assert_int_equal(errno, EINVAL);
    client_hang_up(&c);
    assert_int_equal(vfu_sgl_read(c.ctx, sg, 1, data, 0), -1);
    assert_int_equal(errno, ENOTCONN);
    free(sg);
    free(r);
    client_close(&c);
}

/* What the client sends is there before the device asks; the errno of a read that meets it. */
static int read_after(WireHeader *h, const void *body, size_t len, const int *fds, unsigned fd_count, unsigned times)
{
    dma_sg_t *sg = calloc(1, dma_sg_size());
    struct iovec iov = { (void *)body, len };
    uint8_t data[16];
    int err;
    Client c;

    open_device(&c, NULL);
    assert_int_equal(client_map(&c, 0, 0x1000, 3, -1, 0), 0);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0), sizeof(data), sg, 1, PROT_READ), 1);
    for (unsigned i = 0; i < times; i++) {
        assert_int_equal(wire_stream_send(c.stream, h, &iov, 1, fds, fd_count, WIRE_STREAM_WAIT), 0);
    }
    assert_int_equal(vfu_sgl_read(c.ctx, sg, 1, data, 0), -1);
    err = errno;
    /* Only an answer that is complete and wrong in itself leaves the connection in order. */
    if (err == EINVAL) {
        assert_int_equal(vfu_run_ctx(c.ctx), 0);
    } else {
        while (vfu_run_ctx(c.ctx) >= 0) {
        }
        assert_int_equal(errno, ENOTCONN);
    }
    free(sg);
    client_close(&c);
    return err;
}

static void test_replies_that_are_none(void **state)
{
    WireHeader h = { .command = WIRE_DMA_READ, .flags = WIRE_TYPE_REPLY };
    WireDmaAccess a = { .count = 15 };
    uint8_t body[WIRE_DMA_ACCESS_SIZE + 16] = { 0 };
    int fds[200], fd = eventfd(0, 0);

    /* Another message's id, another command's reply. */
    h.id = 0x1234;
    assert_int_equal(read_after(&h, body, sizeof(body), NULL, 0, 1), EPROTO);
    h.id = 0;
    h.command = WIRE_DMA_WRITE;
    assert_int_equal(read_after(&h, body, sizeof(body), NULL, 0, 1), EPROTO);
    /* Fewer bytes than were asked for; no body at all; another address. */
    h.command = WIRE_DMA_READ;
    wire_dma_access_encode(body, &a);
    assert_int_equal(read_after(&h, body, WIRE_DMA_ACCESS_SIZE + 15, NULL, 0, 1), EINVAL);
    assert_int_equal(read_after(&h, body, 0, NULL, 0, 1), EINVAL);
    a = (WireDmaAccess){ .address = 1, .count = 16 };
    wire_dma_access_encode(body, &a);
    assert_int_equal(read_after(&h, body, sizeof(body), NULL, 0, 1), EINVAL);
    /* An error that no errno is. */
    h.flags |= WIRE_ERROR;
    h.error = 100000;
    assert_int_equal(read_after(&h, NULL, 0, NULL, 0, 1), EINVAL);
    /* Commands that are put aside take their descriptors along, but not without end. */
    h = (WireHeader){ .command = WIRE_SET_IRQS };
    for (unsigned i = 0; i < 200; i++) {
        fds[i] = fd;
    }
    assert_int_equal(read_after(&h, body, sizeof(body), fds, 200, 3), ENOBUFS);
    close(fd);
}

static void test_twin_socket(void **state)
{
    Responder *r = calloc(1, sizeof(*r));
    dma_sg_t *sg = calloc(1, dma_sg_size());
    pthread_t thread;
    char data[8];
    Client c;

    open_device(&c, "{\"capabilities\":{\"max_msg_fds\":1,\"twin_socket\":{\"supported\":true}}}");
    assert_non_null(c.twin);
    assert_int_equal(client_map(&c, 0, 0x4000, 3, -1, 0), 0);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0x100), 8, sg, 1, PROT_READ), 1);
    r->c = &c;
    r->replies = 1;
    memcpy(r->memory + 0x100, "twinned", 8);
    pthread_create(&thread, NULL, respond, r);
    assert_int_equal(vfu_sgl_read(c.ctx, sg, 1, data, 0), 0);
    pthread_join(thread, NULL);
    assert_string_equal(data, "twinned");
    assert_int_equal(vfu_run_ctx(c.ctx), 1);
    assert_int_equal(vfu_sgl_write(c.ctx, sg, 1, data, 0), -1);
    assert_int_equal(errno, EPERM);
    free(sg);
    free(r);
    client_close(&c);
}

static void test_truncated_file(void **state)
{
    dma_sg_t *sg = calloc(1, dma_sg_size());
    int fd = memory_file(0x1000);
    char data[16] = "0123456789abcde";
    Client c;

    open_device(&c, NULL);
    assert_int_equal(client_map(&c, 0, 0x1000, 3, fd, 0), 0);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0), 16, sg, 1, PROT_WRITE), 1);
    assert_int_equal(vfu_sgl_write(c.ctx, sg, 1, data, VFU_SGL_DIRECT_ACCESS), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(vfu_sgl_read(c.ctx, sg, 1, data, VFU_SGL_DIRECT_ACCESS), -1);
    assert_int_equal(errno, EIO);
    close(fd);
    free(sg);
    client_close(&c);
}

/* DMA_LOGGING_REPORT; bitmap of the answer to bits (8 bytes). */
static int report(Client *c, uint64_t iova, uint64_t length, uint64_t page_size, uint64_t *bits)
{
    WireLogReport r = { iova, length, page_size };
    uint8_t data[WIRE_LOG_REPORT_SIZE], body[64];
    WireFeature f = {
        .argsz = 4096,
        .flags = WIRE_FEATURE_GET | WIRE_FEATURE_LOG_REPORT,
        .data = data,
        .data_len = sizeof(data),
    };
    WireMessage reply;
    int err;

    wire_log_report_encode(data, &r);
    err = client_call(c, WIRE_DEVICE_FEATURE, body, wire_feature_encode(body, &f), NULL, 0, &reply);
    if (err == 0) {
        memcpy(bits, reply.body + 32, 8);
    }
    wire_message_clear(&reply);
    return err;
}

static int log_start(Client *c, uint64_t page_size)
{
    uint8_t data[WIRE_LOG_START_SIZE], body[32];
    WireFeature f = {
        .argsz = WIRE_FEATURE_SIZE + sizeof(data),
        .flags = WIRE_FEATURE_SET | WIRE_FEATURE_LOG_START,
        .data = data,
        .data_len = sizeof(data),
    };

    wire_log_start_encode(data, page_size, 0);
    return client_do(c, WIRE_DEVICE_FEATURE, body, wire_feature_encode(body, &f));
}

static void test_dirty_pages(void **state)
{
    dma_sg_t *sg = calloc(1, dma_sg_size());
    int fd = memory_file(0x10000);
    uint64_t bits;
    Client c;

    open_device(&c, NULL);
    assert_int_equal(client_map(&c, 0, 0x8000, 3, fd, 0), 0);
    assert_int_equal(client_map(&c, 0x8000, 0x8000, 3, fd, 0x8000), 0);
    assert_int_equal(report(&c, 0, 0x8000, 4096, &bits), EINVAL);
    assert_int_equal(log_start(&c, 1), EINVAL);
    assert_int_equal(log_start(&c, 3000), EINVAL);
    assert_false(vfu_ctx_dirty_logging(c.ctx));
    assert_int_equal(log_start(&c, 4096), 0);
    assert_int_equal(log_start(&c, 8192), EINVAL);
    assert_true(vfu_ctx_dirty_logging(c.ctx));
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0x2fff), 2, sg, 1, PROT_WRITE), 1);
    vfu_sgl_put(c.ctx, sg, NULL, 1);
    assert_int_equal(report(&c, 0x1000, 0x1000, 4096, &bits), ENOTSUP);
    assert_int_equal(report(&c, 0x20000, 0x1000, 4096, &bits), ENOENT);
    assert_int_equal(report(&c, 0, 0x20000, 4096, &bits), ENOENT);
    assert_int_equal(report(&c, 0, 0x8000, 4096, &bits), 0);
    assert_int_equal(bits, 0xc);
    assert_int_equal(report(&c, 0, 0x8000, 4096, &bits), 0);
    assert_int_equal(bits, 0);
    /* Finer, coarser, over two regions, and a part that leaves the rest. */
    vfu_sgl_mark_dirty(c.ctx, sg, 1);
    assert_int_equal(report(&c, 0, 0x8000, 1024, &bits), 0);
    assert_int_equal(bits, 0xff00);
    assert_int_equal(vfu_addr_to_sgl(c.ctx, at(0x9000), 1, sg, 1, PROT_WRITE), 1);
    vfu_sgl_mark_dirty(c.ctx, sg, 1);
    assert_int_equal(report(&c, 0, 0x10000, 8192, &bits), 0);
    assert_int_equal(bits, 0x10);
    vfu_sgl_mark_dirty(c.ctx, sg, 1);
    assert_int_equal(report(&c, 0x8000, 0x1000, 4096, &bits), 0);
    assert_int_equal(bits, 0);
    assert_int_equal(report(&c, 0x8000, 0x8000, 4096, &bits), 0);
    assert_int_equal(bits, 2);
    close(fd);
    free(sg);
    client_close(&c);
}

static void test_states(void **state)
{
    static const struct {
        uint32_t to;
        int err, steps;
    } walk[] = {
        { WIRE_STATE_RUNNING, 0, 0 },       { WIRE_STATE_STOP_COPY, 0, 2 },      { WIRE_STATE_PRE_COPY, EINVAL, 0 },
        { WIRE_STATE_ERROR, EINVAL, 0 },    { WIRE_STATE_RESUMING, 0, 2 },       { WIRE_STATE_PRE_COPY, 0, 3 },
        { WIRE_STATE_STOP, 0, 2 },          { WIRE_STATE_RUNNING_P2P, EINVAL, 0 }, { 8, EINVAL, 0 },
        { UINT32_MAX, EINVAL, 0 },
    };
    uint8_t body[16], got[4];
    WireMigData data = { .argsz = 16, .size = 8 };
    uint32_t short_feature[2] = { 8, WIRE_FEATURE_SET | WIRE_FEATURE_MIG_STATE };
    WireInfo info = { 0 };
    WireMessage reply;
    Client c;

    open_device(&c, NULL);
    for (size_t i = 0; i < sizeof(walk) / sizeof(walk[0]); i++) {
        transitions = 0;
        assert_int_equal(client_set_state(&c, walk[i].to), walk[i].err);
        assert_int_equal(transitions, walk[i].steps);
    }
    assert_int_equal(client_do(&c, WIRE_DEVICE_FEATURE, short_feature, 8), EINVAL);
    assert_int_equal(client_do(&c, WIRE_GET_INFO, body, wire_info_encode(body, &info) / 2), EINVAL);
    assert_int_equal(client_read(&c, 7, 0, got, 4), 0);
    wire_mig_data_encode(body, &data);
    assert_int_equal(client_do(&c, WIRE_MIG_DATA_READ, body, 8), EINVAL);
    assert_int_equal(client_set_state(&c, WIRE_STATE_STOP_COPY), 0);
    assert_int_equal(client_read(&c, 7, 0, got, 4), EINVAL);
    assert_int_equal(client_call(&c, WIRE_MIG_DATA_READ, body, 8, NULL, 0, &reply), 0);
    assert_int_equal(reply.len, 16);
    assert_memory_equal(reply.body + 4, "\x03\0\0\0\x5a\x5a\x5a\0", 8);
    wire_message_clear(&reply);
    /* The next client finds a running device. */
    client_hang_up(&c);
    assert_int_equal(vfu_run_ctx(c.ctx), -1);
    client_attach(&c, NULL);
    assert_int_equal(client_map(&c, 0, 0x1000, 3, -1, 0), 0);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_many_regions),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_replies_that_are_none),
        cmocka_unit_test(test_twin_socket),
        cmocka_unit_test(test_truncated_file),
        cmocka_unit_test(test_dirty_pages),
        cmocka_unit_test(test_states),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
