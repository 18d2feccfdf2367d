/* SPDX-License-Identifier: BSD-3-Clause */
/* The codec and the message stream: layouts byte for byte, every refusal, partial input, fds, bounded output. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/bytes.h"
#include "wire/io.h"

static void test_header(void **state)
{
    WireHeader h = { .id = 0x1234, .command = WIRE_REGION_READ, .size = 32, .flags = 0x31, .error = 5 }, got;
    uint8_t buf[16];

    assert_int_equal(wire_header_encode(buf, &h), 16);
    assert_memory_equal(buf, "\x34\x12\x09\x00\x20\x00\x00\x00\x31\x00\x00\x00\x05\x00\x00\x00", 16);
    assert_int_equal(wire_header_decode(&got, buf, 16), 0);
    assert_memory_equal(&got, &h, sizeof(h));
    assert_int_equal(wire_header_decode(&got, buf, 15), EINVAL);
    assert_int_equal(wire_header_error(&h), 5);
    h.error = 0;
    assert_int_equal(wire_header_error(&h), EINVAL);
    h.error = 4097;
    assert_int_equal(wire_header_error(&h), EINVAL);
    h.flags = 1;
    assert_int_equal(wire_header_error(&h), 0);
    h.size = 15;
    assert_int_equal(wire_header_check(&h, 100), EINVAL);
    h.size = 101;
    assert_int_equal(wire_header_check(&h, 100), EINVAL);
    assert_string_equal(wire_command_name(WIRE_SET_IRQS), "DEVICE_SET_IRQS");
    assert_string_equal(wire_command_name(0), "unknown");
    assert_string_equal(wire_command_name(1000), "unknown");
}

static void test_version(void **state)
{
    uint8_t buf[64];
    WireVersion v = { .minor = 2, .json = "{}" }, got;

    assert_int_equal(wire_version_encode(buf, sizeof(buf), &v), 7);
    assert_int_equal(wire_version_encode(buf, 6, &v), 0);
    assert_int_equal(wire_version_decode(&got, buf, 7), 0);
    assert_string_equal(got.json, "{}");
    assert_int_equal(wire_version_decode(&got, buf, 6), EINVAL);
    assert_int_equal(wire_version_decode(&got, buf, 3), EINVAL);
    assert_int_equal(wire_version_decode(&got, buf, 4), 0);
    assert_null(got.json);
}

/* The member that a client names when it refuses a server's capabilities; NULL when it does not. */
static const char *server_refusal(const char *members)
{
    char json[256];
    const char *key;
    WireCaps caps;

    snprintf(json, sizeof(json), "{\"capabilities\":{%s}}", members);
    if (wire_caps_parse(&caps, json, true, &key) == 0) {
        wire_caps_check_server(&caps, &key);
    }
    return key;
}

