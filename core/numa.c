/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes of memory and CPUs (include/core/numa.h). */
#include "core/numa.h"

#include <inttypes.h>
#include <string.h>

#include "core/error.h"
#include "core/prop.h"

#define NUMA_REMOTE_DISTANCE 20

NumaConfig *numa_new(const CpuTopology *topology)
{
    NumaConfig *n = g_new0(NumaConfig, 1);

    n->topology = *topology;
    n->cpu_node = g_new(int, topology->max_cpus);
    for (unsigned i = 0; i < topology->max_cpus; i++) {
        n->cpu_node[i] = -1;
    }
    return n;
}

void numa_free(NumaConfig *n)
{
    if (!n) {
        return;
    }
    for (unsigned i = 0; i < NUMA_MAX_NODES; i++) {
        g_free(n->nodes[i].memdev);
    }
    g_free(n->cpu_node);
    g_free(n);
}

/* --- options --- */

static bool numa_keys(struct json_object *opts, const char *const allowed[], GError **error)
{
    json_object_object_foreach(opts, key, value)
    {
        (void)value;
        if (!g_strv_contains(allowed, key)) {
            g_autofree char *all = g_strjoinv(", ", (char **)allowed);
            error_set(error, "unknown option '%s' (allowed: %s)", key, all);
            return false;
        }
    }
    return true;
}

static bool numa_parse(const char *text, unsigned max, unsigned *val)
{
    char *end;
    guint64 n = g_ascii_strtoull(text, &end, 10);

    *val = (unsigned)n;
    return g_ascii_isdigit(*text) && !*end && n <= max;
}

/* *val stays when there is no such key. */
static bool numa_number(struct json_object *opts, const char *key, unsigned max, int *val, GError **error)
{
    struct json_object *value;
    unsigned n;

    if (!json_object_object_get_ex(opts, key, &value)) {
        return true;
    }
    if (!numa_parse(json_object_get_string(value), max, &n)) {
        error_set(error, "%s must be a number (%s, allowed 0..%u)", key, json_object_get_string(value), max);
        return false;
    }
    *val = (int)n;
    return true;
}

static bool numa_set_cpu(NumaConfig *n, unsigned cpu, unsigned node, GError **error)
{
    if (n->cpu_node[cpu] >= 0) {
        error_set(error, "CPU %u is already assigned to node-id: %d", cpu, n->cpu_node[cpu]);
        return false;
    }
    n->cpu_node[cpu] = (int)node;
    return true;
}

/* "N" or "N-M". */
static bool numa_add_cpus(NumaConfig *n, unsigned node, const char *range, GError **error)
{
    g_auto(GStrv) ends = g_strsplit(range, "-", 2);
    unsigned first, last;

    if (!ends[0] || !numa_parse(ends[0], UINT16_MAX, &first) || !numa_parse(ends[1] ? ends[1] : ends[0], UINT16_MAX, &last) ||
        first > last) {
        error_set(error, "cpus must be a number or a range (%s, allowed 0..%u)", range, n->topology.max_cpus - 1);
        return false;
    }
    if (last >= n->topology.max_cpus) {
        error_set(error, "CPU index (%u) should be smaller than maxcpus (%u)", last, n->topology.max_cpus);
        return false;
    }
    for (unsigned cpu = first; cpu <= last; cpu++) {
        if (!numa_set_cpu(n, cpu, node, error)) {
            return false;
        }
    }
    return true;
}

/* One text, with blanks between ranges, or a JSON array. */
static bool numa_add_cpu_list(NumaConfig *n, unsigned node, struct json_object *cpus, GError **error)
{
    bool ok = true;

    if (json_object_is_type(cpus, json_type_array)) {
        for (size_t i = 0; ok && i < json_object_array_length(cpus); i++) {
            struct json_object *one = json_object_array_get_idx(cpus, i);
            ok = numa_add_cpus(n, node, one ? json_object_get_string(one) : "null", error);
        }
        return ok;
    }
    g_auto(GStrv) ranges = g_strsplit(cpus ? json_object_get_string(cpus) : "null", " ", 0);
    ok = ranges[0] || numa_add_cpus(n, node, "", error);
    for (unsigned i = 0; ok && ranges[i]; i++) {
        ok = numa_add_cpus(n, node, ranges[i], error);
    }
    return ok;
}

