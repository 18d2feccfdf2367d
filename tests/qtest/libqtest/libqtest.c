/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Starting and ending the program under test. */
#include "libqtest-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* Long enough for a sanitized program on a busy machine. */
#define QTEST_TIMEOUT_MS 120000

void qtest_die(QtestState *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fprintf(stderr, "qtest: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    if (s && s->server) {
        kill(s->server->pid, SIGKILL);
    }
    if (s && s->pid > 0) {
        kill(s->pid, SIGKILL);
    }
    abort();
}

static const char *qtest_binary(void)
{
    const char *binary = g_getenv("QTEST_QEMU_BINARY");

    if (!binary) {
        qtest_die(NULL, "set QTEST_QEMU_BINARY to the program under test");
    }
    return binary;
}

/* argv from program, options and text; g_strfreev. */
static char **qtest_argv(const char *options, const char *args)
{
    g_autofree char *line = g_strdup_printf("%s %s", options, args);
    GPtrArray *argv = g_ptr_array_new();
    GError *error = NULL;
    char **words = NULL;
    int count = 0;

    if (!g_shell_parse_argv(line, &count, &words, &error)) {
        qtest_die(NULL, "arguments: %s", error->message);
    }
    g_ptr_array_add(argv, g_strdup(qtest_binary()));
    for (int i = 0; i < count; i++) {
        g_ptr_array_add(argv, words[i]);
    }
    g_ptr_array_add(argv, NULL);
    g_free(words);
    return (char **)g_ptr_array_free(argv, FALSE);
}

static pid_t qtest_spawn(char **argv, int err_fd)
{
    pid_t pid = fork();

    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(null, STDIN_FILENO);
        if (err_fd >= 0) {
            dup2(err_fd, STDERR_FILENO);
        }
        execv(argv[0], argv);
        fprintf(stderr, "qtest: cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    return pid;
}

int qtest_run_to_exit(const char *args, char **err)
{
    g_auto(GStrv) argv = qtest_argv("", args);
    g_autoptr(GString) text = g_string_new(NULL);
    int fds[2], status;
    char buf[1024];
    ssize_t n;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) != 0) {
        qtest_die(NULL, "pipe: %s", strerror(errno));
    }
    pid = qtest_spawn(argv, fds[1]);
    close(fds[1]);
    while ((n = read(fds[0], buf, sizeof(buf))) > 0) {
        g_string_append_len(text, buf, n);
    }
    close(fds[0]);
    waitpid(pid, &status, 0);
    if (err) {
        *err = g_strdup(text->str);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int qtest_listen(const char *path)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(sun.sun_path, path, sizeof(sun.sun_path));
    if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) || listen(fd, 1)) {
        qtest_die(NULL, "cannot listen at %s: %s", path, strerror(errno));
    }
    return fd;
}

void qtest_wire_new(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
        qtest_die(NULL, "socketpair: %s", strerror(errno));
    }
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
}

