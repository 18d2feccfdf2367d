/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Clients of a served device: attaching, requests, hang-up, all driven by the object's loop; nothing here waits.  A
 * quiesce (the client takes memory away, or has left) ends when the device's last use of the client's memory does.
 */
#include <errno.h>
#include <json-c/json.h>

#include "hw/remote/vfu-server.h"

/* Then other users of the loop have their turn. */
#define REQUESTS_PER_WAKEUP 64

TraceEvent vfu_server_trace[] = {[VFU_TRACE_ATTACHED] = {"vfu_server_attached"},
                                 [VFU_TRACE_HANGUP] = {"vfu_server_hangup"},
                                 [VFU_TRACE_LOG] = {"vfu_server_log"},
                                 {NULL}};

static VfuServer *server_of_sink(RemoteSink *sink)
{
    return (VfuServer *)((char *)sink - offsetof(VfuServer, sink));
}

static VfuServerState server_state(VfuServer *s)
{
    return __atomic_load_n(&s->state, __ATOMIC_SEQ_CST);
}

static void server_set_state(VfuServer *s, VfuServerState state)
{
    __atomic_store_n(&s->state, state, __ATOMIC_SEQ_CST);
}

static void emit_event(VfuServer *s, const char *name)
{
    g_autofree char *vfu_path = object_path(&s->obj), *dev_path = object_path(&s->dev->dev.obj);
    struct json_object *data = json_object_new_object();

    json_object_object_add(data, "vfu-id", json_object_new_string(s->obj.id));
    json_object_object_add(data, "vfu-qom-path", json_object_new_string(vfu_path));
    json_object_object_add(data, "dev-id", json_object_new_string(s->dev->dev.obj.id));
    json_object_object_add(data, "dev-qom-path", json_object_new_string(dev_path));
    machine_emit_event(s->obj.machine, name, data);
}

/* --- the end of a client --- */

/* Main loop.  A client whose attach is in progress in its object's thread counts. */
static void shut_down_without_clients(void *opaque)
{
    RemoteMachine *rm = opaque;
    bool some = false;

    for (guint i = 0; i < rm->slots->len; i++) {
        RemoteSlot *slot = rm->slots->pdata[i];

        if (slot->sink) {
            VfuServer *s = server_of_sink(slot->sink);

            vfu_server_enter(s);
            some |= server_state(s) == VFU_SERVER_CONNECTED;
            loop_unlock(s->loop);
        }
    }
    if (!some) {
        machine_request_shutdown(&rm->machine, SHUTDOWN_GUEST_SHUTDOWN, 0);
    }
}

typedef struct Farewell {
    Machine *machine;
    char *id;
} Farewell;

/* With reuse=off the object goes with its client. */
static void delete_object(void *opaque)
{
    Farewell *f = opaque;
    Object *obj = object_child(object_container(f->machine->root, "objects"), f->id);

    if (obj && obj->model == &vfu_server_model.model && server_state((VfuServer *)obj) == VFU_SERVER_ENDED) {
        machine_object_del(f->machine, f->id, NULL);
    }
    g_free(f->id);
    g_free(f);
}

static void server_hung_up(VfuServer *s)
{
    RemoteMachine *rm = remote_machine(s->obj.machine);

    TRACE(&vfu_server_trace[VFU_TRACE_HANGUP], "%s", s->obj.id);
    server_set_state(s, s->reuse ? VFU_SERVER_LISTENING : VFU_SERVER_ENDED);
    emit_event(s, "VFU_CLIENT_HANGUP");
    if (rm->auto_shutdown) {
        loop_call(rm->machine.main_loop, shut_down_without_clients, rm);
    }
    if (!s->reuse) {
        Farewell *f = g_new0(Farewell, 1);

        *f = (Farewell){s->obj.machine, g_strdup(s->obj.id)};
        g_clear_pointer(&s->watch, loop_remove_fd);
        loop_call(s->obj.machine->main_loop, delete_object, f);
    }
}

/* --- requests --- */

static void server_attach(VfuServer *s)
{
    if (vfu_attach_ctx(s->ctx) == 0) {
        TRACE(&vfu_server_trace[VFU_TRACE_ATTACHED], "%s", s->obj.id);
        server_set_state(s, VFU_SERVER_CONNECTED);
        vfu_server_migration_attach(s);
        emit_event(s, "VFU_CLIENT_CONNECT");
    }
    /* EAGAIN: nobody there or the version exchange goes on; other errors: that client is refused, the next may come. */
}

