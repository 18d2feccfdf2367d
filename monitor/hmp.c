/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The human monitor: finding and running a command line, and a session with
 * editing (backspace, Ctrl-U, Ctrl-C, arrows up and down through history) for
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
};

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

char *hmp_run(Machine *machine, const char *line)
{
    g_autofree char *text = g_strstrip(g_strdup(line));
    GString *out = g_string_new(NULL);

    if (!*text) {
        return g_string_free(out, FALSE);
    }
    for (size_t t = 0; hmp_tables[t]; t++) {
        for (const HmpCommand *cmd = hmp_tables[t]; cmd->name; cmd++) {
            const char *rest;

            if (hmp_name_matches(cmd->name, text, &rest)) {
                cmd->run(machine, rest, out);
                return g_string_free(out, FALSE);
            }
        }
    }
    g_string_append_printf(out, "unknown command: '%s'; 'help' lists commands\n", text);
    return g_string_free(out, FALSE);
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

static void hmp_enter(HmpSession *s)
{
    g_autofree char *line = g_strdup(s->line->str);
    g_autofree char *out = NULL;

    hmp_puts(s, "\n");
    hmp_remember(s);
    g_string_truncate(s->line, 0);
    out = hmp_run(s->mon->machine, line);
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

static void hmp_plain_key(HmpSession *s, uint8_t c)
{
    if (c == '\r' || c == '\n') {
        hmp_enter(s);
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

    return chardev_pending(s->mon->chr) == 0 ? 1024 : 0;
}

static void hmp_read(void *opaque, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        hmp_key(opaque, buf[i]);
    }
}

static void hmp_event(void *opaque, ChardevEvent event)
{
    HmpSession *s = opaque;

    switch (event) {
    case CHARDEV_OPENED:
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
    *frontend = (ChardevFrontend){hmp_can_read, hmp_read, hmp_event, s};
    return s;
}

void hmp_session_free(HmpSession *s)
{
    g_string_free(s->line, TRUE);
    g_ptr_array_free(s->history, TRUE);
    g_free(s);
}
