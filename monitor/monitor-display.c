/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest's screen shows: screendump. */
#include <string.h>

#include "core/error.h"
#include "monitor-internal.h"
#include "qmp-commands.h"
#include "ui/display.h"

struct json_object *qmp_screendump(Machine *m, struct json_object *args, GError **error)
{
    const char *format = json_member_str(args, "format"), *device = json_member_str(args, "device");
    struct json_object *head;
    Display *display;

    if (json_object_object_get_ex(args, "head", &head) && json_object_get_int64(head) != 0) {
        error_set(error, "screendump: head: displays have one head (%" G_GINT64_FORMAT ", allowed 0)",
                  (gint64)json_object_get_int64(head));
        return NULL;
    }
    display = display_find(m, device, error);
    if (display) {
        display_dump(display, json_member_str(args, "filename"), format ? format : "ppm", error);
    }
    return NULL;
}

/* [-f FORMAT] FILE [DEVICE] */
static void hmp_screendump(Machine *m, const char *args, GString *out)
{
    g_auto(GStrv) words = g_strsplit(args, " ", 0);
    guint n = g_strv_length(words), at = n >= 2 && strcmp(words[0], "-f") == 0 ? 2 : 0;
    GError *error = NULL;
    Display *display;

    if (n <= at || n > at + 2) {
        g_string_append(out, "screendump: [-f ppm|png] FILE [DEVICE]\n");
        return;
    }
    display = display_find(m, words[at + 1], &error);
    if (!display || !display_dump(display, words[at], at ? words[1] : "ppm", &error)) {
        hmp_error(out, error);
    }
}

const HmpCommand hmp_display_table[] = {
    {.name = "screendump",
     .args = "[-f ppm|png] FILE [DEVICE]",
     .doc = "write what the screen shows to a file",
     .run = hmp_screendump},
    {.name = NULL},
};
