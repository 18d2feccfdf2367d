/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI interrupts in the DSDT: the link devices LNKA.. (ACPI 6.3 chapter 6.2.13, PNP0C0F), each a routing register of the
 * ISA bridge, and the table _PRT of the root bus.  The ICH9's pins have inputs of the IO-APIC of their own, and go by
 * links where the system has said by _PIC that it uses the 8259s; those of the PIIX3 go by links always.
 */
#include "acpi-links.h"

#include <string.h>

#include "hw/acpi/aml.h"
#include "hw/isa/ich9-lpc.h"
#include "hw/isa/piix3.h"

#define ROUTE_OFF 0x80
#define STA_OFF   0x09 /* present, works, not shown */
#define STA_ON    0x0b
#define IRQ_AT    5 /* of the number in an interrupt descriptor */
#define PRT_SLOTS 32
#define PRT_PINS  4
#define GSI_PIRQA 16

const uint32_t acpi_link_irqs[3] = {5, 10, 11};

static unsigned links_count(const AcpiConfig *config)
{
    return config->chipset == ACPI_CHIPSET_Q35 ? 8 : 4;
}

/* What a root slot's pin is connected to: 0 is PIRQA. */
static unsigned links_pirq(const AcpiConfig *config, unsigned slot, unsigned pin)
{
    return config->chipset == ACPI_CHIPSET_Q35 ? ich9_slot_pirq(slot, pin) : piix3_slot_pirq(slot, pin);
}

static const char *link_name(char name[5], unsigned n)
{
    memcpy(name, "LNKA", 5);
    name[3] = (char)('A' + n);
    return name;
}

static const char *route_name(char name[5], unsigned n)
{
    memcpy(name, "PRQA", 5);
    name[3] = (char)('A' + n);
    return name;
}

void acpi_links_registers(GByteArray *b, const AcpiConfig *config)
{
    char name[5];

    aml_config_region(b, "PRQR", 0x60, config->chipset == ACPI_CHIPSET_Q35 ? 12 : 4);
    size_t field = aml_field_begin(b, "PRQR");
    for (unsigned n = 0; n < links_count(config); n++) {
        if (n == 4) { /* PIRQE.. are at 68h */
            aml_field_unit(b, NULL, 32);
        }
        aml_field_unit(b, route_name(name, n), 8);
    }
    aml_end(b, field);
}

/* IQST(route): the status of a link; IQCR(route): its current resources. */
static void links_helpers(GByteArray *b)
{
    const uint32_t none = 0;

    size_t method = aml_method_begin(b, "IQST", 1);
    size_t off = aml_if_begin(b);
    aml_op(b, AML_OP_AND);
    aml_int(b, ROUTE_OFF);
    aml_arg(b, 0);
    aml_int(b, 0);
    aml_op(b, AML_OP_RETURN);
    aml_int(b, STA_OFF);
    aml_end(b, off);
    aml_op(b, AML_OP_RETURN);
    aml_int(b, STA_ON);
    aml_end(b, method);

    method = aml_serialized_method_begin(b, "IQCR", 1);
    aml_op(b, AML_OP_STORE);
    size_t resources = aml_template_begin(b);
    aml_res_interrupts(b, &none, 1);
    aml_crs_end(b, resources);
    aml_local(b, 0);
    aml_op(b, AML_OP_CREATE_DWORD_FIELD);
    aml_local(b, 0);
    aml_int(b, IRQ_AT);
    aml_path(b, "IRQW");
    off = aml_if_begin(b);
    aml_op(b, AML_OP_AND);
    aml_int(b, ROUTE_OFF);
    aml_arg(b, 0);
    aml_int(b, 0);
    aml_op(b, AML_OP_RETURN);
    aml_local(b, 0);
    aml_end(b, off);
    aml_op(b, AML_OP_STORE);
    aml_arg(b, 0);
    aml_path(b, "IRQW");
    aml_op(b, AML_OP_RETURN);
    aml_local(b, 0);
    aml_end(b, method);
}

