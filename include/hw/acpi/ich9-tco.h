/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The TCO watchdog of the ICH9, a part of its LPC bridge.  Context: main loop's lock. */
#ifndef HW_ACPI_ICH9_TCO_H
#define HW_ACPI_ICH9_TCO_H

#include "core/machine.h"

#define ICH9_TCO_OFFSET 0x60 /* in the PM block */
#define ICH9_TCO_SIZE   0x20

typedef struct Ich9Tco {
    /* wiring, set before ich9_tco_start() */
    Device *dev; /* that it is a part of: home loop, name of its complaints */
    void (*timed_out)(void *opaque, bool second); /* second: nothing reloaded the timer after the first time */
    void (*interrupt)(void *opaque);              /* an SMI is due, where TCO_EN lets it */
    void *opaque;
    MemRegion *region; /* the registers */
    Timer *expiry;
    uint16_t sts1, sts2, cnt1, cnt2, tmr;
    uint8_t data_in, data_out, message[2], wdcnt, sw_irq;
    bool loaded;       /* TCO_RLD was written: it counts unless halted */
    bool second;       /* TIMEOUT came, and no reload since */
    uint64_t deadline; /* of a timer that counts, ns */
    uint64_t left;     /* of one that is halted, ns */
} Ich9Tco;

extern const StateTable ich9_tco_state;

/* Makes region and timer; the caller maps the former. */
void ich9_tco_start(Ich9Tco *s);
void ich9_tco_stop(Ich9Tco *s);
/* Registers as after a reset; why the machine was reset stays in TCO2_STS. */
void ich9_tco_reset(Ich9Tco *s);
/* TCO_LOCK: TCO_EN is to stay as it is. */
bool ich9_tco_locked(const Ich9Tco *s);
/* The second time has passed and the machine is not reset: that is all there is to see of it. */
void ich9_tco_stay(Ich9Tco *s);

#endif
