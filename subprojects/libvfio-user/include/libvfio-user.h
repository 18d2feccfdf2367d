/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libvfio-user: a PCI device served over a vfio-user socket.
 *
 * A context is one device, on one socket, for one client at a time.  Set it up (regions, interrupts, callbacks), realize
 * it, attach a client, run it; when the client leaves (ENOTCONN), attach the next.  Functions return -1 (or NULL) and set
 * errno unless they say otherwise.
 *
 * Threads: contexts are independent of each other.  All calls for one context come from one thread at a time, and
 * callbacks run on the thread that called vfu_run_ctx(), vfu_attach_ctx(), vfu_device_quiesced() or vfu_destroy_ctx().
 * Exceptions: vfu_irq_trigger(), vfu_addr_to_sgl(), vfu_sgl_get(), vfu_sgl_put() and vfu_sgl_mark_dirty() may be called from
 * any thread, the sgl ones while no DMA region can be unmapped (that is what quiescing is for).
 *
 * VFU_API_COMPAT, defined before inclusion, selects the older forms of vfu_setup_device_dma() (no max_regions),
 * vfu_sgl_read() and vfu_sgl_write() (no flags).
 */
#ifndef LIB_VFIO_USER_H
#define LIB_VFIO_USER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <syslog.h>
#include <unistd.h>

#include "pci_caps/common.h"
#include "pci_caps/dsn.h"
#include "pci_caps/msi.h"
#include "pci_caps/msix.h"
#include "pci_caps/pm.h"
#include "pci_caps/px.h"
#include "pci_defs.h"
#include "vfio-user.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LIBVFIO_USER_MAX_DMA_REGIONS 1000000

typedef void *vfu_dma_addr_t;
typedef struct vfu_ctx vfu_ctx_t;
typedef struct dma_sg dma_sg_t;

typedef enum {
    VFU_TRANS_SOCK,  /* AF_UNIX: path */
    VFU_TRANS_PIPE,  /* standard input and output, one client; path is ignored; no fds */
    VFU_TRANS_TCP,   /* additive: "host:port", "[host]:port", ":port"; no fds */
    VFU_TRANS_VSOCK, /* additive: "cid:port", ":port" for any; no fds */
    VFU_TRANS_MAX
} vfu_trans_t;

typedef enum {
    VFU_DEV_TYPE_PCI
} vfu_dev_type_t;

/* ---- life cycle ---- */

/*
 * Nothing the library does for this context blocks.  vfu_sgl_read() and vfu_sgl_write() by message return with the client's
 * answer and are waits of their caller, whose bound is told there; vfu_sgl_read_async() does not wait.
 */
#define LIBVFIO_USER_FLAG_ATTACH_NB (1 << 0)

/*
 * Creates a context that listens at `path`, whose form depends on the transport; pvt is handed back by vfu_get_private().
 * Where no fds can travel, regions cannot be mapped, memory is accessed by messages, and interrupts have no eventfds.
 * NULL: EINVAL (flags, path NULL or malformed), ENOTSUP (trans, dev_type), EADDRINUSE, EADDRNOTAVAIL, ENAMETOOLONG, other
 * errors of the socket.
 */
vfu_ctx_t *vfu_create_ctx(vfu_trans_t trans, const char *path, int flags, void *pvt, vfu_dev_type_t dev_type);

/*
 * As vfu_create_ctx(), on a stream socket of any family that is handed over: a listening one, or a connected one (then
 * vfu_attach_ctx() serves that client, and after it ENOTCONN for ever).  fd stays the caller's on failure.
 */
vfu_ctx_t *vfu_create_ctx_fd(int fd, int flags, void *pvt, vfu_dev_type_t dev_type);

/* Finishes the set-up; again: no effect.  ENOMEM. */
int vfu_realize_ctx(vfu_ctx_t *vfu_ctx);

/*
 * Accepts a client and negotiates.  With ATTACH_NB: EAGAIN when there is nobody yet or the negotiation is not complete; call again
 * when vfu_get_poll_fd() is readable.  EINVAL: already attached, or the client's VERSION was refused with the errno; the
 * next call takes the next client.
 */
int vfu_attach_ctx(vfu_ctx_t *vfu_ctx);

/*
 * The fd to poll for POLLIN before the next vfu_attach_ctx() or vfu_run_ctx().  With ATTACH_NB it is one fd for the
 * life of the context, readable whenever there is something to do: a connection, a message, room for a queued reply.  Without, it is the
 * listening socket, or the connection once attached.  -1 when there is none.
 */
