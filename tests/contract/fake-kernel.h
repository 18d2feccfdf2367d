/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A kernel in memory for the kernel back end of VFIO: the system calls of hw/vfio/kernel-sys.h over contract
 * devices, with a sysfs of real files below a temporary directory.  It refuses what Linux refuses: vectors
 * beyond those set up, maps that overlap, a group that a driver of the host still uses.
 */
#ifndef TESTS_FAKE_KERNEL_H
#define TESTS_FAKE_KERNEL_H

#include "contract-device.h"
#include "hw/vfio/kernel-sys.h"

#define FAKE_MAX_DEVICES 8
#define FAKE_MAX_HWPTS   8

typedef struct FakeDevice {
    char *address;
    int group;          /* -1: none */
    const char *driver; /* NULL: none */
    ContractDevice *device;
    uint32_t vectors; /* set up for MSI-X */
    unsigned enables; /* times that was done anew */
} FakeDevice;

typedef struct FakeHwpt {
    uint32_t id, ioas;
    bool can_track, tracking;
} FakeHwpt;

/* Of every device.  What it saves is FAKE_EARLY and FAKE_LATE, and that is what it loads. */
#define FAKE_EARLY "early "
#define FAKE_LATE  "late"

typedef struct FakeMigration {
    uint64_t flags; /* what it can do; 0: nothing */
    uint32_t state; /* VFIO_DEVICE_STATE_* */
    uint32_t refused; /* state that cannot be entered */
    bool breaks;      /* it is in ERROR then */
    GString *data;    /* of the session that is open */
    gsize at;
} FakeMigration;

typedef struct FakeKernel {
    VfioSys sys;
    char *root;
    GHashTable *files; /* fd to FakeFile */
    FakeDevice devices[FAKE_MAX_DEVICES];
    unsigned device_count;
    ContractDevice *dma; /* whose map list shows the maps */
    /* what this kernel has */
    bool type1_v2, unmap_all, noresize, no_iommu_mode, hwpts, dirty, interrupt_remapping, map_device_memory;
    bool no_reset;         /* devices are reset by their bus, which they all share */
    uint32_t vector_limit; /* MSI-X vectors the host has left */
    uint64_t last_iova;    /* of the IOMMU */
    uint32_t api_version;
    /* calls of this kind fail with that errno */
    const char *fail_open;
    unsigned long fail_ioctl;
    int error;
    /* seen */
    unsigned maps, unmaps, unmap_alls, containers, hot_resets;
    uint32_t next_id;
    FakeHwpt hwpt[FAKE_MAX_HWPTS];
    FakeMigration migration;
    bool type1_tracking;
    uint64_t dirty_iova; /* the page that was written */
} FakeKernel;

void fake_kernel_init(FakeKernel *k);
/* Everything the emulator opened has to be closed: how many files are not. */
unsigned fake_kernel_open_files(const FakeKernel *k);
void fake_kernel_cleanup(FakeKernel *k);
/* A device of the host; driver NULL: none; "vfio-pci" has it ready to be given away. */
FakeDevice *fake_kernel_add(FakeKernel *k, const char *address, int group, const char *driver,
                            ContractDevice *device);
/* An open character device, as another program would pass it. */
int fake_kernel_open_cdev(FakeKernel *k, unsigned device);
int fake_kernel_open_iommu(FakeKernel *k);

#endif
