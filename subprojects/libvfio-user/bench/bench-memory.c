/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory: how fast regions are mapped and unmapped while others are there, how long an address takes to find, and
 * DMA_READ and DMA_WRITE without fds against the same bytes over a bare socket.
 */
#include <string.h>
#include <sys/socket.h>

#include "bench.h"

#define PAGE        4096u
#define STEP        (2 * PAGE)  /* from one region to the next */
#define MAP_PAIRS   2000
#define LOOKUPS     2000000
#define DMA_IOVA    (UINT64_C(1) << 40)
#define DMA_SIZE    (UINT64_C(4) << 20)

static const unsigned region_counts[] = { 1, 100, 10000 };

static void on_dma(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

static vfu_ctx_t *make_device(int fd, int flags, vfu_region_access_cb_t *access)
{
    vfu_ctx_t *ctx = vfu_create_ctx_fd(fd, flags, NULL, VFU_DEV_TYPE_PCI);

    bench_must(ctx && vfu_setup_region(ctx, 0, 4096, access, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) == 0 &&
               vfu_setup_device_dma(ctx, LIBVFIO_USER_MAX_DMA_REGIONS, on_dma, on_dma) == 0 && vfu_realize_ctx(ctx) == 0,
               "context");
    return ctx;
}

/* ---- map and unmap ---- */

static ssize_t no_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    return (ssize_t)count;
}

static void serve_maps(int fd, int mode)
{
    vfu_ctx_t *ctx = make_device(fd, 0, no_access);

    bench_serve_blocking(ctx);
    vfu_destroy_ctx(ctx);
}

static void map(WireStream *s, uint64_t address, uint64_t size, const int *fd, uint32_t flags)
{
    WireDmaMap m = { .flags = WIRE_DMA_READABLE | WIRE_DMA_WRITEABLE, .address = address, .size = size };
    uint8_t body[WIRE_DMA_MAP_SIZE];
    struct iovec iov = { body, wire_dma_map_encode(body, &m) };
    WireHeader h = { .command = WIRE_DMA_MAP, .flags = flags };

    bench_must(wire_stream_send(s, &h, &iov, 1, fd, fd ? 1 : 0, WIRE_STREAM_WAIT) == 0, "DMA_MAP");
}

static void unmap(WireStream *s, uint64_t address, uint64_t size)
{
    WireDmaUnmap u = { .address = address, .size = size };
    uint8_t body[WIRE_DMA_UNMAP_SIZE];
    struct iovec iov = { body, wire_dma_unmap_encode(body, &u) };
    WireHeader h = { .command = WIRE_DMA_UNMAP };

    bench_must(wire_stream_send(s, &h, &iov, 1, NULL, 0, WIRE_STREAM_WAIT) == 0, "DMA_UNMAP");
}

static void expect_ok(WireStream *s)
{
    WireMessage m;

    bench_must(wire_stream_receive(s, &m, WIRE_STREAM_WAIT) == 0 && wire_header_error(&m.header) == 0, "reply");
    wire_message_clear(&m);
}

/* Pairs a second, in the middle of the others. */
static double map_rate(WireStream *s, uint64_t address, const int *fd)
{
    double start = bench_now_ns();

    for (int i = 0; i < MAP_PAIRS; i++) {
        map(s, address, PAGE, fd, 0);
        expect_ok(s);
        unmap(s, address, PAGE);
        expect_ok(s);
    }
    return MAP_PAIRS / ((bench_now_ns() - start) / 1e9);
}

void bench_maps(void)
{
    for (size_t i = 0; i < sizeof(region_counts) / sizeof(region_counts[0]); i++) {
        Server server = bench_start(serve_maps, 0, false);
        WireStream *s;
        int file = memfd_create("memory", MFD_CLOEXEC);

        bench_must(file >= 0 && ftruncate(file, PAGE) == 0, "memory");
        bench_negotiate(server.fd);
        s = wire_stream_new(dup(server.fd), WIRE_MAX_MESSAGE, 0);
        for (unsigned n = 0; n < region_counts[i]; n++) {
            map(s, (uint64_t)n * STEP, PAGE, NULL, 0);
            expect_ok(s);
        }
        bench_print("dma_map_unmap", (Figure[]){
            { "regions", region_counts[i], NULL },
            { "per_second", map_rate(s, (uint64_t)region_counts[i] / 2 * STEP + PAGE, NULL), NULL },
            { "with_fd_per_second", map_rate(s, (uint64_t)region_counts[i] / 2 * STEP + PAGE, &file), NULL } }, 3);
        wire_stream_free(s);
        close(file);
        bench_stop(&server);
    }
}

