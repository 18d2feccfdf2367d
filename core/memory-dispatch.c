/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Accesses: find the range in the published view, then copy host memory inside
 * the RCU section, or take a hold on the region, leave the section and call the
 * device, which may block.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "core/memory-internal.h"

/* --- device callbacks --- */

/* A register access in progress; of each thread the innermost one. */
typedef struct IoFrame {
    const MemRegion *region;
    struct IoFrame *outer;
    bool may_wait; /* outermost, and the thread holds no lock when it is over */
    MemAccessWait *waits, **waits_tail;
} IoFrame;

static __thread IoFrame *thread_frame;

static void frame_enter(IoFrame *frame, const MemRegion *region)
{
    *frame = (IoFrame){.region = region, .outer = thread_frame};
    frame->may_wait =
        !frame->outer && !loop_locked(region->topo->loop) && !(region->home && loop_locked(region->home));
    frame->waits_tail = &frame->waits;
    thread_frame = frame;
}

/* After the locks were given up. */
static void frame_leave(IoFrame *frame)
{
    thread_frame = frame->outer;
    while (frame->waits) {
        MemAccessWait *wait = frame->waits;

        frame->waits = wait->next;
        wait->wait(wait);
    }
}

static IoFrame *frame_outermost(void)
{
    IoFrame *frame = thread_frame;

    while (frame && frame->outer) {
        frame = frame->outer;
    }
    return frame;
}

bool mem_access_add_wait(MemAccessWait *wait)
{
    IoFrame *frame = frame_outermost();

    if (!frame || !frame->may_wait) {
        return false;
    }
    wait->next = NULL;
    *frame->waits_tail = wait;
    frame->waits_tail = &wait->next;
    return true;
}

MemAccessWait *mem_access_find_wait(const void *owner)
{
    IoFrame *frame = frame_outermost();
    MemAccessWait *wait = frame ? frame->waits : NULL;

    while (wait && wait->owner != owner) {
        wait = wait->next;
    }
    return wait;
}

static uint64_t size_mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (UINT64_C(1) << (size * 8)) - 1;
}

typedef struct IoAccess {
    MemRegion *region;
    HwAddr addr; /* in the region */
    unsigned size;
    bool write;
    uint64_t val;
    MemAttrs attrs;
} IoAccess;

/* One call of the model with a size and alignment it takes. */
static MemResult io_call(const IoAccess *a, HwAddr addr, unsigned size, uint64_t *val)
{
    const MemOps *ops = a->region->ops;
    MemResult result;

    if (a->write) {
        return ops->write ? ops->write(a->region->opaque, addr, size, *val & size_mask(size), a->attrs)
                          : MEM_ACCESS_ERROR;
    }
    *val = 0;
    result = ops->read ? ops->read(a->region->opaque, addr, size, val, a->attrs) : MEM_ACCESS_ERROR;
    *val &= size_mask(size);
    return result;
}

/* Smaller than the model takes: the aligned unit around it; on a write the other bytes are 0. */
static MemResult io_widen(IoAccess *a, unsigned unit)
{
    HwAddr base = a->addr & ~(HwAddr)(unit - 1);
    unsigned shift = (unsigned)(a->addr - base) * 8;
    uint64_t val = a->write ? (a->val & size_mask(a->size)) << shift : 0;
    MemResult result = io_call(a, base, unit, &val);

    if (!a->write) {
        a->val = val >> shift & size_mask(a->size);
    }
    return result;
}

/* Larger than the model takes: parts in ascending order of address. */
static MemResult io_split(IoAccess *a, unsigned part)
{
    MemResult result = MEM_OK;
    uint64_t whole = 0;

    for (unsigned done = 0; done < a->size; done += part) {
        uint64_t val = a->write ? a->val >> (done * 8) : 0;

        result |= io_call(a, a->addr + done, part, &val);
        whole |= val << (done * 8);
    }
    if (!a->write) {
        a->val = whole;
    }
    return result;
}

