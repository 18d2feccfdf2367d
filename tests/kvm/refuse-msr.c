/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A host that lists a model-specific register and then refuses it: preloaded, lets
 * KVM_SET_MSRS (Linux's Documentation/virt/kvm/api.rst, 4.19) end before the one of REFUSED_MSR.
 */
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int ioctl(int fd, unsigned long request, ...);

int ioctl(int fd, unsigned long request, ...)
{
    const char *refused = getenv("REFUSED_MSR");
    va_list args;
    void *arg;

    va_start(args, request);
    arg = va_arg(args, void *);
    va_end(args);
    if (request == KVM_SET_MSRS && refused) {
        struct kvm_msrs *msrs = arg;
        unsigned before = 0;

        while (before < msrs->nmsrs && msrs->entries[before].index != strtoul(refused, NULL, 0)) {
            before++;
        }
        if (!before) {
            return 0;
        }
        msrs->nmsrs = before;
    }
    return (int)syscall(SYS_ioctl, fd, request, arg);
}
