# SPDX-License-Identifier: GPL-2.0-or-later
"""Running guests that move: to another process, into a file and out of it again, and moves that fail."""
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import guest  # noqa: E402

BINARY = os.environ.get("QEMU_BINARY", str(ROOT / "build/system/qemu-system-x86_64"))

# Counts aloud, keeps numbered records on its disk, and a sum of memory that must not change.
INIT = guest.PROLOGUE + r"""
while [ ! -b /dev/nvme0n1 ]; do sleep 1; done
mkdir -p /t; mount -t tmpfs -o size=48m t /t
dd if=/dev/urandom of=/t/data bs=1M count=24 2>/dev/null
sum=$(md5sum < /t/data)
echo "test: ready"
n=0
while true; do
    n=$((n + 1))
    printf 'record %07d.................................................................................................' $n |
        dd of=/dev/nvme0n1 bs=512 seek=$n conv=sync,fsync 2>/dev/null || echo "test: io-error $n"
    [ "$(md5sum < /t/data)" = "$sum" ] || echo "test: memory-differs $n"
    echo "test: count $n"
done
"""


class Vm:
    """A machine whose console is read by a thread."""

    def __init__(self, tmp_path, name, image, initrd, *more):
        self.qmp_path = tmp_path / f"{name}.qmp"
        command = [BINARY, "-machine", "q35,accel=tcg", "-nodefaults", "-m", "192", "-nographic", "-serial", "stdio",
                   "-kernel", str(guest.kernel()), "-initrd", str(initrd), "-append", guest.CMDLINE,
                   "-qmp", f"unix:{self.qmp_path},server=on,wait=off", *more]
        if image:
            command += ["-drive", f"id=d0,file={image},format=raw,if=none", "-device", "nvme,id=nvme0,serial=s,drive=d0"]
        self.launch(command)

    def launch(self, command, stdin=subprocess.DEVNULL):
        self.process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, errors="replace")
        self.lines, self.changed = [], threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()
        self.events = []
        self.connect()

    def read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines += re.findall(r"test: (.*?)\r?\n?$", line)
                self.changed.notify_all()

    def connect(self):
        while True:
            self.sock = socket.socket(socket.AF_UNIX)
            try:
                self.sock.connect(str(self.qmp_path))
                break
            except OSError:
                assert self.process.poll() is None, self.process.stderr.read()
                time.sleep(0.02)
        self.file = self.sock.makefile("r")
        self.file.readline()
        self.run("qmp_capabilities")

    def run(self, command, **arguments):
        self.sock.sendall((json.dumps({"execute": command, "arguments": arguments}) + "\n").encode())
        while True:
            message = json.loads(self.file.readline())
            if "event" not in message:
                return message
            self.events.append(message)

    def counts(self):
        with self.changed:
            return [int(line.split()[1]) for line in self.lines if line.startswith("count ")]

    def until_count(self, more):
        """Until the guest has counted `more` times from now on."""
        with self.changed:
            target = sum(line.startswith("count ") for line in self.lines) + more
            while sum(line.startswith("count ") for line in self.lines) < target:
                assert self.process.poll() is None, self.process.stderr.read()
                self.changed.wait(1)
            assert not [line for line in self.lines if "error" in line or "differs" in line], self.lines

    def until_migrated(self):
        while True:
            info = self.run("query-migrate")["return"]
            if info.get("status") in ("completed", "failed", "cancelled"):
                return info
            time.sleep(0.05)

    def until_status(self, status):
        while self.run("query-status")["return"]["status"] != status:
            time.sleep(0.02)

    def end(self):
        self.sock.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture(name="machines")
def fixture_machines(tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(16 << 20))
    initrd = guest.initramfs(tmp_path / "initrd.gz", INIT)
    started = []

    def start(name, *more):
        started.append(Vm(tmp_path, name, image, initrd, *more))
        return started[-1]

    yield start
    for vm in started:
        vm.end()


