/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP commands about the machine as a whole: version, run state, events of power. */
#include <unistd.h>

#include "accel/accel.h"
#include "core/error.h"
#include "core/numa.h"
#include "migration/migration.h"
#include "monitor-internal.h"
#include "qmp-commands.h"

/* The QMP dialect spoken, as clients that compare versions expect it. */
#define QMP_VERSION_MAJOR 7
#define QMP_VERSION_MINOR 2
#define QMP_VERSION_MICRO 0
#define QMP_PACKAGE       "mpqemu 0.1"

struct json_object *qmp_capabilities(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list;

    if (json_object_object_get_ex(args, "enable", &list) && json_object_array_length(list) > 0) {
        const char *name = json_object_get_string(json_object_array_get_idx(list, 0));

        error_set(error, "Capability '%s' is not available (none is offered)", name ? name : "null");
    }
    return NULL;
}

struct json_object *qmp_query_version(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *result = json_object_new_object();
    struct json_object *numbers = json_object_new_object();

    json_object_object_add(numbers, "micro", json_object_new_int(QMP_VERSION_MICRO));
    json_object_object_add(numbers, "minor", json_object_new_int(QMP_VERSION_MINOR));
    json_object_object_add(numbers, "major", json_object_new_int(QMP_VERSION_MAJOR));
    json_object_object_add(result, "qemu", numbers);
    json_object_object_add(result, "package", json_object_new_string(QMP_PACKAGE));
    return result;
}

struct json_object *qmp_query_commands(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = json_object_new_array();

    for (const QmpCommand *cmd = qmp_commands; cmd->name; cmd++) {
        struct json_object *entry = json_object_new_object();

        json_object_object_add(entry, "name", json_object_new_string(cmd->name));
        json_object_array_add(list, entry);
    }
    return list;
}

struct json_object *qmp_query_status(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *result = json_object_new_object();

    json_object_object_add(result, "status", json_object_new_string(run_state_name(m->run_state)));
    json_object_object_add(result, "singlestep", json_object_new_boolean(false));
    json_object_object_add(result, "running", json_object_new_boolean(m->run_state == RUN_STATE_RUNNING));
    return result;
}

struct json_object *qmp_query_name(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *result = json_object_new_object();

    if (m->name) {
        json_object_object_add(result, "name", json_object_new_string(m->name));
    }
    return result;
}

struct json_object *qmp_query_kvm(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *result = json_object_new_object();
    bool enabled = m->accel && g_str_equal(m->accel->ops->name, "kvm");
    bool present = false;

    for (size_t i = 0; accel_table[i]; i++) {
        present |= g_str_equal(accel_table[i]->name, "kvm");
    }
    json_object_object_add(result, "enabled", json_object_new_boolean(enabled));
    json_object_object_add(result, "present", json_object_new_boolean(present));
    return result;
}

/* Where a CPU is: the fields of its number, as its APIC id has them. */
static struct json_object *cpu_place(const Machine *m, unsigned index)
{
    const CpuTopology t = machine_topology(m);
    struct json_object *place = json_object_new_object();
    unsigned core = index / t.threads, die = core / t.cores;

    if (m->numa) {
        json_object_object_add(place, "node-id", json_object_new_int(m->numa->cpu_node[index]));
    }
    json_object_object_add(place, "socket-id", json_object_new_int((int)(die / t.dies)));
    json_object_object_add(place, "die-id", json_object_new_int((int)(die % t.dies)));
    json_object_object_add(place, "core-id", json_object_new_int((int)(core % t.cores)));
    json_object_object_add(place, "thread-id", json_object_new_int((int)(index % t.threads)));
    return place;
}

struct json_object *qmp_query_cpus_fast(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = json_object_new_array();

    for (guint i = 0; m->accel && i < m->accel->vcpus->len; i++) {
        Vcpu *vcpu = g_ptr_array_index(m->accel->vcpus, i);
        struct json_object *entry = json_object_new_object();
        g_autofree char *path = object_path(vcpu->obj);

        json_object_object_add(entry, "cpu-index", json_object_new_int((int)vcpu->index));
        json_object_object_add(entry, "qom-path", json_object_new_string(path));
        json_object_object_add(entry, "thread-id", json_object_new_int(vcpu->thread_id ? vcpu->thread_id : (int)getpid()));
        json_object_object_add(entry, "props", cpu_place(m, vcpu->index));
        json_object_object_add(entry, "target", json_object_new_string("x86_64"));
        json_object_object_add(entry, "x-instructions",
                               json_object_new_uint64(m->accel->ops->insn_count(vcpu)));
        json_object_array_add(list, entry);
    }
    return list;
}

