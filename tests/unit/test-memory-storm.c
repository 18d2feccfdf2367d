/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of core/memory*.c: random trees of regions against a plain model of the rules (docs/devel/memory.md), and
 * threads that access what others add, move and remove.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/memory-world.h"

/* --- random trees against a plain model of the rules --- */

#define TREE_SPACE   128
#define TREE_REGIONS 12

/* Nobody accesses what the trees hold. */
static MemResult tree_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    return MEM_ACCESS_ERROR;
}

static MemResult tree_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    return MEM_ACCESS_ERROR;
}

static const MemOps tree_ops = {tree_read, tree_write, 1, 8, true};

typedef struct Node {
    MemRegion *region;
    MemKind kind;
    int parent; /* index, or -1: not in the tree */
    int target; /* of an alias */
    int priority;
    int64_t addr, size, offset;
    bool enabled;
    unsigned stamp; /* of adding or moving: the newest of equals is on top */
} Node;

typedef struct Tree {
    World *w;
    Node nodes[TREE_REGIONS]; /* 0 is the root */
    unsigned stamp;
    MemListener listener;
    MemSection *seen[TREE_SPACE]; /* what the listener was told is at each address */
    GPtrArray *sections;
} Tree;

/* Which node is seen at `at` of node n's own space; -1: none.  *offset is the address in it. */
static int tree_resolve(const Tree *t, int n, int64_t at, int64_t *offset)
{
    const Node *node = &t->nodes[n];
    bool tried[TREE_REGIONS] = {false};

    if (!node->enabled || at < 0 || at >= node->size) {
        return -1;
    }
    if (node->kind == MEM_ALIAS) {
        return tree_resolve(t, node->target, at + node->offset, offset);
    }
    for (;;) {
        int best = -1, found;

        for (int i = 1; i < TREE_REGIONS; i++) {
            const Node *c = &t->nodes[i];

            if (c->parent == n && !tried[i] &&
                (best < 0 || c->priority > t->nodes[best].priority ||
                 (c->priority == t->nodes[best].priority && c->stamp > t->nodes[best].stamp))) {
                best = i;
            }
        }
        if (best < 0) {
            break;
        }
        tried[best] = true;
        found = tree_resolve(t, best, at - t->nodes[best].addr, offset);
        if (found >= 0) {
            return found;
        }
    }
    *offset = at;
    return node->kind == MEM_IO ? n : -1;
}

static void tree_add(MemListener *l, const MemSection *section)
{
    Tree *t = (Tree *)((char *)l - offsetof(Tree, listener));
    MemSection *copy = g_memdup2(section, sizeof(*section));

    g_ptr_array_add(t->sections, copy);
    for (uint64_t i = 0; i < section->size; i++) {
        assert_null(t->seen[section->addr + i]); /* additions come after the removals and do not overlap */
        t->seen[section->addr + i] = copy;
    }
}

static void tree_del(MemListener *l, const MemSection *section)
{
    Tree *t = (Tree *)((char *)l - offsetof(Tree, listener));

    for (uint64_t i = 0; i < section->size; i++) {
        const MemSection *was = t->seen[section->addr + i];

        assert_non_null(was);
        assert_true(was->addr == section->addr && was->size == section->size &&
                    was->region == section->region && was->region_offset == section->region_offset);
        t->seen[section->addr + i] = NULL;
    }
}

static void tree_check(Tree *t)
{
    for (HwAddr at = 0; at < TREE_SPACE; at++) {
        MemSection section;
        int64_t offset;
        int want = tree_resolve(t, 0, (int64_t)at, &offset);
        bool found = as_lookup(t->w->as, at, &section);

        assert_int_equal(found, want >= 0);
        assert_int_equal(t->seen[at] != NULL, found);
        if (found) {
            assert_ptr_equal(section.region, t->nodes[want].region);
            assert_int_equal(section.region_offset + (at - section.addr), offset);
            assert_ptr_equal(t->seen[at]->region, section.region);
            assert_int_equal(t->seen[at]->region_offset, section.region_offset);
        }
    }
}

