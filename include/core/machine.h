/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The machine: everything that is one per emulated computer.  Two machines can
 * live in one process; there is no other global state.
 */
#ifndef CORE_MACHINE_H
#define CORE_MACHINE_H

#include "core/cpu-topology.h"
#include "core/numa.h"
#include "core/device.h"

typedef struct Accel Accel;
typedef struct PciBus PciBus;
typedef struct BlockBackend BlockBackend;

typedef enum RunState {
    RUN_STATE_PRELAUNCH, /* -S */
    RUN_STATE_RUNNING,
    RUN_STATE_PAUSED,
    RUN_STATE_SHUTDOWN,
    RUN_STATE_INTERNAL_ERROR,
    RUN_STATE_IO_ERROR,
    RUN_STATE_INMIGRATE,      /* waits for the stream of a migration */
    RUN_STATE_FINISH_MIGRATE, /* stopped for the end of one */
    RUN_STATE_POSTMIGRATE,    /* the guest is elsewhere */
    RUN_STATE_DEBUG,          /* gdb has stopped it */
    RUN_STATE_GUEST_PANICKED,
    RUN_STATE_WATCHDOG,
} RunState;

typedef enum ShutdownCause {
    SHUTDOWN_NONE,
    SHUTDOWN_HOST_QMP_QUIT,
    SHUTDOWN_HOST_QMP_RESET,
    SHUTDOWN_HOST_SIGNAL,
    SHUTDOWN_HOST_UI,
    SHUTDOWN_GUEST_SHUTDOWN,
    SHUTDOWN_GUEST_RESET,
    SHUTDOWN_GUEST_PANIC,
} ShutdownCause;

/* What the guest does that -action has an answer for, and the answers; the first is the default. */
enum {
    MACHINE_ACTION_REBOOT,   /* 0 reset, 1 shutdown (-no-reboot) */
    MACHINE_ACTION_SHUTDOWN, /* 0 poweroff, 1 pause (-no-shutdown) */
    MACHINE_ACTION_PANIC,
    MACHINE_ACTION_WATCHDOG,
    MACHINE_ACTION_COUNT,
};
enum { PANIC_ACTION_SHUTDOWN, PANIC_ACTION_PAUSE, PANIC_ACTION_EXIT_FAILURE, PANIC_ACTION_NONE };
enum {
    WATCHDOG_ACTION_RESET,
    WATCHDOG_ACTION_SHUTDOWN,
    WATCHDOG_ACTION_POWEROFF,
    WATCHDOG_ACTION_PAUSE,
    WATCHDOG_ACTION_DEBUG,
    WATCHDOG_ACTION_NONE,
    WATCHDOG_ACTION_INJECT_NMI,
};
typedef struct MachineActions {
    int on[MACHINE_ACTION_COUNT];
} MachineActions;

/*
 * Of the boards, in a migration's stream: one more whenever a board gets a device of its own, whose StateTable then says
 * board_since = the new one.  1: the first; 2: SMBus of the ICH9, IDE functions of the PIIXs.
 */
#define MACHINE_BOARD_VERSION 2

typedef struct MachineModel {
    Model model;                       /* kind MODEL_MACHINE; props are the -machine options */
    const char *default_cpu;           /* NULL: no CPUs */
    uint64_t default_ram;              /* bytes; 0: takes no RAM */
    unsigned max_cpus;
    unsigned ide_units, ide_drives;    /* drives that one of the board's IDE buses takes, and all; 0: it has none */
    bool (*start)(Machine *m, GError **error); /* builds the board: RAM, buses, devices */
    void (*reset)(Machine *m);         /* after all devices were reset: boot state of CPUs; may be NULL */
    void (*powerdown)(Machine *m);     /* presses the power button; NULL: not supported */
    void (*nmi)(Machine *m);           /* a non-maskable interrupt to every CPU, any thread; NULL: not supported */
    void (*stop)(Machine *m);          /* all devices are gone; undoes the rest of start */
} MachineModel;

