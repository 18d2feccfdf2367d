/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions: set-up, description for the client, accesses, and the fds that replace accesses. */
#include <errno.h>
#include <string.h>

#include "private.h"

void region_clear(Region *region)
{
    IoEventFd *io_fds = region->io_fds;
    uint32_t io_fd_count = region->io_fd_count;

    free(region->areas);
    *region = (Region){ .fd = -1, .io_fds = io_fds, .io_fd_count = io_fd_count };
}

static bool is_bar(int idx)
{
    return idx >= VFU_PCI_DEV_BAR0_REGION_IDX && idx <= VFU_PCI_DEV_BAR5_REGION_IDX;
}

/* Size and flags of a BAR (PCI Local Bus 3.0 section 6.2.5.1), and the neighbours of 64-bit ones. */
static int bar_check(const vfu_ctx_t *ctx, int idx, size_t size, int flags)
{
    const Region *neighbour;

    if (!wire_is_power_of_2(size) || size < (flags & VFU_REGION_FLAG_MEM ? 16 : 4)) {
        return EINVAL;
    }
    if (!(flags & VFU_REGION_FLAG_MEM) && (flags & (VFU_REGION_FLAG_64_BITS | VFU_REGION_FLAG_PREFETCH))) {
        return EINVAL;
    }
    if (!(flags & VFU_REGION_FLAG_64_BITS) && size > (UINT64_C(1) << 31)) {
        return EINVAL;
    }
    if (flags & VFU_REGION_FLAG_64_BITS) {
        if (idx % 2 || ctx->regions[idx + 1].size) {
            return EINVAL;
        }
    }
    neighbour = idx % 2 ? &ctx->regions[idx - 1] : NULL;
    return neighbour && neighbour->size && (neighbour->flags & VFU_REGION_FLAG_64_BITS) ? EINVAL : 0;
}

static int region_check(const vfu_ctx_t *ctx, int idx, size_t size, vfu_region_access_cb_t *cb, int flags)
{
    if ((flags & ~VFU_REGION_FLAG_MASK) || !(flags & VFU_REGION_FLAG_RW)) {
        return EINVAL;
    }
    if ((flags & VFU_REGION_FLAG_ALWAYS_CB) && (cb == NULL || idx != VFU_PCI_DEV_CFG_REGION_IDX)) {
        return EINVAL;
    }
    if (idx == VFU_PCI_DEV_CFG_REGION_IDX &&
        ((flags & VFU_REGION_FLAG_RW) != VFU_REGION_FLAG_RW || (flags & VFU_REGION_FLAG_MEM))) {
        return EINVAL;
    }
    return is_bar(idx) ? bar_check(ctx, idx, size, flags) : 0;
}

VFU_EXPORT int vfu_setup_region(vfu_ctx_t *ctx, int idx, size_t size, vfu_region_access_cb_t *cb, int flags,
                                struct iovec *mmap_areas, uint32_t nr_mmap_areas, int fd, uint64_t offset)
{
    Region *region;
    WireArea *areas = NULL;
    int err;

    if (idx < 0 || idx >= VFU_PCI_DEV_NUM_REGIONS || (mmap_areas == NULL) != (nr_mmap_areas == 0) ||
        (nr_mmap_areas && fd < 0)) {
        return vfu_fail(EINVAL);
    }
    region = &ctx->regions[idx];
    if (size == 0 && is_bar(idx)) {
        region_clear(region);
        return 0;
    }
    err = region_check(ctx, idx, size, cb, flags);
    if (err) {
        return vfu_fail(err);
    }
    if (nr_mmap_areas) {
        areas = calloc(nr_mmap_areas, sizeof(*areas));
        if (areas == NULL) {
            return vfu_fail(ENOMEM);
        }
    }
    for (uint32_t i = 0; i < nr_mmap_areas; i++) {
        areas[i] = (WireArea){ (uintptr_t)mmap_areas[i].iov_base, mmap_areas[i].iov_len };
        if (!wire_range_inside(areas[i].offset, areas[i].size, size)) {
            free(areas);
            return vfu_fail(EINVAL);
        }
    }
    region_clear(region);
    region->size = size;
    region->flags = (uint32_t)flags;
    region->cb = cb;
    region->areas = areas;
    region->area_count = nr_mmap_areas;
    region->fd = fd;
    region->offset = offset;
    return 0;
}

/* The version 1 migration region, with the capability that says so. */
static int migration_info(vfu_ctx_t *ctx, WireRegionInfo *info, Reply *r)
{
    uint32_t argsz = info->argsz;

    *info = (WireRegionInfo){
        .argsz = WIRE_REGION_INFO_SIZE + WIRE_REGION_TYPE_SIZE,
        .index = VFU_PCI_DEV_MIGR_REGION_IDX,
        .flags = WIRE_REGION_READ_FLAG | WIRE_REGION_WRITE_FLAG,
        .size = migration_region_size(ctx),
    };
    if (argsz >= info->argsz) {
        uint8_t *cap = reply_reserve(r, WIRE_REGION_TYPE_SIZE);

        wire_region_type_encode(cap, WIRE_REGION_TYPE_MIGRATION, WIRE_REGION_SUBTYPE_MIGRATION);
        info->flags |= WIRE_REGION_CAPS;
        info->cap_offset = WIRE_REGION_INFO_SIZE;
    }
    r->head_len = wire_region_info_encode(r->head, info);
    return 0;
}