int vfu_get_poll_fd(vfu_ctx_t *vfu_ctx);

/*
 * Serves requests.  Blocking contexts: until an error or EINTR.  ATTACH_NB: at most one request (and those received
 * together with it), 0 if there was none.  Returns the number served, or -1: ENOTCONN (client gone: attach again), EBUSY
 * (quiesce pending), EINVAL (not realized).
 */
int vfu_run_ctx(vfu_ctx_t *vfu_ctx);

/* Ends everything: DMA regions are unregistered, reset callback with LOST_CONN, socket path removed.  NULL is fine. */
void vfu_destroy_ctx(vfu_ctx_t *vfu_ctx);

/* What vfu_create_ctx() was given. */
void *vfu_get_private(vfu_ctx_t *vfu_ctx);

/* Additive: the poll(2) events to wait for on that fd; with ATTACH_NB always POLLIN. */
short vfu_poll_events(vfu_ctx_t *vfu_ctx);

/*
 * Additive: before it sleeps (or, with ATTACH_NB, before vfu_run_ctx() says that there is nothing) the library looks at
 * the socket for up to max_us microseconds, as long as messages come that fast; so do waits for the answer to a DMA message.
 * A signal during that time does not end vfu_run_ctx() with EINTR.  0, the default: never.  EINVAL: above VFU_POLL_MAX_US.
 */
#define VFU_POLL_MAX_US 10000
int vfu_ctx_set_poll(vfu_ctx_t *vfu_ctx, uint32_t max_us);

/*
 * Additive: up to max replies to requests that wait in the socket already go out together, and with ATTACH_NB one vfu_run_ctx()
 * serves up to max requests.  0 and 1, the default: each reply at once.  EINVAL: above VFU_BATCH_MAX.
 */
#define VFU_BATCH_MAX 256
int vfu_ctx_set_batch(vfu_ctx_t *vfu_ctx, uint32_t max);

/* Additive: what a context has done, summed over all its clients. */
#define VFU_STATS_COMMANDS 19 /* indexed by enum vfio_user_command */
#define VFU_STATS_BUCKETS  32

typedef struct vfu_command_stats {
    uint64_t count;    /* requests served; DMA_READ and DMA_WRITE: sent */
    uint64_t errors;   /* of these, answered with an error */
    uint64_t bytes;    /* of request and reply, headers included */
    uint64_t total_ns; /* from having the request to having sent the reply (DMA: from request to reply); of those timed */
    uint64_t max_ns;
    uint64_t histogram[VFU_STATS_BUCKETS]; /* [i]: took 2^i to 2^(i+1)-1 ns; the last: that or longer */
} vfu_command_stats_t;

typedef struct vfu_ctx_stats {
    uint64_t connections;       /* clients attached */
    uint64_t messages_received; /* VERSION included */
    uint64_t messages_sent;
    uint64_t bytes_received;
    uint64_t bytes_sent;
    uint64_t irqs;              /* signalled */
    vfu_command_stats_t commands[VFU_STATS_COMMANDS];
} vfu_ctx_stats_t;

/*
 * size: sizeof(*stats); what this library does not know reads 0.  Requests are timed from the first call on: who wants
 * total_ns, max_ns and histogram of all of them asks once at the start.  Any thread.  EINVAL: NULL, size 0 or not a multiple of 8.
 */
int vfu_ctx_stats(vfu_ctx_t *vfu_ctx, vfu_ctx_stats_t *stats, size_t size);

/* msg has no newline. */
typedef void(vfu_log_fn_t)(vfu_ctx_t *vfu_ctx, int level, const char *msg);

/* Messages of syslog level `level` and more urgent ones go to log.  EINVAL: level outside 0..7. */
int vfu_setup_log(vfu_ctx_t *vfu_ctx, vfu_log_fn_t *log, int level);

