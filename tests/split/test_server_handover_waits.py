# SPDX-License-Identifier: GPL-2.0-or-later
"""A device changes its process while one of the two stands (SIGSTOP) or takes its time: monitors answer, the guest's other devices work,
what would disturb is refused or waits, and in the end it is done or has failed with the reason, and the guest has its disk."""
import json
import os
import signal
import threading
import time

import pytest

from bare_guest import COUNTER
from mailbox_guest import ASQ, DATA, DiskServer, Nvme
from test_server_handover import MIG_DATA_WRITE, Relay, Rig
from test_vfio_user_stopped import Monitor

MIG_DATA_READ = 17
EDU, EDU_BUFFER, EDU_DATA = 0xfc000000, 0x40000, 0x320000
MSG_TIMEOUT = 3000
PATIENT = 600000


def stand(process):
    """On a busy machine its threads may run on for a while."""
    process.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])


class HeldRelay(Relay):
    """Holds the message of which `strike` gives true until it is let go, and goes on then."""

    def __init__(self, path, server, strike):
        self.reached, self.let_go = threading.Event(), threading.Event()
        self.wanted = strike
        super().__init__(path, server)

    def answer(self, head, body):
        if not self.reached.is_set() and self.wanted(int.from_bytes(head[2:4], "little")):
            self.reached.set()
            self.let_go.wait()
        return None


class ListeningMonitor(Monitor):
    """Keeps the events."""

    def __init__(self, path):
        self.events = []
        super().__init__(path)

    def answer(self):
        while "event" in (message := json.loads(self.file.readline())):
            self.events.append(message)
        return message


class WaitingRig(Rig):
    """With a second device, in a process of its own, and a second monitor."""

    def __init__(self, tmp, timeout):
        (tmp / "other").mkdir()
        (tmp / "other.img").write_bytes(bytes(4096))
        self.other = DiskServer(tmp / "other", tmp / "other.img", device="edu,id=disk0")
        super().__init__(tmp, "-device", json.dumps({"driver": "vfio-user-pci", "id": "edu0", "addr": "5", "socket": str(self.other.path)}),
                         "-global", f"vfio-user-pci.x-msg-timeout={timeout}", "-qmp", f"unix:{tmp}/qmp2,server=on,wait=off")
        self.turns, self.relays = 0, []
        self.second = ListeningMonitor(f"{tmp}/qmp2")

    def begin(self, path):
        """Does not wait for the answer."""
        command = {"execute": "x-device-handover", "arguments": {"id": "vd", "socket": str(path)}}
        self.guest.qmp_socket.sendall(json.dumps(command).encode() + b"\n")

    def answer(self):
        while "event" in (message := json.loads(self.guest.qmp_file.readline())):
            pass
        return message

    def status(self):
        return self.second.qmp("query-status")["return"]["status"]

    def human(self, line):
        return self.second.qmp("human-monitor-command", **{"command-line": line})["return"]

    def boots_again(self):
        """After a reset: the guest begins anew, and has its disk as it was."""
        self.guest.wait(self.was_reset, "the reset")
        self.guest.set_word(COUNTER, 0)
        self.guest.ram[ASQ:DATA] = bytes(DATA - ASQ)  # old completions
        records = self.nvme.records
        self.nvme = Nvme(self.guest)
        self.nvme.records = records
        self.runs()

    def was_reset(self):
        self.status()
        return any(event["event"] == "RESET" for event in self.second.events)

    def is_left_alone(self):
        """What would disturb it is refused."""
        for command, arguments, text in (("device_del", {"id": "vd"}, "the process of 'vd' is being replaced; try again"),
                                         ("migrate", {"uri": f"file:{self.tmp}/stream"}, "is being replaced; try again"),
                                         ("x-device-handover", {"id": "vd", "socket": "x"}, "is being replaced; try again")):
            assert text in self.second.qmp(command, **arguments)["error"]["desc"], command

    def machine_works(self):
        """Its main loop, monitors, and another process, which computes and writes to memory by itself."""
        assert "return" in self.second.qmp("query-pci")
        for offset, value in ((0x10, EDU), (4, 6)):
            self.guest.qtest(f"outl 0xcf8 {0x80002800 | offset:#x}")
            self.guest.qtest(f"outl 0xcfc {value:#x}")
        assert self.guest.read(EDU) == 0x010000ed
        self.guest.write(EDU + 8, 10)
        self.guest.wait(lambda: not self.guest.read(EDU + 0x20) & 1, "the factorial")
        assert self.guest.read(EDU + 8) == 3628800
        self.turns += 1
        self.guest.set_word(EDU_DATA, self.turns)
        for source, target, command in ((EDU_DATA, EDU_BUFFER, 1), (EDU_BUFFER, EDU_DATA + 4, 3)):
            for register, value in ((0x80, source), (0x88, target), (0x90, 4), (0x98, command)):
                self.guest.write(EDU + register, value, "q")
            self.guest.wait(lambda: not self.guest.read(EDU + 0x98, "q") & 1, "the transfer")
        assert self.guest.word(EDU_DATA + 4) == self.turns

    def stands_by(self):
        """The guest's CPUs stand, and nothing else does."""
        assert "VM status: running" in self.human("info status") and "RIP=" in self.human("info registers")
        assert self.guest.stands()
        self.machine_works()

    def runs(self):
        self.guest.wait(lambda: self.status() == "running", "the guest to run")
        self.nvme.use()

    def end(self):
        self.second.close()
        super().end()
        self.other.end()


