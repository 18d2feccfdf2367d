/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The block back ends of the machine: query-block, query-blockstats and `info block`. */
#include <inttypes.h>

#include "block/block.h"
#include "monitor-internal.h"

/* Calls fn for every node, in the order of -drive. */
static void block_each(Machine *m, void (*fn)(BlockBackend *blk, void *opaque), void *opaque)
{
    Object *all = object_container(m->root, "drives");

    for (guint i = 0; i < all->children->len; i++) {
        fn(g_ptr_array_index(all->children, i), opaque);
    }
}

static char *block_file(BlockBackend *blk)
{
    struct json_object *value = object_get((Object *)blk, "file", NULL);
    char *file = g_strdup(value ? json_object_get_string(value) : "");

    json_object_put(value);
    return file;
}

static void block_describe(BlockBackend *blk, void *list)
{
    struct json_object *entry = json_object_new_object();
    struct json_object *inserted = json_object_new_object();
    struct json_object *image = json_object_new_object();
    g_autofree char *file = block_file(blk);

    json_object_object_add(image, "filename", json_object_new_string(file));
    json_object_object_add(image, "format", json_object_new_string("raw"));
    json_object_object_add(image, "virtual-size", json_object_new_uint64(block_size(blk)));
    json_object_object_add(inserted, "file", json_object_new_string(file));
    json_object_object_add(inserted, "drv", json_object_new_string("raw"));
    json_object_object_add(inserted, "ro", json_object_new_boolean(block_readonly(blk)));
    json_object_object_add(inserted, "image", image);
    json_object_object_add(entry, "device", json_object_new_string(block_id(blk)));
    json_object_object_add(entry, "type", json_object_new_string("unknown"));
    json_object_object_add(entry, "removable", json_object_new_boolean(false));
    json_object_object_add(entry, "locked", json_object_new_boolean(false));
    json_object_object_add(entry, "inserted", inserted);
    json_object_array_add(list, entry);
}

static struct json_object *qmp_query_block(Machine *m, struct json_object *args, GError **error)
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
    json_object_object_add(counts, "x-failed_operations", json_object_new_uint64(stats->failed_ops));
    json_object_object_add(entry, "device", json_object_new_string(block_id(blk)));
    json_object_object_add(entry, "stats", counts);
    json_object_array_add(list, entry);
}

static struct json_object *qmp_query_blockstats(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = json_object_new_array();

    block_each(m, block_count, list);
    return list;
}

static void block_print(BlockBackend *blk, void *opaque)
{
    const BlockStats *stats = block_stats(blk);
    g_autofree char *file = block_file(blk);

    g_string_append_printf(opaque,
                           "%s: %s (raw%s), %" PRIu64 " bytes; %" PRIu64 " reads, %" PRIu64
                           " writes, %" PRIu64 " flushes, %" PRIu64 " failed\n",
                           block_id(blk), file, block_readonly(blk) ? ", read-only" : "", block_size(blk),
                           stats->read_ops, stats->write_ops, stats->flush_ops, stats->failed_ops);
}

static void hmp_info_block(Machine *m, const char *args, GString *out)
{
    block_each(m, block_print, out);
    if (!out->len) {
        g_string_append(out, "no block devices\n");
    }
}

const QmpCommand qmp_block_table[] = {
    {.name = "query-block", .run = qmp_query_block, .doc = "The block back ends."},
    {.name = "query-blockstats", .run = qmp_query_blockstats, .doc = "What each block back end has done."},
    {.name = NULL},
};

const HmpCommand hmp_block_table[] = {
    {.name = "info block",
     .args = "",
     .doc = "block back ends and what they have done",
     .run = hmp_info_block},
    {.name = NULL},
};
