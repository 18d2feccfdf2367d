# SPDX-License-Identifier: GPL-2.0-or-later
"""Each kind of address that a machine can leave and arrive by."""
import json
import os
import signal
import socket

import pytest

from machine import Machine, start_fails
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


def fails(source, uri, text):
    """And the guest is where it was."""
    leave(source, uri)
    while (said := source.qmp("query-migrate")["return"])["status"] not in ("completed", "failed"):
        pass
    assert said["status"] == "failed" and text in said["error-desc"], said
    assert source.qmp("query-status")["return"]["status"] == "running"


def cancels(source, status):
    """A move that gets as far as that by itself, and no further."""
    while source.qmp("query-migrate")["return"]["status"] != status:
        pass
    assert source.qmp("migrate_cancel") == {"return": {}}
    while (said := source.qmp("query-migrate")["return"])["status"] == "cancelling":
        pass
    assert said["status"] == "cancelled", said
    assert source.qmp("query-status")["return"]["status"] == "running"


@pytest.mark.parametrize("command, status", [("exec sleep 1000", "active"), ("cat > /dev/null; exec sleep 1000", "device"),
                                             ("trap '' TERM; exec sleep 1000", "active")])
def test_command_that_takes_its_time(source, command, status):
    """It is cancelled, and does not hold up the end of the program (the fixture's)."""
    machine = source()
    machine.set_memory(0x400000, bytes(range(256)) * 1024)  # more than a pipe holds
    leave(machine, f"exec:{command}")
    cancels(machine, status)
    leave(machine, f"exec:{command}")
    while machine.qmp("query-migrate")["return"]["status"] != status:
        pass


def test_quit_while_a_command_is_waited_for(tmp_path):
    target = start(tmp_path, "target", "-incoming", "exec:exec sleep 1000")
    assert target.close() == 0


def test_command_that_fails(source, tmp_path):
    machine = source()
    fails(machine, "exec:exit 3", "Broken pipe; the command ended with status 3")
    fails(machine, "exec:head -c 100 > /dev/null; kill -9 $$", "the command was ended by signal 9")
    fails(machine, "exec:cat > /dev/null; exit 4", "the command ended with status 4")
    assert "the stream ends in the header at byte 0; the command ended with status 5" in start_fails(
        "-incoming", "exec:exit 5")
    leave(machine, f"exec:grep Sig /proc/self/status > {tmp_path}/signals; cat > /dev/null")
    ends(machine)
    signals = dict(line.split(":") for line in (tmp_path / "signals").read_text().splitlines())
    assert int(signals["SigBlk"], 16) == 0 and int(signals["SigIgn"], 16) & 1 << signal.SIGPIPE - 1 == 0


def getfd(machine, file, name):
    """The descriptor goes with the command."""
    text = json.dumps({"execute": "getfd", "arguments": {"fdname": name}}).encode() + b"\n"
    socket.send_fds(machine.qmp_socket, [text], [file.fileno()])
    return machine.qmp_answer("getfd")


def open_files(machine):
    return len(os.listdir(f"/proc/{machine.process.pid}/fd"))


def test_descriptor_of_the_monitor(source, tmp_path):
    """Of a pair of sockets, which both were given while they ran; one that does not block is made to."""
    machine, target = source(), start(tmp_path, "target", "-incoming", "defer")
    ends_of = socket.socketpair()
    for vm, end in zip((machine, target), ends_of):
        end.setblocking(False)
        assert getfd(vm, end, "move") == {"return": {}}
        end.close()
    assert "return" in target.qmp("migrate-incoming", uri="fd:move")
    leave(machine, "fd:move")
    ends(machine)
    arrives(target)
    assert "no file descriptor named 'move'" in target.qmp("migrate", uri="fd:move")["error"]["desc"]
    assert target.close() == 0


def test_descriptors_are_named_replaced_and_closed(source):
    machine = source()
    before = open_files(machine)
    assert "SCM_RIGHTS" in machine.qmp("getfd", fdname="file")["error"]["desc"]
    assert "'file' not found" in machine.qmp("closefd", fdname="file")["error"]["desc"]
    with open(os.devnull, "rb") as file:
        for name in ("0", "", "3rd"):
            assert f"'{name}' is no name" in getfd(machine, file, name)["error"]["desc"]
        assert open_files(machine) == before
        for _ in range(2):
            assert getfd(machine, file, "file") == {"return": {}}
            assert open_files(machine) == before + 1
        socket.send_fds(machine.qmp_socket, [b" "], [file.fileno()] * 3)
        assert "return" in machine.qmp("getfd", fdname="first")
        assert open_files(machine) == before + 2
        for name in ("file", "first"):
            assert machine.qmp("closefd", fdname=name) == {"return": {}}
    assert open_files(machine) == before


def test_descriptor_is_let_go(source):
    """Who reads the other end sees the end of the stream."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    machine = source(inherit=True)
    os.close(writer)
    leave(machine, f"fd:{writer}")
    with open(reader, "rb") as file:
        assert file.read()[:4] == b"MPQM"
    ends(machine)
    machine.qmp("cont")
    fds = f"/proc/{machine.process.pid}/fd"
    own = next(fd for fd in os.listdir(fds) if "eventfd" in os.readlink(f"{fds}/{fd}"))
    assert "that this program was started with" in machine.qmp("migrate", uri=f"fd:{own}")["error"]["desc"]


def test_what_is_no_file(source, tmp_path):
    machine = source()
    fails(machine, "file:/dev/full", "cannot write at byte 0: No space left on device")
    os.mkfifo(tmp_path / "fifo")
    assert "cannot open" in machine.qmp("migrate", uri=f"file:{tmp_path}/fifo")["error"]["desc"]  # nobody reads
    target = start(tmp_path, "target", "-incoming", f"file:{tmp_path}/fifo")
    assert target.qmp("query-status")["return"]["status"] == "inmigrate"
    leave(machine, f"file:{tmp_path}/fifo")
    ends(machine)
    arrives(target)
    assert target.close() == 0


def test_host_that_does_not_answer(source):
    """It is waited for, and the monitor does not wait."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for queued in (first, second):
            queued.setblocking(False)
            queued.connect_ex(listener.getsockname())
        uri = "tcp:127.0.0.1:%d" % listener.getsockname()[1]
        machine = source()
        leave(machine, uri)
        assert "in progress" in machine.qmp("migrate", uri=uri)["error"]["desc"]
        cancels(machine, "setup")
    fails(machine, uri, f"migration {uri}: cannot connect: Connection refused")
    fails(machine, "tcp:nobody.invalid:1", "migration tcp:nobody.invalid:1: ")


@pytest.mark.parametrize("there, here", [("[::1]", "[::1]"), ("127.0.0.1", "localhost"), ("", "localhost")])
def test_hosts(source, tmp_path, there, here):
    port = free_port()
    target = start(tmp_path, "target", "-incoming", f"tcp:{there}:{port}")
    machine = source()
    leave(machine, f"tcp:{here}:{port}")
    ends(machine)
    arrives(target)
    assert target.close() == 0


def test_addresses_that_are_wrong(source):
    machine = source()
    for uri, text in (("tcp:[::1]", "no port"), ("tcp:localhost:", "no port"), ("tcp:localhost:1,to=9", "',to=9' after the port"),
                      ("tcp:localhost:65536", "allowed 0..65535"), ("file:x,offset=", "bad offset"), ("fd:", "no file descriptor named ''")):
        assert text in machine.qmp("migrate", uri=uri)["error"]["desc"], uri
