/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes of memory and CPUs, and how far they are from each other: what -numa says.  No state but the config; any
 * thread, one at a time.
 */
#ifndef CORE_NUMA_H
#define CORE_NUMA_H

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/cpu-topology.h"

#define NUMA_MAX_NODES      128
#define NUMA_LOCAL_DISTANCE 10

typedef struct NumaNode {
    bool present;
    uint64_t mem;           /* bytes */
    char *memdev;           /* id of the memory backend that is its RAM; NULL: a part of the machine's */
    struct Object *backend; /* found by the machine's start; NULL: as memdev */
} NumaNode;

typedef struct NumaConfig {
    unsigned count; /* of nodes, numbered from 0 when complete */
    NumaNode nodes[NUMA_MAX_NODES];
    bool distances; /* some were given */
    uint8_t distance[NUMA_MAX_NODES][NUMA_MAX_NODES]; /* 0: not given; 255: cannot be reached */
    CpuTopology topology;
    int *cpu_node; /* by index below topology.max_cpus; -1: not given */
} NumaConfig;

/* No nodes; the topology is complete. */
NumaConfig *numa_new(const CpuTopology *topology);
void numa_free(NumaConfig *n);
/* One -numa: "type" node, dist or cpu and its keys.  False with *error: not as it may be, or against what was said before. */
bool numa_add(NumaConfig *n, struct json_object *opts, GError **error);
/*
 * All is said, and memdevs have their sizes in `mem`: fills in distances, and nodes of CPUs.  False: nodes, memory or
 * distances do not come out.  *left_out: CPUs (as "3 4") that only some -numa did not name, and that node 0 gets;
 * NULL: none; the caller frees it.
 */
bool numa_complete(NumaConfig *n, uint64_t ram_size, char **left_out, GError **error);

#endif
