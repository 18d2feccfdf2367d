/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI fixed hardware of the ICH9 (data sheet 13.8.3; ACPI 6.3 chapter 4.8):
 * PM1 event and control registers, the power management timer and general
 * purpose event block 0.  Without firmware there is no SMI handler: the machine
 * is always in ACPI mode.
 */
#include "hw/acpi/ich9-pm.h"

#define PM_TIMER_HZ   3579545
#define PM_TIMER_HALF (1u << 23) /* TMROF_STS is set when bit 23 changes */
#define NS_PER_S      1000000000ll

enum {
    PM1_STS = 0x00,
    PM1_EN = 0x02,
    PM1_CNT = 0x04,
    PM1_TMR = 0x08,
    GPE0_STS = 0x20,
    GPE0_EN = 0x28,
    SMI_EN = 0x30,
    SMI_STS = 0x34
};

#define TMROF_STS    0x0001
#define GBL_STS      0x0020
#define PWRBTN_STS   0x0100
#define RTC_STS      0x0400
#define WAK_STS      0x8000
#define PM1_STS_BITS (TMROF_STS | 0x0010 | GBL_STS | PWRBTN_STS | RTC_STS | WAK_STS)
#define PM1_EN_BITS  (TMROF_STS | GBL_STS | PWRBTN_STS | RTC_STS)

#define SCI_EN       0x0001u
#define SLP_EN       0x2000u
#define SLP_TYP(v)   ((unsigned)(v) >> 10 & 7)
#define PM1_CNT_BITS 0x1c07u

#define SMI_GBL_SMI_EN 0x0001u
#define SMI_APMC_EN    0x0020u
#define SMI_APM_STS    0x0020u
#define SMI_TCO_EN     0x2000u
#define SMI_TCO_STS    0x2000u

/* What the FADT gives for the SMI command port; done here, as no handler of the firmware's does. */
#define APM_ACPI_ENABLE  0x02
#define APM_ACPI_DISABLE 0x03

static uint64_t pm_ticks(const Ich9Pm *s)
{
    int64_t now = clock_now(s->dev.obj.machine->clocks, CLOCK_KIND_VIRTUAL);
    return (uint64_t)((unsigned __int128)(uint64_t)now * PM_TIMER_HZ / NS_PER_S);
}

static void pm_update_sci(Ich9Pm *s)
{
    bool event = (s->pm1_sts & s->pm1_en) || (s->gpe0_sts & s->gpe0_en);
    irq_set(s->sci, event && (s->pm1_cnt & SCI_EN));
}

static void pm_note_overflow(Ich9Pm *s)
{
    int64_t half = (int64_t)(pm_ticks(s) / PM_TIMER_HALF);
    if (half != s->overflow_seen) {
        s->overflow_seen = half;
        s->pm1_sts |= TMROF_STS;
    }
}

static void pm_schedule_overflow(Ich9Pm *s)
{
    if (!(s->pm1_en & TMROF_STS) || (s->pm1_sts & TMROF_STS)) {
        timer_cancel(s->overflow);
        return;
    }
    uint64_t next = (pm_ticks(s) / PM_TIMER_HALF + 1) * PM_TIMER_HALF;
    timer_set(s->overflow, (int64_t)(((unsigned __int128)next * NS_PER_S + PM_TIMER_HZ - 1) / PM_TIMER_HZ));
}

static void pm_overflow_expired(void *opaque)
{
    Ich9Pm *s = opaque;
    pm_note_overflow(s);
    pm_update_sci(s);
    pm_schedule_overflow(s);
}

void ich9_pm_set_apmc(Ich9Pm *s, bool on)
{
    s->smi_en = on ? SMI_GBL_SMI_EN | SMI_APMC_EN : 0;
}

bool ich9_pm_apm_command(Ich9Pm *s, uint8_t command)
{
    const uint32_t enabled = SMI_GBL_SMI_EN | SMI_APMC_EN;
    if (command == APM_ACPI_ENABLE || command == APM_ACPI_DISABLE) {
        s->pm1_cnt = command == APM_ACPI_ENABLE ? s->pm1_cnt | SCI_EN : s->pm1_cnt & ~SCI_EN;
        pm_update_sci(s);
    }
    if (!s->smm || (s->smi_en & enabled) != enabled) {
        return false;
    }
    s->smi_sts |= SMI_APM_STS;
    return true;
}

