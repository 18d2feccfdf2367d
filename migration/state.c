/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPUs, devices and clock, to records and back. */
#include "migration/state.h"

#include <json-c/json.h>
#include <string.h>

#include "accel/accel.h"
#include "core/error.h"

/* ns: what is added to it later does not overflow. */
#define CLOCK_MAX (INT64_MAX / 2)

/* --- CPUs --- */

static const StateField seg_fields[] = {STATE_FIELD_UINT(X86SegState, base), STATE_FIELD_UINT(X86SegState, limit),
                                        STATE_FIELD_UINT(X86SegState, selector), STATE_FIELD_UINT(X86SegState, attr),
                                        STATE_END};
static const StateTable seg_state = {.name = "segment", .version = 1, .fields = seg_fields};
static const StateField table_fields[] = {STATE_FIELD_UINT(X86TableState, base), STATE_FIELD_UINT(X86TableState, limit),
                                          STATE_END};
static const StateTable table_state = {.name = "table", .version = 1, .fields = table_fields};

static const StateField event_fields[] = {
    STATE_FIELD_UINT(X86EventState, exception_injected),
    STATE_FIELD_UINT(X86EventState, exception_vector),
    STATE_FIELD_UINT(X86EventState, exception_has_error),
    STATE_FIELD_UINT(X86EventState, interrupt_injected),
    STATE_FIELD_UINT(X86EventState, interrupt_vector),
    STATE_FIELD_UINT(X86EventState, interrupt_soft),
    STATE_FIELD_UINT(X86EventState, nmi_injected),
    STATE_FIELD_UINT(X86EventState, smi_pending),
    STATE_FIELD_UINT(X86EventState, smm_inside_nmi),
    STATE_FIELD_UINT(X86EventState, init_latched),
    STATE_FIELD_UINT(X86EventState, exception_error),
    STATE_FIELD_UINT(X86EventState, sipi_vector),
    STATE_END,
};
static const StateTable event_state = {.name = "events", .version = 1, .fields = event_fields};

