# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that counts, and writes and reads where the test tells it; and an NVMe driver for it whose queues the test keeps."""
import json
import struct
import subprocess
import time

from bare_guest import COUNTER, Guest, config_write, increment, load, save, store
from machine import BAR0, BINARY

OP, ADDRESS, VALUE = 0x200010, 0x200014, 0x200018
WRITE, READ = 1, 2
ASQ, ACQ, SQ, CQ, DATA = 0x300000, 0x301000, 0x302000, 0x303000, 0x304000
QUEUE, BLOCK = 64, 512


def jump(opcode, code):
    return opcode + struct.pack("<b", len(code))


def mailbox():
    to_edi = b"\x67\x8b\x3c\x25" + struct.pack("<I", ADDRESS)
    write = b"\x67\x8b\x0c\x25" + struct.pack("<I", VALUE) + b"\x89\x0f"  # mov ecx, [VALUE]; mov [rdi], ecx
    read = b"\x8b\x0f\x67\x89\x0c\x25" + struct.pack("<I", VALUE)  # mov ecx, [rdi]; mov [VALUE], ecx
    write += jump(b"\xeb", read)
    act = to_edi + b"\x83\xf8\x01" + jump(b"\x75", write) + write + read + store(OP, 0)  # cmp eax, 1; jne
    loop = increment(COUNTER) + load(OP) + b"\x85\xc0" + jump(b"\x74", act) + act  # test eax, eax; jz
    return loop + b"\xe9" + struct.pack("<i", -(len(loop) + 5))


CODE = config_write(0x10, BAR0) + config_write(4, 6) + mailbox()


class MailboxGuest(Guest):
    def __init__(self, tmp, *args, code=None, accel="tcg"):
        self.said = tmp / "client-said"
        with open(self.said, "w", encoding="utf-8") as said:
            super().__init__(tmp, code or CODE, *args, accel=accel, stderr=said)

    def act(self, op, address, value=0):
        self.set_word(ADDRESS, address)
        self.set_word(VALUE, value)
        self.set_word(OP, op)
        self.wait(lambda: self.word(OP) == 0, "the guest to do as told", timeout=300)
        return self.word(VALUE)

    def info(self):
        return self.qmp("query-migrate")["return"]

    def status(self):
        return self.qmp("query-status")["return"]["status"]


class Nvme:
    """The driver; it goes with its guest from process to process."""

    completions = 1  # flags of the completion queue (NVMe 1.4, 5.3): in one piece, without interrupts

    def __init__(self, guest):
        self.guest = guest
        self.heads, self.tails, self.phases, self.records = [0, 0], [0, 0], [1, 1], 0
        guest.wait(lambda: guest.word(COUNTER) > 0, "the guest to run", timeout=300)
        for register, value in ((0x24, QUEUE - 1 << 16 | QUEUE - 1), (0x28, ASQ), (0x2c, 0), (0x30, ACQ), (0x34, 0), (0x14, 0x460001)):
            guest.act(WRITE, BAR0 + register, value)
        while not guest.act(READ, BAR0 + 0x1c) & 1:
            pass
        assert self.command(0, 5, 0, CQ, QUEUE - 1 << 16 | 1, self.completions) == 0
        assert self.command(0, 1, 0, SQ, QUEUE - 1 << 16 | 1, 1 << 16 | 1) == 0

    def submit(self, queue, opcode, nsid, prp, *words):
        slot = (ASQ, SQ)[queue] + self.tails[queue] * 64
        entry = struct.pack("<IIQQQQ", opcode | self.tails[queue] << 16, nsid, 0, 0, prp, 0) + b"".join(struct.pack("<I", w) for w in words)
        self.guest.ram[slot:slot + 64] = entry.ljust(64, b"\0")
        self.tails[queue] = (self.tails[queue] + 1) % QUEUE
        self.guest.act(WRITE, BAR0 + 0x1000 + queue * 8, self.tails[queue])

    def done(self, queue):
        return self.guest.word((ACQ, CQ)[queue] + self.heads[queue] * 16 + 12) >> 16 & 1 == self.phases[queue]

    def complete(self, queue):
        """The status of the oldest command."""
        self.guest.wait(lambda: self.done(queue), "a completion", timeout=300)
        status = self.guest.word((ACQ, CQ)[queue] + self.heads[queue] * 16 + 12) >> 17
        self.heads[queue] = (self.heads[queue] + 1) % QUEUE
        self.phases[queue] ^= self.heads[queue] == 0
        self.guest.act(WRITE, BAR0 + 0x1004 + queue * 8, self.heads[queue])
        return status

    def command(self, *args):
        self.submit(*args)
        return self.complete(args[0])

    def use(self):
        """The guest runs; the disk has what was written last, and takes more."""
        self.guest.goes_on()
        if self.records:
            assert self.read(self.records % 1000) == b"record %d" % self.records
        self.records += 1
        self.write(self.records % 1000, b"record %d" % self.records)

    def write(self, block, data):
        self.guest.ram[DATA:DATA + BLOCK] = data.ljust(BLOCK, b"\0")
        assert self.command(1, 1, 1, DATA, block, 0, 0) == 0

    def read(self, block):
        self.guest.ram[DATA:DATA + BLOCK] = b"\xee" * BLOCK
        assert self.command(1, 2, 1, DATA, block, 0, 0) == 0
        return bytes(self.guest.ram[DATA:DATA + BLOCK]).rstrip(b"\0")


class DiskServer:
    """A process of one NVMe disk; what it says is in the file `said`."""

    def __init__(self, tmp, image, *more, device="nvme,id=disk0,serial=s,drive=d0", drive=""):
        self.path, self.said = tmp / "disk.sock", tmp / "server-said"
        with open(self.said, "w", encoding="utf-8") as said:
            self.process = subprocess.Popen(
                [BINARY, "-machine", "x-remote,vfio-user=on,auto-shutdown=off", "-nodefaults", "-display", "none",
                 "-drive", f"id=d0,file={image},format=raw,if=none{drive}", "-device", device,
                 "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={self.path},device=disk0", *more],
                stdin=subprocess.DEVNULL, stderr=said)
        while not self.path.exists():
            assert self.process.poll() is None, self.said.read_text(encoding="utf-8")
            time.sleep(0.002)

    def end(self):
        self.process.kill()
        self.process.wait()


def disk_args(path, *more):
    return ["-device", json.dumps({"driver": "vfio-user-pci", "id": "vd", "addr": "4",
                                   "socket": {"type": "unix", "path": str(path)}}), *more]
