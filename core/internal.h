/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of core/ share with each other and with nobody else. */
#ifndef CORE_INTERNAL_H
#define CORE_INTERNAL_H

#include "core/device.h"
#include "core/machine.h"

/* --- prop.c --- */
/* Little-endian integer field of 1, 2, 4 or 8 bytes. */
uint64_t prop_load_uint(const void *field, size_t size);
void prop_store_uint(void *field, size_t size, uint64_t val);
void prop_print_table(const Prop *table);
/* Appends an entry for each property to the JSON array. */
void prop_list_table(const Prop *table, struct json_object *list);

/* --- object.c --- */
/* "letters, digits, '-', '.', '_', beginning with a letter". */
bool object_id_wellformed(const char *id);
/* Begins the tree: an object without parent. */
Object *object_new_root(const Model *model);
/* The properties common to the kind of the model's machine, or NULL. */
const Prop *object_kind_props(const Object *obj);

/* --- device.c, irq.c --- */
static inline bool object_is_device(const Object *obj)
{
    return obj->model->kind == MODEL_DEVICE || obj->model->kind == MODEL_PCI;
}
extern const DeviceKindOps device_kind_ops; /* MODEL_DEVICE */
void device_init(Device *dev);
void device_finalize(Device *dev);
void device_free_irqs(Device *dev);

/* --- loop.c, clock.c, timer.c --- */
/*
 * Takes the lock for an access to a device from code that may hold other loops' locks (DMA between devices).
 * The main loop's may always be waited for; another's only for a bounded time, so that two
 * devices reaching into each other cannot stop both loops for ever.  False: not taken.
 */
bool loop_lock_bounded(EventLoop *loop);

typedef struct TimerList TimerList;
TimerList *timer_list_new(EventLoop *loop, ClockSource *clocks);
void timer_list_free(TimerList *list);
/* Nanoseconds until the first timer is due, 0 when one is, -1 when none will be. */
int64_t timer_list_timeout(TimerList *list);
/* Runs what is due now; with the loop's lock. */
void timer_list_run(TimerList *list);
TimerList *loop_timers(EventLoop *loop);
/* Earliest pending expiry of the kind, or INT64_MAX. */
int64_t timer_list_first(TimerList *list, ClockKind kind);
/* Runs the first timer of the kind when it expires at or before `now`; with the loop's lock. */
bool timer_list_run_one(TimerList *list, ClockKind kind, int64_t now);
EventLoop *timer_list_loop(TimerList *list);
/* See loop_gate_open(). */
void timer_list_gate_open(TimerList *list, LoopGate *gate);

/* A guest-time timer became the first of its list.  Any thread. */
void clock_deadline_changed(ClockSource *clocks);
void clock_attach(ClockSource *clocks, TimerList *list);
void clock_detach(ClockSource *clocks, TimerList *list);
/* Nanoseconds of real time until `expires`; -1 when that clock stands still, 0 when past. */
int64_t clock_until(ClockSource *clocks, ClockKind kind, int64_t expires);
/* False: timers of this clock do not run now. */
bool clock_running(ClockSource *clocks, ClockKind kind);

/* --- machine.c --- */
/* Objects and devices that are started, in order of their start. */
void machine_track(Machine *m, Object *obj);
void machine_untrack(Machine *m, Object *obj);
GPtrArray *machine_tracked(Machine *m);
/* Of what -global gave, in order (core/machine-global.c); NULL while the machine itself is made. */
GPtrArray *machine_globals(Machine *m);
void machine_global_free(void *global);
/* Sets what -global says of the model of a new object.  False with *error. */
bool object_apply_globals(Object *obj, GError **error);
/* Of DeviceBus *, oldest first. */
GPtrArray *machine_device_buses(Machine *m);
/* --- machine-fd.c --- */
/* Of descriptors by name, which it closes; and the machine's. */
GHashTable *machine_fds_new(void);
GHashTable *machine_fds(Machine *m);

/* --- boot-index.c --- */
/* False: another device of the machine has the same place in the boot order; *error names both. */
bool device_check_bootindex(const Device *dev, GError **error);

/* What threads do for monitors (core/machine-later.c); with the main loop's lock. */
GQueue *machine_laters(Machine *m);
/* The same, ended: as the machine goes. */
void machine_laters_end(Machine *m);
/* Stops a started -object; object_free follows. */
void machine_stop_object(Object *obj);

#endif
