/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a user of the installed library writes: a device on a connected socket whose client negotiates.  With OLD_FORM the
 * program was written for the older signatures; they differ in ways that one call each tells apart.
 */
#include <errno.h>
#include <libvfio-user.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static int set_up_dma(vfu_ctx_t *ctx)
{
#ifdef OLD_FORM
    /* In the newer form this NULL would be a limit of no regions. */
    return vfu_setup_device_dma(ctx, NULL, NULL);
#else
    return vfu_setup_device_dma(ctx, 16, NULL, NULL);
#endif
}

/* The newer forms judge flags that the older ones do not have. */
static int read_nothing(vfu_ctx_t *ctx)
{
    char sg[40] = { 0 }, data[8];
    int result;

#ifdef OLD_FORM
    result = vfu_sgl_read(ctx, (dma_sg_t *)sg, 2, data) + vfu_sgl_write(ctx, (dma_sg_t *)sg, 2, data);
#else
    result = vfu_sgl_read(ctx, (dma_sg_t *)sg, 2, data, 0) + vfu_sgl_write(ctx, (dma_sg_t *)sg, 2, data, 0);
#endif
    return result == -2 && errno == ENOTSUP ? 0 : -1;
}

int main(void)
{
    const struct {
        struct vfio_user_header h;
        struct vfio_user_version v;
    } hello = { .h = { .cmd = VFIO_USER_VERSION, .msg_size = 20 } };
    char answer[512];
    int pair[2];
    vfu_ctx_t *ctx;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || write(pair[1], &hello, 20) != 20) {
        return 2;
    }
    ctx = vfu_create_ctx_fd(pair[0], LIBVFIO_USER_FLAG_ATTACH_NB, NULL, VFU_DEV_TYPE_PCI);
    if (ctx == NULL || vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0) < 0 ||
        set_up_dma(ctx) < 0 || read_nothing(ctx) < 0 || vfu_realize_ctx(ctx) < 0 || vfu_attach_ctx(ctx) < 0) {
        perror("set-up");
        return 3;
    }
    if (read(pair[1], answer, sizeof(answer)) <= 20) {
        return 4;
    }
    vfu_destroy_ctx(ctx);
    puts("attached");
    return 0;
}
