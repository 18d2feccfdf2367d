/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where Debian's packages seabios, ipxe-qemu, ovmf and qemu-system-data put what a machine runs before its kernel. */
#include "core/data-file.h"

#include <string.h>
#include <unistd.h>

static const char *const data_dirs[] = {"/usr/share/seabios", "/usr/lib/ipxe/qemu", "/usr/share/OVMF", "/usr/share/qemu"};

static char *data_file_in(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    return access(path, R_OK) == 0 ? g_steal_pointer(&path) : NULL;
}

char *data_file_find_in(const GPtrArray *dirs, const char *name)
{
    for (guint i = 0; dirs && i < dirs->len && !strchr(name, '/'); i++) {
        char *path = data_file_in(dirs->pdata[i], name);

        if (path) {
            return path;
        }
    }
    return data_file_find(name);
}

char *data_file_find(const char *name)
{
    if (access(name, R_OK) == 0) {
        return g_strdup(name);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(data_dirs) && !strchr(name, '/'); i++) {
        char *path = data_file_in(data_dirs[i], name);

        if (path) {
            return path;
        }
    }
    return NULL;
}
