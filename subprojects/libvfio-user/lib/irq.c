/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts: an array of eventfds for each type, set by the client, signalled by the device from any thread; and, where the
 * device wants it, the state of each vector: masked by the client or by its own last signal, pending.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "private.h"

static void irq_set_fd(IrqType *t, uint32_t vector, int fd)
{
    if (t->fds[vector] >= 0) {
        close(t->fds[vector]);
        t->assigned--;
    }
    t->fds[vector] = fd;
    t->assigned += fd >= 0;
    if (fd < 0 && t->states) {
        t->states[vector] = 0;
    }
}

static void irq_release_type(vfu_ctx_t *ctx, IrqType *t)
{
    pthread_mutex_lock(&ctx->irq_lock);
    if (t->fds) {
        for (uint32_t i = 0; i < t->count; i++) {
            irq_set_fd(t, i, -1);
        }
        free(t->fds);
        t->fds = NULL;
    }
    if (t->states) {
        memset(t->states, 0, t->count);
    }
    pthread_mutex_unlock(&ctx->irq_lock);
}

static void irq_set_unmask_fd(vfu_ctx_t *ctx, int fd)
{
    if (ctx->unmask_fd >= 0) {
        if (ctx->nb) {
            epoll_ctl(ctx->epoll_fd, EPOLL_CTL_DEL, ctx->unmask_fd, NULL);
        }
        close(ctx->unmask_fd);
    }
    ctx->unmask_fd = fd;
}

void irq_release_all(vfu_ctx_t *ctx)
{
    irq_set_unmask_fd(ctx, -1);
    for (int i = 0; i < VFU_DEV_NUM_IRQS; i++) {
        irq_release_type(ctx, &ctx->irqs[i]);
    }
}

void irq_free(vfu_ctx_t *ctx)
{
    for (int i = 0; i < VFU_DEV_NUM_IRQS; i++) {
        free(ctx->irqs[i].states);
    }
}

/* Takes a new count or new flags; what the client had set up is gone. */
static int irq_configure(vfu_ctx_t *ctx, IrqType *t, uint32_t count, uint32_t flags)
{
    uint8_t *states = NULL;

    if (flags && count) {
        states = calloc(count, 1);
        if (states == NULL) {
            return vfu_fail(ENOMEM);
        }
    }
    irq_release_type(ctx, t);
    pthread_mutex_lock(&ctx->irq_lock);
    free(t->states);
    t->states = states;
    t->count = count;
    t->flags = flags;
    pthread_mutex_unlock(&ctx->irq_lock);
    return 0;
}

VFU_EXPORT int vfu_setup_device_nr_irqs(vfu_ctx_t *ctx, enum vfu_dev_irq_type type, uint32_t count)
{
    if ((unsigned)type >= VFU_DEV_NUM_IRQS) {
        return vfu_fail(EINVAL);
    }
    return irq_configure(ctx, &ctx->irqs[type], count, ctx->irqs[type].flags);
}

VFU_EXPORT int vfu_setup_irq_flags(vfu_ctx_t *ctx, enum vfu_dev_irq_type type, uint32_t flags)
{
    const uint32_t allowed = type == VFU_DEV_INTX_IRQ ? VFU_IRQ_FLAG_MASKABLE | VFU_IRQ_FLAG_AUTOMASKED :
                             type < VFU_DEV_ERR_IRQ   ? VFU_IRQ_FLAG_MASKABLE :
                                                        0;

    if ((unsigned)type >= VFU_DEV_NUM_IRQS || (flags & ~allowed)) {
        return vfu_fail(EINVAL);
    }
    if (flags & VFU_IRQ_FLAG_AUTOMASKED) {
        flags |= VFU_IRQ_FLAG_MASKABLE;
    }
    return irq_configure(ctx, &ctx->irqs[type], ctx->irqs[type].count, flags);
}

VFU_EXPORT int vfu_setup_irq_state_callback(vfu_ctx_t *ctx, enum vfu_dev_irq_type type, vfu_dev_irq_state_cb_t *cb)
{
    if ((unsigned)type >= VFU_DEV_NUM_IRQS) {
        return vfu_fail(EINVAL);
    }
    ctx->irqs[type].state_cb = cb;
    return 0;
}

static uint32_t irq_wire_flags(const IrqType *t)
{
    return (t->flags & VFU_IRQ_FLAG_MASKABLE ? WIRE_IRQ_MASKABLE : 0) |
           (t->flags & VFU_IRQ_FLAG_AUTOMASKED ? WIRE_IRQ_AUTOMASKED : 0);
}

