# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian userland on a disk in another process: shell, Python, Perl, a compiler and openssl print what they print here."""
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
SCRIPT = ROOT / "tests/functional/userland.sh"
INIT = guest.PROLOGUE + """
while [ ! -b /dev/nvme0n1 ]; do sleep 0.1; done
mount -t ext4 -o ro,noload /dev/nvme0n1 /mnt && mount -t tmpfs tmp /mnt/tmp && mount -t proc proc /mnt/proc && mount -o bind /dev /mnt/dev
cp /userland.sh /mnt/tmp
chroot /mnt /bin/bash /tmp/userland.sh 2>&1 | sed 's/^/out: /'
poweroff -f
"""
TOOLS = ["bash", "python3", "perl", "gcc", "openssl"]


@pytest.mark.skipif(not all(shutil.which(tool) for tool in TOOLS), reason=f"one of {', '.join(TOOLS)} is not installed")
@pytest.mark.parametrize("cpus", [1, 4])
def test_prints_what_the_host_prints(tmp_path, cpus):
    sock = tmp_path / "nvme.sock"
    initrd = guest.initramfs(tmp_path / "initrd.gz", INIT, {"userland.sh": (0o100644, SCRIPT.read_bytes())})
    server = [BINARY, "-machine", "x-remote,vfio-user=on", "-nodefaults", "-drive",
              f"id=d0,file={guest.userland()},format=raw,if=none,readonly=on", "-device", "nvme,id=nvme0,serial=s,drive=d0",
              "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={sock},device=nvme0"]
    client = [BINARY, "-machine", "q35,accel=tcg,memory-backend=mem", "-cpu", "max", "-smp", str(cpus), "-nodefaults", "-nographic",
              "-serial", "stdio", "-object", "memory-backend-memfd,id=mem,size=512M,share=on", "-kernel", str(guest.kernel()), "-initrd", str(initrd),
              "-append", guest.CMDLINE, "-device", f'{{"driver":"vfio-user-pci","socket":{{"type":"unix","path":"{sock}"}}}}']
    host = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, check=True).stdout.splitlines()
    with subprocess.Popen(server) as process:
        try:
            while not sock.exists():
                assert process.poll() is None
                time.sleep(0.01)
            out = subprocess.run(client, stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout.decode(errors="replace")
        finally:
            process.kill()
    assert host[-1] == "all done"
    assert [line.split("out: ", 1)[1].rstrip() for line in out.splitlines() if "out: " in line] == [line.rstrip() for line in host], out[-3000:]
