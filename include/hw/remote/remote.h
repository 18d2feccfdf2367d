/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine that serves devices: `-machine x-remote`.  It has no CPU and no
 * RAM.  Every function plugged into it gets a RemoteSlot: a root bus, BAR space
 * and DMA address space of its own, so that devices served to different clients
 * never meet.
 *
 * Context: main loop.
 */
#ifndef HW_REMOTE_REMOTE_H
#define HW_REMOTE_REMOTE_H

#include "hw/pci/pci.h"

typedef struct RemoteMachine RemoteMachine;
typedef struct RemoteSlot RemoteSlot;
typedef struct RemoteSink RemoteSink;

/* The far side of a slot's interrupts, while somebody serves the device. */
struct RemoteSink {
    const char *owner;                           /* id of the object that serves, for error texts */
    void (*intx)(RemoteSink *sink);              /* the guest is to see INTx asserted (again) */
    void (*msi)(RemoteSink *sink, unsigned vector);
};

struct RemoteSlot {
    RemoteMachine *machine;
    PciBus *bus;
    MemRegion *mem, *io, *dma_root;
    AddressSpace *dma;
    RemoteSink *sink;        /* NULL: nobody serves the device */
    bool intx_level[4];      /* what the function drives, by pin */
    bool intx_masked;
};

struct RemoteMachine {
    Machine machine;
    bool vfio_user, auto_shutdown;
    PciBus *root;            /* where -device plugs in; functions move on to their slot's bus */
    MemRegion *root_mem, *root_io;
    GPtrArray *slots;        /* of RemoteSlot * */
};

extern const MachineModel remote_machine_model;

/* The machine when it is x-remote, else NULL. */
RemoteMachine *remote_machine(Machine *machine);
/* The slot of a function of an x-remote machine. */
RemoteSlot *remote_slot(PciDevice *dev);
/* Starts and ends serving.  False: another object serves the device. */
bool remote_slot_attach(RemoteSlot *slot, RemoteSink *sink, GError **error);
void remote_slot_detach(RemoteSlot *slot);

/*
 * The IOHUB: turns the level of INTx into edges for the far side, which masks
 * the interrupt when it sees one (VFIO's automasked INTx) and unmasks it at
 * EOI; a level that is still there then is an edge again.
 */
void remote_iohub_set_intx(RemoteSlot *slot, unsigned pin, int level);
void remote_iohub_mask(RemoteSlot *slot, bool masked);
/* The client is gone or new: unmasked, and an edge when the line is asserted. */
void remote_iohub_reset(RemoteSlot *slot);

#endif
