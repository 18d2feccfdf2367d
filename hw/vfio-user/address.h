/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a server listens: property type SocketAddress (a path, or an object with "type"), and connecting to
 * it. */
#ifndef HW_VFIO_USER_ADDRESS_H
#define HW_VFIO_USER_ADDRESS_H

#include "core/prop.h"

typedef enum VfioUserAddressType {
    ADDRESS_NONE,
    ADDRESS_UNIX,
    ADDRESS_INET,
    ADDRESS_VSOCK,
    ADDRESS_FD
} VfioUserAddressType;

typedef struct VfioUserAddress {
    VfioUserAddressType type;
    char *path;        /* unix */
    char *host, *port; /* inet; port also vsock */
    char *cid;         /* vsock */
    char *str;         /* fd: its number */
} VfioUserAddress;

/* A field of type VfioUserAddress. */
extern const PropType prop_vfio_user_address;

/* An address as the property takes it; *out is replaced.  False: *error says `where` first. */
bool vfio_user_address_parse(VfioUserAddress *out, const char *where, struct json_object *value, GError **error);
void vfio_user_address_clear(VfioUserAddress *address);
/* "PATH", "HOST:PORT", ...: for messages; g_free. */
char *vfio_user_address_text(const VfioUserAddress *address);
/* A connected, non-blocking, close-on-exec socket, or -1 with *error, which says `name` first.  An fd of the
 * address is duplicated. */
int vfio_user_address_connect(const VfioUserAddress *address, const char *name, unsigned timeout_ms,
                              GError **error);

#endif
