/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel in memory: files, groups, containers, devices (<linux/vfio.h>); fake-iommufd.c has the rest. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fake-kernel-internal.h"

#define REGION_SHIFT 40

/* --- sysfs --- */

static void make_link(FakeKernel *k, const char *target, const char *fmt, ...)
{
    g_autofree char *name = NULL, *path = NULL, *dir = NULL;
    va_list ap;

    va_start(ap, fmt);
    name = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    path = g_strconcat(k->root, name, NULL);
    dir = g_path_get_dirname(path);
    g_assert(!g_mkdir_with_parents(dir, 0700) && !symlink(target, path));
}

FakeDevice *fake_kernel_add(FakeKernel *k, const char *address, int group, const char *driver,
                            ContractDevice *device)
{
    FakeDevice *d = &k->devices[k->device_count];
    g_autofree char *dir = g_strdup_printf("%s/sys/bus/pci/devices/%s", k->root, address);
    g_autofree char *cdev =
        g_strdup_printf("%s/vfio-dev/%svfio%u", dir, k->no_iommu_mode ? "noiommu-" : "", k->device_count);

    g_assert(k->device_count++ < FAKE_MAX_DEVICES);
    *d = (FakeDevice){.address = g_strdup(address), .group = group, .driver = driver, .device = device};
    k->dma = k->dma ? k->dma : device;
    g_assert(!g_mkdir_with_parents(dir, 0700));
    if (driver) {
        g_autofree char *target = g_strconcat("../../../../bus/pci/drivers/", driver, NULL);

        make_link(k, target, "/sys/bus/pci/devices/%s/driver", address);
    }
    if (driver && !strcmp(driver, "vfio-pci")) {
        g_assert(!g_mkdir_with_parents(cdev, 0700));
    }
    if (group >= 0) {
        g_autofree char *target = g_strdup_printf("../../../../kernel/iommu_groups/%d", group);
        g_autofree char *back = g_strconcat("../../../../bus/pci/devices/", address, NULL);
        g_autofree char *name = g_strdup_printf("%s/sys/kernel/iommu_groups/%d/name", k->root, group);

        make_link(k, target, "/sys/bus/pci/devices/%s/iommu_group", address);
        make_link(k, back, "/sys/kernel/iommu_groups/%d/devices/%s", group, address);
        g_assert(!k->no_iommu_mode || g_file_set_contents(name, "vfio-noiommu\n", -1, NULL));
    }
    return d;
}

static void remove_tree(const char *path)
{
    GDir *dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        remove_tree(child);
    }
    if (dir) {
        g_dir_close(dir);
        rmdir(path);
    } else {
        unlink(path);
    }
}

/* --- files --- */

FakeFile *fake_file(const VfioSys *sys, int fd)
{
    return g_hash_table_lookup(((const FakeKernel *)sys)->files, GINT_TO_POINTER(fd));
}

int fake_file_new(FakeKernel *k, FakeFile file)
{
    FakeFile *f = g_new(FakeFile, 1);
    bool paged = file.kind == FAKE_DEVICE && file.device->device->paged;
    int fd = paged ? fcntl(file.device->device->paged_fd, F_DUPFD_CLOEXEC, 0) : memfd_create("fake", MFD_CLOEXEC);

    g_assert(fd >= 0 && (paged || !ftruncate(fd, 65536)));
    *f = file;
    f->fd = fd;
    g_hash_table_insert(k->files, GINT_TO_POINTER(fd), f);
    return fd;
}

static bool group_has(const FakeKernel *k, int group, bool vfio)
{
    for (unsigned i = 0; i < k->device_count; i++) {
        const FakeDevice *d = &k->devices[i];

        if (d->group == group && d->driver && !strcmp(d->driver, "vfio-pci") == vfio) {
            return true;
        }
    }
    return false;
}

bool fake_group_is_driven(const FakeKernel *k, int group)
{
    return group_has(k, group, false);
}

