/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 16550A UART (National Semiconductor PC16550D data sheet, section 8), on whatever bus.  Characters leave at
 * once whatever the divisor says; the receive FIFO holds back its character device while it is full.
 */
#include "hw/char/uart.h"

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

#define UART_CLOCK_HZ 115200 /* 1.8432 MHz / 16 */

static bool uart_fifo(const Uart *s)
{
    return s->fcr & FCR_ENABLE;
}

static unsigned uart_rx_capacity(const Uart *s)
{
    return uart_fifo(s) ? UART_FIFO_SIZE : 1;
}

static unsigned uart_trigger(const Uart *s)
{
    static const uint8_t level[4] = {1, 4, 8, 14};
    return uart_fifo(s) ? level[s->fcr >> 6] : 1;
}

static void uart_update_irq(Uart *s)
{
    uint8_t id = IIR_NONE;
    if ((s->ier & IER_ELSI) && (s->lsr & LSR_ERRORS)) {
        id = IIR_LINE;
    } else if ((s->ier & IER_ERBFI) && s->rx_count >= uart_trigger(s)) {
        id = IIR_DATA;
    } else if ((s->ier & IER_ERBFI) && s->timeout_ipending) {
        id = IIR_TIMEOUT;
    } else if ((s->ier & IER_ETBEI) && s->thr_ipending) {
        id = IIR_THRE;
    } else if ((s->ier & IER_EDSSI) && (s->msr & MSR_DELTAS)) {
        id = IIR_MODEM;
    }
    s->iir = id | (uart_fifo(s) ? IIR_FIFO : 0);
    irq_set(s->line, id != IIR_NONE && (!s->out2_gates || (s->mcr & MCR_OUT2 && !(s->mcr & MCR_LOOP))));
}

static void uart_rearm_timeout(Uart *s)
{
    s->timeout_ipending = false;
    if (uart_fifo(s) && s->rx_count) {
        timer_set(s->timeout, clock_now(s->dev->obj.machine->clocks, CLOCK_KIND_VIRTUAL) + 4 * s->char_ns);
    } else {
        timer_cancel(s->timeout);
    }
}

static void uart_timeout_expired(void *opaque)
{
    Uart *s = opaque;
    s->timeout_ipending = s->rx_count > 0;
    uart_update_irq(s);
}

static void uart_push(Uart *s, uint8_t byte)
{
    if (s->rx_count >= uart_rx_capacity(s)) {
        s->lsr |= LSR_OE;
    } else {
        s->rx[(s->rx_head + s->rx_count++) % UART_FIFO_SIZE] = byte;
    }
    s->lsr |= LSR_DR;
}

static uint8_t uart_pop(Uart *s)
{
    if (!s->rx_count) {
        return 0;
    }
    uint8_t byte = s->rx[s->rx_head];
    s->rx_head = (s->rx_head + 1) % UART_FIFO_SIZE;
    if (!--s->rx_count) {
        s->lsr &= (uint8_t) ~(LSR_DR | LSR_BI);
    }
    uart_rearm_timeout(s);
    uart_update_irq(s);
    if (s->chr) {
        chardev_accept_input(s->chr);
    }
    return byte;
}

static void uart_clear_rx(Uart *s)
{
    s->rx_head = s->rx_count = 0;
    s->lsr &= (uint8_t) ~(LSR_DR | LSR_BI);
    uart_rearm_timeout(s);
    if (s->chr) {
        chardev_accept_input(s->chr);
    }
}

static void uart_transmit(Uart *s, uint8_t byte)
{
    if (s->mcr & MCR_LOOP) {
        uart_push(s, byte);
        uart_rearm_timeout(s);
    } else if (s->chr) {
        chardev_write(s->chr, &byte, 1);
    }
    s->thr_ipending = true;
    uart_update_irq(s);
}

/* Modem inputs: those of a cable with everything asserted, or in loopback the outputs. */
static void uart_update_modem(Uart *s)
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

