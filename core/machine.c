/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine: set-up and tear-down, run state, requests from other threads, events. */
#include "core/machine.h"

#include <inttypes.h>
#include <json-c/json.h>
#include <pthread.h>
#include <string.h>

#include "core/error.h"
#include "core/internal.h"

#define MODEL_KIND_COUNT (MODEL_MACHINE + 1)

typedef struct RunStateHandler {
    RunStateFn *fn;
    void *opaque;
} RunStateHandler;

typedef struct EventHandler {
    MachineEventFn *fn;
    void *opaque;
} EventHandler;

typedef struct ResetHandler {
    LoopBhFn *fn;
    void *opaque;
} ResetHandler;

typedef struct QueuedEvent {
    char *name;
    struct json_object *data;
} QueuedEvent;

struct MachinePrivate {
    const DeviceKindOps *kind_ops[MODEL_KIND_COUNT];
    GPtrArray *started; /* of Object *: objects and devices in order of their start */
    GPtrArray *globals; /* of Global * (core/machine-global.c) */
    GHashTable *fds; /* of descriptors by name (core/machine-fd.c) */
    GPtrArray *device_buses; /* of DeviceBus * */
    GQueue laters; /* of LaterWork * (core/machine-later.c) */
    GArray *run_state_handlers, *event_handlers, *reset_handlers;
    VcpuControlFn *vcpu_pause, *vcpu_stop, *vcpu_resume;
    bool model_started;
    bool resetting;         /* devices are reset, the machine is not yet */
    ShutdownCause resetting_cause;
    int reset_holds; /* atomic */
    unsigned vcpu_holds;
    /* requests of any thread; atomic */
    int reset_cause, shutdown_cause, exit_code, powerdown, stop_state;
    bool shutdown_done;
    int shutdown_exit_code;
    pthread_mutex_t event_lock;
    GQueue events; /* of QueuedEvent *; under event_lock */
    LoopBh *event_bh;
};

static const char *const run_state_names[] = {
    [RUN_STATE_PRELAUNCH] = "prelaunch",
    [RUN_STATE_RUNNING] = "running",
    [RUN_STATE_PAUSED] = "paused",
    [RUN_STATE_SHUTDOWN] = "shutdown",
    [RUN_STATE_INTERNAL_ERROR] = "internal-error",
    [RUN_STATE_IO_ERROR] = "io-error",
    [RUN_STATE_INMIGRATE] = "inmigrate",
    [RUN_STATE_FINISH_MIGRATE] = "finish-migrate",
    [RUN_STATE_POSTMIGRATE] = "postmigrate",
    [RUN_STATE_DEBUG] = "debug",
    [RUN_STATE_GUEST_PANICKED] = "guest-panicked",
    [RUN_STATE_WATCHDOG] = "watchdog",
};

const char *run_state_name(RunState state)
{
    return run_state_names[state];
}

bool run_state_parse(const char *name, RunState *state)
{
    for (size_t i = 0; i < G_N_ELEMENTS(run_state_names); i++) {
        if (!strcmp(name, run_state_names[i])) {
            *state = (RunState)i;
            return true;
        }
    }
    return false;
}

const char *shutdown_cause_name(ShutdownCause cause)
{
    static const char *const names[] = {
        [SHUTDOWN_NONE] = "none",
        [SHUTDOWN_HOST_QMP_QUIT] = "host-qmp-quit",
        [SHUTDOWN_HOST_QMP_RESET] = "host-qmp-system-reset",
        [SHUTDOWN_HOST_SIGNAL] = "host-signal",
        [SHUTDOWN_HOST_UI] = "host-ui",
        [SHUTDOWN_GUEST_SHUTDOWN] = "guest-shutdown",
        [SHUTDOWN_GUEST_RESET] = "guest-reset",
        [SHUTDOWN_GUEST_PANIC] = "guest-panic",
    };

    return names[cause];
}

/* --- kinds --- */

