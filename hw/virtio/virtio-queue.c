/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Split and packed virtqueues (VIRTIO 1.1, 2.6 and 2.7) as the device sees them. */
#include <inttypes.h>
#include <string.h>

#include "virtio.h"

#define AVAIL_IDX      2
#define AVAIL_RING     4
#define USED_IDX       2
#define USED_RING      4
#define USED_ENTRY_LEN 8
#define EVENT_LEN      4
#define LEGACY_PAGE    4096u

typedef struct VirtqDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next; /* next: the id in a packed ring */
} VirtqDesc;

/* --- memory --- */

static bool queue_read(VirtQueue *vq, uint64_t addr, void *buf, size_t len)
{
    if (pci_dma_read(&vq->vp->pci, addr, buf, len) == MEM_OK) {
        return true;
    }
    virtio_error(vq->vp, "queue %u: 0x%" G_GINT64_MODIFIER "x is not memory", vq->index, addr);
    return false;
}

static bool queue_write(VirtQueue *vq, uint64_t addr, const void *buf, size_t len)
{
    if (pci_dma_write(&vq->vp->pci, addr, buf, len) == MEM_OK) {
        return true;
    }
    virtio_error(vq->vp, "queue %u: 0x%" G_GINT64_MODIFIER "x is not memory", vq->index, addr);
    return false;
}

static bool queue_read16(VirtQueue *vq, uint64_t addr, uint16_t *val)
{
    uint16_t little = 0;
    bool ok = queue_read(vq, addr, &little, sizeof(little));

    *val = GUINT16_FROM_LE(little);
    return ok;
}

static bool queue_write16(VirtQueue *vq, uint64_t addr, uint16_t val)
{
    uint16_t little = GUINT16_TO_LE(val);

    return queue_write(vq, addr, &little, sizeof(little));
}

static bool is_packed(const VirtQueue *vq)
{
    return virtio_has(vq->vp, VIRTIO_F_RING_PACKED);
}

static bool read_desc(VirtQueue *vq, uint64_t table, unsigned n, bool packed, VirtqDesc *desc)
{
    uint8_t raw[VIRTQ_DESC_LEN];

    if (!queue_read(vq, table + (uint64_t)n * VIRTQ_DESC_LEN, raw, sizeof(raw))) {
        return false;
    }
    *desc = (VirtqDesc){.addr = pci_get64(raw), .len = pci_get32(raw + 8)};
    desc->flags = pci_get16(raw + (packed ? 14 : 12));
    desc->next = pci_get16(raw + (packed ? 12 : 14));
    return true;
}

/* --- gathering an element --- */

typedef struct Gather {
    VirtQueue *vq;
    GArray *out, *in; /* of VirtioBuf */
    uint64_t out_len, in_len;
} Gather;

static bool gather_add(Gather *g, const VirtqDesc *desc)
{
    VirtioBuf buf = {desc->addr, desc->len};
    bool write = desc->flags & VIRTQ_DESC_F_WRITE;

    if ((!write && g->in->len) || g->out->len + g->in->len >= VIRTIO_QUEUE_MAX) {
        virtio_error(g->vq->vp, "queue %u: %s", g->vq->index,
                     write ? "chain of more descriptors than a queue has"
                           : "readable descriptor after a writable one, or a chain that never ends");
        return false;
    }
    g_array_append_val(write ? g->in : g->out, buf);
    *(write ? &g->in_len : &g->out_len) += desc->len;
    return true;
}

/* The table of an indirect descriptor: chained by next (split), or all of it in order (packed). */
static bool gather_indirect(Gather *g, const VirtqDesc *table, bool packed)
{
    unsigned n = table->len / VIRTQ_DESC_LEN, at = 0;
    VirtqDesc desc;

    if (!virtio_has(g->vq->vp, VIRTIO_F_INDIRECT_DESC) || table->len % VIRTQ_DESC_LEN || !n ||
        n > VIRTIO_QUEUE_MAX) {
        virtio_error(g->vq->vp,
                     "queue %u: indirect table of %u bytes (allowed multiples of 16 to %u, if negotiated)",
                     g->vq->index, table->len, VIRTIO_QUEUE_MAX * VIRTQ_DESC_LEN);
        return false;
    }
    do {
        if (!read_desc(g->vq, table->addr, at, packed, &desc)) {
            return false;
        }
        if (desc.flags & VIRTQ_DESC_F_INDIRECT) {
            virtio_error(g->vq->vp, "queue %u: indirect table within an indirect table", g->vq->index);
            return false;
        }
        if (!gather_add(g, &desc)) {
            return false;
        }
        at = packed ? at + 1 : desc.next;
        if (!packed && desc.flags & VIRTQ_DESC_F_NEXT && at >= n) {
            virtio_error(g->vq->vp, "queue %u: next descriptor %u of %u", g->vq->index, at, n);
            return false;
        }
    } while (packed ? at < n : desc.flags & VIRTQ_DESC_F_NEXT);
    return true;
}

