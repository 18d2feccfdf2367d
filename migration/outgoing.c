/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The source.  RAM is sent while the guest runs, round after round what it wrote meanwhile, until the rest
 * takes no longer than the guest may stand still; then CPUs and devices.  The thread sends, the main loop
 * stops, saves and decides.
 */
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "accel/accel.h"
#include "block/block.h"
#include "core/error.h"
#include "migration/internal.h"
#include "migration/ram.h"
#include "migration/remote.h"

#define LOOK_PAGES 64u /* taken to be there, where the first of them is: where memory ends takes long to find */

typedef struct Sender {
    Migration *mig;
    MigRam ram;
    uint64_t pages;
    uint64_t run_end; /* page: as far as in_hole is known */
    bool in_hole;
    uint64_t *bitmap; /* pages to send in this round */
    uint8_t *copy;    /* MIG_PAGES_MAX pages: the guest goes on writing while they are summed and sent */
    GError *error;
} Sender;

static bool cancelled(const Migration *mig)
{
    return __atomic_load_n(&mig->cancel, __ATOMIC_SEQ_CST);
}

/* --- main loop: what the guest wrote --- */

static void log_writes(Migration *mig, bool on)
{
    Machine *m = mig->m;

    machine_vcpus_hold(m);
    m->accel->ops->log_writes(m->accel, on);
    machine_vcpus_release(m);
    mig->logging = on;
}

static void start_logging(Migration *mig, void *opaque)
{
    Sender *s = opaque;

    mem_region_dirty_track(mig->m->ram, MEM_DIRTY_MIGRATION, true);
    log_writes(mig, true);
    mig->pieces = mig_pieces_new();
    mig_remote_begin(mig->m, mig->pieces, &s->error);
}

static void stop_logging(Migration *mig)
{
    if (mig->logging) {
        log_writes(mig, false);
        mem_region_dirty_track(mig->m->ram, MEM_DIRTY_MIGRATION, false);
    }
}

/* Of the CPUs, and of who marks what it writes.  No CPU runs. */
static void take_pages(Sender *s)
{
    Machine *m = s->mig->m;

    m->accel->ops->log_writes(m->accel, true);
    mem_region_dirty_take(m->ram, MEM_DIRTY_MIGRATION, 0, s->pages * MIG_PAGE_SIZE, s->bitmap);
}

/* The pages written since the last time; from now on each is noticed again. */
static void take_dirty(Migration *mig, void *opaque)
{
    Sender *s = opaque;
    Machine *m = mig->m;

    machine_vcpus_hold(m);
    mig_remote_sync(m, &s->error);
    take_pages(s);
    machine_vcpus_release(m);
}

typedef struct Round {
    uint64_t written, sent; /* bytes */
} Round;

static void look_at_round(Migration *mig, void *opaque)
{
    const Round *round = opaque;

    mig_throttle_look(&mig->throttle, mig->m, &mig->params, round->written, round->sent);
    g_mutex_lock(&mig->lock);
    mig->figures.throttle = mig->throttle.percent;
    g_mutex_unlock(&mig->lock);
}

/* --- main loop: the last part --- */

/* Ends what devices have under way, which may write to RAM once more. */
static bool save_all(Migration *mig, GError **error)
{
    GPtrArray *costs = mig_costs_new(mig->m);

    g_ptr_array_set_size(mig->pieces, 0);
    if (!mig_remote_stop(mig->m, costs, error) || !mig_remote_save(mig->m, mig->pieces, costs, error)) {
        g_ptr_array_unref(costs);
        return false;
    }
    mig_save_state(mig->m, mig->pieces, costs);
    if (mig->params.keep_servers) {
        mig_remote_let_go(mig->m);
    }
    g_mutex_lock(&mig->lock);
    g_clear_pointer(&mig->figures.devices, g_ptr_array_unref);
    mig->figures.devices = costs;
    g_mutex_unlock(&mig->lock);
    return true;
}

