/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files that distributions install for emulators: firmware and option ROMs. */
#ifndef CORE_DATA_FILE_H
#define CORE_DATA_FILE_H

#include <glib.h>

/*
 * The path of `name`: itself when such a file can be read, else, when it has no '/', the first of that name in the
 * directories of firmware packages.  NULL: nowhere; the caller's to g_free.  Any thread.
 */
char *data_file_find(const char *name);
/* The same, after looking in `dirs` (of char *; NULL: none). */
char *data_file_find_in(const GPtrArray *dirs, const char *name);

#endif
