/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See hostile-server.h.  Messages are those of the wire codec, damaged afterwards. */
#include "hostile-server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "wire/bytes.h"
#include "wire/io.h"

#define BODY_MAX 8192
#define FDS_MAX  40
#define BAR_SIZE 16384
#define VECTORS  8

struct HostileServer {
    uint64_t random;
    unsigned harm;
    int listener, conn;
    char *path;
    GThread *thread;
    int memory, doorbell;
    uint8_t config[4096];
    int kept[64]; /* eventfds of SET_IRQS */
    unsigned kept_next;
};

typedef struct Answer {
    WireHeader h;
    uint8_t body[BODY_MAX];
    size_t len;
    int fds[FDS_MAX];
    unsigned fd_count;
} Answer;

static uint64_t dice(HostileServer *s)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return s->random;
}

static bool chance(HostileServer *s, unsigned in_thousand)
{
    return dice(s) % 1000 < in_thousand;
}

static uint64_t odd_number(HostileServer *s)
{
    static const uint64_t numbers[] = {
        0,          1,          2,          0xff,      0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff,
        0x80000000, UINT32_MAX, UINT64_MAX, INT64_MAX, 4096,   16,     32,     48,      (uint64_t)1 << 63};

    return numbers[dice(s) % G_N_ELEMENTS(numbers)];
}

/* --- right answers --- */

static void config_init(HostileServer *s)
{
    static const uint8_t caps[] = {PCI_CAP_ID_MSIX, PCI_CAP_ID_MSI,  PCI_CAP_ID_EXP, PCI_CAP_ID_PM,
                                   PCI_CAP_ID_AF,   PCI_CAP_ID_VNDR, PCI_CAP_ID_VPD, PCI_CAP_ID_EA};
    static const uint16_t ext[] = {PCI_EXT_CAP_ID_ERR, PCI_EXT_CAP_ID_REBAR, PCI_EXT_CAP_ID_ARI,
                                   PCI_EXT_CAP_ID_SRIOV};

    wire_put_u32(s->config, PCI_VENDOR_ID, 0x56781234);
    wire_put_u16(s->config, PCI_STATUS, PCI_STATUS_CAP_LIST);
    wire_put_u32(s->config, PCI_BASE_ADDRESS_2, 1);
    s->config[PCI_CAPABILITY_LIST] = 0x40;
    s->config[PCI_INTERRUPT_PIN] = 1;
    for (unsigned i = 0; i < G_N_ELEMENTS(caps); i++) {
        s->config[0x40 + 0x18 * i] = caps[i];
        s->config[0x41 + 0x18 * i] = i + 1 < G_N_ELEMENTS(caps) ? (uint8_t)(0x58 + 0x18 * i) : 0;
    }
    wire_put_u16(s->config, 0x42, VECTORS - 1);
    wire_put_u32(s->config, 0x44, 4);
    wire_put_u32(s->config, 0x48, 0x800 | 4);
    wire_put_u16(s->config, 0x5a, PCI_MSI_FLAGS_64BIT | 2 << 1);
    for (unsigned i = 0; i < G_N_ELEMENTS(ext); i++) {
        wire_put_u32(s->config, 0x100 + 0x60 * i,
                     ext[i] | 1u << 16 | (i + 1 < G_N_ELEMENTS(ext) ? (0x160 + 0x60 * i) << 20 : 0));
    }
    wire_put_u32(s->config, 0x168, 1 << 5);
    for (unsigned n = chance(s, s->harm) ? (unsigned)(dice(s) % 8) : 0; n; n--) {
        s->config[dice(s) % (chance(s, 500) ? 256 : sizeof(s->config))] = (uint8_t)odd_number(s);
    }
}

static uint64_t region_size(unsigned index)
{
    return index == 0 || index == 4                ? BAR_SIZE
           : index == 2                            ? 256
           : index == VFIO_PCI_ROM_REGION_INDEX    ? 3000
           : index == VFIO_PCI_CONFIG_REGION_INDEX ? 4096
                                                   : 0;
}

