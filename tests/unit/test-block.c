/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unit tests of block/: options, data through both engines and all cache modes, errors, locks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "core/trace.h"

#define IMAGE_SIZE (4u << 20)

static const MachineModel bare_model = {
    .model = {.name = "bare", .kind = MODEL_MACHINE, .size = sizeof(Machine), .state = &state_none}};
const Model *const model_table[] = {&bare_model.model, NULL};
TraceEvent *const trace_tables[] = {NULL};

typedef struct Fixture {
    Machine *m;
    Device user;
    char *dir, *path;
    BlockBackend *blk;
} Fixture;

static int setup(void **state)
{
    Fixture *f = g_new0(Fixture, 1);
    int fd;

    f->dir = g_dir_make_tmp("test-block-XXXXXX", NULL);
    f->path = g_build_filename(f->dir, "disk.img", NULL);
    fd = open(f->path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_int_equal(ftruncate(fd, IMAGE_SIZE), 0);
    close(fd);
    f->m = machine_new(&bare_model, NULL);
    f->user.obj.id = (char *)"user";
    loop_lock(f->m->main_loop);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    Fixture *f = *state;

    if (f->blk) {
        block_detach(f->blk);
    }
    block_close_all(f->m);
    loop_unlock(f->m->main_loop);
    machine_free(f->m);
    unlink(f->path);
    assert_int_equal(rmdir(f->dir), 0);
    g_free(f->path);
    g_free(f->dir);
    g_free(f);
    return 0;
}

static BlockBackend *try_open(Fixture *f, const char *path, const char *more, GError **error)
{
    g_autofree char *text = g_strdup_printf("id=d0,file=%s%s", path, more);
    struct json_object *opts = opts_parse("-drive", text, NULL, NULL);
    BlockBackend *blk;

    assert_non_null(opts);
    blk = block_open(f->m, opts, error);
    json_object_put(opts);
    return blk;
}

static BlockBackend *open_attached(Fixture *f, const char *more)
{
    g_autoptr(GError) error = NULL;

    f->blk = try_open(f, f->path, more, &error);
    if (!f->blk) {
        fail_msg("%s", error->message);
    }
    assert_true(block_attach(f->blk, &f->user, f->m->main_loop, NULL));
    return f->blk;
}

static void expect_refused(Fixture *f, const char *path, const char *more, const char *pattern)
{
    g_autoptr(GError) error = NULL;

    assert_null(try_open(f, path, more, &error));
    assert_null(block_find(f->m, "d0"));
    if (!g_pattern_match_simple(pattern, error->message)) {
        fail_msg("'%s' does not match '%s'", error->message, pattern);
    }
}

typedef struct Done {
    int calls, result;
} Done;

static void done_cb(void *opaque, int result)
{
    Done *d = opaque;

    d->calls++;
    d->result = result;
}

static int wait_done(Fixture *f, Done *d)
{
    assert_int_equal(d->calls, 0); /* never from inside the call */
    while (!d->calls) {
        loop_iterate(f->m->main_loop, true);
    }
    assert_int_equal(d->calls, 1);
    return d->result;
}

static int do_write(Fixture *f, uint64_t offset, void *buf, size_t len, bool fua)
{
    Done d = {0};
    struct iovec iov = {buf, len};

    block_write(f->blk, offset, &iov, 1, fua, done_cb, &d);
    return wait_done(f, &d);
}

static int do_read(Fixture *f, uint64_t offset, void *buf, size_t len)
{
    Done d = {0};
    struct iovec iov = {buf, len};

    block_read(f->blk, offset, &iov, 1, done_cb, &d);
    return wait_done(f, &d);
}

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        buf[i] = (uint8_t)(seed >> 16);
    }
}

