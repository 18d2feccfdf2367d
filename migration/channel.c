/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tcp:, unix:, fd:, exec:, file: to fds. */
#include "migration/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "core/prop.h"

#define SEND_BUFFER (1 << 18)
#define OFFSET      ",offset="
#define POLL_MS     100 /* until it is seen that somebody thought better of it */
#define CHILD_US    10000
#define CHILD_WAITS 100 /* of CHILD_US: that long a command may take to end when it is asked to */

typedef bool ChannelOpen(MigChannel *c, const char *rest, bool in, GError **error);

static bool open_unix(MigChannel *c, const char *path, bool in, GError **error)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (!*path || strlen(path) >= sizeof(addr.sun_path)) {
        error_set(error, "migration unix:%s: bad path (allowed 1..%zu bytes)", path, sizeof(addr.sun_path) - 1);
        return false;
    }
    strcpy(addr.sun_path, path);
    c->two_way = true;
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (in) {
        unlink(path);
    }
    if (c->fd < 0 || (in ? bind(c->fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(c->fd, 1)
                         : connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)))) {
        error_set_errno(error, errno, "migration unix:%s: cannot %s", path, in ? "listen" : "connect");
        return false;
    }
    fcntl(c->fd, F_SETFL, 0); /* it had to be quick to connect */
    c->listening = in;
    c->path = in ? g_strdup(path) : NULL;
    return true;
}

/* HOST:PORT, [ADDRESS]:PORT; c->host and c->port. */
static bool parse_tcp(MigChannel *c, const char *address, GError **error)
{
    g_autofree char *where = g_strdup_printf("migration tcp:%s", address);
    const char *colon = strrchr(address, ':');
    gsize len = colon ? (gsize)(colon - address) : 0;
    bool bracketed = address[0] == '[';

    if (!colon || !colon[1] || (bracketed && colon[-1] != ']')) {
        error_set(error, "%s: no port (expected tcp:HOST:PORT)", where);
        return false;
    }
    if (colon[1 + strcspn(colon + 1, ",")]) {
        error_set(error, "%s: '%s' after the port is not supported (expected tcp:HOST:PORT)", where, strchr(colon, ','));
        return false;
    }
    if (!opts_port_check(where, colon + 1, error)) {
        return false;
    }
    c->host = g_strndup(address + bracketed, len - 2 * bracketed);
    c->port = g_strdup(colon + 1);
    return true;
}

static struct addrinfo *resolve(const MigChannel *c, bool in, GError **error)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = in ? AI_PASSIVE : 0}, *list = NULL;
    int err = getaddrinfo(*c->host ? c->host : NULL, c->port, &hints, &list);

    if (err) {
        error_set(error, "migration tcp:%s:%s: %s", c->host, c->port, gai_strerror(err));
    }
    return list;
}

static bool tcp_listen(int fd, const struct addrinfo *at)
{
    int one = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    return !bind(fd, at->ai_addr, at->ai_addrlen) && !listen(fd, 1);
}

/* False: errno.  A host that does not answer is waited for until *aborted. */
static bool tcp_connect(int fd, const struct addrinfo *at, const int *aborted)
{
    struct pollfd pfd = {fd, POLLOUT, 0};
    socklen_t len = sizeof(errno);
    int flags = fcntl(fd, F_GETFL), err = 0;

    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    if (connect(fd, at->ai_addr, at->ai_addrlen) && errno != EINPROGRESS) {
        return false;
    }
    while (!__atomic_load_n(aborted, __ATOMIC_SEQ_CST) && poll(&pfd, 1, POLL_MS) <= 0) {
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) || err || !pfd.revents) {
        errno = err ? err : ECANCELED;
        return false;
    }
    fcntl(fd, F_SETFL, flags);
    return true;
}