static VirtioElement *gather_element(Gather *g)
{
    VirtioElement *e = g_malloc0(sizeof(*e) + (g->out->len + g->in->len) * sizeof(VirtioBuf));

    e->out_num = g->out->len;
    e->in_num = g->in->len;
    e->out_len = g->out_len;
    e->in_len = g->in_len;
    if (e->out_num) {
        memcpy(e->bufs, g->out->data, e->out_num * sizeof(VirtioBuf));
    }
    if (e->in_num) {
        memcpy(e->bufs + e->out_num, g->in->data, e->in_num * sizeof(VirtioBuf));
    }
    return e;
}

/* --- split (2.6) --- */

static bool split_gather(Gather *g, uint16_t head)
{
    VirtQueue *vq = g->vq;
    unsigned at = head, seen = 0;
    VirtqDesc desc;

    do {
        if (at >= vq->size || seen++ >= vq->size) {
            virtio_error(vq->vp, "queue %u: descriptor %u of %u, or a chain that never ends", vq->index, at,
                         vq->size);
            return false;
        }
        if (!read_desc(vq, vq->desc, at, false, &desc)) {
            return false;
        }
        if (desc.flags & VIRTQ_DESC_F_INDIRECT) {
            if (desc.flags & VIRTQ_DESC_F_NEXT) {
                virtio_error(vq->vp, "queue %u: indirect descriptor with a next one", vq->index);
                return false;
            }
            return gather_indirect(g, &desc, false);
        }
        if (!gather_add(g, &desc)) {
            return false;
        }
        at = desc.next;
    } while (desc.flags & VIRTQ_DESC_F_NEXT);
    return true;
}

static bool split_has_more(VirtQueue *vq)
{
    uint16_t idx;

    if (!queue_read16(vq, vq->driver + AVAIL_IDX, &idx) || idx == vq->next_avail) {
        return false;
    }
    if ((uint16_t)(idx - vq->next_avail) > vq->size) {
        virtio_error(vq->vp, "queue %u: available index %u runs ahead of %u by more than the queue",
                     vq->index, idx, vq->next_avail);
        return false;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE); /* the index before what it says is there */
    return true;
}

static bool split_pop(VirtQueue *vq, Gather *g, uint16_t *head)
{
    uint64_t slot = vq->driver + AVAIL_RING + 2u * (vq->next_avail % vq->size);

    if (!split_has_more(vq) || !queue_read16(vq, slot, head) || !split_gather(g, *head)) {
        return false;
    }
    vq->next_avail++;
    return true;
}

static void split_push(VirtQueue *vq, VirtioElement *const *elements, const uint32_t *written, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint8_t entry[USED_ENTRY_LEN];

        pci_set32(entry, elements[i]->id);
        pci_set32(entry + 4, written[i]);
        queue_write(vq,
                    vq->device + USED_RING +
                        (uint64_t)USED_ENTRY_LEN * ((uint16_t)(vq->next_used + i) % vq->size),
                    entry, sizeof(entry));
    }
    __atomic_thread_fence(__ATOMIC_RELEASE); /* data and entries before the index that shows them */
    vq->next_used = (uint16_t)(vq->next_used + n);
    queue_write16(vq, vq->device + USED_IDX, vq->next_used);
}

/* Asks to be told of the next available buffer (2.6.7.2). */
static void split_request_event(VirtQueue *vq)
{
    queue_write16(vq, vq->device + USED_RING + (uint64_t)USED_ENTRY_LEN * vq->size, vq->next_avail);
}

/* Whether `event` was passed on the way from `from` to `to`. */
static bool event_passed(uint16_t event, uint16_t to, uint16_t from)
{
    return (uint16_t)(to - event - 1) < (uint16_t)(to - from);
}

static bool split_wants_interrupt(VirtQueue *vq, uint16_t from, bool valid)
{
    uint16_t word = 0;

    if (virtio_has(vq->vp, VIRTIO_F_EVENT_IDX)) {
        return queue_read16(vq, vq->driver + AVAIL_RING + 2u * vq->size, &word) &&
               (!valid || event_passed(word, vq->next_used, from));
    }
    return queue_read16(vq, vq->driver, &word) && !(word & VIRTQ_AVAIL_NO_INTERRUPT);
}

/* --- packed (2.7) --- */

static bool packed_available(const VirtQueue *vq, uint16_t flags)
{
    return !!(flags & VIRTQ_DESC_F_AVAIL) == vq->avail_wrap &&
           !!(flags & VIRTQ_DESC_F_USED) != vq->avail_wrap;
}

