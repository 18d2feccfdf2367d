/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PC machines: what all have, whatever their chip set.  RAM begins at 0 (but for the legacy hole at A0000h) and
 * continues at 4 GiB; PCI memory, IO-APIC, HPET and local APICs lie between.
 */
#include <string.h>

#include "accel/irqchip.h"
#include "hw/intc/ioapic.h"
#include "hw/isa/apm.h"
#include "hw/isa/i8237.h"
#include "pc-internal.h"

#define PC_RAM_MIN   0x200000ull
#define PC_HOLE_END  0xc0000ull
#define PC_GSI_COUNT 24
#define PC_SCI_IRQ   9
#define PC_RTC_IRQ   8

/* --- interrupts --- */

/* The IO-APIC pin of an ISA interrupt: the timer's is 2 (the MADT says so). */
static unsigned pc_ioapic_pin(unsigned irq)
{
    return irq == 0 ? 2 : irq;
}

static void pc_update_gsi(PcMachine *pc, unsigned gsi)
{
    uint32_t any = 0;
    for (unsigned i = 0; i < PC_SOURCE_COUNT; i++) {
        any |= pc->levels[i];
    }
    irq_set(device_irq_input((Device *)pc->ioapic, NULL, (int)pc_ioapic_pin(gsi)), any >> gsi & 1);
}

/* The 8259 input: the ISA line or any PIRQ routed to it. */
static void pc_update_pic(PcMachine *pc, unsigned irq)
{
    i8259_set_irq(pc->pic, irq, (pc->levels[PC_SOURCE_LINE] | pc->pirq_isa) >> irq & 1);
}

static void pc_isa_irq(void *opaque, int n, int level)
{
    PcMachine *pc = opaque;
    uint32_t bit = 1u << n, *levels = &pc->levels[PC_SOURCE_LINE];
    *levels = level ? *levels | bit : *levels & ~bit;
    pc_update_pic(pc, (unsigned)n);
    pc_update_gsi(pc, (unsigned)n);
}

static void pc_hpet_irq(void *opaque, int n, int level)
{
    PcMachine *pc = opaque;
    uint32_t bit = 1u << n, *levels = &pc->levels[PC_SOURCE_HPET];
    *levels = level ? *levels | bit : *levels & ~bit;
    pc_update_gsi(pc, (unsigned)n);
}

void pc_pirq_changed(void *opaque)
{
    PcMachine *pc = opaque;
    const PcChipset *chipset = pc->chipset;
    uint8_t pirqs = chipset->pirq_levels(pc);
    uint16_t isa = 0;
    uint8_t to_pic = 0;
    for (unsigned n = 0; n < chipset->pirq_count; n++) {
        int irq = pirqs >> n & 1 ? chipset->pirq_route(pc, n) : -1;
        isa |= (uint16_t)(irq >= 0 ? 1u << irq : 0);
    }
    uint32_t now = chipset->pirq_gsi ? (uint32_t)pirqs << PC_PIRQ_GSI : isa, changed = now ^ pc->levels[PC_SOURCE_PIRQ];
    pc->pirq_isa = isa;
    pc->levels[PC_SOURCE_PIRQ] = now;
    for (unsigned gsi = 0; gsi < PC_GSI_COUNT; gsi++) {
        if (changed >> gsi & 1) {
            pc_update_gsi(pc, gsi);
        }
    }
    for (unsigned irq = 0; irq < ISA_IRQ_COUNT; irq++) {
        pc_update_pic(pc, irq);
    }
    for (unsigned n = 0; n < chipset->pirq_count; n++) {
        to_pic |= (uint8_t)((chipset->pirq_route(pc, n) >= 0) << n);
    }
    if (to_pic != pc->pirqs_to_pic) {
        pc->pirqs_to_pic = to_pic;
        pci_bus_intx_routes_changed(pc->m.pci_bus);
    }
}

static void pc_pic_output(void *opaque, int n, int level)
{
    PcMachine *pc = opaque;
    if (pc->apic_bus.count) {
        apic_set_extint(pc->apics[0], level);
    }
}

static void pc_hpet_legacy(void *opaque, bool on)
{
    PcMachine *pc = opaque;
    i8254_disable_irq(pc->pit, on);
    pc->rtc->irq = on ? NULL : pc->isa_irqs[PC_RTC_IRQ];
}

