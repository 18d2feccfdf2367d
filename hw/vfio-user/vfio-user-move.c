/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What only a socket can do when machines move: a client leaves its server to another client, which takes the device where it
 * was; and a device goes from a server to another under a guest that runs.  All the rest of a move is hw/vfio/vfio-migration.c.
 *
 * In both cases the device is started again in its place with another connection, gets the state that its server gave before
 * (vfio-user: MIG_DATA_READ, MIG_DATA_WRITE), and then its own: it is what a new process would do.  When there is no server to be
 * had it is vacant, keeps both states, and tries again when it is told to run.
 */
#include <string.h>

#include "hw/vfio-user/vfio-user.h"

#define FAR_MAX      (1u << 30)
#define RUN_TRIES    40
#define RUN_PAUSE_US 50000

static VfioUserPci *of_device(Device *d)
{
    return (VfioUserPci *)d;
}

/* --- states --- */

static void forget(GByteArray **data)
{
    g_clear_pointer(data, g_byte_array_unref);
}

static void save_own(VfioUserPci *dev)
{
    forget(&dev->move.own);
    dev->move.own = g_byte_array_new();
    device_save(&dev->base.pci.dev, dev->move.own);
}

static void keep_far(VfioUserPci *dev, const GByteArray *data)
{
    dev->move.far = dev->move.far ? dev->move.far : g_byte_array_new();
    g_byte_array_append(dev->move.far, data->data, data->len);
}

void vfio_user_move_clear(VfioUserPci *dev)
{
    forget(&dev->move.far);
    forget(&dev->move.own);
    vfio_user_link_free(g_steal_pointer(&dev->move.next));
    vfio_user_link_free(g_steal_pointer(&dev->move.left));
    dev->move = (VfioUserMove){0};
}

/* --- another connection --- */

static bool restart(VfioUserPci *dev, GError **error)
{
    bool ok;

    dev->move.restarting = true;
    ok = device_restart(&dev->base.pci.dev, error);
    dev->move.restarting = false;
    dev->base.migration = (VfioMigration){0};
    return ok;
}

static void vacate(VfioUserPci *dev)
{
    dev->move.vacate = true;
    restart(dev, NULL); /* which needs nobody */
    dev->move.vacate = false;
}

/* What the server, which the device was just started with, has of the state already. */
static guint has_already(VfioUserPci *dev)
{
    g_autofree struct vfio_device_feature *f = g_malloc0(sizeof(*f) + sizeof(struct vfio_device_feature_mig_state));
    struct vfio_device_feature_mig_state *state = (struct vfio_device_feature_mig_state *)(void *)f->data;
    size_t size = sizeof(*f) + sizeof(*state);

    f->argsz = (uint32_t)size;
    f->flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
    if (!dev->link->sent || vfio_user_device_feature(&dev->base.vdev, f, size) ||
        state->device_state != VFIO_DEVICE_STATE_RESUMING) {
        return 0; /* its reset took it out of that */
    }
    dev->base.migration.state = VFIO_DEVICE_STATE_RESUMING;
    return dev->link->sent;
}

/* Who had the device last lets go of its disks when it sees the hang-up, which may be a moment after that. */
static bool run_patiently(Device *d, GError **error)
{
    EventLoop *main_loop = d->obj.machine->main_loop;
    GError *cause = NULL;
    unsigned depth;

    for (unsigned tries = 0; !vfio_pci_move.run(d, &cause); tries++) {
        if (__atomic_load_n(&of_device(d)->base.vdev.broken, __ATOMIC_RELAXED) || tries == RUN_TRIES) {
            g_propagate_error(error, cause);
            return false;
        }
        g_clear_error(&cause);
        depth = loop_release(main_loop);
        g_usleep(RUN_PAUSE_US);
        loop_reacquire(main_loop, depth);
    }
    return true;
}

/* The device was just started: it gets both its states, and runs. */
static bool settle(VfioUserPci *dev, GError **error)
{
    Device *d = &dev->base.pci.dev;
    const GByteArray *far = dev->move.far, *own = dev->move.own;
    guint done = has_already(dev);
    size_t offset = 0;

    if (!vfio_pci_move.load(d, far->data + done, far->len - done, error) ||
        !device_load(d, own->data, own->len, &offset, error) || !vfio_pci_move.loaded(d, error) ||
        !run_patiently(d, error)) {
        return false;
    }
    forget(&dev->move.far);
    forget(&dev->move.own);
    dev->move.let_go = false;
    return true;
}