static bool packed_has_more(VirtQueue *vq)
{
    uint16_t flags;

    if (!queue_read16(vq, vq->desc + (uint64_t)vq->next_avail * VIRTQ_DESC_LEN + 14, &flags) ||
        !packed_available(vq, flags)) {
        return false;
    }
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return true;
}

static bool packed_pop(VirtQueue *vq, Gather *g, uint16_t *id, uint16_t *ring_len)
{
    unsigned at = vq->next_avail, n = 0;
    VirtqDesc desc;

    if (!packed_has_more(vq)) {
        return false;
    }
    do {
        if (n++ >= vq->size) {
            virtio_error(vq->vp, "queue %u: a chain that never ends", vq->index);
            return false;
        }
        if (!read_desc(vq, vq->desc, at, true, &desc) ||
            !(desc.flags & VIRTQ_DESC_F_INDIRECT ? gather_indirect(g, &desc, true) : gather_add(g, &desc))) {
            return false;
        }
        at = at + 1u == vq->size ? 0 : at + 1;
    } while (desc.flags & VIRTQ_DESC_F_NEXT);
    *id = desc.next;
    *ring_len = (uint16_t)n;
    vq->avail_wrap ^= at <= vq->next_avail;
    vq->next_avail = (uint16_t)at;
    return true;
}

static void packed_write_used(VirtQueue *vq, unsigned at, bool wrap, uint16_t id, uint32_t written)
{
    uint64_t where = vq->desc + (uint64_t)at * VIRTQ_DESC_LEN;
    uint16_t flags =
        (uint16_t)((wrap ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED : 0) | (written ? VIRTQ_DESC_F_WRITE : 0));
    uint8_t entry[6];

    pci_set32(entry, written);
    pci_set16(entry + 4, id);
    queue_write(vq, where + 8, entry, sizeof(entry));
    __atomic_thread_fence(__ATOMIC_RELEASE);
    queue_write16(vq, where + 14, flags);
}

/* The first is written last: the driver looks there for all of them. */
static void packed_push(VirtQueue *vq, VirtioElement *const *elements, const uint32_t *written, unsigned n)
{
    unsigned first = vq->next_used, at = first;
    bool first_wrap = vq->used_wrap, wrap = first_wrap;

    for (unsigned i = 0; i < n; i++) {
        if (i) {
            packed_write_used(vq, at, wrap, elements[i]->id, written[i]);
        }
        at += elements[i]->ring_len;
        if (at >= vq->size) {
            at -= vq->size;
            wrap = !wrap;
        }
    }
    packed_write_used(vq, first, first_wrap, elements[0]->id, written[0]);
    vq->next_used = (uint16_t)at;
    vq->used_wrap = wrap;
}

static bool packed_wants_interrupt(VirtQueue *vq, uint16_t from, bool valid)
{
    uint8_t event[EVENT_LEN];
    unsigned off, flags;

    if (!queue_read(vq, vq->driver, event, sizeof(event))) {
        return false;
    }
    off = pci_get16(event);
    flags = pci_get16(event + 2) & 3;
    if (flags != VIRTQ_EVENT_DESC || !virtio_has(vq->vp, VIRTIO_F_EVENT_IDX) || !valid) {
        return flags != VIRTQ_EVENT_DISABLE;
    }
    /* Places of the other lap are behind us. */
    unsigned place = off & 0x7fff;
    bool wrap = off >> 15;
    int event_at = (int)place - (wrap != vq->used_wrap ? vq->size : 0);

    return event_passed((uint16_t)event_at, vq->next_used,
                        (uint16_t)(from > vq->next_used ? from - vq->size : from));
}

/* --- either --- */

bool virtqueue_has_more(VirtQueue *vq)
{
    if (!virtio_running(vq->vp) || !vq->enabled) {
        return false;
    }
    if (is_packed(vq)) {
        return packed_has_more(vq);
    }
    if (split_has_more(vq)) {
        return true;
    }
    if (!virtio_running(vq->vp) || !virtio_has(vq->vp, VIRTIO_F_EVENT_IDX)) {
        return false;
    }
    split_request_event(vq);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the request before another look */
    return split_has_more(vq);
}

VirtioElement *virtqueue_pop(VirtQueue *vq)
{
    Gather g = {.vq = vq};
    VirtioElement *element = NULL;
    uint16_t id = 0, ring_len = 1;

    if (!virtqueue_has_more(vq)) {
        return NULL;
    }
    g.out = g_array_new(FALSE, FALSE, sizeof(VirtioBuf));
    g.in = g_array_new(FALSE, FALSE, sizeof(VirtioBuf));
    if (is_packed(vq) ? packed_pop(vq, &g, &id, &ring_len) : split_pop(vq, &g, &id)) {
        element = gather_element(&g);
        element->id = id;
        element->ring_len = ring_len;
        TRACE(&virtio_trace[VIRTIO_TRACE_POP], "%s: queue %u, id %u, out %" PRIu64 ", in %" PRIu64,
              vq->vp->pci.dev.obj.id, vq->index, id, element->out_len, element->in_len);
    }
    g_array_free(g.out, TRUE);
    g_array_free(g.in, TRUE);
    return element;
}

