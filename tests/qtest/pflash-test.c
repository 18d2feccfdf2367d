/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The flash of a PC as firmware uses it (Intel StrataFlash 28FxxxJ3 data sheet; JESD68.01): where it lies, its commands
 * and their errors, what gets into the image file, who may write, and a move in the middle of a command. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libqtest/libqtest.h"

#define CODE_SIZE 0x40000u
#define VARS_SIZE 0x21000u /* not a power of two, as OVMF's are */
#define CODE      (UINT64_C(0x100000000) - CODE_SIZE)
#define VARS      (CODE - VARS_SIZE)
#define LEGACY    UINT64_C(0xe0000)
#define BLOCK     0x1000u
#define READY     0x80
#define SEQUENCE  0xb0

typedef struct Flash {
    QtestState *s;
    char *code, *vars;
} Flash;

static void fill_file(const char *path, size_t size, uint8_t first)
{
    g_autofree uint8_t *data = g_malloc(size);

    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(first + i);
    }
    assert_true(g_file_set_contents(path, (char *)data, (gssize)size, NULL));
}

/* Bytes count up in CODE from 1, in VARS from 2. */
static Flash flash_new(void)
{
    Flash f = {.code = qtest_file_new(CODE_SIZE), .vars = qtest_file_new(VARS_SIZE)};

    fill_file(f.code, CODE_SIZE, 1);
    fill_file(f.vars, VARS_SIZE, 2);
    return f;
}

static void flash_run(Flash *f, const char *args)
{
    g_autofree char *all = g_strdup_printf("-m 16 -nodefaults -drive if=pflash,format=raw,unit=0,readonly=on,file=%s "
                                           "-drive if=pflash,unit=1,format=raw,file=%s %s",
                                           f->code, f->vars, args);
    f->s = qtest_start(all);
}

static void flash_free(Flash *f)
{
    qtest_file_free(f->code);
    qtest_file_free(f->vars);
}

static void flash_end(Flash *f)
{
    qtest_end(f->s);
    flash_free(f);
}

static Flash flash_start(const char *args)
{
    Flash f = flash_new();

    flash_run(&f, args);
    return f;
}

static void check_file(const char *path, size_t at, const void *bytes, size_t len)
{
    g_autofree char *data = NULL;
    gsize size;

    assert_true(g_file_get_contents(path, &data, &size, NULL));
    assert_true(at + len <= size);
    assert_memory_equal(data + at, bytes, len);
}

static void command(Flash *f, uint64_t addr, uint8_t code)
{
    qtest_writeb(f->s, addr, code);
}

static uint8_t get(Flash *f, uint64_t addr)
{
    return qtest_readb(f->s, addr);
}

/* The status register after two writes; the array is back. */
static uint8_t do_two(Flash *f, uint64_t addr, uint8_t code, uint8_t val)
{
    uint8_t status;

    command(f, VARS, 0x50);
    command(f, addr, code);
    command(f, addr, val);
    status = get(f, addr);
    command(f, addr, 0xff);
    return status;
}

static void test_layout(void **state)
{
    static const char *const machines[] = {"-machine q35", "-machine pc"};

    for (unsigned i = 0; i < G_N_ELEMENTS(machines); i++) {
        Flash f = flash_start(machines[i]);

        assert_int_equal(qtest_readl(f.s, CODE), 0x04030201);
        assert_int_equal(qtest_readl(f.s, VARS), 0x05040302);
        assert_int_equal(get(&f, CODE + CODE_SIZE - 1), CODE_SIZE & 0xff);
        assert_int_equal(get(&f, VARS + VARS_SIZE - 1), (VARS_SIZE + 1) & 0xff);
        assert_int_equal(get(&f, VARS - 1), 0xff);
        assert_int_equal(qtest_readl(f.s, LEGACY), 0x04030201);
        assert_int_equal(get(&f, 0xfffff), 0);
        command(&f, 0xffff0, 0x70); /* takes no commands there */
        assert_int_equal(get(&f, CODE), 1);
        flash_end(&f);
    }
}