static bool find_server(VfioUserPci *dev, GError **error)
{
    if (restart(dev, error) && settle(dev, error)) {
        return true;
    }
    vacate(dev);
    return false;
}

/* --- the client moves, its server stays --- */

static bool user_possible(Device *d, GError **error)
{
    VfioUserPci *dev = of_device(d);

    return (dev->vacant && dev->takeover && d->obj.machine->incoming) || vfio_pci_move.possible(d, error);
}

static bool user_begin(Device *d, GByteArray *head, GError **error)
{
    VfioUserPci *dev = of_device(d);
    bool ok = vfio_pci_move.begin(d, head, error);

    forget(&dev->move.far);
    keep_far(dev, head);
    return ok;
}

static bool user_sync(Device *d, GError **error)
{
    return of_device(d)->move.let_go || vfio_pci_move.sync(d, error);
}

static bool user_stop(Device *d, GError **error)
{
    return vfio_pci_move.stop(d, error);
}

static bool user_save(Device *d, GByteArray *out, GError **error)
{
    bool ok = vfio_pci_move.save(d, out, error);

    keep_far(of_device(d), out);
    return ok;
}

/* The hang-up resets the device there, and lets the next client in; what is lost with it is in the stream. */
static void user_let_go(Device *d)
{
    VfioUserPci *dev = of_device(d);

    save_own(dev);
    dev->move.let_go = true;
    proxy_shutdown(dev->proxy);
    vfio_pci_lost(&dev->base);
}

static bool user_run(Device *d, GError **error)
{
    VfioUserPci *dev = of_device(d);

    if (dev->move.own) {
        return find_server(dev, error);
    }
    forget(&dev->move.far);
    return vfio_pci_move.run(d, error);
}

static bool user_load(Device *d, const uint8_t *data, size_t len, GError **error)
{
    VfioUserPci *dev = of_device(d);
    const GByteArray part = {(guint8 *)data, (guint)len};

    if (!dev->vacant) {
        return vfio_pci_move.load(d, data, len, error);
    }
    if (len > FAR_MAX - (dev->move.far ? dev->move.far->len : 0)) {
        error_set(error, "the stream has more than %u bytes of its server's state", FAR_MAX);
        return false;
    }
    keep_far(dev, &part);
    return true;
}

static bool user_take(Device *d, GError **error)
{
    VfioUserPci *dev = of_device(d);
    bool ok;

    if (!dev->vacant) {
        return true;
    }
    if (!dev->move.far) {
        error_set(error, "the stream has no state of its server");
        return false;
    }
    dev->move.arrived = true;
    ok = restart(dev, error);
    if (!ok) {
        g_prefix_error(error, "takeover: its server cannot be had (the source lets go of it with the capability x-keep-servers): ");
        vacate(dev);
        return false;
    }
    ok = vfio_pci_move.load(d, dev->move.far->data, dev->move.far->len, error);
    forget(&dev->move.far);
    return ok;
}

static bool user_loaded(Device *d, GError **error)
{
    return vfio_pci_move.loaded(d, error);
}

/* --- the server moves alone --- */

typedef struct Met {
    VfioUserPci *dev;
    bool held; /* it does not go.  Who removes it waits for that */
    VfioUserAddress address;
    VfioUserLink *link;
} Met;

static void leave(Met *met)
{
    if (met->held) {
        vfio_pci_leave(&met->dev->base);
        met->held = false;
    }
}

static void user_part(void *opaque)
{
    Met *met = opaque;

    leave(met);
    vfio_user_link_free(met->link);
    vfio_user_address_clear(&met->address);
    g_free(met);
}

static void *user_invite(Device *d, struct json_object *place, GError **error)
{
    VfioUserPci *dev = of_device(d);
    Met *met = g_new0(Met, 1);

    if (!vfio_user_address_parse(&met->address, d->obj.model->name, place, error)) {
        user_part(met);
        return NULL;
    }
    met->dev = dev;
    met->held = !dev->vacant;
    if (met->held) {
        vfio_pci_enter(&dev->base);
    }
    return met;
}

