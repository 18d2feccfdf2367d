/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Character devices: making and finding them, front ends, the output queue and
 * the descriptors below every back end.  They are objects below /chardevs.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "chardev-internal.h"
#include "core/error.h"

#define CHARDEV_QUEUE_LIMIT ((size_t)1 << 20)
#define CHARDEV_READ_SIZE   65536
/* How long output still queued may delay the end, in milliseconds. */
#define CHARDEV_LINGER_MS 1000

static const ChardevBackend *const chardev_backends[] = {
    &chardev_null, &chardev_stdio, &chardev_file,   &chardev_pipe,
    &chardev_pty,  &chardev_fd,    &chardev_socket, &chardev_ringbuf, NULL,
};

/* --- the object --- */

static struct json_object *chardev_filename_format(Object *obj, const Prop *prop)
{
    return json_object_new_string(chardev_filename((Chardev *)obj));
}

static bool chardev_filename_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    error_set(error, "%s: property '%s' is read-only", obj->id, prop->name);
    return false;
}

static void chardev_cleanup(Chardev *chr);

/* What the object owns is freed with this property, so that the tree may be freed without knowing about us.
 */
static void chardev_filename_clear(Object *obj, const Prop *prop)
{
    chardev_cleanup((Chardev *)obj);
}

static const PropType chardev_prop_filename = {
    .name = "str",
    .parse = chardev_filename_parse,
    .format = chardev_filename_format,
    .clear = chardev_filename_clear,
    .field_size = sizeof(char *),
};

static const Prop chardev_props[] = {
    {.name = "filename",
     .type = &chardev_prop_filename,
     .offset = offsetof(Chardev, filename),
     .flags = PROP_READONLY,
     .doc = "what is at the other end"},
    PROP_END,
};

static const ObjectModel chardev_model = {
    .model =
        {
            .name = "chardev",
            .doc = "A character device, made by -chardev.",
            .kind = MODEL_OBJECT,
            .size = sizeof(Chardev),
            .props = chardev_props,
            .internal = true,
        },
};

static Object *chardev_container(Machine *machine)
{
    return object_container(machine->root, "chardevs");
}

static void chardev_drop_watches(Chardev *chr)
{
    if (chr->in_watch) {
        loop_remove_fd(g_steal_pointer(&chr->in_watch));
    }
    if (chr->out_watch) {
        loop_remove_fd(g_steal_pointer(&chr->out_watch));
    }
}

static void chardev_close_fds(Chardev *chr)
{
    chardev_drop_watches(chr);
    g_mutex_lock(&chr->lock);
    if (!chr->keep_fds) {
        if (chr->in_fd >= 0) {
            close(chr->in_fd);
        }
        if (chr->out_fd >= 0 && chr->out_fd != chr->in_fd) {
            close(chr->out_fd);
        }
    }
    chr->in_fd = chr->out_fd = -1;
    g_byte_array_set_size(chr->out, 0);
    g_mutex_unlock(&chr->lock);
    if (chr->passed_fd >= 0) {
        close(chardev_take_fd(chr));
    }
}

/* Writes what is queued without waiting.  With the lock. */
static void chardev_flush(Chardev *chr)
{
    while (chr->out->len && chr->out_fd >= 0) {
        ssize_t n = write(chr->out_fd, chr->out->data, chr->out->len);

        if (n > 0) {
            g_byte_array_remove_range(chr->out, 0, (guint)n);
        } else if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && errno == EAGAIN) {
            return;
        } else {
            g_byte_array_set_size(chr->out, 0);
        }
    }
}

/* The process ends: what was written goes out, if the reader takes it in time. */
static void chardev_linger(Chardev *chr)
{
    gint64 end = g_get_monotonic_time() + CHARDEV_LINGER_MS * 1000;

    g_mutex_lock(&chr->lock);
    chardev_flush(chr);
    while (chr->out->len && chr->out_fd >= 0 && g_get_monotonic_time() < end) {
        struct pollfd pfd = {.fd = chr->out_fd, .events = POLLOUT};

        poll(&pfd, 1, 50);
        chardev_flush(chr);
    }
    g_mutex_unlock(&chr->lock);
}

