# SPDX-License-Identifier: GPL-2.0-or-later
"""PCI interrupts by pin in a stock kernel that has no APIC: by the link devices of the DSDT to the 8259s."""
import hashlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
SIZE = 1 << 20
SLOTS = (4, 9, 0x1b)  # of the disks, all on INTA: as many links as there can be of PIIX3
VERIFY = """
for disk in 0 1 2; do
    while [ ! -b /dev/nvme${disk}n1 ]; do sleep 0.1; done
    address=$(cat /sys/class/nvme/nvme$disk/address)
    echo test: sum $address $(md5sum </dev/nvme${disk}n1 | cut -d' ' -f1)
    echo test: irq $address $(cat /sys/class/nvme/nvme$disk/device/irq)
done
sed 's/^/test: interrupt /' /proc/interrupts
dmesg | grep -i 'acpi.*error\\|nobody cared' | sed 's/^/test: error /'
poweroff -f
"""


@pytest.fixture(name="initrd", scope="module")
def initrd_fixture(tmp_path_factory):
    return guest.initramfs(tmp_path_factory.mktemp("initrd") / "initrd.gz", guest.PROLOGUE + VERIFY)


def disks(tmp_path):
    words = []
    for slot in SLOTS:
        path = tmp_path / f"disk{slot}"
        path.write_bytes(os.urandom(SIZE))
        words += ["-drive", f"id=d{slot},file={path},format=raw,if=none", "-device", f"nvme,serial=s{slot},drive=d{slot},addr={slot:#x}"]
    return words


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_disks_by_pin_without_apics(tmp_path, initrd, machine):
    done = subprocess.run([BINARY, "-machine", f"{machine},accel=tcg", "-m", "256", "-nodefaults", "-nographic", "-serial", "stdio",
                           "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", "console=ttyS0 tsc_early_khz=1000000 quiet noapic nolapic",
                           *disks(tmp_path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    text = done.stdout.decode(errors="replace")
    sums = dict(re.findall(r"test: sum (\S+) (\w{32})", text))
    assert sums == {f"0000:00:{slot:02x}.0": hashlib.md5((tmp_path / f"disk{slot}").read_bytes()).hexdigest() for slot in SLOTS}, text
    irqs = set(re.findall(r"test: irq \S+ (\d+)", text))
    lines = {n: (int(count), rest) for n, count, rest in re.findall(r"test: interrupt +(\d+): +(\d+) +(.*)", text)}
    for n in irqs:
        assert lines[n][0] > 0 and "XT-PIC" in lines[n][1] and "nvme" in lines[n][1], text
    assert "test: error" not in text, text
