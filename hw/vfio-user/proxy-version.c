/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VERSION exchange with its checks (vfio-user: VERSION, capabilities). */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>

#include "core/error.h"
#include "hw/vfio-user/proxy-internal.h"

#define VERSION_MAJOR 0
#define VERSION_MINOR 1

/* The numbers a mistake in a capability is about. */
static void caps_error(const Proxy *p, const WireCaps *caps, const char *key, GError **error)
{
    const struct {
        const char *key;
        uint64_t value;
        const char *allowed;
    } limits[] = {
        {"max_msg_fds", (uint64_t)caps->max_msg_fds, "0..16"},
        {"max_data_xfer_size", caps->max_data_xfer_size, "1..67108864"},
        {"max_dma_maps", caps->max_dma_maps, "0..65535"},
        {"pgsizes", caps->pgsizes, "no bit below 4096"},
        {"max_bitmap_size", caps->max_bitmap_size, "0..268435456"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        if (!strcmp(limits[i].key, key)) {
            error_set(error, "%s: socket=%s: server's capability %s is bad (%" PRIu64 ", allowed %s)",
                      p->name, p->where, key, limits[i].value, limits[i].allowed);
            return;
        }
    }
    error_set(error, "%s: socket=%s: server's capabilities are malformed (%s)", p->name, p->where, key);
}

/* The socket the server will send its requests on. */
static bool take_twin(Proxy *p, WireMessage *m, int64_t index, GError **error)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);
    int fd = index >= 0 && index < m->fd_count ? m->fds[index] : -1;

    if (!p->carries_fds || fd < 0 || getsockname(fd, (struct sockaddr *)&own, &len) < 0) {
        error_set(error,
                  "%s: socket=%s: server's capability twin_socket is bad (fd_index %" PRId64 " of %u fds)",
                  p->name, p->where, index, m->fd_count);
        return false;
    }
    m->fds[index] = -1;
    return proxy_io_add_twin(p, fd, error);
}

static bool check_version(Proxy *p, WireMessage *m, GError **error)
{
    WireVersion v;
    WireCaps caps;
    const char *key = NULL;

    if (wire_version_decode(&v, m->body, m->len)) {
        error_set(error,
                  "%s: socket=%s: server's VERSION reply is malformed (%zu bytes, JSON must end with NUL)",
                  p->name, p->where, m->len);
        return false;
    }
    if (v.major != VERSION_MAJOR || v.minor > VERSION_MINOR) {
        error_set(error, "%s: socket=%s: server speaks version %u.%u of vfio-user (allowed 0.0..%u.%u)",
                  p->name, p->where, v.major, v.minor, VERSION_MAJOR, VERSION_MINOR);
        return false;
    }
    if (wire_caps_parse(&caps, v.json, true, &key)) {
        caps_error(p, &(WireCaps){0}, key ? key : "JSON", error);
        return false;
    }
    if (wire_caps_check_server(&caps, &key)) {
        caps_error(p, &caps, key, error);
        return false;
    }
    if (caps.twin_socket && !take_twin(p, m, caps.twin_fd_index, error)) {
        return false;
    }
    p->caps = caps;
    if (!p->carries_fds) {
        p->caps.max_msg_fds = 0;
    }
    return true;
}

bool proxy_negotiate(Proxy *p, GError **error)
{
    char json[256];
    uint8_t body[WIRE_VERSION_SIZE + sizeof(json)];
    WireCaps caps;
    struct iovec iov = {.iov_base = body};
    WireMessage reply;
    int err;
    bool ok;

    wire_caps_init(&caps);
    caps.max_msg_fds = WIRE_MAX_FDS_CLIENT;
    caps.has_max_msg_fds = caps.has_max_data_xfer_size = caps.has_max_dma_maps = caps.has_pgsizes = true;
    caps.write_multiple = caps.has_write_multiple = true;
    caps.twin_socket = caps.has_twin_socket = p->carries_fds;
    caps.dma_faults = caps.has_dma_faults = true;
    wire_caps_encode(json, sizeof(json), &caps);
    iov.iov_len = wire_version_encode(
        body, sizeof(body), &(WireVersion){.major = VERSION_MAJOR, .minor = VERSION_MINOR, .json = json});
    err = proxy_call(p, &(ProxyRequest){.command = WIRE_VERSION, .iov = &iov, .iov_count = 1}, &reply);
    if (err == ENOTCONN) {
        error_set(error, "%s: socket=%s: %s before its VERSION reply", p->name, p->where, p->reason);
        return false;
    }
    if (err) {
        error_set_errno(error, err, "%s: socket=%s: no agreement on a version with the server", p->name,
                        p->where);
        return false;
    }
    ok = check_version(p, &reply, error);
    wire_message_clear(&reply);
    return ok;
}