static bool group_is_open(const FakeKernel *k, int group)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, k->files);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const FakeFile *f = value;

        if (f->kind == FAKE_GROUP && f->group == group) {
            return true;
        }
    }
    return false;
}

static int fake_open(const VfioSys *sys, const char *path, int flags)
{
    FakeKernel *k = (FakeKernel *)sys;
    unsigned number;

    if (k->fail_open && !strcmp(k->fail_open, path)) {
        return -k->error;
    }
    if (!strcmp(path, "/dev/vfio/vfio")) {
        k->containers++;
        return fake_file_new(k, (FakeFile){.kind = FAKE_CONTAINER});
    }
    if (!strcmp(path, "/dev/iommu")) {
        return fake_file_new(k, (FakeFile){.kind = FAKE_IOMMU});
    }
    if (sscanf(path, "/dev/vfio/devices/vfio%u", &number) == 1 && number < k->device_count) {
        return fake_file_new(k, (FakeFile){.kind = FAKE_DEVICE, .device = &k->devices[number]});
    }
    if (sscanf(path, "/dev/vfio/%u", &number) != 1 || !group_has(k, (int)number, true)) {
        return -ENOENT;
    }
    return group_is_open(k, (int)number)
               ? -EBUSY
               : fake_file_new(k, (FakeFile){.kind = FAKE_GROUP, .group = (int)number});
}

static void fake_close(const VfioSys *sys, int fd)
{
    FakeKernel *k = (FakeKernel *)sys;
    FakeFile *f = fake_file(sys, fd);

    if (f && f->kind == FAKE_DEVICE) {
        contract_set_irqs(f->device->device, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0,
                          NULL);
        contract_set_irqs(f->device->device, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_PCI_INTX_IRQ_INDEX, 0, 0,
                          NULL);
        f->device->vectors = 0;
    }
    if (f && f->container) {
        fake_file(sys, f->container)->users--;
    }
    g_assert(g_hash_table_remove(k->files, GINT_TO_POINTER(fd)));
    close(fd);
}

/* --- groups and containers --- */

static int group_device(FakeKernel *k, FakeFile *group, const char *address)
{
    if (!group->container || !fake_file(&k->sys, group->container)->iommu_type) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < k->device_count; i++) {
        FakeDevice *d = &k->devices[i];

        if (d->group == group->group && !strcmp(d->address, address) && d->driver &&
            !strcmp(d->driver, "vfio-pci")) {
            return fake_file_new(k, (FakeFile){.kind = FAKE_DEVICE, .device = d});
        }
    }
    return -ENODEV;
}

static int group_ioctl(FakeKernel *k, FakeFile *f, unsigned long request, void *arg)
{
    bool viable = !fake_group_is_driven(k, f->group);

    switch (request) {
    case VFIO_GROUP_GET_STATUS:
        ((struct vfio_group_status *)arg)->flags = viable ? VFIO_GROUP_FLAGS_VIABLE : 0;
        return 0;
    case VFIO_GROUP_SET_CONTAINER: {
        FakeFile *container = fake_file(&k->sys, *(int *)arg);

        if (!container || container->kind != FAKE_CONTAINER || f->container || !viable) {
            return -EINVAL;
        }
        f->container = *(int *)arg;
        container->users++;
        return 0;
    }
    case VFIO_GROUP_UNSET_CONTAINER:
        fake_file(&k->sys, f->container)->users--;
        f->container = 0;
        return 0;
    case VFIO_GROUP_GET_DEVICE_FD:
        return group_device(k, f, arg);
    default:
        return -ENOTTY;
    }
}

int fake_map(FakeKernel *k, uint64_t iova, uint64_t size, uint64_t vaddr, int access)
{
    ContractDevice *d = k->dma;

    if (!size || ((iova | size | vaddr) & 4095)) {
        return -EINVAL;
    }
    for (unsigned i = 0; i < d->map_count; i++) {
        if (iova < d->maps[i][0] + d->maps[i][1] && d->maps[i][0] < iova + size) {
            return -EEXIST;
        }
    }
    k->maps++;
    return contract_map(d, iova, size, access, (void *)(uintptr_t)vaddr);
}

