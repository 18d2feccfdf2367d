# SPDX-License-Identifier: GPL-2.0-or-later
"""What a model puts off (bottom halves, timers) waits while its device rests, and is done when it goes on, here or elsewhere: the state
was saved, and would not tell of it.  The order to rest comes in the same breath as the register that starts the work."""
import mmap
import os
import pathlib
import re
import socket
import struct
import sys
import threading
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from machine import ROOT  # noqa: E402
from remote_server import RemoteServer, attach, enable, eventfd, memory_file, nvme_args, signalled, until  # noqa: E402
from test_server_migration import RUNNING, STOP, STOP_COPY, load  # noqa: E402
from vfio_user import EVENTFD, FEATURE, INTX, MIG_STATE, NO_REPLY, NONE, REGION_WRITE, SET, TRIGGER, UNMASK, header  # noqa: E402

RAM_SIZE = 4 << 20
LONG = 0.2  # many times what anything here is put off for


class Rig:
    """Memory, and one process after the other that has a device in it."""

    def __init__(self, tmp, model):
        self.tmp, self.model = tmp, model
        self.fd = memory_file(RAM_SIZE)
        self.ram = mmap.mmap(self.fd, RAM_SIZE)
        self.servers, self.clients, self.irqs = [], [], []
        self.serve()
        enable(self.client, 7)
        model.prepare(self)

    def serve(self):
        number = len(self.servers)
        place = self.tmp / f"s{number}"
        place.mkdir()
        self.servers.append(RemoteServer(
            place, *self.model.arguments(self.tmp, number), *(("-incoming", "defer") if number else ()),
            "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={place}/sock,device=dev0"))
        self.client = attach(f"{place}/sock")
        self.clients.append(self.client)
        self.client.map(0, RAM_SIZE, fd=self.fd)
        self.irqs.append(eventfd())
        self.client.set_irqs(EVENTFD | TRIGGER, INTX, 0, 1, fds=[self.irqs[-1]])

    def put(self, address, layout, *values):
        struct.pack_into(layout, self.ram, address, *values)

    def get(self, address, layout="<I"):
        return struct.unpack_from(layout, self.ram, address)[0]

    def write(self, offset, value, size=4):
        self.client.write(self.model.bar, offset, value.to_bytes(size, "little"))

    def read(self, offset, size=4):
        return int.from_bytes(self.client.read(self.model.bar, offset, size), "little")

    def interrupted(self):
        return signalled(self.irqs[-1])

    def begin_and_rest(self, state):
        """In one breath: no bottom half runs in between."""
        offset, value = self.model.start
        write = struct.pack("<QIII", offset, self.model.bar, 4, value)
        halt = struct.pack("<IIII", 16, SET | MIG_STATE, state, 0)
        self.client.send_raw(header(REGION_WRITE, 16 + len(write), 1000, NO_REPLY) + write +
                             header(FEATURE, 16 + len(halt), 1001) + halt)
        assert self.client.receive().check().id == 1001
        self.model.at_rest(self)

    def rests(self):
        """Nothing changes in memory, nobody is interrupted, nothing goes out."""
        before, out = bytes(self.ram), self.model.sent(self)
        self.interrupted()
        for _ in range(20):
            self.client.state()  # its loop goes round
            time.sleep(LONG / 20)
        assert bytes(self.ram) == before, [hex(at) for at in range(0, RAM_SIZE, 4) if self.ram[at:at + 4] != before[at:at + 4]][:8]
        assert not self.interrupted()
        assert self.model.sent(self) == out

    def goes_on(self):
        self.model.before = bytes(self.ram)
        self.client.set_state(RUNNING)
        until(lambda: self.model.done(self), "what was put off")

    def end(self):
        for client in self.clients:
            client.close()
        for server in self.servers:
            assert server.close() == 0
        self.model.end()
        self.ram.close()
        for fd in (self.fd, *self.irqs):
            os.close(fd)


class Model:
    """`start`: the register that begins the work, and its value."""
    device, bar, start, before = None, 0, (0, 0), None

    def arguments(self, tmp, number):
        return ["-device", f"{self.device},id=dev0"]

    def prepare(self, rig):
        pass

    def at_rest(self, rig):
        pass

    def sent(self, rig):
        """What went out."""

    def end(self):
        pass


