/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network back ends of the machine: netdev_add, netdev_del, set_link and `info network`. */
#include <inttypes.h>
#include <string.h>

#include "core/error.h"
#include "monitor-internal.h"
#include "qmp-commands.h"
#include "net/net.h"

struct json_object *qmp_netdev_add(Machine *m, struct json_object *args, GError **error)
{
    net_new(m, args, error);
    return NULL;
}

struct json_object *qmp_netdev_del(Machine *m, struct json_object *args, GError **error)
{
    net_del(m, json_member_str(args, "id"), error);
    return NULL;
}

struct json_object *qmp_set_link(Machine *m, struct json_object *args, GError **error)
{
    const char *name = json_member_str(args, "name");
    NetBackend *net = net_find(m, name);
    struct json_object *up;

    if (!net) {
        g_set_error(error, MPQEMU_ERROR, ERR_DEVICE_NOT_FOUND, "set_link: no netdev '%s'", name);
        return NULL;
    }
    json_object_object_get_ex(args, "up", &up);
    net_set_link(net, json_object_get_boolean(up));
    return NULL;
}

static void network_print(NetBackend *net, const char *text, void *opaque)
{
    const NetStats *s = net_stats(net);

    g_string_append_printf(opaque,
                           "%s\n   link %s; out %" PRIu64 " frames, %" PRIu64 " bytes, %" PRIu64
                           " dropped; in %" PRIu64 " frames, %" PRIu64 " bytes, %" PRIu64 " dropped\n",
                           text, net_link_up(net) ? "up" : "down", s->tx_frames, s->tx_bytes, s->tx_dropped,
                           s->rx_frames, s->rx_bytes, s->rx_dropped);
}

static void hmp_info_network(Machine *m, const char *args, GString *out)
{
    net_each(m, network_print, out);
    if (!out->len) {
        g_string_append(out, "no network back ends\n");
    }
}

static void hmp_netdev_add(Machine *m, const char *args, GString *out)
{
    GError *error = NULL;
    struct json_object *opts = net_opts_parse("netdev_add", args, &error);

    if (opts) {
        net_new(m, opts, &error);
        json_object_put(opts);
    }
    if (error) {
        hmp_error(out, error);
    }
}

static void hmp_netdev_del(Machine *m, const char *args, GString *out)
{
    GError *error = NULL;

    if (!net_del(m, args, &error)) {
        hmp_error(out, error);
    }
}

static void hmp_set_link(Machine *m, const char *args, GString *out)
{
    g_auto(GStrv) words = g_strsplit(args, " ", 2);
    NetBackend *net = words[0] ? net_find(m, words[0]) : NULL;
    bool up = words[0] && words[1] && strcmp(words[1], "on") == 0;

    if (!net || (!up && (!words[1] || strcmp(words[1], "off") != 0))) {
        g_string_append(out, net ? "set_link: on or off\n" : "set_link: no such netdev\n");
        return;
    }
    net_set_link(net, up);
}

const HmpCommand hmp_net_table[] = {
    {.name = "info network", .args = "", .doc = "network back ends and their cards", .run = hmp_info_network},
    {.name = "netdev_add",
     .args = "TYPE,id=ID[,...]",
     .doc = "make a network back end",
     .run = hmp_netdev_add},
    {.name = "netdev_del", .args = "ID", .doc = "remove a network back end", .run = hmp_netdev_del},
    {.name = "set_link",
     .args = "ID on|off",
     .doc = "plug or pull the cable of a netdev",
     .run = hmp_set_link},
    {.name = NULL},
};