static void pc_apic_eoi(void *opaque, uint8_t vector)
{
    PcMachine *pc = opaque;
    loop_lock(pc->m.main_loop);
    ioapic_eoi(pc->ioapic, vector);
    loop_unlock(pc->m.main_loop);
}

static int pc_extint_ack(void *opaque)
{
    PcMachine *pc = opaque;
    loop_lock(pc->m.main_loop);
    int vector = i8259_pending(pc->pic) ? i8259_ack(pc->pic) : -1;
    loop_unlock(pc->m.main_loop);
    return vector;
}

static const ApicBusOps pc_apic_bus_ops = {.eoi = pc_apic_eoi, .extint_ack = pc_extint_ack};

/* --- the root bus --- */

static unsigned pc_pirq(const PcMachine *pc, PciDevice *dev, unsigned pin)
{
    PciDevice *top = dev;
    while (top->bus->parent) {
        top = top->bus->parent;
    }
    unsigned root_pin = top == dev ? pin : pci_swizzle_to_root(dev, pin);
    return pc->chipset->slot_pirq(pc, PCI_SLOT(top->devfn), root_pin);
}

static void pc_bus_set_intx(PciBus *bus, PciDevice *dev, unsigned pin, int level)
{
    PcMachine *pc = bus->opaque;
    if (pc->lpc || pc->piix3) {
        pc->chipset->set_pirq(pc, pc_pirq(pc, dev, pin), level);
    }
}

/* Only while the line goes to the accelerator's IO-APIC and nowhere else. */
static int pc_bus_intx_route(PciBus *bus, PciDevice *dev, unsigned pin)
{
    PcMachine *pc = bus->opaque;
    unsigned n = pc_pirq(pc, dev, pin);
    if (!accel_with_ioapic(&pc->m) || !pc->lpc || pc->chipset->pirq_route(pc, n) >= 0) {
        return -1;
    }
    return (int)(PC_PIRQ_GSI + n);
}

static bool pc_bus_msi_is_direct(PciBus *bus, PciDevice *dev, MsiMessage msg)
{
    PcMachine *pc = bus->opaque;
    return !pc->ioapic->remap && msg.address - APIC_DEFAULT_BASE < APIC_REGION_SIZE;
}

static void pc_bus_send_msi(PciBus *bus, PciDevice *dev, unsigned vector, MsiMessage msg)
{
    pci_send_message(dev, msg);
}

static const PciBusOps pc_bus_ops = {.set_intx = pc_bus_set_intx,
                                     .send_msi = pc_bus_send_msi,
                                     .intx_route = pc_bus_intx_route,
                                     .msi_is_direct = pc_bus_msi_is_direct};

/* --- construction --- */

static MemRegion *pc_alias_ram(PcMachine *pc, const char *name, uint64_t offset, uint64_t size, uint64_t at)
{
    MemRegion *alias = mem_region_new_alias(pc->m.topo, name, pc->m.ram, offset, size);
    mem_region_add(pc->m.system_memory, at, alias);
    return alias;
}

static bool pc_build_memory(PcMachine *pc, GError **error)
{
    Machine *m = &pc->m;
    if (m->ram_size < PC_RAM_MIN || m->ram_size > (1ull << 39)) {
        error_set(error, "-m: bad size for %s (%" G_GUINT64_FORMAT " bytes, allowed 2M..512G)", pc->chipset->name,
                  m->ram_size);
        return false;
    }
    if (!machine_ram_setup(m, error)) {
        return false;
    }
    pc->ram_low = m->ram_size < pc->chipset->ram_low_max ? m->ram_size : pc->chipset->ram_low_split;
    pc->ram_high = m->ram_size - pc->ram_low;
    pc->ram_alias[0] = pc_alias_ram(pc, "ram-base", 0, PC_HOLE_START, 0);
    pc->ram_alias[1] = pc_alias_ram(pc, "ram-below-4g", PC_HOLE_END, pc->ram_low - PC_HOLE_END, PC_HOLE_END);
    if (pc->ram_high) {
        pc->ram_alias[2] = pc_alias_ram(pc, "ram-above-4g", pc->ram_low, pc->ram_high, PC_RAM_HIGH_BASE);
    }
    pc->pci_memory = mem_region_new_container(m->topo, "pci", UINT64_MAX);
    mem_region_add_overlap(m->system_memory, 0, pc->pci_memory, -1);
    pc->pam = pam_new(m->topo, m->system_memory, pc->pci_memory, m->ram);
    return true;
}

