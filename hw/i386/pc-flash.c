/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Firmware in flash: device 0 ends at 4 GiB, where CPUs begin, and its last 128 KiB are also below 1 MiB (ICH9 data
 * sheet 10.1.57); device 1, for variables, lies right below it.
 */
#include "hw/nvram/pflash-cfi01.h"
#include "pc-internal.h"

#define FLASH_END        0x100000000ull
#define FLASH_SHADOW_END 0x100000ull
#define FLASH_SHADOW_MAX 0x20000ull

/* `end`: of its place; moves down. */
static bool flash_new(PcMachine *pc, unsigned n, uint64_t *end, GError **error)
{
    BlockBackend *blk = block_find(&pc->m, pc->pflash[n]);
    g_autofree char *id = g_strdup_printf("system.flash%u", n);
    uint64_t size, above = FLASH_END - *end;
    Pflash *s;

    if (!blk) {
        error_set(error, "no such drive or node; add -blockdev driver=file,node-name=%s,filename=PATH", pc->pflash[n]);
        return false;
    }
    size = block_size(blk);
    if (size > PFLASH_MAX - above) {
        error_set(error, "too large with what is above it in flash (%" G_GUINT64_FORMAT " bytes, allowed %u)", size + above, PFLASH_MAX);
        return false;
    }
    s = pc_new_device(pc, &pflash_cfi01_model, id, error);
    if (!s) {
        return false;
    }
    s->blk = blk;
    s->parent = pc->pci_memory;
    s->base = *end - size;
    if (n == 0) {
        s->shadow_size = MIN(size, FLASH_SHADOW_MAX);
        s->shadow_base = FLASH_SHADOW_END - s->shadow_size;
    }
    *end = s->base;
    return pc_start_device(s, error);
}

bool pc_build_flash(PcMachine *pc, GError **error)
{
    uint64_t end = FLASH_END;

    if (pc->pflash[1] && !pc->pflash[0]) {
        error_set(error, "pflash1 requires pflash0: the processor begins in that");
        return false;
    }
    if (pc->pflash[0] && pc->m.boot.bios) {
        error_set(error, "-bios %s: there is firmware in flash (pflash0=%s) already; leave one of them out", pc->m.boot.bios,
                  pc->pflash[0]);
        return false;
    }
    for (unsigned n = 0; n < PC_FLASH_COUNT && pc->pflash[n]; n++) {
        if (!flash_new(pc, n, &end, error)) {
            g_prefix_error(error, "pflash%u=%s: ", n, pc->pflash[n]);
            return false;
        }
    }
    return true;
}