static void test_query(void **state)
{
    Flash f = flash_start("");
    uint8_t query[0x40];

    command(&f, VARS, 0x98);
    for (unsigned i = 0; i < sizeof(query); i++) {
        query[i] = get(&f, VARS + i);
    }
    assert_memory_equal(query + 0x10, "QRY\x01\x00\x31", 7);
    assert_int_equal(query[0x27], 18);                            /* 2^18 bytes would hold it */
    assert_int_equal(query[0x2c], 1);
    assert_int_equal(query[0x2d] | query[0x2e] << 8, VARS_SIZE / BLOCK - 1);
    assert_int_equal((query[0x2f] | query[0x30] << 8) << 8, BLOCK);
    assert_memory_equal(query + 0x31, "PRI", 3);
    assert_int_equal(qtest_readl(f.s, VARS + 0x10), 0x01595251);
    assert_int_equal(get(&f, CODE + 0x10), 0x11); /* the other is not concerned */
    command(&f, VARS, 0x90);
    assert_int_equal(qtest_readw(f.s, VARS), 0x1889);
    command(&f, VARS, 0x70);
    assert_int_equal(get(&f, VARS + 5), READY);
    command(&f, VARS, 0x50);
    assert_int_equal(get(&f, VARS), 2);
    command(&f, VARS, 0x70);
    assert_int_equal(get(&f, VARS), 0); /* by this OVMF knows that it is flash */
    command(&f, VARS, 0x33);
    assert_int_equal(get(&f, VARS), 2);
    flash_end(&f);
}

static void test_program_and_erase(void **state)
{
    static const uint8_t programmed[6] = {0x00, 0x55, 0x44, 0x33, 0x22, 0xff};
    Flash f = flash_start("");
    uint8_t erased[6];

    memset(erased, 0xff, sizeof(erased));
    assert_int_equal(do_two(&f, VARS + 0x3010, 0x40, 0x21), READY);
    assert_int_equal(get(&f, VARS + 0x3010), 0x12 & 0x21);
    assert_int_equal(do_two(&f, VARS + 0x3abc, 0x20, 0xd0), READY);
    assert_int_equal(get(&f, VARS + 0x2fff), 0x01);
    assert_int_equal(qtest_readl(f.s, VARS + 0x3000), UINT32_MAX);
    assert_int_equal(get(&f, VARS + 0x3fff), 0xff);
    assert_int_equal(get(&f, VARS + 0x4000), 0x02);
    command(&f, VARS + 0x3010, 0x10);
    qtest_writel(f.s, VARS + 0x3011, 0x22334455); /* a wider bus */
    assert_int_equal(get(&f, VARS), READY);
    command(&f, VARS, 0xff);
    assert_int_equal(do_two(&f, VARS + 0x3010, 0x40, 0x00), READY);
    assert_int_equal(qtest_readl(f.s, VARS + 0x3011), 0x22334455);
    qtest_end(f.s);
    check_file(f.vars, 0x3010, programmed, sizeof(programmed));
    check_file(f.vars, 0x3000, erased, sizeof(erased));
    flash_free(&f);
}

static void write_buffer(Flash *f, uint64_t addr, unsigned count, const char *text)
{
    command(f, addr, 0xe8);
    assert_int_equal(get(f, addr), READY);
    command(f, addr, (uint8_t)(count - 1));
    for (unsigned i = 0; text[i]; i++) {
        command(f, addr + i, (uint8_t)text[i]);
    }
}