int irq_handle_info(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    WireIrqInfo info;
    int err = wire_irq_info_decode(&info, m->body, m->len);

    if (err || info.index >= VFU_DEV_NUM_IRQS) {
        return EINVAL;
    }
    info = (WireIrqInfo){
        .flags = WIRE_IRQ_EVENTFD | irq_wire_flags(&ctx->irqs[info.index]),
        .index = info.index,
        .count = ctx->irqs[info.index].count,
    };
    r->head_len = wire_irq_info_encode(r->head, &info);
    return 0;
}

/*
 * A client can fill the counter and let writes wait for ever: what is full is signalled already, and is left alone.  (It can
 * still race with the write, and then holds up its own device only.)
 */
static bool irq_fd_is_full(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };

    return poll(&p, 1, 0) == 0;
}

/* Signals one vector; the lock is held. */
static int irq_signal(vfu_ctx_t *ctx, IrqType *t, uint32_t vector)
{
    const uint64_t one = 1;

    if (t->fds == NULL || t->fds[vector] < 0) {
        return ENOENT;
    }
    if (t->states && (t->states[vector] & IRQ_STATE_MASKED)) {
        t->states[vector] |= IRQ_STATE_PENDING;
        return 0;
    }
    if (!irq_fd_is_full(t->fds[vector]) && write(t->fds[vector], &one, sizeof(one)) < 0 && errno != EAGAIN) {
        return errno;
    }
    if (t->flags & VFU_IRQ_FLAG_AUTOMASKED) {
        t->states[vector] |= IRQ_STATE_MASKED;
    }
    stats_count(&ctx->stats.irqs, 1);
    return 0;
}

VFU_EXPORT int vfu_irq_trigger_type(vfu_ctx_t *ctx, enum vfu_dev_irq_type type, uint32_t subindex)
{
    int err;

    if ((unsigned)type >= VFU_DEV_NUM_IRQS || subindex >= ctx->irqs[type].count) {
        return vfu_fail(EINVAL);
    }
    pthread_mutex_lock(&ctx->irq_lock);
    err = irq_signal(ctx, &ctx->irqs[type], subindex);
    pthread_mutex_unlock(&ctx->irq_lock);
    return err ? vfu_fail(err) : 0;
}

VFU_EXPORT int vfu_irq_trigger(vfu_ctx_t *ctx, uint32_t subindex)
{
    static const enum vfu_dev_irq_type order[] = { VFU_DEV_MSIX_IRQ, VFU_DEV_MSI_IRQ, VFU_DEV_INTX_IRQ };
    int err = EINVAL;

    pthread_mutex_lock(&ctx->irq_lock);
    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        IrqType *t = &ctx->irqs[order[i]];

        if (subindex >= t->count) {
            continue;
        }
        err = ENOENT;
        if (t->assigned) {
            err = irq_signal(ctx, t, subindex);
            break;
        }
    }
    pthread_mutex_unlock(&ctx->irq_lock);
    return err ? vfu_fail(err) : 0;
}

/* Masks or unmasks vectors, signals what was pending, then tells the device. */
static void irq_mask_range(vfu_ctx_t *ctx, IrqType *t, uint32_t start, uint32_t count, bool mask)
{
    pthread_mutex_lock(&ctx->irq_lock);
    for (uint32_t i = start; t->states && i < start + count; i++) {
        bool pending = t->states[i] & IRQ_STATE_PENDING;

        if (mask) {
            t->states[i] |= IRQ_STATE_MASKED;
            continue;
        }
        t->states[i] = 0;
        if (pending) {
            irq_signal(ctx, t, i);
        }
    }
    pthread_mutex_unlock(&ctx->irq_lock);
    if (t->state_cb) {
        t->state_cb(ctx, start, count, mask);
    }
}

/* MASK and UNMASK: each run of vectors that are meant. */
static int irq_set_mask(vfu_ctx_t *ctx, IrqType *t, const WireSetIrqs *s)
{
    bool mask = s->flags & WIRE_IRQ_MASK;
    uint32_t i = 0;

    while (i < s->count) {
        uint32_t begin = i;

        while (i < s->count && (s->bools == NULL || s->bools[i])) {
            i++;
        }
        if (i > begin) {
            irq_mask_range(ctx, t, s->start + begin, i - begin, mask);
        } else {
            i++;
        }
    }
    return 0;
}

/* Signalling must neither block nor raise SIGPIPE, whatever the client sent as an eventfd. */
static int irq_check_fd(int fd, bool read_too)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, &st) < 0) {
        return errno;
    }
    if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) {
        return EINVAL;
    }
    /* What is read must not be something that can be read for ever. */
    if (read_too && (S_ISREG(st.st_mode) || S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))) {
        return EINVAL;
    }
    return (flags & O_NONBLOCK) || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : errno;
}

