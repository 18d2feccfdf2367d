/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * -netdev user: a network of its own behind a user-space TCP/IP stack (libslirp), which makes ordinary
 * sockets of what the guest sends.  The guest is 10.0.2.15, the host 10.0.2.2, the name server 10.0.2.3
 * unless told otherwise.
 *
 * libslirp says before each sleep which descriptors it wants watched; whatever happens at one of them, or at
 * the time it asked for, makes it look at all of them.
 */
#include <libslirp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/error.h"
#include "net-internal.h"

#define USER_NET_LEN_DEFAULT 24
#define NS_PER_MS            INT64_C(1000000)

typedef struct UserWatch {
    LoopFd *watch;
    int fd, events; /* SLIRP_POLL_* it is watched for */
    bool wanted;    /* by the last fill */
} UserWatch;

typedef struct UserTimer {
    struct UserNet *user;
    SlirpTimerCb cb;
    void *cb_opaque;
    int64_t expires_ms; /* -1: not set */
    Timer *timer;       /* while started */
} UserTimer;

typedef struct UserNet {
    NetBackend *net;
    Slirp *slirp;
    GArray *polls;      /* of struct pollfd, from the last fill */
    GPtrArray *watches; /* of UserWatch * */
    GPtrArray *timers;  /* of UserTimer * */
    LoopBh *poll_bh;
    Timer *wake; /* when libslirp wants to look again */
} UserNet;

/* --- what libslirp asks of us --- */

static void user_wake(void *opaque)
{
    UserNet *u = opaque;

    if (u->poll_bh) {
        loop_bh_schedule(u->poll_bh);
    }
}

static ssize_t user_send_packet(const void *buf, size_t len, void *opaque)
{
    UserNet *u = opaque;
    /* Of the stack's own making, in this process. */
    const NetOffload valid = {.flags = NET_OFFLOAD_DATA_VALID};

    net_deliver(u->net, 0, buf, len, &valid);
    return (ssize_t)len;
}

static void user_guest_error(const char *msg, void *opaque)
{
    UserNet *u = opaque;

    if (u->net->user) {
        guest_error(u->net->user, "%s", msg);
    }
}

static int64_t user_clock_ns(void *opaque)
{
    UserNet *u = opaque;

    return clock_now(u->net->obj.machine->clocks, CLOCK_KIND_REALTIME);
}

static void user_timer_expired(void *opaque)
{
    UserTimer *t = opaque;

    t->expires_ms = -1;
    t->cb(t->cb_opaque);
    user_wake(t->user);
}

static void user_timer_arm(UserTimer *t)
{
    if (t->timer && t->expires_ms >= 0) {
        timer_set(t->timer, t->expires_ms * NS_PER_MS);
    }
}

static void user_timer_start(UserTimer *t)
{
    t->timer = timer_new(t->user->net->loop, CLOCK_KIND_REALTIME, user_timer_expired, t);
    user_timer_arm(t);
}

static void *user_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
    UserTimer *t = g_new0(UserTimer, 1);

    *t = (UserTimer){.user = opaque, .cb = cb, .cb_opaque = cb_opaque, .expires_ms = -1};
    g_ptr_array_add(t->user->timers, t);
    if (t->user->net->loop) {
        user_timer_start(t);
    }
    return t;
}

static void user_timer_free(void *timer, void *opaque)
{
    UserTimer *t = timer;

    g_ptr_array_remove_fast(t->user->timers, t);
    g_clear_pointer(&t->timer, timer_free);
    g_free(t);
}

static void user_timer_mod(void *timer, int64_t expires_ms, void *opaque)
{
    UserTimer *t = timer;

    t->expires_ms = expires_ms;
    user_timer_arm(t);
}

static void user_register_fd(int fd, void *opaque)
{
    /* The next fill names it. */
}

static void user_watch_free(gpointer p)
{
    UserWatch *w = p;

    loop_remove_fd(w->watch);
    g_free(w);
}

/* The descriptor is about to be closed: watching it any longer would watch somebody else's. */
static void user_unregister_fd(int fd, void *opaque)
{
    UserNet *u = opaque;

    for (guint i = 0; i < u->watches->len; i++) {
        if (((UserWatch *)g_ptr_array_index(u->watches, i))->fd == fd) {
            g_ptr_array_remove_index_fast(u->watches, i);
            return;
        }
    }
}

static const SlirpCb user_callbacks = {
    .send_packet = user_send_packet,
    .guest_error = user_guest_error,
    .clock_get_ns = user_clock_ns,
    .timer_new = user_timer_new,
    .timer_free = user_timer_free,
    .timer_mod = user_timer_mod,
    .register_poll_fd = user_register_fd,
    .unregister_poll_fd = user_unregister_fd,
    .notify = user_wake,
};

