# SPDX-License-Identifier: GPL-2.0-or-later
"""The old process of a device is killed, at messages all along its way to another: before its state is whole the device is lost, and the
guest, which runs on, and who asked are told so; after that the new process has it, with the commands that were under way.  When the new
one goes too, the guest stands until there is a third."""
import itertools
import os

import pytest

from test_server_handover import SAVED, Relay, Rig

COMMANDS = 10


class KilledRig(Rig):
    """The old and the new process are reached through relays; messages are counted at one of them."""

    def __init__(self, tmp, watched, at):
        tmp.mkdir()
        super().__init__(tmp)
        self.old, self.new = self.serve(), self.serve()
        self.relays = {name: Relay(tmp / name, server.path) for name, server in (("old", self.old), ("new", self.new))}
        assert "return" in self.hand_over(None, tmp / "old")
        self.nvme.use()
        self.begin_commands()
        self.watched, self.at, self.both, self.killed = self.relays[watched.split()[0]], at, watched == "new too", False
        self.watched.count, self.watched.strike = 0, self.strike

    def strike(self, _command):
        if self.watched.count != self.at:
            return False
        self.killed = True
        self.old.end()
        return self.both or self.watched is self.relays["old"]

    @staticmethod
    def block(n):
        return (b"block %d " % n).ljust(512, b"x")

    def begin_commands(self):
        for n in range(COMMANDS):
            self.guest.ram[SAVED + n * 512:SAVED + n * 512 + 512] = self.block(n)
            self.nvme.submit(1, 1, 1, SAVED + n * 512, 2000 + n, 0, 0)

    def works(self, server):
        """With that process: each command is answered once, and is done."""
        assert self.owned_by() == {server.process.pid}
        assert self.device() == "connected"
        assert [self.nvme.complete(1) for _ in range(COMMANDS)] == [0] * COMMANDS
        assert not self.nvme.done(1)
        assert [self.nvme.read(2000 + n) for n in range(COMMANDS)] == [self.block(n) for n in range(COMMANDS)]
        self.nvme.use()

    def device(self):
        return self.guest.qmp("qom-get", path="/machine/peripheral/vd", property="state")["return"]

    def is_lost(self, error):
        """The guest runs on without it, and no process has its disk."""
        assert self.both or "its far side is gone" in error or "is not connected" in error, error
        self.guest.goes_on()
        self.guest.wait(lambda: self.guest.status() == "running" and any(
            event["event"] == "VFIO_USER_DISCONNECT" and event["data"]["device"] == "vd" for event in self.guest.events), "the event")
        assert self.device() == "lost" and not self.owned_by()
        assert "its far side is gone" in self.hand_over(self.serve())["error"]["desc"]
        assert "vd" in self.guest.qmp("migrate", uri=f"file:{self.tmp}/stream")["error"]["desc"]

    def waits_for_a_third(self, error):
        assert "the guest is paused, `cont` tries again" in error
        assert self.guest.status() == "paused" and self.guest.stands() and not self.owned_by()
        assert "error" in self.guest.qmp("cont")
        third = self.serve()
        os.unlink(self.tmp / "old")
        os.rename(third.path, self.tmp / "old")
        assert "return" in self.guest.qmp("cont")
        self.works(third)

    def end(self):
        super().end()
        for relay in self.relays.values():
            relay.end()


def outcome(rig, new):
    """Who has the device in the end, each the way it should."""
    answer = rig.hand_over(None, new)
    if "return" in answer:
        rig.works(rig.new)
        return "new"
    if "cont" in answer["error"]["desc"]:
        rig.waits_for_a_third(answer["error"]["desc"])
        return "third"
    rig.is_lost(answer["error"]["desc"])
    return "lost"


@pytest.mark.parametrize("watched, step", [("old", 1), ("new", 6), ("new too", 6)])
def test_killed_on_the_way(tmp_path, watched, step):
    seen = set()
    for at in itertools.count(1, step):
        place = tmp_path / str(at)
        rig = KilledRig(place, watched, at)
        try:
            end = outcome(rig, place / "new")
        finally:
            rig.end()
        if not rig.killed:
            break
        seen.add(end)
    assert seen == ({"lost", "third"} if watched == "new too" else {"lost", "new"})