/* ---- lookup ---- */

/* ns a vfu_addr_to_sgl(), addresses in no order. */
static double lookup_ns(vfu_ctx_t *ctx, unsigned regions)
{
    dma_sg_t *sg = calloc(1, dma_sg_size());
    uint32_t random = 1;
    double start = bench_now_ns();

    for (int i = 0; i < LOOKUPS; i++) {
        uint64_t address;

        random = random * 1664525u + 1013904223u;
        address = (uint64_t)(random >> 8) % regions * STEP + (random & 0x7ff);
        bench_must(vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)(uintptr_t)address, 64, sg, 1, PROT_WRITE) == 1, "vfu_addr_to_sgl");
    }
    start = bench_now_ns() - start;
    free(sg);
    return start / LOOKUPS;
}

/* A context in this process with that many regions; *s is its client. */
static vfu_ctx_t *context_with(unsigned regions, WireStream **s)
{
    uint8_t bytes[WIRE_HEADER_SIZE + WIRE_VERSION_SIZE] = { 0 };
    WireHeader h = { .command = WIRE_VERSION, .size = sizeof(bytes) };
    int pair[2];
    vfu_ctx_t *ctx;

    bench_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
    ctx = make_device(pair[0], LIBVFIO_USER_FLAG_ATTACH_NB, no_access);
    *s = wire_stream_new(pair[1], WIRE_MAX_MESSAGE, 0);
    wire_header_encode(bytes, &h);
    bench_send(pair[1], bytes, sizeof(bytes));
    bench_must(vfu_attach_ctx(ctx) == 0, "vfu_attach_ctx");
    expect_ok(*s);
    for (unsigned n = 0; n < regions; n++) {
        map(*s, (uint64_t)n * STEP, PAGE, NULL, WIRE_NO_REPLY);
        bench_must(vfu_run_ctx(ctx) == 1, "vfu_run_ctx");
    }
    return ctx;
}

void bench_lookup(void)
{
    WireStream *few_stream, *many_stream;
    vfu_ctx_t *few = context_with(10, &few_stream), *many = context_with(10000, &many_stream);
    double few_ns[BENCH_ROUNDS / 3], many_ns[BENCH_ROUNDS / 3], ratio[BENCH_ROUNDS / 3];

    for (int i = 0; i < BENCH_ROUNDS / 3; i++) {
        few_ns[i] = lookup_ns(few, 10);
        many_ns[i] = lookup_ns(many, 10000);
        ratio[i] = many_ns[i] / few_ns[i];
    }
    bench_print("addr_to_sgl", (Figure[]){
        { "regions_10_ns", bench_median(few_ns, BENCH_ROUNDS / 3), NULL },
        { "regions_10000_ns", bench_median(many_ns, BENCH_ROUNDS / 3), NULL },
        { "ratio", bench_median(ratio, BENCH_ROUNDS / 3), NULL } }, 3);
    vfu_destroy_ctx(few);
    vfu_destroy_ctx(many);
    wire_stream_free(few_stream);
    wire_stream_free(many_stream);
}

/* ---- DMA by messages ---- */

/* What the client asks of the server: the sum of all pieces is DMA_SIZE. */
typedef struct Order {
    uint32_t piece;
    uint32_t is_write;
} Order;

static uint8_t buffer[(1 << 20) + 64];

/* A write to BAR 0 carries out an order. */
static ssize_t carry_out(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    dma_sg_t *sg = calloc(1, dma_sg_size());
    Order order;

    memcpy(&order, buf, sizeof(order));
    bench_must(vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)DMA_IOVA, order.piece, sg, 1, PROT_READ | PROT_WRITE) == 1, "address");
    for (uint64_t done = 0; done < DMA_SIZE; done += order.piece) {
        int result = order.is_write ? vfu_sgl_write(ctx, sg, 1, buffer, 0) : vfu_sgl_read(ctx, sg, 1, buffer, 0);

        bench_must(result == 0, "vfu_sgl_read");
    }
    free(sg);
    return (ssize_t)count;
}

static void serve_dma(int fd, int mode)
{
    vfu_ctx_t *ctx = make_device(fd, 0, carry_out);

    bench_serve_blocking(ctx);
    vfu_destroy_ctx(ctx);
}

