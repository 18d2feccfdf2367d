/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parsed command line: everything that was asked for, nothing of it done yet. */
#ifndef SYSTEM_CMDLINE_H
#define SYSTEM_CMDLINE_H

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "accel/accel.h"

/* One option that may be given many times. */
typedef struct CmdlineItem {
    const char *option;       /* "-device", for error texts */
    char *text;               /* as typed */
    struct json_object *opts; /* parsed; NULL for options that are plain text */
} CmdlineItem;

typedef struct Cmdline {
    bool done;                   /* help or version was printed: nothing to run */
    struct json_object *machine; /* all -machine options together */
    GString *accels;             /* ':' list; empty: the default */
    AccelConfig accel_config;
    char *cpu, *name, *pidfile, *qtest, *qtest_log;
    BootConfig boot;
    uint8_t uuid[16];
    RtcConfig rtc;
    GPtrArray *data_dirs; /* of char *: -L */
    char *vnc;      /* where clients come to; NULL: nowhere */
    char *gdb;      /* where the debugger comes to; NULL: nowhere */
    char *incoming; /* URI, or "defer" */
    bool only_migratable;
    uint64_t ram_size; /* bytes; 0: not given */
    CpuTopology smp;   /* cpus 0: not given */
    bool nodefaults, nographic, curses, vga, paused, daemonize;
    MachineActions actions;
    GPtrArray *objects, *devices, *drives, *chardevs; /* of CmdlineItem *, in order */
    GPtrArray *netdevs, *nics;
    GPtrArray *debugcons, *globals, *numas;
    GPtrArray *serials, *monitors, *mons;             /* monitors: -monitor and -qmp */
} Cmdline;

Cmdline *cmdline_new(void);
void cmdline_free(Cmdline *c);
/* False with the text of one line in *error.  Help goes to stdout and sets done. */
bool cmdline_parse(Cmdline *c, int argc, char **argv, GError **error);

/* An error about an item, beginning with the option as typed unless it names one already. */
void cmdline_prefix_error(const CmdlineItem *item, GError **error);

/* One option by name, without dashes, and its argument.  False with *error. */
bool cmdline_apply(Cmdline *c, const char *name, const char *arg, GError **error);

/* --- read-config.c --- */
bool option_readconfig(Cmdline *c, const char *option, const char *arg, GError **error);

/* Appends one: takes opts; option and text as the user wrote them, the former static. */
void cmdline_add_item(GPtrArray *list, const char *option, const char *text, struct json_object *opts);

/* --- numa-options.c: an entry of the option table --- */
bool option_numa(Cmdline *c, const char *option, const char *arg, GError **error);

/* --- cpu-options.c: entries of the option table --- */
bool option_smp(Cmdline *c, const char *option, const char *arg, GError **error);

/* --- boot-options.c: entries of the option table --- */
bool option_boot(Cmdline *c, const char *option, const char *arg, GError **error);
bool option_fw_cfg(Cmdline *c, const char *option, const char *arg, GError **error);
bool option_smbios(Cmdline *c, const char *option, const char *arg, GError **error);
bool option_uuid(Cmdline *c, const char *option, const char *arg, GError **error);

/* --- process-options.c: of the process around the machine --- */
/* Messages of g_printerr() are one line of valid text from now on, whatever they quote. */
void option_msg_init(void);
bool option_msg(Cmdline *c, const char *option, const char *arg, GError **error);
bool option_rtc(Cmdline *c, const char *option, const char *arg, GError **error);

/* --- help.c --- */
void help_print_machines(void);
void help_print_accels(void);
void help_print_cpus(void);
void help_print_chardevs(void);
void help_print_objects(void);
void help_print_devices(void);
/* Properties of a model of one of the kinds.  False: no such model, *error names the nearest. */
bool help_print_model(const char *option, const char *name, unsigned kinds, GError **error);

#endif
