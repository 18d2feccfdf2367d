# SPDX-License-Identifier: GPL-2.0-or-later
"""Two processes: an NVMe disk served by one, driven through its registers in the other."""
import os
import pathlib
import signal
import struct
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from machine import BAR0, SHARED_RAM, Machine, nvme_server, vfio_user  # noqa: E402

ASQ, ACQ, BUF = 0x100000, 0x101000, 0x200000


@pytest.fixture(name="pair")
def pair_fixture(tmp_path):
    running = []

    def pair(*args, **options):
        server, path = nvme_server(tmp_path)
        machine = Machine(tmp_path, *args, *vfio_user(path, **options))
        running.append((server, machine))
        return server, machine

    yield pair
    for server, machine in running:
        server.send_signal(signal.SIGCONT)
        assert machine.close() == 0
        server.kill()
        server.wait()


def wait_for(condition, what):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


class Nvme:
    def __init__(self, machine):
        self.machine, self.slot = machine, 0
        machine.config_write(0x10, BAR0)
        machine.config_write(0x14, 0)
        machine.config_write(4, 6)
        machine.write(BAR0 + 0x24, 0x000f000f)
        machine.write(BAR0 + 0x28, ASQ, "q")
        machine.write(BAR0 + 0x30, ACQ, "q")
        machine.write(BAR0 + 0x14, 0x00460001)
        wait_for(lambda: machine.read(BAR0 + 0x1c) & 1, "CSTS.RDY")

    def ring(self, opcode, prp, cdw10):
        command = struct.pack("<BBHIQQQQIIIIII", opcode, 0, self.slot, 0, 0, 0, prp, 0, cdw10, 0, 0, 0, 0, 0)
        self.machine.set_memory(ASQ + 64 * self.slot, command)
        self.slot += 1
        self.machine.write(BAR0 + 0x1000, self.slot)

    def done(self, slot):
        return self.machine.memory(ACQ + 16 * slot + 14, 1) != b"\0"

    def identify(self):
        slot = self.slot
        self.ring(6, BUF, 1)
        wait_for(lambda: self.done(slot), "completion")
        return self.machine.memory(BUF, 64)


@pytest.mark.parametrize("ram,options", [(SHARED_RAM, {}), (SHARED_RAM, {"no-direct-dma": True}), ([], {}),
                                         (SHARED_RAM, {"x-no-posted-writes": True}), (SHARED_RAM, {"x-send-queued": True}),
                                         (SHARED_RAM, {"poll-us": 0}), (SHARED_RAM, {"poll-us": 1000})])
def test_check_3_14_15_16_identify(pair, ram, options):
    _, machine = pair(*ram, **options)
    assert machine.config_read(0) == 0x00101b36
    assert machine.config_read(8) >> 8 == 0x010802
    assert Nvme(machine).identify()[4:9] == b"split"
    by_message = machine.qmp("qom-get", path="/machine/peripheral/vd", property="dma-messages")["return"]
    assert (by_message > 0) == (not ram or "no-direct-dma" in options)


def test_check_32_server_killed(pair):
    server, machine = pair(*SHARED_RAM)
    Nvme(machine)
    server.kill()
    assert machine.event("VFIO_USER_DISCONNECT")["device"] == "vd"
    assert machine.read(BAR0 + 0x1c) == 0xffffffff
    assert machine.qmp("query-status")["return"]["running"]
    assert "return" in machine.qmp("device_del", id="vd")
    assert machine.event("DEVICE_DELETED")["device"] == "vd"


def test_check_63_server_stopped_and_continued(pair):
    server, machine = pair(*SHARED_RAM)
    nvme = Nvme(machine)
    server.send_signal(signal.SIGSTOP)
    nvme.ring(6, BUF, 1)
    assert machine.qmp("query-status")["return"]["running"]
    server.send_signal(signal.SIGCONT)
    wait_for(lambda: nvme.done(0), "completion")
    assert machine.memory(BUF, 64)[4:9] == b"split"


def test_check_62_unplug_of_a_stopped_server(pair):
    server, machine = pair(*SHARED_RAM)
    Nvme(machine)
    server.send_signal(signal.SIGSTOP)
    assert "return" in machine.qmp("device_del", id="vd")
    assert machine.event("DEVICE_DELETED")["device"] == "vd"


def test_check_62_unplug_and_plug_again(pair, tmp_path):
    server, machine = pair(*SHARED_RAM)
    counts = []
    for i in range(10):
        assert Nvme(machine).identify()[4:9] == b"split", i
        assert "return" in machine.qmp("device_del", id="vd")
        counts.append(machine.fd_count())
        server.wait(60)  # its last client has left
        server, path = nvme_server(tmp_path, f"again{i}.sock")
        try:
            assert "return" in machine.qmp("device_add", driver="vfio-user-pci", id="vd", addr="4", socket=path)
        except AssertionError:
            server.kill()
            raise
    assert counts[2] == counts[-1]
    server.kill()
    server.wait()


def test_check_39_reset(pair):
    _, machine = pair(*SHARED_RAM)
    Nvme(machine)
    machine.qmp("system_reset")
    machine.event("RESET")
    assert machine.config_read(4) & 7 == 0
    assert Nvme(machine).identify()[4:9] == b"split"


def test_open_files_are_not_inherited(pair):
    _, machine = pair(*SHARED_RAM)
    for fd in os.listdir(f"/proc/{machine.process.pid}/fdinfo"):
        target = os.readlink(f"/proc/{machine.process.pid}/fd/{fd}")
        if int(fd) > 2 and ("eventfd" in target or "socket" in target or "eventpoll" in target):
            info = pathlib.Path(f"/proc/{machine.process.pid}/fdinfo/{fd}").read_text(encoding="utf-8")
            flags = int([line for line in info.splitlines() if line.startswith("flags:")][0].split()[1], 8)
            assert flags & os.O_CLOEXEC, target
