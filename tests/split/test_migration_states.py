# SPDX-License-Identifier: GPL-2.0-or-later
"""The state that a guest was in is the one it arrives in, and whether it runs there is for who starts the destination to say."""
import pytest

from machine import Machine

CONTENT = bytes(range(256)) * 4096


@pytest.fixture(name="start")
def fixture_start(tmp_path):
    machines, refused = [], []

    def start(name, *args, ends=False):
        (tmp_path / name).mkdir()
        machines.append(Machine(tmp_path / name, *args))
        refused.extend(machines[-1:] if ends else [])
        return machines[-1]

    yield start
    for machine in machines:
        assert machine.close() == (1 if machine in refused else 0)


def status(machine):
    return machine.qmp("query-status")["return"]["status"]


def done(*machines):
    for machine in machines:
        while (said := machine.qmp("query-migrate")["return"])["status"] != "completed":
            assert said["status"] != "failed", said


def begin(source, uri):
    """A move that lasts until it is told to be quick."""
    source.set_memory(0x300000, CONTENT)
    source.qmp("migrate-set-parameters", **{"max-bandwidth": 100_000})
    assert source.qmp("migrate", uri=uri) == {"return": {}}
    while source.qmp("query-migrate")["return"]["status"] != "active":
        pass


def move(start, tmp_path, source, there=(), meanwhile=None):
    """The destination, with the guest."""
    uri = f"unix:{tmp_path}/move"
    target = start("target", "-incoming", uri, *there)
    begin(source, uri)
    if meanwhile:
        assert source.qmp(meanwhile) == {"return": {}}
        assert source.qmp("query-migrate")["return"]["status"] == "active"
    assert source.qmp("migrate-set-parameters", **{"max-bandwidth": 0}) == {"return": {}}
    done(source, target)
    assert status(source) == "postmigrate" and target.memory(0x300000, len(CONTENT)) == CONTENT
    return target


@pytest.mark.parametrize("here, meanwhile, there", [
    ([], None, "running"), ([], "stop", "paused"), (["-S"], None, "prelaunch"), (["-S"], "cont", "running")])
def test_state_at_the_end_counts(start, tmp_path, here, meanwhile, there):
    """Not the one when the move began."""
    target = move(start, tmp_path, start("source", *here), meanwhile=meanwhile)
    assert status(target) == there
    assert target.qmp("cont") == {"return": {}} and status(target) == "running"


def test_reason_to_stand_comes_along(start, tmp_path):
    panic = ("-device", "pvpanic", "-action", "panic=pause")
    source = start("source", *panic)
    source.qtest("outb 0x505 1")
    source.event("STOP")
    assert status(source) == "guest-panicked"
    assert status(move(start, tmp_path, source, panic)) == "guest-panicked"


@pytest.mark.parametrize("args, said, there", [
    ([], [], "running"), (["-S"], [], "paused"), ([], ["stop"], "paused"), (["-S"], ["cont"], "running"),
    ([], ["cont", "stop"], "paused")])
@pytest.mark.parametrize("defer", [False, True])
def test_whether_it_runs_there(start, tmp_path, args, said, there, defer):
    """-S, also with -incoming defer; `stop` and `cont` while the guest is waited for."""
    uri = f"unix:{tmp_path}/move"
    target = start("target", *args, "-incoming", "defer" if defer else uri)
    for command in said:
        assert target.qmp(command) == {"return": {}} and status(target) == "inmigrate"
    if defer:
        assert target.qmp("migrate-incoming", uri=uri) == {"return": {}}
    source = start("source")
    assert source.qmp("migrate", uri=uri) == {"return": {}}
    done(source, target)
    assert status(target) == there


def test_devices_stay_while_the_guest_is_moved(start, tmp_path):
    """A stream says first which there are."""
    uri, ports = f"unix:{tmp_path}/move", ("-device", "pcie-root-port,id=rp0,chassis=1", "-device", "pcie-root-port,id=rp1,chassis=2",
                                           "-device", "virtio-rng-pci,id=rng0,bus=rp0")
    source, target = start("source", *ports), start("target", *ports, "-incoming", uri)
    begin(source, uri)
    while target.qmp("query-migrate")["return"].get("status") != "active":
        pass
    for machine in source, target:
        for name, args in (("device_add", {"driver": "virtio-rng-pci", "id": "rng1", "bus": "rp1"}), ("device_del", {"id": "rng0"})):
            assert f"{name}: the guest is being moved" in machine.qmp(name, **args)["error"]["desc"]
    source.qmp("migrate-set-parameters", **{"max-bandwidth": 0})
    done(source, target)
    for machine in source, target:
        assert machine.qmp("device_add", driver="virtio-rng-pci", id="rng1", bus="rp1") == {"return": {}}


def devices(names):
    return [word for name in names for word in ("-device", name)]


@pytest.mark.parametrize("there, places", [(["edu,id=edu0,addr=9"], ("pcie.0 07.0", "pcie.0 09.0")),
                                           (["edu,id=edu0,bus=rp0"], ("pcie.0 07.0", "rp0 00.0")),
                                           (["virtio-rng-pci,id=rng0", "edu,id=edu0,addr=7"], None)])
def test_where_the_guest_finds_its_devices(start, tmp_path, there, places):
    """The order on the command line is no matter, where it leads to is."""
    uri, port = f"unix:{tmp_path}/move", ["-device", "pcie-root-port,id=rp0,chassis=1,addr=5"]
    here = ["edu,id=edu0,addr=7"] if places else ["edu,id=edu0,addr=7", "virtio-rng-pci,id=rng0"]
    source = start("source", *port, *devices(here))
    target = start("target", *port, *devices(there), "-incoming", uri, ends=places)
    assert source.qmp("migrate", uri=uri) == {"return": {}}
    if not places:
        done(source, target)
        return
    while (said := source.qmp("query-migrate")["return"])["status"] != "failed":
        assert said["status"] != "completed"
    at = tuple(f"{place}, BAR 0 of {1 << 20} bytes" for place in places)
    assert "device 'edu /machine/peripheral/edu0' of the source is at '%s', here at '%s'" % at in said["error-desc"]
    assert target.process.wait() == 1 and status(source) == "running"
    assert "STOP" not in [event["event"] for event in source.events]


def test_how_large_its_devices_are(start, tmp_path):
    uri = f"unix:{tmp_path}/move"
    source = start("source", "-device", "VGA,id=vga0,addr=8,vgamem_mb=16")
    target = start("target", "-device", "VGA,id=vga0,addr=8,vgamem_mb=8", "-incoming", uri, ends=True)
    assert source.qmp("migrate", uri=uri) == {"return": {}}
    while (said := source.qmp("query-migrate")["return"])["status"] != "failed":
        assert said["status"] != "completed"
    assert f"pcie.0 08.0, BAR 0 of {16 << 20} bytes" in said["error-desc"] and f"pcie.0 08.0, BAR 0 of {8 << 20} bytes" in said["error-desc"]
    assert target.process.wait() == 1 and status(source) == "running"
