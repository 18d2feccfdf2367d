/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of chardev share: the instance, the table of back ends, and the
 * layer of file descriptors that all back ends use.
 */
#ifndef CHARDEV_CHARDEV_INTERNAL_H
#define CHARDEV_CHARDEV_INTERNAL_H

#include <json-c/json.h>

#include "chardev/chardev.h"

typedef struct ChardevBackend {
    const char *name;
    const char *doc;
    const char *const *keys; /* options besides those all have; NULL-terminated */
    /* Sets in_fd and out_fd, or the means to get them later.  On false nothing is left behind. */
    bool (*open)(Chardev *chr, struct json_object *opts, GError **error);
    /* Undoes open but for in_fd and out_fd, which the caller closes unless keep_fds. */
    void (*close)(Chardev *chr);
    /* The other side hung up and the descriptors were closed; NULL: that was the end. */
    void (*hung_up)(Chardev *chr);
    /* Nobody is waited for any more, in this loop; hung_up begins again, in another.  NULL: nothing to do. */
    void (*rest)(Chardev *chr);
    /* Takes output instead of out_fd; with the lock. */
    void (*write)(Chardev *chr, const uint8_t *buf, size_t len);
} ChardevBackend;

/* One who uses it. */
typedef struct ChardevSeat {
    ChardevFrontend fe;
    GByteArray *held; /* mux: what was typed for it while it took nothing */
} ChardevSeat;

/* Where in a telnet command the input is. */
typedef enum ChardevTelnetState {
    TELNET_DATA,
    TELNET_COMMAND, /* after IAC */
    TELNET_OPTION,  /* after WILL, WONT, DO, DONT */
    TELNET_SUB,     /* inside a subnegotiation */
    TELNET_SUB_IAC,
} ChardevTelnetState;

struct Chardev {
    Object obj;
    const ChardevBackend *backend;
    EventLoop *loop;
    char *filename;
    bool mux, escaped; /* Ctrl-A was typed */
    GArray *frontends; /* of ChardevSeat */
    unsigned focus;    /* index of the one that gets input */
    bool connected;
    bool keep_fds;     /* the descriptors are the process's own */
    bool at_end;       /* input has ended; output goes on */
    int in_fd, out_fd; /* non-blocking; -1: none */
    LoopFd *in_watch, *out_watch;
    LoopBh *watch_bh;
    GMutex lock; /* out, and out_fd while closing */
    GByteArray *out;
    size_t queue_limit; /* bytes */
    /* sockets */
    int listen_fd;
    LoopFd *listen_watch;
    char *unlink_path;
    bool passes_fds; /* it is of the kind that can */
    int passed_fd;   /* that came and nobody took; -1: none */
    struct SocketDial *dial; /* of a client that connects again; NULL: none */
    bool telnet, telnet_break;
    ChardevTelnetState telnet_state;
    struct ChardevRing *ring; /* of ringbuf */
    int log_fd;               /* logfile=; -1: none */
    /* terminals */
    int slave_fd;
};

extern const ChardevBackend chardev_null, chardev_stdio, chardev_file, chardev_pipe, chardev_pty, chardev_fd,
    chardev_socket, chardev_ringbuf;

/* The descriptors are ready: front ends see CHARDEV_OPENED.  -1 for none.  Main loop. */
void chardev_set_fds(Chardev *chr, int in_fd, int out_fd);
/* Ends the connection: closes the descriptors; front ends see CHARDEV_CLOSED. */
void chardev_hang_up(Chardev *chr);
/* Gives input to the front end that has the focus; interprets Ctrl-A under mux. */
void chardev_input(Chardev *chr, const uint8_t *buf, size_t len);
/* Tells all front ends, or (mux) moves the input. */
void chardev_tell(Chardev *chr, ChardevEvent event);
void chardev_mux_focus(Chardev *chr, unsigned index);
void chardev_mux_input(Chardev *chr, const uint8_t *buf, size_t len);
ChardevFrontend *chardev_focus_frontend(Chardev *chr);
/* Bytes of input to read now: the keys of a mux work although the guest takes none. */
size_t chardev_mux_room(Chardev *chr);
/* Gives front ends what was held for them, as much as they take. */
void chardev_mux_deliver(Chardev *chr);

/* --- chardev-socket.c --- */
/* read() that keeps a descriptor which came along. */
ssize_t chardev_socket_read(Chardev *chr, void *buf, size_t len);

/* --- chardev-telnet.c --- */
/* A connection begins: says how we would like it. */
void chardev_telnet_begin(Chardev *chr);
/* Input without what is not data, in place; returns how much that is.  Sets telnet_break. */
size_t chardev_telnet_filter(Chardev *chr, uint8_t *buf, size_t len);
/* Output as it goes over the wire. */
void chardev_telnet_append(GByteArray *out, const uint8_t *buf, size_t len);

/* Text of an option, or NULL. */
const char *chardev_opt_str(struct json_object *opts, const char *key);
/* A switch (on, off, yes, no, true, false).  False: *error. */
bool chardev_opt_bool(const Chardev *chr, struct json_object *opts, const char *key, bool def, bool *val,
                      GError **error);
bool chardev_set_nonblocking(int fd, bool on);

#endif
