/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Nodes: made from the options of -drive or -blockdev by the driver they name,
 * seen in the object tree, found by their ids, closed.  A raw node over another
 * only gives it a second name, since raw is the one format there is.
 */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/block-opts.h"

static bool node_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    error_set(error, "%s.%s: is read-only", obj->model->name, prop->name);
    return false;
}

static struct json_object *node_format(Object *obj, const Prop *prop)
{
    return json_object_new_string(((BlockBackend *)obj)->engine_ops->name);
}

static void node_clear(Object *obj, const Prop *prop)
{
    block_node_close((BlockBackend *)obj);
}

static struct json_object *driver_format(Object *obj, const Prop *prop)
{
    return json_object_new_string(((BlockBackend *)obj)->driver);
}

static const PropType node_driver_type = {"str", node_parse, driver_format, NULL, sizeof(void *)};

/* The engine; with the object goes what the node holds of the system. */
static const PropType node_engine_type = {"str", node_parse, node_format, node_clear, sizeof(void *)};

static const Prop node_props[] = {
    {.name = "file",
     .type = &prop_string,
     .offset = offsetof(BlockBackend, file),
     .flags = PROP_READONLY,
     .doc = "name of the image"},
    {.name = "driver",
     .type = &node_driver_type,
     .offset = offsetof(BlockBackend, driver),
     .flags = PROP_READONLY,
     .doc = "where bytes come from"},
    {.name = "size",
     .type = &prop_size,
     .offset = offsetof(BlockBackend, size),
     .flags = PROP_READONLY,
     .doc = "bytes"},
    {.name = "readonly",
     .type = &prop_bool,
     .offset = offsetof(BlockBackend, readonly),
     .flags = PROP_READONLY,
     .doc = "writes are refused"},
    {.name = "aio",
     .type = &node_engine_type,
     .offset = offsetof(BlockBackend, engine_ops),
     .flags = PROP_READONLY,
     .doc = "how requests reach the kernel"},
    PROP_END,
};

static bool node_release(Object *obj, GError **error);
static bool node_claim(Object *obj, GError **error);

static const ObjectModel node_model = {
    .model = {.name = "block-node",
              .doc = "A -drive or -blockdev.",
              .kind = MODEL_OBJECT,
              .size = sizeof(BlockBackend),
              .props = node_props,
              .release = node_release,
              .claim = node_claim,
              .internal = true},
};

static const BlockDriver *const drivers[] = {
    &block_driver_file,
    &block_driver_host_device,
    &block_driver_null_co,
#ifdef CONFIG_LIBNBD
    &block_driver_nbd,
#endif
};

const BlockDriver *block_driver_find(const BlockOpts *o, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(drivers); i++) {
        if (!strcmp(drivers[i]->name, o->driver)) {
            return drivers[i];
        }
        g_string_append_printf(names, "%s%s", i ? ", " : "", drivers[i]->name);
    }
    error_set(error, "%s: no driver '%s' in this build (available: %s)", o->where, o->driver, names->str);
    return NULL;
}

/* --- open and close --- */