/* --- watching --- */

static const struct {
    int slirp;
    short poll;
} user_events[] = {
    {SLIRP_POLL_IN, POLLIN},   {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
    {SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

static int user_add_poll(int fd, int events, void *opaque)
{
    UserNet *u = opaque;
    struct pollfd pfd = {.fd = fd};

    for (size_t i = 0; i < G_N_ELEMENTS(user_events); i++) {
        pfd.events |= events & user_events[i].slirp ? user_events[i].poll : 0;
    }
    g_array_append_val(u->polls, pfd);
    return (int)u->polls->len - 1;
}

static int user_get_revents(int idx, void *opaque)
{
    UserNet *u = opaque;
    short found = g_array_index(u->polls, struct pollfd, idx).revents;
    int revents = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(user_events); i++) {
        revents |= found & user_events[i].poll ? user_events[i].slirp : 0;
    }
    return revents;
}

static void user_watch(UserNet *u, const struct pollfd *pfd)
{
    LoopFdFn *in = pfd->events & (POLLIN | POLLPRI) ? user_wake : NULL,
             *out = pfd->events & POLLOUT ? user_wake : NULL;
    UserWatch *w;

    for (guint i = 0; i < u->watches->len; i++) {
        w = g_ptr_array_index(u->watches, i);
        if (w->fd == pfd->fd) {
            w->wanted = true;
            if (w->events != pfd->events) {
                w->events = pfd->events;
                loop_set_fd(w->watch, in, out);
            }
            return;
        }
    }
    w = g_new0(UserWatch, 1);
    *w = (UserWatch){loop_add_fd(u->net->loop, pfd->fd, in, out, u), pfd->fd, pfd->events, true};
    g_ptr_array_add(u->watches, w);
}

/* Asks what to wait for next, and waits for that. */
static void user_fill(UserNet *u)
{
    uint32_t timeout = UINT32_MAX;

    g_array_set_size(u->polls, 0);
    slirp_pollfds_fill(u->slirp, &timeout, user_add_poll, u);
    for (guint i = 0; i < u->watches->len; i++) {
        ((UserWatch *)g_ptr_array_index(u->watches, i))->wanted = false;
    }
    for (guint i = 0; i < u->polls->len; i++) {
        user_watch(u, &g_array_index(u->polls, struct pollfd, i));
    }
    for (guint i = u->watches->len; i-- > 0;) {
        if (!((UserWatch *)g_ptr_array_index(u->watches, i))->wanted) {
            g_ptr_array_remove_index_fast(u->watches, i);
        }
    }
    if (timeout == UINT32_MAX) {
        timer_cancel(u->wake);
    } else {
        timer_set(u->wake, user_clock_ns(u) + timeout * NS_PER_MS);
    }
}

static void user_poll(void *opaque)
{
    UserNet *u = opaque;
    bool failed;

    if (net_rx_full(u->net, 0)) {
        g_ptr_array_set_size(u->watches, 0); /* resume comes back */
        return;
    }
    g_array_set_size(u->polls, 0);
    slirp_pollfds_fill(u->slirp, &(uint32_t){UINT32_MAX}, user_add_poll, u);
    failed = u->polls->len && poll((struct pollfd *)(void *)u->polls->data, u->polls->len, 0) < 0;
    slirp_pollfds_poll(u->slirp, failed, user_get_revents, u);
    user_fill(u);
}

static void user_start(NetBackend *net)
{
    UserNet *u = net->own;

    u->poll_bh = loop_bh_new(net->loop, user_poll, u);
    u->wake = timer_new(net->loop, CLOCK_KIND_REALTIME, user_wake, u);
    for (guint i = 0; i < u->timers->len; i++) {
        user_timer_start(g_ptr_array_index(u->timers, i));
    }
    user_wake(u);
}

static void user_stop(NetBackend *net)
{
    UserNet *u = net->own;

    g_ptr_array_set_size(u->watches, 0);
    for (guint i = 0; i < u->timers->len; i++) {
        g_clear_pointer(&((UserTimer *)g_ptr_array_index(u->timers, i))->timer, timer_free);
    }
    g_clear_pointer(&u->wake, timer_free);
    g_clear_pointer(&u->poll_bh, loop_bh_free);
}

static NetSendResult user_send(NetBackend *net, unsigned queue, const uint8_t *frame, size_t len,
                               const NetOffload *offload)
{
    UserNet *u = net->own;

    slirp_input(u->slirp, frame, (int)len);
    user_wake(u);
    return NET_SENT;
}

static void user_resume(NetBackend *net, unsigned queue)
{
    user_wake(net->own);
}

/* --- options --- */

static bool user_address(struct json_object *opts, const char *key, struct in_addr *addr, GError **error)
{
    const char *text = net_opt_str(opts, key);

    if (text && inet_pton(AF_INET, text, addr) != 1) {
        error_set(error, "'%s' must be an IPv4 address (%s)", key, text);
        return false;
    }
    return true;
}

/* net=ADDRESS[/BITS or /MASK]: the network, from which the other addresses follow. */
static bool user_network(struct json_object *opts, SlirpConfig *c, GError **error)
{
    const char *text = net_opt_str(opts, "net");
    g_auto(GStrv) parts = g_strsplit(text ? text : "10.0.2.0/24", "/", 2);
    guint64 bits = USER_NET_LEN_DEFAULT;
    uint32_t net;

    if (parts[1] && inet_pton(AF_INET, parts[1], &c->vnetmask) == 1) {
        bits = (guint64)__builtin_popcount(c->vnetmask.s_addr);
    } else if (parts[1] && !g_ascii_string_to_unsigned(parts[1], 10, 1, 30, &bits, NULL)) {
        bits = 0;
    }
    if (inet_pton(AF_INET, parts[0], &c->vnetwork) != 1 || bits < 1 || bits > 30 ||
        (ntohl(c->vnetmask.s_addr) && ntohl(c->vnetmask.s_addr) != UINT32_MAX << (32 - bits))) {
        error_set(error, "'net' must be ADDRESS/BITS (%s, bits allowed 1..30)", text);
        return false;
    }
    c->vnetmask.s_addr = htonl(UINT32_MAX << (32 - bits));
    c->vnetwork.s_addr &= c->vnetmask.s_addr;
    net = ntohl(c->vnetwork.s_addr);
    c->vhost.s_addr = htonl(net | (2 & ~(UINT32_MAX << (32 - bits))));
    c->vnameserver.s_addr = htonl(net | 3);
    c->vdhcp_start.s_addr = htonl(net | (15 & ~(UINT32_MAX << (32 - bits))));
    return true;
}

static bool user_in_network(const SlirpConfig *c, const char *key, struct in_addr addr, GError **error)
{
    char text[INET_ADDRSTRLEN];

    if ((addr.s_addr & c->vnetmask.s_addr) == c->vnetwork.s_addr) {
        return true;
    }
    error_set(error, "'%s' must be in the network of net= (%s)", key,
              inet_ntop(AF_INET, &addr, text, sizeof(text)));
    return false;
}

static bool user_config(struct json_object *opts, SlirpConfig *c, GError **error)
{
    bool restricted, ipv4, ipv6;

    c->version = 3;
    if (!net_opt_bool(opts, "restrict", false, &restricted, error) ||
        !net_opt_bool(opts, "ipv4", true, &ipv4, error) || !net_opt_bool(opts, "ipv6", true, &ipv6, error) ||
        !user_network(opts, c, error) || !user_address(opts, "host", &c->vhost, error) ||
        !user_address(opts, "dns", &c->vnameserver, error) ||
        !user_address(opts, "dhcpstart", &c->vdhcp_start, error) ||
        !user_in_network(c, "host", c->vhost, error) || !user_in_network(c, "dns", c->vnameserver, error) ||
        !user_in_network(c, "dhcpstart", c->vdhcp_start, error)) {
        return false;
    }
    if (c->vhost.s_addr == c->vnameserver.s_addr || c->vhost.s_addr == c->vdhcp_start.s_addr) {
        error_set(error, "'host', 'dns' and 'dhcpstart' must differ");
        return false;
    }
    c->restricted = restricted;
    c->in_enabled = ipv4;
    c->in6_enabled = ipv6;
    inet_pton(AF_INET6, "fec0::", &c->vprefix_addr6);
    c->vprefix_len = 64;
    inet_pton(AF_INET6, "fec0::2", &c->vhost6);
    inet_pton(AF_INET6, "fec0::3", &c->vnameserver6);
    c->vhostname = net_opt_str(opts, "hostname");
    c->tftp_path = net_opt_str(opts, "tftp");
    c->bootfile = net_opt_str(opts, "bootfile");
    c->vdomainname = net_opt_str(opts, "domainname");
    if (c->vhostname && strlen(c->vhostname) > 32) {
        error_set(error, "'hostname' is too long (%zu bytes, allowed 1..32)", strlen(c->vhostname));
        return false;
    }
    return true;
}

/* hostfwd=[tcp|udp]:[HOST]:PORT-[GUEST]:PORT */
static bool user_hostfwd(UserNet *u, const char *text, GError **error)
{
    bool udp = g_str_has_prefix(text, "udp:");
    const char *rest = strchr(text, ':'), *dash = rest ? strchr(rest, '-') : NULL;
    g_autofree char *outside = dash ? g_strndup(rest + 1, (gsize)(dash - rest - 1)) : NULL;
    g_autofree char *host = NULL, *guest = NULL;
    struct in_addr host_addr = {.s_addr = INADDR_ANY}, guest_addr = {0};
    uint16_t host_port, guest_port;

    if (!dash || !(udp || g_str_has_prefix(text, "tcp:") || text[0] == ':')) {
        error_set(error, "'hostfwd' must be tcp|udp:[HOST]:PORT-[GUEST]:PORT (%s)", text);
        return false;
    }
    if (!net_split_host_port("hostfwd", outside, &host, &host_port, error) ||
        !net_split_host_port("hostfwd", dash + 1, &guest, &guest_port, error)) {
        return false;
    }
    if ((*host && inet_pton(AF_INET, host, &host_addr) != 1) ||
        (*guest && inet_pton(AF_INET, guest, &guest_addr) != 1) || !guest_port) {
        error_set(error, "'hostfwd' needs IPv4 addresses and a guest port (%s)", text);
        return false;
    }
    if (slirp_add_hostfwd(u->slirp, udp, host_addr, host_port, guest_addr, guest_port) < 0) {
        error_set_errno(error, errno, "hostfwd=%s: cannot listen", text);
        return false;
    }
    return true;
}

static bool user_hostfwds(UserNet *u, struct json_object *opts, GError **error)
{
    struct json_object *list, *item;
    bool ok = true;

    if (!json_object_object_get_ex(opts, "hostfwd", &list)) {
        return true;
    }
    if (!json_object_is_type(list, json_type_array)) {
        return user_hostfwd(u, json_object_get_string(list), error);
    }
    for (size_t i = 0; ok && i < json_object_array_length(list); i++) {
        item = json_object_array_get_idx(list, i);
        /* QMP's form is {"str": TEXT}. */
        if (json_object_is_type(item, json_type_object)) {
            json_object_object_get_ex(item, "str", &item);
        }
        ok = user_hostfwd(u, item ? json_object_get_string(item) : "", error);
    }
    return ok;
}

/* A NULL-terminated array that borrows the strings, or NULL. */
static const char **user_dnssearch(struct json_object *opts)
{
    GPtrArray *names = g_ptr_array_new();
    struct json_object *list;

    if (json_object_object_get_ex(opts, "dnssearch", &list) && json_object_is_type(list, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(list); i++) {
            g_ptr_array_add(names, (gpointer)json_object_get_string(json_object_array_get_idx(list, i)));
        }
    }
    g_ptr_array_add(names, NULL);
    return (const char **)g_ptr_array_free(names, names->len == 1);
}

static void user_close(NetBackend *net)
{
    UserNet *u = net->own;

    if (u->slirp) {
        slirp_cleanup(u->slirp);
    }
    g_ptr_array_free(u->watches, TRUE);
    g_ptr_array_free(u->timers, TRUE);
    g_array_free(u->polls, TRUE);
}

static bool user_open(NetBackend *net, struct json_object *opts, GError **error)
{
    UserNet *u = net->own;
    g_autofree const char **search = user_dnssearch(opts);
    SlirpConfig config = {.vdnssearch = search};
    char host[INET_ADDRSTRLEN];

    if (!user_config(opts, &config, error)) {
        return false;
    }
    u->net = net;
    u->polls = g_array_new(FALSE, FALSE, sizeof(struct pollfd));
    u->watches = g_ptr_array_new_with_free_func(user_watch_free);
    u->timers = g_ptr_array_new();
    u->slirp = slirp_new(&config, &user_callbacks, u);
    if (!u->slirp) {
        error_set(error, "libslirp does not take the configuration");
    } else if (user_hostfwds(u, opts, error)) {
        net->info = g_strdup_printf("%s: type=user,net=%s,restrict=%s", net->obj.id,
                                    inet_ntop(AF_INET, &config.vnetwork, host, sizeof(host)),
                                    config.restricted ? "on" : "off");
        return true;
    }
    user_close(net);
    return false;
}

static const char *const user_keys[] = {"ipv4",      "ipv6",     "net",      "host",       "dns",
                                        "dhcpstart", "restrict", "hostname", "domainname", "dnssearch",
                                        "tftp",      "bootfile", "hostfwd",  NULL};

const NetType net_type_user = {
    .name = "user",
    .keys = user_keys,
    .size = sizeof(UserNet),
    .big_frames = true,
    .open = user_open,
    .close = user_close,
    .start = user_start,
    .stop = user_stop,
    .send = user_send,
    .resume = user_resume,
};