/* Keeps errno. */
void vfu_log(vfu_ctx_t *vfu_ctx, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* ---- regions ---- */

enum {
    VFU_PCI_DEV_BAR0_REGION_IDX,
    VFU_PCI_DEV_BAR1_REGION_IDX,
    VFU_PCI_DEV_BAR2_REGION_IDX,
    VFU_PCI_DEV_BAR3_REGION_IDX,
    VFU_PCI_DEV_BAR4_REGION_IDX,
    VFU_PCI_DEV_BAR5_REGION_IDX,
    VFU_PCI_DEV_ROM_REGION_IDX,
    VFU_PCI_DEV_CFG_REGION_IDX,
    VFU_PCI_DEV_VGA_REGION_IDX,
    VFU_PCI_DEV_NUM_REGIONS,
    VFU_PCI_DEV_MIGR_REGION_IDX = VFU_PCI_DEV_NUM_REGIONS, /* see vfu_setup_device_migration_region() */
};

#define VFU_REGION_FLAG_READ      (1 << 0)
#define VFU_REGION_FLAG_WRITE     (1 << 1)
#define VFU_REGION_FLAG_RW        (VFU_REGION_FLAG_READ | VFU_REGION_FLAG_WRITE)
#define VFU_REGION_FLAG_MEM       (1 << 2) /* otherwise I/O ports */
#define VFU_REGION_FLAG_ALWAYS_CB (1 << 3) /* config space: the callback gets every access */
#define VFU_REGION_FLAG_64_BITS   (1 << 4)
#define VFU_REGION_FLAG_PREFETCH  (1 << 5)
#define VFU_REGION_FLAG_MASK      (VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM | VFU_REGION_FLAG_ALWAYS_CB | \
                                   VFU_REGION_FLAG_64_BITS | VFU_REGION_FLAG_PREFETCH)

/* One access of the client; returns count, or -1 with errno.  buf is the data to write or the room for what is read. */
typedef ssize_t(vfu_region_access_cb_t)(vfu_ctx_t *vfu_ctx, char *buf, size_t count, loff_t offset, bool is_write);

/*
 * Describes a region; size 0 removes it.  fd (the caller's, open as long as the region exists; -1: none) can be mapped by the client at
 * `offset`: all of it, or the nr_mmap_areas areas {offset in region, length}.  BAR sizes are powers of two.  EINVAL, ENOMEM.
 */
int vfu_setup_region(vfu_ctx_t *vfu_ctx, int region_idx, size_t size, vfu_region_access_cb_t *region_access,
                     int flags, struct iovec *mmap_areas, uint32_t nr_mmap_areas, int fd, uint64_t offset);

/*
 * Offers the client an eventfd to signal instead of writing [gpa_offset, +size) of the region; flags are KVM_IOEVENTFD_FLAG_*.  fd -1: no
 * fd.  shadow_fd other than -1: memory in which the written value is left at shadow_offset.  Additive: with
 * VFU_IOEVENTFD_FLAG_IOREGIONFD it is an ioregionfd, the rest of flags are KVM_IOREGION_*, datamatch is its user_data, and there is no
 * shadow.  The fds stay the caller's.  A client over a connection without fds is offered none.  EINVAL, ENOMEM.
 */
#define VFU_IOEVENTFD_FLAG_IOREGIONFD (1u << 31)
int vfu_create_ioeventfd(vfu_ctx_t *vfu_ctx, uint32_t region_idx, int fd, size_t gpa_offset, uint32_t size,
                         uint32_t flags, uint64_t datamatch, int shadow_fd, size_t shadow_offset);

/* ---- interrupts ---- */

enum vfu_dev_irq_type {
    VFU_DEV_INTX_IRQ,
    VFU_DEV_MSI_IRQ,
    VFU_DEV_MSIX_IRQ,
    VFU_DEV_ERR_IRQ,
    VFU_DEV_REQ_IRQ,
    VFU_DEV_NUM_IRQS
};

/* Vectors of a type; takes effect at once before realize and for a client that attaches later.  EINVAL. */
int vfu_setup_device_nr_irqs(vfu_ctx_t *vfu_ctx, enum vfu_dev_irq_type type, uint32_t count);

/* The client masks (or unmasks) vectors start..start+count-1 of the type. */
typedef void(vfu_dev_irq_state_cb_t)(vfu_ctx_t *vfu_ctx, uint32_t start, uint32_t count, bool mask);

/* cb, or NULL for none, is called where requests are served.  EINVAL: type. */
int vfu_setup_irq_state_callback(vfu_ctx_t *vfu_ctx, enum vfu_dev_irq_type type, vfu_dev_irq_state_cb_t *cb);

/*
 * Additive: how vectors of a type are masked.  Without flags (the default) the mask is the device's own business: it is
 * told by its state callback, and triggering signals regardless.  MASKABLE: a masked vector that is triggered stays pending
 * and is signalled when the client unmasks it.  AUTOMASKED (INTx only, includes MASKABLE): signalling masks; the client
 * unmasks when the interrupt was served, by SET_IRQS or with an eventfd it has handed over, and the state callback, which
 * then comes, triggers again if the level is still high.  EINVAL: type, flags; ENOMEM.  Before or after realize.
 */
