/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options about time and the process around the machine: -rtc, -msg. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmdline.h"
#include "core/error.h"
#include "core/prop.h"

/* --- -rtc --- */

/* "2006-06-17T16:01:21" or "2006-06-17". */
static bool rtc_parse_date(const char *text, int64_t *offset, GError **error)
{
    g_autofree char *full = g_strdup_printf("%s%s", text, strchr(text, 'T') ? "" : "T00:00:00");
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) date = g_date_time_new_from_iso8601(full, utc);

    if (!date) {
        error_set(error, "-rtc: bad base= ('%s', allowed utc, localtime, a date as 2006-06-17T16:01:21 or 2006-06-17)",
                  text);
        return false;
    }
    *offset = g_date_time_to_unix(date) * INT64_C(1000000000) - g_get_real_time() * 1000;
    return true;
}

static bool rtc_set_base(RtcConfig *rtc, const char *text, GError **error)
{
    time_t now = time(NULL);
    struct tm tm;

    rtc->offset = 0;
    if (!strcmp(text, "utc")) {
        return true;
    }
    if (!strcmp(text, "localtime")) {
        localtime_r(&now, &tm);
        rtc->offset = tm.tm_gmtoff * INT64_C(1000000000);
        return true;
    }
    return rtc_parse_date(text, &rtc->offset, error);
}

static bool rtc_set(RtcConfig *rtc, const char *key, const char *text, GError **error)
{
    static const char *const clocks[] = {[RTC_CLOCK_HOST] = "host", [RTC_CLOCK_VM] = "vm", [RTC_CLOCK_RT] = "rt"};

    if (!strcmp(key, "base")) {
        return rtc_set_base(rtc, text, error);
    }
    if (!strcmp(key, "clock")) {
        for (size_t i = 0; i < G_N_ELEMENTS(clocks); i++) {
            if (!strcmp(text, clocks[i])) {
                rtc->clock = i;
                return true;
            }
        }
        error_set(error, "-rtc: bad clock= ('%s', allowed host, vm, rt)", text);
        return false;
    }
    if (!strcmp(key, "driftfix")) {
        rtc->slew = !strcmp(text, "slew");
        if (!rtc->slew && strcmp(text, "none")) {
            error_set(error, "-rtc: bad driftfix= ('%s', allowed none, slew)", text);
            return false;
        }
        return true;
    }
    error_set(error, "-rtc: unknown option '%s' (allowed: base, clock, driftfix)", key);
    return false;
}

bool option_rtc(Cmdline *c, const char *option, const char *arg, GError **error)
{
    struct json_object *opts = opts_parse(option, arg, NULL, error);
    bool ok = opts != NULL;

    if (ok) {
        json_object_object_foreach(opts, key, value)
        {
            ok = ok && rtc_set(&c->rtc, key, json_object_get_string(value), error);
        }
    }
    json_object_put(opts);
    return ok;
}

/* --- -msg --- */

/* The handler of messages has no argument, so these are the process's: set while the command line is read. */
static bool msg_timestamp;
static const Cmdline *msg_guest; /* whose name messages begin with; NULL: none */

static void msg_print(const char *text)
{
    g_autoptr(GString) line = g_string_new(NULL);
    g_autofree char *valid = NULL;

    if (msg_timestamp) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autofree char *stamp = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");

        g_string_append_printf(line, "%s.%06dZ ", stamp, g_date_time_get_microsecond(now));
    }
    if (msg_guest && msg_guest->name) {
        g_string_append_printf(line, "%s ", msg_guest->name);
    }
    valid = g_utf8_make_valid(text, -1);
    g_string_append(line, valid);
    fputs(line->str, stderr);
    fflush(stderr);
}

void option_msg_init(void)
{
    g_set_printerr_handler(msg_print);
}

bool option_msg(Cmdline *c, const char *option, const char *arg, GError **error)
{
    struct json_object *opts = opts_parse(option, arg, NULL, error);
    bool ok = opts != NULL;

    if (!ok) {
        return false;
    }
    json_object_object_foreach(opts, key, value)
    {
        const char *text = json_object_get_string(value);
        bool on = !strcmp(text, "on") || !strcmp(text, "true");

        if (!on && strcmp(text, "off") && strcmp(text, "false")) {
            error_set(error, "-msg: bad %s= ('%s', allowed on, off)", key, text);
            ok = false;
        } else if (!strcmp(key, "timestamp")) {
            msg_timestamp = on;
        } else if (!strcmp(key, "guest-name")) {
            msg_guest = on ? c : NULL;
        } else {
            error_set(error, "-msg: unknown option '%s' (allowed: timestamp, guest-name)", key);
            ok = false;
        }
        if (!ok) {
            break;
        }
    }
    json_object_put(opts);
    return ok;
}
