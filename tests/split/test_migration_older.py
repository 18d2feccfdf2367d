# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that know nothing of DEVICE_FEATURE's DMA logging: the older DIRTY_PAGES command tells what they wrote."""
import errno
import os
import struct
import threading

from mailbox_guest import DATA, DiskServer, MailboxGuest, Nvme, disk_args
from test_migration_faults import RAM, Wire
from test_server_handover import Relay

DIRTY_PAGES, DEVICE_FEATURE = 14, 16
SET_LOG_START = 2 << 16 | 6
START, STOP, GET_BITMAP = 1, 2, 4
LATER = 0x800000


class Older(Relay):
    """In front of a server: the feature is not there."""

    def __init__(self, path, server):
        super().__init__(path, server)
        self.refused, self.dirty = 0, []

    def answer(self, head, body):
        ident, command, _, flags, _ = struct.unpack("<HHIII", head)
        if flags & 0xf or len(body) < 8:
            return None
        if command == DIRTY_PAGES:
            self.dirty.append(struct.unpack_from("<I", body, 4)[0])
        if command == DEVICE_FEATURE and struct.unpack_from("<I", body, 4)[0] == SET_LOG_START:
            self.refused += 1
            return struct.pack("<HHIII", ident, command, 16, 0x21, errno.ENOTTY)
        return None


def test_pages_that_the_server_wrote(tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(4 << 20))
    uri, places = f"unix:{tmp_path}/move", [tmp_path / name for name in ("source", "target")]
    for place in places:
        place.mkdir()
    servers = [DiskServer(places[0], image), DiskServer(places[1], image, "-incoming", "defer")]
    relay = Older(tmp_path / "older", servers[0].path)
    source = MailboxGuest(places[0], *disk_args(tmp_path / "older"))
    nvme = Nvme(source)
    target = MailboxGuest(places[1], *disk_args(servers[1].path), "-incoming", uri)
    nvme.write(7, b"what the server writes later")
    source.ram[DATA:DATA + 4096] = bytes(4096)

    # The stream is held when it is past that page, and has more to come than sockets take.
    source.ram[LATER:LATER + (8 << 20)] = os.urandom(8 << 20)
    held, go_on = threading.Event(), threading.Event()

    def hold(record):
        held.set()
        go_on.wait()
        return record

    wire = Wire(tmp_path / "wire", tmp_path / "move", (RAM, 16), hold)
    assert source.qmp("migrate", uri=f"unix:{tmp_path}/wire") == {"return": {}}
    held.wait()
    assert nvme.command(1, 2, 1, DATA, 7, 0, 0) == 0
    go_on.set()
    while (said := source.info())["status"] not in ("completed", "failed"):
        pass
    assert said["status"] == "completed", said
    target.wait(lambda: target.status() == "running", "the guest there")
    target.goes_on()
    assert bytes(target.ram[DATA:DATA + 512]).rstrip(b"\0") == b"what the server writes later"
    assert relay.refused == 1 and relay.dirty[0] == START and relay.dirty.count(GET_BITMAP) > 3 and STOP not in relay.dirty
    wire.end()
    source.process.terminate()
    assert source.close() == 0
    relay.end()
    assert target.close() == 0
    for server in servers:
        server.end()
