/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The state of a served function on its way to another server (vfio-user: device states, MIG_DATA_READ, MIG_DATA_WRITE):
 *
 *   head  section "served device": model and properties; readable in PRE_COPY, so that the other side refuses early
 *   rest  section "server": clock, waiting interrupts, values of shared doorbells; then the sections of the device and of
 *         those on it (namespaces, disks)
 *
 * The device is saved when it is stopped, and nothing that happens to it here after that is part of what moves.  What only one
 * process may use, its disks, is given up with STOP_COPY and taken with RUNNING.
 */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "hw/remote/vfu-server.h"

#define HEAD_MAX  (1u << 20)
#define STATE_MAX (512u << 20)

/* --- sections --- */

typedef struct VfuHead {
    char *text; /* JSON */
    uint32_t len;
} VfuHead;

static const StateField head_fields[] = {
    {.name = "device", .kind = STATE_BUFFER, .offset = offsetof(VfuHead, text), .count = HEAD_MAX,
     .len_offset = offsetof(VfuHead, len)},
    STATE_END,
};
static const StateTable head_state = {.name = "served-device", .version = 1, .fields = head_fields};

typedef struct VfuRest {
    RemoteSlot slot;
    uint64_t clock; /* virtual, ns */
    uint8_t *bells;
    uint32_t bells_len;
} VfuRest;

static const StateField rest_fields[] = {
    STATE_FIELD_UINT(VfuRest, clock),
    STATE_FIELD_STRUCT(VfuRest, slot, &remote_slot_state),
    {.name = "doorbells", .kind = STATE_BUFFER, .offset = offsetof(VfuRest, bells), .count = 1u << 20,
     .len_offset = offsetof(VfuRest, bells_len)},
    STATE_END,
};
static const StateTable rest_state = {.name = "server", .version = 1, .fields = rest_fields};

typedef struct Parts {
    Device *top;
    GPtrArray *list;
} Parts;

static void add_part(Device *dev, void *opaque)
{
    Parts *p = opaque;

    for (const Device *d = dev; d; d = d->upstream) {
        if (d == p->top) {
            g_ptr_array_add(p->list, dev);
            return;
        }
    }
}

/* The function and the devices on it, in the order of their start.  Free with g_ptr_array_free. */
static GPtrArray *parts_of(VfuServer *s)
{
    Parts p = {&s->dev->dev, g_ptr_array_new()};
    Machine *m = s->obj.machine;

    loop_lock(m->main_loop);
    machine_each_device(m, add_part, &p);
    loop_unlock(m->main_loop);
    return p.list;
}

static bool each_part(VfuServer *s, bool (*fn)(Device *dev, GError **error), GError **error)
{
    g_autoptr(GPtrArray) parts = parts_of(s);

    for (guint i = 0; i < parts->len; i++) {
        if (!fn(parts->pdata[i], error)) {
            return false;
        }
    }
    return true;
}

static int64_t clock_here(const VfuServer *s)
{
    return clock_now(s->obj.machine->clocks, CLOCK_KIND_VIRTUAL);
}

/* What has to be the same on both sides: the model, and all that was said of it but for what stands behind it. */
static struct json_object *describe_part(Device *dev)
{
    Object *obj = &dev->obj;
    struct json_object *all = json_object_new_object();

    json_object_object_add(all, "model", json_object_new_string(obj->model->name));
    for (const Prop *p = obj->model->props; p && p->name; p++) {
        struct json_object *value = p->flags & PROP_READONLY || p->type->link ? NULL : object_get(obj, p->name, NULL);

        if (value) {
            json_object_object_add(all, p->name, value);
        }
    }
    return all;
}

static struct json_object *describe(VfuServer *s)
{
    g_autoptr(GPtrArray) parts = parts_of(s);
    struct json_object *all = json_object_new_object();

    for (guint i = 0; i < parts->len; i++) {
        Device *dev = parts->pdata[i];

        json_object_object_add(all, dev->obj.id, describe_part(dev));
    }
    return all;
}

