# SPDX-License-Identifier: BSD-3-Clause
"""Runs every sample program and uses it as its README says."""
import mmap
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess

import pytest

import vfio_user as vu

HERE = pathlib.Path(__file__).resolve().parent


def program(name):
    return os.path.join(os.environ["VFIO_USER_SAMPLES"], "vfio-user-" + name)


class Sample:
    """A sample device that serves a socket."""

    def __init__(self, directory, name, label="s"):
        self.path = str(directory / (label + ".sock"))
        self.process = subprocess.Popen([program(name), "--socket-path=" + self.path], text=True,
                                        stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)

    def connect(self):
        while True:
            try:
                client = vu.Client(self.path)
                break
            except OSError:
                assert self.process.poll() is None, self.process.stderr.read()
        client.negotiate({"max_msg_fds": 8})
        return client

    def stop(self):
        """SIGTERM ends a back end at once, with its socket gone."""
        self.process.send_signal(signal.SIGTERM)
        out, errors = self.process.communicate(timeout=vu.PATIENCE)
        assert self.process.returncode == 0 and errors == "" and not os.path.exists(self.path)
        return out


@pytest.fixture
def sample(tmp_path):
    started = []

    def start(name, label="s"):
        started.append(Sample(tmp_path, name, label))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def wait_for(fd):
    assert select.select([fd], [], [], vu.PATIENCE)[0]
    return vu.signalled(fd)


def u32(client, offset, region=0):
    return struct.unpack("<I", client.read(region, offset, 4))[0]


def put32(client, offset, value, region=0):
    client.write(region, offset, struct.pack("<I", value))


def test_gpio(sample):
    device = sample("gpio")
    client, event = device.connect(), vu.eventfd()
    assert client.read(vu.CONFIG, 0, 4) == struct.pack("<HH", 0x494f, 0x0dc8)
    assert client.region_info(2).size == 0x100
    client.set_irqs(vu.TRIGGER | vu.EVENTFD, vu.INTX, 0, 1, fds=[event])
    client.write(2, 0, b"\xa5")
    client.write(2, 4, b"\x5a")
    assert client.read(2, 1, 1) == b"\xa5" and client.read(2, 5, 1) == b"\x5a"
    assert vu.signalled(event) == 0
    client.read(2, 2, 1)
    client.write(2, 0, b"\x00")
    assert vu.signalled(event) == 1 and client.read(2, 6, 1) == b"\x04"
    client.write(2, 0, b"\xff")
    assert vu.signalled(event) == 0
    client.write(2, 1, b"\x00")
    assert client.read(2, 6, 1) == b"\x00"
    client.write(2, 2, b"\x00")
    client.write(2, 0, b"\x11")
    assert vu.signalled(event) == 0
    client.call(vu.RESET)
    assert client.read(2, 1, 1) == b"\x00"
    client.close()
    client = device.connect()
    client.close()
    device.stop()
    os.close(event)


def test_ping(sample):
    device = sample("ping")
    client, event = device.connect(), vu.eventfd()
    client.set_irqs(vu.TRIGGER | vu.EVENTFD, vu.MSIX, 0, 1, fds=[event])
    put32(client, 12, 3)
    for count in (1, 2, 3):
        put32(client, 0, 1000 + count)
        assert wait_for(event) == 1
        assert (u32(client, 4), u32(client, 8)) == (1000 + count, count)
    put32(client, 12, 10000)
    put32(client, 0, 5)
    client.call(vu.RESET)
    assert (u32(client, 4), u32(client, 8)) == (0, 0) and vu.signalled(event) == 0
    client.read(0, 1, 4, error=22)
    client.close()
    device.stop()
    os.close(event)


def test_lspci():
    dump = subprocess.run([program("lspci")], text=True, capture_output=True, check=True).stdout
    assert dump == (HERE / "lspci.expected").read_text(encoding="ascii")


