/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files and block devices of the host: locks against a second writer (open file description
 * locks), direct I/O alignment, images in formats that are not raw, choice of the engine.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block-opts.h"

static bool type_ok(const BlockOpts *o, GError **error)
{
    struct stat st;

    /* Before open(): opening a FIFO would wait, and a directory gives a poor errno. */
    if (stat(o->filename, &st) < 0) {
        error_set_errno(error, errno, "%s: cannot open", o->where);
        return false;
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        error_set(error, "%s: is %s (allowed regular files and block devices)", o->where,
                  S_ISDIR(st.st_mode) ? "a directory" : "not a disk image");
        return false;
    }
    if (!strcmp(o->driver, "host_device") && !S_ISBLK(st.st_mode)) {
        error_set(error, "%s: is not a block device; use driver=file for a regular file", o->where);
        return false;
    }
    return true;
}

static int open_as(BlockBackend *blk, const BlockOpts *o, int more)
{
    return open(o->filename, (blk->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | more);
}

static bool open_file(BlockBackend *blk, const BlockOpts *o, GError **error)
{
    const int direct = o->direct ? O_DIRECT : 0;
    bool denied;

    blk->fd = open_as(blk, o, direct);
    denied = blk->fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM) && !blk->readonly;
    if (denied && o->auto_read_only) {
        blk->readonly = true;
        denied = false;
        blk->fd = open_as(blk, o, direct);
    }
    if (blk->fd < 0 && errno == EINVAL && direct) {
        error_set(error, "%s: the file system has no direct I/O; use a cache mode without it (cache.direct=off)",
                  o->where);
        return false;
    }
    if (blk->fd < 0) {
        error_set_errno(error, errno, "%s: cannot open%s", o->where,
                        denied ? " for writing (readonly=on would open it for reading)" : "");
        return false;
    }
    if (direct) {
        blk->buffered_fd = open_as(blk, o, 0);
        if (blk->buffered_fd < 0) {
            error_set_errno(error, errno, "%s: cannot open", o->where);
            return false;
        }
    }
    return true;
}

bool block_file_lock(BlockBackend *blk, GError **error)
{
    struct flock lock = {.l_type = blk->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

    if (!blk->locks || fcntl(blk->fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES)) {
        return true; /* a file system without locks is used without */
    }
    error_set(error, "is in use by another drive or process%s; end that one first",
              blk->readonly ? ", which writes to it" : " (a writer needs it alone)");
    return false;
}

void block_file_unlock(BlockBackend *blk)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

    fcntl(blk->fd, F_OFD_SETLK, &lock);
}

/* A disk that comes with a guest from elsewhere is the source's until the guest is here. */
static bool lock_file(BlockBackend *blk, const BlockOpts *o, GError **error)
{
    blk->locks = g_strcmp0(o->locking, "off");
    blk->inactive = blk->obj.machine->incoming;
    if (blk->inactive || block_file_lock(blk, error)) {
        return true;
    }
    g_prefix_error(error, "%s: ", o->where);
    return false;
}

static bool probe_size(BlockBackend *blk, const BlockOpts *o, GError **error)
{
    off_t end = lseek(blk->fd, 0, SEEK_END);

    if (end < 0) {
        error_set_errno(error, errno, "%s: cannot find out the size", o->where);
        return false;
    }
    /* Bytes after the last whole sector are not part of the disk. */
    blk->size = (uint64_t)end & ~(uint64_t)(BLOCK_SECTOR_SIZE - 1);
    if (!blk->size) {
        error_set(error, "%s: is too small (%lld bytes, allowed at least %d)", o->where,
                  (long long)end, BLOCK_SECTOR_SIZE);
        return false;
    }
    return true;
}

typedef struct FormatMagic {
    const char *name, *qemu_name, *magic;
} FormatMagic;

static bool probe_format(BlockBackend *blk, const BlockOpts *o, GError **error)
{
    static const FormatMagic known[] = {
        {"qcow2", "qcow2", "QFI\xfb"},
                                        {"VMDK", "vmdk", "KDMV"},
                                        {"VHDX", "vhdx", "vhdx"},
                                        {"VHD", "vpc", "cone"},
                                        {"QED", "qed", "QED"}};
    uint8_t head[4] = {0};
    int fd = blk->buffered_fd >= 0 ? blk->buffered_fd : blk->fd;

    if (o->format || !strcmp(o->option, "-blockdev") || pread(fd, head, sizeof(head), 0) != sizeof(head)) {
        return true;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        char magic[4] = {0};

        memcpy(magic, known[i].magic, strlen(known[i].magic));
        if (!memcmp(head, magic, sizeof(head))) {
            error_set(
                error,
                "%s: is a %s image (allowed raw); serve it with `qemu-nbd -t -k /tmp/nbd.sock -f %s %s` and use "
                "file=nbd:unix:/tmp/nbd.sock, or add format=raw to use its bytes as they are",
                o->where, known[i].name, known[i].qemu_name, o->filename);
            return false;
        }
    }
    return true;
}

/* What O_DIRECT asks of addresses and offsets: as the kernel says, or the cautious page. */
static void probe_alignment(BlockBackend *blk)
{
    struct stat st;

    blk->mem_align = blk->offset_align = 1;
    if (blk->buffered_fd < 0) {
        return;
    }
    blk->mem_align = blk->offset_align = 4096;
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (!statx(blk->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) && (stx.stx_mask & STATX_DIOALIGN) &&
        stx.stx_dio_mem_align && stx.stx_dio_offset_align) {
        blk->mem_align = stx.stx_dio_mem_align;
        blk->offset_align = stx.stx_dio_offset_align;
        return;
    }
#endif
    if (!fstat(blk->fd, &st) && S_ISBLK(st.st_mode)) {
        int sector;

        if (!ioctl(blk->fd, BLKSSZGET, &sector) && sector >= BLOCK_SECTOR_SIZE) {
            blk->mem_align = blk->offset_align = (uint32_t)sector;
        }
    }
}

static bool start_engine(BlockBackend *blk, const BlockOpts *o, GError **error)
{
#ifdef CONFIG_IO_URING
    if (g_strcmp0(o->aio, "threads")) {
        g_autoptr(GError) refused = NULL;

        blk->engine_ops = &block_engine_uring;
        if (blk->engine_ops->start(blk, &refused)) {
            return true;
        }
        if (o->aio) {
            g_propagate_prefixed_error(error, g_steal_pointer(&refused), "%s: ", o->where);
            return false;
        }
        TRACE(&block_trace[BLOCK_TRACE_FALLBACK], "%s: %s; using threads", blk->obj.id, refused->message);
    }
#else
    if (!g_strcmp0(o->aio, "io_uring")) {
        error_set(error, "%s: aio=io_uring is not in this build (allowed threads)", o->where);
        return false;
    }
#endif
    blk->engine_ops = &block_engine_threads;
    return blk->engine_ops->start(blk, error);
}

static bool file_open(BlockBackend *blk, const BlockOpts *o, GError **error)
{
    if (!o->filename) {
        error_set(error, "%s: filename is missing", o->where);
        return false;
    }
    blk->file = g_strdup(o->filename);
    if (!type_ok(o, error) || !open_file(blk, o, error) || !lock_file(blk, o, error) || !probe_size(blk, o, error) ||
        !probe_format(blk, o, error)) {
        return false;
    }
    probe_alignment(blk);
    return start_engine(blk, o, error);
}

const BlockDriver block_driver_file = {"file", "regular file, or block device, of the host", file_open};
const BlockDriver block_driver_host_device = {"host_device", "block device of the host", file_open};
