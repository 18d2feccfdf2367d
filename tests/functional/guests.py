# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests with real guests share: guests with modules and a script, servers of their devices, disks with a file system."""
import contextlib
import hashlib
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
VIRTIO = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"]
# A file written, synced and read again after a remount; %s is the disk.
USE_EXT4 = """
mount -t ext4 /dev/%s /mnt && dd if=/dev/urandom of=/mnt/file bs=64k count=128 2>/dev/null && sync
sum=$(md5sum /mnt/file | cut -d' ' -f1)
umount /mnt && echo 3 >/proc/sys/vm/drop_caches && mount -t ext4 /dev/%s /mnt
[ "$(md5sum /mnt/file | cut -d' ' -f1)" = "$sum" ] && echo test: sum $sum
fstrim=$(fstrim -v /mnt 2>&1); echo test: trim $?
umount /mnt && echo test: unmounted
"""


def make_ext4(path):
    with open(path, "wb") as f:
        f.truncate(64 << 20)
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", str(path)], check=True)
    return path


def check_ext4(out, image, tmp_path):
    """What the guest said in USE_EXT4 is what the host finds in the image."""
    assert "test: unmounted" in out and word(out, "test: trim ") == "0", out[-3000:]
    subprocess.run(["/sbin/e2fsck", "-fn", str(image)], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["/sbin/debugfs", "-R", f"dump /file {tmp_path}/file", str(image)], check=True,
                   stderr=subprocess.DEVNULL)
    assert word(out, "test: sum ") == hashlib.md5((tmp_path / "file").read_bytes()).hexdigest()


def guest_command(tmp_path, modules, script, args, meta=guest.CLOUD, name="guest", ram=256):
    vmlinuz, files = guest.kernel_with_modules(modules, meta)
    initrd = guest.initramfs(tmp_path / f"{name}.gz", guest.PROLOGUE + script + "\npoweroff -f\n",
                             {f.name: (0o100644, f.read_bytes()) for f in files})
    return [BINARY, "-machine", "q35,accel=tcg,memory-backend=mem", "-nodefaults", "-m", str(ram),
            "-object", f"memory-backend-memfd,id=mem,size={ram}M,share=on", "-nographic", "-serial", "stdio",
            "-kernel", str(vmlinuz), "-initrd", str(initrd), "-append", guest.CMDLINE, *args]


def run(command):
    """What the guest says on its serial port until it powers off."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace",
                          check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def serve_args(sock, device):
    """Arguments that serve `device` (with its id last: ...,id=NAME) at a socket."""
    name = device.rsplit("id=", 1)[1]
    return ["-device", device, "-object", f"x-vfio-user-server,id=vfu-{name},type=unix,path={sock},device={name}"]


@contextlib.contextmanager
def server(socks, *args):
    """A process that serves devices at `socks`; it ends with its last client."""
    with subprocess.Popen([BINARY, "-machine", "x-remote,vfio-user=on", "-nodefaults", *args]) as process:
        try:
            while not all(sock.exists() for sock in socks):
                assert process.poll() is None
                time.sleep(0.01)
            yield process
            assert process.wait() == 0
        finally:
            process.kill()


def word(out, key):
    lines = [line.split(key, 1)[1].strip() for line in out.splitlines() if key in line]
    assert lines, out[-3000:]
    return lines[0]
