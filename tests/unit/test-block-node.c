/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests of nodes: -blockdev and its drivers, throttling, what happens to failed requests, resizing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/block.h"
#include "core/trace.h"

#define IMAGE_SIZE (1u << 20)

static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct World {
    Machine *m;
    Device user;
    char *dir, *path;
    BlockBackend *blk;
    GString *events;
    int done, result, resized;
    uint8_t buf[8192];
} World;

static void event(void *opaque, const char *name, struct json_object *data)
{
    World *w = opaque;
    struct json_object *action = NULL;

    json_object_object_get_ex(data, "action", &action);
    g_string_append_printf(w->events, "%s:%s ", name, action ? json_object_get_string(action) : "");
}

static int setup(void **state)
{
    World *w = g_new0(World, 1);
    int fd;

    w->dir = g_dir_make_tmp("test-node-XXXXXX", NULL);
    w->path = g_build_filename(w->dir, "disk", NULL);
    fd = open(w->path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, IMAGE_SIZE), 0);
    close(fd);
    w->m = machine_new(&bare_model, NULL);
    w->m->run_state = RUN_STATE_RUNNING;
    clock_set_manual(w->m->clocks);
    w->user.obj.id = (char *)"user";
    w->events = g_string_new(NULL);
    loop_lock(w->m->main_loop);
    machine_add_event_handler(w->m, event, w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    World *w = *state;

    if (w->blk) {
        block_detach(w->blk);
    }
    block_close_all(w->m);
    machine_remove_event_handler(w->m, event, w);
    loop_unlock(w->m->main_loop);
    machine_free(w->m);
    unlink(w->path);
    assert_int_equal(rmdir(w->dir), 0);
    g_string_free(w->events, TRUE);
    g_free(w->path);
    g_free(w->dir);
    g_free(w);
    return 0;
}

static BlockBackend *node(World *w, bool blockdev, GError **error, const char *fmt, ...)
{
    struct json_object *opts;
    BlockBackend *blk;
    va_list ap;
    char *text;

    va_start(ap, fmt);
    text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    opts = opts_parse(blockdev ? "-blockdev" : "-drive", text, blockdev ? "driver" : NULL, error);
    blk = opts ? (blockdev ? block_open_node : block_open)(w->m, opts, error) : NULL;
    json_object_put(opts);
    g_free(text);
    return blk;
}

static void attach(World *w, BlockBackend *blk)
{
    assert_non_null(blk);
    w->blk = blk;
    assert_true(block_attach(blk, &w->user, w->m->main_loop, NULL));
}

static void done_cb(void *opaque, int result)
{
    World *w = opaque;

    w->done++;
    w->result = result;
}

static void start(World *w, bool is_write, uint64_t offset, size_t len)
{
    struct iovec iov = {w->buf, len};

    if (is_write) {
        block_write(w->blk, offset, &iov, 1, false, done_cb, w);
    } else {
        block_read(w->blk, offset, &iov, 1, done_cb, w);
    }
}

static void run_until(World *w, int done)
{
    while (w->done < done) {
        loop_iterate(w->m->main_loop, true);
    }
}

static int transfer(World *w, bool is_write, uint64_t offset, size_t len)
{
    w->done = 0;
    start(w, is_write, offset, len);
    assert_int_equal(w->done, 0); /* never from inside the call */
    run_until(w, 1);
    return w->result;
}

static void expect_refused(World *w, bool blockdev, const char *text, const char *pattern)
{
    g_autoptr(GError) error = NULL;

    assert_null(node(w, blockdev, &error, "%s", text));
    if (!g_pattern_match_simple(pattern, error->message)) {
        fail_msg("'%s' does not match '%s'", error->message, pattern);
    }
}

/* --- forms --- */