/* Data of odd alignment, in many iovecs, comes back the same; the file holds it. */
static void exercise(Fixture *f, const char *opts)
{
    static uint8_t out[65536 + 3], in[65536 + 3], raw[65536];
    struct iovec iov[40];
    Done d = {0};
    int fd;

    open_attached(f, opts);
    assert_int_equal(block_size(f->blk), IMAGE_SIZE);
    fill(out, sizeof(out), 1);
    assert_int_equal(do_write(f, 8192, out, 4096, true), 0);
    assert_int_equal(do_write(f, 512, out + 3, 512, false), 0);     /* aligned to neither page nor memory */
    assert_int_equal(do_write(f, 65536, out + 3, 65536, false), 0); /* memory not aligned */
    for (int i = 0; i < 40; i++) {
        iov[i] = (struct iovec){out + i * 100, 100};
    }
    iov[39].iov_len = 196; /* 4096 in all */
    block_write(f->blk, 12288, iov, 40, false, done_cb, &d);
    assert_int_equal(wait_done(f, &d), 0);
    d = (Done){0};
    block_flush(f->blk, done_cb, &d);
    assert_int_equal(wait_done(f, &d), 0);

    assert_int_equal(do_read(f, 8192, in + 1, 4096), 0);
    assert_memory_equal(in + 1, out, 4096);
    assert_int_equal(do_read(f, 65536, in + 3, 65536), 0);
    assert_memory_equal(in + 3, out + 3, 65536);
    assert_int_equal(do_read(f, 512, in, 512), 0);
    assert_memory_equal(in, out + 3, 512);
    fd = open(f->path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, raw, 4096, 12288), 4096);
    close(fd);
    for (int i = 0, pos = 0; i < 40; i++) {
        assert_memory_equal(raw + pos, iov[i].iov_base, iov[i].iov_len);
        pos += (int)iov[i].iov_len;
    }
    assert_int_equal(block_stats(f->blk)->write_ops, 4);
    assert_int_equal(block_stats(f->blk)->write_bytes, 4096 + 512 + 65536 + 4096);
    assert_int_equal(block_stats(f->blk)->read_ops, 3);
}

#define EXERCISE(name, opts)                                                                                 \
    static void test_data_##name(void **state)                                                               \
    {                                                                                                        \
        exercise(*state, opts);                                                                              \
    }
EXERCISE(default, "")
EXERCISE(threads, ",aio=threads")
EXERCISE(none, ",cache=none")
EXERCISE(none_threads, ",cache=none,aio=threads")
EXERCISE(writethrough, ",cache=writethrough")
EXERCISE(directsync, ",cache=directsync,aio=threads")
EXERCISE(unsafe, ",cache=unsafe")

typedef struct Storm {
    Fixture *f;
    uint8_t buf[600][512];
    int left, failed;
} Storm;

static void storm_done(void *opaque, int result)
{
    Storm *s = opaque;

    s->failed += result != 0;
    s->left--;
}

/* More requests at once than can be in flight, held back by a plug; a drain ends them all. */
static void storm(Fixture *f, const char *opts)
{
    Storm *s = g_new0(Storm, 1);
    uint8_t expected[512];

    open_attached(f, opts);
    block_plug(f->blk);
    for (int i = 0; i < 600; i++) {
        struct iovec iov = {s->buf[i], 512};

        fill(s->buf[i], 512, (unsigned)i);
        s->left++;
        block_write(f->blk, (uint64_t)i * 512, &iov, 1, false, storm_done, s);
    }
    assert_int_equal(s->left, 600);
    block_unplug(f->blk);
    block_drain(f->blk);
    assert_int_equal(s->left, 0);
    assert_int_equal(s->failed, 0);
    for (int i = 0; i < 600; i += 61) {
        fill(expected, 512, (unsigned)i);
        assert_int_equal(do_read(f, (uint64_t)i * 512, s->buf[0], 512), 0);
        assert_memory_equal(s->buf[0], expected, 512);
    }
    g_free(s);
}

static void test_storm_default(void **state)
{
    storm(*state, "");
}

static void test_storm_threads(void **state)
{
    storm(*state, ",aio=threads");
}

static void zeroes(Fixture *f, const char *opts)
{
    static uint8_t buf[3 << 20], zero[3 << 20];
    Done d = {0};

    open_attached(f, opts);
    fill(buf, sizeof(buf), 7);
    assert_int_equal(do_write(f, 0, buf, sizeof(buf), false), 0);
    block_write_zeroes(f->blk, 512, sizeof(buf) - 1024, true, done_cb, &d);
    assert_int_equal(wait_done(f, &d), 0);
    assert_int_equal(do_read(f, 512, buf, sizeof(buf) - 1024), 0);
    assert_memory_equal(buf, zero, sizeof(buf) - 1024);
    assert_int_equal(do_read(f, sizeof(buf) - 512, buf, 512), 0);
    assert_memory_not_equal(buf, zero, 512);
}

static void test_zeroes_default(void **state)
{
    zeroes(*state, "");
}

