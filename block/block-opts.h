/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of a node, whichever way they were given, checked. */
#ifndef BLOCK_OPTS_H
#define BLOCK_OPTS_H

#include "block/block-internal.h"

struct json_object;

typedef struct BlockOpts {
    const char *option; /* "-drive", "-blockdev": begins texts about an option */
    char *where;        /* begins texts about the node: "-drive file=disk.img" */
    GPtrArray *texts;   /* owns what the fields below point at */
    const char *id, *driver, *format, *below; /* below: id of the node a raw node stands for */
    const char *filename;
    const char *host, *port, *path, *export_name, *uri, *server_type;
    const char *aio, *cache, *discard, *rerror, *werror, *locking, *interface, *media;
    bool readonly, direct, no_flush, sync, unmap, read_zeroes, auto_read_only;
    uint64_t size, latency_ns;
    BlockErrorAction on_read_error, on_write_error;
    BlockLimit limits[BLOCK_BUCKETS];
    uint64_t iops_size;
} BlockOpts;

/* From -drive or, with blockdev, from -blockdev / blockdev-add; JSON may be nested.  False: *error. */
bool block_opts_parse(BlockOpts *o, struct json_object *opts, bool blockdev, GError **error);
void block_opts_clear(BlockOpts *o);

/* A protocol: where bytes come from. */
typedef struct BlockDriver {
    const char *name, *doc;
    /* Sets size, engine_ops and what its engine needs; starts the engine.  On false block_node_close() cleans up. */
    bool (*open)(BlockBackend *blk, const BlockOpts *o, GError **error);
} BlockDriver;

extern const BlockDriver block_driver_file, block_driver_host_device, block_driver_null_co, block_driver_nbd;
/* NULL: no such driver in this build; *error says what there is. */
const BlockDriver *block_driver_find(const BlockOpts *o, GError **error);

#endif
