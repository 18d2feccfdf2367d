/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SocketAddress: parsing, and connecting with a time limit. */
#include "hw/vfio-user/address.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "core/error.h"
#include "core/prop.h"

/* --- the property --- */

typedef struct AddressMember {
    const char *name;
    size_t offset;
} AddressMember;

static const struct AddressKind {
    const char *name;
    AddressMember members[3]; /* all required */
} address_kinds[] = {
    [ADDRESS_UNIX] = {"unix", {{"path", offsetof(VfioUserAddress, path)}}},
    [ADDRESS_INET] = {"inet",
                      {{"host", offsetof(VfioUserAddress, host)}, {"port", offsetof(VfioUserAddress, port)}}},
    [ADDRESS_VSOCK] = {"vsock",
                       {{"cid", offsetof(VfioUserAddress, cid)}, {"port", offsetof(VfioUserAddress, port)}}},
    [ADDRESS_FD] = {"fd", {{"str", offsetof(VfioUserAddress, str)}}},
};

static char **member_field(VfioUserAddress *address, const AddressMember *member)
{
    return (char **)(void *)((char *)address + member->offset);
}

static const char *member_get(const VfioUserAddress *address, const AddressMember *member)
{
    return *(char *const *)(const void *)((const char *)address + member->offset);
}

void vfio_user_address_clear(VfioUserAddress *address)
{
    g_free(address->path);
    g_free(address->host);
    g_free(address->port);
    g_free(address->cid);
    g_free(address->str);
    *address = (VfioUserAddress){0};
}

static VfioUserAddressType kind_of(struct json_object *object)
{
    struct json_object *type;

    if (!json_object_object_get_ex(object, "type", &type)) {
        return ADDRESS_NONE;
    }
    for (unsigned i = ADDRESS_UNIX; i < G_N_ELEMENTS(address_kinds); i++) {
        if (!strcmp(json_object_get_string(type), address_kinds[i].name)) {
            return (VfioUserAddressType)i;
        }
    }
    return ADDRESS_NONE;
}

/* One member other than "type". */
static bool member_parse(VfioUserAddress *address, const char *where, const char *key,
                         struct json_object *value, GError **error)
{
    const struct AddressKind *kind = &address_kinds[address->type];

    for (const AddressMember *m = kind->members; m < kind->members + G_N_ELEMENTS(kind->members) && m->name;
         m++) {
        if (strcmp(m->name, key)) {
            continue;
        }
        if (!json_object_is_type(value, json_type_string) || !*json_object_get_string(value)) {
            error_set(error, "%s: socket: member '%s' is not a string", where, key);
            return false;
        }
        *member_field(address, m) = g_strdup(json_object_get_string(value));
        return true;
    }
    error_set(error, "%s: socket: an address of type %s has no member '%s'", where, kind->name, key);
    return false;
}

static bool address_parse_object(VfioUserAddress *address, const char *where, struct json_object *object,
                                 GError **error)
{
    const struct AddressKind *kind;

    address->type = kind_of(object);
    if (address->type == ADDRESS_NONE) {
        error_set(error, "%s: socket: address has no known type (allowed unix, inet, vsock, fd)", where);
        return false;
    }
    json_object_object_foreach(object, key, value)
    {
        if (strcmp(key, "type") && !member_parse(address, where, key, value, error)) {
            return false;
        }
    }
    kind = &address_kinds[address->type];
    for (const AddressMember *m = kind->members; m < kind->members + G_N_ELEMENTS(kind->members) && m->name;
         m++) {
        if (!member_get(address, m)) {
            error_set(error, "%s: socket: member '%s' of an address of type %s is missing", where, m->name,
                      kind->name);
            return false;
        }
    }
    return true;
}

