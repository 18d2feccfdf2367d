/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `-object x-vfio-user-server`: serves one PCI device of an x-remote machine to
 * one vfio-user client at a time, through libvfio-user.  Attaching, requests
 * and listening again after a hang-up are all driven by the machine's loop;
 * nothing here blocks on the client.
 */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <string.h>

#include "core/trace.h"
#include "hw/remote/vfu-server.h"

#define REQUESTS_PER_WAKEUP 64
#define QUIESCE_POLL_NS 200000
#define VFU_SERVER_LOG_LEVEL 7 /* syslog's debug: what is shown is decided by -trace */

extern TraceEvent vfu_server_trace[];
enum { TRACE_ATTACHED, TRACE_HANGUP, TRACE_LOG };
TraceEvent vfu_server_trace[] = {
    [TRACE_ATTACHED] = {"vfu_server_attached"}, [TRACE_HANGUP] = {"vfu_server_hangup"}, [TRACE_LOG] = {"vfu_server_log"}, {NULL}};

extern const ObjectModel vfu_server_model;

static void server_run(void *opaque);

static void server_log(vfu_ctx_t *ctx, int level, const char *msg)
{
    VfuServer *s = vfu_get_private(ctx);

    TRACE(&vfu_server_trace[TRACE_LOG], "%s: %s", s->obj.id, msg);
}

/* --- interrupts towards the client --- */

static void sink_intx(RemoteSink *sink)
{
    VfuServer *s = (VfuServer *)((char *)sink - offsetof(VfuServer, sink));

    vfu_irq_trigger(s->ctx, 0);
}

static void sink_msi(RemoteSink *sink, unsigned vector)
{
    VfuServer *s = (VfuServer *)((char *)sink - offsetof(VfuServer, sink));

    vfu_irq_trigger(s->ctx, vector);
}

/* --- the connection --- */

/* The fd changes when a client comes or goes; POLLOUT is wanted while a slow reader leaves output queued. */
static void server_watch(VfuServer *s)
{
    EventLoop *loop = s->obj.machine->main_loop;
    int fd = vfu_get_poll_fd(s->ctx);
    bool write = vfu_poll_events(s->ctx) & POLLOUT;

    if (s->watch && s->watched_fd != fd) {
        g_clear_pointer(&s->watch, loop_remove_fd);
    }
    if (!s->watch) {
        s->watch = loop_add_fd(loop, fd, server_run, write ? server_run : NULL, s);
        s->watched_fd = fd;
    } else {
        loop_set_fd(s->watch, s->quiesce_pending ? NULL : server_run, write ? server_run : NULL);
    }
}

static void server_hung_up(VfuServer *s)
{
    RemoteMachine *rm = remote_machine(s->obj.machine);
    g_autofree char *vfu_path = object_path(&s->obj), *dev_path = object_path(&s->dev->dev.obj);
    struct json_object *data = json_object_new_object();

    TRACE(&vfu_server_trace[TRACE_HANGUP], "%s", s->obj.id);
    s->state = VFU_SERVER_LISTENING;
    json_object_object_add(data, "vfu-id", json_object_new_string(s->obj.id));
    json_object_object_add(data, "vfu-qom-path", json_object_new_string(vfu_path));
    json_object_object_add(data, "dev-id", json_object_new_string(s->dev->dev.obj.id));
    json_object_object_add(data, "dev-qom-path", json_object_new_string(dev_path));
    machine_emit_event(s->obj.machine, "VFU_CLIENT_HANGUP", data);
    if (rm->auto_shutdown) {
        for (guint i = 0; i < rm->slots->len; i++) {
            RemoteSlot *slot = rm->slots->pdata[i];
            VfuServer *other = slot->sink ? (VfuServer *)((char *)slot->sink - offsetof(VfuServer, sink)) : NULL;

            if (other && other->state == VFU_SERVER_CONNECTED) {
                return;
            }
        }
        machine_request_shutdown(s->obj.machine, SHUTDOWN_GUEST_SHUTDOWN, 0);
    }
}

