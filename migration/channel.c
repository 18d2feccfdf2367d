/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tcp:, unix:, fd:, exec:, file: to fds. */
#include "migration/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/error.h"
#include "core/prop.h"

#define SEND_BUFFER (1 << 20)

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
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (in) {
        unlink(path);
    }
    if (c->fd < 0 || (in ? bind(c->fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(c->fd, 1)
                         : connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)))) {
        error_set_errno(error, errno, "migration unix:%s: cannot %s", path, in ? "listen" : "connect");
        return false;
    }
    c->listening = in;
    c->path = in ? g_strdup(path) : NULL;
    return true;
}

static bool open_tcp(MigChannel *c, const char *address, bool in, GError **error)
{
    g_autofree char *host = g_strdup(address), *where = NULL;
    char *port = strrchr(host, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = in ? AI_PASSIVE : 0}, *list;
    int err, one = 1;

    if (!port) {
        error_set(error, "migration tcp:%s: no port (expected tcp:HOST:PORT)", address);
        return false;
    }
    *port++ = '\0';
    where = g_strdup_printf("migration tcp:%s", address);
    if (!opts_port_check(where, port, error)) {
        return false;
    }
    err = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (err) {
        error_set(error, "migration tcp:%s: %s", address, gai_strerror(err));
        return false;
    }
    c->two_way = true;
    c->listening = in;
    c->fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd >= 0 && in) {
        setsockopt(c->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    }
    err = c->fd < 0 || (in ? bind(c->fd, list->ai_addr, list->ai_addrlen) || listen(c->fd, 1)
                           : connect(c->fd, list->ai_addr, list->ai_addrlen))
              ? errno
              : 0;
    freeaddrinfo(list);
    if (err) {
        error_set_errno(error, err, "migration tcp:%s: cannot %s", address, in ? "listen" : "connect");
    }
    return !err;
}

static bool open_fd(MigChannel *c, const char *number, bool in, GError **error)
{
    char *end;
    long fd = strtol(number, &end, 10);
    int type;
    socklen_t len = sizeof(type);

    if (end == number || *end || fd < 0 || fcntl((int)fd, F_GETFD) < 0) {
        error_set(error, "migration fd:%s: not an open file descriptor", number);
        return false;
    }
    c->fd = fcntl((int)fd, F_DUPFD_CLOEXEC, 0);
    c->two_way = !getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &len);
    return c->fd >= 0;
}

static bool open_file(MigChannel *c, const char *text, bool in, GError **error)
{
    g_autofree char *path = g_strdup(text);
    char *option = strstr(path, ",offset="), *end;
    guint64 offset = 0;

    if (option) {
        offset = g_ascii_strtoull(option + 8, &end, 0);
        if (end == option + 8 || *end || offset > G_MAXINT64) {
            error_set(error, "migration file:%s: bad offset", text);
            return false;
        }
        *option = '\0';
    }
    c->fd = open(path, (in ? O_RDONLY : O_WRONLY | O_CREAT) | O_CLOEXEC, 0600);
    if (c->fd < 0 || (!in && ftruncate(c->fd, (off_t)offset)) || lseek(c->fd, (off_t)offset, SEEK_SET) < 0) {
        error_set_errno(error, errno, "migration file:%s: cannot open", path);
        return false;
    }
    return true;
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
        dup2(fds[in ? 1 : 0], in ? STDOUT_FILENO : STDIN_FILENO);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(fds[in ? 1 : 0]);
    c->fd = fds[in ? 0 : 1];
    if (c->child < 0) {
        error_set_errno(error, errno, "migration exec:%s: cannot fork", command);
    }
    return c->child > 0;
}

static bool channel_open(MigChannel *c, const char *uri, bool in, GError **error)
{
    static const struct {
        const char *scheme;
        ChannelOpen *open;
    } schemes[] = {{"tcp:", open_tcp}, {"unix:", open_unix}, {"fd:", open_fd}, {"exec:", open_exec}, {"file:", open_file}};

    *c = (MigChannel){.fd = -1};
    for (size_t i = 0; i < G_N_ELEMENTS(schemes); i++) {
        if (g_str_has_prefix(uri, schemes[i].scheme)) {
            if (schemes[i].open(c, uri + strlen(schemes[i].scheme), in, error)) {
                return true;
            }
            if (c->fd >= 0) {
                close(c->fd);
                c->fd = -1;
            }
            return false;
        }
    }
    error_set(error, "migration %s: unknown kind of address (allowed tcp:HOST:PORT, unix:PATH, fd:N, exec:COMMAND, file:PATH)",
              uri);
    return false;
}

/* A buffer of less than a few records makes both sides wait for each other at each; TCP finds its size itself. */
static void widen_local(int fd)
{
    int domain = AF_UNSPEC, bytes = SEND_BUFFER;
    socklen_t len = sizeof(domain);

    if (!getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)); /* as much of it as the host allows */
    }
}

bool mig_channel_out(MigChannel *c, const char *uri, GError **error)
{
    bool ok = channel_open(c, uri, false, error);

    if (ok) {
        widen_local(c->fd);
    }
    return ok;
}

bool mig_channel_in(MigChannel *c, const char *uri, GError **error)
{
    return channel_open(c, uri, true, error);
}

bool mig_channel_finish(MigChannel *c, GError **error)
{
    pid_t child = c->child;
    int status = 0;

    if (c->path) {
        unlink(c->path);
        g_clear_pointer(&c->path, g_free);
    }
    c->child = 0;
    if (child > 0 && waitpid(child, &status, 0) == child && status) {
        error_set(error, "migration: the command ended with status %d", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
        return false;
    }
    return true;
}
