/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The few system calls the kernel back end makes, as a table, so that tests drive every path with a kernel of
 * their own.  Results are those of the calls, with -errno instead of -1.
 */
#ifndef HW_VFIO_KERNEL_SYS_H
#define HW_VFIO_KERNEL_SYS_H

#include <stdint.h>
#include <sys/types.h>

#include "core/machine.h"

typedef struct VfioSys VfioSys;
struct VfioSys {
    const char *root; /* before every path of /dev and /sys; "" for the host's own */
    int (*open)(const VfioSys *sys, const char *path, int flags); /* path without root */
    void (*close)(const VfioSys *sys, int fd);
    int (*ioctl)(const VfioSys *sys, int fd, unsigned long request, uintptr_t arg);
    ssize_t (*pread)(const VfioSys *sys, int fd, void *buf, size_t size, uint64_t offset);
    ssize_t (*pwrite)(const VfioSys *sys, int fd, const void *buf, size_t size, uint64_t offset);
    ssize_t (*read)(const VfioSys *sys, int fd, void *buf, size_t size);
    ssize_t (*write)(const VfioSys *sys, int fd, const void *buf, size_t size);
};

/* The host's kernel. */
extern const VfioSys vfio_sys_host;

/* The machine's devices use this kernel from now on; before the first of them starts.  Main loop. */
void vfio_kernel_set_sys(Machine *machine, const VfioSys *sys);

#endif