void machine_set_kind_ops(Machine *machine, ModelKind kind, const DeviceKindOps *ops)
{
    machine->priv->kind_ops[kind] = ops;
}

const DeviceKindOps *machine_kind_ops(const Machine *machine, ModelKind kind)
{
    return machine->priv ? machine->priv->kind_ops[kind] : NULL;
}

void machine_track(Machine *m, Object *obj)
{
    g_ptr_array_add(m->priv->started, obj);
}

void machine_untrack(Machine *m, Object *obj)
{
    g_ptr_array_remove(m->priv->started, obj);
}

GPtrArray *machine_tracked(Machine *m)
{
    return m->priv->started;
}

GPtrArray *machine_globals(Machine *m)
{
    return m->priv ? m->priv->globals : NULL;
}

GPtrArray *machine_device_buses(Machine *m)
{
    return m->priv->device_buses;
}

/* --- events --- */

static void machine_deliver_event(Machine *m, const QueuedEvent *event)
{
    GArray *handlers = m->priv->event_handlers;

    for (guint i = 0; i < handlers->len; i++) {
        EventHandler h = g_array_index(handlers, EventHandler, i);

        h.fn(h.opaque, event->name, event->data);
    }
}

static void machine_flush_events(void *opaque)
{
    Machine *m = opaque;

    for (;;) {
        QueuedEvent *event;

        pthread_mutex_lock(&m->priv->event_lock);
        event = g_queue_pop_head(&m->priv->events);
        pthread_mutex_unlock(&m->priv->event_lock);
        if (!event) {
            return;
        }
        machine_deliver_event(m, event);
        json_object_put(event->data);
        g_free(event->name);
        g_free(event);
    }
}

void machine_emit_event(Machine *m, const char *name, struct json_object *data)
{
    QueuedEvent *event = g_new0(QueuedEvent, 1);

    event->name = g_strdup(name);
    event->data = data;
    pthread_mutex_lock(&m->priv->event_lock);
    g_queue_push_tail(&m->priv->events, event);
    pthread_mutex_unlock(&m->priv->event_lock);
    loop_bh_schedule(m->priv->event_bh);
}

/* --- handlers --- */

#define HANDLER_ADD(array, type, f, o)                                                                       \
    do {                                                                                                     \
        type handler = {f, o};                                                                               \
        g_array_append_val(array, handler);                                                                  \
    } while (0)

#define HANDLER_REMOVE(array, type, f, o)                                                                    \
    do {                                                                                                     \
        for (guint i = 0; i < (array)->len; i++) {                                                           \
            type *handler = &g_array_index(array, type, i);                                                  \
            if (handler->fn == (f) && handler->opaque == (o)) {                                              \
                g_array_remove_index(array, i);                                                              \
                break;                                                                                       \
            }                                                                                                \
        }                                                                                                    \
    } while (0)

void machine_add_run_state_handler(Machine *m, RunStateFn *fn, void *opaque)
{
    HANDLER_ADD(m->priv->run_state_handlers, RunStateHandler, fn, opaque);
}

void machine_remove_run_state_handler(Machine *m, RunStateFn *fn, void *opaque)
{
    HANDLER_REMOVE(m->priv->run_state_handlers, RunStateHandler, fn, opaque);
}

void machine_add_event_handler(Machine *m, MachineEventFn *fn, void *opaque)
{
    HANDLER_ADD(m->priv->event_handlers, EventHandler, fn, opaque);
}

void machine_remove_event_handler(Machine *m, MachineEventFn *fn, void *opaque)
{
    HANDLER_REMOVE(m->priv->event_handlers, EventHandler, fn, opaque);
}

void machine_add_reset_handler(Machine *m, LoopBhFn *fn, void *opaque)
{
    HANDLER_ADD(m->priv->reset_handlers, ResetHandler, fn, opaque);
}

void machine_remove_reset_handler(Machine *m, LoopBhFn *fn, void *opaque)
{
    HANDLER_REMOVE(m->priv->reset_handlers, ResetHandler, fn, opaque);
}

