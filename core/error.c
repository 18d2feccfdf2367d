/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The error domain of the emulator. */
#include "core/error.h"

GQuark mpqemu_error_quark(void)
{
    return g_quark_from_static_string("mpqemu-error");
}

void error_set(GError **error, const char *fmt, ...)
{
    va_list args;

    if (!error) {
        return;
    }
    va_start(args, fmt);
    g_propagate_error(error, g_error_new_valist(MPQEMU_ERROR, ERR_GENERIC, fmt, args));
    va_end(args);
}

void error_set_errno(GError **error, int err, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    if (!error) {
        return;
    }
    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    g_set_error(error, MPQEMU_ERROR, ERR_GENERIC, "%s: %s", text, g_strerror(err));
}
