/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hot plug of PCI in the DSDT (ACPI 6.3 chapters 5.6.4, 6.1.11, 6.3.3): on every bus that has it a device for each slot,
 * with _SUN and _EJ0, and methods that read the registers of hw/acpi/pci-hotplug.c and notify the slots; _E01, which
 * general purpose event 1 runs, asks all buses.
 */
#include "acpi-hotplug.h"

#include <stdio.h>
#include <string.h>

#include "hw/acpi/aml.h"

#define NOTIFY_DEVICE_CHECK  1
#define NOTIFY_EJECT_REQUEST 3

/* _OSC (6.2.11): the offsets of its first and third double word, of both a bit. */
#define OSC_STATUS       0
#define OSC_CONTROL      8
#define OSC_MASKED       0x10
#define OSC_PCIE_HOTPLUG 0x01

#define NAME_SIZE 5 /* "S18", and the terminator of a longer one */

static const char *function_name(char name[NAME_SIZE], uint8_t devfn)
{
    snprintf(name, NAME_SIZE, "S%02X", devfn);
    return name;
}

/* The device of the bus: of the bridge that the first `depth` steps of its path lead to. */
static char *bus_path(const AcpiPciHotplugBus *bus, unsigned depth)
{
    GString *path = g_string_new("\\_SB.PCI0");
    for (unsigned i = 0; i < depth; i++) {
        char name[NAME_SIZE];
        g_string_append_printf(path, ".%s", function_name(name, bus->path[i]));
    }
    return g_string_free(path, FALSE);
}

void acpi_hotplug_osc(GByteArray *b, const AcpiConfig *config)
{
    if (!config->hotplug || !config->hotplug->ports) {
        /* The system may control whatever it asks for: no firmware competes. */
        size_t osc = aml_method_begin(b, "_OSC", 4);
        aml_return_arg(b, 3);
        aml_end(b, osc);
        return;
    }
    size_t osc = aml_serialized_method_begin(b, "_OSC", 4);
    aml_op(b, AML_OP_CREATE_DWORD_FIELD);
    aml_arg(b, 3);
    aml_int(b, OSC_STATUS);
    aml_path(b, "OSTS");
    aml_op(b, AML_OP_CREATE_DWORD_FIELD);
    aml_arg(b, 3);
    aml_int(b, OSC_CONTROL);
    aml_path(b, "OCTL");
    size_t native = aml_if_begin(b);
    aml_op(b, AML_OP_AND);
    aml_path(b, "OCTL");
    aml_int(b, OSC_PCIE_HOTPLUG);
    aml_int(b, 0);
    aml_op(b, AML_OP_AND);
    aml_path(b, "OCTL");
    aml_int(b, ~(uint32_t)OSC_PCIE_HOTPLUG);
    aml_path(b, "OCTL");
    aml_op(b, AML_OP_OR);
    aml_path(b, "OSTS");
    aml_int(b, OSC_MASKED);
    aml_path(b, "OSTS");
    aml_end(b, native);
    aml_return_arg(b, 3);
    aml_end(b, osc);
}

static void hotplug_field(GByteArray *b, const char *region, unsigned offset, const char *const *units, unsigned count,
                          const AcpiPciHotplug *hotplug)
{
    aml_io_region(b, region, (uint16_t)(hotplug->port + offset), (uint8_t)(4 * count));
    size_t field = aml_dword_field_begin(b, region);
    for (unsigned i = 0; i < count; i++) {
        aml_field_unit(b, units[i], 32);
    }
    aml_end(b, field);
}

/* The registers, and PCEJ(bus, slot), which lets go of a slot. */
static void hotplug_registers(GByteArray *b, const AcpiPciHotplug *hotplug)
{
    static const char *const events[] = {"PCIU", "PCID"}, *const eject[] = {"B0EJ"}, *const select[] = {"BNUM"};

    size_t dev = aml_device_begin(b, "PHPR");
    aml_name_eisaid(b, "_HID", "PNP0A06");
    aml_name_string(b, "_UID", "PCI hot plug");
    aml_name_int(b, "_STA", 0xb); /* present, not for the user's eye */
    size_t crs = aml_crs_begin(b);
    aml_res_io(b, hotplug->port, ACPI_PCIHP_SIZE);
    aml_crs_end(b, crs);
    aml_end(b, dev);
    hotplug_field(b, "PCST", 0, events, G_N_ELEMENTS(events), hotplug);
    hotplug_field(b, "SEJ", 0x08, eject, G_N_ELEMENTS(eject), hotplug);
    hotplug_field(b, "BNMR", 0x10, select, G_N_ELEMENTS(select), hotplug);
    aml_mutex(b, "BLCK");
    size_t method = aml_method_begin(b, "PCEJ", 2);
    aml_acquire(b, "BLCK");
    aml_op(b, AML_OP_STORE);
    aml_arg(b, 0);
    aml_path(b, "BNUM");
    aml_op(b, AML_OP_STORE);
    aml_op(b, AML_OP_SHIFT_LEFT);
    aml_int(b, 1);
    aml_arg(b, 1);
    aml_int(b, 0);
    aml_path(b, "B0EJ");
    aml_release(b, "BLCK");
    aml_end(b, method);
}

