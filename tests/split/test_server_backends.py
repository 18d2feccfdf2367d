# SPDX-License-Identifier: GPL-2.0-or-later
"""Back ends work where their served device does: with the server's main loop held up, frames and characters go on."""
import json
import mmap
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from remote_server import (IO, MASTER, MEMORY, RemoteServer, attach, command, enable, memory_file, start_fails,  # noqa: E402
                           until)
from test_server_loop import NvmeClient  # noqa: E402
from vfio_user import READABLE, WRITEABLE  # noqa: E402

RAM = 1 << 20
RBR, LSR = 0, 5
RCTL, TCTL, RDBAL, RDLEN, RDT, TDBAL, TDLEN, TDT = 0x100, 0x400, 0x2800, 0x2808, 0x2818, 0x3800, 0x3808, 0x3818


class Silence:
    """While it lasts, the server's main loop waits for an NBD server that says nothing."""

    def __init__(self, server, tmp_path):
        self.server, self.listener = server, socket.socket(socket.AF_UNIX)
        self.listener.bind(str(tmp_path / "silent"))
        self.listener.listen(1)
        self.path = str(tmp_path / "silent")

    def __enter__(self):
        request = {"execute": "blockdev-add", "arguments": {"driver": "nbd", "node-name": "n", "server": {
            "type": "unix", "path": self.path}}}
        self.server.conn.sendall(json.dumps(request).encode() + b"\n")
        self.conn, _ = self.listener.accept()

    def answers(self):
        return [line for line in self.heard.splitlines() if b'"event"' not in line]

    def __exit__(self, *_):
        self.heard = self.server.conn.recv(65536) if select.select([self.server.conn], [], [], 0)[0] else b""
        assert not self.answers()  # it was held up all the while
        self.conn.close()
        self.listener.close()
        while not (self.heard.endswith(b"\n") and self.answers()):
            self.heard += self.server.conn.recv(65536)
        assert b'"error"' in self.answers()[0]


def connected(listener):
    listener.settimeout(300)
    conn, _ = listener.accept()
    conn.settimeout(300)
    return conn


def listening(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)
    return listener


FRAME = b"\xff" * 6 + bytes(range(94))


def e1000_driver(client):
    """A card that sends and receives, by rings of 16 in the memory that is returned."""
    memory = memory_file(RAM)
    client.map(0, RAM, READABLE | WRITEABLE, memory)
    ram = mmap.mmap(memory, RAM)
    os.close(memory)
    enable(client, MEMORY | MASTER)
    ram[0x2000:0x2100] = b"".join(struct.pack("<QQ", 0x8000 + 2048 * i, 0) for i in range(16))
    ram[0x4000:0x4064] = FRAME
    for reg, value in ((TDBAL, 0x1000), (TDLEN, 256), (TCTL, 2), (RDBAL, 0x2000), (RDLEN, 256), (RDT, 15), (RCTL, 0x8002)):
        client.write(0, reg, struct.pack("<I", value))
    return ram


def e1000_send(client, ram, i):
    ram[0x1000 + 16 * i:0x1010 + 16 * i] = struct.pack("<QII", 0x4000, 100 | 0x0b << 24, 0)
    client.write(0, TDT, struct.pack("<I", i + 1))


def on_the_wire(data):
    return struct.pack(">I", len(data)) + data


@pytest.mark.parametrize("options", [{}, {"iothread": "io0"}])
def test_network(tmp_path, options):
    listener = listening(tmp_path / "wire")
    server = RemoteServer(tmp_path, "-object", "iothread,id=io0", "-netdev",
                          f"stream,id=n0,addr.type=unix,addr.path={tmp_path}/wire", "-device", "e1000,netdev=n0,id=nic")
    client, wire = attach(server.serve("nic", **options)), connected(listener)
    ram = e1000_driver(client)
    with Silence(server, tmp_path):
        for i in range(10):
            e1000_send(client, ram, i)
            assert wire.recv(104, socket.MSG_WAITALL) == on_the_wire(FRAME)
            wire.sendall(on_the_wire(FRAME))
            while not ram[0x200c + 16 * i] & 1:
                assert client.read(0, 8, 4)
            assert ram[0x8000 + 2048 * i:0x8064 + 2048 * i] == FRAME
    client.close()
    wire.close()
    assert server.close() == 0