int region_handle_info(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    WireRegionInfo info;
    const Region *region;
    WireArea whole;
    const WireArea *areas;
    uint32_t count, argsz;
    size_t full;
    int err = wire_region_info_decode(&info, m->body, m->len);

    if (err == 0 && info.index == VFU_PCI_DEV_MIGR_REGION_IDX && migration_region_size(ctx)) {
        return migration_info(ctx, &info, r);
    }
    if (err || info.index >= VFU_PCI_DEV_NUM_REGIONS) {
        return EINVAL;
    }
    argsz = info.argsz;
    region = &ctx->regions[info.index];
    info = (WireRegionInfo){ .index = info.index, .size = region->size, .offset = region->offset };
    info.flags = region->size == 0 ? 0 :
                 (region->flags & VFU_REGION_FLAG_READ ? WIRE_REGION_READ_FLAG : 0) |
                 (region->flags & VFU_REGION_FLAG_WRITE ? WIRE_REGION_WRITE_FLAG : 0);
    /* A client that can't take an fd can't map. */
    if (region->size && region->fd >= 0 && ctx->client.max_msg_fds > 0) {
        whole = (WireArea){ 0, region->size };
        areas = region->area_count ? region->areas : &whole;
        count = region->area_count ? region->area_count : 1;
        full = wire_region_info_sparse_size(count);
        info.argsz = (uint32_t)full;
        if (full <= argsz) {
            uint8_t *caps = reply_reserve(r, full - WIRE_REGION_INFO_SIZE);

            r->fds = malloc(sizeof(int));
            if (caps == NULL || r->fds == NULL) {
                return ENOMEM;
            }
            wire_region_sparse_encode(caps, areas, count);
            r->fds[0] = region->fd;
            r->fd_count = 1;
            info.flags |= WIRE_REGION_MMAP | WIRE_REGION_CAPS;
            info.cap_offset = WIRE_REGION_INFO_SIZE;
        }
    }
    r->head_len = wire_region_info_encode(r->head, &info);
    return 0;
}

/* ---- accesses ---- */

WIRE_HOT static int region_access(vfu_ctx_t *ctx, const WireRegionAccess *a, uint8_t *buf, bool is_write)
{
    const Region *region;
    ssize_t done;

    if (a->region == VFU_PCI_DEV_MIGR_REGION_IDX && wire_range_inside(a->offset, a->count, migration_region_size(ctx))) {
        return a->count ? migration_region_access(ctx, a, buf, is_write) : 0;
    }
    if (a->region >= VFU_PCI_DEV_NUM_REGIONS || ctx->migration.state == WIRE_STATE_STOP_COPY) {
        return EINVAL;
    }
    region = &ctx->regions[a->region];
    if (!wire_range_inside(a->offset, a->count, region->size)) {
        return EINVAL;
    }
    if (a->count == 0) {
        return 0;
    }
    errno = 0;
    if (a->region == VFU_PCI_DEV_CFG_REGION_IDX && !(region->flags & VFU_REGION_FLAG_ALWAYS_CB)) {
        done = pci_config_access(ctx, buf, a->count, a->offset, is_write);
    } else if (region->cb) {
        done = region->cb(ctx, (char *)buf, a->count, (loff_t)a->offset, is_write);
    } else {
        return EINVAL;
    }
    if (done == (ssize_t)a->count) {
        return 0;
    }
    return done < 0 && errno ? errno : EINVAL;
}

WIRE_HOT int region_handle_read(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    WireRegionAccess a;
    uint8_t *data;
    int err = wire_region_read_decode(&a, m->body, m->len, WIRE_MAX_DATA);

    if (err) {
        return err;
    }
    data = reply_reserve(r, a.count);
    if (data == NULL) {
        return ENOMEM;
    }
    /* What a callback leaves unwritten must not be memory of ours. */
    memset(data, 0, a.count);
    err = region_access(ctx, &a, data, false);
    r->head_len = wire_region_access_encode(r->head, &a);
    return err;
}

WIRE_HOT int region_handle_write(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    WireRegionAccess a;
    int err = wire_region_write_decode(&a, m->body, m->len, WIRE_MAX_DATA);

    if (err) {
        return err;
    }
    err = region_access(ctx, &a, m->body + WIRE_REGION_ACCESS_SIZE, true);
    r->head_len = wire_region_access_encode(r->head, &a);
    return err;
}

