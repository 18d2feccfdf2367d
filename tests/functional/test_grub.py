# SPDX-License-Identifier: GPL-2.0-or-later
"""Firmware, GRUB, Debian's kernel and systemd from one disk: every controller, in process and remote, pc and q35, one CPU and four.

By default as few machines as hold each pair of values, two of which reboot; GRUB_MATRIX=all boots all of them, each twice.
"""
import hashlib
import itertools
import os
import pathlib
import re
import subprocess
import sys

import pytest

import guests

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import bootdisk  # noqa: E402
import guest  # noqa: E402

WHOLE = os.environ.get("GRUB_MATRIX") == "all"
# The devices of a controller; what goes to the bus that it lacks is the board's own.
DEVICES = {"ahci": ["ahci,id=c", "ide-hd,bus=c.3,drive=d0"], "nvme": ["nvme,id=c,serial=s,drive=d0"],
           "virtio-blk": ["virtio-blk-pci,id=c,drive=d0"], "lsi": ["lsi53c895a,id=c", "scsi-hd,bus=c.0,scsi-id=2,drive=d0"]}
NAMES = {"ahci": "sda1", "nvme": "nvme0n1p1", "virtio-blk": "vda1", "lsi": "sda1"}
VALUES = {"controller": list(DEVICES), "where": ["local", "remote"], "machine": ["q35", "pc"], "cpus": [1, 4]}
REBOOT = [("nvme", "remote", "q35", 4), ("virtio-blk", "remote", "pc", 1)]

DISKS = ["scsi_common", "scsi_mod", "crct10dif_common", "crct10dif_generic", "crc-t10dif", "crc64", "crc64-rocksoft",
         "crc64_rocksoft_generic", "t10-pi", "sd_mod"]
# What the class of a PCI function needs; the file system's come first.
MODULES = {"always": ["crc16", "crc32c_generic", "libcrc32c", "mbcache", "jbd2", "ext4", "autofs4"],
           "0x0100??": [*DISKS, "scsi_transport_spi", "sym53c8xx"], "0x0101??": [*DISKS, "libata", "ata_piix"],
           "0x0106??": [*DISKS, "libata", "libahci", "ahci"],
           "0x0108??": ["crct10dif_common", "crct10dif_generic", "crc-t10dif", "crc64", "crc64-rocksoft", "crc64_rocksoft_generic",
                        "t10-pi", "nvme-core", "nvme"],
           "virtio": [*guests.VIRTIO, "virtio_blk"]}
INIT = guest.PROLOGUE + """
load() { for m in "$@"; do [ -d /sys/module/$(echo $m | tr - _) ] || insmod /$m.ko $([ $m = sym53c8xx ] && echo settle=0); done; }
load %(always)s
for d in /sys/bus/pci/devices/*; do
    case $(cat $d/vendor $d/class | tr -d '\\n') in
    0x1af4*) load %(virtio)s ;;
%(cases)s    esac
done
while ! disk=$(findfs UUID=%(uuid)s 2>/dev/null); do sleep 0.1; done
mount -t ext4 $disk /mnt
umount /proc /sys
mount --move /dev /mnt/dev
exec switch_root /mnt /usr/lib/systemd/systemd
"""

# Without what nobody has here (a message bus, users, a network, terminals) or what only costs time.
MASKED = ["getty.target", "systemd-ask-password-console.path", "systemd-ask-password-wall.path", "systemd-firstboot.service",
          "systemd-initctl.socket", "systemd-journal-flush.service", "systemd-logind.service", "systemd-random-seed.service",
          "systemd-sysusers.service", "systemd-tmpfiles-clean.timer", "systemd-tmpfiles-setup.service",
          "systemd-tmpfiles-setup-dev.service", "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service",
          "systemd-user-sessions.service", "kmod-static-nodes.service", "systemd-modules-load.service", "systemd-sysctl.service",
          "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount",
          "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount", "systemd-binfmt.service"]
UNIT = """[Unit]
Description=Says what came up
[Service]
ExecStart=/bin/bash /proof/proof.sh
StandardOutput=tty
TTYPath=/dev/ttyS0
"""
# The first boot leaves a file to the second, which the machine's firmware has to find the way to again.
PROOF = """
cd /proof
state=$(systemctl is-system-running --wait)
echo "test: $state $(cat /proc/1/comm) cpus $(nproc) root $(findmnt -no SOURCE,FSTYPE /) boot $(($(cat boots 2>/dev/null | wc -l) + 1))"
systemctl --failed --no-legend --plain | sed 's/^/test: failed /'
echo "test: sum $(sha256sum data | cut -d' ' -f1)"
dmesg | grep -iE 'ACPI (BIOS )?(Error|Warning|Exception)|I/O error|timed? ?out|EXT4-fs (error|warning)' | sed 's/^/test: bad /'
cat /proc/sys/kernel/random/boot_id >>boots
[ $(cat boots | wc -l) = 1 ] && [ -e again ] && exec systemctl start reboot.target
sha256sum data boots >sums
exec systemctl start poweroff.target
"""


def pairwise_cases():
    """Two machines of each controller, opposite in all else: every pair of values of two columns is in one of them."""
    cases = []
    for n, controller in enumerate(DEVICES):
        for b in range(2):
            bits = [b, b ^ n & 1, b ^ n >> 1]
            cases.append((controller, *(values[bit] for values, bit in zip(list(VALUES.values())[1:], bits))))
    return cases


CASES = list(itertools.product(*VALUES.values())) if WHOLE else pairwise_cases()