static void stop_and_save(Migration *mig, void *opaque)
{
    Sender *s = opaque;
    Machine *m = mig->m;

    mig_throttle_end(&mig->throttle);
    mig->guest_state = m->run_state;
    mig->stopped_at = g_get_monotonic_time();
    if (mig->guest_state == RUN_STATE_RUNNING) {
        machine_vm_stop(m, RUN_STATE_FINISH_MIGRATE);
    }
    if (m->accel->ops->settle_all) {
        m->accel->ops->settle_all(m->accel);
    }
    migration_set_status(mig, MIGRATION_DEVICE, NULL);
    mig->given_away = true;
    if (!save_all(mig, &s->error)) {
        mig_abort(&mig->stream);
        return;
    }
    take_pages(s); /* what is elsewhere has told of its last writes, when it stopped */
    if (!block_inactivate_all(m, &s->error)) {
        mig_abort(&mig->stream);
    }
}

static void complete(Migration *mig, void *opaque)
{
    stop_logging(mig);
    mig_close(&mig->stream); /* the destination waits for nothing more, whatever it made of the last record */
    mig->m->run_state = RUN_STATE_POSTMIGRATE;
    mig->m->moving = false;
    g_mutex_lock(&mig->lock);
    mig->figures.downtime_us = (uint64_t)(g_get_monotonic_time() - mig->stopped_at);
    mig->figures.ram_remaining = 0;
    mig->figures.mbps = (double)mig->stream.sent * 8 / (double)(g_get_monotonic_time() - mig->started_at + 1);
    g_mutex_unlock(&mig->lock);
    migration_set_status(mig, MIGRATION_COMPLETED, NULL);
    __atomic_store_n(&mig->finished, 1, __ATOMIC_SEQ_CST);
}

static bool take_back(Migration *mig, GError **error)
{
    mig->given_away = !block_activate_all(mig->m, error) || !mig_remote_run(mig->m, error);
    return !mig->given_away;
}

bool migration_take_back(Machine *m, GError **error)
{
    Migration *mig = m->migration;

    return !mig || !mig->given_away ? block_activate_all(m, error) : take_back(mig, error);
}

/* The guest goes on as if nothing had been asked; false, when it can't, with *error. */
static bool go_on(Migration *mig, GError **error)
{
    Machine *m = mig->m;
    GError *cause = NULL;

    if (!take_back(mig, &cause)) {
        error_set(error, "what was given up cannot be taken back: %s; `cont` tries again", cause->message);
        g_error_free(cause);
        if (m->run_state == RUN_STATE_FINISH_MIGRATE) {
            m->run_state = RUN_STATE_PAUSED;
        }
        return false;
    }
    if (m->run_state == RUN_STATE_FINISH_MIGRATE) {
        machine_vm_start(m);
    }
    return true;
}

static void give_up(Migration *mig, void *opaque)
{
    Sender *s = opaque;
    GError *error = NULL;
    bool wanted;

    mig_close(&mig->stream); /* which tells the destination */
    mig_throttle_end(&mig->throttle);
    stop_logging(mig);
    mig->m->moving = false;
    wanted = go_on(mig, &error) && cancelled(mig);
    if (error) {
        g_printerr("migration: %s\n", error->message);
        g_clear_error(&s->error);
        s->error = error;
    }
    migration_set_status(mig, wanted ? MIGRATION_CANCELLED : MIGRATION_FAILED, s->error && !wanted ? s->error->message : NULL);
    __atomic_store_n(&mig->finished, 1, __ATOMIC_SEQ_CST);
}

/* --- RAM --- */

/* Each page is looked at once a round, in order. */
static bool page_is_zero(Sender *s, uint64_t page)
{
    if (page >= s->run_end) {
        uint64_t hole_end = mig_ram_hole_end(&s->ram, page * MIG_PAGE_SIZE) / MIG_PAGE_SIZE;

        s->in_hole = hole_end > page;
        s->run_end = s->in_hole ? hole_end : page + LOOK_PAGES;
    }
    return s->in_hole || mig_page_is_zero(s->ram.host + page * MIG_PAGE_SIZE);
}

static bool page_wanted(const Sender *s, uint64_t page)
{
    return s->bitmap[page / 64] >> (page % 64) & 1;
}

