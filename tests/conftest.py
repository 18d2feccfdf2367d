# SPDX-License-Identifier: GPL-2.0-or-later
"""Ends what hangs, and says where it hung.

A test that waits for a machine has no limit of its own, for a busy host is slow and not wrong.  This one is so far
beyond what any test takes that only a hang reaches it; it then prints where each process stands, kills them and fails.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

HANGS_AFTER_S = 900


def children(pid):
    """Every process below `pid`, deepest last."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text(encoding="ascii").split():
            found += [int(child), *children(child)]
    return found


def say_where(pid):
    name = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    print(f"--- process {pid}: {name}", file=sys.stderr)
    if "qemu-system" in name and shutil.which("gdb"):
        subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt 12"], stdout=sys.stderr,
                       stderr=subprocess.DEVNULL, check=False)


def end_what_hangs(_signal, _frame):
    for pid in children(os.getpid()):
        try:
            say_where(pid)
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass  # it ended meanwhile
    pytest.fail(f"hangs: no end after {HANGS_AFTER_S} s")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol():
    before = signal.signal(signal.SIGALRM, end_what_hangs)
    signal.alarm(HANGS_AFTER_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
