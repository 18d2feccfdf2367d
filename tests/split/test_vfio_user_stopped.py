# SPDX-License-Identifier: GPL-2.0-or-later
"""Monitors while a server process is stopped (SIGSTOP): every command, as QMP without an id and as a line of the human
monitor.  A request is given ten minutes, so that a command that waits for the server never comes back in this test."""
import json
import os
import pathlib
import signal
import socket
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bare_guest import COUNTER, config_write, forever, increment, load, save, VALUE  # noqa: E402
from machine import BAR0, Machine, START_TIMEOUT, nvme_server, vfio_user  # noqa: E402

PATIENT = {"x-msg-timeout": 600000}
NVME_VS = 8  # register: version


def until(condition):
    end = time.monotonic() + START_TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


class Monitor:
    """One more monitor of a machine: QMP, or the human one."""

    def __init__(self, path, human=False):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(START_TIMEOUT)
        self.sock.connect(path)
        self.file = self.sock.makefile("r", newline="")
        self.human = human
        if human:
            self.until_prompt()
        else:
            assert "QMP" in json.loads(self.file.readline())
            assert "return" in self.qmp("qmp_capabilities")

    def send(self, name, **arguments):
        self.sock.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")

    def answer(self):
        while True:
            message = json.loads(self.file.readline())
            if "event" not in message:
                return message

    def qmp(self, name, **arguments):
        self.send(name, **arguments)
        return self.answer()

    def until_prompt(self):
        text = ""
        while not text.endswith("(qemu) "):
            text += self.file.read(1)
        return text

    def line(self, text):
        """What the human monitor prints, without the echo."""
        self.sock.sendall(text.encode() + b"\n")
        return self.until_prompt().partition("\r\n")[2].removesuffix("(qemu) ")

    def close(self):
        self.file.close()
        self.sock.close()


class Stopped:
    """A server that can be stopped, a second one that runs, and a machine with three monitors."""

    def __init__(self, tmp, code=None, attach=True):
        self.parts = []
        for name in ("one", "two"):
            (tmp / name).mkdir()
            self.parts.append(nvme_server(tmp / name, auto_shutdown="off"))
        (self.server, self.path), (_, self.other_path) = self.parts
        args = ["-qmp", f"unix:{tmp}/qmp2,server=on,wait=off", "-monitor", f"unix:{tmp}/hmp,server=on,wait=off"]
        args += vfio_user(self.path, **PATIENT) if attach else []
        self.machine = code(tmp, *args) if code else Machine(tmp, *args)
        self.second, self.human = Monitor(f"{tmp}/qmp2"), Monitor(f"{tmp}/hmp", human=True)

    def stop(self):
        self.server.send_signal(signal.SIGSTOP)
        until(lambda: all(state == "T" for state in self.states()))

    def states(self):
        tasks = pathlib.Path(f"/proc/{self.server.pid}/task")
        return [(task / "stat").read_text(encoding="ascii").rpartition(") ")[2][0] for task in tasks.iterdir()]

    def go_on(self):
        self.server.send_signal(signal.SIGCONT)

    def close(self):
        self.second.close()
        self.human.close()
        code = self.machine.close()
        for server, _ in self.parts:
            server.send_signal(signal.SIGCONT)
            server.terminate()
            assert server.wait(START_TIMEOUT) == 0
        assert code == 0


@pytest.fixture(name="split")
def split_fixture(tmp_path):
    made = []

    def split(*args, **options):
        made.append(Stopped(tmp_path, *args, **options))
        return made[-1]

    yield split
    for one in made:
        one.close()


def hmp(machine, line):
    return machine.qmp("human-monitor-command", **{"command-line": line})["return"]


def by_qmp(one, name, **arguments):
    assert "return" in one.machine.qmp(name, **arguments), name


def by_human_command(one, name, **arguments):
    assert not hmp(one.machine, human_line(name, arguments)).startswith("Error"), name


def by_human(one, name, **arguments):
    assert not one.human.line(human_line(name, arguments)).startswith("Error"), name


