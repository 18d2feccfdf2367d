/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI functions, buses and bridges (PCI Local Bus 3.0, PCI Express Base 4.0).
 *
 * A model is a PciModel table; an instance struct begins with PciDevice.  The
 * function is handed its services by the bus it is on: DMA through
 * pci_dma_*, interrupts through pci_set_irq/msi_notify/msix_notify.  Whether the bus is
 * a root complex of this process or a served device's own bus cannot be told.
 *
 * Context: device callbacks and the functions here run with the device's home
 * lock; pci_dma_* and *_notify may be called from any thread.
 */
#ifndef HW_PCI_PCI_H
#define HW_PCI_PCI_H

#include "core/device.h"
#include "core/machine.h"
#include "hw/pci/pci-regs.h"

typedef struct PciDevice PciDevice;
typedef struct PciModel PciModel;
typedef struct PciBar PciBar;

#define PCI_BAR_COUNT 6
#define PCI_ROM_SLOT 6
#define PCI_REGION_COUNT 7
#define PCI_BAR_UNMAPPED UINT64_MAX
#define PCI_DEVFN(slot, fn) ((uint8_t)(((slot) << 3) | (fn)))
#define PCI_SLOT(devfn) (((devfn) >> 3) & 0x1f)
#define PCI_FUNC(devfn) ((devfn)&7)

typedef enum PciBarKind {
    PCI_BAR_NONE,
    PCI_BAR_IO,
    PCI_BAR_MEM32,
    PCI_BAR_MEM64,
    PCI_BAR_MEM32_PREFETCH,
    PCI_BAR_MEM64_PREFETCH,
} PciBarKind;

/* A BAR in a model's table.  Its contents: a register table, or ops, or neither (start adds regions to pci_bar_region). */
typedef struct PciBarDef {
    uint64_t size;      /* bytes, a power of two, at least 16 (memory) or 4 (I/O) */
    PciBarKind kind;
    const RegDef *regs; /* fields in the instance struct */
    const MemOps *ops;  /* opaque is the instance */
} PciBarDef;

typedef struct PciIds {
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint8_t revision;
    uint32_t class_code; /* 24 bits: base, sub, interface */
} PciIds;

/*
 * Registers that drivers write to say "look at memory", and whose writes nobody waits for.  Filled by the model's start;
 * count 0: none.  Either of two kinds:
 *
 * - with `rung`: of 32 bits, the latest value is all that counts.  While the function is served, its client may leave the
 *   value in values[] and signal an eventfd instead of writing the register;
 * - with `signalled`: the value tells nothing.  A client may signal an eventfd instead of a write of signal_size bytes, or
 *   of a write of n to the one register that stands for all.
 */
typedef struct PciDoorbells {
    uint8_t bar;
    uint8_t signal_size;     /* bytes of a write that is a signal; 0: there are none but by number */
    uint32_t offset, stride; /* bytes: of the first, between two */
    unsigned count;
    uint8_t by_number_bar, by_number_size; /* a write of n to it, in I/O space, signals register n; 0 bytes: none */
    uint32_t by_number_offset;
    void (*rung)(PciDevice *dev);                  /* some of values[] may have changed */
    void (*signalled)(PciDevice *dev, unsigned n); /* register n may have been written */
    /*
     * Shared with the client, by register; NULL: not served, or signals.  Atomic.  The model stores here what is written
     * to the registers themselves, and 0 when one is reset.
     */
    uint32_t *values;
} PciDoorbells;

