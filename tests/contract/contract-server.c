/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Serves the contract device over a UNIX socket with the wire codec: what a client sees of a correct server.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "contract-device.h"
#include "core/poll-window.h"
#include "wire/io.h"
#include "wire/wire.h"

struct ContractServer {
    ContractDevice *device;
    int listener;
    GThread *thread;
    GMutex lock;
    WireStream *stream; /* with the lock */
    char *path;
    bool bare; /* atomic */
    int64_t bare_poll_ns; /* set before it */
    int twin;  /* our end of the connection's other socket; -1: there is none */
    GMutex send_lock;
    GArray *mapped; /* of struct iovec: files of the client's memory */
    /* a DMA message that is waited for; with the lock */
    GCond dma_answered;
    WireDmaAccess dma;
    uint8_t *dma_data;
    int dma_error; /* positive; -1: no answer yet */
};

typedef struct Answer {
    int error; /* positive */
    uint8_t body[WIRE_VERSION_SIZE + 256];
    size_t len;
    uint8_t *data;
    size_t data_len;
    int fd; /* of the device; -1: none */
    bool fd_close;
} Answer;

static void answer_version(ContractServer *s, const WireMessage *m, Answer *a)
{
    g_autofree char *json =
        g_strdup_printf("{\"capabilities\":{\"max_msg_fds\":8%s%s}}",
                        s->device->write_multiple ? ",\"write_multiple\":true" : "",
                        s->device->twin ? ",\"twin_socket\":{\"supported\":true,\"fd_index\":0}" : "");
    WireVersion v = {0, 0, json, 0};

    a->len = wire_version_encode(a->body, sizeof(a->body), &v);
    if (s->device->twin) {
        int pair[2];

        g_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
        s->twin = pair[0];
        a->fd = pair[1];
        a->fd_close = true;
    }
}

static void answer_info(ContractServer *s, const WireMessage *m, Answer *a)
{
    WireInfo i = {.flags = WIRE_INFO_PCI | WIRE_INFO_RESET, .num_regions = 9, .num_irqs = 5};

    a->len = wire_info_encode(a->body, &i);
}

static void answer_region_info(ContractServer *s, const WireMessage *m, Answer *a)
{
    WireRegionInfo r;
    WireArea areas[2];
    ContractRegion c;
    uint32_t whole;

    a->error = wire_region_info_decode(&r, m->body, m->len);
    contract_region(s->device, r.index, &c);
    whole = (uint32_t)(c.area_count ? wire_region_info_sparse_size(c.area_count) : WIRE_REGION_INFO_SIZE);
    for (unsigned i = 0; i < c.area_count; i++) {
        areas[i] = (WireArea){c.areas[i][0], c.areas[i][1]};
    }
    r = (WireRegionInfo){.argsz = whole,
                         .index = r.index,
                         .flags = c.flags | (c.area_count ? WIRE_REGION_CAPS : 0),
                         .size = c.size,
                         .offset = c.fd_offset,
                         .cap_offset = c.area_count && r.argsz >= whole ? WIRE_REGION_INFO_SIZE : 0};
    a->len = wire_region_info_encode(a->body, &r);
    if (r.cap_offset) {
        a->len += wire_region_sparse_encode(a->body + a->len, areas, c.area_count);
    }
    a->fd = r.argsz == a->len ? c.fd : -1;
}

static void answer_irq_info(ContractServer *s, const WireMessage *m, Answer *a)
{
    WireIrqInfo i;

    a->error = wire_irq_info_decode(&i, m->body, m->len);
    i = (WireIrqInfo){.index = i.index, .flags = WIRE_IRQ_EVENTFD, .count = contract_irq_count(i.index)};
    a->len = wire_irq_info_encode(a->body, &i);
}

static void answer_set_irqs(ContractServer *s, const WireMessage *m, Answer *a)
{
    WireSetIrqs i;

    a->error = wire_set_irqs_decode(&i, m->body, m->len, m->fd_count);
    if (!a->error && m->fd_count > 8) {
        a->error = EINVAL;
    }
    if (!a->error) {
        a->error =
            -contract_set_irqs(s->device, i.flags, i.index, i.start, i.count, m->fd_count ? m->fds : NULL);
    }
}

