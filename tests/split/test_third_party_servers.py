# SPDX-License-Identifier: GPL-2.0-or-later
"""vfio-user-pci and servers that know nothing of this emulator: libvfio-user's samples, which use its public API in C."""
import pathlib
import socket
import subprocess
import time
import types

import pytest

from machine import BAR0, BAR2, BINARY, SHARED_RAM, START_TIMEOUT, Machine, start_fails, vfio_user

SAMPLES = pathlib.Path(BINARY).parent.parent / "subprojects/libvfio-user/samples"
BAR1 = 0xfe080000
RING, RUNG = BAR0, BAR0 + 4


def start_sample(name, path):
    """On a socket that listens already."""
    program = SAMPLES / f"vfio-user-{name}"
    if not program.exists():
        pytest.skip(f"{program} is not built (-Dsamples=true)")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        return subprocess.Popen([program, f"--fd={listener.fileno()}"], pass_fds=[listener.fileno()],
                                stdout=subprocess.DEVNULL)


@pytest.fixture(name="drive")
def drive_fixture(tmp_path):
    """A machine with the device of that sample."""
    started = []

    def drive(name, *args, **options):
        path = tmp_path / f"{name}.sock"
        server = start_sample(name, path)
        started.append(server)
        machine = Machine(tmp_path, *args, *vfio_user(path, **options))
        started.append(machine)
        machine.map_bars()
        machine.config_write(0x14, BAR1)
        return types.SimpleNamespace(server=server, machine=machine)

    yield drive
    for what in reversed(started):
        if isinstance(what, Machine):
            assert what.close() == 0
        else:
            what.terminate()
            what.wait(START_TIMEOUT)


def eventually(condition):
    end = time.monotonic() + START_TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def sent(machine):
    return machine.qmp("qom-get", path="/machine/peripheral/vd", property="messages-sent")["return"]


def test_ports_and_intx(drive):
    """gpio: I/O ports; its pin, until a port acknowledges."""
    machine = drive("gpio").machine
    assert machine.config_read(0) == 0x0dc8494f
    machine.qtest(f"outb {BAR2 + 4:#x} 0xa5")
    assert int(machine.qtest(f"inb {BAR2 + 5:#x}"), 16) == 0xa5
    machine.qtest(f"inb {BAR2 + 2:#x}")
    for value in (1, 2):
        machine.qtest(f"outb {BAR2:#x} {value}")
        eventually(lambda: machine.config_read(4) >> 16 & 8)
        assert int(machine.qtest(f"inb {BAR2 + 6:#x}"), 16) == 4
        machine.qtest(f"outb {BAR2 + 1:#x} 0")
        assert not machine.config_read(4) >> 16 & 8
        assert int(machine.qtest(f"inb {BAR2 + 6:#x}"), 16) == 0


def test_msix(drive):
    """ping: its vector, while it is masked, and after."""
    machine = drive("ping").machine
    capability = machine.config_read(0x34) & 0xff
    assert machine.config_read(capability) & 0xff == 0x11
    machine.write(BAR1, 0xfee00000)
    machine.write(BAR1 + 12, 0)
    machine.config_write(capability, 0x80000000)
    machine.write(BAR1 + 12, 1)
    for count in (1, 2):
        machine.write(BAR0, 0x1234 + count)
        eventually(lambda: machine.read(BAR1 + 2048) & 1)
        assert machine.read(BAR0 + 4) == 0x1234 + count and machine.read(BAR0 + 8) == count
        machine.write(BAR1 + 12, 0)
        assert machine.read(BAR1 + 2048) == 0
        machine.write(BAR1 + 12, 1)