bool ich9_pm_tco_event(Ich9Pm *s)
{
    const uint32_t enabled = SMI_GBL_SMI_EN | SMI_TCO_EN;
    s->smi_sts |= SMI_TCO_STS;
    return s->smm && (s->smi_en & enabled) == enabled;
}

static void pm_write_smi_en(Ich9Pm *s, uint32_t val)
{
    bool tco_locked = s->tco && ich9_tco_locked(s->tco);
    uint32_t keep = (s->smi_locked ? SMI_GBL_SMI_EN : 0) | (s->smm ? 0 : SMI_APMC_EN) | (tco_locked ? SMI_TCO_EN : 0);
    s->smi_en = (val & ~keep) | (s->smi_en & keep);
}

void ich9_pm_power_button(Ich9Pm *s)
{
    s->pm1_sts |= PWRBTN_STS;
    pm_update_sci(s);
}

void ich9_pm_gpe_event(Ich9Pm *s, unsigned n)
{
    s->gpe0_sts |= 1ull << n;
    pm_update_sci(s);
}

static void pm_sleep(Ich9Pm *s, unsigned type)
{
    if (type == ICH9_PM_SLP_TYP_S5 || type == PIIX4_PM_SLP_TYP_S5) {
        machine_request_shutdown(s->dev.obj.machine, SHUTDOWN_GUEST_SHUTDOWN, 0);
    } else {
        guest_error(&s->dev, "sleep type %u is not supported (allowed %d, %d)", type, PIIX4_PM_SLP_TYP_S5,
                    ICH9_PM_SLP_TYP_S5);
    }
}

static void pm_write_cnt(Ich9Pm *s, uint32_t val)
{
    s->pm1_cnt = val & PM1_CNT_BITS;
    if (val & SLP_EN) {
        pm_sleep(s, SLP_TYP(val));
    }
}

/* The register word that holds byte `addr`, as four bytes from addr & ~3. */
static uint32_t pm_read_word(Ich9Pm *s, unsigned word)
{
    switch (word) {
    case PM1_STS:
        pm_note_overflow(s);
        return s->pm1_sts | (uint32_t)s->pm1_en << 16;
    case PM1_CNT:
        return s->pm1_cnt;
    case PM1_TMR:
        return (uint32_t)pm_ticks(s) & 0xffffff;
    case GPE0_STS:
        return (uint32_t)s->gpe0_sts;
    case GPE0_STS + 4:
        return (uint32_t)(s->gpe0_sts >> 32);
    case GPE0_EN:
        return (uint32_t)s->gpe0_en;
    case GPE0_EN + 4:
        return (uint32_t)(s->gpe0_en >> 32);
    case SMI_EN:
        return s->smi_en;
    case SMI_STS:
        return s->smi_sts;
    default:
        return 0;
    }
}

/* Bytes with mask 0 keep their register: `val` holds the present value there, but for write-1-to-clear bits.
 */
static void pm_write_word(Ich9Pm *s, unsigned word, uint32_t val, uint32_t mask)
{
    uint32_t keep = pm_read_word(s, word) & ~mask, set = (val & mask) | keep, clear = val & mask;
    switch (word) {
    case PM1_STS:
        s->pm1_sts &= (uint16_t) ~(clear & PM1_STS_BITS);
        s->pm1_en = (uint16_t)(set >> 16) & PM1_EN_BITS;
        pm_schedule_overflow(s);
        break;
    case PM1_CNT:
        pm_write_cnt(s, set);
        break;
    case GPE0_STS:
        s->gpe0_sts &= ~(uint64_t)clear;
        break;
    case GPE0_STS + 4:
        s->gpe0_sts &= ~((uint64_t)clear << 32);
        break;
    case GPE0_EN:
        s->gpe0_en = (s->gpe0_en & ~(uint64_t)UINT32_MAX) | set;
        break;
    case GPE0_EN + 4:
        s->gpe0_en = (uint32_t)s->gpe0_en | (uint64_t)set << 32;
        break;
    case SMI_EN:
        pm_write_smi_en(s, set);
        break;
    case SMI_STS:
        s->smi_sts &= ~clear;
        break;
    default:
        guest_error(&s->dev, "write to read-only or reserved offset 0x%x", word);
        break;
    }
    pm_update_sci(s);
}

