/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sockets, dies, cores and threads (include/core/cpu-topology.h). */
#include "core/cpu-topology.h"

#include "core/error.h"

static unsigned given(unsigned n)
{
    return n ? n : 1;
}

static unsigned quotient(uint64_t all, uint64_t a, uint64_t b, uint64_t c)
{
    return (unsigned)(all / (a * b * c));
}

bool cpu_topology_complete(CpuTopology *t, GError **error)
{
    uint64_t all = t->max_cpus ? t->max_cpus : t->cpus, product;

    t->dies = given(t->dies);
    if (!all || (t->sockets && t->cores)) {
        t->sockets = given(t->sockets);
        t->cores = given(t->cores);
        t->threads = t->threads ? t->threads : all ? quotient(all, t->sockets, t->dies, t->cores) : 1;
    } else if (!t->cores) {
        t->sockets = given(t->sockets);
        t->threads = given(t->threads);
        t->cores = quotient(all, t->sockets, t->dies, t->threads);
    } else {
        t->threads = given(t->threads);
        t->sockets = quotient(all, t->dies, t->cores, t->threads);
    }
    product = (uint64_t)t->sockets * t->dies * t->cores * t->threads;
    t->max_cpus = (unsigned)(all ? all : MIN(product, UINT_MAX));
    t->cpus = t->cpus ? t->cpus : t->max_cpus;
    if (product != t->max_cpus) {
        error_set(error, "sockets (%u) * dies (%u) * cores (%u) * threads (%u) must be maxcpus (%u)", t->sockets, t->dies,
                  t->cores, t->threads, t->max_cpus);
        return false;
    }
    if (t->cpus > t->max_cpus) {
        error_set(error, "cpus: more than there is room for (%u, allowed 1..maxcpus: %u)", t->cpus, t->max_cpus);
        return false;
    }
    return true;
}

/* How many low bits of the APIC id number n things. */
static unsigned id_bits(unsigned n)
{
    return n > 1 ? 32u - (unsigned)__builtin_clz(n - 1) : 0;
}

unsigned cpu_topology_core_shift(const CpuTopology *t)
{
    return id_bits(t->threads);
}

unsigned cpu_topology_die_shift(const CpuTopology *t)
{
    return cpu_topology_core_shift(t) + id_bits(t->cores);
}

unsigned cpu_topology_socket_shift(const CpuTopology *t)
{
    return cpu_topology_die_shift(t) + id_bits(t->dies);
}

unsigned cpu_topology_socket_cpus(const CpuTopology *t)
{
    return t->dies * t->cores * t->threads;
}

uint32_t cpu_topology_apic_id(const CpuTopology *t, unsigned index)
{
    unsigned thread = index % t->threads, core = index / t->threads % t->cores, die = index / (t->threads * t->cores) % t->dies;

    return index / cpu_topology_socket_cpus(t) << cpu_topology_socket_shift(t) | die << cpu_topology_die_shift(t) |
           core << cpu_topology_core_shift(t) | thread;
}
