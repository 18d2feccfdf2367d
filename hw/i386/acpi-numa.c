/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SRAT and SLIT: which node a CPU and a range of memory belong to, and how far nodes are from each other (ACPI 6.3
 * chapters 5.2.16 and 5.2.17).
 */
#include "acpi-numa.h"

enum { SRAT_LAPIC, SRAT_MEMORY };
#define SRAT_ENABLED 1

static void put(GByteArray *b, uint64_t val, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(val >> (8 * i));
        g_byte_array_append(b, &byte, 1);
    }
}

static void srat_cpu(GByteArray *b, unsigned node, uint32_t apic_id)
{
    put(b, SRAT_LAPIC, 1);
    put(b, 16, 1);
    put(b, node & 0xff, 1);
    put(b, apic_id, 1);
    put(b, SRAT_ENABLED, 4);
    put(b, 0, 1);         /* SAPIC's EID */
    put(b, node >> 8, 3);
    put(b, 0, 4);         /* clock domain */
}

/* The part of RAM offsets [first, end) that lies in [from, to), which the guest sees at `at`. */
static void srat_memory(GByteArray *b, unsigned node, uint64_t first, uint64_t end, uint64_t from, uint64_t to, uint64_t at)
{
    first = MAX(first, from);
    end = MIN(end, to);
    if (first >= end) {
        return;
    }
    put(b, SRAT_MEMORY, 1);
    put(b, 40, 1);
    put(b, node, 4);
    put(b, 0, 2);
    put(b, at + (first - from), 8);
    put(b, end - first, 8);
    put(b, 0, 4);
    put(b, SRAT_ENABLED, 4);
    put(b, 0, 8);
}

void acpi_numa_srat(GByteArray *b, const AcpiConfig *config)
{
    const NumaConfig *n = config->numa;
    uint64_t first = 0;

    put(b, 1, 4); /* reserved, and 1 */
    put(b, 0, 8);
    for (unsigned i = 0; i < config->topology.cpus; i++) {
        srat_cpu(b, (unsigned)n->cpu_node[i], cpu_topology_apic_id(&config->topology, i));
    }
    for (unsigned node = 0; node < n->count; node++) {
        uint64_t end = first + n->nodes[node].mem;
        srat_memory(b, node, first, end, 0, 0xa0000, 0);
        srat_memory(b, node, first, end, 0x100000, config->ram_low, 0x100000);
        srat_memory(b, node, first, end, config->ram_low, UINT64_MAX, 1ull << 32);
        first = end;
    }
}

void acpi_numa_slit(GByteArray *b, const AcpiConfig *config)
{
    const NumaConfig *n = config->numa;

    put(b, n->count, 8);
    for (unsigned from = 0; from < n->count; from++) {
        for (unsigned to = 0; to < n->count; to++) {
            put(b, n->distance[from][to], 1);
        }
    }
}
