# SPDX-License-Identifier: GPL-2.0-or-later
"""The x-vfio-user-server object: its options, its life, its events."""
import os
import pathlib
import socket
import struct
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from remote_server import (BAR0, COMMAND, CONFIG, MASTER, MEMORY, PATIENCE, attach, command,  # noqa: E402
                           eventfd, free_port, memory_file, start_fails, until)
from vfio_user import REGION_WRITE, VERSION, Client, Lost  # noqa: E402

EDU_ID = b"\x34\x12\xe8\x11"


def edu(ident="edu0"):
    return ["-device", f"edu,id={ident}"]


def identity(path):
    client = attach(path)
    try:
        return client.read(CONFIG, 0, 4)
    finally:
        client.close()


# --- where it listens ---

def test_unix_from_the_command_line(servers, tmp_path):
    path = tmp_path / "s.sock"
    server = servers(*edu(), "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={path},device=edu0")
    assert identity(str(path)) == EDU_ID
    server.ok("object-del", id="vfu0")
    assert not path.exists()


def test_address_as_json(servers, tmp_path):
    path = tmp_path / "s.sock"
    servers(*edu(), "-object", '{"qom-type":"x-vfio-user-server","id":"vfu0","device":"edu0",'
            f'"socket":{{"type":"unix","path":"{path}"}}}}')
    assert identity(str(path)) == EDU_ID


def test_address_with_dotted_keys(servers, tmp_path):
    path = tmp_path / "s.sock"
    servers(*edu(), "-object", f"x-vfio-user-server,id=vfu0,device=edu0,socket.type=unix,socket.path={path}")
    assert identity(str(path)) == EDU_ID


def test_tcp(servers):
    port = free_port()
    servers(*edu(), "-object", f"x-vfio-user-server,id=vfu0,type=inet,host=127.0.0.1,port={port},device=edu0")
    conn = socket.create_connection(("127.0.0.1", port))
    client = Client(fd=conn.detach())
    client.negotiate()
    assert client.read(CONFIG, 0, 4) == EDU_ID
    client.close()


def test_inherited_listener(servers, tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "inherited.sock"))
    listener.listen(1)
    servers(*edu(), "-object", f"x-vfio-user-server,id=vfu0,type=fd,str={listener.fileno()},device=edu0",
            pass_fds=[listener.fileno()])
    for _ in range(2):
        assert identity(str(tmp_path / "inherited.sock")) == EDU_ID
    listener.close()


def test_inherited_connection(servers):
    ours, theirs = socket.socketpair()
    server = servers(*edu(), "-object", f"x-vfio-user-server,id=vfu0,type=fd,str={theirs.fileno()},device=edu0",
                     pass_fds=[theirs.fileno()])
    theirs.close()
    client = Client(fd=ours.detach())
    client.negotiate()
    assert client.read(CONFIG, 0, 4) == EDU_ID
    client.close()
    assert server.event("VFU_CLIENT_HANGUP")["vfu-id"] == "vfu0"


