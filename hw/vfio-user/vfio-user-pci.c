/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vfio-user-pci: a PCI device whose model runs in another process.  How VFIO's
 * requests travel over the socket (the two tables of hw/vfio/vfio.h), and the
 * model itself; all else is the abstract device of hw/vfio.
 */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#include "hw/vfio-user/proxy.h"
#include "hw/vfio/vfio-pci-device.h"

typedef struct VfioUserPci {
    VfioPciDevice vfio;
    VfioContainer container;
    VfioUserProxy *proxy;
    ProxyStats stats;
    GPtrArray *maps;         /* of ProxyRequest *: DMA maps and unmaps of the open transaction */
    int region_fds[VFIO_PCI_NUM_REGIONS];
    bool any_mmap;           /* then writes are not posted: they must not overtake mapped ones */
    /* properties */
    char *socket;
    bool no_direct_dma, no_posted_writes;
    uint32_t msg_timeout;
} VfioUserPci;

extern const PciModel vfio_user_pci_model;

static VfioUserPci *of_device(VfioDevice *vdev)
{
    return (VfioUserPci *)((char *)vdev - offsetof(VfioUserPci, vfio.vdev));
}

static VfioUserPci *of_container(VfioContainer *c)
{
    return (VfioUserPci *)((char *)c - offsetof(VfioUserPci, container));
}

/* --- VfioDeviceOps --- */

static int op_get_info(VfioDevice *vdev, struct vfio_device_info *info)
{
    uint8_t payload[WIRE_INFO_SIZE];
    const struct iovec iov = {payload, wire_info_encode(payload, &(WireInfo){0})};
    ProxyRequest req;
    WireInfo reply;
    int ret = proxy_call(of_device(vdev)->proxy, &req, WIRE_GET_INFO, &iov, 1, NULL, 0);

    if (ret) {
        return ret;
    }
    ret = -wire_info_decode_reply(&reply, req.reply.body, req.reply.len);
    wire_message_clear(&req.reply);
    info->flags = reply.flags;
    info->num_regions = reply.num_regions;
    info->num_irqs = reply.num_irqs;
    return ret;
}

static int decode_region(VfioUserPci *s, unsigned index, WireMessage *m, VfioRegionInfo *info)
{
    WireRegionInfo r;
    g_autofree WireArea *areas = NULL;
    uint32_t count = WIRE_MAX_AREAS;
    bool sparse;
    int err = wire_region_info_decode(&r, m->body, m->len);

    if (err || r.index != index) {
        return -EINVAL;
    }
    areas = g_new(WireArea, WIRE_MAX_AREAS);
    err = wire_region_sparse_decode(&r, m->body, m->len, areas, &count, &sparse);
    if (err) {
        return -err;
    }
    *info = (VfioRegionInfo){.flags = r.flags, .size = r.size, .fd_offset = r.offset, .fd = -1};
    if ((r.flags & WIRE_REGION_MMAP) && m->fd_count) {
        s->region_fds[index] = info->fd = m->fds[0];
        m->fds[0] = -1;
        s->any_mmap = true;
        info->area_count = sparse ? count : 0;
        info->areas = g_new(VfioMmapArea, count + 1);
        for (uint32_t i = 0; i < info->area_count; i++) {
            info->areas[i] = (VfioMmapArea){areas[i].offset, areas[i].size};
        }
    }
    return 0;
}

static int op_get_region_info(VfioDevice *vdev, unsigned index, VfioRegionInfo *info)
{
    VfioUserPci *s = of_device(vdev);
    uint8_t payload[WIRE_REGION_INFO_SIZE];
    WireRegionInfo ask = {.index = index, .argsz = (uint32_t)wire_region_info_sparse_size(WIRE_MAX_AREAS)};
    const struct iovec iov = {payload, wire_region_info_encode(payload, &ask)};
    ProxyRequest req;
    int ret = proxy_call(s->proxy, &req, WIRE_GET_REGION_INFO, &iov, 1, NULL, 0);

    if (!ret) {
        ret = decode_region(s, index, &req.reply, info);
        wire_message_clear(&req.reply);
    }
    return ret;
}

