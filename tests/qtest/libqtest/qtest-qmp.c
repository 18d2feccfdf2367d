/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP for tests: one command at a time, events kept for later. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "libqtest-internal.h"

static struct json_object *qtest_qmp_receive(QtestState *s)
{
    char buf[65536];

    for (;;) {
        char *eol = memchr(s->qmp_line->str, '\n', s->qmp_line->len);
        ssize_t n;

        if (eol) {
            struct json_object *msg;

            *eol = '\0';
            msg = json_tokener_parse(s->qmp_line->str);
            if (!json_object_is_type(msg, json_type_object)) {
                qtest_die(s, "QMP: not an object: %s", s->qmp_line->str);
            }
            g_string_erase(s->qmp_line, 0, eol - s->qmp_line->str + 1);
            return msg;
        }
        n = read(s->qmp_fd, buf, sizeof(buf));
        if (n == 0) {
            qtest_die(s, "QMP: the program hung up");
        }
        if (n < 0 && errno != EINTR) {
            qtest_die(s, "QMP: %s", strerror(errno));
        }
        if (n > 0) {
            g_string_append_len(s->qmp_line, buf, n);
        }
    }
}

static void qtest_qmp_write(QtestState *s, const char *text)
{
    g_autofree char *line = g_strconcat(text, "\n", NULL);

    if (write(s->qmp_fd, line, strlen(line)) != (ssize_t)strlen(line)) {
        qtest_die(s, "QMP: cannot write: %s", strerror(errno));
    }
}

static struct json_object *qtest_qmp_reply(QtestState *s)
{
    for (;;) {
        struct json_object *msg = qtest_qmp_receive(s);

        if (!json_object_object_get_ex(msg, "event", NULL)) {
            return msg;
        }
        g_queue_push_tail(s->events, msg);
    }
}

static struct json_object *qtest_qmp_run(QtestState *s, const char *text)
{
    struct json_object *reply;

    qtest_qmp_write(s, text);
    reply = qtest_qmp_reply(s);
    if (json_object_object_get_ex(reply, "return", NULL)) {
        qtest_move_command(s, text);
    }
    return reply;
}

void qtest_qmp_greet(QtestState *s)
{
    struct json_object *greeting = qtest_qmp_receive(s);

    if (!json_object_object_get_ex(greeting, "QMP", NULL)) {
        qtest_die(s, "QMP: no greeting");
    }
    json_object_put(greeting);
    qtest_qmp_ok(s, "{'execute': 'qmp_capabilities'}");
}

struct json_object *qtest_qmp(QtestState *s, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return qtest_qmp_run(s, text);
}

void qtest_qmp_ok(QtestState *s, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    struct json_object *reply;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    reply = qtest_qmp_run(s, text);
    if (!json_object_object_get_ex(reply, "return", NULL)) {
        qtest_die(s, "QMP: %s was answered by %s", text, json_object_to_json_string(reply));
    }
    json_object_put(reply);
}

char *qtest_qmp_error(QtestState *s, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    struct json_object *reply, *error, *desc;
    char *result;
    va_list ap;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    reply = qtest_qmp_run(s, text);
    if (!json_object_object_get_ex(reply, "error", &error) ||
        !json_object_object_get_ex(error, "desc", &desc)) {
        qtest_die(s, "QMP: %s was answered by %s", text, json_object_to_json_string(reply));
    }
    result = g_strdup(json_object_get_string(desc));
    json_object_put(reply);
    return result;
}

char *qtest_hmp(QtestState *s, const char *line)
{
    struct json_object *command = json_object_new_object();
    struct json_object *args = json_object_new_object();
    struct json_object *reply, *text;
    char *result;

    json_object_object_add(args, "command-line", json_object_new_string(line));
    json_object_object_add(command, "execute", json_object_new_string("human-monitor-command"));
    json_object_object_add(command, "arguments", args);
    qtest_qmp_write(s, json_object_to_json_string_ext(command, JSON_C_TO_STRING_PLAIN));
    json_object_put(command);
    reply = qtest_qmp_reply(s);
    if (!json_object_object_get_ex(reply, "return", &text)) {
        qtest_die(s, "HMP: '%s' was answered by %s", line, json_object_to_json_string(reply));
    }
    result = g_strdup(json_object_get_string(text));
    json_object_put(reply);
    return result;
}

static bool qtest_event_is(struct json_object *msg, const char *name)
{
    struct json_object *event;

    return json_object_object_get_ex(msg, "event", &event) &&
           strcmp(json_object_get_string(event), name) == 0;
}

struct json_object *qtest_qmp_event(QtestState *s, const char *name)
{
    for (GList *link = s->events->head; link; link = link->next) {
        struct json_object *msg = link->data;

        if (qtest_event_is(msg, name)) {
            g_queue_delete_link(s->events, link);
            return msg;
        }
    }
    for (;;) {
        struct json_object *msg = qtest_qmp_receive(s);

        if (qtest_event_is(msg, name)) {
            return msg;
        }
        g_queue_push_tail(s->events, msg);
    }
}

int64_t qtest_messages_sent(QtestState *qts)
{
    struct json_object *reply = qtest_qmp(qts, "{'execute': 'qom-get', 'arguments': {"
                                               "'path': '/machine/peripheral/dev0', 'property': 'messages-sent'}}");
    struct json_object *value;
    int64_t sent;

    qtest_stay(qts, QTEST_STAY_MESSAGES);
    if (!json_object_object_get_ex(reply, "return", &value)) {
        qtest_die(qts, "dev0 has no messages-sent");
    }
    sent = json_object_get_int64(value);
    json_object_put(reply);
    return sent;
}
