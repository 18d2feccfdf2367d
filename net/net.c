/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network back ends: making and finding them, the queues in both directions, the link. */
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "net-internal.h"

/* Frames that may wait, in each direction. */
#define NET_QUEUE_LEN 256

static const NetType *const net_types[] = {
#ifdef CONFIG_SLIRP
    &net_type_user,
#endif
    &net_type_tap,  &net_type_socket, &net_type_stream, &net_type_dgram, NULL,
};

/* --- the object --- */

static void net_close(NetBackend *net)
{
    if (!net->type) {
        return;
    }
    net->type->close(net);
    g_clear_pointer(&net->own, g_free);
    net->type = NULL;
}

static bool net_info_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    error_set(error, "%s: property '%s' is read-only", obj->id, prop->name);
    return false;
}

static struct json_object *net_info_format(Object *obj, const Prop *prop)
{
    NetBackend *net = (NetBackend *)obj;

    return json_object_new_string(net->info ? net->info : "");
}

/* What the object owns goes with this property, so that the tree may be freed without knowing about us. */
static void net_info_clear(Object *obj, const Prop *prop)
{
    NetBackend *net = (NetBackend *)obj;

    net_close(net);
    g_clear_pointer(&net->info, g_free);
}

static const PropType net_prop_info = {.name = "str",
                                       .parse = net_info_parse,
                                       .format = net_info_format,
                                       .clear = net_info_clear,
                                       .field_size = sizeof(char *)};

static const Prop net_props[] = {
    {.name = "info",
     .type = &net_prop_info,
     .offset = offsetof(NetBackend, info),
     .flags = PROP_READONLY,
     .doc = "what the frames come from and go to"},
    PROP_END,
};

static const ObjectModel net_backend_model = {
    .model = {.name = "netdev",
              .doc = "A network back end, made by -netdev.",
              .kind = MODEL_OBJECT,
              .size = sizeof(NetBackend),
              .props = net_props,
              .internal = true},
};

static Object *net_container(Machine *machine)
{
    return object_container(machine->root, "netdevs");
}

/* --- options --- */

const char *net_opt_str(struct json_object *opts, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(opts, key, &value) ? json_object_get_string(value) : NULL;
}

bool net_opt_bool(struct json_object *opts, const char *key, bool def, bool *val, GError **error)
{
    const char *text = net_opt_str(opts, key);
    static const char *const yes[] = {"on", "yes", "true", "y", NULL}, *const no[] = {"off", "no", "false",
                                                                                      "n", NULL};

    *val = text ? g_strv_contains(yes, text) : def;
    if (text && !*val && !g_strv_contains(no, text)) {
        error_set(error, "'%s' must be on or off (%s)", key, text);
        return false;
    }
    return true;
}

bool net_split_host_port(const char *key, const char *text, char **host, uint16_t *port, GError **error)
{
    const char *colon = strrchr(text, ':');
    char *end;
    guint64 number = colon ? g_ascii_strtoull(colon + 1, &end, 10) : 0;
    bool brackets = text[0] == '[' && colon && colon > text && colon[-1] == ']';

    if (!colon || !g_ascii_isdigit(colon[1]) || *end || number > UINT16_MAX) {
        error_set(error, "'%s' must be HOST:PORT (%s, port allowed 0..65535)", key, text);
        return false;
    }
    *host =
        brackets ? g_strndup(text + 1, (gsize)(colon - text - 2)) : g_strndup(text, (gsize)(colon - text));
    *port = (uint16_t)number;
    return true;
}

/* The item of an option list that begins at *pos, ",," folded by opts_parse(); *pos moves past the comma. */
static char *net_next_item(const char **pos)
{
    const char *p = *pos;
    char *item;

    while (*p && !(p[0] == ',' && p[1] != ',')) {
        p += p[0] == ',' ? 2 : 1;
    }
    item = g_strndup(*pos, (gsize)(p - *pos));
    *pos = *p ? p + 1 : p;
    return item;
}

struct json_object *net_opts_parse(const char *where, const char *text, GError **error)
{
    static const char *const lists[] = {"hostfwd", "dnssearch", NULL};
    g_autoptr(GString) single = g_string_new(NULL);
    struct json_object *gathered, *opts;
    const char *pos = text;