static void answer_read(ContractServer *s, const WireMessage *m, Answer *a)
{
    WireRegionAccess r;
    ssize_t got = -1;

    a->error = wire_region_read_decode(&r, m->body, m->len, WIRE_MAX_DATA);
    if (!a->error) {
        a->data = g_malloc(r.count ? r.count : 1);
        got = contract_read(s->device, r.region, r.offset, r.count, a->data);
        a->error = got < 0 ? (int)-got : 0;
        r.count = got < 0 ? 0 : (uint32_t)got;
        a->data_len = r.count;
        a->len = wire_region_access_encode(a->body, &r);
    }
}

static void answer_write(ContractServer *s, const WireMessage *m, Answer *a)
{
    WireRegionAccess r;
    ssize_t done;

    a->error = wire_region_write_decode(&r, m->body, m->len, WIRE_MAX_DATA);
    if (!a->error) {
        s->device->posted[r.region < 9 ? r.region : 8] += !!(m->header.flags & WIRE_NO_REPLY);
        done = contract_write(s->device, r.region, r.offset, r.count, r.data);
        a->error = done < 0 ? (int)-done : 0;
        a->len = wire_region_access_encode(a->body, &r);
    }
}

static void answer_write_multi(ContractServer *s, const WireMessage *m, Answer *a)
{
    uint64_t count = 0;
    WireWrite w;

    a->error = wire_write_multi_decode(&count, m->body, m->len);
    for (uint64_t i = 0; !a->error && i < count; i++) {
        wire_write_multi_entry(&w, m->body, i);
        s->device->posted[w.region < 9 ? w.region : 8]++;
        contract_write(s->device, w.region, w.offset, w.count, w.data);
    }
    a->len = wire_write_multi_encode(a->body, count);
}

/* Writes of 4 bytes at the start of BAR 0 signal device->doorbell. */
static void answer_io_fds(ContractServer *s, const WireMessage *m, Answer *a)
{
    const WireIoFd doorbell = {.offset = 0, .size = 4, .shadow_fd_index = WIRE_IO_FD_NONE};
    WireIoFds f;

    a->error = wire_io_fds_decode(&f, m->body, m->len);
    if (!a->error) {
        bool any = !f.index && s->device->doorbell >= 0;

        f = (WireIoFds){.argsz = 16 + (any ? WIRE_IO_FD_SIZE : 0), .index = f.index, .count = any};
        a->len = wire_io_fds_encode(a->body, &f);
        a->len += any ? wire_io_fd_encode(a->body + a->len, &doorbell) : 0;
        a->fd = any ? s->device->doorbell : -1;
    }
}

static void answer_map(ContractServer *s, const WireMessage *m, Answer *a)
{
    WireDmaMap map;

    a->error = wire_dma_map_decode(&map, m->body, m->len, m->fd_count);
    if (!a->error) {
        int access = (map.flags & WIRE_DMA_READABLE ? PROT_READ : 0) | (map.flags & WIRE_DMA_WRITEABLE ? PROT_WRITE : 0);
        void *host = m->fd_count ? mmap(NULL, map.size, access, MAP_SHARED, m->fds[0], (off_t)map.fd_offset) : NULL;

        g_assert(host != MAP_FAILED);
        if (host) {
            struct iovec map_of = {host, map.size};

            g_array_append_val(s->mapped, map_of);
        }
        a->error = -contract_map(s->device, map.address, map.size, access, host);
    }
}

static void answer_unmap(ContractServer *s, const WireMessage *m, Answer *a)
{
    WireDmaUnmap u;

    a->error = wire_dma_unmap_decode(&u, m->body, m->len);
    if (!a->error && u.flags & WIRE_UNMAP_DIRTY_BITMAP) {
        a->data_len = u.bitmap_size;
        a->data = g_malloc0(u.bitmap_size + 8);
        a->error = -contract_report(s->device, u.address, u.size, u.pgsize, (uint64_t *)a->data);
    }
    a->error = a->error ? a->error : -contract_unmap(s->device, u.address, u.size);
    a->len = a->error ? 0 : wire_dma_unmap_encode(a->body, &u);
}

static void answer_log_start(ContractServer *s, const WireFeature *f, Answer *a)
{
    WireLogStart l;
    WireLogRange r;

    a->error = wire_log_start_decode(&l, f->data, f->data_len);
    if (!a->error) {
        wire_log_range_decode(&r, &l, 0);
        a->error = -contract_log(s->device, l.page_size, r.iova, r.iova + r.length);
    }
}