/* What came with KVM. */
#define SINCE_2(f_kind, f, f_size, f_count, f_table) \
    {.name = #f, .kind = f_kind, .offset = offsetof(X86CpuState, f), .size = f_size, .count = f_count, .table = f_table, .since = 2}

static const StateField cpu_fields[] = {
    STATE_FIELD_ARRAY(X86CpuState, gpr),
    STATE_FIELD_UINT(X86CpuState, rip),
    STATE_FIELD_UINT(X86CpuState, rflags),
    STATE_FIELD_STRUCTS(X86CpuState, seg, &seg_state),
    STATE_FIELD_STRUCT(X86CpuState, gdtr, &table_state),
    STATE_FIELD_STRUCT(X86CpuState, idtr, &table_state),
    STATE_FIELD_UINT(X86CpuState, cr0),
    STATE_FIELD_UINT(X86CpuState, cr2),
    STATE_FIELD_UINT(X86CpuState, cr3),
    STATE_FIELD_UINT(X86CpuState, cr4),
    STATE_FIELD_UINT(X86CpuState, efer),
    STATE_FIELD_ARRAY(X86CpuState, dr),
    STATE_FIELD_UINT(X86CpuState, star),
    STATE_FIELD_UINT(X86CpuState, lstar),
    STATE_FIELD_UINT(X86CpuState, cstar),
    STATE_FIELD_UINT(X86CpuState, fmask),
    STATE_FIELD_UINT(X86CpuState, kernel_gs_base),
    STATE_FIELD_UINT(X86CpuState, tsc_aux),
    STATE_FIELD_UINT(X86CpuState, pat),
    STATE_FIELD_UINT(X86CpuState, sysenter_cs),
    STATE_FIELD_UINT(X86CpuState, sysenter_esp),
    STATE_FIELD_UINT(X86CpuState, sysenter_eip),
    STATE_FIELD_UINT(X86CpuState, misc_enable),
    STATE_FIELD_UINT(X86CpuState, xcr0),
    STATE_FIELD_UINT(X86CpuState, tsc_offset),
    STATE_FIELD_UINT(X86CpuState, mtrr_def_type),
    STATE_FIELD_ARRAY(X86CpuState, mtrr_fixed),
    STATE_FIELD_ARRAY(X86CpuState, mtrr_var),
    STATE_FIELD_BYTES(X86CpuState, xsave),
    STATE_FIELD_UINT(X86CpuState, halted),
    STATE_FIELD_UINT(X86CpuState, wait_sipi),
    STATE_FIELD_UINT(X86CpuState, nmi_blocked),
    STATE_FIELD_UINT(X86CpuState, nmi_pending),
    STATE_FIELD_UINT(X86CpuState, irq_shadow),
    STATE_FIELD_UINT(X86CpuState, smm),
    STATE_FIELD_UINT(X86CpuState, a20),
    STATE_FIELD_UINT(X86CpuState, smbase),
    SINCE_2(STATE_BYTES, xsave_more, X86_XSAVE_MORE, 1, NULL),
    SINCE_2(STATE_UINT, pdptrs, 8, 4, NULL),
    SINCE_2(STATE_UINT, pdptrs_valid, 1, 1, NULL),
    SINCE_2(STATE_STRUCT, events, sizeof(X86EventState), 1, &event_state),
    SINCE_2(STATE_UINT, msr_count, 4, 1, NULL),
    SINCE_2(STATE_UINT, msr_index, 4, X86_MSR_MAX, NULL),
    SINCE_2(STATE_UINT, msr_value, 8, X86_MSR_MAX, NULL),
    STATE_END,
};

static bool cpu_post_load(void *instance, uint32_t version, GError **error)
{
    const X86CpuState *state = instance;

    if (state->msr_count > X86_MSR_MAX) {
        error_set(error, "cpu: bad number of MSRs (%u, allowed 0..%u)", state->msr_count, X86_MSR_MAX);
        return false;
    }
    return true;
}

static const StateTable cpu_state = {
    .name = "cpu", .version = 2, .fields = cpu_fields, .post_load = cpu_post_load};

unsigned mig_cpu_count(const Machine *m)
{
    return m->accel ? m->accel->vcpus->len : 0;
}

static Vcpu *cpu_at(const Machine *m, unsigned index)
{
    return g_ptr_array_index(m->accel->vcpus, index);
}

/* A record has one section. */
static bool at_end(const char *section, const GByteArray *data, size_t offset, GError **error)
{
    if (offset != data->len) {
        error_set(error, "state section '%s': ends at byte %zu of %u", section, offset, data->len);
    }
    return offset == data->len;
}

static bool load_cpu(Machine *m, unsigned index, const GByteArray *data, GError **error)
{
    g_autofree char *section = g_strdup_printf("cpu%u", index);
    g_autofree X86CpuState *state = g_new0(X86CpuState, 1);
    size_t offset = 0;

    m->accel->ops->get_state(cpu_at(m, index), state);
    if (!state_load(&cpu_state, state, section, data->data, data->len, &offset, error) || !at_end(section, data, offset, error)) {
        return false;
    }
    if (!m->accel->ops->set_state(cpu_at(m, index), state)) {
        error_set(error, "state section '%s': it is not possible on this CPU", section);
        return false;
    }
    return true;
}

/* --- devices --- */

static bool load_device(Machine *m, const MigLayout *layout, unsigned index, const GByteArray *data, GError **error)
{
    const char *section;
    Device *dev = mig_layout_device(layout, m, index, &section);
    size_t offset = 0;

    if (!dev) {
        error_set(error, "device %u of the stream is not among those it describes (%u), or has left", index,
                  mig_layout_count(layout));
        return false;
    }
    return device_load_section(dev, section, data->data, data->len, &offset, error) && at_end(section, data, offset, error);
}

/* --- description --- */

static struct json_object *describe(Machine *m, bool running)
{
    struct json_object *all = json_object_new_object();

    json_object_object_add(all, "machine", json_object_new_string(m->obj.model->name));
    json_object_object_add(all, "cpus", json_object_new_int((int)mig_cpu_count(m)));
    json_object_object_add(all, "cpu", json_object_new_string(m->cpu_model ? m->cpu_model : ""));
    json_object_object_add(all, "ram", json_object_new_int64(m->ram ? (int64_t)mem_region_size(m->ram) : 0));
    json_object_object_add(all, "running", json_object_new_boolean(running));
    mig_layout_describe(m, all);
    return all;
}

char *mig_describe(Machine *m, bool running)
{
    struct json_object *all = describe(m, running);
    char *text = g_strdup(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PLAIN));

    json_object_put(all);
    return text;
}

static const char *member(struct json_object *all, const char *name)
{
    struct json_object *value = NULL;

    json_object_object_get_ex(all, name, &value);
    return value ? json_object_get_string(value) : "nothing";
}

MigLayout *mig_compare(Machine *m, const char *description, bool *running, GError **error)
{
    static const char *const members[] = {"machine", "cpus", "cpu", "ram"};
    struct json_object *theirs = json_tokener_parse(description), *ours = describe(m, false);
    bool ok = json_object_is_type(theirs, json_type_object);
    MigLayout *layout;

    if (!ok) {
        error_set(error, "the description of the machine is not JSON");
    }
    for (size_t i = 0; ok && i < G_N_ELEMENTS(members); i++) {
        ok = !strcmp(member(theirs, members[i]), member(ours, members[i]));
        if (!ok) {
            error_set(error, "%s of the source is '%s', here it is '%s'; start the destination with the source's "
                      "command line", members[i], member(theirs, members[i]), member(ours, members[i]));
        }
    }
    layout = ok ? mig_layout_new(m, theirs, error) : NULL;
    *running = layout && !strcmp(member(theirs, "running"), "true");
    json_object_put(theirs);
    json_object_put(ours);
    return layout;
}