static bool qtest_exited(QtestState *s)
{
    siginfo_t info = {0};

    return waitid(P_PID, (id_t)s->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == s->pid;
}

static int qtest_accept(QtestState *s, int listener)
{
    for (int waited = 0; waited < QTEST_TIMEOUT_MS; waited += 20) {
        struct pollfd pfd = {.fd = listener, .events = POLLIN};

        if (poll(&pfd, 1, 20) > 0) {
            int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

            close(listener);
            return fd;
        }
        if (qtest_exited(s)) {
            qtest_die(s, "the program ended before it connected");
        }
    }
    qtest_die(s, "the program did not connect in time");
}

QtestState *qtest_launch(const char *args, bool incoming)
{
    QtestState *s = g_new0(QtestState, 1);
    g_autofree char *qtest_path = NULL, *qmp_path = NULL, *options = NULL;
    g_auto(GStrv) argv = NULL;
    int qtest_fd, qmp_fd;

    signal(SIGPIPE, SIG_IGN);
    s->args = g_strdup(args);
    s->intercepts = g_ptr_array_new_with_free_func(g_free);
    s->dir = g_dir_make_tmp("qtest-XXXXXX", NULL);
    s->line = g_string_new(NULL);
    s->qmp_line = g_string_new(NULL);
    s->events = g_queue_new();
    qtest_path = g_build_filename(s->dir, "qtest.sock", NULL);
    qmp_path = g_build_filename(s->dir, "qmp.sock", NULL);
    qtest_fd = qtest_listen(qtest_path);
    qmp_fd = qtest_listen(qmp_path);
    options =
        g_strdup_printf("-qtest unix:%s -qtest-log %s -qmp unix:%s -accel qtest -nodefaults -display none %s",
                        qtest_path, g_getenv("QTEST_LOG") ? "/dev/fd/2" : "none", qmp_path, incoming ? "-incoming defer" : "");
    argv = qtest_argv(options, args);
    s->pid = qtest_spawn(argv, -1);
    /* In the order in which the program connects. */
    s->qmp_fd = qtest_accept(s, qmp_fd);
    s->fd = qtest_accept(s, qtest_fd);
    qtest_qmp_greet(s);
    return s;
}

QtestState *qtest_launch_split(const char *server_args, const char *client_args, bool incoming)
{
    QtestState *server = qtest_launch(server_args, incoming), *s;
    g_autofree char *args = NULL;
    g_autofree char *sock = strcmp(g_getenv("QTEST_TRANSPORT"), "unix") == 0 ?
                                g_strdup_printf("'type': 'unix', 'path': '%s/vfu.sock'", server->dir) :
                                g_strdup_printf("'type': 'vsock', 'cid': '1', 'port': '%d'", 0x10000 + server->pid);

    qtest_qmp_ok(server,
                 "{'execute': 'object-add', 'arguments': {'qom-type': 'x-vfio-user-server', 'id': 'vfu0', "
                 "'device': 'dev0', %s}}",
                 sock);
    g_strdelimit(sock, "'", '"');
    args = g_strdup_printf("%s -device '{\"driver\": \"vfio-user-pci\", \"id\": \"dev0\", \"socket\": {%s}}'", client_args, sock);
    s = qtest_launch(args, incoming);
    g_free(s->args);
    s->args = g_strdup(client_args);
    s->server = server;
    server->client = s;
    return s;
}

QtestState *qtest_start(const char *args)
{
    QtestState *s = qtest_launch(args, false);

    qtest_move_begin(s);
    return s;
}

QtestState *qtest_start_controller(const char *backend_args, const char *device, const char *downstream_args,
                                   const char *client_args)
{
    const char *transport = g_getenv("QTEST_TRANSPORT");
    static const char client[] =
        "-machine q35,memory-backend=mem -object memory-backend-memfd,id=mem,size=64M,share=on";
    g_autofree char *args = NULL, *server_args = NULL;
    QtestState *s;

    if (!transport || strcmp(transport, "local") == 0) {
        args = g_strdup_printf("%s %s %s -device '%s,id=dev0' %s", client, backend_args, client_args, device,
                               downstream_args);
        return qtest_start(args);
    }
    if (strcmp(transport, "unix") != 0 && strcmp(transport, "vsock") != 0) {
        qtest_die(NULL, "QTEST_TRANSPORT=%s: allowed are local, unix, vsock", transport);
    }
    server_args = g_strdup_printf("-machine x-remote,vfio-user=on %s -device '%s,id=dev0' %s", backend_args, device,
                                  downstream_args);
    args = g_strdup_printf("%s %s", client, client_args);
    s = qtest_launch_split(server_args, args, false);
    qtest_move_begin(s);
    return s;
}

QtestState *qtest_start_device(const char *backend_args, const char *device, const char *client_args)
{
    return qtest_start_controller(backend_args, device, "", client_args);
}

bool qtest_is_split(QtestState *s)
{
    return s->server != NULL;
}

bool qtest_transport_passes_fds(void)
{
    return g_strcmp0(g_getenv("QTEST_TRANSPORT"), "vsock") != 0;
}

QtestState *qtest_server(QtestState *s)
{
    return s->server;
}

int qtest_pid(const QtestState *s)
{
    return s->pid;
}

static void qtest_remove_dir(const char *path)
{
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        unlink(file);
    }
    if (dir) {
        g_dir_close(dir);
    }
    rmdir(path);
}

static void qtest_free(QtestState *s)
{
    struct json_object *event;

    if (s->fd >= 0) {
        close(s->fd);
    }
    if (s->qmp_fd >= 0) {
        close(s->qmp_fd);
    }
    qtest_remove_dir(s->dir);
    g_string_free(s->line, TRUE);
    g_string_free(s->qmp_line, TRUE);
    while ((event = g_queue_pop_head(s->events))) {
        json_object_put(event);
    }
    g_queue_free(s->events);
    g_ptr_array_unref(s->intercepts);
    g_free(s->args);
    g_free(s->dir);
    g_free(s);
}

static void qtest_reap(QtestState *s, bool must_be_clean)
{
    int status;

    if (waitpid(s->pid, &status, 0) != s->pid) {
        qtest_die(NULL, "waitpid: %s", strerror(errno));
    }
    if (must_be_clean && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        s->pid = 0;
        qtest_die(s, "the program ended with status 0x%x", status);
    }
}

void qtest_end(QtestState *s)
{
    static const char quit[] = "{\"execute\": \"quit\"}\n";
    QtestState *server = s->server;

    /* A server may have gone with its last client: that is a clean end too. */
    if (write(s->qmp_fd, quit, strlen(quit)) < 0 && errno != EPIPE) {
        qtest_die(s, "QMP: %s", strerror(errno));
    }
    qtest_reap(s, true);
    qtest_free(s);
    if (server) {
        qtest_end(server);
    }
}

void qtest_kill(QtestState *s)
{
    QtestState *server = s->server;

    kill(s->pid, SIGKILL);
    qtest_reap(s, false);
    qtest_free(s);
    if (server) {
        qtest_kill(server);
    }
}
