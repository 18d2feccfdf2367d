# SPDX-License-Identifier: GPL-2.0-or-later
"""What the network tests share: a web server on loopback, and cards with their modules; see also guests.py."""
import contextlib
import functools
import hashlib
import http.server
import os
import socket
import threading

from guests import BINARY, VIRTIO, guest, guest_command, run, serve_args, server, word  # noqa: F401

CARDS = {
    "e1000": (guest.GENERIC, ["e1000"]),
    "virtio-net-pci": (guest.CLOUD, [*VIRTIO, "failover", "net_failover", "virtio_net"]),
}
# The card comes up; %(ip)s is its address.
CARD_UP = """
for m in %(modules)s; do insmod /$m.ko || echo test: insmod $m failed; done
while [ ! -d /sys/class/net/eth0 ]; do sleep 0.1; done
ip link set lo up; ip link set eth0 up; ip addr add %(ip)s/24 dev eth0
while [ "$(cat /sys/class/net/eth0/carrier)" != 1 ]; do sleep 0.1; done
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
