# SPDX-License-Identifier: GPL-2.0-or-later
"""Every model that the program has, after a storm over its registers: saved, loaded and saved again it gives the same bytes, in
process and in a process of its own, whose state goes through its client.  The list is the program's: a new model is in it."""
import os
import random
import re
import subprocess
import zlib

import pytest

from machine import BINARY, SHARED_RAM, Machine
from remote_server import command

ADDR, SLOT, MEM, IO = "7", 7 << 3, 0xe0000000, 0xc000
ACCESSES = 300
SEED = int(os.environ.get("STORM_SEED", "0"))
BOARD = [(True, port, 2) for port in (0x20, 0x40, 0x42, 0x60, 0x70, 0xa0, 0x4d0)] + [
    (False, 0xfed00000, 0x200), (False, 0xfec00000, 0x20), (False, 0xfee00080, 0x200)]
DRIVE = ["-drive", "id=d0,file={image},format=raw,if=none"]
# What a model needs besides its name: further arguments before it, options.
NEEDS = {"nvme": (DRIVE, "serial=s,drive=d0"), "nvme-ns": ([*DRIVE, "-device", "nvme,serial=s,id=top,addr=7"], "bus=top,drive=d0"),
         "scsi-hd": ([*DRIVE, "-device", "lsi53c895a,id=top,addr=7"], "bus=top.0,drive=d0"),
         "scsi-cd": (["-device", "lsi53c895a,id=top,addr=7"], "bus=top.0"),
         "ide-hd": ([*DRIVE, "-device", "ich9-ahci,id=top,addr=7"], "bus=top.0,drive=d0"),
         "ide-cd": (["-device", "ich9-ahci,id=top,addr=7"], "bus=top.0"),
         "virtio-blk-pci": (DRIVE, "drive=d0"), "isa-serial": (["-chardev", "null,id=c0"], "chardev=c0"),
         "isa-debugcon": (["-chardev", "null,id=c0"], "chardev=c0"), "pci-bridge": ([], "chassis_nr=1")}
# Ports of models that are not PCI functions, and may be written to without an end of the program.
PORTS = {"isa-serial": (0x3f8, 8), "isa-debugcon": (0xe9, 1), "pc-testdev": (0xe0, 8)}
# Their part elsewhere is another process's, or the host's.
PROXIES = ("vfio-pci", "vfio-user-pci")
NOT_SERVED = ("pci-bridge", "pcie-root-port", "ioh3420", "intel-iommu", "virtio-iommu-pci", "piix3-ide", "piix4-ide")


def models():
    """Name, and whether it is a PCI function."""
    said = subprocess.run([BINARY, "-device", "help"], capture_output=True, text=True, check=True).stdout
    found = re.findall(r'^name "([^"]+)"(, bus PCI)?', said, re.M)
    assert len(found) > 25
    return [(name, bool(pci)) for name, pci in found if name not in PROXIES]