@pytest.mark.parametrize("ram", [SHARED_RAM, []], ids=["shared", "private"])
def test_dma_and_mapped_memory(drive, ram):
    """server: DMA by its own mapping and by messages, BAR 1 mapped in part, reset."""
    machine = drive("server", *ram).machine
    registers = lambda *values: [machine.write(BAR0 + 8 + 4 * i, value) for i, value in enumerate(values)]  # noqa: E731
    assert machine.read(BAR0) == 0x76667573
    registers(0x100004, 0, 70, 0x41)
    machine.write(BAR0 + 24, 1)
    # Memory that the server cannot map is not filled through a mapping, and it says so.
    status = machine.read(BAR0 + 28)
    assert bool(status) == (not ram)
    machine.set_memory(0x100004, b"\x41" * 70)
    registers(0x100004, 0, 65536, 2)
    machine.write(BAR0 + 24, 2)
    assert machine.read(BAR0 + 28) == 0
    assert machine.memory(0x100004, 71) == b"\x43" * 70 + b"\x02"
    before = sent(machine)
    machine.write(BAR1 + 8192, 0x11223344)
    assert machine.read(BAR1 + 8192) == 0x11223344 and sent(machine) == before
    machine.write(BAR1 + 4096, 0x55667788)
    assert machine.read(BAR1 + 4096) == 0x55667788 and sent(machine) == before + 2
    machine.qmp("system_reset")
    machine.map_bars()
    machine.config_write(0x14, BAR1)
    assert machine.read(BAR1 + 8192) == 0 and machine.read(BAR0 + 16) == 0


def test_doorbell(drive):
    """shadow-ioeventfd: rung without a message, with its value."""
    machine = drive("shadow-ioeventfd").machine
    before = sent(machine)
    machine.write(RING, 0xabcd)
    assert sent(machine) == before
    eventually(lambda: machine.read(RUNG) == 1)
    assert machine.read(RING) == 0xabcd


def test_server_dies_and_comes_back(drive, tmp_path):
    both = drive("server", *SHARED_RAM)
    machine, path = both.machine, tmp_path / "server.sock"
    both.server.kill()
    both.server.wait()
    assert machine.event("VFIO_USER_DISCONNECT")["device"] == "vd"
    assert machine.read(BAR0) == 0xffffffff
    assert "return" in machine.qmp("device_del", id="vd")
    assert machine.event("DEVICE_DELETED")["device"] == "vd"
    path.unlink(missing_ok=True)
    again = start_sample("server", path)
    assert "return" in machine.qmp("device_add", driver="vfio-user-pci", id="vd", addr="4", socket=str(path))
    machine.map_bars()
    assert machine.read(BAR0) == 0x76667573
    again.terminate()
    again.wait(START_TIMEOUT)


def test_check_46_server_without_migration(drive, tmp_path):
    """The move is refused before anything of it begins, and by the name of the device that cannot."""
    pair = drive("gpio", *SHARED_RAM, id="pins")
    error = pair.machine.qmp("migrate", uri="unix:/nobody/listens")["error"]["desc"]
    assert error.startswith("device 'pins' (vfio-user-pci): ") and "migra" in error
    assert pair.machine.qmp("query-migrate")["return"]["blocked-reasons"] == [error]
    pair.machine.qtest(f"outb {BAR2 + 4:#x} 0x5a")  # and the device goes on
    assert int(pair.machine.qtest(f"inb {BAR2 + 5:#x}"), 16) == 0x5a
    another = start_sample("gpio", tmp_path / "another.sock")
    said = start_fails(*SHARED_RAM, *vfio_user(tmp_path / "another.sock", id="pins"), "-only-migratable")
    assert f"-only-migratable: {error}" in said
    strict = Machine(tmp_path, *SHARED_RAM, "-only-migratable", "-device", "pcie-root-port,id=port,chassis=1")
    for _ in range(2):
        plugged = strict.qmp("device_add", driver="vfio-user-pci", id="pins", bus="port", socket=str(tmp_path / "another.sock"))
        assert plugged["error"]["desc"] == f"-only-migratable: {error}"
        assert [entry["name"] for entry in strict.qmp("qom-list", path="/machine/peripheral")["return"] if entry["name"] == "pins"] == []
    assert "return" in strict.qmp("device_add", driver="edu", id="other", bus="port")
    assert strict.close() == 0
    another.terminate()
    another.wait(START_TIMEOUT)
