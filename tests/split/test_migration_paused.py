# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that arrives paused has its remote disk in state STOP until it runs; it can be moved on, reset and debugged in that state.
(That nothing reaches its memory meanwhile: test_migration_frames.py.)"""
import socket

import pytest

from bare_guest import COUNTER
from mailbox_guest import DiskServer, MailboxGuest, Nvme, disk_args


class Chain:
    """A guest, a disk in a process of its own, and where both go next."""

    def __init__(self, tmp):
        self.tmp, self.image, self.sides = tmp, tmp / "disk.img", []
        self.image.write_bytes(bytes(4 << 20))
        self.guest = self.side()
        self.nvme = Nvme(self.guest)
        self.nvme.use()

    def side(self, *more):
        place = self.tmp / f"side{len(self.sides)}"
        place.mkdir()
        server = DiskServer(place, self.image, *(("-incoming", "defer") if more else ()))
        self.sides.append((server, MailboxGuest(place, *disk_args(server.path), *more)))
        return self.sides[-1][1]

    def move(self, *more):
        """The stream goes through a file: `more` may keep the guest from running there."""
        stream = f"file:{self.tmp}/stream"
        assert self.guest.qmp("migrate", uri=stream) == {"return": {}}
        while (said := self.guest.info())["status"] not in ("completed", "failed"):
            pass
        assert said["status"] == "completed", said
        self.guest = self.nvme.guest = self.side("-incoming", stream, *more)
        self.guest.wait(lambda: self.guest.status() in ("paused", "running"), "the guest to arrive")

    def said(self):
        return [server.said.read_text("utf-8") + guest.said.read_text("utf-8") for server, guest in self.sides]

    def close(self):
        for server, guest in self.sides:
            guest.close()
            server.end()


@pytest.fixture(name="chain")
def fixture_chain(tmp_path):
    chain = Chain(tmp_path)
    yield chain
    chain.close()


@pytest.mark.parametrize("hops", [1, 3])
def test_goes_on_at_the_end(chain, hops):
    chain.guest.qmp("stop")
    for _ in range(hops):
        chain.move()
        assert chain.guest.status() == "paused"
    assert chain.guest.qmp("cont") == {"return": {}}
    chain.nvme.use()
    assert not any(chain.said())


def test_held_by_its_command_line(chain):
    chain.move("-S")
    assert chain.guest.status() == "paused"
    assert chain.guest.qmp("cont") == {"return": {}}
    chain.nvme.use()
    chain.move()
    chain.nvme.use()
    assert not any(chain.said())


def test_disk_is_free_until_then(chain):
    """The paused guest does nothing, so the source may have its disk back; the other cannot have it too."""
    source, source_nvme = chain.guest, chain.nvme
    chain.guest.qmp("stop")
    chain.move()
    target = chain.guest
    assert source.qmp("cont") == {"return": {}}
    source_nvme.guest = source
    source_nvme.use()
    assert "its far side does not go from state STOP to RUNNING" in target.qmp("cont")["error"]["desc"]
    assert target.status() == "paused"


def test_reset(chain):
    chain.guest.qmp("stop")
    chain.move()
    assert chain.guest.qmp("system_reset") == {"return": {}}
    chain.guest.set_word(COUNTER, 0)
    assert chain.guest.qmp("cont") == {"return": {}}
    Nvme(chain.guest).use()
    assert not any(chain.said())


def test_debugger_lets_it_run(chain, tmp_path):
    chain.guest.qmp("stop")
    chain.move("-gdb", f"unix:{tmp_path}/gdb,server=on,wait=off")
    with socket.socket(socket.AF_UNIX) as gdb:
        gdb.connect(f"{tmp_path}/gdb")
        gdb.sendall(b"$c#63")
        chain.guest.wait(lambda: chain.guest.status() == "running", "the guest to run")
        chain.nvme.use()
    assert not any(chain.said())
