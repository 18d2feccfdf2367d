/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA by messages without waiting: answers in and out of order, in pieces, wrong, late or never; on the client's socket and on the
 * twin; while the device quiesces; with a client that leaves.  Every test runs with both sockets.
 */
#include "client.h"

#include <pthread.h>

#include "wire/bytes.h"

#define BASE   0x10000u
#define LENGTH 0x8000u

typedef struct Device {
    Client c;
    const char *json;
    dma_sg_t *sg;
    uint8_t memory[LENGTH];     /* of the client */
    uint8_t data[LENGTH];       /* of the device */
    unsigned done;              /* callbacks so far */
    int err;                    /* of the last */
    bool quiesced;              /* the device was asked */
    bool again;                 /* a callback begins another request */
} Device;

static int on_quiesce(vfu_ctx_t *ctx)
{
    Device *d = ((Client *)vfu_get_private(ctx))->device;

    d->quiesced = true;
    errno = EBUSY;
    return -1;
}

static void ignore_dma(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

static void on_done(vfu_ctx_t *ctx, void *opaque, int err)
{
    Device *d = opaque;

    d->done++;
    d->err = err;
    if (d->again) {
        d->again = false;
        assert_int_equal(vfu_sgl_read_async(ctx, d->sg, d->data, on_done, d), 0);
    }
}

static bool readable(Device *d)
{
    struct pollfd p = { .fd = vfu_get_poll_fd(d->c.ctx), .events = POLLIN };

    return poll(&p, 1, 0) == 1;
}

static int set_up(Device *d, const char *json)
{
    *d = (Device){ .json = json, .sg = calloc(2, dma_sg_size()) };
    client_open(&d->c, LIBVFIO_USER_FLAG_ATTACH_NB);
    d->c.device = d;
    assert_int_equal(vfu_setup_device_dma(d->c.ctx, 16, ignore_dma, ignore_dma), 0);
    client_attach(&d->c, json);
    assert_int_equal(client_map(&d->c, BASE, LENGTH, 3, -1, 0), 0);
    for (unsigned i = 0; i < LENGTH; i++) {
        d->memory[i] = (uint8_t)(i * 31 >> 3);
    }
    return 0;
}

static int set_up_one(void **state)
{
    return set_up(*state = malloc(sizeof(Device)), "{\"capabilities\":{\"max_data_xfer_size\":4096}}");
}

static int set_up_twin(void **state)
{
    set_up(*state = malloc(sizeof(Device)),
           "{\"capabilities\":{\"max_data_xfer_size\":4096,\"max_msg_fds\":8,\"twin_socket\":{\"supported\":true}}}");
    return ((Device *)*state)->c.twin == NULL;
}

static int tear_down(void **state)
{
    Device *d = *state;

    client_close(&d->c);
    free(d->sg);
    free(d);
    return 0;
}

static void range(Device *d, unsigned offset, unsigned length)
{
    assert_int_equal(vfu_addr_to_sgl(d->c.ctx, (vfu_dma_addr_t)(uintptr_t)(BASE + offset), length, d->sg, 1,
                                     PROT_READ | PROT_WRITE), 1);
}

static WireStream *asked_on(Device *d)
{
    return d->c.twin ? d->c.twin : d->c.stream;
}

/* The client takes a request. */
static WireHeader take(Device *d, WireDmaAccess *a)
{
    WireMessage m;
    WireHeader h;

    assert_int_equal(wire_stream_receive(asked_on(d), &m, WIRE_STREAM_WAIT), 0);
    h = m.header;
    assert_int_equal(h.flags & WIRE_TYPE_MASK, WIRE_TYPE_COMMAND);
    a->address = wire_get_u64(m.body, 0);
    a->count = wire_get_u64(m.body, 8);
    assert_true(a->address >= BASE && a->address + a->count <= BASE + LENGTH && a->count <= 4096);
    if (h.command == WIRE_DMA_WRITE) {
        memcpy(d->memory + a->address - BASE, m.body + WIRE_DMA_ACCESS_SIZE, a->count);
    } else {
        assert_int_equal(h.command, WIRE_DMA_READ);
    }
    wire_message_clear(&m);
    return h;
}

/* The client answers it. */
static void answer(Device *d, WireHeader h, const WireDmaAccess *a, int error)
{
    uint8_t body[WIRE_DMA_ACCESS_SIZE];
    struct iovec iov[2] = { { body, wire_dma_access_encode(body, a) }, { d->memory + a->address - BASE, a->count } };

    h.flags = WIRE_TYPE_REPLY | (error ? WIRE_ERROR : 0);
    h.error = (uint32_t)error;
    assert_int_equal(wire_stream_send(asked_on(d), &h, iov, error ? 0 : h.command == WIRE_DMA_READ ? 2 : 1, NULL, 0,
                                      WIRE_STREAM_WAIT), 0);
}

static void serve(Device *d)
{
    WireDmaAccess a;
    WireHeader h = take(d, &a);

    answer(d, h, &a, 0);
}

static void begin_read(Device *d, unsigned offset, unsigned length)
{
    range(d, offset, length);
    assert_int_equal(vfu_sgl_read_async(d->c.ctx, d->sg, d->data, on_done, d), 0);
}

/* One run, after which so many callbacks were called, the last with err. */
static void run_to(Device *d, unsigned done, int err)
{
    assert_int_equal(vfu_run_ctx(d->c.ctx), 0);
    assert_int_equal(d->done, done);
    assert_int_equal(d->err, err);
}

/* The client gets the reply to this command. */
static void take_reply(Device *d, unsigned command)
{
    WireMessage m;

    assert_int_equal(wire_stream_receive(d->c.stream, &m, WIRE_STREAM_WAIT), 0);
    assert_int_equal(m.header.command, command);
    wire_message_clear(&m);
}

static void test_read_and_write(void **state)
{
    Device *d = *state;

    begin_read(d, 16, 100);
    assert_false(readable(d));
    assert_int_equal(vfu_run_ctx(d->c.ctx), 0);
    assert_int_equal(d->done, 0);
    serve(d);
    assert_true(readable(d));
    run_to(d, 1, 0);
    assert_memory_equal(d->data, d->memory + 16, 100);
    assert_false(readable(d));
    memset(d->data, 0x5a, 100);
    assert_int_equal(vfu_sgl_write_async(d->c.ctx, d->sg, d->data, on_done, d), 0);
    serve(d);
    assert_int_equal(vfu_run_ctx(d->c.ctx), 0);
    assert_int_equal(d->done, 2);
    assert_memory_equal(d->data, d->memory + 16, 100);
}

static void test_in_pieces(void **state)
{
    Device *d = *state;

    range(d, 0, 10000);
    d->again = true;
    assert_int_equal(vfu_sgl_read_async(d->c.ctx, d->sg, d->data, on_done, d), 0);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(d->done, i / 3);
        serve(d);
        assert_true(readable(d));
        assert_int_equal(vfu_run_ctx(d->c.ctx), 0);
    }
    assert_int_equal(d->done, 2);
    assert_memory_equal(d->data, d->memory, 10000);
}