/* id NULL: device[N]; the interrupt controllers have the names that test programs intercept by. */
void *pc_new_device(PcMachine *pc, const DeviceModel *model, const char *id, GError **error)
{
    Object *parent = object_container(&pc->m.obj, "unattached");
    return object_new(&model->model, &pc->m, parent, id, error);
}

bool pc_start_device(void *dev, GError **error)
{
    if (device_start(dev, error)) {
        return true;
    }
    object_free(dev);
    return false;
}

static bool pc_build_smm(PcMachine *pc, GError **error)
{
    Machine *m = &pc->m;
    bool able = m->accel && m->accel->ops->has_smm;
    if (pc->smm == ON_OFF_AUTO_ON && !able) {
        error_set(error, "-machine smm=on: accelerator %s has no system management mode; use smm=off or -accel tcg",
                  m->accel ? m->accel->ops->name : "none");
        return false;
    }
    if (able && pc->smm != ON_OFF_AUTO_OFF) {
        pc->smram = smram_new(m);
    }
    return true;
}

static void pc_apm_command(void *opaque, uint8_t command, unsigned vcpu)
{
    PcMachine *pc = opaque;
    if (ich9_pm_apm_command(pc->pm, command) && vcpu < pc->apic_bus.count) {
        pc->m.accel->ops->vcpu_irq(pc->apics[vcpu]->vcpu, X86_IRQ_SMI, true);
    }
}

/* The boot CPU's: handlers that want the others call them. */
void pc_tco_smi(void *opaque)
{
    PcMachine *pc = opaque;
    if (pc->apic_bus.count && pc->apics[0]->vcpu) {
        pc->m.accel->ops->vcpu_irq(pc->apics[0]->vcpu, X86_IRQ_SMI, true);
    }
}

static bool pc_build_apm(PcMachine *pc, GError **error)
{
    ApmPorts *apm = pc_new_device(pc, &apm_ports_model, NULL, error);
    if (!apm) {
        return false;
    }
    apm->io = pc->m.system_io;
    apm->command = pc_apm_command;
    apm->opaque = pc;
    return pc_start_device(apm, error);
}

static bool pc_build_interrupts(PcMachine *pc, GError **error)
{
    Machine *m = &pc->m;
    pc->pic_output = irq_new_array(pc_pic_output, pc, 1);
    pc->isa_irqs = irq_new_array(pc_isa_irq, pc, ISA_IRQ_COUNT);
    pc->hpet_irqs = irq_new_array(pc_hpet_irq, pc, PC_GSI_COUNT);
    pc->apic_bus.accel = accel_with_lapic(m);
    pc->apic_region = apic_bus_new_region(&pc->apic_bus, m);
    mem_region_add(m->system_memory, APIC_DEFAULT_BASE, pc->apic_region);
    pc->isa = isa_bus_new(m, m->system_io, error);
    if (!pc->isa) {
        return false;
    }
    memcpy(pc->isa->irq, pc->isa_irqs, sizeof(pc->isa->irq));
    IoApic *ioapic = pc_new_device(pc, &ioapic_model, "ioapic", error);
    if (!ioapic) {
        return false;
    }
    ioapic->memory = m->system_memory;
    ioapic->bus = &pc->apic_bus;
    if (!pc_start_device(ioapic, error)) {
        return false;
    }
    pc->ioapic = ioapic;
    PicPair *pic = pc_new_device(pc, &i8259_model, NULL, error);
    if (!pic) {
        return false;
    }
    pic->io = m->system_io;
    pic->intr = pc->pic_output[0];
    if (!pc_start_device(pic, error)) {
        return false;
    }
    pc->pic = pic;
    return true;
}

