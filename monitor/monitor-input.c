/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys and pointers from a monitor: send-key, input-send-event, sendkey. */
#include <string.h>

#include "core/error.h"
#include "monitor-internal.h"
#include "qmp-commands.h"
#include "ui/input.h"

#define HOLD_MS     100
#define HOLD_MAX_MS 60000

/* A KeyValue: {"type": "qcode", "data": "a"} or {"type": "number", "data": 30}. */
static bool input_parse_key(struct json_object *value, InputKey *key, GError **error)
{
    struct json_object *data = json_object_object_get(value, "data");
    int64_t number = json_object_get_int64(data);
    bool found = false;

    if (json_object_is_type(data, json_type_string)) {
        found = input_key_find(json_object_get_string(data), key);
    } else if (number > 0 && number <= 0xff) {
        found = input_key_find_number((unsigned)number, key);
    }
    if (!found) {
        error_set(error, "key: there is no such key (%s %s)", json_member_str(value, "type"), json_object_get_string(data));
    }
    return found;
}

struct json_object *qmp_send_key(Machine *m, struct json_object *args, GError **error)
{
    struct json_object *list = NULL, *hold = NULL;
    int64_t hold_ms = HOLD_MS;
    InputKey keys[INPUT_GROUP_MAX];
    size_t n;

    json_object_object_get_ex(args, "keys", &list);
    n = json_object_array_length(list);
    if (json_object_object_get_ex(args, "hold-time", &hold)) {
        hold_ms = json_object_get_int64(hold);
    }
    if (n < 1 || n > INPUT_GROUP_MAX || hold_ms < 1 || hold_ms > HOLD_MAX_MS) {
        error_set(error, "send-key: bad number of keys or hold-time (%zu keys, allowed 1..%d; %" G_GINT64_FORMAT " ms, allowed 1..%d)", n,
                  INPUT_GROUP_MAX, hold_ms, HOLD_MAX_MS);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        if (!input_parse_key(json_object_array_get_idx(list, i), &keys[i], error)) {
            return NULL;
        }
    }
    input_press_group(m, keys, (unsigned)n, (unsigned)hold_ms, error);
    return NULL;
}

/* --- input-send-event --- */

typedef struct InputEvent {
    enum { EVENT_KEY, EVENT_BUTTON, EVENT_REL, EVENT_ABS } type;
    unsigned what; /* key, button, axis */
    int value;
} InputEvent;

/* Names in the order of the enums; the schema has seen to it that there are no others. */
static const char *const type_names[] = {"key", "btn", "rel", "abs", NULL};
static const char *const button_names[] = {"left", "middle", "right", "wheel-up", "wheel-down", "side", "extra", NULL};
static const char *const axis_names[] = {"x", "y", NULL};

static unsigned event_name(struct json_object *data, const char *key, const char *const *names)
{
    const char *text = json_member_str(data, key);
    unsigned i = 0;

    while (names[i + 1] && strcmp(names[i], text) != 0) {
        i++;
    }
    return i;
}

static bool event_parse(struct json_object *json, InputEvent *event, GError **error)
{
    struct json_object *data = json_object_object_get(json, "data");
    InputKey key;

    event->type = event_name(json, "type", type_names);
    if (event->type == EVENT_REL || event->type == EVENT_ABS) {
        event->what = event_name(data, "axis", axis_names);
        event->value = json_object_get_int(json_object_object_get(data, "value"));
        return true;
    }
    event->value = json_object_get_boolean(json_object_object_get(data, "down"));
    if (event->type == EVENT_BUTTON) {
        event->what = event_name(data, "button", button_names);
        return true;
    }
    if (!input_parse_key(json_object_object_get(data, "key"), &key, error)) {
        return false;
    }
    event->what = key;
    return true;
}

static void event_send(Machine *m, const InputEvent *event)
{
    switch (event->type) {
    case EVENT_KEY:
        input_send_key(m, event->what, event->value);
        break;
    case EVENT_BUTTON:
        input_send_button(m, event->what, event->value);
        break;
    case EVENT_REL:
        input_send_rel(m, event->what, event->value);
        break;
    case EVENT_ABS:
        input_send_abs(m, event->what, event->value);
        break;
    }
}

static bool event_is_taken(Machine *m, const InputEvent *event)
{
    static const unsigned takes[] = {INPUT_TAKES_KEYS, INPUT_TAKES_REL | INPUT_TAKES_ABS, INPUT_TAKES_REL, INPUT_TAKES_ABS};

    return input_taker(m, takes[event->type]);
}

struct json_object *qmp_input_send_event(Machine *m, struct json_object *args, GError **error)
{
    g_autoptr(GArray) events = g_array_new(FALSE, FALSE, sizeof(InputEvent));
    const char *device = json_member_str(args, "device");
    struct json_object *list = NULL;

    if (device) {
        error_set(error, "input-send-event: device: consoles of a device are not there ('%s'); leave it out", device);
        return NULL;
    }
    json_object_object_get_ex(args, "events", &list);
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        InputEvent event;

        if (!event_parse(json_object_array_get_idx(list, i), &event, error)) {
            return NULL;
        }
        if (!event_is_taken(m, &event)) {
            error_set(error, "input-send-event: no device takes events of that kind");
            return NULL;
        }
        g_array_append_val(events, event);
    }
    for (guint i = 0; i < events->len; i++) {
        event_send(m, &g_array_index(events, InputEvent, i));
    }
    input_sync(m);
    return NULL;
}

/* --- HMP: ctrl-alt-f1 [MS]; 0x1d is a key's number --- */

static bool sendkey_parse(const char *word, InputKey *key)
{
    guint64 number;

    if (g_str_has_prefix(word, "0x")) {
        return g_ascii_string_to_unsigned(word + 2, 16, 1, 0xff, &number, NULL) && input_key_find_number((unsigned)number, key);
    }
    return input_key_find(strcmp(word, "<") == 0 ? "less" : word, key);
}

static void hmp_sendkey(Machine *m, const char *args, GString *out)
{
    g_auto(GStrv) words = g_strsplit(args, " ", 2);
    g_auto(GStrv) names = g_strsplit(words[0] ? words[0] : "", "-", INPUT_GROUP_MAX + 1);
    guint n = g_strv_length(names);
    InputKey keys[INPUT_GROUP_MAX];
    guint64 hold = HOLD_MS;
    GError *error = NULL;

    if (!n || n > INPUT_GROUP_MAX || (words[1] && !g_ascii_string_to_unsigned(words[1], 10, 1, HOLD_MAX_MS, &hold, NULL))) {
        g_string_append(out, "sendkey: KEY[-KEY...] [MILLISECONDS]\n");
        return;
    }
    for (guint i = 0; i < n; i++) {
        if (!sendkey_parse(names[i], &keys[i])) {
            g_string_append_printf(out, "sendkey: there is no key '%s'\n", names[i]);
            return;
        }
    }
    if (!input_press_group(m, keys, n, (unsigned)hold, &error)) {
        hmp_error(out, error);
    }
}

const HmpCommand hmp_input_table[] = {
    {.name = "sendkey", .args = "KEY[-KEY...] [MILLISECONDS]", .doc = "press keys together and let them go", .run = hmp_sendkey},
    {.name = NULL},
};