static void tree_plug(Tree *t, GRand *rand, int n)
{
    Node *node = &t->nodes[n];
    int parent = g_rand_int_range(rand, 0, n); /* only below an older one: no cycles */

    if (t->nodes[parent].kind == MEM_ALIAS) {
        return;
    }
    node->parent = parent;
    node->addr = g_rand_int_range(rand, 0, TREE_SPACE);
    node->priority = g_rand_int_range(rand, 0, 3);
    node->stamp = ++t->stamp;
    mem_region_add_overlap(t->nodes[parent].region, (HwAddr)node->addr, node->region, node->priority);
}

static void tree_mutate(Tree *t, GRand *rand)
{
    int n = g_rand_int_range(rand, 1, TREE_REGIONS);
    Node *node = &t->nodes[n];

    switch (g_rand_int_range(rand, 0, 5)) {
    case 0:
        if (node->parent < 0) {
            tree_plug(t, rand, n);
        } else {
            mem_region_del(t->nodes[node->parent].region, node->region);
            node->parent = -1;
        }
        break;
    case 1:
        node->enabled = !node->enabled;
        mem_region_set_enabled(node->region, node->enabled);
        break;
    case 2: {
        int64_t addr = g_rand_int_range(rand, 0, TREE_SPACE);

        if (node->parent >= 0 && addr != node->addr) {
            node->addr = addr;
            node->stamp = ++t->stamp;
            mem_region_set_address(node->region, (HwAddr)addr);
        }
        break;
    }
    case 3:
        node->size = g_rand_int_range(rand, 1, TREE_SPACE);
        mem_region_set_size(node->region, (uint64_t)node->size);
        break;
    default:
        if (node->kind == MEM_ALIAS) {
            node->offset = g_rand_int_range(rand, 0, TREE_SPACE);
            mem_region_set_alias_offset(node->region, (uint64_t)node->offset);
        }
        break;
    }
}

static void tree_populate(Tree *t, GRand *rand)
{
    t->nodes[0] = (Node){t->w->root, MEM_CONTAINER, -1, -1, 0, 0, TREE_SPACE, 0, true, 0};
    mem_region_set_size(t->w->root, TREE_SPACE);
    for (int i = 1; i < TREE_REGIONS; i++) {
        static const MemKind kinds[] = {MEM_CONTAINER, MEM_IO, MEM_IO, MEM_ALIAS};
        Node *node = &t->nodes[i];

        /* Aliases come last and look at the others, so that none can see itself. */
        node->kind = i < 8 ? kinds[g_rand_int_range(rand, 0, 3)] : kinds[3];
        node->parent = -1;
        node->size = g_rand_int_range(rand, 1, TREE_SPACE);
        node->enabled = true;
        if (node->kind == MEM_ALIAS) {
            node->target = g_rand_int_range(rand, 1, 8);
            node->offset = g_rand_int_range(rand, 0, TREE_SPACE / 2);
            node->region = mem_region_new_alias(t->w->topo, "alias", t->nodes[node->target].region,
                                                (uint64_t)node->offset, (uint64_t)node->size);
        } else if (node->kind == MEM_IO) {
            node->region = mem_region_new_io(t->w->topo, "io", (uint64_t)node->size, &tree_ops, NULL, NULL);
        } else {
            node->region = mem_region_new_container(t->w->topo, "box", (uint64_t)node->size);
        }
    }
}

static void test_random_trees(void **state)
{
    World *w = *state;

    for (guint32 seed = 0; seed < 60; seed++) {
        GRand *rand = g_rand_new_with_seed(seed);
        Tree t = {.w = w, .sections = g_ptr_array_new_with_free_func(g_free)};

        t.listener = (MemListener){.name = "tree", .add = tree_add, .del = tree_del};
        tree_populate(&t, rand);
        assert_true(mem_listener_register(&t.listener, w->as, NULL));
        for (int step = 0; step < 100; step++) {
            mem_begin(w->topo);
            for (int n = g_rand_int_range(rand, 1, 5); n > 0; n--) {
                tree_mutate(&t, rand);
            }
            assert_true(mem_commit(w->topo, NULL));
            tree_check(&t);
        }
        for (int i = TREE_REGIONS - 1; i > 0; i--) {
            if (t.nodes[i].parent >= 0) {
                mem_region_del(t.nodes[t.nodes[i].parent].region, t.nodes[i].region);
            }
        }
        mem_listener_unregister(&t.listener);
        for (int i = 1; i < TREE_REGIONS; i++) {
            mem_region_unref(t.nodes[i].region);
        }
        g_ptr_array_free(t.sections, TRUE);
        g_rand_free(rand);
    }
}