static int type1_unmap(FakeKernel *k, struct vfio_iommu_type1_dma_unmap *u)
{
    uint64_t last = u->flags & VFIO_DMA_UNMAP_FLAG_ALL ? UINT64_MAX : u->iova + (u->size - 1), done = 0;

    if (u->flags & VFIO_DMA_UNMAP_FLAG_ALL && (!k->unmap_all || u->size || u->iova)) {
        return -EINVAL;
    }
    if (u->flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP) {
        struct vfio_bitmap b;

        memcpy(&b, u->data, sizeof(b));
        if (!k->type1_tracking || b.pgsize != 4096 || b.size < u->size / 4096 / 8) {
            return -EINVAL;
        }
        fake_report(k, u->iova, u->size, 4096, (void *)b.data);
    }
    k->unmaps++;
    k->unmap_alls += !!(u->flags & VFIO_DMA_UNMAP_FLAG_ALL);
    for (unsigned i = k->dma->map_count; i-- > 0;) {
        uint64_t at = k->dma->maps[i][0], size = k->dma->maps[i][1];

        if (at >= u->iova && at + (size - 1) <= last) {
            contract_unmap(k->dma, at, size);
            done += size;
        }
    }
    u->size = done;
    return 0;
}

static int type1_info(const FakeKernel *k, struct vfio_iommu_type1_info *info)
{
    struct {
        struct vfio_iommu_type1_info info;
        struct __attribute__((aligned(8))) {
            struct vfio_info_cap_header header;
            uint32_t nr_iovas, reserved;
        } ranges;
        struct vfio_iova_range range[1];
        struct vfio_iommu_type1_info_cap_migration migration;
        struct vfio_iommu_type1_info_dma_avail available;
    } all = {.info = {.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS, .iova_pgsizes = 0x40201000}};
    uint32_t room = info->argsz;
    char *base = (char *)&all;

    all.info.argsz = sizeof(all);
    all.info.cap_offset = (uint32_t)((char *)&all.ranges - base);
    all.ranges.header = (struct vfio_info_cap_header){VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1,
                                                      (uint32_t)((char *)&all.migration - base)};
    all.ranges.nr_iovas = 1;
    all.range[0].end = k->last_iova;
    all.migration.header = (struct vfio_info_cap_header){VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1,
                                                         (uint32_t)((char *)&all.available - base)};
    all.migration.pgsize_bitmap = k->dirty ? 0x1000 : 0;
    all.migration.max_dirty_bitmap_size = 1u << 20;
    all.available.header = (struct vfio_info_cap_header){VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0};
    all.available.avail = CONTRACT_MAX_MAPS;
    if (room < sizeof(all)) {
        all.info.cap_offset = 0;
    }
    memcpy(info, &all, MIN(room, sizeof(all)));
    return 0;
}

static int type1_dirty(FakeKernel *k, struct vfio_iommu_type1_dirty_bitmap *dirty)
{
    struct vfio_iommu_type1_dirty_bitmap_get get;

    if (dirty->flags != VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP) {
        k->type1_tracking = dirty->flags == VFIO_IOMMU_DIRTY_PAGES_FLAG_START;
        return 0;
    }
    memcpy(&get, dirty->data, sizeof(get));
    if (!k->type1_tracking || get.bitmap.pgsize != 4096) {
        return -EINVAL;
    }
    fake_report(k, get.iova, get.size, 4096, (void *)get.bitmap.data);
    return 0;
}

void fake_report(const FakeKernel *k, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap)
{
    if (k->dirty_iova >= iova && k->dirty_iova - iova < size) {
        uint64_t bit = (k->dirty_iova - iova) / page_size;

        bitmap[bit / 64] |= UINT64_C(1) << (bit % 64);
    }
}