static void test_zeroes_threads_unmap(void **state)
{
    zeroes(*state, ",aio=threads,discard=unmap");
}

static blkcnt_t blocks_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_blocks;
}

static void test_discard(void **state)
{
    Fixture *f = *state;
    static uint8_t buf[1 << 20];
    Done d = {0};
    blkcnt_t before;

    open_attached(f, ",discard=unmap");
    fill(buf, sizeof(buf), 9);
    assert_int_equal(do_write(f, 0, buf, sizeof(buf), true), 0);
    before = blocks_of(f->path);
    block_discard(f->blk, 0, sizeof(buf), done_cb, &d);
    assert_int_equal(wait_done(f, &d), 0);
    assert_true(blocks_of(f->path) < before);
}

static void test_discard_ignored(void **state)
{
    Fixture *f = *state;
    uint8_t buf[512], back[512];
    Done d = {0};

    open_attached(f, "");
    fill(buf, sizeof(buf), 9);
    assert_int_equal(do_write(f, 0, buf, sizeof(buf), false), 0);
    block_discard(f->blk, 0, 512, done_cb, &d);
    assert_int_equal(wait_done(f, &d), 0);
    assert_int_equal(do_read(f, 0, back, 512), 0);
    assert_memory_equal(back, buf, 512);
}

static void bad_requests(Fixture *f, const char *opts)
{
    uint8_t buf[1024];

    open_attached(f, opts);
    assert_int_equal(do_read(f, 100, buf, 512), -EINVAL);
    assert_int_equal(do_read(f, 0, buf, 100), -EINVAL);
    assert_int_equal(do_read(f, IMAGE_SIZE, buf, 512), -ENOSPC);
    assert_int_equal(do_write(f, IMAGE_SIZE - 512, buf, 1024, false), -ENOSPC);
    assert_int_equal(do_read(f, UINT64_MAX - 511, buf, 512), -ENOSPC);
    assert_int_equal(do_read(f, 0, buf, 0), 0);
    /* The file became shorter behind our back. */
    assert_int_equal(truncate(f->path, 4096 + 512), 0);
    assert_int_equal(do_read(f, 8192, buf, 512), -EIO);
    assert_int_equal(do_read(f, 4096, buf, 1024), -EIO); /* a short read, then the end */
    assert_int_equal(do_read(f, 4096, buf, 512), 0);
    assert_int_equal(block_stats(f->blk)->failed_ops, 7);
}

static void test_bad_requests_default(void **state)
{
    bad_requests(*state, "");
}

static void test_bad_requests_threads(void **state)
{
    bad_requests(*state, ",aio=threads");
}

static void test_readonly(void **state)
{
    Fixture *f = *state;
    uint8_t buf[512] = {0};

    open_attached(f, ",readonly=on");
    assert_true(block_readonly(f->blk));
    assert_int_equal(do_read(f, 0, buf, 512), 0);
    assert_int_equal(do_write(f, 0, buf, 512, false), -EROFS);
}

static void test_size_rounds_down(void **state)
{
    Fixture *f = *state;

    assert_int_equal(truncate(f->path, 1000), 0);
    open_attached(f, "");
    assert_int_equal(block_size(f->blk), 512);
}