static void chardev_cleanup(Chardev *chr)
{
    if (!chr->backend) {
        return;
    }
    chardev_linger(chr);
    chardev_close_fds(chr);
    if (chr->backend->close) {
        chr->backend->close(chr);
    }
    if (chr->log_fd >= 0) {
        close(chr->log_fd);
    }
    loop_bh_free(chr->watch_bh);
    g_byte_array_free(chr->out, TRUE);
    g_array_free(chr->frontends, TRUE);
    g_mutex_clear(&chr->lock);
    g_clear_pointer(&chr->filename, g_free);
    chr->backend = NULL;
}

/* --- descriptors --- */

static void chardev_update_watch(void *opaque);

static void chardev_received(Chardev *chr, uint8_t *buf, size_t len)
{
    if (chr->telnet) {
        len = chardev_telnet_filter(chr, buf, len);
    }
    if (len) {
        chardev_input(chr, buf, len);
    }
    if (chr->telnet_break) {
        chr->telnet_break = false;
        chardev_send_break(chr);
    }
}

/* Bytes of input that have a place. */
static size_t chardev_room(Chardev *chr)
{
    ChardevFrontend *fe = chardev_focus_frontend(chr);

    if (chr->mux) {
        return chardev_mux_room(chr);
    }
    return fe ? fe->can_read(fe->opaque) : 0;
}

static void chardev_readable(void *opaque)
{
    Chardev *chr = opaque;
    uint8_t buf[CHARDEV_READ_SIZE];
    size_t room = chardev_room(chr);
    ssize_t n;

    if (room) {
        n = chr->passes_fds ? chardev_socket_read(chr, buf, MIN(room, sizeof(buf))) : read(chr->in_fd, buf, MIN(room, sizeof(buf)));
        if (n > 0) {
            chardev_received(chr, buf, (size_t)n);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            chr->at_end = true;
            if (chr->in_fd == chr->out_fd) {
                chardev_hang_up(chr);
            }
        }
    }
    chardev_update_watch(chr);
}

static void chardev_writable(void *opaque)
{
    Chardev *chr = opaque;

    g_mutex_lock(&chr->lock);
    chardev_flush(chr);
    g_mutex_unlock(&chr->lock);
    /* A front end that waited for the queue to drain may take input again. */
    chardev_update_watch(chr);
}

/* Watches for what can be acted on, and no more: a watch that finds nothing to do would spin. */
static void chardev_update_watch(void *opaque)
{
    Chardev *chr = opaque;
    bool want_in, want_out;

    if (chr->mux) {
        chardev_mux_deliver(chr);
    }
    want_in = chr->in_fd >= 0 && !chr->at_end && chardev_room(chr) > 0;
    want_out = chr->out_fd >= 0 && chardev_pending(chr) > 0;
    if (want_in && !chr->in_watch) {
        chr->in_watch = loop_add_fd(chr->loop, chr->in_fd, chardev_readable, NULL, chr);
    } else if (!want_in && chr->in_watch) {
        loop_remove_fd(g_steal_pointer(&chr->in_watch));
    }
    if (want_out && !chr->out_watch) {
        chr->out_watch = loop_add_fd(chr->loop, chr->out_fd, NULL, chardev_writable, chr);
    } else if (!want_out && chr->out_watch) {
        loop_remove_fd(g_steal_pointer(&chr->out_watch));
    }
}

bool chardev_set_nonblocking(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) == 0;
}

void chardev_set_fds(Chardev *chr, int in_fd, int out_fd)
{
    g_mutex_lock(&chr->lock);
    chr->in_fd = in_fd;
    chr->out_fd = out_fd;
    chr->at_end = false;
    g_mutex_unlock(&chr->lock);
    chr->connected = true;
    if (chr->telnet) {
        chardev_telnet_begin(chr);
    }
    chardev_tell(chr, CHARDEV_OPENED);
    chardev_update_watch(chr);
}

void chardev_hang_up(Chardev *chr)
{
    if (!chr->connected) {
        return;
    }
    chardev_close_fds(chr);
    chr->connected = false;
    chardev_tell(chr, CHARDEV_CLOSED);
    if (chr->backend->hung_up) {
        chr->backend->hung_up(chr);
    }
}

/* --- making and finding --- */