static void test_forms(void **state)
{
    World *w = *state;
    GError *error = NULL;

    assert_non_null(node(w, true, &error, "{\"driver\": \"raw\", \"node-name\": \"json\", \"read-only\": true, "
                         "\"file\": {\"driver\": \"file\", \"filename\": \"%s\"}}", w->path));
    assert_true(block_readonly(block_find(w->m, "json")));
    assert_true(block_delete(w->m, "json", NULL));
    assert_non_null(node(w, true, &error, "raw,node-name=dots,file.driver=file,file.filename=%s,cache.direct=off", w->path));
    assert_int_equal(block_size(block_find(w->m, "dots")), IMAGE_SIZE);
    assert_true(block_delete(w->m, "dots", NULL));
    /* Protocol and format apart: both names are the one node. */
    assert_non_null(node(w, true, &error, "file,node-name=low,filename=%s", w->path));
    assert_non_null(node(w, true, &error, "raw,node-name=high,file=low"));
    assert_ptr_equal(block_find(w->m, "high"), block_find(w->m, "low"));
    assert_false(block_delete(w->m, "low", &error));
    assert_string_equal(error->message, "Node 'low' is in use by another node");
    g_clear_error(&error);
    attach(w, block_find(w->m, "high"));
    assert_int_equal(transfer(w, true, 0, 512), 0);
    block_detach(g_steal_pointer(&w->blk));
    assert_true(block_delete(w->m, "high", NULL));
    assert_true(block_delete(w->m, "low", NULL));
    assert_false(block_delete(w->m, "low", &error));
    assert_string_equal(error->message, "Failed to find node with node-name='low'");
    g_clear_error(&error);
}

static void test_refusals(void **state)
{
    World *w = *state;
    g_autofree char *notdev = g_strdup_printf("host_device,node-name=n,filename=%s", w->path);

    expect_refused(w, true, "node-name=n", "-blockdev: driver is missing*");
    expect_refused(w, true, "qcow2,node-name=n,file.driver=file,file.filename=x.qcow2",
                   "-blockdev driver=qcow2: not read by this program (allowed raw); serve the image with `qemu-nbd -t -k "
                   "/tmp/nbd.sock -f qcow2 x.qcow2` and use driver=nbd,path=/tmp/nbd.sock");
    expect_refused(w, true, "qcow2,node-name=n,file=x", "*`qemu-nbd -t -k /tmp/nbd.sock -f qcow2 FILE`*");
    expect_refused(w, true, "vvfat,node-name=n", "-blockdev driver=vvfat: no driver 'vvfat' in this build (available: file,*");
    expect_refused(w, true, "null-co", "-blockdev driver=null-co: node-name is missing*");
    expect_refused(w, true, "null-co,node-name=n,size=lots", "-blockdev size*lots*");
    expect_refused(w, true, "null-co,node-name=n,filename=x", "-blockdev filename: unknown option of driver null-co*");
    expect_refused(w, true, "raw,node-name=n,file=nobody", "-blockdev driver=raw: no such node ('nobody')");
    expect_refused(w, true, "raw,node-name=n", "-blockdev driver=raw: file is missing*");
    expect_refused(w, true, "file,node-name=n", "-blockdev driver=file: filename is missing");
    expect_refused(w, true, notdev, "*is not a block device; use driver=file*");
    expect_refused(w, true, "null-co,node-name=n,cache.direct=perhaps", "*not a switch*");
    expect_refused(w, false, "id=n,file=x,file.driver=file", "-drive: file and file.driver exclude each other");
    expect_refused(w, false, "id=n,file=null-co://,throttling.iops-total=-1", "*throttling.iops-total=-1: not a number*");
    expect_refused(w, false, "id=n,file=null-co://,throttling.bps-read-max=5", "*-max is the burst above its average*");
    expect_refused(w, false, "id=n,file=null-co://,throttling.bps-read=5,throttling.bps-total=5", "*excludes*");
    expect_refused(w, false, "id=n,file=null-co://,rerror=enospc", "-drive rerror=enospc: not supported (allowed report,*");
    expect_refused(w, false, "id=n,file=nbd:unix:/no/such/socket", "-drive file=nbd:*cannot connect*");
    expect_refused(w, false, "id=n,file=nbd:nowhere", "*no NBD server (allowed nbd:unix:PATH*");
}

/* --- null-co --- */

