/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of accel share. */
#ifndef ACCEL_ACCEL_INTERNAL_H
#define ACCEL_ACCEL_INTERNAL_H

#include "core/loop.h"

/*
 * Gives up a loop's lock however often the caller holds it, and takes it again as
 * often: for waits whose end may need the lock.  The depth travels between the two.
 */
unsigned accel_drop_lock(EventLoop *loop);
void accel_take_lock(EventLoop *loop, unsigned depth);

#endif