static void uart_update_rate(Uart *s)
{
    unsigned bits = 1 + 5 + (s->lcr & 3) + (s->lcr & 8 ? 1 : 0) + (s->lcr & 4 ? 2 : 1);
    uint32_t divisor = s->divisor ? s->divisor : 65536;
    s->char_ns = (int64_t)bits * divisor * 1000000000ll / UART_CLOCK_HZ;
}

static void uart_write_fcr(Uart *s, uint8_t val)
{
    bool toggled = (s->fcr ^ val) & FCR_ENABLE;
    s->fcr = val & 0xc9;
    if (!(val & FCR_ENABLE)) {
        s->fcr = 0;
    }
    if (toggled || (val & FCR_RX_RESET)) {
        uart_clear_rx(s);
    }
    if (toggled || (val & FCR_TX_RESET)) {
        s->thr_ipending = true;
    }
    uart_update_irq(s);
}

static void uart_write_ier(Uart *s, uint8_t val)
{
    /* Enabling the interrupt while the holding register is empty raises it. */
    if ((val & IER_ETBEI) && !(s->ier & IER_ETBEI)) {
        s->thr_ipending = true;
    }
    s->ier = val & 0x0f;
    uart_update_irq(s);
}

static MemResult uart_write(void *opaque, HwAddr addr, unsigned size, uint64_t val64, MemAttrs attrs)
{
    Uart *s = opaque;
    uint8_t val = (uint8_t)val64;
    bool dlab = s->lcr & LCR_DLAB;
    switch (addr) {
    case REG_RBR_THR_DLL:
        if (dlab) {
            s->divisor = (s->divisor & 0xff00) | val;
            uart_update_rate(s);
        } else {
            uart_transmit(s, val);
        }
        break;
    case REG_IER_DLM:
        if (dlab) {
            s->divisor = (uint16_t)(s->divisor & 0xff) | (uint16_t)(val << 8);
            uart_update_rate(s);
        } else {
            uart_write_ier(s, val);
        }
        break;
    case REG_IIR_FCR:
        uart_write_fcr(s, val);
        break;
    case REG_LCR:
        s->lcr = val;
        uart_update_rate(s);
        break;
    case REG_MCR:
        s->mcr = val & 0x1f;
        uart_update_modem(s);
        uart_update_irq(s);
        break;
    case REG_SCR:
        s->scr = val;
        break;
    default:
        guest_error(s->dev, "write to read-only register %s", addr == REG_LSR ? "LSR" : "MSR");
        break;
    }
    return MEM_OK;
}

static uint8_t uart_read_iir(Uart *s)
{
    uint8_t val = s->iir;
    if ((val & 0x0f) == IIR_THRE) {
        s->thr_ipending = false;
        uart_update_irq(s);
    }
    return val;
}

static uint8_t uart_read_lsr(Uart *s)
{
    uint8_t val = s->lsr | LSR_THRE | LSR_TEMT;
    if (s->lsr & LSR_ERRORS) {
        s->lsr &= (uint8_t)~LSR_ERRORS;
        uart_update_irq(s);
    }
    return val;
}

static uint8_t uart_read_msr(Uart *s)
{
    uart_update_modem(s);
    uint8_t val = s->msr;
    s->msr &= (uint8_t)~MSR_DELTAS;
    uart_update_irq(s);
    return val;
}

static MemResult uart_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Uart *s = opaque;
    bool dlab = s->lcr & LCR_DLAB;
    switch (addr) {
    case REG_RBR_THR_DLL:
        *val = dlab ? s->divisor & 0xff : uart_pop(s);
        break;
    case REG_IER_DLM:
        *val = dlab ? s->divisor >> 8 : s->ier;
        break;
    case REG_IIR_FCR:
        *val = uart_read_iir(s);
        break;
    case REG_LCR:
        *val = s->lcr;
        break;
    case REG_MCR:
        *val = s->mcr;
        break;
    case REG_LSR:
        *val = uart_read_lsr(s);
        break;
    case REG_MSR:
        *val = uart_read_msr(s);
        break;
    default:
        *val = s->scr;
        break;
    }
    return MEM_OK;
}

const MemOps uart_ops = {.read = uart_read, .write = uart_write, .min_size = 1, .max_size = 1};

/* --- the character device's side --- */

