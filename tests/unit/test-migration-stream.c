/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Records of a migration stream and what they are summed with; RAM with holes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "migration/checksum.h"
#include "migration/ram.h"
#include "migration/record.h"

#define PAGES 7u /* more than are summed at once, and not a multiple of it */

static void fill(uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        data[i] = (uint8_t)(i * 7 + i / 4096);
    }
}

/* RFC 3720, B.4. */
static void test_checksum_known(void **state)
{
    uint8_t zeros[32] = {0}, ones[32], data[PAGES * MIG_CHECKSUM_BLOCK];
    uint32_t expected = 1;

    memset(ones, 0xff, sizeof(ones));
    assert_int_equal(mig_crc32c(0, zeros, 32), 0x8a9136aa);
    assert_int_equal(mig_crc32c(0, ones, 32), 0x62a8ab43);
    assert_int_equal(mig_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(mig_crc32c(mig_crc32c(0, "12345", 5), "6789", 4), 0xe3069283);
    fill(data, sizeof(data));
    for (unsigned i = 0; i < PAGES; i++) {
        uint32_t sum = GUINT32_TO_LE(mig_crc32c(0, data + (size_t)i * MIG_CHECKSUM_BLOCK, MIG_CHECKSUM_BLOCK));

        expected = mig_crc32c(expected, &sum, sizeof(sum));
    }
    assert_int_equal(mig_crc32c_blocks(1, data, PAGES), expected);
    assert_int_equal(mig_crc32c_blocks(1, NULL, 0), 1);
}

/* However many are copied: they are there, the sum is theirs, and nothing else was touched. */
static void test_checksum_copy(void **state)
{
    _Alignas(8) uint8_t data[PAGES * MIG_CHECKSUM_BLOCK], copy[sizeof(data) + 1], untouched[sizeof(copy)];

    fill(data, sizeof(data));
    memset(untouched, 0xa5, sizeof(untouched));
    for (unsigned blocks = 0; blocks <= PAGES; blocks++) {
        size_t len = (size_t)blocks * MIG_CHECKSUM_BLOCK;

        memcpy(copy, untouched, sizeof(copy));
        assert_int_equal(mig_crc32c_copy(blocks, copy, data, blocks), mig_crc32c_blocks(blocks, data, blocks));
        assert_memory_equal(copy, data, len);
        assert_memory_equal(copy + len, untouched, sizeof(copy) - len);
    }
}

static MigStream stream_new(void)
{
    MigStream s = {.fd = memfd_create("stream", MFD_CLOEXEC)};

    assert_true(s.fd >= 0);
    return s;
}

static void write_stream(MigStream *s, const uint8_t *pages)
{
    g_autofree uint8_t *copy = g_malloc(PAGES * MIG_PAGE_SIZE);
    uint8_t head[12] = {0}, text[5000];
    GError *error = NULL;

    fill(text, sizeof(text));
    assert_true(mig_write_header(s, &error));
    assert_true(mig_write(s, MIG_DEVICE, text, sizeof(text), NULL, 0, &error));
    assert_true(mig_write_pages(s, MIG_RAM, head, sizeof(head), pages, copy, PAGES * MIG_PAGE_SIZE, &error));
    assert_true(mig_write(s, MIG_END, NULL, 0, NULL, 0, &error));
}

/* How many records can be read; *error says why no more, NULL at the end. */
static unsigned read_stream(MigStream *s, const uint8_t *pages, GError **error)
{
    g_autoptr(GByteArray) payload = g_byte_array_new();
    unsigned count = 0;
    uint32_t type = 0;

    lseek(s->fd, 0, SEEK_SET);
    s->received = 0;
    if (!mig_read_header(s, error)) {
        return 0;
    }
    for (; type != MIG_END && mig_read(s, &type, payload, error); count++) {
        if (type == MIG_RAM) {
            assert_int_equal(payload->len, 12 + PAGES * MIG_PAGE_SIZE);
            assert_memory_equal(payload->data + 12, pages, PAGES * MIG_PAGE_SIZE);
        }
    }
    return count;
}

static void test_record_round(void **state)
{
    g_autofree uint8_t *pages = g_malloc(PAGES * MIG_PAGE_SIZE);
    MigStream s = stream_new();
    GError *error = NULL;

    fill(pages, PAGES * MIG_PAGE_SIZE);
    write_stream(&s, pages);
    assert_int_equal(read_stream(&s, pages, &error), 3);
    assert_null(error);
    mig_close(&s);
}

/* One writer or the other, one reader or the other: the bytes are the same. */
static void test_record_parts(void **state)
{
    static const uint32_t parts[] = {5, 7, 2 * MIG_PAGE_SIZE, 0, 5 * MIG_PAGE_SIZE};
    g_autofree uint8_t *pages = g_malloc(PAGES * MIG_PAGE_SIZE), *payload = g_malloc(12 + PAGES * MIG_PAGE_SIZE);
    uint8_t head[12];
    MigStream s = stream_new();
    uint32_t done = 0;
    MigRecord r;

    fill(head, sizeof(head));
    fill(pages, PAGES * MIG_PAGE_SIZE);
    assert_true(mig_write_header(&s, NULL));
    assert_true(mig_write(&s, MIG_RAM, head, sizeof(head), pages, PAGES * MIG_PAGE_SIZE, NULL));
    lseek(s.fd, 0, SEEK_SET);
    assert_true(mig_read_header(&s, NULL));
    assert_true(mig_read_begin(&s, &r, NULL));
    assert_int_equal(r.type, MIG_RAM);
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        assert_true(mig_read_part(&s, &r, payload + done, parts[i], NULL));
        done += parts[i];
    }
    assert_int_equal(done, r.len);
    assert_int_equal(r.left, 0);
    assert_true(mig_read_end(&r, NULL));
    assert_memory_equal(payload, head, sizeof(head));
    assert_memory_equal(payload + sizeof(head), pages, PAGES * MIG_PAGE_SIZE);
    r.sum ^= 1;
    assert_false(mig_read_end(&r, NULL));
    mig_close(&s);
}

