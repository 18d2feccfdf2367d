/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What loaders of kernels have in common.  Context: main loop. */
#ifndef HW_I386_BOOT_IMAGE_H
#define HW_I386_BOOT_IMAGE_H

#include "accel/accel.h"

/* Little-endian numbers of 1 to 8 bytes. */
uint64_t boot_get(const uint8_t *p, unsigned bytes);
void boot_put(uint8_t *p, uint64_t v, unsigned bytes);

/* A regular file of 1 byte to 1 GiB; NULL with *error beginning with `option`. */
GMappedFile *boot_file_open(const char *option, const char *path, GError **error);

/* MTRRs as firmware leaves them: RAM is write-back, what lies from `uncached` to 4 GiB is not cached. */
void boot_set_memory_types(X86CpuState *s, uint64_t uncached);

#endif
