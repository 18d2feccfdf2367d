/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 16550A UART as an ISA device (National Semiconductor PC16550D data sheet,
 * section 8).  Characters leave at once whatever the divisor says; the receive
 * FIFO holds back its character device while it is full.
 */
#include "hw/char/serial.h"

/* Register offsets. */
enum { REG_RBR_THR_DLL, REG_IER_DLM, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_ERBFI 0x01
#define IER_ETBEI 0x02
#define IER_ELSI  0x04
#define IER_EDSSI 0x08

#define IIR_NONE    0x01
#define IIR_MODEM   0x00
#define IIR_THRE    0x02
#define IIR_DATA    0x04
#define IIR_LINE    0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFO    0xc0

#define FCR_ENABLE   0x01
#define FCR_RX_RESET 0x02
#define FCR_TX_RESET 0x04

#define LCR_BREAK 0x40
#define LCR_DLAB  0x80

#define MCR_DTR  0x01
#define MCR_RTS  0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10

#define LSR_DR     0x01
#define LSR_OE     0x02
#define LSR_BI     0x10
#define LSR_THRE   0x20
#define LSR_TEMT   0x40
#define LSR_ERRORS 0x1e

#define MSR_DELTAS 0x0f
#define MSR_CTS    0x10
#define MSR_DSR    0x20
#define MSR_RI     0x40
#define MSR_DCD    0x80

#define SERIAL_CLOCK_HZ 115200 /* 1.8432 MHz / 16 */

static bool serial_fifo(const Serial *s)
{
    return s->fcr & FCR_ENABLE;
}

static unsigned serial_rx_capacity(const Serial *s)
{
    return serial_fifo(s) ? SERIAL_FIFO_SIZE : 1;
}

static unsigned serial_trigger(const Serial *s)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return serial_fifo(s) ? level[s->fcr >> 6] : 1;
}

static void serial_update_irq(Serial *s)
{
    uint8_t id = IIR_NONE;
    if ((s->ier & IER_ELSI) && (s->lsr & LSR_ERRORS)) {
        id = IIR_LINE;
    } else if ((s->ier & IER_ERBFI) && s->rx_count >= serial_trigger(s)) {
        id = IIR_DATA;
    } else if ((s->ier & IER_ERBFI) && s->timeout_ipending) {
        id = IIR_TIMEOUT;
    } else if ((s->ier & IER_ETBEI) && s->thr_ipending) {
        id = IIR_THRE;
    } else if ((s->ier & IER_EDSSI) && (s->msr & MSR_DELTAS)) {
        id = IIR_MODEM;
    }
    s->iir = id | (serial_fifo(s) ? IIR_FIFO : 0);
    /* OUT2 gates the line on a PC. */
    irq_set(s->line, id != IIR_NONE && (s->mcr & MCR_OUT2) && !(s->mcr & MCR_LOOP));
}

static void serial_rearm_timeout(Serial *s)
{
    s->timeout_ipending = false;
    if (serial_fifo(s) && s->rx_count) {
        timer_set(s->timeout, clock_now(s->dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL) + 4 * s->char_ns);
    } else {
        timer_cancel(s->timeout);
    }
}

static void serial_timeout_expired(void *opaque)
{
    Serial *s = opaque;
    s->timeout_ipending = s->rx_count > 0;
    serial_update_irq(s);
}

static void serial_push(Serial *s, uint8_t byte)
{
    if (s->rx_count >= serial_rx_capacity(s)) {
        s->lsr |= LSR_OE;
    } else {
        s->rx[(s->rx_head + s->rx_count++) % SERIAL_FIFO_SIZE] = byte;
    }
    s->lsr |= LSR_DR;
}