/* What comes when the guest stands waits where it is: the state of the port may have been saved. */
static size_t uart_can_receive(void *opaque)
{
    Uart *s = opaque;
    bool full = (s->mcr & MCR_LOOP) || s->rx_count >= uart_rx_capacity(s);

    return full || device_rests(s->dev) ? 0 : uart_rx_capacity(s) - s->rx_count;
}

static void uart_woken(void *opaque)
{
    Uart *s = opaque;

    chardev_accept_input(s->chr);
}

static void uart_receive(void *opaque, const uint8_t *buf, size_t len)
{
    Uart *s = opaque;
    for (size_t i = 0; i < len; i++) {
        uart_push(s, buf[i]);
    }
    uart_rearm_timeout(s);
    uart_update_irq(s);
}

static void uart_event(void *opaque, ChardevEvent event)
{
    Uart *s = opaque;
    if (event == CHARDEV_BREAK) {
        uart_push(s, 0);
        s->lsr |= LSR_BI;
        uart_rearm_timeout(s);
    } else {
        uart_update_modem(s);
    }
    uart_update_irq(s);
}

/* --- life and state --- */

void uart_reset(Uart *s)
{
    s->ier = s->fcr = s->lcr = s->mcr = s->scr = 0;
    s->iir = IIR_NONE;
    s->lsr = 0;
    s->msr = 0;
    s->divisor = 12; /* 9600 */
    s->rx_head = s->rx_count = 0;
    s->thr_ipending = s->timeout_ipending = false;
    timer_cancel(s->timeout);
    uart_update_rate(s);
    uart_update_modem(s);
    s->msr &= (uint8_t)~MSR_DELTAS;
    uart_update_irq(s);
}

bool uart_start(Uart *s, Device *dev, Chardev *chr, IrqLine *line, bool out2_gates, GError **error)
{
    const ChardevFrontend frontend = {uart_can_receive, uart_receive, uart_event, s};

    s->dev = dev;
    s->line = line;
    s->out2_gates = out2_gates;
    s->timeout = device_timer_new(dev, uart_timeout_expired, s);
    if (chr && !chardev_attach_in(chr, dev->home, &frontend, error)) {
        timer_free(s->timeout);
        return false;
    }
    s->chr = chr;
    s->wake = (DeviceWake){.fn = uart_woken, .opaque = s};
    if (chr) {
        device_add_wake(dev, &s->wake);
    }
    return true;
}

void uart_stop(Uart *s)
{
    if (s->chr) {
        device_remove_wake(s->dev, &s->wake);
        chardev_detach(s->chr, s);
    }
    irq_lower(s->line);
    timer_free(s->timeout);
}

static bool uart_post_load(void *instance, uint32_t version, GError **error)
{
    Uart *s = instance;
    if (s->rx_head >= UART_FIFO_SIZE || s->rx_count > UART_FIFO_SIZE) {
        error_set(error, "%s: bad receive FIFO (head %u, count %u, allowed 0..%d)", s->dev->obj.id, s->rx_head,
                  s->rx_count, UART_FIFO_SIZE);
        return false;
    }
    uart_update_rate(s);
    uart_rearm_timeout(s);
    uart_update_irq(s);
    return true;
}

static const StateField uart_fields[] = {
    STATE_FIELD_UINT(Uart, ier),
    STATE_FIELD_UINT(Uart, fcr),
    STATE_FIELD_UINT(Uart, lcr),
    STATE_FIELD_UINT(Uart, mcr),
    STATE_FIELD_UINT(Uart, lsr),
    STATE_FIELD_UINT(Uart, msr),
    STATE_FIELD_UINT(Uart, scr),
    STATE_FIELD_UINT(Uart, divisor),
    STATE_FIELD_BYTES(Uart, rx),
    STATE_FIELD_UINT(Uart, rx_head),
    STATE_FIELD_UINT(Uart, rx_count),
    STATE_FIELD_BOOL(Uart, thr_ipending),
    STATE_END,
};
const StateTable uart_state = {
    .name = "uart", .version = 1, .fields = uart_fields, .post_load = uart_post_load};
