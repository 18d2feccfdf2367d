/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The VNC server: where it listens, who is there, when it looks at the display.  It looks only while a client waits for
 * a picture, often while something happens.  RFC 6143 is followed in vnc-client.c.
 */
#include "ui/vnc.h"

#include <errno.h>
#include <json-c/json.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/error.h"
#include "vnc-internal.h"

#define VNC_PORT        5900u
#define VNC_DISPLAY_MAX (65535u - VNC_PORT)
#define VNC_CLIENTS_MAX 32
#define VNC_BACKLOG     64
#define LOOK_OFTEN      (30 * INT64_C(1000000))
#define LOOK_SELDOM     (200 * INT64_C(1000000))
#define BLANK_WIDTH     640
#define BLANK_HEIGHT    480

const ObjectModel vnc_server_model = {
    .model = {.name = "vnc-server",
              .doc = "Shows a display to RFB clients.",
              .kind = MODEL_OBJECT,
              .size = sizeof(VncServer),
              .internal = true},
};

static VncServer *vnc_find(Machine *m)
{
    GPtrArray *all = object_container(m->root, "vnc")->children;

    return all->len ? all->pdata[0] : NULL;
}

/* --- events --- */

static struct json_object *vnc_party(const char *host, const char *service, const char *family)
{
    struct json_object *json = json_object_new_object();

    json_object_object_add(json, "host", json_object_new_string(host));
    json_object_object_add(json, "service", json_object_new_string(service));
    json_object_object_add(json, "family", json_object_new_string(family));
    json_object_object_add(json, "websocket", json_object_new_boolean(false));
    return json;
}

static struct json_object *vnc_us(const VncServer *s)
{
    struct json_object *json = vnc_party(s->host, s->service, s->family);

    json_object_object_add(json, "auth", json_object_new_string(s->with_password ? "vnc" : "none"));
    return json;
}

static void vnc_event(VncServer *s, const VncClient *c, const char *name)
{
    struct json_object *data = json_object_new_object();

    json_object_object_add(data, "server", vnc_us(s));
    json_object_object_add(data, "client", vnc_party(c->host, c->service, s->family));
    machine_emit_event(s->obj.machine, name, data);
}

struct json_object *vnc_query(Machine *machine)
{
    struct json_object *json = json_object_new_object(), *clients = json_object_new_array();
    VncServer *s = vnc_find(machine);

    json_object_object_add(json, "enabled", json_object_new_boolean(s != NULL));
    for (guint i = 0; s && i < s->clients->len; i++) {
        const VncClient *c = s->clients->pdata[i];

        if (!c->gone) {
            json_object_array_add(clients, vnc_party(c->host, c->service, s->family));
        }
    }
    if (s) {
        json_object_object_add(json, "host", json_object_new_string(s->host));
        json_object_object_add(json, "service", json_object_new_string(s->service));
        json_object_object_add(json, "family", json_object_new_string(s->family));
        json_object_object_add(json, "auth", json_object_new_string(s->with_password ? "vnc" : "none"));
    }
    json_object_object_add(json, "clients", clients);
    return json;
}

/* --- the screen --- */

static void vnc_resize(VncServer *s, unsigned width, unsigned height)
{
    if (display_surface_resize(&s->screen, width, height)) {
        for (guint i = 0; i < s->clients->len; i++) {
            vnc_client_resized(s->clients->pdata[i]);
        }
    }
}

/* Takes one line over, and tells all clients which columns differ. */
static bool vnc_take_line(VncServer *s, const DisplaySurface *from, unsigned y)
{
    const uint32_t *now = from->pixels + (size_t)y * from->width;
    uint32_t *then = s->screen.pixels + (size_t)y * from->width;
    unsigned first = 0, end = from->width;

    while (first < end && now[first] == then[first]) {
        first++;
    }
    while (end > first && now[end - 1] == then[end - 1]) {
        end--;
    }
    if (first == end) {
        return false;
    }
    memcpy(then + first, now + first, (end - first) * sizeof(*now));
    for (guint i = 0; i < s->clients->len; i++) {
        vnc_client_mark(s->clients->pdata[i], y, first, end);
    }
    return true;
}