const char *chardev_opt_str(struct json_object *opts, const char *key)
{
    struct json_object *value;

    return json_object_object_get_ex(opts, key, &value) ? json_object_get_string(value) : NULL;
}

bool chardev_opt_bool(const Chardev *chr, struct json_object *opts, const char *key, bool def, bool *val,
                      GError **error)
{
    const char *text = chardev_opt_str(opts, key);

    if (!text) {
        *val = def;
    } else if (strcmp(text, "on") == 0 || strcmp(text, "yes") == 0 || strcmp(text, "true") == 0) {
        *val = true;
    } else if (strcmp(text, "off") == 0 || strcmp(text, "no") == 0 || strcmp(text, "false") == 0) {
        *val = false;
    } else {
        error_set(error, "chardev %s: '%s' must be on or off (%s)", chr->obj.id, key, text);
        return false;
    }
    return true;
}

static const ChardevBackend *chardev_backend_find(const char *name, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (size_t i = 0; chardev_backends[i]; i++) {
        if (name && strcmp(chardev_backends[i]->name, name) == 0) {
            return chardev_backends[i];
        }
        g_string_append_printf(names, "%s%s", i ? ", " : "", chardev_backends[i]->name);
    }
    if (name) {
        error_set(error, "-chardev: unknown backend '%s' (allowed: %s)", name, names->str);
    } else {
        error_set(error, "-chardev: no backend given (allowed: %s)", names->str);
    }
    return NULL;
}

void chardev_each_backend(void (*fn)(const char *name, const char *doc, void *opaque), void *opaque)
{
    for (size_t i = 0; chardev_backends[i]; i++) {
        fn(chardev_backends[i]->name, chardev_backends[i]->doc, opaque);
    }
}

static bool chardev_check_keys(const ChardevBackend *backend, struct json_object *opts, GError **error)
{
    static const char *const common[] = {"backend", "id", "mux", "logfile", "logappend", NULL};

    json_object_object_foreach(opts, key, value)
    {
        (void)value;
        if (!g_strv_contains(common, key) && !(backend->keys && g_strv_contains(backend->keys, key))) {
            g_autofree char *allowed =
                backend->keys ? g_strjoinv(", ", (char **)backend->keys) : g_strdup("none");

            error_set(error, "-chardev %s: unknown option '%s' (allowed: mux, logfile, logappend, %s)", backend->name, key,
                      allowed);
            return false;
        }
    }
    return true;
}

static bool chardev_open_log(Chardev *chr, struct json_object *opts, GError **error)
{
    const char *path = chardev_opt_str(opts, "logfile");
    bool append;

    if (!chardev_opt_bool(chr, opts, "logappend", false, &append, error)) {
        return false;
    }
    if (!path) {
        return true;
    }
    chr->log_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
    if (chr->log_fd < 0) {
        error_set_errno(error, errno, "chardev %s: cannot write logfile '%s'", chr->obj.id, path);
        return false;
    }
    return true;
}

static void chardev_seat_clear(void *seat)
{
    g_byte_array_unref(((ChardevSeat *)seat)->held);
}

Chardev *chardev_new(Machine *machine, struct json_object *opts, GError **error)
{
    const char *id = chardev_opt_str(opts, "id");
    const ChardevBackend *backend = chardev_backend_find(chardev_opt_str(opts, "backend"), error);
    Chardev *chr;

    if (!backend || !chardev_check_keys(backend, opts, error)) {
        return NULL;
    }
    if (!id) {
        error_set(error, "-chardev %s: no id given; add id=NAME", backend->name);
        return NULL;
    }
    chr = (Chardev *)object_new(&chardev_model.model, machine, chardev_container(machine), id, error);
    if (!chr) {
        g_prefix_error(error, "-chardev %s: ", backend->name);
        return NULL;
    }
    chr->backend = backend;
    chr->loop = machine->main_loop;
    chr->in_fd = chr->out_fd = chr->listen_fd = chr->slave_fd = chr->log_fd = chr->passed_fd = -1;
    chr->queue_limit = CHARDEV_QUEUE_LIMIT;
    chr->out = g_byte_array_new();
    chr->frontends = g_array_new(FALSE, FALSE, sizeof(ChardevSeat));
    g_array_set_clear_func(chr->frontends, chardev_seat_clear);
    chr->watch_bh = loop_bh_new(chr->loop, chardev_update_watch, chr);
    g_mutex_init(&chr->lock);
    if (!chardev_opt_bool(chr, opts, "mux", false, &chr->mux, error) ||
        !chardev_open_log(chr, opts, error) || !backend->open(chr, opts, error)) {
        object_free(&chr->obj);
        return NULL;
    }
    if (!chr->filename) {
        chr->filename = g_strdup(backend->name);
    }
    return chr;
}

