/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI functions of the machine: query-pci and `info pci`, from one walk of the buses. */
#include <inttypes.h>

#include "hw/pci/pci.h"
#include "monitor-internal.h"
#include "qmp-commands.h"

/* Class names as people look for them: class and subclass; subclass 0xff: any. */
static const struct {
    uint8_t base, sub;
    const char *text;
} pci_class_names[] = {
    {0x01, 0x00, "SCSI controller"},
    {0x01, 0x01, "IDE controller"},
    {0x01, 0x06, "SATA controller"},
    {0x01, 0x08, "NVMe controller"},
    {0x01, 0xff, "Storage controller"},
    {0x02, 0x00, "Ethernet controller"},
    {0x02, 0xff, "Network controller"},
    {0x03, 0x00, "VGA controller"},
    {0x03, 0xff, "Display controller"},
    {0x06, 0x00, "Host bridge"},
    {0x06, 0x01, "ISA bridge"},
    {0x06, 0x04, "PCI bridge"},
    {0x06, 0xff, "Bridge"},
    {0x0c, 0x03, "USB controller"},
    {0x0c, 0x05, "SMBus"},
    {0x00, 0xff, "Unclassified device"},
};

static const char *pci_class_text(uint8_t base, uint8_t sub)
{
    for (size_t i = 0; i < G_N_ELEMENTS(pci_class_names); i++) {
        if (pci_class_names[i].base == base &&
            (pci_class_names[i].sub == sub || pci_class_names[i].sub == 0xff)) {
            return pci_class_names[i].text;
        }
    }
    return NULL;
}

static bool pci_bar_is_io(const PciBar *bar)
{
    return bar->kind == PCI_BAR_IO;
}

static bool pci_bar_is_64(const PciBar *bar)
{
    return bar->kind == PCI_BAR_MEM64 || bar->kind == PCI_BAR_MEM64_PREFETCH;
}

static bool pci_bar_is_prefetch(const PciBar *bar)
{
    return bar->kind == PCI_BAR_MEM32_PREFETCH || bar->kind == PCI_BAR_MEM64_PREFETCH;
}

/* The bus behind a bridge function, or NULL. */
static PciBus *pci_bus_behind(const PciDevice *dev)
{
    for (guint i = 0; dev->bus->children && i < dev->bus->children->len; i++) {
        PciBus *child = g_ptr_array_index(dev->bus->children, i);

        if (child->parent == dev) {
            return child;
        }
    }
    return NULL;
}

/* --- JSON --- */

static struct json_object *pci_regions_json(const PciDevice *dev)
{
    struct json_object *list = json_object_new_array();

    for (int i = 0; i < PCI_REGION_COUNT; i++) {
        const PciBar *bar = &dev->bars[i];
        struct json_object *entry;

        if (!bar->size) {
            continue;
        }
        entry = json_object_new_object();
        json_object_object_add(entry, "bar", json_object_new_int(i));
        json_object_object_add(entry, "type", json_object_new_string(pci_bar_is_io(bar) ? "io" : "memory"));
        json_object_object_add(entry, "address",
                               bar->address == PCI_BAR_UNMAPPED ? json_object_new_int(-1)
                                                                : json_object_new_uint64(bar->address));
        json_object_object_add(entry, "size", json_object_new_uint64(bar->size));
        if (!pci_bar_is_io(bar)) {
            json_object_object_add(entry, "prefetch", json_object_new_boolean(pci_bar_is_prefetch(bar)));
            json_object_object_add(entry, "mem_type_64", json_object_new_boolean(pci_bar_is_64(bar)));
        }
        json_object_array_add(list, entry);
    }
    return list;
}

static struct json_object *pci_devices_json(PciBus *bus);

static struct json_object *pci_range_json(uint64_t base, uint64_t limit)
{
    struct json_object *range = json_object_new_object();

    json_object_object_add(range, "base", json_object_new_uint64(base));
    json_object_object_add(range, "limit", json_object_new_uint64(limit));
    return range;
}

/* The windows of a bridge as its registers have them (PCI-to-PCI Bridge Architecture Specification 1.2, 3.2.5). */
static struct json_object *pci_bridge_json(const PciDevice *dev, PciBus *behind)
{
    const uint8_t *c = dev->config;
    uint64_t pref_base = (uint64_t)pci_get32(c + PCI_PREF_BASE_UPPER32) << 32 |
                         (uint64_t)(pci_get16(c + PCI_PREF_MEMORY_BASE) & 0xfff0u) << 16;
    uint64_t pref_limit = (uint64_t)pci_get32(c + PCI_PREF_LIMIT_UPPER32) << 32 |
                          (uint64_t)(pci_get16(c + PCI_PREF_MEMORY_LIMIT) & 0xfff0u) << 16 | 0xfffff;
    struct json_object *bridge = json_object_new_object(), *bus = json_object_new_object();

