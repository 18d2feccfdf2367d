/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device that the python tests talk to: one context for each argument PATH[,OPTION...], all served by one thread that
 * polls (a "blocking" one has a thread of its own).  It has regions of every kind, interrupts, DMA, migration and I/O
 * fds, notes every callback, and is told what to do by lines on standard input; each is answered with one line of JSON.
 * It ends at end of file, so a test that dies leaves nothing behind.
 *
 * Options: nodma, nomigration, alwayscb (config space by callback), maxdma=N, quiesce, blocking.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "libvfio-user.h"

#define DEVICES_MAX  8
#define BAR0_SIZE    4096u
#define BAR1_SIZE    16384u
#define BAR2_SIZE    256u
#define BAR4_SIZE    (1u << 20)
#define ROM_SIZE     2048u
#define STATE_SIZE   10000u
#define NOTES_SIZE   (256u << 10)
#define LINE_SIZE    4096u

typedef struct Device {
    vfu_ctx_t *ctx;
    char path[108];
    bool attached, no_dma, no_migration, always_cb, quiesce, blocking;
    size_t max_dma;
    uint8_t bar0[BAR0_SIZE], bar1[BAR1_SIZE], config[4096];
    int bar_fd, io_fds[3];
    uint8_t state[STATE_SIZE];
    size_t state_at, state_end;
    int quiesce_errno, reset_errno, transition_errno, read_errno, write_errno;
    bool write_short;
    char notes[NOTES_SIZE];
    size_t notes_len;
    int lost;
} Device;

static void note(Device *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(Device *d, const char *format, ...)
{
    va_list args;

    /* What does not fit is not told; tests fetch often enough. */
    if (d->notes_len > NOTES_SIZE - 256) {
        return;
    }
    d->notes_len += (size_t)snprintf(d->notes + d->notes_len, 3, "%s", d->notes_len ? ", " : "");
    va_start(args, format);
    d->notes_len += (size_t)vsnprintf(d->notes + d->notes_len, 250, format, args);
    va_end(args);
}

static int outcome(int err)
{
    errno = err;
    return err ? -1 : 0;
}

/* ---- regions ---- */

static ssize_t memory_access(uint8_t *memory, char *buf, size_t count, loff_t offset, bool is_write)
{
    memcpy(is_write ? (char *)memory + offset : buf, is_write ? buf : (char *)memory + offset, count);
    return (ssize_t)count;
}

static ssize_t bar0_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    Device *d = vfu_get_private(ctx);

    return memory_access(d->bar0, buf, count, offset, is_write);
}

static ssize_t bar1_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    Device *d = vfu_get_private(ctx);

    note(d, "[\"bar1\", %jd, %zu, %d]", (intmax_t)offset, count, is_write);
    return memory_access(d->bar1, buf, count, offset, is_write);
}

/* The port at offset N fails with errno N; port 0 does one byte less than asked, port 200 fails without an errno. */
static ssize_t bar2_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    if (offset == 0) {
        return (ssize_t)count - 1;
    }
    errno = offset == 200 ? 0 : (int)offset;
    return -1;
}

static ssize_t rom_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    if (!is_write) {
        memset(buf, 0x55, count);
    }
    return (ssize_t)count;
}

static ssize_t config_access(vfu_ctx_t *ctx, char *buf, size_t count, loff_t offset, bool is_write)
{
    Device *d = vfu_get_private(ctx);

    note(d, "[\"config\", %jd, %zu, %d]", (intmax_t)offset, count, is_write);
    return memory_access(d->config, buf, count, offset, is_write);
}

/* ---- the other callbacks ---- */

static void dma_register(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    note(vfu_get_private(ctx), "[\"map\", %" PRIuPTR ", %zu, %d, %u, %zu]", (uintptr_t)info->iova.iov_base,
         info->iova.iov_len, info->vaddr != NULL, info->prot, info->page_size);
}

static void dma_unregister(vfu_ctx_t *ctx, vfu_dma_info_t *info)
{
    note(vfu_get_private(ctx), "[\"unmap\", %" PRIuPTR ", %zu]", (uintptr_t)info->iova.iov_base, info->iova.iov_len);
}