/* Return(helper(route)) as method `name`. */
static void link_method(GByteArray *b, const char *name, const char *helper, const char *route)
{
    size_t method = aml_method_begin(b, name, 0);
    aml_op(b, AML_OP_RETURN);
    aml_path(b, helper);
    aml_path(b, route);
    aml_end(b, method);
}

static void link_device(GByteArray *b, unsigned n)
{
    char name[5];
    g_autofree char *route = g_strconcat("\\_SB.PCI0.ISA.", route_name(name, n), NULL);

    size_t dev = aml_device_begin(b, link_name(name, n));
    aml_name_eisaid(b, "_HID", "PNP0C0F");
    aml_name_int(b, "_UID", n);
    aml_name(b, "_PRS");
    size_t resources = aml_template_begin(b);
    aml_res_interrupts(b, acpi_link_irqs, G_N_ELEMENTS(acpi_link_irqs));
    aml_crs_end(b, resources);
    link_method(b, "_STA", "IQST", route);
    link_method(b, "_CRS", "IQCR", route);
    size_t method = aml_method_begin(b, "_DIS", 0);
    aml_op(b, AML_OP_OR);
    aml_path(b, route);
    aml_int(b, ROUTE_OFF);
    aml_path(b, route);
    aml_end(b, method);
    method = aml_serialized_method_begin(b, "_SRS", 1);
    aml_op(b, AML_OP_CREATE_DWORD_FIELD);
    aml_arg(b, 0);
    aml_int(b, IRQ_AT);
    aml_path(b, "IRQW");
    aml_op(b, AML_OP_STORE);
    aml_path(b, "IRQW");
    aml_path(b, route);
    aml_end(b, method);
    aml_end(b, dev);
}

void acpi_links_devices(GByteArray *b, const AcpiConfig *config)
{
    links_helpers(b);
    for (unsigned n = 0; n < links_count(config); n++) {
        link_device(b, n);
    }
}

void acpi_links_pic(GByteArray *b)
{
    aml_name_int(b, "\\PICF", 0);
    size_t method = aml_method_begin(b, "\\_PIC", 1);
    aml_op(b, AML_OP_STORE);
    aml_arg(b, 0);
    aml_path(b, "\\PICF");
    aml_end(b, method);
}

static void links_table(GByteArray *b, const AcpiConfig *config, const char *name, bool by_link)
{
    char link[5];

    aml_name(b, name);
    size_t table = aml_package_begin(b, PRT_SLOTS * PRT_PINS);
    for (unsigned slot = 0; slot < PRT_SLOTS; slot++) {
        for (unsigned pin = 0; pin < PRT_PINS; pin++) {
            unsigned pirq = links_pirq(config, slot, pin);
            size_t entry = aml_package_begin(b, 4);
            aml_int(b, slot << 16 | 0xffff);
            aml_int(b, pin);
            if (by_link) {
                aml_path(b, link_name(link, pirq));
            } else {
                aml_int(b, 0);
            }
            aml_int(b, by_link ? 0 : GSI_PIRQA + pirq);
            aml_end(b, entry);
        }
    }
    aml_end(b, table);
}

void acpi_links_prt(GByteArray *b, const AcpiConfig *config)
{
    if (config->chipset != ACPI_CHIPSET_Q35) {
        links_table(b, config, "_PRT", true);
        return;
    }
    links_table(b, config, "PRTP", true);
    links_table(b, config, "PRTA", false);
    size_t method = aml_method_begin(b, "_PRT", 0);
    size_t apic = aml_if_begin(b);
    aml_path(b, "\\PICF");
    aml_op(b, AML_OP_RETURN);
    aml_path(b, "PRTA");
    aml_end(b, apic);
    aml_op(b, AML_OP_RETURN);
    aml_path(b, "PRTP");
    aml_end(b, method);
}
