# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest moves to another process and its disk's process stays: it lets the source go and takes the destination as its client
(x-keep-servers, takeover=on).  Nothing is lost; whatever goes wrong, the guest runs on where it was, with its disk."""
import json
import socket
import subprocess

import pytest

from mailbox_guest import DiskServer, MailboxGuest, Nvme
from machine import BINARY
from test_migration_faults import POINTS, WHOLE, Cut, Wire

SAVED = 0x310000
SOME = {"cut": ("first page", "end", "loaded"), "killed": ("disk's state", "loaded", "go")}


class InetServer:
    """The disk's process on TCP."""

    def __init__(self, tmp, image):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [BINARY, "-machine", "x-remote,vfio-user=on,auto-shutdown=off", "-nodefaults", "-display", "none", "-qmp", "stdio",
             "-drive", f"id=d0,file={image},format=raw,if=none", "-device", "nvme,id=disk0,serial=s,drive=d0",
             "-object", f"x-vfio-user-server,id=vfu0,type=inet,host=127.0.0.1,port={self.port},device=disk0"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(b'{"execute": "qmp_capabilities"}\n')
        self.process.stdin.flush()
        # The greeting comes before it listens, an answer after.
        assert b"QMP" in self.process.stdout.readline() and b"return" in self.process.stdout.readline()

    def address(self):
        return {"type": "inet", "host": "127.0.0.1", "port": str(self.port)}

    def end(self):
        self.process.kill()
        self.process.communicate()


class UnixServer(DiskServer):
    def address(self):
        return {"type": "unix", "path": str(self.path)}


class Rig:
    def __init__(self, tmp, kind=UnixServer):
        self.tmp, self.guests = tmp, []
        image = tmp / "disk.img"
        image.write_bytes(bytes(4 << 20))
        self.server = kind(tmp, image)
        self.source = self.start()
        self.source.qmp("migrate-set-capabilities", capabilities=[{"capability": "x-keep-servers", "state": True}])
        self.nvme = Nvme(self.source)

    def start(self, uri=None, **options):
        place = self.tmp / f"guest{len(self.guests)}"
        place.mkdir()
        device = {"driver": "vfio-user-pci", "id": "vd", "addr": "4", "socket": self.server.address(), **options}
        self.guests.append(MailboxGuest(place, "-device", json.dumps(device), *(("-incoming", uri) if uri else ())))
        return self.guests[-1]

    def target(self, **options):
        self.uri = f"unix:{self.tmp}/move{len(self.guests)}"
        return self.start(self.uri, takeover=True, **options)

    def migrate(self, uri=None):
        assert self.source.qmp("migrate", uri=uri or self.uri) == {"return": {}}
        while (said := self.source.info())["status"] not in ("completed", "failed", "cancelled"):
            pass
        return said

    def arrived(self, target):
        """The guest is there."""
        target.wait(lambda: target.status() == "running", "the guest to arrive")
        self.source = self.nvme.guest = target
        self.source.qmp("migrate-set-capabilities", capabilities=[{"capability": "x-keep-servers", "state": True}])

    def leave(self, guest, code=0):
        guest.process.terminate()
        assert guest.close() == code
        self.guests[self.guests.index(guest)] = None

    def end(self):
        for guest in self.guests:
            if guest:
                guest.process.kill()
                guest.close()
        self.server.end()


@pytest.fixture(name="rig", params=[UnixServer, InetServer])
def fixture_rig(tmp_path, request):
    rig = Rig(tmp_path, request.param)
    yield rig
    rig.end()


def test_back_and_forth(rig):
    """With commands under way each time: each is answered once, and has done its work."""
    for turn in range(3):
        rig.nvme.use()
        for n in range(40):
            rig.source.ram[SAVED + n * 512:SAVED + n * 512 + 512] = (b"turn %d block %d " % (turn, n)).ljust(512, b"x")
            rig.nvme.submit(1, 1, 1, SAVED + n * 512, 2000 + n, 0, 0)
        source, target = rig.source, rig.target()
        assert target.qmp("qom-get", path="/machine/peripheral/vd", property="state")["return"] == "unconnected"
        said = rig.migrate()
        assert said["status"] == "completed", said
        rig.arrived(target)
        assert source.status() == "postmigrate" and source.stands()
        rig.leave(source)
        assert [rig.nvme.complete(1) for _ in range(40)] == [0] * 40
        assert not rig.nvme.done(1)
        for n in (0, 17, 39):
            assert rig.nvme.read(2000 + n) == (b"turn %d block %d " % (turn, n)).ljust(512, b"x")
    rig.nvme.use()
    assert rig.source.qmp("qom-get", path="/machine/peripheral/vd", property="state")["return"] == "connected"


@pytest.fixture(name="unix_rig")
def fixture_unix_rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.end()


@pytest.mark.parametrize("fault", ["cut", "killed"])
def test_faults(unix_rig, fault):
    """At each point of the stream (some, unless MIGRATION_FAULTS=all): the source takes its disk's process back."""
    rig = unix_rig
    for where, point in POINTS.items():
        if not WHOLE and where not in SOME[fault]:
            continue
        rig.nvme.use()
        target = rig.target()
        path = rig.tmp / f"wire{len(rig.guests)}"

        def strike(record):
            if fault == "cut":
                raise Cut
            target.process.kill()
            target.process.wait()
            return record

        wire = Wire(path, rig.uri.removeprefix("unix:"), point, strike)
        said = rig.migrate(f"unix:{path}")
        target.process.wait()
        wire.end()
        assert wire.struck.is_set()
        rig.leave(target, code=-9 if fault == "killed" else 1)
        decided = where == "go" or (where == "loaded" and fault == "killed")
        assert said["status"] == ("completed" if decided else "failed"), (where, said)
        if decided:
            assert rig.source.status() == "postmigrate" and rig.source.stands()
            assert "return" in rig.source.qmp("cont"), where
        assert rig.source.status() == "running", where
    rig.nvme.use()


def test_source_does_not_let_go(unix_rig):
    """Without the capability the destination has no server, and the guest runs on."""
    rig = unix_rig
    rig.nvme.use()
    rig.source.qmp("migrate-set-capabilities", capabilities=[{"capability": "x-keep-servers", "state": False}])
    target = rig.target(**{"x-msg-timeout": 300})
    said = rig.migrate()
    assert said["status"] == "failed" and "x-keep-servers" in said["error-desc"], said
    assert target.process.wait() == 1
    rig.leave(target, code=1)
    rig.nvme.use()


def test_server_dies_meanwhile(unix_rig):
    """Nobody has the device then: the guest stands on the source, and runs with a process that has it again."""
    rig = unix_rig
    rig.nvme.use()
    target = rig.target()
    path = rig.tmp / "wire"

    def strike(record):
        rig.server.end()
        return record

    wire = Wire(path, rig.uri.removeprefix("unix:"), POINTS["clock"], strike)
    said = rig.migrate(f"unix:{path}")
    assert said["status"] == "failed" and "`cont` tries again" in said["error-desc"], said
    assert target.process.wait() == 1 and rig.source.status() == "paused" and rig.source.stands()
    wire.end()
    rig.leave(target, code=1)
    assert "error" in rig.source.qmp("cont")
    rig.server.path.unlink()
    rig.server = UnixServer(rig.tmp, rig.tmp / "disk.img")
    assert "return" in rig.source.qmp("cont")
    rig.nvme.use()
