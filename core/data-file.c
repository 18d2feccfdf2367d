/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where Debian's packages seabios, ipxe-qemu, ovmf and qemu-system-data put what a machine runs before its kernel. */
#include "core/data-file.h"

#include <glib.h>
#include <string.h>
#include <unistd.h>

static const char *const data_dirs[] = {"/usr/share/seabios", "/usr/lib/ipxe/qemu", "/usr/share/OVMF", "/usr/share/qemu"};

char *data_file_find(const char *name)
{
    if (access(name, R_OK) == 0) {
        return g_strdup(name);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(data_dirs) && !strchr(name, '/'); i++) {
        g_autofree char *path = g_build_filename(data_dirs[i], name, NULL);

        if (access(path, R_OK) == 0) {
            return g_steal_pointer(&path);
        }
    }
    return NULL;
}
