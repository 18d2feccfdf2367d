/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lists printed by -machine help and its like, from the tables of the build. */
#include <stdio.h>
#include <string.h>

#include "accel/accel.h"
#include "chardev/chardev.h"
#include "cmdline.h"
#include "core/error.h"
#include "hw/pci/pci.h"

void help_print_machines(void)
{
    printf("Supported machines are:\n");
    for (const Model *const *p = model_table; *p; p++) {
        if ((*p)->kind == MODEL_MACHINE && !(*p)->internal) {
            printf("%-20s %s\n", (*p)->name, (*p)->doc ? (*p)->doc : "");
            if ((*p)->alias) {
                printf("%-20s as %s\n", (*p)->alias, (*p)->name);
            }
        }
    }
}

void help_print_accels(void)
{
    printf("Accelerators of this build:\n");
    for (size_t i = 0; accel_table[i]; i++) {
        printf("%-20s %s\n", accel_table[i]->name, accel_table[i]->doc);
    }
}

void help_print_cpus(void)
{
    printf("Available CPUs:\n");
    for (size_t i = 0; x86_cpu_model_name(i); i++) {
        printf("x86 %s\n", x86_cpu_model_name(i));
    }
    for (size_t i = 0; accel_table[i]; i++) {
        g_autofree char *names = accel_table[i]->cpu_models ? accel_table[i]->cpu_models() : NULL;

        if (names) {
            printf("With -accel %s: %s\n", accel_table[i]->name, names);
        }
    }
    printf("\nRecognized CPUID flags:\n");
    for (size_t i = 0; x86_cpu_feature_name(i); i++) {
        printf("%s%s", i % 8 ? " " : i ? "\n  " : "  ", x86_cpu_feature_name(i));
    }
    printf("\n");
}

static void help_print_backend(const char *name, const char *doc, void *opaque)
{
    printf("  %-10s %s\n", name, doc);
}

void help_print_chardevs(void)
{
    printf("Available chardev backend types:\n");
    chardev_each_backend(help_print_backend, NULL);
}

void help_print_objects(void)
{
    printf("List of user creatable objects:\n");
    for (const Model *const *p = model_table; *p; p++) {
        if ((*p)->kind == MODEL_OBJECT && !(*p)->internal) {
            printf("  %-24s %s\n", (*p)->name, (*p)->doc ? (*p)->doc : "");
        }
    }
}

void help_print_devices(void)
{
    for (const Model *const *p = model_table; *p; p++) {
        if (((*p)->kind != MODEL_PCI && (*p)->kind != MODEL_DEVICE) || (*p)->internal) {
            continue;
        }
        printf("name \"%s\"%s", (*p)->name, (*p)->kind == MODEL_PCI ? ", bus PCI" : "");
        if ((*p)->alias) {
            printf(", alias \"%s\"", (*p)->alias);
        }
        printf(", desc \"%s\"\n", (*p)->doc ? (*p)->doc : "");
    }
}

/* A machine knows what all devices of a kind have in common; any will do. */
static Machine *help_machine(void)
{
    for (const Model *const *p = model_table; *p; p++) {
        if ((*p)->kind == MODEL_MACHINE) {
            Machine *m = machine_new((const MachineModel *)*p, NULL);

            if (m) {
                machine_set_kind_ops(m, MODEL_PCI, &pci_kind_ops);
            }
            return m;
        }
    }
    return NULL;
}

bool help_print_model(const char *option, const char *name, unsigned kinds, GError **error)
{
    const Model *model = model_find(name, kinds);
    const char *nearest = model_nearest(name, kinds);
    Machine *m;

    if (!model) {
        if (nearest) {
            error_set(error, "%s %s: no such model (did you mean '%s'?)", option, name, nearest);
        } else {
            error_set(error, "%s %s: no such model; see %s help", option, name, option);
        }
        return false;
    }
    printf("%s: %s\n%s options:\n", model->name, model->doc ? model->doc : "", model->name);
    m = help_machine();
    if (m) {
        machine_print_props(m, model);
        machine_free(m);
    }
    return true;
}