/* Brings the screen up to date.  True: something changed. */
static bool vnc_look(VncServer *s)
{
    Display *display = display_find(s->obj.machine, s->device, NULL);
    const DisplaySurface *surface;
    DisplayLines changed;
    bool any = false;

    if (s->viewer && !(display && display_viewer_sees(s->viewer, display))) {
        g_clear_pointer(&s->viewer, display_viewer_free);
    }
    if (display && !s->viewer) {
        s->viewer = display_viewer_new(display);
    }
    surface = s->viewer ? display_viewer_look(s->viewer, &changed) : NULL;
    if (!surface || !surface->width || !surface->height) {
        vnc_resize(s, BLANK_WIDTH, BLANK_HEIGHT);
        memset(s->screen.pixels, 0, (size_t)s->screen.width * s->screen.height * sizeof(uint32_t));
        return false;
    }
    if (surface->width != s->screen.width || surface->height != s->screen.height) {
        vnc_resize(s, surface->width, surface->height);
        changed = (DisplayLines){0, surface->height};
        any = true;
    }
    for (unsigned y = changed.first; y < changed.first + changed.count; y++) {
        any |= vnc_take_line(s, surface, y);
    }
    return any;
}

static int64_t vnc_now(const VncServer *s)
{
    return clock_now(s->obj.machine->clocks, CLOCK_KIND_REALTIME);
}

void vnc_server_wake(VncServer *s, bool soon)
{
    int64_t at;

    s->interval = soon ? LOOK_OFTEN : s->interval;
    at = vnc_now(s) + (soon ? 0 : s->interval);
    if (!timer_pending(s->refresh) || timer_expires(s->refresh) > at) {
        timer_set(s->refresh, at);
    }
}

static void vnc_refresh(void *opaque)
{
    VncServer *s = opaque;
    bool waited = false;

    s->interval = vnc_look(s) ? LOOK_OFTEN : MIN(s->interval + LOOK_OFTEN / 3, LOOK_SELDOM);
    for (guint i = 0; i < s->clients->len; i++) {
        VncClient *c = s->clients->pdata[i];

        vnc_client_update(c);
        waited |= c->wants && !c->gone;
    }
    if (waited) {
        timer_set(s->refresh, vnc_now(s) + s->interval);
    }
}

/* --- clients --- */

static void vnc_reap(void *opaque)
{
    VncServer *s = opaque;

    for (guint i = s->clients->len; i-- > 0;) {
        VncClient *c = s->clients->pdata[i];

        if (c->gone) {
            g_ptr_array_remove_index_fast(s->clients, i);
            vnc_client_free(c);
        }
    }
}

void vnc_server_client_gone(VncServer *s, VncClient *c)
{
    vnc_event(s, c, "VNC_DISCONNECTED");
    loop_bh_schedule(s->reaper);
}

void vnc_server_client_ready(VncServer *s, VncClient *c, bool shared)
{
    for (guint i = 0; i < s->clients->len && s->exclusive && !shared; i++) {
        VncClient *other = s->clients->pdata[i];

        if (other != c && other->ready) {
            vnc_client_drop(other);
        }
    }
    vnc_look(s);
    vnc_event(s, c, "VNC_INITIALIZED");
}

static void vnc_accept(void *opaque)
{
    VncServer *s = opaque;
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int one = 1;
    VncClient *c;

    if (fd < 0) {
        return;
    }
    if (s->clients->len >= VNC_CLIENTS_MAX) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* not TCP: refused, and no matter */
    c = vnc_client_new(s, fd);
    g_ptr_array_add(s->clients, c);
    vnc_event(s, c, "VNC_CONNECTED");
}

/* --- passwords --- */

bool vnc_server_check(const VncServer *s, const uint8_t challenge[VNC_CHALLENGE], const uint8_t response[VNC_CHALLENGE])
{
    uint8_t answer[VNC_CHALLENGE], differs = 0;

    if (!s->password[0] || g_get_real_time() / G_USEC_PER_SEC >= s->expires) {
        return false;
    }
    vnc_des_answer(s->password, challenge, answer);
    for (unsigned i = 0; i < VNC_CHALLENGE; i++) {
        differs |= answer[i] ^ response[i];
    }
    return !differs;
}

static VncServer *vnc_find_with_password(Machine *machine, GError **error)
{
    VncServer *s = vnc_find(machine);

    if (!s) {
        g_set_error(error, MPQEMU_ERROR, ERR_DEVICE_NOT_ACTIVE, "there is no VNC server; start with -vnc");
    } else if (!s->with_password) {
        error_set(error, "this VNC server has no passwords; start with -vnc ...,password=on");
        s = NULL;
    }
    return s;
}

