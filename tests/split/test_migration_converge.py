# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that write faster than the wire takes: with auto-converge they are slowed until the move ends, and not after it."""
import select
import socket
import struct
import threading
import time

import pytest

from bare_guest import COUNTER, Guest, forever, increment

FIRST, END = 0x400000, 0xc00000
# A page, a pause, the next page; a lap, a count.
LAP = (b"\xbf" + struct.pack("<I", FIRST) +  # mov edi, FIRST
       b"\xff\x07" + b"\xb9" + struct.pack("<I", 1000) + b"\xff\xc9\x75\xfc" +  # inc dword [rdi]; mov ecx, 2000; dec ecx; jnz back
       b"\x81\xc7\x00\x10\x00\x00" + b"\x81\xff" + struct.pack("<I", END) +  # add edi, 4096; cmp edi, END
       b"\x72\xe7")  # jb, to inc
CODE = forever(LAP + increment(COUNTER))


class Pace:
    """Passes the stream on, part by part as the guest gets around: on a busy host a guest may write next to nothing while the wire
    takes all that there is, and would never have to be slowed."""
    PART = (END - FIRST) * 3 // 4

    def __init__(self, path, target, guest):
        self.target, self.guest, self.free, self.ended = str(target), guest, threading.Event(), threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        source, _ = self.listener.accept()
        passed, target = 0, socket.socket(socket.AF_UNIX)
        target.connect(self.target)
        with source, target:
            try:
                while True:
                    for side in select.select([source, target], [], [])[0]:
                        data = side.recv(1 << 16)
                        if not data:
                            return
                        (target if side is source else source).sendall(data)
                        passed += len(data)
                    if passed >= self.PART:
                        passed = 0
                        self.wait_for_laps()
            except OSError:
                return  # the move was given up

    def wait_for_laps(self):
        begin = self.guest.word(COUNTER)
        while not self.free.is_set() and not self.ended.is_set() and (self.guest.word(COUNTER) - begin) & 0xffffffff < 2:
            time.sleep(0.002)

    def end(self):
        self.ended.set()
        self.thread.join()
        self.listener.close()


@pytest.fixture(name="start")
def fixture_start(tmp_path):
    running = []

    def start(name, *args):
        (tmp_path / name).mkdir()
        running.append(Guest(tmp_path / name, CODE, *args))
        running[-1].refused = False
        return running[-1]

    yield start
    for guest in running:
        assert guest.close() == (1 if guest.refused else 0)


def info(guest):
    return guest.qmp("query-migrate")["return"]


def laps_in_a_moment(guest):
    begin = guest.word(COUNTER)
    time.sleep(0.5)
    return guest.word(COUNTER) - begin


def begin(source, target, tmp_path):
    """The pace of the stream."""
    source.wait(lambda: source.word(COUNTER) > 2, "the guest to run")
    source.qmp("migrate-set-parameters", **{"max-bandwidth": 30 << 20, "downtime-limit": 10, "cpu-throttle-initial": 40,
                                            "cpu-throttle-increment": 20})
    pace = Pace(tmp_path / "pace", tmp_path / "move", source)
    assert source.qmp("migrate", uri=f"unix:{tmp_path}/pace") == {"return": {}}
    return pace


def until_ended(source, pace, enough=None):
    """Once the guest is slowed by `enough` per cent, the wire takes what there is."""
    seen = set()
    while (said := info(source))["status"] not in ("completed", "failed", "cancelled"):
        seen.add(said.get("cpu-throttle-percentage", 0))
        if enough and max(seen) >= enough:
            pace.free.set()
            source.qmp("migrate-set-parameters", **{"downtime-limit": 200})
        time.sleep(0.01)
    return said, seen


