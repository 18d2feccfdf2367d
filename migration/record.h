/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The migration stream.  All integers little endian:
 *
 *   stream  u32 magic "MPQM", u32 version; records
 *   record  u32 type, u32 length of the payload, u32 CRC-32C of these 8 bytes, u32 CRC-32C that goes on with the payload; payload
 *
 * so that nobody waits for what a damaged length promises.  Of a payload the first bytes are summed as they are, as many as its length is
 * more than a multiple of 4096, and then the CRC-32C of each 4096 bytes: so a page's is computed apart from the others'.
 *
 * Earlier versions are still read: 2 has CRC-32 (zlib's) of the whole payload; 1 has that too, and not the first of the two.
 *
 * A record says by itself what it is about, so that several streams can carry parts of one migration.
 */
#ifndef MIGRATION_RECORD_H
#define MIGRATION_RECORD_H

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define MIG_VERSION     3
#define MIG_RECORD_MAX  (16u << 20)
#define MIG_PAGE_SIZE   4096u
#define MIG_PIECE_MAX   (1u << 20)   /* of one record */
#define MIG_SECTION_MAX (256u << 20) /* of a device's saved state */
#define MIG_PAGES_MAX   64u  /* of one RAM record: it stays in the cache from one step to the next */
#define MIG_ZEROS_MAX   256u /* pages of one zero record */

typedef enum MigRecordType {
    MIG_MACHINE = 1, /* JSON: what the stream is of */
    MIG_RAM,         /* u32 block, u64 offset, pages */
    MIG_ZERO,        /* u32 block, u64 offset, u32 count of pages that are zero */
    MIG_CPU,         /* a state section */
    MIG_DEVICE,      /* a state section */
    MIG_CLOCK,       /* i64 guest time, ns */
    MIG_END,         /* everything was sent; the guest's run state */
    MIG_LOADED,      /* destination: everything is in place */
    MIG_REFUSED,     /* destination: text */
    MIG_GO,          /* source: the disks are yours, run */
    MIG_PART,        /* the beginning of a device section that is longer than a record; the rest follows */
    MIG_REMOTE,      /* u32 device; what its far side gave */
    MIG_ASK,         /* source: is what was described here too? */
    MIG_AGREED,      /* destination: it is */
    MIG_RECORD_TYPES,
} MigRecordType;

const char *mig_record_name(uint32_t type);

/* A stream over an fd that blocks, and can be shut down then, or does not.  One thread writes, one reads. */
typedef struct MigStream {
    int fd;
    bool two_way;      /* the other side answers */
    uint32_t version;  /* of its header, once that was written or read */
    uint64_t sent, received; /* bytes; written by the thread that does it */
    uint64_t limit;    /* bytes a second; 0: none */
    int64_t window_start; /* us, of the tenth of a second that is measured */
    uint64_t window_sent;
    int aborted;       /* atomic: writes and reads fail from now on */
} MigStream;

bool mig_write_header(MigStream *s, GError **error);
bool mig_read_header(MigStream *s, GError **error);
/* Payload in two parts; the second is empty, or whole pages after less than one. */
bool mig_write(MigStream *s, MigRecordType type, const void *head, uint32_t head_len, const void *body, uint32_t body_len,
               GError **error);
/*
 * A head shorter than a page, then pages that others may be writing to: they are copied to `copy` and sent from there, and the sum is of
 * what is sent.  `pages` is aligned to 8 bytes.
 */
bool mig_write_pages(MigStream *s, MigRecordType type, const void *head, uint32_t head_len, const void *pages, void *copy,
                     uint32_t len, GError **error);

/* A record that is being read. */
typedef struct MigRecord {
    uint32_t type, len; /* of the payload */
    uint32_t left;      /* of it, to be read */
    uint32_t sum, expected;
    uint64_t at;        /* its offset in the stream */
} MigRecord;

/*
 * The next record, for who wants to say where its parts go.  Begins; reads a part (as many bytes as the length is more than a multiple
 * of 4096, or fewer of them; with or after them whole blocks of 4096); ends after the last: only now it is known whether what was read is
 * what was sent.  False: *error names the offset.
 */
bool mig_read_begin(MigStream *s, MigRecord *r, GError **error);
bool mig_read_part(MigStream *s, MigRecord *r, void *data, uint32_t len, GError **error);
bool mig_read_end(const MigRecord *r, GError **error);
/* The next record, whole; *payload is replaced.  False: *error names the offset. */
bool mig_read(MigStream *s, uint32_t *type, GByteArray *payload, GError **error);
/* Ends a read or write in progress.  Any thread. */
void mig_abort(MigStream *s);
void mig_close(MigStream *s);

#endif
