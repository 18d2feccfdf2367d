# SPDX-License-Identifier: GPL-2.0-or-later
"""A server that does not answer delays the access that waits for it, and nothing else.  A request is given ten minutes, so
that what waits for the server, or for a lock of one who does, never comes back in this test."""
import json
import pathlib
import socket
import sys
import threading

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import fake_server as fake  # noqa: E402
from bare_guest import (COUNTER, GO, OTHER, VALUE, config_read, config_write, forever, increment, load, save,  # noqa: E402
                        start_other_cpu, store, wait_for)
from machine import BAR0, BAR4, Machine  # noqa: E402

PATIENT = {"x-msg-timeout": 600000}
SETUP = config_write(0x10, BAR0) + config_write(0x20, BAR4) + config_write(4, 6)
READ = load(BAR0 + 0x40) + save(VALUE)

WAITS = {
    "register read": READ,
    "register write": store(BAR0 + 0x40, 7) + READ,
    "config read": config_read(4) + save(VALUE),
    "config write": config_write(0xc, 0x10) + config_write(0xc, 0),
    "first unmask": config_write(0x40, 0x80000000) + store(BAR4 + 12, 0) + config_write(0x40, 0),
    "function level reset": config_write(0x68, 0x8000),
    "BAR move": config_write(4, 0) + config_write(4, 6),
}


def loop(code):
    return SETUP + forever(code + increment(COUNTER))


def with_pcie(server):
    """A PCI Express capability behind MSI-X, with function level reset."""
    server.config[0x41] = 0x60
    server.config[0x60:0x62] = b"\x10\0"
    server.config[0x62:0x64] = b"\x02\0"
    server.config[0x67] = 0x10
    return server


def stopped(guest, server):
    """Waits until the guest's CPU waits for the server."""
    server.pause()
    guest.wait(guest.stands, "the CPU to wait for the server")


MONITOR = [("query-status", {}), ("query-pci", {}), ("qom-get", {"path": "/machine/peripheral/vd", "property": "state"}),
           ("qom-list", {"path": "/machine/peripheral/vd"}), ("query-block", {}), ("query-chardev", {}),
           ("human-monitor-command", {"command-line": "info registers"}),
           ("human-monitor-command", {"command-line": "info mtree -f"}),
           ("human-monitor-command", {"command-line": "info qtree"}), ("object-add", {"qom-type": "iothread", "id": "io"}),
           ("object-del", {"id": "io"}), ("device_add", {"driver": "tick", "id": "t"}), ("device_del", {"id": "t"}),
           ("stop", {}), ("query-status", {}), ("cont", {}), ("query-status", {})]


@pytest.mark.parametrize("what", WAITS)
def test_check_63_monitor_while_the_server_is_stopped(serve, boot, what):
    server = with_pcie(serve())
    guest = boot(server, loop(WAITS[what]), **PATIENT)
    guest.goes_on()
    stopped(guest, server)
    for command, arguments in MONITOR:
        assert "return" in guest.qmp(command, **arguments), command
    server.resume()
    guest.goes_on()
    assert guest.qmp("qom-get", path="/machine/peripheral/vd", property="state")["return"] == "connected"


def test_check_50_others_go_on_while_the_server_is_stopped(serve, boot):
    server = serve()
    guest = boot(server, start_other_cpu() + loop(READ), cpus=2, **PATIENT)
    guest.goes_on(OTHER)
    guest.goes_on()
    server.regions[0][0x40:0x44] = b"\x78\x56\x34\x12"
    stopped(guest, server)
    for _ in range(3):
        guest.goes_on(OTHER)
    assert guest.stands()
    server.resume()
    guest.goes_on()
    assert guest.word(VALUE) == 0x12345678


def test_stop_takes_effect_when_the_server_answers(serve, boot):
    server = serve()
    guest = boot(server, loop(READ), **PATIENT)
    guest.goes_on()
    stopped(guest, server)
    assert "return" in guest.qmp("stop")
    guest.event("STOP")
    before = guest.word(COUNTER)
    server.resume()
    guest.wait(guest.stands, "the CPU to stop")
    assert guest.word(COUNTER) in (before, before + 1)
    assert "return" in guest.qmp("cont")
    guest.goes_on()


def test_reset_ends_the_wait(serve, boot):
    server = serve()
    guest = boot(server, loop(READ), **PATIENT)
    guest.goes_on()
    stopped(guest, server)
    before = server.count(fake.RESET)
    assert "return" in guest.qmp("system_reset")
    for _ in range(20):
        assert guest.qmp("query-status")["return"]["running"]
    assert guest.stands()
    server.resume()
    guest.event("RESET")
    guest.goes_on()
    assert server.count(fake.RESET) == before + 1


