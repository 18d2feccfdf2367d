# SPDX-License-Identifier: GPL-2.0-or-later
"""Disk images that firmware boots: a partition table, GRUB before the first partition, ext4 with kernel and initramfs."""
import pathlib
import shutil
import struct
import subprocess
import tempfile

SECTOR = 512
FIRST = 2048  # sector of the partition; GRUB's core lies between it and the partition table
UUID = "6d696c6c-7768-4565-8c77-617465720001"  # of the file system
GRUB = pathlib.Path("/usr/lib/grub/i386-pc")
MODULES = ["biosdisk", "part_msdos", "ext2", "normal", "linux", "serial", "terminal", "echo", "reboot", "halt", "test"]


def _core(work):
    """GRUB's core image, which reads its configuration from the first partition of the disk that BIOS booted."""
    core = work / "core.img"
    early = work / "early.cfg"
    early.write_text("set prefix=($root)/boot/grub\nset root=hd0,msdos1\nset prefix=(hd0,msdos1)/boot/grub\n")
    subprocess.run(["grub-mkimage", "-O", "i386-pc", "-d", str(GRUB), "-p", "(hd0,msdos1)/boot/grub", "-c", str(early),
                    "-o", str(core), *MODULES], check=True)
    return core.read_bytes()


def make(path, kernel, initrd, append, tree, size):
    """Writes the image of `size` bytes to `path`: `tree`, which gets a /boot, in the one partition; GRUB boots at once."""
    grub = tree / "boot" / "grub"
    grub.mkdir(parents=True)
    shutil.copy(kernel, tree / "boot" / "vmlinuz")
    shutil.copy(initrd, tree / "boot" / "initrd.gz")
    (grub / "grub.cfg").write_text("serial --unit=0 --speed=115200\nterminal_output serial\nset timeout=0\n"
                                   f"echo GRUB starts Linux\nlinux /boot/vmlinuz {append}\ninitrd /boot/initrd.gz\nboot\n")
    with tempfile.TemporaryDirectory() as work:
        core = _core(pathlib.Path(work))
    boot = bytearray((GRUB / "boot.img").read_bytes())
    assert len(core) <= (FIRST - 1) * SECTOR and len(boot) == SECTOR
    sectors = size // SECTOR - FIRST
    boot[0x1b8:0x1be] = b"mpqe\0\0"
    boot[0x1be:0x1fe] = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", FIRST, sectors) + bytes(48)
    with open(path, "wb") as image:
        image.write(boot + core)
        image.truncate(size)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-U", UUID, "-d", str(tree), "-E", f"offset={FIRST * SECTOR}", str(path),
                    f"{sectors // 2}k"], check=True)
    return path