static bool pc_build_cpu(PcMachine *pc, unsigned index, GError **error)
{
    Machine *m = &pc->m;
    const CpuTopology topology = machine_topology(m);
    Apic *apic = pc_new_device(pc, &apic_model, NULL, error);
    if (!apic) {
        return false;
    }
    apic->bus = &pc->apic_bus;
    apic->index = index;
    apic->first_id = cpu_topology_apic_id(&topology, index);
    if (!pc_start_device(apic, error)) {
        return false;
    }
    if (m->accel) {
        apic->vcpu = m->accel->ops->vcpu_new(m->accel, index, &apic_vcpu_ops, apic, error);
        if (!apic->vcpu) {
            return false;
        }
        apic->vcpu->obj = &apic->dev.obj;
    }
    pc->apics[index] = apic;
    pc->apic_bus.count = index + 1;
    return true;
}

static bool pc_build_cpus(PcMachine *pc, GError **error)
{
    const CpuTopology topology = machine_topology(&pc->m);
    unsigned n = topology.cpus;
    if (cpu_topology_apic_id(&topology, topology.max_cpus - 1) > PC_MAX_APIC_ID) {
        error_set(error, "-smp: sockets, dies, cores and threads number the last CPU's local APIC too high (%u, allowed 0..%u); "
                         "powers of two leave no gaps",
                  cpu_topology_apic_id(&topology, topology.max_cpus - 1), PC_MAX_APIC_ID);
        return false;
    }
    pc->apics = g_new0(Apic *, n);
    pc->apic_bus.apics = pc->apics;
    pc->apic_bus.ops = &pc_apic_bus_ops;
    pc->apic_bus.opaque = pc;
    for (unsigned i = 0; i < n; i++) {
        if (!pc_build_cpu(pc, i, error)) {
            return false;
        }
    }
    return true;
}

static bool pc_build_hpet(PcMachine *pc, GError **error)
{
    Hpet *hpet = pc_new_device(pc, &hpet_model, NULL, error);
    if (!hpet) {
        return false;
    }
    hpet->memory = pc->m.system_memory;
    memcpy(hpet->pins, pc->hpet_irqs, sizeof(hpet->pins));
    hpet->legacy[0] = pc->isa_irqs[0];
    hpet->legacy[1] = pc->isa_irqs[PC_RTC_IRQ];
    hpet->legacy_changed = pc_hpet_legacy;
    hpet->opaque = pc;
    if (!pc_start_device(hpet, error)) {
        return false;
    }
    pc->hpet = hpet;
    return true;
}

static bool pc_build_timers(PcMachine *pc, GError **error)
{
    Pit *pit = pc_new_device(pc, &i8254_model, NULL, error);
    if (!pit) {
        return false;
    }
    pit->io = pc->m.system_io;
    pit->irq = pc->isa_irqs[0];
    if (!pc_start_device(pit, error)) {
        return false;
    }
    pc->pit = pit;
    Rtc *rtc = pc_new_device(pc, &mc146818_model, NULL, error);
    if (!rtc) {
        return false;
    }
    rtc->io = pc->m.system_io;
    rtc->irq = pc->isa_irqs[PC_RTC_IRQ];
    rtc->ram_low = pc->ram_low;
    rtc->ram_high = pc->ram_high;
    if (!pc_start_device(rtc, error)) {
        return false;
    }
    pc->rtc = rtc;
    return !pc->hpet_on || pc_build_hpet(pc, error);
}

static bool pc_build_legacy(PcMachine *pc, GError **error)
{
    I8042 *kbd = pc_new_device(pc, &i8042_model, NULL, error);
    if (!kbd) {
        return false;
    }
    kbd->io = pc->m.system_io;
    kbd->kbd_irq = pc->isa_irqs[1];
    kbd->aux_irq = pc->isa_irqs[12];
    if (!pc_start_device(kbd, error)) {
        return false;
    }
    pc->i8042 = kbd;
    I8237Pair *dma = pc_new_device(pc, &i8237_model, NULL, error);
    if (!dma) {
        return false;
    }
    dma->io = pc->m.system_io;
    if (!pc_start_device(dma, error)) {
        return false;
    }
    ChipsetPorts *ports = pc_new_device(pc, &chipset_ports_model, NULL, error);
    if (!ports) {
        return false;
    }
    ports->io = pc->m.system_io;
    ports->pit = pc->pit;
    if (!pc_start_device(ports, error)) {
        return false;
    }
    pc->ports = ports;
    Ich9Pm *pm = pc_new_device(pc, &ich9_pm_model, NULL, error);
    if (!pm) {
        return false;
    }
    pm->sci = pc->isa_irqs[PC_SCI_IRQ];
    pm->smm = pc->smram != NULL;
    if (!pc_start_device(pm, error)) {
        return false;
    }
    pc->pm = pm;
    return pc_build_apm(pc, error);
}

