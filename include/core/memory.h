/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Address spaces.  A tree of regions is rendered at commit to an immutable flat
 * view, published with RCU; lookup and dispatch take no lock of the tree.
 *
 * Topology changes (everything that says "topology") happen with the machine's
 * main loop lock held, between mem_begin() and mem_commit(); each function opens a
 * transaction of its own when none is open.  At the outermost commit listeners
 * get one ordered diff for each address space: removals, then additions.
 */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/loop.h"

typedef uint64_t HwAddr;
typedef struct AddressSpace AddressSpace;
typedef struct MemRegion MemRegion;
typedef struct MemTopology MemTopology;

/* Result of an access; errors may be or-ed. */
typedef enum MemResult {
    MEM_OK = 0,
    MEM_DECODE_ERROR = 1, /* nothing there: reads give all ones */
    MEM_DEVICE_ERROR = 2, /* the device refused */
    MEM_ACCESS_ERROR = 4, /* permission (read-only, vIOMMU) */
} MemResult;

typedef struct MemAttrs {
    uint16_t requester_id; /* bus/device/function of a DMA; index of the vCPU when unspecified */
    bool unspecified;      /* no requester: CPU or debugger */
    bool secure;           /* of a CPU in system management mode */
} MemAttrs;

#define MEM_ATTRS_CPU ((MemAttrs){.unspecified = true})

/*
 * Device registers.  addr is relative to the region; value is in host order, low `size` bytes.
 * Accesses outside [min_size, max_size] are split or widened by the core to
 * what the model implements; unaligned ones are refused unless `unaligned`.
 */
typedef struct MemOps {
    MemResult (*read)(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs);
    MemResult (*write)(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs);
    uint8_t min_size, max_size; /* sizes the callbacks take: 1, 2, 4, 8; 0 means 1 and 8 */
    bool unaligned;
    /* Memory reached by messages: as_read/as_write hand over a whole range at once; may be NULL. */
    MemResult (*read_bulk)(void *opaque, HwAddr addr, void *buf, uint64_t len, MemAttrs attrs);
    MemResult (*write_bulk)(void *opaque, HwAddr addr, const void *buf, uint64_t len, MemAttrs attrs);
} MemOps;

typedef enum MemKind { MEM_CONTAINER, MEM_RAM, MEM_ROM, MEM_IO, MEM_ALIAS, MEM_IOMMU } MemKind;

typedef enum MemDirty { MEM_DIRTY_MIGRATION, MEM_DIRTY_DISPLAY } MemDirty;

/* One topology (all address spaces of a machine); `loop` is its main loop. */
MemTopology *mem_topology_new(EventLoop *loop);
void mem_topology_free(MemTopology *topo);

/* --- regions (topology) ---
 * Reference counted: creation gives one reference to the caller; being a
 * subregion, or in a published flat view, holds more.  After mem_region_unref()
 * by its owner a region that is mapped nowhere is freed after a grace period.
 */
MemRegion *mem_region_new_container(MemTopology *topo, const char *name, uint64_t size);
/*
 * `home` is the loop whose lock callbacks run under, or NULL: callbacks are
 * thread safe and may block (proxied registers); the dispatcher then holds only a
 * reference to the region.
 */
MemRegion *mem_region_new_io(MemTopology *topo, const char *name, uint64_t size, const MemOps *ops, void *opaque,
                             EventLoop *home);
/* RAM at `host` (page aligned), backed by fd at fd_offset when fd >= 0 (borrowed: stays open as long as the region). */
MemRegion *mem_region_new_ram(MemTopology *topo, const char *name, uint64_t size, void *host, int fd,
                              uint64_t fd_offset, bool readonly);
/* Reads come from host memory, writes go to ops (flash); ops NULL: writes are dropped. */
MemRegion *mem_region_new_rom(MemTopology *topo, const char *name, uint64_t size, void *host, const MemOps *ops,
                              void *opaque);
/*
 * Contents that are found access by access: for more mappings than a tree of regions is good for.  find: in an RCU
 * read section, any thread; it must not wait for readers.  True: *out is what is at addr (region, addr of its first
 * byte and size in this region's addresses, region_offset of that byte, readonly, writeonly).  False: nothing, up to out->addr
 * (UINT64_MAX: to the end).  A region it gives has
 * mem_region_set_pins() and is retired before it is released; so is the lookup region.
 */