def check_records(image, last):
    data = image.read_bytes()
    for n in range(1, last + 1):
        assert data[n * 512:n * 512 + 14] == b"record %07d" % n, f"record {n} of {last} is not on the disk"


def move(source, destination, uri):
    assert source.run("migrate", uri=uri) == {"return": {}}
    info = source.until_migrated()
    assert info["status"] == "completed", info
    assert source.run("query-status")["return"]["status"] == "postmigrate"
    destination.until_status("running")
    return info


@pytest.mark.parametrize("transport", ["unix", "tcp"])
def test_back_and_forth(machines, tmp_path, transport):
    vm = machines("m0")
    vm.until_count(3)
    for hop in range(1, 4):
        uri = f"unix:{tmp_path}/hop{hop}" if transport == "unix" else f"tcp:127.0.0.1:{46600 + hop + os.getpid() % 500 * 4}"
        before = vm.counts()[-1]
        target = machines(f"m{hop}", "-incoming", uri)
        assert target.run("query-status")["return"]["status"] == "inmigrate"
        info = move(vm, target, uri)
        assert info["ram"]["dirty-sync-count"] >= 1 and info["downtime"] >= 0
        target.until_count(3)
        # A line may be cut in two by the move, and then is on neither console.
        assert target.counts()[0] in range(before, vm.counts()[-1] + 3), "the count went back or jumped"
        assert target.counts() == list(range(target.counts()[0], target.counts()[-1] + 1))
        stopped_at = vm.counts()[-1]
        vm.end()
        vm = target
    vm.run("stop")
    check_records(tmp_path / "disk.img", vm.counts()[-1])
    assert vm.counts()[-1] > stopped_at


def test_snapshot_restored_twice(machines, tmp_path):
    vm = machines("m0")
    vm.until_count(2)
    assert vm.run("migrate", uri=f"file:{tmp_path}/snapshot") == {"return": {}}
    said = vm.until_migrated()
    assert said["status"] == "completed"
    ram, size = said["ram"], (tmp_path / "snapshot").stat().st_size
    assert ram["normal-bytes"] < ram["transferred"] <= size and ram["remaining"] == 0
    assert ram["normal"] + ram["duplicate"] >= ram["total"] / ram["page-size"]
    # The rate is that of the whole: bytes of the file in the time it took, which is told in whole ms and looked at later.
    assert ram["mbps"] * 1e6 / 8 / 1000 >= size / (said["total-time"] + 1)
    last = vm.counts()[-1]
    vm.end()
    for n in range(2):
        again = machines(f"again{n}", "-incoming", f"file:{tmp_path}/snapshot")
        again.until_count(2)
        assert again.counts()[0] in (last, last + 1)
        again.end()


def test_source_goes_on_when_the_destination_fails(machines, tmp_path):
    vm = machines("m0")
    vm.until_count(2)
    # Nobody listens.
    assert "cannot connect" in vm.run("migrate", uri=f"unix:{tmp_path}/nobody")["error"]["desc"]
    # Another machine: it refuses and ends with one line, before the guest is stopped.
    other = machines("other", "-incoming", f"unix:{tmp_path}/other", "-smp", "2")
    vm.run("migrate", uri=f"unix:{tmp_path}/other")
    info = vm.until_migrated()
    assert info["status"] == "failed" and "cpus of the source is '1', here it is '2'" in info["error-desc"], info
    assert other.process.wait() == 1
    assert "-incoming: migration: machine record at byte 8: cpus" in other.process.stderr.read()
    # Killed in the middle.
    victim = machines("victim", "-incoming", f"unix:{tmp_path}/victim")
    vm.run("migrate-set-parameters", **{"max-bandwidth": 8 << 20})
    vm.run("migrate", uri=f"unix:{tmp_path}/victim")
    time.sleep(0.5)
    victim.process.kill()
    assert vm.until_migrated()["status"] == "failed"
    # Cancelled.
    patient = machines("patient", "-incoming", f"unix:{tmp_path}/patient")
    vm.run("migrate", uri=f"unix:{tmp_path}/patient")
    time.sleep(0.3)
    assert "in progress" in vm.run("migrate", uri="file:/dev/null")["error"]["desc"]
    vm.run("migrate_cancel")
    assert vm.until_migrated()["status"] == "cancelled"
    assert patient.process.wait() == 1
    vm.until_count(3)
    assert vm.run("query-status")["return"]["status"] == "running"
    assert "failed" in [e["data"]["status"] for e in vm.events if e["event"] == "MIGRATION"]