void virtqueue_unpop(VirtQueue *vq, VirtioElement *element)
{
    if (!is_packed(vq)) {
        vq->next_avail--;
    } else if (vq->next_avail >= element->ring_len) {
        vq->next_avail = (uint16_t)(vq->next_avail - element->ring_len);
    } else {
        vq->next_avail = (uint16_t)(vq->next_avail + vq->size - element->ring_len);
        vq->avail_wrap = !vq->avail_wrap;
    }
    g_free(element);
}

void virtqueue_push_all(VirtQueue *vq, VirtioElement **elements, const uint32_t *written, unsigned n)
{
    if (n && virtio_running(vq->vp) && vq->enabled) {
        TRACE(&virtio_trace[VIRTIO_TRACE_PUSH], "%s: queue %u, id %u, %u bytes", vq->vp->pci.dev.obj.id,
              vq->index, elements[0]->id, written[0]);
        (is_packed(vq) ? packed_push : split_push)(vq, elements, written, n);
        vq->unsignalled += n;
    }
    for (unsigned i = 0; i < n; i++) {
        g_free(elements[i]);
    }
}

void virtqueue_push(VirtQueue *vq, VirtioElement *element, uint32_t written)
{
    virtqueue_push_all(vq, &element, &written, 1);
}

void virtqueue_notify(VirtQueue *vq)
{
    uint16_t from = vq->signalled;
    bool valid = vq->signalled_valid && vq->unsignalled < vq->size; /* a whole lap passes every event */

    if (!virtio_running(vq->vp) || !vq->enabled || !vq->unsignalled) {
        return;
    }
    __atomic_thread_fence(
        __ATOMIC_SEQ_CST); /* what was used before a look at whether the driver wants to know */
    vq->signalled = vq->next_used;
    vq->signalled_valid = true;
    vq->unsignalled = 0;
    if ((is_packed(vq) ? packed_wants_interrupt : split_wants_interrupt)(vq, from, valid)) {
        TRACE(&virtio_trace[VIRTIO_TRACE_NOTIFY], "%s: queue %u", vq->vp->pci.dev.obj.id, vq->index);
        virtio_notify_vector(vq->vp, vq->vector, VIRTIO_PCI_ISR_QUEUE);
    }
}

void virtqueue_reset(VirtQueue *vq)
{
    vq->size = vq->max_size;
    vq->desc = vq->driver = vq->device = 0;
    vq->enabled = false;
    vq->vector = VIRTIO_NO_VECTOR;
    vq->next_avail = vq->next_used = vq->signalled = 0;
    vq->avail_wrap = vq->used_wrap = true;
    vq->signalled_valid = false;
    vq->unsignalled = 0;
}

void virtqueue_set_legacy(VirtQueue *vq, uint32_t pfn)
{
    uint64_t end;

    vq->desc = (uint64_t)pfn * LEGACY_PAGE;
    vq->driver = vq->desc + (uint64_t)VIRTQ_DESC_LEN * vq->size;
    end = vq->driver + AVAIL_RING + 2u * vq->size + 2;
    vq->device = (end + LEGACY_PAGE - 1) & ~(uint64_t)(LEGACY_PAGE - 1);
    vq->enabled = pfn != 0;
}

/* --- data --- */

static size_t element_copy(VirtQueue *vq, const VirtioBuf *bufs, unsigned n, uint64_t offset, void *buf,
                           size_t len, bool write)
{
    size_t done = 0;

    for (unsigned i = 0; i < n && done < len; i++) {
        uint64_t part;

        if (offset >= bufs[i].len) {
            offset -= bufs[i].len;
            continue;
        }
        part = MIN(bufs[i].len - offset, len - done);
        if (write ? !queue_write(vq, bufs[i].addr + offset, (uint8_t *)buf + done, part)
                  : !queue_read(vq, bufs[i].addr + offset, (uint8_t *)buf + done, part)) {
            return done;
        }
        done += part;
        offset = 0;
    }
    return done;
}

size_t virtio_element_read(VirtQueue *vq, const VirtioElement *element, uint64_t offset, void *buf,
                           size_t len)
{
    return element_copy(vq, element->bufs, element->out_num, offset, buf, len, false);
}

size_t virtio_element_write(VirtQueue *vq, const VirtioElement *element, uint64_t offset, const void *buf,
                            size_t len)
{
    return element_copy(vq, element->bufs + element->out_num, element->in_num, offset, (void *)buf, len,
                        true);
}
