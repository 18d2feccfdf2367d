/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order of boot devices for firmware: paths in the form of Open Firmware device names (IEEE 1275, PCI bus binding
 * 2.2.1), one a line.  SeaBIOS compares bus and unit address and takes any name.  A kernel's option ROM comes first.
 */
#include <string.h>

#include "hw/pci/pci.h"
#include "pc-firmware.h"

#define BOOT_ROOT "/pci@i0cf8"

/* Names of the classes that boot. */
static const struct {
    uint16_t class_code;
    const char *name;
} boot_class_names[] = {
    {0x0100, "scsi"}, {0x0101, "ide"}, {0x0200, "ethernet"}, {0x0300, "display"}, {0x0604, "pci-bridge"},
};

static void boot_path_node(GString *path, const PciDevice *dev)
{
    uint16_t class_code = pci_get16(dev->config + PCI_CLASS_DEVICE);
    const char *name = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(boot_class_names); i++) {
        if (boot_class_names[i].class_code == class_code) {
            name = boot_class_names[i].name;
        }
    }
    if (name) {
        g_string_append_printf(path, "/%s", name);
    } else {
        g_string_append_printf(path, "/pci%x,%x", pci_get16(dev->config + PCI_VENDOR_ID),
                               pci_get16(dev->config + PCI_DEVICE_ID));
    }
    g_string_append_printf(path, "@%x", PCI_SLOT(dev->devfn));
    if (PCI_FUNC(dev->devfn)) {
        g_string_append_printf(path, ",%x", PCI_FUNC(dev->devfn));
    }
}

static void boot_path(GString *path, const PciDevice *dev)
{
    if (dev->bus->parent) {
        boot_path(path, dev->bus->parent);
    } else {
        g_string_append(path, BOOT_ROOT);
    }
    boot_path_node(path, dev);
}

static void boot_collect(Device *dev, void *opaque)
{
    const Model *model = dev->obj.model;
    bool below = model->kind == MODEL_DEVICE && ((const DeviceModel *)model)->boot_path && dev->upstream &&
                 dev->upstream->obj.model->kind == MODEL_PCI;
    if ((model->kind == MODEL_PCI || below) && device_bootindex(dev) >= 0) {
        g_ptr_array_add(opaque, dev);
    }
}

static void boot_append(GString *text, const Device *dev)
{
    const Model *model = dev->obj.model;
    if (model->kind == MODEL_PCI) {
        boot_path(text, (const PciDevice *)dev);
    } else {
        g_autofree char *rest = ((const DeviceModel *)model)->boot_path(dev);
        boot_path(text, (const PciDevice *)dev->upstream);
        g_string_append(text, rest);
    }
    g_string_append_c(text, '\n');
}

static int boot_compare(gconstpointer a, gconstpointer b)
{
    return device_bootindex(*(const Device *const *)a) - device_bootindex(*(const Device *const *)b);
}

char *pc_boot_order(Machine *m)
{
    g_autoptr(GPtrArray) devices = g_ptr_array_new();
    GString *text = g_string_new(NULL);
    machine_each_device(m, boot_collect, devices);
    g_ptr_array_sort(devices, boot_compare);
    if (m->boot.kernel) {
        g_string_append_printf(text, "/rom@%s\n", elf_boot_is(m->boot.kernel) ? PC_ELF_KERNEL_ROM : PC_KERNEL_ROM);
    }
    for (guint i = 0; i < devices->len; i++) {
        boot_append(text, devices->pdata[i]);
    }
    if (m->boot.strict && text->len) { /* alone it would keep firmware from trying anything */
        g_string_append(text, "HALT\n");
    }
    return g_string_free(text, FALSE);
}
