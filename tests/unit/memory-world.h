/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the unit tests of core/memory*.c begin with: a topology of one address space, empty but for its root container. */
#ifndef TESTS_UNIT_MEMORY_WORLD_H
#define TESTS_UNIT_MEMORY_WORLD_H

#include "core/memory.h"

typedef struct World {
    ClockSource *clocks;
    EventLoop *loop;
    MemTopology *topo;
    MemRegion *root;
    AddressSpace *as;
} World;

/* cmocka's; *state is the World. */
int world_setup(void **state);
int world_teardown(void **state);

#endif