static void server_attach(VfuServer *s)
{
    if (vfu_attach_ctx(s->ctx) == 0) {
        TRACE(&vfu_server_trace[TRACE_ATTACHED], "%s", s->obj.id);
        s->state = VFU_SERVER_CONNECTED;
        loop_bh_schedule(s->run_bh);
    }
    /* EAGAIN: nobody there or the version exchange goes on; other errors: that client is refused, the next may come. */
}

/* Handles what has arrived, a bounded number of requests so that other users of the loop get their turn. */
static void server_requests(VfuServer *s)
{
    for (int i = 0; i < REQUESTS_PER_WAKEUP; i++) {
        int ret = vfu_run_ctx(s->ctx);

        if (ret == 0) {
            return;
        }
        if (ret < 0) {
            if (errno == ENOTCONN) {
                server_hung_up(s);
            }
            return;
        }
    }
    loop_bh_schedule(s->run_bh);
}

static void server_run(void *opaque)
{
    VfuServer *s = opaque;

    if (s->quiesce_pending) {
        return;
    }
    if (s->state == VFU_SERVER_LISTENING) {
        server_attach(s);
    } else {
        server_requests(s);
    }
    server_watch(s);
}

/* --- quiesce: before the client's memory changes, nothing of the device may still use it --- */

static void quiesce_poll(void *opaque)
{
    VfuServer *s = opaque;

    if (vfu_server_dma_pins(s)) {
        timer_set(s->quiesce_timer, clock_now(s->obj.machine->clocks, CLOCK_KIND_REALTIME) + QUIESCE_POLL_NS);
        return;
    }
    s->quiesce_pending = false;
    vfu_device_quiesced(s->ctx, 0);
    loop_bh_schedule(s->run_bh);
}

static int server_quiesce(vfu_ctx_t *ctx)
{
    VfuServer *s = vfu_get_private(ctx);

    if (!vfu_server_dma_pins(s)) {
        return 0;
    }
    s->quiesce_pending = true;
    timer_set(s->quiesce_timer, clock_now(s->obj.machine->clocks, CLOCK_KIND_REALTIME) + QUIESCE_POLL_NS);
    errno = EBUSY;
    return -1;
}

/* --- the object --- */

static const char *socket_member(VfuServer *s, const char *name)
{
    struct json_object *value;

    return s->socket && json_object_object_get_ex(s->socket, name, &value) ? json_object_get_string(value) : NULL;
}

/* The socket path from type=,path= or socket={...}; NULL with *error. */
static const char *server_path(VfuServer *s, GError **error)
{
    const char *type = s->type ? s->type : socket_member(s, "type");
    const char *path = s->path ? s->path : socket_member(s, "path");

    if (!type || strcmp(type, "unix")) {
        error_set(error, "x-vfio-user-server %s: type: only unix sockets are served (%s, allowed unix)", s->obj.id,
                  type ? type : "not given");
        return NULL;
    }
    if (!path || !*path) {
        error_set(error, "x-vfio-user-server %s: path: not given; add path=SOCKET", s->obj.id);
        return NULL;
    }
    return path;
}

static PciDevice *server_device(VfuServer *s, GError **error)
{
    Object *obj = object_resolve(s->obj.machine, s->device);

    if (!obj) {
        error_set(error, "x-vfio-user-server %s: device: no device '%s'; give the id of a -device", s->obj.id, s->device);
        return NULL;
    }
    if (obj->model->kind != MODEL_PCI) {
        error_set(error, "x-vfio-user-server %s: device: '%s' (%s) is not a PCI device", s->obj.id, s->device,
                  obj->model->name);
        return NULL;
    }
    return (PciDevice *)obj;
}