def test_cases_hold_every_pair():
    for a, b in itertools.combinations(range(len(VALUES)), 2):
        columns = list(VALUES.values())
        assert {(case[a], case[b]) for case in pairwise_cases()} == set(itertools.product(columns[a], columns[b]))


def write_userland(tree, data):
    subprocess.run(["cp", "-a", f"{guest.systemd_root()}/.", str(tree)], check=True)
    units = tree / "etc/systemd/system"
    (units / "multi-user.target.wants").mkdir(parents=True)
    for name in MASKED:
        (units / name).symlink_to("/dev/null")
    generators = tree / "etc/systemd/system-generators"
    generators.mkdir()
    for generator in (tree / "usr/lib/systemd/system-generators").iterdir():
        (generators / generator.name).symlink_to("/dev/null")
    (units / "default.target").symlink_to("/usr/lib/systemd/system/multi-user.target")
    (units / "proof.service").write_text(UNIT)
    (units / "multi-user.target.wants/proof.service").symlink_to("../proof.service")
    (tree / "proof").mkdir()
    (tree / "proof/proof.sh").write_text(PROOF)
    (tree / "proof/data").write_bytes(data)


@pytest.fixture(name="disks", scope="module")
def disks_fixture(tmp_path_factory):
    """Images that boot once and twice, and the sum of a file on them."""
    work = tmp_path_factory.mktemp("grub")
    names = sorted({name for names in MODULES.values() for name in names})
    vmlinuz, files = guest.kernel_with_modules(names, guest.GENERIC)
    cases = "".join(f"    0x????{pattern}) load {' '.join(names)} ;;\n" for pattern, names in MODULES.items() if pattern.startswith("0x"))
    init = INIT % {"always": " ".join(MODULES["always"]), "virtio": " ".join(MODULES["virtio"]), "cases": cases, "uuid": bootdisk.UUID}
    initrd = guest.initramfs(work / "initrd.gz", init, {f.name: (0o100644, f.read_bytes()) for f in files})
    data, images = os.urandom(4 << 20), {}
    for boots in (1, 2):
        tree = work / f"tree{boots}"
        tree.mkdir()
        write_userland(tree, data)
        if boots == 2:
            (tree / "proof/again").touch()
        images[boots] = bootdisk.make(work / f"disk{boots}.img", vmlinuz, initrd, guest.CMDLINE, tree, 160 << 20)
    return images, hashlib.sha256(data).hexdigest()


def file_of(image, name):
    """A file of the partition, as the host reads it."""
    at = f"{image}?offset={bootdisk.FIRST * bootdisk.SECTOR}"
    return subprocess.run(["/sbin/debugfs", "-R", f"cat {name}", at], check=True, capture_output=True, text=True).stdout


def check_boots(done, image, boots, cpus, disk, data):
    out = re.sub("\x1b(\\[[0-9;?]*[A-Za-z]|c)|\r", "", done.stdout)  # without what moves the cursor
    assert done.returncode == 0, out[-3000:]
    found = re.findall(r"test: (.*)", out)
    assert found == [line for n in range(boots) for line in (f"running systemd cpus {cpus} root /dev/{disk} ext4 boot {n + 1}", f"sum {data}")], out[-3000:]
    assert out.count("SeaBIOS (version") == out.count("GRUB starts Linux") == boots, out
    assert out.count("reboot: Restarting system") == boots - 1 and out.count("reboot: Power down") == 1, out
    ids = file_of(image, "/proof/boots")
    assert len(set(ids.split())) == boots
    assert file_of(image, "/proof/sums") == f"{data}  data\n{hashlib.sha256(ids.encode()).hexdigest()}  boots\n"
    subprocess.run(["/sbin/e2fsck", "-fn", f"{image}?offset={bootdisk.FIRST * bootdisk.SECTOR}"], check=True, stdout=subprocess.DEVNULL)


def boot(machine, cpus, *args):
    return subprocess.run([guests.BINARY, "-machine", f"{machine},accel=tcg,memory-backend=mem", "-m", "256", "-smp", str(cpus), "-nodefaults",
                           "-object", "memory-backend-memfd,id=mem,size=256M,share=on", "-nographic", "-serial", "stdio", *args],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace", check=False)


@pytest.fixture(name="image_of")
def image_of_fixture(disks, tmp_path):
    """A copy of the image for one test, the sum of its file."""
    def copy(boots):
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", disks[0][boots], tmp_path / "disk.img"], check=True)
        return tmp_path / "disk.img", disks[1]

    return copy


@pytest.mark.parametrize("controller, where, machine, cpus", CASES)
def test_grub_boots_systemd(image_of, tmp_path, controller, where, machine, cpus):
    """Up to systemd's last target; a reboot goes through firmware and GRUB again, the end is ACPI's power-off."""
    boots = 2 if WHOLE or (controller, where, machine, cpus) in REBOOT else 1
    image, data = image_of(boots)
    drive = ["-drive", f"id=d0,file={image},format=raw,if=none"]
    devices = [arg for device in DEVICES[controller] for arg in ("-device", device)]
    if where == "local":
        devices[-1] += ",bootindex=0"
        done = boot(machine, cpus, *drive, *devices)
    else:
        sock = tmp_path / "disk.sock"
        with guests.server([sock], *drive, *devices, "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={sock},device=c"):
            done = boot(machine, cpus, "-device", f"vfio-user-pci,socket={sock},bootindex=0")
    check_boots(done, image, boots, cpus, NAMES[controller], data)


def test_grub_boots_from_ide(image_of):
    """A -drive that says nothing goes to the pc's own IDE function."""
    image, data = image_of(1)
    check_boots(boot("pc", 1, "-drive", f"file={image},format=raw"), image, 1, 1, "sda1", data)
