/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qtest protocol, server side: one command a line, one answer a line
 * (`OK [value]`, `FAIL reason`), and `IRQ raise N` / `IRQ lower N` whenever an intercepted
 * line changes.  Commands and answers are those of QEMU's protocol, so its test
 * programs can drive this machine.
 *
 * All runs in the main loop.  Memory and port commands give up the main loop's
 * lock, because the device behind an address may be in another process.
 */
#include "accel/qtest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/error.h"

/* Longest transfer of one command, and the line that carries it as hex digits. */
#define QTEST_MAX_DATA  (UINT64_C(16) << 20)
#define QTEST_MAX_LINE  (2 * QTEST_MAX_DATA + 256)
#define QTEST_MAX_WORDS 6
#define QTEST_MAX_IRQS  4096

struct QtestServer {
    Machine *machine;
    Chardev *chr;
    FILE *log;
    bool close_log;
    struct timespec start;
    GString *line;
    bool overlong;       /* the rest of the line is dropped */
    Device *intercepted; /* NULL: none yet */
    int8_t *irq_level;   /* last level of each reported line; -1: not reported yet */
};

typedef struct QtestCommand {
    const char *name;
    int min_args, max_args;
    void (*run)(QtestServer *s, char **words);
} QtestCommand;

/* --- answers --- */