struct PciModel {
    Model dev;                 /* kind MODEL_PCI */
    PciIds ids;
    uint8_t header_type;       /* PCI_HEADER_TYPE_NORMAL, _BRIDGE */
    uint8_t interrupt_pin;     /* 1..4: INTA..INTD; 0: none */
    bool express;              /* has a PCI Express capability (endpoint) when on an express bus */
    PciBarDef bars[PCI_BAR_COUNT];
    const char *romfile;       /* default option ROM, or NULL */
    uint8_t msi_vectors;       /* MSI capability with that many (1..32); 0: none */
    uint16_t msix_vectors;     /* MSI-X table in msix_bar; 0: none (a model may call msix_init itself) */
    uint8_t msix_bar;
    uint32_t msix_table_offset, msix_pba_offset;
    bool (*start)(PciDevice *dev, GError **error); /* config space, BARs and capabilities of the table exist */
    void (*reset)(PciDevice *dev);
    void (*stop)(PciDevice *dev);
    /* After the default handling of a config write; or instead of the default read/write when *_raw. */
    void (*config_written)(PciDevice *dev, uint16_t offset, unsigned size);
    uint32_t (*config_read)(PciDevice *dev, uint16_t offset, unsigned size);             /* replaces the default */
    void (*config_write)(PciDevice *dev, uint16_t offset, uint32_t val, unsigned size);  /* replaces the default */
    void (*bar_moved)(PciDevice *dev, unsigned bar); /* BAR was mapped, moved or unmapped */
    bool no_unplug;            /* device_del refuses */
};

struct PciBar {
    MemRegion *region;    /* the BAR itself, a container for models with a table */
    MemRegion *contents;  /* the table's registers or ops inside it, or NULL */
    const RegDef *regs;   /* of the table */
    PciDevice *dev;
    MemRegion *space;     /* where it is mapped: the bus's memory or I/O container; NULL while unmapped */
    uint64_t address;     /* PCI_BAR_UNMAPPED while unmapped */
    uint64_t size;
    PciBarKind kind;
};

typedef struct MsiMessage {
    uint64_t address;
    uint32_t data;
} MsiMessage;

struct PciDevice {
    Device dev;
    PciBus *bus;
    uint8_t devfn;
    /* properties common to all functions */
    char *addr;                /* "slot[.fn]" hex, or NULL: first free */
    char *bus_id;
    char *romfile;
    bool rombar, multifunction;
    int32_t bootindex;
    /* config space: values, bits the guest may write, write-1-to-clear bits */
    uint8_t *config, *wmask, *w1cmask;
    uint8_t *config_started;   /* config as the start left it: what of it never changes is the function's shape */
    uint16_t config_size;      /* 256, or 4096 for express */
    uint16_t cap_end;          /* first free byte of the capability area */
    PciBar bars[PCI_REGION_COUNT];
    bool is_express;
    uint16_t exp_cap, pm_cap, msi_cap, msix_cap; /* offsets, 0: absent */
    uint16_t msix_vectors;
    uint8_t *msix_table;       /* 16 bytes an entry, little endian */
    uint8_t *msix_pba;
    uint64_t msix_used;        /* count of notifications, for statistics */
    MemRegion *msix_table_region, *msix_pba_region;
    void *rom_host;            /* pages of the option ROM */
    size_t rom_size;
    uint32_t config_len, msix_table_len, msix_pba_len; /* of the three buffers, for the state table */
    bool announced;            /* its bus knows that it is there */
    bool intx_level;           /* what the model drives */
    bool intx_out;             /* what the bus was told: after Interrupt Disable */
    PciDoorbells doorbells;
    MemRegion *dma_root;       /* container gated by Bus Master Enable */
    MemRegion *dma_alias;
    AddressSpace *dma;         /* what the function sees as memory */
    AddressSpace *dma_target;  /* the same without Bus Master Enable: the IOMMU's for it, or the bus's */
    bool dma_bypass;           /* `dma` is the bus's although there is an IOMMU; messages are not concerned */
    bool dma_followed;         /* pci_dma_follow() gave dma_target to somebody */
    /*
     * Called when the guest (or the far client) masks or unmasks a vector, first uses it or changes its message; may be
     * NULL.
     */
    void (*vector_changed)(PciDevice *dev, unsigned vector, bool masked);
    void (*intx_route_changed)(PciDevice *dev); /* what pci_intx_route() answers may have changed; may be NULL */
};

/* --- buses --- */
/*
 * What a bus does for its functions.  A root complex raises lines and writes
 * messages to memory; a served device's bus triggers the client's eventfds.
 */