/* --- set-up and tear-down --- */

static void machine_init(Machine *m, const MachineModel *model, Object *root)
{
    m->root = root;
    root->machine = m;
    m->obj.machine = m;
    m->priv = g_new0(struct MachinePrivate, 1);
    m->priv->started = g_ptr_array_new();
    m->priv->device_buses = g_ptr_array_new();
    m->priv->globals = g_ptr_array_new_with_free_func(machine_global_free);
    m->priv->fds = machine_fds_new();
    m->priv->run_state_handlers = g_array_new(FALSE, FALSE, sizeof(RunStateHandler));
    m->priv->event_handlers = g_array_new(FALSE, FALSE, sizeof(EventHandler));
    m->priv->reset_handlers = g_array_new(FALSE, FALSE, sizeof(ResetHandler));
    pthread_mutex_init(&m->priv->event_lock, NULL);
    g_queue_init(&m->priv->events);
    g_queue_init(&m->priv->laters);
    machine_set_kind_ops(m, MODEL_DEVICE, &device_kind_ops);
    m->clocks = clock_source_new();
    clock_enable_virtual(m->clocks, false);
    m->main_loop = loop_new("main", true, m->clocks);
    m->priv->event_bh = loop_bh_new(m->main_loop, machine_flush_events, m);
    m->topo = mem_topology_new(m->main_loop);
    m->system_memory = mem_region_new_container(m->topo, "system", UINT64_MAX);
    m->system_io = mem_region_new_container(m->topo, "io", 0x10000);
    m->memory = as_new(m->topo, "memory", m->system_memory);
    m->io = as_new(m->topo, "I/O", m->system_io);
    m->ram_size = model->default_ram;
    m->smp_cpus = 1;
    m->run_state = RUN_STATE_PRELAUNCH;
    boot_config_clear(&m->boot);
}

Machine *machine_new(const MachineModel *model, GError **error)
{
    Object *root = object_new_root(NULL);
    Machine *m;

    g_assert(model->model.kind == MODEL_MACHINE && model->model.size >= sizeof(Machine));
    m = (Machine *)object_new(&model->model, NULL, root, "machine", error);
    if (!m) {
        object_free(root);
        return NULL;
    }
    machine_init(m, model, root);
    object_container(root, "objects");
    object_container(&m->obj, "peripheral");
    object_container(&m->obj, "peripheral-anon");
    object_container(&m->obj, "unattached");
    return m;
}

static const MachineModel *machine_model(const Machine *m)
{
    return (const MachineModel *)m->obj.model;
}

CpuTopology machine_topology(const Machine *m)
{
    const unsigned cpus = MAX(m->smp_cpus, 1);

    return m->topology.cpus ? m->topology
                            : (CpuTopology){.cpus = cpus, .max_cpus = cpus, .sockets = 1, .dies = 1, .cores = cpus, .threads = 1};
}

bool machine_start(Machine *m, GError **error)
{
    const MachineModel *model = machine_model(m);
    bool ok;

    if (m->smp_cpus > MAX(model->max_cpus, 1)) {
        error_set(error, "-smp: too many CPUs for machine '%s' (%u, allowed 1..%u)", model->model.name,
                  m->smp_cpus, MAX(model->max_cpus, 1));
        return false;
    }
    if (!object_check_required(&m->obj, error)) {
        return false;
    }
    loop_lock(m->main_loop);
    ok = !model->start || model->start(m, error);
    loop_unlock(m->main_loop);
    m->priv->model_started = m->obj.started = ok;
    return ok;
}

void machine_stop_object(Object *obj)
{
    const ObjectModel *model = (const ObjectModel *)obj->model;

    machine_untrack(obj->machine, obj);
    if (model->stop) {
        model->stop(obj);
    }
    obj->started = false;
}

