# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests on virtio disks: a file system made, filled, mounted again and checked, the device in process and remote."""
import hashlib
import os
import pathlib
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
MODULES = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk",
           "virtio-rng"]

FILL = """
for m in %s; do insmod /$m.ko || echo test: insmod $m failed; done
i=0; while [ ! -b /dev/vda ] && [ $i -lt 20 ]; do sleep 1; i=$((i + 1)); done
echo test: serial $(cat /sys/block/vda/serial)
echo test: features $(cat /sys/bus/virtio/devices/virtio0/features)
mount -t ext4 /dev/vda /mnt && dd if=/dev/urandom of=/mnt/file bs=64k count=128 2>/dev/null && sync
sum=$(md5sum /mnt/file | cut -d' ' -f1)
umount /mnt && echo 3 >/proc/sys/vm/drop_caches && mount -t ext4 /dev/vda /mnt
[ "$(md5sum /mnt/file | cut -d' ' -f1)" = "$sum" ] && echo test: sum $sum
fstrim=$(fstrim -v /mnt 2>&1); echo test: trim $?
umount /mnt && echo test: unmounted
[ -c /dev/hwrng ] && echo test: random $(dd if=/dev/hwrng bs=512 count=8 2>/dev/null | wc -c)
""" % " ".join(MODULES)


def client_command(tmp_path, *extra):
    vmlinuz, modules = guest.kernel_with_modules(MODULES)
    initrd = guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + FILL + "\npoweroff -f\n",
                             {f.name: (0o100644, f.read_bytes()) for f in modules})
    return [BINARY, "-machine", "q35,accel=tcg,memory-backend=mem", "-nodefaults", "-m", "256", "-nographic",
            "-object", "memory-backend-memfd,id=mem,size=256M,share=on", "-serial", "stdio",
            "-kernel", str(vmlinuz), "-initrd", str(initrd), "-append", "console=ttyS0 no_timer_check quiet", *extra]


@pytest.fixture(name="image")
def image_fixture(tmp_path):
    path = tmp_path / "disk.img"
    with open(path, "wb") as f:
        f.truncate(64 << 20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", str(path)], check=True)
    return path


def word(out, key):
    lines = [line.split(key, 1)[1].strip() for line in out.splitlines() if key in line]
    assert lines, out[-3000:]
    return lines[0]


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace",
                          check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def check(out, image, tmp_path, version_1, packed):
    assert word(out, "test: serial ") == "disk-7"
    features = word(out, "test: features ")
    assert (features[32], features[34]) == ("01"[version_1], "01"[packed])
    assert "test: unmounted" in out and word(out, "test: trim ") == "0", out[-3000:]
    subprocess.run(["/sbin/e2fsck", "-fn", str(image)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["/sbin/debugfs", "-R", f"dump /file {tmp_path}/file", str(image)], check=True,
                   stderr=subprocess.DEVNULL)
    assert word(out, "test: sum ") == hashlib.md5((tmp_path / "file").read_bytes()).hexdigest()


@pytest.mark.parametrize("option,version_1,packed", [
    ("", True, False),
    (",packed=on", True, True),
    (",disable-modern=on", False, False),
    (",iommu_platform=on,num-queues=2", True, False),
])
def test_disk_in_process(tmp_path, image, option, version_1, packed):
    out = run(client_command(tmp_path, "-drive", f"id=d0,file={image},format=raw,if=none",
                             "-device", f"virtio-blk-pci,drive=d0,serial=disk-7{option}",
                             "-device", "virtio-rng-pci"))
    check(out, image, tmp_path, version_1, packed)
    assert word(out, "test: random ") == "4096"


@pytest.mark.parametrize("option,version_1,packed", [("", True, False), (",packed=on", True, True)])
def test_disk_in_another_process(tmp_path, image, option, version_1, packed):
    sock, rng = tmp_path / "disk.sock", tmp_path / "rng.sock"
    with subprocess.Popen([BINARY, "-machine", "x-remote,vfio-user=on", "-nodefaults",
                           "-drive", f"id=d0,file={image},format=raw,if=none",
                           "-device", f"virtio-blk-pci,id=disk0,drive=d0,serial=disk-7{option}",
                           "-device", "virtio-rng-pci,id=rng0",
                           "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={sock},device=disk0",
                           "-object", f"x-vfio-user-server,id=vfu1,type=unix,path={rng},device=rng0"]) as server:
        while not (sock.exists() and rng.exists()):
            assert server.poll() is None
            time.sleep(0.01)
        out = run(client_command(tmp_path, "-device", f"vfio-user-pci,socket={sock}",
                                 "-device", f"vfio-user-pci,socket={rng}"))
        assert server.wait() == 0
    check(out, image, tmp_path, version_1, packed)
    assert word(out, "test: random ") == "4096"
