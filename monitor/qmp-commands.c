/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP commands about the machine as a whole: version, run state, events of power. */
#include "accel/accel.h"
#include "core/error.h"
#include "migration/migration.h"
#include "monitor-internal.h"

/* The QMP dialect spoken, as clients that compare versions expect it. */
#define QMP_VERSION_MAJOR 7
#define QMP_VERSION_MINOR 2
#define QMP_VERSION_MICRO 0
#define QMP_PACKAGE       "mpqemu 0.1"

static struct json_object *qmp_capabilities(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list;

    if (json_object_object_get_ex(args, "enable", &list) && json_object_array_length(list) > 0) {
        const char *name = json_object_get_string(json_object_array_get_idx(list, 0));

        error_set(error, "Capability '%s' is not available (none is offered)", name ? name : "null");
    }
    return NULL;
}

static struct json_object *qmp_query_version(Machine *m, struct json_object *args, GError **error)
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

static struct json_object *qmp_query_commands(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = json_object_new_array();

    for (size_t t = 0; qmp_tables[t]; t++) {
        for (const QmpCommand *cmd = qmp_tables[t]; cmd->name; cmd++) {
            struct json_object *entry = json_object_new_object();

            json_object_object_add(entry, "name", json_object_new_string(cmd->name));
            json_object_array_add(list, entry);
        }
    }
    return list;
}

static struct json_object *qmp_query_status(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *result = json_object_new_object();

    json_object_object_add(result, "status", json_object_new_string(run_state_name(m->run_state)));
    json_object_object_add(result, "singlestep", json_object_new_boolean(false));
    json_object_object_add(result, "running", json_object_new_boolean(m->run_state == RUN_STATE_RUNNING));
    return result;
}

static struct json_object *qmp_query_name(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *result = json_object_new_object();

    if (m->name) {
        json_object_object_add(result, "name", json_object_new_string(m->name));
    }
    return result;
}

static struct json_object *qmp_query_kvm(Machine *m, struct json_object *args, GError **error)
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

static struct json_object *qmp_query_cpus_fast(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = json_object_new_array();

    for (guint i = 0; m->accel && i < m->accel->vcpus->len; i++) {
        Vcpu *vcpu = g_ptr_array_index(m->accel->vcpus, i);
        struct json_object *entry = json_object_new_object();

        json_object_object_add(entry, "cpu-index", json_object_new_int((int)vcpu->index));
        json_object_object_add(entry, "target", json_object_new_string("x86_64"));
        json_object_object_add(entry, "x-instructions",
                               json_object_new_uint64(m->accel->ops->insn_count(vcpu)));
        json_object_array_add(list, entry);
    }
    return list;
}

static struct json_object *qmp_query_machines(Machine *m, struct json_object *args, GError **error)
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
        json_object_array_add(list, entry);
    }
    return list;
}

static struct json_object *qmp_query_memory_size(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *result = json_object_new_object();

    json_object_object_add(result, "base-memory", json_object_new_uint64(m->ram_size));
    return result;
}

static struct json_object *qmp_stop(Machine *m, struct json_object *args, GError **error)
{
    if (m->run_state == RUN_STATE_RUNNING) {
        machine_vm_stop(m, RUN_STATE_PAUSED);
    }
    return NULL;
}

static struct json_object *qmp_cont(Machine *m, struct json_object *args, GError **error)
{
    if (m->run_state == RUN_STATE_SHUTDOWN || m->run_state == RUN_STATE_INTERNAL_ERROR) {
        error_set(error, "Resetting the Virtual Machine is required");
    } else if (m->run_state == RUN_STATE_INMIGRATE || m->run_state == RUN_STATE_FINISH_MIGRATE) {
        error_set(error, "A migration is in progress: the guest runs when it is over");
    } else if (m->run_state != RUN_STATE_RUNNING && migration_take_back(m, error)) {
        machine_vm_start(m);
    }
    return NULL;
}

static struct json_object *qmp_quit(Machine *m, struct json_object *args, GError **error)
{
    machine_request_shutdown(m, SHUTDOWN_HOST_QMP_QUIT, 0);
    return NULL;
}

static struct json_object *qmp_system_reset(Machine *m, struct json_object *args, GError **error)
{
    machine_request_reset(m, SHUTDOWN_HOST_QMP_RESET);
    return NULL;
}