bool vfio_user_address_parse(VfioUserAddress *out, const char *where, struct json_object *value, GError **error)
{
    VfioUserAddress parsed = {0};
    bool ok = true;

    if (json_object_is_type(value, json_type_string) && *json_object_get_string(value)) {
        parsed.type = ADDRESS_UNIX;
        parsed.path = g_strdup(json_object_get_string(value));
    } else if (json_object_is_type(value, json_type_object)) {
        ok = address_parse_object(&parsed, where, value, error);
    } else {
        error_set(error,
                  "%s: socket: neither a path nor an address like {\"type\": \"unix\", \"path\": \"PATH\"}",
                  where);
        ok = false;
    }
    if (!ok) {
        vfio_user_address_clear(&parsed);
        return false;
    }
    vfio_user_address_clear(out);
    *out = parsed;
    return true;
}

static bool address_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    return vfio_user_address_parse((VfioUserAddress *)(void *)((char *)obj + prop->offset), obj->model->name, value, error);
}

static struct json_object *address_format(Object *obj, const Prop *prop)
{
    const VfioUserAddress *address = (const VfioUserAddress *)(void *)((char *)obj + prop->offset);
    const struct AddressKind *kind = &address_kinds[address->type];
    struct json_object *out = json_object_new_object();

    if (!kind->name) {
        return out;
    }
    json_object_object_add(out, "type", json_object_new_string(kind->name));
    for (const AddressMember *m = kind->members; m < kind->members + G_N_ELEMENTS(kind->members) && m->name;
         m++) {
        json_object_object_add(out, m->name, json_object_new_string(member_get(address, m)));
    }
    return out;
}

static void address_clear(Object *obj, const Prop *prop)
{
    vfio_user_address_clear((VfioUserAddress *)(void *)((char *)obj + prop->offset));
}

const PropType prop_vfio_user_address = {.name = "SocketAddress",
                                         .parse = address_parse,
                                         .format = address_format,
                                         .clear = address_clear,
                                         .field_size = sizeof(VfioUserAddress)};

char *vfio_user_address_text(const VfioUserAddress *address)
{
    switch (address->type) {
    case ADDRESS_INET:
        return g_strdup_printf("%s:%s", address->host, address->port);
    case ADDRESS_VSOCK:
        return g_strdup_printf("vsock:%s:%s", address->cid, address->port);
    case ADDRESS_FD:
        return g_strdup_printf("fd:%s", address->str);
    default:
        return g_strdup(address->path);
    }
}

/* --- connecting --- */

static bool parse_number(const char *text, unsigned long max, unsigned long *out)
{
    char *end;

    errno = 0;
    *out = strtoul(text, &end, 0);
    return g_ascii_isdigit(*text) && !*end && !errno && *out <= max;
}

/* errno of a connect() with a time limit; the fd is non-blocking. */
static int connect_until(int fd, const struct sockaddr *addr, socklen_t len, gint64 deadline)
{
    int err = connect(fd, addr, len) < 0 ? errno : 0;

    /* EAGAIN: the queue of a UNIX listener is full; it may be about to take the one before us. */
    while (err == EAGAIN && g_get_monotonic_time() < deadline) {
        g_usleep(5000);
        err = connect(fd, addr, len) < 0 ? errno : 0;
    }
    if (err == EINPROGRESS) {
        struct pollfd p = {fd, POLLOUT, 0};
        gint64 left = (deadline - g_get_monotonic_time()) / 1000;
        socklen_t size = sizeof(err);

        if (poll(&p, 1, (int)CLAMP(left, 0, G_MAXINT)) == 0) {
            return ETIMEDOUT;
        }
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size);
    }
    return err;
}

/* A socket connected to addr, or a negative errno. */
static int connect_new(int family, const void *addr, socklen_t len, gint64 deadline)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;

    if (fd < 0) {
        return -errno;
    }
    err = connect_until(fd, addr, len, deadline);
    if (err) {
        close(fd);
        return -err;
    }
    return fd;
}

