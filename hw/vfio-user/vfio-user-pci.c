/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `-device vfio-user-pci`: a PCI device in another process, reached by vfio-user messages over a UNIX socket.
 */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#include "hw/vfio-user/vfio-user.h"

extern const PciModel vfio_user_pci_model;

/* --- property socket: a path, or a SocketAddress --- */

static char **socket_field(Object *obj, const Prop *prop)
{
    return (char **)(void *)((char *)obj + prop->offset);
}

/* The path of a SocketAddress, borrowed; NULL with *error. */
static const char *address_path(Object *obj, struct json_object *address, GError **error)
{
    const char *type = "", *path = NULL;

    json_object_object_foreach(address, key, value)
    {
        if (!json_object_is_type(value, json_type_string)) {
            error_set(error, "%s: socket: member '%s' is not a string", obj->model->name, key);
            return NULL;
        }
        if (!strcmp(key, "type")) {
            type = json_object_get_string(value);
        } else if (!strcmp(key, "path")) {
            path = json_object_get_string(value);
        } else {
            error_set(error, "%s: socket: unknown member '%s' (allowed type, path)", obj->model->name, key);
            return NULL;
        }
    }
    if (strcmp(type, "unix")) {
        error_set(error, "%s: socket: type of address is not supported ('%s', allowed unix)",
                  obj->model->name, type);
        return NULL;
    }
    if (!path) {
        error_set(error, "%s: socket: member 'path' is missing; give the path of the server's socket",
                  obj->model->name);
    }
    return path;
}

static bool socket_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    const char *path = NULL;

    if (json_object_is_type(value, json_type_string)) {
        path = json_object_get_string(value);
    } else if (json_object_is_type(value, json_type_object)) {
        path = address_path(obj, value, error);
        if (!path) {
            return false;
        }
    }
    if (!path || !*path) {
        error_set(error,
                  "%s: socket: neither a path nor an address like {\"type\": \"unix\", \"path\": \"PATH\"}",
                  obj->model->name);
        return false;
    }
    g_free(*socket_field(obj, prop));
    *socket_field(obj, prop) = g_strdup(path);
    return true;
}

static struct json_object *socket_format(Object *obj, const Prop *prop)
{
    struct json_object *address = json_object_new_object();
    const char *path = *socket_field(obj, prop);

    json_object_object_add(address, "type", json_object_new_string("unix"));
    json_object_object_add(address, "path", json_object_new_string(path ? path : ""));
    return address;
}

static void socket_clear(Object *obj, const Prop *prop)
{
    g_clear_pointer(socket_field(obj, prop), g_free);
}

static const PropType prop_socket = {.name = "SocketAddress",
                                     .parse = socket_parse,
                                     .format = socket_format,
                                     .clear = socket_clear,
                                     .field_size = sizeof(char *)};

/* --- life --- */

static void connection_lost(void *opaque, const char *reason)
{
    VfioUserPci *dev = opaque;
    Object *obj = &dev->base.pci.dev.obj;
    g_autofree char *path = NULL;
    struct json_object *data;

    vfio_pci_lost(&dev->base);
    if (!__atomic_load_n(&dev->connected, __ATOMIC_SEQ_CST)) {
        return;
    }
    path = object_path(obj);
    data = json_object_new_object();
    json_object_object_add(data, "device", json_object_new_string(obj->id));
    json_object_object_add(data, "path", json_object_new_string(path));
    json_object_object_add(data, "reason", json_object_new_string(reason));
    machine_emit_event(obj->machine, "VFIO_USER_DISCONNECT", data);
}

static void close_region_fds(VfioUserPci *dev)
{
    for (guint i = 0; i < dev->region_fds->len; i++) {
        close(GPOINTER_TO_INT(dev->region_fds->pdata[i]));
    }
    g_ptr_array_free(dev->region_fds, TRUE);
    dev->region_fds = NULL;
}

static void user_release(VfioUserPci *dev)
{
    g_clear_pointer(&dev->proxy, proxy_free);
    close_region_fds(dev);
    g_cond_clear(&dev->dma_batch.cond);
    vfio_user_dma_stop(dev);
}

