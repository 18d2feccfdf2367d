# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests on virtio disks: a file system made, filled, mounted again and checked, the device in process and remote."""
import pytest

import guests
from guests import run, word

MODULES = [*guests.VIRTIO, "virtio_blk", "virtio-rng"]

FILL = """
for m in %s; do insmod /$m.ko || echo test: insmod $m failed; done
while [ ! -b /dev/vda ]; do sleep 0.1; done
echo test: serial $(cat /sys/block/vda/serial)
echo test: features $(cat /sys/bus/virtio/devices/virtio0/features)
""" % " ".join(MODULES) + guests.USE_EXT4 % ("vda", "vda") + """
[ -c /dev/hwrng ] && echo test: random $(dd if=/dev/hwrng bs=512 count=8 2>/dev/null | wc -c)
"""


def client_command(tmp_path, *extra):
    return guests.guest_command(tmp_path, MODULES, FILL, extra)


@pytest.fixture(name="image")
def image_fixture(tmp_path):
    return guests.make_ext4(tmp_path / "disk.img")


def check(out, image, tmp_path, version_1, packed):
    assert word(out, "test: serial ") == "disk-7"
    features = word(out, "test: features ")
    assert (features[32], features[34]) == ("01"[version_1], "01"[packed])
    guests.check_ext4(out, image, tmp_path)


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
    drive = ["-drive", f"id=d0,file={image},format=raw,if=none"]
    with guests.server([sock, rng], *drive,
                       *guests.serve_args(sock, f"virtio-blk-pci,drive=d0,serial=disk-7{option},id=disk0"),
                       *guests.serve_args(rng, "virtio-rng-pci,id=rng0")):
        out = run(client_command(tmp_path, "-device", f"vfio-user-pci,socket={sock}",
                                 "-device", f"vfio-user-pci,socket={rng}"))
    check(out, image, tmp_path, version_1, packed)
    assert word(out, "test: random ") == "4096"
