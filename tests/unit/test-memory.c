/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of core/memory*.c: rendering, dispatch, listeners, ioeventfds, dirty pages, lookup regions.  Random trees and
 * concurrency are in test-memory-storm.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/error.h"
#include "core/memory.h"
#include "tests/unit/memory-world.h"

#define RAM_SIZE 0x10000

/* --- a device that records --- */

typedef struct Call {
    bool write;
    HwAddr addr;
    unsigned size;
    uint64_t val;
} Call;

typedef struct Recorder {
    Call calls[64];
    unsigned n;
    uint64_t pattern; /* reads give (pattern >> 8 * addr) */
    MemResult result;
    AddressSpace *dma; /* when set: a write also writes here, to dma_addr */
    HwAddr dma_addr;
    MemResult dma_result;
} Recorder;

static MemResult recorder_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Recorder *r = opaque;

    r->calls[r->n++ % 64] = (Call){false, addr, size, 0};
    *val = addr < 8 ? r->pattern >> (8 * addr) : addr;
    return r->result;
}

static MemResult recorder_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Recorder *r = opaque;

    r->calls[r->n++ % 64] = (Call){true, addr, size, val};
    if (r->dma) {
        r->dma_result = as_store(r->dma, r->dma_addr, 4, 1, MEM_ATTRS_CPU);
    }
    return r->result;
}

static const MemOps ops_any = {recorder_read, recorder_write, 1, 8, true};
static const MemOps ops_aligned = {recorder_read, recorder_write, 0, 0, false};
static const MemOps ops_word = {recorder_read, recorder_write, 4, 4, false};
static const MemOps ops_byte = {recorder_read, recorder_write, 1, 1, true};

static uint64_t load(World *w, HwAddr addr, unsigned size, MemResult expect)
{
    uint64_t val = 0x5555;

    assert_int_equal(as_load(w->as, addr, size, &val, MEM_ATTRS_CPU), expect);
    return val;
}

static void assert_flat(World *w, const char *const *lines)
{
    g_autofree char *text = mem_topology_print(w->topo, true);
    g_auto(GStrv) got = g_strsplit(text, "\n", -1);
    unsigned i;

    for (i = 0; lines[i]; i++) {
        assert_non_null(got[i + 1]);
        assert_string_equal(g_strstrip(got[i + 1]), lines[i]);
    }
    assert_string_equal(got[i + 1], "");
}

/* --- rendering --- */

static void test_priority_and_clipping(void **state)
{
    World *w = *state;
    Recorder rec = {0};
    MemRegion *low = mem_region_new_io(w->topo, "low", 0x1000, &ops_any, &rec, NULL);
    MemRegion *high = mem_region_new_io(w->topo, "high", 0x100, &ops_any, &rec, NULL);
    MemRegion *box = mem_region_new_container(w->topo, "box", 0x800);
    static const char *const split[] = {
        "0000000000001000-00000000000011ff (i/o): low", "0000000000001200-00000000000012ff (i/o): high",
        "0000000000001300-00000000000017ff (i/o): low @0000000000000300", NULL};
    static const char *const clipped[] = {"0000000000001000-00000000000017ff (i/o): low", NULL};
    static const char *const nothing[] = {"No rendered FlatView", NULL};

    mem_begin(w->topo);
    mem_region_add(box, 0, low); /* larger than its parent */
    mem_region_add_overlap(box, 0x200, high, 1);
    mem_region_add(w->root, 0x1000, box);
    assert_flat(w, nothing); /* not before the commit */
    assert_true(mem_commit(w->topo, NULL));
    assert_flat(w, split);
    mem_region_set_enabled(high, false);
    assert_flat(w, clipped);
    mem_region_set_enabled(high, true);
    mem_region_set_address(high, 0x780); /* hangs over the end of the box */
    static const char *const hanging[] = {"0000000000001000-000000000000177f (i/o): low",
                                          "0000000000001780-00000000000017ff (i/o): high", NULL};
    assert_flat(w, hanging);
    mem_region_set_size(box, 0x20);
    static const char *const tiny[] = {"0000000000001000-000000000000101f (i/o): low", NULL};
    assert_flat(w, tiny);
    mem_region_del(w->root, box);
    assert_flat(w, nothing);
    mem_region_unref(low);
    mem_region_unref(high);
    mem_region_unref(box);
}

