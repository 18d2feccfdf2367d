/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One client of the VNC server: RFC 6143, section 7 (protocol 3.3, 3.7 and 3.8), with the pseudo-encodings DesktopSize and
 * QEMU Extended Key Event of the RFB community's list.  What a client sends is taken apart in 64 bytes; what it does not
 * read is bounded by not encoding more for it, and by not listening to it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vnc-internal.h"

#define OUT_ENCODE     0x40000u  /* bytes waiting: no more is encoded */
#define OUT_DEAF       0x100000u /* bytes waiting: nothing more is read */
#define RECT_PIXELS    0x10000u
#define RECT_WIDTH     2048u
#define RECTS_MAX      60000u
#define TURN_PIXELS    0x20000u /* encoded at once, before others have their turn */
#define PATIENCE_NS    (10 * INT64_C(1000000000))

enum { SECURITY_INVALID, SECURITY_NONE, SECURITY_VNC };
enum { CLIENT_SET_FORMAT = 0, CLIENT_SET_ENCODINGS = 2, CLIENT_UPDATE = 3, CLIENT_KEY = 4, CLIENT_POINTER = 5, CLIENT_CUT = 6,
       CLIENT_QEMU = 255 };

static VncHandler client_message;

/* --- bytes --- */

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
    return get16(p) << 16 | get16(p + 2);
}

static size_t out_pending(const VncClient *c)
{
    return c->out->len - c->out_at;
}

static void client_await(VncClient *c, size_t need, VncHandler *handler)
{
    c->need = need;
    c->handler = handler;
}

static void client_read(void *opaque);
static void client_write(void *opaque);

static void client_watch(VncClient *c)
{
    if (!c->gone) {
        loop_set_fd(c->watch, out_pending(c) < OUT_DEAF ? client_read : NULL, out_pending(c) ? client_write : NULL);
    }
}

static void client_write(void *opaque)
{
    VncClient *c = opaque;

    while (!c->gone && out_pending(c)) {
        ssize_t n = send(c->fd, c->out->data + c->out_at, out_pending(c), MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            vnc_client_drop(c);
            return;
        }
        if (n < 0) {
            break;
        }
        c->out_at += (size_t)n;
    }
    if (!out_pending(c)) {
        g_byte_array_set_size(c->out, 0);
        c->out_at = 0;
    } else if (c->out_at > OUT_ENCODE) {
        g_byte_array_remove_range(c->out, 0, (guint)c->out_at);
        c->out_at = 0;
    }
    if (out_pending(c) < OUT_ENCODE && c->ready && !c->gone) {
        loop_bh_schedule(c->pump);
    }
    client_watch(c);
}

static void client_flush(VncClient *c)
{
    if (!c->gone) {
        client_write(c);
    }
}

/* --- updates --- */

void vnc_client_mark(VncClient *c, unsigned y, unsigned x0, unsigned x1)
{
    VncSpan *span;

    x1 = MIN(x1, c->width);
    if (!c->ready || y >= c->height || x0 >= x1) {
        return;
    }
    span = &c->dirty[y];
    if (span->x0 >= span->x1) {
        *span = (VncSpan){(uint16_t)x0, (uint16_t)x1};
    } else {
        span->x0 = (uint16_t)MIN(span->x0, x0);
        span->x1 = (uint16_t)MAX(span->x1, x1);
    }
}

static void client_mark_area(VncClient *c, const VncRect *r)
{
    for (unsigned y = r->y; y < c->height && y - r->y < r->h; y++) {
        vnc_client_mark(c, y, r->x, r->x + r->w);
    }
}

static void client_set_size(VncClient *c)
{
    c->width = c->server->screen.width;
    c->height = c->server->screen.height;
    g_free(c->dirty);
    c->dirty = g_new0(VncSpan, c->height);
}

void vnc_client_resized(VncClient *c)
{
    client_mark_area(c, &(VncRect){0, 0, c->width, c->height});
}

/* The dirty columns of line y inside the area that is asked for; taken, when `take`. */
static VncSpan client_span(VncClient *c, unsigned y, bool take)
{
    VncSpan *span = &c->dirty[y], seen = {(uint16_t)MAX(span->x0, c->area.x), (uint16_t)MIN(span->x1, c->area.x + c->area.w)};

    if (take && seen.x0 == span->x0 && seen.x1 == span->x1) {
        *span = (VncSpan){0, 0};
    }
    return seen;
}

