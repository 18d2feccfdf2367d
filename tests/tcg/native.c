/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The host processor as reference.  A breakpoint enters a signal handler, which
 * exchanges the interrupted context for the wanted one; the exception that ends
 * the run enters it again and changes back.  The kernel thus saves and loads
 * every register, x87 with pending exceptions included.
 */
#include "tests/tcg/native.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { NATIVE_STACK_BYTES = 64 * 1024, XSTATE_BV_OFFSET = 512, XSTATE_X87_SSE = 3 };

/* Signal handlers have no argument of ours. */
static struct {
    NativeState *state;
    bool running;
    gregset_t gregs;
    uint8_t fx[NATIVE_FX_BYTES];
} native;

static const int native_gregs[16] = {
    REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

/* Bits of RFLAGS a test may set. */
enum { NATIVE_RFLAGS = 0xcd5 };

static void native_begin(mcontext_t *mc)
{
    const NativeState *state = native.state;
    uint64_t xstate;

    memcpy(native.gregs, mc->gregs, sizeof(native.gregs));
    memcpy(native.fx, mc->fpregs, sizeof(native.fx));
    for (unsigned i = 0; i < 16; i++) {
        mc->gregs[native_gregs[i]] = (greg_t)state->gpr[i];
    }
    mc->gregs[REG_RIP] = (greg_t)state->rip;
    mc->gregs[REG_EFL] =
        (mc->gregs[REG_EFL] & ~(greg_t)NATIVE_RFLAGS) | ((greg_t)state->rflags & NATIVE_RFLAGS);
    /* Software bytes at the end of the image describe the extended state behind it: keep them. */
    memcpy(mc->fpregs, state->fx, 464);
    memcpy(&xstate, (uint8_t *)mc->fpregs + XSTATE_BV_OFFSET, sizeof(xstate));
    xstate |= XSTATE_X87_SSE;
    memcpy((uint8_t *)mc->fpregs + XSTATE_BV_OFFSET, &xstate, sizeof(xstate));
    native.running = true;
}

static void native_end(mcontext_t *mc)
{
    NativeState *state = native.state;

    for (unsigned i = 0; i < 16; i++) {
        state->gpr[i] = (uint64_t)mc->gregs[native_gregs[i]];
    }
    state->rip = (uint64_t)mc->gregs[REG_RIP];
    state->rflags = (uint64_t)mc->gregs[REG_EFL];
    state->vector = (unsigned)mc->gregs[REG_TRAPNO];
    state->error = (uint64_t)mc->gregs[REG_ERR];
    state->cr2 = (uint64_t)mc->gregs[REG_CR2];
    memcpy(state->fx, mc->fpregs, 464);
    memcpy(mc->gregs, native.gregs, sizeof(native.gregs));
    memcpy(mc->fpregs, native.fx, 464);
    native.running = false;
    native.state = NULL;
}

static void native_handle_signal(int sig, siginfo_t *info, void *context)
{
    mcontext_t *mc = &((ucontext_t *)context)->uc_mcontext;

    if (!native.state) {
        /* Not ours: let it happen again and kill. */
        signal(sig, SIG_DFL);
        return;
    }
    if (native.running) {
        native_end(mc);
    } else {
        native_begin(mc);
    }
}

void native_init(void)
{
    static uint8_t stack[NATIVE_STACK_BYTES];
    const int signals[] = {SIGTRAP, SIGSEGV, SIGFPE, SIGILL, SIGBUS};
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_sigaction = native_handle_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    if (sigaltstack(&alt, NULL)) {
        perror("sigaltstack");
        abort();
    }
    for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (sigaction(signals[i], &action, NULL)) {
            perror("sigaction");
            abort();
        }
    }
}

void native_run(NativeState *state)
{
    native.state = state;
    __asm__ volatile("int3" : : : "memory");
}
