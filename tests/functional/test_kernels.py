# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels of other boot protocols than Linux's: Multiboot 1 and PVH.  Small ones print what they are told, twice with a
reset between; Debian's kernel boots by PVH; what is no kernel is refused in one line."""
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
KERNELS = pathlib.Path(BINARY).resolve().parents[1] / "tests/boot"


UNPACK = {b"\x02\x21\x4c\x18": ["lz4", "-dc"], b"\xfd7zXZ": ["xz", "-dc"], b"\x28\xb5\x2f\xfd": ["zstd", "-dc"]}


def module_sum(data):
    total = 0
    for byte in data:
        total = (total * 31 + byte) & 0xffffffff
    return total


def boot(tmp_path, kernel, *args, end="END\n"):
    """What the guest prints up to `end`."""
    output = tmp_path / "serial"
    command = [BINARY, "-nodefaults", "-display", "none", "-chardev", f"file,id=c0,path={output}", "-serial", "chardev:c0",
               "-kernel", str(kernel), *args]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            while True:
                text = output.read_text(encoding="latin-1").replace("\r", "") if output.exists() else ""
                if end in text:
                    return text.splitlines()
                assert process.poll() is None, (text, process.stderr.read())
                time.sleep(0.02)
        finally:
            process.kill()


# Nothing, or SeaBIOS, which finds them in an option ROM.
ways = pytest.mark.parametrize("firmware", [[], ["-bios", "bios-256k.bin"]], ids=["directly", "firmware"])


@ways
@pytest.mark.parametrize("machine", ["q35", "pc"])
@pytest.mark.parametrize("kernel", ["multiboot.elf", "kludge.bin"])
def test_multiboot(tmp_path, kernel, machine, firmware):
    modules = [bytes(range(200)) * 50, b"x"]
    (tmp_path / "one").write_bytes(modules[0])
    (tmp_path / "a,b").write_bytes(modules[1])
    path = KERNELS / f"kernel-{kernel}"
    told = boot(tmp_path, path, "-machine", machine, "-m", "64", "-append", "mill wheel",
                "-initrd", f"{tmp_path}/one with args,{tmp_path}/a,,b", *firmware)
    once = ["entry: eax=2badb002 cr0=1 dirty=0", f"info: flags=20d lower=27f upper=3f cmdline={path} mill wheel",
            "map: entries=1 sorted=1 megabytes=3f",
            f"module: aligned=1 size={10000:x} sum={module_sum(modules[0]):x} text={tmp_path}/one with args",
            f"module: aligned=1 size=1 sum={module_sum(b'x'):x} text={tmp_path}/a,b"]
    assert told == once + once + ["END"]


@ways
def test_pvh(tmp_path, firmware):
    (tmp_path / "disk").write_bytes(bytes(range(256)) * 9)
    told = boot(tmp_path, KERNELS / "kernel-pvh.elf", "-m", "64", "-append", "mill", "-initrd", f"{tmp_path}/disk", *firmware)
    once = ["entry: eax=0 cr0=1 dirty=0", "info: magic=336ec578 version=1 rsdp=1 cmdline=mill", "map: entries=1 sorted=1 megabytes=3f",
            f"module: aligned=1 size=900 sum={module_sum(bytes(range(256)) * 9):x} text="]
    assert told == once + once + ["END"]


@ways
def test_linux_by_pvh(tmp_path, firmware):
    """The ELF file inside Debian's bzImage."""
    image = guest.kernel().read_bytes()
    setup = (image[0x1f1] + 1) * 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    payload = image[setup + offset:setup + offset + length - 4]  # behind it: the size
    tool = next((tool for magic, tool in UNPACK.items() if payload.startswith(magic)), None)
    assert tool, payload[:8].hex()
    with (tmp_path / "vmlinux").open("wb") as vmlinux:
        subprocess.run(tool, input=payload, stdout=vmlinux, check=True)
    initrd = guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + "echo test: $(cat /proc/cmdline)\npoweroff -f\n")
    told = boot(tmp_path, tmp_path / "vmlinux", "-m", "256", "-initrd", str(initrd), "-append", "console=ttyS0 no_timer_check quiet by pvh", *firmware, end="reboot: Power down")
    assert "test: console=ttyS0 no_timer_check quiet by pvh" in told