/* A file for firmware or guest: -fw_cfg. */
typedef struct BootFile {
    char *name;
    GBytes *data;
} BootFile;

/* What -kernel, -initrd, -append, -bios, -boot, -fw_cfg gave. */
typedef struct BootConfig {
    char *kernel, *initrd, *append, *bios;
    char *order, *once;            /* letters; NULL: the default.  once: until the first reset */
    bool menu, strict;
    int32_t splash_ms, reboot_ms;  /* -1: firmware's own */
    GPtrArray *files;              /* of BootFile *, in order; NULL: none */
    GPtrArray *smbios;             /* of struct json_object *, checked; NULL: none */
} BootConfig;
#define BOOT_FILE_NAME_MAX 55
/* Frees what config points to. */
void boot_config_clear(BootConfig *config);
BootConfig boot_config_copy(const BootConfig *config);
/* A list for BootConfig.files, which takes ownership of what is added. */
GPtrArray *boot_files_new(void);

/* -rtc: how the machine's calendar clock starts and runs. */
typedef struct RtcConfig {
    enum { RTC_CLOCK_HOST, RTC_CLOCK_VM, RTC_CLOCK_RT } clock;
    int64_t offset; /* ns: the guest's time at the start minus the host's UTC */
    bool slew;      /* periodic interrupts that were late are made up for */
} RtcConfig;

/* Notified of events a monitor shows; data may be NULL and is borrowed. */
typedef void MachineEventFn(void *opaque, const char *name, struct json_object *data);
typedef void RunStateFn(void *opaque, bool running, RunState state);

struct Machine {
    Object obj;                /* /machine */
    Object *root;              /* / */
    EventLoop *main_loop;
    ClockSource *clocks;
    MemTopology *topo;
    MemRegion *system_memory;  /* root container of `memory` */
    MemRegion *system_io;      /* root container of `io` */
    AddressSpace *memory;
    AddressSpace *io;
    MemRegion *smm_root;       /* root container of `smm_memory`; NULL: none */
    AddressSpace *smm_memory;  /* what CPUs in system management mode see instead of `memory`; NULL: the same */
    Accel *accel;              /* NULL for machines without CPUs */
    const struct IrqfdOps *irqfd; /* of the accelerator (core/irqfd.h); NULL: eventfds cannot interrupt the guest */
    /* A file of the host's VFIO (group or device) is used by this machine from now on, or no more; NULL: nobody cares. */
    void (*vfio_file)(Accel *accel, int fd, bool used);
    const char *name;          /* -name, or NULL; borrowed from who created the machine */
    char *cpu_model;           /* -cpu */
    unsigned smp_cpus;         /* -smp */
    NumaConfig *numa;          /* -numa, complete; the machine's; NULL: no nodes */
    CpuTopology topology;      /* cpus 0: all in one socket (machine_topology()) */
    uint64_t ram_size;
    Object *ram_backend;       /* memory-backend-* of -machine memory-backend=, or created from -m */
    MemRegion *ram;            /* its region */
    BootConfig boot;
    RtcConfig rtc;
    GPtrArray *data_dirs;      /* of char *: -L; NULL: none; borrowed */
    uint8_t uuid[16];          /* -uuid, as it is written; zero: none */
    PciBus *pci_bus;           /* root bus -device goes to by default; NULL: none */
    bool nodefaults;
    MachineActions actions;    /* -action, -no-reboot, -no-shutdown */
    bool nographic;            /* -nographic: firmware uses the serial port */
    bool incoming;             /* the guest comes from elsewhere: its disks still belong to the source */
    bool only_migratable;      /* -only-migratable, from the start of the guest on: device_add refuses others */
    bool moving;               /* the stream of a migration has said which devices there are; they stay.  Main loop */
    bool autostart;            /* then it runs on here if it ran there: not with -S, `stop` and `cont` change it */
    struct Migration *migration; /* NULL: none was ever asked for */
    struct GdbStub *gdbstub;   /* NULL: none */
    RunState run_state;
    /* private to core/machine.c */
    struct MachinePrivate *priv;
};

