/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ISA side of a PC: port space and the sixteen ISA interrupt lines, found
 * by ISA devices through the machine they are created on.  Context: main loop.
 */
#ifndef HW_ISA_ISA_H
#define HW_ISA_ISA_H

#include "core/machine.h"

#define ISA_IRQ_COUNT 16

typedef struct IsaIrqUser IsaIrqUser; /* private */

typedef struct IsaBus {
    Object obj;
    MemRegion *io;                   /* container the devices' port regions go to; borrowed */
    IrqLine *irq[ISA_IRQ_COUNT];     /* inputs of the interrupt controllers; borrowed; NULL: not connected */
    IsaIrqUser *irq_users;           /* who drives them; each is there until it releases its line */
} IsaBus;

extern const ObjectModel isa_bus_model;

/* Creates the machine's ISA bus ("isa.0" below /machine) on port space `io`.  NULL with *error when it has
 * one. */
IsaBus *isa_bus_new(Machine *machine, MemRegion *io, GError **error);
/* The machine's ISA bus, or NULL with *error naming `who`. */
IsaBus *isa_bus_find(Machine *machine, const char *who, GError **error);

/*
 * `*line` drives interrupt `irq` for `dev`, beside others that do: it is high while one of theirs is.  False with *error
 * when the number is out of range.  isa_release_irq() lowers the line and takes it back.
 */
bool isa_claim_irq(IsaBus *bus, Device *dev, unsigned irq, IrqLine **line, GError **error);
void isa_release_irq(IsaBus *bus, const Device *dev, unsigned irq);

/* False with *error, which names property `prop` (or NULL), when one of the ports is beyond FFFFh or belongs to somebody. */
bool isa_check_ports(IsaBus *bus, Device *dev, const char *prop, uint32_t port, uint32_t size, GError **error);

/* Maps `size` ports at `port` under the device's home loop.  The caller owns the region: isa_unmap_ports().
 */
MemRegion *isa_map_ports(IsaBus *bus, Device *dev, const char *name, uint16_t port, unsigned size,
                         const MemOps *ops, void *opaque);
void isa_unmap_ports(IsaBus *bus, MemRegion **region);

#endif