static void test_equal_priority_newest_wins(void **state)
{
    World *w = *state;
    Recorder rec = {0};
    MemRegion *a = mem_region_new_io(w->topo, "a", 0x100, &ops_any, &rec, NULL);
    MemRegion *b = mem_region_new_io(w->topo, "b", 0x100, &ops_any, &rec, NULL);
    static const char *const lines[] = {"0000000000000000-000000000000007f (i/o): a",
                                        "0000000000000080-000000000000017f (i/o): b", NULL};

    mem_region_add(w->root, 0, a);
    mem_region_add(w->root, 0x80, b);
    assert_flat(w, lines);
    mem_region_del(w->root, a);
    mem_region_del(w->root, b);
    mem_region_unref(a);
    mem_region_unref(b);
}

static void test_alias(void **state)
{
    World *w = *state;
    uint8_t *host = g_malloc0(RAM_SIZE);
    MemRegion *ram = mem_region_new_ram(w->topo, "ram", RAM_SIZE, host, -1, 0, false);
    MemRegion *low = mem_region_new_alias(w->topo, "ram-low", ram, 0, 0x8000);
    MemRegion *high = mem_region_new_alias(w->topo, "ram-high", ram, 0x8000, 0x8000);
    MemRegion *twice = mem_region_new_alias(w->topo, "ram-high-again", high, 0x1000, 0x1000);
    static const char *const lines[] = {"0000000000000000-0000000000007fff (ram): ram",
                                        "0000000000020000-0000000000020fff (ram): ram @0000000000009000",
                                        "0000000100000000-0000000100007fff (ram): ram @0000000000008000",
                                        NULL};

    mem_begin(w->topo);
    mem_region_add(w->root, 0, low);
    mem_region_add(w->root, UINT64_C(0x100000000), high);
    mem_region_add(w->root, 0x20000, twice);
    mem_commit(w->topo, NULL);
    assert_flat(w, lines);
    assert_int_equal(as_store(w->as, UINT64_C(0x100001004), 4, 0xcafe, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(load(w, 0x20004, 4, MEM_OK), 0xcafe);
    mem_region_set_alias_offset(low, 0x8000);
    assert_int_equal(load(w, 0x1004, 4, MEM_OK), 0xcafe);
    mem_begin(w->topo);
    mem_region_del(w->root, low);
    mem_region_del(w->root, high);
    mem_region_del(w->root, twice);
    mem_commit(w->topo, NULL);
    mem_region_unref(low);
    mem_region_unref(high);
    mem_region_unref(twice);
    mem_region_retire(ram);
    mem_region_unref(ram);
    g_free(host);
}

static void test_adjoining_aliases_merge(void **state)
{
    World *w = *state;
    uint8_t *host = g_malloc0(RAM_SIZE);
    MemRegion *ram = mem_region_new_ram(w->topo, "ram", RAM_SIZE, host, -1, 0, false);
    MemRegion *a = mem_region_new_alias(w->topo, "a", ram, 0, 0x8000);
    MemRegion *b = mem_region_new_alias(w->topo, "b", ram, 0x8000, 0x8000);
    static const char *const lines[] = {"0000000000000000-000000000000ffff (ram): ram", NULL};

    mem_region_add(w->root, 0, a);
    mem_region_add(w->root, 0x8000, b);
    assert_flat(w, lines);
    mem_region_del(w->root, a);
    mem_region_del(w->root, b);
    mem_region_unref(a);
    mem_region_unref(b);
    mem_region_retire(ram);
    mem_region_unref(ram);
    g_free(host);
}

static void test_whole_space(void **state)
{
    World *w = *state;
    Recorder rec = {.pattern = 0x1122334455667788};
    MemRegion *all = mem_region_new_io(w->topo, "all", UINT64_MAX, &ops_any, &rec, NULL);
    static const char *const lines[] = {"0000000000000000-ffffffffffffffff (i/o): all", NULL};
    MemSection section;

    mem_region_add(w->root, 0, all);
    assert_flat(w, lines);
    load(w, UINT64_MAX - 3, 4, MEM_OK);
    assert_int_equal(rec.calls[0].addr, UINT64_MAX - 3);
    assert_true(as_lookup(w->as, UINT64_MAX, &section));
    assert_int_equal(section.size, UINT64_MAX);
    /* Past the last byte there is nothing. */
    assert_int_equal(load(w, UINT64_MAX - 1, 4, MEM_DECODE_ERROR) >> 16, 0xffff);
    mem_region_del(w->root, all);
    mem_region_unref(all);
}

/* A window in the middle of a large target: what is below its base is clipped, not wrapped. */
static void test_alias_of_container_window(void **state)
{
    World *w = *state;
    Recorder rec = {0};
    MemRegion *pci = mem_region_new_container(w->topo, "pci", UINT64_MAX);
    MemRegion *bar = mem_region_new_io(w->topo, "bar", 0x2000, &ops_any, &rec, NULL);
    MemRegion *hole = mem_region_new_alias(w->topo, "hole", pci, 0xe0000000, 0x10000000);
    static const char *const lines[] = {"00000000e0000000-00000000e0000fff (i/o): bar @0000000000001000",
                                        NULL};

    mem_region_add(pci, 0xdffff000, bar);
    mem_region_add(w->root, 0xe0000000, hole);
    assert_flat(w, lines);
    load(w, 0xe0000010, 4, MEM_OK);
    assert_int_equal(rec.calls[0].addr, 0x1010);
    mem_region_set_address(bar, UINT64_C(0xfffffffffffff000)); /* would wrap */
    load(w, 0xe0000010, 4, MEM_DECODE_ERROR);
    mem_region_del(w->root, hole);
    mem_region_del(pci, bar);
    mem_region_unref(hole);
    mem_region_unref(bar);
    mem_region_unref(pci);
}

/* --- dispatch --- */

static void test_sizes(void **state)
{
    World *w = *state;
    Recorder any = {0}, aligned = {0}, word = {0}, byte = {0};
    struct {
        const MemOps *ops;
        Recorder *rec;
        MemRegion *region;
    } t[] = {{&ops_any, &any, NULL},
             {&ops_aligned, &aligned, NULL},
             {&ops_word, &word, NULL},
             {&ops_byte, &byte, NULL}};

    for (unsigned i = 0; i < 4; i++) {
        t[i].rec->pattern = 0x8877665544332211;
        t[i].region = mem_region_new_io(w->topo, "dev", 0x1000, t[i].ops, t[i].rec, i & 1 ? NULL : w->loop);
        mem_region_add(w->root, i * 0x1000, t[i].region);
    }
    assert_int_equal(load(w, 0x1, 4, MEM_OK), 0x55443322);
    assert_int_equal(any.n, 1);
    load(w, 0x1001, 4, MEM_DEVICE_ERROR);
    assert_int_equal(aligned.n, 0);
    assert_true(load(w, 0x1000, 8, MEM_OK) == 0x8877665544332211);
    /* narrower than the model: the unit around it, once */
    assert_int_equal(load(w, 0x2002, 1, MEM_OK), 0x33);
    assert_int_equal(word.n, 1);
    assert_int_equal(word.calls[0].addr, 0);
    assert_int_equal(word.calls[0].size, 4);
    assert_int_equal(as_store(w->as, 0x2006, 2, 0xabcd, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(word.calls[1].addr, 4);
    assert_int_equal(word.calls[1].val, 0xabcd0000);
    /* wider: parts, ascending */
    assert_int_equal(as_store(w->as, 0x2008, 8, 0x1111111122222222, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(word.n, 4);
    assert_int_equal(word.calls[2].val, 0x22222222);
    assert_int_equal(word.calls[3].addr, 0xc);
    assert_int_equal(word.calls[3].val, 0x11111111);
    assert_int_equal(load(w, 0x3001, 2, MEM_OK), 0x3322);
    assert_int_equal(byte.n, 2);
    for (unsigned i = 0; i < 4; i++) {
        mem_region_del(w->root, t[i].region);
        mem_region_unref(t[i].region);
    }
}

static void test_transfer_across_borders(void **state)
{
    World *w = *state;
    uint8_t *host = g_malloc(RAM_SIZE), buf[64];
    Recorder rec = {.pattern = 0x0807060504030201};
    MemRegion *ram = mem_region_new_ram(w->topo, "ram", RAM_SIZE, host, -1, 0, false);
    MemRegion *dev = mem_region_new_io(w->topo, "dev", 8, &ops_aligned, &rec, NULL);

    memset(host, 0xa5, RAM_SIZE);
    mem_region_add(w->root, 0, ram);
    mem_region_add(w->root, RAM_SIZE, dev);
    memset(buf, 0, sizeof(buf));
    assert_int_equal(as_read(w->as, RAM_SIZE - 4, buf, 32, MEM_ATTRS_CPU), MEM_DECODE_ERROR);
    assert_int_equal(buf[3], 0xa5);
    assert_int_equal(buf[4], 0x01);
    assert_int_equal(buf[11], 0x08);
    assert_int_equal(buf[12], 0xff);
    assert_int_equal(buf[31], 0xff);
    assert_int_equal(buf[32], 0);
    /* One register access over the border. */
    assert_true(load(w, RAM_SIZE - 2, 4, MEM_OK) == 0x0201a5a5);
    assert_int_equal(as_write(w->as, RAM_SIZE - 4, buf, 4, MEM_ATTRS_CPU), MEM_OK);
    assert_memory_equal(host + RAM_SIZE - 4, buf, 4);
    /* Over the end of the space: refused, not wrapped. */
    assert_int_equal(as_read(w->as, UINT64_MAX - 3, buf, 16, MEM_ATTRS_CPU), MEM_DECODE_ERROR);
    assert_int_equal(buf[15], 0xff);
    assert_int_equal(as_write(w->as, 0, buf, 0, MEM_ATTRS_CPU), MEM_OK);
    mem_region_del(w->root, ram);
    mem_region_del(w->root, dev);
    mem_region_unref(dev);
    mem_region_retire(ram);
    mem_region_unref(ram);
    g_free(host);
}

static void test_readonly_and_rom(void **state)
{
    World *w = *state;
    uint8_t *host = g_malloc0(0x3000);
    Recorder rec = {0};
    MemRegion *ro = mem_region_new_ram(w->topo, "ro", 0x1000, host, -1, 0, true);
    MemRegion *rom = mem_region_new_rom(w->topo, "rom", 0x1000, host + 0x1000, NULL, NULL);
    MemRegion *flash = mem_region_new_rom(w->topo, "flash", 0x1000, host + 0x2000, &ops_any, &rec);
    uint64_t len = 0x2000;
    MemRegion *mapped;

    mem_region_add(w->root, 0, ro);
    mem_region_add(w->root, 0x1000, rom);
    mem_region_add(w->root, 0x2000, flash);
    assert_int_equal(as_store(w->as, 0, 4, 1, MEM_ATTRS_CPU), MEM_ACCESS_ERROR);
    assert_int_equal(as_store(w->as, 0x1000, 4, 1, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(as_store(w->as, 0x2000, 4, 7, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(rec.n, 1);
    assert_int_equal(as_write(w->as, 0x2004, &len, 8, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(rec.n, 2);
    for (unsigned i = 0; i < 0x3000; i++) {
        assert_int_equal(host[i], 0);
    }
    assert_null(as_map(w->as, 0, &len, true, &mapped));
    assert_ptr_equal(as_map(w->as, 0x10, &len, false, &mapped), host + 0x10);
    assert_int_equal(len, 0xff0);
    as_unmap(w->as, mapped, host + 0x10, 0, false);
    mem_region_del(w->root, ro);
    mem_region_del(w->root, rom);
    mem_region_del(w->root, flash);
    mem_region_retire(ro);
    mem_region_retire(rom);
    mem_region_retire(flash);
    mem_region_unref(ro);
    mem_region_unref(rom);
    mem_region_unref(flash);
    g_free(host);
}

static void test_errors_of_devices(void **state)
{
    World *w = *state;
    Recorder rec = {.result = MEM_DECODE_ERROR};
    MemRegion *dev = mem_region_new_io(w->topo, "dev", 0x10, &ops_any, &rec, w->loop);

    mem_region_add(w->root, 0, dev);
    assert_int_equal(load(w, 0, 4, MEM_DECODE_ERROR), 0xffffffff);
    rec.result = MEM_OK;
    /* A device that reaches its own registers from within them is stopped, not recursed into. */
    rec.dma = w->as;
    rec.dma_addr = 4;
    assert_int_equal(as_store(w->as, 0, 4, 1, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(rec.dma_result, MEM_ACCESS_ERROR);
    mem_region_retire(dev);
    assert_int_equal(load(w, 0, 4, MEM_DECODE_ERROR), 0xffffffff);
    mem_region_del(w->root, dev);
    mem_region_unref(dev);
}

/* --- listeners --- */

typedef struct Log {
    MemListener l;
    GString *text;
    bool fail;
} Log;

static void log_section(MemListener *l, const char *what, const MemSection *s)
{
    g_string_append_printf(((Log *)l)->text, "%s%s:%s@%" PRIx64 "+%" PRIx64 " ", l->name, what,
                           mem_region_name(s->region), s->addr, s->size);
}

static void log_begin(MemListener *l)
{
    g_string_append_printf(((Log *)l)->text, "%sbegin ", l->name);
}

static void log_add(MemListener *l, const MemSection *s)
{
    log_section(l, "+", s);
}

static void log_del(MemListener *l, const MemSection *s)
{
    log_section(l, "-", s);
}

static void log_fd_add(MemListener *l, const MemSection *s, bool match, uint64_t data, int fd)
{
    log_section(l, match ? "+match" : "+fd", s);
}

static void log_fd_del(MemListener *l, const MemSection *s, bool match, uint64_t data, int fd)
{
    log_section(l, match ? "-match" : "-fd", s);
}

static bool log_commit(MemListener *l, GError **error)
{
    g_string_append_printf(((Log *)l)->text, "%scommit ", l->name);
    if (((Log *)l)->fail) {
        error_set(error, "%s: cannot", l->name);
    }
    return !((Log *)l)->fail;
}

static Log log_new(const char *name, int priority)
{
    return (Log){.l = {name, priority, log_begin, log_add, log_del, log_fd_add, log_fd_del, log_commit, NULL},
                 .text = g_string_new(NULL)};
}

static void test_listener_order(void **state)
{
    World *w = *state;
    Recorder rec = {0};
    Log one = log_new("1", 10), two = log_new("2", 20);
    GString *both = one.text;
    MemRegion *a = mem_region_new_io(w->topo, "a", 0x100, &ops_any, &rec, NULL);
    MemRegion *b = mem_region_new_io(w->topo, "b", 0x100, &ops_any, &rec, NULL);

    g_string_free(two.text, TRUE);
    two.text = both;
    mem_region_add(w->root, 0, a);
    assert_true(mem_listener_register(&two.l, w->as, NULL));
    assert_string_equal(both->str, "2begin 2+:a@0+100 2commit ");
    assert_true(mem_listener_register(&one.l, w->as, NULL));
    g_string_truncate(both, 0);
    mem_begin(w->topo);
    mem_region_del(w->root, a);
    mem_region_add(w->root, 0x80, b);
    assert_string_equal(both->str, "");
    assert_true(mem_commit(w->topo, NULL));
    assert_string_equal(both->str,
                        "1begin 2begin 2-:a@0+100 1-:a@0+100 1+:b@80+100 2+:b@80+100 1commit 2commit ");
    g_string_truncate(both, 0);
    mem_begin(w->topo); /* there and back: nothing to say */
    mem_region_set_enabled(b, false);
    mem_region_set_enabled(b, true);
    assert_true(mem_commit(w->topo, NULL));
    assert_string_equal(both->str, "");
    mem_listener_unregister(&one.l);
    assert_string_equal(both->str, "1begin 1-:b@80+100 1commit ");
    mem_listener_unregister(&two.l);
    mem_region_del(w->root, b);
    mem_region_unref(a);
    mem_region_unref(b);
    g_string_free(both, TRUE);
}

static void test_listener_failure(void **state)
{
    World *w = *state;
    Recorder rec = {0};
    Log one = log_new("one", 0);
    MemRegion *a = mem_region_new_io(w->topo, "a", 0x100, &ops_any, &rec, NULL);
    g_autoptr(GError) error = NULL;

    assert_true(mem_listener_register(&one.l, w->as, NULL));
    one.fail = true;
    mem_begin(w->topo);
    mem_region_add(w->root, 0, a);
    assert_false(mem_commit(w->topo, &error));
    assert_string_equal(error->message, "one: cannot");
    g_clear_error(&error);
    one.fail = false;
    mem_listener_unregister(&one.l);
    one.fail = true;
    g_string_truncate(one.text, 0);
    assert_false(mem_listener_register(&one.l, w->as, &error));
    assert_string_equal(one.text->str, "onebegin one+:a@0+100 onecommit onebegin one-:a@0+100 onecommit ");
    mem_region_del(w->root, a);
    mem_region_unref(a);
    g_string_free(one.text, TRUE);
}

/* --- ioeventfds --- */

static uint64_t fd_count(int fd)
{
    uint64_t n = 0;

    return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void test_ioeventfd(void **state)
{
    World *w = *state;
    Recorder rec = {0};
    Log log = log_new("", 0);
    int any = eventfd(0, EFD_NONBLOCK), match = eventfd(0, EFD_NONBLOCK);
    MemRegion *dev = mem_region_new_io(w->topo, "dev", 0x1000, &ops_any, &rec, NULL);
    uint32_t word = 5;

    mem_region_add(w->root, 0x1000, dev);
    assert_true(mem_listener_register(&log.l, w->as, NULL));
    g_string_truncate(log.text, 0);
    mem_begin(w->topo);
    mem_region_add_ioeventfd(dev, 0x10, 4, false, 0, any);
    mem_region_add_ioeventfd(dev, 0x20, 0, true, 7, match);
    mem_commit(w->topo, NULL);
    assert_string_equal(log.text->str, "begin +fd:dev@1010+4 +match:dev@1020+0 commit ");
    as_store(w->as, 0x1010, 4, 99, MEM_ATTRS_CPU);
    as_write(w->as, 0x1010, &word, 4, MEM_ATTRS_CPU);
    assert_int_equal(fd_count(any), 2);
    as_store(w->as, 0x1010, 2, 99, MEM_ATTRS_CPU); /* other size: a call */
    as_store(w->as, 0x1020, 4, 8, MEM_ATTRS_CPU);  /* other value */
    assert_int_equal(rec.n, 2);
    as_store(w->as, 0x1020, 4, 7, MEM_ATTRS_CPU);
    assert_int_equal(fd_count(match), 1);
    assert_int_equal(rec.n, 2);
    /* Full, and a write would wait: nothing to add. */
    assert_int_equal(fcntl(match, F_SETFL, 0), 0);
    eventfd_write(match, UINT64_MAX - 1);
    as_store(w->as, 0x1020, 4, 7, MEM_ATTRS_CPU);
    assert_int_equal(fd_count(match), UINT64_MAX - 1);
    g_string_truncate(log.text, 0);
    mem_region_set_address(dev, 0x3000);
    assert_string_equal(log.text->str,
                        "begin -fd:dev@1010+4 -match:dev@1020+0 -:dev@1000+1000 +:dev@3000+1000 "
                        "+fd:dev@3010+4 +match:dev@3020+0 commit ");
    mem_region_del_ioeventfd(dev, 0x10, 4, false, 0, any);
    as_store(w->as, 0x3010, 4, 99, MEM_ATTRS_CPU);
    assert_int_equal(fd_count(any), 0);
    assert_int_equal(rec.n, 3);
    mem_region_del_ioeventfd(dev, 0x20, 0, true, 7, match);
    mem_listener_unregister(&log.l);
    mem_region_del(w->root, dev);
    mem_region_unref(dev);
    close(any);
    close(match);
    g_string_free(log.text, TRUE);
}

/* --- dirty pages, write hook, host addresses --- */

static uint64_t hook_bytes;

static void count_written(void *opaque, MemRegion *ram, uint64_t offset, uint64_t len)
{
    hook_bytes += len;
}

static void test_dirty(void **state)
{
    World *w = *state;
    const uint64_t size = 200 * 4096;
    uint8_t *host = g_malloc0(size);
    MemRegion *ram = mem_region_new_ram(w->topo, "ram", size, host, -1, 0, false), *mapped;
    uint64_t bits[4], len = 8192, offset;

    mem_region_add(w->root, 0, ram);
    as_store(w->as, 0, 4, 1, MEM_ATTRS_CPU); /* before tracking */
    mem_region_dirty_track(ram, MEM_DIRTY_MIGRATION, true);
    assert_false(mem_region_dirty_take(ram, MEM_DIRTY_MIGRATION, 0, size, bits));
    as_store(w->as, 4096 * 70 + 8, 4, 1, MEM_ATTRS_CPU);
    as_write(w->as, 4096 * 127 + 4090, host, 100, MEM_ATTRS_CPU);
    as_map(w->as, 4096 * 199, &len, true, &mapped);
    assert_int_equal(len, 4096);
    as_unmap(w->as, mapped, host + 4096 * 199, 1, true);
    assert_false(mem_region_dirty_take(ram, MEM_DIRTY_DISPLAY, 0, size, bits));
    assert_true(mem_region_dirty_take(ram, MEM_DIRTY_MIGRATION, 0, size, bits));
    assert_true(bits[0] == 0 && bits[1] == (UINT64_C(1) << 6 | UINT64_C(1) << 63) && bits[2] == 1);
    assert_true(bits[3] == UINT64_C(1) << 7);
    assert_false(mem_region_dirty_take(ram, MEM_DIRTY_MIGRATION, 0, size, bits));
    mem_region_dirty_set(ram, 4096 * 60, 4096 * 10);
    assert_true(mem_region_dirty_take(ram, MEM_DIRTY_MIGRATION, 4096 * 62, 4096 * 4, bits));
    assert_int_equal(bits[0], 0xf); /* across words, and only what was asked for */
    assert_true(mem_region_dirty_take(ram, MEM_DIRTY_MIGRATION, 0, size, bits));
    assert_true(bits[0] == UINT64_C(3) << 60 && bits[1] == 0x3c);
    mem_region_dirty_track(ram, MEM_DIRTY_MIGRATION, false);

    hook_bytes = 0;
    mem_topology_set_write_hook(w->topo, count_written, NULL);
    as_store(w->as, 8, 8, 1, MEM_ATTRS_CPU);
    as_write(w->as, 4000, host, 200, MEM_ATTRS_CPU);
    assert_int_equal(hook_bytes, 208);
    mem_topology_set_write_hook(w->topo, NULL, NULL);

    assert_ptr_equal(mem_region_from_host(w->topo, host + 5000, &offset), ram);
    assert_int_equal(offset, 5000);
    assert_null(mem_region_from_host(w->topo, host + size, &offset));
    mem_region_del(w->root, ram);
    mem_region_retire(ram);
    mem_region_unref(ram);
    assert_null(mem_region_from_host(w->topo, host, &offset));
    g_free(host);
}

/* --- lookup regions and pins --- */

typedef struct Islands {
    MemRegion *region[2]; /* RAM of 0x1000 bytes at 0x1000, at 0x3000 */
    MemPins pins;
    int idle;
} Islands;

static void islands_idle(MemPins *pins)
{
    ((Islands *)((char *)pins - offsetof(Islands, pins)))->idle++;
}

static bool islands_find(void *opaque, HwAddr addr, MemSection *out)
{
    Islands *islands = opaque;

    for (unsigned i = 0; i < 2; i++) {
        HwAddr base = 0x1000 + 0x2000 * i;

        if (addr < base + 0x1000) {
            *out = (MemSection){.region = islands->region[i], .addr = base, .size = 0x1000, .readonly = i == 1};
            return addr >= base;
        }
    }
    out->addr = UINT64_MAX;
    return false;
}

/* Seen through an alias that begins at 0x1800 of the lookup region. */
static void test_lookup_region(void **state)
{
    World *w = *state;
    Islands islands = {.pins = {.idle = islands_idle}};
    uint8_t *host = aligned_alloc(4096, 0x2000), buf[0x2000];
    MemRegion *lookup = mem_region_new_lookup(w->topo, "lookup", UINT64_MAX, islands_find, &islands), *pinned;
    MemRegion *window = mem_region_new_alias(w->topo, "window", lookup, 0x1800, 0x2000);
    uint64_t len = 0x1000, val;
    void *mapped;

    memset(host, 0x11, 0x1000);
    memset(host + 0x1000, 0x33, 0x1000);
    for (unsigned i = 0; i < 2; i++) {
        islands.region[i] = mem_region_new_ram(w->topo, "island", 0x1000, host + 0x1000 * i, -1, 0, false);
        mem_region_set_pins(islands.region[i], &islands.pins);
    }
    mem_region_add(w->root, 0x10000, window);

    /* 0x800 bytes of the first, a hole of 0x1000, 0x800 of the second. */
    assert_int_equal(as_read(w->as, 0x10000, buf, sizeof(buf), MEM_ATTRS_CPU), MEM_DECODE_ERROR);
    assert_int_equal(buf[0x7ff], 0x11);
    assert_int_equal(buf[0x800], 0xff);
    assert_int_equal(buf[0x17ff], 0xff);
    assert_int_equal(buf[0x1800], 0x33);
    assert_int_equal(buf[0x1fff], 0x33);
    assert_int_equal(as_store(w->as, 0x107fc, 4, 0xaabbccdd, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(host[0xffc], 0xdd);
    assert_int_equal(as_store(w->as, 0x11800, 4, 1, MEM_ATTRS_CPU), MEM_ACCESS_ERROR);
    assert_int_equal(as_load(w->as, 0x11ffc, 4, &val, MEM_ATTRS_CPU), MEM_OK);
    assert_int_equal(val, 0x33333333);
    assert_int_equal(as_load(w->as, 0x12000, 4, &val, MEM_ATTRS_CPU), MEM_DECODE_ERROR);

    islands.idle = 0;
    mapped = as_map(w->as, 0x10100, &len, true, &pinned);
    assert_ptr_equal(mapped, host + 0x900);
    assert_int_equal(len, 0x700);
    assert_int_equal(islands.pins.count, 1);
    assert_int_equal(islands.idle, 0);
    as_unmap(w->as, pinned, mapped, len, true);
    assert_int_equal(islands.pins.count, 0);
    assert_int_equal(islands.idle, 1);
    len = 4;
    assert_null(as_map(w->as, 0x11900, &len, true, &pinned));

    mem_region_del(w->root, window);
    mem_region_unref(window);
    mem_region_retire(lookup);
    mem_region_unref(lookup);
    for (unsigned i = 0; i < 2; i++) {
        mem_region_retire(islands.region[i]);
        mem_region_unref(islands.region[i]);
    }
    free(host);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_lookup_region),
        TEST(test_priority_and_clipping),
        TEST(test_equal_priority_newest_wins),
        TEST(test_alias),
        TEST(test_adjoining_aliases_merge),
        TEST(test_whole_space),
        TEST(test_alias_of_container_window),
        TEST(test_sizes),
        TEST(test_transfer_across_borders),
        TEST(test_readonly_and_rom),
        TEST(test_errors_of_devices),
        TEST(test_listener_order),
        TEST(test_listener_failure),
        TEST(test_ioeventfd),
        TEST(test_dirty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
