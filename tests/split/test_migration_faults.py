# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong with a move, at eleven points of it each: the guest runs on one side with its disk, or stands and can be resumed.

The stream goes through the test, which knows its records and strikes before the one of its choice is passed on."""
import itertools
import os
import select
import socket
import struct
import threading
import time

import pytest

from mailbox_guest import DiskServer, MailboxGuest, Nvme, disk_args

MACHINE, RAM, ZERO, CPU, DEVICE, CLOCK, END, LOADED, REFUSED, GO, PART, REMOTE = range(1, 13)
HEADER = 16
# The record before which it happens: its type, and which of those it is.
POINTS = {"start": (MACHINE, 0), "disk's head": (REMOTE, 0), "first page": ("ram", 0), "fourth pages": ("ram", 4), "sixteenth pages": ("ram", 16),
          "disk's state": (REMOTE, 1), "clock": (CLOCK, 0), "sixth device": (DEVICE, 5), "cpu": (CPU, 0), "end": (END, 0),
          "loaded": (LOADED, 0), "go": (GO, 0)}
FAULTS = ("source client", "source server", "target client", "target server", "cut", "damage")


def decided(fault, where):
    """The destination has agreed, so the source lets go: if nobody gets it, the source stands and knows it."""
    return where == "go" or where == "loaded" and fault.startswith("target")



class Cut(Exception):
    """Of the wire, by the strike."""


class Wire:
    """Between source and destination: passes records on, and strikes before the chosen one."""

    def __init__(self, path, target, point, strike):
        self.target, self.point, self.strike = target, point, strike
        self.seen, self.struck, self.ends = {}, threading.Event(), ()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        try:
            source, _ = self.listener.accept()
        except OSError:
            return
        target = socket.socket(socket.AF_UNIX)
        target.connect(str(self.target))
        buffers, other = {source: b"", target: b""}, {source: target, target: source}
        header = {source: 8, target: 0}
        self.ends = (source, target)
        living = [source, target]
        with source, target:
            try:
                while living:
                    for side in select.select(living, [], [])[0]:
                        buffers[side] += self.take(side, living, other[side])
                        buffers[side], header[side] = self.pass_on(buffers[side], header[side], other[side])
            except Cut:
                return

    @staticmethod
    def take(side, living, to):
        """What a side that hangs up had said before is heard; whether the other one notices while it speaks is not left to chance."""
        try:
            data = side.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            living.remove(side)
            try:
                to.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it was first
        return data

    @staticmethod
    def send(to, data):
        try:
            to.sendall(data)
        except OSError:
            pass  # it is dead

    def pass_on(self, data, header, to):
        if header and data:
            self.send(to, data[:header])
            data = data[header:]
        while len(data) >= HEADER and len(data) >= HEADER + struct.unpack_from("<I", data, 4)[0]:
            kind, size = struct.unpack_from("<II", data)
            record, data = data[:HEADER + size], data[HEADER + size:]
            for name in (kind, "ram") if kind in (RAM, ZERO) else (kind,):
                number = self.seen.setdefault(name, 0)
                self.seen[name] += 1
                if (name, number) == self.point:
                    self.struck.set()
                    record = self.strike(record)
            self.send(to, record)
        return data, 0

    def end(self):
        for sock in (self.listener, *self.ends):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is over already
        self.thread.join()
        self.listener.close()


def owners(image, pids):
    """Which of the processes have the image locked for writing, looked at one after the other."""
    inode, found = os.stat(image).st_ino, set()
    for pid in pids:
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.stat(f"/proc/{pid}/fd/{fd}").st_ino == inode:
                    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as info:
                        found |= {pid} if any("lock:" in line and "WRITE" in line for line in info) else set()
        except OSError:
            pass  # it has ended
    return found


def owned_twice(image, pids):
    """Whoever gave it up before another took it, between the two looks, is no owner when looked at again."""
    found = owners(image, pids)
    return len(found) > 1 and len(found & owners(image, pids)) > 1


class Pair:
    """A guest and its disk's process."""
    numbers = itertools.count()

    def __init__(self, tmp, image, uri=None, client=MailboxGuest):
        place = tmp / f"pair{next(self.numbers)}"
        place.mkdir()
        self.server = DiskServer(place, image, *(("-incoming", "defer") if uri else ()))
        self.client = client(place, *disk_args(self.server.path), *(("-incoming", uri) if uri else ()))
        self.nvme = None

    def runs(self):
        return self.client.process.poll() is None and self.client.status() == "running"

    def end(self):
        self.server.end()
        self.client.process.kill()
        self.client.close()