static int container_set_iommu(FakeKernel *k, FakeFile *f, unsigned long type)
{
    if (!f->users || f->iommu_type) {
        return -EINVAL;
    }
    if (!k->interrupt_remapping) {
        return -EPERM;
    }
    f->iommu_type = (int)type;
    return 0;
}

static int container_ioctl(FakeKernel *k, FakeFile *f, unsigned long request, uintptr_t arg)
{
    const struct vfio_iommu_type1_dma_map *map = (void *)arg;

    switch (request) {
    case VFIO_GET_API_VERSION:
        return (int)k->api_version;
    case VFIO_CHECK_EXTENSION:
        return arg == VFIO_TYPE1_IOMMU || (arg == VFIO_TYPE1v2_IOMMU && k->type1_v2) ||
               (arg == VFIO_UNMAP_ALL && k->unmap_all);
    case VFIO_SET_IOMMU:
        return container_set_iommu(k, f, arg);
    }
    if (!f->iommu_type) {
        return -EINVAL;
    }
    switch (request) {
    case VFIO_IOMMU_GET_INFO:
        return type1_info(k, (void *)arg);
    case VFIO_IOMMU_MAP_DMA:
        return fake_map(k, map->iova, map->size, map->vaddr,
                        (map->flags & VFIO_DMA_MAP_FLAG_READ ? PROT_READ : 0) |
                            (map->flags & VFIO_DMA_MAP_FLAG_WRITE ? PROT_WRITE : 0));
    case VFIO_IOMMU_UNMAP_DMA:
        return type1_unmap(k, (void *)arg);
    case VFIO_IOMMU_DIRTY_PAGES:
        return type1_dirty(k, (void *)arg);
    default:
        return -ENOTTY;
    }
}

/* --- devices --- */

/* What may be mapped is said in a sparse capability; map_device_memory: BAR 0 as well. */
static int device_region_info(FakeKernel *k, ContractDevice *d, struct vfio_region_info *info)
{
    ContractRegion r;
    struct {
        struct vfio_region_info info;
        struct __attribute__((aligned(8))) {
            struct vfio_info_cap_header header;
            uint32_t nr_areas, reserved;
        } sparse;
        struct vfio_region_sparse_mmap_area area[2];
    } all = {.info = {.argsz = sizeof(all.info), .index = info->index}};
    uint32_t room = info->argsz;

    contract_region(d, info->index, &r);
    if (info->index == 0 && k->map_device_memory) {
        r.area_count = 1;
        r.areas[0][1] = 4096;
    }
    all.info.flags = r.flags;
    all.info.size = r.size;
    all.info.offset = (uint64_t)info->index << REGION_SHIFT;
    if (r.area_count) {
        all.info.flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
        all.info.argsz = sizeof(all);
        all.info.cap_offset = room < sizeof(all) ? 0 : offsetof(typeof(all), sparse);
        all.sparse.header = (struct vfio_info_cap_header){VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0};
        all.sparse.nr_areas = r.area_count;
        for (unsigned i = 0; i < r.area_count; i++) {
            all.area[i] = (struct vfio_region_sparse_mmap_area){r.areas[i][0], r.areas[i][1]};
        }
    }
    memcpy(info, &all, MIN(room, sizeof(all)));
    return 0;
}

static int device_irq_info(const FakeKernel *k, struct vfio_irq_info *info)
{
    info->flags = VFIO_IRQ_INFO_EVENTFD;
    if (info->index == VFIO_PCI_MSIX_IRQ_INDEX && k->noresize) {
        info->flags |= VFIO_IRQ_INFO_NORESIZE;
    }
    info->count = contract_irq_count(info->index);
    return 0;
}

