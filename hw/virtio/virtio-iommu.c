/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-iommu-pci: an IOMMU whose driver says by requests what is mapped (VIRTIO 1.2, 5.13).  It is in front of all
 * functions of the machine's root bus but itself; the board tells the guest by a VIOT table.
 */
#include <string.h>

#include "core/error.h"
#include "virtio-iommu.h"

enum { QUEUE_REQUEST, QUEUE_EVENT = VIOMMU_QUEUE_EVENT, QUEUE_COUNT };
#define QUEUE_SIZE  256
#define BATCH       64 /* requests whose effects on followers travel together */
#define REQUEST_LEN 72 /* the longest without its tail: PROBE */

/* --- requests --- */

static uint8_t request_attach(Viommu *s, const uint8_t *r)
{
    uint32_t flags = pci_get32(r + 12);

    if (flags & ~VIRTIO_IOMMU_ATTACH_F_BYPASS ||
        (flags && !virtio_has(&s->vp, VIRTIO_IOMMU_F_BYPASS_CONFIG))) {
        return VIRTIO_IOMMU_S_INVAL;
    }
    return viommu_attach(s, pci_get32(r + 4), pci_get32(r + 8), flags & VIRTIO_IOMMU_ATTACH_F_BYPASS);
}

static uint8_t request_detach(Viommu *s, const uint8_t *r)
{
    return viommu_detach(s, pci_get32(r + 4), pci_get32(r + 8));
}

static uint8_t request_map(Viommu *s, const uint8_t *r)
{
    uint32_t flags = pci_get32(r + 32);
    const ViommuMap map = {.first = pci_get64(r + 8),
                           .last = pci_get64(r + 16),
                           .phys = pci_get64(r + 24),
                           .perm = flags & (VIRTIO_IOMMU_MAP_F_READ | VIRTIO_IOMMU_MAP_F_WRITE)};

    if (flags & ~(VIRTIO_IOMMU_MAP_F_READ | VIRTIO_IOMMU_MAP_F_WRITE)) {
        return VIRTIO_IOMMU_S_INVAL;
    }
    return viommu_map(s, pci_get32(r + 4), &map);
}

static uint8_t request_unmap(Viommu *s, const uint8_t *r)
{
    return viommu_unmap(s, pci_get32(r + 4), pci_get64(r + 8), pci_get64(r + 16));
}

static uint8_t request_probe(Viommu *s, const uint8_t *r)
{
    return viommu_has_endpoint(s, pci_get32(r + 4)) ? VIRTIO_IOMMU_S_OK : VIRTIO_IOMMU_S_NOENT;
}

/* Messages are no DMA: the driver is to leave their addresses alone. */
static void probe_properties(VirtQueue *vq, const VirtioElement *element)
{
    uint8_t properties[VIOMMU_PROBE_SIZE] = {0};

    pci_set16(properties, VIRTIO_IOMMU_PROBE_T_RESV_MEM);
    pci_set16(properties + 2, VIRTIO_IOMMU_PROBE_RESV_MEM_LEN - 4);
    properties[4] = VIRTIO_IOMMU_RESV_MEM_T_MSI;
    pci_set64(properties + 8, VIOMMU_MSI_FIRST);
    pci_set64(properties + 16, VIOMMU_MSI_FIRST + VIOMMU_MSI_SIZE - 1);
    virtio_element_write(vq, element, 0, properties, sizeof(properties));
}

/* The status; *at is where in the writable part it belongs. */
static uint8_t request_run(Viommu *s, VirtQueue *vq, const VirtioElement *element, uint32_t *at)
{
    static const struct {
        uint8_t len;
        uint8_t (*run)(Viommu *s, const uint8_t *r);
    } requests[] = {
        [VIRTIO_IOMMU_T_ATTACH] = {16, request_attach}, [VIRTIO_IOMMU_T_DETACH] = {16, request_detach},
        [VIRTIO_IOMMU_T_MAP] = {36, request_map},       [VIRTIO_IOMMU_T_UNMAP] = {24, request_unmap},
        [VIRTIO_IOMMU_T_PROBE] = {8, request_probe},
    };
    uint8_t r[REQUEST_LEN] = {0}, status;
    size_t len = virtio_element_read(vq, element, 0, r, sizeof(r));

    *at = 0;
    if (r[0] >= G_N_ELEMENTS(requests) || !requests[r[0]].run) {
        return VIRTIO_IOMMU_S_UNSUPP;
    }
    if (len < requests[r[0]].len) {
        return VIRTIO_IOMMU_S_INVAL;
    }
    if (r[0] != VIRTIO_IOMMU_T_PROBE) {
        return requests[r[0]].run(s, r);
    }
    if (element->in_len < VIOMMU_PROBE_SIZE + VIRTIO_IOMMU_TAIL_LEN) {
        return VIRTIO_IOMMU_S_INVAL;
    }
    *at = VIOMMU_PROBE_SIZE;
    status = request_probe(s, r);
    if (status == VIRTIO_IOMMU_S_OK) {
        probe_properties(vq, element);
    }
    return status;
}

