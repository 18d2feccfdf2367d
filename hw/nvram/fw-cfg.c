/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The firmware configuration device in port space (QEMU documentation, "QEMU Firmware Configuration (fw_cfg) Device"):
 * a selector at 510h, data at 511h, and at 514h the big-endian address of a command block for DMA.
 */
#include "hw/nvram/fw-cfg.h"

#include <string.h>

#define FW_CFG_FILE_FIRST 0x20
#define FW_CFG_FILE_COUNT 0x100
#define FW_CFG_DIR_ENTRY  64

#define ID_TRADITIONAL 0x1
#define ID_DMA         0x2

#define DMA_SIGNATURE   0x51454d5520434647ull /* "QEMU CFG" */
#define DMA_CTL_ERROR   0x01u
#define DMA_CTL_READ    0x02u
#define DMA_CTL_SKIP    0x04u
#define DMA_CTL_SELECT  0x08u
#define DMA_CTL_WRITE   0x10u
#define DMA_BLOCK       16
#define DMA_FILL        4096u

static uint64_t be_get(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    while (bytes--) {
        v = v << 8 | *p++;
    }
    return v;
}

static void be_put(uint8_t *p, uint64_t v, unsigned bytes)
{
    while (bytes--) {
        p[bytes] = (uint8_t)v;
        v >>= 8;
    }
}

/* --- contents --- */

void fw_cfg_set(FwCfg *s, uint16_t key, GBytes *data)
{
    g_hash_table_insert(s->items, GUINT_TO_POINTER(key), data);
}

void fw_cfg_set_int(FwCfg *s, uint16_t key, uint64_t val, unsigned bytes)
{
    val = GUINT64_TO_LE(val);
    fw_cfg_set(s, key, g_bytes_new(&val, bytes));
}

static int fw_cfg_file_index(const FwCfg *s, const char *name)
{
    for (guint i = 0; i < s->files->len; i++) {
        if (!strcmp(s->files->pdata[i], name)) {
            return (int)i;
        }
    }
    return -1;
}

bool fw_cfg_has_file(const FwCfg *s, const char *name)
{
    return fw_cfg_file_index(s, name) >= 0;
}

static GBytes *fw_cfg_item(const FwCfg *s, uint16_t key)
{
    return g_hash_table_lookup(s->items, GUINT_TO_POINTER(key));
}

static void fw_cfg_update_dir(FwCfg *s)
{
    size_t size = 4 + (size_t)s->files->len * FW_CFG_DIR_ENTRY;
    uint8_t *dir = g_malloc0(size);
    be_put(dir, s->files->len, 4);
    for (guint i = 0; i < s->files->len; i++) {
        uint8_t *entry = dir + 4 + (size_t)i * FW_CFG_DIR_ENTRY;
        uint16_t key = (uint16_t)(FW_CFG_FILE_FIRST + i);
        be_put(entry, g_bytes_get_size(fw_cfg_item(s, key)), 4);
        be_put(entry + 4, key, 2);
        memcpy(entry + 8, s->files->pdata[i], strlen(s->files->pdata[i]));
    }
    fw_cfg_set(s, FW_CFG_FILE_DIR, g_bytes_new_take(dir, size));
}

bool fw_cfg_set_file(FwCfg *s, const char *name, GBytes *data, GError **error)
{
    int index = fw_cfg_file_index(s, name);
    size_t len = strlen(name);
    if (index < 0) {
        if (!len || len > FW_CFG_NAME_MAX) {
            error_set(error, "fw_cfg: bad length of a file's name ('%s': %zu bytes, allowed 1..%d)", name, len,
                      FW_CFG_NAME_MAX);
            g_bytes_unref(data);
            return false;
        }
        if (s->files->len == FW_CFG_FILE_COUNT) {
            error_set(error, "fw_cfg: no room for another file (%s, allowed %d)", name, FW_CFG_FILE_COUNT);
            g_bytes_unref(data);
            return false;
        }
        index = (int)s->files->len;
        g_ptr_array_add(s->files, g_strdup(name));
    }
    fw_cfg_set(s, (uint16_t)(FW_CFG_FILE_FIRST + index), data);
    fw_cfg_update_dir(s);
    return true;
}

