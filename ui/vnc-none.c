/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A build without a VNC server. */
#include <json-c/json.h>

#include "core/error.h"
#include "ui/vnc.h"

bool vnc_open(Machine *machine, const char *text, GError **error)
{
    error_set(error, "this build has no VNC server; build it with libnettle (package nettle-dev)");
    return false;
}

void vnc_close(Machine *machine)
{
}

struct json_object *vnc_query(Machine *machine)
{
    struct json_object *json = json_object_new_object();

    json_object_object_add(json, "enabled", json_object_new_boolean(false));
    return json;
}

bool vnc_set_password(Machine *machine, const char *password, GError **error)
{
    error_set(error, "this build has no VNC server");
    return false;
}

bool vnc_expire_password(Machine *machine, int64_t when, GError **error)
{
    return vnc_set_password(machine, "", error);
}