static void answer_version(HostileServer *s, const WireMessage *m, Answer *a)
{
    static const char *const json[] = {
        "{\"capabilities\":{\"max_msg_fds\":8,\"write_multiple\":true}}",
        "{\"capabilities\":{\"max_msg_fds\":16,\"pgsizes\":4096}}", "{}",
        "{\"capabilities\":{\"max_msg_fds\":0,\"max_data_xfer_size\":24}}",
        "{\"capabilities\":{\"twin_socket\":{\"supported\":true,\"fd_index\":0}}}"};
    unsigned n = (unsigned)(dice(s) % G_N_ELEMENTS(json));
    int pair[2];

    if (n == 4 && !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
        a->fds[a->fd_count++] = pair[0];
        close(pair[1]); /* and there the connection ends */
    }
    a->len = wire_version_encode(a->body, sizeof(a->body), &(WireVersion){0, 0, json[n], 0});
}

static void answer_region_info(HostileServer *s, const WireMessage *m, Answer *a)
{
    const WireArea areas[] = {{0x1000, 0x1000}, {0x3000, 0x1000}};
    WireRegionInfo r;

    if (wire_region_info_decode(&r, m->body, m->len)) {
        return;
    }
    r = (WireRegionInfo){.index = r.index, .flags = 3, .size = region_size(r.index)};
    if (r.index == 0) {
        r.flags = 15;
        r.cap_offset = 32;
        r.argsz = (uint32_t)wire_region_info_sparse_size(2);
        a->fds[a->fd_count++] = fcntl(s->memory, F_DUPFD_CLOEXEC, 0);
    }
    a->len = wire_region_info_encode(a->body, &r);
    if (r.index == 0) {
        a->len += wire_region_sparse_encode(a->body + a->len, areas, 2);
    }
}

static void answer_io_fds(HostileServer *s, const WireMessage *m, Answer *a)
{
    WireIoFds f;
    WireIoFd e = {.offset = 0x100, .size = 4, .shadow_fd_index = 1};

    if (wire_io_fds_decode(&f, m->body, m->len)) {
        return;
    }
    f = (WireIoFds){.argsz = 16 + 2 * WIRE_IO_FD_SIZE, .index = f.index, .count = 2};
    a->len = wire_io_fds_encode(a->body, &f);
    a->len += wire_io_fd_encode(a->body + a->len, &e);
    e.offset = 0x200;
    e.type = WIRE_IO_FD_SHADOW;
    a->len += wire_io_fd_encode(a->body + a->len, &e);
    a->fds[a->fd_count++] = fcntl(s->doorbell, F_DUPFD_CLOEXEC, 0);
    a->fds[a->fd_count++] = fcntl(s->memory, F_DUPFD_CLOEXEC, 0);
}

static void answer_irq_info(HostileServer *s, const WireMessage *m, Answer *a)
{
    static const uint8_t counts[] = {1, 4, VECTORS, 1, 1};
    WireIrqInfo i;

    if (!wire_irq_info_decode(&i, m->body, m->len)) {
        i = (WireIrqInfo){.index = i.index, .flags = 1, .count = i.index < 5 ? counts[i.index] : 0};
        a->len = wire_irq_info_encode(a->body, &i);
    }
}

static void answer_set_irqs(HostileServer *s, const WireMessage *m, Answer *a)
{
    for (unsigned i = 0; i < m->fd_count; i++) {
        int *slot = &s->kept[s->kept_next++ % G_N_ELEMENTS(s->kept)];

        if (*slot >= 0) {
            close(*slot);
        }
        *slot = m->fds[i];
        m->fds[i] = -1;
    }
}

static void answer_read(HostileServer *s, const WireMessage *m, Answer *a)
{
    WireRegionAccess r;

    if (wire_region_read_decode(&r, m->body, m->len, BODY_MAX - 64)) {
        return;
    }
    a->len = wire_region_access_encode(a->body, &r);
    for (uint32_t i = 0; i < r.count; i++) {
        a->body[a->len++] = r.region == VFIO_PCI_CONFIG_REGION_INDEX
                                ? s->config[(r.offset + i) % sizeof(s->config)]
                                : (uint8_t)dice(s);
    }
}

static void answer_write(HostileServer *s, const WireMessage *m, Answer *a)
{
    WireRegionAccess r;

    if (!wire_region_write_decode(&r, m->body, m->len, WIRE_MAX_DATA)) {
        a->len = wire_region_access_encode(a->body, &r);
    }
}

static void answer_unmap(HostileServer *s, const WireMessage *m, Answer *a)
{
    memcpy(a->body, m->body, MIN(m->len, BODY_MAX));
    a->len = MIN(m->len, BODY_MAX);
}