static int op_get_irq_info(VfioDevice *vdev, struct vfio_irq_info *info)
{
    uint8_t payload[WIRE_IRQ_INFO_SIZE];
    WireIrqInfo ask = {.index = info->index}, reply;
    const struct iovec iov = {payload, wire_irq_info_encode(payload, &ask)};
    ProxyRequest req;
    int ret = proxy_call(of_device(vdev)->proxy, &req, WIRE_GET_IRQ_INFO, &iov, 1, NULL, 0);

    if (ret) {
        return ret;
    }
    ret = -wire_irq_info_decode(&reply, req.reply.body, req.reply.len);
    wire_message_clear(&req.reply);
    info->flags = reply.flags;
    info->count = reply.count;
    return ret;
}

static int send_irqs(VfioUserPci *s, const WireSetIrqs *irqs, const int *fds, unsigned fd_count)
{
    uint8_t payload[WIRE_SET_IRQS_SIZE];
    struct iovec iov[2] = {{payload, sizeof(payload)}, {(void *)irqs->bools, irqs->bools ? irqs->count : 0}};
    ProxyRequest req;
    WireSetIrqs head = *irqs;
    int ret;

    g_assert(!irqs->bools); /* nothing above asks for data of that kind */
    wire_set_irqs_encode(payload, &head);
    ret = proxy_call(s->proxy, &req, WIRE_SET_IRQS, iov, 1, fds, fd_count);
    if (!ret) {
        wire_message_clear(&req.reply);
    }
    return ret;
}

/* Runs of fds, or of none, each no longer than the server takes in one message. */
static int op_set_irqs(VfioDevice *vdev, const struct vfio_irq_set *set)
{
    VfioUserPci *s = of_device(vdev);
    const int32_t *fds = (const int32_t *)set->data;
    unsigned limit = (unsigned)MAX(proxy_caps(s->proxy)->max_msg_fds, 1), done = 0;
    int ret = 0;

    if (!(set->flags & VFIO_IRQ_SET_DATA_EVENTFD)) {
        WireSetIrqs irqs = {.flags = set->flags, .index = set->index, .start = set->start, .count = set->count};

        return send_irqs(s, &irqs, NULL, 0);
    }
    while (!ret && done < set->count) {
        unsigned n = 1;
        bool none = fds[done] < 0;

        while (done + n < set->count && n < limit && (fds[done + n] < 0) == none) {
            n++;
        }
        WireSetIrqs irqs = {.flags = set->flags, .index = set->index, .start = set->start + done, .count = n};

        ret = send_irqs(s, &irqs, none ? NULL : fds + done, none ? 0 : n);
        done += n;
    }
    return ret;
}

static ssize_t op_region_read(VfioDevice *vdev, unsigned index, uint64_t offset, uint32_t size, void *data)
{
    VfioUserPci *s = of_device(vdev);
    uint8_t payload[WIRE_REGION_ACCESS_SIZE];
    WireRegionAccess ask = {.offset = offset, .region = index, .count = size}, reply;
    const struct iovec iov = {payload, wire_region_access_encode(payload, &ask)};
    ProxyRequest req;
    int ret = proxy_call(s->proxy, &req, WIRE_REGION_READ, &iov, 1, NULL, 0);

    if (ret) {
        return ret;
    }
    ret = -wire_region_read_decode_reply(&reply, req.reply.body, req.reply.len, &ask);
    if (!ret) {
        memcpy(data, reply.data, size);
    }
    wire_message_clear(&req.reply);
    return ret ? ret : (ssize_t)size;
}

static ssize_t op_region_write(VfioDevice *vdev, unsigned index, uint64_t offset, uint32_t size, const void *data,
                               bool posted)
{
    VfioUserPci *s = of_device(vdev);
    uint8_t payload[WIRE_REGION_ACCESS_SIZE];
    WireRegionAccess ask = {.offset = offset, .region = index, .count = size}, reply;
    const struct iovec iov[] = {{payload, wire_region_access_encode(payload, &ask)}, {(void *)data, size}};
    ProxyRequest req;
    int ret;

    if (posted && !s->no_posted_writes && !s->any_mmap) {
        ret = proxy_post(s->proxy, WIRE_REGION_WRITE, iov, 2);
        return ret ? ret : (ssize_t)size;
    }
    ret = proxy_call(s->proxy, &req, WIRE_REGION_WRITE, iov, 2, NULL, 0);
    if (!ret) {
        ret = -wire_region_write_decode_reply(&reply, req.reply.body, req.reply.len, &ask);
        wire_message_clear(&req.reply);
    }
    return ret ? ret : (ssize_t)size;
}

