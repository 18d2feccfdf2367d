/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The machine's RAM as a migration reads and writes it: past the mapping where a file (memfd) is behind it.  The migration's thread. */
#ifndef MIGRATION_RAM_H
#define MIGRATION_RAM_H

#include "core/memory.h"

typedef struct MigRam {
    uint8_t *host;
    uint64_t size;
    int fd; /* borrowed; -1: none */
    uint64_t fd_offset;
} MigRam;

/* Memory that was found there last.  Looking where it ends costs as much as it is long, and it stays. */
typedef struct MigRamRun {
    uint64_t begin, end;
} MigRamRun;

MigRam mig_ram_of(MemRegion *region);
/* Where the hole that begins at `at` ends, as of mig_ram_run; `at`: none does.  Quick, however long what is there may be. */
uint64_t mig_ram_hole_end(const MigRam *ram, uint64_t at);
/*
 * Where the run of bytes that begins at `at` ends, at most the size.  *hole: it was never written to and reads as zeros; looking
 * at it through the mapping would allocate it.
 */
uint64_t mig_ram_run(const MigRam *ram, uint64_t at, bool *hole);
/* Where the range can be written to at once; NULL: not all of it is there yet, and mig_ram_write costs less.  It is inside. */
uint8_t *mig_ram_place(const MigRam *ram, const MigRamRun *there, uint64_t at, uint64_t len);
/* The range is inside. */
void mig_ram_write(const MigRam *ram, uint64_t at, const void *data, size_t len);
void mig_ram_clear(const MigRam *ram, MigRamRun *there, uint64_t at, uint64_t len);
bool mig_page_is_zero(const uint8_t *page);

#endif