static bool span_empty(VncSpan s)
{
    return s.x0 >= s.x1;
}

/* Promises what is dirty: lines that follow each other together, in pieces. */
static void client_collect(VncClient *c)
{
    unsigned end = MIN(c->height, c->area.y + c->area.h);

    for (unsigned y = c->area.y; y < end && c->rects->len < RECTS_MAX;) {
        VncSpan run = client_span(c, y, true);
        unsigned first = y++;

        if (span_empty(run)) {
            continue;
        }
        for (; y < end; y++) {
            VncSpan next = client_span(c, y, false), both = {MIN(run.x0, next.x0), MAX(run.x1, next.x1)};

            if (span_empty(next) || MIN((unsigned)(both.x1 - both.x0), RECT_WIDTH) * (y + 1 - first) > RECT_PIXELS) {
                break;
            }
            run = both;
            client_span(c, y, true);
        }
        for (unsigned x = run.x0; x < run.x1; x += RECT_WIDTH) {
            VncRect r = {x, first, MIN((unsigned)run.x1 - x, RECT_WIDTH), y - first};

            g_array_append_val(c->rects, r);
        }
    }
}

static void client_begin_update(VncClient *c, unsigned rects)
{
    vnc_put(c->out, 0, 2);
    vnc_put(c->out, rects, 2);
    c->wants = false;
}

static void client_pseudo_rect(VncClient *c, int encoding)
{
    client_begin_update(c, 1);
    vnc_put(c->out, 0, 4);
    vnc_put(c->out, c->width, 2);
    vnc_put(c->out, c->height, 2);
    vnc_put(c->out, (uint32_t)encoding, 4);
}

static bool client_busy(const VncClient *c)
{
    return c->next_rect < c->rects->len || out_pending(c);
}

void vnc_client_update(VncClient *c)
{
    if (!c->ready || c->gone || !c->wants || client_busy(c)) {
        return;
    }
    if (c->can_resize && (c->width != c->server->screen.width || c->height != c->server->screen.height)) {
        client_set_size(c);
        vnc_client_resized(c);
        client_pseudo_rect(c, VNC_ENCODING_DESKTOP_SIZE);
        client_flush(c);
        return;
    }
    if (c->can_extended_keys && !c->told_extended_keys) {
        c->told_extended_keys = true;
        client_pseudo_rect(c, VNC_ENCODING_EXTENDED_KEY);
        client_flush(c);
        return;
    }
    g_array_set_size(c->rects, 0);
    c->next_rect = 0;
    client_collect(c);
    if (c->rects->len) {
        client_begin_update(c, c->rects->len);
        loop_bh_schedule(c->pump);
    }
}

/* Encodes some of what is promised; goes on when there is room, and after others had their turn. */
static void client_pump(void *opaque)
{
    VncClient *c = opaque;
    unsigned pixels = 0;

    if (c->gone) {
        return;
    }
    while (c->next_rect < c->rects->len && out_pending(c) < OUT_ENCODE && pixels < TURN_PIXELS) {
        const VncRect *r = &g_array_index(c->rects, VncRect, c->next_rect++);

        vnc_encode_rect(&c->encoder, &c->format, &c->server->screen, r, c->out);
        pixels += r->w * r->h;
    }
    if (pixels) {
        client_flush(c); /* comes back here when it is written */
    } else if (c->wants) {
        vnc_server_wake(c->server, false);
    }
}

/* --- what the client says --- */

static void client_set_format(VncClient *c, const uint8_t *in)
{
    if (!vnc_format_set(&c->format, in + 4)) {
        vnc_client_drop(c);
        return;
    }
    if (!in[7]) {
        vnc_format_map(c->out);
        client_flush(c);
    }
    client_await(c, 1, client_message);
}