static uint8_t serial_pop(Serial *s)
{
    if (!s->rx_count) {
        return 0;
    }
    uint8_t byte = s->rx[s->rx_head];
    s->rx_head = (s->rx_head + 1) % SERIAL_FIFO_SIZE;
    if (!--s->rx_count) {
        s->lsr &= (uint8_t) ~(LSR_DR | LSR_BI);
    }
    serial_rearm_timeout(s);
    serial_update_irq(s);
    if (s->chr) {
        chardev_accept_input(s->chr);
    }
    return byte;
}

static void serial_clear_rx(Serial *s)
{
    s->rx_head = s->rx_count = 0;
    s->lsr &= (uint8_t) ~(LSR_DR | LSR_BI);
    serial_rearm_timeout(s);
    if (s->chr) {
        chardev_accept_input(s->chr);
    }
}

static void serial_transmit(Serial *s, uint8_t byte)
{
    if (s->mcr & MCR_LOOP) {
        serial_push(s, byte);
        serial_rearm_timeout(s);
    } else if (s->chr) {
        chardev_write(s->chr, &byte, 1);
    }
    s->thr_ipending = true;
    serial_update_irq(s);
}

/* Modem inputs: those of a cable with everything asserted, or in loopback the outputs. */
static void serial_update_modem(Serial *s)
{
    uint8_t now;
    if (s->mcr & MCR_LOOP) {
        now = (s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
              (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0);
    } else {
        now = s->chr && chardev_connected(s->chr) ? MSR_CTS | MSR_DSR | MSR_DCD : 0;
    }
    uint8_t changed = (s->msr ^ now) >> 4;
    if ((changed & (MSR_RI >> 4)) && (now & MSR_RI)) {
        changed &= (uint8_t) ~(MSR_RI >> 4); /* only the trailing edge of RI counts */
    }
    s->msr = now | (s->msr & MSR_DELTAS) | (changed & MSR_DELTAS);
}

static void serial_update_rate(Serial *s)
{
    unsigned bits = 1 + 5 + (s->lcr & 3) + (s->lcr & 8 ? 1 : 0) + (s->lcr & 4 ? 2 : 1);
    uint32_t divisor = s->divisor ? s->divisor : 65536;
    s->char_ns = (int64_t)bits * divisor * 1000000000ll / SERIAL_CLOCK_HZ;
}

static void serial_write_fcr(Serial *s, uint8_t val)
{
    bool toggled = (s->fcr ^ val) & FCR_ENABLE;
    s->fcr = val & 0xc9;
    if (!(val & FCR_ENABLE)) {
        s->fcr = 0;
    }
    if (toggled || (val & FCR_RX_RESET)) {
        serial_clear_rx(s);
    }
    if (toggled || (val & FCR_TX_RESET)) {
        s->thr_ipending = true;
    }
    serial_update_irq(s);
}

static void serial_write_ier(Serial *s, uint8_t val)
{
    /* Enabling the interrupt while the holding register is empty raises it. */
    if ((val & IER_ETBEI) && !(s->ier & IER_ETBEI)) {
        s->thr_ipending = true;
    }
    s->ier = val & 0x0f;
    serial_update_irq(s);
}

static MemResult serial_write(void *opaque, HwAddr addr, unsigned size, uint64_t val64, MemAttrs attrs)
{
    Serial *s = opaque;
    uint8_t val = (uint8_t)val64;
    bool dlab = s->lcr & LCR_DLAB;
    switch (addr) {
    case REG_RBR_THR_DLL:
        if (dlab) {
            s->divisor = (s->divisor & 0xff00) | val;
            serial_update_rate(s);
        } else {
            serial_transmit(s, val);
        }
        break;
    case REG_IER_DLM:
        if (dlab) {
            s->divisor = (uint16_t)(s->divisor & 0xff) | (uint16_t)(val << 8);
            serial_update_rate(s);
        } else {
            serial_write_ier(s, val);
        }
        break;
    case REG_IIR_FCR:
        serial_write_fcr(s, val);
        break;
    case REG_LCR:
        s->lcr = val;
        serial_update_rate(s);
        break;
    case REG_MCR:
        s->mcr = val & 0x1f;
        serial_update_modem(s);
        serial_update_irq(s);
        break;
    case REG_SCR:
        s->scr = val;
        break;
    default:
        guest_error(&s->dev, "write to read-only register %s", addr == REG_LSR ? "LSR" : "MSR");
        break;
    }
    return MEM_OK;
}

static uint8_t serial_read_iir(Serial *s)
{
    uint8_t val = s->iir;
    if ((val & 0x0f) == IIR_THRE) {
        s->thr_ipending = false;
        serial_update_irq(s);
    }
    return val;
}

static uint8_t serial_read_lsr(Serial *s)
{
    uint8_t val = s->lsr | LSR_THRE | LSR_TEMT;
    if (s->lsr & LSR_ERRORS) {
        s->lsr &= (uint8_t)~LSR_ERRORS;
        serial_update_irq(s);
    }
    return val;
}

static uint8_t serial_read_msr(Serial *s)
{
    serial_update_modem(s);
    uint8_t val = s->msr;
    s->msr &= (uint8_t)~MSR_DELTAS;
    serial_update_irq(s);
    return val;
}

static MemResult serial_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Serial *s = opaque;
    bool dlab = s->lcr & LCR_DLAB;
    switch (addr) {
    case REG_RBR_THR_DLL:
        *val = dlab ? s->divisor & 0xff : serial_pop(s);
        break;
    case REG_IER_DLM:
        *val = dlab ? s->divisor >> 8 : s->ier;
        break;
    case REG_IIR_FCR:
        *val = serial_read_iir(s);
        break;
    case REG_LCR:
        *val = s->lcr;
        break;
    case REG_MCR:
        *val = s->mcr;
        break;
    case REG_LSR:
        *val = serial_read_lsr(s);
        break;
    case REG_MSR:
        *val = serial_read_msr(s);
        break;
    default:
        *val = s->scr;
        break;
    }
    return MEM_OK;
}

