# SPDX-License-Identifier: GPL-2.0-or-later
"""Running guests whose disk is in another process move, and their disk's process with them: nothing is lost, moves fail well."""
import subprocess
import time

import pytest

from test_migration import BINARY, INIT, Vm, check_records, guest, move


# Also reads what the disk has: a page that the disk's process wrote and nobody copied would be seen.
READER = r"""
size=$((8 << 20))
dd if=/t/data of=/dev/nvme0n1 bs=1M count=8 seek=8 conv=fsync 2>/dev/null
want=$(dd if=/t/data bs=1M count=8 2>/dev/null | md5sum)
(while true; do
    dd if=/dev/nvme0n1 bs=4M count=2 skip=2 iflag=direct of=/t/back 2>/dev/null
    [ "$(md5sum < /t/back)" = "$want" ] || echo "test: read-differs"
done) &
"""


class Server:
    """The process of the disk."""

    def __init__(self, tmp_path, name, image, *more, devices=("nvme,id=disk0,serial=s,drive=d0",)):
        self.path = tmp_path / f"{name}.vfio"
        self.process = subprocess.Popen(
            [BINARY, "-machine", "x-remote,vfio-user=on,auto-shutdown=off", "-nodefaults", "-display", "none",
             "-drive", f"id=d0,file={image},format=raw,if=none",
             *[word for device in devices for word in ("-device", device)],
             "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={self.path},device=disk0", *more],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not self.path.exists():
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.01)

    def end(self):
        self.process.kill()
        self.process.wait()
        return self.process.stderr.read()


class SplitVm(Vm):
    DEVICES = ["-object", "memory-backend-memfd,id=mem,size=192M,share=on", "-machine", "memory-backend=mem"]

    def __init__(self, tmp_path, name, initrd, server, *more):
        self.server = server
        super().__init__(tmp_path, name, None, initrd, *self.DEVICES,
                         "-device", f"vfio-user-pci,id=disk0,socket={server.path}", *more)

    def end(self):
        super().end()
        return self.server.end()


@pytest.fixture(name="machines")
def fixture_machines(tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(32 << 20))
    init = INIT.replace('n=0\n', READER + 'n=0\n', 1)
    initrd = guest.initramfs(tmp_path / "initrd.gz", init)
    started = []

    def start(name, uri=None, more=(), **server):
        incoming = ("-incoming", "defer") if uri else ()
        started.append(SplitVm(tmp_path, name, initrd, Server(tmp_path, name, image, *incoming, **server),
                               *(("-incoming", uri) if uri else ()), *more))
        return started[-1]

    yield start
    for vm in started:
        vm.end()


def start_move(vm, uri):
    assert vm.run("migrate", uri=uri) == {"return": {}}


def until_ended(target):
    target.process.wait()
    return target.process.stderr.read()


def goes_on(vm, more=2):
    """The guest runs, with its disk."""
    vm.until_count(more)
    assert vm.run("query-status")["return"]["status"] == "running"


@pytest.mark.parametrize("hops, devices", [
    (4, ("nvme,id=disk0,serial=s,drive=d0",)),
    (2, ("nvme,id=disk0,serial=s", "nvme-ns,id=ns0,bus=disk0,drive=d0"))])
def test_back_and_forth(machines, tmp_path, hops, devices):
    vm = machines("m0", devices=devices)
    vm.until_count(3)
    for hop in range(1, hops + 1):
        uri = f"unix:{tmp_path}/hop{hop}"
        before = vm.counts()[-1]
        target = machines(f"m{hop}", uri, devices=devices)
        info = move(vm, target, uri)
        assert info["ram"]["dirty-sync-count"] >= 1
        target.until_count(3)
        counts = target.counts()
        # A line may be cut in two by the move, and then is on neither console.
        assert counts[0] in range(before, vm.counts()[-1] + 3), "the count went back or jumped"
        assert counts == list(range(counts[0], counts[-1] + 1))
        last = vm.counts()[-1]
        assert vm.end() == ""
        vm = target
    vm.run("stop")
    check_records(tmp_path / "disk.img", vm.counts()[-1])
    assert vm.counts()[-1] > last