def human_line(name, arguments):
    names = {"query-pci": "info pci", "query-status": "info status"}
    rest = [arguments.pop("driver")] if "driver" in arguments else []
    if name == "device_add":
        return f"device_add {','.join(rest + [f'{k}={v}' for k, v in arguments.items()])}"
    return " ".join([names.get(name, name), *arguments.values()])


WAYS = {"QMP": by_qmp, "human-monitor-command": by_human_command, "human monitor": by_human}


def everything(one, run):
    """What a person does to a machine, one of whose servers stands."""
    run(one, "query-status")
    run(one, "query-pci")
    for line in ("info pci", "info qtree", "info qom-tree", "info mtree", "info registers"):
        assert "Error" not in hmp(one.machine, line) and "Error" not in one.human.line(line)
    run(one, "device_add", driver="tick", id="t", addr="9")
    run(one, "device_del", id="t")
    run(one, "device_add", driver="vfio-user-pci", id="other", addr="a", socket=one.other_path)
    run(one, "query-pci")
    run(one, "device_del", id="other")
    run(one, "stop")
    run(one, "query-status")
    run(one, "cont")


@pytest.mark.parametrize("way", WAYS)
def test_check_63_every_command_while_nobody_waits(split, way):
    one = split()
    one.machine.map_bars()
    one.stop()
    everything(one, WAYS[way])
    WAYS[way](one, "device_del", id="vd")
    assert one.machine.event("DEVICE_DELETED")["device"] in ("t", "other", "vd")
    WAYS[way](one, "system_reset")
    WAYS[way](one, "query-status")


def reader(tmp, *args):
    """A guest that reads a register for ever."""
    from bare_guest import Guest
    setup = config_write(0x10, BAR0) + config_write(4, 6)
    return Guest(tmp, setup + forever(load(BAR0 + NVME_VS) + save(VALUE) + increment(COUNTER)), *args)


@pytest.mark.parametrize("way", WAYS)
def test_check_63_every_command_while_a_cpu_waits(split, way):
    one = split(reader)
    one.machine.goes_on()
    one.stop()
    one.machine.wait(one.machine.stands, "the CPU to wait for the server")
    everything(one, WAYS[way])
    WAYS[way](one, "system_reset")  # waits for the server, and holds up nothing else
    everything(one, WAYS[way])
    one.go_on()
    one.machine.event("RESET")
    one.machine.goes_on()


@pytest.mark.parametrize("way", ["QMP", "human monitor"])
@pytest.mark.parametrize("waits", ["nobody", "CPU"])
def test_quit(split, way, waits):
    one = split(reader if waits == "CPU" else None)
    one.stop()
    if waits == "CPU":
        one.machine.wait(one.machine.stands, "the CPU to wait for the server")
    if way == "QMP":
        assert "return" in one.machine.qmp("quit")
    else:
        one.human.sock.sendall(b"quit\n")
    assert one.machine.process.wait(START_TIMEOUT) == 0


# --- commands that have to wait: they hold up the session they came by, and no other ---

def plug(path):
    return {"driver": "vfio-user-pci", "id": "late", "addr": "5", "socket": path, **PATIENT}


def others_answer(one):
    """The second QMP session."""
    for name, arguments in (("query-status", {}), ("query-pci", {}), ("device_add", {"driver": "tick", "id": "t"}),
                            ("device_del", {"id": "t"}), ("stop", {}), ("cont", {}),
                            ("human-monitor-command", {"command-line": "info qtree"})):
        assert "return" in one.second.qmp(name, **arguments), name


