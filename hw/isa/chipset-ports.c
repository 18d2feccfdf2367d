/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fixed ports of the ICH9 (data sheet 13.7): NMI status and control at 61h,
 * which gates timer counter 2, the POST code at 80h, fast A20 and INIT at 92h,
 * and reset control at CF9h, which the host bridge hands over because it lies
 * inside the PCI configuration address port.
 */
#include "hw/isa/chipset-ports.h"

#include "accel/accel.h"

#define NMI_SC_TIM_CNT2_EN  0x01
#define NMI_SC_WRITABLE     0x0f
#define NMI_SC_REF_TOGGLE   0x10
#define NMI_SC_TMR2_OUT_STS 0x20
#define REFRESH_PERIOD_NS   15085 /* DRAM refresh request of the PC/AT */

#define PORT92_INIT_NOW 0x01
#define PORT92_ALT_A20  0x02

#define RST_CNT_RST_CPU  0x04
#define RST_CNT_WRITABLE 0x0e

static MemResult nmi_sc_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    ChipsetPorts *s = opaque;
    int64_t now = clock_now(s->dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL);
    *val = s->nmi_sc | (now / REFRESH_PERIOD_NS & 1 ? NMI_SC_REF_TOGGLE : 0) |
           (i8254_out(s->pit, 2) ? NMI_SC_TMR2_OUT_STS : 0);
    return MEM_OK;
}

static MemResult nmi_sc_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    ChipsetPorts *s = opaque;
    s->nmi_sc = val & NMI_SC_WRITABLE;
    i8254_set_gate(s->pit, 2, val & NMI_SC_TIM_CNT2_EN);
    return MEM_OK;
}

static MemResult post_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = ((ChipsetPorts *)opaque)->post;
    return MEM_OK;
}

static MemResult post_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    ((ChipsetPorts *)opaque)->post = (uint8_t)val;
    return MEM_OK;
}

static MemResult port92_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = ((ChipsetPorts *)opaque)->port92;
    return MEM_OK;
}

static MemResult port92_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    ChipsetPorts *s = opaque;
    Machine *m = s->dev.obj.machine;
    bool init = (val & PORT92_INIT_NOW) && !(s->port92 & PORT92_INIT_NOW);
    s->port92 = val & (PORT92_INIT_NOW | PORT92_ALT_A20);
    if (m->accel) {
        m->accel->ops->set_a20(m->accel, val & PORT92_ALT_A20);
    }
    if (init) {
        machine_request_reset(m, SHUTDOWN_GUEST_RESET);
    }
    return MEM_OK;
}

uint8_t chipset_ports_read_rst_cnt(const ChipsetPorts *s)
{
    return s->rst_cnt;
}

void chipset_ports_write_rst_cnt(ChipsetPorts *s, uint8_t val)
{
    bool go = (val & RST_CNT_RST_CPU) && !(s->rst_cnt & RST_CNT_RST_CPU);
    s->rst_cnt = val & RST_CNT_WRITABLE;
    if (go) {
        machine_request_reset(s->dev.obj.machine, SHUTDOWN_GUEST_RESET);
    }
}

static const struct {
    const char *name;
    uint16_t port;
    MemOps ops;
} chipset_ports[CHIPSET_PORT_COUNT] = {
    {"nmi-sc", 0x61, {.read = nmi_sc_read, .write = nmi_sc_write, .min_size = 1, .max_size = 1}},
    {"post", 0x80, {.read = post_read, .write = post_write, .min_size = 1, .max_size = 1}},
    {"port92", 0x92, {.read = port92_read, .write = port92_write, .min_size = 1, .max_size = 1}},
};

static void chipset_ports_reset(Device *dev)
{
    ChipsetPorts *s = (ChipsetPorts *)dev;
    s->nmi_sc = s->post = s->rst_cnt = 0;
    s->port92 = PORT92_ALT_A20;
}

static bool chipset_ports_start(Device *dev, GError **error)
{
    ChipsetPorts *s = (ChipsetPorts *)dev;
    for (unsigned i = 0; i < CHIPSET_PORT_COUNT; i++) {
        s->regions[i] = mem_region_new_io(dev->obj.machine->topo, chipset_ports[i].name, 1,
                                          &chipset_ports[i].ops, s, dev->home);
        mem_region_add(s->io, chipset_ports[i].port, s->regions[i]);
    }
    return true;
}

static void chipset_ports_stop(Device *dev)
{
    ChipsetPorts *s = (ChipsetPorts *)dev;
    for (unsigned i = 0; i < CHIPSET_PORT_COUNT; i++) {
        mem_region_del(s->io, s->regions[i]);
        mem_region_retire(s->regions[i]);
        mem_region_unref(s->regions[i]);
    }
}

static const StateField chipset_ports_fields[] = {
    STATE_FIELD_UINT(ChipsetPorts, nmi_sc),
    STATE_FIELD_UINT(ChipsetPorts, port92),
    STATE_FIELD_UINT(ChipsetPorts, post),
    STATE_FIELD_UINT(ChipsetPorts, rst_cnt),
    STATE_END,
};
static const StateTable chipset_ports_state = {
    .name = "chipset-ports", .version = 1, .fields = chipset_ports_fields};

const DeviceModel chipset_ports_model = {
    .model = {.name = "chipset-ports",
              .doc = "Fixed ports of the ICH9: 61h, 80h, 92h, CF9h.",
              .kind = MODEL_DEVICE,
              .size = sizeof(ChipsetPorts),
              .state = &chipset_ports_state,
              .internal = true},
    .start = chipset_ports_start,
    .reset = chipset_ports_reset,
    .stop = chipset_ports_stop,
};