#define VFU_IRQ_FLAG_MASKABLE   (1 << 0)
#define VFU_IRQ_FLAG_AUTOMASKED (1 << 1)
int vfu_setup_irq_flags(vfu_ctx_t *vfu_ctx, enum vfu_dev_irq_type type, uint32_t flags);

/*
 * Signals vector `subindex` of whichever of MSI-X, MSI and INTx the client has set up, in this order.  EINVAL: no such
 * vector; ENOENT: the client gave no eventfd for it.  Any thread.
 */
int vfu_irq_trigger(vfu_ctx_t *vfu_ctx, uint32_t subindex);

/* Additive: the same for one type (also ERR and REQ). */
int vfu_irq_trigger_type(vfu_ctx_t *vfu_ctx, enum vfu_dev_irq_type type, uint32_t subindex);

/* ---- DMA ---- */

/*
 * Memory behind an fd is mapped.  When a mapping is made the library installs a handler for SIGBUS (unless it is there), which
 * passes on what is not its own: a client that makes its file shorter than what it mapped loses its connection, and
 * the device finds zeroes there, instead of dying.  A program that replaces the handler goes without that until the next mapping.
 */
typedef struct vfu_dma_info {
    struct iovec iova;    /* the range in the device's DMA addresses */
    void *vaddr;          /* where it is mapped here, or NULL */
    struct iovec mapping; /* the whole mapping, page aligned */
    size_t page_size;     /* of the mapping */
    uint32_t prot;        /* PROT_* */
} vfu_dma_info_t;

typedef void(vfu_dma_register_cb_t)(vfu_ctx_t *vfu_ctx, vfu_dma_info_t *info);
typedef void(vfu_dma_unregister_cb_t)(vfu_ctx_t *vfu_ctx, vfu_dma_info_t *info);

/* max_regions: 1..LIBVFIO_USER_MAX_DMA_REGIONS.  Either callback may be NULL.  EINVAL, EEXIST, ENOMEM. */
int vfu_setup_device_dma(vfu_ctx_t *vfu_ctx, size_t max_regions, vfu_dma_register_cb_t *dma_register,
                         vfu_dma_unregister_cb_t *dma_unregister);

/* Bytes of a dma_sg_t: callers that do not know its layout allocate so much for each entry. */
size_t dma_sg_size(void);

/*
 * Splits [dma_addr, +len) into entries, one a region.  Returns their number; -1 with ENOENT (not mapped) or EACCES
 * (PROT_WRITE asked, not allowed); -(n+1) if max_nr_sgs is too small and n are needed.
 */
int vfu_addr_to_sgl(vfu_ctx_t *vfu_ctx, vfu_dma_addr_t dma_addr, size_t len, dma_sg_t *sgl, size_t max_nr_sgs,
                    int prot);

/* Addresses of mapped entries.  EINVAL: an entry without region, flags; EFAULT: not mapped here (use vfu_sgl_read/write). */
int vfu_sgl_get(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, struct iovec *iov, size_t cnt, int flags);

/* Ends the use of what vfu_sgl_get() gave; writeable entries become dirty. */
void vfu_sgl_put(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, struct iovec *iov, size_t cnt);

/* The pages of cnt entries were written through a mapping; counted while the client logs (vfu_ctx_dirty_logging()).  Any thread. */
void vfu_sgl_mark_dirty(vfu_ctx_t *vfu_ctx, dma_sg_t *sgl, size_t cnt);

/*
 * Additive: does the client want to know which pages are written?  Any thread.  It changes while the device is quiet; a device that
 * writes through mappings of its own asks before it goes to the trouble of vfu_sgl_mark_dirty().
 */
bool vfu_ctx_dirty_logging(vfu_ctx_t *vfu_ctx);

/*
 * Additive: the device wanted to reach memory at iova that is not mapped, or not for that.  A client that asked for it in
 * VERSION ("dma_faults") and has a twin socket is told, by a DMA_READ or DMA_WRITE of no bytes, so that an IOMMU of its guest
 * records a fault.  At most 16 that it did not answer yet; further ones are not told.  Any thread; does not wait.
 */
void vfu_dma_refused(vfu_ctx_t *vfu_ctx, uint64_t iova, bool is_write);