/* The client asks and answers at once, in an order of its own. */
static void test_out_of_order(void **state)
{
    Device *d = *state;
    WireHeader h[3];
    WireDmaAccess a[3];

    for (unsigned i = 0; i < 3; i++) {
        range(d, i * 4096, 4096);
        assert_int_equal(vfu_sgl_read_async(d->c.ctx, d->sg, d->data + i * 4096, on_done, d), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        h[i] = take(d, &a[i]);
    }
    client_send(&d->c, WIRE_RESET, NULL, 0);
    for (unsigned i = 3; i-- > 0;) {
        answer(d, h[i], &a[i], 0);
    }
    while (d->done < 3) {
        assert_true(readable(d));
        assert_true(vfu_run_ctx(d->c.ctx) >= 0);
    }
    assert_memory_equal(d->data, d->memory, 3 * 4096);
    take_reply(d, WIRE_RESET);
}

/* A waiting call meets the answers of the others: they are called back by the next run. */
static void test_with_a_waiting_call(void **state)
{
    Device *d = *state;
    WireHeader h;
    WireDmaAccess a;

    begin_read(d, 0, 64);
    h = take(d, &a);
    answer(d, h, &a, 0);
    /* The answer to the call is there before its question: its id is known. */
    h.id++;
    answer(d, h, &a, 0);
    assert_int_equal(vfu_sgl_read(d->c.ctx, d->sg, 1, d->data + 64, 0), 0);
    assert_memory_equal(d->data + 64, d->memory, 64);
    assert_int_equal(d->done, 0);
    assert_true(readable(d));
    assert_int_equal(vfu_run_ctx(d->c.ctx), 0);
    assert_int_equal(d->done, 1);
    assert_memory_equal(d->data, d->memory, 64);
}

static void test_errors(void **state)
{
    Device *d = *state;
    WireHeader h;
    WireDmaAccess a;

    range(d, 0, 8192);
    assert_int_equal(vfu_sgl_write_async(d->c.ctx, d->sg, d->data, on_done, d), 0);
    h = take(d, &a);
    answer(d, h, &a, EFAULT);
    run_to(d, 1, EFAULT);
    /* An answer about another address. */
    assert_int_equal(vfu_sgl_read_async(d->c.ctx, d->sg, d->data, on_done, d), 0);
    h = take(d, &a);
    a.address += 4;
    answer(d, h, &a, 0);
    run_to(d, 2, EINVAL);
    assert_int_equal(client_do(&d->c, WIRE_RESET, NULL, 0), 0);
}

static void refused(int result, int err)
{
    assert_int_equal(errno, err);
    assert_int_equal(result, -1);
}

static void test_refused(void **state)
{
    Device *d = *state;
    vfu_ctx_t *waiting;
    int pair[2];
    dma_sg_t *zero = calloc(1, dma_sg_size());

    range(d, 0, 16);
    refused(vfu_sgl_read_async(d->c.ctx, zero, d->data, on_done, d), EINVAL);
    refused(vfu_sgl_read_async(d->c.ctx, d->sg, d->data, NULL, d), EINVAL);
    assert_int_equal(client_map(&d->c, 0, 0x1000, 1, -1, 0), 0);
    assert_int_equal(vfu_addr_to_sgl(d->c.ctx, NULL, 16, zero, 1, PROT_READ), 1);
    refused(vfu_sgl_write_async(d->c.ctx, zero, d->data, on_done, d), EPERM);
    client_hang_up(&d->c);
    while (vfu_run_ctx(d->c.ctx) >= 0) {
    }
    refused(vfu_sgl_read_async(d->c.ctx, d->sg, d->data, on_done, d), ENOTCONN);
    /* A context whose run waits has calls that wait. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    waiting = vfu_create_ctx_fd(pair[0], 0, NULL, VFU_DEV_TYPE_PCI);
    assert_non_null(waiting);
    refused(vfu_sgl_read_async(waiting, d->sg, d->data, on_done, d), ENOTSUP);
    vfu_destroy_ctx(waiting);
    close(pair[1]);
    assert_int_equal(d->done, 0);
    free(zero);
}

/* A client that answers nothing holds so many requests and no more. */
static void test_limit(void **state)
{
    Device *d = *state;
    unsigned n = 0;

    range(d, 0, 16);
    while (vfu_sgl_read_async(d->c.ctx, d->sg, d->data, on_done, d) == 0) {
        n++;
    }
    assert_int_equal(errno, EAGAIN);
    assert_true(n >= 64 && n <= 1024);
    serve(d);
    assert_int_equal(vfu_run_ctx(d->c.ctx), 0);
    assert_int_equal(d->done, 1);
    assert_int_equal(vfu_sgl_read_async(d->c.ctx, d->sg, d->data, on_done, d), 0);
}

/* Requests end while the device is asked to be quiet, and then the client's request runs. */
static void test_quiesce(void **state)
{
    Device *d = *state;
    WireDmaUnmap unmap = { .address = BASE, .size = LENGTH };
    uint8_t body[WIRE_DMA_UNMAP_SIZE];
    WireDmaAccess a;
    WireHeader h;

    vfu_setup_device_quiesce_cb(d->c.ctx, on_quiesce);
    begin_read(d, 0, 5000);
    h = take(d, &a);
    wire_dma_unmap_encode(body, &unmap);
    client_send(&d->c, WIRE_DMA_UNMAP, body, sizeof(body));
    refused(vfu_run_ctx(d->c.ctx), EBUSY);
    assert_true(d->quiesced);
    assert_false(readable(d));
    refused(vfu_run_ctx(d->c.ctx), EBUSY);
    answer(d, h, &a, 0);
    assert_true(readable(d));
    refused(vfu_run_ctx(d->c.ctx), EBUSY);
    /* A command that comes meanwhile waits. */
    client_send(&d->c, WIRE_RESET, NULL, 0);
    serve(d);
    refused(vfu_run_ctx(d->c.ctx), EBUSY);
    assert_int_equal(d->done, 1);
    assert_int_equal(d->err, 0);
    assert_memory_equal(d->data, d->memory, 5000);
    assert_false(readable(d));
    assert_int_equal(vfu_device_quiesced(d->c.ctx, 0), 0);
    take_reply(d, WIRE_DMA_UNMAP);
    assert_true(readable(d));
    refused(vfu_run_ctx(d->c.ctx), EBUSY);
    assert_int_equal(vfu_device_quiesced(d->c.ctx, 0), 0);
    take_reply(d, WIRE_RESET);
    vfu_setup_device_quiesce_cb(d->c.ctx, NULL);
}

/* Without a quiesce callback the region may go while a request for the rest of it is to come. */
static void test_unmapped_between_pieces(void **state)
{
    Device *d = *state;
    WireDmaAccess a;
    WireHeader h;

    begin_read(d, 0, 8192);
    h = take(d, &a);
    assert_int_equal(client_unmap(&d->c, BASE, LENGTH, 0), 0);
    answer(d, h, &a, 0);
    assert_int_equal(vfu_run_ctx(d->c.ctx), 0);
    h = take(d, &a);
    answer(d, h, &a, ENOENT);
    run_to(d, 1, ENOENT);
}

static void test_client_leaves(void **state)
{
    Device *d = *state;

    vfu_setup_device_quiesce_cb(d->c.ctx, on_quiesce);
    begin_read(d, 0, 16);
    assert_int_equal(vfu_sgl_write_async(d->c.ctx, d->sg, d->data, on_done, d), 0);
    client_hang_up(&d->c);
    assert_true(readable(d));
    refused(vfu_run_ctx(d->c.ctx), EBUSY);
    assert_int_equal(d->done, 2);
    assert_int_equal(d->err, ENOTCONN);
    assert_int_equal(vfu_device_quiesced(d->c.ctx, 0), 0);
    vfu_setup_device_quiesce_cb(d->c.ctx, NULL);
    client_attach(&d->c, d->json);
    assert_int_equal(client_map(&d->c, BASE, LENGTH, 3, -1, 0), 0);
    begin_read(d, 0, 16);
    serve(d);
    run_to(d, 3, 0);
}

static void test_destroyed(void **state)
{
    Device *d = *state;
    Client c = d->c;

    begin_read(d, 0, 16);
    vfu_destroy_ctx(d->c.ctx);
    assert_int_equal(d->done, 1);
    assert_int_equal(d->err, ENOTCONN);
    client_hang_up(&c);
    client_open(&d->c, LIBVFIO_USER_FLAG_ATTACH_NB);
    d->c.stream = d->c.twin = NULL;
}

/* A client that leaves a waiting call without an answer holds the device up once. */
static void test_silent_client(void **state)
{
    Device *d = *state;
    WireDmaAccess a;
    WireHeader h;

    range(d, 0, 16);
    refused(vfu_sgl_read(d->c.ctx, d->sg, 1, d->data, 0), ETIMEDOUT);
    for (unsigned i = 0; i < 1000; i++) {
        refused(vfu_sgl_read(d->c.ctx, d->sg, 1, d->data, 0), ETIMEDOUT);
    }
    h = take(d, &a);
    answer(d, h, &a, 0);
    /* It caught up; the id of the next question is known. */
    h.id++;
    answer(d, h, &a, 0);
    assert_int_equal(vfu_sgl_read(d->c.ctx, d->sg, 1, d->data, 0), 0);
    assert_memory_equal(d->data, d->memory, 16);
    take(d, &a);
    assert_int_equal(client_do(&d->c, WIRE_RESET, NULL, 0), 0);
}

/* Answers DMA_WRITEs, one a second, until the connection ends. */
static void *serve_slowly(void *opaque)
{
    WireStream *s = opaque;
    WireMessage m;

    while (wire_stream_receive(s, &m, WIRE_STREAM_WAIT) == 0) {
        WireHeader h = { .id = m.header.id, .command = m.header.command, .flags = WIRE_TYPE_REPLY };
        struct iovec iov = { m.body, WIRE_DMA_ACCESS_SIZE };

        sleep(1);
        wire_stream_send(s, &h, &iov, 1, NULL, 0, WIRE_STREAM_WAIT);
        wire_message_clear(&m);
    }
    return NULL;
}

/* The pieces are the client's choice, how long all of them may last is not. */
static void test_slow_client(void **state)
{
    Device *d = *state;
    pthread_t thread;

    range(d, 0, LENGTH);
    assert_int_equal(pthread_create(&thread, NULL, serve_slowly, d->c.stream), 0);
    refused(vfu_sgl_write(d->c.ctx, d->sg, 1, d->data, 0), ETIMEDOUT);
    wire_stream_shutdown(d->c.stream);
    pthread_join(thread, NULL);
}

#define TWICE(test)                                                                                                   \
    cmocka_unit_test_setup_teardown(test, set_up_one, tear_down),                                                     \
        { #test " (twin)", test, set_up_twin, tear_down, NULL }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TWICE(test_read_and_write),
        TWICE(test_in_pieces),
        TWICE(test_out_of_order),
        TWICE(test_with_a_waiting_call),
        TWICE(test_errors),
        TWICE(test_refused),
        TWICE(test_limit),
        TWICE(test_quiesce),
        TWICE(test_unmapped_between_pieces),
        TWICE(test_client_leaves),
        TWICE(test_destroyed),
        TWICE(test_silent_client),
        cmocka_unit_test_setup_teardown(test_slow_client, set_up_one, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
