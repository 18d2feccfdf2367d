/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the Tab key adds to a line of the human monitor: names of commands, of models, of what there is. */
#include <string.h>

#include "monitor-internal.h"

static void offer(GPtrArray *list, const char *name, const char *begin)
{
    if (g_str_has_prefix(name, begin)) {
        g_ptr_array_add(list, g_strdup(name));
    }
}

/* Every name of a command that begins so, up to its next space. */
static void offer_commands(GPtrArray *list, const char *begin)
{
    size_t done = strrchr(begin, ' ') ? (size_t)(strrchr(begin, ' ') + 1 - begin) : 0;

    for (size_t t = 0; hmp_tables[t]; t++) {
        for (const HmpCommand *cmd = hmp_tables[t]; cmd->name; cmd++) {
            g_auto(GStrv) names = g_strsplit(cmd->name, "|", -1);

            for (char **name = names; *name; name++) {
                if (g_str_has_prefix(*name, begin)) {
                    g_ptr_array_add(list, g_strndup(*name + done, strcspn(*name + done, " ")));
                }
            }
        }
    }
}

static void offer_models(GPtrArray *list, unsigned kinds, const char *begin)
{
    for (const Model *const *p = model_table; *p; p++) {
        if (kinds >> (*p)->kind & 1 && !(*p)->internal) {
            offer(list, (*p)->name, begin);
        }
    }
}

static void offer_ids(GPtrArray *list, Machine *m, const char *begin)
{
    Object *places[] = {object_container(&m->obj, "peripheral"), object_container(m->root, "objects"),
                        object_container(m->root, "chardevs"), object_container(m->root, "netdevs")};

    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        for (guint c = 0; c < places[i]->children->len; c++) {
            offer(list, ((Object *)g_ptr_array_index(places[i]->children, c))->id, begin);
        }
    }
}

/* By the first word of the command's usage. */
static void offer_argument(GPtrArray *list, Machine *m, const char *args, const char *begin)
{
    if (!g_ascii_strncasecmp(args, "id", 2)) {
        offer_ids(list, m, begin);
    } else if (g_str_has_prefix(args, "driver")) {
        offer_models(list, 1u << MODEL_DEVICE | 1u << MODEL_PCI, begin);
    } else if (g_str_has_prefix(args, "type")) {
        offer_models(list, 1u << MODEL_OBJECT, begin);
    } else if (g_str_has_prefix(args, "[command]")) {
        offer_commands(list, begin);
    }
}

static gint compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, each once. */
static void tidy(GPtrArray *list)
{
    g_ptr_array_sort(list, compare_names);
    for (guint i = 1; i < list->len;) {
        if (!strcmp(list->pdata[i], list->pdata[i - 1])) {
            g_ptr_array_remove_index(list, i);
        } else {
            i++;
        }
    }
}

GPtrArray *hmp_complete(Machine *m, const char *line, size_t *have)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    const char *last = strrchr(line, ' ') ? strrchr(line, ' ') + 1 : line;
    const char *rest = NULL;
    const HmpCommand *cmd = last > line ? hmp_find(line, &rest) : NULL;

    *have = strlen(last);
    offer_commands(list, line);
    if (cmd && rest == last && cmd->args) {
        offer_argument(list, m, cmd->args, last);
    }
    tidy(list);
    return list;
}
