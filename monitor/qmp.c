/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QMP protocol: a stream of JSON values in, replies and events out.  Input may
 * come in any pieces and may be garbage: a value that is not JSON is answered by
 * an error, the rest of its line is skipped, and the session goes on.  A byte 0xff
 * between values resets the parser, so a client can find its feet again.
 */
#include <string.h>
#include <sys/time.h>

#include "core/error.h"
#include "monitor-internal.h"

#define QMP_MAX_DEPTH   1024
#define QMP_MAX_MESSAGE ((size_t)16 << 20)
/* While that much output waits for the client, its commands wait too. */
#define QMP_OUTPUT_HIGH  ((size_t)256 << 10)
#define QMP_OUTPUT_LIMIT ((size_t)64 << 20)
#define QMP_RESET_BYTE   0xff

typedef struct QmpReply {
    MonitorReply reply;
    QmpSession *session; /* NULL: who asked is gone */
    const QmpCommand *cmd;
    struct json_object *id;
} QmpReply;

struct QmpSession {
    Monitor *mon;
    GQueue later;       /* of QmpReply *: requests not answered yet */
    QmpReply *held_by;  /* the one without an id: what comes next is read after its answer */
    GByteArray *unread; /* that */
    LoopBh *resume;     /* reads it */
    struct json_tokener *tok;
    size_t fed;      /* bytes of the value being read */
    char quote;      /* inside a string that began with it; 0: outside */
    bool escaped;    /* after a backslash in a string */
    bool skipping;   /* dropping the rest of a bad line */
    bool negotiated; /* qmp_capabilities was done */
};

