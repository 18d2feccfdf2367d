# SPDX-License-Identifier: GPL-2.0-or-later
"""kill -9 of a machine whose guest writes to a file system on a served disk: what was synced is there, the file system is
whole, and the server is ready for the next machine."""
import hashlib
import shutil
import subprocess

import pytest

import guests
from test_guest import Qmp, client_command, console_words, make_initrd

WAIT = """
while [ ! -b /dev/nvme0n1 ]; do sleep 0.1; done
mount -t ext4 /dev/nvme0n1 /mnt || echo test: mount failed
"""
# A second writer keeps the disk busy with what nobody was promised.
WRITE = WAIT + """
while true; do dd if=/dev/urandom of=/mnt/noise bs=64k count=64 2>/dev/null; sync; rm /mnt/noise; done &
n=0
while true; do
    dd if=/dev/urandom of=/mnt/part bs=64k count=4 conv=fsync 2>/dev/null && mv /mnt/part /mnt/$n && sync
    echo test: synced $n $(md5sum /mnt/$n | cut -d' ' -f1)
    n=$((n + 1)); [ $n -lt 60 ] || n=0
done
"""
READ = WAIT + """
cd /mnt; md5sum [0-9]* | sed 's/^/test: found /'; cd /
umount /mnt && echo test: unmounted
"""
ENOUGH = 5


def synced_until_killed(command):
    """File name to sum, of what the guest said is synced before its machine was killed under it."""
    sums = {}
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace") as client:
        try:
            for line in client.stdout:
                assert "test: mount failed" not in line
                if "test: synced " in line:
                    name, digest = line.split("test: synced ", 1)[1].split()
                    sums[name] = digest
                if len(sums) == ENOUGH:
                    break
        finally:
            client.kill()
    assert len(sums) == ENOUGH
    return sums


def check_image(image, sums, tmp_path):
    """Of a copy, whose journal is replayed as the next mount will."""
    copy = tmp_path / "copy.img"
    shutil.copyfile(image, copy)
    assert subprocess.run(["/sbin/e2fsck", "-fp", str(copy)], stdout=subprocess.DEVNULL, check=False).returncode in (0, 1)
    subprocess.run(["/sbin/e2fsck", "-fn", str(copy)], check=True, stdout=subprocess.DEVNULL)
    for name, digest in sums.items():
        subprocess.run(["/sbin/debugfs", "-R", f"dump /{name} {tmp_path}/file", str(copy)], check=True,
                       stderr=subprocess.DEVNULL)
        assert hashlib.md5((tmp_path / "file").read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("option", ["", ",no-direct-dma=on"])
def test_image_is_consistent_and_the_server_ready(tmp_path, option):
    image, sock, qmp_path = tmp_path / "disk.img", tmp_path / "disk.sock", tmp_path / "qmp"
    guests.make_ext4(image)
    server = subprocess.Popen([guests.BINARY, "-machine", "x-remote,vfio-user=on,auto-shutdown=off", "-nodefaults",
                               "-qmp", f"unix:{qmp_path},server=on,wait=off",
                               "-drive", f"id=d0,file={image},format=raw,if=none", "-device", "nvme,id=nvme0,serial=s,drive=d0",
                               "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={sock},device=nvme0"])
    try:
        qmp = Qmp(qmp_path)
        remote = ["-device", f"vfio-user-pci,socket={sock}{option}"]
        sums = synced_until_killed(client_command(make_initrd(tmp_path, WRITE), *remote))
        while "VFU_CLIENT_HANGUP" not in [event["event"] for event in qmp.events]:
            assert "return" in qmp.run("query-status")
        check_image(image, sums, tmp_path)
        done = subprocess.run(client_command(make_initrd(tmp_path, READ), *remote), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True, errors="replace", check=False)
        assert done.returncode == 0 and "test: unmounted" in done.stdout, done.stdout[-3000:]
        found = dict(reversed(line.split()) for line in console_words(done.stdout, "test: found "))
        assert {name: found.get(name) for name in sums} == sums
        qmp.run("quit")
        assert server.wait() == 0
    finally:
        server.kill()
    subprocess.run(["/sbin/e2fsck", "-fn", str(image)], check=True, stdout=subprocess.DEVNULL)
