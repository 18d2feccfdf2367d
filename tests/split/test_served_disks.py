# SPDX-License-Identifier: GPL-2.0-or-later
"""A served controller moves to another process with the disks that are on it, and not without them."""
import subprocess
import time

import pytest

from bare_guest import COUNTER, Guest, forever, increment
from machine import BINARY, START_TIMEOUT, vfio_user

DISKS = {
    "lsi53c895a": ("scsi-hd,bus=c.0,drive=d0", "scsi-cd,bus=c.0,drive=d1"),
    "ich9-ahci": ("ide-hd,bus=c.0,drive=d0", "ide-cd,bus=c.1,drive=d1"),
}


@pytest.fixture(name="serve")
def serve_fixture(tmp_path):
    started = []

    def start(controller, name, *more, disks=2):
        path = tmp_path / name
        devices = sum((["-device", disk] for disk in DISKS[controller][:disks]), [])
        started.append(subprocess.Popen(
            [BINARY, "-machine", "x-remote,vfio-user=on,auto-shutdown=off", "-nodefaults", "-display", "none",
             "-drive", "id=d0,file=null-co://,if=none", "-drive", "id=d1,file=null-co://,if=none,readonly=on",
             "-device", f"{controller},id=c", *devices,
             "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={path},device=c", *more]))
        while not path.exists():
            assert started[-1].poll() is None
            time.sleep(0.01)
        return path

    yield start
    for process in started:
        process.kill()
        process.wait()


def machine(tmp_path, name, sock, *more):
    (tmp_path / name).mkdir()
    return Guest(tmp_path / name, forever(increment(COUNTER)), *vfio_user(sock), *more)


def status(vm):
    return vm.qmp("query-migrate")["return"].get("status")


def move(source, target, uri):
    assert source.qmp("migrate", uri=uri) == {"return": {}}
    end = time.monotonic() + START_TIMEOUT
    while status(source) not in ("completed", "failed"):
        assert time.monotonic() < end
        time.sleep(0.02)
    return status(source)


@pytest.mark.parametrize("controller", DISKS)
def test_disks_move_along(tmp_path, serve, controller):
    uri = f"unix:{tmp_path}/move"
    source = machine(tmp_path, "a", serve(controller, "a.vfio"))
    source.goes_on()
    target = machine(tmp_path, "b", serve(controller, "b.vfio", "-incoming", "defer"), "-incoming", uri)
    assert move(source, target, uri) == "completed"
    target.goes_on()
    source.close()
    target.close()


def test_a_missing_disk_is_refused(tmp_path, serve):
    uri = f"unix:{tmp_path}/move"
    source = machine(tmp_path, "a", serve("lsi53c895a", "a.vfio"))
    target = machine(tmp_path, "b", serve("lsi53c895a", "b.vfio", "-incoming", "defer", disks=1), "-incoming", uri)
    assert move(source, target, uri) == "failed"
    source.goes_on()
    source.close()
    target.close()