static int op_reset(VfioDevice *vdev)
{
    ProxyRequest req;
    int ret = proxy_call(of_device(vdev)->proxy, &req, WIRE_RESET, NULL, 0, NULL, 0);

    if (!ret) {
        wire_message_clear(&req.reply);
    }
    return ret;
}

static const VfioDeviceOps device_ops = {
    .get_info = op_get_info,
    .get_region_info = op_get_region_info,
    .get_irq_info = op_get_irq_info,
    .set_irqs = op_set_irqs,
    .region_read = op_region_read,
    .region_write = op_region_write,
    .reset = op_reset,
};

/* --- VfioContainerOps: everything of a transaction is sent at once and awaited at its end --- */

static int queue_map(VfioUserPci *s, unsigned command, const struct iovec *iov, const int *fds, unsigned fd_count)
{
    ProxyRequest *req = g_new(ProxyRequest, 1);
    int ret = proxy_send(s->proxy, req, command, iov, 1, fds, fd_count);

    if (ret) {
        g_free(req);
    } else {
        g_ptr_array_add(s->maps, req);
    }
    return ret;
}

static int op_dma_map(VfioContainer *c, const VfioDmaMap *map)
{
    VfioUserPci *s = of_container(c);
    bool with_fd = map->fd >= 0 && !s->no_direct_dma;
    uint8_t payload[WIRE_DMA_MAP_SIZE];
    WireDmaMap m = {.flags = WIRE_DMA_READABLE | (map->readonly ? 0 : WIRE_DMA_WRITEABLE),
                    .fd_offset = with_fd ? map->fd_offset : 0, .address = map->iova, .size = map->size};
    const struct iovec iov = {payload, wire_dma_map_encode(payload, &m)};

    return queue_map(s, WIRE_DMA_MAP, &iov, &map->fd, with_fd ? 1 : 0);
}

static int op_dma_unmap(VfioContainer *c, uint64_t iova, uint64_t size)
{
    uint8_t payload[WIRE_DMA_UNMAP_SIZE + WIRE_BITMAP_HEAD_SIZE];
    WireDmaUnmap u = {.address = iova, .size = size};
    const struct iovec iov = {payload, wire_dma_unmap_encode(payload, &u)};

    return queue_map(of_container(c), WIRE_DMA_UNMAP, &iov, NULL, 0);
}

static int op_commit(VfioContainer *c)
{
    VfioUserPci *s = of_container(c);
    int first = 0;

    for (guint i = 0; i < s->maps->len; i++) {
        ProxyRequest *req = s->maps->pdata[i];
        int ret = proxy_wait(s->proxy, req);

        if (!ret) {
            wire_message_clear(&req->reply);
        } else if (!first) {
            first = ret;
        }
        g_free(req);
    }
    g_ptr_array_set_size(s->maps, 0);
    return first;
}

static const VfioContainerOps container_ops = {
    .commit = op_commit,
    .dma_map = op_dma_map,
    .dma_unmap = op_dma_unmap,
};

/* --- what the server asks --- */

static MemResult serve_dma(void *opaque, uint64_t address, void *buf, uint64_t count, bool is_write)
{
    VfioUserPci *s = opaque;

    return is_write ? pci_dma_write(&s->vfio.pci, address, buf, count) : pci_dma_read(&s->vfio.pci, address, buf, count);
}

static void server_lost(void *opaque, const char *reason)
{
    VfioUserPci *s = opaque;

    vfio_pci_lost(&s->vfio, reason);
}

static const ProxyOps proxy_ops = {.dma = serve_dma, .lost = server_lost};

/* --- the model --- */

static void vfio_user_close(VfioUserPci *s)
{
    g_clear_pointer(&s->proxy, proxy_free);
    for (unsigned i = 0; i < G_N_ELEMENTS(s->region_fds); i++) {
        if (s->region_fds[i] >= 0) {
            close(s->region_fds[i]);
            s->region_fds[i] = -1;
        }
    }
    g_clear_pointer(&s->maps, g_ptr_array_unref);
}

