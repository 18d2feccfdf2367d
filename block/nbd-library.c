/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loads libnbd and finds its functions. */
#include "block/nbd-library.h"

#include <dlfcn.h>
#include <stddef.h>

#include "core/error.h"

#define NBD_LIBRARY "libnbd.so.0"

#define NBD_FUNCTION(name) {"nbd_" #name, offsetof(NbdLibrary, name)},
static const struct {
    const char *name;
    size_t at;
} functions[] = {NBD_FUNCTIONS(NBD_FUNCTION)};

static bool library_load(NbdLibrary *lib, GError **error)
{
    void *handle = dlopen(NBD_LIBRARY, RTLD_NOW | RTLD_LOCAL);

    if (!handle) {
        error_set(error, "nbd: cannot load the library: %s; install libnbd", dlerror());
        return false;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(functions); i++) {
        void *function = dlsym(handle, functions[i].name);

        if (!function) {
            error_set(error, "nbd: the library has no %s; install libnbd 1.14 or newer", functions[i].name);
            dlclose(handle);
            return false;
        }
        *(void **)(void *)((char *)lib + functions[i].at) = function;
    }
    return true;
}

const NbdLibrary *nbd_library_get(GError **error)
{
    static GMutex lock;
    static NbdLibrary lib;
    static bool loaded;

    g_mutex_lock(&lock);
    loaded = loaded || library_load(&lib, error);
    g_mutex_unlock(&lock);
    return loaded ? &lib : NULL;
}
