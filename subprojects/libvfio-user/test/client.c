/* SPDX-License-Identifier: BSD-3-Clause */
/* The raw client of the tests, over the message stream of the codec. */
#include "client.h"

#include <dirent.h>

void client_open(Client *c, int flags)
{
    *c = (Client){ 0 };
    snprintf(c->path, sizeof(c->path), "/tmp/vfu-test-%d.sock", (int)getpid());
    unlink(c->path);
    c->ctx = vfu_create_ctx(VFU_TRANS_SOCK, c->path, flags, c, VFU_DEV_TYPE_PCI);
    assert_non_null(c->ctx);
}

int client_connect(Client *c)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", c->path);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

void client_attach(Client *c, const char *json)
{
    client_attach_fd(c, client_connect(c), json);
}

void client_attach_fd(Client *c, int fd, const char *json)
{
    WireVersion v = { .minor = 1, .json = json };
    uint8_t body[512];
    struct iovec iov = { body, wire_version_encode(body, sizeof(body), &v) };
    WireHeader h = { .id = 1, .command = WIRE_VERSION };
    WireMessage m;
    int attached;

    assert_int_equal(vfu_realize_ctx(c->ctx), 0);
    c->stream = wire_stream_new(fd, WIRE_MAX_MESSAGE, 1u << 20);
    assert_int_equal(wire_stream_send(c->stream, &h, &iov, 1, NULL, 0, 0), 0);
    attached = vfu_attach_ctx(c->ctx);
    while (attached < 0 && errno == EAGAIN) {
        /* Not every transport delivers at once. */
        struct pollfd p = { .fd = vfu_get_poll_fd(c->ctx), .events = POLLIN };

        assert_int_equal(poll(&p, 1, 10000), 1);
        attached = vfu_attach_ctx(c->ctx);
    }
    assert_int_equal(attached, 0);
    assert_int_equal(wire_stream_receive(c->stream, &m, WIRE_STREAM_WAIT), 0);
    assert_int_equal(wire_header_error(&m.header), 0);
    if (m.fd_count) {
        assert_non_null(strstr((char *)m.body + WIRE_VERSION_SIZE, "\"fd_index\":0"));
        c->twin = wire_stream_new(m.fds[0], WIRE_MAX_MESSAGE, 1u << 20);
        m.fds[0] = -1;
    }
    wire_message_clear(&m);
}

void client_hang_up(Client *c)
{
    wire_stream_free(c->stream);
    c->stream = NULL;
    wire_stream_free(c->twin);
    c->twin = NULL;
}

void client_close(Client *c)
{
    vfu_destroy_ctx(c->ctx);
    client_hang_up(c);
    assert_int_equal(access(c->path, F_OK), -1);
}

int client_call(Client *c, unsigned command, const void *body, size_t len, const int *fds, unsigned fd_count,
                WireMessage *reply)
{
    static uint16_t id;
    WireHeader h = { .id = ++id, .command = (uint16_t)command };
    struct iovec iov = { (void *)body, len };
    int got;

    assert_int_equal(wire_stream_send(c->stream, &h, &iov, 1, fds, fd_count, WIRE_STREAM_WAIT), 0);
    do {
        /* Not every transport delivers at once. */
        assert_true(vfu_run_ctx(c->ctx) >= 0);
        got = wire_stream_receive(c->stream, reply, 0);
    } while (got == EAGAIN);
    assert_int_equal(got, 0);
    assert_int_equal(reply->header.id, id);
    assert_int_equal(reply->header.command, command);
    return wire_header_error(&reply->header);
}

int client_do(Client *c, unsigned command, const void *body, size_t len)
{
    WireMessage reply;
    int err = client_call(c, command, body, len, NULL, 0, &reply);

    wire_message_clear(&reply);
    return err;
}

