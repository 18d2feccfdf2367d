/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of a device model from outside: starts the program with a qtest and a QMP
 * socket and drives it.  The program is $QTEST_QEMU_BINARY.  Whatever does not
 * work ends the test with a message; the program ends with the test.
 *
 * The same test body runs with the device in process and in another process:
 * qtest_start_device() looks at $QTEST_TRANSPORT (local, unix; vsock where the kernel speaks it with itself).
 */
#ifndef LIBQTEST_H
#define LIBQTEST_H

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct QtestState QtestState;

/* Starts the program with `args` (words as a shell splits them) and the qtest accelerator. */
QtestState *qtest_start(const char *args);
/*
 * A q35 machine with 64 MiB of shareable RAM and one PCI device.  backend_args go to the
 * process that has the device ("-drive ..."), `device` is what follows -device;
 * client_args always go to the q35 process, before the device.
 */
QtestState *qtest_start_device(const char *backend_args, const char *device, const char *client_args);
/* The same for a device with others on it: downstream_args ("-device ...") name its bus as dev0.0. */
QtestState *qtest_start_controller(const char *backend_args, const char *device, const char *downstream_args,
                                   const char *client_args);
/* True when the device of qtest_start_device() is in another process. */
bool qtest_is_split(QtestState *s);
/* False when $QTEST_TRANSPORT lets neither interrupts nor memory be shared with that process. */
bool qtest_transport_passes_fds(void);
/* The other process (to stop, to ask by QMP), or NULL. */
QtestState *qtest_server(QtestState *s);
int qtest_pid(const QtestState *s);
/* Asks for the end by QMP and checks that the exit code is 0; frees. */
void qtest_end(QtestState *s);
/*
 * With $QTEST_MOVE_EVERY=N a machine is migrated to another process, with its device's process if it has one, about every N-th
 * access, and the test notices nothing.  Some tests can't have that: this one's machine stays where it is from now on.
 */
typedef enum QtestStay {
    QTEST_STAY_PROCESS,
    QTEST_STAY_MESSAGES, /* the others without being asked for: see qtest-move.c */
    QTEST_STAY_HOT_PLUG,
    QTEST_STAY_BACK_END,
    QTEST_STAY_REASONS
} QtestStay;
void qtest_stay(QtestState *s, QtestStay reason);
/* Kills; for tests in which a process dies. */
void qtest_kill(QtestState *s);
/* Runs the program with args until it ends: its exit code, and its standard error (g_free). */
int qtest_run_to_exit(const char *args, char **err);

/* --- protocol --- */
/* Sends one line as it is and returns the answer without the end of line (g_free). */
char *qtest_command(QtestState *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Raw bytes to the protocol socket; qtest_receive returns the next answer. */
void qtest_send(QtestState *s, const void *data, size_t len);
char *qtest_receive(QtestState *s);

void qtest_outb(QtestState *s, uint16_t port, uint8_t val);
void qtest_outw(QtestState *s, uint16_t port, uint16_t val);
void qtest_outl(QtestState *s, uint16_t port, uint32_t val);
uint8_t qtest_inb(QtestState *s, uint16_t port);
uint16_t qtest_inw(QtestState *s, uint16_t port);
uint32_t qtest_inl(QtestState *s, uint16_t port);
void qtest_writeb(QtestState *s, uint64_t addr, uint8_t val);
void qtest_writew(QtestState *s, uint64_t addr, uint16_t val);
void qtest_writel(QtestState *s, uint64_t addr, uint32_t val);
void qtest_writeq(QtestState *s, uint64_t addr, uint64_t val);
uint8_t qtest_readb(QtestState *s, uint64_t addr);
uint16_t qtest_readw(QtestState *s, uint64_t addr);
uint32_t qtest_readl(QtestState *s, uint64_t addr);
uint64_t qtest_readq(QtestState *s, uint64_t addr);
void qtest_memread(QtestState *s, uint64_t addr, void *buf, size_t len);
void qtest_memwrite(QtestState *s, uint64_t addr, const void *buf, size_t len);
void qtest_memset(QtestState *s, uint64_t addr, uint8_t pattern, size_t len);

/* Guest time in nanoseconds; of the other process too when the device is there.  Returns the new time. */
int64_t qtest_clock_step(QtestState *s, int64_t ns);
int64_t qtest_clock_step_next(QtestState *s);

/* Reports of a device's interrupt lines; levels start as low. */
void qtest_irq_intercept_in(QtestState *s, const char *path);
void qtest_irq_intercept_out(QtestState *s, const char *path);
bool qtest_irq(QtestState *s, int n);
void qtest_set_irq_in(QtestState *s, const char *path, const char *name, int n, int level);

/*
 * Repeats a condition until it holds, for at most 60 seconds: a device in another process
 * answers in its own time.  True when it held.
 */
#define QTEST_WAIT(condition)                                                                                \
    ({                                                                                                       \
        bool held_ = false;                                                                                  \
        for (int tries_ = 0; tries_ < 60000 && !(held_ = (condition)); tries_++) {                           \
            g_usleep(1000);                                                                                  \
        }                                                                                                    \
        held_;                                                                                               \
    })

/* --- QMP --- */
/* Runs a command given as JSON text ("{'execute': ...}"); the whole reply, to be put. */
struct json_object *qtest_qmp(QtestState *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The same; fails unless the reply is a return, and frees it. */
void qtest_qmp_ok(QtestState *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* The same; fails unless the reply is an error; its text (g_free). */
char *qtest_qmp_error(QtestState *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Runs a line of the human monitor (g_free). */
char *qtest_hmp(QtestState *s, const char *line);
/* The next event of that name, seen or still to come (to be put). */
struct json_object *qtest_qmp_event(QtestState *s, const char *name);

/* Messages that the client of a split dev0 has sent so far. */
int64_t qtest_messages_sent(QtestState *s);

/* --- disks --- */
/* The path of a new file of that many zeroes. */
char *qtest_file_new(uint64_t size);
/* Removes it. */
void qtest_file_free(char *path);
/* Bytes to write to one: others for each seed. */
void qtest_fill(uint8_t *buf, size_t len, unsigned seed);

/* --- wires --- */
/* A stream whose end [1] the processes started from now on have too, by that number ("-netdev socket,fd=N"); the test closes both. */
void qtest_wire_new(int ends[2]);

/* --- a disk that fails when it is told to --- */
typedef struct QtestDisk QtestDisk;
/* 16 MiB of zeroes, all of whose requests fail with `error` (EIO, ENOSPC) while asked to.  NULL: there is no nbdkit here. */
QtestDisk *qtest_disk_new(const char *error);
void qtest_disk_free(QtestDisk *d);
/* The -drive option for it (g_free). */
char *qtest_disk_drive(const QtestDisk *d, const char *id);
void qtest_disk_fail(QtestDisk *d, bool fail);

#endif