bool pc_build_root_bus(PcMachine *pc, const char *name, const DeviceModel *host_model, GError **error)
{
    Machine *m = &pc->m;
    machine_set_kind_ops(m, MODEL_PCI, &pci_kind_ops);
    m->pci_bus = pci_bus_new(m, name, &pc_bus_ops, pc, pc->chipset->express, pc->pci_memory, m->system_io, m->memory);
    Q35Host *host = pc_new_device(pc, host_model, NULL, error);
    if (!host) {
        return false;
    }
    m->pci_bus->owner = &host->dev.obj;
    host->memory = m->system_memory;
    host->io = m->system_io;
    host->bus = m->pci_bus;
    host->ports = pc->ports;
    if (!pc_start_device(host, error)) {
        return false;
    }
    pc->host = host;
    return true;
}

static void pc_powerdown(Machine *m)
{
    ich9_pm_power_button(((PcMachine *)m)->pm);
}

/* Any thread. */
static void pc_nmi(Machine *m)
{
    ApicMessage msg = {.dest = UINT32_MAX, .x2apic = true, .mode = APIC_NMI};

    apic_bus_send(&((PcMachine *)m)->apic_bus, &msg);
}

/* --- the machine --- */

static void pc_drop_region(MemRegion *parent, MemRegion **region)
{
    if (*region) {
        mem_region_del(parent, *region);
        mem_region_unref(*region);
        *region = NULL;
    }
}

static void pc_stop(Machine *m)
{
    PcMachine *pc = (PcMachine *)m;
    g_clear_pointer(&pc->boot, linux_boot_free);
    g_clear_pointer(&pc->elf_boot, elf_boot_free);
    if (m->pci_bus) {
        pci_bus_free(m->pci_bus);
        m->pci_bus = NULL;
    }
    g_clear_pointer(&pc->smram, smram_free);
    g_clear_pointer(&pc->pam, pam_free);
    g_clear_pointer(&pc->rom, pc_rom_free);
    pc_drop_region(m->system_memory, &pc->pci_memory);
    if (pc->apic_region) {
        mem_region_del(m->system_memory, pc->apic_region);
        mem_region_retire(pc->apic_region);
        mem_region_unref(pc->apic_region);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(pc->ram_alias); i++) {
        pc_drop_region(m->system_memory, &pc->ram_alias[i]);
    }
    if (pc->pic_output) {
        irq_free_array(pc->isa_irqs, ISA_IRQ_COUNT);
        irq_free_array(pc->hpet_irqs, PC_GSI_COUNT);
        irq_free_array(pc->pic_output, 1);
    }
    g_clear_pointer(&pc->apics, g_free);
}

/* A start that failed leaves no device behind: latest first. */
static void pc_destroy_devices(PcMachine *pc)
{
    Object *parent = object_container(&pc->m.obj, "unattached");
    for (guint i = parent->children->len; i-- > 0;) {
        Object *obj = parent->children->pdata[i];
        if (obj->started) {
            device_destroy((Device *)obj);
        }
    }
}

static bool pc_start(Machine *m, GError **error)
{
    PcMachine *pc = (PcMachine *)m;
    bool ok = pc_build_memory(pc, error) && pc_build_smm(pc, error) && pc_build_interrupts(pc, error) &&
              pc_build_cpus(pc, error) && pc_build_timers(pc, error) && pc_build_legacy(pc, error) && pc->chipset->build(pc, error) &&
              pc_prepare_boot(pc, error);
    if (!ok) {
        pc_destroy_devices(pc);
        pc_stop(m);
    }
    return ok;
}

