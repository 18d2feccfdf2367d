/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the e1000 share.  Context: the device's home loop. */
#ifndef HW_NET_E1000_H
#define HW_NET_E1000_H

#include "core/trace.h"
#include "e1000-regs.h"
#include "hw/pci/pci.h"
#include "net/net.h"

#define E1000_TX_MAX NET_FRAME_MAX

/* The serial EEPROM behind EECD: a 93C46, clocked by software. */
typedef struct E1000Eeprom {
    uint16_t words[E1000_EEPROM_WORDS];
    uint32_t in;        /* bits clocked in since CS rose */
    uint8_t in_bits;    /* how many; 0: the start bit has not come */
    uint16_t out;       /* data being clocked out, most significant bit first */
    uint8_t out_bits;   /* left of it */
    bool write_enabled;
} E1000Eeprom;

/* The checksum and segmentation context of the last context descriptor of its kind (3.3.6). */
typedef struct E1000TxContext {
    uint8_t ipcss, ipcso, tucss, tucso, hdrlen, tucmd;
    uint16_t ipcse, tucse, mss;
    uint32_t paylen;
} E1000TxContext;

/* The packet being gathered from descriptors. */
typedef struct E1000Tx {
    E1000TxContext checksum, segment; /* of context descriptors without and with TSE */
    uint8_t popts;        /* of the packet's first data descriptor */
    bool begun, tse, vle, overrun;
    uint16_t special;     /* VLAN tag */
    uint8_t css, cso;     /* legacy checksum */
    bool ic;
    uint32_t sent;        /* payload bytes of the segments that went out */
    uint16_t segments;
    uint32_t len;         /* bytes of `data` */
    uint8_t data[E1000_TX_MAX];
} E1000Tx;

/* An interrupt moderation timer and its deadline in guest nanoseconds; 0: not running. */
typedef struct E1000Delay {
    Timer *timer;
    uint64_t deadline, absolute;
} E1000Delay;

typedef struct E1000 {
    PciDevice pci;
    /* properties */
    NetBackend *net;
    uint8_t mac[NET_MAC_LEN];

    bool cable; /* of a saved state: whether it is plugged in */
    uint32_t reg[E1000_REGS_END / 4];
    uint32_t ioaddr;
    uint16_t phy[PHY_REGS];
    E1000Eeprom eeprom;
    E1000Tx tx;
    E1000Delay itr, rx_delay, tx_delay, autoneg;
    LoopBh *tx_bh;
    bool transmitting; /* in the loop over descriptors; not saved */
} E1000;

extern TraceEvent e1000_trace[];
enum { E1000_TRACE_READ, E1000_TRACE_WRITE, E1000_TRACE_TX, E1000_TRACE_RX, E1000_TRACE_IRQ };

static inline uint32_t *e1000_reg(E1000 *e, unsigned offset)
{
    return &e->reg[offset / 4];
}

/* --- e1000.c: tail registers that a client leaves in shared memory --- */
typedef enum E1000Bell { E1000_BELL_RDT, E1000_BELL_TDT } E1000Bell;
/* Brings the register to what the driver wrote last, whether it was signalled or not. */
void e1000_doorbell_fetch(E1000 *e, E1000Bell n);

/* --- e1000-irq.c --- */
void e1000_irq_start(E1000 *e);
void e1000_irq_reset(E1000 *e);
void e1000_irq_stop(E1000 *e);
/* After a load: timers from deadlines. */
void e1000_irq_restore(E1000 *e);
/* Sets causes and interrupts if one is enabled, at the rate ITR allows. */
void e1000_set_cause(E1000 *e, uint32_t causes);
void e1000_update_irq(E1000 *e);
/* Causes after the delays of RDTR/RADV and TIDV/TADV. */
void e1000_rx_cause(E1000 *e);
void e1000_tx_cause(E1000 *e);
void e1000_rdtr_written(E1000 *e, uint32_t val);
void e1000_delay_cancel(E1000Delay *delay);
void e1000_delay_set(E1000 *e, E1000Delay *delay, uint64_t ns);
void e1000_delay_restore(E1000Delay *delay);

/* --- e1000-phy.c: EEPROM and PHY --- */
void e1000_eeprom_init(E1000 *e);
void e1000_eecd_written(E1000 *e, uint32_t val);
uint32_t e1000_eecd_read(E1000 *e);
void e1000_eerd_written(E1000 *e, uint32_t val);
void e1000_mdic_written(E1000 *e, uint32_t val);
/* Power-on state, with the link as the back end has it. */
void e1000_phy_reset(E1000 *e);
/* The end of auto-negotiation. */
void e1000_autoneg_done(void *opaque);
void e1000_set_link(E1000 *e, bool up);
bool e1000_link_up(const E1000 *e);

/* --- e1000-rx.c --- */
bool e1000_can_receive(void *opaque, unsigned queue);
bool e1000_receive(void *opaque, unsigned queue, const uint8_t *frame, size_t len, const NetOffload *offload);

/* --- e1000-tx.c --- */
/* Sends what the descriptors from TDH to TDT say; bottom half. */
void e1000_transmit(void *opaque);

/* --- e1000-stats.c --- */
/* A counter that stays at its maximum; and a pair of registers for 64 bits. */
void e1000_count(E1000 *e, unsigned offset, uint32_t n);
void e1000_count64(E1000 *e, unsigned low, uint64_t n);
/* PRC64... or PTC64...: the counter for frames of that length with FCS. */
void e1000_count_size(E1000 *e, unsigned first, size_t len);

#endif