static bool server_check_machine(VfuServer *s, GError **error)
{
    RemoteMachine *rm = remote_machine(s->obj.machine);

    if (!rm || !rm->vfio_user) {
        error_set(error, "x-vfio-user-server %s: %s; use -machine x-remote,vfio-user=on", s->obj.id,
                  rm ? "this machine has vfio-user=off" : "only an x-remote machine serves devices");
        return false;
    }
    return true;
}

static bool server_create_ctx(VfuServer *s, const char *path, GError **error)
{
    s->ctx = vfu_create_ctx(VFU_TRANS_SOCK, path, LIBVFIO_USER_FLAG_ATTACH_NB, s, VFU_DEV_TYPE_PCI);
    if (!s->ctx) {
        error_set_errno(error, errno, "x-vfio-user-server %s: path=%s: cannot listen", s->obj.id, path);
        return false;
    }
    vfu_setup_log(s->ctx, server_log, VFU_SERVER_LOG_LEVEL);
    vfu_setup_device_quiesce_cb(s->ctx, server_quiesce);
    if (!vfu_server_device_init(s, error) || !vfu_server_dma_init(s, error)) {
        return false;
    }
    if (vfu_realize_ctx(s->ctx) < 0) {
        error_set_errno(error, errno, "x-vfio-user-server %s: cannot serve %s", s->obj.id, s->device);
        return false;
    }
    return true;
}

static void server_release(VfuServer *s)
{
    g_clear_pointer(&s->watch, loop_remove_fd);
    g_clear_pointer(&s->ctx, vfu_destroy_ctx);
    vfu_server_dma_cleanup(s);
    vfu_server_device_cleanup(s);
    g_clear_pointer(&s->run_bh, loop_bh_free);
    g_clear_pointer(&s->quiesce_timer, timer_free);
    remote_slot_detach(s->slot);
}

static bool server_start(Object *obj, GError **error)
{
    VfuServer *s = (VfuServer *)obj;
    EventLoop *loop = obj->machine->main_loop;
    const char *path;

    if (!server_check_machine(s, error) || !(path = server_path(s, error)) || !(s->dev = server_device(s, error))) {
        return false;
    }
    s->slot = remote_slot(s->dev);
    s->sink = (RemoteSink){.owner = obj->id, .intx = sink_intx, .msi = sink_msi};
    if (!remote_slot_attach(s->slot, &s->sink, error)) {
        g_prefix_error(error, "x-vfio-user-server %s: device=%s: ", obj->id, s->device);
        return false;
    }
    s->run_bh = loop_bh_new(loop, server_run, s);
    s->quiesce_timer = timer_new(loop, CLOCK_KIND_REALTIME, quiesce_poll, s);
    if (!server_create_ctx(s, path, error)) {
        server_release(s);
        return false;
    }
    server_watch(s);
    return true;
}

static void server_stop(Object *obj)
{
    VfuServer *s = (VfuServer *)obj;

    g_clear_pointer(&s->watch, loop_remove_fd);
    device_reset(&s->dev->dev);
    /* Requests in flight at the back end still point into the client's memory; they end in bounded time. */
    while (vfu_server_dma_pins(s)) {
        loop_iterate(obj->machine->main_loop, true);
    }
    server_release(s);
}

static const Prop server_props[] = {
    {.name = "device", .type = &prop_string, .offset = offsetof(VfuServer, device), .flags = PROP_REQUIRED,
     .doc = "Id of the PCI device to serve"},
    PROP_STR("type", VfuServer, type, NULL, "Kind of socket: unix"),
    PROP_STR("path", VfuServer, path, NULL, "Path of the UNIX socket to listen on"),
    PROP_JSON("socket", VfuServer, socket, "The same as a SocketAddress: {\"type\": \"unix\", \"path\": PATH}"),
    PROP_END,
};

const ObjectModel vfu_server_model = {
    .model = {.name = "x-vfio-user-server", .kind = MODEL_OBJECT, .size = sizeof(VfuServer), .props = server_props,
              .state = &state_none, .doc = "Serves a PCI device of an x-remote machine to a vfio-user client"},
    .start = server_start,
    .stop = server_stop,
};
