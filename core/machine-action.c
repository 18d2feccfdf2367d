/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What follows when the guest reboots, powers off, panics, or when its watchdog barks: -action, set-action.
 */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/internal.h"

static const char *const reboot_words[] = {"reset", "shutdown", NULL};
static const char *const shutdown_words[] = {"poweroff", "pause", NULL};
static const char *const panic_words[] = {
    [PANIC_ACTION_SHUTDOWN] = "shutdown",
    [PANIC_ACTION_PAUSE] = "pause",
    [PANIC_ACTION_EXIT_FAILURE] = "exit-failure",
    [PANIC_ACTION_NONE] = "none",
    NULL,
};
static const char *const watchdog_words[] = {
    [WATCHDOG_ACTION_RESET] = "reset", [WATCHDOG_ACTION_SHUTDOWN] = "shutdown",
    [WATCHDOG_ACTION_POWEROFF] = "poweroff", [WATCHDOG_ACTION_PAUSE] = "pause",
    [WATCHDOG_ACTION_DEBUG] = "debug", [WATCHDOG_ACTION_NONE] = "none",
    [WATCHDOG_ACTION_INJECT_NMI] = "inject-nmi", NULL,
};

static const struct {
    const char *event;
    const char *const *words; /* the index is the value */
} action_table[MACHINE_ACTION_COUNT] = {
    [MACHINE_ACTION_REBOOT] = {"reboot", reboot_words},
    [MACHINE_ACTION_SHUTDOWN] = {"shutdown", shutdown_words},
    [MACHINE_ACTION_PANIC] = {"panic", panic_words},
    [MACHINE_ACTION_WATCHDOG] = {"watchdog", watchdog_words},
};

static int word_index(const char *const *words, const char *word)
{
    for (int i = 0; words[i]; i++) {
        if (!strcmp(words[i], word)) {
            return i;
        }
    }
    return -1;
}

bool machine_action_parse(MachineActions *actions, const char *event, const char *word, GError **error)
{
    g_autoptr(GString) events = g_string_new(NULL);

    for (int i = 0; i < MACHINE_ACTION_COUNT; i++) {
        int value;

        g_string_append_printf(events, "%s%s", i ? ", " : "", action_table[i].event);
        if (strcmp(action_table[i].event, event)) {
            continue;
        }
        value = word_index(action_table[i].words, word);
        if (value < 0) {
            g_autofree char *allowed = g_strjoinv(", ", (char **)action_table[i].words);

            error_set(error, "%s: no such action ('%s', allowed %s)", event, word, allowed);
            return false;
        }
        actions->on[i] = value;
        return true;
    }
    error_set(error, "no such event ('%s', allowed %s)", event, events->str);
    return false;
}

/* --- what happens --- */

static void emit_action(Machine *m, const char *event, const char *action, struct json_object *info)
{
    struct json_object *data = json_object_new_object();

    json_object_object_add(data, "action", json_object_new_string(action));
    if (info) {
        json_object_object_add(data, "info", info);
    }
    machine_emit_event(m, event, data);
}

void machine_guest_panicked(Machine *m, struct json_object *info)
{
    switch (m->actions.on[MACHINE_ACTION_PANIC]) {
    case PANIC_ACTION_NONE:
        emit_action(m, "GUEST_PANICKED", "run", info);
        break;
    case PANIC_ACTION_PAUSE:
        emit_action(m, "GUEST_PANICKED", "pause", info);
        machine_request_stop(m, RUN_STATE_GUEST_PANICKED);
        break;
    case PANIC_ACTION_EXIT_FAILURE:
        emit_action(m, "GUEST_PANICKED", "poweroff", info);
        machine_request_shutdown(m, SHUTDOWN_GUEST_PANIC, EXIT_FAILURE);
        break;
    default:
        emit_action(m, "GUEST_PANICKED", "poweroff", info);
        machine_request_shutdown(m, SHUTDOWN_GUEST_PANIC, EXIT_SUCCESS);
        break;
    }
}

void machine_watchdog_expired(Machine *m)
{
    int action = m->actions.on[MACHINE_ACTION_WATCHDOG];

    emit_action(m, "WATCHDOG", watchdog_words[action], NULL);
    switch (action) {
    case WATCHDOG_ACTION_RESET:
        machine_request_reset(m, SHUTDOWN_GUEST_RESET);
        break;
    case WATCHDOG_ACTION_SHUTDOWN:
        machine_request_powerdown(m);
        break;
    case WATCHDOG_ACTION_POWEROFF:
        machine_request_shutdown(m, SHUTDOWN_GUEST_SHUTDOWN, EXIT_SUCCESS);
        break;
    case WATCHDOG_ACTION_PAUSE:
        machine_request_stop(m, RUN_STATE_WATCHDOG);
        break;
    case WATCHDOG_ACTION_DEBUG:
        fprintf(stderr, "%s: the guest's watchdog timer expired\n", g_get_prgname());
        break;
    case WATCHDOG_ACTION_INJECT_NMI:
        machine_inject_nmi(m, NULL);
        break;
    default:
        break;
    }
}

bool machine_inject_nmi(Machine *m, GError **error)
{
    const MachineModel *model = (const MachineModel *)m->obj.model;

    if (!model->nmi) {
        error_set(error, "machine '%s' has no CPUs that take an NMI", model->model.name);
        return false;
    }
    model->nmi(m);
    return true;
}