static void test_capabilities(void **state)
{
    const char *key;
    WireCaps caps, again;
    char json[512], json_again[512];
    size_t len;

    assert_int_equal(wire_caps_parse(&caps, NULL, false, &key), 0);
    assert_int_equal(caps.max_msg_fds, 1);
    assert_int_equal(caps.max_data_xfer_size, 1 << 20);
    assert_int_equal(wire_caps_parse(&caps, NULL, true, &key), EINVAL);
    assert_int_equal(wire_caps_parse(&caps, "[]", false, &key), 0);
    assert_int_equal(wire_caps_parse(&caps, "[]", true, &key), EINVAL);
    assert_int_equal(wire_caps_parse(&caps, "{}x", false, &key), 0);
    assert_int_equal(wire_caps_parse(&caps, "{}x", true, &key), EINVAL);
    assert_null(server_refusal(""));
    assert_null(server_refusal("\"max_msg_fds\":16,\"max_data_xfer_size\":67108864,\"pgsizes\":4096"));
    assert_string_equal(server_refusal("\"max_msg_fds\":17"), "max_msg_fds");
    assert_string_equal(server_refusal("\"max_data_xfer_size\":67108865"), "max_data_xfer_size");
    assert_string_equal(server_refusal("\"max_data_xfer_size\":-1"), "max_data_xfer_size");
    assert_string_equal(server_refusal("\"max_dma_maps\":65536"), "max_dma_maps");
    assert_string_equal(server_refusal("\"pgsizes\":4097"), "pgsizes");
    assert_string_equal(server_refusal("\"migration\":{\"max_bitmap_size\":268435457}"), "max_bitmap_size");
    assert_string_equal(server_refusal("\"twin_socket\":{\"supported\":true}"), "twin_socket");
    assert_string_equal(server_refusal("\"write_multiple\":1"), "write_multiple");
    assert_string_equal(server_refusal("\"dma_faults\":1"), "dma_faults");
    wire_caps_init(&caps);
    caps.has_max_msg_fds = caps.has_pgsizes = caps.has_write_multiple = caps.write_multiple = true;
    caps.has_migration = caps.has_max_bitmap_size = caps.has_twin_socket = caps.twin_socket = true;
    caps.has_dma_faults = caps.dma_faults = true;
    caps.twin_fd_index = 0;
    len = wire_caps_encode(json, sizeof(json), &caps);
    assert_int_equal(len, strlen(json));
    assert_int_equal(wire_caps_parse(&again, json, true, &key), 0);
    assert_int_equal(wire_caps_encode(json_again, sizeof(json_again), &again), len);
    assert_string_equal(json_again, json);
    assert_int_equal(wire_caps_encode(json, 20, &caps), 0);
}

static void test_region_info(void **state)
{
    uint8_t buf[128] = { 0 };
    WireArea areas[2] = { { 0x1000, 0x1000 }, { 0x3000, 0x1000 } }, got[2];
    WireRegionInfo r = { .flags = 15, .cap_offset = 32, .size = 0x4000 };
    uint32_t count = 2;
    size_t len = wire_region_info_sparse_size(2);
    bool found;

    wire_region_info_encode(buf, &r);
    wire_region_sparse_encode(buf + 32, areas, 2);
    assert_int_equal(wire_region_sparse_decode(&r, buf, len, got, &count, &found), 0);
    assert_true(found);
    assert_int_equal(count, 2);
    assert_memory_equal(got, areas, sizeof(areas));
    count = 1;
    assert_int_equal(wire_region_sparse_decode(&r, buf, len, got, &count, &found), E2BIG);
    count = 2;
    assert_int_equal(wire_region_sparse_decode(&r, buf, len - 1, got, &count, &found), EINVAL);
    r.size = 0x3fff;
    assert_int_equal(wire_region_sparse_decode(&r, buf, len, got, &count, &found), EINVAL);
    r.size = 0x4000;
    wire_put_u32(buf, 36, 32); /* a capability that follows itself */
    count = 2;
    assert_int_equal(wire_region_sparse_decode(&r, buf, len, got, &count, &found), EINVAL);
    wire_put_u32(buf, 36, 0xfffffff0);
    count = 2;
    assert_int_equal(wire_region_sparse_decode(&r, buf, len, got, &count, &found), EINVAL);
    r.cap_offset = 8;
    count = 2;
    assert_int_equal(wire_region_sparse_decode(&r, buf, len, got, &count, &found), EINVAL);
    r.flags = 0;
    count = 2;
    assert_int_equal(wire_region_sparse_decode(&r, buf, len, got, &count, &found), 0);
    assert_false(found);
}

static void test_dma_messages(void **state)
{
    WireDmaAccess asked = { .address = 0x1000, .count = 4 }, got;
    uint8_t buf[20];

    assert_int_equal(wire_dma_access_encode(buf, &asked), 16);
    memcpy(buf + 16, "abcd", 4);
    assert_int_equal(wire_dma_read_decode(&got, buf, 16, 4), 0);
    assert_int_equal(wire_dma_read_decode(&got, buf, 16, 3), E2BIG);
    assert_int_equal(wire_dma_write_decode(&got, buf, 20, 4), 0);
    assert_memory_equal(got.data, "abcd", 4);
    assert_int_equal(wire_dma_write_decode(&got, buf, 19, 4), EINVAL);
    assert_int_equal(wire_dma_read_decode_reply(&got, buf, 20, &asked), 0);
    assert_int_equal(wire_dma_write_decode_reply(buf, 16, &asked), 0);
    assert_int_equal(wire_dma_write_decode_reply(buf, 0, &asked), 0);
    asked.address++;
    assert_int_equal(wire_dma_read_decode_reply(&got, buf, 20, &asked), EINVAL);
    assert_int_equal(wire_dma_write_decode_reply(buf, 16, &asked), EINVAL);
}