static void msix_state(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    note(vfu_get_private(ctx), "[\"msix\", %u, %u, %d]", start, count, mask);
}

static void intx_state(vfu_ctx_t *ctx, uint32_t start, uint32_t count, bool mask)
{
    note(vfu_get_private(ctx), "[\"intx\", %u, %u, %d]", start, count, mask);
}

static int on_quiesce(vfu_ctx_t *ctx)
{
    Device *d = vfu_get_private(ctx);

    note(d, "[\"quiesce\"]");
    return outcome(d->quiesce_errno);
}

static int on_reset(vfu_ctx_t *ctx, vfu_reset_type_t type)
{
    Device *d = vfu_get_private(ctx);

    note(d, "[\"reset\", %d]", type);
    return outcome(d->reset_errno);
}

static int on_transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    Device *d = vfu_get_private(ctx);

    note(d, "[\"state\", %d]", state);
    if (d->transition_errno) {
        return outcome(d->transition_errno);
    }
    if (state == VFU_MIGR_STATE_RESUME) {
        d->state_end = 0;
    } else if (state == VFU_MIGR_STATE_PRE_COPY || state == VFU_MIGR_STATE_STOP_AND_COPY) {
        d->state_at = 0;
    }
    return 0;
}

static ssize_t read_state(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    Device *d = vfu_get_private(ctx);
    size_t n = d->state_end - d->state_at < count ? d->state_end - d->state_at : count;

    if (d->read_errno) {
        return outcome(d->read_errno);
    }
    memcpy(buf, d->state + d->state_at, n);
    d->state_at += n;
    return (ssize_t)n;
}

static ssize_t write_state(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    Device *d = vfu_get_private(ctx);

    if (d->write_errno) {
        return outcome(d->write_errno);
    }
    if (count > STATE_SIZE - d->state_end) {
        return outcome(ENOSPC);
    }
    memcpy(d->state + d->state_end, buf, count);
    d->state_end += count;
    return (ssize_t)count - d->write_short;
}

/* ---- set-up ---- */

static void must(bool ok, const char *what)
{
    if (!ok) {
        perror(what);
        exit(1);
    }
}

static void setup_pci(Device *d)
{
    struct pmcap pm = { .hdr.id = PCI_CAP_ID_PM, .pmcs.nsfrst = 1 };
    struct msicap msi = { .hdr.id = PCI_CAP_ID_MSI, .mc = { .c64 = 1, .mmc = 2 } };
    struct msixcap msix = { .hdr.id = PCI_CAP_ID_MSIX, .mxc.ts = 7 };
    struct pxcap px = { .hdr.id = PCI_CAP_ID_EXP, .pxcaps.ver = 2, .pxdcap.flrc = 1 };
    uint8_t vendor[8] = { PCI_CAP_ID_VNDR, 0, sizeof(vendor) };
    struct dsncap dsn = { .hdr.id = PCI_EXT_CAP_ID_DSN, .sn_lo = 0x11223344, .sn_hi = 0x55667788 };
    vfu_ctx_t *ctx = d->ctx;

    must(vfu_pci_init(ctx, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 7) == 0, "vfu_pci_init");
    vfu_pci_set_id(ctx, 0x1234, 0x5678, 0x9abc, 0xdef0);
    vfu_pci_set_class(ctx, 1, 8, 2);
    must(vfu_pci_add_capability(ctx, 0, 0, &pm) == 0x40, "PM");
    must(vfu_pci_add_capability(ctx, 0, 0, &msi) == 0x48, "MSI");
    must(vfu_pci_add_capability(ctx, 0, 0, &msix) == 0x60, "MSI-X");
    must(vfu_pci_add_capability(ctx, 0, 0, &px) == 0x6c, "PCIe");
    must(vfu_pci_add_capability(ctx, 0, 0, vendor) == 0xa8, "vendor");
    must(vfu_pci_add_capability(ctx, 0, VFU_CAP_FLAG_READONLY, vendor) == 0xb0, "read-only vendor");
    must(vfu_pci_add_capability(ctx, 0, VFU_CAP_FLAG_EXTENDED, &dsn) == 0x100, "DSN");
    if (d->always_cb) {
        memcpy(d->config, vfu_pci_get_config_space(ctx), sizeof(d->config));
        must(vfu_setup_region(ctx, VFU_PCI_DEV_CFG_REGION_IDX, 4096, config_access, VFU_REGION_FLAG_RW |
                              VFU_REGION_FLAG_ALWAYS_CB, NULL, 0, -1, 0) == 0, "config");
    }
}