class Storm:
    """Accesses of all sizes to all registers, with values that like to be small, or addresses of RAM."""

    def __init__(self, machine, name, pci):
        self.machine, self.rng = machine, random.Random(zlib.crc32(name.encode()) + SEED)
        self.windows = BOARD + ([(True, *PORTS[name])] * 5 if name in PORTS else [])
        if pci:
            self.windows = (self.bars() or BOARD) + BOARD[:3]

    def config(self, offset, value=None):
        self.machine.qtest(f"outl 0xcf8 {0x80000000 | SLOT << 8 | offset:#x}")
        if value is not None:
            self.machine.qtest(f"outl 0xcfc {value:#x}")
            return None
        return int(self.machine.qtest("inl 0xcfc"), 16)

    def bars(self):
        found, memory, port = [], MEM, IO
        for offset in range(0x10, 0x28, 4):
            self.config(offset, 0xffffffff)
            got = self.config(offset)
            size = -(got & (~3 if got & 1 else ~15)) & (0xffff if got & 1 else 0xffffffff)
            if not got or not size or (found and found[-1] is None):
                continue
            base = (port if got & 1 else memory) + size - 1 & ~(size - 1)
            self.config(offset, base)
            if not got & 1 and got & 6 == 4:
                self.config(offset + 4, 0)
            port, memory = (base + size, memory) if got & 1 else (port, base + size)
            found.append((bool(got & 1), base, size))
        self.config(4, 7)
        return found

    def value(self):
        return self.rng.choice((0, 1, self.rng.getrandbits(4), self.rng.getrandbits(32), 0x300000 + self.rng.getrandbits(12) * 4))

    def blow(self):
        for n in range(ACCESSES):
            ports, base, size = self.rng.choice(self.windows)
            width = self.rng.choice([w for w in (1, 2, 4) if w <= size])
            at = base + self.rng.randrange(size if self.rng.random() < 0.5 else min(size, 64)) // width * width
            name = {1: "b", 2: "w", 4: "l"}[width]
            if self.rng.random() < 0.33:
                self.machine.qtest(f"{'in' if ports else 'read'}{name} {at:#x}")
            else:
                self.machine.qtest(f"{'out' if ports else 'write'}{name} {at:#x} {self.value() & (1 << 8 * width) - 1:#x}")
            if n % 30 == 0:
                self.machine.qtest(f"clock_step {self.rng.randrange(3000000)}")


class Whole:
    """A machine with the model in it."""

    def __init__(self, tmp, name, arguments, incoming=None):
        place = tmp / name
        place.mkdir()
        self.machine = Machine(place, *arguments, *(("-incoming", f"file:{incoming}") if incoming else ()))

    def save(self, path):
        assert self.machine.qmp("migrate", uri=f"file:{path}") == {"return": {}}
        while (said := self.machine.qmp("query-migrate")["return"])["status"] not in ("completed", "failed"):
            pass
        assert said["status"] == "completed", said

    def until_loaded(self):
        while self.machine.qmp("query-status")["return"]["status"] == "inmigrate":
            pass

    def __enter__(self):
        return self

    def __exit__(self, failed, *_):
        assert self.machine.close() == 0 or failed


class Split(Whole):
    """The model is in a process of its own, with a clock that stands."""

    def __init__(self, tmp, name, arguments, incoming=None):
        sock = tmp / f"{name}.sock"
        self.server = subprocess.Popen(
            command("-accel", "qtest", *arguments, "-object", f"x-vfio-user-server,id=v,type=unix,path={sock},device={top(arguments)}",
                    *(("-incoming", "defer") if incoming else ()), machine="x-remote,vfio-user=on,auto-shutdown=off"),
            stdin=subprocess.DEVNULL)
        while not sock.exists():
            assert self.server.poll() is None
        super().__init__(tmp, name, [*SHARED_RAM, "-device", f"vfio-user-pci,id=vd,addr={ADDR},socket={sock}"], incoming)

    def __exit__(self, failed, *_):
        super().__exit__(failed)
        self.server.terminate()
        assert self.server.wait() == 0 or failed


def top(arguments):
    return "top" if any("id=top" in word for word in arguments) else "dev"


def arguments_of(tmp, name, pci):
    before, options = NEEDS.get(name, ([], ""))
    image = tmp / "disk.img"
    image.write_bytes(bytes(1 << 20))
    return [*[word.format(image=image) for word in before], "-device",
            ",".join(word for word in (name, "id=dev", f"addr={ADDR}" if pci else "", options) if word)]


@pytest.mark.parametrize("kind", [Whole, Split])
def test_saved_loaded_saved(tmp_path, kind):
    for name, pci in models():
        function = pci or "id=top" in str(NEEDS.get(name))
        if kind is Split and (not function or name in NOT_SERVED):
            continue
        place = tmp_path / name
        place.mkdir()
        arguments = arguments_of(place, name, pci)
        with kind(place, "source", arguments) as source:
            Storm(source.machine, name, function).blow()
            source.save(place / "first")
        with kind(place, "target", arguments, place / "first") as target:
            target.until_loaded()
            target.save(place / "second")
        first, second = (place / "first").read_bytes(), (place / "second").read_bytes()
        assert len(first) > 10000 and first == second, name