@pytest.mark.parametrize("how", ["device_add", "human-monitor-command"])
def test_device_add_without_id_holds_up_its_session_only(split, how):
    one = split(attach=False)
    one.stop()
    options = plug(one.path)
    line = "device_add " + ",".join(f"{k}={v}" if k != "driver" else v for k, v in options.items())
    arguments = options if how == "device_add" else {"command-line": line}
    conn = one.machine.qmp_socket
    conn.sendall(json.dumps({"execute": how, "arguments": arguments}).encode() + b'\n{"execute":"query-na')
    others_answer(one)
    assert "running" in one.human.line("info status")
    conn.sendall(b'me","id":7}\n')
    one.go_on()
    # In the order of the requests, since nobody could tell them apart.
    answers = []
    while len(answers) < 2:
        message = json.loads(one.machine.qmp_file.readline())
        answers += [message] if "event" not in message else []
    assert answers == [{"return": {} if how == "device_add" else ""}, {"return": {}, "id": 7}]
    assert one.machine.qmp("qom-get", path="/machine/peripheral/late", property="state")["return"] == "connected"


def test_human_command_with_id_holds_up_nobody(split):
    one = split(attach=False)
    one.stop()
    line = "device_add " + ",".join(f"{k}={v}" if k != "driver" else v for k, v in plug(one.path).items())
    one.machine.qmp_socket.sendall(json.dumps({"execute": "human-monitor-command", "id": "h",
                                               "arguments": {"command-line": line}}).encode() + b"\n")
    assert "return" in one.machine.qmp("query-status")
    one.go_on()
    assert json.loads(one.machine.qmp_file.readline()) == {"return": "", "id": "h"}
    # What fails is text, as ever.
    assert "duplicate" in hmp(one.machine, line) or "late" in hmp(one.machine, line)


def test_device_add_by_the_human_monitor(split):
    one = split(attach=False)
    one.stop()
    line = "device_add " + ",".join(f"{k}={v}" if k != "driver" else v for k, v in plug(one.path).items())
    one.human.sock.sendall(line.encode() + b"\ninfo name\n")
    others_answer(one)
    assert "return" in one.machine.qmp("query-status")
    one.go_on()
    assert one.human.until_prompt().endswith("\r\n(qemu) ")
    assert "info name" in one.human.until_prompt()
    assert one.machine.qmp("qom-get", path="/machine/peripheral/late", property="state")["return"] == "connected"
    assert "late" in one.human.line(line)


@pytest.mark.parametrize("how", ["device_add", "line"])
def test_who_asked_goes_away_meanwhile(split, how):
    one = split(attach=False)
    one.stop()
    if how == "line":
        line = "device_add " + ",".join(f"{k}={v}" if k != "driver" else v for k, v in plug(one.path).items())
        one.human.sock.sendall(line.encode() + b"\ninfo name\n")
        one.human.close()
    else:
        one.second.send("device_add", **plug(one.path))
        one.second.send("query-name")
        one.second.close()
    assert "return" in one.machine.qmp("query-status")
    one.go_on()
    while one.machine.qmp("qom-get", path="/machine/peripheral/late", property="state").get("return") != "connected":
        pass


def test_registers_that_the_monitor_reads(split):
    one = split()
    one.machine.map_bars()
    one.stop()
    conn = one.machine.qmp_socket
    conn.sendall(json.dumps({"execute": "human-monitor-command",
                             "arguments": {"command-line": f"xp /1xw {BAR0 + NVME_VS:#x}"}}).encode() + b"\n")
    others_answer(one)
    one.human.sock.sendall(f"xp /1xw {BAR0 + NVME_VS:#x}\n".encode())
    others_answer(one)
    one.go_on()
    answer = {"event": 1}
    while "event" in answer:
        answer = json.loads(one.machine.qmp_file.readline())
    assert answer["return"].endswith("0x00010400\n")
    assert "0x00010400" in one.human.until_prompt()


def test_the_end_ends_what_waits(split):
    """quit while a device_add, a dump and a CPU wait."""
    one = split(reader)
    one.machine.goes_on()
    one.stop()
    one.machine.wait(one.machine.stands, "the CPU to wait for the server")
    one.human.sock.sendall(f"xp /64xw {BAR0 + NVME_VS:#x}\n".encode())
    one.machine.qmp_socket.sendall(json.dumps({"execute": "device_add", "arguments": plug(one.path)}).encode() + b"\n")
    others_answer(one)
    assert "return" in one.second.qmp("quit")
    assert one.machine.process.wait(START_TIMEOUT) == 0
    assert os.path.exists(one.path)