    if (text[strspn(text, " \t\r\n")] == '{') {
        return opts_parse(where, text, "type", error);
    }
    gathered = json_object_new_object();
    while (*pos) {
        g_autofree char *item = net_next_item(&pos);
        g_autofree char *key = g_strndup(item, strcspn(item, "="));

        if (!g_strv_contains(lists, key) || !item[strlen(key)]) {
            g_string_append_printf(single, "%s%s", single->len ? "," : "", item);
            continue;
        }
        if (!json_object_object_get_ex(gathered, key, &opts)) {
            opts = json_object_new_array();
            json_object_object_add(gathered, key, opts);
        }
        json_object_array_add(opts, json_object_new_string(item + strlen(key) + 1));
    }
    opts = opts_parse(where, single->str, "type", error);
    if (opts) {
        json_object_object_foreach(gathered, name, list)
        {
            json_object_object_add(opts, name, json_object_get(list));
        }
    }
    json_object_put(gathered);
    return opts;
}

static const NetType *net_find_type(const char *name, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (size_t i = 0; net_types[i]; i++) {
        if (name && strcmp(net_types[i]->name, name) == 0) {
            return net_types[i];
        }
        g_string_append_printf(names, "%s%s", i ? ", " : "", net_types[i]->name);
    }
    error_set(error, "-netdev: %s type (%s, allowed: %s)", name ? "unknown" : "no", name ? name : "-",
              names->str);
    return NULL;
}

static bool net_check_keys(const NetType *type, struct json_object *opts, GError **error)
{
    json_object_object_foreach(opts, key, value)
    {
        (void)value;
        if (strcmp(key, "type") != 0 && strcmp(key, "id") != 0 && !g_strv_contains(type->keys, key)) {
            g_autofree char *allowed = g_strjoinv(", ", (char **)type->keys);

            error_set(error, "-netdev %s: unknown option '%s' (allowed: id, %s)", type->name, key, allowed);
            return false;
        }
    }
    return true;
}

/* --- making and finding --- */

static void net_rx_run(void *opaque);

NetBackend *net_new(Machine *machine, struct json_object *opts, GError **error)
{
    const NetType *type = net_find_type(net_opt_str(opts, "type"), error);
    const char *id = net_opt_str(opts, "id");
    NetBackend *net;

    if (!type || !net_check_keys(type, opts, error)) {
        return NULL;
    }
    if (!id) {
        error_set(error, "-netdev %s: no id given; add id=NAME", type->name);
        return NULL;
    }
    net = (NetBackend *)object_new(&net_backend_model.model, machine, net_container(machine), id, error);
    if (!net) {
        g_prefix_error(error, "-netdev %s: ", type->name);
        return NULL;
    }
    net->own = g_malloc0(type->size);
    net->queues = 1;
    for (unsigned i = 0; i < NET_QUEUES_MAX; i++) {
        net->queue[i] = (NetQueue){.net = net, .index = i, .rx = G_QUEUE_INIT, .tx = G_QUEUE_INIT};
    }
    if (!type->open(net, opts, error)) {
        g_prefix_error(error, "-netdev %s,id=%s: ", type->name, id);
        g_clear_pointer(&net->own, g_free);
        object_free(&net->obj);
        return NULL;
    }
    net->type = type;
    return net;
}

NetBackend *net_find(Machine *machine, const char *id)
{
    return (NetBackend *)object_child(net_container(machine), id);
}

bool net_del(Machine *machine, const char *id, GError **error)
{
    NetBackend *net = net_find(machine, id);

    if (!net) {
        g_set_error(error, MPQEMU_ERROR, ERR_DEVICE_NOT_FOUND, "netdev_del: no netdev '%s'", id);
        return false;
    }
    if (net->user) {
        error_set(error, "netdev_del: '%s' is used by device '%s'; device_del it first", id,
                  net->user->obj.id);
        return false;
    }
    object_free(&net->obj);
    return true;
}