static MemResult pm_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    *val = pm_read_word(opaque, addr & ~3u) >> 8 * (addr & 3);
    return MEM_OK;
}

static MemResult pm_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    unsigned shift = 8 * (addr & 3);
    uint32_t mask = (size == 4 ? UINT32_MAX : (1u << 8 * size) - 1) << shift;
    pm_write_word(opaque, addr & ~3u, (uint32_t)val << shift, mask);
    return MEM_OK;
}

static const MemOps pm_ops = {.read = pm_read, .write = pm_write, .min_size = 1, .max_size = 4};

/* The PIIX4's general purpose events: 16 bits of status, then 16 that enable. */
static MemResult gpe_read(void *opaque, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    const Ich9Pm *s = opaque;
    *val = ((s->gpe0_sts & 0xffff) | (s->gpe0_en & 0xffff) << 16) >> 8 * addr;
    return MEM_OK;
}

static MemResult gpe_write(void *opaque, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    unsigned shift = 8 * (unsigned)addr;
    uint32_t mask = (size == 4 ? UINT32_MAX : (1u << 8 * size) - 1) << shift, set = (uint32_t)val << shift;
    pm_write_word(opaque, GPE0_STS, set & 0xffff, mask & 0xffff);
    pm_write_word(opaque, GPE0_EN, set >> 16, mask >> 16);
    return MEM_OK;
}

static const MemOps gpe_ops = {.read = gpe_read, .write = gpe_write, .min_size = 1, .max_size = 4};

static void pm_reset(Device *dev)
{
    Ich9Pm *s = (Ich9Pm *)dev;
    s->pm1_sts = s->pm1_en = 0;
    s->pm1_cnt = SCI_EN;
    s->gpe0_sts = s->gpe0_en = 0;
    s->smi_en = s->smm ? 0 : SMI_APMC_EN;
    s->smi_sts = 0;
    s->overflow_seen = (int64_t)(pm_ticks(s) / PM_TIMER_HALF);
    pm_schedule_overflow(s);
    pm_update_sci(s);
}

static bool pm_start(Device *dev, GError **error)
{
    Ich9Pm *s = (Ich9Pm *)dev;
    s->overflow = timer_new(dev->home, CLOCK_KIND_VIRTUAL, pm_overflow_expired, s);
    s->region = mem_region_new_io(dev->obj.machine->topo, "ich9-pm", ICH9_PM_SIZE, &pm_ops, s, dev->home);
    s->gpe_region = mem_region_new_io(dev->obj.machine->topo, "piix4-gpe", PIIX4_GPE_SIZE, &gpe_ops, s, dev->home);
    return true;
}

static void pm_stop(Device *dev)
{
    Ich9Pm *s = (Ich9Pm *)dev;
    mem_region_retire(s->region);
    mem_region_unref(s->region);
    mem_region_retire(s->gpe_region);
    mem_region_unref(s->gpe_region);
    timer_free(s->overflow);
}

static bool pm_post_load(void *instance, uint32_t version, GError **error)
{
    Ich9Pm *s = instance;
    pm_schedule_overflow(s);
    pm_update_sci(s);
    return true;
}

static const StateField pm_fields[] = {
    STATE_FIELD_UINT(Ich9Pm, pm1_sts),
    STATE_FIELD_UINT(Ich9Pm, pm1_en),
    STATE_FIELD_UINT(Ich9Pm, pm1_cnt),
    STATE_FIELD_UINT(Ich9Pm, gpe0_sts),
    STATE_FIELD_UINT(Ich9Pm, gpe0_en),
    STATE_FIELD_UINT(Ich9Pm, smi_en),
    STATE_FIELD_UINT(Ich9Pm, smi_sts),
    STATE_FIELD_UINT(Ich9Pm, overflow_seen),
    STATE_END,
};
static const StateTable pm_state = {
    .name = "ich9-pm", .version = 1, .fields = pm_fields, .post_load = pm_post_load};

const DeviceModel ich9_pm_model = {
    .model = {.name = "ich9-pm",
              .doc = "ACPI fixed hardware of the ICH9.",
              .kind = MODEL_DEVICE,
              .size = sizeof(Ich9Pm),
              .state = &pm_state,
              .internal = true},
    .start = pm_start,
    .reset = pm_reset,
    .stop = pm_stop,
};