static int device_set_irqs(FakeKernel *k, FakeDevice *d, const struct vfio_irq_set *set)
{
    bool fds = set->flags & VFIO_IRQ_SET_DATA_EVENTFD;
    uint32_t end = set->start + set->count;
    int copy[CONTRACT_VECTORS];

    if (set->index == VFIO_PCI_MSIX_IRQ_INDEX) {
        if (!set->count || !d->vectors) {
            if (end > k->vector_limit) {
                return (int)k->vector_limit;
            }
            d->enables += !!end;
            d->vectors = end;
        } else if (end > d->vectors) {
            if (k->noresize) {
                return -EINVAL;
            }
            d->vectors = end;
        }
    }
    if (set->count > CONTRACT_VECTORS) {
        return -EINVAL;
    }
    memcpy(copy, set->data, fds ? set->count * sizeof(int32_t) : 0);
    return contract_set_irqs(d->device, set->flags, set->index, set->start, set->count, fds ? copy : NULL);
}

static int device_log(ContractDevice *d, struct vfio_device_feature *feature)
{
    struct vfio_device_feature_dma_logging_control control;
    struct vfio_device_feature_dma_logging_range range;
    struct vfio_device_feature_dma_logging_report report;

    switch (feature->flags) {
    case VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
        memcpy(&control, feature->data, sizeof(control));
        memcpy(&range, (const void *)control.ranges, sizeof(range));
        return contract_log(d, control.page_size, range.iova, range.iova + range.length);
    case VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
        return contract_log(d, 0, 0, 0);
    case VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
        memcpy(&report, feature->data, sizeof(report));
        return contract_report(d, report.iova, report.length, report.page_size, (void *)report.bitmap);
    default:
        return -ENOTTY;
    }
}

static int device_feature(FakeKernel *k, ContractDevice *d, struct vfio_device_feature *feature)
{
    return (feature->flags & VFIO_DEVICE_FEATURE_MASK) >= VFIO_DEVICE_FEATURE_DMA_LOGGING_START
               ? device_log(d, feature)
               : fake_migration_feature(k, feature);
}

static int reset_device(FakeKernel *k, ContractDevice *d)
{
    k->migration.state = VFIO_DEVICE_STATE_RUNNING;
    return contract_reset(d);
}

static int hot_reset_info(const FakeKernel *k, const FakeFile *f, struct vfio_pci_hot_reset_info *info)
{
    uint32_t room = (info->argsz - (uint32_t)sizeof(*info)) / (uint32_t)sizeof(info->devices[0]);

    info->count = k->device_count;
    info->flags = f->bound ? 3 : 0;
    if (room < k->device_count) {
        return -ENOSPC;
    }
    for (unsigned i = 0; i < k->device_count; i++) {
        unsigned slot, function;

        g_assert(sscanf(k->devices[i].address, "0000:00:%x.%x", &slot, &function) == 2);
        info->devices[i].group_id = (uint32_t)k->devices[i].group;
        info->devices[i].devfn = (uint8_t)(slot << 3 | function);
    }
    return 0;
}

/* Every affected group's fd is the proof that it is the caller's. */
static int hot_reset(FakeKernel *k, const FakeFile *f, const struct vfio_pci_hot_reset *request)
{
    for (unsigned i = 0; i < k->device_count && !f->bound; i++) {
        bool proven = false;

        for (uint32_t n = 0; n < request->count; n++) {
            const FakeFile *group = fake_file(&k->sys, request->group_fds[n]);

            proven |= group && group->kind == FAKE_GROUP && group->group == k->devices[i].group;
        }
        if (!proven) {
            return -EINVAL;
        }
    }
    k->hot_resets++;
    return 0;
}

static int device_ioctl(FakeKernel *k, FakeFile *f, unsigned long request, void *arg)
{
    struct vfio_device_info *info = arg;

    switch (request) {
    case VFIO_DEVICE_GET_INFO:
        info->flags = VFIO_DEVICE_FLAGS_PCI | (k->no_reset ? 0 : VFIO_DEVICE_FLAGS_RESET);
        info->num_regions = VFIO_PCI_NUM_REGIONS;
        info->num_irqs = VFIO_PCI_NUM_IRQS;
        return 0;
    case VFIO_DEVICE_GET_REGION_INFO:
        return device_region_info(k, f->device->device, arg);
    case VFIO_DEVICE_GET_IRQ_INFO:
        return device_irq_info(k, arg);
    case VFIO_DEVICE_SET_IRQS:
        return device_set_irqs(k, f->device, arg);
    case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
        return hot_reset_info(k, f, arg);
    case VFIO_DEVICE_PCI_HOT_RESET:
        return hot_reset(k, f, arg);
    case VFIO_DEVICE_RESET:
        return reset_device(k, f->device->device);
    case VFIO_DEVICE_FEATURE:
        return device_feature(k, f->device->device, arg);
    default:
        return fake_cdev_ioctl(k, f, request, arg);
    }
}