Chardev *chardev_find(Machine *machine, const char *id)
{
    return (Chardev *)object_child(chardev_container(machine), id);
}

void chardev_free(Chardev *chr)
{
    if (chr) {
        object_free(&chr->obj);
    }
}

void chardev_free_all(Machine *machine)
{
    Object *all = chardev_container(machine);

    while (all->children && all->children->len) {
        chardev_free(g_ptr_array_index(all->children, all->children->len - 1));
    }
}

/* --- front ends --- */

ChardevFrontend *chardev_focus_frontend(Chardev *chr)
{
    return chr->focus < chr->frontends->len ? &g_array_index(chr->frontends, ChardevSeat, chr->focus).fe : NULL;
}

void chardev_tell(Chardev *chr, ChardevEvent event)
{
    /* By index and length anew: a front end may detach itself. */
    for (guint i = 0; i < chr->frontends->len; i++) {
        ChardevFrontend fe = g_array_index(chr->frontends, ChardevSeat, i).fe;

        if (fe.event) {
            fe.event(fe.opaque, event);
        }
    }
}

void chardev_input(Chardev *chr, const uint8_t *buf, size_t len)
{
    if (chr->mux) {
        chardev_mux_input(chr, buf, len);
    } else {
        ChardevFrontend *fe = chardev_focus_frontend(chr);

        fe->read(fe->opaque, buf, len);
    }
}

/* Nobody is attached. */
static void chardev_move(Chardev *chr, EventLoop *loop)
{
    if (chr->loop == loop) {
        return;
    }
    chardev_drop_watches(chr);
    if (chr->backend->rest) {
        chr->backend->rest(chr);
    }
    loop_bh_free(chr->watch_bh);
    chr->loop = loop;
    chr->watch_bh = loop_bh_new(loop, chardev_update_watch, chr);
    if (chr->backend->hung_up && !chr->connected) {
        chr->backend->hung_up(chr); /* listens, there */
    }
}

bool chardev_attach(Chardev *chr, const ChardevFrontend *frontend, GError **error)
{
    return chardev_attach_in(chr, chr->obj.machine->main_loop, frontend, error);
}

bool chardev_attach_in(Chardev *chr, EventLoop *loop, const ChardevFrontend *frontend, GError **error)
{
    ChardevSeat seat = {.fe = *frontend};

    if (chr->mux && loop != chr->obj.machine->main_loop) {
        error_set(error, "chardev %s: with mux=on it works in the main loop only; give this device one of its own", chr->obj.id);
        return false;
    }
    if (chr->frontends->len && !chr->mux) {
        error_set(error, "chardev %s: is in use already; add mux=on to share it", chr->obj.id);
        return false;
    }
    chardev_move(chr, chr->frontends->len ? chr->loop : loop);
    seat.held = g_byte_array_new();
    g_array_append_val(chr->frontends, seat);
    if (chr->connected && frontend->event) {
        frontend->event(frontend->opaque, CHARDEV_OPENED);
    }
    chardev_update_watch(chr);
    return true;
}

void chardev_detach(Chardev *chr, void *opaque)
{
    for (guint i = 0; i < chr->frontends->len; i++) {
        if (g_array_index(chr->frontends, ChardevSeat, i).fe.opaque == opaque) {
            g_array_remove_index(chr->frontends, i);
            if (chr->focus > i || chr->focus == chr->frontends->len) {
                chr->focus = chr->focus ? chr->focus - 1 : 0;
            }
            break;
        }
    }
    if (!chr->frontends->len) {
        chardev_move(chr, chr->obj.machine->main_loop);
    }
    chardev_update_watch(chr);
}