static void answer_info(HostileServer *s, const WireMessage *m, Answer *a)
{
    a->len = wire_info_encode(a->body, &(WireInfo){.flags = 3, .num_regions = 9, .num_irqs = 5});
}

/* --- damage --- */

static int some_fd(HostileServer *s)
{
    switch (dice(s) % 4) {
    case 0:
        return open("/dev/null", O_RDWR | O_CLOEXEC);
    case 1:
        return eventfd(0, EFD_CLOEXEC);
    case 2:
        return fcntl(s->memory, F_DUPFD_CLOEXEC, 0);
    default:
        return open("/dev/zero", O_RDONLY | O_CLOEXEC);
    }
}

static void damage(HostileServer *s, Answer *a)
{
    switch (dice(s) % 9) {
    case 0:
        for (unsigned n = 1 + (unsigned)(dice(s) % 4); n && a->len; n--) {
            a->body[dice(s) % a->len] = (uint8_t)odd_number(s);
        }
        break;
    case 1:
        if (a->len >= 8) {
            wire_put_u32(a->body, (dice(s) % (a->len / 4)) * 4, (uint32_t)odd_number(s));
        }
        break;
    case 2:
        if (a->len >= 16) {
            wire_put_u64(a->body, (dice(s) % (a->len / 8)) * 8, odd_number(s));
        }
        break;
    case 3:
        a->len = dice(s) % (a->len + 1);
        break;
    case 4:
        a->len += dice(s) % (MIN(200, BODY_MAX - a->len) + 1);
        break;
    case 5:
        while (a->fd_count < 1 + dice(s) % (FDS_MAX - 1)) {
            a->fds[a->fd_count++] = some_fd(s);
        }
        break;
    case 6:
        a->h.flags ^= 1u << (dice(s) % 8);
        a->h.error = (uint32_t)odd_number(s);
        break;
    case 7:
        a->h.id ^= (uint16_t)(1u << (dice(s) % 16));
        break;
    default:
        a->h.command = (uint16_t)(dice(s) % 20);
        break;
    }
}

/* --- the wire --- */

static void send_bytes(HostileServer *s, const uint8_t *data, size_t len, const int *fds, unsigned fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)data, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd_count) {
        struct cmsghdr *c;

        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof(int));
    }
    if (len && sendmsg(s->conn, &msg, MSG_NOSIGNAL) < 0) {
        shutdown(s->conn, SHUT_RDWR);
    }
}

static void send_answer(HostileServer *s, Answer *a)
{
    uint8_t bytes[WIRE_HEADER_SIZE + BODY_MAX];
    size_t len = WIRE_HEADER_SIZE + a->len, cut;

    a->h.size = (uint32_t)len;
    wire_header_encode(bytes, &a->h);
    memcpy(bytes + WIRE_HEADER_SIZE, a->body, a->len);
    if (chance(s, s->harm / 20)) {
        wire_put_u32(bytes, 4, (uint32_t)odd_number(s));
    }
    cut = chance(s, 100) ? 1 + dice(s) % len : len;
    send_bytes(s, bytes, cut, a->fds, a->fd_count);
    if (cut < len) {
        g_usleep(dice(s) % 300);
        send_bytes(s, bytes + cut, len - cut, NULL, 0);
    }
}

static void close_answer_fds(Answer *a)
{
    for (unsigned i = 0; i < a->fd_count; i++) {
        close(a->fds[i]);
    }
}

/* Requests of the server: DMA, or what no server asks. */
static void send_request(HostileServer *s)
{
    static const uint16_t commands[] = {WIRE_DMA_READ, WIRE_DMA_WRITE, WIRE_DMA_READ,
                                        WIRE_VERSION,  WIRE_DMA_MAP,   77};
    Answer *a = g_new0(Answer, 1);
    WireDmaAccess access = {.address = chance(s, 500) ? dice(s) % (2u << 20) : odd_number(s),
                            .count = chance(s, 700) ? dice(s) % 4096 : odd_number(s)};

    a->h = (WireHeader){.id = (uint16_t)dice(s), .command = commands[dice(s) % G_N_ELEMENTS(commands)]};
    a->len = wire_dma_access_encode(a->body, &access);
    if (a->h.command == WIRE_DMA_WRITE) {
        a->len += chance(s, 800) ? MIN(access.count, BODY_MAX - 64) : dice(s) % 100;
    }
    if (chance(s, 100)) {
        damage(s, a);
    }
    send_answer(s, a);
    close_answer_fds(a);
    g_free(a);
}