static int fake_ioctl(const VfioSys *sys, int fd, unsigned long request, uintptr_t arg)
{
    FakeKernel *k = (FakeKernel *)sys;
    FakeFile *f = fake_file(sys, fd);

    if (k->fail_ioctl == request) {
        return -k->error;
    }
    if (!f) {
        return -ENOTTY;
    }
    switch (f->kind) {
    case FAKE_CONTAINER:
        return container_ioctl(k, f, request, arg);
    case FAKE_GROUP:
        return group_ioctl(k, f, request, (void *)arg);
    case FAKE_DEVICE:
        return device_ioctl(k, f, request, (void *)arg);
    case FAKE_IOMMU:
        return fake_iommufd_ioctl(k, request, (void *)arg);
    default:
        return -ENOTTY;
    }
}

static ssize_t fake_pread(const VfioSys *sys, int fd, void *buf, size_t size, uint64_t offset)
{
    return contract_read(fake_file(sys, fd)->device->device, (unsigned)(offset >> REGION_SHIFT),
                         offset & ((UINT64_C(1) << REGION_SHIFT) - 1), (uint32_t)size, buf);
}

static ssize_t fake_pwrite(const VfioSys *sys, int fd, const void *buf, size_t size, uint64_t offset)
{
    return contract_write(fake_file(sys, fd)->device->device, (unsigned)(offset >> REGION_SHIFT),
                          offset & ((UINT64_C(1) << REGION_SHIFT) - 1), (uint32_t)size, buf);
}

/* --- life --- */

void fake_kernel_init(FakeKernel *k)
{
    *k = (FakeKernel){.type1_v2 = true,
                      .unmap_all = true,
                      .hwpts = true,
                      .dirty = true,
                      .interrupt_remapping = true,
                      .vector_limit = CONTRACT_VECTORS,
                      .last_iova = (UINT64_C(1) << 39) - 1,
                      .api_version = VFIO_API_VERSION,
                      .next_id = 1};
    k->root = g_dir_make_tmp("fake-kernel-XXXXXX", NULL);
    k->sys = (VfioSys){.root = k->root,
                       .open = fake_open,
                       .close = fake_close,
                       .ioctl = fake_ioctl,
                       .pread = fake_pread,
                       .pwrite = fake_pwrite,
                       .read = fake_migration_read,
                       .write = fake_migration_write};
    k->migration = (FakeMigration){.state = VFIO_DEVICE_STATE_RUNNING, .refused = UINT32_MAX, .data = g_string_new(NULL)};
    k->files = g_hash_table_new_full(NULL, NULL, NULL, g_free);
}

unsigned fake_kernel_open_files(const FakeKernel *k)
{
    return g_hash_table_size(k->files);
}

void fake_kernel_cleanup(FakeKernel *k)
{
    remove_tree(k->root);
    g_hash_table_destroy(k->files);
    g_string_free(k->migration.data, TRUE);
    for (unsigned i = 0; i < k->device_count; i++) {
        g_free(k->devices[i].address);
    }
    g_free(k->root);
}

int fake_kernel_open_cdev(FakeKernel *k, unsigned device)
{
    return fake_file_new(k, (FakeFile){.kind = FAKE_DEVICE, .device = &k->devices[device]});
}

int fake_kernel_open_iommu(FakeKernel *k)
{
    return fake_file_new(k, (FakeFile){.kind = FAKE_IOMMU});
}
