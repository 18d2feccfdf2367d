/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drives the server sample: registers, mapped memory, an interrupt, DMA through a mapping and by messages, dirty pages, and a
 * migration to a second server.  Prints a line for each step; the first that fails ends it with status 1.
 *
 *     vfio-user-client SOURCE-SOCKET DESTINATION-SOCKET
 *
 * It speaks the protocol with this library's codec and stream (wire/), which are not part of the installed API.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server.h"
#include "wire/io.h"

#define RAM_SIZE   (1u << 20)
#define RAM_IOVA   0x100000u
#define PAGE       4096u
#define DMA_AT     (5 * PAGE + 100)
#define DMA_LENGTH 5000u
#define PIECE      1000u
#define MSIX       2u

typedef struct Client {
    WireStream *stream;
    uint8_t *ram;               /* guest memory */
    int ram_fd;
    unsigned dma_messages;      /* of the server's that were served */
    uint16_t id;
} Client;

static void step(bool ok, const char *what)
{
    printf("%s: %s\n", ok ? "ok" : "FAILED", what);
    if (!ok) {
        exit(EXIT_FAILURE);
    }
}

/* ---- messages ---- */

/* A DMA message of the server: guest memory is read or written. */
static void serve_dma(Client *c, const WireMessage *m)
{
    WireHeader h = { .id = m->header.id, .command = m->header.command, .flags = WIRE_TYPE_REPLY };
    uint8_t head[WIRE_DMA_ACCESS_SIZE];
    WireDmaAccess a;
    bool is_write = h.command == WIRE_DMA_WRITE;
    int err = is_write ? wire_dma_write_decode(&a, m->body, m->len, WIRE_MAX_DATA) :
                         wire_dma_read_decode(&a, m->body, m->len, WIRE_MAX_DATA);
    struct iovec iov[2] = { { head, sizeof(head) } };

    if (err == 0 && (a.address < RAM_IOVA || a.address - RAM_IOVA > RAM_SIZE ||
                     a.count > RAM_SIZE - (a.address - RAM_IOVA))) {
        err = EFAULT;
    }
    if (err) {
        h.flags |= WIRE_ERROR;
        h.error = (uint32_t)err;
        wire_stream_send(c->stream, &h, NULL, 0, NULL, 0, WIRE_STREAM_WAIT);
        return;
    }
    wire_dma_access_encode(head, &a);
    iov[1] = (struct iovec){ c->ram + (a.address - RAM_IOVA), a.count };
    if (is_write) {
        memcpy(iov[1].iov_base, a.data, a.count);
    }
    wire_stream_send(c->stream, &h, iov, is_write ? 1 : 2, NULL, 0, WIRE_STREAM_WAIT);
    c->dma_messages++;
}

/* Sends a command and waits for its reply, serving the server's own requests meanwhile; 0 or an errno. */
static int call(Client *c, unsigned command, const void *body, size_t len, const int *fds, unsigned fd_count,
                WireMessage *reply)
{
    WireHeader h = { .id = ++c->id, .command = (uint16_t)command };
    struct iovec iov = { (void *)body, len };
    int err = wire_stream_send(c->stream, &h, &iov, 1, fds, fd_count, WIRE_STREAM_WAIT);

    while (err == 0) {
        err = wire_stream_receive(c->stream, reply, WIRE_STREAM_WAIT);
        if (err) {
            break;
        }
        if ((reply->header.flags & WIRE_TYPE_MASK) == WIRE_TYPE_REPLY) {
            return wire_header_error(&reply->header);
        }
        serve_dma(c, reply);
        wire_message_clear(reply);
    }
    *reply = (WireMessage){ 0 };
    return err;
}

/* The same for a command whose reply holds nothing of interest. */
static int do_call(Client *c, unsigned command, const void *body, size_t len, const int *fds, unsigned fd_count)
{
    WireMessage reply;
    int err = call(c, command, body, len, fds, fd_count, &reply);

    wire_message_clear(&reply);
    return err;
}

static void client_connect(Client *c, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    WireVersion version = { .minor = 1, .json = "{\"capabilities\":{\"max_msg_fds\":8}}" };
    uint8_t body[128];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    step(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, path);
    c->stream = wire_stream_new(fd, WIRE_MAX_MESSAGE, 0);
    step(do_call(c, WIRE_VERSION, body, wire_version_encode(body, sizeof(body), &version), NULL, 0) == 0, "version");
}

static int write_register(Client *c, unsigned index, uint32_t value)
{
    WireRegionAccess a = { .offset = index * 4, .count = sizeof(value) };
    uint8_t body[WIRE_REGION_ACCESS_SIZE + sizeof(value)];
    size_t head = wire_region_access_encode(body, &a);

    memcpy(body + head, &value, sizeof(value));
    return do_call(c, WIRE_REGION_WRITE, body, sizeof(body), NULL, 0);
}