    json_object_object_add(bus, "number", json_object_new_int(c[PCI_PRIMARY_BUS]));
    json_object_object_add(bus, "secondary", json_object_new_int(c[PCI_SECONDARY_BUS]));
    json_object_object_add(bus, "subordinate", json_object_new_int(c[PCI_SUBORDINATE_BUS]));
    json_object_object_add(bus, "io_range",
                           pci_range_json((c[PCI_IO_BASE] & 0xf0u) << 8, (c[PCI_IO_LIMIT] & 0xf0u) << 8 | 0xfff));
    json_object_object_add(bus, "memory_range",
                           pci_range_json((uint64_t)(pci_get16(c + PCI_MEMORY_BASE) & 0xfff0u) << 16,
                                          (uint64_t)(pci_get16(c + PCI_MEMORY_LIMIT) & 0xfff0u) << 16 | 0xfffff));
    json_object_object_add(bus, "prefetchable_range", pci_range_json(pref_base, pref_limit));
    json_object_object_add(bridge, "bus", bus);
    json_object_object_add(bridge, "devices", pci_devices_json(behind));
    return bridge;
}

static struct json_object *pci_device_json(PciDevice *dev)
{
    struct json_object *entry = json_object_new_object();
    struct json_object *class_info = json_object_new_object();
    struct json_object *id = json_object_new_object();
    uint8_t base = dev->config[PCI_CLASS_DEVICE + 1], sub = dev->config[PCI_CLASS_DEVICE];
    const char *text = pci_class_text(base, sub);
    PciBus *behind = pci_bus_behind(dev);

    json_object_object_add(entry, "bus", json_object_new_int(dev->bus->number));
    json_object_object_add(entry, "slot", json_object_new_int(PCI_SLOT(dev->devfn)));
    json_object_object_add(entry, "function", json_object_new_int(PCI_FUNC(dev->devfn)));
    json_object_object_add(class_info, "class", json_object_new_int(base << 8 | sub));
    if (text) {
        json_object_object_add(class_info, "desc", json_object_new_string(text));
    }
    json_object_object_add(entry, "class_info", class_info);
    json_object_object_add(id, "vendor", json_object_new_int(pci_get16(dev->config + PCI_VENDOR_ID)));
    json_object_object_add(id, "device", json_object_new_int(pci_get16(dev->config + PCI_DEVICE_ID)));
    if (!behind) {
        json_object_object_add(id, "subsystem-vendor",
                               json_object_new_int(pci_get16(dev->config + PCI_SUBSYSTEM_VENDOR_ID)));
        json_object_object_add(id, "subsystem",
                               json_object_new_int(pci_get16(dev->config + PCI_SUBSYSTEM_ID)));
    }
    json_object_object_add(entry, "id", id);
    json_object_object_add(entry, "qdev_id", json_object_new_string(dev->dev.obj.id));
    json_object_object_add(entry, "irq_pin", json_object_new_int(dev->config[PCI_INTERRUPT_PIN]));
    json_object_object_add(entry, "irq", json_object_new_int(dev->config[PCI_INTERRUPT_LINE]));
    json_object_object_add(entry, "regions", pci_regions_json(dev));
    if (object_find_prop(&dev->dev.obj, "state")) {
        json_object_object_add(entry, "x-state", object_get(&dev->dev.obj, "state", NULL));
    }
    if (behind) {
        json_object_object_add(entry, "pci_bridge", pci_bridge_json(dev, behind));
    }
    return entry;
}

static struct json_object *pci_devices_json(PciBus *bus)
{
    struct json_object *devices = json_object_new_array();

    for (int devfn = 0; devfn < 256; devfn++) {
        if (bus->devices[devfn]) {
            json_object_array_add(devices, pci_device_json(bus->devices[devfn]));
        }
    }
    return devices;
}

/* Root buses other than the machine's own: a machine that serves devices gives each one. */
static void pci_find_other_roots(Object *obj, GPtrArray *roots)
{
    if (obj->model->kind == MODEL_PCI) {
        PciBus *bus = ((PciDevice *)obj)->bus;

        if (bus && !bus->parent && bus != obj->machine->pci_bus && !g_ptr_array_find(roots, bus, NULL)) {
            g_ptr_array_add(roots, bus);
        }
    }
    for (guint i = 0; i < obj->children->len; i++) {
        pci_find_other_roots(g_ptr_array_index(obj->children, i), roots);
    }
}

