# SPDX-License-Identifier: GPL-2.0-or-later
"""A server process under test: x-remote with its monitor, and raw clients that send it what they are told."""
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "subprojects/libvfio-user/test/py"))
from vfio_user import Client, eventfd, memory_file, signalled  # noqa: E402,F401  pylint: disable=import-error,unused-import

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))
# Only ends what hangs: a busy machine may take long for anything.
PATIENCE = float(os.environ.get("START_TIMEOUT", "300"))


def until(condition, what="condition"):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.005)


def command(*args, machine="x-remote,vfio-user=on", binary=BINARY):
    return [binary, "-machine", machine, "-nodefaults", "-display", "none", *args]


def start_fails(*args, machine="x-remote,vfio-user=on"):
    """The one line of a start that must fail."""
    done = subprocess.run(command(*args, machine=machine), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE, check=False)
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


class RemoteServer:
    def __init__(self, tmp, *args, auto_shutdown="off", stderr=None, pass_fds=(), binary=BINARY):
        self.tmp = tmp
        path = str(tmp / "server-qmp")
        if os.path.exists(path):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(PATIENCE)
        self.process = subprocess.Popen(command("-qmp", f"unix:{path}", *args,
                                                machine=f"x-remote,vfio-user=on,auto-shutdown={auto_shutdown}",
                                                binary=binary),
                                        stdin=subprocess.DEVNULL, stderr=stderr, pass_fds=pass_fds)
        self.conn, _ = listener.accept()
        self.conn.settimeout(PATIENCE)
        listener.close()
        self.file = self.conn.makefile("r")
        self.events = []
        assert "QMP" in json.loads(self.file.readline())
        self.qmp("qmp_capabilities")

    def qmp(self, name, **arguments):
        self.conn.sendall(json.dumps({"execute": name, "arguments": {k.replace("_", "-"): v for k, v in
                                                                     arguments.items()}}).encode() + b"\n")
        while True:
            answer = json.loads(self.file.readline())
            if "event" not in answer:
                return answer
            self.events.append(answer)

    def ok(self, name, **arguments):
        answer = self.qmp(name, **arguments)
        assert "return" in answer, answer
        return answer["return"]

    def refused(self, name, **arguments):
        answer = self.qmp(name, **arguments)
        assert "error" in answer, answer
        return answer["error"]["desc"]

    def count(self, name):
        """Takes the events of that name that have come."""
        self.ok("query-status")
        found = [e for e in self.events if e["event"] == name]
        self.events = [e for e in self.events if e["event"] != name]
        return len(found)

    def event(self, name):
        """The data of the next such event."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event.get("data")
            self.qmp("query-status")
            time.sleep(0.002)
        raise AssertionError(f"no event {name}")

    def serve(self, device, ident="vfu0", **options):
        """object-add on a unix socket; its path."""
        path = str(self.tmp / f"{ident}.sock")
        self.ok("object-add", qom_type="x-vfio-user-server", id=ident, type="unix", path=path, device=device, **options)
        return path

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def private_kib(self):
        text = pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text(encoding="ascii")
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private_"))

    def wait_exit(self):
        code = self.process.wait(PATIENCE)
        self.file.close()
        self.conn.close()
        return code

    def close(self):
        """Ends it as a supervisor does; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.wait_exit()


def nvme_args(tmp, number=0, size=16 << 20, **options):
    image = tmp / f"disk{number}.img"
    with open(image, "ab") as disk:
        disk.truncate(size)
    extra = "".join(f",{key}={value}" for key, value in options.items())
    return ["-drive", f"id=d{number},file={image},format=raw,if=none",
            "-device", f"nvme,id=nvme{number},serial=server{number},drive=d{number}{extra}"]


def attach(path, **caps):
    client = Client(path)
    client.negotiate({"max_msg_fds": 16, **caps})
    return client


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def attach_inet(port, **caps):
    client = Client(fd=socket.create_connection(("127.0.0.1", port)).detach())
    client.negotiate({"max_msg_fds": 16, **caps})
    return client


COMMAND, BAR0, BAR1 = 4, 0x10, 0x14
IO, MEMORY, MASTER, INTX_OFF = 1, 2, 4, 0x400
CONFIG = 7


def enable(client, bits=MEMORY | MASTER):
    client.write(CONFIG, COMMAND, struct.pack("<H", bits))


# --- the probe: a model of these tests, in an emulator of its own (probe.c) ---

PROBE_BINARY = os.environ.get("PROBE_BINARY", str(pathlib.Path(BINARY).parents[1] / "tests/split/probe-server"))


class Probe:
    """The registers of a probe behind a client."""
    INTX, RAISE, ADDR, LEN, COMMAND, RESULT, PAGE, HOLD_MS, RUNG, RESETS, SEEN = (0, 4, 8, 16, 20, 24, 28, 32, 36, 40, 48)
    WINDOW = 0x800

    def __init__(self, client):
        self.client = client
        enable(client)

    def get(self, register):
        return struct.unpack("<I", self.client.read(2, register, 4))[0]

    def set(self, register, value, size=4):
        self.client.write(2, register, value.to_bytes(size, "little"))

    def start(self, command, address, length):
        """Tells it to move data; for transfers that the client has to answer."""
        self.set(self.ADDR, address, 8)
        self.set(self.LEN, length)
        return self.client.send(10, struct.pack("<QIII", self.COMMAND, 2, 4, command))

    def move(self, command, address, length):
        """The MemResult of a transfer that needs no message."""
        self.set(self.ADDR, address, 8)
        self.set(self.LEN, length)
        self.set(self.COMMAND, command)
        return self.get(self.RESULT)

    def buffer(self, length, start=0):
        data = b""
        while len(data) < length:
            page, offset = divmod(start + len(data), self.WINDOW)
            self.set(self.PAGE, page)
            data += self.client.read(2, self.WINDOW + offset, min(self.WINDOW - offset, length - len(data)))
        return data

    def fill(self, data):
        for page in range(0, len(data), self.WINDOW):
            self.set(self.PAGE, page // self.WINDOW)
            part = data[page:page + self.WINDOW]
            self.client.write(2, self.WINDOW, part + b"\0" * (-len(part) % 4))
