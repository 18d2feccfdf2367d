/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Firmware configuration through ports and DMA: signature, directory, files of the machine and of -fw_cfg, what is
 * out of range; the attribute map over the firmware's ROM.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libqtest/libqpci.h"
#include "libqtest/libqtest.h"

#define PORT_SELECT 0x510
#define PORT_DATA   0x511
#define PORT_DMA    0x514

#define KEY_SIGNATURE 0x00
#define KEY_ID        0x01
#define KEY_UUID      0x02
#define KEY_NB_CPUS   0x05
#define KEY_BOOT_MENU 0x0e
#define KEY_DIR       0x19

#define DMA_ERROR  1u
#define DMA_READ   2u
#define DMA_SKIP   4u
#define DMA_SELECT 8u
#define DMA_WRITE  16u

#define BLOCK  0x100000u /* guest addresses */
#define BUFFER 0x200000u
#define NOWHERE 0x80000000u

static int start(void **state)
{
    *state = qtest_start("-machine q35 -m 64 -smp 2 -uuid 00112233-4455-6677-8899-aabbccddeeff -boot menu=on,strict=on "
                         "-fw_cfg opt/test,string=hello -device edu,bootindex=7,addr=5 -device pci-testdev,bootindex=3,addr=6");
    return 0;
}

static int end(void **state)
{
    qtest_end(*state);
    return 0;
}

static void select_key(QtestState *s, uint16_t key)
{
    qtest_outw(s, PORT_SELECT, key);
}

static void read_bytes(QtestState *s, void *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)buf)[i] = qtest_inb(s, PORT_DATA);
    }
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The size of a file and its key, from the directory.  -1: no such file. */
static int64_t find_file(QtestState *s, const char *name, uint16_t *key)
{
    uint8_t count[4], entry[64];
    int64_t size = -1;
    select_key(s, KEY_DIR);
    read_bytes(s, count, 4);
    for (uint32_t i = be32(count); i > 0; i--) {
        read_bytes(s, entry, sizeof(entry));
        if (!strcmp((char *)entry + 8, name)) {
            size = be32(entry);
            *key = (uint16_t)(entry[4] << 8 | entry[5]);
        }
    }
    return size;
}

/* Runs a command block; the control word it leaves. */
static uint32_t dma(QtestState *s, uint32_t control, uint32_t len, uint64_t addr)
{
    qtest_writel(s, BLOCK, GUINT32_TO_BE(control));
    qtest_writel(s, BLOCK + 4, GUINT32_TO_BE(len));
    qtest_writeq(s, BLOCK + 8, GUINT64_TO_BE(addr));
    qtest_outl(s, PORT_DMA, 0);
    qtest_outl(s, PORT_DMA + 4, GUINT32_TO_BE(BLOCK));
    return GUINT32_FROM_BE(qtest_readl(s, BLOCK));
}

static void test_signature(void **state)
{
    QtestState *s = *state;
    char text[5] = "";
    select_key(s, KEY_SIGNATURE);
    read_bytes(s, text, 4);
    assert_string_equal(text, "QEMU");
    assert_int_equal(qtest_inb(s, PORT_DATA), 0); /* behind the end */
    select_key(s, KEY_ID);
    assert_int_equal(qtest_inb(s, PORT_DATA), 3); /* ports and DMA */
    assert_int_equal(qtest_inl(s, PORT_DMA), GUINT32_TO_BE(0x51454d55));
    assert_int_equal(qtest_inl(s, PORT_DMA + 4), GUINT32_TO_BE(0x20434647));
}

static void test_items(void **state)
{
    QtestState *s = *state;
    static const uint8_t uuid[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                     0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    uint8_t got[16];
    select_key(s, KEY_UUID);
    read_bytes(s, got, 16);
    assert_memory_equal(got, uuid, 16);
    select_key(s, KEY_NB_CPUS);
    assert_int_equal(qtest_inb(s, PORT_DATA), 2);
    select_key(s, KEY_BOOT_MENU);
    assert_int_equal(qtest_inb(s, PORT_DATA), 1);
    select_key(s, 0x7777); /* nothing */
    assert_int_equal(qtest_inb(s, PORT_DATA), 0);
}

static void test_files(void **state)
{
    static const char *const names[] = {"etc/e820", "etc/acpi/rsdp", "etc/acpi/tables", "etc/table-loader",
                                        "etc/system-states", "etc/reserved-memory-end"};
    QtestState *s = *state;
    uint16_t key = 0;
    char text[128] = "";
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        assert_true(find_file(s, names[i], &key) > 0);
    }
    assert_int_equal(find_file(s, "opt/test", &key), 5);
    select_key(s, key);
    read_bytes(s, text, 5);
    assert_string_equal(text, "hello");
    int64_t len = find_file(s, "bootorder", &key);
    assert_in_range(len, 1, sizeof(text) - 1);
    select_key(s, key);
    read_bytes(s, text, (size_t)len);
    assert_string_equal(text, "/pci@i0cf8/pci1b36,5@6\n/pci@i0cf8/pci1234,11e8@5\nHALT\n");
}

