/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The older forms of three functions for programs that were linked before symbols had versions.  The dynamic linker
 * binds a name without version to the oldest version there is, which is theirs; what is linked today gets the default
 * version, the newer form.  Only in the shared library: an archive has no versions.
 */
#include "private.h"

int compat_setup_device_dma(vfu_ctx_t *ctx, vfu_dma_register_cb_t *dma_register, vfu_dma_unregister_cb_t *dma_unregister);
int compat_sgl_read(vfu_ctx_t *ctx, dma_sg_t *sg, size_t cnt, void *data);
int compat_sgl_write(vfu_ctx_t *ctx, dma_sg_t *sg, size_t cnt, void *data);

__asm__(".symver compat_setup_device_dma, vfu_setup_device_dma@LIBVFIO_USER_0.0");
__asm__(".symver compat_sgl_read, vfu_sgl_read@LIBVFIO_USER_0.0");
__asm__(".symver compat_sgl_write, vfu_sgl_write@LIBVFIO_USER_0.0");

VFU_EXPORT int compat_setup_device_dma(vfu_ctx_t *ctx, vfu_dma_register_cb_t *dma_register,
                                       vfu_dma_unregister_cb_t *dma_unregister)
{
    return vfu_setup_device_dma_compat(ctx, dma_register, dma_unregister);
}

VFU_EXPORT int compat_sgl_read(vfu_ctx_t *ctx, dma_sg_t *sg, size_t cnt, void *data)
{
    return vfu_sgl_read_compat(ctx, sg, cnt, data);
}

VFU_EXPORT int compat_sgl_write(vfu_ctx_t *ctx, dma_sg_t *sg, size_t cnt, void *data)
{
    return vfu_sgl_write_compat(ctx, sg, cnt, data);
}