static void answer_log_report(ContractServer *s, const WireFeature *f, Answer *a)
{
    WireLogReport r;

    a->error = wire_log_report_decode(&r, f->data, f->data_len);
    if (!a->error) {
        a->data_len = wire_bitmap_size(r.length, r.page_size);
        a->data = g_malloc0(a->data_len);
        a->error = -contract_report(s->device, r.iova, r.length, r.page_size, (uint64_t *)a->data);
    }
}

/* Migration: the state is whatever was set last, its data what was written last. */
static void answer_state(ContractServer *s, const WireFeature *f, Answer *a)
{
    WireMigDeviceState state = {.state = s->device->state};

    if (f->flags & WIRE_FEATURE_SET) {
        a->error = wire_mig_state_decode(&state, f->data, f->data_len);
        s->device->state = state.state;
    }
    a->len += wire_mig_state_encode(a->body + WIRE_FEATURE_SIZE, &state);
}

static void answer_feature(ContractServer *s, const WireMessage *m, Answer *a)
{
    WireFeature f;

    a->error = wire_feature_decode(&f, m->body, m->len);
    if (a->error) {
        return;
    }
    memcpy(a->body, m->body, MIN(m->len, sizeof(a->body)));
    a->len = WIRE_FEATURE_SIZE;
    switch (f.flags & WIRE_FEATURE_INDEX_MASK) {
    case WIRE_FEATURE_LOG_START:
        answer_log_start(s, &f, a);
        break;
    case WIRE_FEATURE_LOG_STOP:
        a->error = -contract_log(s->device, 0, 0, 0);
        break;
    case WIRE_FEATURE_LOG_REPORT:
        answer_log_report(s, &f, a);
        a->len += WIRE_LOG_REPORT_SIZE;
        break;
    case WIRE_FEATURE_MIG_STATE:
        answer_state(s, &f, a);
        break;
    default:
        a->error = EINVAL;
    }
}

static void answer_data(ContractServer *s, const WireMessage *m, Answer *a)
{
    ContractDevice *d = s->device;
    WireMigData data = {0};

    if (m->header.command == WIRE_MIG_DATA_WRITE) {
        a->error = wire_mig_write_decode(&data, m->body, m->len, sizeof(d->data));
        d->data_len = a->error ? 0 : data.size;
        memcpy(d->data, data.data, d->data_len);
    } else {
        a->error = wire_mig_read_decode(&data, m->body, m->len, UINT32_MAX);
        data = (WireMigData){.size = MIN(data.size, d->data_len)};
        a->data_len = data.size;
        a->data = g_memdup2(d->data, sizeof(d->data));
        d->data_len = 0;
    }
    a->len = a->error ? 0 : wire_mig_data_encode(a->body, &data);
}

static void answer_reset(ContractServer *s, const WireMessage *m, Answer *a)
{
    a->error = -contract_reset(s->device);
}

static void answer(ContractServer *s, WireStream *stream, const WireMessage *m)
{
    static void (*const table[WIRE_COMMAND_COUNT])(ContractServer * s, const WireMessage *m, Answer *a) = {
        [WIRE_VERSION] = answer_version,
        [WIRE_GET_INFO] = answer_info,
        [WIRE_GET_REGION_INFO] = answer_region_info,
        [WIRE_GET_IRQ_INFO] = answer_irq_info,
        [WIRE_SET_IRQS] = answer_set_irqs,
        [WIRE_REGION_READ] = answer_read,
        [WIRE_REGION_WRITE] = answer_write,
        [WIRE_WRITE_MULTI] = answer_write_multi,
        [WIRE_GET_REGION_IO_FDS] = answer_io_fds,
        [WIRE_DMA_MAP] = answer_map,
        [WIRE_DMA_UNMAP] = answer_unmap,
        [WIRE_RESET] = answer_reset,
        [WIRE_DEVICE_FEATURE] = answer_feature,
        [WIRE_MIG_DATA_READ] = answer_data,
        [WIRE_MIG_DATA_WRITE] = answer_data,
    };
    Answer a = {.fd = -1};
    WireHeader h = {.id = m->header.id, .command = m->header.command, .flags = WIRE_TYPE_REPLY};
    struct iovec iov[2];

    if (m->header.command < WIRE_COMMAND_COUNT && table[m->header.command]) {
        table[m->header.command](s, m, &a);
    } else {
        a.error = EINVAL;
    }
    if (!(m->header.flags & WIRE_NO_REPLY)) {
        h.flags |= a.error ? WIRE_ERROR : 0;
        h.error = (uint32_t)a.error;
        iov[0] = (struct iovec){a.body, a.len};
        iov[1] = (struct iovec){a.data, a.data_len};
        g_mutex_lock(&s->send_lock);
        wire_stream_send(stream, &h, iov, a.error ? 0 : 2, &a.fd, a.fd >= 0, WIRE_STREAM_WAIT);
        g_mutex_unlock(&s->send_lock);
    }
    if (a.fd_close) {
        close(a.fd);
    }
    g_free(a.data);
}

