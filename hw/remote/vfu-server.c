/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `-object x-vfio-user-server`: serves one PCI device of an x-remote machine to one vfio-user client at a time, through
 * libvfio-user.  The device lives in the loop that serves it: that of iothread=, or one with a thread of its own, so
 * that a client that does not answer keeps nobody else waiting.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "hw/remote/vfu-server.h"

#define VFU_SERVER_LOG_LEVEL 7 /* syslog's debug: what is shown is decided by -trace */
/* How long to look for a client's next message before sleeping: a guest's pause between two requests. */
#define VFU_SERVER_POLL_US 200

static void server_log(vfu_ctx_t *ctx, int level, const char *msg)
{
    VfuServer *s = vfu_get_private(ctx);

    TRACE(&vfu_server_trace[VFU_TRACE_LOG], "%s: %s", s->obj.id, msg);
}

/* --- what is asked for --- */

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

static bool server_create_ctx(VfuServer *s, GError **error)
{
    const char *unix_path = NULL;
    int fd = vfu_server_listen(s, &unix_path, error);

    if (fd < 0) {
        return false;
    }
    s->unix_path = g_strdup(unix_path);
    s->ctx = vfu_create_ctx_fd(fd, LIBVFIO_USER_FLAG_ATTACH_NB, s, VFU_DEV_TYPE_PCI);
    if (!s->ctx) {
        error_set_errno(error, errno, "x-vfio-user-server %s: cannot listen", s->obj.id);
        close(fd);
        return false;
    }
    vfu_setup_log(s->ctx, server_log, VFU_SERVER_LOG_LEVEL);
    if (!vfu_server_device_init(s, error) || !vfu_server_dma_init(s, error) || !vfu_server_migration_init(s, error)) {
        return false;
    }
    if (vfu_realize_ctx(s->ctx) < 0) {
        error_set_errno(error, errno, "x-vfio-user-server %s: cannot serve %s", s->obj.id, s->device);
        return false;
    }
    return vfu_server_conn_init(s, error);
}

/* --- the loop --- */

void vfu_server_enter(VfuServer *s)
{
    EventLoop *main_loop = s->obj.machine->main_loop;
    unsigned depth = loop_release(main_loop);

    loop_lock(s->loop);
    loop_reacquire(main_loop, depth);
}

/* The longest of the objects that share the loop; s itself counts while it is there. */
static void server_update_poll(VfuServer *s, bool there)
{
    RemoteMachine *rm = remote_machine(s->obj.machine);
    uint32_t us = 0;

    for (guint i = 0; i < rm->slots->len; i++) {
        RemoteSink *sink = ((RemoteSlot *)rm->slots->pdata[i])->sink;
        VfuServer *other = sink ? (VfuServer *)((char *)sink - offsetof(VfuServer, sink)) : NULL;

        if (other && (there || other != s) && other->loop == s->loop) {
            us = MAX(us, other->poll_us);
        }
    }
    vfu_server_enter(s);
    loop_set_poll(s->loop, (int64_t)us * 1000);
    loop_unlock(s->loop);
}

static void server_choose_loop(VfuServer *s)
{
    g_autofree char *name = g_strdup_printf("vfu %s", s->obj.id);

    if (!s->iothread) {
        s->own_loop = loop_new(name, false, s->obj.machine->clocks);
        loop_start_thread(s->own_loop);
    }
    s->loop = s->iothread ? iothread_loop(s->iothread) : s->own_loop;
}

/* The device is in the main loop. */
static void server_free_loop(VfuServer *s)
{
    EventLoop *main_loop = s->obj.machine->main_loop;
    unsigned depth;

    if (s->own_loop) {
        /* The thread may be waiting for the main loop's lock. */
        depth = loop_release(main_loop);
        loop_stop_thread(s->own_loop);
        loop_reacquire(main_loop, depth);
        g_clear_pointer(&s->own_loop, loop_free);
    }
}

/* --- life --- */

