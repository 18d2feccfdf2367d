/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VGA: the standard graphics card of PC emulators, 1234:1111 (its interface is public: docs/specs/standard-vga of
 * QEMU).  BAR 0 is the frame buffer, ordinary memory that a client or a guest writes without asking anybody; BAR 2 has
 * the registers:
 *
 *   0x000 EDID   0x400 ports 0x3c0..0x3df   0x500 Bochs' display interface   0x600 size, byte order
 *
 * On a bus that decodes them the card has the VGA's ports and its window at 0xa0000 too.
 */
#include "hw/display/vga.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/error.h"

#define VGA_WINDOW_BASE  0xa0000
#define VGA_WINDOW_SIZE  0x20000
#define VGA_DISPI_PORT   0x1ce
#define VGA_DISPI_PORTS  4
#define VGA_MMIO_SIZE    4096
#define VGA_MAX_MB       512u
#define MMIO_PORTS       0x400
#define MMIO_PORTS_END   0x420
#define MMIO_DISPI       0x500
#define MMIO_DISPI_END   (MMIO_DISPI + 2 * DISPI_COUNT)
#define MMIO_EXT         0x600
#define MMIO_EXT_ORDER   0x604
#define MMIO_EXT_SIZE    8
#define ORDER_LITTLE     0x1e1e
#define ORDER_BIG        0xbebe

/* --- BAR 2 --- */

static uint16_t extended_read(const Vga *v, HwAddr addr)
{
    if (addr >= MMIO_EXT_ORDER) {
        return v->big_endian ? ORDER_BIG : ORDER_LITTLE;
    }
    return addr == MMIO_EXT ? MMIO_EXT_SIZE : 0;
}

static uint16_t mmio_read16(Vga *v, HwAddr addr)
{
    if (addr >= MMIO_DISPI && addr < MMIO_DISPI_END) {
        return vga_dispi_read(v, (unsigned)(addr - MMIO_DISPI) / 2);
    }
    return addr >= MMIO_EXT && addr < MMIO_EXT + MMIO_EXT_SIZE ? extended_read(v, addr) : 0;
}

static MemResult mmio_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    Vga *v = opaque;

    *val = 0;
    if (addr < sizeof(v->edid) && v->edid_on) {
        memcpy(val, v->edid + addr, size);
        *val = GUINT64_FROM_LE(*val);
    } else if (addr >= MMIO_PORTS && addr < MMIO_PORTS_END) {
        for (unsigned i = 0; i < size; i++) {
            *val |= (uint64_t)vga_port_read(v, 0x10 + (unsigned)(addr - MMIO_PORTS) + i) << (8 * i);
        }
    } else {
        *val = size == 1 ? mmio_read16(v, addr & ~UINT64_C(1)) >> (addr & 1 ? 8 : 0) & 0xff : mmio_read16(v, addr);
    }
    return MEM_OK;
}

static MemResult mmio_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    Vga *v = opaque;

    if (addr >= MMIO_PORTS && addr < MMIO_PORTS_END) {
        for (unsigned i = 0; i < size; i++) {
            vga_port_write(v, 0x10 + (unsigned)(addr - MMIO_PORTS) + i, (uint8_t)(val >> (8 * i)));
        }
    } else if (size == 2 && addr >= MMIO_DISPI && addr < MMIO_DISPI_END) {
        vga_dispi_write(v, (unsigned)(addr - MMIO_DISPI) / 2, (uint16_t)val);
    } else if (size == 2 && addr >= MMIO_EXT_ORDER && addr < MMIO_EXT + MMIO_EXT_SIZE && (val == ORDER_BIG || val == ORDER_LITTLE)) {
        v->big_endian = val == ORDER_BIG;
    } else {
        guest_error(&v->pci.dev, "write of %u bytes at 0x%" G_GINT64_MODIFIER "x of BAR 2: no register there", size, addr);
    }
    return MEM_OK;
}

static const MemOps mmio_ops = {.read = mmio_read, .write = mmio_write, .min_size = 1, .max_size = 2};

/* --- the VGA's own addresses --- */

static void switch_region(MemRegion *space, uint64_t at, MemRegion *region, bool *is, bool on)
{
    if (*is == on) {
        return;
    }
    if (on) {
        mem_region_add_overlap(space, at, region, 1);
    } else {
        mem_region_del(space, region);
    }
    *is = on;
}

