/* SPDX-License-Identifier: GPL-2.0-or-later */
/* -smp. */
#include "cmdline.h"
#include "core/error.h"
#include "core/prop.h"

#define SMP_NUMBER_MAX 4096

static bool smp_number(const char *arg, struct json_object *opts, const char *key, unsigned *val, GError **error)
{
    struct json_object *value;
    const char *text;
    guint64 n;
    char *end;

    if (!json_object_object_get_ex(opts, key, &value)) {
        return true;
    }
    text = json_object_get_string(value);
    n = g_ascii_strtoull(text, &end, 10);
    if (!g_ascii_isdigit(*text) || *end || n == 0 || n > SMP_NUMBER_MAX) {
        error_set(error, "-smp %s: %s must be a number (%s, allowed 1..%u)", arg, key, text, SMP_NUMBER_MAX);
        return false;
    }
    *val = (unsigned)n;
    return true;
}

static bool smp_known(const char *arg, struct json_object *opts, const char *const keys[], GError **error)
{
    json_object_object_foreach(opts, key, value)
    {
        (void)value;
        if (!g_strv_contains(keys, key)) {
            error_set(error, "-smp %s: unknown option '%s' (allowed: cpus, maxcpus, sockets, dies, cores, threads)", arg, key);
            return false;
        }
    }
    return true;
}

bool option_smp(Cmdline *c, const char *option, const char *arg, GError **error)
{
    static const char *const keys[] = {"cpus", "maxcpus", "sockets", "dies", "cores", "threads", NULL};
    CpuTopology t = {0};
    unsigned *const fields[] = {&t.cpus, &t.max_cpus, &t.sockets, &t.dies, &t.cores, &t.threads};
    struct json_object *opts = opts_parse(option, arg, "cpus", error);
    bool ok = opts != NULL;

    for (int i = 0; ok && keys[i]; i++) {
        ok = smp_number(arg, opts, keys[i], fields[i], error);
    }
    ok = ok && smp_known(arg, opts, keys, error);
    json_object_put(opts);
    if (ok && !cpu_topology_complete(&t, error)) {
        g_prefix_error(error, "-smp %s: ", arg);
        return false;
    }
    c->smp = ok ? t : c->smp;
    return ok;
}