static void client_encoding(VncClient *c, const uint8_t *in)
{
    int encoding = (int)get32(in);

    if (encoding == VNC_ENCODING_DESKTOP_SIZE) {
        c->can_resize = true;
    } else if (encoding == VNC_ENCODING_EXTENDED_KEY) {
        c->can_extended_keys = true;
    } else if (encoding >= VNC_ENCODING_LEVEL_0 && encoding <= VNC_ENCODING_LEVEL_0 + 9) {
        c->encoder.level = MAX(encoding - VNC_ENCODING_LEVEL_0, 1);
    } else if (c->encoder.encoding < 0 &&
               (encoding == VNC_ENCODING_RAW || encoding == VNC_ENCODING_ZLIB || encoding == VNC_ENCODING_TIGHT)) {
        c->encoder.encoding = encoding; /* the client's first choice */
    }
    if (--c->encodings_left) {
        client_await(c, 4, client_encoding);
        return;
    }
    c->encoder.encoding = MAX(c->encoder.encoding, VNC_ENCODING_RAW);
    client_await(c, 1, client_message);
}

static void client_set_encodings(VncClient *c, const uint8_t *in)
{
    c->encodings_left = get16(in + 2);
    c->can_resize = c->can_extended_keys = false;
    c->encoder.encoding = c->encodings_left ? -1 : VNC_ENCODING_RAW;
    client_await(c, c->encodings_left ? 4 : 1, c->encodings_left ? client_encoding : client_message);
}

static void client_ask_update(VncClient *c, const uint8_t *in)
{
    VncRect r = {get16(in + 2), get16(in + 4), get16(in + 6), get16(in + 8)};

    if (!in[1]) {
        client_mark_area(c, &r);
    }
    /* A second request before the first is answered extends it. */
    if (c->wants) {
        unsigned right = MAX(r.x + r.w, c->area.x + c->area.w), bottom = MAX(r.y + r.h, c->area.y + c->area.h);

        r.x = MIN(r.x, c->area.x);
        r.y = MIN(r.y, c->area.y);
        r.w = right - r.x;
        r.h = bottom - r.y;
    }
    c->area = r;
    c->wants = true;
    client_await(c, 1, client_message);
    vnc_server_wake(c->server, !in[1]);
}

static void client_press(VncClient *c, InputKey key, bool down)
{
    uint8_t *held = &c->keys[key / 8], bit = (uint8_t)(1u << key % 8);

    *held = down ? *held | bit : *held & (uint8_t)~bit;
    input_send_key(c->server->obj.machine, key, down);
    vnc_server_wake(c->server, true);
}

static void client_key(VncClient *c, const uint8_t *in)
{
    InputKey key;

    if (vnc_key_find(get32(in + 4), &key)) {
        client_press(c, key, in[1]);
    }
    client_await(c, 1, client_message);
}

static void client_extended_key(VncClient *c, const uint8_t *in)
{
    InputKey key;

    if (get32(in + 8) <= 0xff ? input_key_find_number(get32(in + 8), &key) : vnc_key_find(get32(in + 4), &key)) {
        client_press(c, key, get16(in + 2));
    }
    client_await(c, 1, client_message);
}

static void client_qemu(VncClient *c, const uint8_t *in)
{
    if (in[1] != 0) {
        vnc_client_drop(c);
        return;
    }
    client_await(c, 12, client_extended_key);
    memcpy(c->in, in, 2);
    c->in_len = 2;
}

static int axis_position(unsigned at, unsigned size)
{
    return size > 1 ? (int)((uint64_t)MIN(at, size - 1) * INPUT_ABS_MAX / (size - 1)) : 0;
}

static void client_pointer(VncClient *c, const uint8_t *in)
{
    static const InputButton buttons[] = {INPUT_BUTTON_LEFT, INPUT_BUTTON_MIDDLE, INPUT_BUTTON_RIGHT, INPUT_BUTTON_WHEEL_UP,
                                          INPUT_BUTTON_WHEEL_DOWN};
    Machine *m = c->server->obj.machine;
    unsigned x = get16(in + 2), y = get16(in + 4);

    if (input_taker(m, INPUT_TAKES_ABS)) {
        input_send_abs(m, INPUT_AXIS_X, axis_position(x, c->width));
        input_send_abs(m, INPUT_AXIS_Y, axis_position(y, c->height));
    } else if (c->placed) {
        input_send_rel(m, INPUT_AXIS_X, (int)x - (int)c->x);
        input_send_rel(m, INPUT_AXIS_Y, (int)y - (int)c->y);
    }
    c->x = x;
    c->y = y;
    c->placed = true;
    for (unsigned i = 0; i < G_N_ELEMENTS(buttons); i++) {
        if ((c->buttons ^ in[1]) >> i & 1) {
            input_send_button(m, buttons[i], in[1] >> i & 1);
        }
    }
    c->buttons = in[1];
    input_sync(m);
    client_await(c, 1, client_message);
    vnc_server_wake(c->server, true);
}