static void qtest_log(QtestServer *s, const char *direction, const char *text)
{
    struct timespec now;
    double seconds;

    if (!s->log) {
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    seconds = (double)(now.tv_sec - s->start.tv_sec) + (double)(now.tv_nsec - s->start.tv_nsec) / 1e9;
    fprintf(s->log, "[%s %+.6f] %s\n", direction, seconds, text);
    fflush(s->log);
}

static void G_GNUC_PRINTF(2, 3) qtest_reply(QtestServer *s, const char *fmt, ...)
{
    va_list ap;
    char *text, *line;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    qtest_log(s, "S", text);
    line = g_strconcat(text, "\n", NULL);
    chardev_write_all(s->chr, line, strlen(line));
    g_free(line);
    g_free(text);
}

static bool qtest_number(QtestServer *s, const char *text, uint64_t *val)
{
    char *end;

    errno = 0;
    *val = strtoull(text, &end, 0);
    if (errno || end == text || *end) {
        qtest_reply(s, "FAIL '%s' is not a number", text);
        return false;
    }
    return true;
}

/* Address and byte count of a transfer, with an upper bound on the count. */
static bool qtest_range(QtestServer *s, char **words, uint64_t *addr, uint64_t *len)
{
    if (!qtest_number(s, words[1], addr) || !qtest_number(s, words[2], len)) {
        return false;
    }
    if (*len == 0 || *len > QTEST_MAX_DATA || *addr + (*len - 1) < *addr) {
        qtest_reply(s, "FAIL size %s is out of range (1..%" PRIu64 ", within the address space)", words[2],
                    QTEST_MAX_DATA);
        return false;
    }
    return true;
}

/* --- ports and memory --- */

static uint64_t qtest_load(QtestServer *s, AddressSpace *as, uint64_t addr, unsigned size)
{
    unsigned depth = loop_release(s->machine->main_loop);
    uint64_t val = UINT64_MAX >> (64 - 8 * size);

    if (addr % size == 0) {
        as_load(as, addr, size, &val, MEM_ATTRS_CPU);
    } else {
        uint8_t bytes[8];

        as_read(as, addr, bytes, size, MEM_ATTRS_CPU);
        val = 0;
        for (unsigned i = 0; i < size; i++) {
            val |= (uint64_t)bytes[i] << (8 * i);
        }
    }
    loop_reacquire(s->machine->main_loop, depth);
    return val & (UINT64_MAX >> (64 - 8 * size));
}

static void qtest_store(QtestServer *s, AddressSpace *as, uint64_t addr, unsigned size, uint64_t val)
{
    unsigned depth = loop_release(s->machine->main_loop);

    if (addr % size == 0) {
        as_store(as, addr, size, val & (UINT64_MAX >> (64 - 8 * size)), MEM_ATTRS_CPU);
    } else {
        uint8_t bytes[8];

        for (unsigned i = 0; i < size; i++) {
            bytes[i] = (uint8_t)(val >> (8 * i));
        }
        as_write(as, addr, bytes, size, MEM_ATTRS_CPU);
    }
    loop_reacquire(s->machine->main_loop, depth);
}

static void qtest_read_bytes(QtestServer *s, uint64_t addr, uint8_t *buf, uint64_t len)
{
    unsigned depth = loop_release(s->machine->main_loop);

    as_read(s->machine->memory, addr, buf, len, MEM_ATTRS_CPU);
    loop_reacquire(s->machine->main_loop, depth);
}

static void qtest_write_bytes(QtestServer *s, uint64_t addr, const uint8_t *buf, uint64_t len)
{
    unsigned depth = loop_release(s->machine->main_loop);

    as_write(s->machine->memory, addr, buf, len, MEM_ATTRS_CPU);
    loop_reacquire(s->machine->main_loop, depth);
}

static unsigned qtest_suffix_size(const char *name)
{
    switch (name[strlen(name) - 1]) {
    case 'b':
        return 1;
    case 'w':
        return 2;
    case 'l':
        return 4;
    default:
        return 8;
    }
}

static void qtest_out(QtestServer *s, char **words)
{
    uint64_t port, val;

    if (!qtest_number(s, words[1], &port) || !qtest_number(s, words[2], &val)) {
        return;
    }
    if (port > 0xffff) {
        qtest_reply(s, "FAIL port %s is out of range (0..0xffff)", words[1]);
        return;
    }
    qtest_store(s, s->machine->io, port, qtest_suffix_size(words[0]), val);
    qtest_reply(s, "OK");
}

static void qtest_in(QtestServer *s, char **words)
{
    uint64_t port;

    if (!qtest_number(s, words[1], &port)) {
        return;
    }
    if (port > 0xffff) {
        qtest_reply(s, "FAIL port %s is out of range (0..0xffff)", words[1]);
        return;
    }
    qtest_reply(s, "OK 0x%04" PRIx64, qtest_load(s, s->machine->io, port, qtest_suffix_size(words[0])));
}

static void qtest_mem_write(QtestServer *s, char **words)
{
    uint64_t addr, val;

    if (!qtest_number(s, words[1], &addr) || !qtest_number(s, words[2], &val)) {
        return;
    }
    qtest_store(s, s->machine->memory, addr, qtest_suffix_size(words[0]), val);
    qtest_reply(s, "OK");
}

static void qtest_mem_read(QtestServer *s, char **words)
{
    uint64_t addr;

    if (!qtest_number(s, words[1], &addr)) {
        return;
    }
    qtest_reply(s, "OK 0x%016" PRIx64, qtest_load(s, s->machine->memory, addr, qtest_suffix_size(words[0])));
}

static void qtest_read_block(QtestServer *s, char **words)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t addr, len;
    uint8_t *buf;
    char *text;

    if (!qtest_range(s, words, &addr, &len)) {
        return;
    }
    buf = g_malloc0(len);
    text = g_malloc(2 * len + 1);
    qtest_read_bytes(s, addr, buf, len);
    for (uint64_t i = 0; i < len; i++) {
        text[2 * i] = digits[buf[i] >> 4];
        text[2 * i + 1] = digits[buf[i] & 15];
    }
    text[2 * len] = 0;
    qtest_reply(s, "OK 0x%s", text);
    g_free(text);
    g_free(buf);
}

