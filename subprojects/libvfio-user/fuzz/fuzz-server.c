/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target for whole sessions with a context that has everything set up.  The first byte chooses how:
 *   MODE_RAW    the rest goes to the socket as it is (else it is cut into messages, see session_messages())
 *   MODE_BEGIN  without a VERSION of ours in front (only with MODE_RAW)
 *   MODE_TWIN   with a twin socket, half of a raw input goes there
 *   MODE_LATER  the device quiesces later, not at once
 *   MODE_BLOCK  a blocking context (only with MODE_RAW: the end of the input ends it)
 *   MODE_BATCH  replies in batches, and vectors that the library masks
 * Writes to BAR 0 behind its middle make the device read and write the client's memory by messages.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "libvfio-user.h"
#include "wire/io.h"

#define MODE_RAW   1
#define MODE_BEGIN 2
#define MODE_TWIN  4
#define MODE_LATER 8
#define MODE_BLOCK 16
#define MODE_BATCH 32

#define BAR_SIZE   4096
#define RUNS_MAX   200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_done(vfu_ctx_t *ctx, void *opaque, int err)
{
    free(opaque);
}

/* Requests that vfu_run_ctx() ends; the fuzzer's data answers them, or nobody does. */
static void device_ask(vfu_ctx_t *ctx, dma_sg_t *sg, size_t size)
{
    uint8_t *in = malloc(size), *out = calloc(1, size);

    if (vfu_sgl_read_async(ctx, sg, in, on_done, in) < 0) {
        free(in);
    }
    if (vfu_sgl_write_async(ctx, sg, out, on_done, out) < 0) {
        free(out);
    }
}

/* What the device is to do with guest memory: the address comes from the written data. */
static void device_dma(vfu_ctx_t *ctx, const char *buf, size_t count)
{
    dma_sg_t *sg = calloc(2, dma_sg_size());
    struct iovec iov[2];
    uint8_t data[64] = { 0 };
    uint64_t address = 0;
    int n;

    memcpy(&address, buf, count < sizeof(address) ? count : sizeof(address));
    n = vfu_addr_to_sgl(ctx, (vfu_dma_addr_t)(uintptr_t)address, sizeof(data), sg, 2, PROT_WRITE);
    if (n == 1) {
        device_ask(ctx, sg, sizeof(data));
        vfu_sgl_read(ctx, sg, 1, data, 0);
        vfu_sgl_write(ctx, sg, 1, data, 0);
        vfu_sgl_write(ctx, sg, 1, data, VFU_SGL_DIRECT_ACCESS);
    }
    if (n > 0 && vfu_sgl_get(ctx, sg, iov, (size_t)n, 0) == 0) {
        vfu_sgl_put(ctx, sg, iov, (size_t)n);
    }
    free(sg);
}

static ssize_t access_region(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    const int *mode = vfu_get_private(ctx);

    if (offset < 0 || (uint64_t)offset + count > BAR_SIZE) {
        abort();
    }
    if (is_write && offset >= BAR_SIZE / 2 && (*mode & MODE_RAW)) {
        device_dma(ctx, buf, count);
    }
    if (!is_write) {
        memset(buf, 0, count);
    }
    vfu_irq_trigger(ctx, (uint32_t)offset);
    return (ssize_t)count;
}

static void on_dma(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    if (info->vaddr && (info->mapping.iov_base > info->vaddr ||
                        (uint8_t *)info->vaddr + info->iova.iov_len >
                            (uint8_t *)info->mapping.iov_base + info->mapping.iov_len)) {
        abort();
    }
}

static void on_irq(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    if (start > 32 || count > 32 - start) {
        abort();
    }
}

static int on_quiesce(vfu_ctx_t *ctx)
{
    const int *mode = vfu_get_private(ctx);

    errno = EBUSY;
    return *mode & MODE_LATER ? -1 : 0;
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    return 0;
}

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    if (state > VFU_MIGR_STATE_RESUME) {
        abort();
    }
    return 0;
}

static ssize_t read_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    memset(buf, 1, count);
    return (ssize_t)(count / 2);
}

static ssize_t write_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    return (ssize_t)count;
}