def test_a_client_that_is_there_at_once_is_not_reset(tmp_path):
    """What a client asked for before the server has finished its start is not undone by the machine's first reset."""
    path = tmp_path / "qmp"
    ours, theirs = socket.socketpair()
    client = Client(fd=ours.detach())
    client.send(VERSION, b"\0\0\1\0{}\0")
    client.send(REGION_WRITE, struct.pack("<QIIH", COMMAND, CONFIG, 2, MEMORY | MASTER))
    args = command(*edu(), "-object", f"x-vfio-user-server,id=vfu0,type=fd,str={theirs.fileno()},device=edu0",
                   "-qmp", f"unix:{path},server=on,wait=on")
    server = subprocess.Popen(args, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    monitor = socket.socket(socket.AF_UNIX)
    monitor.settimeout(PATIENCE)
    theirs.close()
    try:
        until(path.exists)
        time.sleep(0.2)  # a server that serves before its start has ended does so now
        monitor.connect(str(path))
        for _ in range(2):
            client.receive().check()
        assert client.read(CONFIG, COMMAND, 2) == struct.pack("<H", MEMORY | MASTER)
        client.close()
        assert server.wait(PATIENCE) == 0
    finally:
        monitor.close()
        server.kill()
        server.wait()


def test_a_stale_socket_is_replaced(servers, tmp_path):
    """What a killed server left behind does not keep the same command line from working."""
    path = tmp_path / "s.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    servers(*edu(), "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={path},device=edu0")
    assert identity(str(path)) == EDU_ID


def test_a_living_socket_is_not_replaced(servers, tmp_path):
    path = tmp_path / "s.sock"
    servers(*edu(), "-object", f"x-vfio-user-server,id=vfu0,type=unix,path={path},device=edu0")
    text = start_fails(*edu(), "-object", f"x-vfio-user-server,id=vfu1,type=unix,path={path},device=edu0")
    assert "Address already in use" in text
    assert identity(str(path)) == EDU_ID


@pytest.mark.parametrize("options,words", [
    ("type=unix", ["path", "type=unix needs it"]),
    ("type=tcp,path=/x", ["'tcp'", "unix, inet, vsock, fd"]),
    ("path=/x", ["type: not given"]),
    ("type=inet,path=/x", ["path: type=inet does not take it"]),
    ("type=inet,host=127.0.0.1", ["port: not given"]),
    ("type=unix,path=/x,host=h", ["host", "type=unix does not take it"]),
    ("type=vsock,cid=x,port=1", ["cid", "'x'"]),
    ("type=fd,str=77", ["str", "77", "inherited"]),
    ("type=unix,path=/nonexistent/dir/s", ["/nonexistent/dir/s", "No such file or directory"]),
    ("type=unix,path=" + "x" * 200, ["path", "200 bytes"]),
    ("type=unix,path=/x,poll-us=2000000", ["poll-us", "0..1000000"]),
    ("type=unix,path=/x,iothread=none", ["iothread", "none"]),
    ("type=unix,path=/x,reuse=maybe", ["reuse", "maybe"]),
])
def test_bad_options_say_what_is_wrong(options, words):
    text = start_fails(*edu(), "-object", f"x-vfio-user-server,id=vfu0,device=edu0,{options}")
    for word in words:
        assert word in text, text


def test_36_four_distinct_errors(servers, tmp_path):
    """On another machine, unknown device, not a PCI device, unknown socket type; none ends the process under QMP."""
    texts = [start_fails(*edu(), "-object", "x-vfio-user-server,id=vfu0,type=unix,path=/x,device=edu0", machine=machine)
             for machine in ("q35,accel=qtest", "x-remote", "x-remote,vfio-user=off")]
    assert "only an x-remote machine" in texts[0] and "vfio-user=off" in texts[1] and texts[1] == texts[2]
    server = servers(*edu(), "-object", "iothread,id=io0")
    options = {"qom_type": "x-vfio-user-server", "id": "vfu0", "type": "unix", "path": str(tmp_path / "s.sock")}
    unknown = server.refused("object-add", **options, device="nobody")
    other = server.refused("object-add", **options, device="io0")
    tcp = server.refused("object-add", **{**options, "type": "tcp"}, device="edu0")
    assert "no device 'nobody'" in unknown and "not a PCI device" in other and "'tcp'" in tcp
    assert identity(server.serve("edu0")) == EDU_ID


# --- its life ---

def test_34_added_deleted_and_added_again(servers):
    server = servers(*edu())
    fds = []
    for _ in range(20):
        assert identity(server.serve("edu0")) == EDU_ID
        server.ok("object-del", id="vfu0")
        fds.append(server.fds())
    assert fds[1] == fds[-1]


def test_35_a_served_device_is_not_unplugged(servers):
    server = servers()
    fds = []
    for _ in range(5):
        server.ok("device_add", driver="edu", id="hot")
        path = server.serve("hot")
        client = attach(path)
        text = server.refused("device_del", id="hot")
        assert "vfu0" in text and "object-del" in text
        assert client.read(CONFIG, 0, 4) == EDU_ID
        server.ok("object-del", id="vfu0")
        assert client.is_lost()
        client.close()
        server.ok("device_del", id="hot")
        assert server.event("DEVICE_DELETED")["device"] == "hot"
        fds.append(server.fds())
    assert fds[1] == fds[-1]


def test_a_device_has_one_object(servers):
    server = servers(*edu())
    server.serve("edu0")
    text = server.refused("object-add", qom_type="x-vfio-user-server", id="vfu1", type="unix", device="edu0",
                          path=str(server.tmp / "other.sock"))
    assert "vfu0" in text


def test_the_iothread_stays_while_it_serves(servers):
    server = servers(*edu(), "-object", "iothread,id=io0")
    path = server.serve("edu0", iothread="io0")
    assert identity(path) == EDU_ID
    assert "in use" in server.refused("object-del", id="io0")
    server.ok("object-del", id="vfu0")
    server.ok("object-del", id="io0")
    assert identity(server.serve("edu0")) == EDU_ID


def test_events_name_object_and_device(servers):
    server = servers(*edu())
    client = attach(server.serve("edu0"))
    names = {"vfu-id": "vfu0", "vfu-qom-path": "/objects/vfu0", "dev-id": "edu0",
             "dev-qom-path": "/machine/peripheral/edu0"}
    assert server.event("VFU_CLIENT_CONNECT") == names
    client.close()
    assert server.event("VFU_CLIENT_HANGUP") == names


def test_33_auto_shutdown_ends_with_the_last_client(servers):
    server = servers(*edu(), *edu("edu1"), auto_shutdown="on")
    first, second = attach(server.serve("edu0")), attach(server.serve("edu1", "vfu1"))
    first.close()
    assert server.event("VFU_CLIENT_HANGUP")["vfu-id"] == "vfu0"
    assert second.read(CONFIG, 0, 4) == EDU_ID
    second.close()
    assert server.wait_exit() == 0


def test_33_without_auto_shutdown_others_are_served(servers):
    server = servers(*edu(), *edu("edu1"))
    first, second = attach(server.serve("edu0")), attach(server.serve("edu1", "vfu1"))
    first.close()
    assert server.event("VFU_CLIENT_HANGUP")["dev-id"] == "edu0"
    assert second.read(CONFIG, 0, 4) == EDU_ID
    second.close()
    assert server.event("VFU_CLIENT_HANGUP")["dev-id"] == "edu1"
    assert identity(str(server.tmp / "vfu0.sock")) == EDU_ID


def test_reuse_gives_the_next_client_a_fresh_device(servers):
    """The device is reset, the client's memory and eventfds are let go."""
    server = servers(*edu())
    path = server.serve("edu0")
    fds = []
    for _ in range(10):
        client, memory, irq = attach(path), memory_file(1 << 20), eventfd()
        assert client.read(CONFIG, BAR0, 4) == b"\0\0\0\0" and client.read(0, 4, 4) == b"\0\0\0\0"
        client.write(CONFIG, BAR0, b"\0\0\0\xfe")
        client.write(0, 4, b"\1\2\3\4")
        assert client.read(0, 4, 4) == b"\xfe\xfd\xfc\xfb"
        client.map(0, 1 << 20, fd=memory)
        client.set_irqs(0x24, 0, 0, 1, fds=[irq])
        client.close()
        os.close(memory)
        os.close(irq)
        server.event("VFU_CLIENT_HANGUP")
        fds.append(server.fds())
        maps = pathlib.Path(f"/proc/{server.process.pid}/maps").read_text(encoding="utf-8")
        assert "memfd:client" not in maps
    assert fds[0] == fds[-1]


def test_without_reuse_the_object_goes_with_its_client(servers):
    server = servers(*edu())
    path = server.serve("edu0", reuse=False)
    assert identity(path) == EDU_ID
    server.event("VFU_CLIENT_HANGUP")
    until(lambda: not os.path.exists(path), "socket removed")
    until(lambda: not [o for o in server.ok("qom-list", path="/objects") if o["name"] == "vfu0"], "object gone")
    assert identity(server.serve("edu0")) == EDU_ID


def test_defaults_are_shown():
    text = subprocess.run(command("-object", "x-vfio-user-server,help"), stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=PATIENCE, check=False).stdout
    for name in ("device", "type", "path", "host", "port", "cid", "str", "socket", "iothread", "poll-us", "reuse"):
        assert f"{name}=" in text, text


def test_a_bridge_is_refused_with_a_reason():
    assert "put the bridge into the client's machine" in start_fails("-device", "pci-bridge,id=br0")


def test_refused_clients_do_not_keep_the_next_one_out(servers):
    server = servers(*edu())
    path = server.serve("edu0")
    for _ in range(3):
        client = Client(path)
        client.send_raw(b"\xff" * 64)
        try:
            client.receive()
        except Lost:
            pass
        client.close()
    assert identity(path) == EDU_ID


# --- the machine ---

def test_the_machine_has_devices_and_monitors_and_nothing_else(servers, tmp_path):
    """QMP, HMP and qtest as on any machine; no CPU, no RAM."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "qtest"))
    listener.listen(1)
    server = servers(*edu(), "-qtest", f"unix:{tmp_path}/qtest", "-qtest-log", os.devnull)
    conn, _ = listener.accept()
    with conn, conn.makefile("rw") as qtest:
        qtest.write("readl 0x1000\n")
        qtest.flush()
        assert qtest.readline().split() == ["OK", "0x00000000ffffffff"]
    listener.close()
    assert "running" in server.ok("human-monitor-command", command_line="info status")
    assert "1234:11e8" in server.ok("human-monitor-command", command_line="info pci")
    assert server.ok("query-cpus-fast") == []
    assert identity(server.serve("edu0")) == EDU_ID