/* Missing digits at the end count as zero bytes. */
static void qtest_write_block(QtestServer *s, char **words)
{
    uint64_t addr, len, digits;
    uint8_t *buf;

    if (!qtest_range(s, words, &addr, &len)) {
        return;
    }
    if (strncmp(words[3], "0x", 2) != 0 ||
        strspn(words[3] + 2, "0123456789abcdefABCDEF") != strlen(words[3] + 2)) {
        qtest_reply(s, "FAIL data must be 0x and hexadecimal digits");
        return;
    }
    digits = strlen(words[3] + 2);
    buf = g_malloc0(len);
    for (uint64_t i = 0; i < len && 2 * i + 1 < digits; i++) {
        buf[i] = (uint8_t)(g_ascii_xdigit_value(words[3][2 + 2 * i]) << 4 |
                           g_ascii_xdigit_value(words[3][3 + 2 * i]));
    }
    qtest_write_bytes(s, addr, buf, len);
    g_free(buf);
    qtest_reply(s, "OK");
}

static void qtest_b64read(QtestServer *s, char **words)
{
    uint64_t addr, len;
    uint8_t *buf;
    char *text;

    if (!qtest_range(s, words, &addr, &len)) {
        return;
    }
    buf = g_malloc0(len);
    qtest_read_bytes(s, addr, buf, len);
    text = g_base64_encode(buf, len);
    qtest_reply(s, "OK %s", text);
    g_free(text);
    g_free(buf);
}

static void qtest_b64write(QtestServer *s, char **words)
{
    uint64_t addr, len;
    gsize got;
    guchar *buf;

    if (!qtest_range(s, words, &addr, &len)) {
        return;
    }
    if (!*words[3]) {
        qtest_reply(s, "FAIL no data");
        return;
    }
    buf = g_base64_decode(words[3], &got);
    if (got != len) {
        qtest_reply(s, "FAIL data is %zu bytes, size says %" PRIu64, got, len);
    } else {
        qtest_write_bytes(s, addr, buf, len);
        qtest_reply(s, "OK");
    }
    g_free(buf);
}

static void qtest_memset(QtestServer *s, char **words)
{
    uint64_t addr, len, pattern;
    uint8_t *buf;

    if (!qtest_range(s, words, &addr, &len) || !qtest_number(s, words[3], &pattern)) {
        return;
    }
    buf = g_malloc(len);
    memset(buf, (uint8_t)pattern, len);
    qtest_write_bytes(s, addr, buf, len);
    g_free(buf);
    qtest_reply(s, "OK");
}

static void qtest_endianness(QtestServer *s, char **words)
{
    qtest_reply(s, "OK little");
}

/* --- time --- */

static void qtest_clock_to(QtestServer *s, uint64_t now)
{
    int64_t old = clock_now(s->machine->clocks, CLOCK_KIND_VIRTUAL);

    if (now > INT64_MAX || (int64_t)now < old) {
        qtest_reply(s, "FAIL guest time cannot go back (%" PRIu64 ", now %" PRId64 ")", now, old);
        return;
    }
    clock_warp(s->machine->clocks, (int64_t)now);
    qtest_reply(s, "OK %" PRId64, clock_now(s->machine->clocks, CLOCK_KIND_VIRTUAL));
}

/* Without a number: to the next timer. */
static void qtest_clock_step(QtestServer *s, char **words)
{
    uint64_t step;
    int64_t now = clock_now(s->machine->clocks, CLOCK_KIND_VIRTUAL);

    if (words[1]) {
        if (qtest_number(s, words[1], &step)) {
            qtest_clock_to(s, step > INT64_MAX ? UINT64_MAX : (uint64_t)now + step);
        }
    } else {
        int64_t deadline = clock_next_deadline(s->machine->clocks);

        qtest_clock_to(s, (uint64_t)MAX(deadline, now));
    }
}

static void qtest_clock_set(QtestServer *s, char **words)
{
    uint64_t now;

    if (qtest_number(s, words[1], &now)) {
        qtest_clock_to(s, now);
    }
}

/* --- interrupt lines --- */

