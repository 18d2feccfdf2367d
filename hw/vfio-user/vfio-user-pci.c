/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `-device vfio-user-pci`: a PCI device in another process, reached by vfio-user messages over a UNIX socket.
 */
#include <json-c/json.h>
#include <unistd.h>

#include "hw/vfio-user/vfio-user.h"

extern const PciModel vfio_user_pci_model;

/* --- property state --- */

static struct json_object *state_format(Object *obj, const Prop *prop)
{
    const VfioUserPci *dev = (const VfioUserPci *)obj;
    bool lost = __atomic_load_n(&dev->base.vdev.broken, __ATOMIC_RELAXED);

    return json_object_new_string(!dev->connected ? "unconnected" : lost ? "lost" : "connected");
}

static const PropType prop_connection_state = {.name = "VfioUserState", .format = state_format};

/* --- life --- */

static void connection_lost(void *opaque, const char *reason)
{
    const VfioUserLink *link = opaque;
    VfioUserPci *dev = link->dev;
    Object *obj = &dev->base.pci.dev.obj;
    g_autofree char *path = NULL;
    struct json_object *data;

    if (!__atomic_load_n(&link->current, __ATOMIC_SEQ_CST)) {
        return;
    }
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

static void server_request(void *opaque, ProxyLink *from, const WireMessage *m)
{
    const VfioUserLink *link = opaque;

    if (__atomic_load_n(&link->current, __ATOMIC_SEQ_CST)) {
        vfio_user_server_request(link->dev, from, m);
    } else {
        proxy_reply(from, &m->header, EBUSY, NULL, 0);
    }
}

VfioUserLink *vfio_user_link_new(VfioUserPci *dev, const VfioUserAddress *address, GError **error)
{
    VfioUserLink *link = g_new0(VfioUserLink, 1);
    const ProxyConfig config = {.name = dev->base.pci.dev.obj.model->name,
                                .address = address,
                                .timeout_ms = dev->msg_timeout,
                                .poll_us = dev->poll_us,
                                .send_queued = dev->send_queued,
                                .loop = dev->iothread ? iothread_loop(dev->iothread) : NULL,
                                .client = {server_request, connection_lost, link},
                                .counters = &link->counters};

    link->dev = dev;
    link->proxy = proxy_new(&config, error);
    if (!link->proxy) {
        g_free(link);
        return NULL;
    }
    return link;
}

void vfio_user_link_free(VfioUserLink *link)
{
    if (link) {
        proxy_free(link->proxy);
        g_free(link);
    }
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
    VfioUserLink *link = g_steal_pointer(&dev->link);

    vfio_user_dma_stop(dev);
    dev->proxy = NULL;
    if (link && dev->move.keep && !proxy_broken(link->proxy)) {
        proxy_set_counters(link->proxy, &link->counters);
        dev->move.left = link;
    } else {
        vfio_user_link_free(link);
    }
    close_region_fds(dev);
}

/* The maps are sent with the lock and awaited without it: the guest goes on meanwhile. */
static int await_maps(VfioUserPci *dev)
{
    VfioUserBatch *b = g_steal_pointer(&dev->dma_batch);
    EventLoop *main_loop = dev->base.pci.dev.obj.machine->main_loop;
    unsigned depth = loop_release(main_loop);
    int err = proxy_batch_wait(dev->proxy, &b->batch);

    loop_reacquire(main_loop, depth);
    dev->container.refused = b->batch.errors;
    vfio_user_batch_free(b);
    return err;
}

static bool container_start(VfioUserPci *dev, GError **error)
{
    const WireCaps *caps = proxy_caps(dev->proxy);
    AddressSpace *as = pci_dma_follow(&dev->base.pci, error);
    int err = 0;

    if (!as) {
        g_prefix_error(error, "%s: ", dev->base.vdev.name);
        return false;
    }
    dev->container =
        (VfioContainer){.pgsizes = caps->pgsizes, .max_maps = caps->max_dma_maps, .message_dma = true};
    dev->base.container = &dev->container;
    dev->starting = true;
    if (vfio_container_start(&dev->container, &vfio_user_container_ops, as, error)) {
        dev->starting = false;
        err = dev->dma_batch ? await_maps(dev) : 0;
        if (!err) {
            return true;
        }
        vfio_container_refused(&dev->container, err, error);
        vfio_container_stop(&dev->container);
    }
    g_prefix_error(error, "%s: socket: ", dev->base.vdev.name);
    return false;
}

/*
 * RAM that is backed by something and yet private is nearly always a forgotten option, and its price, every
 * DMA a message, is high: it has to be asked for.  Anonymous RAM never could be shared, so it says nothing.
 */
static bool ram_can_be_shared(VfioUserPci *dev, GError **error)
{
    Object *ram = dev->base.pci.dev.obj.machine->ram_backend;

    if (dev->no_direct_dma || !ram || ram_backend_shared(ram) || ram->model == &ram_backend_ram_model.model) {
        return true;
    }
    error_set(
        error,
        "%s: RAM '%s' is private to this process; add share=on to -object %s,id=%s, or no-direct-dma=on to "
        "this device to let its DMA go by messages",
        dev->base.pci.dev.obj.model->name, ram->id, ram->model->name, ram->id);
    return false;
}

/* The connection that is there already, or a new one. */
static bool connect_unlocked(VfioUserPci *dev, GError **error)
{
    EventLoop *main_loop = dev->base.pci.dev.obj.machine->main_loop;
    VfioUserLink *link = g_steal_pointer(&dev->move.next);
    unsigned depth;

    if (!link) {
        depth = loop_release(main_loop);
        link = vfio_user_link_new(dev, &dev->socket, error);
        loop_reacquire(main_loop, depth);
    }
    if (!link) {
        return false;
    }
    dev->link = link;
    dev->proxy = link->proxy;
    proxy_set_started(dev->proxy, false);
    proxy_set_counters(dev->proxy, &dev->counters);
    __atomic_store_n(&link->current, true, __ATOMIC_SEQ_CST);
    if (proxy_broken(link->proxy)) {
        error_set(error, "%s: the server has hung up", dev->base.vdev.name);
        return false;
    }
    return true;
}

/* There is no server, and nobody can tell what it would have: the guest does not run before that is otherwise. */
static bool start_vacant(VfioUserPci *dev)
{
    dev->base.vdev = (VfioDevice){.ops = &vfio_user_device_ops, .name = dev->base.pci.dev.obj.id, .broken = true};
    dev->base.interrupt_mode = -1;
    dev->base.stopping = dev->base.fresh = true;
    dev->vacant = true;
    return true;
}

static bool vfio_user_start(PciDevice *pci, GError **error)
{
    VfioUserPci *dev = (VfioUserPci *)pci;

    if (!ram_can_be_shared(dev, error)) {
        return false;
    }
    if (dev->move.vacate || (dev->takeover && pci->dev.obj.machine->incoming && !dev->move.arrived)) {
        return start_vacant(dev);
    }
    dev->base.vdev = (VfioDevice){.ops = &vfio_user_device_ops, .name = pci->dev.obj.model->name};
    dev->region_fds = g_ptr_array_new();
    vfio_user_dma_start(dev);
    if (!connect_unlocked(dev, error)) {
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
    proxy_set_started(dev->proxy, true);
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

    if (dev->vacant) {
        dev->vacant = false;
        if (!dev->move.restarting) {
            vfio_user_move_clear(dev);
        }
        return;
    }
    if (dev->move.keep) {
        /* What its server is asked for from now on is waited for. */
        __atomic_store_n(&dev->link->current, false, __ATOMIC_SEQ_CST);
        __atomic_store_n(&dev->connected, false, __ATOMIC_SEQ_CST);
    } else {
        proxy_shutdown(dev->proxy);
    }
    vfio_container_stop(&dev->container);
    vfio_pci_stop(&dev->base);
    user_release(dev);
    __atomic_store_n(&dev->connected, false, __ATOMIC_SEQ_CST);
    if (!dev->move.restarting) {
        vfio_user_move_clear(dev);
    }
}

#define COUNTER(text, member, what)                                                                          \
    {                                                                                                        \
        .name = text, .type = &prop_uint64, .offset = offsetof(VfioUserPci, counters.member),                \
        .flags = PROP_READONLY, .doc = what                                                                  \
    }

static const char *const iothread_names[] = {"iothread", NULL};

static const Prop vfio_user_props[] = {
    {.name = "socket",
     .type = &prop_vfio_user_address,
     .offset = offsetof(VfioUserPci, socket),
     .flags = PROP_REQUIRED,
     .doc = "Path of the server's UNIX socket, or a SocketAddress of type unix, inet, vsock or fd"},
    {.name = "state",
     .type = &prop_connection_state,
     .flags = PROP_READONLY,
     .doc = "connected, or lost when the server is gone"},
    PROP_BOOL("no-direct-dma", VfioUserPci, no_direct_dma, false,
              "Give the server no access to guest memory: every DMA is a message"),
    PROP_BOOL("secure-dma", VfioUserPci, no_direct_dma, false, "The same as no-direct-dma"),
    PROP_BOOL("x-no-posted-writes", VfioUserPci, no_posted_writes, false,
              "Wait for every write of a register"),
    PROP_BOOL("x-send-queued", VfioUserPci, send_queued, false,
              "A thread of the device writes to the socket, not the CPU that accesses the device"),
    PROP_U32("x-msg-timeout", VfioUserPci, msg_timeout, 5000, 1, 3600000,
             "Milliseconds to wait for a reply of the server"),
    PROP_U32("poll-us", VfioUserPci, poll_us, 20, 0, 1000000,
             "Microseconds a CPU at most looks for the server's reply before it sleeps"),
    {.name = "iothread",
     .type = &prop_link,
     .offset = offsetof(VfioUserPci, iothread),
     .names = iothread_names,
     .doc = "iothread that serves the device's requests while no CPU waits for it; default: a thread of its "
            "own"},
    PROP_BOOL("takeover", VfioUserPci, takeover, false,
              "With -incoming: the server is that of the source's device, and is connected to when the source lets go of it"),
    VFIO_PCI_PROPS(VfioUserPci, base),
    COUNTER("messages-sent", sent, "Messages sent to the server"),
    COUNTER("messages-received", received, "Messages received from the server"),
    COUNTER("writes-coalesced", coalesced, "Register writes that travelled several in one message"),
    COUNTER("dma-messages", dma_served, "DMA requests of the server that were served by messages"),
    PROP_END,
};

const PciModel vfio_user_pci_model = {
    .dev = {.name = "vfio-user-pci",
            .kind = MODEL_PCI,
            .size = sizeof(VfioUserPci),
            .props = vfio_user_props,
            .start_waits = true,
            .state = &vfio_pci_device_state,
            .move = &vfio_user_move,
            .doc = "A PCI device served by another process over a vfio-user socket"},
    .express = true,
    .start = vfio_user_start,
    .reset = vfio_user_reset,
    .stop = vfio_user_stop,
    .config_read = vfio_pci_config_read,
    .config_write = vfio_pci_config_write,
};