static void test_buffer(void **state)
{
    Flash f = flash_start("");

    assert_int_equal(do_two(&f, VARS, 0x20, 0xd0), READY);
    command(&f, VARS, 0x50);
    write_buffer(&f, VARS + 0x40, 5, "flash");
    assert_int_equal(get(&f, VARS), READY);
    command(&f, VARS + 0x40, 0xd0);
    assert_int_equal(get(&f, VARS), READY);
    command(&f, VARS, 0xff);
    assert_int_equal(qtest_readl(f.s, VARS + 0x40), 0x73616c66);
    assert_int_equal(get(&f, VARS + 0x45), 0xff);

    write_buffer(&f, VARS + 0x80, 2, "ab");
    command(&f, VARS + 0x80, 0x55); /* not confirmed */
    assert_int_equal(get(&f, VARS), SEQUENCE);
    command(&f, VARS, 0x50);
    write_buffer(&f, VARS + BLOCK - 2, 4, "x"); /* over the end of the block */
    assert_int_equal(get(&f, VARS), SEQUENCE);
    command(&f, VARS, 0x50);
    write_buffer(&f, VARS + 0x80, 2, "a");
    command(&f, VARS + 0x90, 'b'); /* elsewhere */
    assert_int_equal(get(&f, VARS), SEQUENCE);
    command(&f, VARS, 0x50);
    assert_int_equal(get(&f, VARS + 0x80), 0xff);
    assert_int_equal(get(&f, VARS + BLOCK - 2), 0xff);
    write_buffer(&f, VARS + 0x100, 256, "");
    qtest_memset(f.s, VARS + 0x100, 0x5a, 256);
    command(&f, VARS + 0x100, 0xd0);
    command(&f, VARS, 0xff);
    assert_int_equal(get(&f, VARS + 0x1ff), 0x5a);
    qtest_end(f.s);
    check_file(f.vars, 0x40, "flash\xff", 6);
    flash_free(&f);
}

static void test_refused(void **state)
{
    Flash f = flash_start("");

    assert_int_equal(do_two(&f, CODE, 0x40, 0), READY | 0x10); /* readonly=on */
    command(&f, CODE, 0x50);
    assert_int_equal(do_two(&f, CODE, 0x20, 0xd0), READY | 0x20);
    assert_int_equal(get(&f, CODE), 1);
    assert_int_equal(do_two(&f, VARS, 0x20, 0x33), SEQUENCE);
    assert_int_equal(do_two(&f, VARS, 0x60, 0x77), SEQUENCE);
    assert_int_equal(do_two(&f, VARS + BLOCK, 0x60, 0x01), READY);
    assert_int_equal(do_two(&f, VARS + BLOCK, 0x40, 0), READY | 0x12);
    assert_int_equal(do_two(&f, VARS + BLOCK + 9, 0x20, 0xd0), READY | 0x22);
    assert_int_equal(do_two(&f, VARS + 2 * BLOCK, 0x40, 0), READY);
    command(&f, VARS, 0x90);
    assert_int_equal(get(&f, VARS + BLOCK + 2), 1);
    assert_int_equal(get(&f, VARS + 2), 0);
    assert_int_equal(do_two(&f, VARS, 0x60, 0xd0), READY);
    assert_int_equal(do_two(&f, VARS + BLOCK, 0x40, 0), READY);
    assert_int_equal(get(&f, VARS + BLOCK), 0);
    flash_end(&f);
}

static void test_reset(void **state)
{
    Flash f = flash_start("");

    command(&f, VARS, 0x40);
    qtest_qmp_ok(f.s, "{'execute': 'system_reset'}");
    assert_true(QTEST_WAIT(get(&f, VARS) == 2));
    command(&f, VARS, 0x70); /* is a command, and nothing that is programmed */
    assert_int_equal(get(&f, VARS), READY);
    command(&f, VARS, 0xff);
    assert_int_equal(get(&f, VARS), 2);
    flash_end(&f);
}

/* Nobody here is in system management mode. */
static void test_secure(void **state)
{
    Flash f = flash_start("-global driver=cfi.pflash01,property=secure,value=on");

    command(&f, VARS, 0x70);
    assert_int_equal(get(&f, VARS), 2);
    do_two(&f, VARS, 0x20, 0xd0);
    do_two(&f, VARS, 0x40, 0);
    assert_int_equal(get(&f, VARS), 2);
    qtest_end(f.s);
    check_file(f.vars, 0, "\x02\x03", 2);
    flash_free(&f);
}

static void test_by_machine(void **state)
{
    Flash f = flash_new();
    g_autofree char *args = g_strdup_printf("-m 16 -nodefaults -blockdev driver=file,node-name=c,read-only=on,filename=%s "
                                            "-blockdev driver=file,node-name=v,filename=%s -machine q35,pflash0=c,pflash1=v",
                                            f.code, f.vars);

    f.s = qtest_start(args);
    assert_int_equal(get(&f, CODE), 1);
    assert_int_equal(do_two(&f, VARS, 0x40, 0), READY);
    assert_int_equal(get(&f, VARS), 0);
    flash_end(&f);
}