static void dma_answered(ContractServer *s, const WireMessage *m)
{
    bool read = m->header.command == WIRE_DMA_READ;
    WireDmaAccess got;

    g_mutex_lock(&s->lock);
    s->dma_error = m->header.flags & WIRE_ERROR ? (int)m->header.error
                   : read                       ? wire_dma_read_decode_reply(&got, m->body, m->len, &s->dma)
                                                : wire_dma_write_decode_reply(m->body, m->len, &s->dma);
    if (read && !s->dma_error) {
        memcpy(s->dma_data, got.data, got.count);
    }
    g_cond_signal(&s->dma_answered);
    g_mutex_unlock(&s->lock);
}

int contract_server_dma(ContractServer *s, uint64_t iova, void *data, size_t size, bool write)
{
    WireHeader h = {.id = 7, .command = write ? WIRE_DMA_WRITE : WIRE_DMA_READ, .flags = WIRE_TYPE_COMMAND};
    uint8_t head[WIRE_DMA_ACCESS_SIZE];
    int err;

    g_mutex_lock(&s->lock);
    s->dma = (WireDmaAccess){.address = iova, .count = size};
    s->dma_data = data;
    s->dma_error = -1;
    g_mutex_lock(&s->send_lock);
    wire_stream_send(s->stream, &h, (struct iovec[]){{head, wire_dma_access_encode(head, &s->dma)}, {data, size}},
                     write ? 2 : 1, NULL, 0, WIRE_STREAM_WAIT);
    g_mutex_unlock(&s->send_lock);
    while (s->dma_error < 0) {
        g_cond_wait(&s->dma_answered, &s->lock);
    }
    err = s->dma_error;
    g_mutex_unlock(&s->lock);
    return -err;
}

/* Keeps maps unanswered until hold_maps of them are there. */
static bool hold(ContractServer *s, WireStream *stream, GArray *held, WireMessage *m)
{
    if (m->header.command != WIRE_DMA_MAP || !s->device->hold_maps) {
        return false;
    }
    g_array_append_val(held, *m);
    for (guint i = 0; held->len == s->device->hold_maps && i < held->len; i++) {
        answer(s, stream, &g_array_index(held, WireMessage, i));
    }
    return true;
}

static void release_held(GArray *held)
{
    for (guint i = 0; i < held->len; i++) {
        wire_message_clear(&g_array_index(held, WireMessage, i));
    }
    g_array_free(held, TRUE);
}

#define BARE_SIZE (WIRE_HEADER_SIZE + WIRE_REGION_ACCESS_SIZE + 4)

/* The answer; its size, 0: nothing is to be said. */
static size_t bare_answer(uint8_t *out, const uint8_t *in, WireHeader h)
{
    static const uint8_t sizes[WIRE_COMMAND_COUNT] = {
        [WIRE_REGION_READ] = BARE_SIZE,
        [WIRE_REGION_WRITE] = WIRE_HEADER_SIZE + WIRE_REGION_ACCESS_SIZE,
        [WIRE_DMA_MAP] = WIRE_HEADER_SIZE,
        [WIRE_DMA_UNMAP] = WIRE_HEADER_SIZE + WIRE_DMA_UNMAP_SIZE,
    };

    g_assert(h.command < WIRE_COMMAND_COUNT && (sizes[h.command] || h.flags & WIRE_NO_REPLY));
    if (h.flags & WIRE_NO_REPLY) {
        return 0;
    }
    memcpy(out, in, MIN(sizes[h.command], h.size));
    h.flags = WIRE_TYPE_REPLY;
    h.size = sizes[h.command];
    wire_header_encode(out, &h);
    return h.size;
}

static ssize_t bare_recv(int fd, PollWindow *w, void *buf, size_t size)
{
    struct pollfd ready = {fd, POLLIN, 0};
    gint64 begin;
    ssize_t got;

    if (!w->max_ns) {
        return recv(fd, buf, size, 0);
    }
    begin = g_get_monotonic_time();
    poll_window_look(w, &ready, 1, INT64_MAX);
    got = recv(fd, buf, size, 0);
    poll_window_learn(w, (g_get_monotonic_time() - begin) * 1000);
    return got;
}