static bool map_zeroes(BlockBackend *blk, const BlockOpts *o, GError **error)
{
    void *zeroes = mmap(NULL, BLOCK_ZEROES_LEN, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (zeroes == MAP_FAILED) {
        error_set_errno(error, errno, "%s: no memory", o->where);
        return false;
    }
    blk->zeroes = zeroes;
    return true;
}

static bool node_stand_for(BlockBackend *blk, const BlockOpts *o, GError **error)
{
    blk->below = block_find(blk->obj.machine, o->below);
    if (!blk->below) {
        error_set(error, "%s: no such node ('%s')", o->where, o->below);
        return false;
    }
    blk->below->above++;
    return true;
}

static bool node_open(BlockBackend *blk, const BlockOpts *o, GError **error)
{
    const BlockDriver *driver;

    if (o->below) {
        return node_stand_for(blk, o, error);
    }
    driver = block_driver_find(o, error);
    if (!driver || !map_zeroes(blk, o, error)) {
        return false;
    }
    blk->driver = driver->name;
    blk->readonly = o->readonly;
    blk->sync = o->sync;
    blk->no_flush = o->no_flush;
    blk->discard = o->unmap;
    blk->mem_align = blk->offset_align = 1;
    blk->on_read_error = o->on_read_error;
    blk->on_write_error = o->on_write_error;
    blk->throttle = block_throttle_new(o->limits, o->iops_size);
    if (!driver->open(blk, o, error)) {
        return false;
    }
    TRACE(&block_trace[BLOCK_TRACE_OPEN], "%s: %s, %" G_GUINT64_FORMAT " bytes, aio=%s", blk->obj.id, blk->file,
          blk->size, blk->engine_ops->name);
    return true;
}

static BlockBackend *node_new(Machine *machine, struct json_object *opts, bool blockdev, GError **error)
{
    BlockOpts o = {NULL};
    BlockBackend *blk = NULL;
    Object *obj = NULL;

    if (block_opts_parse(&o, opts, blockdev, error)) {
        obj = object_new(&node_model.model, machine, object_container(machine->root, "drives"), o.id, error);
        if (!obj) {
            g_prefix_error(error, "%s %s=%s: ", o.option, blockdev ? "node-name" : "id", o.id);
        }
    }
    if (obj) {
        blk = (BlockBackend *)obj;
        blk->fd = blk->buffered_fd = -1;
        blk->driver = "raw";
        blk->engine_ops = &block_engine_threads;
        if (!node_open(blk, &o, error)) {
            object_free(obj);
            blk = NULL;
        }
    }
    block_opts_clear(&o);
    return blk;
}

BlockBackend *block_open(Machine *machine, struct json_object *opts, GError **error)
{
    return node_new(machine, opts, false, error);
}

BlockBackend *block_open_node(Machine *machine, struct json_object *opts, GError **error)
{
    return node_new(machine, opts, true, error);
}

bool block_delete(Machine *machine, const char *id, GError **error)
{
    Object *nodes = object_child(machine->root, "drives");
    BlockBackend *blk = nodes ? (BlockBackend *)object_child(nodes, id) : NULL;

    if (!blk) {
        error_set(error, "Failed to find node with node-name='%s'", id);
        return false;
    }
    if (blk->user || blk->above) {
        error_set(error, "Node '%s' is in use by %s", blk->obj.id, blk->user ? blk->user->obj.id : "another node");
        return false;
    }
    object_free(&blk->obj);
    return true;
}

BlockBackend *block_find(Machine *machine, const char *id)
{
    Object *nodes = object_child(machine->root, "drives");
    BlockBackend *blk = nodes ? (BlockBackend *)object_child(nodes, id) : NULL;

    return blk && blk->below ? blk->below : blk;
}

void block_node_close(BlockBackend *blk)
{
    if (blk->closed) {
        return;
    }
    if (blk->user) {
        block_drain(blk);
        blk->engine_ops->detach(blk);
    }
    blk->closed = true;
    if (blk->below) {
        blk->below->above--;
    }
    block_throttle_free(g_steal_pointer(&blk->throttle));
    block_error_detach(blk);
    if (blk->engine) {
        blk->engine_ops->stop(blk);
    }
    if (blk->zeroes) {
        munmap(blk->zeroes, BLOCK_ZEROES_LEN);
    }
    if (blk->buffered_fd >= 0) {
        close(blk->buffered_fd);
    }
    if (blk->fd >= 0) {
        close(blk->fd);
    }
    blk->fd = blk->buffered_fd = -1;
    block_free_reqs(blk);
}

void block_enter_loop(BlockBackend *blk)
{
    EventLoop *main_loop = blk->obj.machine->main_loop;
    unsigned depth = blk->loop == main_loop ? 0 : loop_release(main_loop);

    loop_lock(blk->loop);
    loop_reacquire(main_loop, depth);
}

static void node_close_in_loop(BlockBackend *blk)
{
    EventLoop *loop = blk->loop;

    if (loop) {
        block_enter_loop(blk);
    }
    block_node_close(blk);
    if (loop) {
        loop_unlock(loop);
    }
}

void block_close_all(Machine *machine)
{
    Object *nodes = object_child(machine->root, "drives");

    for (guint i = nodes ? nodes->children->len : 0; i-- > 0;) {
        BlockBackend *blk = nodes->children->pdata[i];

        node_close_in_loop(blk); /* one that a device still holds stays in the tree, and refuses requests */
        if (!blk->user) {
            object_free(&blk->obj);
        }
    }
}

/* --- to and from other processes --- */

static void each_file(Machine *machine, void (*fn)(BlockBackend *blk, void *opaque), void *opaque)
{
    Object *nodes = object_child(machine->root, "drives");

    for (guint i = 0; nodes && i < nodes->children->len; i++) {
        BlockBackend *blk = nodes->children->pdata[i];

        if (blk->fd >= 0) {
            fn(blk, opaque);
        }
    }
}

static void sync_one(BlockBackend *blk, void *opaque)
{
    GError **error = opaque;

    if (!*error && !blk->readonly && !blk->inactive && fdatasync(blk->fd)) {
        error_set_errno(error, errno, "drive %s: cannot bring '%s' to stable storage", blk->obj.id, blk->file);
    }
}

static void inactivate_one(BlockBackend *blk, void *opaque)
{
    block_file_unlock(blk);
    blk->inactive = true;
}

static void activate_one(BlockBackend *blk, void *opaque)
{
    GError **error = opaque;

    if (*error || !blk->inactive) {
        return;
    }
    if (!block_file_lock(blk, error)) {
        g_prefix_error(error, "drive %s ('%s'): ", blk->obj.id, blk->file);
        return;
    }
    blk->inactive = false;
    block_error_retry(blk);
}

static bool node_release(Object *obj, GError **error)
{
    BlockBackend *blk = (BlockBackend *)obj;
    GError *first = NULL;

    if (blk->fd < 0) {
        return true;
    }
    sync_one(blk, &first);
    if (first) {
        g_propagate_error(error, first);
        return false;
    }
    inactivate_one(blk, NULL);
    return true;
}

static bool node_claim(Object *obj, GError **error)
{
    BlockBackend *blk = (BlockBackend *)obj;
    GError *first = NULL;

    if (blk->fd >= 0) {
        activate_one(blk, &first);
    }
    if (first) {
        g_propagate_error(error, first);
    }
    return !first;
}

bool block_inactivate_all(Machine *machine, GError **error)
{
    GError *first = NULL;

    each_file(machine, sync_one, &first);
    if (first) {
        g_propagate_error(error, first);
        return false;
    }
    each_file(machine, inactivate_one, NULL);
    return true;
}

bool block_activate_all(Machine *machine, GError **error)
{
    GError *first = NULL;

    each_file(machine, activate_one, &first);
    if (first) {
        g_propagate_error(error, first);
    }
    return !first;
}

/* --- drive= --- */

static bool drive_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    const char *id = json_object_get_string(value);
    BlockBackend *blk = id ? block_find(obj->machine, id) : NULL;

    if (!blk) {
        error_set(error, "%s.%s: no such drive ('%s'); add -drive id=%s,file=PATH,format=raw,if=none",
                  obj->model->name, prop->name, id ? id : "null", id ? id : "NAME");
        return false;
    }
    *(BlockBackend **)((char *)obj + prop->offset) = blk;
    return true;
}

static struct json_object *drive_format(Object *obj, const Prop *prop)
{
    BlockBackend *blk = *(BlockBackend **)((char *)obj + prop->offset);

    return json_object_new_string(blk ? blk->obj.id : "");
}

const PropType prop_drive = {"str", drive_parse, drive_format, NULL, sizeof(BlockBackend *), true};
