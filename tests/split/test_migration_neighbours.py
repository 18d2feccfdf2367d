# SPDX-License-Identifier: GPL-2.0-or-later
"""Two machines have a disk each in one process.  One of them leaves for another process and comes back, or fails to: the other one's
disk works all the while, also when the first one's stands and has been let go of."""
import threading

import pytest

from mailbox_guest import DiskServer, MailboxGuest, Nvme, disk_args
from test_migration_faults import GO, REMOTE, Cut, Wire, owners

STATE, LET_GO = (REMOTE, 1), (GO, 0)


class Neighbour:
    """The machine that stays: a thread uses its disk, on and on."""

    def __init__(self, guest):
        self.guest, self.nvme, self.uses, self.failed = guest, Nvme(guest), 0, None
        self.ended, self.changed = threading.Event(), threading.Condition()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            while not self.ended.is_set():
                self.nvme.use()
                with self.changed:
                    self.uses += 1
                    self.changed.notify_all()
        except AssertionError as failed:
            with self.changed:
                self.failed = failed
                self.changed.notify_all()

    def goes_on(self):
        """Its disk is written and read some times more."""
        with self.changed:
            begin = self.uses
            while self.uses < begin + 5:
                assert not self.failed, self.failed
                self.changed.wait(1)

    def end(self):
        self.ended.set()
        self.thread.join()
        assert not self.failed, self.failed


class Rig:
    def __init__(self, tmp):
        self.tmp, self.images, self.guests, self.servers, self.moves = tmp, [tmp / "a.img", tmp / "b.img"], [], [], 0
        for image in self.images:
            image.write_bytes(bytes(4 << 20))
        other = tmp / "other.sock"
        self.shared = self.serve("shared", "-drive", f"id=d1,file={self.images[1]},format=raw,if=none", "-device", "nvme,id=disk1,serial=t,drive=d1",
                                 "-object", f"x-vfio-user-server,id=vfu1,type=unix,path={other},device=disk1")
        while not other.exists():
            assert self.shared.process.poll() is None
        self.source = self.start(self.shared.path)
        self.nvme = Nvme(self.source)
        self.neighbour = Neighbour(self.start(other))

    def serve(self, name, *more):
        (self.tmp / name).mkdir()
        self.servers.append(DiskServer(self.tmp / name, self.images[0], *more))
        return self.servers[-1]

    def start(self, path, *more):
        place = self.tmp / f"guest{len(self.guests)}"
        place.mkdir()
        self.guests.append(MailboxGuest(place, *disk_args(path), *more))
        return self.guests[-1]

    def owned(self):
        """By which of the processes each image is locked."""
        return [owners(image, [server.process.pid for server in self.servers]) for image in self.images]

    def move(self, server, point, strike):
        """To a machine that has its disk there; what the source says, and that machine."""
        self.moves += 1
        wire, direct = self.tmp / f"wire{self.moves}", self.tmp / f"direct{self.moves}"
        target = self.start(server.path, "-incoming", f"unix:{direct}")
        between = Wire(wire, direct, point, strike)
        assert self.source.qmp("migrate", uri=f"unix:{wire}") == {"return": {}}
        while (said := self.source.info())["status"] not in ("completed", "failed"):
            pass
        if said["status"] == "completed":
            target.wait(lambda: target.status() == "running", "the guest there")
            assert target.info()["status"] == "completed"
        between.end()
        assert between.struck.is_set()
        return said, target

    def leave(self, guest, code):
        guest.process.terminate()
        assert guest.close() == code
        self.guests[self.guests.index(guest)] = None

    def end(self):
        self.neighbour.end()
        for guest in filter(None, self.guests):
            guest.process.kill()
            guest.close()
        for server in self.servers:
            server.end()


@pytest.fixture(name="rig")
def fixture_rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.end()


def test_check_45_one_of_two_leaves_and_comes_back(rig):
    away = rig.serve("away", "-incoming", "defer")
    here, there = rig.shared, away
    for point in (STATE, LET_GO):
        rig.nvme.use()
        held = []

        def hold(record):
            held.append(rig.owned())
            rig.neighbour.goes_on()
            return record

        said, target = rig.move(there, point, hold)
        assert said["status"] == "completed", said
        # It stood, and nobody had its disk but who was to give or take it; the other's never changed hands.
        assert held[0][0] <= {here.process.pid} and held[0][1] == {rig.shared.process.pid}
        source, rig.source, rig.nvme.guest = rig.source, target, target
        assert source.status() == "postmigrate" and source.stands()
        rig.leave(source, 0)
        rig.nvme.use()
        rig.neighbour.goes_on()
        assert rig.owned() == [{there.process.pid}, {rig.shared.process.pid}]
        here, there = there, here


def test_check_45_one_of_two_fails_to_leave(rig):
    rig.nvme.use()

    def cut(record):
        rig.neighbour.goes_on()
        raise Cut

    said, target = rig.move(rig.serve("away", "-incoming", "defer"), STATE, cut)
    assert said["status"] == "failed" and rig.source.status() == "running"
    target.process.wait()
    rig.leave(target, 1)
    rig.nvme.use()
    rig.neighbour.goes_on()
    assert rig.owned() == [{rig.shared.process.pid}] * 2


def test_check_45_one_of_two_is_handed_over(rig):
    """Only its device's process is replaced, there and back."""
    away = rig.serve("away", "-incoming", "defer")
    for server in (away, rig.shared):
        rig.nvme.use()
        answer = rig.source.qmp("x-device-handover", id="vd", socket=str(server.path))
        assert "return" in answer, answer
        assert rig.owned() == [{server.process.pid}, {rig.shared.process.pid}]
        rig.nvme.use()
        rig.neighbour.goes_on()
