/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ide-hd and ide-cd: the drives, and what they say of themselves (ACS-3, 7.12 and 7.13). */
#include <string.h>

#include "core/error.h"
#include "hw/ide/ide.h"

#define SECTOR 512u
/* Of every disk, as far as its addresses are not LBA. */
#define HEADS 16
#define TRACK 63

/* --- IDENTIFY --- */

static void put16(uint8_t *id, unsigned word, uint32_t val)
{
    pci_set16(id + 2 * word, (uint16_t)val);
}

/* The first character of each word is its upper byte. */
static void put_text(uint8_t *id, unsigned word, unsigned words, const char *text)
{
    char padded[64];

    memset(padded, ' ', sizeof(padded));
    memcpy(padded, text, MIN(strlen(text), words * 2));
    for (unsigned i = 0; i < words * 2; i++) {
        id[2 * word + (i ^ 1)] = (uint8_t)padded[i];
    }
}

static void identify_common(const IdeDrive *drive, uint8_t *id)
{
    g_autofree char *serial = drive->d.serial ? g_strdup(drive->d.serial) : g_strdup_printf("QM%05u", drive->port->n + 1u);

    put_text(id, 10, 10, serial);
    put_text(id, 23, 4, drive->d.ver);
    put_text(id, 27, 20, drive->d.product);
    put16(id, 49, 0x0f00); /* IORDY, LBA, DMA */
    put16(id, 53, 0x0006); /* words 70:64 and 88 are there */
    put16(id, 63, 0x0007); /* multiword DMA 0 to 2 */
    put16(id, 64, 0x0003); /* PIO 3 and 4 */
    for (unsigned word = 65; word <= 68; word++) {
        put16(id, word, 120);
    }
    put16(id, 80, 0x01f0); /* ATA/ATAPI-4 to ACS */
    put16(id, 88, 0x203f); /* ultra DMA 0 to 5; 5 is active */
}

static void identify_disk(const IdeDrive *drive, uint8_t *id)
{
    const ScsiDisk *d = &drive->d;
    uint64_t sectors = block_size(d->blk) / SECTOR;
    uint32_t ratio = d->physical_block_size / SECTOR;

    put16(id, 0, 0x0040);
    put16(id, 1, (uint32_t)MIN(sectors / (HEADS * TRACK), 16383));
    put16(id, 3, HEADS);
    put16(id, 6, TRACK);
    put16(id, 47, 0x8010);
    put16(id, 59, drive->multiple ? 0x0100u | drive->multiple : 0);
    pci_set32(id + 2 * 60, (uint32_t)MIN(sectors, 0x0fffffff));
    put16(id, 69, d->discard_granularity ? 0x4020 : 0); /* trimmed sectors read zeroes, always the same */
    put16(id, 82, 0x4020); /* NOP, write cache */
    put16(id, 83, 0x7400); /* FLUSH CACHE (EXT), 48-bit addresses */
    put16(id, 84, 0x4060); /* FUA, read log */
    put16(id, 85, 0x4000u | (d->write_cache ? 0x20u : 0));
    put16(id, 86, 0x3400);
    put16(id, 87, 0x4060);
    pci_set64(id + 2 * 100, sectors);
    put16(id, 105, d->discard_granularity ? IDE_CHUNK / SECTOR : 0);
    put16(id, 106, 0x6000u | (uint32_t)__builtin_ctz(ratio));
    if (d->wwn) {
        put16(id, 84, 0x4160);
        put16(id, 87, 0x4160);
        for (unsigned i = 0; i < 4; i++) {
            put16(id, 108 + i, (uint16_t)(d->wwn >> (48 - 16 * i)));
        }
    }
    put16(id, 169, d->discard_granularity ? 1 : 0);
    put16(id, 217, d->rotation_rate);
    if (drive->port->ops->queues) {
        put16(id, 75, IDE_QUEUE_DEPTH - 1);
        put16(id, 76, 0x010e);  /* 1.5, 3 and 6 Gb/s, NCQ */
        put16(id, 222, 0x1020); /* serial ATA */
    } else {
        put16(id, 93, 0x6001u | (drive->port->unit ? 0x0a00u : 0x000au)); /* found out by a jumper; 80-conductor cable */
    }
}

static void identify_packet(const IdeDrive *drive, uint8_t *id)
{
    put16(id, 0, 0x85c0); /* a CD-ROM drive, removable, 12-byte packets */
    put16(id, 76, drive->port->ops->queues ? 0x000e : 0);
    put16(id, 82, 0x4210); /* NOP, DEVICE RESET, PACKET */
    put16(id, 83, 0x4000);
    put16(id, 84, 0x4000);
    put16(id, 85, 0x4210);
    put16(id, 87, 0x4000);
}