static const MemOps serial_ops = {.read = serial_read, .write = serial_write, .min_size = 1, .max_size = 1};

/* --- the character device's side --- */

static size_t serial_can_receive(void *opaque)
{
    Serial *s = opaque;
    return (s->mcr & MCR_LOOP) || s->rx_count >= serial_rx_capacity(s) ? 0
                                                                       : serial_rx_capacity(s) - s->rx_count;
}

static void serial_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Serial *s = opaque;
    for (size_t i = 0; i < len; i++) {
        serial_push(s, buf[i]);
    }
    serial_rearm_timeout(s);
    serial_update_irq(s);
}

static void serial_event(void *opaque, ChardevEvent event)
{
    Serial *s = opaque;
    if (event == CHARDEV_BREAK) {
        serial_push(s, 0);
        s->lsr |= LSR_BI;
        serial_rearm_timeout(s);
    } else {
        serial_update_modem(s);
    }
    serial_update_irq(s);
}

/* --- the device --- */

static void serial_reset(Device *dev)
{
    Serial *s = (Serial *)dev;
    s->ier = s->fcr = s->lcr = s->mcr = s->scr = 0;
    s->iir = IIR_NONE;
    s->lsr = 0;
    s->msr = 0;
    s->divisor = 12; /* 9600 */
    s->rx_head = s->rx_count = 0;
    s->thr_ipending = s->timeout_ipending = false;
    timer_cancel(s->timeout);
    serial_update_rate(s);
    serial_update_modem(s);
    s->msr &= (uint8_t)~MSR_DELTAS;
    serial_update_irq(s);
}