/* Whether vfu_sgl_get() works for the entry; otherwise its memory is reached by vfu_sgl_read() and vfu_sgl_write(). */
bool vfu_sg_is_mappable(vfu_ctx_t *vfu_ctx, dma_sg_t *sg);

/* Use the file behind the region, if there is one, instead of messages. */
#define VFU_SGL_DIRECT_ACCESS (1 << 0)

/*
 * Copies an entry's memory to or from data, by messages to the client.  cnt must be 1 (ENOTSUP).  EINVAL: flags or entry; EPERM: write to a
 * read-only entry; ENOTCONN; ETIMEDOUT; EIO: file shorter than the region; or the client's errno.
 *
 * A transfer by messages waits, in contexts of both kinds: its result is the client's answer.  For at most 5 s for an answer, and
 * 5 s for each MiB begun, into however many messages the client's max_data_xfer_size divides it.  After ETIMEDOUT further calls
 * fail with it at once, until the late answer is there.  Commands that the client sends meanwhile are kept for vfu_run_ctx().
 */
int vfu_sgl_read(vfu_ctx_t *vfu_ctx, dma_sg_t *sg, size_t cnt, void *data, int flags);
int vfu_sgl_write(vfu_ctx_t *vfu_ctx, dma_sg_t *sg, size_t cnt, void *data, int flags);

/*
 * Additive, for ATTACH_NB contexts (others: ENOTSUP): the same by messages, without waiting.  0: the request is on its way, data
 * stays the library's until cb was called, exactly once, by vfu_run_ctx(), vfu_device_quiesced() or vfu_destroy_ctx(), with err 0,
 * the client's errno, EINVAL (an answer that is none) or ENOTCONN.  vfu_get_poll_fd() tells when there is something to do.
 * -1: cb is not called; EAGAIN: as many requests as there may be, or another thread waits in vfu_sgl_read(); EPERM, EINVAL,
 * ENOTCONN, ENOBUFS (the client reads nothing), ENOMEM.  A device with requests on their way is not quiet: its quiesce callback
 * says EBUSY until they have ended, which they do while the library waits for vfu_device_quiesced().
 */
typedef void(vfu_sgl_done_cb_t)(vfu_ctx_t *vfu_ctx, void *opaque, int err);
int vfu_sgl_read_async(vfu_ctx_t *vfu_ctx, dma_sg_t *sg, void *data, vfu_sgl_done_cb_t *cb, void *opaque);
int vfu_sgl_write_async(vfu_ctx_t *vfu_ctx, dma_sg_t *sg, const void *data, vfu_sgl_done_cb_t *cb, void *opaque);

/* The older forms, under names of their own. */
int vfu_setup_device_dma_compat(vfu_ctx_t *vfu_ctx, vfu_dma_register_cb_t *dma_register,
                                vfu_dma_unregister_cb_t *dma_unregister);
int vfu_sgl_read_compat(vfu_ctx_t *vfu_ctx, dma_sg_t *sg, size_t cnt, void *data);
int vfu_sgl_write_compat(vfu_ctx_t *vfu_ctx, dma_sg_t *sg, size_t cnt, void *data);
#ifdef VFU_API_COMPAT
#define vfu_setup_device_dma vfu_setup_device_dma_compat
#define vfu_sgl_read vfu_sgl_read_compat
#define vfu_sgl_write vfu_sgl_write_compat
#endif

/* ---- quiesce, reset ---- */

/* Stop using guest memory.  0: stopped; -1 EBUSY: vfu_device_quiesced() will tell; -1 other: the request fails with it. */
typedef int(vfu_device_quiesce_cb_t)(vfu_ctx_t *vfu_ctx);

/* Called before mappings go, resets and state changes; without one (or with NULL) the device is always quiet. */
void vfu_setup_device_quiesce_cb(vfu_ctx_t *vfu_ctx, vfu_device_quiesce_cb_t *quiesce_cb);

/*
 * Ends a pending quiesce: with 0 the waiting request is served inside the call; with an errno it is answered with that.
 * EINVAL: none is pending.  Otherwise as vfu_run_ctx(), with 0 for success.
 */
int vfu_device_quiesced(vfu_ctx_t *vfu_ctx, int quiesce_errno);

typedef enum vfu_reset_type {
    VFU_RESET_DEVICE,
    VFU_RESET_LOST_CONN,
    VFU_RESET_PCI_FLR
} vfu_reset_type_t;