/* A damaged byte, wherever it is, is found in its record and its place said. */
static void test_record_damaged(void **state)
{
    static const uint64_t begins[] = {8, 8 + 16 + 5000, 8 + 16 + 5000 + 16 + 12 + PAGES * MIG_PAGE_SIZE};
    g_autofree uint8_t *pages = g_malloc(PAGES * MIG_PAGE_SIZE);
    MigStream s = stream_new();
    off_t size;

    fill(pages, PAGES * MIG_PAGE_SIZE);
    write_stream(&s, pages);
    size = lseek(s.fd, 0, SEEK_END);
    assert_int_equal(size, begins[2] + 16);
    for (off_t at = 8; at < size; at += at < 8 + 40 || at > size - 40 ? 1 : 97) {
        unsigned record = (at >= (off_t)begins[1]) + (at >= (off_t)begins[2]);
        g_autofree char *where = g_strdup_printf(" at byte %u:", (unsigned)begins[record]);
        GError *error = NULL;
        uint8_t byte;

        assert_int_equal(pread(s.fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(s.fd, &byte, 1, at), 1);
        assert_int_equal(read_stream(&s, pages, &error), record);
        assert_non_null(error);
        assert_non_null(strstr(error->message, "damaged record"));
        assert_non_null(strstr(error->message, where));
        g_error_free(error);
        byte ^= 0x10;
        assert_int_equal(pwrite(s.fd, &byte, 1, at), 1);
    }
    mig_close(&s);
}

/* --- RAM --- */

static uint64_t allocated(const MigRam *ram)
{
    uint64_t bytes = 0, next;

    for (uint64_t at = 0; at < ram->size; at = next) {
        bool hole;

        next = mig_ram_run(ram, at, &hole);
        assert_true(next > at && next <= ram->size);
        bytes += hole ? 0 : next - at;
    }
    return bytes;
}

static void test_ram_holes(void **state)
{
    enum { SIZE = 16 * MIG_PAGE_SIZE, OFFSET = 3 * MIG_PAGE_SIZE };
    int fd = memfd_create("ram", MFD_CLOEXEC);
    MigRam ram = {.size = SIZE, .fd = fd, .fd_offset = OFFSET};
    MigRamRun there = {0};
    uint8_t page[2 * MIG_PAGE_SIZE];
    bool hole;

    fill(page, sizeof(page));
    assert_int_equal(ftruncate(fd, OFFSET + SIZE), 0);
    ram.host = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, OFFSET);
    assert_true(ram.host != MAP_FAILED);
    assert_int_equal(mig_ram_run(&ram, 0, &hole), SIZE);
    assert_true(hole);
    mig_ram_clear(&ram, &there, 0, SIZE);
    assert_int_equal(allocated(&ram), 0);

    mig_ram_write(&ram, 4 * MIG_PAGE_SIZE, page, sizeof(page));
    assert_memory_equal(ram.host + 4 * MIG_PAGE_SIZE, page, sizeof(page));
    assert_int_equal(mig_ram_run(&ram, 0, &hole), 4 * MIG_PAGE_SIZE);
    assert_true(hole);
    assert_int_equal(mig_ram_run(&ram, 5 * MIG_PAGE_SIZE, &hole), 6 * MIG_PAGE_SIZE);
    assert_false(hole);
    assert_int_equal(allocated(&ram), sizeof(page));
    assert_ptr_equal(mig_ram_place(&ram, &there, 4 * MIG_PAGE_SIZE, sizeof(page)), ram.host + 4 * MIG_PAGE_SIZE);
    assert_ptr_equal(mig_ram_place(&ram, &there, 5 * MIG_PAGE_SIZE, MIG_PAGE_SIZE), ram.host + 5 * MIG_PAGE_SIZE);
    assert_null(mig_ram_place(&ram, &there, 5 * MIG_PAGE_SIZE, sizeof(page)));
    assert_null(mig_ram_place(&ram, &there, 3 * MIG_PAGE_SIZE, sizeof(page)));
    assert_null(mig_ram_place(&ram, &there, 9 * MIG_PAGE_SIZE, MIG_PAGE_SIZE));
    mig_ram_clear(&ram, &there, 0, SIZE);
    assert_true(mig_page_is_zero(ram.host + 4 * MIG_PAGE_SIZE) && mig_page_is_zero(ram.host + 5 * MIG_PAGE_SIZE));
    assert_int_equal(allocated(&ram), sizeof(page));
    munmap(ram.host, SIZE);
    close(fd);
}