class Rig:
    def __init__(self, tmp):
        self.tmp, self.image, self.number = tmp, tmp / "disk.img", 0
        self.image.write_bytes(bytes(4 << 20))
        self.pairs, self.records = [], 0
        self.begin()

    def begin(self):
        """A guest that has its disk in use."""
        self.source = self.start(None)
        self.source.nvme = Nvme(self.source.client)
        self.use(self.source)

    def start(self, uri):
        self.pairs.append(Pair(self.tmp, self.image, uri))
        return self.pairs[-1]

    def use(self, pair):
        """The guest runs, and its disk has what was written, and takes more."""
        pair.nvme.guest = pair.client
        pair.client.goes_on()
        if self.records:
            assert pair.nvme.read(self.records % 1000) == b"record %d" % self.records
        self.records += 1
        pair.nvme.write(self.records % 1000, b"record %d" % self.records)

    def end(self, *pairs):
        for pair in pairs or tuple(self.pairs):
            pair.end()
            self.pairs.remove(pair)

    def move(self, point, strike):
        """What came of it: the destination, and what the source says."""
        self.number += 1
        path, direct = self.tmp / f"wire{self.number}", self.tmp / f"direct{self.number}"
        target = self.start(f"unix:{direct}")
        target.nvme = self.source.nvme
        source = self.source.client
        wire = Wire(path, direct, point, lambda record: strike(record, target, wire))
        over, twice = threading.Event(), []
        pids = [pair.server.process.pid for pair in self.pairs]

        def watch():
            while not over.is_set():
                if owned_twice(self.image, pids):
                    twice.append(time.monotonic())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            assert source.qmp("migrate", uri=f"unix:{path}") == {"return": {}}
            said = self.until_over(source)
            self.until_settled(target.client)
        finally:
            over.set()
            watcher.join()
            wire.end()
        assert wire.struck.is_set() or point is None
        assert not twice, "two processes had the disk at the same time"
        return target, said

    def until_over(self, source):
        while True:
            try:
                said = source.info()
            except (OSError, ValueError):
                return None  # the source itself was struck
            if said["status"] in ("completed", "failed", "cancelled"):
                return said
            time.sleep(0.005)

    def until_settled(self, target):
        """It runs, or has ended."""
        while target.process.poll() is None:
            try:
                if target.status() == "running":
                    return
            except (OSError, ValueError):
                target.process.wait()
            time.sleep(0.005)


def kill(process):
    process.kill()
    process.wait()


def striker(fault, rig):
    def strike(record, target, wire):
        if fault == "damage":
            at = len(record) // 2
            return record[:at] + bytes([record[at] ^ 0x10]) + record[at + 1:]
        if fault == "cut":
            raise Cut
        side = rig.source if fault.startswith("source") else target
        kill((side.client if fault.endswith("client") else side.server).process)
        return record

    return strike


def check_source_lost(rig, target, where, fault):
    """Its guest or its disk died: the other side has it, when it was told, or nobody."""
    source = rig.source
    running = [pair for pair in (source, target) if pair.client.process.poll() is None and pair.runs()]
    if fault == "source client":
        assert running == ([target] if decided(fault, where) else []), (where, fault)
    elif target in running:
        assert source.client.status() == "postmigrate" and running == [target]
    else:
        info = source.client.info()
        assert info["status"] == "failed" and "error-desc" in info and source.client.status() in ("running", "paused"), info
    if target in running:
        rig.use(target)
    else:
        assert target.client.process.wait() == 1 and len(target.client.said.read_text("utf-8").splitlines()) == 1


def check_target_lost(rig, target, said, stands):
    """The source runs on, or stands, says so, and runs on when told to."""
    source = rig.source
    if stands:
        assert said["status"] == "completed" and source.client.status() == "postmigrate" and source.client.stands()
        target.client.process.wait()
        assert "return" in source.client.qmp("cont")
    else:
        assert said["status"] == "failed" and said["error-desc"], said
    assert source.client.status() == "running"
    rig.use(source)


def one_fault(rig, fault, where):
    target, said = rig.move(POINTS[where], striker(fault, rig))
    if fault.startswith("source"):
        check_source_lost(rig, target, where, fault)
        rig.end()
        rig.records = 0
        rig.begin()
        return
    if target.client.process.poll() is None and target.runs():
        # Its disk died when it had all that it needs to run.
        assert fault == "target server" and decided(fault, where) and said["status"] == "completed"
        kill(target.client.process)
    check_target_lost(rig, target, said, decided(fault, where))
    rig.end(target)


@pytest.fixture(name="rig")
def fixture_rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.end()


WHOLE = os.environ.get("MIGRATION_FAULTS") == "all"
SOME = {"source client": ("disk's state", "go"), "source server": ("fourth pages", "end"), "target client": ("sixth device", "go"),
        "target server": ("disk's head", "loaded", "go"), "cut": ("sixteenth pages", "loaded", "go"),
        "damage": ("first page", "disk's state", "go")}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(rig, fault):
    for where in POINTS if WHOLE else SOME[fault]:
        one_fault(rig, fault, where)
    if fault.startswith("target") or fault in ("cut", "damage"):
        target, said = rig.move(None, None)
        assert said["status"] == "completed"
        rig.use(target)


def test_full_disk(rig):
    """A snapshot that finds no room, at ten points of it: the guest runs on with its disk."""
    client, path = rig.source.client, rig.tmp / "snapshot"
    assert client.qmp("migrate", uri=f"exec:cat > {path}") == {"return": {}}
    assert rig.until_over(client)["status"] == "completed"
    assert "return" in client.qmp("cont")
    rig.use(rig.source)
    blocks = path.stat().st_size // 512
    for uri in ["exec:cat > /dev/full", *(f"exec:ulimit -f {blocks * tenth // 10}; cat > {path}" for tenth in range(10))]:
        assert client.qmp("migrate", uri=uri) == {"return": {}}
        said = rig.until_over(client)
        assert said["status"] == "failed" and said["error-desc"], (uri, said)
        assert client.status() == "running"
        rig.use(rig.source)


def test_commands_under_way(rig):
    """Each command the guest gave before it moved is answered once after that, and has done its work."""
    data = 0x310000
    for move in range(4):
        nvme = rig.source.nvme
        for n in range(40):
            rig.source.client.ram[data + n * 512:data + n * 512 + 512] = (b"move %d block %d " % (move, n)).ljust(512, b"x")
            nvme.submit(1, 1, 1, data + n * 512, 2000 + n, 0, 0)
        target, said = rig.move(None, None)
        assert said["status"] == "completed"
        nvme.guest = target.client
        assert [nvme.complete(1) for _ in range(40)] == [0] * 40
        assert not nvme.done(1)
        for n in (0, 17, 39):
            assert nvme.read(2000 + n) == (b"move %d block %d " % (move, n)).ljust(512, b"x")
        rig.end(rig.source)
        rig.source = target