def test_bandwidth_is_kept(machines, tmp_path):
    """A slow stream is as slow as it was asked to be: a busy machine can only make it slower."""
    vm, rate = machines("m0"), 400_000
    vm.until_count(1)
    vm.run("migrate-set-parameters", **{"max-bandwidth": rate})
    started = time.monotonic()
    vm.run("migrate", uri=f"file:{tmp_path}/slow")
    time.sleep(2)
    sent = vm.run("query-migrate")["return"]["ram"]["transferred"]
    # Two tenths of a second may be under way.
    assert 0 < sent <= rate * (time.monotonic() - started + 0.2)
    vm.run("migrate-set-parameters", **{"max-bandwidth": 0})
    assert vm.until_migrated()["status"] == "completed"


def test_damaged_streams(machines, tmp_path):
    vm = machines("m0")
    vm.until_count(1)
    vm.run("migrate", uri=f"file:{tmp_path}/snapshot")
    assert vm.until_migrated()["status"] == "completed"
    vm.end()
    good = (tmp_path / "snapshot").read_bytes()
    for at, change, text in ((0, b"X", "not a migration stream"), (4, b"\x07", "stream of version 7"),
                             (8, b"\x63", "damaged record"), (60, b"\x00", "damaged record"),
                             (len(good) // 2, None, "damaged record"), (len(good) - 40, b"\xff\xff\xff\x7f", "is too long|damaged")):
        bad = bytearray(good)
        bad[at:at + (len(change) if change else 1)] = change or bytes([bad[at] ^ 0x55])
        (tmp_path / "bad").write_bytes(bad)
        command = machines_command(tmp_path, vm)
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 1 and re.search(text, done.stderr), (at, done.stderr)
        assert len(done.stderr.splitlines()) == 1
    (tmp_path / "bad").write_bytes(good[:len(good) - 100])
    done = subprocess.run(machines_command(tmp_path, vm), capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "the stream ends in" in done.stderr


def machines_command(tmp_path, vm):
    """The command line of vm, reading the damaged file."""
    command = [word for word in vm.process.args if not word.startswith("unix:") and word != "-qmp"]
    return [*command, "-incoming", f"file:{tmp_path}/bad"]


def test_refusals(machines, tmp_path):
    vm = machines("m0", "-S")
    for uri, text in (("nowhere", "unknown kind of address"), ("tcp:localhost", "no port"), ("fd:99", "not an open file"),
                      ("file:/no/such/dir/x", "cannot open"), ("unix:", "bad path")):
        assert text in vm.run("migrate", uri=uri)["error"]["desc"]
    assert "not supported" in vm.run("migrate-set-parameters", **{"multifd-channels": 4})["error"]["desc"]
    assert "postcopy-ram' cannot be switched on" in vm.run(
        "migrate-set-capabilities", capabilities=[{"capability": "postcopy-ram", "state": True}])["error"]["desc"]
    assert "not specified" in vm.run("migrate-incoming", uri="tcp:127.0.0.1:1")["error"]["desc"]
    done = subprocess.run([BINARY, "-machine", "x-remote,vfio-user=on", "-nodefaults", "-only-migratable"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 1 and "-only-migratable: machine 'x-remote' has no RAM" in done.stderr