void net_each(Machine *machine, void (*fn)(NetBackend *net, const char *text, void *opaque), void *opaque)
{
    Object *all = net_container(machine);

    for (guint i = 0; all->children && i < all->children->len; i++) {
        NetBackend *net = g_ptr_array_index(all->children, i);
        g_autoptr(GString) text = g_string_new(net->info);

        if (net->user) {
            const uint8_t *mac = net->mac;

            g_string_append_printf(text, "\n \\ %s: model=%s,macaddr=%02x:%02x:%02x:%02x:%02x:%02x",
                                   net->user->obj.id, net->user->obj.model->name, mac[0], mac[1], mac[2],
                                   mac[3], mac[4], mac[5]);
        }
        fn(net, text->str, opaque);
    }
}

const char *net_id(const NetBackend *net)
{
    return net->obj.id;
}

const NetStats *net_stats(const NetBackend *net)
{
    return &net->stats;
}

/* --- cards --- */

static void net_configure(NetBackend *net)
{
    if (net->type->configure) {
        net->type->configure(net);
    }
}

static void net_wake(void *opaque)
{
    NetBackend *net = opaque;

    for (unsigned i = 0; i < net->queues; i++) {
        loop_bh_schedule(net->queue[i].rx_bh);
    }
}

bool net_attach(NetBackend *net, Device *user, EventLoop *loop, const NetFrontend *frontend, void *opaque,
                const uint8_t *mac, GError **error)
{
    if (net->user) {
        error_set(error, "netdev '%s' is used by device '%s' already", net->obj.id, net->user->obj.id);
        return false;
    }
    net->user = user;
    net->loop = loop;
    net->frontend = frontend;
    net->opaque = opaque;
    net->mac = mac;
    net->queues_used = 1;
    net->rx_offloads = 0;
    for (unsigned i = 0; i < net->queues; i++) {
        net->queue[i].rx_bh = loop_bh_new(loop, net_rx_run, &net->queue[i]);
    }
    net->wake = (DeviceWake){.fn = net_wake, .opaque = net};
    device_add_wake(user, &net->wake);
    net->type->start(net);
    net_configure(net);
    return true;
}

void net_detach(NetBackend *net)
{
    net->type->stop(net);
    device_remove_wake(net->user, &net->wake);
    for (unsigned i = 0; i < net->queues; i++) {
        NetQueue *q = &net->queue[i];

        loop_bh_free(q->rx_bh);
        g_queue_clear_full(&q->rx, g_free);
        g_queue_clear_full(&q->tx, g_free);
        q->rx_stopped = false;
    }
    net->user = NULL;
    net->loop = NULL;
    net->frontend = NULL;
}

unsigned net_queues(const NetBackend *net)
{
    return net->queues;
}

void net_set_queues(NetBackend *net, unsigned queues)
{
    if (net->queues_used != queues) {
        net->queues_used = queues;
        net_configure(net);
    }
}

unsigned net_rx_offloads(const NetBackend *net)
{
    return net->offloads ? NET_RX_CSUM | NET_RX_TSO4 | NET_RX_TSO6 | NET_RX_ECN : 0;
}

void net_set_rx_offloads(NetBackend *net, unsigned offloads)
{
    if (net->rx_offloads != offloads) {
        net->rx_offloads = offloads;
        net_configure(net);
    }
}

bool net_link_up(const NetBackend *net)
{
    return !net->link_down;
}

/* Takes the lock of the card's loop, which comes before the main loop's. */
static EventLoop *net_enter(NetBackend *net)
{
    EventLoop *main_loop = net->obj.machine->main_loop, *loop = net->loop ? net->loop : main_loop;
    unsigned depth = loop == main_loop ? 0 : loop_release(main_loop);

    loop_lock(loop);
    loop_reacquire(main_loop, depth);
    return loop;
}

void net_set_link(NetBackend *net, bool up)
{
    EventLoop *loop = net_enter(net);

    if (net->link_down == up) {
        net->link_down = !up;
        if (net->frontend && net->frontend->link_changed) {
            net->frontend->link_changed(net->opaque, up);
        }
    }
    loop_unlock(loop);
}

