/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * APM_CNT and APM_STS (ICH9 data sheet 13.7.5; PIIX4 data sheet 4.2.6): two bytes of storage, of which a write to the
 * first tells the chip set.
 */
#include "hw/isa/apm.h"

#define PORT_APM_CNT 0xb2
#define APM_SIZE     2
#define APM_STS      1

static MemResult apm_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    ApmPorts *s = opaque;
    *val = addr == APM_STS ? s->sts : s->cnt;
    return MEM_OK;
}

static MemResult apm_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    ApmPorts *s = opaque;
    if (addr == APM_STS) {
        s->sts = (uint8_t)val;
        return MEM_OK;
    }
    s->cnt = (uint8_t)val;
    s->command(s->opaque, s->cnt, attrs.unspecified ? attrs.requester_id : 0);
    return MEM_OK;
}

static const MemOps apm_ops = {.read = apm_read, .write = apm_write, .min_size = 1, .max_size = 1};

static void apm_reset(Device *dev)
{
    ApmPorts *s = (ApmPorts *)dev;
    s->cnt = s->sts = 0;
}

static bool apm_start(Device *dev, GError **error)
{
    ApmPorts *s = (ApmPorts *)dev;
    s->region = mem_region_new_io(dev->obj.machine->topo, "apm", APM_SIZE, &apm_ops, s, dev->home);
    mem_region_add(s->io, PORT_APM_CNT, s->region);
    return true;
}

static void apm_stop(Device *dev)
{
    ApmPorts *s = (ApmPorts *)dev;
    mem_region_del(s->io, s->region);
    mem_region_retire(s->region);
    mem_region_unref(s->region);
}

static const StateField apm_fields[] = {
    STATE_FIELD_UINT(ApmPorts, cnt),
    STATE_FIELD_UINT(ApmPorts, sts),
    STATE_END,
};
static const StateTable apm_state = {.name = "apm", .version = 1, .fields = apm_fields};

const DeviceModel apm_ports_model = {
    .model = {.name = "apm",
              .doc = "Power management ports B2h and B3h.",
              .kind = MODEL_DEVICE,
              .size = sizeof(ApmPorts),
              .state = &apm_state,
              .internal = true},
    .start = apm_start,
    .reset = apm_reset,
    .stop = apm_stop,
};