static void server_requests(VfuServer *s)
{
    for (int i = 0; i < REQUESTS_PER_WAKEUP; i++) {
        int ret = vfu_run_ctx(s->ctx);

        if (ret < 0 && errno == ENOTCONN) {
            server_hung_up(s);
        }
        if (ret <= 0) {
            break;
        }
    }
    if (!s->migration.stopped) {
        remote_iohub_retry(s->slot, s->dev);
    }
}

static void server_run(void *opaque)
{
    VfuServer *s = opaque;

    if (server_state(s) == VFU_SERVER_LISTENING) {
        server_attach(s);
    } else if (server_state(s) == VFU_SERVER_CONNECTED) {
        server_requests(s);
    }
}

/* --- quiesce --- */

static bool in_use(VfuServer *s)
{
    return __atomic_load_n(&s->dma.pins.count, __ATOMIC_SEQ_CST);
}

static void memory_idle(MemPins *pins)
{
    VfuServer *s = (VfuServer *)((char *)pins - offsetof(VfuServer, dma.pins));

    if (__atomic_load_n(&s->quiesce_pending, __ATOMIC_SEQ_CST)) {
        loop_bh_schedule(s->quiesced_bh);
    }
    if (__atomic_load_n(&s->dma.awaited, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&s->dma.lock);
        pthread_cond_signal(&s->dma.idle);
        pthread_mutex_unlock(&s->dma.lock);
    }
}

static int server_quiesce(vfu_ctx_t *ctx)
{
    VfuServer *s = vfu_get_private(ctx);

    /* In this order: a use that ends in between schedules the bottom half. */
    __atomic_store_n(&s->quiesce_pending, true, __ATOMIC_SEQ_CST);
    if (!in_use(s)) {
        __atomic_store_n(&s->quiesce_pending, false, __ATOMIC_SEQ_CST);
        return 0;
    }
    errno = EBUSY;
    return -1;
}

static void server_quiesced(void *opaque)
{
    VfuServer *s = opaque;

    if (!s->quiesce_pending || in_use(s)) {
        return;
    }
    __atomic_store_n(&s->quiesce_pending, false, __ATOMIC_SEQ_CST);
    vfu_device_quiesced(s->ctx, 0);
    server_run(s); /* a hang-up is told by the next run */
}

/* --- interrupts towards the client --- */

static bool sink_intx(RemoteSink *sink)
{
    return vfu_irq_trigger_type(server_of_sink(sink)->ctx, VFU_DEV_INTX_IRQ, 0) == 0;
}

static bool sink_msi(RemoteSink *sink, unsigned vector)
{
    return vfu_irq_trigger_type(server_of_sink(sink)->ctx, VFU_DEV_MSI_IRQ, vector) == 0;
}

static bool sink_msix(RemoteSink *sink, unsigned vector)
{
    return vfu_irq_trigger_type(server_of_sink(sink)->ctx, VFU_DEV_MSIX_IRQ, vector) == 0;
}

/* --- life --- */

bool vfu_server_conn_init(VfuServer *s, GError **error)
{
    s->sink = (RemoteSink){.owner = s->obj.id, .intx = sink_intx, .msi = sink_msi, .msix = sink_msix};
    s->dma.pins = (MemPins){.idle = memory_idle};
    s->quiesced_bh = loop_bh_new(s->loop, server_quiesced, s);
    vfu_setup_device_quiesce_cb(s->ctx, server_quiesce);
    s->watch = loop_add_fd(s->loop, vfu_get_poll_fd(s->ctx), server_run, NULL, s);
    return true;
}

void vfu_server_wait_idle(VfuServer *s)
{
    EventLoop *main_loop = s->obj.machine->main_loop;
    unsigned depth;

    depth = loop_release(main_loop);
    pthread_mutex_lock(&s->dma.lock);
    __atomic_store_n(&s->dma.awaited, true, __ATOMIC_SEQ_CST);
    while (in_use(s)) {
        pthread_cond_wait(&s->dma.idle, &s->dma.lock);
    }
    pthread_mutex_unlock(&s->dma.lock);
    loop_reacquire(main_loop, depth);
}

void vfu_server_conn_cleanup(VfuServer *s)
{
    g_clear_pointer(&s->watch, loop_remove_fd);
    __atomic_store_n(&s->quiesce_pending, false, __ATOMIC_SEQ_CST);
}