@pytest.mark.skipif(not shutil.which("lspci"), reason="lspci is not installed")
def test_lspci_reads_it(tmp_path):
    file = tmp_path / "dump"
    file.write_text(subprocess.run([program("lspci")], text=True, capture_output=True, check=True).stdout,
                    encoding="ascii")
    text = subprocess.run(["lspci", "-vvv", "-F", str(file)], text=True, capture_output=True, check=True).stdout
    for words in ("Power Management version 3", "MSI: Enable- Count=1/8 Maskable+ 64bit+", "MSI-X: Enable- Count=16",
                  "Express (v2)", "Vendor Specific Information: Len=0c",
                  "Device Serial Number 01-23-45-67-89-ab-cd-ef",
                  "Vendor Specific Information: ID=1234 Rev=1 Len=010"):
        assert words in text, text


def test_null(sample):
    device = sample("null")
    client = device.connect()
    assert client.read(0, 0x10, 4) == bytes(4)
    client.write(0, 0x20, b"\1\2")
    client.read(vu.CONFIG, 0, 2)
    client.map(0x1000, 0x2000)
    client.set_irqs(vu.MASK | vu.NONE, vu.INTX, 0, 1)
    client.unmap(0x1000, 0x2000)
    client.call(vu.RESET)
    client.close()
    client = device.connect()
    client.close()
    assert device.stop().splitlines()[:8] == [
        "BAR0 read 0x10+4", "BAR0 write 0x20+2 01 02", "config read 0x0+2", "map 0x1000+0x2000 by message",
        "INTx masked",
        "unmap 0x1000+0x2000", "reset: device", "reset: connection lost"]


def test_client_and_server(sample, tmp_path):
    servers = [sample("server", label) for label in ("source", "destination")]
    for server in servers:
        server.connect().close()
    done = subprocess.run([program("client"), *(server.path for server in servers)], text=True, capture_output=True,
                          check=False, timeout=vu.PATIENCE)
    assert done.returncode == 0 and "FAILED" not in done.stdout, done.stdout + done.stderr
    assert "ok: it goes on with the same guest memory" in done.stdout
    for server in servers:
        server.stop()


def test_client_tells_what_failed(sample, tmp_path):
    other = sample("null")
    other.connect().close()
    done = subprocess.run([program("client"), other.path, other.path], text=True, capture_output=True, check=False,
                          timeout=vu.PATIENCE)
    assert done.returncode == 1 and "FAILED: this is the server sample" in done.stdout


def test_shadow_ioeventfd(sample):
    device = sample("shadow-ioeventfd")
    client = device.connect()
    put32(client, 0, 7)
    assert (u32(client, 0), u32(client, 4)) == (7, 1)
    reply = client.io_fds(0)
    entry = struct.unpack_from("<QQIIIIQQ", reply.body, 16)
    offset, size, event, kind, _, shadow, shadow_offset, _ = entry
    assert (offset, size, kind) == (0, 4, 2) and len(reply.fds) == 2
    with mmap.mmap(reply.fds[shadow], 4096) as memory:
        for value in (100, 200):
            # As KVM would: the value, then the signal; no message.
            struct.pack_into("<I", memory, shadow_offset, value)
            os.write(reply.fds[event], struct.pack("Q", 1))
            while u32(client, 0) != value:
                pass
    assert u32(client, 4) == 3
    reply.close()
    client.close()
    device.stop()


def test_handed_over_socket():
    """--fd with a connection: the program serves it and ends with it."""
    ours, theirs = socket.socketpair()
    with subprocess.Popen([program("gpio"), f"--fd={theirs.fileno()}"], pass_fds=[theirs.fileno()]) as process:
        theirs.close()
        client = vu.Client(fd=ours.detach())
        client.negotiate({})
        client.info()
        client.close()
        assert process.wait(vu.PATIENCE) == 0


def test_handed_over_listener(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "l"))
    listener.listen(4)
    with subprocess.Popen([program("gpio"), f"--fd={listener.fileno()}"], pass_fds=[listener.fileno()]) as process:
        for _ in range(3):
            client = vu.Client(str(tmp_path / "l"))
            client.negotiate({})
            client.close()
        process.terminate()
        assert process.wait(vu.PATIENCE) == 0
    listener.close()


@pytest.mark.parametrize("arguments", [[], ["--fd=1000"], ["--socket-path=/nowhere/at/all"], ["--nonsense"], ["more"],
                                       ["--fd=0", "--socket-path=x"]])
def test_usage(arguments):
    done = subprocess.run([program("gpio"), *arguments], text=True, capture_output=True, check=False,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and done.stderr
