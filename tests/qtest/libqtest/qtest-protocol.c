/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qtest protocol, client side. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libqtest-internal.h"

void qtest_send(QtestState *s, const void *data, size_t len)
{
    const uint8_t *p = data;

    while (len) {
        ssize_t n = write(s->fd, p, len);

        if (n < 0 && errno != EINTR) {
            qtest_die(s, "cannot write to the program: %s", strerror(errno));
        }
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

/* The next line, whatever it is. */
static char *qtest_next_line(QtestState *s)
{
    char buf[65536];

    for (;;) {
        char *eol = memchr(s->line->str, '\n', s->line->len);
        ssize_t n;

        if (eol) {
            char *line = g_strndup(s->line->str, (gsize)(eol - s->line->str));

            g_string_erase(s->line, 0, eol - s->line->str + 1);
            return line;
        }
        n = read(s->fd, buf, sizeof(buf));
        if (n == 0) {
            qtest_die(s, "the program hung up");
        }
        if (n < 0 && errno != EINTR) {
            qtest_die(s, "cannot read from the program: %s", strerror(errno));
        }
        if (n > 0) {
            g_string_append_len(s->line, buf, n);
        }
    }
}

static bool qtest_take_irq(QtestState *s, const char *line)
{
    bool raise = g_str_has_prefix(line, "IRQ raise ");
    long n;

    if (!raise && !g_str_has_prefix(line, "IRQ lower ")) {
        return false;
    }
    n = strtol(line + strlen("IRQ raise "), NULL, 10);
    if (n >= 0 && n < QTEST_MAX_IRQS) {
        s->irq[n] = raise;
    }
    return true;
}

char *qtest_receive(QtestState *s)
{
    for (;;) {
        char *line = qtest_next_line(s);

        if (!qtest_take_irq(s, line)) {
            return line;
        }
        g_free(line);
    }
}

static char *qtest_vcommand(QtestState *s, const char *fmt, va_list ap)
{
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    g_autofree char *line = g_strconcat(text, "\n", NULL);

    qtest_move_count(s);
    qtest_send(s, line, strlen(line));
    return qtest_receive(s);
}

char *qtest_command(QtestState *s, const char *fmt, ...)
{
    va_list ap;
    char *answer;

    va_start(ap, fmt);
    answer = qtest_vcommand(s, fmt, ap);
    va_end(ap);
    return answer;
}

char *qtest_ok(QtestState *s, const char *fmt, ...)
{
    g_autofree char *answer = NULL;
    va_list ap;

    va_start(ap, fmt);
    answer = qtest_vcommand(s, fmt, ap);
    va_end(ap);
    if (!g_str_has_prefix(answer, "OK")) {
        qtest_die(s, "'%.100s' was answered by '%s'", fmt, answer);
    }
    return g_strdup(answer + 2 + strspn(answer + 2, " "));
}

static uint64_t qtest_get(QtestState *s, const char *verb, uint64_t addr)
{
    g_autofree char *text = qtest_ok(s, "%s 0x%" PRIx64, verb, addr);

    return strtoull(text, NULL, 0);
}

static void qtest_put(QtestState *s, const char *verb, uint64_t addr, uint64_t val)
{
    g_free(qtest_ok(s, "%s 0x%" PRIx64 " 0x%" PRIx64, verb, addr, val));
}

void qtest_outb(QtestState *s, uint16_t port, uint8_t val)
{
    qtest_put(s, "outb", port, val);
}

void qtest_outw(QtestState *s, uint16_t port, uint16_t val)
{
    qtest_put(s, "outw", port, val);
}

void qtest_outl(QtestState *s, uint16_t port, uint32_t val)
{
    qtest_put(s, "outl", port, val);
}

uint8_t qtest_inb(QtestState *s, uint16_t port)
{
    return (uint8_t)qtest_get(s, "inb", port);
}

uint16_t qtest_inw(QtestState *s, uint16_t port)
{
    return (uint16_t)qtest_get(s, "inw", port);
}

uint32_t qtest_inl(QtestState *s, uint16_t port)
{
    return (uint32_t)qtest_get(s, "inl", port);
}

void qtest_writeb(QtestState *s, uint64_t addr, uint8_t val)
{
    qtest_put(s, "writeb", addr, val);
}

void qtest_writew(QtestState *s, uint64_t addr, uint16_t val)
{
    qtest_put(s, "writew", addr, val);
}

void qtest_writel(QtestState *s, uint64_t addr, uint32_t val)
{
    qtest_put(s, "writel", addr, val);
}

void qtest_writeq(QtestState *s, uint64_t addr, uint64_t val)
{
    qtest_put(s, "writeq", addr, val);
}

uint8_t qtest_readb(QtestState *s, uint64_t addr)
{
    return (uint8_t)qtest_get(s, "readb", addr);
}

uint16_t qtest_readw(QtestState *s, uint64_t addr)
{
    return (uint16_t)qtest_get(s, "readw", addr);
}

uint32_t qtest_readl(QtestState *s, uint64_t addr)
{
    return (uint32_t)qtest_get(s, "readl", addr);
}

uint64_t qtest_readq(QtestState *s, uint64_t addr)
{
    return qtest_get(s, "readq", addr);
}

void qtest_memread(QtestState *s, uint64_t addr, void *buf, size_t len)
{
    g_autofree char *text = qtest_ok(s, "b64read 0x%" PRIx64 " 0x%zx", addr, len);
    gsize got;
    g_autofree guchar *data = g_base64_decode(text, &got);

    if (got != len) {
        qtest_die(s, "b64read returned %zu bytes instead of %zu", got, len);
    }
    memcpy(buf, data, len);
}

void qtest_memwrite(QtestState *s, uint64_t addr, const void *buf, size_t len)
{
    g_autofree char *text = g_base64_encode(buf, len);

    g_free(qtest_ok(s, "b64write 0x%" PRIx64 " 0x%zx %s", addr, len, text));
}

void qtest_memset(QtestState *s, uint64_t addr, uint8_t pattern, size_t len)
{
    g_free(qtest_ok(s, "memset 0x%" PRIx64 " 0x%zx 0x%x", addr, len, pattern));
}

int64_t qtest_clock_step(QtestState *s, int64_t ns)
{
    g_autofree char *text = qtest_ok(s, "clock_step %" PRId64, ns);

    if (s->server) {
        qtest_clock_step(s->server, ns);
    }
    return strtoll(text, NULL, 10);
}

int64_t qtest_clock_step_next(QtestState *s)
{
    g_autofree char *text = qtest_ok(s, "clock_step");

    if (s->server) {
        qtest_clock_step_next(s->server);
    }
    return strtoll(text, NULL, 10);
}

static void qtest_intercept(QtestState *s, char *command)
{
    g_free(qtest_ok(s, "%s", command));
    g_ptr_array_add(s->intercepts, command);
}

void qtest_irq_intercept_in(QtestState *s, const char *path)
{
    qtest_intercept(s, g_strdup_printf("irq_intercept_in %s", path));
}

void qtest_irq_intercept_out(QtestState *s, const char *path)
{
    qtest_intercept(s, g_strdup_printf("irq_intercept_out %s", path));
}

bool qtest_irq(QtestState *s, int n)
{
    /* Reports come before the answer of the command that follows them. */
    g_free(qtest_ok(s, "endianness"));
    return n >= 0 && n < QTEST_MAX_IRQS && s->irq[n];
}

void qtest_set_irq_in(QtestState *s, const char *path, const char *name, int n, int level)
{
    g_free(qtest_ok(s, "set_irq_in %s %s %d %d", path, name ? name : "unnamed-gpio-in", n, level));
}
