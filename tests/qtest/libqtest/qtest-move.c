/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A machine under test is migrated from process to process while the test goes on ($QTEST_MOVE_EVERY, and $QTEST_MOVE_SEED
 * for other places).  What belongs to the test and not to the machine goes with it: reports of lines, the time of the
 * process that has the device, events.  What was hot plugged is on the destination's command line.
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
    [QTEST_STAY_HOT_PLUG] = "the monitor changes what is on no command line",
    [QTEST_STAY_BACK_END] = "what a back end counts, or was told by the monitor, is not the machine's",
};

/* Commands of the monitor: what they are on a command line, or a reason to stay. */
static const struct {
    const char *name, *option;
    QtestStay reason;
} commands[] = {
    {"device_add", "-device", 0},
    {"blockdev-add", "-blockdev", 0},
    {"object-add", NULL, QTEST_STAY_HOT_PLUG},
    {"object-del", NULL, QTEST_STAY_HOT_PLUG},
    {"blockdev-del", NULL, QTEST_STAY_HOT_PLUG},
    {"query-blockstats", NULL, QTEST_STAY_BACK_END},
};

/* What the move itself makes both sides say. */
static const char *const events_of_moves[] = {"MIGRATION", "MIGRATION_PASS", "STOP", "RESUME", "VFU_CLIENT_CONNECT",
                                              "VFU_CLIENT_HANGUP"};

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

    if (!every || strstr(s->args, "-incoming")) {
        return; /* the test itself moves it */
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

/* --- what is plugged --- */

static const char *text_of(struct json_object *object, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(object, key, &value) ? json_object_get_string(value) : NULL;
}

/* Of the value of -device, in both forms.  NULL: it has none. */
static char *id_of(const char *device)
{
    struct json_object *json = device[0] == '{' ? json_tokener_parse(device) : NULL;
    char *id = g_strdup(text_of(json, "id"));
    g_auto(GStrv) options = g_strsplit(json ? "" : device, ",", -1);

    for (char **at = options; *at; at++) {
        if (g_str_has_prefix(*at, "id=")) {
            id = g_strdup(*at + strlen("id="));
            break;
        }
    }
    json_object_put(json);
    return id;
}

typedef bool KeepFn(const char *id, void *opaque);

/* Arguments without the devices that keep() does not want.  g_free. */
static char *args_filter(const char *args, KeepFn *keep, void *opaque)
{
    GString *kept = g_string_new("");
    g_auto(GStrv) words = NULL;

    if (!g_shell_parse_argv(args, NULL, &words, NULL)) {
        qtest_die(NULL, "arguments: %s", args);
    }
    for (char **at = words; *at; at++) {
        g_autofree char *id = at[1] && !strcmp(at[0], "-device") ? id_of(at[1]) : NULL;

        if (id && !keep(id, opaque)) {
            at++;
        } else {
            g_autofree char *word = g_shell_quote(*at);

            g_string_append_printf(kept, " %s", word);
        }
    }
    return g_string_free(kept, FALSE);
}

static bool is_other(const char *id, void *opaque)
{
    return g_strcmp0(id, opaque) != 0;
}

/* In the place of what had its id before. */
static void plug(QtestState *s, const char *option, struct json_object *arguments)
{
    g_autofree char *others = args_filter(s->args, is_other, (void *)text_of(arguments, "id"));

    g_free(s->args);
    s->args = g_strdup_printf("%s %s '%s'", others, option,
                              json_object_to_json_string_ext(arguments, JSON_C_TO_STRING_PLAIN));
}

void qtest_move_command(QtestState *s, const char *text)
{
    QtestState *machine = s->client ? s->client : s;
    struct json_object *command = machine->until_move ? json_tokener_parse(text) : NULL, *arguments = NULL;
    const char *name = text_of(command, "execute");

    json_object_object_get_ex(command, "arguments", &arguments);
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (g_strcmp0(name, commands[i].name)) {
            continue;
        }
        if (commands[i].option) {
            plug(s, commands[i].option, arguments);
        } else {
            qtest_stay(machine, commands[i].reason);
        }
    }
    /* The other process has it still. */
    if (machine->server && !g_strcmp0(name, "device_del") && !g_strcmp0(text_of(arguments, "id"), "dev0")) {
        qtest_stay(machine, QTEST_STAY_HOT_PLUG);
    }
    json_object_put(command);
}

static bool is_there(const char *id, void *devices)
{
    for (size_t i = 0; i < json_object_array_length(devices); i++) {
        if (!g_strcmp0(text_of(json_object_array_get_idx(devices, i), "name"), id)) {
            return true;
        }
    }
    return false;
}

/* The command line of a process that is what this one has become.  g_free. */
static char *args_now(QtestState *s)
{
    struct json_object *reply = qtest_qmp(s, "{'execute': 'qom-list', 'arguments': {'path': '/machine/peripheral'}}"), *devices;
    char *args;

    json_object_object_get_ex(reply, "return", &devices);
    args = args_filter(s->args, is_there, devices);
    json_object_put(reply);
    return args;
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
    g_autofree char *args = args_now(s), *server_args = s->server ? args_now(s->server) : NULL;
    QtestState *to = s->server ? qtest_launch_split(server_args, args, true) : qtest_launch(args, true);

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
