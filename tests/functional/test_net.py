# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest copies a file through its network card and -netdev user: the card in process and in another process."""
import concurrent.futures
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

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
FILE_SIZE = int(os.environ.get("MPQEMU_TEST_FILE_MIB", "16")) << 20
CARDS = {
    "e1000": (guest.GENERIC, ["e1000"]),
    "virtio-net-pci": (guest.CLOUD, ["virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev",
                                     "virtio_pci", "failover", "net_failover", "virtio_net"]),
}

COPY = """
for m in %(modules)s; do insmod /$m.ko || echo test: insmod $m failed; done
i=0; while [ ! -d /sys/class/net/eth0 ] && [ $i -lt 20 ]; do sleep 1; i=$((i + 1)); done
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
i=0; while [ "$(cat /sys/class/net/eth0/carrier)" != 1 ] && [ $i -lt 60 ]; do sleep 1; i=$((i + 1)); done
echo test: mac $(cat /sys/class/net/eth0/address)
wget -q -O /tmp/file http://10.0.2.2:%(port)d/file; echo test: wget $?
echo test: sum $(md5sum /tmp/file | cut -d' ' -f1)
(printf 'POST /back HTTP/1.0\\r\\nContent-Length: %%d\\r\\n\\r\\n' $(stat -c %%s /tmp/file); cat /tmp/file) |
    nc 10.0.2.2 %(port)d | sed -n 's/^HTTP[^ ]* /test: post /p'
echo hello from the guest | timeout 120 nc -l -p 7777 >/dev/null
echo test: errors $(cat /sys/class/net/eth0/statistics/*_errors | tr '\\n' ' ')
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


@pytest.fixture(name="web")
def web_fixture(tmp_path):
    (tmp_path / "www").mkdir()
    (tmp_path / "www/file").write_bytes(os.urandom(FILE_SIZE))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path / "www"))
    server.posted = None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def ask_guest(port, stop):
    """What the guest says at its port 7777, which the host sees at `port`; asks until it is there, or `stop` is set."""
    heard = b""
    while not heard and not stop.wait(0.2):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
                s.shutdown(socket.SHUT_WR)
                heard = s.recv(100)
        except OSError:
            pass
    return heard.decode()


def boot(tmp_path, card, script, args):
    vmlinuz, modules = guest.kernel_with_modules(CARDS[card][1], CARDS[card][0])
    initrd = guest.initramfs(tmp_path / "initrd.gz", guest.PROLOGUE + script + "\npoweroff -f\n",
                             {f.name: (0o100644, f.read_bytes()) for f in modules})
    done = subprocess.run([BINARY, "-machine", "q35,accel=tcg,memory-backend=mem", "-nodefaults", "-m", "256",
                           "-object", "memory-backend-memfd,id=mem,size=256M,share=on", "-nographic",
                           "-serial", "stdio", "-kernel", str(vmlinuz), "-initrd", str(initrd),
                           "-append", "console=ttyS0 quiet", *args],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def word(out, key):
    lines = [line.split(key, 1)[1].strip() for line in out.splitlines() if key in line]
    assert lines, out[-3000:]
    return lines[0]


@pytest.mark.parametrize("where", ["in-process", "remote"])
@pytest.mark.parametrize("card", CARDS)
def test_copy(tmp_path, web, card, where):
    port, stop = free_port(), threading.Event()
    netdev = ["-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:7777"]
    device = f"{card},netdev=n0,mac=52:54:00:ab:cd:ef"
    script = COPY % {"modules": " ".join(CARDS[card][1]), "port": web.server_port}
    pool = concurrent.futures.ThreadPoolExecutor()
    heard = pool.submit(ask_guest, port, stop)
    if where == "in-process":
        out = boot(tmp_path, card, script, [*netdev, "-device", device])
    else:
        sock = tmp_path / "card.sock"
        with subprocess.Popen([BINARY, "-machine", "x-remote,vfio-user=on", "-nodefaults", *netdev,
                               "-device", f"{device},id=card0",
                               "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={sock},device=card0"]) as server:
            while not sock.exists():
                assert server.poll() is None
                time.sleep(0.01)
            out = boot(tmp_path, card, script, ["-device", f"vfio-user-pci,socket={sock}"])
            assert server.wait() == 0
    stop.set()
    want = hashlib.md5((tmp_path / "www/file").read_bytes()).hexdigest()
    assert word(out, "test: mac ") == "52:54:00:ab:cd:ef"
    assert word(out, "test: wget ") == "0" and word(out, "test: sum ") == want, out[-3000:]
    assert word(out, "test: post ").startswith("200") and web.posted == want, out[-3000:]
    assert heard.result() == "hello from the guest\n"
    assert set(word(out, "test: errors ").split()) == {"0"}