class EduFactorial(Model):
    device, start = "edu", (8, 6)

    def prepare(self, rig):
        rig.write(0x20, 0x80)  # STATUS: with an interrupt

    def done(self, rig):
        return rig.read(8) == 720 and rig.interrupted()


class EduTransfer(Model):
    device, start = "edu", (0x98, 7)

    def prepare(self, rig):
        for register, value in ((0x80, 0x40000), (0x88, 0x1000), (0x90, 4)):
            rig.write(register, value, 8)
        rig.put(0x1000, "<I", 0x11223344)

    def done(self, rig):
        return rig.get(0x1000) == 0 and rig.interrupted()


class Tick(Model):
    device, start = "tick", (0, 3)

    def prepare(self, rig):
        rig.write(8, 5000)
        rig.write(0x10, 0x1000, 8)

    def done(self, rig):
        return rig.get(0x1000) and rig.interrupted()


class Card(Model):
    """An e1000 and the far end of its wire."""
    frames = 262  # six more than it sends in one go; the back end holds as many

    def __init__(self):
        self.heard, self.wire = [], socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def arguments(self, tmp, number):
        if not number:
            self.wire.bind(str(tmp / "wire"))
            self.thread = threading.Thread(target=self.listen, daemon=True)
            self.thread.start()
        return ["-netdev", f"dgram,id=n0,local.type=unix,local.path={tmp}/card{number},remote.type=unix,remote.path={tmp}/wire",
                "-device", "e1000,netdev=n0,id=dev0"]

    def listen(self):
        while frame := self.wire.recv(2048):
            self.heard.append(struct.unpack_from("<I", frame, 14)[0])

    def end(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self.wire.getsockname())
        self.thread.join()
        self.wire.close()


class CardFrames(Card):
    """Each goes out once in the end."""
    start = (0x3818, Card.frames)

    def prepare(self, rig):
        for n in range(self.frames):
            rig.put(0x20000 + n * 64, "<14xI", n)
            rig.put(0x10000 + n * 16, "<QI", 0x20000 + n * 64, 0x0b000000 | 60)  # EOP, IFCS, RS
        for register, value in ((0x3800, 0x10000), (0x3808, 1024 * 16), (0x400, 0xa)):  # TDBAL, TDLEN, TCTL
            rig.write(register, value)

    def sent(self, rig):
        """The back end may still have some of those that the ring says are sent."""
        count = sum(rig.get(0x10000 + n * 16 + 12) & 1 for n in range(self.frames))
        until(lambda: len(self.heard) >= count, "the frames")
        return len(self.heard)

    def done(self, rig):
        return rig.get(0x10000 + (self.frames - 1) * 16 + 12) & 1 and self.heard == list(range(self.frames))


class CardThrottled(Card):
    """The second interrupt waits for ITR."""
    start = (0xc8, 2)  # ICS

    def prepare(self, rig):
        rig.write(0xc4, 0xffff)  # ITR: 17 ms
        rig.write(0xd0, 2)
        rig.write(*self.start)
        until(rig.interrupted, "the first interrupt")
        assert rig.read(0xc0) == 2
        rig.client.set_irqs(NONE | UNMASK, INTX, 0, 1)

    def done(self, rig):
        return rig.interrupted()


class NvmeCommands(Model):
    """More than are taken of one queue in one go."""
    commands = 200
    start = (0x1000, 200)

    def arguments(self, tmp, number):
        return [word.replace("nvme0", "dev0") for word in nvme_args(tmp)]

    def prepare(self, rig):
        for n in range(self.commands):
            rig.put(0x10000 + n * 64, "<I36xI", 0x0a | n << 16, 7)  # Get Features: number of queues
        for register, value in ((0x24, 0x00ff00ff), (0x28, 0x10000), (0x30, 0x20000), (0x14, 0x460001)):
            rig.write(register, value)
        until(lambda: rig.read(0x1c) & 1, "CSTS.RDY")

    def done(self, rig):
        return rig.get(0x20000 + (self.commands - 1) * 16 + 12) >> 16 & 1


