/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fault records, and the messages by which the remapping hardware interrupts (VT-d 7.2, 7.3, 11.4.9 to 11.4.14). */
#include "intel-iommu.h"

/* An event becomes pending or, unless masked, a message.  With the lock. */
static void event_raise(IntelIommu *s, uint32_t *control, bool *message)
{
    if (*control & EVENT_IM) {
        *control |= EVENT_IP;
        return;
    }
    *message = true;
    loop_bh_schedule(s->events);
}

/* Unmasked: what was pending is sent.  With the lock. */
static void event_unmask(IntelIommu *s, uint32_t *control, bool *message)
{
    if ((*control & (EVENT_IM | EVENT_IP)) == EVENT_IP) {
        *control &= ~EVENT_IP;
        event_raise(s, control, message);
    }
}

/* A new reason for the fault event; there is one message until all reasons are gone.  With the lock. */
static void fault_status(IntelIommu *s, uint32_t bits)
{
    bool first = !(s->fsts & (FSTS_PFO | FSTS_PPF | FSTS_IQE));

    s->fsts |= bits;
    if (first) {
        event_raise(s, &s->fectl, &s->fault_event);
    }
}

void vtd_fault(IntelIommu *s, uint16_t sid, VtdFault reason, uint64_t info, bool read)
{
    uint64_t *record;

    g_mutex_lock(&s->lock);
    record = &s->frcd[2 * s->next_fault];
    if (s->fsts & FSTS_PFO) {
        /* Nothing is recorded until software has seen that it missed something. */
    } else if (record[1] & FRCD_F) {
        fault_status(s, FSTS_PFO);
    } else {
        record[0] = info;
        record[1] = FRCD_F | (read ? FRCD_T_READ : 0) | FRCD_FR(reason) | sid;
        if (!(s->fsts & FSTS_PPF)) {
            s->fsts = (s->fsts & ~FSTS_FRI(0xff)) | FSTS_FRI(s->next_fault); /* the oldest */
        }
        s->next_fault = (s->next_fault + 1) % DMAR_FRCD_COUNT;
        fault_status(s, FSTS_PPF);
    }
    g_mutex_unlock(&s->lock);
    guest_error(&s->dev, "%s of 0x%" G_GINT64_MODIFIER "x by %02x:%02x.%x refused (reason 0x%x)",
                read ? "read" : "write", info, sid >> 8, PCI_SLOT(sid & 0xff), PCI_FUNC(sid & 0xff), reason);
}

void vtd_queue_error(IntelIommu *s, const char *what)
{
    g_mutex_lock(&s->lock);
    fault_status(s, FSTS_IQE);
    g_mutex_unlock(&s->lock);
    guest_error(&s->dev, "invalidation queue: %s (at 0x%" G_GINT64_MODIFIER "x)", what, s->iqh);
}

void vtd_wait_done(IntelIommu *s)
{
    g_mutex_lock(&s->lock);
    if (!(s->ics & ICS_IWC)) {
        s->ics |= ICS_IWC;
        event_raise(s, &s->iectl, &s->wait_event);
    }
    g_mutex_unlock(&s->lock);
}

/* --- what software writes; with the lock --- */

/* The oldest record that is still there. */
static void update_index(IntelIommu *s)
{
    s->fsts &= ~(FSTS_PPF | FSTS_FRI(0xff));
    for (unsigned i = 0; i < DMAR_FRCD_COUNT; i++) {
        unsigned n = (s->next_fault + i) % DMAR_FRCD_COUNT;

        if (s->frcd[2 * n + 1] & FRCD_F) {
            s->fsts |= FSTS_PPF | FSTS_FRI(n);
            return;
        }
    }
}

void vtd_frcd_written(IntelIommu *s)
{
    update_index(s);
    vtd_fsts_written(s, 0);
}

void vtd_fsts_written(IntelIommu *s, uint32_t cleared)
{
    s->fsts &= ~(cleared & (FSTS_PFO | FSTS_IQE));
    if (!(s->fsts & (FSTS_PFO | FSTS_PPF | FSTS_IQE))) {
        s->fectl &= ~EVENT_IP;
    }
}

void vtd_fectl_written(IntelIommu *s)
{
    event_unmask(s, &s->fectl, &s->fault_event);
}

void vtd_iectl_written(IntelIommu *s)
{
    if (!(s->ics & ICS_IWC)) {
        s->iectl &= ~EVENT_IP;
    }
    event_unmask(s, &s->iectl, &s->wait_event);
}

/* --- messages: by the main loop, because faults come from threads that may not wait for what a write reaches --- */

static void send_message(IntelIommu *s, uint32_t addr, uint32_t upper, uint32_t data)
{
    if (addr >> 20 == APIC_DEFAULT_BASE >> 20 && upper) {
        /* The destination is of 32 bits (11.4.12). */
        const ApicMessage msg = {.dest = (upper & ~0xffu) | (addr >> 12 & 0xff),
                                 .x2apic = true,
                                 .logical = addr & 4,
                                 .mode = (ApicDelivery)(data >> 8 & 7),
                                 .vector = (uint8_t)data};

        apic_bus_send(s->board.apic_bus, &msg);
        return;
    }
    as_store(s->dev.obj.machine->memory, (uint64_t)upper << 32 | addr, 4, data, (MemAttrs){0});
}

void vtd_send_events(IntelIommu *s)
{
    bool fault, wait;

    g_mutex_lock(&s->lock);
    fault = s->fault_event;
    wait = s->wait_event;
    s->fault_event = s->wait_event = false;
    g_mutex_unlock(&s->lock);
    if (fault) {
        send_message(s, s->feaddr, s->feuaddr, s->fedata);
    }
    if (wait) {
        send_message(s, s->ieaddr, s->ieuaddr, s->iedata);
    }
}