/* Latest first; RAM stays until the board has unmapped it. */
static void machine_destroy_started(Machine *m, bool ram_too)
{
    for (guint i = m->priv->started->len; i-- > 0; i = MIN(i, m->priv->started->len)) {
        Object *obj = m->priv->started->pdata[i];

        if (object_is_device(obj)) {
            device_destroy((Device *)obj);
        } else if (ram_too || !ram_backend_is(obj)) {
            machine_stop_object(obj);
            object_free(obj);
        }
    }
}

static void machine_free_private(Machine *m)
{
    struct MachinePrivate *priv = m->priv;

    machine_flush_events(m);
    loop_bh_free(priv->event_bh);
    g_array_free(priv->run_state_handlers, TRUE);
    g_array_free(priv->event_handlers, TRUE);
    g_array_free(priv->reset_handlers, TRUE);
    g_ptr_array_free(priv->started, TRUE);
    g_ptr_array_free(priv->device_buses, TRUE);
    g_ptr_array_free(priv->globals, TRUE);
    g_hash_table_unref(priv->fds);
    pthread_mutex_destroy(&priv->event_lock);
    g_clear_pointer(&m->priv, g_free);
}

static void boot_file_free(gpointer p)
{
    BootFile *file = p;

    g_free(file->name);
    g_bytes_unref(file->data);
    g_free(file);
}

GPtrArray *boot_files_new(void)
{
    return g_ptr_array_new_with_free_func(boot_file_free);
}

void boot_config_clear(BootConfig *config)
{
    char *texts[] = {config->kernel, config->initrd, config->append, config->bios, config->order, config->once};

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_free(texts[i]);
    }
    g_clear_pointer(&config->files, g_ptr_array_unref);
    g_clear_pointer(&config->smbios, g_ptr_array_unref);
    *config = (BootConfig){.splash_ms = -1, .reboot_ms = -1};
}

BootConfig boot_config_copy(const BootConfig *config)
{
    BootConfig copy = *config;
    char **texts[] = {&copy.kernel, &copy.initrd, &copy.append, &copy.bios, &copy.order, &copy.once};

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        *texts[i] = g_strdup(*texts[i]);
    }
    copy.files = config->files ? g_ptr_array_ref(config->files) : NULL;
    copy.smbios = config->smbios ? g_ptr_array_ref(config->smbios) : NULL;
    return copy;
}

GHashTable *machine_fds(Machine *m)
{
    return m->priv->fds;
}

GQueue *machine_laters(Machine *m)
{
    return &m->priv->laters;
}

/* Nodes that have memory backends: they lie behind each other in m->ram, and m->ram_backend stays NULL. */
static void machine_ram_compose(Machine *m)
{
    uint64_t at = 0;

    m->ram = mem_region_new_container(m->topo, "numa-ram", m->ram_size);
    for (unsigned i = 0; i < m->numa->count; i++) {
        if (m->numa->nodes[i].backend) {
            mem_region_add(m->ram, at, ram_backend_region(m->numa->nodes[i].backend));
            at += m->numa->nodes[i].mem;
        }
    }
}

static void machine_ram_decompose(Machine *m)
{
    for (unsigned i = 0; i < m->numa->count; i++) {
        if (m->numa->nodes[i].backend) {
            mem_region_del(m->ram, ram_backend_region(m->numa->nodes[i].backend));
        }
    }
    mem_region_unref(m->ram);
}

static unsigned machine_ram_parts(const Machine *m, Object **last)
{
    unsigned parts = 0;

    for (unsigned i = 0; m->numa && i < m->numa->count; i++) {
        if (m->numa->nodes[i].backend) {
            *last = m->numa->nodes[i].backend;
            parts++;
        }
    }
    return parts;
}