static void test_refusals(void **state)
{
    Fixture *f = *state;
    int fd;

    expect_refused(f, "/nonexistent/x.img", "", "-drive file=/nonexistent/x.img: cannot open: No such file*");
    expect_refused(f, f->dir, "", "-drive file=*: is a directory*");
    expect_refused(f, "/dev/null", "", "-drive file=/dev/null: is not a disk image*");
    expect_refused(f, f->path, ",cache=fast", "-drive cache=fast: not supported (allowed writeback, none,*");
    expect_refused(f, f->path, ",format=cloop", "-drive format=cloop: not supported (allowed raw)");
    expect_refused(f, f->path, ",format=qcow2", "-drive format=qcow2: not read by this program (allowed raw); serve the image "
                   "with `qemu-nbd -t -k /tmp/nbd.sock -f qcow2 */*` and use file=nbd:unix:/tmp/nbd.sock");
    expect_refused(f, f->path, ",if=virtio", "-drive if=virtio: not supported (allowed none)");
    expect_refused(f, f->path, ",readonly=maybe", "-drive readonly=maybe: not a switch*");
    expect_refused(f, f->path, ",speed=1", "-drive speed: unknown option*");
    expect_refused(f, "", "", "-drive: file is missing*");
    assert_int_equal(truncate(f->path, 511), 0);
    expect_refused(f, f->path, "", "-drive file=*: is too small (511 bytes, allowed at least 512)");
    fd = open(f->path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(write(fd, "QFI\xfb", 4), 4);
    assert_int_equal(ftruncate(fd, 65536), 0);
    close(fd);
    expect_refused(f, f->path, "", "-drive file=*: is a qcow2 image (allowed raw); serve it with `qemu-nbd -t -k /tmp/nbd.sock "
                   "-f qcow2 */*` and use file=nbd:unix:/tmp/nbd.sock, or add format=raw*");
    assert_non_null(try_open(f, f->path, ",format=raw", NULL));
}

static void test_one_writer(void **state)
{
    Fixture *f = *state;
    g_autofree char *text = g_strdup_printf("id=d1,file=%s", f->path);
    g_autofree char *reader = g_strdup_printf("id=d2,file=%s,readonly=on", f->path);
    struct json_object *second = opts_parse("-drive", text, NULL, NULL);
    struct json_object *third = opts_parse("-drive", reader, NULL, NULL);
    g_autoptr(GError) error = NULL;

    assert_non_null(try_open(f, f->path, "", NULL));
    assert_null(block_open(f->m, second, &error));
    assert_non_null(strstr(error->message, "is in use"));
    assert_non_null(strstr(error->message, f->path));
    assert_null(block_open(f->m, third, NULL));
    block_close_all(f->m);
    assert_non_null(block_open(f->m, third, NULL)); /* readers share */
    assert_non_null(try_open(f, f->path, ",readonly=on", NULL));
    assert_null(block_open(f->m, second, NULL));
    json_object_put(second);
    json_object_put(third);
}

static void test_one_user(void **state)
{
    Fixture *f = *state;
    Device other = {.obj.id = (char *)"other"};
    g_autoptr(GError) error = NULL;

    open_attached(f, "");
    assert_false(block_attach(f->blk, &other, f->m->main_loop, &error));
    assert_non_null(strstr(error->message, "'user'"));
}

/* The machine goes while a device still holds the drive: requests are refused, nothing crashes. */
static void test_closed_under_user(void **state)
{
    Fixture *f = *state;
    uint8_t buf[512];

    open_attached(f, "");
    block_close_all(f->m);
    assert_int_equal(do_read(f, 0, buf, 512), -ENODEV);
}

/* Room for one more file descriptor: the image's, so that the kernel cannot give a ring. */
static BlockBackend *open_without_ring(Fixture *f, const char *opts, GError **error)
{
    struct rlimit before, now;
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    BlockBackend *blk;

    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = (struct rlimit){(rlim_t)next + 1, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &now), 0);
    blk = try_open(f, f->path, opts, error);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    return blk;
}

static char *engine_name(BlockBackend *blk)
{
    struct json_object *value = object_get((Object *)blk, "aio", NULL);
    char *name = g_strdup(json_object_get_string(value));

    json_object_put(value);
    return name;
}

static void test_ring_refused(void **state)
{
    Fixture *f = *state;
    g_autoptr(GError) error = NULL;
    g_autofree char *name = NULL;
    uint8_t buf[512];

    assert_null(open_without_ring(f, ",aio=io_uring", &error));
    f->blk = open_without_ring(f, "", NULL);
    assert_non_null(f->blk);
    name = engine_name(f->blk);
    assert_string_equal(name, "threads");
    assert_true(block_attach(f->blk, &f->user, f->m->main_loop, NULL));
    assert_int_equal(do_read(f, 0, buf, 512), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_data_default),
        TEST(test_data_threads),
        TEST(test_data_none),
        TEST(test_data_none_threads),
        TEST(test_data_writethrough),
        TEST(test_data_directsync),
        TEST(test_data_unsafe),
        TEST(test_storm_default),
        TEST(test_storm_threads),
        TEST(test_zeroes_default),
        TEST(test_zeroes_threads_unmap),
        TEST(test_discard),
        TEST(test_discard_ignored),
        TEST(test_bad_requests_default),
        TEST(test_bad_requests_threads),
        TEST(test_readonly),
        TEST(test_size_rounds_down),
        TEST(test_refusals),
        TEST(test_one_writer),
        TEST(test_one_user),
        TEST(test_closed_under_user),
        TEST(test_ring_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
