/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: the far end of serial ports, monitors and qtest.  Made by
 * -chardev and the shorthand of -serial, -monitor, -qmp, -qtest.  One front end
 * at a time; `mux` (stdio of -nographic) shares one back end between several,
 * Ctrl-A c switching, Ctrl-A x quitting.
 *
 * Context: main loop, its lock held, but for chardev_write; front ends are called in the loop they are attached in.
 */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include "core/machine.h"

typedef struct Chardev Chardev;

typedef enum ChardevEvent {
    CHARDEV_OPENED,
    CHARDEV_CLOSED,
    CHARDEV_BREAK,
    CHARDEV_MUX_IN, /* a mux gave this front end the input */
    CHARDEV_MUX_OUT,
} ChardevEvent;

typedef struct ChardevFrontend {
    size_t (*can_read)(void *opaque);                              /* bytes it takes now; 0: stop reading */
    void (*read)(void *opaque, const uint8_t *buf, size_t len);
    void (*event)(void *opaque, ChardevEvent event);
    void *opaque;
} ChardevFrontend;

/* opts as -chardev: backend (null, stdio, file, pipe, socket, pty, fd, ringbuf), id, path, host, port, server, wait, mux ... */
Chardev *chardev_new(Machine *machine, struct json_object *opts, GError **error);
/* The shorthand: "stdio", "mon:stdio", "null", "none" (NULL without error), "unix:PATH[,server[=on][,wait=off]]",
 * "tcp:HOST:PORT[,...]", "telnet:" the same, "file:PATH", "pty", "chardev:ID", "fd:N". */
Chardev *chardev_from_text(Machine *machine, const char *label, const char *text, GError **error);
Chardev *chardev_find(Machine *machine, const char *id);
void chardev_free(Chardev *chr);
void chardev_free_all(Machine *machine);

/* False: somebody else has it.  With mux a further front end is added. */
bool chardev_attach(Chardev *chr, const ChardevFrontend *frontend, GError **error);
/*
 * The same; until chardev_detach() all that happens to it happens in `loop`, whose lock is held too.  False as well: a
 * mux stays in the main loop.
 */
bool chardev_attach_in(Chardev *chr, EventLoop *loop, const ChardevFrontend *frontend, GError **error);
void chardev_detach(Chardev *chr, void *opaque);
/* Call when can_read grew. */
void chardev_accept_input(Chardev *chr);
/* Writes all it can now; the rest is queued (bounded: 1 MiB, then the oldest go) for a slow reader.  Any thread. */
void chardev_write(Chardev *chr, const void *buf, size_t len);
/* Waits until everything is written or the other side is gone: for protocols of tests.  Main loop. */
void chardev_write_all(Chardev *chr, const void *buf, size_t len);
/* Bytes queued for a slow reader, and how many may be (1 MiB unless set).  Any thread. */
size_t chardev_pending(Chardev *chr);
void chardev_set_queue_limit(Chardev *chr, size_t bytes);
/* As if the far end had sent a break. */
void chardev_send_break(Chardev *chr);
/* Somebody is attached. */
bool chardev_in_use(const Chardev *chr);
/* For every back end of this build. */
void chardev_each_backend(void (*fn)(const char *name, const char *doc, void *opaque), void *opaque);
/* What a ringbuf holds: appends to it, as output does; takes up to max of the oldest bytes out (g_byte_array_unref).
 * False and NULL: another kind of back end. */
bool chardev_ring_write(Chardev *chr, const void *buf, size_t len, GError **error);
GByteArray *chardev_ring_read(Chardev *chr, size_t max, GError **error);
/* The first descriptor that came with the last message of a unix socket which brought any (SCM_RIGHTS), the caller's now; -1: none. */
int chardev_take_fd(Chardev *chr);
/* True when input goes to the front end with that opaque now. */
bool chardev_focused(const Chardev *chr, const void *opaque);
bool chardev_connected(const Chardev *chr);
const char *chardev_id(const Chardev *chr);
const char *chardev_filename(const Chardev *chr); /* as `info chardev` shows it */

/* The property type of `chardev=`: a Chardev * found by id. */
extern const PropType prop_chardev;

#endif
