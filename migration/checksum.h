/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The checksums of migration streams.  Any thread. */
#ifndef MIGRATION_CHECKSUM_H
#define MIGRATION_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#define MIG_CHECKSUM_BLOCK 4096u

/* CRC-32C (polynomial 0x1edc6f41, reflected, inverted before and after) that goes on from `crc`; 0 begins. */
uint32_t mig_crc32c(uint32_t crc, const void *data, size_t len);
/*
 * Goes on from `crc` with the CRC-32C (little endian) of each MIG_CHECKSUM_BLOCK bytes of `data`, so that several can be computed at
 * once: a CRC of one sequence waits for itself at each step.
 */
uint32_t mig_crc32c_blocks(uint32_t crc, const void *data, size_t blocks);
/*
 * The same of what it copies meanwhile: whatever others do to `from` at the time, the sum is of the bytes that are in `to`.  `from` is
 * aligned to 8 bytes.
 */
uint32_t mig_crc32c_copy(uint32_t crc, void *to, const void *from, size_t blocks);

#endif
