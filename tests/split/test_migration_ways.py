# SPDX-License-Identifier: GPL-2.0-or-later
"""Each kind of address that a machine can leave and arrive by."""
import os
import socket

import pytest

from machine import Machine
from remote_server import free_port

WHERE, WHAT = 0x300000, bytes(range(256)) * 16
DEVICE = ["-device", "edu,id=edu0,addr=7"]


def start(tmp_path, name, *args, **options):
    (tmp_path / name).mkdir()
    return Machine(tmp_path / name, *DEVICE, *args, **options)


def leave(source, uri):
    assert source.qmp("migrate", uri=uri) == {"return": {}}


def ends(source):
    while (said := source.qmp("query-migrate")["return"])["status"] not in ("completed", "failed"):
        pass
    assert said["status"] == "completed", said
    assert source.qmp("query-status")["return"]["status"] == "postmigrate"


def arrives(target):
    while target.qmp("query-status")["return"]["status"] != "running":
        assert target.process.poll() is None
    assert target.memory(WHERE, len(WHAT)) == WHAT


@pytest.fixture(name="source")
def fixture_source(tmp_path):
    machines = []

    def source(**options):
        machines.append(start(tmp_path, "source", **options))
        machines[-1].set_memory(WHERE, WHAT)
        return machines[-1]

    yield source
    for machine in machines:
        assert machine.close() == 0


@pytest.mark.parametrize("uri", ["tcp:127.0.0.1:{port}", "unix:{tmp}/move"])
@pytest.mark.parametrize("defer", [False, True])
def test_sockets(source, tmp_path, uri, defer):
    uri = uri.format(port=free_port(), tmp=tmp_path)
    target = start(tmp_path, "target", "-incoming", "defer" if defer else uri)
    if defer:
        assert target.qmp("query-status")["return"]["status"] == "inmigrate"
        assert "return" in target.qmp("migrate-incoming", uri=uri)
        assert "error" in target.qmp("migrate-incoming", uri=uri)
    machine = source()
    leave(machine, uri)
    ends(machine)
    arrives(target)
    assert target.close() == 0


def test_descriptor(source, tmp_path):
    """Of a pair of sockets, which both processes inherit."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.set_inheritable(True)
    machine = source(inherit=True)
    target = start(tmp_path, "target", "-incoming", f"fd:{theirs.fileno()}", inherit=True)
    leave(machine, f"fd:{ours.fileno()}")
    ends(machine)
    arrives(target)
    assert target.close() == 0
    ours.close()
    theirs.close()


@pytest.mark.parametrize("out, into", [("exec:gzip > {tmp}/s", "exec:gzip -d < {tmp}/s"), ("file:{tmp}/s", "file:{tmp}/s"),
                                       ("file:{tmp}/s,offset=4096", "file:{tmp}/s,offset=0x1000")])
def test_files_and_commands(source, tmp_path, out, into):
    machine = source()
    leave(machine, out.format(tmp=tmp_path))
    ends(machine)
    if "offset" in out:
        assert (tmp_path / "s").read_bytes()[:4096] == bytes(4096)
    for name in ("once", "again"):
        target = start(tmp_path, name, "-incoming", into.format(tmp=tmp_path))
        arrives(target)
        assert target.close() == 0
    assert os.path.getsize(tmp_path / "s") > 1000