void ide_identify(const IdeDrive *drive, uint8_t id[512])
{
    identify_common(drive, id);
    if (drive->d.cd) {
        identify_packet(drive, id);
    } else {
        identify_disk(drive, id);
    }
}

/* --- life --- */

void ide_drive_reset(IdeDrive *drive)
{
    ScsiDisk *d = &drive->d;

    drive->multiple = 16;
    drive->heads = HEADS;
    drive->track = TRACK;
    memset(drive->ncq_log, 0, sizeof(drive->ncq_log));
    drive->standby = false;
    d->write_cache = d->write_cache_option != ON_OFF_AUTO_OFF;
    d->stopped = d->locked = false;
    memset(d->unit.sense, 0, sizeof(d->unit.sense));
    d->unit.attention = d->cd ? SCSI_SENSE_POWER_ON : 0;
}

/* Without bus= and unit=: the first place of the oldest controller that is free. */
static IdePort *drive_find_place(const IdeDrive *drive, IdePort *first)
{
    IdePort *port = first;

    while (port && (port->drive || (drive->unit >= 0 && port->unit != drive->unit))) {
        port = port->next;
    }
    return port && (!drive->d.bus_name || port->bus == first->bus) ? port : NULL;
}

static bool drive_place(Device *dev, GError **error)
{
    IdeDrive *drive = (IdeDrive *)dev;
    DeviceBus *bus = device_bus_find(dev->obj.machine, "IDE", drive->d.bus_name, error);
    IdePort *port = bus ? bus->impl : NULL, *last = port;

    if (!bus) {
        g_prefix_error(error, "-device %s: ", dev->obj.model->name);
        return false;
    }
    while (last->next && last->next->bus == bus) {
        last = last->next;
    }
    if (drive->unit > last->unit) {
        error_set(error, "-device %s: unit: bus %s has no such place (%d, allowed 0..%d)", dev->obj.model->name, bus->name, drive->unit,
                  last->unit);
        return false;
    }
    drive->port = drive_find_place(drive, port);
    if (!drive->port) {
        error_set(error, "-device %s: bus: %s is taken by '%s'", dev->obj.model->name, bus->name,
                  (last->unit == drive->unit ? last : port)->drive->d.dev.obj.id);
        return false;
    }
    dev->upstream = bus->owner;
    return true;
}

static bool drive_check(const IdeDrive *drive, GError **error)
{
    const ScsiDisk *d = &drive->d;
    const char *model = d->dev.obj.model->name;

    if (!d->blk && !d->cd) {
        error_set(error, "%s: property 'drive' is required; add drive=<str>", model);
        return false;
    }
    if (d->logical_block_size != (d->cd ? 2048 : SECTOR) || d->physical_block_size & (d->physical_block_size - 1)) {
        error_set(error, "%s: block sizes are not possible (logical %u, physical %u, allowed 512, and a power of two)", model,
                  d->logical_block_size, d->physical_block_size);
        return false;
    }
    if (d->share_rw && d->blk && !block_shared(d->blk)) {
        error_set(error, "%s.share-rw=on: drive '%s' has its file to itself; give the drive locking=off", model,
                  block_id(d->blk));
        return false;
    }
    return true;
}

static void drive_resized(void *opaque)
{
    ((IdeDrive *)opaque)->d.unit.attention = SCSI_SENSE_CAPACITY_CHANGED; /* ide-cd; ATA has no word for it */
}

static bool drive_start(Device *dev, GError **error)
{
    IdeDrive *drive = (IdeDrive *)dev;
    ScsiDisk *d = &drive->d;

    if (!drive_check(drive, error) || (d->blk && !block_attach(d->blk, dev, dev->home, error))) {
        return false;
    }
    if (d->blk) {
        block_set_error_actions(d->blk, d->rerror, d->werror);
        block_set_resized(d->blk, drive_resized, drive);
    }
    d->unit.dev = dev;
    d->unit.ops = &scsi_disk_unit_ops;
    drive->packets = scsi_bus_new_private(dev->upstream, &atapi_host_ops, &d->unit);
    drive->port->drive = drive;
    drive->port->ops->plugged(drive->port);
    return true;
}

static bool cd_start(Device *dev, GError **error)
{
    ScsiDisk *d = (ScsiDisk *)dev;

    d->cd = d->removable = true;
    d->logical_block_size = d->physical_block_size = 2048;
    return drive_start(dev, error);
}

static void drive_reset(Device *dev)
{
    IdeDrive *drive = (IdeDrive *)dev;

    ide_drive_reset(drive);
    drive->d.tray_open = drive->d.media_event = false;
}

static void drive_stop(Device *dev)
{
    IdeDrive *drive = (IdeDrive *)dev;

    drive->port->drive = NULL;
    drive->port->ops->unplugged(drive->port);
    if (drive->d.blk) {
        block_detach(drive->d.blk);
    }
    scsi_unit_detach(&drive->d.unit);
    scsi_bus_free(g_steal_pointer(&drive->packets));
}

