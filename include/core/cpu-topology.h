/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a machine's CPUs lie in sockets, dies, cores and threads, and the APIC ids that say so (Intel SDM vol. 3, 9.9.3:
 * each level has a field of the id, as wide as it needs).
 */
#ifndef CORE_CPU_TOPOLOGY_H
#define CORE_CPU_TOPOLOGY_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* dies: of a socket; cores: of a die; threads: of a core; max_cpus: room for CPUs, of which `cpus` are there. */
typedef struct CpuTopology {
    unsigned cpus, max_cpus, sockets, dies, cores, threads;
} CpuTopology;

/*
 * Fills what is 0 (not given) as QEMU does: cores before sockets before threads.  False: the levels do not come to
 * max_cpus, or that is less than cpus; the error names the numbers.
 */
bool cpu_topology_complete(CpuTopology *t, GError **error);
/* Bits of the APIC id below the field of cores, dies, sockets. */
unsigned cpu_topology_core_shift(const CpuTopology *t);
unsigned cpu_topology_die_shift(const CpuTopology *t);
unsigned cpu_topology_socket_shift(const CpuTopology *t);
/* CPUs of a socket. */
unsigned cpu_topology_socket_cpus(const CpuTopology *t);
/* Of the CPU with that index; a complete topology. */
uint32_t cpu_topology_apic_id(const CpuTopology *t, unsigned index);

#endif
