/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * REGION_READ of 4 bytes through the vfio-user client against bare messages of the same sizes over an AF_UNIX
 * socket pair, both between two threads.  Prints one JSON line; the ratio is what counts, the times depend on
 * the machine.
 */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../contract/contract-device.h"
#include "core/model.h"
#include "hw/vfio-user/proxy.h"

/* The program links no model and switches no trace on. */
TraceEvent *const trace_tables[] = {NULL};
const Model *const model_table[] = {NULL};

#define ROUNDS       50000
#define REQUEST_SIZE 32
#define REPLY_SIZE   36

static gpointer echo_thread(gpointer opaque)
{
    int fd = GPOINTER_TO_INT(opaque);
    char buf[REPLY_SIZE] = {0};

    while (recv(fd, buf, REQUEST_SIZE, MSG_WAITALL) == REQUEST_SIZE &&
           send(fd, buf, REPLY_SIZE, MSG_NOSIGNAL) == REPLY_SIZE) {
    }
    return NULL;
}

/* Microseconds a round trip. */
static double bench_bare(void)
{
    int fds[2];
    char buf[REPLY_SIZE] = {0};
    GThread *thread;
    gint64 begin;

    g_assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds));
    thread = g_thread_new("echo", echo_thread, GINT_TO_POINTER(fds[1]));
    begin = g_get_monotonic_time();
    for (int i = 0; i < ROUNDS; i++) {
        g_assert(send(fds[0], buf, REQUEST_SIZE, 0) == REQUEST_SIZE);
        g_assert(recv(fds[0], buf, REPLY_SIZE, MSG_WAITALL) == REPLY_SIZE);
    }
    begin = g_get_monotonic_time() - begin;
    shutdown(fds[0], SHUT_RDWR);
    g_thread_join(thread);
    close(fds[0]);
    close(fds[1]);
    return (double)begin / ROUNDS;
}

static void ignore_request(void *opaque, ProxyLink *link, const WireMessage *m)
{
}

static void ignore_loss(void *opaque, const char *reason)
{
}

static double bench_client(const char *path, unsigned poll_us)
{
    const VfioUserAddress address = {.type = ADDRESS_UNIX, .path = (char *)path};
    ProxyCounters counters = {0};
    const ProxyConfig config = {.name = "bench",
                                .address = &address,
                                .timeout_ms = 5000,
                                .poll_us = poll_us,
                                .client = {ignore_request, ignore_loss, NULL},
                                .counters = &counters};
    g_autoptr(GError) error = NULL;
    Proxy *p = proxy_new(&config, &error);
    WireRegionAccess access = {.offset = 0x10, .region = 0, .count = 4};
    uint8_t body[WIRE_REGION_ACCESS_SIZE];
    struct iovec iov = {body, wire_region_access_encode(body, &access)};
    gint64 begin;

    g_assert_no_error(error);
    proxy_set_started(p, true);
    begin = g_get_monotonic_time();
    for (int i = 0; i < ROUNDS; i++) {
        WireMessage reply;

        g_assert(!proxy_call(p, &(ProxyRequest){.command = WIRE_REGION_READ, .iov = &iov, .iov_count = 1},
                             &reply));
        wire_message_clear(&reply);
    }
    begin = g_get_monotonic_time() - begin;
    proxy_free(p);
    return (double)begin / ROUNDS;
}

int main(void)
{
    g_autofree char *dir = g_dir_make_tmp("bench-region-read-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "socket", NULL);
    ContractDevice device;
    ContractServer *server;
    double bare, client, polling;

    contract_device_init(&device);
    device.twin = true;
    server = contract_server_new(&device, path);
    contract_server_go_bare(server, 0);
    bare = bench_bare();
    client = bench_client(path, 0);
    polling = bench_client(path, 20);
    printf("{\"bench\": \"region-read\", \"bare_us\": %.2f, \"client_us\": %.2f, \"ratio\": %.2f, "
           "\"polling_ratio\": %.2f}\n",
           bare, client, client / bare, polling / bare);
    contract_server_free(server);
    contract_device_cleanup(&device);
    rmdir(dir);
    return 0;
}
