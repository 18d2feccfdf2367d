# SPDX-License-Identifier: GPL-2.0-or-later
"""What the network tests share: a web server on loopback, guests with the modules of a card, servers of devices."""
import contextlib
import functools
import hashlib
import http.server
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
VIRTIO = ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"]
CARDS = {
    "e1000": (guest.GENERIC, ["e1000"]),
    "virtio-net-pci": (guest.CLOUD, [*VIRTIO, "failover", "net_failover", "virtio_net"]),
}
# The card comes up; %(ip)s is its address.
CARD_UP = """
for m in %(modules)s; do insmod /$m.ko || echo test: insmod $m failed; done
i=0; while [ ! -d /sys/class/net/eth0 ] && [ $i -lt 20 ]; do sleep 1; i=$((i + 1)); done
ip link set lo up; ip link set eth0 up; ip addr add %(ip)s/24 dev eth0
i=0; while [ "$(cat /sys/class/net/eth0/carrier)" != 1 ] && [ $i -lt 60 ]; do sleep 1; i=$((i + 1)); done
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the directory, and notes the sum of what is posted."""

    def do_POST(self):  # noqa: N802
        digest, left = hashlib.md5(), int(self.headers["Content-Length"])
        while left:
            data = self.rfile.read(min(left, 65536))
            digest.update(data)
            left -= len(data)
        self.server.posted = digest.hexdigest()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def web_server(directory, size, address="127.0.0.1"):
    """Serves `file` of so many bytes; has .port, .sum (of the file) and .posted (the sum of what came)."""
    directory.mkdir()
    data = os.urandom(size)
    (directory / "file").write_bytes(data)
    server = http.server.ThreadingHTTPServer((address, 0), functools.partial(Handler, directory=directory))
    server.posted, server.port, server.sum = None, server.server_port, hashlib.md5(data).hexdigest()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def guest_command(tmp_path, modules, script, args, meta=guest.CLOUD, name="guest", ram=256):
    vmlinuz, files = guest.kernel_with_modules(modules, meta)
    initrd = guest.initramfs(tmp_path / f"{name}.gz", guest.PROLOGUE + script + "\npoweroff -f\n",
                             {f.name: (0o100644, f.read_bytes()) for f in files})
    return [BINARY, "-machine", "q35,accel=tcg,memory-backend=mem", "-nodefaults", "-m", str(ram),
            "-object", f"memory-backend-memfd,id=mem,size={ram}M,share=on", "-nographic", "-serial", "stdio",
            "-kernel", str(vmlinuz), "-initrd", str(initrd), "-append", "console=ttyS0 no_timer_check quiet", *args]


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