typedef struct PciBusOps {
    void (*set_intx)(PciBus *bus, PciDevice *dev, unsigned pin, int level); /* pin 0..3 = INTA..INTD; on change */
    /* The route (core/irqfd.h) of a pin's line, or -1: it has none now.  NULL: never. */
    int (*intx_route)(PciBus *bus, PciDevice *dev, unsigned pin);
    /* Whether a message goes to a local APIC as it is, so that a route may carry it.  NULL: never. */
    bool (*msi_is_direct)(PciBus *bus, PciDevice *dev, MsiMessage msg);
    /* Delivers an unmasked MSI/MSI-X vector. */
    void (*send_msi)(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg);
    /*
     * False: masks and pending bits are kept here, by the function's own table.
     * True: the client owns the guest's table (its own copy); here every vector
     * counts as unmasked unless SET_IRQS masked it.
     */
    bool remote_msi;
    /* Called before a device on this bus is unplugged; false: refused with a reason.  NULL: allowed. */
    bool (*can_unplug)(PciBus *bus, PciDevice *dev, GError **error);
    /*
     * -device was told to use this bus: the bus that takes the function.  A machine
     * that serves devices makes one for each.  NULL: this bus.
     */
    PciBus *(*bus_for_device)(PciBus *bus, PciDevice *dev, GError **error);
    /* The function was started and reset: the guest may find it.  NULL: nobody cares. */
    void (*plugged)(PciBus *bus, PciDevice *dev);
    /* True: the guest was asked to let go of it, and machine_device_unplug() follows.  NULL: it leaves at once. */
    bool (*unplug_request)(PciBus *bus, PciDevice *dev);
    /* The function left the bus (unplugged or never started); NULL: nothing to do. */
    void (*device_gone)(PciBus *bus);
} PciBusOps;

/* Who tells the guest of functions that come to a bus and go, where the bus does not: the board's ACPI.  Main loop. */
typedef struct PciHotplugOps {
    /* The function was started and reset: the guest may find it.  The bus's own is called before. */
    void (*plugged)(void *opaque, PciBus *bus, PciDevice *dev);
    /* In place of the bus's own. */
    bool (*unplug_request)(void *opaque, PciBus *bus, PciDevice *dev);
    /* The function at devfn left the bus. */
    void (*device_gone)(void *opaque, PciBus *bus, uint8_t devfn);
} PciHotplugOps;

/* An IOMMU between the functions below a root bus and memory.  Topology. */
typedef struct PciIommuOps {
    /* The address space in which `dev` does DMA and sends messages, until detach; NULL: that of the bus. */
    AddressSpace *(*attach)(void *opaque, PciDevice *dev);
    void (*detach)(void *opaque, PciDevice *dev);
    /* Somebody wants to know all mappings `dev` has; false with a reason: that cannot be. */
    bool (*can_follow)(void *opaque, PciDevice *dev, GError **error);
    /* The bus behind a bridge has another number, and the functions there other requester ids.  NULL: no matter.  Main loop. */
    void (*renumbered)(void *opaque);
} PciIommuOps;

struct PciBus {
    Object *owner;           /* host bridge or bridge device */
    char *name;              /* "pcie.0" */
    Machine *machine;
    const PciBusOps *ops;
    void *opaque;            /* of the ops */
    bool express;
    uint8_t number;          /* 0 for a root bus; set by the guest behind a bridge */
    PciDevice *parent;       /* bridge, or NULL */
    PciDevice *devices[256];
    MemRegion *mem, *io;     /* where BARs are mapped */
    AddressSpace *dma_space; /* what DMA reaches (system memory, or a client's) */
    GPtrArray *children;     /* of PciBus *, behind bridges */
    const PciHotplugOps *hotplug; /* NULL: none but the bus itself */
    void *hotplug_opaque;
    unsigned hotplug_number; /* whatever hotplug_opaque calls this bus */
    const PciIommuOps *iommu; /* of a root bus; NULL: none */
    void *iommu_opaque;
    PciDevice *iommu_function; /* what the IOMMU is, when it is a function of this bus: for the board's tables */
};

