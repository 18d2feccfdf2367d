# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/demo, both ways: the run that ends by itself, and the shell on a terminal."""
import os
import pathlib
import pty
import re
import select
import subprocess
import termios

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "scripts" / "demo")


def test_demo_runs_end_to_end():
    run = subprocess.run([DEMO], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    for pattern in (r"server: .*-machine x-remote,vfio-user=on", r"client: .*vfio-user-pci", r"boot to init +[0-9.]+ s",
                    r"written, synced +[0-9.]+ MiB/s", r"socket messages +[0-9.]+ per MiB", r"client memory +anon",
                    r"server memory +anon", r"interrupts .*nvme0q1", r"e2fsck clean"):
        assert re.search(pattern, run.stdout), f"no {pattern} in:\n{run.stdout}"
    vectors = re.findall(r"interrupts +\d+: +(\d+) .*nvme0q1", run.stdout)
    assert all(int(count) > 100 for count in vectors)


class Terminal:
    """A process on a pseudo-terminal of its own."""

    def __init__(self, command):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(command, stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                        start_new_session=True)
        self.text = ""

    def until(self, pattern):
        while not re.search(pattern, self.text):
            assert self.process.poll() is None, f"ended before {pattern}:\n{self.text}"
            if select.select([self.master], [], [], 1)[0]:
                self.text += os.read(self.master, 4096).decode(errors="replace")
        self.text = self.text[re.search(pattern, self.text).end():]

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self):
        while self.process.poll() is None:
            if select.select([self.master], [], [], 0.2)[0]:
                self.text += os.read(self.master, 4096).decode(errors="replace")
        after = termios.tcgetattr(self.slave)
        os.close(self.master)
        os.close(self.slave)
        return self.process.returncode, after


def test_shell_on_a_terminal():
    term = Terminal([DEMO, "--shell"])
    term.until(r"# (\x1b\[6n)?$")  # busybox asks for the cursor after the prompt
    assert termios.tcgetattr(term.slave)[3] & (termios.ICANON | termios.ECHO) == 0, "the terminal is not raw"
    term.type("echo answer-$((6*7))\n")
    term.until(r"answer-42\r*\n")
    term.type("grep -c nvme0q /proc/interrupts; ls /dev/nvme0n1\n")
    term.until(r"\n[1-9]\d*\r*\n/dev/nvme0n1")
    term.type("\x01x")
    status, after = term.end()
    assert status == 0, term.text
    assert after == term.before, "the terminal is not as it was"
    leftover = subprocess.run(["pgrep", "-f", "x-vfio-user-server.*mpqemu-demo"], capture_output=True, text=True, check=False)
    assert not leftover.stdout, "the server is still there"