static int read_region(Client *c, uint32_t region, uint64_t offset, void *data, uint32_t count)
{
    WireRegionAccess a = { .offset = offset, .region = region, .count = count }, got;
    uint8_t body[WIRE_REGION_ACCESS_SIZE];
    WireMessage reply;
    int err = call(c, WIRE_REGION_READ, body, wire_region_access_encode(body, &a), NULL, 0, &reply);

    if (err == 0) {
        err = wire_region_read_decode_reply(&got, reply.body, reply.len, &a);
    }
    if (err == 0) {
        memcpy(data, got.data, count);
    }
    wire_message_clear(&reply);
    return err;
}

static uint32_t read_register(Client *c, unsigned index)
{
    uint32_t value = 0;

    step(read_region(c, 0, index * 4, &value, sizeof(value)) == 0, "register");
    return value;
}

static int set_feature(Client *c, uint32_t index, const void *data, size_t len)
{
    uint8_t body[WIRE_FEATURE_SIZE + 64];
    WireFeature f = { .argsz = (uint32_t)(WIRE_FEATURE_SIZE + len), .flags = WIRE_FEATURE_SET | index, .data = data,
                      .data_len = len };

    return do_call(c, WIRE_DEVICE_FEATURE, body, wire_feature_encode(body, &f), NULL, 0);
}

static int set_state(Client *c, uint32_t state)
{
    WireMigDeviceState s = { .state = state };
    uint8_t data[WIRE_MIG_STATE_SIZE];

    return set_feature(c, WIRE_FEATURE_MIG_STATE, data, wire_mig_state_encode(data, &s));
}

/* ---- steps ---- */

static void map_ram(Client *c)
{
    WireDmaMap map = { .flags = WIRE_DMA_READABLE | WIRE_DMA_WRITEABLE, .address = RAM_IOVA, .size = RAM_SIZE };
    uint8_t body[WIRE_DMA_MAP_SIZE];

    step(do_call(c, WIRE_DMA_MAP, body, wire_dma_map_encode(body, &map), &c->ram_fd, 1) == 0, "guest memory mapped");
}

/* The third page of BAR 1 through its file, seen through messages. */
static void check_bar1(Client *c)
{
    WireRegionInfo info = { .argsz = PAGE, .index = 1 };
    WireArea areas[2];
    uint32_t count = 2, value = 0;
    uint8_t body[WIRE_REGION_INFO_SIZE], *memory;
    bool found;
    WireMessage reply;

    step(call(c, WIRE_GET_REGION_INFO, body, wire_region_info_encode(body, &info), NULL, 0, &reply) == 0 &&
         wire_region_info_decode(&info, reply.body, reply.len) == 0 && reply.fd_count == 1 &&
         wire_region_sparse_decode(&info, reply.body, reply.len, areas, &count, &found) == 0 && count == 2, "region info");
    memory = mmap(NULL, areas[1].size, PROT_READ | PROT_WRITE, MAP_SHARED, reply.fds[0],
                  (off_t)(info.offset + areas[1].offset));
    step(memory != MAP_FAILED, "region mapped");
    memcpy(memory + 16, "abcd", 4);
    munmap(memory, areas[1].size);
    wire_message_clear(&reply);
    step(read_region(c, 1, areas[1].offset + 16, &value, 4) == 0 && memcmp(&value, "abcd", 4) == 0,
         "mapped memory is the region's");
}

static void check_interrupt(Client *c)
{
    WireSetIrqs s = { .flags = WIRE_IRQ_TRIGGER | WIRE_IRQ_DATA_EVENTFD, .index = MSIX, .count = 1 };
    uint8_t body[WIRE_SET_IRQS_SIZE];
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct pollfd p = { .fd = fd, .events = POLLIN };
    uint64_t times = 0;

    step(do_call(c, WIRE_SET_IRQS, body, wire_set_irqs_encode(body, &s), &fd, 1) == 0, "eventfd set");
    step(write_register(c, SERVER_TIMER, 5) == 0, "timer started");
    step(poll(&p, 1, -1) == 1 && read(fd, &times, sizeof(times)) == sizeof(times) && times == 1, "interrupt");
    close(fd);
}

static void start_dma(Client *c, uint32_t command, uint32_t offset, uint32_t length, uint32_t value)
{
    step(write_register(c, SERVER_ADDRESS, RAM_IOVA + offset) == 0 && write_register(c, SERVER_LENGTH, length) == 0 &&
         write_register(c, SERVER_VALUE, value) == 0 && write_register(c, SERVER_COMMAND, command) == 0 &&
         read_register(c, SERVER_STATUS) == 0, command == SERVER_FILL ? "DMA through the mapping" : "DMA by messages");
}

static bool ram_is(const Client *c, uint32_t offset, uint32_t length, uint8_t value)
{
    for (uint32_t i = 0; i < length; i++) {
        if (c->ram[offset + i] != value) {
            return false;
        }
    }
    return true;
}