PciBus *pci_bus_new(Machine *machine, const char *name, const PciBusOps *ops, void *opaque, bool express,
                    MemRegion *mem, MemRegion *io, AddressSpace *dma_space);
/* All devices must be gone. */
void pci_bus_free(PciBus *bus);
/*
 * Puts an IOMMU in front of all functions below a root bus, present and future; ops NULL: takes it away.  False with
 * *error when a present function's mappings are followed already.  Topology.
 */
bool pci_bus_set_iommu(PciBus *root, const PciIommuOps *ops, void *opaque, GError **error);
/* For a bridge: what is in PCI_SECONDARY_BUS.  Takes the main loop's lock. */
void pci_bus_set_number(PciBus *bus, uint8_t number);
/* The bus named `id` below the machine's root bus, or that of the bridge device with that id. */
PciBus *pci_bus_find(Machine *machine, const char *id);
/* The bus behind the bridge at devfn of `bus`; NULL: there is no bridge. */
PciBus *pci_bus_below(const PciBus *bus, uint8_t devfn);
/* The function with that bus number (0: on `bus` itself) and devfn, through bridges; NULL: nobody. */
PciDevice *pci_bus_device(PciBus *bus, uint8_t bus_number, uint8_t devfn);

/* Creates a board device at devfn, started.  Property pairs as in device_create. */
PciDevice *pci_create(PciBus *bus, int devfn, const PciModel *model, const char *id, GError **error, ...) G_GNUC_NULL_TERMINATED;
/* How core places, starts and stops this kind: for machine_set_kind_ops(m, MODEL_PCI, &pci_kind_ops). */
extern const DeviceKindOps pci_kind_ops;
/* What every function saves: a model's table begins with STATE_FIELD_STRUCT(S, pci, &pci_device_state). */
extern const StateTable pci_device_state;

static inline const PciModel *pci_model(const PciDevice *dev)
{
    return (const PciModel *)dev->dev.obj.model;
}

/* --- configuration space --- */
/* One access of 1, 2 or 4 bytes inside config_size; as the guest (or the client) does it. */
uint32_t pci_config_read(PciDevice *dev, uint16_t offset, unsigned size);
void pci_config_write(PciDevice *dev, uint16_t offset, uint32_t val, unsigned size);
/* The default handling, for models that replace it. */
uint32_t pci_default_config_read(PciDevice *dev, uint16_t offset, unsigned size);
void pci_default_config_write(PciDevice *dev, uint16_t offset, uint32_t val, unsigned size);
/* ECAM and 0xcf8/0xcfc by a host bridge: address is bus<<20 | devfn<<12 | register; absent functions read all ones. */
uint32_t pci_host_config_read(PciBus *root, uint32_t address, unsigned size);
void pci_host_config_write(PciBus *root, uint32_t address, uint32_t val, unsigned size);

uint16_t pci_get16(const uint8_t *p);
uint32_t pci_get32(const uint8_t *p);
uint64_t pci_get64(const uint8_t *p);
void pci_set16(uint8_t *p, uint16_t v);
void pci_set32(uint8_t *p, uint32_t v);
void pci_set64(uint8_t *p, uint64_t v);

/* Adds a capability of `size` bytes at offset (0: next free, 4-byte aligned).  Its offset, or 0 with *error. */
uint16_t pci_add_capability(PciDevice *dev, uint8_t id, uint16_t offset, uint8_t size, GError **error);
uint16_t pci_add_ext_capability(PciDevice *dev, uint16_t id, uint8_t version, uint16_t offset, uint16_t size, GError **error);
/* Offset of a capability, or 0. */
uint16_t pci_find_capability(const PciDevice *dev, uint8_t id);

/* --- BARs --- */
/* Registers `region` as BAR n (models with a table need not).  A reference is taken. */
void pci_register_bar(PciDevice *dev, unsigned n, PciBarKind kind, MemRegion *region);
/* Contents of BAR n, to add regions to. */
MemRegion *pci_bar_region(PciDevice *dev, unsigned n);
void pci_update_mappings(PciDevice *dev);
bool pci_memory_enabled(const PciDevice *dev);
bool pci_bus_master(const PciDevice *dev);