static void test_memory_map(void **state)
{
    QtestState *s = *state;
    uint16_t key = 0;
    uint8_t e[20];
    uint64_t addr, size;
    assert_int_equal(find_file(s, "etc/e820", &key), 20);
    assert_int_equal(dma(s, (uint32_t)key << 16 | DMA_SELECT | DMA_READ, 20, BUFFER), 0);
    qtest_memread(s, BUFFER, e, sizeof(e));
    memcpy(&addr, e, 8);
    memcpy(&size, e + 8, 8);
    assert_int_equal(addr, 0);
    assert_int_equal(size, 64 << 20);
    assert_int_equal(e[16], 1);
}

static void test_dma(void **state)
{
    QtestState *s = *state;
    uint16_t key = 0;
    char text[9] = "";
    find_file(s, "opt/test", &key);
    qtest_memset(s, BUFFER, 0xee, 16);
    assert_int_equal(dma(s, (uint32_t)key << 16 | DMA_SELECT | DMA_SKIP, 1, 0), 0);
    assert_int_equal(dma(s, DMA_READ, 8, BUFFER), 0); /* four bytes are left, the rest is zero */
    qtest_memread(s, BUFFER, text, sizeof(text));
    assert_memory_equal(text, "ello\0\0\0\0\xee", 9);
    assert_int_equal(dma(s, (uint32_t)key << 16 | DMA_SELECT | DMA_SKIP, UINT32_MAX, 0), 0);
    assert_int_equal(qtest_inb(s, PORT_DATA), 0);
}

static void test_bad_dma(void **state)
{
    QtestState *s = *state;
    uint16_t key = 0;
    find_file(s, "opt/test", &key);
    assert_int_equal(dma(s, (uint32_t)key << 16 | DMA_SELECT | DMA_READ, 5, NOWHERE), DMA_ERROR);
    assert_int_equal(dma(s, (uint32_t)key << 16 | DMA_SELECT | DMA_READ, UINT32_MAX, UINT64_MAX - 2), DMA_ERROR);
    assert_int_equal(dma(s, (uint32_t)key << 16 | DMA_SELECT | DMA_WRITE, 5, BUFFER), DMA_ERROR);
    qtest_outl(s, PORT_DMA + 4, GUINT32_TO_BE(NOWHERE)); /* no block there */
    qtest_outb(s, PORT_SELECT, 1);                       /* half a selector */
    qtest_outb(s, PORT_DMA, 1);
    test_signature(state);
}

/* Each quarter of the map below 1 MiB: read-only RAM, RAM, PCI. */
static void test_attribute_map(void **state)
{
    QtestState *s = *state;
    const uint32_t pam1 = 0x91; /* C0000h low, C4000h high half */
    qtest_outl(s, 0xcf8, 0x80000000 | (pam1 & ~3u));
    qtest_outb(s, 0xcfc + (pam1 & 3), 0x33);
    qtest_writel(s, 0xc0000, 0x11111111);
    qtest_writel(s, 0xc4000, 0x22222222);
    assert_int_equal(qtest_readl(s, 0xc0000), 0x11111111);
    qtest_outb(s, 0xcfc + (pam1 & 3), 0x31);
    qtest_writel(s, 0xc0000, 0xdeadbeef);
    qtest_writel(s, 0xc4000, 0x33333333);
    assert_int_equal(qtest_readl(s, 0xc0000), 0x11111111);
    assert_int_equal(qtest_readl(s, 0xc4000), 0x33333333);
    qtest_outb(s, 0xcfc + (pam1 & 3), 0x00);
    assert_int_not_equal(qtest_readl(s, 0xc0000), 0x11111111);
    assert_int_not_equal(qtest_readl(s, 0xc4000), 0x33333333);
    qtest_outb(s, 0xcfc + (pam1 & 3), 0x33);
    assert_int_equal(qtest_readl(s, 0xc0000), 0x11111111);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_signature, start, end),
        cmocka_unit_test_setup_teardown(test_items, start, end),
        cmocka_unit_test_setup_teardown(test_files, start, end),
        cmocka_unit_test_setup_teardown(test_memory_map, start, end),
        cmocka_unit_test_setup_teardown(test_dma, start, end),
        cmocka_unit_test_setup_teardown(test_bad_dma, start, end),
        cmocka_unit_test_setup_teardown(test_attribute_map, start, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