static void count_sent(Migration *mig, uint64_t pages, bool zero)
{
    g_mutex_lock(&mig->lock);
    mig->figures.ram_transferred = mig->stream.sent;
    mig->figures.ram_remaining -= MIN(mig->figures.ram_remaining, pages * MIG_PAGE_SIZE);
    *(zero ? &mig->figures.pages_zero : &mig->figures.pages_normal) += pages;
    mig->stream.limit = mig->figures.status == MIGRATION_DEVICE ? 0 : mig->params.max_bandwidth;
    g_mutex_unlock(&mig->lock);
}

static bool send_run(Sender *s, uint64_t first, uint32_t count, bool zero)
{
    MigStream *stream = &s->mig->stream;
    uint64_t offset = GUINT64_TO_LE(first * MIG_PAGE_SIZE);
    uint32_t block = 0, le_count = GUINT32_TO_LE(count);
    uint8_t head[16];

    memcpy(head, &block, 4);
    memcpy(head + 4, &offset, 8);
    memcpy(head + 12, &le_count, 4);
    if (zero ? !mig_write(stream, MIG_ZERO, head, 16, NULL, 0, &s->error)
             : !mig_write_pages(stream, MIG_RAM, head, 12, s->ram.host + first * MIG_PAGE_SIZE, s->copy, count * MIG_PAGE_SIZE,
                                &s->error)) {
        return false;
    }
    count_sent(s->mig, count, zero);
    return true;
}

/* The destination speaks before the end only to refuse: *error says why then, or how the connection ended. */
static bool refused(Sender *s, GError **error)
{
    MigStream *stream = &s->mig->stream;
    struct pollfd pfd = {stream->fd, POLLIN, 0};
    g_autoptr(GByteArray) payload = g_byte_array_new();
    uint32_t type;

    if (!stream->two_way || poll(&pfd, 1, 0) <= 0) {
        return false;
    }
    if (mig_read(stream, &type, payload, error)) {
        error_set(error, "the destination refuses: %.*s", (int)payload->len, (const char *)payload->data);
    }
    return true;
}

/* A write that failed because the destination hung up: it may have said why. */
static void explain_failure(Sender *s)
{
    GError *reason = NULL;

    if (s->error) {
        mig_channel_explain(&s->mig->channel, s->mig->stream.fd, &s->error);
    }
    if (s->error && refused(s, &reason) && strstr(reason->message, "refuses")) {
        g_clear_error(&s->error);
        s->error = g_steal_pointer(&reason);
    }
    g_clear_error(&reason);
}

/* Of one record: of a stream that is to be slow no more than its tenth of a second, so that it can be told to be quicker. */
static uint64_t pages_of_record(const Sender *s, bool zero)
{
    uint64_t limit = s->mig->stream.limit, slow = MAX(limit / 10 / MIG_PAGE_SIZE, 1);

    return zero ? MIG_ZEROS_MAX : limit ? MIN(slow, MIG_PAGES_MAX) : MIG_PAGES_MAX;
}

static bool send_round(Sender *s)
{
    s->run_end = 0;
    for (uint64_t page = 0; page < s->pages;) {
        uint64_t first = page;
        bool zero;

        if (page % 64 == 0 && !s->bitmap[page / 64]) {
            page += 64;
            continue;
        }
        if (!page_wanted(s, page)) {
            page++;
            continue;
        }
        zero = page_is_zero(s, page);
        do {
            page++;
        } while (page < s->pages && page - first < pages_of_record(s, zero) && page_wanted(s, page) &&
                 page_is_zero(s, page) == zero);
        if (cancelled(s->mig) || refused(s, &s->error) || !send_run(s, first, (uint32_t)(page - first), zero)) {
            return false;
        }
    }
    return true;
}

static uint64_t bytes_wanted(const Sender *s)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < (s->pages + 63) / 64; i++) {
        count += (uint64_t)__builtin_popcountll(s->bitmap[i]);
    }
    return count * MIG_PAGE_SIZE;
}