void net_load_link(NetBackend *net, bool up)
{
    net->link_down = !up;
}

/* --- frames --- */

static NetFrame *net_frame_new(const void *data, size_t len, const NetOffload *offload)
{
    NetFrame *frame = g_malloc(sizeof(*frame) + len);

    frame->offload = offload ? *offload : (NetOffload){0};
    frame->len = len;
    memcpy(frame->data, data, len);
    return frame;
}

bool net_rx_full(NetBackend *net, unsigned queue)
{
    NetQueue *q = &net->queue[queue];

    q->rx_stopped |= g_queue_get_length(&q->rx) >= NET_QUEUE_LEN || (net->user && device_rests(net->user));
    return q->rx_stopped;
}

static bool net_receive(NetQueue *q, const uint8_t *data, size_t len, const NetOffload *offload)
{
    NetBackend *net = q->net;
    bool taken;

    net->busy = true;
    taken = net->frontend->receive(net->opaque, q->index, data, len, offload);
    net->busy = false;
    net->stats.rx_frames += taken;
    net->stats.rx_bytes += taken ? len : 0;
    return taken;
}

static bool card_takes(const NetQueue *q)
{
    return !device_rests(q->net->user) && q->net->frontend->can_receive(q->net->opaque, q->index);
}

void net_deliver(NetBackend *net, unsigned queue, const void *frame, size_t len, const NetOffload *offload)
{
    const NetOffload none = {0};
    NetQueue *q = &net->queue[queue];

    if (!net->loop || net->link_down) {
        return;
    }
    /* A source that had more in hand when it was told to stop may add some. */
    if (g_queue_get_length(&q->rx) >= 2 * NET_QUEUE_LEN || len > NET_FRAME_MAX) {
        net->stats.rx_dropped++;
        return;
    }
    if (!net->busy && g_queue_is_empty(&q->rx) && card_takes(q) && net_receive(q, frame, len, offload ? offload : &none)) {
        return;
    }
    g_queue_push_tail(&q->rx, net_frame_new(frame, len, offload));
    loop_bh_schedule(q->rx_bh);
}

static void net_rx_run(void *opaque)
{
    NetQueue *q = opaque;
    NetBackend *net = q->net;

    while (net->loop && !g_queue_is_empty(&q->rx) && card_takes(q)) {
        NetFrame *frame = g_queue_peek_head(&q->rx);

        if (!net_receive(q, frame->data, frame->len, &frame->offload)) {
            break;
        }
        g_free(g_queue_pop_head(&q->rx));
    }
    if (net->loop && q->rx_stopped && g_queue_get_length(&q->rx) < NET_QUEUE_LEN / 2 && !device_rests(net->user)) {
        q->rx_stopped = false;
        net->type->resume(net, q->index);
    }
}

void net_can_receive(NetBackend *net, unsigned queue)
{
    NetQueue *q = &net->queue[queue];

    if (net->loop && !g_queue_is_empty(&q->rx)) {
        loop_bh_schedule(q->rx_bh);
    }
}

/* NetBackend.busy is set: what the type gives back at once goes to the card later. */
static NetSendResult net_type_send(NetQueue *q, const uint8_t *frame, size_t len, const NetOffload *offload)
{
    bool busy = q->net->busy;
    NetSendResult result;

    q->net->busy = true;
    result = q->net->type->send(q->net, q->index, frame, len, offload);
    q->net->busy = busy;
    return result;
}

static void net_queue_frame(NetQueue *q, const uint8_t *frame, size_t len, const NetOffload *offload)
{
    NetBackend *net = q->net;

    net->stats.tx_frames++;
    net->stats.tx_bytes += len;
    if (g_queue_is_empty(&q->tx) && net_type_send(q, frame, len, offload) == NET_SENT) {
        return;
    }
    if (g_queue_get_length(&q->tx) >= NET_QUEUE_LEN) {
        net->stats.tx_dropped++;
        return;
    }
    g_queue_push_tail(&q->tx, net_frame_new(frame, len, offload));
}

static void net_send_segment(void *opaque, const uint8_t *frame, size_t len)
{
    net_queue_frame(opaque, frame, len, &(NetOffload){0});
}

