/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where an x-vfio-user-server listens: unix(7), TCP, vsock(7), or a socket this process inherited. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <linux/vm_sockets.h>

#include "hw/remote/vfu-server.h"

/* Clients that connect while another one is served wait in the kernel's queue. */
#define LISTEN_BACKLOG 8

/* The members of an address; each is a property of the object, and a member of its `socket`. */
enum { MEMBER_PATH, MEMBER_HOST, MEMBER_PORT, MEMBER_CID, MEMBER_STR, MEMBER_COUNT };
static const char *const member_names[MEMBER_COUNT] = {"path", "host", "port", "cid", "str"};

typedef struct Address {
    const char *id;                    /* of the object, for errors */
    const char *members[MEMBER_COUNT]; /* NULL: not given */
} Address;

static int listen_unix(const Address *a, GError **error);
static int listen_inet(const Address *a, GError **error);
static int listen_vsock(const Address *a, GError **error);
static int listen_handed(const Address *a, GError **error);

static const struct AddressType {
    const char *name;
    unsigned needs; /* bit mask of members: all required, others refused */
    int (*listen)(const Address *a, GError **error);
} address_types[] = {
    {"unix", 1 << MEMBER_PATH, listen_unix},
    {"inet", 1 << MEMBER_HOST | 1 << MEMBER_PORT, listen_inet},
    {"vsock", 1 << MEMBER_CID | 1 << MEMBER_PORT, listen_vsock},
    {"fd", 1 << MEMBER_STR, listen_handed},
};

static int address_error(const Address *a, int fd, int err, const char *what, GError **error)
{
    error_set_errno(error, err, "x-vfio-user-server %s: %s: cannot listen", a->id, what);
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

static int listen_at(int family, const void *addr, socklen_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, err;

    if (fd < 0) {
        return -1;
    }
    if (family == AF_INET || family == AF_INET6) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)); /* connections inherit it */
    }
    if (bind(fd, addr, len) < 0 || listen(fd, LISTEN_BACKLOG) < 0) {
        err = errno;
        close(fd);
        errno = err;
        return -1;
    }
    return fd;
}

/* A socket that a killed server left behind is in the way: when nobody listens on it, it may go. */
static void remove_stale(const struct sockaddr_un *addr)
{
    struct stat st;
    int fd;

    if (lstat(addr->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        return;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return;
    }
    if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 && errno == ECONNREFUSED) {
        unlink(addr->sun_path);
    }
    close(fd);
}

/* The name appears when somebody listens: who waits for the file to be there may connect at once. */
static int listen_then_name(const struct sockaddr_un *addr)
{
    struct sockaddr_un early = *addr;
    int len = snprintf(early.sun_path, sizeof(early.sun_path), "%s.%d", addr->sun_path, (int)getpid());
    int fd, err;

    if (len >= (int)sizeof(early.sun_path)) {
        return listen_at(AF_UNIX, addr, sizeof(*addr)); /* no room for the other name */
    }
    unlink(early.sun_path);
    fd = listen_at(AF_UNIX, &early, sizeof(early));
    err = fd >= 0 && link(early.sun_path, addr->sun_path) < 0 ? errno : 0;
    if (fd >= 0) {
        unlink(early.sun_path);
    }
    if (err) {
        close(fd);
        errno = err == EEXIST ? EADDRINUSE : err;
        return -1;
    }
    return fd;
}

static int listen_unix(const Address *a, GError **error)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const char *path = a->members[MEMBER_PATH];
    g_autofree char *what = g_strdup_printf("path=%s", path);
    int fd;

    if (!*path || strlen(path) >= sizeof(addr.sun_path)) {
        error_set(error, "x-vfio-user-server %s: path: not a socket's path (%zu bytes, allowed 1..%zu)", a->id,
                  strlen(path), sizeof(addr.sun_path) - 1);
        return -1;
    }
    strcpy(addr.sun_path, path);
    remove_stale(&addr);
    fd = listen_then_name(&addr);
    return fd < 0 ? address_error(a, -1, errno, what, error) : fd;
}

static int listen_inet(const Address *a, GError **error)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    const char *host = a->members[MEMBER_HOST], *port = a->members[MEMBER_PORT];
    g_autofree char *what = g_strdup_printf("%s:%s", host, port);
    struct addrinfo *found = NULL;
    g_autofree char *where = g_strdup_printf("x-vfio-user-server %s: %s", a->id, what);
    int code, fd = -1, err = ENOENT;

    if (!opts_port_check(where, port, error)) {
        return -1;
    }
    code = getaddrinfo(*host ? host : NULL, port, &hints, &found);
    if (code) {
        error_set(error, "x-vfio-user-server %s: %s: %s", a->id, what, gai_strerror(code));
        return -1;
    }
    for (const struct addrinfo *ai = found; fd < 0 && ai; ai = ai->ai_next) {
        fd = listen_at(ai->ai_family, ai->ai_addr, ai->ai_addrlen);
        err = errno;
    }
    freeaddrinfo(found);
    return fd < 0 ? address_error(a, -1, err, what, error) : fd;
}

