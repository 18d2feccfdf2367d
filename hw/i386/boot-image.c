/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What loaders of kernels have in common: files, numbers, memory types (Intel SDM volume 3, 12.11: MTRRs). */
#include "boot-image.h"

#define IMAGE_MAX (1ull << 30)

#define MTRR_DEF_WB_ENABLED 0x806
#define MTRR_4G             0x100000000ull
#define MTRR_MASK_BITS      0xffffffffffull /* 40 address bits */
#define MTRR_MASK_VALID     0x800

uint64_t boot_get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++) {
        v |= (uint64_t)p[i] << (8 * i);
    }
    return v;
}

void boot_put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

GMappedFile *boot_file_open(const char *option, const char *path, GError **error)
{
    if (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        error_set(error, "%s: no such file (%s)", option, path);
        return NULL;
    }
    if (!g_file_test(path, G_FILE_TEST_IS_REGULAR)) {
        error_set(error, "%s: not a regular file (%s)", option, path);
        return NULL;
    }
    GError *cause = NULL;
    GMappedFile *file = g_mapped_file_new(path, FALSE, &cause);
    if (!file) {
        error_set(error, "%s: cannot read %s: %s", option, path, cause->message);
        g_clear_error(&cause);
        return NULL;
    }
    if (g_mapped_file_get_length(file) == 0 || g_mapped_file_get_length(file) > IMAGE_MAX) {
        error_set(error, "%s: bad size of %s (%zu bytes, allowed 1..%llu)", option, path,
                  (size_t)g_mapped_file_get_length(file), IMAGE_MAX);
        g_mapped_file_unref(file);
        return NULL;
    }
    return file;
}

void boot_set_memory_types(X86CpuState *s, uint64_t uncached)
{
    s->mtrr_def_type = MTRR_DEF_WB_ENABLED;
    s->mtrr_var[0] = uncached;
    s->mtrr_var[1] = (MTRR_MASK_BITS & ~(MTRR_4G - uncached - 1)) | MTRR_MASK_VALID;
}
