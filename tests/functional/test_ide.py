# SPDX-License-Identifier: GPL-2.0-or-later
"""The IDE function of pc: a machine that moves in the middle of commands; disks in the order in which firmware tries them."""
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests/split")]
import acpi_golden  # noqa: E402
from machine import Machine  # noqa: E402

BSY, DRQ, READY = 0x80, 0x08, 0x50


class Channel:
    """One of the two channels, as a driver sees it."""

    def __init__(self, machine, base):
        self.machine, self.base = machine, base

    def get(self, reg):
        return int(self.machine.qtest(f"inb {self.base + reg:#x}"), 16)

    def issue(self, command, device, count=0, low=0, mid=0, high=0):
        for reg, value in ((6, device), (1, 0), (2, count), (3, low), (4, mid), (5, high), (7, command)):
            self.machine.qtest(f"outb {self.base + reg:#x} {value:#x}")

    def status(self):
        while (status := int(self.machine.qtest(f"inb {self.base + 0x206:#x}"), 16)) & BSY:
            time.sleep(0.001)
        return status

    def write(self, data):
        for at in range(0, len(data), 2):
            self.machine.qtest(f"outw {self.base:#x} {data[at] | data[at + 1] << 8:#x}")

    def read(self, size):
        return b"".join(int(self.machine.qtest(f"inw {self.base:#x}"), 16).to_bytes(2, "little") for _ in range(size // 2))


def test_move_in_the_middle_of_commands(tmp_path):
    """Between two blocks of a write, in the sense data of a packet, and before a read's bus master starts."""
    data = bytes(n * 7 & 0xff for n in range(4 * 512))
    (tmp_path / "disk").write_bytes(bytes(64 * 512) + data[::-1] + bytes(1 << 20))
    drives = ["-S", "-machine", "pc", "-drive", f"id=d0,file={tmp_path}/disk,format=raw,if=none",
              "-device", "ide-hd,bus=ide.0,drive=d0", "-device", "ide-cd,bus=ide.1,unit=1"]
    for name in "ab":
        (tmp_path / name).mkdir()
    machine = Machine(tmp_path / "a", *drives, accel="tcg")
    try:
        disk, cd = Channel(machine, 0x1f0), Channel(machine, 0x170)
        disk.issue(0x30, 0xe0, count=4, low=40)
        assert disk.status() == READY | DRQ
        disk.write(data[:700])
        cd.issue(0xa0, 0xb0, high=8)
        cd.write(bytes([3, 0, 0, 0, 18]) + bytes(7))
        assert cd.status() == READY | DRQ
        sense = cd.read(10)
        assert "error" not in machine.qmp("migrate", uri=f"file:{tmp_path}/stream")
        while (status := machine.qmp("query-migrate")["return"]["status"]) != "completed":
            assert status != "failed"
            time.sleep(0.01)
    finally:
        machine.close()
    machine = Machine(tmp_path / "b", *drives, "-incoming", f"file:{tmp_path}/stream", accel="tcg")
    try:
        while machine.qmp("query-status")["return"]["status"] == "inmigrate":
            time.sleep(0.01)
        disk, cd = Channel(machine, 0x1f0), Channel(machine, 0x170)
        disk.write(data[700:])
        assert disk.status() == READY
        sense += cd.read(8)
        assert sense[2] & 0xf == 6 and sense[12] == 0x29 and cd.status() == READY
        disk.issue(0x20, 0xe0, count=4, low=40)
        back = b""
        while len(back) < len(data):
            assert disk.status() == READY | DRQ
            back += disk.read(512)
        assert back == data and disk.status() == READY
    finally:
        machine.close()
    assert (tmp_path / "disk").read_bytes()[40 * 512:44 * 512] == data


def test_disks_in_the_boot_order(tmp_path):
    """Paths below their controllers, in the words SeaBIOS compares; by bootindex, whatever the controller."""
    args = []
    for n in range(5):
        args += ["-drive", f"id=d{n},file=null-co://,if=none"]
    machine = Machine(tmp_path, "-machine", "pc", *args, "-device", "ide-hd,bus=ide.1,unit=1,drive=d0,bootindex=3",
                      "-device", "lsi53c895a,id=s,addr=5", "-device", "scsi-hd,bus=s.0,scsi-id=4,lun=1,drive=d1,bootindex=1",
                      "-device", "ahci,id=a,addr=6", "-device", "ide-hd,bus=a.3,drive=d2,bootindex=2",
                      "-device", "virtio-blk-pci,addr=7,drive=d3,bootindex=0", "-device", "ide-cd,bus=ide.0,drive=d4,bootindex=4")
    try:
        order = acpi_golden.read_file(machine, "bootorder")
        assert order.decode().rstrip("\0").splitlines() == [
            "/pci@i0cf8/scsi@7", "/pci@i0cf8/scsi@5/channel@0/disk@4,1", "/pci@i0cf8/pci8086,2922@6/drive@3/disk@0",
            "/pci@i0cf8/ide@1,1/drive@1/disk@1", "/pci@i0cf8/ide@1,1/drive@0/disk@0"]
    finally:
        machine.close()