/* Allocates root, /machine, /objects, loop, clocks, topology and address spaces; properties unset, not started. */
Machine *machine_new(const MachineModel *model, GError **error);
/* How its CPUs lie; complete. */
CpuTopology machine_topology(const Machine *m);
/* Builds the board.  The caller adds devices, resets the machine (SHUTDOWN_NONE), then starts it. */
bool machine_start(Machine *m, GError **error);
/* Stops and frees everything. */
void machine_free(Machine *m);

/*
 * How a machine with an accelerator holds its vCPUs: set by accel_new().  resume lets all run; pause returns
 * when all have left guest code, or wait for another process and will leave right after that; stop ends such waits.
 * Called by the main loop while m->accel is set.
 */
typedef void VcpuControlFn(Accel *accel);
void machine_set_vcpu_control(Machine *m, VcpuControlFn *pause, VcpuControlFn *stop, VcpuControlFn *resume);

/* Run state; main loop.  vm_start/vm_stop tell the clocks, the accelerator and the handlers. */
void machine_vm_start(Machine *m);
void machine_vm_stop(Machine *m, RunState state);
/*
 * No vCPU runs, whatever the run state is or becomes, until release was called as often; a vCPU that waits for another process
 * counts as held.  Any thread, with the main loop's lock, which hold gives up while it waits.
 */
void machine_vcpus_hold(Machine *m);
void machine_vcpus_release(Machine *m);
/* Any thread: carried out by the main loop. */
void machine_request_reset(Machine *m, ShutdownCause cause);
void machine_request_shutdown(Machine *m, ShutdownCause cause, int exit_code);
void machine_request_powerdown(Machine *m);
/* The guest stops, in that state. */
void machine_request_stop(Machine *m, RunState state);

/* --- core/machine-fd.c: descriptors that somebody gave the machine while it runs.  Main loop --- */
/* Takes fd, whatever comes of it; what had the name is closed.  False: that is no name. */
bool machine_fd_keep(Machine *m, const char *name, int fd, GError **error);
/* It is the caller's now; -1: there is none of that name. */
int machine_fd_take(Machine *m, const char *name);
/*
 * What an option means by fd=TEXT: the number of one that the program was started with, or a name.  It is the caller's now, and
 * closed on exec.  -1: *error.
 */
int machine_fd_open(Machine *m, const char *text, GError **error);

/* --- core/machine-action.c --- */
/* "reboot", "shutdown", "panic" or "watchdog" and one of its answers.  False: no such event or answer. */
bool machine_action_parse(MachineActions *actions, const char *event, const char *word, GError **error);
/*
 * For devices, any thread: the guest said that it has panicked (info: what it said, may be NULL, taken), or did not
 * feed its watchdog.  The event and what -action says follow.
 */
void machine_guest_panicked(Machine *m, struct json_object *info);
void machine_watchdog_expired(Machine *m);
/* Any thread.  False: not on this machine. */
bool machine_inject_nmi(Machine *m, GError **error);

/* True when the process should end; *exit_code says how. */
bool machine_shutdown_requested(Machine *m, int *exit_code);
/* Carries out pending requests; called by the main loop after each iteration. */
void machine_process_requests(Machine *m);
/*
 * Resets all devices (bottom-up creation order), then, when none of them holds it up any more, the machine.  Main
 * loop, vCPUs paused by the callee; they run again when all is over, which may be after it returned.
 */
void machine_reset(Machine *m, ShutdownCause cause);
/*
 * From a device's reset: part of it is left to another process.  The machine's reset is not over, and no vCPU runs,
 * before machine_reset_release(); while there is none, none begins.  hold: with the main loop's lock; release: any thread, as often.
 */
void machine_reset_hold(Machine *m);
void machine_reset_release(Machine *m);
/* It has begun and is not over.  Any thread, with the main loop's lock. */
bool machine_resetting(const Machine *m);

