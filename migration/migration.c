/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The migration of a machine as seen from outside: starting, cancelling, figures, waiting for one to come in. */
#include "migration/migration.h"

#include <errno.h>
#include <json-c/json.h>
#include <sys/socket.h>
#include <unistd.h>

#include "accel/accel.h"
#include "core/error.h"
#include "migration/internal.h"
#include "migration/remote.h"

#define DEFAULT_BANDWIDTH (UINT64_C(128) << 20)
#define DEFAULT_DOWNTIME  300

static const MigrationParams default_params = {.max_bandwidth = DEFAULT_BANDWIDTH, .downtime_limit = DEFAULT_DOWNTIME,
                                               .throttle_initial = 20, .throttle_increment = 10, .throttle_max = 99,
                                               .throttle_threshold = 50};

const char *migration_status_name(MigrationStatus status)
{
    static const char *const names[] = {
        [MIGRATION_NONE] = "none",           [MIGRATION_SETUP] = "setup",         [MIGRATION_ACTIVE] = "active",
        [MIGRATION_DEVICE] = "device",       [MIGRATION_COMPLETED] = "completed", [MIGRATION_FAILED] = "failed",
        [MIGRATION_CANCELLING] = "cancelling", [MIGRATION_CANCELLED] = "cancelled",
    };

    return names[status];
}

Migration *migration_of(Machine *m)
{
    Migration *mig = m->migration;

    if (!mig) {
        mig = g_new0(Migration, 1);
        mig->m = m;
        mig->stream.fd = mig->channel.fd = -1;
        mig->params = default_params;
        g_mutex_init(&mig->lock);
        m->migration = mig;
    }
    return mig;
}

void migration_set_status(Migration *mig, MigrationStatus status, const char *error)
{
    struct json_object *data = json_object_new_object();

    g_mutex_lock(&mig->lock);
    mig->figures.status = status;
    if (error) {
        g_free(mig->figures.error);
        mig->figures.error = g_strdup(error);
    }
    if (status >= MIGRATION_COMPLETED && mig->started_at) {
        mig->figures.total_ms = migration_ms_since(mig->started_at);
    }
    g_mutex_unlock(&mig->lock);
    json_object_object_add(data, "status", json_object_new_string(migration_status_name(status)));
    machine_emit_event(mig->m, "MIGRATION", data);
}

bool migration_in_progress(const Migration *mig)
{
    return mig->thread && !__atomic_load_n(&mig->finished, __ATOMIC_SEQ_CST);
}

void migration_cleanup(Migration *mig)
{
    if (mig->thread) {
        g_thread_join(g_steal_pointer(&mig->thread));
    }
    loop_remove_fd(g_steal_pointer(&mig->listen));
    mig_close(&mig->stream);
    mig_channel_end(&mig->channel);
    if (mig->pieces) {
        g_ptr_array_free(g_steal_pointer(&mig->pieces), TRUE);
    }
}

void migration_free(Machine *m)
{
    Migration *mig = m->migration;

    if (!mig) {
        return;
    }
    __atomic_store_n(&mig->cancel, 1, __ATOMIC_SEQ_CST);
    mig_abort(&mig->stream);
    while (migration_in_progress(mig)) {
        loop_iterate(m->main_loop, false); /* it may wait for us */
        g_usleep(100);
    }
    migration_cleanup(mig);
    g_mutex_clear(&mig->lock);
    migration_figures_clear(&mig->figures);
    g_free(mig);
    m->migration = NULL;
}

/* --- the main loop, from the thread --- */

typedef struct MainCall {
    Migration *mig;
    void (*fn)(Migration *mig, void *opaque);
    void *opaque;
    GMutex lock;
    GCond cond;
    bool done;
} MainCall;

static void run_main_call(void *opaque)
{
    MainCall *call = opaque;

    call->fn(call->mig, call->opaque);
    g_mutex_lock(&call->lock);
    call->done = true;
    g_cond_signal(&call->cond);
    g_mutex_unlock(&call->lock);
}

void migration_in_main(Migration *mig, void (*fn)(Migration *mig, void *opaque), void *opaque)
{
    MainCall call = {.mig = mig, .fn = fn, .opaque = opaque};

    g_mutex_init(&call.lock);
    g_cond_init(&call.cond);
    loop_call(mig->m->main_loop, run_main_call, &call);
    g_mutex_lock(&call.lock);
    while (!call.done) {
        g_cond_wait(&call.cond, &call.lock);
    }
    g_mutex_unlock(&call.lock);
    g_mutex_clear(&call.lock);
    g_cond_clear(&call.cond);
}

/* --- starting --- */