static void qtest_irq_changed(void *opaque, const char *name, int n, int level)
{
    QtestServer *s = opaque;

    if (n < 0 || n >= QTEST_MAX_IRQS || s->irq_level[n] == (level != 0)) {
        return;
    }
    /* The first report of a low line is no change. */
    if (s->irq_level[n] < 0 && !level) {
        s->irq_level[n] = 0;
        return;
    }
    s->irq_level[n] = level != 0;
    qtest_reply(s, "IRQ %s %d", level ? "raise" : "lower", n);
}

static Device *qtest_device(QtestServer *s, const char *path)
{
    Object *obj = object_resolve(s->machine, path);

    if (!obj || (obj->model->kind != MODEL_DEVICE && obj->model->kind != MODEL_PCI)) {
        qtest_reply(s, "FAIL Unknown device '%s'", path);
        return NULL;
    }
    return (Device *)obj;
}

static void qtest_intercept(QtestServer *s, char **words)
{
    Device *dev = qtest_device(s, words[1]);
    bool outputs = strcmp(words[0], "irq_intercept_out") == 0;
    g_autoptr(GError) error = NULL;

    if (!dev) {
        return;
    }
    if (s->intercepted) {
        qtest_reply(s, s->intercepted == dev ? "OK" : "FAIL IRQ intercept already enabled");
        return;
    }
    s->irq_level = g_malloc(QTEST_MAX_IRQS);
    memset(s->irq_level, -1, QTEST_MAX_IRQS);
    if (!device_intercept_irqs(dev, words[2], outputs, qtest_irq_changed, s, &error)) {
        g_clear_pointer(&s->irq_level, g_free);
        qtest_reply(s, "FAIL %s", error->message);
        return;
    }
    s->intercepted = dev;
    qtest_reply(s, "OK");
}

static void qtest_set_irq_in(QtestServer *s, char **words)
{
    Device *dev = qtest_device(s, words[1]);
    const char *name = strcmp(words[2], "unnamed-gpio-in") == 0 ? NULL : words[2];
    uint64_t n, level;
    IrqLine *line;

    if (!dev || !qtest_number(s, words[3], &n) || !qtest_number(s, words[4], &level)) {
        return;
    }
    line = n <= INT32_MAX ? device_irq_input(dev, name, (int)n) : NULL;
    if (!line) {
        qtest_reply(s, "FAIL '%s' has no input %s[%s]", words[1], words[2], words[3]);
        return;
    }
    loop_lock(dev->home);
    irq_set(line, level != 0);
    loop_unlock(dev->home);
    qtest_reply(s, "OK");
}

/* --- lines --- */

static const QtestCommand qtest_commands[] = {
    {"outb", 2, 2, qtest_out},
    {"outw", 2, 2, qtest_out},
    {"outl", 2, 2, qtest_out},
    {"inb", 1, 1, qtest_in},
    {"inw", 1, 1, qtest_in},
    {"inl", 1, 1, qtest_in},
    {"writeb", 2, 2, qtest_mem_write},
    {"writew", 2, 2, qtest_mem_write},
    {"writel", 2, 2, qtest_mem_write},
    {"writeq", 2, 2, qtest_mem_write},
    {"readb", 1, 1, qtest_mem_read},
    {"readw", 1, 1, qtest_mem_read},
    {"readl", 1, 1, qtest_mem_read},
    {"readq", 1, 1, qtest_mem_read},
    {"read", 2, 2, qtest_read_block},
    {"write", 3, 3, qtest_write_block},
    {"b64read", 2, 2, qtest_b64read},
    {"b64write", 3, 3, qtest_b64write},
    {"memset", 3, 3, qtest_memset},
    {"endianness", 0, 0, qtest_endianness},
    {"clock_step", 0, 1, qtest_clock_step},
    {"clock_set", 1, 1, qtest_clock_set},
    {"irq_intercept_in", 1, 2, qtest_intercept},
    {"irq_intercept_out", 1, 2, qtest_intercept},
    {"set_irq_in", 4, 4, qtest_set_irq_in},
};

