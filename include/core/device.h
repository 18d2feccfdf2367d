/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Devices: objects with reset, state and a home loop.  What a device needs of
 * its machine (loop, clocks, address spaces, interrupt lines) is reached
 * through its own struct; it uses no global.
 */
#ifndef CORE_DEVICE_H
#define CORE_DEVICE_H

#include "core/error.h"
#include "core/loop.h"
#include "core/memory.h"
#include "core/model.h"
#include "core/prop.h"
#include "core/state.h"

typedef struct Device Device;
typedef struct IrqLine IrqLine;

/* A device that is not a PCI function: board devices, ISA devices. */
typedef struct DeviceModel {
    Model model;
    /* -device only, properties are set: finds dev->upstream, whose home becomes the device's.  NULL: needs no place. */
    bool (*place)(Device *dev, GError **error);
    bool (*start)(Device *dev, GError **error); /* properties are set; on false nothing is left behind */
    void (*reset)(Device *dev);                 /* to power-on state; also called once after start */
    void (*stop)(Device *dev);                  /* undo start; the guest no longer reaches the device */
    bool no_unplug;                             /* device_del refuses */
    /* Where firmware finds it below dev->upstream, as Open Firmware names it: g_free.  NULL: nothing boots from it. */
    char *(*boot_path)(const Device *dev);
} DeviceModel;

/* What is called when a device does not rest any more; its owner's. */
typedef struct DeviceWake {
    LoopBhFn *fn;
    void *opaque;
    struct DeviceWake *next; /* private */
} DeviceWake;

struct Device {
    Object obj;
    EventLoop *home;             /* callbacks run with its lock; the machine's main loop unless given an iothread */
    Device *upstream;            /* the device whose bus it is on (a disk's controller); NULL: none but the machine */
    uint64_t guest_errors;       /* counted by guest_error() */
    int64_t guest_error_logged;  /* rate limit */
    bool unplug_pending;
    bool moving;                 /* to another process, on its own: device_del refuses */
    bool resting;                /* see device_rests(); set by who serves it to another process */
    LoopGate gate;               /* see device_bh_new() */
    struct DeviceWake *wakes;    /* see device_add_wake() */
    struct DeviceIrqs *irqs;     /* private to core/irq.c */
};

/* Creates under /machine/unattached, sets properties from NULL-terminated name, text pairs, starts. For boards. */
Device *device_create(Machine *machine, const Model *model, const char *id, GError **error, ...) G_GNUC_NULL_TERMINATED;

/* Starts (whatever the kind): checks PROP_REQUIRED, calls the kind's start, then reset. */
bool device_start(Device *dev, GError **error);
void device_reset(Device *dev);
/*
 * Gives a started device, and the devices on it, another home loop: they are stopped, started there and reset.  Main
 * loop.  False with *error: they are back where they were, or, when that fails too, not started and the main loop's.
 */
bool device_set_home(Device *dev, EventLoop *home, GError **error);
/*
 * Stops a started device that has no others on it, and starts it again where it is: what it takes from outside (a connection)
 * may be another then.  It is reset as after every start.  Any thread, with the main loop's lock.
 * False with *error: it is not started, and may be restarted again.
 */
bool device_restart(Device *dev, GError **error);
/* Stops and frees it, the devices on it first. */
void device_destroy(Device *dev);
/* Of the started devices on `dev`, the one that was started last; NULL: there is none. */
Device *device_last_downstream(Device *dev);
/* The state table's instance saved or loaded as section = object path. */
void device_save(Device *dev, GByteArray *out);
bool device_load(Device *dev, const uint8_t *data, size_t len, size_t *offset, GError **error);
/* The same from a section of another name: the path that the device had where it was saved. */
bool device_load_section(Device *dev, const char *section, const uint8_t *data, size_t len, size_t *offset, GError **error);
/* The same from a process whose virtual clock was `shift` ns behind this one's (STATE_DEADLINE). */
bool device_load_shifted(Device *dev, const uint8_t *data, size_t len, size_t *offset, int64_t shift, GError **error);

/*
 * Whether nothing from outside may reach the device, and what comes waits: its machine's guest does not run, or it is served and its
 * state was saved, or is still to come.  What it did then would be in memory that moves, and not in its state.  Any thread.
 */
bool device_rests(const Device *dev);
/* The process that uses a served device stops it, or lets it go on. */
void device_set_rest(Device *dev, bool rest);
/*
 * What a device puts off, in its home loop, and on guest time: what is due while it rests is done when it does not any more.  Its state
 * has to tell of it (post_load schedules and sets again).
 */