/* --- interrupts --- */
/* INTx level by the model, after Interrupt Disable and the pin register. */
void pci_set_irq(PciDevice *dev, int level);
static inline void pci_irq_assert(PciDevice *dev)
{
    pci_set_irq(dev, 1);
}
static inline void pci_irq_deassert(PciDevice *dev)
{
    pci_set_irq(dev, 0);
}
/* The route of the function's line, or -1 (core/irqfd.h). */
int pci_intx_route(PciDevice *dev);
/* By the board: tells the functions of the bus and below it. */
void pci_bus_intx_routes_changed(PciBus *bus);
/* Conventional swizzle through bridges up to the root: pin 0..3 at the root. */
unsigned pci_swizzle_to_root(PciDevice *dev, unsigned pin);

bool msi_init(PciDevice *dev, uint16_t offset, unsigned vectors, bool per_vector_mask, GError **error);
bool msi_enabled(const PciDevice *dev);
void msi_notify(PciDevice *dev, unsigned vector);
/* As msix_set_mask, for MSI with per-vector masking. */
void msi_set_mask(PciDevice *dev, unsigned vector, bool masked);
bool msi_masked(const PciDevice *dev, unsigned vector);
MsiMessage msi_get_message(const PciDevice *dev, unsigned vector);
unsigned msi_vectors_allocated(const PciDevice *dev);

/* Table and PBA are mapped into BAR `bar` (which exists).  cap_offset 0: next free. */
bool msix_init(PciDevice *dev, unsigned vectors, unsigned bar, uint32_t table_offset, uint32_t pba_offset,
               uint16_t cap_offset, GError **error);
bool msix_enabled(const PciDevice *dev); /* enabled in the capability (function mask aside) */
bool msix_masked(const PciDevice *dev, unsigned vector);
void msix_notify(PciDevice *dev, unsigned vector);
MsiMessage msix_get_message(const PciDevice *dev, unsigned vector);
void msix_set_pending(PciDevice *dev, unsigned vector, bool pending);
bool msix_pending(const PciDevice *dev, unsigned vector);
/* Remote side of SET_IRQS mask/unmask; an unmask delivers what is pending. */
void msix_set_mask(PciDevice *dev, unsigned vector, bool masked);

/* --- DMA: any thread --- */
MemResult pci_dma_read(PciDevice *dev, uint64_t addr, void *buf, uint64_t len);
MemResult pci_dma_write(PciDevice *dev, uint64_t addr, const void *buf, uint64_t len);
/*
 * What DMA of the function reaches while Bus Master Enable is set, for who maps it for a device elsewhere (VFIO); the
 * bus's until the function stops.  NULL with *error: the IOMMU in between cannot tell its mappings.  Main loop.
 */
AddressSpace *pci_dma_follow(PciDevice *dev, GError **error);
/*
 * The function's driver gives it addresses of memory, whatever IOMMU there is (virtio without ACCESS_PLATFORM).  From
 * the model's start.
 */
void pci_dma_bypass_iommu(PciDevice *dev);
/* Writes a message as the function: through the IOMMU, and only while it is a bus master.  Any thread. */
void pci_send_message(PciDevice *dev, MsiMessage msg);
/* The id that reaches the root complex with the function's requests: behind a conventional bridge it is the bridge's. */
uint16_t pci_requester_id(const PciDevice *dev);
/* As as_map/as_unmap on the function's DMA address space. */
void *pci_dma_map(PciDevice *dev, uint64_t addr, uint64_t *len, bool is_write, MemRegion **region);
void pci_dma_unmap(PciDevice *dev, MemRegion *region, void *host, uint64_t len, bool is_write);

/* --- PCI Express --- */
/* Adds the capability (endpoint, root port, ...: device/port type of PCIe 4.0, 7.5.3.2). */
bool pcie_cap_init(PciDevice *dev, uint16_t offset, uint8_t port_type, uint8_t port, GError **error);

#endif