def test_slowed_until_it_fits(start, tmp_path):
    uri = f"unix:{tmp_path}/move"
    source, target = start("source"), start("target", "-incoming", uri)
    source.qmp("migrate-set-capabilities", capabilities=[{"capability": "auto-converge", "state": True}])
    assert {"capability": "auto-converge", "state": True} in source.qmp("query-migrate-capabilities")["return"]
    pace = begin(source, target, tmp_path)
    said, seen = until_ended(source, pace, enough=60)
    pace.end()
    assert said["status"] == "completed", said
    assert seen <= {0, 40, 60, 80, 99} and max(seen) >= 60, seen  # of those on the way the test may miss some
    text = source.qmp("human-monitor-command", **{"command-line": "info migrate"})["return"]
    assert "cpu throttle percentage: " in text and "% done" in text and "device /machine/" in text
    devices = {d["device"]: d for d in said["x-devices"]}
    assert all(d["bytes"] >= 0 and d["time-us"] >= 0 and d["model"] for d in devices.values())
    assert 0 < sum(d["bytes"] for d in devices.values()) <= said["x-device-bytes"]
    assert sum(d["time-us"] for d in devices.values()) <= said["x-downtime-us"]
    assert said["x-downtime-us"] // 1000 == said["downtime"]
    # It runs all of the time there: more than the last share would let it.
    target.wait(lambda: target.qmp("query-status")["return"]["status"] == "running", "the guest there")
    target.goes_on()
    passes = [event["data"]["pass"] for event in source.events if event["event"] == "MIGRATION_PASS"]
    assert passes == list(range(1, said["ram"]["dirty-sync-count"] + 1))
    assert source.qmp("query-status")["return"]["status"] == "postmigrate" and source.stands()


def test_not_asked_for_not_slowed(start, tmp_path):
    """It does not end by itself; nor is a guest slowed after a move that was given up."""
    uri = f"unix:{tmp_path}/move"
    source, target = start("source"), start("target", "-incoming", uri)
    source.wait(lambda: source.word(COUNTER) > 2, "the guest to run")
    before = laps_in_a_moment(source)
    pace = begin(source, target, tmp_path)
    while info(source)["ram"]["dirty-sync-count"] < 6:
        assert info(source)["status"] in ("setup", "active")
        time.sleep(0.01)
    assert "cpu-throttle-percentage" not in info(source) and info(source)["ram"]["dirty-pages-rate"] > 0
    source.qmp("migrate-set-capabilities", capabilities=[{"capability": "auto-converge", "state": True}])
    source.qmp("migrate-set-parameters", **{"max-bandwidth": 16 << 20, "cpu-throttle-initial": 99})
    source.wait(lambda: "cpu-throttle-percentage" in info(source), "the guest to be slowed", timeout=300)
    source.qmp("migrate_cancel")
    said, _ = until_ended(source, pace)
    pace.end()
    assert said["status"] == "cancelled" and target.process.wait() == 1
    target.refused = True
    source.wait(lambda: laps_in_a_moment(source) > before / 30, "the guest to run all of the time", timeout=300)


def test_refused(start):
    guest = start("guest")
    for name in ("xbzrle", "multifd", "postcopy-ram"):
        answer = guest.qmp("migrate-set-capabilities", capabilities=[{"capability": name, "state": True}])
        assert name in answer["error"]["desc"] and "come in a later one" in answer["error"]["desc"]
        assert "return" in guest.qmp("migrate-set-capabilities", capabilities=[{"capability": name, "state": False}])
    for name in ("xbzrle-cache-size", "multifd-channels", "max-postcopy-bandwidth"):
        assert "come in a later one" in guest.qmp("migrate-set-parameters", **{name: 1})["error"]["desc"]
    assert "cannot be switched off" in guest.qmp("migrate-set-capabilities", capabilities=[
        {"capability": "events", "state": False}])["error"]["desc"]
    for on in (True, False):
        assert "'nonsense' is not supported" in guest.qmp("migrate-set-capabilities", capabilities=[
            {"capability": "auto-converge", "state": True}, {"capability": "nonsense", "state": on}])["error"]["desc"]
    assert "cpu-throttle-increment" in guest.qmp("migrate-set-parameters", **{
        "cpu-throttle-initial": 50, "cpu-throttle-increment": 0})["error"]["desc"]
    # All of a command, or nothing of it.
    assert {"capability": "auto-converge", "state": False} in guest.qmp("query-migrate-capabilities")["return"]
    for name, value in (("cpu-throttle-initial", 0), ("max-cpu-throttle", 100), ("throttle-trigger-threshold", 101), ("nothing", 1)):
        assert name in guest.qmp("migrate-set-parameters", **{name: value})["error"]["desc"]
    assert guest.qmp("query-migrate-parameters")["return"]["cpu-throttle-initial"] == 20
