/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host kernel's system calls behind the table of kernel-sys.h. */
#include "kernel-sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int host_open(const VfioSys *sys, const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

static void host_close(const VfioSys *sys, int fd)
{
    close(fd);
}

static int host_ioctl(const VfioSys *sys, int fd, unsigned long request, uintptr_t arg)
{
    int result;

    do {
        result = ioctl(fd, request, arg);
    } while (result < 0 && errno == EINTR);
    return result < 0 ? -errno : result;
}

static ssize_t host_pread(const VfioSys *sys, int fd, void *buf, size_t size, uint64_t offset)
{
    ssize_t done = pread(fd, buf, size, (off_t)offset);

    return done < 0 ? -errno : done;
}

static ssize_t host_pwrite(const VfioSys *sys, int fd, const void *buf, size_t size, uint64_t offset)
{
    ssize_t done = pwrite(fd, buf, size, (off_t)offset);

    return done < 0 ? -errno : done;
}

static ssize_t host_read(const VfioSys *sys, int fd, void *buf, size_t size)
{
    ssize_t done;

    do {
        done = read(fd, buf, size);
    } while (done < 0 && errno == EINTR);
    return done < 0 ? -errno : done;
}

static ssize_t host_write(const VfioSys *sys, int fd, const void *buf, size_t size)
{
    ssize_t done;

    do {
        done = write(fd, buf, size);
    } while (done < 0 && errno == EINTR);
    return done < 0 ? -errno : done;
}

const VfioSys vfio_sys_host = {
    .root = "",
    .open = host_open,
    .close = host_close,
    .ioctl = host_ioctl,
    .pread = host_pread,
    .pwrite = host_pwrite,
    .read = host_read,
    .write = host_write,
};