static void test_write_multi(void **state)
{
    WireWrite w = { .offset = 8, .region = 1, .count = 4, .data = { 1, 2, 3, 4 } }, got;
    uint8_t buf[8 + 48];
    uint64_t count;

    wire_write_multi_encode(buf, 2);
    wire_write_multi_entry_encode(buf + 8, &w);
    wire_write_multi_entry_encode(buf + 32, &w);
    assert_int_equal(wire_write_multi_decode(&count, buf, sizeof(buf)), 0);
    wire_write_multi_entry(&got, buf, 1);
    assert_memory_equal(&got, &w, sizeof(w));
    assert_int_equal(wire_write_multi_decode(&count, buf, sizeof(buf) - 1), EINVAL);
    assert_int_equal(wire_write_multi_decode(&count, buf, 32), EINVAL);
    wire_put_u64(buf, 0, UINT64_MAX);
    assert_int_equal(wire_write_multi_decode(&count, buf, sizeof(buf)), EINVAL);
    wire_put_u64(buf, 0, 2);
    wire_put_u32(buf, 32 + 12, 9);
    assert_int_equal(wire_write_multi_decode(&count, buf, sizeof(buf)), EINVAL);
}

static void make_streams(WireStream **a, WireStream **b, size_t queue_limit)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *a = wire_stream_new(pair[0], WIRE_MAX_MESSAGE, queue_limit);
    *b = wire_stream_new(pair[1], WIRE_MAX_MESSAGE, queue_limit);
}

static void send_body_flags(WireStream *s, uint16_t id, size_t len, const int *fds, unsigned fd_count, unsigned flags)
{
    uint8_t body[64] = { 0 };
    struct iovec iov = { body, len };
    WireHeader h = { .id = id, .command = WIRE_RESET };

    body[0] = (uint8_t)id;
    assert_int_equal(wire_stream_send(s, &h, &iov, 1, fds, fd_count, flags), 0);
}

static void send_body(WireStream *s, uint16_t id, size_t len, const int *fds, unsigned fd_count)
{
    send_body_flags(s, id, len, fds, fd_count, 0);
}

/* Every message gets its own fds, however the kernel or the queue glues them together. */
static void check_stream_fds(unsigned flags)
{
    static const size_t sizes[] = { 0, 0, 8, 24, 0, 64, 20, 0, 4, 16 };
    WireStream *a, *b;
    int fds[4];

    make_streams(&a, &b, 1u << 20);
    for (int i = 0; i < 4; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC);
    }
    for (uint16_t i = 0; i < 10; i++) {
        send_body_flags(a, i, sizes[i], fds, i % 3 == 2 ? 4 : i % 3, flags);
    }
    assert_int_equal(wire_stream_flush(a, 0), 0);
    for (uint16_t i = 0; i < 10; i++) {
        WireMessage m;

        assert_int_equal(wire_stream_receive(b, &m, 0), 0);
        assert_int_equal(m.header.id, i);
        assert_int_equal(m.len, sizes[i]);
        assert_int_equal(m.fd_count, i % 3 == 2 ? 4 : i % 3);
        wire_message_clear(&m);
    }
    for (int i = 0; i < 4; i++) {
        close(fds[i]);
    }
    wire_stream_free(a);
    wire_stream_free(b);
}

static void test_stream_fds(void **state)
{
    check_stream_fds(0);
    check_stream_fds(WIRE_STREAM_QUEUE);
}