static bool serial_start(Device *dev, GError **error)
{
    static const uint16_t ports[4] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
    static const uint8_t irqs[4] = {4, 3, 4, 3};
    Serial *s = (Serial *)dev;
    s->bus = isa_bus_find(dev->obj.machine, "isa-serial", error);
    if (!s->bus) {
        return false;
    }
    if (s->iobase == UINT32_MAX) {
        s->iobase = ports[s->index];
    }
    if (s->irq == UINT32_MAX) {
        s->irq = irqs[s->index];
    }
    if (s->iobase > 0xfff8) {
        error_set(error, "isa-serial: no such port (iobase=0x%x, allowed 0..0xfff8)", s->iobase);
        return false;
    }
    MemSection section;
    if (as_lookup(dev->obj.machine->io, s->iobase, &section)) {
        error_set(error, "isa-serial: port 0x%x belongs to %s; choose another index= or iobase=", s->iobase,
                  mem_region_name(section.region));
        return false;
    }
    if (!isa_claim_irq(s->bus, dev, s->irq, &s->line, error)) {
        return false;
    }
    const ChardevFrontend frontend = {serial_can_receive, serial_receive, serial_event, s};
    s->timeout = timer_new(dev->home, CLOCK_KIND_VIRTUAL, serial_timeout_expired, s);
    if (s->chr && !chardev_attach(s->chr, &frontend, error)) {
        timer_free(s->timeout);
        isa_release_irq(s->bus, dev, s->irq);
        return false;
    }
    s->region = isa_map_ports(s->bus, dev, "serial", (uint16_t)s->iobase, 8, &serial_ops, s);
    return true;
}

static void serial_stop(Device *dev)
{
    Serial *s = (Serial *)dev;
    isa_unmap_ports(s->bus, &s->region);
    if (s->chr) {
        chardev_detach(s->chr, s);
    }
    irq_lower(s->line);
    isa_release_irq(s->bus, dev, s->irq);
    timer_free(s->timeout);
}

static bool serial_post_load(void *instance, uint32_t version, GError **error)
{
    Serial *s = instance;
    if (s->rx_head >= SERIAL_FIFO_SIZE || s->rx_count > SERIAL_FIFO_SIZE) {
        error_set(error, "isa-serial: bad receive FIFO (head %u, count %u, allowed 0..%d)", s->rx_head,
                  s->rx_count, SERIAL_FIFO_SIZE);
        return false;
    }
    serial_update_rate(s);
    serial_rearm_timeout(s);
    serial_update_irq(s);
    return true;
}

static const StateField serial_fields[] = {
    STATE_FIELD_UINT(Serial, ier),
    STATE_FIELD_UINT(Serial, fcr),
    STATE_FIELD_UINT(Serial, lcr),
    STATE_FIELD_UINT(Serial, mcr),
    STATE_FIELD_UINT(Serial, lsr),
    STATE_FIELD_UINT(Serial, msr),
    STATE_FIELD_UINT(Serial, scr),
    STATE_FIELD_UINT(Serial, divisor),
    STATE_FIELD_BYTES(Serial, rx),
    STATE_FIELD_UINT(Serial, rx_head),
    STATE_FIELD_UINT(Serial, rx_count),
    STATE_FIELD_BOOL(Serial, thr_ipending),
    STATE_END,
};
static const StateTable serial_state = {
    .name = "isa-serial", .version = 1, .fields = serial_fields, .post_load = serial_post_load};

static const Prop serial_props[] = {
    {.name = "chardev",
     .type = &prop_chardev,
     .offset = offsetof(Serial, chr),
     .doc = "id of a character device"},
    PROP_U32("index", Serial, index, 0, 0, 3, "which of COM1..COM4 gives port and interrupt"),
    PROP_U32("iobase", Serial, iobase, UINT32_MAX, 0, UINT32_MAX, "first port (default: by index)"),
    PROP_U32("irq", Serial, irq, UINT32_MAX, 0, UINT32_MAX, "ISA interrupt (default: by index)"),
    PROP_END,
};

const DeviceModel isa_serial_model = {
    .model = {.name = "isa-serial",
              .doc = "16550A serial port.",
              .kind = MODEL_DEVICE,
              .size = sizeof(Serial),
              .props = serial_props,
              .state = &serial_state},
    .start = serial_start,
    .reset = serial_reset,
    .stop = serial_stop,
};
