/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Choosing and ending the accelerator of a machine: DESIGN.md section 6.
 */
#include "accel/accel.h"

#include <string.h>

#include "core/error.h"

const AccelOps *const accel_table[] = {
    &accel_kvm_ops,
    &accel_tcg_ops,
    &accel_qtest_ops,
    NULL,
};

bool accel_irqchip_parse(const char *text, AccelIrqchip *irqchip)
{
    static const char *const names[] = {
        [ACCEL_IRQCHIP_OFF] = "off", [ACCEL_IRQCHIP_SPLIT] = "split", [ACCEL_IRQCHIP_ON] = "on"};

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(names[i], text) == 0) {
            *irqchip = (AccelIrqchip)i;
            return true;
        }
    }
    return false;
}

static const AccelOps *accel_find(const char *name)
{
    for (size_t i = 0; accel_table[i]; i++) {
        if (strcmp(accel_table[i]->name, name) == 0) {
            return accel_table[i];
        }
    }
    return NULL;
}

static Accel *accel_start(Machine *machine, const AccelOps *ops, const AccelConfig *config, GError **error)
{
    Accel *accel = g_malloc0(ops->size);

    accel->ops = ops;
    accel->machine = machine;
    accel->config = *config;
    accel->vcpus = g_ptr_array_new();
    if (!ops->start(accel, error)) {
        g_ptr_array_free(accel->vcpus, TRUE);
        g_free(accel);
        return NULL;
    }
    machine_set_vcpu_control(machine, ops->pause_all, ops->stop_all, ops->resume_all);
    return accel;
}

/* What could have been asked for, for error texts. */
static char *accel_names(void)
{
    GString *names = g_string_new(NULL);

    for (size_t i = 0; accel_table[i]; i++) {
        g_string_append_printf(names, "%s%s", i ? ", " : "", accel_table[i]->name);
    }
    return g_string_free(names, FALSE);
}

Accel *accel_new(Machine *machine, const char *list, const AccelConfig *config, GError **error)
{
    g_auto(GStrv) words = g_strsplit(list, ":", -1);
    g_autoptr(GString) reasons = g_string_new(NULL);
    AccelConfig wanted = *config;

    for (size_t i = 0; words[i]; i++) {
        const AccelOps *ops = accel_find(words[i]);
        g_autoptr(GError) reason = NULL;
        Accel *accel;

        if (!ops) {
            g_autofree char *names = accel_names();

            g_string_append_printf(reasons, "%s'%s': unknown accelerator (available: %s)", reasons->len ? "; " : "",
                                   words[i], names);
            continue;
        }
        wanted.optional = words[i + 1] != NULL;
        accel = accel_start(machine, ops, &wanted, &reason);
        if (accel) {
            if (reasons->len) {
                g_printerr("%s: -accel: passed over %s; using %s\n", g_get_prgname(), reasons->str, ops->name);
            }
            return accel;
        }
        g_string_append_printf(reasons, "%s'%s': %s", reasons->len ? "; " : "", words[i], reason->message);
    }
    error_set(error, "-accel: no usable accelerator: %s", reasons->len ? reasons->str : "the list is empty");
    return NULL;
}

void accel_stop(Accel *accel)
{
    if (accel) {
        accel->ops->stop(accel);
    }
}

void accel_free(Accel *accel)
{
    if (!accel) {
        return;
    }
    while (accel->vcpus->len) {
        accel->ops->vcpu_free(g_ptr_array_index(accel->vcpus, accel->vcpus->len - 1));
    }
    if (accel->ops->free) {
        accel->ops->free(accel);
    }
    g_ptr_array_free(accel->vcpus, TRUE);
    g_free(accel);
}
