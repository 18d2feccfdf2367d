# SPDX-License-Identifier: GPL-2.0-or-later
"""The state of a served function, byte by byte: what was written is known, what is saved is what comes back, damage is found."""
import errno
import pathlib
import struct
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from remote_server import PROBE_BINARY, Probe, RemoteServer, attach, enable, memory_file, nvme_args, until  # noqa: E402
from vfio_user import LOG_STOP, READABLE, SET, WRITEABLE  # noqa: E402

STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY = 1, 2, 3, 4, 6
OK = 0
RAM = 1 << 20
RW = READABLE | WRITEABLE


@pytest.fixture(name="serve")
def serve_fixture(tmp_path):
    running, clients = [], []

    def serve(device, *extra, incoming=False, **kwargs):
        place = tmp_path / f"s{len(running)}"
        place.mkdir()
        with open(place / "stderr", "w", encoding="utf-8") as stderr:
            server = RemoteServer(place, "-device", device, *extra, *(("-incoming", "defer") if incoming else ()),
                                  "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={place}/sock,device=dev0",
                                  stderr=stderr, **kwargs)
        server.said = lambda: (place / "stderr").read_text(encoding="utf-8")
        running.append(server)
        clients.append(attach(f"{place}/sock"))
        return server, clients[-1]

    yield serve
    for client in clients:
        client.close()
    for server in running:
        assert server.close() == 0


def test_written_pages_are_known(serve):
    """Through the mapping, and while nobody asks; a page is told once."""
    _, client = serve("probe,id=dev0", binary=PROBE_BINARY)
    fd = memory_file(RAM)
    client.map(0x100000, RAM, RW, fd=fd)
    probe = Probe(client)
    probe.fill(b"x" * 8192)
    assert probe.move(2, 0x100000, 4096) == OK
    client.start_log(4096, [(0x100000, RAM)])
    assert client.report(0x100000, RAM) == []
    assert probe.move(2, 0x103ffe, 8) == OK
    assert probe.move(2, 0x107000, 4096) == OK
    assert probe.move(1, 0x109000, 4096) == OK
    assert client.report(0x100000, RAM) == [3, 4, 7]
    assert client.report(0x100000, RAM) == []
    client.feature(SET | LOG_STOP)
    assert probe.move(2, 0x100000, 4096) == OK
    client.start_log(4096, [(0x100000, RAM)])
    assert client.report(0x100000, RAM) == []


def save(client, early=True):
    """The whole state, in odd pieces; the device is left in STOP_COPY."""
    data = b""
    if early:
        client.set_state(PRE_COPY)
    for state in ([None] if early else []) + [STOP_COPY]:
        if state:
            client.set_state(state)
        while piece := client.mig_read(777):
            data += piece
        assert data, "nothing is told early"
    return data


def load(client, data, error=0):
    client.set_state(RESUMING)
    for at in range(0, len(data), 1000):
        client.mig_write(data[at:at + 1000])
    client.set_state(STOP, error=error)


LIVENESS, FACTORIAL = 4, 8


def edu_with_a_past(serve):
    _, client = serve("edu,id=dev0")
    enable(client)
    client.write(0, LIVENESS, struct.pack("<I", 0x12345678))
    client.write(0, FACTORIAL, struct.pack("<I", 7))
    until(lambda: client.read(0, FACTORIAL, 4) == struct.pack("<I", 5040), "the factorial")
    return client


@pytest.mark.parametrize("early", [True, False])
def test_saved_loaded_saved(serve, early):
    client = edu_with_a_past(serve)
    data = save(client, early)
    _, other = serve("edu,id=dev0")
    load(other, data)
    other.set_state(RUNNING)
    assert other.read(0, LIVENESS, 4) == struct.pack("<I", 0x12345678 ^ 0xffffffff)
    assert other.read(0, FACTORIAL, 4) == struct.pack("<I", 5040)
    # The one whose move came to nothing goes on too, and both say the same again, but for the time.
    client.set_state(RUNNING)
    assert client.read(0, FACTORIAL, 4) == struct.pack("<I", 5040)
    again, there = save(client), save(other)
    edu = data.index(b"/machine/peripheral/dev0")
    assert len(again) == len(there) == len(data) and again[edu:] == there[edu:] == data[edu:]


def test_damage_is_found(serve):
    data = save(edu_with_a_past(serve))
    server, client = serve("edu,id=dev0")
    head = 4 + struct.unpack_from("<I", data)[0]
    tried = 0
    for at in [*range(head, len(data), 97), len(data) - 1]:
        load(client, data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1:], error=errno.EINVAL)
        tried += 1
    for length in (head, head + 1, len(data) - 1):
        load(client, data[:length], error=errno.EINVAL)
        tried += 1
    load(client, data + b"\0", error=errno.EINVAL)
    assert server.said().count("the device's state cannot change") == tried + 1
    client.set_state(RESUMING)
    client.mig_write(b"\xff" * 8, error=errno.EINVAL)
    assert "does not begin with a description" in server.said()
    load(client, data)
    client.set_state(RUNNING)
    assert client.read(0, FACTORIAL, 4) == struct.pack("<I", 5040)


def test_disk_has_one_owner(serve, tmp_path):
    """The image goes with the state: given up by STOP_COPY, taken by RUNNING, by one of both."""
    arguments = [word.replace("nvme0", "dev0") for word in nvme_args(tmp_path)]
    drive, device = arguments[:2], arguments[3]
    _, client = serve(device, *drive)
    target, other = serve(device, *drive, incoming=True)
    data = save(client)
    load(other, data)
    other.set_state(RUNNING)
    client.set_state(RUNNING, error=errno.EINVAL)
    other.set_state(STOP_COPY)
    client.set_state(RUNNING)
    other.set_state(RUNNING, error=errno.EINVAL)
    assert "locked" in target.said() or "in use" in target.said(), target.said()


def test_lost_client(serve):
    """A client that leaves in the middle leaves a device that works."""
    server, client = serve("edu,id=dev0")
    for state in (STOP, STOP_COPY, RESUMING, PRE_COPY):
        client.set_state(state)
        path = str(server.tmp / "sock")
        client.close()
        until(lambda: server.count("VFU_CLIENT_HANGUP"), "hang-up")
        client = attach(path)
        enable(client)
        client.write(0, LIVENESS, struct.pack("<I", 1))
        assert client.read(0, LIVENESS, 4) == struct.pack("<I", 0xfffffffe)
    client.close()