/* u32 length, section. */
static void save_head(VfuServer *s, GByteArray *out)
{
    struct json_object *all = describe(s);
    VfuHead head = {.text = g_strdup(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PLAIN))};
    uint32_t le = 0;

    head.len = (uint32_t)strlen(head.text);
    g_byte_array_append(out, (const guint8 *)&le, sizeof(le));
    state_save(&head_state, &head, "served device", out);
    le = GUINT32_TO_LE(out->len - (guint)sizeof(le));
    memcpy(out->data, &le, sizeof(le));
    g_free(head.text);
    json_object_put(all);
}

static void save_rest(VfuServer *s, GByteArray *out)
{
    VfuRest rest = {.clock = (uint64_t)clock_here(s),
                    .bells = (uint8_t *)s->dev->doorbells.values,
                    .bells_len = (uint32_t)vfu_server_doorbell_bytes(s)};
    g_autoptr(GByteArray) device = g_byte_array_new();
    g_autoptr(GPtrArray) parts = parts_of(s);

    /* First: it ends what is under way, which may leave interrupts waiting. */
    for (guint i = 0; i < parts->len; i++) {
        device_save(parts->pdata[i], device);
    }
    rest.slot = *s->slot;
    state_save(&rest_state, &rest, "server", out);
    g_byte_array_append(out, device->data, device->len);
}

/* --- the other side's --- */

static bool compare_part(const char *id, struct json_object *theirs, struct json_object *ours, GError **error)
{
    json_object_object_foreach(theirs, name, value)
    {
        struct json_object *here = NULL;

        json_object_object_get_ex(ours, name, &here);
        if (!json_object_equal(value, here)) {
            error_set(error, "device '%s': property %s is %s at the source, here it is %s; start this server with the source's "
                      "-device lines", id, name, json_object_to_json_string(value), here ? json_object_to_json_string(here) : "missing");
            return false;
        }
    }
    return true;
}

static bool compare(struct json_object *theirs, struct json_object *ours, GError **error)
{
    if (json_object_object_length(theirs) != json_object_object_length(ours)) {
        error_set(error, "%d devices at the source, here are %d; start this server with the source's -device lines",
                  json_object_object_length(theirs), json_object_object_length(ours));
        return false;
    }
    json_object_object_foreach(theirs, id, part)
    {
        struct json_object *here = NULL;

        json_object_object_get_ex(ours, id, &here);
        if (!json_object_is_type(part, json_type_object) || !here) {
            error_set(error, "device '%s' of the source is missing here; start this server with the source's -device lines", id);
            return false;
        }
        if (!compare_part(id, part, here, error)) {
            return false;
        }
    }
    return true;
}

/* True too while it is not all there. */
static bool check_head(VfuServer *s, GError **error)
{
    VfuMigration *mig = &s->migration;
    VfuHead head = {NULL, 0};
    struct json_object *theirs, *ours;
    size_t offset = sizeof(uint32_t);
    uint32_t len;
    bool ok;

    if (mig->head_good || mig->in->len < sizeof(len)) {
        return true;
    }
    memcpy(&len, mig->in->data, sizeof(len));
    len = GUINT32_FROM_LE(len);
    if (len > HEAD_MAX + 256) {
        error_set(error, "the state does not begin with a description (length %u)", len);
        return false;
    }
    if (mig->in->len - sizeof(len) < len) {
        return true;
    }
    if (!state_load(&head_state, &head, "served device", mig->in->data, sizeof(len) + len, &offset, error)) {
        return false;
    }
    head.text = g_realloc(head.text, head.len + 1);
    head.text[head.len] = '\0';
    theirs = json_tokener_parse(head.text);
    ours = describe(s);
    ok = json_object_is_type(theirs, json_type_object);
    if (!ok) {
        error_set(error, "the state's description is not JSON");
    }
    ok = ok && compare(theirs, ours, error);
    json_object_put(theirs);
    json_object_put(ours);
    g_free(head.text);
    g_byte_array_remove_range(mig->in, 0, (guint)sizeof(len) + len);
    mig->head_good = ok;
    return ok;
}