def refuse(tmp_path, kernel, *args):
    done = subprocess.run([BINARY, "-nodefaults", "-display", "none", "-m", "64", "-S", "-qmp", "stdio", "-kernel", str(kernel), *args],
                          input='{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n', capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1) and (done.returncode == 0 or len(done.stderr.splitlines()) == 1), done.stderr
    return done.stderr


def test_wrong_images(tmp_path):
    elf = bytearray((KERNELS / "kernel-pvh.elf").read_bytes())
    phoff = struct.unpack_from("<I", elf, 28)[0]

    def changed(at, value):
        data = elf.copy()
        struct.pack_into("<I", data, at, value)
        (tmp_path / "elf").write_bytes(data)
        return tmp_path / "elf"

    assert "asks for memory that is not there" in refuse(tmp_path, changed(phoff + 12, 0x1000))
    assert "asks for memory that is not there" in refuse(tmp_path, changed(phoff + 12, 0x3fdf000))
    assert "is truncated" in refuse(tmp_path, changed(phoff + 4, len(elf)))
    assert "without a PVH entry point" in refuse(tmp_path, changed(elf.index(b"Xen\0") - 4, 17))
    assert "too many modules" in refuse(tmp_path, KERNELS / "kernel-multiboot.elf", "-initrd", "a," * 200)
    assert "-initrd: no such file" in refuse(tmp_path, KERNELS / "kernel-multiboot.elf", "-initrd", f"{tmp_path}/elf,{tmp_path}/none x")
    (tmp_path / "large").write_bytes(bytes(62 << 20))
    assert "does not fit" in refuse(tmp_path, KERNELS / "kernel-pvh.elf", "-initrd", str(tmp_path / "large"))


def test_kernel_in_firmwares_way(tmp_path):
    """A module that would lie where SeaBIOS has a table of 200 KiB, which the host cannot know: the option ROM gives up."""
    (tmp_path / "big").write_bytes(bytes(200 << 10))
    (tmp_path / "loader").write_bytes(struct.pack("<I56sIB63x", 1, b"opt/big", 4096, 1))
    (tmp_path / "large").write_bytes(bytes(64 << 20))
    free = re.search(r"free (\d+)", refuse(tmp_path, KERNELS / "kernel-pvh.elf", "-initrd", str(tmp_path / "large")))
    os.truncate(tmp_path / "large", int(free[1]))
    output = tmp_path / "log"
    command = [BINARY, "-nodefaults", "-display", "none", "-m", "64", "-chardev", f"file,id=c0,path={output}", "-device", "isa-debugcon,iobase=0x402,chardev=c0",
               "-kernel", str(KERNELS / "kernel-pvh.elf"), "-initrd", str(tmp_path / "large"), "-bios", "bios-256k.bin",
               "-fw_cfg", f"opt/big,file={tmp_path}/big", "-fw_cfg", f"etc/table-loader,file={tmp_path}/loader"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            while "No bootable device" not in (output.read_text(encoding="latin-1") if output.exists() else ""):
                assert process.poll() is None
                time.sleep(0.02)
        finally:
            process.kill()
    assert "Booting from ROM" in output.read_text(encoding="latin-1")


@pytest.mark.parametrize("kernel", ["multiboot.elf", "kludge.bin", "pvh.elf"])
def test_damaged_images(tmp_path, kernel):
    """Bytes of the headers at random: started (and stopped at once) or refused in one line, never a crash."""
    image, rng = (KERNELS / f"kernel-{kernel}").read_bytes(), random.Random(7)
    refused = 0
    for _ in range(40):
        data = bytearray(image)
        for _ in range(rng.randrange(1, 6)):
            start = rng.choice([0, 0, max(image.find(b"\x02\xb0\xad\x1b"), 0)])
            data[min(start + rng.randrange(0, 160), len(data) - 1)] = rng.choice([0, 1, 0x7f, 0x80, 0xff, rng.randrange(256)])
        (tmp_path / "damaged").write_bytes(data[:rng.choice([len(data), len(data), rng.randrange(4, 400)])])
        refused += refuse(tmp_path, tmp_path / "damaged") != ""
    assert refused
