# SPDX-License-Identifier: GPL-2.0-or-later
"""Real guests: a stock Debian kernel with its disk in process and in another process."""
import hashlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
APPEND = guest.CMDLINE


class Qmp:
    """A QMP connection; events are kept in `events`."""

    def __init__(self, path):
        self.events = []
        for _ in range(1000):
            try:
                self.sock = socket.socket(socket.AF_UNIX)
                self.sock.connect(str(path))
                break
            except OSError:
                time.sleep(0.02)
        self.file = self.sock.makefile("r")
        assert "QMP" in json.loads(self.file.readline())
        self.run("qmp_capabilities")

    def run(self, command, **arguments):
        self.sock.sendall((json.dumps({"execute": command, "arguments": arguments}) + "\n").encode())
        while True:
            reply = json.loads(self.file.readline())
            if "event" in reply:
                self.events.append(reply)
            else:
                return reply


@pytest.fixture(name="image")
def image_fixture(tmp_path):
    path = tmp_path / "disk.img"
    with open(path, "wb") as f:
        f.truncate(64 << 20)
    return path


@pytest.fixture(name="server")
def server_fixture(tmp_path, image):
    """Starts NVMe servers; all are ended after the test."""
    started = []

    def start(name="vfio-user.sock"):
        sock = tmp_path / name
        process = subprocess.Popen(
            [BINARY, "-machine", "x-remote,vfio-user=on", "-nodefaults",
             "-drive", f"id=d0,file={image},format=raw,if=none", "-device", "nvme,id=nvme0,serial=s,drive=d0",
             "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={sock},device=nvme0"])
        started.append(process)
        while not sock.exists():
            assert process.poll() is None
            time.sleep(0.01)
        return process, sock

    yield start
    for process in started:
        process.kill()
        process.wait()


def client_command(initrd, *extra):
    return [BINARY, "-machine", "q35,accel=tcg", "-nodefaults", "-m", "256", "-nographic", "-serial", "stdio",
            "-object", "memory-backend-memfd,id=mem,size=256M,share=on", "-machine", "memory-backend=mem",
            "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", APPEND, *extra]


def make_initrd(tmp_path, script):
    return guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + script + "\npoweroff -f\n")


VERIFY = """
while [ ! -b /dev/nvme0n1 ]; do sleep 0.1; done
dd if=/dev/urandom of=/tmp/data bs=64k count=64 2>/dev/null
dd if=/tmp/data of=/dev/nvme0n1 bs=64k conv=fsync 2>/dev/null && echo test: written
echo 3 >/proc/sys/vm/drop_caches
echo test: sum $(dd if=/dev/nvme0n1 bs=64k count=64 2>/dev/null | md5sum | cut -d' ' -f1)
grep -c nvme0q /proc/interrupts | sed 's/^/test: vectors /'
"""


def console_words(out, key):
    return [line.split(key, 1)[1].strip() for line in out.splitlines() if key in line]


def check_disk(out, image):
    sums = console_words(out, "test: sum ")
    assert sums == [hashlib.md5(image.read_bytes()[:4 << 20]).hexdigest()], out[-3000:]
    assert image.read_bytes()[:4 << 20] != bytes(4 << 20)
    assert int(console_words(out, "test: vectors ")[0]) >= 2


def test_disk_in_process(tmp_path, image):
    initrd = make_initrd(tmp_path, VERIFY)
    done = subprocess.run(client_command(initrd, "-drive", f"id=d0,file={image},format=raw,if=none",
                                         "-device", "nvme,serial=s,drive=d0"),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace", check=False)
    assert done.returncode == 0
    check_disk(done.stdout, image)


@pytest.mark.parametrize("option", ["", ",no-direct-dma=on", ",x-no-posted-writes=on"])
def test_disk_in_another_process(tmp_path, image, server, option):
    process, sock = server()
    initrd = make_initrd(tmp_path, VERIFY)
    done = subprocess.run(client_command(initrd, "-device", f"vfio-user-pci,socket={sock}{option}"),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    check_disk(done.stdout, image)
    assert process.wait() == 0  # auto-shutdown: its last client has left


def test_ram_that_cannot_be_shared(tmp_path, image, server):
    """RAM without an fd: DMA goes by messages, the guest does not notice."""
    _, sock = server()
    initrd = make_initrd(tmp_path, VERIFY)
    command = [BINARY, "-machine", "q35,accel=tcg", "-nodefaults", "-m", "256", "-nographic", "-serial", "stdio",
               "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", APPEND,
               "-device", f"vfio-user-pci,socket={sock}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace",
                          check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    check_disk(done.stdout, image)


def test_server_killed_under_io(tmp_path, server):
    """The guest sees I/O errors, the client lives and answers, and the device can be removed."""
    process, sock = server()
    qmp_path = tmp_path / "qmp.sock"
    initrd = guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + """
while [ ! -b /dev/nvme0n1 ]; do sleep 0.1; done
echo test: io
while dd if=/dev/zero of=/dev/nvme0n1 bs=64k count=64 conv=fsync 2>/dev/null; do echo test: again; done
echo test: io-error
while true; do echo test: alive; sleep 1; done
""")
    command = client_command(initrd, "-qmp", f"unix:{qmp_path},server=on,wait=off",
                             "-device", f"vfio-user-pci,socket={sock},id=disk")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          errors="replace") as client:
        try:
            qmp = Qmp(qmp_path)
            for line in client.stdout:
                if "test: again" in line:
                    break
            process.kill()
            assert qmp.run("query-status")["return"]["running"]
            lines = []
            for line in client.stdout:
                lines.append(line)
                if "test: alive" in line:
                    break
            assert any("test: io-error" in line for line in lines)
            assert qmp.run("query-status")["return"]["running"]
            assert "return" in qmp.run("device_del", id="disk")
            assert "error" in qmp.run("qom-get", path="/machine/peripheral/disk", property="x-msg-timeout")
            assert "DEVICE_DELETED" in [event["event"] for event in qmp.events]
            qmp.run("quit")
            for line in client.stdout:
                pass
            assert client.wait() == 0
        finally:
            client.kill()


def test_system_reset_reboots(tmp_path, image, server):
    """system_reset boots the kernel again and the remote disk with it."""
    _, sock = server()
    qmp_path = tmp_path / "qmp.sock"
    initrd = guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + """
while [ ! -b /dev/nvme0n1 ]; do sleep 0.1; done
[ -b /dev/nvme0n1 ] && echo test: disk
while true; do sleep 1; done
""")
    command = client_command(initrd, "-qmp", f"unix:{qmp_path},server=on,wait=off",
                             "-device", f"vfio-user-pci,socket={sock},id=disk")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          errors="replace") as client:
        try:
            qmp = Qmp(qmp_path)
            for boot in range(2):
                for line in client.stdout:
                    if "test: disk" in line:
                        break
                else:
                    pytest.fail(f"boot {boot}: the disk never came")
                if boot == 0:
                    assert "return" in qmp.run("system_reset")
            qmp.run("quit")
            for line in client.stdout:
                pass
            assert client.wait() == 0
        finally:
            client.kill()