struct json_object *qmp_query_machines(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = json_object_new_array();

    for (const Model *const *p = model_table; *p; p++) {
        struct json_object *entry;

        if ((*p)->kind != MODEL_MACHINE) {
            continue;
        }
        entry = json_object_new_object();
        json_object_object_add(entry, "name", json_object_new_string((*p)->name));
        if ((*p)->alias) {
            json_object_object_add(entry, "alias", json_object_new_string((*p)->alias));
        }
        json_object_object_add(entry, "cpu-max",
                               json_object_new_int((int)((const MachineModel *)*p)->max_cpus));
        json_object_object_add(entry, "hotpluggable-cpus", json_object_new_boolean(false));
        json_object_object_add(entry, "numa-mem-supported",
                               json_object_new_boolean(((const MachineModel *)*p)->default_cpu != NULL));
        json_object_object_add(entry, "deprecated", json_object_new_boolean(false));
        json_object_array_add(list, entry);
    }
    return list;
}

struct json_object *qmp_query_memory_size_summary(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *result = json_object_new_object();

    json_object_object_add(result, "base-memory", json_object_new_uint64(m->ram_size));
    return result;
}

struct json_object *qmp_stop(Machine *m, struct json_object *args, GError **error)
{
    if (m->run_state == RUN_STATE_RUNNING) {
        machine_vm_stop(m, RUN_STATE_PAUSED);
    }
    m->autostart = false;
    return NULL;
}

struct json_object *qmp_cont(Machine *m, struct json_object *args, GError **error)
{
    if (m->run_state == RUN_STATE_SHUTDOWN || m->run_state == RUN_STATE_INTERNAL_ERROR) {
        error_set(error, "Resetting the Virtual Machine is required");
    } else if (m->run_state == RUN_STATE_INMIGRATE) {
        m->autostart = true;
    } else if (m->run_state == RUN_STATE_FINISH_MIGRATE) {
        error_set(error, "A migration is in progress: the guest runs when it is over");
    } else if (m->run_state != RUN_STATE_RUNNING && migration_take_back(m, error)) {
        machine_vm_start(m);
    }
    return NULL;
}

struct json_object *qmp_getfd(Machine *m, struct json_object *args, int fd, GError **error)
{
    if (fd < 0) {
        error_set(error, "No file descriptor supplied via SCM_RIGHTS");
    } else {
        machine_fd_keep(m, json_member_str(args, "fdname"), fd, error);
    }
    return NULL;
}

struct json_object *qmp_closefd(Machine *m, struct json_object *args, GError **error)
{
    const char *name = json_member_str(args, "fdname");
    int fd = machine_fd_take(m, name);

    if (fd < 0) {
        error_set(error, "File descriptor named '%s' not found", name);
    } else {
        close(fd);
    }
    return NULL;
}

struct json_object *qmp_quit(Machine *m, struct json_object *args, GError **error)
{
    machine_request_shutdown(m, SHUTDOWN_HOST_QMP_QUIT, 0);
    return NULL;
}

struct json_object *qmp_system_reset(Machine *m, struct json_object *args, GError **error)
{
    machine_request_reset(m, SHUTDOWN_HOST_QMP_RESET);
    return NULL;
}

struct json_object *qmp_system_powerdown(Machine *m, struct json_object *args, GError **error)
{
    machine_request_powerdown(m);
    return NULL;
}

struct json_object *qmp_human_monitor_command(Machine *m, struct json_object *args, GError **error)
{
    g_autofree char *text = hmp_run(m, json_member_str(args, "command-line"));

    return json_object_new_string(text);
}

struct json_object *qmp_set_action(Machine *m, struct json_object *args, GError **error)
{
    MachineActions actions = m->actions;
    bool ok = true;

    json_object_object_foreach(args, event, action)
    {
        ok = ok && machine_action_parse(&actions, event, json_object_get_string(action), error);
    }
    if (ok) {
        m->actions = actions;
    }
    return NULL;
}

struct json_object *qmp_watchdog_set_action(Machine *m, struct json_object *args, GError **error)
{
    machine_action_parse(&m->actions, "watchdog", json_member_str(args, "action"), error);
    return NULL;
}

struct json_object *qmp_inject_nmi(Machine *m, struct json_object *args, GError **error)
{
    machine_inject_nmi(m, error);
    return NULL;
}

/* The text of the human monitor is the result as it is. */
bool qmp_human_monitor_command_later(Machine *m, struct json_object *args, MonitorReply *reply,
                                    struct json_object **result, GError **error)
{
    g_autofree char *text = hmp_run_later(m, json_member_str(args, "command-line"), reply);

    *result = text ? json_object_new_string(text) : NULL;
    return text != NULL;
}
