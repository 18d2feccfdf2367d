/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `info`: what the human monitor can show of the machine. */
#include <inttypes.h>
#include <string.h>

#include "accel/accel.h"
#include "hw/pci/pci.h"
#include "monitor-internal.h"

static void hmp_info(Machine *m, const char *args, GString *out)
{
    if (*args) {
        g_string_append_printf(out, "unknown: info %s\n", args);
    }
    for (size_t t = 0; hmp_tables[t]; t++) {
        for (const HmpCommand *cmd = hmp_tables[t]; cmd->name; cmd++) {
            if (g_str_has_prefix(cmd->name, "info ")) {
                g_string_append_printf(out, "%s %s -- %s\n", cmd->name, cmd->args, cmd->doc);
            }
        }
    }
}

static void hmp_info_status(Machine *m, const char *args, GString *out)
{
    if (m->run_state == RUN_STATE_RUNNING) {
        g_string_append(out, "VM status: running\n");
    } else {
        g_string_append_printf(out, "VM status: paused (%s)\n", run_state_name(m->run_state));
    }
}

static void hmp_info_version(Machine *m, const char *args, GString *out)
{
    struct json_object *version = qmp_run(m, "query-version", NULL, NULL);
    struct json_object *numbers;

    json_object_object_get_ex(version, "qemu", &numbers);
    g_string_append_printf(out, "%s (QMP %s.%s.%s)\n", json_member_str(version, "package"),
                           json_member_str(numbers, "major"), json_member_str(numbers, "minor"),
                           json_member_str(numbers, "micro"));
    json_object_put(version);
}

static void hmp_info_name(Machine *m, const char *args, GString *out)
{
    g_string_append_printf(out, "%s\n", m->name ? m->name : "");
}

static void hmp_info_mtree(Machine *m, const char *args, GString *out)
{
    bool flat = strcmp(args, "-f") == 0;
    g_autofree char *text = NULL;

    if (*args && !flat) {
        g_string_append_printf(out, "unknown flag '%s' (allowed -f)\n", args);
        return;
    }
    text = mem_topology_print(m->topo, flat);
    g_string_append(out, text);
}

static void hmp_info_registers(Machine *m, const char *args, GString *out)
{
    if (!m->accel || !m->accel->vcpus->len) {
        g_string_append(out, "the machine has no CPUs\n");
        return;
    }
    for (guint i = 0; i < m->accel->vcpus->len; i++) {
        Vcpu *vcpu = g_ptr_array_index(m->accel->vcpus, i);
        g_autofree char *text = NULL;

        /* Registers are only whole between blocks. */
        machine_vcpus_hold(m);
        text = m->accel->ops->dump(vcpu);
        machine_vcpus_release(m);
        g_string_append_printf(out, "CPU#%u\n%s", vcpu->index, text);
    }
}

static void hmp_info_cpus(Machine *m, const char *args, GString *out)
{
    for (guint i = 0; m->accel && i < m->accel->vcpus->len; i++) {
        Vcpu *vcpu = g_ptr_array_index(m->accel->vcpus, i);

        g_string_append_printf(out, "* CPU #%u: %" PRIu64 " instructions\n", vcpu->index,
                               m->accel->ops->insn_count(vcpu));
    }
}

static void hmp_info_kvm(Machine *m, const char *args, GString *out)
{
    bool used = m->accel && g_str_equal(m->accel->ops->name, "kvm");

    g_autofree char *more = used && m->accel->ops->info ? m->accel->ops->info(m->accel) : NULL;

    g_string_append_printf(out, "kvm support: %s\n%s", used ? "enabled" : "disabled", more ? more : "");
}

static void hmp_info_numa(Machine *m, const char *args, GString *out)
{
    const NumaConfig *n = m->numa;

    g_string_append_printf(out, "%u nodes\n", n ? n->count : 0);
    for (unsigned node = 0; n && node < n->count; node++) {
        g_string_append_printf(out, "node %u cpus:", node);
        for (unsigned cpu = 0; cpu < n->topology.cpus; cpu++) {
            if (n->cpu_node[cpu] == (int)node) {
                g_string_append_printf(out, " %u", cpu);
            }
        }
        g_string_append_printf(out, "\nnode %u size: %" PRIu64 " MB\nnode %u plugged: 0 MB\n", node, n->nodes[node].mem >> 20, node);
    }
}

static void print_irqs_below(Object *obj, bool counts, GString *out)
{
    if (obj->model->print_irqs) {
        if (counts) {
            g_string_append_printf(out, "IRQ statistics for %s:\n", obj->model->name);
        }
        obj->model->print_irqs(obj, counts, out);
    }
    for (guint i = 0; i < obj->children->len; i++) {
        print_irqs_below(g_ptr_array_index(obj->children, i), counts, out);
    }
    if (!obj->parent && !out->len) {
        g_string_append(out, "the machine has no interrupt controllers\n");
    }
}

static void hmp_info_pic(Machine *m, const char *args, GString *out)
{
    print_irqs_below(m->root, false, out);
}

