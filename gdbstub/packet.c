/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Framing of the remote serial protocol (GDB manual, appendix E.1): $body#sum with acknowledgements until no-ack mode,
 * and the interrupt byte 03h.  Whatever is wrong with a packet costs that packet.
 */
#include <string.h>

#include "gdb-internal.h"

#define GDB_INTERRUPT 0x03
#define GDB_ESCAPE    '}'

static void gdb_write(GdbStub *s, const char *text, size_t len)
{
    chardev_write(s->chr, text, len);
}

static const char digits[] = "0123456789abcdef";

void gdb_append_hex(GString *out, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < len; i++) {
        g_string_append_c(out, digits[p[i] >> 4]);
        g_string_append_c(out, digits[p[i] & 15]);
    }
}

bool gdb_parse_hex(const char *text, void *bytes, size_t len)
{
    uint8_t *out = bytes;

    for (size_t i = 0; i < len; i++) {
        int high = g_ascii_xdigit_value(text[2 * i]), low = high < 0 ? -1 : g_ascii_xdigit_value(text[2 * i + 1]);

        if (low < 0) {
            return false;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool gdb_parse_number(const char **text, char end, uint64_t *val)
{
    const char *p = *text;
    unsigned n = 0;

    *val = 0;
    for (int digit; (digit = g_ascii_xdigit_value(*p)) >= 0; p++, n++) {
        if (*val >> 60) {
            return false;
        }
        *val = *val << 4 | (unsigned)digit;
    }
    if (!n || (end && *p != end)) {
        return false;
    }
    *text = p + (end != 0);
    return true;
}

void gdb_send(GdbStub *s, const char *body, size_t len)
{
    uint8_t sum = 0;

    g_string_assign(s->last, "$");
    for (size_t i = 0; i < len; i++) {
        char c = body[i];

        if (c == '$' || c == '#' || c == GDB_ESCAPE || c == '*') {
            g_string_append_c(s->last, GDB_ESCAPE);
            c ^= 0x20;
        }
        g_string_append_c(s->last, c);
    }
    for (gsize i = 1; i < s->last->len; i++) {
        sum = (uint8_t)(sum + (uint8_t)s->last->str[i]);
    }
    g_string_append_printf(s->last, "#%02x", sum);
    gdb_write(s, s->last->str, s->last->len);
}

void gdb_send_text(GdbStub *s, const char *text)
{
    gdb_send(s, text, strlen(text));
}

void gdb_send_error(GdbStub *s, int number)
{
    char text[8];

    g_snprintf(text, sizeof(text), "E%02x", number & 0xff);
    gdb_send_text(s, text);
}

static void gdb_body(GdbStub *s, uint8_t c)
{
    if (s->in->len <= GDB_PACKET_MAX) {
        g_string_append_c(s->in, (char)c);
    }
}

/* The checksum is complete. */
static void gdb_packet_end(GdbStub *s)
{
    bool good = s->sum == s->sum_said && s->in->len <= GDB_PACKET_MAX;

    if (s->acks) {
        gdb_write(s, good ? "+" : "-", 1);
    }
    if (good) {
        gdb_command(s, s->in->str, s->in->len);
    }
}

static void gdb_between_packets(GdbStub *s, uint8_t c)
{
    if (c == '$') {
        s->frame = GDB_BODY;
        s->sum = 0;
        g_string_truncate(s->in, 0);
    } else if (c == GDB_INTERRUPT) {
        gdb_stop_machine(s);
    } else if (c == '-' && s->acks && s->last->len) {
        gdb_write(s, s->last->str, s->last->len);
    }
}

static void gdb_byte(GdbStub *s, uint8_t c)
{
    switch (s->frame) {
    case GDB_IDLE:
        gdb_between_packets(s, c);
        return;
    case GDB_BODY:
    case GDB_ESCAPED:
        if (c == '#') {
            s->frame = GDB_SUM_HIGH;
        } else if (c == '$') {
            gdb_between_packets(s, c); /* the one before was cut off */
        } else {
            s->sum = (uint8_t)(s->sum + c);
            if (s->frame == GDB_ESCAPED) {
                gdb_body(s, c ^ 0x20);
                s->frame = GDB_BODY;
            } else if (c == GDB_ESCAPE) {
                s->frame = GDB_ESCAPED;
            } else {
                gdb_body(s, c);
            }
        }
        return;
    case GDB_SUM_HIGH:
        s->sum_said = (uint8_t)(g_ascii_xdigit_value((char)c) << 4);
        s->frame = GDB_SUM_LOW;
        return;
    case GDB_SUM_LOW:
        s->sum_said = (uint8_t)(s->sum_said | (g_ascii_xdigit_value((char)c) & 0xff));
        s->frame = GDB_IDLE;
        gdb_packet_end(s);
        return;
    }
}

void gdb_receive(GdbStub *s, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        gdb_byte(s, buf[i]);
    }
}
