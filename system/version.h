/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Versions, as -version prints them. */
#ifndef SYSTEM_VERSION_H
#define SYSTEM_VERSION_H

#define MPQEMU_VERSION "0.1"
/* The release whose command line and QMP are spoken; tools parse it. */
#define QMP_COMPAT_VERSION "7.2.0"

#endif