static void vga_map_legacy(Vga *v, bool io, bool memory)
{
    Machine *m = v->pci.dev.obj.machine;
    bool dispi = v->io_on;

    loop_lock(m->main_loop);
    mem_begin(m->topo);
    switch_region(v->pci.bus->io, VGA_PORTS_BASE, v->ports, &v->io_on, io);
    switch_region(v->pci.bus->io, VGA_DISPI_PORT, v->dispi_ports, &dispi, io);
    switch_region(v->pci.bus->mem, VGA_WINDOW_BASE, v->window, &v->window_on, memory);
    mem_commit(m->topo, NULL);
    loop_unlock(m->main_loop);
}

static void vga_update_legacy(Vga *v)
{
    uint16_t command = pci_get16(v->pci.config + PCI_COMMAND);

    vga_map_legacy(v, command & PCI_COMMAND_IO, command & PCI_COMMAND_MEMORY);
}

static void vga_config_written(PciDevice *dev, uint16_t offset, unsigned size)
{
    vga_update_legacy((Vga *)dev);
}

/* --- life --- */

/* A frame buffer that other processes may map; its holders cannot make it shorter. */
static bool vram_new(Vga *v, GError **error)
{
    void *host = MAP_FAILED;

    v->vram_fd = memfd_create("VGA frame buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (v->vram_fd >= 0 && ftruncate(v->vram_fd, v->vram_size) == 0) {
        host = mmap(NULL, v->vram_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->vram_fd, 0);
    }
    if (host == MAP_FAILED) {
        error_set_errno(error, errno, "VGA: no frame buffer of %u MiB; use a smaller vgamem_mb=", v->vgamem_mb);
        if (v->vram_fd >= 0) {
            close(v->vram_fd);
        }
        return false;
    }
    v->vram = host;
    return true;
}

static void vram_free(Vga *v)
{
    mem_region_retire(v->vram_region);
    g_clear_pointer(&v->vram_region, mem_region_unref);
    munmap(v->vram, v->vram_size);
    close(v->vram_fd);
    v->vram = NULL;
}

static void drop_io(MemRegion **region)
{
    mem_region_retire(*region);
    g_clear_pointer(region, mem_region_unref);
}

static const DisplayOps display_ops = {.update = vga_draw, .text = vga_text};

static bool vga_start(PciDevice *dev, GError **error)
{
    Vga *v = (Vga *)dev;
    MemTopology *topo = dev->dev.obj.machine->topo;
    EventLoop *home = dev->dev.home;

    while (v->vgamem_mb & (v->vgamem_mb - 1)) {
        v->vgamem_mb += v->vgamem_mb & -v->vgamem_mb; /* a BAR's size is a power of two: the next */
    }
    v->vram_size = v->vgamem_mb << 20;
    if (!vram_new(v, error)) {
        return false;
    }
    v->vram_region = mem_region_new_ram(topo, "vga.vram", v->vram_size, v->vram, v->vram_fd, 0, false);
    v->display = display_new(&dev->dev, &display_ops, error);
    if (!v->display) {
        vram_free(v);
        return false;
    }
    v->mmio = mem_region_new_io(topo, "vga.mmio", VGA_MMIO_SIZE, &mmio_ops, v, home);
    v->window = mem_region_new_io(topo, "vga window", VGA_WINDOW_SIZE, &vga_window_ops, v, home);
    v->ports = mem_region_new_io(topo, "vga ports", VGA_PORTS_SIZE, &vga_port_ops, v, home);
    v->dispi_ports = mem_region_new_io(topo, "vga dispi ports", VGA_DISPI_PORTS, &vga_dispi_port_ops, v, home);
    pci_register_bar(dev, 0, PCI_BAR_MEM32_PREFETCH, v->vram_region);
    pci_register_bar(dev, 2, PCI_BAR_MEM32, v->mmio);
    v->tracked = v->io_on = v->window_on = false;
    edid_fill(v->edid, v->xres, v->yres);
    return true;
}

static void vga_reset(PciDevice *dev)
{
    Vga *v = (Vga *)dev;

    vga_map_legacy(v, false, false);
    vga_ports_reset(v);
    vga_dispi_reset(v);
    memset(v->vram, 0, v->vram_size);
    vga_vram_written(v, 0, v->vram_size);
}