/* At the first address of the host's that will do. */
static bool tcp_open(MigChannel *c, bool in, const int *aborted, GError **error)
{
    struct addrinfo *list = resolve(c, in, error);
    int err = 0;

    for (struct addrinfo *at = list; at && c->fd < 0; at = at->ai_next) {
        int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd >= 0 && (in ? tcp_listen(fd, at) : tcp_connect(fd, at, aborted))) {
            c->fd = fd;
            break;
        }
        err = errno;
        if (fd >= 0) {
            close(fd);
        }
    }
    if (list) {
        freeaddrinfo(list);
    }
    if (list && c->fd < 0) {
        error_set_errno(error, err, "migration tcp:%s:%s: cannot %s", c->host, c->port, in ? "listen" : "connect");
    }
    return c->fd >= 0;
}

static bool open_tcp(MigChannel *c, const char *address, bool in, GError **error)
{
    c->two_way = true;
    c->listening = in;
    return parse_tcp(c, address, error) && (!in || tcp_open(c, true, NULL, error));
}

/* The channel takes it. */
static bool open_fd(MigChannel *c, const char *text, bool in, GError **error)
{
    int type;
    socklen_t len = sizeof(type);

    c->fd = machine_fd_open(c->machine, text, error);
    if (c->fd < 0) {
        g_prefix_error(error, "migration fd:%s: ", text);
        return false;
    }
    c->two_way = !getsockopt(c->fd, SOL_SOCKET, SO_TYPE, &type, &len);
    if (c->two_way) {
        fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) & ~O_NONBLOCK);
    }
    return true;
}

static bool file_offset(const char *text, char *option, guint64 *offset, GError **error)
{
    char *end;

    *offset = option ? g_ascii_strtoull(option + strlen(OFFSET), &end, 0) : 0;
    if (option && (end == option + strlen(OFFSET) || *end || *offset > G_MAXINT64)) {
        error_set(error, "migration file:%s: bad offset", text);
        return false;
    }
    return true;
}

/* A disk or a terminal has no length to set, a FIFO no place to seek. */
static bool file_place(int fd, bool in, off_t offset)
{
    struct stat st;

    return !fstat(fd, &st) && (in || !S_ISREG(st.st_mode) || !ftruncate(fd, offset)) &&
           (!offset || lseek(fd, offset, SEEK_SET) == offset);
}

static bool open_file(MigChannel *c, const char *text, bool in, GError **error)
{
    g_autofree char *path = g_strdup(text);
    char *option = strstr(path, OFFSET);
    guint64 offset;

    if (!file_offset(text, option, &offset, error)) {
        return false;
    }
    if (option) {
        *option = '\0';
    }
    c->fd = open(path, (in ? O_RDONLY : O_WRONLY | O_CREAT) | O_CLOEXEC | O_NONBLOCK, 0600);
    if (c->fd < 0 || !file_place(c->fd, in, (off_t)offset)) {
        error_set_errno(error, errno, "migration file:%s: cannot open", path);
        return false;
    }
    return true;
}

/* Signals are to the command what they are to any. */
static void run_command(const char *command, int from, int to)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    dup2(from, to);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static bool open_exec(MigChannel *c, const char *command, bool in, GError **error)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0) {
        error_set_errno(error, errno, "migration exec:%s: cannot make a pipe", command);
        return false;
    }
    c->child = fork();
    if (c->child == 0) {
        run_command(command, fds[in ? 1 : 0], in ? STDOUT_FILENO : STDIN_FILENO);
    }
    close(fds[in ? 1 : 0]);
    c->fd = fds[in ? 0 : 1];
    if (c->child < 0) {
        error_set_errno(error, errno, "migration exec:%s: cannot fork", command);
    }
    return c->child > 0;
}

static bool channel_open(MigChannel *c, Machine *m, const char *uri, bool in, GError **error)
{
    static const struct {
        const char *scheme;
        ChannelOpen *open;
    } schemes[] = {{"tcp:", open_tcp}, {"unix:", open_unix}, {"fd:", open_fd}, {"exec:", open_exec}, {"file:", open_file}};

    *c = (MigChannel){.fd = -1, .machine = m};
    for (size_t i = 0; i < G_N_ELEMENTS(schemes); i++) {
        if (g_str_has_prefix(uri, schemes[i].scheme)) {
            return schemes[i].open(c, uri + strlen(schemes[i].scheme), in, error);
        }
    }
    error_set(error, "migration %s: unknown kind of address (allowed tcp:HOST:PORT, unix:PATH, fd:N, fd:NAME, exec:COMMAND, file:PATH)",
              uri);
    return false;
}