int client_read(Client *c, uint32_t region, uint64_t offset, void *data, uint32_t count)
{
    WireRegionAccess a = { .offset = offset, .region = region, .count = count }, got;
    uint8_t body[WIRE_REGION_ACCESS_SIZE];
    WireMessage reply;
    int err;

    wire_region_access_encode(body, &a);
    err = client_call(c, WIRE_REGION_READ, body, sizeof(body), NULL, 0, &reply);
    if (err == 0) {
        assert_int_equal(wire_region_read_decode_reply(&got, reply.body, reply.len, &a), 0);
        memcpy(data, got.data, count);
    } else {
        assert_int_equal(reply.len, 0);
    }
    wire_message_clear(&reply);
    return err;
}

int client_write(Client *c, uint32_t region, uint64_t offset, const void *data, uint32_t count)
{
    WireRegionAccess a = { .offset = offset, .region = region, .count = count };
    uint8_t *body = malloc(WIRE_REGION_ACCESS_SIZE + count);
    int err;

    wire_region_access_encode(body, &a);
    memcpy(body + WIRE_REGION_ACCESS_SIZE, data, count);
    err = client_do(c, WIRE_REGION_WRITE, body, WIRE_REGION_ACCESS_SIZE + count);
    free(body);
    return err;
}

int client_map(Client *c, uint64_t iova, uint64_t size, uint32_t flags, int fd, uint64_t offset)
{
    WireDmaMap map = { .flags = flags, .fd_offset = offset, .address = iova, .size = size };
    uint8_t body[WIRE_DMA_MAP_SIZE];
    WireMessage reply;
    int err;

    wire_dma_map_encode(body, &map);
    err = client_call(c, WIRE_DMA_MAP, body, sizeof(body), &fd, fd >= 0, &reply);
    wire_message_clear(&reply);
    return err;
}

int client_unmap(Client *c, uint64_t iova, uint64_t size, uint32_t flags)
{
    WireDmaUnmap unmap = { .flags = flags, .address = iova, .size = size };
    uint8_t body[WIRE_DMA_UNMAP_SIZE];

    wire_dma_unmap_encode(body, &unmap);
    return client_do(c, WIRE_DMA_UNMAP, body, sizeof(body));
}

int client_set_irqs(Client *c, uint32_t flags, uint32_t index, uint32_t start, uint32_t count, const int *fds,
                    unsigned fd_count)
{
    WireSetIrqs s = { .flags = flags, .index = index, .start = start, .count = count };
    uint8_t body[WIRE_SET_IRQS_SIZE];
    WireMessage reply;
    int err;

    wire_set_irqs_encode(body, &s);
    err = client_call(c, WIRE_SET_IRQS, body, sizeof(body), fds, fd_count, &reply);
    wire_message_clear(&reply);
    return err;
}

void client_send(Client *c, unsigned command, const void *body, size_t len)
{
    WireHeader h = { .id = 77, .command = (uint16_t)command };
    struct iovec iov = { (void *)body, len };

    assert_int_equal(wire_stream_send(c->stream, &h, &iov, 1, NULL, 0, WIRE_STREAM_WAIT), 0);
}

int client_feature(Client *c, uint32_t flags, uint32_t argsz, const void *data, size_t len, WireMessage *reply)
{
    uint8_t body[256];
    WireFeature f = { .argsz = argsz, .flags = flags, .data = data, .data_len = len };

    assert_true(len <= sizeof(body) - WIRE_FEATURE_SIZE);
    return client_call(c, WIRE_DEVICE_FEATURE, body, wire_feature_encode(body, &f), NULL, 0, reply);
}

int client_set_state(Client *c, uint32_t state)
{
    WireMigDeviceState s = { .state = state };
    uint8_t data[WIRE_MIG_STATE_SIZE], body[WIRE_FEATURE_SIZE + WIRE_MIG_STATE_SIZE];
    WireFeature f = {
        .argsz = sizeof(body),
        .flags = WIRE_FEATURE_SET | WIRE_FEATURE_MIG_STATE,
        .data = data,
        .data_len = sizeof(data),
    };

    wire_mig_state_encode(data, &s);
    return client_do(c, WIRE_DEVICE_FEATURE, body, wire_feature_encode(body, &f));
}

int memory_file(size_t size)
{
    int fd = memfd_create("test", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

unsigned open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n;
}