typedef struct MemSection MemSection;
typedef bool MemFindFn(void *opaque, HwAddr addr, MemSection *out);
MemRegion *mem_region_new_lookup(MemTopology *topo, const char *name, uint64_t size, MemFindFn *find, void *opaque);
/*
 * A transfer (not an attempt to map) reached the lookup region where it has nothing, or nothing for that.  Any thread; before the
 * region is in use.
 */
typedef void MemRefusedFn(void *opaque, HwAddr addr, bool is_write);
void mem_region_set_refused(MemRegion *lookup, MemRefusedFn *refused);
/* A window of size bytes on `target` beginning at `offset`. */
MemRegion *mem_region_new_alias(MemTopology *topo, const char *name, MemRegion *target, uint64_t offset, uint64_t size);
MemRegion *mem_region_ref(MemRegion *region);
void mem_region_unref(MemRegion *region);
/*
 * The owner goes away: no callback of this region starts after it returned, and
 * those running in other threads have ended.  After the commit that removed it, and outside transactions.  Not with a
 * lock a callback may want, other than the home loop's and the main loop's (which are dropped while it waits).
 */
void mem_region_retire(MemRegion *region);

void mem_region_add(MemRegion *parent, HwAddr offset, MemRegion *child);
/* Overlapping regions: the higher priority is seen (default 0). */
void mem_region_add_overlap(MemRegion *parent, HwAddr offset, MemRegion *child, int priority);
void mem_region_del(MemRegion *parent, MemRegion *child);
void mem_region_set_enabled(MemRegion *region, bool enabled);
void mem_region_set_address(MemRegion *region, HwAddr offset);
void mem_region_set_alias_offset(MemRegion *region, uint64_t offset);
void mem_region_set_size(MemRegion *region, uint64_t size);
/* Through this alias what it shows cannot be written. */
void mem_region_set_readonly(MemRegion *region, bool readonly);

const char *mem_region_name(const MemRegion *region);
uint64_t mem_region_size(const MemRegion *region);
MemKind mem_region_kind(const MemRegion *region);
bool mem_region_readonly(const MemRegion *region);
/* RAM that is another device's registers (a mapped BAR): what follows memory may do without it.  Topology. */
void mem_region_set_device_memory(MemRegion *region);
bool mem_region_is_device_memory(const MemRegion *region);
/* Host address of RAM and ROM, else NULL. */
void *mem_region_host(const MemRegion *region);
/* The fd behind RAM and its offset of byte 0; -1 when there is none. */
int mem_region_fd(const MemRegion *region, uint64_t *fd_offset);
/* Maps a host address inside RAM of this topology to its region and offset; NULL when it is none. */
MemRegion *mem_region_from_host(MemTopology *topo, const void *host, uint64_t *offset);

/*
 * A guest write of `size` (0: any) and, when match, value `data` at addr
 * signals fd instead of calling write.  fd is borrowed until deleted.
 */
void mem_region_add_ioeventfd(MemRegion *region, HwAddr addr, unsigned size, bool match, uint64_t data, int fd);
void mem_region_del_ioeventfd(MemRegion *region, HwAddr addr, unsigned size, bool match, uint64_t data, int fd);

/*
 * What a register access has started elsewhere and must be over before the access is: `wait` runs in the accessing
 * thread when the access's locks are given up, in the order of adding, and owns the struct from then on.
 */
typedef struct MemAccessWait MemAccessWait;
struct MemAccessWait {
    void (*wait)(MemAccessWait *wait);
    const void *owner;
    MemAccessWait *next;
};
/* For the access in progress in this thread.  False: there is none, or the thread will still hold a lock after it. */
bool mem_access_add_wait(MemAccessWait *wait);
/* The first that was added for `owner` to the access in progress, or NULL. */
MemAccessWait *mem_access_find_wait(const void *owner);

/* --- transactions (topology) --- */
void mem_begin(MemTopology *topo);
/* At the outermost level: renders, publishes, tells listeners.  False with the first listener's error. */
bool mem_commit(MemTopology *topo, GError **error);

/* --- address spaces --- */
AddressSpace *as_new(MemTopology *topo, const char *name, MemRegion *root); /* topology; holds a reference to root */
void as_free(AddressSpace *as);                                            /* topology */
const char *as_name(const AddressSpace *as);
MemRegion *as_root(const AddressSpace *as);
MemTopology *as_topology(const AddressSpace *as);

/* Transfers; any thread, split at region borders.  All bytes are attempted; the result is the or of all. */
MemResult as_read(AddressSpace *as, HwAddr addr, void *buf, uint64_t len, MemAttrs attrs);
MemResult as_write(AddressSpace *as, HwAddr addr, const void *buf, uint64_t len, MemAttrs attrs);
/* One register access of 1, 2, 4 or 8 bytes, little-endian value in host order. */
MemResult as_load(AddressSpace *as, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs);
MemResult as_store(AddressSpace *as, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs);

