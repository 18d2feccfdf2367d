/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest's screen shows: screendump. */
#include <string.h>

#include "core/error.h"
#include "monitor-internal.h"
#include "qmp-commands.h"
#include "ui/display.h"

#define HMP_SCREENDUMP_ARGS "FILE [-f ppm|png] [DEVICE]"

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

/* FILE [-f FORMAT] [DEVICE]; -f may stand anywhere. */
static void hmp_screendump(Machine *m, const char *args, GString *out)
{
    g_auto(GStrv) words = g_strsplit(args, " ", 0);
    const char *format = NULL, *rest[3] = {NULL};
    GError *error = NULL;
    unsigned n = 0;
    Display *display;

    for (char **word = words; *word && n < G_N_ELEMENTS(rest); word++) {
        if (!strcmp(*word, "-f") && word[1] && !format) {
            format = *++word;
        } else {
            rest[n++] = *word;
        }
    }
    if (n == 0 || n == G_N_ELEMENTS(rest) || g_str_has_prefix(rest[0], "-f")) {
        g_string_append(out, "screendump: " HMP_SCREENDUMP_ARGS "\n");
        return;
    }
    display = display_find(m, rest[1], &error);
    if (!display || !display_dump(display, rest[0], format ? format : "ppm", &error)) {
        hmp_error(out, error);
    }
}

const HmpCommand hmp_display_table[] = {
    {.name = "screendump",
     .args = HMP_SCREENDUMP_ARGS,
     .doc = "write what the screen shows to a file",
     .run = hmp_screendump},
    {.name = NULL},
};