static void setup_regions(Device *d)
{
    struct iovec areas[2] = { { NULL, 4096 }, { (void *)8192, 4096 } };
    const int memory = VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM;
    vfu_ctx_t *ctx = d->ctx;

    d->bar_fd = memfd_create("bar", MFD_CLOEXEC);
    must(d->bar_fd >= 0 && ftruncate(d->bar_fd, 8192 + BAR4_SIZE) == 0, "memfd");
    must(vfu_setup_region(ctx, 0, BAR0_SIZE, bar0_access, memory, NULL, 0, -1, 0) == 0, "BAR0");
    must(vfu_setup_region(ctx, 1, BAR1_SIZE, bar1_access, memory, areas, 2, d->bar_fd, 0) == 0, "BAR1");
    must(vfu_setup_region(ctx, 2, BAR2_SIZE, bar2_access, VFU_REGION_FLAG_RW, NULL, 0, -1, 0) == 0, "BAR2");
    must(vfu_setup_region(ctx, 3, 4096, NULL, memory, NULL, 0, -1, 0) == 0, "BAR3");
    must(vfu_setup_region(ctx, 4, BAR4_SIZE, NULL, memory | VFU_REGION_FLAG_64_BITS | VFU_REGION_FLAG_PREFETCH, NULL, 0,
                          d->bar_fd, 8192) == 0, "BAR4");
    must(vfu_setup_region(ctx, VFU_PCI_DEV_ROM_REGION_IDX, ROM_SIZE, rom_access, VFU_REGION_FLAG_READ |
                          VFU_REGION_FLAG_MEM, NULL, 0, -1, 0) == 0, "ROM");
    for (int i = 0; i < 3; i++) {
        d->io_fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    must(vfu_create_ioeventfd(ctx, 0, d->io_fds[0], 0x10, 4, 0, 0, -1, 0) == 0, "ioeventfd");
    must(vfu_create_ioeventfd(ctx, 0, d->io_fds[1], 0x20, 8, 1, 0x1122334455667788, -1, 0) == 0, "ioeventfd");
    must(vfu_create_ioeventfd(ctx, 0, d->io_fds[0], 0x30, 0, 0, 0, -1, 0) == 0, "ioeventfd");
    must(vfu_create_ioeventfd(ctx, 0, -1, 0x40, 2, 0, 0, -1, 0) == 0, "ioeventfd");
}

static void device_open(Device *d)
{
    const vfu_migration_callbacks_t migration = { VFU_MIGR_CALLBACKS_VERS, on_transition, read_state, write_state };
    vfu_ctx_t *ctx = vfu_create_ctx(VFU_TRANS_SOCK, d->path, d->blocking ? 0 : LIBVFIO_USER_FLAG_ATTACH_NB, d,
                                    VFU_DEV_TYPE_PCI);

    must(ctx != NULL, d->path);
    d->ctx = ctx;
    setup_pci(d);
    setup_regions(d);
    must(vfu_setup_device_reset_cb(ctx, on_reset) == 0, "reset");
    must(vfu_setup_device_nr_irqs(ctx, VFU_DEV_INTX_IRQ, 1) == 0, "INTx");
    must(vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSI_IRQ, 4) == 0, "MSI");
    must(vfu_setup_device_nr_irqs(ctx, VFU_DEV_MSIX_IRQ, 8) == 0, "MSI-X");
    must(vfu_setup_irq_state_callback(ctx, VFU_DEV_MSIX_IRQ, msix_state) == 0, "MSI-X state");
    must(vfu_setup_irq_state_callback(ctx, VFU_DEV_INTX_IRQ, intx_state) == 0, "INTx state");
    if (!d->no_dma) {
        must(vfu_setup_device_dma(ctx, d->max_dma, dma_register, dma_unregister) == 0, "DMA");
    }
    if (!d->no_migration) {
        must(vfu_setup_device_migration_callbacks(ctx, &migration) == 0, "migration");
    }
    if (d->quiesce) {
        vfu_setup_device_quiesce_cb(ctx, on_quiesce);
    }
    for (size_t i = 0; i < STATE_SIZE; i++) {
        d->state[i] = (uint8_t)(i * 7);
    }
    d->state_end = STATE_SIZE;
    must(vfu_realize_ctx(ctx) == 0, "vfu_realize_ctx");
}