static bool numa_add_memory(NumaConfig *n, NumaNode *node, struct json_object *opts, GError **error)
{
    struct json_object *mem, *memdev;
    bool has_mem = json_object_object_get_ex(opts, "mem", &mem), has_memdev = json_object_object_get_ex(opts, "memdev", &memdev);

    for (unsigned i = 0; i < NUMA_MAX_NODES; i++) {
        has_mem |= n->nodes[i].mem && !n->nodes[i].memdev;
        has_memdev |= n->nodes[i].memdev != NULL;
    }
    if (has_mem && has_memdev) {
        error_set(error, "numa configuration should use either mem= or memdev=, mixing both is not allowed");
        return false;
    }
    if (json_object_object_get_ex(opts, "memdev", &memdev)) {
        node->memdev = g_strdup(json_object_get_string(memdev));
    }
    return !json_object_object_get_ex(opts, "mem", &mem) || opts_parse_size("mem", json_object_get_string(mem), 'M', &node->mem, error);
}

static bool numa_add_node(NumaConfig *n, struct json_object *opts, GError **error)
{
    static const char *const keys[] = {"type", "nodeid", "cpus", "mem", "memdev", NULL};
    struct json_object *cpus;
    int id = (int)n->count;

    if (!numa_keys(opts, keys, error) || !numa_number(opts, "nodeid", NUMA_MAX_NODES - 1, &id, error)) {
        return false;
    }
    if (id >= NUMA_MAX_NODES) {
        error_set(error, "Max number of NUMA nodes reached: %d", id);
        return false;
    }
    NumaNode *node = &n->nodes[id];
    if (node->present) {
        error_set(error, "Duplicate NUMA nodeid: %d", id);
        return false;
    }
    node->present = true;
    n->count++;
    return numa_add_memory(n, node, opts, error) &&
           (!json_object_object_get_ex(opts, "cpus", &cpus) || numa_add_cpu_list(n, (unsigned)id, cpus, error));
}

static bool numa_add_distance(NumaConfig *n, struct json_object *opts, GError **error)
{
    static const char *const keys[] = {"type", "src", "dst", "val", NULL};
    int src = -1, dst = -1, val = -1;

    if (!numa_keys(opts, keys, error) || !numa_number(opts, "src", NUMA_MAX_NODES - 1, &src, error) ||
        !numa_number(opts, "dst", NUMA_MAX_NODES - 1, &dst, error) || !numa_number(opts, "val", UINT8_MAX, &val, error)) {
        return false;
    }
    if (src < 0 || dst < 0 || val < 0) {
        error_set(error, "Parameter '%s' is missing", src < 0 ? "src" : dst < 0 ? "dst" : "val");
    } else if (!n->nodes[src].present || !n->nodes[dst].present) {
        error_set(error, "Source/Destination NUMA node is missing. Please use '-numa node' option to declare it first.");
    } else if (val < NUMA_LOCAL_DISTANCE) {
        error_set(error, "NUMA distance (%d) is invalid, it shouldn't be less than %d.", val, NUMA_LOCAL_DISTANCE);
    } else if (src == dst && val != NUMA_LOCAL_DISTANCE) {
        error_set(error, "Local distance of node %d should be %d.", src, NUMA_LOCAL_DISTANCE);
    } else {
        n->distance[src][dst] = (uint8_t)val;
        n->distances = true;
        return true;
    }
    return false;
}

static bool numa_cpu_is(const CpuTopology *t, unsigned index, int socket, int die, int core, int thread)
{
    const unsigned at[] = {index / cpu_topology_socket_cpus(t), index / (t->threads * t->cores) % t->dies,
                           index / t->threads % t->cores, index % t->threads};
    const int want[] = {socket, die, core, thread};
    bool same = true;

    for (unsigned i = 0; i < G_N_ELEMENTS(at); i++) {
        same = same && (want[i] < 0 || at[i] == (unsigned)want[i]);
    }
    return same;
}

static bool numa_add_cpu(NumaConfig *n, struct json_object *opts, GError **error)
{
    static const char *const keys[] = {"type", "node-id", "socket-id", "die-id", "core-id", "thread-id", NULL};
    int node = -1, id[4] = {-1, -1, -1, -1};
    unsigned found = 0;
    bool ok = numa_keys(opts, keys, error) && numa_number(opts, "node-id", INT_MAX, &node, error);

    for (unsigned i = 0; ok && i < 4; i++) {
        ok = numa_number(opts, keys[2 + i], INT_MAX, &id[i], error);
    }
    if (!ok) {
        return false;
    }
    if (node < 0) {
        error_set(error, "Missing mandatory node-id property");
        return false;
    }
    if (node >= NUMA_MAX_NODES || !n->nodes[node].present) {
        error_set(error, "Invalid node-id=%d, NUMA node must be defined with -numa node,nodeid=ID before it's used with -numa cpu,node-id=ID",
                  node);
        return false;
    }
    for (unsigned cpu = 0; cpu < n->topology.max_cpus; cpu++) {
        if (numa_cpu_is(&n->topology, cpu, id[0], id[1], id[2], id[3])) {
            found++;
            if (!numa_set_cpu(n, cpu, (unsigned)node, error)) {
                return false;
            }
        }
    }
    if (!found) {
        error_set(error, "no match found: no CPU has these ids");
    }
    return found;
}

