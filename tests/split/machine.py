# SPDX-License-Identifier: GPL-2.0-or-later
"""A client machine under test: q35 without instructions, driven by qtest and QMP; and a server of one NVMe disk."""
import json
import os
import pathlib
import socket
import subprocess
import time

import qmp_schema

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
START_TIMEOUT = float(os.environ.get("START_TIMEOUT", "300"))
SHARED_RAM = ["-object", "memory-backend-memfd,id=mem,size=64M,share=on", "-machine", "memory-backend=mem"]
DEVFN = 4 << 3
BAR0, BAR2, BAR4 = 0xfe000000, 0xc000, 0xfe100000


def command(*args, accel="qtest"):
    return [BINARY, "-machine", f"q35,accel={accel}", "-m", "64", "-nodefaults", "-display", "none", *args]


def start_fails(*args):
    """The one line of a start that must fail."""
    done = subprocess.run(command(*args), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=START_TIMEOUT,
                          check=False)
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def vfio_user(path, **options):
    return ["-device", json.dumps({"driver": "vfio-user-pci", "id": "vd", "addr": "4",
                                   "socket": {"type": "unix", "path": str(path)}, **options})]


def closed_at_the_end(make):
    """For a fixture: what makes things and remembers them."""
    made = []

    def start(*args):
        made.append(make(*args))
        return made[-1]

    yield start
    for each in made:
        each.close()


class Machine:
    def __init__(self, tmp, *args, accel="qtest", inherit=False, stderr=None):
        listeners = []
        for name in ("qtest", "qmp"):
            path = str(tmp / name)
            if os.path.exists(path):
                os.unlink(path)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen(1)
            listener.settimeout(START_TIMEOUT)
            listeners.append(listener)
        self.process = subprocess.Popen(command("-qtest", f"unix:{tmp}/qtest", "-qtest-log", os.devnull,
                                                "-qmp", f"unix:{tmp}/qmp", *args, accel=accel), close_fds=not inherit, stderr=stderr)
        self.files = []
        for listener in listeners:
            conn, _ = listener.accept()
            conn.settimeout(START_TIMEOUT)
            self.files.append((conn, conn.makefile("r")))
            listener.close()
        (self.qtest_socket, self.qtest_file), (self.qmp_socket, self.qmp_file) = self.files
        self.events, self.irqs = [], {}  # irqs: line -> level, of the intercepted device
        self.schema = None
        assert "QMP" in json.loads(self.qmp_file.readline())
        self.qmp("qmp_capabilities")
        self.schema = qmp_schema.of_machine(self.qmp)

    def qtest(self, text):
        self.qtest_socket.sendall(text.encode() + b"\n")
        while True:
            words = self.qtest_file.readline().split()
            if words and words[0] == "IRQ":
                self.irqs[int(words[2])] = words[1] == "raise"
                continue
            assert words and words[0] == "OK", (text, words)
            return words[1] if len(words) > 1 else None

    def qmp(self, name, **arguments):
        self.qmp_socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        return self.qmp_answer(name)

    def qmp_answer(self, name):
        """To a command that was sent."""
        while True:
            answer = json.loads(self.qmp_file.readline())
            if "event" not in answer:
                if self.schema:
                    self.schema.check_answer(name, answer)
                return answer
            if self.schema:
                self.schema.check_event(answer)
            self.events.append(answer)

    def event(self, name, timeout=START_TIMEOUT):
        """The data of the next such event."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event.get("data", {})
            self.qmp("query-status")
            time.sleep(0.01)
        raise AssertionError(f"no event {name}")

    def read(self, address, width="l"):
        return int(self.qtest(f"read{width} {address:#x}"), 16)

    def write(self, address, value, width="l"):
        self.qtest(f"write{width} {address:#x} {value:#x}")

    def memory(self, address, size):
        return bytes.fromhex(self.qtest(f"read {address:#x} {size}")[2:])

    def set_memory(self, address, data):
        self.qtest(f"write {address:#x} {len(data)} 0x{data.hex()}")

    def config_read(self, offset):
        self.qtest(f"outl 0xcf8 {0x80000000 | DEVFN << 8 | offset:#x}")
        return int(self.qtest("inl 0xcfc"), 16)

    def config_write(self, offset, value):
        self.qtest(f"outl 0xcf8 {0x80000000 | DEVFN << 8 | offset:#x}")
        self.qtest(f"outl 0xcfc {value:#x}")

    def map_bars(self, command_bits=7):
        for offset, value in ((0x10, BAR0), (0x18, BAR2), (0x20, BAR4), (4, command_bits)):
            self.config_write(offset, value)

    def fd_count(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def private_kib(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="ascii") as rollup:
            return sum(int(line.split()[1]) for line in rollup if line.startswith("Private_Dirty"))

    def thread_count(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        code = self.process.wait(START_TIMEOUT)
        for conn, file in self.files:
            file.close()
            conn.close()
        return code


def nvme_server(tmp, name="vfio-user.sock", auto_shutdown="on"):
    image, path = tmp / "disk.img", str(tmp / name)
    if os.path.exists(path):
        os.unlink(path)
    with open(image, "ab") as disk:
        disk.truncate(16 << 20)
    server = subprocess.Popen([BINARY, "-machine", f"x-remote,vfio-user=on,auto-shutdown={auto_shutdown}", "-nodefaults", "-display", "none",
                               "-drive", f"id=d0,file={image},format=raw,if=none",
                               "-device", "nvme,id=nvme0,serial=split,drive=d0",
                               "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={path},device=nvme0"])
    end = time.monotonic() + START_TIMEOUT
    while not os.path.exists(path):
        assert server.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    return server, path
