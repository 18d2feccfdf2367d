#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The ACPI tables of some machines as ASL (acpica-tools), beside tests/data/acpi: compared by the tests, written by this.

usage: [QEMU_BINARY=PROGRAM] acpi_golden.py      writes tests/data/acpi/*.dsl anew; look at the difference before it is kept
"""
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/data/acpi"
sys.path.insert(0, str(ROOT / "tests/split"))
from machine import Machine  # noqa: E402

MACHINES = {
    "q35": [],
    "pc": ["-machine", "pc"],
    "q35-smp4-iommu": ["-smp", "4", "-machine", "hpet=off", "-device", "intel-iommu"],
    "pc-bridges": ["-machine", "pc", "-device", "pci-bridge,id=a,addr=4", "-device", "pci-bridge,id=b,bus=a,addr=3"],
    "q35-acpi-hotplug": ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=on",
                         "-device", "pcie-root-port,id=a,addr=4", "-device", "pci-bridge,id=b,bus=a"],
    "pc-serial": ["-machine", "pc", "-serial", "null", "-serial", "null"],
}
FW_CFG, DMA_ADDRESS, DIRECTORY = 0x510, 0x518, 0x19
BUFFER, REQUEST = 0x100000, 0x1000
ALIGNMENT = 64  # of tables
CHECKSUM = 9


def read_item(machine, item, size):
    """By fw_cfg's DMA interface."""
    machine.set_memory(REQUEST, struct.pack(">IIQ", item << 16 | 0x0a, size, BUFFER))
    machine.qtest(f"outl {DMA_ADDRESS:#x} {int.from_bytes(struct.pack('>I', REQUEST), 'little'):#x}")
    assert machine.memory(REQUEST, 4) == bytes(4)
    return machine.memory(BUFFER, size)


def read_file(machine, wanted):
    """The bytes of a file of fw_cfg."""
    count = struct.unpack(">I", read_item(machine, DIRECTORY, 4))[0]
    entries = read_item(machine, DIRECTORY, 4 + 64 * count)[4:]
    return next(read_item(machine, item, size) for size, item, _, name in struct.iter_unpack(">IHH56s", entries)
                if name.rstrip(b"\0").decode() == wanted)


def tables(machine):
    """Signature and bytes of every table that firmware is given."""
    data = read_file(machine, "etc/acpi/tables")
    at = 0
    while at < len(data):
        signature, length = struct.unpack_from("<4sI", data, at)
        table = bytearray(data[at:at + length])
        if signature != b"FACS" and not table[CHECKSUM]:
            table[CHECKSUM] = -sum(table) & 0xff  # firmware does it, when it has filled the pointers in
        yield signature.decode(), bytes(table)
        at += (length + ALIGNMENT - 1) & -ALIGNMENT


def disassemble(signature, table):
    """iasl's text without what depends on the day and the place."""
    with tempfile.TemporaryDirectory() as work:
        path = pathlib.Path(work) / f"{signature.lower()}.aml"
        path.write_bytes(table)
        done = subprocess.run(["iasl", "-d", str(path)], capture_output=True, text=True, check=True)
        assert "rror" not in done.stderr, done.stderr
        text = path.with_suffix(".dsl").read_text()
    return re.sub(r"\A/\*.*?\*/\n", "", text, flags=re.DOTALL).strip() + "\n"


def describe(name):
    """All tables of one of MACHINES."""
    with tempfile.TemporaryDirectory() as work:
        machine = Machine(pathlib.Path(work), *MACHINES[name])
        try:
            return "".join(f"// {signature}\n{disassemble(signature, table)}\n" for signature, table in tables(machine))
        finally:
            machine.close()


def main():
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name in MACHINES:
        (GOLDEN / f"{name}.dsl").write_text(describe(name))


if __name__ == "__main__":
    main()
