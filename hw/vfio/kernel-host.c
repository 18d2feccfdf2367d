/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A PCI device of the host as sysfs shows it (Linux documentation: ABI/testing/sysfs-bus-pci, vfio.rst): its
 * driver, its IOMMU group and the group's other devices; and what to do when VFIO does not have it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"
#include "kernel.h"

/* The last component of what a symbolic link in sysfs points to, or NULL; g_free. */
static char *link_name(const VfioSys *sys, const char *dir, const char *link)
{
    g_autofree char *path = g_strconcat(sys->root, dir, "/", link, NULL);
    g_autofree char *target = g_file_read_link(path, NULL);

    return target ? g_path_get_basename(target) : NULL;
}

static bool is_there(const VfioSys *sys, const char *path)
{
    g_autofree char *full = g_strconcat(sys->root, path, NULL);

    return g_file_test(full, G_FILE_TEST_EXISTS);
}

/* The first entry of the device's vfio-dev directory: the name of its character device. */
static char *find_cdev(const VfioSys *sys, const char *path)
{
    g_autofree char *dir_name = g_strconcat(sys->root, path, "/vfio-dev", NULL);
    GDir *dir = g_dir_open(dir_name, 0, NULL);
    char *name = NULL;

    if (dir) {
        name = g_strdup(g_dir_read_name(dir));
        g_dir_close(dir);
    }
    return name;
}

/* "[DOMAIN:]BUS:SLOT.FUNCTION" in hex to the full form; NULL when it is none. */
static char *full_address(const char *text)
{
    unsigned domain = 0, bus, slot, function;
    int used = 0;

    if (sscanf(text, "%8x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &used) != 4 || text[used]) {
        domain = 0;
        used = 0;
        if (sscanf(text, "%2x:%2x.%1x%n", &bus, &slot, &function, &used) != 3 || text[used]) {
            return NULL;
        }
    }
    return slot > 31 || function > 7 ? NULL
                                     : g_strdup_printf("%04x:%02x:%02x.%x", domain, bus, slot, function);
}

static bool host_path(const VfioSys *sys, const char *host, const char *sysfsdev, VfioHost *out,
                      GError **error)
{
    if (sysfsdev) {
        out->path = g_strdup(sysfsdev);
        out->name = g_path_get_basename(sysfsdev);
        if (!is_there(sys, sysfsdev)) {
            error_set(
                error,
                "vfio-pci: sysfsdev: no such device ('%s'); give a directory below /sys/bus/pci/devices",
                sysfsdev);
            return false;
        }
        return true;
    }
    out->name = full_address(host);
    if (!out->name) {
        error_set(
            error,
            "vfio-pci: host: not the address of a PCI device ('%s', allowed [DOMAIN:]BUS:SLOT.FUNCTION)",
            host);
        return false;
    }
    out->path = g_strconcat("/sys/bus/pci/devices/", out->name, NULL);
    if (!is_there(sys, out->path)) {
        error_set(error, "vfio-pci: host: there is no PCI device %s on this host; `lspci -D` lists them",
                  out->name);
        return false;
    }
    return true;
}

bool vfio_host_find(const VfioSys *sys, const char *host, const char *sysfsdev, VfioHost *out, GError **error)
{
    g_autofree char *group = NULL;

    *out = (VfioHost){.group = -1};
    if (!host_path(sys, host, sysfsdev, out, error)) {
        vfio_host_clear(out);
        return false;
    }
    out->driver = link_name(sys, out->path, "driver");
    out->cdev = find_cdev(sys, out->path);
    group = link_name(sys, out->path, "iommu_group");
    if (group) {
        out->group = (int)g_ascii_strtoll(group, NULL, 10);
    }
    return true;
}

void vfio_host_clear(VfioHost *host)
{
    g_free(host->name);
    g_free(host->path);
    g_free(host->driver);
    g_free(host->cdev);
    *host = (VfioHost){.group = -1};
}

bool vfio_host_check_iommu(const VfioSys *sys, const VfioHost *host, GError **error)
{
    g_autofree char *name = NULL, *path = NULL;

    if (host->group < 0) {
        error_set(
            error,
            "vfio-pci: %s has no IOMMU group: the host's IOMMU is off; switch it on in the firmware and boot "
            "the host with intel_iommu=on or amd_iommu=on",
            host->name);
        return false;
    }
    path = g_strdup_printf("%s/sys/kernel/iommu_groups/%d/name", sys->root, host->group);
    if ((g_file_get_contents(path, &name, NULL, NULL) && g_str_has_prefix(name, "vfio-noiommu")) ||
        (host->cdev && g_str_has_prefix(host->cdev, "noiommu-"))) {
        error_set(
            error,
            "vfio-pci: %s is in no-IOMMU mode (group %d), in which a guest could make it read and write all "
            "of the host's memory; this is refused: boot the host with intel_iommu=on or amd_iommu=on",
            host->name, host->group);
        return false;
    }
    return true;
}

void vfio_host_explain_driver(const VfioHost *host, GError **error)
{
    g_autofree char *driver =
        host->driver ? g_strdup_printf("bound to driver %s", host->driver) : g_strdup("bound to no driver");
    g_autofree char *unbind =
        host->driver ? g_strdup_printf("echo %s > %s/driver/unbind; ", host->name, host->path) : g_strdup("");

    error_set(error,
              "vfio-pci: %s is %s, and VFIO does not have it; bind it to vfio-pci: modprobe vfio-pci; "
              "echo vfio-pci > %s/driver_override; %secho %s > /sys/bus/pci/drivers_probe",
              host->name, driver, host->path, unbind, host->name);
}

/* Drivers that leave a group viable: VFIO's own, and those of bridges, which do no DMA of their own. */
static bool driver_leaves_viable(const char *driver)
{
    static const char *const names[] = {"vfio-pci", "pcieport", "pci-stub", "shpchp"};

    for (unsigned i = 0; driver && i < G_N_ELEMENTS(names); i++) {
        if (!strcmp(driver, names[i])) {
            return true;
        }
    }
    return !driver || strstr(driver, "vfio");
}

/* "0000:00:04.1 (driver e1000), ..."; g_free. */
static char *group_others(const VfioSys *sys, const VfioHost *host)
{
    g_autofree char *devices = g_strdup_printf("/sys/kernel/iommu_groups/%d/devices", host->group);
    g_autofree char *full = g_strconcat(sys->root, devices, NULL);
    GString *text = g_string_new(NULL);
    GDir *dir = g_dir_open(full, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_strconcat(devices, "/", name, NULL);
        g_autofree char *driver = link_name(sys, path, "driver");

        if (strcmp(name, host->name) && !driver_leaves_viable(driver)) {
            g_string_append_printf(text, "%s%s (driver %s)", text->len ? ", " : "", name, driver);
        }
    }
    if (dir) {
        g_dir_close(dir);
    }
    return g_string_free(text, FALSE);
}

void vfio_host_explain_group(const VfioSys *sys, const VfioHost *host, GError **error)
{
    g_autofree char *others = group_others(sys, host);

    error_set(
        error,
        "vfio-pci: %s: group %d is not viable: the host still drives other devices of it (%s); bind each "
        "of them to vfio-pci or to no driver, because the IOMMU cannot tell them apart",
        host->name, host->group, *others ? others : "none that sysfs shows");
}