bool vnc_set_password(Machine *machine, const char *password, GError **error)
{
    VncServer *s = vnc_find_with_password(machine, error);

    if (s) {
        memset(s->password, 0, sizeof(s->password));
        memcpy(s->password, password, strnlen(password, VNC_PASSWORD));
    }
    return s;
}

bool vnc_expire_password(Machine *machine, int64_t when, GError **error)
{
    VncServer *s = vnc_find_with_password(machine, error);

    if (s) {
        s->expires = when;
    }
    return s;
}

/* --- where it listens --- */

static bool vnc_listen_at(VncServer *s, int family, const struct sockaddr *sa, socklen_t len)
{
    int one = 1;

    s->listen_fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listen_fd < 0) {
        return false;
    }
    if (family != AF_UNIX) {
        setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    }
    if (bind(s->listen_fd, sa, len) == 0 && listen(s->listen_fd, VNC_BACKLOG) == 0) {
        return true;
    }
    one = errno;
    close(s->listen_fd);
    s->listen_fd = -1;
    errno = one;
    return false;
}

/* A socket that nobody listens on any more is in the way. */
static void vnc_remove_stale(const struct sockaddr_un *sun)
{
    struct stat st;
    int fd;

    if (lstat(sun->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        return;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) != 0 && errno == ECONNREFUSED) {
        unlink(sun->sun_path);
    }
    if (fd >= 0) {
        close(fd);
    }
}

static bool vnc_listen_unix(VncServer *s, const char *path, GError **error)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    if (!*path || strlen(path) >= sizeof(sun.sun_path)) {
        error_set(error, "bad length of a path (%zu bytes, allowed 1..%zu)", strlen(path), sizeof(sun.sun_path) - 1);
        return false;
    }
    memcpy(sun.sun_path, path, strlen(path));
    vnc_remove_stale(&sun);
    if (!vnc_listen_at(s, AF_UNIX, (struct sockaddr *)&sun, sizeof(sun))) {
        error_set_errno(error, errno, "cannot listen at '%s'", path);
        return false;
    }
    s->unix_path = g_strdup(path);
    s->host = g_strdup(path);
    s->service = g_strdup("");
    s->family = "unix";
    return true;
}

/* errno says why not. */
static bool vnc_listen_port(VncServer *s, const char *host, unsigned port, GError **error)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *list, *ai;
    g_autofree char *service = g_strdup_printf("%u", port);
    char text[NI_MAXHOST];
    int failed = getaddrinfo(*host ? host : NULL, service, &hints, &list);

    if (failed) {
        error_set(error, "cannot find host '%s': %s", host, gai_strerror(failed));
        errno = 0;
        return false;
    }
    for (ai = list; ai && !vnc_listen_at(s, ai->ai_family, ai->ai_addr, ai->ai_addrlen); ai = ai->ai_next) {
    }
    if (ai) {
        getnameinfo(ai->ai_addr, ai->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST);
        s->host = g_strdup(text);
        s->service = g_strdup(service);
        s->family = ai->ai_family == AF_INET6 ? "ipv6" : "ipv4";
    }
    failed = errno;
    freeaddrinfo(list);
    errno = failed;
    return ai;
}

static bool vnc_number(const char *what, const char *text, unsigned *val, GError **error)
{
    guint64 n;

    if (!g_ascii_string_to_unsigned(text, 10, 0, VNC_DISPLAY_MAX, &n, NULL)) {
        error_set(error, "bad %s ('%s', allowed 0..%u)", what, text, VNC_DISPLAY_MAX);
        return false;
    }
    *val = (unsigned)n;
    return true;
}

/* "[HOST]:DISPLAY" */
static bool vnc_listen_display(VncServer *s, const char *to, GError **error)
{
    const char *colon = strrchr(s->address, ':');
    g_autofree char *host = colon ? g_strndup(s->address, (gsize)(colon - s->address)) : NULL;
    size_t len = host ? strlen(host) : 0;
    unsigned first, last;

    if (!colon) {
        error_set(error, "bad address ('%s', allowed [HOST]:DISPLAY, unix:PATH, none)", s->address);
        return false;
    }
    if (!vnc_number("display", colon + 1, &first, error) || !vnc_number("to=", to ? to : colon + 1, &last, error)) {
        return false;
    }
    if (last < first) {
        error_set(error, "bad to= (%u, allowed %u..%u)", last, first, VNC_DISPLAY_MAX);
        return false;
    }
    if (len > 1 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = 0;
        memmove(host, host + 1, len - 1);
    }
    for (unsigned n = first; n <= last; n++) {
        if (vnc_listen_port(s, host, VNC_PORT + n, error)) {
            return true;
        }
        if (errno != EADDRINUSE) {
            break;
        }
    }
    if (errno) {
        error_set_errno(error, errno, "cannot listen at %s, displays %u to %u", *host ? host : "any address", first, last);
    }
    return false;
}

