/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -netdev tap: frames go to and come from a network interface of the host (Linux:
 * Documentation/networking/tuntap, <linux/if_tun.h>).  The interface is set up by whoever owns the host; no
 * scripts are run.  With vnet_hdr the kernel completes checksums and cuts segments, or leaves them to the
 * card; with several queues it chooses one by flow.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/error.h"
#include "net-internal.h"

#define TAP_DEVICE "/dev/net/tun"
/* Frames taken in one go, so that others get their turn. */
#define TAP_BATCH 64

typedef struct TapQueue {
    NetBackend *net;
    unsigned index;
    int fd;
    LoopFd *watch;
    bool busy;     /* the interface's queue is full */
    bool detached; /* the kernel gives it nothing */
} TapQueue;

typedef struct Tap {
    TapQueue queue[NET_QUEUES_MAX];
} Tap;

static TapQueue *tap_queue(NetBackend *net, unsigned queue)
{
    return &((Tap *)net->own)->queue[queue];
}

/* --- frames --- */

static void tap_writable(void *opaque);
static void tap_readable(void *opaque);

static void tap_update(TapQueue *q)
{
    if (q->watch) {
        loop_set_fd(q->watch, net_rx_full(q->net, q->index) ? NULL : tap_readable,
                    q->busy ? tap_writable : NULL);
    }
}

/* The kernel's header has our NetOffload's layout in the host's byte order, which is little (TUNSETVNETLE is
 * not needed). */
static NetOffload tap_offload(const struct virtio_net_hdr *h)
{
    return (NetOffload){h->flags & (NET_OFFLOAD_NEEDS_CSUM | NET_OFFLOAD_DATA_VALID),
                        h->gso_type,
                        h->hdr_len,
                        h->gso_size,
                        h->csum_start,
                        h->csum_offset};
}

static void tap_readable(void *opaque)
{
    TapQueue *q = opaque;
    struct virtio_net_hdr header;
    size_t head = q->net->offloads ? sizeof(header) : 0;
    uint8_t frame[NET_FRAME_MAX];
    struct iovec iov[] = {{&header, head}, {frame, sizeof(frame)}};

    for (int i = 0; i < TAP_BATCH && !net_rx_full(q->net, q->index); i++) {
        ssize_t len = readv(q->fd, iov, G_N_ELEMENTS(iov));
        NetOffload offload = {0};

        if (len <= (ssize_t)head) {
            break;
        }
        if (head) {
            offload = tap_offload(&header);
        }
        net_deliver(q->net, q->index, frame, (size_t)len - head, &offload);
    }
    tap_update(q);
}

static void tap_writable(void *opaque)
{
    TapQueue *q = opaque;

    q->busy = false;
    net_tx_ready(q->net, q->index);
    tap_update(q);
}

static NetSendResult tap_send(NetBackend *net, unsigned queue, const uint8_t *frame, size_t len,
                              const NetOffload *o)
{
    TapQueue *q = tap_queue(net, queue);
    struct virtio_net_hdr header = {.flags = o->flags,
                                    .gso_type = o->gso_type,
                                    .hdr_len = o->hdr_len,
                                    .gso_size = o->gso_size,
                                    .csum_start = o->csum_start,
                                    .csum_offset = o->csum_offset};
    const struct iovec iov[] = {{&header, net->offloads ? sizeof(header) : 0}, {(void *)frame, len}};
    ssize_t written;

    do {
        written = writev(q->fd, iov, G_N_ELEMENTS(iov));
    } while (written < 0 && errno == EINTR);
    if (written < 0 && errno == EAGAIN) {
        q->busy = true;
        tap_update(q);
        return NET_BUSY;
    }
    return NET_SENT; /* an interface that is down, or a header that cannot be: lost, as on a wire */
}

static void tap_resume(NetBackend *net, unsigned queue)
{
    tap_update(tap_queue(net, queue));
}

/* --- life --- */

static void tap_watch(TapQueue *q)
{
    /* One that is detached polls as an error, always. */
    if (!q->watch && !q->detached) {
        q->watch = loop_add_fd(q->net->loop, q->fd, tap_readable, NULL, q);
    }
}

