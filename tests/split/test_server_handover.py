# SPDX-License-Identifier: GPL-2.0-or-later
"""A device's process is replaced by another under a guest that runs (x-device-handover): nothing is lost or done twice, and whatever
goes wrong, at whatever message, the guest has its disk: from the new process or from the old one."""
import array
import itertools
import os
import select
import socket
import struct
import threading

import pytest

from mailbox_guest import DiskServer, MailboxGuest, Nvme, disk_args
from test_migration_faults import owners

SAVED = 0x310000
HEADER = 16
MIG_DATA_WRITE = 18


class Rig:
    numbers = itertools.count()

    def __init__(self, tmp, *options):
        self.tmp, self.image, self.servers = tmp, tmp / "disk.img", []
        self.image.write_bytes(bytes(4 << 20))
        self.server = self.serve()
        self.guest = MailboxGuest(tmp, *disk_args(self.server.path), *options)
        self.nvme = Nvme(self.guest)

    def serve(self, *more, **options):
        """A process for the disk; all but the first wait for it."""
        place = self.tmp / f"server{next(self.numbers)}"
        place.mkdir()
        self.servers.append(DiskServer(place, self.image, *(("-incoming", "defer") if self.servers else ()), *more, **options))
        return self.servers[-1]

    def hand_over(self, server, path=None):
        return self.guest.qmp("x-device-handover", id="vd", socket=str(path or server.path))

    def owned_by(self):
        return owners(self.image, [s.process.pid for s in self.servers])

    def end(self):
        assert self.guest.close() == 0
        for server in self.servers:
            server.end()


@pytest.fixture(name="rig")
def fixture_rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.end()


def test_commands_under_way(rig):
    """Each command that the guest gave before is answered once after, by another process, and has done its work."""
    rig.guest.status()
    rig.guest.events.clear()
    for turn in range(4):
        rig.nvme.use()
        for n in range(40):
            rig.guest.ram[SAVED + n * 512:SAVED + n * 512 + 512] = (b"turn %d block %d " % (turn, n)).ljust(512, b"x")
            rig.nvme.submit(1, 1, 1, SAVED + n * 512, 2000 + n, 0, 0)
        old, new = rig.server, rig.serve()
        answer = rig.hand_over(new)
        assert answer["return"]["bytes"] > 1000 and answer["return"]["paused-us"] > 0, answer
        assert rig.owned_by() == {new.process.pid}
        assert rig.guest.qmp("qom-get", path="/machine/peripheral/vd", property="socket")["return"]["path"] == str(new.path)
        old.end()
        rig.server = new
        assert [rig.nvme.complete(1) for _ in range(40)] == [0] * 40
        assert not rig.nvme.done(1)
        for n in (0, 17, 39):
            assert rig.nvme.read(2000 + n) == (b"turn %d block %d " % (turn, n)).ljust(512, b"x")
    rig.nvme.use()
    assert rig.guest.qmp("qom-get", path="/machine/peripheral/vd", property="state")["return"] == "connected"
    assert not [event for event in rig.guest.events if event["event"] in ("STOP", "RESUME", "VFIO_USER_DISCONNECT")]


def test_the_old_process_may_come_back(rig):
    """A process that gave its device away takes it again."""
    other = rig.serve()
    for server in (other, rig.server) * 3:
        assert "return" in rig.hand_over(server)
        assert rig.owned_by() == {server.process.pid}
        rig.nvme.use()


def test_paused_guest(rig):
    rig.nvme.use()
    rig.guest.qmp("stop")
    assert rig.hand_over(rig.serve())["return"]["paused-us"] == 0
    assert rig.guest.stands()
    rig.guest.qmp("cont")
    rig.nvme.use()


def test_refused(rig, tmp_path):
    rig.nvme.use()
    server = rig.server
    for ident, path, text in (("nobody", "x", "'nobody' not found"), ("vd", "", "neither a path nor an address"),
                              ("vd", f"{tmp_path}/nobody", "No such file"), ("/machine/unattached", "x", "not found")):
        answer = rig.guest.qmp("x-device-handover", id=ident, socket=path)
        assert text in answer["error"]["desc"], answer
    other = rig.serve(device="nvme,id=disk0,serial=another,drive=d0")
    assert "the other server refuses the device" in rig.hand_over(other)["error"]["desc"]
    assert 'property serial is "s" at the source, here it is "another"' in other.said.read_text("utf-8")
    # Its own server has a client: this one.
    assert "error" in rig.guest.qmp("x-device-handover", id="vd", socket={"type": "unix", "path": ""})
    assert rig.owned_by() == {server.process.pid}
    rig.nvme.use()


