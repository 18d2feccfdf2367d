/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One terminal for several front ends (-nographic): Ctrl-A is the way out of the
 * guest's console.  Ctrl-A h lists what there is.
 */
#include <string.h>

#include "chardev-internal.h"

#define MUX_ESCAPE   0x01 /* Ctrl-A */
#define MUX_HELD_MAX 4096

typedef struct MuxKey {
    char key;
    void (*run)(Chardev *chr);
    const char *doc;
} MuxKey;

static const MuxKey mux_keys[];

size_t chardev_mux_room(Chardev *chr)
{
    const ChardevSeat *seat = chr->frontends->len ? &g_array_index(chr->frontends, ChardevSeat, chr->focus) : NULL;

    /* The next byte may move the focus to a front end that takes less. */
    return seat && seat->held->len < MUX_HELD_MAX;
}

void chardev_mux_deliver(Chardev *chr)
{
    for (guint i = 0; i < chr->frontends->len; i++) {
        const ChardevSeat seat = g_array_index(chr->frontends, ChardevSeat, i);
        size_t len = seat.held->len ? MIN(seat.held->len, seat.fe.can_read(seat.fe.opaque)) : 0;
        g_autofree uint8_t *bytes = g_memdup2(seat.held->data, len);

        if (len) {
            g_byte_array_remove_range(seat.held, 0, (guint)len);
            seat.fe.read(seat.fe.opaque, bytes, len); /* may detach itself */
        }
    }
}

static void mux_give(Chardev *chr, const uint8_t *buf, size_t len)
{
    if (chr->frontends->len) {
        g_byte_array_append(g_array_index(chr->frontends, ChardevSeat, chr->focus).held, buf, (guint)len);
        chardev_mux_deliver(chr);
    }
}

void chardev_mux_focus(Chardev *chr, unsigned index)
{
    ChardevFrontend *old = chardev_focus_frontend(chr);
    ChardevFrontend *fe;

    if (old && old->event) {
        old->event(old->opaque, CHARDEV_MUX_OUT);
    }
    chr->focus = index;
    fe = chardev_focus_frontend(chr);
    if (fe && fe->event) {
        fe->event(fe->opaque, CHARDEV_MUX_IN);
    }
}

static void mux_help(Chardev *chr)
{
    g_autoptr(GString) text = g_string_new("\r\n");

    for (const MuxKey *k = mux_keys; k->key; k++) {
        g_string_append_printf(text, "Ctrl-A %c  %s\r\n", k->key, k->doc);
    }
    g_string_append(text, "Ctrl-A Ctrl-A  send Ctrl-A\r\n");
    chardev_write(chr, text->str, text->len);
}

static void mux_quit(Chardev *chr)
{
    static const char text[] = "\r\nterminated\r\n";

    chardev_write(chr, text, strlen(text));
    machine_request_shutdown(chr->obj.machine, SHUTDOWN_HOST_UI, 0);
}

static void mux_next(Chardev *chr)
{
    if (chr->frontends->len > 1) {
        chardev_mux_focus(chr, (chr->focus + 1) % chr->frontends->len);
    }
}

static const MuxKey mux_keys[] = {
    {'h', mux_help, "this help"},
    {'x', mux_quit, "quit the emulator"},
    {'c', mux_next, "switch between console and monitor"},
    {'b', chardev_send_break, "send a break"},
    {0},
};

void chardev_mux_input(Chardev *chr, const uint8_t *buf, size_t len)
{
    size_t plain = 0; /* bytes before buf[i] not given away yet */

    for (size_t i = 0; i < len; i++) {
        if (!chr->escaped) {
            if (buf[i] == MUX_ESCAPE) {
                mux_give(chr, buf + i - plain, plain);
                plain = 0;
                chr->escaped = true;
            } else {
                plain++;
            }
            continue;
        }
        chr->escaped = false;
        if (buf[i] == MUX_ESCAPE) {
            plain = 1;
            continue;
        }
        for (const MuxKey *k = mux_keys; k->key; k++) {
            if ((uint8_t)k->key == buf[i]) {
                k->run(chr);
            }
        }
    }
    mux_give(chr, buf + len - plain, plain);
}