static void device_close(Device *d)
{
    vfu_destroy_ctx(d->ctx);
    close(d->bar_fd);
    for (int i = 0; i < 3; i++) {
        close(d->io_fds[i]);
    }
}

static void device_parse(Device *d, char *text)
{
    char *save, *word = strtok_r(text, ",", &save);

    snprintf(d->path, sizeof(d->path), "%s", word);
    d->max_dma = 100000;
    while ((word = strtok_r(NULL, ",", &save))) {
        d->no_dma |= strcmp(word, "nodma") == 0;
        d->no_migration |= strcmp(word, "nomigration") == 0;
        d->always_cb |= strcmp(word, "alwayscb") == 0;
        d->quiesce |= strcmp(word, "quiesce") == 0;
        d->blocking |= strcmp(word, "blocking") == 0;
        if (strncmp(word, "maxdma=", 7) == 0) {
            d->max_dma = strtoul(word + 7, NULL, 0);
        }
    }
}

static void device_run(Device *d)
{
    if (!d->attached) {
        d->attached = vfu_attach_ctx(d->ctx) == 0;
        if (!d->attached && errno != EAGAIN && errno != EWOULDBLOCK) {
            note(d, "[\"refused\", %d]", errno);
        }
        return;
    }
    if (vfu_run_ctx(d->ctx) < 0 && errno != EBUSY) {
        d->attached = false;
        d->lost++;
    }
}

static void *device_thread(void *opaque)
{
    Device *d = opaque;

    for (;;) {
        device_run(d);
    }
    return NULL;
}

/* ---- what standard input asks for ---- */

static unsigned count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (readdir(dir)) {
        n++;
    }
    closedir(dir);
    return n - 3;
}

/* A copy of length bytes from or to the client: by messages, the file or the mapping. */
static int transfer(Device *d, const char *how, uint64_t address, uint64_t length, unsigned fill, uint64_t *sum)
{
    bool is_write = strstr(how, "write");
    dma_sg_t *sg = calloc(4, dma_sg_size());
    uint8_t *data = malloc(length);
    struct iovec iov;
    int n, result = -1, err;

    memset(data, (int)fill, length);
    n = vfu_addr_to_sgl(d->ctx, (vfu_dma_addr_t)(uintptr_t)address, length, sg, 4, is_write ? PROT_WRITE : PROT_READ);
    if (n != 1) {
        errno = n < 0 ? errno : ENOTSUP;
    } else if (strstr(how, "map")) {
        result = vfu_sgl_get(d->ctx, sg, &iov, 1, 0);
        if (result == 0) {
            memcpy(is_write ? iov.iov_base : data, is_write ? data : iov.iov_base, length);
            vfu_sgl_put(d->ctx, sg, &iov, 1);
        }
    } else if (is_write) {
        result = vfu_sgl_write(d->ctx, sg, 1, data, strstr(how, "direct") ? VFU_SGL_DIRECT_ACCESS : 0);
    } else {
        result = vfu_sgl_read(d->ctx, sg, 1, data, strstr(how, "direct") ? VFU_SGL_DIRECT_ACCESS : 0);
    }
    err = result < 0 ? errno : 0;
    *sum = 0;
    for (uint64_t i = 0; i < length && err == 0; i++) {
        *sum = *sum * 31 + data[i];
    }
    free(data);
    free(sg);
    return err;
}

static void set_failure(Device *d, const char *what, int err)
{
    struct { const char *name; int *value; } table[] = {
        { "quiesce", &d->quiesce_errno }, { "reset", &d->reset_errno }, { "transition", &d->transition_errno },
        { "read", &d->read_errno }, { "write", &d->write_errno },
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strcmp(what, table[i].name) == 0) {
            *table[i].value = err;
        }
    }
    if (strcmp(what, "short") == 0) {
        d->write_short = err;
    }
}

