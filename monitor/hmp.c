/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The human monitor: finding and running a command line, and a session with
 * editing (backspace, Ctrl-U, Ctrl-C, arrows up and down through history, Tab to complete) for
 * terminals in raw mode.
 */
#include <string.h>

#include "monitor-internal.h"

#define HMP_PROMPT      "(qemu) "
#define HMP_MAX_LINE    4096
#define HMP_MAX_HISTORY 64

typedef enum HmpKeyState { HMP_KEY_PLAIN, HMP_KEY_ESC, HMP_KEY_CSI } HmpKeyState;

struct HmpSession {
    Monitor *mon;
    GString *line;
    GPtrArray *history; /* of char *, oldest first */
    guint history_pos;  /* == history->len: the new line */
    HmpKeyState keys;
    bool greeted;
    struct HmpReply *held_by; /* of the line that is not over yet: what is typed meanwhile is read after it */
    GByteArray *unread;       /* that */
    LoopBh *resume;           /* reads it */
};

typedef struct HmpReply {
    MonitorReply reply;
    HmpSession *session; /* NULL: who typed the line is gone */
} HmpReply;

/* --- commands --- */

/* Whether `line` begins with one of the '|' separated names; *rest: what follows. */
static bool hmp_name_matches(const char *names, const char *line, const char **rest)
{
    while (*names) {
        size_t len = strcspn(names, "|");

        if (strncmp(line, names, len) == 0 && (line[len] == '\0' || line[len] == ' ' || line[len] == '/')) {
            *rest = line + len + strspn(line + len, " ");
            return true;
        }
        names += len + (names[len] == '|');
    }
    return false;
}

const HmpCommand *hmp_find(const char *line, const char **rest)
{
    for (size_t t = 0; hmp_tables[t]; t++) {
        for (const HmpCommand *cmd = hmp_tables[t]; cmd->name; cmd++) {
            if (hmp_name_matches(cmd->name, line, rest)) {
                return cmd;
            }
        }
    }
    return NULL;
}

char *hmp_run_later(Machine *machine, const char *line, MonitorReply *reply)
{
    g_autofree char *text = g_strstrip(g_strdup(line));
    GString *out = g_string_new(NULL);
    const char *rest;
    const HmpCommand *cmd = hmp_find(text, &rest);

    if (cmd && cmd->later && reply) {
        return cmd->later(machine, rest, reply, out) ? g_string_free(out, FALSE) : g_string_free(out, TRUE);
    }
    if (cmd) {
        cmd->run(machine, rest, out);
    } else if (*text) {
        g_string_append_printf(out, "unknown command: '%s'; 'help' lists commands\n", text);
    }
    return g_string_free(out, FALSE);
}

char *hmp_run(Machine *machine, const char *line)
{
    return hmp_run_later(machine, line, NULL);
}

void hmp_error(GString *out, GError *error)
{
    g_string_append_printf(out, "Error: %s\n", error->message);
    g_error_free(error);
}

/* --- session --- */

static void hmp_puts(HmpSession *s, const char *text)
{
    g_autoptr(GString) out = g_string_sized_new(strlen(text));

    for (; *text; text++) {
        if (*text == '\n') {
            g_string_append_c(out, '\r');
        }
        g_string_append_c(out, *text);
    }
    chardev_write(s->mon->chr, out->str, out->len);
}

static void hmp_prompt(HmpSession *s)
{
    hmp_puts(s, HMP_PROMPT);
    hmp_puts(s, s->line->str);
}

static void hmp_greet(HmpSession *s)
{
    if (!s->greeted) {
        hmp_puts(s, "mpqemu monitor - type 'help' for more information\n");
        s->greeted = true;
    }
    hmp_prompt(s);
}

static void hmp_remember(HmpSession *s)
{
    if (s->line->len) {
        if (s->history->len == HMP_MAX_HISTORY) {
            g_ptr_array_remove_index(s->history, 0);
        }
        g_ptr_array_add(s->history, g_strdup(s->line->str));
    }
    s->history_pos = s->history->len;
}

/* Main loop. */
static void hmp_reply_send(MonitorReply *later, struct json_object *result, GError *error)
{
    HmpReply *reply = (HmpReply *)later;
    HmpSession *s = reply->session;

    if (s) {
        hmp_puts(s, json_object_get_string(result));
        hmp_prompt(s);
        s->held_by = NULL;
        loop_bh_schedule(s->resume);
    }
    json_object_put(result);
    g_clear_error(&error);
    g_free(reply);
}

/* Who typed is gone. */
static void hmp_forget_later(HmpSession *s)
{
    if (s->held_by) {
        s->held_by->session = NULL;
        s->held_by = NULL;
    }
    g_byte_array_set_size(s->unread, 0);
}

static void hmp_enter(HmpSession *s)
{
    g_autofree char *line = g_strdup(s->line->str);
    g_autofree char *out = NULL;
    HmpReply *reply = g_new0(HmpReply, 1);

    hmp_puts(s, "\n");
    hmp_remember(s);
    g_string_truncate(s->line, 0);
    *reply = (HmpReply){{hmp_reply_send}, s};
    out = hmp_run_later(s->mon->machine, line, &reply->reply);
    if (!out) {
        s->held_by = reply;
        return;
    }
    g_free(reply);
    hmp_puts(s, out);
    hmp_prompt(s);
}

static void hmp_replace(HmpSession *s, const char *text)
{
    hmp_puts(s, "\r\x1b[K");
    g_string_assign(s->line, text);
    hmp_prompt(s);
}