static void tap_start(NetBackend *net)
{
    for (unsigned i = 0; i < net->queues; i++) {
        tap_watch(tap_queue(net, i));
    }
}

static void tap_stop(NetBackend *net)
{
    for (unsigned i = 0; i < net->queues; i++) {
        TapQueue *q = tap_queue(net, i);

        g_clear_pointer(&q->watch, loop_remove_fd);
        q->busy = false;
    }
}

static void tap_use_queue(TapQueue *q, bool use)
{
    struct ifreq req = {.ifr_flags = use ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

    if (q->detached == use && ioctl(q->fd, TUNSETQUEUE, &req) == 0) {
        q->detached = !use;
        g_clear_pointer(&q->watch, loop_remove_fd);
        tap_watch(q);
    }
}

static void tap_configure(NetBackend *net)
{
    static const struct {
        unsigned rx, tun;
    } offloads[] = {{NET_RX_CSUM, TUN_F_CSUM},
                    {NET_RX_TSO4, TUN_F_TSO4},
                    {NET_RX_TSO6, TUN_F_TSO6},
                    {NET_RX_ECN, TUN_F_TSO_ECN}};
    unsigned long flags = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(offloads); i++) {
        flags |= net->rx_offloads & offloads[i].rx ? offloads[i].tun : 0;
    }
    if (net->offloads && ioctl(tap_queue(net, 0)->fd, TUNSETOFFLOAD, flags) != 0) {
        g_printerr("netdev %s: the interface does not take its offloads: %s\n", net->obj.id,
                   g_strerror(errno));
    }
    for (unsigned i = 0; net->queues > 1 && i < net->queues; i++) {
        tap_use_queue(tap_queue(net, i), i < net->queues_used);
    }
}

static void tap_close(NetBackend *net)
{
    for (unsigned i = 0; i < net->queues; i++) {
        close(tap_queue(net, i)->fd);
    }
}

/* --- options --- */

/* An open tap descriptor of whoever started us. */
static bool tap_take_fd(NetBackend *net, const char *text, struct ifreq *req, GError **error)
{
    guint64 fd;

    if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT, &fd, NULL)) {
        error_set(error, "'fd' must be the number of an open descriptor (%s)", text);
        return false;
    }
    if (ioctl((int)fd, TUNGETIFF, req) != 0 || !(req->ifr_flags & IFF_TAP)) {
        error_set(error, "fd=%s: not an open descriptor of a tap interface", text);
        return false;
    }
    if (net->queues && net->offloads != !!(req->ifr_flags & IFF_VNET_HDR)) {
        error_set(error, "fd=%s: all queues must be open with IFF_VNET_HDR, or none", text);
        return false;
    }
    net->offloads = req->ifr_flags & IFF_VNET_HDR;
    *tap_queue(net, net->queues) = (TapQueue){.net = net, .index = net->queues, .fd = (int)fd};
    net->queues++;
    return true;
}

/* What is taken so far stays the starter's on failure: it is not ours to close. */
static bool tap_take_fds(NetBackend *net, const char *list, struct ifreq *req, GError **error)
{
    g_auto(GStrv) words = g_strsplit(list, ":", -1);
    unsigned n = g_strv_length(words);

    if (n < 1 || n > NET_QUEUES_MAX) {
        error_set(error, "'fds' must name the descriptors of 1..%d queues (%s)", NET_QUEUES_MAX, list);
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        if (!tap_take_fd(net, words[i], req, error)) {
            return false;
        }
    }
    return true;
}

static bool tap_open_queue(NetBackend *net, const char *name, struct ifreq *req, GError **error)
{
    int fd = open(TAP_DEVICE, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        error_set_errno(error, errno, "cannot open " TAP_DEVICE);
        return false;
    }
    if (ioctl(fd, TUNSETIFF, req) != 0) {
        error_set_errno(error, errno,
                        "cannot open interface '%s'; make it with: ip tuntap add mode tap %sname %s", name,
                        req->ifr_flags & IFF_MULTI_QUEUE ? "multi_queue " : "", *name ? name : "tap0");
        close(fd);
        return false;
    }
    *tap_queue(net, net->queues) = (TapQueue){.net = net, .index = net->queues, .fd = fd};
    net->queues++;
    return true;
}