/* Of PciBus *: the machine's own first. */
static GPtrArray *pci_roots(Machine *m)
{
    GPtrArray *roots = g_ptr_array_new();

    if (m->pci_bus) {
        g_ptr_array_add(roots, m->pci_bus);
    }
    pci_find_other_roots(&m->obj, roots);
    return roots;
}

struct json_object *qmp_query_pci(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = json_object_new_array();
    g_autoptr(GPtrArray) roots = pci_roots(m);

    for (guint i = 0; i < roots->len; i++) {
        PciBus *bus = g_ptr_array_index(roots, i);
        struct json_object *entry = json_object_new_object();

        json_object_object_add(entry, "bus", json_object_new_int(bus->number));
        json_object_object_add(entry, "devices", pci_devices_json(bus));
        json_object_array_add(list, entry);
    }
    return list;
}

/* --- text --- */

static void pci_print_bar(const PciBar *bar, int n, GString *out)
{
    g_string_append_printf(out, "      BAR%d: ", n);
    if (pci_bar_is_io(bar)) {
        g_string_append(out, "I/O");
    } else {
        g_string_append_printf(out, "%d bit%s memory", pci_bar_is_64(bar) ? 64 : 32,
                               pci_bar_is_prefetch(bar) ? " prefetchable" : "");
    }
    if (bar->address == PCI_BAR_UNMAPPED) {
        g_string_append_printf(out, ", 0x%" PRIx64 " bytes, not mapped.\n", bar->size);
    } else {
        g_string_append_printf(out, " at 0x%08" PRIx64 " [0x%08" PRIx64 "].\n", bar->address,
                               bar->address + (bar->size - 1));
    }
}

static void pci_print_bus(PciBus *bus, GString *out);

static void pci_print_device(PciDevice *dev, GString *out)
{
    uint8_t base = dev->config[PCI_CLASS_DEVICE + 1], sub = dev->config[PCI_CLASS_DEVICE];
    const char *text = pci_class_text(base, sub);
    PciBus *behind = pci_bus_behind(dev);

    g_string_append_printf(out, "  Bus %2d, device %3d, function %d:\n    ", dev->bus->number,
                           PCI_SLOT(dev->devfn), PCI_FUNC(dev->devfn));
    if (text) {
        g_string_append(out, text);
    } else {
        g_string_append_printf(out, "Class %04x", base << 8 | sub);
    }
    g_string_append_printf(out, ": PCI device %04x:%04x\n", pci_get16(dev->config + PCI_VENDOR_ID),
                           pci_get16(dev->config + PCI_DEVICE_ID));
    if (!behind) {
        g_string_append_printf(out, "      PCI subsystem %04x:%04x\n",
                               pci_get16(dev->config + PCI_SUBSYSTEM_VENDOR_ID),
                               pci_get16(dev->config + PCI_SUBSYSTEM_ID));
    }
    if (dev->config[PCI_INTERRUPT_PIN]) {
        g_string_append_printf(out, "      IRQ %d, pin %c\n", dev->config[PCI_INTERRUPT_LINE],
                               'A' + dev->config[PCI_INTERRUPT_PIN] - 1);
    }
    for (int i = 0; i < PCI_REGION_COUNT; i++) {
        if (dev->bars[i].size) {
            pci_print_bar(&dev->bars[i], i, out);
        }
    }
    g_string_append_printf(out, "      id \"%s\"\n", dev->dev.obj.id);
    if (behind) {
        pci_print_bus(behind, out);
    }
}

static void pci_print_bus(PciBus *bus, GString *out)
{
    for (int devfn = 0; devfn < 256; devfn++) {
        if (bus->devices[devfn]) {
            pci_print_device(bus->devices[devfn], out);
        }
    }
}

static void hmp_info_pci(Machine *m, const char *args, GString *out)
{
    g_autoptr(GPtrArray) roots = pci_roots(m);

    for (guint i = 0; i < roots->len; i++) {
        pci_print_bus(g_ptr_array_index(roots, i), out);
    }
    if (!out->len) {
        g_string_append(out, "no PCI devices\n");
    }
}

const HmpCommand hmp_pci_table[] = {
    {.name = "info pci", .args = "", .doc = "PCI functions, their identity and BARs", .run = hmp_info_pci},
    {.name = NULL},
};
