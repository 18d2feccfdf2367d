/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libnbd, loaded when the first export is opened: with what it needs itself (TLS, XML, Unicode tables) it takes longer to
 * load than everything else a process does until it serves, and few servers have an NBD disk.
 */
#ifndef BLOCK_NBD_LIBRARY_H
#define BLOCK_NBD_LIBRARY_H

#include <glib.h>
#include <libnbd.h>
#include <stdbool.h>

/* The functions that are used, without their nbd_. */
#define NBD_FUNCTIONS(X)                                                                                                    \
    X(aio_command_completed) X(aio_flush) X(aio_get_direction) X(aio_get_fd) X(aio_notify_read) X(aio_notify_write)         \
    X(aio_peek_command_completed) X(aio_pread) X(aio_pwrite) X(aio_trim) X(aio_zero) X(can_flush) X(can_fua) X(can_trim)    \
    X(can_zero) X(close) X(connect_tcp) X(connect_unix) X(connect_uri) X(create) X(get_errno) X(get_error) X(get_size)      \
    X(is_read_only) X(poll) X(set_export_name)

#define NBD_FUNCTION(name) __typeof__(&nbd_##name) name;
typedef struct NbdLibrary {
    NBD_FUNCTIONS(NBD_FUNCTION)
} NbdLibrary;
#undef NBD_FUNCTION

/* The loaded library, which stays until the process ends; NULL with an error when it is not installed.  Any thread. */
const NbdLibrary *nbd_library_get(GError **error);

#endif