void machine_free(Machine *m)
{
    EventLoop *loop;
    ClockSource *clocks;
    Object *root;

    if (!m) {
        return;
    }
    loop = m->main_loop;
    clocks = m->clocks;
    root = m->root;
    machine_vm_stop(m, RUN_STATE_SHUTDOWN);
    loop_lock(loop);
    machine_laters_end(m);
    machine_destroy_started(m, false);
    if (m->priv->model_started && machine_model(m)->stop) {
        machine_model(m)->stop(m);
    }
    m->obj.started = false;
    if (m->ram && !m->ram_backend && m->numa) {
        machine_ram_decompose(m);
    }
    m->ram = NULL;
    m->ram_backend = NULL;
    machine_destroy_started(m, true);
    as_free(m->io);
    as_free(m->memory);
    if (m->smm_memory) {
        as_free(m->smm_memory);
        mem_region_unref(m->smm_root);
    }
    mem_region_unref(m->system_io);
    mem_region_unref(m->system_memory);
    loop_unlock(loop);
    mem_topology_free(m->topo);
    g_free(m->cpu_model);
    numa_free(m->numa);
    boot_config_clear(&m->boot);
    machine_free_private(m);
    object_free(root); /* and /machine with it */
    loop_free(loop);
    clock_source_free(clocks);
}

void machine_smm_setup(Machine *m)
{
    m->smm_root = mem_region_new_container(m->topo, "memory-smm", UINT64_MAX);
    m->smm_memory = as_new(m->topo, "smm", m->smm_root);
}

bool machine_ram_setup(Machine *m, GError **error)
{
    Object *last = NULL;
    unsigned parts = machine_ram_parts(m, &last);

    if (parts > 1) {
        machine_ram_compose(m);
        return true;
    }
    m->ram_backend = parts ? last : m->ram_backend;
    if (!m->ram_backend) {
        struct json_object *opts = json_object_new_object();

        json_object_object_add(opts, "qom-type", json_object_new_string(ram_backend_ram_model.model.name));
        json_object_object_add(opts, "id", json_object_new_string("pc.ram"));
        json_object_object_add(opts, "size", json_object_new_uint64(m->ram_size));
        m->ram_backend = machine_object_add(m, opts, error);
        json_object_put(opts);
        if (!m->ram_backend) {
            return false;
        }
    }
    if (!ram_backend_is(m->ram_backend)) {
        error_set(error, "-machine memory-backend: '%s' is a %s, not a memory backend", m->ram_backend->id,
                  m->ram_backend->model->name);
        return false;
    }
    if (ram_backend_size(m->ram_backend) != m->ram_size) {
        error_set(error,
                  "-m: size differs from that of memory backend '%s' (%" PRIu64 ", expected %" PRIu64
                  "); make them equal",
                  m->ram_backend->id, m->ram_size, ram_backend_size(m->ram_backend));
        return false;
    }
    m->ram = ram_backend_region(m->ram_backend);
    return true;
}

/* --- run state --- */

void machine_set_vcpu_control(Machine *m, VcpuControlFn *pause, VcpuControlFn *stop, VcpuControlFn *resume)
{
    m->priv->vcpu_pause = pause;
    m->priv->vcpu_stop = stop;
    m->priv->vcpu_resume = resume;
}

static void machine_pause_vcpus(Machine *m)
{
    if (m->accel) {
        m->priv->vcpu_pause(m->accel);
    }
}

static void machine_stop_vcpus(Machine *m)
{
    if (m->accel) {
        m->priv->vcpu_stop(m->accel);
    }
}

static void machine_resume_vcpus(Machine *m)
{
    if (m->accel && !m->priv->resetting && !m->priv->vcpu_holds) {
        m->priv->vcpu_resume(m->accel);
    }
}

void machine_vcpus_hold(Machine *m)
{
    m->priv->vcpu_holds++;
    if (m->run_state == RUN_STATE_RUNNING) {
        machine_pause_vcpus(m);
    }
}

void machine_vcpus_release(Machine *m)
{
    if (--m->priv->vcpu_holds == 0 && m->run_state == RUN_STATE_RUNNING) {
        machine_resume_vcpus(m);
    }
}

static void machine_set_run_state(Machine *m, bool running, RunState state)
{
    GArray *handlers = m->priv->run_state_handlers;

    m->run_state = state;
    for (guint i = 0; i < handlers->len; i++) {
        RunStateHandler h = g_array_index(handlers, RunStateHandler, i);

        h.fn(h.opaque, running, state);
    }
}

