/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The destination.  RAM is written as it comes; CPUs and devices are kept until the stream has ended, then loaded in the
 * main loop, so that a broken stream leaves nothing half done that could run.
 */
#include <stdlib.h>
#include <string.h>

#include "block/block.h"
#include "core/error.h"
#include "migration/internal.h"
#include "migration/ram.h"
#include "migration/remote.h"

#define LOOK_US  300000
#define RAM_HEAD 12u

typedef struct Receiver {
    Migration *mig;
    MigRam ram;
    MigRamRun there;
    MigLayout *layout; /* once it was described */
    int64_t looked_at; /* us, at devices with a part elsewhere */
    unsigned kept[MIG_RECORD_TYPES]; /* of a type, to be loaded later */
    GByteArray *payload;
    GError *error;
} Receiver;

static uint32_t le32(const uint8_t *p)
{
    uint32_t val;

    memcpy(&val, p, sizeof(val));
    return GUINT32_FROM_LE(val);
}

static uint64_t le64(const uint8_t *p)
{
    uint64_t val;

    memcpy(&val, p, sizeof(val));
    return GUINT64_FROM_LE(val);
}

/* What is wrong is wrong with the record that began there. */
static void say_where(Receiver *r, MigRecordType type, uint64_t at)
{
    if (r->error) {
        g_prefix_error(&r->error, "migration: %s record at byte %" G_GUINT64_FORMAT ": ", mig_record_name(type), at);
    }
}

/* --- records --- */

static bool in_ram(const Receiver *r, const uint8_t *head, uint64_t len)
{
    uint64_t offset = le64(head + 4);

    return !le32(head) && offset % MIG_PAGE_SIZE == 0 && len % MIG_PAGE_SIZE == 0 && offset <= r->ram.size &&
           len <= r->ram.size - offset;
}

static bool range_ok(Receiver *r, const uint8_t *head, uint64_t len)
{
    bool ok = in_ram(r, head, len);

    if (!ok) {
        error_set(&r->error, "block %u at 0x%" G_GINT64_MODIFIER "x, %" G_GUINT64_FORMAT
                  " bytes, is outside the RAM (%" G_GUINT64_FORMAT " bytes)", le32(head), le64(head + 4), len,
                  r->ram.size);
    }
    return ok;
}

static bool receive_ram(Receiver *r)
{
    const GByteArray *p = r->payload;

    if (p->len < RAM_HEAD) {
        error_set(&r->error, "it has %u bytes", p->len);
        return false;
    }
    if (!range_ok(r, p->data, p->len - RAM_HEAD)) {
        return false;
    }
    mig_ram_write(&r->ram, le64(p->data + 4), p->data + RAM_HEAD, p->len - RAM_HEAD);
    return true;
}

static bool receive_zero(Receiver *r)
{
    const GByteArray *p = r->payload;
    uint64_t len;

    if (p->len != 16) {
        error_set(&r->error, "it has %u bytes (expected 16)", p->len);
        return false;
    }
    len = (uint64_t)le32(p->data + 12) * MIG_PAGE_SIZE;
    if (!range_ok(r, p->data, len)) {
        return false;
    }
    mig_ram_clear(&r->ram, &r->there, le64(p->data + 4), len);
    return true;
}

/* All of the record to where it belongs, as much at once as the cache holds until it is summed. */
static bool read_pages(Receiver *r, MigRecord *record, uint8_t *to)
{
    while (record->left) {
        uint32_t len = MIN(record->left, MIG_PAGES_MAX * MIG_PAGE_SIZE);

        if (!mig_read_part(&r->mig->stream, record, to, len, &r->error)) {
            return false;
        }
        to += len;
    }
    return mig_read_end(record, &r->error);
}

/* *done: it was RAM and is in its place; otherwise it is in the payload, undamaged. */
static bool read_record(Receiver *r, MigRecord *record, bool *done)
{
    MigStream *stream = &r->mig->stream;
    GByteArray *p = r->payload;
    uint8_t *place = NULL;

    *done = false;
    if (!mig_read_begin(stream, record, &r->error)) {
        return false;
    }
    g_byte_array_set_size(p, record->len);
    if (r->layout && record->type == MIG_RAM && record->len % MIG_PAGE_SIZE == RAM_HEAD) {
        if (!mig_read_part(stream, record, p->data, RAM_HEAD, &r->error)) {
            return false;
        }
        if (in_ram(r, p->data, record->left)) {
            place = mig_ram_place(&r->ram, &r->there, le64(p->data + 4), record->left);
        }
    }
    *done = place;
    if (place) {
        return read_pages(r, record, place);
    }
    return mig_read_part(stream, record, p->data + (record->len - record->left), record->left, &r->error) &&
           mig_read_end(record, &r->error);
}