/*
 * A buffer of less than a record makes both sides wait for each other at each; one of many takes what is in it out of the cache.
 * TCP finds its size itself.
 */
static void widen_local(int fd)
{
    int domain = AF_UNSPEC, bytes = SEND_BUFFER;
    socklen_t len = sizeof(domain);

    if (!getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)); /* as much of it as the host allows */
    }
}

/* Others may hold the other end and not read or write: only sockets can be shut down then. */
static void never_block(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static bool channel_begin(MigChannel *c, Machine *m, const char *uri, bool in, GError **error)
{
    bool ok = channel_open(c, m, uri, in, error);

    if (!ok) {
        mig_channel_end(c);
    } else if (!c->two_way) {
        never_block(c->fd);
    } else if (!in) {
        widen_local(c->fd);
    }
    return ok;
}

bool mig_channel_out(MigChannel *c, Machine *m, const char *uri, GError **error)
{
    return channel_begin(c, m, uri, false, error);
}

bool mig_channel_in(MigChannel *c, Machine *m, const char *uri, GError **error)
{
    return channel_begin(c, m, uri, true, error);
}

bool mig_channel_connect(MigChannel *c, const int *aborted, GError **error)
{
    return c->fd >= 0 || tcp_open(c, false, aborted, error);
}

/* It has ended, with *status, or goes on; there is one. */
static bool child_ended(MigChannel *c, int *status)
{
    bool ended = waitpid(c->child, status, WNOHANG) == c->child;

    if (ended) {
        c->child = 0;
    }
    return ended;
}

/* g_free */
static char *status_text(int status)
{
    return WIFSIGNALED(status) ? g_strdup_printf("the command was ended by signal %d", WTERMSIG(status))
                               : g_strdup_printf("the command ended with status %d", WEXITSTATUS(status));
}

bool mig_channel_finish(MigChannel *c, const int *aborted, GError **error)
{
    g_autofree char *text = NULL;
    int status = 0;

    while (c->child > 0 && !child_ended(c, &status)) {
        if (__atomic_load_n(aborted, __ATOMIC_SEQ_CST)) {
            error_set(error, "migration: the command was not waited for");
            return false;
        }
        g_usleep(CHILD_US);
    }
    if (status) {
        text = status_text(status);
        error_set(error, "migration: %s", text);
    }
    return !status;
}

void mig_channel_explain(MigChannel *c, int fd, GError **error)
{
    struct pollfd pfd = {fd, 0, 0};
    g_autofree char *message = NULL, *text = NULL;
    int status = 0;

    if (c->child <= 0 || poll(&pfd, 1, 0) <= 0) {
        return; /* the other end is still there */
    }
    for (int i = 0; i < CHILD_WAITS && !child_ended(c, &status); i++) {
        g_usleep(CHILD_US);
    }
    if (status) {
        message = g_strdup((*error)->message);
        text = status_text(status);
        g_clear_error(error);
        error_set(error, "%s; %s", message, text);
    }
}

void mig_channel_end(MigChannel *c)
{
    int status;

    if (c->child > 0) {
        kill(c->child, SIGTERM);
        for (int i = 0; i < CHILD_WAITS && c->child && !child_ended(c, &status); i++) {
            g_usleep(CHILD_US);
        }
    }
    if (c->child > 0) {
        kill(c->child, SIGKILL);
        waitpid(c->child, &status, 0);
    }
    if (c->fd >= 0) {
        close(c->fd);
    }
    if (c->path) {
        unlink(c->path);
        g_free(c->path);
    }
    g_free(c->host);
    g_free(c->port);
    *c = (MigChannel){.fd = -1};
}
