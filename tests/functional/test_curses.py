# SPDX-License-Identifier: GPL-2.0-or-later
"""-display curses in a pseudo-terminal: what it shows is what is in the VGA's memory, and keys go the other way."""
import fcntl
import os
import pathlib
import pty
import re
import struct
import subprocess
import termios
import threading
import time

import pytest
import test_vnc

BINARY = test_vnc.BINARY
ESCAPE = re.compile("\x1b(?:\\[([?0-9;]*)([A-Za-z])|[()].|.)", re.S)


class Terminal:
    """A vt100 of 30 lines of 100 characters, as much of it as ncurses uses."""

    def __init__(self):
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.found = termios.tcgetattr(self.slave)
        self.rows, self.y, self.x, self.text = [[" "] * 100 for _ in range(30)], 0, 0, ""
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while True:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            self.text += data.decode("utf-8", "replace")
            self.digest()

    def digest(self):
        while self.text:
            if self.text[0] == "\x1b":
                match = ESCAPE.match(self.text)
                if not match:
                    return  # the rest is to come
                self.text = self.text[match.end():]
                self.control(match.group(2), [int(n or 0) for n in re.findall(r"\d+|(?<=;)(?=;|$)", match.group(1) or "")])
                continue
            c, self.text = self.text[0], self.text[1:]
            if c == "\r":
                self.x = 0
            elif c == "\n":
                self.y += 1
            elif c == "\b":
                self.x -= 1
            elif c >= " ":
                self.rows[self.y][min(self.x, 99)] = c
                self.x += 1

    def control(self, kind, args):
        first = args[0] if args else 0
        if kind == "H":
            self.y, self.x = max(first, 1) - 1, (max(args[1], 1) if len(args) > 1 else 1) - 1
        elif kind in ("A", "B"):
            self.y += max(first, 1) * (1 if kind == "B" else -1)
        elif kind in ("C", "D"):
            self.x += max(first, 1) * (1 if kind == "C" else -1)
        elif kind in ("J", "K"):
            start, end = (0, self.x + 1) if first == 1 else (self.x, 100)
            self.rows[self.y][start:end] = [" "] * (end - start)
            for row in self.rows[self.y + 1:] if kind == "J" else []:
                row[:] = [" "] * 100

    def screen(self):
        return "".join("".join(row[:80]) for row in self.rows[:25])

    def send(self, data):
        os.write(self.master, data)

    def close(self):
        os.close(self.slave)
        os.close(self.master)


@pytest.fixture(name="terminal")
def terminal_fixture():
    terminal = Terminal()
    yield terminal
    terminal.close()


class CursesMachine(test_vnc.Machine):
    def __init__(self, work, terminal, *args):  # pylint: disable=super-init-not-called
        self.process = subprocess.Popen([BINARY, "-machine", "q35,accel=tcg", "-m", "64", "-nodefaults", "-vga", "std", "-display", "curses",
                                         "-qmp", f"unix:{work}/qmp,server=on,wait=off", *args], stdin=terminal.slave, stdout=terminal.slave,
                                        stderr=subprocess.PIPE, env={**os.environ, "TERM": "vt100", "LC_ALL": "C.UTF-8"})
        self.work, self.events = work, []
        self.qmp = self.connect("qmp")
        self.qmp.readline()
        self.run("qmp_capabilities")


def test_boot_menu_in_a_terminal(tmp_path, terminal):
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    m = CursesMachine(tmp_path, terminal, "-boot", "menu=on,splash-time=60000", "-drive", f"id=d0,file={tmp_path}/disk,format=raw,if=none",
                      "-device", "virtio-blk-pci,drive=d0")
    try:
        while "Press ESC for boot menu" not in terminal.screen():
            assert m.process.poll() is None, m.process.stderr.read()
            time.sleep(0.02)
        terminal.send(b"\x1b")
        while "Select boot device:" not in terminal.screen():
            time.sleep(0.02)
        test_vnc.wait_for_text(m, "Select boot device:")
        while terminal.screen() != test_vnc.text_of(m):  # soon they are the same
            time.sleep(0.02)
        terminal.send(b"1")
        while "Booting from" not in terminal.screen():
            time.sleep(0.02)
        m.run("quit")
        assert m.process.wait() == 0
        assert termios.tcgetattr(terminal.slave) == terminal.found, "the terminal is not as it was"
    finally:
        m.close()


def test_keys_reach_the_guest(tmp_path, terminal):
    """A boot sector that shows the characters that int 16h gives."""
    code = bytes.fromhex("31c0cd16b30fb40ecd10ebf4")  # xor ax,ax; int 16h; mov bl,0fh; mov ah,0eh; int 10h; jmp
    (tmp_path / "disk").write_bytes(code.ljust(510, b"\x90") + b"\x55\xaa" + bytes(1 << 20))
    m = CursesMachine(tmp_path, terminal, "-drive", f"id=d0,file={tmp_path}/disk,format=raw,if=none", "-device", "virtio-blk-pci,drive=d0")
    try:
        test_vnc.wait_for_text(m, "Booting from Hard Disk...")
        words = "abc XYZ 0123 !@#$%^&*() _+{}|:<>? -=[];',./`~"
        terminal.send(words.encode())
        while words not in terminal.screen():
            assert m.process.poll() is None
            time.sleep(0.02)
    finally:
        m.close()


def test_not_without_a_terminal(terminal):
    base = [BINARY, "-accel", "qtest", "-nodefaults", "-display", "curses"]
    for args, env, words in (([], "vt100", "must be a terminal"), (["-nographic"], "vt100", "cannot be used with -nographic"),
                             (["-daemonize"], "vt100", "cannot be used with -daemonize")):
        done = subprocess.run([*base, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env={**os.environ, "TERM": env})
        assert done.returncode == 1 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
    for args, env, words in ((["-serial", "stdio"], "vt100", "the terminal is in use"), ([], "no-such-terminal", "cannot use this terminal (TERM=no-such-terminal)")):
        done = subprocess.run([*base, *args], stdin=terminal.slave, stdout=terminal.slave, stderr=subprocess.PIPE, text=True, check=False,
                              env={**os.environ, "TERM": env})
        assert done.returncode == 1 and words in done.stderr, done.stderr
        assert termios.tcgetattr(terminal.slave) == terminal.found