static void terminate(GByteArray *text)
{
    g_byte_array_append(text, (const guint8 *)"", 1);
}

static void compare(Migration *mig, void *opaque)
{
    Receiver *r = opaque;
    bool ran;

    terminate(r->payload);
    r->layout = mig_compare(mig->m, (const char *)r->payload->data, &ran, &r->error);
    mig->guest_state = ran ? RUN_STATE_RUNNING : RUN_STATE_PAUSED;
}

/* No more than was described is kept: who sends may have no end. */
static bool expected(Receiver *r, MigRecordType type)
{
    unsigned most = type == MIG_CLOCK ? 1 : type == MIG_CPU ? mig_cpu_count(r->mig->m) : mig_layout_count(r->layout);
    bool ok = r->kept[type] < most;

    if (!ok) {
        error_set(&r->error, "there are more than %u of these", most);
    }
    r->kept[type]++;
    return ok;
}

/* A section that came in several records is one piece. */
static bool keep(Receiver *r, MigRecordType type, uint64_t at)
{
    GPtrArray *pieces = r->mig->pieces;
    MigPiece *last = pieces->len ? g_ptr_array_index(pieces, pieces->len - 1) : NULL;
    bool goes_on = last && last->type == MIG_PART;

    if (goes_on && type != MIG_PART && type != MIG_DEVICE) {
        error_set(&r->error, "it is in the middle of a device's section");
        return false;
    }
    if (!goes_on && !expected(r, type == MIG_PART ? MIG_DEVICE : type)) {
        return false;
    }
    if (!goes_on) {
        last = mig_pieces_add(pieces, type);
        last->at = at;
    }
    if (last->data->len + r->payload->len > MIG_SECTION_MAX) {
        error_set(&r->error, "the section has more than %u bytes", MIG_SECTION_MAX);
        return false;
    }
    last->type = type;
    g_byte_array_append(last->data, r->payload->data, r->payload->len);
    return true;
}

static void load_remote(Migration *mig, void *opaque)
{
    Receiver *r = opaque;

    mig_remote_load(mig->m, r->layout, r->payload, &r->error);
}

static bool pass_on(Receiver *r)
{
    migration_in_main(r->mig, load_remote, r);
    return !r->error;
}

static bool answer(Receiver *r)
{
    MigStream *stream = &r->mig->stream;

    return !stream->two_way || mig_write(stream, MIG_AGREED, NULL, 0, NULL, 0, &r->error);
}

static bool take(Receiver *r, uint32_t type, uint64_t at)
{
    if (type == MIG_MACHINE && !r->layout) {
        migration_in_main(r->mig, compare, r);
        return r->layout;
    }
    if (!r->layout) {
        error_set(&r->error, "the stream begins with it (expected machine)");
        return false;
    }
    switch (type) {
    case MIG_RAM:
        return receive_ram(r);
    case MIG_ZERO:
        return receive_zero(r);
    case MIG_CPU:
    case MIG_DEVICE:
    case MIG_CLOCK:
    case MIG_PART:
        return keep(r, type, at);
    case MIG_REMOTE:
        return pass_on(r);
    case MIG_ASK:
        return answer(r);
    case MIG_MACHINE:
        error_set(&r->error, "the machine was described already");
        return false;
    default:
        error_set(&r->error, "it does not belong here (type %u)", type);
        return false;
    }
}

/* The guest may have been stopped, or woken, since the machine was described; earlier releases do not say. */
static bool take_end(Receiver *r)
{
    RunState state;

    if (!r->payload->len) {
        return true;
    }
    terminate(r->payload);
    if (!run_state_parse((const char *)r->payload->data, &state) || state == RUN_STATE_INMIGRATE ||
        state == RUN_STATE_FINISH_MIGRATE || state == RUN_STATE_POSTMIGRATE) {
        error_set(&r->error, "migration: '%s' at byte %" G_GUINT64_FORMAT " is no state a guest comes in", r->payload->data,
                  r->mig->stream.received - r->payload->len + 1);
        return false;
    }
    r->mig->guest_state = state;
    return true;
}

static void look_after_remote(Migration *mig, void *opaque)
{
    Receiver *r = opaque;

    mig_remote_possible(mig->m, &r->error);
}

