/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Mapped BARs are files of the far side, which may cut them short: then an access is a SIGBUS (mmap(2)).  A
 * handler puts a page of zeros there and marks the device as lost; signals of other origin go on to whoever
 * had them.  Signal handlers belong to the process, and so does the table of what is guarded.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hw/vfio/vfio-internal.h"

#define GUARD_MAX 256

typedef struct Guard {
    uintptr_t start, size; /* size 0: free; atomic */
    bool *lost;
} Guard;

static Guard guards[GUARD_MAX];
static GMutex guards_lock; /* changes of the table */
static struct sigaction former;

static bool guard_hit(uintptr_t addr)
{
    uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);

    for (unsigned i = 0; i < GUARD_MAX; i++) {
        uintptr_t size = __atomic_load_n(&guards[i].size, __ATOMIC_ACQUIRE);

        if (addr >= guards[i].start && addr - guards[i].start < size) {
            __atomic_store_n(guards[i].lost, true, __ATOMIC_RELAXED);
            return mmap((void *)(addr & ~(page_size - 1)), page_size, PROT_READ | PROT_WRITE,
                        MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
        }
    }
    return false;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    int saved = errno;

    if (guard_hit((uintptr_t)info->si_addr)) {
        errno = saved;
    } else if (former.sa_flags & SA_SIGINFO) {
        former.sa_sigaction(sig, info, context);
    } else if (former.sa_handler != SIG_DFL && former.sa_handler != SIG_IGN) {
        former.sa_handler(sig);
    } else {
        signal(sig, SIG_DFL); /* the access repeats, and ends the process */
    }
}

bool vfio_guard_add(void *host, uint64_t size, bool *lost)
{
    bool found = false;
    struct sigaction now;

    g_mutex_lock(&guards_lock);
    if (!sigaction(SIGBUS, NULL, &now) && now.sa_sigaction != on_sigbus) {
        const struct sigaction ours = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};

        former = now;
        sigaction(SIGBUS, &ours, NULL);
    }
    for (unsigned i = 0; !found && i < GUARD_MAX; i++) {
        if (!guards[i].size) {
            guards[i].start = (uintptr_t)host;
            guards[i].lost = lost;
            __atomic_store_n(&guards[i].size, size, __ATOMIC_RELEASE);
            found = true;
        }
    }
    g_mutex_unlock(&guards_lock);
    return found;
}

void vfio_guard_remove(void *host)
{
    g_mutex_lock(&guards_lock);
    for (unsigned i = 0; i < GUARD_MAX; i++) {
        if (guards[i].size && guards[i].start == (uintptr_t)host) {
            __atomic_store_n(&guards[i].size, 0, __ATOMIC_RELEASE);
        }
    }
    g_mutex_unlock(&guards_lock);
}