/* Decimal or 0x hex; "any" where a wildcard is meant. */
static bool parse_number(const Address *a, unsigned member, uint64_t max, uint64_t *out, GError **error)
{
    char *end;

    errno = 0;
    *out = g_ascii_strtoull(a->members[member], &end, 0);
    if (!g_ascii_isdigit(*a->members[member]) || *end || errno || *out > max) {
        error_set(error, "x-vfio-user-server %s: %s: not a number ('%s', allowed 0..%" G_GUINT64_FORMAT ")", a->id,
                  member_names[member], a->members[member], max);
        return false;
    }
    return true;
}

static int listen_vsock(const Address *a, GError **error)
{
    g_autofree char *what = g_strdup_printf("vsock:%s:%s", a->members[MEMBER_CID], a->members[MEMBER_PORT]);
    struct sockaddr_vm addr = {.svm_family = AF_VSOCK};
    uint64_t cid, port;
    int fd;

    if (!parse_number(a, MEMBER_CID, UINT32_MAX, &cid, error) ||
        !parse_number(a, MEMBER_PORT, UINT32_MAX, &port, error)) {
        return -1;
    }
    addr.svm_cid = (unsigned)cid;
    addr.svm_port = (unsigned)port;
    fd = listen_at(AF_VSOCK, &addr, sizeof(addr));
    return fd < 0 ? address_error(a, -1, errno, what, error) : fd;
}

/* A listening socket, or one whose client is connected already. */
static int listen_handed(const Address *a, GError **error)
{
    uint64_t number;
    int type = 0, fd;
    socklen_t len = sizeof(type);

    if (!parse_number(a, MEMBER_STR, INT_MAX, &number, error)) {
        return -1;
    }
    if (getsockopt((int)number, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM) {
        error_set(error, "x-vfio-user-server %s: str: not the number of a stream socket that this process inherited (%s)",
                  a->id, a->members[MEMBER_STR]);
        return -1;
    }
    fd = fcntl((int)number, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        return address_error(a, -1, errno, a->members[MEMBER_STR], error);
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

/* --- which --- */

static bool member_from_json(const VfuServer *s, Address *a, const char *key, struct json_object *value, GError **error)
{
    for (unsigned i = 0; i < MEMBER_COUNT; i++) {
        if (!strcmp(key, member_names[i])) {
            a->members[i] = json_object_get_string(value);
            return true;
        }
    }
    error_set(error, "x-vfio-user-server %s: socket: no member '%s' (allowed type, path, host, port, cid, str)",
              s->obj.id, key);
    return false;
}

/* The type, with *a filled from the properties; NULL with *error. */
static const char *address_collect(const VfuServer *s, Address *a, GError **error)
{
    const char *const given[MEMBER_COUNT] = {s->path, s->host, s->port, s->cid, s->str};
    const char *type = s->type;

    memcpy(a->members, given, sizeof(given));
    if (s->socket && !json_object_is_type(s->socket, json_type_object)) {
        error_set(error, "x-vfio-user-server %s: socket: not an address like {\"type\": \"unix\", \"path\": \"PATH\"}",
                  s->obj.id);
        return NULL;
    }
    if (s->socket) {
        json_object_object_foreach(s->socket, key, value)
        {
            if (!strcmp(key, "type")) {
                type = json_object_get_string(value);
            } else if (!member_from_json(s, a, key, value, error)) {
                return NULL;
            }
        }
    }
    if (!type) {
        error_set(error, "x-vfio-user-server %s: type: not given (allowed unix, inet, vsock, fd)", s->obj.id);
    }
    return type;
}

static bool address_check(const Address *a, const struct AddressType *type, GError **error)
{
    for (unsigned i = 0; i < MEMBER_COUNT; i++) {
        bool needed = type->needs >> i & 1;

        if (needed && !a->members[i]) {
            error_set(error, "x-vfio-user-server %s: %s: not given; type=%s needs it", a->id, member_names[i], type->name);
            return false;
        }
        if (!needed && a->members[i]) {
            error_set(error, "x-vfio-user-server %s: %s: type=%s does not take it", a->id, member_names[i], type->name);
            return false;
        }
    }
    return true;
}

int vfu_server_listen(const VfuServer *s, const char **unix_path, GError **error)
{
    Address a = {.id = s->obj.id};
    const char *name = address_collect(s, &a, error);

    if (!name) {
        return -1;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(address_types); i++) {
        if (!strcmp(name, address_types[i].name)) {
            *unix_path = a.members[MEMBER_PATH];
            return address_check(&a, &address_types[i], error) ? address_types[i].listen(&a, error) : -1;
        }
    }
    error_set(error, "x-vfio-user-server %s: type: no such kind of socket ('%s', allowed unix, inet, vsock, fd)",
              s->obj.id, name);
    return -1;
}