/* --- selector and data --- */

static void fw_cfg_select(FwCfg *s, uint16_t key)
{
    s->key = key;
    s->offset = 0;
}

/* What is left of the selected item. */
static const uint8_t *fw_cfg_rest(const FwCfg *s, size_t *len)
{
    GBytes *item = fw_cfg_item(s, s->key);
    gsize size = 0;
    const uint8_t *data = item ? g_bytes_get_data(item, &size) : NULL;
    *len = size > s->offset ? size - s->offset : 0;
    return *len ? data + s->offset : NULL;
}

static uint8_t fw_cfg_next(FwCfg *s)
{
    size_t len;
    const uint8_t *p = fw_cfg_rest(s, &len);
    s->offset += len != 0;
    return p ? *p : 0;
}

static MemResult port_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    FwCfg *s = opaque;
    *val = fw_cfg_next(s);
    if (size == 2) {
        *val |= (uint64_t)fw_cfg_next(s) << 8;
    }
    return MEM_OK;
}

static MemResult port_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    FwCfg *s = opaque;
    if (addr == 0 && size == 2) {
        fw_cfg_select(s, (uint16_t)val);
        return MEM_OK;
    }
    guest_error(&s->dev, "write of %u bytes to port 0x%x (only the selector, 2 bytes at 0x%x, is writable)", size,
                FW_CFG_IO_BASE + (unsigned)addr, FW_CFG_IO_BASE);
    return MEM_OK;
}

/* --- DMA --- */

/* As much of the item as there is, then zeroes. */
static bool dma_read_item(FwCfg *s, uint64_t addr, uint64_t len)
{
    static const uint8_t zeroes[DMA_FILL];
    size_t have;
    const uint8_t *p = fw_cfg_rest(s, &have);
    uint64_t n = MIN(have, len);
    if (n && as_write(s->memory, addr, p, n, MEM_ATTRS_CPU) != MEM_OK) {
        return false;
    }
    s->offset += (uint32_t)n;
    for (uint64_t at = n; at < len; at += DMA_FILL) {
        if (as_write(s->memory, addr + at, zeroes, MIN(len - at, DMA_FILL), MEM_ATTRS_CPU) != MEM_OK) {
            return false;
        }
    }
    return true;
}

static bool dma_execute(FwCfg *s, uint32_t control, uint32_t len, uint64_t addr)
{
    size_t have;
    if (control & DMA_CTL_SELECT) {
        fw_cfg_select(s, (uint16_t)(control >> 16));
    }
    if (control & DMA_CTL_READ) {
        return dma_read_item(s, addr, len);
    }
    if (control & DMA_CTL_WRITE) {
        guest_error(&s->dev, "DMA write to item 0x%x, which is read-only", s->key);
        return false;
    }
    if (control & DMA_CTL_SKIP) {
        fw_cfg_rest(s, &have);
        s->offset += (uint32_t)MIN(have, len);
    }
    return true;
}

static void dma_run(FwCfg *s)
{
    uint8_t block[DMA_BLOCK], result[4];
    uint64_t at = s->dma_addr;
    s->dma_addr = 0;
    if (as_read(s->memory, at, block, sizeof(block), MEM_ATTRS_CPU) != MEM_OK) {
        guest_error(&s->dev, "no DMA command block at 0x%" G_GINT64_MODIFIER "x", at);
        be_put(result, DMA_CTL_ERROR, 4);
    } else {
        bool ok = dma_execute(s, (uint32_t)be_get(block, 4), (uint32_t)be_get(block + 4, 4), be_get(block + 8, 8));
        be_put(result, ok ? 0 : DMA_CTL_ERROR, 4);
    }
    as_write(s->memory, at, result, sizeof(result), MEM_ATTRS_CPU);
}