static bool load_bells(VfuServer *s, const VfuRest *rest, GError **error)
{
    if (rest->bells_len != vfu_server_doorbell_bytes(s)) {
        error_set(error, "%u bytes of doorbells came, here are %zu", rest->bells_len, vfu_server_doorbell_bytes(s));
        return false;
    }
    for (uint32_t n = 0; n < rest->bells_len / sizeof(uint32_t); n++) {
        uint32_t value;

        memcpy(&value, rest->bells + n * sizeof(value), sizeof(value));
        __atomic_store_n(&s->dev->doorbells.values[n], value, __ATOMIC_RELAXED);
    }
    return true;
}

static bool load_parts(VfuServer *s, int64_t shift, size_t *offset, GError **error)
{
    const GByteArray *in = s->migration.in;
    g_autoptr(GPtrArray) parts = parts_of(s);

    for (guint i = 0; i < parts->len; i++) {
        if (!device_load_shifted(parts->pdata[i], in->data, in->len, offset, shift, error)) {
            return false;
        }
    }
    return true;
}

static bool load_rest(VfuServer *s, GError **error)
{
    const GByteArray *in = s->migration.in;
    VfuRest rest = {.slot = *s->slot};
    size_t offset = 0;
    bool ok;

    if (!s->migration.head_good) {
        error_set(error, "the state ends before its description does (%u bytes)", in->len);
        return false;
    }
    ok = state_load(&rest_state, &rest, "server", in->data, in->len, &offset, error) &&
         load_parts(s, clock_here(s) - (int64_t)rest.clock, &offset, error) &&
         load_bells(s, &rest, error);
    if (ok && offset != in->len) {
        error_set(error, "%zu bytes follow the device's state", in->len - offset);
        ok = false;
    }
    if (ok) {
        s->slot->intx_masked = rest.slot.intx_masked;
        s->slot->msi_masked = rest.slot.msi_masked;
        s->slot->msi_waiting = rest.slot.msi_waiting;
        s->slot->undelivered = true;
    }
    g_free(rest.bells);
    return ok;
}

/* --- states --- */

static void forget(VfuServer *s)
{
    VfuMigration *mig = &s->migration;

    g_clear_pointer(&mig->out, g_byte_array_unref);
    g_clear_pointer(&mig->in, g_byte_array_unref);
    mig->out_at = 0;
    mig->head_good = false;
}

static bool begin_out(VfuServer *s)
{
    forget(s);
    s->migration.out = g_byte_array_new();
    save_head(s, s->migration.out);
    return true;
}

static void rest(VfuServer *s, bool on)
{
    g_autoptr(GPtrArray) parts = parts_of(s);

    s->migration.stopped = on;
    for (guint i = 0; i < parts->len; i++) {
        device_set_rest(parts->pdata[i], on);
    }
}

/* What is saved has come to its end.  A device that has just been loaded, and has not run, is saved when it is asked for. */
static bool come_to_rest(VfuServer *s)
{
    if (s->migration.stopped && s->migration.out) {
        return true;
    }
    if (!s->migration.stopped) {
        vfu_server_doorbells_take(s);
        rest(s, true);
    }
    if (!s->migration.out) {
        begin_out(s);
    }
    save_rest(s, s->migration.out);
    return true;
}

static bool release(VfuServer *s, GError **error)
{
    s->migration.released = s->migration.released || each_part(s, device_release_resources, error);
    return s->migration.released;
}

static bool to_resume(VfuServer *s, GError **error)
{
    if (!release(s, error)) {
        return false;
    }
    forget(s);
    rest(s, true);
    s->migration.in = g_byte_array_new();
    return true;
}

/* What was refused is forgotten: another state may come. */
static bool to_stop(VfuServer *s, GError **error)
{
    if (!s->migration.in) {
        return come_to_rest(s);
    }
    if (!load_rest(s, error)) {
        to_resume(s, NULL);
        return false;
    }
    forget(s);
    return true;
}