static MemResult io_sized(IoAccess *a)
{
    const MemOps *ops = a->region->ops;
    unsigned min = ops->min_size ? ops->min_size : 1, max = ops->max_size ? ops->max_size : 8;

    if (!ops->unaligned && a->addr & (a->size - 1)) {
        a->val = a->write ? a->val : UINT64_MAX;
        return MEM_DEVICE_ERROR;
    }
    if (a->size < min) {
        unsigned unit = min;

        /* An unaligned access may need the next larger unit to be inside one. */
        while (unit < max && (a->addr & (unit - 1)) + a->size > unit) {
            unit *= 2;
        }
        return (a->addr & (unit - 1)) + a->size <= unit ? io_widen(a, unit) : MEM_DEVICE_ERROR;
    }
    return a->size > max ? io_split(a, max) : io_call(a, a->addr, a->size, &a->val);
}

/* A device may not reach its own registers by DMA from within a callback of them. */
static bool io_is_inside(const MemRegion *region)
{
    const IoFrame *frame = thread_frame;

    while (frame && frame->region != region) {
        frame = frame->outer;
    }
    return frame != NULL;
}

/* The caller entered the region and is outside RCU sections; leaves the region. */
static MemResult io_access(IoAccess *a)
{
    MemRegion *r = a->region;
    MemResult result = MEM_DECODE_ERROR;
    bool inside = r->home && io_is_inside(r);
    IoFrame frame;

    frame_enter(&frame, r);
    if (r->home && !loop_lock_bounded(r->home)) {
        frame_leave(&frame);
        a->val = UINT64_MAX;
        mem_region_leave(r);
        return MEM_DEVICE_ERROR;
    }
    if (!__atomic_load_n(&r->retired, __ATOMIC_SEQ_CST)) {
        result = inside ? MEM_ACCESS_ERROR : io_sized(a);
    }
    if (r->home) {
        loop_unlock(r->home);
    }
    frame_leave(&frame);
    if (result && !a->write) {
        a->val |= result & (MEM_DECODE_ERROR | MEM_ACCESS_ERROR) ? UINT64_MAX : 0;
    }
    mem_region_leave(r);
    return result;
}

/*
 * Whoever shares the eventfd can fill it and let writes wait for ever; a CPU must not hang on that.  What is full is signalled
 * already.
 */
