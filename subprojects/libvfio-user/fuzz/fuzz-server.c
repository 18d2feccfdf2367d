/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target for whole sessions: after VERSION the input is cut into messages (command, flags, fds and length from
 * four bytes each, then the payload) and sent to a context with everything set up; each is served before the next.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "libvfio-user.h"
#include "wire/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ssize_t access_region(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    if (offset < 0 || (uint64_t)offset + count > 4096) {
        abort();
    }
    memset(buf, 0, count);
    return (ssize_t)count;
}

static void on_dma(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
}

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    return 0;
}

static ssize_t read_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    memset(buf, 1, count);
    return (ssize_t)count;
}

static ssize_t write_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    return (ssize_t)count;
}

static vfu_ctx_t *make_device(int fd)
{
    const vfu_migration_callbacks_t migration = { VFU_MIGR_CALLBACKS_VERS, on_transition, read_data, write_data };
    vfu_ctx_t *ctx = vfu_create_ctx_fd(fd, LIBVFIO_USER_FLAG_ATTACH_NB, NULL, VFU_DEV_TYPE_PCI);
    struct pmcap pm = { .hdr.id = PCI_CAP_ID_PM };
    struct msicap msi = { .hdr.id = PCI_CAP_ID_MSI, .mc.c64 = 1 };
    struct msixcap msix = { .hdr.id = PCI_CAP_ID_MSIX };
    struct pxcap px = { .hdr.id = PCI_CAP_ID_EXP, .pxdcap.flrc = 1 };
    struct dsncap dsn = { .hdr.id = PCI_EXT_CAP_ID_DSN };

    vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0);
    vfu_pci_add_capability(ctx, 0, 0, &pm);
    vfu_pci_add_capability(ctx, 0, 0, &msi);
    vfu_pci_add_capability(ctx, 0, 0, &msix);
    vfu_pci_add_capability(ctx, 0, 0, &px);
    vfu_pci_add_capability(ctx, 0, VFU_CAP_FLAG_EXTENDED, &dsn);
    vfu_setup_region(ctx, 0, 4096, access_region, VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM, NULL, 0, -1, 0);
    vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, 32);
    vfu_setup_device_dma(ctx, 64, on_dma, on_dma);
    vfu_setup_device_migration_callbacks(ctx, &migration);
    vfu_realize_ctx(ctx);
    return ctx;
}

static void send_version(WireStream *s)
{
    uint8_t body[WIRE_VERSION_SIZE] = { 0 };
    struct iovec iov = { body, sizeof(body) };
    WireHeader h = { .command = WIRE_VERSION };

    wire_stream_send(s, &h, &iov, 1, NULL, 0, 0);
}

static void drain(WireStream *s)
{
    WireMessage m;

    while (wire_stream_receive(s, &m, 0) == 0) {
        wire_message_clear(&m);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int pair[2], file = memfd_create("fuzz", MFD_CLOEXEC), fds[4];
    vfu_ctx_t *ctx;
    WireStream *s;

    if (file < 0 || ftruncate(file, 1 << 16) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        abort();
    }
    ctx = make_device(pair[0]);
    s = wire_stream_new(pair[1], WIRE_MAX_MESSAGE, 1u << 20);
    for (int i = 0; i < 4; i++) {
        fds[i] = file;
    }
    send_version(s);
    vfu_attach_ctx(ctx);
    while (size >= 4) {
        size_t len = data[3] < size - 4 ? data[3] : size - 4;
        WireHeader h = { .command = data[0], .flags = data[1] & 0x3f };
        struct iovec iov = { (void *)(data + 4), len };

        if (wire_stream_send(s, &h, &iov, 1, fds, data[2] % 5, 0) || (vfu_run_ctx(ctx) < 0)) {
            break;
        }
        drain(s);
        data += 4 + len;
        size -= 4 + len;
    }
    wire_stream_free(s);
    vfu_run_ctx(ctx);
    vfu_destroy_ctx(ctx);
    close(file);
    return 0;
}
