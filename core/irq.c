/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupt lines, the named inputs and outputs of devices, and qtest's taps on them. */
#include <string.h>

#include "core/error.h"
#include "core/internal.h"

struct IrqLine {
    IrqFn *fn;
    void *opaque;
    int n;
    /* a tap: reported first, then delivered */
    IrqInterceptFn *report;
    void *report_opaque;
    const char *report_name;
    IrqLine *next; /* of an output's tap: what the device is connected to */
};

typedef struct IrqGroup {
    char *name; /* NULL: unnamed */
    int n;
    IrqLine **inputs; /* borrowed */
    IrqLine ***slots; /* copied array of the device's fields; NULL for inputs */
    IrqLine **taps;   /* of intercepted outputs */
} IrqGroup;

struct DeviceIrqs {
    GPtrArray *groups; /* of IrqGroup * */
};

IrqLine **irq_new_array(IrqFn *fn, void *opaque, int n)
{
    IrqLine **lines = g_new0(IrqLine *, (gsize)n);

    for (int i = 0; i < n; i++) {
        lines[i] = g_new0(IrqLine, 1);
        lines[i]->fn = fn;
        lines[i]->opaque = opaque;
        lines[i]->n = i;
    }
    return lines;
}

void irq_free_array(IrqLine **lines, int n)
{
    for (int i = 0; lines && i < n; i++) {
        g_free(lines[i]);
    }
    g_free(lines);
}

void irq_set(IrqLine *line, int level)
{
    if (!line) {
        return;
    }
    if (line->report) {
        line->report(line->report_opaque, line->report_name, line->n, level);
    }
    if (line->fn) {
        line->fn(line->opaque, line->n, level);
    }
    irq_set(line->next, level);
}

static IrqGroup *irq_group_new(Device *dev, const char *name, int n)
{
    IrqGroup *group = g_new0(IrqGroup, 1);

    if (!dev->irqs) {
        dev->irqs = g_new0(struct DeviceIrqs, 1);
        dev->irqs->groups = g_ptr_array_new();
    }
    group->name = g_strdup(name);
    group->n = n;
    g_ptr_array_add(dev->irqs->groups, group);
    return group;
}

static IrqGroup *irq_group_find(Device *dev, const char *name, bool outputs)
{
    for (guint i = 0; dev->irqs && i < dev->irqs->groups->len; i++) {
        IrqGroup *group = dev->irqs->groups->pdata[i];

        if ((group->slots != NULL) == outputs && !g_strcmp0(group->name, name)) {
            return group;
        }
    }
    return NULL;
}

void device_free_irqs(Device *dev)
{
    if (!dev->irqs) {
        return;
    }
    for (guint i = 0; i < dev->irqs->groups->len; i++) {
        IrqGroup *group = dev->irqs->groups->pdata[i];

        irq_free_array(group->taps, group->n);
        g_free(group->slots);
        g_free(group->name);
        g_free(group);
    }
    g_ptr_array_free(dev->irqs->groups, TRUE);
    g_clear_pointer(&dev->irqs, g_free);
}

void device_add_irq_inputs(Device *dev, const char *name, IrqLine **lines, int n)
{
    irq_group_new(dev, name, n)->inputs = lines;
}

void device_add_irq_outputs(Device *dev, const char *name, IrqLine ***slots, int n)
{
    IrqGroup *group = irq_group_new(dev, name, n);

    group->slots = g_new0(IrqLine **, (gsize)n + 1);
    memcpy(group->slots, slots, (size_t)n * sizeof(*slots));
}

void device_connect_irq(Device *dev, const char *name, int n, IrqLine *line)
{
    IrqGroup *group = irq_group_find(dev, name, true);

    g_assert(group && n >= 0 && n < group->n);
    if (group->taps) {
        group->taps[n]->next = line;
    } else {
        *group->slots[n] = line;
    }
}

IrqLine *device_irq_input(Device *dev, const char *name, int n)
{
    IrqGroup *group = irq_group_find(dev, name, false);

    g_assert(group && n >= 0 && n < group->n);
    return group->inputs[n];
}

static void irq_line_report(IrqLine *line, const char *name, IrqInterceptFn *fn, void *opaque)
{
    line->report = fn;
    line->report_opaque = opaque;
    line->report_name = name;
}

bool device_intercept_irqs(Device *dev, const char *name, bool outputs, IrqInterceptFn *fn, void *opaque,
                           GError **error)
{
    IrqGroup *group = irq_group_find(dev, name, outputs);

    if (!group) {
        error_set(error, "%s: no interrupt %s named '%s'", dev->obj.model->name,
                  outputs ? "outputs" : "inputs", name ? name : "");
        return false;
    }
    if (outputs && !group->taps) {
        group->taps = irq_new_array(NULL, NULL, group->n);
        for (int i = 0; i < group->n; i++) {
            group->taps[i]->next = *group->slots[i];
            *group->slots[i] = group->taps[i];
        }
    }
    for (int i = 0; i < group->n; i++) {
        irq_line_report(outputs ? group->taps[i] : group->inputs[i], group->name, fn, opaque);
    }
    return true;
}