def test_snapshot(machines, tmp_path):
    """Into a file, and out of it twice, each time with a new process for the disk."""
    vm = machines("m0")
    vm.until_count(2)
    start_move(vm, f"file:{tmp_path}/snapshot")
    assert vm.until_migrated()["status"] == "completed"
    last = vm.counts()[-1]
    vm.end()
    for n in range(2):
        again = machines(f"again{n}", f"file:{tmp_path}/snapshot")
        again.until_count(2)
        assert again.counts()[0] in (last, last + 1)
        again.end()


@pytest.mark.parametrize("devices, said", [
    (("nvme,id=disk0,serial=other,drive=d0",), "property serial is \"s\" at the source, here it is \"other\""),
    (("virtio-blk-pci,id=disk0,serial=s,drive=d0",), "property model is \"nvme\" at the source"),
    (("nvme,id=disk0,serial=s", "nvme-ns,id=ns0,bus=disk0,drive=d0"), "1 devices at the source, here are 2")])
def test_another_device_is_refused_early(machines, tmp_path, devices, said):
    vm = machines("m0")
    vm.until_count(2)
    target = machines("m1", f"unix:{tmp_path}/hop", devices=devices)
    start_move(vm, f"unix:{tmp_path}/hop")
    info = vm.until_migrated()
    assert info["status"] == "failed" and "disk0" in info["error-desc"] and "refuses the state" in info["error-desc"]
    assert info["ram"]["dirty-sync-count"] == 0 or not info.get("downtime"), "the guest was stopped"
    assert "refuses the state" in until_ended(target)
    goes_on(vm)
    assert said in target.server.end()


def test_killed(machines, tmp_path):
    """Whoever dies, the guest runs on exactly one side, and the next move works."""
    vm = machines("m0")
    vm.until_count(2)
    vm.run("migrate-set-parameters", **{"max-bandwidth": 16 << 20})
    for n, victim in enumerate(("client", "server")):
        target = machines(f"victim{n}", f"unix:{tmp_path}/victim{n}")
        start_move(vm, f"unix:{tmp_path}/victim{n}")
        time.sleep(0.4)
        (target.process if victim == "client" else target.server.process).kill()
        info = vm.until_migrated()
        assert info["status"] == "failed", (victim, info)
        target.process.wait()
        goes_on(vm)
    target = machines("patient", f"unix:{tmp_path}/patient")
    start_move(vm, f"unix:{tmp_path}/patient")
    time.sleep(0.3)
    vm.run("migrate_cancel")
    assert vm.until_migrated()["status"] == "cancelled"
    goes_on(vm)
    vm.run("migrate-set-parameters", **{"max-bandwidth": 0, "downtime-limit": 2000})
    target = machines("last", f"unix:{tmp_path}/last")
    move(vm, target, f"unix:{tmp_path}/last")
    target.until_count(3)
    vm.end()
    # The other side's disk is gone: it says so, and does not move.
    target.server.process.kill()
    target.server.process.wait()
    while "VFIO_USER_DISCONNECT" not in [e["event"] for e in target.events]:
        target.run("query-status")
    assert "far side is gone" in target.run("migrate", uri=f"unix:{tmp_path}/nobody")["error"]["desc"]


def test_source_server_killed(machines, tmp_path):
    vm = machines("m0")
    vm.until_count(2)
    vm.run("migrate-set-parameters", **{"max-bandwidth": 16 << 20})
    target = machines("target", f"unix:{tmp_path}/target")
    start_move(vm, f"unix:{tmp_path}/target")
    time.sleep(0.4)
    vm.server.process.kill()
    info = vm.until_migrated()
    assert info["status"] == "failed" and "disk0" in info["error-desc"], info
    assert vm.run("query-status")["return"]["status"] in ("running", "finish-migrate")
    assert target.process.wait() == 1
    assert not target.counts()


def test_incoming_of_a_server(tmp_path):
    done = subprocess.run([BINARY, "-machine", "x-remote,vfio-user=on", "-nodefaults", "-incoming", "tcp:127.0.0.1:1"],
                          capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "use -incoming defer" in done.stderr