static struct json_object *qmp_system_powerdown(Machine *m, struct json_object *args, GError **error)
{
    machine_request_powerdown(m);
    return NULL;
}

static struct json_object *qmp_human_monitor_command(Machine *m, struct json_object *args, GError **error)
{
    g_autofree char *text = hmp_run(m, json_member_str(args, "command-line"));

    return json_object_new_string(text);
}

static struct json_object *qmp_set_action(Machine *m, struct json_object *args, GError **error)
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

static struct json_object *qmp_watchdog_set_action(Machine *m, struct json_object *args, GError **error)
{
    machine_action_parse(&m->actions, "watchdog", json_member_str(args, "action"), error);
    return NULL;
}

static struct json_object *qmp_inject_nmi(Machine *m, struct json_object *args, GError **error)
{
    machine_inject_nmi(m, error);
    return NULL;
}

static const QmpArg set_action_args[] = {
    {"reboot", QMP_STR, true}, {"shutdown", QMP_STR, true}, {"panic", QMP_STR, true}, {"watchdog", QMP_STR, true}, {NULL}};
static const QmpArg watchdog_args[] = {{"action", QMP_STR, false}, {NULL}};

/* The text of the human monitor is the result as it is. */
static bool qmp_human_monitor_later(Machine *m, struct json_object *args, MonitorReply *reply,
                                    struct json_object **result, GError **error)
{
    g_autofree char *text = hmp_run_later(m, json_member_str(args, "command-line"), reply);

    *result = text ? json_object_new_string(text) : NULL;
    return text != NULL;
}

static const QmpArg capabilities_args[] = {{"enable", QMP_ARRAY, true}, {NULL}};
static const QmpArg hmp_args[] = {{"command-line", QMP_STR, false}, {"cpu-index", QMP_INT, true}, {NULL}};

const QmpCommand qmp_machine_table[] = {
    {.name = "qmp_capabilities",
     .args = capabilities_args,
     .run = qmp_capabilities,
     .early = true,
     .doc = "Ends capabilities negotiation; must be the first command of a session."},
    {.name = "query-version",
     .run = qmp_query_version,
     .doc = "Version of the QMP dialect and of this program."},
    {.name = "query-commands", .run = qmp_query_commands, .doc = "Names of all commands."},
    {.name = "query-status", .run = qmp_query_status, .doc = "Run state of the machine."},
    {.name = "query-name", .run = qmp_query_name, .doc = "The name given with -name."},
    {.name = "query-kvm", .run = qmp_query_kvm, .doc = "Whether KVM is there and in use."},
    {.name = "query-cpus-fast", .run = qmp_query_cpus_fast, .doc = "The virtual CPUs."},
    {.name = "query-machines", .run = qmp_query_machines, .doc = "Machine models."},
    {.name = "query-memory-size-summary", .run = qmp_query_memory_size, .doc = "Size of guest RAM in bytes."},
    {.name = "stop", .run = qmp_stop, .doc = "Stops the guest; the event STOP follows."},
    {.name = "cont", .run = qmp_cont, .doc = "Lets the guest go on; the event RESUME follows."},
    {.name = "quit", .run = qmp_quit, .doc = "Ends the program."},
    {.name = "system_reset", .run = qmp_system_reset, .doc = "Resets the machine; the event RESET follows."},
    {.name = "system_powerdown", .run = qmp_system_powerdown, .doc = "Presses the power button."},
    {.name = "set-action",
     .args = set_action_args,
     .run = qmp_set_action,
     .doc = "What follows when the guest reboots, powers off or panics, or its watchdog barks, as -action."},
    {.name = "watchdog-set-action",
     .args = watchdog_args,
     .run = qmp_watchdog_set_action,
     .doc = "What follows when the guest's watchdog barks."},
    {.name = "inject-nmi", .run = qmp_inject_nmi, .doc = "A non-maskable interrupt for every CPU."},
    {.name = "human-monitor-command",
     .args = hmp_args,
     .run = qmp_human_monitor_command,
     .later = qmp_human_monitor_later,
     .doc = "Runs a line of the human monitor; the result is its text."},
    {.name = NULL},
};