def test_local_device_has_no_process(tmp_path):
    guest = MailboxGuest(tmp_path, "-device", "edu,id=edu0")
    answer = guest.qmp("x-device-handover", id="edu0", socket="x")
    assert "'edu0' (edu) has no part in another process" in answer["error"]["desc"]
    assert guest.close() == 0


class Relay:
    """Between the client and a server, fds included; hangs up on both in place of passing on message number `cut`, or the one of
    which `strike` gives true."""

    def __init__(self, path, server, cut=0, strike=None):
        self.server, self.cut, self.count, self.was_cut = str(server), cut, 0, False
        self.strike = strike or (lambda command: False)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        client, _ = self.listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.server)
        other = {client: server, server: client}
        with client, server:
            try:
                while all(self.pass_on(side, other[side]) for side in select.select([client, server], [], [])[0]):
                    pass
            except OSError:
                pass  # one of them has hung up

    def pass_on(self, side, to):
        head, fds = self.receive(side, HEADER)
        if not head:
            return False
        body, more = self.receive(side, struct.unpack_from("<I", head, 4)[0] - HEADER)
        fds += more
        answer = self.answer(head, body)
        if answer:
            side.sendall(answer)
            return True
        self.count += 1
        self.was_cut = self.count == self.cut or self.strike(struct.unpack_from("<H", head, 2)[0])
        if not self.was_cut:
            to.sendmsg([head + body], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
        for fd in fds:
            os.close(fd)
        return not self.was_cut

    def answer(self, head, body):
        """What is said instead of passing the message on, or None."""
        return None

    @staticmethod
    def receive(side, size):
        data, fds = b"", array.array("i")
        while len(data) < size:
            part, ancillary, _, _ = side.recvmsg(size - len(data), socket.CMSG_SPACE(64))
            for _, _, words in ancillary:
                fds.frombytes(words)
            if not part:
                return b"", fds
            data += part
        return data, fds

    def end(self):
        self.listener.close()
        self.thread.join()


def test_cut_at_every_message(rig, tmp_path):
    """The new process hangs up at the n-th message, for every n until it has the device: the old one has it still."""
    new = rig.serve()
    for cut in itertools.count(1):
        path = tmp_path / f"relay{cut}"
        relay = Relay(path, new.path, cut)
        answer = rig.hand_over(None, path)
        assert rig.guest.status() == "running", answer
        if "return" in answer:
            relay.cut = 0
            break
        assert relay.was_cut, answer
        relay.end()
        assert rig.owned_by() == {rig.server.process.pid}, (cut, answer)
        rig.nvme.use()
    assert cut > 20 and rig.owned_by() == {new.process.pid}
    rig.nvme.use()
    # It goes on through the relay; back to where it came from, which ends that.
    assert "return" in rig.hand_over(rig.server)
    relay.end()
    rig.nvme.use()


def test_both_are_lost(rig, tmp_path):
    """The old process dies while the new one fails: the guest is paused, with its device's state, and `cont` finds a third."""
    rig.nvme.use()
    new, path, seen = rig.serve(), tmp_path / "relay", []

    def strike(command):
        seen.append(command)
        if seen.count(MIG_DATA_WRITE) < 3:  # the description and its answer; then the state comes, and the guest stands
            return False
        rig.server.end()
        return True

    relay = Relay(path, new.path, strike=strike)
    answer = rig.hand_over(None, path)
    assert "the guest is paused, `cont` tries again" in answer["error"]["desc"]
    assert rig.guest.status() == "paused" and rig.guest.stands()
    assert "error" in rig.guest.qmp("cont")
    relay.end()
    os.unlink(rig.server.path)
    third = rig.serve()
    os.rename(third.path, rig.server.path)
    assert "return" in rig.guest.qmp("cont")
    rig.server = third
    rig.nvme.use()
