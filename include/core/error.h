/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Errors: GError in one domain.  Text is `<where>: <what is wrong> (<value>,
 * allowed <range>)`, then the next step.  The code is what QMP reports as class.
 */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

#include <glib.h>

#define MPQEMU_ERROR (mpqemu_error_quark())
GQuark mpqemu_error_quark(void);

typedef enum MpqemuError {
    ERR_GENERIC,           /* GenericError */
    ERR_COMMAND_NOT_FOUND, /* CommandNotFound */
    ERR_DEVICE_NOT_FOUND,  /* DeviceNotFound */
    ERR_DEVICE_NOT_ACTIVE, /* DeviceNotActive */
} MpqemuError;

/* g_set_error in our domain with ERR_GENERIC. */
void error_set(GError **error, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The same followed by ": " and strerror(err). */
void error_set_errno(GError **error, int err, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

#endif