@pytest.mark.parametrize("what", WAITS)
def test_check_62_unplug_while_a_cpu_waits(serve, boot, what):
    server = with_pcie(serve())
    guest = boot(server, loop(WAITS[what]), **PATIENT)
    guest.goes_on()
    stopped(guest, server)
    assert "return" in guest.qmp("device_del", id="vd")
    assert guest.event("DEVICE_DELETED")["device"] == "vd"
    guest.goes_on()
    again = with_pcie(serve())
    assert "return" in guest.qmp("device_add", driver="vfio-user-pci", id="vd", addr="4", socket=again.path)
    guest.goes_on()


def test_quit_while_a_cpu_waits(serve, boot):
    server = serve()
    guest = boot(server, loop(READ), **PATIENT)
    guest.goes_on()
    stopped(guest, server)
    assert "return" in guest.qmp("quit")
    assert guest.process.wait(120) == 0


def test_loss_wakes_the_waiting_cpu(serve, boot):
    server = serve(on={fake.REGION_READ: lambda s, m: m.body[:4] != b"\x40\0\0\0" or s.hang_up()})
    guest = boot(server, SETUP + wait_for(GO) + forever(READ + increment(COUNTER)), **PATIENT)
    guest.set_word(GO, 1)
    assert guest.event("VFIO_USER_DISCONNECT")["reason"]
    guest.goes_on()
    assert guest.word(VALUE) == 0xffffffff


# --- device_add, whose server does not answer ---

def plug_later(machine, server, timeout_ms, ident="plug"):
    """Sends device_add and reads no answer."""
    arguments = {"driver": "vfio-user-pci", "id": "late", "addr": "5", "socket": {"type": "unix", "path": server.path},
                 "x-msg-timeout": timeout_ms}
    machine.qmp_socket.sendall(json.dumps({"execute": "device_add", "id": ident, "arguments": arguments}).encode() + b"\n")


def answers(machine, count):
    """So many answers, in the order they come."""
    found = []
    while len(found) < count:
        message = json.loads(machine.qmp_file.readline())
        if "event" not in message:
            found.append(message)
    return found


def seen(command):
    return lambda server: any(m.command == command for m in server.log)


def mute_at(command):
    held = threading.Event()

    def hold(server, message):
        server.lock.release()
        held.wait(60)
        server.lock.acquire()
        return True
    return held, {command: hold}


@pytest.mark.parametrize("command", [fake.VERSION, fake.GET_INFO, fake.REGION_INFO, fake.IRQ_INFO, fake.REGION_READ, fake.SET_IRQS])
def test_device_add_of_a_silent_server_delays_no_other_command(serve, tmp_path, command):
    held, on = mute_at(command)
    server = serve(on=on)
    machine = Machine(tmp_path)
    plug_later(machine, server, 600000)
    assert server.wait(seen(command))
    for name, arguments in MONITOR:  # none has an id, so that a late answer would be taken for theirs
        path = arguments.get("path", "").replace("vd", "late")
        assert "return" in machine.qmp(name, **{**arguments, **({"path": path} if path else {})}), name
    assert "still being plugged" in machine.qmp("device_del", id="late")["error"]["desc"]
    assert "late" in machine.qmp("device_add", driver="tick", id="late")["error"]["desc"]
    held.set()
    assert answers(machine, 1) == [{"return": {}, "id": "plug"}]
    assert machine.qmp("qom-get", path="/machine/peripheral/late", property="state")["return"] == "connected"
    assert "return" in machine.qmp("device_del", id="late")
    assert machine.close() == 0


def test_device_add_of_a_silent_server_ends_with_the_time_out(serve, tmp_path):
    held, on = mute_at(fake.GET_INFO)
    server, machine = serve(on=on), Machine(tmp_path)
    plug_later(machine, server, 1000)
    plug_later(machine, serve(), 1000, ident="same")
    same, late = answers(machine, 2)
    assert same["id"] == "same" and "late" in same["error"]["desc"]
    assert late["id"] == "plug" and "Connection timed out" in late["error"]["desc"]
    held.set()
    plug_later(machine, serve(), 600000, ident="again")
    assert answers(machine, 1) == [{"return": {}, "id": "again"}]
    assert machine.close() == 0


@pytest.mark.parametrize("leave", ["quit", "client"])
def test_device_add_of_a_silent_server_does_not_hold_up_the_end(serve, tmp_path, leave):
    held, on = mute_at(fake.GET_INFO)
    server, machine = serve(on=on), Machine(tmp_path)
    plug_later(machine, server, 600000)
    assert server.wait(seen(fake.GET_INFO))
    if leave == "client":  # nobody is there to be answered any more
        machine.qmp_socket.shutdown(socket.SHUT_RDWR)
        held.set()
        assert server.wait(seen(fake.DMA_MAP))
    assert machine.close() == 0
    held.set()