static void vga_stop(PciDevice *dev)
{
    Vga *v = (Vga *)dev;

    vga_map_legacy(v, false, false);
    g_clear_pointer(&v->display, display_free);
    drop_io(&v->mmio);
    drop_io(&v->window);
    drop_io(&v->ports);
    drop_io(&v->dispi_ports);
    vram_free(v);
    g_clear_pointer(&v->saved, g_free);
}

/* --- properties, state --- */

static const Prop vga_props[] = {
    PROP_U32("vgamem_mb", Vga, vgamem_mb, 16, 1, VGA_MAX_MB, "MiB of frame buffer, rounded up to a power of two"),
    PROP_BOOL("edid", Vga, edid_on, true, "Tell the guest what its monitor can do"),
    PROP_U32("xres", Vga, xres, 1280, 64, 4095, "Width the monitor prefers"),
    PROP_U32("yres", Vga, yres, 800, 64, 4095, "Height the monitor prefers"),
    PROP_END,
};

/* The frame buffer up to its last byte that is not 0. */
static void vga_pre_save(void *instance)
{
    Vga *v = instance;
    uint32_t len = v->vram_size;

    while (len && !v->vram[len - 1]) {
        len--;
    }
    g_free(v->saved);
    v->saved = g_memdup2(v->vram, len);
    v->saved_len = len;
}

static bool vga_post_load(void *instance, uint32_t version, GError **error)
{
    Vga *v = instance;

    if (v->saved_len > v->vram_size || v->dac_component > 2) {
        error_set(error, "%s: saved frame buffer or DAC state is out of range (%u bytes, %u, allowed up to %u and 2)",
                  v->pci.dev.obj.id, v->saved_len, v->dac_component, v->vram_size);
        return false;
    }
    memset(v->vram, 0, v->vram_size);
    if (v->saved_len) {
        memcpy(v->vram, v->saved, v->saved_len);
    }
    vga_vram_written(v, 0, v->vram_size);
    g_clear_pointer(&v->saved, g_free);
    vga_dispi_check(v);
    vga_update_legacy(v);
    return true;
}

static const StateField vga_fields[] = {
    STATE_FIELD_STRUCT(Vga, pci, &pci_device_state),
    STATE_FIELD_UINT(Vga, misc),
    STATE_FIELD_UINT(Vga, feature),
    STATE_FIELD_UINT(Vga, sr_index),
    STATE_FIELD_BYTES(Vga, sr),
    STATE_FIELD_UINT(Vga, gr_index),
    STATE_FIELD_BYTES(Vga, gr),
    STATE_FIELD_UINT(Vga, ar_index),
    STATE_FIELD_BYTES(Vga, ar),
    STATE_FIELD_BOOL(Vga, ar_data),
    STATE_FIELD_UINT(Vga, cr_index),
    STATE_FIELD_BYTES(Vga, cr),
    STATE_FIELD_BYTES(Vga, latch),
    STATE_FIELD_UINT(Vga, pel_mask),
    STATE_FIELD_UINT(Vga, dac_state),
    STATE_FIELD_UINT(Vga, dac_index),
    STATE_FIELD_UINT(Vga, dac_component),
    STATE_FIELD_BYTES(Vga, dac_new),
    STATE_FIELD_BYTES(Vga, palette),
    STATE_FIELD_UINT(Vga, dispi_index),
    STATE_FIELD_ARRAY(Vga, dispi),
    STATE_FIELD_BOOL(Vga, big_endian),
    {.name = "vram", .kind = STATE_BUFFER, .offset = offsetof(Vga, saved), .size = 1, .count = VGA_MAX_MB << 20,
     .len_offset = offsetof(Vga, saved_len)},
    STATE_END,
};

static const StateTable vga_state = {
    .name = "VGA", .version = 1, .fields = vga_fields, .pre_save = vga_pre_save, .post_load = vga_post_load};

const PciModel vga_model = {
    .dev = {.name = "VGA",
            .doc = "Standard graphics card: VGA with Bochs' display interface.",
            .kind = MODEL_PCI,
            .size = sizeof(Vga),
            .props = vga_props,
            .state = &vga_state},
    .ids = {.vendor = 0x1234, .device = 0x1111, .revision = 2, .class_code = 0x030000,
            .subsystem_vendor = 0x1af4, .subsystem = 0x1100},
    .romfile = "vgabios-stdvga.bin",
    .start = vga_start,
    .reset = vga_reset,
    .stop = vga_stop,
    .config_written = vga_config_written,
};