static bool vfio_user_start(PciDevice *pci, GError **error)
{
    VfioUserPci *s = (VfioUserPci *)pci;

    for (unsigned i = 0; i < G_N_ELEMENTS(s->region_fds); i++) {
        s->region_fds[i] = -1;
    }
    s->maps = g_ptr_array_new();
    s->proxy = proxy_connect(s->socket, s->msg_timeout, &proxy_ops, s, &s->stats, error);
    if (!s->proxy) {
        g_prefix_error(error, "-device vfio-user-pci: ");
        vfio_user_close(s);
        return false;
    }
    s->vfio.vdev.ops = &device_ops;
    s->vfio.vdev.name = s->socket;
    s->container.message_dma = true;
    if (!vfio_pci_start(&s->vfio, error)) {
        vfio_user_close(s);
        return false;
    }
    proxy_start(s->proxy);
    if (!vfio_container_start(&s->container, &container_ops, pci->bus->dma_space, error)) {
        g_prefix_error(error, "-device vfio-user-pci: socket=%s: ", s->socket);
        vfio_pci_stop(&s->vfio);
        vfio_user_close(s);
        return false;
    }
    return true;
}

static void vfio_user_reset(PciDevice *pci)
{
    vfio_pci_reset((VfioPciDevice *)pci);
}

static void vfio_user_stop(PciDevice *pci)
{
    VfioUserPci *s = (VfioUserPci *)pci;

    vfio_container_stop(&s->container);
    vfio_pci_stop(&s->vfio);
    vfio_user_close(s);
}

/* `socket`: a path, or {"type": "unix", "path": ...}. */
static bool socket_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    char **field = (char **)((char *)obj + prop->offset);
    struct json_object *type = NULL, *path = value;

    if (json_object_is_type(value, json_type_object)) {
        json_object_object_get_ex(value, "type", &type);
        if (!type || strcmp(json_object_get_string(type), "unix")) {
            error_set(error, "socket.type: not supported (%s, allowed unix)", type ? json_object_get_string(type) : "not given");
            return false;
        }
        path = NULL;
        json_object_object_get_ex(value, "path", &path);
    }
    if (!json_object_is_type(path, json_type_string) || !json_object_get_string_len(path)) {
        error_set(error, "socket: give a path, or {\"type\": \"unix\", \"path\": PATH}");
        return false;
    }
    g_free(*field);
    *field = g_strdup(json_object_get_string(path));
    return true;
}

static struct json_object *socket_format(Object *obj, const Prop *prop)
{
    const char *path = *(char **)((char *)obj + prop->offset);

    return json_object_new_string(path ? path : "");
}

static void socket_clear(Object *obj, const Prop *prop)
{
    g_clear_pointer((char **)((char *)obj + prop->offset), g_free);
}

static const PropType prop_socket = {
    .name = "SocketAddress", .parse = socket_parse, .format = socket_format, .clear = socket_clear, .field_size = sizeof(char *)};

static const Prop vfio_user_props[] = {
    {.name = "socket", .type = &prop_socket, .offset = offsetof(VfioUserPci, socket), .flags = PROP_REQUIRED,
     .doc = "Socket of the server: a path, or a SocketAddress in JSON"},
    PROP_BOOL("no-direct-dma", VfioUserPci, no_direct_dma, false, "Give the server no access to guest RAM: all DMA by messages"),
    PROP_BOOL("secure-dma", VfioUserPci, no_direct_dma, false, "The same as no-direct-dma"),
    PROP_BOOL("x-no-posted-writes", VfioUserPci, no_posted_writes, false, "Wait for the reply of every register write"),
    PROP_U32("x-msg-timeout", VfioUserPci, msg_timeout, 5000, 1, 3600000, "Milliseconds to wait for a reply"),
    {.name = "messages-sent", .type = &prop_uint64, .offset = offsetof(VfioUserPci, stats.sent), .flags = PROP_READONLY,
     .doc = "Messages sent to the server"},
    {.name = "messages-received", .type = &prop_uint64, .offset = offsetof(VfioUserPci, stats.received),
     .flags = PROP_READONLY, .doc = "Messages received from the server"},
    VFIO_PCI_PROPS(VfioUserPci, vfio),
    PROP_END,
};

const PciModel vfio_user_pci_model = {
    .dev = {.name = "vfio-user-pci", .kind = MODEL_PCI, .size = sizeof(VfioUserPci), .props = vfio_user_props,
            .state = &state_none, .doc = "A PCI device whose model runs in another process, reached by vfio-user"},
    .express = true,
    .start = vfio_user_start, .reset = vfio_user_reset, .stop = vfio_user_stop,
    .config_read = vfio_pci_config_read, .config_write = vfio_pci_config_write,
};