static void wake(Device *dev, void *opaque)
{
    device_wake(dev);
}

void machine_vm_start(Machine *m)
{
    if (m->run_state == RUN_STATE_RUNNING) {
        return;
    }
    loop_lock(m->main_loop);
    clock_enable_virtual(m->clocks, true);
    machine_set_run_state(m, true, RUN_STATE_RUNNING);
    machine_each_device(m, wake, NULL);
    machine_resume_vcpus(m);
    machine_emit_event(m, "RESUME", NULL);
    loop_unlock(m->main_loop);
}

void machine_vm_stop(Machine *m, RunState state)
{
    loop_lock(m->main_loop);
    if (m->run_state == RUN_STATE_RUNNING) {
        machine_pause_vcpus(m);
        clock_enable_virtual(m->clocks, false);
        machine_set_run_state(m, false, state);
        machine_emit_event(m, "STOP", NULL);
    } else if (state != RUN_STATE_PAUSED) {
        m->run_state = state;
    }
    loop_unlock(m->main_loop);
}

/* --- reset, shutdown, power button --- */

static bool cause_is_guest(ShutdownCause cause)
{
    return cause >= SHUTDOWN_GUEST_SHUTDOWN;
}

static void machine_emit_cause(Machine *m, const char *event, ShutdownCause cause)
{
    struct json_object *data = json_object_new_object();

    json_object_object_add(data, "guest", json_object_new_boolean(cause_is_guest(cause)));
    json_object_object_add(data, "reason", json_object_new_string(shutdown_cause_name(cause)));
    machine_emit_event(m, event, data);
}

/* Devices are at their reset values, those of other processes too. */
static void machine_finish_reset(Machine *m)
{
    struct MachinePrivate *priv = m->priv;
    ShutdownCause cause = priv->resetting_cause;

    for (guint i = 0; i < priv->reset_handlers->len; i++) {
        ResetHandler h = g_array_index(priv->reset_handlers, ResetHandler, i);

        h.fn(h.opaque);
    }
    if (machine_model(m)->reset) {
        machine_model(m)->reset(m);
    }
    if (cause != SHUTDOWN_NONE) {
        machine_emit_cause(m, "RESET", cause);
    }
    if (m->run_state == RUN_STATE_SHUTDOWN || m->run_state == RUN_STATE_INTERNAL_ERROR ||
        m->run_state == RUN_STATE_GUEST_PANICKED) {
        m->run_state = RUN_STATE_PAUSED;
    }
    priv->resetting = false;
    if (m->run_state == RUN_STATE_RUNNING) {
        machine_resume_vcpus(m);
    }
}

static bool machine_reset_held(Machine *m)
{
    return __atomic_load_n(&m->priv->reset_holds, __ATOMIC_SEQ_CST) != 0;
}

void machine_reset(Machine *m, ShutdownCause cause)
{
    struct MachinePrivate *priv = m->priv;

    loop_lock(m->main_loop);
    priv->resetting = true; /* before the lock is given up */
    priv->resetting_cause = cause;
    if (m->run_state == RUN_STATE_RUNNING) {
        machine_stop_vcpus(m);
    }
    for (guint i = priv->started->len; i-- > 0;) {
        Object *obj = priv->started->pdata[i];

        if (object_is_device(obj)) {
            device_reset((Device *)obj);
        }
    }
    if (!machine_reset_held(m)) {
        machine_finish_reset(m);
    }
    loop_unlock(m->main_loop);
}

bool machine_resetting(const Machine *m)
{
    return m->priv->resetting;
}

void machine_reset_hold(Machine *m)
{
    __atomic_fetch_add(&m->priv->reset_holds, 1, __ATOMIC_SEQ_CST);
}

void machine_reset_release(Machine *m)
{
    if (__atomic_sub_fetch(&m->priv->reset_holds, 1, __ATOMIC_SEQ_CST) == 0) {
        loop_wake(m->main_loop);
    }
}