/* An access of another process was refused: if it would be here, an IOMMU in between records the fault.  Any thread. */
void as_refuse(AddressSpace *as, HwAddr addr, bool is_write);

/*
 * Direct access: the host address of [addr, addr + *len) when it is RAM;
 * *len is shortened to what is contiguous.  NULL when it is not RAM (or
 * read-only and is_write): use as_read/as_write.  The region stays referenced
 * until as_unmap(), which takes the number of bytes really written.
 */
void *as_map(AddressSpace *as, HwAddr addr, uint64_t *len, bool is_write, MemRegion **region);
void as_unmap(AddressSpace *as, MemRegion *region, void *host, uint64_t len, bool is_write);
/* as_map()s of this region without their as_unmap() yet, and accesses in progress.  Any thread. */
unsigned mem_region_pins(const MemRegion *region);
/*
 * The same summed over several regions.  `idle` is called when the sum has become 0, in whichever thread ended the
 * last use: it must not wait.
 */
typedef struct MemPins MemPins;
struct MemPins {
    void (*idle)(MemPins *pins);
    int count; /* atomic */
};
/* Before the region is added anywhere; *pins lives longer than the region's last use. */
void mem_region_set_pins(MemRegion *region, MemPins *pins);
MemPins *mem_region_get_pins(const MemRegion *region); /* NULL: none were set */

/* What is at addr, for accelerators: fills *out from the current flat view.  False: nothing mapped.  Any thread. */
struct MemSection {
    AddressSpace *as;
    MemRegion *region;        /* referenced only where said */
    HwAddr addr;              /* in the address space */
    uint64_t size;
    uint64_t region_offset;
    bool readonly;
    bool writeonly;           /* only what a lookup region says of itself */
};
bool as_lookup(AddressSpace *as, HwAddr addr, MemSection *out);

/*
 * Code of the guest may have been overwritten by as_write/as_unmap: accelerators
 * that cache it register here.  Called in the writer's thread, in an RCU read section: it must not wait for readers
 * (commits that delete ioeventfds do).
 */
typedef void MemWriteFn(void *opaque, MemRegion *ram, uint64_t offset, uint64_t len);
void mem_topology_set_write_hook(MemTopology *topo, MemWriteFn *fn, void *opaque);

/* Dirty pages of RAM regions (4 KiB); tracking is started per client. */
void mem_region_dirty_track(MemRegion *ram, MemDirty client, bool on); /* topology */
/* The bytes behind a region's host address were changed by its owner (flash): code of the guest in there is looked at anew.  Any thread. */
void mem_region_changed(MemRegion *region, uint64_t offset, uint64_t len);
void mem_region_dirty_set(MemRegion *ram, uint64_t offset, uint64_t len); /* any thread */
/* Copies and clears the bits of [offset, offset+len), one bit a page, into bitmap; true when any was set. */
bool mem_region_dirty_take(MemRegion *ram, MemDirty client, uint64_t offset, uint64_t len, uint64_t *bitmap);
/* Another process maps the RAM and writes it unseen: every page that is taken counts as dirty.  Any thread. */
void mem_region_set_foreign_writers(MemRegion *ram, bool on);

/* --- listeners (topology) --- */
typedef struct MemListener MemListener;
struct MemListener {
    const char *name;
    int priority;  /* order of begin/add/commit: ascending; of del: descending */
    void (*begin)(MemListener *l);
    void (*add)(MemListener *l, const MemSection *section);
    void (*del)(MemListener *l, const MemSection *section);
    void (*ioeventfd_add)(MemListener *l, const MemSection *section, bool match, uint64_t data, int fd);
    void (*ioeventfd_del)(MemListener *l, const MemSection *section, bool match, uint64_t data, int fd);
    /* Everything is sent: wait for what was started.  False: the commit fails with this error. */
    bool (*commit)(MemListener *l, GError **error);
    AddressSpace *as; /* set by mem_listener_register */
};
/* Registers and replays the present sections as adds.  False: *error, and it is not registered. */
bool mem_listener_register(MemListener *l, AddressSpace *as, GError **error);
/* Replays the present sections as dels, then forgets the listener. */
void mem_listener_unregister(MemListener *l);

/* `info mtree` (flat: -f) as text; g_free. */
char *mem_topology_print(MemTopology *topo, bool flat);

#endif