static void client_cut(VncClient *c, const uint8_t *in)
{
    c->skip = get32(in + 4);
    client_await(c, 1, client_message);
}

static const struct {
    uint8_t type;
    size_t len;
    VncHandler *handler;
} client_messages[] = {
    {CLIENT_SET_FORMAT, 20, client_set_format}, {CLIENT_SET_ENCODINGS, 4, client_set_encodings},
    {CLIENT_UPDATE, 10, client_ask_update},     {CLIENT_KEY, 8, client_key},
    {CLIENT_POINTER, 6, client_pointer},        {CLIENT_CUT, 8, client_cut},
    {CLIENT_QEMU, 2, client_qemu},
};

/* The first byte: the rest of the message is awaited behind it. */
static void client_message(VncClient *c, const uint8_t *in)
{
    for (size_t i = 0; i < G_N_ELEMENTS(client_messages); i++) {
        if (client_messages[i].type == in[0]) {
            client_await(c, client_messages[i].len, client_messages[i].handler);
            c->in[0] = in[0];
            c->in_len = 1;
            return;
        }
    }
    vnc_client_drop(c);
}

/* --- before that --- */

static void client_init(VncClient *c, const uint8_t *in)
{
    static const uint8_t format[16] = {32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0};
    const char *machine = c->server->obj.machine->name;
    g_autofree char *name = machine ? g_strdup_printf("mpqemu (%s)", machine) : g_strdup("mpqemu");

    timer_cancel(c->patience);
    vnc_server_client_ready(c->server, c, in[0]);
    c->ready = true;
    client_set_size(c);
    vnc_format_set(&c->format, format);
    vnc_put(c->out, c->width, 2);
    vnc_put(c->out, c->height, 2);
    g_byte_array_append(c->out, format, sizeof(format));
    vnc_put(c->out, (uint32_t)strlen(name), 4);
    g_byte_array_append(c->out, (const uint8_t *)name, (guint)strlen(name));
    client_await(c, 1, client_message);
    client_flush(c);
}

/* SecurityResult, which 3.7 and older do not have for those who need no password. */
static void client_security_result(VncClient *c, bool ok, bool asked, const char *reason)
{
    if (asked || c->minor >= 8) {
        vnc_put(c->out, !ok, 4);
    }
    if (!ok && c->minor >= 8) {
        vnc_put(c->out, (uint32_t)strlen(reason), 4);
        g_byte_array_append(c->out, (const uint8_t *)reason, (guint)strlen(reason));
    }
    client_await(c, 1, client_init);
    client_flush(c);
    if (!ok) {
        vnc_client_drop(c);
    }
}

static void client_response(VncClient *c, const uint8_t *in)
{
    client_security_result(c, vnc_server_check(c->server, c->challenge, in), true, "wrong password");
}

static void client_challenge(VncClient *c)
{
    if (getrandom(c->challenge, sizeof(c->challenge), 0) != sizeof(c->challenge)) {
        vnc_client_drop(c);
        return;
    }
    g_byte_array_append(c->out, c->challenge, sizeof(c->challenge));
    client_await(c, VNC_CHALLENGE, client_response);
    client_flush(c);
}

static void client_security(VncClient *c, const uint8_t *in)
{
    unsigned wanted = c->server->with_password ? SECURITY_VNC : SECURITY_NONE;

    if (in[0] != wanted) {
        client_security_result(c, false, true, "this security type was not offered");
    } else if (wanted == SECURITY_VNC) {
        client_challenge(c);
    } else {
        client_security_result(c, true, false, NULL);
    }
}