LoopBh *device_bh_new(Device *dev, LoopBhFn *fn, void *opaque);
Timer *device_timer_new(Device *dev, TimerFn *fn, void *opaque);
/* Main loop.  The callbacks: main loop, or the thread of its server; they schedule what waits. */
void device_add_wake(Device *dev, DeviceWake *wake);
void device_remove_wake(Device *dev, DeviceWake *wake);
/* For the machine, when its guest runs again. */
void device_wake(Device *dev);

/*
 * The guest did what the specification does not allow.  Counted; logged under
 * -d guest_errors, at most some tens of lines a second a device.  Never fatal.  Any thread.
 */
void guest_error(Device *dev, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* --- moving --- */
/*
 * How a device takes part in the move of its machine when part of it lives in another process, or in hardware.  On the source,
 * in this order: possible, begin (the guest runs), sync (any number), stop, sync, save (the guest is stopped); run,
 * when the move came to nothing.  On the destination: possible, load (any number), its state table, loaded, run.  A false sets *error,
 * and ends the move.  Main loop; the calls may give its lock up while they wait.
 */
struct MoveOps {
    bool (*possible)(Device *dev, GError **error);
    /* From now on what the device writes to RAM is logged.  head: for the first load, which finds out early what does not fit. */
    bool (*begin)(Device *dev, GByteArray *head, GError **error);
    /* Marks the pages that the device wrote since the last time (mem_region_dirty_set). */
    bool (*sync)(Device *dev, GError **error);
    /* The device is at rest; the last of its interrupts has arrived. */
    bool (*stop)(Device *dev, GError **error);
    /* Appends its state to what `begin` gave; the device is not used any more. */
    bool (*save)(Device *dev, GByteArray *out, GError **error);
    /* The next part of what begin and save gave. */
    bool (*load)(Device *dev, const uint8_t *data, size_t len, GError **error);
    /* That was all, and the device says that it is good. */
    bool (*loaded)(Device *dev, GError **error);
    bool (*run)(Device *dev, GError **error);

    /* The other part stays where it is (may all be NULL): the source, after save, lets go of it; run takes it back. */
    void (*let_go)(Device *dev);
    /* The destination, when the last load is over and before the state table: takes it. */
    bool (*take)(Device *dev, GError **error);

    /*
     * The other part moves alone, under a guest that runs (all may be NULL).  invite: to a new place, named as by the model's
     * property `socket`; NULL with *error.  meet follows, by any thread without locks, and may take long.  The others have the main
     * loop's lock, any thread's, and give it up while they wait; until offer is over the device does not go, but may then.  offer:
     * who is there may refuse.  hand_over: no CPU runs, or waits for another process, and nobody removes the device.  False: all is
     * as it was; or, after hand_over, with *lost, the device is without its other part, which `run` looks for again.  part: the
     * end, in any case.
     */
    void *(*invite)(Device *dev, struct json_object *place, GError **error);
    bool (*meet)(void *guest, GError **error);
    bool (*offer)(Device *dev, void *guest, GError **error);
    bool (*hand_over)(Device *dev, void *guest, uint64_t *bytes, bool *lost, GError **error);
    void (*part)(void *guest);
};

/* Whatever dev's properties name that only one process may use is given up, or taken. */
bool device_release_resources(Device *dev, GError **error);
bool device_claim_resources(Device *dev, GError **error);

/* --- kinds: what all devices of a ModelKind have in common, supplied by a layer above core --- */
/*
 * Registered for a machine with machine_set_kind_ops().  Main loop.  Any member may be
 * NULL.  MODEL_DEVICE is registered by machine_new() itself.
 */
typedef struct DeviceKindOps {
    /* Properties every device of the kind has besides its model's; fields of the kind's struct; ends with name NULL. */
    const Prop *props;
    /*
     * machine_device_add() only: properties are set, start follows.  Attaches the device to the bus the
     * properties ask for.  NULL: devices of the kind need no place.  On false nothing is left behind.
     */
    bool (*place)(Device *dev, GError **error);
    /* Takes the device off its bus: by device_destroy() after stop, and after a failed start.  Nothing when not placed. */
    void (*unplace)(Device *dev);
    /* Calls the model's start, reset, stop with what the kind does around it.  On false nothing is left behind but the place. */
    bool (*start)(Device *dev, GError **error);
    void (*reset)(Device *dev);
    void (*stop)(Device *dev);
    /* device_del: false with a reason refuses. */
    bool (*can_unplug)(Device *dev, GError **error);
    /* device_del: true when the guest has to let go of it first; machine_device_unplug() follows then.  NULL: never. */
    bool (*unplug_request)(Device *dev);
    /* Where the guest finds it, and how large, which a migration must not change: g_free.  NULL: nowhere of its own. */
    char *(*where)(const Device *dev);
} DeviceKindOps;

void machine_set_kind_ops(Machine *machine, ModelKind kind, const DeviceKindOps *ops);
/* NULL when the machine has no devices of that kind. */
const DeviceKindOps *machine_kind_ops(const Machine *machine, ModelKind kind);

/* --- buses of devices: what -device's bus= names --- */
/* A bus that a device has for others: of disks on a controller.  Main loop. */
typedef struct DeviceBus {
    const char *type; /* "SCSI" */
    char *name;       /* "ID.0" after the owner's id; "scsi.0" and up, by type, when it has none */
    Device *owner;
    void *impl;       /* of the layer that knows the type */
} DeviceBus;

/* Adds bus number `index` of the device; from its start. */
DeviceBus *device_bus_new(Device *owner, const char *type, unsigned index, void *impl);
void device_bus_free(DeviceBus *bus);
/* The bus of that type and name; name NULL: the oldest.  NULL with *error, which says which there are. */
DeviceBus *device_bus_find(Machine *machine, const char *type, const char *name, GError **error);
/* The first bus of that type which the device has, or NULL. */
DeviceBus *device_bus_of(const Device *owner, const char *type);

/* --- interrupt lines: a wire with one receiver --- */
typedef void IrqFn(void *opaque, int n, int level);

/* The place in the boot order it was given (property "bootindex"); -1: none.  No two devices of a machine have the same. */
int32_t device_bootindex(const Device *dev);

/* `n` lines calling fn(opaque, index, level) on every set (not only on change).  Freed with irq_free_array. */
IrqLine **irq_new_array(IrqFn *fn, void *opaque, int n);
void irq_free_array(IrqLine **lines, int n);
/* NULL is an unconnected wire.  With the home loop's lock of the receiver. */
void irq_set(IrqLine *line, int level);
static inline void irq_raise(IrqLine *line)
{
    irq_set(line, 1);
}
static inline void irq_lower(IrqLine *line)
{
    irq_set(line, 0);
}
/* Named inputs and outputs, for boards and qtest's irq_intercept.  Arrays are borrowed from the device. */
void device_add_irq_inputs(Device *dev, const char *name, IrqLine **lines, int n);  /* name NULL: unnamed */
void device_add_irq_outputs(Device *dev, const char *name, IrqLine ***slots, int n); /* slots[i]: address of the field that holds the line */
void device_connect_irq(Device *dev, const char *name, int n, IrqLine *line);
IrqLine *device_irq_input(Device *dev, const char *name, int n);
/* qtest: every set of an input (outputs=false) or output is reported to fn instead of / before delivery. */
typedef void IrqInterceptFn(void *opaque, const char *name, int n, int level);
bool device_intercept_irqs(Device *dev, const char *name, bool outputs, IrqInterceptFn *fn, void *opaque, GError **error);

/* --- register tables --- */
/*
 * One register.  The table drives access checks, trace names and reset values;
 * a device with a large dynamic space handles the rest in MemOps.
 */
typedef struct RegDef {
    const char *name;     /* as the specification spells it */
    uint16_t offset;
    uint8_t size;         /* 1, 2, 4, 8 */
    uint64_t reset;
    uint64_t writable;    /* bits software may write */
    uint64_t w1c;         /* bits cleared by writing 1 */
    void (*written)(void *dev, uint64_t old_val, uint64_t new_val); /* after the field was updated */
    uint64_t (*read)(void *dev);                                    /* replaces the stored value */
    size_t field;         /* offsetof the uint of `size` bytes in the instance; SIZE_MAX: none (read/written only) */
} RegDef;

/* The entry that covers [addr, addr+size), or NULL.  Tables are sorted by offset and end with name NULL. */
const RegDef *reg_find(const RegDef *table, HwAddr addr, unsigned size);
/* Reads/writes through the table, part of a wider register included.  MEM_DECODE_ERROR when nothing is there. */
MemResult reg_read(const RegDef *table, void *dev, HwAddr addr, unsigned size, uint64_t *val);
MemResult reg_write(const RegDef *table, void *dev, HwAddr addr, unsigned size, uint64_t val);
void reg_reset(const RegDef *table, void *dev);

#endif