static void test_null(void **state)
{
    World *w = *state;

    attach(w, node(w, true, NULL, "null-co,node-name=n,size=2M,read-zeroes=on"));
    assert_int_equal(block_size(w->blk), 2 << 20);
    memset(w->buf, 0xee, sizeof(w->buf));
    assert_int_equal(transfer(w, true, 0, 4096), 0);
    assert_int_equal(transfer(w, false, 0, 4096), 0);
    assert_int_equal(w->buf[4095], 0);
    assert_int_equal(w->buf[4096], 0xee);
    assert_int_equal(transfer(w, false, 2 << 20, 512), -ENOSPC);
    w->done = 0;
    block_flush(w->blk, done_cb, w);
    block_discard(w->blk, 0, 4096, done_cb, w);
    block_write_zeroes(w->blk, 0, 4096, true, done_cb, w);
    run_until(w, 3);
    assert_int_equal(w->result, 0);
}

static void test_null_latency(void **state)
{
    World *w = *state;
    int64_t before = clock_now(w->m->clocks, CLOCK_KIND_REALTIME);

    attach(w, node(w, false, NULL, "id=n,file.driver=null-co,file.latency-ns=2000000"));
    w->done = 0;
    start(w, false, 0, 512);
    start(w, false, 0, 512);
    run_until(w, 2);
    assert_true(clock_now(w->m->clocks, CLOCK_KIND_REALTIME) - before >= 2000000);
    start(w, false, 0, 512);
    block_drain(w->blk);
    assert_int_equal(w->done, 3);
}

/* --- throttling: guest time, which the test drives --- */

static void settle(World *w)
{
    for (int i = 0; i < 8; i++) {
        loop_iterate(w->m->main_loop, false);
    }
}

static int done_at(World *w, int64_t ms)
{
    clock_warp(w->m->clocks, ms * 1000000);
    settle(w);
    return w->done;
}

static void test_throttle_iops(void **state)
{
    World *w = *state;

    /* Ten a second with room for one more: one is let through at once, the bucket then holds a tenth's worth. */
    attach(w, node(w, false, NULL, "id=n,file=null-co://,throttling.iops-total=10"));
    w->done = 0;
    for (int i = 0; i < 10; i++) {
        start(w, i & 1, 0, 512);
    }
    settle(w);
    assert_int_equal(w->done, 2);
    assert_int_equal(done_at(w, 99), 2);
    assert_int_equal(done_at(w, 101), 3);
    assert_int_equal(done_at(w, 501), 7);
    block_drain(w->blk);
    assert_int_equal(w->done, 10);
}

static void test_throttle_directions_and_bytes(void **state)
{
    World *w = *state;

    attach(w, node(w, false, NULL, "id=n,file=null-co://,throttling.bps-write=4096,throttling.bps-write-max=4096"));
    w->done = 0;
    for (int i = 0; i < 20; i++) {
        start(w, false, 0, 4096);
    }
    settle(w);
    assert_int_equal(w->done, 20); /* reads have no limit */
    w->done = 0;
    for (int i = 0; i < 4; i++) {
        start(w, true, 0, 4096);
    }
    settle(w);
    assert_int_equal(w->done, 2);
    block_flush(w->blk, done_cb, w); /* never held */
    settle(w);
    assert_int_equal(w->done, 3);
    assert_int_equal(done_at(w, 999), 3);
    assert_int_equal(done_at(w, 1001), 4);
    assert_int_equal(done_at(w, 2001), 5);
}

static void test_throttle_iops_size(void **state)
{
    World *w = *state;

    attach(w, node(w, false, NULL, "id=n,file=null-co://,throttling.iops-total=8,throttling.iops-total-max=8,"
                                   "throttling.iops-size=1024"));
    w->done = 0;
    for (int i = 0; i < 4; i++) {
        start(w, false, 0, 8192); /* counts for eight */
    }
    settle(w);
    assert_int_equal(w->done, 2);
    assert_int_equal(done_at(w, 1001), 3);
}

/* --- errors --- */

/* Reads behind the end of a file that has shrunk fail. */
static void shrink(World *w, off_t size)
{
    assert_int_equal(truncate(w->path, size), 0);
}