/* Up to BATCH requests; their results are told when followers have acted on all of them. */
static bool run_batch(Viommu *s, VirtQueue *vq)
{
    VirtioElement *elements[BATCH];
    uint8_t status[BATCH];
    uint32_t at[BATCH];
    unsigned n = 0;

    while (n < BATCH && (elements[n] = virtqueue_pop(vq))) {
        if (elements[n]->in_len < VIRTIO_IOMMU_TAIL_LEN) {
            virtqueue_push(vq, elements[n], 0);
            virtio_error(&s->vp, "a request has no room for its result");
            break;
        }
        status[n] = request_run(s, vq, elements[n], &at[n]);
        n++;
    }
    viommu_commit(s);
    for (unsigned i = 0; i < n; i++) {
        const uint8_t tail[VIRTIO_IOMMU_TAIL_LEN] = {status[i]};

        virtio_element_write(vq, elements[i], at[i], tail, sizeof(tail));
        virtqueue_push(vq, elements[i], at[i] + VIRTIO_IOMMU_TAIL_LEN);
    }
    return n == BATCH;
}

/* --- faults --- */

static void send_faults(Viommu *s, VirtQueue *vq)
{
    uint8_t fault[VIRTIO_IOMMU_FAULT_LEN];
    VirtioElement *element;

    while (__atomic_load_n(&s->fault_count, __ATOMIC_RELAXED) && (element = virtqueue_pop(vq))) {
        g_mutex_lock(&s->lock);
        memcpy(fault, s->faults[s->fault_first], sizeof(fault));
        s->fault_first = (s->fault_first + 1) % VIOMMU_MAX_FAULTS;
        s->fault_count--;
        g_mutex_unlock(&s->lock);
        virtqueue_push(vq, element, (uint32_t)virtio_element_write(vq, element, 0, fault, sizeof(fault)));
    }
    virtqueue_notify(vq);
}

static void viommu_handle(VirtioPci *vp, VirtQueue *vq)
{
    if (vq->index == QUEUE_EVENT) {
        send_faults((Viommu *)vp, vq);
        return;
    }
    while (run_batch((Viommu *)vp, vq)) {
    }
    virtqueue_notify(vq);
}

/* --- configuration and reset --- */

static void viommu_config_written(VirtioPci *vp, unsigned offset, unsigned size)
{
    Viommu *s = (Viommu *)vp;
    uint8_t bypass = vp->config[VIRTIO_IOMMU_CONFIG_BYPASS];

    pci_set64(vp->config + VIRTIO_IOMMU_CONFIG_PAGE_SIZE_MASK, ~(uint64_t)(VIOMMU_PAGE - 1));
    pci_set64(vp->config + VIRTIO_IOMMU_CONFIG_INPUT_START, 0);
    pci_set64(vp->config + VIRTIO_IOMMU_CONFIG_INPUT_END, VIOMMU_INPUT_END);
    pci_set32(vp->config + VIRTIO_IOMMU_CONFIG_DOMAIN_START, 0);
    pci_set32(vp->config + VIRTIO_IOMMU_CONFIG_DOMAIN_END, UINT32_MAX);
    pci_set32(vp->config + VIRTIO_IOMMU_CONFIG_PROBE_SIZE, VIOMMU_PROBE_SIZE);
    pci_set32(vp->config + VIRTIO_IOMMU_CONFIG_BYPASS, bypass & 1);
    viommu_refresh(s);
}

/* By the driver: who was not attached stays as it is, by the configuration (5.13.6.2). */
static void viommu_reset(VirtioPci *vp)
{
    Viommu *s = (Viommu *)vp;

    g_mutex_lock(&s->lock);
    s->fault_count = 0;
    g_mutex_unlock(&s->lock);
    viommu_detach_all(s);
}

static void viommu_system_reset(PciDevice *dev)
{
    Viommu *s = (Viommu *)dev;

    s->vp.config[VIRTIO_IOMMU_CONFIG_BYPASS] = s->boot_bypass;
    viommu_config_written(&s->vp, 0, 0);
    virtio_pci_reset(dev);
}

/* --- endpoints --- */

