/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Migration of the devices of the kernel in memory (<linux/vfio.h>, version 2 of the protocol): states, and sessions of data that begin
 * with PRE_COPY, STOP_COPY and RESUMING.  STOP_COPY goes on with that of PRE_COPY, and hands out no file.
 */
#include <errno.h>
#include <string.h>

#include <linux/vfio.h>

#include "fake-kernel-internal.h"

#define FAKE_PRE_COPY 6u /* newer than Debian 12's header */

static bool is_copying(uint32_t state)
{
    return state == FAKE_PRE_COPY || state == VFIO_DEVICE_STATE_STOP_COPY;
}

static bool can_go(const FakeMigration *mig, uint32_t state)
{
    bool there = mig->state != VFIO_DEVICE_STATE_ERROR && state > VFIO_DEVICE_STATE_ERROR && state <= FAKE_PRE_COPY &&
                 (state != FAKE_PRE_COPY || (mig->flags >> 2 & 1 && mig->state == VFIO_DEVICE_STATE_RUNNING));

    return there && (mig->state != VFIO_DEVICE_STATE_RESUMING || !strcmp(mig->data->str, FAKE_EARLY FAKE_LATE));
}

static int set_state(FakeKernel *k, struct vfio_device_feature_mig_state *wish)
{
    FakeMigration *mig = &k->migration;
    bool begins = (is_copying(wish->device_state) && !is_copying(mig->state)) ||
                  wish->device_state == VFIO_DEVICE_STATE_RESUMING;

    wish->data_fd = -1;
    if (wish->device_state == mig->refused || !can_go(mig, wish->device_state)) {
        mig->state = mig->breaks ? VFIO_DEVICE_STATE_ERROR : mig->state;
        return -EIO;
    }
    mig->state = wish->device_state;
    if (begins) {
        g_string_assign(mig->data, is_copying(mig->state) ? FAKE_EARLY FAKE_LATE : "");
        mig->at = 0;
        wish->data_fd = fake_file_new(k, (FakeFile){.kind = FAKE_DATA});
    }
    return 0;
}

int fake_migration_feature(FakeKernel *k, struct vfio_device_feature *feature)
{
    FakeMigration *mig = &k->migration;
    struct vfio_device_feature_migration can = {.flags = mig->flags};
    struct vfio_device_feature_mig_state *state = (void *)feature->data;

    if (!mig->flags || feature->argsz < sizeof(*feature) + sizeof(can)) {
        return -ENOTTY;
    }
    switch (feature->flags) {
    case VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIGRATION:
        memcpy(feature->data, &can, sizeof(can));
        return 0;
    case VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
        *state = (struct vfio_device_feature_mig_state){.device_state = mig->state, .data_fd = -1};
        return 0;
    case VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
        return set_state(k, state);
    default:
        return -ENOTTY;
    }
}

ssize_t fake_migration_read(const VfioSys *sys, int fd, void *buf, size_t size)
{
    FakeMigration *mig = &((FakeKernel *)sys)->migration;
    gsize end = mig->state == FAKE_PRE_COPY ? strlen(FAKE_EARLY) : mig->data->len;

    if (!fake_file(sys, fd) || !is_copying(mig->state)) {
        return -EBADF;
    }
    if (mig->at == end && mig->state == FAKE_PRE_COPY) {
        return -ENOMSG;
    }
    size = MIN(size, end - mig->at);
    memcpy(buf, mig->data->str + mig->at, size);
    mig->at += size;
    return (ssize_t)size;
}

ssize_t fake_migration_write(const VfioSys *sys, int fd, const void *buf, size_t size)
{
    FakeMigration *mig = &((FakeKernel *)sys)->migration;

    if (!fake_file(sys, fd) || mig->state != VFIO_DEVICE_STATE_RESUMING) {
        return -EBADF;
    }
    g_string_append_len(mig->data, buf, (gssize)size);
    return (ssize_t)size;
}
