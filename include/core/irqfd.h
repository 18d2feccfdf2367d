/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts that an eventfd raises in the guest without this program: offered by an accelerator
 * (machine->irqfd, NULL where there are none), used by whoever has an eventfd that somebody else signals.
 *
 * A route is what an interrupt does: a message, or a line of the board.  Changes of messages take effect at commit,
 * all at once: a device with many vectors commits once.  Any thread.
 */
#ifndef CORE_IRQFD_H
#define CORE_IRQFD_H

#include "core/machine.h"

typedef struct IrqfdOps {
    /* A route for a message, or -errno (no more of them).  Nothing uses it before commit. */
    int (*message_new)(Accel *accel, uint64_t address, uint32_t data);
    void (*message_set)(Accel *accel, int route, uint64_t address, uint32_t data);
    void (*message_free)(Accel *accel, int route); /* nothing is attached */
    /* 0 or -errno. */
    int (*commit)(Accel *accel);
    /*
     * From now on a signal of fd interrupts.  resample_fd, for lines, or -1: each signal asserts the line; when the
     * guest has completed the interrupt the line is deasserted and resample_fd is signalled, so that a device that
     * still wants attention says so again.  0 or -errno.  Both stay open until detach.
     */
    int (*attach)(Accel *accel, int route, int fd, int resample_fd);
    void (*detach)(Accel *accel, int route, int fd);
} IrqfdOps;

#endif
