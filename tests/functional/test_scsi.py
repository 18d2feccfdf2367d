# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests on disks behind lsi53c895a and ich9-ahci: the distribution's full kernel, its drivers, in process and remote."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
MODULES = ["scsi_common", "scsi_mod", "scsi_transport_spi", "sym53c8xx", "crct10dif_common", "crct10dif_generic",
           "crc-t10dif", "crc64", "crc64-rocksoft",
           "crc64_rocksoft_generic", "t10-pi", "sd_mod", "libata", "libahci", "ahci", "cdrom", "sr_mod", "isofs", "crc16", "libcrc32c", "crc32c_generic",
           "mbcache", "jbd2", "ext4"]
# Some need each other in other orders in other releases: until nothing new goes in.
INSMOD = """
for round in 1 2 3 4; do for m in %s; do insmod /$m.ko 2>/dev/null; done; done
i=0; while [ ! -b /dev/sda ] && [ $i -lt 30 ]; do sleep 1; i=$((i + 1)); done
""" % " ".join(MODULES)
DISK = """
echo test: model $(cat /sys/block/sda/device/vendor) $(cat /sys/block/sda/device/model)
echo test: tags $(cat /sys/block/sda/device/queue_depth)
mount -t ext4 /dev/sda /mnt && dd if=/dev/urandom of=/mnt/file bs=64k count=128 2>/dev/null && sync
sum=$(md5sum /mnt/file | cut -d' ' -f1)
umount /mnt && echo 3 >/proc/sys/vm/drop_caches && mount -t ext4 /dev/sda /mnt
[ "$(md5sum /mnt/file | cut -d' ' -f1)" = "$sum" ] && echo test: sum $sum
fstrim=$(fstrim -v /mnt 2>&1); echo test: trim $?
umount /mnt && echo test: unmounted
"""
CDROM = """
i=0; while [ ! -b /dev/sr0 ] && [ $i -lt 10 ]; do sleep 1; i=$((i + 1)); done
mount -t iso9660 -o ro /dev/sr0 /mnt && echo test: iso $(md5sum /mnt/data.bin | cut -d' ' -f1)
umount /mnt
"""


def client_command(tmp_path, script, *extra):
    vmlinuz, modules = guest.kernel_with_modules(MODULES, guest.GENERIC)
    initrd = guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + INSMOD + script + "\npoweroff -f\n",
                             {f.name: (0o100644, f.read_bytes()) for f in modules})
    return [BINARY, "-machine", "q35,accel=tcg,memory-backend=mem", "-nodefaults", "-m", "256", "-nographic",
            "-object", "memory-backend-memfd,id=mem,size=256M,share=on", "-serial", "stdio",
            "-kernel", str(vmlinuz), "-initrd", str(initrd), "-append", "console=ttyS0 no_timer_check loglevel=4", *extra]


@pytest.fixture(name="image")
def image_fixture(tmp_path):
    path = tmp_path / "disk.img"
    with open(path, "wb") as f:
        f.truncate(64 << 20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", str(path)], check=True)
    return path


@pytest.fixture(name="iso")
def iso_fixture(tmp_path):
    """A disc with one file, and that file's sum."""
    tree = tmp_path / "tree"
    tree.mkdir()
    data = os.urandom(3 << 20)
    (tree / "data.bin").write_bytes(data)
    tool = shutil.which("xorriso")
    assert tool, "xorriso is missing: scripts/install-deps"
    subprocess.run([tool, "-as", "mkisofs", "-quiet", "-R", "-o", str(tmp_path / "cd.iso"), str(tree)], check=True)
    return tmp_path / "cd.iso", hashlib.md5(data).hexdigest()


def word(out, key):
    lines = [line.split(key, 1)[1].strip() for line in out.splitlines() if key in line]
    assert lines, out[-3000:]
    return lines[0]


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace",
                          check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


CONTROLLERS = {
    "lsi53c895a": ("QEMU QEMU HARDDISK", "scsi-hd,bus=c.0,drive=d0,serial=disk-7", "scsi-cd,bus=c.0,drive=d1,scsi-id=5"),
    "ich9-ahci": ("ATA QEMU HARDDISK", "ide-hd,bus=c.0,drive=d0,serial=disk-7", "ide-cd,bus=c.2,drive=d1"),
}


def check(out, controller, image, iso, tmp_path):
    assert word(out, "test: model ") == CONTROLLERS[controller][0]
    assert int(word(out, "test: tags ")) > 1
    assert "test: unmounted" in out and word(out, "test: trim ") == "0", out[-3000:]
    assert word(out, "test: iso ") == iso[1]
    subprocess.run(["/sbin/e2fsck", "-fn", str(image)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["/sbin/debugfs", "-R", f"dump /file {tmp_path}/file", str(image)], check=True,
                   stderr=subprocess.DEVNULL)
    assert word(out, "test: sum ") == hashlib.md5((tmp_path / "file").read_bytes()).hexdigest()


def disks(controller, image, iso):
    return ["-drive", f"id=d0,file={image},format=raw,if=none,discard=unmap",
            "-drive", f"id=d1,file={iso[0]},format=raw,if=none,readonly=on", "-device", f"{controller},id=c",
            "-device", CONTROLLERS[controller][1], "-device", CONTROLLERS[controller][2]]


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_disk_in_process(tmp_path, controller, image, iso):
    out = run(client_command(tmp_path, DISK + CDROM, *disks(controller, image, iso)))
    check(out, controller, image, iso, tmp_path)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_disk_in_another_process(tmp_path, controller, image, iso):
    sock = tmp_path / "disk.sock"
    with subprocess.Popen([BINARY, "-machine", "x-remote,vfio-user=on", "-nodefaults", *disks(controller, image, iso),
                           "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={sock},device=c"]) as server:
        try:
            while not sock.exists():
                assert server.poll() is None
                time.sleep(0.01)
            out = run(client_command(tmp_path, DISK + CDROM, "-device", f"vfio-user-pci,socket={sock}"))
            assert server.wait() == 0
        finally:
            server.kill()
    check(out, controller, image, iso, tmp_path)