static bool container_start(VfioUserPci *dev, GError **error)
{
    const WireCaps *caps = proxy_caps(dev->proxy);

    dev->container =
        (VfioContainer){.pgsizes = caps->pgsizes, .max_maps = caps->max_dma_maps, .message_dma = true};
    if (!vfio_container_start(&dev->container, &vfio_user_container_ops, dev->base.pci.bus->dma_space,
                              error)) {
        g_prefix_error(error, "%s: socket=%s: ", dev->base.vdev.name, dev->socket_path);
        return false;
    }
    return true;
}

static bool vfio_user_start(PciDevice *pci, GError **error)
{
    VfioUserPci *dev = (VfioUserPci *)pci;
    const ProxyClient client = {vfio_user_server_request, connection_lost, dev};
    const char *name = pci->dev.obj.model->name;

    dev->base.vdev = (VfioDevice){.ops = &vfio_user_device_ops, .name = name};
    dev->region_fds = g_ptr_array_new();
    proxy_batch_init(&dev->dma_batch);
    vfio_user_dma_start(dev);
    dev->proxy = proxy_new(name, dev->socket_path, dev->msg_timeout, &client, &dev->counters, error);
    if (!dev->proxy) {
        user_release(dev);
        return false;
    }
    if (!vfio_pci_start(&dev->base, error)) {
        proxy_shutdown(dev->proxy);
        user_release(dev);
        return false;
    }
    if (!container_start(dev, error)) {
        proxy_shutdown(dev->proxy);
        vfio_pci_stop(&dev->base);
        user_release(dev);
        return false;
    }
    dev->base.vdev.name = pci->dev.obj.id;
    __atomic_store_n(&dev->connected, true, __ATOMIC_SEQ_CST);
    return true;
}

static void vfio_user_reset(PciDevice *pci)
{
    vfio_pci_reset(&((VfioUserPci *)pci)->base);
}

/* The hang-up tells the server to let go of everything; waiting for it to answer could take a time-out. */
static void vfio_user_stop(PciDevice *pci)
{
    VfioUserPci *dev = (VfioUserPci *)pci;

    proxy_shutdown(dev->proxy);
    vfio_container_stop(&dev->container);
    vfio_pci_stop(&dev->base);
    user_release(dev);
}

#define COUNTER(text, member, what)                                                                          \
    {                                                                                                        \
        .name = text, .type = &prop_uint64, .offset = offsetof(VfioUserPci, counters.member),                \
        .flags = PROP_READONLY, .doc = what                                                                  \
    }

static const Prop vfio_user_props[] = {
    {.name = "socket",
     .type = &prop_socket,
     .offset = offsetof(VfioUserPci, socket_path),
     .flags = PROP_REQUIRED,
     .doc = "Path of the server's UNIX socket, or {\"type\": \"unix\", \"path\": PATH}"},
    PROP_BOOL("no-direct-dma", VfioUserPci, no_direct_dma, false,
              "Give the server no access to guest memory: every DMA is a message"),
    PROP_BOOL("secure-dma", VfioUserPci, no_direct_dma, false, "The same as no-direct-dma"),
    PROP_BOOL("x-no-posted-writes", VfioUserPci, no_posted_writes, false,
              "Wait for every write of a register"),
    PROP_U32("x-msg-timeout", VfioUserPci, msg_timeout, 5000, 1, 3600000,
             "Milliseconds to wait for a reply of the server"),
    VFIO_PCI_PROPS(VfioUserPci, base),
    COUNTER("messages-sent", sent, "Messages sent to the server"),
    COUNTER("messages-received", received, "Messages received from the server"),
    COUNTER("dma-messages", dma_served, "DMA requests of the server that were served by messages"),
    PROP_END,
};

static const StateField vfio_user_state_fields[] = {
    STATE_FIELD_STRUCT(VfioUserPci, base.pci, &pci_device_state),
    STATE_END,
};
static const StateTable vfio_user_state = {
    .name = "vfio-user-pci", .version = 1, .fields = vfio_user_state_fields};

const PciModel vfio_user_pci_model = {
    .dev = {.name = "vfio-user-pci",
            .kind = MODEL_PCI,
            .size = sizeof(VfioUserPci),
            .props = vfio_user_props,
            .state = &vfio_user_state,
            .doc = "A PCI device served by another process over a vfio-user socket"},
    .express = true,
    .start = vfio_user_start,
    .reset = vfio_user_reset,
    .stop = vfio_user_stop,
    .config_read = vfio_pci_config_read,
    .config_write = vfio_pci_config_write,
};