/* The same bytes as the messages: a request out and data back, or data out and an acknowledgement back. */
static void serve_copy(int fd, int mode)
{
    Order order;

    while (recv(fd, &order, sizeof(order), MSG_WAITALL) == sizeof(order)) {
        size_t out = 32 + (order.is_write ? order.piece : 0), back = 32 + (order.is_write ? 0 : order.piece);

        for (uint64_t done = 0; done < DMA_SIZE; done += order.piece) {
            bench_send(fd, buffer, out);
            bench_receive(fd, buffer, back);
        }
        bench_send(fd, &order, sizeof(order));
    }
}

static double gigabytes(double ns)
{
    return (double)DMA_SIZE / ns;
}

/* GB/s of an order carried out by the bare server. */
static double copy_rate(const Server *s, Order order)
{
    size_t in = 32 + (order.is_write ? order.piece : 0), back = 32 + (order.is_write ? 0 : order.piece);
    double start = bench_now_ns();

    bench_send(s->fd, &order, sizeof(order));
    for (uint64_t done = 0; done < DMA_SIZE; done += order.piece) {
        bench_receive(s->fd, buffer, in);
        bench_send(s->fd, buffer, back);
    }
    bench_receive(s->fd, &order, sizeof(order));
    return gigabytes(bench_now_ns() - start);
}

/* Answers one DMA message with bare calls into buffer. */
static void answer(int fd, Order order)
{
    uint8_t head[WIRE_HEADER_SIZE + WIRE_DMA_ACCESS_SIZE];
    struct iovec iov[2] = { { head, sizeof(head) }, { buffer, order.is_write ? 0 : order.piece } };
    struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
    WireHeader h;

    bench_receive(fd, head, sizeof(head));
    if (order.is_write) {
        bench_receive(fd, buffer, order.piece);
    }
    wire_header_decode(&h, head, sizeof(head));
    h.flags = WIRE_TYPE_REPLY;
    h.size = (uint32_t)(sizeof(head) + iov[1].iov_len);
    wire_header_encode(head, &h);
    bench_must(sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)h.size, "sendmsg");
}

/* GB/s of an order carried out by the library. */
static double dma_rate(const Server *s, Order order)
{
    uint8_t request[WIRE_HEADER_SIZE + WIRE_REGION_ACCESS_SIZE + sizeof(order)], reply[WIRE_HEADER_SIZE +
                                                                                      WIRE_REGION_ACCESS_SIZE];
    WireHeader h = { .command = WIRE_REGION_WRITE, .size = sizeof(request) };
    WireRegionAccess a = { .count = sizeof(order) };
    double start = bench_now_ns();

    wire_header_encode(request, &h);
    wire_region_access_encode(request + WIRE_HEADER_SIZE, &a);
    memcpy(request + WIRE_HEADER_SIZE + WIRE_REGION_ACCESS_SIZE, &order, sizeof(order));
    bench_send(s->fd, request, sizeof(request));
    for (uint64_t done = 0; done < DMA_SIZE; done += order.piece) {
        answer(s->fd, order);
    }
    bench_receive(s->fd, reply, sizeof(reply));
    return gigabytes(bench_now_ns() - start);
}

static void bench_order(const Server *bare, const Server *library, Order order)
{
    double bare_rate[BENCH_ROUNDS / 3], library_rate[BENCH_ROUNDS / 3], ratio[BENCH_ROUNDS / 3];

    for (int i = 0; i < BENCH_ROUNDS / 3; i++) {
        bare_rate[i] = copy_rate(bare, order);
        library_rate[i] = dma_rate(library, order);
        ratio[i] = library_rate[i] / bare_rate[i];
    }
    bench_print(order.is_write ? "dma_write" : "dma_read", (Figure[]){
        { "piece", order.piece, NULL }, { "bare_gbyte_s", bench_median(bare_rate, BENCH_ROUNDS / 3), NULL },
        { "library_gbyte_s", bench_median(library_rate, BENCH_ROUNDS / 3), NULL },
        { "ratio", bench_median(ratio, BENCH_ROUNDS / 3), NULL } }, 4);
}

void bench_dma(void)
{
    static const uint32_t pieces[] = { 4096, 65536, 1 << 20 };
    Server bare = bench_start(serve_copy, 0, false), library = bench_start(serve_dma, 0, false);
    WireStream *s;

    bench_negotiate(library.fd);
    s = wire_stream_new(dup(library.fd), WIRE_MAX_MESSAGE, 0);
    map(s, DMA_IOVA, 1 << 20, NULL, 0);
    expect_ok(s);
    wire_stream_free(s);
    for (uint32_t is_write = 0; is_write < 2; is_write++) {
        for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
            bench_order(&bare, &library, (Order){ pieces[i], is_write });
        }
    }
    bench_stop(&bare);
    bench_stop(&library);
}