static void begin_round(Migration *mig)
{
    struct json_object *data = json_object_new_object();

    g_mutex_lock(&mig->lock);
    json_object_object_add(data, "pass", json_object_new_uint64(++mig->figures.sync_count));
    g_mutex_unlock(&mig->lock);
    machine_emit_event(mig->m, "MIGRATION_PASS", data);
}

/* `bandwidth` is bytes a second, of the round, which took `seconds`; true: what is left fits into the downtime. */
static bool note_round(Sender *s, uint64_t remaining, double bandwidth, double seconds)
{
    Migration *mig = s->mig;
    double expected;
    bool fits;

    g_mutex_lock(&mig->lock);
    mig->figures.ram_remaining = remaining;
    mig->figures.dirty_rate = (uint64_t)((double)(remaining / MIG_PAGE_SIZE) / seconds);
    mig->figures.mbps = bandwidth * 8 / 1e6;
    /* A short round may have gone out before it met the limit. */
    bandwidth = mig->params.max_bandwidth ? MIN(bandwidth, (double)mig->params.max_bandwidth) : bandwidth;
    expected = remaining ? (double)remaining / MAX(bandwidth, 1) * 1000 : 0;
    mig->figures.expected_downtime_ms = (uint64_t)expected;
    fits = expected <= (double)mig->params.downtime_limit;
    g_mutex_unlock(&mig->lock);
    return fits;
}

static bool guest_runs(const Migration *mig)
{
    return __atomic_load_n(&mig->m->run_state, __ATOMIC_RELAXED) == RUN_STATE_RUNNING;
}

/* Until what is left fits into the downtime. */
static bool send_ram_live(Sender *s)
{
    Migration *mig = s->mig;

    for (;;) {
        int64_t begin = g_get_monotonic_time();
        uint64_t sent = mig->stream.sent, remaining;
        double bandwidth, seconds;

        begin_round(mig);
        if (!send_round(s)) {
            return false;
        }
        seconds = (double)(g_get_monotonic_time() - begin + 1) / 1e6;
        bandwidth = (double)(mig->stream.sent - sent) / seconds;
        if (!guest_runs(mig)) {
            memset(s->bitmap, 0, (s->pages + 63) / 64 * sizeof(uint64_t));
            return true;
        }
        migration_in_main(mig, take_dirty, s);
        if (s->error) {
            return false;
        }
        remaining = bytes_wanted(s);
        if (note_round(s, remaining, bandwidth, seconds)) {
            return true;
        }
        migration_in_main(mig, look_at_round, &(Round){remaining, mig->stream.sent - sent});
    }
}

/* --- the thread --- */

static bool send_description(Sender *s)
{
    g_autofree char *text = mig_describe(s->mig->m, guest_runs(s->mig));

    return mig_write_header(&s->mig->stream, &s->error) &&
           mig_write(&s->mig->stream, MIG_MACHINE, text, (uint32_t)strlen(text), NULL, 0, &s->error);
}

static bool send_pieces(Sender *s)
{
    Migration *mig = s->mig;

    for (guint i = 0; i < mig->pieces->len; i++) {
        const MigPiece *piece = g_ptr_array_index(mig->pieces, i);

        if (!mig_write(&mig->stream, piece->type, piece->data->data, piece->data->len, NULL, 0, &s->error)) {
            return false;
        }
    }
    return true;
}

static bool send_state(Sender *s)
{
    Migration *mig = s->mig;
    const char *guest_state = run_state_name(mig->guest_state);
    uint64_t before = mig->stream.sent;

    if (!send_pieces(s)) {
        return false;
    }
    g_mutex_lock(&mig->lock);
    mig->figures.device_bytes = mig->stream.sent - before;
    g_mutex_unlock(&mig->lock);
    return mig_write(&mig->stream, MIG_END, guest_state, (uint32_t)strlen(guest_state), NULL, 0, &s->error);
}