void machine_add_run_state_handler(Machine *m, RunStateFn *fn, void *opaque);
void machine_remove_run_state_handler(Machine *m, RunStateFn *fn, void *opaque);
void machine_add_event_handler(Machine *m, MachineEventFn *fn, void *opaque);
void machine_remove_event_handler(Machine *m, MachineEventFn *fn, void *opaque);
/* Emits an event (QMP name, e.g. "DEVICE_DELETED"); any thread, delivered in the main loop.  Takes the reference of data. */
void machine_emit_event(Machine *m, const char *name, struct json_object *data);
/* Called at every system reset, after devices were reset; for things that are not devices. */
void machine_add_reset_handler(Machine *m, LoopBhFn *fn, void *opaque);
void machine_remove_reset_handler(Machine *m, LoopBhFn *fn, void *opaque);

const char *run_state_name(RunState state);
/* False: there is no state of that name. */
bool run_state_parse(const char *name, RunState *state);
const char *shutdown_cause_name(ShutdownCause cause);

/*
 * -device: creates by name, places on its bus (property "bus", "addr"), starts.
 * opts holds "driver", optional "id", and properties.  Undone on failure.
 */
Device *machine_device_add(Machine *m, struct json_object *opts, GError **error);
/* Work for a thread of its own, because it may have to wait for another process. */
typedef struct MachineWork {
    void (*run)(Machine *m, void *opaque, GError **error); /* in that thread, which holds no lock; the end of the
                                                              machine cancels its waits */
    void (*done)(void *opaque, GError *error);             /* main loop, with its lock; takes the error; NULL: none */
    void *opaque;
} MachineWork;
/*
 * Runs it.  After patience_ms the main loop goes on, and calls done later (false).  True: it is over already, done is
 * not called, and *error is set if it failed.  Main loop, with its lock.
 */
bool machine_run_later(Machine *m, const MachineWork *work, unsigned patience_ms, GError **error);
/*
 * -global: objects of that model (or alias) that are made from now on have `value` in the property, unless their own
 * options say otherwise.  False: no such model, or it has no such property.
 */
bool machine_add_global(Machine *m, const char *driver, const char *prop, struct json_object *value, GError **error);

/* Calls fn for every started device, in the order of their starts. */
void machine_each_device(Machine *m, void (*fn)(Device *dev, void *opaque), void *opaque);
/* Guest-visible unplug of a device added with an id; the event DEVICE_DELETED follows. */
bool machine_device_del(Machine *m, const char *id_or_path, GError **error);
/* The guest has let go of a device: it leaves, with those on it.  Main loop. */
void machine_device_unplug(Machine *m, Device *dev);
/* -object: opts holds "qom-type", "id", properties. */
Object *machine_object_add(Machine *m, struct json_object *opts, GError **error);
bool machine_object_del(Machine *m, const char *id, GError **error);

/* As model_print_props and model_list_props, with the properties common to the model's kind (bus, addr, ...). */
void machine_print_props(Machine *m, const Model *model);
struct json_object *machine_list_props(Machine *m, const Model *model);

/*
 * For a board's start: sets m->ram from m->ram_backend, or from a new anonymous
 * memory-backend-ram of m->ram_size bytes with id "pc.ram" below /objects.  When m->numa has several backends m->ram
 * is a container of theirs.
 */
bool machine_ram_setup(Machine *m, GError **error);

/*
 * For a board's start, before its CPUs: makes m->smm_memory, empty; the board fills m->smm_root.  Both go with the
 * machine.
 */
void machine_smm_setup(Machine *m);

/* --- memory-backend-ram, -memfd, -file (core/ram-backend.c) --- */
extern const ObjectModel ram_backend_ram_model, ram_backend_memfd_model, ram_backend_file_model;
/* The region of a started backend; borrowed. */
MemRegion *ram_backend_region(Object *backend);
uint64_t ram_backend_size(Object *backend);
bool ram_backend_is(Object *obj);
/* True when other processes can map it (share=on and an fd). */
bool ram_backend_shared(Object *backend);
/* `iothread` objects. */
extern const ObjectModel iothread_model;
EventLoop *iothread_loop(Object *iothread);

#endif
