/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of -netdev socket, stream and dgram: HOST:PORT texts, and the structured form of QMP (flat or
 * nested). */
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/error.h"
#include "socket-addr.h"

bool net_addr_resolve(const char *key, const char *host, uint16_t port, int socktype, bool passive,
                      NetAddr *addr, GError **error)
{
    struct addrinfo hints = {
        .ai_family = AF_INET, .ai_socktype = socktype, .ai_flags = passive ? AI_PASSIVE : 0};
    struct addrinfo *list = NULL;
    char service[8];
    int rc;

    if (host && strchr(host, ':')) {
        hints.ai_family = AF_INET6;
    }
    g_snprintf(service, sizeof(service), "%u", port);
    rc = getaddrinfo(host && *host ? host : NULL, service, &hints, &list);
    if (rc != 0) {
        error_set(error, "'%s': no such address %s: %s", key, host, gai_strerror(rc));
        return false;
    }
    memcpy(&addr->sa, list->ai_addr, list->ai_addrlen);
    addr->len = list->ai_addrlen;
    freeaddrinfo(list);
    return true;
}

bool net_addr_from_text(const char *key, const char *text, int socktype, bool passive, NetAddr *addr,
                        GError **error)
{
    g_autofree char *host = NULL;
    uint16_t port;

    return net_split_host_port(key, text, &host, &port, error) &&
           net_addr_resolve(key, host, port, socktype, passive, addr, error);
}

static bool net_addr_unix(const char *key, const char *path, NetAddr *addr, GError **error)
{
    struct sockaddr_un *sun = (struct sockaddr_un *)&addr->sa;

    if (!path || !*path || strlen(path) >= sizeof(sun->sun_path)) {
        error_set(error, "'%s.path' is empty or too long (%s, allowed 1..%zu bytes)", key, path ? path : "",
                  sizeof(sun->sun_path) - 1);
        return false;
    }
    sun->sun_family = AF_UNIX;
    strcpy(sun->sun_path, path);
    addr->len = sizeof(*sun);
    return true;
}

/* "KEY.MEMBER" of a key=value list, or MEMBER of the object KEY. */
static const char *net_addr_member(struct json_object *opts, const char *key, const char *member)
{
    g_autofree char *flat = g_strdup_printf("%s.%s", key, member);
    struct json_object *object;

    if (json_object_object_get_ex(opts, key, &object) && json_object_is_type(object, json_type_object)) {
        return net_opt_str(object, member);
    }
    return net_opt_str(opts, flat);
}

bool net_addr_given(struct json_object *opts, const char *key)
{
    return net_addr_member(opts, key, "type") || net_addr_member(opts, key, "host") ||
           net_addr_member(opts, key, "path");
}

bool net_addr_from_opts(struct json_object *opts, const char *key, int socktype, bool passive, NetAddr *addr,
                        GError **error)
{
    const char *type = net_addr_member(opts, key, "type"), *port = net_addr_member(opts, key, "port");
    guint64 number;

    if (type && strcmp(type, "unix") == 0) {
        return net_addr_unix(key, net_addr_member(opts, key, "path"), addr, error);
    }
    if (!type || strcmp(type, "inet") != 0) {
        error_set(error, "'%s.type' is missing or unknown (%s, allowed: inet, unix)", key, type ? type : "");
        return false;
    }
    if (!port || !g_ascii_string_to_unsigned(port, 10, 0, UINT16_MAX, &number, NULL)) {
        error_set(error, "'%s.port' must be a number (%s, allowed 0..65535)", key, port ? port : "");
        return false;
    }
    return net_addr_resolve(key, net_addr_member(opts, key, "host"), (uint16_t)number, socktype, passive,
                            addr, error);
}

char *net_addr_text(const NetAddr *addr)
{
    char host[NI_MAXHOST], service[NI_MAXSERV];

    if (addr->sa.ss_family == AF_UNIX) {
        return g_strdup_printf("unix:%s", ((const struct sockaddr_un *)&addr->sa)->sun_path);
    }
    if (getnameinfo((const struct sockaddr *)&addr->sa, addr->len, host, sizeof(host), service,
                    sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return g_strdup("?");
    }
    return g_strdup_printf("%s:%s", host, service);
}

struct json_object *net_addr_json(const NetAddr *addr)
{
    struct json_object *all = json_object_new_object();
    char host[NI_MAXHOST] = "", service[NI_MAXSERV] = "";

    if (addr->sa.ss_family == AF_UNIX) {
        json_object_object_add(all, "type", json_object_new_string("unix"));
        json_object_object_add(all, "path", json_object_new_string(((const struct sockaddr_un *)&addr->sa)->sun_path));
        return all;
    }
    getnameinfo((const struct sockaddr *)&addr->sa, addr->len, host, sizeof(host), service, sizeof(service),
                NI_NUMERICHOST | NI_NUMERICSERV);
    json_object_object_add(all, "type", json_object_new_string("inet"));
    json_object_object_add(all, "host", json_object_new_string(host));
    json_object_object_add(all, "port", json_object_new_string(service));
    return all;
}

int net_addr_listen(const NetAddr *addr, int socktype, GError **error)
{
    g_autofree char *text = net_addr_text(addr);
    int fd = socket(addr->sa.ss_family, socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

    if (addr->sa.ss_family == AF_UNIX) {
        unlink(((const struct sockaddr_un *)&addr->sa)->sun_path);
    }
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    }
    if (fd < 0 || bind(fd, (const struct sockaddr *)&addr->sa, addr->len) != 0 ||
        (socktype == SOCK_STREAM && listen(fd, 1) != 0)) {
        error_set_errno(error, errno, "cannot listen at %s", text);
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }
    return fd;
}
