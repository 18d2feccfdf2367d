/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory of compiled code: one file mapped twice, so that no page is ever writable and executable. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "accel/tcg/jit/jit-private.h"

#define JIT_BYTES (32u << 20)

/* 0 bytes asked of a host that has no such mapping: no compiler. */
static bool map_twice(Jit *jit)
{
    int fd = memfd_create("tcg-code", MFD_CLOEXEC);
    void *write = MAP_FAILED, *run = MAP_FAILED;

    if (fd < 0 || ftruncate(fd, JIT_BYTES)) {
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    write = mmap(NULL, JIT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    run = mmap(NULL, JIT_BYTES, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    close(fd);
    if (write == MAP_FAILED || run == MAP_FAILED) {
        if (write != MAP_FAILED) {
            munmap(write, JIT_BYTES);
        }
        if (run != MAP_FAILED) {
            munmap(run, JIT_BYTES);
        }
        return false;
    }
    jit->write = write;
    jit->run = run;
    jit->size = JIT_BYTES;
    return true;
}

Jit *x86_jit_new(void)
{
    Jit *jit = calloc(1, sizeof(*jit));

    if (!jit || !map_twice(jit)) {
        free(jit);
        return NULL;
    }
    jit_make_stubs(jit);
    return jit;
}

void x86_jit_free(Jit *jit)
{
    if (jit) {
        munmap(jit->write, jit->size);
        munmap(jit->run, jit->size);
        free(jit);
    }
}

void x86_jit_flush(X86Cpu *cpu)
{
    cpu->jit->used = cpu->jit->begin;
}
