/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -numa: collected as it comes, as -smp and -m may follow; carried out when the memory backends are there. */
#include <string.h>

#include "core/error.h"
#include "core/numa.h"
#include "core/prop.h"
#include "system.h"

/* `cpus` may be said more than once: "0 2-3" for cpus=0,cpus=2-3. */
static struct json_object *numa_parse_text(const char *option, const char *arg, GError **error)
{
    g_auto(GStrv) words = g_strsplit(arg, ",", 0);
    g_autoptr(GString) rest = g_string_new(NULL), cpus = g_string_new(NULL);
    struct json_object *opts;
    bool given = false;

    for (unsigned i = 0; words[i]; i++) {
        if (g_str_has_prefix(words[i], "cpus=")) {
            given = true;
            g_string_append_printf(cpus, "%s%s", cpus->len ? " " : "", words[i] + strlen("cpus="));
        } else {
            g_string_append_printf(rest, "%s%s", i ? "," : "", words[i]);
        }
    }
    if (!given || *arg == '{') {
        return opts_parse(option, arg, "type", error);
    }
    opts = opts_parse(option, rest->str, "type", error);
    if (opts && !g_utf8_validate(cpus->str, -1, NULL)) {
        error_set(error, "%s: 'cpus' is not valid UTF-8", option);
        g_clear_pointer(&opts, json_object_put);
    }
    if (opts) {
        json_object_object_add(opts, "cpus", json_object_new_string(cpus->str));
    }
    return opts;
}

bool option_numa(Cmdline *c, const char *option, const char *arg, GError **error)
{
    struct json_object *opts = numa_parse_text(option, arg, error);

    if (opts) {
        cmdline_add_item(c->numas, option, arg, opts);
    }
    return opts != NULL;
}

static bool numa_find_backends(System *s, NumaConfig *n, GError **error)
{
    Object *objects = object_container(s->machine->root, "objects");

    for (unsigned i = 0; i < NUMA_MAX_NODES; i++) {
        NumaNode *node = &n->nodes[i];
        if (!node->memdev) {
            continue;
        }
        node->backend = object_child(objects, node->memdev);
        if (!node->backend || !ram_backend_is(node->backend)) {
            error_set(error, "-numa: memdev=%s is not a memory backend; add -object memory-backend-memfd,id=%s,...", node->memdev, node->memdev);
            return false;
        }
        for (unsigned j = 0; j < i; j++) {
            if (n->nodes[j].backend == node->backend) {
                error_set(error, "-numa: memory backend %s can't be used multiple times.", node->memdev);
                return false;
            }
        }
        if (s->machine->ram_backend) {
            error_set(error, "-numa: '-machine memory-backend' and '-numa memdev' properties are mutually exclusive");
            return false;
        }
        node->mem = ram_backend_size(node->backend);
    }
    return true;
}

bool system_set_numa(System *s, GError **error)
{
    const MachineModel *model = (const MachineModel *)s->machine->obj.model;
    g_autofree char *left_out = NULL;
    CpuTopology topology;
    NumaConfig *n;

    if (!s->cmdline->numas->len) {
        return true;
    }
    if (!model->default_cpu) {
        error_set(error, "-numa: NUMA is not supported by machine %s", model->model.name);
        return false;
    }
    topology = machine_topology(s->machine);
    n = s->machine->numa = numa_new(&topology);
    for (guint i = 0; i < s->cmdline->numas->len; i++) {
        CmdlineItem *item = g_ptr_array_index(s->cmdline->numas, i);
        if (!numa_add(n, item->opts, error)) {
            cmdline_prefix_error(item, error);
            return false;
        }
    }
    if (!numa_find_backends(s, n, error)) {
        return false;
    }
    if (!numa_complete(n, s->machine->ram_size, &left_out, error)) {
        g_prefix_error(error, "-numa: ");
        return false;
    }
    if (left_out) {
        g_printerr("%s: warning: CPU(s) not present in any NUMA nodes: %s; they are in node 0\n", g_get_prgname(), left_out);
    }
    return true;
}
