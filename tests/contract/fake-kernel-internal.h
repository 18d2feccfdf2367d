/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the kernel in memory share. */
#ifndef TESTS_FAKE_KERNEL_INTERNAL_H
#define TESTS_FAKE_KERNEL_INTERNAL_H

#include "fake-kernel.h"

typedef struct FakeFile {
    enum { FAKE_CONTAINER, FAKE_GROUP, FAKE_DEVICE, FAKE_IOMMU, FAKE_DATA } kind;
    int fd;
    int group;           /* of a group */
    int container;       /* fd a group is in; 0: none */
    unsigned users;      /* groups of a container */
    int iommu_type;      /* of a container; 0: not set */
    FakeDevice *device;  /* of a device */
    bool bound;          /* to an iommufd */
    uint32_t page_table; /* id attached to; 0: none */
} FakeFile;

FakeFile *fake_file(const VfioSys *sys, int fd);
int fake_file_new(FakeKernel *k, FakeFile file);
/* A driver of the host has a device of the group. */
bool fake_group_is_driven(const FakeKernel *k, int group);
int fake_map(FakeKernel *k, uint64_t iova, uint64_t size, uint64_t vaddr, int access); /* PROT_* */
/* Sets the bit of the page that was written, if it is inside. */
void fake_report(const FakeKernel *k, uint64_t iova, uint64_t size, uint64_t page_size, uint64_t *bitmap);
struct vfio_device_feature;
/* fake-migration.c */
int fake_migration_feature(FakeKernel *k, struct vfio_device_feature *feature);
ssize_t fake_migration_read(const VfioSys *sys, int fd, void *buf, size_t size);
ssize_t fake_migration_write(const VfioSys *sys, int fd, const void *buf, size_t size);
/* fake-iommufd.c: requests of a device's character device, and of /dev/iommu. */
int fake_cdev_ioctl(FakeKernel *k, FakeFile *f, unsigned long request, void *arg);
int fake_iommufd_ioctl(FakeKernel *k, unsigned long request, void *arg);

#endif