void machine_request_reset(Machine *m, ShutdownCause cause)
{
    __atomic_store_n(&m->priv->reset_cause, (int)cause, __ATOMIC_SEQ_CST);
    loop_wake(m->main_loop);
}

void machine_request_shutdown(Machine *m, ShutdownCause cause, int exit_code)
{
    int none = SHUTDOWN_NONE;

    __atomic_store_n(&m->priv->exit_code, exit_code, __ATOMIC_SEQ_CST);
    /* The host's wish to end the process wins over what the guest asked for. */
    if (cause_is_guest(cause)) {
        __atomic_compare_exchange_n(&m->priv->shutdown_cause, &none, (int)cause, false, __ATOMIC_SEQ_CST,
                                    __ATOMIC_SEQ_CST);
    } else {
        __atomic_store_n(&m->priv->shutdown_cause, (int)cause, __ATOMIC_SEQ_CST);
    }
    loop_wake(m->main_loop);
}

void machine_request_powerdown(Machine *m)
{
    __atomic_store_n(&m->priv->powerdown, 1, __ATOMIC_SEQ_CST);
    loop_wake(m->main_loop);
}

void machine_request_stop(Machine *m, RunState state)
{
    __atomic_store_n(&m->priv->stop_state, (int)state, __ATOMIC_SEQ_CST);
    loop_wake(m->main_loop);
}

bool machine_shutdown_requested(Machine *m, int *exit_code)
{
    if (m->priv->shutdown_done && exit_code) {
        *exit_code = m->priv->shutdown_exit_code;
    }
    return m->priv->shutdown_done;
}

static void machine_do_shutdown(Machine *m, ShutdownCause cause)
{
    machine_emit_cause(m, "SHUTDOWN", cause);
    if (m->actions.on[MACHINE_ACTION_SHUTDOWN] && cause_is_guest(cause)) {
        machine_vm_stop(m, RUN_STATE_SHUTDOWN);
        return;
    }
    m->priv->shutdown_done = true;
    m->priv->shutdown_exit_code = __atomic_load_n(&m->priv->exit_code, __ATOMIC_SEQ_CST);
}

void machine_process_requests(Machine *m)
{
    struct MachinePrivate *priv = m->priv;
    ShutdownCause reset, shutdown;
    RunState stop;

    loop_lock(m->main_loop);
    if (priv->resetting && !machine_reset_held(m)) {
        machine_finish_reset(m);
    }
    reset = SHUTDOWN_NONE;
    if (!priv->resetting && !machine_reset_held(m)) { /* one after the other */
        reset = (ShutdownCause)__atomic_exchange_n(&priv->reset_cause, SHUTDOWN_NONE, __ATOMIC_SEQ_CST);
    }
    shutdown = (ShutdownCause)__atomic_exchange_n(&priv->shutdown_cause, SHUTDOWN_NONE, __ATOMIC_SEQ_CST);
    if (reset == SHUTDOWN_GUEST_RESET && m->actions.on[MACHINE_ACTION_REBOOT] && !shutdown) {
        shutdown = reset;
    }
    if (shutdown) {
        machine_do_shutdown(m, shutdown);
    } else if (reset) {
        machine_reset(m, reset);
    }
    if (__atomic_exchange_n(&priv->powerdown, 0, __ATOMIC_SEQ_CST)) {
        if (machine_model(m)->powerdown) {
            machine_model(m)->powerdown(m);
        }
        machine_emit_event(m, "POWERDOWN", NULL);
    }
    stop = (RunState)__atomic_exchange_n(&priv->stop_state, RUN_STATE_PRELAUNCH, __ATOMIC_SEQ_CST);
    if (stop != RUN_STATE_PRELAUNCH && m->run_state == RUN_STATE_RUNNING) {
        machine_vm_stop(m, stop);
    }
    if (priv->shutdown_done) {
        machine_flush_events(m); /* there may be no other iteration */
    }
    loop_unlock(m->main_loop);
}