static void obey(Device *devices, char *line)
{
    char verb[32] = "", word[32] = "";
    unsigned index = 0;
    uint64_t a = 0, b = 0, c = 0, sum = 0;
    int n = sscanf(line, "%31s %u %31s %" SCNu64 " %" SCNu64 " %" SCNu64, verb, &index, word, &a, &b, &c), err = 0;
    Device *d = &devices[index < DEVICES_MAX ? index : 0];

    if (n >= 2 && strcmp(verb, "notes") == 0) {
        printf("[%s]\n", d->notes_len ? d->notes : "");
        d->notes_len = 0;
    } else if (strcmp(verb, "usage") == 0) {
        printf("{\"fds\": %u, \"heap\": %zu}\n", count_fds(), mallinfo2().uordblks);
    } else if (n >= 4 && strcmp(verb, "fail") == 0) {
        set_failure(d, word, (int)a);
        printf("0\n");
    } else if (n >= 4 && strcmp(verb, "quiesced") == 0) {
        err = vfu_device_quiesced(d->ctx, (int)a) < 0 ? errno : 0;
        printf("%d\n", err);
    } else if (n >= 4 && strcmp(verb, "irq") == 0) {
        err = strcmp(word, "any") == 0 ? vfu_irq_trigger(d->ctx, (uint32_t)a) :
              vfu_irq_trigger_type(d->ctx, (enum vfu_dev_irq_type)atoi(word), (uint32_t)a);
        printf("%d\n", err < 0 ? errno : 0);
    } else if (n >= 5 && strcmp(verb, "copy") == 0) {
        err = transfer(d, word, a, b, (unsigned)c, &sum);
        printf("{\"errno\": %d, \"sum\": %" PRIu64 "}\n", err, sum);
    } else if (n >= 2 && strcmp(verb, "state") == 0) {
        printf("{\"lost\": %d, \"attached\": %d}\n", d->lost, d->attached);
    } else {
        printf("\"what is %s?\"\n", verb);
    }
    fflush(stdout);
}

/* Takes whole lines out of what came in; false at end of file. */
static bool read_lines(Device *devices)
{
    static char text[LINE_SIZE];
    static size_t have;
    ssize_t n = read(STDIN_FILENO, text + have, sizeof(text) - 1 - have);
    char *end;

    if (n <= 0) {
        return false;
    }
    have += (size_t)n;
    text[have] = '\0';
    while ((end = strchr(text, '\n'))) {
        *end = '\0';
        obey(devices, text);
        have -= (size_t)(end + 1 - text);
        memmove(text, end + 1, have + 1);
    }
    return true;
}

int main(int argc, char **argv)
{
    static Device devices[DEVICES_MAX];
    struct pollfd polled[DEVICES_MAX + 1] = { { .fd = STDIN_FILENO, .events = POLLIN } };
    int count = argc - 1 < DEVICES_MAX ? argc - 1 : DEVICES_MAX;
    bool blocking = false;
    pthread_t thread;

    for (int i = 0; i < count; i++) {
        device_parse(&devices[i], argv[i + 1]);
        device_open(&devices[i]);
        if (devices[i].blocking) {
            blocking = true;
            must(pthread_create(&thread, NULL, device_thread, &devices[i]) == 0, "thread");
        }
    }
    printf("\"ready\"\n");
    fflush(stdout);
    for (;;) {
        for (int i = 0; i < count; i++) {
            polled[i + 1] = (struct pollfd){ .fd = devices[i].blocking ? -1 : vfu_get_poll_fd(devices[i].ctx),
                                             .events = POLLIN };
        }
        if (poll(polled, (nfds_t)count + 1, -1) < 0) {
            continue;
        }
        if (polled[0].revents && !read_lines(devices)) {
            break;
        }
        for (int i = 0; i < count; i++) {
            if (polled[i + 1].revents) {
                device_run(&devices[i]);
            }
        }
    }
    /* A thread that waits for its client can't be told to stop. */
    for (int i = 0; i < count && !blocking; i++) {
        device_close(&devices[i]);
    }
    return 0;
}
