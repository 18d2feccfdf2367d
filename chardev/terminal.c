/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Raw mode of the controlling terminal, and putting it back: termios(3).
 */
#include "terminal.h"

#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static const int terminal_fatal_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};

static struct termios terminal_saved;
static volatile sig_atomic_t terminal_changed;

void terminal_restore(void)
{
    if (terminal_changed) {
        terminal_changed = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &terminal_saved);
    }
}

static void terminal_fatal(int sig)
{
    terminal_restore();
    /* The handler was reset on entry: the signal now does what it does. */
    raise(sig);
}

/* Leaves alone what somebody else (a sanitizer) has taken over. */
static void terminal_guard_signals(void)
{
    for (size_t i = 0; i < sizeof(terminal_fatal_signals) / sizeof(terminal_fatal_signals[0]); i++) {
        struct sigaction old,
            guard = {.sa_handler = terminal_fatal, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};

        if (sigaction(terminal_fatal_signals[i], NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) &&
            old.sa_handler == SIG_DFL) {
            sigemptyset(&guard.sa_mask);
            sigaction(terminal_fatal_signals[i], &guard, NULL);
        }
    }
}

void terminal_set_raw(bool signals)
{
    struct termios raw;

    if (terminal_changed || tcgetattr(STDIN_FILENO, &terminal_saved) != 0) {
        return;
    }
    raw = terminal_saved;
    raw.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN);
    if (!signals) {
        raw.c_lflag &= ~(tcflag_t)ISIG;
    }
    raw.c_cflag = (raw.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    terminal_guard_signals();
    atexit(terminal_restore);
    terminal_changed = 1;
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}
