/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine that serves devices: `-machine x-remote`.  It has no CPU and no
 * RAM.  Every function plugged into it gets a RemoteSlot: a root bus, BAR space
 * and DMA address space of its own, so that devices served to different clients
 * never meet.
 *
 * Context: main loop, but for the IOHUB.
 */
#ifndef HW_REMOTE_REMOTE_H
#define HW_REMOTE_REMOTE_H

#include "hw/pci/pci.h"

typedef struct RemoteMachine RemoteMachine;
typedef struct RemoteSlot RemoteSlot;
typedef struct RemoteSink RemoteSink;

/* The far side of a slot's interrupts, while somebody serves the device.  False: the client has no eventfd for it. */
struct RemoteSink {
    const char *owner;              /* id of the object that serves, for error texts */
    bool (*intx)(RemoteSink *sink); /* the guest is to see INTx asserted (again) */
    bool (*msi)(RemoteSink *sink, unsigned vector);
    bool (*msix)(RemoteSink *sink, unsigned vector);
};

struct RemoteSlot {
    RemoteMachine *machine;
    PciBus *bus;
    MemRegion *mem, *io, *dma_root;
    AddressSpace *dma;
    RemoteSink *sink;        /* NULL: nobody serves the device */
    bool intx_level[4];      /* what the function drives, by pin */
    bool intx_masked;
    uint32_t msi_masked, msi_waiting; /* bit a vector: of functions without such bits of their own */
    bool undelivered;        /* something waits for the client to hand over an eventfd */
};

struct RemoteMachine {
    Machine machine;
    bool vfio_user, auto_shutdown;
    PciBus *root;            /* where -device plugs in; functions move on to their slot's bus */
    MemRegion *root_mem, *root_io;
    GPtrArray *slots;        /* of RemoteSlot * */
};

extern const MachineModel remote_machine_model;
extern const ObjectModel vfu_server_model;

/* The machine when it is x-remote, else NULL. */
RemoteMachine *remote_machine(Machine *machine);
/* The slot of a function of an x-remote machine. */
RemoteSlot *remote_slot(PciDevice *dev);
/* Starts and ends serving.  False: another object serves the device. */
bool remote_slot_attach(RemoteSlot *slot, RemoteSink *sink, GError **error);
void remote_slot_detach(RemoteSlot *slot);

/*
 * The IOHUB: turns the level of INTx into edges for the far side, which masks the interrupt when it sees one (VFIO's
 * automasked INTx) and unmasks it at EOI; a level that is still there then is an edge again.  With the home lock of
 * the function.
 */
void remote_iohub_set_intx(RemoteSlot *slot, unsigned pin, int level);
void remote_iohub_mask_intx(RemoteSlot *slot, bool masked);
/* An MSI or MSI-X vector that the function does not mask. */
void remote_iohub_send_msi(RemoteSlot *slot, PciDevice *dev, unsigned vector);
void remote_iohub_mask_msi(RemoteSlot *slot, PciDevice *dev, unsigned vector, bool masked);
/* What waits here, for the function's saved state. */
extern const StateTable remote_slot_state;
/* The client may have handed over eventfds: delivers what waited for that. */
void remote_iohub_retry(RemoteSlot *slot, PciDevice *dev);
/* The client is gone or new, or the function was reset: nothing is masked, nothing waits but the level. */
void remote_iohub_reset(RemoteSlot *slot);

#endif