/* TRIGGER with eventfds: takes them, or removes what is there. */
static int irq_assign(vfu_ctx_t *ctx, IrqType *t, const WireSetIrqs *s, WireMessage *m)
{
    int err = 0;

    for (unsigned i = 0; i < m->fd_count && err == 0; i++) {
        err = irq_check_fd(m->fds[i], false);
    }
    if (err) {
        return err;
    }
    pthread_mutex_lock(&ctx->irq_lock);
    if (t->fds == NULL && m->fd_count) {
        t->fds = malloc(t->count * sizeof(int));
        if (t->fds) {
            memset(t->fds, 0xff, t->count * sizeof(int));
        } else {
            err = ENOMEM;
        }
    }
    for (uint32_t i = 0; i < s->count && t->fds && err == 0; i++) {
        irq_set_fd(t, s->start + i, m->fd_count ? m->fds[i] : -1);
        if (m->fd_count) {
            m->fds[i] = -1;
        }
    }
    pthread_mutex_unlock(&ctx->irq_lock);
    return err;
}

int irq_unmask_fd(const vfu_ctx_t *ctx)
{
    return ctx->unmask_fd;
}

void irq_check_unmask_fd(vfu_ctx_t *ctx)
{
    uint64_t count;

    if (read(ctx->unmask_fd, &count, sizeof(count)) == sizeof(count)) {
        irq_mask_range(ctx, &ctx->irqs[VFU_DEV_INTX_IRQ], 0, 1, false);
    }
}

/* UNMASK with an eventfd: from now on signalling that unmasks INTx; without one that ends. */
static int irq_set_unmask(vfu_ctx_t *ctx, const IrqType *t, const WireSetIrqs *s, WireMessage *m)
{
    struct epoll_event event = { .events = EPOLLIN };
    int err;

    if (t != &ctx->irqs[VFU_DEV_INTX_IRQ] || !(t->flags & VFU_IRQ_FLAG_MASKABLE)) {
        return m->fd_count ? ENOTSUP : 0;
    }
    if (m->fd_count == 0) {
        irq_set_unmask_fd(ctx, -1);
        return 0;
    }
    err = irq_check_fd(m->fds[0], true);
    if (err == 0 && ctx->nb && epoll_ctl(ctx->epoll_fd, EPOLL_CTL_ADD, m->fds[0], &event) < 0) {
        err = errno;
    }
    if (err == 0) {
        irq_set_unmask_fd(ctx, m->fds[0]);
        m->fds[0] = -1;
    }
    return err;
}

static void irq_signal_range(vfu_ctx_t *ctx, IrqType *t, const WireSetIrqs *s)
{
    pthread_mutex_lock(&ctx->irq_lock);
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->bools == NULL || s->bools[i] == 1) {
            irq_signal(ctx, t, s->start + i);
        }
    }
    pthread_mutex_unlock(&ctx->irq_lock);
}

int irq_handle_set(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    WireSetIrqs s;
    IrqType *t;
    int err = wire_set_irqs_decode(&s, m->body, m->len, m->fd_count);

    if (err || s.index >= VFU_DEV_NUM_IRQS) {
        return EINVAL;
    }
    t = &ctx->irqs[s.index];
    if (s.start >= t->count || s.count > t->count - s.start) {
        return EINVAL;
    }
    if ((s.index == VFU_DEV_ERR_IRQ || s.index == VFU_DEV_REQ_IRQ) && (!(s.flags & WIRE_IRQ_TRIGGER) || s.count > 1)) {
        return EINVAL;
    }
    if ((s.flags & WIRE_IRQ_UNMASK) && (s.flags & WIRE_IRQ_DATA_EVENTFD)) {
        return irq_set_unmask(ctx, t, &s, m);
    }
    if (!(s.flags & WIRE_IRQ_TRIGGER)) {
        /* Nothing here would ever read an eventfd that stands for a mask. */
        if (s.flags & WIRE_IRQ_DATA_EVENTFD) {
            return m->fd_count ? ENOTSUP : 0;
        }
        return irq_set_mask(ctx, t, &s);
    }
    if (s.flags & WIRE_IRQ_DATA_EVENTFD) {
        return irq_assign(ctx, t, &s, m);
    }
    if (s.count == 0) {
        irq_release_type(ctx, t);
    } else {
        irq_signal_range(ctx, t, &s);
    }
    return 0;
}