/* --- options --- */

typedef struct VncOptions {
    const char *to, *share, *password;
} VncOptions;

static bool vnc_take_options(VncServer *s, struct json_object *opts, VncOptions *o, GError **error)
{
    json_object_object_foreach(opts, key, value)
    {
        const char *text = json_object_get_string(value);

        if (!strcmp(key, "vnc")) {
            s->address = g_strdup(text);
        } else if (!strcmp(key, "display")) {
            s->device = g_strdup(text);
        } else if (!strcmp(key, "to") || !strcmp(key, "share") || !strcmp(key, "password")) {
            *(*key == 't' ? &o->to : *key == 's' ? &o->share : &o->password) = text;
        } else if (strcmp(key, "id")) {
            error_set(error, "unknown option '%s' (allowed: to, password, share, display, id)", key);
            return false;
        }
    }
    if (o->password && strcmp(o->password, "on") && strcmp(o->password, "off")) {
        error_set(error, "bad password= ('%s', allowed on, off; set_password sets it)", o->password);
        return false;
    }
    if (o->share && strcmp(o->share, "allow-exclusive") && strcmp(o->share, "ignore")) {
        error_set(error, "bad share= ('%s', allowed allow-exclusive, ignore)", o->share);
        return false;
    }
    s->with_password = o->password && !strcmp(o->password, "on");
    s->exclusive = !o->share || !strcmp(o->share, "allow-exclusive");
    return !s->with_password || vnc_des_load(error);
}

static void vnc_free(VncServer *s)
{
    if (s->watch) {
        loop_remove_fd(s->watch);
    }
    if (s->listen_fd >= 0) {
        close(s->listen_fd);
    }
    if (s->unix_path) {
        unlink(s->unix_path);
    }
    for (guint i = 0; i < s->clients->len; i++) {
        vnc_client_free(s->clients->pdata[i]);
    }
    g_ptr_array_unref(s->clients);
    g_clear_pointer(&s->viewer, display_viewer_free);
    loop_bh_free(s->reaper);
    timer_free(s->refresh);
    g_free(s->screen.pixels);
    g_free(s->address);
    g_free(s->host);
    g_free(s->service);
    g_free(s->unix_path);
    g_free(s->device);
    object_free(&s->obj);
}

bool vnc_open(Machine *machine, const char *text, GError **error)
{
    VncServer *s = vnc_find(machine);
    struct json_object *opts;
    VncOptions o = {0};
    bool ok;

    if (s) {
        error_set(error, "there is a VNC server already, at %s", s->address);
        return false;
    }
    opts = opts_parse("-vnc", text, "vnc", error);
    s = opts ? (VncServer *)object_new(&vnc_server_model.model, machine, object_container(machine->root, "vnc"), NULL, error) : NULL;
    if (!s) {
        json_object_put(opts);
        return false;
    }
    s->listen_fd = -1;
    s->expires = INT64_MAX;
    s->interval = LOOK_OFTEN;
    s->clients = g_ptr_array_new();
    s->reaper = loop_bh_new(machine->main_loop, vnc_reap, s);
    s->refresh = timer_new(machine->main_loop, CLOCK_KIND_REALTIME, vnc_refresh, s);
    ok = vnc_take_options(s, opts, &o, error);
    if (ok && !s->address) {
        error_set(error, "no address (allowed [HOST]:DISPLAY, unix:PATH, none)");
        ok = false;
    }
    ok = ok && (!s->device || display_find(machine, s->device, error)) &&
         (g_str_has_prefix(s->address, "unix:") ? vnc_listen_unix(s, s->address + 5, error) : vnc_listen_display(s, o.to, error));
    json_object_put(opts);
    if (!ok) {
        vnc_free(s);
        return false;
    }
    vnc_look(s);
    s->watch = loop_add_fd(machine->main_loop, s->listen_fd, vnc_accept, NULL, s);
    return true;
}

void vnc_close(Machine *machine)
{
    VncServer *s = vnc_find(machine);

    if (s) {
        vnc_free(s);
    }
}