static void answer(HostileServer *s, const WireMessage *m)
{
    static void (*const table[WIRE_COMMAND_COUNT])(HostileServer * s, const WireMessage *m, Answer *a) = {
        [WIRE_VERSION] = answer_version,
        [WIRE_GET_INFO] = answer_info,
        [WIRE_GET_REGION_INFO] = answer_region_info,
        [WIRE_GET_REGION_IO_FDS] = answer_io_fds,
        [WIRE_GET_IRQ_INFO] = answer_irq_info,
        [WIRE_SET_IRQS] = answer_set_irqs,
        [WIRE_REGION_READ] = answer_read,
        [WIRE_REGION_WRITE] = answer_write,
        [WIRE_DMA_UNMAP] = answer_unmap,
    };
    Answer *a = g_new0(Answer, 1);

    a->h = (WireHeader){.id = m->header.id, .command = m->header.command, .flags = WIRE_TYPE_REPLY};
    if (m->header.command < WIRE_COMMAND_COUNT && table[m->header.command]) {
        table[m->header.command](s, m, a);
    }
    if (chance(s, s->harm)) {
        damage(s, a);
    }
    if (chance(s, 30)) {
        send_request(s);
    }
    if (!(m->header.flags & WIRE_NO_REPLY) && !chance(s, s->harm / 20)) {
        for (unsigned n = chance(s, s->harm / 20) ? 2 : 1; n; n--) {
            send_answer(s, a);
        }
    }
    close_answer_fds(a);
    g_free(a);
}

static void signal_something(HostileServer *s)
{
    uint64_t one = 1;
    int fd = s->kept[dice(s) % G_N_ELEMENTS(s->kept)];

    if (fd >= 0 && write(fd, &one, sizeof(one)) < 0) {
        return; /* it is no eventfd, or full: all the same */
    }
}

static gpointer server_thread(gpointer opaque)
{
    HostileServer *s = opaque;
    WireStream *stream;
    WireMessage m;

    s->conn = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    if (s->conn < 0) {
        return NULL;
    }
    stream = wire_stream_new(s->conn, WIRE_MAX_MESSAGE, 1u << 20);
    while (!wire_stream_receive(stream, &m, WIRE_STREAM_WAIT)) {
        if ((m.header.flags & WIRE_TYPE_MASK) == WIRE_TYPE_COMMAND) {
            answer(s, &m);
            signal_something(s);
        }
        wire_message_clear(&m);
        if (chance(s, s->harm / 50)) {
            break;
        }
        if (chance(s, s->harm / 20)) {
            g_usleep(dice(s) % 3000);
        }
    }
    wire_stream_free(stream);
    return NULL;
}

HostileServer *hostile_server_new(const char *path, uint64_t seed, unsigned harm)
{
    HostileServer *s = g_new0(HostileServer, 1);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    s->random = seed * 0x9e3779b97f4a7c15u + 1;
    s->harm = harm;
    s->path = g_strdup(path);
    s->conn = -1;
    s->memory = memfd_create("bar", MFD_CLOEXEC);
    s->doorbell = eventfd(0, EFD_CLOEXEC);
    memset(s->kept, 0xff, sizeof(s->kept));
    /* Sometimes shorter than the region it is for. */
    g_assert(!ftruncate(s->memory, chance(s, harm) ? (off_t)(dice(s) % BAR_SIZE) : BAR_SIZE));
    config_init(s);
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert(!bind(s->listener, (struct sockaddr *)&addr, sizeof(addr)) && !listen(s->listener, 1));
    s->thread = g_thread_new("hostile server", server_thread, s);
    return s;
}

void hostile_server_free(HostileServer *s)
{
    shutdown(s->listener, SHUT_RDWR);
    g_thread_join(s->thread);
    close(s->listener);
    close(s->memory);
    close(s->doorbell);
    for (unsigned i = 0; i < G_N_ELEMENTS(s->kept); i++) {
        if (s->kept[i] >= 0) {
            close(s->kept[i]);
        }
    }
    unlink(s->path);
    g_free(s->path);
    g_free(s);
}
