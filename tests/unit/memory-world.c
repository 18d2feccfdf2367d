/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A memory topology made and taken down, for tests. */
#include "tests/unit/memory-world.h"

#include "core/model.h"
#include "core/trace.h"

const Model *const model_table[] = {NULL};
TraceEvent *const trace_tables[] = {NULL};

int world_setup(void **state)
{
    World *w = g_new0(World, 1);

    w->clocks = clock_source_new();
    w->loop = loop_new("main", true, w->clocks);
    w->topo = mem_topology_new(w->loop);
    w->root = mem_region_new_container(w->topo, "system", UINT64_MAX);
    w->as = as_new(w->topo, "memory", w->root);
    *state = w;
    return 0;
}

int world_teardown(void **state)
{
    World *w = *state;

    as_free(w->as);
    mem_region_unref(w->root);
    mem_topology_free(w->topo);
    loop_free(w->loop);
    clock_source_free(w->clocks);
    g_free(w);
    return 0;
}