bool numa_add(NumaConfig *n, struct json_object *opts, GError **error)
{
    static const struct {
        const char *type;
        bool (*add)(NumaConfig *n, struct json_object *opts, GError **error);
    } types[] = {{"node", numa_add_node}, {"dist", numa_add_distance}, {"cpu", numa_add_cpu}};
    struct json_object *value;
    const char *type = json_object_object_get_ex(opts, "type", &value) ? json_object_get_string(value) : NULL;

    for (unsigned i = 0; type && i < G_N_ELEMENTS(types); i++) {
        if (!strcmp(type, types[i].type)) {
            return types[i].add(n, opts, error);
        }
    }
    error_set(error, "Parameter 'type' does not accept value '%s' (allowed: node, dist, cpu)", type ? type : "");
    return false;
}

/* --- when all is said --- */

static bool numa_complete_distances(NumaConfig *n, GError **error)
{
    bool asymmetric = false;

    for (unsigned a = 0; a < n->count; a++) {
        n->distance[a][a] = NUMA_LOCAL_DISTANCE;
        for (unsigned b = 0; b < a; b++) {
            uint8_t there = n->distance[a][b], back = n->distance[b][a];
            if (n->distances && !there && !back) {
                error_set(error, "The distance between node %u and %u is missing, at least one distance value between each nodes should be provided.",
                          b, a);
                return false;
            }
            asymmetric |= there && back && there != back;
        }
    }
    for (unsigned a = 0; a < n->count; a++) {
        for (unsigned b = 0; b < n->count; b++) {
            if (n->distance[a][b]) {
                continue;
            }
            if (asymmetric) {
                error_set(error, "At least one asymmetrical pair of distances is given, please provide distances for both directions of "
                                 "all node pairs.");
                return false;
            }
            n->distance[a][b] = n->distance[b][a] ? n->distance[b][a] : NUMA_REMOTE_DISTANCE;
        }
    }
    return true;
}

static char *numa_complete_cpus(NumaConfig *n)
{
    GString *left_out = g_string_new(NULL);
    bool any = false;

    for (unsigned cpu = 0; cpu < n->topology.max_cpus; cpu++) {
        any |= n->cpu_node[cpu] >= 0;
    }
    for (unsigned cpu = 0; cpu < n->topology.max_cpus; cpu++) {
        if (n->cpu_node[cpu] < 0 && any) {
            g_string_append_printf(left_out, "%s%u", left_out->len ? " " : "", cpu);
            n->cpu_node[cpu] = 0;
        } else if (n->cpu_node[cpu] < 0) {
            /* Nobody said anything: sockets are dealt out. */
            n->cpu_node[cpu] = (int)(cpu / cpu_topology_socket_cpus(&n->topology) % n->count);
        }
    }
    return g_string_free(left_out, !left_out->len);
}

bool numa_complete(NumaConfig *n, uint64_t ram_size, char **left_out, GError **error)
{
    uint64_t total = 0;

    *left_out = NULL;
    for (unsigned i = 0; i < n->count; i++) {
        if (!n->nodes[i].present) {
            error_set(error, "Node ID missing: %u", i);
            return false;
        }
        if (n->nodes[i].mem % 4096 || n->nodes[i].mem > ram_size) {
            error_set(error, "node %u: bad size of memory (0x%" PRIx64 ", allowed multiples of 0x1000 up to the RAM size, 0x%" PRIx64 ")", i,
                      n->nodes[i].mem, ram_size);
            return false;
        }
        total += n->nodes[i].mem;
    }
    if (!n->count) {
        error_set(error, "no nodes; add -numa node");
        return false;
    }
    if (total != ram_size) {
        error_set(error, "total memory for NUMA nodes (0x%" PRIx64 ") should equal RAM size (0x%" PRIx64 ")", total, ram_size);
        return false;
    }
    if (!numa_complete_distances(n, error)) {
        return false;
    }
    *left_out = numa_complete_cpus(n);
    return true;
}