static int connect_unix(const VfioUserAddress *address, const char *name, gint64 deadline, GError **error)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(address->path) >= sizeof(addr.sun_path)) {
        error_set(error, "%s: socket: path is too long (%zu bytes, allowed 1..%zu)", name,
                  strlen(address->path), sizeof(addr.sun_path) - 1);
        return -1;
    }
    strcpy(addr.sun_path, address->path);
    fd = connect_new(AF_UNIX, &addr, sizeof(addr), deadline);
    if (fd == -EAGAIN) {
        error_set(error, "%s: socket=%s: the server accepts no client; is another one connected to it?", name,
                  address->path);
    } else if (fd < 0) {
        error_set_errno(error, -fd, "%s: socket=%s: cannot connect to a vfio-user server", name,
                        address->path);
    }
    return MAX(fd, -1);
}

static int connect_inet(const VfioUserAddress *address, const char *name, gint64 deadline, GError **error)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    g_autofree char *where = g_strdup_printf("%s: socket=%s:%s", name, address->host, address->port);
    int code, fd = -ENOENT, one = 1;

    if (!opts_port_check(where, address->port, error)) {
        return -1;
    }
    code = getaddrinfo(address->host, address->port, &hints, &found);
    if (code) {
        error_set(error, "%s: socket=%s:%s: %s", name, address->host, address->port, gai_strerror(code));
        return -1;
    }
    for (const struct addrinfo *a = found; fd < 0 && a; a = a->ai_next) {
        fd = connect_new(a->ai_family, a->ai_addr, a->ai_addrlen, deadline);
    }
    freeaddrinfo(found);
    if (fd < 0) {
        error_set_errno(error, -fd, "%s: socket=%s:%s: cannot connect to a vfio-user server", name,
                        address->host, address->port);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static int connect_vsock(const VfioUserAddress *address, const char *name, gint64 deadline, GError **error)
{
    struct sockaddr_vm addr = {.svm_family = AF_VSOCK};
    unsigned long cid, port;
    int fd;

    if (!parse_number(address->cid, UINT32_MAX, &cid) || !parse_number(address->port, UINT32_MAX, &port)) {
        error_set(error, "%s: socket: cid and port must be numbers ('%s', '%s', allowed 0..4294967295)", name,
                  address->cid, address->port);
        return -1;
    }
    addr.svm_cid = (unsigned)cid;
    addr.svm_port = (unsigned)port;
    fd = connect_new(AF_VSOCK, &addr, sizeof(addr), deadline);
    if (fd < 0) {
        error_set_errno(error, -fd, "%s: socket=vsock:%s:%s: cannot connect to a vfio-user server", name,
                        address->cid, address->port);
    }
    return MAX(fd, -1);
}

static int connect_fd(const VfioUserAddress *address, const char *name, GError **error)
{
    unsigned long number;
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    int fd = -1;

    if (!parse_number(address->str, INT32_MAX, &number) ||
        getpeername((int)number, (struct sockaddr *)&peer, &len) < 0 ||
        (fd = fcntl((int)number, F_DUPFD_CLOEXEC, 0)) < 0) {
        error_set(error,
                  "%s: socket: not the number of a connected socket that this process inherited ('%s')", name,
                  address->str);
        return -1;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

int vfio_user_address_connect(const VfioUserAddress *address, const char *name, unsigned timeout_ms,
                              GError **error)
{
    gint64 deadline = g_get_monotonic_time() + (gint64)timeout_ms * 1000;

    switch (address->type) {
    case ADDRESS_UNIX:
        return connect_unix(address, name, deadline, error);
    case ADDRESS_INET:
        return connect_inet(address, name, deadline, error);
    case ADDRESS_VSOCK:
        return connect_vsock(address, name, deadline, error);
    case ADDRESS_FD:
        return connect_fd(address, name, error);
    default:
        error_set(error, "%s: socket: no address given", name);
        return -1;
    }
}
