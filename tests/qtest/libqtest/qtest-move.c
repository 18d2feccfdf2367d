/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine under test is migrated from process to process while the test goes on ($QTEST_MOVE_EVERY, and $QTEST_MOVE_SEED
 * for other places).  What belongs to the test and not to the machine goes with it: reports of lines, the time of the
 * process that has the device, events.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libqtest-internal.h"

/* Why a machine stays. */
static const char *const reasons[QTEST_STAY_REASONS] = {
    [QTEST_STAY_PROCESS] = "the test is about the process: its end, its output",
    [QTEST_STAY_MESSAGES] = "the test counts what the two processes tell each other",
    [QTEST_STAY_HOT_PLUG] = "the monitor changes the machine, and its command line is not the destination's then",
    [QTEST_STAY_BACK_END] = "what a back end counts, or was told by the monitor, is not the machine's",
};

/* Commands of the monitor that are reason enough. */
static const struct {
    const char *name;
    QtestStay reason;
} commands[] = {
    {"device_add", QTEST_STAY_HOT_PLUG},   {"device_del", QTEST_STAY_HOT_PLUG}, {"object-add", QTEST_STAY_HOT_PLUG},
    {"blockdev-add", QTEST_STAY_HOT_PLUG}, {"set_link", QTEST_STAY_BACK_END},   {"query-blockstats", QTEST_STAY_BACK_END},
};

/* What the move itself makes both sides say. */
static const char *const events_of_moves[] = {"MIGRATION", "STOP", "RESUME", "VFU_CLIENT_CONNECT", "VFU_CLIENT_HANGUP"};

typedef struct Mover {
    unsigned every;
    GRand *random;
    unsigned machines, moves; /* that could have been moved; that were made */
} Mover;

static Mover *mover(void)
{
    static Mover the;

    return &the;
}

/* --- when --- */

static unsigned next_move(Mover *m)
{
    return (unsigned)g_rand_int_range(m->random, 1, (gint32)(2 * m->every));
}

/* A run that never moved has shown nothing. */
static void check_moved(void)
{
    Mover *m = mover();

    fprintf(stderr, "qtest: %u moves, %u machines\n", m->moves, m->machines);
    g_rand_free(m->random);
    if (m->machines && !m->moves) {
        fprintf(stderr, "qtest: QTEST_MOVE_EVERY=%u is more than the test has accesses\n", m->every);
        fflush(stderr);
        _exit(1);
    }
}

void qtest_move_begin(QtestState *s)
{
    const char *every = g_getenv("QTEST_MOVE_EVERY"), *seed = g_getenv("QTEST_MOVE_SEED");
    Mover *m = mover();

    if (!every) {
        return;
    }
    if (!m->random) {
        m->every = (unsigned)MAX(atoi(every), 1);
        m->random = g_rand_new_with_seed(seed ? (guint32)atoi(seed) : 1);
        atexit(check_moved);
    }
    m->machines++;
    s->until_move = next_move(m);
}

void qtest_stay(QtestState *s, QtestStay reason)
{
    Mover *m = mover();

    if (s->until_move) {
        fprintf(stderr, "qtest: a machine stays: %s\n", reasons[reason]);
        s->until_move = 0;
        m->machines--;
    }
}

void qtest_move_command(QtestState *s, const char *text)
{
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        g_autofree char *name = g_strdup_printf("'%s'", commands[i].name);

        if (strstr(text, name)) {
            qtest_stay(s->client ? s->client : s, commands[i].reason);
        }
    }
}

/* --- how --- */

static char *qmp_status(QtestState *s, const char *command)
{
    struct json_object *reply = qtest_qmp(s, "{'execute': '%s'}", command), *result, *status, *why;
    char *text = NULL;

    if (json_object_object_get_ex(reply, "return", &result) && json_object_object_get_ex(result, "status", &status)) {
        text = g_strdup(json_object_get_string(status));
        if (!strcmp(text, "failed") && json_object_object_get_ex(result, "error-desc", &why)) {
            qtest_die(s, "a move failed: %s", json_object_get_string(why));
        }
    }
    json_object_put(reply);
    return text;
}

static void wait_for(QtestState *s, const char *command, const char *status, bool is)
{
    for (;;) {
        g_autofree char *now = qmp_status(s, command);

        if (now && !strcmp(now, status) == is) {
            return;
        }
        g_usleep(200);
    }
}

static void prepare(QtestState *from, QtestState *to)
{
    for (guint i = 0; i < from->intercepts->len; i++) {
        g_free(qtest_ok(to, "%s", (const char *)from->intercepts->pdata[i]));
    }
    if (from->server) {
        /* So that times which a device writes to memory go on. */
        g_free(qtest_ok(to->server, "clock_set %" PRId64, qtest_clock_step(from->server, 0)));
    }
}

static bool is_of_move(struct json_object *event)
{
    struct json_object *name;

    json_object_object_get_ex(event, "event", &name);
    for (size_t i = 0; i < G_N_ELEMENTS(events_of_moves); i++) {
        if (!strcmp(json_object_get_string(name), events_of_moves[i])) {
            return true;
        }
    }
    return false;
}

/* Appends what is not the move's own. */
static void pass_on_events(GQueue *from, GQueue *to)
{
    struct json_object *event;

    while ((event = g_queue_pop_head(from))) {
        if (is_of_move(event)) {
            json_object_put(event);
        } else {
            g_queue_push_tail(to, event);
        }
    }
}

#define SWAP(a, b)                                                                                                  \
    do {                                                                                                            \
        __typeof__(a) was_ = (a);                                                                                   \
        (a) = (b);                                                                                                  \
        (b) = was_;                                                                                                 \
    } while (0)

/* The test's handle is of the new process from now on, and the other of the old one.  The first `seen` events came before the move. */
static void change_places(QtestState *s, QtestState *other, guint seen)
{
    GQueue *events = g_queue_new();

    SWAP(*s, *other);
    SWAP(s->args, other->args);
    SWAP(s->server, other->server);
    SWAP(s->client, other->client);
    SWAP(s->intercepts, other->intercepts);
    while (seen--) {
        g_queue_push_tail(events, g_queue_pop_head(other->events));
    }
    pass_on_events(other->events, events);
    pass_on_events(s->events, events);
    g_queue_free(s->events);
    s->events = events;
}

static void move(QtestState *s)
{
    guint seen = g_queue_get_length(s->events), seen_server = s->server ? g_queue_get_length(s->server->events) : 0;
    QtestState *to = s->server ? qtest_launch_split(s->server->args, s->args, true) : qtest_launch(s->args, true);

    prepare(s, to);
    qtest_qmp_ok(to, "{'execute': 'migrate-incoming', 'arguments': {'uri': 'unix:%s/move'}}", to->dir);
    qtest_qmp_ok(s, "{'execute': 'migrate', 'arguments': {'uri': 'unix:%s/move'}}", to->dir);
    wait_for(s, "query-migrate", "completed", true);
    wait_for(to, "query-status", "inmigrate", false);
    if (s->server) {
        change_places(s->server, to->server, seen_server);
    }
    change_places(s, to, seen);
    qtest_end(to);
}

void qtest_move_count(QtestState *s)
{
    Mover *m = mover();

    if (s->until_move && !--s->until_move) {
        move(s);
        m->moves++;
        s->until_move = next_move(m);
    }
}