class NvmeBuffer(NvmeCommands):
    """What is left in the doorbell buffer is not looked for."""
    start = (0xc, 0)

    def prepare(self, rig):
        commands = ((5, 0x30000, 0x000f0001, 1), (1, 0x40000, 0x000f0001, 0x00010001))  # queues 1, of 16
        super().prepare(rig)
        for n, (opcode, prp, *words) in enumerate(commands):
            rig.put(0x10000 + n * 64, "<I20xQQII", opcode | n << 16, prp, 0, *words)
        rig.put(0x10000 + 128, "<I20xQQ", 0x7c | 2 << 16, 0x50000, 0x51000)
        rig.write(0x1000, 3)
        until(lambda: rig.get(0x20000 + 2 * 16 + 12) >> 16 & 1, "the doorbell buffer")
        assert not any(rig.get(0x20000 + n * 16 + 12) >> 17 for n in range(3))

    def at_rest(self, rig):
        rig.put(0x40000, "<II16xQQII", 2, 1, 0x60000, 0, 0, 0)
        rig.put(0x50008, "<I", 1)

    def done(self, rig):
        return rig.get(0x3000c) >> 16 & 1


class Ahci(Model):
    """Commands after the first of a port."""
    bar, start = 5, (0x138, 0xf)

    def arguments(self, tmp, number):
        return [*nvme_args(tmp)[:2], "-device", "ich9-ahci,id=dev0", "-device", "ide-hd,bus=dev0.0,drive=d0"]

    def prepare(self, rig):
        for n in range(4):
            rig.put(0x10000 + n * 32, "<IIQ", 5 | 1 << 16, 0, 0x20000 + n * 0x1000)
            rig.put(0x20000 + n * 0x1000, "<4B3xB4xB", 0x27, 0x80, 0x25, 0, 0x40, 1)  # READ DMA EXT
            rig.put(0x30000 + n * 512, "<I", 0x11223344)
            rig.put(0x20000 + n * 0x1000 + 0x80, "<QII", 0x30000 + n * 512, 0, 511)
        for register, value in ((4, 0x80000002), (0x100, 0x10000), (0x108, 0x12000), (0x114, 0xff), (0x118, 0x16), (0x118, 0x17)):
            rig.write(register, value)

    def done(self, rig):
        return rig.read(0x138) == 0 and not any(rig.get(0x30000 + n * 512) for n in range(4))


class LsiScript(Model):
    """A script that never ends: it adds, stores and jumps."""
    device, bar, start = "lsi53c895a", 1, (0x2c, 0x1000)

    def prepare(self, rig):
        rig.put(0x1000, "<6I", 0x7e340100, 0, 0xe0340004, 0x2000, 0x80080000, 0x1000)

    def done(self, rig):
        return rig.get(0x2000) != struct.unpack_from("<I", self.before, 0x2000)[0]


class LsiTimer(Model):
    """The general purpose timer."""
    device, bar, start = "lsi53c895a", 1, (0x48, 0x0900)  # STIME1: 25 ms

    def prepare(self, rig):
        rig.write(0x41, 2, 1)  # SIEN1.GEN

    def done(self, rig):
        return rig.interrupted()


@pytest.fixture(name="rest")
def fixture_rest(tmp_path):
    rigs = []

    def rest(model):
        rigs.append(Rig(tmp_path, model()))
        return rigs[-1]

    yield rest
    for rig in rigs:
        rig.end()


MODELS = [EduFactorial, EduTransfer, Tick, CardFrames, CardThrottled, NvmeCommands, NvmeBuffer, Ahci, LsiScript, LsiTimer]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("state", [STOP, STOP_COPY])
def test_rests_and_goes_on(rest, model, state):
    """The move came to nothing."""
    rig = rest(model)
    rig.begin_and_rest(state)
    rig.rests()
    rig.goes_on()


@pytest.mark.parametrize("model", MODELS)
def test_goes_on_elsewhere(rest, model):
    rig = rest(model)
    rig.begin_and_rest(STOP_COPY)
    rig.rests()
    data = b""
    while piece := rig.client.mig_read(65536):
        data += piece
    rig.serve()
    load(rig.client, data)
    rig.rests()
    rig.goes_on()


@pytest.mark.parametrize("models", ["char", "display", "ide", "misc", "net", "nvme", "scsi", "virtio"])
def test_whatever_is_put_off_has_a_gate(models):
    """A bottom half or timer of its own loop would go on at rest."""
    sources = sorted((ROOT / "hw" / models).glob("*.c"))
    assert sources
    assert [str(path) for path in sources if re.search(r"\b(loop_bh_new|timer_new)\(", path.read_text("utf-8"))] == []
