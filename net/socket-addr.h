/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of the back ends that are sockets. */
#ifndef NET_SOCKET_ADDR_H
#define NET_SOCKET_ADDR_H

#include <sys/socket.h>

#include "net-internal.h"

typedef struct NetAddr {
    struct sockaddr_storage sa;
    socklen_t len;
} NetAddr;

/* host NULL or "": any (passive) or this machine.  May ask a name server. */
bool net_addr_resolve(const char *key, const char *host, uint16_t port, int socktype, bool passive,
                      NetAddr *addr, GError **error);
/* "HOST:PORT" given for `key`. */
bool net_addr_from_text(const char *key, const char *text, int socktype, bool passive, NetAddr *addr,
                        GError **error);
/* The members type=inet,host,port or type=unix,path of `key`. */
bool net_addr_from_opts(struct json_object *opts, const char *key, int socktype, bool passive, NetAddr *addr,
                        GError **error);
bool net_addr_given(struct json_object *opts, const char *key);
/* For people; g_free. */
char *net_addr_text(const NetAddr *addr);
/* The same as a SocketAddress of QMP; the caller's. */
struct json_object *net_addr_json(const NetAddr *addr);
/* A bound socket (streams: listening) that does not block, or -1. */
int net_addr_listen(const NetAddr *addr, int socktype, GError **error);

#endif