static MemResult dma_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    uint8_t bytes[8];
    *val = 0;
    be_put(bytes, DMA_SIGNATURE, 8);
    for (unsigned i = 0; i < size && addr + i < 8; i++) {
        *val |= (uint64_t)bytes[addr + i] << 8 * i;
    }
    return MEM_OK;
}

static MemResult dma_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    FwCfg *s = opaque;
    if (size == 8 && addr == 0) {
        s->dma_addr = GUINT64_SWAP_LE_BE(val);
        dma_run(s);
    } else if (size == 4 && addr == 0) {
        s->dma_addr = (uint64_t)GUINT32_SWAP_LE_BE((uint32_t)val) << 32;
    } else if (size == 4 && addr == 4) {
        s->dma_addr |= GUINT32_SWAP_LE_BE((uint32_t)val);
        dma_run(s);
    } else {
        guest_error(&s->dev, "write of %u bytes to the DMA address (allowed 4 or 8, aligned)", size);
    }
    return MEM_OK;
}

static const MemOps port_ops = {
    .read = port_read, .write = port_write, .min_size = 1, .max_size = 2, .unaligned = true};
static const MemOps dma_ops = {.read = dma_read, .write = dma_write, .min_size = 1, .max_size = 8};

/* --- the device --- */

static void fw_cfg_reset(Device *dev)
{
    FwCfg *s = (FwCfg *)dev;
    fw_cfg_select(s, 0);
    s->dma_addr = 0;
}

static bool fw_cfg_start(Device *dev, GError **error)
{
    FwCfg *s = (FwCfg *)dev;
    MemTopology *topo = dev->obj.machine->topo;
    s->items = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)g_bytes_unref);
    s->files = g_ptr_array_new_with_free_func(g_free);
    fw_cfg_set(s, FW_CFG_SIGNATURE, g_bytes_new_static("QEMU", 4));
    fw_cfg_set_int(s, FW_CFG_ID, ID_TRADITIONAL | ID_DMA, 4);
    fw_cfg_update_dir(s);
    s->port_region = mem_region_new_io(topo, "fwcfg", 2, &port_ops, s, dev->home);
    s->dma_region = mem_region_new_io(topo, "fwcfg.dma", 8, &dma_ops, s, dev->home);
    mem_region_add(s->io, FW_CFG_IO_BASE, s->port_region);
    mem_region_add(s->io, FW_CFG_IO_BASE + 4, s->dma_region);
    return true;
}

static void fw_cfg_stop(Device *dev)
{
    FwCfg *s = (FwCfg *)dev;
    MemRegion *regions[2] = {s->port_region, s->dma_region};
    for (unsigned i = 0; i < 2; i++) {
        mem_region_del(s->io, regions[i]);
        mem_region_retire(regions[i]);
        mem_region_unref(regions[i]);
    }
    g_hash_table_unref(s->items);
    g_ptr_array_unref(s->files);
}

static const StateField fw_cfg_fields[] = {
    STATE_FIELD_UINT(FwCfg, dma_addr),
    STATE_FIELD_UINT(FwCfg, offset),
    STATE_FIELD_UINT(FwCfg, key),
    STATE_END,
};
static const StateTable fw_cfg_state = {.name = "fw_cfg", .version = 1, .fields = fw_cfg_fields};

const DeviceModel fw_cfg_model = {
    .model = {.name = "fw_cfg_io",
              .doc = "Firmware configuration: items and files about the machine.",
              .kind = MODEL_DEVICE,
              .size = sizeof(FwCfg),
              .state = &fw_cfg_state,
              .internal = true},
    .start = fw_cfg_start,
    .reset = fw_cfg_reset,
    .stop = fw_cfg_stop,
};