static void save(Flash *f, const char *path)
{
    qtest_qmp_ok(f->s, "{'execute': 'migrate', 'arguments': {'uri': 'file:%s'}}", path);
    assert_true(QTEST_WAIT(({
        struct json_object *reply = qtest_qmp(f->s, "{'execute': 'query-migrate'}");
        bool over = strstr(json_object_to_json_string(reply), "completed") != NULL;

        json_object_put(reply);
        over;
    })));
}

/* In the middle of a write to the buffer; the file there is another, and gets the guest's contents. */
static void test_move(void **state)
{
    Flash f = flash_start("-machine q35"), g = flash_new();
    char *stream = qtest_file_new(0);
    g_autofree char *incoming = g_strdup_printf("-machine q35 -incoming file:%s", stream);

    fill_file(g.vars, VARS_SIZE, 0x77);
    do_two(&f, VARS, 0x20, 0xd0);
    do_two(&f, VARS + BLOCK, 0x60, 0x01);
    command(&f, VARS, 0x50);
    write_buffer(&f, VARS + 0x40, 5, "fla");
    save(&f, stream);
    flash_run(&g, incoming);
    assert_true(QTEST_WAIT(({
        struct json_object *reply = qtest_qmp(g.s, "{'execute': 'query-status'}");
        bool runs = strstr(json_object_to_json_string(reply), "\"running\"") && !strstr(json_object_to_json_string(reply), "inmigrate");

        json_object_put(reply);
        runs;
    })));
    assert_int_equal(get(&g, VARS), READY);
    command(&g, VARS + 0x43, 's');
    command(&g, VARS + 0x44, 'h');
    command(&g, VARS + 0x40, 0xd0);
    command(&g, VARS, 0xff);
    assert_int_equal(qtest_readl(g.s, VARS + 0x40), 0x73616c66);
    assert_int_equal(do_two(&g, VARS + BLOCK, 0x40, 0), READY | 0x12);
    flash_end(&f);
    qtest_end(g.s);
    check_file(g.vars, 0x3f, "\xff" "flash\xff", 7);
    check_file(g.vars, BLOCK, "\x02\x03", 2);
    flash_free(&g);
    qtest_file_free(stream);
}

static void test_errors(void **state)
{
    static const struct {
        const char *args, *words;
    } cases[] = {
        {"-drive if=pflash,format=raw,unit=1,file=%s", "pflash1 requires pflash0"},
        {"-drive if=pflash,format=raw,unit=2,file=%s", "unit=2: no such flash (allowed 0..1)"},
        {"-drive if=pflash,format=raw,file=%s -drive if=pflash,unit=0,format=raw,file=%s", "unit=0: this flash has contents already"},
        {"-blockdev driver=file,node-name=c,filename=%s -machine pflash0=c -drive if=pflash,unit=0,format=raw,file=%s", "contents already"},
        {"-blockdev driver=file,node-name=c,filename=%s -machine pflash0=c,pflash1=c", "in use by device"},
        {"-drive if=pflash,format=raw,file=%s -bios bios-256k.bin", "leave one of them out"},
        {"-machine pflash0=nothing", "pflash0=nothing: no such drive or node"},
        {"-machine none -drive if=pflash,format=raw,file=%s", "machine none has no flash"},
        {"-drive if=pflash,format=raw,file.driver=null-co,file.size=6144", "6144 bytes, allowed multiples of 4096 up to 8388608"},
        {"-drive if=pflash,format=raw,file.driver=null-co,file.size=9M", "too large"},
        {"-drive if=pflash,format=raw,file=%s -drive if=pflash,format=raw,file.driver=null-co,file.size=8M", "too large"},
        {"-device cfi.pflash01", "cfi.pflash01"},
    };
    Flash f = flash_new();

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(GStrv) parts = g_strsplit(cases[i].args, "%s", -1);
        g_autofree char *args = g_strjoinv(f.code, parts), *err = NULL;

        assert_int_equal(qtest_run_to_exit(args, &err), 1);
        if (!strstr(err, cases[i].words)) {
            fail_msg("%s: %s", args, err);
        }
    }
    flash_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_program_and_erase),
        cmocka_unit_test(test_buffer),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_secure),
        cmocka_unit_test(test_by_machine),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
