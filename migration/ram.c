/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM past its mapping: a page that is first touched through it costs a fault and is cleared before it is overwritten. */
#include "migration/ram.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migration/record.h"

#define RESIDENT_PAGES 64u

MigRam mig_ram_of(MemRegion *region)
{
    MigRam ram = {.host = mem_region_host(region), .size = mem_region_size(region)};

    ram.fd = mem_region_fd(region, &ram.fd_offset);
    return ram;
}

/* A file's offset as one in RAM, of the beginning of its page. */
static uint64_t page_of(const MigRam *ram, off_t in_file)
{
    return ((uint64_t)in_file - ram->fd_offset) & ~(uint64_t)(MIG_PAGE_SIZE - 1);
}

uint64_t mig_ram_hole_end(const MigRam *ram, uint64_t at)
{
    off_t to = ram->fd < 0 ? (off_t)-1 : lseek(ram->fd, (off_t)(ram->fd_offset + at), SEEK_DATA);

    if (to < 0) {
        return ram->fd >= 0 && errno == ENXIO ? ram->size : at;
    }
    return MIN(MAX(page_of(ram, to), at), ram->size);
}

uint64_t mig_ram_run(const MigRam *ram, uint64_t at, bool *hole)
{
    uint64_t hole_end = mig_ram_hole_end(ram, at);
    off_t to;

    *hole = hole_end > at;
    if (*hole) {
        return hole_end;
    }
    to = ram->fd < 0 ? (off_t)-1 : lseek(ram->fd, (off_t)(ram->fd_offset + at), SEEK_HOLE);
    /* Without an end it is the rest: a file that does not tell of holes. */
    return to < 0 ? ram->size : MIN(MAX(page_of(ram, to), at + MIG_PAGE_SIZE), ram->size);
}

/* mig_ram_run, for who looks at the same memory again and again. */
static uint64_t run_of(const MigRam *ram, MigRamRun *there, uint64_t at, bool *hole)
{
    uint64_t end;

    *hole = false;
    if (at >= there->begin && at < there->end) {
        return there->end;
    }
    end = mig_ram_run(ram, at, hole);
    if (!*hole) {
        *there = (MigRamRun){at, end};
    }
    return end;
}

/* Each page of it; what is not in memory now may be on a disk. */
static bool resident(const MigRam *ram, uint64_t at, uint64_t len)
{
    unsigned char pages[RESIDENT_PAGES];

    for (uint64_t end = at + len, step; at < end; at += step) {
        step = MIN(end - at, RESIDENT_PAGES * MIG_PAGE_SIZE);
        if (mincore(ram->host + at, step, pages)) {
            return false;
        }
        for (uint64_t i = 0; i < step / MIG_PAGE_SIZE; i++) {
            if (!(pages[i] & 1)) {
                return false;
            }
        }
    }
    return true;
}

uint8_t *mig_ram_place(const MigRam *ram, const MigRamRun *there, uint64_t at, uint64_t len)
{
    bool known = ram->fd < 0 || (at >= there->begin && at + len <= there->end);

    return known || resident(ram, at, len) ? ram->host + at : NULL;
}

void mig_ram_write(const MigRam *ram, uint64_t at, const void *data, size_t len)
{
    ssize_t done = ram->fd < 0 ? 0 : pwrite(ram->fd, data, len, (off_t)(ram->fd_offset + at));
    size_t from = done > 0 ? (size_t)done : 0; /* hugetlbfs has no writes */

    memcpy(ram->host + at + from, (const uint8_t *)data + from, len - from);
}

void mig_ram_clear(const MigRam *ram, MigRamRun *there, uint64_t at, uint64_t len)
{
    for (uint64_t next, end = at + len; at < end; at = next) {
        bool hole;

        next = MIN(run_of(ram, there, at, &hole), end);
        for (uint64_t page = at; !hole && page < next; page += MIG_PAGE_SIZE) {
            if (!mig_page_is_zero(ram->host + page)) {
                memset(ram->host + page, 0, MIG_PAGE_SIZE);
            }
        }
    }
}

bool mig_page_is_zero(const uint8_t *page)
{
    __builtin_prefetch(page + MIG_PAGE_SIZE); /* mostly the first word decides, and it is not in the cache */
    return !page[0] && !memcmp(page, page + 1, MIG_PAGE_SIZE - 1);
}