static void check_dma(Client *c)
{
    start_dma(c, SERVER_FILL, DMA_AT, DMA_LENGTH, 0x11);
    step(ram_is(c, DMA_AT, DMA_LENGTH, 0x11) && c->ram[DMA_AT - 1] == 0 && c->ram[DMA_AT + DMA_LENGTH] == 0, "memory filled");
    start_dma(c, SERVER_ADD, DMA_AT, DMA_LENGTH, 0x22);
    step(ram_is(c, DMA_AT, DMA_LENGTH, 0x33) && c->dma_messages == 2, "memory changed by two messages");
}

/* The dirty pages of guest memory, bit 0 the first; reading them clears them. */
static uint64_t dirty_pages(Client *c)
{
    WireLogReport report = { .iova = RAM_IOVA, .length = RAM_SIZE, .page_size = PAGE };
    uint8_t data[WIRE_LOG_REPORT_SIZE], body[WIRE_FEATURE_SIZE + sizeof(data)];
    WireFeature f = { .argsz = PAGE, .flags = WIRE_FEATURE_GET | WIRE_FEATURE_LOG_REPORT, .data = data,
                      .data_len = wire_log_report_encode(data, &report) };
    uint64_t first;
    WireMessage reply;

    step(call(c, WIRE_DEVICE_FEATURE, body, wire_feature_encode(body, &f), NULL, 0, &reply) == 0 &&
         reply.len == sizeof(body) + RAM_SIZE / PAGE / 8, "dirty pages");
    memcpy(&first, reply.body + sizeof(body), sizeof(first));
    wire_message_clear(&reply);
    return first;
}

/* The source's state goes to the destination in pieces. */
static void move_state(Client *from, Client *to)
{
    size_t total = 0, got;

    step(set_state(to, WIRE_STATE_RESUMING) == 0, "destination resumes");
    do {
        WireMigData m = { .size = PIECE };
        uint8_t body[WIRE_MIG_DATA_SIZE];
        WireMessage reply;

        if (call(from, WIRE_MIG_DATA_READ, body, wire_mig_data_encode(body, &m), NULL, 0, &reply) ||
            wire_mig_read_decode_reply(&m, reply.body, reply.len, PIECE)) {
            step(false, "state read");
        }
        got = m.size;
        total += got;
        /* The reply has the form of the write. */
        if (got && do_call(to, WIRE_MIG_DATA_WRITE, reply.body, WIRE_MIG_DATA_SIZE + got, NULL, 0)) {
            step(false, "state written");
        }
        wire_message_clear(&reply);
    } while (got == PIECE);
    step(total > SERVER_BAR1_SIZE, "state moved");
}

static void check_migration(Client *source, Client *destination)
{
    uint8_t start[WIRE_LOG_START_SIZE];
    uint32_t value = 0;

    step(set_feature(source, WIRE_FEATURE_LOG_START, start, wire_log_start_encode(start, PAGE, 0)) == 0, "logging started");
    step(dirty_pages(source) == 0, "nothing is dirty");
    step(set_state(source, WIRE_STATE_PRE_COPY) == 0, "pre-copy");
    start_dma(source, SERVER_FILL, DMA_AT, DMA_LENGTH, 0x44);
    step(dirty_pages(source) == (1u << 5 | 1u << 6), "two pages are dirty");
    step(dirty_pages(source) == 0, "and clean again");
    step(set_state(source, WIRE_STATE_STOP_COPY) == 0, "source stopped");
    move_state(source, destination);
    step(set_state(destination, WIRE_STATE_RUNNING) == 0, "destination runs");
    step(read_register(destination, SERVER_VALUE) == 0x44, "its registers are the source's");
    step(read_region(destination, 1, 8192 + 16, &value, 4) == 0 && memcmp(&value, "abcd", 4) == 0, "and its memory");
    start_dma(destination, SERVER_FILL, DMA_AT, DMA_LENGTH, 0x55);
    step(ram_is(destination, DMA_AT, DMA_LENGTH, 0x55), "it goes on with the same guest memory");
}

int main(int argc, char **argv)
{
    Client source = { 0 }, destination = { 0 };

    if (argc != 3) {
        fprintf(stderr, "usage: %s SOURCE-SOCKET DESTINATION-SOCKET\n", argv[0]);
        return EXIT_FAILURE;
    }
    source.ram_fd = memfd_create("ram", MFD_CLOEXEC);
    step(source.ram_fd >= 0 && ftruncate(source.ram_fd, RAM_SIZE) == 0, "memory");
    source.ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, source.ram_fd, 0);
    step(source.ram != MAP_FAILED, "memory");
    destination = source;
    client_connect(&source, argv[1]);
    step(read_register(&source, SERVER_IDENT) == SERVER_IDENT_VALUE, "this is the server sample");
    map_ram(&source);
    check_bar1(&source);
    check_interrupt(&source);
    check_dma(&source);
    client_connect(&destination, argv[2]);
    map_ram(&destination);
    check_migration(&source, &destination);
    wire_stream_free(source.stream);
    wire_stream_free(destination.stream);
    munmap(source.ram, RAM_SIZE);
    close(source.ram_fd);
    return 0;
}
