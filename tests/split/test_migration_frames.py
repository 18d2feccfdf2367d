# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames that come while a guest stands: from when its card's state was saved, and before a saved state is in its place, none of them
changes memory or registers, in process and behind a socket.  They wait, and come in when the guest goes on."""
import mmap
import socket
import struct
import time

import pytest

from machine import BAR0, Machine, closed_at_the_end, vfio_user
from remote_server import RemoteServer

RAM_SIZE, RING, BUFFERS, SLOTS = 64 << 20, 0x100000, 0x200000, 64
BUS_MASTER = 6
RCTL, RDBAL, RDLEN, RDH, RDT = 0x100, 0x2800, 0x2808, 0x2810, 0x2818
MAC = "52:54:00:12:34:56"


class E1000:
    """A ring of legacy descriptors, check sums left off (82540EM manual, 3.2.3)."""
    MODEL = "e1000"

    def __init__(self, machine):
        self.machine = machine
        machine.config_write(0x10, BAR0)
        machine.config_write(4, BUS_MASTER)
        machine.ram[RING:RING + SLOTS * 16] = b"".join(struct.pack("<QQ", BUFFERS + 2048 * n, 0) for n in range(SLOTS))
        for register, value in ((RDBAL, RING), (RDLEN, SLOTS * 16), (RDT, SLOTS - 1), (RCTL, 0x04008002)):
            machine.write(BAR0 + register, value)

    def registers(self):
        return self.machine.read(BAR0 + RDH)

    @staticmethod
    def frames(ram):
        found = []
        for n in range(SLOTS):
            _, length, _, status = struct.unpack_from("<QHHB", ram, RING + 16 * n)
            if not status & 1:
                break
            found.append(bytes(ram[BUFFERS + 2048 * n:BUFFERS + 2048 * n + length]))
        return found


class VirtioNet:
    """A split queue of buffers to be written to (virtio 1.2, 2.7 and 4.1.4)."""
    MODEL = "virtio-net-pci,disable-legacy=on,vectors=0"
    COMMON, NOTIFY = 1, 2
    HEADER = 12

    def __init__(self, machine):
        self.machine = machine
        places = dict(self.capabilities())
        machine.config_write(0x20, BAR0)
        machine.config_write(0x24, 0)
        machine.config_write(4, BUS_MASTER)
        self.common = BAR0 + places[self.COMMON]
        avail, used = RING + 0x1000, RING + 0x2000
        for n in range(SLOTS):
            machine.ram[RING + 16 * n:RING + 16 * n + 16] = struct.pack("<QIHH", BUFFERS + 2048 * n, 2048, 2, 0)
        machine.ram[avail:avail + 4 + 2 * SLOTS] = struct.pack(f"<HH{SLOTS}H", 0, SLOTS, *range(SLOTS))
        for status in (0, 1, 3):
            machine.write(self.common + 0x14, status, "b")
        for word, features in ((0, 0), (1, 1)):  # VIRTIO_F_VERSION_1 and nothing else
            machine.write(self.common + 0x08, word)
            machine.write(self.common + 0x0c, features)
        machine.write(self.common + 0x14, 11, "b")
        machine.write(self.common + 0x16, 0, "w")
        machine.write(self.common + 0x18, SLOTS, "w")
        for offset, place in ((0x20, RING), (0x28, avail), (0x30, used)):
            machine.write(self.common + offset, place)
            machine.write(self.common + offset + 4, 0)
        machine.write(self.common + 0x1c, 1, "w")
        machine.write(self.common + 0x14, 15, "b")
        machine.write(BAR0 + places[self.NOTIFY], 0, "w")

    def capabilities(self):
        """Kind and offset of each structure, all in BAR 4."""
        at = self.machine.config_read(0x34) & 0xff
        while at:
            head = self.machine.config_read(at)
            if head & 0xff == 9:
                yield head >> 24, self.machine.config_read(at + 8)
            at = head >> 8 & 0xff

    def registers(self):
        return self.machine.read(self.common + 0x14, "b")

    @classmethod
    def frames(cls, ram):
        used = RING + 0x2000
        count = struct.unpack_from("<H", ram, used + 2)[0]
        found = []
        for n in range(count):
            slot, length = struct.unpack_from("<II", ram, used + 4 + 8 * n)
            found.append(bytes(ram[BUFFERS + 2048 * slot + cls.HEADER:BUFFERS + 2048 * slot + length]))
        return found


class Side:
    """A machine with a card, in its own process or behind a socket, and the end of its wire."""

    def __init__(self, tmp, model, remote, *more):
        tmp.mkdir()
        self.near, self.tmp, self.server = tmp / "near", tmp, None
        wire = f"dgram,id=n0,local.type=unix,local.path={self.near},remote.type=unix,remote.path={tmp}/far"
        device = f"{model},id=card,netdev=n0,mac={MAC}"
        incoming = ("-incoming", "defer") if more else ()
        with open(tmp / "ram", "wb") as ram:
            ram.truncate(RAM_SIZE)
        shared = ["-object", f"memory-backend-file,id=mem,size=64M,share=on,mem-path={tmp}/ram", "-machine", "memory-backend=mem"]
        if remote:
            self.server = RemoteServer(tmp, "-netdev", wire, "-device", device, "-object",
                                       f"x-vfio-user-server,id=vfu0,type=unix,path={tmp}/card.sock,device=card", *incoming)
            args = vfio_user(tmp / "card.sock")
        else:
            args = ["-netdev", wire, "-device", f"{device},addr=4"]
        self.machine = Machine(tmp, *shared, *args, *incoming)
        self.file = open(tmp / "ram", "r+b")  # pylint: disable=consider-using-with
        self.machine.ram = mmap.mmap(self.file.fileno(), RAM_SIZE)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def send(self, first, count):
        for n in range(first, first + count):
            self.socket.sendto(frame(n), str(self.near))

    def turns(self):
        """Whoever would take a frame had the time for it: the loops of both processes went round several times."""
        for _ in range(20):
            self.machine.qmp("query-status")
            if self.server:
                self.server.qmp("query-status")
            self.machine.config_read(0)
            time.sleep(0.005)

    def until(self, status):
        while self.machine.qmp("query-status")["return"]["status"] != status:
            pass

    def close(self):
        self.socket.close()
        self.machine.ram.close()
        self.file.close()
        codes = [process.close() for process in (self.machine, self.server) if process]
        assert not any(codes), codes


def frame(number):
    return bytes.fromhex(MAC.replace(":", "")) + b"\x52\x54\0\0\0\1\x88\xb5" + b"frame %06d" % number + bytes(80)


def come_in(card, ram, first, count):
    """Those frames, in order, after what was there before."""
    while len(card.frames(ram)) < first + count:
        time.sleep(0.005)
    assert card.frames(ram) == [frame(n) for n in range(first + count)]


def save(side, path):
    assert side.machine.qmp("migrate", uri=f"file:{path}") == {"return": {}}
    while (said := side.machine.qmp("query-migrate")["return"])["status"] not in ("completed", "failed"):
        pass
    assert said["status"] == "completed", said


@pytest.fixture(name="start")
def fixture_start():
    yield from closed_at_the_end(Side)


@pytest.mark.parametrize("model", [E1000, VirtioNet])
@pytest.mark.parametrize("remote", [False, True])
def test_frames_wait_while_the_guest_stands(start, tmp_path, model, remote):
    source = start(tmp_path / "source", model.MODEL, remote)
    card = model(source.machine)
    source.send(0, 3)
    come_in(card, source.machine.ram, 0, 3)
    source.machine.qmp("stop")
    source.turns()  # what was under way is done
    registers = card.registers()
    save(source, tmp_path / "stream")
    memory = bytes(source.machine.ram)
    source.send(3, 8)
    source.turns()
    assert source.machine.ram[:] == memory
    assert remote or card.registers() == registers  # a card behind a socket has none in that state

    # Nor does what comes there first get in the way of what is loaded.
    target = start(tmp_path / "target", model.MODEL, remote, "-incoming")
    target.send(90, 1)
    target.turns()
    assert "return" in target.machine.qmp("migrate-incoming", uri=f"file:{tmp_path}/stream")
    target.until("paused")
    target.send(91, 1)
    target.turns()
    assert target.machine.ram[:] == memory
    card.machine = target.machine
    assert card.registers() == registers

    assert "return" in target.machine.qmp("cont")
    while len(card.frames(target.machine.ram)) < 5:
        time.sleep(0.005)
    assert card.frames(target.machine.ram) == [frame(n) for n in (0, 1, 2, 90, 91)]

    assert "return" in source.machine.qmp("cont")
    card.machine = source.machine
    come_in(card, source.machine.ram, 3, 8)
