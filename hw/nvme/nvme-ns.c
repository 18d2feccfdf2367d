/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Namespaces (NVMe 1.4, 6.1): the one a controller has by its own drive=, and nvme-ns devices, which add more and may
 * be plugged and unplugged while the controller runs.
 */
#include <string.h>

#include "hw/nvme/nvme.h"

/* --- attaching --- */

static bool is_block_size(uint32_t size)
{
    return size >= 512 && size <= 4096 && !(size & (size - 1));
}

static bool check_sizes(const NvmeNs *ns, const char *model, GError **error)
{
    if (!is_block_size(ns->block_size) || !is_block_size(ns->physical_block_size) ||
        ns->physical_block_size < ns->block_size) {
        error_set(error,
                  "%s.logical_block_size, physical_block_size: not possible (%u, %u, allowed 512, 1024, 2048, 4096, "
                  "the physical one not smaller)",
                  model, ns->block_size, ns->physical_block_size);
        return false;
    }
    if (ns->uuid && *ns->uuid && !g_uuid_string_is_valid(ns->uuid)) {
        error_set(error, "%s.uuid: not a UUID (%s, allowed xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx)", model, ns->uuid);
        return false;
    }
    if (ns->drive && block_size(ns->drive) < ns->block_size) {
        error_set(error, "%s.drive=%s: is smaller than one block of %u bytes", model, block_id(ns->drive), ns->block_size);
        return false;
    }
    return true;
}

static bool choose_nsid(Nvme *n, NvmeNs *ns, const char *model, GError **error)
{
    if (ns->nsid > NVME_MAX_NS || (ns->nsid && n->ns[ns->nsid - 1])) {
        error_set(error, "%s.nsid: %s (%u, allowed 1..%d)", model,
                  ns->nsid > NVME_MAX_NS ? "is too large" : "is taken", ns->nsid, NVME_MAX_NS);
        return false;
    }
    for (uint32_t i = 0; !ns->nsid && i < NVME_MAX_NS; i++) {
        ns->nsid = n->ns[i] ? 0 : i + 1;
    }
    if (!ns->nsid) {
        error_set(error, "%s: the controller has %d namespaces already", model, NVME_MAX_NS);
        return false;
    }
    return true;
}

/* The host is told to look again, when it asked for that. */
static void ns_report(NvmeNs *ns)
{
    Nvme *n = ns->ctrl;

    n->ns_changed[(ns->nsid - 1) / 32] |= 1u << ((ns->nsid - 1) % 32);
    if (nvme_ready(n)) {
        nvme_event_add(n, NVME_EVENT_NOTICE, NVME_EVENT_NOTICE_NS_ATTRIBUTE, NVME_LOG_CHANGED_NS);
    }
}

static void ns_resized(void *opaque)
{
    NvmeNs *ns = opaque;

    ns->blocks = block_size(ns->drive) >> ns->lba_shift;
    ns_report(ns);
}

bool nvme_ns_attach(Nvme *n, NvmeNs *ns, Device *user, GError **error)
{
    const char *model = user->obj.model->name;

    if (!check_sizes(ns, model, error) || !choose_nsid(n, ns, model, error) ||
        !block_attach(ns->drive, user, n->pci.dev.home, error)) {
        return false;
    }
    ns->ctrl = n;
    ns->lba_shift = (uint8_t)__builtin_ctz(ns->block_size);
    ns->blocks = block_size(ns->drive) >> ns->lba_shift;
    ns->formatting = false;
    block_set_resized(ns->drive, ns_resized, ns);
    n->ns[ns->nsid - 1] = ns;
    n->ns_count = MAX(n->ns_count, ns->nsid);
    ns_report(ns);
    return true;
}

void nvme_ns_detach(NvmeNs *ns)
{
    Nvme *n = ns->ctrl;

    if (!n) {
        return;
    }
    block_detach(ns->drive); /* ends its commands */
    n->ns[ns->nsid - 1] = NULL;
    while (n->ns_count && !n->ns[n->ns_count - 1]) {
        n->ns_count--;
    }
    ns_report(ns);
    ns->ctrl = NULL;
}

