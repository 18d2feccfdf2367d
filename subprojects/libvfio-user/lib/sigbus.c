/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client that truncates a file it has mapped into the device's memory must not kill the server: touching what is gone raises
 * SIGBUS.  A handler puts zero pages under the access and ends that client's connection; any other SIGBUS goes on to
 * the handler there was before.
 *
 * A signal handler belongs to the process, so this is the one place with process-wide state: a list of the mappings, which
 * only grows (nodes are used again), so that the handler may walk it at any time.
 */
#include <errno.h>
#include <signal.h>

#include "private.h"

struct SigbusGuard {
    struct SigbusGuard *next, *next_free;
    _Atomic uintptr_t base;     /* 0: not in use */
    _Atomic size_t length;
    size_t page_size;
    int prot;
    vfu_ctx_t *ctx;
};

static _Atomic(SigbusGuard *) guards;
static SigbusGuard *free_guards;
static pthread_mutex_t guards_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous;
static _Thread_local volatile sig_atomic_t passing_on;

/* Puts zero pages from the one at address to the end of the mapping. */
static bool guard_repair(SigbusGuard *g, uintptr_t address)
{
    uintptr_t base = atomic_load(&g->base), page = address & ~(uintptr_t)(g->page_size - 1);
    size_t length = atomic_load(&g->length);

    if (base == 0 || address < base || address - base >= length || base != atomic_load(&g->base)) {
        return false;
    }
    if (mmap((void *)page, base + length - page, g->prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
             0) == MAP_FAILED) {
        return false;
    }
    /* Mapped regions go before their connection: it is there. */
    wire_stream_shutdown(g->ctx->stream);
    return true;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    int saved = errno;

    for (SigbusGuard *g = atomic_load(&guards); info->si_code == BUS_ADRERR && g; g = g->next) {
        if (guard_repair(g, (uintptr_t)info->si_addr)) {
            errno = saved;
            return;
        }
    }
    errno = saved;
    if (passing_on) {
        /* The handler before ours is one that had ours before it. */
        signal(SIGBUS, SIG_DFL);
        return;
    }
    passing_on = 1;
    if (previous.sa_flags & SA_SIGINFO) {
        previous.sa_sigaction(number, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(number);
    } else {
        /* The access comes again and then ends the process, as it would have without us. */
        signal(SIGBUS, SIG_DFL);
    }
    passing_on = 0;
}

/* Installs the handler unless it is there; the lock is held. */
static void install_handler(void)
{
    struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK }, now;

    if (sigaction(SIGBUS, NULL, &now) == 0 && now.sa_sigaction != on_sigbus) {
        previous = now;
        sigemptyset(&action.sa_mask);
        sigaction(SIGBUS, &action, NULL);
    }
}

SigbusGuard *sigbus_guard(vfu_ctx_t *ctx, const vfu_dma_info_t *info)
{
    SigbusGuard *g;

    pthread_mutex_lock(&guards_lock);
    install_handler();
    g = free_guards;
    if (g) {
        free_guards = g->next_free;
    } else {
        g = calloc(1, sizeof(*g));
        if (g) {
            g->next = atomic_load(&guards);
            atomic_store(&guards, g);
        }
    }
    if (g) {
        g->ctx = ctx;
        g->page_size = info->page_size;
        g->prot = (int)info->prot;
        atomic_store(&g->length, info->mapping.iov_len);
        atomic_store(&g->base, (uintptr_t)info->mapping.iov_base);
    }
    pthread_mutex_unlock(&guards_lock);
    return g;
}

void sigbus_unguard(SigbusGuard *g)
{
    if (g == NULL) {
        return;
    }
    pthread_mutex_lock(&guards_lock);
    atomic_store(&g->base, 0);
    g->next_free = free_guards;
    free_guards = g;
    pthread_mutex_unlock(&guards_lock);
}