bool pc_add_serial(Machine *m, Chardev *chr, GError **error)
{
    if (m->obj.model != &pc_q35_model.model && m->obj.model != &pc_i440fx_model.model) {
        error_set(error, "-serial: machine %s has no serial ports", m->obj.model->name);
        return false;
    }
    PcMachine *pc = (PcMachine *)m;
    unsigned n = 0;
    while (n < 4 && pc->serial[n]) {
        n++;
    }
    if (n == 4) {
        error_set(error, "-serial: a PC has four serial ports and all are taken");
        return false;
    }
    Serial *s = pc_new_device(pc, &isa_serial_model, NULL, error);
    if (!s) {
        return false;
    }
    s->chr = chr;
    s->index = n;
    if (!pc_start_device(s, error)) {
        return false;
    }
    pc->serial[n] = s;
    return true;
}

/* --- an IOMMU --- */

bool pc_iommu_find_board(Machine *m, PcIommu *iommu, GError **error)
{
    PcMachine *pc = (PcMachine *)m;
    if (m->obj.model != &pc_q35_model.model && m->obj.model != &pc_i440fx_model.model) {
        error_set(error, "intel-iommu: machine %s has no place for it; use -machine q35", m->obj.model->name);
        return false;
    }
    if (pc->dmar.base) {
        error_set(error, "intel-iommu: there is one already, and a machine has no more than one");
        return false;
    }
    if (pc->was_reset) {
        error_set(error, "intel-iommu: cannot be plugged into a running machine; give -device intel-iommu at start");
        return false;
    }
    iommu->apic_bus = &pc->apic_bus;
    iommu->can_remap = !accel_with_ioapic(m);
    return true;
}

void pc_iommu_attach(Machine *m, const PcIommu *iommu, const AcpiDmar *dmar)
{
    PcMachine *pc = (PcMachine *)m;
    pc->ioapic->remap = iommu ? iommu->remap : NULL;
    pc->ioapic->remap_opaque = iommu ? iommu->opaque : NULL;
    pc->dmar = dmar ? *dmar : (AcpiDmar){0};
    pc->dmar.ioapic = PC_IOAPIC_REQUESTER;
}

static const char *const pc_entry_points[] = {"32", "64", NULL};

static const Prop pc_props[] = {
    PROP_ENUM("smbios-entry-point-type", PcMachine, smbios_64, 0, pc_entry_points,
              "SMBIOS 2.x (32) or 3.0 (64)"),
    PROP_BOOL("hpet", PcMachine, hpet_on, true, "high precision event timers"),
    {.name = "smm", .type = &prop_on_off_auto, .offset = offsetof(PcMachine, smm), .doc = "system management mode"},
    PROP_STR("pflash0", PcMachine, pflash[0], NULL, "drive or node with firmware, in flash that ends at 4 GiB"),
    PROP_STR("pflash1", PcMachine, pflash[1], NULL, "drive or node with firmware's variables, in flash below that"),
    PROP_END,
};

static bool pc_q35_start(Machine *m, GError **error)
{
    ((PcMachine *)m)->chipset = &pc_q35_chipset;
    return pc_start(m, error);
}

static bool pc_i440fx_start(Machine *m, GError **error)
{
    ((PcMachine *)m)->chipset = &pc_i440fx_chipset;
    return pc_start(m, error);
}

#define PC_MODEL(text_name, text_alias, text_doc, units, drives, fn)                                                           \
    {                                                                                                                  \
        .model = {.name = text_name,                                                                                   \
                  .alias = text_alias,                                                                                 \
                  .doc = text_doc,                                                                                     \
                  .kind = MODEL_MACHINE,                                                                               \
                  .size = sizeof(PcMachine),                                                                           \
                  .props = pc_props,                                                                                   \
                  .state = &state_none},                                                                               \
        .default_cpu = "qemu64", .default_ram = 128ull << 20, .max_cpus = PC_MAX_CPUS, .ide_units = units, .ide_drives = drives, \
        .start = fn, .reset = pc_reset, .powerdown = pc_powerdown, .nmi = pc_nmi, .stop = pc_stop,                                                     \
    }

const MachineModel pc_q35_model = PC_MODEL("q35", "pc-q35-7.2", "Standard PC (Q35 + ICH9, 2009).", 1, 6, pc_q35_start);
const MachineModel pc_i440fx_model =
    PC_MODEL("pc", "pc-i440fx-7.2", "Standard PC (i440FX + PIIX, 1996).", 2, 4, pc_i440fx_start);