@pytest.fixture(name="waiting")
def fixture_waiting(tmp_path):
    rigs = []

    def waiting(timeout):
        rigs.append(WaitingRig(tmp_path, timeout))
        rigs[-1].nvme.use()
        return rigs[-1]

    yield waiting
    for rig in rigs:
        for server in rig.servers:
            server.process.send_signal(signal.SIGCONT)
        rig.end()
        for relay in rig.relays:
            relay.let_go.set()
            relay.end()


def nth(command, number):
    """Of the messages of that command, questions and answers."""
    seen = []

    def strike(this):
        seen.append(this)
        return seen.count(command) == number

    return strike


@pytest.mark.parametrize("stopped", ["old", "new"])
def test_stopped_before(waiting, stopped):
    """The guest runs all the time, until it wants its disk."""
    rig = waiting(MSG_TIMEOUT)
    new = rig.serve()
    one = new if stopped == "new" else rig.server
    stand(one.process)
    rig.begin(new.path)
    time.sleep(0.2)  # longer than the monitor waits for it
    rig.is_left_alone()
    assert rig.status() == "running"
    rig.guest.goes_on()
    rig.machine_works()
    assert "timed out" in (said := rig.answer())["error"]["desc"], said
    one.process.send_signal(signal.SIGCONT)
    assert rig.owned_by() == {rig.server.process.pid}
    rig.runs()
    assert "return" in rig.hand_over(rig.serve())
    rig.runs()


def slow(rig, which):
    """A handover that has come to where the CPUs stand, and the relay that holds it there."""
    new, path = rig.serve(), rig.tmp / "slow"
    if which == "old":  # it is reached through the relay, and gives its state
        server = rig.serve()
        relay = HeldRelay(path, server.path, nth(MIG_DATA_READ, 5))
        relay.count = 0
        rig.begin(path)
        assert "return" in rig.answer()
        rig.nvme.use()
        rig.server, path = server, new.path
    else:
        relay = HeldRelay(path, new.path, nth(MIG_DATA_WRITE, 3))
    rig.begin(path)
    rig.relays.append(relay)
    relay.reached.wait()
    rig.stands_by()
    return new, relay


@pytest.mark.parametrize("which", ["old", "new"])
def test_slow(waiting, which):
    """One that takes its time is waited for; the guest runs or stands then as it was told meanwhile."""
    rig = waiting(PATIENT)
    new, relay = slow(rig, which)
    rig.is_left_alone()
    for command, status in (("stop", "paused"), ("cont", "running"), ("stop", "paused")):
        assert "return" in rig.second.qmp(command)
        assert rig.status() == status and rig.guest.stands()
        rig.machine_works()
    relay.let_go.set()
    assert "return" in (said := rig.answer()), said
    assert rig.status() == "paused" and rig.guest.stands()
    assert rig.owned_by() == {new.process.pid}
    assert "return" in rig.second.qmp("cont")
    rig.runs()