static void qmp_send(QmpSession *s, struct json_object *msg)
{
    const char *text =
        json_object_to_json_string_ext(msg, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    g_autofree char *line = g_strconcat(text, "\r\n", NULL);

    chardev_write(s->mon->chr, line, strlen(line));
    json_object_put(msg);
}

static void qmp_send_error(QmpSession *s, struct json_object *id, GError *error)
{
    struct json_object *msg = json_object_new_object();

    json_object_object_add(msg, "error", qmp_error_json(error));
    if (id) {
        json_object_object_add(msg, "id", json_object_get(id));
    }
    qmp_send(s, msg);
    g_error_free(error);
}

static void qmp_send_greeting(QmpSession *s)
{
    struct json_object *msg = json_object_new_object();
    struct json_object *qmp = json_object_new_object();

    json_object_object_add(qmp, "version", qmp_run(s->mon->machine, "query-version", NULL, NULL));
    json_object_object_add(qmp, "capabilities", json_object_new_array());
    json_object_object_add(msg, "QMP", qmp);
    qmp_send(s, msg);
}

/* --- requests --- */

/* Member "execute" of a well-formed request, or NULL. */
static const char *qmp_check_request(struct json_object *req, struct json_object **args, GError **error)
{
    const char *name = NULL;

    if (!json_object_is_type(req, json_type_object)) {
        error_set(error, "QMP input must be a JSON object");
        return NULL;
    }
    json_object_object_foreach(req, key, value)
    {
        if (strcmp(key, "execute") == 0) {
            if (!json_object_is_type(value, json_type_string)) {
                error_set(error, "QMP input member 'execute' must be a string");
                return NULL;
            }
            name = json_object_get_string(value);
        } else if (strcmp(key, "arguments") == 0) {
            if (!json_object_is_type(value, json_type_object)) {
                error_set(error, "QMP input member 'arguments' must be an object");
                return NULL;
            }
            *args = value;
        } else if (strcmp(key, "id") != 0) {
            error_set(error, "QMP input member '%s' is unexpected", key);
            return NULL;
        }
    }
    if (!name) {
        error_set(error, "QMP input lacks member 'execute'");
    }
    return name;
}

static bool qmp_check_phase(QmpSession *s, const char *name, const QmpCommand *cmd, GError **error)
{
    if (!s->negotiated && !(cmd && cmd->early)) {
        g_set_error(error, MPQEMU_ERROR, ERR_COMMAND_NOT_FOUND,
                    "Expecting capabilities negotiation with 'qmp_capabilities'");
        return false;
    }
    if (!cmd) {
        g_set_error(error, MPQEMU_ERROR, ERR_COMMAND_NOT_FOUND, "The command %s has not been found", name);
        return false;
    }
    if (s->negotiated && cmd->early) {
        g_set_error(error, MPQEMU_ERROR, ERR_COMMAND_NOT_FOUND,
                    "Capabilities negotiation is already complete, command ignored");
        return false;
    }
    return true;
}

/* Takes result. */
static void qmp_send_result(QmpSession *s, const QmpCommand *cmd, struct json_object *id, struct json_object *result)
{
    struct json_object *reply;
    GError *error = NULL;

    if (!qmp_result_check(cmd, result, &error)) {
        json_object_put(result);
        qmp_send_error(s, id, error);
        return;
    }
    reply = json_object_new_object();
    json_object_object_add(reply, "return", result);
    if (id) {
        json_object_object_add(reply, "id", json_object_get(id));
    }
    qmp_send(s, reply);
}

/* --- answers that come later --- */

/* Main loop. */
static void qmp_reply_send(MonitorReply *later, struct json_object *result, GError *error)
{
    QmpReply *reply = (QmpReply *)later;
    QmpSession *s = reply->session;

    if (!s) {
        g_clear_error(&error);
        json_object_put(result);
    } else if (error) {
        qmp_send_error(s, reply->id, error);
    } else {
        qmp_send_result(s, reply->cmd, reply->id, result ? result : json_object_new_object());
    }
    if (s) {
        g_queue_remove(&s->later, reply);
        if (s->held_by == reply) {
            s->held_by = NULL;
            loop_bh_schedule(s->resume);
        }
    }
    json_object_put(reply->id);
    g_free(reply);
}

static QmpReply *qmp_reply_new(QmpSession *s, const QmpCommand *cmd, struct json_object *id)
{
    QmpReply *reply = g_new0(QmpReply, 1);

    *reply = (QmpReply){{qmp_reply_send}, s, cmd, json_object_get(id)};
    g_queue_push_tail(&s->later, reply);
    return reply;
}

/* Who asked is gone. */
static void qmp_forget_later(QmpSession *s)
{
    QmpReply *reply;

    while ((reply = g_queue_pop_head(&s->later))) {
        reply->session = NULL;
    }
    s->held_by = NULL;
    g_byte_array_set_size(s->unread, 0);
}

/* True: it is answered, or will be. */
static bool qmp_handle_later(QmpSession *s, const QmpCommand *cmd, struct json_object *args,
                             struct json_object *id)
{
    struct json_object *result = NULL;
    GError *error = NULL;
    QmpReply *reply;

    if (!cmd->later || !args || !qmp_type_check(cmd->args, args, NULL, &error)) {
        g_clear_error(&error); /* told on the other way */
        return false;
    }
    reply = qmp_reply_new(s, cmd, id);
    if (cmd->later(s->mon->machine, args, &reply->reply, &result, &error)) {
        qmp_reply_send(&reply->reply, result, error);
    } else if (!id) {
        s->held_by = reply;
    }
    return true;
}

static void qmp_handle(QmpSession *s, struct json_object *req)
{
    struct json_object *args = NULL, *id = NULL, *result;
    const QmpCommand *cmd;
    GError *error = NULL;
    const char *name;

    if (json_object_is_type(req, json_type_object)) {
        json_object_object_get_ex(req, "id", &id);
    }
    name = qmp_check_request(req, &args, &error);
    if (!name) {
        qmp_send_error(s, id, error);
        return;
    }
    cmd = qmp_find(name);
    if (!qmp_check_phase(s, name, cmd, &error)) {
        qmp_send_error(s, id, error);
        return;
    }
    if (qmp_handle_later(s, cmd, args, id)) {
        return;
    }
    result = qmp_run_command(s->mon->machine, cmd, args, cmd->run_fd ? chardev_take_fd(s->mon->chr) : -1, &error);
    if (!result) {
        qmp_send_error(s, id, error);
        return;
    }
    if (cmd->early) {
        s->negotiated = true;
    }
    qmp_send_result(s, cmd, id, result);
}

/* --- the stream --- */

static void qmp_reset_parser(QmpSession *s)
{
    json_tokener_reset(s->tok);
    s->fed = 0;
    s->quote = 0;
    s->escaped = false;
}

static void qmp_bad_input(QmpSession *s, const char *what)
{
    GError *error = NULL;

    error_set(&error, "JSON parse error, %s", what);
    qmp_send_error(s, NULL, error);
    qmp_reset_parser(s);
    s->skipping = true;
}

/* Follows strings, so that control characters are known for what they are.  False: not allowed here. */
static bool qmp_scan_byte(QmpSession *s, uint8_t c)
{
    if (c < 0x20 && (s->quote || (c != '\t' && c != '\r' && c != '\n'))) {
        return false;
    }
    if (!s->quote) {
        if (c == '"' || c == '\'') {
            s->quote = (char)c;
        }
    } else if (s->escaped) {
        s->escaped = false;
    } else if (c == '\\') {
        s->escaped = true;
    } else if (c == (uint8_t)s->quote) {
        s->quote = 0;
    }
    return true;
}

/*
 * Feeds one byte run up to and including the byte that may end a value.  Returns
 * the number of bytes consumed (at least 1).
 */
static size_t qmp_feed(QmpSession *s, const uint8_t *buf, size_t len)
{
    struct json_object *value;
    enum json_tokener_error err;
    size_t run = 0;

    while (run < len && buf[run] != QMP_RESET_BYTE && qmp_scan_byte(s, buf[run])) {
        run++;
        if (!s->quote && (buf[run - 1] == '}' || buf[run - 1] == '\n')) {
            break;
        }
    }
    if (run == 0) {
        qmp_bad_input(s, "stray control character");
        return 0;
    }
    value = json_tokener_parse_ex(s->tok, (const char *)buf, (int)run);
    err = json_tokener_get_error(s->tok);
    if (err == json_tokener_continue) {
        s->fed += run;
        if (s->fed > QMP_MAX_MESSAGE) {
            qmp_bad_input(s, "message too large");
        }
        return run;
    }
    if (err != json_tokener_success) {
        size_t used = MIN(json_tokener_get_parse_end(s->tok), run);

        qmp_bad_input(s, json_tokener_error_desc(err));
        return used;
    }
    run = MAX(MIN(json_tokener_get_parse_end(s->tok), run), 1);
    qmp_reset_parser(s);
    qmp_handle(s, value);
    json_object_put(value);
    return run;
}

static size_t qmp_can_read(void *opaque)
{
    QmpSession *s = opaque;

    return !s->held_by && !s->unread->len && chardev_pending(s->mon->chr) < QMP_OUTPUT_HIGH ? 4096 : 0;
}

static void qmp_read(void *opaque, const uint8_t *buf, size_t len)
{
    QmpSession *s = opaque;

    while (len) {
        size_t used;

        if (s->held_by) {
            g_byte_array_append(s->unread, buf, (guint)len);
            return;
        }
        if (*buf == QMP_RESET_BYTE) {
            qmp_reset_parser(s);
            s->skipping = false;
            used = 1;
        } else if (s->skipping) {
            s->skipping = *buf != '\n';
            used = 1;
        } else if (s->fed == 0 && strchr(" \t\r\n", *buf) && *buf) {
            used = 1;
        } else {
            used = qmp_feed(s, buf, len);
        }
        buf += used;
        len -= used;
    }
}

/* The answer that was waited for is out. */
static void qmp_resume(void *opaque)
{
    QmpSession *s = opaque;
    GByteArray *unread = s->unread;

    s->unread = g_byte_array_new();
    qmp_read(s, unread->data, unread->len);
    g_byte_array_unref(unread);
    chardev_accept_input(s->mon->chr);
}

/* --- events --- */

static void qmp_machine_event(void *opaque, const char *name, struct json_object *data)
{
    QmpSession *s = opaque;
    struct json_object *msg, *stamp;
    struct timeval now;
    GError *error = NULL;

    if (!s->negotiated || !chardev_connected(s->mon->chr)) {
        return;
    }
    if (!qmp_event_check(name, data, &error)) {
        g_printerr("%s: %s\n", g_get_prgname(), error->message);
        g_error_free(error);
        return;
    }
    gettimeofday(&now, NULL);
    stamp = json_object_new_object();
    json_object_object_add(stamp, "seconds", json_object_new_int64(now.tv_sec));
    json_object_object_add(stamp, "microseconds", json_object_new_int64(now.tv_usec));
    msg = json_object_new_object();
    json_object_object_add(msg, "timestamp", stamp);
    json_object_object_add(msg, "event", json_object_new_string(name));
    if (data) {
        json_object_object_add(msg, "data", json_object_get(data));
    }
    qmp_send(s, msg);
}

static void qmp_event(void *opaque, ChardevEvent event)
{
    QmpSession *s = opaque;

    if (event == CHARDEV_OPENED || event == CHARDEV_CLOSED) {
        qmp_reset_parser(s);
        qmp_forget_later(s);
        s->skipping = false;
        s->negotiated = false;
    }
    if (event == CHARDEV_OPENED) {
        qmp_send_greeting(s);
    }
}

QmpSession *qmp_session_new(Monitor *mon, ChardevFrontend *frontend)
{
    QmpSession *s = g_new0(QmpSession, 1);

    s->mon = mon;
    s->unread = g_byte_array_new();
    s->resume = loop_bh_new(mon->machine->main_loop, qmp_resume, s);
    s->tok = json_tokener_new_ex(QMP_MAX_DEPTH);
    json_tokener_set_flags(s->tok, JSON_TOKENER_VALIDATE_UTF8);
    chardev_set_queue_limit(mon->chr, QMP_OUTPUT_LIMIT);
    machine_add_event_handler(mon->machine, qmp_machine_event, s);
    *frontend = (ChardevFrontend){qmp_can_read, qmp_read, qmp_event, s};
    return s;
}

void qmp_session_free(QmpSession *s)
{
    machine_remove_event_handler(s->mon->machine, qmp_machine_event, s);
    qmp_forget_later(s);
    loop_bh_free(s->resume);
    g_byte_array_unref(s->unread);
    json_tokener_free(s->tok);
    g_free(s);
}
