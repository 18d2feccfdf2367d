/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The block back ends of the machine: what they are, what they did, making, removing and resizing them. */
#include <inttypes.h>

#include "block/block.h"
#include "monitor-internal.h"
#include "qmp-commands.h"

/* Calls fn for every node, in the order they were made; second names of nodes are passed over. */
static void block_each(Machine *m, void (*fn)(BlockBackend *blk, void *opaque), void *opaque)
{
    Object *all = object_container(m->root, "drives");

    for (guint i = 0; i < all->children->len; i++) {
        BlockBackend *blk = g_ptr_array_index(all->children, i);

        if (block_file(blk)) {
            fn(blk, opaque);
        }
    }
}

static void block_describe(BlockBackend *blk, void *list)
{
    /* Clients read these unasked; there are no such things here. */
    static const char *const none[] = {"backing_file_depth", "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr", "write_threshold"};
    struct json_object *entry = json_object_new_object();
    struct json_object *inserted = json_object_new_object();
    struct json_object *image = json_object_new_object();
    const char *file = block_file(blk);

    json_object_object_add(image, "filename", json_object_new_string(file));
    json_object_object_add(image, "format", json_object_new_string("raw"));
    json_object_object_add(image, "virtual-size", json_object_new_uint64(block_size(blk)));
    json_object_object_add(inserted, "file", json_object_new_string(file));
    json_object_object_add(inserted, "drv", json_object_new_string(block_driver(blk)));
    json_object_object_add(inserted, "node-name", json_object_new_string(block_id(blk)));
    json_object_object_add(inserted, "ro", json_object_new_boolean(block_readonly(blk)));
    json_object_object_add(inserted, "encrypted", json_object_new_boolean(false));
    json_object_object_add(inserted, "detect_zeroes", json_object_new_string("off"));
    for (size_t i = 0; i < G_N_ELEMENTS(none); i++) {
        json_object_object_add(inserted, none[i], json_object_new_int(0));
    }
    json_object_object_add(inserted, "image", image);
    json_object_object_add(entry, "device", json_object_new_string(block_id(blk)));
    json_object_object_add(entry, "type", json_object_new_string("unknown"));
    json_object_object_add(entry, "removable", json_object_new_boolean(false));
    json_object_object_add(entry, "locked", json_object_new_boolean(false));
    json_object_object_add(entry, "inserted", inserted);
    json_object_array_add(list, entry);
}

struct json_object *qmp_query_block(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = json_object_new_array();

    block_each(m, block_describe, list);
    return list;
}

static void block_count(BlockBackend *blk, void *list)
{
    const BlockStats *stats = block_stats(blk);
    struct json_object *entry = json_object_new_object();
    struct json_object *counts = json_object_new_object();

    json_object_object_add(counts, "rd_bytes", json_object_new_uint64(stats->read_bytes));
    json_object_object_add(counts, "rd_operations", json_object_new_uint64(stats->read_ops));
    json_object_object_add(counts, "wr_bytes", json_object_new_uint64(stats->write_bytes));
    json_object_object_add(counts, "wr_operations", json_object_new_uint64(stats->write_ops));
    json_object_object_add(counts, "flush_operations", json_object_new_uint64(stats->flush_ops));
    json_object_object_add(counts, "rd_merged", json_object_new_int(0));
    json_object_object_add(counts, "wr_merged", json_object_new_int(0));
    json_object_object_add(counts, "x-failed_operations", json_object_new_uint64(stats->failed_ops));
    json_object_object_add(entry, "device", json_object_new_string(block_id(blk)));
    json_object_object_add(entry, "node-name", json_object_new_string(block_id(blk)));
    json_object_object_add(entry, "stats", counts);
    json_object_array_add(list, entry);
}

struct json_object *qmp_query_blockstats(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = json_object_new_array();

    block_each(m, block_count, list);
    return list;
}

/* --- changes --- */

struct json_object *qmp_blockdev_add(Machine *m, struct json_object *args, GError **error)
{
    block_open_node(m, args, error);
    return NULL;
}

struct json_object *qmp_blockdev_del(Machine *m, struct json_object *args, GError **error)
{
    block_delete(m, json_member_str(args, "node-name"), error);
    return NULL;
}

struct json_object *qmp_block_resize(Machine *m, struct json_object *args, GError **error)
{
    const char *device = json_member_str(args, "device"), *node = json_member_str(args, "node-name");
    BlockBackend *blk = device || node ? block_find(m, device ? device : node) : NULL;
    struct json_object *size = NULL;

    json_object_object_get_ex(args, "size", &size);
    if (!blk) {
        error_set(error, "Cannot find device='%s' nor node-name='%s'", device ? device : "", node ? node : "");
    } else if (json_object_get_int64(size) < 0) {
        error_set(error, "Parameter 'size' expects a size that is not negative");
    } else {
        block_resize(blk, json_object_get_uint64(size), error);
    }
    return NULL;
}

/* --- HMP --- */

static void block_print(BlockBackend *blk, void *opaque)
{
    const BlockStats *stats = block_stats(blk);

    g_string_append_printf(opaque,
                           "%s: %s (%s%s), %" PRIu64 " bytes; %" PRIu64 " reads, %" PRIu64
                           " writes, %" PRIu64 " flushes, %" PRIu64 " failed\n",
                           block_id(blk), block_file(blk), block_driver(blk),
                           block_readonly(blk) ? ", read-only" : "", block_size(blk),
                           stats->read_ops, stats->write_ops, stats->flush_ops, stats->failed_ops);
}

static void hmp_info_block(Machine *m, const char *args, GString *out)
{
    block_each(m, block_print, out);
    if (!out->len) {
        g_string_append(out, "no block devices\n");
    }
}

const HmpCommand hmp_block_table[] = {
    {.name = "info block",
     .args = "",
     .doc = "block back ends and what they have done",
     .run = hmp_info_block},
    {.name = NULL},
};