bool net_send(NetBackend *net, unsigned queue, const void *frame, size_t len, const NetOffload *offload)
{
    static const NetOffload none;
    NetQueue *q = &net->queue[queue];

    if (!net->loop || net->link_down || !len || len > NET_FRAME_MAX) {
        return true;
    }
    if (!offload || net->offloads || (!(offload->flags & NET_OFFLOAD_NEEDS_CSUM) && !offload->gso_type)) {
        net_queue_frame(q, frame, len, offload && net->offloads ? offload : &none);
        return true;
    }
    return net_segment(frame, len, offload, net->type->big_frames, net_send_segment, q);
}

void net_tx_ready(NetBackend *net, unsigned queue)
{
    NetQueue *q = &net->queue[queue];

    while (!g_queue_is_empty(&q->tx)) {
        NetFrame *frame = g_queue_peek_head(&q->tx);

        if (net_type_send(q, frame->data, frame->len, &frame->offload) == NET_BUSY) {
            return;
        }
        g_free(g_queue_pop_head(&q->tx));
    }
}

/* --- netdev= and mac= of cards --- */

static bool net_prop_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    const char *id = json_object_get_string(value);
    NetBackend *net = id ? net_find(obj->machine, id) : NULL;

    if (!net) {
        error_set(error, "%s: property '%s': no netdev '%s'; add -netdev TYPE,id=%s", obj->model->name,
                  prop->name, id ? id : "", id ? id : "NAME");
        return false;
    }
    *(NetBackend **)((char *)obj + prop->offset) = net;
    return true;
}

static struct json_object *net_prop_format(Object *obj, const Prop *prop)
{
    NetBackend *net = *(NetBackend **)((char *)obj + prop->offset);

    return json_object_new_string(net ? net->obj.id : "");
}

const PropType prop_netdev = {
    .name = "str", .parse = net_prop_parse, .format = net_prop_format, .field_size = sizeof(NetBackend *)};

static bool mac_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    const char *text = json_object_get_string(value);
    uint8_t mac[NET_MAC_LEN];
    int used = 0;

    if (!text ||
        sscanf(text, "%2hhx%*1[:-]%2hhx%*1[:-]%2hhx%*1[:-]%2hhx%*1[:-]%2hhx%*1[:-]%2hhx%n", &mac[0], &mac[1],
               &mac[2], &mac[3], &mac[4], &mac[5], &used) != NET_MAC_LEN ||
        strlen(text) != 17 || used != 17 || mac[0] & 1) {
        error_set(error, "%s: property '%s': not the address of one card (%s, allowed xx:xx:xx:xx:xx:xx)",
                  obj->model->name, prop->name, text ? text : "null");
        return false;
    }
    memcpy((char *)obj + prop->offset, mac, sizeof(mac));
    return true;
}

static struct json_object *mac_format(Object *obj, const Prop *prop)
{
    const uint8_t *mac = (const uint8_t *)obj + prop->offset;
    char text[3 * NET_MAC_LEN];

    snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
             mac[5]);
    return json_object_new_string(text);
}

const PropType prop_mac = {
    .name = "str", .parse = mac_parse, .format = mac_format, .field_size = NET_MAC_LEN};

typedef struct MacSearch {
    const uint8_t *mac;
    bool taken;
} MacSearch;

static void mac_compare(NetBackend *net, const char *text, void *opaque)
{
    MacSearch *search = opaque;

    search->taken |= net->user && memcmp(net->mac, search->mac, NET_MAC_LEN) == 0;
}

void net_default_mac(Machine *machine, uint8_t mac[NET_MAC_LEN])
{
    static const uint8_t none[NET_MAC_LEN], first[NET_MAC_LEN] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
    MacSearch search = {mac, true};

    if (memcmp(mac, none, NET_MAC_LEN) != 0) {
        return;
    }
    memcpy(mac, first, NET_MAC_LEN);
    for (search.taken = false; net_each(machine, mac_compare, &search), search.taken; search.taken = false) {
        mac[5]++;
        mac[4] = (uint8_t)(mac[4] + !mac[5]);
    }
}
