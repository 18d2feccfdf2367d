# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests on disks behind lsi53c895a, ich9-ahci and the IDE function of pc: the distribution's full kernel, its drivers, in process and remote."""
import hashlib
import os
import shutil
import subprocess

import pytest

import guests
from guests import run, word

MODULES = ["scsi_common", "scsi_mod", "scsi_transport_spi", "sym53c8xx", "crct10dif_common", "crct10dif_generic",
           "crc-t10dif", "crc64", "crc64-rocksoft",
           "crc64_rocksoft_generic", "t10-pi", "sd_mod", "libata", "libahci", "ahci", "ata_piix", "cdrom", "sr_mod", "isofs", "crc16", "libcrc32c", "crc32c_generic",
           "mbcache", "jbd2", "ext4"]
# Some need each other in other orders in other releases: until nothing new goes in.
INSMOD = """
for round in 1 2 3 4; do for m in %s; do insmod /$m.ko 2>/dev/null; done; done
while [ ! -b /dev/sda ]; do sleep 0.1; done
""" % " ".join(MODULES)
DISK = """
echo test: model $(cat /sys/block/sda/device/vendor) $(cat /sys/block/sda/device/model)
echo test: tags $(cat /sys/block/sda/device/queue_depth)
echo test: mode $(cat /sys/class/ata_device/dev1.0/xfer_mode 2>/dev/null)
""" + guests.USE_EXT4 % ("sda", "sda")
CDROM = """
while [ ! -b /dev/sr0 ]; do sleep 0.1; done
mount -t iso9660 -o ro /dev/sr0 /mnt && echo test: iso $(md5sum /mnt/data.bin | cut -d' ' -f1)
umount /mnt
"""


def client_command(tmp_path, *extra):
    return guests.guest_command(tmp_path, MODULES, INSMOD + DISK + CDROM, extra, guests.guest.GENERIC)


@pytest.fixture(name="image")
def image_fixture(tmp_path):
    return guests.make_ext4(tmp_path / "disk.img")


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


CONTROLLERS = {
    "lsi53c895a": ("QEMU QEMU HARDDISK", "scsi-hd,bus=c.0,drive=d0,serial=disk-7", "scsi-cd,bus=c.0,drive=d1,scsi-id=5"),
    "ich9-ahci": ("ATA QEMU HARDDISK", "ide-hd,bus=c.0,drive=d0,serial=disk-7", "ide-cd,bus=c.2,drive=d1"),
}


def check(out, controller, image, iso, tmp_path):
    assert word(out, "test: model ") == CONTROLLERS[controller][0]
    assert int(word(out, "test: tags ")) > 1
    assert word(out, "test: iso ") == iso[1]
    guests.check_ext4(out, image, tmp_path)


def disks(controller, image, iso):
    return ["-drive", f"id=d0,file={image},format=raw,if=none,discard=unmap",
            "-drive", f"id=d1,file={iso[0]},format=raw,if=none,readonly=on", "-device", f"{controller},id=c",
            "-device", CONTROLLERS[controller][1], "-device", CONTROLLERS[controller][2]]


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_disk_in_process(tmp_path, controller, image, iso):
    out = run(client_command(tmp_path, *disks(controller, image, iso)))
    check(out, controller, image, iso, tmp_path)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_disk_in_another_process(tmp_path, controller, image, iso):
    sock = tmp_path / "disk.sock"
    served = ["-object", f"x-vfio-user-server,id=vfu0,type=unix,path={sock},device=c"]
    with guests.server([sock], *disks(controller, image, iso), *served):
        out = run(client_command(tmp_path, "-device", f"vfio-user-pci,socket={sock}"))
    check(out, controller, image, iso, tmp_path)


def test_disk_of_the_pc(tmp_path, image, iso):
    """-hda and -cdrom of pc, by the bus master of the PIIX3; SeaBIOS and GRUB read the same disk by PIO (test_firmware.py)."""
    out = run(client_command(tmp_path, "-machine", "pc", "-drive", f"file={image},format=raw,discard=unmap", "-cdrom", str(iso[0])))
    assert word(out, "test: model ") == "ATA QEMU HARDDISK" and word(out, "test: tags ") == "1"
    assert word(out, "test: mode ") == "XFER_MW_DMA_2" and word(out, "test: iso ") == iso[1]
    guests.check_ext4(out, image, tmp_path)
