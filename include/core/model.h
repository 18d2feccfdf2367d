/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Models and objects.  A model is a const table that says what can be created
 * (`-device`, `-object`, `-machine`); an object is one instance of it in the
 * machine's tree.  The tree is what QMP shows below `/`: /objects/ID for
 * -object, /machine/peripheral/ID for -device with an id,
 * /machine/peripheral-anon/device[N] without, /machine/unattached/device[N]
 * for the board's own devices.
 *
 * Context: main loop, unless said otherwise.
 */
#ifndef CORE_MODEL_H
#define CORE_MODEL_H

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

typedef struct Machine Machine;
typedef struct Model Model;
typedef struct Object Object;
typedef struct Prop Prop;
typedef struct StateTable StateTable;
typedef struct MoveOps MoveOps;

/* Which outer table a Model is the first member of. */
typedef enum ModelKind {
    MODEL_OBJECT,  /* ObjectModel: -object */
    MODEL_DEVICE,  /* DeviceModel (core/device.h): a device not on a PCI bus */
    MODEL_PCI,     /* PciModel (hw/pci/pci.h) */
    MODEL_MACHINE, /* MachineModel (core/machine.h) */
} ModelKind;

/* The part common to every model. */
struct Model {
    const char *name;        /* as typed after -device, -object, -machine */
    const char *alias;       /* second accepted name, or NULL */
    const char *doc;         /* one or two sentences, for `help` and the reference page */
    ModelKind kind;
    size_t size;             /* bytes of the instance struct, which begins with Object/Device/PciDevice/Machine */
    const Prop *props;       /* ends with an entry whose name is NULL; may be NULL */
    const StateTable *state; /* required for devices; a model with nothing to save points at state_none */
    bool start_waits;        /* a device's start waits for another process: monitors need not wait for that */
    const MoveOps *move;     /* devices (core/device.h): part of an instance lives in another process; NULL: none does */
    /*
     * Objects that only one process may use at a time: given up when the device that uses them moves away, and taken (back) where it
     * runs.  With the user's lock, nothing in flight.  NULL: any number may use it.
     */
    bool (*release)(Object *obj, GError **error);
    bool (*claim)(Object *obj, GError **error);
    /* Interrupt controllers: what `info pic` shows, their registers, and `info irq`, how often each input rose.  NULL: is none. */
    void (*print_irqs)(Object *obj, bool counts, GString *out);
    bool internal;           /* created by the board only: -device refuses it */
};

typedef struct ObjectModel {
    Model model;
    /* Properties are set.  On false *error is set and nothing is left behind. */
    bool (*start)(Object *obj, GError **error);
    /* NULL: may always go.  False with a reason: object-del is refused. */
    bool (*can_stop)(Object *obj, GError **error);
    void (*stop)(Object *obj);
} ObjectModel;

/* First member of every instance.  Fields are read-only outside core/. */
struct Object {
    const Model *model;
    char *id;             /* last path component, unique below parent */
    Object *parent;
    GPtrArray *children;  /* of Object *, creation order */
    Machine *machine;     /* NULL only for the root before a machine exists */
    bool started;
    GHashTable *given;    /* of const Prop *: set by the user; NULL when none */
};

/*
 * The build's list of models, generated from the meson lists: a const table
 * ending with NULL.  A test links its own.
 */
extern const Model *const model_table[];

/* The model of that name or alias and kind set (bit mask of 1 << ModelKind), or NULL. */
const Model *model_find(const char *name, unsigned kinds);
/* The name in `names`-like table nearest to `name` (edit distance), or NULL when none is near. */
const char *model_nearest(const char *name, unsigned kinds);

/*
 * Allocates a zeroed instance of `model` with property defaults applied and
 * attaches it below `parent` as `id` (copied).  Not started.  NULL with *error
 * when the id is taken or malformed (letters, digits, '-', '.', '_', beginning
 * with a letter; board names may also have [n]).  id NULL: "device[N]" with the first free N.
 */
Object *object_new(const Model *model, Machine *machine, Object *parent, const char *id, GError **error);
/* Detaches and frees an object that is not started (or was stopped), and its children. */
void object_free(Object *obj);

/* Sets a property before start (or at run time for PROP_RUNTIME).  value is borrowed. */
bool object_set(Object *obj, const char *name, struct json_object *value, GError **error);
/* As object_set from text, as in key=value. */
bool object_set_str(Object *obj, const char *name, const char *value, GError **error);
/*
 * Sets every member of a JSON object, but for the NULL-terminated names in `skip`.  Members "NAME.KEY" of a key=value
 * list are gathered to one object for the structured property NAME.
 */
bool object_set_all(Object *obj, struct json_object *values, const char *const *skip, GError **error);
/* The property's value as a new JSON reference, or NULL with *error. */
struct json_object *object_get(Object *obj, const char *name, GError **error);
/* The table entry of a property: the model's own, then those common to its kind.  NULL when unknown. */
const Prop *object_find_prop(const Object *obj, const char *name);

/* The object at an absolute path, or the only one whose last component is a bare id; NULL when none or ambiguous. */
Object *object_resolve(Machine *machine, const char *path);
/* Canonical path, malloc'ed (g_free). */
char *object_path(const Object *obj);
Object *object_child(Object *parent, const char *id);
/* False with *error when a PROP_REQUIRED property was not given.  Before an object's start. */
bool object_check_required(Object *obj, GError **error);
/* A plain node of the tree ("container"), created when missing. */
Object *object_container(Object *parent, const char *id);

#endif