static AddressSpace *endpoint_attach(void *opaque, PciDevice *dev)
{
    Viommu *s = opaque;
    Machine *m = dev->dev.obj.machine;
    g_autofree char *name = g_strdup_printf("iommu of %s", dev->dev.obj.id);
    ViommuEndpoint *e;

    if (dev == &s->vp.pci) {
        return NULL;
    }
    e = g_new0(ViommuEndpoint, 1);
    *e = (ViommuEndpoint){.iommu = s, .pci = dev};
    e->root = mem_region_new_container(m->topo, name, UINT64_MAX);
    e->memory = mem_region_new_alias(m->topo, "not translated", m->system_memory, 0, UINT64_MAX);
    e->translated = mem_region_new_iommu(m->topo, "translated", UINT64_MAX, &viommu_ops, e);
    e->messages =
        mem_region_new_alias(m->topo, "interrupt requests", m->system_memory, VIOMMU_MSI_FIRST, VIOMMU_MSI_SIZE);
    mem_region_set_enabled(e->memory, s->vp.config[VIRTIO_IOMMU_CONFIG_BYPASS]);
    mem_region_set_enabled(e->translated, !s->vp.config[VIRTIO_IOMMU_CONFIG_BYPASS]);
    mem_region_add(e->root, 0, e->memory);
    mem_region_add(e->root, 0, e->translated);
    mem_region_add_overlap(e->root, VIOMMU_MSI_FIRST, e->messages, 1);
    e->as = as_new(m->topo, name, e->root);
    g_ptr_array_add(s->endpoints, e);
    return e->as;
}

static void endpoint_free(gpointer opaque)
{
    ViommuEndpoint *e = opaque;
    MemRegion *const regions[] = {e->memory, e->translated, e->messages};

    viommu_leave(e);
    as_free(e->as);
    for (unsigned i = 0; i < G_N_ELEMENTS(regions); i++) {
        mem_region_del(e->root, regions[i]);
        mem_region_retire(regions[i]);
        mem_region_unref(regions[i]);
    }
    mem_region_unref(e->root);
    g_free(e);
}

static void endpoint_detach(void *opaque, PciDevice *dev)
{
    Viommu *s = opaque;

    for (guint i = 0; i < s->endpoints->len; i++) {
        if (((ViommuEndpoint *)s->endpoints->pdata[i])->pci == dev) {
            g_ptr_array_remove_index(s->endpoints, i);
            return;
        }
    }
}

static bool endpoint_can_follow(void *opaque, PciDevice *dev, GError **error)
{
    return true; /* every mapping is a request */
}

static const PciIommuOps endpoint_ops = {endpoint_attach, endpoint_detach, endpoint_can_follow};

/* --- life --- */

static const VirtioType viommu_type = {
    .name = "virtio-iommu-pci",
    .device_id = VIRTIO_IOMMU_DEVICE_ID,
    .features = VIRTIO_FEATURE(VIRTIO_IOMMU_F_INPUT_RANGE) | VIRTIO_FEATURE(VIRTIO_IOMMU_F_DOMAIN_RANGE) |
                VIRTIO_FEATURE(VIRTIO_IOMMU_F_MAP_UNMAP) | VIRTIO_FEATURE(VIRTIO_IOMMU_F_PROBE) |
                VIRTIO_FEATURE(VIRTIO_IOMMU_F_BYPASS_CONFIG),
    .config_len = VIRTIO_IOMMU_CONFIG_LEN,
    .handle = viommu_handle,
    .reset = viommu_reset,
    .config_written = viommu_config_written,
};

static bool check_place(const PciDevice *dev, GError **error)
{
    Machine *m = dev->dev.obj.machine;

    if (dev->bus != m->pci_bus || strcmp(m->obj.model->name, "q35")) {
        error_set(error, "virtio-iommu-pci: it belongs on the root bus of a machine that describes it to its guest; use "
                         "-machine q35 and no bus=");
        return false;
    }
    if (m->run_state != RUN_STATE_PRELAUNCH) {
        error_set(error, "virtio-iommu-pci: cannot be plugged into a running machine; give -device at start");
        return false;
    }
    return true;
}