static void ioeventfd_signal(int fd)
{
    const uint64_t one = 1;
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    if (poll(&p, 1, 0) == 0) {
        return;
    }
    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

/* In a read section: signals the fd that waits for this write, if there is one. */
static bool io_signal(MemRegion *r, HwAddr addr, unsigned size, uint64_t val)
{
    const IoeventfdTable *table = rcu_dereference(r->ioeventfds);

    for (guint i = 0; table && i < table->n; i++) {
        const Ioeventfd *e = &table->entries[i];

        if (e->addr == addr && (!e->size || e->size == size) &&
            (!e->match || (e->data & size_mask(size)) == (val & size_mask(size)))) {
            ioeventfd_signal(e->fd);
            return true;
        }
    }
    return false;
}

/* --- host memory: aligned units are copied in one access, as the guest's other CPUs expect --- */

static uint64_t host_load(const void *p, unsigned size)
{
    uint64_t val = 0;

    if ((uintptr_t)p & (size - 1)) {
        memcpy(&val, p, size);
        return val;
    }
    switch (size) {
    case 1:
        return __atomic_load_n((const uint8_t *)p, __ATOMIC_RELAXED);
    case 2:
        return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
    case 4:
        return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
    default:
        return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
    }
}

static void host_store(void *p, unsigned size, uint64_t val)
{
    if ((uintptr_t)p & (size - 1)) {
        memcpy(p, &val, size);
        return;
    }
    switch (size) {
    case 1:
        __atomic_store_n((uint8_t *)p, (uint8_t)val, __ATOMIC_RELAXED);
        break;
    case 2:
        __atomic_store_n((uint16_t *)p, (uint16_t)val, __ATOMIC_RELAXED);
        break;
    case 4:
        __atomic_store_n((uint32_t *)p, (uint32_t)val, __ATOMIC_RELAXED);
        break;
    default:
        __atomic_store_n((uint64_t *)p, val, __ATOMIC_RELAXED);
        break;
    }
}

static bool is_unit(uint64_t len)
{
    return len == 1 || len == 2 || len == 4 || len == 8;
}

static void host_copy_in(void *host, const void *buf, uint64_t len)
{
    uint64_t val = 0;

    if (is_unit(len)) {
        memcpy(&val, buf, len);
        host_store(host, (unsigned)len, val);
    } else {
        memcpy(host, buf, len);
    }
}

static void host_copy_out(void *buf, const void *host, uint64_t len)
{
    if (is_unit(len)) {
        uint64_t val = host_load(host, (unsigned)len);

        memcpy(buf, &val, len);
    } else {
        memcpy(buf, host, len);
    }
}

/* --- finding --- */

/* A search for what is at an address, and for what purpose; made by FINDER(). */
typedef struct Finder {
    MemPerm want;    /* of IOMMUs; MEM_PERM_NONE: anything */
    bool probe;      /* no fault is recorded when an IOMMU refuses: there is a second attempt, or none was made */
    MemResult why;   /* nothing was found: is nothing there, or is it not allowed? */
    HwAddr next;     /* and that up to this address (UINT64_MAX: to the end) */
    MemRegion *lookup; /* the lookup region that was asked; NULL: none */
    HwAddr lookup_at;
    FlatRange found; /* room for what a lookup or IOMMU region has */
} Finder;

/* A region's `end` (inclusive) seen in the address space, not behind the range it is in. */
static HwAddr range_clip(const FlatRange *range, HwAddr end)
{
    uint64_t room = range->last - range->first;

    return end - range->offset < room ? range->first + (end - range->offset) : range->last;
}

/* What a lookup region has at addr, in the address space's addresses and not beyond the range it was found in. */
static const FlatRange *range_resolve(const FlatRange *range, HwAddr addr, Finder *f)
{
    MemRegion *r = range->region;
    HwAddr shift = range->first - range->offset, end;
    FlatRange *found = &f->found;
    MemSection s = {0};

    f->lookup = r;
    f->lookup_at = addr - shift;
    if (!r->find(r->opaque, addr - shift, &s)) {
        f->next = s.addr - 1 < range->last - shift ? s.addr + shift
                  : range->last == UINT64_MAX      ? UINT64_MAX
                                                   : range->last + 1;
        return NULL;
    }
    end = s.addr + (s.size - 1);
    if (s.writeonly && f->want & MEM_PERM_READ) {
        HwAddr last = range_clip(range, end);

        f->why = MEM_ACCESS_ERROR;
        f->next = last == UINT64_MAX ? UINT64_MAX : last + 1;
        return NULL;
    }
    *found = (FlatRange){s.addr + shift, end + shift, s.region, s.region_offset, s.readonly};
    if (s.addr < range->offset) {
        found->offset += range->offset - s.addr;
        found->first = range->first;
    }
    if (end > range->offset + (range->last - range->first)) {
        found->last = range->last;
    }
    return found;
}

/* What is behind an IOMMU: a range that begins at addr, within one page and one range of the space it leads to. */
static const FlatRange *range_translate(const FlatRange *range, HwAddr addr, Finder *f)
{
    const MemRegion *r = range->region;
    HwAddr at = addr - range->first + range->offset, there, end;
    Finder behind = {.next = UINT64_MAX};
    const FlatRange *target;
    MemTranslation t = {0};
    bool ok = r->iommu->translate(r->opaque, at, f->want, f->probe, &t);

    end = range_clip(range, t.size == UINT64_MAX ? UINT64_MAX : t.iova + (t.size - 1));
    f->next = end == UINT64_MAX ? UINT64_MAX : end + 1;
    if (!ok) {
        f->why = MEM_ACCESS_ERROR;
        return NULL;
    }
    there = t.addr + (at - t.iova);
    target = mem_view_find(rcu_dereference(t.as->view), there, &behind.next);
    if (target && target->region->find) {
        target = range_resolve(target, there, &behind);
    }
    if (!target || target->region->iommu) {
        if (behind.next != UINT64_MAX && behind.next - there <= end - addr) {
            f->next = addr + (behind.next - there);
        }
        return NULL;
    }
    f->found = (FlatRange){.first = addr,
                           .last = addr + MIN(end - addr, target->last - there),
                           .region = target->region,
                           .offset = target->offset + (there - target->first),
                           .readonly = target->readonly || !(t.perm & MEM_PERM_WRITE)};
    return &f->found;
}

/* As mem_view_find() in the published view.  In a read section. */
static const FlatRange *range_find(AddressSpace *as, HwAddr addr, Finder *f)
{
    const FlatRange *range = mem_view_find(rcu_dereference(as->view), addr, &f->next);

    if (range && G_UNLIKELY(range->region->find || range->region->iommu)) {
        return range->region->iommu ? range_translate(range, addr, f) : range_resolve(range, addr, f);
    }
    return range;
}

/* f->found is filled when it is used. */
#define FINDER(f, access, quiet)                                                                             \
    Finder f;                                                                                                \
    f.want = (access);                                                                                       \
    f.lookup = NULL;                                                                                         \
    f.probe = (quiet);                                                                                       \
    f.why = MEM_DECODE_ERROR

/* --- register accesses --- */

static MemResult store_bytes(AddressSpace *as, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    uint8_t bytes[8];

    memcpy(bytes, &val, sizeof(bytes));
    return as_write(as, addr, bytes, size, attrs);
}

static MemResult load_bytes(AddressSpace *as, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    uint8_t bytes[8] = {0};
    MemResult result = as_read(as, addr, bytes, size, attrs);

    memcpy(val, bytes, sizeof(bytes));
    return result;
}

MemResult as_load(AddressSpace *as, HwAddr addr, unsigned size, uint64_t *val, MemAttrs attrs)
{
    FINDER(finder, MEM_PERM_READ, true);
    const FlatRange *range;
    IoAccess access;
    MemResult result;

    rcu_read_lock();
    range = range_find(as, addr, &finder);
    if (!range || range->last - addr < size - 1) {
        rcu_read_unlock();
        return load_bytes(as, addr, size, val, attrs);
    }
    access = (IoAccess){range->region, range->offset + (addr - range->first), size, false, 0, attrs};
    if (mem_region_direct(access.region)) {
        *val = host_load(access.region->host + access.addr, size);
        rcu_read_unlock();
        return MEM_OK;
    }
    mem_region_enter(access.region);
    rcu_read_unlock();
    result = io_access(&access);
    *val = access.val & size_mask(size);
    return result;
}

MemResult as_store(AddressSpace *as, HwAddr addr, unsigned size, uint64_t val, MemAttrs attrs)
{
    FINDER(finder, MEM_PERM_WRITE, true);
    const FlatRange *range;
    IoAccess access;

    rcu_read_lock();
    range = range_find(as, addr, &finder);
    if (!range || range->last - addr < size - 1) {
        rcu_read_unlock();
        return store_bytes(as, addr, size, val, attrs);
    }
    access = (IoAccess){range->region, range->offset + (addr - range->first), size, true, val, attrs};
    if (access.region->kind == MEM_RAM && !range->readonly) {
        host_store(access.region->host + access.addr, size, val);
        if (mem_region_watched(access.region)) {
            mem_region_written(access.region, access.addr, size);
        }
        rcu_read_unlock();
        return MEM_OK;
    }
    if (range->readonly && !(access.region->kind == MEM_ROM && access.region->ops)) {
        rcu_read_unlock();
        return access.region->kind == MEM_ROM ? MEM_OK : MEM_ACCESS_ERROR;
    }
    if (io_signal(access.region, access.addr, size, val)) {
        rcu_read_unlock();
        return MEM_OK;
    }
    mem_region_enter(access.region);
    rcu_read_unlock();
    return io_access(&access);
}

/* --- transfers --- */

/* The largest register access that a transfer of len bytes at addr of an I/O region can make. */
static unsigned io_chunk(const MemRegion *r, HwAddr addr, uint64_t len)
{
    unsigned size = r->ops->max_size ? r->ops->max_size : 8;

    while (size > len || (!r->ops->unaligned && addr & (size - 1))) {
        size /= 2;
    }
    return size;
}

typedef struct Transfer {
    AddressSpace *as;
    bool write;
    MemAttrs attrs;
    MemResult result;
} Transfer;

/* Host memory; in the read section. */
static void transfer_direct(Transfer *t, const FlatRange *range, uint64_t offset, uint8_t *buf, uint64_t len)
{
    MemRegion *r = range->region;

    if (!t->write) {
        host_copy_out(buf, r->host + offset, len);
    } else if (!range->readonly) { /* ROM: dropped */
        host_copy_in(r->host + offset, buf, len);
        if (mem_region_watched(r)) {
            mem_region_written(r, offset, len);
        }
    }
}

/* One register access; the region was entered and the section left. */
static void transfer_io(Transfer *t, MemRegion *r, HwAddr offset, uint8_t *buf, unsigned size)
{
    IoAccess access = {r, offset, size, t->write, 0, t->attrs};

    if (t->write) {
        memcpy(&access.val, buf, size);
    }
    t->result |= io_access(&access);
    if (!t->write) {
        memcpy(buf, &access.val, size);
    }
}

/* A range of memory that is reached by messages; the region was entered and the section left. */
static void transfer_bulk(Transfer *t, MemRegion *r, HwAddr offset, uint8_t *buf, uint64_t len)
{
    MemResult result = MEM_DECODE_ERROR;

    if (!__atomic_load_n(&r->retired, __ATOMIC_SEQ_CST)) {
        result = t->write ? r->ops->write_bulk(r->opaque, offset, buf, len, t->attrs)
                          : r->ops->read_bulk(r->opaque, offset, buf, len, t->attrs);
    }
    if (result && !t->write) {
        memset(buf, 0xff, len);
    }
    t->result |= result;
    mem_region_leave(r);
}

/* Leaves the read section. */
static void transfer_refused(Transfer *t, const Finder *f)
{
    MemRegion *r = f->lookup && f->lookup->refused ? f->lookup : NULL;

    if (r) {
        mem_region_enter(r);
    }
    rcu_read_unlock();
    if (r) {
        r->refused(r->opaque, f->lookup_at, t->write);
        mem_region_leave(r);
    }
}

/* Carries out the beginning of a transfer; returns its length. */
static uint64_t transfer_step(Transfer *t, HwAddr addr, uint8_t *buf, uint64_t len)
{
    FINDER(finder, t->write ? MEM_PERM_WRITE : MEM_PERM_READ, false);
    const FlatRange *range;
    HwAddr offset;
    MemRegion *r;

    rcu_read_lock();
    range = range_find(t->as, addr, &finder);
    if (!range) {
        transfer_refused(t, &finder);
        len = finder.next == UINT64_MAX ? len : MIN(len, finder.next - addr);
        if (!t->write) {
            memset(buf, 0xff, len);
        }
        t->result |= finder.why;
        return len;
    }
    r = range->region;
    offset = range->offset + (addr - range->first);
    if (len - 1 > range->last - addr) {
        len = range->last - addr + 1;
    }
    if (t->write && range->readonly && r->kind != MEM_ROM) {
        transfer_refused(t, &finder);
        t->result |= MEM_ACCESS_ERROR;
        return len;
    }
    if (mem_region_direct(r) && !(t->write && r->kind == MEM_ROM && r->ops)) {
        transfer_direct(t, range, offset, buf, len);
        rcu_read_unlock();
        return len;
    }
    if (t->write ? r->ops->write_bulk != NULL : r->ops->read_bulk != NULL) {
        mem_region_enter(r);
        rcu_read_unlock();
        transfer_bulk(t, r, offset, buf, len);
        return len;
    }
    len = io_chunk(r, offset, len);
    if (t->write) {
        uint64_t val = 0;

        memcpy(&val, buf, len);
        if (io_signal(r, offset, (unsigned)len, val)) {
            rcu_read_unlock();
            return len;
        }
    }
    mem_region_enter(r);
    rcu_read_unlock();
    transfer_io(t, r, offset, buf, (unsigned)len);
    return len;
}

static MemResult transfer(Transfer *t, HwAddr addr, uint8_t *buf, uint64_t len)
{
    while (len) {
        /* What would wrap around the end of the space is nowhere. */
        uint64_t room = UINT64_MAX - addr;
        uint64_t done = transfer_step(t, addr, buf, len - 1 > room ? room + 1 : len);

        buf += done;
        len -= done;
        if (len && addr > UINT64_MAX - done) {
            if (!t->write) {
                memset(buf, 0xff, len);
            }
            t->result |= MEM_DECODE_ERROR;
            break;
        }
        addr += done;
    }
    return t->result;
}

MemResult as_read(AddressSpace *as, HwAddr addr, void *buf, uint64_t len, MemAttrs attrs)
{
    Transfer t = {.as = as, .write = false, .attrs = attrs};

    return transfer(&t, addr, buf, len);
}

MemResult as_write(AddressSpace *as, HwAddr addr, const void *buf, uint64_t len, MemAttrs attrs)
{
    Transfer t = {.as = as, .write = true, .attrs = attrs};

    return transfer(&t, addr, (uint8_t *)buf, len); /* only read from in this direction */
}

/* --- direct access --- */

void as_refuse(AddressSpace *as, HwAddr addr, bool is_write)
{
    FINDER(finder, is_write ? MEM_PERM_WRITE : MEM_PERM_READ, false);

    rcu_read_lock();
    range_find(as, addr, &finder);
    rcu_read_unlock();
}

void *as_map(AddressSpace *as, HwAddr addr, uint64_t *len, bool is_write, MemRegion **region)
{
    FINDER(finder, is_write ? MEM_PERM_WRITE : MEM_PERM_READ, true);
    const FlatRange *range;
    void *host = NULL;

    rcu_read_lock();
    range = range_find(as, addr, &finder);
    if (*len && range && mem_region_direct(range->region) && !(is_write && range->readonly)) {
        if (*len - 1 > range->last - addr) {
            *len = range->last - addr + 1;
        }
        host = range->region->host + range->offset + (addr - range->first);
        *region = range->region;
        mem_region_enter(range->region);
    }
    rcu_read_unlock();
    return host;
}

void as_unmap(AddressSpace *as, MemRegion *region, void *host, uint64_t len, bool is_write)
{
    if (is_write && len) {
        rcu_read_lock();
        mem_region_written(region, (uint64_t)((uint8_t *)host - region->host), len);
        rcu_read_unlock();
    }
    mem_region_leave(region);
}

unsigned mem_region_pins(const MemRegion *region)
{
    return (unsigned)__atomic_load_n(&region->in_flight, __ATOMIC_SEQ_CST);
}

bool as_lookup(AddressSpace *as, HwAddr addr, MemSection *out)
{
    FINDER(finder, MEM_PERM_NONE, true);
    const FlatRange *range;

    rcu_read_lock();
    range = range_find(as, addr, &finder);
    if (range) {
        uint64_t span = range->last - range->first;

        *out = (MemSection){.as = as,
                            .region = range->region,
                            .addr = range->first,
                            .size = span == UINT64_MAX ? span : span + 1,
                            .region_offset = range->offset,
                            .readonly = range->readonly};
    }
    rcu_read_unlock();
    return range != NULL;
}
