/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What -smp leaves out, and APIC ids (include/core/cpu-topology.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/cpu-topology.h"

/* As QEMU 7.2 has it. */
static void test_what_is_left_out(void **state)
{
    static const struct {
        CpuTopology given, complete;
    } cases[] = {
        {{0}, {1, 1, 1, 1, 1, 1}},
        {{.cpus = 4}, {4, 4, 1, 1, 4, 1}},
        {{.cpus = 4, .max_cpus = 8}, {4, 8, 1, 1, 8, 1}},
        {{.max_cpus = 4}, {4, 4, 1, 1, 4, 1}},
        {{.cpus = 8, .sockets = 2}, {8, 8, 2, 1, 4, 1}},
        {{.cpus = 8, .threads = 2}, {8, 8, 1, 1, 4, 2}},
        {{.cpus = 8, .cores = 2}, {8, 8, 4, 1, 2, 1}},
        {{.cpus = 8, .cores = 2, .threads = 2}, {8, 8, 2, 1, 2, 2}},
        {{.cpus = 8, .sockets = 2, .cores = 2}, {8, 8, 2, 1, 2, 2}},
        {{.sockets = 2, .cores = 2}, {4, 4, 2, 1, 2, 1}},
        {{.cpus = 2, .dies = 2}, {2, 2, 1, 2, 1, 1}},
        {{.cpus = 8, .max_cpus = 12, .cores = 3, .threads = 2}, {8, 12, 2, 1, 3, 2}},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        CpuTopology t = cases[i].given;

        assert_true(cpu_topology_complete(&t, NULL));
        assert_memory_equal(&t, &cases[i].complete, sizeof(t));
    }
}

static void test_what_does_not_agree(void **state)
{
    static const CpuTopology cases[] = {
        {.cpus = 3, .cores = 2},
        {.cpus = 4, .max_cpus = 2},
        {.cpus = 4, .sockets = 1, .cores = 2, .threads = 2, .max_cpus = 8},
        {.cpus = 4, .sockets = 2, .cores = 4},
        {.cpus = 4, .sockets = 8},
        {.sockets = 4096, .dies = 4096, .cores = 4096, .threads = 4096},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        CpuTopology t = cases[i];
        g_autoptr(GError) error = NULL;

        assert_false(cpu_topology_complete(&t, &error));
        assert_non_null(strstr(error->message, "maxcpus"));
    }
}

static void test_apic_ids(void **state)
{
    static const uint32_t gaps[] = {0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13};
    CpuTopology t = {.cpus = 12, .cores = 3, .threads = 2}, dies = {.cpus = 12, .sockets = 1, .dies = 2, .cores = 3};

    assert_true(cpu_topology_complete(&t, NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(gaps); i++) {
        assert_int_equal(cpu_topology_apic_id(&t, i), gaps[i]);
    }
    assert_true(cpu_topology_complete(&dies, NULL));
    assert_int_equal(dies.threads, 2);
    assert_int_equal(cpu_topology_core_shift(&dies), 1);
    assert_int_equal(cpu_topology_die_shift(&dies), 3);
    assert_int_equal(cpu_topology_socket_shift(&dies), 4);
    assert_int_equal(cpu_topology_apic_id(&dies, 6), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_what_is_left_out), cmocka_unit_test(test_what_does_not_agree),
                                       cmocka_unit_test(test_apic_ids)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