static void client_version(VncClient *c, const uint8_t *in)
{
    unsigned security = c->server->with_password ? SECURITY_VNC : SECURITY_NONE;

    if (memcmp(in, "RFB 003.", 8) != 0 || !g_ascii_isdigit(in[8]) || !g_ascii_isdigit(in[9]) || !g_ascii_isdigit(in[10]) ||
        in[11] != '\n') {
        vnc_client_drop(c);
        return;
    }
    c->minor = (unsigned)((in[8] - '0') * 100 + (in[9] - '0') * 10 + in[10] - '0');
    c->minor = c->minor >= 8 ? 8 : c->minor == 7 ? 7 : 3; /* other numbers are to be taken for 3.3 */
    if (c->minor > 3) {
        vnc_put(c->out, 1, 1);
        vnc_put(c->out, security, 1);
        client_await(c, 1, client_security);
        client_flush(c);
        return;
    }
    vnc_put(c->out, security, 4);
    if (security == SECURITY_VNC) {
        client_challenge(c);
    } else {
        client_await(c, 1, client_init);
        client_flush(c);
    }
}

/* --- life --- */

static void client_feed(VncClient *c, const uint8_t *data, size_t len)
{
    while (len && !c->gone) {
        size_t n = MIN(len, c->skip ? c->skip : c->need - c->in_len);

        if (c->skip) {
            c->skip -= n;
        } else {
            uint8_t message[sizeof(c->in)];

            memcpy(c->in + c->in_len, data, n);
            c->in_len += n;
            if (c->in_len == c->need) {
                memcpy(message, c->in, c->need);
                c->in_len = 0;
                c->handler(c, message);
            }
        }
        data += n;
        len -= n;
    }
}

static void client_read(void *opaque)
{
    VncClient *c = opaque;
    uint8_t data[4096];
    ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);

    if (n > 0) {
        client_feed(c, data, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        vnc_client_drop(c);
    }
    client_watch(c);
}

static void client_impatient(void *opaque)
{
    vnc_client_drop(opaque);
}

static void client_name(VncClient *c)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char host[NI_MAXHOST], service[NI_MAXSERV];

    if (getpeername(c->fd, (struct sockaddr *)&sa, &len) == 0 && sa.ss_family != AF_UNIX &&
        getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), service, sizeof(service), NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        c->host = g_strdup(host);
        c->service = g_strdup(service);
    } else {
        c->host = g_strdup("");
        c->service = g_strdup("");
    }
}

VncClient *vnc_client_new(VncServer *server, int fd)
{
    EventLoop *loop = server->obj.machine->main_loop;
    VncClient *c = g_new0(VncClient, 1);

    c->server = server;
    c->fd = fd;
    c->out = g_byte_array_new();
    c->rects = g_array_new(FALSE, FALSE, sizeof(VncRect));
    c->pump = loop_bh_new(loop, client_pump, c);
    c->patience = timer_new(loop, CLOCK_KIND_REALTIME, client_impatient, c);
    timer_set(c->patience, clock_now(server->obj.machine->clocks, CLOCK_KIND_REALTIME) + PATIENCE_NS);
    c->watch = loop_add_fd(loop, fd, client_read, NULL, c);
    client_name(c);
    client_await(c, 12, client_version);
    g_byte_array_append(c->out, (const uint8_t *)"RFB 003.008\n", 12);
    client_flush(c);
    return c;
}

/* What it held down is let go. */
static void client_release(VncClient *c)
{
    static const uint8_t nothing[sizeof(c->keys)];
    Machine *m = c->server->obj.machine;

    if (!c->buttons && !memcmp(c->keys, nothing, sizeof(nothing))) {
        return;
    }
    for (unsigned key = 0; key < INPUT_KEY_COUNT; key++) {
        if (c->keys[key / 8] >> key % 8 & 1) {
            input_send_key(m, key, false);
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        if (c->buttons >> i & 1) {
            input_send_button(m, (InputButton)i, false);
        }
    }
    input_sync(m);
}

void vnc_client_drop(VncClient *c)
{
    if (c->gone) {
        return;
    }
    c->gone = true;
    timer_cancel(c->patience);
    loop_remove_fd(g_steal_pointer(&c->watch));
    close(c->fd);
    client_release(c);
    vnc_server_client_gone(c->server, c);
}

void vnc_client_free(VncClient *c)
{
    if (!c->gone) {
        loop_remove_fd(c->watch);
        close(c->fd);
    }
    loop_bh_free(c->pump);
    timer_free(c->patience);
    vnc_encoder_close(&c->encoder);
    g_byte_array_unref(c->out);
    g_array_unref(c->rects);
    g_free(c->dirty);
    g_free(c->host);
    g_free(c->service);
    g_free(c);
}