static bool tap_open_name(NetBackend *net, struct json_object *opts, struct ifreq *req, GError **error)
{
    const char *name = net_opt_str(opts, "ifname"), *text = net_opt_str(opts, "queues");
    guint64 queues = 1;

    if (text && !g_ascii_string_to_unsigned(text, 10, 1, NET_QUEUES_MAX, &queues, NULL)) {
        error_set(error, "'queues' must be a number of queues (%s, allowed 1..%d)", text, NET_QUEUES_MAX);
        return false;
    }
    name = name ? name : "";
    if (strlen(name) >= sizeof(req->ifr_name)) {
        error_set(error, "'ifname' is too long (%s, allowed 1..%zu bytes)", name, sizeof(req->ifr_name) - 1);
        return false;
    }
    if (!net_opt_bool(opts, "vnet_hdr", true, &net->offloads, error)) {
        return false;
    }
    strcpy(req->ifr_name, name);
    req->ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (net->offloads ? IFF_VNET_HDR : 0) |
                             (queues > 1 ? IFF_MULTI_QUEUE : 0));
    while (net->queues < queues) {
        if (!tap_open_queue(net, name, req, error)) {
            tap_close(net);
            return false;
        }
    }
    return true;
}

static bool tap_check_options(struct json_object *opts, GError **error)
{
    static const char *const scripts[] = {"script", "downscript", NULL};
    static const char *const with_name[] = {"ifname", "queues", "vnet_hdr", NULL};
    bool fd = net_opt_str(opts, "fd"), fds = net_opt_str(opts, "fds"), vhost;

    for (int i = 0; scripts[i]; i++) {
        const char *script = net_opt_str(opts, scripts[i]);

        if (script && *script && strcmp(script, "no") != 0) {
            error_set(error, "%s=%s: no scripts are run (allowed: no); set the interface up before",
                      scripts[i], script);
            return false;
        }
    }
    if (!net_opt_bool(opts, "vhost", false, &vhost, error)) {
        return false;
    }
    if (vhost || (fd && fds)) {
        error_set(error, vhost ? "vhost=on is not available (allowed: off)" : "give fd= or fds=, not both");
        return false;
    }
    for (int i = 0; (fd || fds) && with_name[i]; i++) {
        if (net_opt_str(opts, with_name[i])) {
            error_set(error, "'%s' does not go with fd= or fds=: whoever opened the interface chose it",
                      with_name[i]);
            return false;
        }
    }
    return true;
}

static bool tap_open(NetBackend *net, struct json_object *opts, GError **error)
{
    const char *fds = net_opt_str(opts, "fd") ? net_opt_str(opts, "fd") : net_opt_str(opts, "fds");
    struct ifreq req = {0};

    net->queues = 0;
    if (!tap_check_options(opts, error) ||
        !(fds ? tap_take_fds(net, fds, &req, error) : tap_open_name(net, opts, &req, error))) {
        return false;
    }
    for (unsigned i = 0; i < net->queues; i++) {
        int fd = tap_queue(net, i)->fd;

        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
    net->info =
        g_strdup_printf("%s: type=tap,%s=%s,queues=%u,vnet_hdr=%s", net->obj.id, fds ? "fds" : "ifname",
                        fds ? fds : req.ifr_name, net->queues, net->offloads ? "on" : "off");
    return true;
}

static const char *const tap_keys[] = {"ifname", "fd",         "fds",   "queues", "vnet_hdr",
                                       "script", "downscript", "vhost", NULL};

const NetType net_type_tap = {
    .name = "tap",
    .keys = tap_keys,
    .size = sizeof(Tap),
    .open = tap_open,
    .close = tap_close,
    .start = tap_start,
    .stop = tap_stop,
    .send = tap_send,
    .resume = tap_resume,
    .configure = tap_configure,
};
