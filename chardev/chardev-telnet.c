/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The telnet protocol (RFC 854, options of RFC 856, 857 and 858) on a socket: what is not data is taken out of what
 * comes and added to what goes.  The other side's answers to our four wishes are not waited for.
 */
#include "chardev-internal.h"

enum {
    TELNET_ECHO = 1,
    TELNET_SGA = 3, /* suppress go-ahead */
    TELNET_BINARY = 0,
    TELNET_SE = 240,
    TELNET_BREAK = 243,
    TELNET_SB = 250,
    TELNET_WILL = 251,
    TELNET_WONT = 252,
    TELNET_DO = 253,
    TELNET_DONT = 254,
    TELNET_IAC = 255,
};

void chardev_telnet_begin(Chardev *chr)
{
    static const uint8_t wishes[] = {
        TELNET_IAC, TELNET_WILL, TELNET_ECHO, TELNET_IAC, TELNET_WILL, TELNET_SGA,
        TELNET_IAC, TELNET_WILL, TELNET_BINARY, TELNET_IAC, TELNET_DO, TELNET_BINARY,
    };

    chr->telnet_state = TELNET_DATA;
    g_mutex_lock(&chr->lock);
    g_byte_array_append(chr->out, wishes, sizeof(wishes));
    g_mutex_unlock(&chr->lock);
}

void chardev_telnet_append(GByteArray *out, const uint8_t *buf, size_t len)
{
    size_t plain = 0;

    for (size_t i = 0; i < len; i++) {
        if (buf[i] == TELNET_IAC) {
            g_byte_array_append(out, buf + plain, (guint)(i + 1 - plain));
            plain = i; /* once more */
        }
    }
    g_byte_array_append(out, buf + plain, (guint)(len - plain));
}

/* The byte after IAC. */
static ChardevTelnetState telnet_command(Chardev *chr, uint8_t c, bool *data)
{
    switch (c) {
    case TELNET_IAC:
        *data = true;
        return TELNET_DATA;
    case TELNET_WILL:
    case TELNET_WONT:
    case TELNET_DO:
    case TELNET_DONT:
        return TELNET_OPTION;
    case TELNET_SB:
        return TELNET_SUB;
    case TELNET_BREAK:
        chr->telnet_break = true;
        return TELNET_DATA;
    default:
        return TELNET_DATA;
    }
}

size_t chardev_telnet_filter(Chardev *chr, uint8_t *buf, size_t len)
{
    size_t kept = 0;

    for (size_t i = 0; i < len; i++) {
        uint8_t c = buf[i];
        bool data = false;

        switch (chr->telnet_state) {
        case TELNET_DATA:
            data = c != TELNET_IAC;
            chr->telnet_state = data ? TELNET_DATA : TELNET_COMMAND;
            break;
        case TELNET_COMMAND:
            chr->telnet_state = telnet_command(chr, c, &data);
            break;
        case TELNET_OPTION:
            chr->telnet_state = TELNET_DATA;
            break;
        case TELNET_SUB:
            chr->telnet_state = c == TELNET_IAC ? TELNET_SUB_IAC : TELNET_SUB;
            break;
        case TELNET_SUB_IAC:
            chr->telnet_state = c == TELNET_SE ? TELNET_DATA : TELNET_SUB;
            break;
        }
        if (data) {
            buf[kept++] = c;
        }
    }
    return kept;
}
