/* SPDX-License-Identifier: BSD-3-Clause */
/* vfio-user message header (protocol specification, "Header"). */
#include "wire.h"

#include <errno.h>

#include "bytes.h"

static const char *const command_names[WIRE_COMMAND_COUNT] = {
    [WIRE_VERSION] = "VERSION",
    [WIRE_DMA_MAP] = "DMA_MAP",
    [WIRE_DMA_UNMAP] = "DMA_UNMAP",
    [WIRE_GET_INFO] = "DEVICE_GET_INFO",
    [WIRE_GET_REGION_INFO] = "DEVICE_GET_REGION_INFO",
    [WIRE_GET_REGION_IO_FDS] = "DEVICE_GET_REGION_IO_FDS",
    [WIRE_GET_IRQ_INFO] = "DEVICE_GET_IRQ_INFO",
    [WIRE_SET_IRQS] = "DEVICE_SET_IRQS",
    [WIRE_REGION_READ] = "REGION_READ",
    [WIRE_REGION_WRITE] = "REGION_WRITE",
    [WIRE_DMA_READ] = "DMA_READ",
    [WIRE_DMA_WRITE] = "DMA_WRITE",
    [WIRE_RESET] = "DEVICE_RESET",
    [WIRE_DIRTY_PAGES] = "DIRTY_PAGES",
    [WIRE_WRITE_MULTI] = "REGION_WRITE_MULTI",
    [WIRE_DEVICE_FEATURE] = "DEVICE_FEATURE",
    [WIRE_MIG_DATA_READ] = "MIG_DATA_READ",
    [WIRE_MIG_DATA_WRITE] = "MIG_DATA_WRITE",
};

const char *wire_command_name(unsigned command)
{
    if (command >= WIRE_COMMAND_COUNT || command_names[command] == NULL) {
        return "unknown";
    }
    return command_names[command];
}

WIRE_HOT int wire_header_decode(WireHeader *h, const void *buf, size_t len)
{
    if (len < WIRE_HEADER_SIZE) {
        return EINVAL;
    }
    h->id = wire_get_u16(buf, 0);
    h->command = wire_get_u16(buf, 2);
    h->size = wire_get_u32(buf, 4);
    h->flags = wire_get_u32(buf, 8);
    h->error = wire_get_u32(buf, 12);
    return 0;
}

WIRE_HOT size_t wire_header_encode(void *buf, const WireHeader *h)
{
    wire_put_u16(buf, 0, h->id);
    wire_put_u16(buf, 2, h->command);
    wire_put_u32(buf, 4, h->size);
    wire_put_u32(buf, 8, h->flags);
    wire_put_u32(buf, 12, h->error);
    return WIRE_HEADER_SIZE;
}

WIRE_HOT int wire_header_check(const WireHeader *h, uint32_t max_message)
{
    return h->size < WIRE_HEADER_SIZE || h->size > max_message ? EINVAL : 0;
}

int wire_header_error(const WireHeader *h)
{
    if (!(h->flags & WIRE_ERROR)) {
        return 0;
    }
    return h->error == 0 || h->error > 4096 ? EINVAL : (int)h->error;
}
