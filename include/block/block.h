/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Block back ends: what a disk model reads from and writes to.  A node is made
 * by -drive and named by its id; one model attaches to it.
 *
 * Context: the home loop of the model that attached (its lock held); completions run there too.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <sys/uio.h>

#include "core/machine.h"

typedef void BlockDoneFn(void *opaque, int result); /* 0 or -errno */

#define BLOCK_SECTOR_SIZE 512

typedef struct BlockStats {
    uint64_t read_ops, read_bytes, write_ops, write_bytes, flush_ops, failed_ops;
} BlockStats;

/* Opens from the options of -drive and registers it under its id (docs/system/block.md). */
BlockBackend *block_open(Machine *machine, struct json_object *opts, GError **error);
/* The same from those of -blockdev and blockdev-add. */
BlockBackend *block_open_node(Machine *machine, struct json_object *opts, GError **error);
/* blockdev-del: false when it does not exist or is in use. */
bool block_delete(Machine *machine, const char *id, GError **error);
BlockBackend *block_find(Machine *machine, const char *id);
/* Grows or shrinks a file (bytes, multiple of 512); the user is told.  Main loop. */
bool block_resize(BlockBackend *blk, uint64_t size, GError **error);
/*
 * The machine's disks go to another process: everything is on stable storage, locks are given up, requests are refused.
 * False: none was given up.  Guest stopped, nothing in flight.  Main loop.
 */
bool block_inactivate_all(Machine *machine, GError **error);
/* They are ours (again): locks are taken, sizes looked at anew.  False: *error names the one somebody else has. */
bool block_activate_all(Machine *machine, GError **error);
/* Closes every node of the machine. */
void block_close_all(Machine *machine);

/* One user at a time; completions then run in `loop`.  False: in use (by whom is in *error). */
bool block_attach(BlockBackend *blk, Device *user, EventLoop *loop, GError **error);
/* Drains first. */
void block_detach(BlockBackend *blk);

/*
 * What the user wants done about failed requests, as indices into the words below; 0 (auto): what the drive says.  Until
 * it detaches.
 */
void block_set_error_actions(BlockBackend *blk, int rerror, int werror);
extern const char *const block_rerror_words[], *const block_werror_words[]; /* of PROP_ENUM, NULL-terminated */
#define BLOCK_ERROR_PROPS(S, r, w)                                                                             \
    PROP_ENUM("rerror", S, r, 0, block_rerror_words, "a failed read: report, ignore, stop; auto: as the drive says"), \
    PROP_ENUM("werror", S, w, 0, block_werror_words,                                                           \
              "a failed write: report, ignore, stop, enospc; auto: as the drive says")
/* Other processes may have the same file open for writing (locking=off). */
bool block_shared(const BlockBackend *blk);

/* The size has changed: in the user's loop.  NULL: nobody is told. */
typedef void BlockResizedFn(void *opaque);
void block_set_resized(BlockBackend *blk, BlockResizedFn *fn, void *opaque);

const char *block_id(const BlockBackend *blk);
uint64_t block_size(const BlockBackend *blk); /* bytes */
/* "file", "null-co", ...: where bytes come from; and its name there. */
const char *block_driver(const BlockBackend *blk);
const char *block_file(const BlockBackend *blk);
bool block_readonly(const BlockBackend *blk);
const BlockStats *block_stats(const BlockBackend *blk);

/*
 * Asynchronous requests; `done` is called exactly once, never from inside the call.
 * offset and total length are multiples of 512 bytes and within the size, else -EINVAL/-ENOSPC comes
 * back.  iov is copied; the memory it points at stays valid until done.
 */
void block_read(BlockBackend *blk, uint64_t offset, const struct iovec *iov, int iovcnt, BlockDoneFn *done, void *opaque);
/* fua: on stable storage before done. */
void block_write(BlockBackend *blk, uint64_t offset, const struct iovec *iov, int iovcnt, bool fua, BlockDoneFn *done,
                 void *opaque);
void block_write_zeroes(BlockBackend *blk, uint64_t offset, uint64_t len, bool may_unmap, BlockDoneFn *done, void *opaque);
void block_discard(BlockBackend *blk, uint64_t offset, uint64_t len, BlockDoneFn *done, void *opaque);
void block_flush(BlockBackend *blk, BlockDoneFn *done, void *opaque);

/* Between plug and unplug requests may be held back to be submitted together. */
void block_plug(BlockBackend *blk);
void block_unplug(BlockBackend *blk);

/* Waits until nothing is in flight (the loop's lock held; callbacks run). */
void block_drain(BlockBackend *blk);

/* The property type of `drive=`: a BlockBackend * found by id. */
extern const PropType prop_drive;

#endif
