# SPDX-License-Identifier: GPL-2.0-or-later
"""What is typed at a serial port while its machine moves comes out once: at the destination, or at the source when the move fails."""
import os
import socket
import struct
import threading
import time

import pytest

from machine import SHARED_RAM, START_TIMEOUT, Machine, closed_at_the_end, vfio_user
from remote_server import RemoteServer

PORT, BYTES = 0xc000, 2000
RBR, FCR, LSR = 0, 2, 5


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


HEAD = struct.pack("<II", 14, 0)
AGREED = HEAD + struct.pack("<I", crc32c(HEAD)) * 2  # a record without a payload (migration/record.h)


class Side:
    """A machine with a serial port, its own or one behind a socket, whose line comes from a pipe that several may open."""

    def __init__(self, tmp, pipe, remote, *more):
        tmp.mkdir()
        line = ("-chardev", f"pipe,id=line,path={pipe}")
        card = ("-device", "pci-serial,id=port,chardev=line,addr=4")
        self.server = RemoteServer(tmp, *line, *card, "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={tmp}/port.sock,device=port",
                                   *(("-incoming", "defer") if more else ())) if remote else None
        self.machine = Machine(tmp, *SHARED_RAM, *(vfio_user(tmp / "port.sock") if remote else (*line, *card)), *more)

    def begin(self):
        self.machine.config_write(0x10, PORT)
        self.machine.config_write(4, 1)
        self.machine.qtest(f"outb {PORT + FCR:#x} 1")

    def get(self, count):
        data, end = b"", time.monotonic() + START_TIMEOUT
        while len(data) < count:
            assert time.monotonic() < end, data
            if int(self.machine.qtest(f"inb {PORT + LSR:#x}"), 16) & 1:
                data += bytes([int(self.machine.qtest(f"inb {PORT + RBR:#x}"), 16)])
        return data

    def migrate(self, uri):
        assert self.machine.qmp("migrate", uri=uri) == {"return": {}}
        while (said := self.machine.qmp("query-migrate")["return"])["status"] not in ("completed", "failed"):
            time.sleep(0.002)
        return said["status"]

    def until(self, status):
        while self.machine.qmp("query-status")["return"]["status"] != status:
            time.sleep(0.002)

    def close(self):
        codes = [process.close() for process in (self.machine, self.server) if process]
        assert not any(codes), codes


@pytest.fixture(name="start")
def fixture_start():
    yield from closed_at_the_end(Side)


@pytest.fixture(name="pipe")
def fixture_pipe(tmp_path):
    for end in ("in", "out"):
        os.mkfifo(tmp_path / f"line.{end}")
    return tmp_path / "line"


class Typist(threading.Thread):
    def __init__(self, pipe):
        super().__init__()
        self.text = bytes(33 + n % 90 for n in range(BYTES))
        self.fd = os.open(f"{pipe}.in", os.O_RDWR)
        self.start()

    def run(self):
        for n in range(BYTES):
            os.write(self.fd, self.text[n:n + 1])
            time.sleep(0.0005)

    def end(self):
        self.join()
        os.close(self.fd)


@pytest.mark.parametrize("remote", [False, True])
def test_typed_while_it_moves(start, tmp_path, pipe, remote):
    source = start(tmp_path / "source", pipe, remote)
    source.begin()
    target = start(tmp_path / "target", pipe, remote, "-incoming", f"unix:{tmp_path}/stream")
    typist = Typist(pipe)
    text = source.get(100)
    assert source.migrate(f"unix:{tmp_path}/stream") == "completed"
    target.until("running")
    text += target.get(BYTES - len(text))
    typist.end()
    assert text == typist.text


@pytest.mark.parametrize("remote", [False, True])
def test_typed_while_a_move_fails(start, tmp_path, pipe, remote):
    source = start(tmp_path / "source", pipe, remote)
    source.begin()
    typist = Typist(pipe)
    text = source.get(100)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "stream"))
        listener.listen(1)
        assert source.machine.qmp("migrate", uri=f"unix:{tmp_path}/stream") == {"return": {}}
        far, _ = listener.accept()
        with far:  # agrees, takes everything, and never says that it has it
            far.sendall(AGREED)
            far.settimeout(0.1)
            while source.machine.qmp("query-status")["return"]["status"] == "running":
                try:
                    far.recv(1 << 20)
                except TimeoutError:
                    pass
            time.sleep(0.1)
    source.until("running")
    text += source.get(BYTES - len(text))
    typist.end()
    assert text == typist.text


def test_typed_while_it_stands(start, tmp_path, pipe):
    """Saved with what was in its FIFO; what came then is not in the stream, and not lost."""
    source = start(tmp_path / "source", pipe, False)
    source.begin()
    fd = os.open(f"{pipe}.in", os.O_RDWR)
    os.write(fd, b"before")
    assert source.get(2) == b"be"
    source.machine.qmp("stop")
    os.write(fd, b" and after")
    assert source.migrate(f"file:{tmp_path}/stream") == "completed"
    os.write(fd, b" it stood")
    target = start(tmp_path / "target", pipe, False, "-incoming", f"file:{tmp_path}/stream")
    target.until("paused")
    assert target.get(4) == b"fore"
    assert int(target.machine.qtest(f"inb {PORT + LSR:#x}"), 16) & 1 == 0
    target.machine.qmp("cont")
    assert target.get(19) == b" and after it stood"
    os.close(fd)