/* A system call or two for each request, as few as any server can do with: what is measured against it is the
 * client. */
static void serve_bare(int fd, int64_t poll_ns)
{
    PollWindow window = {.max_ns = poll_ns};
    uint8_t in[16384], out[BARE_SIZE] = {0};
    size_t have = 0, done;
    WireHeader h;
    ssize_t got;

    while ((got = bare_recv(fd, &window, in + have, sizeof(in) - have)) > 0) {
        have += (size_t)got;
        for (done = 0; !wire_header_decode(&h, in + done, have - done) && h.size <= have - done;
             done += h.size) {
            g_assert(!wire_header_check(&h, sizeof(in)));
            size_t len = bare_answer(out, in + done, h);

            if (len) {
                send(fd, out, len, MSG_NOSIGNAL);
            }
        }
        memmove(in, in + done, have - done);
        have -= done;
    }
}

static gpointer server_thread(gpointer opaque)
{
    ContractServer *s = opaque;

    for (;;) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
        WireStream *stream;
        WireMessage m;
        GArray *held;

        if (fd < 0) {
            return NULL;
        }
        held = g_array_new(FALSE, FALSE, sizeof(WireMessage));
        stream = wire_stream_new(fd, WIRE_MAX_MESSAGE, 1u << 20);
        g_mutex_lock(&s->lock);
        s->stream = stream;
        g_mutex_unlock(&s->lock);
        while (!wire_stream_receive(stream, &m, WIRE_STREAM_WAIT)) {
            if ((m.header.flags & WIRE_TYPE_MASK) == WIRE_TYPE_REPLY) {
                dma_answered(s, &m);
                wire_message_clear(&m);
            } else if (!hold(s, stream, held, &m)) {
                answer(s, stream, &m);
                wire_message_clear(&m);
            }
            if (__atomic_load_n(&s->bare, __ATOMIC_SEQ_CST)) {
                serve_bare(fd, s->bare_poll_ns);
                break;
            }
        }
        release_held(held);
        contract_set_irqs(s->device, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, NULL);
        contract_set_irqs(s->device, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_INTX_IRQ_INDEX, 0, 0, NULL);
        g_mutex_lock(&s->lock);
        s->stream = NULL;
        g_mutex_unlock(&s->lock);
        wire_stream_free(stream);
        if (s->twin >= 0) {
            close(s->twin);
            s->twin = -1;
        }
    }
}

ContractServer *contract_server_new(ContractDevice *d, const char *path)
{
    ContractServer *s = g_new0(ContractServer, 1);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    s->device = d;
    s->path = g_strdup(path);
    g_mutex_init(&s->lock);
    g_mutex_init(&s->send_lock);
    g_cond_init(&s->dma_answered);
    s->mapped = g_array_new(FALSE, FALSE, sizeof(struct iovec));
    g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
    s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    s->twin = -1;
    g_assert(!bind(s->listener, (struct sockaddr *)&addr, sizeof(addr)) && !listen(s->listener, 1));
    s->thread = g_thread_new("contract server", server_thread, s);
    return s;
}

void contract_server_go_bare(ContractServer *s, int64_t poll_ns)
{
    s->bare_poll_ns = poll_ns;
    __atomic_store_n(&s->bare, true, __ATOMIC_SEQ_CST);
}

void contract_server_hang_up(ContractServer *s)
{
    g_mutex_lock(&s->lock);
    if (s->stream) {
        wire_stream_shutdown(s->stream);
    }
    g_mutex_unlock(&s->lock);
}

void contract_server_free(ContractServer *s)
{
    shutdown(s->listener, SHUT_RDWR);
    contract_server_hang_up(s);
    g_thread_join(s->thread);
    close(s->listener);
    unlink(s->path);
    for (guint i = 0; i < s->mapped->len; i++) {
        struct iovec *map = &g_array_index(s->mapped, struct iovec, i);

        munmap(map->iov_base, map->iov_len);
    }
    g_array_free(s->mapped, TRUE);
    g_cond_clear(&s->dma_answered);
    g_mutex_clear(&s->send_lock);
    g_mutex_clear(&s->lock);
    g_free(s->path);
    g_free(s);
}