static bool viommu_start(PciDevice *dev, GError **error)
{
    static const uint16_t sizes[QUEUE_COUNT] = {QUEUE_SIZE, QUEUE_SIZE};
    Viommu *s = (Viommu *)dev;

    s->vp.disable_legacy = ON_OFF_AUTO_ON; /* the type came after version 1 */
    if (!check_place(dev, error) || !virtio_pci_start(&s->vp, &viommu_type, QUEUE_COUNT, sizes, error)) {
        return false;
    }
    g_mutex_init(&s->lock);
    s->endpoints = g_ptr_array_new_with_free_func(endpoint_free);
    viommu_domains_start(s);
    s->vp.config[VIRTIO_IOMMU_CONFIG_BYPASS] = s->boot_bypass;
    if (pci_bus_set_iommu(dev->bus, &endpoint_ops, s, error)) {
        dev->bus->iommu_function = dev;
        return true;
    }
    g_prefix_error(error, "virtio-iommu-pci: ");
    viommu_domains_stop(s);
    g_ptr_array_unref(s->endpoints);
    g_mutex_clear(&s->lock);
    virtio_pci_stop(&s->vp);
    return false;
}

static void viommu_stop(PciDevice *dev)
{
    Viommu *s = (Viommu *)dev;

    dev->bus->iommu_function = NULL;
    pci_bus_set_iommu(dev->bus, NULL, NULL, NULL);
    virtio_pci_stop(&s->vp);
    g_ptr_array_unref(s->endpoints);
    viommu_domains_stop(s);
    g_clear_pointer(&s->saved, g_free);
    g_mutex_clear(&s->lock);
}

static const Prop viommu_props[] = {
    VIRTIO_PCI_PROPS(Viommu),
    PROP_BOOL("boot-bypass", Viommu, boot_bypass, true, "Until the driver says otherwise functions reach all of memory"),
    PROP_END,
};

static void viommu_pre_save(void *instance)
{
    Viommu *s = instance;
    g_autoptr(GByteArray) records = g_byte_array_new();

    viommu_save(s, records);
    g_free(s->saved);
    s->saved_len = records->len;
    s->saved = g_byte_array_free(g_steal_pointer(&records), FALSE);
}

static bool viommu_post_load(void *instance, uint32_t version, GError **error)
{
    Viommu *s = instance;
    bool ok;

    if (version == 1 && s->old_domains) {
        error_set(error, "virtio-iommu-pci: the guest has domains (%u), and its state of version 1 does not say what is "
                  "in them", s->old_domains);
        return false;
    }
    if (s->fault_first >= VIOMMU_MAX_FAULTS || s->fault_count > VIOMMU_MAX_FAULTS) {
        error_set(error, "virtio-iommu-pci: %u faults from number %u on are saved (allowed 0..%u, 0..%u)", s->fault_count,
                  s->fault_first, VIOMMU_MAX_FAULTS, VIOMMU_MAX_FAULTS - 1);
        s->fault_first = s->fault_count = 0;
        return false;
    }
    ok = viommu_load(s, s->saved, version == 1 ? 0 : s->saved_len, error);
    g_clear_pointer(&s->saved, g_free);
    s->saved_len = 0;
    return ok;
}

static const StateField viommu_fields[] = {
    STATE_FIELD_STRUCT(Viommu, vp, &virtio_pci_state),
    {.name = "saved_domains",
     .kind = STATE_UINT,
     .offset = offsetof(Viommu, old_domains),
     .size = sizeof(uint32_t),
     .until = 2},
    {.name = "domains",
     .kind = STATE_BUFFER,
     .offset = offsetof(Viommu, saved),
     .count = (VIOMMU_MAX_MAPS + VIOMMU_MAX_ENDPOINTS) * VIOMMU_RECORD_LEN,
     .len_offset = offsetof(Viommu, saved_len),
     .since = 2},
    STATE_FIELD_BYTES(Viommu, faults, .since = 2),
    STATE_FIELD_UINT(Viommu, fault_first, .since = 2),
    STATE_FIELD_UINT(Viommu, fault_count, .since = 2),
    STATE_END,
};
static const StateTable viommu_state = {.name = "virtio-iommu-pci",
                                        .version = 2,
                                        .fields = viommu_fields,
                                        .pre_save = viommu_pre_save,
                                        .post_load = viommu_post_load};

const PciModel virtio_iommu_pci_model = {
    .dev = {.name = "virtio-iommu-pci",
            .alias = "virtio-iommu",
            .doc = "virtio IOMMU of a q35 machine.",
            .kind = MODEL_PCI,
            .size = sizeof(Viommu),
            .props = viommu_props,
            .state = &viommu_state},
    .ids = {.vendor = VIRTIO_PCI_VENDOR, .class_code = 0x080600, .subsystem_vendor = VIRTIO_PCI_VENDOR},
    .interrupt_pin = 1,
    .express = true,
    .bars = {[1] = {.size = 0x1000, .kind = PCI_BAR_MEM32}},
    .start = viommu_start,
    .reset = viommu_system_reset,
    .stop = viommu_stop,
    .config_read = virtio_pci_config_read,
    .config_written = virtio_pci_config_written,
    .no_unplug = true,
};