static bool to_stop_copy(VfuServer *s, GError **error)
{
    come_to_rest(s);
    return release(s, error);
}

static bool to_running(VfuServer *s, GError **error)
{
    if (s->migration.released && !each_part(s, device_claim_resources, error)) {
        return false;
    }
    forget(s);
    s->migration.released = false;
    s->migration.ran = true;
    if (s->migration.stopped) {
        rest(s, false);
        vfu_server_doorbells_take(s);
        remote_iohub_retry(s->slot, s->dev);
    }
    return true;
}

static int fail(VfuServer *s, const char *what, GError *error)
{
    g_printerr("x-vfio-user-server %s: %s: %s\n", s->obj.id, what, error->message);
    g_error_free(error);
    errno = EINVAL;
    return -1;
}

static int transition(vfu_ctx_t *ctx, vfu_migr_state_t state)
{
    VfuServer *s = vfu_get_private(ctx);
    GError *error = NULL;
    bool ok = state == VFU_MIGR_STATE_STOP            ? to_stop(s, &error)
              : state == VFU_MIGR_STATE_STOP_AND_COPY ? to_stop_copy(s, &error)
              : state == VFU_MIGR_STATE_RESUME        ? to_resume(s, &error)
              : state == VFU_MIGR_STATE_PRE_COPY      ? begin_out(s)
                                                      : to_running(s, &error);

    return ok ? 0 : fail(s, "the device's state cannot change", error);
}

static ssize_t read_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    VfuServer *s = vfu_get_private(ctx);
    VfuMigration *mig = &s->migration;
    guint left = mig->out ? mig->out->len - mig->out_at : 0;
    guint n = (guint)MIN(count, left);

    if (n) {
        memcpy(buf, mig->out->data + mig->out_at, n);
        mig->out_at += n;
    }
    return n;
}

static ssize_t write_data(vfu_ctx_t *ctx, void *buf, uint64_t count)
{
    VfuServer *s = vfu_get_private(ctx);
    GError *error = NULL;

    if (!s->migration.in) {
        errno = EINVAL;
        return -1;
    }
    if (count > STATE_MAX - s->migration.in->len) {
        error_set(&error, "more than %u bytes", STATE_MAX);
        return fail(s, "the state that came is refused", error);
    }
    g_byte_array_append(s->migration.in, buf, (guint)count);
    if (!check_head(s, &error)) {
        to_resume(s, NULL);
        return fail(s, "the state that came is refused", error);
    }
    return (ssize_t)count;
}

/* --- life --- */

bool vfu_server_migration_init(VfuServer *s, GError **error)
{
    static const vfu_migration_callbacks_t callbacks = {
        .version = VFU_MIGR_CALLBACKS_VERS, .transition = transition, .read_data = read_data, .write_data = write_data};

    if (vfu_setup_device_migration_callbacks(s->ctx, &callbacks) < 0) {
        error_set_errno(error, errno, "x-vfio-user-server %s: cannot set up migration of %s", s->obj.id, s->device);
        return false;
    }
    rest(s, s->obj.machine->incoming);
    return true;
}

void vfu_server_migration_reset(VfuServer *s)
{
    forget(s);
    rest(s, s->obj.machine->incoming); /* what comes from outside is for the device that is to come */
    /* A process that waits for devices holds no disk without one: the client may be looking for it elsewhere. */
    if (s->obj.machine->incoming) {
        release(s, NULL);
    }
}

void vfu_server_migration_attach(VfuServer *s)
{
    g_autoptr(GError) error = NULL;

    /* Where devices arrive, disks are taken when they have; this may be a client of a device that did, or one that brings it again. */
    if (!s->migration.released || (s->obj.machine->incoming && !s->migration.ran)) {
        return;
    }
    if (each_part(s, device_claim_resources, &error)) {
        s->migration.released = false;
        rest(s, false);
    } else if (!s->obj.machine->incoming) {
        g_printerr("x-vfio-user-server %s: the new client has no disk: %s\n", s->obj.id, error->message);
    }
}