def test_clients_that_leave_under_traffic(tmp_path):
    """Frames go on in both directions while clients come, drive the card and vanish; nothing is left behind of them."""
    listener = listening(tmp_path / "wire")
    server = RemoteServer(tmp_path, "-netdev", f"stream,id=n0,addr.type=unix,addr.path={tmp_path}/wire",
                          "-device", "e1000,netdev=n0,id=nic")
    path, wire, fds = server.serve("nic"), connected(listener), None
    stop = threading.Event()

    def traffic():
        while not stop.is_set():
            wire.sendall(on_the_wire(FRAME) * 8)
            if select.select([wire], [], [], 0)[0]:
                wire.recv(65536)

    thread = threading.Thread(target=traffic)
    thread.start()
    for n in range(60):
        client = attach(path)
        ram = e1000_driver(client)
        for i in range(n % 8):
            e1000_send(client, ram, i)
        client.close()
        server.event("VFU_CLIENT_HANGUP")
        fds = server.fds() if n == 9 else fds
    assert server.fds() <= fds
    client = attach(path)
    ram = e1000_driver(client)
    until(lambda: ram[0x200c] & 1, "a frame")
    stop.set()
    client.close()
    thread.join()
    wire.close()
    assert server.close() == 0


def test_characters(tmp_path):
    listener = listening(tmp_path / "line")
    server = RemoteServer(tmp_path, "-chardev", f"socket,id=c0,path={tmp_path}/line", "-device", "pci-serial,chardev=c0,id=tty")
    line = connected(listener)
    client = attach(server.serve("tty"))
    enable(client, IO)
    with Silence(server, tmp_path):
        for byte in b"hello":
            client.write(0, RBR, bytes([byte]))
            assert line.recv(1) == bytes([byte])
            line.sendall(bytes([byte ^ 0x20]))
            while not client.read(0, LSR, 1)[0] & 1:
                pass
            assert client.read(0, RBR, 1) == bytes([byte ^ 0x20])
    client.close()
    line.close()
    assert server.close() == 0


def test_host_device(tmp_path):
    """A block device of the host: written through, its own, and not to be had twice; a file is none."""
    image, told = tmp_path / "disk.img", tmp_path / "stderr"
    image.write_bytes(bytes(16 << 20))
    made = subprocess.run(["losetup", "--find", "--show", str(image)], stdout=subprocess.PIPE, text=True, check=False)
    if made.returncode:
        pytest.skip("no loop device: needs root")
    device = made.stdout.strip()
    drive = ["-blockdev", f"host_device,node-name=d0,filename={device}", "-device", "nvme,id=nvme0,serial=s,drive=d0"]
    try:
        server = RemoteServer(tmp_path, *drive)
        (shown,) = server.ok("query-block")
        assert (shown["inserted"]["drv"], shown["inserted"]["file"]) == ("host_device", device)
        driver = NvmeClient(server.serve("nvme0"))
        driver.start()
        driver.write_blocks(4)
        assert [driver.done(driver.CQ, slot) for slot in range(4)] == [0] * 4
        driver.kill()
        with open(told, "w", encoding="utf-8") as err:
            assert subprocess.run(command(*drive), stderr=err, check=False).returncode == 1
        assert "is in use" in told.read_text(encoding="utf-8")
        assert "block device" in start_fails("-blockdev", f"host_device,node-name=d0,filename={image}")
        assert server.close() == 0
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
    assert image.read_bytes()[:4 * 4096] == b"".join(struct.pack("<Q", n + 1) * 512 for n in range(4))
