/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -netdev tap: frames go to and come from a network interface of the host (tun(4) of Linux:
 * Documentation/networking/ tuntap).  The interface is set up by whoever owns the host; no scripts are run.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/error.h"
#include "net-internal.h"

#define TAP_DEVICE "/dev/net/tun"
/* Frames taken in one go, so that others get their turn. */
#define TAP_BATCH 64

typedef struct Tap {
    int fd;
    LoopFd *watch;
    bool busy; /* the interface's queue is full */
} Tap;

static void tap_writable(void *opaque);
static void tap_readable(void *opaque);

static void tap_update(NetBackend *net)
{
    Tap *tap = net->own;

    loop_set_fd(tap->watch, net_rx_full(net) ? NULL : tap_readable, tap->busy ? tap_writable : NULL);
}

static void tap_readable(void *opaque)
{
    NetBackend *net = opaque;
    Tap *tap = net->own;
    uint8_t frame[NET_FRAME_MAX];

    for (int i = 0; i < TAP_BATCH && !net_rx_full(net); i++) {
        ssize_t len = read(tap->fd, frame, sizeof(frame));

        if (len <= 0) {
            break;
        }
        net_deliver(net, frame, (size_t)len);
    }
    tap_update(net);
}

static void tap_writable(void *opaque)
{
    NetBackend *net = opaque;

    ((Tap *)net->own)->busy = false;
    net_tx_ready(net);
    tap_update(net);
}

static NetSendResult tap_send(NetBackend *net, const uint8_t *frame, size_t len)
{
    Tap *tap = net->own;
    ssize_t written;

    do {
        written = write(tap->fd, frame, len);
    } while (written < 0 && errno == EINTR);
    if (written < 0 && errno == EAGAIN) {
        tap->busy = true;
        tap_update(net);
        return NET_BUSY;
    }
    return NET_SENT; /* an interface that is down takes nothing: lost, as on a wire */
}

static void tap_start(NetBackend *net)
{
    Tap *tap = net->own;

    tap->watch = loop_add_fd(net->loop, tap->fd, tap_readable, NULL, net);
}

static void tap_stop(NetBackend *net)
{
    Tap *tap = net->own;

    g_clear_pointer(&tap->watch, loop_remove_fd);
    tap->busy = false;
}

static void tap_close(NetBackend *net)
{
    close(((Tap *)net->own)->fd);
}

/* fd=N: an open tap descriptor of whoever started us. */
static int tap_open_fd(const char *text, GError **error)
{
    struct ifreq req = {0};
    guint64 fd;

    if (!g_ascii_string_to_unsigned(text, 10, 0, G_MAXINT, &fd, NULL)) {
        error_set(error, "'fd' must be the number of an open descriptor (%s)", text);
        return -1;
    }
    if (ioctl((int)fd, TUNGETIFF, &req) != 0 || !(req.ifr_flags & IFF_TAP)) {
        error_set(error, "fd=%s: not an open descriptor of a tap interface", text);
        return -1;
    }
    if (req.ifr_flags & IFF_VNET_HDR) {
        error_set(error, "fd=%s: the interface adds headers (IFF_VNET_HDR); open it without", text);
        return -1;
    }
    return (int)fd;
}

static int tap_open_name(const char *name, struct ifreq *req, GError **error)
{
    int fd;

    if (strlen(name) >= sizeof(req->ifr_name)) {
        error_set(error, "'ifname' is too long (%s, allowed 1..%zu bytes)", name, sizeof(req->ifr_name) - 1);
        return -1;
    }
    fd = open(TAP_DEVICE, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        error_set_errno(error, errno, "cannot open " TAP_DEVICE);
        return -1;
    }
    strcpy(req->ifr_name, name);
    req->ifr_flags = IFF_TAP | IFF_NO_PI;
    if (ioctl(fd, TUNSETIFF, req) != 0) {
        error_set_errno(error, errno,
                        "cannot open interface '%s'; make it with: ip tuntap add mode tap name %s", name,
                        *name ? name : "tap0");
        close(fd);
        return -1;
    }
    return fd;
}

static bool tap_open(NetBackend *net, struct json_object *opts, GError **error)
{
    static const char *const scripts[] = {"script", "downscript", NULL};
    const char *name = net_opt_str(opts, "ifname"), *fd_text = net_opt_str(opts, "fd");
    Tap *tap = net->own;
    struct ifreq req = {0};
    bool vhost;

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
    if (vhost || (name && fd_text)) {
        error_set(error,
                  vhost ? "vhost=on is not available (allowed: off)" : "give ifname= or fd=, not both");
        return false;
    }
    tap->fd = fd_text ? tap_open_fd(fd_text, error) : tap_open_name(name ? name : "", &req, error);
    if (tap->fd < 0) {
        return false;
    }
    fcntl(tap->fd, F_SETFL, fcntl(tap->fd, F_GETFL) | O_NONBLOCK);
    net->info = g_strdup_printf("%s: type=tap,%s=%s", net->obj.id, fd_text ? "fd" : "ifname",
                                fd_text ? fd_text : req.ifr_name);
    return true;
}

static void tap_resume(NetBackend *net)
{
    tap_update(net);
}

static const char *const tap_keys[] = {"ifname", "fd", "script", "downscript", "vhost", NULL};

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
};