static void test_report_and_ignore(void **state)
{
    World *w = *state;

    attach(w, node(w, false, NULL, "id=n,file=%s,format=raw", w->path));
    shrink(w, 0);
    assert_int_equal(transfer(w, false, 0, 512), -EIO);
    settle(w);
    assert_string_equal(w->events->str, "BLOCK_IO_ERROR:report ");
    assert_int_equal(block_stats(w->blk)->failed_ops, 1);
    block_detach(g_steal_pointer(&w->blk));
    assert_true(block_delete(w->m, "n", NULL));
    shrink(w, IMAGE_SIZE);
    attach(w, node(w, false, NULL, "id=n,file=%s,format=raw,rerror=ignore", w->path));
    shrink(w, 0);
    assert_int_equal(transfer(w, false, 0, 512), 0);
    settle(w);
    assert_string_equal(w->events->str, "BLOCK_IO_ERROR:report BLOCK_IO_ERROR:ignore ");
    /* A request that could never work is the guest's mistake, not the disk's. */
    assert_int_equal(transfer(w, false, IMAGE_SIZE, 512), -ENOSPC);
    settle(w);
    assert_string_equal(w->events->str, "BLOCK_IO_ERROR:report BLOCK_IO_ERROR:ignore ");
}

static void test_stop_and_retry(void **state)
{
    World *w = *state;

    attach(w, node(w, false, NULL, "id=n,file=%s,format=raw,rerror=stop", w->path));
    shrink(w, 0);
    w->done = 0;
    start(w, false, 0, 512);
    start(w, false, 4096, 512);
    while (w->m->run_state != RUN_STATE_IO_ERROR) {
        loop_iterate(w->m->main_loop, true);
    }
    settle(w);
    assert_int_equal(w->done, 0);
    assert_true(g_str_has_prefix(w->events->str, "BLOCK_IO_ERROR:stop "));
    /* Still broken: it stops again, and the requests still wait. */
    machine_vm_start(w->m);
    while (w->m->run_state != RUN_STATE_IO_ERROR) {
        loop_iterate(w->m->main_loop, true);
    }
    assert_int_equal(w->done, 0);
    shrink(w, IMAGE_SIZE);
    machine_vm_start(w->m);
    run_until(w, 2);
    assert_int_equal(w->result, 0);
    assert_int_equal(w->m->run_state, RUN_STATE_RUNNING);
}

static void test_drain_ends_what_waits(void **state)
{
    World *w = *state;

    attach(w, node(w, false, NULL, "id=n,file=%s,format=raw,rerror=stop", w->path));
    shrink(w, 0);
    w->done = 0;
    start(w, false, 0, 512);
    while (w->m->run_state != RUN_STATE_IO_ERROR) {
        loop_iterate(w->m->main_loop, true);
    }
    block_drain(w->blk);
    assert_int_equal(w->done, 1);
    assert_int_equal(w->result, -EIO);
}

/* --- size --- */

static void resized(void *opaque)
{
    ((World *)opaque)->resized++;
}

static void test_resize(void **state)
{
    World *w = *state;
    GError *error = NULL;
    struct stat st;

    attach(w, node(w, false, NULL, "id=n,file=%s,format=raw", w->path));
    block_set_resized(w->blk, resized, w);
    assert_int_equal(transfer(w, false, IMAGE_SIZE, 512), -ENOSPC);
    assert_true(block_resize(w->blk, 2 * IMAGE_SIZE, &error));
    assert_int_equal(w->resized, 1);
    assert_int_equal(block_size(w->blk), 2 * IMAGE_SIZE);
    assert_int_equal(stat(w->path, &st), 0);
    assert_int_equal(st.st_size, 2 * IMAGE_SIZE);
    assert_int_equal(transfer(w, true, IMAGE_SIZE, 512), 0);
    assert_false(block_resize(w->blk, 1000, &error));
    assert_string_equal(error->message, "block_resize: bad size (1000, allowed multiples of 512)");
    g_clear_error(&error);
}

/* --- nbd --- */

typedef struct NbdServer {
    GPid pid;
    char *socket;
    char *pidfile; /* nbdkit writes it once it listens: the socket's name is there before that */
} NbdServer;