static void hmp_history(HmpSession *s, int step)
{
    guint pos = s->history_pos + (guint)step;

    if (pos < s->history->len) {
        hmp_replace(s, g_ptr_array_index(s->history, pos));
        s->history_pos = pos;
    } else if (step > 0 && pos == s->history->len) {
        hmp_replace(s, "");
        s->history_pos = pos;
    }
}

static void hmp_add(HmpSession *s, const char *text)
{
    if (s->line->len + strlen(text) <= HMP_MAX_LINE) {
        g_string_append(s->line, text);
        hmp_puts(s, text);
    }
}

/* Adds what all that is possible has in common; when that is nothing, lists what is. */
static void hmp_tab(HmpSession *s)
{
    size_t have, common;
    g_autoptr(GPtrArray) names = hmp_complete(s->mon->machine, s->line->str, &have);

    if (!names->len) {
        return;
    }
    common = strlen(names->pdata[0]);
    for (guint i = 1; i < names->len; i++) {
        size_t same = 0;

        while (same < common && ((char *)names->pdata[0])[same] == ((char *)names->pdata[i])[same]) {
            same++;
        }
        common = same;
    }
    if (names->len == 1 || common > have) {
        g_autofree char *more = g_strndup((char *)names->pdata[0] + have, common - have);

        hmp_add(s, more);
        if (names->len == 1) {
            hmp_add(s, " ");
        }
        return;
    }
    hmp_puts(s, "\n");
    for (guint i = 0; i < names->len; i++) {
        hmp_puts(s, names->pdata[i]);
        hmp_puts(s, i + 1 < names->len ? "  " : "\n");
    }
    hmp_prompt(s);
}

static void hmp_plain_key(HmpSession *s, uint8_t c)
{
    if (c == '\r' || c == '\n') {
        hmp_enter(s);
    } else if (c == '\t') {
        hmp_tab(s);
    } else if (c == 0x1b) {
        s->keys = HMP_KEY_ESC;
    } else if (c == 0x7f || c == '\b') {
        if (s->line->len) {
            g_string_truncate(s->line, s->line->len - 1);
            hmp_puts(s, "\b \b");
        }
    } else if (c == 0x15 || c == 0x03) { /* Ctrl-U, Ctrl-C */
        hmp_replace(s, "");
    } else if (c >= 0x20 && s->line->len < HMP_MAX_LINE) {
        char echo[2] = {(char)c, 0};

        g_string_append_c(s->line, (char)c);
        hmp_puts(s, echo);
    }
}

static void hmp_key(HmpSession *s, uint8_t c)
{
    switch (s->keys) {
    case HMP_KEY_PLAIN:
        hmp_plain_key(s, c);
        break;
    case HMP_KEY_ESC:
        s->keys = c == '[' || c == 'O' ? HMP_KEY_CSI : HMP_KEY_PLAIN;
        break;
    case HMP_KEY_CSI:
        /* Parameters until a letter, which is the key. */
        if (c >= 0x40) {
            s->keys = HMP_KEY_PLAIN;
            if (c == 'A' || c == 'B') {
                hmp_history(s, c == 'A' ? -1 : 1);
            }
        }
        break;
    }
}

static size_t hmp_can_read(void *opaque)
{
    HmpSession *s = opaque;

    return !s->held_by && !s->unread->len && chardev_pending(s->mon->chr) == 0 ? 1024 : 0;
}

static void hmp_read(void *opaque, const uint8_t *buf, size_t len)
{
    HmpSession *s = opaque;

    for (size_t i = 0; i < len; i++) {
        if (s->held_by) {
            g_byte_array_append(s->unread, buf + i, (guint)(len - i));
            return;
        }
        hmp_key(s, buf[i]);
    }
}

/* The answer that was waited for is out. */
static void hmp_resume(void *opaque)
{
    HmpSession *s = opaque;
    GByteArray *unread = s->unread;

    s->unread = g_byte_array_new();
    hmp_read(s, unread->data, unread->len);
    g_byte_array_unref(unread);
    chardev_accept_input(s->mon->chr);
}

static void hmp_event(void *opaque, ChardevEvent event)
{
    HmpSession *s = opaque;

    switch (event) {
    case CHARDEV_OPENED:
        hmp_forget_later(s);
        s->greeted = false;
        g_string_truncate(s->line, 0);
        if (chardev_focused(s->mon->chr, s)) {
            hmp_greet(s);
        }
        break;
    case CHARDEV_MUX_IN:
        hmp_puts(s, "\n");
        hmp_greet(s);
        break;
    case CHARDEV_MUX_OUT:
        hmp_puts(s, "\n");
        break;
    case CHARDEV_CLOSED:
        hmp_forget_later(s);
        break;
    case CHARDEV_BREAK:
        break;
    }
}

HmpSession *hmp_session_new(Monitor *mon, ChardevFrontend *frontend)
{
    HmpSession *s = g_new0(HmpSession, 1);

    s->mon = mon;
    s->line = g_string_new(NULL);
    s->history = g_ptr_array_new_with_free_func(g_free);
    s->unread = g_byte_array_new();
    s->resume = loop_bh_new(mon->machine->main_loop, hmp_resume, s);
    *frontend = (ChardevFrontend){hmp_can_read, hmp_read, hmp_event, s};
    return s;
}

void hmp_session_free(HmpSession *s)
{
    hmp_forget_later(s);
    loop_bh_free(s->resume);
    g_byte_array_unref(s->unread);
    g_string_free(s->line, TRUE);
    g_ptr_array_free(s->history, TRUE);
    g_free(s);
}