static void hmp_info_irq(Machine *m, const char *args, GString *out)
{
    print_irqs_below(m->root, true, out);
}

static void hmp_info_jit(Machine *m, const char *args, GString *out)
{
    bool used = m->accel && g_str_equal(m->accel->ops->name, "tcg");
    g_autofree char *text = used && m->accel->ops->info ? m->accel->ops->info(m->accel) : NULL;

    g_string_append(out, text ? text : "JIT information is only available with accel=tcg\n");
}

/* --- trees --- */

static void hmp_print_props(Object *obj, const Prop *p, int indent, GString *out)
{
    for (; p && p->name; p++) {
        struct json_object *value = object_get(obj, p->name, NULL);

        g_string_append_printf(out, "%*s%s = %s\n", indent, "", p->name,
                               value ? json_object_to_json_string_ext(value, JSON_C_TO_STRING_NOSLASHESCAPE)
                                     : "\"\"");
        json_object_put(value);
    }
}

static void hmp_print_device(Device *dev, int indent, GString *out)
{
    const DeviceKindOps *kind = machine_kind_ops(dev->obj.machine, dev->obj.model->kind);

    g_string_append_printf(out, "%*sdev: %s, id \"%s\"\n", indent, "", dev->obj.model->name, dev->obj.id);
    hmp_print_props(&dev->obj, dev->obj.model->props, indent + 2, out);
    hmp_print_props(&dev->obj, kind ? kind->props : NULL, indent + 2, out);
    if (dev->guest_errors) {
        g_string_append_printf(out, "%*sguest errors: %" PRIu64 "\n", indent + 2, "", dev->guest_errors);
    }
}

static void hmp_print_pci_bus(PciBus *bus, int indent, GString *out)
{
    g_string_append_printf(out, "%*sbus: %s\n%*stype %s\n", indent, "", bus->name, indent + 2, "",
                           bus->express ? "PCIE" : "PCI");
    for (int devfn = 0; devfn < 256; devfn++) {
        PciDevice *dev = bus->devices[devfn];

        if (!dev) {
            continue;
        }
        hmp_print_device(&dev->dev, indent + 2, out);
        for (guint i = 0; bus->children && i < bus->children->len; i++) {
            PciBus *child = g_ptr_array_index(bus->children, i);

            if (child->parent == dev) {
                hmp_print_pci_bus(child, indent + 4, out);
            }
        }
    }
}

static void hmp_print_board(Object *obj, GString *out)
{
    if (obj->model->kind == MODEL_DEVICE) {
        hmp_print_device((Device *)obj, 2, out);
    }
    for (guint i = 0; i < obj->children->len; i++) {
        hmp_print_board(g_ptr_array_index(obj->children, i), out);
    }
}

static void hmp_info_qtree(Machine *m, const char *args, GString *out)
{
    g_string_append(out, "bus: main-system-bus\n  type System\n");
    hmp_print_board(&m->obj, out);
    if (m->pci_bus) {
        hmp_print_pci_bus(m->pci_bus, 2, out);
    }
}

static void hmp_print_object(Object *obj, int indent, GString *out)
{
    g_string_append_printf(out, "%*s/%s (%s)\n", indent, "", obj->id, obj->model->name);
    for (guint i = 0; i < obj->children->len; i++) {
        hmp_print_object(g_ptr_array_index(obj->children, i), indent + 2, out);
    }
}

static void hmp_info_qom_tree(Machine *m, const char *args, GString *out)
{
    Object *obj = *args ? object_resolve(m, args) : &m->obj;

    if (obj) {
        hmp_print_object(obj, 0, out);
    } else {
        g_string_append_printf(out, "no object '%s'\n", args);
    }
}

const HmpCommand hmp_info_table[] = {
    {"info status", "", "run state", hmp_info_status},
    {"info version", "", "version of this program", hmp_info_version},
    {"info name", "", "name of the machine", hmp_info_name},
    {"info mtree", "[-f]", "memory regions; -f: flat views", hmp_info_mtree},
    {"info qtree", "", "devices, bus by bus, with their properties", hmp_info_qtree},
    {"info qom-tree", "[path]", "the object tree", hmp_info_qom_tree},
    {"info registers", "", "registers of the CPUs", hmp_info_registers},
    {"info kvm", "", "whether KVM runs the guest", hmp_info_kvm},
    {"info pic", "", "registers of the interrupt controllers", hmp_info_pic},
    {"info numa", "", "nodes, with their CPUs and memory", hmp_info_numa},
    {"info irq", "", "how often each interrupt was raised", hmp_info_irq},
    {"info jit", "", "blocks of code that the software CPU keeps", hmp_info_jit},
    {"info cpus", "", "the virtual CPUs", hmp_info_cpus},
    {NULL, NULL, NULL, NULL},
};

/* After every other table: what begins with "info" and is none of the above. */
const HmpCommand hmp_info_list_table[] = {
    {"info", "[subject]", "show something; alone: list what", hmp_info},
    {NULL, NULL, NULL, NULL},
};