/* The destination says so, or refuses. */
static bool hears(Sender *s, MigRecordType expected)
{
    g_autoptr(GByteArray) payload = g_byte_array_new();
    uint32_t type;

    if (!mig_read(&s->mig->stream, &type, payload, &s->error)) {
        return false;
    }
    if (type != expected) {
        error_set(&s->error, "the destination refuses: %.*s", (int)payload->len, (const char *)payload->data);
    }
    return type == expected;
}

/* What the destination would refuse it refuses while the guest runs, however little RAM there is to send. */
static bool ask(Sender *s)
{
    MigStream *stream = &s->mig->stream;

    return !stream->two_way || (mig_write(stream, MIG_ASK, NULL, 0, NULL, 0, &s->error) && hears(s, MIG_AGREED));
}

/* A file is on the disk; a command has ended well; the destination has loaded everything and may run. */
static bool hand_over(Sender *s)
{
    Migration *mig = s->mig;
    MigStream *stream = &mig->stream;

    if (!stream->two_way) {
        if (fdatasync(stream->fd) && errno != EINVAL) { /* what is no file or disk */
            error_set_errno(&s->error, errno, "migration: cannot bring the file to the disk");
            return false;
        }
        mig_close(stream);
        return mig_channel_finish(&mig->channel, &stream->aborted, &s->error);
    }
    return hears(s, MIG_LOADED) && mig_write(stream, MIG_GO, NULL, 0, NULL, 0, &s->error);
}

/* Who aborts it finds the fd to shut down, or is seen here. */
static bool connect_stream(Sender *s)
{
    MigStream *stream = &s->mig->stream;
    MigChannel *c = &s->mig->channel;

    if (!mig_channel_connect(c, &stream->aborted, &s->error)) {
        return false;
    }
    __atomic_store_n(&stream->fd, c->fd, __ATOMIC_SEQ_CST);
    c->fd = -1;
    return !cancelled(s->mig);
}

static bool send_all(Sender *s)
{
    Migration *mig = s->mig;

    if (!connect_stream(s)) {
        return false;
    }
    migration_in_main(mig, start_logging, s);
    g_mutex_lock(&mig->lock);
    mig->figures.ram_total = mig->figures.ram_remaining = s->pages * MIG_PAGE_SIZE;
    mig->figures.setup_ms = migration_ms_since(mig->started_at);
    g_mutex_unlock(&mig->lock);
    if (s->error || !send_description(s) || !send_pieces(s) || !ask(s)) {
        return false;
    }
    migration_set_status(mig, MIGRATION_ACTIVE, NULL);
    if (!send_ram_live(s)) {
        return false;
    }
    {
        g_autofree uint64_t *rest = s->bitmap;
        uint64_t words = (s->pages + 63) / 64;

        s->bitmap = g_new0(uint64_t, words);
        migration_in_main(mig, stop_and_save, s);
        for (uint64_t i = 0; i < words; i++) {
            s->bitmap[i] |= rest[i];
        }
        g_mutex_lock(&mig->lock);
        mig->figures.ram_remaining = bytes_wanted(s);
        g_mutex_unlock(&mig->lock);
    }
    return !s->error && send_round(s) && send_state(s) && hand_over(s);
}

gpointer migration_send_thread(gpointer opaque)
{
    Migration *mig = opaque;
    MemRegion *ram = mig->m->ram;
    Sender s = {.mig = mig, .ram = mig_ram_of(ram), .pages = mem_region_size(ram) / MIG_PAGE_SIZE};
    uint64_t words = (s.pages + 63) / 64;

    s.bitmap = g_new(uint64_t, words);
    s.copy = g_malloc((size_t)MIG_PAGES_MAX * MIG_PAGE_SIZE);
    memset(s.bitmap, 0xff, words * sizeof(uint64_t));
    if (s.pages % 64) {
        s.bitmap[words - 1] = (UINT64_C(1) << (s.pages % 64)) - 1;
    }
    if (send_all(&s)) {
        migration_in_main(mig, complete, &s);
    } else {
        explain_failure(&s);
        mig_channel_end(&mig->channel);
        migration_in_main(mig, give_up, &s);
    }
    g_clear_error(&s.error);
    g_free(s.bitmap);
    g_free(s.copy);
    return NULL;
}