bool migration_possible(Machine *m, GError **error)
{
    if (!m->ram) {
        error_set(error, "machine '%s' has no RAM of its own to move; it serves devices of others", m->obj.model->name);
        return false;
    }
    if (!m->ram_backend) {
        error_set(error, "the RAM is that of several -numa node,memdev=; use -numa node,mem= and one memory backend");
        return false;
    }
    if (!m->accel || !m->accel->ops->log_writes) {
        error_set(error, "accelerator '%s' does not tell which pages a guest writes to", m->accel ? m->accel->ops->name : "none");
        return false;
    }
    return mig_remote_possible(m, error);
}

static void reset_for_new(Migration *mig)
{
    migration_cleanup(mig);
    migration_figures_clear(&mig->figures);
    mig->figures = (MigrationFigures){.status = MIGRATION_NONE};
    mig->cancel = mig->finished = 0;
    mig->stream = (MigStream){.fd = -1};
}

bool migration_start(Machine *m, const char *uri, GError **error)
{
    Migration *mig = migration_of(m);

    if (migration_in_progress(mig) || mig->listen) {
        error_set(error, "There's a migration process in progress");
        return false;
    }
    if (mig->handing_over) {
        error_set(error, "The process of a device is being replaced; try again when that is over");
        return false;
    }
    if (m->run_state == RUN_STATE_INMIGRATE || m->run_state == RUN_STATE_POSTMIGRATE) {
        error_set(error, "Guest is %s", m->run_state == RUN_STATE_INMIGRATE ? "waiting for an incoming migration"
                                                                           : "elsewhere already");
        return false;
    }
    if (!migration_possible(m, error)) {
        return false;
    }
    reset_for_new(mig);
    if (!mig_channel_out(&mig->channel, m, uri, error)) {
        return false;
    }
    mig->stream.two_way = mig->channel.two_way;
    mig->incoming = false;
    m->moving = true;
    mig->started_at = g_get_monotonic_time();
    migration_set_status(mig, MIGRATION_SETUP, NULL);
    mig->thread = g_thread_new("migration", migration_send_thread, mig);
    return true;
}

bool migration_cancel(Machine *m, GError **error)
{
    Migration *mig = migration_of(m);

    if (migration_in_progress(mig) && !mig->incoming) {
        migration_set_status(mig, MIGRATION_CANCELLING, NULL);
        __atomic_store_n(&mig->cancel, 1, __ATOMIC_SEQ_CST);
        mig_abort(&mig->stream);
    }
    return true;
}

MigrationFigures migration_query(Machine *m)
{
    Migration *mig = migration_of(m);
    MigrationFigures figures;

    g_mutex_lock(&mig->lock);
    figures = mig->figures;
    figures.error = g_strdup(figures.error);
    if (figures.devices) {
        g_ptr_array_ref(figures.devices);
    }
    if (figures.status > MIGRATION_NONE && figures.status < MIGRATION_COMPLETED) {
        figures.total_ms = migration_ms_since(mig->started_at);
    }
    g_mutex_unlock(&mig->lock);
    return figures;
}

void migration_figures_clear(MigrationFigures *figures)
{
    g_clear_pointer(&figures->error, g_free);
    g_clear_pointer(&figures->devices, g_ptr_array_unref);
}

MigrationParams *migration_params(Machine *m)
{
    return &migration_of(m)->params;
}

/* --- waiting for one --- */

static void receive(Migration *mig, int fd)
{
    mig->stream = (MigStream){.fd = fd, .two_way = mig->channel.two_way};
    mig->m->moving = true;
    mig->started_at = g_get_monotonic_time();
    migration_set_status(mig, MIGRATION_ACTIVE, NULL);
    mig->thread = g_thread_new("migration", migration_receive_thread, mig);
}

static void connected(void *opaque)
{
    Migration *mig = opaque;
    int fd = accept4(mig->channel.fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0) {
        return;
    }
    loop_remove_fd(g_steal_pointer(&mig->listen));
    close(mig->channel.fd);
    mig->channel.fd = -1;
    receive(mig, fd);
}

bool migration_incoming(Machine *m, const char *uri, GError **error)
{
    Migration *mig = migration_of(m);

    if (m->run_state != RUN_STATE_INMIGRATE || migration_in_progress(mig) || mig->listen) {
        error_set(error, "'-incoming' was not specified on the command line, or the migration is under way");
        return false;
    }
    reset_for_new(mig);
    if (!migration_possible(m, error) || !mig_channel_in(&mig->channel, m, uri, error)) {
        return false;
    }
    mig->incoming = true;
    if (mig->channel.listening) {
        mig->listen = loop_add_fd(m->main_loop, mig->channel.fd, connected, NULL, mig);
    } else {
        int fd = mig->channel.fd;

        mig->channel.fd = -1;
        receive(mig, fd);
    }
    return true;
}
