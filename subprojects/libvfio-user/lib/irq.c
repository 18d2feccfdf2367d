/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts: an array of eventfds for each type, set by the client, signalled by the device from any thread. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
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
    pthread_mutex_unlock(&ctx->irq_lock);
}

void irq_release_all(vfu_ctx_t *ctx)
{
    for (int i = 0; i < VFU_DEV_NUM_IRQS; i++) {
        irq_release_type(ctx, &ctx->irqs[i]);
    }
}

VFU_EXPORT int vfu_setup_device_nr_irqs(vfu_ctx_t *ctx, enum vfu_dev_irq_type type, uint32_t count)
{
    if ((unsigned)type >= VFU_DEV_NUM_IRQS) {
        return vfu_fail(EINVAL);
    }
    irq_release_type(ctx, &ctx->irqs[type]);
    ctx->irqs[type].count = count;
    return 0;
}

VFU_EXPORT int vfu_setup_irq_state_callback(vfu_ctx_t *ctx, enum vfu_dev_irq_type type, vfu_dev_irq_state_cb_t *cb)
{
    if ((unsigned)type >= VFU_DEV_NUM_IRQS) {
        return vfu_fail(EINVAL);
    }
    ctx->irqs[type].state_cb = cb;
    return 0;
}

int irq_handle_info(vfu_ctx_t *ctx, WireMessage *m, Reply *r)
{
    WireIrqInfo info;
    int err = wire_irq_info_decode(&info, m->body, m->len);

    if (err || info.index >= VFU_DEV_NUM_IRQS) {
        return EINVAL;
    }
    info = (WireIrqInfo){ .flags = WIRE_IRQ_EVENTFD, .index = info.index, .count = ctx->irqs[info.index].count };
    r->head_len = wire_irq_info_encode(r->head, &info);
    return 0;
}

/* Signals one vector; the lock is held. */
static int irq_signal(const IrqType *t, uint32_t vector)
{
    const uint64_t one = 1;

    if (t->fds == NULL || t->fds[vector] < 0) {
        return ENOENT;
    }
    /* A counter that is full is signalled already; a descriptor that is no eventfd is the client's own mistake. */
    if (write(t->fds[vector], &one, sizeof(one)) < 0 && errno != EAGAIN) {
        return errno;
    }
    return 0;
}

VFU_EXPORT int vfu_irq_trigger_type(vfu_ctx_t *ctx, enum vfu_dev_irq_type type, uint32_t subindex)
{
    int err;

    if ((unsigned)type >= VFU_DEV_NUM_IRQS || subindex >= ctx->irqs[type].count) {
        return vfu_fail(EINVAL);
    }
    pthread_mutex_lock(&ctx->irq_lock);
    err = irq_signal(&ctx->irqs[type], subindex);
    pthread_mutex_unlock(&ctx->irq_lock);
    return err ? vfu_fail(err) : 0;
}

VFU_EXPORT int vfu_irq_trigger(vfu_ctx_t *ctx, uint32_t subindex)
{
    static const enum vfu_dev_irq_type order[] = { VFU_DEV_MSIX_IRQ, VFU_DEV_MSI_IRQ, VFU_DEV_INTX_IRQ };
    int err = EINVAL;

    pthread_mutex_lock(&ctx->irq_lock);
    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        const IrqType *t = &ctx->irqs[order[i]];

        if (subindex >= t->count) {
            continue;
        }
        err = ENOENT;
        if (t->assigned) {
            err = irq_signal(t, subindex);
            break;
        }
    }
    pthread_mutex_unlock(&ctx->irq_lock);
    return err ? vfu_fail(err) : 0;
}

/* MASK and UNMASK: the device is told of each run of vectors that are meant. */
static int irq_set_mask(vfu_ctx_t *ctx, const IrqType *t, const WireSetIrqs *s)
{
    bool mask = s->flags & WIRE_IRQ_MASK;
    uint32_t i = 0;

    if (t->state_cb == NULL) {
        return 0;
    }
    while (i < s->count) {
        uint32_t begin = i;

        while (i < s->count && (s->bools == NULL || s->bools[i])) {
            i++;
        }
        if (i > begin) {
            t->state_cb(ctx, s->start + begin, i - begin, mask);
        } else {
            i++;
        }
    }
    return 0;
}

/* Signalling must neither block nor raise SIGPIPE, whatever the client sent as an eventfd. */
static int irq_check_fd(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, &st) < 0) {
        return errno;
    }
    if (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)) {
        return EINVAL;
    }
    return (flags & O_NONBLOCK) || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : errno;
}

/* TRIGGER with eventfds: takes them, or removes what is there. */
static int irq_assign(vfu_ctx_t *ctx, IrqType *t, const WireSetIrqs *s, WireMessage *m)
{
    int err = 0;

    for (unsigned i = 0; i < m->fd_count && err == 0; i++) {
        err = irq_check_fd(m->fds[i]);
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

static void irq_signal_range(vfu_ctx_t *ctx, IrqType *t, const WireSetIrqs *s)
{
    pthread_mutex_lock(&ctx->irq_lock);
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->bools == NULL || s->bools[i] == 1) {
            irq_signal(t, s->start + i);
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
    if (!(s.flags & WIRE_IRQ_TRIGGER)) {
        /* Nothing here would ever read an eventfd that stands for a mask. */
        return m->fd_count ? ENOTSUP : irq_set_mask(ctx, t, &s);
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