static void qtest_run_line(QtestServer *s, char *line)
{
    char *words[QTEST_MAX_WORDS + 1] = {NULL};
    char *save = NULL;
    int count = 0;

    qtest_log(s, "R", line);
    for (char *w = strtok_r(line, " \t\r", &save); w && count < QTEST_MAX_WORDS;
         w = strtok_r(NULL, " \t\r", &save)) {
        words[count++] = w;
    }
    if (count == 0) {
        qtest_reply(s, "FAIL empty command");
        return;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(qtest_commands); i++) {
        const QtestCommand *cmd = &qtest_commands[i];

        if (strcmp(cmd->name, words[0]) != 0) {
            continue;
        }
        if (count - 1 < cmd->min_args || count - 1 > cmd->max_args) {
            qtest_reply(s, "FAIL %s takes %d to %d arguments (%d given)", cmd->name, cmd->min_args,
                        cmd->max_args, count - 1);
            return;
        }
        cmd->run(s, words);
        return;
    }
    qtest_reply(s, "FAIL Unknown command '%s'", words[0]);
}

static size_t qtest_can_read(void *opaque)
{
    return 65536;
}

static void qtest_end_line(QtestServer *s)
{
    if (s->overlong) {
        qtest_reply(s, "FAIL line is too long (allowed %" PRIu64 " bytes)", (uint64_t)QTEST_MAX_LINE);
    } else {
        g_autofree char *line = g_strndup(s->line->str, s->line->len);

        g_string_truncate(s->line, 0);
        qtest_run_line(s, line);
    }
    s->overlong = false;
    g_string_truncate(s->line, 0);
}

static void qtest_read(void *opaque, const uint8_t *buf, size_t len)
{
    QtestServer *s = opaque;

    while (len) {
        const uint8_t *eol = memchr(buf, '\n', len);
        size_t part = eol ? (size_t)(eol - buf) : len;

        if (s->line->len + part > QTEST_MAX_LINE) {
            s->overlong = true;
        } else if (!s->overlong) {
            g_string_append_len(s->line, (const char *)buf, (gssize)part);
        }
        if (!eol) {
            return;
        }
        qtest_end_line(s);
        buf += part + 1;
        len -= part + 1;
    }
}

static void qtest_event(void *opaque, ChardevEvent event)
{
    QtestServer *s = opaque;

    if (event == CHARDEV_OPENED) {
        clock_gettime(CLOCK_MONOTONIC, &s->start);
        g_string_truncate(s->line, 0);
        s->overlong = false;
        qtest_log(s, "I", "OPENED");
    } else if (event == CHARDEV_CLOSED) {
        qtest_log(s, "I", "CLOSED");
    }
}

QtestServer *qtest_server_new(Machine *machine, Chardev *chr, const char *log, GError **error)
{
    QtestServer *s = g_new0(QtestServer, 1);
    ChardevFrontend frontend = {qtest_can_read, qtest_read, qtest_event, s};

    s->machine = machine;
    s->chr = chr;
    s->line = g_string_new(NULL);
    clock_gettime(CLOCK_MONOTONIC, &s->start);
    if (!log) {
        s->log = stderr;
    } else if (strcmp(log, "none") != 0) {
        s->log = fopen(log, "we");
        s->close_log = true;
        if (!s->log) {
            error_set_errno(error, errno, "-qtest-log: cannot write '%s'", log);
            qtest_server_free(s);
            return NULL;
        }
    }
    if (!chardev_attach(chr, &frontend, error)) {
        s->chr = NULL;
        qtest_server_free(s);
        return NULL;
    }
    return s;
}

void qtest_server_free(QtestServer *s)
{
    if (!s) {
        return;
    }
    if (s->intercepted) {
        device_intercept_irqs(s->intercepted, NULL, false, NULL, NULL, NULL);
    }
    if (s->chr) {
        chardev_detach(s->chr, s);
    }
    if (s->log && s->close_log) {
        fclose(s->log);
    }
    g_string_free(s->line, TRUE);
    g_free(s->irq_level);
    g_free(s);
}