static NbdServer nbd_server(World *w, const char *filter, const char *plugin, const char *arg)
{
    NbdServer s = {.socket = g_build_filename(w->dir, "nbd.sock", NULL),
                   .pidfile = g_build_filename(w->dir, "nbd.pid", NULL)};
    g_autofree char *with_filter = filter ? g_strdup_printf("--filter=%s", filter) : NULL;
    const char *argv[] = {"nbdkit", "-f", "-U", s.socket, "-P", s.pidfile, plugin, arg, NULL, NULL};
    GError *error = NULL;

    if (filter) {
        argv[6] = with_filter;
        argv[7] = plugin;
        argv[8] = arg;
    }
    if (!g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &s.pid,
                       &error)) {
        fail_msg("%s", error->message);
    }
    while (access(s.pidfile, F_OK)) {
        g_usleep(1000);
    }
    return s;
}

static void nbd_server_end(NbdServer *s)
{
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    unlink(s->socket);
    unlink(s->pidfile);
    g_free(s->socket);
    g_free(s->pidfile);
}

static void test_nbd(void **state)
{
    World *w = *state;
    NbdServer s = nbd_server(w, NULL, "memory", "1M");
    struct iovec parts[3] = {{w->buf, 512}, {w->buf + 512, 1024}, {w->buf + 1536, 512}};

    attach(w, node(w, false, NULL, "id=n,file=nbd:unix:%s,format=raw,discard=unmap", s.socket));
    assert_int_equal(block_size(w->blk), 1 << 20);
    for (unsigned i = 0; i < sizeof(w->buf); i++) {
        w->buf[i] = (uint8_t)(i * 7);
    }
    w->done = 0;
    block_write(w->blk, 4096, parts, 3, true, done_cb, w);
    run_until(w, 1);
    assert_int_equal(w->result, 0);
    memset(w->buf, 0, sizeof(w->buf));
    assert_int_equal(transfer(w, false, 4096, 2048), 0);
    for (unsigned i = 0; i < 2048; i++) {
        assert_int_equal(w->buf[i], (uint8_t)(i * 7));
    }
    w->done = 0;
    block_read(w->blk, 4096, parts, 3, done_cb, w);
    block_flush(w->blk, done_cb, w);
    run_until(w, 2);
    w->done = 0;
    block_write_zeroes(w->blk, 4096, 1024, false, done_cb, w);
    block_discard(w->blk, 5120, 512, done_cb, w);
    run_until(w, 2);
    assert_int_equal(w->result, 0);
    assert_int_equal(transfer(w, false, 4096, 2048), 0);
    assert_int_equal(w->buf[1023], 0);
    assert_int_equal(w->buf[1536], (uint8_t)(1536 * 7));
    /* Many at once, then the server dies: every request ends, with an error. */
    w->done = 0;
    for (int i = 0; i < 300; i++) {
        start(w, false, (uint64_t)(i % 16) * 4096, 4096);
    }
    nbd_server_end(&s);
    run_until(w, 300);
    assert_true(transfer(w, false, 0, 512) < 0);
}

static void test_nbd_readonly_and_blockdev(void **state)
{
    World *w = *state;
    NbdServer s = nbd_server(w, NULL, "pattern", "1M"); /* a plugin that cannot write */
    GError *error = NULL;

    assert_null(node(w, true, &error, "nbd,node-name=n,path=%s", s.socket));
    assert_non_null(strstr(error->message, "the export is read-only; add readonly=on"));
    g_clear_error(&error);
    attach(w, node(w, true, &error, "raw,node-name=n,file.driver=nbd,file.server.type=unix,file.server.path=%s,read-only=on",
                   s.socket));
    assert_int_equal(transfer(w, false, 512, 512), 0);
    assert_int_equal(w->buf[7], 0);
    assert_int_equal(w->buf[6], 2); /* big-endian offsets: 0x200 */
    assert_int_equal(transfer(w, true, 0, 512), -EROFS);
    nbd_server_end(&s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_forms),
        TEST(test_refusals),
        TEST(test_null),
        TEST(test_null_latency),
        TEST(test_throttle_iops),
        TEST(test_throttle_directions_and_bytes),
        TEST(test_throttle_iops_size),
        TEST(test_report_and_ignore),
        TEST(test_stop_and_retry),
        TEST(test_drain_ends_what_waits),
        TEST(test_resize),
        TEST(test_nbd),
        TEST(test_nbd_readonly_and_blockdev),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