static char *drive_boot_path(const Device *dev)
{
    const IdePort *port = ((const IdeDrive *)dev)->port;

    return g_strdup_printf("/drive@%x/disk@%x", port->bus_n, port->unit);
}

/* --- properties, state, models --- */

#define IDE_COMMON_PROPS(model_name)                                                                            \
    {.name = "drive", .type = &prop_drive, .offset = offsetof(IdeDrive, d.blk), .doc = "id of a -drive"},       \
    PROP_STR("bus", IdeDrive, d.bus_name, NULL, "port: ID.0, ... of a controller with an id, else ide.0, ..."), \
    {.name = "unit", .type = &prop_int32, .offset = offsetof(IdeDrive, unit), .def = UINT64_MAX, .min = (uint64_t)-1, .max = 1, \
     .doc = "0, or with two drives on the bus 1; -1: the first that is free"},                                  \
    PROP_STR("serial", IdeDrive, d.serial, NULL, "serial number, 20 characters"),                               \
    PROP_STR("model", IdeDrive, d.product, model_name, "model number, 40 characters"),                          \
    PROP_STR("vendor", IdeDrive, d.vendor, "QEMU", "8 characters of INQUIRY"),                                  \
    PROP_STR("ver", IdeDrive, d.ver, "2.5+", "firmware revision, 8 characters"),                                \
    PROP_U64("wwn", IdeDrive, d.wwn, 0, 0, UINT64_MAX, "world wide name; 0: none"),                             \
    BLOCK_ERROR_PROPS(IdeDrive, d.rerror, d.werror),                                                            \
    PROP_BOOL("share-rw", IdeDrive, d.share_rw, false, "others may write to the drive's file too"),             \
    {.name = "bootindex", .type = &prop_int32, .offset = offsetof(IdeDrive, d.bootindex), .def = UINT64_MAX,    \
     .doc = "Place in the boot order; -1: none"}

static const Prop hd_props[] = {
    IDE_COMMON_PROPS("QEMU HARDDISK"),
    PROP_U32("logical_block_size", IdeDrive, d.logical_block_size, 512, 512, 512, "bytes of a sector"),
    PROP_U32("physical_block_size", IdeDrive, d.physical_block_size, 512, 512, 32768,
             "bytes that are best written at once"),
    PROP_U32("discard_granularity", IdeDrive, d.discard_granularity, 512, 0, UINT32_MAX, "0: no TRIM"),
    PROP_U32("rotation_rate", IdeDrive, d.rotation_rate, 0, 0, 65534, "revolutions a minute; 1: no moving parts"),
    {.name = "write-cache", .type = &prop_on_off_auto, .offset = offsetof(IdeDrive, d.write_cache_option),
     .doc = "state of the write cache after power-on; auto: on"},
    PROP_END,
};

static const Prop cd_props[] = {IDE_COMMON_PROPS("QEMU DVD-ROM"), PROP_END};

static const StateField drive_fields[] = {
    STATE_FIELD_STRUCT(IdeDrive, d.unit, &scsi_unit_state),
    STATE_FIELD_BOOL(IdeDrive, d.write_cache),
    STATE_FIELD_BOOL(IdeDrive, d.tray_open),
    STATE_FIELD_BOOL(IdeDrive, d.locked),
    STATE_FIELD_BOOL(IdeDrive, d.media_event),
    STATE_FIELD_BOOL(IdeDrive, standby),
    STATE_FIELD_UINT(IdeDrive, multiple),
    STATE_FIELD_UINT(IdeDrive, heads, .since = 2),
    STATE_FIELD_UINT(IdeDrive, track, .since = 2),
    STATE_FIELD_BYTES(IdeDrive, ncq_log, .since = 2),
    STATE_END,
};
static const StateTable drive_state = {.name = "ide-drive", .version = 2, .fields = drive_fields};

const DeviceModel ide_hd_model = {
    .model = {.name = "ide-hd",
              .doc = "ATA disk.",
              .kind = MODEL_DEVICE,
              .size = sizeof(IdeDrive),
              .props = hd_props,
              .state = &drive_state},
    .place = drive_place,
    .start = drive_start,
    .reset = drive_reset,
    .stop = drive_stop,
    .boot_path = drive_boot_path,
};

const DeviceModel ide_cd_model = {
    .model = {.name = "ide-cd",
              .doc = "ATAPI CD-ROM drive; without drive= there is no disc in it.",
              .kind = MODEL_DEVICE,
              .size = sizeof(IdeDrive),
              .props = cd_props,
              .state = &drive_state},
    .place = drive_place,
    .start = cd_start,
    .reset = drive_reset,
    .stop = drive_stop,
    .boot_path = drive_boot_path,
};