static void server_release(VfuServer *s)
{
    g_autoptr(GError) error = NULL;

    vfu_server_enter(s);
    vfu_server_conn_cleanup(s);
    g_clear_pointer(&s->ctx, vfu_destroy_ctx);
    vfu_server_migration_reset(s);
    vfu_server_dma_cleanup(s);
    vfu_server_device_cleanup(s);
    g_clear_pointer(&s->quiesced_bh, loop_bh_free);
    remote_slot_detach(s->slot);
    loop_unlock(s->loop);
    server_update_poll(s, false);
    if (s->unix_path) {
        unlink(s->unix_path);
        g_clear_pointer(&s->unix_path, g_free);
    }
    /* At the end of the process its back ends are closed already. */
    if (!device_set_home(&s->dev->dev, s->obj.machine->main_loop, &error) &&
        s->obj.machine->run_state != RUN_STATE_SHUTDOWN) {
        g_printerr("x-vfio-user-server %s: %s does not go back to the main loop: %s\n", s->obj.id, s->device,
                   error->message);
    }
    server_free_loop(s);
}

static bool server_start(Object *obj, GError **error)
{
    VfuServer *s = (VfuServer *)obj;
    bool ok;

    if (!server_check_machine(s, error) || !(s->dev = server_device(s, error))) {
        return false;
    }
    s->slot = remote_slot(s->dev);
    s->doorbell_memory = -1;
    s->sink.owner = obj->id;
    if (!remote_slot_attach(s->slot, &s->sink, error)) {
        g_prefix_error(error, "x-vfio-user-server %s: device=%s: ", obj->id, s->device);
        return false;
    }
    server_choose_loop(s);
    if (!device_set_home(&s->dev->dev, s->loop, error)) {
        remote_slot_detach(s->slot);
        server_free_loop(s);
        return false;
    }
    vfu_server_enter(s);
    ok = server_create_ctx(s, error);
    loop_unlock(s->loop);
    if (!ok) {
        server_release(s);
        return false;
    }
    server_update_poll(s, true);
    return true;
}

static void server_stop(Object *obj)
{
    VfuServer *s = (VfuServer *)obj;

    vfu_server_enter(s);
    vfu_server_conn_cleanup(s);
    loop_unlock(s->loop);
    device_reset(&s->dev->dev);
    vfu_server_wait_idle(s); /* requests in flight at a back end end in bounded time */
    server_release(s);
}

static const char *const iothread_name[] = {"iothread", NULL};

static const Prop server_props[] = {
    {.name = "device", .type = &prop_string, .offset = offsetof(VfuServer, device), .flags = PROP_REQUIRED,
     .doc = "Id of the PCI device to serve"},
    PROP_STR("type", VfuServer, type, NULL, "Kind of socket: unix, inet, vsock, fd"),
    PROP_STR("path", VfuServer, path, NULL, "unix: path of the socket to listen on"),
    PROP_STR("host", VfuServer, host, NULL, "inet: address to listen on"),
    PROP_STR("port", VfuServer, port, NULL, "inet and vsock: port to listen on"),
    PROP_STR("cid", VfuServer, cid, NULL, "vsock: context id to listen on; 4294967295: any"),
    PROP_STR("str", VfuServer, str, NULL, "fd: number of an inherited socket, listening or connected"),
    PROP_JSON("socket", VfuServer, socket, "The same as a SocketAddress: {\"type\": \"unix\", \"path\": PATH}"),
    {.name = "iothread", .type = &prop_link, .offset = offsetof(VfuServer, iothread), .names = iothread_name,
     .doc = "Id of the iothread that serves; default: a thread of its own"},
    PROP_U32("poll-us", VfuServer, poll_us, VFU_SERVER_POLL_US, 0, 1000000,
             "Longest time to look for the next message before sleeping, in microseconds"),
    PROP_BOOL("reuse", VfuServer, reuse, true, "Reset the device and listen again when the client has left"),
    PROP_END,
};

const ObjectModel vfu_server_model = {
    .model = {.name = "x-vfio-user-server", .kind = MODEL_OBJECT, .size = sizeof(VfuServer), .props = server_props,
              .state = &state_none, .doc = "Serves a PCI device of an x-remote machine to a vfio-user client"},
    .start = server_start,
    .stop = server_stop,
};