bool chardev_focused(const Chardev *chr, const void *opaque)
{
    ChardevFrontend *fe = chardev_focus_frontend((Chardev *)chr);

    return fe && fe->opaque == opaque;
}

void chardev_send_break(Chardev *chr)
{
    ChardevFrontend *fe = chardev_focus_frontend(chr);

    if (fe && fe->event) {
        fe->event(fe->opaque, CHARDEV_BREAK);
    }
}

bool chardev_in_use(const Chardev *chr)
{
    return chr->frontends->len > 0;
}

void chardev_accept_input(Chardev *chr)
{
    loop_bh_schedule(chr->watch_bh);
}

/* Puts output where it goes, or into the queue for it.  With the lock. */
static void chardev_queue(Chardev *chr, const void *buf, size_t len)
{
    /* The log is a help: what does not get there is not worth stopping for. */
    if (chr->log_fd >= 0 && write(chr->log_fd, buf, len) < 0) {
        close(chr->log_fd);
        chr->log_fd = -1;
    }
    if (chr->backend->write) {
        chr->backend->write(chr, buf, len);
    } else if (chr->out_fd >= 0) {
        if (chr->telnet) {
            chardev_telnet_append(chr->out, buf, len);
        } else {
            g_byte_array_append(chr->out, buf, (guint)len);
        }
        chardev_flush(chr);
    }
}

void chardev_write(Chardev *chr, const void *buf, size_t len)
{
    bool waiting;

    g_mutex_lock(&chr->lock);
    chardev_queue(chr, buf, len);
    if (chr->out_fd >= 0) {
        if (chr->out->len > chr->queue_limit) {
            g_byte_array_remove_range(chr->out, 0, (guint)(chr->out->len - chr->queue_limit));
        }
    }
    waiting = chr->out->len > 0;
    g_mutex_unlock(&chr->lock);
    if (waiting) {
        loop_bh_schedule(chr->watch_bh);
    }
}

void chardev_write_all(Chardev *chr, const void *buf, size_t len)
{
    g_mutex_lock(&chr->lock);
    chardev_queue(chr, buf, len);
    while (chr->out->len && chr->out_fd >= 0) {
        struct pollfd pfd = {.fd = chr->out_fd, .events = POLLOUT};

        if (poll(&pfd, 1, -1) > 0 && !(pfd.revents & POLLOUT)) {
            g_byte_array_set_size(chr->out, 0);
        }
        chardev_flush(chr);
    }
    g_mutex_unlock(&chr->lock);
}

size_t chardev_pending(Chardev *chr)
{
    size_t len;

    g_mutex_lock(&chr->lock);
    len = chr->out->len;
    g_mutex_unlock(&chr->lock);
    return len;
}

void chardev_set_queue_limit(Chardev *chr, size_t bytes)
{
    chr->queue_limit = bytes;
}

int chardev_take_fd(Chardev *chr)
{
    int fd = chr->passed_fd;

    chr->passed_fd = -1;
    return fd;
}

bool chardev_connected(const Chardev *chr)
{
    return chr->connected;
}

const char *chardev_id(const Chardev *chr)
{
    return chr->obj.id;
}

const char *chardev_filename(const Chardev *chr)
{
    return chr->filename ? chr->filename : "";
}

/* --- chardev= of devices --- */

static bool chardev_prop_parse(Object *obj, const Prop *prop, struct json_object *value, GError **error)
{
    Chardev **field = (Chardev **)((char *)obj + prop->offset);
    const char *id = json_object_get_string(value);
    Chardev *chr = id ? chardev_find(obj->machine, id) : NULL;

    if (!chr) {
        error_set(error, "%s: property '%s': no chardev '%s'; add -chardev ...,id=%s", obj->model->name,
                  prop->name, id ? id : "", id ? id : "NAME");
        return false;
    }
    *field = chr;
    return true;
}

static struct json_object *chardev_prop_format(Object *obj, const Prop *prop)
{
    Chardev *chr = *(Chardev **)((char *)obj + prop->offset);

    return json_object_new_string(chr ? chardev_id(chr) : "");
}

const PropType prop_chardev = {
    .name = "str",
    .parse = chardev_prop_parse,
    .format = chardev_prop_format,
    .field_size = sizeof(Chardev *),
};
