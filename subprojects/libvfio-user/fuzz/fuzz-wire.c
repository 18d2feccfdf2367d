/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer target for the decoders: the first byte says how many fds came along, the second which decoder, the rest
 * is the payload, in a buffer of exactly its size so that a read past the end is found.
 */
#include <stdlib.h>
#include <string.h>

#include "wire/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_version(const uint8_t *buf, size_t len)
{
    WireVersion v;
    WireCaps caps;
    const char *key;
    char json[WIRE_MAX_JSON];

    if (wire_version_decode(&v, buf, len)) {
        return;
    }
    for (int strict = 0; strict < 2; strict++) {
        if (wire_caps_parse(&caps, v.json, strict, &key) == 0) {
            wire_caps_check_server(&caps, &key);
            wire_caps_encode(json, sizeof(json), &caps);
        }
    }
}

static void fuzz_region_info(const uint8_t *buf, size_t len)
{
    WireRegionInfo r;
    WireArea areas[16];
    uint32_t count = 16;
    bool found;

    if (wire_region_info_decode(&r, buf, len) == 0 &&
        wire_region_sparse_decode(&r, buf, len, areas, &count, &found) == 0 && found && count > 16) {
        abort();
    }
}

static void fuzz_io_fds(const uint8_t *buf, size_t len)
{
    WireIoFds f;
    WireIoFd e;
    uint32_t entries;

    wire_io_fds_decode(&f, buf, len);
    if (wire_io_fds_decode_reply(&f, buf, len, &entries) == 0) {
        for (uint32_t i = 0; i < entries; i++) {
            wire_io_fd_decode(&e, &f, buf, len, i);
        }
    }
}

static void fuzz_feature(const uint8_t *buf, size_t len)
{
    WireFeature f;
    WireMigDeviceState s;
    WireLogStart start;
    WireLogRange range;
    WireLogReport report;
    uint64_t flags;

    if (wire_feature_decode(&f, buf, len)) {
        return;
    }
    wire_feature_migration_decode(&flags, f.data, f.data_len);
    wire_mig_state_decode(&s, f.data, f.data_len);
    if (wire_log_start_decode(&start, f.data, f.data_len) == 0) {
        for (uint32_t i = 0; i < start.num_ranges; i++) {
            wire_log_range_decode(&range, &start, i);
        }
    }
    if (wire_log_report_decode(&report, f.data, f.data_len) == 0) {
        wire_bitmap_size(report.length, report.page_size);
    }
}

static void fuzz_set_irqs(const uint8_t *buf, size_t len, unsigned fds)
{
    WireSetIrqs s;
    volatile uint8_t sink = 0;

    if (wire_set_irqs_decode(&s, buf, len, fds) == 0 && s.bools) {
        for (uint32_t i = 0; i < s.count; i++) {
            sink = s.bools[i];
        }
    }
    (void)sink;
}

static void fuzz_access(const uint8_t *buf, size_t len)
{
    WireRegionAccess a, asked = { .count = 4 };
    WireDmaAccess d, asked_dma = { .count = 4 };
    WireMigData m;
    WireWrite w;
    uint64_t count;
    volatile uint8_t sink = 0;

    if (wire_region_write_decode(&a, buf, len, WIRE_MAX_DATA) == 0 && a.count) {
        sink = a.data[a.count - 1];
    }
    wire_region_read_decode(&a, buf, len, WIRE_MAX_DATA);
    wire_region_read_decode_reply(&a, buf, len, &asked);
    wire_region_write_decode_reply(&a, buf, len, &asked);
    if (wire_dma_write_decode(&d, buf, len, WIRE_MAX_DATA) == 0 && d.count) {
        sink = d.data[d.count - 1];
    }
    wire_dma_read_decode(&d, buf, len, WIRE_MAX_DATA);
    wire_dma_read_decode_reply(&d, buf, len, &asked_dma);
    wire_dma_write_decode_reply(buf, len, &asked_dma);
    if (wire_mig_write_decode(&m, buf, len, WIRE_MAX_DATA) == 0 && m.size) {
        sink = m.data[m.size - 1];
    }
    wire_mig_read_decode(&m, buf, len, WIRE_MAX_DATA);
    if (wire_write_multi_decode(&count, buf, len) == 0) {
        for (uint64_t i = 0; i < count; i++) {
            wire_write_multi_entry(&w, buf, i);
        }
    }
    wire_write_multi_decode_reply(&count, buf, len, 10);
    (void)sink;
}

static void fuzz_simple(const uint8_t *buf, size_t len, unsigned fds)
{
    WireHeader h;
    WireDmaMap map;
    WireDmaUnmap unmap;
    WireInfo info;
    WireIrqInfo irq;
    WireDirtyPages dirty;

    if (wire_header_decode(&h, buf, len) == 0) {
        wire_header_check(&h, WIRE_MAX_MESSAGE);
        wire_header_error(&h);
        wire_command_name(h.command);
    }
    wire_dma_map_decode(&map, buf, len, fds);
    wire_dma_unmap_decode(&unmap, buf, len);
    wire_info_decode_reply(&info, buf, len);
    wire_irq_info_decode(&irq, buf, len);
    wire_dirty_pages_decode(&dirty, buf, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *buf;
    size_t len;

    if (size < 2) {
        return 0;
    }
    len = size - 2;
    buf = malloc(len);
    if (len) {
        memcpy(buf, data + 2, len);
    }
    switch (data[1] % 7) {
    case 0:
        fuzz_version(buf, len);
        break;
    case 1:
        fuzz_region_info(buf, len);
        break;
    case 2:
        fuzz_io_fds(buf, len);
        break;
    case 3:
        fuzz_feature(buf, len);
        break;
    case 4:
        fuzz_set_irqs(buf, len, data[0]);
        break;
    case 5:
        fuzz_access(buf, len);
        break;
    default:
        fuzz_simple(buf, len, data[0]);
        break;
    }
    free(buf);
    return 0;
}