int region_handle_write_multi(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    uint64_t count, done;
    int err = wire_write_multi_decode(&count, m->body, m->len);

    if (err) {
        return err;
    }
    /* A write that fails ends the message: the reply tells how many were done. */
    for (done = 0; done < count; done++) {
        WireWrite w;
        WireRegionAccess a;

        wire_write_multi_entry(&w, m->body, done);
        a = (WireRegionAccess){ .offset = w.offset, .region = w.region, .count = w.count };
        err = region_access(ctx, &a, w.data, true);
        if (err) {
            break;
        }
    }
    r->head_len = wire_write_multi_encode(r->head, done);
    return done == 0 ? err : 0;
}

/* ---- I/O fds ---- */

VFU_EXPORT int vfu_create_ioeventfd(vfu_ctx_t *ctx, uint32_t region_idx, int fd, size_t gpa_offset, uint32_t size,
                                    uint32_t flags, uint64_t datamatch, int shadow_fd, size_t shadow_offset)
{
    bool io_region = flags & VFU_IOEVENTFD_FLAG_IOREGIONFD;
    Region *region;
    IoEventFd *grown;

    if (io_region && (fd < 0 || shadow_fd >= 0)) {
        return vfu_fail(EINVAL);
    }
    if (region_idx >= VFU_PCI_DEV_NUM_REGIONS) {
        return vfu_fail(EINVAL);
    }
    region = &ctx->regions[region_idx];
    if (!wire_range_inside(gpa_offset, size, region->size) || region->io_fd_count >= WIRE_MAX_IO_FDS) {
        return vfu_fail(EINVAL);
    }
    grown = realloc(region->io_fds, (region->io_fd_count + 1) * sizeof(*grown));
    if (grown == NULL) {
        return vfu_fail(ENOMEM);
    }
    region->io_fds = grown;
    grown[region->io_fd_count++] = (IoEventFd){
        .offset = gpa_offset,
        .size = size,
        .flags = flags & ~VFU_IOEVENTFD_FLAG_IOREGIONFD,
        .type = io_region      ? WIRE_IO_FD_IOREGIONFD :
                shadow_fd >= 0 ? WIRE_IO_FD_SHADOW :
                                 WIRE_IO_FD_IOEVENTFD,
        .fd = fd,
        .datamatch = datamatch,
        .shadow_fd = shadow_fd,
        .shadow_offset = shadow_offset,
    };
    return 0;
}

/* Position of fd among the fds to send, added if it is new; -1 has the number for none. */
static uint32_t io_fd_index(Reply *r, int fd)
{
    if (fd < 0) {
        return WIRE_IO_FD_NONE;
    }
    for (unsigned i = 0; i < r->fd_count; i++) {
        if (r->fds[i] == fd) {
            return i;
        }
    }
    r->fds[r->fd_count] = fd;
    return r->fd_count++;
}

static int io_fds_fill(const vfu_ctx_t *ctx, const Region *region, Reply *r)
{
    uint8_t *entries = reply_reserve(r, (size_t)region->io_fd_count * WIRE_IO_FD_SIZE);

    r->fds = calloc((size_t)region->io_fd_count * 2, sizeof(int));
    if (entries == NULL || r->fds == NULL) {
        return ENOMEM;
    }
    for (uint32_t i = 0; i < region->io_fd_count; i++) {
        /* Newest first. */
        const IoEventFd *io = &region->io_fds[region->io_fd_count - 1 - i];
        WireIoFd e = {
            .offset = io->offset,
            .size = io->size,
            .fd_index = io_fd_index(r, io->fd),
            .type = io->type,
            .flags = io->flags,
            .shadow_offset = io->shadow_offset,
            .datamatch = io->datamatch,
        };

        e.shadow_fd_index = io_fd_index(r, io->shadow_fd);
        wire_io_fd_encode(entries + (size_t)i * WIRE_IO_FD_SIZE, &e);
    }
    return r->fd_count > (uint64_t)ctx->client.max_msg_fds || r->fd_count > WIRE_MAX_FDS ? E2BIG : 0;
}

int region_handle_io_fds(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    WireIoFds f;
    const Region *region;
    uint32_t argsz;
    int err = wire_io_fds_decode(&f, m->body, m->len);

    if (err || f.index >= VFU_PCI_DEV_NUM_REGIONS) {
        return EINVAL;
    }
    region = &ctx->regions[f.index];
    if (region->size == 0) {
        return EINVAL;
    }
    argsz = f.argsz;
    /* Offers that cannot be handed over are none. */
    f.count = ctx->passes_fds ? region->io_fd_count : 0;
    f.argsz = WIRE_IO_FDS_SIZE + f.count * WIRE_IO_FD_SIZE;
    if (f.count && argsz >= f.argsz) {
        err = io_fds_fill(ctx, region, r);
        if (err) {
            return err;
        }
    }
    r->head_len = wire_io_fds_encode(r->head, &f);
    return 0;
}