/* --- concurrency --- */

#define STORM_ROUNDS   400
#define STORM_ACCESSES 3000
#define STORM_THREADS  3

typedef struct Storm {
    World *w;
    int stop;
    int alive; /* 0 while the device does not exist: its callbacks must not run */
    int strays;
    uint64_t accesses;
} Storm;

static MemResult storm_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Storm *s = opaque;

    if (!__atomic_load_n(&s->alive, __ATOMIC_SEQ_CST)) {
        __atomic_fetch_add(&s->strays, 1, __ATOMIC_SEQ_CST);
    }
    sched_yield();
    *val = 0x1234;
    return MEM_OK;
}

static MemResult storm_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    return storm_read(opaque, addr, size, &val, attrs);
}

static const MemOps storm_ops = {storm_read, storm_write, 1, 8, true};

static gpointer storm_thread(gpointer opaque)
{
    Storm *s = opaque;
    GRand *rand = g_rand_new();
    uint8_t buf[64];

    while (!__atomic_load_n(&s->stop, __ATOMIC_SEQ_CST)) {
        HwAddr addr = (HwAddr)g_rand_int_range(rand, 0, 0x4000);
        uint64_t val;

        /* One that crosses the device's border may have bytes of both. */
        if (as_load(s->w->as, addr, 4, &val, MEM_ATTRS_CPU) == MEM_OK && addr >= 0x2000 && addr < 0x3000 && !(addr & 3) &&
            val != 0x1234 && val != 0xabababab) {
            __atomic_fetch_add(&s->strays, 1, __ATOMIC_SEQ_CST);
        }
        as_store(s->w->as, addr, 4, 0xabababab, MEM_ATTRS_CPU);
        as_read(s->w->as, addr, buf, sizeof(buf), MEM_ATTRS_CPU);
        __atomic_fetch_add(&s->accesses, 1, __ATOMIC_RELAXED);
    }
    g_rand_free(rand);
    return NULL;
}

/* Devices come, move and go, with a home lock and without, while other threads access them. */
static void test_storm(void **state)
{
    Storm s = {.w = *state};
    uint8_t *host = g_malloc(0x4000);
    MemRegion *ram = mem_region_new_ram(s.w->topo, "ram", 0x4000, host, -1, 0, false);
    GThread *threads[STORM_THREADS];

    memset(host, 0xab, 0x4000);
    mem_region_add(s.w->root, 0, ram);
    for (int i = 0; i < STORM_THREADS; i++) {
        threads[i] = g_thread_new("storm", storm_thread, &s);
    }
    for (int round = 0;
         round < STORM_ROUNDS || __atomic_load_n(&s.accesses, __ATOMIC_RELAXED) < STORM_ACCESSES; round++) {
        MemRegion *dev =
            mem_region_new_io(s.w->topo, "dev", 0x800, &storm_ops, &s, round & 1 ? s.w->loop : NULL);

        __atomic_store_n(&s.alive, 1, __ATOMIC_SEQ_CST);
        loop_lock(s.w->loop);
        mem_region_add_overlap(s.w->root, 0x2000, dev, 1);
        mem_region_set_address(dev, 0x2400);
        mem_region_del(s.w->root, dev);
        mem_region_retire(dev);
        __atomic_store_n(&s.alive, 0, __ATOMIC_SEQ_CST);
        mem_region_unref(dev);
        loop_unlock(s.w->loop);
        sched_yield();
    }
    __atomic_store_n(&s.stop, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < STORM_THREADS; i++) {
        g_thread_join(threads[i]);
    }
    assert_int_equal(s.strays, 0);
    mem_region_del(s.w->root, ram);
    mem_region_retire(ram);
    mem_region_unref(ram);
    g_free(host);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_random_trees),
        TEST(test_storm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