@pytest.mark.parametrize("which", ["old", "new"])
def test_reset_while_it_waits(waiting, which):
    """It comes when the device has moved."""
    rig = waiting(PATIENT)
    new, relay = slow(rig, which)
    assert "return" in rig.second.qmp("system_reset")
    rig.stands_by()
    assert not rig.was_reset()
    relay.let_go.set()
    assert "return" in (said := rig.answer()), said
    rig.boots_again()
    assert rig.owned_by() == {new.process.pid}


@pytest.mark.parametrize("stopped", ["old", "new"])
def test_reset_before(waiting, stopped):
    """While the new process is met, or the old one asked whether it can give its device away: that comes after the reset."""
    rig = waiting(PATIENT)
    new = rig.serve()
    one = new if stopped == "new" else rig.server
    stand(one.process)
    rig.begin(new.path)
    rig.machine_works()
    assert "return" in rig.second.qmp("system_reset")
    assert rig.status() == "running"
    if stopped == "new":
        rig.boots_again()
    one.process.send_signal(signal.SIGCONT)
    assert "return" in (said := rig.answer()), said
    assert rig.owned_by() == {new.process.pid}
    if stopped == "old":
        rig.boots_again()
    rig.runs()


def test_guest_ends_before(waiting):
    """The guest powers itself off while the new process reads the description: the device stays, and is there after a reset."""
    rig = waiting(PATIENT)
    new, path = rig.serve(), rig.tmp / "relay"
    relay = HeldRelay(path, new.path, nth(MIG_DATA_WRITE, 1))
    rig.relays.append(relay)
    rig.begin(path)
    relay.reached.wait()
    assert "return" in rig.second.qmp("set-action", shutdown="pause")
    rig.guest.qtest("outw 0x604 0x2000")
    rig.guest.wait(lambda: rig.status() == "shutdown", "the guest to power off")
    relay.let_go.set()
    assert "while the guest is shutdown" in (said := rig.answer())["error"]["desc"], said
    assert rig.owned_by() == {rig.server.process.pid}
    assert "return" in rig.second.qmp("system_reset")
    rig.guest.wait(rig.was_reset, "the reset")
    assert "return" in rig.second.qmp("cont")
    rig.boots_again()
    assert "return" in rig.hand_over(rig.serve())
    rig.runs()


def test_too_slow(waiting):
    """After a time it has failed, and the old process has the device again."""
    rig = waiting(MSG_TIMEOUT)
    slow(rig, "new")
    assert "error" in rig.answer()
    rig.runs()
    assert rig.owned_by() == {rig.server.process.pid}


@pytest.mark.parametrize("which", ["old", "new"])
def test_end_while_it_waits(waiting, which):
    """The program ends at once."""
    rig = waiting(PATIENT)
    slow(rig, which)
    assert "return" in rig.second.qmp("quit")
    assert rig.guest.process.wait() == 0


@pytest.mark.parametrize("stopped", ["old", "new"])
def test_end_before(waiting, stopped):
    rig = waiting(PATIENT)
    new = rig.serve()
    stand((new if stopped == "new" else rig.server).process)
    rig.begin(new.path)
    rig.machine_works()
    rig.guest.process.terminate()
    assert rig.guest.process.wait() == 0


QUESTIONS = (("query-pci", {}), ("query-status", {}), ("qom-get", {"path": "/machine/peripheral/vd", "property": "state"}),
             ("qom-list", {"path": "/machine/peripheral/vd"}), ("query-migrate", {}), ("query-block", {}),
             ("stop", {}), ("cont", {}),
             *(("human-monitor-command", {"command-line": line}) for line in (
                 "info qtree", "info mtree", "info pci", "info registers", "info migrate", "x /4x 0x200000", "xp /4x 0xfe000000")))


def test_asked_all_the_time(waiting):
    """Whatever the second monitor asks, in whatever moment."""
    rig = waiting(PATIENT)
    over, asked = threading.Event(), []

    def ask():
        while not over.is_set():
            for command, arguments in QUESTIONS:
                answer = rig.second.qmp(command, **arguments)
                assert "return" in answer, (command, answer)
            asked.append(len(asked))

    asker = threading.Thread(target=ask)
    asker.start()
    servers, turns = (rig.serve(), rig.server), 0
    while turns % 2 or turns < 20 or len(asked) < 10:
        assert asker.is_alive()
        assert "return" in rig.hand_over(servers[turns % 2])
        turns += 1
    over.set()
    asker.join()
    assert rig.owned_by() == {rig.server.process.pid}
    rig.runs()
