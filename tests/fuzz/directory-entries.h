/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a process has of descriptors and threads before and after is counted in /proc. */
#ifndef TESTS_FUZZ_DIRECTORY_ENTRIES_H
#define TESTS_FUZZ_DIRECTORY_ENTRIES_H

/* How many names a directory has, its own two included. */
unsigned directory_entries(const char *path);

#endif
