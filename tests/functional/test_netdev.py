# SPDX-License-Identifier: GPL-2.0-or-later
"""Network back ends without a guest: options and their errors, QMP, and what happens at the other end of a socket."""
import json
import os
import pathlib
import socket
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))


class Machine:
    """A q35 machine that runs nothing, with a QMP connection."""

    def __init__(self, tmp_path, *args):
        path = tmp_path / "qmp.sock"
        self.process = subprocess.Popen([BINARY, "-machine", "q35,accel=qtest", "-nodefaults", "-display", "none",
                                         "-qmp", f"unix:{path},server=on,wait=off", *args])
        for _ in range(1000):
            try:
                self.sock = socket.socket(socket.AF_UNIX)
                self.sock.connect(str(path))
                break
            except OSError:
                assert self.process.poll() is None
                time.sleep(0.02)
        self.file = self.sock.makefile("r")
        self.events = []
        self.file.readline()
        self.run("qmp_capabilities")

    def run(self, command, **arguments):
        self.sock.sendall((json.dumps({"execute": command, "arguments": arguments}) + "\n").encode())
        while True:
            reply = json.loads(self.file.readline())
            if "event" not in reply:
                return reply
            self.events.append((reply["event"], reply["data"]))

    def hmp(self, line):
        return self.run("human-monitor-command", **{"command-line": line})["return"]

    def end(self):
        self.run("quit")
        assert self.process.wait() == 0


@pytest.fixture(name="machine")
def machine_fixture(tmp_path):
    started = []

    def start(*args):
        started.append(Machine(tmp_path, *args))
        return started[-1]

    yield start
    for machine in started:
        machine.process.kill()
        machine.process.wait()


@pytest.mark.parametrize("option,text", [
    ("user,id=n,foo=1", "unknown option 'foo' (allowed: id, ipv4,"),
    ("user", "no id given; add id=NAME"),
    ("vde,id=n", "unknown type (vde, allowed: user, tap, socket, stream, dgram)"),
    ("user,id=n,net=10.0.2.0/31", "'net' must be ADDRESS/BITS"),
    ("user,id=n,host=1.2.3.4", "'host' must be in the network of net= (1.2.3.4)"),
    ("user,id=n,restrict=maybe", "'restrict' must be on or off (maybe)"),
    ("user,id=n,hostfwd=tcp:80", "'hostfwd' must be tcp|udp:[HOST]:PORT-[GUEST]:PORT (tcp:80)"),
    ("user,id=n,hostfwd=tcp::99999-:22", "port allowed 0..65535"),
    ("tap,id=n,script=/etc/x", "no scripts are run (allowed: no)"),
    ("tap,id=n,fd=0", "not an open descriptor of a tap interface"),
    ("tap,id=n,fd=0,queues=2", "'queues' does not go with fd= or fds="),
    ("tap,id=n,fd=0,fds=1:2", "give fd= or fds=, not both"),
    ("tap,id=n,queues=17", "'queues' must be a number of queues (17, allowed 1..16)"),
    ("tap,id=n,vhost=on", "vhost=on is not available (allowed: off)"),
    ("socket,id=n", "give exactly one of listen=, connect=, mcast=, udp=, fd= (0 given)"),
    ("socket,id=n,listen=:1,connect=:2", "(2 given)"),
    ("stream,id=n,addr.type=tcp", "'addr.type' is missing or unknown (tcp, allowed: inet, unix)"),
    ("stream,id=n,addr.type=unix,addr.path=/nonexistent/x", "cannot connect to unix:/nonexistent/x"),
])
def test_bad_options(option, text):
    done = subprocess.run([BINARY, "-machine", "q35,accel=qtest", "-netdev", option], stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert text in done.stderr and len(done.stderr.splitlines()) == 1


def test_port_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([BINARY, "-machine", "q35,accel=qtest", "-netdev",
                               f"user,id=n,hostfwd=tcp:127.0.0.1:{port}-:22"], stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and "cannot listen: Address already in use" in done.stderr


def test_add_and_delete(machine):
    m = machine()
    assert m.run("netdev_add", type="user", id="n0", hostfwd=[{"str": "tcp:127.0.0.1:0-:22"}]) == {"return": {}}
    assert "duplicate id" in m.run("netdev_add", type="user", id="n0")["error"]["desc"]
    assert m.run("device_add", driver="e1000", id="card0", netdev="n0", mac="52:54:00:00:00:01") == {"return": {}}
    assert "model=e1000,macaddr=52:54:00:00:00:01" in m.hmp("info network")
    assert "is used by device 'card0' already" in m.run("device_add", driver="virtio-net-pci",
                                                        netdev="n0")["error"]["desc"]
    assert "device_del it first" in m.run("netdev_del", id="n0")["error"]["desc"]
    assert m.run("netdev_del", id="n9")["error"]["class"] == "DeviceNotFound"
    assert "no netdev 'n9'" in m.run("device_add", driver="e1000", netdev="n9")["error"]["desc"]
    assert "not the address of one card" in m.run("device_add", driver="e1000", mac="01:00:00:00:00:00")["error"]["desc"]
    m.end()


def test_nic(machine):
    m = machine("-nic", "user,model=virtio-net-pci", "-nic", "user,mac=52:54:00:99:99:99", "-net", "none", "-nic", "none")
    text = m.hmp("info network")
    assert "model=virtio-net-pci,macaddr=52:54:00:12:34:56" in text
    assert "model=e1000,macaddr=52:54:00:99:99:99" in text
    m.end()


def test_peer_that_misbehaves(tmp_path, machine):
    """A length that cannot be ends the connection; the next peer is taken."""
    path = tmp_path / "wire"
    m = machine("-netdev", f"stream,id=n0,server=on,addr.type=unix,addr.path={path}", "-device", "e1000,netdev=n0")
    for first in (b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x00\x00\x00\x40" + bytes(10)):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(path))
            peer.sendall(first)
            if len(first) == 4:
                assert peer.recv(1) == b""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
        peer.sendall(b"\x00\x00\x00\x40" + b"\xff" * 64)
        for _ in range(1000):
            if "in 1 frames, 64 bytes" in m.hmp("info network"):
                break
            time.sleep(0.02)
    assert "in 1 frames, 64 bytes" in m.hmp("info network")
    came = ("NETDEV_STREAM_CONNECTED", {"netdev-id": "n0", "addr": {"type": "unix", "path": str(path)}})
    gone = ("NETDEV_STREAM_DISCONNECTED", {"netdev-id": "n0"})
    assert m.events[:7] == [came, gone] * 3 + [came]
    m.end()
    assert not path.exists()


def test_callers_are_named(machine):
    """The event of a stream over TCP says who called."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    m = machine("-netdev", f"stream,id=n0,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={port}",
                "-device", "e1000,netdev=n0")
    with socket.create_connection(("127.0.0.1", port)) as peer:
        mine = str(peer.getsockname()[1])
        while not m.events:
            m.run("query-status")
    assert m.events[0] == ("NETDEV_STREAM_CONNECTED",
                           {"netdev-id": "n0", "addr": {"type": "inet", "host": "127.0.0.1", "port": mine}})
    m.end()