/* A device that has lost its other part meanwhile ends the move now, and not when all of the RAM is here. */
static bool still_possible(Receiver *r)
{
    int64_t now = g_get_monotonic_time();

    if (now - r->looked_at > LOOK_US) {
        r->looked_at = now;
        migration_in_main(r->mig, look_after_remote, r);
    }
    return !r->error;
}

static bool receive_all(Receiver *r)
{
    MigRecord record;
    bool done;

    if (!mig_read_header(&r->mig->stream, &r->error)) {
        return false;
    }
    for (;;) {
        if (!read_record(r, &record, &done)) {
            return false;
        }
        if (record.type == MIG_END) {
            return take_end(r);
        }
        if (!done && !take(r, record.type, record.at)) {
            say_where(r, record.type, record.at);
            return false;
        }
        if (!still_possible(r)) {
            return false;
        }
    }
}

/* --- main loop --- */

static void load(Migration *mig, void *opaque)
{
    Receiver *r = opaque;
    unsigned cpus = 0, devices = 0;

    mig_remote_take(mig->m, &r->error);
    for (guint i = 0; !r->error && i < mig->pieces->len; i++) {
        const MigPiece *piece = g_ptr_array_index(mig->pieces, i);

        if (!mig_load_piece(mig->m, r->layout, piece, &cpus, &devices, &r->error)) {
            say_where(r, piece->type, piece->at);
        }
    }
    if (!r->error && !mig_load_complete(mig->m, r->layout, cpus, devices, &r->error)) {
        g_prefix_error(&r->error, "migration: the stream ends at byte %" G_GUINT64_FORMAT ": ", mig->stream.received);
    }
    if (!r->error) {
        mig_remote_loaded(mig->m, &r->error);
    }
}

static void run(Migration *mig, void *opaque)
{
    Receiver *r = opaque;
    Machine *m = mig->m;
    bool goes_on = m->autostart && mig->guest_state == RUN_STATE_RUNNING;

    m->incoming = m->moving = false;
    if (!block_activate_all(m, &r->error) || (goes_on && !mig_remote_run(m, &r->error))) {
        return;
    }
    mig->given_away = !goes_on; /* what is elsewhere stands with the guest; `cont` takes it */
    migration_set_status(mig, MIGRATION_COMPLETED, NULL);
    m->run_state = mig->guest_state == RUN_STATE_RUNNING ? RUN_STATE_PAUSED : mig->guest_state;
    if (goes_on) {
        machine_vm_start(m);
    }
    __atomic_store_n(&mig->finished, 1, __ATOMIC_SEQ_CST);
}

static void fail(Migration *mig, void *opaque)
{
    Receiver *r = opaque;

    migration_set_status(mig, MIGRATION_FAILED, r->error->message);
    __atomic_store_n(&mig->finished, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&mig->cancel, __ATOMIC_SEQ_CST)) {
        return; /* the program ends */
    }
    g_printerr("qemu-system-x86_64: -incoming: %s\n", r->error->message);
    machine_request_shutdown(mig->m, SHUTDOWN_HOST_QMP_QUIT, EXIT_FAILURE);
}

/* --- the thread --- */

/* The source lets go of the disks only after it heard that all is well, and says so. */
static bool agree(Receiver *r)
{
    MigStream *stream = &r->mig->stream;
    uint32_t type;

    if (!stream->two_way) {
        return true;
    }
    if (!mig_write(stream, MIG_LOADED, NULL, 0, NULL, 0, &r->error) || !mig_read(stream, &type, r->payload, &r->error)) {
        return false;
    }
    if (type != MIG_GO) {
        error_set(&r->error, "migration: the source says '%s' instead of 'go'", mig_record_name(type));
        return false;
    }
    return true;
}

gpointer migration_receive_thread(gpointer opaque)
{
    Migration *mig = opaque;
    Receiver r = {.mig = mig, .ram = mig_ram_of(mig->m->ram), .payload = g_byte_array_new()};

    mig->pieces = mig_pieces_new();
    if (receive_all(&r)) {
        migration_in_main(mig, load, &r);
    }
    if (r.error) {
        mig_channel_explain(&mig->channel, mig->stream.fd, &r.error);
    }
    if (r.error && mig->stream.two_way) {
        mig_write(&mig->stream, MIG_REFUSED, r.error->message, (uint32_t)strlen(r.error->message), NULL, 0, NULL);
    }
    if (!r.error && agree(&r)) {
        migration_in_main(mig, run, &r);
    }
    if (r.error) {
        migration_in_main(mig, fail, &r);
    }
    mig_layout_free(r.layout);
    g_clear_error(&r.error);
    g_byte_array_unref(r.payload);
    return NULL;
}