static void add_capabilities(vfu_ctx_t *ctx)
{
    struct pmcap pm = { .hdr.id = PCI_CAP_ID_PM };
    struct msicap msi = { .hdr.id = PCI_CAP_ID_MSI, .mc.c64 = 1 };
    struct msixcap msix = { .hdr.id = PCI_CAP_ID_MSIX };
    struct pxcap px = { .hdr.id = PCI_CAP_ID_EXP, .pxdcap.flrc = 1 };
    uint8_t vendor[8] = { PCI_CAP_ID_VNDR, 0, sizeof(vendor) };
    struct dsncap dsn = { .hdr.id = PCI_EXT_CAP_ID_DSN };

    vfu_pci_add_capability(ctx, 0, 0, &pm);
    vfu_pci_add_capability(ctx, 0, 0, &msi);
    vfu_pci_add_capability(ctx, 0, 0, &msix);
    vfu_pci_add_capability(ctx, 0, 0, &px);
    vfu_pci_add_capability(ctx, 0, 0, vendor);
    vfu_pci_add_capability(ctx, 0, VFU_CAP_FLAG_EXTENDED, &dsn);
}

static vfu_ctx_t *make_device(int fd, int file, int *mode)
{
    const vfu_migration_callbacks_t migration = { VFU_MIGR_CALLBACKS_VERS, on_transition, read_data, write_data };
    const int memory = VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM;
    struct iovec area = { NULL, 2048 };
    vfu_ctx_t *ctx = vfu_create_ctx_fd(fd, *mode & MODE_BLOCK ? 0 : LIBVFIO_USER_FLAG_ATTACH_NB, mode, VFU_DEV_TYPE_PCI);

    if (ctx == NULL) {
        abort();
    }
    vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0);
    add_capabilities(ctx);
    vfu_setup_region(ctx, 0, BAR_SIZE, access_region, memory, NULL, 0, -1, 0);
    vfu_setup_region(ctx, 1, BAR_SIZE, access_region, memory, &area, 1, file, 0);
    vfu_create_ioeventfd(ctx, 0, file, 16, 4, 0, 0, -1, 0);
    vfu_create_ioeventfd(ctx, 0, -1, 32, 4, 0, 0, -1, 0);
    vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1);
    vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, 32);
    vfu_setup_irq_state_callback(ctx, VFU_DEV_MSIX_IRQ, on_irq);
    vfu_setup_device_reset_cb(ctx, on_reset);
    vfu_setup_device_quiesce_cb(ctx, on_quiesce);
    vfu_setup_device_dma(ctx, 64, on_dma, on_dma);
    vfu_setup_device_migration_callbacks(ctx, &migration);
    if (*mode & MODE_BATCH) {
        vfu_ctx_set_batch(ctx, 16);
        vfu_setup_irq_flags(ctx, VFU_DEV_MSIX_IRQ, VFU_IRQ_FLAG_MASKABLE);
        vfu_setup_irq_flags(ctx, VFU_DEV_INTX_IRQ, VFU_IRQ_FLAG_AUTOMASKED);
    }
    vfu_realize_ctx(ctx);
    return ctx;
}

/* A VERSION that asks for what the mode has. */
static void send_version(int fd, int mode)
{
    static const char json[] = "{\"capabilities\":{\"max_msg_fds\":8,\"twin_socket\":{\"supported\":true}}}";
    uint8_t bytes[WIRE_HEADER_SIZE + WIRE_VERSION_SIZE + sizeof(json)] = { 0 };
    WireHeader h = { .command = WIRE_VERSION, .size = mode & MODE_TWIN ? sizeof(bytes) : 20 };

    wire_header_encode(bytes, &h);
    memcpy(bytes + WIRE_HEADER_SIZE + WIRE_VERSION_SIZE, json, sizeof(json));
    if (send(fd, bytes, h.size, MSG_NOSIGNAL) != (ssize_t)h.size) {
        abort();
    }
}

/* The library's answer to VERSION; the twin socket's fd, or -1. */
static int receive_version(WireStream *s)
{
    WireMessage m;
    int fd = -1;

    if (wire_stream_receive(s, &m, 0) == 0) {
        if (m.fd_count) {
            fd = m.fds[0];
            m.fds[0] = -1;
        }
        wire_message_clear(&m);
    }
    return fd;
}