/* --- all of it --- */

static void piece_free(void *opaque)
{
    MigPiece *piece = opaque;

    g_byte_array_unref(piece->data);
    g_free(piece);
}

GPtrArray *mig_pieces_new(void)
{
    return g_ptr_array_new_with_free_func(piece_free);
}

MigPiece *mig_pieces_add(GPtrArray *pieces, MigRecordType type)
{
    MigPiece *piece = g_new0(MigPiece, 1);

    piece->type = type;
    piece->data = g_byte_array_new();
    g_ptr_array_add(pieces, piece);
    return piece;
}

/* Sections may be longer than a record. */
static void add_section(GPtrArray *pieces, const GByteArray *section)
{
    guint at = 0;

    for (; section->len - at > MIG_PIECE_MAX; at += MIG_PIECE_MAX) {
        g_byte_array_append(mig_pieces_add(pieces, MIG_PART)->data, section->data + at, MIG_PIECE_MAX);
    }
    g_byte_array_append(mig_pieces_add(pieces, MIG_DEVICE)->data, section->data + at, section->len - at);
}

static void cost_free(void *opaque)
{
    MigrationDevice *cost = opaque;

    g_free(cost->path);
    g_free(cost);
}

GPtrArray *mig_costs_new(Machine *m)
{
    g_autoptr(GPtrArray) devices = mig_devices(m);
    GPtrArray *costs = g_ptr_array_new_with_free_func(cost_free);

    for (guint i = 0; i < devices->len; i++) {
        const Device *dev = g_ptr_array_index(devices, i);
        MigrationDevice *cost = g_new0(MigrationDevice, 1);

        cost->path = object_path(&dev->obj);
        cost->model = dev->obj.model->name;
        g_ptr_array_add(costs, cost);
    }
    return costs;
}

void mig_save_state(Machine *m, GPtrArray *pieces, GPtrArray *costs)
{
    g_autoptr(GPtrArray) devices = mig_devices(m);
    g_autofree X86CpuState *state = g_new0(X86CpuState, 1);
    int64_t now = GINT64_TO_LE(clock_now(m->clocks, CLOCK_KIND_VIRTUAL));

    g_byte_array_append(mig_pieces_add(pieces, MIG_CLOCK)->data, (const guint8 *)&now, sizeof(now));
    for (guint i = 0; i < devices->len; i++) {
        g_autoptr(GByteArray) section = g_byte_array_new();
        MigrationDevice *cost = g_ptr_array_index(costs, i);
        int64_t begin = g_get_monotonic_time();

        device_save(g_ptr_array_index(devices, i), section);
        add_section(pieces, section);
        cost->bytes += section->len;
        cost->us += (uint64_t)(g_get_monotonic_time() - begin);
    }
    for (unsigned i = 0; i < mig_cpu_count(m); i++) {
        g_autofree char *section = g_strdup_printf("cpu%u", i);

        memset(state, 0, sizeof(*state));
        m->accel->ops->get_state(cpu_at(m, i), state);
        state_save(&cpu_state, state, section, mig_pieces_add(pieces, MIG_CPU)->data);
    }
}

static bool load_clock(Machine *m, const GByteArray *data, GError **error)
{
    int64_t now;

    if (data->len != sizeof(now)) {
        error_set(error, "it has %u bytes (expected %zu)", data->len, sizeof(now));
        return false;
    }
    memcpy(&now, data->data, sizeof(now));
    now = GINT64_FROM_LE(now);
    if (now < 0 || now > CLOCK_MAX) {
        error_set(error, "guest time of %" G_GINT64_FORMAT " ns (allowed 0..%" G_GINT64_FORMAT ")", now, CLOCK_MAX);
        return false;
    }
    clock_set_virtual(m->clocks, now);
    return true;
}

bool mig_load_piece(Machine *m, const MigLayout *layout, const MigPiece *piece, unsigned *next_cpu, unsigned *next_device,
                    GError **error)
{
    switch (piece->type) {
    case MIG_CLOCK:
        return load_clock(m, piece->data, error);
    case MIG_CPU:
        return load_cpu(m, (*next_cpu)++, piece->data, error);
    default:
        return load_device(m, layout, (*next_device)++, piece->data, error);
    }
}

bool mig_load_complete(Machine *m, const MigLayout *layout, unsigned cpus, unsigned devices, GError **error)
{
    if (cpus != mig_cpu_count(m) || devices != mig_layout_count(layout)) {
        error_set(error, "%u of %u CPUs and %u of %u devices were in it", cpus, mig_cpu_count(m), devices,
                  mig_layout_count(layout));
        return false;
    }
    return true;
}