static void test_ram_without_file(void **state)
{
    uint8_t *memory = g_malloc0(4 * MIG_PAGE_SIZE), page[MIG_PAGE_SIZE];
    MigRam ram = {.host = memory, .size = 4 * MIG_PAGE_SIZE, .fd = -1};
    MigRamRun there = {0};
    bool hole;

    fill(page, sizeof(page));
    mig_ram_write(&ram, MIG_PAGE_SIZE, page, sizeof(page));
    assert_memory_equal(memory + MIG_PAGE_SIZE, page, sizeof(page));
    assert_int_equal(mig_ram_run(&ram, 0, &hole), ram.size);
    assert_false(hole);
    assert_ptr_equal(mig_ram_place(&ram, &there, MIG_PAGE_SIZE, 3 * MIG_PAGE_SIZE), memory + MIG_PAGE_SIZE);
    assert_ptr_equal(mig_ram_place(&ram, &there, 4 * MIG_PAGE_SIZE, 0), memory + 4 * MIG_PAGE_SIZE);
    mig_ram_clear(&ram, &there, MIG_PAGE_SIZE, MIG_PAGE_SIZE);
    assert_true(mig_page_is_zero(memory + MIG_PAGE_SIZE));
    g_free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksum_known), cmocka_unit_test(test_checksum_copy),  cmocka_unit_test(test_record_round),
        cmocka_unit_test(test_record_parts),   cmocka_unit_test(test_record_damaged), cmocka_unit_test(test_ram_holes),
        cmocka_unit_test(test_ram_without_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