static void drain(WireStream *s)
{
    WireMessage m;

    while (wire_stream_receive(s, &m, 0) == 0) {
        wire_message_clear(&m);
    }
}

/* A blocking context waits until somebody takes its replies. */
static void *drain_thread(void *opaque)
{
    char buf[65536];

    while (recv(*(int *)opaque, buf, sizeof(buf), 0) > 0) {
    }
    return NULL;
}

/* Runs until the client counts as gone. */
static void run_to_end(vfu_ctx_t *ctx, WireStream *s, int mode)
{
    for (int i = 0; i < RUNS_MAX; i++) {
        if (vfu_run_ctx(ctx) < 0 && vfu_device_quiesced(ctx, i % 3 ? 0 : EIO) < 0) {
            return;
        }
        if (!(mode & MODE_BLOCK)) {
            drain(s);
        }
    }
}

/* Every byte as it is; the socket is at its end behind them, so that nothing waits for the client. */
static void session_raw(vfu_ctx_t *ctx, WireStream *s, int mode, const uint8_t *data, size_t size)
{
    int fd = wire_stream_fd(s), twin = -1;
    size_t ahead = 0;
    pthread_t thread;

    if (!(mode & MODE_BEGIN)) {
        send_version(fd, mode);
        if (vfu_attach_ctx(ctx) < 0) {
            abort();
        }
        twin = receive_version(s);
    }
    if (twin >= 0) {
        ahead = size / 2;
        send(twin, data, ahead, MSG_NOSIGNAL | MSG_DONTWAIT);
        shutdown(twin, SHUT_WR);
    }
    send(fd, data + ahead, size - ahead, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fd, SHUT_WR);
    if (mode & MODE_BLOCK && pthread_create(&thread, NULL, drain_thread, &fd)) {
        abort();
    }
    if (!(mode & MODE_BEGIN) || vfu_attach_ctx(ctx) == 0) {
        run_to_end(ctx, s, mode);
    }
    if (mode & MODE_BLOCK) {
        shutdown(fd, SHUT_RD);
        pthread_join(thread, NULL);
    }
    if (twin >= 0) {
        close(twin);
    }
}

/* Command, flags, number of fds and length from four bytes each, then the payload; each is served before the next. */
static void session_messages(vfu_ctx_t *ctx, WireStream *s, int mode, const uint8_t *data, size_t size, const int *fds)
{
    int twin;

    send_version(wire_stream_fd(s), mode);
    if (vfu_attach_ctx(ctx) < 0) {
        abort();
    }
    twin = receive_version(s);
    while (size >= 4) {
        size_t len = data[3] < size - 4 ? data[3] : size - 4;
        WireHeader h = { .command = data[0], .flags = data[1] & 0x3f };
        struct iovec iov = { (void *)(data + 4), len };

        if (wire_stream_send(s, &h, &iov, 1, fds, data[2] % 5, 0) ||
            (vfu_run_ctx(ctx) < 0 && vfu_device_quiesced(ctx, data[2] & 0x80 ? EIO : 0) < 0)) {
            break;
        }
        drain(s);
        data += 4 + len;
        size -= 4 + len;
    }
    if (twin >= 0) {
        close(twin);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int pair[2], file = memfd_create("fuzz", MFD_CLOEXEC), event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), mode;
    const int fds[4] = { data && size > 1 && data[1] % 2 ? event : file, file, event, file };
    vfu_ctx_t *ctx;
    WireStream *s;

    if (size == 0) {
        close(file);
        close(event);
        return 0;
    }
    mode = data[0];
    if (!(mode & MODE_RAW)) {
        mode &= ~(MODE_BEGIN | MODE_BLOCK);
    }
    if (file < 0 || ftruncate(file, 1 << 16) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        abort();
    }
    ctx = make_device(pair[0], file, &mode);
    s = wire_stream_new(pair[1], WIRE_MAX_MESSAGE, 1u << 20);
    if (mode & MODE_RAW) {
        session_raw(ctx, s, mode, data + 1, size - 1);
    } else {
        session_messages(ctx, s, mode, data + 1, size - 1, fds);
    }
    wire_stream_free(s);
    vfu_run_ctx(ctx);
    vfu_device_quiesced(ctx, 0);
    vfu_destroy_ctx(ctx);
    close(file);
    close(event);
    return 0;
}