uint16_t nvme_ns_find(const Nvme *n, uint32_t nsid, NvmeNs **ns)
{
    *ns = nsid && nsid <= NVME_MAX_NS ? n->ns[nsid - 1] : NULL;
    if (*ns) {
        return NVME_SC_SUCCESS;
    }
    return (nsid && nsid <= NVME_MAX_NS ? NVME_SC_INVALID_FIELD : NVME_SC_INVALID_NSID) | NVME_DNR;
}

/* "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx" in hex; false: it is something else. */
static bool uuid_parse(const char *text, uint8_t uuid[16])
{
    if (!g_uuid_string_is_valid(text)) {
        return false;
    }
    for (unsigned i = 0; i < 16; text += 2) {
        if (*text == '-') {
            text++;
        }
        uuid[i++] = (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
    }
    return true;
}

void nvme_ns_uuid(const NvmeNs *ns, uint8_t uuid[16])
{
    /* Stays the same as long as the controller's serial number does (RFC 4122, version 5). */
    g_autofree char *name = g_strdup_printf("nvme namespace %u of %s", ns->nsid, ns->ctrl->serial);
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA1);
    uint8_t digest[20];
    gsize len = sizeof(digest);

    g_checksum_update(sum, (const guchar *)name, -1);
    g_checksum_get_digest(sum, digest, &len);
    if (ns->uuid && *ns->uuid) {
        uuid_parse(ns->uuid, uuid);
        return;
    }
    memcpy(uuid, digest, 16);
    uuid[6] = (uuid[6] & 0x0f) | 0x50;
    uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

/* --- the device --- */

typedef struct NvmeNsDevice {
    Device dev;
    NvmeNs ns;
    char *bus;
} NvmeNsDevice;

/* The controller with that id below obj; without an id, the last that was added. */
static Nvme *find_controller(Object *obj, const char *id)
{
    Nvme *found = NULL;

    if (obj->model == &nvme_model.dev) {
        return !id || !strcmp(obj->id, id) ? (Nvme *)obj : NULL;
    }
    for (guint i = 0; i < obj->children->len; i++) {
        Nvme *n = find_controller(obj->children->pdata[i], id);

        found = n ? n : found;
    }
    return found;
}

static bool ns_place(Device *dev, GError **error)
{
    NvmeNsDevice *d = (NvmeNsDevice *)dev;
    Nvme *n = find_controller(dev->obj.machine->root, d->bus);

    if (!n) {
        error_set(error, "nvme-ns.bus: no such controller ('%s'); add -device nvme,id=NAME,serial=TEXT before it",
                  d->bus ? d->bus : "");
        return false;
    }
    dev->upstream = &n->pci.dev;
    return true;
}

static bool ns_start(Device *dev, GError **error)
{
    return nvme_ns_attach((Nvme *)dev->upstream, &((NvmeNsDevice *)dev)->ns, dev, error);
}

static void ns_stop(Device *dev)
{
    nvme_ns_detach(&((NvmeNsDevice *)dev)->ns);
}

static const Prop ns_props[] = {
    {.name = "drive",
     .type = &prop_drive,
     .offset = offsetof(NvmeNsDevice, ns.drive),
     .flags = PROP_REQUIRED,
     .doc = "id of the -drive"},
    PROP_STR("bus", NvmeNsDevice, bus, NULL, "id of the nvme controller; the last one when not given"),
    PROP_U32("nsid", NvmeNsDevice, ns.nsid, 0, 0, NVME_MAX_NS, "namespace id; 0: the first that is free"),
    PROP_U32("logical_block_size", NvmeNsDevice, ns.block_size, 512, 512, 4096, "bytes of a block"),
    PROP_U32("physical_block_size", NvmeNsDevice, ns.physical_block_size, 512, 512, 4096,
             "bytes the guest should write at once"),
    PROP_STR("uuid", NvmeNsDevice, ns.uuid, NULL, "UUID of the namespace; default: made from the controller's serial"),
    PROP_U64("eui64", NvmeNsDevice, ns.eui64, 0, 0, UINT64_MAX, "EUI-64 of the namespace; 0: none"),
    PROP_END,
};

/* What the host changes of a namespace is in the controller's state, and on the disk. */
const DeviceModel nvme_ns_model = {
    .model = {.name = "nvme-ns",
              .doc = "A further namespace of an nvme controller.",
              .kind = MODEL_DEVICE,
              .size = sizeof(NvmeNsDevice),
              .props = ns_props,
              .state = &state_none},
    .place = ns_place,
    .start = ns_start,
    .stop = ns_stop,
};