static bool user_meet(void *opaque, GError **error)
{
    Met *met = opaque;

    met->link = vfio_user_link_new(met->dev, &met->address, error);
    if (!met->link) {
        leave(met);
    }
    return met->link;
}

/* Shows the other server what the state begins with: it may refuse before the guest notices anything. */
static int show_head(VfioUserPci *dev, Met *met)
{
    EventLoop *main_loop = dev->base.pci.dev.obj.machine->main_loop;
    unsigned depth = loop_release(main_loop);
    int err = vfio_user_link_set_state(met->link, VFIO_DEVICE_STATE_RESUMING);

    err = err ? err : vfio_user_link_write_state(met->link, dev->move.far->data, dev->move.far->len);
    loop_reacquire(main_loop, depth);
    return err;
}

static bool offer(VfioUserPci *dev, Met *met, GError **error)
{
    Device *d = &dev->base.pci.dev;
    g_autoptr(GByteArray) head = g_byte_array_new();
    int err;

    if (!vfio_pci_move.possible(d, error)) {
        return false;
    }
    if (!user_begin(d, head, error)) {
        user_run(d, NULL);
        return false;
    }
    err = show_head(dev, met);
    if (err) {
        error_set_errno(error, err, "the other server refuses the device; what it says itself names the cause");
        user_run(d, NULL);
    }
    return !err;
}

static bool user_offer(Device *d, void *opaque, GError **error)
{
    VfioUserPci *dev = of_device(d);
    Met *met = opaque;
    bool ok = dev->vacant || offer(dev, met, error); /* else there is nothing to fall back to */

    if (ok && !dev->vacant && dev->base.stopping) {
        error_set(error, "the device was unplugged meanwhile");
        ok = false;
    }
    leave(met);
    return ok;
}

/* The device rests, and its server can be left: in RESUMING it does as told again, should it be needed. */
static bool come_to_rest(VfioUserPci *dev, GError **error)
{
    Device *d = &dev->base.pci.dev;
    g_autoptr(GByteArray) rest = g_byte_array_new();
    EventLoop *main_loop = d->obj.machine->main_loop;
    unsigned depth;

    if (!user_stop(d, error) || !user_save(d, rest, error)) {
        user_run(d, NULL);
        return false;
    }
    save_own(dev);
    depth = loop_release(main_loop);
    dev->move.keep = vfio_user_link_set_state(dev->link, VFIO_DEVICE_STATE_RESUMING) == 0;
    loop_reacquire(main_loop, depth);
    return true;
}

static bool go_over(VfioUserPci *dev, Met *met, GError **error)
{
    bool ok;

    dev->move.next = g_steal_pointer(&met->link);
    ok = restart(dev, error) && settle(dev, error);
    dev->move.keep = false;
    return ok;
}

static bool user_hand_over(Device *d, void *opaque, uint64_t *bytes, bool *lost, GError **error)
{
    VfioUserPci *dev = of_device(d);
    Met *met = opaque;
    GError *again = NULL;
    bool ok = dev->vacant || come_to_rest(dev, error);

    if (!ok) {
        return false;
    }
    *bytes = dev->move.far->len;
    ok = go_over(dev, met, error);
    if (ok) {
        const VfioUserAddress old = dev->socket;

        dev->socket = met->address;
        met->address = old;
        vfio_user_link_free(g_steal_pointer(&dev->move.left));
    } else {
        dev->move.next = g_steal_pointer(&dev->move.left);
        *lost = !find_server(dev, &again);
    }
    if (again) {
        g_prefix_error(error, "its server cannot be had again (%s), the other one neither: ", again->message);
        g_error_free(again);
    }
    return ok;
}

const MoveOps vfio_user_move = {
    .possible = user_possible,
    .begin = user_begin,
    .sync = user_sync,
    .stop = user_stop,
    .save = user_save,
    .load = user_load,
    .loaded = user_loaded,
    .run = user_run,
    .let_go = user_let_go,
    .take = user_take,
    .invite = user_invite,
    .meet = user_meet,
    .offer = user_offer,
    .hand_over = user_hand_over,
    .part = user_part,
};