/* 0, or -1 with errno; ignored for LOST_CONN. */
typedef int(vfu_reset_cb_t)(vfu_ctx_t *vfu_ctx, vfu_reset_type_t type);

/* Called once the device is quiet.  Returns 0. */
int vfu_setup_device_reset_cb(vfu_ctx_t *vfu_ctx, vfu_reset_cb_t *reset);

/* ---- migration ---- */

typedef enum {
    VFU_MIGR_STATE_STOP,
    VFU_MIGR_STATE_RUNNING,
    VFU_MIGR_STATE_STOP_AND_COPY,
    VFU_MIGR_STATE_PRE_COPY,
    VFU_MIGR_STATE_RESUME
} vfu_migr_state_t;

#define VFU_MIGR_CALLBACKS_VERS 2

typedef struct {
    int version; /* VFU_MIGR_CALLBACKS_VERS */
    /* One step to a neighbouring state; 0 or -1 with errno. */
    int (*transition)(vfu_ctx_t *vfu_ctx, vfu_migr_state_t state);
    /* At most count bytes of state; 0: no more (now); -1 with errno. */
    ssize_t (*read_data)(vfu_ctx_t *vfu_ctx, void *buf, uint64_t count);
    /* Returns count, or -1 with errno. */
    ssize_t (*write_data)(vfu_ctx_t *vfu_ctx, void *buf, uint64_t count);
} vfu_migration_callbacks_t;

/* EINVAL: version, or a callback that is NULL.  Again: replaces. */
int vfu_setup_device_migration_callbacks(vfu_ctx_t *vfu_ctx, const vfu_migration_callbacks_t *callbacks);

/*
 * Additive: also serves clients that migrate through a region of version 1 (index VFU_PCI_DEV_MIGR_REGION_IDX, type 3, subtype 1)
 * with a data window of data_size bytes, 1 to 1 MiB.  Needs the callbacks; GET_INFO then tells one region more.
 * EINVAL, ENOMEM.
 */
int vfu_setup_device_migration_region(vfu_ctx_t *vfu_ctx, size_t data_size);

/* ---- PCI ---- */

typedef enum {
    VFU_PCI_TYPE_CONVENTIONAL,
    VFU_PCI_TYPE_PCI_X_1,
    VFU_PCI_TYPE_PCI_X_2,
    VFU_PCI_TYPE_EXPRESS
} vfu_pci_type_t;

#define VFU_CAP_FLAG_EXTENDED (1 << 0)
#define VFU_CAP_FLAG_CALLBACK (1 << 1) /* accesses go to the config region's callback */
#define VFU_CAP_FLAG_READONLY (1 << 2)
#define VFU_CAP_FLAG_MASK     (VFU_CAP_FLAG_EXTENDED | VFU_CAP_FLAG_CALLBACK | VFU_CAP_FLAG_READONLY)

/* 256 bytes of config space, 4096 with PCI_X_2 and EXPRESS.  hdr_type 0.  EINVAL; EEXIST: a second time; ENOMEM. */
int vfu_pci_init(vfu_ctx_t *vfu_ctx, vfu_pci_type_t pci_type, int hdr_type, int revision);

/* Need vfu_pci_init() (no effect otherwise). */
void vfu_pci_set_id(vfu_ctx_t *vfu_ctx, uint16_t vid, uint16_t did, uint16_t ssvid, uint16_t ssid);
void vfu_pci_set_class(vfu_ctx_t *vfu_ctx, uint8_t base, uint8_t sub, uint8_t pi);

/* The library's own copy, to edit in place; NULL before vfu_pci_init(). */
vfu_pci_config_space_t *vfu_pci_get_config_space(vfu_ctx_t *vfu_ctx);

/*
 * Adds a capability (data starts with its header) at pos, 0: behind the last one.  Returns its offset.  EINVAL, ENOTSUP
 * (unknown id), ENOSPC.
 */
ssize_t vfu_pci_add_capability(vfu_ctx_t *vfu_ctx, size_t pos, int flags, void *data);

/* Offset of the first capability with id; 0: ENOENT. */
size_t vfu_pci_find_capability(vfu_ctx_t *vfu_ctx, bool extended, int cap_id);

/* The next one behind the capability at pos (0: the first); 0: ENOENT, or EINVAL for a pos that is none. */
size_t vfu_pci_find_next_capability(vfu_ctx_t *vfu_ctx, bool extended, size_t pos, int cap_id);

#ifdef __cplusplus
}
#endif

#endif