static void hotplug_slot(GByteArray *b, unsigned slot)
{
    char name[NAME_SIZE];
    size_t dev = aml_device_begin(b, function_name(name, (uint8_t)(slot << 3)));
    aml_name_int(b, "_SUN", slot);
    aml_name_int(b, "_ADR", slot << 16);
    size_t eject = aml_method_begin(b, "_EJ0", 1);
    aml_path(b, "PCEJ");
    aml_path(b, "BSEL");
    aml_path(b, "_SUN");
    aml_end(b, eject);
    aml_end(b, dev);
}

/* DVNT(slots, event): notifies them of it. */
static void hotplug_notify(GByteArray *b, uint32_t slots)
{
    size_t method = aml_method_begin(b, "DVNT", 2);
    for (unsigned slot = 0; slot < 32; slot++) {
        char name[NAME_SIZE];
        if (!(slots >> slot & 1)) {
            continue;
        }
        size_t told = aml_if_begin(b);
        aml_op(b, AML_OP_AND);
        aml_arg(b, 0);
        aml_int(b, 1u << slot);
        aml_int(b, 0);
        aml_op(b, AML_OP_NOTIFY);
        aml_path(b, function_name(name, (uint8_t)(slot << 3)));
        aml_arg(b, 1);
        aml_end(b, told);
    }
    aml_end(b, method);
}

/* PCNT: tells of what has happened on this bus. */
static void hotplug_ask(GByteArray *b)
{
    size_t method = aml_method_begin(b, "PCNT", 0);
    aml_op(b, AML_OP_STORE);
    aml_path(b, "BSEL");
    aml_path(b, "BNUM");
    aml_path(b, "DVNT");
    aml_path(b, "PCIU");
    aml_int(b, NOTIFY_DEVICE_CHECK);
    aml_path(b, "DVNT");
    aml_path(b, "PCID");
    aml_int(b, NOTIFY_EJECT_REQUEST);
    aml_end(b, method);
}

/* Whether an earlier bus is behind the first `depth` bridges of this one's path, so that they are described already. */
static bool hotplug_described(const AcpiPciHotplug *hotplug, unsigned number, unsigned depth)
{
    const AcpiPciHotplugBus *bus = &hotplug->buses[number];
    for (unsigned i = 0; i < number; i++) {
        const AcpiPciHotplugBus *earlier = &hotplug->buses[i];
        if (earlier->depth >= depth && !memcmp(earlier->path, bus->path, depth)) {
            return true;
        }
    }
    return false;
}

static void hotplug_bridges(GByteArray *b, const AcpiPciHotplug *hotplug, unsigned number)
{
    const AcpiPciHotplugBus *bus = &hotplug->buses[number];
    for (unsigned depth = 1; depth <= bus->depth; depth++) {
        g_autofree char *path = bus_path(bus, depth);
        uint8_t devfn = bus->path[depth - 1];
        if (!hotplug_described(hotplug, number, depth)) {
            size_t dev = aml_device_begin(b, path);
            aml_name_int(b, "_ADR", (uint32_t)PCI_SLOT(devfn) << 16 | PCI_FUNC(devfn));
            aml_end(b, dev);
        }
    }
}

static void hotplug_bus(GByteArray *b, const AcpiPciHotplug *hotplug, unsigned number)
{
    const AcpiPciHotplugBus *bus = &hotplug->buses[number];
    g_autofree char *path = bus_path(bus, bus->depth);

    hotplug_bridges(b, hotplug, number);
    size_t scope = aml_scope_begin(b, path);
    aml_name_int(b, "BSEL", number);
    for (unsigned slot = 0; slot < 32; slot++) {
        if (bus->slots >> slot & 1) {
            hotplug_slot(b, slot);
        }
    }
    hotplug_notify(b, bus->slots);
    hotplug_ask(b);
    aml_end(b, scope);
}

void acpi_hotplug_methods(GByteArray *b, const AcpiConfig *config)
{
    const AcpiPciHotplug *hotplug = config->hotplug;
    if (!hotplug || !hotplug->count) {
        return;
    }
    size_t scope = aml_scope_begin(b, "\\_SB.PCI0");
    hotplug_registers(b, hotplug);
    aml_end(b, scope);
    for (unsigned i = 0; i < hotplug->count; i++) {
        hotplug_bus(b, hotplug, i);
    }
    scope = aml_scope_begin(b, "\\_GPE");
    size_t event = aml_method_begin(b, "_E01", 0);
    aml_acquire(b, "\\_SB.PCI0.BLCK");
    for (unsigned i = 0; i < hotplug->count; i++) {
        g_autofree char *path = bus_path(&hotplug->buses[i], hotplug->buses[i].depth);
        g_autofree char *ask = g_strconcat(path, ".PCNT", NULL);
        aml_path(b, ask);
    }
    aml_release(b, "\\_SB.PCI0.BLCK");
    aml_end(b, event);
    aml_end(b, scope);
}