/* A process with too many files open: the message is not taken for one without descriptors. */
static void test_stream_no_room_for_fds(void **state)
{
    struct rlimit limit, tight;
    int free_fd, fds[2] = { 0, 0 };
    WireStream *a, *b;
    WireMessage m;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (unsigned room = 0; room < 2; room++) {
        make_streams(&a, &b, 1u << 20);
        send_body(a, 1, 8, fds, 2);
        free_fd = dup(0);
        close(free_fd);
        tight = (struct rlimit){ (rlim_t)free_fd + room, limit.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        assert_int_equal(wire_stream_receive(b, &m, 0), EFAULT);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        wire_stream_free(a);
        wire_stream_free(b);
    }
}

/* Bodies are used again, for messages of other sizes too; what was not given back stays. */
static void test_stream_recycled(void **state)
{
    static const size_t sizes[] = { 8, 40, 1, 0, 41, 24, 64, 40 };
    WireMessage kept, m;
    WireStream *a, *b;

    make_streams(&a, &b, 1u << 20);
    send_body(a, 99, 8, NULL, 0);
    assert_int_equal(wire_stream_receive(b, &kept, 0), 0);
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        send_body(a, (uint16_t)(i + 1), sizes[i], NULL, 0);
        assert_int_equal(wire_stream_receive(b, &m, 0), 0);
        assert_int_equal(m.len, sizes[i]);
        assert_true(m.len == 0 ? m.body == NULL : m.body[0] == i + 1);
        wire_stream_recycle(b, &m);
        assert_null(m.body);
    }
    assert_int_equal(kept.body[0], 99);
    wire_stream_recycle(b, &kept);
    wire_stream_free(a);
    wire_stream_free(b);
}

static void test_stream_partial(void **state)
{
    uint8_t bytes[16 + 5] = { 0 };
    WireHeader h = { .id = 3, .command = WIRE_DMA_MAP, .size = sizeof(bytes) };
    WireStream *a, *b;
    WireMessage m;

    make_streams(&a, &b, 0);
    wire_header_encode(bytes, &h);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        assert_int_equal(wire_stream_receive(b, &m, 0), EAGAIN);
        assert_int_equal(write(wire_stream_fd(a), bytes + i, 1), 1);
    }
    assert_int_equal(wire_stream_receive(b, &m, 0), 0);
    assert_int_equal(m.len, 5);
    wire_message_clear(&m);
    assert_int_equal(write(wire_stream_fd(a), bytes, 18), 18);
    wire_stream_free(a);
    assert_int_equal(wire_stream_receive(b, &m, 0), ENOTCONN);
    wire_stream_free(b);
}

static void test_stream_bounded(void **state)
{
    uint8_t *big = calloc(1, 300000);
    struct iovec iov = { big, 300000 };
    WireHeader h = { .command = WIRE_REGION_WRITE };
    WireStream *a, *b;
    WireMessage m;
    int err;

    make_streams(&a, &b, 100);
    assert_int_equal(wire_stream_send(a, &h, &iov, 1, NULL, 0, 0), 0);
    assert_true(wire_stream_queued(a) > 0);
    assert_int_equal(wire_stream_send(a, &h, &iov, 1, NULL, 0, 0), ENOBUFS);
    assert_int_equal(wire_stream_flush(a, 0), EAGAIN);
    while ((err = wire_stream_receive(b, &m, 0)) == EAGAIN) {
        wire_stream_flush(a, 0);
    }
    assert_int_equal(err, 0);
    assert_int_equal(m.len, 300000);
    assert_int_equal(wire_stream_queued(a), 0);
    wire_message_clear(&m);
    wire_stream_free(a);
    wire_stream_free(b);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_region_info),
        cmocka_unit_test(test_dma_messages),
        cmocka_unit_test(test_write_multi),
        cmocka_unit_test(test_stream_fds),
        cmocka_unit_test(test_stream_no_room_for_fds),
        cmocka_unit_test(test_stream_recycled),
        cmocka_unit_test(test_stream_partial),
        cmocka_unit_test(test_stream_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
